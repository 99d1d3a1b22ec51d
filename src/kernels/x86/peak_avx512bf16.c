/* peak_avx512bf16.c - the limit of AVX512_BF16: 32 products of bfloat16 numbers an instruction. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "cpu.h"
#include "peak.h"

/* One instruction a cycle of latency 6 needs six, two need twelve. */
enum { CHAINS = 16 };

static double bf16_avx512(const struct peak_input *in, uint64_t n_rounds)
{
    __m512bh a, b;
    __m512 y[CHAINS];
    _Alignas(64) float end[CHAINS * 16];
    memcpy(&a, in->a16, sizeof a);
    memcpy(&b, in->b16, sizeof b);
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) y[i] = _mm512_set1_ps(in->start[i]);
    for (uint64_t n = 0; n < n_rounds; n++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) y[i] = _mm512_dpbf16_ps(y[i], a, b);
    }
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) _mm512_store_ps(end + 16 * i, y[i]);
    return peak_sum_f32(end, CHAINS * 16);
}

static const struct peak_loop loops[] = {{"bf16", PEAK_DOT, CHAINS, 16, 2, bf16_avx512}};

const struct peak_table peak_avx512bf16 = {
    .isa = "avx512",
    .need = CPU_AVX2 | CPU_AVX512 | CPU_BF16,
    .loops = loops,
    .n_loops = COUNT_OF(loops),
};
#endif
