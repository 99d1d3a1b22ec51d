/* mm_scalar.c - matrix products, one element at a time: the definition of right.
 *
 * Float weights: y = sum of w x in float32, in order.
 * Quantised weights: per group of 16 or 32 elements w = d q + m, and activations x = e p with one e for
 * 32 of them, so that the group's share is d e (q . p) + m e (sum of p), with q . p an exact integer. */
#include <string.h>

#include "blocks.h"
#include "convert.h"
#include "parts_scalar.h"
#include "quant_values.h"

static inline void mm_float(const struct kern_mm_args *a, size_t element_bytes,
                            void (*decode)(float *, const void *, size_t))
{
    for (int r = 0; r < a->n_rows; r++) {
        const char *w = (const char *)a->w + (size_t)r * a->w_stride;
        for (int t = 0; t < a->n_tokens; t++) {
            const float *x = (const float *)(const void *)((const char *)a->x + (size_t)t * a->x_stride);
            float sum = 0;
            for (int c = 0; c < a->n_cols; c++) {
                float value;
                decode(&value, w + (size_t)c * element_bytes, 1);
                sum += value * x[c];
            }
            a->y[(size_t)t * a->y_stride + (size_t)r] = sum;
        }
    }
}

void mm_f32_scalar(const struct kern_mm_args *a)
{
    mm_float(a, 4, decode_f32_scalar);
}

void mm_f16_scalar(const struct kern_mm_args *a)
{
    mm_float(a, 2, decode_f16_scalar);
}

void mm_bf16_scalar(const struct kern_mm_args *a)
{
    mm_float(a, 2, decode_bf16_scalar);
}

/* One unpacked block against the activations from element `at` of a token's row on. */
static float dot_block(const struct unpacked *u, const struct act_q8 *x, int at)
{
    float sum = 0;
    for (int g = 0; g * u->group < u->n; g++) {
        int from = at + g * u->group;
        const struct act_q8 *b = x + from / 256;
        const int8_t *p = b->q + from % 256, *q = u->q + g * u->group;
        int product = 0, total = 0;
        for (int i = 0; i < u->group; i++) product += q[i] * p[i];
        for (int i = 0; i < u->group; i += 16) total += b->sum[(from % 256 + i) / 16];
        sum += b->d[from % 256 / 32] * (u->d[g] * (float)product + u->m[g] * (float)total);
    }
    return sum;
}

static inline void mm_blocks(const struct kern_mm_args *a, size_t block_bytes, unpack_fn *unpack)
{
    struct unpacked u;
    for (int r = 0; r < a->n_rows; r++) {
        const char *w = (const char *)a->w + (size_t)r * a->w_stride;
        for (int t = 0; t < a->n_tokens; t++) a->y[(size_t)t * a->y_stride + (size_t)r] = 0;
        for (int at = 0; at < a->n_cols; at += u.n, w += block_bytes) {
            unpack(&u, w);
            for (int t = 0; t < a->n_tokens; t++) {
                const void *x = (const char *)a->x + (size_t)t * a->x_stride;
                a->y[(size_t)t * a->y_stride + (size_t)r] += dot_block(&u, x, at);
            }
        }
    }
}

#define MM(name, dtype, block)                                                                      \
    void mm_##name##_scalar(const struct kern_mm_args *a)                                           \
    {                                                                                               \
        mm_blocks(a, sizeof(struct block), unpack_scalar[dtype]);                                   \
    }
MM(q4_0, DTYPE_Q4_0, block_q4_0)
MM(q4_1, DTYPE_Q4_1, block_q4_1)
MM(q5_0, DTYPE_Q5_0, block_q5_0)
MM(q5_1, DTYPE_Q5_1, block_q5_1)
MM(q8_0, DTYPE_Q8_0, block_q8_0)
MM(q2_k, DTYPE_Q2_K, block_q2_k)
MM(q3_k, DTYPE_Q3_K, block_q3_k)
MM(q4_k, DTYPE_Q4_K, block_q4_k)
MM(q5_k, DTYPE_Q5_K, block_q5_k)
MM(q6_k, DTYPE_Q6_K, block_q6_k)
MM(iq4_nl, DTYPE_IQ4_NL, block_iq4_nl)
MM(iq4_xs, DTYPE_IQ4_XS, block_iq4_xs)
MM(mxfp4, DTYPE_MXFP4, block_mxfp4)
