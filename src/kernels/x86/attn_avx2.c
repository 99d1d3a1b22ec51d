/* attn_avx2.c - scores against cached keys and weighted sums of cached values.
 *
 * A row of the cache is loaded once for all the queries that share it, four queries at a time; the last
 * columns of a head that is no multiple of eight are done one by one. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "convert.h"
#include "parts_avx2.h"

#define INLINE static inline __attribute__((always_inline))

struct reader { /* of a row's elements */
    __m256 (*eight)(const char *row, int c);
    float (*one)(const char *row, int c);
};

INLINE __m256 eight_f32(const char *row, int c)
{
    return _mm256_loadu_ps((const float *)(const void *)(row + 4 * c));
}

INLINE float one_f32(const char *row, int c)
{
    float x;
    memcpy(&x, row + 4 * c, sizeof x);
    return x;
}

INLINE __m256 eight_f16(const char *row, int c)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(row + 2 * c)));
}

INLINE float one_f16(const char *row, int c)
{
    uint16_t h;
    memcpy(&h, row + 2 * c, sizeof h);
    return float_of_f16(h);
}

INLINE float sum_of(__m256 v)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

/* nq queries against one key. */
INLINE void dot_key(float *s, size_t s_stride, const float *q, size_t q_stride, int nq, const char *k, int d,
                    struct reader r)
{
    __m256 sum[4];
    int c = 0;
#pragma GCC unroll 4
    for (int i = 0; i < nq; i++) sum[i] = _mm256_setzero_ps();
    for (; c + 8 <= d; c += 8) {
        __m256 key = r.eight(k, c);
#pragma GCC unroll 4
        for (int i = 0; i < nq; i++)
            sum[i] = _mm256_fmadd_ps(_mm256_loadu_ps(q + (size_t)i * q_stride + c), key, sum[i]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < nq; i++) {
        float total = sum_of(sum[i]);
        for (int at = c; at < d; at++) total += q[(size_t)i * q_stride + (size_t)at] * r.one(k, at);
        s[(size_t)i * s_stride] = total;
    }
}

INLINE void kv_dot(float *s, const float *q, size_t q_stride, int n_q, const char *k, size_t kv_stride,
                   int n_kv, int d, struct reader r)
{
    for (int j = 0; j < n_kv; j++, k += kv_stride) {
        int i = 0;
        for (; i + 4 <= n_q; i += 4)
            dot_key(s + i * n_kv + j, (size_t)n_kv, q + (size_t)i * q_stride, q_stride, 4, k, d, r);
        for (; i < n_q; i++)
            dot_key(s + i * n_kv + j, (size_t)n_kv, q + (size_t)i * q_stride, q_stride, 1, k, d, r);
    }
}

/* Eight columns of nq outputs: over all values. */
INLINE void sum_columns(float *o, size_t o_stride, const float *p, int nq, const char *v, size_t kv_stride,
                        int n_kv, int c, struct reader r)
{
    __m256 sum[4];
#pragma GCC unroll 4
    for (int i = 0; i < nq; i++) sum[i] = _mm256_loadu_ps(o + (size_t)i * o_stride + c);
    for (int j = 0; j < n_kv; j++) {
        __m256 value = r.eight(v + (size_t)j * kv_stride, c);
#pragma GCC unroll 4
        for (int i = 0; i < nq; i++) sum[i] = _mm256_fmadd_ps(_mm256_set1_ps(p[i * n_kv + j]), value, sum[i]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < nq; i++) _mm256_storeu_ps(o + (size_t)i * o_stride + c, sum[i]);
}

INLINE void kv_sum(float *o, size_t o_stride, const float *p, int n_q, const char *v, size_t kv_stride,
                   int n_kv, int d, struct reader r)
{
    int c = 0;
    for (; c + 8 <= d; c += 8) {
        int i = 0;
        for (; i + 4 <= n_q; i += 4)
            sum_columns(o + (size_t)i * o_stride, o_stride, p + i * n_kv, 4, v, kv_stride, n_kv, c, r);
        for (; i < n_q; i++)
            sum_columns(o + (size_t)i * o_stride, o_stride, p + i * n_kv, 1, v, kv_stride, n_kv, c, r);
    }
    for (; c < d; c++)
        for (int i = 0; i < n_q; i++)
            for (int j = 0; j < n_kv; j++)
                o[(size_t)i * o_stride + (size_t)c] += p[i * n_kv + j] * r.one(v + (size_t)j * kv_stride, c);
}

void kv_dot_f32_avx2(float *s, const float *q, size_t q_stride, int n_q, const void *k, size_t kv_stride,
                     int n_kv, int d)
{
    kv_dot(s, q, q_stride, n_q, k, kv_stride, n_kv, d, (struct reader){eight_f32, one_f32});
}

void kv_dot_f16_avx2(float *s, const float *q, size_t q_stride, int n_q, const void *k, size_t kv_stride,
                     int n_kv, int d)
{
    kv_dot(s, q, q_stride, n_q, k, kv_stride, n_kv, d, (struct reader){eight_f16, one_f16});
}

void kv_sum_f32_avx2(float *o, size_t o_stride, const float *p, int n_q, const void *v, size_t kv_stride,
                     int n_kv, int d)
{
    kv_sum(o, o_stride, p, n_q, v, kv_stride, n_kv, d, (struct reader){eight_f32, one_f32});
}

void kv_sum_f16_avx2(float *o, size_t o_stride, const float *p, int n_q, const void *v, size_t kv_stride,
                     int n_kv, int d)
{
    kv_sum(o, o_stride, p, n_q, v, kv_stride, n_kv, d, (struct reader){eight_f16, one_f16});
}
#endif
