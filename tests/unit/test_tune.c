/* test_tune.c - the sweep of settings: its decisions on made-up machines, the sweep itself with a made-up worker (this
 * program, when it is called as one), and the file that it writes. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base.h"
#include "made_machine.h"
#include "mem.h"
#include "rng.h"
#include "scratch.h"
#include "tune.h"
#include "yaml_edit.h"

/* ---- a machine with known speeds -------------------------------------------------------------------- */

enum { N_THREADS = 4, N_UBATCH = 5, N = N_THREADS * N_UBATCH };

static const int thread_list[N_THREADS] = {1, 2, 3, 4}, ubatch_list[N_UBATCH] = {64, 128, 256, 512, 1024};

/* Two cores with two threads each: prompts gain a little from the second ones, generation loses; middling batches
 * are best. */
static double true_prompt(int n_threads, int n_ubatch)
{
    static const double by_threads[] = {0, 1, 1.95, 2.0, 2.1};
    return 100 * by_threads[n_threads] * (n_ubatch < 100 ? 0.86 : n_ubatch < 200 ? 0.97 : n_ubatch > 1000 ? 0.9 : 1);
}

static double true_decode(int n_threads)
{
    static const double by_threads[] = {0, 12, 20, 18, 17};
    return by_threads[n_threads];
}

static double true_seconds(int n_threads, int n_ubatch)
{
    return 512 / true_prompt(n_threads, n_ubatch) + 128 / true_decode(n_threads);
}

static double best_seconds(void)
{
    double best = INFINITY;
    for (int i = 0; i < N; i++) best = fmin(best, true_seconds(thread_list[i / N_UBATCH], ubatch_list[i % N_UBATCH]));
    return best;
}

/* What a busy machine makes of a speed: some per cent of noise, and now and then a neighbour who takes his time. */
static double disturb(double ts, struct rng *rng, double noise)
{
    ts *= exp(noise * rng_normal(rng));
    return rng_uniform(rng) < 0.04 ? ts / (1 + rng_uniform(rng)) : ts;
}

struct world {
    struct tune_candidate c[N];
    double prompt[TUNE_MOST_ROUNDS * N], decode[TUNE_MOST_ROUNDS * N];
    struct tune_samples s;
};

static void world_new(struct world *w)
{
    *w = (struct world){0};
    for (int i = 0; i < N; i++) {
        w->c[i].n_threads = thread_list[i / N_UBATCH];
        w->c[i].n_ubatch = ubatch_list[i % N_UBATCH];
    }
    w->s = (struct tune_samples){w->prompt, w->decode, N, 0, 512, 128};
}

/* A round of those that are left, or of all. */
static void world_round(struct world *w, struct rng *rng, double noise, bool all)
{
    double *prompt = w->prompt + w->s.n_rounds * N, *decode = w->decode + w->s.n_rounds * N;
    double weather = exp(0.2 * rng_normal(rng)); /* strikes all alike */
    for (int t = 0; t < N_THREADS; t++) {
        double ts = disturb(weather * true_decode(thread_list[t]), rng, noise);
        for (int u = 0; u < N_UBATCH; u++) {
            int i = t * N_UBATCH + u;
            double own = disturb(weather * true_prompt(thread_list[t], ubatch_list[u]), rng, noise);
            prompt[i] = all || !w->c[i].dropped ? own : NAN;
            decode[i] = all || !w->c[i].dropped ? ts : NAN;
        }
    }
    w->s.n_rounds++;
}

/* ---- lists ------------------------------------------------------------------------------------------- */

static void test_lists(void **state)
{
    int list[TUNE_MOST_LIST];
    const int always[] = {48, 2};
    (void)state;
    assert_int_equal(tune_thread_list(list, 2, always, 0), 2);
    assert_true(list[0] == 1 && list[1] == 2);
    assert_int_equal(tune_thread_list(list, 1, always + 1, 1), 2); /* a default beyond the processors is tried too */
    size_t n = tune_thread_list(list, 96, always, 2);
    assert_in_range(n, 16, 24);
    int seen = 0;
    for (size_t i = 0; i < n; i++) {
        assert_true(i == 0 || list[i] > list[i - 1]);
        seen += list[i] == 48 || list[i] == 8 || list[i] == 1;
    }
    assert_int_equal(seen, 3);
    assert_in_range(tune_thread_list(list, 512, always, 2), 20, TUNE_MOST_LIST);

    assert_int_equal(tune_ubatch_list(list, 512, 2048), 4);
    assert_true(list[0] == 64 && list[3] == 512);
    assert_int_equal(tune_ubatch_list(list, 513, 2048), 5);
    assert_int_equal(tune_ubatch_list(list, 100000, 2048), 6);
    assert_int_equal(tune_ubatch_list(list, 512, 256), 3);
    assert_int_equal(tune_ubatch_list(list, 1, 2048), 1);
    assert_int_equal(tune_ubatch_list(list, 512, 10), 1);
    assert_int_equal(list[0], 10);
}

/* ---- ratios ------------------------------------------------------------------------------------------ */

/* Two candidates; a is r times as fast as b in each round. */
static struct tune_ratio compare_rounds(const double *r, size_t n, enum tune_confidence confidence)
{
    double prompt[2 * TUNE_MOST_ROUNDS], decode[2 * TUNE_MOST_ROUNDS];
    for (size_t i = 0; i < n; i++) {
        double b = 10.0 + (double)(i * 7 % 5);
        prompt[2 * i] = decode[2 * i] = r[i] * b;
        prompt[2 * i + 1] = decode[2 * i + 1] = b;
    }
    struct tune_samples s = {prompt, decode, 2, n, 100, 100};
    return tune_compare(&s, 0, 1, confidence);
}

static void test_ratios(void **state)
{
    const double r[] = {1.10, 1.12, 1.08, 1.10, 1.11, 5.0}, gap[] = {1.1, NAN, 1.3};
    (void)state;
    struct tune_ratio none = compare_rounds(r, 0, TUNE_95), two = compare_rounds(r, 2, TUNE_95);
    assert_true(none.n == 0 && isnan(none.middle));
    assert_true(two.n == 2 && isnan(two.low) && fabs(two.middle - sqrt(1.10 * 1.12)) < 1e-12);
    struct tune_ratio five = compare_rounds(r, 5, TUNE_95);
    /* logarithms: mean 0.0970, deviation 0.01352; t of four degrees 2.776 */
    assert_float_equal(five.middle, 1.1019, 1e-4);
    assert_float_equal(five.low, 1.1019 * exp(-2.776 * 0.01352 / sqrt(5)), 2e-4);
    assert_float_equal(five.high, 1.1019 * exp(2.776 * 0.01352 / sqrt(5)), 2e-4);
    assert_true(compare_rounds(r, 5, TUNE_99).low < five.low);
    struct tune_ratio six = compare_rounds(r, 6, TUNE_95); /* one of them five times as fast */
    assert_float_equal(six.middle, 1.1075, 1e-3);
    assert_true(six.high < 1.14 && six.best > 4.9);
    assert_int_equal(compare_rounds(gap, 3, TUNE_95).n, 2);
}

/* The interval holds the truth about as often as it says, also with heavy tails (of 20000: 94.0 to 96.0 %). */
static void test_coverage(void **state)
{
    static const size_t rounds[] = {3, 6, 12};
    struct rng rng;
    (void)state;
    rng_seed(&rng, 3);
    for (size_t k = 0; k < COUNT_OF(rounds); k++) {
        int covered = 0;
        for (int trial = 0; trial < 4000; trial++) {
            double r[TUNE_MOST_ROUNDS];
            for (size_t i = 0; i < rounds[k]; i++) r[i] = disturb(1, &rng, 0.03) / disturb(1, &rng, 0.03);
            struct tune_ratio x = compare_rounds(r, rounds[k], TUNE_95);
            covered += x.low <= 1 && 1 <= x.high;
        }
        assert_in_range(covered, 4000 * 930 / 1000, 4000 * 975 / 1000);
    }
}

/* ---- decisions ------------------------------------------------------------------------------------------ */

static void test_without_noise(void **state)
{
    static struct world w;
    struct rng rng;
    size_t choice = SIZE_MAX;
    (void)state;
    world_new(&w);
    rng_seed(&rng, 1);
    for (int r = 0; r < 2; r++) {
        for (int i = 0; i < N; i++) {
            w.prompt[r * N + i] = true_prompt(w.c[i].n_threads, w.c[i].n_ubatch);
            w.decode[r * N + i] = true_decode(w.c[i].n_threads);
        }
        w.s.n_rounds++;
        assert_false(tune_decide(w.c, &w.s, 0.03, &choice)); /* two rounds are no knowledge */
    }
    for (int i = 0; i < N; i++) /* far behind */
        assert_int_equal(w.c[i].dropped, true_seconds(w.c[i].n_threads, w.c[i].n_ubatch) * 0.75 > best_seconds());
    memcpy(w.prompt + 2 * N, w.prompt, N * sizeof *w.prompt);
    memcpy(w.decode + 2 * N, w.decode, N * sizeof *w.decode);
    w.s.n_rounds++;
    assert_true(tune_decide(w.c, &w.s, 0.03, &choice));
    assert_int_equal(w.c[choice].n_threads, 2);
    assert_int_equal(w.c[choice].n_ubatch, 256);
    tune_summarise(w.c, &w.s, choice);
    assert_float_equal(w.c[choice].prompt_ts, 195, 1e-9);
    assert_float_equal(w.c[choice].decode_ratio, 1, 0);
    assert_float_equal(w.c[choice].prompt_ratio, 1.95 / 2.1, 1e-9);
    assert_int_equal(w.c[choice].n_rounds, 3);
    assert_float_equal(w.c[0].ratio, true_seconds(2, 256) / true_seconds(1, 64), 1e-9);
}

/* Equal ones: the fewest threads, then the smallest batch, wherever in the array. */
static void test_simplest(void **state)
{
    double same[4 * 3];
    struct tune_candidate c[4] = {{.n_threads = 4, .n_ubatch = 64}, {.n_threads = 2, .n_ubatch = 512},
                                  {.n_threads = 2, .n_ubatch = 128}, {.n_threads = 3, .n_ubatch = 64}};
    size_t choice = SIZE_MAX;
    double known;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(same); i++) same[i] = 10;
    struct tune_samples s = {same, same, 4, 3, 100, 10};
    assert_true(tune_decide(c, &s, 0.01, &choice));
    assert_int_equal(choice, 2);
    for (int i = 0; i < 4; i++) c[i].dropped = true; /* nobody is left */
    assert_false(tune_decide(c, &s, 0.01, &choice));
    assert_int_equal(tune_guess(c, &s, 1, &known), SIZE_MAX);
    assert_true(isnan(known));
}

/* Undecided, the default stays unless it is known to be slower. */
static void test_guess(void **state)
{
    static struct world w;
    struct rng rng;
    double known;
    enum { DEFAULT = 3 * N_UBATCH + 3, BEST = 1 * N_UBATCH + 2 };
    (void)state;
    world_new(&w);
    rng_seed(&rng, 2);
    for (int r = 0; r < 3; r++) world_round(&w, &rng, 0.2, true); /* nobody knows anything */
    assert_int_equal(tune_guess(w.c, &w.s, DEFAULT, &known), DEFAULT);
    assert_true(known > 0.03);
    assert_int_not_equal(tune_guess(w.c, &w.s, SIZE_MAX, &known), SIZE_MAX);
    world_new(&w);
    for (int r = 0; r < 6; r++) world_round(&w, &rng, 0.002, true); /* 4 threads are 13 % slower than 2 */
    size_t best = tune_guess(w.c, &w.s, DEFAULT, &known);
    assert_true(best == BEST || best == BEST + 1);
    assert_int_equal(tune_guess(w.c, &w.s, BEST, &known), BEST);
    w.c[BEST].dropped = true;
    assert_int_equal(tune_guess(w.c, &w.s, BEST, &known), BEST + 1);
}

struct tally {
    int n, decided, good, rounds, measured;
};

static void tune_once(struct world *w, struct rng *rng, double noise, struct tally *tally)
{
    size_t choice = SIZE_MAX;
    bool decided = false;
    world_new(w);
    while (w->s.n_rounds < TUNE_MOST_ROUNDS && !decided) {
        for (int i = 0; i < N; i++) tally->measured += !w->c[i].dropped;
        tally->rounds++;
        world_round(w, rng, noise, false);
        decided = tune_decide(w->c, &w->s, 0.03, &choice);
    }
    tally->n++;
    tally->decided += decided;
    if (!decided) return;
    tally->good += true_seconds(w->c[choice].n_threads, w->c[choice].n_ubatch) * 0.97 <= best_seconds();
}

/* What it chooses is within 3 % of the best of the full sweep, with noise of 1, 3 and 5 % and neighbours; it decides,
 * and does not measure everybody to the end. */
static void test_within_three_per_cent(void **state)
{
    static const struct {
        double noise;
        int good, decided; /* of 300, at least */
    } table[] = {{0.01, 294, 299}, {0.03, 288, 295}, {0.05, 285, 290}};
    static struct world w;
    struct rng rng;
    (void)state;
    rng_seed(&rng, 17);
    for (size_t k = 0; k < COUNT_OF(table); k++) {
        struct tally t = {0};
        for (int i = 0; i < 300; i++) tune_once(&w, &rng, table[k].noise, &t);
        double share = (double)t.measured / (N * t.rounds);
        print_message("noise %.0f %%: %d of %d decided, %d of them within 3 %% of the best, after %.1f rounds and "
                      "%.0f %% of the measurements\n", 100 * table[k].noise, t.decided, t.n, t.good,
                      (double)t.rounds / t.n, 100 * share);
        assert_true(t.decided >= table[k].decided);
        assert_true(t.good * 300 >= table[k].good * t.decided);
        assert_true(share < 0.8);
    }
}

/* A simpler one that is 4 % slower is hardly ever chosen; one that is as fast mostly is. */
static void test_boundary(void **state)
{
    double prompt[2 * TUNE_MOST_ROUNDS], decode[2 * TUNE_MOST_ROUNDS];
    struct rng rng;
    int n_simple[2] = {0};
    (void)state;
    rng_seed(&rng, 3);
    for (int trial = 0; trial < 2000; trial++) {
        struct tune_candidate c[2] = {{.n_threads = 1}, {.n_threads = 2}};
        struct tune_samples s = {prompt, decode, 2, 0, 100, 1};
        size_t choice = SIZE_MAX;
        do {
            size_t at = 2 * s.n_rounds++;
            decode[at] = decode[at + 1] = 1e9;
            prompt[at] = disturb(trial % 2 ? 9.6 : 10, &rng, 0.03);
            prompt[at + 1] = disturb(10, &rng, 0.03);
        } while (!tune_decide(c, &s, 0.03, &choice) && s.n_rounds < TUNE_MOST_ROUNDS);
        n_simple[trial % 2] += choice == 0;
    }
    assert_true(n_simple[1] < 1000 * 4 / 100); /* 2.3 % */
    assert_true(n_simple[0] > 1000 * 45 / 100); /* 52 %: the other one may win by luck before anything is known */
}

/* The rules on a recorded full sweep do what they do live: they see the same rounds. */
static void test_replay(void **state)
{
    static struct world live, full;
    struct rng a, b;
    size_t choice = SIZE_MAX, again = SIZE_MAX, measured = 0, n = 0;
    (void)state;
    rng_seed(&a, 5);
    rng_seed(&b, 5);
    world_new(&live);
    world_new(&full);
    do {
        for (int i = 0; i < N; i++) n += !live.c[i].dropped;
        world_round(&live, &a, 0.02, false);
    } while (!tune_decide(live.c, &live.s, 0.03, &choice));
    for (int r = 0; r < TUNE_MOST_ROUNDS; r++) world_round(&full, &b, 0.02, true);
    assert_int_equal(tune_replay(full.c, &full.s, 0.03, &again, &measured), live.s.n_rounds);
    assert_int_equal(again, choice);
    assert_int_equal(measured, n);
    full.s.n_rounds = 2;
    assert_int_equal(tune_replay(full.c, &full.s, 0.03, &again, &measured), 0);
}

/* ---- the sweep, with a made-up worker --------------------------------------------------------------------- */

/* What this program does when it is called as `PROGRAM lab worker`: TUNE_FAKE in the environment says how well. */
struct fake {
    const char *name;
    int n_threads, n_ubatch, n_prompt, n_gen, n_requests, seed;
    bool decode;
};

static void fake_log(const struct fake *f)
{
    FILE *log = fopen(getenv("TUNE_LOG"), "a");
    if (!log) return;
    fprintf(log, "%s %d %d %d %d %d\n", f->name, f->n_threads, f->n_ubatch, f->n_prompt, f->n_gen, f->n_requests);
    fclose(log);
}

static int fake_answer(const struct fake *f, const char *mode)
{
    struct rng rng;
    if (strcmp(mode, "all-fail") == 0 || (strcmp(mode, "three-fail") == 0 && f->n_threads == 3)) {
        fprintf(stderr, "a warning\nredline: %d threads cannot be had\n", f->n_threads);
        return 3;
    }
    if (strcmp(mode, "large-fail") == 0 && f->n_ubatch == 1024 && !f->decode)
        return printf("{\"failed\": \"a batch of %d does not fit\", \"derived\": {}}\n", f->n_ubatch) < 0;
    if (strcmp(mode, "dumb") == 0) return 0;
    if (strcmp(mode, "killed") == 0) raise(SIGKILL);
    if (strcmp(mode, "slow") == 0) usleep(200000);
    fake_log(f);
    rng_seed(&rng, (uint64_t)(f->seed * 1000003 + f->n_threads * 4099 + f->n_ubatch * 2 + f->decode));
    double ts = f->decode ? true_decode(f->n_threads) : true_prompt(f->n_threads, f->n_ubatch);
    ts *= exp(0.003 * rng_normal(&rng));
    printf("{\"derived\": {\"%s\": {\"value\": %.6f, \"unit\": \"tok/s\"}}, \"machine\": {\"cpu\": \"Made Up\", "
           "\"n_logical\": 4, \"quota\": null}, \"model\": {\"file\": \"a\\nb.gguf\", \"digest\": \"sha256:00\"}}\n",
           f->decode ? "decode_ts" : "prefill_ts", ts);
    return 0;
}

static int fake_worker(void)
{
    json_error_t why;
    json_t *task = json_loadf(stdin, 0, &why);
    struct fake f;
    if (!task || json_unpack(task, "{s:{s:i, s:i}, s:{s:s, s:i, s:i, s:i, s:i}}", "settings", "n_threads", &f.n_threads,
                             "n_ubatch", &f.n_ubatch, "workload", "name", &f.name, "n_prompt", &f.n_prompt, "n_gen",
                             &f.n_gen, "n_requests", &f.n_requests, "seed", &f.seed))
        return 2;
    f.decode = strcmp(f.name, "generation") == 0;
    int exit_code = fake_answer(&f, getenv("TUNE_FAKE"));
    json_decref(task);
    return exit_code;
}

enum { N_SWEEP_UBATCH = 3, N_SWEEP = N_THREADS * N_SWEEP_UBATCH };

static const int sweep_ubatch[N_SWEEP_UBATCH] = {64, 256, 1024};

static struct tune_params fake_params(const char *mode)
{
    setenv("TUNE_FAKE", mode, 1);
    setenv("TUNE_LOG", SCRATCH("log"), 1);
    unlink(SCRATCH("log"));
    return (struct tune_params){.program = "/proc/self/exe", .model = "a\nb.gguf", .n_threads = thread_list,
                                .n_ubatch = sweep_ubatch, .n_n_threads = N_THREADS, .n_n_ubatch = N_SWEEP_UBATCH,
                                .default_threads = 4, .default_ubatch = 256, .n_prompt = 512, .n_gen = 128,
                                .within = 0.03, .seed = 1};
}

static size_t log_lines(const char *wanted)
{
    char line[128];
    size_t n = 0;
    FILE *log = fopen(SCRATCH("log"), "r");
    assert_non_null(log);
    while (fgets(line, sizeof line, log)) n += strncmp(line, wanted, strlen(wanted)) == 0;
    fclose(log);
    return n;
}

static void test_sweep(void **state)
{
    struct redline_err err = {0};
    struct tune_result r;
    struct tune_params p = fake_params("well");
    (void)state;
    assert_int_equal(tune_run(&r, &p, &err), 0);
    const struct tune_candidate *c = &r.all[r.best];
    assert_true(r.decided);
    assert_true(true_seconds(c->n_threads, c->n_ubatch) * 0.97 <= best_seconds());
    assert_int_equal(r.n, N_SWEEP);
    assert_true(r.all[r.standard].n_threads == 4 && r.all[r.standard].n_ubatch == 256);
    /* one thread is out after two rounds, and generation is measured once for each number of threads */
    assert_int_equal(r.all[0].dropped_after, 2);
    assert_int_equal(log_lines("prompt 1 64 "), 2);
    assert_int_equal(log_lines("generation 1 "), 2);
    assert_int_equal(log_lines("prompt 2 256 512 1 "), (int)r.n_rounds);
    assert_int_equal(log_lines("generation 2 "), (int)r.n_rounds);
    assert_int_equal(log_lines("generation 4 "), (size_t)r.all[r.standard].n_rounds + 1); /* and the trial */
    assert_int_equal(log_lines(""), r.n_measured + 2);
    tune_free(&r);
    tune_free(&r);
}

static void test_full_sweep(void **state)
{
    struct redline_err err = {0};
    struct tune_result r;
    struct tune_params p = fake_params("well");
    (void)state;
    p.full = true;
    assert_int_equal(tune_run(&r, &p, &err), 0);
    assert_true(r.decided);
    for (size_t i = 0; i < r.n; i++) assert_int_equal(r.all[i].n_rounds, r.n_rounds);
    assert_true(r.replay_rounds >= 3 && r.replay_rounds <= r.n_rounds);
    assert_true(r.replay_measured < r.full_measured);
    assert_true(r.replay_best == r.best || r.all[r.replay_best].ratio > 0.97);
    tune_free(&r);
}

static void test_failures(void **state)
{
    struct redline_err err = {0};
    struct tune_result r;
    struct tune_params p = fake_params("three-fail");
    (void)state;
    assert_int_equal(tune_run(&r, &p, &err), 0);
    assert_true(r.decided && r.all[r.best].n_threads == 2);
    assert_string_equal(r.all[2 * N_SWEEP_UBATCH].failed, "3 threads cannot be had");
    tune_free(&r);
    p = fake_params("large-fail");
    assert_int_equal(tune_run(&r, &p, &err), 0);
    assert_string_equal(r.all[N_SWEEP_UBATCH - 1].failed, "a batch of 1024 does not fit");
    assert_true(r.all[N_SWEEP_UBATCH - 2].failed[0] == '\0');
    tune_free(&r);

    static const struct {
        const char *mode, *sentence;
        int status;
    } table[] = {{"all-fail", "4 threads cannot be had", REDLINE_SUPPORT},
                 {"dumb", "the worker wrote no record", REDLINE_FORMAT},
                 {"killed", "the worker was ended by signal 9", REDLINE_SUPPORT}};
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        p = fake_params(table[i].mode);
        assert_int_equal(tune_run(&r, &p, &err), table[i].status);
        assert_string_equal(err.message, table[i].sentence);
        tune_free(&r);
    }
    p = fake_params("well");
    p.program = "/no/such/program";
    assert_int_equal(tune_run(&r, &p, &err), REDLINE_IO);
    tune_free(&r);
    p.n_n_ubatch = 0;
    assert_int_equal(tune_run(&r, &p, &err), REDLINE_ARG);
    tune_free(&r);
}

static void stop_at(void *user, const char *what, double share)
{
    (void)share;
    if (strncmp(what, "round 2:", 8) == 0) *(int *)user = 1;
}

static void test_budget_and_stop(void **state)
{
    struct redline_err err = {0};
    struct tune_result r;
    struct tune_params p = fake_params("slow");
    static int stop;
    (void)state;
    p.budget_s = 0.9;
    assert_int_equal(tune_run(&r, &p, &err), REDLINE_CANCEL);
    assert_true(r.too_short);
    assert_non_null(strstr(err.message, "one round of 12 candidates takes about"));
    assert_non_null(strstr(err.message, "s has room for three"));
    tune_free(&r);
    p = fake_params("well");
    p.stop = &stop;
    p.user = &stop;
    p.progress = stop_at;
    assert_int_equal(tune_run(&r, &p, &err), 0);
    assert_false(r.decided);
    assert_int_equal(r.n_rounds, 1);
    assert_true(isnan(r.known_within));
    assert_int_equal(r.best, r.standard);
    tune_free(&r);
    assert_int_equal(tune_run(&r, &p, &err), REDLINE_CANCEL);
    assert_false(r.too_short);
    tune_free(&r);
}

/* Ten seconds of all processors between two looks, though none went by. */
static void work_of_others(void *user, const char *what, double share)
{
    static unsigned long ticks;
    char text[128];
    (void)what, (void)share, (void)user;
    ticks += 1000;
    snprintf(text, sizeof text, "cpu  %lu 0 0 5000 0 0 0 0 0 0\ncpu0 1 0 0 1 0 0 0 0 0 0\n", ticks);
    machine_put("/proc/stat", text);
}

static void test_others(void **state)
{
    const struct facts_source source = {.root = scratch_folder};
    struct redline_err err = {0};
    struct tune_result r;
    struct tune_params p = fake_params("well");
    struct buf out = {0};
    json_t *root;
    (void)state;
    machine_put_clean();
    work_of_others(NULL, NULL, 0);
    p.machine = &source;
    assert_int_equal(tune_run(&r, &p, &err), 0); /* nobody */
    assert_true(r.others == 0 && !r.busy && r.n_processors == 4 && r.others_limit == 1);
    assert_int_equal(tune_to_markdown(&r, &p, &out, &err), 0);
    assert_non_null(strstr(out.p, "\nother programs used 0.00 of 4 processors meanwhile\n"));
    tune_free(&r);
    out.n = 0;
    p.progress = work_of_others;
    assert_int_equal(tune_run(&r, &p, &err), 0);
    assert_true(r.decided && r.busy && r.others > 1);
    assert_int_equal(tune_to_yaml(&r, &p, (struct str){"", 0}, "x", "redline tune", "2026", &out, &err), 0);
    assert_non_null(strstr(out.p, "4 processors meanwhile (limit 1.00): this is not the machine's speed"));
    assert_int_equal(tune_to_json(&r, &p, &root, &err), 0);
    assert_true(json_is_true(json_object_get(root, "busy")));
    json_decref(root);
    tune_free(&r);
    p.progress = NULL;
    machine_clear();
    assert_int_equal(tune_run(&r, &p, &err), 0); /* nobody knows */
    assert_true(isnan(r.others) && !r.busy);
    tune_free(&r);
    buf_free(&out);
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

static void test_edit(void **state)
{
    static const struct {
        const char *before, *after; /* NULL: refused */
    } table[] = {
        {"", "llm:\n  primary:\n    n_threads: 7\n"},
        {"# mine", "# mine\nllm:\n  primary:\n    n_threads: 7\n"},
        {"---\n# mine\n...\n", "---\n# mine\nllm:\n  primary:\n    n_threads: 7\n...\n"},
        {"llm:\n  primary:\n    n_threads: 2 # two\n    seed: 1\n",
         "llm:\n  primary:\n    n_threads: 7 # two\n    seed: 1\n"},
        {"llm:\n  primary:\n    n_threads:\n", "llm:\n  primary:\n    n_threads: 7\n"},
        {"llm: {primary: {n_threads: 2, n_ctx: 9}}", "llm: {primary: {n_threads: 7, n_ctx: 9}}"},
        {"llm:\n # why\n primary: # here\n   # of it\n   model: \"\xc3\xa4\xe2\x82\xac.gguf\"\n",
         "llm:\n # why\n primary: # here\n   n_threads: 7\n   # of it\n   model: \"\xc3\xa4\xe2\x82\xac.gguf\"\n"},
        {"# \xc3\xa4\xe2\x82\xac\nllm: {primary: {n_ctx: 9}}\n",
         "# \xc3\xa4\xe2\x82\xac\nllm: {primary: {n_threads: 7, n_ctx: 9}}\n"},
        {"llm: {}\n", "llm: {primary: {n_threads: 7}}\n"},
        {"llm: {primary: }\n", "llm: {primary: {n_threads: 7}}\n"},
        {"llm:\n", "llm:\n  primary:\n    n_threads: 7\n"},
        {"llm: # all off\n#  primary:\n", "llm: # all off\n  primary:\n    n_threads: 7\n#  primary:\n"},
        {"llm: null\nlab: 1", "llm: \n  primary:\n    n_threads: 7\nlab: 1"},
        {"llm:\n  primary:", "llm:\n  primary:\n    n_threads: 7\n"},
        {"lab: {a: [1, 2], n_threads: 3}\n", "lab: {a: [1, 2], n_threads: 3}\nllm:\n  primary:\n    n_threads: 7\n"},
        {"lab:\n  primary: {n_threads: 1}\n# last",
         "lab:\n  primary: {n_threads: 1}\n# last\nllm:\n  primary:\n    n_threads: 7\n"},
        {"\xef\xbb\xbfllm:\r\n  primary:\r\n    n_threads: 2\r\n",
         "\xef\xbb\xbfllm:\r\n  primary:\r\n    n_threads: 7\r\n"},
        {"\"llm\":\n  'primary':\n    n_threads: 2\n", "\"llm\":\n  'primary':\n    n_threads: 7\n"},
        {"llm: 5\n", NULL},
        {"llm:\n  primary: [1]\n", NULL},
        {"llm:\n  primary:\n    n_threads: {a: 1}\n", NULL},
        {"- llm\n", NULL},
        {"llm: {\n", NULL},
        {"a: \xff\n", NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct redline_err err = {0};
        struct buf text = {0};
        assert_int_equal(buf_append_str(&text, str_of(table[i].before), &err), 0);
        int status = yaml_edit_set(&text, "llm.primary.n_threads", "7", "f.yaml", &err);
        assert_int_equal(status, table[i].after ? 0 : REDLINE_ARG);
        assert_string_equal(text.p ? text.p : "", table[i].after ? table[i].after : table[i].before);
        if (status) assert_memory_equal(err.message, "f.yaml:", 7);
        buf_free(&text);
    }
}

static struct buf written(const struct tune_result *r, const struct tune_params *p, const char *before,
                          const char *time)
{
    struct redline_err err = {0};
    struct buf out = {0};
    assert_int_equal(tune_to_yaml(r, p, str_of(before), "f.yaml", "redline tune 'a\nb.gguf'", time, &out, &err), 0);
    return out;
}

/* Everything of the user's stands there still, the evidence once and in comments, however often it is tuned. */
static void test_yaml(void **state)
{
    static const char mine[] = "# mine\nllm:\n  primary:\n    seed_of_mine: 1 # and this\n    n_threads: 64\n"
                               "other: [1]\n";
    struct redline_err err = {0};
    struct tune_result r;
    struct tune_params p = fake_params("well");
    (void)state;
    assert_int_equal(tune_run(&r, &p, &err), 0);
    struct buf first = written(&r, &p, mine, "2026-11-21 18:40 UTC"), second = written(&r, &p, first.p, "2027");
    const char *rest = strstr(first.p, "# redline tune: end\n");
    assert_memory_equal(first.p, "# redline tune: begin", 21);
    assert_non_null(rest);
    for (const char *line = first.p; line < rest; line = strchr(line, '\n') + 1) assert_int_equal(*line, '#');
    assert_string_equal(rest + 20, "# mine\nllm:\n  primary:\n    n_ubatch: 256\n    seed_of_mine: 1 # and this\n"
                                   "    n_threads: 2\nother: [1]\n");
    assert_non_null(strstr(first.p, "redline tune 'a?b.gguf'"));
    assert_non_null(strstr(first.p, "2026-11-21 18:40 UTC on Made Up, 4 processors"));
    assert_null(strstr(second.p, "2026-11-21"));
    assert_non_null(strstr(second.p, "# 2027 on Made Up"));
    assert_string_equal(strstr(second.p, "# mine"), strstr(first.p, "# mine"));
    assert_null(strstr(strstr(second.p, "tune: begin") + 1, "tune: begin"));
    buf_free(&first);
    buf_free(&second);

    /* a beginning without an end, or with other lines between, is the user's */
    static const char *const odd[] = {"# redline tune: begin\nother: 1\n# redline tune: end\n",
                                      "# redline tune: begin\n"};
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        first = written(&r, &p, odd[i], "2026");
        assert_non_null(strstr(first.p, odd[i]));
        buf_free(&first);
    }
    tune_free(&r);
}

static void test_texts(void **state)
{
    struct redline_err err = {0};
    struct tune_result r;
    struct tune_params p = fake_params("three-fail");
    struct buf out = {0};
    json_t *root;
    (void)state;
    p.full = true;
    assert_int_equal(tune_run(&r, &p, &err), 0);
    assert_int_equal(tune_to_markdown(&r, &p, &out, &err), 0);
    assert_non_null(strstr(out.p, "| 3 | 64 | - | - | - | 0 | cannot be measured: 3 threads cannot be had |"));
    assert_non_null(strstr(out.p, "\nwithout --full: n_threads 2, n_ubatch 256 after "));
    buf_free(&out);
    assert_int_equal(tune_to_json(&r, &p, &root, &err), 0);
    assert_int_equal(json_array_size(json_object_get(root, "candidates")), N_SWEEP);
    assert_true(json_is_true(json_object_get(root, "decided")));
    assert_true(json_is_object(json_object_get(root, "without_full")));
    assert_true(json_is_null(json_object_get(json_array_get(json_object_get(root, "candidates"), 2 * N_SWEEP_UBATCH),
                                             "ratio")));
    json_decref(root);
    tune_free(&r);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "lab") == 0 && strcmp(argv[2], "worker") == 0) return fake_worker();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_ratios),
        cmocka_unit_test(test_coverage),
        cmocka_unit_test(test_without_noise),
        cmocka_unit_test(test_simplest),
        cmocka_unit_test(test_guess),
        cmocka_unit_test(test_within_three_per_cent),
        cmocka_unit_test(test_boundary),
        cmocka_unit_test(test_replay),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_full_sweep),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_budget_and_stop), cmocka_unit_test(test_others),
        cmocka_unit_test(test_edit),
        cmocka_unit_test(test_yaml),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
