/* rules.c - thresholds out of a file, and what records say to them (rules.h). */
#include "rules.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "experiment.h"
#include "mem.h"
#include "metric.h"
#include "record.h"
#include "rows.h"
#include "yaml_tree.h"

/* ---- reading --------------------------------------------------------------------------------- */

static const char *const rule_keys[] = {"name", "metric", "where", "ratio", "at_least", "at_most", "drop", "drift",
                                        "growth", "level"};

void rules_free(struct rules *r)
{
    for (size_t i = 0; i < r->n; i++) {
        mem_free(r->all[i].name);
        mem_free(r->all[i].metric);
        mem_free(r->all[i].numerator);
        mem_free(r->all[i].denominator);
        json_decref(r->all[i].where);
    }
    mem_free(r->all);
    *r = (struct rules){0};
}

static int keep(char **out, const char *text, struct redline_err *err)
{
    if (!text) return 0;
    *out = mem_copy(text, strlen(text));
    return *out ? 0 : err_memory(err, strlen(text) + 1, "a rule");
}

static int read_ratio(struct rule *out, const struct yaml *y, const json_t *rule, struct redline_err *err)
{
    json_t *ratio = json_object_get(rule, "ratio");
    if (!ratio) return 0;
    const char *a = json_string_value(json_array_get(ratio, 0)), *b = json_string_value(json_array_get(ratio, 1));
    if (!a || !b || json_array_size(ratio) != 2)
        return yaml_fail(y, rule, "ratio", err, "'ratio' is two workloads: [long, short]");
    TRY(keep(&out->numerator, a, err));
    return keep(&out->denominator, b, err);
}

static int read_level(struct rule *out, const struct yaml *y, const json_t *rule, struct redline_err *err)
{
    const char *level = "fail";
    TRY(yaml_get_text(y, rule, "level", &level, err));
    if (strcmp(level, "fail") != 0 && strcmp(level, "look") != 0)
        return yaml_fail(y, rule, "level", err, "'level' is fail or look, not '%s'", level);
    out->level = level[0] == 'l' ? RULE_LOOK : RULE_FAIL;
    return 0;
}

static int read_where(struct rule *out, const struct yaml *y, const json_t *rule, struct redline_err *err)
{
    json_t *where = json_object_get(rule, "where");
    if (where && !json_is_object(where))
        return yaml_fail(y, rule, "where", err, "'where' is keys and values: {workload: short}");
    out->where = json_incref(where);
    return 0;
}

static int read_limits(struct rule *out, const struct yaml *y, const json_t *rule, struct redline_err *err)
{
    out->at_least = out->at_most = out->drop = out->drift = out->growth = NAN;
    TRY(yaml_get_number(y, rule, "at_least", -HUGE_VAL, HUGE_VAL, &out->at_least, err));
    TRY(yaml_get_number(y, rule, "at_most", -HUGE_VAL, HUGE_VAL, &out->at_most, err));
    TRY(yaml_get_share(y, rule, "drop", &out->drop, err));
    TRY(yaml_get_share(y, rule, "drift", &out->drift, err));
    TRY(yaml_get_share(y, rule, "growth", &out->growth, err));
    int n = !isnan(out->at_least) + !isnan(out->at_most) + !isnan(out->drop) + !isnan(out->drift) + !isnan(out->growth);
    if (n != 1)
        return yaml_fail(y, rule, NULL, err,
                         "rule '%s' has %d limits; a rule has one: at_least, at_most, drop, drift or growth",
                         out->name, n);
    return 0;
}

static int read_rule(struct rule *out, const struct yaml *y, const json_t *rule, struct redline_err *err)
{
    const char *name = NULL, *metric = NULL;
    TRY(yaml_check_keys(y, rule, rule_keys, COUNT_OF(rule_keys), "rule", err));
    TRY(yaml_get_text(y, rule, "name", &name, err));
    TRY(yaml_get_text(y, rule, "metric", &metric, err));
    if (!name || !metric) return yaml_fail(y, rule, NULL, err, "a rule has a name and a metric");
    if (!metric_find(metric))
        return yaml_fail(y, rule, "metric", err, "there is no metric '%s'; redline lab metrics lists them", metric);
    TRY(keep(&out->name, name, err));
    TRY(keep(&out->metric, metric, err));
    TRY(read_where(out, y, rule, err));
    TRY(read_ratio(out, y, rule, err));
    TRY(read_level(out, y, rule, err));
    return read_limits(out, y, rule, err);
}

static int read_all(struct rules *out, const struct yaml *y, struct redline_err *err)
{
    static const char *const keys[] = {"rules"};
    json_t *list = json_object_get(y->root, "rules"), *rule;
    size_t i;
    TRY(yaml_check_keys(y, y->root, keys, COUNT_OF(keys), "file of rules", err));
    if (json_array_size(list) == 0) return yaml_fail(y, y->root, "rules", err, "'rules' is no list of rules");
    out->all = mem_new(json_array_size(list), sizeof *out->all);
    if (!out->all) return err_memory(err, json_array_size(list) * sizeof *out->all, "rules");
    json_array_foreach(list, i, rule) {
        out->n = i + 1; /* with what is read of it, for rules_free() */
        TRY(read_rule(&out->all[i], y, rule, err));
    }
    return 0;
}

int rules_read(struct rules *out, const char *path, struct redline_err *err)
{
    struct yaml file = {0};
    struct buf found = {0};
    *out = (struct rules){0};
    int status = experiment_find(&found, path, err);
    if (!status) status = yaml_read(&file, found.p, err);
    if (!status) status = read_all(out, &file, err);
    yaml_close(&file);
    buf_free(&found);
    if (status) rules_free(out);
    return status;
}

/* ---- applying -------------------------------------------------------------------------------- */

/* The record's value under a word of `where`: of the workload, of the grid as written, or as it was in effect. */
static const json_t *value_under(const json_t *record, const char *key)
{
    static const char *const places[] = {"experiment.grid.%s", "settings.effective.%s", "workload.%s", "%s"};
    static const char *const own[][2] = {{"workload", "workload.name"}, {"kind", "workload.kind"},
                                         {"model", "model.file"}, {"experiment", "experiment.name"},
                                         {"contestant", "program.contestant"}};
    char path[128];
    for (size_t i = 0; i < COUNT_OF(own); i++)
        if (strcmp(own[i][0], key) == 0) return record_at(record, own[i][1]);
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        snprintf(path, sizeof path, places[i], key);
        const json_t *v = record_at(record, path);
        if (v) return v;
    }
    return NULL;
}

/* 4 and "4" are the same; grids hold what was written. */
static bool equal(const json_t *a, const json_t *b)
{
    char text[2][64];
    const json_t *v[2] = {a, b};
    for (size_t i = 0; i < 2; i++) {
        if (json_is_number(v[i])) snprintf(text[i], sizeof text[i], "%.10g", json_number_value(v[i]));
        else if (json_is_boolean(v[i])) snprintf(text[i], sizeof text[i], "%s", json_is_true(v[i]) ? "true" : "false");
        else if (json_is_string(v[i])) snprintf(text[i], sizeof text[i], "%s", json_string_value(v[i]));
        else return false;
    }
    return strcmp(text[0], text[1]) == 0;
}

static bool matches(const struct rule *rule, const json_t *record, const char *workload)
{
    const char *key, *name = record_text(record, "workload.name");
    json_t *wanted;
    if (record_failure(record)) return false;
    if (workload && (!name || strcmp(name, workload) != 0)) return false;
    json_object_foreach(rule->where, key, wanted)
        if (!equal(value_under(record, key), wanted)) return false;
    return true;
}

/* The records that the rule is about. */
static int choose(json_t **chosen, const struct rule *rule, json_t *records, const char *workload,
                  struct redline_err *err)
{
    size_t i;
    json_t *record;
    *chosen = json_array();
    json_array_foreach(records, i, record)
        if (*chosen && matches(rule, record, workload) && json_array_append(*chosen, record)) break;
    if (*chosen && i == json_array_size(records)) return 0;
    json_decref(*chosen);
    *chosen = NULL;
    return err_memory(err, 0, "records of a rule");
}

/* What records say to a rule. */
struct said {
    double value;     /* NAN: nothing */
    char reason[192]; /* why, or "" */
};

static void explain(struct said *out, const char *workload, const struct rows_figure *f, size_t n_records)
{
    const char *why = n_records ? f->reason : "nothing was measured of it";
    if (isfinite(out->value) || !*why) return;
    snprintf(out->reason, sizeof out->reason, "%.40s%s%s", workload ? workload : "", workload ? " " : "", why);
}

/* The metric in all of the records together: gaps between tokens pooled, as one run seldom has enough of them for a
 * quantile; of imported records, which have the quantile but not the times, the median, as of any other figure. */
static int figure_of_one(struct said *out, const struct rule *rule, json_t *records, const char *workload,
                         struct redline_err *err)
{
    struct rows_figure f, own;
    json_t *chosen;
    TRY(choose(&chosen, rule, records, workload, err));
    int status = rows_metric(&f, chosen, rule->metric, true, err);
    if (!status && f.n == 0) {
        status = rows_metric(&own, chosen, rule->metric, false, err);
        if (!status && own.n > 0) f = own;
    }
    *out = (struct said){.value = status ? NAN : f.value};
    if (!status) explain(out, workload, &f, json_array_size(chosen));
    json_decref(chosen);
    return status;
}

/* The rule's figure: of one workload, or of one by another. */
static int figure_of(struct said *out, const struct rule *rule, json_t *records, struct redline_err *err)
{
    struct said below;
    if (!rule->numerator) return figure_of_one(out, rule, records, NULL, err);
    TRY(figure_of_one(out, rule, records, rule->numerator, err));
    TRY(figure_of_one(&below, rule, records, rule->denominator, err));
    if (!*out->reason) memcpy(out->reason, below.reason, sizeof out->reason);
    out->value = below.value > 0 ? out->value / below.value : NAN;
    return 0;
}

/* What stands in the sentence for the figure. */
static void subject(char *out, size_t n, const struct rule *rule)
{
    if (rule->numerator) snprintf(out, n, "%s %s / %s", rule->metric, rule->numerator, rule->denominator);
    else snprintf(out, n, "%s", rule->metric);
}

static void hold_itself(struct rule_result *r)
{
    char what[128];
    bool least = !isnan(r->rule->at_least);
    const char *unit = r->rule->numerator ? "" : metric_find(r->rule->metric)->unit;
    subject(what, sizeof what, r->rule);
    r->limit = least ? r->rule->at_least : r->rule->at_most;
    r->answer = (least ? r->value >= r->limit : r->value <= r->limit) ? RULE_HOLDS : RULE_BROKEN;
    snprintf(r->sentence, sizeof r->sentence, "%s is %.4g%s%s, the limit is %s %.4g", what, r->value,
             *unit ? " " : "", unit, least ? "at least" : "at most", r->limit);
}

/* drop is of what should be high, or rises of what should be low; drift and growth are rises of the figure itself. */
static void hold_against(struct rule_result *r)
{
    const struct rule *rule = r->rule;
    char what[128];
    bool worse_is_less = !isnan(rule->drop) && metric_find(rule->metric)->better == METRIC_HIGHER;
    double change = r->value / r->base - 1;
    subject(what, sizeof what, rule);
    r->limit = !isnan(rule->drop) ? rule->drop : !isnan(rule->drift) ? rule->drift : rule->growth;
    r->answer = (worse_is_less ? -change : change) > r->limit ? RULE_BROKEN : RULE_HOLDS;
    snprintf(r->sentence, sizeof r->sentence, "%s is %.4g, %+.1f %% against %.4g, the limit is %s%.4g %%", what,
             r->value, 100 * change, r->base, worse_is_less ? "-" : "+", 100 * r->limit);
}

static int apply(struct rule_result *r, json_t *records, json_t *base, struct redline_err *err)
{
    bool absolute = !isnan(r->rule->at_least) || !isnan(r->rule->at_most);
    char what[128];
    subject(what, sizeof what, r->rule);
    struct said own, accepted = {.value = NAN};
    TRY(figure_of(&own, r->rule, records, err));
    if (base && !absolute) TRY(figure_of(&accepted, r->rule, base, err));
    r->value = own.value;
    r->base = accepted.value;
    if (!isfinite(r->value)) {
        r->answer = RULE_NO_DATA;
        snprintf(r->sentence, sizeof r->sentence, "no record has %s%s%s", what, *own.reason ? ": " : "", own.reason);
    } else if (absolute) {
        hold_itself(r);
    } else if (!(r->base > 0)) {
        r->answer = RULE_NO_BASE;
        snprintf(r->sentence, sizeof r->sentence, "%s is %.4g, and no accepted record has it%s%s", what, r->value,
                 *accepted.reason ? ": " : "", accepted.reason);
    } else {
        hold_against(r);
    }
    return 0;
}

int rules_apply(const struct rules *r, json_t *records, json_t *base, struct rule_result *results,
                struct redline_err *err)
{
    for (size_t i = 0; i < r->n; i++) {
        results[i] = (struct rule_result){.rule = &r->all[i], .value = NAN, .base = NAN, .limit = NAN};
        TRY(apply(&results[i], records, base, err));
    }
    return 0;
}
