/* formats_256.h - the quantised formats, eight rows of a strip at a time in vectors of 256 bits.
 *
 * A lane is a row.  A format says where a group's codes lie and turns four of each row, a quad, into bytes; and it
 * turns the scales of a chunk into float32.  All of it stays within the lanes: a strip's words are what each row
 * has in its file, so a constant shift or table serves sixteen rows at once. */
#ifndef FORMATS_256_H
#define FORMATS_256_H

#include <immintrin.h>
#include <stdbool.h>

#include "kern.h"

#define INLINE static inline __attribute__((always_inline))

enum { HALF = 8, GROUPS = 16 }; /* rows of a vector; most groups of a chunk */

/* Of a chunk, by group and row. */
struct scales {
    float d[GROUPS][STRIP], m[GROUPS][STRIP];
};

struct format {
    size_t quads;  /* of a group that shares a scale: 8 or 4 */
    int offset;    /* codes are w / d plus this; of signed codes 0 */
    int bits;      /* of a code, at most; 8: signed */
    bool has_min;
    bool jumps;    /* scales or codes of one group lie far apart */
    size_t period; /* that many groups, one after the other, may lie differently: a power of two */

    /* Quad k of group g of rows 8 h to 8 h + 7; body: the first word of the chunk. */
    __m256i (*quad)(const char *body, size_t g, size_t k, int h);

    void (*scales)(struct scales *s, const char *heads, const char *body, int n_groups);
};

/* ---- words ---------------------------------------------------------------------------------------- */

INLINE __m256i load_256(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Word w of the rows of half h.  Heads of odd sizes may push words off their cache lines. */
INLINE __m256i word(const char *body, size_t w, int h)
{
    return load_256(body + w * 64 + 32 * h);
}

/* The bits of mask in every byte, after a shift to the right. */
INLINE __m256i bits_of(__m256i v, size_t shift, int mask)
{
    return _mm256_and_si256(_mm256_srli_epi16(v, (int)shift), _mm256_set1_epi8((char)mask));
}

/* Bit `from` of every byte, at bit `to`. */
INLINE __m256i moved_bit(__m256i v, size_t from, size_t to)
{
    v = from > to ? _mm256_srli_epi16(v, (int)(from - to)) : _mm256_slli_epi16(v, (int)(to - from));
    return _mm256_and_si256(v, _mm256_set1_epi8((char)(1 << to)));
}

INLINE __m256i shuffled(__m256i v, __m128i from)
{
    return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(from));
}

/* Byte i of every word. */
INLINE __m256i byte_of(__m256i v, int i)
{
    const __m128i first = _mm_setr_epi32((int)0xffffff00, (int)0xffffff04, (int)0xffffff08, (int)0xffffff0c);
    return shuffled(v, _mm_or_si128(first, _mm_set1_epi32(i)));
}

INLINE __m256 float_of(__m256i v)
{
    return _mm256_cvtepi32_ps(v);
}

INLINE void put(float *to, int h, __m256 v)
{
    _mm256_store_ps(to + HALF * h, v);
}

/* ---- codes of 32 columns -------------------------------------------------------------------------- */

/* Low nibbles of four words first, then high ones. */
INLINE __m256i nibbles(const char *body, size_t first, size_t k, int h)
{
    return bits_of(word(body, first + k % 4, h), k / 4 * 4, 15);
}

/* Bits 4 k to 4 k + 3 of a word, each at bit 4 of a byte of its own. */
INLINE __m256i fifth_bits(__m256i v, size_t k)
{
    const __m128i first = _mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c);
    __m256i own = _mm256_set1_epi32(k % 2 ? (int)0x80402010 : 0x08040201);
    __m256i bytes = shuffled(v, _mm_or_si128(first, _mm_set1_epi8((char)(k / 2))));
    __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, own), own);
    return _mm256_and_si256(is_set, _mm256_set1_epi8(16));
}

INLINE __m256i looked_up(__m128i table, __m256i codes)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), codes);
}

INLINE __m256i iq4_of(__m256i codes)
{
    const __m128i values =
        _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
    return looked_up(values, codes);
}

INLINE __m256i quad_q4_0(const char *body, size_t g, size_t k, int h)
{
    return nibbles(body, 4 * g, k, h);
}

INLINE __m256i quad_q4_1(const char *body, size_t g, size_t k, int h)
{
    return nibbles(body, 5 * g + 1, k, h);
}

INLINE __m256i quad_q5_0(const char *body, size_t g, size_t k, int h)
{
    return _mm256_or_si256(nibbles(body, 5 * g + 1, k, h), fifth_bits(word(body, 5 * g, h), k));
}

INLINE __m256i quad_q5_1(const char *body, size_t g, size_t k, int h)
{
    return _mm256_or_si256(nibbles(body, 6 * g + 2, k, h), fifth_bits(word(body, 6 * g + 1, h), k));
}

INLINE __m256i quad_q8_0(const char *body, size_t g, size_t k, int h)
{
    return word(body, 8 * g + k, h);
}

INLINE __m256i quad_iq4_nl(const char *body, size_t g, size_t k, int h)
{
    return iq4_of(nibbles(body, 4 * g, k, h));
}

/* + 12 */
INLINE __m256i quad_mxfp4(const char *body, size_t g, size_t k, int h)
{
    const __m128i values = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    return looked_up(values, nibbles(body, 4 * g, k, h));
}

/* ---- scales of 32 columns ------------------------------------------------------------------------- */

INLINE __m256 eight_f16(const char *p)
{
    return _mm256_cvtph_ps(_mm_load_si128((const __m128i *)(const void *)p));
}

/* Two of 16 bits in every word. */
INLINE void split_f16(__m256i v, __m256 *low, __m256 *high)
{
    const __m128i apart = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    v = _mm256_permute4x64_epi64(shuffled(v, apart), 0xd8);
    *low = _mm256_cvtph_ps(_mm256_castsi256_si128(v));
    *high = _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1));
}

INLINE void scales_f16(struct scales *s, const char *heads, const char *body, int n_groups)
{
    (void)body;
    for (int g = 0; g < n_groups; g++)
        for (int h = 0; h < 2; h++) put(s->d[g], h, eight_f16(heads + 32 * g + 16 * h));
}

/* A scale and a minimum in the first of every n words. */
INLINE void scales_pair(struct scales *s, const char *body, int n_groups, size_t n_words)
{
    for (int g = 0; g < n_groups; g++)
        for (int h = 0; h < 2; h++) {
            __m256 d, m;
            split_f16(word(body, (size_t)g * n_words, h), &d, &m);
            put(s->d[g], h, d);
            put(s->m[g], h, m);
        }
}

INLINE void scales_q4_1(struct scales *s, const char *heads, const char *body, int n_groups)
{
    (void)heads;
    scales_pair(s, body, n_groups, 5);
}

INLINE void scales_q5_1(struct scales *s, const char *heads, const char *body, int n_groups)
{
    (void)heads;
    scales_pair(s, body, n_groups, 6);
}

/* 2^(e - 128) of eight e; the least ones are subnormal, and 255 is NaN. */
INLINE __m256 eight_e8m0(const char *p)
{
    const __m256i least = _mm256_set1_epi32(0x00400000); /* 2^-127; beside an infinity's bits, NaN */
    __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
    __m256i bits = _mm256_max_epu32(_mm256_slli_epi32(e, 23), least);
    __m256i none = _mm256_and_si256(_mm256_cmpeq_epi32(e, _mm256_set1_epi32(255)), least);
    return _mm256_mul_ps(_mm256_castsi256_ps(_mm256_or_si256(bits, none)), _mm256_set1_ps(0.5f));
}

INLINE void scales_mxfp4(struct scales *s, const char *heads, const char *body, int n_groups)
{
    (void)body;
    for (int g = 0; g < n_groups; g++)
        for (int h = 0; h < 2; h++) put(s->d[g], h, eight_e8m0(heads + 16 * g + 8 * h));
}

/* ---- codes of 256 columns ------------------------------------------------------------------------- */

INLINE __m256i quad_q2_k(const char *body, size_t g, size_t k, int h)
{
    return bits_of(word(body, strip_q2_k_two(g / 8, g % 2 * 4 + k), h), g % 8 / 2 * 2, 3);
}

/* + 4 */
INLINE __m256i quad_q3_k(const char *body, size_t g, size_t k, int h)
{
    size_t step = g % 2 * 4 + k;
    __m256i low = bits_of(word(body, strip_q3_k_two(g / 8, step), h), g % 8 / 2 * 2, 3);
    return _mm256_or_si256(low, moved_bit(word(body, strip_q3_k_third(step), h), g / 2, 2));
}

INLINE __m256i quad_q4_k(const char *body, size_t g, size_t k, int h)
{
    return bits_of(word(body, 4 + g / 2 * 8 + k, h), g % 2 * 4, 15);
}

INLINE __m256i quad_q5_k(const char *body, size_t g, size_t k, int h)
{
    __m256i low = bits_of(word(body, strip_q5_k_nibbles(g / 2, k), h), g % 2 * 4, 15);
    return _mm256_or_si256(low, moved_bit(word(body, strip_q5_k_fifth(k), h), g, 4));
}

/* + 32 */
INLINE __m256i quad_q6_k(const char *body, size_t g, size_t k, int h)
{
    size_t part = g % 8 / 2, at = g % 2 * 4 + k;
    enum strip_q6_k which = part % 2 ? STRIP_Q6_K_SECOND : STRIP_Q6_K_FIRST;
    __m256i low = bits_of(word(body, strip_q6_k_line(g / 8, which, at), h), part / 2 * 4, 15);
    __m256i qh = word(body, strip_q6_k_line(g / 8, STRIP_Q6_K_HIGH, at), h);
    __m256i high = part == 3 ? _mm256_srli_epi16(qh, 2) : _mm256_slli_epi16(qh, (int)(4 - 2 * part));
    return _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(0x30)));
}

INLINE __m256i quad_iq4_xs(const char *body, size_t g, size_t k, int h)
{
    return iq4_of(nibbles(body, 2 + 4 * g, k, h));
}

/* ---- scales of 256 columns ------------------------------------------------------------------------ */

INLINE __m256i and_all(__m256i v, int mask)
{
    return _mm256_and_si256(v, _mm256_set1_epi32(mask));
}

INLINE __m256 negative(__m256 v)
{
    return _mm256_xor_ps(v, _mm256_set1_ps(-0.0f));
}

/* Four scales in the bytes of every word, less an offset. */
INLINE void put_four(float (*to)[STRIP], int h, __m256 d, __m256i four, int offset)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m256i n = byte_of(four, i);
        if (offset) n = _mm256_sub_epi32(n, _mm256_set1_epi32(offset));
        put(to[i], h, _mm256_mul_ps(d, float_of(n)));
    }
}

INLINE void scales_q2_k(struct scales *s, const char *heads, const char *body, int n_groups)
{
    (void)heads, (void)n_groups;
    for (int h = 0; h < 2; h++) {
        __m256 d, m;
        split_f16(word(body, 0, h), &d, &m);
        m = negative(m);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            __m256i four = word(body, 1 + i, h);
            put_four(s->d + 4 * i, h, d, bits_of(four, 0, 15), 0);
            put_four(s->m + 4 * i, h, m, bits_of(four, 4, 15), 0);
        }
    }
}

/* Four low bits from words 0 and 1, two high ones from word 2. */
INLINE void scales_q3_k(struct scales *s, const char *heads, const char *body, int n_groups)
{
    (void)n_groups;
    for (int h = 0; h < 2; h++) {
        __m256 d = eight_f16(heads + 16 * h);
        __m256i two = word(body, 2, h);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            __m256i low = bits_of(word(body, i % 2, h), i / 2 * 4, 15);
            __m256i high = _mm256_slli_epi16(bits_of(two, 2 * i, 3), 4);
            put_four(s->d + 4 * i, h, d, _mm256_or_si256(low, high), 32);
        }
    }
}

/* Q4_K and Q5_K: see scale_min_k4() in quant_decode_scalar.c. */
INLINE void scales_k4(struct scales *s, const char *heads, const char *body, int n_groups)
{
    (void)heads, (void)n_groups;
    for (int h = 0; h < 2; h++) {
        __m256 d, m;
        __m256i p0 = word(body, 1, h), p4 = word(body, 2, h), p8 = word(body, 3, h);
        split_f16(word(body, 0, h), &d, &m);
        m = negative(m);
        put_four(s->d, h, d, bits_of(p0, 0, 63), 0);
        put_four(s->m, h, m, bits_of(p4, 0, 63), 0);
        put_four(s->d + 4, h, d, _mm256_or_si256(bits_of(p8, 0, 15), bits_of(p0, 2, 48)), 0);
        put_four(s->m + 4, h, m, _mm256_or_si256(bits_of(p8, 4, 15), bits_of(p4, 2, 48)), 0);
    }
}

/* Signed bytes: offset by 128 they are unsigned ones. */
INLINE void scales_q6_k(struct scales *s, const char *heads, const char *body, int n_groups)
{
    (void)n_groups;
    for (int h = 0; h < 2; h++) {
        __m256 d = eight_f16(heads + 16 * h);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            __m256i four = _mm256_xor_si256(word(body, i, h), _mm256_set1_epi8((char)0x80));
            put_four(s->d + 4 * i, h, d, four, 128);
        }
    }
}

/* The eight nibbles of word 1; above each, two bits of word 0's upper half. */
INLINE void scales_iq4_xs(struct scales *s, const char *heads, const char *body, int n_groups)
{
    (void)heads, (void)n_groups;
    for (int h = 0; h < 2; h++) {
        __m256 d, unused;
        __m256i high = word(body, 0, h), low = word(body, 1, h);
        split_f16(high, &d, &unused);
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            __m256i n = and_all(_mm256_srli_epi32(low, 4 * g), 15);
            n = _mm256_or_si256(n, and_all(_mm256_srli_epi32(high, 12 + 2 * g), 48));
            n = _mm256_sub_epi32(n, _mm256_set1_epi32(32));
            put(s->d[g], h, _mm256_mul_ps(d, float_of(n)));
        }
    }
}

/* ---- all of them ---------------------------------------------------------------------------------- */

/* F(name, DTYPE_NAME, class of panels, quads, offset, bits, has_min, jumps, period, quad, scales) */
#define FORMATS_256(F)                                                                      \
    F(q4_0, DTYPE_Q4_0, offset_4, 8, 8, 4, false, false, 1, quad_q4_0, scales_f16)          \
    F(q4_1, DTYPE_Q4_1, min_4, 8, 0, 4, true, true, 1, quad_q4_1, scales_q4_1)              \
    F(q5_0, DTYPE_Q5_0, offset_5, 8, 16, 5, false, false, 1, quad_q5_0, scales_f16)         \
    F(q5_1, DTYPE_Q5_1, min_5, 8, 0, 5, true, true, 1, quad_q5_1, scales_q5_1)              \
    F(q8_0, DTYPE_Q8_0, signed_8, 8, 0, 8, false, false, 1, quad_q8_0, scales_f16)          \
    F(iq4_nl, DTYPE_IQ4_NL, signed_8, 8, 0, 8, false, false, 1, quad_iq4_nl, scales_f16)    \
    F(mxfp4, DTYPE_MXFP4, offset_5, 8, 12, 5, false, false, 1, quad_mxfp4, scales_mxfp4)    \
    F(q2_k, DTYPE_Q2_K, short_min_4, 4, 0, 4, true, false, 8, quad_q2_k, scales_q2_k)       \
    F(q3_k, DTYPE_Q3_K, short_offset_4, 4, 4, 4, false, true, 16, quad_q3_k, scales_q3_k)   \
    F(q4_k, DTYPE_Q4_K, min_4, 8, 0, 4, true, false, 2, quad_q4_k, scales_k4)               \
    F(q5_k, DTYPE_Q5_K, min_5, 8, 0, 5, true, false, 8, quad_q5_k, scales_k4)               \
    F(q6_k, DTYPE_Q6_K, short_offset_6, 4, 32, 6, false, true, 8, quad_q6_k, scales_q6_k)   \
    F(iq4_xs, DTYPE_IQ4_XS, signed_8, 8, 0, 8, false, false, 1, quad_iq4_xs, scales_iq4_xs)

/* P(class, quads, has_offset, bits, has_min): formats whose unpacked codes are multiplied alike. */
#define PANELS_256(P)                      \
    P(offset_4, 8, true, 4, false)         \
    P(min_4, 8, false, 4, true)            \
    P(offset_5, 8, true, 5, false)         \
    P(min_5, 8, false, 5, true)            \
    P(signed_8, 8, false, 8, false)        \
    P(short_min_4, 4, false, 4, true)      \
    P(short_offset_4, 4, true, 4, false)   \
    P(short_offset_6, 4, true, 6, false)

#endif
