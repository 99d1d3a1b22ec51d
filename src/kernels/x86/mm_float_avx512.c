/* mm_float_avx512.c - products of F32, F16 and BF16 weights with float32 activations.
 *
 * Sixteen columns a step; two sums per token hide the latency of the fused multiply-add; the last
 * columns are loaded under a mask, so nothing is read past the row. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "mm_rows.h"
#include "parts_avx512.h"

MM_INLINE __m512 load_f32(const char *w, __mmask16 k)
{
    return _mm512_maskz_loadu_ps(k, w);
}

MM_INLINE __m512 load_f16(const char *w, __mmask16 k)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(k, w));
}

MM_INLINE __m512 load_bf16(const char *w, __mmask16 k)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(k, w));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

MM_INLINE void row_float(float *y, size_t y_stride, const char *w, const char *x, size_t x_stride, int n,
                         int nt, int element_bytes, __m512 (*load)(const char *, __mmask16))
{
    __m512 even[4], odd[4];
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) even[t] = odd[t] = _mm512_setzero_ps();
    int c = 0;
    for (; c + 32 <= n; c += 32) {
        __m512 w0 = load(w + c * element_bytes, 0xffff), w1 = load(w + (c + 16) * element_bytes, 0xffff);
        _mm_prefetch(w + c * element_bytes + 1024, _MM_HINT_T0);
#pragma GCC unroll 4
        for (int t = 0; t < nt; t++) {
            const float *xt = (const float *)(const void *)(x + (size_t)t * x_stride) + c;
            even[t] = _mm512_fmadd_ps(w0, _mm512_loadu_ps(xt), even[t]);
            odd[t] = _mm512_fmadd_ps(w1, _mm512_loadu_ps(xt + 16), odd[t]);
        }
    }
    for (; c < n; c += 16) {
        __mmask16 k = n - c >= 16 ? 0xffff : (__mmask16)((1u << (n - c)) - 1);
        __m512 w0 = load(w + c * element_bytes, k);
#pragma GCC unroll 4
        for (int t = 0; t < nt; t++) {
            const float *xt = (const float *)(const void *)(x + (size_t)t * x_stride) + c;
            even[t] = _mm512_fmadd_ps(w0, _mm512_maskz_loadu_ps(k, xt), even[t]);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++)
        y[(size_t)t * y_stride] = _mm512_reduce_add_ps(_mm512_add_ps(even[t], odd[t]));
}

MM_INLINE void row_f32(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_float(y, ys, w, x, xs, n, nt, 4, load_f32);
}

MM_INLINE void row_f16(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_float(y, ys, w, x, xs, n, nt, 2, load_f16);
}

MM_INLINE void row_bf16(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_float(y, ys, w, x, xs, n, nt, 2, load_bf16);
}

void mm_f32_avx512(const struct kern_mm_args *a)
{
    mm_rows(a, row_f32);
}

void mm_f16_avx512(const struct kern_mm_args *a)
{
    mm_rows(a, row_f16);
}

void mm_bf16_avx512(const struct kern_mm_args *a)
{
    mm_rows(a, row_bf16);
}
#endif
