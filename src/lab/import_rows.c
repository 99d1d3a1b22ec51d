/* import_rows.c - texts that other tools print, as an array of objects (import.h). */
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "import.h"
#include "mem.h"

static size_t line_of(struct str text, const char *at)
{
    size_t line = 1;
    for (const char *p = text.p; p < at; p++) line += *p == '\n';
    return line;
}

static int no_memory(struct redline_err *err)
{
    return err_set(err, REDLINE_MEMORY, "no memory for the rows of a text");
}

static int keep(json_t *rows, json_t *row, size_t line, struct redline_err *err)
{
    int refused = json_object_set_new(row, "_line", json_integer((json_int_t)line));
    return json_array_append_new(rows, row) || refused ? no_memory(err) : 0;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

/* Whether an object may begin here: nothing before it in its line but what stands between elements. */
static bool opens_row(struct str text, const char *at, bool *in_array)
{
    const char *p = at;
    while (p > text.p && strchr(" \t\r[,", p[-1])) p--;
    for (const char *q = p; q < at; q++) *in_array |= *q == '[';
    return p == text.p || p[-1] == '\n' || p[-1] == '}';
}

/* An array that was opened in a line of its own. */
static bool array_before(struct str text, const char *at)
{
    while (at > text.p && strchr(" \t\r\n", at[-1])) at--;
    return at > text.p && at[-1] == '[';
}

static int rows_of_json(json_t *rows, struct str text, struct redline_err *err)
{
    const char *end = text.p + text.n, *last = text.p;
    bool in_array = false;
    for (const char *at = memchr(text.p, '{', text.n); at; at = memchr(at, '{', (size_t)(end - at))) {
        json_error_t problem;
        if (json_array_size(rows) == 0) in_array = array_before(text, at);
        if (!opens_row(text, at, &in_array)) {
            at++;
            continue;
        }
        json_t *row = json_loadb(at, (size_t)(end - at), JSON_DISABLE_EOF_CHECK, &problem);
        if (!row)
            return err_set(err, REDLINE_FORMAT, "line %zu: this row is no whole JSON: %.120s",
                           line_of(text, at) + (size_t)MAX(problem.line - 1, 0), problem.text);
        TRY(keep(rows, row, line_of(text, at), err));
        at = last = at + problem.position;
    }
    if (in_array && !memchr(last, ']', (size_t)(end - last)))
        return err_set(err, REDLINE_FORMAT, "line %zu: the array of rows has no end", line_of(text, last));
    return 0;
}

/* ---- CSV ------------------------------------------------------------------------------------- */

/* The next field of a line into `out`, without its quotation marks; moves *at behind the comma.  False: there was no
 * comma, it was the last. */
static bool next_field(struct buf *out, const char **at, const char *end, int *status, struct redline_err *err)
{
    bool quoted = false;
    out->n = 0;
    *status = buf_append(out, "", 0, err);
    for (; *at < end && !*status; (*at)++) {
        if (**at == '"' && quoted && *at + 1 < end && (*at)[1] == '"') *status = buf_append(out, (*at)++, 1, err);
        else if (**at == '"') quoted = !quoted;
        else if (**at == ',' && !quoted) return (*at)++, true;
        else *status = buf_append(out, *at, 1, err);
    }
    return false;
}

/* A number where it is one to the end; names of commits may look like numbers. */
static json_t *field_value(const char *name, const char *text)
{
    char *end;
    double x = strtod(text, &end);
    if (*end || end == text || strcmp(name, "build_commit") == 0) return json_string(text);
    long long i = strtoll(text, &end, 10);
    return *end ? json_real(x) : json_integer(i);
}

static int read_head(json_t *names, const char *at, const char *end, struct redline_err *err)
{
    struct buf field = {0};
    int status = 0;
    for (bool more = true; more && !status;) {
        more = next_field(&field, &at, end, &status, err);
        if (!status && json_array_append_new(names, json_string(field.p ? field.p : ""))) status = no_memory(err);
    }
    buf_free(&field);
    return status;
}

static int read_line(json_t *row, const json_t *names, const char *at, const char *end, size_t line,
                     struct redline_err *err)
{
    struct buf field = {0};
    int status = 0;
    size_t n = 0;
    for (bool more = true; more && !status; n++) {
        const char *name = json_string_value(json_array_get(names, n));
        more = next_field(&field, &at, end, &status, err);
        if (!status && name && json_object_set_new(row, name, field_value(name, field.p ? field.p : "")))
            status = no_memory(err);
    }
    buf_free(&field);
    if (status || n == json_array_size(names)) return status;
    return err_set(err, REDLINE_FORMAT, "line %zu: %zu fields, the head has %zu", line, n, json_array_size(names));
}

static int rows_of_csv(json_t *rows, struct str text, struct redline_err *err)
{
    json_t *names = json_array();
    int status = names ? 0 : no_memory(err);
    const char *end = text.p + text.n;
    size_t line = 1;
    for (const char *at = text.p; !status && at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const char *next = stop ? stop + 1 : end;
        if (!stop) stop = end;
        if (stop > at && stop[-1] == '\r') stop--;
        if (json_array_size(names) == 0) {
            status = read_head(names, at, stop, err);
        } else if (stop > at) {
            json_t *row = json_object();
            status = row ? read_line(row, names, at, stop, line, err) : no_memory(err);
            if (!status) status = keep(rows, row, line, err);
            else json_decref(row);
        }
        at = next;
    }
    json_decref(names);
    return status;
}

int import_rows(json_t **rows, struct str text, struct redline_err *err)
{
    *rows = json_array();
    if (!*rows) return no_memory(err);
    int status = str_starts(text, STR("build_commit,")) ? rows_of_csv(*rows, text, err)
                                                        : rows_of_json(*rows, text, err);
    if (!status) return 0;
    json_decref(*rows);
    *rows = NULL;
    return status;
}
