/* quant_pack.h - what the encoders of the 256-element formats share: rounding, the scales of groups, and where
 * the bits go.  How a group's scale is found is each encoder's own. */
#ifndef QUANT_PACK_H
#define QUANT_PACK_H

#include <math.h>
#include <stdbool.h>
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

/* ---- the same by weights ----------------------------------------------------------------------- */

/* Of a block: what every element counts for beside its own square.  Eight sums, so that compilers make a vector
 * of them; always these eight. */
static inline float twice_mean_square(const float *x, int n)
{
    float part[8] = {0}, sum = 0;
    for (int i = 0; i < n; i += 8)
        for (int j = 0; j < 8; j++) part[j] += x[i + j] * x[i + j];
    for (int j = 0; j < 8; j++) sum += part[j];
    return 2 * sum / (float)n;
}

struct trial { /* x ~ d code: sums of weight times x code, and times code^2; d = cross / square */
    float cross, square;
};

/* The least squares take away cross^2 / square of the weighted square of x: whether a takes more than b. */
static inline bool takes_more(struct trial a, struct trial b)
{
    return a.square > 0 && a.cross * a.cross * b.square > b.cross * b.cross * a.square;
}

/* Every code in turn against the factor that the others want. */
static inline bool improve_codes(struct trial *t, int *code, const float *x, const float *weight, int n, int least,
                                 int most)
{
    bool changed = false;
    for (int i = 0; i < n; i++) {
        float was = (float)code[i];
        struct trial rest = {t->cross - weight[i] * x[i] * was, t->square - weight[i] * was * was};
        int now = to_code(x[i] * rest.square * inverse(rest.cross), least, most);
        struct trial with = {rest.cross + weight[i] * x[i] * (float)now,
                             rest.square + weight[i] * (float)now * (float)now};
        if (now == code[i] || !(rest.square > 0) || !takes_more(with, *t)) continue;
        code[i] = now;
        *t = with;
        changed = true;
    }
    return changed;
}

/* x ~ d code by weighted least squares, codes least..most; top, the extreme of x, is tried at and around `end`. */
static inline float fit_codes(int *code, const float *x, const float *weight, int n, int least, int most, float top,
                              int end)
{
    struct trial best = {0, 0};
    int q[16];
    for (int i = 0; i < n; i++) code[i] = 0;
    for (int trial = -9; trial <= 9; trial++) {
        float id = ((float)end + 0.1f * (float)trial) * inverse(top);
        struct trial t = {0, 0};
        for (int i = 0; i < n; i++) {
            q[i] = to_code(x[i] * id, least, most);
            t.cross += weight[i] * x[i] * (float)q[i];
            t.square += weight[i] * (float)q[i] * (float)q[i];
        }
        if (best.square > 0 ? !takes_more(t, best) : !(t.square > 0)) continue;
        best = t;
        memcpy(code, q, (size_t)n * sizeof *q);
    }
    for (int round = 0; round < 4 && improve_codes(&best, code, x, weight, n, least, most); round++) continue;
    return best.square > 0 ? best.cross / best.square : 0;
}

/* round_scales() by what an error of each scale and of each minimum costs. */
static inline void round_scales_weighted(struct k_scales *s, const float *scales, const float *mins,
                                         const float *cost_d, const float *cost_m, int n_groups, int levels)
{
    int code[16];
    s->d = f16_of_float(
        fit_codes(code, scales, cost_d, n_groups, 0, levels, largest_of(scales, n_groups), levels));
    for (int g = 0; g < n_groups; g++) s->scale[g] = (uint8_t)code[g];
    s->dmin = f16_of_float(fit_codes(code, mins, cost_m, n_groups, 0, levels, largest_of(mins, n_groups), levels));
    for (int g = 0; g < n_groups; g++) s->min[g] = (uint8_t)code[g];
}

static inline uint16_t round_signed_weighted(int *scale, const float *scales, const float *cost, int n, int half)
{
    float top = 0;
    for (int g = 0; g < n; g++)
        if (fabsf(scales[g]) > fabsf(top)) top = scales[g];
    return f16_of_float(fit_codes(scale, scales, cost, n, -half, half - 1, top, -half));
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
