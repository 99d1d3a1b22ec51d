/* weights.c - binding tensors: a table says name, field, shape; one function does the rest. */
#include "weights.h"

#include <stdio.h>

#include "base.h"
#include "mem.h"

enum dim { ONE, DIM_D, DIM_Q, DIM_KV, DIM_F, DIM_V, DIM_E, DIM_ROT };

enum form { MATRIX, TABLE, VECTOR, BIAS }; /* struct linear or weight; one read by rows; const float *; bias of a
                                              struct linear */

struct binding {
    const char *name; /* behind "blk.N." for a layer's tensor */
    enum form form;
    size_t offset;    /* in struct layer_weights, or in struct weights */
    enum dim cols, rows, mats;
    enum { REQUIRED, OPTIONAL, DENSE, EXPERTS } when;
};

#define LAYER(field) offsetof(struct layer_weights, field)
static const struct binding layer_table[] = {
    {"attn_norm.weight", VECTOR, LAYER(attn_norm), DIM_D, ONE, ONE, REQUIRED},
    {"attn_q.weight", MATRIX, LAYER(wq), DIM_D, DIM_Q, ONE, REQUIRED},
    {"attn_k.weight", MATRIX, LAYER(wk), DIM_D, DIM_KV, ONE, REQUIRED},
    {"attn_v.weight", MATRIX, LAYER(wv), DIM_D, DIM_KV, ONE, REQUIRED},
    {"attn_output.weight", MATRIX, LAYER(wo), DIM_Q, DIM_D, ONE, REQUIRED},
    {"attn_q.bias", BIAS, LAYER(wq), DIM_Q, ONE, ONE, OPTIONAL},
    {"attn_k.bias", BIAS, LAYER(wk), DIM_KV, ONE, ONE, OPTIONAL},
    {"attn_v.bias", BIAS, LAYER(wv), DIM_KV, ONE, ONE, OPTIONAL},
    {"attn_output.bias", BIAS, LAYER(wo), DIM_D, ONE, ONE, OPTIONAL},
    {"ffn_norm.weight", VECTOR, LAYER(ffn_norm), DIM_D, ONE, ONE, REQUIRED},
    {"ffn_gate.weight", MATRIX, LAYER(gate), DIM_D, DIM_F, ONE, DENSE},
    {"ffn_up.weight", MATRIX, LAYER(up), DIM_D, DIM_F, ONE, DENSE},
    {"ffn_down.weight", MATRIX, LAYER(down), DIM_F, DIM_D, ONE, DENSE},
    {"ffn_gate_inp.weight", MATRIX, LAYER(router), DIM_D, DIM_E, ONE, EXPERTS},
    {"ffn_gate_exps.weight", MATRIX, LAYER(gate), DIM_D, DIM_F, DIM_E, EXPERTS},
    {"ffn_up_exps.weight", MATRIX, LAYER(up), DIM_D, DIM_F, DIM_E, EXPERTS},
    {"ffn_down_exps.weight", MATRIX, LAYER(down), DIM_F, DIM_D, DIM_E, EXPERTS},
    {"ffn_gate.bias", BIAS, LAYER(gate), DIM_F, ONE, ONE, OPTIONAL},
    {"ffn_up.bias", BIAS, LAYER(up), DIM_F, ONE, ONE, OPTIONAL},
    {"ffn_down.bias", BIAS, LAYER(down), DIM_D, ONE, ONE, OPTIONAL},
};

#define MODEL(field) offsetof(struct weights, field)
static const struct binding model_table[] = {
    {"token_embd.weight", TABLE, MODEL(embed), DIM_D, DIM_V, ONE, REQUIRED},
    {"output_norm.weight", VECTOR, MODEL(out_norm), DIM_D, ONE, ONE, REQUIRED},
    {"output.weight", MATRIX, MODEL(head), DIM_D, DIM_V, ONE, OPTIONAL},
    {"rope_freqs.weight", VECTOR, MODEL(rope_factors), DIM_ROT, ONE, ONE, OPTIONAL},
};

_Static_assert(offsetof(struct linear, w) == 0, "a struct linear can be filled as a struct weight");

struct binder {
    struct weights *out;
    const struct hparams *h;
    const struct gguf *g;
    struct backend *b;
    struct redline_err *err;
};

static uint64_t dim_of(const struct hparams *h, enum dim d)
{
    switch (d) {
    case ONE: return 1;
    case DIM_D: return (uint64_t)h->width;
    case DIM_Q: return (uint64_t)h->n_heads * (uint64_t)h->d_head;
    case DIM_KV: return (uint64_t)h->n_kv_heads * (uint64_t)h->d_head;
    case DIM_F: return (uint64_t)(h->n_experts ? h->expert_width : h->ffn_width);
    case DIM_V: return (uint64_t)h->n_vocab;
    case DIM_E: return (uint64_t)h->n_experts;
    case DIM_ROT: return (uint64_t)h->n_rot / 2;
    }
    return 0;
}

static int check_shape(const struct binder *bind, const struct binding *row,
                       const struct gguf_tensor *t)
{
    const struct hparams *h = bind->h;
    uint64_t want[GGUF_MAX_DIMS] = {dim_of(h, row->cols), dim_of(h, row->rows), dim_of(h, row->mats), 1};
    for (int i = 0; i < GGUF_MAX_DIMS; i++)
        if (t->shape[i] != want[i])
            return err_set(bind->err, REDLINE_FORMAT,
                           "tensor '%.*s' has the shape [%llu, %llu, %llu], expected is [%llu, %llu, %llu]",
                           STR_ARG(t->name), (unsigned long long)t->shape[0],
                           (unsigned long long)t->shape[1], (unsigned long long)t->shape[2],
                           (unsigned long long)want[0], (unsigned long long)want[1],
                           (unsigned long long)want[2]);
    if (row->form != MATRIX && row->form != TABLE && t->dtype != DTYPE_F32)
        return err_set(bind->err, REDLINE_SUPPORT, "tensor '%.*s' is of type %s, only F32 is supported here",
                       STR_ARG(t->name), dtype_name(t->dtype));
    if (!dtype_info(t->dtype)->is_weight)
        return err_set(bind->err, REDLINE_SUPPORT, "tensor '%.*s' is of type %s, which has no kernel",
                       STR_ARG(t->name), dtype_name(t->dtype));
    return 0;
}

static int bind_tensor(const struct binder *bind, const struct binding *row,
                       const struct gguf_tensor *t, char *base)
{
    TRY(check_shape(bind, row, t));
    void *field = base + row->offset;
    bind->out->used[t - bind->g->tensors] = 1;
    bind->out->bytes += t->bytes;
    if (row->form == VECTOR) memcpy(field, &t->data, sizeof t->data);
    if (row->form == BIAS) ((struct linear *)field)->bias = t->data;
    if (row->form != MATRIX && row->form != TABLE) return 0;

    size_t row_bytes = dtype_row_bytes(dtype_info(t->dtype), t->shape[0]);
    struct weight *w = field;
    *w = (struct weight){.dtype = t->dtype,
                         .n_cols = (int)t->shape[0],
                         .n_rows = (int)t->shape[1],
                         .n_mats = (int)t->shape[2],
                         .row_bytes = row_bytes,
                         .mat_bytes = row_bytes * (size_t)t->shape[1],
                         .data = t->data};
    return bind->b ? bind->b->ops->place(bind->b, w, row->form == MATRIX, t->name, bind->err) : 0;
}

static int bind_row(const struct binder *bind, const struct binding *row, int layer, char *base)
{
    char name[96];
    bool wanted = row->when == REQUIRED || row->when == OPTIONAL ||
                  (row->when == EXPERTS) == (bind->h->n_experts > 0);
    if (!wanted || (row->form == BIAS && bind->h->n_experts > 0 && str_starts(str_of(row->name), STR("ffn"))))
        return 0;
    if (layer < 0)
        snprintf(name, sizeof name, "%s", row->name);
    else
        snprintf(name, sizeof name, "blk.%d.%s", layer, row->name);
    const struct gguf_tensor *t = gguf_find_tensor(bind->g, str_of(name));
    if (t) return bind_tensor(bind, row, t, base);
    if (row->when == OPTIONAL) return 0;
    return err_set(bind->err, REDLINE_FORMAT, "there is no tensor '%s'", name);
}

static void count_linear(struct weights *w, const struct linear *l, int n_mats)
{
    w->token_bytes += (uint64_t)l->w.mat_bytes * (uint64_t)n_mats;
    w->token_ops += 2 * (uint64_t)l->w.n_rows * (uint64_t)l->w.n_cols * (uint64_t)n_mats;
}

/* What one token costs: matrices only, the vectors are lost in the noise. */
static void count_token(struct weights *w, const struct hparams *h)
{
    for (int i = 0; i < h->n_layers; i++) {
        const struct layer_weights *l = &w->layers[i];
        int n = h->n_experts ? h->n_experts_used : 1;
        const struct linear *once[] = {&l->wq, &l->wk, &l->wv, &l->wo}, *each[] = {&l->gate, &l->up, &l->down};
        for (size_t k = 0; k < COUNT_OF(once); k++) count_linear(w, once[k], 1);
        for (size_t k = 0; k < COUNT_OF(each); k++) count_linear(w, each[k], n);
        if (h->n_experts) count_linear(w, &l->router, 1);
    }
    w->token_bytes += w->head.w.mat_bytes;
    w->head_ops = 2 * (uint64_t)w->head.w.n_rows * (uint64_t)w->head.w.n_cols;
}

int weights_bind(struct weights *out, const struct hparams *h, const struct gguf *g,
                 struct backend *b, struct redline_err *err)
{
    *out = (struct weights){0};
    struct binder bind = {out, h, g, b, err};
    int status = 0;
    out->layers = mem_new((size_t)h->n_layers, sizeof *out->layers);
    out->used = mem_new((size_t)g->n_tensors, 1);
    if (!out->layers || !out->used)
        status = err_memory(err, (size_t)h->n_layers * sizeof *out->layers, "the table of layers");
    for (size_t i = 0; !status && i < COUNT_OF(model_table); i++)
        status = bind_row(&bind, &model_table[i], -1, (char *)out);
    for (int l = 0; !status && l < h->n_layers; l++)
        for (size_t i = 0; !status && i < COUNT_OF(layer_table); i++)
            status = bind_row(&bind, &layer_table[i], l, (char *)&out->layers[l]);
    if (!status && out->head.w.n_mats == 0) { /* the embedding is the head too */
        out->head.w = out->embed;
        if (b) status = b->ops->place(b, &out->head.w, true, STR("token_embd.weight"), err);
    }
    if (status) {
        weights_free(out);
        return status;
    }
    count_token(out, h);
    return 0;
}

void weights_free(struct weights *w)
{
    mem_free(w->layers);
    mem_free(w->used);
    *w = (struct weights){0};
}
