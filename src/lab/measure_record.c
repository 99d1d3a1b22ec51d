/* measure_record.c - a measurement written down. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "chunks.h"
#include "derive.h"
#include "measuring.h"
#include "mem.h"
#include "record.h"

static json_t *whole(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *text(const char *s)
{
    json_t *v = json_string(s);
    return v ? v : json_string("not UTF-8");
}

/* A text, or null for this reason. */
static int set_text(json_t *record, const char *path, const char *s, const char *reason, struct redline_err *err)
{
    return s && *s ? record_set(record, path, text(s), err) : record_miss(record, path, reason, err);
}

/* ---- who and what ---------------------------------------------------------------------------------- */

static int set_experiment(json_t *record, const struct measuring *m, struct redline_err *err)
{
    json_t *experiment = json_object_get(m->task.json, "experiment");
    if (json_is_object(experiment)) return record_set(record, "experiment", json_deep_copy(experiment), err);
    return record_miss(record, "experiment", "it was measured by itself", err);
}

static int set_program(json_t *record, const struct measuring *m, struct redline_err *err)
{
    json_t *program = json_object_get(m->task.json, "program");
    TRY(record_set(record, "program", json_is_object(program) ? json_deep_copy(program) : json_object(), err));
    if (!record_at(record, "program.name")) TRY(record_set(record, "program.name", text("redline"), err));
    if (!record_at(record, "program.contestant")) TRY(record_set(record, "program.contestant", text("redline"), err));
    if (!record_at(record, "program.build"))
        TRY(set_text(record, "program.build", m->facts.machine.build, "it is not known", err));
    if (record_text(record, "program.command")) return 0;
    return record_miss(record, "program.command", "it is this program", err);
}

static int set_model(json_t *record, const struct measuring *m, const struct redline_engine_facts *f,
                     struct redline_err *err)
{
    char *path = NULL;
    TRY(redline_file_path(m->model, 0, &path, err));
    const char *slash = strrchr(path, '/');
    int status = record_set(record, "model.file", text(slash ? slash + 1 : path), err);
    if (!status && m->task.model) status = record_set(record, "model.path", text(m->task.model), err);
    redline_free(path);
    if (status) return status;
    TRY(record_set(record, "model.digest", text(m->digest), err));
    TRY(record_set(record, "model.bytes", whole(m->file.file_bytes), err));
    TRY(record_set(record, "model.architecture", text(m->file.architecture), err));
    TRY(record_set(record, "model.label", text(m->file.name), err));
    TRY(record_set(record, "model.type", text(f->kernel_type), err));
    TRY(record_set(record, "model.n_parameters", whole(m->file.n_parameters), err));
    TRY(record_set(record, "model.n_layers", json_integer(f->plan.n_layers), err));
    TRY(record_set(record, "model.n_vocab", whole(redline_n_vocab(m->engine)), err));
    TRY(record_set(record, "model.weight_bytes", whole(f->plan.weight_bytes), err));
    TRY(record_set(record, "model.token_bytes", whole(f->plan.token_bytes), err));
    TRY(record_set(record, "model.token_ops", whole(f->plan.token_ops), err));
    return record_set(record, "model.head_ops", whole(f->plan.head_ops), err);
}

/* ---- settings -------------------------------------------------------------------------------------- */

/* A type as settings name it: "f16". */
static json_t *lower(const char *type)
{
    char name[32];
    size_t i = 0;
    for (; type[i] && i < sizeof name - 1; i++) name[i] = (char)tolower((unsigned char)type[i]);
    name[i] = '\0';
    return json_string(name);
}

static json_t *kernels(const struct measuring *m, const struct redline_plan *plan)
{
    json_t *all = json_array();
    struct redline_kernel_facts k;
    for (size_t i = 0; redline_kernel_at(m->engine, i, &k); i++) {
        json_t *row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "type", k.type, "kernel", k.kernel, "arithmetic",
                                k.arithmetic, "text_kernel", k.text_kernel, "text_arithmetic", k.text_arithmetic,
                                "bytes", (json_int_t)k.bytes);
        if (k.device > 0) json_object_set_new(row, "device", json_string(plan->devices[k.device].label));
        json_array_append_new(all, row);
    }
    return all;
}

/* Of a layer's blocks, in their order: "cpu", "gpu0", or where they are on two devices "gpu0+cpu". */
static int set_placement(json_t *record, const struct measuring *m, const struct redline_plan *plan,
                         struct redline_err *err)
{
    const struct redline_plan_block *b = redline_engine_blocks(m->engine), *end = b + plan->n_blocks;
    json_t *all = json_array();
    TRY(record_set(record, "settings.effective.placement", all, err));
    while (b < end) {
        char device[32];
        int layer = b->layer, first = b->device;
        uint64_t weight_bytes = 0, kv_bytes = 0;
        snprintf(device, sizeof device, "%s", plan->devices[first].label);
        for (; b < end && b->layer == layer; b++) {
            if (b->device != first)
                snprintf(device, sizeof device, "%s+%s", plan->devices[first].label, plan->devices[b->device].label);
            weight_bytes += b->weight_bytes;
            kv_bytes += b->kv_bytes;
        }
        if (layer >= 0)
            json_array_append_new(all, json_pack("{s:i, s:s, s:I, s:I}", "layer", layer, "device", device,
                                                 "weight_bytes", (json_int_t)weight_bytes, "kv_bytes",
                                                 (json_int_t)kv_bytes));
    }
    return 0;
}

/* Plan and fact of each device that was used. */
static int set_devices(json_t *record, const struct measuring *m, const struct redline_plan *plan,
                       struct redline_err *err)
{
    json_t *all = json_array();
    TRY(record_set(record, "devices", all, err));
    for (int i = 0; i < plan->n_devices; i++) {
        const struct redline_plan_device *d = &plan->devices[i];
        struct redline_device_use use;
        if (d->n_blocks == 0) continue;
        redline_engine_device(m->engine, i, &use);
        json_array_append_new(
            all, json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:I}", "device", d->label, "name", d->name,
                           "backend", d->kind, "arch", d->arch, "n_blocks", d->n_blocks, "cap_bytes",
                           (json_int_t)d->cap_bytes, "planned_bytes", (json_int_t)use.planned_bytes,
                           "free_before_bytes", (json_int_t)use.free_before_bytes, "taken_bytes",
                           (json_int_t)use.used_bytes));
    }
    return 0;
}

static void append_counts(json_t *all, const char *label, const struct redline_count *counts, int n_layers)
{
    for (int i = 0; i <= n_layers; i++) {
        const struct redline_count *c = &counts[i];
        if (c->n_ops == 0 && c->copied_bytes == 0) continue;
        json_array_append_new(all, json_pack("{s:i, s:s, s:I, s:I, s:I}", "layer", i < n_layers ? i : -1,
                                             "device", label, "n_ops", (json_int_t)c->n_ops,
                                             "weight_bytes", (json_int_t)c->weight_bytes,
                                             "copied_bytes", (json_int_t)c->copied_bytes));
    }
}

/* What proves the placement: each device has counted what it did. */
static int set_counts(json_t *record, const struct measuring *m, const struct redline_plan *plan,
                      struct redline_err *err)
{
    json_t *all = json_array();
    TRY(record_set(record, "counts", all, err));
    struct redline_count *counts = mem_new((size_t)plan->n_layers + 1, sizeof *counts);
    if (!counts) return err_memory(err, ((size_t)plan->n_layers + 1) * sizeof *counts, "counts of layers");
    for (int i = 0; i < plan->n_devices; i++) {
        if (plan->devices[i].n_blocks == 0) continue;
        redline_engine_counts(m->engine, i, counts);
        append_counts(all, plan->devices[i].label, counts, plan->n_layers);
    }
    mem_free(counts);
    return 0;
}

static int set_settings(json_t *record, const struct measuring *m, const struct redline_engine_facts *f,
                        struct redline_err *err)
{
    const struct redline_plan *p = &f->plan;
    json_t *requested = json_object_get(m->task.json, "requested");
    json_t *asked = json_is_object(requested) ? requested : json_object_get(m->task.json, "settings");
    bool tiled = true; /* no backend has attention that stores its scores */
    json_t *effective = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:o, s:o, s:b, s:b, s:i, s:s, s:s}", "device", p->device, "n_threads",
        p->n_threads, "n_threads_used", f->n_threads_used, "n_ctx", p->n_ctx, "n_batch", m->task.settings.n_batch,
        "n_ubatch", p->n_ubatch, "n_seqs", p->n_seqs, "type_k", lower(p->type_k), "type_v", lower(p->type_v),
        "flash_attn", (int)tiled, "exact", (int)m->task.settings.exact, "n_gpu_layers", p->n_gpu_layers, "cpu_mask",
        m->task.settings.cpu_mask, "features", f->features);
    TRY(record_set(record, "settings.requested", json_is_object(asked) ? json_deep_copy(asked) : json_object(), err));
    TRY(record_set(record, "settings.effective", effective, err));
    TRY(record_set(record, "settings.effective.kernels", kernels(m, p), err));
    return set_placement(record, m, p, err);
}

static int set_workload(json_t *record, const struct measuring *m, struct redline_err *err)
{
    const struct task_workload *w = &m->task.workload;
    json_t *workload = json_pack("{s:n, s:s, s:i, s:i, s:i, s:n, s:s, s:I, s:i, s:s, s:n, s:I}", "name", "kind",
                                 task_kind_name(w->kind), "n_prompt", w->n_prompt, "n_gen", w->n_gen, "n_depth",
                                 w->n_depth, "document", "split", task_split_name(w->split), "n_requests",
                                 (json_int_t)m->n_requests, "concurrency", w->concurrency, "arrival",
                                 task_arrival_name(w->arrival), "rate", "seed", (json_int_t)w->seed);
    const char *slash = w->document ? strrchr(w->document, '/') : NULL;
    TRY(record_set(record, "workload", workload, err));
    TRY(set_text(record, "workload.name", w->name, "it has no name", err));
    TRY(set_text(record, "workload.document", slash ? slash + 1 : w->document,
                 w->kind == TASK_LOAD ? "nothing was asked" : "random tokens", err));
    if (w->document && !w->n_prompt && w->kind != TASK_SCORE)
        TRY(record_miss(record, "workload.n_prompt", "as long as the document's parts are", err));
    if (w->rate > 0) return record_set(record, "workload.rate", json_real(w->rate), err);
    return record_miss(record, "workload.rate", "requests follow one another", err);
}

/* ---- times ----------------------------------------------------------------------------------------- */

/* From the process's start; 0 where it did not happen. */
static json_t *when(const struct measuring *m, uint64_t ns)
{
    return whole(ns > m->origin_ns ? ns - m->origin_ns : 0);
}

static int set_times(json_t *record, const struct measuring *m, struct redline_err *err)
{
    TRY(record_set(record, "times.process_start_ns", whole(0), err));
    if (!m->origin_known)
        TRY(record_miss(record, "times.process_start_ns", "/proc/self/stat cannot be read; times count from the task's "
                        "arrival", err));
    if (m->origin_known)
        TRY(record_set(record, "times.process_start_within_ns", whole(m->task.started_ns ? 0 : 10000000), err));
    TRY(record_set(record, "times.model_open_ns", when(m, m->model_open_ns), err));
    TRY(record_set(record, "times.engine_open_ns", when(m, m->engine_open_ns), err));
    return record_set(record, "times.loaded_ns", when(m, m->loaded_ns), err);
}

static json_t *token_times(const struct measuring *m, const uint64_t *ns, size_t n)
{
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(all, when(m, ns[i]));
    return all;
}

static json_t *one_request(const struct measuring *m, const struct drive_request *r)
{
    static const char *const stops[] = {"length", "end", "context", "cancel"};
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:o}", "submitted_ns",
                     when(m, r->submitted_ns), "started_ns", when(m, r->started_ns), "prefilled_ns",
                     when(m, r->prefilled_ns), "done_ns", when(m, r->done_ns), "ended_ns", when(m, r->ended_ns),
                     "n_prompt", (json_int_t)r->n_prompt, "n_cached", (json_int_t)r->n_cached, "n_generated",
                     (json_int_t)r->n_generated, "n_words", (json_int_t)r->n_words, "n_input_words",
                     (json_int_t)r->part->n_words, "stop", stops[r->stop], "engine_ns",
                     token_times(m, r->engine_ns, r->n), "consumer_ns", token_times(m, r->consumer_ns, r->n));
}

static int set_requests(json_t *record, const struct measuring *m, struct redline_err *err)
{
    json_t *all = json_array();
    TRY(record_set(record, "requests", all, err));
    for (size_t i = 0; i < m->drive.n; i++)
        if (json_array_append_new(all, one_request(m, &m->drive.requests[i])))
            return err_memory(err, m->drive.n * 256, "the times of requests");
    return 0;
}

/* ---- figures --------------------------------------------------------------------------------------- */

/* Bytes that decoding one request read. */
static double decode_bytes(const struct redline_plan *p, const struct drive_request *r)
{
    double depth = (double)r->n_prompt + (double)r->n_generated / 2;
    double seen = p->n_window && depth > p->n_window ? p->n_window : depth;
    return (double)r->n_decoded * ((double)p->token_bytes + depth * (double)p->kv_token_bytes +
                                   seen * (double)p->kv_window_token_bytes);
}

static int set_share(json_t *record, const struct measuring *m, const struct redline_engine_facts *f,
                     struct redline_err *err)
{
    double bytes = 0, ns = 0;
    const char *reason = "one token has no time after it";
    for (size_t i = 0; i < m->drive.n; i++) {
        bytes += decode_bytes(&f->plan, &m->drive.requests[i]);
        ns += (double)m->drive.requests[i].decode_ns;
    }
    if (isnan(m->bandwidth) && m->n_requests > 1) reason = "requests that run together share what they read";
    if (f->fits_in_cache) reason = "the weights fit in the cache, and are not read from memory";
    if (*m->bandwidth_missing) reason = m->bandwidth_missing;
    TRY(record_derive(record, "bandwidth_bytes_s", m->bandwidth, reason, err));
    return record_derive(record, "share_of_bandwidth", ns > 0 ? bytes / (ns / 1e9) / m->bandwidth : NAN, reason, err);
}

static int set_perplexity(json_t *record, const struct measuring *m, struct redline_err *err)
{
    double nll = 0;
    size_t n = 0;
    for (size_t i = 0; i < m->drive.n; i++) {
        nll += m->drive.requests[i].nll;
        n += m->drive.requests[i].n_scored;
    }
    if (!isfinite(nll)) return err_set(err, REDLINE_FORMAT, "the logits are not all numbers");
    return record_derive(record, "ppl", chunks_perplexity(nll, n), "nothing was scored", err);
}

static int set_figures(json_t *record, const struct measuring *m, const struct redline_engine_facts *f,
                       struct redline_err *err)
{
    TRY(record_set(record, "derived", json_object(), err));
    TRY(record_derive(record, "load_ms", (double)f->load_ns / 1e6, NULL, err));
    TRY(derive_figures(record, err));
    if (m->task.workload.kind == TASK_GENERATE) TRY(set_share(record, m, f, err));
    if (m->task.workload.kind == TASK_SCORE) TRY(set_perplexity(record, m, err));
    TRY(record_derive(record, "peak_rss_bytes", (double)m->peak_rss_bytes, NULL, err));
    TRY(record_derive(record, "weight_bytes", (double)f->plan.weight_bytes, NULL, err));
    return record_derive(record, "kv_touched_bytes", (double)f->kv_touched_bytes, NULL, err);
}

static int set_warnings(json_t *record, struct measuring *m, struct redline_err *err)
{
    json_t *all = json_array();
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n_warnings; i++) json_array_append_new(all, text(m->warnings[i]));
    pthread_mutex_unlock(&m->lock);
    return record_set(record, "warnings", all, err);
}

static int fill(json_t *record, struct measuring *m, struct redline_err *err)
{
    struct redline_engine_facts f;
    redline_engine_facts(m->engine, &f);
    TRY(record_set(record, "version", whole(RECORD_VERSION), err));
    TRY(record_set(record, "id", text(m->id), err));
    TRY(record_set(record, "started", text(m->started), err));
    TRY(set_experiment(record, m, err));
    TRY(set_program(record, m, err));
    TRY(set_model(record, m, &f, err));
    TRY(set_settings(record, m, &f, err));
    TRY(set_workload(record, m, err));
    TRY(record_set(record, "load", text(task_load_name(m->task.load)), err));
    TRY(facts_to_record(&m->facts, record, err));
    TRY(set_times(record, m, err));
    TRY(set_requests(record, m, err));
    TRY(set_devices(record, m, &f.plan, err));
    TRY(set_counts(record, m, &f.plan, err));
    TRY(set_figures(record, m, &f, err));
    TRY(set_warnings(record, m, err));
    json_t *missing = json_incref(json_object_get(record, "missing"));
    if (missing) json_object_del(record, "missing"); /* to the end, where one reads it */
    TRY(record_set(record, "missing", missing ? missing : json_object(), err));
    TRY(record_complete(record, "it was not said", err));
    return record_check(record, err);
}

int measuring_record(json_t **record, struct measuring *m, struct redline_err *err)
{
    json_t *made = json_object();
    int status = made ? fill(made, m, err) : err_memory(err, 4096, "a record");
    if (status) json_decref(made);
    *record = status ? NULL : made;
    return status;
}
