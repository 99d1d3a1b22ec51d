/* test_cuda_mv.cc - strips on the device: packing, what their bytes mean, and products of generated tokens, of every
 * type.  Sums are held to a bound that grows with the sum of magnitudes, against sums in double of the same 8-bit
 * activations. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <vector>

#include "cuda_backend.h"
#include "simt.h"
#include "strip.cuh"

extern "C" {
#include <cmocka.h>

#define _Static_assert static_assert
#include "kern.h"
#include "quant_values.h"
#include "rng.h"
}

static struct redline_err err;
static struct rng rng;

static const enum dtype types[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16,   DTYPE_Q4_0,  DTYPE_Q4_1, DTYPE_Q5_0,
                                   DTYPE_Q5_1, DTYPE_Q8_0, DTYPE_IQ4_NL, DTYPE_MXFP4, DTYPE_Q2_K, DTYPE_Q3_K,
                                   DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K,   DTYPE_IQ4_XS};

/* ---- things on the device --------------------------------------------------------------------------------- */

template <typename T> static T *on_device(const std::vector<T> &v)
{
    void *p;
    assert_int_equal(cudaMalloc(&p, v.size() * sizeof(T) + 1), cudaSuccess);
    assert_int_equal(cudaMemcpy(p, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
    return (T *)p;
}

template <typename T> static std::vector<T> on_host(const T *p, size_t n)
{
    std::vector<T> v(n);
    assert_int_equal(cudaMemcpy(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return v;
}

static void finish(struct device *d)
{
    if (device_status(d, &err)) fail_msg("%s", err.message);
    assert_int_equal(cudaStreamSynchronize(d->stream), cudaSuccess);
    simt_check();
}

static struct device opened()
{
    struct device d = {};
    if (device_open(&d, 0, &err)) fail_msg("%s", err.message);
    return d;
}

/* ---- weights ---------------------------------------------------------------------------------------------- */

/* Where a block has f16 numbers. */
static std::vector<int> halves_of(enum dtype type)
{
    switch (type) {
    case DTYPE_Q4_0: case DTYPE_Q5_0: case DTYPE_Q8_0: case DTYPE_IQ4_NL: case DTYPE_IQ4_XS: return {0};
    case DTYPE_Q4_1: case DTYPE_Q5_1: case DTYPE_Q4_K: case DTYPE_Q5_K: return {0, 2};
    case DTYPE_Q2_K: return {80, 82};
    case DTYPE_Q3_K: return {108};
    case DTYPE_Q6_K: return {208};
    default: return {};
    }
}

/* Any bytes at all, but that scales are numbers of moderate size: subnormal ones too. */
static void fill_blocks(uint8_t *raw, enum dtype type, size_t n_blocks)
{
    const struct dtype_info *info = dtype_info(type);
    for (size_t b = 0; b < n_blocks; b++, raw += info->block_bytes) {
        for (int i = 0; i < info->block_bytes; i++) raw[i] = (uint8_t)rng_next(&rng);
        for (int at : halves_of(type)) raw[at + 1] &= 0xbf; /* below 2 */
        if (type == DTYPE_MXFP4)
            raw[0] = (uint8_t)(rng_below(&rng, 50) ? 120 + rng_below(&rng, 8) : rng_below(&rng, 3));
        if (type == DTYPE_F16) raw[1] &= 0xbf;
        if (type == DTYPE_BF16) raw[1] = (uint8_t)((raw[1] & 0x80) | (0x3c + rng_below(&rng, 4)));
        float f = (float)rng_normal(&rng);
        if (type == DTYPE_F32) memcpy(raw, &f, sizeof f);
    }
}

struct matrix {
    std::vector<uint8_t> raw;
    std::vector<float> bias;
    struct linear l;
    const uint8_t *row(int mat, int r) const
    {
        return raw.data() + (size_t)mat * l.w.mat_bytes + (size_t)r * l.w.row_bytes;
    }
};

static std::vector<char> packed(const struct matrix &m)
{
    const struct weight &w = m.l.w;
    size_t bytes = strip_bytes(strip_form(w.dtype), w.n_cols), at = 0;
    std::vector<char> strips((size_t)w.n_mats * (size_t)((w.n_rows + STRIP - 1) / STRIP) * bytes);
    for (int mat = 0; mat < w.n_mats; mat++)
        for (int r = 0; r < w.n_rows; r += STRIP, at += bytes)
            kern_scalar.pack(strips.data() + at, w.dtype, m.row(mat, r), w.row_bytes,
                             w.n_rows - r < STRIP ? w.n_rows - r : STRIP, w.n_cols);
    return strips;
}

static struct matrix make_matrix(enum dtype type, int n_mats, int n_rows, int n_cols, bool bias)
{
    const struct dtype_info *info = dtype_info(type);
    struct matrix m;
    size_t row_bytes = dtype_row_bytes(info, (uint64_t)n_cols);
    m.raw.resize((size_t)n_mats * (size_t)n_rows * row_bytes);
    fill_blocks(m.raw.data(), type, m.raw.size() / info->block_bytes);
    m.l = {};
    m.l.w.dtype = type;
    m.l.w.n_cols = n_cols, m.l.w.n_rows = n_rows, m.l.w.n_mats = n_mats;
    m.l.w.row_bytes = row_bytes, m.l.w.mat_bytes = (size_t)n_rows * row_bytes;
    m.l.w.placed = on_device(packed(m));
    if (bias) {
        m.bias.resize((size_t)n_mats * (size_t)n_rows);
        for (float &f : m.bias) f = (float)rng_normal(&rng);
        m.l.bias = on_device(m.bias);
    }
    return m;
}

static void drop(struct matrix *m)
{
    cudaFree(m->l.w.placed);
    if (m->l.bias) cudaFree((void *)m->l.bias);
}

/* ---- packing ---------------------------------------------------------------------------------------------- */

static void check_pack(struct device *d, enum dtype type, int n_rows, int n_cols, size_t apart, size_t beyond)
{
    struct matrix m = make_matrix(type, 1, n_rows, n_cols, false);
    size_t row_bytes = m.l.w.row_bytes + apart;
    std::vector<uint8_t> raw(beyond + (size_t)n_rows * row_bytes - apart, 0xee);
    for (int r = 0; r < n_rows; r++)
        memcpy(raw.data() + beyond + (size_t)r * row_bytes, m.row(0, r), m.l.w.row_bytes);
    std::vector<char> expected = packed(m);
    uint8_t *from = on_device(raw);
    char *to = on_device(std::vector<char>(expected.size(), 0x55));
    cuda_pack(d, type, to, from + beyond, row_bytes, n_rows, n_cols);
    finish(d);
    if (memcmp(on_host(to, expected.size()).data(), expected.data(), expected.size()) != 0)
        fail_msg("%s: packing %d rows of %d differs", dtype_name(type), n_rows, n_cols);
    cudaFree(from);
    cudaFree(to);
    drop(&m);
}

static void test_pack(void **)
{
    struct device d = opened();
    for (enum dtype type : types) {
        int block = dtype_info(type)->block_n;
        for (int n_rows : {1, 15, 16, 33})
            for (int n_cols : {block, 7 * block, 288, 2880})
                if (n_cols % block == 0)
                    check_pack(&d, type, n_rows, n_cols, (size_t)(n_rows % 3) * 2, (size_t)n_rows % 4);
    }
    device_close(&d);
}

/* ---- what the bytes mean ---------------------------------------------------------------------------------- */

static uint32_t word_at(const char *strip, uint32_t body, int line, int r)
{
    uint32_t w;
    memcpy(&w, strip + body + 64 * line + 4 * r, sizeof w);
    return w;
}

/* What is cheaper than codes() says the same. */
template <typename F>
static void check_other_forms(const uint32_t *u, const uint32_t *w, const uint32_t *h, int set, int step)
{
    uint32_t other[8];
    if constexpr (F::is_shifted) {
        F::shifted(other, w, h, set, step);
        for (int i = 0; i < 4 * F::n_codes; i++) {
            uint32_t shifted = other[i / 4] >> 8 * (i % 4) & 255, code = u[i / 4] >> 8 * (i % 4) & 255;
            assert_int_equal(shifted, code << F::shift(i / 4));
        }
    }
    if constexpr (F::is_mixed) {
        uint32_t mixed[2];
        look_up_parts(other, w[0], F::table());
        look_up_mixed(mixed, w[0], F::table());
        for (int i = 0; i < 8; i++) { /* nibble i: code i % 2, its column i / 2 */
            int code = (int8_t)(u[i % 2] >> 8 * (i / 2)), at = 8 * (i % 4);
            assert_int_equal((int8_t)(mixed[i / 4] >> at), code);
            assert_int_equal((int8_t)(other[i / 4 * 2] >> at) + (int8_t)(other[i / 4 * 2 + 1] >> at), code);
        }
    }
}

template <typename F> static void decode_step(float *out, const char *strip, strip_place at, int set, int step, int r)
{
    uint32_t h[8] = {}, w[8], u[8], head = 0;
    memcpy(&head, strip + at.head + (uint32_t)(r * F::head_bytes), F::head_bytes);
    for (int i = 0; i < F::n_head_words; i++) h[i] = word_at(strip, at.body, F::head_line(i, set), r);
    for (int i = 0; i < F::n_step_words; i++) w[i] = word_at(strip, at.body, F::step_line(i, set, step), r);
    F::codes(u, w, h, set, step);
    check_other_forms<F>(u, w, h, set, step);
    for (int c = 0; c < F::n_codes; c++)
        strip_weights<F>(out + 4 * ((set * F::n_codes + c) * F::n_steps + step), u[c],
                         F::scale(head, h, set, step / 4, c));
}

template <enum dtype T> static void check_codes(int n_cols)
{
    using F = strip_of<T>;
    struct matrix m = make_matrix(T, 1, STRIP, n_cols, false);
    std::vector<char> strip = packed(m);
    std::vector<float> got((size_t)n_cols), expected((size_t)n_cols);
    for (int r = 0; r < STRIP; r++) {
        for (int b = 0, n = strip_n_blocks<F>(n_cols); b < n; b++)
            for (int set = 0; set < F::n_sets; set++)
                for (int step = 0; step < F::n_steps; step++)
                    decode_step<F>(&got[(size_t)b * F::n_cols], strip.data(), strip_place_of<F>(b, n), set, step, r);
        kern_scalar.decode[T](expected.data(), m.row(0, r), (size_t)n_cols);
        for (size_t i = 0; i < expected.size(); i++) got[i] += 0.0f, expected[i] += 0.0f; /* zeros have no sign */
        if (memcmp(got.data(), expected.data(), got.size() * sizeof(float)) != 0)
            fail_msg("%s: row %d of %d columns decodes to other numbers", dtype_name(T), r, n_cols);
    }
    drop(&m);
}

template <enum dtype T> static void check_numbers(int n_cols)
{
    using F = strip_of<T>;
    struct matrix m = make_matrix(T, 1, STRIP, n_cols, false);
    std::vector<char> strip = packed(m);
    std::vector<float> got((size_t)n_cols + 3), expected((size_t)n_cols);
    for (int r = 0; r < STRIP; r++) {
        for (int step = 0; 4 * step < n_cols; step++) {
            uint32_t w[4] = {};
            for (int i = 0; i < F::n_step_words; i++)
                if (F::step_line(i, 0, step) < strip_n_lines<F>(n_cols))
                    w[i] = word_at(strip.data(), 0, F::step_line(i, 0, step), r);
            F::numbers(&got[(size_t)step * 4], w);
        }
        kern_scalar.decode[T](expected.data(), m.row(0, r), (size_t)n_cols);
        assert_memory_equal(got.data(), expected.data(), expected.size() * sizeof(float));
    }
    drop(&m);
}

static void test_decode(void **)
{
    for (int n_cols : {1, 3, 32, 257, 290}) {
        check_numbers<DTYPE_F32>(n_cols);
        check_numbers<DTYPE_F16>(n_cols);
        check_numbers<DTYPE_BF16>(n_cols);
    }
    for (int n_cols : {32, 288, 2880}) {
        check_codes<DTYPE_Q4_0>(n_cols);
        check_codes<DTYPE_Q4_1>(n_cols);
        check_codes<DTYPE_Q5_0>(n_cols);
        check_codes<DTYPE_Q5_1>(n_cols);
        check_codes<DTYPE_Q8_0>(n_cols);
        check_codes<DTYPE_IQ4_NL>(n_cols);
        check_codes<DTYPE_MXFP4>(n_cols);
    }
    for (int n_cols : {256, 2560}) {
        check_codes<DTYPE_Q2_K>(n_cols);
        check_codes<DTYPE_Q3_K>(n_cols);
        check_codes<DTYPE_Q4_K>(n_cols);
        check_codes<DTYPE_Q5_K>(n_cols);
        check_codes<DTYPE_Q6_K>(n_cols);
        check_codes<DTYPE_IQ4_XS>(n_cols);
    }
}

/* ---- products: what they should be ------------------------------------------------------------------------ */

struct sum {
    double value, size; /* size: of magnitudes */
};

struct row { /* of activations, as products see them */
    std::vector<float> x;
    std::vector<struct act_q8> q;
};

static struct row row_of(const struct norm &norm, const std::vector<float> &weight, const std::vector<float> &bias,
                         const float *x, size_t n)
{
    struct row row;
    row.x.resize(n);
    row.q.resize((n + 255) / 256);
    if (norm.kind == NORM_NONE) memcpy(row.x.data(), x, n * sizeof *x);
    if (norm.kind == NORM_RMS) kern_scalar.rms_norm(row.x.data(), x, weight.data(), n, norm.eps);
    if (norm.kind == NORM_LAYER)
        kern_scalar.layer_norm(row.x.data(), x, weight.data(), bias.data(), n, norm.eps);
    kern_scalar.quant_act(row.q.data(), row.x.data(), n);
    return row;
}

static struct sum dot_codes(const struct matrix &m, const uint8_t *block, const struct row &row)
{
    struct sum s = {};
    struct unpacked u;
    const struct dtype_info *info = dtype_info(m.l.w.dtype);
    for (int at = 0; at < m.l.w.n_cols; at += info->block_n, block += info->block_bytes) {
        unpack_scalar[m.l.w.dtype](&u, block);
        for (int i = 0; i < u.n; i++) {
            int g = i / u.group, column = at + i;
            double dq = (double)u.d[g] * u.q[i], min = (double)u.m[g];
            double x = (double)row.q[column / 256].d[column % 256 / 32] * row.q[column / 256].q[column % 256];
            s.value += (dq + min) * x;
            s.size += (fabs(dq) + fabs(min)) * fabs(x);
        }
    }
    return s;
}

static struct sum dot_floats(const struct matrix &m, const uint8_t *weights, const struct row &row)
{
    struct sum s = {};
    std::vector<float> w(row.x.size());
    kern_scalar.decode[m.l.w.dtype](w.data(), weights, w.size());
    for (size_t i = 0; i < w.size(); i++) {
        s.value += (double)w[i] * (double)row.x[i];
        s.size += fabs((double)w[i] * (double)row.x[i]);
    }
    return s;
}

/* A row's product, with the bias; size is what its error may be. */
static struct sum expected_of(const struct matrix &m, int mat, int r, const struct row &row, double factor)
{
    bool codes = dtype_info(m.l.w.dtype)->is_quantized;
    struct sum s = codes ? dot_codes(m, m.row(mat, r), row) : dot_floats(m, m.row(mat, r), row);
    double bias = m.bias.empty() ? 0 : (double)m.bias[(size_t)mat * (size_t)m.l.w.n_rows + (size_t)r];
    s.value = s.value * factor + bias;
    s.size = 1e-6 * (s.size * fabs(factor) + fabs(bias)) + 1e-30;
    return s;
}

static double act_of_double(enum activation act, double g, double u)
{
    switch (act) {
    case ACT_SILU: return g / (1 + exp(-g)) * u;
    case ACT_GELU: return g / (1 + exp(-2 * 0.79788456080286536 * (g + 0.044715 * g * g * g))) * u;
    case ACT_GELU_ERF: return 0.5 * g * erfc(-g / sqrt(2.0)) * u;
    case ACT_GELU_QUICK: return g / (1 + exp(-1.702 * g)) * u;
    case ACT_RELU: return g < 0 ? 0 : g * u;
    case ACT_RELU_SQR: return g < 0 ? 0 : g * g * u;
    case ACT_SWIGLU_OAI: break;
    }
    g = g > 7 ? 7 : g;
    return g / (1 + exp(-1.702 * g)) * ((u > 7 ? 7 : u < -7 ? -7 : u) + 1);
}

/* act(g) u, and how far it may be off where g and u may be. */
static struct sum glu_of(enum activation act, struct sum g, struct sum u)
{
    struct sum s = {act_of_double(act, g.value, u.value), 0};
    for (int i = -1; i <= 1; i++)
        for (int j = -1; j <= 1; j++)
            s.size = fmax(s.size, fabs(act_of_double(act, g.value + i * g.size, u.value + j * u.size) - s.value));
    s.size = 2 * s.size + 4e-6 * fabs(s.value) + 1e-30;
    return s;
}

/* ---- products: what they are ------------------------------------------------------------------------------ */

struct rig {
    struct cuda_backend b;
    struct cuda_run run;
    std::vector<float> x, weight, bias, x_scale;
    std::vector<int32_t> chosen;
    struct norm norm; /* on the device */
    float *x_at, *x_scale_at;
    size_t stride;
    int n_x;
};

struct request {
    int n, n_cols;
    int n_used = 0; /* without experts */
    enum norm_kind norm = NORM_NONE;
    bool x_of_token = false, x_scale = false;
    bool skewed = false; /* rows begin anywhere */
};

static void rig_open(struct rig *g, const struct request &q, int n_mats)
{
    *g = {};
    g->b.device = opened();
    g->run.d = &g->b.device;
    g->run.b = &g->b;
    g->run.form = CUDA_CODES;
    g->n_x = q.x_of_token ? q.n / q.n_used : q.n;
    g->stride = (size_t)q.n_cols + (q.skewed ? 3 : 0);
    size_t room = (size_t)g->n_x * g->stride;
    g->x.resize((size_t)g->n_x * g->stride + 1);
    for (float &f : g->x) f = (float)rng_normal(&rng) * (rng_below(&rng, 50) ? 1.0f : 30.0f);
    for (int i = 0; i < q.n_cols && i < 40; i++) g->x[i + q.skewed] = 0; /* a block of zeros */
    g->x_at = on_device(g->x) + q.skewed;
    for (int i = 0; i < q.n_cols; i++) {
        g->weight.push_back(1 + 0.1f * (float)rng_normal(&rng));
        g->bias.push_back(0.1f * (float)rng_normal(&rng));
    }
    g->norm.kind = q.norm;
    g->norm.eps = 1e-5f;
    if (q.norm != NORM_NONE) g->norm.weight = on_device(g->weight);
    if (q.norm == NORM_LAYER) g->norm.bias = on_device(g->bias);
    g->b.scratch.bf16 = on_device(std::vector<uint16_t>(room));
    g->b.scratch.norm = on_device(std::vector<float>(room));
    for (int i = 0; i < q.n; i++) {
        g->chosen.push_back((int32_t)rng_below(&rng, (uint64_t)n_mats));
        g->x_scale.push_back((float)rng_normal(&rng));
    }
    g->b.scratch.chosen = on_device(g->chosen);
    if (q.x_scale) g->x_scale_at = on_device(g->x_scale);
}

static void rig_close(struct rig *g, const struct request &q)
{
    cudaFree(g->x_at - q.skewed);
    if (g->norm.weight) cudaFree((void *)g->norm.weight);
    if (g->norm.bias) cudaFree((void *)g->norm.bias);
    cudaFree(g->b.scratch.bf16);
    cudaFree(g->b.scratch.norm);
    cudaFree(g->b.scratch.chosen);
    if (g->x_scale_at) cudaFree(g->x_scale_at);
    device_close(&g->b.device);
}

static struct cuda_product product_of(const struct rig &g, const struct request &q, const struct matrix &m)
{
    struct cuda_product p = {};
    p.x = g.x_at;
    p.x_stride = g.stride;
    p.n = q.n;
    p.norm = &g.norm;
    p.x_scale = g.x_scale_at;
    p.w = &m.l;
    p.mat = m.l.w.n_mats - 1;
    p.out_stride = (size_t)m.l.w.n_rows + 1;
    p.after = AFTER_STORE;
    p.experts = q.n_used > 0;
    p.x_of_token = q.x_of_token;
    p.n_used = q.n_used;
    return p;
}

static std::vector<struct row> rows_of(const struct rig &g, const struct request &q)
{
    std::vector<struct row> rows;
    const float *x = g.x.data() + q.skewed;
    for (int i = 0; i < g.n_x; i++)
        rows.push_back(row_of(g.norm, g.weight, g.bias, x + (size_t)i * g.stride, (size_t)q.n_cols));
    return rows;
}

static struct sum sum_of(const struct rig &g, const struct request &q, const struct matrix &m,
                         const std::vector<struct row> &rows, int i, int r)
{
    int mat = q.n_used ? g.chosen[(size_t)i] : m.l.w.n_mats - 1;
    return expected_of(m, mat, r, rows[(size_t)(q.x_of_token ? i / q.n_used : i)],
                       q.x_scale ? (double)g.x_scale[(size_t)i] : 1);
}

static void expect(const char *what, enum dtype type, int i, int r, float got, struct sum s)
{
    if (!(fabs((double)got - s.value) <= s.size))
        fail_msg("%s, %s: row %d of token %d is %.9g, not %.9g +- %.2g", what, dtype_name(type), r, i, (double)got,
                 s.value, s.size);
}

static const float BEFORE = 0.75f; /* what out holds before */

/* Runs products, twice in different orders with the same bits; their numbers. */
static std::vector<std::vector<float>> outputs(struct rig *g, std::vector<struct cuda_product> p)
{
    std::vector<std::vector<float>> got[2];
    static uint64_t seed;
    for (int turn = 0; turn < 2; turn++) {
        simt_seed(seed++);
        std::vector<float *> at;
        for (struct cuda_product &one : p) {
            int n_rows = one.w ? one.w->w.n_rows : one.up->w.n_rows;
            at.push_back(one.out = on_device(std::vector<float>((size_t)one.n * one.out_stride, BEFORE)));
            assert_true((size_t)n_rows < one.out_stride);
        }
        cuda_multiply(&g->run, p.data(), (int)p.size());
        finish(&g->b.device);
        for (size_t j = 0; j < p.size(); j++) {
            got[turn].push_back(on_host(at[j], (size_t)p[j].n * p[j].out_stride));
            for (int i = 0; i < p[j].n; i++) /* nothing beyond its rows */
                assert_true(got[turn][j][(size_t)(i + 1) * p[j].out_stride - 1] == BEFORE);
            cudaFree(at[j]);
        }
    }
    for (size_t j = 0; j < p.size(); j++)
        assert_memory_equal(got[0][j].data(), got[1][j].data(), got[0][j].size() * sizeof(float));
    return got[0];
}

/* One product of one weight. */
static void check_product(enum dtype type, int n_mats, int n_rows, const struct request &q, enum cuda_after after)
{
    struct rig g;
    struct matrix m = make_matrix(type, n_mats, n_rows, q.n_cols, after == AFTER_ADD || n_mats > 1);
    rig_open(&g, q, n_mats);
    struct cuda_product p = product_of(g, q, m);
    p.after = after;
    p.scale = 0.5f;
    std::vector<struct row> rows = rows_of(g, q);
    std::vector<float> got = outputs(&g, {p})[0];
    for (int i = 0; i < q.n; i++)
        for (int r = 0; r < n_rows; r++) {
            struct sum s = sum_of(g, q, m, rows, i, r);
            if (after == AFTER_ADD) s.value = (double)BEFORE + 0.5 * s.value;
            expect("product", type, i, r, got[(size_t)i * p.out_stride + (size_t)r], s);
        }
    rig_close(&g, q);
    drop(&m);
}

static bool fits(enum dtype type, int n_cols)
{
    return n_cols % dtype_info(type)->block_n == 0;
}

/* Sizes that fill blocks, chunks, strips and groups of tokens, and such that do not. */
static void test_products(void **)
{
    static const struct {
        int n_rows, n;
    } sizes[] = {{1, 1}, {16, 2}, {17, 3}, {100, 1}, {33, 5}, {16, 9}, {200, 1}};
    for (enum dtype type : types)
        for (int n_cols : {32, 64, 256, 288, 1536, 2816, 2880})
            for (const auto &s : sizes)
                if (fits(type, n_cols)) check_product(type, 1, s.n_rows, {s.n, n_cols}, AFTER_STORE);
    for (enum dtype type : {DTYPE_F32, DTYPE_F16, DTYPE_BF16})
        for (int n_cols : {1, 33, 290})
            for (int n : {1, 2}) check_product(type, 1, 18, {n, n_cols}, AFTER_STORE);
}

/* What the block does itself, and what a kernel does before. */
static void test_norms(void **)
{
    for (enum dtype type : {DTYPE_F32, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_K, DTYPE_MXFP4})
        for (enum norm_kind norm : {NORM_RMS, NORM_LAYER})
            for (int n : {1, 3})
                for (bool skewed : {false, true})
                    if (fits(type, 512))
                        check_product(type, 1, 18, {n, 512, 0, norm, false, n == 3, skewed}, AFTER_ADD);
    check_product(DTYPE_Q4_0, 1, 16, {1, 8192 + 256, 0, NORM_RMS}, AFTER_STORE);
    check_product(DTYPE_Q6_K, 1, 16, {1, 8192 + 256}, AFTER_STORE);
    check_product(DTYPE_F16, 1, 16, {1, 8192 + 256, 0, NORM_NONE, false, true}, AFTER_STORE);
    check_product(DTYPE_F16, 1, 3, {1, 8192 + 256, 0, NORM_LAYER}, AFTER_STORE);
}

/* The bits of sums in double, also of rows whose squares float32 does not hold. */
static void check_norm(int n, float size, float eps)
{
    const int n_rows = 12;
    struct request q = {1, 32};
    struct rig g;
    rig_open(&g, q, 1);
    std::vector<float> x((size_t)(n_rows * n)), y(x.size());
    for (float &v : x) v = (float)rng_normal(&rng) * size;
    struct norm norm = {NORM_RMS, eps, NULL, NULL};
    float *at = on_device(x);
    cuda_norm(&g.run, &norm, at, at, (size_t)n, n_rows, n);
    finish(&g.b.device);
    std::vector<float> got = on_host(at, x.size());
    for (size_t i = 0; i < x.size(); i += (size_t)n) kern_scalar.rms_norm(&y[i], &x[i], NULL, (size_t)n, eps);
    if (memcmp(got.data(), y.data(), y.size() * sizeof(float)) != 0)
        fail_msg("rows of %d numbers of size %g, eps %g, are normed to other bits", n, (double)size, (double)eps);
    cudaFree(at);
    rig_close(&g, q);
}

static void test_norms_of_any_size(void **)
{
    for (int n : {1, 7, 64, 2880, 4096, 16384})
        for (float size : {1e-30f, 1e-18f, 1e-6f, 1.0f, 3e4f, 1e14f, 1e25f})
            for (float eps : {0.0f, 1e-6f, 1e-5f}) check_norm(n, size, eps);
}

static void test_experts(void **)
{
    for (enum dtype type : {DTYPE_MXFP4, DTYPE_Q4_K, DTYPE_Q3_K, DTYPE_Q8_0, DTYPE_F16})
        for (int n : {2, 6})
            for (bool of_token : {false, true})
                check_product(type, 5, 36, {n, 256, 2, NORM_NONE, of_token, of_token}, AFTER_STORE);
    check_product(DTYPE_MXFP4, 3, 16, {4, 2880, 4, NORM_RMS, true}, AFTER_STORE);
    check_product(DTYPE_Q5_K, 4, 30, {3, 512}, AFTER_STORE); /* the last of them */
}

/* Gate and up, of one type or two; or up alone. */
static void check_glu(enum dtype gate_type, enum dtype up_type, bool gated, enum activation act,
                      const struct request &q)
{
    int n_rows = 20, n_mats = q.n_used ? 3 : 1;
    struct rig g;
    struct matrix gate = make_matrix(gate_type, n_mats, n_rows, q.n_cols, true);
    struct matrix up = make_matrix(up_type, n_mats, n_rows, q.n_cols, true);
    struct linear absent = {};
    rig_open(&g, q, n_mats);
    struct cuda_product p = product_of(g, q, up);
    p.after = AFTER_GLU;
    p.act = act;
    p.w = gated ? &gate.l : &absent;
    p.up = &up.l;
    std::vector<struct row> rows = rows_of(g, q);
    std::vector<float> got = outputs(&g, {p})[0];
    for (int i = 0; i < q.n; i++)
        for (int r = 0; r < n_rows; r++) {
            struct sum u = sum_of(g, q, up, rows, i, r);
            struct sum none = {act == ACT_SWIGLU_OAI ? 0.0 : 1.0, 0};
            struct sum s = gated ? glu_of(act, sum_of(g, q, gate, rows, i, r), u) : glu_of(act, u, none);
            expect("gated", up_type, i, r, got[(size_t)i * p.out_stride + (size_t)r], s);
        }
    rig_close(&g, q);
    drop(&gate);
    drop(&up);
}

static void test_glu(void **)
{
    for (int act = ACT_SILU; act <= ACT_SWIGLU_OAI; act++) {
        check_glu(DTYPE_Q4_K, DTYPE_Q4_K, true, (enum activation)act, {1, 256, 0, NORM_RMS});
        check_glu(DTYPE_Q4_K, DTYPE_Q6_K, true, (enum activation)act, {2, 256, 0, NORM_RMS});
        check_glu(DTYPE_F16, DTYPE_F16, false, (enum activation)act, {5, 64});
    }
    check_glu(DTYPE_MXFP4, DTYPE_MXFP4, true, ACT_SWIGLU_OAI, {4, 288, 4, NORM_NONE, true, true});
    check_glu(DTYPE_MXFP4, DTYPE_Q8_0, true, ACT_SILU, {4, 288, 2, NORM_NONE, true});
    check_glu(DTYPE_Q5_0, DTYPE_Q5_0, false, ACT_RELU_SQR, {4, 96, 2, NORM_NONE});
}

/* Queries, keys and values: together where types agree. */
static void check_jobs(std::vector<enum dtype> of, const struct request &q)
{
    int n_rows[] = {40, 17, 16, 1};
    std::vector<struct matrix> m;
    std::vector<struct cuda_product> p;
    struct rig g;
    rig_open(&g, q, 1);
    for (size_t j = 0; j < of.size(); j++) m.push_back(make_matrix(of[j], 1, n_rows[j], q.n_cols, j == 1));
    for (struct matrix &one : m) p.push_back(product_of(g, q, one));
    std::vector<struct row> rows = rows_of(g, q);
    std::vector<std::vector<float>> got = outputs(&g, p);
    for (size_t j = 0; j < of.size(); j++)
        for (int i = 0; i < q.n; i++)
            for (int r = 0; r < n_rows[j]; r++)
                expect("one of several", of[j], i, r, got[j][(size_t)i * p[j].out_stride + (size_t)r],
                       sum_of(g, q, m[j], rows, i, r));
    rig_close(&g, q);
    for (struct matrix &one : m) drop(&one);
}

static void test_jobs(void **)
{
    for (int n : {1, 4}) {
        struct request q = {n, 512, 0, NORM_RMS};
        check_jobs({DTYPE_Q4_K, DTYPE_Q4_K, DTYPE_Q4_K}, q);
        check_jobs({DTYPE_Q4_K, DTYPE_Q4_K, DTYPE_Q6_K}, q);
        check_jobs({DTYPE_Q8_0, DTYPE_F32, DTYPE_Q8_0}, q);
        check_jobs({DTYPE_BF16, DTYPE_BF16, DTYPE_BF16, DTYPE_BF16}, q);
    }
}

/* An activation that is no number reaches all rows of its token, and no other token. */
static void test_not_finite(void **)
{
    for (enum dtype type : {DTYPE_Q4_0, DTYPE_Q5_K, DTYPE_F32})
        for (int n : {1, 2}) {
            struct request q = {n, 256};
            struct rig g;
            struct matrix m = make_matrix(type, 1, 16, 256, false);
            rig_open(&g, q, 1);
            g.x[77] = NAN;
            cudaMemcpy(g.x_at, g.x.data(), g.x.size() * sizeof(float), cudaMemcpyHostToDevice);
            struct cuda_product p = product_of(g, q, m);
            std::vector<float> got = outputs(&g, {p})[0];
            for (int r = 0; r < 16; r++) {
                assert_true(isnan(got[(size_t)r]));
                if (n > 1) assert_true(isfinite(got[p.out_stride + (size_t)r]));
            }
            rig_close(&g, q);
            drop(&m);
        }
}

int main(void)
{
    rng_seed(&rng, 20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack),  cmocka_unit_test(test_decode), cmocka_unit_test(test_products),
        cmocka_unit_test(test_norms), cmocka_unit_test(test_experts), cmocka_unit_test(test_glu),
        cmocka_unit_test(test_jobs),  cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_norms_of_any_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
