/* attn_avx2.c - scores against cached keys and weighted sums of cached values.
 *
 * Tiles of queries and keys (or of queries and columns) keep eight or twelve sums in registers: that hides
 * the latency of a multiplication, and what is read of the cache serves all queries of the tile.  Whatever
 * the tile, a sum takes its products in the same order.  The last columns of a head that is no multiple of
 * eight are done one by one. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "attn_ahead.h"
#include "base.h"
#include "blocks.h"
#include "convert.h"
#include "parts_avx2.h"

#define INLINE static inline __attribute__((always_inline))

/* ---- types of a cache ----------------------------------------------------------------------- */

struct reader { /* of a row's elements */
    __m256 (*scale)(const char *row, int c);                      /* of 32 from column c, if they have one */
    __m256 (*eight)(const char *row, int c, int i, __m256 scale); /* from column c + 8 i */
    float (*one)(const char *row, int c);                         /* NULL: rows end with a block */
    int n_keys; /* for four queries at a time: as many as leave registers for what eight() needs */
};

INLINE __m256 no_scale(const char *row, int c)
{
    (void)row;
    (void)c;
    return _mm256_setzero_ps();
}

INLINE __m256 eight_f32(const char *row, int c, int i, __m256 scale)
{
    (void)scale;
    return _mm256_loadu_ps((const float *)(const void *)row + c + 8 * i);
}

INLINE float one_f32(const char *row, int c)
{
    float x;
    memcpy(&x, row + 4 * c, sizeof x);
    return x;
}

INLINE __m128i load_halves(const char *row, int c)
{
    return _mm_loadu_si128((const __m128i *)(const void *)(row + 2 * c));
}

INLINE uint16_t one_half(const char *row, int c)
{
    uint16_t h;
    memcpy(&h, row + 2 * c, sizeof h);
    return h;
}

INLINE __m256 eight_f16(const char *row, int c, int i, __m256 scale)
{
    (void)scale;
    return _mm256_cvtph_ps(load_halves(row, c + 8 * i));
}

INLINE float one_f16(const char *row, int c)
{
    return float_of_f16(one_half(row, c));
}

INLINE __m256 eight_bf16(const char *row, int c, int i, __m256 scale)
{
    (void)scale;
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_halves(row, c + 8 * i)), 16));
}

INLINE float one_bf16(const char *row, int c)
{
    return float_of_bf16(one_half(row, c));
}

INLINE __m256 broadcast_f16(const uint16_t *h)
{
    return _mm256_cvtph_ps(_mm_set1_epi16((short)*h));
}

INLINE const struct block_q8_0 *q8_0_at(const char *row, int c)
{
    return (const struct block_q8_0 *)(const void *)row + (unsigned)c / 32;
}

INLINE __m256 scale_q8_0(const char *row, int c)
{
    return broadcast_f16(&q8_0_at(row, c)->d);
}

INLINE __m256 eight_q8_0(const char *row, int c, int i, __m256 scale)
{
    __m128i codes = _mm_loadl_epi64((const __m128i *)(const void *)(q8_0_at(row, c)->qs + 8 * i));
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)), scale);
}

INLINE const struct block_q4_0 *q4_0_at(const char *row, int c)
{
    return (const struct block_q4_0 *)(const void *)row + (unsigned)c / 32;
}

INLINE __m256 scale_q4_0(const char *row, int c)
{
    return broadcast_f16(&q4_0_at(row, c)->d);
}

/* Low nibbles are the first sixteen elements, high ones the others. */
INLINE __m256 eight_q4_0(const char *row, int c, int i, __m256 scale)
{
    __m128i pairs = _mm_loadl_epi64((const __m128i *)(const void *)(q4_0_at(row, c)->qs + 8 * (i % 2)));
    __m256i codes = _mm256_cvtepu8_epi32(pairs);
    codes = i < 2 ? _mm256_and_si256(codes, _mm256_set1_epi32(15)) : _mm256_srli_epi32(codes, 4);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(codes, _mm256_set1_epi32(8))), scale);
}

/* ---- scores --------------------------------------------------------------------------------- */

/* The sums of four vectors, each as (0 + 1 + (2 + 3)) + (4 + 5 + (6 + 7)). */
INLINE __m128 sums_of(const __m256 v[4])
{
    __m256 quads = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    return _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1));
}

/* Eight columns, from c + 8 e on, of nq queries and nk keys. */
INLINE void dot_eight(__m256 sum[12], const float *q, size_t q_stride, int nq, const char *k,
                      size_t kv_stride, int nk, int c, int e, const __m256 scale[4], struct reader r)
{
    __m256 key[4];
#pragma GCC unroll 4
    for (int j = 0; j < nk; j++) key[j] = r.eight(k + (size_t)j * kv_stride, c, e, scale[j]);
#pragma GCC unroll 4
    for (int i = 0; i < nq; i++) {
        __m256 query = _mm256_loadu_ps(q + (size_t)i * q_stride + c + 8 * e);
#pragma GCC unroll 4
        for (int j = 0; j < nk; j++) sum[i * nk + j] = _mm256_fmadd_ps(query, key[j], sum[i * nk + j]);
    }
}

/* nq queries against nk keys; their scores to s[i][j]. */
INLINE void dot_tile(float *s, size_t s_stride, const float *q, size_t q_stride, int nq, const char *k,
                     size_t kv_stride, int nk, int d, struct reader r)
{
    __m256 sum[12], scale[4];
    float total[12];
    int c = 0;
#pragma GCC unroll 12
    for (int t = 0; t < 12; t++) sum[t] = _mm256_setzero_ps();
    for (; c + 32 <= d; c += 32) {
#pragma GCC unroll 4
        for (int j = 0; j < nk; j++) scale[j] = r.scale(k + (size_t)j * kv_stride, c);
#pragma GCC unroll 4
        for (int e = 0; e < 4; e++) dot_eight(sum, q, q_stride, nq, k, kv_stride, nk, c, e, scale, r);
    }
    for (; r.one && c + 8 <= d; c += 8) dot_eight(sum, q, q_stride, nq, k, kv_stride, nk, c, 0, scale, r);
    _mm_storeu_ps(total, sums_of(sum));
    if (nq * nk > 4) _mm_storeu_ps(total + 4, sums_of(sum + 4));
    if (nq * nk > 8) _mm_storeu_ps(total + 8, sums_of(sum + 8));
    for (; r.one && c < d; c++)
        for (int i = 0; i < nq; i++)
            for (int j = 0; j < nk; j++) {
                float query = q[(size_t)i * q_stride + (size_t)c];
                total[i * nk + j] += query * r.one(k + (size_t)j * kv_stride, c);
            }
#pragma GCC unroll 4
    for (int i = 0; i < nq; i++) memcpy(s + (size_t)i * s_stride, total + i * nk, sizeof *s * (size_t)nk);
}

/* nq queries against all keys, nk at a time. */
INLINE void dot_queries(float *s, size_t s_stride, const float *q, size_t q_stride, int nq,
                        const struct kern_kv *k, int nk, const char *next, struct reader r)
{
    struct ahead ahead = {next};
    const char *row = k->rows;
    int j = 0;
    for (; j + nk <= k->n; j += nk, row += (size_t)nk * k->stride) {
        ask(&ahead, (size_t)nk * k->stride);
        dot_tile(s + j, s_stride, q, q_stride, nq, row, k->stride, nk, k->d, r);
    }
    for (; j < k->n; j++, row += k->stride) {
        ask(&ahead, k->stride);
        dot_tile(s + j, s_stride, q, q_stride, nq, row, k->stride, 1, k->d, r);
    }
}

INLINE void kv_dot(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q, const struct kern_kv *k,
                   struct reader r)
{
    const char *next = k->next;
    int i = 0;
    for (; i + 4 <= n_q; i += 4, s += 4 * s_stride, q += 4 * q_stride, next = NULL)
        dot_queries(s, s_stride, q, q_stride, 4, k, r.n_keys, next, r);
    for (; i + 2 <= n_q; i += 2, s += 2 * s_stride, q += 2 * q_stride, next = NULL)
        dot_queries(s, s_stride, q, q_stride, 2, k, 4, next, r);
    if (i < n_q) dot_queries(s, s_stride, q, q_stride, 1, k, 4, next, r);
}

/* ---- weighted sums -------------------------------------------------------------------------- */

/* nv vectors of columns, from c + 8 first on, of nq outputs: over all values. */
INLINE void sum_tile(float *o, size_t o_stride, const float *p, size_t p_stride, int nq, const struct kern_kv *v,
                     int c, int first, int nv, struct ahead *ahead, struct reader r)
{
    __m256 sum[8];
    size_t share = CEIL_DIV(v->stride * 8 * (size_t)nv, (size_t)v->d); /* of a row, in so many columns */
    const char *row = v->rows;
    float *at = o + c + 8 * first;
#pragma GCC unroll 4
    for (int i = 0; i < nq; i++)
#pragma GCC unroll 4
        for (int e = 0; e < nv; e++) sum[i * nv + e] = _mm256_loadu_ps(at + (size_t)i * o_stride + 8 * e);
    for (int j = 0; j < v->n; j++, row += v->stride) {
        __m256 value[4], scale = r.scale(row, c);
        ask(ahead, share);
#pragma GCC unroll 4
        for (int e = 0; e < nv; e++) value[e] = r.eight(row, c, first + e, scale);
#pragma GCC unroll 4
        for (int i = 0; i < nq; i++) {
            __m256 weight = _mm256_broadcast_ss(p + (size_t)i * p_stride + j);
#pragma GCC unroll 4
            for (int e = 0; e < nv; e++) sum[i * nv + e] = _mm256_fmadd_ps(weight, value[e], sum[i * nv + e]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < nq; i++)
#pragma GCC unroll 4
        for (int e = 0; e < nv; e++) _mm256_storeu_ps(at + (size_t)i * o_stride + 8 * e, sum[i * nv + e]);
}

/* All columns of nq outputs, nv vectors at a time. */
INLINE void sum_queries(float *o, size_t o_stride, const float *p, size_t p_stride, int nq,
                        const struct kern_kv *v, int nv, const char *next, struct reader r)
{
    struct ahead ahead = {next};
    int c = 0, d = v->d;
    for (; c + 32 <= d; c += 32)
#pragma GCC unroll 4
        for (int e = 0; e < 4; e += nv) sum_tile(o, o_stride, p, p_stride, nq, v, c, e, nv, &ahead, r);
    for (; r.one && c + 8 <= d; c += 8) sum_tile(o, o_stride, p, p_stride, nq, v, c, 0, 1, &ahead, r);
    for (; r.one && c < d; c++)
        for (int i = 0; i < nq; i++) {
            const char *row = v->rows;
            for (int j = 0; j < v->n; j++, row += v->stride)
                o[(size_t)i * o_stride + (size_t)c] += p[(size_t)i * p_stride + (size_t)j] * r.one(row, c);
        }
}

INLINE void kv_sum(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q, const struct kern_kv *v,
                   struct reader r)
{
    const char *next = v->next;
    int i = 0;
    for (; i + 4 <= n_q; i += 4, o += 4 * o_stride, p += 4 * p_stride, next = NULL)
        sum_queries(o, o_stride, p, p_stride, 4, v, 2, next, r);
    for (; i + 2 <= n_q; i += 2, o += 2 * o_stride, p += 2 * p_stride, next = NULL)
        sum_queries(o, o_stride, p, p_stride, 2, v, 4, next, r);
    if (i < n_q) sum_queries(o, o_stride, p, p_stride, 1, v, 4, next, r);
}

/* ---- many queries --------------------------------------------------------------------------- */

/* Rows are made float32 once, some at a time, for all queries.  Values of every type are exact in float32:
 * the sums are the same.  From PANEL_QUERIES on, that is faster; PANEL_STEP of them are served by one call. */
enum { PANEL_ROWS = 32, PANEL_WIDTH = 640, PANEL_QUERIES = 16, PANEL_STEP = 8 };

static const struct reader f32 = {no_scale, eight_f32, one_f32, 3};

static void dot_panel(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q,
                      const struct kern_kv *panel)
{
    kv_dot(s, s_stride, q, q_stride, n_q, panel, f32);
}

static void sum_panel(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q,
                      const struct kern_kv *panel)
{
    kv_sum(o, o_stride, p, p_stride, n_q, panel, f32);
}

INLINE void fill_panel(float *panel, const char *row, size_t kv_stride, int n_kv, int d, struct reader r)
{
    for (int j = 0; j < n_kv; j++, row += kv_stride, panel += d) {
        int c = 0;
        for (; c + 32 <= d; c += 32) {
            __m256 scale = r.scale(row, c);
#pragma GCC unroll 4
            for (int e = 0; e < 4; e++) _mm256_storeu_ps(panel + c + 8 * e, r.eight(row, c, e, scale));
        }
        for (; r.one && c < d; c++) panel[c] = r.one(row, c);
    }
}

INLINE bool use_panel(int n_q, int d, struct reader r)
{
    return n_q >= PANEL_QUERIES && d <= PANEL_WIDTH && r.eight != eight_f32;
}

#include "attn_panel.h"

/* ---- slots ---------------------------------------------------------------------------------- */

#define KV(type, ...)                                                                                        \
    void kv_dot_##type##_avx2(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q,           \
                              const struct kern_kv *k)                                                       \
    {                                                                                                        \
        dot_any(s, s_stride, q, q_stride, n_q, k, (struct reader){__VA_ARGS__});                             \
    }                                                                                                        \
    void kv_sum_##type##_avx2(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q,           \
                              const struct kern_kv *v)                                                       \
    {                                                                                                        \
        sum_any(o, o_stride, p, p_stride, n_q, v, (struct reader){__VA_ARGS__});                             \
    }
KV(f32, no_scale, eight_f32, one_f32, 3)
KV(f16, no_scale, eight_f16, one_f16, 2)
KV(bf16, no_scale, eight_bf16, one_bf16, 3)
KV(q8_0, scale_q8_0, eight_q8_0, NULL, 2)
KV(q4_0, scale_q4_0, eight_q4_0, NULL, 2)
#endif
