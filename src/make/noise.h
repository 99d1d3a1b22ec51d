/* noise.h - random weights, made directly as quantised blocks.
 *
 * Codes are uniform random bits and scales are such that the decoded weights have the deviation asked
 * for and no bias, so a block costs hardly more than the random bits in it: encoding floats would be a
 * hundred times slower and give nothing more to measure.  The plain types get approximately normal
 * numbers from a table.  Integers and IEEE arithmetic alone: the same bytes on every machine. */
#ifndef NOISE_H
#define NOISE_H

#include "dtype.h"
#include "rng.h"

enum { NOISE_VALUES = 4096, NOISE_SCALES = 64 };

struct noise { /* what fills tensors of one type and deviation */
    enum dtype dtype;
    uint16_t scales[NOISE_SCALES]; /* f16: d of blocks, from 0.5 to 1.5 of its root mean square */
    uint16_t mins[NOISE_SCALES];   /* f16: the minimum that takes away the mean of the codes */
    uint8_t exponent;              /* of MXFP4; one more for the share `above` / 256 of the blocks */
    uint8_t above;
    union {
        float f32[NOISE_VALUES];
        uint16_t f16[NOISE_VALUES];
    } values;
};

bool noise_has(enum dtype dtype);

/* noise_has(dtype).  A mean other than 0 is for the plain types. */
void noise_init(struct noise *noise, enum dtype dtype, float mean, float deviation);

/* n elements (a multiple of the block) to dst, 8-byte aligned. */
void noise_fill(const struct noise *noise, void *dst, size_t n, struct rng *rng);

#endif
