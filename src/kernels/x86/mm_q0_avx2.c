/* mm_q0_avx2.c - products of the 32-element formats with 8-bit activations.
 *
 * One block at a time: vpmaddubsw multiplies unsigned by signed bytes into 16-bit pairs, vpmaddwd adds
 * those to 32 bits.  The pairs must not saturate, so the unsigned side is |w| and the signed one takes
 * over w's sign: 2 * 128 * 127 < 2^15.  Eight blocks meet one struct act_q8, as in mm_q0_avx512.c. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "blocks.h"
#include "convert.h"
#include "mm_rows.h"
#include "parts_avx2.h"

struct format {
    int block_bytes;
    float (*scale)(const char *block);
    __m256i (*values)(const char *block); /* w / scale, as signed bytes */
};

MM_INLINE float sum_of(__m256 v)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

MM_INLINE void row_q0(float *y, size_t y_stride, const char *w, const char *x, size_t x_stride, int n,
                      int nt, struct format f)
{
    __m256 sum[4];
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) sum[t] = _mm256_setzero_ps();
    for (int c = 0; c < n; c += 32, w += f.block_bytes) {
        _mm_prefetch(w + 768, _MM_HINT_T0);
        const float d = f.scale(w);
        const __m256i q = f.values(w), magnitude = _mm256_abs_epi8(q);
        const size_t at = (size_t)(c / 256) * sizeof(struct act_q8);
        const int block = c % 256 / 32;
#pragma GCC unroll 4
        for (int t = 0; t < nt; t++) {
            const struct act_q8 *a = (const void *)(x + (size_t)t * x_stride + at);
            __m256i p = _mm256_load_si256((const __m256i *)(const void *)(a->q + 32 * block));
            __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(p, q));
            __m256 dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            sum[t] = _mm256_fmadd_ps(_mm256_set1_ps(d * a->d[block]), dot, sum[t]);
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) y[(size_t)t * y_stride] = sum_of(sum[t]);
}

/* ---- the formats ------------------------------------------------------------------------------ */

MM_INLINE float scale_f16(const char *b)
{
    uint16_t h;
    memcpy(&h, b, sizeof h);
    return _cvtsh_ss(h);
}

MM_INLINE __m256i nibbles(const char *qs)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)qs);
    __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

MM_INLINE __m256i values_q4_0(const char *b)
{
    return _mm256_sub_epi8(nibbles(b + 2), _mm256_set1_epi8(8));
}

/* Bit i of the word to byte i: its byte to every byte that needs it, then its bit alone. */
MM_INLINE __m256i values_q5_0(const char *b)
{
    uint32_t fifth;
    memcpy(&fifth, b + 2, sizeof fifth);
    const __m256i pick = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int)fifth), pick);
    __m256i clear = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), _mm256_setzero_si256());
    return _mm256_sub_epi8(nibbles(b + 6), _mm256_and_si256(clear, _mm256_set1_epi8(16)));
}

MM_INLINE __m256i values_q8_0(const char *b)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)(b + 2));
}

MM_INLINE float scale_mxfp4(const char *b)
{
    return 0.5f * float_of_e8m0((uint8_t)b[0]); /* the table holds doubled values */
}

MM_INLINE __m256i values_mxfp4(const char *b)
{
    __m128i table = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), nibbles(b + 1));
}

MM_INLINE void row_q4_0(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_q0(y, ys, w, x, xs, n, nt, (struct format){18, scale_f16, values_q4_0});
}

MM_INLINE void row_q5_0(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_q0(y, ys, w, x, xs, n, nt, (struct format){22, scale_f16, values_q5_0});
}

MM_INLINE void row_q8_0(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_q0(y, ys, w, x, xs, n, nt, (struct format){34, scale_f16, values_q8_0});
}

MM_INLINE void row_mxfp4(float *y, size_t ys, const char *w, const char *x, size_t xs, int n, int nt)
{
    row_q0(y, ys, w, x, xs, n, nt, (struct format){17, scale_mxfp4, values_mxfp4});
}

void mm_q4_0_avx2(const struct kern_mm_args *a)
{
    mm_rows(a, row_q4_0);
}

void mm_q5_0_avx2(const struct kern_mm_args *a)
{
    mm_rows(a, row_q5_0);
}

void mm_q8_0_avx2(const struct kern_mm_args *a)
{
    mm_rows(a, row_q8_0);
}

void mm_mxfp4_avx2(const struct kern_mm_args *a)
{
    mm_rows(a, row_mxfp4);
}
#endif
