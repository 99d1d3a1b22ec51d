/* mm_q0_avx512.c - products of the 32-element formats with 8-bit activations.
 *
 * All of them are w = d (u - offset) with u an unsigned byte: the four-bit code itself, or what a table
 * of sixteen makes of it.  Eight blocks meet one struct act_q8: vpdpbusd multiplies two blocks at a time,
 * the four results are folded into one vector of integers (fold_avx512.h), and the offset's share is taken
 * off there.  The eight products d e of the scales are computed at once. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "blocks.h"
#include "fold_avx512.h"
#include "mm_rows.h"
#include "parts_avx512.h"

struct format {
    int block_bytes, offset;
    __m256 (*scales)(const char *blocks);              /* d of eight blocks */
    __m512i (*codes)(const char *block, __m128i table); /* u of two blocks */
};

MM_INLINE __m256 scales_f16(const char *b, int block_bytes)
{
    uint16_t d[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) memcpy(&d[i], b + i * block_bytes, sizeof d[i]);
    __m128i h;
    memcpy(&h, d, sizeof h);
    return _mm256_cvtph_ps(h);
}

/* Sixteen bytes of nibbles of each of two blocks to 64 bytes: low ones first, then high ones. */
MM_INLINE __m512i two_blocks(const char *first, const char *second)
{
    __m512i v = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)first));
    v = _mm512_mask_broadcast_i32x4(v, 0xff00, _mm_loadu_si128((const __m128i *)(const void *)second));
    const __m512i high = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
    return _mm512_and_si512(_mm512_srlv_epi64(v, high), _mm512_set1_epi8(15));
}

MM_INLINE void row_q0(float *y, size_t y_stride, const char *w, const char *x, size_t x_stride, int n,
                      int nt, struct format f, __m128i table)
{
    const __m512i spread = _mm512_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6, 1, 3, 5, 7, 1, 3, 5, 7); /* scales */
    char tail[8 * 34] = {0}; /* the last blocks, if they are fewer than eight: d = 0 beyond */
    __m512 sum[4];
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) sum[t] = _mm512_setzero_ps();
    for (int c = 0; c < n; c += 256, w += 8 * f.block_bytes, x += sizeof(struct act_q8)) {
        if (n - c < 256) {
            memcpy(tail, w, (size_t)((n - c) / 32 * f.block_bytes));
            w = tail;
        } else {
            _mm_prefetch(w + 1024, _MM_HINT_T0);
            _mm_prefetch(w + 1088, _MM_HINT_T0);
            _mm_prefetch(w + 1152, _MM_HINT_T0);
        }
        __m512i dot[4][2];
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            __m512i u = f.codes(w + 4 * h * f.block_bytes, table);
            __m512i v = f.codes(w + (4 * h + 2) * f.block_bytes, table);
#pragma GCC unroll 4
            for (int t = 0; t < nt; t++) {
                const struct act_q8 *a = (const void *)(x + (size_t)t * x_stride);
                dot[t][h] = fold_products(u, v, a->q + 128 * h);
            }
        }
        __m256 d = f.scales(w);
#pragma GCC unroll 4
        for (int t = 0; t < nt; t++) {
            const struct act_q8 *a = (const void *)(x + (size_t)t * x_stride);
            __m512 scale = _mm512_castps256_ps512(_mm256_mul_ps(d, _mm256_load_ps(a->d)));
            __m512i exact = fold_offset(fold_halves(dot[t][0], dot[t][1]), a, f.offset);
            sum[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(exact), _mm512_permutexvar_ps(spread, scale), sum[t]);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) y[(size_t)t * y_stride] = _mm512_reduce_add_ps(sum[t]);
}

/* ---- the formats ------------------------------------------------------------------------------ */

MM_INLINE __m256 scales_18(const char *b)
{
    return scales_f16(b, 18);
}

MM_INLINE __m512i codes_q4_0(const char *b, __m128i table)
{
    (void)table;
    return two_blocks(b + 2, b + 18 + 2);
}

MM_INLINE void row_q4_0(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_q0(y, ys, w, x, xs, n, nt, (struct format){18, 8, scales_18, codes_q4_0}, _mm_setzero_si128());
}

/* Table entries are the format's values plus the offset. */
MM_INLINE __m512i codes_table_18(const char *b, __m128i table)
{
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), two_blocks(b + 2, b + 18 + 2));
}

MM_INLINE void row_iq4_nl(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    __m128i table = _mm_setr_epi8(0, 23, 44, 62, 78, 92, 105, 117, (char)128, (char)140, (char)152,
                                  (char)165, (char)180, (char)196, (char)216, (char)240);
    row_q0(y, ys, w, x, xs, n, nt, (struct format){18, 127, scales_18, codes_table_18}, table);
}

MM_INLINE __m256 scales_22(const char *b)
{
    return scales_f16(b, 22);
}

MM_INLINE __m512i codes_q5_0(const char *b, __m128i table)
{
    uint32_t first, second;
    (void)table;
    memcpy(&first, b + 2, sizeof first);
    memcpy(&second, b + 22 + 2, sizeof second);
    __mmask64 fifth = (__mmask64)first | (__mmask64)second << 32;
    __m512i low = two_blocks(b + 6, b + 22 + 6);
    return _mm512_mask_add_epi8(low, fifth, low, _mm512_set1_epi8(16));
}

MM_INLINE void row_q5_0(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_q0(y, ys, w, x, xs, n, nt, (struct format){22, 16, scales_22, codes_q5_0}, _mm_setzero_si128());
}

MM_INLINE __m256 scales_34(const char *b)
{
    return scales_f16(b, 34);
}

MM_INLINE __m512i codes_q8_0(const char *b, __m128i table)
{
    (void)table;
    __m256i first = _mm256_loadu_si256((const __m256i *)(const void *)(b + 2));
    __m256i second = _mm256_loadu_si256((const __m256i *)(const void *)(b + 34 + 2));
    __m512i q = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
    return _mm512_xor_si512(q, _mm512_set1_epi8((char)0x80)); /* q + 128 */
}

MM_INLINE void row_q8_0(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_q0(y, ys, w, x, xs, n, nt, (struct format){34, 128, scales_34, codes_q8_0}, _mm_setzero_si128());
}

/* 2^(e - 128): the table holds doubled values.  Below e = 2 the result is subnormal, e = 255 is NaN. */
MM_INLINE __m256 scales_mxfp4(const char *b)
{
    __m256i e = _mm256_setr_epi32((uint8_t)b[0], (uint8_t)b[17], (uint8_t)b[34], (uint8_t)b[51],
                                  (uint8_t)b[68], (uint8_t)b[85], (uint8_t)b[102], (uint8_t)b[119]);
    __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    __mmask8 is_small = _mm256_cmplt_epi32_mask(e, _mm256_set1_epi32(2));
    __mmask8 is_nan = _mm256_cmpeq_epi32_mask(e, _mm256_set1_epi32(255));
    __m256i bits = _mm256_mask_blend_epi32(is_small, normal, small);
    return _mm256_castsi256_ps(_mm256_mask_blend_epi32(is_nan, bits, _mm256_set1_epi32(0x7fc00000)));
}

MM_INLINE __m512i codes_mxfp4(const char *b, __m128i table)
{
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), two_blocks(b + 1, b + 17 + 1));
}

MM_INLINE void row_mxfp4(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    __m128i table = _mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0);
    row_q0(y, ys, w, x, xs, n, nt, (struct format){17, 12, scales_mxfp4, codes_mxfp4}, table);
}

void mm_q4_0_avx512(const struct kern_mm_args *a)
{
    mm_rows(a, row_q4_0);
}

void mm_q5_0_avx512(const struct kern_mm_args *a)
{
    mm_rows(a, row_q5_0);
}

void mm_q8_0_avx512(const struct kern_mm_args *a)
{
    mm_rows(a, row_q8_0);
}

void mm_iq4_nl_avx512(const struct kern_mm_args *a)
{
    mm_rows(a, row_iq4_nl);
}

void mm_mxfp4_avx512(const struct kern_mm_args *a)
{
    mm_rows(a, row_mxfp4);
}
#endif
