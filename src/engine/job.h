/* job.h - one request from submission to its end, as both sides see it.
 *
 * The engine's thread appends to the stream (ids, log-probabilities, times, progress, the end); the
 * consumer's thread reads it, and makes text of it.  The stream has room for all that can come: nothing
 * is allocated while the request runs, and the engine never waits for a slow consumer. */
#ifndef JOB_H
#define JOB_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine.h"
#include "sampler.h"
#include "scheduler.h"

enum waiting { WAITING_NOT, WAITING_NEWS, WAITING_END }; /* what the consumer sleeps for */

struct stream { /* under .lock, but for the arrays' addresses and capacity */
    pthread_mutex_t lock;
    pthread_cond_t news;
    enum waiting waiting;
    int32_t *ids;      /* [capacity], owned */
    float *logprobs;   /* [capacity], owned; NAN: not asked for */
    uint64_t *times;   /* [capacity], owned */
    size_t n, capacity;
    struct redline_event started, prefill; /* kind LOADING as long as there was none */
    uint64_t vector_ns; /* 0: the embedding is not there yet */
    bool ended;
    struct redline_event done;
    struct redline_err err; /* code 0: ended well */
};

struct reader { /* the consumer's alone */
    size_t n_read;     /* tokens delivered */
    bool started, flushed, embedded;
    size_t n_prefilled;
    struct detok detok;
    struct buf text;   /* all of it so far */
};

struct redline_job {
    /* fixed at submission */
    struct redline_engine *engine; /* borrowed */
    const struct vocab *vocab;     /* NULL: tokens have no text */
    uint64_t serial, submit_ns;
    enum redline_kind kind;
    enum redline_pooling pooling;
    bool ignore_end, logprobs, unscaled, as_generated;
    int32_t *prompt;               /* [n_prompt], owned */
    size_t n_prompt;
    size_t n_most;                 /* tokens to generate at most */
    bool context_bound;            /* n_most is what the context leaves, not what was asked for */
    size_t score_from;             /* SCORE: positions before it want no logits */
    float *logits;                 /* SCORE: the caller's, or NULL */
    struct redline_session *session; /* borrowed, or NULL */

    _Atomic bool cancelled;

    /* the engine's thread */
    enum sched_phase phase;
    int seq;                       /* of the cache, while it runs */
    size_t n_fed, n_cached, n_decoded, n_decoded_packed;
    bool prefill_packed;
    int32_t next;                  /* the token chosen last, to be fed */
    struct sampler sampler;
    double *pool;                  /* [D] EMBED: sum of states, owned */
    float *vector;                 /* [n_vectors, D] EMBED, owned */
    uint64_t start_ns, prefilled_ns, last_ns;

    struct stream stream;
    struct reader reader;
};

/* Pages of the cache that it holds at its end, at most. */
int job_pages(const struct redline_job *job);

/* ---- called by the engine's thread ----------------------------------------------------------- */

void job_started(struct redline_job *job, uint64_t now);
void job_prefilled(struct redline_job *job, uint64_t now);
void job_push(struct redline_job *job, int32_t id, float logprob, uint64_t now);
void job_embedded(struct redline_job *job, uint64_t now);

/* The last thing that the engine does with a job: from here on it is the consumer's alone. */
void job_end(struct redline_job *job, enum redline_stop stop, uint64_t now);
void job_fail(struct redline_job *job, const struct redline_err *err, uint64_t now);

#endif
