/* table_avx2.c - what beats the scalar table with AVX2, FMA, F16C and BMI2; the rest stays NULL and is
 * inherited. */
#if defined(__x86_64__)
#include "cpu.h"
#include "parts_avx2.h"

const struct kern_ops kern_avx2 = {
    .name = "avx2",
    .need = CPU_AVX2,
    .mm = {[DTYPE_F32] = mm_f32_avx2,
           [DTYPE_F16] = mm_f16_avx2,
           [DTYPE_BF16] = mm_bf16_avx2,
           [DTYPE_Q4_0] = mm_q4_0_avx2,
           [DTYPE_Q4_1] = mm_q4_1_avx2,
           [DTYPE_Q5_0] = mm_q5_0_avx2,
           [DTYPE_Q5_1] = mm_q5_1_avx2,
           [DTYPE_Q8_0] = mm_q8_0_avx2,
           [DTYPE_IQ4_NL] = mm_iq4_nl_avx2,
           [DTYPE_MXFP4] = mm_mxfp4_avx2,
           [DTYPE_Q2_K] = mm_q2_k_avx2,
           [DTYPE_Q3_K] = mm_q3_k_avx2,
           [DTYPE_Q4_K] = mm_q4_k_avx2,
           [DTYPE_Q5_K] = mm_q5_k_avx2,
           [DTYPE_Q6_K] = mm_q6_k_avx2,
           [DTYPE_IQ4_XS] = mm_iq4_xs_avx2},
    .decode = {[DTYPE_F16] = decode_f16_avx2},
    .encode = {[DTYPE_F16] = encode_f16_avx2,
               [DTYPE_Q4_K] = encode_q4_k_avx2,
               [DTYPE_Q5_K] = encode_q5_k_avx2,
               [DTYPE_Q6_K] = encode_q6_k_avx2},
    .quant_act = quant_act_avx2,
    .dot = dot_avx2,
    .add = add_avx2,
    .axpy = axpy_avx2,
    .scale = scale_avx2,
    .max = max_avx2,
    .exp_sum = exp_sum_avx2,
    .rms_norm = rms_norm_avx2,
    .act = {[KERN_ACT_SILU] = act_silu_avx2},
    .kv_dot = {[DTYPE_F32] = kv_dot_f32_avx2, [DTYPE_F16] = kv_dot_f16_avx2},
    .kv_sum = {[DTYPE_F32] = kv_sum_f32_avx2, [DTYPE_F16] = kv_sum_f16_avx2},
};
#endif
