/* strip_avx512.h - what the bytes of a quantised strip mean, as vectors: sixteen rows in sixteen lanes.
 *
 * A format is a row of constants and two functions.  Each block's lines of codes come in sets; step d of a set
 * yields n_codes vectors of four codes a lane, and code c of step d belongs to the columns from
 * 4 * (set * n_codes * n_steps + c * n_steps + d) on.  Codes are unsigned: w = scale (u - offset) + min. */
#ifndef STRIP_AVX512_H
#define STRIP_AVX512_H

#include <immintrin.h>

#include "blocks.h"
#include "strip.h"

#define INLINE static inline __attribute__((always_inline))

struct block512 { /* one block of sixteen rows, taken apart as far as all of it needs */
    const char *head, *body;
    __m512 d, dmin;      /* by row; dmin is negated */
    __m512i scales[4];   /* four bytes by row: of groups 4 i to 4 i + 3 */
    __m512i mins[4];
    __m512i fifth;       /* the word of fifth bits */
};

struct format512 {
    int n_cols;           /* of a block */
    int head_bytes, body_words;
    int n_sets, n_codes, n_steps;
    int group;            /* columns that share a scale: 16 or 32 */
    int offset;
    bool has_min;
    void (*open)(struct block512 *b);
    void (*codes)(__m512i u[4], const struct block512 *b, int set, int step);
    __m512 (*scale)(const struct block512 *b, int group);
    __m512 (*min)(const struct block512 *b, int group); /* NULL without has_min */
};

enum { AHEAD = 512 }; /* bytes; into the second-level cache, for processors that read ahead less */

/* A line is read once, after the lines in front of it, and so asks for the one that comes AHEAD: a processor that finds
 * its stream in another order, or many requests in a row, as compilers arrange them, reads ahead a fourth less. */
INLINE __m512i line_at(const struct block512 *b, size_t line)
{
    __m512i v = _mm512_loadu_si512(b->body + 64 * line);
    __asm__ volatile("prefetcht1 %1" : "+v"(v) : "m"(*(b->body + 64 * line + AHEAD)));
    return v;
}

INLINE __m512i low_nibbles(__m512i v)
{
    return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

INLINE __m512i high_nibbles(__m512i v)
{
    return low_nibbles(_mm512_srli_epi16(v, 4));
}

/* Sixteen f16 numbers in the low or the high halves of words. */
INLINE __m512 f16_low(__m512i words)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
}

INLINE __m512 f16_high(__m512i words)
{
    return f16_low(_mm512_srli_epi32(words, 16));
}

INLINE __m512 negative(__m512 x)
{
    return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f));
}

/* Byte i of each word, as a number. */
INLINE __m512 byte_of(__m512i words, int i)
{
    if (i) words = _mm512_srli_epi32(words, (unsigned)(8 * i));
    if (i < 3) words = _mm512_and_si512(words, _mm512_set1_epi32(255));
    return _mm512_cvtepi32_ps(words);
}

INLINE __m512 signed_byte_of(__m512i words, int i)
{
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(words, (unsigned)(24 - 8 * i)), 24));
}

/* ---- blocks of 32: a head of 2 bytes is d, of 1 an exponent; without one, word 0 is d and the minimum ---- */

INLINE void open_f16(struct block512 *b)
{
    b->d = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)b->head));
}

INLINE void open_f16_pair(struct block512 *b)
{
    __m512i pair = line_at(b, 0);
    b->d = f16_low(pair);
    b->dmin = f16_high(pair);
}

INLINE __m512 scale_d(const struct block512 *b, int group)
{
    (void)group;
    return b->d;
}

INLINE __m512 min_d(const struct block512 *b, int group)
{
    (void)group;
    return b->dmin;
}

INLINE void nibbles_from(__m512i u[4], const struct block512 *b, int word)
{
    __m512i v = line_at(b, word);
    u[0] = low_nibbles(v);
    u[1] = high_nibbles(v);
}

/* 16 where bit 4 step + i of the word of fifth bits is set, for the four codes i of a lane. */
INLINE __m512i add_fifth(__m512i u, __m512i fifth, int step)
{
    const __m512i word = _mm512_set4_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0);
    __m512i byte = _mm512_shuffle_epi8(fifth, _mm512_add_epi8(_mm512_set1_epi8((char)(step / 2)), word));
    __mmask64 set = _mm512_test_epi8_mask(byte, _mm512_set1_epi32(step % 2 ? (int)0x80402010 : 0x08040201));
    return _mm512_mask_add_epi8(u, set, u, _mm512_set1_epi8(16));
}

INLINE void codes_q4_0(__m512i u[4], const struct block512 *b, int set, int step)
{
    (void)set;
    nibbles_from(u, b, step);
}

INLINE void codes_q4_1(__m512i u[4], const struct block512 *b, int set, int step)
{
    (void)set;
    nibbles_from(u, b, 1 + step);
}

INLINE void open_q5_0(struct block512 *b)
{
    open_f16(b);
    b->fifth = line_at(b, 0);
}

INLINE void codes_q5_0(__m512i u[4], const struct block512 *b, int set, int step)
{
    (void)set;
    nibbles_from(u, b, 1 + step);
    u[0] = add_fifth(u[0], b->fifth, step);
    u[1] = add_fifth(u[1], b->fifth, 4 + step);
}

INLINE void open_q5_1(struct block512 *b)
{
    open_f16_pair(b);
    b->fifth = line_at(b, 1);
}

INLINE void codes_q5_1(__m512i u[4], const struct block512 *b, int set, int step)
{
    (void)set;
    nibbles_from(u, b, 2 + step);
    u[0] = add_fifth(u[0], b->fifth, step);
    u[1] = add_fifth(u[1], b->fifth, 4 + step);
}

INLINE void codes_q8_0(__m512i u[4], const struct block512 *b, int set, int step)
{
    (void)set;
    u[0] = _mm512_xor_si512(line_at(b, step), _mm512_set1_epi8((char)0x80)); /* q + 128 */
}

INLINE void look_up(__m512i u[4], __m128i table)
{
    u[0] = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), u[0]);
    u[1] = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), u[1]);
}

/* The values of IQ4_NL plus 127. */
INLINE __m128i iq4_table(void)
{
    return _mm_setr_epi8(0, 23, 44, 62, 78, 92, 105, 117, (char)128, (char)140, (char)152, (char)165, (char)180,
                         (char)196, (char)216, (char)240);
}

INLINE void codes_iq4_nl(__m512i u[4], const struct block512 *b, int set, int step)
{
    (void)set;
    nibbles_from(u, b, step);
    look_up(u, iq4_table());
}

/* 2^(e - 128): the table holds doubled values.  Below e = 2 the result is subnormal, e = 255 is NaN. */
INLINE void open_mxfp4(struct block512 *b)
{
    __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)b->head));
    __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    __m512i small = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
    __m512i bits = _mm512_mask_blend_epi32(_mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2)), normal, small);
    __mmask16 nan = _mm512_cmpeq_epi32_mask(e, _mm512_set1_epi32(255));
    b->d = _mm512_castsi512_ps(_mm512_mask_blend_epi32(nan, bits, _mm512_set1_epi32(0x7fc00000)));
}

/* Doubled values plus 12. */
INLINE void codes_mxfp4(__m512i u[4], const struct block512 *b, int set, int step)
{
    (void)set;
    nibbles_from(u, b, step);
    look_up(u, _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
}

/* ---- blocks of 256 ------------------------------------------------------------------------------- */

/* Line 0: d and dmin; lines 1 to 3: eight scales and eight minima of 6 bits, see scale_min_k4(). */
INLINE void open_k45(struct block512 *b)
{
    const __m512i six = _mm512_set1_epi8(63), four = _mm512_set1_epi8(15), two = _mm512_set1_epi8(48);
    __m512i pair = line_at(b, 0), low = line_at(b, 1), mid = line_at(b, 2), high = line_at(b, 3);
    b->d = f16_low(pair);
    b->dmin = negative(f16_high(pair));
    b->scales[0] = _mm512_and_si512(low, six);
    b->mins[0] = _mm512_and_si512(mid, six);
    b->scales[1] = _mm512_or_si512(_mm512_and_si512(high, four), _mm512_and_si512(_mm512_srli_epi16(low, 2), two));
    b->mins[1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(high, 4), four),
                                 _mm512_and_si512(_mm512_srli_epi16(mid, 2), two));
}

INLINE __m512 scale_bytes(const struct block512 *b, int group)
{
    return _mm512_mul_ps(b->d, byte_of(b->scales[group / 4], group % 4));
}

INLINE __m512 min_bytes(const struct block512 *b, int group)
{
    return _mm512_mul_ps(b->dmin, byte_of(b->mins[group / 4], group % 4));
}

INLINE void codes_q4_k(__m512i u[4], const struct block512 *b, int set, int step)
{
    nibbles_from(u, b, 4 + 8 * set + step);
}

/* Bit `from` of every byte becomes bit `to`. */
INLINE __m512i one_bit(__m512i v, int from, int to)
{
    if (from < to) v = _mm512_slli_epi16(v, (unsigned)(to - from));
    if (from > to) v = _mm512_srli_epi16(v, (unsigned)(from - to));
    return _mm512_and_si512(v, _mm512_set1_epi8((char)(1 << to)));
}

INLINE void codes_q5_k(__m512i u[4], const struct block512 *b, int set, int step)
{
    __m512i fifth = line_at(b, strip_q5_k_fifth((size_t)step));
    nibbles_from(u, b, strip_q5_k_nibbles((size_t)set, (size_t)step));
    u[0] = _mm512_or_si512(u[0], one_bit(fifth, 2 * set, 4));
    u[1] = _mm512_or_si512(u[1], one_bit(fifth, 2 * set + 1, 4));
}

/* Bits 2 field and 2 field + 1 of every byte become bits `to` and to + 1. */
INLINE __m512i two_bits(__m512i v, int field, int to)
{
    if (2 * field < to) v = _mm512_slli_epi16(v, (unsigned)(to - 2 * field));
    if (2 * field > to) v = _mm512_srli_epi16(v, (unsigned)(2 * field - to));
    return _mm512_and_si512(v, _mm512_set1_epi8((char)(3 << to)));
}

INLINE void open_q6_k(struct block512 *b)
{
    open_f16(b);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) b->scales[i] = line_at(b, i);
}

INLINE __m512 scale_q6_k(const struct block512 *b, int group)
{
    return _mm512_mul_ps(b->d, signed_byte_of(b->scales[group / 4], group % 4));
}

INLINE void codes_q6_k(__m512i u[4], const struct block512 *b, int set, int step)
{
    __m512i first = line_at(b, strip_q6_k_line((size_t)set, STRIP_Q6_K_FIRST, (size_t)step));
    __m512i second = line_at(b, strip_q6_k_line((size_t)set, STRIP_Q6_K_SECOND, (size_t)step));
    __m512i high = line_at(b, strip_q6_k_line((size_t)set, STRIP_Q6_K_HIGH, (size_t)step));
    u[0] = _mm512_or_si512(low_nibbles(first), two_bits(high, 0, 4));
    u[1] = _mm512_or_si512(low_nibbles(second), two_bits(high, 1, 4));
    u[2] = _mm512_or_si512(high_nibbles(first), two_bits(high, 2, 4));
    u[3] = _mm512_or_si512(high_nibbles(second), two_bits(high, 3, 4));
}

/* Line 0: d and dmin; 1 to 4: scales and minima, nibbles. */
INLINE void open_q2_k(struct block512 *b)
{
    __m512i pair = line_at(b, 0);
    b->d = f16_low(pair);
    b->dmin = negative(f16_high(pair));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i both = line_at(b, 1 + i);
        b->scales[i] = low_nibbles(both);
        b->mins[i] = high_nibbles(both);
    }
}

INLINE void codes_q2_k(__m512i u[4], const struct block512 *b, int set, int step)
{
    __m512i v = line_at(b, strip_q2_k_two((size_t)set, (size_t)step));
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) u[c] = two_bits(v, c, 0);
}

/* Lines 0 to 2: sixteen scales of 6 bits; from 3 on third bits, inverted by the offset, and two bits in turns. */
INLINE void open_q3_k(struct block512 *b)
{
    const __m512i four = _mm512_set1_epi8(15);
    __m512i low[2] = {line_at(b, 0), line_at(b, 1)}, high = line_at(b, 2);
    open_f16(b);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i nibbles = i < 2 ? low[i] : _mm512_srli_epi16(low[i - 2], 4);
        b->scales[i] = _mm512_or_si512(_mm512_and_si512(nibbles, four), two_bits(high, i, 4));
    }
}

INLINE __m512 scale_q3_k(const struct block512 *b, int group)
{
    return _mm512_mul_ps(b->d, _mm512_sub_ps(byte_of(b->scales[group / 4], group % 4), _mm512_set1_ps(32)));
}

INLINE void codes_q3_k(__m512i u[4], const struct block512 *b, int set, int step)
{
    __m512i third = line_at(b, strip_q3_k_third((size_t)step));
    __m512i v = line_at(b, strip_q3_k_two((size_t)set, (size_t)step));
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) u[c] = _mm512_or_si512(two_bits(v, c, 0), one_bit(third, 4 * set + c, 2));
}

/* Word 0: d, and the high bits of eight scales; word 1: their low nibbles. */
INLINE void open_iq4_xs(struct block512 *b)
{
    b->scales[0] = line_at(b, 0);
    b->scales[1] = line_at(b, 1);
    b->d = f16_low(b->scales[0]);
}

INLINE __m512 scale_iq4_xs(const struct block512 *b, int group)
{
    __m512i low = _mm512_srli_epi32(b->scales[1], (unsigned)(4 * group));
    __m512i high = _mm512_srli_epi32(b->scales[0], (unsigned)(16 + 2 * group));
    __m512i scale = _mm512_or_si512(_mm512_and_si512(low, _mm512_set1_epi32(15)),
                                    _mm512_slli_epi32(_mm512_and_si512(high, _mm512_set1_epi32(3)), 4));
    return _mm512_mul_ps(b->d, _mm512_cvtepi32_ps(_mm512_sub_epi32(scale, _mm512_set1_epi32(32))));
}

INLINE void codes_iq4_xs(__m512i u[4], const struct block512 *b, int set, int step)
{
    nibbles_from(u, b, 2 + 4 * set + step);
    look_up(u, iq4_table());
}

/* ---- the formats --------------------------------------------------------------------------------- */

#define FORMATS_512(X)                                                                                \
    /* name, columns, head, words, sets, codes, steps, group, offset, min, open, codes, scale, min */ \
    X(q4_0, 32, 2, 4, 1, 2, 4, 32, 8, false, open_f16, codes_q4_0, scale_d, NULL)                     \
    X(q4_1, 32, 0, 5, 1, 2, 4, 32, 0, true, open_f16_pair, codes_q4_1, scale_d, min_d)                \
    X(q5_0, 32, 2, 5, 1, 2, 4, 32, 16, false, open_q5_0, codes_q5_0, scale_d, NULL)                   \
    X(q5_1, 32, 0, 6, 1, 2, 4, 32, 0, true, open_q5_1, codes_q5_1, scale_d, min_d)                    \
    X(q8_0, 32, 2, 8, 1, 1, 8, 32, 128, false, open_f16, codes_q8_0, scale_d, NULL)                   \
    X(iq4_nl, 32, 2, 4, 1, 2, 4, 32, 127, false, open_f16, codes_iq4_nl, scale_d, NULL)               \
    X(mxfp4, 32, 1, 4, 1, 2, 4, 32, 12, false, open_mxfp4, codes_mxfp4, scale_d, NULL)                \
    X(q2_k, 256, 0, 21, 2, 4, 8, 16, 0, true, open_q2_k, codes_q2_k, scale_bytes, min_bytes)          \
    X(q3_k, 256, 2, 27, 2, 4, 8, 16, 4, false, open_q3_k, codes_q3_k, scale_q3_k, NULL)               \
    X(q4_k, 256, 0, 36, 4, 2, 8, 32, 0, true, open_k45, codes_q4_k, scale_bytes, min_bytes)           \
    X(q5_k, 256, 0, 44, 4, 2, 8, 32, 0, true, open_k45, codes_q5_k, scale_bytes, min_bytes)           \
    X(q6_k, 256, 2, 52, 2, 4, 8, 16, 32, false, open_q6_k, codes_q6_k, scale_q6_k, NULL)              \
    X(iq4_xs, 256, 0, 34, 8, 2, 4, 32, 127, false, open_iq4_xs, codes_iq4_xs, scale_iq4_xs, NULL)

#endif
