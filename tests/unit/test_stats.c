/* test_stats.c - location and spread of a few values, and the interval of the median. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base.h"
#include "rng.h"
#include "stats.h"

static void test_few_values(void **state)
{
    double v[] = {3, 1, 2, 10}, one[] = {7};
    (void)state;
    stats_sort(v, COUNT_OF(v));
    assert_float_equal(v[0], 1, 0);
    assert_float_equal(v[3], 10, 0);
    assert_float_equal(stats_mean(v, 4), 4, 1e-15);
    assert_float_equal(stats_median(v, 4), 2.5, 0);
    assert_float_equal(stats_median(v, 3), 2, 0);
    assert_float_equal(stats_quantile(v, 4, 0), 1, 0);
    assert_float_equal(stats_quantile(v, 4, 0.5), 2.5, 0);
    assert_float_equal(stats_quantile(v, 4, 0.9), 3 + 0.7 * 7, 1e-12);
    assert_float_equal(stats_quantile(v, 4, 1), 10, 0);
    assert_float_equal(stats_quantile(one, 1, 0.99), 7, 0);
    assert_true(isnan(stats_quantile(v, 0, 0.5)));
    assert_float_equal(stats_deviation(v, 4), sqrt(50.0 / 3), 1e-12);
    assert_float_equal(stats_deviation(one, 1), 0, 0);
    assert_true(isnan(stats_mean(v, 0)) && isnan(stats_median(v, 0)));
}

/* How many values lie outside of the interval at either end, for 95 %: tables of the sign test (Dixon and
 * Mood 1946); those of 1000 and more summed in whole numbers, where 2^-n is less than a double can be. */
static void test_interval_widths(void **state)
{
    static const struct {
        size_t n, left_out; /* left_out of SIZE_MAX: no interval */
    } table[] = {{0, SIZE_MAX}, {1, SIZE_MAX}, {5, SIZE_MAX}, {6, 0}, {8, 0}, {9, 1}, {11, 1}, {12, 2}, {20, 5},
                 {25, 7}, {50, 17}, {100, 39}, {1000, 468}, {1074, 504}, {1075, 504},
                 {1100, 517}, {2000, 955}, {5000, 2430}};
    double v[5000], low, high;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(v); i++) v[i] = (double)i;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        bool there = stats_median_interval(v, table[i].n, 0.95, &low, &high);
        assert_int_equal(there, table[i].left_out != SIZE_MAX);
        if (!there) continue;
        assert_float_equal(low, (double)table[i].left_out, 0);
        assert_float_equal(high, (double)(table[i].n - 1 - table[i].left_out), 0);
    }
}

/* The interval holds the true median as often as it promises, whatever the distribution. */
static void test_interval_covers(void **state)
{
    enum { N = 15, TRIALS = 20000 };
    struct rng rng;
    int covered = 0;
    (void)state;
    rng_seed(&rng, 5);
    for (int t = 0; t < TRIALS; t++) {
        double v[N], low, high;
        for (int i = 0; i < N; i++) v[i] = exp(3 * rng_normal(&rng)); /* median 1, a long tail */
        stats_sort(v, N);
        assert_true(stats_median_interval(v, N, 0.95, &low, &high));
        covered += low <= 1 && 1 <= high;
    }
    assert_in_range(covered, TRIALS * 955 / 1000, TRIALS * 975 / 1000); /* 96.5 % by the binomial */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_values),
        cmocka_unit_test(test_interval_widths),
        cmocka_unit_test(test_interval_covers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
