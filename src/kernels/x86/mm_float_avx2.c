/* mm_float_avx2.c - products of F32, F16 and BF16 weights with float32 activations: eight columns a
 * step, two sums per token; the last columns one by one. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "convert.h"
#include "mm_rows.h"
#include "parts_avx2.h"

struct reader { /* of a row's elements */
    int element_bytes;
    __m256 (*eight)(const char *w);
    float (*one)(const char *w);
};

MM_INLINE __m256 eight_f32(const char *w)
{
    return _mm256_loadu_ps((const float *)(const void *)w);
}

MM_INLINE float one_f32(const char *w)
{
    float x;
    memcpy(&x, w, sizeof x);
    return x;
}

MM_INLINE __m256 eight_f16(const char *w)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)w));
}

MM_INLINE float one_f16(const char *w)
{
    uint16_t h;
    memcpy(&h, w, sizeof h);
    return float_of_f16(h);
}

MM_INLINE __m256 eight_bf16(const char *w)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)w));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

MM_INLINE float one_bf16(const char *w)
{
    uint16_t h;
    memcpy(&h, w, sizeof h);
    return float_of_bf16(h);
}

MM_INLINE float sum_of(__m256 v)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

MM_INLINE const float *token_row(const char *x, size_t x_stride, int t)
{
    return (const float *)(const void *)(x + (size_t)t * x_stride);
}

MM_INLINE void row_float(float *y, size_t y_stride, const char *w, const char *x, size_t x_stride, int n,
                         int nt, struct reader r)
{
    __m256 even[4], odd[4];
    int c = 0;
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) even[t] = odd[t] = _mm256_setzero_ps();
    for (; c + 16 <= n; c += 16) {
        __m256 w0 = r.eight(w + c * r.element_bytes), w1 = r.eight(w + (c + 8) * r.element_bytes);
        _mm_prefetch(w + c * r.element_bytes + 1024, _MM_HINT_T0);
#pragma GCC unroll 4
        for (int t = 0; t < nt; t++) {
            const float *xt = token_row(x, x_stride, t) + c;
            even[t] = _mm256_fmadd_ps(w0, _mm256_loadu_ps(xt), even[t]);
            odd[t] = _mm256_fmadd_ps(w1, _mm256_loadu_ps(xt + 8), odd[t]);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) {
        float sum = sum_of(_mm256_add_ps(even[t], odd[t]));
        for (int at = c; at < n; at++) sum += r.one(w + at * r.element_bytes) * token_row(x, x_stride, t)[at];
        y[(size_t)t * y_stride] = sum;
    }
}

MM_INLINE void row_f32(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_float(y, ys, w, x, xs, n, nt, (struct reader){4, eight_f32, one_f32});
}

MM_INLINE void row_f16(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_float(y, ys, w, x, xs, n, nt, (struct reader){2, eight_f16, one_f16});
}

MM_INLINE void row_bf16(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_float(y, ys, w, x, xs, n, nt, (struct reader){2, eight_bf16, one_bf16});
}

void mm_f32_avx2(const struct kern_mm_args *a)
{
    mm_rows(a, row_f32);
}

void mm_f16_avx2(const struct kern_mm_args *a)
{
    mm_rows(a, row_f16);
}

void mm_bf16_avx2(const struct kern_mm_args *a)
{
    mm_rows(a, row_bf16);
}
#endif
