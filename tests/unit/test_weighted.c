/* test_weighted.c - encoding by weights of columns, in every table that this machine can run: that it pays, as much
 * as in ggml, and what odd weights do.  kcheck holds the fast versions to the scalar bytes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "kern.h"
#include "rng.h"

enum { N = 1024, ROWS = 32 };

static float x[ROWS * N], back[ROWS * N], weight[N], equal[N];
static char bytes[ROWS * N * 4], other[ROWS * N * 4];

static const struct kern_ops *const tables[] = {&kern_scalar, NULL /* kern_ops() */};

static const struct kern_ops *table_at(size_t i)
{
    return tables[i] ? tables[i] : kern_ops();
}

static int setup(void **state)
{
    struct rng r;
    (void)state;
    rng_seed(&r, 42);
    for (int c = 0; c < N; c++) {
        weight[c] = (float)exp(2 * rng_normal(&r));
        equal[c] = 1;
    }
    for (int i = 0; i < ROWS * N; i++) x[i] = (float)(0.02 * rng_normal(&r));
    return 0;
}

/* w NULL: encoded without. */
static void encode(const struct kern_ops *ops, enum dtype type, char *to, const float *w)
{
    size_t row_bytes = dtype_row_bytes(dtype_info(type), N);
    for (size_t r = 0; r < ROWS; r++) {
        if (w)
            ops->encode_weighted[type](to + r * row_bytes, x + r * N, w, N);
        else
            ops->encode[type](to + r * row_bytes, x + r * N, N);
    }
}

/* The weighted squares of the error over those of the numbers, in row `row`, or in all of them (-1). */
static double loss(enum dtype type, const char *from, const float *w, int row)
{
    double error = 0, square = 0;
    kern_scalar.decode[type](back, from, ROWS * N);
    for (int i = row < 0 ? 0 : row * N; i < (row < 0 ? ROWS : row + 1) * N; i++) {
        double e = (double)x[i] - (double)back[i];
        error += (double)w[i % N] * e * e;
        square += (double)w[i % N] * (double)x[i] * (double)x[i];
    }
    return error / square;
}

/* What ggml's quantisers with weights lost of these numbers, with equal weights and with those above (measured
 * with llama.cpp of 2026). */
static const struct {
    enum dtype type;
    double equal, weighted;
} ggml[] = {
    {DTYPE_Q4_0, 0.006562, 0.003602},    {DTYPE_Q4_1, 0.00479, 0.001801},    {DTYPE_Q5_0, 0.001599, 0.000904},
    {DTYPE_Q5_1, 0.001128, 0.0004259},   {DTYPE_Q2_K, 0.07088, 0.02329},     {DTYPE_Q3_K, 0.02055, 0.009843},
    {DTYPE_Q4_K, 0.004902, 0.001913},    {DTYPE_Q5_K, 0.001232, 0.0005532},  {DTYPE_Q6_K, 0.0002992, 0.0001506},
    {DTYPE_IQ4_NL, 0.005532, 0.002601},  {DTYPE_IQ4_XS, 0.005628, 0.002714},
};

static void losses_are_those_of_ggml_or_less(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(tables); k++)
        for (size_t i = 0; i < COUNT_OF(ggml); i++) {
            const char *name = dtype_name(ggml[i].type);
            encode(table_at(k), ggml[i].type, bytes, equal);
            double plain = loss(ggml[i].type, bytes, equal, -1);
            encode(table_at(k), ggml[i].type, bytes, weight);
            double weighted = loss(ggml[i].type, bytes, weight, -1);
            if (plain > 1.005 * ggml[i].equal) fail_msg("%s: %g, ggml %g", name, plain, ggml[i].equal);
            if (weighted > 1.005 * ggml[i].weighted) fail_msg("%s: %g, ggml %g", name, weighted, ggml[i].weighted);
            if (weighted < 0.9 * ggml[i].weighted) fail_msg("%s: %g is too good to be true", name, weighted);
        }
}

static void weights_pay_in_every_row(void **state)
{
    (void)state;
    for (size_t k = 0; k < COUNT_OF(tables); k++)
        for (size_t i = 0; i < COUNT_OF(ggml); i++) {
            encode(table_at(k), ggml[i].type, bytes, weight);
            encode(table_at(k), ggml[i].type, other, NULL);
            for (int row = 0; row < ROWS; row++) {
                double with = loss(ggml[i].type, bytes, weight, row), without = loss(ggml[i].type, other, weight, row);
                if (with > 0.8 * without)
                    fail_msg("%s, row %d: %g with weights, %g without", dtype_name(ggml[i].type), row, with, without);
            }
        }
}

/* Those that have a kernel are those of the table above, in every table of kernels. */
static void all_types_are_covered(void **state)
{
    (void)state;
    for (uint32_t type = 0; type < DTYPE_COUNT; type++) {
        size_t i = 0;
        while (i < COUNT_OF(ggml) && ggml[i].type != type) i++;
        for (size_t k = 0; k < COUNT_OF(tables); k++)
            assert_int_equal(table_at(k)->encode_weighted[type] != NULL, i < COUNT_OF(ggml));
    }
}

static void check_same(const float *a, const float *b, const char *what)
{
    for (size_t k = 0; k < COUNT_OF(tables); k++)
        for (size_t i = 0; i < COUNT_OF(ggml); i++) {
            encode(table_at(k), ggml[i].type, bytes, a);
            encode(table_at(k), ggml[i].type, other, b);
            if (memcmp(bytes, other, dtype_row_bytes(dtype_info(ggml[i].type), ROWS * N)))
                fail_msg("%s: %s", dtype_name(ggml[i].type), what);
        }
}

static void the_unit_of_weights_is_free(void **state)
{
    float scaled[N];
    (void)state;
    for (int c = 0; c < N; c++) scaled[c] = weight[c] * 0x1p-12f;
    check_same(weight, scaled, "the unit of the weights counts");
}

static void no_weights_are_equal_weights(void **state)
{
    static const float none[N];
    (void)state;
    check_same(none, equal, "weights that are all zero are not like equal ones");
}

/* Columns of a group may weigh nothing beside others: what is left there is finite and of a sane size. */
static void columns_without_weight(void **state)
{
    float some[N];
    (void)state;
    for (int c = 0; c < N; c++) some[c] = c % 16 == 3 ? 1 : 0;
    for (size_t k = 0; k < COUNT_OF(tables); k++)
        for (size_t i = 0; i < COUNT_OF(ggml); i++) {
            encode(table_at(k), ggml[i].type, bytes, some);
            double rest = loss(ggml[i].type, bytes, equal, -1), own = loss(ggml[i].type, bytes, some, -1);
            if (!(own < ggml[i].equal)) fail_msg("%s: %g where it counts", dtype_name(ggml[i].type), own);
            if (!(rest < 4)) fail_msg("%s: %g where nothing counts", dtype_name(ggml[i].type), rest);
        }
}

/* What is refused before it gets here does no harm. */
static void not_numbers(void **state)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, 0x1p-140f, 3e38f};
    (void)state;
    for (size_t o = 0; o < COUNT_OF(odd); o++)
        for (size_t k = 0; k < COUNT_OF(tables); k++)
            for (size_t i = 0; i < COUNT_OF(ggml); i++) {
                float numbers[256], weights[256];
                memcpy(numbers, x, sizeof numbers);
                memcpy(weights, weight, sizeof weights);
                numbers[7] = odd[o];
                table_at(k)->encode_weighted[ggml[i].type](bytes, numbers, weights, 256);
                weights[7] = odd[o];
                table_at(k)->encode_weighted[ggml[i].type](bytes, x, weights, 256);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_those_of_ggml_or_less),
        cmocka_unit_test(weights_pay_in_every_row),
        cmocka_unit_test(all_types_are_covered),
        cmocka_unit_test(the_unit_of_weights_is_free),
        cmocka_unit_test(no_weights_are_equal_weights),
        cmocka_unit_test(columns_without_weight),
        cmocka_unit_test(not_numbers),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
