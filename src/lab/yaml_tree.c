/* yaml_tree.c - libyaml's events as a JSON tree, and a list of where each value stood. */
#include "yaml_tree.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "mem.h"
#include "opt.h"
#include "yaml_events.h"

enum { MOST_DEPTH = 16 };

/* in[key] or in[index] begins in this line; in == NULL: the root. */
struct yaml_place {
    const json_t *in;
    json_t *value; /* kept, so that no later value gets its address */
    uint64_t key;  /* hash of it, or the index */
    size_t line;
};

struct reader {
    struct yaml *y;
    struct yaml_events events;
    int depth;
};

static int fail_at(const struct yaml *y, size_t line, struct redline_err *err, const char *format, va_list args)
{
    char sentence[sizeof err->message];
    vsnprintf(sentence, sizeof sentence, format, args);
    if (line == 0) return err_set(err, REDLINE_ARG, "%s: %s", y->path, sentence);
    return err_set(err, REDLINE_ARG, "%s:%zu: %s", y->path, line, sentence);
}

/* ---- values ---------------------------------------------------------------------------------- */

/* A number as JSON writes it: no leading zeros or signs but minus, digits on both sides of the point. */
static bool is_number(const char *s, bool *is_integer)
{
    s += *s == '-';
    size_t n = strspn(s, "0123456789");
    if (n == 0 || (n > 1 && *s == '0')) return false;
    s += n;
    *is_integer = !*s;
    if (*s == '.') {
        n = strspn(++s, "0123456789");
        if (n == 0) return false;
        s += n;
    }
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '-' || *s == '+';
        n = strspn(s, "0123456789");
        if (n == 0) return false;
        s += n;
    }
    return !*s;
}

json_t *yaml_word(const char *word, size_t n)
{
    char s[64];
    bool is_integer;
    if (n == 0) return json_null();
    if (n >= sizeof s) return json_stringn(word, n);
    memcpy(s, word, n);
    s[n] = '\0';
    if (strcmp(s, "null") == 0 || strcmp(s, "~") == 0) return json_null();
    if (strcmp(s, "true") == 0) return json_true();
    if (strcmp(s, "false") == 0) return json_false();
    if (!is_number(s, &is_integer)) return json_stringn(word, n);
    errno = 0;
    long long i = is_integer ? strtoll(s, NULL, 10) : 0;
    if (is_integer && errno == 0) return json_integer(i);
    double x = strtod(s, NULL);
    return isfinite(x) ? json_real(x) : json_stringn(word, n);
}

/* Remembers that in[key] begins in this line. */
static int add_place(struct yaml *y, struct yaml_place place, struct redline_err *err)
{
    if (y->n_places == y->most_places) {
        size_t most = y->most_places ? 2 * y->most_places : 64;
        struct yaml_place *p = mem_resize(y->places, most, sizeof *p);
        if (!p) return err_memory(err, most * sizeof *p, "the lines of a YAML file");
        y->places = p;
        y->most_places = most;
    }
    json_incref(place.value);
    y->places[y->n_places++] = place;
    return 0;
}

static int read_value(struct reader *r, json_t **out, struct redline_err *err);

/* The event in hand is the start of a list. */
static int read_list(struct reader *r, json_t *list, struct redline_err *err)
{
    struct yaml_events *e = &r->events;
    for (;;) {
        json_t *value = NULL;
        TRY(yaml_events_next(e, err));
        if (e->event.type == YAML_SEQUENCE_END_EVENT) return 0;
        struct yaml_place place = {list, NULL, json_array_size(list), yaml_events_line(e)};
        TRY(read_value(r, &value, err));
        place.value = value;
        if (json_array_append_new(list, value)) return err_memory(err, 1, "a list");
        TRY(add_place(r->y, place, err));
    }
}

/* The event in hand is the start of a mapping. */
static int read_mapping(struct reader *r, json_t *object, struct redline_err *err)
{
    struct yaml_events *e = &r->events;
    for (;;) {
        json_t *value = NULL;
        char key[128];
        TRY(yaml_events_next(e, err));
        if (e->event.type == YAML_MAPPING_END_EVENT) return 0;
        if (e->event.type != YAML_SCALAR_EVENT) return yaml_events_fail(e, err, "a list or a mapping cannot be a key");
        const char *name = yaml_events_scalar(e);
        if (e->event.data.scalar.length >= sizeof key || strchr(name, '\n'))
            return yaml_events_fail(e, err, "'%.80s': a key is one line of at most %zu bytes", name, sizeof key - 1);
        memcpy(key, name, e->event.data.scalar.length + 1);
        if (json_object_get(object, key))
            return yaml_events_fail(e, err, "'%s' is there already, in line %zu", key, yaml_line(r->y, object, key));
        struct yaml_place place = {object, NULL, str_hash(str_of(key)), yaml_events_line(e)};
        TRY(yaml_events_next(e, err));
        TRY(read_value(r, &value, err));
        place.value = value;
        if (json_object_set_new(object, key, value)) return err_memory(err, 1, "a mapping");
        TRY(add_place(r->y, place, err));
    }
}

static int read_scalar(const struct reader *r, json_t **out, struct redline_err *err)
{
    const char *p = yaml_events_scalar(&r->events);
    size_t n = r->events.event.data.scalar.length;
    *out = yaml_events_is_plain(&r->events) ? yaml_word(p, n) : json_stringn(p, n);
    return *out ? 0 : err_memory(err, n, "a text");
}

/* The event in hand begins a value. */
static int read_value(struct reader *r, json_t **out, struct redline_err *err)
{
    if (r->events.event.type == YAML_SCALAR_EVENT) return read_scalar(r, out, err);
    if (r->depth == MOST_DEPTH) return yaml_events_fail(&r->events, err, "nested deeper than %d", MOST_DEPTH);
    bool is_list = r->events.event.type == YAML_SEQUENCE_START_EVENT;
    json_t *value = is_list ? json_array() : json_object();
    if (!value) return err_memory(err, 1, "a YAML file");
    r->depth++;
    int status = is_list ? read_list(r, value, err) : read_mapping(r, value, err);
    r->depth--;
    if (status) json_decref(value);
    else *out = value;
    return status;
}

static int read_document(struct reader *r, struct redline_err *err)
{
    json_t *root = NULL;
    if (r->events.event.type != YAML_MAPPING_START_EVENT)
        return yaml_events_fail(&r->events, err, "a mapping of keys is expected");
    size_t line = yaml_events_line(&r->events);
    TRY(read_value(r, &root, err));
    r->y->root = root;
    TRY(add_place(r->y, (struct yaml_place){NULL, root, 0, line}, err));
    return yaml_events_end(&r->events, err);
}

static int read_events(struct yaml *y, struct redline_err *err)
{
    struct reader r = {.y = y};
    bool is_empty;
    TRY(yaml_events_open(&r.events, y->path, &is_empty, err));
    int status = 0;
    if (!is_empty) status = read_document(&r, err);
    else if (!(y->root = json_object())) status = err_memory(err, 1, "a YAML file");
    yaml_events_close(&r.events);
    return status;
}

int yaml_read(struct yaml *out, const char *path, struct redline_err *err)
{
    *out = (struct yaml){.path = mem_copy(path, strlen(path))};
    int status = out->path ? read_events(out, err) : err_memory(err, strlen(path) + 1, "a path");
    if (status) yaml_close(out);
    return status;
}

void yaml_close(struct yaml *y)
{
    for (size_t i = 0; i < y->n_places; i++) json_decref(y->places[i].value);
    json_decref(y->root);
    mem_free(y->path);
    mem_free(y->places);
    *y = (struct yaml){0};
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* Truth values and null are the same everywhere; all others are found by themselves, wherever they were moved. */
static bool is_own(const json_t *value)
{
    return value && !json_is_null(value) && !json_is_boolean(value);
}

static size_t find_line(const struct yaml *y, const json_t *in, const json_t *value, uint64_t key)
{
    for (size_t i = 0; i < y->n_places; i++) {
        const struct yaml_place *p = &y->places[i];
        if (is_own(value) ? p->value == value : p->in == in && p->key == key) return p->line;
    }
    return 0;
}

size_t yaml_line(const struct yaml *y, const json_t *in, const char *key)
{
    return find_line(y, in, key ? json_object_get(in, key) : in, str_hash(str_of(key ? key : "")));
}

size_t yaml_line_at(const struct yaml *y, const json_t *in, size_t index)
{
    return find_line(y, in, json_array_get(in, index), index);
}

int yaml_fail_line(const struct yaml *y, size_t line, struct redline_err *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int status = fail_at(y, line, err, format, args);
    va_end(args);
    return status;
}

int yaml_fail(const struct yaml *y, const json_t *in, const char *key, struct redline_err *err, const char *format,
              ...)
{
    va_list args;
    va_start(args, format);
    bool is_there = !key || json_object_get(in, key);
    int status = fail_at(y, yaml_line(y, in, is_there ? key : NULL), err, format, args);
    va_end(args);
    return status;
}

int yaml_check_keys(const struct yaml *y, const json_t *object, const char *const *keys, size_t n_keys,
                    const char *what, struct redline_err *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object)) return yaml_fail(y, object, NULL, err, "%s: a mapping of keys is expected", what);
    json_object_foreach ((json_t *)object, key, value) {
        bool known = false;
        for (size_t i = 0; i < n_keys; i++) known |= strcmp(key, keys[i]) == 0;
        if (known) continue;
        const char *near = opt_nearest(key, keys, n_keys);
        if (near)
            return yaml_fail(y, object, key, err, "%s: there is no key '%s'; did you mean '%s'?", what, key, near);
        return yaml_fail(y, object, key, err, "%s: there is no key '%s'", what, key);
    }
    return 0;
}

/* ---- members --------------------------------------------------------------------------------- */

/* What is there, or NULL: nothing is. */
static const json_t *member(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    return json_is_null(v) ? NULL : v;
}

int yaml_get_text(const struct yaml *y, const json_t *object, const char *key, const char **out,
                  struct redline_err *err)
{
    const json_t *v = member(object, key);
    if (!v) return 0;
    if (!json_is_string(v)) return yaml_fail(y, object, key, err, "%s: a text is expected", key);
    *out = json_string_value(v);
    return 0;
}

int yaml_get_number(const struct yaml *y, const json_t *object, const char *key, double least, double most,
                    double *out, struct redline_err *err)
{
    const json_t *v = member(object, key);
    if (!v) return 0;
    if (!json_is_number(v)) return yaml_fail(y, object, key, err, "%s: a number is expected", key);
    double x = json_number_value(v);
    if (x < least || x > most)
        return yaml_fail(y, object, key, err, "%s is %g, it must lie between %g and %g", key, x, least, most);
    *out = x;
    return 0;
}

int yaml_get_int(const struct yaml *y, const json_t *object, const char *key, int least, int most, int *out,
                 struct redline_err *err)
{
    double x = *out;
    if (member(object, key) && !json_is_integer(member(object, key)))
        return yaml_fail(y, object, key, err, "%s: a whole number is expected", key);
    TRY(yaml_get_number(y, object, key, least, most, &x, err));
    *out = (int)x;
    return 0;
}

int yaml_get_bool(const struct yaml *y, const json_t *object, const char *key, bool *out, struct redline_err *err)
{
    const json_t *v = member(object, key);
    if (!v) return 0;
    if (!json_is_boolean(v)) return yaml_fail(y, object, key, err, "%s: true or false is expected", key);
    *out = json_is_true(v);
    return 0;
}

bool yaml_parse_share(const char *text, double *out)
{
    char *end;
    if (!(*text >= '0' && *text <= '9')) return false;
    double x = strtod(text, &end);
    end += strspn(end, " ");
    if (end[0] != '%' || end[1] || !isfinite(x)) return false;
    *out = x / 100;
    return true;
}

int yaml_get_share(const struct yaml *y, const json_t *object, const char *key, double *out,
                   struct redline_err *err)
{
    const json_t *v = member(object, key);
    if (!v) return 0;
    if (json_is_string(v) && yaml_parse_share(json_string_value(v), out)) return 0;
    if (!json_is_number(v)) return yaml_fail(y, object, key, err, "%s: a share is expected, like 5 %% or 0.05", key);
    return yaml_get_number(y, object, key, 0, INFINITY, out, err);
}
