/* tune_decide.c - ratios paired by round, their intervals, and what follows of them. */
#include "tune_decide.h"

#include <math.h>
#include <stdint.h>

#include "base.h"
#include "stats.h"

enum { MOST_ROUNDS = 256, LEAST_ROUNDS = 3, ROUNDS_OF_HOPE = 2 };

static const double hopeless = 0.75;

/* ---- two candidates ------------------------------------------------------------------------------ */

/* Student's t, two-sided, by degrees of freedom from 1; for more than the last, the last. */
static double student(size_t df, enum tune_confidence confidence)
{
    static const double t[][2] = {
        {12.706, 63.657}, {4.303, 9.925}, {3.182, 5.841}, {2.776, 4.604}, {2.571, 4.032}, {2.447, 3.707},
        {2.365, 3.499},   {2.306, 3.355}, {2.262, 3.250}, {2.228, 3.169}, {2.201, 3.106}, {2.179, 3.055},
        {2.160, 3.012},   {2.145, 2.977}, {2.131, 2.947}, {2.120, 2.921}, {2.110, 2.898}, {2.101, 2.878},
        {2.093, 2.861},   {2.086, 2.845}, {2.080, 2.831}, {2.074, 2.819}, {2.069, 2.807}, {2.064, 2.797},
        {2.060, 2.787},   {2.056, 2.779}, {2.052, 2.771}, {2.048, 2.763}, {2.045, 2.756}, {2.042, 2.750},
    };
    return t[MIN(df, COUNT_OF(t)) - 1][confidence];
}

static double seconds(const struct tune_samples *s, size_t round, size_t i)
{
    size_t at = round * s->n + i;
    return s->n_prompt / s->prompt_ts[at] + s->n_gen / s->decode_ts[at];
}

/* sorted: logarithms. */
static void trimmed(struct tune_ratio *r, const double *sorted, size_t n, enum tune_confidence confidence)
{
    size_t g = n / 6;
    double v[MOST_ROUNDS];
    double middle = stats_mean(sorted + g, n - 2 * g);
    r->middle = exp(middle);
    r->low = r->high = NAN;
    if (n < LEAST_ROUNDS) return;
    for (size_t i = 0; i < n; i++) v[i] = sorted[MIN(MAX(i, g), n - 1 - g)];
    double error = stats_deviation(v, n) * sqrt((double)n) / (double)(n - 2 * g);
    double half = student(n - 2 * g - 1, confidence) * error;
    r->low = exp(middle - half);
    r->high = exp(middle + half);
}

struct tune_ratio tune_compare(const struct tune_samples *s, size_t a, size_t b, enum tune_confidence confidence)
{
    struct tune_ratio r = {.middle = NAN, .low = NAN, .high = NAN, .worst = NAN, .best = NAN};
    double v[MOST_ROUNDS];
    for (size_t i = 0; i < s->n_rounds && r.n < MOST_ROUNDS; i++) {
        double x = log(seconds(s, i, b) / seconds(s, i, a));
        if (isfinite(x)) v[r.n++] = x;
    }
    if (r.n == 0) return r;
    stats_sort(v, r.n);
    trimmed(&r, v, r.n, confidence);
    r.worst = exp(v[0]);
    r.best = exp(v[r.n - 1]);
    return r;
}

/* ---- all of them --------------------------------------------------------------------------------- */

/* The one to whom all others left are slower, in the middle; SIZE_MAX: nobody is left.  A chain of comparisons finds
 * it, as ratios of trimmed means may not be quite transitive and somebody must win all the same. */
static size_t fastest(const struct tune_candidate *c, const struct tune_samples *s)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < s->n; i++) {
        if (c[i].dropped) continue;
        if (best == SIZE_MAX || tune_compare(s, i, best, TUNE_95).middle > 1) best = i;
    }
    return best;
}

static void drop(struct tune_candidate *c, const struct tune_samples *s)
{
    size_t best = fastest(c, s);
    for (size_t i = 0; i < s->n; i++) {
        if (c[i].dropped || i == best) continue;
        struct tune_ratio r = tune_compare(s, i, best, TUNE_99);
        bool out = r.n >= LEAST_ROUNDS ? r.high < 1 : r.n == ROUNDS_OF_HOPE && r.best < hopeless;
        if (!out) continue;
        c[i].dropped = true;
        c[i].dropped_after = (int)s->n_rounds;
    }
}

static bool simpler(const struct tune_candidate *a, const struct tune_candidate *b)
{
    return a->n_threads != b->n_threads ? a->n_threads < b->n_threads : a->n_ubatch < b->n_ubatch;
}

/* As far as another one left may be ahead of i; NAN: nobody knows. */
static double behind(const struct tune_candidate *c, const struct tune_samples *s, size_t i)
{
    double most = 0;
    for (size_t k = 0; k < s->n; k++) {
        if (c[k].dropped || k == i) continue;
        double high = tune_compare(s, k, i, TUNE_95).high;
        if (isnan(high)) return NAN;
        most = fmax(most, 1 - 1 / high);
    }
    return most;
}

bool tune_decide(struct tune_candidate *c, const struct tune_samples *s, double within, size_t *choice)
{
    bool found = false;
    drop(c, s);
    if (s->n_rounds < LEAST_ROUNDS) return false;
    for (size_t i = 0; i < s->n; i++) {
        if (c[i].dropped || (found && simpler(&c[*choice], &c[i]))) continue;
        if (!(behind(c, s, i) <= within)) continue;
        *choice = i;
        found = true;
    }
    return found;
}

size_t tune_guess(const struct tune_candidate *c, const struct tune_samples *s, size_t standard, double *known_within)
{
    size_t best = fastest(c, s);
    bool stays = best != SIZE_MAX && standard != SIZE_MAX && !c[standard].dropped &&
                 !(tune_compare(s, standard, best, TUNE_99).high < 1);
    if (stays) best = standard;
    *known_within = best == SIZE_MAX ? NAN : behind(c, s, best);
    return best;
}

/* ---- what is told --------------------------------------------------------------------------------- */

static double median_of(const double *ts, const struct tune_samples *s, size_t i, int *n_rounds)
{
    double v[MOST_ROUNDS];
    size_t n = 0;
    for (size_t r = 0; r < s->n_rounds && n < MOST_ROUNDS; r++)
        if (isfinite(ts[r * s->n + i])) v[n++] = ts[r * s->n + i];
    stats_sort(v, n);
    *n_rounds = (int)n;
    return stats_median(v, n);
}

void tune_summarise(struct tune_candidate *c, const struct tune_samples *s, size_t choice)
{
    double most_prompt = NAN, most_decode = NAN;
    for (size_t i = 0; i < s->n; i++) {
        c[i].decode_ts = median_of(s->decode_ts, s, i, &c[i].n_rounds);
        c[i].prompt_ts = median_of(s->prompt_ts, s, i, &c[i].n_rounds);
        most_prompt = fmax(most_prompt, c[i].prompt_ts); /* fmax passes over NAN */
        most_decode = fmax(most_decode, c[i].decode_ts);
        struct tune_ratio r = tune_compare(s, i, choice, TUNE_95);
        c[i].ratio = r.middle;
        c[i].low = r.low;
        c[i].high = r.high;
    }
    for (size_t i = 0; i < s->n; i++) {
        c[i].prompt_ratio = c[i].prompt_ts / most_prompt;
        c[i].decode_ratio = c[i].decode_ts / most_decode;
    }
}

size_t tune_replay(struct tune_candidate *c, const struct tune_samples *s, double within, size_t *choice,
                   size_t *n_measured)
{
    struct tune_samples part = *s;
    *n_measured = 0;
    for (size_t i = 0; i < s->n; i++) c[i].dropped = c[i].failed[0] != '\0';
    for (part.n_rounds = 1; part.n_rounds <= s->n_rounds; part.n_rounds++) {
        for (size_t i = 0; i < s->n; i++) *n_measured += !c[i].dropped;
        if (tune_decide(c, &part, within, choice)) return part.n_rounds;
    }
    return 0;
}
