/* quant_values.h - reading one group of quantised weights as small integers with a scale and an offset.
 *
 * Every quantised format is, per group of 16 or 32 elements, w(i) = d * q(i) + m with integers q.  So a
 * format is one function that unpacks a block into q, d and m; decoding and the integer product are
 * written once for all of them. */
#ifndef QUANT_VALUES_H
#define QUANT_VALUES_H

#include <stdint.h>

#include "dtype.h"

struct unpacked { /* one block, at most 256 elements */
    int n;        /* elements: 32 or 256 */
    int group;    /* elements that share d and m: 16 or 32 */
    int8_t q[256];
    float d[16], m[16];
};

typedef void unpack_fn(struct unpacked *u, const void *block);

/* By quantised type; NULL for the others. */
extern unpack_fn *const unpack_scalar[DTYPE_COUNT];

/* The sixteen values of IQ4_NL and IQ4_XS; the eight doubled magnitudes of MXFP4 with both signs. */
extern const int8_t iq4_values[16], mxfp4_values[16];

/* Scale and minimum of group j of the 12 packed bytes of Q4_K and Q5_K. */
void scale_min_k4(const uint8_t *packed, int j, uint8_t *scale, uint8_t *min);

#endif
