/* plots.c - speed against context, distributions of the time between tokens, roofline, history. */
#define _GNU_SOURCE
#include "plots.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base.h"
#include "mem.h"
#include "record.h"
#include "rows.h"
#include "stats.h"

enum { MOST_SETS = 6, N_BINS = 48, LEAST_GAPS = 20 };

static int no_memory(struct redline_err *err)
{
    return err_memory(err, 0, "a plot");
}

/* ---- points, sets, plots ------------------------------------------------------------------------ */

static json_t *new_plot(const char *title, const char *about, const char *x, const char *x_scale, const char *y,
                        const char *y_scale)
{
    return json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s}, s:[]}", "title", title, "about", about, "x", "label", x,
                     "scale", x_scale, "y", "label", y, "scale", y_scale, "sets");
}

/* The points of a new set of the plot; NULL: no memory. */
static json_t *new_set(json_t *plot, const char *label, const char *kind)
{
    json_t *set = json_pack("{s:s, s:s, s:[]}", "label", label, "kind", kind, "points");
    return json_array_append_new(json_object_get(plot, "sets"), set) ? NULL : json_object_get(set, "points");
}

static int add_point(json_t *points, double x, double y, struct redline_err *err)
{
    json_t *point = json_pack("{s:f, s:f}", "x", x, "y", y);
    return !points || json_array_append_new(points, point) ? no_memory(err) : 0;
}

static int add_figure(json_t *points, double x, const struct rows_figure *f, double factor, const char *text,
                      struct redline_err *err)
{
    TRY(add_point(points, x, f->value * factor, err));
    json_t *point = json_array_get(points, json_array_size(points) - 1);
    if (f->spread == ROWS_INTERVAL || f->spread == ROWS_RANGE)
        if (json_object_set_new(point, "low", json_real(f->low * factor)) ||
            json_object_set_new(point, "high", json_real(f->high * factor)))
            return no_memory(err);
    return text && json_object_set_new(point, "text", json_string(text)) ? no_memory(err) : 0;
}

/* Keeps the plot if it shows something; takes the reference. */
static int keep_plot(json_t *plots, json_t *plot, int status, struct redline_err *err)
{
    size_t i, n = 0;
    json_t *set;
    json_array_foreach(json_object_get(plot, "sets"), i, set)
        n += strcmp(record_text(set, "kind"), "roof") != 0 && json_array_size(json_object_get(set, "points")) > 0;
    if (status == 0 && n > 0 && json_array_append(plots, plot)) status = no_memory(err);
    json_decref(plot);
    return status;
}

/* The rows of records by what tells them apart, but for the keys in `without` (NULL at the end), and their labels. */
static int label_rows(json_t **rows, json_t *records, const char *const *without, struct redline_err *err)
{
    json_t *keys = NULL, *row;
    size_t i;
    *rows = NULL;
    int status = rows_varying(&keys, records, err);
    for (size_t k = json_array_size(keys); status == 0 && k-- > 0;)
        for (const char *const *w = without; *w; w++)
            if (strcmp(json_string_value(json_array_get(keys, k)), *w) == 0) {
                json_array_remove(keys, k);
                break;
            }
    if (status == 0) status = rows_group(rows, records, keys, err);
    json_array_foreach(*rows, i, row) {
        json_t *label = NULL;
        if (status == 0) status = rows_label(&label, keys, json_object_get(row, "keys"), err);
        if (status == 0 && json_object_set(row, "label", label)) status = no_memory(err);
        json_decref(label);
    }
    json_decref(keys);
    return status;
}

static const char *label_of(const json_t *row, const char *otherwise)
{
    const char *label = record_text(row, "label");
    return label && *label ? label : otherwise;
}

static json_t *records_of(const json_t *row)
{
    return json_object_get(row, "records");
}

/* ---- speed against context ---------------------------------------------------------------------- */

/* What says how long the context is, in the words of grids and workloads. */
static const char *const of_length[] = {"workload", "n_prompt", "n_depth", "n_ctx", "workload.n_prompt",
                                        "workload.n_depth", NULL};

static double context_of(const json_t *record)
{
    double prompt = record_number(record, "workload.n_prompt"), depth = record_number(record, "workload.n_depth");
    return (isnan(prompt) ? 0 : prompt) + (isnan(depth) ? 0 : depth);
}

/* The points of a row, one for each length.  Rows come sorted by n_depth and n_prompt, not by their sum. */
static int context_points(json_t *points, json_t *lengths, const char *metric, struct redline_err *err)
{
    size_t i;
    json_t *row;
    for (double last = 0;;) {
        json_t *next = NULL;
        double least = INFINITY;
        json_array_foreach(lengths, i, row) {
            double x = context_of(json_array_get(records_of(row), 0));
            if (x > last && x < least) {
                least = x;
                next = row;
            }
        }
        if (!next) return 0;
        struct rows_figure f;
        TRY(rows_metric(&f, records_of(next), metric, false, err));
        if (isfinite(f.value)) TRY(add_figure(points, least, &f, 1, NULL, err));
        last = least;
    }
}

static int context_set(json_t *plot, const json_t *row, const char *metric, struct redline_err *err)
{
    json_t *lengths = NULL, *points = json_array();
    json_t *keys = json_pack("[s, s]", "workload.n_depth", "workload.n_prompt");
    int status = keys && points ? rows_group(&lengths, records_of(row), keys, err) : no_memory(err);
    if (status == 0) status = context_points(points, lengths, metric, err);
    if (status == 0 && json_array_size(points) > 1) { /* one length is no curve */
        json_t *own = new_set(plot, label_of(row, "speed"), "line");
        if (!own || json_array_extend(own, points)) status = no_memory(err);
    }
    json_decref(points);
    json_decref(lengths);
    json_decref(keys);
    return status;
}

static int add_context(json_t *plots, json_t *records, const char *title, const char *metric, struct redline_err *err)
{
    json_t *rows = NULL, *row;
    size_t i;
    json_t *plot = new_plot(title, "Medians of all runs; whiskers: the 95 % interval of the median, or all runs where "
                            "they are fewer than six.", "tokens in the context before", "log", "tok/s", "linear");
    int status = plot ? label_rows(&rows, records, of_length, err) : no_memory(err);
    json_array_foreach(rows, i, row)
        if (status == 0 && json_array_size(json_object_get(plot, "sets")) < MOST_SETS)
            status = context_set(plot, row, metric, err);
    json_decref(rows);
    return keep_plot(plots, plot, status, err);
}

/* ---- time between tokens ------------------------------------------------------------------------ */

struct gaps { /* of one row, sorted, in ms */
    const char *label;
    double *values; /* owned */
    size_t n;
};

/* The rows that have enough of them, MOST_SETS at most; *n_rows: how many there would be. */
static int take_gaps(struct gaps *out, size_t *n, size_t *n_rows, json_t *rows, struct redline_err *err)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        struct gaps g = {.label = label_of(row, "all runs")};
        TRY(rows_gaps(&g.values, &g.n, records_of(row), "engine_ns", err));
        bool enough = g.n >= LEAST_GAPS;
        *n_rows += enough;
        if (enough && *n < MOST_SETS)
            out[(*n)++] = g;
        else
            mem_free(g.values);
    }
    return 0;
}

static size_t n_below(const struct gaps *g, double limit)
{
    size_t n = 0;
    while (n < g->n && g->values[n] < limit) n++;
    return n;
}

/* Shares of the gaps in bins of equal width; what lies beyond the last counts in it. */
static int histogram_set(json_t *plot, const struct gaps *g, double from, double width, struct redline_err *err)
{
    json_t *points = new_set(plot, g->label, "steps");
    for (size_t b = 0; b <= N_BINS; b++) {
        size_t first = b ? n_below(g, from + (double)b * width) : 0;
        size_t end = b + 1 < N_BINS ? n_below(g, from + (double)(b + 1) * width) : g->n;
        double share = b < N_BINS ? 100 * (double)(end - first) / (double)g->n : 0;
        TRY(add_point(points, from + (double)b * width, share, err));
    }
    return 0;
}

static int add_histogram(json_t *plots, const struct gaps *all, size_t n, const char *about, struct redline_err *err)
{
    double from = INFINITY, to = 0;
    for (size_t i = 0; i < n; i++) {
        from = fmin(from, all[i].values[0]);
        to = fmax(to, stats_quantile(all[i].values, all[i].n, 0.99));
    }
    double width = (to - from) / (N_BINS - 1);
    if (!(width > 0)) return 0;
    json_t *plot = new_plot("Time between tokens", about, "ms between two tokens, at the engine", "linear",
                            "share of intervals, %", "linear");
    int status = plot ? 0 : no_memory(err);
    for (size_t i = 0; i < n && status == 0; i++) status = histogram_set(plot, &all[i], from, width, err);
    return keep_plot(plots, plot, status, err);
}

/* Where a percentile curve has points. */
static const double shares[] = {0,    0.1,  0.2,  0.25, 0.3,   0.4,   0.5,   0.6,   0.7,    0.75,
                                0.8,  0.85, 0.9,  0.925, 0.95, 0.97, 0.98,  0.99,  0.995, 0.998, 0.999};

static int percentile_set(json_t *plot, const struct gaps *g, struct redline_err *err)
{
    json_t *points = new_set(plot, g->label, "line");
    for (size_t i = 0; i < COUNT_OF(shares) && (shares[i] <= 0.5 || metric_samples_for(shares[i]) <= g->n); i++)
        TRY(add_point(points, 1 / (1 - shares[i]), stats_quantile(g->values, g->n, shares[i]), err));
    return 0;
}

static int add_percentiles(json_t *plots, const struct gaps *all, size_t n, struct redline_err *err)
{
    json_t *plot = new_plot("Percentiles of the time between tokens",
                            "At the engine.  A curve ends where there are too few intervals to tell a percentile.",
                            "percentile", "percentile", "ms between two tokens", "linear");
    int status = plot ? 0 : no_memory(err);
    for (size_t i = 0; i < n && status == 0; i++) status = percentile_set(plot, &all[i], err);
    return keep_plot(plots, plot, status, err);
}

static int add_latency(json_t *plots, json_t *records, struct redline_err *err)
{
    static const char *const nothing[] = {NULL};
    struct gaps all[MOST_SETS] = {0};
    size_t n = 0, n_rows = 0;
    char about[160] = "The last bin holds all that took longer.";
    json_t *rows;
    int status = label_rows(&rows, records, nothing, err);
    if (status == 0) status = take_gaps(all, &n, &n_rows, rows, err);
    if (n_rows > n)
        snprintf(about, sizeof about, "The last bin holds all that took longer.  The first %zu of %zu rows.", n,
                 n_rows);
    if (status == 0 && n > 0) status = add_histogram(plots, all, n, about, err);
    if (status == 0 && n > 0) status = add_percentiles(plots, all, n, err);
    for (size_t i = 0; i < n; i++) mem_free(all[i].values);
    json_decref(rows);
    return status;
}

/* ---- roofline ----------------------------------------------------------------------------------- */

/* What one token costs: as the engine planned it where the record says so, else by the size of the model. */
struct cost {
    double bytes, ops;
};

static struct cost cost_of(const json_t *record, bool generated)
{
    struct cost c = {record_number(record, "model.token_bytes"), record_number(record, "model.token_ops")};
    double head_ops = record_number(record, "model.head_ops");
    if (generated && isfinite(head_ops)) c.ops += head_ops; /* of a prompt, one token alone has an output */
    if (isnan(c.bytes)) c.bytes = record_number(record, "model.weight_bytes");
    if (isnan(c.ops)) c.ops = 2 * record_number(record, "model.n_parameters");
    return c;
}

/* One point for a row: n tokens share one reading of the weights. */
static int roofline_point(json_t *points, const json_t *row, const char *metric, double n_tokens,
                          struct redline_err *err)
{
    const json_t *first = json_array_get(records_of(row), 0);
    struct cost c = cost_of(first, strcmp(metric, "decode_ts") == 0);
    struct rows_figure f;
    TRY(rows_metric(&f, records_of(row), metric, false, err));
    if (!isfinite(f.value) || !(c.bytes > 0) || !(c.ops > 0) || !(n_tokens > 0)) return 0;
    return add_figure(points, c.ops * n_tokens / c.bytes, &f, c.ops / 1e9, label_of(row, "all runs"), err);
}

static double tokens_a_step(const json_t *record)
{
    return fmin(record_number(record, "workload.n_prompt"), record_number(record, "settings.effective.n_ubatch"));
}

static int roofline_runs(json_t *plot, json_t *rows, struct redline_err *err)
{
    json_t *decode = new_set(plot, "generation", "points"), *prompt = new_set(plot, "prompts", "points"), *row;
    size_t i;
    if (!decode || !prompt) return no_memory(err);
    json_array_foreach(rows, i, row) {
        const json_t *first = json_array_get(records_of(row), 0);
        double concurrency = record_number(first, "workload.concurrency");
        if (concurrency > 1) continue; /* who shares a step with whom, a record does not say */
        TRY(roofline_point(decode, row, "decode_ts", 1, err));
        TRY(roofline_point(prompt, row, "prefill_ts", tokens_a_step(first), err));
    }
    return 0;
}

static double best_bandwidth(const json_t *limits)
{
    double best = 0;
    size_t i;
    json_t *b;
    json_array_foreach(json_object_get(limits, "bandwidth"), i, b) best = fmax(best, record_number(b, "bytes_per_s"));
    return best;
}

static double best_peak(const json_t *limits, const char *type, const char **isa)
{
    double best = 0;
    size_t i;
    json_t *p;
    json_array_foreach(json_object_get(limits, "compute"), i, p) {
        double ops = record_number(p, "ops_per_s.best");
        const char *own = record_text(p, "type");
        if (!own || strcmp(own, type) != 0 || !(ops > best)) continue;
        best = ops;
        *isa = record_text(p, "isa");
    }
    return best;
}

/* From where a byte is worth a tenth of an operation, up the slope of the memory, along the processor's peak. */
static int roof(json_t *plot, const json_t *limits, const char *type, struct redline_err *err)
{
    const char *isa = "";
    double bandwidth = best_bandwidth(limits), peak = best_peak(limits, type, &isa);
    double from = 0.25, ridge = peak / bandwidth, to = 4096;
    char label[96];
    if (!(bandwidth > 0) || !(ridge > from)) return 0;
    snprintf(label, sizeof label, "%s, %s: %.0f GB/s, %.0f Gop/s", type, isa, bandwidth / 1e9, peak / 1e9);
    json_t *points = new_set(plot, label, "roof");
    TRY(add_point(points, from, from * bandwidth / 1e9, err));
    if (ridge < to) TRY(add_point(points, ridge, peak / 1e9, err));
    return add_point(points, fmax(to, ridge), peak / 1e9, err);
}

static int add_roofline(json_t *plots, json_t *records, const json_t *limits, struct redline_err *err)
{
    static const char *const types[] = {"int8", "bf16", "f32"};
    static const char *const nothing[] = {NULL};
    json_t *rows = NULL;
    json_t *plot = new_plot("Roofline",
                            "What the machine can do at most, as measured on it, and what the runs reached. Operations "
                            "and bytes of a token are those of the model's weights; attention is not counted.",
                            "operations per byte read", "log", "Gop/s", "log");
    int status = plot ? label_rows(&rows, records, nothing, err) : no_memory(err);
    if (status == 0) status = roofline_runs(plot, rows, err);
    for (size_t i = 0; i < COUNT_OF(types) && status == 0; i++) status = roof(plot, limits, types[i], err);
    json_decref(rows);
    return keep_plot(plots, plot, status, err);
}

/* ---- history ------------------------------------------------------------------------------------ */

static const char *const of_time[] = {"series", "commit", NULL};

/* ms since 1970 of "2026-11-21T18:15:00.123Z"; NAN: it is none. */
static double time_of(const json_t *record)
{
    struct tm tm = {0};
    const char *text = record_text(record, "experiment.series");
    const char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    if (!end && (text = record_text(record, "started"))) end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    return end ? 1e3 * (double)timegm(&tm) : NAN;
}

static int history_set(json_t *plot, const json_t *row, const char *metric, struct redline_err *err)
{
    json_t *series = NULL, *one, *keys = json_pack("[s]", "series");
    json_t *points = keys ? new_set(plot, label_of(row, "all runs"), "line") : NULL;
    size_t i;
    int status = points ? rows_group(&series, records_of(row), keys, err) : no_memory(err);
    json_array_foreach(series, i, one) {
        struct rows_figure f = {.value = NAN};
        const json_t *first = json_array_get(records_of(one), 0);
        double x = time_of(first);
        if (status == 0) status = rows_metric(&f, records_of(one), metric, false, err);
        if (status == 0 && isfinite(x) && isfinite(f.value))
            status = add_figure(points, x, &f, 1, record_text(first, "program.commit"), err);
    }
    json_decref(series);
    json_decref(keys);
    return status;
}

/* The figure whose course is of interest: the first that the records have. */
static const struct metric *course_of(json_t *records)
{
    static const char *const wanted[] = {"output_ts", "records_s", "prefill_ts", "load_ms"};
    for (size_t i = 0; i < COUNT_OF(wanted); i++)
        for (size_t k = 0; k < json_array_size(records); k++)
            if (isfinite(record_metric(json_array_get(records, k), wanted[i]))) return metric_find(wanted[i]);
    return NULL;
}

static int count_series(size_t *n, json_t *records, struct redline_err *err)
{
    json_t *rows = NULL, *keys = json_pack("[s]", "series");
    int status = keys ? rows_group(&rows, records, keys, err) : no_memory(err);
    *n = json_array_size(rows);
    json_decref(rows);
    json_decref(keys);
    return status;
}

static int add_history(json_t *plots, json_t *history, struct redline_err *err)
{
    const struct metric *m = course_of(history);
    size_t n_series, i;
    TRY(count_series(&n_series, history, err));
    if (!m || n_series < 2) return 0;
    json_t *rows = NULL, *row;
    json_t *plot = new_plot("History", "One point for each series of measurements.", "", "time", "", "linear");
    json_t *label = json_sprintf("%s, %s", m->label, m->unit);
    int status = json_object_set_new(json_object_get(plot, "y"), "label", label) ? no_memory(err) : 0;
    if (status == 0) status = label_rows(&rows, history, of_time, err);
    json_array_foreach(rows, i, row)
        if (status == 0 && i < MOST_SETS) status = history_set(plot, row, m->name, err);
    json_decref(rows);
    return keep_plot(plots, plot, status, err);
}

/* ---- all together ------------------------------------------------------------------------------- */

int plots_add(json_t *plots, json_t *records, json_t *history, const json_t *limits, struct redline_err *err)
{
    TRY(add_context(plots, records, "Generation against context", "decode_ts", err));
    TRY(add_context(plots, records, "Prompts against context", "prefill_ts", err));
    TRY(add_latency(plots, records, err));
    if (limits) TRY(add_roofline(plots, records, limits, err));
    return history ? add_history(plots, history, err) : 0;
}
