/* act_avx2.c - activation functions and soft caps, eight elements at a time; the last ones under a mask,
 * with the same operations: where a row is divided makes no difference. */
#if defined(__x86_64__)
#include "erfc_poly.h"
#include "math_avx2.h"
#include "parts_avx2.h"

#define INLINE MATH_INLINE

/* x sigmoid(-z) */
INLINE __m256 gated(__m256 x, __m256 z)
{
    return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1), exp_ps(z)));
}

INLINE __m256 silu(__m256 x)
{
    return gated(x, _mm256_sub_ps(_mm256_setzero_ps(), x));
}

INLINE __m256 gelu(__m256 x)
{
    __m256 cube = _mm256_mul_ps(_mm256_mul_ps(x, x), x);
    __m256 z = _mm256_fmadd_ps(_mm256_set1_ps(0.044715f), cube, x);
    return gated(x, _mm256_mul_ps(z, _mm256_set1_ps(-2 * 0.797884561f)));
}

INLINE __m256 gelu_quick(__m256 x)
{
    return gated(x, _mm256_mul_ps(x, _mm256_set1_ps(-1.702f)));
}

/* Phi(-a); what squaring a loses is made good, because exp() would multiply it by a^2 / 2. */
INLINE __m256 normal_tail(__m256 a)
{
    const __m256 one = _mm256_set1_ps(1), half = _mm256_set1_ps(-0.5f);
    __m256 s = _mm256_div_ps(one, _mm256_fmadd_ps(_mm256_set1_ps(0.25f), a, one));
    __m256 v = _mm256_fmadd_ps(s, _mm256_set1_ps(ERFC_SCALE), _mm256_set1_ps(ERFC_OFFSET));
    __m256 p = _mm256_set1_ps(erfc_poly[ERFC_DEGREE]), square = _mm256_mul_ps(a, a);
#pragma GCC unroll 9
    for (int i = ERFC_DEGREE; i-- > 0;) p = _mm256_fmadd_ps(p, v, _mm256_set1_ps(erfc_poly[i]));
    __m256 lost = _mm256_mul_ps(_mm256_fmsub_ps(a, a, square), half);
    __m256 e = exp_ps(_mm256_mul_ps(square, half));
    return _mm256_mul_ps(_mm256_fmadd_ps(e, lost, e), _mm256_mul_ps(s, p));
}

INLINE __m256 gelu_erf(__m256 x)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 tail = normal_tail(at_most_ps(_mm256_andnot_ps(sign, x), ERFC_END));
    __m256 above = _mm256_sub_ps(_mm256_set1_ps(1), tail);
    return _mm256_mul_ps(x, _mm256_blendv_ps(above, tail, x));
}

INLINE __m256 relu(__m256 x)
{
    return at_least_ps(x, 0);
}

INLINE __m256 relu_sqr(__m256 x)
{
    return _mm256_mul_ps(relu(x), relu(x));
}

INLINE __m256 quick_at_most_7(__m256 x)
{
    return gelu_quick(at_most_ps(x, 7));
}

INLINE __m256 as_it_is(__m256 up)
{
    return up;
}

INLINE __m256 clamped_and_one(__m256 up)
{
    return _mm256_add_ps(at_least_ps(at_most_ps(up, 7), -7), _mm256_set1_ps(1));
}

struct form {
    __m256 (*of_gate)(__m256), (*of_up)(__m256);
};

INLINE void act(float *y, const float *gate, const float *up, size_t n, struct form f)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = f.of_gate(_mm256_loadu_ps(gate + i));
        if (up) v = _mm256_mul_ps(v, f.of_up(_mm256_loadu_ps(up + i)));
        _mm256_storeu_ps(y + i, v);
    }
    if (i == n) return;
    __m256i k = tail_mask(n - i);
    __m256 v = f.of_gate(_mm256_maskload_ps(gate + i, k));
    if (up) v = _mm256_mul_ps(v, f.of_up(_mm256_maskload_ps(up + i, k)));
    _mm256_maskstore_ps(y + i, k, v);
}

#define ACT(name, ...)                                                                              \
    void act_##name##_avx2(float *y, const float *gate, const float *up, size_t n)                 \
    {                                                                                               \
        act(y, gate, up, n, (struct form){__VA_ARGS__});                                            \
    }
ACT(silu, silu, as_it_is)
ACT(gelu, gelu, as_it_is)
ACT(gelu_erf, gelu_erf, as_it_is)
ACT(gelu_quick, gelu_quick, as_it_is)
ACT(relu, relu, as_it_is)
ACT(relu_sqr, relu_sqr, as_it_is)
ACT(swiglu_oai, quick_at_most_7, clamped_and_one)

/* tanh(a) = (1 - e^-2a) / (1 + e^-2a) of the magnitude; the sign is put back. */
INLINE __m256 capped(__m256 x, float cap)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 a = _mm256_div_ps(_mm256_andnot_ps(sign, x), _mm256_set1_ps(cap));
    __m256 m = exp_minus_one_ps(_mm256_add_ps(a, a));
    __m256 tanh = _mm256_div_ps(m, _mm256_sub_ps(_mm256_set1_ps(-2), m));
    return _mm256_or_ps(_mm256_mul_ps(tanh, _mm256_set1_ps(cap)), _mm256_and_ps(sign, x));
}

void softcap_avx2(float *x, float cap, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(x + i, capped(_mm256_loadu_ps(x + i), cap));
    if (i == n) return;
    __m256i k = tail_mask(n - i);
    _mm256_maskstore_ps(x + i, k, capped(_mm256_maskload_ps(x + i, k), cap));
}
#endif
