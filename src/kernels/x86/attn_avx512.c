/* attn_avx512.c - weighted sums of cached values.
 *
 * A row of the cache is loaded once for all the queries that share it, four queries at a time.  The
 * scores stay with AVX2: heads are short, and what sixteen lanes save the longer reduction costs. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "parts_avx512.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __mmask16 tail_mask(int left)
{
    return left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
}

INLINE __m512 load_f32(const char *row, int c, __mmask16 k)
{
    return _mm512_maskz_loadu_ps(k, row + 4 * c);
}

INLINE __m512 load_f16(const char *row, int c, __mmask16 k)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(k, row + 2 * c));
}

/* Sixteen columns of nq outputs: over all values. */
INLINE void sum_columns(float *o, size_t o_stride, const float *p, int nq, const char *v, size_t kv_stride,
                        int n_kv, int c, __mmask16 m, __m512 (*load)(const char *, int, __mmask16))
{
    __m512 sum[4];
#pragma GCC unroll 4
    for (int i = 0; i < nq; i++) sum[i] = _mm512_maskz_loadu_ps(m, o + (size_t)i * o_stride + c);
    for (int j = 0; j < n_kv; j++) {
        __m512 value = load(v + (size_t)j * kv_stride, c, m);
#pragma GCC unroll 4
        for (int i = 0; i < nq; i++) sum[i] = _mm512_fmadd_ps(_mm512_set1_ps(p[i * n_kv + j]), value, sum[i]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < nq; i++) _mm512_mask_storeu_ps(o + (size_t)i * o_stride + c, m, sum[i]);
}

INLINE void kv_sum(float *o, size_t o_stride, const float *p, int n_q, const char *v, size_t kv_stride,
                   int n_kv, int d, __m512 (*load)(const char *, int, __mmask16))
{
    for (int c = 0; c < d; c += 16) {
        __mmask16 m = tail_mask(d - c);
        int i = 0;
        for (; i + 4 <= n_q; i += 4)
            sum_columns(o + (size_t)i * o_stride, o_stride, p + i * n_kv, 4, v, kv_stride, n_kv, c, m, load);
        for (; i < n_q; i++)
            sum_columns(o + (size_t)i * o_stride, o_stride, p + i * n_kv, 1, v, kv_stride, n_kv, c, m, load);
    }
}

void kv_sum_f32_avx512(float *o, size_t o_stride, const float *p, int n_q, const void *v, size_t kv_stride,
                       int n_kv, int d)
{
    kv_sum(o, o_stride, p, n_q, v, kv_stride, n_kv, d, load_f32);
}

void kv_sum_f16_avx512(float *o, size_t o_stride, const float *p, int n_q, const void *v, size_t kv_stride,
                       int n_kv, int d)
{
    kv_sum(o, o_stride, p, n_q, v, kv_stride, n_kv, d, load_f16);
}
#endif
