/* noise.c - random weights: a table of formats, each random bits first, then scales over them.
 *
 * The scale of a block is picked from a table by random bits that already stand in its place. */
#include "noise.h"

#include <math.h>
#include <string.h>

#include "base.h"
#include "blocks.h"
#include "convert.h"

/* ---- scales ------------------------------------------------------------------------------------
 */

static uint16_t scale_of(const struct noise *z, unsigned random)
{
    return z->scales[random % NOISE_SCALES];
}

/* Codes from -half to half - 1 have a mean of -1/2; the sign, from bit 15, takes it away. */
static uint16_t signed_scale_of(const struct noise *z, unsigned random)
{
    return (uint16_t)(scale_of(z, random) | (random & 0x8000));
}

static void dress_q4_0(const struct noise *z, void *blocks, size_t n)
{
    struct block_q4_0 *b = blocks;
    for (size_t i = 0; i < n; i++) b[i].d = signed_scale_of(z, b[i].d);
}

static void dress_q5_0(const struct noise *z, void *blocks, size_t n)
{
    struct block_q5_0 *b = blocks;
    for (size_t i = 0; i < n; i++) b[i].d = signed_scale_of(z, b[i].d);
}

static void dress_q5_1(const struct noise *z, void *blocks, size_t n)
{
    struct block_q5_1 *b = blocks;
    for (size_t i = 0; i < n; i++) {
        b[i].m = z->mins[b[i].d % NOISE_SCALES];
        b[i].d = scale_of(z, b[i].d);
    }
}

/* No encoder writes -128, and kernels may count on that. */
static void dress_q8_0(const struct noise *z, void *blocks, size_t n)
{
    struct block_q8_0 *b = blocks;
    for (size_t i = 0; i < n; i++) {
        b[i].d = scale_of(z, b[i].d);
        for (int j = 0; j < 32; j++) b[i].qs[j] = b[i].qs[j] == -128 ? 0 : b[i].qs[j];
    }
}

/* Every group has sc = m, from 32 to 63: the bits 5 of the packed numbers are set. */
static void dress_k4(uint8_t *packed)
{
    for (int g = 0; g < 4; g++) {
        packed[g] = packed[g + 4] = (uint8_t)((packed[g] & 0x5f) | 0xa0);
        packed[g + 8] = (uint8_t)((packed[g + 8] & 15) * 0x11);
    }
}

static void dress_q4_k(const struct noise *z, void *blocks, size_t n)
{
    struct block_q4_k *b = blocks;
    for (size_t i = 0; i < n; i++) {
        b[i].dmin = z->mins[b[i].d % NOISE_SCALES];
        b[i].d = scale_of(z, b[i].d);
        dress_k4(b[i].scales);
    }
}

static void dress_q5_k(const struct noise *z, void *blocks, size_t n)
{
    struct block_q5_k *b = blocks;
    for (size_t i = 0; i < n; i++) {
        b[i].dmin = z->mins[b[i].d % NOISE_SCALES];
        b[i].d = scale_of(z, b[i].d);
        dress_k4(b[i].scales);
    }
}

/* Group scales from 64 to 127 of either sign, for the reason of signed_scale_of(). */
static void dress_q6_k(const struct noise *z, void *blocks, size_t n)
{
    struct block_q6_k *b = blocks;
    for (size_t i = 0; i < n; i++) {
        b[i].d = scale_of(z, b[i].d);
        for (int g = 0; g < 16; g++) {
            int random = b[i].scales[g], scale = 64 | (random & 63);
            b[i].scales[g] = (int8_t)(random < 0 ? -scale : scale);
        }
    }
}

static void dress_mxfp4(const struct noise *z, void *blocks, size_t n)
{
    struct block_mxfp4 *b = blocks;
    for (size_t i = 0; i < n; i++) b[i].e = (uint8_t)(z->exponent + (b[i].e < z->above));
}

/* ---- formats -----------------------------------------------------------------------------------
 */

static const struct format {
    void (*dress)(const struct noise *z, void *blocks, size_t n_blocks);
    float spread; /* root mean square of a decoded weight, less the mean, where d = 1 */
    float min;    /* the minimum that belongs to d = 1, with the sign of the format */
} formats[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = {dress_q4_0, 4.6368f, 0},      /* -8..7 */
    [DTYPE_Q5_0] = {dress_q5_0, 9.2466f, 0},      /* -16..15 */
    [DTYPE_Q5_1] = {dress_q5_1, 9.2331f, -15.5f}, /* 0..31 less 15.5 */
    [DTYPE_Q8_0] = {dress_q8_0, 73.468f, 0},      /* -127..127, 0 twice */
    [DTYPE_Q4_K] = {dress_q4_k, 223.07f, 7.5f},   /* 0..15 less 7.5, times 32..63 */
    [DTYPE_Q5_K] = {dress_q5_k, 446.78f, 15.5f},  /* 0..31 less 15.5, times 32..63 */
    [DTYPE_Q6_K] = {dress_q6_k, 1797.4f, 0},      /* -32..31 times 64..127 */
    [DTYPE_MXFP4] = {dress_mxfp4, 2.9262f, 0},    /* 0, 0.5, 1, 1.5, 2, 3, 4, 6 */
};

static bool is_plain(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
}

bool noise_has(enum dtype dtype)
{
    return is_plain(dtype) || formats[dtype].dress;
}

/* The sum of four uniform numbers is nearly normal; the second half of the table mirrors the first, so
 * that the mean is exact. */
static void init_values(struct noise *z, float mean, float deviation)
{
    struct rng rng;
    float x[NOISE_VALUES], square = 0;
    rng_seed(&rng, 0);
    for (int i = 0; i < NOISE_VALUES / 2; i++) {
        uint64_t r = rng_next(&rng);
        int sum = (int)(r & 0xffff) + (int)(r >> 16 & 0xffff) + (int)(r >> 32 & 0xffff) + (int)(r >> 48);
        x[i] = (float)(sum - 131070) / 65536;
        x[i + NOISE_VALUES / 2] = -x[i];
        square += 2 * x[i] * x[i];
    }
    float unit = deviation / sqrtf(square / NOISE_VALUES);
    for (int i = 0; i < NOISE_VALUES; i++) {
        float value = mean + unit * x[i];
        if (z->dtype == DTYPE_F32)
            z->values.f32[i] = value;
        else
            z->values.f16[i] = z->dtype == DTYPE_F16 ? f16_of_float(value) : bf16_of_float(value);
    }
}

static void init_scales(struct noise *z, const struct format *f, float deviation)
{
    for (int i = 0; i < NOISE_SCALES; i++) {
        /* evenly from 0.5 to 1.5: the mean square is 1 + 1/12 */
        float share = (0.5f + ((float)i + 0.5f) / NOISE_SCALES) / sqrtf(1 + 1 / 12.0f);
        z->scales[i] = f16_of_float(deviation * share / f->spread);
        z->mins[i] = f16_of_float(float_of_f16(z->scales[i]) * f->min);
    }
}

/* The two powers of two around the scale, in the shares that give the mean square. */
static void init_exponent(struct noise *z, const struct format *f, float deviation)
{
    int exponent;
    float part = 2 * frexpf(deviation / f->spread, &exponent); /* [1, 2) times 2^(exponent - 1) */
    exponent += 127 - 1;
    z->exponent = (uint8_t)(exponent < 0 ? 0 : exponent > 253 ? 253 : exponent);
    z->above = (uint8_t)(256 * (part * part - 1) / 3);
}

void noise_init(struct noise *z, enum dtype dtype, float mean, float deviation)
{
    const struct format *f = &formats[dtype];
    *z = (struct noise){.dtype = dtype};
    if (is_plain(dtype))
        init_values(z, mean, deviation);
    else if (dtype == DTYPE_MXFP4)
        init_exponent(z, f, deviation);
    else
        init_scales(z, f, deviation);
}

/* ---- filling -----------------------------------------------------------------------------------
 */

static void fill_bits(void *dst, size_t bytes, struct rng *rng)
{
    char *p = dst;
    uint64_t bits;
    for (; bytes >= sizeof bits; bytes -= sizeof bits, p += sizeof bits) {
        bits = rng_next(rng);
        memcpy(p, &bits, sizeof bits);
    }
    bits = rng_next(rng);
    memcpy(p, &bits, bytes);
}

static void fill_f32(const struct noise *z, float *dst, size_t n, struct rng *rng)
{
    for (size_t i = 0; i < n; i += 4) {
        uint64_t bits = rng_next(rng);
        for (size_t j = i; j < MIN(i + 4, n); j++, bits >>= 16) dst[j] = z->values.f32[bits % NOISE_VALUES];
    }
}

static void fill_f16(const struct noise *z, uint16_t *dst, size_t n, struct rng *rng)
{
    for (size_t i = 0; i < n; i += 4) {
        uint64_t bits = rng_next(rng);
        for (size_t j = i; j < MIN(i + 4, n); j++, bits >>= 16) dst[j] = z->values.f16[bits % NOISE_VALUES];
    }
}

void noise_fill(const struct noise *z, void *dst, size_t n, struct rng *rng)
{
    const struct dtype_info *info = dtype_info(z->dtype);
    if (z->dtype == DTYPE_F32) {
        fill_f32(z, dst, n, rng);
    } else if (is_plain(z->dtype)) {
        fill_f16(z, dst, n, rng);
    } else {
        fill_bits(dst, dtype_row_bytes(info, n), rng);
        formats[z->dtype].dress(z, dst, n / info->block_n);
    }
}
