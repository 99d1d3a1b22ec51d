/* verdict.c - ratios, their rank tests against the least effect, and what follows (verdict.h). */
#include "verdict.h"

#include <math.h>
#include <string.h>

#include "base.h"
#include "mem.h"
#include "rng.h"
#include "stats.h"

enum {
    MOST_MORE = 100000, /* runs: a promise that nobody keeps is not made */
    N_DIVISIONS = 400,
};

const char *verdict_word(enum verdict v)
{
    static const char *const words[] = {"same", "faster", "slower", "undecided"};
    return words[v];
}

/* Logarithms of one row: sorted ratios, or either side sorted. */
struct logs {
    double *a, *b; /* b is NULL for ratios; one block, a is its start */
    size_t n_a, n_b;
};

static int take_logs(struct logs *out, const struct verdict_row *row, struct redline_err *err)
{
    size_t n = row->n_base + row->n_fresh;
    *out = (struct logs){.n_a = row->n_base, .n_b = row->paired ? 0 : row->n_fresh};
    for (size_t i = 0; i < n; i++) {
        double x = i < row->n_base ? row->base[i] : row->fresh[i - row->n_base];
        if (!(x > 0) || !isfinite(x))
            return err_set(err, REDLINE_ARG, "%s: %g cannot be compared, only values above 0 can", row->name, x);
    }
    if (row->paired && row->n_base != row->n_fresh)
        return err_set(err, REDLINE_ARG, "%s: %zu and %zu values are no pairs", row->name, row->n_base, row->n_fresh);
    out->a = mem_new(n, sizeof *out->a);
    if (!out->a) return err_memory(err, n * sizeof *out->a, "logarithms");
    for (size_t i = 0; i < row->n_base; i++)
        out->a[i] = row->paired ? log(row->fresh[i] / row->base[i]) : log(row->base[i]);
    stats_sort(out->a, out->n_a);
    if (row->paired) return 0;
    out->b = out->a + row->n_base;
    for (size_t i = 0; i < row->n_fresh; i++) out->b[i] = log(row->fresh[i]);
    stats_sort(out->b, out->n_b);
    return 0;
}

static double logs_ratio(const struct logs *l)
{
    return l->b ? stats_shift(l->a, l->n_a, l->b, l->n_b) : stats_centre(l->a, l->n_a);
}

static bool logs_interval(const struct logs *l, double probability, double *low, double *high)
{
    return l->b ? stats_shift_interval(l->a, l->n_a, l->b, l->n_b, probability, low, high)
                : stats_centre_interval(l->a, l->n_a, probability, low, high);
}

static struct stats_tails logs_tails(const struct logs *l, double place)
{
    return l->b ? stats_rank_sum(l->a, l->n_a, l->b, l->n_b, place) : stats_signed_rank(l->a, l->n_a, place);
}

/* Both sides say the same thing every time. */
static bool never_varies(const struct verdict_row *row)
{
    if (row->n_base < 2 || row->n_fresh < 2) return false;
    for (size_t i = 1; i < row->n_base; i++)
        if (row->base[i] != row->base[0]) return false;
    for (size_t i = 1; i < row->n_fresh; i++)
        if (row->fresh[i] != row->fresh[0]) return false;
    return true;
}

/* The test of each row by itself. */
static int measure(struct verdict_row *row, size_t n_rows, const struct verdict_params *params, struct redline_err *err)
{
    struct logs logs;
    int status = take_logs(&logs, row, err);
    if (status) return status;
    row->least_effect = MAX(params->least_effect, MAX(params->noise, row->noise));
    double beyond = log1p(row->least_effect);
    row->ratio = exp(logs_ratio(&logs));
    row->low = row->high = NAN;
    if (never_varies(row)) {
        row->low = row->high = row->ratio;
        row->p = fabs(log(row->ratio)) > beyond ? 0 : 1;
    } else if (row->n_base > 0 && row->n_fresh > 0) {
        double low, high;
        if (logs_interval(&logs, 1 - params->alpha / (double)n_rows, &low, &high)) {
            row->low = exp(low);
            row->high = exp(high);
        }
        row->p = MIN(1.0, 2 * MIN(logs_tails(&logs, beyond).above, logs_tails(&logs, -beyond).below));
    } else {
        row->p = 1;
    }
    mem_free(logs.a);
    return 0;
}

static double log_choose(double n, double k)
{
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1);
}

size_t verdict_least_runs(bool paired, double alpha, size_t n_rows)
{
    double wanted = log(alpha / (2 * (double)MAX(n_rows, 1)));
    size_t n = 1;
    while ((paired ? -(double)n * log(2.0) : -log_choose(2 * (double)n, (double)n)) > wanted) n++;
    return n;
}

/* An interval narrows with the root of the runs; it has to fit between the ratio and the nearer border that would
 * decide. */
static size_t runs_missing(const struct verdict_row *row, size_t n_rows, double alpha)
{
    size_t n = MIN(row->n_base, row->n_fresh), least = verdict_least_runs(row->paired, alpha, n_rows);
    if (n < least) return least - n;
    if (isnan(row->low)) return 0;
    double half = log(row->high / row->low) / 2, room = fabs(fabs(log(row->ratio)) - log1p(row->least_effect));
    double wanted = (double)n * (half / room) * (half / room);
    if (!(wanted < MOST_MORE)) return 0;
    return wanted > (double)n ? (size_t)ceil(wanted) - n + (wanted == ceil(wanted)) : 1;
}

static void conclude(struct verdict_row *row, size_t n_rows, double alpha)
{
    double limit = 1 + row->least_effect;
    bool up = row->ratio > 1;
    row->n_more = 0;
    if (row->p_holm <= alpha)
        row->verdict = up == row->higher_is_better ? VERDICT_FASTER : VERDICT_SLOWER;
    else if (row->low >= 1 / limit && row->high <= limit)
        row->verdict = VERDICT_SAME;
    else {
        row->verdict = VERDICT_UNDECIDED;
        row->n_more = runs_missing(row, n_rows, alpha);
    }
}

int verdict_decide(struct verdict_row *rows, size_t n_rows, const struct verdict_params *params,
                   struct redline_err *err)
{
    for (size_t i = 0; i < n_rows; i++) TRY(measure(&rows[i], n_rows, params, err));
    double *p = mem_new(2 * n_rows, sizeof *p);
    if (!p) return err_memory(err, 2 * n_rows * sizeof *p, "chances");
    for (size_t i = 0; i < n_rows; i++) p[i] = rows[i].p;
    stats_holm(p, n_rows, p + n_rows);
    for (size_t i = 0; i < n_rows; i++) {
        rows[i].p_holm = p[n_rows + i];
        conclude(&rows[i], n_rows, params->alpha);
    }
    mem_free(p);
    return 0;
}

static size_t count_looks(size_t at[VERDICT_MOST_LOOKS], size_t first, size_t most)
{
    size_t n = 0;
    while (first < most && n < VERDICT_MOST_LOOKS - 1) {
        at[n++] = first;
        first += (first + 1) / 2;
    }
    at[n++] = most;
    return n;
}

size_t verdict_looks(size_t at[VERDICT_MOST_LOOKS], size_t least, size_t most, double alpha, size_t n_rows)
{
    for (size_t first = MAX(least, 1);; first++) {
        size_t n = count_looks(at, first, most);
        if (n == 1 || first >= verdict_least_runs(true, alpha / (double)n, n_rows)) return n;
    }
}

/* ---- noise ----------------------------------------------------------------------------------- */

/* |log| of the ratio of the medians of the first half and the rest; both are sorted by it. */
static double halves_apart(double *values, size_t n)
{
    stats_sort(values, n / 2);
    stats_sort(values + n / 2, n - n / 2);
    return fabs(log(stats_median(values, n / 2) / stats_median(values + n / 2, n - n / 2)));
}

static void shuffle(double *values, size_t n, struct rng *rng)
{
    for (size_t i = n; i-- > 1;) {
        size_t j = rng_below(rng, i + 1);
        double x = values[i];
        values[i] = values[j];
        values[j] = x;
    }
}

int verdict_noise(double *noise, const double *values, size_t n, size_t n_base, size_t n_fresh, uint64_t seed,
                  struct redline_err *err)
{
    struct rng rng;
    double apart[N_DIVISIONS];
    *noise = NAN;
    if (n < 4) return 0;
    double *v = mem_new(n, sizeof *v);
    if (!v) return err_memory(err, n * sizeof *v, "equal runs");
    memcpy(v, values, n * sizeof *v);
    double drift = halves_apart(v, n);
    rng_seed(&rng, seed);
    for (size_t i = 0; i < N_DIVISIONS; i++) {
        shuffle(v, n, &rng);
        apart[i] = halves_apart(v, n);
    }
    mem_free(v);
    stats_sort(apart, N_DIVISIONS);
    double of_halves = stats_quantile(apart, N_DIVISIONS, 0.95);
    double scale = sqrt((1 / (double)n_base + 1 / (double)n_fresh) * (double)n / 4);
    *noise = expm1(drift > of_halves ? drift : of_halves * scale);
    return 0;
}

int verdict_noise_paired(double *noise, const double *ratios, size_t n, size_t n_pairs, uint64_t seed,
                         struct redline_err *err)
{
    struct rng rng;
    double off[N_DIVISIONS];
    *noise = NAN;
    if (n < 4) return 0;
    double *v = mem_new(n, sizeof *v);
    if (!v) return err_memory(err, n * sizeof *v, "equal runs");
    rng_seed(&rng, seed);
    for (size_t i = 0; i < N_DIVISIONS; i++) { /* which of two equal runs stands above the line is chance */
        for (size_t j = 0; j < n; j++) v[j] = rng_next(&rng) >> 63 ? log(ratios[j]) : -log(ratios[j]);
        stats_sort(v, n);
        off[i] = fabs(stats_centre(v, n));
    }
    mem_free(v);
    stats_sort(off, N_DIVISIONS);
    *noise = expm1(stats_quantile(off, N_DIVISIONS, 0.95) * sqrt((double)n / (double)n_pairs));
    return 0;
}
