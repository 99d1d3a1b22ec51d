/* test_quant.c - the element types against golden bytes: what ggml itself reads and writes.
 *
 * kcheck holds kernels to the scalar definitions; this holds the scalar definitions to the format.
 * Every table that this machine can run is asked. */
#include <math.h>
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

/* The product with float32 activations, wider than the pieces in which it decodes. */
static void exact_product_is_exact(void **state)
{
    enum { N = 2816, ROWS = 2, TOKENS = 3 }; /* a multiple of 256, not of the piece */
    static float x[TOKENS][N], w[ROWS][N], y[TOKENS][ROWS];
    static uint8_t bytes[ROWS * N * 4];
    (void)state;
    for (int i = 0; i < TOKENS * N; i++) x[i / N][i % N] = (float)(i * 7919 % 2003 - 1001) / 1000;
    for (int i = 0; i < ROWS * N; i++) w[i / N][i % N] = (float)(i * 6151 % 1999 - 999) / 1000;
    for (size_t k = 0; k < COUNT_OF(readings); k++) {
        enum dtype dtype = readings[k].dtype;
        size_t stride = dtype_row_bytes(dtype_info(dtype), N);
        for (int r = 0; r < ROWS; r++) {
            kern_scalar.encode[dtype](bytes + (size_t)r * stride, w[r], N);
            kern_scalar.decode[dtype](w[r], bytes + (size_t)r * stride, N);
        }
        struct kern_mm_args a = {&y[0][0], ROWS, bytes, stride, x, sizeof x[0], ROWS, N, TOKENS};
        kern_mm_exact(kern_ops(), dtype, &a);
        for (int i = 0; i < TOKENS * ROWS; i++) {
            double sum = 0, magnitude = 0;
            for (int c = 0; c < N; c++) {
                double product = (double)w[i % ROWS][c] * (double)x[i / ROWS][c];
                sum += product;
                magnitude += fabs(product);
            }
            if (fabs((double)y[i / ROWS][i % ROWS] - sum) > 32 * 0x1p-24 * magnitude)
                fail_msg("%s: %g, must be %g", dtype_name(dtype), (double)y[i / ROWS][i % ROWS],
                         sum);
        }
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
        cmocka_unit_test(exact_product_is_exact),
        cmocka_unit_test(all_types_are_covered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
