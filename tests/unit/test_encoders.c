/* test_encoders.c - models that make embeddings, against transformers; and what the engine owes to encoders,
 * whose tokens see what follows them.
 *
 * tests/data/encoders has a tiny random model of each family, hollow (hollow.h), and the vectors that transformers
 * computes with the same weights; tools/golden/encoders.py makes both.  Here they run through the engine, in F32
 * and exact arithmetic: three texts, each pooled in three ways. */
#include "check.h"
#include "engine.h"
#include "hollow.h"
#include "scratch.h"

#define ENCODERS SOURCE_DIR "/tests/data/encoders/"

enum { MOST_MODELS = 32, MOST_WIDTH = 512, N_TEXTS = 3, N_POOLINGS = 3, N_ROWS = N_TEXTS * N_POOLINGS };

static const double BOUND = 1e-9; /* of 1 - cosine, and of the normalised mean squared error */
enum { LEARNED = 320 }; /* positions of bert */

static const int lengths[N_TEXTS] = {300, 19, 1};
static const enum redline_pooling poolings[N_POOLINGS] = {REDLINE_POOL_MEAN, REDLINE_POOL_FIRST, REDLINE_POOL_LAST};

static struct redline_err err;

static struct encoder {
    char name[64], pooling[8];
    int width;
} encoders[MOST_MODELS];
static int n_encoders;

static bool read_list(void)
{
    char line[256];
    FILE *f = fopen(ENCODERS "encoders.txt", "r");
    if (!f) return false;
    for (n_encoders = 0; n_encoders < MOST_MODELS && fgets(line, sizeof line, f);) {
        struct encoder *e = &encoders[n_encoders];
        if (line[0] == '#') continue;
        if (sscanf(line, "%63s %d %7s", e->name, &e->width, e->pooling) != 3) break;
        n_encoders++;
    }
    bool complete = feof(f) != 0;
    fclose(f);
    return complete && n_encoders > 0;
}

/* ---- running ------------------------------------------------------------------------------------- */

struct results {
    float x[N_ROWS][MOST_WIDTH];
};

static struct redline_model *open_model(const char *name)
{
    char path[512];
    struct redline_model *model;
    snprintf(path, sizeof path, ENCODERS "%s.gguf", name);
    OK(hollow_inflate(path, SCRATCH("encoder.gguf"), &err));
    OK(redline_model_open(&model, SCRATCH("encoder.gguf"), &err));
    return model;
}

static struct redline_engine *open_engine(const struct redline_model *model, int n_seqs, int n_ubatch, bool exact)
{
    struct redline_engine *engine;
    struct redline_engine_params params = {.n_ctx = lengths[0],
                                           .n_seqs = n_seqs,
                                           .n_ubatch = n_ubatch,
                                           .n_threads = 2,
                                           .type_k = exact ? "f32" : NULL,
                                           .type_v = exact ? "f32" : NULL,
                                           .exact = exact};
    OK(redline_engine_open(&engine, model, &params, &err));
    return engine;
}

static struct redline_job *submit(struct redline_engine *engine, const char *name, int n, enum redline_pooling pooling,
                                  struct redline_session *session)
{
    struct redline_job *job;
    int32_t ids[300];
    for (int i = 0; i < n; i++) ids[i] = hollow_id(name, (uint64_t)i, (int)redline_n_vocab(engine));
    struct redline_request request = {.kind = REDLINE_EMBED,
                                      .session = session,
                                      .ids = ids,
                                      .n_ids = (size_t)n,
                                      .pooling = pooling,
                                      .unscaled = true};
    OK(redline_submit(&job, engine, &request, &err));
    return job;
}

static void take(struct redline_job *job, float *out, int width)
{
    struct redline_event event = {0};
    while (event.kind != REDLINE_EVENT_EMBEDDING) OK(redline_next(job, &event, &err));
    assert_int_equal(event.embedding.n, width);
    assert_int_equal(event.embedding.n_vectors, 1);
    memcpy(out, event.embedding.vector, (size_t)width * sizeof *out);
    while (event.kind != REDLINE_EVENT_DONE) OK(redline_next(job, &event, &err));
    assert_int_equal(event.done.n_cached, 0);
    redline_job_free(&job);
}

/* All texts and poolings at once, submitted in the order of i * step. */
static void run_all(struct redline_engine *engine, const struct encoder *e, int step, struct results *out)
{
    struct redline_job *jobs[N_ROWS];
    for (int i = 0; i < N_ROWS; i++) {
        int row = i * step % N_ROWS;
        jobs[row] = submit(engine, e->name, lengths[row / N_POOLINGS], poolings[row % N_POOLINGS], NULL);
    }
    for (int i = 0; i < N_ROWS; i++) take(jobs[i], out->x[i], e->width);
}

/* ---- against transformers -------------------------------------------------------------------------- */

struct distance {
    double one_minus_cosine, nmse;
};

static struct distance distance_of(const float *a, const float *b, int n)
{
    double aa = 0, ab = 0, bb = 0, dd = 0;
    for (int i = 0; i < n; i++) {
        aa += (double)a[i] * (double)a[i];
        ab += (double)a[i] * (double)b[i];
        bb += (double)b[i] * (double)b[i];
        dd += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    }
    return (struct distance){1 - ab / sqrt(aa * bb), dd / bb};
}

static void read_reference(const struct encoder *e, struct results *out)
{
    char path[512];
    size_t n = 0;
    snprintf(path, sizeof path, ENCODERS "%s.f32", e->name);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s is missing", path);
    for (int i = 0; i < N_ROWS; i++) n += fread(out->x[i], sizeof(float), (size_t)e->width, f);
    fclose(f);
    assert_int_equal(n, N_ROWS * e->width);
}

static bool check_reference(const struct encoder *e, const struct results *got)
{
    static struct results want;
    struct distance worst = {0};
    read_reference(e, &want);
    for (int i = 0; i < N_ROWS; i++) {
        struct distance d = distance_of(got->x[i], want.x[i], e->width);
        worst.one_minus_cosine = fmax(worst.one_minus_cosine, d.one_minus_cosine);
        worst.nmse = fmax(worst.nmse, d.nmse);
        if (isnan(d.nmse)) worst.nmse = INFINITY;
    }
    bool is_right = worst.one_minus_cosine <= BOUND && worst.nmse <= BOUND;
    print_message("%-24s 1 - cosine %.2g, error %.2g%s\n", e->name, worst.one_minus_cosine, worst.nmse,
                  is_right ? "" : "  WRONG");
    return is_right;
}

static void test_references(void **state)
{
    static struct results got;
    int n_wrong = 0;
    (void)state;
    for (int i = 0; i < n_encoders; i++) {
        struct redline_model *model = open_model(encoders[i].name);
        struct redline_engine *engine = open_engine(model, 4, 0, true);
        run_all(engine, &encoders[i], 1, &got);
        n_wrong += !check_reference(&encoders[i], &got);
        redline_engine_close(&engine);
        redline_model_close(&model);
    }
    if (n_wrong) fail_msg("%d of %d models are not right", n_wrong, n_encoders);
}

/* ---- alone, in company, in any order ---------------------------------------------------------------- */

static void check_company(const struct encoder *e, const struct redline_model *model)
{
    static const int orders[] = {1, 2, 4, 5, 7, 8};
    static struct results alone, got;
    struct redline_engine *single = open_engine(model, 1, 0, false), *many = open_engine(model, 7, 700, false);
    run_all(single, e, 1, &alone);
    for (size_t i = 0; i < COUNT_OF(orders); i++) {
        run_all(many, e, orders[i], &got);
        for (int row = 0; row < N_ROWS; row++)
            assert_memory_equal(got.x[row], alone.x[row], (size_t)e->width * sizeof(float));
    }
    redline_engine_close(&many);
    redline_engine_close(&single);
}

/* What the file says of pooling holds where the request leaves it open. */
static void check_pooling(const struct encoder *e, const struct redline_model *model)
{
    static const char *const names[] = {"mean", "cls", "last"};
    float by_file[MOST_WIDTH], asked[MOST_WIDTH];
    size_t which = 0;
    while (which < COUNT_OF(names) && strcmp(names[which], e->pooling) != 0) which++;
    assert_true(which < COUNT_OF(names));
    struct redline_engine *engine = open_engine(model, 1, 0, false);
    take(submit(engine, e->name, 19, REDLINE_POOL_DEFAULT, NULL), by_file, e->width);
    take(submit(engine, e->name, 19, poolings[which], NULL), asked, e->width);
    assert_memory_equal(by_file, asked, (size_t)e->width * sizeof(float));
    redline_engine_close(&engine);
}

static void test_company(void **state)
{
    (void)state;
    for (int i = 0; i < n_encoders; i++) {
        struct redline_model *model = open_model(encoders[i].name);
        check_company(&encoders[i], model);
        check_pooling(&encoders[i], model);
        redline_model_close(&model);
    }
}

/* ---- what encoders cannot do ------------------------------------------------------------------------- */

static void expect_refusal(struct redline_engine *engine, enum redline_kind kind, size_t n, int status,
                           const char *words)
{
    static const int32_t ids[LEARNED + 1];
    struct redline_request request = {.kind = kind, .ids = ids, .n_ids = n, .n_predict = 1};
    struct redline_job *job;
    assert_int_equal(redline_submit(&job, engine, &request, &err), status);
    if (!strstr(err.message, words)) fail_msg("'%s' is missing in: %s", words, err.message);
}

static void test_refusals(void **state)
{
    struct redline_model *model = open_model("bert");
    struct redline_engine *engine = open_engine(model, 2, 0, false);
    struct redline_file_facts facts;
    (void)state;
    redline_file_facts(model, &facts);
    assert_true(facts.encoder && facts.pooling == REDLINE_POOL_MEAN);
    assert_int_equal(redline_model_can(model, REDLINE_EMBED, &err), 0);
    expect_refusal(engine, REDLINE_GENERATE, 3, REDLINE_SUPPORT, "'bert' is an encoder");
    expect_refusal(engine, REDLINE_SCORE, 3, REDLINE_SUPPORT, "'bert' is an encoder");
    expect_refusal(engine, REDLINE_EMBED, 301, REDLINE_ARG, "the context holds 300");
    redline_engine_close(&engine);
    struct redline_engine_params long_context = {.n_ctx = LEARNED + 9};
    OK(redline_engine_open(&engine, model, &long_context, &err));
    expect_refusal(engine, REDLINE_EMBED, LEARNED + 1, REDLINE_ARG, "has learned 320 positions");
    redline_engine_close(&engine);
    engine = open_engine(model, 2, 40, false); /* smaller steps than the context */
    expect_refusal(engine, REDLINE_EMBED, 41, REDLINE_ARG, "a step holds 40");
    redline_engine_close(&engine);
    redline_model_close(&model);
}

/* A session keeps nothing of an encoder: what it computed of a beginning saw another ending. */
static void test_session(void **state)
{
    float fresh[64], again[64];
    struct redline_model *model = open_model("bert");
    struct redline_engine *engine = open_engine(model, 1, 0, false);
    struct redline_session *session;
    (void)state;
    OK(redline_session_new(&session, engine, &err));
    take(submit(engine, "bert", 300, REDLINE_POOL_MEAN, NULL), fresh, 64);
    take(submit(engine, "bert", 19, REDLINE_POOL_MEAN, session), again, 64);
    take(submit(engine, "bert", 300, REDLINE_POOL_MEAN, session), again, 64);
    assert_memory_equal(fresh, again, sizeof fresh);
    redline_session_free(&session);
    assert_int_equal(engine->model->kv.n_free, engine->model->kv.n_pages);
    redline_engine_close(&engine);
    redline_model_close(&model);
}

static int set_up(void **state)
{
    return scratch_setup(state) || !read_list() ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_company),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_session),
    };
    return cmocka_run_group_tests_name("encoders", tests, set_up, scratch_teardown);
}
