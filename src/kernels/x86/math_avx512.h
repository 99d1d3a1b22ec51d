/* math_avx512.h - exponentials of sixteen numbers, for softmax, activations and soft caps.
 *
 * exp(x) = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2: the Taylor polynomial of degree 7 is good
 * to a few units in the last place there, and vscalefps does the rest, underflow included. */
#ifndef MATH_AVX512_H
#define MATH_AVX512_H

#include <immintrin.h>
#include <stddef.h>

#define MATH_INLINE static inline __attribute__((always_inline))

MATH_INLINE __mmask16 tail_mask(size_t left)
{
    return left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
}

/* n and r, and (e^r - 1) / r. */
MATH_INLINE __m512 exp_parts(__m512 x, __m512 *n, __m512 *r)
{
    *n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                              _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    *r = _mm512_fnmadd_ps(*n, _mm512_set1_ps(0.693145752f), x); /* ln 2 in two parts */
    *r = _mm512_fnmadd_ps(*n, _mm512_set1_ps(1.42860677e-6f), *r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, *r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, *r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, *r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, *r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, *r, _mm512_set1_ps(0.5f));
    return _mm512_fmadd_ps(p, *r, _mm512_set1_ps(1));
}

/* The lesser of x and most, or NaN. */
MATH_INLINE __m512 at_most_ps(__m512 x, float most)
{
    return _mm512_min_ps(_mm512_set1_ps(most), x);
}

MATH_INLINE __m512 at_least_ps(__m512 x, float least)
{
    return _mm512_max_ps(_mm512_set1_ps(least), x);
}

/* Beyond 200 the result is 0 or infinity anyway, and n stays a small integer. */
MATH_INLINE __m512 exp_ps(__m512 x)
{
    __m512 n, r, p = exp_parts(at_least_ps(at_most_ps(x, 200), -200), &n, &r);
    return _mm512_scalef_ps(_mm512_fmadd_ps(p, r, _mm512_set1_ps(1)), n);
}

/* e^-x - 1 for x >= 0: no digit is lost where x is small. */
MATH_INLINE __m512 exp_minus_one_ps(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1);
    __m512 n, r, p = exp_parts(_mm512_sub_ps(_mm512_setzero_ps(), at_most_ps(x, 40)), &n, &r);
    __m512 power = _mm512_scalef_ps(one, n);
    return _mm512_fmadd_ps(_mm512_mul_ps(p, r), power, _mm512_sub_ps(power, one));
}

#endif
