/* math_avx2.h - exponentials of eight numbers, for softmax, activations and soft caps.
 *
 * exp(x) = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2: the Taylor polynomial of degree 7 is good
 * to a few units in the last place there.  2^n is built from integer exponents. */
#ifndef MATH_AVX2_H
#define MATH_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define MATH_INLINE static inline __attribute__((always_inline))

/* The lanes of the last, partial vector: all ones for the first `left` of eight. */
MATH_INLINE __m256i tail_mask(size_t left)
{
    static const int32_t window[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(const void *)(window + 8 - (left < 8 ? left : 8)));
}

MATH_INLINE __m256 power_of_two(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* n and r, and (e^r - 1) / r. */
MATH_INLINE __m256 exp_parts(__m256 x, __m256 *n, __m256 *r)
{
    *n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                         _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    *r = _mm256_fnmadd_ps(*n, _mm256_set1_ps(0.693145752f), x); /* ln 2 in two parts */
    *r = _mm256_fnmadd_ps(*n, _mm256_set1_ps(1.42860677e-6f), *r);
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, *r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, *r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, *r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, *r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, *r, _mm256_set1_ps(0.5f));
    return _mm256_fmadd_ps(p, *r, _mm256_set1_ps(1));
}

/* The lesser of x and most, or NaN. */
MATH_INLINE __m256 at_most_ps(__m256 x, float most)
{
    return _mm256_min_ps(_mm256_set1_ps(most), x);
}

MATH_INLINE __m256 at_least_ps(__m256 x, float least)
{
    return _mm256_max_ps(_mm256_set1_ps(least), x);
}

/* 2^n in two halves, so that results down to the smallest normal number are right.  NaN stays: r is NaN. */
MATH_INLINE __m256 exp_ps(__m256 x)
{
    __m256 n, r, p = exp_parts(at_least_ps(at_most_ps(x, 120), -120), &n, &r);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1));
    __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    return _mm256_mul_ps(_mm256_mul_ps(p, power_of_two(half)), power_of_two(_mm256_sub_epi32(whole, half)));
}

/* e^-x - 1 for x >= 0: no digit is lost where x is small. */
MATH_INLINE __m256 exp_minus_one_ps(__m256 x)
{
    __m256 n, r, p = exp_parts(_mm256_sub_ps(_mm256_setzero_ps(), at_most_ps(x, 40)), &n, &r);
    __m256 power = power_of_two(_mm256_cvtps_epi32(n));
    return _mm256_fmadd_ps(_mm256_mul_ps(p, r), power, _mm256_sub_ps(power, _mm256_set1_ps(1)));
}

#endif
