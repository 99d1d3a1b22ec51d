/* table_avx512.c - what beats the older tables with AVX512; the rest stays NULL and is inherited. */
#if defined(__x86_64__)
#include "cpu.h"
#include "kern.h"

const struct kern_ops kern_avx512 = {
    .name = "avx512",
    .need = CPU_AVX512,
};
#endif
