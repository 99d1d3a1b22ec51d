/* mm_kq_avx2.c - products of the 256-element formats with 8-bit activations: their codes and scales.  The
 * product itself is row_fold() of fold_avx2.h. */
#if defined(__x86_64__)
#include "fold_avx2.h"
#include "parts_avx2.h"

/* ---- scales ----------------------------------------------------------------------------------- */

MM_INLINE __m256 all_f16(uint16_t h)
{
    return _mm256_set1_ps(_cvtsh_ss(h));
}

/* The eight groups of 16 of half h, as signed bytes, to the order of the lanes. */
MM_INLINE __m256 sixteenths(__m128i bytes, int h)
{
    const __m128i order[2] = {_mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 0, 0, 0, 0, 0, 0, 0, 0),
                              _mm_setr_epi8(8, 10, 12, 14, 9, 11, 13, 15, 0, 0, 0, 0, 0, 0, 0, 0)};
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_shuffle_epi8(bytes, order[h])));
}

/* The four groups of 32 of half h. */
MM_INLINE __m256 eighths(uint32_t bytes)
{
    __m128i both = _mm_set1_epi32((int)bytes);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(both));
}

MM_INLINE __m256 scales_q2_k(const char *w, int h)
{
    const struct block_q2_k *b = (const void *)w;
    __m128i low = _mm_and_si128(load_128(b->scales), _mm_set1_epi8(15));
    return _mm256_mul_ps(all_f16(b->d), sixteenths(low, h));
}

MM_INLINE __m256 mins_q2_k(const char *w, int h)
{
    const struct block_q2_k *b = (const void *)w;
    __m128i high = _mm_and_si128(_mm_srli_epi16(load_128(b->scales), 4), _mm_set1_epi8(15));
    return _mm256_mul_ps(_mm256_sub_ps(_mm256_setzero_ps(), all_f16(b->dmin)), sixteenths(high, h));
}

/* Sixteen 6-bit numbers: see block_q3_k. */
MM_INLINE __m256 scales_q3_k(const char *w, int h)
{
    const struct block_q3_k *b = (const void *)w;
    uint32_t p[3];
    memcpy(p, b->scales, sizeof p);
    __m128i low = _mm_setr_epi32((int)p[0], (int)p[1], (int)(p[0] >> 4), (int)(p[1] >> 4));
    __m128i high = _mm_srlv_epi32(_mm_set1_epi32((int)p[2]), _mm_setr_epi32(0, 2, 4, 6));
    low = _mm_and_si128(low, _mm_set1_epi8(15));
    high = _mm_slli_epi16(_mm_and_si128(high, _mm_set1_epi8(3)), 4);
    __m128i sc = _mm_sub_epi8(_mm_or_si128(low, high), _mm_set1_epi8(32));
    return _mm256_mul_ps(all_f16(b->d), sixteenths(sc, h));
}

/* The 6-bit scales and minima of Q4_K and Q5_K, whose d, dmin and scales lie alike: see scale_min_k4(). */
MM_INLINE __m256 scales_k4(const char *w, int h)
{
    const struct block_q4_k *b = (const void *)w;
    uint32_t p[3];
    memcpy(p, b->scales, sizeof p);
    uint32_t sc = h ? (p[2] & 0x0f0f0f0f) | (p[0] >> 6 & 0x03030303) << 4 : p[0] & 0x3f3f3f3f;
    return _mm256_mul_ps(all_f16(b->d), eighths(sc));
}

MM_INLINE __m256 mins_k4(const char *w, int h)
{
    const struct block_q4_k *b = (const void *)w;
    uint32_t p[3];
    memcpy(p, b->scales, sizeof p);
    uint32_t mn = h ? (p[2] >> 4 & 0x0f0f0f0f) | (p[1] >> 6 & 0x03030303) << 4 : p[1] & 0x3f3f3f3f;
    return _mm256_mul_ps(_mm256_sub_ps(_mm256_setzero_ps(), all_f16(b->dmin)), eighths(mn));
}

MM_INLINE __m256 scales_q6_k(const char *w, int h)
{
    const struct block_q6_k *b = (const void *)w;
    return _mm256_mul_ps(all_f16(b->d), sixteenths(load_128(b->scales), h));
}

/* Four low bits each from two bytes, two high ones from one. */
MM_INLINE __m256 scales_iq4_xs(const char *w, int h)
{
    const struct block_iq4_xs *b = (const void *)w;
    const __m128i low_at = _mm_setr_epi32(0, 4, 8, 12), high_at = _mm_setr_epi32(0, 2, 4, 6);
    __m128i low = _mm_set1_epi32(b->scales_l[2 * h] | b->scales_l[2 * h + 1] << 8);
    __m128i high = _mm_set1_epi32(b->scales_h >> 8 * h);
    low = _mm_and_si128(_mm_srlv_epi32(low, low_at), _mm_set1_epi32(15));
    high = _mm_slli_epi32(_mm_and_si128(_mm_srlv_epi32(high, high_at), _mm_set1_epi32(3)), 4);
    __m128i sc = _mm_sub_epi32(_mm_or_si128(low, high), _mm_set1_epi32(32));
    return _mm256_mul_ps(all_f16(b->d), _mm256_cvtepi32_ps(_mm256_broadcastsi128_si256(sc)));
}

/* ---- codes ------------------------------------------------------------------------------------ */

MM_INLINE __m256i bits(__m256i bytes, int shift, int mask)
{
    return _mm256_and_si256(_mm256_srli_epi16(bytes, shift), _mm256_set1_epi8((char)mask));
}

/* Bit `from` of every byte, at bit `to`. */
MM_INLINE __m256i moved_bit(__m256i bytes, int from, int to)
{
    __m256i v = from > to ? _mm256_srli_epi16(bytes, from - to) : _mm256_slli_epi16(bytes, to - from);
    return _mm256_and_si256(v, _mm256_set1_epi8((char)(1 << to)));
}

MM_INLINE void codes_q2_k(__m256i u[4], const char *w, int h)
{
    const struct block_q2_k *b = (const void *)w;
    __m256i qs = load_256(b->qs + 32 * h);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) u[i] = bits(qs, 2 * i, 3);
}

MM_INLINE void codes_q3_k(__m256i u[4], const char *w, int h) /* + 4 */
{
    const struct block_q3_k *b = (const void *)w;
    __m256i qs = load_256(b->qs + 32 * h), third = load_256(b->hmask);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) u[i] = _mm256_or_si256(bits(qs, 2 * i, 3), moved_bit(third, 4 * h + i, 2));
}

MM_INLINE void codes_q4_k(__m256i u[4], const char *w, int h)
{
    const struct block_q4_k *b = (const void *)w;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) u[i] = bits(load_256(b->qs + 64 * h + 32 * (i / 2)), 4 * (i % 2), 15);
}

MM_INLINE void codes_q5_k(__m256i u[4], const char *w, int h)
{
    const struct block_q5_k *b = (const void *)w;
    __m256i fifth = load_256(b->qh);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i low = bits(load_256(b->qs + 64 * h + 32 * (i / 2)), 4 * (i % 2), 15);
        u[i] = _mm256_or_si256(low, moved_bit(fifth, 4 * h + i, 4));
    }
}

MM_INLINE void codes_q6_k(__m256i u[4], const char *w, int h) /* + 32 */
{
    const struct block_q6_k *b = (const void *)w;
    __m256i qh = load_256(b->qh + 32 * h);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i low = bits(load_256(b->ql + 64 * h + 32 * (i % 2)), 4 * (i / 2), 15);
        u[i] = _mm256_or_si256(low, _mm256_slli_epi16(bits(qh, 2 * i, 3), 4));
    }
}

MM_INLINE void codes_iq4_xs(__m256i u[4], const char *w, int h)
{
    const struct block_iq4_xs *b = (const void *)w;
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) u[i] = iq4_codes(b->qs + 16 * (4 * h + i));
}

/* ---- the products ----------------------------------------------------------------------------- */

PRODUCT(q2_k, 84, 0, FOLD_CODES, codes_q2_k, scales_q2_k, mins_q2_k)
PRODUCT(q3_k, 110, 4, FOLD_CODES, codes_q3_k, scales_q3_k, NULL)
PRODUCT(q4_k, 144, 0, FOLD_CODES, codes_q4_k, scales_k4, mins_k4)
PRODUCT(q5_k, 176, 0, FOLD_CODES, codes_q5_k, scales_k4, mins_k4)
PRODUCT(q6_k, 210, 32, FOLD_WIDE, codes_q6_k, scales_q6_k, NULL)
PRODUCT(iq4_xs, 136, 0, FOLD_VALUES, codes_iq4_xs, scales_iq4_xs, NULL)
#endif
