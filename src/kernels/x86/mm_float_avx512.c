/* mm_float_avx512.c - products of F32, F16 and BF16 strips with float32 activations.
 *
 * A line of a strip is one column of sixteen rows in F32, two in the others.  Sums run over KERN_PIECE columns, one
 * chain of additions each.  For one token pieces follow one another, as memory gives them best; the processor begins
 * the next while a chain waits for itself.  For many a piece of two strips is made float32 once, in the first-level
 * cache. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "base.h"
#include "parts_avx512.h"

#define INLINE static inline __attribute__((always_inline))

enum { TILE = 12 }; /* tokens of a register tile */

/* A line as `per_line` columns of sixteen rows. */
typedef void load_fn(__m512 w[2], const char *line);

INLINE void load_f32(__m512 w[2], const char *line)
{
    w[0] = _mm512_loadu_ps(line);
}

INLINE void load_f16(__m512 w[2], const char *line)
{
    __m512i words = _mm512_loadu_si512(line);
    w[0] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
    w[1] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(words, 16)));
}

INLINE void load_bf16(__m512 w[2], const char *line)
{
    __m512i words = _mm512_loadu_si512(line);
    w[0] = _mm512_castsi512_ps(_mm512_slli_epi32(words, 16));
    w[1] = _mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32((int)0xffff0000)));
}

INLINE __mmask16 rows_mask(int n_rows)
{
    return n_rows <= 0 ? 0 : n_rows >= STRIP ? 0xffff : (__mmask16)((1u << n_rows) - 1);
}

INLINE const float *x_at(const struct kern_mm_args *a, int token)
{
    return (const float *)(const void *)((const char *)a->x + (size_t)token * a->x_stride);
}

/* ---- few tokens ---------------------------------------------------------------------------------- */

/* One whole piece of one token, added to sum. */
INLINE __m512 add_piece(__m512 sum, const char *w, const float *x, int per_line, load_fn *load)
{
    __m512 s = _mm512_setzero_ps(), v[2];
#pragma GCC unroll 4
    for (int c = 0; c < KERN_PIECE; c += per_line, w += 64) {
        load(v, w);
#pragma GCC unroll 2
        for (int k = 0; k < per_line; k++) s = _mm512_fmadd_ps(v[k], _mm512_set1_ps(x[c + k]), s);
    }
    return _mm512_add_ps(sum, s);
}

/* The last piece, of n columns; the last line may hold one column too many. */
INLINE __m512 add_last(__m512 sum, const char *w, const float *x, int n, int per_line, load_fn *load)
{
    __m512 s = _mm512_setzero_ps(), v[2];
    for (int c = 0; c < n; c += per_line, w += 64) {
        load(v, w);
        s = _mm512_fmadd_ps(v[0], _mm512_set1_ps(x[c]), s);
        if (per_line == 2 && c + 1 < n) s = _mm512_fmadd_ps(v[1], _mm512_set1_ps(x[c + 1]), s);
    }
    return _mm512_add_ps(sum, s);
}

INLINE __m512 strip_one(const char *w, const float *x, int n_cols, int per_line, load_fn *load)
{
    int c = 0, column_bytes = 64 / per_line;
    __m512 sum = _mm512_setzero_ps();
    for (; c + KERN_PIECE <= n_cols; c += KERN_PIECE)
        sum = add_piece(sum, w + (size_t)c * (size_t)column_bytes, x + c, per_line, load);
    if (c < n_cols) sum = add_last(sum, w + (size_t)c * (size_t)column_bytes, x + c, n_cols - c, per_line, load);
    return sum;
}

/* ---- many tokens --------------------------------------------------------------------------------- */

struct panel {
    _Alignas(64) float w[KERN_PIECE + 1][2 * STRIP];
};

/* Columns of one piece, of strip i of two. */
INLINE void fill_panel(struct panel *p, int i, const char *w, int n, int per_line, load_fn *load)
{
    __m512 v[2];
    for (int c = 0; c < n; c += per_line, w += 64) {
        load(v, w);
#pragma GCC unroll 2
        for (int k = 0; k < per_line; k++) _mm512_store_ps(&p->w[c + k][STRIP * i], v[k]);
    }
}

/* np strips and nt tokens over n columns of a panel. */
INLINE void run_tile(const struct kern_mm_args *a, const struct panel *p, int row, int token, int at, int n, int np,
                     int nt)
{
    __m512 s[2][TILE];
    const float *x = x_at(a, token) + at;
    size_t stride = a->x_stride / sizeof *x;
#pragma GCC unroll 12
    for (int t = 0; t < nt; t++) s[0][t] = s[1][t] = _mm512_setzero_ps();
    for (int c = 0; c < n; c++) {
        __m512 w[2];
#pragma GCC unroll 2
        for (int i = 0; i < np; i++) w[i] = _mm512_load_ps(&p->w[c][STRIP * i]);
#pragma GCC unroll 12
        for (int t = 0; t < nt; t++) {
            __m512 value = _mm512_set1_ps(x[(size_t)t * stride + (size_t)c]);
#pragma GCC unroll 2
            for (int i = 0; i < np; i++) s[i][t] = _mm512_fmadd_ps(w[i], value, s[i][t]);
        }
    }
#pragma GCC unroll 12
    for (int t = 0; t < nt; t++)
#pragma GCC unroll 2
        for (int i = 0; i < np; i++) {
            float *y = a->y + (size_t)(token + t) * a->y_stride + row + STRIP * i;
            __mmask16 rows = rows_mask(a->n_rows - row - STRIP * i);
            __m512 before = at ? _mm512_maskz_loadu_ps(rows, y) : _mm512_setzero_ps();
            _mm512_mask_storeu_ps(y, rows, _mm512_add_ps(before, s[i][t]));
        }
}

INLINE void run_tokens(const struct kern_mm_args *a, const struct panel *p, int row, int at, int n, int np)
{
    int t = 0;
    for (; t + TILE <= a->n_tokens; t += TILE) run_tile(a, p, row, t, at, n, np, TILE);
    for (; t + 4 <= a->n_tokens; t += 4) run_tile(a, p, row, t, at, n, np, 4);
    for (; t < a->n_tokens; t++) run_tile(a, p, row, t, at, n, np, 1);
}

static void run_panel(const struct kern_mm_args *a, const struct panel *p, int row, int at, int n)
{
    if (row + STRIP < a->n_rows)
        run_tokens(a, p, row, at, n, 2);
    else
        run_tokens(a, p, row, at, n, 1);
}

INLINE void mm_float(const struct kern_mm_args *a, int per_line, load_fn *load)
{
    struct panel p;
    size_t column_bytes = (size_t)(64 / per_line);
    if (a->n_tokens < 2 || a->n_cols == 0) {
        for (int row = 0; row < a->n_rows && a->n_tokens; row += STRIP)
            _mm512_mask_storeu_ps(a->y + row, rows_mask(a->n_rows - row),
                                  strip_one((const char *)a->w + (size_t)(row / STRIP) * a->w_stride, x_at(a, 0),
                                            a->n_cols, per_line, load));
        for (int t = 1; t < a->n_tokens; t++)
            memset(a->y + (size_t)t * a->y_stride, 0, (size_t)a->n_rows * sizeof *a->y);
        return;
    }
    for (int at = 0; at < a->n_cols; at += KERN_PIECE)
        for (int row = 0; row < a->n_rows; row += 2 * STRIP) {
            int n = MIN(KERN_PIECE, a->n_cols - at);
            for (int i = 0; i < 2 && row + i * STRIP < a->n_rows; i++)
                fill_panel(&p, i,
                           (const char *)a->w + (size_t)(row / STRIP + i) * a->w_stride + (size_t)at * column_bytes, n,
                           per_line, load);
            run_panel(a, &p, row, at, n);
        }
}

void mm_f32_avx512(const struct kern_mm_args *a)
{
    mm_float(a, 1, load_f32);
}

void mm_f16_avx512(const struct kern_mm_args *a)
{
    mm_float(a, 2, load_f16);
}

void mm_bf16_avx512(const struct kern_mm_args *a)
{
    mm_float(a, 2, load_bf16);
}
#endif
