/* test_proc.c - programs that answer, fail, hang, flood and leave others behind. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "fault.h"
#include "mem.h"
#include "proc.h"
#include "scratch.h"

static int shell(struct proc_result *out, const char *script, struct proc_params params)
{
    const char *argv[] = {"sh", "-c", script, NULL};
    struct redline_err err = {0};
    params.argv = argv;
    return proc_run(out, &params, &err);
}

static void test_answers(void **state)
{
    struct proc_result r;
    (void)state;
    assert_int_equal(shell(&r, "cat; echo no >&2; exit 7", (struct proc_params){.input = STR("in\n")}), 0);
    assert_string_equal(r.out.p, "in\n");
    assert_string_equal(r.error.p, "no\n");
    assert_int_equal(r.exit_code, 7);
    assert_false(r.timed_out || r.stopped || r.signal);
    assert_true(r.wall_ns > 0 && r.peak_rss_bytes > 100000);
    proc_result_free(&r);
    assert_int_equal(shell(&r, "kill -9 $$", (struct proc_params){0}), 0);
    assert_int_equal(r.exit_code, -1);
    assert_int_equal(r.signal, SIGKILL);
    proc_result_free(&r);
}

/* More than pipes hold, both ways at once, and input that nobody reads to the end. */
static void test_floods(void **state)
{
    enum { N = 3 << 20 };
    struct proc_result r;
    char *big = mem_new(N, 1);
    (void)state;
    memset(big, 'x', N);
    assert_int_equal(shell(&r, "cat; head -c 200000 /dev/zero | tr '\\0' 'e' >&2; echo end >&2",
                           (struct proc_params){.input = {big, N}}), 0);
    assert_int_equal(r.out.n, N);
    assert_memory_equal(r.out.p, big, N);
    assert_int_equal(r.error.n, 64 << 10);
    assert_string_equal(r.error.p + r.error.n - 5, "eend\n");
    proc_result_free(&r);
    assert_int_equal(shell(&r, "exec true", (struct proc_params){.input = {big, N}}), 0);
    assert_int_equal(r.exit_code, 0);
    proc_result_free(&r);
    mem_free(big);
}

static void test_environment(void **state)
{
    const char *const on_top[] = {"REDLINE_CPU=scalar", "HOME=/nowhere", NULL};
    struct proc_result r;
    (void)state;
    setenv("REDLINE_CPU", "-avx512", 1);
    setenv("PROC_TEST", "kept", 1);
    assert_int_equal(shell(&r, "echo $REDLINE_CPU $HOME $PROC_TEST; env | grep -c ^REDLINE_CPU=",
                           (struct proc_params){.environment = on_top}), 0);
    assert_string_equal(r.out.p, "scalar /nowhere kept\n1\n");
    proc_result_free(&r);
    unsetenv("REDLINE_CPU");
}

/* Nothing here is judged by how long it took: these are for what would otherwise never end. */
enum { LONG_S = 120, LOOK_US = 10000, LOOKS = LONG_S * 100 };

/* Whether it has ended: it is gone, or waits for whoever inherited it to notice. */
static bool has_gone(long pid)
{
    char path[64], what[512] = "";
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(what, 1, sizeof what - 1, f) : 0;
    if (f) fclose(f);
    const char *after = n ? strrchr(what, ')') : NULL;
    return !after || after[2] == 'Z' || after[2] == 'X';
}

static bool goes(long pid)
{
    for (int i = 0; i < LOOKS && !has_gone(pid); i++) usleep(LOOK_US);
    return has_gone(pid);
}

/* The number that a program writes into a file when it is ready; 0: it never did. */
static long number_from(const char *path)
{
    long number = 0;
    for (int i = 0; i < LOOKS && number == 0; i++) {
        FILE *f = fopen(path, "r");
        if (f && fscanf(f, "%ld", &number) != 1) number = 0;
        if (f) fclose(f);
        if (number == 0) usleep(LOOK_US);
    }
    return number;
}

/* The whole group goes, with a grandchild that would stay. */
static void test_ends(void **state)
{
    static volatile int stop = 1;
    struct proc_result r = {0};
    double timeout_s = 0.2;
    (void)state;
    for (; r.out.n == 0 && timeout_s < LONG_S; timeout_s *= 2) { /* as much as its start takes here */
        proc_result_free(&r);
        assert_int_equal(shell(&r, "sleep 600 & echo $!; sleep 600", (struct proc_params){.timeout_s = timeout_s}), 0);
        assert_true(r.timed_out && !r.stopped && r.signal == SIGKILL);
    }
    assert_true(r.out.n > 0 && goes(strtol(r.out.p, NULL, 10)));
    proc_result_free(&r);
    assert_int_equal(shell(&r, "sleep 600", (struct proc_params){.stop = &stop}), 0);
    assert_true(r.stopped && !r.timed_out);
    proc_result_free(&r);
    assert_int_equal(shell(&r, "sleep 600 & echo $!", (struct proc_params){0}), 0); /* left behind by who is done */
    assert_true(r.exit_code == 0 && r.out.n > 0 && goes(strtol(r.out.p, NULL, 10)));
    assert_true(r.wall_ns < 300 * (uint64_t)1000000000);
    proc_result_free(&r);
}

/* Whoever runs a program may be killed: the program does not outlive it. */
static void test_orphan(void **state)
{
    char script[700];
    struct proc_result r;
    (void)state;
    snprintf(script, sizeof script, "echo $$ >'%s'; exec sleep 600", SCRATCH("pid"));
    pid_t child = fork();
    if (child == 0) {
        shell(&r, script, (struct proc_params){0});
        _exit(0);
    }
    long pid = number_from(SCRATCH("pid"));
    assert_true(pid > 0 && kill((pid_t)pid, 0) == 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_true(goes(pid));
}

static void test_not_started(void **state)
{
    const char *const missing[] = {"no-such-program-here", NULL}, *const folder[] = {"/", NULL};
    const char *const empty[] = {NULL};
    struct redline_err err = {0};
    struct proc_result r;
    struct proc *p;
    (void)state;
    assert_int_equal(proc_run(&r, &(struct proc_params){.argv = missing}, &err), REDLINE_IO);
    assert_string_equal(err.message, "'no-such-program-here' cannot be started: No such file or directory");
    proc_result_free(&r);
    assert_int_equal(proc_run(&r, &(struct proc_params){.argv = folder}, &err), REDLINE_IO);
    assert_non_null(strstr(err.message, "Permission denied"));
    proc_result_free(&r);
    assert_int_equal(proc_run(&r, &(struct proc_params){.argv = empty}, &err), REDLINE_ARG);
    proc_result_free(&r);
    assert_int_equal(proc_start(&p, &(struct proc_params){.argv = missing}, &err), REDLINE_IO);
    assert_null(p);
}

static void test_refused(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        for (uint64_t nth = 1;; nth++) {
            struct proc_result r;
            fault_arm(kind ? FAULT_READ : FAULT_ALLOC, nth, false);
            int status = shell(&r, "cat", (struct proc_params){.input = STR("text")});
            bool hit = fault_count(kind ? FAULT_READ : FAULT_ALLOC) >= nth;
            fault_arm(kind ? FAULT_READ : FAULT_ALLOC, 0, false);
            proc_result_free(&r);
            if (!hit) break;
            assert_int_equal(status, kind ? REDLINE_IO : REDLINE_MEMORY);
        }
    }
}

/* Starts a shell that does this when it is asked to end, and waits until it would. */
static struct proc *start_trap(const char *what)
{
    char script[1500];
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct redline_err err;
    struct proc *p;
    unlink(SCRATCH("ready"));
    snprintf(script, sizeof script, "trap '%s' TERM; echo $$ >\"%s\"; while :; do sleep 600 & wait; done", what,
             SCRATCH("ready"));
    assert_int_equal(proc_start(&p, &(struct proc_params){.argv = argv}, &err), 0);
    assert_true(number_from(SCRATCH("ready")) > 0);
    assert_true(proc_alive(p));
    return p;
}

static void test_background(void **state)
{
    const char *const brief[] = {"true", NULL};
    struct redline_err err;
    char politely[700];
    (void)state;
    snprintf(politely, sizeof politely, "echo 1 >\"%s\"; exit", SCRATCH("asked"));
    struct proc *p = start_trap(politely);
    proc_end(&p);
    assert_null(p);
    assert_int_equal(access(SCRATCH("asked"), F_OK), 0);
    p = start_trap("");
    uint64_t begin = clock_ns();
    proc_end(&p); /* it is given time before it is killed */
    assert_true(clock_ns() - begin >= 1900000000u);
    assert_int_equal(proc_start(&p, &(struct proc_params){.argv = brief}, &err), 0);
    for (int i = 0; i < LOOKS && proc_alive(p); i++) usleep(LOOK_US);
    assert_false(proc_alive(p));
    proc_end(&p);
    proc_end(&p);
    proc_end(NULL);
}

static void test_split(void **state)
{
    static const struct {
        const char *command;
        const char *words[6];
    } table[] = {
        {"a b  c", {"a", "b", "c"}},
        {"  'a b' \"c d\"e \\  ", {"a b", "c de", " "}},
        {"a\\\"b 'it\\s'", {"a\"b", "it\\s"}},
        {"\"x\\\"y\\\\z\\n\" '' \"\"", {"x\"y\\z\\n", "", ""}},
        {"a;b|c $HOME *\n&& d", {"a;b|c", "$HOME", "*", "&&", "d"}},
        {"", {NULL}},
        {" \t\n", {NULL}},
        {"\\", {"\\"}},
    };
    static const char *const odd[] = {"a/b.gguf", "it's", "", "two words", "x=`rm`", "n=1,2"};
    struct redline_err err;
    char **argv;
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        assert_int_equal(proc_split(&argv, table[i].command, &err), 0);
        size_t n = 0;
        for (; argv[n]; n++) assert_string_equal(argv[n], table[i].words[n]);
        assert_null(table[i].words[n]);
        mem_free(argv);
    }
    struct buf quoted = {0};
    for (size_t k = 0; k < 6; k++) { /* what was quoted is split into the same words */
        assert_int_equal(k ? buf_append(&quoted, " ", 1, &err) : 0, 0);
        assert_int_equal(proc_quote(&quoted, odd[k], &err), 0);
    }
    assert_string_equal(quoted.p, "a/b.gguf 'it'\\''s' '' 'two words' 'x=`rm`' n=1,2");
    assert_int_equal(proc_split(&argv, quoted.p, &err), 0);
    for (size_t k = 0; k < 6; k++) assert_string_equal(argv[k], odd[k]);
    buf_free(&quoted);
    mem_free(argv);
    assert_int_equal(proc_split(&argv, "a 'b c", &err), REDLINE_ARG);
    assert_string_equal(err.message, "a quotation mark is not closed in 'a 'b c'");
    assert_null(argv);
}

static void test_self(void **state)
{
    struct buf path = {0};
    (void)state;
    assert_int_equal(proc_self(&path, NULL), 0);
    assert_non_null(strstr(path.p, "test_proc"));
    assert_int_equal(access(path.p, X_OK), 0);
    buf_free(&path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),     cmocka_unit_test(test_floods),     cmocka_unit_test(test_environment),
        cmocka_unit_test(test_ends),        cmocka_unit_test(test_not_started), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_orphan),
        cmocka_unit_test(test_background),  cmocka_unit_test(test_split),      cmocka_unit_test(test_self),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
