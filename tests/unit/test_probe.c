/* test_probe.c - the loops behind the machine's limits compute what they should; limits are measured within
 * reason, looked up, written as JSON and read back, and broken records are refused. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base.h"
#include "convert.h"
#include "cpu.h"
#include "fault.h"
#include "mem.h"
#include "peak.h"
#include "redline_probe.h"
#include "rng.h"

static struct redline_err err;

static bool is_usable(const struct peak_table *t)
{
    return (t->need & cpu_features()) == t->need;
}

/* ---- the loops: the sum that a slow definition gives, to the last bit ------------------------------ */

static double bf16_at(const uint16_t *x, int i)
{
    return (double)float_of_bits((uint32_t)x[i] << 16);
}

static int operand_b(const struct peak_loop *loop, int l, int k, int in_four_bytes)
{
    if (loop->form == PEAK_DOT) return l * loop->n_products + k;
    return k / in_four_bytes * 16 * in_four_bytes + l * in_four_bytes + k % in_four_bytes;
}

/* What one round adds to lane l; of tiles, l counts through the rows. */
static double round_sum(const struct peak_input *in, const struct peak_loop *loop, int l)
{
    bool is_int8 = strcmp(loop->type, "int8") == 0;
    int row = l, column = l;
    double sum = 0;
    if (loop->form == PEAK_TILE) {
        row = l / 16;
        column = l % 16;
    }
    for (int k = 0; k < loop->n_products; k++) {
        int a = row * loop->n_products + k, b = operand_b(loop, column, k, is_int8 ? 4 : 2);
        sum += is_int8 ? (double)in->a8[a] * in->b8[b] : bf16_at(in->a16, a) * bf16_at(in->b16, b);
    }
    return sum;
}

static float multiply_add(float y, float factor, float term, bool fused)
{
    volatile float product = y * factor;
    return fused ? fmaf(y, factor, term) : product + term;
}

static double expected_lane(const struct peak_input *in, const struct peak_loop *loop, bool fused, int chain,
                            int l, int n_rounds)
{
    float start = in->start[chain];
    if (loop->form == PEAK_MULTIPLY_ADD) {
        for (int n = 0; n < n_rounds; n++) start = multiply_add(start, in->factor[l], in->term[l], fused);
        return (double)start;
    }
    double sum = (double)start + n_rounds * round_sum(in, loop, l);
    if (strcmp(loop->type, "int8") != 0) return sum;
    int32_t wrapped;
    uint32_t low = (uint32_t)(int64_t)sum;
    memcpy(&wrapped, &low, sizeof wrapped);
    return (double)wrapped;
}

static void check_loop(const struct peak_table *table, const struct peak_loop *loop, int n_rounds)
{
    struct peak_input in;
    double want = 0;
    peak_input_fill(&in);
    for (int i = 0; i < loop->n_chains; i++)
        for (int l = 0; l < loop->n_lanes; l++)
            want += expected_lane(&in, loop, table != &peak_scalar, i, l, n_rounds);
    double got = loop->run(&in, (uint64_t)n_rounds);
    if (got != want)
        fail_msg("%s %s after %d rounds: %.17g instead of %.17g", table->isa, loop->type, n_rounds, got, want);
}

static void test_loops(void **state)
{
    static const int rounds[] = {0, 1, 2, 7, 100, 5000};
    int n_checked = 0;
    (void)state;
    for (int t = 0; t < peak_n_tables; t++)
        for (int i = 0; is_usable(peak_tables[t]) && i < peak_tables[t]->n_loops; i++)
            for (size_t r = 0; r < COUNT_OF(rounds); r++, n_checked++)
                check_loop(peak_tables[t], &peak_tables[t]->loops[i], rounds[r]);
    assert_true(n_checked >= (int)COUNT_OF(rounds) * 2); /* the scalar ones are always there */
}

/* Integers wrap: so many rounds that their sums leave 32 bits. */
static void test_loops_wrap(void **state)
{
    (void)state;
    for (int t = 0; t < peak_n_tables; t++)
        for (int i = 0; is_usable(peak_tables[t]) && i < peak_tables[t]->n_loops; i++)
            if (strcmp(peak_tables[t]->loops[i].type, "int8") == 0)
                check_loop(peak_tables[t], &peak_tables[t]->loops[i], 2000003);
}

static void check_read(const struct peak_table *table, const char *end, uint64_t n)
{
    uint64_t want = 0, word;
    for (uint64_t i = 0; i < n; i += sizeof word) {
        memcpy(&word, end - n + i, sizeof word);
        want += word;
    }
    for (int how = 0; how < PEAK_READS; how++) assert_true(table->read[how](end - n, n) == want);
}

/* Every byte counts, and none behind the last: there is nothing. */
static void test_reads(void **state)
{
    enum { BYTES = 1 << 16 };
    struct rng rng;
    (void)state;
    char *p = mmap(NULL, BYTES + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p + BYTES, 4096, PROT_NONE), 0);
    rng_seed(&rng, 5);
    for (int i = 0; i < BYTES; i++) p[i] = (char)rng_next(&rng);
    for (int t = 0; t < peak_n_tables; t++) {
        if (!is_usable(peak_tables[t]) || !peak_tables[t]->read[0]) continue;
        for (uint64_t n = 0; n <= BYTES; n = n < 4096 ? n + 256 : 2 * n) check_read(peak_tables[t], p + BYTES, n);
    }
    munmap(p, BYTES + 4096);
}

/* ---- measuring -------------------------------------------------------------------------------------- */

static const struct redline_limits_params quick = {.n_threads = 2, .budget_ms = 60, .read_bytes = 16 << 20};

struct progress {
    int n;
    double last;
};

static void on_progress(void *user, const char *what, double share)
{
    struct progress *p = user;
    assert_true(*what && share >= p->last && share < 1);
    p->last = share;
    p->n++;
}

static void check_rate(const struct redline_rate *r)
{
    assert_true(r->worst > 0 && r->worst <= r->median && r->median <= r->best);
    assert_true(r->n_repetitions >= 3 && floor(r->best) == r->best);
}

static void test_measure(void **state)
{
    static struct redline_limits l;
    struct progress progress = {0};
    struct redline_limits_params params = quick;
    struct redline_machine machine;
    (void)state;
    params.progress = on_progress;
    params.user = &progress;
    if (redline_limits_measure(&l, &params, &err)) fail_msg("%s", err.message);
    redline_machine(&machine);
    assert_true(redline_machine_same(&machine, &l.machine));
    assert_int_equal(l.n_threads, 2);
    assert_int_equal(l.n_bandwidths, 2);
    assert_int_equal(l.read_bytes, 16 << 20);
    assert_int_equal(progress.n, 3 * (l.n_bandwidths + l.n_peaks));
    assert_true(l.measured_at > 1700000000 && l.duration_ms >= 60 && l.duration_ms < 60000);
    for (int i = 0; i < l.n_bandwidths; i++) {
        assert_int_equal(l.bandwidths[i].n_threads, i + 1);
        check_rate(&l.bandwidths[i].plain);
        check_rate(&l.bandwidths[i].prefetch);
        assert_true(redline_limits_bandwidth(&l, i + 1) > 1e8); /* worse than memory of 1998 is a mistake */
    }
    for (int i = 0; i < l.n_peaks; i++) {
        check_rate(&l.peaks[i].ops);
        assert_true(l.peaks[i].ops.best > 1e7 && l.peaks[i].ops.best < 1e14);
    }
}

/* What is out of order in the limits' peaks; NULL: nothing.  Wider vectors compute more.  More threads than processors
 * do no more than the processors can, however the system lets them wait for each other. */
static const char *out_of_order(const struct redline_limits *l)
{
    double scalar = redline_limits_peak(l, "scalar", "f32", 1), avx2 = redline_limits_peak(l, "avx2", "f32", 1);
    double avx512 = redline_limits_peak(l, "avx512", "f32", 1), bytes = redline_limits_peak(l, "avx512", "int8", 1);
    if (!(scalar > 0)) return "scalar";
    if ((cpu_features() & CPU_AVX2) && !(avx2 > 1.5 * scalar)) return "AVX2";
    if ((cpu_features() & CPU_AVX512) && !(avx512 > 0.6 * avx2)) return "AVX-512"; /* some make two halves of it */
    if ((cpu_features() & CPU_AVX512) && !(bytes > 1.5 * avx512)) return "int8";
    if ((cpu_features() & CPU_AMX) && !(redline_limits_peak(l, "amx", "int8", 1) > bytes)) return "AMX";
    for (int i = 0; i < l->n_peaks; i += 2)
        if (!(l->peaks[i + 1].ops.best < 1.5 * MIN(5, l->machine.n_logical) * l->peaks[i].ops.best)) return "threads";
    return NULL;
}

/* Whoever else uses the processors can only make a peak lower: measured until the best of all are in order. */
static void test_measure_order(void **state)
{
    enum { TRIES = 40 };
    static struct redline_limits l, best;
    struct redline_limits_params params = quick;
    const char *wrong = "";
    (void)state;
    params.n_threads = 5;
    for (int i = 0; i < TRIES && wrong; i++) {
        if (redline_limits_measure(&l, &params, &err)) fail_msg("%s", err.message);
        for (int k = 0; i > 0 && k < l.n_peaks; k++)
            l.peaks[k].ops.best = MAX(l.peaks[k].ops.best, best.peaks[k].ops.best);
        best = l;
        wrong = out_of_order(&best);
    }
    if (wrong) fail_msg("%s: out of order, %d times", wrong, TRIES);
    for (int i = 0; i < best.n_peaks; i += 2) {
        const struct redline_peak *one = &best.peaks[i], *all = one + 1;
        assert_true(one->n_threads == 1 && all->n_threads == 5);
        assert_string_equal(one->isa, all->isa);
        assert_string_equal(one->type, all->type);
    }
}

static void test_measure_refused(void **state)
{
    static struct redline_limits l;
    struct redline_limits_params params = {.n_threads = 2, .budget_ms = 1, .read_bytes = 1 << 20};
    static const enum fault_kind kinds[] = {FAULT_ALLOC, FAULT_THREAD};
    (void)state;
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (uint64_t nth = 1;; nth++) {
            fault_arm(kinds[k], nth, false);
            err = (struct redline_err){0};
            int status = redline_limits_measure(&l, &params, &err);
            bool was_hit = fault_count(kinds[k]) >= nth;
            fault_arm(kinds[k], 0, false);
            assert_int_equal(status, !was_hit ? 0 : kinds[k] == FAULT_ALLOC ? REDLINE_MEMORY : REDLINE_DEVICE);
            assert_true(!was_hit || *err.message);
            if (!was_hit) break;
            assert_true(nth < 200);
        }
    params.n_threads = 100000;
    assert_int_equal(redline_limits_measure(&l, &params, &err), REDLINE_ARG);
    params.n_threads = -1;
    assert_int_equal(redline_limits_measure(&l, &params, &err), REDLINE_ARG);
    params = (struct redline_limits_params){.read_bytes = 1000};
    assert_int_equal(redline_limits_measure(&l, &params, &err), REDLINE_ARG);
}

/* ---- looking up ------------------------------------------------------------------------------------- */

static struct redline_rate rate(double best)
{
    return (struct redline_rate){best, best / 2, best / 4, 9};
}

/* A machine of 8 threads whose memory is slower for 8 than for 4. */
static void make_up(struct redline_limits *l)
{
    static const struct {
        int n;
        double plain, prefetch;
    } rows[] = {{1, 30, 25}, {2, 45, 50}, {4, 90, 80}, {8, 80, 70}};
    *l = (struct redline_limits){.machine = {.cpu = "A \"quoted\" processor", .features = "avx2",
                                             .microcode = "0x1", .kernel = "Linux 6", .build = "GNU 12",
                                             .n_logical = 16, .n_physical = 8,
                                             .n_threads = 8, .quota = 7.5, .l1d_bytes = 32768,
                                             .l2_bytes = 1 << 20, .l3_bytes = 1 << 25, .n_l3 = 2,
                                             .memory_bytes = 33333333333},
                                 .measured_at = 1800000000,
                                 .duration_ms = 3210,
                                 .n_threads = 8,
                                 .read_bytes = 1 << 28,
                                 .n_bandwidths = COUNT_OF(rows),
                                 .n_peaks = 3};
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        l->bandwidths[i] =
            (struct redline_bandwidth){rows[i].n, rate(rows[i].plain * 1e9), rate(rows[i].prefetch * 1e9)};
    l->peaks[0] = (struct redline_peak){"scalar", "f32", 8, rate(40e9)};
    l->peaks[1] = (struct redline_peak){"avx2", "f32", 1, rate(100e9)};
    l->peaks[2] = (struct redline_peak){"avx2", "f32", 8, rate(730e9)};
}

static void test_look_up(void **state)
{
    static struct redline_limits l, none;
    (void)state;
    make_up(&l);
    static const struct {
        int n;
        double bytes, ops;
    } cases[] = {{0, 0, 0}, {1, 30e9, 100e9}, {2, 50e9, 190e9}, {3, 70e9, 280e9}, {4, 90e9, 370e9},
                 {6, 90e9, 550e9}, {8, 90e9, 730e9}, {64, 90e9, 730e9}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_true(redline_limits_bandwidth(&l, cases[i].n) == cases[i].bytes);
        assert_true(redline_limits_peak(&l, "avx2", "f32", cases[i].n) == cases[i].ops);
    }
    assert_true(redline_limits_peak(&l, "scalar", "f32", 4) == 20e9); /* from nothing at no thread */
    assert_true(redline_limits_peak(&l, "avx2", "int8", 1) == 0);
    assert_true(redline_limits_peak(&l, "avx512", "f32", 1) == 0);
    assert_true(redline_limits_bandwidth(&none, 1) == 0);
}

static void test_caches(void **state)
{
    (void)state;
    struct redline_machine m = {.n_physical = 4, .l2_bytes = 1 << 20};
    assert_int_equal(redline_machine_cache_bytes(&m), 4 << 20);
    m.l3_bytes = 32 << 20;
    assert_int_equal(redline_machine_cache_bytes(&m), 32 << 20);
    m.n_l3 = 8;
    assert_int_equal(redline_machine_cache_bytes(&m), 256 << 20);
}

static void test_fingerprint(void **state)
{
    static struct redline_limits l;
    struct redline_machine a, b;
    char id[17], again[17];
    (void)state;
    make_up(&l);
    a = l.machine;
    redline_machine_id(&a, id);
    assert_int_equal(strspn(id, "0123456789abcdef"), 16);
    b = a;
    b.memory_bytes += 1000; /* what the kernel keeps for itself varies a little */
    redline_machine_id(&b, again);
    assert_string_equal(id, again);
    assert_true(redline_machine_same(&a, &b));
#define DIFFERS(change)                                                                             \
    do {                                                                                            \
        b = a;                                                                                      \
        change;                                                                                     \
        assert_false(redline_machine_same(&a, &b));                                                 \
    } while (0)
    DIFFERS(b.cpu[0] = 'B');
    DIFFERS(b.features[0] = '\0');
    DIFFERS(b.microcode[2] = '2');
    DIFFERS(b.kernel[6] = '7');
    DIFFERS(b.build[4] = '2');
    DIFFERS(b.n_logical++);
    DIFFERS(b.n_physical--);
    DIFFERS(b.n_threads--);
    DIFFERS(b.quota = 0);
    DIFFERS(b.l1d_bytes *= 2);
    DIFFERS(b.l2_bytes *= 2);
    DIFFERS(b.l3_bytes *= 2);
    DIFFERS(b.n_l3++);
    DIFFERS(b.memory_bytes *= 2);
#undef DIFFERS
}

/* ---- the record --------------------------------------------------------------------------------------- */

static char *to_json(const struct redline_limits *l)
{
    static char *text; /* static: the compiler takes the caller's use of it for one of a variable gone */
    if (redline_limits_to_json(l, &text, &err)) fail_msg("%s", err.message);
    return text;
}

static void check_round_trip(const struct redline_limits *l)
{
    static struct redline_limits back;
    char *text = to_json(l);
    if (redline_limits_from_json(&back, text, strlen(text), &err)) fail_msg("%s", err.message);
    char *again = to_json(&back);
    assert_string_equal(text, again);
    assert_true(redline_machine_same(&l->machine, &back.machine));
    assert_true(back.n_bandwidths == l->n_bandwidths && back.n_peaks == l->n_peaks);
    assert_true(back.measured_at == l->measured_at && back.read_bytes == l->read_bytes);
    for (int n = 0; n < 10; n++) {
        assert_true(redline_limits_bandwidth(l, n) == redline_limits_bandwidth(&back, n));
        assert_true(redline_limits_peak(l, "avx2", "f32", n) == redline_limits_peak(&back, "avx2", "f32", n));
    }
    redline_free(again);
    redline_free(text);
}

static void test_round_trip(void **state)
{
    static struct redline_limits l;
    (void)state;
    make_up(&l);
    check_round_trip(&l);
    if (redline_limits_measure(&l, &quick, &err)) fail_msg("%s", err.message);
    check_round_trip(&l);
    make_up(&l);
    fault_arm(FAULT_ALLOC, 1, false); /* the text is this library's memory */
    char *text;
    assert_int_equal(redline_limits_to_json(&l, &text, &err), REDLINE_MEMORY);
    assert_null(text);
    fault_arm(FAULT_ALLOC, 0, false);
}

/* The text with the first `from` exchanged; the caller frees it. */
static char *exchange(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    if (!at) fail_msg("'%s' is not in the record", from);
    size_t head = strlen(text) - strlen(at), n = strlen(text) - strlen(from) + strlen(to) + 1;
    char *out = mem_new(n, 1);
    snprintf(out, n, "%.*s%s%s", (int)head, text, to, at + strlen(from));
    return out;
}

static void test_broken_records(void **state)
{
    static const char long_text[] = "\"cpu\": \"01234567890123456789012345678901"
                                    "23456789012345678901234567890123\"";
    static const char *const cases[][3] = {
        /* exchanged, by what, what must be said */
        {"\"method\": 1", "\"method\": 99", "is of method 99"},
        {"\"method\": 1", "\"method\": \"1\"", "broken"},
        {"{", "[", "no JSON"},
        {"\"quota\": 7.5", "\"quota\": -1", "less than nothing"},
        {"\"l3_bytes\": 33554432", "\"l3_bytes\": -1", "less than nothing"},
        {"\"n_logical\": 16", "\"n_logical\": null", "broken"},
        {"\"kernel\"", "\"colonel\"", "kernel"},
        {"\"read_bytes\": 268435456", "\"read_bytes\": 0", "nothing was read"},
        {"\"cpu\": \"A \\\"quoted\\\" processor\"", long_text, "64 bytes, the limit is 63"},
        {"\"best\": 30000000000", "\"best\": 10000000000", "in this order"},
        {"\"best\": 30000000000", "\"best\": 1e300", "in this order"},
        {"\"n_repetitions\": 9", "\"n_repetitions\": 0", "in this order"},
        {"\"n_threads\": 2,\n      \"bytes_per_s\"", "\"n_threads\": 1,\n      \"bytes_per_s\"", "do not ascend"},
        {"3210,\n  \"n_threads\": 8", "3210,\n  \"n_threads\": 9", "do not ascend"},
        {"\"isa\": \"scalar\"", "\"isa\": \"a set of a long name\"", "the limit is 11"},
        {"\"bandwidth\": [", "\"bandwidth\": [], \"others\": [", "rows"},
        {"\"bandwidth\": [", "\"bandwidth\": 1, \"others\": [", "rows"},
        {"\"compute\": [", "\"bandwidth\": [", "no JSON"},
    };
    static struct redline_limits l;
    (void)state;
    make_up(&l);
    char *text = to_json(&l);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *broken = exchange(text, cases[i][0], cases[i][1]);
        err = (struct redline_err){0};
        assert_int_equal(redline_limits_from_json(&l, broken, strlen(broken), &err), REDLINE_FORMAT);
        if (!strstr(err.message, cases[i][2])) fail_msg("'%s' is missing in '%s'", cases[i][2], err.message);
        mem_free(broken);
    }
    for (size_t n = 0; n + 2 < strlen(text); n++) /* without its end it is none */
        assert_int_equal(redline_limits_from_json(&l, text, n, &err), REDLINE_FORMAT);
    redline_free(text);
}

/* Any bytes: refused, or a record whose look-ups give numbers. */
static void test_odd_bytes(void **state)
{
    static struct redline_limits made, l;
    struct rng rng;
    int n_read = 0;
    (void)state;
    make_up(&made);
    char *text = to_json(&made);
    size_t n = strlen(text);
    rng_seed(&rng, 11);
    for (int i = 0; i < 3000; i++) {
        size_t at = (size_t)rng_below(&rng, n);
        char kept = text[at];
        text[at] = "0123456789-.\"x{}[],"[rng_below(&rng, 19)];
        if (redline_limits_from_json(&l, text, n, &err) == 0) {
            n_read++;
            for (int k = 0; k < 12; k++) {
                assert_true(redline_limits_bandwidth(&l, k) >= 0 && redline_limits_bandwidth(&l, k) < 0x1p62);
                assert_true(isfinite(redline_limits_peak(&l, "avx2", "f32", k)));
            }
        }
        text[at] = kept;
    }
    assert_true(n_read > 10); /* a digit instead of a digit */
    redline_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loops),
        cmocka_unit_test(test_loops_wrap),
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_measure),
        cmocka_unit_test(test_measure_order),
        cmocka_unit_test(test_measure_refused),
        cmocka_unit_test(test_look_up),
        cmocka_unit_test(test_caches),
        cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_broken_records),
        cmocka_unit_test(test_odd_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
