/* doctor.h - what this machine is doing wrong, with the evidence and the remedy.
 *
 * A finding is a row of a table: a test on facts, nothing else, so each fault can be made up in a test and a clean
 * machine gives none. */
#ifndef DOCTOR_H
#define DOCTOR_H

#include "facts.h"

/* What records of the lab say of GPUs.  A speed is tokens per second after the first, as a median. */
struct doctor_records {
    double cpu_ts, gpu_ts;   /* of the workload where the GPU is furthest behind, with no layer there and with most; 0:
                                there is no such pair */
    int n_gpu_layers;        /* of the second */
    char workload[64];
    double planned_bytes, taken_bytes; /* where the plan was furthest off: of a GPU; 0: nobody measured it */
    char device[96];
};

/* What is looked at besides the machine: what the user is about to run. */
struct doctor_case {
    const struct facts *facts;
    int cuda_version;                             /* of the CUDA that this program was built with; 0: without */
    int n_usable;                                 /* GPUs that it can run models on: redline_gpu_count() */
    const char *refusal;                          /* of redline_gpu_check(): why it can use none; or NULL */
    const struct redline_plan *plan;              /* of the model, or NULL */
    const struct redline_plan_block *blocks;      /* [plan->n_blocks], or NULL */
    const struct doctor_records *records;         /* what was measured of GPUs, or NULL */
    const struct redline_file_facts *file;        /* of the model, or NULL */
    const struct facts_file *model_file;          /* how it lies on the disk, or NULL */
    int n_threads;                                /* as set; 0: automatic */
    int n_ctx, n_ctx_used;                        /* as set, 0: as needed; tokens used at most, -1: not known */
    int n_ubatch, n_prompt_typical;               /* as set, 0: default; tokens of a usual prompt, -1: not known */
    bool flash_attn;                              /* attention runs in one pass over the cache, on all devices */
    const char *flash_attn_reason;                /* why not, or NULL */
    const char *type_k, *type_v;
    bool kv_kernel;                               /* there is one for these types on all devices */
    const char *require;                          /* "gpu", "cpu"; NULL, "any": whatever is best */
    const char *n_gpu_layers;                     /* as set: "0"; NULL: "auto" */
};

enum doctor_level { DOCTOR_FAULT, DOCTOR_ADVICE };

struct doctor_finding {
    const char *code;          /* stable: "gpu-unused" */
    enum doctor_level level;   /* ADVICE: it may be meant so */
    char what[320];            /* fact, value, limit */
    char remedy[256];          /* a command or a setting */
};

enum { DOCTOR_MOST = 40 };

/* Returns how many; the worst first. */
size_t doctor_examine(const struct doctor_case *c, struct doctor_finding out[DOCTOR_MOST]);

/* What records of the lab show of the use: tokens in the context at most, and the median of the prompts' lengths; -1
 * where no record says so. */
void doctor_use(const json_t *records, int *n_ctx_used, int *n_prompt_typical);

void doctor_records(const json_t *records, struct doctor_records *out);

/* The code and the level of what stands i-th in that order; NULL behind the last. */
const char *doctor_row(size_t i, enum doctor_level *level);

#endif
