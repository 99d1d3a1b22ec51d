/* lab_metrics.c - redline lab metrics: the dictionary of figures, for people and for docs/lab-records.md. */
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "cmd.h"
#include "lab.h"
#include "metric.h"
#include "record_members.h"

static const char *better(const struct metric *m)
{
    return m->better == METRIC_HIGHER ? "more" : m->better == METRIC_LOWER ? "less" : "";
}

static void print_plain(const struct metric *m)
{
    printf("%s%s%s%s%s\n    %s.\n", m->name, *m->unit ? ", " : "", m->unit, *better(m) ? "; better: " : "", better(m),
           m->definition);
}

static void print_metric_row(const struct metric *m)
{
    printf("| `%s` | %s | %s | %s |\n", m->name, m->unit, better(m), m->definition);
}

static const char *const kinds[] = {"object", "array", "text", "whole number", "number", "true, false"};

static void print_member_row(const char *before, const struct record_member *m)
{
    const char *when = m->flags & RECORD_OPTIONAL ? "may be left out" : m->flags & RECORD_NEVER ? "never null" : "";
    printf("| `%s%s` | %s | %s | %s |\n", before, m->path, kinds[m->kind], when, m->about);
}

static void print_members(void)
{
    puts("| member | kind | | meaning |\n|---|---|---|---|");
    for (size_t i = 0; i < n_record_members; i++) {
        print_member_row("", &record_members[i]);
        for (size_t k = 0; k < n_record_elements; k++) {
            char before[64];
            if (strcmp(record_elements[k].path, record_members[i].path) != 0) continue;
            snprintf(before, sizeof before, "%s[].", record_elements[k].path);
            for (size_t m = 0; m < record_elements[k].n; m++) print_member_row(before, &record_elements[k].members[m]);
        }
    }
}

/* What is between the tables of docs/lab-records.md. */
static const char head[] =
    "# Records\n\n"
    "A record is one measurement: one JSON object on one line of a store (`lab/EXPERIMENT.jsonl`). Stores are only\n"
    "appended to. What could not be read is `null`, and `missing` says why, under the value's path\n"
    "(`machine.governor`) or that of what it is a part of (`requests` for all of the requests' times). A measurement\n"
    "that failed has `failed`, a sentence, and no `derived`.\n\n"
    "[lab-record.schema.json](lab-record.schema.json) is the definition for other programs (`redline lab check\n"
    "--schema` prints it), [lab-record.example.json](lab-record.example.json) a record. `redline lab check STORE`\n"
    "holds a store against all of it. This page is what `redline lab metrics --markdown` prints.\n\n"
    "## Members\n";

static const char figures[] =
    "\n## Figures\n\n"
    "Members of `derived`, each with `value` and `unit`. A name has one definition. Quantiles are told from so many\n"
    "values that two of them hold the quantile between them with 95 %: 6 for the median, 72 for p95, 368 for p99;\n"
    "with fewer they are null, and `missing` says how many there are. What counts as the time of a token at the\n"
    "consumer is the moment when the call that waits for it returned.\n\n"
    "| name | unit | better | definition |\n|---|---|---|---|";

static const char tasks[] =
    "\n## Tasks\n\n"
    "What `redline lab worker` reads, one JSON object on standard input; its answer is a record. All members may be\n"
    "left out.\n\n"
    "| member | meaning |\n|---|---|\n"
    "| `model` | path of the file; null: the demo model |\n"
    "| `settings` | `n_threads`, `n_ctx`, `n_batch`, `n_ubatch`, `n_seqs`, `type_k`, `type_v`, `exact`, "
    "`n_gpu_layers`, `device_memory`, `n_cpu_moe`, `placement`, `cpu_mask` (what REDLINE_CPU must hold when the "
    "worker begins); \"auto\" where that is possible |\n"
    "| `workload` | as in a record; `n_prompt` random tokens behind `n_depth` others, or the parts of a document, of "
    "each `n_prompt` tokens at most |\n"
    "| `load` | `fresh` or `warm` |\n"
    "| `experiment`, `requested`, `program` | copied into the record |\n"
    "| `started_ns` | when the worker was started, by the system's monotonic clock |\n"
    "| `digest_cache` | a file that keeps the digests of models |";

static void print_document(void)
{
    puts(head);
    print_members();
    puts(figures);
    for (size_t i = 0; i < n_metrics; i++) print_metric_row(&metrics[i]);
    puts(tasks);
}

int lab_metrics(int argc, char **argv)
{
    bool markdown = false;
    const struct opt options[] = {
        {"--markdown", NULL, OPT_FLAG, &markdown, 0, 0, "docs/lab-records.md: what a record holds, and this"},
    };
    const struct opt_command command = {
        "redline lab metrics [NAME...]",
        "What every figure of a record means: its unit, whether more or less of it is better, its definition.", options,
        COUNT_OF(options), "Example: redline lab metrics ttft_ms tpot_ms"};
    enum { MOST_NAMES = 64 };
    const char *names[MOST_NAMES];
    struct redline_err err = {0};
    int n_names, exit_code;
    if (!cmd_parse(&command, argc, argv, names, MOST_NAMES, &n_names, &exit_code)) return exit_code;
    for (int i = 0; i < n_names; i++) {
        if (metric_find(names[i])) continue;
        err_set(&err, REDLINE_ARG, "there is no metric '%.60s'; redline lab metrics lists them", names[i]);
        return cmd_fail(&err);
    }
    if (markdown) print_document();
    for (size_t i = 0; i < n_metrics && !markdown; i++) {
        bool wanted = n_names == 0;
        for (int j = 0; j < n_names; j++) wanted |= strcmp(names[j], metrics[i].name) == 0;
        if (wanted) print_plain(&metrics[i]);
    }
    return cmd_flush(&err) ? cmd_fail(&err) : EXIT_FINE;
}
