/* attn_avx512.c - scores against cached keys and weighted sums of cached values.
 *
 * Tiles as in attn_avx2.c, with up to sixteen sums in registers.  A tile of many sums also shares their
 * final reductions, without which sixteen lanes would lose to eight on heads this short. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "attn_ahead.h"
#include "base.h"
#include "blocks.h"
#include "math_avx512.h"
#include "parts_avx512.h"

#define INLINE MATH_INLINE

/* ---- types of a cache ----------------------------------------------------------------------- */

struct reader { /* of a row's elements */
    void (*block)(__m512 v[2], const char *row, int c);       /* 32 from column c on */
    __m512 (*some)(const char *row, int c, __mmask16 columns); /* up to 16; NULL: rows end with a block */
};

INLINE __m512 some_f32(const char *row, int c, __mmask16 columns)
{
    return _mm512_maskz_loadu_ps(columns, row + 4 * c);
}

INLINE void block_f32(__m512 v[2], const char *row, int c)
{
    v[0] = _mm512_loadu_ps(row + 4 * c);
    v[1] = _mm512_loadu_ps(row + 4 * c + 64);
}

INLINE __m512 some_f16(const char *row, int c, __mmask16 columns)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(columns, row + 2 * c));
}

INLINE void block_f16(__m512 v[2], const char *row, int c)
{
    for (int e = 0; e < 2; e++)
        v[e] = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(row + 2 * c + 32 * e)));
}

INLINE __m512 of_bf16(__m256i halves)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

INLINE __m512 some_bf16(const char *row, int c, __mmask16 columns)
{
    return of_bf16(_mm256_maskz_loadu_epi16(columns, row + 2 * c));
}

INLINE void block_bf16(__m512 v[2], const char *row, int c)
{
    for (int e = 0; e < 2; e++)
        v[e] = of_bf16(_mm256_loadu_si256((const __m256i *)(const void *)(row + 2 * c + 32 * e)));
}

/* Codes times a scale of eleven bits: exact. */
INLINE __m512 broadcast_f16(const uint16_t *h)
{
    return _mm512_cvtph_ps(_mm256_set1_epi16((short)*h));
}

INLINE void block_q8_0(__m512 v[2], const char *row, int c)
{
    const struct block_q8_0 *b = (const struct block_q8_0 *)(const void *)row + (unsigned)c / 32;
    __m512 scale = broadcast_f16(&b->d);
    for (int e = 0; e < 2; e++) {
        __m128i codes = _mm_loadu_si128((const __m128i *)(const void *)(b->qs + 16 * e));
        v[e] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes)), scale);
    }
}

/* The sixteen values that a block can hold, looked up by the low four bits of an index. */
INLINE void block_q4_0(__m512 v[2], const char *row, int c)
{
    const __m512 codes = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    const struct block_q4_0 *b = (const struct block_q4_0 *)(const void *)row + (unsigned)c / 32;
    __m512 values = _mm512_mul_ps(codes, broadcast_f16(&b->d));
    __m512i pairs = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)b->qs));
    v[0] = _mm512_permutexvar_ps(pairs, values);
    v[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(pairs, 4), values);
}

/* ---- scores --------------------------------------------------------------------------------- */

INLINE __m256 halved(__m512 v)
{
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}

/* The sums of four vectors, each in the same order. */
INLINE __m128 sums_of(const __m512 v[4])
{
    __m256 quads = _mm256_hadd_ps(_mm256_hadd_ps(halved(v[0]), halved(v[1])),
                                  _mm256_hadd_ps(halved(v[2]), halved(v[3])));
    return _mm_add_ps(_mm256_castps256_ps128(quads), _mm256_extractf128_ps(quads, 1));
}

/* nq queries against nk keys; their scores to s[i][j]. */
INLINE void dot_tile(float *s, size_t s_stride, const float *q, size_t q_stride, int nq, const char *k,
                     size_t kv_stride, int nk, int d, struct ahead *ahead, size_t share, struct reader r)
{
    __m512 sum[16], key[8][2];
    float total[16];
    int c = 0;
#pragma GCC unroll 16
    for (int t = 0; t < 16; t++) sum[t] = _mm512_setzero_ps();
    for (; c + 32 <= d; c += 32) {
        ask(ahead, (size_t)nk * share);
#pragma GCC unroll 8
        for (int j = 0; j < nk; j++) r.block(key[j], k + (size_t)j * kv_stride, c);
#pragma GCC unroll 4
        for (int i = 0; i < nq; i++)
#pragma GCC unroll 2
            for (int e = 0; e < 2; e++) {
                __m512 query = _mm512_loadu_ps(q + (size_t)i * q_stride + c + 16 * e);
#pragma GCC unroll 8
                for (int j = 0; j < nk; j++)
                    sum[i * nk + j] = _mm512_fmadd_ps(query, key[j][e], sum[i * nk + j]);
            }
    }
    for (; r.some && c < d; c += 16) {
        __mmask16 m = tail_mask((size_t)(d - c));
#pragma GCC unroll 4
        for (int i = 0; i < nq; i++) {
            __m512 query = _mm512_maskz_loadu_ps(m, q + (size_t)i * q_stride + c);
#pragma GCC unroll 8
            for (int j = 0; j < nk; j++)
                sum[i * nk + j] =
                    _mm512_fmadd_ps(query, r.some(k + (size_t)j * kv_stride, c, m), sum[i * nk + j]);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < nq * nk; t += 4) _mm_storeu_ps(total + t, sums_of(sum + t));
#pragma GCC unroll 4
    for (int i = 0; i < nq; i++) memcpy(s + (size_t)i * s_stride, total + i * nk, sizeof *s * (size_t)nk);
}

/* nq queries against all keys, nk at a time. */
INLINE void dot_queries(float *s, size_t s_stride, const float *q, size_t q_stride, int nq,
                        const struct kern_kv *k, int nk, const char *next, struct reader r)
{
    struct ahead ahead = {next};
    size_t share = k->stride * 32 / (size_t)MAX(32, k->d); /* of a row, in 32 columns */
    const char *row = k->rows;
    int j = 0;
    for (; j + nk <= k->n; j += nk, row += (size_t)nk * k->stride) {
        dot_tile(s + j, s_stride, q, q_stride, nq, row, k->stride, nk, k->d, &ahead, share, r);
    }
    for (; j < k->n; j++, row += k->stride) {
        dot_tile(s + j, s_stride, q, q_stride, nq, row, k->stride, 1, k->d, &ahead, share, r);
    }
}

INLINE void kv_dot(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q, const struct kern_kv *k,
                   struct reader r)
{
    const char *next = k->next;
    int i = 0;
    for (; i + 4 <= n_q; i += 4, s += 4 * s_stride, q += 4 * q_stride, next = NULL)
        dot_queries(s, s_stride, q, q_stride, 4, k, 4, next, r);
    for (; i + 2 <= n_q; i += 2, s += 2 * s_stride, q += 2 * q_stride, next = NULL)
        dot_queries(s, s_stride, q, q_stride, 2, k, 4, next, r);
    if (i < n_q) dot_queries(s, s_stride, q, q_stride, 1, k, 8, next, r);
}

/* ---- weighted sums -------------------------------------------------------------------------- */

/* nb blocks of 32 columns, from c on, of nq outputs: over all values. */
INLINE void sum_blocks(float *o, size_t o_stride, const float *p, size_t p_stride, int nq, const struct kern_kv *v,
                       int c, int nb, struct ahead *ahead, struct reader r)
{
    __m512 sum[8][8], value[8];
    size_t share = CEIL_DIV(v->stride * 32 * (size_t)nb, (size_t)v->d); /* of a row, in so many columns */
    const char *row = v->rows;
#pragma GCC unroll 8
    for (int i = 0; i < nq; i++)
#pragma GCC unroll 8
        for (int e = 0; e < 2 * nb; e++) sum[i][e] = _mm512_loadu_ps(o + (size_t)i * o_stride + c + 16 * e);
    for (int j = 0; j < v->n; j++, row += v->stride) {
        ask(ahead, share);
#pragma GCC unroll 4
        for (int b = 0; b < nb; b++) r.block(value + 2 * b, row, c + 32 * b);
#pragma GCC unroll 8
        for (int i = 0; i < nq; i++) {
            __m512 weight = _mm512_set1_ps(p[(size_t)i * p_stride + (size_t)j]);
#pragma GCC unroll 8
            for (int e = 0; e < 2 * nb; e++) sum[i][e] = _mm512_fmadd_ps(weight, value[e], sum[i][e]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < nq; i++)
#pragma GCC unroll 8
        for (int e = 0; e < 2 * nb; e++) _mm512_storeu_ps(o + (size_t)i * o_stride + c + 16 * e, sum[i][e]);
}

/* Up to sixteen. */
INLINE void sum_some(float *o, size_t o_stride, const float *p, size_t p_stride, int nq, const struct kern_kv *v,
                     int c, __mmask16 m, struct reader r)
{
    __m512 sum[8];
    const char *row = v->rows;
#pragma GCC unroll 8
    for (int i = 0; i < nq; i++) sum[i] = _mm512_maskz_loadu_ps(m, o + (size_t)i * o_stride + c);
    for (int j = 0; j < v->n; j++, row += v->stride) {
        __m512 value = r.some(row, c, m);
#pragma GCC unroll 8
        for (int i = 0; i < nq; i++)
            sum[i] = _mm512_fmadd_ps(_mm512_set1_ps(p[(size_t)i * p_stride + (size_t)j]), value, sum[i]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < nq; i++) _mm512_mask_storeu_ps(o + (size_t)i * o_stride + c, m, sum[i]);
}

/* All columns of nq outputs, nb blocks at a time. */
INLINE void sum_queries(float *o, size_t o_stride, const float *p, size_t p_stride, int nq,
                        const struct kern_kv *v, int nb, const char *next, struct reader r)
{
    struct ahead ahead = {next};
    int c = 0, d = v->d;
    for (; c + 32 * nb <= d; c += 32 * nb) sum_blocks(o, o_stride, p, p_stride, nq, v, c, nb, &ahead, r);
    for (; c + 32 <= d; c += 32) sum_blocks(o, o_stride, p, p_stride, nq, v, c, 1, &ahead, r);
    for (; r.some && c < d; c += 16) sum_some(o, o_stride, p, p_stride, nq, v, c, tail_mask((size_t)(d - c)), r);
}

INLINE void kv_sum(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q, const struct kern_kv *v,
                   struct reader r)
{
    const char *next = v->next;
    int i = 0;
    for (; i + 8 <= n_q; i += 8, o += 8 * o_stride, p += 8 * p_stride, next = NULL)
        sum_queries(o, o_stride, p, p_stride, 8, v, 1, next, r);
    for (; i + 4 <= n_q; i += 4, o += 4 * o_stride, p += 4 * p_stride, next = NULL)
        sum_queries(o, o_stride, p, p_stride, 4, v, 2, next, r);
    for (; i < n_q; i++, o += o_stride, p += p_stride, next = NULL)
        sum_queries(o, o_stride, p, p_stride, 1, v, 4, next, r);
}

/* ---- many queries --------------------------------------------------------------------------- */

/* Rows are made float32 once, some at a time, for all queries.  Values of every type are exact in float32:
 * the sums are the same.  From PANEL_QUERIES on, that is faster; PANEL_STEP of them are served by one call. */
enum { PANEL_ROWS = 32, PANEL_WIDTH = 640, PANEL_QUERIES = 16, PANEL_STEP = 8 };

static const struct reader f32 = {block_f32, some_f32};

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
            __m512 v[2];
            r.block(v, row, c);
            _mm512_storeu_ps(panel + c, v[0]);
            _mm512_storeu_ps(panel + c + 16, v[1]);
        }
        for (; r.some && c < d; c += 16) {
            __mmask16 m = tail_mask((size_t)(d - c));
            _mm512_mask_storeu_ps(panel + c, m, r.some(row, c, m));
        }
    }
}

INLINE bool use_panel(int n_q, int d, struct reader r)
{
    return n_q >= PANEL_QUERIES && d <= PANEL_WIDTH && r.block != block_f32;
}

#include "attn_panel.h"

/* ---- slots ---------------------------------------------------------------------------------- */

#define KV(type, ...)                                                                                        \
    void kv_dot_##type##_avx512(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q,         \
                                const struct kern_kv *k)                                                     \
    {                                                                                                        \
        dot_any(s, s_stride, q, q_stride, n_q, k, (struct reader){__VA_ARGS__});                             \
    }                                                                                                        \
    void kv_sum_##type##_avx512(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q,         \
                                const struct kern_kv *v)                                                     \
    {                                                                                                        \
        sum_any(o, o_stride, p, p_stride, n_q, v, (struct reader){__VA_ARGS__});                             \
    }
KV(f32, block_f32, some_f32)
KV(f16, block_f16, some_f16)
KV(bf16, block_bf16, some_bf16)
KV(q8_0, block_q8_0, NULL)
KV(q4_0, block_q4_0, NULL)
#endif
