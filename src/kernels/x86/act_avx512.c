/* act_avx512.c - activation functions and soft caps, sixteen elements at a time, the last ones under a mask.
 * Of what needs no exponential, AVX2 does as much in the same time. */
#if defined(__x86_64__)
#include "erfc_poly.h"
#include "math_avx512.h"
#include "parts_avx512.h"

#define INLINE MATH_INLINE

/* x sigmoid(-z) */
INLINE __m512 gated(__m512 x, __m512 z)
{
    return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1), exp_ps(z)));
}

INLINE __m512 silu(__m512 x)
{
    return gated(x, _mm512_sub_ps(_mm512_setzero_ps(), x));
}

INLINE __m512 gelu(__m512 x)
{
    __m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
    __m512 z = _mm512_fmadd_ps(_mm512_set1_ps(0.044715f), cube, x);
    return gated(x, _mm512_mul_ps(z, _mm512_set1_ps(-2 * 0.797884561f)));
}

INLINE __m512 gelu_quick(__m512 x)
{
    return gated(x, _mm512_mul_ps(x, _mm512_set1_ps(-1.702f)));
}

/* Phi(-a); what squaring a loses is made good, because exp() would multiply it by a^2 / 2. */
INLINE __m512 normal_tail(__m512 a)
{
    const __m512 one = _mm512_set1_ps(1), half = _mm512_set1_ps(-0.5f);
    __m512 s = _mm512_div_ps(one, _mm512_fmadd_ps(_mm512_set1_ps(0.25f), a, one));
    __m512 v = _mm512_fmadd_ps(s, _mm512_set1_ps(ERFC_SCALE), _mm512_set1_ps(ERFC_OFFSET));
    __m512 p = _mm512_set1_ps(erfc_poly[ERFC_DEGREE]), square = _mm512_mul_ps(a, a);
#pragma GCC unroll 9
    for (int i = ERFC_DEGREE; i-- > 0;) p = _mm512_fmadd_ps(p, v, _mm512_set1_ps(erfc_poly[i]));
    __m512 lost = _mm512_mul_ps(_mm512_fmsub_ps(a, a, square), half);
    __m512 e = exp_ps(_mm512_mul_ps(square, half));
    return _mm512_mul_ps(_mm512_fmadd_ps(e, lost, e), _mm512_mul_ps(s, p));
}

INLINE __m512 gelu_erf(__m512 x)
{
    __m512 sign = _mm512_set1_ps(-0.0f);
    __m512 tail = normal_tail(at_most_ps(_mm512_andnot_ps(sign, x), ERFC_END));
    __m512 above = _mm512_sub_ps(_mm512_set1_ps(1), tail);
    return _mm512_mul_ps(x, _mm512_mask_mov_ps(above, _mm512_movepi32_mask(_mm512_castps_si512(x)), tail));
}

INLINE __m512 quick_at_most_7(__m512 x)
{
    return gelu_quick(at_most_ps(x, 7));
}

INLINE __m512 as_it_is(__m512 up)
{
    return up;
}

INLINE __m512 clamped_and_one(__m512 up)
{
    return _mm512_add_ps(at_least_ps(at_most_ps(up, 7), -7), _mm512_set1_ps(1));
}

struct form {
    __m512 (*of_gate)(__m512), (*of_up)(__m512);
};

INLINE void act(float *y, const float *gate, const float *up, size_t n, struct form f)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 k = tail_mask(n - i);
        __m512 v = f.of_gate(_mm512_maskz_loadu_ps(k, gate + i));
        if (up) v = _mm512_mul_ps(v, f.of_up(_mm512_maskz_loadu_ps(k, up + i)));
        _mm512_mask_storeu_ps(y + i, k, v);
    }
}

#define ACT(name, ...)                                                                              \
    void act_##name##_avx512(float *y, const float *gate, const float *up, size_t n)                 \
    {                                                                                               \
        act(y, gate, up, n, (struct form){__VA_ARGS__});                                            \
    }
ACT(silu, silu, as_it_is)
ACT(gelu, gelu, as_it_is)
ACT(gelu_erf, gelu_erf, as_it_is)
ACT(gelu_quick, gelu_quick, as_it_is)
ACT(swiglu_oai, quick_at_most_7, clamped_and_one)

/* tanh(a) = (1 - e^-2a) / (1 + e^-2a) of the magnitude; the sign is put back. */
INLINE __m512 capped(__m512 x, float cap)
{
    const __m512 sign = _mm512_set1_ps(-0.0f);
    __m512 a = _mm512_div_ps(_mm512_andnot_ps(sign, x), _mm512_set1_ps(cap));
    __m512 m = exp_minus_one_ps(_mm512_add_ps(a, a));
    __m512 tanh = _mm512_div_ps(m, _mm512_sub_ps(_mm512_set1_ps(-2), m));
    return _mm512_or_ps(_mm512_mul_ps(tanh, _mm512_set1_ps(cap)), _mm512_and_ps(sign, x));
}

void softcap_avx512(float *x, float cap, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 k = tail_mask(n - i);
        _mm512_mask_storeu_ps(x + i, k, capped(_mm512_maskz_loadu_ps(k, x + i), cap));
    }
}
#endif
