/* mm_kq_avx512.c - products of Q4_K, Q5_K and Q6_K weights with 8-bit activations.
 *
 * Q4_K and Q5_K: a block of 256 weights meets 256 activations, which were brought into the order of its
 * nibbles once for all rows.  The eight scales and eight minima, times the activations' own scales and
 * sums, are one vector; the products of codes and activations come from vpdpbusd, 64 at a time, each lane
 * scaled by its group's factor.
 *
 * Q6_K has sixteen groups of 16, which are the lanes of a folded vector, and an offset of 32, which is taken
 * off there as an integer: see fold_avx512.h. */
#if defined(__x86_64__)

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "blocks.h"
#include "fold_avx512.h"
#include "mm_rows.h"
#include "parts_avx512.h"

enum { AHEAD = 4096 }; /* bytes; the next page, so that its address is translated in time */

MM_INLINE float f16(uint16_t h)
{
    return _cvtsh_ss(h);
}

/* ---- Q4_K, Q5_K -------------------------------------------------------------------------------- */

/* 256 activations as these two formats meet them. */
struct act_k45 {
    float e[16];   /* scales of groups 0 to 3, what a minimum of 1 takes away from their sums; 4 to 7, the same */
    int8_t q[256]; /* groups 0, 2, 1, 3, 4, 6, 5, 7: low nibbles of 64 bytes are two groups, high ones two */
};

enum { K45_PIECE = 32 }; /* blocks that are prepared at a time, so that they fit on the stack */

static void prepare_k45(struct act_k45 *to, const struct act_q8 *a, int n_blocks)
{
    static const int order[8] = {0, 2, 1, 3, 4, 6, 5, 7};
    for (int b = 0; b < n_blocks; b++, to++, a++) {
        __m256 e = _mm256_load_ps(a->d);
        __m256i halves = _mm256_load_si256((const __m256i *)(const void *)a->sum);
        __m256i sums = _mm256_madd_epi16(halves, _mm256_set1_epi16(1));
        __m256 low = _mm256_mul_ps(_mm256_sub_ps(_mm256_setzero_ps(), e), _mm256_cvtepi32_ps(sums));
        _mm256_store_ps(to->e, _mm256_permute2f128_ps(e, low, 0x20));
        _mm256_store_ps(to->e + 8, _mm256_permute2f128_ps(e, low, 0x31));
        for (int g = 0; g < 8; g++)
            _mm256_store_si256((__m256i *)(void *)(to->q + 32 * g),
                               _mm256_load_si256((const __m256i *)(const void *)(a->q + 32 * order[g])));
    }
}

/* The 6-bit scales and minima as bytes, four scales, four minima, and again; see scale_min_k4(). */
MM_INLINE __m128i k4_scales(const char *packed)
{
    uint64_t p, high;
    uint32_t low4;
    memcpy(&p, packed, sizeof p);
    memcpy(&low4, packed + 8, sizeof low4);
    high = (low4 & 0x0f0f0f0f) | (uint64_t)(low4 >> 4 & 0x0f0f0f0f) << 32;
    high |= p >> 2 & 0x3030303030303030;
    return _mm_set_epi64x((int64_t)high, (int64_t)(p & 0x3f3f3f3f3f3f3f3f));
}

/* In the same order, d times the scales and dmin times the minima; the head of both formats is the same. */
MM_INLINE __m512 k4_factors(const char *w)
{
    const __m512i which = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1);
    __m512 d = _mm512_castps128_ps512(_mm_cvtph_ps(_mm_loadu_si32(w)));
    __m512 scales = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(k4_scales(w + 4)));
    return _mm512_mul_ps(_mm512_permutexvar_ps(which, d), scales);
}

/* Codes of block `w`, 64 at a time in the order of act_k45. */
MM_INLINE void k45_codes(__m512i code[4], const char *w, int five)
{
    const __m512i low = _mm512_set1_epi8(15), high = _mm512_set1_epi8(16);
    const char *qs = w + (five ? offsetof(struct block_q5_k, qs) : offsetof(struct block_q4_k, qs));
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        __m512i nibbles = _mm512_loadu_si512(qs + 64 * h);
        __asm__("" : "+v"(nibbles)); /* one load for both: most of them cross a cache line */
        code[2 * h] = _mm512_and_si512(nibbles, low);
        code[2 * h + 1] = _mm512_and_si512(_mm512_srli_epi16(nibbles, 4), low);
    }
    if (!five) return;
    const struct block_q5_k *b = (const void *)w;
    __m512i fifth = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)b->qh));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* the two groups of this vector: g and g + 2 */
        int g = 4 * (i / 2) + i % 2;
        __m512i bit = _mm512_inserti64x4(_mm512_set1_epi8((char)(1 << g)), _mm256_set1_epi8((char)(4 << g)), 1);
        code[i] = _mm512_mask_add_epi8(code[i], _mm512_test_epi8_mask(fifth, bit), code[i], high);
    }
}

struct k45_sum { /* of one row and one token */
    __m512 even, odd; /* two, so that an addition need not wait for the one before */
    __m512 low;       /* minima in the lanes 0xf0f0 */
};

/* Block `w` of one row against nt tokens. */
MM_INLINE void block_k45(struct k45_sum *sum, const char *w, const struct act_k45 *act, const __m512i pair[4], int nt,
                         int five)
{
    __m512i code[4];
    _mm_prefetch(w + AHEAD, _MM_HINT_T0);
    _mm_prefetch(w + AHEAD + 64, _MM_HINT_T0);
    __m512 factors = k4_factors(w);
    k45_codes(code, w, five);
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) {
        const struct act_k45 *a = act + t * K45_PIECE;
        __m512 scale = _mm512_mul_ps(factors, _mm512_load_ps(a->e)); /* and low */
        sum[t].low = _mm512_add_ps(sum[t].low, scale);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), code[i], _mm512_load_si512(a->q + 64 * i));
            __m512 *to = i % 2 ? &sum[t].odd : &sum[t].even;
            *to = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_permutexvar_ps(pair[i], scale), *to);
        }
    }
}

/* y of nr rows, row_gap rows apart, and nt tokens, for a piece of the columns; added to what is there unless
 * `first`. */
MM_INLINE void rows_k45(float *y, const struct kern_mm_args *a, const char *w, int row_gap, const struct act_k45 *act,
                        int n_blocks, int nr, int nt, int five, bool first)
{
    size_t block_bytes = five ? sizeof(struct block_q5_k) : sizeof(struct block_q4_k);
    struct k45_sum sum[2][4];
    __m512i pair[4];
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++)
#pragma GCC unroll 2
        for (int r = 0; r < nr; r++) sum[r][t].even = sum[r][t].odd = sum[r][t].low = _mm512_setzero_ps();
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        int lane = 8 * (i / 2) + i % 2;
        pair[i] = _mm512_mask_blend_epi32(0xff00, _mm512_set1_epi32(lane), _mm512_set1_epi32(lane + 2));
    }
    for (int b = 0; b < n_blocks; b++, w += block_bytes, act++)
#pragma GCC unroll 2
        for (int r = 0; r < nr; r++) block_k45(sum[r], w + (size_t)(r * row_gap) * a->w_stride, act, pair, nt, five);
#pragma GCC unroll 2
    for (int r = 0; r < nr; r++)
#pragma GCC unroll 4
        for (int t = 0; t < nt; t++) {
            float *to = y + (size_t)t * a->y_stride + r * row_gap;
            __m512 both = _mm512_add_ps(sum[r][t].even, sum[r][t].odd);
            float value = _mm512_reduce_add_ps(_mm512_mask_add_ps(both, 0xf0f0, both, sum[r][t].low));
            *to = first ? value : *to + value;
        }
}

/* All rows against nt tokens. */
MM_INLINE void tokens_k45(const struct kern_mm_args *a, int token, int nt, int five)
{
    _Alignas(64) struct act_k45 act[4 * K45_PIECE];
    size_t block_bytes = five ? sizeof(struct block_q5_k) : sizeof(struct block_q4_k);
    int n_blocks = a->n_cols / 256, at = 0;
    do { /* once at least: no columns make zeros */
        int n = n_blocks - at < K45_PIECE ? n_blocks - at : K45_PIECE, r = 0;
        for (int t = 0; t < nt; t++) {
            const char *x = (const char *)a->x + (size_t)(token + t) * a->x_stride;
            prepare_k45(act + t * K45_PIECE, (const struct act_q8 *)(const void *)x + at, n);
        }
        const char *w = (const char *)a->w + (size_t)at * block_bytes;
        float *y = a->y + (size_t)token * a->y_stride;
        /* One token: two rows at a time, far apart: two streams from memory.  Neighbours would be one for the
           processor's own prefetching, and a broken one. */
        int half = nt == 1 ? a->n_rows / 2 : 0;
        for (; r < half; r++, w += a->w_stride, y++) rows_k45(y, a, w, half, act, n, 2, nt, five, at == 0);
        r += half;
        w += (size_t)half * a->w_stride;
        y += half;
        for (; r < a->n_rows; r++, w += a->w_stride, y++) rows_k45(y, a, w, 0, act, n, 1, nt, five, at == 0);
        at += K45_PIECE;
    } while (at < n_blocks);
}

MM_INLINE void mm_k45(const struct kern_mm_args *a, int five)
{
    int t = 0;
    for (; t + 4 <= a->n_tokens; t += 4) tokens_k45(a, t, 4, five);
    for (; t < a->n_tokens; t++) tokens_k45(a, t, 1, five);
}

void mm_q4_k_avx512(const struct kern_mm_args *a)
{
    mm_k45(a, 0);
}

void mm_q5_k_avx512(const struct kern_mm_args *a)
{
    mm_k45(a, 1);
}

/* ---- Q6_K -------------------------------------------------------------------------------------- */

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
        _mm_prefetch(w + AHEAD, _MM_HINT_T0);
        _mm_prefetch(w + AHEAD + 64, _MM_HINT_T0);
        _mm_prefetch(w + AHEAD + 128, _MM_HINT_T0);
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

void mm_q6_k_avx512(const struct kern_mm_args *a)
{
    mm_rows(a, row_q6_k);
}
#endif
