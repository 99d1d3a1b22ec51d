/* placement.c - see placement.h. */
#include "placement.h"

#include <stdio.h>
#include <string.h>

#include "base.h"
#include "cmd.h"
#include "facts.h"
#include "mem.h"

/* ---- before ---------------------------------------------------------------------------------------- */

static bool requires(const struct placement *w, const char *what)
{
    return w->require && strcmp(w->require, what) == 0;
}

static int refuse(const char *asked, const char *instead, struct redline_err *err)
{
    static struct facts facts; /* large */
    struct redline_err refusal = {0};
    char why[3 * FACTS_REASON];
    int n_usable = redline_gpu_count();
    if (n_usable > 0) return 0;
    redline_gpu_check(&refusal);
    facts_read(&facts, NULL);
    facts_gpu_refusal(&facts, redline_cuda_version(), n_usable, refusal.message, why, sizeof why);
    return err_set(err, REDLINE_DEVICE, "%s, and nothing was loaded: %s; %s runs on the CPU", asked, why, instead);
}

int placement_check(const struct placement *w, struct redline_err *err)
{
    const char *n = w->n_gpu_layers;
    bool none = n && strcmp(n, "0") == 0, layers = n && !none && strcmp(n, "auto") != 0;
    if (requires(w, "cpu") && layers)
        return err_set(err, REDLINE_ARG, "the CPU is required (require), and %s layers are wanted on a GPU "
                       "(n_gpu_layers)", n);
    if (requires(w, "gpu") && none && !w->overrides)
        return err_set(err, REDLINE_ARG, "a GPU is required (require), and 0 layers are wanted on one (n_gpu_layers)");
    if (requires(w, "gpu")) return refuse("a GPU is required", "--require any", err);
    return layers ? refuse("layers are wanted on a GPU", "-ngl auto", err) : 0;
}

void placement_set(struct redline_engine_params *params, const struct placement *w)
{
    params->n_gpu_layers = requires(w, "cpu") ? "0" : w->n_gpu_layers;
    params->device_memory = w->device_memory;
    params->n_cpu_moe = w->n_cpu_moe;
    params->placement = w->overrides;
}

/* Blocks that the plan puts on GPUs. */
static int blocks_on_gpus(const struct redline_plan *p)
{
    int n = 0;
    for (int i = 1; i < p->n_devices; i++) n += p->devices[i].n_blocks;
    return n;
}

static int check_plan(const struct redline_plan *p, const struct placement *w, struct redline_err *err)
{
    char room[32];
    uint64_t most = 0;
    if (!requires(w, "gpu") || blocks_on_gpus(p) > 0) return 0;
    for (int i = 1; i < p->n_devices; i++) most = MAX(most, p->devices[i].left_bytes);
    str_bytes_text(most, room, sizeof room);
    return err_set(err, REDLINE_DEVICE, "a GPU is required, and nothing was loaded: no part of the model fits in the "
                   "%s that may be taken of one%s%s; redline plan shows why, --require any runs on the CPU", room,
                   *p->warning ? ", and " : "", p->warning);
}

static int plan_and_check(struct redline_plan *plan, const struct redline_model *model,
                          const struct redline_engine_params *params, const struct placement *w,
                          struct redline_err *err)
{
    TRY(redline_plan(model, params, plan, err));
    return check_plan(plan, w, err);
}

int placement_open(struct redline_engine **out, const struct redline_model *model,
                   struct redline_engine_params *params, const struct placement *w, struct redline_err *err)
{
    placement_set(params, w);
    if (requires(w, "gpu")) {
        struct redline_plan *plan = mem_new(1, sizeof *plan);
        if (!plan) return err_memory(err, sizeof *plan, "a plan");
        int status = plan_and_check(plan, model, params, w, err);
        mem_free(plan);
        TRY(status);
    }
    return redline_engine_open(out, model, params, err);
}

/* ---- after ----------------------------------------------------------------------------------------- */

struct redline_count placement_sum(struct redline_engine *engine, const struct redline_plan *plan, int device)
{
    struct redline_count sum = {0}, *counts = mem_new((size_t)plan->n_layers + 1, sizeof *counts);
    if (!counts) return sum;
    redline_engine_counts(engine, device, counts);
    for (int i = 0; i <= plan->n_layers; i++) {
        sum.n_ops += counts[i].n_ops;
        sum.weight_bytes += counts[i].weight_bytes;
        sum.copied_bytes += counts[i].copied_bytes;
    }
    mem_free(counts);
    return sum;
}

static int print_device(struct redline_engine *engine, const struct redline_plan *p, int i, struct buf *out,
                        struct redline_err *err)
{
    const struct redline_plan_device *d = &p->devices[i];
    struct redline_device_use use;
    char planned[32], used[32], read[32], copied[32];
    struct redline_count sum = placement_sum(engine, p, i);
    redline_engine_device(engine, i, &use);
    str_bytes_text(use.planned_bytes, planned, sizeof planned);
    str_bytes_text(use.used_bytes, used, sizeof used);
    str_bytes_text(sum.weight_bytes, read, sizeof read);
    str_bytes_text(sum.copied_bytes, copied, sizeof copied);
    TRY(buf_printf(out, err, "%s %s: %d of %d blocks", d->label, d->name, d->n_blocks, p->n_blocks));
    if (i > 0) TRY(buf_printf(out, err, ", %s planned and %s taken", planned, used));
    return buf_printf(out, err, " | %llu operations done, %s of weights read, %s copied\n",
                      (unsigned long long)sum.n_ops, read, copied);
}

int placement_print(struct redline_engine *engine, const struct redline_plan *plan, struct buf *out,
                    struct redline_err *err)
{
    int status = 0;
    if (blocks_on_gpus(plan) == 0) return 0;
    for (int i = plan->n_devices - 1; i >= 0 && !status; i--)
        if (i == 0 || plan->devices[i].n_blocks > 0) status = print_device(engine, plan, i, out, err);
    return status;
}

void placement_proof(struct redline_engine *engine, const struct redline_plan *plan, char *out, size_t n)
{
    size_t at = 0;
    *out = '\0';
    for (int i = plan->n_devices - 1; i >= 0 && at < n; i--) {
        const struct redline_plan_device *d = &plan->devices[i];
        if (d->n_blocks == 0) continue;
        struct redline_count sum = placement_sum(engine, plan, i);
        at += (size_t)snprintf(out + at, n - at, "%s%s:%d:%llu", at ? " " : "", d->label, d->n_blocks,
                               (unsigned long long)sum.n_ops);
    }
}

void placement_gpus(const struct redline_plan *plan, char *out, size_t n)
{
    size_t at = 0;
    *out = '\0';
    for (int i = 1; i < plan->n_devices && at < n; i++)
        if (plan->devices[i].n_blocks > 0)
            at += (size_t)snprintf(out + at, n - at, "%s%s", at ? ", " : "", plan->devices[i].name);
}

void placement_text(const struct redline_plan *plan, char *out, size_t n)
{
    char gpus[160];
    placement_gpus(plan, gpus, sizeof gpus);
    *out = '\0';
    if (!*gpus) return;
    int at = snprintf(out, n, "%d of %d layers", plan->n_gpu_layers, plan->n_layers);
    if (plan->n_split_layers && at > 0 && (size_t)at < n)
        at += snprintf(out + at, n - (size_t)at, " and parts of %d", plan->n_split_layers);
    if (at > 0 && (size_t)at < n) snprintf(out + at, n - (size_t)at, " on %s", gpus);
}
