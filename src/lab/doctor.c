/* doctor.c - the table of what can be wrong, and one small test for each row.
 *
 * A test writes evidence and remedy and says whether there is something to find.  Rows that have one cause exclude
 * each other: a card without a driver is that alone, not also a card that is not used. */
#include "doctor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"

/* Where it begins to matter; each is told with the finding. */
static const double PRESSURE = 1.0;          /* per cent of the time */
static const double THROTTLED_SHARE = 0.05;  /* of the quota's periods */
static const double SWAP_SHARE = 0.01;       /* of the memory */
static const double CACHED_SHARE = 0.9;      /* of a file on a slow disk */
static const double READ_BYTES = 64u << 20;  /* not cached: less is read in a second from any disk */
static const double WASTE_BYTES = 64u << 20; /* memory for nothing, where a plan tells how much it is */
enum {
    CTX_RATIO = 4,      /* context: set / used */
    UBATCH_RATIO = 8,   /* batch: set / usual prompt */
    UBATCH_DEFAULT = 512,
    UBATCH_LEAST = 32,
};
static const double GPU_FREE_SHARE = 0.1;    /* of a GPU's memory, free beside other programs */
static const double GPU_LEFT_BYTES = 256u << 20; /* of it, left beside a plan */
static const double PLAN_SHARE = 0.1;        /* what a plan may be off, of itself, */
static const double PLAN_BYTES = 512u << 20; /* and by so much */

#define SAY(f, ...) snprintf((f)->what, sizeof (f)->what, __VA_ARGS__)
#define MEND(f, ...) snprintf((f)->remedy, sizeof (f)->remedy, __VA_ARGS__)

static double gib(double bytes)
{
    return bytes / (double)(1u << 30);
}

static double mib(double bytes)
{
    return bytes / (double)(1u << 20);
}

/* ---- GPUs -------------------------------------------------------------------------------------- */

/* Blocks that the plan puts there. */
static int on_gpus(const struct redline_plan *p)
{
    int n = 0;
    for (int i = 1; i < p->n_devices; i++) n += p->devices[i].n_blocks;
    return n;
}

static bool has_driver(const struct facts *f)
{
    return f->gpu_driver.value[0] != '\0';
}

static bool gpu_no_driver(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    if (!f->gpu_on_bus.value[0] || has_driver(f) || f->n_gpus > 0) return false;
    SAY(out, "the bus shows an NVIDIA card (%s), and no driver is loaded", f->gpu_on_bus.value);
    MEND(out, "install NVIDIA's driver, then modprobe nvidia; nvidia-smi shows whether it works");
    return true;
}

static bool gpu_driver_mismatch(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    if (!f->gpu_mismatch) return false;
    SAY(out, "the loaded NVIDIA driver is %s, its library is %s",
        has_driver(f) ? f->gpu_driver.value : "of another version",
        f->gpu_library.value[0] ? f->gpu_library.value : "another one");
    MEND(out, "restart the machine (the driver was updated while it ran), or in a container: restart that");
    return true;
}

static bool gpu_hidden(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    if (!has_driver(f) || f->n_gpus > 0 || f->gpu_mismatch) return false;
    SAY(out, "NVIDIA's driver %s is loaded, and no GPU can be seen: %.150s", f->gpu_driver.value, f->gpu_reason);
    MEND(out, "let this process see it: in a container --gpus all, else the rights of /dev/nvidia*; nvidia-smi tells");
    return true;
}

static bool gpu_build(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    if (f->n_gpus == 0 || c->cuda_version) return false;
    SAY(out, "%d GPU%s (%s, %.1f GiB), and this program was built without CUDA: all of it runs on the CPU", f->n_gpus,
        f->n_gpus == 1 ? " is there" : "s are there", f->gpus[0].name, gib((double)f->gpus[0].memory_bytes));
    MEND(out, "make cuda builds one (build-cuda/redline), and fetches the compiler if there is none");
    return true;
}

/* All that the driver shows are known to be older than there is code for. */
static bool has_old_cards_only(const struct facts *f)
{
    for (int i = 0; i < f->n_gpus; i++)
        if (!f->gpus[i].capability[0] || strtod(f->gpus[i].capability, NULL) >= 8) return false;
    return f->n_gpus > 0;
}

/* Within a major version an older driver serves what was compiled for its cards; only PTX needs one as new. */
static bool has_old_driver(const struct doctor_case *c)
{
    int built = c->cuda_version, serves = c->facts->gpu_cuda;
    if (!serves || has_old_cards_only(c->facts)) return false;
    return built > serves && (built / 1000 > serves / 1000 || c->n_usable == 0);
}

static bool gpu_cuda_old(const struct doctor_case *c, struct doctor_finding *out)
{
    int built = c->cuda_version, serves = c->facts->gpu_cuda;
    if (c->facts->n_gpus == 0 || !has_old_driver(c)) return false;
    SAY(out, "this program was built with CUDA %d.%d, the driver %s serves CUDA %d.%d at most", built / 1000,
        built % 1000 / 10, c->facts->gpu_driver.value, serves / 1000, serves % 1000 / 10);
    MEND(out, "install a driver that serves CUDA %d.%d", built / 1000, built % 1000 / 10);
    return true;
}

static bool gpu_not_served(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    if (f->n_gpus == 0 || c->cuda_version == 0 || c->n_usable > 0) return false;
    if (!has_old_cards_only(f) && (has_old_driver(c) || c->refusal)) return false;
    SAY(out, "the driver shows %s%s%s, and CUDA gives this program no GPU that it can use (8.0 is the least)",
        f->gpus[0].name, f->gpus[0].capability[0] ? " of compute capability " : "", f->gpus[0].capability);
    MEND(out, "a card of compute capability 8.0 or newer; CUDA_VISIBLE_DEVICES must not hide it");
    return true;
}

/* What no look at the machine explains. */
static bool gpu_refused(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    bool explained = f->gpu_mismatch || has_old_driver(c) || has_old_cards_only(f) ||
                     (f->n_gpus == 0 && (has_driver(f) || f->gpu_on_bus.value[0]));
    if (!c->refusal || explained || c->n_usable > 0) return false;
    SAY(out, "%.300s", c->refusal);
    MEND(out, "the rights of /dev/nvidia*, a driver and a libcuda.so.1 of one version (nvidia-smi), a newer driver, "
         "or a newer card");
    return true;
}

static bool gpu_unused(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    if (f->n_gpus == 0 || c->cuda_version == 0 || has_old_driver(c) || c->n_usable == 0) return false;
    const char *why = c->require && strcmp(c->require, "cpu") == 0 ? "the setting require is cpu"
                      : c->n_gpu_layers && strcmp(c->n_gpu_layers, "0") == 0 ? "the setting n_gpu_layers is 0"
                      : c->plan && c->plan->n_layers && !on_gpus(c->plan) ? "the plan puts no part of the model on it"
                                                                          : NULL;
    if (!why) return false;
    SAY(out, "%s with %.1f GiB free is not used: %s", f->gpus[0].name, gib((double)f->gpus[0].free_bytes), why);
    MEND(out, "-ngl auto without --require cpu (llm.primary.n_gpu_layers, llm.primary.require)");
    return true;
}

/* Blocks that are on the CPU for this reason, and their bytes. */
static int left_on_cpu(const struct doctor_case *c, enum redline_why why, bool experts_alone, double *bytes)
{
    int n = 0;
    *bytes = 0;
    for (int i = 0; c->plan && c->blocks && i < c->plan->n_blocks; i++) {
        const struct redline_plan_block *b = &c->blocks[i];
        if (b->device != 0 || b->why != why || (experts_alone && !b->experts)) continue;
        *bytes += (double)(b->weight_bytes + b->kv_bytes);
        n++;
    }
    return n;
}

static bool gpu_layers_left(const struct doctor_case *c, struct doctor_finding *out)
{
    double bytes;
    const struct redline_plan *p = c->plan;
    if (!p || !on_gpus(p)) return false;
    if (p->n_gpu_layers_fits > p->n_gpu_layers) {
        SAY(out, "%d of %d layers are on GPUs, and %d would fit: each token waits for the others on the CPU",
            p->n_gpu_layers, p->n_layers, p->n_gpu_layers_fits);
        MEND(out, "-ngl %d, or -ngl auto (llm.primary.n_gpu_layers)", p->n_gpu_layers_fits);
        return true;
    }
    int n = left_on_cpu(c, REDLINE_WHY_NO_ROOM, false, &bytes);
    if (n == 0) return false;
    SAY(out, "%d of %d blocks stay on the CPU, as %.2f GiB more do not fit on the GPUs: each token waits for them", n,
        p->n_blocks, gib(bytes));
    MEND(out, "a shorter context (-c), -ctk q8_0 -ctv q8_0, or a smaller quantisation; "
         "redline plan --layers shows all");
    return true;
}

static bool gpu_experts_left(const struct doctor_case *c, struct doctor_finding *out)
{
    double bytes[3];
    static const enum redline_why whys[] = {REDLINE_WHY_CPU_MOE, REDLINE_WHY_NO_ROOM, REDLINE_WHY_PLACEMENT};
    int n = 0;
    if (!c->plan || !on_gpus(c->plan)) return false;
    for (size_t i = 0; i < COUNT_OF(whys); i++) n += left_on_cpu(c, whys[i], true, &bytes[i]);
    if (n == 0) return false;
    SAY(out, "the experts of %d layers (%.2f GiB) are computed on the CPU: by n_cpu_moe %.2f, for want of room %.2f, "
        "by placement %.2f GiB", n, gib(bytes[0] + bytes[1] + bytes[2]), gib(bytes[0]), gib(bytes[1]), gib(bytes[2]));
    MEND(out, "if there is room: a smaller --n-cpu-moe (llm.primary.n_cpu_moe); redline plan --layers shows it");
    return true;
}

static bool gpu_memory_full(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    for (int i = 1; c->plan && c->plan->fits && i < c->plan->n_devices; i++) {
        const struct redline_plan_device *d = &c->plan->devices[i];
        if (d->n_blocks == 0 || (double)d->left_bytes >= GPU_LEFT_BYTES || d->cap_bytes) continue;
        SAY(out, "the plan leaves %.2f GiB of the memory of %s: what another program takes meanwhile is then missing",
            gib((double)d->left_bytes), d->name);
        MEND(out, "--device-memory %.0fG (llm.primary.device_memory), or a shorter context",
             floor(gib((double)d->sum_bytes)));
        return true;
    }
    for (int i = 0; !c->plan && i < f->n_gpus; i++) {
        const struct gpu_fact *g = &f->gpus[i];
        if (g->memory_bytes == 0 || (double)g->free_bytes >= GPU_FREE_SHARE * (double)g->memory_bytes) continue;
        SAY(out, "%.2f of %.1f GiB of %s are free (limit %.0f %%)", gib((double)g->free_bytes),
            gib((double)g->memory_bytes), g->name, 100 * GPU_FREE_SHARE);
        MEND(out, "nvidia-smi shows who has the rest; end them, or use less of the card with --device-memory");
        return true;
    }
    return false;
}

static bool gpu_slower(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct doctor_records *r = c->records;
    if (!r || !(r->gpu_ts > 0) || !(r->gpu_ts < r->cpu_ts)) return false;
    SAY(out, "records show %.1f tokens per second with %d layers on the GPU and %.1f without (%s): the GPU is slower",
        r->gpu_ts, r->n_gpu_layers, r->cpu_ts, r->workload);
    MEND(out, "redline lab run gpu-scaling shows where it falls; redline plan what does not fit; else -ngl 0");
    return true;
}

static bool gpu_plan_off(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct doctor_records *r = c->records;
    double off = r ? r->taken_bytes - r->planned_bytes : 0;
    if (!r || r->planned_bytes <= 0) return false;
    if (fabs(off) < PLAN_SHARE * r->planned_bytes || fabs(off) < PLAN_BYTES) return false;
    SAY(out, "records show %.2f GiB of %s planned and %.2f taken: %s", gib(r->planned_bytes), r->device,
        gib(r->taken_bytes), off > 0 ? "what fits by the plan may not fit" : "layers that would fit stay on the CPU");
    if (off > 0)
        MEND(out, "leave so much free: --device-memory (llm.primary.device_memory); and tell the authors");
    else
        MEND(out, "-ngl all tries it (llm.primary.n_gpu_layers); and tell the authors");
    return true;
}

static bool gpu_missing(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    bool wanted = (c->require && strcmp(c->require, "gpu") == 0) ||
                  (c->n_gpu_layers && strcmp(c->n_gpu_layers, "auto") != 0 && strcmp(c->n_gpu_layers, "0") != 0);
    if (!wanted || f->n_gpus > 0 || f->gpu_on_bus.value[0] || has_driver(f)) return false;
    SAY(out, "the settings want a GPU, and there is none: %.180s", f->gpu_reason);
    MEND(out, "--require any -ngl auto runs it here on the CPU");
    return true;
}

static bool gpu_busy(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    for (int i = 0; i < f->n_gpus; i++) {
        const struct gpu_fact *g = &f->gpus[i];
        if (g->n_other_processes <= 0) continue;
        SAY(out, "%d other process%s on GPU %d (%s); %.1f of its %.1f GiB are free", g->n_other_processes,
            g->n_other_processes == 1 ? " computes" : "es compute", i, g->name, gib((double)g->free_bytes),
            gib((double)g->memory_bytes));
        MEND(out, "end them (nvidia-smi lists them), or measure on another GPU");
        return true;
    }
    return false;
}

/* ---- processors -------------------------------------------------------------------------------- */

static bool threads_over_cores(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct redline_machine *m = &c->facts->machine;
    if (c->n_threads <= m->n_physical) return false;
    SAY(out, "%d threads are set, and this process may use %d core%s (%d processors): they wait for one another",
        c->n_threads, m->n_physical, m->n_physical == 1 ? "" : "s", m->n_logical);
    MEND(out, "-t %d (llm.primary.n_threads), or 0 for the best", m->n_threads);
    return true;
}

static bool threads_over_quota(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct redline_machine *m = &c->facts->machine;
    if (m->quota <= 0 || c->n_threads > m->n_physical || c->n_threads <= (int)ceil(m->quota)) return false;
    SAY(out, "%d threads are set, and the control group grants the time of %.2f processors: all are held back",
        c->n_threads, m->quota);
    MEND(out, "-t %d (llm.primary.n_threads), or 0 for the best; or raise cpu.max", m->n_threads);
    return true;
}

static bool quota_throttled(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    if (!(f->throttled_share.value > THROTTLED_SHARE)) return false;
    SAY(out, "the quota of %.2f processors ran out in %.0f %% of its periods so far (limit %.0f %%)", f->machine.quota,
        100 * f->throttled_share.value, 100 * THROTTLED_SHARE);
    MEND(out, "raise the control group's cpu.max (docker: --cpus), or use fewer threads: -t %d", f->machine.n_threads);
    return true;
}

static bool governor_slow(const struct doctor_case *c, struct doctor_finding *out)
{
    const char *governor = c->facts->governor.value;
    if (!*governor || strcmp(governor, "performance") == 0) return false;
    SAY(out, "the frequency governor is %s: the clock follows the load, late", governor);
    MEND(out, "sudo cpupower frequency-set -g performance");
    return true;
}

static bool machine_busy(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    double limit = facts_load_limit(f);
    if (!(f->load_1m.value > limit)) return false;
    SAY(out, "in the last minute %.2f threads of other programs ran on %d processors (limit %.2f)", f->load_1m.value,
        f->n_online, limit);
    MEND(out, "end them (top shows who), or wait; what is measured meanwhile is not this machine's speed");
    return true;
}

static bool features_masked(const struct doctor_case *c, struct doctor_finding *out)
{
    if (!c->facts->features_masked[0]) return false;
    SAY(out, "the environment variable REDLINE_CPU takes away %s of what the processor has; %s is left",
        c->facts->features_masked, c->facts->machine.features);
    MEND(out, "unset REDLINE_CPU");
    return true;
}

static bool cpu_plain(const struct doctor_case *c, struct doctor_finding *out)
{
    if (strcmp(c->facts->machine.features, "scalar") != 0 || c->facts->features_masked[0]) return false;
    SAY(out, "%s shows no AVX2: only the plain kernels run, many times slower", c->facts->machine.cpu);
    MEND(out, "in a virtual machine: give it the host's processor type (qemu: -cpu host)");
    return true;
}

/* "GNU 12.2.0 RelWithDebInfo address,undefined" */
static bool build_slow(const struct doctor_case *c, struct doctor_finding *out)
{
    static const char *const fast[] = {" RelWithDebInfo", " Release", " MinSizeRel"};
    static const char *const sanitizers[] = {"address", "undefined", "thread", "memory", "leak"};
    const char *build = c->facts->machine.build;
    bool is_fast = false;
    for (size_t i = 0; i < COUNT_OF(fast); i++) is_fast |= strstr(build, fast[i]) != NULL;
    for (size_t i = 0; i < COUNT_OF(sanitizers); i++) is_fast &= strstr(build, sanitizers[i]) == NULL;
    if (is_fast) return false;
    SAY(out, "this program was built to find mistakes, not to be fast: %s", build);
    MEND(out, "cmake --preset release && cmake --build build");
    return true;
}

/* ---- memory ------------------------------------------------------------------------------------ */

static bool huge_pages_off(const struct doctor_case *c, struct doctor_finding *out)
{
    if (strcmp(c->facts->huge_pages.value, "never") != 0) return false;
    SAY(out, "transparent huge pages are off (never): weights lie in pages of 4 KiB, more of which are looked up");
    MEND(out, "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled");
    return true;
}

static bool memory_pressure(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    if (!(f->memory_pressure.value > PRESSURE)) return false;
    SAY(out, "programs waited for memory in %.1f %% of the last ten seconds (limit %.0f %%); %.1f GiB are available",
        f->memory_pressure.value, PRESSURE, gib(f->memory_available_bytes.value));
    MEND(out, "end what takes it (ps aux --sort=-rss | head), or choose a smaller model or context");
    return true;
}

static bool swap_used(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts *f = c->facts;
    double limit = SWAP_SHARE * (double)f->machine.memory_bytes;
    if (!(f->swap_used_bytes.value > limit)) return false;
    SAY(out, "%.2f GiB lie in swap (limit %.2f): what is there comes back from the disk, in the middle of an answer",
        gib(f->swap_used_bytes.value), gib(limit));
    MEND(out, "free memory, then: sudo swapoff -a && sudo swapon -a");
    return true;
}

static bool memory_short(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct redline_plan *p = c->plan;
    if (!p || p->fits) return false;
    SAY(out, "the model with a context of %d needs %.2f GiB (weights %.2f, KV %.2f), %.2f GiB are free", p->n_ctx,
        gib((double)p->total_bytes), gib((double)p->weight_bytes), gib((double)p->kv_bytes),
        gib((double)p->available_bytes));
    if (p->n_ctx_fits > 0)
        MEND(out, "-c %d (llm.primary.n_ctx) is the longest context that fits; or -ctk q8_0 -ctv q8_0", p->n_ctx_fits);
    else
        MEND(out, "a smaller quantisation: redline quantize MODEL smaller.gguf Q4_K_M");
    return true;
}

/* ---- the model and its settings ---------------------------------------------------------------- */

static bool model_unknown(const struct doctor_case *c, struct doctor_finding *out)
{
    if (!c->file || c->file->runnable) return false;
    SAY(out, "the model cannot be run: %.200s", c->file->reason);
    MEND(out, "redline inspect MODEL shows what is in it");
    return true;
}

static bool model_slow_disk(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct facts_file *m = c->model_file;
    if (!m || !m->slow.value[0] || !(m->cached_share.value < CACHED_SHARE)) return false;
    double bytes = (double)m->bytes;
    bool small = bytes < (double)(1u << 30);
    if ((1 - m->cached_share.value) * bytes < READ_BYTES) return false;
    SAY(out, "the model lies on %s, and %.0f %% of its %.*f %s are in the page cache", m->slow.value,
        100 * m->cached_share.value, small ? 0 : 2, small ? mib(bytes) : gib(bytes), small ? "MiB" : "GiB");
    MEND(out, "copy it to a local disk without moving parts, or read it once before: cat MODEL >/dev/null");
    return true;
}

static bool context_unused(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct redline_plan *p = c->plan;
    if (c->n_ctx == 0 || c->n_ctx_used < 0 || c->n_ctx / CTX_RATIO < MAX(1, c->n_ctx_used)) return false;
    char cost[64] = "";
    double wasted = p ? (double)p->kv_bytes * (1 - (double)c->n_ctx_used / c->n_ctx) : INFINITY;
    if (wasted < WASTE_BYTES) return false;
    if (p) snprintf(cost, sizeof cost, "; its KV cache reserves %.2f GiB", gib((double)p->kv_bytes));
    SAY(out, "the context is %d tokens, and at most %d were ever used%s", c->n_ctx, c->n_ctx_used, cost);
    MEND(out, "-c %d (llm.primary.n_ctx), or 0 for what the work needs",
         ROUND_UP(MAX(c->n_ctx_used, 256) * 3 / 2, 256));
    return true;
}

static bool context_untrained(const struct doctor_case *c, struct doctor_finding *out)
{
    const struct redline_plan *p = c->plan;
    if (!p || p->n_ctx_train <= 0 || p->n_ctx <= p->n_ctx_train) return false;
    SAY(out, "the context is %d tokens, and the model was trained on %d: beyond them it may fail", p->n_ctx,
        p->n_ctx_train);
    MEND(out, "-c %d (llm.primary.n_ctx)", p->n_ctx_train);
    return true;
}

static bool flash_attention_off(const struct doctor_case *c, struct doctor_finding *out)
{
    if (c->flash_attn) return false;
    SAY(out, "flash attention is off: %.180s",
        c->flash_attn_reason && *c->flash_attn_reason ? c->flash_attn_reason : "nobody says why");
    MEND(out, "-ctk f16 -ctv f16 (llm.primary.type_k, llm.primary.type_v): these types have it everywhere");
    return true;
}

static bool kv_without_kernel(const struct doctor_case *c, struct doctor_finding *out)
{
    if (c->kv_kernel) return false;
    SAY(out, "there is no kernel for keys of type %s and values of type %s", c->type_k, c->type_v);
    MEND(out, "-ctk f16 -ctv f16 (llm.primary.type_k, llm.primary.type_v)");
    return true;
}

static bool batch_tiny(const struct doctor_case *c, struct doctor_finding *out)
{
    if (c->n_ubatch == 0 || c->n_ubatch >= UBATCH_LEAST) return false;
    if (c->n_prompt_typical >= 0 && c->n_prompt_typical <= c->n_ubatch) return false;
    int n = c->n_prompt_typical >= 0 ? c->n_prompt_typical : UBATCH_DEFAULT;
    SAY(out, "a forward pass takes %d tokens: a %s prompt of %d is read in %d passes, each over all weights",
        c->n_ubatch, c->n_prompt_typical >= 0 ? "usual" : "short", n, CEIL_DIV(n, c->n_ubatch));
    MEND(out, "-ub %d (llm.primary.n_ubatch)", UBATCH_DEFAULT);
    return true;
}

static bool batch_oversized(const struct doctor_case *c, struct doctor_finding *out)
{
    int n = c->n_prompt_typical;
    if (c->n_ubatch <= UBATCH_DEFAULT || n < 0 || c->n_ubatch / UBATCH_RATIO < MAX(1, n)) return false;
    char cost[64] = "";
    if (c->plan && (double)c->plan->buffer_bytes < WASTE_BYTES) return false;
    if (c->plan) snprintf(cost, sizeof cost, "; its activations take %.2f GiB", gib((double)c->plan->buffer_bytes));
    SAY(out, "a forward pass has room for %d tokens, and a usual prompt has %d%s", c->n_ubatch, n, cost);
    MEND(out, "-ub %d (llm.primary.n_ubatch)", UBATCH_DEFAULT);
    return true;
}

/* ---- all of it --------------------------------------------------------------------------------- */

/* The worst first: what is run elsewhere or not at all, then what costs much, then the rest. */
static const struct {
    const char *code;
    enum doctor_level level;
    bool (*test)(const struct doctor_case *c, struct doctor_finding *out);
} rows[] = {
    {"model-not-runnable", DOCTOR_FAULT, model_unknown},
    {"memory-short", DOCTOR_FAULT, memory_short},
    {"gpu-missing", DOCTOR_FAULT, gpu_missing},
    {"gpu-no-driver", DOCTOR_FAULT, gpu_no_driver},
    {"gpu-driver-mismatch", DOCTOR_FAULT, gpu_driver_mismatch},
    {"gpu-hidden", DOCTOR_FAULT, gpu_hidden},
    {"gpu-build", DOCTOR_FAULT, gpu_build},
    {"gpu-cuda-old", DOCTOR_FAULT, gpu_cuda_old},
    {"gpu-not-served", DOCTOR_FAULT, gpu_not_served},
    {"gpu-refused", DOCTOR_FAULT, gpu_refused},
    {"gpu-unused", DOCTOR_FAULT, gpu_unused},
    {"gpu-slower", DOCTOR_FAULT, gpu_slower},
    {"build-slow", DOCTOR_FAULT, build_slow},
    {"features-masked", DOCTOR_FAULT, features_masked},
    {"cpu-plain", DOCTOR_FAULT, cpu_plain},
    {"kv-without-kernel", DOCTOR_FAULT, kv_without_kernel},
    {"flash-attention-off", DOCTOR_FAULT, flash_attention_off},
    {"threads-over-cores", DOCTOR_FAULT, threads_over_cores},
    {"threads-over-quota", DOCTOR_FAULT, threads_over_quota},
    {"batch-tiny", DOCTOR_FAULT, batch_tiny},
    {"memory-pressure", DOCTOR_FAULT, memory_pressure},
    {"huge-pages-off", DOCTOR_FAULT, huge_pages_off},
    {"governor-slow", DOCTOR_FAULT, governor_slow},
    {"gpu-layers-left", DOCTOR_ADVICE, gpu_layers_left},
    {"quota-throttled", DOCTOR_ADVICE, quota_throttled},
    {"machine-busy", DOCTOR_ADVICE, machine_busy},
    {"gpu-busy", DOCTOR_ADVICE, gpu_busy},
    {"gpu-experts-left", DOCTOR_ADVICE, gpu_experts_left},
    {"gpu-memory-full", DOCTOR_ADVICE, gpu_memory_full},
    {"gpu-plan-off", DOCTOR_ADVICE, gpu_plan_off},
    {"swap-used", DOCTOR_ADVICE, swap_used},
    {"model-slow-disk", DOCTOR_ADVICE, model_slow_disk},
    {"context-untrained", DOCTOR_ADVICE, context_untrained},
    {"context-unused", DOCTOR_ADVICE, context_unused},
    {"batch-oversized", DOCTOR_ADVICE, batch_oversized},
};
_Static_assert(COUNT_OF(rows) <= DOCTOR_MOST, "a finding of every row has room");

size_t doctor_examine(const struct doctor_case *c, struct doctor_finding out[DOCTOR_MOST])
{
    size_t n = 0;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        out[n] = (struct doctor_finding){.code = rows[i].code, .level = rows[i].level};
        n += rows[i].test(c, &out[n]);
    }
    return n;
}

const char *doctor_row(size_t i, enum doctor_level *level)
{
    if (i >= COUNT_OF(rows)) return NULL;
    *level = rows[i].level;
    return rows[i].code;
}
