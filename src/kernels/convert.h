/* convert.h - 16-bit and 8-bit floating point numbers, one at a time, in portable C.
 * For headers of blocks and for the scalar definitions; rows go through kern_ops. */
#ifndef CONVERT_H
#define CONVERT_H

#include <stdint.h>
#include <string.h>

static inline float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t bits_of_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

#define F16_NAN 0x7e00 /* a quiet one */

/* IEEE binary16; subnormals, infinities and NaN included. */
static inline float float_of_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;
    if (rest >= 0x7c00) return float_of_bits(sign | 0x7f800000 | (rest & 0x3ff) << 13);
    if (rest >= 0x0400) return float_of_bits(sign | ((rest << 13) + 0x38000000));
    float magnitude = (float)rest * 0x1p-24f; /* subnormal or zero: exact */
    return float_of_bits(sign | bits_of_float(magnitude));
}

/* Round to nearest even; overflow to infinity; NaN stays NaN (quiet). */
static inline uint16_t f16_of_float(float f)
{
    uint32_t bits = bits_of_float(f), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 0x3ff));
    if (rest >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and above */
    if (rest < 0x38800000) { /* below 2^-14: adding 0.5 aligns the f16 subnormal with the last bit */
        float magnitude = float_of_bits(rest) + 0.5f;
        return (uint16_t)(sign | (bits_of_float(magnitude) - 0x3f000000));
    }
    uint32_t odd = rest >> 13 & 1;
    return (uint16_t)(sign | ((rest - 0x38000000 + 0xfff + odd) >> 13));
}

static inline float float_of_bf16(uint16_t h)
{
    return float_of_bits((uint32_t)h << 16);
}

/* Round to nearest even; NaN stays NaN (quiet). */
static inline uint16_t bf16_of_float(float f)
{
    uint32_t bits = bits_of_float(f);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* 2^(e - 127), the scale of an MXFP4 block; e = 255 is NaN by the standard (OCP MX v1.0, 5.4.1). */
static inline float float_of_e8m0(uint8_t e)
{
    return e == 0 ? 0x1p-127f : e == 255 ? float_of_bits(0x7fc00000) : float_of_bits((uint32_t)e << 23);
}

#endif
