/* test_pace.c - how many threads a step gets, on made-up machines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base.h"
#include "cpu/cpu_pace.h"
#include "rng.h"

/* What a step of one token takes with n threads, in ns, and how much of the members' time they sleep. */
struct machine {
    double (*step_ns)(int n);
    double slept;  /* share, with more than one thread */
    double noise;  /* deviation, as a share */
};

struct outcome {
    double ns;       /* all steps together */
    double at_most;  /* steps with all threads, as a share of the steps */
    int last;        /* threads of the last step */
};

static struct outcome live(struct pace *p, const struct machine *m, struct rng *rng, double seconds)
{
    struct outcome o = {0};
    int n_steps = 0;
    while (o.ns < seconds * 1e9) {
        int n = pace_threads(p, 1);
        assert_in_range(n, 1, p->n_most);
        double ns = m->step_ns(n) * (1 + m->noise * (2 * rng_uniform(rng) - 1));
        pace_learn(p, 1, (uint64_t)ns, n > 1 ? (uint64_t)(m->slept * n * ns) : 0);
        o.ns += ns;
        o.at_most += n == p->n_most;
        n_steps++;
        o.last = n;
    }
    o.ns /= n_steps;
    o.at_most /= n_steps;
    return o;
}

static double quiet(int n) { return 8e6 / n + 1e5; }
static double two_busy(int n) { return n == 1 ? 3e5 : 2e6; }       /* a small model beside two programs */
static double one_is_enough(int n) { return n == 1 ? 1e8 : 1.2e8; } /* a large one */
static double two_better(int n) { return n == 1 ? 5e7 : 3.5e7; }
static double dip_at_12(int n) { return 1e7 * (1 + 0.05 * (n < 12 ? 12 - n : n - 12)); }

static void test_quiet_machine_tries_nothing(void **state)
{
    static const int sizes[] = {1, 2, 16};
    static const struct machine m = {quiet, 0.1, 0.3};
    struct rng rng;
    (void)state;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct pace p;
        pace_init(&p, sizes[i]);
        assert_float_equal(live(&p, &m, &rng, 60).at_most, 1, 0);
    }
}

static void test_finds_the_better_number(void **state)
{
    static const struct {
        struct machine machine;
        double best_ns;
        int best;
    } cases[] = {
        {{two_busy, 0.5, 0.2}, 3e5, 1},
        {{one_is_enough, 0.3, 0.05}, 1e8, 1},
        {{two_better, 0.3, 0.05}, 3.5e7, 2},
    };
    struct rng rng;
    (void)state;
    rng_seed(&rng, 2);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct pace p;
        pace_init(&p, 2);
        live(&p, &cases[i].machine, &rng, 4);
        assert_true(live(&p, &cases[i].machine, &rng, 30).ns <= 1.03 * cases[i].best_ns);
        assert_int_equal(p.n_home, cases[i].best);
    }
}

static void test_climbs_among_many(void **state)
{
    static const struct machine m = {dip_at_12, 0.3, 0.02};
    struct rng rng;
    struct pace p;
    (void)state;
    rng_seed(&rng, 3);
    pace_init(&p, 32);
    live(&p, &m, &rng, 30);
    assert_true(live(&p, &m, &rng, 30).ns <= 1.1 * dip_at_12(12));
}

static void test_neighbours_come_and_go(void **state)
{
    static const struct machine alone = {quiet, 0.02, 0.1}, beside = {two_busy, 0.5, 0.2};
    struct rng rng;
    struct pace p;
    (void)state;
    rng_seed(&rng, 4);
    pace_init(&p, 2);
    for (int again = 0; again < 3; again++) {
        live(&p, &alone, &rng, 10);
        assert_int_equal(p.n_home, 2);
        live(&p, &beside, &rng, 0.5); /* gives way at once */
        assert_int_equal(p.n_home, 1);
        live(&p, &beside, &rng, 20);
        assert_int_equal(p.n_home, 1);
    }
}

/* A step with another number of tokens is never compared with the ones before; prompts get all threads. */
static void test_other_steps(void **state)
{
    struct pace p;
    (void)state;
    pace_init(&p, 2);
    for (int i = 0; i < 100; i++) {
        pace_learn(&p, 512, 1000000000, 1000000000);
        assert_int_equal(pace_threads(&p, 512), 2);
    }
    for (int i = 0; i < 1000; i++) {
        int n_tokens = 1 + i % 2; /* by turns: no block ever fills */
        assert_int_equal(pace_threads(&p, n_tokens), 2);
        pace_learn(&p, n_tokens, 20000000, 30000000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quiet_machine_tries_nothing),
        cmocka_unit_test(test_finds_the_better_number),
        cmocka_unit_test(test_climbs_among_many),
        cmocka_unit_test(test_neighbours_come_and_go),
        cmocka_unit_test(test_other_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
