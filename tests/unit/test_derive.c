/* test_derive.c - figures of made-up times, worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "derive.h"
#include "fault.h"
#include "metric.h"
#include "record.h"

#define MS 1000000

static json_t *record_of(const char *kind, const char *document)
{
    json_t *r = json_pack("{s:{s:s, s:s?}, s:s, s:{s:i}, s:[]}", "workload", "kind", kind, "document", document, "load",
                          "fresh", "times", "process_start_ns", 0, "requests");
    assert_non_null(r);
    return r;
}

/* Tokens at `first`, and every `gap` from there, by the engine's clock; `late` at the consumer's; milliseconds. */
static json_t *request(double submitted, double first, double gap, int n, double late)
{
    json_t *engine = json_array(), *consumer = json_array();
    for (int i = 0; i < n; i++) {
        json_array_append_new(engine, json_integer((json_int_t)((first + gap * i) * MS)));
        json_array_append_new(consumer, json_integer((json_int_t)((first + gap * i + late) * MS)));
    }
    double end = first + gap * (n - 1) + late;
    return json_pack("{s:I, s:I, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:o, s:o}", "submitted_ns",
                     (json_int_t)(submitted * MS), "started_ns", (json_int_t)((submitted + 2) * MS), "prefilled_ns",
                     (json_int_t)(first * MS), "ended_ns", (json_int_t)((end + 1) * MS), "n_prompt", 100, "n_cached",
                     20, "n_generated", n, "n_words", 7, "n_input_words", 30, "engine_ns", engine, "consumer_ns",
                     consumer);
}

static void is(const json_t *r, const char *metric, double value)
{
    double x = record_metric(r, metric);
    if (!(fabs(x - value) <= 1e-9 * fabs(value))) fail_msg("%s is %.12g instead of %.12g", metric, x, value);
    char path[80];
    strcpy(path, "derived.");
    strcat(path, metric);
    strcat(path, ".unit");
    assert_string_equal(record_text(r, path), metric_find(metric)->unit);
}

static void is_null(const json_t *r, const char *metric, const char *reason)
{
    char path[80];
    strcpy(path, "derived.");
    strcat(path, metric);
    strcat(path, ".value");
    assert_true(json_is_null(record_at(r, path)));
    assert_string_equal(record_reason(r, path), reason);
}

static void test_one(void **state)
{
    json_t *r = record_of("generate", NULL);
    (void)state;
    json_array_append_new(record_at(r, "requests"), request(100, 150, 10, 11, 1)); /* tokens at 150, 160 ... 250 */
    assert_int_equal(derive_figures(r, NULL), 0);
    is(r, "first_token_from_start_ms", 150);
    is(r, "queue_ms", 2);
    is(r, "ttft_ms", 50);
    is(r, "ttft_consumer_ms", 51);
    is(r, "prefill_ms", 48);
    is(r, "prefill_ts", 80 / 0.048);
    is(r, "decode_ms", 100);
    is(r, "decode_ts", 100);
    is(r, "tpot_ms", 10);
    is(r, "tpot_with_first_ms", 150.0 / 11);
    is(r, "e2e_ms", 151);
    is(r, "wall_ms", 151);
    is(r, "output_ts", 11 / 0.151);
    is(r, "total_ts", 91 / 0.151);
    is(r, "words_s", 7 / 0.151);
    is(r, "requests_s", 1 / 0.151);
    is(r, "itl_mean_ms", 10);
    is(r, "itl_p50_ms", 10);
    is(r, "itl_max_ms", 10);
    is(r, "itl_consumer_mean_ms", 10);
    is(r, "samples", 10);
    is_null(r, "itl_p95_ms", "needs 72 intervals, has 10");
    is_null(r, "itl_consumer_p99_ms", "needs 368 intervals, has 10");
    assert_null(record_at(r, "derived.input_words_s"));
    assert_null(record_at(r, "derived.records_s"));
    json_decref(r);
}

/* Medians of requests, sums over all, gaps pooled: 200 of 10 ms and 200 of 30. */
static void test_several(void **state)
{
    json_t *r = record_of("generate", "text");
    (void)state;
    json_array_append_new(record_at(r, "requests"), request(0, 100, 10, 201, 0));   /* to 2100 */
    json_array_append_new(record_at(r, "requests"), request(50, 350, 30, 201, 0));  /* to 6350 */
    json_array_append_new(record_at(r, "requests"), request(6500, 6520, 10, 2, 0)); /* to 6530 */
    assert_int_equal(derive_figures(r, NULL), 0);
    is(r, "ttft_ms", 100);
    is(r, "decode_ms", 2000);
    is(r, "tpot_ms", 10);
    is(r, "wall_ms", 6530);
    is(r, "output_ts", 404 / 6.530);
    is(r, "input_words_s", 90 / 6.530);
    is(r, "decode_ts", 401 / 8.010);
    is(r, "samples", 401);
    is(r, "itl_p50_ms", 10);
    is(r, "itl_p95_ms", 30);
    is(r, "itl_p99_ms", 30);
    is(r, "itl_mean_ms", 8010.0 / 401);
    json_decref(r);
}

static void test_few_tokens(void **state)
{
    json_t *r = record_of("generate", NULL);
    (void)state;
    json_array_append_new(record_at(r, "requests"), request(0, 10, 1, 1, 0));
    assert_int_equal(derive_figures(r, NULL), 0);
    is(r, "ttft_ms", 10);
    is(r, "output_ts", 100);
    is_null(r, "tpot_ms", "one token has no time after it");
    is_null(r, "decode_ts", "one token has no time after it");
    is_null(r, "itl_mean_ms", "one token has no time after it");
    is(r, "samples", 0);
    json_decref(r);
    r = record_of("generate", NULL);
    json_array_append_new(record_at(r, "requests"), request(0, 10, 1, 0, 0)); /* ends at 10 */
    assert_int_equal(derive_figures(r, NULL), 0);
    is(r, "e2e_ms", 10);
    is_null(r, "ttft_ms", "no token was generated");
    is_null(r, "output_ts", "no token was generated");
    json_decref(r);
    r = record_of("generate", NULL);
    assert_int_equal(derive_figures(r, NULL), 0);
    is_null(r, "wall_ms", "there was no request");
    is_null(r, "itl_p50_ms", "there was no request");
    json_decref(r);
}

/* Of a server nobody sees the engine: what is the consumer's is told, the rest is null for the reason given. */
static void test_consumer_alone(void **state)
{
    json_t *r = record_of("generate", NULL), *one = request(0, 40, 20, 10, 0);
    (void)state;
    const char *const hidden[] = {"engine_ns", "started_ns", "prefilled_ns", "n_cached"};
    for (size_t i = 0; i < COUNT_OF(hidden); i++) json_object_set_new(one, hidden[i], json_null());
    json_array_append_new(record_at(r, "requests"), one);
    assert_int_equal(record_say(r, "requests", "the server does not tell", NULL), 0);
    assert_int_equal(derive_figures(r, NULL), 0);
    is(r, "ttft_consumer_ms", 40);
    is(r, "itl_consumer_mean_ms", 20);
    is(r, "output_ts", 10 / 0.220);
    is(r, "samples", 9);
    is_null(r, "ttft_ms", "the server does not tell");
    is_null(r, "queue_ms", "the server does not tell");
    is_null(r, "prefill_ts", "the server does not tell");
    is_null(r, "total_ts", "the server does not tell");
    is_null(r, "itl_p50_ms", "the server does not tell");
    json_decref(r);
}

static void test_start(void **state)
{
    json_t *r = record_of("generate", NULL);
    (void)state;
    json_array_append_new(record_at(r, "requests"), request(100, 150, 10, 3, 0));
    json_object_set_new(r, "load", json_string("warm"));
    assert_int_equal(derive_figures(r, NULL), 0);
    is_null(r, "first_token_from_start_ms", "a request ran before the first that is measured");
    json_object_set_new(r, "load", json_string("fresh"));
    assert_int_equal(record_miss(r, "times.process_start_ns", "nobody knows", NULL), 0);
    assert_int_equal(derive_figures(r, NULL), 0);
    is_null(r, "first_token_from_start_ms", "when the process started is not known");
    json_decref(r);
}

static void test_kinds(void **state)
{
    json_t *r = record_of("embed", "text");
    (void)state;
    json_array_append_new(record_at(r, "requests"), request(0, 999, 1, 0, 1)); /* ends at 1000 */
    json_array_append_new(record_at(r, "requests"), request(0, 1999, 1, 0, 1));
    assert_int_equal(derive_figures(r, NULL), 0);
    is(r, "records_s", 1);
    is(r, "tokens_s", 100);
    is(r, "input_words_s", 30);
    assert_null(record_at(r, "derived.ttft_ms"));
    json_decref(r);
    r = record_of("score", "text");
    json_array_append_new(record_at(r, "requests"), request(0, 999, 1, 0, 1));
    assert_int_equal(derive_figures(r, NULL), 0);
    is(r, "tokens_s", 100);
    assert_null(record_at(r, "derived.input_words_s"));
    json_decref(r);
    r = record_of("load", NULL);
    assert_int_equal(derive_figures(r, NULL), 0);
    assert_int_equal(json_object_size(json_object_get(r, "derived")), 0);
    json_decref(r);
}

static void test_refused_memory(void **state)
{
    (void)state;
    for (uint64_t nth = 1;; nth++) {
        json_t *r = record_of("generate", NULL);
        json_array_append_new(record_at(r, "requests"), request(0, 10, 1, 9, 0));
        fault_arm(FAULT_ALLOC, nth, false);
        int status = derive_figures(r, NULL);
        bool hit = fault_count(FAULT_ALLOC) >= nth;
        fault_arm(FAULT_ALLOC, 0, false);
        json_decref(r);
        assert_int_equal(status, hit ? REDLINE_MEMORY : 0);
        if (!hit) break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),   cmocka_unit_test(test_several), cmocka_unit_test(test_few_tokens),
        cmocka_unit_test(test_consumer_alone), cmocka_unit_test(test_start), cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_refused_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
