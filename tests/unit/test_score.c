/* test_score.c - divergences of known distributions, estimates with their errors, and the file of a reference:
 * what is written is read, what is wrong in it is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "base.h"
#include "check.h"
#include "fault.h"
#include "rng.h"
#include "scratch.h"
#include "score_record.h"

static struct redline_err err;

static void expect_near(double got, double want, double error)
{
    if (!(fabs(got - want) <= error)) fail_msg("%.17g is not %.17g within %g", got, want, error);
}

/* ---- two rows ----------------------------------------------------------------------------------- */

/* Logits of these probabilities, up to a constant that means nothing. */
static void logits_of(float *out, const double *p, int n)
{
    for (int i = 0; i < n; i++) out[i] = (float)(log(p[i]) + 3);
}

static void test_known(void **state)
{
    const double p[] = {0.5, 0.25, 0.25}, q[] = {0.25, 0.25, 0.5};
    float a[3], b[3];
    struct score_top top;
    (void)state;
    logits_of(a, p, 3);
    logits_of(b, q, 3);
    expect_near(score_kl(a, b, 3), 0.25 * log(2), 1e-6);
    score_top(&top, a, 3);
    assert_int_equal(top.n, 3); /* a vocabulary smaller than the short form: nothing is left over */
    assert_true(top.tail == -INFINITY);
    for (int i = 0; i < 3; i++) expect_near((double)top.logprobs[i], log(p[top.ids[i]]), 1e-6);
    expect_near(score_kl_top(&top, b, 3), 0.25 * log(2), 1e-6);
}

static void test_equals(void **state)
{
    float flat[100];
    struct score_top top;
    (void)state;
    for (int i = 0; i < 100; i++) flat[i] = 7;
    flat[90] = 8;
    score_top(&top, flat, 100);
    assert_int_equal(score_best(flat, 100), 90);
    assert_int_equal(top.ids[0], 90);
    for (int i = 1; i < SCORE_TOP; i++) assert_int_equal(top.ids[i], i - 1); /* the lower id first */
    expect_near((double)top.tail, log((100 - SCORE_TOP) / (99 + exp(1))), 1e-6);
    flat[90] = 7;
    assert_int_equal(score_best(flat, 100), 0);
    expect_near(score_kl(flat, flat, 100), 0, 0);
}

static void test_excluded(void **state)
{
    float some[80], all[80], none[80];
    struct score_top top;
    (void)state;
    for (int i = 0; i < 80; i++) {
        all[i] = 1;
        some[i] = i % 2 ? -INFINITY : 1;
        none[i] = -INFINITY;
    }
    expect_near(score_kl(some, all, 80), log(2), 1e-6); /* what the reference excludes counts nothing */
    assert_true(score_kl(all, some, 80) == INFINITY);   /* what the model alone excludes counts for all */
    expect_near(score_kl(some, some, 80), 0, 0);
    score_top(&top, some, 80);
    assert_int_equal(top.n, SCORE_TOP);
    assert_true(top.logprobs[39] > -INFINITY && top.logprobs[40] == -INFINITY && top.tail == -INFINITY);
    expect_near(score_kl_top(&top, all, 80), log(2), 1e-6);
    expect_near(score_kl_top(&top, some, 80), 0, 0);
    score_top(&top, all, 80);
    assert_true(score_kl_top(&top, some, 80) == INFINITY);
    assert_true(isnan(score_kl(none, all, 80)) && isnan(score_kl(all, none, 80))); /* no distribution */
    none[3] = NAN;
    assert_true(isnan(score_kl(none, all, 80)) && isnan(score_kl_top(&top, none, 80)));
}

/* The textbook's sums, in long double. */
static long double slow_kl(const float *a, const float *b, int n)
{
    long double sum_a = 0, sum_b = 0, kl = 0;
    for (int i = 0; i < n; i++) {
        sum_a += expl((long double)a[i]);
        sum_b += expl((long double)b[i]);
    }
    for (int i = 0; i < n; i++)
        kl += expl((long double)a[i]) / sum_a * ((long double)a[i] - logl(sum_a) - (long double)b[i] + logl(sum_b));
    return kl;
}

/* Of the tokens in `top` and, where there are others, one more for all of them. */
static long double slow_kl_top(const struct score_top *top, const float *a, const float *b, int n)
{
    float short_a[SCORE_TOP + 1], short_b[SCORE_TOP + 1];
    long double rest_a = 0, rest_b = 0;
    for (int i = 0; i < n; i++) {
        int at = 0;
        while (at < top->n && top->ids[at] != i) at++;
        rest_a += at < top->n ? 0 : expl((long double)a[i]);
        rest_b += at < top->n ? 0 : expl((long double)b[i]);
    }
    for (int i = 0; i < top->n; i++) {
        short_a[i] = a[top->ids[i]];
        short_b[i] = b[top->ids[i]];
    }
    short_a[top->n] = (float)logl(rest_a);
    short_b[top->n] = (float)logl(rest_b);
    return slow_kl(short_a, short_b, top->n + (n > top->n));
}

static void test_random(void **state)
{
    enum { N = 500 };
    float a[N], b[N];
    struct score_top top;
    struct rng rng;
    double loosest = 0;
    (void)state;
    rng_seed(&rng, 3);
    for (int t = 0; t < 300; t++) {
        int n = 2 + (int)rng_below(&rng, N - 1);
        double spread = 0.1 + 4 * rng_uniform(&rng), away = pow(10, -4 * rng_uniform(&rng));
        for (int i = 0; i < n; i++) {
            a[i] = (float)(spread * rng_normal(&rng));
            b[i] = a[i] + (float)(away * rng_normal(&rng));
        }
        double kl = score_kl(a, b, (size_t)n), bound;
        expect_near(kl, (double)slow_kl(a, b, n), 1e-12);
        assert_true(score_kl(a, a, (size_t)n) == 0);
        score_top(&top, a, (size_t)n);
        assert_int_equal(top.n, MIN(n, SCORE_TOP));
        for (int i = 1; i < top.n; i++) assert_true(a[top.ids[i - 1]] >= a[top.ids[i]]);
        int n_above = 0;
        for (int i = 0; i < n; i++) n_above += a[i] > a[top.ids[top.n - 1]];
        assert_int_equal(n_above, top.n - 1);
        bound = score_kl_top(&top, b, (size_t)n);
        expect_near(bound, (double)slow_kl_top(&top, a, b, n), 2e-6);
        assert_true(bound <= kl + 1e-6 && score_kl_top(&top, a, (size_t)n) == 0);
        loosest = fmax(loosest, kl - bound);
    }
    assert_true(loosest > 0.01); /* the bound is one: flat distributions have heavy tails */
}

/* ---- many figures -------------------------------------------------------------------------------- */

static void test_summary(void **state)
{
    double nll[] = {1, 2, 3, 2}, other[] = {1.5, 2, 2.5, 1}, kl[] = {0.4, 0.1, INFINITY, 0.2};
    struct score_columns c = {4, nll, other, kl, 3};
    struct score_summary s;
    (void)state;
    score_summarize(&s, &c, true);
    expect_near(s.perplexity.value, exp(2), 1e-12);
    expect_near(s.perplexity.error, exp(2) * sqrt((18.0 / 4 - 4) / 3), 1e-12);
    expect_near(s.reference_perplexity.value, exp(1.75), 1e-12);
    expect_near(s.ratio.value, exp(0.25), 1e-12); /* differences -0.5, 0, 0.5, 1 */
    expect_near(s.ratio.error, exp(0.25) * sqrt((1.5 / 4 - 0.0625) / 3), 1e-12);
    expect_near(s.same_top.value, 0.75, 0);
    expect_near(s.same_top.error, sqrt(0.75 * 0.25 / 3), 1e-12);
    assert_true(s.kl_mean.value == INFINITY && isnan(s.kl_mean.error));
    expect_near(s.kl_median, 0.3, 1e-12);
    assert_true(s.kl_largest == INFINITY);
    c.n = 3; /* sorted by now: 0.1, 0.2, 0.4 */
    score_summarize(&s, &c, true);
    expect_near(s.kl_mean.value, 0.7 / 3, 1e-12);
    expect_near(s.kl_median, 0.2, 0);
    expect_near(s.kl_p99, 0.2 + 0.98 * 0.2, 1e-12);
    expect_near(s.kl_largest, 0.4, 0);
    c.n = 1;
    score_summarize(&s, &c, false);
    expect_near(s.perplexity.value, exp(1), 1e-12);
    assert_true(isnan(s.perplexity.error)); /* of one figure nobody knows */
}

/* ---- the record ---------------------------------------------------------------------------------- */

enum { N_CTX = 7, N_CHUNKS = 2, N_VOCAB = 70, N_POSITIONS = 2 * 3, HEADER = 64, MADE = 3 };
enum { AT_IDS = HEADER + MADE, AT_POSITIONS = AT_IDS + 4 * N_CTX * N_CHUNKS, POSITION = 8 + 8 * SCORE_TOP,
       N_BYTES = AT_POSITIONS + N_POSITIONS * POSITION };

static int32_t frame_ids[N_CTX * N_CHUNKS];
static const struct score_frame frame = {N_CTX, N_CHUNKS, N_VOCAB, frame_ids};

static void make_position(struct score_top *out, int i)
{
    float logits[N_VOCAB];
    for (int v = 0; v < N_VOCAB; v++) logits[v] = (float)((v * 37 + i * 11) % N_VOCAB) / 5;
    score_top(out, logits, N_VOCAB);
    out->next = -0.5f - (float)i;
}

static void write_record(const char *path)
{
    struct file_out *file;
    struct score_top position;
    for (int i = 0; i < N_CTX * N_CHUNKS; i++) frame_ids[i] = i * 3 % N_VOCAB;
    OK(score_record_new(&file, path, &frame, "a\nb", &err));
    for (int i = 0; i < N_POSITIONS; i++) {
        make_position(&position, i);
        OK(score_record_add(file, &position, &err));
    }
    OK(file_out_finish(file, &err));
    file_out_free(&file);
}

static void test_round_trip(void **state)
{
    struct score_record r;
    struct score_top want, got;
    bool is;
    (void)state;
    write_record(SCRATCH("a.rec"));
    OK(score_is_record(&is, SCRATCH("a.rec"), &err));
    assert_true(is);
    OK(score_record_open(&r, SCRATCH("a.rec"), &err));
    assert_string_equal(r.made, "a?b");
    assert_int_equal(r.frame.n_vocab, N_VOCAB);
    assert_int_equal(r.n_top, SCORE_TOP);
    OK(score_frame_matches(&r.frame, &frame, &err));
    for (int i = 0; i < N_POSITIONS; i++) {
        make_position(&want, i);
        score_record_at(&r, (size_t)i, &got);
        assert_memory_equal(&got, &want, sizeof got);
    }
    score_record_close(&r);
    OK(file_write(SCRATCH("text"), "REDLINE", 7, &err));
    OK(score_is_record(&is, SCRATCH("text"), &err));
    assert_false(is);
    assert_int_equal(score_is_record(&is, SCRATCH("none"), &err), REDLINE_IO);
}

static void test_not_comparable(void **state)
{
    int32_t ids[N_CTX * N_CHUNKS];
    struct score_frame other = frame;
    (void)state;
    memcpy(ids, frame_ids, sizeof ids);
    other.ids = ids;
    OK(score_frame_matches(&frame, &other, &err));
    ids[9]++;
    assert_int_equal(score_frame_matches(&frame, &other, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "token 2 of chunk 1 is 27 there and 28 here"));
    other.n_chunks = 1;
    assert_int_equal(score_frame_matches(&frame, &other, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "has 2 chunks, here there are 1"));
    other.n_ctx = 6;
    assert_int_equal(score_frame_matches(&frame, &other, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "chunks of 7 tokens"));
}

/* The record with some bytes replaced. */
static int open_changed(struct buf *whole, size_t at, const void *bytes, size_t n)
{
    struct score_record r;
    char before[16];
    memcpy(before, whole->p + at, n);
    memcpy(whole->p + at, bytes, n);
    OK(file_write(SCRATCH("bad.rec"), whole->p, whole->n, &err));
    memcpy(whole->p + at, before, n);
    int status = score_record_open(&r, SCRATCH("bad.rec"), &err);
    if (!status) score_record_close(&r);
    return status;
}

static void test_broken(void **state)
{
    static const union { uint32_t u; float f; } zero = {.u = 0}, huge = {.u = UINT32_MAX}, vocab = {.u = N_VOCAB},
        nan = {.f = NAN}, plus = {.f = 0.5f}, sure = {.f = 0}, never = {.f = -INFINITY};
    static const struct { size_t at; const void *bytes; const char *sentence; } cases[] = {
        {0, "X", "is no record"},
        {8, &huge, "of version 4294967295, known is 1"},
        {12, &zero, "length of a chunk is 0"},
        {12, &huge, "length of a chunk"},
        {16, &zero, "number of chunks"},
        {16, &vocab, "a record of 70 chunks"},
        {20, &huge, "vocabulary is 4294967295"},
        {24, &zero, "tokens of a position is 0"},
        {24, &vocab, "between 1 and 64"},
        {28, &huge, "length of a text"},
        {HEADER, "\0\0\0", "0x00"},
        {HEADER, "\033[2J", "0x1b"},
        {AT_IDS, &vocab, "token 0 of the record is 70"},
        {AT_POSITIONS - 4, &huge, "token 13 of the record is -1"},
        {AT_POSITIONS, &nan, "position 0 of the record"},
        {AT_POSITIONS + 4, &plus, "position 0 of the record"},
        {AT_POSITIONS + POSITION + 8, &vocab, "position 1 of the record"},
        {AT_POSITIONS + POSITION + 8, &huge, "position 1 of the record"},
        {AT_POSITIONS + 8 + 4 * SCORE_TOP, &nan, "position 0 of the record"},
        {AT_POSITIONS + 8 + 4 * SCORE_TOP, &never, "position 0 of the record"}, /* no longer falling */
        {AT_POSITIONS + 8 + 4 * SCORE_TOP, &sure, "position 0 of the record"},  /* more than 1 in all */
    };
    struct buf whole = {0};
    (void)state;
    write_record(SCRATCH("a.rec"));
    OK(file_read(&whole, SCRATCH("a.rec"), &err));
    assert_int_equal(whole.n, N_BYTES);
    assert_int_equal(open_changed(&whole, 0, "R", 1), 0);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        size_t n = cases[i].at == 0 ? 1 : cases[i].at == HEADER ? MADE : 4;
        assert_int_equal(open_changed(&whole, cases[i].at, cases[i].bytes, n), REDLINE_FORMAT);
        if (!strstr(err.message, cases[i].sentence)) fail_msg("case %zu: %s", i, err.message);
    }
    /* the same token twice in a position */
    assert_int_equal(open_changed(&whole, AT_POSITIONS + 8, whole.p + AT_POSITIONS + 12, 4), REDLINE_FORMAT);
    buf_free(&whole);
}

/* Cut anywhere, longer than it says, and with any one bit turned: refused, or read without harm. */
static void test_any_length_any_bit(void **state)
{
    struct buf whole = {0};
    struct score_record r;
    struct rng rng;
    int n_refused = 0;
    (void)state;
    write_record(SCRATCH("a.rec"));
    OK(file_read(&whole, SCRATCH("a.rec"), &err));
    for (size_t n = 0; n < whole.n; n += n < AT_POSITIONS ? 1 : 97) {
        OK(file_write(SCRATCH("bad.rec"), whole.p, n, &err));
        assert_int_equal(score_record_open(&r, SCRATCH("bad.rec"), &err), REDLINE_FORMAT);
    }
    OK(buf_append(&whole, "x", 1, &err));
    OK(file_write(SCRATCH("bad.rec"), whole.p, whole.n--, &err));
    assert_int_equal(score_record_open(&r, SCRATCH("bad.rec"), &err), REDLINE_FORMAT);
    rng_seed(&rng, 8);
    for (int t = 0; t < 700; t++) {
        size_t at = t < 8 * AT_POSITIONS ? (size_t)t / 8 : (size_t)rng_below(&rng, whole.n);
        char byte = (char)(whole.p[at] ^ 1 << t % 8);
        int status = open_changed(&whole, at, &byte, 1);
        assert_true(status == 0 || status == REDLINE_FORMAT);
        n_refused += status != 0;
    }
    assert_true(n_refused > 350);
    buf_free(&whole);
}

static void test_refused_memory(void **state)
{
    struct score_record r;
    (void)state;
    write_record(SCRATCH("a.rec"));
    fault_arm(FAULT_ALLOC, 0, false);
    OK(score_record_open(&r, SCRATCH("a.rec"), &err));
    score_record_close(&r);
    uint64_t n = fault_count(FAULT_ALLOC);
    for (uint64_t i = 1; i <= n; i++) {
        fault_arm(FAULT_ALLOC, i, false);
        assert_int_equal(score_record_open(&r, SCRATCH("a.rec"), &err), REDLINE_MEMORY);
        assert_null(r.ids);
    }
    fault_arm(FAULT_ALLOC, 0, false);
    assert_true(n >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_equals),
        cmocka_unit_test(test_excluded),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_summary),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_not_comparable),
        cmocka_unit_test(test_broken),
        cmocka_unit_test(test_any_length_any_bit),
        cmocka_unit_test(test_refused_memory),
    };
    return cmocka_run_group_tests_name("score", tests, scratch_setup, scratch_teardown);
}
