/* test_cuda_mm.cc - products of many rows, and mixture of experts, against sums in double.
 *
 * The reference takes weights and activations as the device does: rounded to BF16 first where it works in tiles.  Then
 * the bound speaks of sums alone: of any order of adding in float32. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "cuda_backend.h"
#include "simt.h"

extern "C" {
#include <cmocka.h>

#include "kern.h"
}

typedef std::vector<float> floats;
typedef std::vector<double> doubles;

/* ---- numbers --------------------------------------------------------------------------------------------- */

static uint64_t random_state = 1;

static float some_float() /* in (-1, 1) */
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(random_state >> 32) * 0x1p-31f;
}

static floats some_floats(size_t n)
{
    floats v(n);
    for (float &f : v) f = some_float();
    return v;
}

static double rounded(float f) /* to BF16 */
{
    uint16_t h;
    kern_scalar.encode[DTYPE_BF16](&h, &f, 1);
    kern_scalar.decode[DTYPE_BF16](&f, &h, 1);
    return (double)f;
}

/* ---- the device ------------------------------------------------------------------------------------------ */

static void *room(size_t bytes)
{
    void *p;
    assert_int_equal(cudaMalloc(&p, std::max<size_t>(bytes, 16)), cudaSuccess);
    return p;
}

template <typename T> static T *on_device(const std::vector<T> &v)
{
    void *p = room(v.size() * sizeof(T));
    assert_int_equal(cudaMemcpy(p, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
    return (T *)p;
}

struct bench { /* one open device; everything on it is given back at its end */
    cuda_backend b = {};
    cuda_run run = {};
    bench(enum cuda_form form)
    {
        b.device.arch = 90;
        b.device.early = true;
        b.device.n_multiprocessors = 2;
        assert_int_equal(cudaStreamCreateWithFlags(&b.device.stream, cudaStreamNonBlocking), cudaSuccess);
        run.d = &b.device;
        run.b = &b;
        run.form = form;
    }
    template <typename T> std::vector<T> read(const T *p, size_t n)
    {
        std::vector<T> v(n);
        assert_int_equal(b.device.failed, cudaSuccess);
        assert_int_equal(cudaStreamSynchronize(b.device.stream), cudaSuccess);
        assert_int_equal(cudaMemcpy(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
        simt_check();
        return v;
    }
    ~bench()
    {
        cudaStreamDestroy(b.device.stream);
    }
};

/* ---- weights --------------------------------------------------------------------------------------------- */

struct matrices {
    struct linear l = {};
    floats values; /* [n_mats, n_rows, n_cols] as they are decoded */
    floats bias;
    matrices(enum dtype dtype, int n_mats, int n_rows, int n_cols, bool with_bias)
    {
        const struct dtype_info *info = dtype_info(dtype);
        size_t n = (size_t)n_cols, row_bytes = dtype_row_bytes(info, n), rows = (size_t)(n_mats * n_rows);
        size_t stride = strip_bytes(strip_form(dtype), n_cols), n_strips = (size_t)CEIL_DIV(n_rows, STRIP);
        std::vector<char> file(rows * row_bytes), strips((size_t)n_mats * n_strips * stride);
        values.resize(rows * n);
        for (size_t r = 0; r < rows; r++) {
            floats row = some_floats(n);
            kern_scalar.encode[dtype](&file[r * row_bytes], row.data(), n);
            kern_scalar.decode[dtype](&values[r * n], &file[r * row_bytes], n);
        }
        for (size_t mat = 0; mat < (size_t)n_mats; mat++)
            for (size_t s = 0; s < n_strips; s++)
                kern_scalar.pack(&strips[(mat * n_strips + s) * stride], dtype,
                                 &file[(mat * (size_t)n_rows + s * STRIP) * row_bytes], row_bytes,
                                 MIN(STRIP, n_rows - (int)s * STRIP), n_cols);
        l.w.dtype = dtype;
        l.w.n_mats = n_mats, l.w.n_rows = n_rows, l.w.n_cols = n_cols;
        l.w.row_bytes = row_bytes, l.w.mat_bytes = row_bytes * (size_t)n_rows;
        l.w.placed = on_device(strips);
        if (with_bias) {
            bias = some_floats(rows);
            l.bias = on_device(bias);
        }
    }
};

/* ---- products -------------------------------------------------------------------------------------------- */

struct sum {
    double y, magnitude; /* magnitude: of its products */
};

/* Activations or weights as a product sees them. */
static double seen(enum cuda_form form, const struct matrices &m, float f)
{
    return form == CUDA_TILES && m.l.w.dtype != DTYPE_F32 ? rounded(f) : (double)f;
}

static doubles seen_row(enum cuda_form form, const struct matrices &m, const float *x)
{
    size_t n = (size_t)m.l.w.n_cols;
    doubles row;
    bool codes = form == CUDA_CODES && dtype_info(m.l.w.dtype)->is_quantized;
    std::vector<act_q8> blocks((n + STRIP_CHUNK - 1) / STRIP_CHUNK);
    if (codes) kern_scalar.quant_act(blocks.data(), x, n);
    for (size_t i = 0; i < n; i++) {
        const act_q8 &block = blocks[i / STRIP_CHUNK];
        double code = (double)block.d[i % STRIP_CHUNK / 32] * block.q[i % STRIP_CHUNK];
        row.push_back(codes ? code : seen(form, m, x[i]));
    }
    return row;
}

static struct sum product(enum cuda_form form, const struct matrices &m, int mat, int row, const float *x, double scale)
{
    size_t n = (size_t)m.l.w.n_cols, at = (size_t)(mat * m.l.w.n_rows + row);
    struct sum s = {m.bias.empty() ? 0 : (double)m.bias[at], 0};
    doubles activations = seen_row(form, m, x);
    s.magnitude = fabs(s.y);
    for (size_t i = 0; i < n; i++) {
        double p = scale * seen(form, m, m.values[at * n + i]) * activations[i];
        s.y += p;
        s.magnitude += fabs(p);
    }
    return s;
}

static double bound(const struct sum &s, int n)
{
    return (n + 8) * 0x1p-24 * s.magnitude + 1e-30;
}

static void expect_near(float got, double want, double within, const char *what, int row, int token)
{
    if (fabs((double)got - want) <= within) return;
    fail_msg("%s: row %d of token %d is %.9g, must be %.9g within %.3g", what, row, token, (double)got, want, within);
}

struct call {
    enum cuda_form form;
    enum dtype dtype;
    int n_rows, n_cols, n;
};

static struct cuda_product product_of(const struct matrices &m, const floats &x, float *out, int n)
{
    struct cuda_product p = {};
    p.x = on_device(x);
    p.x_stride = x.size() / (size_t)n;
    p.n = n;
    p.w = &m.l;
    p.out = out;
    p.out_stride = (size_t)m.l.w.n_rows + 3;
    p.scale = 1;
    return p;
}

static void give_scratch(struct bench *t, int n, int n_cols)
{
    t->b.scratch.bf16 = (uint16_t *)room((size_t)n * ROUND_UP((size_t)n_cols, (size_t)32) * 2);
    t->b.scratch.norm = (float *)room((size_t)n * (size_t)(n_cols + 5) * 4);
}

/* y = w x + bias */
static void check_stored(const struct call &c)
{
    struct bench t(c.form);
    struct matrices m(c.dtype, 1, c.n_rows, c.n_cols, true);
    size_t stride = (size_t)c.n_cols + 5, out_stride = (size_t)c.n_rows + 3;
    floats x = some_floats((size_t)c.n * stride), blank((size_t)c.n * out_stride, 7);
    float *out = on_device(blank);
    struct cuda_product p = product_of(m, x, out, c.n);
    give_scratch(&t, c.n, c.n_cols);
    cuda_mm(&t.run, &p, 1);
    floats y = t.read(out, blank.size());
    for (int i = 0; i < c.n; i++) {
        for (int r = 0; r < c.n_rows; r++) {
            struct sum s = product(c.form, m, 0, r, &x[(size_t)i * stride], 1);
            expect_near(y[(size_t)i * out_stride + (size_t)r], s.y, bound(s, c.n_cols), dtype_name(c.dtype), r, i);
        }
        for (size_t r = (size_t)c.n_rows; r < out_stride; r++)
            assert_true(y[(size_t)i * out_stride + r] == 7);
    }
}

static const enum dtype dtypes[] = {
    DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0, DTYPE_Q5_1,   DTYPE_Q8_0,
    DTYPE_Q2_K, DTYPE_Q3_K, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K, DTYPE_IQ4_NL, DTYPE_IQ4_XS, DTYPE_MXFP4,
};

/* Every type, each kernel of it; rows and columns that end anywhere. */
static void test_types(void **state)
{
    (void)state;
    for (enum dtype dtype : dtypes) {
        bool large = dtype_info(dtype)->block_n == 256;
        check_stored({CUDA_TILES, dtype, 48, large ? 768 : 288, 16});
        check_stored({CUDA_TILES, dtype, 200, large ? 512 : 96, 33});
        check_stored({CUDA_TILES, dtype, 16, large ? 256 : 32, 130});
        check_stored({CUDA_EXACT, dtype, 70, large ? 512 : 288, 7});
    }
}

static void test_sizes(void **state)
{
    (void)state;
    for (int n : {1, 7, 16, 17, 64, 65, 128, 129, 260}) {
        check_stored({CUDA_TILES, DTYPE_Q8_0, n > 64 ? 17 : 130, 64, n});
        check_stored({CUDA_EXACT, DTYPE_F32, 65, 32, n});
    }
    for (int n_rows : {1, 16, 129}) check_stored({CUDA_TILES, DTYPE_Q4_K, n_rows, 256, 20});
    for (int n_cols : {1, 2, 31, 33, 37, 130}) {
        check_stored({CUDA_TILES, DTYPE_F16, 20, n_cols, 5});
        check_stored({CUDA_TILES, DTYPE_BF16, 20, n_cols, 65});
        check_stored({CUDA_EXACT, DTYPE_F32, 20, n_cols, 5});
        check_stored({CUDA_EXACT, DTYPE_F16, 20, n_cols, 5});
    }
    check_stored({CUDA_TILES, DTYPE_MXFP4, 33, 2880, 5});
    check_stored({CUDA_TILES, DTYPE_MXFP4, 33, 2880, 70});
}

/* ---- what follows ---------------------------------------------------------------------------------------- */

static double activated(enum activation act, double x)
{
    switch (act) {
    case ACT_SILU: return x / (1 + exp(-x));
    case ACT_GELU: return x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))) / 2;
    case ACT_GELU_ERF: return x * erfc(-x * 0.7071067811865476) / 2;
    case ACT_GELU_QUICK: return x / (1 + exp(-1.702 * x));
    case ACT_RELU: return x < 0 ? 0 : x;
    case ACT_RELU_SQR: return x < 0 ? 0 : x * x;
    case ACT_SWIGLU_OAI: break;
    }
    x = x > 7 ? 7 : x;
    return x / (1 + exp(-1.702 * x));
}

/* act(gate) * up, and how far its own bound carries those of its factors: no activation is steeper than 2 but the
 * square, 2 |x|. */
static struct sum glu(enum activation act, const struct sum &gate, const struct sum &up, int n, double *within)
{
    double steep = act == ACT_RELU_SQR ? 2 * (fabs(gate.y) + 1) : 2, f = activated(act, gate.y), u = up.y;
    if (act == ACT_SWIGLU_OAI) u = (u > 7 ? 7 : u < -7 ? -7 : u) + 1;
    *within = bound(gate, n) * steep * (fabs(u) + bound(up, n)) + bound(up, n) * fabs(f);
    *within += 0x1p-20 * fabs(f * u) + 1e-6 * fabs(u);
    return {f * u, fabs(f * u)};
}

struct glu_call {
    enum cuda_form form;
    enum dtype gate, up;
    enum activation act;
    int n;
    bool gated, scaled;
};

static void check_glu(const struct glu_call &c)
{
    enum { ROWS = 40, COLS = 64 };
    struct bench t(c.form);
    struct matrices gate(c.gate, 1, ROWS, COLS, true), up(c.up, 1, ROWS, COLS, true);
    floats x = some_floats((size_t)c.n * COLS), scale = some_floats((size_t)c.n);
    for (float &f : x) f *= 2;
    float *out = (float *)room((size_t)c.n * (ROWS + 3) * 4);
    struct linear none = {};
    struct cuda_product p = product_of(gate, x, out, c.n);
    p.w = c.gated ? &gate.l : &none;
    p.up = &up.l;
    p.after = AFTER_GLU;
    p.act = c.act;
    p.x_scale = c.scaled ? on_device(scale) : NULL;
    give_scratch(&t, c.n, COLS);
    cuda_mm(&t.run, &p, 1);
    floats y = t.read(out, (size_t)c.n * (ROWS + 3));
    for (int i = 0; i < c.n; i++)
        for (int r = 0; r < ROWS; r++) {
            double by = c.scaled ? (double)scale[(size_t)i] : 1, within;
            const float *row = &x[(size_t)(i * COLS)];
            struct sum u = product(c.form, up, 0, r, row, by), one = {c.act == ACT_SWIGLU_OAI ? 0 : 1., 0};
            struct sum g = c.gated ? product(c.form, gate, 0, r, row, by) : u;
            struct sum want = glu(c.act, g, c.gated ? u : one, COLS, &within);
            expect_near(y[(size_t)(i * (ROWS + 3) + r)], want.y, within, "activated", r, i);
        }
}

static void test_activations(void **state)
{
    (void)state;
    for (int act = ACT_SILU; act <= ACT_SWIGLU_OAI; act++) {
        enum activation a = (enum activation)act;
        check_glu({CUDA_TILES, DTYPE_Q8_0, DTYPE_Q8_0, a, 5, true, false});
        check_glu({CUDA_TILES, DTYPE_Q4_0, DTYPE_Q4_0, a, 70, false, true});
    }
    for (int n : {3, 40, 140}) {
        check_glu({CUDA_TILES, DTYPE_Q4_0, DTYPE_Q4_0, ACT_SILU, n, true, true});
        check_glu({CUDA_TILES, DTYPE_Q4_0, DTYPE_Q5_1, ACT_SILU, n, true, true});
        check_glu({CUDA_TILES, DTYPE_F32, DTYPE_BF16, ACT_SWIGLU_OAI, n, true, false});
        check_glu({CUDA_EXACT, DTYPE_Q8_0, DTYPE_Q8_0, ACT_GELU, n, true, true});
        check_glu({CUDA_EXACT, DTYPE_F16, DTYPE_Q8_0, ACT_SILU, n, true, false});
    }
}

/* out += scale (w norm(x) + bias), of one matrix among several; two products share the rows of x. */
static void check_added(enum cuda_form form, enum dtype dtype, int n)
{
    enum { ROWS = 20, COLS = 96, MAT = 2 };
    struct bench t(form);
    struct matrices m(dtype, 3, ROWS, COLS, true), other(DTYPE_F32, 1, ROWS, COLS, false);
    floats x = some_floats((size_t)(n * COLS)), weight = some_floats(COLS), old = some_floats((size_t)(n * (ROWS + 3)));
    struct norm norm = {NORM_RMS, 1e-5f, on_device(weight), NULL};
    float *out = on_device(old), *second = (float *)room((size_t)(n * (ROWS + 3)) * 4);
    struct cuda_product p[2] = {product_of(m, x, out, n), product_of(other, x, second, n)};
    p[0].norm = p[1].norm = &norm;
    p[0].after = AFTER_ADD;
    p[0].mat = MAT;
    p[0].scale = 0.5f;
    give_scratch(&t, n, COLS);
    cuda_mm(&t.run, p, 2);
    floats y = t.read(out, old.size()), z = t.read(second, old.size());
    for (int i = 0; i < n; i++) {
        double square = 0;
        floats normed(COLS);
        for (int c = 0; c < COLS; c++) square += (double)x[(size_t)(i * COLS + c)] * (double)x[(size_t)(i * COLS + c)];
        float factor = (float)(1 / sqrt(square / COLS + (double)norm.eps));
        for (int c = 0; c < COLS; c++) normed[(size_t)c] = x[(size_t)(i * COLS + c)] * factor * weight[(size_t)c];
        for (int r = 0; r < ROWS; r++) {
            struct sum s = product(form, m, MAT, r, normed.data(), 1), u = product(form, other, 0, r, normed.data(), 1);
            size_t at = (size_t)(i * (ROWS + 3) + r);
            expect_near(y[at], (double)old[at] + 0.5 * s.y, bound(s, COLS) + 0x1p-22, "added", r, i);
            expect_near(z[at], u.y, bound(u, COLS), "of equal rows", r, i);
        }
    }
}

static void test_added(void **state)
{
    (void)state;
    for (int n : {2, 20, 140}) {
        check_added(CUDA_TILES, DTYPE_Q5_0, n);
        check_added(CUDA_EXACT, DTYPE_Q5_0, n);
    }
}

/* ---- experts --------------------------------------------------------------------------------------------- */

struct order { /* rows by expert */
    std::vector<int32_t> first, token;
};

/* Expert 1 has none, the last has what is left. */
static struct order order_of(int n_experts, int n, int n_used)
{
    struct order o;
    int at = 0;
    for (int e = 0; e <= n_experts; e++) {
        o.first.push_back(e == n_experts ? n : at);
        if (e != 1) at = std::min(n, at + 1 + n / (3 * n_experts));
    }
    for (int i = 0; i < n; i++) o.token.push_back(i * 7 % (n / n_used));
    return o;
}

static void check_experts(enum cuda_form form, enum dtype dtype, int n, bool of_token)
{
    enum { ROWS = 40, COLS = 64, EXPERTS = 37, USED = 2 };
    struct bench t(form);
    struct matrices gate(dtype, EXPERTS, ROWS, COLS, true), up(dtype, EXPERTS, ROWS, COLS, true);
    struct order o = order_of(EXPERTS, n, USED);
    int n_x = of_token ? n / USED : n;
    floats x = some_floats((size_t)(n_x * COLS)), scale = some_floats((size_t)n);
    float *out = (float *)room((size_t)(n * (ROWS + 3)) * 4);
    t.b.scratch.expert_first = on_device(o.first);
    t.b.scratch.token_of = on_device(o.token);
    struct cuda_product p = product_of(gate, x, out, n);
    p.x_stride = COLS;
    p.up = &up.l;
    p.after = AFTER_GLU;
    p.act = ACT_SILU;
    p.x_scale = on_device(scale);
    p.experts = true;
    p.x_of_token = of_token;
    p.n_used = USED;
    give_scratch(&t, n, COLS);
    cuda_mm(&t.run, &p, 1);
    floats y = t.read(out, (size_t)(n * (ROWS + 3)));
    for (int e = 0; e < EXPERTS; e++)
        for (int i = o.first[(size_t)e]; i < o.first[(size_t)e + 1]; i++)
            for (int r = 0; r < ROWS; r++) {
                const float *row = &x[(size_t)((of_token ? o.token[(size_t)i] : i) * COLS)];
                double within, by = (double)scale[(size_t)i];
                struct sum g = product(form, gate, e, r, row, by), u = product(form, up, e, r, row, by);
                struct sum want = glu(ACT_SILU, g, u, COLS, &within);
                expect_near(y[(size_t)(i * (ROWS + 3) + r)], want.y, within, "of an expert", r, i);
            }
}

static void test_experts(void **state)
{
    (void)state;
    for (int n : {2, 62, 900}) {
        check_experts(CUDA_TILES, DTYPE_Q4_0, n, true);
        check_experts(CUDA_TILES, DTYPE_Q8_0, n, false);
    }
    check_experts(CUDA_TILES, DTYPE_F32, 62, true);
    check_experts(CUDA_EXACT, DTYPE_Q4_0, 200, true);
}

/* ---- choice ---------------------------------------------------------------------------------------------- */

static double share_of(const struct op_moe &op, const floats &score, size_t e)
{
    double sum = 0, top = (double)*std::max_element(score.begin(), score.end());
    if (op.gating == MOE_SOFTMAX_CHOSEN) return (double)score[e];
    if (op.gating == MOE_SIGMOID) return 1 / (1 + exp(-(double)score[e]));
    for (float s : score) sum += exp((double)s - top);
    return exp((double)score[e] - top) / sum;
}

/* The experts that a token goes to, by falling worth. */
static std::vector<int> choice_of(const struct op_moe &op, const doubles &worth)
{
    int n = (int)worth.size(), n_groups = MAX(1, op.n_groups), size = n / n_groups;
    std::vector<std::pair<double, int>> groups, all; /* (- worth, number) */
    for (int g = 0; g < n_groups; g++) {
        doubles in(worth.begin() + g * size, worth.begin() + (g + 1) * size);
        std::sort(in.rbegin(), in.rend());
        groups.push_back({-(in[0] + (op.gating == MOE_SIGMOID && size > 1 ? in[1] : 0)), g});
    }
    std::sort(groups.begin(), groups.end());
    for (int i = 0; i < (n_groups > 1 ? op.n_groups_used : 1); i++)
        for (int e = groups[(size_t)i].second * size; e < (groups[(size_t)i].second + 1) * size; e++)
            all.push_back({-worth[(size_t)e], e});
    std::sort(all.begin(), all.end());
    std::vector<int> chosen;
    for (int i = 0; i < op.n_used; i++) chosen.push_back(all[(size_t)i].second);
    return chosen;
}

struct moe { /* an operation and what it reads */
    struct op_moe op = {};
    struct matrices router, gate, up, down;
    floats x, bias, norm;
    int n_tokens;
    moe(enum dtype dtype, int n_tokens_, int n_experts, int width, int hidden, bool gated)
        : router(DTYPE_F32, 1, n_experts, width, false), gate(dtype, gated ? n_experts : 1, hidden, width, true),
          up(dtype, n_experts, hidden, width, true), down(dtype, n_experts, width, hidden, true),
          x(some_floats((size_t)(n_tokens_ * width))), bias(some_floats((size_t)n_experts)),
          norm(some_floats((size_t)width)), n_tokens(n_tokens_)
    {
        op.norm = {NORM_RMS, 1e-6f, on_device(norm), NULL};
        op.router = router.l;
        if (gated) op.gate = gate.l;
        op.up = up.l;
        op.down = down.l;
        op.share_scale = 1;
        op.scale = 1;
    }
};

static void give_moe_scratch(struct bench *t, const struct moe &m)
{
    struct cuda_scratch *s = &t->b.scratch;
    size_t rows = (size_t)(m.n_tokens * m.op.n_used);
    size_t width = (size_t)m.op.router.w.n_cols, hidden = (size_t)m.op.up.w.n_rows;
    s->norm = (float *)room(rows * std::max(width, hidden) * 4);
    s->bf16 = (uint16_t *)room(rows * ROUND_UP(std::max(width, hidden), (size_t)32) * 2);
    s->router = (float *)room((size_t)(m.n_tokens * m.op.router.w.n_rows) * 4);
    s->chosen = (int32_t *)room(rows * 4);
    s->share = (float *)room(rows * 4);
    s->slot_of = (int32_t *)room(rows * 4);
    s->token_of = (int32_t *)room(rows * 4);
    s->expert_first = (int32_t *)room((size_t)(m.op.router.w.n_rows + 1) * 4);
    s->hidden = (float *)room(rows * hidden * 4);
    s->rows = (float *)room(rows * width * 4);
}

static floats normed_row(const struct moe &m, int token)
{
    size_t width = (size_t)m.op.router.w.n_cols;
    const float *x = &m.x[(size_t)token * width];
    double square = 0;
    floats y(width);
    for (size_t c = 0; c < width; c++) square += (double)x[c] * (double)x[c];
    float factor = (float)(1 / sqrt(square / (double)width + (double)m.op.norm.eps));
    for (size_t c = 0; c < width; c++) y[c] = x[c] * factor * m.norm[c];
    return y;
}

/* Which experts, and their shares. */
static void check_choice(const struct moe &m, const std::vector<int32_t> &chosen, const floats &share)
{
    size_t n_experts = (size_t)m.op.router.w.n_rows, n_used = (size_t)m.op.n_used;
    for (int t = 0; t < m.n_tokens; t++) {
        floats score(n_experts), x = normed_row(m, t);
        doubles worth(n_experts), shares;
        for (size_t e = 0; e < n_experts; e++)
            score[e] = (float)product(CUDA_EXACT, m.router, 0, (int)e, x.data(), 1).y;
        for (size_t e = 0; e < n_experts; e++)
            worth[e] = share_of(m.op, score, e) + (m.op.choice_bias ? (double)m.bias[e] : 0);
        std::vector<int> want = choice_of(m.op, worth);
        double sum = 0, top = -INFINITY;
        for (int e : want) shares.push_back(share_of(m.op, score, (size_t)e));
        for (double s : shares) top = std::max(top, s);
        if (m.op.gating == MOE_SOFTMAX_CHOSEN) {
            for (double &s : shares) sum += s = exp(s - top);
            for (double &s : shares) s /= sum;
        }
        sum = 0;
        for (double s : shares) sum += s;
        for (size_t i = 0; i < n_used; i++) {
            double s = (m.op.renormalize ? shares[i] / sum : shares[i]) * (double)m.op.share_scale;
            assert_int_equal(chosen[(size_t)t * n_used + i], want[i]);
            expect_near(share[(size_t)t * n_used + i], s, 1e-5 * fabs(s) + 1e-7, "share", (int)i, t);
        }
    }
}

static void check_order(const struct moe &m, const std::vector<int32_t> &chosen, const std::vector<int32_t> &slot_of,
                        const std::vector<int32_t> &token_of, const std::vector<int32_t> &first)
{
    int at = 0;
    for (int e = 0; e < m.op.router.w.n_rows; e++) {
        assert_int_equal(first[(size_t)e], at);
        for (int i = 0; i < m.n_tokens * m.op.n_used; i++) {
            if (chosen[(size_t)i] != e) continue;
            assert_int_equal(slot_of[(size_t)i], at);
            assert_int_equal(token_of[(size_t)at], i / m.op.n_used);
            at++;
        }
    }
    assert_int_equal(first.back(), m.n_tokens * m.op.n_used);
}

/* What one number of hidden may be off where sums of another order round it to its neighbour, of 8 bits at most: once
 * in all is as good as always. */
static double of_neighbours(enum cuda_form form, const floats &h)
{
    float most = 0;
    for (float f : h) most = std::max(most, fabsf(f));
    return form == CUDA_CODES ? (double)most / 127 : 0;
}

/* A token's row: to within what another order of sums makes of it, before hidden is rounded and behind. */
static void check_sum(const struct moe &m, enum cuda_form form, int t, const int32_t *chosen, const float *share,
                      const float *got)
{
    int width = m.op.router.w.n_cols, hidden = m.op.up.w.n_rows;
    floats x = normed_row(m, t), scaled = x;
    doubles want((size_t)width), within((size_t)width);
    for (int i = 0; i < m.op.n_used; i++) {
        floats h((size_t)hidden);
        double by = m.op.share_input ? (double)share[i] : 1;
        double s = (double)m.op.scale * (m.op.share_input ? 1 : (double)share[i]);
        for (int r = 0; r < hidden; r++) {
            double part;
            struct sum u = product(form, m.up, chosen[i], r, x.data(), by), one = {1, 0};
            struct sum g = m.op.gate.w.n_mats ? product(form, m.gate, chosen[i], r, x.data(), by) : u;
            h[(size_t)r] = (float)glu(m.op.act, g, m.op.gate.w.n_mats ? u : one, width, &part).y;
        }
        for (int c = 0; c < width; c++) {
            struct sum d = product(form, m.down, chosen[i], c, h.data(), 1);
            want[(size_t)c] += s * d.y;
            double part = d.magnitude * (form == CUDA_TILES ? 0x1p-9 : 0x1p-18) + of_neighbours(form, h);
            within[(size_t)c] += fabs(s) * part;
        }
    }
    for (int c = 0; c < width; c++) {
        double x_c = (double)m.x[(size_t)(t * width + c)];
        expect_near(got[c], x_c + want[(size_t)c], within[(size_t)c] + 1e-6 * fabs(x_c), "sum of experts", c, t);
    }
}

static void check_moe(const struct moe &m, enum cuda_form form)
{
    struct bench t(form);
    size_t n = (size_t)(m.n_tokens * m.op.n_used), width = (size_t)m.op.router.w.n_cols;
    struct op_moe op = m.op;
    op.x = on_device(m.x);
    t.run.n_tokens = m.n_tokens;
    give_moe_scratch(&t, m);
    cuda_op_moe(&t.run, &op);
    const struct cuda_scratch *s = &t.b.scratch;
    std::vector<int32_t> chosen = t.read(s->chosen, n);
    floats share = t.read(s->share, n), y = t.read(op.x, m.x.size());
    check_choice(m, chosen, share);
    if (form != CUDA_CODES)
        check_order(m, chosen, t.read(s->slot_of, n), t.read(s->token_of, n),
                    t.read(s->expert_first, (size_t)op.router.w.n_rows + 1));
    for (int i = 0; i < m.n_tokens; i += 1 + m.n_tokens / 5)
        check_sum(m, form, i, &chosen[(size_t)(i * op.n_used)], &share[(size_t)(i * op.n_used)], &y[(size_t)i * width]);
}

static void test_moe(void **state)
{
    (void)state;
    for (enum moe_gate gating : {MOE_SOFTMAX, MOE_SIGMOID, MOE_SOFTMAX_CHOSEN})
        for (bool grouped : {false, true}) {
            struct moe m(DTYPE_Q8_0, 9, 48, 64, 32, true);
            m.op.gating = gating;
            m.op.n_used = 4;
            m.op.n_groups = grouped ? 8 : 0, m.op.n_groups_used = grouped ? 3 : 0;
            m.op.choice_bias = gating == MOE_SIGMOID ? on_device(m.bias) : NULL;
            m.op.renormalize = gating != MOE_SOFTMAX_CHOSEN;
            m.op.share_scale = grouped ? 2.5f : 1;
            m.op.scale = 0.75f;
            check_moe(m, grouped ? CUDA_EXACT : CUDA_TILES);
        }
    struct moe crowded(DTYPE_Q4_0, 150, 3, 96, 64, true), plain(DTYPE_Q8_0, 20, 40, 64, 32, false);
    crowded.op.n_used = 2;
    crowded.op.act = ACT_SWIGLU_OAI;
    crowded.op.gating = MOE_SOFTMAX_CHOSEN;
    check_moe(crowded, CUDA_TILES);
    check_moe(crowded, CUDA_CODES);
    plain.op.n_used = 1;
    plain.op.gating = MOE_SIGMOID;
    plain.op.share_input = true;
    plain.op.act = ACT_RELU_SQR;
    check_moe(plain, CUDA_TILES);
    check_moe(plain, CUDA_CODES);
    check_moe(plain, CUDA_EXACT);
}

/* Equal scores: the lower number.  Scores that are not numbers: the first experts. */
static void test_odd_scores(void **state)
{
    (void)state;
    struct moe m(DTYPE_F32, 2, 70, 32, 32, true);
    m.op.n_used = 3;
    std::fill(m.router.values.begin(), m.router.values.end(), 0.f);
    assert_int_equal(cudaMemset(m.op.router.w.placed, 0, 5 * strip_bytes(strip_form(DTYPE_F32), 32)), cudaSuccess);
    m.x[32] = NAN;
    struct bench t(CUDA_TILES);
    m.op.x = on_device(m.x);
    t.run.n_tokens = 2;
    give_moe_scratch(&t, m);
    cuda_op_moe(&t.run, &m.op);
    std::vector<int32_t> chosen = t.read(t.b.scratch.chosen, 6);
    floats share = t.read(t.b.scratch.share, 6);
    for (int i = 0; i < 6; i++) assert_int_equal(chosen[(size_t)i], i % 3);
    for (int i = 0; i < 3; i++) expect_near(share[(size_t)i], 1. / 70, 1e-8, "share", i, 0);
    for (int i = 3; i < 6; i++) assert_true(isnan(share[(size_t)i]));
}

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),   cmocka_unit_test(test_sizes), cmocka_unit_test(test_activations),
        cmocka_unit_test(test_added),   cmocka_unit_test(test_experts), cmocka_unit_test(test_moe),
        cmocka_unit_test(test_odd_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
