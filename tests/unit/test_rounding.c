/* test_rounding.c - what rounding activations costs: no more than in llama.cpp.
 *
 * The models are those of test_families.c, which holds exact arithmetic to 1e-6 of transformers in float64; so it is
 * the reference here, over all of a long text.  llama.cpp's errors are of its logits for the same files and ids
 * (3f545becc, AVX-512 with VNNI, F32 cache, one batch).  F16 is not among them: it costs 4.5e-5 here, where texts are
 * multiplied as BF16, and 3.8e-7 there. */
#include "check.h"
#include "hollow.h"
#include "model.h"
#include "nmse.h"
#include "scratch.h"

enum { N = 480 };

static const double NOISE = 1.05; /* of one model and one text */

static const struct {
    const char *name;
    double theirs; /* normalised mean squared error of logits */
} cases[] = {
    {"llama-bf16", 2.31e-5}, {"llama-q8_0", 1.75e-4},  {"llama-q4_0", 1.74e-4}, {"llama-q4_k", 3.42e-4},
    {"llama-q6_k", 1.39e-3}, {"llama-mixed", 3.27e-4}, {"qwen3-q8_0", 1.76e-4}, {"qwen3-q4_k", 2.58e-4},
    {"mixtral-q4_0", 1.14e-3}, {"gpt-oss-mxfp4", 0.103},
};

static struct redline_err err;

/* The logits of all tokens, of a text or as if each had been generated; *n numbers. */
static float *logits_of(const char *name, bool exact, unsigned kind, size_t *n)
{
    struct gguf *g;
    struct backend *b;
    struct model *m;
    struct backend_params bp = {.n_threads = 2, .exact = exact};
    struct model_params mp = {.type_k = DTYPE_F32, .type_v = DTYPE_F32, .n_ctx = N, .n_seqs = 1, .n_ubatch = N,
                              .n_outputs = N};
    OK(gguf_open(&g, SCRATCH("model.gguf"), &err));
    OK(backend_cpu.open(&b, &bp, &err));
    OK(model_open(&m, g, b, &mp, &err));
    for (int i = 0; i < N; i++)
        OK(model_add(m, 0, hollow_id(name, (uint64_t)i, m->h.n_vocab), MODEL_LOGITS | kind, &err));
    OK(model_run(m, &err));
    *n = (size_t)N * (size_t)m->h.n_vocab;
    float *out = mem_new(*n, sizeof *out);
    assert_non_null(out);
    memcpy(out, m->logits, *n * sizeof *out);
    model_close(&m);
    b->ops->close(&b);
    gguf_close(&g);
    return out;
}

static bool check_model(const char *name, double theirs)
{
    static const unsigned kinds[] = {0, MODEL_GENERATED};
    char hollow[512];
    size_t n;
    double error[2];
    snprintf(hollow, sizeof hollow, SOURCE_DIR "/tests/data/families/%s.gguf", name);
    OK(hollow_inflate(hollow, SCRATCH("model.gguf"), &err));
    float *want = logits_of(name, true, 0, &n);
    for (int i = 0; i < 2; i++) {
        float *got = logits_of(name, false, kinds[i], &n);
        error[i] = nmse(got, want, n);
        mem_free(got);
    }
    mem_free(want);
    bool is_right = error[0] <= NOISE * theirs && error[1] <= NOISE * theirs;
    print_message("%-16s text %.3g, generated %.3g, llama.cpp %.3g%s\n", name, error[0], error[1], theirs,
                  is_right ? "" : "  WORSE");
    return is_right;
}

static void test_errors_of_rounding(void **state)
{
    int n_wrong = 0;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) n_wrong += !check_model(cases[i].name, cases[i].theirs);
    if (n_wrong) fail_msg("%d models are worse than llama.cpp", n_wrong);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_errors_of_rounding)};
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
