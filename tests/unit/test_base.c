/* test_base.c - the team of threads, facts about made-up machines, options, strings, random numbers, times. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "clock.h"
#include "cpu.h"
#include "cpu_facts.h"
#include "fault.h"
#include "opt.h"
#include "rng.h"
#include "scratch.h"
#include "team.h"

static struct redline_err err;

/* ---- team ----------------------------------------------------------------------------------------- */

enum { ROUNDS = 300, ROUNDS_FEW = 5, N_ITEMS = 10 };

struct job {
    int size;
    _Atomic int arrived;
    _Atomic int wrong;
    _Atomic int taken[N_ITEMS]; /* how often */
    int plain[TEAM_MAX]; /* written by its member alone, read by all after a barrier */
};

static void count(struct job *job, struct team *team, int member, int n_rounds)
{
    for (int i = 1; i <= n_rounds; i++) {
        job->plain[member] = i;
        atomic_fetch_add(&job->arrived, 1);
        team_barrier(team, member);
        if (atomic_load(&job->arrived) < i * job->size) atomic_fetch_add(&job->wrong, 1);
        for (int j = 0; j < job->size; j++)
            if (job->plain[j] != i) atomic_fetch_add(&job->wrong, 1);
        for (int64_t item; team_next(team, member, N_ITEMS, &item);) atomic_fetch_add(&job->taken[item], 1);
        team_barrier(team, member);
    }
}

static void count_rounds(void *user, struct team *team, int member)
{
    count(user, team, member, ROUNDS);
}

static void count_rounds_few(void *user, struct team *team, int member)
{
    count(user, team, member, ROUNDS_FEW);
}

static void test_team_in_step(void **state)
{
    static const int sizes[] = {1, 2, 3, 7, 64};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct team *team;
        assert_int_equal(team_new(&team, sizes[i], &err), 0);
        assert_int_equal(team_size(team), sizes[i]);
        for (int again = 0; again < 3; again++) {
            static struct job job;
            job = (struct job){.size = sizes[i]};
            team_run(team, count_rounds, &job);
            assert_int_equal(job.wrong, 0);
            assert_int_equal(job.arrived, ROUNDS * sizes[i]);
            for (int item = 0; item < N_ITEMS; item++) assert_int_equal(job.taken[item], ROUNDS);
        }
        team_free(&team);
        assert_null(team);
    }
}

enum { N_MANY = 1000, N_HELPERS = 4 };

struct help {
    _Atomic int taken[N_MANY];
    _Atomic bool is_done;
    int64_t order[N_MANY], n_ordered; /* what member 1 took of its own range */
    int stuck;                        /* this member waits until the others have done everything */
};

static void help_out(void *user, struct team *team, int member)
{
    struct help *h = user;
    int64_t item, first, last, n_done = 0;
    team_range(team, 1, N_MANY, 1, &first, &last);
    if (member == h->stuck)
        while (!atomic_load(&h->is_done)) sched_yield();
    while (team_next(team, member, N_MANY, &item)) {
        atomic_fetch_add(&h->taken[item], 1);
        if (member == 1 && item >= first && item < last) h->order[h->n_ordered++] = item;
    }
    for (int i = 0; i < N_MANY; i++) n_done += atomic_load(&h->taken[i]);
    if (n_done == N_MANY) atomic_store(&h->is_done, true);
}

/* Who is held up loses its work to the others; who is not goes through its own range in order. */
static void test_team_help(void **state)
{
    struct team *team;
    (void)state;
    assert_int_equal(team_new(&team, N_HELPERS, &err), 0);
    for (int stuck = 0; stuck < N_HELPERS; stuck++) {
        static struct help h;
        h = (struct help){.stuck = stuck};
        team_run(team, help_out, &h);
        for (int i = 0; i < N_MANY; i++) assert_int_equal(h.taken[i], 1);
        for (int64_t i = 1; i < h.n_ordered; i++) assert_int_equal(h.order[i], h.order[i - 1] + 1);
        if (stuck == 1) assert_int_equal(h.n_ordered, 0);
    }
    team_free(&team);
}

static void only_barriers(void *user, struct team *team, int member)
{
    for (int i = 0; i < *(int *)user; i++) team_barrier(team, member);
}

static void test_team_barrier_time(void **state)
{
    struct team *team;
    int n = 20000;
    (void)state;
    assert_int_equal(team_new(&team, 2, &err), 0);
    uint64_t start = clock_ns();
    team_run(team, only_barriers, &n);
    print_message("a barrier of two threads takes %.0f ns\n", (double)(clock_ns() - start) / n);
    team_free(&team);
}

/* Teams that grow and shrink from run to run: nobody is missed, nobody joins who should not. */
static void test_team_limit(void **state)
{
    enum { MOST = 9 };
    struct team *team;
    struct rng rng;
    (void)state;
    rng_seed(&rng, 3);
    assert_int_equal(team_new(&team, MOST, &err), 0);
    for (int again = 0; again < 400; again++) {
        static struct job job;
        int n = 1 + (int)rng_below(&rng, MOST), n_items = 0;
        team_limit(team, n);
        assert_int_equal(team_size(team), n);
        job = (struct job){.size = n};
        for (int i = n; i < MOST; i++) job.plain[i] = -1;
        team_run(team, count_rounds_few, &job);
        for (int i = 0; i < MOST; i++) n_items += job.plain[i] == ROUNDS_FEW;
        assert_int_equal(job.wrong, 0);
        assert_int_equal(job.arrived, ROUNDS_FEW * n);
        assert_int_equal(n_items, n);
    }
    team_limit(team, 0);
    assert_int_equal(team_size(team), 1);
    team_limit(team, MOST + 1);
    assert_int_equal(team_size(team), MOST);
    team_free(&team);
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static void test_team_sleeps_between_runs(void **state)
{
    struct team *team;
    int n = 10;
    (void)state;
    assert_int_equal(team_new(&team, 4, &err), 0);
    team_run(team, only_barriers, &n);
    double before = cpu_seconds();
    usleep(300000);
    assert_true(cpu_seconds() - before < 0.1);
    team_free(&team);
}

static void test_team_ranges(void **state)
{
    struct team *team;
    (void)state;
    assert_int_equal(team_new(&team, 3, &err), 0);
    for (int64_t n = 0; n < 100; n++)
        for (int64_t grain = 1; grain < 20; grain++) {
            int64_t end = 0;
            for (int m = 0; m < 3; m++) {
                int64_t first, last;
                team_range(team, m, n, grain, &first, &last);
                assert_int_equal(first, end);
                assert_true(last >= first && (last % grain == 0 || last == n));
                end = last;
            }
            assert_int_equal(end, n);
        }
    team_free(&team);
}

static void test_team_refused(void **state)
{
    struct team *team;
    (void)state;
    assert_int_equal(team_new(&team, 0, &err), REDLINE_ARG);
    assert_int_equal(team_new(&team, TEAM_MAX + 1, &err), REDLINE_ARG);
    fault_arm(FAULT_THREAD, 5, false);
    assert_int_equal(team_new(&team, 8, &err), REDLINE_DEVICE);
    fault_arm(FAULT_THREAD, 0, false);
    assert_non_null(strstr(err.message, "5 of 8 threads"));
    assert_null(team);
}

/* ---- made-up machines --------------------------------------------------------------------------- */

static void put(const char *path, const char *text)
{
    char full[512], *slash = full;
    snprintf(full, sizeof full, "%s%s", scratch_folder, path);
    while ((slash = strchr(slash + 1, '/'))) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void clear_machine(void)
{
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s/proc' '%s/sys'", scratch_folder, scratch_folder);
    assert_int_equal(system(command), 0);
}

static void test_quota(void **state)
{
    (void)state;
    assert_true(cpu_quota_at(scratch_folder) == 0); /* nothing there at all */
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    assert_true(cpu_quota_at(scratch_folder) == 0);
    put("/sys/fs/cgroup/a/cpu.max", "150000 100000\n"); /* the parent counts */
    assert_true(cpu_quota_at(scratch_folder) == 1.5);
    put("/sys/fs/cgroup/cpu.max", "50000 100000\n"); /* the smallest on the path */
    assert_true(cpu_quota_at(scratch_folder) == 0.5);
    clear_machine();
    put("/proc/self/cgroup", "4:memory:/\n3:cpu,cpuacct:/box\n");
    put("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
    assert_true(cpu_quota_at(scratch_folder) == 0);
    put("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "300000\n");
    assert_true(cpu_quota_at(scratch_folder) == 3);
    clear_machine();
}

static void test_huge_pages(void **state)
{
    (void)state;
    assert_false(cpu_has_huge_pages_at(scratch_folder)); /* nothing there at all */
    put("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
    assert_false(cpu_has_huge_pages_at(scratch_folder));
    put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    assert_true(cpu_has_huge_pages_at(scratch_folder));
    clear_machine();
}

static void test_memory(void **state)
{
    struct cpu_memory m;
    (void)state;
    put("/proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    600 kB\n");
    cpu_memory_at(scratch_folder, &m);
    assert_int_equal(m.total_bytes, 1024000);
    assert_int_equal(m.available_bytes, 614400);
    assert_int_equal(m.limit_bytes, 0);
    put("/proc/self/cgroup", "0::/x\n");
    put("/sys/fs/cgroup/x/memory.max", "400000\n");
    put("/sys/fs/cgroup/x/memory.current", "350000\n");
    put("/sys/fs/cgroup/x/memory.stat", "anon 100000\nfile 250000\n"); /* page cache can be given back */
    cpu_memory_at(scratch_folder, &m);
    assert_int_equal(m.limit_bytes, 400000);
    assert_int_equal(m.available_bytes, 300000);
    clear_machine();
    put("/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 600 kB\n");
    put("/proc/self/cgroup", "7:memory:/box\n");
    put("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712\n"); /* v1's "none" */
    put("/sys/fs/cgroup/memory/box/memory.usage_in_bytes", "1000\n");
    cpu_memory_at(scratch_folder, &m);
    assert_int_equal(m.limit_bytes, 0);
    clear_machine();
}

static void test_features(void **state)
{
    uint32_t all = CPU_AVX2 | CPU_AVX512 | CPU_BF16 | CPU_AMX;
    char text[64];
    (void)state;
    assert_int_equal(cpu_mask(all, NULL), all);
    assert_int_equal(cpu_mask(all, "scalar"), 0);
    assert_int_equal(cpu_mask(all, "-amx"), all & ~(uint32_t)CPU_AMX);
    assert_int_equal(cpu_mask(all, "-avx512"), CPU_AVX2);
    assert_int_equal(cpu_mask(all, "-amx,-bf16"), CPU_AVX2 | CPU_AVX512);
    assert_int_equal(cpu_mask(all | CPU_VNNI, "-avx2"), 0);
    assert_int_equal(cpu_mask(all | CPU_VNNI, "-avx512"), CPU_AVX2 | CPU_VNNI);
    assert_int_equal(cpu_mask(all | CPU_VNNI, "-vnni"), all);
    assert_int_equal(cpu_mask(all, "-sse9"), -1);
    cpu_features_text(CPU_AVX2 | CPU_AVX512, text, sizeof text);
    assert_string_equal(text, "avx2 avx512");
    cpu_features_text(0, text, sizeof text);
    assert_string_equal(text, "scalar");
}

static void test_caches(void **state)
{
    struct cpu_facts eight_l3 = {.n_physical = 64, .l2_bytes = 1 << 20, .l3_bytes = 32 << 20, .n_l3 = 8};
    struct cpu_facts no_l3 = {.n_physical = 4, .l2_bytes = 2 << 20};
    (void)state;
    assert_int_equal(cpu_caches_bytes(&eight_l3), 256 << 20);
    assert_int_equal(cpu_caches_bytes(&no_l3), 8 << 20);
}

static void test_this_machine(void **state)
{
    struct cpu_facts f;
    (void)state;
    cpu_facts(&f);
    assert_true(f.n_logical >= 1 && f.n_physical >= 1 && f.n_physical <= f.n_logical);
    assert_true(f.n_threads >= 1 && f.n_threads <= f.n_logical);
    assert_true(f.n_l3 >= 0 && f.n_l3 <= f.n_physical && (f.n_l3 > 0) == (f.l3_bytes > 0));
    assert_true(cpu_caches_bytes(&f) >= f.l3_bytes && cpu_caches_bytes(&f) >= f.l2_bytes);
    int cores[2] = {-1, -1};
    assert_int_equal(cpu_cores(cores, 1), f.n_physical);
    assert_true(cores[0] >= 0 && cores[1] == -1);
    assert_int_equal(cpu_cores(cores, 2), f.n_physical);
    assert_true(f.n_physical == 1 || cores[1] > cores[0]);
    assert_true(cpu_peak_rss_bytes() >= cpu_rss_bytes() / 2 && cpu_rss_bytes() > 0);
}

/* ---- options -------------------------------------------------------------------------------------- */

struct counter {
    struct opt_call call;
    int sum;
};

static int count_call(struct opt_call *call, const char *name, const char *value, struct redline_err *e)
{
    struct counter *counter = (struct counter *)call;
    if (value && strcmp(value, "no") == 0) return err_set(e, REDLINE_ARG, "%s says no", name);
    counter->sum += value ? atoi(value) : 1;
    return 0;
}

static void test_options(void **state)
{
    bool flag = false, help;
    int n = 1, n_words;
    float x = 0;
    uint64_t seed = 0;
    const char *s = NULL, *type = NULL, *layers = NULL, *words[2];
    struct counter counter = {{count_call}, 0};
    const struct opt options[] = {
        {"-f, --flag", NULL, OPT_FLAG, &flag, 0, 0, "a flag"},
        {"-n, --number", "N", OPT_INT, &n, -1, 10, "a number"},
        {"--share", "X", OPT_FLOAT, &x, 0, 1, "a share"},
        {"-s", "TEXT", OPT_STRING, &s, 0, 0, "a text"},
        {"--type", "f16|f32|q8", OPT_CHOICE, &type, 0, 0, "a choice"},
        {"--layers", "auto|N", OPT_CHOICE, &layers, 0, 50, "a choice or a number"},
        {"--seed", "N", OPT_U64, &seed, 0, 0, "a large number"},
        {"--call", NULL, OPT_CALL, &counter.call, 0, 0, "counts"},
        {"-k, --kindred", NULL, OPT_REFUSED, NULL, 0, 0, "is for others"},
    };
    const struct opt_command c = {"test", "A test.", options, COUNT_OF(options), NULL};
    char *good[] = {"a", "-n", "-1", "--share=0.5", "-f", "-s", "--x", "--type", "q8", "--seed=7", "--call", "--call=5",
                    "--layers", "50", "--", "-b"};
    const struct {
        char *words[3];
        int n;
        const char *says;
    } bad[] = {
        {{"--numbr", "2"}, 2, "did you mean '--number'?"}, {{"-n"}, 1, "needs a value"},
        {{"-n", "11"}, 2, "between -1 and 10"},            {{"-n", "1x"}, 2, "a whole number"},
        {{"--flag=1"}, 1, "takes no value"},               {{"--share", "nan"}, 2, "between 0 and 1"},
        {{"a", "b", "c"}, 3, "one word too many"},         {{"--type", "f64"}, 2, "known are f16, f32 and q8"},
        {{"--seed", "-1"}, 2, "a whole number"},           {{"--share", "x"}, 2, "a number is expected"},
        {{"--call=no"}, 1, "--call says no"},              {{"--layers", "51"}, 2, "known are auto and 0 to 50"},
        {{"--layers", "N"}, 2, "known are auto"},          {{"--layers", "-1"}, 2, "known are auto"},
        {{"--layers", ""}, 2, "known are auto"},           {{"--layers", "3x"}, 2, "known are auto"},
        {{"-z"}, 1, "'-z'; --help lists them"},            {{"--nm"}, 1, "'--nm'; --help lists them"},
        {{"-numbr"}, 1, "did you mean '--number'?"},       {{"-k"}, 1, "'-k' is for others"},
        {{"--kindred=3"}, 1, "'--kindred' is for others"}, {{"--kindrod"}, 1, "'--kindrod'; --help lists them"},
    };
    struct buf page = {0};
    (void)state;
    assert_int_equal(opt_parse(&c, (int)COUNT_OF(good), good, words, 2, &n_words, &help, &err), 0);
    assert_true(flag && n == -1 && x == 0.5f && seed == 7 && n_words == 2 && !help);
    assert_int_equal(counter.sum, 6);
    assert_string_equal(type, "q8");
    assert_string_equal(layers, "50");
    assert_string_equal(s, "--x");
    assert_string_equal(words[1], "-b");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *args[3] = {bad[i].words[0], bad[i].words[1], bad[i].words[2]};
        assert_int_equal(opt_parse(&c, bad[i].n, args, words, 2, &n_words, &help, &err), REDLINE_ARG);
        if (!strstr(err.message, bad[i].says)) fail_msg("'%s' does not say '%s'", err.message, bad[i].says);
    }
    assert_int_equal(opt_help(&c, &page, &err), 0);
    assert_non_null(strstr(page.p, "--share X"));
    assert_null(strstr(page.p, "kindred"));
    buf_free(&page);
}

static void test_small_parts(void **state)
{
    struct rng a, b;
    struct buf text = {0};
    struct redline_err e;
    char full[400];
    (void)state;
    rng_seed(&a, 1);
    rng_seed(&b, 1);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(rng_next(&a), rng_next(&b));
        assert_true(rng_below(&a, 7) < 7);
        rng_below(&b, 7);
        double u = rng_uniform(&a);
        assert_true(u >= 0 && u < 1);
        rng_uniform(&b);
    }
    assert_int_equal(buf_printf(&text, &e, "%d-%s", 5, "x"), 0);
    assert_string_equal(text.p, "5-x");
    buf_free(&text);
    memset(full, 'a', sizeof full); /* a message that is cut amid a code point */
    memcpy(full + 358, "\xe2\x82\xac", 4);
    err_set(&e, REDLINE_ARG, "%s", full);
    assert_int_equal(strlen(e.message), 358);
}

/* Both forms are the time that it is, and nothing is behind their Z. */
static void test_calendar(void **state)
{
    static const struct { bool with_ms; const char *end; } forms[] = {{false, "Z"}, {true, ".123Z"}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        char text[CLOCK_UTC];
        struct tm utc = {0};
        time_t before = time(NULL);
        clock_utc(text, forms[i].with_ms);
        const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &utc);
        assert_non_null(rest);
        assert_int_equal(strlen(rest), strlen(forms[i].end));
        assert_int_equal(rest[strlen(rest) - 1], 'Z');
        assert_int_equal(rest[0], forms[i].end[0]);
        assert_in_range(timegm(&utc), before - 1, time(NULL)); /* time() may tick a little after the clock */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_team_in_step),
        cmocka_unit_test(test_team_help),
        cmocka_unit_test(test_team_limit),
        cmocka_unit_test(test_team_barrier_time),
        cmocka_unit_test(test_team_sleeps_between_runs),
        cmocka_unit_test(test_team_ranges),
        cmocka_unit_test(test_team_refused),
        cmocka_unit_test(test_quota),
        cmocka_unit_test(test_huge_pages),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_caches),
        cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_small_parts),
        cmocka_unit_test(test_calendar),
    };
    return cmocka_run_group_tests_name("base", tests, scratch_setup, scratch_teardown);
}
