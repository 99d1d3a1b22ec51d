/* test_measure.c - what a measurement is made of: words, parts, arrivals, digests; and every resource that is refused
 * on the way. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "digest.h"
#include "drive.h"
#include "fault.h"
#include "file.h"
#include "measure.h"
#include "record.h"
#include "scratch.h"
#include "words.h"

static const char demo[] = SOURCE_DIR "/models/demo.gguf";

static void test_words(void **state)
{
    static const struct {
        struct str text;
        size_t n;
    } table[] = {
        {STR(""), 0},
        {STR(" \t\r\n\v\f"), 0},
        {STR("one"), 1},
        {STR(" one  two\nthree "), 3},
        {STR("it's well-known: 3.5 %"), 4},
        {STR("a\xc2\xa0" "b\xc2\x85" "c"), 3},                     /* no-break space, next line */
        {STR("a\xe2\x80\x83" "b\xe2\x80\xa8" "c\xe3\x80\x80" "d"), 4}, /* em space, line separator, ideographic space */
        {STR("a\xe2\x80\x8b" "b"), 1},                              /* zero width space is none */
        {STR("\xc3\xa4\xc3\xb6 \xe6\xbc\xa2\xe5\xad\x97"), 2},
        {STR("\xe2\x80"), 1},                                       /* broken */
        {{"a\0b", 3}, 1},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) assert_int_equal(words_count(table[i].text), table[i].n);
}

static void test_arrivals(void **state)
{
    enum { N = 20000 };
    static double due[N], again[N];
    double squares = 0;
    (void)state;
    drive_arrivals(due, N, TASK_EVEN, 50, 1);
    for (size_t i = 0; i < N; i++) assert_float_equal(due[i], (double)i / 50, 1e-9);
    drive_arrivals(due, N, TASK_POISSON, 50, 1);
    drive_arrivals(again, N, TASK_POISSON, 50, 1);
    assert_memory_equal(due, again, sizeof due);
    assert_float_equal(due[0], 0, 0);
    for (size_t i = 1; i < N; i++) {
        assert_true(due[i] >= due[i - 1]);
        squares += pow((due[i] - due[i - 1]) * 50, 2);
    }
    assert_float_equal(due[N - 1] * 50 / (N - 1), 1, 0.03); /* the mean of exponential gaps, */
    assert_float_equal(squares / (N - 1), 2, 0.15);         /* and their second moment */
    drive_arrivals(again, N, TASK_POISSON, 50, 2);
    assert_memory_not_equal(due, again, sizeof due);
}

/* Neighbouring parts begin alike and go on differently. */
static void test_random_parts(void **state)
{
    struct task_workload w = {.n_prompt = 5, .n_depth = 20, .n_requests = 40, .seed = 7};
    struct parts p, q;
    (void)state;
    assert_int_equal(parts_make(&p, NULL, &w, 0, NULL), 0);
    assert_int_equal(parts_make(&q, NULL, &w, 0, NULL), 0);
    assert_true(p.n == 40 && p.longest == 25 && p.n_ids == 1000);
    parts_draw(&p, &w, 100);
    parts_draw(&q, &w, 100);
    assert_memory_equal(p.ids, q.ids, p.n_ids * sizeof *p.ids);
    for (size_t i = 0; i < p.n; i++) {
        const int32_t *ids = p.ids + p.all[i].at;
        assert_memory_equal(ids, p.ids, 20 * sizeof *ids);
        for (size_t t = 0; t < 25; t++) assert_in_range(ids[t], 0, 99);
        for (size_t j = 0; j < i; j++) assert_true(p.ids[p.all[j].at + 20] != ids[20]);
    }
    w.seed = 8;
    parts_draw(&q, &w, 100);
    assert_memory_not_equal(p.ids, q.ids, p.n_ids * sizeof *p.ids);
    parts_free(&p);
    parts_free(&q);
}

static void test_digest(void **state)
{
    /* FIPS 180-2: of "abc", and of the two parts together the same */
    static const char abc[] = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    char digest[DIGEST_TEXT], path[2][512], cache[600];
    const char *const both[] = {path[0], path[1]};
    struct redline_err err = {0};
    (void)state;
    scratch_path(path[0], "a");
    scratch_path(path[1], "bc");
    snprintf(cache, sizeof cache, "%s/sub/digests.json", scratch_folder);
    assert_int_equal(file_write(path[0], "a", 1, &err), 0);
    assert_int_equal(file_write(path[1], "bc", 2, &err), 0);
    assert_int_equal(digest_files(digest, both, 2, NULL, &err), 0);
    assert_string_equal(digest, abc);
    assert_int_equal(digest_files(digest, both, 2, cache, &err), 0);
    assert_int_equal(digest_files(digest, both, 2, cache, &err), 0);
    assert_string_equal(digest, abc);
    FILE *f = fopen(path[1], "w"); /* the same file, the same length, another time */
    fputs("bd", f);
    fclose(f);
    struct timespec times[2] = {{1000, 0}, {1000, 5}};
    assert_int_equal(utimensat(AT_FDCWD, path[1], times, 0), 0);
    assert_int_equal(digest_files(digest, both, 2, cache, &err), 0);
    assert_string_not_equal(digest, abc);
    assert_int_equal(digest_files(digest, both, 2, "/dev/null/x", &err), 0); /* no place to keep it */
    unlink(path[1]);
    assert_int_equal(digest_files(digest, both, 2, cache, &err), REDLINE_IO);
    assert_non_null(strstr(err.message, "bc"));
    unlink(cache);
    snprintf(cache, sizeof cache, "%s/sub", scratch_folder);
    rmdir(cache);
}

/* ---- refused resources ----------------------------------------------------------------------------- */

/* Of the many, fewer and fewer: the first hundred, then each a twentieth further on. */
static void refuse(enum fault_kind kind, const char *text)
{
    json_t *task = json_loads(text, 0, NULL), *record;
    assert_non_null(task);
    for (uint64_t nth = 1;; nth += 1 + (nth > 100) * nth / 20) {
        struct redline_err err = {0};
        fault_arm(kind, nth, false);
        int status = measure_run(&record, task, &err);
        bool hit = fault_count(kind) >= nth;
        fault_arm(kind, 0, false);
        if (status) {
            assert_true(hit && *err.message && !record);
        } else {
            assert_int_equal(record_check(record, &err), 0);
            json_decref(record);
        }
        if (!hit) break;
    }
    json_decref(task);
}

static void test_refused(void **state)
{
    char task[900];
    (void)state;
    snprintf(task, sizeof task, "{\"model\": \"%s\", \"workload\": {\"n_prompt\": 4, \"n_gen\": 3, \"n_requests\": 4, "
                                "\"n_depth\": 8, \"concurrency\": 2}, \"load\": \"warm\", \"digest_cache\": \"%s\"}",
             demo, SCRATCH("digests.json"));
    refuse(FAULT_ALLOC, task);
    refuse(FAULT_READ, task);
    refuse(FAULT_THREAD, task);
    snprintf(task, sizeof task,
             "{\"model\": \"%s\", \"settings\": {\"n_ctx\": 16}, \"workload\": {\"kind\": \"score\", "
             "\"document\": \"%s\", \"n_requests\": 3}}", demo, SOURCE_DIR "/CONTRIBUTING.md");
    refuse(FAULT_ALLOC, task);
    snprintf(task, sizeof task, "{\"model\": \"%s\", \"workload\": {\"kind\": \"embed\", \"document\": \"%s\", "
                                "\"n_requests\": 3, \"arrival\": \"even\", \"rate\": 500}}", demo,
             SOURCE_DIR "/tests/data/demo/heldout.txt");
    refuse(FAULT_ALLOC, task);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),  cmocka_unit_test(test_arrivals), cmocka_unit_test(test_random_parts),
        cmocka_unit_test(test_digest), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
