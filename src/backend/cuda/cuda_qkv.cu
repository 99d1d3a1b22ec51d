/* cuda_qkv.cu - queries, keys and values: three products, and one kernel that finishes all heads.
 *
 * A warp takes a head from the product to where it is read: clamps, norms, rotates, scales and stores it.  Where all
 * heads of a token are normed together, a block takes all queries of a token, all its keys or all its values, and its
 * warps go on with the heads of these. */
#include "cuda_heads.cuh"

enum { HEAD_WARPS = 4, TOKEN_WARPS = 16, QUERIES = 0, KEYS = 1, VALUES = 2 };

struct finish {
    struct op_qkv op;
    struct cuda_batch batch;
    float *k, *v; /* [T, K d] */
    int room;     /* floats of a head in shared memory */
    bool whole;   /* norms of all heads of a token together */
};

struct part { /* queries, keys or values of one token */
    float *row;
    int n_heads, d;
};

LANE struct part part_of(const struct finish &f, int which, int t)
{
    const struct linear &w = which == QUERIES ? f.op.wq : which == KEYS ? f.op.wk : f.op.wv;
    float *rows = which == QUERIES ? f.op.q : which == KEYS ? f.k : f.v;
    int d = which == VALUES ? f.op.kv.d_v : f.op.kv.d_k;
    return {rows + (size_t)t * (size_t)w.w.n_rows, w.w.n_rows / d, d};
}

/* Norm and rotation in the family's order. */
LANE void shape_head(const struct finish &f, const struct norm &norm, const struct unit &all, float *head, int h, int d,
                     int t)
{
    size_t offset = f.op.norm_scope == HEAD_NORM_SHARED ? 0 : (size_t)h * (size_t)d;
    if (f.whole)
        head_apply(norm, all, head, d, offset);
    else if (!f.op.norm_after_rope)
        head_norm(norm, head, d, offset);
    head_rotate(f.op.rope, f.batch, head, t);
    if (!f.whole && f.op.norm_after_rope) head_norm(norm, head, d, offset);
}

LANE void finish_head(const struct finish &f, const struct part &p, int which, const struct unit &all, float *head,
                      int h, int t)
{
    float *from = p.row + (size_t)h * (size_t)p.d;
    int pos = f.batch.pos[t];
    head_load(head, from, p.d, f.op.clamp);
    if (which != VALUES) shape_head(f, which == QUERIES ? f.op.q_norm : f.op.k_norm, all, head, h, p.d, t);
    if (which == QUERIES) {
        if (f.op.temp_scale != 0)
            head_scale(head, p.d, temperature(f.op.temp_scale, f.op.temp_offset, f.op.temp_length, pos));
        head_store(from, head, p.d);
        return;
    }
    warp_barrier();
    char *slot = kv_row(f.batch, f.op.kv, which == VALUES, f.batch.seq[t], h, pos);
    kv_store_warp(which == VALUES ? f.op.kv.type_v : f.op.kv.type_k, slot, head, p.d);
}

/* Block (t, y): the heads of queries, keys and values stand in one line, and each warp takes one. */
static __global__ void finish_heads(struct finish f)
{
    float *head = (float *)shared_memory() + (size_t)(threadIdx.x / 32) * (size_t)f.room;
    struct unit none = {0, 1};
    grid_wait();
    grid_release();
    int t = (int)blockIdx.x, h = (int)(blockIdx.y * HEAD_WARPS + threadIdx.x / 32);
    for (int which = QUERIES; which <= VALUES; which++) {
        struct part p = part_of(f, which, t);
        if (h < p.n_heads) {
            finish_head(f, p, which, none, head, h, t);
            return;
        }
        h -= p.n_heads;
    }
}

/* Block (t, which). */
static __global__ void finish_tokens(struct finish f)
{
    __shared__ double partial[32];
    struct by_block block = {partial};
    float *head = (float *)shared_memory() + (size_t)(threadIdx.x / 32) * (size_t)f.room;
    grid_wait();
    grid_release();
    int t = (int)blockIdx.x, which = (int)blockIdx.y;
    struct part p = part_of(f, which, t);
    struct unit all = {0, 1};
    if (which != VALUES) {
        int n = p.n_heads * p.d;
        for (int i = block.first(); i < n && f.op.clamp > 0; i += block.step())
            p.row[i] = fminf(fmaxf(p.row[i], -f.op.clamp), f.op.clamp);
        all = unit_of<1>(which == QUERIES ? f.op.q_norm : f.op.k_norm, p.row, n, block);
    }
    for (int h = (int)threadIdx.x / 32; h < p.n_heads; h += TOKEN_WARPS) {
        finish_head(f, p, which, all, head, h, t);
        warp_barrier();
    }
}

static void multiply(struct cuda_run *run, const struct op_qkv *op, float *k, float *v)
{
    const struct linear *w[] = {&op->wq, &op->wk, &op->wv};
    float *out[] = {op->q, k, v};
    struct cuda_product p[3] = {};
    for (int i = 0; i < 3; i++) {
        p[i].x = op->x;
        p[i].x_stride = (size_t)op->wq.w.n_cols;
        p[i].n = run->n_tokens;
        p[i].norm = &op->norm;
        p[i].w = w[i];
        p[i].out = out[i];
        p[i].out_stride = (size_t)w[i]->w.n_rows;
        p[i].after = AFTER_STORE;
    }
    cuda_multiply(run, p, 3);
}

void cuda_op_qkv(struct cuda_run *run, const struct op_qkv *op)
{
    const struct cuda_scratch *s = &run->b->scratch;
    struct finish f = {*op, run->batch, s->k, s->v, head_room(MAX(op->kv.d_k, op->kv.d_v)), false};
    unsigned n_tokens = (unsigned)run->n_tokens;
    unsigned n_heads = (unsigned)(op->wq.w.n_rows / op->kv.d_k + 2 * op->kv.n_heads);
    f.whole = op->norm_scope == HEAD_NORM_WHOLE && op->q_norm.kind != NORM_NONE;
    multiply(run, op, s->k, s->v);
    size_t head_bytes = (size_t)f.room * sizeof(float);
    if (f.whole)
        device_launch(run->d, "finishing the heads of tokens", finish_tokens, dim3(n_tokens, 3),
                      dim3(TOKEN_WARPS * 32), TOKEN_WARPS * head_bytes, f);
    else
        device_launch(run->d, "finishing heads", finish_heads, dim3(n_tokens, (n_heads + HEAD_WARPS - 1) / HEAD_WARPS),
                      dim3(HEAD_WARPS * 32), HEAD_WARPS * head_bytes, f);
}
