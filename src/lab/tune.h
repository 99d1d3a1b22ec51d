/* tune.h - the settings that are fastest on this machine for this model, found by measuring, stopped when known.
 *
 * Candidates are all pairs of a number of threads and a batch size; what they are judged by is the time of a request
 * of n_prompt tokens read and n_gen written.  Its two parts are measured apart, each in a process of its own: the batch
 * size is nothing to a token that is generated, so generation is measured once for each number of threads.  Every
 * candidate runs in rounds, in an order drawn anew; after each round those drop out that are slower than the best
 * beyond doubt, and it ends when nobody left can be ahead of the simplest by more than `within` (tune_decide.h). */
#ifndef TUNE_H
#define TUNE_H

#include <jansson.h>
#include <stdint.h>

#include "err.h"
#include "facts.h"
#include "str.h"
#include "tune_decide.h"

struct tune_params {
    const char *program;               /* of the worker: `PROGRAM lab worker` */
    const char *model;                 /* NULL: demo */
    const json_t *settings;            /* the user's others (measure.h), the same for all; may be NULL */
    const int *n_threads, *n_ubatch;   /* lists to try, ascending */
    size_t n_n_threads, n_n_ubatch;
    int default_threads, default_ubatch; /* what holds without this */
    int n_prompt, n_gen;               /* of the request, 1 at least */
    double within;                     /* 0.03 */
    double budget_s;                   /* 0: none */
    uint64_t seed;                     /* of the order */
    bool full;                         /* nobody drops out: the sweep that the choice is checked against */
    void (*progress)(void *user, const char *what, double share);
    void *user;
    const volatile int *stop;          /* may be NULL */
    const struct facts_source *machine; /* where others are looked for (facts.h); NULL: the running system */
};

struct tune_result {
    struct tune_candidate *all;        /* owned; threads by threads, batch sizes within */
    size_t n, best, standard;          /* candidates; the chosen one; the default, or SIZE_MAX: it was not tried */
    bool too_short;                    /* tune_run() failed: the budget ended within the first round */
    bool decided;                      /* false: time was up before; best is a guess then */
    double known_within;               /* not decided: as far as another may be ahead; NAN: not even that is known */
    size_t n_rounds, n_measured;       /* whole rounds; processes in all */
    double wall_s;
    double others, others_limit;       /* processors that other programs used meanwhile, mean, NAN: not known; beyond */
    int n_processors;                  /* the limit, of so many, this is not the speed of the machine */
    bool busy;                         /* so it is */
    json_t *record;                    /* owned: one of the records, for machine and model */
    size_t replay_rounds;              /* full: after how many rounds the rules would have ended; 0: not yet */
    size_t replay_best, replay_measured, full_measured; /* their choice; candidates measured by them, and in all */
    char why[256];                     /* a sentence on the choice */
};

enum { TUNE_MOST_LIST = 64, TUNE_MOST_ROUNDS = 40 };

/* What is worth trying: up to `most` threads (all numbers up to eight, then in steps that grow, in any case n_always
 * ones), batch sizes from 64 in powers of two as far as prompt and scheduler (n_batch) can fill them.  Return how many
 * there are. */
size_t tune_thread_list(int out[TUNE_MOST_LIST], int most, const int *always, size_t n_always);
size_t tune_ubatch_list(int out[TUNE_MOST_LIST], int n_prompt, int n_batch);

/* REDLINE_CANCEL: before anything was known it was stopped, or the budget was gone (out->too_short).  Else what the
 * worker says where no candidate can be measured.  tune_free() in any case. */
int  tune_run(struct tune_result *out, const struct tune_params *params, struct redline_err *err);
void tune_free(struct tune_result *r); /* accepts {0}; leaves {0} */

/* The table of candidates in Markdown, and the choice below it. */
int tune_to_markdown(const struct tune_result *r, const struct tune_params *params, struct buf *out,
                     struct redline_err *err);

/* The same as one object; the caller's to json_decref(). */
int tune_to_json(const struct tune_result *r, const struct tune_params *params, json_t **out, struct redline_err *err);

/* The text of a file of settings, `before` with the choice set in it and the evidence in comments on top.  All else
 * stays as it was, byte by byte; the evidence of an earlier tune is replaced.  path: for sentences; command: as the
 * user typed it; time: "2026-11-21 18:40 UTC". */
int tune_to_yaml(const struct tune_result *r, const struct tune_params *params, struct str before, const char *path,
                 const char *command, const char *time, struct buf *out, struct redline_err *err);

#endif
