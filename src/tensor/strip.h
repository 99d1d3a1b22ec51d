/* strip.h - weights as products read them: sixteen rows side by side.
 *
 * A strip holds STRIP rows.  Its columns come in chunks of 256, one behind the other, and the last may be shorter.
 * A chunk holds the blocks that each row has there, in two parts:
 *
 *     heads    for each block: the scale that is not four bytes long, of row 0, row 1, ... row 15
 *     bodies   for each block: its other bytes as little-endian words of 32 bits, as in the file: a line of
 *              sixteen, one of each row, for each word; lines in the order in which products want them
 *
 * So a vector of sixteen lanes finds a row in each lane: one activation serves all of them, scales are vectors,
 * and no sum crosses lanes.  Four codes of a row, one after the other in the file, stay together in a lane: that
 * is what instructions for products of bytes want.  Not a byte is added, but for rows that a last strip lacks
 * (zeros) and up to a multiple of a cache line behind each strip. */
#ifndef STRIP_H
#define STRIP_H

#include "dtype.h"

enum { STRIP = 16, STRIP_CHUNK = 256 };

struct strip_form {      /* of one block of a row */
    uint16_t n_cols;     /* 32 or 256; of F16 and BF16 two, of F32 one */
    uint16_t bytes;      /* of the file */
    uint8_t head_at, head_bytes; /* 0, 1 or 2 */
    uint8_t body_at, n_words;
    const uint8_t *line_of;      /* [n_words] where each word of the file went; NULL: as in the file */
};

/* For weight types (dtype_info()->is_weight) alone. */
const struct strip_form *strip_form(enum dtype dtype);

static inline int strip_line(const struct strip_form *f, int word)
{
    return f->line_of ? f->line_of[word] : word;
}

/* Where line_of puts codes of formats whose file keeps their bits apart.  step: which four of 32 columns. */
static inline size_t strip_q2_k_two(size_t half, size_t step) /* scales and minima: lines 1 to 4; d and dmin: line 0 */
{
    return 5 + 8 * half + step;
}

static inline size_t strip_q3_k_third(size_t step) /* scales: lines 0 to 2 */
{
    return 3 + 2 * step;
}

static inline size_t strip_q3_k_two(size_t half, size_t step)
{
    return half == 0 ? 4 + 2 * step : 19 + step;
}

static inline size_t strip_q5_k_fifth(size_t step) /* what stands before is as in Q4_K */
{
    return 4 + 2 * step;
}

static inline size_t strip_q5_k_nibbles(size_t quarter, size_t step)
{
    return quarter == 0 ? 5 + 2 * step : 12 + 8 * quarter + step;
}

enum strip_q6_k { STRIP_Q6_K_FIRST, STRIP_Q6_K_SECOND, STRIP_Q6_K_HIGH };

static inline size_t strip_q6_k_line(size_t half, enum strip_q6_k which, size_t step) /* scales: lines 0 to 3 */
{
    return 4 + 24 * half + 3 * step + (size_t)which;
}

/* Blocks of a row of n columns, or of that much of it. */
static inline int strip_blocks(const struct strip_form *f, int n_cols)
{
    return (n_cols + f->n_cols - 1) / f->n_cols;
}

/* From the start of a strip to its chunk c. */
static inline size_t strip_chunk_at(const struct strip_form *f, int c)
{
    return (size_t)c * (STRIP_CHUNK / f->n_cols) * STRIP * f->bytes;
}

/* From strip to strip. */
static inline size_t strip_bytes(const struct strip_form *f, int n_cols)
{
    return ((size_t)strip_blocks(f, n_cols) * STRIP * f->bytes + 63) / 64 * 64;
}

#endif
