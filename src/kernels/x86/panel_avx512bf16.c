/* panel_avx512bf16.c - the chunks of strips as panels of BF16 numbers. */
#if defined(__x86_64__)
#include "panel_bf16.h"

#include <immintrin.h>
#include <string.h>

#include "base.h"
#include "math_avx512.h"

#define INLINE MATH_INLINE

INLINE const __m512i *line_of(const void *chunk, int i)
{
    return (const __m512i *)chunk + i;
}

/* n columns are there; zeros behind them, up to a whole step. */
INLINE void fill_step(uint32_t *panel, int n)
{
    size_t from = (size_t)CEIL_DIV(n, 2) * STRIP, to = (size_t)ROUND_UP(n, PANEL_STEP) / 2 * STRIP;
    memset(panel + from, 0, (to - from) * sizeof *panel);
}

/* ---- F16, BF16: a line of a strip holds pairs ------------------------------------------------------ */

static const void *panel_bf16_whole(void *panel, const void *chunk, int n)
{
    if (n % PANEL_STEP == 0) return chunk;
    memcpy(panel, chunk, (size_t)CEIL_DIV(n, 2) * STRIP * 4);
    fill_step(panel, n);
    return panel;
}

static const void *panel_f16(void *panel, const void *chunk, int n)
{
    __m512i *out = panel;
    for (int i = 0; i < CEIL_DIV(n, 2); i++) {
        __m512i line = *line_of(chunk, i);
        __m512 low = _mm512_cvtph_ps(_mm512_castsi512_si256(line));
        __m512 high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(line, 1));
        out[i] = (__m512i)_mm512_cvtne2ps_pbh(high, low);
    }
    fill_step(panel, n);
    return panel;
}

panel_fn *const panel_bf16[DTYPE_COUNT] = {
    [DTYPE_F16] = panel_f16,
    [DTYPE_BF16] = panel_bf16_whole,
};
#endif
