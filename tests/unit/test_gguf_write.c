/* test_gguf_write.c - what is written is read back equal, for every type; and what cannot be
 * written is refused and leaves no file behind. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base.h"
#include "fault.h"
#include "file.h"
#include "gguf_write.h"
#include "scratch.h"

static const struct str words[] = {{"one", 3}, {"", 0}, {"t\0o", 3}};
static const uint64_t shape[4] = {64, 3, 1, 2};
static const uint64_t values[3] = {0x0123456789abcdef, 0x00ff00fffeff7f01, UINT64_MAX};

/* One value and one array of every type, two tensors. */
static int write_sample(const char *path, uint32_t alignment, struct redline_err *err)
{
    struct gguf_writer *w;
    char data[7 * 24 + 408];
    memset(data, 7, sizeof data);
    TRY(gguf_writer_new(&w, path, alignment, err));
    int status = 0;
#define WRITE(call) status = status ? status : (call)
    WRITE(gguf_write_u8(w, "u8", 255, err));
    WRITE(gguf_write_i8(w, "i8", -128, err));
    WRITE(gguf_write_u16(w, "u16", 65535, err));
    WRITE(gguf_write_i16(w, "i16", -32768, err));
    WRITE(gguf_write_u32(w, "u32", UINT32_MAX, err));
    WRITE(gguf_write_i32(w, "i32", INT32_MIN, err));
    WRITE(gguf_write_u64(w, "u64", UINT64_MAX, err));
    WRITE(gguf_write_i64(w, "i64", INT64_MIN, err));
    WRITE(gguf_write_f32(w, "f32", 1.5f, err));
    WRITE(gguf_write_f64(w, "f64", -1e300, err));
    WRITE(gguf_write_bool(w, "bool", true, err));
    WRITE(gguf_write_string(w, "string",
                            STR("gr\xc3\xbc\xc3\x9f"
                                "e"),
                            err));
    WRITE(gguf_write_strings(w, "strings", words, COUNT_OF(words), err));
    for (int type = 0; type < GGUF_TYPE_COUNT; type++) {
        char key[24];
        snprintf(key, sizeof key, "array.%s", gguf_type_name((enum gguf_type)type));
        if (type == GGUF_STRING || type == GGUF_ARRAY) continue;
        const void *items = type == GGUF_BOOL ? (const void *)"\1\0\1" : values;
        WRITE(gguf_write_array(w, key, (enum gguf_type)type, items, 3, err));
    }
    WRITE(gguf_write_array(w, "array.none", GGUF_F32, NULL, 0, err));
    WRITE(gguf_write_tensor(w, STR("a"), DTYPE_F32, 1, (const uint64_t[]){7}, err));
    WRITE(gguf_write_tensor(w, STR("b"), DTYPE_Q8_0, 4, shape, err));
    for (size_t at = 0; at < 28 + 408; at += 109) WRITE(gguf_write_data(w, data, 109, err));
    WRITE(gguf_writer_finish(w, err));
#undef WRITE
    gguf_writer_free(&w);
    return status;
}

static void check_sample(const struct gguf *g)
{
    static const char *integers[] = {"u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "bool"};
    static const int64_t want[] = {255,       -128, 65535,     -32768, UINT32_MAX,
                                   INT32_MIN, -1,   INT64_MIN, 1};
    struct redline_err err;
    struct str text;
    for (size_t i = 0; i < COUNT_OF(integers); i++)
        assert_int_equal(gguf_int_at(gguf_find(g, integers[i]), 0), want[i]);
    assert_true(gguf_float_at(gguf_find(g, "f32"), 0) == 1.5);
    assert_true(gguf_float_at(gguf_find(g, "f64"), 0) == -1e300);
    assert_int_equal(gguf_get_string(g, "string", &text, &err), 0);
    assert_true(str_eq(text, STR("gr\xc3\xbc\xc3\x9f"
                                 "e")));
    for (size_t i = 0; i < COUNT_OF(words); i++)
        assert_true(str_eq(gguf_string_at(gguf_find(g, "strings"), i), words[i]));
    const struct gguf_value *v = gguf_find(g, "array.u64");
    assert_int_equal(v->n, 3);
    assert_memory_equal(v->data, values, sizeof values);
    assert_int_equal(gguf_int_at(gguf_find(g, "array.i8"), 1), (int8_t)0xcd);
    assert_int_equal(gguf_find(g, "array.none")->n, 0);
    const struct gguf_tensor *t = gguf_find_tensor(g, STR("b"));
    assert_int_equal(t->dtype, DTYPE_Q8_0);
    assert_int_equal(t->n_dims, 4);
    assert_memory_equal(t->shape, shape, sizeof shape);
    assert_int_equal(t->bytes, 408);
    for (size_t i = 0; i < t->bytes; i++) assert_int_equal(((const char *)t->data)[i], 7);
    assert_int_equal(g->n_tensors, 2);
    assert_int_equal(g->tensor_bytes, 28 + 408);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const uint32_t alignments[] = {0, 8, 64, 65536};
    for (size_t i = 0; i < COUNT_OF(alignments); i++) {
        struct gguf *g;
        struct redline_err err = {0};
        if (write_sample(SCRATCH("a.gguf"), alignments[i], &err)) fail_msg("%s", err.message);
        if (gguf_open(&g, SCRATCH("a.gguf"), &err)) fail_msg("%s", err.message);
        assert_int_equal(g->alignment, alignments[i] ? alignments[i] : 32);
        check_sample(g);
        gguf_close(&g);
    }
    assert_int_equal(scratch_clear(), 1);
}

/* A file copied value by value and tensor by tensor is the same file. */
static void test_copy(void **state)
{
    (void)state;
    struct gguf *g, *copy;
    struct gguf_writer *w;
    struct redline_err err;
    assert_int_equal(write_sample(SCRATCH("a.gguf"), 64, &err), 0);
    assert_int_equal(gguf_open(&g, SCRATCH("a.gguf"), &err), 0);
    assert_int_equal(gguf_writer_new(&w, SCRATCH("b.gguf"), 64, &err), 0);
    for (uint64_t i = 0; i < g->n_values; i++)
        assert_int_equal(gguf_write_value(w, &g->values[i], &err), 0);
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        assert_int_equal(gguf_write_tensor(w, t->name, t->dtype, t->n_dims, t->shape, &err), 0);
    }
    for (uint64_t i = 0; i < g->n_tensors; i++)
        assert_int_equal(gguf_write_data(w, g->tensors[i].data, g->tensors[i].bytes, &err), 0);
    assert_int_equal(gguf_writer_finish(w, &err), 0);
    gguf_writer_free(&w);
    assert_int_equal(gguf_open(&copy, SCRATCH("b.gguf"), &err), 0);
    check_sample(copy);
    assert_int_equal(copy->files[0].bytes, g->files[0].bytes);
    assert_memory_equal(copy->files[0].data, g->files[0].data, g->files[0].bytes);
    gguf_close(&copy);
    gguf_close(&g);
    assert_int_equal(scratch_clear(), 2);
}

static void test_refusals(void **state)
{
    (void)state;
    struct gguf_writer *w;
    struct redline_err err;
    uint64_t n = 32, huge[2] = {1ull << 40, 1ull << 40};
    assert_int_equal(gguf_writer_new(&w, SCRATCH("a.gguf"), 24, &err), REDLINE_ARG);
    assert_int_equal(gguf_writer_new(&w, SCRATCH("no/a.gguf"), 0, &err), REDLINE_IO);
    assert_int_equal(gguf_writer_new(&w, scratch_folder, 0, &err), REDLINE_IO);
    assert_int_equal(gguf_writer_new(&w, SCRATCH("a.gguf"), 0, &err), 0);
    assert_int_equal(gguf_write_u8(w, "k", 1, &err), 0);
    assert_int_equal(gguf_write_u32(w, "k", 1, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "'k' is written twice"));
    assert_int_equal(gguf_write_u32(w, "", 1, &err), REDLINE_ARG);
    assert_int_equal(gguf_write_u32(w, "general.alignment", 64, &err), REDLINE_ARG);
    assert_int_equal(gguf_write_array(w, "a", GGUF_STRING, words, 1, &err), REDLINE_ARG);
    assert_int_equal(gguf_write_array(w, "a", GGUF_BOOL, "\2", 1, &err), REDLINE_ARG);
    assert_int_equal(gguf_write_tensor(w, STR("t"), DTYPE_Q4_K, 1, &n, &err), REDLINE_ARG);
    assert_int_equal(gguf_write_tensor(w, STR("t"), DTYPE_F32, 5, &n, &err), REDLINE_ARG);
    assert_int_equal(gguf_write_tensor(w, STR("t"), DTYPE_F32, 2, huge, &err), REDLINE_ARG);
    assert_int_equal(gguf_write_tensor(w, STR("t"), DTYPE_Q8_0, 1, &n, &err), 0);
    assert_int_equal(gguf_write_tensor(w, STR("t"), DTYPE_Q8_0, 1, &n, &err), REDLINE_ARG);
    assert_int_equal(gguf_write_data(w, "0123456789", 10, &err), 0);
    assert_int_equal(gguf_write_u32(w, "late", 1, &err), REDLINE_ARG);
    assert_int_equal(gguf_writer_finish(w, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "10 of 34 bytes"));
    char rest[40] = {0};
    assert_int_equal(gguf_write_data(w, rest, 25, &err), REDLINE_ARG);
    gguf_writer_free(&w);
    assert_int_equal(scratch_clear(), 0);
}

static void test_refused_allocations(void **state)
{
    (void)state;
    struct redline_err err;
    fault_arm(FAULT_ALLOC, 0, false);
    assert_int_equal(write_sample(SCRATCH("a.gguf"), 64, &err), 0);
    uint64_t n = fault_count(FAULT_ALLOC);
    assert_int_equal(scratch_clear(), 1);
    for (uint64_t i = 1; i <= n; i++) {
        fault_arm(FAULT_ALLOC, i, false);
        assert_int_equal(write_sample(SCRATCH("a.gguf"), 64, &err), REDLINE_MEMORY);
        assert_int_equal(scratch_clear(), 0);
    }
    fault_arm(FAULT_ALLOC, 0, false);
}

static void test_many_names(void **state)
{
    (void)state;
    struct gguf_writer *w;
    struct gguf *g;
    struct redline_err err;
    uint64_t one = 1;
    char name[32];
    assert_int_equal(gguf_writer_new(&w, SCRATCH("a.gguf"), 8, &err), 0);
    for (uint32_t i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "name.%u", i);
        assert_int_equal(gguf_write_u32(w, name, i, &err), 0);
        assert_int_equal(gguf_write_tensor(w, str_of(name), DTYPE_F32, 1, &one, &err), 0);
    }
    for (uint32_t i = 0; i < 3000; i++) assert_int_equal(gguf_write_data(w, &i, sizeof i, &err), 0);
    assert_int_equal(gguf_writer_finish(w, &err), 0);
    gguf_writer_free(&w);
    assert_int_equal(gguf_open(&g, SCRATCH("a.gguf"), &err), 0);
    for (uint32_t i = 0; i < 3000; i++) {
        uint32_t x;
        snprintf(name, sizeof name, "name.%u", i);
        assert_int_equal(gguf_int_at(gguf_find(g, name), 0), i);
        memcpy(&x, gguf_find_tensor(g, str_of(name))->data, sizeof x);
        assert_int_equal(x, i);
    }
    assert_null(gguf_find(g, "name.3000"));
    gguf_close(&g);
    assert_int_equal(scratch_clear(), 1);
}

static void test_full_device(void **state)
{
    (void)state;
    struct redline_err err;
    if (access("/dev/full", W_OK) != 0) skip();
    assert_int_equal(file_write("/dev/full", "x", 1, &err), REDLINE_IO);
    assert_non_null(strstr(err.message, "No space left"));
    assert_int_equal(access("/dev/full", W_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_many_names),
        cmocka_unit_test(test_refused_allocations),
        cmocka_unit_test(test_full_device),
    };
    if (scratch_make() != 0) return 1;
    int result = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_remove();
    return result;
}
