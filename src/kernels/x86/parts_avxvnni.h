/* parts_avxvnni.h - the functions that table_avxvnni.c gathers; kern.h says what each must do. */
#ifndef PARTS_AVXVNNI_H
#define PARTS_AVXVNNI_H

#include "kern.h"

kern_mm_fn mm_q4_0_avxvnni, mm_q4_1_avxvnni, mm_q5_0_avxvnni, mm_q5_1_avxvnni, mm_q8_0_avxvnni, mm_iq4_nl_avxvnni;
kern_mm_fn mm_q2_k_avxvnni, mm_q3_k_avxvnni, mm_q4_k_avxvnni, mm_q5_k_avxvnni, mm_q6_k_avxvnni, mm_iq4_xs_avxvnni;
kern_mm_fn mm_mxfp4_avxvnni;

#endif
