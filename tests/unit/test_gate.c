/* test_gate.c - gates over made-up records: rows, refusals, rules, what was accepted. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "file.h"
#include "gate.h"
#include "record.h"
#include "rng.h"
#include "rules.h"
#include "scratch.h"

static const struct gate_params usual = {.least_effect = 0.02, .alpha = 0.01};

/* One record of a series: a workload's speed and p95. */
static json_t *make_record(const char *series, const char *workload, int n_threads, double output_ts, double p95)
{
    return json_pack("{s:i, s:{s:s, s:s, s:{s:i}}, s:{s:s}, s:{s:s}, s:{s:{s:i}}, s:{s:s, s:s}, s:{s:s, s:s}, s:s, "
                     "s:{s:{s:f, s:s}, s:{s:f, s:s}}}", "version", 1, "experiment", "name", "made-up", "series", series,
                     "grid", "n_threads", n_threads, "program", "contestant", "redline", "model", "file", "m.gguf",
                     "settings", "effective", "n_threads", n_threads, "workload", "name", workload, "kind",
                     "generate", "machine", "id", "feed", "cpu", "a cpu", "load", "fresh", "derived", "output_ts",
                     "value", output_ts, "unit", "tok/s", "itl_p95_ms", "value", p95, "unit", "ms");
}

/* 10 records of each of two workloads, with a per cent of noise. */
static void add_series(json_t *records, const char *series, double short_ts, double long_ts, double long_p95)
{
    struct rng rng;
    rng_seed(&rng, (uint64_t)series[0]);
    for (int i = 0; i < 10; i++) {
        json_array_append_new(records, make_record(series, "short", 2, short_ts * exp(0.01 * rng_normal(&rng)), 10));
        json_array_append_new(records,
                              make_record(series, "long", 2, long_ts * exp(0.01 * rng_normal(&rng)), long_p95));
    }
}

static json_t *series(const char *name, double short_ts, double long_ts, double long_p95)
{
    json_t *records = json_array();
    add_series(records, name, short_ts, long_ts, long_p95);
    return records;
}

static void test_rows(void **state)
{
    json_t *base = series("a", 10, 9, 11), *fresh = series("b", 10, 8.1, 11);
    struct gate g;
    struct buf text = {0};
    json_t *answer;
    (void)state;
    assert_int_equal(gate_records(&g, base, fresh, &usual, NULL), 0);
    assert_int_equal(g.n_rows, 2);
    assert_int_equal(g.rows[0].verdict.verdict, VERDICT_SAME);
    assert_int_equal(g.rows[1].verdict.verdict, VERDICT_SLOWER);
    assert_string_equal(g.rows[1].name, "m | n_threads=2 | long, output_ts");
    assert_float_equal(g.rows[1].verdict.ratio, 0.9, 0.01);
    assert_int_equal(gate_exit_code(&g), 1);
    assert_int_equal(gate_to_markdown(&g, &text, NULL), 0);
    assert_non_null(strstr(text.p, "1 slower, 0 faster, 1 same, 0 undecided"));
    assert_non_null(strstr(text.p, "\n| m \\| n_threads=2 \\| long, output_ts | ")); /* a name is one cell */
    assert_int_equal(gate_to_json(&g, &answer, NULL), 0);
    assert_string_equal(record_text(answer, "rows.1.verdict"), "slower");
    assert_float_equal(record_number(answer, "exit_code"), 1, 0);
    json_decref(answer);
    gate_free(&g);
    assert_int_equal(gate_records(&g, base, base, &usual, NULL), 0);
    assert_int_equal(gate_exit_code(&g), 0);
    gate_free(&g);
    buf_free(&text);
    json_decref(base);
    json_decref(fresh);
}

/* Only the last series of a store counts. */
static void test_series(void **state)
{
    json_t *base = series("a", 100, 90, 11), *fresh = series("c", 10, 9, 11);
    struct gate g;
    (void)state;
    add_series(base, "b", 10, 9, 11);
    assert_int_equal(gate_records(&g, base, fresh, &usual, NULL), 0);
    assert_int_equal(gate_exit_code(&g), 0);
    assert_int_equal(g.rows[0].verdict.n_base, 10);
    gate_free(&g);
    json_decref(base);
    json_decref(fresh);
}

static void test_refusals(void **state)
{
    json_t *base = series("a", 10, 9, 11), *fresh = series("b", 10, 9, 11), *record, *none = json_array();
    struct gate_params params = usual;
    struct redline_err err = {0};
    struct gate g;
    size_t i;
    (void)state;
    assert_int_equal(gate_records(&g, base, none, &params, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "no row and metric in common"));
    params.metrics = "no_such";
    assert_int_equal(gate_records(&g, base, fresh, &params, &err), REDLINE_ARG);
    params.metrics = "samples";
    assert_int_equal(gate_records(&g, base, fresh, &params, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "decides nothing"));
    params.metrics = NULL;
    json_array_foreach(fresh, i, record) record_set(record, "machine.cpu", json_string("another cpu"), NULL);
    assert_int_equal(gate_records(&g, base, fresh, &params, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "machine.cpu \"a cpu\" and \"another cpu\""));
    params.force = true;
    assert_int_equal(gate_records(&g, base, fresh, &params, &err), 0);
    assert_non_null(strstr(g.differences, "machine.cpu"));
    gate_free(&g);
    json_decref(base);
    json_decref(fresh);
    json_decref(none);
}

/* A busier machine is no slower program, and nobody can tell the two apart afterwards. */
static void test_busier_machine(void **state)
{
    json_t *base = series("a", 10, 9, 11), *fresh = series("b", 10, 9, 11), *record;
    struct gate g;
    size_t i;
    (void)state;
    json_array_foreach(base, i, record) record_set(record, "machine.load_1m", json_real(0.4), NULL);
    json_array_foreach(fresh, i, record) record_set(record, "machine.load_1m", json_real(1.1), NULL);
    assert_int_equal(gate_records(&g, base, fresh, &usual, NULL), 0);
    assert_string_equal(g.warning, "");
    gate_free(&g);
    json_array_foreach(fresh, i, record) record_set(record, "machine.load_1m", json_real(5.2), NULL);
    assert_int_equal(gate_records(&g, base, fresh, &usual, NULL), 0);
    assert_non_null(strstr(g.warning, "busier: a load of 5.2 against 0.4"));
    gate_free(&g);
    json_decref(base);
    json_decref(fresh);
}

static void test_failures(void **state)
{
    json_t *base = series("a", 10, 9, 11), *fresh = series("b", 10, 9, 11), *broken = make_record("b", "long", 2, 1, 1);
    struct gate g;
    (void)state;
    json_object_del(broken, "derived");
    json_object_set_new(broken, "failed", json_string("too little memory"));
    json_array_append_new(fresh, broken);
    assert_int_equal(gate_records(&g, base, fresh, &usual, NULL), 0);
    assert_int_equal(g.n_rows, 3);
    assert_string_equal(g.rows[2].note, "fails now: too little memory");
    assert_int_equal(gate_exit_code(&g), 1);
    gate_free(&g);
    json_decref(base);
    json_decref(fresh);
}

static void test_few_runs(void **state)
{
    json_t *base = json_array(), *fresh = json_array();
    struct gate g;
    (void)state;
    for (int i = 0; i < 3; i++) {
        json_array_append_new(base, make_record("a", "short", 2, 10 + 0.01 * i, 1));
        json_array_append_new(fresh, make_record("b", "short", 2, 5 + 0.01 * i, 1));
    }
    assert_int_equal(gate_records(&g, base, fresh, &usual, NULL), 0);
    assert_int_equal(gate_exit_code(&g), 4);
    assert_int_equal(g.rows[0].verdict.n_more, 2);
    gate_free(&g);
    json_decref(base);
    json_decref(fresh);
}

/* ---- rules ----------------------------------------------------------------------------------- */

static const struct rule_result *answer_to(const struct gate *g, const char *name)
{
    for (size_t i = 0; i < g->n_rules; i++)
        if (strcmp(g->rules[i].rule->name, name) == 0) return &g->rules[i];
    fail_msg("there is no rule '%s'", name);
    return NULL;
}

/* The shipped ones, on a long answer that became 20 % slower and hesitates. */
static void test_shipped_rules(void **state)
{
    json_t *base = series("a", 10, 9, 11), *fresh = series("b", 10, 7.2, 14);
    struct rules rules;
    struct gate_params params = usual;
    struct gate g;
    (void)state;
    assert_int_equal(rules_read(&rules, SOURCE_DIR "/experiments/rules.yaml", NULL), 0);
    params.rules = &rules;
    assert_int_equal(gate_records(&g, base, fresh, &params, NULL), 0);
    assert_int_equal(answer_to(&g, "cold load")->answer, RULE_NO_DATA);
    assert_int_equal(answer_to(&g, "short answers")->answer, RULE_HOLDS);
    assert_int_equal(answer_to(&g, "long answers")->answer, RULE_BROKEN);
    assert_int_equal(answer_to(&g, "hesitation")->answer, RULE_BROKEN);
    assert_float_equal(answer_to(&g, "hesitation")->value, 1.4, 1e-12);
    assert_string_equal(answer_to(&g, "hesitation")->sentence,
                        "itl_p95_ms long / short is 1.4, the limit is at most 1.3");
    assert_int_equal(answer_to(&g, "short answers slower")->answer, RULE_HOLDS);
    assert_int_equal(answer_to(&g, "long answers slower")->answer, RULE_BROKEN);
    assert_int_equal(answer_to(&g, "p95 drifts in short answers")->answer, RULE_HOLDS);
    assert_int_equal(answer_to(&g, "p95 drifts in long answers")->answer, RULE_BROKEN);
    assert_int_equal(answer_to(&g, "p95 drifts in long answers")->rule->level, RULE_LOOK);
    assert_int_equal(answer_to(&g, "hesitation grows")->answer, RULE_BROKEN);
    gate_free(&g);
    struct rule_result results[16];
    assert_int_equal(rules_apply(&rules, fresh, NULL, results, NULL), 0);
    assert_int_equal(results[5].answer, RULE_NO_BASE);
    rules_free(&rules);
    json_decref(base);
    json_decref(fresh);
}

/* Answers of 21 tokens, 20 gaps a run: `gap` ms, every tenth twice that; without the run's own p95, as it has too
 * few. */
static void add_times(json_t *records, const char *workload, int n_runs, double gap)
{
    for (int run = 0; run < n_runs; run++) {
        json_t *record = make_record("a", workload, 2, 10, 1), *times = json_array();
        double at = 1e9;
        json_object_set_new(record_at(record, "derived.itl_p95_ms"), "value", json_null());
        for (int i = 0; i <= 20; i++) {
            json_array_append_new(times, json_integer((json_int_t)at));
            at += (i % 10 == 5 ? 2 : 1) * gap * 1e6;
        }
        json_object_set_new(record, "requests", json_pack("[{s:o}]", "engine_ns", times));
        json_array_append_new(records, record);
    }
}

/* What no run has enough of, all runs of a workload have together; three of them have not. */
static void test_pooled_rules(void **state)
{
    json_t *records = json_array(), *few = json_array();
    struct rule ratio = {.name = "hesitation", .metric = "itl_p95_ms", .numerator = "long", .denominator = "short",
                         .at_least = NAN, .at_most = 1.3, .drop = NAN, .drift = NAN, .growth = NAN};
    struct rule drift = ratio;
    struct rule_result results[2];
    (void)state;
    drift.numerator = drift.denominator = NULL;
    drift.at_most = NAN;
    drift.drift = 0.1;
    drift.where = json_pack("{s:s}", "workload", "short");
    struct rule all[] = {ratio, drift};
    const struct rules rules = {all, COUNT_OF(all)};
    add_times(records, "short", 4, 10);
    add_times(records, "long", 4, 15);
    add_times(few, "long", 4, 10);
    add_times(few, "short", 3, 10);
    assert_int_equal(rules_apply(&rules, records, records, results, NULL), 0);
    assert_float_equal(results[0].value, 1.5, 1e-9);
    assert_int_equal(results[0].answer, RULE_BROKEN);
    assert_float_equal(results[1].value, 20, 1e-9); /* 8 of 80 take twice as long */
    assert_int_equal(results[1].answer, RULE_HOLDS);
    assert_int_equal(rules_apply(&rules, few, records, results, NULL), 0);
    assert_int_equal(results[0].answer, RULE_NO_DATA);
    assert_string_equal(results[0].sentence,
                        "no record has itl_p95_ms long / short: short needs 72 intervals, has 60");
    assert_string_equal(results[1].sentence, "no record has itl_p95_ms: needs 72 intervals, has 60");
    assert_int_equal(rules_apply(&rules, records, few, results, NULL), 0);
    assert_int_equal(results[1].answer, RULE_NO_BASE);
    assert_string_equal(results[1].sentence,
                        "itl_p95_ms is 20, and no accepted record has it: needs 72 intervals, has 60");
    json_decref(drift.where);
    json_decref(records);
    json_decref(few);
}

/* A rule alone fails a gate in which nothing is slower; one to look at does not. */
static void test_rules_decide(void **state)
{
    json_t *base = series("a", 4, 9, 11);
    struct rule rule = {.name = "short", .metric = "output_ts", .at_least = 5, .at_most = NAN, .drop = NAN,
                        .drift = NAN, .growth = NAN,
                        .where = json_pack("{s:s, s:s}", "workload", "short", "n_threads", "2")};
    const struct rules rules = {&rule, 1};
    struct gate_params params = usual;
    struct gate g;
    (void)state;
    params.rules = &rules;
    for (int level = RULE_FAIL; level <= RULE_LOOK; level++) {
        rule.level = (enum rule_level)level;
        assert_int_equal(gate_records(&g, base, base, &params, NULL), 0);
        assert_int_equal(g.rules[0].answer, RULE_BROKEN);
        assert_int_equal(gate_exit_code(&g), level == RULE_FAIL ? 1 : 0);
        gate_free(&g);
    }
    json_decref(rule.where);
    json_decref(base);
}

static void test_broken_rules(void **state)
{
    static const struct { const char *text, *sentence; } cases[] = {
        {"rules: []\n", "is no list of rules"},
        {"rules:\n  - {name: a, metric: no_such, at_most: 1}\n", ":2: there is no metric 'no_such'"},
        {"rules:\n  - {name: a, metric: load_ms}\n", "has 0 limits"},
        {"rules:\n  - {name: a, metric: load_ms, at_most: 1, drop: 2 %}\n", "has 2 limits"},
        {"rules:\n  - {metric: load_ms, at_most: 1}\n", "a rule has a name and a metric"},
        {"rules:\n  - {name: a, metric: load_ms, at_mots: 1}\n", "at_most"},
        {"rules:\n  - {name: a, metric: load_ms, at_most: 1, ratio: [long]}\n", "two workloads"},
        {"rules:\n  - {name: a, metric: load_ms, at_most: 1, level: maybe}\n", "fail or look"},
        {"rules:\n  - {name: a, metric: load_ms, at_most: 1, where: short}\n", "'where' is keys and values"},
    };
    const char *path = SCRATCH("rules.yaml");
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct redline_err err = {0};
        struct rules rules;
        assert_int_equal(file_write(path, cases[i].text, strlen(cases[i].text), &err), 0);
        assert_int_equal(rules_read(&rules, path, &err), REDLINE_ARG);
        if (!strstr(err.message, cases[i].sentence)) fail_msg("'%s', expected '%s'", err.message, cases[i].sentence);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows), cmocka_unit_test(test_series), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_failures), cmocka_unit_test(test_busier_machine), cmocka_unit_test(test_few_runs),
        cmocka_unit_test(test_shipped_rules), cmocka_unit_test(test_pooled_rules), cmocka_unit_test(test_rules_decide),
        cmocka_unit_test(test_broken_rules),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
