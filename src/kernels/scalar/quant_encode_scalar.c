/* quant_encode_scalar.c - float32 to the plain types and to blocks of 32.
 *
 * The choices of scale and rounding are those of ggml's reference quantisers, so that a file made here
 * holds the same numbers as one made there.  With weights of columns the scales are searched. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "blocks.h"
#include "parts_scalar.h"
#include "quant_fit.h"
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
static void quantize_affine(int *q, const float *x, int steps, float *d, float *least)
{
    float most;
    range(x, 32, least, &most);
    *d = (most - *least) / (float)steps;
    float id = inverse(*d);
    for (int i = 0; i < 32; i++) q[i] = at_most((int8_t)((x[i] - *least) * id + 0.5f), steps);
}

/* The same by weights of columns; codes against the numbers as they will be read. */
static float search_symmetric(int *q, const float *x, const float *column, int half)
{
    float weight[32], cost;
    weigh_columns(weight, x, column, 32, twice_mean_square(x, 32));
    float d = float_of_f16(f16_of_float(fit_symmetric(x, weight, 32, half, &cost))), id = inverse(d);
    for (int i = 0; i < 32; i++) q[i] = to_code(x[i] * id, -half, half - 1) + half;
    return d;
}

static bool all_finite(const float *x, int n)
{
    for (int i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

static void search_affine(int *q, const float *x, const float *column, int steps, float *d, float *least)
{
    float weight[32];
    weigh_columns(weight, x, column, 32, twice_mean_square(x, 32));
    struct fit f = fit_affine(x, weight, 32, steps);
    *d = float_of_f16(f16_of_float(f.d));
    *least = float_of_f16(f16_of_float(-f.m));
    for (int i = 0; i < 32; i++) q[i] = to_code((x[i] - *least) * inverse(*d), 0, steps);
}

/* A format is one function for one block; column: the weights of its columns, or NULL.  This makes its two
 * kernels. */
#define ENCODERS(type, size)                                                                                 \
    void encode_##type##_scalar(void *dst, const float *src, size_t n)                                       \
    {                                                                                                        \
        struct block_##type *b = dst;                                                                        \
        for (; n >= size; n -= size, src += size, b++) write_##type(b, src, NULL);                           \
    }                                                                                                        \
    void encode_weighted_##type##_scalar(void *dst, const float *src, const float *weight, size_t n)         \
    {                                                                                                        \
        struct block_##type *b = dst;                                                                        \
        for (; n >= size; n -= size, src += size, weight += size, b++) write_##type(b, src, weight);         \
    }

static void write_q4_0(struct block_q4_0 *b, const float *x, const float *column)
{
    int q[32];
    if (!all_finite(x, 32)) {
        *b = (struct block_q4_0){.d = F16_NAN};
        return;
    }
    b->d = f16_of_float(column ? search_symmetric(q, x, column, 8) : quantize_symmetric(q, x, 8));
    pack_nibbles(b->qs, q);
}
ENCODERS(q4_0, 32)

static void write_q4_1(struct block_q4_1 *b, const float *x, const float *column)
{
    int q[32];
    float d, m;
    if (column)
        search_affine(q, x, column, 15, &d, &m);
    else
        quantize_affine(q, x, 15, &d, &m);
    b->d = f16_of_float(d);
    b->m = f16_of_float(m);
    pack_nibbles(b->qs, q);
}
ENCODERS(q4_1, 32)

static void write_q5_0(struct block_q5_0 *b, const float *x, const float *column)
{
    int q[32];
    b->d = f16_of_float(column ? search_symmetric(q, x, column, 16) : quantize_symmetric(q, x, 16));
    uint32_t fifth = pack_nibbles(b->qs, q);
    memcpy(b->qh, &fifth, sizeof b->qh);
}
ENCODERS(q5_0, 32)

static void write_q5_1(struct block_q5_1 *b, const float *x, const float *column)
{
    int q[32];
    float d, m;
    if (column)
        search_affine(q, x, column, 31, &d, &m);
    else
        quantize_affine(q, x, 31, &d, &m);
    b->d = f16_of_float(d);
    b->m = f16_of_float(m);
    uint32_t fifth = pack_nibbles(b->qs, q);
    memcpy(b->qh, &fifth, sizeof b->qh);
}
ENCODERS(q5_1, 32)

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

/* The code of the nearest of iq4_values; the lower one when two are equally near: how many of the middles between
 * neighbours lie below x. */
static int nearest_iq4(float x)
{
    static const float middles[15] = {-115.5f, -93.5f, -74, -57, -42, -28.5f, -16, -4.5f,
                                      7,       19,     31.5f, 45.5f, 61, 79,   101};
    int q = 0;
    for (int i = 0; i < 15; i++) q += x > middles[i];
    return q;
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

enum { IQ4_TRIALS = 15 };

/* The scale, among some around the one that maps the extreme to the lower end of the table (and with twice as many
 * trials, to the upper end), for which the weighted error is least (the weighted least-squares scale of each
 * trial); *cost: what an error of it costs. */
static float iq4_scale(const float *x, const float *weight, int n_trials, float *cost)
{
    float top = extreme(x, 32), best_d = 0, best = 0;
    *cost = 0;
    for (int trial = 0; trial < n_trials && top != 0; trial++) {
        int end = trial < IQ4_TRIALS ? iq4_values[0] + trial - 7 : iq4_values[15] + trial - IQ4_TRIALS - 7;
        float id = (float)end / top, cross = 0, square = 0;
        for (int i = 0; i < 32; i++) {
            float value = iq4_values[nearest_iq4(x[i] * id)];
            cross += weight[i] * value * x[i];
            square += weight[i] * value * value;
        }
        if (square > 0 && cross * cross > best * square) {
            best_d = cross / square;
            best = cross * cross / square;
            *cost = square;
        }
    }
    return best_d;
}

static void iq4_pack(uint8_t *qs, const float *x, float d)
{
    float id = inverse(d);
    int q[32];
    for (int i = 0; i < 32; i++) q[i] = nearest_iq4(x[i] * id);
    pack_nibbles(qs, q);
}

static void iq4_weigh(float *weight, const float *x, const float *column, float square)
{
    if (column)
        weigh_columns(weight, x, column, 32, square);
    else
        weigh_squares(weight, x, 32);
}

/* Where the extreme may weigh little, more is worth trying. */
static int iq4_n_trials(const float *column)
{
    return column ? 2 * IQ4_TRIALS : IQ4_TRIALS;
}

static void write_iq4_nl(struct block_iq4_nl *b, const float *x, const float *column)
{
    float weight[32], cost;
    iq4_weigh(weight, x, column, twice_mean_square(x, 32));
    float d = iq4_scale(x, weight, iq4_n_trials(column), &cost);
    b->d = f16_of_float(d);
    iq4_pack(b->qs, x, column ? float_of_f16(b->d) : d);
}
ENCODERS(iq4_nl, 32)

static uint16_t iq4_round_scales(int *scale, const float *d)
{
    uint16_t unit = f16_of_float(extreme(d, 8) / -32);
    float id = inverse(float_of_f16(unit));
    for (int g = 0; g < 8; g++) {
        scale[g] = (int)rintf(d[g] * id);
        scale[g] = scale[g] < -32 ? -32 : scale[g] > 31 ? 31 : scale[g];
    }
    return unit;
}

static void write_iq4_xs(struct block_iq4_xs *b, const float *x, const float *column)
{
    float d[8], cost[8], weight[32], square = twice_mean_square(x, 256);
    int scale[8];
    memset(b, 0, sizeof *b);
    for (int g = 0; g < 8; g++) {
        iq4_weigh(weight, x + 32 * g, column ? column + 32 * g : NULL, square);
        d[g] = iq4_scale(x + 32 * g, weight, iq4_n_trials(column), &cost[g]);
    }
    b->d = column ? round_signed_weighted(scale, d, cost, 8, 32) : iq4_round_scales(scale, d);
    for (int g = 0; g < 8; g++) {
        iq4_pack(b->qs + 16 * g, x + 32 * g, float_of_f16(b->d) * (float)scale[g]);
        b->scales_l[g / 2] = (uint8_t)(b->scales_l[g / 2] | ((scale[g] + 32) & 15) << g % 2 * 4);
        b->scales_h = (uint16_t)(b->scales_h | (scale[g] + 32) >> 4 << 2 * g);
    }
}
ENCODERS(iq4_xs, 256)
