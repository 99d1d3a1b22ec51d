/* test_report.c - rows and their figures, tables, what stands around them, and every refused allocation. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "fault.h"
#include "page.h"
#include "record.h"
#include "report.h"
#include "report_tables.h"
#include "rows.h"

/* A record of one run: cell < 0 for one without a place in an experiment. */
static json_t *run(int cell, const char *threads, const char *workload, double speed)
{
    json_t *r = json_pack("{s:s, s:{s:s, s:s, s:{s:s}}, s:{s:s, s:s}, s:{s:s, s:I, s:I}, s:{s:s, s:i, s:i, s:i},"
                          "s:{}, s:{}, s:{s:{s:s}, s:{s:s, s:i}}}",
                          "started", "2026-11-21T18:15:00.123Z", "experiment", "name", "e", "series", "s1", "grid",
                          "n_threads", threads, "program", "contestant", "redline", "commit", "abc", "model", "file",
                          "a/tiny.gguf", "weight_bytes", (json_int_t)1000, "n_parameters", (json_int_t)2000, "workload",
                          "name", workload, "n_prompt", 8, "n_gen", 4, "n_depth", 0, "derived", "missing", "settings",
                          "requested", "n_threads", threads, "effective", "device", "cpu", "n_threads", 2);
    assert_non_null(r);
    if (cell >= 0) json_object_set_new(json_object_get(r, "experiment"), "cell", json_integer(cell));
    assert_int_equal(record_derive(r, "output_ts", speed, "it stood still", NULL), 0);
    assert_int_equal(record_derive(r, "decode_ts", speed, "it stood still", NULL), 0);
    return r;
}

/* Gaps of 1, 2, ... n ms, in one request. */
static void add_gaps(json_t *record, int n)
{
    json_t *times = json_array();
    json_int_t at = 0;
    for (int i = 0; i <= n; i++) {
        json_array_append_new(times, json_integer(at));
        at += (json_int_t)(i + 1) * 1000000;
    }
    json_object_set_new(record, "requests", json_pack("[{s:o, s:[]}]", "engine_ns", times, "consumer_ns"));
}

static const char *key_at(const json_t *rows, size_t row, size_t key)
{
    return json_string_value(json_array_get(json_object_get(json_array_get(rows, row), "keys"), key));
}

static const char *text_at(const json_t *table, size_t row, size_t column)
{
    return record_text(json_array_get(json_array_get(json_object_get(table, "rows"), row), column), "text");
}

static void test_values(void **state)
{
    char text[ROWS_MOST_TEXT];
    json_t *r = run(0, "auto", "short", 1);
    (void)state;
    rows_value(r, "n_threads", text);
    assert_string_equal(text, "auto"); /* as the grid has it, not as it ran */
    rows_value(r, "settings.effective.n_threads", text);
    assert_string_equal(text, "2");
    rows_value(r, "model", text);
    assert_string_equal(text, "tiny");
    rows_value(r, "n_gen", text);
    assert_string_equal(text, "4");
    rows_value(r, "nothing.like.it", text);
    assert_string_equal(text, "-");
    char name[400];
    for (size_t i = 0; i < sizeof name - 1; i++) name[i] = i % 2 ? '\xa4' : '\xc3'; /* two bytes each */
    name[sizeof name - 2] = '\0';
    record_set(r, "model.file", json_string(name), NULL);
    rows_value(r, "model", text);
    assert_int_equal(strlen(text), 254); /* never half a character */
    json_decref(r);
}

static void test_order(void **state)
{
    json_t *records = json_array(), *rows, *keys = json_pack("[s]", "n_threads");
    (void)state;
    json_array_append_new(records, run(2, "1", "short", 1));
    json_array_append_new(records, run(0, "auto", "short", 1));
    json_array_append_new(records, run(1, "16", "short", 1));
    json_array_append_new(records, run(0, "auto", "short", 1));
    assert_int_equal(rows_group(&rows, records, keys, NULL), 0);
    assert_int_equal(json_array_size(rows), 3);
    assert_string_equal(key_at(rows, 0, 0), "auto"); /* as the experiment has its cells */
    assert_string_equal(key_at(rows, 1, 0), "16");
    assert_string_equal(key_at(rows, 2, 0), "1");
    json_decref(rows);
    json_array_clear(records);
    const char *const names[] = {"pp1024", "pp64", "tg128", "pp128"};
    for (size_t i = 0; i < COUNT_OF(names); i++) json_array_append_new(records, run(-1, names[i], "short", 1));
    assert_int_equal(rows_group(&rows, records, keys, NULL), 0);
    assert_string_equal(key_at(rows, 0, 0), "pp64"); /* numbers as numbers */
    assert_string_equal(key_at(rows, 1, 0), "pp128");
    assert_string_equal(key_at(rows, 2, 0), "pp1024");
    assert_string_equal(key_at(rows, 3, 0), "tg128");
    json_decref(rows);
    json_decref(records);
    json_decref(keys);
}

static void test_varying(void **state)
{
    json_t *records = json_array(), *keys, *label;
    (void)state;
    json_array_append_new(records, run(0, "1", "short", 1));
    assert_int_equal(rows_varying(&keys, records, NULL), 0);
    assert_int_equal(json_array_size(keys), 0);
    json_decref(keys);
    json_array_append_new(records, run(1, "2", "long", 1));
    assert_int_equal(rows_varying(&keys, records, NULL), 0);
    assert_int_equal(json_array_size(keys), 2);
    json_t *values = json_pack("[s, s]", "long", "2");
    assert_int_equal(rows_label(&label, keys, values, NULL), 0);
    assert_string_equal(json_string_value(label), "long, n_threads 2");
    json_decref(label);
    json_decref(values);
    json_decref(keys);
    json_decref(records);
}

/* Another program has another commit: no reason for a column; another commit of the same program is one. */
static void test_commits(void **state)
{
    json_t *records = json_array(), *keys;
    (void)state;
    for (int i = 0; i < 4; i++) {
        json_t *r = run(0, "1", "short", 1);
        record_set(r, "program.contestant", json_string(i % 2 ? "other" : "redline"), NULL);
        record_set(r, "program.commit", json_string(i % 2 ? "b" : "a"), NULL);
        json_array_append_new(records, r);
    }
    assert_int_equal(rows_varying(&keys, records, NULL), 0);
    assert_int_equal(json_array_size(keys), 1);
    assert_string_equal(json_string_value(json_array_get(keys, 0)), "contestant");
    json_decref(keys);
    record_set(json_array_get(records, 3), "program.commit", json_string("c"), NULL);
    assert_int_equal(rows_varying(&keys, records, NULL), 0);
    assert_int_equal(json_array_size(keys), 2);
    json_decref(keys);
    json_decref(records);
}

static void test_figures(void **state)
{
    struct rows_figure f;
    json_t *records = json_array();
    (void)state;
    for (int i = 0; i < 5; i++) json_array_append_new(records, run(0, "1", "short", 10 + i));
    assert_int_equal(rows_metric(&f, records, "output_ts", false, NULL), 0);
    assert_float_equal(f.value, 12, 0);
    assert_int_equal(f.spread, ROWS_RANGE); /* five are too few for 95 % */
    json_array_append_new(records, run(0, "1", "short", 15));
    assert_int_equal(rows_metric(&f, records, "output_ts", false, NULL), 0);
    assert_float_equal(f.value, 12.5, 0);
    assert_int_equal(f.spread, ROWS_INTERVAL);
    assert_float_equal(f.low, 10, 0);
    assert_float_equal(f.high, 15, 0);
    json_t *failed = run(0, "1", "short", 1000);
    json_object_set_new(failed, "failed", json_string("no"));
    json_array_append_new(records, failed);
    json_array_append_new(records, run(0, "1", "short", NAN));
    assert_int_equal(rows_metric(&f, records, "output_ts", false, NULL), 0);
    assert_int_equal(f.n, 6); /* neither of the two counts */
    assert_string_equal(f.reason, "");
    json_t *alone = json_pack("[O]", json_array_get(records, 7));
    assert_int_equal(rows_metric(&f, alone, "output_ts", false, NULL), 0);
    assert_true(isnan(f.value));
    assert_string_equal(f.reason, "it stood still");
    assert_int_equal(rows_number(&f, records, "model.weight_bytes", NULL), 0);
    assert_float_equal(f.value, 1000, 0);
    json_decref(alone);
    json_decref(records);
}

static void test_pooled(void **state)
{
    struct rows_figure f;
    json_t *records = json_array();
    (void)state;
    json_array_append_new(records, run(0, "1", "short", 1));
    json_array_append_new(records, run(0, "1", "short", 1));
    add_gaps(json_array_get(records, 0), 40);
    add_gaps(json_array_get(records, 1), 41);
    assert_int_equal(rows_metric(&f, records, "itl_p95_ms", true, NULL), 0);
    assert_int_equal(f.n, 81);
    assert_float_equal(f.value, 39, 1e-9); /* the 77th of 1 1 2 2 ... 40 40 41, counted from 1 */
    assert_int_equal(rows_metric(&f, records, "itl_max_ms", true, NULL), 0);
    assert_float_equal(f.value, 41, 1e-9);
    assert_int_equal(rows_metric(&f, records, "itl_p99_ms", true, NULL), 0);
    assert_true(isnan(f.value));
    assert_string_equal(f.reason, "needs 368 intervals, has 81");
    assert_int_equal(rows_metric(&f, records, "itl_consumer_p50_ms", true, NULL), 0);
    assert_string_equal(f.reason, "no times of tokens");
    json_decref(records);
}

/* The first table that a description makes of the records. */
static json_t *table_of(json_t *records, const char *spec, struct redline_err *err)
{
    json_t *tables = json_array(), *read = json_loads(spec, 0, NULL), *table = NULL;
    assert_non_null(read);
    if (report_tables_add(tables, records, read, err) == 0) table = json_incref(json_array_get(tables, 0));
    json_decref(tables);
    json_decref(read);
    return table;
}

static json_t *some_records(void)
{
    static const char *const threads[] = {"1", "2"}, *const workloads[] = {"short", "long"};
    json_t *records = json_array();
    for (int i = 0; i < 12; i++) {
        json_t *r = run(i % 4, threads[i % 2], workloads[i / 2 % 2], 10 * (i % 4 + 1) + i / 4);
        add_gaps(r, 20 + i);
        json_array_append_new(records, r);
    }
    return records;
}

static void test_never_mixed(void **state)
{
    json_t *records = some_records();
    struct redline_err err = {0};
    (void)state;
    json_t *t = table_of(records, "{\"title\": \"T\", \"rows\": [\"n_threads\"], \"values\": [\"output_ts\"]}", &err);
    assert_int_equal(json_array_size(json_object_get(t, "rows")), 4); /* the workload became a column */
    assert_string_equal(json_string_value(json_array_get(json_object_get(t, "heads"), 1)), "workload");
    assert_string_equal(text_at(t, 0, 2), "11.0 (3 runs: 10.0 to 12.0)");
    json_decref(t);
    json_t *tables = json_array(), *spec = json_pack("{s:s, s:[s], s:[s], s:s}", "title", "T", "rows", "n_threads",
                                                     "columns", "model", "value", "output_ts");
    assert_int_equal(report_tables_add(tables, records, spec, &err), 0);
    assert_int_equal(json_array_size(tables), 2); /* a matrix for each workload */
    assert_string_equal(record_text(json_array_get(tables, 0), "title"), "T: short");
    json_decref(tables);
    json_decref(spec);
    t = table_of(records, "{\"rows\": [\"workload\", \"n_threads\"], \"values\": [\"output_ts\"],"
                          " \"versus\": {\"n_threads\": 1}}", &err);
    assert_string_equal(text_at(t, 1, 3), "1.909"); /* 21 / 11 */
    json_decref(t);
    json_t *record;
    size_t i;
    json_array_foreach(records, i, record) record_set(record, "settings.effective.device", json_string("cpu"), NULL);
    t = table_of(records, "{\"rows\": [\"workload\", \"n_threads\"], \"values\": [\"settings.effective.device\","
                          " \"output_ts\"], \"versus\": {\"n_threads\": 1}}", &err);
    assert_int_equal(json_array_size(json_object_get(t, "heads")), 5); /* a text has no ratio */
    assert_string_equal(text_at(t, 1, 2), "cpu");
    assert_string_equal(text_at(t, 1, 4), "1.909");
    json_decref(t);
    json_decref(records);
}

static void test_wrong_tables(void **state)
{
    static const struct {
        const char *spec, *sentence;
    } wrong[] = {
        {"{\"title\": \"T\", \"rows\": [\"model\"], \"values\": [\"decode_tss\"]}",
         "table 'T': there is no metric 'decode_tss'; did you mean 'decode_ts'?"},
        {"{\"title\": \"T\", \"rows\": [\"model\"]}", "table 'T' names no value"},
        {"{\"title\": \"T\", \"rows\": [\"model\"], \"columns\": [\"load\"], \"values\": [\"ttft_ms\", \"load_ms\"]}",
         "table 'T' has columns and 2 values; a matrix shows one"},
        {"{\"title\": \"T\", \"rows\": [1], \"values\": [\"ttft_ms\"]}", "a table's rows and columns are words"},
        {"{\"title\": \"T\", \"rows\": [\"model\"], \"values\": [{\"metric\": \"ttft_ms\", \"unit\": \"GB\"}]}",
         "table 'T': ttft_ms is in ms, which is not told in 'GB'"},
        {"{\"title\": \"T\", \"rows\": [\"model\"], \"values\": [{\"label\": \"x\"}]}",
         "table 'T': a value without the name of a metric"},
        {"{\"title\": \"T\", \"rows\": [\"model\"], \"values\": [\"output_ts\"], \"versus\": {\"load\": \"warm\"}}",
         "table 'T' compares by load, which is none of its rows' keys"},
    };
    json_t *records = some_records();
    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct redline_err err = {0};
        assert_null(table_of(records, wrong[i].spec, &err));
        assert_int_equal(err.code, REDLINE_ARG);
        assert_string_equal(err.message, wrong[i].sentence);
    }
    json_decref(records);
}

static void test_series(void **state)
{
    json_t *records = some_records(), *chosen;
    struct redline_err err = {0};
    (void)state;
    for (size_t i = 8; i < 12; i++)
        record_set(json_array_get(records, i), "experiment.series", json_string("s2"), NULL);
    record_set(json_array_get(records, 0), "experiment.name", json_string("other"), NULL);
    assert_int_equal(report_series(&chosen, records, "last", &err), 0);
    assert_int_equal(json_array_size(chosen), 5); /* four of the last, one of the other experiment's last */
    json_decref(chosen);
    assert_int_equal(report_series(&chosen, records, "all", &err), 0);
    assert_int_equal(json_array_size(chosen), 12);
    json_decref(chosen);
    assert_int_equal(report_series(&chosen, records, "s1", &err), 0);
    assert_int_equal(json_array_size(chosen), 8);
    json_decref(chosen);
    assert_int_equal(report_series(&chosen, records, "s3", &err), REDLINE_ARG);
    json_decref(chosen);
    json_decref(records);
}

/* Everything at once: tables, plots, rules, Markdown, page. */
static int make_all(json_t *records, json_t *limits, struct redline_err *err)
{
    static const struct rule rule = {.name = "a <rule>"};
    const struct rule_result answer = {.rule = &rule, .answer = RULE_BROKEN, .sentence = "1 < 2 & so on"};
    struct report_part parts[] = {{.name = "e", .title = "<b>E</b>", .records = records, .history = records},
                                  {.records = records}};
    const struct report_params params = {.parts = parts, .n_parts = COUNT_OF(parts), .rules = &answer, .n_rules = 1,
                                         .limits = limits};
    json_t *document;
    struct buf markdown = {0}, page = {0};
    int status = report_make(&document, &params, err);
    if (status == 0) status = report_to_markdown(&markdown, document, err);
    if (status == 0) status = page_write(&page, document, err);
    if (status == 0) {
        assert_non_null(strstr(markdown.p, "\\<b>E\\</b>"));
        assert_non_null(strstr(page.p, "&lt;b&gt;E&lt;/b&gt;"));
        assert_null(strstr(page.p, "<b>E"));
        assert_non_null(strstr(page.p, "1 &lt; 2 &amp; so on"));
        assert_non_null(strstr(page.p, "\"Roofline\""));
        assert_int_equal(page.n, strlen(page.p));
    }
    json_decref(document);
    buf_free(&markdown);
    buf_free(&page);
    return status;
}

static json_t *some_limits(void)
{
    return json_pack("{s:[{s:i, s:f}], s:[{s:s, s:s, s:i, s:{s:f}}]}", "bandwidth", "n_threads", 2, "bytes_per_s", 5e10,
                     "compute", "isa", "avx2", "type", "f32", "n_threads", 2, "ops_per_s", "best", 2e11);
}

static void test_refused_memory(void **state)
{
    json_t *records = some_records(), *limits = some_limits();
    struct redline_err err = {0};
    (void)state;
    fault_arm(FAULT_ALLOC, 0, false);
    assert_int_equal(make_all(records, limits, &err), 0);
    uint64_t n = fault_count(FAULT_ALLOC);
    assert_true(n > 100);
    for (uint64_t i = 1; i <= n; i++) {
        fault_arm(FAULT_ALLOC, i, false);
        assert_int_equal(make_all(records, limits, &err), REDLINE_MEMORY);
    }
    fault_arm(FAULT_ALLOC, 0, false);
    json_decref(records);
    json_decref(limits);
}

/* Records that hold next to nothing, as an importer may make them. */
static void test_poor_records(void **state)
{
    json_t *records = json_pack("[{}, {s:{s:{s:f, s:s}}}]", "derived", "decode_ts", "value", 41.25, "unit", "tok/s");
    struct buf out = {0};
    struct redline_err err = {0};
    (void)state;
    struct report_part part = {.title = "Poor", .records = records};
    json_t *document;
    assert_int_equal(report_make(&document, &(struct report_params){.parts = &part, .n_parts = 1}, &err), 0);
    assert_int_equal(report_to_markdown(&out, document, &err), 0);
    json_decref(document);
    assert_non_null(strstr(out.p, "| decode speed, tok/s | 41.2 |"));
    assert_null(strstr(out.p, "Made again"));
    buf_free(&out);
    json_decref(records);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),       cmocka_unit_test(test_order),        cmocka_unit_test(test_varying),
        cmocka_unit_test(test_figures),      cmocka_unit_test(test_pooled),       cmocka_unit_test(test_never_mixed),
        cmocka_unit_test(test_wrong_tables), cmocka_unit_test(test_series),       cmocka_unit_test(test_refused_memory),
        cmocka_unit_test(test_poor_records), cmocka_unit_test(test_commits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
