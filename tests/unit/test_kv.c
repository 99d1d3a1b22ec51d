/* test_kv.c - the cache: windowed layers in rings against the same layers in pages, going back, every type.
 *
 * The models are the hollow ones of tests/data/families; see hollow.h. */
#include "check.h"
#include "hollow.h"
#include "model.h"
#include "nmse.h"
#include "scratch.h"

enum { N_TOKENS = 300, BATCH = 16 };

static struct redline_err err;

struct loaded {
    struct gguf *g;
    struct backend *b;
    struct model *m;
};

static void make_file(const char *name)
{
    char hollow[512];
    snprintf(hollow, sizeof hollow, SOURCE_DIR "/tests/data/families/%s.gguf", name);
    OK(hollow_inflate(hollow, SCRATCH("model.gguf"), &err));
}

static struct model_params params_of(enum dtype kv, int n_seqs, int n_pages)
{
    return (struct model_params){.type_k = kv, .type_v = kv, .n_ctx = 320, .n_seqs = n_seqs, .n_pages = n_pages,
                                 .n_ubatch = BATCH, .n_outputs = BATCH};
}

static int try_load(struct loaded *l, struct model_params p)
{
    struct backend_params bp = {.n_threads = 2, .exact = true};
    *l = (struct loaded){0};
    TRY(gguf_open(&l->g, SCRATCH("model.gguf"), &err));
    TRY(backend_cpu.open(&l->b, &bp, &err));
    return model_open(&l->m, l->g, l->b, &p, &err);
}

static void unload(struct loaded *l)
{
    if (l->m) kv_check(&l->m->kv);
    model_close(&l->m);
    if (l->b) l->b->ops->close(&l->b);
    gguf_close(&l->g);
}

/* Feeds tokens [from, to) of the prompt called `prompt` and keeps all logits, [to - from, V] at out. */
static void feed(struct model *m, int seq, const char *prompt, int from, int to, float *out)
{
    size_t v = (size_t)m->h.n_vocab;
    for (int i = from; i < to; i += BATCH) {
        int n = MIN(BATCH, to - i);
        for (int j = i; j < i + n; j++)
            OK(model_add(m, seq, hollow_id(prompt, (uint64_t)j, m->h.n_vocab), MODEL_LOGITS, &err));
        OK(model_run(m, &err));
        memcpy(out, m->logits, (size_t)n * v * sizeof *out);
        out += (size_t)n * v;
    }
}

static float *room(const struct model *m)
{
    return mem_new((size_t)N_TOKENS * (size_t)m->h.n_vocab, sizeof(float));
}

/* ---- rings ------------------------------------------------------------------------------------- */

static const char *const windowed[] = {"gemma2", "gemma3", "gpt-oss", "cohere2", "olmo3", "exaone4-window"};

/* The pool is as small as two rings, then both sequences use its pages; otherwise they have rings. */
static void check_ring(const char *name)
{
    struct loaded ring, paged;
    make_file(name);
    OK(try_load(&ring, params_of(DTYPE_F16, 2, 0)));
    OK(try_load(&paged, params_of(DTYPE_F16, 2, 5)));
    struct model *m = ring.m;
    assert_true(m->kv.ring_pages > 0 && m->kv.ring_pages * KV_PAGE < N_TOKENS);
    assert_int_equal(paged.m->kv.ring_pages, 0);
    size_t v = (size_t)m->h.n_vocab, bytes = N_TOKENS * v * sizeof(float);
    float *want = room(m), *got = room(m), *other = room(m);

    feed(paged.m, 0, name, 0, N_TOKENS, want);
    feed(m, 1, name, 0, 150, got); /* another sequence in between reads and writes its own ring */
    feed(m, 0, "another", 0, N_TOKENS, other);
    feed(m, 1, name, 150, N_TOKENS, got + 150 * v);
    assert_memory_equal(got, want, bytes);

    /* Back by a little: what the window sees is still there.  Back by more: nothing can be kept. */
    assert_int_equal(model_keeps(m, 1, N_TOKENS - 9), N_TOKENS - 9);
    model_trim(m, 1, N_TOKENS - 9);
    feed(m, 1, name, N_TOKENS - 9, N_TOKENS, got);
    assert_memory_equal(got, want + (N_TOKENS - 9) * v, 9 * v * sizeof(float));
    assert_int_equal(model_keeps(m, 1, 100), 0);
    assert_int_equal(model_keeps(paged.m, 0, 100), 100);
    model_trim(m, 1, 0);
    feed(m, 1, name, 0, N_TOKENS, got);
    assert_memory_equal(got, want, bytes);

    mem_free(want);
    mem_free(got);
    mem_free(other);
    unload(&paged);
    unload(&ring);
}

static void test_rings(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(windowed); i++) {
        print_message("%s\n", windowed[i]);
        check_ring(windowed[i]);
    }
}

/* A context without end costs a windowed layer no more than its window. */
static void test_ring_bytes(void **state)
{
    struct loaded l;
    (void)state;
    make_file("gemma3");
    OK(try_load(&l, params_of(DTYPE_F16, 1, 0)));
    struct hparams h = l.m->h;
    struct kv_params small = {DTYPE_F16, DTYPE_F16, 1, 4096, 64, BATCH};
    struct kv_params large = {DTYPE_F16, DTYPE_F16, 1, 65536, 1024, BATCH};
    struct kv_costs a, b;
    kv_costs(&a, &h, &small);
    kv_costs(&b, &h, &large);
    assert_true(a.ring_bytes > 0 && a.ring_bytes == b.ring_bytes);
    assert_true(kv_bytes(&h, &large) - b.ring_bytes == 16 * (kv_bytes(&h, &small) - a.ring_bytes));
    assert_true(l.m->kv.memory[0].bytes == (size_t)l.m->kv.n_pages * l.m->kv.page_bytes + l.m->kv.ring_bytes);
    unload(&l);
}

/* ---- types ------------------------------------------------------------------------------------- */

static float *logits_with(const char *name, enum dtype kv, size_t *n)
{
    struct loaded l;
    OK(try_load(&l, params_of(kv, 1, 0)));
    float *out = room(l.m);
    *n = N_TOKENS * (size_t)l.m->h.n_vocab;
    feed(l.m, 0, name, 0, N_TOKENS, out);
    unload(&l);
    return out;
}

/* One family of each way to attend: shared heads, windows and sinks, soft caps, ALiBi, latent in both forms. */
static const char *const attending[] = {"llama", "gpt-oss", "gemma2", "bloom", "minicpm3", "deepseek2-lite"};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median over tokens: where rounding makes a token choose another expert, its own error is no measure. */
static double median_nmse(const float *a, const float *b, size_t n)
{
    double error[N_TOKENS];
    size_t v = n / N_TOKENS;
    for (size_t i = 0; i < N_TOKENS; i++) error[i] = nmse(a + i * v, b + i * v, v);
    qsort(error, N_TOKENS, sizeof error[0], by_value);
    return error[N_TOKENS / 2];
}

/* Some three times what was seen at most; random models take the rounding of keys harder than trained ones. */
static const struct {
    enum dtype type;
    double bound;
} types[] = {{DTYPE_F16, 5e-7}, {DTYPE_BF16, 2e-4}, {DTYPE_Q8_0, 4e-4}, {DTYPE_Q4_0, 0.06}};

static void test_types(void **state)
{
    size_t n;
    (void)state;
    for (size_t f = 0; f < COUNT_OF(attending); f++) {
        make_file(attending[f]);
        float *want = logits_with(attending[f], DTYPE_F32, &n);
        for (size_t i = 0; i < COUNT_OF(types); i++) {
            float *got = logits_with(attending[f], types[i].type, &n);
            double error = median_nmse(got, want, n);
            print_message("%-16s %-5s %.2g\n", attending[f], dtype_name(types[i].type), error);
            assert_true(error > 0 && error <= types[i].bound);
            mem_free(got);
        }
        mem_free(want);
    }
}

static void test_refused(void **state)
{
    struct loaded l;
    (void)state;
    make_file("llama");
    assert_int_equal(try_load(&l, params_of(DTYPE_Q4_K, 1, 0)), REDLINE_SUPPORT);
    assert_non_null(strstr(err.message, "a KV cache of Q4_K; known are F32, F16, BF16, Q8_0 and Q4_0"));
    unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rings),
        cmocka_unit_test(test_ring_bytes),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
