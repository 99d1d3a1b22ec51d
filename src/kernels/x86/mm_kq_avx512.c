/* mm_kq_avx512.c - products of Q4_K, Q5_K and Q6_K weights with 8-bit activations.
 *
 * A block of 256 weights meets one struct act_q8.  Its eight groups' scales d sc, times the eight e of
 * the activations, are one vector; minima meet the activations' sums in one fused multiply-add; the
 * products of unsigned codes and activations come from vpdpbusd, 64 at a time, each lane scaled by its
 * group's factor.  Q6_K has sixteen groups of 16, which are the lanes of a folded vector, and an offset of
 * 32, which is taken off there as an integer: see fold_avx512.h. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "blocks.h"
#include "fold_avx512.h"
#include "mm_rows.h"
#include "parts_avx512.h"

MM_INLINE float f16(uint16_t h)
{
    return _cvtsh_ss(h);
}

/* The eight 6-bit scales and eight 6-bit minima of Q4_K and Q5_K as bytes; see scale_min_k4(). */
MM_INLINE void k4_scales(const uint8_t *packed, __m128i *scales, __m128i *mins)
{
    uint32_t p[3];
    memcpy(p, packed, sizeof p);
    uint32_t sc_high = (p[2] & 0x0f0f0f0f) | (p[0] >> 6 & 0x03030303) << 4;
    uint32_t mn_high = (p[2] >> 4 & 0x0f0f0f0f) | (p[1] >> 6 & 0x03030303) << 4;
    *scales = _mm_set_epi32(0, 0, (int)sc_high, (int)(p[0] & 0x3f3f3f3f));
    *mins = _mm_set_epi32(0, 0, (int)mn_high, (int)(p[1] & 0x3f3f3f3f));
}

/* Lanes 0-7 take element 2 i of a vector of eight, lanes 8-15 element 2 i + 1. */
MM_INLINE __m512 spread_pair(__m256 v, int i)
{
    __m512i index = _mm512_mask_blend_epi32(0xff00, _mm512_set1_epi32(2 * i), _mm512_set1_epi32(2 * i + 1));
    return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(v));
}

/* fifth: 32 bytes whose bit g is bit 4 of group g, or NULL. */
MM_INLINE void row_k45(float *y, size_t y_stride, const char *w, const char *x, size_t x_stride, int n,
                       int nt, int five)
{
    size_t block_bytes = five ? sizeof(struct block_q5_k) : sizeof(struct block_q4_k);
    __m512 sum[4];
    __m256 low[4];
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) {
        sum[t] = _mm512_setzero_ps();
        low[t] = _mm256_setzero_ps();
    }
    for (int c = 0; c < n; c += 256, w += block_bytes, x += sizeof(struct act_q8)) {
        const struct block_q4_k *b4 = (const void *)w;
        const struct block_q5_k *b5 = (const void *)w;
        const uint8_t *qs = five ? b5->qs : b4->qs;
        __m128i scales, mins;
        __m256 scale[4];
        _mm_prefetch(w + 1024, _MM_HINT_T0);
        _mm_prefetch(w + 1088, _MM_HINT_T0);
        k4_scales(b4->scales, &scales, &mins); /* d, dmin and scales lie alike in both */
        __m256 sc = _mm256_mul_ps(_mm256_set1_ps(f16(b4->d)), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(scales)));
        __m256 mn = _mm256_mul_ps(_mm256_set1_ps(f16(b4->dmin)), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(mins)));
#pragma GCC unroll 4
        for (int t = 0; t < nt; t++) {
            const struct act_q8 *a = (const void *)(x + (size_t)t * x_stride);
            __m256 e = _mm256_load_ps(a->d);
            __m256i pairs = _mm256_madd_epi16(_mm256_load_si256((const __m256i *)(const void *)a->sum),
                                              _mm256_set1_epi16(1));
            scale[t] = _mm256_mul_ps(sc, e);
            low[t] = _mm256_fmadd_ps(_mm256_mul_ps(mn, e), _mm256_cvtepi32_ps(pairs), low[t]);
        }
        __m512i fifth = five ? _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)b5->qh))
                             : _mm512_setzero_si512();
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            __m256i nibbles = _mm256_loadu_si256((const __m256i *)(const void *)(qs + 32 * i));
            __m512i u = _mm512_inserti64x4(_mm512_castsi256_si512(nibbles), _mm256_srli_epi16(nibbles, 4), 1);
            u = _mm512_and_si512(u, _mm512_set1_epi8(15));
            if (five) {
                __m512i bit = _mm512_inserti64x4(_mm512_set1_epi8((char)(1 << 2 * i)),
                                                 _mm256_set1_epi8((char)(2 << 2 * i)), 1);
                u = _mm512_mask_add_epi8(u, _mm512_test_epi8_mask(fifth, bit), u, _mm512_set1_epi8(16));
            }
#pragma GCC unroll 4
            for (int t = 0; t < nt; t++) {
                const struct act_q8 *a = (const void *)(x + (size_t)t * x_stride);
                __m512i p = _mm512_load_si512(a->q + 64 * i);
                __m512 dot = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), u, p));
                sum[t] = _mm512_fmadd_ps(dot, spread_pair(scale[t], i), sum[t]);
            }
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++)
        y[(size_t)t * y_stride] = _mm512_reduce_add_ps(_mm512_sub_ps(sum[t], _mm512_zextps256_ps512(low[t])));
}

MM_INLINE void row_q4_k(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_k45(y, ys, w, x, xs, n, nt, 0);
}

MM_INLINE void row_q5_k(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_k45(y, ys, w, x, xs, n, nt, 1);
}

/* Codes of elements 64 i .. 64 i + 63 of a Q6_K block. */
MM_INLINE __m512i codes_q6_k(const struct block_q6_k *b, int i)
{
    int half = i / 2;
    __m512i ql = _mm512_loadu_si512(b->ql + 64 * half);
    __m256i qh = _mm256_loadu_si256((const __m256i *)(const void *)(b->qh + 32 * half));
    __m512i two = _mm512_inserti64x4(_mm512_castsi256_si512(qh), _mm256_srli_epi16(qh, 2), 1);
    if (i & 1) {
        ql = _mm512_srli_epi16(ql, 4);
        two = _mm512_srli_epi16(two, 4);
    }
    two = _mm512_slli_epi16(_mm512_and_si512(two, _mm512_set1_epi8(3)), 4);
    return _mm512_or_si512(_mm512_and_si512(ql, _mm512_set1_epi8(15)), two);
}

MM_INLINE void row_q6_k(float *y, size_t y_stride, const char *w, const char *x, size_t x_stride, int n, int nt)
{
    const __m128i groups = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i spread = _mm512_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6, 1, 3, 5, 7, 1, 3, 5, 7);
    __m512 sum[4];
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) sum[t] = _mm512_setzero_ps();
    for (int c = 0; c < n; c += 256, w += sizeof(struct block_q6_k), x += sizeof(struct act_q8)) {
        const struct block_q6_k *b = (const void *)w;
        _mm_prefetch(w + 1024, _MM_HINT_T0);
        _mm_prefetch(w + 1088, _MM_HINT_T0);
        _mm_prefetch(w + 1152, _MM_HINT_T0);
        __m512i dot[4][2];
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            __m512i u = codes_q6_k(b, 2 * h), v = codes_q6_k(b, 2 * h + 1);
#pragma GCC unroll 4
            for (int t = 0; t < nt; t++) {
                const struct act_q8 *a = (const void *)(x + (size_t)t * x_stride);
                dot[t][h] = fold_products(u, v, a->q + 128 * h);
            }
        }
        __m128i bytes = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)b->scales), groups);
        __m512 sc = _mm512_mul_ps(_mm512_set1_ps(f16(b->d)), _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)));
#pragma GCC unroll 4
        for (int t = 0; t < nt; t++) {
            const struct act_q8 *a = (const void *)(x + (size_t)t * x_stride);
            __m512 e = _mm512_permutexvar_ps(spread, _mm512_castps256_ps512(_mm256_load_ps(a->d)));
            __m512 exact = _mm512_cvtepi32_ps(fold_offset(fold_halves(dot[t][0], dot[t][1]), a, 32));
            sum[t] = _mm512_fmadd_ps(exact, _mm512_mul_ps(sc, e), sum[t]);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) y[(size_t)t * y_stride] = _mm512_reduce_add_ps(sum[t]);
}

void mm_q4_k_avx512(const struct kern_mm_args *a)
{
    mm_rows(a, row_q4_k);
}

void mm_q5_k_avx512(const struct kern_mm_args *a)
{
    mm_rows(a, row_q5_k);
}

void mm_q6_k_avx512(const struct kern_mm_args *a)
{
    mm_rows(a, row_q6_k);
}
#endif
