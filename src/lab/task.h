/* task.h - what is to be measured, read out of the JSON that measure.h describes, every default filled in. */
#ifndef TASK_H
#define TASK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "redline.h"

struct task_settings {
    int n_threads, n_ctx, n_batch, n_ubatch, n_seqs; /* 0 for the first two and the last: automatic */
    char n_gpu_layers[16];             /* as the engine reads it: "auto", "all", a number */
    const char *placement;             /* as the engine reads it, or NULL */
    uint64_t device_memory;            /* bytes; 0: what is free */
    int n_cpu_moe;
    bool exact;
    const char *type_k, *type_v, *cpu_mask;
};

enum task_kind { TASK_GENERATE, TASK_EMBED, TASK_SCORE, TASK_LOAD };
enum task_split { TASK_WHOLE, TASK_PARAGRAPHS, TASK_LINES };
enum task_load { TASK_FRESH, TASK_WARM };
enum task_arrival { TASK_CLOSED, TASK_POISSON, TASK_EVEN };

struct task_workload {
    const char *name, *document;       /* NULL: none */
    enum task_kind kind;
    enum task_split split;
    enum task_arrival arrival;
    int n_prompt, n_gen, n_depth, n_requests, concurrency; /* n_requests 0: as many as there are parts */
    double rate;                       /* requests per second; 0: closed */
    uint64_t seed;
};

struct task {
    const json_t *json;                /* all of it; the texts here and above are borrowed from it */
    const char *model;                 /* NULL: the demo model */
    enum task_load load;
    struct task_settings settings;
    struct task_workload workload;
    uint64_t started_ns;               /* of the process, on the monotonic clock; 0: nobody said */
    const char *digest_cache;          /* NULL: none */
};

/* REDLINE_ARG: a member that is not known, with the nearest that is; a value of another kind or out of its range; what
 * does not go together. */
int task_read(struct task *out, const json_t *json, struct redline_err *err);

const char *task_kind_name(enum task_kind kind);       /* "generate" */
const char *task_split_name(enum task_split split);
const char *task_arrival_name(enum task_arrival arrival);
const char *task_load_name(enum task_load load);

#endif
