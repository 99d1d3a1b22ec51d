/* drive.h - requests on their way through an engine, as many threads as there are clients: each submits, receives its
 * events as any program does, and notes the time by its own clock when an event has come. */
#ifndef DRIVE_H
#define DRIVE_H

#include "parts.h"

/* One request; times on the monotonic clock, 0: it did not come to that. */
struct drive_request {
    uint64_t submitted_ns, ended_ns;    /* own clock: before redline_submit(), and when DONE had come */
    uint64_t started_ns, prefilled_ns, done_ns; /* the engine's */
    uint64_t *engine_ns, *consumer_ns;  /* [n] of each generated token; owned by the drive */
    size_t n, n_prompt, n_cached, n_generated, n_words, n_scored;
    size_t n_decoded;
    uint64_t decode_ns;                 /* of n_decoded forward passes */
    double nll;                         /* sum over n_scored tokens */
    enum redline_stop stop;
    const struct part *part;
};

struct drive {
    struct drive_request *requests; /* owned */
    size_t n;
    uint64_t *times;                /* owned; of all requests */
};

struct drive_params {
    struct redline_engine *engine;
    const struct task_workload *w;
    const struct parts *parts;      /* request i is of part i, modulo their number */
    size_t n_requests;
    bool unmeasured;                /* the first request alone, a few tokens of its answer */
};

/* *out is filled whether or not it succeeds; drive_free() it.  The first error that any client met is returned. */
int  drive_run(struct drive *out, const struct drive_params *params, struct redline_err *err);
void drive_free(struct drive *d); /* accepts {0}; leaves {0} */

/* When request i of an open arrival is due, in seconds from the first; due[n]. */
void drive_arrivals(double *due, size_t n, enum task_arrival arrival, double rate, uint64_t seed);

#endif
