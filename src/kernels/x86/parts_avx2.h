/* parts_avx2.h - the functions that table_avx2.c gathers; kern.h says what each must do. */
#ifndef PARTS_AVX2_H
#define PARTS_AVX2_H

#include "kern.h"

void pack_avx2(void *strip, enum dtype dtype, const void *rows, size_t row_bytes, int n_rows, int n_cols);
kern_mm_fn mm_f32_avx2, mm_f16_avx2, mm_bf16_avx2;
kern_mm_fn mm_q4_0_avx2, mm_q4_1_avx2, mm_q5_0_avx2, mm_q5_1_avx2, mm_q8_0_avx2, mm_iq4_nl_avx2, mm_mxfp4_avx2;
kern_mm_fn mm_q2_k_avx2, mm_q3_k_avx2, mm_q4_k_avx2, mm_q5_k_avx2, mm_q6_k_avx2, mm_iq4_xs_avx2;
void decode_f16_avx2(float *dst, const void *src, size_t n);
void encode_f16_avx2(void *dst, const float *src, size_t n);
void encode_bf16_avx2(void *dst, const float *src, size_t n);
void encode_q8_0_avx2(void *dst, const float *src, size_t n);
void encode_q4_0_avx2(void *dst, const float *src, size_t n);
void encode_q4_k_avx2(void *dst, const float *src, size_t n);
void encode_q5_k_avx2(void *dst, const float *src, size_t n);
void encode_q6_k_avx2(void *dst, const float *src, size_t n);
void encode_weighted_q4_0_avx2(void *dst, const float *src, const float *weight, size_t n);
void encode_weighted_q4_1_avx2(void *dst, const float *src, const float *weight, size_t n);
void encode_weighted_q5_0_avx2(void *dst, const float *src, const float *weight, size_t n);
void encode_weighted_q5_1_avx2(void *dst, const float *src, const float *weight, size_t n);
void encode_weighted_q4_k_avx2(void *dst, const float *src, const float *weight, size_t n);
void encode_weighted_q5_k_avx2(void *dst, const float *src, const float *weight, size_t n);
void encode_weighted_q6_k_avx2(void *dst, const float *src, const float *weight, size_t n);
void quant_act_avx2(struct act_q8 *dst, const float *x, size_t n);
float dot_avx2(const float *a, const float *b, size_t n);
void add_avx2(float *y, const float *x, size_t n);
void axpy_avx2(float *y, float a, const float *x, size_t n);
void scale_avx2(float *x, float a, size_t n);
float max_avx2(const float *x, size_t n);
float exp_sum_avx2(float *x, float max, size_t n);
void rms_norm_avx2(float *y, const float *x, const float *weight, size_t n, float eps);
void layer_norm_avx2(float *y, const float *x, const float *weight, const float *bias, size_t n,
                     float eps);
void act_silu_avx2(float *y, const float *gate, const float *up, size_t n);
void act_gelu_avx2(float *y, const float *gate, const float *up, size_t n);
void act_gelu_erf_avx2(float *y, const float *gate, const float *up, size_t n);
void act_gelu_quick_avx2(float *y, const float *gate, const float *up, size_t n);
void act_relu_avx2(float *y, const float *gate, const float *up, size_t n);
void act_relu_sqr_avx2(float *y, const float *gate, const float *up, size_t n);
void act_swiglu_oai_avx2(float *y, const float *gate, const float *up, size_t n);
void softcap_avx2(float *x, float cap, size_t n);

#define PARTS_AVX2_KV(type)                                                                         \
    void kv_dot_##type##_avx2(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q,  \
                              const struct kern_kv *k);                                             \
    void kv_sum_##type##_avx2(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q,  \
                              const struct kern_kv *v);
PARTS_AVX2_KV(f32)
PARTS_AVX2_KV(f16)
PARTS_AVX2_KV(bf16)
PARTS_AVX2_KV(q8_0)
PARTS_AVX2_KV(q4_0)
#undef PARTS_AVX2_KV

#endif
