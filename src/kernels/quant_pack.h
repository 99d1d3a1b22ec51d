/* quant_pack.h - what the encoders of the 256-element formats share: rounding, the scales of groups, and where
 * the bits go.  How a group's scale is found is each encoder's own. */
#ifndef QUANT_PACK_H
#define QUANT_PACK_H

#include <math.h>
#include <string.h>

#include "blocks.h"
#include "convert.h"

/* 0 where 1 / d would overflow; so small a d is zero as f16. */
static inline float inverse(float d)
{
    return fabsf(d) >= 0x1p-126f ? 1 / d : 0;
}

static inline float limited(float x, float least, float most)
{
    float x_or_least = x > least ? x : least; /* NaN becomes least */
    return x_or_least < most ? x_or_least : most;
}

/* To the nearest whole number, of two the even one; |x| < 2^22.  Faster than rintf() without SSE 4.1. */
static inline float nearest_whole(float x)
{
    return x + 0x1.8p23f - 0x1.8p23f;
}

static inline int to_code(float x, int least, int most)
{
    return (int)nearest_whole(limited(x, (float)least, (float)most));
}

/* ---- scales of groups -------------------------------------------------------------------------- */

struct k_scales { /* w = d scale q - dmin min */
    uint8_t scale[16], min[16];
    uint16_t d, dmin; /* f16 */
};

static inline float largest_of(const float *x, int n)
{
    float top = 0;
    for (int i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    return top;
}

/* Scales and minima as 0..levels against one f16 number each. */
static inline void round_scales(struct k_scales *s, const float *scales, const float *mins, int n_groups, int levels)
{
    float top_scale = largest_of(scales, n_groups), top_min = largest_of(mins, n_groups);
    s->d = f16_of_float(top_scale / (float)levels);
    s->dmin = f16_of_float(top_min / (float)levels);
    for (int g = 0; g < n_groups; g++) {
        s->scale[g] = (uint8_t)to_code(scales[g] * inverse(top_scale) * (float)levels, 0, levels);
        s->min[g] = (uint8_t)to_code(mins[g] * inverse(top_min) * (float)levels, 0, levels);
    }
}

/* Signed scales of 16 groups as -half..half-1 against the returned f16. */
static inline uint16_t round_signed_scales(int *scale, const float *scales, int half)
{
    float top = 0;
    for (int g = 0; g < 16; g++)
        if (fabsf(scales[g]) > fabsf(top)) top = scales[g];
    uint16_t d = f16_of_float(top / (float)-half);
    float id = inverse(float_of_f16(d));
    for (int g = 0; g < 16; g++) scale[g] = to_code(scales[g] * id, -half, half - 1);
    return d;
}

/* ---- bits -------------------------------------------------------------------------------------- */

/* The twelve bytes of eight (scale, min) of six bits. */
static inline void pack_k4_scales(uint8_t *packed, const struct k_scales *s)
{
    for (int g = 0; g < 4; g++) {
        packed[g] = (uint8_t)(s->scale[g] | s->scale[g + 4] >> 4 << 6);
        packed[g + 4] = (uint8_t)(s->min[g] | s->min[g + 4] >> 4 << 6);
        packed[g + 8] = (uint8_t)((s->scale[g + 4] & 15) | (s->min[g + 4] & 15) << 4);
    }
}

/* Four low bits of 256 codes. */
static inline void pack_k4_low(uint8_t *restrict qs, const uint8_t *restrict q)
{
    for (int j = 0; j < 4; j++)
        for (int l = 0; l < 32; l++) qs[32 * j + l] = (uint8_t)((q[64 * j + l] & 15) | q[64 * j + 32 + l] << 4);
}

/* Bit 4 of 256 codes. */
static inline void pack_k5_high(uint8_t *restrict qh, const uint8_t *restrict q)
{
    memset(qh, 0, 32);
    for (int g = 0; g < 8; g++)
        for (int l = 0; l < 32; l++) qh[l] = (uint8_t)(qh[l] | q[32 * g + l] >> 4 << g);
}

static inline void pack_q6(struct block_q6_k *restrict b, const uint8_t *restrict q)
{
    for (int half = 0; half < 2; half++, q += 128)
        for (int l = 0; l < 32; l++) {
            b->ql[64 * half + l] = (uint8_t)((q[l] & 15) | q[64 + l] << 4);
            b->ql[64 * half + 32 + l] = (uint8_t)((q[32 + l] & 15) | q[96 + l] << 4);
            b->qh[32 * half + l] =
                (uint8_t)(q[l] >> 4 | q[32 + l] >> 4 << 2 | q[64 + l] >> 4 << 4 | q[96 + l] >> 4 << 6);
        }
}

#endif
