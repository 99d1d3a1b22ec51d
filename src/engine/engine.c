/* engine.c - carrying out a plan: backend, weights, cache; and what can be asked of the result. */
#include "engine.h"

#include <stdio.h>
#include <string.h>

#include "base.h"
#include "clock.h"
#include "file.h"
#include "mem.h"

struct loading { /* progress of one load, over all of its files */
    const struct redline_engine_params *params;
    uint64_t start_ns, before, total;
};

static void report_progress(void *user, size_t done, size_t total)
{
    struct loading *l = user;
    (void)total;
    if (!l->params->listener) return;
    struct redline_event event = {.kind = REDLINE_EVENT_LOADING,
                                  .load = {l->before + done, l->total, clock_ns() - l->start_ns}};
    l->params->listener(l->params->user, &event);
}

/* Brings the file into the page cache, so that the first token does not wait for the disk. */
static void read_ahead(const struct gguf *g, const struct redline_engine_params *params, uint64_t start)
{
    struct loading l = {.params = params, .start_ns = start};
    for (uint32_t i = 0; i < g->n_files; i++) l.total += g->files[i].bytes;
    for (uint32_t i = 0; i < g->n_files; i++) {
        struct file_map map = {g->files[i].data, (size_t)g->files[i].bytes};
        file_map_prefetch(&map, report_progress, &l);
        l.before += g->files[i].bytes;
    }
}

static int fill_engine(struct redline_engine *e, const struct redline_engine_params *params,
                       uint64_t start, struct redline_err *err)
{
    struct plan_params p;
    TRY(cpu_features_check(err));
    TRY(redline_plan(e->source, params, &e->plan, err));
    TRY(plan_refuse(&e->plan, err));
    TRY(plan_params(&p, params, err));
    cpu_facts(&e->cpu);
    cpu_features_text(cpu_features(), e->features, sizeof e->features);
    TRY(backend_cpu.open(&e->backend, &p.backend, err));
    TRY(model_open(&e->model, e->source->gguf, e->backend, &p.model, err));
    read_ahead(e->source->gguf, params, start);
    return 0;
}

int redline_engine_open(struct redline_engine **out, const struct redline_model *model,
                        const struct redline_engine_params *params, struct redline_err *err)
{
    uint64_t start = clock_ns();
    struct redline_engine *e = mem_new(1, sizeof *e);
    *out = NULL;
    if (!e) return err_memory(err, sizeof *e, "an engine");
    e->source = model;
    int status = fill_engine(e, params, start, err);
    if (status) {
        redline_engine_close(&e);
        return status;
    }
    e->load_ns = clock_ns() - start;
    *out = e;
    if (params->listener) {
        struct redline_event event = {
            .kind = REDLINE_EVENT_LOADED,
            .load = {e->plan.weight_bytes, e->plan.weight_bytes, e->load_ns}};
        params->listener(params->user, &event);
    }
    return 0;
}

void redline_engine_close(struct redline_engine **engine)
{
    struct redline_engine *e = engine ? *engine : NULL;
    if (!e) return;
    model_close(&e->model);
    if (e->backend) e->backend->ops->close(&e->backend);
    mem_free(e);
    *engine = NULL;
}

/* The weight type with the most bytes: the one whose kernel decides the speed. */
static enum dtype main_type(const struct redline_model *m)
{
    uint64_t bytes[DTYPE_COUNT] = {0};
    enum dtype best = DTYPE_F32;
    for (uint64_t i = 0; i < m->gguf->n_tensors; i++)
        if (m->weights.used[i]) bytes[m->gguf->tensors[i].dtype] += m->gguf->tensors[i].bytes;
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (bytes[i] > bytes[best]) best = (enum dtype)i;
    return best;
}

void redline_engine_facts(const struct redline_engine *e, struct redline_engine_facts *out)
{
    enum dtype type = main_type(e->source);
    *out = (struct redline_engine_facts){
        .plan = e->plan,
        .load_ns = e->load_ns,
        .peak_rss_bytes = cpu_peak_rss_bytes(),
        .kv_touched_bytes = (uint64_t)e->most_pages * e->model->kv.page_bytes,
        .cpu = e->cpu.name,
        .features = e->features,
        .kernel = e->backend->ops->kernel(e->backend, type),
        .kernel_type = dtype_name(type),
        .last_level_cache_bytes = e->cpu.l3_bytes ? e->cpu.l3_bytes : e->cpu.l2_bytes,
    };
}

int redline_measure_bandwidth(struct redline_engine *e, double *bytes_per_second,
                              struct redline_err *err)
{
    enum { N_PASSES = 5 };
    size_t least = (size_t)128 << 20, bytes = MAX(least, (size_t)e->cpu.l3_bytes * 4);
    void *p;
    uint64_t best = UINT64_MAX;
    TRY(e->backend->ops->reserve(e->backend, &p, bytes, "the bandwidth measurement", err));
    memset(p, 1, bytes); /* untouched pages would all be the one zero page */
    for (int i = 0; i < N_PASSES; i++) best = MIN(best, e->backend->ops->read_ns(e->backend, p, bytes));
    e->backend->ops->release(e->backend, p, bytes);
    *bytes_per_second = (double)bytes * 1e9 / (double)best;
    return 0;
}
