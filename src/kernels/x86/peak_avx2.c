/* peak_avx2.c - the limits of AVX2 and FMA: 8 floats a multiply-add; bytes in the three instructions that
 * AVX2 needs to add products of bytes to 32-bit sums. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "cpu.h"
#include "peak.h"

/* Two multiply-adds a cycle of latency 4 or 5 need ten; sixteen registers hold no more than this. */
enum { CHAINS_F32 = 12, CHAINS_INT8 = 8 };

static double f32_avx2(const struct peak_input *in, uint64_t n_rounds)
{
    const __m256 factor = _mm256_loadu_ps(in->factor), term = _mm256_loadu_ps(in->term);
    __m256 y[CHAINS_F32];
    _Alignas(32) float end[CHAINS_F32 * 8];
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS_F32; i++) y[i] = _mm256_set1_ps(in->start[i]);
    for (uint64_t n = 0; n < n_rounds; n++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS_F32; i++) y[i] = _mm256_fmadd_ps(y[i], factor, term);
    }
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS_F32; i++) _mm256_store_ps(end + 8 * i, y[i]);
    return peak_sum_f32(end, CHAINS_F32 * 8);
}

static double int8_avx2(const struct peak_input *in, uint64_t n_rounds)
{
    __m256i a = _mm256_loadu_si256(PEAK_VECTOR(__m256i, in->a8)), y[CHAINS_INT8];
    const __m256i b = _mm256_loadu_si256(PEAK_VECTOR(__m256i, in->b8)), ones = _mm256_set1_epi16(1);
    _Alignas(32) int32_t end[CHAINS_INT8 * 8];
#pragma GCC unroll 8
    for (int i = 0; i < CHAINS_INT8; i++) y[i] = _mm256_set1_epi32((int)in->start[i]);
    for (uint64_t n = 0; n < n_rounds; n++) {
#pragma GCC unroll 8
        for (int i = 0; i < CHAINS_INT8; i++) {
            PEAK_HIDE(a);
            y[i] = _mm256_add_epi32(y[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < CHAINS_INT8; i++) _mm256_store_si256((__m256i *)(void *)(end + 8 * i), y[i]);
    return peak_sum_i32(end, CHAINS_INT8 * 8);
}

PEAK_INLINE uint64_t read_vectors(const char *p, uint64_t n, uint64_t ahead)
{
    __m256i sum[8];
    _Alignas(32) uint64_t end[4];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) sum[i] = _mm256_setzero_si256();
    for (uint64_t at = 0; at < n; at += 256) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            if (ahead && i % 2 == 0) _mm_prefetch(p + at + 32 * i + ahead, _MM_HINT_T1);
            sum[i] = _mm256_add_epi64(sum[i], _mm256_load_si256(PEAK_VECTOR(__m256i, p + at + 32 * i)));
        }
    }
#pragma GCC unroll 8
    for (int i = 1; i < 8; i++) sum[0] = _mm256_add_epi64(sum[0], sum[i]);
    _mm256_store_si256((__m256i *)(void *)end, sum[0]);
    return end[0] + end[1] + end[2] + end[3];
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
    {"f32", PEAK_MULTIPLY_ADD, CHAINS_F32, 8, 1, f32_avx2},
    {"int8", PEAK_DOT, CHAINS_INT8, 8, 4, int8_avx2},
};

const struct peak_table peak_avx2 = {
    .isa = "avx2",
    .need = CPU_AVX2,
    .loops = loops,
    .n_loops = COUNT_OF(loops),
    .read = {[PEAK_READ_PLAIN] = read_plain, [PEAK_READ_PREFETCH] = read_prefetch},
};
#endif
