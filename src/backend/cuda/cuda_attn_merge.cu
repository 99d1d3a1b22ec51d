/* cuda_attn_merge.cu - attention of tokens whose positions were shared out: partial results to the output.
 *
 * A kernel of its own, and not the last block that arrives: that one would read alone what hundreds have written (of a
 * latent layer 8 MB), and even of few pieces its counter, its fences and what it then reads one after the other take
 * longer than a launch that is already there when the last piece ends.
 *
 * A block takes one query head of one token and 128 columns of its values.  Its warps take pieces by turns, several at
 * once each, and are added in their order: the same bits every time. */
#include "cuda_attn.cuh"

enum {
    WARPS = 8,
    THREADS = 32 * WARPS,
    COLUMNS = 4 * 32,
    AT_ONCE = 8, /* pieces of a warp under way */
};

struct sum { /* of values, in four columns of this lane; and of shares */
    float4 o;
    float l;
};

struct extent { /* of the pieces of a row */
    float m; /* the largest score */
    int n;   /* behind these, pieces have no positions and nothing was written */
};

static LANE struct extent extent_of(const float2 *weights, int n_pieces)
{
    enum { LOADS = 4 };
    float m = -INFINITY, n = 0;
    for (int first = lane_id(); first < n_pieces; first += LOADS * 32)
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            int piece = MIN(first + 32 * i, n_pieces - 1);
            float2 own = weights[piece];
            m = fmaxf(m, own.x);
            n = own.y > 0 ? (float)(piece + 1) : n;
        }
    return {warp_max(m), (int)warp_max(n)};
}

/* Pieces warp, warp + WARPS ...  Their sums come by copies: of loads to registers the compiler, to save those, has two
 * under way and not eight. */
static LANE struct sum add_pieces(const float2 *weights, const float *sums, int width, struct extent all)
{
    struct sum s = {};
    int warp = (int)threadIdx.x / 32;
    float4 *room = (float4 *)shared_memory() + warp * AT_ONCE * 32 + lane_id();
    for (int first = warp; first < all.n; first += AT_ONCE * WARPS) {
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            int piece = first + i * WARPS;
            copy_async16(room + 32 * i, sums + (size_t)MIN(piece, all.n - 1) * (size_t)width, piece < all.n);
        }
        copy_commit();
        float share[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) {
            float2 own = weights[MIN(first + i * WARPS, all.n - 1)];
            if (first + i * WARPS >= all.n) own.y = 0;
            share[i] = attn_weight(own.x, own.y, all.m);
            s.l = fmaf(share[i], own.y, s.l);
        }
        copy_wait<0>();
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++) attn_add_scaled(&s.o, share[i], room[32 * i]);
    }
    return s;
}

/* Block (h, row of tokens, slice of columns).  What follows may begin before this waits: as far as it does not wait
 * itself it reads nothing that a step changes, and it asks for its weights while positions are still read. */
static __global__ void __launch_bounds__(THREADS)
    merge_pieces(const struct op_attend op, const struct attn_parts parts, const int32_t *tokens, const int4 *tiles)
{
    __shared__ struct sum of_warps[WARPS][32];
    grid_release();
    int token = attn_token(parts, tokens, tiles, (int)blockIdx.y), h = (int)blockIdx.x;
    grid_wait();
    if (token < 0) return;
    size_t row = (size_t)blockIdx.y * (size_t)op.n_heads + (size_t)h;
    const float2 *weights = parts.weights + row * (size_t)parts.n_pieces;
    int column = (int)blockIdx.z * COLUMNS + 4 * lane_id(), warp = (int)threadIdx.x / 32;
    struct extent pieces = extent_of(weights, parts.n_pieces);
    const float *sums = parts.sums + row * (size_t)parts.n_pieces * (size_t)parts.width;
    sums += MIN(column, parts.width - 4); /* columns that there are not are read, and not stored */
    of_warps[warp][lane_id()] = add_pieces(weights, sums, parts.width, pieces);
    block_barrier();
    if (warp > 0) return;
    struct sum all = of_warps[0][lane_id()];
    for (int i = 1; i < WARPS; i++) {
        attn_add_scaled(&all.o, 1, of_warps[i][lane_id()].o);
        all.l += of_warps[i][lane_id()].l;
    }
    attn_store(op, token, h, column, all.o, attn_scale(op, h, pieces.m, all.l));
}

struct attn_parts attn_parts_of(const struct cuda_run *run, const struct op_attend *op, int n_items, int n_tokens,
                                int n_pieces)
{
    struct attn_parts parts = {NULL, NULL, n_pieces, ROUND_UP(op->kv.d_v, 8), n_tokens};
    size_t rows = (size_t)n_items * (size_t)n_tokens * (size_t)op->n_heads;
    parts.sums = run->b->scratch.partial;
    parts.weights = (float2 *)(parts.sums + rows * (size_t)n_pieces * (size_t)parts.width);
    return parts;
}

void attn_merge(struct cuda_run *run, const struct op_attend *op, const struct attn_parts &parts, int n_items,
                const int32_t *tokens, const int4 *tiles)
{
    if (parts.n_pieces == 1) return;
    unsigned n_slices = (unsigned)CEIL_DIV(op->kv.d_v, (int)COLUMNS);
    dim3 grid((unsigned)op->n_heads, (unsigned)(n_items * parts.n_tokens), n_slices);
    device_launch(run->d, "merging attention", merge_pieces, grid, dim3(THREADS),
                  WARPS * AT_ONCE * COLUMNS * sizeof(float), *op, parts, tokens, tiles);
}
