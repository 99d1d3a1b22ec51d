/* test_conduct.c - what is measured next, when it is enough, and that a run can be left at any point: with a made-up
 * worker, which is this program when it is called as one. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "clock.h"
#include "conduct.h"
#include "file.h"
#include "mem.h"
#include "proc.h"
#include "record.h"
#include "rng.h"
#include "scratch.h"

/* ---- a made-up worker ------------------------------------------------------------------------ */

/* How far the speeds of a workload of this name lie apart, as a share. */
static double spread_of(const char *workload)
{
    return strcmp(workload, "wide") == 0 ? 0.5 : 0.01;
}

static json_t *answer(const json_t *task)
{
    const char *workload = record_text(task, "workload.name"), *version = getenv("MADE_UP_VERSION");
    double repetition = record_number(task, "experiment.repetition");
    double speed = 100 * (1 + spread_of(workload) * (fmod(repetition * 7, 11) / 10 - 0.5));
    json_t *r = json_pack("{s:i,s:s,s:s,s:O,s:{s:s,s:s,s:s},s:{s:s,s:s},s:{s:O},s:{s:s},s:O,s:{},s:{}}", "version", 1,
                          "id", "made-up", "started", "2026-01-01T00:00:00Z", "experiment",
                          record_at(task, "experiment"), "program", "name", "redline", "contestant", "redline",
                          "version", version ? version : "1", "model", "file", "m", "digest", "sha256:0", "settings",
                          "requested", record_at(task, "requested"), "workload", "name", workload, "load",
                          record_at(task, "load"), "derived", "missing");
    if (!r || record_derive(r, "output_ts", speed, "", NULL) || record_complete(r, "made up", NULL)) exit(3);
    return r;
}

static int work_on(const json_t *task)
{
    const char *workload = record_text(task, "workload.name"), *mask = getenv("REDLINE_CPU");
    const char *wanted_mask = record_text(task, "settings.cpu_mask");
    if (wanted_mask && (!mask || strcmp(mask, wanted_mask) != 0)) return 9;
    if (!(record_number(task, "started_ns") <= (double)clock_ns())) return 8;
    if (strcmp(workload, "refused") == 0) {
        fprintf(stderr, "redline: warning: a word before\nredline: the context is 5 tokens, the limit is 4\n");
        return 3;
    }
    if (strcmp(workload, "silent") == 0) return 5;
    if (strcmp(workload, "dies") == 0) raise(SIGKILL);
    if (strcmp(workload, "talks") == 0) return puts("hello") < 0;
    if (strcmp(workload, "hangs") == 0) sleep(600);
    json_t *record = answer(task);
    json_dumpf(record, stdout, JSON_COMPACT);
    json_decref(record);
    return 0;
}

static int work(void)
{
    struct buf text = {0};
    if (file_read(&text, "-", NULL)) return 3;
    json_t *task = json_loadb(text.p, text.n, 0, NULL);
    buf_free(&text);
    int code = work_on(task);
    json_decref(task);
    return code;
}

/* ---- experiments ------------------------------------------------------------------------------ */

static struct buf self;
static const char *const alone[] = {"redline"};
static const struct conduct_who only_us = {alone, 1};

static struct experiment experiment_of(const char *text)
{
    struct experiment e;
    struct redline_err err = {0};
    char path[512];
    assert_int_equal(file_write(scratch_path(path, "x.yaml"), text, strlen(text), NULL), 0);
    if (experiment_read(&e, path, NULL, &err)) fail_msg("%s", err.message);
    return e;
}

#define GRID "name: x\ngrid: {n_threads: [1, 2, 3, 4]}\nworkloads: [{name: steady, n_prompt: 1}]\n"

/* A record as the plan needs it. */
static void add(json_t *records, size_t cell, const char *who, double speed, const char *failed)
{
    json_t *r = json_pack("{s:{s:I},s:{s:s}}", "experiment", "cell", (json_int_t)cell, "program", "contestant", who);
    if (failed) json_object_set_new(r, "failed", json_string(failed));
    else assert_int_equal(record_derive(r, "output_ts", speed, "", NULL), 0);
    json_array_append_new(records, r);
}

static bool next_of(struct conduct_step *step, const struct experiment *e, json_t *records,
                    const struct conduct_who *who)
{
    struct conduct_tally *tally = NULL;
    assert_int_equal(conduct_tally(&tally, e, records, who, NULL), 0);
    bool more = conduct_next(step, e, tally, who);
    mem_free(tally);
    return more;
}

/* ---- order ----------------------------------------------------------------------------------- */

/* Does all that is to be done, each at 100 tok/s; the cells in order. */
static size_t play(const char *text, const struct conduct_who *who, struct conduct_step *steps, size_t most)
{
    struct experiment e = experiment_of(text);
    json_t *records = json_array();
    size_t n = 0;
    while (n < most && next_of(&steps[n], &e, records, who)) {
        add(records, steps[n].cell, who->names[steps[n].contestant], 100, NULL);
        n++;
    }
    json_decref(records);
    experiment_free(&e);
    return n;
}

static void test_rounds(void **state)
{
    (void)state;
    struct conduct_step a[64], b[64];
    assert_int_equal(play(GRID "repetitions: 5\n", &only_us, a, 64), 20);
    assert_int_equal(play(GRID "repetitions: 5\n", &only_us, b, 64), 20);
    assert_memory_equal(a, b, 20 * sizeof *a);
    bool rounds_differ = false;
    for (size_t r = 0; r < 5; r++) {
        unsigned seen = 0;
        for (size_t i = 0; i < 4; i++) {
            seen |= 1u << a[4 * r + i].cell;
            assert_int_equal(a[4 * r + i].repetition, r);
            rounds_differ |= r > 0 && a[4 * r + i].cell != a[i].cell;
        }
        assert_int_equal(seen, 15);
    }
    assert_true(rounds_differ);
    assert_int_equal(play(GRID "repetitions: 5\norder: {seed: 2}\n", &only_us, b, 64), 20);
    bool seeds_differ = false;
    for (size_t i = 0; i < 20; i++) seeds_differ |= a[i].cell != b[i].cell;
    assert_true(seeds_differ);
}

static void test_one_after_another(void **state)
{
    (void)state;
    struct conduct_step s[64];
    assert_int_equal(play(GRID "repetitions: 3\norder: {interleave: false}\n", &only_us, s, 64), 12);
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(s[i].cell, i / 3);
        assert_int_equal(s[i].repetition, i % 3);
    }
}

static void test_contestants(void **state)
{
    (void)state;
    const char *names[] = {"redline", "b", "c"};
    const struct conduct_who two = {names, 2}, three = {names, 3};
    struct conduct_step s[64];
    assert_int_equal(play(GRID "repetitions: 2\n", &two, s, 64), 16);
    for (size_t i = 0; i < 16; i += 2) { /* neighbours in time, the first another one from round to round */
        assert_int_equal(s[i].cell, s[i + 1].cell);
        assert_int_equal(s[i].contestant, s[i].repetition % 2);
        assert_int_equal(s[i + 1].contestant, 1 - s[i].contestant);
    }
    assert_int_equal(play(GRID "repetitions: 3\n", &three, s, 64), 36);
}

/* ---- enough ---------------------------------------------------------------------------------- */

#define UNTIL(least, most, width) \
    "name: x\nworkloads: [{name: a, n_prompt: 1}]\n" \
    "repetitions: {least: " least ", most: " most ", width: " width ", of: output_ts}\n"

/* How many records of these speeds it takes. */
static size_t needed(const char *text, const double *speeds, size_t n)
{
    struct experiment e = experiment_of(text);
    json_t *records = json_array();
    struct conduct_step step;
    size_t taken = 0;
    while (taken < n && next_of(&step, &e, records, &only_us)) add(records, 0, "redline", speeds[taken++], NULL);
    json_decref(records);
    experiment_free(&e);
    return taken;
}

static void test_enough(void **state)
{
    (void)state;
    const double same[40] = {100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100};
    double near[40], far[40], unknown[40];
    for (size_t i = 0; i < 40; i++) {
        near[i] = 100 + (double)(i % 2) * 4;
        far[i] = 100 + (double)(i % 5) * 20;
        unknown[i] = NAN;
    }
    assert_int_equal(needed(UNTIL("3", "20", "5 %"), same, 40), 6); /* an interval takes six */
    assert_int_equal(needed(UNTIL("8", "20", "5 %"), same, 40), 8);
    assert_int_equal(needed(UNTIL("3", "20", "5 %"), near, 40), 6);
    assert_int_equal(needed(UNTIL("3", "20", "3 %"), near, 40), 20); /* two heaps: the interval holds both */
    assert_int_equal(needed(UNTIL("3", "20", "5 %"), far, 40), 20);
    assert_int_equal(needed(UNTIL("3", "5", "5 %"), same, 40), 5);
    assert_int_equal(needed(UNTIL("3", "7", "5 %"), unknown, 40), 7);
    assert_int_equal(needed("name: x\nworkloads: [{name: a, n_prompt: 1}]\nrepetitions: 4\n", far, 40), 4);
}

static void test_failed_once(void **state)
{
    (void)state;
    struct experiment e = experiment_of(GRID "repetitions: 3\n");
    const char *names[] = {"redline", "b"};
    const struct conduct_who two = {names, 2};
    json_t *records = json_array();
    struct conduct_step step;
    size_t n = 0, of_failed = 0;
    while (n < 100 && next_of(&step, &e, records, &two)) {
        bool fails = step.cell == 1 && step.contestant == 1;
        of_failed += fails;
        add(records, step.cell, names[step.contestant], 1, fails ? "it cannot" : NULL);
        n++;
    }
    assert_int_equal(of_failed, 1);
    assert_int_equal(n, 4 * 2 * 3 - 2); /* who did not fail goes on */
    json_decref(records);
    experiment_free(&e);
}

/* ---- running --------------------------------------------------------------------------------- */

struct stopper {
    int left;        /* measurements; negative: no stop */
    bool dies;       /* instead of stopping */
    volatile int stop;
    size_t n_told;
    double left_s;
    size_t n_settled;
};

static void on_progress(void *user, const struct conduct_progress *p)
{
    struct stopper *s = user;
    s->n_told++;
    s->left_s = p->left_s;
    s->n_settled = p->n_settled;
    assert_true(p->n_done < p->n_expected);
    assert_non_null(p->now);
    if (s->left-- != 0) return;
    if (s->dies) raise(SIGKILL);
    s->stop = 1;
}

static int run(struct conduct_result *result, const struct experiment *e, struct stopper *s, bool again,
               struct redline_err *err)
{
    struct store *store = NULL;
    char path[512];
    const struct conduct_params params = {.program = self.p, .again = again, .progress = on_progress, .user = s,
                                          .stop = &s->stop};
    int status = store_open(&store, scratch_path(path, "store.jsonl"), err);
    *result = (struct conduct_result){0};
    if (!status) status = conduct_run(result, e, store, &params, err);
    store_close(&store);
    return status;
}

static void forget(void)
{
    unlink(SCRATCH("store.jsonl"));
}

/* That the last series of the store has each repetition of each cell once, in the order of its numbers. */
static void check_complete(const struct experiment *e, size_t n_records, size_t n_wanted)
{
    json_t *all = NULL, *record;
    struct redline_err err = {0};
    char path[512];
    size_t i, n = 0;
    unsigned seen[64] = {0};
    if (store_read(&all, scratch_path(path, "store.jsonl"), &err)) fail_msg("%s", err.message);
    assert_int_equal(json_array_size(all), n_records);
    const char *series = record_text(json_array_get(all, n_records - 1), "experiment.series");
    json_array_foreach (all, i, record) {
        if (strcmp(record_text(record, "experiment.series"), series) != 0) continue;
        assert_string_equal(record_text(record, "experiment.digest"), e->digest);
        assert_true(record_number(record, "experiment.order") == (double)n);
        unsigned bit = 1u << (unsigned)record_number(record, "experiment.repetition");
        size_t cell = (size_t)record_number(record, "experiment.cell");
        assert_false(seen[cell] & bit);
        seen[cell] |= bit;
        n++;
    }
    assert_int_equal(n, n_wanted);
    json_decref(all);
}

static void test_run(void **state)
{
    (void)state;
    struct experiment e = experiment_of("name: x\nsettings: {cpu_mask: scalar}\ngrid: {n_threads: [1, 2]}\n"
                                        "workloads: [{name: steady, n_prompt: 1}, {name: wide, n_prompt: 1}]\n"
                                        "repetitions: {least: 3, most: 8, width: 5 %, of: output_ts}\n");
    struct stopper s = {.left = -1};
    struct conduct_result r;
    struct redline_err err = {0};
    forget();
    if (run(&r, &e, &s, false, &err)) fail_msg("%s", err.message);
    assert_int_equal(r.end, CONDUCT_DONE);
    assert_int_equal(r.n_new, 2 * 6 + 2 * 8);
    assert_int_equal(r.n_before, 0);
    assert_int_equal(r.n_settled, 4);
    assert_int_equal(r.n_wide, 2);
    assert_int_equal(r.n_failed, 0);
    assert_int_equal(s.n_told, 28);
    assert_true(s.left_s > 0);
    assert_int_equal(json_array_size(r.records), 28);
    assert_string_equal(record_text(json_array_get(r.records, 3), "experiment.of"), "output_ts");
    check_complete(&e, 28, 28);
    conduct_result_free(&r);
    experiment_free(&e);
}

/* Stopped after every single measurement, the same is measured in the same order. */
static void test_go_on(void **state)
{
    (void)state;
    struct experiment e = experiment_of(GRID "repetitions: 3\n");
    struct conduct_result r;
    struct redline_err err = {0};
    struct conduct_step wanted[12];
    char series[32] = "";
    assert_int_equal(play(GRID "repetitions: 3\n", &only_us, wanted, 12), 12);
    forget();
    for (size_t i = 0; i < 12; i++) {
        struct stopper s = {.left = 1}; /* gives the second up */
        if (run(&r, &e, &s, false, &err)) fail_msg("%s", err.message);
        assert_int_equal(r.end, i < 11 ? CONDUCT_STOPPED : CONDUCT_DONE);
        assert_int_equal(r.n_before, i);
        assert_int_equal(r.n_new, 1);
        if (i == 0) snprintf(series, sizeof series, "%s", r.series);
        assert_string_equal(r.series, series);
        assert_true(record_number(json_array_get(r.records, i), "experiment.cell") == (double)wanted[i].cell);
        conduct_result_free(&r);
    }
    check_complete(&e, 12, 12);
    struct stopper s = {.left = -1}; /* it is complete: another series */
    assert_int_equal(run(&r, &e, &s, false, &err), 0);
    assert_int_equal(r.n_new, 12);
    assert_string_not_equal(r.series, series);
    conduct_result_free(&r);
    check_complete(&e, 24, 12);
    s = (struct stopper){.left = 2};
    assert_int_equal(run(&r, &e, &s, false, &err), 0);
    conduct_result_free(&r);
    s = (struct stopper){.left = -1}; /* the one that was begun is left alone */
    assert_int_equal(run(&r, &e, &s, true, &err), 0);
    assert_int_equal(r.n_before, 0);
    conduct_result_free(&r);
    check_complete(&e, 38, 12);
    experiment_free(&e);
}

static void test_failures(void **state)
{
    (void)state;
    static const struct {
        const char *workload, *sentence;
    } wanted[] = {
        {"refused", "the context is 5 tokens, the limit is 4"},
        {"silent", "the measuring process ended with exit code 5 and said nothing"},
        {"dies", "the measuring process was ended by signal 9, as the system does where memory runs out"},
        {"talks", "the measuring process wrote no record: "},
    };
    struct experiment e = experiment_of("name: x\nworkloads: [{name: refused, n_prompt: 1}, {name: silent, "
                                        "n_prompt: 1}, {name: dies, n_prompt: 1}, {name: talks, n_prompt: 1}, "
                                        "{name: steady, n_prompt: 1}]\n"
                                        "repetitions: 3\norder: {interleave: false}\n");
    struct stopper s = {.left = -1};
    struct conduct_result r;
    struct redline_err err = {0};
    forget();
    if (run(&r, &e, &s, false, &err)) fail_msg("%s", err.message);
    assert_int_equal(r.n_new, 4 + 3);
    assert_int_equal(r.n_failed, 4);
    assert_int_equal(r.n_settled, 5);
    assert_string_equal(r.failure, wanted[0].sentence);
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        const json_t *record = json_array_get(r.records, i);
        const char *sentence = record_text(record, "failed");
        assert_memory_equal(sentence, wanted[i].sentence, strlen(wanted[i].sentence));
        assert_string_equal(record_text(record, "workload.name"), wanted[i].workload);
        assert_string_equal(record_text(record, "program.contestant"), "redline");
        assert_null(record_at(record, "derived"));
        assert_int_equal(record_check(record, NULL), 0);
    }
    conduct_result_free(&r);
    s = (struct stopper){.left = -1};
    assert_int_equal(run(&r, &e, &s, false, &err), 0);
    assert_int_equal(r.n_before, 0); /* failures do not keep a series from being complete */
    conduct_result_free(&r);
    experiment_free(&e);
}

/* Ctrl-C does not wait for a measurement that takes long. */
static struct stopper *interrupted;
static void interrupt(int signal_number)
{
    (void)signal_number;
    interrupted->stop = 1;
}

static void test_stop(void **state)
{
    (void)state;
    struct experiment e = experiment_of("name: x\nworkloads: [{name: hangs, n_prompt: 1}]\n");
    struct stopper s = {.left = -1};
    struct conduct_result r;
    struct redline_err err = {0};
    uint64_t before = clock_ns();
    forget();
    interrupted = &s;
    signal(SIGALRM, interrupt);
    alarm(1);
    if (run(&r, &e, &s, false, &err)) fail_msg("%s", err.message);
    assert_int_equal(r.end, CONDUCT_STOPPED);
    assert_int_equal(r.n_new, 0);
    assert_true(clock_ns() - before < 300 * (uint64_t)1000000000); /* and not 600 */
    conduct_result_free(&r);
    experiment_free(&e);
}

static void test_refused(void **state)
{
    (void)state;
    struct conduct_result r;
    struct redline_err err = {0};
    struct stopper s = {.left = 1};
    struct experiment e = experiment_of(GRID "repetitions: 3\n");
    struct experiment other = experiment_of("name: y\nworkloads: [{name: steady, n_prompt: 1}]\n");
    struct experiment gpu = experiment_of("name: z\nrequire: gpu\nworkloads: [{name: steady, n_prompt: 1}]\n");
    struct experiment parity = experiment_of("name: z\npeers: true\nworkloads: [{name: steady, n_prompt: 1}]\n");
    forget();
    assert_int_equal(run(&r, &e, &s, false, &err), 0);
    conduct_result_free(&r);
    s = (struct stopper){.left = -1};
    assert_int_equal(run(&r, &other, &s, false, &err), REDLINE_ARG);
    assert_string_equal(err.message, "the store holds records of the experiment 'x', not of 'y'");
    conduct_result_free(&r);
    assert_int_equal(run(&r, &gpu, &s, false, &err), REDLINE_DEVICE);
    assert_non_null(strstr(err.message, "the experiment z needs a GPU: "));
    conduct_result_free(&r);
    assert_int_equal(run(&r, &parity, &s, false, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "--peer"));
    conduct_result_free(&r);
    assert_int_equal(s.n_told, 0); /* nothing was measured */
    setenv("MADE_UP_VERSION", "2", 1);
    int status = run(&r, &e, &s, false, &err);
    unsetenv("MADE_UP_VERSION");
    assert_int_equal(status, REDLINE_ARG);
    assert_non_null(strstr(err.message, "another version of the program (program.version 1, now 2)"));
    conduct_result_free(&r);
    experiment_free(&parity);
    experiment_free(&gpu);
    experiment_free(&other);
    experiment_free(&e);
}

/* ---- beside others --------------------------------------------------------------------------- */

static void test_peers(void **state)
{
    (void)state;
    struct experiment e = experiment_of("name: x\npeers: true\nworkloads: [{name: steady, n_prompt: 1}]\n"
                                        "repetitions: 3\n");
    const struct conduct_peer peers[] = {{"other", "/nowhere/llama-bench"}};
    struct conduct_params params = {.program = self.p, .peers = peers, .n_peers = 1};
    struct conduct_result r;
    struct store *store = NULL;
    struct redline_err err = {0};
    char path[512];
    forget();
    assert_int_equal(store_open(&store, scratch_path(path, "store.jsonl"), &err), 0);
    if (conduct_run(&r, &e, store, &params, &err)) fail_msg("%s", err.message);
    assert_int_equal(r.n_new, 4); /* three of ours and the failure */
    assert_int_equal(r.n_failed, 1);
    const json_t *record;
    size_t i, n_other = 0;
    json_array_foreach (r.records, i, record) {
        assert_string_equal(record_text(record, "experiment.peers.other"), "/nowhere/llama-bench");
        if (strcmp(record_text(record, "program.contestant"), "other") != 0) continue;
        assert_non_null(strstr(record_text(record, "failed"), "/nowhere/llama-bench"));
        n_other++;
    }
    assert_int_equal(n_other, 1);
    conduct_result_free(&r);
    const struct conduct_peer twice[] = {{"a", "b"}, {"a", "c"}};
    params.peers = twice;
    params.n_peers = 2;
    assert_int_equal(conduct_run(&r, &e, store, &params, &err), REDLINE_ARG);
    assert_string_equal(err.message, "two contestants are called 'a'");
    conduct_result_free(&r);
    store_close(&store);
    experiment_free(&e);
}

/* ---- killed ---------------------------------------------------------------------------------- */

static size_t n_kept(void)
{
    json_t *all = NULL;
    struct redline_err err = {0};
    char path[512];
    if (access(scratch_path(path, "store.jsonl"), F_OK)) return 0;
    if (store_read(&all, path, &err)) fail_msg("%s", err.message);
    size_t n = json_array_size(all);
    json_decref(all);
    return n;
}

static void test_killed(void **state)
{
    (void)state;
    struct experiment e = experiment_of(GRID "repetitions: 6\n");
    struct rng rng;
    int n_killed = 0;
    bool done = false;
    rng_seed(&rng, 42);
    forget();
    for (int i = 0; !done && i < 400; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct stopper s = {.left = i == 0 ? 2 : -1, .dies = true};
            struct conduct_result r;
            struct redline_err err = {0};
            _exit(run(&r, &e, &s, false, &err) || r.end != CONDUCT_DONE ? 1 : 0);
        }
        /* The first ends itself, as the others may all be too fast.  Longer from time to time, so that it ends on a
         * slow machine too. */
        if (i > 0) usleep((useconds_t)(rng_below(&rng, 40000) * (uint64_t)(1 + i / 4)));
        if (i > 0) kill(pid, SIGKILL);
        int how = 0;
        waitpid(pid, &how, 0);
        if (WIFEXITED(how)) assert_int_equal(WEXITSTATUS(how), 0);
        n_killed += !WIFEXITED(how);
        done = n_kept() == 24; /* killed behind its last record or not: the next run would begin another series */
    }
    assert_true(done);
    assert_true(n_killed > 0);
    check_complete(&e, 24, 24);
    experiment_free(&e);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "lab") == 0 && strcmp(argv[2], "worker") == 0) return work();
    if (proc_self(&self, NULL)) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounds),     cmocka_unit_test(test_one_after_another), cmocka_unit_test(test_contestants),
        cmocka_unit_test(test_enough),     cmocka_unit_test(test_failed_once),       cmocka_unit_test(test_run),
        cmocka_unit_test(test_go_on),      cmocka_unit_test(test_failures),          cmocka_unit_test(test_stop),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_peers),             cmocka_unit_test(test_killed),
    };
    int failed = cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
    buf_free(&self);
    return failed;
}
