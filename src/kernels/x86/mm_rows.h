/* mm_rows.h - the loops around a kernel of one row: every product of this folder walks rows, and for
 * each row the tokens, four at a time and then one at a time.
 *
 * The row function is written once with a constant number of tokens and specialised by the compiler, so
 * that the sum for one (row, token) runs in the same order whatever the call's shape: results never
 * depend on the batch. */
#ifndef MM_ROWS_H
#define MM_ROWS_H

#include "kern.h"

/* y[t * y_stride] for nt tokens whose activations lie x_stride bytes apart. */
typedef void mm_row_fn(float *y, size_t y_stride, const char *w, const char *x, size_t x_stride, int n_cols,
                       int nt);

static inline __attribute__((always_inline)) void mm_rows(const struct kern_mm_args *a, mm_row_fn *row)
{
    for (int r = 0; r < a->n_rows; r++) {
        const char *w = (const char *)a->w + (size_t)r * a->w_stride, *x = a->x;
        float *y = a->y + r;
        int t = 0;
        for (; t + 4 <= a->n_tokens; t += 4, x += 4 * a->x_stride, y += 4 * a->y_stride)
            row(y, a->y_stride, w, x, a->x_stride, a->n_cols, 4);
        for (; t < a->n_tokens; t++, x += a->x_stride, y += a->y_stride)
            row(y, a->y_stride, w, x, a->x_stride, a->n_cols, 1);
    }
}

#define MM_INLINE static inline __attribute__((always_inline))

#endif
