/* cpu_mla.c - latent attention on the CPU: what stands around ATTEND where keys and values are made from one
 * short row per position; see struct op_mla. */
#include "cpu_backend.h"

#include <string.h>

#include "base.h"

/* The rows of head h among rows [T, H]. */
static struct cpu_rows rows_of_head(const struct cpu_rows *all, int h, int n_heads)
{
    return cpu_rows_of(all, h, all->n_tokens / n_heads, n_heads);
}

/* y = w x for all rows of w, shared out. */
static void product(const struct cpu_member *m, const struct linear *w, const struct cpu_rows *x, float *y)
{
    int n_rows = w->w.n_rows, chunk = cpu_chunk(m, n_rows, 2 * STRIP);
    for (int first, last; cpu_next_rows(m, n_rows, chunk, &first, &last);)
        cpu_mm(m, w, 0, x, first, last, y, (size_t)n_rows);
    team_barrier(m->team, m->id);
}

/* The short rows: normed, their last numbers rotated; where that is all, stored. */
static void finish_latent(const struct cpu_member *m, const struct op_mla *op)
{
    const struct kv_layer *kv = &op->kv;
    size_t n = (size_t)op->wkv_a.w.n_rows, rank = (size_t)op->kv_rank;
    int64_t first, last;
    team_range(m->team, m->id, m->batch->n_tokens, 1, &first, &last);
    for (int t = (int)first; t < last; t++) {
        float *row = m->b->scratch.kv_latent + (size_t)t * n;
        cpu_norm_row(m->kern, &op->kv_norm, row, row, rank);
        cpu_rotate(m, &op->rope, row + rank, t);
        if (op->absorbed)
            cpu_kv_store(m, kv->type_k, cpu_kv_slot(m, kv, kv->k, kv->k_page_bytes, kv->k_row_bytes, t, 0), row,
                         (int)n);
    }
    team_barrier(m->team, m->id);
}

/* Keys and values of every head from the short rows, and to the cache. */
static void expand(const struct cpu_member *m, const struct op_mla *op)
{
    const struct kv_layer *kv = &op->kv;
    const struct cpu_scratch *s = &m->b->scratch;
    struct linear wk = {.w = op->wk_b}, wv = {.w = op->wv_b};
    size_t n_latent = (size_t)op->wkv_a.w.n_rows, k_stride = (size_t)(op->n_heads * kv->d_k);
    size_t v_stride = (size_t)(op->n_heads * kv->d_v), n_rot = (size_t)op->rope.n_rot;
    struct cpu_source from = {s->kv_latent, NULL, n_latent, m->batch->n_tokens, op->kv_rank, .per_token = 1};
    struct cpu_rows x = cpu_prepare(m, &from, NULL, cpu_wants(m->b, &op->wk_b));
    for (int64_t h; team_next(m->team, m->id, op->n_heads, &h);) {
        float *k = s->k + (size_t)h * (size_t)kv->d_k, *v = s->v + (size_t)h * (size_t)kv->d_v;
        cpu_mm(m, &wk, (int)h, &x, 0, op->d_nope, k, k_stride);
        cpu_mm(m, &wv, (int)h, &x, 0, kv->d_v, v, v_stride);
        for (int t = 0; t < x.n_tokens; t++) {
            float *key = k + (size_t)t * k_stride;
            memcpy(key + op->d_nope, s->kv_latent + (size_t)t * n_latent + op->kv_rank, n_rot * sizeof *key);
            cpu_kv_store(m, kv->type_k, cpu_kv_slot(m, kv, kv->k, kv->k_page_bytes, kv->k_row_bytes, t, (int)h),
                         key, kv->d_k);
            cpu_kv_store(m, kv->type_v, cpu_kv_slot(m, kv, kv->v, kv->v_page_bytes, kv->v_row_bytes, t, (int)h),
                         v + (size_t)t * v_stride, kv->d_v);
        }
    }
}

/* Rotates the last numbers of every query head; [T, H, d_nope + n_rot]. */
static void rotate_queries(const struct cpu_member *m, const struct op_mla *op, float *q)
{
    size_t d = (size_t)(op->d_nope + op->rope.n_rot);
    int64_t first, last;
    team_range(m->team, m->id, m->batch->n_tokens, 1, &first, &last);
    for (int t = (int)first; t < last; t++)
        for (int h = 0; h < op->n_heads; h++)
            cpu_rotate(m, &op->rope, q + ((size_t)t * (size_t)op->n_heads + (size_t)h) * d + op->d_nope, t);
    team_barrier(m->team, m->id);
}

/* The first part of each query as a query of short rows, the rotated part behind it. */
static void absorb(const struct cpu_member *m, const struct op_mla *op)
{
    struct linear wk = {.w = op->wk_b};
    size_t d = (size_t)(op->d_nope + op->rope.n_rot), d_k = (size_t)op->kv.d_k, n_heads = (size_t)op->n_heads;
    const float *q = m->b->scratch.expanded;
    struct cpu_source from = {q, NULL, d, m->batch->n_tokens * op->n_heads, op->d_nope,
                              .per_token = op->n_heads};
    struct cpu_rows all = cpu_prepare(m, &from, NULL, cpu_wants(m->b, &op->wk_b));
    for (int64_t h; team_next(m->team, m->id, op->n_heads, &h);) {
        struct cpu_rows x = rows_of_head(&all, (int)h, op->n_heads);
        float *out = op->q + (size_t)h * d_k;
        cpu_mm(m, &wk, (int)h, &x, 0, op->kv_rank, out, n_heads * d_k);
        for (int t = 0; t < x.n_tokens; t++)
            memcpy(out + (size_t)t * n_heads * d_k + op->kv_rank,
                   q + ((size_t)t * n_heads + (size_t)h) * d + op->d_nope, (size_t)op->rope.n_rot * sizeof *out);
    }
    team_barrier(m->team, m->id);
}

static void scale_queries(const struct cpu_member *m, const struct op_mla *op)
{
    size_t n = (size_t)op->n_heads * (size_t)op->kv.d_k;
    int64_t first, last;
    if (op->temp_scale == 0) return;
    team_barrier(m->team, m->id);
    team_range(m->team, m->id, m->batch->n_tokens, 1, &first, &last);
    for (int t = (int)first; t < last; t++)
        m->kern->scale(op->q + (size_t)t * n,
                       cpu_temperature(m, op->temp_scale, op->temp_offset, op->temp_length, t), n);
}

void cpu_op_mla(const struct cpu_member *m, const struct op_mla *op)
{
    const struct cpu_scratch *s = &m->b->scratch;
    bool ranked = op->wq_a.w.n_mats > 0;
    const struct linear *first_q = ranked ? &op->wq_a : &op->wq_b;
    float *queries = op->absorbed ? s->expanded : op->q;
    int width = op->wkv_a.w.n_cols;
    struct cpu_source from = {op->x, NULL, (size_t)width, m->batch->n_tokens, width, .per_token = 1};
    struct cpu_rows x =
        cpu_prepare(m, &from, &op->norm, cpu_wants(m->b, &first_q->w) | cpu_wants(m->b, &op->wkv_a.w));
    product(m, first_q, &x, ranked ? s->q_latent : queries);
    product(m, &op->wkv_a, &x, s->kv_latent);
    if (ranked) {
        int rank = op->wq_a.w.n_rows;
        struct cpu_source latent = {s->q_latent, NULL, (size_t)rank, m->batch->n_tokens, rank, .per_token = 1};
        struct cpu_rows q = cpu_prepare(m, &latent, &op->q_norm, cpu_wants(m->b, &op->wq_b.w));
        product(m, &op->wq_b, &q, queries);
    }
    finish_latent(m, op);
    rotate_queries(m, op, queries);
    if (op->absorbed)
        absorb(m, op);
    else
        expand(m, op);
    scale_queries(m, op);
}

void cpu_op_heads(const struct cpu_member *m, const struct op_heads *op)
{
    const struct weight *w = &op->w;
    struct linear l = {.w = *w};
    size_t n_in = (size_t)w->n_cols, n_out = (size_t)w->n_rows;
    struct cpu_source from = {op->in, NULL, n_in, m->batch->n_tokens * w->n_mats, w->n_cols, .per_token = w->n_mats};
    struct cpu_rows all = cpu_prepare(m, &from, NULL, cpu_wants(m->b, w));
    for (int64_t h; team_next(m->team, m->id, w->n_mats, &h);) {
        struct cpu_rows x = rows_of_head(&all, (int)h, w->n_mats);
        cpu_mm(m, &l, (int)h, &x, 0, w->n_rows, op->out + (size_t)h * n_out, (size_t)w->n_mats * n_out);
    }
}
