/* chunks.h - what perplexity is measured on, as llama-perplexity has it: whole chunks of a text as one stream of
 * tokens, each begun by the model's first token where it wants one, each scored over its second half.
 *
 * `redline score` and the lab's worker have this one definition. */
#ifndef CHUNKS_H
#define CHUNKS_H

#include <math.h>

#include "redline.h"
#include "str.h"

struct chunks {
    int n_ctx, n_chunks;
    int32_t *ids; /* [n_chunks, n_ctx], and what is left over behind them; owned */
};

enum { CHUNKS_LEAST_CTX = 3 };

/* n_most: the first so many chunks; 0: all.  special: special tokens written in the text become those tokens.
 * REDLINE_ARG: fewer than two chunks of n_ctx tokens, or n_ctx below CHUNKS_LEAST_CTX. */
int  chunks_make(struct chunks *out, const struct redline_model *model, struct str text, int n_ctx, int n_most,
                 bool special, struct redline_err *err);
void chunks_free(struct chunks *c); /* accepts {0}; leaves {0} */

/* Position i >= chunks_first() predicts token i + 1 < n_ctx: so many of each chunk. */
static inline size_t chunks_first(int n_ctx) { return (size_t)n_ctx / 2; }
static inline size_t chunks_positions(int n_ctx) { return (size_t)n_ctx - 1 - chunks_first(n_ctx); }

/* Of n log-probabilities, the sum of them negated. */
static inline double chunks_perplexity(double nll_sum, size_t n) { return n ? exp(nll_sum / (double)n) : (double)NAN; }

#endif
