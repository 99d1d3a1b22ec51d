/* mm_tiles_avx512bf16.c - products for many tokens by AVX512_BF16: two strips by twelve tokens in registers.
 *
 * A vector of a panel holds a pair of columns of sixteen rows; a pair of activations, broadcast, serves two of them.
 * So a step of two columns takes 14 loads for 24 instructions, of which six in flight hide the latency. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "math_avx512.h"
#include "parts_avx512bf16.h"
#include "tile_walk.h"

enum { TILE_TOKENS = 12 };

/* Tokens t to t + 2 are reached from one address by one index, so that twelve of them need four addresses. */
enum { TRIPLES = TILE_TOKENS / 3 };

MATH_INLINE __m512bh pair_of(const char *at)
{
    int pair;
    memcpy(&pair, at, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

/* Sums start from zero, and y is added behind them: so loads of y, which may be far away, run while the last products
 * are computed, and nothing waits for them. */
MATH_INLINE void add_to_y(const struct tile_job *j, int t0, int n_strips, int n, __m512 sum[TILE_TOKENS][2])
{
    __mmask16 rows[2] = {tail_mask((size_t)j->n_rows), tail_mask((size_t)(j->n_rows - STRIP))};
    float *y = j->y + (size_t)t0 * j->y_stride;
    if (!j->is_first)
#pragma GCC unroll 12
        for (int t = 0; t < n; t++)
#pragma GCC unroll 2
            for (int s = 0; s < n_strips; s++) {
                __m512 before = _mm512_maskz_loadu_ps(rows[s], y + (size_t)t * j->y_stride + s * STRIP);
                sum[t][s] = _mm512_add_ps(before, sum[t][s]);
            }
#pragma GCC unroll 12
    for (int t = 0; t < n; t++)
#pragma GCC unroll 2
        for (int s = 0; s < n_strips; s++)
            _mm512_mask_storeu_ps(y + (size_t)t * j->y_stride + s * STRIP, rows[s], sum[t][s]);
}

MATH_INLINE void multiply_tile(const struct tile_job *j, int t0, int n_strips, int n)
{
    const char *x[TRIPLES], *w[2] = {j->panel[0], j->panel[1]};
    size_t stride = j->x_stride;
    __m512 sum[TILE_TOKENS][2];
    for (int i = 0; i < TRIPLES; i++) x[i] = j->x + (size_t)(t0 + MIN(3 * i, n - 1)) * stride;
#pragma GCC unroll 12
    for (int t = 0; t < n; t++) sum[t][0] = sum[t][1] = _mm512_setzero_ps();
    for (int c = 0; c < j->n_cols; c += 2) {
        __m512bh b[2];
#pragma GCC unroll 2
        for (int s = 0; s < n_strips; s++) {
            memcpy(&b[s], w[s], sizeof b[s]);
            w[s] += sizeof b[s];
        }
#pragma GCC unroll 12
        for (int t = 0; t < n; t++) {
            __m512bh a = pair_of(x[t / 3] + (size_t)(t % 3) * stride);
#pragma GCC unroll 2
            for (int s = 0; s < n_strips; s++) sum[t][s] = _mm512_dpbf16_ps(sum[t][s], b[s], a);
        }
#pragma GCC unroll 4
        for (int i = 0; i < TRIPLES; i++) x[i] += 4;
    }
    add_to_y(j, t0, n_strips, n, sum);
}

#define TILES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#define TILE(n)                                                                                     \
    static void one_by_##n(const struct tile_job *j, int t0)                                        \
    {                                                                                               \
        multiply_tile(j, t0, 1, n);                                                                 \
    }                                                                                               \
    static void two_by_##n(const struct tile_job *j, int t0)                                        \
    {                                                                                               \
        multiply_tile(j, t0, 2, n);                                                                 \
    }
TILES(TILE)

#define ONE_BY(n) one_by_##n,
#define TWO_BY(n) two_by_##n,
static void (*const tiles[2][TILE_TOKENS])(const struct tile_job *j, int t0) = {{TILES(ONE_BY)}, {TILES(TWO_BY)}};

/* Tiles as equal as may be: sixteen tokens are twice eight, as four of them would not hide the latency. */
static void multiply_panel(struct tile_job *j)
{
    int n_tiles = CEIL_DIV(j->n_tokens, TILE_TOKENS), t = 0;
    for (int i = 0; i < n_tiles; i++) {
        int n = (j->n_tokens - t) / (n_tiles - i);
        tiles[j->n_rows > STRIP][n - 1](j, t);
        t += n;
    }
}

void mm_tiles_f16_avx512bf16(const struct kern_mm_args *a)
{
    tile_walk(a, DTYPE_F16, multiply_panel);
}

void mm_tiles_bf16_avx512bf16(const struct kern_mm_args *a)
{
    tile_walk(a, DTYPE_BF16, multiply_panel);
}
#endif
