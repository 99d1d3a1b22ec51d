/* elem_avx512.c - vectors of float32, sixteen at a time; tails under a mask. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "math_avx512.h"
#include "parts_avx512.h"

float dot_avx512(const float *a, const float *b, size_t n)
{
    __m512 even = _mm512_setzero_ps(), odd = even;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        even = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), even);
        odd = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), odd);
    }
    for (; i < n; i += 16) {
        __mmask16 k = tail_mask(n - i);
        even = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(k, a + i), _mm512_maskz_loadu_ps(k, b + i), even);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(even, odd));
}

void axpy_avx512(float *y, float a, const float *x, size_t n)
{
    __m512 factor = _mm512_set1_ps(a);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 k = tail_mask(n - i);
        __m512 old = _mm512_maskz_loadu_ps(k, y + i);
        _mm512_mask_storeu_ps(y + i, k, _mm512_fmadd_ps(factor, _mm512_maskz_loadu_ps(k, x + i), old));
    }
}

float exp_sum_avx512(float *x, float max, size_t n)
{
    __m512 sum = _mm512_setzero_ps(), top = _mm512_set1_ps(max);
    const __m512 nothing = _mm512_set1_ps(-__builtin_inff());
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 k = tail_mask(n - i);
        __m512 v = _mm512_mask_loadu_ps(nothing, k, x + i);
        __mmask16 finite = _mm512_cmp_ps_mask(v, nothing, _CMP_NEQ_UQ); /* -inf - -inf is to be 0 */
        __m512 e = _mm512_maskz_mov_ps(finite, exp_ps(_mm512_sub_ps(v, top)));
        _mm512_mask_storeu_ps(x + i, k, e);
        sum = _mm512_add_ps(sum, e);
    }
    return _mm512_reduce_add_ps(sum);
}
#endif
