/* elem_avx512.c - vectors of float32, sixteen at a time; tails under a mask. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "blocks.h"
#include "math_avx512.h"
#include "parts_avx512.h"

#define INLINE MATH_INLINE

float dot_avx512(const float *a, const float *b, size_t n)
{
    __m512 even = _mm512_setzero_ps(), odd = even;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        even = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), even);
        odd = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), odd);
    }
    for (; i < n; i += 16) {
        __mmask16 k = tail_mask(n - i);
        even = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(k, a + i), _mm512_maskz_loadu_ps(k, b + i), even);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(even, odd));
}

void axpy_avx512(float *y, float a, const float *x, size_t n)
{
    __m512 factor = _mm512_set1_ps(a);
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 k = tail_mask(n - i);
        __m512 old = _mm512_maskz_loadu_ps(k, y + i);
        _mm512_mask_storeu_ps(y + i, k, _mm512_fmadd_ps(factor, _mm512_maskz_loadu_ps(k, x + i), old));
    }
}

/* Eight pairs: what is added is subtracted in even lanes. */
void rope_pairs_avx512(float *x, const float *cs, size_t n_rot)
{
    for (size_t i = 0; i < n_rot; i += 16) {
        __mmask16 k = tail_mask(n_rot - i);
        __m512 v = _mm512_maskz_loadu_ps(k, x + i), turn = _mm512_maskz_loadu_ps(k, cs + i);
        __m512 crossed = _mm512_mul_ps(_mm512_permute_ps(v, 0xb1), _mm512_movehdup_ps(turn));
        _mm512_mask_storeu_ps(x + i, k, _mm512_fmaddsub_ps(v, _mm512_moveldup_ps(turn), crossed));
    }
}

/* Sixteen pairs, whose cosines and sines lie in turns. */
void rope_halves_avx512(float *x, const float *cs, size_t n_rot)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    size_t half = n_rot / 2;
    for (size_t i = 0; i < half; i += 16) {
        __mmask16 k = tail_mask(half - i), more = half - i > 8 ? tail_mask(2 * (half - i) - 16) : 0;
        __m512 low = _mm512_maskz_loadu_ps(tail_mask(2 * (half - i)), cs + 2 * i);
        __m512 high = _mm512_maskz_loadu_ps(more, cs + 2 * i + 16);
        __m512 c = _mm512_permutex2var_ps(low, even, high), s = _mm512_permutex2var_ps(low, odd, high);
        __m512 a = _mm512_maskz_loadu_ps(k, x + i), b = _mm512_maskz_loadu_ps(k, x + half + i);
        _mm512_mask_storeu_ps(x + i, k, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        _mm512_mask_storeu_ps(x + half + i, k, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)));
    }
}

float exp_sum_avx512(float *x, float max, size_t n)
{
    __m512 sum = _mm512_setzero_ps(), top = _mm512_set1_ps(max);
    const __m512 nothing = _mm512_set1_ps(-__builtin_inff());
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 k = tail_mask(n - i);
        __m512 v = _mm512_mask_loadu_ps(nothing, k, x + i);
        __mmask16 finite = _mm512_cmp_ps_mask(v, nothing, _CMP_NEQ_UQ); /* -inf - -inf is to be 0 */
        __m512 e = _mm512_maskz_mov_ps(finite, exp_ps(_mm512_sub_ps(v, top)));
        _mm512_mask_storeu_ps(x + i, k, e);
        sum = _mm512_add_ps(sum, e);
    }
    return _mm512_reduce_add_ps(sum);
}

/* ---- activations to 8 bits ------------------------------------------------------------------------- */

/* The largest of the sixteen lanes of each of eight vectors. */
INLINE __m256i max_lanes(const __m512i v[8])
{
    __m512i half[2];
    for (int i = 0; i < 2; i++) {
        const __m512i *t = v + 4 * i;
        __m512i a = _mm512_max_epi32(_mm512_unpacklo_epi32(t[0], t[1]), _mm512_unpackhi_epi32(t[0], t[1]));
        __m512i b = _mm512_max_epi32(_mm512_unpacklo_epi32(t[2], t[3]), _mm512_unpackhi_epi32(t[2], t[3]));
        half[i] = _mm512_max_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    }
    __m512i low = _mm512_shuffle_i64x2(half[0], half[1], 0x44), high = _mm512_shuffle_i64x2(half[0], half[1], 0xee);
    __m512i both = _mm512_max_epi32(low, high); /* parts 0 and 1: of the first four, 2 and 3: of the others */
    both = _mm512_max_epi32(both, _mm512_shuffle_i64x2(both, both, 0xb1));
    return _mm512_castsi512_si256(_mm512_shuffle_i64x2(both, both, 0x08));
}

/* The sums of sixteen bytes each, of 256. */
INLINE __m256i sums_of_16(const int8_t *q)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i s[4];
    for (int i = 0; i < 4; i++) s[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, _mm512_load_si512(q + 64 * i));
    __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(s[0], s[1]), _mm512_unpackhi_epi32(s[0], s[1]));
    __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(s[2], s[3]), _mm512_unpackhi_epi32(s[2], s[3]));
    __m512i sum = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    return _mm512_cvtepi32_epi16(_mm512_permutexvar_epi32(order, sum));
}

/* Up to 256 activations; the same operations as the scalar definition, so the same bits. */
INLINE void quant_256(struct act_q8 *to, const float *x, size_t n)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512 v[16];
    __m512i top[8];
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; i++)
        v[i] = n >= 16 * i + 16 ? _mm512_loadu_ps(x + 16 * i)
                                : _mm512_maskz_loadu_ps(tail_mask(n > 16 * i ? n - 16 * i : 0), x + 16 * i);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) /* magnitudes order like integers, NaN above all */
        top[i] = _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(v[2 * i]), magnitude),
                                  _mm512_and_si512(_mm512_castps_si512(v[2 * i + 1]), magnitude));
    __m256i bits = max_lanes(top);
    __m256 most = _mm256_castsi256_ps(bits), limit = _mm256_set1_ps(127);
    __mmask8 tiny = _mm256_cmp_ps_mask(most, _mm256_set1_ps(0x1p-100f), _CMP_LT_OQ);
    __mmask8 usable = (__mmask8)~(tiny | _mm256_cmpgt_epi32_mask(bits, _mm256_set1_epi32(0x7f7fffff)));
    _mm256_store_ps(to->d, _mm256_maskz_div_ps((__mmask8)~tiny, most, limit));
    __m512 inverse = _mm512_castps256_ps512(_mm256_maskz_div_ps(usable, limit, most));
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
        __m512 factor = _mm512_permutexvar_ps(_mm512_set1_epi32(i / 2), inverse);
        __mmask16 all = usable >> i / 2 & 1 ? 0xffff : 0;
        __m512i q = _mm512_maskz_cvtps_epi32(all, _mm512_mul_ps(v[i], factor));
        _mm_store_si128((__m128i *)(void *)(to->q + 16 * i), _mm512_cvtepi32_epi8(q));
    }
    _mm256_store_si256((__m256i *)(void *)to->sum, sums_of_16(to->q));
}

void quant_act_avx512(struct act_q8 *dst, const float *x, size_t n)
{
    for (; n >= 256; n -= 256, x += 256, dst++) quant_256(dst, x, 256);
    if (n > 0) quant_256(dst, x, n);
}
#endif
