/* cuda_mv_codes.cuh - the kernel that multiplies quantised strips with activations in 8 bits, for any format.
 *
 * A piece of a row is four steps: 16 columns of each code.  Products of codes are exact integers; what a format's codes
 * are off by is where they begin.  Then sum = fma(product, d e, sum), and fma(m, e (sum of codes), sum) where there are
 * minima. */
#ifndef CUDA_MV_CODES_CUH
#define CUDA_MV_CODES_CUH

#include "cuda_mv.cuh"

template <enum dtype T> struct mv_format {
    using F = strip_of<T>;
    static constexpr int halves = F::n_steps / 4;
    static constexpr int per_block = F::n_sets * halves; /* pieces */
    static constexpr int n_lines = F::n_head_words + 4 * F::n_step_words;
    static __host__ LANE constexpr int per_sm(int n_tokens) /* blocks: 128 registers a thread, or 255 */
    {
        return n_lines <= 8 && n_tokens <= 2 ? 2 : 1;
    }
    /* Pieces that a lane has on the way at a time: as many as registers hold.  A line that is spilled while it is still
     * on the way is waited for. */
    static __host__ LANE constexpr int together(int n_tokens)
    {
        return n_lines <= 4 && n_tokens != 2 ? 2 : 1;
    }
};

/* Four rows of a piece. */
template <enum dtype T> struct mv_piece {
    uint32_t line[mv_format<T>::n_lines][4];
    uint32_t head[2];
};

struct mv_spot { /* of a piece */
    int block, set, half;
};

/* A lane's pieces are a multiple of eight apart, so all are of the same set and half. */
template <enum dtype T> LANE struct mv_spot mv_spot_of(int piece)
{
    using M = mv_format<T>;
    static_assert(8 % M::per_block == 0, "set and half would change");
    int nth = lane_id() / 4;
    return {piece / M::per_block, nth / M::halves % M::F::n_sets, nth % M::halves};
}

LANE void mv_load_line(uint32_t to[4], const char *lines, int line)
{
    uint4 v = load_stream(lines + 64 * line);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

template <enum dtype T> LANE void mv_load_piece(struct mv_piece<T> *p, const char *strip, int piece, int n_blocks)
{
    using F = strip_of<T>;
    struct mv_spot at = mv_spot_of<T>(piece);
    struct strip_place place = strip_place_of<F>(at.block, n_blocks);
    int quad = lane_id() % 4;
    const char *lines = strip + place.body + 16 * quad, *heads = strip + place.head + 4 * F::head_bytes * quad;
#pragma unroll
    for (int i = 0; i < F::n_head_words; i++) mv_load_line(p->line[i], lines, F::head_line(i, at.set));
#pragma unroll
    for (int s = 0; s < 4; s++)
#pragma unroll
        for (int i = 0; i < F::n_step_words; i++)
            mv_load_line(p->line[F::n_head_words + s * F::n_step_words + i], lines,
                         F::step_line(i, at.set, 4 * at.half + s));
    if (F::head_bytes == 1) p->head[0] = *(const uint32_t *)(const void *)heads;
    if (F::head_bytes == 2) {
        uint2 two = *(const uint2 *)(const void *)heads;
        p->head[0] = two.x, p->head[1] = two.y;
    }
}

/* The head of row r of four. */
template <enum dtype T> LANE uint32_t mv_head(const struct mv_piece<T> &p, int r)
{
    if (strip_of<T>::head_bytes == 1) return p.head[0] >> 8 * r & 0xff;
    return p.head[r / 2] >> 16 * (r % 2) & 0xffff;
}

/* Words of row r among those of four rows, one for each line from `first` on. */
template <enum dtype T, int COUNT> struct mv_words {
    uint32_t w[COUNT > 0 ? COUNT : 1];
    LANE mv_words(const struct mv_piece<T> &p, int first, int r)
    {
#pragma unroll
        for (int i = 0; i < COUNT; i++) w[i] = p.line[first + i][r];
    }
};

LANE uint32_t mv_quad(const uint4 &codes, int step)
{
    return step == 0 ? codes.x : step == 1 ? codes.y : step == 2 ? codes.z : codes.w;
}

/* One code's 16 columns of four rows, for N rows of activations. */
template <enum dtype T, int N>
LANE void mv_dots(int dot[N][4], const struct mv_piece<T> &p, const struct mv_spot &at, int code,
                  const struct mv_codes x[N], int column)
{
    using F = strip_of<T>;
    uint4 codes[N];
#pragma unroll
    for (int t = 0; t < N; t++) {
        codes[t] = x[t].codes(column);
        int start = F::offset ? -F::offset * x[t].sum(column) : 0;
#pragma unroll
        for (int r = 0; r < 4; r++) dot[t][r] = start;
    }
#pragma unroll
    for (int s = 0; s < 4; s++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
            struct mv_words<T, F::n_head_words> h(p, 0, r);
            struct mv_words<T, F::n_step_words> w(p, F::n_head_words + s * F::n_step_words, r);
            uint32_t u[F::n_codes];
            F::codes(u, w.w, h.w, at.set, 4 * at.half + s);
#pragma unroll
            for (int t = 0; t < N; t++)
                dot[t][r] = F::is_signed ? dot4_signed(u[code], mv_quad(codes[t], s), dot[t][r])
                                         : dot4(u[code], mv_quad(codes[t], s), dot[t][r]);
        }
}

template <enum dtype T, int N>
LANE void mv_add_piece(float sum[N][4], const struct mv_piece<T> &p, int piece, const struct mv_codes x[N])
{
    using F = strip_of<T>;
    struct mv_spot at = mv_spot_of<T>(piece);
#pragma unroll
    for (int c = 0; c < F::n_codes; c++) {
        int column = at.block * F::n_cols + 4 * ((at.set * F::n_codes + c) * F::n_steps + 4 * at.half);
        int dot[N][4];
        mv_dots<T, N>(dot, p, at, c, x, column);
#pragma unroll
        for (int r = 0; r < 4; r++) {
            struct mv_words<T, F::n_head_words> h(p, 0, r);
            struct strip_scale s = F::scale(mv_head<T>(p, r), h.w, at.set, at.half, c);
#pragma unroll
            for (int t = 0; t < N; t++) {
                float e = x[t].scale(column);
                sum[t][r] = fmaf((float)dot[t][r], s.d * e, sum[t][r]);
                if (F::has_min) sum[t][r] = fmaf(s.m, e * (float)x[t].sum(column), sum[t][r]);
            }
        }
    }
}

/* The block's own row of x, normed and rounded; every thread calls it. */
template <int N> LANE void mv_make_own_codes(const struct mv &a)
{
    struct by_block block = {mv_partial(N)};
    int row = a.by_row ? (int)blockIdx.y / a.x_div : 0;
    const float *x = (const float *)(const void *)((const char *)a.x + (size_t)row * a.x_bytes);
    struct unit u = unit_of<4>(a.norm, x, a.n_cols, block);
    mv_round_row<4>((struct mv_record *)(void *)mv_own_row(N), a.n_cols, a.norm, u, x, (int)threadIdx.x / 32,
                    (int)blockDim.x / 32);
    block_barrier();
}

template <int N> LANE void mv_codes_of(struct mv_codes x[N], const struct mv &a, int row)
{
#pragma unroll
    for (int t = 0; t < N; t++) {
        size_t from = (size_t)(min(row + t, a.n - 1) / a.x_div);
        const char *row = a.own ? mv_own_row(N) : (const char *)a.x + from * a.x_bytes;
        x[t].row = (const struct mv_record *)(const void *)row;
    }
}

/* What a lane has on the way. */
template <enum dtype T, int N> struct mv_ahead {
    struct mv_piece<T> piece[mv_format<T>::together(N)];
    int nth; /* of the first; the others are eight pieces apart.  Beyond the row: none */
};

template <enum dtype T, int N>
LANE void mv_read_ahead(struct mv_ahead<T, N> *p, const struct mv_at &at, int n_blocks)
{
    using M = mv_format<T>;
    int n_warps = (int)blockDim.x / 32, warp = (int)threadIdx.x / 32;
    p->nth = (at.pass * n_warps + warp) * 8 * M::together(N) + lane_id() / 4;
#pragma unroll
    for (int j = 0; j < M::together(N); j++)
        if (at.strip && p->nth + 8 * j < n_blocks * M::per_block)
            mv_load_piece<T>(&p->piece[j], at.strip, p->nth + 8 * j, n_blocks);
}

/* A pass over columns: what comes behind it is asked for, then what is there is multiplied. */
template <enum dtype T, int N>
LANE void mv_pass(float sum[N][4], const struct mv_ahead<T, N> &now, struct mv_ahead<T, N> *next, const struct mv &a,
                  struct mv_at *at, int n_passes, int expert, const struct mv_codes x[N])
{
    using M = mv_format<T>;
    int n_blocks = strip_n_blocks<typename M::F>(a.n_cols), n_pieces = n_blocks * M::per_block;
    mv_advance<N>(a, at, n_passes, expert);
    mv_read_ahead<T, N>(next, *at, n_blocks);
#pragma unroll
    for (int j = 0; j < M::together(N); j++)
        if (now.nth + 8 * j < n_pieces) mv_add_piece<T, N>(sum, now.piece[j], now.nth + 8 * j, x);
}

template <enum dtype T, int N>
static __global__ void __launch_bounds__(32 * MV_WARPS, mv_format<T>::per_sm(N))
    mv_multiply_codes(const __grid_constant__ struct mv a)
{
    using M = mv_format<T>;
    struct mv_ahead<T, N> ahead, other;
    struct mv_at at;
    int n_blocks = strip_n_blocks<typename M::F>(a.n_cols), n_pieces = n_blocks * M::per_block, expert = 0;
    int of_pass = (int)blockDim.x / 4 * M::together(N), n_passes = (n_pieces + of_pass - 1) / of_pass;
    if (!a.by_row) {
        at = mv_begin<N>(a, 0);
        mv_read_ahead<T, N>(&ahead, at, n_blocks);
    }
    mv_expect(a);
    grid_release();
    grid_wait();
    if (a.by_row) {
        expert = mv_matrix(a);
        at = mv_begin<N>(a, expert);
        mv_read_ahead<T, N>(&ahead, at, n_blocks);
    }
    if (a.own) mv_make_own_codes<N>(a);
    for (int item = (int)blockIdx.x, turn = 0; item < mv_n_items<N>(a); item += (int)gridDim.x, turn ^= 1) {
        struct mv_codes x[N];
        mv_codes_of<N>(x, a, mv_item_of<N>(a, item).row);
        for (int side = 0; side < a.n_sides; side++) {
            float sum[N][4] = {};
#pragma unroll 1
            for (int pass = 0; pass < n_passes; pass += 2) { /* in turns, so that nothing is copied */
                mv_pass<T, N>(sum, ahead, &other, a, &at, n_passes, expert, x);
                if (pass + 1 == n_passes) {
                    ahead = other;
                    break;
                }
                mv_pass<T, N>(sum, other, &ahead, a, &at, n_passes, expert, x);
            }
            mv_leave<N>(sum, turn, side);
        }
        block_barrier();
        mv_finish<N>(a, item, turn, expert);
    }
}

template <enum dtype T, int N> static void mv_launch_codes(struct cuda_run *run, const struct mv *a)
{
    using M = mv_format<T>;
    int n_pieces = strip_n_blocks<typename M::F>(a->n_cols) * M::per_block;
    struct mv_shape shape = {n_pieces, 8 * M::together(N), M::per_sm(N)};
    mv_launch<N>(run, a, mv_multiply_codes<T, N>, shape, mv_codes_bytes(a->n_cols));
}

template <enum dtype T> static void mv_few_codes(struct cuda_run *run, const struct mv *a)
{
    if (a->n == 1 || a->by_row)
        mv_launch_codes<T, 1>(run, a);
    else if (a->n == 2)
        mv_launch_codes<T, 2>(run, a);
    else if (a->n <= 4)
        mv_launch_codes<T, 4>(run, a);
    else
        mv_launch_codes<T, 8>(run, a);
}

#endif
