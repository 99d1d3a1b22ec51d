/* panel_bf16.h - strips expanded to BF16 numbers, as instructions for their products want them. */
#ifndef PANEL_BF16_H
#define PANEL_BF16_H

#include "strip.h"

/* A chunk of one strip: [STRIP_CHUNK / 2 pairs of columns][STRIP rows] words of two BF16 numbers, the first column
 * in the low half. */
enum { PANEL_WORDS = STRIP_CHUNK / 2 * STRIP, PANEL_STEP = 32 };

/* The first n columns of a chunk, followed by zeros up to a multiple of PANEL_STEP columns.  Returns where they lie:
 * in panel, or in the chunk itself if that holds just this.  chunk and panel: on a cache line. */
typedef const void *panel_fn(void *panel, const void *chunk, int n);

/* By weight type; numbers below 2^-126 become zeros. */
extern panel_fn *const panel_bf16[DTYPE_COUNT];

#endif
