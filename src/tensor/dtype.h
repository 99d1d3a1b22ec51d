/* dtype.h - the element types of GGUF: number in the file, name, block of elements, bytes of a block.
 *
 * A value of enum dtype is the number that GGUF files carry.  Types that Redline can only name and
 * measure (the table in dtype.c marks them) are there so that `inspect` can speak of them. */
#ifndef DTYPE_H
#define DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "str.h"

enum dtype {
    DTYPE_F32 = 0,
    DTYPE_F16 = 1,
    DTYPE_Q4_0 = 2,
    DTYPE_Q4_1 = 3,
    DTYPE_Q5_0 = 6,
    DTYPE_Q5_1 = 7,
    DTYPE_Q8_0 = 8,
    DTYPE_Q2_K = 10,
    DTYPE_Q3_K = 11,
    DTYPE_Q4_K = 12,
    DTYPE_Q5_K = 13,
    DTYPE_Q6_K = 14,
    DTYPE_IQ4_NL = 20,
    DTYPE_IQ4_XS = 23,
    DTYPE_I8 = 24,
    DTYPE_I16 = 25,
    DTYPE_I32 = 26,
    DTYPE_I64 = 27,
    DTYPE_F64 = 28,
    DTYPE_BF16 = 30,
    DTYPE_MXFP4 = 39,
    DTYPE_COUNT = 40 /* array size for tables indexed by type; not every number below it is a type */
};

struct dtype_info {
    const char *name;     /* "Q4_K"; NULL: the number is not a known type */
    uint16_t block_n;     /* elements of a block; 1 for plain numbers */
    uint16_t block_bytes; /* bytes of a block */
    bool is_weight;       /* kernels exist: can be decoded and multiplied with */
    bool is_quantized;    /* a weight of less than 16 bits: meets 8-bit activations */
};

/* NULL for a number that is not a known type. */
const struct dtype_info *dtype_info(uint32_t dtype);

/* "Q4_K", or "type 77" for an unknown one (static storage per thread). */
const char *dtype_name(uint32_t dtype);

/* Case-insensitive; -1 when there is no such weight type. */
int dtype_parse(struct str name);

/* Bytes of a row of n elements; n must be a multiple of the type's block. */
static inline size_t dtype_row_bytes(const struct dtype_info *info, uint64_t n)
{
    return (size_t)(n / info->block_n * info->block_bytes);
}

#endif
