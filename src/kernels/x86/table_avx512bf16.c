/* table_avx512bf16.c - products of BF16 numbers without tiles: for weights that are floating point numbers, as
 * quantised ones are faster multiplied as integers. */
#if defined(__x86_64__)
#include "cpu.h"
#include "parts_avx512bf16.h"

const struct kern_ops kern_avx512bf16 = {
    .name = "avx512bf16",
    .need = CPU_AVX2 | CPU_AVX512 | CPU_BF16,
    .mm_tiles = {[DTYPE_F16] = mm_tiles_f16_avx512bf16, [DTYPE_BF16] = mm_tiles_bf16_avx512bf16},
    .turn = turn_avx512bf16,
};
#endif
