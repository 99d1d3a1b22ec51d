/* cuda_act.cuh - activation functions, number by number; kern.h has the formulas. */
#ifndef CUDA_ACT_CUH
#define CUDA_ACT_CUH

#include "cuda_backend.h"
#include "lane.cuh"

LANE float act_gated(float x, float z) /* x sigmoid(z) */
{
    return x / (1 + expf(-z));
}

LANE float act_relu(float x)
{
    return x < 0 ? 0 : x; /* NaN stays */
}

/* f(x), but of SWIGLU_OAI what stands before its second factor. */
LANE float act_of(enum activation act, float x)
{
    switch (act) {
    case ACT_SILU: return act_gated(x, x);
    case ACT_GELU: return act_gated(x, 2 * 0.797884561f * (x + 0.044715f * x * x * x));
    case ACT_GELU_ERF: return 0.5f * x * erfcf(x * -0.707106781f);
    case ACT_GELU_QUICK: return act_gated(x, 1.702f * x);
    case ACT_RELU: return act_relu(x);
    case ACT_RELU_SQR: return act_relu(x) * act_relu(x);
    case ACT_SWIGLU_OAI: break;
    }
    float g = x > 7 ? 7 : x;
    return act_gated(g, 1.702f * g);
}

/* f(gate) * up */
LANE float act_glu(enum activation act, float gate, float up)
{
    if (act == ACT_SWIGLU_OAI) up = (up > 7 ? 7 : up < -7 ? -7 : up) + 1;
    return act_of(act, gate) * up;
}

#endif
