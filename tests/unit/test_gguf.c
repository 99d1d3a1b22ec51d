/* test_gguf.c - reading: typed getters, split sets, refused reads, and the files that others wrote
 * (REDLINE_TEST_DATA). */
#define _GNU_SOURCE
#include <ftw.h>

#include "base.h"
#include "check.h"
#include "fault.h"
#include "file.h"
#include "gguf_bytes.h"
#include "gguf_write.h"
#include "scratch.h"

static void open_ok(struct gguf **g, const char *path)
{
    struct redline_err err = {0};
    if (gguf_open(g, path, &err)) fail_msg("%s", err.message);
}

static void open_fails(const char *path, int code, const char *words)
{
    struct gguf *g;
    struct redline_err err = {0};
    assert_int_equal(gguf_open(&g, path, &err), code);
    assert_null(g);
    if (!strstr(err.message, words)) fail_msg("'%s' does not say '%s'", err.message, words);
}

static void test_getters(void **state)
{
    (void)state;
    struct gguf *g;
    struct gguf_writer *w;
    struct redline_err err;
    uint32_t u32 = 5;
    float f32 = 2;
    bool flag = true;
    const struct gguf_value *array;
    assert_int_equal(gguf_writer_new(&w, SCRATCH("a.gguf"), 0, &err), 0);
    gguf_write_i8(w, "i8", -1, &err);
    gguf_write_u64(w, "u64", 1ull << 32, &err);
    gguf_write_u64(w, "small", 7, &err);
    gguf_write_f64(w, "f64", 0.5, &err);
    gguf_write_f64(w, "huge", 1e300, &err);
    gguf_write_f32(w, "f32", 7, &err);
    gguf_write_array(w, "array", GGUF_U16, "\1\0\2\0", 2, &err);
    assert_int_equal(gguf_writer_finish(w, &err), 0);
    gguf_writer_free(&w);
    open_ok(&g, SCRATCH("a.gguf"));
    assert_int_equal(gguf_get_u32(g, "absent", &u32, &err), 0);
    assert_int_equal(u32, 5);
    assert_int_equal(gguf_get_u32(g, "small", &u32, &err), 0);
    assert_int_equal(u32, 7);
    assert_int_equal(gguf_get_u32(g, "i8", &u32, &err), REDLINE_FORMAT);
    assert_non_null(strstr(err.message, "'i8' is -1, outside of 0"));
    assert_int_equal(gguf_get_u32(g, "u64", &u32, &err), REDLINE_FORMAT);
    assert_int_equal(gguf_get_u32(g, "f32", &u32, &err), REDLINE_FORMAT);
    assert_int_equal(gguf_get_u32(g, "array", &u32, &err), REDLINE_FORMAT);
    assert_non_null(strstr(err.message, "is an array of u16, not an integer"));
    assert_int_equal(u32, 7);
    assert_int_equal(gguf_get_f32(g, "f64", &f32, &err), 0);
    assert_true(f32 == 0.5f);
    assert_int_equal(gguf_get_f32(g, "small", &f32, &err), REDLINE_FORMAT);
    assert_int_equal(gguf_get_f32(g, "huge", &f32, &err), REDLINE_FORMAT);
    assert_int_equal(gguf_get_bool(g, "small", &flag, &err), REDLINE_FORMAT);
    assert_int_equal(gguf_get_array(g, "array", GGUF_I32, &array, &err), 0);
    assert_int_equal(gguf_int_at(array, 1), 2);
    assert_int_equal(gguf_get_array(g, "array", GGUF_F32, &array, &err), REDLINE_FORMAT);
    assert_int_equal(gguf_get_array(g, "absent", GGUF_F32, &array, &err), 0);
    assert_null(array);
    gguf_close(&g);
    scratch_clear();
}

/* No tensors and no values: legal, and of no use. */
static void test_nothing_inside(void **state)
{
    (void)state;
    struct bytes b = {0};
    struct gguf *g;
    struct redline_err err;
    put_header(&b, 3, 0, 0);
    assert_int_equal(gguf_open_memory(&g, b.p, b.n, "none", &err), 0);
    assert_int_equal(g->n_tensors + g->n_values, 0);
    assert_null(gguf_find(g, "general.architecture"));
    assert_null(gguf_find_tensor(g, STR("")));
    gguf_close(&g);
    gguf_close(&g);
}

/* One file of a set, with one tensor of four floats. */
static void write_part(const char *file, uint16_t i, uint16_t count, const char *tensor,
                       int n_tensors)
{
    static const float data[4] = {1, 2, 3, 4};
    struct gguf_writer *w;
    struct redline_err err;
    uint64_t n = 4;
    assert_int_equal(gguf_writer_new(&w, SCRATCH(file), i == 1 ? 8 : 0, &err), 0);
    gguf_write_u16(w, "split.no", i, &err);
    gguf_write_u16(w, "split.count", count, &err);
    gguf_write_i32(w, "split.tensors.count", n_tensors, &err);
    if (i == 0) gguf_write_u32(w, "answer", 42, &err);
    assert_int_equal(gguf_write_tensor(w, str_of(tensor), DTYPE_F32, 1, &n, &err), 0);
    assert_int_equal(gguf_write_data(w, data, sizeof data, &err), 0);
    assert_int_equal(gguf_writer_finish(w, &err), 0);
    gguf_writer_free(&w);
}

#define PART_1 "m-00001-of-00003.gguf"
#define PART_2 "m-00002-of-00003.gguf"
#define PART_3 "m-00003-of-00003.gguf"

static void write_set(void)
{
    write_part(PART_1, 0, 3, "a", 3);
    write_part(PART_2, 1, 3, "b", 3);
    write_part(PART_3, 2, 3, "c", 3);
}

static void test_split(void **state)
{
    (void)state;
    struct gguf *g;
    write_set();
    open_ok(&g, SCRATCH(PART_1));
    assert_int_equal(g->n_files, 3);
    assert_int_equal(g->n_tensors, 3);
    assert_int_equal(g->tensor_bytes, 48);
    assert_int_equal(gguf_find_tensor(g, STR("c"))->file, 2);
    assert_int_equal(gguf_int_at(gguf_find(g, "answer"), 0), 42);
    for (uint64_t i = 0; i < 3; i++)
        assert_memory_equal(g->tensors[i].data, g->tensors[0].data, 16);
    gguf_close(&g);
    write_part("one.gguf", 0, 1, "a", 1);
    open_ok(&g, SCRATCH("one.gguf"));
    gguf_close(&g);
    scratch_clear();
}

static void test_split_broken(void **state)
{
    (void)state;
    write_set();
    open_fails(SCRATCH(PART_2), REDLINE_FORMAT, PART_1);
    unlink(SCRATCH(PART_3));
    open_fails(SCRATCH(PART_1), REDLINE_IO, PART_3);
    write_part(PART_3, 1, 3, "c", 3);
    open_fails(SCRATCH(PART_1), REDLINE_FORMAT, "it should be part 3 of 3");
    write_part(PART_3, 2, 4, "c", 3);
    open_fails(SCRATCH(PART_1), REDLINE_FORMAT, "it should be part 3 of 3");
    write_part(PART_3, 2, 3, "c", 9);
    open_fails(SCRATCH(PART_1), REDLINE_FORMAT, "split.tensors.count is 9");
    write_part(PART_3, 2, 3, "a", 3);
    open_fails(SCRATCH(PART_1), REDLINE_FORMAT, "the tensor 'a' occurs twice");
    write_part(PART_1, 0, 3, "a", 4);
    write_part(PART_2, 1, 3, "b", 4);
    write_part(PART_3, 2, 3, "c", 4);
    open_fails(SCRATCH(PART_1), REDLINE_FORMAT, "but there are 3 tensors in 3 files");
    write_part("renamed.gguf", 0, 3, "a", 3);
    open_fails(SCRATCH("renamed.gguf"), REDLINE_FORMAT, "does not end in '-00001-of-00003.gguf'");
    write_part("m-00001-of-00002.gguf", 0, 3, "a", 3);
    open_fails(SCRATCH("m-00001-of-00002.gguf"), REDLINE_FORMAT, "its name says part 1 of 2");
    write_part("m-00001-of-00002.gguf", 0, 1, "a", 1);
    open_fails(SCRATCH("m-00001-of-00002.gguf"), REDLINE_FORMAT, "its name says part 1 of 2");
    scratch_clear();
}

static void test_refused(enum fault_kind kind, int code)
{
    struct gguf *g;
    struct redline_err err;
    write_set();
    fault_arm(kind, 0, false);
    open_ok(&g, SCRATCH(PART_1));
    gguf_close(&g);
    uint64_t n = fault_count(kind);
    assert_true(n >= 6);
    for (uint64_t i = 1; i <= n; i++) {
        fault_arm(kind, i, false);
        assert_int_equal(gguf_open(&g, SCRATCH(PART_1), &err), code);
        assert_null(g);
    }
    fault_arm(kind, 0, false);
    scratch_clear();
}

static void test_refused_allocations(void **state)
{
    (void)state;
    test_refused(FAULT_ALLOC, REDLINE_MEMORY);
}

static void test_refused_reads(void **state)
{
    (void)state;
    test_refused(FAULT_READ, REDLINE_IO);
}

static void test_not_a_file(void **state)
{
    (void)state;
    open_fails(SCRATCH("absent.gguf"), REDLINE_IO, "No such file");
    open_fails(scratch_folder, REDLINE_IO, "it is a folder");
    open_fails("/dev/null", REDLINE_IO, "not a regular file");
    assert_int_equal(file_write(SCRATCH("empty.gguf"), NULL, 0, NULL), 0);
    open_fails(SCRATCH("empty.gguf"), REDLINE_FORMAT, "the file is empty");
    scratch_clear();
}

static void test_whole_files(void **state)
{
    (void)state;
    struct buf b;
    struct redline_err err;
    static char big[300000];
    memset(big, 'x', sizeof big);
    assert_int_equal(file_write(SCRATCH("f"), big, sizeof big, &err), 0);
    assert_int_equal(symlink("f", SCRATCH("link")), 0);
    assert_int_equal(file_write(SCRATCH("link"), "short", 5, &err), 0);
    assert_int_equal(file_read(&b, SCRATCH("f"), &err), 0);
    assert_true(str_eq(buf_str(&b), STR("short")));
    buf_free(&b);
    assert_int_equal(file_read(&b, SCRATCH("absent"), &err), REDLINE_IO);
    assert_int_equal(file_read(&b, scratch_folder, &err), REDLINE_IO);
    for (uint64_t i = 1; i <= 3; i++) {
        fault_arm(FAULT_READ, i, false);
        assert_int_equal(file_read(&b, SCRATCH("f"), &err), REDLINE_IO);
        assert_null(b.p);
    }
    fault_arm(FAULT_READ, 0, false);
    assert_int_equal(scratch_clear(), 2);
}

static int n_opened;

static int open_real(const char *path, const struct stat *facts, int flag, struct FTW *at)
{
    (void)facts, (void)at;
    if (flag != FTW_F || !str_ends(str_of(path), STR(".gguf"))) return 0;
    struct gguf *g;
    open_ok(&g, path);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        sum += ((const unsigned char *)t->data)[t->bytes - 1];
        assert_ptr_equal(gguf_find_tensor(g, t->name), t);
    }
    assert_true(sum > 0 || g->n_tensors == 0);
    assert_non_null(gguf_find(g, "general.architecture"));
    gguf_close(&g);
    n_opened++;
    return 0;
}

static void test_real_files(void **state)
{
    (void)state;
    const char *folder = test_data();
    assert_int_equal(nftw(folder, open_real, 16, FTW_PHYS), 0);
    print_message("%d files of %s opened\n", n_opened, folder);
    assert_true(n_opened > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_getters),       cmocka_unit_test(test_nothing_inside),
        cmocka_unit_test(test_split),         cmocka_unit_test(test_split_broken),
        cmocka_unit_test(test_refused_reads), cmocka_unit_test(test_refused_allocations),
        cmocka_unit_test(test_not_a_file),    cmocka_unit_test(test_whole_files),
        cmocka_unit_test(test_real_files),
    };
    if (scratch_make() != 0) return 1;
    int result = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_remove();
    return result;
}
