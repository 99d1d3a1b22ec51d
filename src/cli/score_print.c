/* score_print.c - the figures of redline score on both streams. */
#include "score_print.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

/* ---- the table --------------------------------------------------------------------------------- */

/* scale, format: of both numbers; an error that cannot be said is left out. */
static int put_row(struct buf *out, const char *what, struct score_estimate e, double scale, const char *value_format,
                   const char *error_format, struct redline_err *err)
{
    char value[32], error[32] = "";
    snprintf(value, sizeof value, value_format, scale * e.value);
    if (isfinite(e.error)) snprintf(error, sizeof error, error_format, scale * e.error);
    return buf_printf(out, err, *error ? "%-22s %12s %12s\n" : "%-22s %12s\n", what, value, error);
}

static int put_reference(struct buf *out, const struct score_report *r, struct redline_err *err)
{
    const struct score_summary *s = &r->summary;
    const struct score_estimate median = {s->kl_median, NAN}, p99 = {s->kl_p99, NAN}, largest = {s->kl_largest, NAN};
    TRY(put_row(out, "  of the reference", s->reference_perplexity, 1, "%.4f", "%.5f", err));
    TRY(put_row(out, "  ratio", s->ratio, 1, "%.5f", "%.5f", err));
    TRY(put_row(out, "KL divergence, mean", s->kl_mean, 1, "%.4g", "%.2g", err));
    TRY(put_row(out, "  median", median, 1, "%.4g", "", err));
    TRY(put_row(out, "  99th percentile", p99, 1, "%.4g", "", err));
    TRY(put_row(out, "  largest", largest, 1, "%.4g", "", err));
    return put_row(out, "same top token", s->same_top, 100, "%.2f %%", "%.2f %%", err);
}

static int put_table(struct buf *out, const struct score_report *r, struct redline_err *err)
{
    TRY(buf_printf(out, err, "%s on %s: %d chunk%s of %d tokens, %zu scored; %s keys, %s values%s\n", r->model, r->text,
                   r->frame.n_chunks, r->frame.n_chunks == 1 ? "" : "s", r->frame.n_ctx, r->summary.n,
                   r->facts.plan.type_k, r->facts.plan.type_v, r->exact ? ", exact" : ""));
    if (r->record)
        TRY(buf_printf(out, err,
                       "against a record of %s; of each position the %d most probable tokens and the rest as one, "
                       "so divergences are lower bounds\n", r->record->made, r->record->n_top));
    else if (r->reference)
        TRY(buf_printf(out, err, "against %s with the same settings\n", r->reference));
    TRY(buf_printf(out, err, "\n%-22s %12s %12s\n", "", "value", "std. error"));
    TRY(put_row(out, "perplexity", r->summary.perplexity, 1, "%.4f", "%.5f", err));
    return r->reference ? put_reference(out, r, err) : 0;
}

int score_print_table(const struct score_report *r, struct redline_err *err)
{
    struct buf out = {0};
    int status = put_table(&out, r, err);
    if (!status) status = cmd_write(out.p, out.n, err);
    buf_free(&out);
    return status;
}

/* ---- JSON -------------------------------------------------------------------------------------- */

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static void set_estimate(json_t *to, const char *key, struct score_estimate e)
{
    char error[64];
    snprintf(error, sizeof error, "%s_error", key);
    json_object_set_new(to, key, number(e.value));
    json_object_set_new(to, error, number(e.error));
}

static json_t *reference_object(const struct score_report *r)
{
    const struct score_summary *s = &r->summary;
    json_t *to = json_pack("{s:s, s:s}", "file", r->reference, "kind", r->record ? "record" : "model");
    if (r->record) {
        json_object_set_new(to, "made", json_string(r->record->made));
        json_object_set_new(to, "n_top", json_integer(r->record->n_top));
    }
    set_estimate(to, "perplexity", s->reference_perplexity);
    set_estimate(to, "perplexity_ratio", s->ratio);
    set_estimate(to, "kl_mean", s->kl_mean);
    json_object_set_new(to, "kl_median", number(s->kl_median));
    json_object_set_new(to, "kl_p99", number(s->kl_p99));
    json_object_set_new(to, "kl_largest", number(s->kl_largest));
    json_object_set_new(to, "kl_is_lower_bound", json_boolean(r->record != NULL));
    set_estimate(to, "same_top", s->same_top);
    return to;
}

static json_t *report_object(const struct score_report *r)
{
    const struct redline_plan *p = &r->facts.plan;
    double n_tokens = (double)r->frame.n_chunks * r->frame.n_ctx;
    json_t *root = json_pack("{s:s, s:s, s:i, s:i, s:I, s:s, s:s, s:b, s:b, s:i, s:s, s:s, s:s, s:f}", "model",
                             r->model, "text", r->text, "n_ctx", r->frame.n_ctx, "n_chunks", r->frame.n_chunks,
                             "n_scored", (json_int_t)r->summary.n, "type_k", p->type_k, "type_v", p->type_v, "exact",
                             r->exact, "special", r->special, "n_threads", p->n_threads, "cpu", r->facts.cpu,
                             "kernel", r->facts.kernel, "kernel_type", r->facts.kernel_type, "tokens_per_s",
                             n_tokens * 1e9 / (double)r->wall_ns);
    if (!root) return NULL;
    set_estimate(root, "perplexity", r->summary.perplexity);
    json_object_set_new(root, "reference", r->reference ? reference_object(r) : json_null());
    return root;
}

int score_print_json(const struct score_report *r, struct redline_err *err)
{
    json_t *root = report_object(r);
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;
    int status = text ? cmd_write(text, strlen(text), err)
                      : err_set(err, REDLINE_FORMAT, "a file's name is not UTF-8, as JSON has to be");
    if (!status) status = cmd_write("\n", 1, err);
    free(text);
    json_decref(root);
    return status;
}

/* ---- standard error ---------------------------------------------------------------------------- */

void score_print_measured(const struct score_report *r)
{
    const struct redline_plan *p = &r->facts.plan;
    double n_tokens = (double)r->frame.n_chunks * r->frame.n_ctx, seconds = (double)r->wall_ns / 1e9;
    char peak[32];
    str_bytes_text(r->facts.peak_rss_bytes, peak, sizeof peak);
    fprintf(stderr, "%.0f tokens in %.2f s, %.1f tok/s%s | peak %s | %s, %d thread%s, %s kernels for %s\n", n_tokens,
            seconds, n_tokens / seconds, r->reference && !r->record ? " with the reference" : "", peak, r->facts.cpu,
            p->n_threads, p->n_threads == 1 ? "" : "s", r->facts.kernel, r->facts.kernel_type);
}
