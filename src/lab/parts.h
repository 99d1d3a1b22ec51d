/* parts.h - what the requests of a measurement are made of: random tokens of exact numbers, or a document whole, by
 * paragraphs, by lines, or in chunks for perplexity.  Cut before anything is timed. */
#ifndef PARTS_H
#define PARTS_H

#include "task.h"

struct part {
    size_t at, n;    /* its tokens in ids */
    size_t n_words;  /* of its text; 0: it has none */
};

struct parts {
    int32_t *ids;             /* owned, like the next */
    struct part *all;
    size_t n, n_ids, longest; /* parts; tokens of all, and of the longest */
};

/* n_ctx: of chunks that are scored.  Random tokens are all 0 until parts_draw().  REDLINE_ARG: a document without
 * text, or too short to be scored; REDLINE_IO: it cannot be read. */
int parts_make(struct parts *out, const struct redline_model *model, const struct task_workload *w, int n_ctx,
               struct redline_err *err);

/* Random tokens: the first w->n_depth the same in all parts, the one behind them another in neighbouring parts, so
 * that a session has the former in its cache and never the latter. */
void parts_draw(struct parts *p, const struct task_workload *w, size_t n_vocab);

void parts_free(struct parts *p); /* accepts {0}; leaves {0} */

#endif
