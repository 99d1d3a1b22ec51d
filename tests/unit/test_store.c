/* test_store.c - lines that are torn, foreign or killed in the middle, and two writers. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fault.h"
#include "file.h"
#include "record.h"
#include "rng.h"
#include "scratch.h"
#include "store.h"

/* A whole record that was made by hand. */
static json_t *record(const char *id)
{
    struct redline_err err = {0};
    json_t *r = json_pack("{s:i, s:s, s:s, s:{s:s, s:s}, s:{s:s}, s:{}, s:{}, s:{}, s:{}}", "version", 1, "id", id,
                          "started", "2026-01-01T00:00:00Z", "program", "name", "p", "contestant", "p", "model",
                          "file", "m", "settings", "workload", "derived", "missing");
    assert_int_equal(record_complete(r, "made up", &err), 0);
    return r;
}

static void append(struct store *s, const char *id)
{
    json_t *r = record(id);
    assert_int_equal(store_append(s, r, NULL), 0);
    json_decref(r);
}

static void append_bytes(const char *path, const char *text)
{
    FILE *f = fopen(path, "ab");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static size_t file_bytes(const char *path)
{
    struct stat facts;
    return stat(path, &facts) ? 0 : (size_t)facts.st_size;
}

static void test_again(void **state)
{
    struct redline_err err = {0};
    struct store *s;
    json_t *all;
    char path[600];
    (void)state;
    snprintf(path, sizeof path, "%s/deep/er/store.jsonl", scratch_folder);
    assert_int_equal(store_open(&s, path, &err), 0);
    assert_int_equal(json_array_size(store_records(s)), 0);
    append(s, "a");
    append(s, "b");
    assert_int_equal(json_array_size(store_records(s)), 2);
    store_close(&s);
    assert_null(s);
    store_close(&s);
    assert_int_equal(store_open(&s, path, &err), 0);
    append(s, "c");
    assert_string_equal(record_text(json_array_get(store_records(s), 0), "id"), "a");
    assert_string_equal(record_text(json_array_get(store_records(s), 2), "id"), "c");
    store_close(&s);
    assert_int_equal(store_read(&all, path, &err), 0);
    assert_int_equal(json_array_size(all), 3);
    json_decref(all);
    unlink(path);
    snprintf(path, sizeof path, "%s/deep/er", scratch_folder);
    rmdir(path);
    snprintf(path, sizeof path, "%s/deep", scratch_folder);
    rmdir(path);
}

static void test_torn(void **state)
{
    struct redline_err err = {0};
    struct store *s;
    json_t *all;
    const char *path = SCRATCH("torn.jsonl");
    (void)state;
    assert_int_equal(store_open(&s, path, &err), 0);
    append(s, "a");
    store_close(&s);
    size_t whole = file_bytes(path);
    append_bytes(path, "{\"version\":1,\"id\":\"to");
    assert_int_equal(store_read(&all, path, &err), 0); /* a reader leaves it out, and alone */
    assert_int_equal(json_array_size(all), 1);
    json_decref(all);
    assert_true(file_bytes(path) > whole);
    assert_int_equal(store_open(&s, path, &err), 0);
    assert_int_equal(file_bytes(path), whole);
    append(s, "b");
    store_close(&s);
    assert_int_equal(store_read(&all, path, &err), 0);
    assert_int_equal(json_array_size(all), 2);
    json_decref(all);
}

static void test_foreign(void **state)
{
    static const char *const lines[] = {"not JSON\n", "{\"version\":1}\n", "[]\n", "{\"a\":1,\"a\":2}\n"};
    struct redline_err err = {0};
    struct store *s;
    json_t *all;
    const char *path = SCRATCH("foreign.jsonl");
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        unlink(path);
        assert_int_equal(store_open(&s, path, &err), 0);
        append(s, "a");
        store_close(&s);
        append_bytes(path, lines[i]);
        size_t before = file_bytes(path);
        assert_int_equal(store_read(&all, path, &err), REDLINE_FORMAT);
        assert_null(all);
        assert_non_null(strstr(err.message, "foreign.jsonl:2: "));
        assert_int_equal(store_open(&s, path, &err), REDLINE_FORMAT);
        assert_null(s);
        assert_int_equal(file_bytes(path), before);
    }
    assert_int_equal(store_read(&all, SCRATCH("none.jsonl"), &err), REDLINE_IO);
    assert_int_equal(store_open(&s, scratch_folder, &err), REDLINE_IO);
    assert_int_equal(store_open(&s, "/dev/null", &err), REDLINE_IO);
    assert_int_equal(store_open(&s, "/dev/null/x.jsonl", &err), REDLINE_IO);
}

static void test_refuses_what_is_no_record(void **state)
{
    struct redline_err err = {0};
    struct store *s;
    const char *path = SCRATCH("check.jsonl");
    json_t *r = record("a");
    (void)state;
    json_object_del(r, "load");
    assert_int_equal(store_open(&s, path, &err), 0);
    assert_int_equal(store_append(s, r, &err), REDLINE_FORMAT);
    assert_string_equal(err.message, "the record has no member 'load'");
    assert_int_equal(file_bytes(path), 0);
    assert_int_equal(json_array_size(store_records(s)), 0);
    store_close(&s);
    json_decref(r);
}

static void test_one_writer(void **state)
{
    struct redline_err err = {0};
    struct store *first, *second;
    json_t *all;
    const char *path = SCRATCH("locked.jsonl");
    (void)state;
    assert_int_equal(store_open(&first, path, &err), 0);
    append(first, "a");
    assert_int_equal(store_open(&second, path, &err), REDLINE_BUSY);
    assert_non_null(strstr(err.message, "another program is writing"));
    assert_int_equal(store_read(&all, path, &err), 0); /* who only reads may */
    json_decref(all);
    store_close(&first);
    assert_int_equal(store_open(&second, path, &err), 0);
    store_close(&second);
}

/* Killed at any moment: what is there is whole, nothing that was said to be kept is lost, and it goes on. */
static void test_killed(void **state)
{
    enum { ROUNDS = 25 };
    struct rng rng;
    const char *path = SCRATCH("killed.jsonl");
    size_t n_before = 0;
    (void)state;
    rng_seed(&rng, 3);
    for (int round = 0; round < ROUNDS; round++) {
        struct redline_err err = {0};
        struct store *s;
        int kept[2];
        char byte;
        assert_int_equal(pipe(kept), 0);
        pid_t child = fork();
        if (child == 0) {
            json_t *r = record("child");
            if (store_open(&s, path, NULL)) _exit(1);
            while (store_append(s, r, NULL) == 0 && write(kept[1], "k", 1) == 1) {}
            _exit(1);
        }
        close(kept[1]);
        assert_int_equal(read(kept[0], &byte, 1), 1);
        usleep((useconds_t)rng_below(&rng, 8000));
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        size_t n_kept = 1;
        while (read(kept[0], &byte, 1) == 1) n_kept++;
        close(kept[0]);
        if (store_open(&s, path, &err)) fail_msg("round %d: %s", round, err.message);
        size_t n = json_array_size(store_records(s));
        assert_in_range(n, n_before + n_kept, n_before + n_kept + 1);
        n_before = n;
        store_close(&s);
    }
}

static void test_no_memory(void **state)
{
    const char *path = SCRATCH("refused.jsonl");
    struct store *s;
    (void)state;
    assert_int_equal(store_open(&s, path, NULL), 0);
    append(s, "a");
    store_close(&s);
    for (int kind = 0; kind < 2; kind++) {
        for (uint64_t nth = 1;; nth++) {
            struct redline_err err = {0};
            fault_arm(kind ? FAULT_READ : FAULT_ALLOC, nth, false);
            int status = store_open(&s, path, &err);
            bool hit = fault_count(kind ? FAULT_READ : FAULT_ALLOC) >= nth;
            fault_arm(kind ? FAULT_READ : FAULT_ALLOC, 0, false);
            store_close(&s);
            if (!hit) break;
            if (status) assert_true(*err.message);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_again),      cmocka_unit_test(test_torn),
        cmocka_unit_test(test_foreign),    cmocka_unit_test(test_refuses_what_is_no_record),
        cmocka_unit_test(test_one_writer), cmocka_unit_test(test_killed),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
