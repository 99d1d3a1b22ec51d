/* stopwatch.c - what a stranger measures: redline.h, a clock, and nothing of the laboratory.
 *
 *     stopwatch MODEL N_PROMPT N_GEN N_THREADS REPETITIONS
 *
 * prints the nanoseconds of each repetition of one request: a prompt of N_PROMPT tokens, or, where that is
 * 0, N_GEN tokens after a prompt of one.  One untimed repetition goes before. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "redline.h"

static struct redline_err err;

static void check(int status)
{
    if (status == 0) return;
    fprintf(stderr, "stopwatch: %s\n", err.message);
    exit(3);
}

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* From submitting, or from the first token where only those after it count, to the last event. */
static long long measure(struct redline_engine *engine, const int32_t *ids, int n_prompt, int n_gen)
{
    struct redline_job *job;
    struct redline_event event;
    struct redline_request request = {.ids = ids,
                                      .n_ids = n_prompt > 0 ? (size_t)n_prompt : 1,
                                      .n_predict = n_gen > 0 ? n_gen + 1 : 0,
                                      .ignore_end = true};
    long long start = now(), end = 0;
    int n_tokens = 0;
    check(redline_submit(&job, engine, &request, &err));
    do {
        check(redline_next(job, &event, &err));
        end = now();
        if (event.kind == REDLINE_EVENT_TOKEN && n_tokens++ == 0) start = end;
    } while (event.kind != REDLINE_EVENT_DONE);
    redline_job_free(&job);
    return end - start;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: stopwatch MODEL N_PROMPT N_GEN N_THREADS REPETITIONS\n");
        return 2;
    }
    int n_prompt = atoi(argv[2]), n_gen = atoi(argv[3]), n = n_prompt > 0 ? n_prompt : 1;
    struct redline_engine_params params = {.n_ctx = n + n_gen, .n_threads = atoi(argv[4])};
    struct redline_model *model;
    struct redline_engine *engine;
    check(redline_model_open(&model, argv[1], &err));
    check(redline_engine_open(&engine, model, &params, &err));
    int32_t *ids = malloc((size_t)n * sizeof *ids);
    if (!ids) return 3;
    for (int i = 0; i < n; i++) ids[i] = (int32_t)((size_t)i * 7919 % redline_n_vocab(engine));
    for (int i = -1; i < atoi(argv[5]); i++) {
        long long ns = measure(engine, ids, n_prompt, n_gen);
        if (i >= 0) printf("%lld\n", ns);
    }
    free(ids);
    redline_engine_close(&engine);
    redline_model_close(&model);
    return 0;
}
