/* table_scalar.c - the portable table: every slot filled; what all other tables are checked against. */
#include "parts_scalar.h"

#define BY_TYPE(what)                                                                               \
    {                                                                                               \
        [DTYPE_F32] = what##_f32_scalar,                                                            \
        [DTYPE_F16] = what##_f16_scalar,                                                            \
        [DTYPE_BF16] = what##_bf16_scalar,                                                          \
        [DTYPE_Q4_0] = what##_q4_0_scalar,                                                          \
        [DTYPE_Q4_1] = what##_q4_1_scalar,                                                          \
        [DTYPE_Q5_0] = what##_q5_0_scalar,                                                          \
        [DTYPE_Q5_1] = what##_q5_1_scalar,                                                          \
        [DTYPE_Q8_0] = what##_q8_0_scalar,                                                          \
        [DTYPE_Q2_K] = what##_q2_k_scalar,                                                          \
        [DTYPE_Q3_K] = what##_q3_k_scalar,                                                          \
        [DTYPE_Q4_K] = what##_q4_k_scalar,                                                          \
        [DTYPE_Q5_K] = what##_q5_k_scalar,                                                          \
        [DTYPE_Q6_K] = what##_q6_k_scalar,                                                          \
        [DTYPE_IQ4_NL] = what##_iq4_nl_scalar,                                                      \
        [DTYPE_IQ4_XS] = what##_iq4_xs_scalar,                                                      \
        [DTYPE_MXFP4] = what##_mxfp4_scalar,                                                        \
    }

#define BY_CACHE_TYPE(what)                                                                         \
    {                                                                                               \
        [DTYPE_F32] = what##_f32_scalar,                                                            \
        [DTYPE_F16] = what##_f16_scalar,                                                            \
        [DTYPE_BF16] = what##_bf16_scalar,                                                          \
        [DTYPE_Q8_0] = what##_q8_0_scalar,                                                          \
        [DTYPE_Q4_0] = what##_q4_0_scalar,                                                          \
    }

const struct kern_ops kern_scalar = {
    .name = "scalar",
    .need = 0,
    .pack = pack_scalar,
    .mm = BY_TYPE(mm),
    .mm_tiles = BY_TYPE(mm_tiles),
    .turn = turn_scalar,
    .decode = BY_TYPE(decode),
    .encode = BY_TYPE(encode),
    .encode_weighted = {[DTYPE_Q4_0] = encode_weighted_q4_0_scalar,
                        [DTYPE_Q4_1] = encode_weighted_q4_1_scalar,
                        [DTYPE_Q5_0] = encode_weighted_q5_0_scalar,
                        [DTYPE_Q5_1] = encode_weighted_q5_1_scalar,
                        [DTYPE_Q2_K] = encode_weighted_q2_k_scalar,
                        [DTYPE_Q3_K] = encode_weighted_q3_k_scalar,
                        [DTYPE_Q4_K] = encode_weighted_q4_k_scalar,
                        [DTYPE_Q5_K] = encode_weighted_q5_k_scalar,
                        [DTYPE_Q6_K] = encode_weighted_q6_k_scalar,
                        [DTYPE_IQ4_NL] = encode_weighted_iq4_nl_scalar,
                        [DTYPE_IQ4_XS] = encode_weighted_iq4_xs_scalar},
    .quant_act = quant_act_scalar,
    .dot = dot_scalar,
    .add = add_scalar,
    .axpy = axpy_scalar,
    .scale = scale_scalar,
    .max = max_scalar,
    .exp_sum = exp_sum_scalar,
    .rms_norm = rms_norm_scalar,
    .layer_norm = layer_norm_scalar,
    .act = {[KERN_ACT_SILU] = act_silu_scalar,
            [KERN_ACT_GELU] = act_gelu_scalar,
            [KERN_ACT_GELU_ERF] = act_gelu_erf_scalar,
            [KERN_ACT_GELU_QUICK] = act_gelu_quick_scalar,
            [KERN_ACT_RELU] = act_relu_scalar,
            [KERN_ACT_RELU_SQR] = act_relu_sqr_scalar,
            [KERN_ACT_SWIGLU_OAI] = act_swiglu_oai_scalar},
    .softcap = softcap_scalar,
    .rope = {[KERN_ROPE_PAIRS] = rope_pairs_scalar, [KERN_ROPE_HALVES] = rope_halves_scalar},
    .kv_dot = BY_CACHE_TYPE(kv_dot),
    .kv_sum = BY_CACHE_TYPE(kv_sum),
};
