/* mm_scalar.c - matrix products, one row and one token at a time: the definition of right, to the last bit.
 *
 * kern.h says in what order a sum is taken; every other table keeps to it. */
#include <math.h>
#include <string.h>

#include "base.h"
#include "blocks.h"
#include "parts_scalar.h"
#include "quant_values.h"
#include "strip_block.h"

static float *sum_at(const struct kern_mm_args *a, int r, int t)
{
    return a->y + (size_t)t * a->y_stride + (size_t)r;
}

static const void *token_at(const struct kern_mm_args *a, int t)
{
    return (const char *)a->x + (size_t)t * a->x_stride;
}

/* ---- F32, F16, BF16 ------------------------------------------------------------------------------ */

static inline void mm_float(const struct kern_mm_args *a, enum dtype dtype,
                            void (*decode)(float *, const void *, size_t))
{
    const struct strip_form *f = strip_form(dtype);
    for (int r = 0; r < a->n_rows; r++) {
        const char *strip = (const char *)a->w + (size_t)(r / STRIP) * a->w_stride;
        for (int t = 0; t < a->n_tokens; t++) *sum_at(a, r, t) = 0;
        for (int at = 0; at < a->n_cols; at += KERN_PIECE) {
            int n = MIN(KERN_PIECE, a->n_cols - at);
            float w[KERN_PIECE + 1];
            for (int i = 0; i < n; i += f->n_cols) {
                char block[4];
                strip_block(block, f, strip, a->n_cols, r % STRIP, (at + i) / f->n_cols);
                decode(w + i, block, f->n_cols);
            }
            for (int t = 0; t < a->n_tokens; t++) {
                const float *x = (const float *)token_at(a, t) + at;
                float sum = 0;
                for (int i = 0; i < n; i++) sum = fmaf(w[i], x[i], sum);
                *sum_at(a, r, t) += sum;
            }
        }
    }
}

void mm_f32_scalar(const struct kern_mm_args *a)
{
    mm_float(a, DTYPE_F32, decode_f32_scalar);
}

void mm_f16_scalar(const struct kern_mm_args *a)
{
    mm_float(a, DTYPE_F16, decode_f16_scalar);
}

void mm_bf16_scalar(const struct kern_mm_args *a)
{
    mm_float(a, DTYPE_BF16, decode_bf16_scalar);
}

/* ---- quantised ----------------------------------------------------------------------------------- */

/* sum, continued over one unpacked block against the activations from element `at` of a token's row on. */
static float add_block(float sum, const struct unpacked *u, const struct act_q8 *x, int at, bool has_min)
{
    for (int g = 0; g * u->group < u->n; g++) {
        int from = at + g * u->group;
        const struct act_q8 *b = x + from / 256;
        const int8_t *p = b->q + from % 256, *q = u->q + g * u->group;
        int product = 0, total = 0;
        for (int i = 0; i < u->group; i++) product += q[i] * p[i];
        for (int i = 0; i < u->group; i += 16) total += b->sum[(from % 256 + i) / 16];
        float e = b->d[from % 256 / 32];
        sum = fmaf((float)product, u->d[g] * e, sum);
        if (has_min) sum = fmaf(u->m[g], e * (float)total, sum);
    }
    return sum;
}

static inline void mm_blocks(const struct kern_mm_args *a, enum dtype dtype, bool has_min)
{
    const struct strip_form *f = strip_form(dtype);
    struct unpacked u;
    char block[256];
    for (int r = 0; r < a->n_rows; r++) {
        const char *strip = (const char *)a->w + (size_t)(r / STRIP) * a->w_stride;
        for (int t = 0; t < a->n_tokens; t++) *sum_at(a, r, t) = 0;
        for (int at = 0; at < a->n_cols; at += f->n_cols) {
            strip_block(block, f, strip, a->n_cols, r % STRIP, at / f->n_cols);
            unpack_scalar[dtype](&u, block);
            for (int t = 0; t < a->n_tokens; t++)
                *sum_at(a, r, t) = add_block(*sum_at(a, r, t), &u, token_at(a, t), at, has_min);
        }
    }
}

#define MM(name, dtype, has_min)                                                                    \
    void mm_##name##_scalar(const struct kern_mm_args *a)                                           \
    {                                                                                               \
        mm_blocks(a, dtype, has_min);                                                               \
    }
MM(q4_0, DTYPE_Q4_0, false)
MM(q4_1, DTYPE_Q4_1, true)
MM(q5_0, DTYPE_Q5_0, false)
MM(q5_1, DTYPE_Q5_1, true)
MM(q8_0, DTYPE_Q8_0, false)
MM(q2_k, DTYPE_Q2_K, true)
MM(q3_k, DTYPE_Q3_K, false)
MM(q4_k, DTYPE_Q4_K, true)
MM(q5_k, DTYPE_Q5_K, true)
MM(q6_k, DTYPE_Q6_K, false)
MM(iq4_nl, DTYPE_IQ4_NL, false)
MM(iq4_xs, DTYPE_IQ4_XS, false)
MM(mxfp4, DTYPE_MXFP4, false)
