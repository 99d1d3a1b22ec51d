/* merger.h - joining neighbours in order of merit, the loop that byte-level BPE and SentencePiece
 * share.
 *
 * A text starts as a row of small symbols.  Again and again the best pair of neighbours becomes
 * one symbol, the leftmost among equals, until no pair may join.  A heap holds the candidates, so
 * n symbols take n log n time. */
#ifndef MERGER_H
#define MERGER_H

#include "vocab_internal.h"

struct symbol {
    const char *p;
    uint32_t n;         /* bytes; 0: swallowed by its left neighbour */
    int32_t piece;      /* or -1 */
    int32_t prev, next; /* or -1 */
};

struct join { /* of two neighbours, that may come */
    uint64_t order; /* merit, less is better, then the index of the left symbol */
    int32_t right;
    uint32_t n; /* bytes of both: tells one that events have overtaken */
    int32_t piece;
};

struct merger {
    const struct vocab *v;
    /* May these two join, into which piece, and with which merit (less is better)? */
    bool (*join)(const struct vocab *v, const struct symbol *left, const struct symbol *right,
                 uint32_t *merit, int32_t *piece);
    struct symbol *symbols;
    size_t n, symbol_capacity;
    struct join *heap;
    size_t n_heap, heap_capacity;
};

int merger_add(struct merger *m, const char *p, size_t n, int32_t piece, struct redline_err *err);
/* Afterwards the symbols with n > 0, in order, are the result. */
int merger_run(struct merger *m, struct redline_err *err);
void merger_free(struct merger *m);

#endif
