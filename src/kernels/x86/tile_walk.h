/* tile_walk.h - the order in which a product for many tokens is worked through.
 *
 * Two strips by 256 columns make a panel of BF16 numbers that stays in the first-level cache (16 KB) and serves all
 * tokens of a block; their activations of these columns (WALK_TOKENS x 512 bytes) and the sums of all rows of a block
 * (WALK_TOKENS x WALK_ROWS x 4) stay in the second.  So each weight is expanded once for that many tokens, and sums
 * are taken up and laid down once per 256 columns.  Columns always go from left to right, so sums do not depend on
 * the division into blocks. */
#ifndef TILE_WALK_H
#define TILE_WALK_H

#include <stdbool.h>

#include "base.h"
#include "kern.h"
#include "panel_bf16.h"

/* Blocks; that of tokens is a multiple of what a register tile (up to 12) or two tiles (32) take. */
enum { WALK_TOKENS = 6 * 96, WALK_ROWS = 256, PAIR_ROWS = 2 * STRIP };

struct tile_job {         /* one panel times all tokens of a block */
    const void *panel[2]; /* of both strips; NULL for the second if there are no more than 16 rows */
    int n_rows;           /* 1 to 32 */
    int n_cols;           /* 0 to 256 */
    bool is_first;        /* of the columns: y is not there yet */
    const char *x;        /* first token, first of these columns */
    size_t x_stride;      /* bytes */
    float *y;             /* first token, first of these rows */
    size_t y_stride;      /* floats */
    int n_tokens;         /* 1 to WALK_TOKENS */
    uint32_t kept;        /* from job to job, by the one that multiplies; 0 at first */
};
typedef void tile_job_fn(struct tile_job *j);

/* What is expanded next is read at once, which no prefetcher of the processor foresees from strip to strip. */
static inline void walk_prefetch(const char *strip, size_t stride, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) {
        __builtin_prefetch(strip + i, 0, 2);
        __builtin_prefetch(strip + stride + i, 0, 2);
    }
}

/* Rows from `from` to `to` and tokens from t on; j says how many. */
static inline void walk_block(struct tile_job *j, const struct kern_mm_args *a, enum dtype dtype,
                              tile_job_fn *multiply, int t, int from, int to)
{
    _Alignas(64) uint32_t room[2][PANEL_WORDS];
    size_t chunk_bytes = strip_chunk_at(strip_form(dtype), 1);
    int c = 0;
    do { /* once without any column, for sums of nothing */
        size_t at = (size_t)(c / STRIP_CHUNK) * chunk_bytes;
        j->n_cols = MIN(STRIP_CHUNK, a->n_cols - c);
        j->is_first = c == 0;
        j->x = (const char *)a->x + (size_t)t * a->x_stride + 2 * (size_t)c;
        for (int r = from; r < to; r += PAIR_ROWS) {
            const char *strip = (const char *)a->w + (size_t)(r / STRIP) * a->w_stride + at;
            j->n_rows = MIN(PAIR_ROWS, to - r);
            j->y = a->y + (size_t)t * a->y_stride + (size_t)r;
            j->panel[0] = panel_bf16[dtype](room[0], strip, j->n_cols);
            j->panel[1] = j->n_rows > STRIP ? panel_bf16[dtype](room[1], strip + a->w_stride, j->n_cols) : NULL;
            if (j->panel[0] == room[0] && r + PAIR_ROWS < to)
                walk_prefetch(strip + 2 * a->w_stride, a->w_stride, chunk_bytes);
            multiply(j);
        }
        c += STRIP_CHUNK;
    } while (c < a->n_cols);
}

static inline void tile_walk(const struct kern_mm_args *a, enum dtype dtype, tile_job_fn *multiply)
{
    struct tile_job j = {.x_stride = a->x_stride, .y_stride = a->y_stride};
    int n_blocks = CEIL_DIV(a->n_tokens, WALK_TOKENS);
    for (int t = 0; t < a->n_tokens; t += j.n_tokens) {
        j.n_tokens = MIN(a->n_tokens - t, ROUND_UP(CEIL_DIV(a->n_tokens, n_blocks), 96));
        for (int r = 0; r < a->n_rows; r += WALK_ROWS)
            walk_block(&j, a, dtype, multiply, t, r, MIN(a->n_rows, r + WALK_ROWS));
    }
}

#endif
