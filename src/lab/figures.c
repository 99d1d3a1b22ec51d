/* figures.c - records to rows of values (figures.h). */
#include "figures.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "mem.h"
#include "record.h"
#include "str.h"

/* What each kind of work is judged by where nobody says otherwise: few questions get clear answers. */
static const struct {
    const char *kind, *metrics;
} kinds[] = {
    {"generate", "output_ts,prefill_ts,decode_ts,ttft_ms"},
    {"embed", "records_s"},
    {"score", "ppl,input_words_s"},
    {"load", "load_ms"},
};

const char *figures_of_kind(const char *kind)
{
    for (size_t i = 0; kind && i < COUNT_OF(kinds); i++)
        if (strcmp(kinds[i].kind, kind) == 0) return kinds[i].metrics;
    return "";
}

const char *figure_name(const struct figure *f)
{
    return f->metric ? f->metric->name : "wall time";
}

struct figure *figures_find(const struct figures *f, const char *row, const struct metric *metric)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->all[i].metric == metric && strcmp(f->all[i].row, row) == 0) return &f->all[i];
    return NULL;
}

/* Room for one more of `size` bytes each. */
static int grow(void **block, size_t n, size_t *most, size_t size, struct redline_err *err)
{
    if (n < *most) return 0;
    size_t wanted = MAX(2 * *most, (size_t)16);
    void *larger = mem_resize(*block, wanted, size);
    if (!larger) return err_memory(err, wanted * size, "figures");
    *block = larger;
    *most = wanted;
    return 0;
}

static int begin(struct figures *f, const char *row, const struct metric *metric, json_t *sample,
                 struct redline_err *err)
{
    void *all = f->all;
    TRY(grow(&all, f->n, &f->most, sizeof *f->all, err));
    f->all = all;
    struct figure *figure = &f->all[f->n];
    *figure = (struct figure){.row = mem_copy(row, strlen(row)), .metric = metric, .sample = sample};
    if (!figure->row) return err_memory(err, strlen(row) + 1, "figures");
    f->n++;
    return 0;
}

int figures_add(struct figures *f, const char *row, const struct metric *metric, json_t *sample, double value,
                struct redline_err *err)
{
    struct figure *figure = figures_find(f, row, metric);
    if (!figure) {
        TRY(begin(f, row, metric, sample, err));
        figure = &f->all[f->n - 1];
    }
    void *values = figure->values;
    TRY(grow(&values, figure->n, &figure->most, sizeof *figure->values, err));
    figure->values = values;
    figure->values[figure->n++] = value;
    return 0;
}

void figures_free(struct figures *f)
{
    for (size_t i = 0; i < f->n; i++) {
        mem_free(f->all[i].row);
        mem_free(f->all[i].values);
    }
    mem_free(f->all);
    *f = (struct figures){0};
}

/* The row of a record, with the name of who was measured unless that is us. */
void figures_row(const json_t *record, char *out, size_t n)
{
    const char *contestant = record_text(record, "program.contestant");
    out[0] = 0;
    record_row(record, out, n);
    size_t used = strlen(out);
    if (contestant && strcmp(contestant, "redline") != 0)
        snprintf(out + used, n - used, "%s%s", used ? " | " : "", contestant);
}

static int take_one(struct figures *f, json_t *record, const char *row, const char *name, size_t n,
                    struct redline_err *err)
{
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)MIN(n, sizeof text - 1), name);
    const struct metric *metric = metric_find(text);
    if (!metric) return err_set(err, REDLINE_ARG, "there is no metric '%s'; redline lab metrics lists them", text);
    if (metric->better == METRIC_NEITHER)
        return err_set(err, REDLINE_ARG, "%s: neither more nor less of it is better, so it decides nothing", text);
    return figures_add(f, row, metric, record, record_metric(record, text), err);
}

/* A figure that some record of its row has not is none to decide by. */
static void drop_incomplete(struct figures *f)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->n; i++) {
        bool whole = true;
        for (size_t j = 0; j < f->all[i].n; j++) whole &= isfinite(f->all[i].values[j]) && f->all[i].values[j] > 0;
        if (whole) {
            f->all[kept++] = f->all[i];
        } else {
            mem_free(f->all[i].row);
            mem_free(f->all[i].values);
        }
    }
    f->n = kept;
}

int figures_take(struct figures *f, json_t *records, const char *names, struct redline_err *err)
{
    size_t i;
    json_t *record;
    json_array_foreach(records, i, record) {
        char row[512];
        if (record_failure(record)) continue;
        figures_row(record, row, sizeof row);
        const char *wanted = names ? names : figures_of_kind(record_text(record, "workload.kind"));
        for (const char *at = wanted; *at;) {
            size_t n = strcspn(at, ",");
            TRY(take_one(f, record, row, at, n, err));
            at += n + (at[n] == ',');
        }
    }
    drop_incomplete(f);
    return 0;
}
