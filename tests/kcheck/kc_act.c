/* kc_act.c - activation functions and soft caps: each against its formula in double.
 *
 * The error that is allowed is a few units in the last place, and more where an exponential has a large
 * argument: a relative error in the argument is in the result as many times as the argument is large. */
#include <math.h>
#include <string.h>

#include "base.h"
#include "kcheck.h"

#define ROUNDINGS 12      /* units allowed at least, */
#define OF_ARGUMENT 6     /* and times the argument of the exponential */
#define RANGE_END 87.3    /* exp(-87.3): the exponent range of normal numbers ends */
#define EXP_FLOOR 1.3e-38 /* that number */

struct formula { /* in double; argument: of the exponential, for the bound */
    double (*value)(double x), (*argument)(double x);
};

static double gelu_argument(double x)
{
    return 2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x);
}

static double quick_argument(double x)
{
    return 1.702 * x;
}

static double itself(double x)
{
    return x;
}

static double half_square(double x)
{
    return x * x / 2;
}

static double nothing(double x)
{
    (void)x;
    return 0;
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static double gelu(double x)
{
    return x / (1 + exp(-gelu_argument(x)));
}

static double gelu_erf(double x)
{
    return x / 2 * erfc(-x / sqrt(2));
}

static double gelu_quick(double x)
{
    return x / (1 + exp(-quick_argument(x)));
}

static double relu(double x)
{
    return x < 0 ? 0 : x;
}

static double relu_sqr(double x)
{
    return relu(x) * relu(x);
}

static double swiglu_oai(double x)
{
    return gelu_quick(x > 7 ? 7 : x);
}

static const struct formula formulas[KERN_ACT_COUNT] = {
    [KERN_ACT_SILU] = {silu, itself},
    [KERN_ACT_GELU] = {gelu, gelu_argument},
    [KERN_ACT_GELU_ERF] = {gelu_erf, half_square},
    [KERN_ACT_GELU_QUICK] = {gelu_quick, quick_argument},
    [KERN_ACT_RELU] = {relu, nothing},
    [KERN_ACT_RELU_SQR] = {relu_sqr, nothing},
    [KERN_ACT_SWIGLU_OAI] = {swiglu_oai, quick_argument},
};

/* What f(gate) is multiplied by. */
static double factor_of(const struct kc *kc, const float *up, size_t i)
{
    if (!up) return 1;
    double u = (double)up[i];
    return kc->index == KERN_ACT_SWIGLU_OAI ? (u > 7 ? 7 : u < -7 ? -7 : u) + 1 : u;
}

static void judge(struct kc *kc, size_t i, float got, double x, double factor)
{
    const struct formula *f = &formulas[kc->index];
    double argument = fabs(f->argument(x)), want = f->value(x) * factor;
    double bound = KC_TINY * (2 + 2 * fabs(factor));
    if (argument < RANGE_END)
        bound += (ROUNDINGS + OF_ARGUMENT * argument) * KC_UNIT * fabs(want);
    else
        bound += ROUNDINGS * KC_UNIT * fabs(want) + EXP_FLOOR * fabs(x * factor);
    if (kc->index == KERN_ACT_SWIGLU_OAI) /* of u + 1, where u is nearly -1 */
        bound += KC_UNIT * fabs(f->value(x));
    kc_near(kc, "y", i, got, (double)(float)want, bound);
}

static float *floats_in(struct kc *kc, enum kc_fill fill, size_t n, float scale)
{
    float *x = kc_in(kc, n * sizeof *x);
    kc_fill_floats(kc, fill, x, n);
    for (size_t i = 0; i < n; i++) x[i] *= scale;
    return x;
}

/* y apart or on top of either input, and without a factor. */
static void act_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    enum { APART, ON_GATE, ON_UP, ALONE, ALONE_ON_GATE, LAYOUTS };
    float *gate = floats_in(kc, fill, n, fill == KC_RANDOM ? 5 : 1);
    float *up = floats_in(kc, KC_RANDOM, n, 4), *y = kc_out(kc, n * sizeof *y);
    int layout = kc_below(kc, LAYOUTS);
    bool alone = layout >= ALONE, on_gate = layout == ON_GATE || layout == ALONE_ON_GATE;
    if (on_gate || layout == ON_UP) memcpy(y, on_gate ? gate : up, n * sizeof *y);
    kc_before(kc);
    kc->ops->act[kc->index](y, on_gate ? y : gate, alone ? NULL : layout == ON_UP ? y : up, n);
    kc_after(kc);
    for (size_t i = 0; i < n; i++)
        judge(kc, i, y[i], (double)gate[i], factor_of(kc, alone ? NULL : up, i));
}

/* Every hundredth over the range where the functions bend; and what is not finite, in every lane: as the
 * definition has it. */
static void act_sweep(struct kc *kc)
{
    enum { N = 4000, ODD = 7 };
    static const float odd[ODD] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0, -0.0f};
    float *gate = kc_in(kc, N * sizeof *gate), *y = kc_out(kc, N * sizeof *y);
    kc_case(kc, "-20 to 20");
    for (size_t i = 0; i < N; i++) gate[i] = (float)i * 0.01f - 20;
    kc_before(kc);
    kc->ops->act[kc->index](y, gate, NULL, N);
    kc_after(kc);
    for (size_t i = 0; i < N; i++) judge(kc, i, y[i], (double)gate[i], 1);
    for (size_t at = 0; at < (size_t)ODD * 40; at++) {
        float here = odd[at % ODD], factor = at % 2 ? here : 1, x[40], u[40], got[40], want[40];
        kc_case(kc, "%g at %zu times %g", (double)here, at / ODD, (double)factor);
        for (size_t i = 0; i < 40; i++) x[i] = u[i] = 1;
        x[at / ODD] = here;
        u[at / ODD] = factor;
        kc->ops->act[kc->index](got, x, u, 40);
        kc->scalar->act[kc->index](want, x, u, 40);
        for (size_t i = 0; i < 40; i++)
            kc_near(kc, "y", i, got[i], (double)want[i], 1e-5 * fabs((double)want[i]));
    }
}

void kc_check_act(struct kc *kc)
{
    kc_for_lengths(kc, act_case, 1);
    kc_reset(kc);
    act_sweep(kc);
}

/* ---- soft caps --------------------------------------------------------------------------- */

static void softcap_case(struct kc *kc, enum kc_fill fill, size_t n)
{
    float scale = fill == KC_RANDOM ? (float)(1 << kc_below(kc, 10)) : 1;
    float *old = floats_in(kc, fill, n, scale), *x = kc_out(kc, n * sizeof *x);
    float cap = 1 + (float)kc_below(kc, 60), odd[] = {NAN, INFINITY, -INFINITY};
    if (n && fill == KC_CONSTANT) old[kc_below(kc, (int)n)] = odd[kc_below(kc, COUNT_OF(odd))];
    memcpy(x, old, n * sizeof *x);
    kc_before(kc);
    kc->ops->softcap(x, cap, n);
    kc_after(kc);
    for (size_t i = 0; i < n; i++) {
        double want = (double)cap * tanh((double)old[i] / (double)cap);
        kc_near(kc, "x", i, x[i], want, 10 * KC_UNIT * fabs(want) + (double)(2 * cap) * KC_TINY);
    }
}

void kc_check_softcap(struct kc *kc)
{
    kc_for_lengths(kc, softcap_case, 1);
}
