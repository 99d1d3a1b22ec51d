/* fold_avx512.h - exact sums of 16 products each, for the kernels of quantised weights.
 *
 * A block of 256 activations is four vectors of 64; vpdpbusd makes of each sixteen sums of four products.
 * Folding four such vectors into one gives sixteen sums of 16 products, still integers: lane 4 l + i holds
 * the elements 64 i + 16 l and the 15 that follow.  That is half of a group of 32, or a group of 16, so
 * that one conversion to float32 and one multiplication by a scale serve 256 elements.
 *
 * Codes are unsigned, u = w + offset: the offset's share is taken off the integers, where nothing is lost.
 * Subtracted from float32 sums instead, it would leave their rounding errors on a small difference. */
#ifndef FOLD_AVX512_H
#define FOLD_AVX512_H

#include <immintrin.h>

#include "blocks.h"
#include "mm_rows.h"

/* Codes u of 64 elements and v of the next 64 times their activations p: two vectors folded into one. */
MM_INLINE __m512i fold_products(__m512i u, __m512i v, const int8_t *p)
{
    __m512i a = _mm512_dpbusd_epi32(_mm512_setzero_si512(), u, _mm512_load_si512(p));
    __m512i b = _mm512_dpbusd_epi32(_mm512_setzero_si512(), v, _mm512_load_si512(p + 64));
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

/* Both halves of 256 elements, folded into one. */
MM_INLINE __m512i fold_halves(__m512i a, __m512i b)
{
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/* folded - offset * (sum of the activations of each lane's 16 elements); offset: at most 128. */
MM_INLINE __m512i fold_offset(__m512i folded, const struct act_q8 *a, int offset)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m256i sums = _mm256_load_si256((const __m256i *)(const void *)a->sum);
    __m512i spread = _mm512_permutexvar_epi16(order, _mm512_castsi256_si512(sums));
    return _mm512_dpwssd_epi32(folded, spread, _mm512_set1_epi32(-offset & 0xffff)); /* upper words: times 0 */
}

#endif
