/* outcome.h - what a request makes of the rows that a step has computed for it, by kind of request. */
#ifndef OUTCOME_H
#define OUTCOME_H

#include "job.h"

struct outcome_rows {     /* the next rows that nobody has taken */
    const float *logits;  /* [.., V] */
    const float *states;  /* [.., D] */
    int n_vocab, width;
    bool packed;          /* weights were, in this step */
    struct candidate *candidates; /* [V] scratch of the sampler */
};

/* What is wanted of prompt token i: model.h's MODEL_LOGITS, MODEL_STATE. */
unsigned outcome_wanted(const struct redline_job *job, size_t i);

/* n tokens of the job were fed: takes their rows, moves the job on, reports.  True: the job ends. */
bool outcome_take(struct redline_job *job, size_t n, struct outcome_rows *rows, enum redline_stop *stop);

#endif
