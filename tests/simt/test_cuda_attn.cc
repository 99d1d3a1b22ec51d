/* test_cuda_attn.cc - attention of the CUDA backend against sums in double precision; rows of the cache against the
 * scalar encoders, byte by byte. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "cuda_attn.cuh"

extern "C" {
#include <cmocka.h>

#include "kern.h"
#include "rng.h"
}

static struct rng rng;

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

/* With 227 KB of shared memory to a block; those of arch 80 have 163, of 86 and 89 99. */
static struct device open_device(int n_multiprocessors, int arch = 90)
{
    char text[16];
    int most_shared_bytes;
    struct device d = {};
    snprintf(text, sizeof text, "%d", arch);
    setenv("SIMT_ARCH", text, 1);
    cudaDeviceGetAttribute(&most_shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0);
    d.arch = arch;
    d.early = arch >= 90;
    d.n_multiprocessors = n_multiprocessors;
    d.most_shared_bytes = (size_t)most_shared_bytes;
    assert_int_equal(cudaStreamCreateWithFlags(&d.stream, cudaStreamNonBlocking), cudaSuccess);
    return d;
}

static void finish(struct device *d)
{
    if (d->failed != cudaSuccess) fail_msg("%s: %s", d->failed_at, cudaGetErrorString(d->failed));
    assert_int_equal(cudaStreamSynchronize(d->stream), cudaSuccess);
    simt_check();
}

static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0};

/* ---- the cache ---------------------------------------------------------------------------------------------- */

static size_t row_bytes(enum dtype type, int d)
{
    return dtype_row_bytes(dtype_info(type), (uint64_t)kv_padded(type, d));
}

static __global__ void store_heads(enum dtype type, char *rows, int bytes, const float *heads, int d)
{
    grid_wait();
    kv_store_warp(type, rows + blockIdx.x * bytes, heads + blockIdx.x * d, d);
}

/* Numbers that are chosen to break encoders, some of them in every block. */
static float hostile(int kind, int i)
{
    static const uint32_t odd[] = {0x7f800000, 0xff800000, 0x7fc00001, 0xffa12345, 0x7f812345, 0x00000001,
                                   0x807fffff, 0x33800001, 0x477ff000, 0x477fefff, 0x7f7fffff, 0xff7fffff};
    float u = (float)rng_normal(&rng);
    switch (kind) {
    case 0: return u;
    case 1: return i % 3 ? 0.0f : -0.0f;
    case 2: return i % 2 ? 1.25f : -1.25f;
    case 3: return i % 2 ? -1.25f : 1.25f;
    case 4: return u * 1e-38f;
    case 5: return u * 1e-41f;
    case 6: return u * 1e38f / 8;
    case 7: return (float)(int)(u * 100) / 2; /* ties */
    case 8: return u * 6e-8f;
    case 9: return rng_below(&rng, 40) ? u : f32_of_bits(odd[rng_below(&rng, COUNT_OF(odd))]);
    default: return (float)(i % 255 - 127) * 0.5f;
    }
}

static void test_stored_rows_are_those_of_the_cpu(void **)
{
    enum { KINDS = 11, ROWS = 3 * KINDS };
    static const int widths[] = {1, 8, 31, 32, 40, 64, 100, 128};
    struct device dev = open_device(4);
    for (enum dtype type : types)
        for (int d : widths) {
            size_t bytes = row_bytes(type, d), padded = (size_t)kv_padded(type, d);
            std::vector<float> heads;
            std::vector<char> want(ROWS * bytes);
            for (int r = 0; r < ROWS; r++) {
                std::vector<float> row(padded);
                for (int i = 0; i < d; i++) row[(size_t)i] = hostile(r % KINDS, i);
                heads.insert(heads.end(), row.begin(), row.begin() + d);
                kern_scalar.encode[type](&want[(size_t)r * bytes], row.data(), padded);
            }
            char *rows = on_device(std::vector<char>(want.size(), 0x55));
            device_launch(&dev, "store", store_heads, dim3(ROWS), dim3(32), 0, type, rows, (int)bytes,
                          (const float *)on_device(heads), d);
            finish(&dev);
            std::vector<char> got = on_host(rows, want.size());
            for (size_t i = 0; i < want.size(); i++)
                if (got[i] != want[i])
                    fail_msg("%s, d %d: kind %d, byte %d is %02x, not %02x", dtype_name(type), d,
                             (int)(i / bytes) % KINDS, (int)(i % bytes), (uint8_t)got[i], (uint8_t)want[i]);
        }
    cudaDeviceReset();
}

/* ---- attention ---------------------------------------------------------------------------------------------- */

struct run_of { /* consecutive tokens of a sequence, the last it has */
    int seq, n_kv, n_tokens;
    bool generated;
};

struct scene {
    const char *name;
    enum dtype type_k, type_v;
    int d_k, d_v, n_heads, n_kv_heads;
    std::vector<run_of> runs;
    enum cuda_form form;
    float softcap, alibi;
    bool sinks, encoder, latent;
    enum window_kind window;
    int n_window, ring_pages;
    int n_multiprocessors; /* 0: 6 */
    int arch;   /* 0: 90 */
    bool parts; /* must be used */
    float loud; /* how far scores spread; 0: 1 */
    float even; /* all scores are this, and values 1 in the first half of positions, -1 in the other; 0: random */
};

struct world { /* a scene in memory */
    const struct scene *s;
    struct device dev;
    struct cuda_backend b;
    struct cuda_run run;
    struct op_attend op;
    std::vector<int32_t> pos, seq, n_kv, table;
    std::vector<uint8_t> generated;
    std::vector<float> q, sinks;
    std::vector<float> k, v; /* [sequence, position, head, d] as they are cached */
    int n_seqs, n_ctx;
};

static size_t cached(const struct world *w, int seq, int at, int head, int d)
{
    return (((size_t)seq * (size_t)w->n_ctx + (size_t)at) * (size_t)w->s->n_kv_heads + (size_t)head) * (size_t)d;
}

static size_t page_of(const struct world *w, int seq, int at)
{
    int nth = at / KV_PAGE, max_pages = CEIL_DIV(w->n_ctx, KV_PAGE);
    return w->s->ring_pages ? (size_t)(seq * w->s->ring_pages + nth % w->s->ring_pages)
                            : (size_t)w->table[(size_t)(seq * max_pages + nth)];
}

/* A number at a position of n. */
static float number_at(const struct scene *s, bool is_value, int at, int n, float loud)
{
    if (s->even == 0) return loud * (float)rng_normal(&rng);
    return is_value && 2 * at >= n ? -1 : 1;
}

/* Rows at all positions of all sequences; what is nobody's stays NaN. */
static char *make_pages(struct world *w, enum dtype type, int d, size_t bytes, std::vector<float> *values, float loud)
{
    bool is_value = values == &w->v;
    int heads = w->s->n_kv_heads, n_pages = w->n_seqs * (w->s->ring_pages ? w->s->ring_pages
                                                                          : CEIL_DIV(w->n_ctx, KV_PAGE));
    size_t page_bytes = (size_t)heads * KV_PAGE * bytes, padded = (size_t)kv_padded(type, d);
    std::vector<char> pages((size_t)n_pages * page_bytes, (char)0xff);
    std::vector<float> row(padded), back(padded);
    values->assign((size_t)w->n_seqs * (size_t)w->n_ctx * (size_t)heads * (size_t)d, NAN);
    for (int seq = 0; seq < w->n_seqs; seq++)
        for (int at = 0; at < w->n_kv[(size_t)seq]; at++)
            for (int h = 0; h < heads; h++) {
                for (int c = 0; c < d; c++)
                    row[(size_t)c] = number_at(w->s, is_value, at, w->n_kv[(size_t)seq], loud);
                char *to = &pages[page_of(w, seq, at) * page_bytes + (size_t)(h * KV_PAGE + at % KV_PAGE) * bytes];
                kern_scalar.encode[type](to, row.data(), padded);
                kern_scalar.decode[type](back.data(), to, padded);
                std::copy_n(back.begin(), d, &(*values)[cached(w, seq, at, h, d)]);
            }
    return on_device(pages);
}

static void make_cache(struct world *w)
{
    const struct scene *s = w->s;
    struct kv_layer *kv = &w->op.kv;
    kv->type_k = s->type_k;
    kv->type_v = s->latent ? s->type_k : s->type_v;
    kv->n_heads = s->n_kv_heads;
    kv->d_k = s->d_k;
    kv->d_v = s->d_v;
    kv->ring_pages = s->ring_pages;
    kv->k_row_bytes = row_bytes(kv->type_k, s->d_k);
    kv->v_row_bytes = s->latent ? kv->k_row_bytes : row_bytes(kv->type_v, s->d_v);
    kv->k_page_bytes = kv->k_row_bytes * KV_PAGE * (size_t)s->n_kv_heads;
    kv->v_page_bytes = kv->v_row_bytes * KV_PAGE * (size_t)s->n_kv_heads;
    kv->k = make_pages(w, kv->type_k, s->d_k, kv->k_row_bytes, &w->k, s->loud > 0 ? s->loud : 1);
    kv->v = s->latent ? kv->k : make_pages(w, kv->type_v, s->d_v, kv->v_row_bytes, &w->v, 1);
}

static void make_tokens(struct world *w)
{
    for (const run_of &r : w->s->runs) {
        w->n_seqs = std::max(w->n_seqs, r.seq + 1);
        w->n_ctx = std::max(w->n_ctx, ROUND_UP(r.n_kv, (int)KV_PAGE));
    }
    w->n_kv.assign((size_t)w->n_seqs, 0);
    for (const run_of &r : w->s->runs) {
        w->n_kv[(size_t)r.seq] = std::max(w->n_kv[(size_t)r.seq], r.n_kv);
        for (int i = 0; i < r.n_tokens; i++) {
            w->pos.push_back(r.n_kv - r.n_tokens + i);
            w->seq.push_back(r.seq);
            w->generated.push_back(r.generated);
        }
    }
    int n_pages = w->n_seqs * CEIL_DIV(w->n_ctx, KV_PAGE);
    for (int i = 0; i < n_pages; i++) w->table.push_back(i);
    for (int i = n_pages - 1; i > 0; i--) std::swap(w->table[(size_t)i], w->table[rng_below(&rng, (uint64_t)i + 1)]);
}

static void make_run(struct world *w)
{
    const struct scene *s = w->s;
    int n = (int)w->pos.size();
    w->dev = open_device(s->n_multiprocessors ? s->n_multiprocessors : 6, s->arch ? s->arch : 90);
    struct step_limits *l = &w->b.limits;
    l->n_heads = s->n_heads;
    l->n_kv_heads = s->n_kv_heads;
    l->d_k = kv_padded(w->op.kv.type_k, s->d_k);
    l->d_v = kv_padded(w->op.kv.type_v, s->d_v);
    w->b.scratch.partial = on_device(std::vector<float>(cuda_attn_partial_floats(l), NAN));
    struct step_batch batch = {};
    batch.n_tokens = n;
    batch.pos = w->pos.data();
    batch.seq = w->seq.data();
    batch.generated = w->generated.data();
    std::vector<int4> tiles((size_t)n);
    std::vector<int32_t> singles((size_t)n);
    cuda_attn_sort(&batch, l, tiles.data(), singles.data(), &w->run.n_text_tiles, &w->run.n_singles);
    w->run.d = &w->dev;
    w->run.b = &w->b;
    w->run.form = s->form;
    w->run.n_tokens = n;
    w->run.most_kv = cuda_attn_most_kv(*std::max_element(w->n_kv.begin(), w->n_kv.end()));
    w->run.batch.pos = on_device(w->pos);
    w->run.batch.seq = on_device(w->seq);
    w->run.batch.n_kv = on_device(w->n_kv);
    w->run.batch.page_table = on_device(w->table);
    w->run.batch.max_pages = CEIL_DIV(w->n_ctx, KV_PAGE);
    w->run.batch.text_tiles = on_device(tiles);
    w->run.batch.singles = on_device(singles);
}

static void make_op(struct world *w)
{
    const struct scene *s = w->s;
    w->q.resize(w->pos.size() * (size_t)(s->n_heads * s->d_k));
    for (float &x : w->q)
        x = s->even != 0 ? s->even / sqrtf((float)s->d_k) : (float)rng_normal(&rng);
    for (int h = 0; h < s->n_heads; h++) w->sinks.push_back((float)rng_normal(&rng) * 3);
    w->op.q = on_device(w->q);
    w->op.n_heads = s->n_heads;
    w->op.scale = 1 / sqrtf((float)s->d_k);
    w->op.softcap = s->softcap;
    w->op.alibi = s->alibi;
    w->op.sinks = s->sinks ? on_device(w->sinks) : NULL;
    w->op.causal = !s->encoder;
    w->op.window = s->window;
    w->op.n_window = s->n_window;
    w->op.out = on_device(std::vector<float>(w->pos.size() * (size_t)(s->n_heads * s->d_v), NAN));
}

static bool sees(const struct world *w, int pos, int n_kv, int at)
{
    int n = w->s->n_window;
    if (at >= n_kv || (!w->s->encoder && at > pos)) return false;
    switch (w->s->window) {
    case WINDOW_SLIDING: return at > pos - n;
    case WINDOW_CHUNKED: return at / n == pos / n || at > pos;
    case WINDOW_SYMMETRIC: return at >= pos - n / 2 && at <= pos + n / 2;
    default: return true;
    }
}

static double slope(const struct world *w, int h)
{
    int n = 1;
    while (2 * n <= w->s->n_heads) n *= 2;
    double step = h < n ? (h + 1.0) / n : (2.0 * (h - n) + 1) / (2.0 * n);
    return pow(2, -(double)w->s->alibi * step);
}

static double bf16(double x)
{
    return (double)f32_of_bf16(bf16_of_f32((float)x));
}

/* Whether texts go as BF16: queries, keys, values and shares are rounded. */
static bool rounds_texts(const struct world *w)
{
    const struct kv_layer *kv = &w->op.kv;
    bool wide = std::min(kv->d_k, kv->d_v) >= 32 && kv->d_k % 16 == 0 && kv->d_v % 16 == 0 &&
                std::max(kv->d_k, kv->d_v) <= 256 && !w->s->latent;
    return w->s->form == CUDA_TILES && wide && kv->type_k != DTYPE_F32 && kv->type_v != DTYPE_F32;
}

/* Head h of token t: outputs, and how far off they may be. */
static void expect(const struct world *w, size_t t, int h, std::vector<double> *out, std::vector<double> *bound)
{
    const struct scene *s = w->s;
    int head = h / (s->n_heads / s->n_kv_heads), seq = w->seq[t], pos = w->pos[t];
    bool rounded = rounds_texts(w) && !w->generated[t];
    const float *q = &w->q[(t * (size_t)s->n_heads + (size_t)h) * (size_t)s->d_k];
    std::vector<double> score;
    std::vector<int> at;
    double off = 0, top = s->sinks ? (double)w->sinks[(size_t)h] : -INFINITY;
    for (int i = 0; i < w->n_kv[(size_t)seq]; i++) {
        if (!sees(w, pos, w->n_kv[(size_t)seq], i)) continue;
        double sum = 0, magnitude = 0;
        for (int c = 0; c < s->d_k; c++) {
            double x = (double)(q[c] * w->op.scale), k = (double)w->k[cached(w, seq, i, head, s->d_k) + (size_t)c];
            if (rounded) x = bf16(x), k = bf16(k);
            sum += x * k;
            magnitude += fabs(x * k);
        }
        if (s->softcap > 0) sum = (double)s->softcap * tanh(sum / (double)s->softcap);
        if (s->alibi != 0) sum -= slope(w, h) * abs(pos - i);
        off = std::max(off, (8 + s->d_k) * 0x1p-24 * magnitude + 8 * 0x1p-24 * (fabs(sum) + (double)s->alibi * 100));
        score.push_back(sum);
        at.push_back(i);
        top = std::max(top, sum);
    }
    double l = s->sinks ? exp((double)w->sinks[(size_t)h] - top) : 0;
    for (double &x : score) l += x = exp(x - top);
    out->assign((size_t)s->d_v, 0);
    bound->assign((size_t)s->d_v, 0);
    for (size_t i = 0; i < at.size(); i++)
        for (int c = 0; c < s->d_v; c++) {
            double v = s->latent ? (double)w->k[cached(w, seq, at[i], head, s->d_k) + (size_t)c]
                                 : (double)w->v[cached(w, seq, at[i], head, s->d_v) + (size_t)c];
            (*out)[(size_t)c] += score[i] / l * (rounded ? bf16(v) : v);
            (*bound)[(size_t)c] += score[i] / l * fabs(v);
        }
    double share = rounded ? 0x1p-8 : 0;
    for (double &x : *bound) x *= s->even != 0 ? 0x1p-22 : 3 * off + share + (double)(at.size() + 32) * 0x1p-24;
}

static void judge(const struct world *w, const std::vector<float> &got)
{
    std::vector<double> want, bound;
    for (size_t t = 0; t < w->pos.size(); t++)
        for (int h = 0; h < w->s->n_heads; h++) {
            expect(w, t, h, &want, &bound);
            for (size_t c = 0; c < want.size(); c++) {
                double x = (double)got[(t * (size_t)w->s->n_heads + (size_t)h) * want.size() + c];
                if (!(fabs(x - want[c]) <= bound[c]))
                    fail_msg("%s: token %d (position %d), head %d, number %d is %.9g, not %.9g +- %.2g", w->s->name,
                             (int)t, w->pos[t], h, (int)c, x, want[c], bound[c]);
            }
        }
}

static void check(const struct scene &s, int n_seeds = 4)
{
    struct world w = {};
    w.s = &s;
    make_tokens(&w);
    make_cache(&w);
    make_op(&w);
    make_run(&w);
    if (cuda_attn_takes_text(&w.run, &w.op) != rounds_texts(&w)) fail_msg("%s: texts go the wrong way", s.name);
    std::vector<float> first;
    for (int seed = 0; seed < n_seeds; seed++) {
        simt_seed((uint64_t)seed * 77);
        size_t n = w.pos.size() * (size_t)(s.n_heads * s.d_v);
        assert_int_equal(cudaMemset(w.op.out, 0xff, n * sizeof(float)), cudaSuccess);
        cuda_op_attend(&w.run, &w.op);
        finish(&w.dev);
        std::vector<float> got = on_host(w.op.out, n);
        if (s.parts && isnan(on_host(w.b.scratch.partial, 1)[0])) fail_msg("%s: positions are not shared out", s.name);
        if (seed == 0)
            judge(&w, first = got);
        else if (memcmp(got.data(), first.data(), n * sizeof(float)))
            fail_msg("%s: other bits in another order", s.name);
    }
    cudaDeviceReset();
}

/* One token behind n - 1 others. */
static std::vector<run_of> single(int n)
{
    return {{0, n, 1, true}};
}

static struct scene plain(const char *name, enum dtype type, int d, int n_heads, int n_kv_heads,
                          std::vector<run_of> runs, enum cuda_form form)
{
    struct scene s = {};
    s.name = name;
    s.type_k = s.type_v = type;
    s.d_k = s.d_v = d;
    s.n_heads = n_heads;
    s.n_kv_heads = n_kv_heads;
    s.runs = runs;
    s.form = form;
    return s;
}

static const int archs[] = {80, 89, 90};

static void test_single_tokens_of_all_types_and_widths(void **)
{
    static const int widths[] = {8, 40, 64, 80, 96, 128, 192, 256};
    int i = 0;
    for (enum dtype type : types)
        for (int d : widths) {
            int share = i % 3 == 0 ? 1 : i % 3 == 1 ? 3 : 8;
            struct scene s = plain(dtype_name(type), type, d, 2 * share, 2, single(1 + 37 * i % 211), CUDA_CODES);
            s.type_v = types[(size_t)(i / 8 + i) % COUNT_OF(types)];
            s.arch = archs[i % 3];
            check(s, 1);
            i++;
        }
}

static void test_rows_of_any_width(void **)
{
    check(plain("d 7", DTYPE_F16, 7, 3, 1, single(70), CUDA_CODES));
    check(plain("d 20", DTYPE_F32, 20, 4, 2, single(90), CUDA_CODES));
    check(plain("d 33", DTYPE_Q8_0, 33, 4, 2, single(33), CUDA_CODES));
    check(plain("d 100", DTYPE_Q4_0, 100, 4, 2, single(100), CUDA_CODES));
    struct scene s = plain("d 800 and 1000", DTYPE_BF16, 800, 2, 1, single(20), CUDA_CODES);
    s.d_v = 1000;
    check(s);
    s = plain("d 72 and 20", DTYPE_F16, 72, 2, 1, single(80), CUDA_CODES);
    s.d_v = 20;
    check(s);
}

static void test_groups_of_queries(void **)
{
    for (int share : {1, 2, 3, 5, 7, 8, 12, 16, 33})
        check(plain("d 64", DTYPE_F16, 64, share, 1, single(130), CUDA_CODES), 1);
    for (int share : {2, 4, 6, 10, 17}) check(plain("d 128", DTYPE_F16, 128, share, 1, single(130), CUDA_CODES), 1);
    for (int share : {2, 9}) check(plain("d 256", DTYPE_BF16, 256, share, 1, single(130), CUDA_CODES), 1);
}

static void test_latent_rows(void **)
{
    for (enum dtype type : {DTYPE_F16, DTYPE_F32, DTYPE_Q8_0}) {
        struct scene s = plain("576 and 512", type, 576, 16, 1, single(75), CUDA_CODES);
        s.d_v = 512;
        s.latent = true;
        check(s, type == DTYPE_F16 ? 2 : 1);
        s = plain("48 and 32", type, 48, 4, 1, {{0, 70, 3, false}}, CUDA_TILES);
        s.d_v = 32;
        s.latent = true;
        check(s, 1);
        s = plain("36 and 20", type, 36, 4, 1, single(40), CUDA_CODES);
        s.d_v = 20;
        s.latent = true;
        check(s, 1);
    }
}

static void test_lengths(void **)
{
    for (int n : {1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257, 300})
        check(plain("F16", DTYPE_F16, 64, 2, 1, single(n), CUDA_CODES), 1);
    struct scene s = plain("long", DTYPE_F16, 64, 4, 1, single(1500), CUDA_CODES);
    s.n_multiprocessors = 24;
    s.loud = 3;
    check(s, 3);
    s.n_multiprocessors = 1;
    check(s, 1);
}

/* Of the longest sequence a warp merges several rounds of pieces; of the shortest most have no positions. */
static void test_many_pieces(void **)
{
    std::vector<run_of> runs = {{0, 2600, 1, true}, {1, 40, 1, true}, {2, 1, 1, true}, {3, 1100, 1, true}};
    struct scene s = plain("many pieces", DTYPE_Q8_0, 128, 2, 1, runs, CUDA_CODES);
    s.n_multiprocessors = 160;
    s.sinks = true;
    check(s, 2);
    s = plain("many pieces of any width", DTYPE_F16, 20, 3, 1, {{0, 2600, 1, true}, {1, 40, 1, true}}, CUDA_CODES);
    s.n_multiprocessors = 160;
    check(s, 1);
    for (int n : {10, 60}) {
        s = plain("many pieces of latent rows", DTYPE_F16, 576, 16, 1, single(1100), CUDA_CODES);
        s.d_v = 512;
        s.latent = true;
        s.n_multiprocessors = n;
        check(s, 1);
    }
    s = plain("pieces of slices", DTYPE_BF16, 800, 2, 1, {{0, 300, 1, true}, {1, 20, 1, true}}, CUDA_CODES);
    s.d_v = 1000;
    s.n_multiprocessors = 24;
    check(s);
}

/* Early and late positions weigh the same, however many pages and pieces are between them; the rest is exact. */
static void test_even_scores_at_depth(void **)
{
    for (float score : {20.0f, 75.0f, 300.0f})
        for (bool generated : {false, true}) {
            std::vector<run_of> runs = {{0, 128 * KV_PAGE, 1, generated}};
            struct scene s = plain("even scores", DTYPE_F16, 64, 2, 1, runs, CUDA_TILES);
            s.even = score;
            for (int n : {1, 24}) {
                s.n_multiprocessors = n;
                check(s, 1);
            }
        }
}

static const struct {
    enum window_kind kind;
    int n;
} windows[] = {{WINDOW_SLIDING, 1},   {WINDOW_SLIDING, 50},    {WINDOW_SLIDING, 128},  {WINDOW_CHUNKED, 48},
               {WINDOW_CHUNKED, 128}, {WINDOW_SYMMETRIC, 30}, {WINDOW_SYMMETRIC, 100}};

static void test_windows_rings_and_what_shapes_scores(void **)
{
    for (size_t i = 0; i < COUNT_OF(windows); i++)
        for (int ring = 0; ring < 2; ring++) {
            struct scene s = plain("window", types[i % 5], 32, 4, 2, {{0, 250, 1, true}, {2, 131, 2, true}},
                                   CUDA_CODES);
            s.type_v = types[(i + 2) % 5];
            s.window = windows[i].kind;
            s.n_window = windows[i].n;
            s.ring_pages = ring ? 3 : 0; /* 250 positions have 4 pages */
            s.encoder = i % 2 && windows[i].kind == WINDOW_SYMMETRIC;
            s.sinks = i % 2 == 0;
            s.softcap = i % 3 == 0 ? 5 : 0;
            s.alibi = i % 3 == 1 ? 8 : 0;
            check(s, 1);
        }
    struct scene s = plain("alibi of 12 heads", DTYPE_BF16, 32, 12, 12, single(40), CUDA_CODES);
    s.alibi = 8;
    s.sinks = true;
    check(s);
    s.softcap = 2;
    s.encoder = true;
    s.runs = {{0, 40, 40, false}};
    check(s);
    s.form = CUDA_TILES;
    check(s);
}

static void test_texts_in_float32(void **)
{
    for (enum cuda_form form : {CUDA_EXACT, CUDA_TILES}) {
        check(plain("F32", DTYPE_F32, 64, 4, 2, {{1, 70, 5, false}, {0, 9, 9, false}}, form), 1);
        check(plain("narrow", DTYPE_F16, 16, 4, 2, {{1, 70, 5, false}, {0, 9, 9, false}}, form), 1);
    }
    check(plain("exact", DTYPE_F16, 64, 4, 2, {{1, 70, 5, false}, {0, 9, 9, false}}, CUDA_EXACT), 1);
}

static void test_texts_of_all_types_and_widths(void **)
{
    static const int widths[] = {32, 64, 80, 96, 128, 192, 256};
    int i = 0;
    for (enum dtype type : {DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0})
        for (int d : widths) {
            int share = i % 3 == 0 ? 1 : i % 3 == 1 ? 3 : 8;
            if (i++ % 2 && d > 128) continue;
            struct scene s = plain(dtype_name(type), type, d, share, 1, {{0, 70 + 9 * i % 50, 12, false}}, CUDA_TILES);
            s.type_v = types[1 + (size_t)(i / 7 + i) % 4];
            s.loud = 2;
            s.arch = archs[i % 3];
            check(s, 1);
        }
}

/* With room for a page's keys and values, or for one of the two. */
static void test_texts_with_little_shared_memory(void **)
{
    for (int arch : archs) {
        struct scene s = plain("256", DTYPE_F16, 256, 2, 1, {{0, 200, 40, false}, {1, 3, 3, false}}, CUDA_TILES);
        s.arch = arch;
        check(s, arch == 89 ? 4 : 1);
        s.type_v = DTYPE_Q8_0;
        check(s, 1);
        s.window = WINDOW_SLIDING;
        s.n_window = 70;
        s.ring_pages = 3;
        check(s, 1);
        s = plain("192 and 128", DTYPE_F16, 192, 2, 2, {{0, 200, 70, false}}, CUDA_TILES);
        s.d_v = 128;
        s.arch = arch;
        check(s, arch == 89 ? 4 : 1);
    }
}

static void test_texts_of_several_sequences(void **)
{
    /* two tiles of one sequence, a whole short one, single generated tokens in between */
    check(plain("mixed", DTYPE_F16, 64, 4, 2,
                {{0, 180, 100, false}, {3, 65, 1, true}, {1, 20, 20, false}, {2, 200, 1, false}, {4, 7, 1, true}},
                CUDA_TILES),
          3);
    check(plain("71 heads", DTYPE_F16, 64, 71, 1, {{0, 66, 3, false}}, CUDA_TILES), 1);
    check(plain("more heads than rows", DTYPE_F16, 32, 130, 1, {{0, 5, 2, false}}, CUDA_EXACT), 1);
    struct scene s = plain("encoder", DTYPE_F16, 64, 2, 2, {{0, 100, 100, false}, {1, 3, 3, false}}, CUDA_TILES);
    s.encoder = true;
    check(s);
}

/* One block for a head would be long alone with its pages. */
static void test_short_texts_behind_long_ones(void **)
{
    struct scene s = plain("short texts", DTYPE_F16, 64, 4, 2, {{0, 1200, 20, false}}, CUDA_TILES);
    s.n_multiprocessors = 24;
    s.parts = true;
    check(s);
    s.d_k = s.d_v = 192;
    s.arch = 89;
    s.sinks = true;
    check(s, 1);
    /* of unequal depths, two tiles of one text, and tokens of a model */
    s = plain("short texts", DTYPE_Q8_0, 128, 2, 1,
              {{0, 900, 2, false}, {4, 700, 1, true}, {1, 1300, 90, false}, {2, 3, 3, false}, {3, 40, 1, true}},
              CUDA_TILES);
    s.n_multiprocessors = 24;
    s.parts = true;
    s.loud = 3;
    check(s, 3);
    for (size_t i = 0; i < COUNT_OF(windows); i++) {
        s = plain("short, with windows", DTYPE_BF16, 32, 2, 1, {{0, 1300, 40, false}, {1, 700, 9, false}}, CUDA_TILES);
        s.n_multiprocessors = 40;
        s.window = windows[i].kind;
        s.n_window = 5 * windows[i].n;
        s.encoder = i % 2 && windows[i].kind == WINDOW_SYMMETRIC;
        s.alibi = i % 3 == 1 ? 8 : 0;
        s.parts = s.n_window > 500;
        check(s, 1);
    }
    s = plain("short texts of an encoder", DTYPE_F16, 64, 1, 1, {{0, 700, 700, false}}, CUDA_TILES);
    s.encoder = true;
    s.n_multiprocessors = 24;
    s.parts = true;
    check(s, 1);
}

static void test_texts_with_windows(void **)
{
    for (size_t i = 0; i < COUNT_OF(windows); i++) {
        struct scene s = plain("window", DTYPE_BF16, 64, 2, 1, {{0, 300, 40, false}, {1, 90, 90, false}}, CUDA_TILES);
        s.type_k = types[1 + i % 4];
        s.window = windows[i].kind;
        s.n_window = windows[i].n;
        s.ring_pages = i % 2 ? 4 : 0; /* 300 positions have 5 pages */
        s.encoder = i % 2 && windows[i].kind == WINDOW_SYMMETRIC;
        s.sinks = i % 2 == 0;
        s.softcap = i % 3 == 0 ? 5 : 0;
        s.alibi = i % 3 == 1 ? 8 : 0;
        check(s, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stored_rows_are_those_of_the_cpu),
        cmocka_unit_test(test_single_tokens_of_all_types_and_widths),
        cmocka_unit_test(test_rows_of_any_width),
        cmocka_unit_test(test_groups_of_queries),
        cmocka_unit_test(test_latent_rows),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_many_pieces),
        cmocka_unit_test(test_even_scores_at_depth),
        cmocka_unit_test(test_windows_rings_and_what_shapes_scores),
        cmocka_unit_test(test_texts_in_float32),
        cmocka_unit_test(test_texts_of_all_types_and_widths),
        cmocka_unit_test(test_texts_with_little_shared_memory),
        cmocka_unit_test(test_texts_of_several_sequences),
        cmocka_unit_test(test_short_texts_behind_long_ones),
        cmocka_unit_test(test_texts_with_windows),
    };
    rng_seed(&rng, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
