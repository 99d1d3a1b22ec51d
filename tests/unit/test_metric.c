/* test_metric.c - the dictionary, and what quantiles need before they are told. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "metric.h"
#include "rng.h"
#include "stats.h"

static void test_table(void **state)
{
    static const char *const used[] = {"load_ms",     "first_token_from_start_ms", "ttft_ms",      "ttft_consumer_ms",
                                       "itl_p99_ms",  "itl_consumer_p95_ms",       "output_ts",    "words_s",
                                       "records_s",   "share_of_bandwidth",        "ppl",          "samples"};
    (void)state;
    for (size_t i = 0; i < n_metrics; i++) {
        const struct metric *m = &metrics[i];
        assert_ptr_equal(metric_find(m->name), m); /* no name twice */
        assert_true(*m->label && strlen(m->definition) > 20);
        assert_null(strchr(m->name, '.'));
        size_t n = strlen(m->name);
        if (n > 3 && strcmp(m->name + n - 3, "_ms") == 0) assert_string_equal(m->unit, "ms");
        if (n > 6 && strcmp(m->name + n - 6, "_bytes") == 0) assert_string_equal(m->unit, "bytes");
        if (n > 3 && strcmp(m->name + n - 3, "_ts") == 0) assert_string_equal(m->unit, "tok/s");
        for (size_t j = 0; j < i; j++) assert_string_not_equal(metrics[j].definition, m->definition);
    }
    for (size_t i = 0; i < COUNT_OF(used); i++) assert_non_null(metric_find(used[i]));
    assert_null(metric_find("speed"));
    assert_null(metric_find(""));
}

static void test_needed(void **state)
{
    (void)state;
    assert_int_equal(metric_samples_for(0.5), 6);
    assert_int_equal(metric_samples_for(0.95), 72);
    assert_int_equal(metric_samples_for(0.99), 368);
    assert_int_equal(metric_samples_for(0.05), 72);
    assert_int_equal(metric_samples_for(0.999), 3688);
    assert_true(metric_samples_for(1) == SIZE_MAX && metric_samples_for(0) == SIZE_MAX);
}

/* Of 0, 1, 2 ..., so that values are ranks. */
static void test_quantile(void **state)
{
    double v[500];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(v); i++) v[i] = (double)i;
    struct metric_quantile q = metric_quantile(v, 71, 0.95);
    assert_true(isnan(q.value) && isnan(q.low) && isnan(q.high) && q.n == 71 && q.needed == 72);
    q = metric_quantile(v, 101, 0.95);
    assert_float_equal(q.value, 95, 1e-12);
    q = metric_quantile(v, 100, 0.5);
    assert_float_equal(q.value, 49.5, 1e-12);
    assert_float_equal(q.low, 39, 0);  /* the 40th and the 61st of 100: Dixon and Mood 1946 */
    assert_float_equal(q.high, 60, 0);
    q = metric_quantile(v, 6, 0.5);
    assert_float_equal(q.low, 0, 0);
    assert_float_equal(q.high, 5, 0);
    q = metric_quantile(v, 500, 0.99);
    assert_float_equal(q.value, 494.01, 1e-9);
    assert_float_equal(q.low, 489, 0);  /* at most 489 below: 1.3 %; at most 490: 3.1 % */
    assert_float_equal(q.high, 499, 0); /* all 500 below: 0.7 %; at least 499: 4.0 % */
}

static void test_covers(void **state)
{
    enum { N = 120, TRIALS = 4000 };
    struct rng rng;
    int covered = 0, beyond = 0;
    (void)state;
    rng_seed(&rng, 9);
    for (int t = 0; t < TRIALS; t++) {
        double v[N];
        for (int i = 0; i < N; i++) v[i] = rng_uniform(&rng);
        stats_sort(v, N);
        struct metric_quantile q = metric_quantile(v, N, 0.95);
        covered += q.low <= 0.95 && 0.95 <= q.high;
        beyond += q.high < 0.95;
    }
    assert_in_range(covered, TRIALS * 95 / 100, TRIALS);
    assert_in_range(beyond, 0, TRIALS * 30 / 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_needed),
        cmocka_unit_test(test_quantile),
        cmocka_unit_test(test_covers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
