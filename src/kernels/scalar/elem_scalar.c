/* elem_scalar.c - vectors of float32, one element at a time: the definition of right. */
#include <math.h>
#include <string.h>

#include "convert.h"
#include "parts_scalar.h"

float dot_scalar(const float *a, const float *b, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

void add_scalar(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

void axpy_scalar(float *y, float a, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

void scale_scalar(float *x, float a, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] *= a;
}

float max_scalar(const float *x, size_t n)
{
    float top = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (x[i] > top) top = x[i];
    return top;
}

float exp_sum_scalar(float *x, float max, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = x[i] == -INFINITY ? 0 : expf(x[i] - max);
        sum += x[i];
    }
    return sum;
}

void rms_norm_scalar(float *y, const float *x, const float *weight, size_t n, float eps)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    float factor = (float)(1 / sqrt(sum / (double)n + (double)eps));
    for (size_t i = 0; i < n; i++) y[i] = weight ? x[i] * factor * weight[i] : x[i] * factor;
}

void layer_norm_scalar(float *y, const float *x, const float *weight, const float *bias, size_t n, float eps)
{
    double mean = 0, square = 0;
    for (size_t i = 0; i < n; i++) mean += (double)x[i];
    mean /= (double)n;
    for (size_t i = 0; i < n; i++) square += ((double)x[i] - mean) * ((double)x[i] - mean);
    float factor = (float)(1 / sqrt(square / (double)n + (double)eps));
    for (size_t i = 0; i < n; i++) {
        float unit = (float)((double)x[i] - mean) * factor;
        y[i] = unit * (weight ? weight[i] : 1) + (bias ? bias[i] : 0);
    }
}

void softcap_scalar(float *x, float cap, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = cap * tanhf(x[i] / cap);
}

static void turn(float *a, float *b, const float *cs)
{
    float x = *a, y = *b;
    *a = x * cs[0] - y * cs[1];
    *b = x * cs[1] + y * cs[0];
}

void rope_pairs_scalar(float *x, const float *cs, size_t n_rot)
{
    for (size_t i = 0; i < n_rot / 2; i++) turn(&x[2 * i], &x[2 * i + 1], cs + 2 * i);
}

void rope_halves_scalar(float *x, const float *cs, size_t n_rot)
{
    for (size_t i = 0; i < n_rot / 2; i++) turn(&x[i], &x[i + n_rot / 2], cs + 2 * i);
}

/* Blocks without a usable reciprocal hold q = 0: below 2^-100 all is zero, and where an element is not
 * finite d is not either, so that it travels (a NaN as a NaN, being the largest of all bit patterns). */
static void quant_block(struct act_q8 *dst, size_t block, const float *x, size_t n)
{
    uint32_t top_bits = 0;
    for (size_t j = 0; j < n; j++) {
        uint32_t bits = bits_of_float(x[j]) & 0x7fffffff;
        top_bits = bits > top_bits ? bits : top_bits;
    }
    float top = float_of_bits(top_bits);
    if (top < 0x1p-100f) return;
    dst->d[block] = top / 127;
    if (!isfinite(top)) return;
    for (size_t j = 0; j < n; j++) {
        int q = (int)rintf(x[j] * (127 / top));
        dst->q[32 * block + j] = (int8_t)q;
        dst->sum[2 * block + j / 16] = (int16_t)(dst->sum[2 * block + j / 16] + q);
    }
}

void quant_act_scalar(struct act_q8 *dst, const float *x, size_t n)
{
    for (size_t at = 0; at < n; at += 256, dst++) {
        memset(dst, 0, sizeof *dst);
        for (size_t i = at; i < n && i < at + 256; i += 32)
            quant_block(dst, (i - at) / 32, x + i, n - i < 32 ? n - i : 32);
    }
}
