/* drive.c - clients as threads, one clock. */
#include "drive.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base.h"
#include "chunks.h"
#include "clock.h"
#include "fault.h"
#include "mem.h"
#include "rng.h"
#include "words.h"

enum {
    STACK_BYTES = 1 << 18,
    UNMEASURED_TOKENS = 8,
};

struct crew {
    const struct drive_params *params;
    struct drive *out;
    double *due;                  /* [n] seconds; NULL: requests follow one another */
    uint64_t begin_ns;
    _Atomic size_t next;
    _Atomic bool failed;
    pthread_mutex_t lock;         /* of err */
    int status;
    struct redline_err err;
};

struct client {
    struct crew *crew;
    pthread_t thread;
    struct redline_session *session; /* holds the past; NULL without one */
    size_t index;
};

/* ---- when ------------------------------------------------------------------------------------------ */

void drive_arrivals(double *due, size_t n, enum task_arrival arrival, double rate, uint64_t seed)
{
    struct rng rng;
    double at = 0;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        due[i] = at;
        at += arrival == TASK_POISSON ? -log(1 - rng_uniform(&rng)) / rate : 1 / rate;
    }
}

static void sleep_until(uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {}
}

/* ---- one request ----------------------------------------------------------------------------------- */

static void note_event(struct drive_request *r, const struct redline_event *event, size_t most, bool generates)
{
    uint64_t now = clock_ns();
    if (event->kind == REDLINE_EVENT_STARTED) r->started_ns = event->time_ns;
    if (event->kind != REDLINE_EVENT_TOKEN || event->token.id < 0 || !generates || r->n == most) return;
    r->engine_ns[r->n] = event->time_ns;
    r->consumer_ns[r->n++] = now;
}

static void note_done(struct drive_request *r, struct redline_job *job, const struct redline_event *event)
{
    const struct redline_done *done = &event->done;
    const char *text = redline_job_text(job);
    r->done_ns = event->time_ns;
    r->prefilled_ns = r->started_ns + done->prefill_ns;
    r->stop = done->stop;
    r->n_prompt = done->n_prompt;
    r->n_cached = done->n_cached;
    r->n_generated = done->n_generated;
    r->n_decoded = done->n_decoded;
    r->decode_ns = done->decode_ns;
    r->n_words = r->n && text ? words_count(str_of(text)) : 0;
}

static void note_scores(struct drive_request *r, struct redline_job *job)
{
    const float *logprobs = redline_job_logprobs(job, &r->n_scored);
    for (size_t i = 0; i < r->n_scored; i++) r->nll -= (double)logprobs[i];
}

static struct redline_request make_request(const struct client *c, const struct part *part)
{
    static const enum redline_kind kinds[] = {REDLINE_GENERATE, REDLINE_EMBED, REDLINE_SCORE, REDLINE_GENERATE};
    const struct drive_params *p = c->crew->params;
    return (struct redline_request){.kind = kinds[p->w->kind],
                                    .session = c->session,
                                    .ids = p->parts->ids + part->at,
                                    .n_ids = part->n,
                                    .n_predict = p->unmeasured ? MIN(p->w->n_gen, UNMEASURED_TOKENS) : p->w->n_gen,
                                    .ignore_end = true,
                                    .score_from = chunks_first((int)part->n)};
}

static int follow(struct drive_request *r, struct redline_job *job, size_t most, enum task_kind kind,
                  struct redline_err *err)
{
    struct redline_event event;
    do {
        TRY(redline_next(job, &event, err));
        note_event(r, &event, most, kind == TASK_GENERATE);
    } while (event.kind != REDLINE_EVENT_DONE);
    r->ended_ns = clock_ns();
    note_done(r, job, &event);
    if (kind == TASK_SCORE) note_scores(r, job);
    return 0;
}

/* Figures of a request that was not what was asked for are figures of something else. */
static int check_whole(const struct drive_request *r, size_t i, const struct task_workload *w, struct redline_err *err)
{
    if (r->n_cached != (size_t)w->n_depth)
        return err_set(err, REDLINE_DEVICE, "%zu tokens of request %zu were in the cache instead of %d", r->n_cached, i,
                       w->n_depth);
    if (r->stop == REDLINE_STOP_CONTEXT && r->n_generated < (size_t)w->n_gen)
        return err_set(err, REDLINE_ARG, "the context was full after %zu of %d tokens of the answer to request %zu; a "
                       "larger n_ctx holds them", r->n_generated, w->n_gen, i);
    return 0;
}

static int run_request(struct client *c, size_t i, struct redline_err *err)
{
    const struct drive_params *p = c->crew->params;
    const struct part *part = &p->parts->all[i % p->parts->n];
    struct drive_request *r = &c->crew->out->requests[i];
    struct redline_request request = make_request(c, part);
    struct redline_job *job;
    r->part = part;
    r->submitted_ns = clock_ns();
    TRY(redline_submit(&job, p->engine, &request, err));
    int status = follow(r, job, (size_t)p->w->n_gen, p->w->kind, err);
    redline_job_free(&job);
    return status ? status : check_whole(r, i, p->w, err);
}

/* ---- clients --------------------------------------------------------------------------------------- */

/* The past goes into the cache before anything is timed. */
static int remember(struct client *c, struct redline_err *err)
{
    const struct drive_params *p = c->crew->params;
    struct redline_event event;
    struct redline_job *job;
    if (!p->w->n_depth) return 0;
    TRY(redline_session_new(&c->session, p->engine, err));
    struct redline_request request = {.session = c->session, .ids = p->parts->ids, .n_ids = (size_t)p->w->n_depth};
    TRY(redline_submit(&job, p->engine, &request, err));
    int status = redline_wait(job, &event, err);
    redline_job_free(&job);
    return status;
}

static void fail(struct crew *crew, int status, const struct redline_err *err)
{
    pthread_mutex_lock(&crew->lock);
    if (!crew->status) {
        crew->status = status;
        crew->err = *err;
    }
    pthread_mutex_unlock(&crew->lock);
    atomic_store(&crew->failed, true);
}

static void *work(void *arg)
{
    struct client *c = arg;
    struct crew *crew = c->crew;
    struct redline_err err = {0};
    int status = 0;
    if (crew->due) {
        sleep_until(crew->begin_ns + (uint64_t)(crew->due[c->index] * 1e9));
        if (!atomic_load(&crew->failed)) status = run_request(c, c->index, &err);
    } else {
        size_t i;
        while (!status && !atomic_load(&crew->failed) && (i = atomic_fetch_add(&crew->next, 1)) < crew->out->n)
            status = run_request(c, i, &err);
    }
    if (status) fail(crew, status, &err);
    return NULL;
}

static int start(struct client *clients, size_t n, size_t *n_started, struct redline_err *err)
{
    pthread_attr_t attributes;
    int reason = 0;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (*n_started = 0; *n_started < n && !reason; *n_started += !reason)
        reason = fault_hits(FAULT_THREAD) ? EAGAIN
                                          : pthread_create(&clients[*n_started].thread, &attributes, work,
                                                           &clients[*n_started]);
    pthread_attr_destroy(&attributes);
    return reason ? err_set(err, REDLINE_DEVICE, "client %zu of %zu cannot be started: %s", *n_started + 1, n,
                            strerror(reason))
                  : 0;
}

static int run_clients(struct crew *crew, struct client *clients, size_t n, struct redline_err *err)
{
    size_t n_started = 0;
    int status = 0;
    for (size_t i = 0; i < n && !status; i++) {
        clients[i] = (struct client){.crew = crew, .index = i};
        status = remember(&clients[i], err);
    }
    crew->begin_ns = clock_ns();
    if (!status) status = start(clients, n, &n_started, err);
    if (status) atomic_store(&crew->failed, true);
    for (size_t i = 0; i < n_started; i++) pthread_join(clients[i].thread, NULL);
    for (size_t i = 0; i < n; i++) redline_session_free(&clients[i].session);
    if (!status && crew->status && err) *err = crew->err;
    return status ? status : crew->status;
}

static int make_requests(struct drive *d, size_t n, size_t n_gen, struct redline_err *err)
{
    d->requests = mem_new(n, sizeof *d->requests);
    d->times = mem_new(n * n_gen, 2 * sizeof *d->times);
    if (!d->requests || !d->times)
        return err_memory(err, n * (n_gen * 16 + sizeof *d->requests), "the times of requests");
    d->n = n;
    for (size_t i = 0; i < n; i++) {
        d->requests[i].engine_ns = d->times + 2 * i * n_gen;
        d->requests[i].consumer_ns = d->times + (2 * i + 1) * n_gen;
    }
    return 0;
}

int drive_run(struct drive *out, const struct drive_params *params, struct redline_err *err)
{
    const struct task_workload *w = params->w;
    struct crew crew = {.params = params, .out = out};
    size_t n = params->unmeasured ? 1 : params->n_requests;
    bool open = w->arrival != TASK_CLOSED && !params->unmeasured;
    size_t n_clients = open ? n : MIN(n, (size_t)w->concurrency);
    struct client *clients = mem_new(n_clients, sizeof *clients);
    *out = (struct drive){0};
    pthread_mutex_init(&crew.lock, NULL);
    int status = clients ? make_requests(out, n, (size_t)w->n_gen, err)
                         : err_memory(err, n_clients * sizeof *clients, "clients");
    if (!status && open) {
        crew.due = mem_new(n, sizeof *crew.due);
        if (!crew.due) status = err_memory(err, n * sizeof *crew.due, "arrivals");
        if (crew.due) drive_arrivals(crew.due, n, w->arrival, w->rate, w->seed);
    }
    if (!status) status = run_clients(&crew, clients, n_clients, err);
    pthread_mutex_destroy(&crew.lock);
    mem_free(crew.due);
    mem_free(clients);
    return status;
}

void drive_free(struct drive *d)
{
    mem_free(d->requests);
    mem_free(d->times);
    *d = (struct drive){0};
}
