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
#include "parts_scalar.h"
#include "quant_pack.h"

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
            float q = nearest_whole(limited(x[i] * id, (float)-half, (float)(half - 1))), weight = x[i] * x[i];
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

struct sums { /* of weight, and of weight times x, q, q^2, x q */
    float w, x, q, qq, xq;
};

static void add_codes(struct sums *s, const float *x, const float *weight, int n, int steps, float id, float m)
{
    s->q = s->qq = s->xq = 0;
    for (int i = 0; i < n; i++) {
        float q = nearest_whole(limited((x[i] + m) * id, 0, (float)steps)), wq = weight[i] * q;
        s->q += wq;
        s->qq += wq * q;
        s->xq += wq * x[i];
    }
}

/* By how much these d and m diminish the weighted square of x. */
static float gain_of(const struct sums *s, struct fit f)
{
    float cross = f.d * s->xq - f.m * s->x, square = f.d * f.d * s->qq + f.m * f.m * s->w;
    return 2 * cross - (square - 2 * (f.d * f.m * s->q));
}

/* The least squares for given codes; only offsets downwards can be stored, and where all codes are equal the
 * offset is left out. */
static struct fit solve(const struct sums *s)
{
    float det = s->w * s->qq - s->q * s->q;
    struct fit f = {(s->w * s->xq - s->x * s->q) / det, (s->q * s->xq - s->qq * s->x) / det};
    bool both = det > 1e-5f * (s->w * s->qq) && f.m >= 0;
    return both ? f : (struct fit){s->xq / s->qq, 0};
}

/* The best least-squares fit to the codes of some step widths around the one that the range asks for; the codes of
 * each trial count from the best offset so far. */
static struct fit fit_affine(const float *x, const float *weight, int n, int steps)
{
    float least = 0, most = x[0], best_gain = 0;
    struct sums s = {0};
    for (int i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
        s.w += weight[i];
        s.x += weight[i] * x[i];
    }
    if (!(most - least >= 0x1p-100f)) return (struct fit){0, -least}; /* flat, or nothing in f16 */
    struct fit best = {(most - least) / (float)steps, -least};
    for (int trial = 0; trial <= 20; trial++) {
        float id = ((float)steps - 1 + 0.1f * (float)trial) / (most + best.m);
        add_codes(&s, x, weight, n, steps, id, best.m);
        struct fit f = solve(&s);
        float gain = gain_of(&s, f);
        if (f.d > 0 && gain > best_gain) {
            best_gain = gain;
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

static void fit_groups(struct k_scales *s, const float *x, int n_groups, int steps, int levels, bool with_mean)
{
    float scales[16], mins[16], weight[32];
    int n = 256 / n_groups;
    for (int g = 0; g < n_groups; g++) {
        weigh(weight, x + g * n, n, with_mean);
        struct fit f = fit_affine(x + g * n, weight, n, steps);
        scales[g] = f.d;
        mins[g] = f.m;
    }
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

void encode_q2_k_scalar(void *dst, const float *src, size_t n)
{
    struct block_q2_k *b = dst;
    for (; n >= 256; n -= 256, src += 256, b++) {
        struct k_scales s;
        uint8_t q[256];
        fit_groups(&s, src, 16, 3, 15, false);
        round_affine(q, src, &s, 16, 3);
        b->d = s.d;
        b->dmin = s.dmin;
        for (int g = 0; g < 16; g++) b->scales[g] = (uint8_t)(s.scale[g] | s.min[g] << 4);
        pack_two_bits(b->qs, q);
    }
}

void encode_q4_k_scalar(void *dst, const float *src, size_t n)
{
    struct block_q4_k *b = dst;
    for (; n >= 256; n -= 256, src += 256, b++) {
        struct k_scales s;
        uint8_t q[256];
        fit_groups(&s, src, 8, 15, 63, true);
        round_affine(q, src, &s, 8, 15);
        b->d = s.d;
        b->dmin = s.dmin;
        pack_k4_scales(b->scales, &s);
        pack_k4_low(b->qs, q);
    }
}

void encode_q5_k_scalar(void *dst, const float *src, size_t n)
{
    struct block_q5_k *b = dst;
    for (; n >= 256; n -= 256, src += 256, b++) {
        struct k_scales s;
        uint8_t q[256];
        fit_groups(&s, src, 8, 31, 63, true);
        round_affine(q, src, &s, 8, 31);
        b->d = s.d;
        b->dmin = s.dmin;
        pack_k4_scales(b->scales, &s);
        pack_k4_low(b->qs, q);
        pack_k5_high(b->qh, q);
    }
}

static uint16_t fit_signed(int *scale, const float *x, int half_q, int half_scale)
{
    float scales[16];
    for (int g = 0; g < 16; g++) scales[g] = fit_symmetric(x + 16 * g, 16, half_q);
    return round_signed_scales(scale, scales, half_scale);
}

static void round_signed(uint8_t *q, const float *x, const int *scale, uint16_t d, int half)
{
    for (int g = 0; g < 16; g++) {
        float id = inverse(float_of_f16(d) * (float)scale[g]);
        for (int i = 16 * g; i < 16 * g + 16; i++) q[i] = (uint8_t)(to_code(x[i] * id, -half, half - 1) + half);
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
        b->d = fit_signed(scale, src, 32, 128);
        round_signed(q, src, scale, b->d, 32);
        for (int g = 0; g < 16; g++) b->scales[g] = (int8_t)scale[g];
        pack_q6(b, q);
    }
}
