/* strip.cuh - what the bytes of a strip mean, one row at a time: the device's view of strip.h.
 *
 * A format is a row of constants and a few functions of words.  Where words come from (registers, shared memory) is the
 * caller's business: word of row r in line l lies at body + 64 l + 4 r, so four neighbouring rows are one load.
 *
 * A quantised block has n_sets sets of n_steps steps; a step yields n_codes words of four codes, one after the other in
 * columns: code c of step d of set s are the columns from 4 * ((s * n_codes + c) * n_steps + d) of the block on.  Four
 * steps make a half (a set of eight has two): 16 columns of each code, which share one scale in every format.
 *
 *     step_line(i, set, step)   the line of word i < n_step_words of a step
 *     head_line(i, set)         the line of word i < n_head_words that all steps of a set need
 *     codes(u, w, h, set, step) the codes of a step, from its own words w and the set's words h
 *     scale(head, h, set, half, code)  w = d (u - offset) + m; `head`: the scale that is not four bytes long
 *
 * Where is_shifted, shifted() gives codes cheaper than codes(), but code c times 2^shift(c).  Where is_mixed, each code
 * is a nibble of the step's word, looked up in table().
 *
 * Codes are signed bytes where is_signed (offset 0), else unsigned.  F32, F16 and BF16 have no codes (is_float); there
 * a step is four columns too, and numbers(v, w) gives them.  Set, step and half may be a lane's own. */
#ifndef STRIP_CUH
#define STRIP_CUH

#include "lane.cuh"

extern "C" {
#include "strip.h"
}

struct strip_scale {
    float d, m;
};

template <int COLS, int HEAD, int WORDS, int SETS, int CODES, int STEPS, int HEAD_WORDS, int STEP_WORDS, int OFFSET,
          bool SIGNED, bool MIN>
struct strip_shape {
    static constexpr int n_cols = COLS;               /* of a block */
    static constexpr int head_bytes = HEAD;           /* of a row's block */
    static constexpr int n_words = WORDS;             /* lines of a block */
    static constexpr int n_sets = SETS, n_codes = CODES, n_steps = STEPS;
    static constexpr int n_head_words = HEAD_WORDS;   /* that a set needs beside those of its steps */
    static constexpr int n_step_words = STEP_WORDS;
    static constexpr int offset = OFFSET;
    static constexpr bool is_signed = SIGNED, has_min = MIN;
    static constexpr bool is_float = CODES == 0;
    static constexpr int per_chunk = STRIP_CHUNK / COLS; /* blocks */
    static constexpr bool is_mixed = false, is_shifted = false;
    static __host__ LANE constexpr int shift(int)
    {
        return 0;
    }
};

template <enum dtype T> struct strip_of;

/* ---- where things are ------------------------------------------------------------------------------- */

struct strip_place { /* bytes from the start of a strip */
    uint32_t head; /* of row 0; row r: + r * head_bytes */
    uint32_t body; /* line 0 */
};

template <class F> __host__ LANE constexpr int strip_n_blocks(int n_cols)
{
    return (n_cols + F::n_cols - 1) / F::n_cols;
}

/* Of a block within its chunk. */
template <class F> LANE strip_place strip_place_in(uint32_t chunk, uint32_t nth, int n_blocks)
{
    constexpr uint32_t heads = STRIP * F::head_bytes, body = STRIP * 4 * F::n_words, all = F::per_chunk * heads;
    uint32_t at = chunk * (F::per_chunk * (heads + body)), left = (uint32_t)n_blocks - chunk * F::per_chunk;
    uint32_t front = heads == 0 || F::per_chunk == 1 ? all : min(left, (uint32_t)F::per_chunk) * heads;
    return {at + nth * heads, at + front + nth * body};
}

template <class F> LANE strip_place strip_place_of(int block, int n_blocks)
{
    return strip_place_in<F>((uint32_t)block / F::per_chunk, (uint32_t)block % F::per_chunk, n_blocks);
}

/* ---- words ------------------------------------------------------------------------------------------ */

LANE uint32_t low_nibbles(uint32_t v)
{
    return v & 0x0f0f0f0f;
}

LANE uint32_t high_nibbles(uint32_t v)
{
    return v >> 4 & 0x0f0f0f0f;
}

LANE float f16_low(uint32_t v)
{
    return f32_of_f16((uint16_t)v);
}

LANE float f16_high(uint32_t v)
{
    return f32_of_f16((uint16_t)(v >> 16));
}

/* Bits 2 field and 2 field + 1 of every byte become bits 4 and 5. */
LANE uint32_t two_atop(uint32_t v, int field)
{
    return (field == 3 ? v >> 2 : v << (4 - 2 * field)) & 0x30303030;
}

/* Bit i of the lowest four becomes bit 4 of byte i. */
LANE uint32_t spread_fifth(uint32_t bits)
{
    return (bits & 15) * 0x02040810u & 0x10101010;
}

/* What the sixteen nibbles stand for, signed bytes: of 0 to 7 and of 8 to 15.  The same as sums of two parts: where a
 * nibble is below 8, the part from `above` is its sign spread over the byte, 0 or -1, and the other way round. */
struct nibble_table {
    uint32_t low[2], high[2];
    uint32_t below[2], above[2];
};

/* The bytes of v's eight nibbles, in their order. */
LANE void look_up_mixed(uint32_t u[2], uint32_t v, const nibble_table &t)
{
    uint32_t index = v & 0x77777777, side = (v & 0x88888888) >> 1 | 0x32103210;
#pragma unroll
    for (int i = 0; i < 2; i++, index >>= 16, side >>= 16)
        u[i] = pick_bytes(pick_bytes(t.low[0], t.low[1], index), pick_bytes(t.high[0], t.high[1], index), side);
}

/* Their parts: u[0] and u[1] of the first four, u[2] and u[3] of the others. */
LANE void look_up_parts(uint32_t u[4], uint32_t v, const nibble_table &t)
{
    uint32_t other = v ^ 0x88888888;
#pragma unroll
    for (int i = 0; i < 2; i++, v >>= 16, other >>= 16) {
        u[2 * i] = pick_bytes_or_signs(t.below[0], t.below[1], v);
        u[2 * i + 1] = pick_bytes_or_signs(t.above[0], t.above[1], other);
    }
}

/* The bytes of the low nibbles and of the high ones. */
LANE void look_up_nibbles(uint32_t u[2], uint32_t v, const nibble_table &t)
{
    uint32_t mixed[2];
    look_up_mixed(mixed, v, t);
    u[0] = pick_bytes(mixed[0], mixed[1], 0x6420);
    u[1] = pick_bytes(mixed[0], mixed[1], 0x7531);
}

LANE nibble_table table_iq4()
{
    return {{0xbfad9881, 0xf6eaddcf}, {0x26190d01, 0x71594535}, {0xbfad9881, 0xf6eaddcf}, {0x271a0e02, 0x725a4636}};
}

/* Doubled values. */
LANE nibble_table table_mxfp4()
{
    return {{0x03020100, 0x0c080604}, {0xfdfeff00, 0xf4f8fafc}, {0x04030200, 0x0d090705}, {0xfdfeff00, 0xf4f8fafc}};
}

/* Byte i of a word less `offset`, as a float: 2^23 + the byte is a float32 number whose last byte it is. */
LANE float byte_number(uint32_t v, int i, int offset)
{
    return f32_of_bits(pick_bytes(v, 0x4b000000, 0x7540u | (uint32_t)i)) - (8388608.0f + (float)offset);
}

/* Code i of a word, less the offset. */
template <class F> LANE float strip_number(uint32_t u, int i)
{
    return F::is_signed ? byte_number(u ^ 0x80808080, i, 128) : byte_number(u, i, F::offset);
}

/* The four weights of a word of codes, rounded as the CPU decodes them; but a zero may have the other sign. */
template <class F> LANE void strip_weights(float v[4], uint32_t u, strip_scale s)
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[i] = mul_rounded(s.d, strip_number<F>(u, i));
        if (F::has_min) v[i] = add_rounded(v[i], s.m);
    }
}

/* ---- numbers as they are ---------------------------------------------------------------------------- */

/* Blocks of 32 are for walking alone: a row may end anywhere, and lines from strip_n_lines() on do not exist. */
template <class F> __host__ LANE constexpr int strip_n_lines(int n_cols)
{
    return (n_cols * F::n_step_words + 3) / 4;
}

template <int STEP_WORDS>
struct strip_plain : strip_shape<32, 0, 8 * STEP_WORDS, 1, 0, 8, 0, STEP_WORDS, 0, false, false> {
    static LANE int step_line(int i, int, int step)
    {
        return STEP_WORDS * step + i;
    }
};

template <> struct strip_of<DTYPE_F32> : strip_plain<4> {
    static LANE void numbers(float v[4], const uint32_t *w)
    {
#pragma unroll
        for (int i = 0; i < 4; i++) v[i] = f32_of_bits(w[i]);
    }
};

template <> struct strip_of<DTYPE_F16> : strip_plain<2> {
    static LANE void numbers(float v[4], const uint32_t *w)
    {
        v[0] = f16_low(w[0]), v[1] = f16_high(w[0]);
        v[2] = f16_low(w[1]), v[3] = f16_high(w[1]);
    }
};

template <> struct strip_of<DTYPE_BF16> : strip_plain<2> {
    static LANE void numbers(float v[4], const uint32_t *w)
    {
        v[0] = f32_of_bits(w[0] << 16), v[1] = f32_of_bits(w[0] & 0xffff0000);
        v[2] = f32_of_bits(w[1] << 16), v[3] = f32_of_bits(w[1] & 0xffff0000);
    }
};

/* ---- blocks of 32 ----------------------------------------------------------------------------------- */

/* Four lines of nibbles behind BEFORE others, which all steps need; a head is d. */
template <int HEAD, int BEFORE, int OFFSET, bool SIGNED, bool MIN>
struct strip_nibbles : strip_shape<32, HEAD, BEFORE + 4, 1, 2, 4, BEFORE, 1, OFFSET, SIGNED, MIN> {
    static LANE int head_line(int i, int)
    {
        return i;
    }
    static LANE int step_line(int, int, int step)
    {
        return BEFORE + step;
    }
    static constexpr bool is_shifted = true;
    static __host__ LANE constexpr int shift(int code)
    {
        return 4 * code;
    }
    static LANE void codes(uint32_t u[2], const uint32_t *w, const uint32_t *, int, int)
    {
        u[0] = low_nibbles(w[0]);
        u[1] = high_nibbles(w[0]);
    }
    static LANE void shifted(uint32_t u[2], const uint32_t *w, const uint32_t *, int, int)
    {
        u[0] = w[0] & 0x0f0f0f0f;
        u[1] = w[0] & 0xf0f0f0f0;
    }
    static LANE strip_scale scale(uint32_t head, const uint32_t *h, int, int, int)
    {
        if (MIN) return {f16_low(h[0]), f16_high(h[0])};
        return {f16_low(head), 0};
    }
};

template <int HEAD, int BEFORE, int OFFSET, bool MIN>
struct strip_fifths : strip_nibbles<HEAD, BEFORE, OFFSET, false, MIN> { /* in front of the nibbles: fifth bits */
    static constexpr bool is_shifted = false;
    static __host__ LANE constexpr int shift(int)
    {
        return 0;
    }
    static LANE void codes(uint32_t u[2], const uint32_t *w, const uint32_t *h, int, int step)
    {
        uint32_t fifth = h[BEFORE - 1] >> 4 * step;
        u[0] = low_nibbles(w[0]) | spread_fifth(fifth);
        u[1] = high_nibbles(w[0]) | spread_fifth(fifth >> 16);
    }
};

template <> struct strip_of<DTYPE_Q4_0> : strip_nibbles<2, 0, 8, false, false> {
};

template <> struct strip_of<DTYPE_Q4_1> : strip_nibbles<0, 1, 0, false, true> {
};

template <> struct strip_of<DTYPE_Q5_0> : strip_fifths<2, 1, 16, false> {
};

template <> struct strip_of<DTYPE_Q5_1> : strip_fifths<0, 2, 0, true> {
};

/* Nibbles that are looked up. */
template <int HEAD> struct strip_looked_up : strip_nibbles<HEAD, 0, 0, true, false> {
    static constexpr bool is_mixed = true, is_shifted = false;
    static __host__ LANE constexpr int shift(int)
    {
        return 0;
    }
};

template <> struct strip_of<DTYPE_IQ4_NL> : strip_looked_up<2> {
    static LANE nibble_table table()
    {
        return table_iq4();
    }
    static LANE void codes(uint32_t u[2], const uint32_t *w, const uint32_t *, int, int)
    {
        look_up_nibbles(u, w[0], table());
    }
};

template <> struct strip_of<DTYPE_MXFP4> : strip_looked_up<1> {
    static LANE nibble_table table()
    {
        return table_mxfp4();
    }
    static LANE void codes(uint32_t u[2], const uint32_t *w, const uint32_t *, int, int)
    {
        look_up_nibbles(u, w[0], table());
    }
    /* 2^(e - 128), NaN for e = 255: half of 2^(e - 127), which is subnormal for e = 0 and infinite for 255. */
    static LANE strip_scale scale(uint32_t e, const uint32_t *, int, int, int)
    {
        float twice = f32_of_bits(max(e << 23, 0x00400000u));
        return {fmaf(twice, 0.5f, twice - twice), 0};
    }
};

template <> struct strip_of<DTYPE_Q8_0> : strip_shape<32, 2, 8, 1, 1, 8, 0, 1, 0, true, false> {
    static LANE int head_line(int i, int)
    {
        return i;
    }
    static LANE int step_line(int, int, int step)
    {
        return step;
    }
    static LANE void codes(uint32_t u[1], const uint32_t *w, const uint32_t *, int, int)
    {
        u[0] = w[0];
    }
    static LANE strip_scale scale(uint32_t head, const uint32_t *, int, int, int)
    {
        return {f16_low(head), 0};
    }
};

/* ---- blocks of 256 ---------------------------------------------------------------------------------- */

/* One byte for each of four codes: two words hold them for both halves. */
LANE uint32_t of_half(uint32_t first, uint32_t second, int half)
{
    return pick_bytes(first, second, half ? 0x7531 : 0x6420);
}

template <> struct strip_of<DTYPE_Q2_K> : strip_shape<256, 0, 21, 2, 4, 8, 3, 1, 0, false, true> {
    static LANE int head_line(int i, int set) /* d and dmin; scales and minima of the set */
    {
        return i == 0 ? 0 : 2 * set + i;
    }
    static LANE int step_line(int, int set, int step)
    {
        return 5 + 8 * set + step;
    }
    static LANE void codes(uint32_t u[4], const uint32_t *w, const uint32_t *, int, int)
    {
#pragma unroll
        for (int c = 0; c < 4; c++) u[c] = w[0] >> 2 * c & 0x03030303;
    }
    static constexpr bool is_shifted = true;
    static __host__ LANE constexpr int shift(int code)
    {
        return 2 * code;
    }
    static LANE void shifted(uint32_t u[4], const uint32_t *w, const uint32_t *, int, int)
    {
#pragma unroll
        for (int c = 0; c < 4; c++) u[c] = w[0] & 0x03030303u << 2 * c;
    }
    static LANE strip_scale scale(uint32_t, const uint32_t *h, int, int half, int code)
    {
        uint32_t all = of_half(h[1], h[2], half), d = low_nibbles(all), m = high_nibbles(all);
        return {mul_rounded(f16_low(h[0]), byte_number(d, code, 0)),
                mul_rounded(-f16_high(h[0]), byte_number(m, code, 0))};
    }
};

template <> struct strip_of<DTYPE_Q3_K> : strip_shape<256, 2, 27, 2, 4, 8, 3, 2, 4, false, false> {
    static LANE int head_line(int i, int) /* low bits of scales, twice; high ones */
    {
        return i;
    }
    static LANE int step_line(int i, int set, int step) /* two bits; third bits, which both sets need */
    {
        if (i == 1) return 3 + 2 * step;
        return set == 0 ? 4 + 2 * step : 19 + step;
    }
    static LANE void codes(uint32_t u[4], const uint32_t *w, const uint32_t *, int set, int)
    {
        uint32_t third = w[1] >> 4 * set;
#pragma unroll
        for (int c = 0; c < 4; c++) u[c] = (w[0] >> 2 * c & 0x03030303) | (third >> c & 0x01010101) << 2;
    }
    static constexpr bool is_shifted = true;
    static __host__ LANE constexpr int shift(int code)
    {
        return code < 3 ? 2 * code : 5;
    }
    static LANE void shifted(uint32_t u[4], const uint32_t *w, const uint32_t *, int set, int)
    {
        uint32_t third = w[1] >> 4 * set;
        u[0] = (w[0] & 0x03030303) | (third << 2 & 0x04040404);
        u[1] = (w[0] & 0x0c0c0c0c) | (third << 3 & 0x10101010);
        u[2] = (w[0] & 0x30303030) | (third << 4 & 0x40404040);
        u[3] = (w[0] >> 1 & 0x60606060) | (third << 4 & 0x80808080);
    }
    static LANE strip_scale scale(uint32_t head, const uint32_t *h, int set, int half, int code)
    {
        uint32_t low = of_half(h[0], h[1], half) >> 4 * set & 0x0f0f0f0f;
        uint32_t high = of_half(h[2], h[2] >> 2, half) >> 4 * set & 0x03030303;
        return {mul_rounded(f16_low(head), byte_number(low | high << 4, code, 32)), 0};
    }
};

/* d and dmin; eight scales and eight minima of 6 bits: four of each, and atop these the high bits of the others. */
template <int WORDS, int STEP_WORDS>
struct strip_k45 : strip_shape<256, 0, WORDS, 4, 2, 8, 4, STEP_WORDS, 0, false, true> {
    static LANE int head_line(int i, int)
    {
        return i;
    }
    static LANE strip_scale scale(uint32_t, const uint32_t *h, int set, int, int code)
    {
        bool late = set >= 2; /* one of the others */
        uint32_t pair = set & 1 ? 0x7632 : 0x5410; /* two scales and two minima */
        uint32_t first = pick_bytes(h[1], h[2], pair), other = pick_bytes(h[3], h[3] >> 4, pair);
        uint32_t all = (first & (late ? 0 : 0x3f3f3f3f)) | (first >> 2 & (late ? 0x30303030 : 0)) |
                       (other & (late ? 0x0f0f0f0f : 0));
        return {mul_rounded(f16_low(h[0]), byte_number(all, code, 0)),
                mul_rounded(-f16_high(h[0]), byte_number(all, 2 + code, 0))};
    }
};

template <> struct strip_of<DTYPE_Q4_K> : strip_k45<36, 1> {
    static LANE int step_line(int, int set, int step)
    {
        return 4 + 8 * set + step;
    }
    static LANE void codes(uint32_t u[2], const uint32_t *w, const uint32_t *, int, int)
    {
        u[0] = low_nibbles(w[0]);
        u[1] = high_nibbles(w[0]);
    }
    static constexpr bool is_shifted = true;
    static __host__ LANE constexpr int shift(int code)
    {
        return 4 * code;
    }
    static LANE void shifted(uint32_t u[2], const uint32_t *w, const uint32_t *, int, int)
    {
        u[0] = w[0] & 0x0f0f0f0f;
        u[1] = w[0] & 0xf0f0f0f0;
    }
};

template <> struct strip_of<DTYPE_Q5_K> : strip_k45<44, 2> {
    static LANE int step_line(int i, int set, int step) /* nibbles; fifth bits, which all sets need */
    {
        if (i == 1) return 4 + 2 * step;
        return set == 0 ? 5 + 2 * step : 12 + 8 * set + step;
    }
    static LANE void codes(uint32_t u[2], const uint32_t *w, const uint32_t *, int set, int)
    {
        uint32_t fifth = w[1] >> 2 * set;
        u[0] = low_nibbles(w[0]) | (fifth & 0x01010101) << 4;
        u[1] = high_nibbles(w[0]) | (fifth & 0x02020202) << 3;
    }
    static constexpr bool is_shifted = true;
    static __host__ LANE constexpr int shift(int code)
    {
        return code;
    }
    static LANE void shifted(uint32_t u[2], const uint32_t *w, const uint32_t *, int set, int)
    {
        uint32_t fifth = rotate_left(w[1], 4 - 2 * set);
        u[0] = (w[0] & 0x0f0f0f0f) | (fifth & 0x10101010);
        u[1] = (w[0] >> 3 & 0x1e1e1e1e) | (fifth & 0x20202020);
    }
};

template <> struct strip_of<DTYPE_Q6_K> : strip_shape<256, 2, 52, 2, 4, 8, 2, 3, 32, false, false> {
    static LANE int head_line(int i, int set) /* eight signed scales */
    {
        return 2 * set + i;
    }
    static LANE int step_line(int i, int set, int step) /* nibbles of two codes each, twice; high bits of all four */
    {
        return 4 + 24 * set + 3 * step + i;
    }
    static LANE void codes(uint32_t u[4], const uint32_t *w, const uint32_t *, int, int)
    {
        u[0] = low_nibbles(w[0]) | two_atop(w[2], 0);
        u[1] = low_nibbles(w[1]) | two_atop(w[2], 1);
        u[2] = high_nibbles(w[0]) | two_atop(w[2], 2);
        u[3] = high_nibbles(w[1]) | two_atop(w[2], 3);
    }
    static LANE strip_scale scale(uint32_t head, const uint32_t *h, int, int half, int code)
    {
        uint32_t all = of_half(h[0], h[1], half) ^ 0x80808080;
        return {mul_rounded(f16_low(head), byte_number(all, code, 128)), 0};
    }
};

template <> struct strip_of<DTYPE_IQ4_XS> : strip_shape<256, 0, 34, 8, 2, 4, 2, 1, 0, true, false> {
    static constexpr bool is_mixed = true;
    static LANE nibble_table table()
    {
        return table_iq4();
    }
    static LANE int head_line(int i, int) /* d and high bits of scales; low ones */
    {
        return i;
    }
    static LANE int step_line(int, int set, int step)
    {
        return 2 + 4 * set + step;
    }
    static LANE void codes(uint32_t u[2], const uint32_t *w, const uint32_t *, int, int)
    {
        look_up_nibbles(u, w[0], table());
    }
    static LANE strip_scale scale(uint32_t, const uint32_t *h, int set, int, int)
    {
        uint32_t six = (h[1] >> 4 * set & 15) | (h[0] >> (16 + 2 * set) & 3) << 4;
        return {mul_rounded(f16_low(h[0]), byte_number(six, 0, 32)), 0};
    }
};

#endif
