/* bench_run.h - one test, measured on the road that every request takes.
 *
 * A test with a prompt submits a request of random tokens; one that generates follows all tokens to the
 * length asked for.  What is timed is what the engine says of the finished request (struct redline_event,
 * done): the prompt from leaving the queue to the logits of its last token, the generation from there to
 * its last token.  So a sample holds no tokenising and no queueing, but sampling and handing over of every
 * token. */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include "bench_grid.h"
#include "clock.h"
#include "cmd.h"
#include "placement.h"
#include "redline_probe.h"

enum { BENCH_MOST_SAMPLES = 1000, BENCH_MOST_KERNELS = 8 };

struct bench_options {
    int n_repetitions;  /* 1..BENCH_MOST_SAMPLES */
    bool no_warmup;     /* an untimed repetition goes before the others */
    bool exact;
    struct placement where;
    /* Called before every repetition, from 0; the warm-up is -1. */
    void (*progress)(void *user, int repetition);
    redline_listener *listener; /* of the engine */
    void *user;
};

struct bench_result {
    struct bench_case asked;
    bool exact;
    struct redline_file_facts file;
    struct redline_engine_facts engine; /* without the texts that died with it: */
    char cpu[64], features[64];
    char placement[200];              /* placement_proof() */
    struct redline_kernel_facts kernels[BENCH_MOST_KERNELS];
    char tables[BENCH_MOST_KERNELS][2][16]; /* the names of their tables, which kernels[] points to */
    size_t n_kernels;
    char started[CLOCK_UTC];          /* UTC, ISO 8601 */
    double samples_ns[BENCH_MOST_SAMPLES];
    int n_samples;
    double bytes;                     /* read in one repetition: weights and KV; NAN with a prompt, where
                                         that depends on how often a weight is read for many tokens */
    double ops;                       /* arithmetic in one repetition; a multiply-add is two */
    double bandwidth;                 /* bytes per second, by the same threads: the better of a reading just
                                         before and one just after; NAN: neither could be made */
    char bandwidth_missing[CMD_WHY];  /* why not; else "" */
    uint64_t peak_rss_bytes;          /* of the process during this test */
};

/* Opens an engine for the test and closes it again. */
int bench_run(struct bench_result *out, const struct redline_model *model, const struct bench_case *c,
              const struct bench_options *options, struct redline_err *err);

#endif
