/* bench_print.c - the four formats of a benchmark's table. */
#include "bench_print.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base.h"
#include "cmd.h"

struct bench_format {
    const char *name;
    int (*begin)(struct bench_printer *p, struct redline_err *err);
    int (*row)(struct bench_printer *p, const struct bench_row *row, struct redline_err *err);
    int (*end)(struct bench_printer *p, struct redline_err *err);
};

static int put(struct buf *text, struct redline_err *err)
{
    int status = cmd_write(text->p, text->n, err);
    buf_free(text);
    return status ? status : cmd_flush(err);
}

static int put_text(const char *text, struct redline_err *err)
{
    TRY(cmd_write(text, strlen(text), err));
    return cmd_flush(err);
}

static int no_text(struct bench_printer *p, struct redline_err *err)
{
    (void)p;
    (void)err;
    return 0;
}

static const void *member(const struct bench_row *row, const struct bench_field *f)
{
    return (const char *)row + f->offset;
}

/* ---- JSON -------------------------------------------------------------------------------------- */

/* Whole numbers without a point, as readers of times expect them. */
static json_t *number(double x)
{
    if (!isfinite(x)) return json_null();
    return x == rint(x) && fabs(x) < 0x1p53 ? json_integer((json_int_t)x) : json_real(x);
}

static json_t *samples(const double *values, int n)
{
    json_t *array = json_array();
    for (int i = 0; array && i < n; i++) json_array_append_new(array, number(values[i]));
    return array;
}

static json_t *value_of(const struct bench_row *row, const struct bench_field *f)
{
    const void *at = member(row, f);
    switch (f->kind) {
    case BENCH_TEXT: return json_string(*(char *const *)at);
    case BENCH_CHARS: return json_string(at);
    case BENCH_WHOLE: return json_integer((json_int_t) * (const int64_t *)at);
    case BENCH_NUMBER: return number(*(const double *)at);
    case BENCH_TRUTH: return json_boolean(*(const bool *)at);
    case BENCH_SAMPLES: break;
    }
    return samples(at, row->n_samples);
}

static int write_object(const struct bench_row *row, size_t flags, struct redline_err *err)
{
    json_t *root = json_object();
    for (size_t i = 0; i < bench_n_fields; i++)
        json_object_set_new(root, bench_fields[i].name, value_of(row, &bench_fields[i]));
    char *text = json_dumps(root, flags | JSON_REAL_PRECISION(12));
    int status = text ? cmd_write(text, strlen(text), err)
                      : err_set(err, REDLINE_FORMAT, "the path '%s' is not UTF-8, as JSON has to be",
                                row->model_filename);
    free(text);
    json_decref(root);
    return status;
}

static int json_begin(struct bench_printer *p, struct redline_err *err)
{
    (void)p;
    return put_text("[", err);
}

static int json_row(struct bench_printer *p, const struct bench_row *row, struct redline_err *err)
{
    TRY(put_text(p->n_rows ? ",\n" : "\n", err));
    TRY(write_object(row, JSON_INDENT(2), err));
    return cmd_flush(err);
}

static int json_end(struct bench_printer *p, struct redline_err *err)
{
    return put_text(p->n_rows ? "\n]\n" : "]\n", err);
}

static int jsonl_row(struct bench_printer *p, const struct bench_row *row, struct redline_err *err)
{
    (void)p;
    TRY(write_object(row, JSON_COMPACT, err));
    return put_text("\n", err);
}

/* ---- CSV: without the samples, texts in quotation marks (RFC 4180) ----------------------------- */

static int csv_begin(struct bench_printer *p, struct redline_err *err)
{
    struct buf line = {0};
    int status = 0;
    (void)p;
    for (size_t i = 0; !status && i < bench_n_fields; i++)
        if (bench_fields[i].kind != BENCH_SAMPLES)
            status = buf_printf(&line, err, "%s%s", i ? "," : "", bench_fields[i].name);
    if (!status) status = buf_printf(&line, err, "\n");
    return status ? status : put(&line, err);
}

static int csv_text(struct buf *line, const char *text, struct redline_err *err)
{
    TRY(buf_printf(line, err, "\""));
    for (const char *c = text; *c; c++) TRY(buf_printf(line, err, "%s%c", *c == '"' ? "\"" : "", *c));
    return buf_printf(line, err, "\"");
}

static int csv_value(struct buf *line, const struct bench_row *row, const struct bench_field *f,
                     struct redline_err *err)
{
    const void *at = member(row, f);
    switch (f->kind) {
    case BENCH_TEXT: return csv_text(line, *(char *const *)at, err);
    case BENCH_CHARS: return csv_text(line, at, err);
    case BENCH_WHOLE: return buf_printf(line, err, "%" PRId64, *(const int64_t *)at);
    case BENCH_NUMBER:
        return isfinite(*(const double *)at) ? buf_printf(line, err, "%.12g", *(const double *)at) : 0;
    case BENCH_TRUTH: return buf_printf(line, err, "%d", *(const bool *)at);
    case BENCH_SAMPLES: break;
    }
    return 0;
}

static int csv_row(struct bench_printer *p, const struct bench_row *row, struct redline_err *err)
{
    struct buf line = {0};
    int status = 0;
    (void)p;
    for (size_t i = 0; !status && i < bench_n_fields; i++) {
        if (bench_fields[i].kind == BENCH_SAMPLES) continue;
        if (i) status = buf_printf(&line, err, ",");
        if (!status) status = csv_value(&line, row, &bench_fields[i], err);
    }
    if (!status) status = buf_printf(&line, err, "\n");
    return status ? status : put(&line, err);
}

/* ---- Markdown ---------------------------------------------------------------------------------- */

struct column {
    const char *head;
    int width; /* negative: flush left */
    int (*print)(struct buf *to, const struct bench_row *row, struct redline_err *err);
    bool (*wanted)(const struct bench_grid *g); /* NULL: always */
};

static int col_model(struct buf *to, const struct bench_row *row, struct redline_err *err)
{
    return buf_printf(to, err, "%s", row->model_type);
}

static int col_size(struct buf *to, const struct bench_row *row, struct redline_err *err)
{
    char text[32];
    str_bytes_text((uint64_t)row->model_size, text, sizeof text);
    return buf_printf(to, err, "%s", text);
}

static int col_backend(struct buf *to, const struct bench_row *row, struct redline_err *err)
{
    return buf_printf(to, err, "%s", row->backends);
}

static int col_threads(struct buf *to, const struct bench_row *row, struct redline_err *err)
{
    return buf_printf(to, err, "%" PRId64, row->n_threads);
}

static int col_batch(struct buf *to, const struct bench_row *row, struct redline_err *err)
{
    return buf_printf(to, err, "%" PRId64, row->n_batch);
}

static int col_ubatch(struct buf *to, const struct bench_row *row, struct redline_err *err)
{
    return buf_printf(to, err, "%" PRId64, row->n_ubatch);
}

static int col_type_k(struct buf *to, const struct bench_row *row, struct redline_err *err)
{
    return buf_printf(to, err, "%s", row->type_k);
}

static int col_type_v(struct buf *to, const struct bench_row *row, struct redline_err *err)
{
    return buf_printf(to, err, "%s", row->type_v);
}

static int col_test(struct buf *to, const struct bench_row *row, struct redline_err *err)
{
    return buf_printf(to, err, "%s", row->test);
}

static int col_speed(struct buf *to, const struct bench_row *row, struct redline_err *err)
{
    return buf_printf(to, err, "%.2f", row->median_ts);
}

static int col_interval(struct buf *to, const struct bench_row *row, struct redline_err *err)
{
    if (isnan(row->median_low_ts)) return buf_printf(to, err, "%d of 6 runs", row->n_samples);
    return buf_printf(to, err, "%.2f to %.2f", row->median_low_ts, row->median_high_ts);
}

static int col_limit(struct buf *to, const struct bench_row *row, struct redline_err *err)
{
    if (row->fits_in_cache && !isnan(row->share_of_bandwidth)) return buf_printf(to, err, "in the cache");
    if (!isnan(row->share_of_bandwidth))
        return buf_printf(to, err, "%.0f %% of %.1f GB/s", 100 * row->share_of_bandwidth, row->bandwidth / 1e9);
    if (!isnan(row->bytes) && *row->bandwidth_missing) return buf_printf(to, err, "not measured");
    if (isnan(row->share_of_compute)) return buf_printf(to, err, "not probed");
    return buf_printf(to, err, "%.0f %% of %.0f GOPS", 100 * row->share_of_compute, row->compute_limit / 1e9);
}

static int col_peak(struct buf *to, const struct bench_row *row, struct redline_err *err)
{
    char text[32];
    str_bytes_text((uint64_t)row->peak_rss_bytes, text, sizeof text);
    return buf_printf(to, err, "%s", text);
}

static bool several_batches(const struct bench_grid *g) { return g->n_batch.n > 1; }
static bool several_ubatches(const struct bench_grid *g) { return g->n_ubatch.n > 1; }
static bool several_types_k(const struct bench_grid *g) { return g->types_k.n > 1; }
static bool several_types_v(const struct bench_grid *g) { return g->types_v.n > 1; }

static const struct column columns[] = {
    {"model", -28, col_model, NULL},
    {"size", 8, col_size, NULL},
    {"backend", -7, col_backend, NULL},
    {"threads", 7, col_threads, NULL},
    {"n_batch", 7, col_batch, several_batches},
    {"n_ubatch", 8, col_ubatch, several_ubatches},
    {"type_k", 6, col_type_k, several_types_k},
    {"type_v", 6, col_type_v, several_types_v},
    {"test", 16, col_test, NULL},
    {"t/s", 10, col_speed, NULL},
    {"95 % interval", 20, col_interval, NULL},
    {"of the limit", 18, col_limit, NULL},
    {"peak", 8, col_peak, NULL},
};

static bool is_wanted(const struct column *c, const struct bench_grid *g)
{
    return !c->wanted || c->wanted(g);
}

static int md_cell(struct buf *line, const char *text, int width, struct redline_err *err)
{
    return buf_printf(line, err, " %*s |", width, text);
}

static int md_begin(struct bench_printer *p, struct redline_err *err)
{
    static const char dashes[] = "----------------------------------------";
    struct buf line = {0};
    int status = buf_printf(&line, err, "|");
    for (size_t i = 0; !status && i < COUNT_OF(columns); i++)
        if (is_wanted(&columns[i], p->grid)) status = md_cell(&line, columns[i].head, columns[i].width, err);
    if (!status) status = buf_printf(&line, err, "\n|");
    for (size_t i = 0; !status && i < COUNT_OF(columns); i++) {
        int width = abs(columns[i].width);
        if (is_wanted(&columns[i], p->grid))
            status = buf_printf(&line, err, " %.*s%s |", width - (columns[i].width > 0), dashes,
                                columns[i].width > 0 ? ":" : "");
    }
    if (!status) status = buf_printf(&line, err, "\n");
    return status ? status : put(&line, err);
}

static int md_row(struct bench_printer *p, const struct bench_row *row, struct redline_err *err)
{
    struct buf line = {0}, cell = {0};
    int status = buf_printf(&line, err, "|");
    for (size_t i = 0; !status && i < COUNT_OF(columns); i++) {
        if (!is_wanted(&columns[i], p->grid)) continue;
        cell.n = 0;
        status = columns[i].print(&cell, row, err);
        if (!status) status = md_cell(&line, cell.p, columns[i].width, err);
    }
    if (!status) status = buf_printf(&line, err, "\n");
    buf_free(&cell);
    return status ? status : put(&line, err);
}

static int md_end(struct bench_printer *p, struct redline_err *err)
{
    (void)p;
    return put_text("\n"
                    "t/s: median of the repetitions.  Prompts (pp) are timed from leaving the queue to the logits of\n"
                    "their last token, generation (tg) from there to the last token, sampling included.  Limits: of\n"
                    "generation, memory read by the same threads beside the test; of prompts, the arithmetic that\n"
                    "redline probe measured.  Peak: resident size, pages of the file included.\n",
                    err);
}

/* ---- the formats ------------------------------------------------------------------------------- */

static const struct bench_format formats[] = {
    {"md", md_begin, md_row, md_end},
    {"csv", csv_begin, csv_row, no_text},
    {"json", json_begin, json_row, json_end},
    {"jsonl", no_text, jsonl_row, no_text},
};

const struct bench_format *bench_format_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(formats); i++)
        if (strcmp(formats[i].name, name) == 0) return &formats[i];
    return NULL;
}

int bench_print_begin(struct bench_printer *p, struct redline_err *err)
{
    return p->format->begin(p, err);
}

int bench_print_row(struct bench_printer *p, const struct bench_row *row, struct redline_err *err)
{
    TRY(p->format->row(p, row, err));
    p->n_rows++;
    return 0;
}

int bench_print_end(struct bench_printer *p, struct redline_err *err)
{
    return p->format->end(p, err);
}

int bench_print_fields(struct redline_err *err)
{
    struct buf page = {0};
    int status = 0;
    for (size_t i = 0; !status && i < bench_n_fields; i++)
        status = buf_printf(&page, err, "%-20s %s\n", bench_fields[i].name, bench_fields[i].meaning);
    return status ? status : put(&page, err);
}
