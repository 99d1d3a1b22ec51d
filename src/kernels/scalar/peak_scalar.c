/* peak_scalar.c - the limits of one number at a time.  The build keeps the compiler from making vectors of
 * this file: it would count as many as it finds room for. */
#include <string.h>

#include "peak.h"

/* Two multiplications and two additions of floats a cycle, of latency 3 each, need twelve; with more Zen 4
 * was slower.  One of integers of latency 3, and an addition, need four. */
enum { CHAINS_F32 = 12, CHAINS_INT8 = 8 };

/* A multiplication and an addition, rounded twice. */
static double f32_scalar(const struct peak_input *in, uint64_t n_rounds)
{
    const float factor = in->factor[0], term = in->term[0];
    float y[CHAINS_F32];
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS_F32; i++) y[i] = in->start[i];
    for (uint64_t n = 0; n < n_rounds; n++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS_F32; i++) y[i] = y[i] * factor + term;
    }
    return peak_sum_f32(y, CHAINS_F32);
}

static double int8_scalar(const struct peak_input *in, uint64_t n_rounds)
{
    uint32_t a = in->a8[0], b = (uint32_t)in->b8[0], y[CHAINS_INT8];
#pragma GCC unroll 8
    for (int i = 0; i < CHAINS_INT8; i++) y[i] = (uint32_t)in->start[i];
    for (uint64_t n = 0; n < n_rounds; n++) {
#pragma GCC unroll 8
        for (int i = 0; i < CHAINS_INT8; i++) {
            __asm__ volatile("" : "+r"(a)); /* as far as the compiler knows, another number: multiply again */
            y[i] += a * b;
        }
    }
    int32_t wrapped[CHAINS_INT8];
    memcpy(wrapped, y, sizeof wrapped);
    return peak_sum_i32(wrapped, CHAINS_INT8);
}

/* Lines are asked for `ahead` bytes in advance; 0: not at all. */
PEAK_INLINE uint64_t read_words(const char *p, uint64_t n, uint64_t ahead)
{
    uint64_t sum[8] = {0};
    for (uint64_t at = 0; at < n; at += 64) {
        if (ahead) __builtin_prefetch(p + at + ahead, 0, 2);
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            uint64_t word;
            memcpy(&word, p + at + 8 * i, sizeof word);
            sum[i] += word;
        }
    }
    for (int i = 1; i < 8; i++) sum[0] += sum[i];
    return sum[0];
}

static uint64_t read_plain(const void *p, uint64_t n)
{
    return read_words(p, n, 0);
}

static uint64_t read_prefetch(const void *p, uint64_t n)
{
    return read_words(p, n, 512);
}

static const struct peak_loop loops[] = {
    {"f32", PEAK_MULTIPLY_ADD, CHAINS_F32, 1, 1, f32_scalar},
    {"int8", PEAK_DOT, CHAINS_INT8, 1, 1, int8_scalar},
};

const struct peak_table peak_scalar = {
    .isa = "scalar",
    .need = 0,
    .loops = loops,
    .n_loops = COUNT_OF(loops),
    .read = {[PEAK_READ_PLAIN] = read_plain, [PEAK_READ_PREFETCH] = read_prefetch},
};
