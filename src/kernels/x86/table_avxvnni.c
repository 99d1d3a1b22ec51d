/* table_avxvnni.c - what beats the older tables with AVX-VNNI and without AVX-512; the rest stays NULL and is
 * inherited. */
#if defined(__x86_64__)
#include "cpu.h"
#include "parts_avxvnni.h"

const struct kern_ops kern_avxvnni = {
    .name = "avxvnni",
    .need = CPU_AVX2 | CPU_VNNI,
    .mm = {[DTYPE_Q4_0] = mm_q4_0_avxvnni,
           [DTYPE_Q4_1] = mm_q4_1_avxvnni,
           [DTYPE_Q5_0] = mm_q5_0_avxvnni,
           [DTYPE_Q5_1] = mm_q5_1_avxvnni,
           [DTYPE_Q8_0] = mm_q8_0_avxvnni,
           [DTYPE_IQ4_NL] = mm_iq4_nl_avxvnni,
           [DTYPE_MXFP4] = mm_mxfp4_avxvnni,
           [DTYPE_Q2_K] = mm_q2_k_avxvnni,
           [DTYPE_Q3_K] = mm_q3_k_avxvnni,
           [DTYPE_Q4_K] = mm_q4_k_avxvnni,
           [DTYPE_Q5_K] = mm_q5_k_avxvnni,
           [DTYPE_Q6_K] = mm_q6_k_avxvnni,
           [DTYPE_IQ4_XS] = mm_iq4_xs_avxvnni},
};
#endif
