/* test_import.c - real outputs of other tools, and broken ones, as records. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "file.h"
#include "import.h"
#include "record.h"

static json_t *import_sample(const char *name, enum import_format expected)
{
    char path[512];
    struct buf text = {0};
    struct redline_err err = {0};
    json_t *records = NULL, *record;
    size_t i;
    snprintf(path, sizeof path, SOURCE_DIR "/tests/data/lab/%s", name);
    assert_int_equal(file_read(&text, path, &err), 0);
    assert_int_equal(import_recognise(buf_str(&text)), expected);
    if (import_text(&records, buf_str(&text), expected, &err)) fail_msg("%s: %s", name, err.message);
    json_array_foreach(records, i, record) assert_int_equal(record_check(record, &err), 0);
    buf_free(&text);
    return records;
}

static double at(json_t *records, size_t i, const char *path)
{
    return record_number(json_array_get(records, i), path);
}

/* 2 prompts x 2 depths and 1 generation x 2 depths, three samples each; JSON and JSONL are two runs of one program. */
static void test_llama_bench(void **state)
{
    static const char *const names[] = {"llama-bench-lc.json", "llama-bench-lc.jsonl"};
    (void)state;
    for (size_t f = 0; f < COUNT_OF(names); f++) {
        json_t *records = import_sample(names[f], IMPORT_LLAMA_BENCH), *first = json_array_get(records, 0);
        assert_int_equal(json_array_size(records), 18);
        assert_string_equal(record_text(first, "program.name"), "llama.cpp");
        assert_string_equal(record_text(first, "program.commit"), "3f545becc");
        assert_string_equal(record_text(first, "workload.name"), "pp32");
        assert_string_equal(record_text(first, "settings.effective.device"), "cpu");
        assert_null(record_text(first, "machine.kernel"));
        assert_string_equal(record_reason(first, "machine.kernel"), "llama-bench does not say");
        assert_non_null(strstr(record_reason(first, "settings.effective.flash_attn"), "left to the program"));
        assert_true(isnan(record_metric(first, "decode_ts")));
        json_decref(records);
    }
    json_t *records = import_sample(names[0], IMPORT_LLAMA_BENCH); /* samples_ns: 12131501, ... */
    assert_float_equal(record_metric(json_array_get(records, 0), "prefill_ts"), 32e9 / 12131501, 1e-6);
    assert_float_equal(record_metric(json_array_get(records, 0), "prefill_ms"), 12.131501, 1e-9);
    json_decref(records);
}

static void test_llama_bench_csv(void **state)
{
    json_t *records = import_sample("llama-bench-lc.csv", IMPORT_LLAMA_BENCH);
    (void)state;
    assert_int_equal(json_array_size(records), 6); /* no samples: a row each */
    assert_float_equal(record_metric(json_array_get(records, 0), "prefill_ts"), 32e9 / 7774279, 1e-6);
    assert_string_equal(record_text(json_array_get(records, 0), "started"), "2026-11-21T18:26:22Z");
    json_decref(records);
}

/* ik_llama.cpp has no n_depth: "tg8@pp16". */
static void test_other_dialect(void **state)
{
    static const struct { const char *name; size_t n_each; } files[] = {{"llama-bench-ik.json", 3},
                                                                        {"llama-bench-ik.csv", 1}};
    (void)state;
    for (size_t f = 0; f < COUNT_OF(files); f++) {
        json_t *records = import_sample(files[f].name, IMPORT_LLAMA_BENCH);
        size_t last = 3 * files[f].n_each - 1;
        assert_int_equal(json_array_size(records), last + 1);
        assert_string_equal(record_text(json_array_get(records, 0), "program.contestant"), "ik_llama.cpp");
        assert_true(json_is_true(record_at(json_array_get(records, 0), "settings.effective.flash_attn")));
        assert_string_equal(record_text(json_array_get(records, last), "workload.name"), "tg8 @ d16");
        assert_float_equal(at(records, last, "workload.n_depth"), 16, 0);
        assert_float_equal(at(records, last, "workload.n_prompt"), 0, 0);
        assert_true(record_metric(json_array_get(records, last), "decode_ts") > 0);
        json_decref(records);
    }
}

static void test_batched_bench(void **state)
{
    json_t *records = import_sample("llama-batched-bench.jsonl", IMPORT_BATCHED_BENCH);
    (void)state;
    assert_int_equal(json_array_size(records), 2);
    const json_t *two = json_array_get(records, 1); /* t_pp 0.020798, t_tg 0.048169, two at once */
    assert_float_equal(record_number(two, "workload.concurrency"), 2, 0);
    assert_float_equal(record_metric(two, "decode_ts"), 8 / 0.048169, 1e-6);
    assert_float_equal(record_metric(two, "output_ts"), 16 / 0.068967, 1e-2);
    assert_float_equal(record_metric(two, "total_ts"), 1159.975098, 0.01); /* as the tool says: `speed` */
    json_decref(records);
}

static void test_sweep_bench(void **state)
{
    json_t *records = import_sample("llama-sweep-bench.jsonl", IMPORT_SWEEP_BENCH);
    (void)state;
    assert_true(json_array_size(records) >= 2);
    assert_float_equal(at(records, 0, "workload.n_depth"), 0, 0);
    assert_true(at(records, 1, "workload.n_depth") > 0);
    assert_true(record_metric(json_array_get(records, 1), "prefill_ts") > 0);
    assert_true(isnan(record_metric(json_array_get(records, 1), "output_ts")));
    json_decref(records);
}

static void test_vllm(void **state)
{
    json_t *records = import_sample("vllm-serve.json", IMPORT_VLLM_SERVE);
    const json_t *r = json_array_get(records, 0);
    (void)state;
    assert_string_equal(record_text(r, "started"), "2026-08-01T12:00:00");
    assert_string_equal(record_text(r, "workload.arrival"), "poisson");
    assert_float_equal(record_metric(r, "ttft_consumer_ms"), 30.5, 0);
    assert_float_equal(record_metric(r, "itl_consumer_p99_ms"), 6.5, 0); /* 1016 intervals are enough */
    assert_float_equal(record_metric(r, "wall_ms"), 5000, 0);
    assert_true(isnan(record_metric(r, "tpot_ms"))); /* the client's, ours is the engine's */
    json_decref(records);
}

static void test_what_stands_between(void **state)
{
    struct str text = STR("loading...\n[\n{\"n_prompt\": 8, \"n_gen\": 0, \"avg_ns\": 1000000}\n"
                          "repacked {3} tensors\n,\n"
                          "{\"n_prompt\": 0, \"n_gen\": 4, \"avg_ns\": 2000000, "
                          "\"samples_ns\": [1000000, 3000000]}\n]\n");
    json_t *records = NULL;
    (void)state;
    assert_int_equal(import_recognise(text), IMPORT_LLAMA_BENCH);
    assert_int_equal(import_text(&records, text, IMPORT_LLAMA_BENCH, NULL), 0);
    assert_int_equal(json_array_size(records), 3);
    assert_float_equal(record_metric(json_array_get(records, 2), "decode_ts"), 4000.0 / 3, 1e-9);
    json_decref(records);
}

static void test_broken(void **state)
{
    static const struct { const char *text, *sentence; } cases[] = {
        {"nothing of that kind\n", "line 1: neither records nor"},
        {"", "line 1: neither records nor"},
        {"{\"n_prompt\": 8, \"n_gen\": 0, \"avg_ns\": 1}\n{\"n_prompt\": 8, \"n_g\n",
         "line 2: this row is no whole JSON"},
        {"[\n{\"n_prompt\": 8, \"n_gen\": 0, \"avg_ns\": 1}\n", "the array of rows has no end"},
        {"{\"n_prompt\": 0, \"n_gen\": 0, \"avg_ns\": 1}\n", "line 1: there is no test"},
        {"{\"n_prompt\": 8, \"n_gen\": 0, \"avg_ns\": 1, \"samples_ns\": [1, 0]}\n", "line 1: samples_ns holds a 0"},
        {"build_commit,n_prompt,n_gen,avg_ns\n\"a\",\"8\",\"0\"\n", "line 2: 3 fields, the head has 4"},
        {"{\"pp\": 8, \"t_tg\": 0, \"pl\": 1, \"t_pp\": 0}\n", "line 1: there is no test in pp and tg"},
        {"{\"request_throughput\": 1, \"total_output_tokens\": 0, \"completed\": 0}\n",
         "line 1: no request was completed"},
        {"{\"version\": 1, \"program\": {}}\n", "line 1: "},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct redline_err err = {0};
        struct str text = str_of(cases[i].text);
        json_t *records = NULL;
        enum import_format format = import_recognise(text);
        if (format == IMPORT_UNKNOWN && strchr(cases[i].text, '{')) format = IMPORT_LLAMA_BENCH;
        if (format == IMPORT_UNKNOWN && strchr(cases[i].text, ',')) format = IMPORT_LLAMA_BENCH;
        assert_int_equal(import_text(&records, text, format, &err), REDLINE_FORMAT);
        assert_null(records);
        if (!strstr(err.message, cases[i].sentence)) fail_msg("'%s', expected '%s'", err.message, cases[i].sentence);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama_bench), cmocka_unit_test(test_llama_bench_csv),
        cmocka_unit_test(test_other_dialect), cmocka_unit_test(test_batched_bench),
        cmocka_unit_test(test_sweep_bench), cmocka_unit_test(test_vllm), cmocka_unit_test(test_what_stands_between),
        cmocka_unit_test(test_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
