/* engine.c - carrying out a plan: backend, weights, cache; and what can be asked of the result. */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "clock.h"
#include "collect.h"
#include "cpu/cpu_probe.h"
#include "file.h"
#include "job.h"
#include "mem.h"

struct loading { /* progress of one load, over all of its files */
    const struct redline_engine *engine;
    uint64_t start_ns, before, total;
};

static void report_progress(void *user, size_t done, size_t total)
{
    struct loading *l = user;
    uint64_t now = clock_ns();
    (void)total;
    struct redline_event event = {.kind = REDLINE_EVENT_LOADING,
                                  .time_ns = now,
                                  .load = {l->before + done, l->total, now - l->start_ns}};
    engine_emit(l->engine, &event);
}

/* Brings the file into the page cache, so that the first token does not wait for the disk. */
static void read_ahead(const struct redline_engine *e, uint64_t start)
{
    const struct gguf *g = e->source->gguf;
    struct loading l = {.engine = e, .start_ns = start};
    for (uint32_t i = 0; i < g->n_files; i++) l.total += g->files[i].bytes;
    for (uint32_t i = 0; i < g->n_files; i++) {
        struct file_map map = {g->files[i].data, (size_t)g->files[i].bytes, g->files[i].cache_known};
        file_map_prefetch(&map, report_progress, &l);
        l.before += g->files[i].bytes;
    }
}

/* What the engine's thread works with, for n_seqs that run and n_queue that wait. */
static int make_lists(struct redline_engine *e, int n_seqs, int n_queue, struct redline_err *err)
{
    size_t n_jobs = (size_t)n_seqs + (size_t)n_queue, n_vocab = (size_t)e->model->h.n_vocab;
    e->n_queue = n_queue;
    e->jobs = mem_new(n_jobs, sizeof(struct redline_job *));
    e->sched_jobs = mem_new(n_jobs, sizeof *e->sched_jobs);
    e->sched.n_feed = mem_new(n_jobs, sizeof *e->sched.n_feed);
    e->sched.evict = mem_new((size_t)n_seqs, sizeof *e->sched.evict);
    e->sched_rests = mem_new((size_t)n_seqs, sizeof *e->sched_rests);
    e->rests = mem_new((size_t)n_seqs, sizeof(struct redline_session *));
    e->seq_used = mem_new((size_t)n_seqs, sizeof *e->seq_used);
    e->candidates = mem_new(n_vocab, sizeof *e->candidates);
    if (e->jobs && e->sched_jobs && e->sched.n_feed && e->sched.evict && e->sched_rests && e->rests &&
        e->seq_used && e->candidates)
        return 0;
    return err_memory(err, n_vocab * sizeof *e->candidates, "the engine's lists");
}

static void warn_of_context(const struct redline_engine *e)
{
    char text[160];
    struct redline_event event = {.kind = REDLINE_EVENT_WARNING, .time_ns = clock_ns(), .sentence = text};
    if (e->plan.n_ctx <= e->plan.n_ctx_train) return;
    snprintf(text, sizeof text, "the model was trained for %d tokens, beyond them it may fail; the context is %d",
             e->plan.n_ctx_train, e->plan.n_ctx);
    engine_emit(e, &event);
}

static int fill_engine(struct redline_engine *e, const struct redline_engine_params *params,
                       uint64_t start, struct redline_err *err)
{
    struct plan_params p;
    TRY(cpu_features_check(err));
    TRY(redline_plan(e->source, params, &e->plan, err));
    TRY(plan_refuse(&e->plan, err));
    TRY(plan_params(&p, e->source, params, err));
    cpu_facts(&e->cpu);
    cpu_features_text(cpu_features(), e->features, sizeof e->features);
    if (params->imatrix) p.backend.watch = collect_watch(params->imatrix);
    p.model.watched = params->imatrix != NULL;
    TRY(backend_cpu.open(&e->backend, &p.backend, err));
    TRY(model_open(&e->model, e->source->gguf, e->backend, &p.model, err));
    TRY(make_lists(e, p.model.n_seqs, p.n_queue, err));
    read_ahead(e, start);
    e->load_ns = clock_ns() - start;
    return engine_start(e, err);
}

int redline_engine_open(struct redline_engine **out, const struct redline_model *model,
                        const struct redline_engine_params *params, struct redline_err *err)
{
    uint64_t start = clock_ns();
    struct redline_engine *e = mem_new(1, sizeof *e);
    *out = NULL;
    if (!e) return err_memory(err, sizeof *e, "an engine");
    e->source = model;
    e->listener = params->listener;
    e->user = params->user;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    pthread_cond_init(&e->called, NULL);
    int status = fill_engine(e, params, start, err);
    if (status) {
        redline_engine_close(&e);
        return status;
    }
    warn_of_context(e);
    struct redline_event event = {.kind = REDLINE_EVENT_LOADED,
                                  .time_ns = clock_ns(),
                                  .load = {e->plan.weight_bytes, e->plan.weight_bytes, e->load_ns}};
    engine_emit(e, &event);
    *out = e;
    return 0;
}

void redline_engine_close(struct redline_engine **engine)
{
    struct redline_engine *e = engine ? *engine : NULL;
    if (!e) return;
    engine_stop(e);
    model_close(&e->model);
    if (e->backend) e->backend->ops->close(&e->backend);
    pthread_cond_destroy(&e->called);
    pthread_cond_destroy(&e->work);
    pthread_mutex_destroy(&e->lock);
    mem_free(e->jobs);
    mem_free(e->sched_jobs);
    mem_free(e->sched.n_feed);
    mem_free(e->sched.evict);
    mem_free(e->sched_rests);
    mem_free(e->rests);
    mem_free(e->seq_used);
    mem_free(e->candidates);
    mem_free(e);
    *engine = NULL;
}

size_t redline_n_vocab(const struct redline_engine *e)
{
    return (size_t)e->model->h.n_vocab;
}

struct type_bytes {
    enum dtype type;
    uint64_t bytes;
};

static int most_first(const void *a, const void *b)
{
    uint64_t x = ((const struct type_bytes *)a)->bytes, y = ((const struct type_bytes *)b)->bytes;
    return (x < y) - (x > y);
}

/* How much of the weights each type has. */
static void count_types(const struct redline_model *m, struct type_bytes types[DTYPE_COUNT])
{
    for (int i = 0; i < DTYPE_COUNT; i++) types[i] = (struct type_bytes){(enum dtype)i, 0};
    for (uint64_t i = 0; i < m->gguf->n_tensors; i++)
        if (m->weights.used[i]) types[m->gguf->tensors[i].dtype].bytes += m->gguf->tensors[i].bytes;
    qsort(types, DTYPE_COUNT, sizeof *types, most_first);
}

bool redline_kernel_at(const struct redline_engine *e, size_t i, struct redline_kernel_facts *out)
{
    struct type_bytes types[DTYPE_COUNT];
    count_types(e->source, types);
    if (i >= DTYPE_COUNT || types[i].bytes == 0) return false;
    struct backend_kernel own = e->backend->ops->kernel(e->backend, types[i].type, false);
    struct backend_kernel text = e->backend->ops->kernel(e->backend, types[i].type, true);
    *out = (struct redline_kernel_facts){.type = dtype_name(types[i].type),
                                         .kernel = own.isa,
                                         .arithmetic = own.arithmetic,
                                         .text_kernel = text.isa,
                                         .text_arithmetic = text.arithmetic,
                                         .bytes = types[i].bytes};
    return true;
}

void redline_engine_facts(const struct redline_engine *e, struct redline_engine_facts *out)
{
    struct redline_kernel_facts main = {0};
    redline_kernel_at(e, 0, &main);
    *out = (struct redline_engine_facts){
        .plan = e->plan,
        .n_threads_used = e->backend->ops->n_used(e->backend),
        .load_ns = e->load_ns,
        .peak_rss_bytes = cpu_peak_rss_bytes(),
        .kv_touched_bytes = kv_used_bytes(&e->model->kv, e->most_pages, e->most_seqs),
        .cpu = e->cpu.name,
        .features = e->features,
        .kernel = main.kernel,
        .kernel_type = main.type,
        .last_level_cache_bytes = e->cpu.l3_bytes ? e->cpu.l3_bytes : e->cpu.l2_bytes,
    };
}

struct reading { /* of memory, by as many threads as the engine has */
    uint64_t bytes;
    double best; /* bytes per second */
    int status;
    struct redline_err err;
};

static void read_memory(struct redline_engine *e, void *user)
{
    static const uint64_t for_ns = 60000000;
    struct reading *r = user;
    struct cpu_probe *probe;
    r->status = cpu_probe_new(&probe, r->bytes, e->plan.n_threads, &r->err);
    if (r->status) return;
    for (uint64_t start = clock_ns(); clock_ns() - start < for_ns;) {
        r->best = MAX(r->best, cpu_probe_read(probe, CPU_PROBE_PLAIN));
        r->best = MAX(r->best, cpu_probe_read(probe, CPU_PROBE_PREFETCH));
    }
    cpu_probe_free(&probe);
}

int redline_measure_bandwidth(struct redline_engine *e, double *bytes_per_second,
                              struct redline_err *err)
{
    struct reading r = {.bytes = ROUND_UP(MAX((uint64_t)128 << 20, e->cpu.l3_bytes * 4), (uint64_t)4096)};
    engine_call(e, read_memory, &r);
    *bytes_per_second = r.best;
    if (r.status && err) *err = r.err;
    return r.status;
}
