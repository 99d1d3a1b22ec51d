/* record_check.c - what makes a record whole: its members, and a reason for every null. */
#include "record.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "metric.h"
#include "record_members.h"

static const char *const kind_names[] = {"an object", "an array", "a text", "a whole number", "a number",
                                         "true or false"};

/* ---- the checks ------------------------------------------------------------------------------------ */

static bool is_kind(const json_t *v, enum record_kind kind)
{
    switch (kind) {
    case RECORD_OBJECT: return json_is_object(v);
    case RECORD_ARRAY: return json_is_array(v);
    case RECORD_TEXT: return json_is_string(v);
    case RECORD_INTEGER: return json_is_integer(v);
    case RECORD_NUMBER: return json_is_number(v);
    case RECORD_TRUTH: return json_is_boolean(v);
    }
    return false;
}

static bool within_null(const json_t *record, const char *path)
{
    char parent[160];
    const char *dot = strrchr(path, '.');
    snprintf(parent, sizeof parent, "%.*s", dot ? (int)(dot - path) : 0, path);
    return dot && json_is_null(record_at(record, parent));
}

/* at: where the members are; prefix: its own path with a dot, or "". */
static int check_member(const json_t *record, const json_t *at, const char *prefix, const struct record_member *m,
                        struct redline_err *err)
{
    char path[160];
    const json_t *v = record_at(at, m->path);
    snprintf(path, sizeof path, "%s%s", prefix, m->path);
    if (!v && (m->flags & RECORD_OPTIONAL || within_null(record, path))) return 0;
    if (!v) return err_set(err, REDLINE_FORMAT, "the record has no member '%s'", path);
    if (json_is_null(v) && m->flags & RECORD_NEVER) return err_set(err, REDLINE_FORMAT, "'%s' may not be null", path);
    if (json_is_null(v)) return 0; /* its reason is looked for with those of all others */
    if (!is_kind(v, m->kind)) return err_set(err, REDLINE_FORMAT, "'%s' is not %s", path, kind_names[m->kind]);
    return 0;
}

static int check_times(const json_t *request, const char *prefix, struct redline_err *err)
{
    static const char *const names[] = {"engine_ns", "consumer_ns"};
    for (size_t k = 0; k < COUNT_OF(names); k++) {
        json_t *times = json_object_get(request, names[k]), *t;
        json_int_t before = 0;
        size_t i;
        json_array_foreach(times, i, t) {
            if (!json_is_integer(t) || json_integer_value(t) < before)
                return err_set(err, REDLINE_FORMAT, "'%s%s' are not ascending whole numbers, see the one at %zu",
                               prefix, names[k], i);
            before = json_integer_value(t);
        }
    }
    return 0;
}

static int check_elements(const json_t *record, size_t k, struct redline_err *err)
{
    const json_t *array = record_at(record, record_elements[k].path), *element;
    size_t i;
    json_array_foreach(array, i, element) {
        char prefix[96];
        snprintf(prefix, sizeof prefix, "%s.%zu.", record_elements[k].path, i);
        if (!json_is_object(element))
            return err_set(err, REDLINE_FORMAT, "'%s.%zu' is not an object", record_elements[k].path, i);
        for (size_t m = 0; m < record_elements[k].n; m++)
            TRY(check_member(record, element, prefix, &record_elements[k].members[m], err));
        if (strcmp(record_elements[k].path, "requests") == 0) TRY(check_times(element, prefix, err));
    }
    return 0;
}

static int check_derived(const json_t *record, struct redline_err *err)
{
    json_t *derived = json_object_get(record, "derived"), *figure;
    const char *name;
    json_object_foreach(derived, name, figure) {
        char path[96];
        const struct metric *m = metric_find(name);
        const json_t *value = json_object_get(figure, "value");
        const char *unit = json_string_value(json_object_get(figure, "unit"));
        snprintf(path, sizeof path, "derived.%.60s", name);
        if (!m) return err_set(err, REDLINE_FORMAT, "'%s' has no definition: there is no such metric", path);
        if (!unit || strcmp(unit, m->unit) != 0)
            return err_set(err, REDLINE_FORMAT, "the unit of '%s' is '%.40s', by its definition it is '%s'", path,
                           unit ? unit : "", m->unit);
        if (!value || (!json_is_number(value) && !json_is_null(value)))
            return err_set(err, REDLINE_FORMAT, "'%s.value' is not a number", path);
    }
    return 0;
}

static int check_nulls(const json_t *record, const json_t *at, char *path, size_t n, struct redline_err *err);

enum { MOST_PATH = 256 };

/* A value within, whose name is appended to the path. */
static int check_within(const json_t *record, const json_t *v, char *path, size_t n, const char *name,
                        struct redline_err *err)
{
    if (!json_is_null(v) && !json_is_object(v) && !json_is_array(v)) return 0;
    int n_more = snprintf(path + n, MOST_PATH - n, "%s%s", n ? "." : "", name);
    if (n + (size_t)n_more >= MOST_PATH) return err_set(err, REDLINE_FORMAT, "the path '%.80s...' is too long", path);
    TRY(check_nulls(record, v, path, n + (size_t)n_more, err));
    path[n] = '\0';
    return 0;
}

/* Every null, wherever it is, has a reason.  path: of `at`, n bytes of MOST_PATH. */
static int check_nulls(const json_t *record, const json_t *at, char *path, size_t n, struct redline_err *err)
{
    const char *key;
    json_t *v;
    size_t i;
    if (json_is_null(at) && !record_reason(record, path))
        return err_set(err, REDLINE_FORMAT, "'%s' is null without a reason under \"missing\"", path);
    json_object_foreach((json_t *)(uintptr_t)at, key, v) TRY(check_within(record, v, path, n, key, err));
    json_array_foreach(at, i, v) {
        char name[24];
        snprintf(name, sizeof name, "%zu", i);
        TRY(check_within(record, v, path, n, name, err));
    }
    return 0;
}

static int check_head(const json_t *record, struct redline_err *err)
{
    const json_t *version = json_object_get(record, "version"), *failed = json_object_get(record, "failed");
    if (!json_is_object(record)) return err_set(err, REDLINE_FORMAT, "it is no record: not an object");
    if (!json_is_integer(version)) return err_set(err, REDLINE_FORMAT, "it is no record: it has no version");
    if (json_integer_value(version) != RECORD_VERSION)
        return err_set(err, REDLINE_FORMAT, "the record is of version %lld, this program knows version %d",
                       (long long)json_integer_value(version), RECORD_VERSION);
    if (failed && (!json_is_string(failed) || !*json_string_value(failed)))
        return err_set(err, REDLINE_FORMAT, "'failed' is not a sentence; a measurement that did not fail has no such "
                       "member");
    if (failed && json_object_get(record, "derived"))
        return err_set(err, REDLINE_FORMAT, "the measurement failed, and 'derived' is there all the same");
    return 0;
}

int record_check(const json_t *record, struct redline_err *err)
{
    char path[MOST_PATH] = "";
    TRY(check_head(record, err));
    bool failed = json_object_get(record, "failed");
    for (size_t i = 0; i < n_record_members; i++)
        if (!failed || record_members[i].flags & RECORD_CORE || record_at(record, record_members[i].path))
            TRY(check_member(record, record, "", &record_members[i], err));
    for (size_t i = 0; i < n_record_elements; i++) TRY(check_elements(record, i, err));
    TRY(check_derived(record, err));
    return check_nulls(record, record, path, 0, err);
}

/* ---- filling what is not known ---------------------------------------------------------------------- */

static int complete_elements(json_t *record, size_t k, const char *reason, struct redline_err *err)
{
    json_t *array = record_at(record, record_elements[k].path), *element;
    size_t i;
    bool filled = false;
    json_array_foreach(array, i, element) {
        for (size_t m = 0; m < record_elements[k].n; m++) {
            const struct record_member *of = &record_elements[k].members[m];
            if (of->flags & RECORD_OPTIONAL || record_at(element, of->path)) continue;
            TRY(record_set(element, of->path, json_null(), err));
            filled = true;
        }
    }
    if (!filled || json_object_get(json_object_get(record, "missing"), record_elements[k].path)) return 0;
    return record_say(record, record_elements[k].path, reason, err);
}

int record_complete(json_t *record, const char *reason, struct redline_err *err)
{
    bool failed = json_object_get(record, "failed");
    for (size_t i = 0; i < n_record_members; i++) {
        const struct record_member *m = &record_members[i];
        if (m->flags & (RECORD_NEVER | RECORD_OPTIONAL) || (failed && !(m->flags & RECORD_CORE))) continue;
        if (record_at(record, m->path) || within_null(record, m->path)) continue;
        TRY(record_miss(record, m->path, reason, err));
    }
    for (size_t k = 0; k < n_record_elements; k++) TRY(complete_elements(record, k, reason, err));
    return 0;
}
