/* cuda_mv_float.cu - products of few rows with F32, F16 and BF16 weights: float32 activations.
 *
 * A piece of a row is eight lines.  The block's own row lies in shared memory and ends in zeros up to whole pieces;
 * other rows are read where they are. */
#include "cuda_mv.cuh"

enum { FLOAT_LINES = 8 };

template <enum dtype T> struct mv_floats {
    using F = strip_of<T>;
    static constexpr int n_steps = FLOAT_LINES / F::n_step_words; /* of a piece */
    static constexpr int n_cols = 4 * n_steps;
    static __host__ LANE constexpr int n_pieces(int columns)
    {
        return (columns + n_cols - 1) / n_cols;
    }
    static __host__ LANE constexpr int per_sm(int n_tokens)
    {
        return n_tokens <= 2 ? 2 : 1;
    }
};

struct float_ahead { /* four rows of a piece, on the way */
    uint4 line[FLOAT_LINES];
    int piece;
};

/* Lines that a row's end lacks are zeros. */
LANE void read_ahead(struct float_ahead *p, const struct mv_at &at, int n_lines)
{
    int n_warps = (int)blockDim.x / 32, warp = (int)threadIdx.x / 32;
    p->piece = (at.pass * n_warps + warp) * 8 + lane_id() / 4;
#pragma unroll
    for (int i = 0; i < FLOAT_LINES; i++) {
        int line = p->piece * FLOAT_LINES + i;
        p->line[i] = make_uint4(0, 0, 0, 0);
        if (at.strip && line < n_lines) p->line[i] = load_stream(at.strip + (size_t)line * 64 + 16 * (lane_id() % 4));
    }
}

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

template <enum dtype T, int N>
LANE void add_piece(float sum[N][4], const struct float_ahead &p, const struct float_row x[N])
{
    using F = strip_of<T>;
#pragma unroll
    for (int s = 0; s < mv_floats<T>::n_steps; s++) {
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
            read_four(v, x[t], p.piece * mv_floats<T>::n_cols + 4 * s);
#pragma unroll
            for (int r = 0; r < 4; r++)
#pragma unroll
                for (int i = 0; i < 4; i++) sum[t][r] = fmaf(w[r][i], v[i], sum[t][r]);
        }
    }
}

LANE int own_numbers(int n_cols) /* up to whole pieces of any type */
{
    return (n_cols + 15) / 16 * 16;
}

/* The block's own row of x, normed; every thread calls it. */
template <int N> LANE void make_own_row(const struct mv &a)
{
    struct by_block block = {mv_partial(N)};
    int row = a.by_row ? (int)blockIdx.y / a.x_div : 0;
    const float *x = (const float *)(const void *)((const char *)a.x + (size_t)row * a.x_bytes);
    float *own = (float *)(void *)mv_own_row(N);
    struct unit u = unit_of<4>(a.norm, x, a.n_cols, block);
    for (int i = 4 * (int)threadIdx.x; i < own_numbers(a.n_cols); i += 4 * (int)blockDim.x) {
        struct numbers<4> y = {};
        if (i < a.n_cols) y = normed<4>(a.norm, u, x, i);
        store_numbers<4>(own + i, y);
    }
    block_barrier();
}

template <int N> LANE void rows_of(struct float_row x[N], const struct mv &a, int row)
{
#pragma unroll
    for (int t = 0; t < N; t++) {
        size_t from = (size_t)(min(row + t, a.n - 1) / a.x_div);
        x[t].x = (const float *)(const void *)(a.own ? mv_own_row(N) : (const char *)a.x + from * a.x_bytes);
        x[t].n = a.own ? own_numbers(a.n_cols) : a.n_cols;
        x[t].four = a.by_four;
    }
}

template <enum dtype T, int N>
static __global__ void __launch_bounds__(32 * MV_WARPS, mv_floats<T>::per_sm(N))
    multiply_floats(const __grid_constant__ struct mv a)
{
    using M = mv_floats<T>;
    struct float_ahead ahead, other;
    struct mv_at at;
    int n_lines = strip_n_lines<typename M::F>(a.n_cols), n_pieces = M::n_pieces(a.n_cols), expert = 0;
    int of_pass = (int)blockDim.x / 4, n_passes = (n_pieces + of_pass - 1) / of_pass;
    if (!a.by_row) {
        at = mv_begin<N>(a, 0);
        read_ahead(&ahead, at, n_lines);
    }
    mv_expect(a);
    grid_release();
    grid_wait();
    if (a.by_row) {
        expert = mv_matrix(a);
        at = mv_begin<N>(a, expert);
        read_ahead(&ahead, at, n_lines);
    }
    if (a.own) make_own_row<N>(a);
    for (int item = (int)blockIdx.x, turn = 0; item < mv_n_items<N>(a); item += (int)gridDim.x, turn ^= 1) {
        struct float_row x[N];
        rows_of<N>(x, a, mv_item_of<N>(a, item).row);
        for (int side = 0; side < a.n_sides; side++) {
            float sum[N][4] = {};
#pragma unroll 1
            for (int pass = 0; pass < n_passes; pass += 2) { /* in turns, so that nothing is copied */
                mv_advance<N>(a, &at, n_passes, expert);
                read_ahead(&other, at, n_lines);
                if (ahead.piece < n_pieces) add_piece<T, N>(sum, ahead, x);
                if (pass + 1 == n_passes) {
                    ahead = other;
                    break;
                }
                mv_advance<N>(a, &at, n_passes, expert);
                read_ahead(&ahead, at, n_lines);
                if (other.piece < n_pieces) add_piece<T, N>(sum, other, x);
            }
            mv_leave<N>(sum, turn, side);
        }
        block_barrier();
        mv_finish<N>(a, item, turn, expert);
    }
}

template <enum dtype T, int N> static void launch_floats(struct cuda_run *run, const struct mv *a)
{
    using M = mv_floats<T>;
    struct mv_shape shape = {M::n_pieces(a->n_cols), 8, M::per_sm(N)};
    mv_launch<N>(run, a, multiply_floats<T, N>, shape, ((size_t)a->n_cols + 15) * sizeof(float));
}

template <enum dtype T> static void few_floats(struct cuda_run *run, const struct mv *a)
{
    if (a->n == 1 || a->by_row)
        launch_floats<T, 1>(run, a);
    else if (a->n <= 4)
        launch_floats<T, 4>(run, a);
    else
        launch_floats<T, 8>(run, a);
}

bool cuda_mv_float(struct cuda_run *run, const struct mv *a, enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_F32: few_floats<DTYPE_F32>(run, a); return true;
    case DTYPE_F16: few_floats<DTYPE_F16>(run, a); return true;
    case DTYPE_BF16: few_floats<DTYPE_BF16>(run, a); return true;
    default: return false;
    }
}
