/* rows.c - values under keys, grouping, medians of groups. */
#include "rows.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "mem.h"
#include "record.h"
#include "stats.h"
#include "str.h"

/* ---- values ------------------------------------------------------------------------------------ */

/* Words that stand for a path, in the order in which they become columns. */
static const struct {
    const char *key, *path;
    bool speaks; /* its values tell what they are */
} aliases[] = {
    {"source", "source", true},
    {"machine", "machine.cpu", true},
    {"commit", "program.commit", false},
    {"series", "experiment.series", false},
    {"part", "experiment.part", true},
    {"contestant", "program.contestant", true},
    {"model", "model.file", true},
    {"load", "load", false},
    {"workload", "workload.name", true},
};

static const char *const folders[] = {"settings.effective", "workload", "model", "machine"};

static json_t *member(const json_t *record, const char *folder, const char *key)
{
    return json_object_get(record_at(record, folder), key);
}

static const json_t *find_value(const json_t *record, const char *key)
{
    const json_t *v = member(record, "experiment.grid", key);
    for (size_t i = 0; !v && i < COUNT_OF(aliases); i++)
        if (strcmp(key, aliases[i].key) == 0) v = record_at(record, aliases[i].path);
    for (size_t i = 0; !v && i < COUNT_OF(folders); i++) v = member(record, folders[i], key);
    return v ? v : record_at(record, key);
}

/* Cut, where it must be, between two code points: jansson takes whole ones alone. */
static void set_text(char out[ROWS_MOST_TEXT], const char *text)
{
    size_t n = strlen(text);
    if (n >= ROWS_MOST_TEXT) {
        n = ROWS_MOST_TEXT - 1;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) n--;
    }
    memcpy(out, text, n);
    out[n] = '\0';
}

/* A model by its file's name without folder and ending: quantised in several ways, it has one name inside. */
static void model_text(const json_t *record, char out[ROWS_MOST_TEXT])
{
    const char *file = record_text(record, "model.file");
    if (!file) file = "-";
    if (strrchr(file, '/')) file = strrchr(file, '/') + 1;
    set_text(out, file);
    size_t n = strlen(out);
    if (n > 5 && strcmp(out + n - 5, ".gguf") == 0) out[n - 5] = '\0';
}

/* Not by its fingerprint: that says too what the run left unused of the processor. */
static void machine_text(const json_t *record, char out[ROWS_MOST_TEXT])
{
    const char *cpu = record_text(record, "machine.cpu");
    double n = record_number(record, "machine.n_logical"), bytes = record_number(record, "machine.memory_bytes");
    snprintf(out, ROWS_MOST_TEXT, "%.100s, %g processors, %.0f GiB", cpu ? cpu : "-", isnan(n) ? 0 : n,
             isnan(bytes) ? 0 : bytes / 0x1p30);
}

/* Keys whose text is made of more than one value, or of a part of one. */
static const struct {
    const char *key;
    void (*text)(const json_t *record, char out[ROWS_MOST_TEXT]);
} made[] = {{"model", model_text}, {"machine", machine_text}};

void rows_value(const json_t *record, const char *key, char out[ROWS_MOST_TEXT])
{
    for (size_t i = 0; i < COUNT_OF(made); i++)
        if (strcmp(key, made[i].key) == 0) {
            made[i].text(record, out);
            return;
        }
    const json_t *v = find_value(record, key);
    if (json_is_string(v))
        set_text(out, json_string_value(v));
    else if (json_is_integer(v))
        snprintf(out, ROWS_MOST_TEXT, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v))
        snprintf(out, ROWS_MOST_TEXT, "%g", json_real_value(v));
    else
        snprintf(out, ROWS_MOST_TEXT, "%s", json_is_true(v) ? "yes" : json_is_false(v) ? "no" : "-");
}

/* ---- keys that differ -------------------------------------------------------------------------- */

/* Whether records of the same `within` differ in `key`. */
static bool varies_within(json_t *records, const char *key, const char *within)
{
    size_t n = json_array_size(records);
    for (size_t i = 1; i < n; i++) {
        char text[ROWS_MOST_TEXT], group[ROWS_MOST_TEXT], other[ROWS_MOST_TEXT];
        rows_value(json_array_get(records, i), key, text);
        rows_value(json_array_get(records, i), within, group);
        for (size_t k = i; k-- > 0;) { /* the nearest before it of the same group is enough */
            rows_value(json_array_get(records, k), within, other);
            if (strcmp(group, other) != 0) continue;
            rows_value(json_array_get(records, k), key, other);
            if (strcmp(text, other) != 0) return true;
            break;
        }
    }
    return false;
}

/* Different programs have different commits: that alone is no reason for a column. */
static bool varies(json_t *records, const char *key)
{
    if (strcmp(key, "commit") == 0) return varies_within(records, key, "contestant");
    char first[ROWS_MOST_TEXT], text[ROWS_MOST_TEXT];
    size_t i;
    json_t *record;
    json_array_foreach(records, i, record) {
        rows_value(record, key, i ? text : first);
        if (i && strcmp(first, text) != 0) return true;
    }
    return false;
}

static bool holds(const json_t *keys, const char *key)
{
    for (size_t i = 0; i < json_array_size(keys); i++)
        if (strcmp(json_string_value(json_array_get(keys, i)), key) == 0) return true;
    return false;
}

static int add_if_varies(json_t *keys, json_t *records, const char *key, struct redline_err *err)
{
    if (holds(keys, key) || !varies(records, key)) return 0;
    return json_array_append_new(keys, json_string(key)) ? err_memory(err, 0, "a report") : 0;
}

static int add_grid_keys(json_t *keys, json_t *records, struct redline_err *err)
{
    size_t i;
    json_t *record;
    json_array_foreach(records, i, record) {
        const char *key;
        json_t *value;
        json_object_foreach(record_at(record, "experiment.grid"), key, value)
            TRY(add_if_varies(keys, records, key, err));
    }
    return 0;
}

static int add_varying(json_t *keys, json_t *records, struct redline_err *err)
{
    for (size_t i = 0; i < COUNT_OF(aliases); i++) TRY(add_if_varies(keys, records, aliases[i].key, err));
    return add_grid_keys(keys, records, err);
}

int rows_varying(json_t **keys, json_t *records, struct redline_err *err)
{
    *keys = json_array();
    if (!*keys) return err_memory(err, 0, "a report");
    return add_varying(*keys, records, err);
}

/* ---- grouping ---------------------------------------------------------------------------------- */

struct place { /* of a row among the others */
    json_t *row;
    double cell;
    size_t at; /* first appearance */
};

/* As strcmp, but digits count as the number that they are. */
static int compare_natural(const char *a, const char *b)
{
    while (*a && *b) {
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            char *end_a, *end_b;
            double x = strtod(a, &end_a), y = strtod(b, &end_b);
            if (x != y) return x < y ? -1 : 1;
            a = end_a;
            b = end_b;
        } else {
            if (*a != *b) return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
            a++;
            b++;
        }
    }
    return (*a != 0) - (*b != 0);
}

static int compare_keys(const json_t *a, const json_t *b)
{
    const json_t *x = json_object_get(a, "keys"), *y = json_object_get(b, "keys");
    for (size_t i = 0; i < json_array_size(x); i++) {
        int order = compare_natural(json_string_value(json_array_get(x, i)), json_string_value(json_array_get(y, i)));
        if (order) return order;
    }
    return 0;
}

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->cell != y->cell) return x->cell < y->cell ? -1 : 1;
    int order = isinf(x->cell) ? compare_keys(x->row, y->row) : 0;
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static double lowest_cell(const json_t *records)
{
    double lowest = INFINITY;
    for (size_t i = 0; i < json_array_size(records); i++)
        lowest = fmin(lowest, record_number(json_array_get(records, i), "experiment.cell"));
    return lowest;
}

/* The rows of `by_name`, which holds them in order of appearance. */
static int sort_rows(json_t *rows, json_t *by_name, struct redline_err *err)
{
    size_t n = 0;
    struct place *places = mem_new(json_object_size(by_name), sizeof *places);
    if (!places) return err_memory(err, json_object_size(by_name) * sizeof *places, "rows");
    const char *name;
    json_t *row;
    json_object_foreach(by_name, name, row) {
        places[n] = (struct place){row, lowest_cell(json_object_get(row, "records")), n};
        n++;
    }
    if (n) qsort(places, n, sizeof *places, compare_places);
    int status = 0;
    for (size_t i = 0; i < n && status == 0; i++)
        if (json_array_append(rows, places[i].row)) status = err_memory(err, 0, "rows");
    mem_free(places);
    return status;
}

static int add_row(json_t *by_name, struct str name, const json_t *record, const json_t *keys, struct redline_err *err)
{
    json_t *values = json_array(), *row = json_pack("{s:o, s:[]}", "keys", values, "records");
    if (!row || json_object_setn_new_nocheck(by_name, name.p, name.n, row)) return err_memory(err, 0, "rows");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        char text[ROWS_MOST_TEXT];
        rows_value(record, json_string_value(json_array_get(keys, i)), text);
        if (json_array_append_new(values, json_string(text))) return err_memory(err, 0, "rows");
    }
    return 0;
}

static int group_record(json_t *by_name, struct buf *name, json_t *record, const json_t *keys, struct redline_err *err)
{
    name->n = 0;
    TRY(buf_reserve(name, 1, err));
    for (size_t i = 0; i < json_array_size(keys); i++) {
        char text[ROWS_MOST_TEXT];
        rows_value(record, json_string_value(json_array_get(keys, i)), text);
        TRY(buf_printf(name, err, "%s\x1f", text));
    }
    if (!json_object_getn(by_name, name->p, name->n)) TRY(add_row(by_name, buf_str(name), record, keys, err));
    json_t *row = json_object_getn(by_name, name->p, name->n);
    return json_array_append(json_object_get(row, "records"), record) ? err_memory(err, 0, "rows") : 0;
}

int rows_group(json_t **rows, json_t *records, const json_t *keys, struct redline_err *err)
{
    json_t *by_name = json_object();
    struct buf name = {0};
    *rows = json_array();
    int status = *rows && by_name ? 0 : err_memory(err, 0, "rows");
    for (size_t i = 0; i < json_array_size(records) && status == 0; i++)
        status = group_record(by_name, &name, json_array_get(records, i), keys, err);
    if (status == 0) status = sort_rows(*rows, by_name, err);
    buf_free(&name);
    json_decref(by_name);
    return status;
}

/* ---- labels ------------------------------------------------------------------------------------ */

static bool speaks(const char *key)
{
    for (size_t i = 0; i < COUNT_OF(aliases); i++)
        if (strcmp(key, aliases[i].key) == 0) return aliases[i].speaks;
    return false;
}

static int print_label(struct buf *out, const json_t *keys, const json_t *values, struct redline_err *err)
{
    TRY(buf_reserve(out, 1, err));
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const char *key = json_string_value(json_array_get(keys, i));
        const char *value = json_string_value(json_array_get(values, i));
        if (out->n) TRY(buf_printf(out, err, ", "));
        TRY(speaks(key) ? buf_printf(out, err, "%s", value) : buf_printf(out, err, "%s %s", key, value));
    }
    return 0;
}

int rows_label(json_t **text, const json_t *keys, const json_t *values, struct redline_err *err)
{
    struct buf out = {0};
    *text = NULL;
    int status = print_label(&out, keys, values, err);
    if (status == 0 && !(*text = json_stringn(out.p, out.n))) status = err_memory(err, out.n, "a label");
    buf_free(&out);
    return status;
}

/* ---- figures ----------------------------------------------------------------------------------- */

/* Of values in any order; sorts them. */
static void summarise(struct rows_figure *f, double *values, size_t n)
{
    stats_sort(values, n);
    f->n = n;
    f->value = stats_median(values, n);
    if (n == 0) return;
    f->spread = n == 1 ? ROWS_ONE : ROWS_RANGE;
    f->low = values[0];
    f->high = values[n - 1];
    if (stats_median_interval(values, n, 0.95, &f->low, &f->high)) f->spread = ROWS_INTERVAL;
}

static void keep_reason(struct rows_figure *f, const char *reason)
{
    if (reason && !*f->reason) snprintf(f->reason, sizeof f->reason, "%s", reason);
}

/* A figure that each record holds: `metric` or, when that is NULL, the number under `path`. */
static int collect(struct rows_figure *f, json_t *records, const char *metric, const char *path,
                   struct redline_err *err)
{
    size_t n = 0, n_records = json_array_size(records);
    double *values = mem_new(n_records, sizeof *values);
    if (!values) return err_memory(err, n_records * sizeof *values, "figures");
    for (size_t i = 0; i < n_records; i++) {
        const json_t *record = json_array_get(records, i);
        double v = metric ? record_metric(record, metric) : record_number(record, path);
        if (record_failure(record))
            keep_reason(f, "failed");
        else if (isfinite(v))
            values[n++] = v;
        else
            keep_reason(f, record_reason(record, path));
    }
    summarise(f, values, n);
    if (n) f->reason[0] = '\0';
    mem_free(values);
    return 0;
}

static const struct rows_figure unknown = {.value = NAN, .low = NAN, .high = NAN};

int rows_number(struct rows_figure *out, json_t *records, const char *path, struct redline_err *err)
{
    *out = unknown;
    return collect(out, records, NULL, path, err);
}

/* ---- pooled gaps ------------------------------------------------------------------------------- */

static const struct pooled {
    const char *metric, *clock;
    double share; /* quantile; NAN: the mean */
} pooled_metrics[] = {
    {"itl_mean_ms", "engine_ns", NAN},
    {"itl_p50_ms", "engine_ns", 0.50},
    {"itl_p95_ms", "engine_ns", 0.95},
    {"itl_p99_ms", "engine_ns", 0.99},
    {"itl_max_ms", "engine_ns", 1},
    {"itl_consumer_mean_ms", "consumer_ns", NAN},
    {"itl_consumer_p50_ms", "consumer_ns", 0.50},
    {"itl_consumer_p95_ms", "consumer_ns", 0.95},
    {"itl_consumer_p99_ms", "consumer_ns", 0.99},
    {"itl_consumer_max_ms", "consumer_ns", 1},
};

/* Appends the gaps of one record where `values` is not NULL; returns how many there are. */
static size_t take_gaps(double *values, const json_t *record, const char *clock)
{
    size_t n = 0, i;
    json_t *request;
    if (record_failure(record)) return 0;
    json_array_foreach(json_object_get(record, "requests"), i, request) {
        const json_t *times = json_object_get(request, clock);
        for (size_t t = 1; t < json_array_size(times); t++, n++)
            if (values)
                values[n] = (json_number_value(json_array_get(times, t)) -
                             json_number_value(json_array_get(times, t - 1))) / 1e6;
    }
    return n;
}

int rows_gaps(double **values, size_t *n, json_t *records, const char *clock, struct redline_err *err)
{
    size_t total = 0, at = 0;
    for (size_t i = 0; i < json_array_size(records); i++) total += take_gaps(NULL, json_array_get(records, i), clock);
    *n = total;
    *values = mem_new(total, sizeof **values);
    if (!*values) return err_memory(err, total * sizeof **values, "gaps between tokens");
    for (size_t i = 0; i < json_array_size(records); i++)
        at += take_gaps(*values + at, json_array_get(records, i), clock);
    stats_sort(*values, total);
    return 0;
}

static int pool_gaps(struct rows_figure *f, json_t *records, const struct pooled *p, struct redline_err *err)
{
    double *values;
    size_t n;
    TRY(rows_gaps(&values, &n, records, p->clock, err));
    f->n = n;
    if (n == 0) {
        keep_reason(f, "no times of tokens");
    } else if (isnan(p->share) || p->share == 1) {
        f->value = isnan(p->share) ? stats_mean(values, n) : values[n - 1];
        f->spread = ROWS_ONE;
    } else {
        struct metric_quantile q = metric_quantile(values, n, p->share);
        f->value = q.value;
        f->low = q.low;
        f->high = q.high;
        f->spread = isnan(q.value) ? ROWS_NONE : ROWS_INTERVAL;
        if (isnan(q.value)) snprintf(f->reason, sizeof f->reason, "needs %zu intervals, has %zu", q.needed, n);
    }
    mem_free(values);
    return 0;
}

int rows_metric(struct rows_figure *out, json_t *records, const char *metric, bool pool, struct redline_err *err)
{
    char path[128];
    *out = unknown;
    for (size_t i = 0; pool && i < COUNT_OF(pooled_metrics); i++)
        if (strcmp(pooled_metrics[i].metric, metric) == 0) return pool_gaps(out, records, &pooled_metrics[i], err);
    snprintf(path, sizeof path, "derived.%s.value", metric);
    return collect(out, records, metric, path, err);
}
