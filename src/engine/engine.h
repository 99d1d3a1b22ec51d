/* engine.h - the inside of struct redline_engine: what its thread owns and what it shares. */
#ifndef ENGINE_H
#define ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "cpu.h"
#include "model.h"
#include "modelfile.h"
#include "redline_probe.h"
#include "sampler.h"
#include "scheduler.h"

struct redline_session {
    struct redline_engine *engine; /* borrowed */
    int seq;             /* of the cache; -1: it holds none.  The engine's thread */
    int32_t *ids;        /* [n_ctx] what the sequence holds, owned; the engine's thread */
    size_t n_ids;
    uint64_t last_used;  /* ns; the engine's thread */
    bool busy;           /* a job of it is queued or runs; under the engine's lock */
};

struct call { /* something to be done between steps, by the engine's thread */
    void (*fn)(struct redline_engine *e, void *user);
    void *user;
};

struct redline_engine {
    const struct redline_model *source; /* borrowed */
    struct redline_plan plan;           /* as carried out */
    struct backend *devices[REDLINE_MOST_DEVICES]; /* the CPU, then GPUs; NULL: nothing runs on it */
    struct redline_plan_block *blocks;  /* [plan.n_blocks], owned */
    uint8_t *device_of;                 /* [weights_n_blocks()], owned */
    uint64_t free_after[REDLINE_MOST_DEVICES]; /* of the devices' memory, once loaded */
    struct model *model;
    uint64_t load_ns;
    _Atomic int most_pages, most_seqs;  /* KV pages and sequences in use at their most */
    struct cpu_facts cpu;
    char features[64];
    redline_listener *listener;
    void *user;

    /* shared, under .lock */
    pthread_mutex_t lock;
    pthread_cond_t work;                /* there is something for the engine's thread to do */
    pthread_cond_t called;              /* a call has been carried out */
    struct redline_job **jobs;          /* [n_seqs + n_queue] by arrival: n_running, then those that wait */
    int n_jobs, n_running, n_queue;
    struct call call;                   /* fn NULL: none */
    uint64_t n_calls, last_serial;
    bool settled;        /* the backend has nothing left to do between requests */
    bool quit;

    /* the engine's thread */
    pthread_t thread;
    bool has_thread;
    struct redline_session **rests;     /* [n_seqs] sessions at rest that hold a sequence */
    int n_rests;
    bool *seq_used;                     /* [n_seqs] */
    struct sched_job *sched_jobs;       /* [n_seqs + n_queue] */
    struct sched_rest *sched_rests;     /* [n_seqs] */
    struct sched_plan sched;            /* its arrays have room for all; owned */
    struct candidate *candidates;       /* [V] of the sampler */
    double prefill_token_ns;            /* running mean; 0: none was seen */
    bool noted[REDLINE_MOST_DEVICES];   /* its backend's note was told */
};

/* loop.c */
int  engine_start(struct redline_engine *e, struct redline_err *err);
void engine_stop(struct redline_engine *e); /* cancels everything and joins; accepts one not started */

/* Runs fn on the engine's thread, between two steps, and waits for it. */
void engine_call(struct redline_engine *e, void (*fn)(struct redline_engine *e, void *user), void *user);

/* Hands an event to the engine's listener, if there is one. */
void engine_emit(const struct redline_engine *e, const struct redline_event *event);
void engine_warn(const struct redline_engine *e, const char *sentence);

/* plan.c: params with their defaults filled in and checked, for the layers below. */
struct plan_params {
    struct backend_params backend;
    struct model_params model;
    int n_queue;
};
int plan_params(struct plan_params *out, const struct redline_model *model,
                const struct redline_engine_params *p, struct redline_err *err);

/* plan.c: REDLINE_MEMORY with the numbers, and what would fit, for a plan that does not. */
int plan_refuse(const struct redline_plan *plan, struct redline_err *err);

#endif
