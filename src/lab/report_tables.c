/* report_tables.c - from a table's description and records to its cells. */
#include "report_tables.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "opt.h"
#include "record.h"
#include "rows.h"
#include "str.h"

enum { MOST_VALUES = 64, MOST_ACROSS = 8 };

/* One figure that a table wants of each row. */
struct value {
    const char *name;           /* metric, or path */
    const struct metric *metric; /* NULL: a path */
    bool pool;
    const char *label, *unit;
    double factor;              /* from the metric's unit to `unit` */
};

struct table {
    const char *title;
    json_t *rows, *columns;     /* keys; owned.  columns: NULL without a matrix */
    const json_t *versus, *where;
    struct value values[MOST_VALUES];
    size_t n_values;
};

static int no_memory(struct redline_err *err)
{
    return err_memory(err, 0, "a table");
}

/* ---- reading a description --------------------------------------------------------------------- */

static const struct {
    const char *from, *to;
    double factor;
} units[] = {
    {"ms", "s", 1e-3},         {"ms", "min", 1 / 60e3},   {"ms", "us", 1e3},          {"bytes", "kB", 1e-3},
    {"bytes", "MB", 1e-6},     {"bytes", "GB", 1e-9},     {"bytes", "MiB", 0x1p-20},  {"bytes", "GiB", 0x1p-30},
    {"bytes/s", "GB/s", 1e-9}, {"", "%", 100},
};

/* What a metric is told in where a table does not say. */
static const char *usual_unit(const struct metric *m)
{
    if (!m) return NULL;
    if (strncmp(m->name, "share_", 6) == 0) return "%";
    return strcmp(m->unit, "bytes") == 0 ? "MB" : strcmp(m->unit, "bytes/s") == 0 ? "GB/s" : NULL;
}

static int set_unit(struct value *v, const char *title, const char *wanted, struct redline_err *err)
{
    const char *own = v->metric ? v->metric->unit : "";
    v->unit = own;
    v->factor = 1;
    if (!wanted) wanted = usual_unit(v->metric);
    if (!wanted || strcmp(wanted, own) == 0) return 0;
    for (size_t i = 0; i < COUNT_OF(units); i++)
        if (strcmp(units[i].from, own) == 0 && strcmp(units[i].to, wanted) == 0) {
            v->unit = units[i].to;
            v->factor = units[i].factor;
            return 0;
        }
    if (!v->metric) { /* a number under a path: whoever names its unit knows it */
        v->unit = wanted;
        return 0;
    }
    return err_set(err, REDLINE_ARG, "table '%s': %s is in %s, which is not told in '%s'", title, v->name, own, wanted);
}

static int no_metric(const char *title, const char *name, struct redline_err *err)
{
    const char *names[256];
    size_t n = 0;
    for (; n < n_metrics && n < COUNT_OF(names); n++) names[n] = metrics[n].name;
    const char *near = opt_nearest(name, names, n);
    return err_set(err, REDLINE_ARG, "table '%s': there is no metric '%s'%s%s%s", title, name,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static bool truth(const json_t *v)
{
    const char *text = json_string_value(v);
    return json_is_true(v) || (text && (strcmp(text, "true") == 0 || strcmp(text, "yes") == 0));
}

/* A metric's or path's name, or an object with one. */
static int add_value(struct table *t, const json_t *spec, struct redline_err *err)
{
    if (t->n_values == MOST_VALUES)
        return err_set(err, REDLINE_ARG, "table '%s' has more than %d values", t->title, MOST_VALUES);
    struct value *v = &t->values[t->n_values++];
    const char *name = json_is_object(spec) ? record_text(spec, "metric") : json_string_value(spec);
    if (!name) return err_set(err, REDLINE_ARG, "table '%s': a value without the name of a metric", t->title);
    *v = (struct value){.name = name, .metric = metric_find(name), .pool = truth(record_at(spec, "pool"))};
    if (!v->metric && !strchr(name, '.')) return no_metric(t->title, name, err);
    const char *label = record_text(spec, "label");
    v->label = label ? label : v->metric ? v->metric->label : strrchr(name, '.') + 1;
    return set_unit(v, t->title, record_text(spec, "unit"), err);
}

/* Keys: one, or an array of them. */
static int read_keys(json_t **keys, const json_t *spec, struct redline_err *err)
{
    *keys = json_is_array(spec) ? json_copy((json_t *)spec) : json_array();
    if (!*keys) return no_memory(err);
    if (json_is_string(spec) && json_array_append(*keys, (json_t *)spec)) return no_memory(err);
    for (size_t i = 0; i < json_array_size(*keys); i++)
        if (!json_is_string(json_array_get(*keys, i)))
            return err_set(err, REDLINE_ARG, "a table's rows and columns are words");
    return 0;
}

static int read_table(struct table *t, const json_t *spec, struct redline_err *err)
{
    const char *title = record_text(spec, "title");
    t->title = title ? title : "";
    t->versus = json_object_get(spec, "versus");
    t->where = json_object_get(spec, "where");
    TRY(read_keys(&t->rows, json_object_get(spec, "rows"), err));
    if (json_object_get(spec, "columns")) TRY(read_keys(&t->columns, json_object_get(spec, "columns"), err));
    const json_t *one = json_object_get(spec, "value"), *several = json_object_get(spec, "values");
    if (one) TRY(add_value(t, one, err));
    for (size_t i = 0; i < json_array_size(several); i++) TRY(add_value(t, json_array_get(several, i), err));
    if (t->n_values == 0) return err_set(err, REDLINE_ARG, "table '%s' names no value", t->title);
    if (t->columns && t->n_values != 1)
        return err_set(err, REDLINE_ARG, "table '%s' has columns and %zu values; a matrix shows one", t->title,
                       t->n_values);
    return 0;
}

/* ---- which records ----------------------------------------------------------------------------- */

/* What a file says of a key (a number, a word, a list of them) holds for the record. */
static bool matches(const json_t *record, const char *key, const json_t *wanted)
{
    char has[ROWS_MOST_TEXT], text[32];
    if (json_is_array(wanted)) {
        for (size_t i = 0; i < json_array_size(wanted); i++)
            if (matches(record, key, json_array_get(wanted, i))) return true;
        return false;
    }
    rows_value(record, key, has);
    if (json_is_string(wanted)) return strcmp(has, json_string_value(wanted)) == 0;
    snprintf(text, sizeof text, "%g", json_number_value(wanted));
    return strcmp(has, text) == 0;
}

static int choose(json_t **chosen, json_t *records, const json_t *where, struct redline_err *err)
{
    *chosen = json_array();
    if (!*chosen) return no_memory(err);
    size_t i;
    json_t *record;
    json_array_foreach(records, i, record) {
        bool in = true;
        const char *key;
        json_t *wanted;
        json_object_foreach((json_t *)where, key, wanted) in = in && matches(record, key, wanted);
        if (in && json_array_append(*chosen, record)) return no_memory(err);
    }
    return 0;
}

static bool names(const json_t *keys, const char *key)
{
    for (size_t i = 0; i < json_array_size(keys); i++)
        if (strcmp(json_string_value(json_array_get(keys, i)), key) == 0) return true;
    return false;
}

/* The keys that tell the records apart and that the table does not name. */
static int find_unnamed(json_t **unnamed, const struct table *t, json_t *records, struct redline_err *err)
{
    json_t *varying = NULL;
    *unnamed = json_array();
    int status = *unnamed ? rows_varying(&varying, records, err) : no_memory(err);
    for (size_t i = 0; i < json_array_size(varying) && status == 0; i++) {
        json_t *key = json_array_get(varying, i);
        if (names(t->rows, json_string_value(key)) || names(t->columns, json_string_value(key))) continue;
        if (json_array_append(*unnamed, key)) status = no_memory(err);
    }
    json_decref(varying);
    return status;
}

/* ---- cells ------------------------------------------------------------------------------------- */

static int decimals(double v)
{
    v = fabs(v);
    return v >= 1000 ? 0 : v >= 10 ? 1 : v >= 1 ? 2 : v >= 0.1 ? 3 : v > 0 ? 4 : 0;
}

static void figure_text(const struct rows_figure *f, double factor, char *out, size_t n)
{
    double value = f->value * factor, low = f->low * factor, high = f->high * factor;
    int d = value == floor(value) && (f->spread == ROWS_ONE || f->low == f->high) ? 0 : decimals(value);
    const char *instead = strncmp(f->reason, "needs ", 6) == 0 || strcmp(f->reason, "failed") == 0 ? f->reason : "-";
    if (isnan(value))
        snprintf(out, n, "%s", instead);
    else if (f->spread == ROWS_INTERVAL && low < high)
        snprintf(out, n, "%.*f (%.*f to %.*f)", d, value, d, low, d, high);
    else if (f->spread == ROWS_RANGE && low < high)
        snprintf(out, n, "%.*f (%zu runs: %.*f to %.*f)", d, value, f->n, d, low, d, high);
    else
        snprintf(out, n, "%.*f", d, value);
}

static json_t *real_or_null(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static int add_cell(json_t *row, json_t *cell, struct redline_err *err)
{
    return json_array_append_new(row, cell) ? no_memory(err) : 0;
}

static int add_text(json_t *row, const char *text, struct redline_err *err)
{
    return add_cell(row, json_pack("{s:s}", "text", text), err);
}

static int add_figure(json_t *row, const struct rows_figure *f, double factor, struct redline_err *err)
{
    char text[192];
    figure_text(f, factor, text, sizeof text);
    json_t *cell = json_pack("{s:s, s:o, s:o, s:o, s:I}", "text", text, "value", real_or_null(f->value * factor), "low",
                             real_or_null(f->low * factor), "high", real_or_null(f->high * factor), "n",
                             (json_int_t)f->n);
    if (cell && *f->reason && json_object_set_new(cell, "reason", json_string(f->reason))) return no_memory(err);
    return add_cell(row, cell, err);
}

/* Different texts under a path, ", " between. */
static int add_texts(json_t *row, json_t *records, const char *path, struct redline_err *err)
{
    json_t *rows = NULL, *keys = json_pack("[s]", path);
    struct buf text = {0};
    int status = keys ? rows_group(&rows, records, keys, err) : no_memory(err);
    for (size_t i = 0; i < json_array_size(rows) && status == 0; i++) {
        const json_t *value = json_array_get(json_object_get(json_array_get(rows, i), "keys"), 0);
        status = buf_printf(&text, err, "%s%s", i ? ", " : "", json_string_value(value));
    }
    if (status == 0) status = add_text(row, text.p ? text.p : "-", err);
    buf_free(&text);
    json_decref(rows);
    json_decref(keys);
    return status;
}

static bool is_text(json_t *records, const char *path)
{
    for (size_t i = 0; i < json_array_size(records); i++) {
        const json_t *v = record_at(json_array_get(records, i), path);
        if (v && !json_is_null(v)) return !json_is_number(v);
    }
    return false;
}

static int figure_of(struct rows_figure *f, const struct value *v, json_t *records, struct redline_err *err)
{
    return v->metric ? rows_metric(f, records, v->name, v->pool, err) : rows_number(f, records, v->name, err);
}

static int add_value_cell(json_t *row, const struct value *v, json_t *records, struct redline_err *err)
{
    struct rows_figure f;
    if (!v->metric && is_text(records, v->name)) return add_texts(row, records, v->name, err);
    TRY(figure_of(&f, v, records, err));
    return add_figure(row, &f, v->factor, err);
}

/* ---- the table around them --------------------------------------------------------------------- */

static const char *better_word(const struct metric *m)
{
    return !m || m->better == METRIC_NEITHER ? "" : m->better == METRIC_HIGHER ? "higher" : "lower";
}

static json_t *new_table(const char *title, size_t n_keys, bool matrix, const char *better)
{
    return json_pack("{s:s, s:[], s:i, s:b, s:s, s:[], s:[], s:[]}", "title", title, "heads", "n_keys", (int)n_keys,
                     "matrix", matrix, "better", better, "rows", "notes", "metrics");
}

static int note(json_t *table, json_t *text, struct redline_err *err)
{
    json_t *notes = json_object_get(table, "notes");
    for (size_t i = 0; i < json_array_size(notes); i++)
        if (json_equal(json_array_get(notes, i), text)) {
            json_decref(text);
            return 0;
        }
    return json_array_append_new(notes, text) ? no_memory(err) : 0;
}

/* Why some cells are empty: "p95: needs 72 intervals, has 63" stands in the cell itself, other reasons below. */
static int note_reasons(json_t *table, struct redline_err *err)
{
    const json_t *heads = json_object_get(table, "heads");
    bool across = truth(json_object_get(table, "across"));
    size_t i, k;
    json_t *row, *cell;
    json_array_foreach(json_object_get(table, "rows"), i, row)
        json_array_foreach(row, k, cell) {
            const char *reason = record_text(cell, "reason"), *text = record_text(cell, "text");
            if (!reason || strcmp(text, "-") != 0) continue;
            const char *of = across ? record_text(json_array_get(row, 0), "text")
                                    : json_string_value(json_array_get(heads, k));
            TRY(note(table, json_sprintf("%s: %s.", of, reason), err));
        }
    return 0;
}

static int name_metrics(json_t *table, const struct table *t, struct redline_err *err)
{
    json_t *names_of = json_object_get(table, "metrics");
    for (size_t i = 0; i < t->n_values; i++)
        if (t->values[i].metric && json_array_append_new(names_of, json_string(t->values[i].name)))
            return no_memory(err);
    return 0;
}

/* What every table ends with. */
static int finish_table(json_t *table, const struct table *t, struct redline_err *err)
{
    TRY(note_reasons(table, err));
    return name_metrics(table, t, err);
}

/* "6 runs a row", "3 to 7 runs a row", of those that did not fail. */
static int note_runs(json_t *table, json_t *groups, const char *of_what, struct redline_err *err)
{
    size_t least = SIZE_MAX, most = 0, i, k;
    json_t *group, *record;
    char text[96];
    json_array_foreach(groups, i, group) {
        size_t n = 0;
        json_array_foreach(json_object_get(group, "records"), k, record) n += !record_failure(record);
        if (n == 0) continue;
        least = n < least ? n : least;
        most = n > most ? n : most;
    }
    if (most == 0) return 0;
    if (least == most)
        snprintf(text, sizeof text, "%zu run%s a %s.", most, most == 1 ? "" : "s", of_what);
    else
        snprintf(text, sizeof text, "%zu to %zu runs a %s.", least, most, of_what);
    return note(table, json_string(text), err);
}

static int add_head(json_t *table, struct redline_err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int add_head(json_t *table, struct redline_err *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    json_t *head = json_vsprintf(format, args);
    va_end(args);
    return json_array_append_new(json_object_get(table, "heads"), head) ? no_memory(err) : 0;
}

static int value_head(json_t *table, const struct value *v, const char *after, struct redline_err *err)
{
    return add_head(table, err, "%s%s%s%s", v->label, *v->unit ? ", " : "", v->unit, after);
}

/* ---- lists: a row of figures for each row of records -------------------------------------------- */

/* The row that a row is compared with: the same keys, but for those of `versus`. */
static const json_t *find_base(json_t *groups, const json_t *keys, const json_t *values, const json_t *versus)
{
    size_t i;
    json_t *group;
    json_array_foreach(groups, i, group) {
        bool same = true;
        const json_t *record = json_array_get(json_object_get(group, "records"), 0);
        for (size_t k = 0; k < json_array_size(keys) && same; k++) {
            const char *key = json_string_value(json_array_get(keys, k));
            const json_t *wanted = json_object_get(versus, key);
            same = wanted ? matches(record, key, wanted)
                          : json_equal(json_array_get(json_object_get(group, "keys"), k), json_array_get(values, k));
        }
        if (same) return group;
    }
    return NULL;
}

static int add_ratio(json_t *row, const struct value *v, json_t *records, const json_t *base, struct redline_err *err)
{
    struct rows_figure own, other, ratio = {.low = NAN, .high = NAN, .value = NAN, .spread = ROWS_ONE};
    TRY(figure_of(&own, v, records, err));
    if (base) {
        TRY(figure_of(&other, v, json_object_get(base, "records"), err));
        ratio.value = other.value != 0 ? own.value / other.value : NAN;
        ratio.n = own.n < other.n ? own.n : other.n;
    }
    char text[32];
    snprintf(text, sizeof text, isfinite(ratio.value) ? "%.3f" : "-", ratio.value);
    return add_cell(row, json_pack("{s:s, s:o, s:n, s:n, s:I}", "text", text, "value", real_or_null(ratio.value), "low",
                                   "high", "n", (json_int_t)ratio.n), err);
}

/* What has no better side is no matter of comparison; nor is a text. */
static bool has_ratio(const struct table *t, const struct value *v)
{
    return t->versus && v->metric && v->metric->better != METRIC_NEITHER;
}

static int list_heads(json_t *table, const struct table *t, const json_t *keys, struct redline_err *err)
{
    for (size_t i = 0; i < json_array_size(keys); i++)
        TRY(add_head(table, err, "%s", json_string_value(json_array_get(keys, i))));
    for (size_t i = 0; i < t->n_values; i++) {
        TRY(value_head(table, &t->values[i], "", err));
        const char *key;
        json_t *wanted;
        char name[ROWS_MOST_TEXT];
        if (!has_ratio(t, &t->values[i])) continue;
        json_object_foreach((json_t *)t->versus, key, wanted) {
            if (!names(keys, key))
                return err_set(err, REDLINE_ARG, "table '%s' compares by %s, which is none of its rows' keys", t->title,
                               key);
            snprintf(name, sizeof name, "%g", json_number_value(wanted));
            TRY(add_head(table, err, "%s / %s", t->values[i].label,
                         json_is_string(wanted) ? json_string_value(wanted) : name));
        }
    }
    return 0;
}

static int list_row(json_t *row, const struct table *t, json_t *groups, const json_t *group, const json_t *keys,
                    struct redline_err *err)
{
    json_t *values = json_object_get(group, "keys"), *records = json_object_get(group, "records");
    for (size_t i = 0; i < json_array_size(values); i++)
        TRY(add_text(row, json_string_value(json_array_get(values, i)), err));
    const json_t *base = t->versus ? find_base(groups, keys, values, t->versus) : NULL;
    for (size_t i = 0; i < t->n_values; i++) {
        TRY(add_value_cell(row, &t->values[i], records, err));
        if (has_ratio(t, &t->values[i])) TRY(add_ratio(row, &t->values[i], records, base, err));
    }
    return 0;
}

static int fill_list(json_t *table, const struct table *t, json_t *groups, const json_t *keys, struct redline_err *err)
{
    TRY(list_heads(table, t, keys, err));
    size_t i;
    json_t *group;
    json_array_foreach(groups, i, group) {
        json_t *row = json_array();
        if (json_array_append_new(json_object_get(table, "rows"), row)) return no_memory(err);
        TRY(list_row(row, t, groups, group, keys, err));
    }
    return note_runs(table, groups, "row", err);
}

static int make_list(json_t *tables, const struct table *t, json_t *records, const json_t *unnamed,
                     struct redline_err *err)
{
    json_t *keys = json_copy(t->rows), *groups = NULL;
    int status = keys && json_array_extend(keys, (json_t *)unnamed) == 0 ? 0 : no_memory(err);
    if (status == 0) status = rows_group(&groups, records, keys, err);
    json_t *table = status ? NULL : new_table(t->title, json_array_size(keys), false, "");
    if (status == 0 && json_array_append_new(tables, table)) status = no_memory(err);
    if (status == 0) status = fill_list(table, t, groups, keys, err);
    if (status == 0) status = finish_table(table, t, err);
    json_decref(groups);
    json_decref(keys);
    return status;
}

/* ---- matrices: one figure for each pair --------------------------------------------------------- */

static const json_t *find_group(json_t *groups, const json_t *keys)
{
    size_t i;
    json_t *group;
    json_array_foreach(groups, i, group)
        if (json_equal(json_object_get(group, "keys"), keys)) return group;
    return NULL;
}

/* The cell of a row's group in a column: of those of its records that belong there. */
static int matrix_cell(json_t *row, const struct table *t, const json_t *in_row, const json_t *column,
                       struct redline_err *err)
{
    json_t *groups = NULL;
    int status = rows_group(&groups, json_object_get(in_row, "records"), t->columns, err);
    const json_t *group = status ? NULL : find_group(groups, json_object_get(column, "keys"));
    if (status == 0)
        status = group ? add_value_cell(row, &t->values[0], json_object_get(group, "records"), err)
                       : add_text(row, "", err);
    json_decref(groups);
    return status;
}

static int fill_matrix(json_t *table, const struct table *t, json_t *rows, json_t *columns, struct redline_err *err)
{
    size_t i, k;
    json_t *in_row, *column;
    for (i = 0; i < json_array_size(t->rows); i++)
        TRY(add_head(table, err, "%s", json_string_value(json_array_get(t->rows, i))));
    json_array_foreach(columns, k, column) {
        json_t *label;
        TRY(rows_label(&label, t->columns, json_object_get(column, "keys"), err));
        if (json_array_append_new(json_object_get(table, "heads"), label)) return no_memory(err);
    }
    json_array_foreach(rows, i, in_row) {
        json_t *row = json_array(), *values = json_object_get(in_row, "keys");
        if (json_array_append_new(json_object_get(table, "rows"), row)) return no_memory(err);
        for (k = 0; k < json_array_size(values); k++)
            TRY(add_text(row, json_string_value(json_array_get(values, k)), err));
        json_array_foreach(columns, k, column) TRY(matrix_cell(row, t, in_row, column, err));
    }
    return 0;
}

/* "output speed in tok/s, higher is better." and how many runs stand behind a cell. */
static int note_matrix(json_t *table, const struct table *t, json_t *records, struct redline_err *err)
{
    const struct value *v = &t->values[0];
    const char *better = better_word(v->metric);
    json_t *groups = NULL, *both = json_copy(t->rows);
    json_t *what = json_sprintf("%s%s%s%s%s.", v->label, *v->unit ? " in " : "", v->unit, *better ? ", " : "",
                                strcmp(better, "higher") == 0 ? "higher is better"
                                : *better                     ? "lower is better"
                                                              : "");
    int status = note(table, what, err);
    if (status == 0 && (!both || json_array_extend(both, t->columns))) status = no_memory(err);
    if (status == 0) status = rows_group(&groups, records, both, err);
    if (status == 0) status = note_runs(table, groups, "cell", err);
    json_decref(groups);
    json_decref(both);
    return status;
}

static int make_matrix(json_t *tables, const struct table *t, json_t *records, const char *title,
                       struct redline_err *err)
{
    json_t *rows = NULL, *columns = NULL, *table = NULL;
    int status = rows_group(&rows, records, t->rows, err);
    if (status == 0) status = rows_group(&columns, records, t->columns, err);
    if (status == 0) {
        table = new_table(title, json_array_size(t->rows), true, better_word(t->values[0].metric));
        if (json_array_append_new(tables, table)) status = no_memory(err);
    }
    if (status == 0) status = fill_matrix(table, t, rows, columns, err);
    if (status == 0) status = note_matrix(table, t, records, err);
    if (status == 0) status = finish_table(table, t, err);
    json_decref(rows);
    json_decref(columns);
    return status;
}

/* One for each combination of what the table does not name. */
static int make_matrices(json_t *tables, const struct table *t, json_t *records, const json_t *unnamed,
                         struct redline_err *err)
{
    json_t *groups = NULL, *group, *label = NULL;
    size_t i;
    int status = rows_group(&groups, records, unnamed, err);
    json_array_foreach(groups, i, group) {
        struct buf title = {0};
        if (status == 0) status = rows_label(&label, unnamed, json_object_get(group, "keys"), err);
        const char *text = status ? "" : json_string_value(label);
        if (status == 0) status = buf_printf(&title, err, "%s%s%s", t->title, *text ? ": " : "", text);
        if (status == 0) status = make_matrix(tables, t, json_object_get(group, "records"), title.p, err);
        buf_free(&title);
        json_decref(label);
        label = NULL;
    }
    json_decref(groups);
    return status;
}

/* ---- plain tables ------------------------------------------------------------------------------- */

/* Every metric of which a record says something. */
static int take_all_metrics(struct table *t, json_t *records, struct redline_err *err)
{
    for (size_t m = 0; m < n_metrics && t->n_values < MOST_VALUES; m++) {
        bool there = false;
        for (size_t i = 0; i < json_array_size(records) && !there; i++)
            there = json_object_get(record_at(json_array_get(records, i), "derived"), metrics[m].name) != NULL;
        json_t *name = there ? json_string(metrics[m].name) : NULL;
        int status = there ? add_value(t, name, err) : 0;
        if (status == 0 && there) t->values[t->n_values - 1].name = metrics[m].name;
        json_decref(name);
        TRY(status);
    }
    return 0;
}

/* Few rows of many metrics are read better with the metrics below one another. */
static int fill_across(json_t *table, const struct table *t, json_t *groups, const json_t *keys,
                       struct redline_err *err)
{
    size_t i;
    json_t *group;
    if (json_object_set_new(table, "across", json_true())) return no_memory(err);
    TRY(add_head(table, err, "figure"));
    json_array_foreach(groups, i, group) {
        json_t *label;
        TRY(rows_label(&label, keys, json_object_get(group, "keys"), err));
        if (json_array_append_new(json_object_get(table, "heads"), label)) return no_memory(err);
    }
    for (size_t v = 0; v < t->n_values; v++) {
        json_t *row = json_array();
        char name[ROWS_MOST_TEXT];
        snprintf(name, sizeof name, "%s%s%s", t->values[v].label, *t->values[v].unit ? ", " : "", t->values[v].unit);
        if (json_array_append_new(json_object_get(table, "rows"), row)) return no_memory(err);
        TRY(add_text(row, name, err));
        json_array_foreach(groups, i, group)
            TRY(add_value_cell(row, &t->values[v], json_object_get(group, "records"), err));
    }
    return note_runs(table, groups, "column", err);
}

static int make_plain(json_t *tables, struct table *t, json_t *records, json_t *keys, struct redline_err *err)
{
    json_t *groups = NULL, *table = NULL;
    if (json_array_size(keys) == 0 && json_array_append_new(keys, json_string("workload"))) return no_memory(err);
    TRY(take_all_metrics(t, records, err));
    int status = rows_group(&groups, records, keys, err);
    bool across = json_array_size(groups) <= MOST_ACROSS;
    if (status == 0) {
        table = new_table("Every figure", across ? 1 : json_array_size(keys), false, "");
        if (json_array_append_new(tables, table)) status = no_memory(err);
    }
    if (status == 0)
        status = across ? fill_across(table, t, groups, keys, err) : fill_list(table, t, groups, keys, err);
    if (status == 0) status = finish_table(table, t, err);
    json_decref(groups);
    return status;
}

/* ---- all together ------------------------------------------------------------------------------- */

int report_tables_add(json_t *tables, json_t *records, const json_t *spec, struct redline_err *err)
{
    struct table t = {.title = ""};
    json_t *chosen = NULL, *unnamed = NULL;
    int status = spec ? read_table(&t, spec, err) : 0;
    if (status == 0) status = choose(&chosen, records, t.where, err);
    if (status == 0) status = find_unnamed(&unnamed, &t, chosen, err);
    if (status == 0 && json_array_size(chosen) > 0)
        status = !spec       ? make_plain(tables, &t, chosen, unnamed, err)
                 : t.columns ? make_matrices(tables, &t, chosen, unnamed, err)
                             : make_list(tables, &t, chosen, unnamed, err);
    json_decref(chosen);
    json_decref(unnamed);
    json_decref(t.rows);
    json_decref(t.columns);
    return status;
}
