/* gate.c - two sets of records against one another (gate.h). */
#include "gate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "mem.h"
#include "record.h"
#include "stats.h"

void gate_free(struct gate *g)
{
    mem_free(g->rows);
    mem_free(g->rules);
    *g = (struct gate){0};
}

void gate_sum_up(struct gate *g)
{
    g->worst = VERDICT_SAME;
    for (size_t i = 0; i < g->n_rows; i++) {
        enum verdict v = g->rows[i].verdict.verdict;
        if (v == VERDICT_SLOWER) g->worst = VERDICT_SLOWER;
        if (v == VERDICT_UNDECIDED && g->worst != VERDICT_SLOWER) g->worst = VERDICT_UNDECIDED;
        if (v == VERDICT_FASTER && g->worst == VERDICT_SAME) g->worst = VERDICT_FASTER;
    }
}

int gate_exit_code(const struct gate *g)
{
    for (size_t i = 0; i < g->n_rules; i++)
        if (g->rules[i].answer == RULE_BROKEN && g->rules[i].rule->level == RULE_FAIL) return 1;
    return g->worst == VERDICT_SLOWER ? 1 : g->worst == VERDICT_UNDECIDED ? 4 : 0;
}

/* ---- which records --------------------------------------------------------------------------- */

/* A later series of the same experiment makes this one history.  Times as ISO texts are in the order of texts. */
static bool is_history(json_t *records, const json_t *record)
{
    const char *name = record_text(record, "experiment.name"), *series = record_text(record, "experiment.series");
    size_t i;
    json_t *other;
    if (!name || !series) return false;
    json_array_foreach(records, i, other) {
        const char *other_name = record_text(other, "experiment.name");
        const char *later = record_text(other, "experiment.series");
        if (other_name && later && strcmp(other_name, name) == 0 && strcmp(later, series) > 0) return true;
    }
    return false;
}

int gate_last_series(json_t **out, json_t *records, struct redline_err *err)
{
    size_t i;
    json_t *record;
    *out = json_array();
    json_array_foreach(records, i, record)
        if (*out && !is_history(records, record) && json_array_append(*out, record)) break;
    if (*out && i == json_array_size(records)) return 0;
    json_decref(*out);
    *out = NULL;
    return err_set(err, REDLINE_MEMORY, "no memory for %zu records", json_array_size(records));
}

/* ---- rows ------------------------------------------------------------------------------------ */

struct comparison {
    struct gate *gate;
    const struct gate_params *params;
    json_t *base, *fresh;            /* owned: the last series */
    struct figures of_base, of_fresh;
    struct verdict_row *rows;        /* owned; of those that are compared */
    size_t *place;                   /* owned; which row of the gate each is */
    size_t n;
};

static struct gate_row *next_row(struct comparison *c, const char *row, const char *figure)
{
    struct gate_row *out = &c->gate->rows[c->gate->n_rows++];
    snprintf(out->name, sizeof out->name, figure ? "%s, %s" : "%s", row, figure);
    return out;
}

static int compare_samples(struct comparison *c, const struct figure *base, const struct figure *fresh,
                           struct redline_err *err)
{
    char text[768];
    if (record_differences(base->sample, fresh->sample, text, sizeof text) == 0) return 0;
    if (!c->params->force) return err_set(err, REDLINE_ARG, "not comparable (%s): %s", base->row, text);
    if (!*c->gate->differences)
        snprintf(c->gate->differences, sizeof c->gate->differences, "%s: %s", base->row, text);
    return 0;
}

static int add_row(struct comparison *c, const struct figure *base, const struct figure *fresh, struct redline_err *err)
{
    struct gate_row *row = next_row(c, base->row, figure_name(base));
    struct verdict_row *v = &c->rows[c->n];
    TRY(compare_samples(c, base, fresh, err));
    *v = (struct verdict_row){.name = row->name, .base = base->values, .fresh = fresh->values, .n_base = base->n,
                              .n_fresh = fresh->n, .higher_is_better = base->metric->better == METRIC_HIGHER};
    TRY(verdict_noise(&v->noise, base->values, base->n, base->n, fresh->n, 1, err));
    if (isnan(v->noise)) v->noise = 0;
    row->metric = base->metric;
    row->compared = true;
    c->place[c->n++] = c->gate->n_rows - 1;
    return 0;
}

/* Rows of failed measurements of the new set that the base has figures of. */
static void add_failures(struct comparison *c)
{
    size_t i;
    json_t *record;
    json_array_foreach(c->fresh, i, record) {
        char name[512];
        const char *why = record_failure(record);
        bool known = false;
        figures_row(record, name, sizeof name);
        for (size_t j = 0; why && j < c->of_base.n; j++) known |= strcmp(c->of_base.all[j].row, name) == 0;
        if (!known) continue;
        struct gate_row *row = next_row(c, name, NULL);
        row->verdict.verdict = VERDICT_SLOWER;
        snprintf(row->note, sizeof row->note, "fails now: %s", why);
    }
}

static int fill(struct comparison *c, struct redline_err *err)
{
    size_t n = c->of_base.n + c->of_fresh.n + json_array_size(c->fresh);
    c->gate->rows = mem_new(n, sizeof *c->gate->rows);
    c->rows = mem_new(n, sizeof *c->rows);
    c->place = mem_new(n, sizeof *c->place);
    if (!c->gate->rows || !c->rows || !c->place) return err_memory(err, n * sizeof *c->gate->rows, "rows");
    for (size_t i = 0; i < c->of_base.n; i++) {
        const struct figure *base = &c->of_base.all[i], *fresh = figures_find(&c->of_fresh, base->row, base->metric);
        if (fresh) TRY(add_row(c, base, fresh, err));
        else strcpy(next_row(c, base->row, figure_name(base))->note, "only the base has it");
    }
    for (size_t i = 0; i < c->of_fresh.n; i++) {
        const struct figure *fresh = &c->of_fresh.all[i];
        if (!figures_find(&c->of_base, fresh->row, fresh->metric))
            strcpy(next_row(c, fresh->row, figure_name(fresh))->note, "the base lacks it");
    }
    if (c->n == 0) return err_set(err, REDLINE_ARG, "not comparable: the two have no row and metric in common");
    add_failures(c);
    return 0;
}

static double median_of(struct figures *f, const char *row, const struct metric *metric)
{
    struct figure *figure = figures_find(f, row, metric);
    stats_sort(figure->values, figure->n);
    return stats_median(figure->values, figure->n);
}

static int decide(struct comparison *c, struct redline_err *err)
{
    const struct verdict_params p = {.least_effect = c->params->least_effect, .alpha = c->params->alpha};
    TRY(verdict_decide(c->rows, c->n, &p, err));
    for (size_t i = 0, k = 0; i < c->of_base.n; i++) { /* in the order of the base's figures, as they were added */
        const struct figure *base = &c->of_base.all[i];
        if (!figures_find(&c->of_fresh, base->row, base->metric)) continue;
        struct gate_row *row = &c->gate->rows[c->place[k]];
        row->verdict = c->rows[k++];
        row->verdict.name = NULL;
        row->verdict.base = row->verdict.fresh = NULL;
        row->base_median = median_of(&c->of_base, base->row, base->metric);
        row->new_median = median_of(&c->of_fresh, base->row, base->metric);
    }
    gate_sum_up(c->gate);
    return 0;
}

/* The median number of runnable threads during the runs; NAN: not known. */
static int median_load(double *out, json_t *records, struct redline_err *err)
{
    size_t i, n = 0;
    json_t *record;
    double *loads = mem_new(json_array_size(records), sizeof *loads);
    if (!loads) return err_memory(err, json_array_size(records) * sizeof *loads, "loads");
    json_array_foreach(records, i, record) {
        double load = record_number(record, "machine.load_1m");
        if (isfinite(load)) loads[n++] = load;
    }
    stats_sort(loads, n);
    *out = stats_median(loads, n);
    mem_free(loads);
    return 0;
}

/* No statistics tell a slower program from a busier machine, when the two were measured at different times. */
static int warn_of_load(struct comparison *c, struct redline_err *err)
{
    double base, fresh;
    TRY(median_load(&base, c->base, err));
    TRY(median_load(&fresh, c->fresh, err));
    if (!(fabs(fresh - base) >= 1)) return 0;
    snprintf(c->gate->warning, sizeof c->gate->warning,
             "The machine was %s: a load of %.1f against %.1f of the base. lab gate --live measures both by turns.",
             fresh > base ? "busier" : "less busy", fresh, base);
    return 0;
}

static int hold_rules(struct comparison *c, struct redline_err *err)
{
    const struct rules *rules = c->params->rules;
    if (!rules) return 0;
    c->gate->rules = mem_new(rules->n, sizeof *c->gate->rules);
    if (!c->gate->rules) return err_memory(err, rules->n * sizeof *c->gate->rules, "rules");
    c->gate->n_rules = rules->n;
    return rules_apply(rules, c->fresh, c->base, c->gate->rules, err);
}

static int compare(struct comparison *c, json_t *base, json_t *fresh, struct redline_err *err)
{
    TRY(gate_last_series(&c->base, base, err));
    TRY(gate_last_series(&c->fresh, fresh, err));
    TRY(figures_take(&c->of_base, c->base, c->params->metrics, err));
    TRY(figures_take(&c->of_fresh, c->fresh, c->params->metrics, err));
    TRY(fill(c, err));
    TRY(decide(c, err));
    TRY(warn_of_load(c, err));
    return hold_rules(c, err);
}

int gate_records(struct gate *out, json_t *base, json_t *fresh, const struct gate_params *params,
                 struct redline_err *err)
{
    struct comparison c = {.gate = out, .params = params};
    *out = (struct gate){.alpha = params->alpha};
    int status = compare(&c, base, fresh, err);
    json_decref(c.base);
    json_decref(c.fresh);
    figures_free(&c.of_base);
    figures_free(&c.of_fresh);
    mem_free(c.rows);
    mem_free(c.place);
    if (status) gate_free(out);
    return status;
}
