/* kc_fill.c - inputs: random ones, and ones that are chosen to break kernels; bounds that go with
 * them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convert.h"
#include "kcheck.h"
#include "scalar/quant_values.h"

const char *const kc_fill_names[KC_FILLS] = {
    [KC_RANDOM] = "random",           [KC_ZEROS] = "zeros", [KC_CONSTANT] = "constant",
    [KC_ALTERNATING] = "alternating", [KC_MIXED] = "mixed", [KC_DENORMAL] = "denormal",
    [KC_NEGATIVE] = "negative",
};

int kc_below(struct kc *kc, int n)
{
    return (int)rng_below(&kc->rng, (uint64_t)n);
}

static float one_float(struct kc *kc, enum kc_fill fill, size_t i)
{
    uint64_t bits = rng_next(&kc->rng);
    float u = (float)(bits >> 40) * 0x1p-24f, sign = bits & 1 ? 1.0f : -1.0f; /* u in [0, 1) */
    switch (fill) {
    case KC_ZEROS: return bits & 1 ? 0.0f : -0.0f;
    case KC_CONSTANT: return 0.7f;
    case KC_ALTERNATING: return i % 2 ? -1.3f : 1.3f;
    case KC_MIXED: return bits & 2 ? sign * u * 1e15f : sign * u * 1e-15f;
    case KC_DENORMAL: return sign * u * 0x1p-126f;
    case KC_NEGATIVE: return -1e-3f - u;
    default: return (float)rng_normal(&kc->rng);
    }
}

void kc_fill_floats(struct kc *kc, enum kc_fill fill, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = one_float(kc, fill, i);
}

/* ---- weights ----------------------------------------------------------------------------- */

/* Where a block keeps its f16 numbers; 0xff: nowhere. */
static const struct {
    uint8_t d, m;
} f16_at[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = {0, 0xff},     [DTYPE_Q4_1] = {0, 2},      [DTYPE_Q5_0] = {0, 0xff},
    [DTYPE_Q5_1] = {0, 2},        [DTYPE_Q8_0] = {0, 0xff},   [DTYPE_Q2_K] = {80, 82},
    [DTYPE_Q3_K] = {108, 0xff},   [DTYPE_Q4_K] = {0, 2},      [DTYPE_Q5_K] = {0, 2},
    [DTYPE_Q6_K] = {208, 0xff},   [DTYPE_IQ4_NL] = {0, 0xff}, [DTYPE_IQ4_XS] = {0, 0xff},
    [DTYPE_MXFP4] = {0xff, 0xff},
};

static void put_scale(struct kc *kc, enum kc_fill fill, uint8_t *at)
{
    float value = one_float(kc, fill == KC_MIXED ? KC_RANDOM : fill, 0) * 0.02f;
    if (fill == KC_MIXED) value *= kc_below(kc, 2) ? 1e5f : 1e-4f;
    if (fill == KC_ZEROS) value = (float)rng_normal(&kc->rng); /* of zero bytes */
    uint16_t h =
        fill == KC_DENORMAL ? (uint16_t)(rng_next(&kc->rng) & 0x83ff) : f16_of_float(value);
    memcpy(at, &h, sizeof h);
}

static uint8_t one_byte(struct kc *kc, enum kc_fill fill, size_t i)
{
    switch (fill) {
    case KC_ZEROS: return 0;
    case KC_CONSTANT: return 0xff;
    case KC_ALTERNATING: return i % 2 ? 0x7f : 0x80; /* of Q8_0: 127 and -128 */
    case KC_NEGATIVE: return 0x88;
    default: return (uint8_t)rng_next(&kc->rng);
    }
}

static void fill_blocks(struct kc *kc, enum kc_fill fill, enum dtype dtype, uint8_t *w, size_t n)
{
    const struct dtype_info *info = dtype_info(dtype);
    for (size_t block = 0; block < n / info->block_n; block++, w += info->block_bytes) {
        for (size_t i = 0; i < info->block_bytes; i++) w[i] = one_byte(kc, fill, i);
        if (f16_at[dtype].d != 0xff) put_scale(kc, fill, w + f16_at[dtype].d);
        if (f16_at[dtype].m != 0xff) put_scale(kc, fill, w + f16_at[dtype].m);
        if (dtype == DTYPE_MXFP4)
            w[0] = (uint8_t)(fill == KC_DENORMAL ? kc_below(kc, 4) : 110 + kc_below(kc, 20));
    }
}

void kc_fill_weights(struct kc *kc, enum kc_fill fill, enum dtype dtype, void *w, size_t n)
{
    if (dtype_info(dtype)->is_quantized) {
        fill_blocks(kc, fill, dtype, w, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float value = one_float(kc, fill, i);
        if (dtype == DTYPE_F16 && fill == KC_MIXED) value *= fabsf(value) > 1 ? 1e-12f : 1e9f;
        uint16_t h = dtype == DTYPE_F16 ? f16_of_float(value) : bf16_of_float(value);
        if (dtype == DTYPE_F16 && fill == KC_DENORMAL) h = (uint16_t)(rng_next(&kc->rng) & 0x83ff);
        if (dtype == DTYPE_F32)
            memcpy((char *)w + 4 * i, &value, 4);
        else
            memcpy((char *)w + 2 * i, &h, 2);
    }
}

/* ---- activations ------------------------------------------------------------------------- */

static void put_act(struct act_q8 *x, size_t i, int q)
{
    struct act_q8 *b = x + i / 256;
    b->q[i % 256] = (int8_t)q;
    b->sum[i % 256 / 16] = (int16_t)(b->sum[i % 256 / 16] + q);
}

void kc_fill_acts(struct kc *kc, enum kc_fill fill, struct act_q8 *x, size_t n)
{
    memset(x, 0, (n + 255) / 256 * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        int q = kc_below(kc, 255) - 127;
        if (fill == KC_ZEROS) q = 0;
        if (fill == KC_CONSTANT) q = 127;
        if (fill == KC_NEGATIVE) q = -127;
        if (fill == KC_ALTERNATING) q = i % 2 ? 127 : -127;
        put_act(x, i, q);
        if (i % 32 == 0) x[i / 256].d[i % 256 / 32] = fabsf(one_float(kc, fill, 0)) * 0.01f;
    }
}

/* ---- codes near zero --------------------------------------------------------------------- */

/* The largest code of types that have an offset or a table; of the others 15 will do. */
static const uint8_t reach[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = 8,  [DTYPE_Q5_0] = 16,    [DTYPE_Q8_0] = 127,   [DTYPE_Q3_K] = 4,
    [DTYPE_Q6_K] = 32, [DTYPE_IQ4_NL] = 127, [DTYPE_IQ4_XS] = 127, [DTYPE_MXFP4] = 12,
};

void kc_fill_narrow_weights(struct kc *kc, bool ones, enum dtype dtype, void *w, size_t n)
{
    float value[256], most = reach[dtype] ? reach[dtype] : 15;
    const struct dtype_info *info = dtype_info(dtype);
    for (size_t at = 0; at < n; at += info->block_n, w = (char *)w + info->block_bytes) {
        for (int i = 0; i < info->block_n; i++)
            value[i] = 100 * (i % 16 == 0 ? -most : (float)(ones && kc_below(kc, 2)));
        kern_scalar.encode[dtype](w, value, info->block_n);
    }
}

void kc_fill_narrow_acts(struct kc *kc, struct act_q8 *x, size_t n)
{
    memset(x, 0, (n + 255) / 256 * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        put_act(x, i, i % 16 == 0 ? 0 : 1 + kc_below(kc, 127));
        if (i % 32 == 0) x[i / 256].d[i % 256 / 32] = 0.0001f * (float)(1 + kc_below(kc, 1000));
    }
}

/* ---- judging ----------------------------------------------------------------------------- */

double kc_sum_bound(enum kc_fill fill, size_t n)
{
    return (fill == KC_RANDOM ? 32.0 : (double)n + 32.0) * KC_UNIT;
}

void kc_near(struct kc *kc, const char *name, size_t i, float got, double want, double bound)
{
    double error = fabs((double)got - want);
    if (error <= bound || (isnan(got) && isnan(want)) || (isinf(got) && (double)got == want))
        return;
    kc_fail(kc, "%s[%zu] is %.9g, must be %.12g within %.3g", name, i, (double)got, want, bound);
}

void kc_decode(enum dtype dtype, double *w, double *magnitude, const void *src, size_t n)
{
    float value[256];
    const struct dtype_info *info = dtype_info(dtype);
    struct unpacked u;
    for (size_t at = 0; at < n; at += info->block_n, src = (const char *)src + info->block_bytes) {
        kern_scalar.decode[dtype](value, src, info->block_n);
        if (info->is_quantized) unpack_scalar[dtype](&u, src);
        for (int i = 0; i < info->block_n; i++) {
            w[at + (size_t)i] = (double)value[i];
            int g = info->is_quantized ? i / u.group : 0;
            magnitude[at + (size_t)i] = !info->is_quantized
                                            ? fabs((double)value[i])
                                            : fabs((double)u.d[g] * u.q[i]) + fabs((double)u.m[g]);
        }
    }
}
