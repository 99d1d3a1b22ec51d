/* score_run.h - a model over the chunks of a text, several at a time so that batches are full. */
#ifndef SCORE_RUN_H
#define SCORE_RUN_H

#include "placement.h"
#include "redline_probe.h"
#include "score_record.h"

struct score_run {
    struct redline_engine *engine;  /* NULL: there is none */
    const struct score_frame *frame; /* borrowed */
    int n_lanes;                    /* chunks at a time; each has a request, and room for its rows */
    struct redline_job **jobs;      /* [n_lanes] of the chunks done last, owned */
    float *rows;                    /* [n_lanes, chunks_positions + 1, V] logits, owned; NULL: none wanted */
};

/* n_lanes of params->n_seqs, fewer where their rows would take too much memory.  params: all but what follows
 * from the frame.  frame->n_vocab: where 0, the model's; else REDLINE_ARG when the model's is another. */
int  score_run_open(struct score_run *out, const struct redline_model *model,
                    const struct redline_engine_params *params, const struct placement *where,
                    struct score_frame *frame, bool wants_rows, struct redline_err *err);
void score_run_close(struct score_run *run); /* accepts {0} */

/* Is told how many of the tokens handed to score_run_chunks() are done; true: stop. */
typedef bool score_progress(void *user, size_t n_tokens);

/* Chunks [first, first + n), n at most n_lanes.  REDLINE_CANCEL when progress stopped it. */
int score_run_chunks(struct score_run *run, int first, int n, score_progress *progress, void *user,
                     struct redline_err *err);

/* Of the lane's chunk: log-probabilities of the scored tokens, [chunks_positions], and the logits they come from.
 * Borrowed until the next chunks. */
const float *score_run_logprobs(const struct score_run *run, int lane);
const float *score_run_rows(const struct score_run *run, int lane);

#endif
