/* sampler.h - from logits to the next token: a pure function of logits, settings, history and the state
 * of a random generator.
 *
 * The order is llama.cpp's: penalties, top-k, top-p, min-p, temperature, draw. */
#ifndef SAMPLER_H
#define SAMPLER_H

#include "redline.h"
#include "rng.h"

struct candidate {
    int32_t id;
    float logit;
    float p; /* probability among the candidates, once it has been computed */
};

struct sampler {
    struct redline_sampling s;
    struct rng rng;
    int n_vocab;
    int32_t *history;             /* [capacity] the last tokens, a ring; owned */
    int n_history, capacity;
    uint64_t n_seen;              /* tokens accepted so far */
    int32_t *counts;              /* [n_vocab] occurrences within the history; owned */
};

/* n_ctx: the most tokens that will be accepted, for repeat_last_n = -1.
 * REDLINE_ARG names a setting that is out of range. */
int  sampler_init(struct sampler *out, const struct redline_sampling *s, int n_vocab, int n_ctx,
                  struct redline_err *err);
void sampler_fini(struct sampler *s); /* accepts {0} */

/* Records a token of the prompt or of the answer; it counts for the penalties. */
void sampler_accept(struct sampler *s, int32_t id);

/* logits: [n_vocab], left as they are; candidates: room for [n_vocab], its content is lost. */
int32_t sampler_choose(struct sampler *s, const float *logits, struct candidate *candidates);

/* Natural logarithm of a token's probability under the plain softmax of n logits. */
float sampler_logprob(const float *logits, int n, int32_t id);

#endif
