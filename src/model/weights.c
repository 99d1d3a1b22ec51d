/* weights.c - binding tensors: a table says name, field, shape and who needs it; one function does the rest.
 * Afterwards tensors that hold several matrices are cut into views. */
#include "weights.h"

#include <stdio.h>

#include "base.h"
#include "mem.h"

enum dim {
    ONE, DIM_D, DIM_Q, DIM_K, DIM_V, DIM_QKV, DIM_O, DIM_H, DIM_QNORM, DIM_QNORMS, DIM_KNORM, DIM_KNORMS,
    DIM_F, DIM_F2, DIM_FE, DIM_FE2, DIM_FS, DIM_VOCAB, DIM_E, DIM_ROT, DIM_ANY,
    DIM_DENSE, DIM_EMBED, DIM_QRANK, DIM_KVRANK, DIM_QLATENT, DIM_KVLATENT, DIM_KV_B, DIM_NOPE, DIM_VHEAD,
};

enum form { MATRIX, TABLE, VECTOR, BIAS }; /* struct linear or weight; one read by rows; const float *; bias of a
                                              struct linear */

enum need { /* when a tensor is looked for; those marked MAYBE are used where the file has them */
    ALWAYS, MAYBE, HEAD, DENSE_OUT,
    POSITIONS, TYPES, FACTORS,      /* for families that have them */
    EMBED_NORM, NORM_SECOND, NORM_BEFORE, NORM_FFN /* MAYBE where parallel parts can share one */,
    NORM_LATE, NORM_AFTER, NORM_AFTER_SUM, NORM_OUT, NORM_HEADS /* MAYBE where the family says so */,
    QKV_FUSED, QKV_SPLIT, SINKS,
    LATENT, LATENT_Q, LATENT_NO_Q, ABSORBED, EXPANDED,
    DENSE, DENSE_GATED, DENSE_FUSED, DENSE_DOWN, DENSE_MAYBE, EXPERTS, EXPERTS_FUSED, EXPERTS_SPLIT,
    EXPERTS_GATED, EXPERTS_MAYBE, SHARED, SHARED_GATE,
};

struct binding {
    const char *name; /* behind "blk.N." for a layer's tensor */
    enum form form;
    size_t offset;    /* in struct layer_weights, or in struct weights */
    enum dim cols, rows, mats;
    enum need need;
    unsigned bias;    /* MAYBE, but for families that have this enum arch_biases; 0: not a bias */
};

#define LAYER(field) offsetof(struct layer_weights, field)
static const struct binding layer_table[] = {
    {"attn_norm.weight", VECTOR, LAYER(attn_norm.weight), DIM_D, ONE, ONE, NORM_BEFORE, 0},
    {"attn_norm.bias", VECTOR, LAYER(attn_norm.bias), DIM_D, ONE, ONE, NORM_BEFORE, BIAS_NORM},
    {"attn_norm_2.weight", VECTOR, LAYER(attn_norm_2.weight), DIM_D, ONE, ONE, NORM_SECOND, 0},
    {"attn_norm_2.bias", VECTOR, LAYER(attn_norm_2.bias), DIM_D, ONE, ONE, NORM_SECOND, 0},
    {"attn_qkv.weight", MATRIX, LAYER(wqkv), DIM_D, DIM_QKV, ONE, QKV_FUSED, 0},
    {"attn_qkv.bias", BIAS, LAYER(wqkv), DIM_QKV, ONE, ONE, QKV_FUSED, BIAS_QKV},
    {"attn_q.weight", MATRIX, LAYER(wq), DIM_D, DIM_Q, ONE, QKV_SPLIT, 0},
    {"attn_k.weight", MATRIX, LAYER(wk), DIM_D, DIM_K, ONE, QKV_SPLIT, 0},
    {"attn_v.weight", MATRIX, LAYER(wv), DIM_D, DIM_V, ONE, QKV_SPLIT, 0},
    {"attn_q.bias", BIAS, LAYER(wq), DIM_Q, ONE, ONE, QKV_SPLIT, BIAS_QKV},
    {"attn_k.bias", BIAS, LAYER(wk), DIM_K, ONE, ONE, QKV_SPLIT, BIAS_QKV},
    {"attn_v.bias", BIAS, LAYER(wv), DIM_V, ONE, ONE, QKV_SPLIT, BIAS_QKV},
    {"attn_q_norm.weight", VECTOR, LAYER(q_norm.weight), DIM_QNORM, DIM_QNORMS, ONE, NORM_HEADS, 0},
    {"attn_k_norm.weight", VECTOR, LAYER(k_norm.weight), DIM_KNORM, DIM_KNORMS, ONE, NORM_HEADS, 0},
    {"attn_q_norm.bias", VECTOR, LAYER(q_norm.bias), DIM_QNORM, DIM_QNORMS, ONE, NORM_HEADS, BIAS_NORM},
    {"attn_k_norm.bias", VECTOR, LAYER(k_norm.bias), DIM_KNORM, DIM_KNORMS, ONE, NORM_HEADS, BIAS_NORM},
    {"attn_sinks.weight", VECTOR, LAYER(sinks), DIM_H, ONE, ONE, SINKS, 0},
    {"attn_output.weight", MATRIX, LAYER(wo), DIM_O, DIM_D, ONE, ALWAYS, 0},
    {"attn_output.bias", BIAS, LAYER(wo), DIM_D, ONE, ONE, ALWAYS, BIAS_OUT},
    {"post_attention_norm.weight", VECTOR, LAYER(attn_post.weight), DIM_D, ONE, ONE, NORM_AFTER, 0},
    {"attn_output_norm.weight", VECTOR, LAYER(attn_out_norm.weight), DIM_D, ONE, ONE, NORM_AFTER_SUM, 0},
    {"attn_output_norm.bias", VECTOR, LAYER(attn_out_norm.bias), DIM_D, ONE, ONE, NORM_AFTER_SUM, BIAS_NORM},

    {"attn_q_a.weight", MATRIX, LAYER(wq_a), DIM_D, DIM_QRANK, ONE, LATENT_Q, 0},
    {"attn_q_a_norm.weight", VECTOR, LAYER(q_a_norm.weight), DIM_QRANK, ONE, ONE, LATENT_Q, 0},
    {"attn_q_b.weight", MATRIX, LAYER(wq_b), DIM_QRANK, DIM_QLATENT, ONE, LATENT_Q, 0},
    {"attn_q.weight", MATRIX, LAYER(wq_b), DIM_D, DIM_QLATENT, ONE, LATENT_NO_Q, 0},
    {"attn_kv_a_mqa.weight", MATRIX, LAYER(wkv_a), DIM_D, DIM_KVLATENT, ONE, LATENT, 0},
    {"attn_kv_a_norm.weight", VECTOR, LAYER(kv_a_norm.weight), DIM_KVRANK, ONE, ONE, LATENT, 0},
    {"attn_kv_b.weight", MATRIX, LAYER(wkv_b), DIM_KVRANK, DIM_KV_B, ONE, EXPANDED, 0},
    {"attn_k_b.weight", MATRIX, LAYER(wk_b), DIM_NOPE, DIM_KVRANK, DIM_H, ABSORBED, 0},
    {"attn_v_b.weight", MATRIX, LAYER(wv_b), DIM_KVRANK, DIM_VHEAD, DIM_H, ABSORBED, 0},

    {"ffn_norm.weight", VECTOR, LAYER(ffn_norm.weight), DIM_D, ONE, ONE, NORM_FFN, 0},
    {"ffn_norm.bias", VECTOR, LAYER(ffn_norm.bias), DIM_D, ONE, ONE, NORM_FFN, BIAS_NORM},
    {"post_attention_norm.weight", VECTOR, LAYER(ffn_norm.weight), DIM_D, ONE, ONE, NORM_LATE, 0},
    {"post_ffw_norm.weight", VECTOR, LAYER(ffn_post.weight), DIM_D, ONE, ONE, NORM_AFTER, 0},
    {"layer_output_norm.weight", VECTOR, LAYER(layer_norm.weight), DIM_D, ONE, ONE, NORM_AFTER_SUM, 0},
    {"layer_output_norm.bias", VECTOR, LAYER(layer_norm.bias), DIM_D, ONE, ONE, NORM_AFTER_SUM, BIAS_NORM},
    {"ffn_gate.weight", MATRIX, LAYER(gate), DIM_D, DIM_F, ONE, DENSE_GATED, 0},
    {"ffn_gate.bias", BIAS, LAYER(gate), DIM_F, ONE, ONE, DENSE_GATED, BIAS_FFN},
    {"ffn_up.weight", MATRIX, LAYER(gate_up), DIM_D, DIM_F2, ONE, DENSE_FUSED, 0},
    {"ffn_up.bias", BIAS, LAYER(gate_up), DIM_F2, ONE, ONE, DENSE_FUSED, BIAS_FFN},
    {"ffn_up.weight", MATRIX, LAYER(up), DIM_D, DIM_F, ONE, DENSE, 0},
    {"ffn_up.bias", BIAS, LAYER(up), DIM_F, ONE, ONE, DENSE, BIAS_FFN},
    {"ffn_down.weight", MATRIX, LAYER(down), DIM_F, DIM_D, ONE, DENSE_DOWN, 0},
    {"ffn_down.bias", BIAS, LAYER(down), DIM_D, ONE, ONE, DENSE_DOWN, BIAS_FFN},
    {"ffn.act.scales", VECTOR, LAYER(act_scales), DIM_F, ONE, ONE, DENSE_MAYBE, 0},

    {"ffn_gate_inp.weight", MATRIX, LAYER(router), DIM_D, DIM_E, ONE, EXPERTS, 0},
    {"ffn_gate_inp.bias", BIAS, LAYER(router), DIM_E, ONE, ONE, EXPERTS, BIAS_EXPERTS},
    {"exp_probs_b.bias", VECTOR, LAYER(choice_bias), DIM_E, ONE, ONE, EXPERTS_MAYBE, 0},
    {"ffn_gate_up_exps.weight", MATRIX, LAYER(gate_up), DIM_D, DIM_FE2, DIM_E, EXPERTS_FUSED, 0},
    {"ffn_gate_exps.weight", MATRIX, LAYER(gate), DIM_D, DIM_FE, DIM_E, EXPERTS_GATED, 0},
    {"ffn_gate_exps.bias", BIAS, LAYER(gate), DIM_FE, DIM_E, ONE, EXPERTS_GATED, BIAS_EXPERTS},
    {"ffn_up_exps.weight", MATRIX, LAYER(up), DIM_D, DIM_FE, DIM_E, EXPERTS_SPLIT, 0},
    {"ffn_up_exps.bias", BIAS, LAYER(up), DIM_FE, DIM_E, ONE, EXPERTS_SPLIT, BIAS_EXPERTS},
    {"ffn_down_exps.weight", MATRIX, LAYER(down), DIM_FE, DIM_D, DIM_E, EXPERTS, 0},
    {"ffn_down_exps.bias", BIAS, LAYER(down), DIM_D, DIM_E, ONE, EXPERTS, BIAS_EXPERTS},
    {"ffn_gate_inp_shexp.weight", VECTOR, LAYER(shared_share), DIM_D, ONE, ONE, SHARED_GATE, 0},
    {"ffn_gate_shexp.weight", MATRIX, LAYER(shared_gate), DIM_D, DIM_FS, ONE, SHARED, 0},
    {"ffn_up_shexp.weight", MATRIX, LAYER(shared_up), DIM_D, DIM_FS, ONE, SHARED, 0},
    {"ffn_down_shexp.weight", MATRIX, LAYER(shared_down), DIM_FS, DIM_D, ONE, SHARED, 0},
};

#define MODEL(field) offsetof(struct weights, field)
static const struct binding model_table[] = {
    {"token_embd.weight", TABLE, MODEL(embed), DIM_D, DIM_VOCAB, ONE, ALWAYS, 0},
    {"position_embd.weight", TABLE, MODEL(positions), DIM_D, DIM_ANY, ONE, POSITIONS, 0},
    {"token_types.weight", TABLE, MODEL(types), DIM_D, DIM_ANY, ONE, TYPES, 0},
    {"token_embd_norm.weight", VECTOR, MODEL(embed_norm.weight), DIM_D, ONE, ONE, EMBED_NORM, 0},
    {"token_embd_norm.bias", VECTOR, MODEL(embed_norm.bias), DIM_D, ONE, ONE, EMBED_NORM, BIAS_NORM},
    {"output_norm.weight", VECTOR, MODEL(out_norm.weight), DIM_D, ONE, ONE, NORM_OUT, 0},
    {"output_norm.bias", VECTOR, MODEL(out_norm.bias), DIM_D, ONE, ONE, NORM_OUT, BIAS_NORM},
    {"output.weight", MATRIX, MODEL(head), DIM_D, DIM_VOCAB, ONE, HEAD, 0},
    {"output.bias", BIAS, MODEL(head), DIM_VOCAB, ONE, ONE, HEAD, BIAS_HEAD},
    {"dense_2.weight", MATRIX, MODEL(dense[0]), DIM_D, DIM_DENSE, ONE, DENSE_OUT, 0},
    {"dense_3.weight", MATRIX, MODEL(dense[1]), DIM_DENSE, DIM_EMBED, ONE, DENSE_OUT, 0},
    {"rope_freqs.weight", VECTOR, MODEL(rope_factors), DIM_ROT, ONE, ONE, FACTORS, 0},
    {"rope_factors_long.weight", VECTOR, MODEL(rope_long), DIM_ROT, ONE, ONE, FACTORS, 0},
    {"rope_factors_short.weight", VECTOR, MODEL(rope_short), DIM_ROT, ONE, ONE, FACTORS, 0},
};

_Static_assert(offsetof(struct linear, w) == 0, "a struct linear can be filled as a struct weight");

struct binder {
    struct weights *out;
    const struct hparams *h;
    const struct gguf *g;
    const struct weights_placer *placer; /* or NULL */
    struct redline_err *err;
};

/* Where the row's tensor belongs; see the orders in weights.h. */
static int block_of(const struct binder *bind, const struct binding *row, int layer)
{
    if (layer >= 0)
        return weights_block(layer, row->offset < LAYER(ffn_norm) ? PART_ATTENTION : PART_FEED_FORWARD);
    return row->offset < MODEL(out_norm) ? BLOCK_EMBEDDING : weights_head_block(bind->h->n_layers);
}

static uint64_t dim_of(const struct hparams *h, enum dim d)
{
    const struct arch *arch = h->arch;
    uint64_t q = (uint64_t)h->n_heads * (uint64_t)h->d_k, k = (uint64_t)h->n_kv_heads * (uint64_t)h->d_k;
    uint64_t v = (uint64_t)h->n_kv_heads * (uint64_t)h->d_v;
    bool whole = arch->head_norm == HEADS_WHOLE || arch->head_norm == HEADS_WHOLE_OPTIONAL;
    switch (d) {
    case ONE: case DIM_ANY: return 1;
    case DIM_D: return (uint64_t)h->width;
    case DIM_Q: case DIM_QLATENT: return q;
    case DIM_K: return k;
    case DIM_V: return v;
    case DIM_QKV: return q + k + v;
    case DIM_O: return (uint64_t)h->n_heads * (uint64_t)h->d_v;
    case DIM_H: return (uint64_t)h->n_heads;
    case DIM_QNORM: return whole ? q : (uint64_t)h->d_k;
    case DIM_KNORM: return whole ? k : (uint64_t)h->d_k;
    case DIM_QNORMS: return arch->head_norm == HEADS_OPTIONAL ? (uint64_t)h->n_heads : 1;
    case DIM_KNORMS: return arch->head_norm == HEADS_OPTIONAL ? (uint64_t)h->n_kv_heads : 1;
    case DIM_F: return (uint64_t)h->ffn_width;
    case DIM_F2: return 2 * (uint64_t)h->ffn_width;
    case DIM_FE: return (uint64_t)h->expert_width;
    case DIM_FE2: return 2 * (uint64_t)h->expert_width;
    case DIM_FS: return (uint64_t)h->shared_width;
    case DIM_VOCAB: return (uint64_t)h->n_vocab;
    case DIM_E: return (uint64_t)h->n_experts;
    case DIM_ROT: return (uint64_t)h->n_rot / 2;
    case DIM_DENSE: return (uint64_t)h->dense_width;
    case DIM_EMBED: return (uint64_t)h->embed_width;
    case DIM_QRANK: return (uint64_t)h->q_rank;
    case DIM_KVRANK: return (uint64_t)h->kv_rank;
    case DIM_KVLATENT: return (uint64_t)h->kv_rank + (uint64_t)h->n_rot;
    case DIM_KV_B: return (uint64_t)h->n_heads * ((uint64_t)h->d_nope + (uint64_t)h->d_v);
    case DIM_NOPE: return (uint64_t)h->d_nope;
    case DIM_VHEAD: return (uint64_t)h->d_v;
    }
    return 0;
}

static bool has_tensor(const struct binder *bind, int layer, const char *name)
{
    char full[96];
    snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    return gguf_find_tensor(bind->g, str_of(full)) != NULL;
}

/* The form of a layer's feed-forward part. */
static enum arch_ffn ffn_of(const struct binder *bind, int layer)
{
    const struct hparams *h = bind->h;
    char name[96];
    if (h->arch->ffn != FFN_FOUND) return h->arch->ffn;
    if (has_tensor(bind, layer, "ffn_gate.weight")) return FFN_GATED;
    snprintf(name, sizeof name, "blk.%d.ffn_up.weight", layer);
    const struct gguf_tensor *up = gguf_find_tensor(bind->g, str_of(name));
    return up && up->shape[1] == 2 * (uint64_t)h->ffn_width ? FFN_FUSED : FFN_PLAIN;
}

enum wanted { NO, YES, IF_PRESENT };

/* Norms, and what stands outside the layers. */
static enum wanted wants_norm(const struct hparams *h, enum need need)
{
    const struct arch *arch = h->arch;
    bool weighted = !arch->norm_unweighted;
    bool before = weighted && (arch->norms == NORMS_BEFORE || arch->norms == NORMS_AROUND);
    switch (need) {
    case POSITIONS: return arch->positions ? YES : arch->mpt_extras ? IF_PRESENT : NO;
    case TYPES: return arch->encoder && arch->embed_norm ? IF_PRESENT : NO;
    case FACTORS: return arch->rope_factors ? IF_PRESENT : NO;
    case NORM_SECOND: return arch->second_norm ? IF_PRESENT : NO;
    case EMBED_NORM: return arch->embed_norm ? YES : NO;
    case NORM_OUT: return weighted && arch->norms != NORMS_AFTER_SUM ? YES : NO;
    case NORM_BEFORE: return before ? YES : NO;
    case NORM_FFN:
        if (!before || arch->ffn_norm_late) return NO;
        return arch->parallel == PARALLEL_NEVER || arch->parallel == PARALLEL_KEY ? YES : IF_PRESENT;
    case NORM_LATE: return arch->ffn_norm_late ? YES : NO;
    case NORM_AFTER: return arch->norms == NORMS_AFTER || arch->norms == NORMS_AROUND ? YES : NO;
    case NORM_AFTER_SUM: return arch->norms == NORMS_AFTER_SUM ? YES : NO;
    case NORM_HEADS:
        if (arch->head_norm == HEADS_NORMED || arch->head_norm == HEADS_WHOLE) return YES;
        return arch->head_norm == HEADS_OPTIONAL || arch->head_norm == HEADS_NORMED_OPTIONAL ||
                       arch->head_norm == HEADS_WHOLE_OPTIONAL
                   ? IF_PRESENT
                   : NO;
    default: return NO;
    }
}

static enum wanted wants(const struct binder *bind, enum need need, int layer)
{
    const struct hparams *h = bind->h;
    bool latent = h->kv_rank > 0, experts = layer >= 0 && hparams_has_experts(h, layer);
    bool may_fuse = need < SINKS || !(h->arch->biases & BIAS_EXPERTS); /* no file is known that fuses those */
    bool fused = layer >= 0 && need >= QKV_FUSED && may_fuse &&
                 has_tensor(bind, layer, need < SINKS ? "attn_qkv.weight" : "ffn_gate_up_exps.weight");
    enum arch_ffn ffn = layer >= 0 ? ffn_of(bind, layer) : h->arch->ffn;
    switch (need) {
    case ALWAYS: return YES;
    case MAYBE: return IF_PRESENT;
    case HEAD: return h->encoder ? NO : IF_PRESENT;
    case DENSE_OUT: return h->dense_width > 0 ? YES : NO;
    case QKV_FUSED: return !latent && fused ? YES : NO;
    case QKV_SPLIT: return !latent && !fused ? YES : NO;
    case SINKS: return h->arch->sinks ? YES : NO;
    case LATENT: return latent ? YES : NO;
    case LATENT_Q: return latent && h->q_rank > 0 ? YES : NO;
    case LATENT_NO_Q: return latent && h->q_rank == 0 ? YES : NO;
    case ABSORBED: return latent && h->absorbed ? YES : NO;
    case EXPANDED: return latent && !h->absorbed ? YES : NO;
    case DENSE: return !experts && ffn != FFN_FUSED ? YES : NO;
    case DENSE_GATED: return !experts && ffn == FFN_GATED ? YES : NO;
    case DENSE_FUSED: return !experts && ffn == FFN_FUSED ? YES : NO;
    case DENSE_DOWN: return !experts ? YES : NO;
    case DENSE_MAYBE: return !experts && h->arch->mpt_extras ? IF_PRESENT : NO;
    case EXPERTS: return experts ? YES : NO;
    case EXPERTS_FUSED: return experts && fused ? YES : NO;
    case EXPERTS_SPLIT: return experts && !fused ? YES : NO;
    case EXPERTS_GATED: return experts && !fused && h->arch->ffn != FFN_PLAIN ? YES : NO;
    case NORM_BEFORE: return h->arch->first_unnormed && layer == 0 ? IF_PRESENT : wants_norm(h, need);
    case EXPERTS_MAYBE: return experts && h->arch->keys & KEY_MOE_GATE ? IF_PRESENT : NO;
    case SHARED: return experts && h->shared_width > 0 ? YES : NO;
    case SHARED_GATE: return experts && h->arch->shared_gate ? YES : NO;
    default: return wants_norm(h, need);
    }
}

static int check_shape(const struct binder *bind, const struct binding *row,
                       const struct gguf_tensor *t)
{
    const struct hparams *h = bind->h;
    uint64_t want[GGUF_MAX_DIMS] = {dim_of(h, row->cols), dim_of(h, row->rows), dim_of(h, row->mats), 1};
    if (row->rows == DIM_ANY) want[1] = t->shape[1];
    for (int i = 0; i < GGUF_MAX_DIMS; i++)
        if (t->shape[i] != want[i] || want[i] > INT32_MAX)
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

static int place(const struct binder *bind, int block, const struct weight *w, struct weight *const *parts,
                 int n_parts, struct str name)
{
    const struct weights_placer *p = bind->placer;
    return p ? p->place(p->user, block, w, parts, n_parts, name, bind->err) : 0;
}

/* The numbers of a vector, where the operations of its block find them. */
static int bind_vector(const struct binder *bind, int block, const struct binding *row, const struct gguf_tensor *t,
                       const float **out)
{
    const struct weights_placer *p = bind->placer;
    *out = t->data;
    if (!p || row->need == FACTORS) return 0;
    return p->vector(p->user, block, t->data, (size_t)(t->shape[0] * t->shape[1]), out, bind->err);
}

/* Whether the tensor is multiplied in parts, which cut_views() makes. */
static bool is_cut(enum need need)
{
    return need == QKV_FUSED || need == EXPANDED || need == DENSE_FUSED || need == EXPERTS_FUSED;
}

static int bind_tensor(const struct binder *bind, int block, const struct binding *row,
                       const struct gguf_tensor *t, char *base)
{
    TRY(check_shape(bind, row, t));
    void *field = base + row->offset;
    bind->out->block_of[t - bind->g->tensors] = block;
    bind->out->bytes += t->bytes;
    if (row->form == VECTOR) return bind_vector(bind, block, row, t, field);
    if (row->form == BIAS) return bind_vector(bind, block, row, t, &((struct linear *)field)->bias);

    size_t row_bytes = dtype_row_bytes(dtype_info(t->dtype), t->shape[0]);
    struct weight *w = field;
    *w = (struct weight){.dtype = t->dtype,
                         .n_cols = (int)t->shape[0],
                         .n_rows = (int)t->shape[1],
                         .n_mats = (int)t->shape[2],
                         .row_bytes = row_bytes,
                         .mat_bytes = row_bytes * (size_t)t->shape[1],
                         .data = t->data};
    return is_cut(row->need) ? 0 : place(bind, block, w, &w, row->form == MATRIX, t->name);
}

static int bind_row(const struct binder *bind, const struct binding *row, int layer, char *base)
{
    char name[96];
    enum wanted wanted = wants(bind, row->need, layer);
    if (wanted == NO) return 0;
    if (row->need == NORM_HEADS && !has_tensor(bind, layer, "attn_q_norm.weight") && wanted == IF_PRESENT)
        return 0; /* keys are normed only together with queries */
    if (row->bias & bind->h->arch->no_biases) return 0;
    if (row->bias && !(bind->h->arch->biases & row->bias)) wanted = IF_PRESENT;
    if (layer < 0)
        snprintf(name, sizeof name, "%s", row->name);
    else
        snprintf(name, sizeof name, "blk.%d.%s", layer, row->name);
    const struct gguf_tensor *t = gguf_find_tensor(bind->g, str_of(name));
    if (t) return bind_tensor(bind, block_of(bind, row, layer), row, t, base);
    if (wanted != YES) return 0;
    return err_set(bind->err, REDLINE_FORMAT, "there is no tensor '%s'", name);
}

/* n_rows rows of each matrix from row `first` on. */
static struct linear view(const struct linear *all, int first, int n_rows)
{
    struct linear part = *all;
    part.w.n_rows = n_rows;
    part.w.data = (const char *)all->w.data + (size_t)first * all->w.row_bytes;
    if (all->bias) part.bias = all->bias + first;
    return part;
}

static int place_views(const struct binder *bind, int layer, enum weights_part part, const char *name,
                       const struct linear *all, struct weight *const *parts, int n_parts)
{
    char full[96];
    snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    return place(bind, weights_block(layer, part), &all->w, parts, n_parts, str_of(full));
}

static int cut_views(const struct binder *bind, int layer)
{
    const struct hparams *h = bind->h;
    struct layer_weights *l = &bind->out->layers[layer];
    int q = h->n_heads * h->d_k, k = h->n_kv_heads * h->d_k, v = h->n_kv_heads * h->d_v;
    if (l->wqkv.w.n_mats) {
        l->wq = view(&l->wqkv, 0, q);
        l->wk = view(&l->wqkv, q, k);
        l->wv = view(&l->wqkv, q + k, v);
        TRY(place_views(bind, layer, PART_ATTENTION, "attn_qkv.weight", &l->wqkv,
                        (struct weight *[]){&l->wq.w, &l->wk.w, &l->wv.w}, 3));
    }
    if (l->gate_up.w.n_mats) {
        int width = l->gate_up.w.n_rows / 2;
        l->gate = view(&l->gate_up, 0, width);
        l->up = view(&l->gate_up, width, width);
        TRY(place_views(bind, layer, PART_FEED_FORWARD,
                        hparams_has_experts(h, layer) ? "ffn_gate_up_exps.weight" : "ffn_up.weight", &l->gate_up,
                        (struct weight *[]){&l->gate.w, &l->up.w}, 2));
    }
    if (l->wkv_b.w.n_mats) { /* d_nope rows of keys and d_v of values, head after head */
        struct linear heads = l->wkv_b;
        heads.w.n_mats = h->n_heads;
        heads.w.n_rows = h->d_nope + h->d_v;
        heads.w.mat_bytes = (size_t)heads.w.n_rows * heads.w.row_bytes;
        l->wk_b = view(&heads, 0, h->d_nope);
        l->wv_b = view(&heads, h->d_nope, h->d_v);
        TRY(place_views(bind, layer, PART_ATTENTION, "attn_kv_b.weight", &l->wkv_b,
                        (struct weight *[]){&l->wk_b.w, &l->wv_b.w}, 2));
    }
    return 0;
}

static uint64_t ops_of(const struct linear *l, int n_mats)
{
    return l->w.n_mats ? 2 * (uint64_t)l->w.n_rows * (uint64_t)l->w.n_cols * (uint64_t)n_mats : 0;
}

static void count_linear(struct weights *w, const struct linear *l, int n_mats)
{
    if (l->w.n_mats == 0) return;
    w->token_bytes += (uint64_t)l->w.row_bytes * (uint64_t)l->w.n_rows * (uint64_t)n_mats;
    w->token_ops += ops_of(l, n_mats);
}

/* In the products before a layer's attention, and between it and the output projection. */
static uint64_t ops_of_attention(const struct layer_weights *l, int n_heads)
{
    return ops_of(&l->wq, 1) + ops_of(&l->wk, 1) + ops_of(&l->wv, 1) + ops_of(&l->wq_a, 1) + ops_of(&l->wq_b, 1) +
           ops_of(&l->wkv_a, 1) + ops_of(&l->wk_b, n_heads) + ops_of(&l->wv_b, n_heads);
}

/* What one token costs: matrices only, the vectors are lost in the noise. */
static void count_token(struct weights *w, const struct hparams *h)
{
    for (int i = 0; i < h->n_layers; i++) {
        const struct layer_weights *l = &w->layers[i];
        int n = hparams_has_experts(h, i) ? h->n_experts_used : 1;
        const struct linear *once[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->wq_a, &l->wq_b, &l->wkv_a, &l->router,
                                       &l->shared_gate, &l->shared_up, &l->shared_down};
        const struct linear *each[] = {&l->gate, &l->up, &l->down};
        uint64_t before = w->token_ops;
        for (size_t k = 0; k < COUNT_OF(once); k++) count_linear(w, once[k], 1);
        for (size_t k = 0; k < COUNT_OF(each); k++) count_linear(w, each[k], n);
        count_linear(w, &l->wk_b, h->n_heads);
        count_linear(w, &l->wv_b, h->n_heads);
        if (i == h->n_layers - 1) w->kept_ops = w->token_ops - before - ops_of_attention(l, h->n_heads);
    }
    w->token_bytes += w->head.w.mat_bytes;
    w->head_ops = 2 * (uint64_t)w->head.w.n_rows * (uint64_t)w->head.w.n_cols;
}

static int bind_head(const struct binder *bind)
{
    struct weights *w = bind->out;
    if (bind->h->encoder || w->head.w.n_mats > 0) return 0;
    w->head.w = w->embed; /* the embedding is the head too */
    return place(bind, weights_head_block(bind->h->n_layers), &w->head.w, (struct weight *[]){&w->head.w}, 1,
                 STR("token_embd.weight"));
}

bool weights_parallel(const struct weights *w, const struct hparams *h, int layer)
{
    switch (h->arch->parallel) {
    case PARALLEL_NEVER: return false;
    case PARALLEL_ALWAYS: return true;
    case PARALLEL_KEY: return h->parallel;
    case PARALLEL_UNNORMED: return !w->layers[layer].ffn_norm.weight;
    }
    return false;
}

int weights_bind(struct weights *out, const struct hparams *h, const struct gguf *g,
                 const struct weights_placer *placer, struct redline_err *err)
{
    *out = (struct weights){0};
    struct binder bind = {out, h, g, placer, err};
    int status = 0;
    out->layers = mem_new((size_t)h->n_layers, sizeof *out->layers);
    out->block_of = mem_new((size_t)g->n_tensors, sizeof *out->block_of);
    if (!out->layers || !out->block_of)
        status = err_memory(err, (size_t)h->n_layers * sizeof *out->layers, "the table of layers");
    for (uint64_t i = 0; out->block_of && i < g->n_tensors; i++) out->block_of[i] = -1;
    for (size_t i = 0; !status && i < COUNT_OF(model_table); i++)
        status = bind_row(&bind, &model_table[i], -1, (char *)out);
    for (int l = 0; !status && l < h->n_layers; l++) {
        uint64_t before = out->bytes;
        for (size_t i = 0; !status && i < COUNT_OF(layer_table); i++)
            status = bind_row(&bind, &layer_table[i], l, (char *)&out->layers[l]);
        out->layers[l].bytes = out->bytes - before;
        if (!status) status = cut_views(&bind, l);
    }
    if (!status) status = bind_head(&bind);
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
    mem_free(w->block_of);
    *w = (struct weights){0};
}
