/* kc_elem.c - vectors of float32: each slot against the same formula in double.
 *
 * add, scale and max leave no freedom and must be equal; axpy may or may not fuse; sums are held to
 * c u sum|ab|; exponentials to 2e-6 of themselves, where below exp(-87.3) all are as good as zero.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base.h"
#include "convert.h"
#include "kcheck.h"

#define EXP_BOUND 2e-6
#define EXP_FLOOR 1.3e-38 /* exp(-87.3): the exponent range of normal numbers ends */

void kc_for_lengths(struct kc *kc, void (*run)(struct kc *, enum kc_fill, size_t), size_t step)
{
    static const size_t large[] = {2048, 2880, 4096, 11008};
    for (int side = KC_BEHIND; side <= KC_BEFORE; side++)
        for (int fill = 0; fill < KC_FILLS; fill++)
            for (size_t i = 0; i <= 300 / step + COUNT_OF(large); i++) {
                size_t n = i <= 300 / step ? i * step : large[i - 300 / step - 1];
                if (n % step) continue;
                kc->side = (enum kc_side)side;
                kc_case(kc, "n=%zu, %s, guard %s", n, kc_fill_names[fill],
                        side ? "before" : "behind");
                kc_reset(kc);
                run(kc, (enum kc_fill)fill, n);
            }
}

static float *floats_in(struct kc *kc, enum kc_fill fill, size_t n)
{
    float *x = kc_in(kc, n * sizeof *x);
    kc_fill_floats(kc, fill, x, n);
    return x;
}

/* An output that holds numbers, and a copy of them. */
static float *floats_inout(struct kc *kc, enum kc_fill fill, size_t n, float **copy)
{
    *copy = floats_in(kc, fill, n);
    float *y = kc_out(kc, n * sizeof *y);
    memcpy(y, *copy, n * sizeof *y);
    return y;
}

static float one(struct kc *kc)
{
    return (float)rng_normal(&kc->rng);
}

static void dot_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    float *a = floats_in(kc, fill, n), *b = floats_in(kc, fill, n);
    double sum = 0, magnitude = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)a[i] * (double)b[i];
        magnitude += fabs((double)a[i] * (double)b[i]);
    }
    kc_before(kc);
    float got = kc->ops->dot(a, b, n);
    kc_after(kc);
    kc_near(kc, "dot", 0, got, sum, kc_sum_bound(fill, n) * magnitude + (double)n * KC_TINY);
}

void kc_check_dot(struct kc *kc)
{
    kc_for_lengths(kc, dot_case, 1);
}

static void add_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    float *x = floats_in(kc, fill, n), *old, *y = floats_inout(kc, KC_RANDOM, n, &old);
    kc_before(kc);
    kc->ops->add(y, x, n);
    kc_after(kc);
    for (size_t i = 0; i < n; i++) kc_near(kc, "y", i, y[i], (double)(old[i] + x[i]), 0);
}

void kc_check_add(struct kc *kc)
{
    kc_for_lengths(kc, add_case, 1);
}

static void axpy_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    float *x = floats_in(kc, fill, n), *old, *y = floats_inout(kc, fill, n, &old), a = one(kc);
    kc_before(kc);
    kc->ops->axpy(y, a, x, n);
    kc_after(kc);
    for (size_t i = 0; i < n; i++) {
        double product = (double)a * (double)x[i], want = (double)old[i] + product;
        double bound = KC_UNIT * 1.0001 * (fabs(product) + fabs(want)) + KC_TINY;
        kc_near(kc, "y", i, y[i], want, bound);
    }
}

void kc_check_axpy(struct kc *kc)
{
    kc_for_lengths(kc, axpy_case, 1);
}

static void scale_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    float *old, *x = floats_inout(kc, fill, n, &old), a = one(kc);
    kc_before(kc);
    kc->ops->scale(x, a, n);
    kc_after(kc);
    for (size_t i = 0; i < n; i++) kc_near(kc, "x", i, x[i], (double)(old[i] * a), 0);
}

void kc_check_scale(struct kc *kc)
{
    kc_for_lengths(kc, scale_case, 1);
}

static void max_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    float *x = floats_in(kc, fill, n), top = -INFINITY;
    if (n && fill == KC_MIXED) x[kc_below(kc, (int)n)] = -INFINITY;
    for (size_t i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    kc_before(kc);
    float got = kc->ops->max(x, n);
    kc_after(kc);
    kc_near(kc, "max", 0, got, (double)top, 0);
}

void kc_check_max(struct kc *kc)
{
    kc_for_lengths(kc, max_case, 1);
}

/* ---- exponentials ------------------------------------------------------------------------ */

/* As softmax calls it: max is the largest, some scores are masked; CONSTANT: all of them are. */
static void exp_sum_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    float *old, *x = floats_inout(kc, fill, n, &old), top = -INFINITY;
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (fill == KC_RANDOM) x[i] *= 20;
        if (fill == KC_CONSTANT || kc_below(kc, 16) == 0) x[i] = -INFINITY;
        if (fill == KC_NEGATIVE && kc_below(kc, 64) == 0) x[i] = NAN;
        top = x[i] > top ? x[i] : top;
    }
    memcpy(old, x, n * sizeof *x);
    kc_before(kc);
    float got = kc->ops->exp_sum(x, top, n);
    kc_after(kc);
    for (size_t i = 0; i < n; i++) {
        double want = old[i] == -INFINITY ? 0 : exp((double)(old[i] - top));
        sum += want;
        kc_near(kc, "x", i, x[i], want, EXP_BOUND * want + (old[i] == -INFINITY ? 0 : EXP_FLOOR));
    }
    kc_near(kc, "sum", 0, got, sum,
            (EXP_BOUND + kc_sum_bound(KC_CONSTANT, n)) * sum + (double)n * EXP_FLOOR);
}

void kc_check_exp_sum(struct kc *kc)
{
    kc_for_lengths(kc, exp_sum_case, 1);
}

/* ---- normalisation and rotation ---------------------------------------------------------- */

static const float *floats_or_null(struct kc *kc, size_t n)
{
    float *x = floats_in(kc, KC_RANDOM, n);
    return kc_below(kc, 3) ? x : NULL;
}

static void rms_norm_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    float *x = floats_in(kc, fill, n), eps = 1e-6f, *y = kc_out(kc, n * sizeof *y);
    const float *weight = floats_or_null(kc, n);
    bool alias = kc_below(kc, 2);
    double square = 0;
    for (size_t i = 0; i < n; i++) square += (double)x[i] * (double)x[i];
    double factor = 1 / sqrt(square / (double)n + (double)eps);
    if (alias) memcpy(y, x, n * sizeof *y);
    kc_before(kc);
    kc->ops->rms_norm(y, alias ? y : x, weight, n, eps);
    kc_after(kc);
    for (size_t i = 0; i < n; i++) {
        double want = (double)x[i] * factor * (weight ? (double)weight[i] : 1);
        kc_near(kc, "y", i, y[i], want, 4 * KC_UNIT * fabs(want) + 16 * KC_TINY * factor);
    }
}

void kc_check_rms_norm(struct kc *kc)
{
    kc_for_lengths(kc, rms_norm_case, 1);
}

/* Half the random rows lie far from zero for their width: what is left after the mean must be right. */
static void layer_norm_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    float *x = floats_in(kc, fill, n), eps = 1e-6f, *y = kc_out(kc, n * sizeof *y);
    const float *weight = floats_or_null(kc, n), *bias = floats_or_null(kc, n);
    bool alias = kc_below(kc, 2), far = fill == KC_RANDOM && kc_below(kc, 2);
    double mean = 0, square = 0, largest = 0;
    for (size_t i = 0; i < n; i++) x[i] += far ? 1e4f : 0;
    for (size_t i = 0; i < n; i++) mean += (double)x[i] / (double)n;
    for (size_t i = 0; i < n; i++) square += ((double)x[i] - mean) * ((double)x[i] - mean);
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs((double)x[i]));
    double factor = 1 / sqrt(square / (double)n + (double)eps);
    if (alias) memcpy(y, x, n * sizeof *y);
    kc_before(kc);
    kc->ops->layer_norm(y, alias ? y : x, weight, bias, n, eps);
    kc_after(kc);
    for (size_t i = 0; i < n; i++) {
        double w = weight ? (double)weight[i] : 1, b = bias ? (double)bias[i] : 0;
        double product = ((double)x[i] - mean) * factor * w, want = product + b;
        double of_mean = largest * factor * fabs(w) * (double)n * 0x1p-52; /* double has its end, too */
        kc_near(kc, "y", i, y[i], want,
                5 * KC_UNIT * fabs(product) + 2 * KC_UNIT * fabs(want) + of_mean + 16 * KC_TINY * factor);
    }
}

void kc_check_layer_norm(struct kc *kc)
{
    kc_for_lengths(kc, layer_norm_case, 1);
}

static void rope_near(struct kc *kc, size_t i, float got, double a, double b)
{
    kc_near(kc, "x", i, got, a + b, 3 * KC_UNIT * (fabs(a) + fabs(b)) + 2 * KC_TINY);
}

static void rope_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    float *old, *x = floats_inout(kc, fill, n, &old), *cs = kc_in(kc, n * sizeof *cs);
    for (size_t i = 0; i < n / 2; i++) {
        double angle = rng_uniform(&kc->rng) * 100;
        cs[2 * i] = (float)cos(angle);
        cs[2 * i + 1] = (float)sin(angle);
    }
    kc_before(kc);
    kc->ops->rope[kc->index](x, cs, n);
    kc_after(kc);
    for (size_t i = 0; i < n / 2; i++) {
        size_t ia = kc->index == KERN_ROPE_PAIRS ? 2 * i : i;
        size_t ib = kc->index == KERN_ROPE_PAIRS ? 2 * i + 1 : i + n / 2;
        double a = (double)old[ia], b = (double)old[ib], c = (double)cs[2 * i],
               s = (double)cs[2 * i + 1];
        rope_near(kc, ia, x[ia], a * c, -b * s);
        rope_near(kc, ib, x[ib], a * s, b * c);
    }
}

void kc_check_rope(struct kc *kc)
{
    kc_for_lengths(kc, rope_case, 2);
}
