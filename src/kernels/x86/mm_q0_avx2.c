/* mm_q0_avx2.c - products of the 32-element formats with 8-bit activations: their codes and scales, eight
 * blocks at a time.  The product itself is row_fold() of fold_avx2.h. */
#if defined(__x86_64__)
#include "fold_avx2.h"
#include "parts_avx2.h"

/* ---- scales ----------------------------------------------------------------------------------- */

/* The f16 numbers at the start of four blocks. */
MM_INLINE __m256 four_f16(const char *b, int block_bytes)
{
    uint16_t d[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) memcpy(&d[i], b + i * block_bytes, sizeof d[i]);
    __m128 v = _mm_cvtph_ps(_mm_setr_epi16((short)d[0], (short)d[1], (short)d[2], (short)d[3], 0, 0, 0, 0));
    return _mm256_insertf128_ps(_mm256_castps128_ps256(v), v, 1);
}

MM_INLINE __m256 scales_18(const char *w, int h)
{
    return four_f16(w + 4 * 18 * h, 18);
}

MM_INLINE __m256 scales_20(const char *w, int h)
{
    return four_f16(w + 4 * 20 * h, 20);
}

MM_INLINE __m256 mins_20(const char *w, int h)
{
    return four_f16(w + 4 * 20 * h + 2, 20);
}

MM_INLINE __m256 scales_22(const char *w, int h)
{
    return four_f16(w + 4 * 22 * h, 22);
}

MM_INLINE __m256 scales_24(const char *w, int h)
{
    return four_f16(w + 4 * 24 * h, 24);
}

MM_INLINE __m256 mins_24(const char *w, int h)
{
    return four_f16(w + 4 * 24 * h + 2, 24);
}

MM_INLINE __m256 scales_34(const char *w, int h)
{
    return four_f16(w + 4 * 34 * h, 34);
}

/* 2^(e - 128): the table holds doubled values.  Below e = 2 the result is subnormal, e = 255 is NaN. */
MM_INLINE __m256 scales_mxfp4(const char *w, int h)
{
    const char *b = w + 4 * 17 * h;
    __m128i e = _mm_setr_epi32((uint8_t)b[0], (uint8_t)b[17], (uint8_t)b[34], (uint8_t)b[51]);
    __m128i normal = _mm_slli_epi32(_mm_sub_epi32(e, _mm_set1_epi32(1)), 23);
    __m128i small = _mm_sllv_epi32(_mm_set1_epi32(0x00200000), e);
    __m128i bits = _mm_blendv_epi8(normal, small, _mm_cmpgt_epi32(_mm_set1_epi32(2), e));
    __m128i is_nan = _mm_cmpeq_epi32(e, _mm_set1_epi32(255));
    bits = _mm_blendv_epi8(bits, _mm_set1_epi32(0x7fc00000), is_nan);
    return _mm256_castsi256_ps(_mm256_broadcastsi128_si256(bits));
}

/* ---- codes ------------------------------------------------------------------------------------ */

/* The nibbles and the word of fifth bits before them, bit i for byte i: the word's byte to every byte that
 * needs it, then its bit alone. */
MM_INLINE __m256i five_bits(const char *qh)
{
    int32_t fifth;
    memcpy(&fifth, qh, sizeof fifth);
    const __m256i pick = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(fifth), pick);
    __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    return _mm256_or_si256(nibbles(qh + 4), _mm256_and_si256(is_set, _mm256_set1_epi8(16)));
}

MM_INLINE void codes_q4_0(__m256i u[4], const char *w, int h)
{
    for (int i = 0; i < 4; i++) u[i] = nibbles(w + 18 * (4 * h + i) + 2);
}

MM_INLINE void codes_q4_1(__m256i u[4], const char *w, int h)
{
    for (int i = 0; i < 4; i++) u[i] = nibbles(w + 20 * (4 * h + i) + 4);
}

MM_INLINE void codes_q5_0(__m256i u[4], const char *w, int h)
{
    for (int i = 0; i < 4; i++) u[i] = five_bits(w + 22 * (4 * h + i) + 2);
}

MM_INLINE void codes_q5_1(__m256i u[4], const char *w, int h)
{
    for (int i = 0; i < 4; i++) u[i] = five_bits(w + 24 * (4 * h + i) + 4);
}

MM_INLINE void codes_q8_0(__m256i u[4], const char *w, int h)
{
    for (int i = 0; i < 4; i++) u[i] = load_256(w + 34 * (4 * h + i) + 2);
}

MM_INLINE void codes_iq4_nl(__m256i u[4], const char *w, int h)
{
    for (int i = 0; i < 4; i++) u[i] = iq4_codes(w + 18 * (4 * h + i) + 2);
}

MM_INLINE void codes_mxfp4(__m256i u[4], const char *w, int h) /* + 12 */
{
    const __m128i table = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    for (int i = 0; i < 4; i++) u[i] = looked_up(w + 17 * (4 * h + i) + 1, table);
}

/* ---- the products ----------------------------------------------------------------------------- */

PRODUCT(q4_0, 8 * 18, 8, FOLD_CODES, codes_q4_0, scales_18, NULL)
PRODUCT(q4_1, 8 * 20, 0, FOLD_CODES, codes_q4_1, scales_20, mins_20)
PRODUCT(q5_0, 8 * 22, 16, FOLD_CODES, codes_q5_0, scales_22, NULL)
PRODUCT(q5_1, 8 * 24, 0, FOLD_CODES, codes_q5_1, scales_24, mins_24)
PRODUCT(q8_0, 8 * 34, 0, FOLD_VALUES, codes_q8_0, scales_34, NULL)
PRODUCT(iq4_nl, 8 * 18, 0, FOLD_VALUES, codes_iq4_nl, scales_18, NULL)
PRODUCT(mxfp4, 8 * 17, 12, FOLD_CODES, codes_mxfp4, scales_mxfp4, NULL)
#endif
