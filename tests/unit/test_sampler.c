/* test_sampler.c - the choice of the next token: truncations, penalties, the shape of the draw. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "sampler.h"

enum { V = 8, DRAWS = 20000 };
/* probabilities 0.4, 0.2, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02 */
static const double p[V] = {0.4, 0.2, 0.1, 0.1, 0.08, 0.06, 0.04, 0.02};

static void draw_many(struct redline_sampling s, int *counts)
{
    struct sampler sampler;
    float logits[V];
    struct candidate candidates[V];
    for (int i = 0; i < V; i++) {
        logits[i] = (float)log(p[i]) + 3;
        counts[i] = 0;
    }
    s.seed = 5;
    assert_int_equal(sampler_init(&sampler, &s, V, 100, NULL), 0);
    for (int i = 0; i < DRAWS; i++) {
        int32_t id = sampler_choose(&sampler, logits, candidates);
        assert_true(fabs((double)sampler_logprob(logits, V, id) - log(p[id])) < 1e-5);
        counts[id]++;
    }
    sampler_fini(&sampler);
}

/* The first n tokens in proportion, the others never. */
static void expect_first(const int *counts, int n)
{
    double mass = 0;
    for (int i = 0; i < n; i++) mass += p[i];
    for (int i = 0; i < V; i++) {
        double want = i < n ? p[i] / mass : 0, got = (double)counts[i] / DRAWS;
        if (fabs(got - want) > 4.5 * sqrt(want * (1 - want) / DRAWS) + 1e-9)
            fail_msg("token %d was drawn %.4f of the time, expected %.4f", i, got, want);
    }
}

static void test_draws(void **state)
{
    int counts[V];
    (void)state;
    draw_many((struct redline_sampling){.temperature = 1}, counts);
    expect_first(counts, V);
    draw_many((struct redline_sampling){.temperature = 1, .top_k = 3}, counts);
    expect_first(counts, 3);
    draw_many((struct redline_sampling){.temperature = 1, .top_p = 0.55f}, counts);
    expect_first(counts, 2);
    draw_many((struct redline_sampling){.temperature = 1, .min_p = 0.22f}, counts);
    expect_first(counts, 4);
    draw_many((struct redline_sampling){.temperature = 0}, counts);
    assert_int_equal(counts[0], DRAWS);
}

static void test_temperature(void **state)
{
    int counts[V];
    double sum = 0;
    (void)state;
    draw_many((struct redline_sampling){.temperature = 2}, counts);
    for (int i = 0; i < V; i++) sum += sqrt(p[i]);
    for (int i = 0; i < V; i++) assert_true(fabs((double)counts[i] / DRAWS - sqrt(p[i]) / sum) < 0.02);
}

static void test_penalties(void **state)
{
    struct sampler s;
    float logits[V] = {2, 1.9f, -1, -1, -1, -1, -1, -1};
    struct candidate candidates[V];
    struct redline_sampling settings = {.repeat_penalty = 1.5f, .repeat_last_n = 2};
    (void)state;
    assert_int_equal(sampler_init(&s, &settings, V, 100, NULL), 0);
    assert_int_equal(sampler_choose(&s, logits, candidates), 0);
    sampler_accept(&s, 0);
    assert_int_equal(sampler_choose(&s, logits, candidates), 1); /* 2 / 1.5 < 1.9 */
    sampler_accept(&s, 3);
    sampler_accept(&s, 4); /* 0 has left the window of two */
    assert_int_equal(sampler_choose(&s, logits, candidates), 0);
    sampler_fini(&s);

    settings = (struct redline_sampling){.frequency_penalty = 0.06f};
    assert_int_equal(sampler_init(&s, &settings, V, 100, NULL), 0);
    sampler_accept(&s, 0);
    assert_int_equal(sampler_choose(&s, logits, candidates), 0); /* 1.94 */
    sampler_accept(&s, 0);
    assert_int_equal(sampler_choose(&s, logits, candidates), 1); /* 1.88 */
    sampler_fini(&s);
}

static void test_wrong_settings(void **state)
{
    const struct redline_sampling wrong[] = {
        {.temperature = -1}, {.temperature = NAN}, {.top_p = 1.5f}, {.min_p = -0.1f}, {.top_k = -1},
        {.repeat_last_n = -2}};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct sampler s;
        struct redline_err err = {0};
        assert_int_equal(sampler_init(&s, &wrong[i], V, 10, &err), REDLINE_ARG);
        assert_non_null(strstr(err.message, "must lie between"));
        sampler_fini(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draws),
        cmocka_unit_test(test_temperature),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_wrong_settings),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
