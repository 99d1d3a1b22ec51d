/* conduct_plan.c - how far each cell is, and which measurement is next: functions of records alone, so that a run that
 * is taken up again decides as the first one would have. */
#include <math.h>

#include "base.h"
#include "conduct.h"
#include "mem.h"
#include "record.h"
#include "rng.h"
#include "stats.h"

enum { FOR_INTERVAL = 6 }; /* values that a 95 % interval of a median needs */

/* ---- tallies --------------------------------------------------------------------------------- */

static bool is_of(const json_t *record, size_t cell, const char *contestant)
{
    const char *who = record_text(record, "program.contestant");
    return record_number(record, "experiment.cell") == (double)cell && who && strcmp(who, contestant) == 0;
}

static bool applies(const struct experiment *e, const struct experiment_cell *cell, const struct conduct_who *who,
                    size_t contestant)
{
    if (!e->parts) return true;
    return cell->peers ? who->n > 1 : contestant == 0;
}

/* Median and interval of what is known of the metric. */
static void find_interval(struct conduct_tally *t, double *values, size_t n)
{
    stats_sort(values, n);
    t->median = stats_median(values, n);
    t->low = t->high = NAN;
    stats_median_interval(values, n, 0.95, &t->low, &t->high);
}

/* Its width as a share of the median; NAN: not known. */
static double width_of(const struct conduct_tally *t)
{
    return (t->high - t->low) / fabs(t->median);
}

/* An interval narrows with the root of the number of values. */
static size_t expect(const struct conduct_tally *t, const struct experiment_cell *cell)
{
    double n = (double)t->n, ratio = width_of(t) / cell->width, most = cell->most;
    if (t->settled) return t->n;
    if (cell->width == 0) return (size_t)cell->least;
    double wanted = isfinite(ratio) ? ceil(n * ratio * ratio) : FOR_INTERVAL;
    wanted = fmax(fmax(wanted, cell->least), n + 1);
    return (size_t)fmin(wanted, fmax(most, n + 1));
}

static void take(struct conduct_tally *t, const struct experiment_cell *cell, json_t *records, size_t i,
                 const char *contestant, double *values)
{
    const json_t *record;
    size_t at, n_values = 0;
    json_array_foreach (records, at, record) {
        if (!is_of(record, i, contestant)) continue;
        if (record_text(record, "failed")) {
            t->failed = true;
            continue;
        }
        t->n++;
        double x = cell->of ? record_metric(record, cell->of) : NAN;
        if (isfinite(x)) values[n_values++] = x;
    }
    find_interval(t, values, n_values);
    bool narrow = cell->width == 0 || width_of(t) <= cell->width;
    t->settled = t->failed || t->n >= (size_t)cell->most || (t->n >= (size_t)cell->least && narrow);
    t->n_expected = expect(t, cell);
}

int conduct_tally(struct conduct_tally **out, const struct experiment *e, json_t *records,
                  const struct conduct_who *who, struct redline_err *err)
{
    size_t n_cells = experiment_n_cells(e), n = n_cells * who->n;
    double *values = mem_new(json_array_size(records), sizeof *values);
    struct conduct_tally *all = values ? mem_new(n, sizeof *all) : NULL;
    *out = all;
    for (size_t i = 0; all && i < n_cells; i++) {
        struct experiment_cell cell = experiment_cell(e, i);
        for (size_t c = 0; c < who->n; c++) {
            struct conduct_tally *t = &all[i * who->n + c];
            t->applies = applies(e, &cell, who, c);
            if (t->applies) take(t, &cell, records, i, who->names[c], values);
            else *t = (struct conduct_tally){.settled = true, .median = NAN, .low = NAN, .high = NAN};
        }
    }
    mem_free(values);
    return all ? 0 : err_memory(err, n * sizeof *all, "the tallies of an experiment");
}

/* ---- the next -------------------------------------------------------------------------------- */

/* All of a cell's contestants go on until each is known: what belongs together is measured equally often. */
static bool is_open(const struct conduct_tally *tally, const struct conduct_who *who, size_t cell)
{
    for (size_t c = 0; c < who->n; c++)
        if (!tally[cell * who->n + c].settled) return true;
    return false;
}

/* Whether it is this one's turn in the round. */
static bool is_due(const struct conduct_tally *t, const struct experiment_cell *cell, size_t round)
{
    return t->applies && !t->failed && t->n <= round && t->n < (size_t)cell->most;
}

/* The first round that an open cell still lacks. */
static bool find_round(const struct experiment *e, const struct conduct_tally *tally, const struct conduct_who *who,
                       size_t only, size_t *round)
{
    bool found = false;
    for (size_t i = 0; i < experiment_n_cells(e); i++) {
        struct experiment_cell cell = experiment_cell(e, i);
        if ((only != SIZE_MAX && i != only) || !is_open(tally, who, i)) continue;
        for (size_t c = 0; c < who->n; c++) {
            const struct conduct_tally *t = &tally[i * who->n + c];
            if (!is_due(t, &cell, t->n) || (found && t->n >= *round)) continue;
            *round = t->n;
            found = true;
        }
    }
    return found;
}

/* The place of every cell in a round, drawn by Fisher and Yates. */
static void draw(size_t *order, size_t n, uint64_t seed, size_t round)
{
    struct rng r;
    rng_seed(&r, seed * 0x9e3779b97f4a7c15u + round);
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)rng_below(&r, i), swapped = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swapped;
    }
}

/* Whose turn it is in this cell; false: nobody's. */
static bool find_contestant(struct conduct_step *next, const struct experiment *e, const struct conduct_tally *tally,
                            const struct conduct_who *who, size_t i, size_t round)
{
    struct experiment_cell cell = experiment_cell(e, i);
    for (size_t k = 0; is_open(tally, who, i) && k < who->n; k++) {
        size_t c = (k + round) % who->n;
        const struct conduct_tally *t = &tally[i * who->n + c];
        if (!is_due(t, &cell, round)) continue;
        *next = (struct conduct_step){i, c, t->n};
        return true;
    }
    return false;
}

bool conduct_next(struct conduct_step *next, const struct experiment *e, const struct conduct_tally *tally,
                  const struct conduct_who *who)
{
    size_t order[EXPERIMENT_MOST_CELLS], n_cells = experiment_n_cells(e), round = 0, only = SIZE_MAX;
    for (size_t i = 0; !e->interleave && only == SIZE_MAX && i < n_cells; i++)
        if (is_open(tally, who, i)) only = i;
    if (!find_round(e, tally, who, only, &round)) return false;
    if (!e->interleave) return find_contestant(next, e, tally, who, only, round);
    draw(order, n_cells, e->seed, round);
    for (size_t k = 0; k < n_cells; k++)
        if (find_contestant(next, e, tally, who, order[k], round)) return true;
    return false;
}
