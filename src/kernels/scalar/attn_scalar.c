/* attn_scalar.c - scores against cached keys and weighted sums of cached values. */
#include <string.h>

#include "blocks.h"
#include "convert.h"
#include "parts_scalar.h"

static float read_f32(const char *row, int i)
{
    float x;
    memcpy(&x, row + 4 * i, sizeof x);
    return x;
}

static float read_f16(const char *row, int i)
{
    uint16_t h;
    memcpy(&h, row + 2 * i, sizeof h);
    return float_of_f16(h);
}

static float read_bf16(const char *row, int i)
{
    uint16_t h;
    memcpy(&h, row + 2 * i, sizeof h);
    return float_of_bf16(h);
}

/* Codes times a scale of eleven bits: exact in float32. */
static float read_q8_0(const char *row, int i)
{
    struct block_q8_0 b;
    memcpy(&b, row + sizeof b * (size_t)(i / 32), sizeof b);
    return float_of_f16(b.d) * (float)b.qs[i % 32];
}

static float read_q4_0(const char *row, int i)
{
    struct block_q4_0 b;
    memcpy(&b, row + sizeof b * (size_t)(i / 32), sizeof b);
    return float_of_f16(b.d) * (float)((b.qs[i % 16] >> i % 32 / 16 * 4 & 15) - 8);
}

static inline void kv_dot(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q,
                          const struct kern_kv *k, float (*read)(const char *, int))
{
    for (int i = 0; i < n_q; i++) {
        const char *row = k->rows;
        for (int j = 0; j < k->n; j++, row += k->stride) {
            float sum = 0;
            for (int c = 0; c < k->d; c++) sum += q[(size_t)i * q_stride + (size_t)c] * read(row, c);
            s[(size_t)i * s_stride + (size_t)j] = sum;
        }
    }
}

static inline void kv_sum(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q,
                          const struct kern_kv *v, float (*read)(const char *, int))
{
    for (int i = 0; i < n_q; i++) {
        const char *row = v->rows;
        for (int j = 0; j < v->n; j++, row += v->stride)
            for (int c = 0; c < v->d; c++)
                o[(size_t)i * o_stride + (size_t)c] += p[(size_t)i * p_stride + (size_t)j] * read(row, c);
    }
}

#define KV(type)                                                                                        \
    void kv_dot_##type##_scalar(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q,    \
                                const struct kern_kv *k)                                                \
    {                                                                                                   \
        kv_dot(s, s_stride, q, q_stride, n_q, k, read_##type);                                          \
    }                                                                                                   \
    void kv_sum_##type##_scalar(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q,    \
                                const struct kern_kv *v)                                                \
    {                                                                                                   \
        kv_sum(o, o_stride, p, p_stride, n_q, v, read_##type);                                          \
    }
KV(f32)
KV(f16)
KV(bf16)
KV(q8_0)
KV(q4_0)
