/* cuda_mv_codes.cuh - how quantised strips are multiplied with activations in 8 bits, for any format.
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
    static constexpr int of_group = 8 / per_block;       /* blocks, of eight pieces */
    static constexpr int n_lines = F::n_head_words + 4 * F::n_step_words;
    static constexpr bool shares_scale = F::n_codes == 2 && F::n_steps == 4; /* a piece is 32 columns side by side */
    static constexpr int n_scales = shares_scale ? 1 : F::n_codes;           /* of a row's piece */
    static_assert(8 % per_block == 0 && of_group <= 8, "set and half would change from group to group");
};

/* Four rows of a piece. */
template <enum dtype T> struct mv_piece {
    uint32_t line[mv_format<T>::n_lines][4];
    uint32_t head[2];
};

struct mv_spot { /* of all pieces of a lane */
    int block, set, half; /* block: of the group's */
};

template <enum dtype T> LANE struct mv_spot mv_spot_of()
{
    using M = mv_format<T>;
    unsigned nth = (unsigned)lane_id() / 4;
    return {(int)(nth / M::per_block), (int)(nth / M::halves % M::F::n_sets), (int)(nth % M::halves)};
}

LANE void mv_load_line(uint32_t to[4], const char *lines, int line)
{
    uint4 v = load_stream(lines + 64 * line);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

/* Where the lane's block of a group is. */
template <enum dtype T> LANE struct strip_place mv_place_of(int group, int n_blocks)
{
    using M = mv_format<T>;
    using F = strip_of<T>;
    uint32_t own = (uint32_t)mv_spot_of<T>().block, nth = (uint32_t)group;
    if (F::per_chunk <= M::of_group)
        return strip_place_in<F>(nth * (M::of_group / F::per_chunk) + own / F::per_chunk, own % F::per_chunk, n_blocks);
    return strip_place_in<F>(nth * M::of_group / F::per_chunk, nth * M::of_group % F::per_chunk + own, n_blocks);
}

template <enum dtype T> LANE void mv_load_piece(struct mv_piece<T> *p, const char *strip, int group, int n_blocks)
{
    using F = strip_of<T>;
    struct mv_spot at = mv_spot_of<T>();
    struct strip_place place = mv_place_of<T>(group, n_blocks);
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

/* Words i, i + 1, ... of row r. */
template <enum dtype T, int N_WORDS> struct mv_words {
    uint32_t w[N_WORDS > 0 ? N_WORDS : 1];
    LANE mv_words(const struct mv_piece<T> &p, int i, int r)
    {
#pragma unroll
        for (int j = 0; j < N_WORDS; j++) w[j] = p.line[i + j][r];
    }
};

/* ---- products of codes ---------------------------------------------------------------------------------- */

/* Sums begin here, so that as the bits of a float32 they are 3 * 2^22 + the sum, which stays below 2^22. */
enum { MV_SUM_START = 0x4b400000 };

LANE float mv_number_of(int sum)
{
    return f32_of_bits((uint32_t)sum) - 12582912.0f;
}

LANE uint32_t mv_quad(const uint4 &codes, int step)
{
    return step == 0 ? codes.x : step == 1 ? codes.y : step == 2 ? codes.z : codes.w;
}

LANE uint4 mv_codes_of(const struct mv_half *x)
{
    return *(const uint4 *)(const void *)x->codes;
}

template <class F> LANE void mv_unpack(uint32_t *u, const uint32_t *w, const uint32_t *h, int set, int step)
{
    if constexpr (F::is_shifted)
        F::shifted(u, w, h, set, step);
    else
        F::codes(u, w, h, set, step);
}

template <class F> LANE int mv_dot(uint32_t u, uint32_t x, int sum)
{
    return F::is_signed ? dot4_signed(u, x, sum) : dot4(u, x, sum);
}

/* One code's 16 columns of four rows, for N rows of activations; times 2^F::shift(code). */
template <enum dtype T, int N>
LANE void mv_dots(int dot[N][4], const struct mv_piece<T> &p, const struct mv_spot &at, int code,
                  const struct mv_half *const x[N])
{
    using F = strip_of<T>;
    uint4 codes[N];
#pragma unroll
    for (int t = 0; t < N; t++) {
        codes[t] = mv_codes_of(x[t]);
        int start = MV_SUM_START - (F::offset ? (F::offset << F::shift(code)) * x[t]->tail.sum : 0);
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
            mv_unpack<F>(u, w.w, h.w, at.set, 4 * at.half + s);
#pragma unroll
            for (int t = 0; t < N; t++) dot[t][r] = mv_dot<F>(u[code], mv_quad(codes[t], s), dot[t][r]);
        }
}

/* Both codes' 32 columns, which share a scale; times 2^F::shift(1). */
template <enum dtype T, int N>
LANE void mv_dots_of_both(int dot[N][4], const struct mv_piece<T> &p, const struct mv_half *const x[N])
{
    using F = strip_of<T>;
    uint4 first[N], second[N];
#pragma unroll
    for (int t = 0; t < N; t++) first[t] = mv_codes_of(x[t]), second[t] = mv_codes_of(x[t] + 1);
#pragma unroll
    for (int r = 0; r < 4; r++) {
        int low[N], high[N];
#pragma unroll
        for (int t = 0; t < N; t++) low[t] = F::offset ? -F::offset * x[t]->tail.both : 0, high[t] = MV_SUM_START;
#pragma unroll
        for (int s = 0; s < 4; s++) {
            struct mv_words<T, F::n_head_words> h(p, 0, r);
            struct mv_words<T, F::n_step_words> w(p, F::n_head_words + s * F::n_step_words, r);
            uint32_t u[2];
            mv_unpack<F>(u, w.w, h.w, 0, s);
#pragma unroll
            for (int t = 0; t < N; t++) {
                low[t] = mv_dot<F>(u[0], mv_quad(first[t], s), low[t]);
                high[t] = mv_dot<F>(u[1], mv_quad(second[t], s), high[t]);
            }
        }
#pragma unroll
        for (int t = 0; t < N; t++) dot[t][r] = low[t] * (1 << F::shift(1)) + high[t];
    }
}

/* Halves of tables that stay in registers.  Where the compiler knows what they are, it makes them anew for each use. */
struct mv_kept {
    uint32_t first, second;
};

/* For few rows of activations a byte's two parts are multiplied one by one, for more they are put together first. */
LANE constexpr int mv_n_parts(int n_tokens)
{
    return n_tokens <= 2 ? 2 : 1;
}

template <class F> LANE struct mv_kept mv_keep(int n_parts)
{
    struct mv_kept kept = {};
    if constexpr (F::is_mixed) {
        struct nibble_table t = F::table();
        uint32_t first = n_parts == 2 ? t.below[0] : t.low[0], second = n_parts == 2 ? t.above[0] : t.high[0];
        bool odd = lane_id() % 2 == 1;
        kept.first = warp_from(odd ? first : 0u, lane_id() | 1);
        kept.second = warp_from(odd ? second : 0u, lane_id() | 1);
    }
    return kept;
}

/* The same of codes that are looked up: in the order of their nibbles, to which that of the activations was brought. */
template <enum dtype T, int N>
LANE void mv_dots_of_mixed(int dot[N][4], const struct mv_piece<T> &p, const struct mv_half *const x[N],
                           const struct mv_kept &kept)
{
    using F = strip_of<T>;
    constexpr int n_parts = mv_n_parts(N);
    struct nibble_table table = F::table();
    if (n_parts == 2)
        table.below[0] = kept.first, table.above[0] = kept.second;
    else
        table.low[0] = kept.first, table.high[0] = kept.second;
    uint4 codes[N][2];
#pragma unroll
    for (int t = 0; t < N; t++) {
        codes[t][0] = mv_codes_of(x[t]), codes[t][1] = mv_codes_of(x[t] + 1);
#pragma unroll
        for (int r = 0; r < 4; r++) dot[t][r] = MV_SUM_START;
    }
#pragma unroll
    for (int s = 0; s < 4; s++)
#pragma unroll
        for (int r = 0; r < 4; r++) {
            uint32_t u[2 * n_parts], v = p.line[F::n_head_words + s][r];
            if (n_parts == 2)
                look_up_parts(u, v, table);
            else
                look_up_mixed(u, v, table);
#pragma unroll
            for (int t = 0; t < N; t++)
#pragma unroll
                for (int i = 0; i < 2 * n_parts; i++)
                    dot[t][r] = dot4_signed(u[i], mv_quad(codes[t][s / 2], s % 2 * 2 + i / n_parts), dot[t][r]);
        }
}

template <enum dtype T, int N>
LANE void mv_add_piece(float sum[N][4], const struct mv_piece<T> &p, const struct mv_half *const x[N],
                       const struct mv_kept &kept)
{
    using F = strip_of<T>;
    using M = mv_format<T>;
    struct mv_spot at = mv_spot_of<T>();
#pragma unroll
    for (int c = 0; c < M::n_scales; c++) {
        const struct mv_half *from[N];
        float e[N], scaled[N];
        int dot[N][4];
#pragma unroll
        for (int t = 0; t < N; t++) from[t] = x[t] + 2 * c;
        if constexpr (F::is_mixed)
            mv_dots_of_mixed<T, N>(dot, p, from, kept);
        else if constexpr (M::shares_scale)
            mv_dots_of_both<T, N>(dot, p, from);
        else
            mv_dots<T, N>(dot, p, at, c, from);
#pragma unroll
        for (int t = 0; t < N; t++) {
            struct mv_tail tail = from[t]->tail;
            e[t] = tail.scale * (1.0f / (1 << F::shift(M::shares_scale ? 1 : c)));
            scaled[t] = M::shares_scale ? tail.scale * (float)tail.both : tail.scaled;
        }
#pragma unroll
        for (int r = 0; r < 4; r++) {
            struct mv_words<T, F::n_head_words> h(p, 0, r);
            struct strip_scale s = F::scale(mv_head<T>(p, r), h.w, at.set, at.half, c);
#pragma unroll
            for (int t = 0; t < N; t++) {
                sum[t][r] = fmaf(mv_number_of(dot[t][r]), s.d * e[t], sum[t][r]);
                if (F::has_min) sum[t][r] = fmaf(s.m, scaled[t], sum[t][r]);
            }
        }
    }
}

/* ---- the kind ------------------------------------------------------------------------------------------- */

template <enum dtype T, int N, bool OWN> struct mv_of_codes { /* see cuda_mv.cuh */
    using F = strip_of<T>;
    using M = mv_format<T>;
    using piece = mv_piece<T>;
    static constexpr int n_tokens = N, two = 2;
    static constexpr bool own = OWN;
    static constexpr int per_sm = M::n_lines <= 8 && N <= 2 ? 2 : 1; /* 128 registers a thread, or 255 */
    /* As many pieces as registers hold.  A line that is spilled while it is still on the way is waited for. */
    static constexpr int together = M::n_lines <= 4 && N != 2 ? 2 : 1;

    struct rows {
        const struct mv_half *lane[N]; /* the first that is for the lane's piece of group 0 */
        struct mv_kept kept;
    };

    static __host__ LANE constexpr int n_pieces(int n_cols)
    {
        return strip_n_blocks<F>(n_cols) * M::per_block;
    }
    static __host__ LANE constexpr size_t own_bytes(int n_cols)
    {
        return mv_codes_bytes(n_cols);
    }
    static LANE int extent(int n_cols)
    {
        return strip_n_blocks<F>(n_cols);
    }
    static LANE void load(piece *p, const char *strip, int group, int n_blocks)
    {
        mv_load_piece<T>(p, strip, group, n_blocks);
    }
    static LANE void find(struct rows *x, const struct mv &a, int first)
    {
        struct mv_spot at = mv_spot_of<T>();
        int half = at.block * (F::n_cols / 16) + at.set * (M::shares_scale ? 2 : 2 * F::n_codes) + at.half;
#pragma unroll
        for (int t = 0; t < N; t++) {
            size_t from = (size_t)(min(first + t, a.n - 1) / a.x_div);
            const char *row = OWN ? mv_own_row(N) : (const char *)a.x + from * a.x_bytes;
            x->lane[t] = (const struct mv_half *)(const void *)row + half;
        }
        x->kept = mv_keep<F>(mv_n_parts(N));
    }
    static LANE void make_own(const struct mv &a)
    {
        struct by_block block = {mv_partial(N)};
        const float *x = mv_block_row(a);
        struct unit u = unit_of<4>(a.norm, x, a.n_cols, block);
        mv_round_row<4>((struct mv_record *)(void *)mv_own_row(N), a.n_cols, F::is_mixed, a.norm, u, x,
                        (int)threadIdx.x / 32, (int)blockDim.x / 32);
        block_barrier();
    }
    static LANE void add(float sum[N][4], const piece &p, int group, const struct rows &x)
    {
        const struct mv_half *at[N];
#pragma unroll
        for (int t = 0; t < N; t++) at[t] = x.lane[t] + group * (8 * F::n_codes);
        mv_add_piece<T, N>(sum, p, at, x.kept);
    }
};

#endif
