/* test_record.c - values by path, reasons, what is refused, what may not be compared. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "record.h"

static json_t *example(void)
{
    json_error_t problem;
    json_t *record = json_load_file(SOURCE_DIR "/docs/lab-record.example.json", JSON_REJECT_DUPLICATES, &problem);
    if (!record) fail_msg("the example is no JSON: %s", problem.text);
    return record;
}

static void test_reading(void **state)
{
    struct redline_err err = {0};
    json_t *r = example();
    (void)state;
    if (record_check(r, &err)) fail_msg("%s", err.message);
    assert_ptr_equal(record_at(r, ""), r);
    assert_string_equal(record_text(r, "program.name"), "redline");
    assert_float_equal(record_number(r, "version"), 1, 0);
    assert_non_null(record_text(r, "settings.effective.kernels.0.kernel"));
    assert_null(record_at(r, "settings.effective.kernels.x"));
    assert_null(record_at(r, "settings.effective.kernels.99.kernel"));
    assert_null(record_at(r, "program.name.first"));
    assert_null(record_at(r, "nothing.at.all"));
    assert_null(record_text(r, "version"));
    assert_true(isnan(record_number(r, "program.name")) && isnan(record_number(r, "workload.rate")));
    assert_true(record_metric(r, "output_ts") > 0);
    assert_true(isnan(record_metric(r, "itl_p99_ms")) && isnan(record_metric(r, "nothing")));
    json_decref(r);
}

static void test_reasons(void **state)
{
    json_t *r = json_object();
    (void)state;
    assert_int_equal(record_set(r, "a.b.c", json_integer(3), NULL), 0);
    assert_int_equal(record_miss(r, "a.b.d", "nobody knows", NULL), 0);
    assert_int_equal(record_miss(r, "a.e", "not asked", NULL), 0);
    assert_int_equal(record_say(r, "list", "not told", NULL), 0);
    assert_int_equal(record_set(r, "list", json_pack("[{s:n}]", "x"), NULL), 0);
    assert_float_equal(record_number(r, "a.b.c"), 3, 0);
    assert_null(record_reason(r, "a.b.c"));
    assert_string_equal(record_reason(r, "a.b.d"), "nobody knows");
    assert_string_equal(record_reason(r, "a.e.f"), "not asked"); /* a part of what is null */
    assert_string_equal(record_reason(r, "list.0.x"), "not told");
    assert_null(record_reason(r, "list"));
    assert_null(record_reason(r, "a"));
    assert_null(record_reason(r, "other"));
    assert_int_equal(record_set(r, "a.b.c.x", json_true(), NULL), 0); /* a number gives way to an object */
    assert_true(json_is_true(record_at(r, "a.b.c.x")));
    json_decref(r);
}

static void test_derive(void **state)
{
    struct redline_err err = {0};
    json_t *r = json_object();
    (void)state;
    assert_int_equal(record_derive(r, "ttft_ms", 12.5, NULL, &err), 0);
    assert_float_equal(record_metric(r, "ttft_ms"), 12.5, 0);
    assert_string_equal(record_text(r, "derived.ttft_ms.unit"), "ms");
    assert_null(record_reason(r, "derived.ttft_ms.value"));
    assert_int_equal(record_derive(r, "itl_p99_ms", NAN, "needs 368 intervals, has 63", &err), 0);
    assert_true(json_is_null(record_at(r, "derived.itl_p99_ms.value")));
    assert_string_equal(record_reason(r, "derived.itl_p99_ms.value"), "needs 368 intervals, has 63");
    assert_int_equal(record_derive(r, "decode_ts", INFINITY, NULL, &err), 0);
    assert_non_null(record_reason(r, "derived.decode_ts.value"));
    assert_int_equal(record_derive(r, "speed", 1, NULL, &err), REDLINE_ARG);
    assert_string_equal(err.message, "there is no metric 'speed'");
    json_decref(r);
}

/* ---- what is refused ------------------------------------------------------------------------------- */

static void refuses(const char *path, const char *value, const char *sentence)
{
    struct redline_err err = {0};
    json_t *r = example();
    if (strcmp(value, "-") == 0) {
        const char *dot = strrchr(path, '.');
        json_t *at = dot ? json_object() : json_incref(r);
        char parent[128];
        if (dot) {
            json_decref(at);
            strncpy(parent, path, sizeof parent - 1);
            parent[dot - path] = '\0';
            at = json_incref(record_at(r, parent));
        }
        assert_int_equal(json_object_del(at, dot ? dot + 1 : path), 0);
        json_decref(at);
    } else {
        assert_int_equal(record_set(r, path, json_loads(value, JSON_DECODE_ANY, NULL), &err), 0);
    }
    assert_int_equal(record_check(r, &err), REDLINE_FORMAT);
    assert_string_equal(err.message, sentence);
    json_decref(r);
}

static void test_refused(void **state)
{
    static const struct {
        const char *path, *value, *sentence;
    } table[] = {
        {"version", "2", "the record is of version 2, this program knows version 1"},
        {"version", "-", "it is no record: it has no version"},
        {"id", "-", "the record has no member 'id'"},
        {"id", "null", "'id' may not be null"},
        {"started", "7", "'started' is not a text"},
        {"machine.governor", "-", "the record has no member 'machine.governor'"},
        {"machine.load_1m", "null", "'machine.load_1m' is null without a reason under \"missing\""},
        {"machine.load_1m", "\"high\"", "'machine.load_1m' is not a number"},
        {"machine.quota", "2", NULL},
        {"model.bytes", "1.5", "'model.bytes' is not a whole number"},
        {"settings.effective.exact", "0", "'settings.effective.exact' is not true or false"},
        {"settings.effective.kernels", "[1]", "'settings.effective.kernels.0' is not an object"},
        {"settings.effective.kernels", "[{\"type\":\"Q8_0\"}]",
         "the record has no member 'settings.effective.kernels.0.kernel'"},
        {"settings.requested", "[]", "'settings.requested' is not an object"},
        {"anything", "{\"deep\":[1,{\"x\":null}]}", "'anything.deep.1.x' is null without a reason under \"missing\""},
        {"derived.speed", "{\"value\":1,\"unit\":\"tok/s\"}",
         "'derived.speed' has no definition: there is no such metric"},
        {"derived.output_ts", "{\"value\":1,\"unit\":\"t/s\"}",
         "the unit of 'derived.output_ts' is 't/s', by its definition it is 'tok/s'"},
        {"derived.output_ts", "{\"unit\":\"tok/s\"}", "'derived.output_ts.value' is not a number"},
        {"derived.output_ts", "{\"value\":null,\"unit\":\"tok/s\"}",
         "'derived.output_ts.value' is null without a reason under \"missing\""},
        {"derived", "-", "the record has no member 'derived'"},
        {"failed", "false", "'failed' is not a sentence; a measurement that did not fail has no such member"},
        {"failed", "\"no memory\"", "the measurement failed, and 'derived' is there all the same"},
        {"requests", "{}", "'requests' is not an array"},
    };
    struct redline_err err = {0};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++)
        if (table[i].sentence) refuses(table[i].path, table[i].value, table[i].sentence);
    json_t *r = example(), *times = record_at(r, "requests.0.engine_ns");
    json_array_append_new(times, json_integer(1));
    assert_int_equal(record_check(r, &err), REDLINE_FORMAT);
    assert_non_null(strstr(err.message, "'requests.0.engine_ns' are not ascending"));
    json_decref(r);
    r = json_pack("[i]", 1);
    assert_int_equal(record_check(r, &err), REDLINE_FORMAT);
    json_decref(r);
}

/* A failed measurement says so, and need not have what it never came to. */
static void test_failed(void **state)
{
    struct redline_err err = {0};
    json_t *r = example();
    (void)state;
    json_object_set_new(r, "failed", json_string("there is no room for 40 GB"));
    json_object_del(r, "derived");
    json_object_del(r, "requests");
    json_object_del(r, "times");
    json_object_del(record_at(r, "settings"), "effective");
    assert_int_equal(record_check(r, &err), 0);
    json_object_del(r, "machine");
    assert_int_equal(record_check(r, &err), REDLINE_FORMAT);
    json_decref(r);
}

/* What others wrote becomes a whole record, every gap with its reason. */
static void test_complete(void **state)
{
    struct redline_err err = {0};
    json_t *r = json_pack("{s:i, s:s, s:s, s:{s:s, s:s}, s:{s:s}, s:{s:{s:i}}, s:{s:s}, s:[{s:[i,i]}], s:{}, s:{}}",
                          "version", 1, "id", "x", "started", "2026-01-01T00:00:00Z", "program", "name", "other",
                          "contestant", "other", "model", "file", "m.gguf", "settings", "effective", "n_threads", 4,
                          "workload", "kind", "generate", "requests", "consumer_ns", 3, 5, "derived", "missing");
    (void)state;
    assert_non_null(r);
    assert_int_equal(record_check(r, &err), REDLINE_FORMAT);
    assert_int_equal(record_complete(r, "the tool does not say", &err), 0);
    if (record_check(r, &err)) fail_msg("%s", err.message);
    assert_string_equal(record_reason(r, "settings.effective.type_k"), "the tool does not say");
    assert_string_equal(record_reason(r, "requests.0.engine_ns"), "the tool does not say");
    assert_string_equal(record_reason(r, "machine.cpu"), "the tool does not say");
    assert_float_equal(record_number(r, "settings.effective.n_threads"), 4, 0);
    json_t *again = json_deep_copy(r);
    assert_int_equal(record_complete(again, "another reason", &err), 0);
    assert_true(json_equal(r, again));
    json_decref(again);
    json_decref(r);
}

/* A name begins with the time, and another one of the same process is another. */
static void test_name(void **state)
{
    char started[CLOCK_UTC], id[RECORD_ID], again[RECORD_ID];
    const char *at = id;
    (void)state;
    record_name(started, id);
    record_name((char[CLOCK_UTC]){0}, again);
    assert_string_not_equal(id, again);
    for (const char *p = started; *p; p++)
        if (!strchr("-:", *p)) assert_int_equal(*at++, *p);
    assert_int_equal(*at, '-');
}

/* ---- comparing -------------------------------------------------------------------------------------- */

static void test_differences(void **state)
{
    char text[400], shorter[20];
    json_t *a = example(), *b = example();
    (void)state;
    assert_int_equal(record_differences(a, b, text, sizeof text), 0);
    assert_string_equal(text, "");
    record_set(b, "program.version", json_string("9.9"), NULL);
    record_set(b, "started", json_string("later"), NULL);
    record_set(b, "machine.load_1m", json_real(7), NULL);
    json_int_t memory = json_integer_value(record_at(b, "machine.memory_bytes"));
    record_set(b, "machine.memory_bytes", json_integer(memory + 4096), NULL);
    record_set(b, "settings.effective.n_threads_used", json_integer(1), NULL);
    assert_int_equal(record_differences(a, b, text, sizeof text), 0);
    record_set(a, "settings.effective.n_threads", json_integer(4), NULL);
    record_set(b, "settings.effective.n_threads", json_integer(8), NULL);
    record_set(b, "machine.cpu", json_string("Another"), NULL);
    record_set(a, "machine.cpu", json_string("This"), NULL);
    assert_int_equal(record_differences(a, b, text, sizeof text), 2);
    assert_string_equal(text, "machine.cpu \"This\" and \"Another\"; settings.effective.n_threads 4 and 8");
    assert_int_equal(record_differences(a, b, shorter, sizeof shorter), 2);
    assert_string_equal(shorter, "machine.cpu \"This\" ");
    assert_int_equal(record_differences(a, b, NULL, 0), 2);
    record_miss(b, "machine.cpu", "not said", NULL); /* what nobody knows is no difference */
    assert_int_equal(record_differences(a, b, text, sizeof text), 1);
    json_decref(a);
    json_decref(b);
}

static void test_row(void **state)
{
    char row[64], shorter[10];
    json_t *r = json_pack("{s:{s:s}, s:{s:{s:i, s:s, s:s, s:s}}, s:{s:s, s:s}}", "model", "file", "/x/tl-q4km.gguf",
                          "experiment", "grid", "n_threads", 4, "type_k", "q8_0", "model", "a", "workload", "b",
                          "workload", "name", "short", "kind", "generate");
    (void)state;
    int n = record_row(r, row, sizeof row);
    assert_string_equal(row, "tl-q4km | n_threads=4 | type_k=q8_0 | short");
    assert_int_equal(n, strlen(row));
    assert_int_equal(record_row(r, shorter, sizeof shorter), n);
    assert_string_equal(shorter, "tl-q4km |");
    assert_int_equal(record_row(r, NULL, 0), n);
    json_decref(r);
    r = json_pack("{s:{s:s}, s:{s:n, s:s, s:i, s:i}}", "model", "file", "m", "workload", "name", "kind", "generate",
                  "n_prompt", 64, "n_gen", 8);
    record_row(r, row, sizeof row);
    assert_string_equal(row, "m | generate 64+8");
    json_decref(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reading),  cmocka_unit_test(test_reasons),     cmocka_unit_test(test_derive),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_failed),      cmocka_unit_test(test_complete),
        cmocka_unit_test(test_name),     cmocka_unit_test(test_differences), cmocka_unit_test(test_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
