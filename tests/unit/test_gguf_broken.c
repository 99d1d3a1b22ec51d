/* test_gguf_broken.c - files that are wrong in every way we could think of: each is refused with a
 * sentence that says what is wrong, and without leaving memory behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>

#include "base.h"
#include "fault.h"
#include "gguf_bytes.h"
#include "mem.h"

/* From a block of exactly n bytes, so that a sanitizer sees any read past them. */
static int open_bytes(const struct bytes *b, size_t n, struct gguf **g, struct redline_err *err)
{
    void *copy = malloc(n ? n : 1);
    memcpy(copy, b->p, n);
    int status = gguf_open_memory(g, copy, n, "broken.gguf", err);
    if (status) {
        assert_null(*g);
        assert_int_equal(status, err->code);
    }
    gguf_close(g);
    free(copy);
    return status;
}

static void long_text(struct bytes *b, size_t n)
{
    put_u64(b, n);
    for (size_t i = 0; i < n; i++) put_u8(b, 'n');
}

static void one_tensor(struct bytes *b, uint32_t dtype, uint64_t d0, uint64_t d1, uint64_t offset)
{
    put_header(b, 3, 1, 0);
    put_tensor(b, "w", dtype, d0, d1, offset);
    put_data(b, 32, 64);
}

static void dims(struct bytes *b, uint32_t n_dims, uint64_t size)
{
    put_header(b, 3, 1, 0);
    put_text(b, "w");
    put_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) put_u64(b, size);
    put_u32(b, DTYPE_F32);
    put_u64(b, 0);
    put_data(b, 32, 64);
}

#define CASES(X)                                                                                    \
    X(empty, "empty", (void)b)                                                                      \
    X(magic, "not a GGUF file: it begins with '\\x01ABC'", put(b, "\1ABC67890", 10))                \
    X(magic_of_ggml, "before GGUF", put(b, "lmgg\0\0\0\0", 8))                                      \
    X(lfs_pointer, "Git LFS", put(b, "version https://git-lfs.github.com/spec/v1", 42))             \
    X(magic_swapped, "big-endian", put(b, "FUGG\3\0\0\0", 8))                                       \
    X(big_endian, "big-endian", put_header(b, 0x03000000, 0, 0))                                    \
    X(version_0, "version 0", put_header(b, 0, 0, 0))                                               \
    X(version_1, "version 1", put_header(b, 1, 0, 0))                                               \
    X(version_4, "version 4", put_header(b, 4, 0, 0))                                               \
    X(short_magic, "truncated", put(b, "GG", 2))                                                    \
    X(short_header, "truncated", put(b, "GGUF\3\0\0\0\0", 9))                                       \
    X(many_values, "18446744073709551615 metadata values", put_header(b, 3, 0, UINT64_MAX))         \
    X(many_tensors, "18446744073709551608 tensors", put_header(b, 3, UINT64_MAX - 7, 0))            \
    X(one_value_missing, "metadata values", put_header(b, 3, 0, 1))                                 \
    X(long_key, "length of 18446744073709551615 bytes",                                             \
      (put_header(b, 3, 0, 1), put_u64(b, UINT64_MAX), put_data(b, 1, 40)))                         \
    X(empty_key, "is empty",                                                                        \
      (put_header(b, 3, 0, 1), put_key_u32(b, "", 1), put_data(b, 1, 40)))                          \
    X(key_not_utf8, "not valid UTF-8", (put_header(b, 3, 0, 1), put_key_u32(b, "k\xff", 1)))        \
    X(key_surrogate, "not valid UTF-8",                                                             \
      (put_header(b, 3, 0, 1), put_key_u32(b, "\xed\xa0\x80", 1)))                                  \
    X(key_escape, "control character", (put_header(b, 3, 0, 1), put_key_u32(b, "k\033[2J", 1)))     \
    X(key_twice, "the key 'k' occurs twice",                                                        \
      (put_header(b, 3, 0, 2), put_key_u32(b, "k", 1), put_key_u32(b, "k", 2)))                     \
    X(type_13, "is 13, which is no known type",                                                     \
      (put_header(b, 3, 0, 1), put_key(b, "k", 13), put_u64(b, 0)))                                 \
    X(type_huge, "4294967295",                                                                      \
      (put_header(b, 3, 0, 1), put_key(b, "k", UINT32_MAX), put_u64(b, 0)))                         \
    X(long_string, "'k'",                                                                           \
      (put_header(b, 3, 0, 1), put_key(b, "k", GGUF_STRING), put_u64(b, 1u << 30)))                 \
    X(bool_2, "bool of 2", (put_header(b, 3, 0, 1), put_key(b, "k", GGUF_BOOL), put_u8(b, 2)))      \
    X(bool_items, "bool of 255",                                                                    \
      (put_header(b, 3, 0, 1), put_array(b, "k", GGUF_BOOL, 2), put(b, "\1\xff", 2)))               \
    X(array_of_arrays, "array of arrays",                                                           \
      (put_header(b, 3, 0, 1), put_array(b, "k", GGUF_ARRAY, 1), put_u64(b, 0)))                    \
    X(array_item_type, "no known type", (put_header(b, 3, 0, 1), put_array(b, "k", 99, 1)))         \
    X(array_overflow, "4611686018427387905 items",                                                  \
      (put_header(b, 3, 0, 1), put_array(b, "k", GGUF_U32, (1ull << 62) + 1), put_u32(b, 0)))       \
    X(array_too_long, "array of 3 items",                                                           \
      (put_header(b, 3, 0, 1), put_array(b, "k", GGUF_U32, 3), put_u64(b, 0)))                      \
    X(strings_overflow, "items",                                                                    \
      (put_header(b, 3, 0, 1), put_array(b, "k", GGUF_STRING, 1ull << 61), put_u64(b, 0)))          \
    X(strings_cut, "length of 9 bytes",                                                             \
      (put_header(b, 3, 0, 1), put_array(b, "k", GGUF_STRING, 1), put_u64(b, 9)))                   \
    X(alignment_0, "'general.alignment' is 0",                                                      \
      (put_header(b, 3, 0, 1), put_key_u32(b, "general.alignment", 0)))                             \
    X(alignment_48, "not a power of two",                                                           \
      (put_header(b, 3, 0, 1), put_key_u32(b, "general.alignment", 48)))                            \
    X(alignment_huge, "2147483648",                                                                 \
      (put_header(b, 3, 0, 1), put_key_u32(b, "general.alignment", 1u << 31)))                      \
    X(alignment_type, "is of type u64, not u32",                                                    \
      (put_header(b, 3, 0, 1), put_key(b, "general.alignment", GGUF_U64), put_u64(b, 32)))          \
    X(name_empty, "the name of tensor 1 of 1 is empty",                                             \
      (put_header(b, 3, 1, 0), put_tensor(b, "", 0, 4, 0, 0), put_data(b, 32, 64)))                 \
    X(name_too_long, "the limit is 1024",                                                           \
      (put_header(b, 3, 1, 0), long_text(b, 1025), put_data(b, 1, 64)))                             \
    X(name_not_utf8, "not valid UTF-8",                                                             \
      (put_header(b, 3, 1, 0), put_tensor(b, "\xc0\x80", 0, 4, 0, 0), put_data(b, 32, 64)))         \
    X(name_twice, "the tensor 'w' occurs twice",                                                    \
      (put_header(b, 3, 2, 0), put_tensor(b, "w", 0, 4, 0, 0), put_tensor(b, "w", 0, 4, 0, 32),     \
       put_data(b, 32, 64)))                                                                        \
    X(dims_0, "has 0 dimensions", dims(b, 0, 1))                                                    \
    X(dims_5, "has 5 dimensions", dims(b, 5, 1))                                                    \
    X(dim_zero, "of zero", dims(b, 2, 0))                                                           \
    X(dims_overflow, "overflow", dims(b, 4, 1u << 31))                                              \
    X(dims_2_64, "overflow", dims(b, 2, 1ull << 32))                                                \
    X(bytes_overflow, "overflows", one_tensor(b, DTYPE_F64, (1ull << 62), 0, 0))                    \
    X(block, "not a multiple of its block of 256", one_tensor(b, DTYPE_Q4_K, 32, 8, 0))             \
    X(dtype_4, "element type of tensor 1 of 1 ('w') is 4", one_tensor(b, 4, 4, 0, 0))               \
    X(dtype_77, "is 77, which is not known", one_tensor(b, 77, 4, 0, 0))                            \
    X(misaligned, "misaligned", one_tensor(b, DTYPE_F32, 4, 0, 8))                                  \
    X(past_end, "past the end", one_tensor(b, DTYPE_F32, 17, 0, 0))                                 \
    X(offset_past_end, "past the end", one_tensor(b, DTYPE_F32, 1, 0, 1ull << 40))                  \
    X(offset_overflow, "past the end", one_tensor(b, DTYPE_F32, 1, 0, UINT64_MAX - 31))             \
    X(overlap, "'w' and 'v' overlap",                                                               \
      (put_header(b, 3, 2, 0), put_tensor(b, "v", 0, 4, 0, 32), put_tensor(b, "w", 0, 9, 0, 0),     \
       put_data(b, 32, 64)))                                                                        \
    X(same_place, "overlap",                                                                        \
      (put_header(b, 3, 2, 0), put_tensor(b, "v", 0, 4, 0, 0), put_tensor(b, "w", 0, 4, 0, 0),      \
       put_data(b, 32, 64)))                                                                        \
    X(split_part, "part 1 of 2",                                                                    \
      (put_header(b, 3, 0, 2), put_key_u32(b, "split.count", 2), put_key_u32(b, "split.no", 0)))    \
    X(split_no_missing, "split.no is missing",                                                      \
      (put_header(b, 3, 0, 1), put_key_u32(b, "split.count", 2)))                                   \
    X(split_no_beyond, "no such part",                                                              \
      (put_header(b, 3, 0, 2), put_key_u32(b, "split.count", 2), put_key_u32(b, "split.no", 2)))    \
    X(split_tensors, "split.tensors.count is 7",                                                    \
      (put_header(b, 3, 0, 1), put_key_u32(b, "split.tensors.count", 7)))                           \
    X(split_type, "is string, not an integer",                                                      \
      (put_header(b, 3, 0, 1), put_key(b, "split.count", GGUF_STRING), put_text(b, "2")))

#define CASE_FUNCTION(name, words, build)                                                           \
    static void build_##name(struct bytes *b)                                                       \
    {                                                                                               \
        build;                                                                                      \
    }
CASES(CASE_FUNCTION)

static const struct {
    const char *name, *words;
    void (*build)(struct bytes *b);
} cases[] = {
#define CASE_ROW(name, words, build) {#name, words, build_##name},
    CASES(CASE_ROW)
#undef CASE_ROW
};

static void test_each_names_the_fault(void **state)
{
    (void)state;
    /* With REDLINE_WRITE_CASES=folder the cases are written there too: the fuzzer's first corpus. */
    const char *folder = getenv("REDLINE_WRITE_CASES");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct bytes b = {0};
        struct gguf *g;
        struct redline_err err = {0};
        cases[i].build(&b);
        if (open_bytes(&b, b.n, &g, &err) == 0) fail_msg("%s was opened", cases[i].name);
        if (err.code != REDLINE_FORMAT && err.code != REDLINE_SUPPORT)
            fail_msg("%s: code %d", cases[i].name, err.code);
        if (!strstr(err.message, cases[i].words) || !strstr(err.message, "broken.gguf"))
            fail_msg("%s: '%s' does not say '%s'", cases[i].name, err.message, cases[i].words);
        if (!folder) continue;
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, cases[i].name);
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        fwrite(b.p, 1, b.n, file);
        fclose(file);
    }
}

static void test_truncation_at_every_byte(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct bytes b = {0};
        struct gguf *g;
        struct redline_err err;
        put_sample(&b, version);
        assert_int_equal(open_bytes(&b, b.n, &g, &err), 0);
        for (size_t n = 0; n < b.n; n++) {
            if (open_bytes(&b, n, &g, &err) != REDLINE_FORMAT) fail_msg("%zu bytes were opened", n);
            if (n && !strstr(err.message, "truncated") && !strstr(err.message, "left in the file"))
                fail_msg("%zu bytes: '%s'", n, err.message);
        }
    }
}

/* Whatever one byte is changed to, the outcome is an answer: no crash, no leak (under a sanitizer). */
static void test_every_byte_changed(void **state)
{
    (void)state;
    static const unsigned char masks[] = {0x01, 0x80, 0xff};
    struct bytes b = {0};
    put_sample(&b, 3);
    for (size_t i = 0; i < b.n; i++) {
        for (size_t j = 0; j < COUNT_OF(masks); j++) {
            struct gguf *g;
            struct redline_err err = {0};
            b.p[i] ^= masks[j];
            if (open_bytes(&b, b.n, &g, &err) != 0) assert_true(err.message[0] != '\0');
            b.p[i] ^= masks[j];
        }
    }
}

static void test_refused_allocations(void **state)
{
    (void)state;
    struct bytes b = {0};
    struct gguf *g;
    struct redline_err err;
    put_sample(&b, 3);
    fault_arm(FAULT_ALLOC, 0, false);
    assert_int_equal(open_bytes(&b, b.n, &g, &err), 0);
    uint64_t n = fault_count(FAULT_ALLOC);
    assert_true(n >= 6);
    for (uint64_t i = 1; i <= n; i++) {
        fault_arm(FAULT_ALLOC, i, false);
        assert_int_equal(open_bytes(&b, b.n, &g, &err), REDLINE_MEMORY);
    }
    fault_arm(FAULT_ALLOC, 0, false);
}

/* Names out of the file reach terminals: nothing in a message moves a cursor, or runs on for ever. */
static void test_message_is_fit_to_print(void **state)
{
    (void)state;
    struct bytes b = {0};
    struct gguf *g;
    struct redline_err err;
    put_header(&b, 3, 0, 1);
    put_u64(&b, 1000);
    for (int i = 0; i < 1000; i++) put_u8(&b, i % 2 ? 0x1b : 0xff);
    put_u32(&b, GGUF_U8);
    put_u8(&b, 0);
    assert_int_equal(open_bytes(&b, b.n, &g, &err), REDLINE_FORMAT);
    assert_true(strlen(err.message) < 250);
    for (const char *p = err.message; *p; p++) assert_true(*p >= ' ' && *p < 0x7f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_names_the_fault),
        cmocka_unit_test(test_truncation_at_every_byte),
        cmocka_unit_test(test_every_byte_changed),
        cmocka_unit_test(test_refused_allocations),
        cmocka_unit_test(test_message_is_fit_to_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
