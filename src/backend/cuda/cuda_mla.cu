/* cuda_mla.cu - latent attention: what stands around ATTEND where keys and values are made from one short row per
 * position; see struct op_mla. */
#include "cuda_heads.cuh"

extern "C" {
#include "strip.h"
}

enum { MLA_WARPS = 4, MOST_ROWS = 65535 }; /* MOST_ROWS: of a product by head */

static struct cuda_product product_of(struct cuda_run *run, const struct linear *w, const float *x, size_t x_stride,
                                      const struct norm *norm, float *out)
{
    struct cuda_product p = {};
    p.x = x;
    p.x_stride = x_stride;
    p.n = run->n_tokens;
    p.norm = norm;
    p.w = w;
    p.out = out;
    p.out_stride = (size_t)w->w.n_rows;
    p.after = AFTER_STORE;
    return p;
}

/* ---- products by head -------------------------------------------------------------------------------------------- */

/* Row (t, h) of out, out_stride apart, is matrix h times row (t, h) of x, or row t where all heads share it. */
static void multiply_heads(struct cuda_run *run, const struct weight *w, const float *x, size_t x_stride, bool shared,
                           float *out, size_t out_stride)
{
    struct linear l = {*w, NULL};
    int most = MOST_ROWS / w->n_mats;
    for (int first = 0; first < run->n_tokens; first += most) {
        size_t row = (size_t)first * (size_t)w->n_mats;
        struct cuda_product p = product_of(run, &l, x + (shared ? (size_t)first : row) * x_stride, x_stride, NULL,
                                           out + row * out_stride);
        p.n = MIN(most, run->n_tokens - first) * w->n_mats;
        p.out_stride = out_stride;
        p.heads = true;
        p.x_of_token = shared;
        p.n_used = w->n_mats;
        cuda_multiply(run, &p, 1);
    }
}

void cuda_op_heads(struct cuda_run *run, const struct op_heads *op)
{
    multiply_heads(run, &op->w, op->in, (size_t)op->w.n_cols, false, op->out, (size_t)op->w.n_rows);
}

/* ---- queries and short rows -------------------------------------------------------------------------------------- */

struct latent {
    struct op_mla op;
    struct cuda_batch batch;
    float *queries;   /* [T, H, d_nope + n_rot] */
    float *kv_latent; /* [T, kv_rank + n_rot] */
    const float *k, *v; /* [T, H, d_nope], [T, H, d_v] with the strides below: what short rows were expanded to */
    size_t k_head, v_head;
    int room;         /* floats of a row in shared memory */
};

/* The rotated part goes behind the absorbed query, or stays where it is. */
LANE void finish_query(const struct latent &a, float *room, int h, int t)
{
    int d_nope = a.op.d_nope, n_rot = a.op.rope.n_rot;
    size_t nth = (size_t)t * (size_t)a.op.n_heads + (size_t)h;
    float *q = a.queries + nth * (size_t)(d_nope + n_rot);
    float *rotated = a.op.absorbed ? a.op.q + nth * (size_t)a.op.kv.d_k + a.op.kv_rank : q + d_nope;
    float factor = temperature(a.op.temp_scale, a.op.temp_offset, a.op.temp_length, a.batch.pos[t]);
    head_load(room, q + d_nope, n_rot, 0);
    head_rotate(a.op.rope, a.batch, room, t);
    if (a.op.temp_scale != 0) {
        head_scale(room, n_rot, factor);
        head_scale(q, d_nope, factor);
    }
    head_store(rotated, room, n_rot);
}

/* Normed, the last numbers rotated; where that is all, stored. */
LANE void finish_latent(const struct latent &a, float *room, int t)
{
    const struct kv_layer &kv = a.op.kv;
    int n = a.op.kv_rank + a.op.rope.n_rot;
    float *row = a.kv_latent + (size_t)t * (size_t)n;
    head_load(room, row, n, 0);
    warp_barrier(); /* the rotated part begins with any lane's number */
    head_norm(a.op.kv_norm, room, a.op.kv_rank, 0);
    head_rotate(a.op.rope, a.batch, room + a.op.kv_rank, t);
    if (a.op.absorbed)
        kv_store_warp(kv.type_k, kv_row(a.batch, kv, false, a.batch.seq[t], 0, a.batch.pos[t]), room, n);
    else
        head_store(row, room, n);
}

/* Block (t, y): each warp takes a query, and the one behind the last the short row. */
static __global__ void finish_rows(struct latent a)
{
    float *room = (float *)shared_memory() + (size_t)(threadIdx.x / 32) * (size_t)a.room;
    int t = (int)blockIdx.x, h = (int)(blockIdx.y * MLA_WARPS + threadIdx.x / 32);
    grid_wait();
    grid_release();
    if (h < a.op.n_heads)
        finish_query(a, room, h, t);
    else if (h == a.op.n_heads)
        finish_latent(a, room, t);
}

/* Block (t, y): each warp stores the key or the value of one head; a key ends in the rotated part, the same for all. */
static __global__ void store_expanded(struct latent a)
{
    const struct kv_layer &kv = a.op.kv;
    float *key = (float *)shared_memory() + (size_t)(threadIdx.x / 32) * (size_t)a.room;
    int t = (int)blockIdx.x, i = (int)(blockIdx.y * MLA_WARPS + threadIdx.x / 32), h = i / 2;
    grid_wait();
    grid_release();
    if (h >= a.op.n_heads) return;
    size_t nth = (size_t)t * (size_t)a.op.n_heads + (size_t)h;
    char *slot = kv_row(a.batch, kv, i % 2 != 0, a.batch.seq[t], h, a.batch.pos[t]);
    if (i % 2 != 0) {
        kv_store_warp(kv.type_v, slot, a.v + nth * a.v_head, kv.d_v);
        return;
    }
    head_load(key, a.k + nth * a.k_head, a.op.d_nope, 0);
    head_load(key + a.op.d_nope, a.kv_latent + (size_t)t * (size_t)(a.op.kv_rank + a.op.rope.n_rot) + a.op.kv_rank,
              a.op.rope.n_rot, 0);
    warp_barrier();
    kv_store_warp(kv.type_k, slot, key, kv.d_k);
}

/* ---- the operation ----------------------------------------------------------------------------------------------- */

/* Matrices by head whose rows fill their strips are one tall matrix, for inputs that all heads share. */
static struct linear stacked(const struct weight *w)
{
    struct linear all = {*w, NULL};
    all.w.n_rows *= w->n_mats;
    all.w.n_mats = 1;
    return all;
}

static void expand(struct cuda_run *run, const struct op_mla *op, struct latent *a, float *k, float *v)
{
    size_t stride = (size_t)(op->kv_rank + op->rope.n_rot);
    a->k = k;
    a->v = v;
    a->k_head = (size_t)op->d_nope;
    a->v_head = (size_t)op->kv.d_v;
    if (op->d_nope % STRIP == 0 && op->kv.d_v % STRIP == 0) {
        struct linear wk = stacked(&op->wk_b), wv = stacked(&op->wv_b);
        struct cuda_product p[] = {product_of(run, &wk, a->kv_latent, stride, NULL, k),
                                   product_of(run, &wv, a->kv_latent, stride, NULL, v)};
        cuda_multiply(run, p, 2);
    } else {
        multiply_heads(run, &op->wk_b, a->kv_latent, stride, true, k, a->k_head);
        multiply_heads(run, &op->wv_b, a->kv_latent, stride, true, v, a->v_head);
    }
    unsigned n = 2 * (unsigned)op->n_heads;
    device_launch(run->d, "storing expanded keys and values", store_expanded,
                  dim3((unsigned)run->n_tokens, (n + MLA_WARPS - 1) / MLA_WARPS), dim3(MLA_WARPS * 32),
                  MLA_WARPS * (size_t)a->room * sizeof(float), *a);
}

void cuda_op_mla(struct cuda_run *run, const struct op_mla *op)
{
    const struct cuda_scratch *s = &run->b->scratch;
    bool ranked = op->wq_a.w.n_mats > 0;
    int d_head = op->d_nope + op->rope.n_rot, n_latent = op->kv_rank + op->rope.n_rot;
    float *queries = op->absorbed ? s->expanded : op->q;
    size_t width = (size_t)op->wkv_a.w.n_cols;
    struct cuda_product first[] = {
        product_of(run, ranked ? &op->wq_a : &op->wq_b, op->x, width, &op->norm, ranked ? s->q_latent : queries),
        product_of(run, &op->wkv_a, op->x, width, &op->norm, s->kv_latent)};
    cuda_multiply(run, first, 2);
    if (ranked) {
        struct cuda_product second =
            product_of(run, &op->wq_b, s->q_latent, (size_t)op->wq_a.w.n_rows, &op->q_norm, queries);
        cuda_multiply(run, &second, 1);
    }
    struct latent a = {*op, run->batch, queries, s->kv_latent, NULL, NULL, 0, 0, head_room(MAX(n_latent, d_head))};
    device_launch(run->d, "finishing latent rows", finish_rows,
                  dim3((unsigned)run->n_tokens, (unsigned)(op->n_heads + MLA_WARPS) / MLA_WARPS),
                  dim3(MLA_WARPS * 32), MLA_WARPS * (size_t)a.room * sizeof(float), a);
    if (op->absorbed)
        multiply_heads(run, &op->wk_b, queries, (size_t)d_head, false, op->q, (size_t)op->kv.d_k);
    else
        expand(run, op, &a, s->k, s->v);
}
