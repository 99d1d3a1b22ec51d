/* test_ranks.c - rank tests against every possible outcome counted out, printed tables, and how often they err. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base.h"
#include "rng.h"
#include "stats.h"

/* Ranks 1 to n with the signs that the bits of `signs` give. */
static size_t signed_ranks(double *v, size_t n, unsigned signs)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        bool up = signs >> i & 1;
        v[i] = up ? (double)i + 1 : -(double)i - 1;
        sum += up ? i + 1 : 0;
    }
    stats_sort(v, n);
    return sum;
}

static void test_signed_rank_counted_out(void **state)
{
    enum { N = 9 };
    size_t as_high[N * (N + 1) / 2 + 1] = {0}; /* how many of all outcomes reach a sum */
    double v[N];
    (void)state;
    for (unsigned signs = 0; signs < 1u << N; signs++)
        for (size_t s = 0, sum = signed_ranks(v, N, signs); s <= sum; s++) as_high[s]++;
    for (unsigned signs = 0; signs < 1u << N; signs++) {
        size_t sum = signed_ranks(v, N, signs);
        struct stats_tails t = stats_signed_rank(v, N, 0);
        assert_float_equal(t.above, (double)as_high[sum] / (1 << N), 1e-12);
        assert_float_equal(t.below, (double)as_high[N * (N + 1) / 2 - sum] / (1 << N), 1e-12);
    }
}

/* The sides are the positions of the bits of `sides` among N. */
static size_t split(double *a, double *b, size_t n, unsigned sides)
{
    size_t n_a = 0, n_b = 0, wins = 0; /* of b over a */
    for (size_t i = 0; i < n; i++) {
        if (sides >> i & 1) {
            a[n_a++] = (double)i;
        } else {
            b[n_b++] = (double)i;
            wins += n_a;
        }
    }
    return wins;
}

static void test_rank_sum_counted_out(void **state)
{
    enum { N = 10, N_A = 4, MOST = N_A * (N - N_A) };
    size_t as_high[MOST + 1] = {0}, n_outcomes = 0;
    double a[N], b[N];
    (void)state;
    for (unsigned sides = 0; sides < 1u << N; sides++) {
        if (__builtin_popcount(sides) != N_A) continue;
        n_outcomes++;
        for (size_t s = 0, wins = split(a, b, N, sides); s <= wins; s++) as_high[s]++;
    }
    assert_int_equal(n_outcomes, 210);
    for (unsigned sides = 0; sides < 1u << N; sides++) {
        if (__builtin_popcount(sides) != N_A) continue;
        size_t wins = split(a, b, N, sides);
        struct stats_tails t = stats_rank_sum(a, N_A, b, N - N_A, 0);
        assert_float_equal(t.above, (double)as_high[wins] / 210, 1e-12);
        assert_float_equal(t.below, (double)as_high[MOST - wins] / 210, 1e-12);
        struct stats_tails moved = stats_rank_sum(a, N_A, b, N - N_A, 100.5);
        assert_float_equal(moved.below, 1.0 / 210, 1e-12);
    }
}

/* Critical values as textbooks print them: the largest sum that is significant at 5 % on two sides. */
static void test_printed_tables(void **state)
{
    static const struct { size_t n, sum; } ranks[] = {{6, 0}, {8, 3}, {10, 8}, {12, 13}, {15, 25}, {20, 52}, {25, 89}};
    static const struct { size_t n_a, n_b, u; } sums[] = {{4, 4, 0}, {5, 5, 2}, {5, 8, 6}, {8, 8, 13}, {10, 10, 23},
                                                         {10, 15, 39}, {20, 20, 127}};
    double low, high, v[40];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(v); i++) v[i] = exp2((double)i); /* no two means or differences are equal */
    for (size_t i = 0; i < COUNT_OF(ranks); i++) {
        size_t n = ranks[i].n, left_out = 0;
        assert_true(stats_centre_interval(v, n, 0.95, &low, &high));
        for (size_t a = 0; a < n; a++)
            for (size_t b = a; b < n; b++) left_out += (v[a] + v[b]) / 2 < low;
        assert_int_equal(left_out, ranks[i].sum);
    }
    assert_false(stats_centre_interval(v, 5, 0.95, &low, &high));
    for (size_t i = 0; i < COUNT_OF(sums); i++) {
        const double *b = v + 20;
        size_t left_out = 0;
        assert_true(stats_shift_interval(v, sums[i].n_a, b, sums[i].n_b, 0.95, &low, &high));
        for (size_t j = 0; j < sums[i].n_a; j++)
            for (size_t k = 0; k < sums[i].n_b; k++) left_out += b[k] - v[j] < low;
        assert_int_equal(left_out, sums[i].u);
    }
    assert_false(stats_shift_interval(v, 3, v, 4, 0.95, &low, &high));
}

/* Where the exact law ends, the normal one goes on: one value more changes chances of 0.1 % by less than a quarter. */
static void test_laws_meet(void **state)
{
    double v[61], a[43], b[43], above[2];
    (void)state;
    for (size_t n = 60; n <= 61; n++) {
        for (size_t i = 0; i < n; i++) v[i] = (double)i - 0.35 * (double)n;
        struct stats_tails t = stats_signed_rank(v, n, 0.01);
        assert_float_equal(t.below + t.above, 1, 1e-3);
        above[n - 60] = t.above;
    }
    assert_true(above[0] > 2e-4 && above[0] < 2e-3 && fabs(above[1] / above[0] - 1) < 0.25);
    for (size_t n = 42; n <= 43; n++) {
        for (size_t i = 0; i < n; i++) {
            a[i] = (double)i;
            b[i] = (double)i + 8.3;
        }
        struct stats_tails t = stats_rank_sum(a, n, b, n, 0);
        assert_float_equal(t.below + t.above, 1, 1e-3);
        above[n - 42] = t.above;
    }
    assert_true(above[0] > 2e-4 && above[0] < 4e-3 && fabs(above[1] / above[0] - 1) < 0.25);
}

static void test_centres(void **state)
{
    double v[] = {1, 2, 4, 100}, w[] = {0, 1}, low, high;
    (void)state;
    assert_float_equal(stats_centre(v, 3), 2.25, 0); /* 1 1.5 2 2.5 3 4 */
    assert_float_equal(stats_centre(v, 2), 1.5, 0);
    assert_float_equal(stats_centre(v, 1), 1, 0);
    assert_true(isnan(stats_centre(v, 0)));
    assert_float_equal(stats_shift(w, 2, v, 3), 1.5, 0); /* 0 1 1 2 3 4 */
    assert_float_equal(stats_shift(v, 4, w, 1), -3, 0);
    assert_true(isnan(stats_shift(v, 0, w, 2)));
    assert_true(stats_centre_interval(v, 4, 0.80, &low, &high));
    assert_float_equal(low, 1, 0);
    assert_float_equal(high, 100, 0);
}

/* Equal values: nothing can be told of them, and the tests say so. */
static void test_ties(void **state)
{
    double same[8] = {3, 3, 3, 3, 3, 3, 3, 3}, a[] = {1, 1, 1, 2, 2, 2}, b[] = {1, 1, 2, 2, 2, 2};
    (void)state;
    struct stats_tails t = stats_rank_sum(same, 8, same, 8, 0);
    assert_float_equal(t.above, 1, 0);
    assert_float_equal(t.below, 1, 0);
    t = stats_signed_rank(same, 8, 3);
    assert_true(t.above > 0.5 && t.below > 0.5);
    t = stats_signed_rank(same, 8, 2);
    assert_float_equal(t.above, 1.0 / 256, 1e-15);
    /* U = 21 of 36, its deviation 5.351 with ties: (21 - 18 - 0.5) / 5.351 = 0.4672 -> 0.3202 */
    t = stats_rank_sum(a, 6, b, 6, 0);
    assert_float_equal(t.above, 0.3202, 1e-4);
}

static void test_holm(void **state)
{
    double p[] = {0.01, 0.04, 0.03, 0.005}, q[4];
    (void)state;
    stats_holm(p, 4, q);
    assert_float_equal(q[0], 0.03, 1e-15);
    assert_float_equal(q[1], 0.06, 1e-15);
    assert_float_equal(q[2], 0.06, 1e-15);
    assert_float_equal(q[3], 0.02, 1e-15);
    stats_holm((double[]){0.9, 0.8, 0.9}, 3, q);
    assert_float_equal(q[0], 1, 0);
}

/* A skewed law, 12 against 9 values, one moved by 0.4: the interval holds the 0.4, the test rejects it as seldom as it
 * promises. */
static void test_promises(void **state)
{
    enum { TRIALS = 4000 };
    struct rng rng;
    int covered = 0, covered_centre = 0, rejected = 0;
    (void)state;
    rng_seed(&rng, 11);
    for (int t = 0; t < TRIALS; t++) {
        double a[12], b[9], low, high;
        for (int i = 0; i < 12; i++) a[i] = exp(rng_normal(&rng));
        for (int i = 0; i < 9; i++) b[i] = exp(rng_normal(&rng)) + 0.4;
        stats_sort(a, 12);
        stats_sort(b, 9);
        assert_true(stats_shift_interval(a, 12, b, 9, 0.95, &low, &high));
        covered += low <= 0.4 && 0.4 <= high;
        struct stats_tails tails = stats_rank_sum(a, 12, b, 9, 0.4);
        rejected += MIN(tails.above, tails.below) <= 0.025;
        for (int i = 0; i < 12; i++) a[i] = 7 + tan(3.1 * (rng_uniform(&rng) - 0.5)); /* symmetric, long tails */
        stats_sort(a, 12);
        assert_true(stats_centre_interval(a, 12, 0.95, &low, &high));
        covered_centre += low <= 7 && 7 <= high;
    }
    assert_in_range(covered, TRIALS * 945 / 1000, TRIALS * 965 / 1000); /* 95.5 % by the law */
    assert_in_range(covered_centre, TRIALS * 945 / 1000, TRIALS * 967 / 1000);
    assert_in_range(rejected, TRIALS * 35 / 1000, TRIALS * 55 / 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signed_rank_counted_out),
        cmocka_unit_test(test_rank_sum_counted_out),
        cmocka_unit_test(test_printed_tables),
        cmocka_unit_test(test_laws_meet),
        cmocka_unit_test(test_centres),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_holm),
        cmocka_unit_test(test_promises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
