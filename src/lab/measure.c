/* measure.c - a task carried out: model, engine, requests, and what the machine was like. */
#define _GNU_SOURCE
#include "measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "chunks.h"
#include "clock.h"
#include "digest.h"
#include "file.h"
#include "measuring.h"
#include "mem.h"

enum {
    SCORE_CTX = 512,    /* tokens of a chunk, where nothing is said */
    SCORE_LANES = 256,  /* chunks at a time, at most */
    SCORE_OUTPUTS = 256, /* rows of logits of one forward pass: enough tokens for fast products */
    LOAD_CTX = 512,
    PAGE = 64,          /* tokens; a sequence's share of the cache is made of whole ones */
    QUEUE = 256,
};

/* ---- when ------------------------------------------------------------------------------------------ */

/* Of the process, by the clock that goes on while the machine sleeps, in ticks of 10 ms; 0: not to be read. */
static uint64_t start_by_proc(void)
{
    struct buf text;
    struct timespec boot;
    unsigned long long ticks = 0;
    if (file_read(&text, "/proc/self/stat", NULL)) return 0;
    const char *p = strrchr(text.p, ')'); /* the name before may hold anything */
    for (int field = 2; p && field < 22; field++) p = strchr(p + 1, ' ');
    if (p) ticks = strtoull(p, NULL, 10);
    buf_free(&text);
    if (!ticks || clock_gettime(CLOCK_BOOTTIME, &boot)) return 0;
    uint64_t now = (uint64_t)boot.tv_sec * 1000000000u + (uint64_t)boot.tv_nsec;
    uint64_t start = ticks * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK)), age = now > start ? now - start : 0;
    uint64_t here = clock_ns();
    return here > age ? here - age : 0;
}

static int find_origin(struct measuring *m, struct redline_err *err)
{
    uint64_t now = clock_ns(), started = m->task.started_ns;
    if (started > now)
        return err_set(err, REDLINE_ARG, "task.started_ns lies %.3f s in the future", (double)(started - now) / 1e9);
    if (!started) started = start_by_proc();
    m->origin_known = started != 0;
    m->origin_ns = started ? started : now;
    return 0;
}

/* ---- the engine ------------------------------------------------------------------------------------ */

static void on_event(void *user, const struct redline_event *event)
{
    struct measuring *m = user;
    if (event->kind != REDLINE_EVENT_WARNING) return;
    pthread_mutex_lock(&m->lock);
    if (m->n_warnings < MEASURING_WARNINGS)
        snprintf(m->warnings[m->n_warnings++], sizeof m->warnings[0], "%s", event->sentence);
    pthread_mutex_unlock(&m->lock);
}

static int context_of(const struct measuring *m)
{
    const struct task_workload *w = &m->task.workload;
    if (m->task.settings.n_ctx) return m->task.settings.n_ctx;
    if (w->kind == TASK_SCORE) return SCORE_CTX;
    if (w->kind == TASK_LOAD) return MAX(w->n_prompt, LOAD_CTX);
    return (int)m->parts.longest + w->n_gen;
}

/* As `redline score` and `redline embed` set out. */
static void fit_kind(struct measuring *m, struct redline_engine_params *p)
{
    struct task_workload *w = &m->task.workload;
    int longest = (int)m->parts.longest, n_requests = (int)m->n_requests;
    if (w->kind == TASK_SCORE) {
        int n_lanes = MIN(MAX(m->task.settings.n_batch / p->n_ctx, 1), SCORE_LANES);
        if (!m->task.settings.n_seqs) p->n_seqs = MIN(n_lanes, n_requests);
        w->concurrency = p->n_seqs;
        p->n_ubatch = MAX(p->n_ubatch, p->n_seqs);
        p->n_outputs = MAX(MIN(p->n_ubatch, SCORE_OUTPUTS), p->n_seqs);
    }
    if (w->kind == TASK_EMBED) {
        if (m->file.encoder) p->n_ubatch = MAX(p->n_ubatch, longest);
        p->n_seqs = MIN(p->n_seqs, p->n_ubatch);
        p->n_cache = MAX(p->n_ubatch, p->n_ctx) + p->n_seqs * PAGE;
    }
}

static void set_out(struct measuring *m)
{
    const struct task_settings *s = &m->task.settings;
    const struct task_workload *w = &m->task.workload;
    int n_requests = (int)MAX(m->n_requests, 1);
    m->params = (struct redline_engine_params){.n_threads = s->n_threads,
                                               .n_ctx = context_of(m),
                                               .n_seqs = s->n_seqs ? s->n_seqs : MIN(w->concurrency, n_requests),
                                               .n_ubatch = MIN(s->n_batch, s->n_ubatch),
                                               .n_queue = MAX(QUEUE, n_requests),
                                               .type_k = s->type_k,
                                               .type_v = s->type_v,
                                               .exact = s->exact,
                                               .n_gpu_layers = s->n_gpu_layers,
                                               .device_memory = s->device_memory,
                                               .n_cpu_moe = s->n_cpu_moe,
                                               .placement = s->placement,
                                               .listener = on_event,
                                               .user = m};
    fit_kind(m, &m->params);
}

static int open_model(struct measuring *m, struct redline_err *err)
{
    static const enum redline_kind kinds[] = {REDLINE_GENERATE, REDLINE_EMBED, REDLINE_SCORE, REDLINE_EMBED};
    const struct task_workload *w = &m->task.workload;
    m->model_open_ns = clock_ns();
    TRY(redline_model_open(&m->model, m->task.model, err));
    TRY(redline_model_can(m->model, kinds[w->kind], err));
    redline_file_facts(m->model, &m->file);
    if (w->kind == TASK_LOAD) return 0;
    TRY(parts_make(&m->parts, m->model, w, m->task.settings.n_ctx ? m->task.settings.n_ctx : SCORE_CTX, err));
    m->n_requests = w->n_requests && w->kind != TASK_SCORE ? (size_t)w->n_requests : m->parts.n;
    return 0;
}

static int open_engine(struct measuring *m, struct redline_err *err)
{
    m->engine_open_ns = clock_ns();
    TRY(redline_engine_open(&m->engine, m->model, &m->params, err));
    m->loaded_ns = clock_ns();
    return 0;
}

/* ---- measuring ------------------------------------------------------------------------------------- */

static struct drive_params driving(const struct measuring *m, bool unmeasured)
{
    return (struct drive_params){m->engine, &m->task.workload, &m->parts, m->n_requests, unmeasured};
}

static int warm_up(struct measuring *m, struct redline_err *err)
{
    struct drive unmeasured;
    struct drive_params params = driving(m, true);
    if (m->task.load != TASK_WARM) return 0;
    redline_engine_settle(m->engine);
    if (m->task.workload.kind == TASK_LOAD) {
        redline_engine_close(&m->engine);
        return open_engine(m, err);
    }
    int status = drive_run(&unmeasured, &params, err);
    drive_free(&unmeasured);
    return status;
}

/* Of one client's generation, beside which it is held; weights that fit in the cache are not read from memory. */
static bool wants_bandwidth(const struct measuring *m, const struct redline_engine_facts *f)
{
    const struct task_workload *w = &m->task.workload;
    if (f->fits_in_cache) return false;
    return w->kind == TASK_GENERATE && w->n_gen > 1 && w->concurrency == 1 && w->arrival == TASK_CLOSED;
}

/* Where there is too little memory for that, the record says so. */
static int read_memory(struct measuring *m, struct redline_err *err)
{
    struct redline_err failed;
    int status = redline_measure_bandwidth(m->engine, &m->bandwidth, &failed);
    if (!status) return 0;
    if (status != REDLINE_MEMORY) {
        *err = failed;
        return status;
    }
    m->bandwidth = NAN;
    snprintf(m->bandwidth_missing, sizeof m->bandwidth_missing, "%.*s", (int)sizeof m->bandwidth_missing - 1,
             failed.message);
    return 0;
}

static int requests(struct measuring *m, struct redline_err *err)
{
    struct drive_params params = driving(m, false);
    struct redline_engine_facts facts;
    parts_draw(&m->parts, &m->task.workload, redline_n_vocab(m->engine));
    TRY(warm_up(m, err));
    if (m->task.workload.kind != TASK_LOAD) TRY(drive_run(&m->drive, &params, err));
    redline_engine_facts(m->engine, &facts);
    m->peak_rss_bytes = facts.peak_rss_bytes; /* what follows takes memory of its own */
    return wants_bandwidth(m, &facts) ? read_memory(m, err) : 0;
}

static int take_digest(struct measuring *m, struct redline_err *err)
{
    int status = 0;
    char **paths = mem_new(m->file.n_files, sizeof *paths);
    if (!paths) return err_memory(err, m->file.n_files * sizeof *paths, "paths");
    for (uint32_t i = 0; i < m->file.n_files && !status; i++) status = redline_file_path(m->model, i, &paths[i], err);
    if (!status)
        status = digest_files(m->digest, (const char *const *)(uintptr_t)paths, m->file.n_files, m->task.digest_cache,
                              err);
    for (uint32_t i = 0; i < m->file.n_files; i++) redline_free(paths[i]);
    mem_free(paths);
    return status;
}

/* The digest last: reading a large file would push others out of the page cache. */
static int measure(json_t **record, struct measuring *m, struct redline_err *err)
{
    TRY(find_origin(m, err));
    record_name(m->started, m->id);
    facts_read(&m->facts, &(struct facts_source){0});
    TRY(open_model(m, err));
    set_out(m);
    TRY(open_engine(m, err));
    TRY(requests(m, err));
    TRY(take_digest(m, err));
    return measuring_record(record, m, err);
}

int measure_run(json_t **record, const json_t *task, struct redline_err *err)
{
    struct measuring *m = mem_new(1, sizeof *m);
    *record = NULL;
    if (!m) return err_memory(err, sizeof *m, "a measurement");
    m->bandwidth = NAN;
    pthread_mutex_init(&m->lock, NULL);
    int status = task_read(&m->task, task, err);
    if (!status) status = measure(record, m, err);
    drive_free(&m->drive);
    redline_engine_close(&m->engine);
    parts_free(&m->parts);
    redline_model_close(&m->model);
    pthread_mutex_destroy(&m->lock);
    mem_free(m);
    return status;
}
