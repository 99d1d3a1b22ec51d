/* act_scalar.c - activation functions, one element at a time: the definition of right.
 *
 * The forms are those that lose no digits where x is negative and f(x) nearly zero.  Infinities cause no
 * NaN but for x = -inf, where -inf times 0 is one. */
#include <math.h>

#include "parts_scalar.h"

/* x sigmoid(z) */
static float gated(float x, float z)
{
    return x / (1 + expf(-z));
}

static float silu(float x)
{
    return gated(x, x);
}

static float gelu(float x)
{
    return gated(x, 2 * 0.797884561f * (x + 0.044715f * x * x * x));
}

static float gelu_erf(float x)
{
    return (float)(0.5 * (double)x * erfc((double)x * -0.70710678118654752));
}

static float gelu_quick(float x)
{
    return gated(x, 1.702f * x);
}

static float relu(float x)
{
    return x < 0 ? 0 : x; /* NaN stays */
}

static float relu_sqr(float x)
{
    return relu(x) * relu(x);
}

static inline void act(float *y, const float *gate, const float *up, size_t n, float (*f)(float))
{
    for (size_t i = 0; i < n; i++) y[i] = up ? f(gate[i]) * up[i] : f(gate[i]);
}

#define ACT(name)                                                                                   \
    void act_##name##_scalar(float *y, const float *gate, const float *up, size_t n)               \
    {                                                                                               \
        act(y, gate, up, n, name);                                                                  \
    }
ACT(silu)
ACT(gelu)
ACT(gelu_erf)
ACT(gelu_quick)
ACT(relu)
ACT(relu_sqr)

void act_swiglu_oai_scalar(float *y, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float f = gelu_quick(gate[i] > 7 ? 7 : gate[i]), u = up ? up[i] : 0;
        y[i] = f * ((u > 7 ? 7 : u < -7 ? -7 : u) + 1);
    }
}
