/* cmd_doctor.c - redline doctor: what this machine is and can do, what it is doing wrong, how to mend it. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "cmd.h"
#include "doctor.h"
#include "mem.h"
#include "placement.h"
#include "probe_limits.h"
#include "settings.h"
#include "store.h"

enum { DEFAULT_CTX = 4096 };

struct diagnosis {
    /* options */
    const char *model_path, *records_path, *type_k, *type_v;
    struct placement where;
    int n_threads, n_ctx, n_ubatch;
    bool json;

    struct facts facts;
    struct redline_err refusal; /* why GPUs that are there cannot be used */
    struct redline_model *model;
    struct redline_plan plan;
    struct redline_plan_block *blocks; /* [plan.n_blocks] */
    struct doctor_records records;
    struct redline_file_facts file;
    struct facts_file model_file;
    bool has_plan, has_limits;
    struct redline_limits limits;
    struct doctor_case c;
    struct doctor_finding findings[DOCTOR_MOST];
    size_t n_findings;
};

/* ---- looking ------------------------------------------------------------------------------------- */

/* Without -c, some context that the model can use. */
static int plan_context(struct diagnosis *d, struct redline_engine_params *params, struct redline_err *err)
{
    params->n_ctx = d->n_ctx ? d->n_ctx : DEFAULT_CTX;
    TRY(redline_plan(d->model, params, &d->plan, err));
    if (d->n_ctx || d->plan.n_ctx_train <= 0 || d->plan.n_ctx_train >= DEFAULT_CTX) return 0;
    params->n_ctx = d->plan.n_ctx_train;
    return redline_plan(d->model, params, &d->plan, err);
}

/* The plan with these settings; where they ask for a GPU that is not there, of the CPU: that is then a finding. */
static int plan_model(struct diagnosis *d, struct redline_err *err)
{
    struct redline_engine_params params = {.n_threads = d->n_threads,
                                           .n_ubatch = d->n_ubatch,
                                           .type_k = d->type_k,
                                           .type_v = d->type_v};
    placement_set(&params, &d->where);
    redline_file_facts(d->model, &d->file);
    d->c.file = &d->file;
    if (!d->file.runnable) return 0;
    int status = plan_context(d, &params, err);
    if (status == REDLINE_DEVICE) {
        params.n_gpu_layers = "0";
        params.placement = NULL;
        status = plan_context(d, &params, err);
    }
    if (status) return status;
    d->blocks = mem_new((size_t)d->plan.n_blocks, sizeof *d->blocks);
    if (!d->blocks) return err_memory(err, (size_t)d->plan.n_blocks * sizeof *d->blocks, "rows of blocks");
    TRY(redline_plan_blocks(d->model, &params, &d->plan, d->blocks, err));
    d->c.blocks = d->blocks;
    d->c.plan = &d->plan;
    d->has_plan = true;
    return 0;
}

static int look_at_model(struct diagnosis *d, const char *path, struct redline_err *err)
{
    TRY(redline_model_open(&d->model, path, err));
    facts_read_file(&d->model_file, path, NULL);
    d->c.model_file = &d->model_file;
    return plan_model(d, err);
}

static int look_at_records(struct diagnosis *d, struct redline_err *err)
{
    json_t *records;
    if (!d->records_path) return 0;
    TRY(store_read(&records, d->records_path, err));
    doctor_use(records, &d->c.n_ctx_used, &d->c.n_prompt_typical);
    doctor_records(records, &d->records);
    d->c.records = &d->records;
    json_decref(records);
    return 0;
}

static int look(struct diagnosis *d, const char *path, struct redline_err *err)
{
    facts_read(&d->facts, NULL);
    bool refused = redline_gpu_check(&d->refusal) != 0;
    d->c = (struct doctor_case){.facts = &d->facts,
                                .cuda_version = redline_cuda_version(),
                                .n_usable = redline_gpu_count(),
                                .refusal = refused ? d->refusal.message : NULL,
                                .n_threads = d->n_threads,
                                .n_ctx = d->n_ctx,
                                .n_ctx_used = -1,
                                .n_ubatch = d->n_ubatch,
                                .n_prompt_typical = -1,
                                .flash_attn = true, /* no backend has attention that makes a matrix of scores, */
                                .type_k = d->type_k,
                                .type_v = d->type_v,
                                .kv_kernel = true,  /* and each serves every type that a cache can have */
                                .require = d->where.require,
                                .n_gpu_layers = d->where.n_gpu_layers};
    TRY(look_at_records(d, err));
    if (path) TRY(look_at_model(d, path, err));
    d->has_limits = limits_on_record(&d->limits);
    d->n_findings = doctor_examine(&d->c, d->findings);
    return 0;
}

/* ---- as text ------------------------------------------------------------------------------------- */

static int print_machine(const struct diagnosis *d, struct buf *out, struct redline_err *err)
{
    const struct facts *f = &d->facts;
    const struct redline_machine *m = &f->machine;
    char memory[32], available[32], quota[64] = "";
    int cuda = redline_cuda_version();
    str_bytes_text(m->memory_bytes, memory, sizeof memory);
    str_bytes_text(isnan(f->memory_available_bytes.value) ? 0 : (uint64_t)f->memory_available_bytes.value, available,
                   sizeof available);
    if (m->quota > 0) snprintf(quota, sizeof quota, ", a quota of %.2f", m->quota);
    TRY(buf_printf(out, err, "%s (%s), %d core%s, %d processor%s%s\n", m->cpu, m->features, m->n_physical,
                   m->n_physical == 1 ? "" : "s", m->n_logical, m->n_logical == 1 ? "" : "s", quota));
    TRY(buf_printf(out, err, "%s of memory, %s available; %s\n", memory, available, m->kernel));
    TRY(cuda ? buf_printf(out, err, "built by %s, with CUDA %d.%d\n", m->build, cuda / 1000, cuda % 1000 / 10)
             : buf_printf(out, err, "built by %s, without CUDA\n", m->build));
    for (int i = 0; i < f->n_gpus; i++) {
        const struct gpu_fact *g = &f->gpus[i];
        str_bytes_text(g->memory_bytes, memory, sizeof memory);
        str_bytes_text(g->free_bytes, available, sizeof available);
        TRY(buf_printf(out, err, "GPU %d: %s, %s, %s free, driver %s\n", i, g->name, memory, available,
                       f->gpu_driver.value));
    }
    return f->n_gpus ? 0 : buf_printf(out, err, "no GPU: %s\n", f->gpu_reason);
}

static int print_limits(const struct diagnosis *d, struct buf *out, struct redline_err *err)
{
    const struct redline_limits *l = &d->limits;
    const struct redline_peak *best = NULL;
    if (!d->has_limits)
        return buf_printf(out, err, "limits: none on record; redline probe measures them in some seconds\n");
    for (int i = 0; i < l->n_peaks; i++)
        if (!best || l->peaks[i].ops.best > best->ops.best) best = &l->peaks[i];
    TRY(buf_printf(out, err, "limits: memory %.1f GB/s", redline_limits_bandwidth(l, l->n_threads) / 1e9));
    if (best) TRY(buf_printf(out, err, ", arithmetic %.0f GOPS (%s, %s)", best->ops.best / 1e9, best->isa, best->type));
    return buf_printf(out, err, ", with %d thread%s\n", l->n_threads, l->n_threads == 1 ? "" : "s");
}

static int print_model(const struct diagnosis *d, struct buf *out, struct redline_err *err)
{
    const struct redline_plan *p = &d->plan;
    char need[32], available[32];
    if (!d->has_plan) return 0;
    str_bytes_text(p->total_bytes, need, sizeof need);
    str_bytes_text(p->available_bytes, available, sizeof available);
    TRY(buf_printf(out, err, "model: %s with a context of %d needs %s of %s, %d of %d layers on a GPU\n",
                   *d->file.name ? d->file.name : d->file.architecture, p->n_ctx, need, available, p->n_gpu_layers,
                   p->n_layers));
    for (int i = 1; i < p->n_devices; i++) {
        const struct redline_plan_device *g = &p->devices[i];
        if (!g->looked_at) continue; /* it is not needed */
        str_bytes_text(g->sum_bytes, need, sizeof need);
        str_bytes_text(g->left_bytes, available, sizeof available);
        TRY(buf_printf(out, err, "  %s %s: %d of %d blocks, %s, %s left\n", g->label, g->name, g->n_blocks, p->n_blocks,
                       need, available));
    }
    return 0;
}

/* What cannot be found because nobody knows the fact. */
static int print_unread(const struct facts *f, struct buf *out, struct redline_err *err)
{
    const struct {
        const char *name, *reason;
    } rows[] = {{"governor", f->governor.value[0] ? "" : f->governor.reason},
                {"load", f->load_1m.reason},
                {"swap", f->swap_used_bytes.reason},
                {"memory pressure", f->memory_pressure.reason},
                {"huge pages", f->huge_pages.value[0] ? "" : f->huge_pages.reason}};
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (*rows[i].reason) TRY(buf_printf(out, err, "not known: %s (%s)\n", rows[i].name, rows[i].reason));
    return 0;
}

static int print_findings(const struct diagnosis *d, struct buf *out, struct redline_err *err)
{
    if (d->n_findings == 0) return buf_printf(out, err, "\nnothing is wrong\n");
    for (size_t i = 0; i < d->n_findings; i++) {
        const struct doctor_finding *f = &d->findings[i];
        TRY(buf_printf(out, err, "\n%s %s\n  %s\n  remedy: %s\n", f->level == DOCTOR_FAULT ? "FAULT " : "advice",
                       f->code, f->what, f->remedy));
    }
    return 0;
}

static int print_text(const struct diagnosis *d, struct buf *out, struct redline_err *err)
{
    TRY(print_machine(d, out, err));
    TRY(print_limits(d, out, err));
    TRY(print_model(d, out, err));
    TRY(print_unread(&d->facts, out, err));
    return print_findings(d, out, err);
}

/* ---- as JSON ------------------------------------------------------------------------------------- */

static json_t *limits_json(const struct diagnosis *d)
{
    char *text;
    struct redline_err err;
    if (!d->has_limits || redline_limits_to_json(&d->limits, &text, &err)) return json_null();
    json_t *limits = json_loads(text, 0, NULL);
    redline_free(text);
    return limits;
}

static json_t *plan_json(const struct diagnosis *d)
{
    const struct redline_plan *p = &d->plan;
    if (!d->has_plan) return json_null();
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:I, s:I, s:i, s:b}", "device", p->device, "n_threads", p->n_threads,
                     "n_ctx", p->n_ctx, "n_layers", p->n_layers, "n_gpu_layers", p->n_gpu_layers, "total_bytes",
                     (json_int_t)p->total_bytes, "available_bytes", (json_int_t)p->available_bytes, "n_ctx_fits",
                     p->n_ctx_fits, "fits", p->fits);
}

static json_t *findings_json(const struct diagnosis *d)
{
    json_t *all = json_array();
    for (size_t i = 0; i < d->n_findings; i++) {
        const struct doctor_finding *f = &d->findings[i];
        json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s}", "code", f->code, "level",
                                             f->level == DOCTOR_FAULT ? "fault" : "advice", "what", f->what, "remedy",
                                             f->remedy));
    }
    return all;
}

static int print_json(const struct diagnosis *d, struct buf *out, struct redline_err *err)
{
    json_t *root = json_object();
    int status = facts_to_record(&d->facts, root, err);
    if (!status && json_object_set_new(root, "limits", limits_json(d)) +
                       json_object_set_new(root, "plan", plan_json(d)) +
                       json_object_set_new(root, "findings", findings_json(d)))
        status = err_memory(err, 0, "the JSON text");
    char *text = status ? NULL : json_dumps(root, JSON_INDENT(2));
    if (!status) status = text ? buf_printf(out, err, "%s\n", text) : err_memory(err, 0, "the JSON text");
    free(text);
    json_decref(root);
    return status;
}

/* ---- the command --------------------------------------------------------------------------------- */

static int run_all(struct diagnosis *d, const char *const *words, int n_words, struct buf *out,
                   struct redline_err *err)
{
    const char *path;
    TRY(cmd_model_path(&path, d->model_path, words, n_words, NULL, err));
    TRY(look(d, path, err));
    TRY(d->json ? print_json(d, out, err) : print_text(d, out, err));
    TRY(cmd_write(out->p, out->n, err));
    return cmd_flush(err);
}

int cmd_doctor(int argc, char **argv)
{
    static struct diagnosis d; /* too large for a stack */
    struct settings set = {0};
    const struct opt options[] = {
        settings_opt(&set, SETTING_MODEL, &d.model_path),
        SETTINGS_ENGINE(&set, &d),
        SETTINGS_PLACEMENT(&set, &d.where),
        {"--records", "FILE", OPT_STRING, &d.records_path, 0, 0,
         "records of the lab: how much context was used, how long prompts are"},
        {"--json", NULL, OPT_FLAG, &d.json, 0, 0, "one JSON object"},
    };
    const struct opt_command command = {
        "redline doctor [MODEL] [options]",
        "Looks at this machine, at the settings and, if there is one, at the model, and says what is wrong: each\n"
        "finding with its evidence and a remedy.  Nothing is loaded.  Exit code 1 when there are findings.",
        options, COUNT_OF(options),
        "Example: redline doctor model.gguf -c 8192 --records lab/latency.jsonl"};
    const char *words[1];
    struct redline_err err = {0};
    struct buf out = {0};
    int n_words, exit_code;
    if (!settings_parse(&set, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    int status = run_all(&d, words, n_words, &out, &err);
    redline_model_close(&d.model);
    mem_free(d.blocks);
    buf_free(&out);
    settings_free(&set);
    return status ? cmd_fail(&err) : d.n_findings ? EXIT_NO : EXIT_FINE;
}
