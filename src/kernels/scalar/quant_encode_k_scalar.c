/* quant_encode_k_scalar.c - float32 to the 256-element formats.
 *
 * Each group's scale (and minimum) is searched so that the weighted squared error is least; then the
 * groups' scales are themselves rounded to 4, 6 or 8 bits against one f16 number per block, and the
 * elements are rounded once more against the scales that a reader will see.  The method and the weights
 * are those of ggml's k-quants (Kawrakow 2023). */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "blocks.h"
#include "parts_scalar.h"
#include "quant_fit.h"

/* A format is one function for one block; column: the weights of its columns, or NULL.  This makes its two
 * kernels. */
#define ENCODERS(type)                                                                                       \
    void encode_##type##_scalar(void *dst, const float *src, size_t n)                                       \
    {                                                                                                        \
        struct block_##type *b = dst;                                                                        \
        for (; n >= 256; n -= 256, src += 256, b++) write_##type(b, src, NULL);                              \
    }                                                                                                        \
    void encode_weighted_##type##_scalar(void *dst, const float *src, const float *weight, size_t n)         \
    {                                                                                                        \
        struct block_##type *b = dst;                                                                        \
        for (; n >= 256; n -= 256, src += 256, weight += 256, b++) write_##type(b, src, weight);             \
    }

/* Large elements count more: |x| plus the root mean square, or |x| alone for two bits. */
static void weigh(float *weight, const float *x, int n, bool with_mean)
{
    float square = 0;
    for (int i = 0; i < n; i++) square += x[i] * x[i];
    float mean = with_mean ? sqrtf(square / (float)n) : 0;
    for (int i = 0; i < n; i++) weight[i] = mean + fabsf(x[i]);
}

static void fit_groups(struct k_scales *s, const float *x, const float *column, int n_groups, int steps, int levels)
{
    float scales[16], mins[16], weight[32], cost_d[16], cost_m[16];
    float square = column ? twice_mean_square(x, 256) : 0;
    int n = 256 / n_groups;
    for (int g = 0; g < n_groups; g++) {
        if (column)
            weigh_columns(weight, x + g * n, column + g * n, n, square);
        else
            weigh(weight, x + g * n, n, steps > 3);
        struct fit f = fit_affine(x + g * n, weight, n, steps);
        scales[g] = f.d;
        mins[g] = f.m;
        cost_d[g] = f.cost_d;
        cost_m[g] = f.cost_m;
    }
    if (column)
        round_scales_weighted(s, scales, mins, cost_d, cost_m, n_groups, levels);
    else
        round_scales(s, scales, mins, n_groups, levels);
}

/* Elements against the scales as they will be read. */
static void round_affine(uint8_t *q, const float *x, const struct k_scales *s, int n_groups, int steps)
{
    int n = 256 / n_groups;
    for (int g = 0; g < n_groups; g++) {
        float offset = float_of_f16(s->dmin) * (float)s->min[g];
        float id = inverse(float_of_f16(s->d) * (float)s->scale[g]);
        for (int i = g * n; i < (g + 1) * n; i++) q[i] = (uint8_t)to_code((x[i] + offset) * id, 0, steps);
    }
}

static void pack_two_bits(uint8_t *qs, const uint8_t *q)
{
    memset(qs, 0, 64);
    for (int i = 0; i < 256; i++)
        qs[i / 128 * 32 + i % 32] = (uint8_t)(qs[i / 128 * 32 + i % 32] | (q[i] & 3) << i % 128 / 32 * 2);
}

static void write_q2_k(struct block_q2_k *b, const float *x, const float *column)
{
    struct k_scales s;
    uint8_t q[256];
    fit_groups(&s, x, column, 16, 3, 15);
    round_affine(q, x, &s, 16, 3);
    b->d = s.d;
    b->dmin = s.dmin;
    for (int g = 0; g < 16; g++) b->scales[g] = (uint8_t)(s.scale[g] | s.min[g] << 4);
    pack_two_bits(b->qs, q);
}
ENCODERS(q2_k)

static void write_q4_k(struct block_q4_k *b, const float *x, const float *column)
{
    struct k_scales s;
    uint8_t q[256];
    fit_groups(&s, x, column, 8, 15, 63);
    round_affine(q, x, &s, 8, 15);
    b->d = s.d;
    b->dmin = s.dmin;
    pack_k4_scales(b->scales, &s);
    pack_k4_low(b->qs, q);
}
ENCODERS(q4_k)

static void write_q5_k(struct block_q5_k *b, const float *x, const float *column)
{
    struct k_scales s;
    uint8_t q[256];
    fit_groups(&s, x, column, 8, 31, 63);
    round_affine(q, x, &s, 8, 31);
    b->d = s.d;
    b->dmin = s.dmin;
    pack_k4_scales(b->scales, &s);
    pack_k4_low(b->qs, q);
    pack_k5_high(b->qh, q);
}
ENCODERS(q5_k)

/* Without weights of columns, elements count by their square. */
static uint16_t fit_signed(int *scale, const float *x, const float *column, int half_q, int half_scale)
{
    float scales[16], weight[16], cost[16], square = column ? twice_mean_square(x, 256) : 0;
    for (int g = 0; g < 16; g++) {
        if (column)
            weigh_columns(weight, x + 16 * g, column + 16 * g, 16, square);
        else
            weigh_squares(weight, x + 16 * g, 16);
        scales[g] = fit_symmetric(x + 16 * g, weight, 16, half_q, &cost[g]);
    }
    if (column) return round_signed_weighted(scale, scales, cost, 16, half_scale);
    return round_signed_scales(scale, scales, half_scale);
}

static void round_signed(uint8_t *q, const float *x, const int *scale, uint16_t d, int half)
{
    for (int g = 0; g < 16; g++) {
        float id = inverse(float_of_f16(d) * (float)scale[g]);
        for (int i = 16 * g; i < 16 * g + 16; i++) q[i] = (uint8_t)(to_code(x[i] * id, -half, half - 1) + half);
    }
}

static void write_q3_k(struct block_q3_k *b, const float *x, const float *column)
{
    uint8_t q[256];
    int scale[16];
    memset(b, 0, sizeof *b);
    b->d = fit_signed(scale, x, column, 4, 32);
    round_signed(q, x, scale, b->d, 4);
    for (int g = 0; g < 16; g++) {
        int s = scale[g] + 32;
        b->scales[g % 8] = (uint8_t)(b->scales[g % 8] | (s & 15) << g / 8 * 4);
        b->scales[8 + g % 4] = (uint8_t)(b->scales[8 + g % 4] | s >> 4 << g / 4 * 2);
    }
    pack_two_bits(b->qs, q);
    for (int i = 0; i < 256; i++) b->hmask[i % 32] = (uint8_t)(b->hmask[i % 32] | q[i] >> 2 << i / 32);
}
ENCODERS(q3_k)

static void write_q6_k(struct block_q6_k *b, const float *x, const float *column)
{
    uint8_t q[256];
    int scale[16];
    b->d = fit_signed(scale, x, column, 32, 128);
    round_signed(q, x, scale, b->d, 32);
    for (int g = 0; g < 16; g++) b->scales[g] = (int8_t)scale[g];
    pack_q6(b, q);
}
ENCODERS(q6_k)
