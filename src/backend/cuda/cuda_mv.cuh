/* cuda_mv.cuh - products of generated tokens: few rows of activations, so all that counts is how fast weights come.
 *
 * A block takes one strip after the other.  The strip's columns are shared out among its warps in pieces of four steps
 * (strip.cuh): four neighbouring lanes have the sixteen rows of a piece, four rows each, so every load is 16 bytes and
 * a warp reads what lies side by side.  A lane has the next piece's lines on the way while it multiplies one, across
 * the ends of strips too, and the very first ones before the kernel in front has ended: weights depend on nobody.
 *
 * Activations of quantised weights are in 8 bits: records of 32 columns.  One row per block is normed and rounded by
 * the block itself, into shared memory; more rows, and very long ones, by a kernel before, since every block would do
 * it again.  The weights of experts are known only when the kernel in front has ended. */
#ifndef CUDA_MV_CUH
#define CUDA_MV_CUH

#include "cuda_act.cuh"
#include "cuda_rows.cuh"
#include "strip.cuh"

enum {
    MV_WARPS = 8,       /* of a block, at most */
    MV_JOBS = 3,        /* products of a launch: q, k, v */
    MV_OWN_COLS = 8192, /* rows no longer than this a block norms and rounds itself */
};

enum mv_end {
    MV_STORE, /* out = y */
    MV_ADD,   /* out += scale * y */
    MV_ACT,   /* out = act(y) */
    MV_GATED, /* out = act(out) * y */
    MV_PAIR,  /* out = act(y) * y of the second side */
};

struct mv_side {
    const char *strips; /* of the matrix, or of expert 0 */
    const float *bias;  /* likewise; or NULL */
};

struct mv_job {
    struct mv_side side[2]; /* the second: MV_PAIR alone */
    float *out;
    size_t out_stride;
    int n_rows, n_strips;
};

struct mv { /* one launch */
    struct mv_job job[MV_JOBS];
    int n_jobs, n_sides, n_strips; /* n_strips: of all jobs */
    size_t strip_bytes;
    int n_cols;
    int n;              /* rows of x and out */
    const void *x;      /* rows of codes, or of float32 numbers */
    size_t x_bytes;     /* from row to row */
    bool own;           /* x are float32 numbers that the block is to bring into shared memory itself */
    bool by_four;       /* float32 numbers may be read four at a time */
    struct norm norm;   /* where own */
    const float *x_scale; /* [n] of rows of out before the bias, or NULL */
    bool by_row;        /* a row of out has a matrix of its own: */
    const int32_t *chosen; /* [n] which; NULL: row i has that of head i % n_heads */
    int n_heads;
    int x_div;          /* row i of out multiplies row i / x_div of x */
    enum mv_end end;
    float scale;
    enum activation act;
};

/* ---- rows of activations in 8 bits ---------------------------------------------------------------------- */

/* Sixteen columns and what products need beside them, in two loads; two of these share a scale. */
struct alignas(16) mv_tail {
    float scale, scaled; /* scale * sum */
    int sum, both;       /* of the codes; of all 32 */
};

struct mv_half {
    int8_t codes[16];
    struct mv_tail tail;
};

struct mv_record {
    struct mv_half half[2];
};

__host__ LANE constexpr size_t mv_codes_bytes(int n_cols) /* of a row */
{
    return (size_t)n_cols / 32 * sizeof(struct mv_record);
}

/* Where code i of a record is.  mixed: columns i and i + 16 side by side, as the nibbles of some weights are. */
LANE int8_t *mv_code_at(struct mv_record *record, int i, bool mixed)
{
    if (mixed) i = i % 16 * 2 + i / 16;
    return record->half[i / 16].codes + i % 16;
}

/* 32 / W lanes bring 32 numbers into 8 bits: kern.h, quant_act.  y: the lane's own, from `column` on. */
template <int W>
LANE void mv_round(struct mv_record *row, int n_cols, int column, bool mixed, const struct numbers<W> &y)
{
    uint32_t most = 0, word = 0;
    int sum = 0;
    for (int i = 0; i < W; i++) most = max(most, bits_of_f32(y.v[i]) & 0x7fffffffu);
    for (int m = 1; m < 32 / W; m *= 2) most = max(most, warp_xor(most, m));
    float top = f32_of_bits(most);
    bool none = most < 0x0d800000u /* 2^-100 */, plain = !none && most < 0x7f800000u;
    float by = plain ? 127 / top : 0;
    for (int i = 0; i < W; i++) {
        int q = plain ? int_of_f32(mul_rounded(y.v[i], by)) : 0;
        word |= (uint32_t)(q & 255) << 8 * i;
        sum += q;
    }
    for (int m = 1; m < 16 / W; m *= 2) sum += warp_xor(sum, m);
    int both = sum + warp_xor(sum, 16 / W);
    if (column >= n_cols) return;
    struct mv_record *to = row + column / 32;
    if (W == 4 && !mixed)
        *(uint32_t *)(void *)mv_code_at(to, column % 32, false) = word;
    else
        for (int i = 0; i < W; i++) *mv_code_at(to, column % 32 + i, mixed) = (int8_t)(word >> 8 * i);
    if (column % 16 != 0) return;
    float scale = none ? 0 : top / 127;
    to->half[column % 32 / 16].tail = {scale, scale * (float)sum, sum, both};
}

/* Some threads' share of a row: whole warps, the first of them number `warp` of n_warps. */
template <int W>
LANE void mv_round_row(struct mv_record *row, int n_cols, bool mixed, const struct norm &norm, const struct unit &u,
                       const float *x, int warp, int n_warps)
{
    for (int base = 32 * W * warp; base < n_cols; base += 32 * W * n_warps) {
        int column = base + W * lane_id();
        struct numbers<W> y = {};
        if (column < n_cols) y = normed<W>(norm, u, x, column);
        mv_round<W>(row, n_cols, column, mixed, y);
    }
}

/* ---- a block's memory ----------------------------------------------------------------------------------- */

/* Shared memory: sums of warps, twice, as the next strip may be ahead; parts of norms; the block's own row. */
__host__ LANE constexpr size_t mv_sums_bytes(int n_warps, int n_tokens)
{
    return (size_t)2 * 2 * n_warps * n_tokens * STRIP * sizeof(float);
}

LANE double *mv_partial(int n_tokens)
{
    return (double *)(void *)(shared_memory() + mv_sums_bytes((int)blockDim.x / 32, n_tokens));
}

LANE char *mv_own_row(int n_tokens)
{
    return shared_memory() + mv_sums_bytes((int)blockDim.x / 32, n_tokens) + 32 * sizeof(double);
}

/* The block's own row of float32 numbers. */
LANE const float *mv_block_row(const struct mv &a)
{
    int row = a.by_row ? (int)blockIdx.y / a.x_div : 0;
    return (const float *)(const void *)((const char *)a.x + (size_t)row * a.x_bytes);
}

/* What a norm reads is asked for before the kernel in front has ended. */
LANE void mv_expect(const struct mv &a)
{
    const int line = 32; /* floats */
    if (a.norm.kind == NORM_NONE) return;
    for (int i = line * (int)threadIdx.x; i < a.n_cols; i += line * (int)blockDim.x) {
        if (a.norm.weight) prefetch_l2(a.norm.weight + i);
        if (a.norm.bias) prefetch_l2(a.norm.bias + i);
    }
}

/* ---- what there is to do -------------------------------------------------------------------------------- */

/* A row's pieces go to warps in groups of eight, one for each four lanes.  A warp takes `together` groups that lie side
 * by side, then the next warp; a pass is what all of them take so. */
struct mv_walk {
    int first, step; /* the warp's first group; from pass to pass */
    int n_own;       /* groups in which the lane has a piece */
    int n_passes;
    int extent;      /* K::extent() */
};

template <class K> LANE struct mv_walk mv_walk_of(const struct mv &a)
{
    int n_warps = (int)blockDim.x / 32, warp = (int)threadIdx.x / 32, n_pieces = K::n_pieces(a.n_cols);
    int of_pass = n_warps * 8 * K::together;
    return {warp * K::together, n_warps * K::together, (n_pieces + 7 - lane_id() / 4) / 8,
            (n_pieces + of_pass - 1) / of_pass, K::extent(a.n_cols)};
}

/* Where reading ahead stands: item (a strip, and some rows of x), side, pass over the columns. */
struct mv_at {
    int item, side, pass;
    int group; /* the next of the strip: beyond all of them when nothing is left */
    const char *strip;
};

enum { MV_NO_GROUP = 1 << 24 };

struct mv_item {
    int job, strip; /* of the job */
    int row;        /* of x and out: the first of N */
};

/* Items of one strip stand side by side, so that what one reads, others find in the second-level cache. */
template <int N> LANE struct mv_item mv_item_of(const struct mv &a, int item)
{
    int n_groups = N == 1 ? 1 : (a.n + N - 1) / N; /* one row, or one that the block has to itself */
    struct mv_item it = {0, item / n_groups, N == 1 ? (int)blockIdx.y : item % n_groups * N};
    while (it.job < a.n_jobs - 1 && it.strip >= a.job[it.job].n_strips) it.strip -= a.job[it.job++].n_strips;
    return it;
}

template <int N> LANE int mv_n_items(const struct mv &a)
{
    return N == 1 ? a.n_strips : a.n_strips * ((a.n + N - 1) / N);
}

template <int N> LANE const char *mv_strip(const struct mv &a, int item, int side, int expert)
{
    struct mv_item it = mv_item_of<N>(a, item);
    const struct mv_job &job = a.job[it.job];
    return job.side[side].strips + ((size_t)expert * (size_t)job.n_strips + (size_t)it.strip) * a.strip_bytes;
}

/* That of the block's row. */
LANE int mv_matrix(const struct mv &a)
{
    return a.chosen ? a.chosen[blockIdx.y] : (int)blockIdx.y % a.n_heads;
}

template <int N> LANE void mv_enter(const struct mv &a, struct mv_at *at, const struct mv_walk &walk, int expert)
{
    at->pass = 0;
    at->group = MV_NO_GROUP;
    if (at->item >= mv_n_items<N>(a)) return;
    at->strip = mv_strip<N>(a, at->item, at->side, expert);
    at->group = walk.first;
}

template <int N> LANE void mv_advance(const struct mv &a, struct mv_at *at, const struct mv_walk &walk, int expert)
{
    at->group += walk.step;
    if (++at->pass < walk.n_passes) return;
    if (++at->side == a.n_sides) {
        at->side = 0;
        at->item += (int)gridDim.x;
    }
    mv_enter<N>(a, at, walk, expert);
}

/* ---- what becomes of sums ------------------------------------------------------------------------------- */

/* A warp's sums of four rows in each group of four lanes: added up over the groups and left for mv_finish(). */
template <int N> LANE void mv_leave(float sum[N][4], int turn, int side)
{
    int n_warps = (int)blockDim.x / 32, warp = (int)threadIdx.x / 32;
    float *to = (float *)(void *)shared_memory() + (((turn * 2 + side) * n_warps + warp) * N) * STRIP;
#pragma unroll
    for (int t = 0; t < N; t++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
#pragma unroll
            for (int m = 4; m < 32; m *= 2) sum[t][r] += warp_xor(sum[t][r], m);
            if (lane_id() < 4) to[t * STRIP + 4 * lane_id() + r] = sum[t][r];
        }
}

LANE float mv_total(int n_tokens, int turn, int side, int i)
{
    int n_warps = (int)blockDim.x / 32;
    const float *from = (const float *)(const void *)shared_memory();
    from += (turn * 2 + side) * n_warps * n_tokens * STRIP + i;
    float sum = 0;
    for (int w = 0; w < n_warps; w++) sum += from[w * n_tokens * STRIP];
    return sum;
}

LANE float mv_bias(const struct mv_job &job, int side, int expert, int row)
{
    const float *bias = job.side[side].bias;
    return bias ? bias[(size_t)expert * (size_t)job.n_rows + (size_t)row] : 0;
}

/* Behind a barrier: an item's numbers on their way to out. */
template <int N> LANE void mv_finish(const struct mv &a, int item, int turn, int expert)
{
    struct mv_item it = mv_item_of<N>(a, item);
    const struct mv_job &job = a.job[it.job];
    for (int i = (int)threadIdx.x; i < N * STRIP; i += (int)blockDim.x) {
        int token = it.row + i / STRIP, row = it.strip * STRIP + i % STRIP;
        if (token >= a.n || row >= job.n_rows) continue;
        float factor = a.x_scale ? a.x_scale[token] : 1;
        float y = fmaf(mv_total(N, turn, 0, i), factor, mv_bias(job, 0, expert, row));
        float *out = job.out + (size_t)token * job.out_stride + (size_t)row;
        switch (a.end) {
        case MV_STORE: *out = y; break;
        case MV_ADD: *out = fmaf(a.scale, y, *out); break;
        case MV_ACT: *out = a.act == ACT_SWIGLU_OAI ? act_glu(a.act, y, 0) : act_of(a.act, y); break;
        case MV_GATED: *out = act_glu(a.act, *out, y); break;
        case MV_PAIR:
            *out = act_glu(a.act, y, fmaf(mv_total(N, turn, 1, i), factor, mv_bias(job, 1, expert, row)));
            break;
        }
    }
}

/* ---- the kernel ----------------------------------------------------------------------------------------- */

/* What is multiplied how is a kind K, for N rows of x at a time:
 *
 *     n_tokens, own           N; whether blocks bring their row into shared memory themselves (N = 1)
 *     two                     N for two rows
 *     own_bytes(n_cols)       of the block's row there
 *     per_sm                  blocks of MV_WARPS warps that its registers leave room for
 *     together                pieces that a lane has on the way at a time
 *     n_pieces(n_cols)        of a row
 *     piece                   four rows of one, in registers
 *     extent(n_cols)          what load() has to know of them
 *     load(to, strip, group, extent)  the lane's piece of a group
 *     rows, find(rows, a, i)  N rows of x from i on; all lanes call it
 *     make_own(a)             all threads of the block call it
 *     add(sum, piece, group, rows) */
template <class K> struct mv_ahead { /* on the way */
    typename K::piece piece[K::together];
    int group; /* of the first */
};

template <class K>
LANE void mv_read_ahead(struct mv_ahead<K> *p, const struct mv_at &at, const struct mv_walk &walk)
{
    p->group = at.group;
#pragma unroll
    for (int j = 0; j < K::together; j++)
        if (at.group + j < walk.n_own) K::load(&p->piece[j], at.strip, at.group + j, walk.extent);
}

/* A pass over columns: what comes behind it is asked for, then what is there is multiplied. */
template <class K>
LANE void mv_pass(float sum[K::n_tokens][4], const struct mv_ahead<K> &now, struct mv_ahead<K> *next,
                  const struct mv &a, struct mv_at *at, const struct mv_walk &walk, int expert,
                  const typename K::rows &x)
{
    mv_advance<K::n_tokens>(a, at, walk, expert);
    mv_read_ahead<K>(next, *at, walk);
#pragma unroll
    for (int j = 0; j < K::together; j++)
        if (now.group + j < walk.n_own) K::add(sum, now.piece[j], now.group + j, x);
}

template <class K>
static __global__ void __launch_bounds__(32 * MV_WARPS, K::per_sm) mv_multiply(const __grid_constant__ struct mv a)
{
    constexpr int N = K::n_tokens;
    struct mv_walk walk = mv_walk_of<K>(a);
    struct mv_ahead<K> ahead, other;
    struct mv_at at = {(int)blockIdx.x, 0, 0, 0, NULL};
    int expert = 0;
    if (!a.by_row) {
        mv_enter<N>(a, &at, walk, 0);
        mv_read_ahead<K>(&ahead, at, walk);
    }
    if (K::own) mv_expect(a);
    grid_release();
    grid_wait();
    if (a.by_row) {
        expert = mv_matrix(a);
        mv_enter<N>(a, &at, walk, expert);
        mv_read_ahead<K>(&ahead, at, walk);
    }
    if (K::own) K::make_own(a);
    for (int item = (int)blockIdx.x, turn = 0; item < mv_n_items<N>(a); item += (int)gridDim.x, turn ^= 1) {
        typename K::rows x;
        K::find(&x, a, mv_item_of<N>(a, item).row);
        for (int side = 0; side < a.n_sides; side++) {
            float sum[N][4] = {};
#pragma unroll 1
            for (int pass = 0; pass < walk.n_passes; pass += 2) { /* in turns, so that nothing is copied */
                mv_pass<K>(sum, ahead, &other, a, &at, walk, expert, x);
                if (pass + 1 == walk.n_passes) {
                    warp_barrier(); /* or the compiler copies in every pass, in case it was the last */
                    ahead = other;
                    break;
                }
                mv_pass<K>(sum, other, &ahead, a, &at, walk, expert, x);
            }
            mv_leave<N>(sum, turn, side);
        }
        block_barrier();
        mv_finish<N>(a, item, turn, expert);
    }
}

/* ---- the launch ----------------------------------------------------------------------------------------- */

/* cuda_mv_codes.cu, cuda_mv_k.cu, cuda_mv_float.cu: one launch, where the type is one of theirs; whether it is. */
bool cuda_mv_codes(struct cuda_run *run, const struct mv *a, enum dtype dtype);
bool cuda_mv_k(struct cuda_run *run, const struct mv *a, enum dtype dtype);
bool cuda_mv_float(struct cuda_run *run, const struct mv *a, enum dtype dtype);

/* Warps of a block: no more than have something to do in equally many passes. */
static inline int mv_n_warps(int n_pieces, int of_warp)
{
    int n = (n_pieces + of_warp - 1) / of_warp, n_passes = (n + MV_WARPS - 1) / MV_WARPS;
    return (n + n_passes - 1) / n_passes;
}

/* As many blocks as there is room for, all with equally many items. */
template <class K> static void mv_launch(struct cuda_run *run, const struct mv *a)
{
    constexpr int N = K::n_tokens;
    int n_warps = mv_n_warps(K::n_pieces(a->n_cols), 8 * K::together), n_rows = a->by_row ? a->n : 1;
    int n_items = N == 1 ? a->n_strips : a->n_strips * ((a->n + N - 1) / N);
    int most = run->d->n_multiprocessors * K::per_sm * MV_WARPS / n_warps;
    int n_rounds = (n_items * n_rows + most - 1) / most;
    size_t shared_bytes = mv_sums_bytes(n_warps, N) + 32 * sizeof(double) + (K::own ? K::own_bytes(a->n_cols) : 0);
    device_launch(run->d, "products of single tokens", mv_multiply<K>,
                  dim3((unsigned)((n_items + n_rounds - 1) / n_rounds), (unsigned)n_rows), dim3((unsigned)n_warps * 32),
                  shared_bytes, *a);
}

/* KIND<T, N, own>: for so many rows of x at a time as there are. */
template <template <enum dtype, int, bool> class KIND, enum dtype T>
static void mv_few(struct cuda_run *run, const struct mv *a)
{
    if (a->own)
        mv_launch<KIND<T, 1, true>>(run, a);
    else if (a->n == 1 || a->by_row)
        mv_launch<KIND<T, 1, false>>(run, a);
    else if (a->n == 2)
        mv_launch<KIND<T, KIND<T, 1, false>::two, false>>(run, a);
    else if (a->n <= 4)
        mv_launch<KIND<T, 4, false>>(run, a);
    else
        mv_launch<KIND<T, 8, false>>(run, a);
}

#endif
