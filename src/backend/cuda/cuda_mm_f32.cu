/* cuda_mm_f32.cu - products of many rows of activations in float32: of F32 weights, and of all with --exact.
 *
 * 64 rows of weights times 64 rows of x, 32 columns at a time through shared memory; weights are decoded on their way.
 * A thread sums 4 x 8 products, so it loads twelve numbers for thirty-two. */
#include "cuda_mm.cuh"

enum {
    ROWS = 64,  /* of weights: a strip for each warp */
    TOKENS = 64,
    COLS = 32,
    W_STRIDE = ROWS + 2,  /* lanes that write four columns apart meet no bank twice */
    X_STRIDE = COLS + 4,
    OWN_TOKENS = TOKENS / (MM_THREADS / 16), /* of a thread */
    SUM_FLOATS = TOKENS * (ROWS + MM_PAD),
    FLOATS = COLS * W_STRIDE + TOKENS * X_STRIDE,
    SHARED_BYTES = (SUM_FLOATS > FLOATS ? SUM_FLOATS : FLOATS) * 4,
};

struct panel { /* in shared memory */
    float w[COLS][W_STRIDE];
    float x[TOKENS][X_STRIDE];
};

/* Steps `first` and the next of a set of this warp's strip: 32 columns. */
template <class F>
LANE void put_weights(struct panel *to, const raw_words<F> words[2], const raw_heads<F> heads[2], int set, int first)
{
    constexpr int n_halves = F::n_steps / 4, n_codes = F::is_float ? 1 : F::n_codes;
    int g = lane_id() / 4, t = lane_id() % 4, row = (int)threadIdx.x / 32 * STRIP + g;
#pragma unroll
    for (int step = 0; step < n_halves * n_codes; step++) {
        if (step / 2 != first / 2) continue;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float v[4];
            int half = step % n_halves, code = step / n_halves;
            numbers_of(v, words[i], heads[i], scale_of(heads[i], set, half, code), set, half, code);
            for (int j = 0; j < 4; j++) to->w[step % 2 * 16 + 4 * t + j][row + 8 * i] = v[j];
        }
    }
}

LANE void put_rows(struct panel *to, const struct mm &a, const float *const *rows, int col)
{
    int own = (int)threadIdx.x % COLS;
    for (int i = (int)threadIdx.x / COLS; i < TOKENS; i += MM_THREADS / COLS)
        to->x[i][own] = col + own < a.n_cols ? rows[i][col + own] : 0;
}

/* A thread's rows of weights: 2 r, 2 r + 1 and those 32 further; of x: every eighth. */
LANE void multiply_panel(float sums[OWN_TOKENS][4], const struct panel *p)
{
    int r = (int)threadIdx.x % 16 * 2, first = (int)threadIdx.x / 16;
#pragma unroll 2
    for (int col = 0; col < COLS; col += 4) {
        float4 x[OWN_TOKENS];
#pragma unroll
        for (int i = 0; i < OWN_TOKENS; i++) x[i] = *(const float4 *)&p->x[first + 8 * i][col];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            float2 low = *(const float2 *)&p->w[col + j][r], high = *(const float2 *)&p->w[col + j][r + 32];
#pragma unroll
            for (int i = 0; i < OWN_TOKENS; i++) {
                float v = j == 0 ? x[i].x : j == 1 ? x[i].y : j == 2 ? x[i].z : x[i].w;
                sums[i][0] = fmaf(low.x, v, sums[i][0]);
                sums[i][1] = fmaf(low.y, v, sums[i][1]);
                sums[i][2] = fmaf(high.x, v, sums[i][2]);
                sums[i][3] = fmaf(high.y, v, sums[i][3]);
            }
        }
    }
}

LANE void put_sums(float *to, const float sums[OWN_TOKENS][4])
{
    int r = (int)threadIdx.x % 16 * 2, first = (int)threadIdx.x / 16;
#pragma unroll
    for (int i = 0; i < OWN_TOKENS; i++) {
        float *at = to + (first + 8 * i) * (ROWS + MM_PAD) + r;
        at[0] = sums[i][0], at[1] = sums[i][1], at[32] = sums[i][2], at[33] = sums[i][3];
    }
}

template <enum dtype T> static __global__ void __launch_bounds__(MM_THREADS) mm_floats(struct mm a)
{
    using F = strip_of<T>;
    constexpr int set_cols = 4 * F::n_steps * (F::is_float ? 1 : F::n_codes);
    __shared__ const float *rows[TOKENS]; /* of x */
    struct panel *panel = (struct panel *)shared_memory();
    int n_sets = strip_n_blocks<F>(a.n_cols) * F::n_sets;
    grid_wait();
    grid_release();
    struct mm_tile tile = mm_tile_of(a, TOKENS);
    if (tile.n == 0) return;
    const char *strip = mm_strip<ROWS>(a, tile, (int)threadIdx.x / 32);
    if (threadIdx.x < TOKENS) rows[threadIdx.x] = mm_row<float>(a, tile, (int)threadIdx.x);
    float sums[OWN_TOKENS][4] = {};
#pragma unroll 1
    for (int nth = 0; nth < n_sets; nth++) {
        raw_words<F> words[2];
        raw_heads<F> heads[2];
        raw_place<F> place = place_of<F>(a.n_cols, nth);
        for (int i = 0; i < 2; i++) {
            load_words(words[i], strip, place, lane_id() / 4 + 8 * i);
            load_heads(heads[i], strip, place, lane_id() / 4 + 8 * i);
        }
#pragma unroll 1
        for (int first = 0; first < set_cols / 16; first += 2) {
            block_barrier();
            put_weights(panel, words, heads, place.set, first);
            put_rows(panel, a, rows, nth * set_cols + first * 16);
            block_barrier();
            multiply_panel(sums, panel);
        }
    }
    block_barrier();
    put_sums((float *)shared_memory(), sums);
    block_barrier();
    mm_finish<ROWS, TOKENS, 1>(a, tile, (const float *)shared_memory());
}

struct kernel { /* of a weight type */
    enum dtype dtype;
    void (*run)(struct mm);
};

#define KERNEL(T)                                                                                   \
    {                                                                                               \
        T, mm_floats<T>                                                                             \
    }
static const struct kernel kernels[] = {
    KERNEL(DTYPE_F32),  KERNEL(DTYPE_F16),  KERNEL(DTYPE_BF16),   KERNEL(DTYPE_Q4_0),
    KERNEL(DTYPE_Q4_1), KERNEL(DTYPE_Q5_0), KERNEL(DTYPE_Q5_1),   KERNEL(DTYPE_Q8_0),
    KERNEL(DTYPE_Q2_K), KERNEL(DTYPE_Q3_K), KERNEL(DTYPE_Q4_K),   KERNEL(DTYPE_Q5_K),
    KERNEL(DTYPE_Q6_K), KERNEL(DTYPE_IQ4_NL), KERNEL(DTYPE_IQ4_XS), KERNEL(DTYPE_MXFP4),
};

void cuda_mm_f32(struct cuda_run *run, const struct mm *a, enum dtype dtype)
{
    unsigned rows = ROWS / (a->end == MM_PAIR ? 2 : 1);
    const struct kernel *k = kernels;
    while (k->dtype != dtype) k++;
    device_launch(run->d, "a product in float32", k->run,
                  dim3(mm_most_tiles(a, TOKENS), ((unsigned)a->n_rows + rows - 1) / rows), dim3(MM_THREADS),
                  (size_t)SHARED_BYTES, *a);
}
