/* engine.c - carrying out a plan: backend, weights, cache; and what can be asked of the result. */
#include "engine.h"

#include <math.h>
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

/* ---- loading ------------------------------------------------------------------------------------- */

struct loading { /* progress of one load, over all that is read */
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

static void report_placed(void *user, size_t bytes)
{
    struct loading *l = user;
    report_progress(l, bytes, 0);
    l->before += bytes;
}

static bool has_gpu_blocks(const struct redline_engine *e)
{
    return e->plan.devices[0].n_blocks < e->plan.n_blocks;
}

static struct loading loading_of(const struct redline_engine *e, uint64_t start)
{
    const struct gguf *g = e->source->gguf;
    struct loading l = {.engine = e, .start_ns = start};
    for (uint32_t i = 0; i < g->n_files; i++) l.total += g->files[i].bytes;
    if (has_gpu_blocks(e)) l.total = e->plan.weight_bytes;
    return l;
}

/* The first `more` bytes are another piece's. */
static void read_piece(struct loading *l, const struct file_map *map, size_t more)
{
    l->before -= more;
    file_map_prefetch(map, report_progress, l);
    l->before += map->bytes;
}

/* Of a model that runs on GPUs too, what the CPU will read; the rest has been. */
static void read_tensors(const struct redline_engine *e, struct loading *l)
{
    enum { LARGEST_PAGE = 1 << 16 };
    const struct gguf *g = e->source->gguf;
    const int32_t *block_of = e->source->weights.block_of;
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        const struct gguf_file *file = &g->files[t->file];
        if (block_of[i] < 0 || e->device_of[block_of[i]] > 0) continue;
        size_t at = (size_t)((const char *)t->data - (const char *)file->data), more = at % LARGEST_PAGE;
        struct file_map map = {(const char *)t->data - more, (size_t)t->bytes + more, file->cache_known};
        read_piece(l, &map, more);
    }
}

/* Brings what the CPU reads into the page cache, so that the first token does not wait for the disk. */
static void read_ahead(const struct redline_engine *e, struct loading *l)
{
    const struct gguf *g = e->source->gguf;
    if (has_gpu_blocks(e)) {
        read_tensors(e, l);
        return;
    }
    for (uint32_t i = 0; i < g->n_files; i++) {
        struct file_map map = {g->files[i].data, (size_t)g->files[i].bytes, g->files[i].cache_known};
        read_piece(l, &map, 0);
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

static void warn_of_plan(const struct redline_engine *e)
{
    char text[sizeof e->plan.warning + 32];
    if (e->plan.n_ctx > e->plan.n_ctx_train) {
        snprintf(text, sizeof text, "the model was trained for %d tokens, beyond them it may fail; the context is %d",
                 e->plan.n_ctx_train, e->plan.n_ctx);
        engine_warn(e, text);
    }
    if (!*e->plan.warning) return;
    snprintf(text, sizeof text, "%s; %s", e->plan.warning, has_gpu_blocks(e) ? "others are used" : "the CPU is used");
    engine_warn(e, text);
}

/* ---- devices ------------------------------------------------------------------------------------ */

/* The plan's rows as the numbers of weights.h. */
static int find_blocks(struct redline_engine *e, const struct redline_engine_params *params, struct redline_err *err)
{
    int n_layers = e->plan.n_layers, n_numbers = weights_n_blocks(n_layers);
    e->blocks = mem_new((size_t)e->plan.n_blocks, sizeof *e->blocks);
    e->device_of = mem_new((size_t)n_numbers, 1);
    if (!e->blocks || !e->device_of)
        return err_memory(err, (size_t)e->plan.n_blocks * sizeof *e->blocks, "the places of blocks");
    TRY(redline_plan_blocks(e->source, params, &e->plan, e->blocks, err));
    for (int i = 0; i < e->plan.n_blocks; i++) {
        const struct redline_plan_block *b = &e->blocks[i];
        uint8_t device = (uint8_t)b->device;
        if (b->part == REDLINE_PART_HEAD) e->device_of[weights_head_block(n_layers)] = device;
        if (b->part == REDLINE_PART_ATTENTION || b->part == REDLINE_PART_LAYER)
            e->device_of[weights_block(b->layer, PART_ATTENTION)] = device;
        if (b->part == REDLINE_PART_FEED_FORWARD || b->part == REDLINE_PART_LAYER)
            e->device_of[weights_block(b->layer, PART_FEED_FORWARD)] = device;
    }
    return 0;
}

static int open_devices(struct redline_engine *e, const struct backend_params *cpu, struct redline_err *err)
{
    TRY(backend_cpu.open(&e->devices[0], cpu, err));
    for (int i = 1; i < e->plan.n_devices; i++) {
        const struct redline_plan_device *d = &e->plan.devices[i];
        struct backend_params params = {.device = i - 1, .weight_bytes = d->weight_bytes, .exact = cpu->exact};
        if (d->n_blocks > 0) TRY(backend_gpu->open(&e->devices[i], &params, err));
    }
    return 0;
}

/* What is left of the memory of each device that is in use. */
static int look_at_devices(struct redline_engine *e, struct redline_err *err)
{
    for (int i = 0; i < e->plan.n_devices; i++) {
        struct backend_facts facts;
        e->free_after[i] = e->plan.devices[i].free_bytes;
        if (i > 0 && !e->devices[i]) continue;
        TRY(i == 0 ? backend_cpu.facts(0, &facts, err) : backend_gpu->facts(i - 1, &facts, err));
        e->free_after[i] = facts.free_bytes;
    }
    return 0;
}

static int fill_engine(struct redline_engine *e, const struct redline_engine_params *params,
                       uint64_t start, struct redline_err *err)
{
    struct plan_params p;
    TRY(cpu_features_check(err));
    TRY(redline_plan(e->source, params, &e->plan, err));
    TRY(plan_refuse(&e->plan, err));
    TRY(find_blocks(e, params, err));
    TRY(plan_params(&p, e->source, params, err));
    cpu_facts(&e->cpu);
    cpu_features_text(cpu_features(), e->features, sizeof e->features);
    if (params->imatrix) p.backend.watch = collect_watch(params->imatrix);
    p.model.watched = params->imatrix != NULL;
    p.model.gpus = e->devices + 1;
    p.model.n_gpus = e->plan.n_devices - 1;
    p.model.device_of = e->device_of;
    struct loading l = loading_of(e, start);
    p.model.placed = report_placed;
    p.model.user = &l;
    TRY(open_devices(e, &p.backend, err));
    TRY(model_open(&e->model, e->source->gguf, e->devices[0], &p.model, err));
    TRY(make_lists(e, p.model.n_seqs, p.n_queue, err));
    read_ahead(e, &l);
    TRY(look_at_devices(e, err));
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
    warn_of_plan(e);
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
    for (size_t i = 0; i < COUNT_OF(e->devices); i++)
        if (e->devices[i]) e->devices[i]->ops->close(&e->devices[i]);
    pthread_cond_destroy(&e->called);
    pthread_cond_destroy(&e->work);
    pthread_mutex_destroy(&e->lock);
    mem_free(e->blocks);
    mem_free(e->device_of);
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

/* ---- what runs ----------------------------------------------------------------------------------- */

struct type_bytes { /* of the weights on one device */
    int device;
    enum dtype type;
    uint64_t bytes;
};

enum { MOST_TYPES = REDLINE_MOST_DEVICES * DTYPE_COUNT };

static int most_first(const void *a, const void *b)
{
    const struct type_bytes *x = a, *y = b;
    int order = (x->bytes < y->bytes) - (x->bytes > y->bytes);
    return order ? order : (x->device > y->device) - (x->device < y->device);
}

/* How much of the weights each type has on each device. */
static void count_types(const struct redline_engine *e, struct type_bytes types[MOST_TYPES])
{
    const struct redline_model *m = e->source;
    const struct weight *head = &m->weights.head.w;
    for (int i = 0; i < MOST_TYPES; i++)
        types[i] = (struct type_bytes){i / DTYPE_COUNT, (enum dtype)(i % DTYPE_COUNT), 0};
    for (uint64_t i = 0; i < m->gguf->n_tensors; i++)
        if (m->weights.block_of[i] >= 0)
            types[e->device_of[m->weights.block_of[i]] * DTYPE_COUNT + (int)m->gguf->tensors[i].dtype].bytes +=
                m->gguf->tensors[i].bytes;
    int device = e->device_of[weights_head_block(m->h.n_layers)];
    if (device > 0 && head->data == m->weights.embed.data) /* it serves as the head there too */
        types[device * DTYPE_COUNT + (int)head->dtype].bytes += head->mat_bytes;
    qsort(types, MOST_TYPES, sizeof *types, most_first);
}

bool redline_kernel_at(const struct redline_engine *e, size_t i, struct redline_kernel_facts *out)
{
    struct type_bytes types[MOST_TYPES];
    count_types(e, types);
    if (i >= MOST_TYPES || types[i].bytes == 0) return false;
    const struct backend *b = e->devices[types[i].device];
    struct backend_kernel own = b->ops->kernel(b, types[i].type, false);
    struct backend_kernel text = b->ops->kernel(b, types[i].type, true);
    *out = (struct redline_kernel_facts){.device = types[i].device,
                                         .type = dtype_name(types[i].type),
                                         .kernel = own.isa,
                                         .arithmetic = own.arithmetic,
                                         .text_kernel = text.isa,
                                         .text_arithmetic = text.arithmetic,
                                         .bytes = types[i].bytes};
    return true;
}

const struct redline_plan_block *redline_engine_blocks(const struct redline_engine *e)
{
    return e->blocks;
}

struct looking { /* at what is left of a GPU */
    int device;
    uint64_t free_bytes;
};

/* Kernels are loaded when they are first used, graphs made when a step comes again: all of it has been taken by now. */
static void look_again(struct redline_engine *e, void *user)
{
    struct looking *l = user;
    struct backend_facts facts;
    l->free_bytes = e->free_after[l->device];
    if (l->device > 0 && e->devices[l->device] && backend_gpu->facts(l->device - 1, &facts, NULL) == 0)
        l->free_bytes = facts.free_bytes;
}

void redline_engine_device(struct redline_engine *e, int device, struct redline_device_use *out)
{
    struct looking now = {device, 0};
    engine_call(e, look_again, &now);
    uint64_t before = e->plan.devices[device].free_bytes, after = now.free_bytes;
    *out = (struct redline_device_use){.free_before_bytes = before,
                                       .free_after_bytes = after,
                                       .used_bytes = before - MIN(before, after),
                                       .planned_bytes = e->plan.devices[device].sum_bytes};
}

struct counting {
    int device;
    struct redline_count *out;
};

static void copy_counts(struct redline_engine *e, void *user)
{
    const struct counting *c = user;
    const struct backend *b = e->devices[c->device];
    const struct backend_count *counts = b ? b->ops->counts(b) : NULL;
    for (int i = 0; i <= e->plan.n_layers; i++)
        c->out[i] = counts ? (struct redline_count){counts[i].n_ops, counts[i].weight_bytes, counts[i].copied_bytes}
                           : (struct redline_count){0};
}

void redline_engine_counts(struct redline_engine *e, int device, struct redline_count *out)
{
    engine_call(e, copy_counts, &(struct counting){device, out});
}

/* Weights that products read on a device, whatever they choose of experts. */
static double read_on(const struct redline_engine *e, int device)
{
    double bytes = 0;
    const struct redline_plan_block *blocks = redline_engine_blocks(e);
    for (int i = 0; i < e->plan.n_blocks; i++)
        if (blocks[i].device == device && blocks[i].part != REDLINE_PART_EMBEDDING)
            bytes += (double)blocks[i].weight_bytes;
    return bytes;
}

static bool reads_on_gpus(const struct redline_engine *e)
{
    for (int i = 1; i < e->plan.n_devices; i++)
        if (read_on(e, i) > 0) return true;
    return false;
}

void redline_engine_facts(const struct redline_engine *e, struct redline_engine_facts *out)
{
    struct redline_kernel_facts main = {0};
    redline_kernel_at(e, 0, &main);
    *out = (struct redline_engine_facts){
        .plan = e->plan,
        .n_threads_used = e->devices[0]->ops->n_used(e->devices[0]),
        .load_ns = e->load_ns,
        .peak_rss_bytes = cpu_peak_rss_bytes(),
        .kv_touched_bytes = kv_used_bytes(&e->model->kv, e->most_pages, e->most_seqs),
        .cpu = e->cpu.name,
        .features = e->features,
        .kernel = main.kernel,
        .kernel_type = main.type,
        .fits_in_cache = e->plan.token_bytes < cpu_caches_bytes(&e->cpu) && !reads_on_gpus(e),
    };
}

struct reading { /* of memory, by as many threads as the engine has, and by GPUs */
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

/* Where the weights that lie there are many, it reads those, and needs no memory that the plan has left to nobody. */
static double read_gpu(const struct redline_engine *e, struct reading *r, int device)
{
    struct backend_rates rates;
    r->status = backend_gpu->measure(device - 1, e->devices[device], &rates, &r->err);
    if (!r->status && rates.read_bytes <= 0)
        r->status = err_set(&r->err, REDLINE_MEMORY, "how fast %s reads cannot be measured: %s",
                            e->plan.devices[device].label, rates.missing);
    return r->status ? NAN : rates.read_bytes;
}

/* One device after the other, as a step takes them. */
static void read_devices(struct redline_engine *e, void *user)
{
    struct reading *r = user;
    double bytes = 0, seconds = 0;
    for (int i = 0; i < e->plan.n_devices && !r->status; i++) {
        double share = read_on(e, i);
        if (share <= 0) continue;
        if (i == 0) read_memory(e, r);
        bytes += share;
        seconds += share / (i == 0 ? r->best : read_gpu(e, r, i));
    }
    r->best = r->status ? NAN : bytes > 0 ? bytes / seconds : r->best;
}

int redline_measure_bandwidth(struct redline_engine *e, double *bytes_per_second,
                              struct redline_err *err)
{
    struct reading r = {.bytes = cpu_probe_bytes(&e->cpu)};
    engine_call(e, read_devices, &r);
    *bytes_per_second = r.best;
    if (r.status && err) *err = r.err;
    return r.status;
}
