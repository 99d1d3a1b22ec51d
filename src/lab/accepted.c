/* accepted.c - the file of accepted reports (accepted.h). */
#include "accepted.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "gate.h"
#include "record.h"
#include "store.h"

/* "cpu-sweep @ 0123456789abcdef"; false: the record belongs to no experiment. */
static bool name_entry(const json_t *record, char *out, size_t n)
{
    const char *experiment = record_text(record, "experiment.name"), *machine = record_text(record, "machine.id");
    if (!experiment || !record_text(record, "experiment.series")) return false;
    snprintf(out, n, "%s @ %s", experiment, machine ? machine : "?");
    return true;
}

/* An empty object where there is no file yet. */
static int read_entries(json_t **out, const char *path, struct redline_err *err)
{
    struct buf text = {0};
    json_error_t problem;
    *out = NULL;
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        *out = json_object();
        return *out ? 0 : err_set(err, REDLINE_MEMORY, "no memory for '%s'", path);
    }
    int status = file_read(&text, path, err);
    if (!status) *out = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &problem);
    buf_free(&text);
    if (!status && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return err_set(err, REDLINE_FORMAT, "'%s' is no file of accepted reports", path);
    }
    return status;
}

static int write_entries(const json_t *entries, const char *path, struct redline_err *err)
{
    struct buf text = {0};
    size_t n = json_dumpb(entries, NULL, 0, JSON_INDENT(1) | JSON_SORT_KEYS);
    int status = buf_reserve(&text, n + 1, err);
    if (status) return status;
    text.n = json_dumpb(entries, text.p, n, JSON_INDENT(1) | JSON_SORT_KEYS);
    status = buf_append(&text, "\n", 1, err);
    if (!status) status = file_make_folders(path, 0777, err);
    if (!status) status = file_write(path, text.p, text.n, err);
    buf_free(&text);
    return status;
}

static int enter(json_t *entries, const json_t *record, const char *name, const char *store, struct redline_err *err)
{
    char now[CLOCK_UTC];
    clock_utc(now, false);
    json_t *entry = json_pack("{s:s, s:s, s:s, s:s?}", "store", store, "series",
                              record_text(record, "experiment.series"), "accepted", now, "commit",
                              record_text(record, "program.commit"));
    return json_object_set_new(entries, name, entry) ? err_set(err, REDLINE_MEMORY, "no memory for '%s'", name) : 0;
}

static int enter_all(json_t *entries, json_t *records, const char *store, struct buf *names, struct redline_err *err)
{
    size_t i;
    json_t *record, *fresh = json_object();
    char name[256];
    int status = fresh ? 0 : err_set(err, REDLINE_MEMORY, "no memory for names");
    json_array_foreach(records, i, record) {
        if (status || !name_entry(record, name, sizeof name)) continue;
        if (record_failure(record))
            status = err_set(err, REDLINE_ARG, "a measurement of %s failed (%s); such a report is no base", name,
                             record_failure(record));
        if (status || json_object_get(fresh, name)) continue;
        status = enter(entries, record, name, store, err);
        if (!status) status = buf_printf(names, err, "%s, %s\n", name, record_text(record, "experiment.series"));
        if (!status && json_object_set_new(fresh, name, json_true()))
            status = err_set(err, REDLINE_MEMORY, "no memory for names");
    }
    if (!status && json_object_size(fresh) == 0)
        status = err_set(err, REDLINE_ARG, "'%s' holds no record of an experiment", store);
    json_decref(fresh);
    return status;
}

int accepted_name(const char *path, const char *store, json_t *records, struct buf *names, struct redline_err *err)
{
    json_t *entries = NULL, *last = NULL;
    int status = read_entries(&entries, path, err);
    if (!status) status = gate_last_series(&last, records, err);
    if (!status) status = enter_all(entries, last, store, names, err);
    if (!status) status = write_entries(entries, path, err);
    json_decref(entries);
    json_decref(last);
    return status;
}

/* ---- finding --------------------------------------------------------------------------------- */

/* Appends the records of an entry's store that are of its series and its machine. */
static int append_series(json_t *base, const json_t *entry, const char *name, struct redline_err *err)
{
    const char *store = record_text(entry, "store"), *series = record_text(entry, "series");
    json_t *records, *record;
    size_t i, before = json_array_size(base);
    char its_name[256];
    if (!store || !series)
        return err_set(err, REDLINE_FORMAT, "the accepted report '%s' names no store or no series", name);
    TRY(store_read(&records, store, err));
    json_array_foreach(records, i, record) {
        const char *its_series = record_text(record, "experiment.series");
        if (!name_entry(record, its_name, sizeof its_name) || strcmp(its_name, name) != 0) continue;
        if (strcmp(its_series, series) == 0) json_array_append(base, record);
    }
    json_decref(records);
    if (json_array_size(base) > before) return 0;
    return err_set(err, REDLINE_ARG, "'%s' no longer holds the accepted series %s of %s", store, series, name);
}

static int find_one(json_t *base, json_t *done, const json_t *entries, const json_t *record, const char *path,
                    struct redline_err *err)
{
    char name[256];
    if (!name_entry(record, name, sizeof name) || json_object_get(done, name)) return 0;
    const json_t *entry = json_object_get(entries, name);
    const char *series = record_text(entry, "series");
    if (!entry)
        return err_set(err, REDLINE_ARG, "%s has no accepted report in '%s'; redline lab accept STORE names one",
                       name, path);
    if (series && strcmp(series, record_text(record, "experiment.series")) == 0)
        return err_set(err, REDLINE_ARG,
                       "%s: these are the accepted records themselves (series %s); redline lab run measures new ones",
                       name, series);
    if (json_object_set_new(done, name, json_true())) return err_set(err, REDLINE_MEMORY, "no memory for names");
    return append_series(base, entry, name, err);
}

int accepted_find(json_t **base, const char *path, json_t *records, struct redline_err *err)
{
    json_t *entries = NULL, *last = NULL, *done = json_object(), *record;
    size_t i;
    *base = json_array();
    int status = done && *base ? 0 : err_set(err, REDLINE_MEMORY, "no memory for accepted records");
    if (!status) status = read_entries(&entries, path, err);
    if (!status) status = gate_last_series(&last, records, err);
    json_array_foreach(last, i, record)
        if (!status) status = find_one(*base, done, entries, record, path, err);
    if (!status && json_object_size(done) == 0)
        status = err_set(err, REDLINE_ARG,
                         "no record belongs to an experiment; name the base: redline lab gate BASE NEW");
    json_decref(entries);
    json_decref(last);
    json_decref(done);
    if (status) {
        json_decref(*base);
        *base = NULL;
    }
    return status;
}
