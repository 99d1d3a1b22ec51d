/* test_model.c - the forward pass: against reference logits, and against itself.
 *
 * The CPU kernels promise that a result depends on its own row and token alone, so prefill and token by
 * token, batch and single, and any number of threads are compared bit by bit. */
#include <math.h>

#include "base.h"
#include "check.h"
#include "cpu.h"
#include "model.h"
#include "nmse.h"
#include "scratch.h"
#include "tiny.h"

enum { N = 96, LONG = 700 };

static struct redline_err err;

struct loaded {
    struct gguf *g;
    struct backend *b;
    struct model *m;
};

static struct loaded load(const char *path, int n_threads, bool exact, int n_ctx, int n_seqs, enum dtype kv)
{
    struct loaded l = {0};
    struct backend_params bp = {.n_threads = n_threads, .exact = exact};
    struct model_params mp = {.type_k = kv, .type_v = kv, .n_ctx = n_ctx, .n_seqs = n_seqs, .n_ubatch = 128,
                              .n_outputs = 128};
    OK(gguf_open(&l.g, path, &err));
    OK(backend_cpu.open(&l.b, &bp, &err));
    OK(model_open(&l.m, l.g, l.b, &mp, &err));
    return l;
}

static void unload(struct loaded *l)
{
    kv_check(&l->m->kv);
    model_close(&l->m);
    l->b->ops->close(&l->b);
    gguf_close(&l->g);
}

static void make_ids(int32_t *ids, int n, int n_vocab, uint64_t seed)
{
    struct rng r;
    rng_seed(&r, seed);
    for (int i = 0; i < n; i++) ids[i] = (int32_t)rng_below(&r, (uint64_t)n_vocab);
}

/* Logits after each of n ids, fed in batches of `step`, to out [n, V]. */
static void feed(struct model *m, int seq, const int32_t *ids, int n, int step, float *out)
{
    size_t v = (size_t)m->h.n_vocab;
    for (int i = 0; i < n; i += step) {
        int k = n - i < step ? n - i : step;
        for (int j = 0; j < k; j++) OK(model_add(m, seq, ids[i + j], MODEL_LOGITS, &err));
        OK(model_run(m, &err));
        memcpy(out + (size_t)i * v, m->logits, (size_t)k * v * sizeof *out);
    }
}

static float *logits_of(const char *path, int n_threads, bool exact, const int32_t *ids, int n, int step, enum dtype kv)
{
    struct loaded l = load(path, n_threads, exact, LONG + 64, 1, kv);
    float *out = mem_new((size_t)n * (size_t)l.m->h.n_vocab, sizeof *out);
    feed(l.m, 0, ids, n, step, out);
    unload(&l);
    return out;
}

/* ---- against the reference --------------------------------------------------------------------- */

static void check_reference(const char *folder, const char *name)
{
    char path[512];
    int32_t ids[256];
    int n = 0;
    snprintf(path, sizeof path, "%s/archs/tokens.txt", folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (n < 256 && fscanf(f, "%d,", &ids[n]) == 1) n++;
    fclose(f);
    snprintf(path, sizeof path, "%s/archs/%s.logits.f32", folder, name);
    float *want = mem_new((size_t)n * 128, sizeof *want);
    f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(want, sizeof *want, (size_t)n * 128, f), (size_t)n * 128);
    fclose(f);
    snprintf(path, sizeof path, "%s/archs/%s.gguf", folder, name);
    float *got = logits_of(path, 2, false, ids, n, 32, DTYPE_F32);
    double error = nmse(got, want, (size_t)n * 128);
    print_message("%s: normalised mean squared error %.2g\n", name, error);
    assert_true(error <= 1e-7);
    mem_free(want);
    mem_free(got);
}

static void test_reference_logits(void **state)
{
    const char *folder = test_data();
    (void)state;
    static const char *const names[] = {"llama-dense",  "llama-moe",   "falcon-dense", "gemma2-dense", "gpt-oss-moe",
                                        "gpt2-dense",   "phi2-dense",  "qwen2-dense",  "qwen3-dense",
                                        "starcoder2-dense"};
    for (size_t i = 0; i < COUNT_OF(names); i++) check_reference(folder, names[i]);
}

/* ---- against itself ------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    struct tiny m;
} variants[] = {
    {"plain", {.type = DTYPE_F32}},
    {"quantised", {.type = DTYPE_Q4_K}},
    {"biases, factors", {.type = DTYPE_F16, .biases = true, .rope_factors = true}},
    {"one KV head, linear scaling", {.type = DTYPE_Q8_0, .n_kv_heads = 1, .scaling = "linear"}},
    {"as many KV heads, YaRN", {.type = DTYPE_Q6_K, .n_kv_heads = 4, .scaling = "yarn"}},
    {"8 heads to a KV head", {.type = DTYPE_Q5_K, .n_heads = 8, .n_kv_heads = 1}},
    {"experts, 4 choose 2", {.type = DTYPE_F32, .n_experts = 4, .n_used = 2}},
    {"experts, 32 choose 4", {.type = DTYPE_MXFP4, .n_experts = 32, .n_used = 4, .ffn_width = 256}},
};

static struct tiny variant(size_t i)
{
    struct tiny m = tiny_default, v = variants[i].m;
    m.type = v.type;
    m.n_heads = v.n_heads ? v.n_heads : m.n_heads;
    m.n_kv_heads = v.n_kv_heads ? v.n_kv_heads : m.n_kv_heads;
    m.ffn_width = v.ffn_width ? v.ffn_width : m.ffn_width;
    m.n_experts = v.n_experts;
    m.n_used = v.n_used;
    m.biases = v.biases;
    m.rope_factors = v.rope_factors;
    m.scaling = v.scaling;
    m.seed = 7 + i;
    return m;
}

static void expect_same(const float *a, const float *b, size_t n, const char *what, const char *model)
{
    if (memcmp(a, b, n * sizeof *a) != 0)
        fail_msg("%s (%s): not the same bits, normalised error %.3g", what, model, nmse(a, b, n));
    for (size_t i = 0; i < n; i++)
        if (!isfinite(a[i])) fail_msg("%s (%s): element %zu is not finite", what, model, i);
}

static void test_prefill_equals_token_by_token(void **state)
{
    int32_t ids[N];
    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        struct tiny m = variant(i);
        OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
        make_ids(ids, N, m.n_vocab, i);
        float *single = logits_of(SCRATCH("tiny.gguf"), 2, false, ids, N, 1, DTYPE_F16);
        for (int step = 2; step <= N; step = step * 3 + 1) {
            float *batched = logits_of(SCRATCH("tiny.gguf"), 2, false, ids, N, step, DTYPE_F16);
            expect_same(batched, single, (size_t)N * (size_t)m.n_vocab, "prefill", variants[i].name);
            mem_free(batched);
        }
        mem_free(single);
    }
}

static void test_threads_do_not_matter(void **state)
{
    static const int counts[] = {2, 3, 7};
    static int32_t ids[LONG];
    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        struct tiny m = variant(i);
        OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
        make_ids(ids, LONG, m.n_vocab, i);
        float *one = logits_of(SCRATCH("tiny.gguf"), 1, false, ids, N, 40, DTYPE_F16);
        for (size_t c = 0; c < 3; c++) {
            float *many = logits_of(SCRATCH("tiny.gguf"), counts[c], false, ids, N, 40, DTYPE_F16);
            expect_same(many, one, (size_t)N * (size_t)m.n_vocab, "threads", variants[i].name);
            mem_free(many);
        }
        mem_free(one);
    }
}

/* Beyond one piece of attention, where few heads and many threads share the pieces out. */
static void test_long_context_in_pieces(void **state)
{
    static int32_t ids[LONG];
    struct tiny m = tiny_default;
    (void)state;
    m.n_kv_heads = 1;
    OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
    make_ids(ids, LONG, m.n_vocab, 3);
    float *one = logits_of(SCRATCH("tiny.gguf"), 1, false, ids, LONG, 128, DTYPE_F16);
    struct loaded l = load(SCRATCH("tiny.gguf"), 7, false, LONG, 1, DTYPE_F16);
    float *last = mem_new((size_t)LONG * (size_t)m.n_vocab, sizeof *last);
    feed(l.m, 0, ids, LONG - 60, 128, last);
    feed(l.m, 0, ids + LONG - 60, 60, 1, last + (size_t)(LONG - 60) * (size_t)m.n_vocab);
    expect_same(last, one, (size_t)LONG * (size_t)m.n_vocab, "pieces", "one KV head");
    unload(&l);
    mem_free(one);
    mem_free(last);
}

static void test_sequences_do_not_meet(void **state)
{
    enum { SEQS = 3 };
    int32_t ids[SEQS][N];
    struct tiny m = variant(1);
    size_t v = (size_t)m.n_vocab;
    (void)state;
    OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
    struct loaded l = load(SCRATCH("tiny.gguf"), 2, false, 256, SEQS, DTYPE_F16);
    float *mixed[SEQS];
    for (int s = 0; s < SEQS; s++) {
        make_ids(ids[s], N, m.n_vocab, (uint64_t)s + 50);
        mixed[s] = mem_new((size_t)N * v, sizeof(float));
    }
    for (int i = 0; i < N; i += 8) {
        const float *logits = l.m->logits;
        for (int s = 0; s < SEQS; s++)
            for (int j = 0; j < 8; j++) OK(model_add(l.m, s, ids[s][i + j], MODEL_LOGITS, &err));
        OK(model_run(l.m, &err));
        for (int s = 0; s < SEQS; s++)
            memcpy(mixed[s] + (size_t)i * v, logits + (size_t)(8 * s) * v, 8 * v * sizeof(float));
    }
    unload(&l);
    for (int s = 0; s < SEQS; s++) {
        float *alone = logits_of(SCRATCH("tiny.gguf"), 2, false, ids[s], N, 16, DTYPE_F16);
        expect_same(mixed[s], alone, (size_t)N * v, "batch", "three sequences");
        mem_free(alone);
        mem_free(mixed[s]);
    }
}

/* Sequence 0 has 8 tokens of text and generates the others; beside each of those goes some text of sequence 1, where
 * there is one: before it and behind it. */
static void generate(const char *path, const int32_t *own, const int32_t *other, float *out, float *other_out)
{
    enum { TEXT = 8, SIDE = 2 };
    struct loaded l = load(path, 2, false, 256, 2, DTYPE_F16);
    size_t v = (size_t)l.m->h.n_vocab, row_bytes = v * sizeof(float);
    const float *logits = l.m->logits;
    feed(l.m, 0, own, TEXT, TEXT, out);
    for (int i = TEXT, n = 0; i < N; i++) {
        int side = other && n + 2 * SIDE <= N ? SIDE : 0;
        for (int j = 0; j < side; j++) OK(model_add(l.m, 1, other[n + j], MODEL_LOGITS, &err));
        OK(model_add(l.m, 0, own[i], MODEL_LOGITS | MODEL_GENERATED, &err));
        for (int j = side; j < 2 * side; j++) OK(model_add(l.m, 1, other[n + j], MODEL_LOGITS, &err));
        OK(model_run(l.m, &err));
        memcpy(out + (size_t)i * v, logits + (size_t)side * v, row_bytes);
        if (side) {
            memcpy(other_out + (size_t)n * v, logits, SIDE * row_bytes);
            memcpy(other_out + (size_t)(n + SIDE) * v, logits + (SIDE + 1) * v, SIDE * row_bytes);
            n += 2 * SIDE;
        }
    }
    unload(&l);
}

static void test_kinds_do_not_meet(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(variants); i++) {
        int32_t own[N], other[N];
        struct tiny m = variant(i);
        size_t n = (size_t)N * (size_t)m.n_vocab;
        OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
        make_ids(own, N, m.n_vocab, 60);
        make_ids(other, N, m.n_vocab, 61);
        float *alone = mem_new(n, sizeof *alone), *mixed = mem_new(n, sizeof *mixed), *text = mem_new(n, sizeof *text);
        generate(SCRATCH("tiny.gguf"), own, NULL, alone, NULL);
        generate(SCRATCH("tiny.gguf"), own, other, mixed, text);
        float *text_alone = logits_of(SCRATCH("tiny.gguf"), 2, false, other, N, 16, DTYPE_F16);
        expect_same(mixed, alone, n, "generated beside text", variants[i].name);
        expect_same(text, text_alone, (size_t)(N / 4 * 4) * (size_t)m.n_vocab, "text beside generated",
                    variants[i].name);
        mem_free(alone);
        mem_free(mixed);
        mem_free(text);
        mem_free(text_alone);
    }
}

/* Rows that nobody wants change nothing about the others: none of a batch, or all but some. */
static void test_only_wanted_rows(void **state)
{
    enum { HALF = N / 2 };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(variants); i++) {
        int32_t ids[N];
        struct tiny m = variant(i);
        size_t v = (size_t)m.n_vocab;
        OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
        make_ids(ids, N, m.n_vocab, 70);
        float *all = logits_of(SCRATCH("tiny.gguf"), 2, false, ids, N, HALF, DTYPE_F16);
        struct loaded l = load(SCRATCH("tiny.gguf"), 2, false, 256, 1, DTYPE_F16);
        for (int j = 0; j < HALF; j++) OK(model_add(l.m, 0, ids[j], 0, &err));
        OK(model_run(l.m, &err));
        for (int j = HALF; j < N; j++)
            OK(model_add(l.m, 0, ids[j], j == HALF + 1 || j == N - 1 ? MODEL_LOGITS : 0, &err));
        OK(model_run(l.m, &err));
        expect_same(l.m->logits, all + (HALF + 1) * v, v, "the first wanted", variants[i].name);
        expect_same(l.m->logits + v, all + (N - 1) * v, v, "the last", variants[i].name);
        unload(&l);
        mem_free(all);
    }
}

static void test_trim_forgets(void **state)
{
    int32_t ids[N];
    struct tiny m = variant(2);
    size_t v = (size_t)m.n_vocab;
    (void)state;
    OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
    make_ids(ids, N, m.n_vocab, 9);
    struct loaded l = load(SCRATCH("tiny.gguf"), 2, false, 256, 1, DTYPE_F16);
    float *first = mem_new((size_t)N * v, sizeof *first), *again = mem_new((size_t)N * v, sizeof *again);
    feed(l.m, 0, ids, N, 16, first);
    model_trim(l.m, 0, 21);
    kv_check(&l.m->kv);
    feed(l.m, 0, ids + 21, N - 21, 10, again);
    expect_same(again, first + 21 * v, (size_t)(N - 21) * v, "after a trim", "biases, factors");
    unload(&l);
    mem_free(first);
    mem_free(again);
}

/* Every element type: the fast path stays near float32 activations, and those are what the decoded
 * weights give.  F16 and BF16 are rounded to BF16 where the processor has products of it, F32 never. */
static void test_every_type(void **state)
{
    static const struct {
        enum dtype type;
        double bound; /* of 8-bit activations, of BF16 numbers; 0: the fast path is the exact one */
    } types[] = {
        {DTYPE_F32, 0},     {DTYPE_F16, 1e-4},  {DTYPE_BF16, 1e-4}, {DTYPE_Q4_0, 2e-3},   {DTYPE_Q4_1, 2e-3},
        {DTYPE_Q5_0, 2e-3}, {DTYPE_Q5_1, 2e-3}, {DTYPE_Q8_0, 2e-3}, {DTYPE_Q2_K, 2e-3},   {DTYPE_Q3_K, 2e-3},
        {DTYPE_Q4_K, 2e-3}, {DTYPE_Q5_K, 2e-3}, {DTYPE_Q6_K, 2e-3}, {DTYPE_IQ4_NL, 2e-3}, {DTYPE_IQ4_XS, 2e-3},
        {DTYPE_MXFP4, 2e-3},
    };
    int32_t ids[24];
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct tiny m = tiny_default;
        m.type = types[i].type;
        OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
        make_ids(ids, 24, m.n_vocab, 5);
        float *fast = logits_of(SCRATCH("tiny.gguf"), 2, false, ids, 24, 24, DTYPE_F32);
        float *exact = logits_of(SCRATCH("tiny.gguf"), 2, true, ids, 24, 24, DTYPE_F32);
        double error = nmse(fast, exact, 24 * (size_t)m.n_vocab);
        print_message("%-6s against float32 activations: %.2g\n", dtype_name(m.type), error);
        bool tiles = dtype_info(m.type)->is_quantized || cpu_features() & CPU_BF16;
        assert_true(error <= (tiles ? types[i].bound : 0));
        mem_free(fast);
        mem_free(exact);
    }
}

/* A backend may know a step again by its bytes, so whatever was written between two equal ones does not show. */
static void test_equal_steps(void **state)
{
    struct tiny m = variant(1);
    (void)state;
    OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
    struct loaded l = load(SCRATCH("tiny.gguf"), 1, false, 256, 1, DTYPE_F16);
    size_t bytes = 0;
    char *first = NULL;
    for (int i = 0; i < 4; i++) {
        OK(model_add(l.m, 0, i, MODEL_LOGITS | MODEL_GENERATED, &err));
        OK(model_run(l.m, &err));
        if (i == 0) {
            bytes = (size_t)l.m->step.n_ops * sizeof *l.m->step.ops;
            first = mem_new(bytes, 1);
            memcpy(first, l.m->step.ops, bytes);
        }
        assert_int_equal(bytes, (size_t)l.m->step.n_ops * sizeof *l.m->step.ops);
        assert_memory_equal(first, l.m->step.ops, bytes);
        for (int j = 0; j < 5; j++) OK(model_add(l.m, 0, j, 0, &err)); /* a text of which nothing is wanted */
        OK(model_run(l.m, &err));
    }
    mem_free(first);
    unload(&l);
}

static void test_wrong_input(void **state)
{
    struct tiny m = variant(0);
    (void)state;
    OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
    struct loaded l = load(SCRATCH("tiny.gguf"), 1, false, 64, 1, DTYPE_F16);
    assert_int_equal(model_add(l.m, 0, -1, 0, &err), REDLINE_ARG);
    assert_int_equal(model_add(l.m, 0, m.n_vocab, 0, &err), REDLINE_ARG);
    assert_int_equal(model_run(l.m, &err), REDLINE_ARG);
    for (int i = 0; i < 64; i++) OK(model_add(l.m, 0, 1, 0, &err));
    assert_int_equal(model_add(l.m, 0, 1, 0, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "full"));
    OK(model_run(l.m, &err));
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_logits),
        cmocka_unit_test(test_prefill_equals_token_by_token),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_long_context_in_pieces),
        cmocka_unit_test(test_sequences_do_not_meet),
        cmocka_unit_test(test_kinds_do_not_meet),
        cmocka_unit_test(test_only_wanted_rows),
        cmocka_unit_test(test_trim_forgets),
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_equal_steps),
        cmocka_unit_test(test_wrong_input),
    };
    return cmocka_run_group_tests_name("model", tests, scratch_setup, scratch_teardown);
}
