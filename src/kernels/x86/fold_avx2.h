/* fold_avx2.h - the product of a row of quantised weights, for every format; and what formats share.
 *
 * A half of struct act_q8 is four vectors of 32 activations.  Their products with the codes of the weights
 * are folded into one vector of eight sums of 16 products, still integers: lane 4 l + i holds the elements
 * 32 i + 16 l and the 15 that follow.  That is half of a group of 32, or a group of 16, so that one
 * conversion to float32 and one multiplication by scales serve 128 elements.
 *
 * vpmaddubsw multiplies unsigned by signed bytes and adds pairs in 16 bits, which must not saturate:
 *   codes    u = w + offset, 0 to 31: four pairs fit (8 * 31 * 127 < 2^15), folding starts in 16 bits.
 *            The offset's share is taken off the folded integers, where nothing is lost.
 *   wide     the same for codes up to 63: a pair fits (2 * 63 * 127 < 2^15), folding is done in 32 bits.
 *   values   w itself, -128 to 127, as |w| times the activation with w's sign: 2 * 128 * 127 < 2^15. */
#ifndef FOLD_AVX2_H
#define FOLD_AVX2_H

#include <immintrin.h>
#include <string.h>

#include "blocks.h"
#include "mm_rows.h"

enum fold { FOLD_CODES, FOLD_WIDE, FOLD_VALUES };

/* A format by what it makes of 256 elements at w, half h; scales and mins in the order of the lanes. */
struct format {
    int bytes, offset; /* of 256 elements; see above */
    enum fold fold;
    void (*codes)(__m256i u[4], const char *w, int h);
    __m256 (*scales)(const char *w, int h);
    __m256 (*mins)(const char *w, int h); /* what is added to each scaled code; NULL: nothing */
};

MM_INLINE float sum_of(__m256 v)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

MM_INLINE __m256i load_256(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

MM_INLINE __m128i load_128(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

/* Per 128 bits, the sums of [a a a a b b b b] from two vectors of eight words, then [a a b b c c d d]. */
MM_INLINE __m256i fold_codes(const __m256i u[4], const int8_t *p)
{
    __m256i v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) v[i] = _mm256_maddubs_epi16(u[i], load_256(p + 32 * i));
    __m256 ab = _mm256_castsi256_ps(
        _mm256_add_epi16(_mm256_unpacklo_epi64(v[0], v[1]), _mm256_unpackhi_epi64(v[0], v[1])));
    __m256 cd = _mm256_castsi256_ps(
        _mm256_add_epi16(_mm256_unpacklo_epi64(v[2], v[3]), _mm256_unpackhi_epi64(v[2], v[3])));
    __m256i even = _mm256_castps_si256(_mm256_shuffle_ps(ab, cd, 0x88));
    __m256i odd = _mm256_castps_si256(_mm256_shuffle_ps(ab, cd, 0xdd));
    return _mm256_madd_epi16(_mm256_add_epi16(even, odd), _mm256_set1_epi16(1));
}

/* The same from pairs that leave no room in 16 bits. */
MM_INLINE __m256i fold_pairs(const __m256i pairs[4])
{
    __m256i v[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) v[i] = _mm256_madd_epi16(pairs[i], _mm256_set1_epi16(1));
    __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[0], v[1]));
    __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(v[2], v[3]), _mm256_unpackhi_epi32(v[2], v[3]));
    return _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
}

MM_INLINE __m256i fold(const __m256i u[4], const int8_t *p, enum fold kind)
{
    __m256i pairs[4];
    if (kind == FOLD_CODES) return fold_codes(u, p);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i v = load_256(p + 32 * i);
        pairs[i] = kind == FOLD_WIDE ? _mm256_maddubs_epi16(u[i], v)
                                     : _mm256_maddubs_epi16(_mm256_abs_epi8(u[i]), _mm256_sign_epi8(v, u[i]));
    }
    return fold_pairs(pairs);
}

/* Half h of a token's block against codes u; low: mins, if the format has any. */
MM_INLINE __m256 add_half(__m256 sum, const struct act_q8 *a, int h, const __m256i u[4], __m256 scale,
                          __m256 low, struct format f)
{
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    __m256 e = _mm256_broadcast_ps((const __m128 *)(const void *)(a->d + 4 * h));
    __m256i exact = fold(u, a->q + 128 * h, f.fold);
    __m128i sums = _mm_shuffle_epi8(load_128(a->sum + 8 * h), order);
    if (f.offset) /* as words with zeros between them, so that one multiplication is one pair's */
        exact = _mm256_sub_epi32(
            exact, _mm256_madd_epi16(_mm256_cvtepu16_epi32(sums), _mm256_set1_epi32(f.offset)));
    sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(exact), _mm256_mul_ps(scale, e), sum);
    if (!f.mins) return sum;
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(sums)), _mm256_mul_ps(low, e), sum);
}

MM_INLINE void row_fold(float *y, size_t y_stride, const char *w, const char *x, size_t x_stride, int n,
                        int nt, struct format f)
{
    char tail[8 * 34]; /* the last blocks, if they are fewer than eight: all zeros beyond */
    __m256 sum[4];
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) sum[t] = _mm256_setzero_ps();
    for (int c = 0; c < n; c += 256, w += f.bytes, x += sizeof(struct act_q8)) {
        if (n - c < 256) {
            memset(tail, 0, sizeof tail);
            memcpy(tail, w, (size_t)((n - c) / 32 * (f.bytes / 8)));
            w = tail;
        } else {
            _mm_prefetch(w + 1024, _MM_HINT_T0);
            _mm_prefetch(w + 1088, _MM_HINT_T0);
            _mm_prefetch(w + 1152, _MM_HINT_T0);
        }
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            __m256i u[4];
            f.codes(u, w, h);
            __m256 scale = f.scales(w, h), low = f.mins ? f.mins(w, h) : _mm256_setzero_ps();
#pragma GCC unroll 4
            for (int t = 0; t < nt; t++)
                sum[t] = add_half(sum[t], (const void *)(x + (size_t)t * x_stride), h, u, scale, low, f);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) y[(size_t)t * y_stride] = sum_of(sum[t]);
}

/* ---- formats ---------------------------------------------------------------------------------- */

/* Sixteen bytes of nibbles to 32: low ones first, then high ones. */
MM_INLINE __m256i nibbles(const void *qs)
{
    __m256i both = _mm256_broadcastsi128_si256(load_128(qs));
    return _mm256_and_si256(_mm256_srlv_epi64(both, _mm256_setr_epi64x(0, 0, 4, 4)), _mm256_set1_epi8(15));
}

MM_INLINE __m256i looked_up(const void *qs, __m128i table)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), nibbles(qs));
}

MM_INLINE __m256i iq4_codes(const void *qs)
{
    const __m128i values =
        _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
    return looked_up(qs, values);
}

/* mm_NAME_avx2() of a format: the members of struct format in their order. */
#define PRODUCT(name, ...)                                                                                  \
    MM_INLINE void row_##name(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt) \
    {                                                                                                       \
        row_fold(y, ys, w, x, xs, n, nt, (struct format){__VA_ARGS__});                                     \
    }                                                                                                       \
    void mm_##name##_avx2(const struct kern_mm_args *a)                                                     \
    {                                                                                                       \
        mm_rows(a, row_##name);                                                                             \
    }

#endif
