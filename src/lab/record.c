/* record.c - values by path, and rows. */
#include "record.h"

#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "metric.h"
#include "str.h"

/* ---- reading --------------------------------------------------------------------------------------- */

static json_t *step(const json_t *at, const char *name, size_t n)
{
    if (json_is_object(at)) return json_object_getn(at, name, n);
    char *end;
    unsigned long i = strtoul(name, &end, 10);
    return json_is_array(at) && n > 0 && end == name + n ? json_array_get(at, i) : NULL;
}

json_t *record_at(const json_t *record, const char *path)
{
    const json_t *at = record;
    while (at && *path) {
        size_t n = strcspn(path, ".");
        at = step(at, path, n);
        path += n + (path[n] == '.');
    }
    return (json_t *)(uintptr_t)at;
}

double record_number(const json_t *record, const char *path)
{
    const json_t *v = record_at(record, path);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

const char *record_text(const json_t *record, const char *path)
{
    return json_string_value(record_at(record, path));
}

double record_metric(const json_t *record, const char *metric)
{
    return record_number(json_object_get(json_object_get(record, "derived"), metric), "value");
}

const char *record_reason(const json_t *record, const char *path)
{
    const json_t *missing = json_object_get(record, "missing"), *value = record_at(record, path);
    if (value && !json_is_null(value)) return NULL;
    for (size_t n = strlen(path); n > 0;) {
        const char *reason = json_string_value(json_object_getn(missing, path, n));
        if (reason && *reason) return reason;
        for (n--; n > 0 && path[n] != '.'; n--) {}
    }
    return NULL;
}

const char *record_failure(const json_t *record)
{
    return record_text(record, "failed");
}

/* ---- writing --------------------------------------------------------------------------------------- */

void record_name(char started[CLOCK_UTC], char id[RECORD_ID])
{
    static _Atomic unsigned n_named;
    char time[CLOCK_UTC];
    size_t n = 0;
    clock_utc(started, true);
    for (const char *p = started; *p; p++)
        if (*p != '-' && *p != ':') time[n++] = *p; /* the basic form of ISO 8601 */
    time[n] = '\0';
    snprintf(id, RECORD_ID, "%s-%ld-%u", time, (long)getpid(), atomic_fetch_add(&n_named, 1));
}

static int no_memory(const char *path, struct redline_err *err)
{
    return err_set(err, REDLINE_MEMORY, "no memory for '%s' of a record", path);
}

/* The object that the name of n bytes leads to, made where there is none. */
static json_t *enter(json_t *at, const char *name, size_t n)
{
    json_t *next = json_object_getn(at, name, n);
    if (json_is_object(next)) return next;
    next = json_object();
    return json_object_setn_new(at, name, n, next) ? NULL : next;
}

int record_set(json_t *record, const char *path, json_t *value, struct redline_err *err)
{
    json_t *at = record;
    const char *name = path;
    for (const char *dot; value && at && (dot = strchr(name, '.')); name = dot + 1)
        at = enter(at, name, (size_t)(dot - name));
    if (!value || !at) {
        json_decref(value);
        return no_memory(path, err);
    }
    return json_object_set_new(at, name, value) ? no_memory(path, err) : 0;
}

int record_say(json_t *record, const char *path, const char *reason, struct redline_err *err)
{
    json_t *missing = enter(record, "missing", strlen("missing"));
    return json_object_set_new(missing, path, json_string(reason)) ? no_memory(path, err) : 0;
}

int record_miss(json_t *record, const char *path, const char *reason, struct redline_err *err)
{
    TRY(record_set(record, path, json_null(), err));
    return record_say(record, path, reason, err);
}

int record_derive(json_t *record, const char *metric, double value, const char *reason, struct redline_err *err)
{
    char path[96];
    const struct metric *m = metric_find(metric);
    if (!m) return err_set(err, REDLINE_ARG, "there is no metric '%.60s'", metric);
    bool known = isfinite(value);
    json_t *figure = json_pack("{s:o, s:s}", "value", known ? json_real(value) : json_null(), "unit", m->unit);
    snprintf(path, sizeof path, "derived.%s", metric);
    TRY(record_set(record, path, figure, err));
    return known ? 0 : record_say(record, path, reason && *reason ? reason : "it could not be computed", err);
}

/* ---- comparing ------------------------------------------------------------------------------------- */

/* What must be equal; `whole`: in whole units of this (the memory that a system shows differs from start to start). */
static const struct {
    const char *path;
    double whole;
} compared[] = {
    {"machine.cpu", 0},           {"machine.features", 0},   {"machine.microcode", 0},
    {"machine.kernel", 0},        {"machine.n_logical", 0},  {"machine.n_physical", 0},
    {"machine.quota", 0},         {"machine.memory_bytes", 1 << 30},
    {"machine.governor", 0},      {"machine.huge_pages", 0}, {"machine.gpu_driver", 0},
    {"model.digest", 0},          {"model.bytes", 0},        {"model.architecture", 0},
    {"model.type", 0},
    {"settings.effective.device", 0},   {"settings.effective.n_threads", 0},
    {"settings.effective.n_ctx", 0},    {"settings.effective.n_batch", 0},
    {"settings.effective.n_ubatch", 0}, {"settings.effective.n_seqs", 0},
    {"settings.effective.type_k", 0},   {"settings.effective.type_v", 0},
    {"settings.effective.flash_attn", 0}, {"settings.effective.exact", 0},
    {"settings.effective.n_gpu_layers", 0}, {"settings.effective.cpu_mask", 0},
    {"settings.effective.kernels", 0},  {"settings.effective.placement", 0},
    {"workload.kind", 0},         {"workload.n_prompt", 0},  {"workload.n_gen", 0},
    {"workload.n_depth", 0},      {"workload.document", 0},  {"workload.split", 0},
    {"workload.n_requests", 0},   {"workload.concurrency", 0}, {"workload.arrival", 0},
    {"workload.rate", 0},         {"workload.seed", 0},      {"load", 0},
};

/* What is null on either side is not known to differ. */
static bool differ(const json_t *a, const json_t *b, double whole)
{
    if (!a || !b || json_is_null(a) || json_is_null(b)) return false;
    if (!json_is_number(a) || !json_is_number(b)) return !json_equal(a, b);
    double x = json_number_value(a), y = json_number_value(b);
    return whole > 0 ? round(x / whole) != round(y / whole) : x != y;
}

static void append(char *out, size_t n_out, const char *text)
{
    size_t at = strlen(out);
    if (at + 1 < n_out) snprintf(out + at, n_out - at, "%s", text);
}

/* "settings.effective.n_threads 4 and 8"; long values are cut. */
static void append_difference(char *out, size_t n_out, const char *path, const json_t *a, const json_t *b)
{
    char text[256];
    char *left = json_dumps(a, JSON_ENCODE_ANY | JSON_COMPACT), *right = json_dumps(b, JSON_ENCODE_ANY | JSON_COMPACT);
    snprintf(text, sizeof text, "%s%s %.80s and %.80s", *out ? "; " : "", path, left ? left : "?",
             right ? right : "?");
    append(out, n_out, text);
    free(left);
    free(right);
}

size_t record_differences(const json_t *a, const json_t *b, char *out, size_t n_out)
{
    size_t n = 0;
    if (n_out) out[0] = '\0';
    for (size_t i = 0; i < COUNT_OF(compared); i++) {
        const json_t *x = record_at(a, compared[i].path), *y = record_at(b, compared[i].path);
        if (!differ(x, y, compared[i].whole)) continue;
        n++;
        if (n_out) append_difference(out, n_out, compared[i].path, x, y);
    }
    return n;
}

/* ---- rows ------------------------------------------------------------------------------------------ */

struct row {
    char *out;
    size_t n_out, n; /* what it would take */
};

static void row_add(struct row *row, const char *between, const char *text, size_t n)
{
    size_t n_between = row->n ? strlen(between) : 0, at = MIN(row->n, row->n_out);
    if (row->n_out) snprintf(row->out + at, row->n_out - at, "%s%.*s", n_between ? between : "", (int)n, text);
    row->n += n_between + n;
}

static void row_add_value(struct row *row, const char *key, const json_t *value)
{
    const size_t how = JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6);
    char *text = json_is_string(value) ? NULL : json_dumps(value, how);
    const char *shown = json_is_string(value) ? json_string_value(value) : text;
    row_add(row, " | ", key, strlen(key));
    row_add(row, "=", shown ? shown : "?", strlen(shown ? shown : "?"));
    free(text);
}

/* "short", or of what kind it is: "generate 64+128". */
static void row_add_workload(struct row *row, const json_t *record)
{
    char text[96];
    const char *name = record_text(record, "workload.name"), *kind = record_text(record, "workload.kind");
    double n_prompt = record_number(record, "workload.n_prompt"), n_gen = record_number(record, "workload.n_gen");
    if (name)
        snprintf(text, sizeof text, "%s", name);
    else if (isfinite(n_prompt) && isfinite(n_gen))
        snprintf(text, sizeof text, "%s %.0f+%.0f", kind ? kind : "", n_prompt, n_gen);
    else
        snprintf(text, sizeof text, "%s", kind ? kind : "");
    if (*text) row_add(row, " | ", text, strlen(text));
}

int record_row(const json_t *record, char *out, size_t n_out)
{
    struct row row = {out, n_out, 0};
    const char *file = record_text(record, "model.file"), *slash = file ? strrchr(file, '/') : NULL, *key;
    json_t *grid = record_at(record, "experiment.grid"), *value;
    if (n_out) out[0] = '\0';
    struct str model = str_of(!file ? "?" : slash ? slash + 1 : file);
    if (str_ends(model, STR(".gguf"))) model.n -= strlen(".gguf");
    row_add(&row, "", model.p, model.n);
    json_object_foreach(grid, key, value)
        if (strcmp(key, "model") != 0 && strcmp(key, "workload") != 0) row_add_value(&row, key, value);
    row_add_workload(&row, record);
    return (int)row.n;
}
