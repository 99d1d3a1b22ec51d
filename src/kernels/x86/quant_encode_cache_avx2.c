/* quant_encode_cache_avx2.c - float32 to BF16, Q8_0 and Q4_0: what the rows of a cache are made of, one for
 * every token and layer.
 *
 * The operations are those of quant_encode_scalar.c in the same order (no fused ones), so the bytes are the
 * same. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "blocks.h"
#include "parts_avx2.h"
#include "quant_pack.h"

#define INLINE static inline __attribute__((always_inline))

/* ---- BF16 ----------------------------------------------------------------------------------- */

/* In the low halves of eight lanes. */
INLINE __m256i bf16_of(__m256 v)
{
    __m256i bits = _mm256_castps_si256(v), high = _mm256_srli_epi32(bits, 16);
    __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(_mm256_srli_epi32(up, 16), quiet, is_nan);
}

void encode_bf16_avx2(void *dst, const float *src, size_t n)
{
    char *to = dst;
    for (; n >= 16; n -= 16, src += 16, to += 32) {
        __m256i both = _mm256_packus_epi32(bf16_of(_mm256_loadu_ps(src)), bf16_of(_mm256_loadu_ps(src + 8)));
        _mm256_storeu_si256((__m256i *)(void *)to, _mm256_permute4x64_epi64(both, 0xd8));
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t h = bf16_of_float(src[i]);
        memcpy(to + 2 * i, &h, sizeof h);
    }
}

/* ---- blocks of 32 --------------------------------------------------------------------------- */

INLINE __m256 magnitude(__m256 x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

/* The largest magnitude in every lane; NaN or infinity where an element is not finite, as the bit patterns
 * of magnitudes order like integers. */
INLINE __m256 largest(const __m256 v[4])
{
    __m256i top = _mm256_setzero_si256();
    for (int i = 0; i < 4; i++) top = _mm256_max_epi32(top, _mm256_castps_si256(magnitude(v[i])));
    top = _mm256_max_epi32(top, _mm256_permute2x128_si256(top, top, 1));
    top = _mm256_max_epi32(top, _mm256_shuffle_epi32(top, 0x4e));
    return _mm256_castsi256_ps(_mm256_max_epi32(top, _mm256_shuffle_epi32(top, 0xb1)));
}

/* The first element of that magnitude, with its sign. */
INLINE float extreme(const float *x, const __m256 v[4], __m256 top)
{
    uint32_t found = 0;
    for (int i = 0; i < 4; i++) {
        __m256 same = _mm256_cmp_ps(magnitude(v[i]), top, _CMP_EQ_OQ);
        found |= (uint32_t)_mm256_movemask_ps(same) << 8 * i;
    }
    return x[_tzcnt_u32(found)];
}

/* 32 small integers as bytes in their order. */
INLINE __m256i packed(const __m256i q[4])
{
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* To the nearest, halves away from zero. */
INLINE __m256i rounded(__m256 x)
{
    __m256i whole = _mm256_cvttps_epi32(x);
    __m256 rest = _mm256_sub_ps(x, _mm256_cvtepi32_ps(whole));
    __m256 up = _mm256_cmp_ps(rest, _mm256_set1_ps(0.5f), _CMP_GE_OQ);
    __m256 down = _mm256_cmp_ps(rest, _mm256_set1_ps(-0.5f), _CMP_LE_OQ);
    return _mm256_add_epi32(_mm256_sub_epi32(whole, _mm256_castps_si256(up)), _mm256_castps_si256(down));
}

void encode_q8_0_avx2(void *dst, const float *src, size_t n)
{
    struct block_q8_0 *b = dst;
    for (; n >= 32; n -= 32, src += 32, b++) {
        __m256 v[4];
        __m256i q[4];
        for (int i = 0; i < 4; i++) v[i] = _mm256_loadu_ps(src + 8 * i);
        float top = _mm256_cvtss_f32(largest(v));
        if (!isfinite(top)) {
            *b = (struct block_q8_0){.d = F16_NAN};
            continue;
        }
        float d = top / 127, id = inverse(d);
        b->d = (uint16_t)_cvtss_sh(d, _MM_FROUND_TO_NEAREST_INT);
        for (int i = 0; i < 4; i++) q[i] = rounded(_mm256_mul_ps(v[i], _mm256_set1_ps(id)));
        _mm256_storeu_si256((__m256i *)(void *)b->qs, packed(q));
    }
}

void encode_q4_0_avx2(void *dst, const float *src, size_t n)
{
    struct block_q4_0 *b = dst;
    for (; n >= 32; n -= 32, src += 32, b++) {
        __m256 v[4];
        __m256i q[4];
        for (int i = 0; i < 4; i++) v[i] = _mm256_loadu_ps(src + 8 * i);
        __m256 top = largest(v);
        if (!isfinite(_mm256_cvtss_f32(top))) {
            *b = (struct block_q4_0){.d = F16_NAN};
            continue;
        }
        float d = (_mm256_cvtss_f32(top) > 0 ? extreme(src, v, top) : 0) / -8, id = inverse(d);
        b->d = (uint16_t)_cvtss_sh(d, _MM_FROUND_TO_NEAREST_INT);
        for (int i = 0; i < 4; i++) {
            __m256 x = _mm256_add_ps(_mm256_mul_ps(v[i], _mm256_set1_ps(id)), _mm256_set1_ps(8.5f));
            q[i] = _mm256_min_epi32(_mm256_cvttps_epi32(x), _mm256_set1_epi32(15));
        }
        __m256i codes = packed(q), shifted = _mm256_slli_epi16(codes, 4);
        __m128i nibbles = _mm_or_si128(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(shifted, 1));
        _mm_storeu_si128((__m128i *)(void *)b->qs, nibbles);
    }
}
#endif
