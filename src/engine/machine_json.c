/* machine_json.c - the record of a machine's limits as JSON text, and back.
 *
 * Rates are whole numbers, so that a record read back is the record that was written. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "err.h"
#include "machine.h"
#include "mem.h"
#include "str.h"

enum { MOST_THREADS = 1 << 20 };

/* ---- writing ---------------------------------------------------------------------------------- */

static json_t *rate_json(const struct redline_rate *r)
{
    return json_pack("{s:I, s:I, s:I, s:i}", "best", (json_int_t)r->best, "median", (json_int_t)r->median,
                     "worst", (json_int_t)r->worst, "n_repetitions", r->n_repetitions);
}

static json_t *machine_json(const struct redline_machine *m)
{
    char id[17];
    redline_machine_id(m, id);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:f, s:I, s:I, s:I, s:i, s:I}", "id", id,
                     "cpu", m->cpu, "features", m->features, "microcode", m->microcode, "kernel", m->kernel,
                     "build", m->build, "n_logical", m->n_logical, "n_physical", m->n_physical, "n_threads",
                     m->n_threads, "quota", m->quota, "l1d_bytes", (json_int_t)m->l1d_bytes, "l2_bytes",
                     (json_int_t)m->l2_bytes, "l3_bytes", (json_int_t)m->l3_bytes, "n_l3", m->n_l3,
                     "memory_bytes", (json_int_t)m->memory_bytes);
}

static json_t *bandwidths_json(const struct redline_limits *l)
{
    json_t *rows = json_array();
    for (int i = 0; i < l->n_bandwidths; i++) {
        const struct redline_bandwidth *b = &l->bandwidths[i];
        json_t *row = json_pack("{s:i, s:I, s:o, s:o}", "n_threads", b->n_threads, "bytes_per_s",
                                (json_int_t)MAX(b->plain.best, b->prefetch.best), "plain",
                                rate_json(&b->plain), "prefetch", rate_json(&b->prefetch));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *peaks_json(const struct redline_limits *l)
{
    json_t *rows = json_array();
    for (int i = 0; i < l->n_peaks; i++) {
        const struct redline_peak *p = &l->peaks[i];
        json_t *row = json_pack("{s:s, s:s, s:i, s:o}", "isa", p->isa, "type", p->type, "n_threads",
                                p->n_threads, "ops_per_s", rate_json(&p->ops));
        json_array_append_new(rows, row);
    }
    return rows;
}

static bool is_complete(json_t *root, const struct redline_limits *l)
{
    return json_array_size(json_object_get(root, "bandwidth")) == (size_t)l->n_bandwidths &&
           json_array_size(json_object_get(root, "compute")) == (size_t)l->n_peaks;
}

static int append_piece(const char *piece, size_t n, void *out)
{
    return buf_append(out, piece, n, NULL);
}

int redline_limits_to_json(const struct redline_limits *l, char **text, struct redline_err *err)
{
    struct buf out = {0};
    *text = NULL;
    json_t *root = json_pack("{s:i, s:o, s:I, s:I, s:i, s:I, s:o, s:o}", "method", MACHINE_METHOD, "machine",
                             machine_json(&l->machine), "measured_at", (json_int_t)l->measured_at,
                             "duration_ms", (json_int_t)l->duration_ms, "n_threads", l->n_threads,
                             "read_bytes", (json_int_t)l->read_bytes, "bandwidth", bandwidths_json(l),
                             "compute", peaks_json(l));
    bool fine = root && is_complete(root, l) &&
                json_dump_callback(root, append_piece, &out, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) == 0 &&
                append_piece("\n", 1, &out) == 0;
    json_decref(root);
    if (!fine) {
        buf_free(&out);
        return err_memory(err, sizeof *l, "the record of the limits");
    }
    *text = out.p;
    return 0;
}

/* ---- reading ---------------------------------------------------------------------------------- */

static int broken(struct redline_err *err, const char *what)
{
    return err_set(err, REDLINE_FORMAT, "the record of the limits is broken: %.200s", what);
}

/* A fixed text field. */
static int read_text(char *out, size_t n, const char *text, const char *name, struct redline_err *err)
{
    if (strlen(text) >= n)
        return err_set(err, REDLINE_FORMAT, "the record of the limits is broken: '%s' has %zu bytes, the limit "
                       "is %zu", name, strlen(text), n - 1);
    snprintf(out, n, "%s", text);
    return 0;
}

static int read_machine(struct redline_machine *m, json_t *json, struct redline_err *err)
{
    json_error_t error;
    const char *cpu, *features, *microcode, *kernel, *build;
    json_int_t l1d, l2, l3, memory;
    if (json_unpack_ex(json, &error, 0, "{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:F, s:I, s:I, s:I, s:i, s:I}",
                       "cpu", &cpu, "features", &features, "microcode", &microcode, "kernel", &kernel, "build",
                       &build, "n_logical", &m->n_logical, "n_physical", &m->n_physical, "n_threads", &m->n_threads,
                       "quota", &m->quota, "l1d_bytes", &l1d, "l2_bytes", &l2, "l3_bytes", &l3, "n_l3",
                       &m->n_l3, "memory_bytes", &memory))
        return broken(err, error.text);
    if (l1d < 0 || l2 < 0 || l3 < 0 || memory < 0 || m->n_l3 < 0 || m->quota < 0)
        return broken(err, "a machine with less than nothing");
    m->l1d_bytes = (uint64_t)l1d;
    m->l2_bytes = (uint64_t)l2;
    m->l3_bytes = (uint64_t)l3;
    m->memory_bytes = (uint64_t)memory;
    TRY(read_text(m->cpu, sizeof m->cpu, cpu, "cpu", err));
    TRY(read_text(m->features, sizeof m->features, features, "features", err));
    TRY(read_text(m->microcode, sizeof m->microcode, microcode, "microcode", err));
    TRY(read_text(m->kernel, sizeof m->kernel, kernel, "kernel", err));
    return read_text(m->build, sizeof m->build, build, "build", err);
}

static int read_rate(struct redline_rate *r, json_t *json, struct redline_err *err)
{
    json_error_t error;
    if (json_unpack_ex(json, &error, 0, "{s:F, s:F, s:F, s:i}", "best", &r->best, "median", &r->median, "worst",
                       &r->worst, "n_repetitions", &r->n_repetitions))
        return broken(err, error.text);
    bool sane = r->worst >= 0 && r->worst <= r->median && r->median <= r->best && r->best > 0 &&
                r->best < 0x1p62 && r->n_repetitions > 0;
    return sane ? 0 : broken(err, "a rate whose best, median and worst are not positive and in this order");
}

static int read_bandwidth(struct redline_bandwidth *b, json_t *json, struct redline_err *err)
{
    json_error_t error;
    json_t *plain, *prefetch;
    if (json_unpack_ex(json, &error, 0, "{s:i, s:o, s:o}", "n_threads", &b->n_threads, "plain", &plain,
                       "prefetch", &prefetch))
        return broken(err, error.text);
    TRY(read_rate(&b->plain, plain, err));
    return read_rate(&b->prefetch, prefetch, err);
}

static int read_peak(struct redline_peak *p, json_t *json, struct redline_err *err)
{
    json_error_t error;
    const char *isa, *type;
    json_t *ops;
    if (json_unpack_ex(json, &error, 0, "{s:s, s:s, s:i, s:o}", "isa", &isa, "type", &type, "n_threads",
                       &p->n_threads, "ops_per_s", &ops))
        return broken(err, error.text);
    TRY(read_text(p->isa, sizeof p->isa, isa, "isa", err));
    TRY(read_text(p->type, sizeof p->type, type, "type", err));
    return read_rate(&p->ops, ops, err);
}

/* Teams grow from row to row up to n_threads: what the look-ups rely on. */
static int check_teams(const struct redline_limits *l, struct redline_err *err)
{
    bool fine = l->n_threads >= 1 && l->n_threads <= MOST_THREADS;
    for (int i = 0; fine && i < l->n_bandwidths; i++)
        fine = l->bandwidths[i].n_threads > (i ? l->bandwidths[i - 1].n_threads : 0);
    fine = fine && l->bandwidths[l->n_bandwidths - 1].n_threads == l->n_threads;
    for (int i = 0; fine && i < l->n_peaks; i++) {
        const struct redline_peak *p = &l->peaks[i], *before = i ? p - 1 : NULL;
        bool again = before && strcmp(p->isa, before->isa) == 0 && strcmp(p->type, before->type) == 0;
        fine = p->n_threads > (again ? before->n_threads : 0) && p->n_threads <= l->n_threads;
    }
    return fine ? 0 : broken(err, "numbers of threads that do not ascend to the largest");
}

static int read_rows(struct redline_limits *l, json_t *bandwidth, json_t *compute, struct redline_err *err)
{
    size_t n_bandwidths = json_array_size(bandwidth), n_peaks = json_array_size(compute);
    if (n_bandwidths < 1 || n_bandwidths > REDLINE_MOST_BANDWIDTHS || n_peaks > REDLINE_MOST_PEAKS)
        return broken(err, "too few or too many rows");
    l->n_bandwidths = (int)n_bandwidths;
    l->n_peaks = (int)n_peaks;
    for (size_t i = 0; i < n_bandwidths; i++)
        TRY(read_bandwidth(&l->bandwidths[i], json_array_get(bandwidth, i), err));
    for (size_t i = 0; i < n_peaks; i++) TRY(read_peak(&l->peaks[i], json_array_get(compute, i), err));
    return check_teams(l, err);
}

static int read_root(struct redline_limits *l, json_t *root, struct redline_err *err)
{
    json_error_t error;
    json_t *machine, *bandwidth, *compute;
    json_int_t measured_at, duration, bytes;
    int method;
    if (json_unpack_ex(root, &error, 0, "{s:i, s:o, s:I, s:I, s:i, s:I, s:o, s:o}", "method", &method, "machine",
                       &machine, "measured_at", &measured_at, "duration_ms", &duration, "n_threads",
                       &l->n_threads, "read_bytes", &bytes, "bandwidth", &bandwidth, "compute", &compute))
        return broken(err, error.text);
    if (method != MACHINE_METHOD)
        return err_set(err, REDLINE_FORMAT, "the record of the limits is of method %d; this is method %d", method,
                       MACHINE_METHOD);
    if (duration < 0 || bytes <= 0) return broken(err, "nothing was read, or in less than no time");
    l->measured_at = measured_at;
    l->duration_ms = (uint64_t)duration;
    l->read_bytes = (uint64_t)bytes;
    TRY(read_machine(&l->machine, machine, err));
    return read_rows(l, bandwidth, compute, err);
}

int redline_limits_from_json(struct redline_limits *out, const char *text, size_t n_bytes,
                             struct redline_err *err)
{
    json_error_t error;
    memset(out, 0, sizeof *out);
    json_t *root = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return err_set(err, REDLINE_FORMAT, "the record of the limits is no JSON: line %d: %.200s", error.line,
                       error.text);
    int status = read_root(out, root, err);
    json_decref(root);
    return status;
}
