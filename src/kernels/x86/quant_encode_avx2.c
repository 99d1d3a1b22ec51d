/* quant_encode_avx2.c - float32 to Q4_K, Q5_K and Q6_K, and by weights to Q4_0 to Q5_1 too: eight groups searched
 * side by side, a group to a lane.
 *
 * In a lane stands what quant_fit.h does with one group, operation by operation in the same order (no fused
 * ones), so the bytes are those of the scalar encoders.  Of every name there, this is the version for eight. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "parts_avx2.h"
#include "quant_pack.h"

#define INLINE static inline __attribute__((always_inline))

INLINE __m256 magnitude(__m256 x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

INLINE __m256 codes(__m256 x, float least, float most)
{
    const __m256 shift = _mm256_set1_ps(0x1.8p23f);
    x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(least)), _mm256_set1_ps(most));
    return _mm256_sub_ps(_mm256_add_ps(x, shift), shift);
}

/* x[i][lane] = element i of group `lane`; the groups of n elements, a multiple of 8, lie one behind the other. */
INLINE void side_by_side(float x[][8], const float *src, int n)
{
    for (int at = 0; at < n; at += 8) {
        __m256 r[8], s[8];
        for (int g = 0; g < 8; g++) r[g] = _mm256_loadu_ps(src + g * n + at);
        for (int g = 0; g < 8; g += 2) {
            s[g] = _mm256_unpacklo_ps(r[g], r[g + 1]);
            s[g + 1] = _mm256_unpackhi_ps(r[g], r[g + 1]);
        }
        for (int g = 0; g < 8; g += 4)
            for (int j = 0; j < 2; j++) {
                r[g + 2 * j] = _mm256_shuffle_ps(s[g + j], s[g + 2 + j], 0x44);
                r[g + 2 * j + 1] = _mm256_shuffle_ps(s[g + j], s[g + 2 + j], 0xee);
            }
        for (int i = 0; i < 4; i++) {
            _mm256_store_ps(x[at + i], _mm256_permute2f128_ps(r[i], r[4 + i], 0x20));
            _mm256_store_ps(x[at + 4 + i], _mm256_permute2f128_ps(r[i], r[4 + i], 0x31));
        }
    }
}

/* ---- what elements count for ------------------------------------------------------------------- */

INLINE void weigh_squares(float weight[][8], float x[][8], int n)
{
    for (int i = 0; i < n; i++) {
        __m256 v = _mm256_load_ps(x[i]);
        _mm256_store_ps(weight[i], _mm256_mul_ps(v, v));
    }
}

INLINE void weigh(float weight[32][8], float x[32][8])
{
    __m256 square = _mm256_setzero_ps();
    for (int i = 0; i < 32; i++) {
        __m256 v = _mm256_load_ps(x[i]);
        square = _mm256_add_ps(square, _mm256_mul_ps(v, v));
    }
    __m256 mean = _mm256_sqrt_ps(_mm256_div_ps(square, _mm256_set1_ps(32)));
    for (int i = 0; i < 32; i++)
        _mm256_store_ps(weight[i], _mm256_add_ps(mean, magnitude(_mm256_load_ps(x[i]))));
}

/* column: those of the eight groups, one behind the other. */
static void weigh_columns(float weight[][8], float x[][8], const float *column, int n, __m256 square)
{
    __m256 sum = _mm256_setzero_ps();
    side_by_side(weight, column, n);
    for (int i = 0; i < n; i++) {
        __m256 v = _mm256_load_ps(x[i]), size = _mm256_sqrt_ps(_mm256_add_ps(square, _mm256_mul_ps(v, v)));
        __m256 w = _mm256_mul_ps(_mm256_load_ps(weight[i]), size);
        _mm256_store_ps(weight[i], w);
        sum = _mm256_add_ps(sum, w);
    }
    __m256 none = _mm256_cmp_ps(sum, _mm256_setzero_ps(), _CMP_NGT_UQ);
    for (int i = 0; i < n && _mm256_movemask_ps(none); i++) {
        __m256 v = _mm256_load_ps(x[i]), size = _mm256_sqrt_ps(_mm256_add_ps(square, _mm256_mul_ps(v, v)));
        _mm256_store_ps(weight[i], _mm256_blendv_ps(_mm256_load_ps(weight[i]), size, none));
    }
}

/* ---- fits -------------------------------------------------------------------------------------- */

static __m256 fit_symmetric(float x[][8], float weight[][8], int n, int half, __m256 *cost)
{
    __m256 top = _mm256_setzero_ps(), best_d = top, best = top;
    *cost = top;
    for (int i = 0; i < n; i++) {
        __m256 v = _mm256_load_ps(x[i]);
        top = _mm256_blendv_ps(top, v, _mm256_cmp_ps(magnitude(v), magnitude(top), _CMP_GT_OQ));
    }
    for (int trial = -9; trial <= 9; trial++) {
        __m256 id = _mm256_div_ps(_mm256_set1_ps(-((float)half + 0.1f * (float)trial)), top);
        __m256 cross = _mm256_setzero_ps(), square = cross;
        for (int i = 0; i < n; i++) {
            __m256 v = _mm256_load_ps(x[i]), w = _mm256_load_ps(weight[i]);
            __m256 q = codes(_mm256_mul_ps(v, id), (float)-half, (float)(half - 1));
            cross = _mm256_add_ps(cross, _mm256_mul_ps(_mm256_mul_ps(w, v), q));
            square = _mm256_add_ps(square, _mm256_mul_ps(_mm256_mul_ps(w, q), q));
        }
        __m256 both = _mm256_mul_ps(cross, cross);
        __m256 better = _mm256_and_ps(_mm256_cmp_ps(square, _mm256_setzero_ps(), _CMP_GT_OQ),
                                      _mm256_cmp_ps(both, _mm256_mul_ps(best, square), _CMP_GT_OQ));
        best_d = _mm256_blendv_ps(best_d, _mm256_div_ps(cross, square), better);
        best = _mm256_blendv_ps(best, _mm256_div_ps(both, square), better);
        *cost = _mm256_blendv_ps(*cost, square, better);
    }
    __m256 nothing = _mm256_cmp_ps(magnitude(top), _mm256_set1_ps(1e-15f), _CMP_LT_OQ);
    *cost = _mm256_andnot_ps(nothing, *cost);
    return _mm256_andnot_ps(nothing, best_d);
}

struct fit {
    __m256 d, m, cost_d, cost_m;
};

struct sums {
    __m256 w, x, q, qq, xq;
};

INLINE void add_codes(struct sums *s, float x[32][8], float weight[32][8], int steps, __m256 id, __m256 m)
{
    __m256 sum_q = _mm256_setzero_ps(), sum_qq = sum_q, sum_xq = sum_q;
    for (int i = 0; i < 32; i++) {
        __m256 v = _mm256_load_ps(x[i]);
        __m256 q = codes(_mm256_mul_ps(_mm256_add_ps(v, m), id), 0, (float)steps);
        __m256 wq = _mm256_mul_ps(_mm256_load_ps(weight[i]), q);
        sum_q = _mm256_add_ps(sum_q, wq);
        sum_qq = _mm256_add_ps(sum_qq, _mm256_mul_ps(wq, q));
        sum_xq = _mm256_add_ps(sum_xq, _mm256_mul_ps(wq, v));
    }
    s->q = sum_q;
    s->qq = sum_qq;
    s->xq = sum_xq;
}

/* a b - c d */
INLINE __m256 cross_product(__m256 a, __m256 b, __m256 c, __m256 d)
{
    return _mm256_sub_ps(_mm256_mul_ps(a, b), _mm256_mul_ps(c, d));
}

INLINE __m256 gain_of(const struct sums *s, struct fit f)
{
    __m256 cross = cross_product(f.d, s->xq, f.m, s->x);
    __m256 square = _mm256_add_ps(_mm256_mul_ps(_mm256_mul_ps(f.d, f.d), s->qq),
                                  _mm256_mul_ps(_mm256_mul_ps(f.m, f.m), s->w));
    __m256 mixed = _mm256_mul_ps(_mm256_mul_ps(f.d, f.m), s->q);
    square = _mm256_sub_ps(square, _mm256_add_ps(mixed, mixed));
    return _mm256_sub_ps(_mm256_add_ps(cross, cross), square);
}

INLINE struct fit solve(const struct sums *s)
{
    __m256 zero = _mm256_setzero_ps(), det = cross_product(s->w, s->qq, s->q, s->q);
    __m256 d = _mm256_div_ps(cross_product(s->w, s->xq, s->x, s->q), det);
    __m256 m = _mm256_div_ps(cross_product(s->q, s->xq, s->qq, s->x), det);
    __m256 limit = _mm256_mul_ps(_mm256_set1_ps(1e-5f), _mm256_mul_ps(s->w, s->qq));
    __m256 both =
        _mm256_and_ps(_mm256_cmp_ps(det, limit, _CMP_GT_OQ), _mm256_cmp_ps(m, zero, _CMP_GE_OQ));
    return (struct fit){_mm256_blendv_ps(_mm256_div_ps(s->xq, s->qq), d, both), _mm256_and_ps(m, both), s->qq, s->w};
}

/* Sums of weight and of weight times x; the range of x, with 0 below. */
INLINE void first_sums(struct sums *s, float x[32][8], float weight[32][8], __m256 *least, __m256 *most)
{
    s->w = s->x = *least = _mm256_setzero_ps();
    *most = _mm256_load_ps(x[0]);
    for (int i = 0; i < 32; i++) {
        __m256 v = _mm256_load_ps(x[i]), w = _mm256_load_ps(weight[i]);
        *least = _mm256_min_ps(v, *least);
        *most = _mm256_max_ps(v, *most);
        s->w = _mm256_add_ps(s->w, w);
        s->x = _mm256_add_ps(s->x, _mm256_mul_ps(w, v));
    }
}

static struct fit fit_affine(float x[32][8], float weight[32][8], int steps)
{
    __m256 least, most, best_gain = _mm256_setzero_ps(), zero = best_gain;
    struct sums s;
    first_sums(&s, x, weight, &least, &most);
    __m256 range = _mm256_sub_ps(most, least), negative = _mm256_xor_ps(_mm256_set1_ps(-0.0f), least);
    struct fit best = {_mm256_div_ps(range, _mm256_set1_ps((float)steps)), negative, zero, s.w};
    for (int trial = 0; trial <= 20; trial++) {
        __m256 width = _mm256_set1_ps((float)steps - 1 + 0.1f * (float)trial);
        add_codes(&s, x, weight, steps, _mm256_div_ps(width, _mm256_add_ps(most, best.m)), best.m);
        struct fit f = solve(&s);
        __m256 gain = gain_of(&s, f);
        __m256 better =
            _mm256_and_ps(_mm256_cmp_ps(f.d, zero, _CMP_GT_OQ), _mm256_cmp_ps(gain, best_gain, _CMP_GT_OQ));
        best_gain = _mm256_blendv_ps(best_gain, gain, better);
        best.d = _mm256_blendv_ps(best.d, f.d, better);
        best.m = _mm256_blendv_ps(best.m, f.m, better);
        best.cost_d = _mm256_blendv_ps(best.cost_d, f.cost_d, better);
    }
    __m256 wide = _mm256_cmp_ps(range, _mm256_set1_ps(0x1p-100f), _CMP_GE_OQ);
    return (struct fit){_mm256_and_ps(best.d, wide), _mm256_blendv_ps(negative, best.m, wide),
                        _mm256_and_ps(best.cost_d, wide), s.w};
}

/* ---- blocks ------------------------------------------------------------------------------------ */

/* 32 codes as bytes, of which the first and the last 16 have their own scale. */
INLINE __m256i codes_of_32(const float *x, float offset, const float id[2], float least, float most)
{
    __m256i q[4];
    for (int j = 0; j < 4; j++) {
        __m256 v = _mm256_add_ps(_mm256_loadu_ps(x + 8 * j), _mm256_set1_ps(offset));
        q[j] = _mm256_cvtps_epi32(codes(_mm256_mul_ps(v, _mm256_set1_ps(id[j / 2])), least, most));
    }
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* column: the weights of the block's columns, or NULL. */
static void encode_affine(struct k_scales *s, uint8_t *q, const float *src, const float *column, int steps)
{
    _Alignas(32) float x[32][8], weight[32][8], scales[8], mins[8], cost_d[8], cost_m[8];
    side_by_side(x, src, 32);
    if (column)
        weigh_columns(weight, x, column, 32, _mm256_set1_ps(twice_mean_square(src, 256)));
    else
        weigh(weight, x);
    struct fit f = fit_affine(x, weight, steps);
    _mm256_store_ps(scales, f.d);
    _mm256_store_ps(mins, f.m);
    _mm256_store_ps(cost_d, f.cost_d);
    _mm256_store_ps(cost_m, f.cost_m);
    if (column)
        round_scales_weighted(s, scales, mins, cost_d, cost_m, 8, 63);
    else
        round_scales(s, scales, mins, 8, 63);
    for (int g = 0; g < 8; g++) {
        float one = inverse(float_of_f16(s->d) * (float)s->scale[g]), id[2] = {one, one};
        float offset = float_of_f16(s->dmin) * (float)s->min[g];
        _mm256_storeu_si256((__m256i *)(void *)(q + 32 * g), codes_of_32(src + 32 * g, offset, id, 0, (float)steps));
    }
}

static void write_q4_k(struct block_q4_k *b, const float *src, const float *column)
{
    struct k_scales s;
    uint8_t q[256];
    encode_affine(&s, q, src, column, 15);
    b->d = s.d;
    b->dmin = s.dmin;
    pack_k4_scales(b->scales, &s);
    pack_k4_low(b->qs, q);
}

static void write_q5_k(struct block_q5_k *b, const float *src, const float *column)
{
    struct k_scales s;
    uint8_t q[256];
    encode_affine(&s, q, src, column, 31);
    b->d = s.d;
    b->dmin = s.dmin;
    pack_k4_scales(b->scales, &s);
    pack_k4_low(b->qs, q);
    pack_k5_high(b->qh, q);
}

static void fit_q6(float scales[16], float cost[16], const float *src, const float *column)
{
    _Alignas(32) float x[16][8], weight[16][8];
    __m256 square = _mm256_set1_ps(column ? twice_mean_square(src, 256) : 0), costs;
    for (int half = 0; half < 2; half++) {
        side_by_side(x, src + 128 * half, 16);
        if (column)
            weigh_columns(weight, x, column + 128 * half, 16, square);
        else
            weigh_squares(weight, x, 16);
        _mm256_store_ps(scales + 8 * half, fit_symmetric(x, weight, 16, 32, &costs));
        _mm256_store_ps(cost + 8 * half, costs);
    }
}

static void write_q6_k(struct block_q6_k *b, const float *src, const float *column)
{
    _Alignas(32) float scales[16], cost[16];
    uint8_t q[256];
    int scale[16];
    fit_q6(scales, cost, src, column);
    b->d = column ? round_signed_weighted(scale, scales, cost, 16, 128) : round_signed_scales(scale, scales, 128);
    float d = float_of_f16(b->d);
    for (int g = 0; g < 16; g += 2) {
        float id[2] = {inverse(d * (float)scale[g]), inverse(d * (float)scale[g + 1])};
        __m256i bytes = codes_of_32(src + 16 * g, 0, id, -32, 31);
        _mm256_storeu_si256((__m256i *)(void *)(q + 16 * g), _mm256_add_epi8(bytes, _mm256_set1_epi8(32)));
    }
    for (int g = 0; g < 16; g++) b->scales[g] = (int8_t)scale[g];
    pack_q6(b, q);
}

#define ENCODERS(type)                                                                               \
    void encode_##type##_avx2(void *dst, const float *src, size_t n)                                 \
    {                                                                                                \
        struct block_##type *b = dst;                                                                \
        for (; n >= 256; n -= 256, src += 256, b++) write_##type(b, src, NULL);                      \
    }                                                                                                \
    void encode_weighted_##type##_avx2(void *dst, const float *src, const float *weight, size_t n)   \
    {                                                                                                \
        struct block_##type *b = dst;                                                                \
        for (; n >= 256; n -= 256, src += 256, weight += 256, b++) write_##type(b, src, weight);     \
    }
ENCODERS(q4_k)
ENCODERS(q5_k)
ENCODERS(q6_k)

/* ---- blocks of 32, by weights: eight at a time, the rest as the scalar table does it ------------- */

struct eight { /* x ~ d q - m of eight blocks, d and m as they will be read */
    _Alignas(32) float d[8], m[8];
};

static void search_eight(struct eight *e, const float *src, const float *column, int half, int steps)
{
    _Alignas(32) float x[32][8], weight[32][8], square[8];
    __m256 unused;
    side_by_side(x, src, 32);
    for (int g = 0; g < 8; g++) square[g] = twice_mean_square(src + 32 * g, 32);
    weigh_columns(weight, x, column, 32, _mm256_load_ps(square));
    struct fit f = {0};
    if (half)
        f.d = fit_symmetric(x, weight, 32, half, &unused);
    else
        f = fit_affine(x, weight, steps);
    _mm256_store_ps(e->d, f.d);
    _mm256_store_ps(e->m, f.m);
    for (int g = 0; g < 8; g++) {
        e->d[g] = float_of_f16(f16_of_float(e->d[g]));
        e->m[g] = float_of_f16(f16_of_float(e->m[g]));
    }
}

/* Codes -half..half-1, counted from 0, or with half = 0 codes 0..steps. */
INLINE __m256i codes_of_block(const struct eight *e, int g, const float *x, int half, int steps)
{
    float one = inverse(e->d[g]), id[2] = {one, one};
    __m256i q = codes_of_32(x, e->m[g], id, (float)-half, (float)(half ? half - 1 : steps));
    return _mm256_add_epi8(q, _mm256_set1_epi8((char)half));
}

INLINE void pack_low(uint8_t *qs, __m256i q)
{
    const __m128i nibble = _mm_set1_epi8(15);
    __m128i low = _mm_and_si128(_mm256_castsi256_si128(q), nibble);
    __m128i high = _mm_and_si128(_mm256_extracti128_si256(q, 1), nibble);
    _mm_storeu_si128((__m128i *)(void *)qs, _mm_or_si128(low, _mm_slli_epi16(high, 4)));
}

INLINE void pack_fifth(uint8_t *qh, __m256i q)
{
    int bits = _mm256_movemask_epi8(_mm256_slli_epi16(q, 3));
    memcpy(qh, &bits, sizeof bits);
}

INLINE void write_q4_0(struct block_q4_0 *b, const struct eight *e, int g, const float *x)
{
    b->d = f16_of_float(e->d[g]);
    pack_low(b->qs, codes_of_block(e, g, x, 8, 0));
}

INLINE void write_q4_1(struct block_q4_1 *b, const struct eight *e, int g, const float *x)
{
    b->d = f16_of_float(e->d[g]);
    b->m = f16_of_float(-e->m[g]);
    pack_low(b->qs, codes_of_block(e, g, x, 0, 15));
}

INLINE void write_q5_0(struct block_q5_0 *b, const struct eight *e, int g, const float *x)
{
    __m256i q = codes_of_block(e, g, x, 16, 0);
    b->d = f16_of_float(e->d[g]);
    pack_low(b->qs, q);
    pack_fifth(b->qh, q);
}

INLINE void write_q5_1(struct block_q5_1 *b, const struct eight *e, int g, const float *x)
{
    __m256i q = codes_of_block(e, g, x, 0, 31);
    b->d = f16_of_float(e->d[g]);
    b->m = f16_of_float(-e->m[g]);
    pack_low(b->qs, q);
    pack_fifth(b->qh, q);
}

#define WEIGHTED_ENCODER(type, TYPE, half, steps)                                                    \
    void encode_weighted_##type##_avx2(void *dst, const float *src, const float *weight, size_t n)   \
    {                                                                                                \
        struct block_##type *b = dst;                                                                \
        struct eight e;                                                                              \
        for (; n >= 256; n -= 256, src += 256, weight += 256, b += 8) {                              \
            search_eight(&e, src, weight, half, steps);                                              \
            for (int g = 0; g < 8; g++) write_##type(&b[g], &e, g, src + 32 * g);                    \
        }                                                                                            \
        kern_scalar.encode_weighted[DTYPE_##TYPE](b, src, weight, n);                                \
    }
WEIGHTED_ENCODER(q4_0, Q4_0, 8, 0)
WEIGHTED_ENCODER(q4_1, Q4_1, 0, 15)
WEIGHTED_ENCODER(q5_0, Q5_0, 16, 0)
WEIGHTED_ENCODER(q5_1, Q5_1, 0, 31)
#endif
