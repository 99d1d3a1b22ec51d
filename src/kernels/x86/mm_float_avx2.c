/* mm_float_avx2.c - products of F32, F16 and BF16 strips with float32 activations.
 *
 * A sum is a chain of fma over each KERN_PIECE columns (kern.h), so what hides an fma's latency must be other
 * chains: the two halves of a strip, several tokens, or for one token the pieces that follow.  More tokens share a
 * panel, a piece's weights as float32 in the first cache; a strip of F32 is one already. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "base.h"
#include "parts_avx2.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    HALF = 8,
    TILE = 6,      /* tokens of a panel's tile */
    AT_ONCE = 126, /* tokens that use a panel before it is made again */
};

/* Two columns of eight rows as float32, not always in the order of the rows. */
struct pair {
    __m256 even, odd;
};

struct reader {
    int columns; /* of a line: 1 or 2 */
    struct pair (*read)(const char *half_line);
    __m256 (*sorted)(__m256 v); /* what .read gives, in the order of the rows */
};

INLINE struct pair read_f32(const char *p)
{
    __m256 v = _mm256_load_ps((const float *)(const void *)p);
    return (struct pair){v, v};
}

INLINE __m256 sorted_already(__m256 v)
{
    return v;
}

/* Rows 0, 1, 4, 5, 2, 3, 6, 7: shuffles within 128 bits are cheaper. */
INLINE struct pair read_f16(const char *p)
{
    __m256 low = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)p));
    __m256 high = _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)p + 1));
    return (struct pair){_mm256_shuffle_ps(low, high, 0x88), _mm256_shuffle_ps(low, high, 0xdd)};
}

INLINE __m256 sorted_f16(__m256 v)
{
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
}

INLINE struct pair read_bf16(const char *p)
{
    __m256i v = _mm256_load_si256((const __m256i *)(const void *)p);
    __m256i odd = _mm256_and_si256(v, _mm256_set1_epi32((int)0xffff0000));
    return (struct pair){_mm256_castsi256_ps(_mm256_slli_epi32(v, 16)), _mm256_castsi256_ps(odd)};
}

/* ---- one token ------------------------------------------------------------------------------------ */

/* Whole pieces from the strip itself; returns their columns.  One after the other, because memory wants to be
 * read in its order: the chains of neighbours overlap as far as the processor looks ahead. */
INLINE int add_pieces(float y[STRIP], const char *lines, const float *x, int n_cols, struct reader r)
{
    __m256 all[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    int at = 0;
    for (; at + KERN_PIECE <= n_cols; at += KERN_PIECE) {
        __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
#pragma GCC unroll 4
        for (int i = 0; i < KERN_PIECE; i += r.columns, lines += 64) {
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                struct pair w = r.read(lines + 32 * h);
                sum[h] = _mm256_fmadd_ps(w.even, _mm256_broadcast_ss(x + at + i), sum[h]);
                if (r.columns == 2) sum[h] = _mm256_fmadd_ps(w.odd, _mm256_broadcast_ss(x + at + i + 1), sum[h]);
            }
        }
        for (int h = 0; h < 2; h++) all[h] = _mm256_add_ps(all[h], sum[h]);
    }
    for (int h = 0; h < 2; h++) _mm256_store_ps(y + HALF * h, r.sorted(all[h]));
    return at;
}

/* ---- many tokens ---------------------------------------------------------------------------------- */

/* y[t] += n columns of a panel: [n][STRIP]. */
INLINE void tile(float (*y)[STRIP], const float *panel, const float *x, size_t x_stride, int n, int nt)
{
    __m256 sum[TILE][2];
#pragma GCC unroll 6
    for (int t = 0; t < nt; t++) sum[t][0] = sum[t][1] = _mm256_setzero_ps();
    for (int i = 0; i < n; i++, panel += STRIP) {
        __m256 w0 = _mm256_load_ps(panel), w1 = _mm256_load_ps(panel + HALF);
#pragma GCC unroll 6
        for (int t = 0; t < nt; t++) {
            __m256 v = _mm256_broadcast_ss(x + (size_t)t * x_stride + i);
            sum[t][0] = _mm256_fmadd_ps(w0, v, sum[t][0]);
            sum[t][1] = _mm256_fmadd_ps(w1, v, sum[t][1]);
        }
    }
#pragma GCC unroll 6
    for (int t = 0; t < nt; t++)
        for (int h = 0; h < 2; h++)
            _mm256_store_ps(y[t] + HALF * h, _mm256_add_ps(_mm256_load_ps(y[t] + HALF * h), sum[t][h]));
}

static void add_panel(float (*y)[STRIP], const float *panel, const float *x, size_t x_stride, int n, int n_tokens)
{
    for (; n_tokens > TILE; n_tokens -= TILE, y += TILE, x += TILE * x_stride)
        tile(y, panel, x, x_stride, n, TILE);
    switch (n_tokens) {
    case 6: tile(y, panel, x, x_stride, n, 6); break;
    case 5: tile(y, panel, x, x_stride, n, 5); break;
    case 4: tile(y, panel, x, x_stride, n, 4); break;
    case 3: tile(y, panel, x, x_stride, n, 3); break;
    case 2: tile(y, panel, x, x_stride, n, 2); break;
    default: tile(y, panel, x, x_stride, n, 1);
    }
}

/* n columns; where n is odd one more, of zeros. */
INLINE void unpack(float *panel, const char *lines, int n, struct reader r)
{
    for (int i = 0; i < n; i += 2, lines += 64, panel += 2 * STRIP)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            struct pair w = r.read(lines + 32 * h);
            _mm256_store_ps(panel + HALF * h, r.sorted(w.even));
            _mm256_store_ps(panel + STRIP + HALF * h, r.sorted(w.odd));
        }
}

INLINE void mm_strip(float (*y)[STRIP], const char *strip, const float *x, size_t x_stride, int n_tokens,
                     int n_cols, struct reader r)
{
    _Alignas(64) float panel[KERN_PIECE * STRIP];
    int at = n_tokens == 1 ? add_pieces(y[0], strip, x, n_cols, r) : 0;
    for (; at < n_cols; at += KERN_PIECE) {
        int n = MIN(KERN_PIECE, n_cols - at);
        const char *lines = strip + (size_t)(at / r.columns) * 64;
        if (r.columns == 2) unpack(panel, lines, n, r);
        add_panel(y, r.columns == 2 ? panel : (const float *)(const void *)lines, x + at, x_stride, n, n_tokens);
    }
}

INLINE void mm_floats(const struct kern_mm_args *a, struct reader r)
{
    _Alignas(64) float y[AT_ONCE][STRIP];
    for (int row = 0; row < a->n_rows; row += STRIP) {
        const char *strip = (const char *)a->w + (size_t)(row / STRIP) * a->w_stride;
        size_t row_bytes = (size_t)MIN(STRIP, a->n_rows - row) * sizeof **y;
        for (int t = 0; t < a->n_tokens; t += AT_ONCE) {
            int n = MIN(AT_ONCE, a->n_tokens - t);
            const void *x = (const char *)a->x + (size_t)t * a->x_stride;
            memset(y, 0, (size_t)n * sizeof *y);
            mm_strip(y, strip, x, a->x_stride / sizeof(float), n, a->n_cols, r);
            for (int i = 0; i < n; i++) memcpy(a->y + (size_t)(t + i) * a->y_stride + row, y[i], row_bytes);
        }
    }
}

void mm_f32_avx2(const struct kern_mm_args *a)
{
    mm_floats(a, (struct reader){1, read_f32, sorted_already});
}

void mm_f16_avx2(const struct kern_mm_args *a)
{
    mm_floats(a, (struct reader){2, read_f16, sorted_f16});
}

void mm_bf16_avx2(const struct kern_mm_args *a)
{
    mm_floats(a, (struct reader){2, read_bf16, sorted_already});
}
#endif
