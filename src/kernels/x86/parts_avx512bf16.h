/* parts_avx512bf16.h - the functions that table_avx512bf16.c gathers; kern.h says what each must do. */
#ifndef PARTS_AVX512BF16_H
#define PARTS_AVX512BF16_H

#include "kern.h"

kern_mm_fn mm_tiles_f16_avx512bf16, mm_tiles_bf16_avx512bf16;
void turn_avx512bf16(void *strips, size_t stride, const float *rows, int n, int d);

#endif
