/* mm_kq_avx2.c - products of Q4_K, Q5_K and Q6_K weights with 8-bit activations.
 *
 * As in mm_kq_avx512.c, 32 elements at a time: codes are unsigned and at most 63, so the 16-bit pairs of
 * vpmaddubsw cannot saturate (2 * 63 * 127 < 2^15). */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "blocks.h"
#include "mm_rows.h"
#include "parts_avx2.h"

MM_INLINE float f16(uint16_t h)
{
    return _cvtsh_ss(h);
}

MM_INLINE float sum_of(__m256 v)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

MM_INLINE const struct act_q8 *token_block(const char *x, size_t x_stride, int t)
{
    return (const void *)(x + (size_t)t * x_stride);
}

/* u . p in eight lanes. */
MM_INLINE __m256 dot_lanes(__m256i u, const int8_t *p)
{
    __m256i v = _mm256_load_si256((const __m256i *)(const void *)p);
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(_mm256_maddubs_epi16(u, v), _mm256_set1_epi16(1)));
}

/* The eight 6-bit scales and eight 6-bit minima of Q4_K and Q5_K; see scale_min_k4(). */
MM_INLINE void k4_scales(const uint8_t *packed, __m256 *scales, __m256 *mins)
{
    uint32_t p[3];
    memcpy(p, packed, sizeof p);
    uint32_t sc_high = (p[2] & 0x0f0f0f0f) | (p[0] >> 6 & 0x03030303) << 4;
    uint32_t mn_high = (p[2] >> 4 & 0x0f0f0f0f) | (p[1] >> 6 & 0x03030303) << 4;
    __m128i sc = _mm_set_epi32(0, 0, (int)sc_high, (int)(p[0] & 0x3f3f3f3f));
    __m128i mn = _mm_set_epi32(0, 0, (int)mn_high, (int)(p[1] & 0x3f3f3f3f));
    *scales = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(sc));
    *mins = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(mn));
}

/* Codes of group g; five: with the fifth bits of Q5_K. */
MM_INLINE __m256i codes_k45(const uint8_t *qs, __m256i fifth, int g, int five)
{
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(qs + 32 * (g / 2)));
    if (g & 1) v = _mm256_srli_epi16(v, 4);
    v = _mm256_and_si256(v, _mm256_set1_epi8(15));
    if (!five) return v;
    __m256i bit = _mm256_set1_epi8((char)(1 << g));
    __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(fifth, bit), bit);
    return _mm256_add_epi8(v, _mm256_and_si256(set, _mm256_set1_epi8(16)));
}

MM_INLINE void row_k45(float *y, size_t y_stride, const char *w, const char *x, size_t x_stride, int n,
                       int nt, int five)
{
    size_t block_bytes = five ? sizeof(struct block_q5_k) : sizeof(struct block_q4_k);
    __m256 sum[4], low[4];
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) sum[t] = low[t] = _mm256_setzero_ps();
    for (int c = 0; c < n; c += 256, w += block_bytes, x += sizeof(struct act_q8)) {
        const struct block_q4_k *b4 = (const void *)w;
        const struct block_q5_k *b5 = (const void *)w;
        __m256 sc, mn;
        float scale[4][8];
        _mm_prefetch(w + 1024, _MM_HINT_T0);
        _mm_prefetch(w + 1088, _MM_HINT_T0);
        k4_scales(b4->scales, &sc, &mn); /* d, dmin and scales lie alike in both */
        sc = _mm256_mul_ps(sc, _mm256_set1_ps(f16(b4->d)));
        mn = _mm256_mul_ps(mn, _mm256_set1_ps(f16(b4->dmin)));
#pragma GCC unroll 4
        for (int t = 0; t < nt; t++) {
            const struct act_q8 *a = token_block(x, x_stride, t);
            __m256 e = _mm256_load_ps(a->d);
            __m256i sums = _mm256_madd_epi16(_mm256_load_si256((const __m256i *)(const void *)a->sum),
                                             _mm256_set1_epi16(1));
            _mm256_storeu_ps(scale[t], _mm256_mul_ps(sc, e));
            low[t] = _mm256_fmadd_ps(_mm256_mul_ps(mn, e), _mm256_cvtepi32_ps(sums), low[t]);
        }
        const uint8_t *qs = five ? b5->qs : b4->qs;
        __m256i fifth = five ? _mm256_loadu_si256((const __m256i *)(const void *)b5->qh) : _mm256_setzero_si256();
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            __m256i u = codes_k45(qs, fifth, g, five);
#pragma GCC unroll 4
            for (int t = 0; t < nt; t++)
                sum[t] = _mm256_fmadd_ps(dot_lanes(u, token_block(x, x_stride, t)->q + 32 * g),
                                         _mm256_set1_ps(scale[t][g]), sum[t]);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) y[(size_t)t * y_stride] = sum_of(_mm256_sub_ps(sum[t], low[t]));
}

MM_INLINE void row_q4_k(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_k45(y, ys, w, x, xs, n, nt, 0);
}

MM_INLINE void row_q5_k(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_k45(y, ys, w, x, xs, n, nt, 1);
}

/* Codes of elements 32 g .. 32 g + 31 of a Q6_K block. */
MM_INLINE __m256i codes_q6_k(const struct block_q6_k *b, int g)
{
    int half = g / 4, part = g % 4;
    __m256i ql = _mm256_loadu_si256((const __m256i *)(const void *)(b->ql + 64 * half + 32 * (part & 1)));
    __m256i qh = _mm256_loadu_si256((const __m256i *)(const void *)(b->qh + 32 * half));
    if (part >= 2) ql = _mm256_srli_epi16(ql, 4);
    qh = _mm256_and_si256(_mm256_srli_epi16(qh, 2 * part), _mm256_set1_epi8(3));
    return _mm256_or_si256(_mm256_and_si256(ql, _mm256_set1_epi8(15)), _mm256_slli_epi16(qh, 4));
}

MM_INLINE void row_q6_k(float *y, size_t y_stride, const char *w, const char *x, size_t x_stride, int n, int nt)
{
    __m256 sum[4], low[4];
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) sum[t] = low[t] = _mm256_setzero_ps();
    for (int c = 0; c < n; c += 256, w += sizeof(struct block_q6_k), x += sizeof(struct act_q8)) {
        const struct block_q6_k *b = (const void *)w;
        float scale[4][16];
        _mm_prefetch(w + 1024, _MM_HINT_T0);
        _mm_prefetch(w + 1088, _MM_HINT_T0);
        const __m256 d = _mm256_set1_ps(f16(b->d));
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)b->scales);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) { /* eight of the sixteen groups, four of the eight e */
            __m128i part = h ? _mm_srli_si128(bytes, 8) : bytes;
            __m256 sc = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(part)));
#pragma GCC unroll 4
            for (int t = 0; t < nt; t++) {
                const struct act_q8 *a = token_block(x, x_stride, t);
                __m256 e = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_load_ps(a->d + 4 * h)),
                                                    _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
                __m128i sums = _mm_load_si128((const __m128i *)(const void *)(a->sum + 8 * h));
                __m256 both = _mm256_mul_ps(sc, e);
                _mm256_storeu_ps(scale[t] + 8 * h, both);
                low[t] = _mm256_fmadd_ps(both, _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(sums)), low[t]);
            }
        }
#pragma GCC unroll 8
        for (int g = 0; g < 8; g++) {
            __m256i u = codes_q6_k(b, g);
#pragma GCC unroll 4
            for (int t = 0; t < nt; t++) {
                __m256 wide = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_set1_ps(scale[t][2 * g])),
                                                   _mm_set1_ps(scale[t][2 * g + 1]), 1);
                sum[t] = _mm256_fmadd_ps(dot_lanes(u, token_block(x, x_stride, t)->q + 32 * g), wide, sum[t]);
            }
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++)
        y[(size_t)t * y_stride] = sum_of(_mm256_fnmadd_ps(low[t], _mm256_set1_ps(32), sum[t]));
}

void mm_q4_k_avx2(const struct kern_mm_args *a)
{
    mm_rows(a, row_q4_k);
}

void mm_q5_k_avx2(const struct kern_mm_args *a)
{
    mm_rows(a, row_q5_k);
}

void mm_q6_k_avx2(const struct kern_mm_args *a)
{
    mm_rows(a, row_q6_k);
}
#endif
