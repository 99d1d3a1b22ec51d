/* kc_quant.c - conversions: reading and writing every element type, and 8-bit activations.
 *
 * Reading is exact up to one rounding.  Writing must give the scalar bytes, and those must read
 * back within the error that the format is known for.  Activations are equal bit for bit. */
#include <math.h>
#include <string.h>

#include "base.h"
#include "convert.h"
#include "kcheck.h"

/* ---- decode ------------------------------------------------------------------------------ */

static void decode_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    static double want[11264], magnitude[11264];
    enum dtype dtype = (enum dtype)kc->index;
    const struct dtype_info *info = dtype_info(dtype);
    char *src = kc_in(kc, dtype_row_bytes(info, n));
    float *dst = kc_out(kc, n * sizeof *dst);
    kc_fill_weights(kc, fill, dtype, src, n);
    kc_decode(dtype, want, magnitude, src, n);
    kc_before(kc);
    kc->ops->decode[dtype](dst, src, n);
    kc_after(kc);
    for (size_t i = 0; i < n; i++)
        kc_near(kc, "dst", i, dst[i], want[i],
                info->is_quantized ? KC_UNIT * magnitude[i] + 64 * KC_TINY : 0);
}

static double f16_value(unsigned h)
{
    double sign = h & 0x8000 ? -1 : 1;
    int exponent = h >> 10 & 31, fraction = h & 1023;
    if (exponent == 31) return fraction ? (double)NAN : sign * (double)INFINITY;
    return sign * (exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24));
}

static double bf16_value(unsigned h)
{
    double sign = h & 0x8000 ? -1 : 1;
    int exponent = h >> 7 & 255, fraction = h & 127;
    if (exponent == 255) return fraction ? (double)NAN : sign * (double)INFINITY;
    return sign * (exponent ? ldexp(128 + fraction, exponent - 134) : ldexp(fraction, -133));
}

static void decode_all_halves(struct kc *kc)
{
    enum { N = 65536 };
    kc_reset(kc);
    kc_case(kc, "all 65536 numbers");
    uint16_t *src = kc_in(kc, N * sizeof *src);
    float *dst = kc_out(kc, N * sizeof *dst);
    for (unsigned i = 0; i < N; i++) src[i] = (uint16_t)i;
    kc->ops->decode[kc->index](dst, src, N);
    for (unsigned i = 0; i < N; i++) {
        double want = kc->index == DTYPE_F16 ? f16_value(i) : bf16_value(i);
        bool equal =
            isnan(want) ? isnan(dst[i]) : bits_of_float(dst[i]) == bits_of_float((float)want);
        if (!equal) kc_fail(kc, "0x%04x is read as %.9g, must be %.9g", i, (double)dst[i], want);
    }
}

void kc_check_decode(struct kc *kc)
{
    kc_for_lengths(kc, decode_case, dtype_info((uint32_t)kc->index)->block_n);
    if (kc->index == DTYPE_F16 || kc->index == DTYPE_BF16) decode_all_halves(kc);
}

/* ---- encode ------------------------------------------------------------------------------ */

static void encode_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    static char want[11264 * 4];
    static float back[11264];
    const struct dtype_info *info = dtype_info((uint32_t)kc->index);
    size_t bytes = dtype_row_bytes(info, n);
    float *src = kc_in(kc, n * sizeof *src);
    char *dst = kc_out(kc, bytes);
    if (n > 2048 && kc->index != DTYPE_F32)
        return; /* searches are slow and do not look across blocks */
    kc_fill_floats(kc, fill, src, n);
    for (size_t i = 0; i < n && fill == KC_MIXED && info->is_quantized; i++) src[i] *= 1e-11f;
    kc_before(kc);
    kc->ops->encode[kc->index](dst, src, n);
    kc_after(kc);
    kc->scalar->encode[kc->index](want, src, n);
    if (memcmp(dst, want, bytes)) kc_fail(kc, "not the scalar bytes");
    kc->scalar->decode[kc->index](back, dst, n);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(back[i]) && fabsf(src[i]) < 65504)
            kc_fail(kc, "finite %g is read back as %g", (double)src[i], (double)back[i]);
        if (fill == KC_ZEROS && back[i] != 0)
            kc_fail(kc, "zero is read back as %g", (double)back[i]);
    }
}

/* Weights of all kinds, some groups without any; every third case has none at all. */
static void fill_weights(struct kc *kc, float *weight, size_t n)
{
    int kind = kc_below(kc, 3);
    kc_fill_floats(kc, KC_RANDOM, weight, n);
    for (size_t i = 0; i < n; i++) {
        bool none = kind == 0 || (kind == 1 && i / 32 % 3 == 1) || kc_below(kc, 8) == 0;
        weight[i] = none ? 0 : fabsf(weight[i]) * (kc_below(kc, 50) == 0 ? 1e4f : 1);
    }
}

static void encode_weighted_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    static char want[2048 * 4];
    static float back[2048];
    const struct dtype_info *info = dtype_info((uint32_t)kc->index);
    size_t bytes = dtype_row_bytes(info, n);
    if (n > 2048) return;
    float *src = kc_in(kc, n * sizeof *src), *weight = kc_in(kc, n * sizeof *weight);
    char *dst = kc_out(kc, bytes);
    kc_fill_floats(kc, fill, src, n);
    fill_weights(kc, weight, n);
    for (size_t i = 0; i < n && fill == KC_MIXED; i++) src[i] *= 1e-11f;
    kc_before(kc);
    kc->ops->encode_weighted[kc->index](dst, src, weight, n);
    kc_after(kc);
    kc->scalar->encode_weighted[kc->index](want, src, weight, n);
    if (memcmp(dst, want, bytes)) kc_fail(kc, "not the scalar bytes");
    kc->scalar->decode[kc->index](back, dst, n);
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(back[i])) kc_fail(kc, "finite %g is read back as %g", (double)src[i], (double)back[i]);
        if (fill == KC_ZEROS && back[i] != 0) kc_fail(kc, "zero is read back as %g", (double)back[i]);
    }
}

void kc_check_encode_weighted(struct kc *kc)
{
    kc_for_lengths(kc, encode_weighted_case, dtype_info((uint32_t)kc->index)->block_n);
}

/* Root mean square of the error over that of the data, for numbers of normal distribution: what was
 * measured on a million of them, and what is allowed. */
static const struct {
    enum dtype dtype;
    double measured, most;
} error_limits[] = {
    {DTYPE_F32, 0, 0},
    {DTYPE_F16, 0.0002, 4e-4},
    {DTYPE_BF16, 0.0017, 3e-3},
    {DTYPE_Q8_0, 0.0053, 0.006},
    {DTYPE_Q6_K, 0.0177, 0.02},
    {DTYPE_Q5_K, 0.0358, 0.045},
    {DTYPE_Q5_0, 0.0426, 0.045},
    {DTYPE_Q5_1, 0.0378, 0.045},
    {DTYPE_Q4_K, 0.0716, 0.10},
    {DTYPE_Q4_0, 0.0858, 0.10},
    {DTYPE_Q4_1, 0.0781, 0.10},
    {DTYPE_IQ4_NL, 0.0762, 0.10},
    {DTYPE_IQ4_XS, 0.0768, 0.10},
    {DTYPE_MXFP4, 0.1150, 0.14},
    {DTYPE_Q3_K, 0.1528, 0.20},
    {DTYPE_Q2_K, 0.2877, 0.35},
};

static void encode_error(struct kc *kc)
{
    enum { N = 32768 };
    static float src[N], back[N];
    static char bytes[N * 4];
    double error = 0, square = 0;
    kc_case(kc, "error of the round trip");
    kc_fill_floats(kc, KC_RANDOM, src, N);
    kc->ops->encode[kc->index](bytes, src, N);
    kc->scalar->decode[kc->index](back, bytes, N);
    for (size_t i = 0; i < N; i++) {
        error += ((double)src[i] - (double)back[i]) * ((double)src[i] - (double)back[i]);
        square += (double)src[i] * (double)src[i];
    }
    for (size_t i = 0; i < COUNT_OF(error_limits); i++)
        if ((int)error_limits[i].dtype == kc->index && sqrt(error / square) > error_limits[i].most)
            kc_fail(kc, "%.4f, must be at most %.4f, was %.4f", sqrt(error / square),
                    error_limits[i].most, error_limits[i].measured);
}

/* Every 16-bit number and the float32 numbers around the middle to the next one, both signs, and
 * NaN. */
static void encode_all_halves(struct kc *kc)
{
    enum { N = 65536 * 4 };
    kc_reset(kc);
    kc_case(kc, "all 65536 numbers and their neighbourhoods");
    float *src = kc_in(kc, N * sizeof *src);
    uint16_t *dst = kc_out(kc, N * sizeof *dst), want;
    for (unsigned i = 0; i < 65536; i++)
        for (unsigned j = 0; j < 4; j++) {
            double here = kc->index == DTYPE_F16 ? f16_value(i) : bf16_value(i);
            double next =
                kc->index == DTYPE_F16 ? f16_value((i + 1) & 0xffff) : bf16_value((i + 1) & 0xffff);
            uint32_t middle = bits_of_float((float)((here + next) / 2));
            src[4 * i + j] = j == 3 ? (float)here : float_of_bits(middle + j - 1);
        }
    kc->ops->encode[kc->index](dst, src, N);
    for (size_t i = 0; i < N; i++) {
        kc->scalar->encode[kc->index](&want, src + i, 1);
        if (dst[i] != want)
            kc_fail(kc, "%.9g is written as 0x%04x, must be 0x%04x", (double)src[i], dst[i], want);
        double value = kc->index == DTYPE_F16 ? f16_value(want) : bf16_value(want);
        bool own = i % 4 != 3 || isnan(src[i]) || (double)src[i] == value;
        if (!own || isnan(src[i]) != isnan(value))
            kc_fail(kc, "%.9g is written as %.9g", (double)src[i], value);
    }
}

/* What is not finite shows in its own block and nowhere else, wherever it stands. */
static void encode_not_finite(struct kc *kc)
{
    static const float odd[] = {NAN, -NAN, INFINITY, -INFINITY};
    const size_t n = 96, bytes = dtype_row_bytes(dtype_info((uint32_t)kc->index), n);
    for (size_t at = 0; at < n * COUNT_OF(odd); at++) {
        char want[96 * 4];
        float back[96], here = odd[at % COUNT_OF(odd)];
        size_t place = at / COUNT_OF(odd);
        kc_case(kc, "%g at %zu", (double)here, place);
        kc_reset(kc);
        float *src = kc_in(kc, n * sizeof *src);
        void *dst = kc_out(kc, bytes);
        kc_fill_floats(kc, KC_RANDOM, src, n);
        src[place] = here;
        kc->ops->encode[kc->index](dst, src, n);
        kc->scalar->encode[kc->index](want, src, n);
        if (memcmp(dst, want, bytes)) kc_fail(kc, "not the scalar bytes");
        kc->scalar->decode[kc->index](back, dst, n);
        for (size_t i = 0; i < n; i++)
            if ((bool)isnan(back[i]) != (i / 32 == place / 32)) kc_fail(kc, "%zu is %g", i, (double)back[i]);
    }
}

void kc_check_encode(struct kc *kc)
{
    kc_for_lengths(kc, encode_case, dtype_info((uint32_t)kc->index)->block_n);
    encode_error(kc);
    if (kc->index == DTYPE_F16 || kc->index == DTYPE_BF16) encode_all_halves(kc);
    if (kc->index == DTYPE_Q8_0 || kc->index == DTYPE_Q4_0) encode_not_finite(kc);
}

/* ---- activations ------------------------------------------------------------------------- */

/* The scalar blocks themselves: scale, distance of every element to its grid point, sums, padding.
 */
static void judge_acts(struct kc *kc, const struct act_q8 *b, const float *x, size_t n)
{
    for (size_t i = 0; i < ROUND_UP(n, 256); i++) {
        double top = 0, d = (double)b[i / 256].d[i % 256 / 32];
        for (size_t j = i / 32 * 32; j < n && j < i / 32 * 32 + 32; j++)
            top = fmax(top, fabs((double)x[j]));
        double value = i < n ? (double)x[i] : 0, q = b[i / 256].q[i % 256];
        if (top < 0x1p-100 && d == 0 && q == 0) continue; /* counts as zero */
        kc_near(kc, "d", i / 32, (float)d, top / 127, KC_UNIT * top / 127);
        kc_near(kc, "d q", i, (float)(d * q), value, d * 0.5001);
        if (i % 16) continue;
        int sum = 0;
        for (size_t j = i; j < i + 16; j++) sum += b[j / 256].q[j % 256];
        if (sum != b[i / 256].sum[i % 256 / 16]) kc_fail(kc, "sum[%zu] is wrong", i / 16);
    }
}

static void quant_act_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    static struct act_q8 want[44];
    size_t bytes = (n + 255) / 256 * sizeof *want;
    float *x = kc_in(kc, n * sizeof *x);
    struct act_q8 *dst = kc_out(kc, bytes);
    kc_fill_floats(kc, fill, x, n);
    if (fill == KC_ALTERNATING) /* exact ties between integers */
        for (size_t i = 0; i < n; i++)
            x[i] = i % 32 ? (float)(kc_below(kc, 253) - 126) + 0.5f : 127;
    kc_before(kc);
    kc->ops->quant_act(dst, x, n);
    kc_after(kc);
    memset(want, 0, sizeof want);
    kc->scalar->quant_act(want, x, n);
    if (memcmp(dst, want, bytes)) kc_fail(kc, "not the scalar blocks");
    judge_acts(kc, dst, x, n);
}

/* What is not finite must show in d of its own block and nowhere else; NaN hides behind nothing. */
static void quant_act_not_finite(struct kc *kc)
{
    static const float odd[] = {NAN, -INFINITY, INFINITY, 0x1p-101f, 0x1p-140f};
    for (size_t i = 0; i < COUNT_OF(odd); i++)
        for (size_t at = 0; at < 64; at++) {
            kc_case(kc, "%g at %zu", (double)odd[i], at);
            kc_reset(kc);
            float *x = kc_in(kc, 96 * sizeof *x);
            struct act_q8 *dst = kc_out(kc, sizeof *dst), want;
            kc_fill_floats(kc, fabsf(odd[i]) < 1 ? KC_ZEROS : KC_RANDOM, x, 96);
            x[at] = odd[i];
            kc->ops->quant_act(dst, x, 96);
            kc->scalar->quant_act(&want, x, 96);
            for (size_t b = 0; b < 8; b++) {
                bool same = memcmp(&dst->d[b], &want.d[b], 4) == 0 ||
                            (isnan(dst->d[b]) && isnan(want.d[b]));
                if (!same || (b != at / 32 && !isfinite(dst->d[b])))
                    kc_fail(kc, "d[%zu] is %g", b, (double)dst->d[b]);
                if (b == at / 32 && isfinite(odd[i]) != isfinite(dst->d[b])) kc_fail(kc, "lost");
            }
            if (memcmp(dst->sum, want.sum, sizeof want.sum) ||
                memcmp(dst->q, want.q, sizeof want.q))
                kc_fail(kc, "not the scalar blocks");
        }
}

void kc_check_quant_act(struct kc *kc)
{
    kc_for_lengths(kc, quant_act_case, 1);
    quant_act_not_finite(kc);
}
