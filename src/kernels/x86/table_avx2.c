/* table_avx2.c - what beats the older tables with AVX2; the rest stays NULL and is inherited. */
#if defined(__x86_64__)
#include "cpu.h"
#include "kern.h"

const struct kern_ops kern_avx2 = {
    .name = "avx2",
    .need = CPU_AVX2,
};
#endif
