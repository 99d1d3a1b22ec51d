/* derive.c - one table: a metric, of what workloads it is, how it is computed. */
#include "derive.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "mem.h"
#include "metric.h"
#include "record.h"
#include "stats.h"

/* ---- what there is --------------------------------------------------------------------------------- */

enum clock { ENGINE, CONSUMER, N_CLOCKS };

static const char *const clock_members[] = {"engine_ns", "consumer_ns"};

/* A request's times in nanoseconds, NAN: not known. */
struct one {
    double submitted, started, prefilled, ended;
    double first[N_CLOCKS], last[N_CLOCKS]; /* token */
    size_t n[N_CLOCKS];                     /* tokens with a time */
    double n_prompt, n_cached, n_generated, n_words, n_input_words;
};

struct all {
    struct one *one;
    size_t n;
    double *gaps[N_CLOCKS];     /* sorted, milliseconds, of all requests */
    size_t n_gaps[N_CLOCKS];
    double *values;             /* [n] room */
    double wall_ms, process_start;
    bool warm;
};

static double number(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void read_tokens(struct all *a, struct one *one, const json_t *times, enum clock clock)
{
    double before = NAN;
    const json_t *t;
    size_t i;
    one->n[clock] = json_array_size(times);
    one->first[clock] = one->last[clock] = NAN;
    json_array_foreach(times, i, t) {
        double now = json_number_value(t);
        if (i == 0) one->first[clock] = now;
        else a->gaps[clock][a->n_gaps[clock]++] = (now - before) / 1e6;
        one->last[clock] = before = now;
    }
}

static void read_one(struct all *a, const json_t *request)
{
    struct one *one = &a->one[a->n++];
    *one = (struct one){.submitted = number(request, "submitted_ns"),
                        .started = number(request, "started_ns"),
                        .prefilled = number(request, "prefilled_ns"),
                        .ended = number(request, "ended_ns"),
                        .n_prompt = number(request, "n_prompt"),
                        .n_cached = number(request, "n_cached"),
                        .n_generated = number(request, "n_generated"),
                        .n_words = number(request, "n_words"),
                        .n_input_words = number(request, "n_input_words")};
    for (enum clock c = 0; c < N_CLOCKS; c++) read_tokens(a, one, json_object_get(request, clock_members[c]), c);
}

/* The last thing that the consumer had of a request. */
static double last_of(const struct one *one)
{
    return one->n[CONSUMER] ? one->last[CONSUMER] : one->ended;
}

static double wall_of(const struct all *a)
{
    double first = INFINITY, last = -INFINITY;
    for (size_t i = 0; i < a->n; i++) {
        if (isnan(a->one[i].submitted) || isnan(last_of(&a->one[i]))) return NAN;
        first = fmin(first, a->one[i].submitted);
        last = fmax(last, last_of(&a->one[i]));
    }
    return a->n ? (last - first) / 1e6 : NAN;
}

static void free_all(struct all *a)
{
    mem_free(a->one);
    mem_free(a->values);
    for (enum clock c = 0; c < N_CLOCKS; c++) mem_free(a->gaps[c]);
}

static int read_all(struct all *a, const json_t *record, struct redline_err *err)
{
    const json_t *requests = json_object_get(record, "requests"), *request;
    const char *load = record_text(record, "load");
    size_t i, n_times[N_CLOCKS] = {0}, n = json_array_size(requests);
    *a = (struct all){.process_start = record_number(record, "times.process_start_ns"),
                      .warm = load && strcmp(load, "warm") == 0};
    json_array_foreach(requests, i, request)
        for (enum clock c = 0; c < N_CLOCKS; c++)
            n_times[c] += json_array_size(json_object_get(request, clock_members[c]));
    a->one = mem_new(n, sizeof *a->one);
    a->values = mem_new(n, sizeof *a->values);
    for (enum clock c = 0; c < N_CLOCKS; c++) a->gaps[c] = mem_new(n_times[c], sizeof(double));
    if (!a->one || !a->values || !a->gaps[ENGINE] || !a->gaps[CONSUMER])
        return err_memory(err, n * sizeof *a->one, "the figures of requests");
    json_array_foreach(requests, i, request) read_one(a, request);
    for (enum clock c = 0; c < N_CLOCKS; c++) stats_sort(a->gaps[c], a->n_gaps[c]);
    a->wall_ms = wall_of(a);
    return 0;
}

/* ---- of one request, of which the median is told --------------------------------------------------- */

static double ms(double ns)
{
    return ns / 1e6;
}

static double queue(const struct one *r)
{
    return ms(r->started - r->submitted);
}

static double ttft(const struct one *r)
{
    return ms(r->first[ENGINE] - r->submitted);
}

static double ttft_consumer(const struct one *r)
{
    return ms(r->first[CONSUMER] - r->submitted);
}

static double prefill(const struct one *r)
{
    return ms(r->prefilled - r->started);
}

static double decode(const struct one *r)
{
    return r->n[ENGINE] > 1 ? ms(r->last[ENGINE] - r->first[ENGINE]) : NAN;
}

static double tpot(const struct one *r)
{
    return decode(r) / (double)(r->n[ENGINE] - 1);
}

static double tpot_with_first(const struct one *r)
{
    return ms(r->last[ENGINE] - r->submitted) / (double)r->n[ENGINE];
}

static double e2e(const struct one *r)
{
    return ms(last_of(r) - r->submitted);
}

/* ---- of all together ------------------------------------------------------------------------------- */

static double first_token(const struct all *a)
{
    return a->n && !a->warm ? ms(a->one[0].first[ENGINE] - a->process_start) : NAN;
}

static double sum(const struct all *a, double of(const struct one *))
{
    double s = 0;
    for (size_t i = 0; i < a->n; i++) s += of(&a->one[i]);
    return a->n ? s : NAN;
}

static double computed(const struct one *r)
{
    return r->n_prompt - r->n_cached;
}

static double generated(const struct one *r)
{
    return r->n_generated;
}

static double after_first(const struct one *r)
{
    return r->n[ENGINE] ? (double)(r->n[ENGINE] - 1) : NAN;
}

static double prompt(const struct one *r)
{
    return r->n_prompt;
}

static double words(const struct one *r)
{
    return r->n_words;
}

static double input_words(const struct one *r)
{
    return r->n_input_words;
}

static double per_second(double n, double took_ms)
{
    return took_ms > 0 ? n / (took_ms / 1e3) : NAN;
}

static double prefill_ts(const struct all *a)
{
    return per_second(sum(a, computed), sum(a, prefill));
}

static double decode_ts(const struct all *a)
{
    return per_second(sum(a, after_first), sum(a, decode));
}

static double wall(const struct all *a)
{
    return a->wall_ms;
}

static double output_ts(const struct all *a)
{
    return sum(a, generated) > 0 ? per_second(sum(a, generated), a->wall_ms) : NAN;
}

static double total_ts(const struct all *a)
{
    return per_second(sum(a, computed) + sum(a, generated), a->wall_ms);
}

static double words_s(const struct all *a)
{
    return sum(a, generated) > 0 ? per_second(sum(a, words), a->wall_ms) : NAN;
}

static double input_words_s(const struct all *a)
{
    return per_second(sum(a, input_words), a->wall_ms);
}

static double requests_s(const struct all *a)
{
    return per_second((double)a->n, a->wall_ms);
}

static double tokens_s(const struct all *a)
{
    return per_second(sum(a, prompt), a->wall_ms);
}

static double samples(const struct all *a)
{
    return (double)MAX(a->n_gaps[ENGINE], a->n_gaps[CONSUMER]);
}

/* ---- the table ------------------------------------------------------------------------------------- */

enum { GENERATE = 1, EMBED = 2, SCORE = 4, READS = 8 /* a document */ };

static const struct {
    const char *metric;
    unsigned kinds;
    double (*of_one)(const struct one *);
    double (*of_all)(const struct all *);
    const char *needs; /* member of a request, without which it is null */
} figures[] = {
    {"first_token_from_start_ms", GENERATE, NULL, first_token, "engine_ns"},
    {"queue_ms", GENERATE | EMBED, queue, NULL, "started_ns"},
    {"ttft_ms", GENERATE, ttft, NULL, "engine_ns"},
    {"ttft_consumer_ms", GENERATE, ttft_consumer, NULL, "consumer_ns"},
    {"prefill_ms", GENERATE, prefill, NULL, "prefilled_ns"},
    {"prefill_ts", GENERATE, NULL, prefill_ts, "prefilled_ns"},
    {"decode_ms", GENERATE, decode, NULL, "engine_ns"},
    {"decode_ts", GENERATE, NULL, decode_ts, "engine_ns"},
    {"tpot_ms", GENERATE, tpot, NULL, "engine_ns"},
    {"tpot_with_first_ms", GENERATE, tpot_with_first, NULL, "engine_ns"},
    {"e2e_ms", GENERATE | EMBED, e2e, NULL, "consumer_ns"},
    {"wall_ms", GENERATE | EMBED | SCORE, NULL, wall, "ended_ns"},
    {"output_ts", GENERATE, NULL, output_ts, "n_generated"},
    {"total_ts", GENERATE, NULL, total_ts, "n_cached"},
    {"words_s", GENERATE, NULL, words_s, "n_words"},
    {"input_words_s", READS, NULL, input_words_s, "n_input_words"},
    {"requests_s", GENERATE, NULL, requests_s, "ended_ns"},
    {"records_s", EMBED, NULL, requests_s, "ended_ns"},
    {"tokens_s", EMBED | SCORE, NULL, tokens_s, "n_prompt"},
    {"samples", GENERATE, NULL, samples, ""},
};

static const struct {
    const char *name;
    double share; /* NAN: the mean; 1: the longest */
} spreads[] = {{"mean", NAN}, {"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}, {"max", 1}};

/* Why a figure is not known. */
static void say_why(const json_t *record, const struct all *a, const char *needs, char *out, size_t n)
{
    char path[64];
    snprintf(path, sizeof path, "requests.0.%s", needs);
    const char *reason = record_reason(record, a->n ? path : "requests");
    bool some = a->n && a->one[0].n_generated > 0;
    if (reason)
        snprintf(out, n, "%s", reason);
    else if (some && a->warm)
        snprintf(out, n, "a request ran before the first that is measured");
    else
        snprintf(out, n, "%s", !a->n ? "there was no request" : some ? "one token has no time after it"
                                                              : "no token was generated");
}

static double median_of(const struct all *a, double of_one(const struct one *))
{
    for (size_t i = 0; i < a->n; i++) {
        a->values[i] = of_one(&a->one[i]);
        if (isnan(a->values[i])) return NAN;
    }
    stats_sort(a->values, a->n);
    return stats_median(a->values, a->n);
}

static int derive_row(json_t *record, const struct all *a, size_t i, struct redline_err *err)
{
    char why[200];
    double value = figures[i].of_one ? median_of(a, figures[i].of_one) : figures[i].of_all(a);
    say_why(record, a, figures[i].needs, why, sizeof why);
    if (figures[i].of_all == first_token && isnan(a->process_start) && !a->warm)
        snprintf(why, sizeof why, "when the process started is not known");
    return record_derive(record, figures[i].metric, value, why, err);
}

/* One of the figures about the times between tokens. */
static int derive_spread(json_t *record, const struct all *a, enum clock c, size_t i, struct redline_err *err)
{
    char name[40], why[200];
    const double *gaps = a->gaps[c], share = spreads[i].share;
    size_t n = a->n_gaps[c];
    double value = isnan(share) ? stats_mean(gaps, n) : share == 1 && n ? gaps[n - 1] : NAN;
    snprintf(name, sizeof name, "itl_%s%s_ms", c == CONSUMER ? "consumer_" : "", spreads[i].name);
    say_why(record, a, clock_members[c], why, sizeof why);
    if (n && share < 1) {
        struct metric_quantile q = metric_quantile(gaps, n, share);
        value = q.value;
        snprintf(why, sizeof why, "needs %zu intervals, has %zu", q.needed, n);
    }
    return record_derive(record, name, value, why, err);
}

static unsigned kind_of(const json_t *record)
{
    static const struct {
        const char *name;
        unsigned kind;
    } kinds[] = {{"generate", GENERATE}, {"embed", EMBED}, {"score", SCORE}};
    const char *kind = record_text(record, "workload.kind");
    unsigned reads = record_text(record, "workload.document") ? READS : 0;
    for (size_t i = 0; kind && i < COUNT_OF(kinds); i++)
        if (strcmp(kind, kinds[i].name) == 0) return kinds[i].kind | (kinds[i].kind == SCORE ? 0 : reads);
    return 0;
}

static int derive_all(json_t *record, const struct all *a, struct redline_err *err)
{
    unsigned kind = kind_of(record);
    if (!json_object_get(record, "derived")) TRY(record_set(record, "derived", json_object(), err));
    for (size_t i = 0; i < COUNT_OF(figures); i++)
        if (figures[i].kinds & kind) TRY(derive_row(record, a, i, err));
    for (enum clock c = 0; c < N_CLOCKS && kind & GENERATE; c++)
        for (size_t i = 0; i < COUNT_OF(spreads); i++) TRY(derive_spread(record, a, c, i, err));
    return 0;
}

int derive_figures(json_t *record, struct redline_err *err)
{
    struct all a;
    int status = read_all(&a, record, err);
    if (!status) status = derive_all(record, &a, err);
    free_all(&a);
    return status;
}
