/* attn_ahead.h - asking memory for the rows that come next while these are worked on.
 *
 * Pages of a cache are scattered: at the end of one the processor cannot guess where to go on, and the
 * arithmetic of a few queries is too short to hide that.  Where there are many, it is not. */
#ifndef ATTN_AHEAD_H
#define ATTN_AHEAD_H

#include <immintrin.h>
#include <stddef.h>

struct ahead {
    const char *at; /* NULL: nobody knows */
};

/* The next so many bytes. */
static inline __attribute__((always_inline)) void ask(struct ahead *a, size_t bytes)
{
    if (!a->at) return;
    for (size_t b = 0; b < bytes; b += 64) _mm_prefetch(a->at + b, _MM_HINT_T1);
    a->at += bytes;
}

#endif
