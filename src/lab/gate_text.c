/* gate_text.c - a verdict in words, for people and for programs (gate.h). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "gate.h"
#include "report.h"

/* "+5.1 %" of a ratio. */
static const char *change(char out[24], double ratio)
{
    if (isnan(ratio)) return "?";
    snprintf(out, 24, "%+.1f %%", 100 * (ratio - 1));
    return out;
}

static const char *unit_of(const struct gate_row *row)
{
    return row->metric ? row->metric->unit : "ms";
}

static int say_value(struct buf *out, double value, const char *unit, struct redline_err *err)
{
    return buf_printf(out, err, "%.5g%s%s | ", value, *unit ? " " : "", unit);
}

static int say_verdict(struct buf *out, const struct verdict_row *v, struct redline_err *err)
{
    char share[32];
    snprintf(share, sizeof share, "%.1f %%", 100 * v->least_effect);
    if (v->verdict == VERDICT_SAME) return buf_printf(out, err, "same within %s", share);
    if (v->verdict != VERDICT_UNDECIDED) return buf_printf(out, err, "**%s**", verdict_word(v->verdict));
    if (v->n_more == 0) return buf_printf(out, err, "undecided: runs alone will not decide it");
    return buf_printf(out, err, "undecided: %zu more run%s needed", v->n_more, v->n_more == 1 ? "" : "s");
}

static int say_row(struct buf *out, const struct gate_row *row, struct redline_err *err)
{
    const struct verdict_row *v = &row->verdict;
    char a[24], b[24], c[24];
    TRY(buf_printf(out, err, "| "));
    TRY(report_escape(out, row->name, err));
    if (!row->compared) {
        TRY(buf_printf(out, err, " | | | | | | %s", v->verdict == VERDICT_SLOWER ? "**slower**: " : ""));
        TRY(report_escape(out, row->note, err));
        return buf_printf(out, err, " |\n");
    }
    TRY(buf_printf(out, err, " | "));
    TRY(say_value(out, row->base_median, unit_of(row), err));
    TRY(say_value(out, row->new_median, unit_of(row), err));
    TRY(buf_printf(out, err, "%s | ", change(a, v->ratio)));
    if (isnan(v->low)) TRY(buf_printf(out, err, "too few runs"));
    else TRY(buf_printf(out, err, "%s to %s", change(b, v->low), change(c, v->high)));
    TRY(buf_printf(out, err, " | %.1f %% | ", 100 * v->noise));
    TRY(say_verdict(out, v, err));
    return buf_printf(out, err, " |\n");
}

static const char *const answers[] = {"holds", "**broken**", "no data", "nothing to hold it against"};

static const char *answer_of(const struct rule_result *r)
{
    return r->answer == RULE_BROKEN && r->rule->level == RULE_LOOK ? "look at it" : answers[r->answer];
}

static int say_rule(struct buf *out, const struct rule_result *r, struct redline_err *err)
{
    TRY(buf_printf(out, err, "| "));
    TRY(report_escape(out, r->rule->name, err));
    TRY(buf_printf(out, err, " | %s | ", answer_of(r)));
    TRY(report_escape(out, r->sentence, err));
    return buf_printf(out, err, " |\n");
}

static int say_rules(struct buf *out, const struct gate *g, struct redline_err *err)
{
    if (g->n_rules == 0) return 0;
    TRY(buf_printf(out, err, "\n| rule | | |\n|---|---|---|\n"));
    for (size_t i = 0; i < g->n_rules; i++)
        TRY(say_rule(out, &g->rules[i], err));
    return 0;
}

static size_t count(const struct gate *g, enum verdict v)
{
    size_t n = 0;
    for (size_t i = 0; i < g->n_rows; i++)
        n += g->rows[i].verdict.verdict == v && (g->rows[i].compared || v == VERDICT_SLOWER);
    return n;
}

static size_t most_more(const struct gate *g)
{
    size_t most = 0;
    for (size_t i = 0; i < g->n_rows; i++) most = MAX(most, g->rows[i].verdict.n_more);
    return most;
}

/* The last sentence: what the exit code says. */
static int say_end(struct buf *out, const struct gate *g, struct redline_err *err)
{
    size_t n_slower = count(g, VERDICT_SLOWER), n_undecided = count(g, VERDICT_UNDECIDED), n_broken = 0;
    for (size_t i = 0; i < g->n_rules; i++)
        n_broken += g->rules[i].answer == RULE_BROKEN && g->rules[i].rule->level == RULE_FAIL;
    TRY(buf_printf(out, err, "\n%zu slower, %zu faster, %zu same, %zu undecided", n_slower, count(g, VERDICT_FASTER),
                   count(g, VERDICT_SAME), n_undecided));
    if (g->n_rules) TRY(buf_printf(out, err, "; %zu of %zu rules broken", n_broken, g->n_rules));
    if (n_undecided && most_more(g))
        TRY(buf_printf(out, err, "; %zu more runs of each side should decide", most_more(g)));
    TRY(buf_printf(out, err, ".\n"));
    if (g->n_pairs) TRY(buf_printf(out, err, "%zu pairs by turns in %.0f s.\n", g->n_pairs, g->elapsed_s));
    TRY(buf_printf(out, err, "Intervals and verdicts hold for all rows together, with %g %% of wrong alarms.\n",
                   100 * g->alpha));
    if (*g->warning) TRY(buf_printf(out, err, "%s\n", g->warning));
    if (*g->differences) TRY(buf_printf(out, err, "Compared by force, though not comparable: %s\n", g->differences));
    return 0;
}

int gate_to_markdown(const struct gate *g, struct buf *out, struct redline_err *err)
{
    TRY(buf_printf(out, err, "| what | base | new | change | interval | noise | verdict |\n"
                             "|---|--:|--:|--:|--:|--:|---|\n"));
    for (size_t i = 0; i < g->n_rows; i++) TRY(say_row(out, &g->rows[i], err));
    TRY(say_rules(out, g, err));
    return say_end(out, g, err);
}

/* ---- for programs ---------------------------------------------------------------------------- */

static json_t *real_or_null(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *row_to_json(const struct gate_row *row)
{
    const struct verdict_row *v = &row->verdict;
    if (!row->compared)
        return json_pack("{s:s, s:s?, s:s}", "row", row->name, "verdict",
                         v->verdict == VERDICT_SLOWER ? verdict_word(v->verdict) : NULL, "note", row->note);
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I}", "row",
                     row->name, "metric", row->metric ? row->metric->name : "wall_ms", "unit", unit_of(row), "verdict",
                     verdict_word(v->verdict), "n_base", (json_int_t)v->n_base, "n_new", (json_int_t)v->n_fresh,
                     "base_median", real_or_null(row->base_median), "new_median", real_or_null(row->new_median),
                     "ratio", real_or_null(v->ratio), "low", real_or_null(v->low), "high", real_or_null(v->high),
                     "noise", real_or_null(v->noise), "least_effect", real_or_null(v->least_effect), "p",
                     real_or_null(v->p), "p_holm", real_or_null(v->p_holm), "n_more", (json_int_t)v->n_more);
}

static json_t *rule_to_json(const struct rule_result *r)
{
    static const char *const words[] = {"holds", "broken", "no data", "no base"};
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:s}", "rule", r->rule->name, "answer", words[r->answer], "level",
                     r->rule->level == RULE_LOOK ? "look" : "fail", "value", real_or_null(r->value), "base",
                     real_or_null(r->base), "limit", real_or_null(r->limit), "sentence", r->sentence);
}

int gate_to_json(const struct gate *g, json_t **out, struct redline_err *err)
{
    json_t *rows = json_array(), *rules = json_array();
    int refused = !rows || !rules;
    for (size_t i = 0; !refused && i < g->n_rows; i++) refused = json_array_append_new(rows, row_to_json(&g->rows[i]));
    for (size_t i = 0; !refused && i < g->n_rules; i++)
        refused = json_array_append_new(rules, rule_to_json(&g->rules[i]));
    *out = NULL;
    if (!refused)
        *out = json_pack("{s:s, s:i, s:f, s:I, s:f, s:s, s:s, s:O, s:O}", "worst", verdict_word(g->worst), "exit_code",
                         gate_exit_code(g), "alpha", g->alpha, "n_pairs", (json_int_t)g->n_pairs, "elapsed_s",
                         g->elapsed_s, "differences", g->differences, "warning", g->warning, "rows", rows, "rules",
                         rules);
    json_decref(rows);
    json_decref(rules);
    return *out ? 0 : err_set(err, REDLINE_MEMORY, "no memory for the answer of a gate");
}
