/* parts_avx512.h - the functions that table_avx512.c gathers; kern.h says what each must do. */
#ifndef PARTS_AVX512_H
#define PARTS_AVX512_H

#include "kern.h"

void pack_avx512(void *strip, enum dtype dtype, const void *rows, size_t row_bytes, int n_rows, int n_cols);
void mm_f32_avx512(const struct kern_mm_args *a);
void mm_f16_avx512(const struct kern_mm_args *a);
void mm_bf16_avx512(const struct kern_mm_args *a);
void mm_q4_0_avx512(const struct kern_mm_args *a);
void mm_q4_1_avx512(const struct kern_mm_args *a);
void mm_q5_0_avx512(const struct kern_mm_args *a);
void mm_q5_1_avx512(const struct kern_mm_args *a);
void mm_q8_0_avx512(const struct kern_mm_args *a);
void mm_iq4_nl_avx512(const struct kern_mm_args *a);
void mm_mxfp4_avx512(const struct kern_mm_args *a);
void mm_q2_k_avx512(const struct kern_mm_args *a);
void mm_q3_k_avx512(const struct kern_mm_args *a);
void mm_q4_k_avx512(const struct kern_mm_args *a);
void mm_q5_k_avx512(const struct kern_mm_args *a);
void mm_q6_k_avx512(const struct kern_mm_args *a);
void mm_iq4_xs_avx512(const struct kern_mm_args *a);

void quant_act_avx512(struct act_q8 *dst, const float *x, size_t n);
float dot_avx512(const float *a, const float *b, size_t n);
void axpy_avx512(float *y, float a, const float *x, size_t n);
void rope_pairs_avx512(float *x, const float *cs, size_t n_rot);
void rope_halves_avx512(float *x, const float *cs, size_t n_rot);
float exp_sum_avx512(float *x, float max, size_t n);
void act_silu_avx512(float *y, const float *gate, const float *up, size_t n);
void act_gelu_avx512(float *y, const float *gate, const float *up, size_t n);
void act_gelu_erf_avx512(float *y, const float *gate, const float *up, size_t n);
void act_gelu_quick_avx512(float *y, const float *gate, const float *up, size_t n);
void act_swiglu_oai_avx512(float *y, const float *gate, const float *up, size_t n);
void softcap_avx512(float *x, float cap, size_t n);

#define PARTS_AVX512_KV(type)                                                                           \
    void kv_dot_##type##_avx512(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q,    \
                                const struct kern_kv *k);                                               \
    void kv_sum_##type##_avx512(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q,    \
                                const struct kern_kv *v);
PARTS_AVX512_KV(f32)
PARTS_AVX512_KV(f16)
PARTS_AVX512_KV(bf16)
PARTS_AVX512_KV(q8_0)
PARTS_AVX512_KV(q4_0)
#undef PARTS_AVX512_KV

#endif
