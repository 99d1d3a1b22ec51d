/* table_avx512.c - what beats the older tables with AVX-512 F, BW, DQ, VL and VNNI; the rest stays NULL
 * and is inherited. */
#if defined(__x86_64__)
#include "cpu.h"
#include "parts_avx512.h"

const struct kern_ops kern_avx512 = {
    .name = "avx512",
    .need = CPU_AVX2 | CPU_AVX512,
    .pack = pack_avx512,
    .mm = {[DTYPE_F32] = mm_f32_avx512,
           [DTYPE_F16] = mm_f16_avx512,
           [DTYPE_BF16] = mm_bf16_avx512,
           [DTYPE_Q4_0] = mm_q4_0_avx512,
           [DTYPE_Q4_1] = mm_q4_1_avx512,
           [DTYPE_Q5_0] = mm_q5_0_avx512,
           [DTYPE_Q5_1] = mm_q5_1_avx512,
           [DTYPE_Q8_0] = mm_q8_0_avx512,
           [DTYPE_IQ4_NL] = mm_iq4_nl_avx512,
           [DTYPE_MXFP4] = mm_mxfp4_avx512,
           [DTYPE_Q2_K] = mm_q2_k_avx512,
           [DTYPE_Q3_K] = mm_q3_k_avx512,
           [DTYPE_Q4_K] = mm_q4_k_avx512,
           [DTYPE_Q5_K] = mm_q5_k_avx512,
           [DTYPE_Q6_K] = mm_q6_k_avx512,
           [DTYPE_IQ4_XS] = mm_iq4_xs_avx512},
    .quant_act = quant_act_avx512,
    .dot = dot_avx512,
    .axpy = axpy_avx512,
    .exp_sum = exp_sum_avx512,
    .rope = {[KERN_ROPE_PAIRS] = rope_pairs_avx512, [KERN_ROPE_HALVES] = rope_halves_avx512},
    .act = {[KERN_ACT_SILU] = act_silu_avx512,
            [KERN_ACT_GELU] = act_gelu_avx512,
            [KERN_ACT_GELU_ERF] = act_gelu_erf_avx512,
            [KERN_ACT_GELU_QUICK] = act_gelu_quick_avx512,
            [KERN_ACT_SWIGLU_OAI] = act_swiglu_oai_avx512},
    .softcap = softcap_avx512,
    .kv_dot = {[DTYPE_F32] = kv_dot_f32_avx512,
               [DTYPE_F16] = kv_dot_f16_avx512,
               [DTYPE_BF16] = kv_dot_bf16_avx512,
               [DTYPE_Q8_0] = kv_dot_q8_0_avx512,
               [DTYPE_Q4_0] = kv_dot_q4_0_avx512},
    .kv_sum = {[DTYPE_F32] = kv_sum_f32_avx512,
               [DTYPE_F16] = kv_sum_f16_avx512,
               [DTYPE_BF16] = kv_sum_bf16_avx512,
               [DTYPE_Q8_0] = kv_sum_q8_0_avx512,
               [DTYPE_Q4_0] = kv_sum_q4_0_avx512},
};
#endif
