/* pack_scalar.c - rows into strips, columns into strips, and one block out of a strip again: the definition of
 * strip.h's layout. */
#include <string.h>

#include "base.h"
#include "convert.h"
#include "parts_scalar.h"
#include "strip_block.h"

/* Where a block's head and words of row r lie, in a chunk of n_blocks. */
static size_t head_at(const struct strip_form *f, int block, int r)
{
    return ((size_t)block * STRIP + (size_t)r) * f->head_bytes;
}

static size_t word_at(const struct strip_form *f, int n_blocks, int block, int word, int r)
{
    return (size_t)n_blocks * STRIP * f->head_bytes +
           (((size_t)block * f->n_words + (size_t)strip_line(f, word)) * STRIP + (size_t)r) * 4;
}

void pack_scalar(void *strip, enum dtype dtype, const void *rows, size_t row_bytes, int n_rows, int n_cols)
{
    const struct strip_form *f = strip_form(dtype);
    size_t all = dtype_row_bytes(dtype_info(dtype), (uint64_t)n_cols); /* a last column may be half a word */
    char *chunk = strip;
    memset(strip, 0, strip_bytes(f, n_cols));
    for (int c = 0; c < n_cols; c += STRIP_CHUNK) {
        int n_blocks = strip_blocks(f, MIN(STRIP_CHUNK, n_cols - c));
        for (int b = 0; b < n_blocks; b++) {
            size_t at = (size_t)(c / f->n_cols + b) * f->bytes;
            for (int r = 0; r < n_rows; r++) {
                const char *block = (const char *)rows + (size_t)r * row_bytes + at;
                memcpy(chunk + head_at(f, b, r), block + f->head_at, f->head_bytes);
                for (int w = 0; w < f->n_words; w++) {
                    size_t from = (size_t)f->body_at + 4 * (size_t)w;
                    memcpy(chunk + word_at(f, n_blocks, b, w, r), block + from, MIN((size_t)4, all - at - from));
                }
            }
        }
        chunk += (size_t)n_blocks * STRIP * f->bytes;
    }
}

void turn_scalar(void *strips, size_t stride, const float *rows, int n, int d)
{
    for (int c = 0; c < ROUND_UP(d, STRIP); c++) {
        char *at = (char *)strips + (size_t)(c / STRIP) * stride + (size_t)(c % STRIP) * 4;
        for (int j = 0; j < n + n % 2; j++) {
            uint16_t h = c < d && j < n ? bf16_of_float(rows[(size_t)j * (size_t)d + (size_t)c]) : 0;
            memcpy(at + (size_t)(j / 2) * STRIP * 4 + (size_t)(j % 2) * 2, &h, sizeof h);
        }
    }
}

void strip_block(void *block, const struct strip_form *f, const void *strip, int n_cols, int r, int nth)
{
    int per_chunk = STRIP_CHUNK / f->n_cols, chunk = nth / per_chunk, b = nth % per_chunk;
    int n_blocks = strip_blocks(f, MIN(STRIP_CHUNK, n_cols - chunk * STRIP_CHUNK));
    const char *from = (const char *)strip + strip_chunk_at(f, chunk);
    memcpy((char *)block + f->head_at, from + head_at(f, b, r), f->head_bytes);
    for (int w = 0; w < f->n_words; w++)
        memcpy((char *)block + f->body_at + 4 * w, from + word_at(f, n_blocks, b, w, r), 4);
}
