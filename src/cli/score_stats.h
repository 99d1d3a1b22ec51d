/* score_stats.h - what two rows of logits say about each other, and what many such figures say together:
 * pure functions.
 *
 * Rows are raw logits [V], which may be -INFINITY but not NAN or INFINITY.  Sums run in double from float
 * logits: equal rows diverge by exactly 0. */
#ifndef SCORE_STATS_H
#define SCORE_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCORE_TOP = 64 }; /* tokens of a distribution that a record keeps */

/* A distribution in short: the most probable tokens and how much is left. */
struct score_top {
    int n;                     /* SCORE_TOP, or all of a smaller vocabulary */
    int32_t ids[SCORE_TOP];    /* by falling logits, the lower id first among equals */
    float logprobs[SCORE_TOP]; /* natural logarithms of probabilities, here and below */
    float tail;                /* of all other tokens together; -INFINITY: they have none */
    float next;                /* of the token that really follows; whoever has the figure sets it */
};

void score_top(struct score_top *out, const float *logits, size_t n_vocab);

/* The most probable token, the lowest of equals. */
int32_t score_best(const float *logits, size_t n_vocab);

/* Kullback-Leibler divergence KL(reference || model) in nats; INFINITY when the model excludes what the
 * reference does not. */
double score_kl(const float *reference, const float *model, size_t n_vocab);

/* The same, of what the reference's short form still says: the tokens in it, and all others as one.  Never more
 * than score_kl() (the log sum inequality), and nearly as much where the tail is light. */
double score_kl_top(const struct score_top *reference, const float *model, size_t n_vocab);

struct score_estimate {
    double value, error; /* standard error, as if positions were independent; NAN: it cannot be said */
};

/* Figures of every scored position. */
struct score_columns {
    size_t n;
    double *nll;                 /* [n] the token that follows, its log-probability negated */
    double *reference_nll, *kl;  /* [n] */
    size_t n_same;               /* positions whose most probable token is the reference's */
};

struct score_summary {
    size_t n;
    struct score_estimate perplexity;
    /* against a reference; not set without one */
    struct score_estimate reference_perplexity, ratio, kl_mean, same_top;
    double kl_median, kl_p99, kl_largest;
};

/* Sorts columns->kl when it is compared. */
void score_summarize(struct score_summary *out, struct score_columns *columns, bool compared);

#endif
