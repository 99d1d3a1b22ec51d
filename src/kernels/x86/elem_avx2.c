/* elem_avx2.c - vectors of float32, eight at a time; tails element by element or padded. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "convert.h"
#include "math_avx2.h"
#include "parts_avx2.h"

#define INLINE static inline __attribute__((always_inline))

INLINE float sum_of(__m256 v)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

float dot_avx2(const float *a, const float *b, size_t n)
{
    __m256 even = _mm256_setzero_ps(), odd = even;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        even = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), even);
        odd = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), odd);
    }
    for (; i < n; i += 8) {
        __m256i k = tail_mask(n - i);
        even = _mm256_fmadd_ps(_mm256_maskload_ps(a + i, k), _mm256_maskload_ps(b + i, k), even);
    }
    return sum_of(_mm256_add_ps(even, odd));
}

void add_avx2(float *y, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i)));
    for (; i < n; i++) y[i] += x[i];
}

/* Masked stores are slow on some processors: only the tail has one. */
void axpy_avx2(float *y, float a, const float *x, size_t n)
{
    __m256 factor = _mm256_set1_ps(a);
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(factor, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    if (i == n) return;
    __m256i k = tail_mask(n - i);
    __m256 old = _mm256_maskload_ps(y + i, k);
    _mm256_maskstore_ps(y + i, k, _mm256_fmadd_ps(factor, _mm256_maskload_ps(x + i, k), old));
}

void scale_avx2(float *x, float a, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(a)));
    for (; i < n; i++) x[i] *= a;
}

float max_avx2(const float *x, size_t n)
{
    __m256 top = _mm256_set1_ps(-INFINITY);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) top = _mm256_max_ps(_mm256_loadu_ps(x + i), top); /* NaN: top stays */
    float lanes[8], best = -INFINITY;
    _mm256_storeu_ps(lanes, top);
    for (int j = 0; j < 8; j++)
        if (lanes[j] > best) best = lanes[j];
    for (; i < n; i++)
        if (x[i] > best) best = x[i];
    return best;
}

INLINE __m256 exp_above(__m256 x, float max)
{
    __m256 finite = _mm256_cmp_ps(x, _mm256_set1_ps(-INFINITY), _CMP_NEQ_UQ); /* -inf - -inf is to be 0 */
    __m256 shifted = _mm256_sub_ps(x, _mm256_set1_ps(max));
    /* below -87.3 the result leaves the normal numbers; below -103.9 it is 0 */
    __m256 e = _mm256_and_ps(exp_ps(shifted), finite);
    return _mm256_andnot_ps(_mm256_cmp_ps(shifted, _mm256_set1_ps(-104), _CMP_LT_OQ), e);
}

float exp_sum_avx2(float *x, float max, size_t n)
{
    __m256 sum = _mm256_setzero_ps();
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 e = exp_above(_mm256_loadu_ps(x + i), max);
        _mm256_storeu_ps(x + i, e);
        sum = _mm256_add_ps(sum, e);
    }
    if (i == n) return sum_of(sum);
    __m256i k = tail_mask(n - i);
    __m256 e = _mm256_and_ps(exp_above(_mm256_maskload_ps(x + i, k), max), _mm256_castsi256_ps(k));
    _mm256_maskstore_ps(x + i, k, e);
    return sum_of(_mm256_add_ps(sum, e));
}

/* The sum of x - from, or of its squares, in double. */
INLINE double sum_away_from(const float *x, size_t n, double from, bool squares)
{
    __m256d even = _mm256_setzero_pd(), odd = even, offset = _mm256_set1_pd(from);
    double lanes[4], sum = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256d low = _mm256_sub_pd(_mm256_cvtps_pd(_mm_loadu_ps(x + i)), offset);
        __m256d high = _mm256_sub_pd(_mm256_cvtps_pd(_mm_loadu_ps(x + i + 4)), offset);
        even = squares ? _mm256_fmadd_pd(low, low, even) : _mm256_add_pd(even, low);
        odd = squares ? _mm256_fmadd_pd(high, high, odd) : _mm256_add_pd(odd, high);
    }
    _mm256_storeu_pd(lanes, _mm256_add_pd(even, odd));
    for (int j = 0; j < 4; j++) sum += lanes[j];
    for (; i < n; i++) {
        double rest = (double)x[i] - from;
        sum += squares ? rest * rest : rest;
    }
    return sum;
}

void rms_norm_avx2(float *y, const float *x, const float *weight, size_t n, float eps)
{
    double sum = sum_away_from(x, n, 0, true);
    float factor = (float)(1 / sqrt(sum / (double)n + (double)eps));
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(factor));
        _mm256_storeu_ps(y + i, weight ? _mm256_mul_ps(v, _mm256_loadu_ps(weight + i)) : v);
    }
    for (; i < n; i++) y[i] = x[i] * factor * (weight ? weight[i] : 1);
}

void layer_norm_avx2(float *y, const float *x, const float *weight, const float *bias, size_t n,
                     float eps)
{
    double mean = sum_away_from(x, n, 0, false) / (double)n;
    double variance = sum_away_from(x, n, mean, true) / (double)n;
    float high = (float)mean, low = (float)(mean - (double)high); /* so that x - mean loses nothing */
    float factor = (float)(1 / sqrt(variance + (double)eps));
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_sub_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(high));
        v = _mm256_mul_ps(_mm256_sub_ps(v, _mm256_set1_ps(low)), _mm256_set1_ps(factor));
        if (weight) v = _mm256_mul_ps(v, _mm256_loadu_ps(weight + i));
        _mm256_storeu_ps(y + i, bias ? _mm256_add_ps(v, _mm256_loadu_ps(bias + i)) : v);
    }
    for (; i < n; i++)
        y[i] = (x[i] - high - low) * factor * (weight ? weight[i] : 1) + (bias ? bias[i] : 0);
}

void decode_f16_avx2(float *dst, const void *src, size_t n)
{
    const char *h = src;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(h + 2 * i))));
    for (; i < n; i++) {
        uint16_t one;
        memcpy(&one, h + 2 * i, sizeof one);
        dst[i] = float_of_f16(one);
    }
}

void encode_f16_avx2(void *dst, const float *src, size_t n)
{
    char *h = dst;
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(h + 2 * i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++) {
        uint16_t one = f16_of_float(src[i]);
        memcpy(h + 2 * i, &one, sizeof one);
    }
}

/* Thirty-two activations to one block; the same operations as the scalar definition, so the same bits. */
INLINE void quant_block(struct act_q8 *dst, int block, const float *x)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256 v[4];
    __m256i top = _mm256_setzero_si256(); /* magnitudes order like integers, NaN above all */
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        top = _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(v[i]), magnitude), top);
    }
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    float most = float_of_bits((uint32_t)_mm_cvtsi128_si32(m));
    dst->d[block] = most < 0x1p-100f ? 0 : most / 127;
    if (most < 0x1p-100f || !isfinite(most)) { /* no usable reciprocal */
        memset(dst->q + 32 * block, 0, 32);
        dst->sum[2 * block] = dst->sum[2 * block + 1] = 0;
        return;
    }
    float inverse = 127 / most;
    __m256i q[4];
    for (int i = 0; i < 4; i++) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], _mm256_set1_ps(inverse)));
    __m256i low = _mm256_packs_epi32(q[0], q[1]), high = _mm256_packs_epi32(q[2], q[3]);
    __m256i bytes = _mm256_packs_epi16(low, high); /* 128-bit lanes interleaved: put in order */
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)(dst->q + 32 * block), bytes);
    __m256i ones = _mm256_set1_epi8(1), pairs = _mm256_maddubs_epi16(ones, bytes);
    __m256i quads = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    __m256i two = _mm256_hadd_epi32(quads, quads);
    two = _mm256_hadd_epi32(two, two);
    dst->sum[2 * block] = (int16_t)_mm256_extract_epi32(two, 0);
    dst->sum[2 * block + 1] = (int16_t)_mm256_extract_epi32(two, 4);
}

void quant_act_avx2(struct act_q8 *dst, const float *x, size_t n)
{
    float tail[32];
    for (size_t at = 0; at < n; at += 256, dst++) {
        if (n - at < 256) memset(dst, 0, sizeof *dst);
        for (size_t i = at; i < n && i < at + 256; i += 32) {
            const float *from = x + i;
            if (n - i < 32) {
                memset(tail, 0, sizeof tail);
                memcpy(tail, from, (n - i) * sizeof *from);
                from = tail;
            }
            quant_block(dst, (int)((i - at) / 32), from);
        }
    }
}
#endif
