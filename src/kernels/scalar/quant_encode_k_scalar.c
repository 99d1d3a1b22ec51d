/* quant_encode_k_scalar.c - float32 to the 256-element formats.
 *
 * Each group's scale (and minimum) is searched so that the weighted squared error is least; then the
 * groups' scales are themselves rounded to 4, 6 or 8 bits against one f16 number per block, and the
 * elements are rounded once more against the scales that a reader will see.  The method and the weights
 * are those of ggml's k-quants (Kawrakow 2023), with no importance matrix. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "blocks.h"
#include "convert.h"
#include "parts_scalar.h"
#include "quant_values.h"

static int clamp(int x, int least, int most)
{
    return x < least ? least : x > most ? most : x;
}

/* 0 where 1 / d would overflow; so small a d is zero as f16. */
static float inverse(float d)
{
    return fabsf(d) >= 0x1p-126f ? 1 / d : 0;
}

/* x ~ d q, -half <= q < half: the d of least error weighted by x^2, from scales around the one that
 * maps the extreme element to -half. */
static float fit_symmetric(const float *x, int n, int half)
{
    float top = 0, best_d = 0, best = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(top)) top = x[i];
    if (fabsf(top) < 1e-15f) return 0;
    for (int trial = -9; trial <= 9; trial++) {
        float id = -((float)half + 0.1f * (float)trial) / top, cross = 0, square = 0;
        for (int i = 0; i < n; i++) {
            float q = (float)clamp((int)rintf(x[i] * id), -half, half - 1), weight = x[i] * x[i];
            cross += weight * x[i] * q;
            square += weight * q * q;
        }
        if (square > 0 && cross * cross > best * square) {
            best_d = cross / square;
            best = cross * cross / square;
        }
    }
    return best_d;
}

struct fit { /* x ~ d q - m, 0 <= q <= steps, m >= 0 */
    float d, m;
};

struct sums { /* of weight, and of weight times q, q^2, x, x q */
    double w, q, qq, x, xq;
};

static struct sums weighted_sums(const float *x, const float *weight, int n, int steps, float id, float least)
{
    struct sums s = {0};
    for (int i = 0; i < n; i++) {
        double q = clamp((int)rintf(id * (x[i] - least)), 0, steps), w = (double)weight[i];
        s.w += w;
        s.q += w * q;
        s.qq += w * q * q;
        s.x += w * (double)x[i];
        s.xq += w * (double)x[i] * q;
    }
    return s;
}

static double error_of(const float *x, const float *weight, int n, int steps, struct fit f)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        int q = clamp((int)rintf((x[i] + f.m) * inverse(f.d)), 0, steps);
        double e = (double)(f.d * (float)q - f.m - x[i]);
        sum += (double)weight[i] * e * e;
    }
    return sum;
}

/* The best of the plain fit to the range and of least-squares fits for some step widths around it. */
static struct fit fit_affine(const float *x, const float *weight, int n, int steps)
{
    float least = 0, most = x[0];
    for (int i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
    }
    if (most - least < 0x1p-100f) return (struct fit){0, -least}; /* flat, or nothing in f16 */
    struct fit best = {(most - least) / (float)steps, -least};
    double best_error = error_of(x, weight, n, steps, best);
    for (int trial = 0; trial <= 20; trial++) {
        float id = ((float)steps - 1 + 0.1f * (float)trial) / (most - least);
        struct sums s = weighted_sums(x, weight, n, steps, id, least);
        double det = s.w * s.qq - s.q * s.q;
        if (det <= 0) continue;
        double d = (s.w * s.xq - s.x * s.q) / det, m = -(s.qq * s.x - s.q * s.xq) / det;
        if (m < 0) { /* only offsets downwards can be stored */
            m = 0;
            d = s.qq > 0 ? s.xq / s.qq : 0;
        }
        struct fit f = {(float)d, (float)m};
        double error = d > 0 ? error_of(x, weight, n, steps, f) : best_error;
        if (error < best_error) {
            best_error = error;
            best = f;
        }
    }
    return best;
}

/* Large elements count more: |x| plus the root mean square, or |x| alone for two bits. */
static void weigh(float *weight, const float *x, int n, bool with_mean)
{
    float square = 0;
    for (int i = 0; i < n; i++) square += x[i] * x[i];
    float mean = with_mean ? sqrtf(square / (float)n) : 0;
    for (int i = 0; i < n; i++) weight[i] = mean + fabsf(x[i]);
}

static float largest(const float *x, int n)
{
    float top = 0;
    for (int i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    return top;
}

/* Scales and minima of all groups, rounded to 0..levels against *d and *dmin (f16). */
static void fit_groups(uint8_t *scale, uint8_t *min, uint16_t *d, uint16_t *dmin, const float *x, int n_groups,
                       int steps, int levels, bool with_mean)
{
    float scales[16], mins[16], weight[32];
    int n = 256 / n_groups;
    for (int g = 0; g < n_groups; g++) {
        weigh(weight, x + g * n, n, with_mean);
        struct fit f = fit_affine(x + g * n, weight, n, steps);
        scales[g] = f.d;
        mins[g] = f.m;
    }
    float top_scale = largest(scales, n_groups), top_min = largest(mins, n_groups);
    *d = f16_of_float(top_scale / (float)levels);
    *dmin = f16_of_float(top_min / (float)levels);
    for (int g = 0; g < n_groups; g++) {
        scale[g] = (uint8_t)clamp((int)rintf(scales[g] * inverse(top_scale) * (float)levels), 0, levels);
        min[g] = (uint8_t)clamp((int)rintf(mins[g] * inverse(top_min) * (float)levels), 0, levels);
    }
}

/* Elements against the scales as they will be read. */
static void round_affine(uint8_t *q, const float *x, const uint8_t *scale, const uint8_t *min, uint16_t d,
                         uint16_t dmin, int n_groups, int steps)
{
    int n = 256 / n_groups;
    for (int i = 0; i < 256; i++) {
        float step = float_of_f16(d) * (float)scale[i / n], offset = float_of_f16(dmin) * (float)min[i / n];
        q[i] = (uint8_t)clamp((int)rintf((x[i] + offset) * inverse(step)), 0, steps);
    }
}

static void pack_two_bits(uint8_t *qs, const uint8_t *q)
{
    for (int i = 0; i < 256; i++)
        qs[i / 128 * 32 + i % 32] = (uint8_t)(qs[i / 128 * 32 + i % 32] | (q[i] & 3) << i % 128 / 32 * 2);
}

void encode_q2_k_scalar(void *dst, const float *src, size_t n)
{
    struct block_q2_k *b = dst;
    for (; n >= 256; n -= 256, src += 256, b++) {
        uint8_t scale[16], min[16], q[256];
        memset(b, 0, sizeof *b);
        fit_groups(scale, min, &b->d, &b->dmin, src, 16, 3, 15, false);
        round_affine(q, src, scale, min, b->d, b->dmin, 16, 3);
        for (int g = 0; g < 16; g++) b->scales[g] = (uint8_t)(scale[g] | min[g] << 4);
        pack_two_bits(b->qs, q);
    }
}

static void pack_k4(uint8_t *packed, uint8_t *qs, uint8_t *qh, const uint8_t *scale, const uint8_t *min,
                    const uint8_t *q)
{
    for (int g = 0; g < 4; g++) {
        packed[g] = (uint8_t)(scale[g] | scale[g + 4] >> 4 << 6);
        packed[g + 4] = (uint8_t)(min[g] | min[g + 4] >> 4 << 6);
        packed[g + 8] = (uint8_t)((scale[g + 4] & 15) | (min[g + 4] & 15) << 4);
    }
    for (int i = 0; i < 256; i++) {
        qs[i / 64 * 32 + i % 32] = (uint8_t)(qs[i / 64 * 32 + i % 32] | (q[i] & 15) << i % 64 / 32 * 4);
        if (qh) qh[i % 32] = (uint8_t)(qh[i % 32] | q[i] >> 4 << i / 32);
    }
}

void encode_q4_k_scalar(void *dst, const float *src, size_t n)
{
    struct block_q4_k *b = dst;
    for (; n >= 256; n -= 256, src += 256, b++) {
        uint8_t scale[8], min[8], q[256];
        memset(b, 0, sizeof *b);
        fit_groups(scale, min, &b->d, &b->dmin, src, 8, 15, 63, true);
        round_affine(q, src, scale, min, b->d, b->dmin, 8, 15);
        pack_k4(b->scales, b->qs, NULL, scale, min, q);
    }
}

void encode_q5_k_scalar(void *dst, const float *src, size_t n)
{
    struct block_q5_k *b = dst;
    for (; n >= 256; n -= 256, src += 256, b++) {
        uint8_t scale[8], min[8], q[256];
        memset(b, 0, sizeof *b);
        fit_groups(scale, min, &b->d, &b->dmin, src, 8, 31, 63, true);
        round_affine(q, src, scale, min, b->d, b->dmin, 8, 31);
        pack_k4(b->scales, b->qs, b->qh, scale, min, q);
    }
}

/* Signed scales of 16 groups, rounded to -half..half-1 against the returned f16. */
static uint16_t fit_signed(int *scale, const float *x, int half_q, int half_scale)
{
    float scales[16], top = 0;
    for (int g = 0; g < 16; g++) {
        scales[g] = fit_symmetric(x + 16 * g, 16, half_q);
        if (fabsf(scales[g]) > fabsf(top)) top = scales[g];
    }
    uint16_t d = f16_of_float(top / (float)-half_scale);
    float id = inverse(float_of_f16(d));
    for (int g = 0; g < 16; g++) scale[g] = clamp((int)rintf(scales[g] * id), -half_scale, half_scale - 1);
    return d;
}

static void round_signed(uint8_t *q, const float *x, const int *scale, uint16_t d, int half)
{
    for (int i = 0; i < 256; i++) {
        float step = float_of_f16(d) * (float)scale[i / 16];
        q[i] = (uint8_t)(clamp((int)rintf(x[i] * inverse(step)), -half, half - 1) + half);
    }
}

void encode_q3_k_scalar(void *dst, const float *src, size_t n)
{
    struct block_q3_k *b = dst;
    for (; n >= 256; n -= 256, src += 256, b++) {
        uint8_t q[256];
        int scale[16];
        memset(b, 0, sizeof *b);
        b->d = fit_signed(scale, src, 4, 32);
        round_signed(q, src, scale, b->d, 4);
        for (int g = 0; g < 16; g++) {
            int s = scale[g] + 32;
            b->scales[g % 8] = (uint8_t)(b->scales[g % 8] | (s & 15) << g / 8 * 4);
            b->scales[8 + g % 4] = (uint8_t)(b->scales[8 + g % 4] | s >> 4 << g / 4 * 2);
        }
        pack_two_bits(b->qs, q);
        for (int i = 0; i < 256; i++) b->hmask[i % 32] = (uint8_t)(b->hmask[i % 32] | q[i] >> 2 << i / 32);
    }
}

void encode_q6_k_scalar(void *dst, const float *src, size_t n)
{
    struct block_q6_k *b = dst;
    for (; n >= 256; n -= 256, src += 256, b++) {
        uint8_t q[256];
        int scale[16];
        memset(b, 0, sizeof *b);
        b->d = fit_signed(scale, src, 32, 128);
        round_signed(q, src, scale, b->d, 32);
        for (int g = 0; g < 16; g++) b->scales[g] = (int8_t)scale[g];
        for (int i = 0; i < 256; i++) {
            int half = i / 128, part = i % 128 / 32, l = i % 32;
            uint8_t *low = &b->ql[64 * half + 32 * (part & 1) + l], *high = &b->qh[32 * half + l];
            *low = (uint8_t)(*low | (q[i] & 15) << (part >> 1) * 4);
            *high = (uint8_t)(*high | q[i] >> 4 << part * 2);
        }
    }
}
