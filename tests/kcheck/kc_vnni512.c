/* kc_vnni512.c - the products of AVX-VNNI from the same source, with the instruction as AVX-512 encodes it: for
 * processors that have only that encoding. */
#if defined(__x86_64__)
#define SUFFIX vnni512

#include "kcheck.h"

#define DECLARE(name, ...) kern_mm_fn mm_##name##_vnni512;
#define SLOT(name, dtype, ...) [dtype] = mm_##name##_vnni512,

#include "x86/formats_256.h"
FORMATS_256(DECLARE)
#include "x86/mm_quant_avxvnni.c"

const struct kern_ops kc_vnni512 = {.name = "vnni512", .mm = {FORMATS_256(SLOT)}};
#endif
