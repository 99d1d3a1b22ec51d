/* cmd_probe.c - redline probe: what this machine can do at most, the limits that speeds stand beside. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base.h"
#include "cmd.h"
#include "probe_limits.h"
#include "settings.h"

struct probe {
    int n_threads, budget_ms;
    bool json, fresh;
    struct redline_limits limits;
};

static int print_machine(const struct redline_limits *l, struct buf *out, struct redline_err *err)
{
    const struct redline_machine *m = &l->machine;
    char memory[32], when[64];
    time_t at = (time_t)l->measured_at;
    struct tm parts;
    str_bytes_text(m->memory_bytes, memory, sizeof memory);
    if (!gmtime_r(&at, &parts) || !strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &parts))
        snprintf(when, sizeof when, "at an unknown time");
    TRY(buf_printf(out, err, "%s (%s), %d cores, %d processors, %s of memory\n", m->cpu, m->features,
                   m->n_physical, m->n_logical, memory));
    TRY(buf_printf(out, err, "caches: L1d %llu KiB and L2 %llu KiB a core, %d x L3 %llu MiB\n",
                   (unsigned long long)m->l1d_bytes >> 10, (unsigned long long)m->l2_bytes >> 10, m->n_l3,
                   (unsigned long long)m->l3_bytes >> 20));
    if (m->quota > 0)
        TRY(buf_printf(out, err, "the container grants the time of %.2f processors: what lasts may be less than "
                       "the best\n", m->quota));
    return buf_printf(out, err, "measured %s in %.1f s\n", when, (double)l->duration_ms / 1e3);
}

static double best_of(const struct redline_bandwidth *b)
{
    return MAX(b->plain.best, b->prefetch.best);
}

static int print_bandwidths(const struct redline_limits *l, struct buf *out, struct redline_err *err)
{
    char bytes[32];
    double most = 0;
    str_bytes_text(l->read_bytes, bytes, sizeof bytes);
    TRY(buf_printf(out, err, "\nreading %s of memory, each thread a part, in GB/s\n", bytes));
    if (l->read_bytes < 2 * redline_machine_cache_bytes(&l->machine))
        TRY(buf_printf(out, err, "(much of it fits in the caches: there is too little free memory for more)\n"));
    TRY(buf_printf(out, err, "%9s %9s %9s %9s %9s %8s\n", "threads", "best", "median", "plain", "prefetch",
                   "share"));
    for (int i = 0; i < l->n_bandwidths; i++) most = MAX(most, best_of(&l->bandwidths[i]));
    for (int i = 0; i < l->n_bandwidths; i++) {
        const struct redline_bandwidth *b = &l->bandwidths[i];
        TRY(buf_printf(out, err, "%9d %9.1f %9.1f %9.1f %9.1f %6.0f %%\n", b->n_threads, best_of(b) / 1e9,
                       MAX(b->plain.median, b->prefetch.median) / 1e9, b->plain.best / 1e9,
                       b->prefetch.best / 1e9, 100 * best_of(b) / most));
    }
    return 0;
}

/* The next row is the same loop with all threads. */
static bool is_pair(const struct redline_limits *l, int i)
{
    const struct redline_peak *p = &l->peaks[i];
    return i + 1 < l->n_peaks && strcmp(p[0].isa, p[1].isa) == 0 && strcmp(p[0].type, p[1].type) == 0;
}

static int print_peaks(const struct redline_limits *l, struct buf *out, struct redline_err *err)
{
    char all[32] = "";
    if (l->n_threads > 1) snprintf(all, sizeof all, "%d threads", l->n_threads);
    TRY(buf_printf(out, err, "\narithmetic in registers, in GOPS (a multiply-add counts as two)\n"));
    TRY(buf_printf(out, err, "  %-8s %-5s %11s %9s %12s %9s\n", "set", "type", "1 thread", "median", all,
                   l->n_threads > 1 ? "median" : ""));
    for (int i = 0; i < l->n_peaks; i++) {
        const struct redline_peak *p = &l->peaks[i];
        TRY(buf_printf(out, err, "  %-8s %-5s %11.1f %9.1f", p->isa, p->type, p->ops.best / 1e9,
                       p->ops.median / 1e9));
        if (is_pair(l, i)) {
            i++;
            TRY(buf_printf(out, err, " %12.1f %9.1f", l->peaks[i].ops.best / 1e9, l->peaks[i].ops.median / 1e9));
        }
        TRY(buf_printf(out, err, "\n"));
    }
    return 0;
}

static int print_gpu(const struct redline_gpu_limits *g, int i, struct buf *out, struct redline_err *err)
{
    if (i == 0)
        TRY(buf_printf(out, err, "\nGPUs: reading their memory and copying within it (both ways counted) in GB/s, "
                       "products of BF16 in TOPS\n%9s %9s %9s %9s\n", "", "read", "copy", "bf16"));
    if (*g->missing)
        return buf_printf(out, err, "     gpu%d %9s %9s %9.1f  %s (%s): memory is not measured, %s\n", i, "-", "-",
                          g->bf16_ops / 1e12, g->name, g->arch, g->missing);
    return buf_printf(out, err, "     gpu%d %9.1f %9.1f %9.1f  %s (%s)\n", i, g->read_bytes / 1e9, g->copy_bytes / 1e9,
                      g->bf16_ops / 1e12, g->name, g->arch);
}

/* Nothing is kept of them: they are quickly measured. */
static int print_gpus(struct buf *out, struct redline_err *err)
{
    int n = redline_gpu_count();
    for (int i = 0; i < n; i++) {
        struct redline_gpu_limits gpu;
        TRY(redline_gpu_limits_measure(i, &gpu, err));
        TRY(print_gpu(&gpu, i, out, err));
    }
    return 0;
}

static json_t *rate_json(double rate)
{
    return rate > 0 ? json_real(rate) : json_null();
}

static int add_gpus(json_t *root, struct redline_err *err)
{
    json_t *all = json_array();
    int n = redline_gpu_count();
    if (json_object_set_new(root, "gpus", all)) return err_memory(err, 0, "the JSON text");
    for (int i = 0; i < n; i++) {
        struct redline_gpu_limits g;
        TRY(redline_gpu_limits_measure(i, &g, err));
        json_array_append_new(all, json_pack("{s:s, s:s, s:o, s:o, s:o, s:s}", "name", g.name, "arch", g.arch,
                                             "read_bytes_s", rate_json(g.read_bytes), "copy_bytes_s",
                                             rate_json(g.copy_bytes), "bf16_ops_s", rate_json(g.bf16_ops), "missing",
                                             g.missing));
    }
    return 0;
}

/* The record, and GPUs beside it where there are any. */
static int print_json(const struct redline_limits *l, struct buf *out, struct redline_err *err)
{
    char *text;
    TRY(redline_limits_to_json(l, &text, err));
    if (redline_gpu_count() == 0) {
        int written = buf_append(out, text, strlen(text), err);
        redline_free(text);
        return written;
    }
    json_t *root = json_loads(text, 0, NULL);
    redline_free(text);
    int status = root ? add_gpus(root, err) : err_memory(err, 0, "the JSON text");
    char *whole = status ? NULL : json_dumps(root, JSON_INDENT(2));
    if (!status) status = whole ? buf_printf(out, err, "%s\n", whole) : err_memory(err, 0, "the JSON text");
    free(whole);
    json_decref(root);
    return status;
}

static int print_text(const struct redline_limits *l, struct buf *out, struct redline_err *err)
{
    TRY(print_machine(l, out, err));
    TRY(print_bandwidths(l, out, err));
    TRY(print_peaks(l, out, err));
    return print_gpus(out, err);
}

static int run_all(struct probe *p, struct buf *out, struct redline_err *err)
{
    const struct redline_limits_params params = {.n_threads = p->n_threads, .budget_ms = (uint32_t)p->budget_ms};
    TRY(limits_get_with(&p->limits, &params, p->fresh, err));
    TRY(p->json ? print_json(&p->limits, out, err) : print_text(&p->limits, out, err));
    TRY(cmd_write(out->p, out->n, err));
    return cmd_flush(err);
}

int cmd_probe(int argc, char **argv)
{
    struct probe p = {.budget_ms = 3000};
    struct settings set = {0};
    const struct opt options[] = {
        settings_opt(&set, SETTING_N_THREADS, &p.n_threads),
        {"--fresh", NULL, OPT_FLAG, &p.fresh, 0, 0, "measure now, whatever is on record"},
        {"--budget", "MS", OPT_INT, &p.budget_ms, 1, 600000,
         "milliseconds to measure in, about, where there is no record yet or with --fresh (3000)"},
        {"--json", NULL, OPT_FLAG, &p.json, 0, 0, "the record as one JSON object"},
    };
    const struct opt_command command = {
        "redline probe [options]",
        "Shows what this machine can do at most: how fast its memory is read by 1, 2, ... threads, and how fast\n"
        "each instruction set computes.  Measured once, in some seconds, and kept until the machine changes.  How\n"
        "fast GPUs read, copy and multiply is measured each time.",
        options, COUNT_OF(options),
        "best is the limit: what the machine did in the best of many repetitions.  median is what it did most\n"
        "of the time: less than the best where others use the machine or a quota runs out.  plain: the best of\n"
        "loads one after the other, as wide as the processor has them; prefetch: of the same with lines asked\n"
        "for 512 bytes ahead.  share: of the best of all rows.  The record lies in $XDG_CACHE_HOME/redline or\n"
        "~/.cache/redline; a machine that changed, or more threads than on record, is measured anew."};
    struct redline_err err = {0};
    struct buf out = {0};
    int n_words, exit_code;
    if (!settings_parse(&set, &command, argc, argv, NULL, 0, &n_words, &exit_code)) return exit_code;
    int status = run_all(&p, &out, &err);
    buf_free(&out);
    settings_free(&set);
    return status ? cmd_fail(&err) : EXIT_FINE;
}
