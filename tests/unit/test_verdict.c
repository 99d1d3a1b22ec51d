/* test_verdict.c - verdicts of made-up samples with known differences, and how often equal runs of a real, noisy
 * machine are called different. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base.h"
#include "rng.h"
#include "stats.h"
#include "verdict.h"

static const struct verdict_params usual = {.least_effect = 0.02, .alpha = 0.01};

/* n values around `middle`, with this spread of their logarithms. */
static void draw(double *out, size_t n, double middle, double spread, struct rng *rng)
{
    for (size_t i = 0; i < n; i++) out[i] = middle * exp(spread * rng_normal(rng));
}

static struct verdict_row row_of(const double *base, size_t n_base, const double *fresh, size_t n_fresh, bool paired)
{
    return (struct verdict_row){.name = "row", .base = base, .fresh = fresh, .n_base = n_base, .n_fresh = n_fresh,
                                .paired = paired, .higher_is_better = true};
}

static void test_clear_cases(void **state)
{
    static const struct {
        double factor;
        bool higher, paired;
        enum verdict expected;
    } cases[] = {
        {0.90, true, true, VERDICT_SLOWER},  {0.90, true, false, VERDICT_SLOWER},
        {1.10, true, true, VERDICT_FASTER},  {1.10, true, false, VERDICT_FASTER},
        {0.90, false, true, VERDICT_FASTER}, {1.10, false, false, VERDICT_SLOWER},
        {1.00, true, true, VERDICT_SAME},    {1.005, true, false, VERDICT_SAME},
        {1.02, false, true, VERDICT_UNDECIDED},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct rng rng;
        double a[40], b[40];
        rng_seed(&rng, 3);
        draw(a, 40, 100, 0.01, &rng);
        draw(b, 40, 100 * cases[i].factor, 0.01, &rng);
        struct verdict_row row = row_of(a, 40, b, 40, cases[i].paired);
        row.higher_is_better = cases[i].higher;
        assert_int_equal(verdict_decide(&row, 1, &usual, NULL), 0);
        assert_int_equal(row.verdict, cases[i].expected);
        assert_float_equal(row.ratio, cases[i].factor, 0.01);
        assert_true(row.low < row.ratio && row.ratio < row.high);
        assert_true((row.p_holm <= 0.01) == (row.verdict == VERDICT_FASTER || row.verdict == VERDICT_SLOWER));
        assert_true((row.n_more > 0) == (row.verdict == VERDICT_UNDECIDED));
    }
}

/* Six runs of each side can tell one row, not twelve. */
static void test_too_few(void **state)
{
    double a[6] = {100, 101, 102, 103, 104, 105}, b[6] = {50, 51, 52, 53, 54, 55};
    struct verdict_row rows[12];
    struct redline_err err = {0};
    (void)state;
    assert_int_equal(verdict_least_runs(false, 0.01, 1), 5);  /* 2 / 252 */
    assert_int_equal(verdict_least_runs(false, 0.01, 12), 7); /* 2 / 3432 */
    assert_int_equal(verdict_least_runs(true, 0.01, 1), 8);   /* 2 / 256 */
    rows[0] = row_of(a, 6, b, 6, false);
    assert_int_equal(verdict_decide(rows, 1, &usual, NULL), 0);
    assert_int_equal(rows[0].verdict, VERDICT_SLOWER);
    for (size_t i = 0; i < 12; i++) rows[i] = row_of(a, 6, b, 6, false);
    assert_int_equal(verdict_decide(rows, 12, &usual, NULL), 0);
    assert_int_equal(rows[11].verdict, VERDICT_UNDECIDED);
    assert_int_equal(rows[11].n_more, 1);
    rows[0] = row_of(a, 1, b, 0, false);
    assert_int_equal(verdict_decide(rows, 1, &usual, NULL), 0);
    assert_int_equal(rows[0].verdict, VERDICT_UNDECIDED);
    b[2] = 0;
    rows[0] = row_of(a, 6, b, 6, false);
    assert_int_equal(verdict_decide(rows, 1, &usual, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "row: 0 cannot be compared"));
    rows[0] = row_of(a, 6, b, 5, true);
    assert_int_equal(verdict_decide(rows, 1, &usual, &err), REDLINE_ARG);
}

/* Bytes of weights are what they are. */
static void test_what_never_varies(void **state)
{
    double a[] = {1000, 1000}, same[] = {1000, 1000, 1000}, more[] = {1100, 1100};
    struct verdict_row row = row_of(a, 2, same, 3, false);
    (void)state;
    row.higher_is_better = false;
    assert_int_equal(verdict_decide(&row, 1, &usual, NULL), 0);
    assert_int_equal(row.verdict, VERDICT_SAME);
    row.fresh = more;
    row.n_fresh = 2;
    assert_int_equal(verdict_decide(&row, 1, &usual, NULL), 0);
    assert_int_equal(row.verdict, VERDICT_SLOWER);
    assert_float_equal(row.ratio, 1.1, 1e-12);
}

/* As many more as it says decide, with the same noise, in most cases. */
static void test_more_runs_decide(void **state)
{
    struct rng rng;
    static double a[4000], b[4000];
    int n_undecided = 0, n_decided = 0;
    (void)state;
    rng_seed(&rng, 21);
    for (int t = 0; t < 200; t++) {
        draw(a, 4000, 100, 0.05, &rng);
        draw(b, 4000, 94, 0.05, &rng);
        struct verdict_row row = row_of(a, 16, b, 16, true);
        assert_int_equal(verdict_decide(&row, 1, &usual, NULL), 0);
        if (row.verdict != VERDICT_UNDECIDED || row.n_more == 0 || row.n_more > 3984) continue;
        n_undecided++;
        row = row_of(a, 16 + row.n_more, b, 16 + row.n_more, true);
        assert_int_equal(verdict_decide(&row, 1, &usual, NULL), 0);
        n_decided += row.verdict == VERDICT_SLOWER;
    }
    assert_true(n_undecided > 100);
    assert_true(n_decided * 2 > n_undecided);
}

static void test_noise(void **state)
{
    struct rng rng;
    double v[40], ratios[40], noise, doubled;
    (void)state;
    rng_seed(&rng, 9);
    draw(v, 40, 100, 0.05, &rng);
    assert_int_equal(verdict_noise(&noise, v, 40, 40, 40, 1, NULL), 0);
    assert_true(noise > 0.012 && noise < 0.05); /* 1.96 * 1.25 * 5 % * sqrt(2 / 40) = 2.7 % */
    assert_int_equal(verdict_noise(&doubled, v, 40, 10, 10, 1, NULL), 0);
    assert_float_equal(log1p(doubled), 2 * log1p(noise), 1e-12);
    for (size_t i = 20; i < 40; i++) v[i] *= 1.2; /* the machine has changed half way */
    assert_int_equal(verdict_noise(&noise, v, 40, 40, 40, 1, NULL), 0);
    assert_float_equal(noise, 0.2, 0.05);
    assert_int_equal(verdict_noise(&noise, v, 3, 3, 3, 1, NULL), 0);
    assert_true(isnan(noise));
    draw(ratios, 40, 1, 0.05, &rng);
    assert_int_equal(verdict_noise_paired(&noise, ratios, 40, 40, 1, NULL), 0);
    assert_true(noise > 0.010 && noise < 0.025); /* 1.96 * 5 % / sqrt(40) = 1.5 % */
    struct verdict_row row = row_of(v, 40, v, 40, true);
    row.noise = 0.07;
    assert_int_equal(verdict_decide(&row, 1, &usual, NULL), 0);
    assert_float_equal(row.least_effect, 0.07, 0);
}

static void test_looks(void **state)
{
    size_t at[VERDICT_MOST_LOOKS];
    (void)state;
    size_t n = verdict_looks(at, 8, 200, 0.01, 1);
    assert_int_equal(at[n - 1], 200);
    for (size_t i = 1; i < n; i++) assert_true(at[i] > at[i - 1]);
    assert_true(at[0] >= verdict_least_runs(true, 0.01 / (double)n, 1));
    assert_int_equal(verdict_looks(at, 8, 5, 0.01, 1), 1);
    assert_int_equal(at[0], 5);
}

/* ---- equal runs of a real machine -------------------------------------------------------------- */

enum { MOST_POOL = 400, N_ROWS = 12, MOST_PAIRS = 120 };

/* Figures of runs of one command, one after another, on two processors that a dozen others wanted too. */
struct pool {
    double values[3][MOST_POOL];
    size_t n;
};

static void read_pool(struct pool *pool)
{
    static const char *const names[] = {"tg128_ts", "pp256_ts", "wall_ms"};
    char line[512];
    FILE *file = fopen(SOURCE_DIR "/tests/data/lab/pool.jsonl", "r");
    assert_non_null(file);
    for (pool->n = 0; fgets(line, sizeof line, file); pool->n++) {
        json_t *run = json_loads(line, 0, NULL);
        assert_true(run && pool->n < MOST_POOL);
        for (size_t k = 0; k < COUNT_OF(names); k++)
            pool->values[k][pool->n] = json_number_value(json_object_get(run, names[k]));
        json_decref(run);
    }
    fclose(file);
    assert_true(pool->n >= 200);
}

struct gate_of_pool {
    double a[N_ROWS][MOST_PAIRS], b[N_ROWS][MOST_PAIRS];
    struct verdict_row rows[N_ROWS];
};

/* Fills rows with equal runs: drawn from the whole pool, or as they came, the new ones where the base ends. */
static void fill(struct gate_of_pool *g, const struct pool *pool, size_t n_rows, size_t n, bool paired, bool in_order,
                 bool with_noise, struct rng *rng)
{
    for (size_t r = 0; r < n_rows; r++) {
        const double *from = pool->values[r % 3];
        size_t start = rng_below(rng, pool->n - 2 * n);
        for (size_t i = 0; i < n; i++) {
            size_t turn = paired ? 2 * i + i % 2 : i, other = paired ? 2 * i + 1 - i % 2 : n + i; /* A B B A */
            g->a[r][i] = from[in_order ? start + turn : rng_below(rng, pool->n)];
            g->b[r][i] = from[in_order ? start + other : rng_below(rng, pool->n)];
        }
        g->rows[r] = row_of(g->a[r], n, g->b[r], n, paired);
        g->rows[r].higher_is_better = r % 3 != 2;
        if (with_noise && !paired) assert_int_equal(verdict_noise(&g->rows[r].noise, g->a[r], n, n, n, 1, NULL), 0);
    }
}

static bool any_alarm(const struct verdict_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].verdict == VERDICT_SLOWER || rows[i].verdict == VERDICT_FASTER) return true;
    return false;
}

/* At most 1 %, and three deviations of what chance adds to that. */
static int most_of(int n_gates)
{
    return n_gates / 100 + (int)(3 * sqrt(n_gates / 100.0));
}

/* Gates of equal runs that call anything faster or slower; least_effect 0 leaves the test nothing to hide behind. */
static int count_alarms(const struct pool *pool, int n_gates, size_t n_rows, size_t n, bool paired, bool in_order,
                        double least_effect)
{
    static struct gate_of_pool g;
    struct verdict_params params = {.least_effect = least_effect, .alpha = 0.01};
    struct rng rng;
    int alarms = 0;
    rng_seed(&rng, 77);
    for (int t = 0; t < n_gates; t++) {
        fill(&g, pool, n_rows, n, paired, in_order, least_effect > 0, &rng);
        assert_int_equal(verdict_decide(g.rows, n_rows, &params, NULL), 0);
        alarms += any_alarm(g.rows, n_rows);
    }
    return alarms;
}

static void test_false_alarms(void **state)
{
    static const struct {
        size_t n_rows, n;
        bool paired;
    } gates[] = {{1, 10, false}, {1, 40, false}, {12, 10, false}, {12, 24, false},
                 {1, 12, true},  {1, 40, true},  {12, 14, true},  {12, 24, true}};
    static struct pool pool;
    (void)state;
    read_pool(&pool);
    for (size_t i = 0; i < COUNT_OF(gates); i++) {
        int n_gates = gates[i].n_rows == 1 ? 1000 : 200;
        int as_used = count_alarms(&pool, n_gates, gates[i].n_rows, gates[i].n, gates[i].paired, false, 0.02);
        int bare = count_alarms(&pool, n_gates, gates[i].n_rows, gates[i].n, gates[i].paired, false, 0);
        print_message("%2zu rows of %2zu %s: of %d gates %d alarms, %d without a least effect or noise\n",
                      gates[i].n_rows, gates[i].n, gates[i].paired ? "pairs" : "runs ", n_gates, as_used, bare);
        assert_in_range(as_used, 0, n_gates / 100);
        assert_in_range(bare, 0, most_of(n_gates));
        /* turns, as the machine went on changing: what becomes of runs taken apart then, no statistics can mend */
        if (!gates[i].paired) continue;
        assert_in_range(count_alarms(&pool, n_gates, gates[i].n_rows, gates[i].n, true, true, 0.02), 0, n_gates / 100);
    }
}

/* The live gate's way: looked at again and again as pairs come in, ended by the first look that decides. */
static bool alarm_with_looks(const struct pool *pool, size_t n_rows, double least_effect, struct rng *rng)
{
    static struct gate_of_pool g;
    size_t at[VERDICT_MOST_LOOKS], n_looks = verdict_looks(at, 8, MOST_PAIRS, 0.01, n_rows);
    struct verdict_params params = {.least_effect = least_effect, .alpha = 0.01 / (double)n_looks};
    fill(&g, pool, n_rows, MOST_PAIRS, true, false, false, rng);
    for (size_t look = 0; look < n_looks; look++) {
        for (size_t r = 0; r < n_rows; r++) g.rows[r].n_base = g.rows[r].n_fresh = at[look];
        assert_int_equal(verdict_decide(g.rows, n_rows, &params, NULL), 0);
        if (any_alarm(g.rows, n_rows)) return true;
    }
    return false;
}

static void test_false_alarms_with_looks(void **state)
{
    static struct pool pool;
    struct rng rng;
    (void)state;
    read_pool(&pool);
    rng_seed(&rng, 5);
    for (size_t n_rows = 1; n_rows <= 12; n_rows += 11) {
        int n_gates = n_rows == 1 ? 1000 : 200, as_used = 0, bare = 0;
        for (int t = 0; t < n_gates; t++) as_used += alarm_with_looks(&pool, n_rows, 0.02, &rng);
        for (int t = 0; t < n_gates; t++) bare += alarm_with_looks(&pool, n_rows, 0, &rng);
        print_message("%2zu rows, with looks: of %d gates %d alarms, %d without a least effect\n", n_rows, n_gates,
                      as_used, bare);
        assert_in_range(as_used, 0, n_gates / 100);
        assert_in_range(bare, 0, most_of(n_gates));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clear_cases),
        cmocka_unit_test(test_too_few),
        cmocka_unit_test(test_what_never_varies),
        cmocka_unit_test(test_more_runs_decide),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_looks),
        cmocka_unit_test(test_false_alarms),
        cmocka_unit_test(test_false_alarms_with_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
