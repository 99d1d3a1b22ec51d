/* layout.c - see layout.h.  Sizes are taken by binding the tensors once more, to something that only measures: so what
 * is planned and what is claimed later come from the same calls. */
#include "layout.h"

#include "base.h"
#include "mem.h"

struct measuring {
    struct layout *layout;
    const struct backend_ops *gpu; /* or NULL */
    const struct backend_params *params;
};

static void consider(struct block *b, struct str name, uint64_t bytes)
{
    if (bytes <= b->largest_bytes) return;
    b->largest = name;
    b->largest_bytes = bytes;
}

static int measure_weight(void *user, int block, const struct weight *w, struct weight *const *parts, int n_parts,
                          struct str name, struct redline_err *err)
{
    struct measuring *m = user;
    struct block *b = &m->layout->rows[m->layout->row_of[block]];
    (void)name;
    (void)err;
    if (n_parts > 0 && backend_cpu.packs(m->params, w->dtype)) b->packed_bytes += (uint64_t)w->n_mats * w->mat_bytes;
    for (int i = 0; m->gpu && i < n_parts; i++) b->gpu_bytes += m->gpu->place_bytes(parts[i]);
    return 0;
}

static int measure_vector(void *user, int block, const float *v, size_t n, const float **out, struct redline_err *err)
{
    struct measuring *m = user;
    struct block *b = &m->layout->rows[m->layout->row_of[block]];
    (void)err;
    *out = v;
    if (m->gpu) b->gpu_bytes += m->gpu->vector_bytes(n);
    return 0;
}

/* Rows for the numbers of weights.h; a layer that is one block has one row for both. */
static void make_rows(struct layout *b, const struct redline_model *model)
{
    const struct hparams *h = &model->h;
    b->rows[b->n++] = (struct block){.part = REDLINE_PART_EMBEDDING, .layer = -1};
    for (int i = 0; i < h->n_layers; i++) {
        bool parallel = weights_parallel(&model->weights, h, i), experts = hparams_has_experts(h, i);
        b->row_of[weights_block(i, PART_ATTENTION)] = b->n;
        b->rows[b->n++] = (struct block){.part = parallel ? REDLINE_PART_LAYER : REDLINE_PART_ATTENTION,
                                         .layer = i,
                                         .experts = parallel && experts};
        b->row_of[weights_block(i, PART_FEED_FORWARD)] = parallel ? b->n - 1 : b->n;
        if (!parallel)
            b->rows[b->n++] = (struct block){.part = REDLINE_PART_FEED_FORWARD, .layer = i, .experts = experts};
    }
    b->row_of[weights_head_block(h->n_layers)] = b->n;
    b->rows[b->n++] = (struct block){.part = REDLINE_PART_HEAD, .layer = -1};
}

/* The head that the embedding serves as. */
static bool is_tied(const struct redline_model *model)
{
    const struct weights *w = &model->weights;
    return w->head.w.n_mats > 0 && w->head.w.data == w->embed.data;
}

static void add_tensors(struct layout *b, const struct redline_model *model)
{
    const struct gguf *g = model->gguf;
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        if (model->weights.block_of[i] < 0) continue;
        struct block *row = &b->rows[b->row_of[model->weights.block_of[i]]];
        row->file_bytes += g->tensors[i].bytes;
        consider(row, g->tensors[i].name, g->tensors[i].bytes);
        if (is_tied(model) && g->tensors[i].data == (const void *)model->weights.embed.data)
            consider(&b->rows[b->n - 1], g->tensors[i].name, g->tensors[i].bytes);
    }
}

int layout_make(struct layout *out, const struct redline_model *model, const struct backend_ops *gpu,
                const struct backend_params *params, struct redline_err *err)
{
    size_t most = (size_t)weights_n_blocks(model->h.n_layers);
    struct weights again;
    *out = (struct layout){.rows = mem_new(most, sizeof *out->rows), .row_of = mem_new(most, sizeof *out->row_of)};
    if (!out->rows || !out->row_of) {
        layout_free(out);
        return err_memory(err, most * sizeof *out->rows, "the blocks of the model");
    }
    struct measuring m = {out, gpu, params};
    make_rows(out, model);
    add_tensors(out, model);
    int status = weights_bind(&again, &model->h, model->gguf,
                              &(struct weights_placer){measure_weight, measure_vector, &m}, err);
    weights_free(&again);
    if (status) layout_free(out);
    return status;
}

void layout_free(struct layout *b)
{
    mem_free(b->rows);
    mem_free(b->row_of);
    *b = (struct layout){0};
}
