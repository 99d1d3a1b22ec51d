/* gate_live.c - two commands by turns, looked at now and then, until there is a verdict (gate.h). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "clock.h"
#include "gate.h"
#include "import.h"
#include "mem.h"
#include "proc.h"
#include "stats.h"

enum { A, B };

struct contest {
    const struct gate_params *params;
    const struct gate_live_params *live;
    char **argv[2];
    struct figures runs[2];  /* of each row, one value a run: the i-th of both are a pair */
    struct figures seams;    /* of each row, ratios of equal runs that followed one another */
    size_t n_rows, n_pairs;
    double pair_s;           /* what a pair takes, from the unmeasured runs */
    uint64_t begun_ns;
    size_t at[VERDICT_MOST_LOOKS], n_looks;
};

static double elapsed_s(const struct contest *c)
{
    return (double)(clock_ns() - c->begun_ns) / 1e9;
}

static bool stopped(const struct contest *c)
{
    return c->live->stop && *c->live->stop;
}

/* The last line that holds anything. */
static struct str last_words(struct str text)
{
    while (text.n > 0 && strchr("\r\n\t ", text.p[text.n - 1])) text.n--;
    size_t start = text.n;
    while (start > 0 && text.p[start - 1] != '\n') start--;
    return (struct str){text.p + start, MIN(text.n - start, (size_t)200)};
}

static int check_end(const struct proc_result *r, const char *program, struct redline_err *err)
{
    struct str words = last_words(buf_str(&r->error));
    if (r->exit_code == 0 || r->stopped) return 0;
    if (r->exit_code < 0) return err_set(err, REDLINE_IO, "%s was ended by signal %d", program, r->signal);
    return err_set(err, REDLINE_IO, "%s ended with exit code %d%s%.*s", program, r->exit_code, words.n ? ": " : "",
                   STR_ARG(words));
}

/* What the run printed, one median for each row; wall time where it printed no figures. */
static int take_figures(struct figures *out, const struct contest *c, const struct proc_result *r,
                        struct redline_err *err)
{
    struct str text = buf_str(&r->out);
    enum import_format format = c->live->wall ? IMPORT_UNKNOWN : import_recognise(text);
    if (format == IMPORT_UNKNOWN) return figures_add(out, "command", NULL, NULL, (double)r->wall_ns / 1e6, err);
    json_t *records = NULL;
    TRY(import_text(&records, text, format, err));
    int status = figures_take(out, records, c->params->metrics, err);
    for (size_t i = 0; !status && i < out->n; i++) {
        struct figure *f = &out->all[i];
        stats_sort(f->values, f->n);
        f->values[0] = stats_median(f->values, f->n);
        f->n = 1;
        f->sample = NULL; /* goes with the records */
    }
    json_decref(records);
    if (!status && out->n == 0) status = err_set(err, REDLINE_ARG, "the command prints no figure that can be compared");
    return status;
}

/* One run of a side; nothing in `out` when it was stopped. */
static int run_once(struct figures *out, struct contest *c, int side, double *wall_s, struct redline_err *err)
{
    struct proc_params params = {.argv = (const char *const *)c->argv[side], .stop = c->live->stop};
    struct proc_result r = {0};
    int status = proc_run(&r, &params, err);
    if (!status) status = check_end(&r, c->argv[side][0], err);
    if (!status && !r.stopped) status = take_figures(out, c, &r, err);
    *wall_s = (double)r.wall_ns / 1e9;
    proc_result_free(&r);
    return status;
}

/* Adds a run to its side, and beside the last run of all, if that was of the same side, to the seams. */
static int keep_run(struct contest *c, const struct figures *run, int side, bool seam, struct redline_err *err)
{
    if (run->n != c->n_rows)
        return err_set(err, REDLINE_FORMAT, "%s printed %zu figures, %zu the first time", c->argv[side][0], run->n,
                       c->n_rows);
    for (size_t i = 0; i < run->n; i++) {
        const struct figure *now = &run->all[i], *before = figures_find(&c->runs[side], now->row, now->metric);
        if (c->n_pairs > 0 && !before)
            return err_set(err, REDLINE_FORMAT, "%s printed '%s' this time only", c->argv[side][0], now->row);
        if (seam && before)
            TRY(figures_add(&c->seams, now->row, now->metric, NULL, now->values[0] / before->values[before->n - 1],
                            err));
        TRY(figures_add(&c->runs[side], now->row, now->metric, NULL, now->values[0], err));
    }
    return 0;
}

/* The first of a pair is of the side that was last in the pair before. */
static int measure_pair(struct contest *c, struct redline_err *err)
{
    int first = c->n_pairs % 2 ? B : A, status = 0;
    struct figures run[2] = {{0}, {0}};
    double wall_s;
    for (int i = 0; !status && !stopped(c) && i < 2; i++)
        status = run_once(&run[i], c, i ? !first : first, &wall_s, err);
    bool whole = !status && run[0].n > 0 && run[1].n > 0;
    for (int i = 0; whole && !status && i < 2; i++) status = keep_run(c, &run[i], i ? !first : first, i == 0, err);
    if (whole && !status) c->n_pairs++;
    figures_free(&run[0]);
    figures_free(&run[1]);
    return status;
}

/* ---- looking --------------------------------------------------------------------------------- */

static int noise_of_row(double *noise, const struct contest *c, const struct figure *f, struct redline_err *err)
{
    const struct figure *seams = figures_find(&c->seams, f->row, f->metric);
    *noise = 0;
    if (!seams) return 0;
    TRY(verdict_noise_paired(noise, seams->values, seams->n, c->n_pairs, c->n_pairs, err));
    if (isnan(*noise)) *noise = 0;
    return 0;
}

/* `figure` of side A with its partner of side B; REDLINE_ARG: that has none. */
static int fill_row(struct verdict_row *row, const struct contest *c, const struct figure *a, struct redline_err *err)
{
    const struct figure *b = figures_find(&c->runs[B], a->row, a->metric);
    if (!b) return err_set(err, REDLINE_ARG, "not comparable: only one of the commands prints '%s'", a->row);
    *row = (struct verdict_row){.name = a->row, .base = a->values, .fresh = b->values, .n_base = a->n, .n_fresh = b->n,
                                .paired = true, .higher_is_better = a->metric && a->metric->better == METRIC_HIGHER};
    return noise_of_row(&row->noise, c, a, err);
}

static bool all_decided(const struct verdict_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].verdict == VERDICT_UNDECIDED) return false;
    return true;
}

/* rows: [c->runs[A].n] */
static int look(struct verdict_row *rows, const struct contest *c, struct redline_err *err)
{
    size_t n = c->n_rows;
    struct verdict_params p = {.least_effect = c->params->least_effect, .alpha = c->params->alpha / (double)c->n_looks};
    for (size_t i = 0; i < n; i++) TRY(fill_row(&rows[i], c, &c->runs[A].all[i], err));
    return verdict_decide(rows, n, &p, err);
}

/* Both commands once, for what is only slow the first time, and to learn how long a pair takes. */
static int warm_up(struct contest *c, struct redline_err *err)
{
    for (int side = A; side <= B; side++) {
        struct figures run = {0};
        double wall_s = 0;
        int status = run_once(&run, c, side, &wall_s, err);
        size_t n = run.n;
        figures_free(&run);
        if (status) return status;
        if (stopped(c)) return err_set(err, REDLINE_ARG, "stopped before a pair was measured");
        if (side == B && n != c->n_rows)
            return err_set(err, REDLINE_ARG, "not comparable: one command prints %zu figures, the other %zu",
                           c->n_rows, n);
        c->n_rows = n;
        c->pair_s += wall_s;
    }
    return 0;
}

static void plan_looks(struct contest *c)
{
    double room = (c->live->budget_s - elapsed_s(c)) / MAX(c->pair_s, 1e-6);
    size_t most = room < (double)c->live->most ? (size_t)MAX(room, 1.0) : c->live->most;
    c->n_looks = verdict_looks(c->at, c->live->least, most, c->params->alpha, c->n_rows);
}

/* Pairs until a look decides, or until the last look, or until time is up: then the look at hand is the last. */
static int measure_and_look(struct contest *c, struct verdict_row *rows, struct redline_err *err)
{
    for (size_t i = 0; i < c->n_looks; i++) {
        bool enough = false;
        while (c->n_pairs < c->at[i] && !enough) {
            TRY(measure_pair(c, err));
            double now_s = elapsed_s(c);
            enough = stopped(c) || (c->n_pairs > 0 && now_s + now_s / (double)(c->n_pairs + 1) > c->live->budget_s);
            if (c->live->progress) c->live->progress(c->live->user, c->n_pairs, c->at[i], now_s);
        }
        if (c->n_pairs == 0) return err_set(err, REDLINE_ARG, "stopped before a pair was measured");
        TRY(look(rows, c, err));
        if (enough || all_decided(rows, c->n_rows)) return 0;
    }
    return 0;
}

static int report(struct gate *out, const struct contest *c, const struct verdict_row *rows, struct redline_err *err)
{
    size_t n = c->n_rows;
    *out = (struct gate){.rows = mem_new(n, sizeof *out->rows), .n_rows = n, .alpha = c->params->alpha,
                         .n_pairs = c->n_pairs, .elapsed_s = elapsed_s(c)};
    if (!out->rows) return err_memory(err, n * sizeof *out->rows, "rows");
    for (size_t i = 0; i < n; i++) {
        struct gate_row *row = &out->rows[i];
        struct figure *a = &c->runs[A].all[i], *b = figures_find(&c->runs[B], a->row, a->metric);
        snprintf(row->name, sizeof row->name, "%s, %s", a->row, figure_name(a));
        row->metric = a->metric;
        row->compared = true;
        row->verdict = rows[i];
        row->verdict.name = NULL;
        row->verdict.base = row->verdict.fresh = NULL;
        stats_sort(a->values, a->n);
        stats_sort(b->values, b->n);
        row->base_median = stats_median(a->values, a->n);
        row->new_median = stats_median(b->values, b->n);
    }
    gate_sum_up(out);
    return 0;
}

static int contest(struct gate *out, struct contest *c, struct redline_err *err)
{
    TRY(warm_up(c, err));
    plan_looks(c);
    struct verdict_row *rows = mem_new(c->n_rows, sizeof *rows);
    if (!rows) return err_memory(err, c->n_rows * sizeof *rows, "rows");
    int status = measure_and_look(c, rows, err);
    if (!status) status = report(out, c, rows, err);
    mem_free(rows);
    return status;
}

int gate_live(struct gate *out, const char *command_a, const char *command_b, const struct gate_params *params,
              const struct gate_live_params *live, struct redline_err *err)
{
    struct contest c = {.params = params, .live = live, .begun_ns = clock_ns()};
    *out = (struct gate){0};
    int status = proc_split(&c.argv[A], command_a, err);
    if (!status) status = proc_split(&c.argv[B], command_b, err);
    for (int i = A; !status && i <= B; i++)
        if (!c.argv[i][0]) status = err_set(err, REDLINE_ARG, "a command is empty");
    if (!status) status = contest(out, &c, err);
    for (int i = A; i <= B; i++) {
        mem_free(c.argv[i]);
        figures_free(&c.runs[i]);
    }
    figures_free(&c.seams);
    if (status) gate_free(out);
    return status;
}
