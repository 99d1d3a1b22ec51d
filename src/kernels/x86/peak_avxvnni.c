/* peak_avxvnni.c - the limit of AVX-VNNI: 32 products of bytes an instruction, without AVX-512. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu.h"
#include "peak.h"

enum { CHAINS = 12 };

static double int8_avxvnni(const struct peak_input *in, uint64_t n_rounds)
{
    const __m256i a = _mm256_loadu_si256(PEAK_VECTOR(__m256i, in->a8));
    const __m256i b = _mm256_loadu_si256(PEAK_VECTOR(__m256i, in->b8));
    __m256i y[CHAINS];
    _Alignas(32) int32_t end[CHAINS * 8];
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) y[i] = _mm256_set1_epi32((int)in->start[i]);
    for (uint64_t n = 0; n < n_rounds; n++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) y[i] = _mm256_dpbusd_avx_epi32(y[i], a, b);
    }
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) _mm256_store_si256((__m256i *)(void *)(end + 8 * i), y[i]);
    return peak_sum_i32(end, CHAINS * 8);
}

static const struct peak_loop loops[] = {{"int8", PEAK_DOT, CHAINS, 8, 4, int8_avxvnni}};

const struct peak_table peak_avxvnni = {
    .isa = "avxvnni",
    .need = CPU_AVX2 | CPU_VNNI,
    .loops = loops,
    .n_loops = COUNT_OF(loops),
};
#endif
