/* cuda_mm.cuh - what products of many rows have in common: which rows a block multiplies, and what becomes of its sums.
 *
 * A block makes a tile of out: some rows of x (of one expert, where there are experts) times some rows of weights.  It
 * gathers its sums in shared memory, so that what follows them is written once, stores whole lines, and is not
 * unrolled. */
#ifndef CUDA_MM_CUH
#define CUDA_MM_CUH

#include "cuda_act.cuh"
#include "strip.cuh"

enum {
    MM_THREADS = 128,
    MM_PAD = 4, /* floats behind a row of sums: lanes that write four rows apart meet no bank twice */
};

enum mm_end {
    MM_STORE, /* out = y */
    MM_ADD,   /* out += scale * y */
    MM_ACT,   /* out = act(y) */
    MM_GATED, /* out = act(out) * y */
    MM_PAIR,  /* out = act(y) * y of the second weight; half of a tile's rows are of either */
};

struct mm_weight {
    const char *strips; /* of the matrix, or of expert 0 */
    const float *bias;  /* likewise; or NULL */
};

struct mm { /* one launch */
    struct mm_weight w[2]; /* the second: MM_PAIR alone */
    size_t strip_bytes, mat_bytes;
    int n_rows, n_cols;    /* of weights */
    const void *x;         /* [n or tokens, n_cols] BF16 or float32 numbers, as the kernel wants them */
    size_t x_stride;       /* numbers */
    int n;                 /* rows of out */
    const float *x_scale;  /* [n], or NULL */
    const int32_t *token_of;     /* [n] which row of x; NULL: row i is row i */
    const int32_t *expert_first; /* [n_experts + 1] rows of out; NULL: there are no experts */
    int n_experts;
    int n_heads;           /* row i of head h is row i n_heads + h of out and x; 0: there are no heads */
    bool x_of_token;       /* of heads: row i of x is that of all heads */
    float *out;
    size_t out_stride;
    enum mm_end end;
    float scale;
    enum activation act;
};

struct mm_tile { /* rows of out that a block makes; of a head: which of its own */
    int expert, first, n; /* n = 0: none */
};

/* The block's tile of `rows` rows at most, by its number among all tiles of all experts.  Every thread calls it, behind
 * grid_wait(). */
LANE struct mm_tile mm_tile_of(const struct mm &a, int rows)
{
    __shared__ struct mm_tile found;
    int nth = (int)blockIdx.x;
    if (a.n_heads) {
        int n = a.n / a.n_heads, n_tiles = (n + rows - 1) / rows, first = nth % n_tiles * rows;
        return {nth / n_tiles, first, min(rows, n - first)};
    }
    if (!a.expert_first) return {0, nth * rows, min(rows, a.n - nth * rows)};
    if (threadIdx.x == 0) found = {0, 0, 0};
    block_barrier();
    for (int e = lane_id(), before = 0; threadIdx.x < 32 && e < a.n_experts + lane_id(); e += 32) {
        int first = e < a.n_experts ? a.expert_first[e] : 0, end = e < a.n_experts ? a.expert_first[e + 1] : 0;
        int n_tiles = (end - first + rows - 1) / rows, sum = n_tiles;
        for (int d = 1; d < 32; d *= 2) {
            int left = warp_from(sum, lane_id() - d);
            if (lane_id() >= d) sum += left;
        }
        int at = nth - before - (sum - n_tiles); /* among the expert's own */
        if (at >= 0 && at < n_tiles) found = {e, first + at * rows, min(rows, end - first - at * rows)};
        before += warp_from(sum, 31);
        if (before > nth) break;
    }
    block_barrier();
    return found;
}

/* Which row of out row i of the tile is. */
LANE int mm_out_row(const struct mm &a, const struct mm_tile &tile, int i)
{
    return a.n_heads ? (tile.first + i) * a.n_heads + tile.expert : tile.first + i;
}

/* The row of x for row i of the tile; for one beyond its end any row, since nobody stores what it makes. */
template <typename T> LANE const T *mm_row(const struct mm &a, const struct mm_tile &tile, int i)
{
    i = min(i, tile.n - 1);
    int at = a.x_of_token ? tile.first + i : mm_out_row(a, tile, i);
    return (const T *)a.x + (size_t)(a.token_of ? a.token_of[at] : at) * a.x_stride;
}

/* The strip that holds rows 16 i to 16 i + 15 of what the block reads, of ROWS rows. */
template <int ROWS> LANE const char *mm_strip(const struct mm &a, const struct mm_tile &tile, int i)
{
    bool pair = a.end == MM_PAIR;
    int n_strips = (a.n_rows + STRIP - 1) / STRIP, half = ROWS / STRIP / 2;
    int nth = pair ? (int)blockIdx.y * half + i % half : (int)blockIdx.y * 2 * half + i;
    const struct mm_weight &w = a.w[pair && i >= half];
    return w.strips + (size_t)tile.expert * a.mat_bytes + (size_t)min(nth, n_strips - 1) * a.strip_bytes;
}

LANE float mm_bias(const struct mm &a, int which, int expert, int row)
{
    const float *bias = a.w[which].bias;
    return bias ? bias[(size_t)expert * (size_t)a.n_rows + (size_t)row] : 0;
}

template <int PARTS> LANE float mm_sum(const float *sums, int part_floats)
{
    float y = sums[0];
    for (int p = 1; p < PARTS; p++) y += sums[p * part_floats];
    return y;
}

/* Sums of the block, [PARTS, TOKENS, ROWS + MM_PAD] in shared memory, on their way to out: parts are added up. */
template <int ROWS, int TOKENS, int PARTS>
LANE void mm_finish(const struct mm &a, const struct mm_tile &tile, const float *sums)
{
    constexpr int stride = ROWS + MM_PAD, part = TOKENS * stride;
    bool pair = a.end == MM_PAIR;
    int width = pair ? ROWS / 2 : ROWS, own = (int)threadIdx.x % width, row = (int)blockIdx.y * width + own;
    if (row >= a.n_rows) return;
    float bias = mm_bias(a, 0, tile.expert, row), up_bias = pair ? mm_bias(a, 1, tile.expert, row) : 0;
#pragma unroll 1
    for (int i = (int)threadIdx.x / width; i < tile.n; i += MM_THREADS / width) {
        float factor = a.x_scale ? a.x_scale[mm_out_row(a, tile, i)] : 1;
        float y = mm_sum<PARTS>(sums + i * stride + own, part) * factor + bias;
        float *out = a.out + (size_t)mm_out_row(a, tile, i) * a.out_stride + (size_t)row;
        switch (a.end) {
        case MM_STORE: *out = y; break;
        case MM_ADD: *out += a.scale * y; break;
        case MM_ACT: *out = act_of(a.act, y); break;
        case MM_GATED: *out = act_glu(a.act, *out, y); break;
        case MM_PAIR:
            *out = act_glu(a.act, y, mm_sum<PARTS>(sums + i * stride + width + own, part) * factor + up_bias);
            break;
        }
    }
}

/* ---- weights ------------------------------------------------------------------------------------- */

/* What a lane needs of one row of a set: its own words, and those that all steps need. */
template <class F> struct raw_words {
    uint32_t at[F::n_steps / 4][F::n_step_words];
};

template <class F> struct raw_heads {
    uint32_t at[F::n_head_words + 1]; /* the last: the scale that is not four bytes long */
};

/* Where a set of a row is, from the start of its strip. */
template <class F> struct raw_place {
    strip_place block;
    int set, n_lines; /* n_lines: of the row, from the block's first on */
};

template <class F> LANE raw_place<F> place_of(int n_cols, int nth)
{
    strip_place block = strip_place_of<F>(nth / F::n_sets, strip_n_blocks<F>(n_cols));
    return {block, nth % F::n_sets, F::is_float ? strip_n_lines<F>(n_cols) - (int)(block.body / 64) : F::n_words};
}

template <class F> LANE void load_words(raw_words<F> &raw, const char *strip, const raw_place<F> &p, int row)
{
    const char *body = strip + p.block.body + 4 * row;
#pragma unroll
    for (int half = 0; half < F::n_steps / 4; half++) {
#pragma unroll
        for (int i = 0; i < F::n_step_words; i++) {
            int line = F::step_line(i, p.set, 4 * half + lane_id() % 4);
            raw.at[half][i] = !F::is_float || line < p.n_lines ? *(const uint32_t *)(body + 64 * line) : 0;
        }
    }
}

template <class F> LANE void load_heads(raw_heads<F> &raw, const char *strip, const raw_place<F> &p, int row)
{
    const char *body = strip + p.block.body + 4 * row, *head = strip + p.block.head + F::head_bytes * row;
    if constexpr (!F::is_float) {
#pragma unroll
        for (int i = 0; i < F::n_head_words; i++) raw.at[i] = *(const uint32_t *)(body + 64 * F::head_line(i, p.set));
    }
    if (F::head_bytes == 2) raw.at[F::n_head_words] = *(const uint16_t *)head;
    if (F::head_bytes == 1) raw.at[F::n_head_words] = *(const uint8_t *)head;
}

/* The scale of 16 columns of a set: those that stand at 16 (code * halves + half). */
template <class F> LANE strip_scale scale_of(const raw_heads<F> &raw, int set, int half, int code)
{
    if constexpr (F::is_float)
        return {1, 0};
    else
        return F::scale(raw.at[F::n_head_words], raw.at, set, half, code);
}

/* Columns 4 t to 4 t + 3 of these.  d q is exact where there is a minimum, so one rounding is as good as the CPU's
 * two. */
template <class F>
LANE void numbers_of(float v[4], const raw_words<F> &raw, const raw_heads<F> &heads, const strip_scale &s, int set,
                     int half, int code)
{
    if constexpr (F::is_float) {
        F::numbers(v, raw.at[half]);
    } else {
        uint32_t codes[F::n_codes];
        F::codes(codes, raw.at[half], heads.at, set, 4 * half + lane_id() % 4);
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] = fmaf(s.d, strip_number<F>(codes[code], i), s.m);
    }
}

/* ---- launches ------------------------------------------------------------------------------------ */

/* cuda_mm_f32.cu: the launch in float32, whatever the type of the weights. */
void cuda_mm_f32(struct cuda_run *run, const struct mm *a, enum dtype dtype);

/* Tiles of `rows` rows of x that there can be. */
static inline unsigned mm_most_tiles(const struct mm *a, int rows)
{
    int n = (a->n + rows - 1) / rows;
    if (a->n_heads) return (unsigned)(a->n_heads * ((a->n / a->n_heads + rows - 1) / rows));
    return (unsigned)(a->expert_first ? (a->n < n + a->n_experts ? a->n : n + a->n_experts) : n);
}

#endif
