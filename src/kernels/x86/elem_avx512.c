/* elem_avx512.c - vectors of float32, sixteen at a time; tails under a mask.
 *
 * exp(x) = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2: the Taylor polynomial of degree 7 is
 * good to a few units in the last place there, and vscalefps does the rest, underflow included. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "parts_avx512.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __mmask16 tail_mask(size_t left)
{
    return left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
}

INLINE __m512 exp_ps(__m512 x)
{
    /* Beyond these the result is 0 or infinity anyway, and n stays a small integer. */
    __m512 limited = _mm512_max_ps(_mm512_set1_ps(-200), _mm512_min_ps(_mm512_set1_ps(200), x));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(limited, _mm512_set1_ps(1.44269504f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145752f), limited); /* ln 2 in two parts */
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860677e-6f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
    __m512 y = _mm512_scalef_ps(p, n);
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x); /* NaN stays */
}

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

void act_silu_avx512(float *y, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 k = tail_mask(n - i);
        __m512 g = _mm512_maskz_loadu_ps(k, gate + i), u = _mm512_set1_ps(1);
        if (up) u = _mm512_maskz_loadu_ps(k, up + i);
        __m512 e = exp_ps(_mm512_sub_ps(_mm512_setzero_ps(), g));
        __m512 s = _mm512_div_ps(g, _mm512_add_ps(_mm512_set1_ps(1), e));
        _mm512_mask_storeu_ps(y + i, k, _mm512_mul_ps(s, u));
    }
}
#endif
