/* peak_avx512.c - the limits of AVX-512 with VNNI: 16 floats, or 64 products of bytes, an instruction. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu.h"
#include "peak.h"

/* Two instructions a cycle of latency 5 need ten. */
enum { CHAINS = 16 };

static double f32_avx512(const struct peak_input *in, uint64_t n_rounds)
{
    const __m512 factor = _mm512_loadu_ps(in->factor), term = _mm512_loadu_ps(in->term);
    __m512 y[CHAINS];
    _Alignas(64) float end[CHAINS * 16];
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) y[i] = _mm512_set1_ps(in->start[i]);
    for (uint64_t n = 0; n < n_rounds; n++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) y[i] = _mm512_fmadd_ps(y[i], factor, term);
    }
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) _mm512_store_ps(end + 16 * i, y[i]);
    return peak_sum_f32(end, CHAINS * 16);
}

static double int8_avx512(const struct peak_input *in, uint64_t n_rounds)
{
    const __m512i a = _mm512_loadu_si512(in->a8), b = _mm512_loadu_si512(in->b8);
    __m512i y[CHAINS];
    _Alignas(64) int32_t end[CHAINS * 16];
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) y[i] = _mm512_set1_epi32((int)in->start[i]);
    for (uint64_t n = 0; n < n_rounds; n++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) y[i] = _mm512_dpbusd_epi32(y[i], a, b);
    }
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) _mm512_store_si512(end + 16 * i, y[i]);
    return peak_sum_i32(end, CHAINS * 16);
}

PEAK_INLINE uint64_t read_vectors(const char *p, uint64_t n, uint64_t ahead)
{
    __m512i sum[4];
    _Alignas(64) uint64_t end[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) sum[i] = _mm512_setzero_si512();
    for (uint64_t at = 0; at < n; at += 256) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            if (ahead) _mm_prefetch(p + at + 64 * i + ahead, _MM_HINT_T1);
            sum[i] = _mm512_add_epi64(sum[i], _mm512_load_si512(p + at + 64 * i));
        }
    }
    sum[0] = _mm512_add_epi64(_mm512_add_epi64(sum[0], sum[1]), _mm512_add_epi64(sum[2], sum[3]));
    _mm512_store_si512(end, sum[0]);
    return end[0] + end[1] + end[2] + end[3] + end[4] + end[5] + end[6] + end[7]; /* wraps */
}

static uint64_t read_plain(const void *p, uint64_t n)
{
    return read_vectors(p, n, 0);
}

static uint64_t read_prefetch(const void *p, uint64_t n)
{
    return read_vectors(p, n, 512);
}

static const struct peak_loop loops[] = {
    {"f32", PEAK_MULTIPLY_ADD, CHAINS, 16, 1, f32_avx512},
    {"int8", PEAK_DOT, CHAINS, 16, 4, int8_avx512},
};

const struct peak_table peak_avx512 = {
    .isa = "avx512",
    .need = CPU_AVX2 | CPU_AVX512,
    .loops = loops,
    .n_loops = COUNT_OF(loops),
    .read = {[PEAK_READ_PLAIN] = read_plain, [PEAK_READ_PREFETCH] = read_prefetch},
};
#endif
