/* panel_avx512bf16.c - the chunks of strips as panels of BF16 numbers.
 *
 * A line of a strip holds a word of each of sixteen rows, so a lane is a row: a shift brings one of four codes to the
 * front, a table or a conversion makes it a float32 number, scales are vectors.  d q is exact for all types (at most
 * 24 bits), so one fused d q + m is what decode gives.  Two columns are rounded by one instruction, which leaves
 * them one behind the other; a permutation of words makes them pairs. */
#if defined(__x86_64__)
#include "panel_bf16.h"

#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "base.h"
#include "math_avx512.h"
#include "scalar/quant_values.h"

#define INLINE MATH_INLINE

enum { LINE = STRIP * 4 };

INLINE __m512i line_of(const char *body, size_t i)
{
    return _mm512_loadu_si512(body + i * LINE);
}

/* n columns are there; zeros behind them, up to a whole step. */
INLINE void fill_step(__m512i *panel, int n)
{
    for (int i = CEIL_DIV(n, 2); i < ROUND_UP(n, PANEL_STEP) / 2; i++) panel[i] = _mm512_setzero_si512();
}

INLINE void put_pair(__m512i *panel, __m512 even, __m512 odd)
{
    const __m512i side_by_side =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19,
                         3, 18, 2, 17, 1, 16, 0);
    *panel = _mm512_permutexvar_epi16(side_by_side, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}

INLINE __m512 of_halves(__m256i halves)
{
    return _mm512_cvtph_ps(halves);
}

/* d and m (or dmin), f16 numbers that share a word. */
INLINE __m512 low_half(__m512i words)
{
    return of_halves(_mm512_cvtepi32_epi16(words));
}

INLINE __m512 high_half(__m512i words)
{
    return of_halves(_mm512_cvtepi32_epi16(_mm512_srli_epi32(words, 16)));
}

INLINE __m512 f16_at(const char *heads, int block)
{
    return of_halves(_mm256_loadu_si256((const __m256i *)(const void *)heads + block));
}

/* ---- F32, F16, BF16 -------------------------------------------------------------------------------- */

static const void *panel_f32(void *panel, const void *chunk, int n)
{
    __m512i *out = panel;
    for (int c = 0; c < n; c += 2) {
        __m512i odd = c + 1 < n ? line_of(chunk, c + 1) : _mm512_setzero_si512();
        put_pair(out + c / 2, _mm512_castsi512_ps(line_of(chunk, c)), _mm512_castsi512_ps(odd));
    }
    fill_step(out, n);
    return panel;
}

static const void *panel_f16(void *panel, const void *chunk, int n)
{
    __m512i *out = panel;
    for (int i = 0; i < CEIL_DIV(n, 2); i++) /* of pairs already, and rounding leaves them so */
        out[i] = (__m512i)_mm512_cvtne2ps_pbh(f16_at(chunk, 2 * i + 1), f16_at(chunk, 2 * i));
    fill_step(out, n);
    return panel;
}

static const void *panel_same(void *panel, const void *chunk, int n)
{
    if (n % PANEL_STEP == 0) return chunk;
    memcpy(panel, chunk, (size_t)CEIL_DIV(n, 2) * LINE);
    fill_step(panel, n);
    return panel;
}

/* ---- quantised: what the types have in common ------------------------------------------------------ */

struct scales { /* of each group of columns; w = d q + m */
    __m512 d[16], m[16];
};

struct reader {
    int group; /* columns that share a scale: 16 or 32 */
    int span;  /* columns after which bits lie in the same places again: 32, 64 or 128 */
    int head;  /* bytes of a row's block there, 0 to 2 */
    bool has_min;
    void (*scales)(struct scales *s, const char *heads, const char *body, int n_blocks);
    /* The codes of four columns of a span, the 4 q-th and following, as float32 numbers. */
    void (*codes)(__m512 code[4], const char *body, int span, int q);
};

INLINE const void *expand(void *panel, const char *heads, int n, const struct reader *r, int block)
{
    struct scales s;
    __m512i *out = panel;
    if (n == 0) return panel;
    const char *body = heads + (size_t)(n / block) * STRIP * (size_t)r->head;
    r->scales(&s, heads, body, n / block);
    for (int span = 0; span < n / r->span; span++)
#pragma GCC unroll 32
        for (int q = 0; q < r->span / 4; q++) {
            int group = span * (r->span / r->group) + 4 * q / r->group;
            __m512 w[4];
            r->codes(w, body, span, q);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                w[i] = r->has_min ? _mm512_fmadd_ps(w[i], s.d[group], s.m[group]) : _mm512_mul_ps(w[i], s.d[group]);
            put_pair(out++, w[0], w[1]);
            put_pair(out++, w[2], w[3]);
        }
    return panel;
}

/* Codes in the low bits of each byte of a line, as float32 numbers: of four bits by a table, what stands above them
 * being of no concern... */
INLINE void by_table(__m512 code[4], __m512i line, int shift, __m512 table)
{
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        code[i] = _mm512_permutexvar_ps(_mm512_srli_epi32(line, (unsigned)(8 * i + shift)), table);
}

/* ... of more bits as 1 + code / 2^bits, for which it suffices to put a code into the mantissa of 1.  middle_out()
 * makes the scales that lead from there to d (code - 2^bits / 2): d 2^bits, and -1.5 times that.  All of it is exact;
 * an infinite d gives NaN. */
INLINE void by_mantissa(__m512 code[4], __m512i line, int bits)
{
    const __m512i one = _mm512_set1_epi32(0x3f800000), mask = _mm512_set1_epi32(((1 << bits) - 1) << (23 - bits));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        int left = 23 - bits - 8 * i;
        __m512i there = left < 0 ? _mm512_srli_epi32(line, (unsigned)-left) : _mm512_slli_epi32(line, (unsigned)left);
        code[i] = _mm512_castsi512_ps(_mm512_ternarylogic_epi32(there, mask, one, 0xea)); /* there & mask | one */
    }
}

INLINE void middle_out(struct scales *s, int i, int bits)
{
    s->d[i] = _mm512_mul_ps(s->d[i], _mm512_set1_ps((float)(1 << bits)));
    s->m[i] = _mm512_mul_ps(s->d[i], _mm512_set1_ps(-1.5f));
}

/* first, first + 1, ...; after `period` of them from the first again. */
INLINE __m512 count_from(float first, int period)
{
    __m512i i = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    i = _mm512_and_si512(i, _mm512_set1_epi32(period - 1));
    return _mm512_add_ps(_mm512_set1_ps(first), _mm512_cvtepi32_ps(i));
}

INLINE __m512 of_bytes(const int8_t values[16])
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)values)));
}

/* Bits of mask from a, the others from b. */
INLINE __m512i merge(__m512i mask, __m512i a, __m512i b)
{
    return _mm512_ternarylogic_epi32(mask, a, b, 0xca);
}

INLINE __m512i each_byte(int value)
{
    return _mm512_set1_epi8((char)value);
}

/* Byte i of each word, as it is or as a number with a sign. */
INLINE __m512 byte_of(__m512i words, int i)
{
    return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(words, (unsigned)(8 * i)), _mm512_set1_epi32(255)));
}

INLINE __m512 signed_byte_of(__m512i words, int i)
{
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(words, (unsigned)(24 - 8 * i)), 24));
}

/* ---- blocks of 32 ---------------------------------------------------------------------------------- */

INLINE void scales_head(struct scales *s, const char *heads, const char *body, int n_blocks)
{
    for (int b = 0; b < n_blocks; b++) s->d[b] = f16_at(heads, b);
    (void)body;
}

INLINE void scales_d_m(struct scales *s, const char *body, int n_blocks, int n_words)
{
    for (int b = 0; b < n_blocks; b++) {
        __m512i words = line_of(body, b * n_words);
        s->d[b] = low_half(words);
        s->m[b] = high_half(words);
    }
}

INLINE void scales_q4_1(struct scales *s, const char *heads, const char *body, int n_blocks)
{
    scales_d_m(s, body, n_blocks, 5);
    (void)heads;
}

INLINE void scales_q5_1(struct scales *s, const char *heads, const char *body, int n_blocks)
{
    scales_d_m(s, body, n_blocks, 6);
    (void)heads;
}

/* 2^(e - 128), and NaN for 255. */
INLINE void scales_mxfp4(struct scales *s, const char *heads, const char *body, int n_blocks)
{
    for (int b = 0; b < n_blocks; b++) {
        __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)heads + b));
        __m512 power = _mm512_cvtepi32_ps(_mm512_sub_epi32(e, _mm512_set1_epi32(128)));
        __mmask16 is_nan = _mm512_cmpeq_epi32_mask(e, _mm512_set1_epi32(255));
        s->d[b] = _mm512_scalef_ps(_mm512_set1_ps(1), power);
        s->d[b] = _mm512_mask_mov_ps(s->d[b], is_nan, _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
    }
    (void)body;
}

/* Sixteen bytes of nibbles: four lines, the low ones of all before the high ones. */
INLINE void codes_nibbles(__m512 code[4], const char *body, int line, int q, __m512 table)
{
    by_table(code, line_of(body, line + q % 4), q / 4 * 4, table);
}

INLINE void codes_q4_0(__m512 code[4], const char *body, int span, int q)
{
    codes_nibbles(code, body, 4 * span, q, count_from(-8, 16));
}

INLINE void codes_q4_1(__m512 code[4], const char *body, int span, int q)
{
    codes_nibbles(code, body, 5 * span + 1, q, count_from(0, 16));
}

INLINE void codes_iq4_nl(__m512 code[4], const char *body, int span, int q)
{
    codes_nibbles(code, body, 4 * span, q, of_bytes(iq4_values));
}

INLINE void codes_mxfp4(__m512 code[4], const char *body, int span, int q)
{
    codes_nibbles(code, body, 4 * span, q, of_bytes(mxfp4_values));
}

/* The same with a fifth bit, those of all 32 columns in one word. */
INLINE void codes_fifth(__m512 code[4], const char *body, int line, int q, float first)
{
    __m512i fifth = line_of(body, line), low = line_of(body, line + 1 + q % 4), nibble = _mm512_set1_epi32(15);
    __m512 table = count_from(first, 16), upper = count_from(first + 16, 16);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512i index = _mm512_srli_epi32(low, (unsigned)(8 * i + q / 4 * 4));
        index = merge(nibble, index, _mm512_rolv_epi32(fifth, _mm512_set1_epi32((4 - 4 * q - i) & 31)));
        code[i] = _mm512_permutex2var_ps(table, index, upper);
    }
}

INLINE void codes_q5_0(__m512 code[4], const char *body, int span, int q)
{
    codes_fifth(code, body, 5 * span, q, -16);
}

INLINE void codes_q5_1(__m512 code[4], const char *body, int span, int q)
{
    codes_fifth(code, body, 6 * span + 1, q, 0);
}

INLINE void scales_q8_0(struct scales *s, const char *heads, const char *body, int n_blocks)
{
    scales_head(s, heads, body, n_blocks);
    for (int b = 0; b < n_blocks; b++) middle_out(s, b, 8);
}

INLINE void codes_q8_0(__m512 code[4], const char *body, int span, int q)
{
    by_mantissa(code, _mm512_xor_si512(line_of(body, 8 * span + q), each_byte(128)), 8);
}

/* ---- blocks of 256: lines from the beginning of the block ------------------------------------------- */

INLINE void scales_q2_k(struct scales *s, const char *heads, const char *body, int n_blocks)
{
    __m512i both = line_of(body, 0), nibble = each_byte(15);
    __m512 d = low_half(both), dmin = _mm512_sub_ps(_mm512_setzero_ps(), high_half(both));
#pragma GCC unroll 16
    for (int g = 0; g < 16; g++) {
        __m512i words = line_of(body, 1 + g / 4);
        s->d[g] = _mm512_mul_ps(d, byte_of(_mm512_and_si512(words, nibble), g % 4));
        s->m[g] = _mm512_mul_ps(dmin, byte_of(_mm512_and_si512(_mm512_srli_epi32(words, 4), nibble), g % 4));
    }
    (void)heads;
    (void)n_blocks;
}

INLINE void codes_q2_k(__m512 code[4], const char *body, int span, int q)
{
    by_table(code, line_of(body, strip_q2_k_two((size_t)span, (size_t)q % 8)), q / 8 * 2, count_from(0, 4));
}

INLINE void scales_q3_k(struct scales *s, const char *heads, const char *body, int n_blocks)
{
    __m512 d = f16_at(heads, 0);
    __m512i high = line_of(body, 2), nibble = each_byte(15), offset = each_byte(32);
#pragma GCC unroll 16
    for (int g = 0; g < 16; g++) {
        __m512i low = _mm512_srli_epi32(line_of(body, g / 4 % 2), (unsigned)(g / 8 * 4));
        __m512i top = _mm512_rolv_epi32(high, _mm512_set1_epi32((4 - g / 4 * 2) & 31));
        __m512i six = _mm512_and_si512(merge(nibble, low, top), each_byte(63));
        s->d[g] = _mm512_mul_ps(d, signed_byte_of(_mm512_sub_epi8(six, offset), g % 4));
    }
    (void)n_blocks;
}

INLINE void codes_q3_k(__m512 code[4], const char *body, int span, int q)
{
    size_t step = (size_t)q % 8;
    __m512i low = _mm512_srli_epi32(line_of(body, strip_q3_k_two((size_t)span, step)), (unsigned)(q / 8 * 2));
    __m512i third = line_of(body, strip_q3_k_third(step));
    third = _mm512_rolv_epi32(third, _mm512_set1_epi32((2 - 4 * span - q / 8) & 31));
    by_table(code, merge(each_byte(3), low, third), 0, count_from(-4, 8));
}

/* Of Q4_K and Q5_K; see scale_min_k4(), here for four groups at once. */
INLINE void scales_k4(struct scales *s, const char *heads, const char *body, int n_blocks)
{
    __m512i both = line_of(body, 0), p0 = line_of(body, 1), p4 = line_of(body, 2), p8 = line_of(body, 3);
    __m512i six = each_byte(63), nibble = each_byte(15);
    __m512i scale[2] = {_mm512_and_si512(p0, six),
                        _mm512_and_si512(merge(nibble, p8, _mm512_srli_epi32(p0, 2)), six)};
    __m512i min[2] = {_mm512_and_si512(p4, six),
                      _mm512_and_si512(merge(nibble, _mm512_srli_epi32(p8, 4), _mm512_srli_epi32(p4, 2)), six)};
    __m512 d = low_half(both), dmin = _mm512_sub_ps(_mm512_setzero_ps(), high_half(both));
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        s->d[g] = _mm512_mul_ps(d, byte_of(scale[g / 4], g % 4));
        s->m[g] = _mm512_mul_ps(dmin, byte_of(min[g / 4], g % 4));
    }
    (void)heads;
    (void)n_blocks;
}

INLINE void codes_q4_k(__m512 code[4], const char *body, int span, int q)
{
    by_table(code, line_of(body, 4 + 8 * span + q % 8), q / 8 * 4, count_from(0, 16));
}

INLINE void codes_q5_k(__m512 code[4], const char *body, int span, int q)
{
    size_t step = (size_t)q % 8;
    __m512i low = _mm512_srli_epi32(line_of(body, strip_q5_k_nibbles((size_t)span, step)), (unsigned)(q / 8 * 4));
    __m512i fifth = line_of(body, strip_q5_k_fifth(step));
    fifth = _mm512_rolv_epi32(fifth, _mm512_set1_epi32((4 - 2 * span - q / 8) & 31));
    __m512i five = merge(each_byte(15), low, fifth);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        code[i] = _mm512_permutex2var_ps(count_from(0, 16), _mm512_srli_epi32(five, (unsigned)(8 * i)),
                                         count_from(16, 16));
}

INLINE void scales_q6_k(struct scales *s, const char *heads, const char *body, int n_blocks)
{
    __m512 d = f16_at(heads, 0);
#pragma GCC unroll 16
    for (int g = 0; g < 16; g++) {
        s->d[g] = _mm512_mul_ps(d, signed_byte_of(line_of(body, g / 4), g % 4));
        middle_out(s, g, 6);
    }
    (void)n_blocks;
}

INLINE void codes_q6_k(__m512 code[4], const char *body, int span, int q)
{
    int part = q / 8;
    enum strip_q6_k which = part % 2 ? STRIP_Q6_K_SECOND : STRIP_Q6_K_FIRST;
    size_t half = (size_t)span, step = (size_t)q % 8;
    __m512i low = _mm512_srli_epi32(line_of(body, strip_q6_k_line(half, which, step)), (unsigned)(part / 2 * 4));
    __m512i high = line_of(body, strip_q6_k_line(half, STRIP_Q6_K_HIGH, step));
    high = _mm512_rolv_epi32(high, _mm512_set1_epi32((4 - 2 * part) & 31));
    by_mantissa(code, merge(each_byte(15), low, high), 6);
}

INLINE void scales_iq4_xs(struct scales *s, const char *heads, const char *body, int n_blocks)
{
    __m512i both = line_of(body, 0), low = line_of(body, 1), high = _mm512_srli_epi32(both, 16);
    __m512 d = low_half(both);
#pragma GCC unroll 8
    for (int g = 0; g < 8; g++) {
        __m512i scale = _mm512_and_si512(_mm512_srli_epi32(low, (unsigned)(4 * g)), _mm512_set1_epi32(15));
        __m512i top = _mm512_and_si512(_mm512_srli_epi32(high, (unsigned)(2 * g)), _mm512_set1_epi32(3));
        scale = _mm512_sub_epi32(_mm512_or_si512(scale, _mm512_slli_epi32(top, 4)), _mm512_set1_epi32(32));
        s->d[g] = _mm512_mul_ps(d, _mm512_cvtepi32_ps(scale));
    }
    (void)heads;
    (void)n_blocks;
}

INLINE void codes_iq4_xs(__m512 code[4], const char *body, int span, int q)
{
    codes_nibbles(code, body, 2 + 4 * span, q, of_bytes(iq4_values));
}

/* ---- one function each ------------------------------------------------------------------------------ */

#define PANEL(type, block, group_, span_, head_, has_min_, scales_, codes_)                         \
    static const void *panel_##type(void *panel, const void *chunk, int n)                          \
    {                                                                                               \
        static const struct reader r = {.group = group_, .span = span_, .head = head_,              \
                                        .has_min = has_min_, .scales = scales_, .codes = codes_};   \
        return expand(panel, chunk, n, &r, block);                                                  \
    }
PANEL(q4_0, 32, 32, 32, 2, false, scales_head, codes_q4_0)
PANEL(q4_1, 32, 32, 32, 0, true, scales_q4_1, codes_q4_1)
PANEL(q5_0, 32, 32, 32, 2, false, scales_head, codes_q5_0)
PANEL(q5_1, 32, 32, 32, 0, true, scales_q5_1, codes_q5_1)
PANEL(q8_0, 32, 32, 32, 2, true, scales_q8_0, codes_q8_0)
PANEL(iq4_nl, 32, 32, 32, 2, false, scales_head, codes_iq4_nl)
PANEL(mxfp4, 32, 32, 32, 1, false, scales_mxfp4, codes_mxfp4)
PANEL(q2_k, 256, 16, 128, 0, true, scales_q2_k, codes_q2_k)
PANEL(q3_k, 256, 16, 128, 2, false, scales_q3_k, codes_q3_k)
PANEL(q4_k, 256, 32, 64, 0, true, scales_k4, codes_q4_k)
PANEL(q5_k, 256, 32, 64, 0, true, scales_k4, codes_q5_k)
PANEL(q6_k, 256, 16, 128, 2, true, scales_q6_k, codes_q6_k)
PANEL(iq4_xs, 256, 32, 32, 0, false, scales_iq4_xs, codes_iq4_xs)

panel_fn *const panel_bf16[DTYPE_COUNT] = {
    [DTYPE_F32] = panel_f32,       [DTYPE_F16] = panel_f16,       [DTYPE_BF16] = panel_same,
    [DTYPE_Q4_0] = panel_q4_0,     [DTYPE_Q4_1] = panel_q4_1,     [DTYPE_Q5_0] = panel_q5_0,
    [DTYPE_Q5_1] = panel_q5_1,     [DTYPE_Q8_0] = panel_q8_0,     [DTYPE_Q2_K] = panel_q2_k,
    [DTYPE_Q3_K] = panel_q3_k,     [DTYPE_Q4_K] = panel_q4_k,     [DTYPE_Q5_K] = panel_q5_k,
    [DTYPE_Q6_K] = panel_q6_k,     [DTYPE_IQ4_NL] = panel_iq4_nl, [DTYPE_IQ4_XS] = panel_iq4_xs,
    [DTYPE_MXFP4] = panel_mxfp4,
};
#endif
