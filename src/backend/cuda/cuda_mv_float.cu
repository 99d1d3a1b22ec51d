/* cuda_mv_float.cu - products of few rows with F32, F16 and BF16 weights: float32 activations.
 *
 * A piece of a row is eight lines.  The block's own row lies in shared memory and ends in zeros up to whole pieces;
 * other rows are read where they are. */
#include "cuda_mv.cuh"

enum { FLOAT_LINES = 8 };

struct float_row {
    const float *x;
    int n;     /* numbers that may be read */
    bool four; /* at a time */
};

LANE void read_four(float v[4], const struct float_row &row, int column)
{
    if (row.four && column + 4 <= row.n) {
        struct numbers<4> y = load_numbers<4>(row.x + column);
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] = y.v[i];
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = column + i < row.n ? row.x[column + i] : 0;
}

LANE uint32_t word_of(const uint4 &v, int r)
{
    return r == 0 ? v.x : r == 1 ? v.y : r == 2 ? v.z : v.w;
}

LANE constexpr int own_numbers(int n_cols) /* up to whole pieces of any type */
{
    return (n_cols + 15) / 16 * 16;
}

template <enum dtype T, int N, bool OWN> struct mv_of_floats { /* see cuda_mv.cuh */
    using F = strip_of<T>;
    static constexpr int n_steps = FLOAT_LINES / F::n_step_words, n_cols = 4 * n_steps; /* of a piece */
    static constexpr int n_tokens = N, two = 4;
    static constexpr bool own = OWN;
    static constexpr int per_sm = N <= 2 ? 2 : 1;
    static constexpr int together = 1;

    struct piece {
        uint4 line[FLOAT_LINES];
    };
    struct rows {
        struct float_row row[N];
    };

    static __host__ LANE constexpr int n_pieces(int columns)
    {
        return (columns + n_cols - 1) / n_cols;
    }
    static __host__ LANE constexpr size_t own_bytes(int columns)
    {
        return ((size_t)columns + 15) * sizeof(float);
    }
    static LANE int extent(int columns)
    {
        return strip_n_lines<F>(columns);
    }
    /* Lines that a row's end lacks are zeros. */
    static LANE void load(struct piece *p, const char *strip, int group, int n_lines)
    {
        int first = (group * 8 + lane_id() / 4) * FLOAT_LINES;
        const char *from = strip + (size_t)first * 64 + 16 * (lane_id() % 4);
#pragma unroll
        for (int i = 0; i < FLOAT_LINES; i++) {
            p->line[i] = make_uint4(0, 0, 0, 0);
            if (first + i < n_lines) p->line[i] = load_stream(from + 64 * i);
        }
    }
    static LANE void find(struct rows *x, const struct mv &a, int first)
    {
#pragma unroll
        for (int t = 0; t < N; t++) {
            size_t from = (size_t)(min(first + t, a.n - 1) / a.x_div);
            x->row[t].x = (const float *)(const void *)(OWN ? mv_own_row(N) : (const char *)a.x + from * a.x_bytes);
            x->row[t].n = OWN ? own_numbers(a.n_cols) : a.n_cols;
            x->row[t].four = OWN || a.by_four;
        }
    }
    static LANE void make_own(const struct mv &a)
    {
        struct by_block block = {mv_partial(N)};
        const float *x = mv_block_row(a);
        float *to = (float *)(void *)mv_own_row(N);
        struct unit u = unit_of<4>(a.norm, x, a.n_cols, block);
        for (int i = 4 * (int)threadIdx.x; i < own_numbers(a.n_cols); i += 4 * (int)blockDim.x) {
            struct numbers<4> y = {};
            if (i < a.n_cols) y = normed<4>(a.norm, u, x, i);
            store_numbers<4>(to + i, y);
        }
        block_barrier();
    }
    static LANE void add(float sum[N][4], const struct piece &p, int group, const struct rows &x)
    {
        int column = (group * 8 + lane_id() / 4) * n_cols;
#pragma unroll
        for (int s = 0; s < n_steps; s++) {
            float w[4][4];
#pragma unroll
            for (int r = 0; r < 4; r++) {
                uint32_t words[F::n_step_words];
#pragma unroll
                for (int i = 0; i < F::n_step_words; i++) words[i] = word_of(p.line[s * F::n_step_words + i], r);
                F::numbers(w[r], words);
            }
#pragma unroll
            for (int t = 0; t < N; t++) {
                float v[4];
                read_four(v, x.row[t], column + 4 * s);
#pragma unroll
                for (int r = 0; r < 4; r++)
#pragma unroll
                    for (int i = 0; i < 4; i++) sum[t][r] = fmaf(w[r][i], v[i], sum[t][r]);
            }
        }
    }
};

bool cuda_mv_float(struct cuda_run *run, const struct mv *a, enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_F32: mv_few<mv_of_floats, DTYPE_F32>(run, a); return true;
    case DTYPE_F16: mv_few<mv_of_floats, DTYPE_F16>(run, a); return true;
    case DTYPE_BF16: mv_few<mv_of_floats, DTYPE_BF16>(run, a); return true;
    default: return false;
    }
}
