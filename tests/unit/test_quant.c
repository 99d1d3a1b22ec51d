/* test_quant.c - the element types against golden bytes: what ggml itself reads and writes.
 *
 * kcheck holds kernels to the scalar definitions; this holds the scalar definitions to the format.
 * Every table that this machine can run is asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "data/quant/quant_golden.h"
#include "kern.h"

struct reading {
    enum dtype dtype;
    const uint8_t *bytes;
    const uint32_t *bits;
    size_t n;
};

struct writing {
    enum dtype dtype;
    const uint8_t *bytes;
    size_t n_bytes;
};

#define READING(NAME, name)                                                                        \
    {DTYPE_##NAME, read_##name, read_##name##_bits, COUNT_OF(read_##name##_bits)},
#define WRITING(NAME, name) {DTYPE_##NAME, write_##name, sizeof write_##name},
static const struct reading readings[] = {QUANT_GOLDEN_READ(READING)};
static const struct writing writings[] = {QUANT_GOLDEN_WRITE(WRITING)};

static void check_reading(const struct kern_ops *ops, const struct reading *r)
{
    float out[512];
    assert_true(r->n <= COUNT_OF(out));
    ops->decode[r->dtype](out, r->bytes, r->n);
    for (size_t i = 0; i < r->n; i++) {
        uint32_t bits;
        memcpy(&bits, &out[i], sizeof bits);
        bool both_zero = ((bits | r->bits[i]) & 0x7fffffff) == 0; /* the sign of zero is free */
        if (bits != r->bits[i] && !both_zero)
            fail_msg("%s %s: element %zu is 0x%08x, must be 0x%08x", ops->name,
                     dtype_name(r->dtype), i, bits, r->bits[i]);
    }
}

static void check_writing(const struct kern_ops *ops, const struct writing *w)
{
    float numbers[COUNT_OF(write_numbers)];
    uint8_t out[sizeof numbers];
    memcpy(numbers, write_numbers, sizeof numbers);
    assert_int_equal(dtype_row_bytes(dtype_info(w->dtype), COUNT_OF(numbers)), w->n_bytes);
    ops->encode[w->dtype](out, numbers, COUNT_OF(numbers));
    for (size_t i = 0; i < w->n_bytes; i++)
        if (out[i] != w->bytes[i])
            fail_msg("%s %s: byte %zu is %u, must be %u", ops->name, dtype_name(w->dtype), i,
                     out[i], w->bytes[i]);
}

static void reads_what_ggml_reads(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(readings); i++) {
        check_reading(&kern_scalar, &readings[i]);
        check_reading(kern_ops(), &readings[i]);
    }
}

static void writes_what_ggml_writes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(writings); i++) {
        check_writing(&kern_scalar, &writings[i]);
        check_writing(kern_ops(), &writings[i]);
    }
}

/* Every weight type is among the readings: a new one cannot be forgotten. */
static void all_types_are_covered(void **state)
{
    (void)state;
    for (uint32_t dtype = 0; dtype < DTYPE_COUNT; dtype++) {
        if (!dtype_info(dtype) || !dtype_info(dtype)->is_weight) continue;
        size_t i = 0;
        while (i < COUNT_OF(readings) && readings[i].dtype != dtype) i++;
        if (i == COUNT_OF(readings)) fail_msg("no golden bytes of %s", dtype_name(dtype));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_ggml_reads),
        cmocka_unit_test(writes_what_ggml_writes),
        cmocka_unit_test(all_types_are_covered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
