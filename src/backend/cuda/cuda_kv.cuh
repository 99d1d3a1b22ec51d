/* cuda_kv.cuh - rows of the cache as kernels see them: where one lies, how it is read, how it is written.
 *
 * A page is [K, KV_PAGE, row bytes].  A row may have any even number of bytes, so a row by itself is aligned to 2 bytes
 * and no more; but 8 rows together are a multiple of 16, and a head's part of a page begins on 16.  Whoever wants wide
 * loads copies rows by eights and reads them from shared memory.
 *
 * Written numbers are those of encode in kernels/scalar, bit for bit. */
#ifndef CUDA_KV_CUH
#define CUDA_KV_CUH

#include "cuda_backend.h"
#include "lane.cuh"

/* ---- where a row lies -------------------------------------------------------------------------------- */

/* The page of positions [nth * KV_PAGE, ...) of a sequence. */
LANE size_t kv_page(const struct cuda_batch &batch, const struct kv_layer &kv, int seq, int nth)
{
    return kv.ring_pages ? (size_t)(seq * kv.ring_pages + nth % kv.ring_pages)
                         : (size_t)batch.page_table[(size_t)seq * (size_t)batch.max_pages + (size_t)nth];
}

/* Position `at` of a sequence in the keys, or the values, of one head. */
LANE char *kv_row(const struct cuda_batch &batch, const struct kv_layer &kv, bool values, int seq, int head, int at)
{
    size_t page = kv_page(batch, kv, seq, at / KV_PAGE), row = (size_t)(head * KV_PAGE + at % KV_PAGE);
    return values ? kv.v + page * kv.v_page_bytes + row * kv.v_row_bytes
                  : kv.k + page * kv.k_page_bytes + row * kv.k_row_bytes;
}

/* ---- reading ----------------------------------------------------------------------------------------- */

/* Eight bytes from an even address, as two words. */
LANE uint2 kv_bytes8(const char *p)
{
    const uint32_t *word = (const uint32_t *)((uintptr_t)p & ~(uintptr_t)3);
    uint2 low = {word[0], word[1]};
    if (((uintptr_t)p & 2) == 0) return low;
    uint32_t last = word[2];
    return {pick_bytes(low.x, low.y, 0x5432), pick_bytes(low.y, last, 0x5432)};
}

/* Byte i of a word as a number, 0 to 255: 2^23 + byte is a float32 number whose last byte it is. */
LANE float kv_byte(uint32_t word, int i)
{
    return f32_of_bits(pick_bytes(word, 0x4b000000u, 0x7540u | (uint32_t)i)) - 8388608.0f;
}

/* Numbers c to c + 7 of a row of d, zeros from d on.  wide: d is a multiple of 8 and the row lies on 16 bytes.  c is a
 * multiple of 8; a row of a quantised type has whole blocks. */
template <enum dtype TYPE> LANE void kv_read8(float out[8], const char *row, int c, int d, bool wide);

template <> LANE void kv_read8<DTYPE_F32>(float out[8], const char *row, int c, int d, bool wide)
{
    const float *x = (const float *)row + c;
    if (wide) {
        float4 a = {}, b = {};
        if (c < d) {
            a = ((const float4 *)x)[0];
            b = ((const float4 *)x)[1];
        }
        out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
        out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
        return;
    }
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = c + i < d ? x[i] : 0;
}

/* Eight numbers of 16 bits in four words. */
LANE uint4 kv_halves8(const char *row, int c, int d, bool wide)
{
    const uint16_t *x = (const uint16_t *)row + c;
    if (wide) {
        uint4 zeros = {};
        return c < d ? *(const uint4 *)x : zeros;
    }
    uint32_t w[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint32_t low = c + 2 * i < d ? x[2 * i] : 0, high = c + 2 * i + 1 < d ? x[2 * i + 1] : 0;
        w[i] = low | high << 16;
    }
    return {w[0], w[1], w[2], w[3]};
}

template <> LANE void kv_read8<DTYPE_F16>(float out[8], const char *row, int c, int d, bool wide)
{
    uint4 h = kv_halves8(row, c, d, wide);
    const uint32_t w[4] = {h.x, h.y, h.z, h.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        out[2 * i] = f32_of_f16((uint16_t)w[i]);
        out[2 * i + 1] = f32_of_f16((uint16_t)(w[i] >> 16));
    }
}

template <> LANE void kv_read8<DTYPE_BF16>(float out[8], const char *row, int c, int d, bool wide)
{
    uint4 h = kv_halves8(row, c, d, wide);
    const uint32_t w[4] = {h.x, h.y, h.z, h.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        out[2 * i] = f32_of_bits(w[i] << 16);
        out[2 * i + 1] = f32_of_bits(w[i] & 0xffff0000u);
    }
}

LANE void kv_zeros8(float out[8])
{
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = 0;
}

/* A code of eight bits times a scale of eleven is exact in float32. */
template <> LANE void kv_read8<DTYPE_Q8_0>(float out[8], const char *row, int c, int d, bool)
{
    if (c >= d) return kv_zeros8(out);
    const char *block = row + c / 32 * 34;
    float scale = f32_of_f16(*(const uint16_t *)block);
    uint2 codes = kv_bytes8(block + 2 + c % 32);
    codes.x ^= 0x80808080u; /* -128..127 to 0..255 */
    codes.y ^= 0x80808080u;
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = (kv_byte(i < 4 ? codes.x : codes.y, i % 4) - 128.0f) * scale;
}

template <> LANE void kv_read8<DTYPE_Q4_0>(float out[8], const char *row, int c, int d, bool)
{
    if (c >= d) return kv_zeros8(out);
    const char *block = row + c / 32 * 18;
    float scale = f32_of_f16(*(const uint16_t *)block);
    uint2 codes = kv_bytes8(block + 2 + c % 16); /* number 16 + i is in the high half of byte i */
    int shift = c % 32 / 16 * 4;
    codes.x = codes.x >> shift & 0x0f0f0f0fu;
    codes.y = codes.y >> shift & 0x0f0f0f0fu;
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = (kv_byte(i < 4 ? codes.x : codes.y, i % 4) - 8.0f) * scale;
}

/* The same eight rounded to BF16, in four words. */
template <enum dtype TYPE> LANE uint4 kv_read8_bf16(const char *row, int c, int d, bool wide)
{
    if (TYPE == DTYPE_BF16) return kv_halves8(row, c, d, wide);
    float x[8];
    kv_read8<TYPE>(x, row, c, d, wide);
    return {bf16x2_of_f32(x[0], x[1]), bf16x2_of_f32(x[2], x[3]), bf16x2_of_f32(x[4], x[5]),
            bf16x2_of_f32(x[6], x[7])};
}

/* ---- writing ----------------------------------------------------------------------------------------- */

LANE bool kv_is_finite(float x)
{
    return (bits_of_f32(x) & 0x7f800000u) != 0x7f800000u;
}

LANE bool kv_is_nan(float x)
{
    return (bits_of_f32(x) & 0x7fffffffu) > 0x7f800000u;
}

/* A NaN keeps its sign and what fits of its bits. */
LANE uint16_t kv_f16(float x)
{
    uint32_t bits = bits_of_f32(x);
    return kv_is_nan(x) ? (uint16_t)((bits >> 16 & 0x8000) | 0x7e00 | (bits >> 13 & 0x3ff)) : f16_of_f32(x);
}

LANE uint16_t kv_bf16(float x)
{
    return kv_is_nan(x) ? (uint16_t)(bits_of_f32(x) >> 16 | 0x40) : bf16_of_f32(x);
}

enum { KV_F16_NAN = 0x7e00 }; /* the scale of a block in which something is not finite */

/* The number of largest magnitude in a warp, with its sign; the first among equals. */
LANE float kv_warp_extreme(float x)
{
    float top = warp_max(fabsf(x));
    int first = fabsf(x) == top ? lane_id() : 31;
    for (int m = 16; m > 0; m /= 2) {
        int other = warp_xor(first, m);
        first = MIN(first, other);
    }
    x = warp_from(x, first);
    return top > 0 ? x : 0;
}

LANE float kv_inverse(float d)
{
    return fabsf(d) >= 0x1p-126f ? 1 / d : 0;
}

LANE void kv_store_block_q8_0(char *block, float x)
{
    int lane = lane_id(), whole = 0;
    float d = warp_max(fabsf(x)) / 127, id = kv_inverse(d);
    bool finite = warp_ballot(!kv_is_finite(x)) == 0;
    if (finite) {
        float y = mul_rounded(x, id);
        whole = (int)y;
        float rest = y - (float)whole;
        whole += (rest >= 0.5f) - (rest <= -0.5f);
    }
    block[2 + lane] = (char)whole;
    if (lane == 0) *(uint16_t *)block = finite ? f16_of_f32(d) : (uint16_t)KV_F16_NAN;
}

LANE void kv_store_block_q4_0(char *block, float x)
{
    int lane = lane_id(), q = 0;
    bool finite = warp_ballot(!kv_is_finite(x)) == 0;
    float d = kv_warp_extreme(finite ? x : 0) / -8;
    if (finite) {
        q = (int)(int8_t)(int)(mul_rounded(x, kv_inverse(d)) + 8.5f);
        q = q < 15 ? q : 15;
    }
    int high = warp_xor(q, 16);
    if (lane < 16) block[2 + lane] = (char)((q & 15) | (high & 15) << 4);
    if (lane == 0) *(uint16_t *)block = finite ? f16_of_f32(d) : (uint16_t)KV_F16_NAN;
}

/* A warp writes a head of d numbers into its slot, a row's padding included: kv_row() of the token's own position.
 * head may lie in shared memory. */
LANE void kv_store_warp(enum dtype type, char *slot, const float *head, int d)
{
    int lane = lane_id();
    switch (type) {
    case DTYPE_F16:
        for (int i = lane; i < d; i += 32) ((uint16_t *)slot)[i] = kv_f16(head[i]);
        break;
    case DTYPE_BF16:
        for (int i = lane; i < d; i += 32) ((uint16_t *)slot)[i] = kv_bf16(head[i]);
        break;
    case DTYPE_Q8_0:
        for (int i = 0; i < d; i += 32, slot += 34) kv_store_block_q8_0(slot, i + lane < d ? head[i + lane] : 0);
        break;
    case DTYPE_Q4_0:
        for (int i = 0; i < d; i += 32, slot += 18) kv_store_block_q4_0(slot, i + lane < d ? head[i + lane] : 0);
        break;
    default: /* F32 */
        for (int i = lane; i < d; i += 32) ((uint32_t *)slot)[i] = bits_of_f32(head[i]);
        break;
    }
}

#endif
