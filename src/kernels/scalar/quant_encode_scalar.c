/* quant_encode_scalar.c - float32 to the plain types and to blocks of 32.
 *
 * The choices of scale and rounding are those of ggml's reference quantisers, so that a file made here
 * holds the same numbers as one made there. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "blocks.h"
#include "convert.h"
#include "parts_scalar.h"
#include "quant_values.h"

void encode_f32_scalar(void *dst, const float *src, size_t n)
{
    memcpy(dst, src, n * sizeof *src);
}

void encode_f16_scalar(void *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h = f16_of_float(src[i]);
        memcpy((char *)dst + 2 * i, &h, sizeof h);
    }
}

void encode_bf16_scalar(void *dst, const float *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h = bf16_of_float(src[i]);
        memcpy((char *)dst + 2 * i, &h, sizeof h);
    }
}

/* The element of largest magnitude, with its sign; the first among equals. */
static float extreme(const float *x, int n)
{
    float top = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(top)) top = x[i];
    return top;
}

static void range(const float *x, int n, float *least, float *most)
{
    *least = *most = x[0];
    for (int i = 1; i < n; i++) {
        *least = x[i] < *least ? x[i] : *least;
        *most = x[i] > *most ? x[i] : *most;
    }
}

/* 0 where 1 / d would overflow; so small a d is zero as f16. */
static float inverse(float d)
{
    return fabsf(d) >= 0x1p-126f ? 1 / d : 0;
}

static int at_most(int q, int limit)
{
    return q < limit ? q : limit;
}

/* q(i) to nibbles; returns bit 4 of all of them. */
static uint32_t pack_nibbles(uint8_t *qs, const int *q)
{
    uint32_t fifth = 0;
    for (int i = 0; i < 16; i++) qs[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
    for (int i = 0; i < 32; i++) fifth |= (uint32_t)(q[i] >> 4 & 1) << i;
    return fifth;
}

/* Symmetric: the extreme element gets the most negative code, -half. */
static float quantize_symmetric(int *q, const float *x, int half)
{
    float d = extreme(x, 32) / (float)-half, id = inverse(d);
    for (int i = 0; i < 32; i++)
        q[i] = at_most((int8_t)(x[i] * id + ((float)half + 0.5f)), 2 * half - 1);
    return d;
}

/* Affine: the range is cut into `steps` equal steps. */
static float quantize_affine(int *q, const float *x, int steps, float *least)
{
    float most;
    range(x, 32, least, &most);
    float d = (most - *least) / (float)steps, id = inverse(d);
    for (int i = 0; i < 32; i++) q[i] = at_most((int8_t)((x[i] - *least) * id + 0.5f), steps);
    return d;
}

static bool all_finite(const float *x, int n)
{
    for (int i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

void encode_q4_0_scalar(void *dst, const float *src, size_t n)
{
    struct block_q4_0 *b = dst;
    int q[32];
    for (; n >= 32; n -= 32, src += 32, b++) {
        if (!all_finite(src, 32)) {
            *b = (struct block_q4_0){.d = F16_NAN};
            continue;
        }
        b->d = f16_of_float(quantize_symmetric(q, src, 8));
        pack_nibbles(b->qs, q);
    }
}

void encode_q4_1_scalar(void *dst, const float *src, size_t n)
{
    struct block_q4_1 *b = dst;
    int q[32];
    for (float least; n >= 32; n -= 32, src += 32, b++) {
        b->d = f16_of_float(quantize_affine(q, src, 15, &least));
        b->m = f16_of_float(least);
        pack_nibbles(b->qs, q);
    }
}

void encode_q5_0_scalar(void *dst, const float *src, size_t n)
{
    struct block_q5_0 *b = dst;
    int q[32];
    for (; n >= 32; n -= 32, src += 32, b++) {
        b->d = f16_of_float(quantize_symmetric(q, src, 16));
        uint32_t fifth = pack_nibbles(b->qs, q);
        memcpy(b->qh, &fifth, sizeof b->qh);
    }
}

void encode_q5_1_scalar(void *dst, const float *src, size_t n)
{
    struct block_q5_1 *b = dst;
    int q[32];
    for (float least; n >= 32; n -= 32, src += 32, b++) {
        b->d = f16_of_float(quantize_affine(q, src, 31, &least));
        b->m = f16_of_float(least);
        uint32_t fifth = pack_nibbles(b->qs, q);
        memcpy(b->qh, &fifth, sizeof b->qh);
    }
}

/* roundf(), halves away from zero, in a form that compilers make vectors of: the difference is exact. */
static int rounded(float x)
{
    int whole = (int)x;
    float rest = x - (float)whole;
    return whole + (rest >= 0.5f) - (rest <= -0.5f);
}

void encode_q8_0_scalar(void *dst, const float *src, size_t n)
{
    struct block_q8_0 *b = dst;
    for (; n >= 32; n -= 32, src += 32, b++) {
        if (!all_finite(src, 32)) {
            *b = (struct block_q8_0){.d = F16_NAN};
            continue;
        }
        float d = fabsf(extreme(src, 32)) / 127, id = inverse(d);
        b->d = f16_of_float(d);
        for (int i = 0; i < 32; i++) b->qs[i] = (int8_t)rounded(src[i] * id);
    }
}

/* The index whose value is nearest; the lower one when two are equally near. */
static int nearest(const int8_t *values, float x)
{
    int best = 0;
    for (int i = 1; i < 16; i++)
        if (fabsf(x - (float)values[i]) < fabsf(x - (float)values[best])) best = i;
    return best;
}

/* The code of the nearest value of E2M1, doubled; the smaller magnitude when two are equally near.  What is
 * nearest to zero has no sign. */
static int nearest_e2m1(float x)
{
    float a = fabsf(x);
    int q = (a > 0.5f) + (a > 1.5f) + (a > 2.5f) + (a > 3.5f) + (a > 5) + (a > 7) + (a > 10);
    return q > 0 && x < 0 ? q + 8 : q;
}

/* The power of two that puts the largest magnitude into the top binade of E2M1, [4, 8). */
void encode_mxfp4_scalar(void *dst, const float *src, size_t n)
{
    struct block_mxfp4 *b = dst;
    int q[32];
    for (; n >= 32; n -= 32, src += 32, b++) {
        float top = fabsf(extreme(src, 32));
        int e = top > 0 ? (int)floorf(log2f(top)) - 2 + 127 : 0;
        b->e = (uint8_t)(e < 0 ? 0 : e > 254 ? 254 : e);
        float id = 2 / float_of_e8m0(b->e);
        for (int i = 0; i < 32; i++) q[i] = nearest_e2m1(src[i] * id);
        pack_nibbles(b->qs, q);
    }
}

/* The scale, among some around the one that maps the extreme to the end of the table, for which the
 * error weighted by x^2 is least (the weighted least-squares scale of each trial). */
static float iq4_scale(int *q, const float *x)
{
    float top = extreme(x, 32), best_d = 0, best = 0;
    for (int trial = -7; trial <= 7 && top != 0; trial++) {
        float id = ((float)trial + (float)iq4_values[0]) / top, cross = 0, square = 0;
        for (int i = 0; i < 32; i++) {
            float value = iq4_values[nearest(iq4_values, x[i] * id)], weight = x[i] * x[i];
            cross += weight * value * x[i];
            square += weight * value * value;
        }
        if (square > 0 && cross * cross > best * square) {
            best_d = cross / square;
            best = cross * cross / square;
        }
    }
    for (int i = 0; i < 32; i++) q[i] = nearest(iq4_values, x[i] * inverse(best_d));
    return best_d;
}

void encode_iq4_nl_scalar(void *dst, const float *src, size_t n)
{
    struct block_iq4_nl *b = dst;
    int q[32];
    for (; n >= 32; n -= 32, src += 32, b++) {
        b->d = f16_of_float(iq4_scale(q, src));
        pack_nibbles(b->qs, q);
    }
}

void encode_iq4_xs_scalar(void *dst, const float *src, size_t n)
{
    struct block_iq4_xs *b = dst;
    for (; n >= 256; n -= 256, src += 256, b++) {
        float d[8];
        int q[32];
        memset(b, 0, sizeof *b);
        for (int g = 0; g < 8; g++) d[g] = iq4_scale(q, src + 32 * g);
        b->d = f16_of_float(extreme(d, 8) / -32);
        float unit = float_of_f16(b->d), id = inverse(unit);
        for (int g = 0; g < 8; g++) {
            int scale = (int)rintf(d[g] * id);
            scale = scale < -32 ? -32 : scale > 31 ? 31 : scale;
            float group_inverse = inverse(unit * (float)scale);
            for (int i = 0; i < 32; i++) q[i] = nearest(iq4_values, src[32 * g + i] * group_inverse);
            pack_nibbles(b->qs + 16 * g, q);
            b->scales_l[g / 2] = (uint8_t)(b->scales_l[g / 2] | ((scale + 32) & 15) << g % 2 * 4);
            b->scales_h = (uint16_t)(b->scales_h | (scale + 32) >> 4 << 2 * g);
        }
    }
}
