/* parts_scalar.h - the functions that table_scalar.c gathers; kern.h says what each must do. */
#ifndef PARTS_SCALAR_H
#define PARTS_SCALAR_H

#include "kern.h"

/* elem_scalar.c */
float dot_scalar(const float *a, const float *b, size_t n);
void add_scalar(float *y, const float *x, size_t n);
void axpy_scalar(float *y, float a, const float *x, size_t n);
void scale_scalar(float *x, float a, size_t n);
float max_scalar(const float *x, size_t n);
float exp_sum_scalar(float *x, float max, size_t n);
void rms_norm_scalar(float *y, const float *x, const float *weight, size_t n, float eps);
void layer_norm_scalar(float *y, const float *x, const float *weight, const float *bias, size_t n, float eps);
void softcap_scalar(float *x, float cap, size_t n);
void rope_pairs_scalar(float *x, const float *cs, size_t n_rot);
void rope_halves_scalar(float *x, const float *cs, size_t n_rot);
void quant_act_scalar(struct act_q8 *dst, const float *x, size_t n);

/* pack_scalar.c */
void pack_scalar(void *strip, enum dtype dtype, const void *rows, size_t row_bytes, int n_rows, int n_cols);
void turn_scalar(void *strips, size_t stride, const float *rows, int n, int d);

/* act_scalar.c */
void act_silu_scalar(float *y, const float *gate, const float *up, size_t n);
void act_gelu_scalar(float *y, const float *gate, const float *up, size_t n);
void act_gelu_erf_scalar(float *y, const float *gate, const float *up, size_t n);
void act_gelu_quick_scalar(float *y, const float *gate, const float *up, size_t n);
void act_relu_scalar(float *y, const float *gate, const float *up, size_t n);
void act_relu_sqr_scalar(float *y, const float *gate, const float *up, size_t n);
void act_swiglu_oai_scalar(float *y, const float *gate, const float *up, size_t n);

/* quant_decode_scalar.c, quant_encode_*_scalar.c, mm_scalar.c, mm_tiles_scalar.c: one for every element type */
#define PARTS_SCALAR_TYPES(X)                                                                       \
    X(f32) X(f16) X(bf16) X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q8_0) X(q2_k) X(q3_k) X(q4_k) X(q5_k)   \
    X(q6_k) X(iq4_nl) X(iq4_xs) X(mxfp4)
#define PARTS_SCALAR_DECLARE(type)                                                                  \
    void decode_##type##_scalar(float *dst, const void *src, size_t n);                             \
    void encode_##type##_scalar(void *dst, const float *src, size_t n);                             \
    void mm_##type##_scalar(const struct kern_mm_args *a);                                          \
    void mm_tiles_##type##_scalar(const struct kern_mm_args *a);
PARTS_SCALAR_TYPES(PARTS_SCALAR_DECLARE)
#undef PARTS_SCALAR_DECLARE

/* and for those that have a scale to be searched */
#define PARTS_SCALAR_SEARCHED(X)                                                                    \
    X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q2_k) X(q3_k) X(q4_k) X(q5_k) X(q6_k) X(iq4_nl) X(iq4_xs)
#define PARTS_SCALAR_DECLARE(type)                                                                  \
    void encode_weighted_##type##_scalar(void *dst, const float *src, const float *weight, size_t n);
PARTS_SCALAR_SEARCHED(PARTS_SCALAR_DECLARE)
#undef PARTS_SCALAR_DECLARE

/* attn_scalar.c: one for every type of a cache */
#define PARTS_SCALAR_KV(X) X(f32) X(f16) X(bf16) X(q8_0) X(q4_0)
#define PARTS_SCALAR_DECLARE_KV(type)                                                                   \
    void kv_dot_##type##_scalar(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q,    \
                                const struct kern_kv *k);                                               \
    void kv_sum_##type##_scalar(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q,    \
                                const struct kern_kv *v);
PARTS_SCALAR_KV(PARTS_SCALAR_DECLARE_KV)
#undef PARTS_SCALAR_DECLARE_KV

#endif
