/* test_cuda_models.c - whole models on the simulated GPU: every family against the CPU, through the engine.
 *
 * In exact arithmetic the two differ by the order of sums alone; otherwise by what BF16 tiles and 8-bit activations
 * round, which is bounded for plain models (where experts are chosen, a rounded score may choose another). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base.h"
#include "hollow.h"
#include "nmse.h"
#include "redline_probe.h"
#include "scratch.h"

enum { N_IDS = 20, N_PREDICT = 4, BATCH = 12, CTX = 64, MOST_VOCAB = 1024, MOST_WIDTH = 1024 };

static const double EXACT_BOUND = 1e-10, FAST_BOUND = 1e-3; /* of the normalised mean squared error */

static struct redline_err err;

#define OK(call)                                                                                    \
    do {                                                                                            \
        if (call) fail_msg("%s: %s", model_name, err.message);                                      \
    } while (0)

static const char *model_name;

struct answers {
    float logits[N_IDS * MOST_VOCAB], states[N_IDS * MOST_WIDTH];
    size_t n_logits, n_states;
    int32_t generated[N_PREDICT];
};

static void run(struct redline_engine *engine, const struct redline_request *request, struct answers *out)
{
    struct redline_job *job;
    struct redline_event event = {0};
    size_t n;
    OK(redline_submit(&job, engine, request, &err));
    while (event.kind != REDLINE_EVENT_DONE) {
        OK(redline_next(job, &event, &err));
        if (event.kind != REDLINE_EVENT_EMBEDDING) continue;
        out->n_states = event.embedding.n * event.embedding.n_vectors;
        assert_true(out->n_states <= COUNT_OF(out->states));
        memcpy(out->states, event.embedding.vector, out->n_states * sizeof(float));
    }
    const int32_t *ids = redline_job_ids(job, &n);
    if (request->kind == REDLINE_GENERATE) memcpy(out->generated, ids, sizeof out->generated);
    redline_job_free(&job);
}

struct way {
    const char *n_gpu_layers, *placement;
    bool exact;
};

static void ask(const char *path, const struct way *way, struct answers *out)
{
    bool exact = way->exact;
    struct redline_model *model;
    struct redline_engine *engine;
    struct redline_engine_facts facts;
    int32_t ids[N_IDS];
    OK(redline_model_open(&model, path, &err));
    bool encoder = redline_model_can(model, REDLINE_GENERATE, NULL) != 0;
    struct redline_engine_params params = {.n_ctx = CTX, .n_threads = 1, .n_ubatch = encoder ? CTX : BATCH,
                                           .n_outputs = BATCH, .exact = exact,
                                           .n_gpu_layers = way->n_gpu_layers, .placement = way->placement,
                                           .type_k = exact ? "f32" : NULL, .type_v = exact ? "f32" : NULL};
    OK(redline_engine_open(&engine, model, &params, &err));
    redline_engine_facts(engine, &facts);
    bool on_gpu = strcmp(way->n_gpu_layers, "0") != 0 || way->placement;
    assert_string_equal(facts.plan.device, on_gpu ? "cuda" : "cpu");
    assert_true(redline_n_vocab(engine) <= MOST_VOCAB);
    memset(out, 0, sizeof *out);
    for (int i = 0; i < N_IDS; i++) ids[i] = hollow_id(model_name, (uint64_t)i, (int)redline_n_vocab(engine));
    struct redline_request request = {.kind = REDLINE_EMBED, .ids = ids, .n_ids = N_IDS, .unscaled = true,
                                      .pooling = REDLINE_POOL_NONE, .ignore_end = true, .n_predict = N_PREDICT};
    run(engine, &request, out);
    if (!encoder) {
        out->n_logits = N_IDS * redline_n_vocab(engine);
        request.kind = REDLINE_SCORE;
        request.logits = out->logits;
        run(engine, &request, out);
        request.kind = REDLINE_GENERATE;
        run(engine, &request, out);
    }
    redline_engine_close(&engine);
    redline_model_close(&model);
}

static bool check(const char *path, const struct way *way)
{
    static struct answers cpu, gpu;
    double bound = way->exact ? EXACT_BOUND : FAST_BOUND;
    ask(path, &(struct way){"0", NULL, way->exact}, &cpu);
    ask(path, way, &gpu);
    double states = nmse(gpu.states, cpu.states, cpu.n_states);
    double logits = cpu.n_logits ? nmse(gpu.logits, cpu.logits, cpu.n_logits) : 0;
    bool same_text = !way->exact || memcmp(gpu.generated, cpu.generated, sizeof cpu.generated) == 0;
    bool is_right = states <= bound && logits <= bound && same_text;
    print_message("%-24s %s  -ngl %-3s %-8s logits %8.2g  states %8.2g%s\n", model_name, way->exact ? "exact" : "fast ",
                  way->n_gpu_layers, way->placement ? way->placement : "", logits, states, is_right ? "" : "  WRONG");
    return is_right;
}

/* All of it on the GPU; of the plain ones parts too, whose residual stream travels. */
static int check_model(const char *path)
{
    static const struct way ways[] = {
        {"all", NULL, true}, {"all", NULL, false}, {"1", NULL, true}, {"0", "ffn=gpu", true}, {"0", "attn=gpu", false}};
    size_t n_ways = strncmp(model_name, "llama", 5) == 0 ? COUNT_OF(ways) : 1;
    int n_wrong = 0;
    for (size_t i = 0; i < n_ways; i++) n_wrong += !check(path, &ways[i]);
    return n_wrong;
}

/* The models that a list names in its first column. */
static int check_list(const char *folder, const char *list)
{
    char path[512], line[256], name[64];
    int n_wrong = 0, n = 0;
    snprintf(path, sizeof path, SOURCE_DIR "/tests/data/%s/%s", folder, list);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#' || sscanf(line, "%63s", name) != 1) continue;
        model_name = name;
        snprintf(path, sizeof path, SOURCE_DIR "/tests/data/%s/%s.gguf", folder, name);
        OK(hollow_inflate(path, SCRATCH("model.gguf"), &err));
        n_wrong += check_model(SCRATCH("model.gguf"));
        n++;
    }
    fclose(f);
    assert_true(n > 0);
    return n_wrong;
}

static void test_families(void **state)
{
    (void)state;
    assert_int_equal(check_list("families", "families.txt"), 0);
}

static void test_encoders(void **state)
{
    (void)state;
    assert_int_equal(check_list("encoders", "encoders.txt"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_encoders),
    };
    return cmocka_run_group_tests_name("models on the simulated GPU", tests, scratch_setup, scratch_teardown);
}
