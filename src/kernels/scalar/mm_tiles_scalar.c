/* mm_tiles_scalar.c - products of weights and activations rounded to BF16: the definition that tiles are held to.
 *
 * The product of two BF16 numbers has sixteen bits: exact in float32. */
#include <string.h>

#include "convert.h"
#include "parts_scalar.h"
#include "strip_block.h"

static float *sum_at(const struct kern_mm_args *a, int r, int t)
{
    return a->y + (size_t)t * a->y_stride + (size_t)r;
}

/* Columns from `at` on; a last block of F16 or BF16 may reach one beyond the end, where activations are zeros. */
static float add_block(float sum, const float *w, const struct kern_mm_args *a, int t, int at, int n)
{
    const char *x = (const char *)a->x + (size_t)t * a->x_stride + 2 * (size_t)at;
    for (int i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, x + 2 * i, sizeof h);
        sum += w[i] * float_of_bf16(h);
    }
    return sum;
}

static inline void mm_tiles(const struct kern_mm_args *a, enum dtype dtype,
                            void (*decode)(float *, const void *, size_t))
{
    const struct strip_form *f = strip_form(dtype);
    float w[STRIP_CHUNK];
    char block[256];
    for (int r = 0; r < a->n_rows; r++) {
        const char *strip = (const char *)a->w + (size_t)(r / STRIP) * a->w_stride;
        for (int t = 0; t < a->n_tokens; t++) *sum_at(a, r, t) = 0;
        for (int at = 0; at < a->n_cols; at += f->n_cols) {
            strip_block(block, f, strip, a->n_cols, r % STRIP, at / f->n_cols);
            decode(w, block, f->n_cols);
            for (int i = 0; i < f->n_cols; i++) w[i] = float_of_bf16(bf16_of_float(w[i]));
            for (int t = 0; t < a->n_tokens; t++)
                *sum_at(a, r, t) = add_block(*sum_at(a, r, t), w, a, t, at, f->n_cols);
        }
    }
}

#define MM_TILES(name, dtype)                                                                       \
    void mm_tiles_##name##_scalar(const struct kern_mm_args *a)                                     \
    {                                                                                               \
        mm_tiles(a, dtype, decode_##name##_scalar);                                                 \
    }
MM_TILES(f32, DTYPE_F32)
MM_TILES(f16, DTYPE_F16)
MM_TILES(bf16, DTYPE_BF16)
MM_TILES(q4_0, DTYPE_Q4_0)
MM_TILES(q4_1, DTYPE_Q4_1)
MM_TILES(q5_0, DTYPE_Q5_0)
MM_TILES(q5_1, DTYPE_Q5_1)
MM_TILES(q8_0, DTYPE_Q8_0)
MM_TILES(q2_k, DTYPE_Q2_K)
MM_TILES(q3_k, DTYPE_Q3_K)
MM_TILES(q4_k, DTYPE_Q4_K)
MM_TILES(q5_k, DTYPE_Q5_K)
MM_TILES(q6_k, DTYPE_Q6_K)
MM_TILES(iq4_nl, DTYPE_IQ4_NL)
MM_TILES(iq4_xs, DTYPE_IQ4_XS)
MM_TILES(mxfp4, DTYPE_MXFP4)
