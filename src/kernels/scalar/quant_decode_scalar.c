/* quant_decode_scalar.c - what the bits of every element type mean.  Layouts: blocks.h. */
#include <string.h>

#include "blocks.h"
#include "convert.h"
#include "parts_scalar.h"
#include "quant_values.h"

const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const int8_t mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void scale_min_k4(const uint8_t *p, int j, uint8_t *scale, uint8_t *min)
{
    if (j < 4) {
        *scale = p[j] & 63;
        *min = p[j + 4] & 63;
    } else { /* low four bits in the last bytes, high two atop the first */
        *scale = (uint8_t)((p[j + 4] & 15) | p[j - 4] >> 6 << 4);
        *min = (uint8_t)(p[j + 4] >> 4 | p[j] >> 6 << 4);
    }
}

/* ---- 32 elements: low nibbles first, then high ones ------------------------------------------- */

static void nibbles(struct unpacked *u, const uint8_t *qs, int offset, float d, float m)
{
    u->n = u->group = 32;
    u->d[0] = d;
    u->m[0] = m;
    for (int i = 0; i < 16; i++) {
        u->q[i] = (int8_t)((qs[i] & 15) - offset);
        u->q[i + 16] = (int8_t)((qs[i] >> 4) - offset);
    }
}

static void add_fifth_bits(struct unpacked *u, const uint8_t *qh)
{
    for (int i = 0; i < 32; i++) u->q[i] = (int8_t)(u->q[i] + ((qh[i / 8] >> i % 8 & 1) << 4));
}

static void unpack_q4_0(struct unpacked *u, const void *block)
{
    const struct block_q4_0 *b = block;
    nibbles(u, b->qs, 8, float_of_f16(b->d), 0);
}

static void unpack_q4_1(struct unpacked *u, const void *block)
{
    const struct block_q4_1 *b = block;
    nibbles(u, b->qs, 0, float_of_f16(b->d), float_of_f16(b->m));
}

static void unpack_q5_0(struct unpacked *u, const void *block)
{
    const struct block_q5_0 *b = block;
    nibbles(u, b->qs, 16, float_of_f16(b->d), 0);
    add_fifth_bits(u, b->qh);
}

static void unpack_q5_1(struct unpacked *u, const void *block)
{
    const struct block_q5_1 *b = block;
    nibbles(u, b->qs, 0, float_of_f16(b->d), float_of_f16(b->m));
    add_fifth_bits(u, b->qh);
}

static void unpack_q8_0(struct unpacked *u, const void *block)
{
    const struct block_q8_0 *b = block;
    u->n = u->group = 32;
    u->d[0] = float_of_f16(b->d);
    u->m[0] = 0;
    memcpy(u->q, b->qs, 32);
}

static void look_up(int8_t *q, const uint8_t *qs, const int8_t *values)
{
    for (int i = 0; i < 16; i++) {
        q[i] = values[qs[i] & 15];
        q[i + 16] = values[qs[i] >> 4];
    }
}

static void unpack_iq4_nl(struct unpacked *u, const void *block)
{
    const struct block_iq4_nl *b = block;
    u->n = u->group = 32;
    u->d[0] = float_of_f16(b->d);
    u->m[0] = 0;
    look_up(u->q, b->qs, iq4_values);
}

static void unpack_mxfp4(struct unpacked *u, const void *block)
{
    const struct block_mxfp4 *b = block;
    u->n = u->group = 32;
    u->d[0] = 0.5f * float_of_e8m0(b->e);
    u->m[0] = 0;
    look_up(u->q, b->qs, mxfp4_values);
}

/* ---- 256 elements ----------------------------------------------------------------------------- */

static void unpack_q2_k(struct unpacked *u, const void *block)
{
    const struct block_q2_k *b = block;
    float d = float_of_f16(b->d), dmin = float_of_f16(b->dmin);
    u->n = 256;
    u->group = 16;
    for (int g = 0; g < 16; g++) {
        u->d[g] = d * (float)(b->scales[g] & 15);
        u->m[g] = -dmin * (float)(b->scales[g] >> 4);
    }
    for (int i = 0; i < 256; i++)
        u->q[i] = (int8_t)(b->qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3);
}

static void unpack_q3_k(struct unpacked *u, const void *block)
{
    const struct block_q3_k *b = block;
    float d = float_of_f16(b->d);
    u->n = 256;
    u->group = 16;
    for (int g = 0; g < 16; g++) {
        int low = b->scales[g % 8] >> (g / 8 * 4) & 15, high = b->scales[8 + g % 4] >> (g / 4 * 2) & 3;
        u->d[g] = d * (float)((low | high << 4) - 32);
        u->m[g] = 0;
    }
    for (int i = 0; i < 256; i++) {
        int low = b->qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
        u->q[i] = (int8_t)(low - (b->hmask[i % 32] >> (i / 32) & 1 ? 0 : 4));
    }
}

static void k4_scales(struct unpacked *u, uint16_t d, uint16_t dmin, const uint8_t *packed)
{
    u->n = 256;
    u->group = 32;
    for (int g = 0; g < 8; g++) {
        uint8_t scale, min;
        scale_min_k4(packed, g, &scale, &min);
        u->d[g] = float_of_f16(d) * (float)scale;
        u->m[g] = -float_of_f16(dmin) * (float)min;
    }
}

static void k4_nibbles(struct unpacked *u, const uint8_t *qs)
{
    for (int i = 0; i < 256; i++)
        u->q[i] = (int8_t)(qs[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15);
}

static void unpack_q4_k(struct unpacked *u, const void *block)
{
    const struct block_q4_k *b = block;
    k4_scales(u, b->d, b->dmin, b->scales);
    k4_nibbles(u, b->qs);
}

static void unpack_q5_k(struct unpacked *u, const void *block)
{
    const struct block_q5_k *b = block;
    k4_scales(u, b->d, b->dmin, b->scales);
    k4_nibbles(u, b->qs);
    for (int i = 0; i < 256; i++)
        u->q[i] = (int8_t)(u->q[i] + ((b->qh[i % 32] >> (i / 32) & 1) << 4));
}

static void unpack_q6_k(struct unpacked *u, const void *block)
{
    const struct block_q6_k *b = block;
    u->n = 256;
    u->group = 16;
    for (int g = 0; g < 16; g++) {
        u->d[g] = float_of_f16(b->d) * (float)b->scales[g];
        u->m[g] = 0;
    }
    for (int i = 0; i < 256; i++) {
        int half = i / 128, part = i % 128 / 32, l = i % 32;
        int low = b->ql[64 * half + 32 * (part & 1) + l] >> (part >> 1) * 4 & 15;
        int high = b->qh[32 * half + l] >> part * 2 & 3;
        u->q[i] = (int8_t)((low | high << 4) - 32);
    }
}

static void unpack_iq4_xs(struct unpacked *u, const void *block)
{
    const struct block_iq4_xs *b = block;
    u->n = 256;
    u->group = 32;
    for (int g = 0; g < 8; g++) {
        int scale = (b->scales_l[g / 2] >> (g % 2 * 4) & 15) | (b->scales_h >> 2 * g & 3) << 4;
        u->d[g] = float_of_f16(b->d) * (float)(scale - 32);
        u->m[g] = 0;
        look_up(u->q + 32 * g, b->qs + 16 * g, iq4_values);
    }
}

unpack_fn *const unpack_scalar[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = unpack_q4_0,     [DTYPE_Q4_1] = unpack_q4_1,     [DTYPE_Q5_0] = unpack_q5_0,
    [DTYPE_Q5_1] = unpack_q5_1,     [DTYPE_Q8_0] = unpack_q8_0,     [DTYPE_Q2_K] = unpack_q2_k,
    [DTYPE_Q3_K] = unpack_q3_k,     [DTYPE_Q4_K] = unpack_q4_k,     [DTYPE_Q5_K] = unpack_q5_k,
    [DTYPE_Q6_K] = unpack_q6_k,     [DTYPE_IQ4_NL] = unpack_iq4_nl, [DTYPE_IQ4_XS] = unpack_iq4_xs,
    [DTYPE_MXFP4] = unpack_mxfp4,
};

/* ---- rows -------------------------------------------------------------------------------------- */

void decode_f32_scalar(float *dst, const void *src, size_t n)
{
    memcpy(dst, src, n * sizeof *dst);
}

void decode_f16_scalar(float *dst, const void *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, (const char *)src + 2 * i, sizeof h);
        dst[i] = float_of_f16(h);
    }
}

void decode_bf16_scalar(float *dst, const void *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, (const char *)src + 2 * i, sizeof h);
        dst[i] = float_of_bf16(h);
    }
}

static inline void decode_blocks(float *dst, const char *src, size_t n, size_t block_bytes, unpack_fn *unpack)
{
    struct unpacked u;
    for (size_t at = 0; at < n; at += (size_t)u.n, src += block_bytes) {
        unpack(&u, src);
        for (int i = 0; i < u.n; i++)
            dst[at + (size_t)i] = u.d[i / u.group] * (float)u.q[i] + u.m[i / u.group];
    }
}

#define DECODE(name, block)                                                                         \
    void decode_##name##_scalar(float *dst, const void *src, size_t n)                              \
    {                                                                                               \
        decode_blocks(dst, src, n, sizeof(struct block), unpack_##name);                            \
    }
DECODE(q4_0, block_q4_0)
DECODE(q4_1, block_q4_1)
DECODE(q5_0, block_q5_0)
DECODE(q5_1, block_q5_1)
DECODE(q8_0, block_q8_0)
DECODE(q2_k, block_q2_k)
DECODE(q3_k, block_q3_k)
DECODE(q4_k, block_q4_k)
DECODE(q5_k, block_q5_k)
DECODE(q6_k, block_q6_k)
DECODE(iq4_nl, block_iq4_nl)
DECODE(iq4_xs, block_iq4_xs)
DECODE(mxfp4, block_mxfp4)
