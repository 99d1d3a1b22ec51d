/* test_requests.c - many requests at once: each gives what it gives alone, whatever runs beside it; nothing
 * is lost, nothing is allocated on the way.  REDLINE_STRESS_SECONDS repeats the mix for so long, with other
 * seeds, for the sanitizers. */
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#include "base.h"
#include "check.h"
#include "clock.h"
#include "engine.h"
#include "scratch.h"
#include "tiny.h"

enum { N_REQUESTS = 64, N_CTX = 320, N_VOCAB = 64, WIDTH = 256 };

static struct redline_err err;

struct plan { /* one request of the mix */
    enum redline_kind kind;
    int32_t ids[N_CTX + 40];
    int n_ids, n_predict, score_from;
    enum redline_pooling pooling;
    bool cancelled, too_long;
};

struct answer {
    int32_t ids[N_CTX + 1];
    float logprobs[N_CTX + 1], vector[WIDTH];
    size_t n;
    enum redline_stop stop;
};

static struct redline_model *model;

static void make_mix(struct plan *plans, uint64_t seed)
{
    struct rng r;
    rng_seed(&r, seed);
    for (int i = 0; i < N_REQUESTS; i++) {
        struct plan *p = &plans[i];
        uint64_t kind = rng_below(&r, 8);
        *p = (struct plan){.kind = kind == 0 ? REDLINE_EMBED : kind == 1 ? REDLINE_SCORE : REDLINE_GENERATE,
                           .too_long = i % 16 == 7,
                           .cancelled = i % 8 == 3,
                           .pooling = (enum redline_pooling)rng_below(&r, 4)};
        p->n_ids = p->too_long ? N_CTX + 1 + (int)rng_below(&r, 30)
                               : 1 + (int)rng_below(&r, rng_below(&r, 4) ? 40 : 250);
        p->n_predict = rng_below(&r, 10) ? (int)rng_below(&r, 60) : -1;
        p->score_from = p->kind == REDLINE_SCORE ? (int)rng_below(&r, (uint64_t)p->n_ids) : 0;
        for (int k = 0; k < p->n_ids; k++) p->ids[k] = (int32_t)rng_below(&r, N_VOCAB);
    }
}

static struct redline_request request_of(const struct plan *p)
{
    return (struct redline_request){.kind = p->kind,
                                    .ids = p->ids,
                                    .n_ids = (size_t)p->n_ids,
                                    .n_predict = p->n_predict,
                                    .logprobs = true,
                                    .score_from = (size_t)p->score_from,
                                    .pooling = p->pooling};
}

static void follow(struct redline_job *job, struct answer *a, bool cancel)
{
    struct redline_event event = {0};
    size_t n_started = 0, n_prefilled = 0;
    a->n = 0;
    while (event.kind != REDLINE_EVENT_DONE) {
        OK(redline_next(job, &event, &err));
        n_started += event.kind == REDLINE_EVENT_STARTED;
        if (event.kind == REDLINE_EVENT_PREFILL) {
            assert_true(event.prefill.n_done > n_prefilled);
            n_prefilled = event.prefill.n_done;
        }
        if (event.kind == REDLINE_EVENT_TOKEN) {
            a->ids[a->n] = event.token.id;
            a->logprobs[a->n++] = event.token.logprob;
        }
        if (event.kind == REDLINE_EVENT_EMBEDDING) memcpy(a->vector, event.embedding.vector, sizeof a->vector);
        if (cancel && (a->n > 2 || n_prefilled > 100)) redline_cancel(job);
    }
    a->stop = event.done.stop;
    assert_true(n_started == 1 || a->stop == REDLINE_STOP_CANCEL);
}

static struct redline_engine *open_engine(int n_seqs, int n_cache, int n_ubatch, int n_threads)
{
    struct redline_engine *engine;
    struct redline_engine_params params = {.n_ctx = N_CTX,
                                           .n_seqs = n_seqs,
                                           .n_cache = n_cache,
                                           .n_ubatch = n_ubatch,
                                           .n_threads = n_threads,
                                           .n_queue = N_REQUESTS};
    OK(redline_engine_open(&engine, model, &params, &err));
    return engine;
}

/* Every page has come back. */
static void check_empty(struct redline_engine *engine)
{
    assert_int_equal(engine->model->kv.n_free, engine->model->kv.n_pages);
    kv_check(&engine->model->kv);
}

static void expect_same(const struct plan *p, const struct answer *got, const struct answer *alone, int i)
{
    if (!p->cancelled && (got->n != alone->n || got->stop != alone->stop))
        fail_msg("request %d: %zu tokens and stop %d, alone %zu and %d", i, got->n, got->stop, alone->n, alone->stop);
    assert_true(got->n <= alone->n);
    assert_memory_equal(got->ids, alone->ids, got->n * sizeof *got->ids);
    assert_memory_equal(got->logprobs, alone->logprobs, got->n * sizeof *got->logprobs);
    if (p->kind == REDLINE_EMBED && !p->cancelled) assert_memory_equal(got->vector, alone->vector, sizeof got->vector);
}

static void run_mix(uint64_t seed)
{
    static struct plan plans[N_REQUESTS];
    static struct answer alone[N_REQUESTS], together;
    struct redline_job *jobs[N_REQUESTS];
    make_mix(plans, seed);
    struct redline_engine *engine = open_engine(1, 0, 0, 2);
    for (int i = 0; i < N_REQUESTS; i++) {
        struct redline_request request = request_of(&plans[i]);
        int status = redline_submit(&jobs[i], engine, &request, &err);
        assert_int_equal(status, plans[i].too_long ? REDLINE_ARG : 0);
        if (status) continue;
        follow(jobs[i], &alone[i], false);
        redline_job_free(&jobs[i]);
    }
    check_empty(engine);
    redline_engine_close(&engine);

    engine = open_engine(7, 4 * N_CTX, 96, 3); /* a cache that not all seven fit in */
    for (int i = 0; i < N_REQUESTS; i++) {
        struct redline_request request = request_of(&plans[i]);
        int status = redline_submit(&jobs[i], engine, &request, &err);
        assert_int_equal(status, plans[i].too_long ? REDLINE_ARG : 0);
    }
    for (int i = 0; i < N_REQUESTS; i++) {
        if (plans[i].too_long) continue;
        follow(jobs[i], &together, plans[i].cancelled);
        expect_same(&plans[i], &together, &alone[i], i);
        redline_job_free(&jobs[i]);
    }
    check_empty(engine);
    redline_engine_close(&engine);
}

static void test_mix(void **state)
{
    const char *seconds = getenv("REDLINE_STRESS_SECONDS");
    uint64_t end = clock_ns() + (seconds ? strtoull(seconds, NULL, 10) : 0) * 1000000000u, n = 0;
    (void)state;
    do
        run_mix(++n);
    while (clock_ns() < end);
    print_message("%d mixes of %d requests\n", (int)n, N_REQUESTS);
}

/* Consumers on threads of their own, each with a conversation. */
static void *converse(void *user)
{
    struct redline_engine *engine = user;
    struct redline_session *session;
    struct redline_err own;
    int32_t ids[N_CTX];
    size_t n = 5;
    if (redline_session_new(&session, engine, &own)) return "a session could not be made";
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)i;
    for (int turn = 0; turn < 6; turn++) {
        struct redline_request request = {.session = session, .ids = ids, .n_ids = n, .n_predict = 12};
        struct redline_job *job;
        struct redline_event done;
        size_t n_new;
        if (redline_submit(&job, engine, &request, &own) || redline_wait(job, &done, &own)) return "a turn failed";
        const int32_t *made = redline_job_ids(job, &n_new);
        if (n_new != 12 || done.done.n_generated != 12) return "a turn was cut short";
        memcpy(ids + n, made, n_new * sizeof *ids);
        n += n_new;
        ids[n++] = turn;
        redline_job_free(&job);
        struct redline_engine_facts facts; /* may be asked for while others run */
        redline_engine_facts(engine, &facts);
        if (facts.n_threads_used < 1) return "a step without threads";
    }
    redline_session_free(&session);
    return NULL;
}

static void test_conversations(void **state)
{
    enum { N_TALKERS = 6 };
    pthread_t threads[N_TALKERS];
    (void)state;
    struct redline_engine *engine = open_engine(3, 0, 0, 0); /* fewer sequences than conversations */
    for (int i = 0; i < N_TALKERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, converse, engine), 0);
    for (int i = 0; i < N_TALKERS; i++) {
        void *complaint;
        pthread_join(threads[i], &complaint);
        if (complaint) fail_msg("%s", (const char *)complaint);
    }
    check_empty(engine);
    redline_engine_close(&engine);
}

static struct redline_event ask(struct redline_engine *engine, struct redline_session *session, const int32_t *ids,
                                size_t n, int32_t *made)
{
    struct redline_request request = {.session = session, .ids = ids, .n_ids = n, .n_predict = 10};
    struct redline_job *job;
    struct redline_event done;
    size_t n_made;
    OK(redline_submit(&job, engine, &request, &err));
    OK(redline_wait(job, &done, &err));
    memcpy(made, redline_job_ids(job, &n_made), 10 * sizeof *made);
    redline_job_free(&job);
    return done;
}

/* What the session has is not computed again, and makes no difference. */
static void test_prefix(void **state)
{
    int32_t ids[200], made[10], again[10];
    struct redline_session *session;
    (void)state;
    struct redline_engine *engine = open_engine(1, 0, 0, 2);
    OK(redline_session_new(&session, engine, &err));
    for (int i = 0; i < 200; i++) ids[i] = i * 7 % N_VOCAB;
    assert_int_equal(ask(engine, session, ids, 100, made).done.n_cached, 0);
    memcpy(ids + 100, made, sizeof made);
    assert_int_equal(ask(engine, session, ids, 130, made).done.n_cached, 109); /* the last was never fed */
    assert_int_equal(ask(engine, session, ids, 130, again).done.n_cached, 129);
    assert_memory_equal(made, again, sizeof made);
    ids[50]++; /* a changed past */
    assert_int_equal(ask(engine, session, ids, 130, made).done.n_cached, 50);
    assert_int_equal(ask(engine, NULL, ids, 130, again).done.n_cached, 0); /* and the session had to give way */
    assert_memory_equal(made, again, sizeof made);
    assert_int_equal(ask(engine, session, ids, 130, again).done.n_cached, 0);
    assert_memory_equal(made, again, sizeof made);
    redline_session_free(&session);
    check_empty(engine);
    redline_engine_close(&engine);
}

/* Keeps the engine's thread until it is let go: however slow the test is, no request begins meanwhile. */
struct hold {
    struct redline_engine *engine;
    pthread_t thread;
    sem_t held, over;
};

static void keep_engine(struct redline_engine *engine, void *user)
{
    struct hold *h = user;
    (void)engine;
    sem_post(&h->held);
    while (sem_wait(&h->over)) continue;
}

static void *call_engine(void *user)
{
    struct hold *h = user;
    engine_call(h->engine, keep_engine, h);
    return NULL;
}

static void hold_begin(struct hold *h, struct redline_engine *engine)
{
    h->engine = engine;
    sem_init(&h->held, 0, 0);
    sem_init(&h->over, 0, 0);
    assert_int_equal(pthread_create(&h->thread, NULL, call_engine, h), 0);
    while (sem_wait(&h->held)) continue;
}

static void hold_end(struct hold *h)
{
    sem_post(&h->over);
    pthread_join(h->thread, NULL);
    sem_destroy(&h->held);
    sem_destroy(&h->over);
}

static void test_full_queue_and_busy_session(void **state)
{
    struct redline_engine_params params = {.n_ctx = N_CTX, .n_queue = 3};
    struct redline_engine *engine;
    struct redline_session *session;
    struct redline_job *jobs[8], *none;
    int32_t ids[N_CTX] = {0};
    struct hold hold;
    int n = 0, status = 0;
    (void)state;
    OK(redline_engine_open(&engine, model, &params, &err));
    OK(redline_session_new(&session, engine, &err));
    struct redline_request request = {.session = session, .ids = ids, .n_ids = 300, .n_predict = -1};
    hold_begin(&hold, engine);
    OK(redline_submit(&jobs[n++], engine, &request, &err));
    assert_int_equal(redline_submit(&none, engine, &request, &err), REDLINE_BUSY);
    assert_non_null(strstr(err.message, "session"));
    request.session = NULL;
    while (n < 8 && !(status = redline_submit(&jobs[n], engine, &request, &err))) n++;
    assert_int_equal(status, REDLINE_BUSY);
    assert_int_equal(n, 3);
    assert_non_null(strstr(err.message, "3 requests wait"));
    hold_end(&hold);
    for (int i = n; i-- > 0;) redline_job_free(&jobs[i]); /* cancels */
    redline_session_free(&session);
    check_empty(engine);
    request.session = NULL;
    OK(redline_submit(&jobs[0], engine, &request, &err));
    redline_job_free(&jobs[0]);
    redline_engine_close(&engine);
}

/* With many at work, too, nothing is allocated between their first tokens and their last. */
static void test_no_allocation(void **state)
{
    struct redline_job *jobs[6];
    struct redline_event event = {0};
    int32_t ids[16] = {1, 2, 3};
    (void)state;
    struct redline_engine *engine = open_engine(6, 0, 0, 2);
    struct redline_request request = {.ids = ids, .n_ids = 16, .n_predict = 200};
    for (int i = 0; i < 6; i++) {
        ids[0] = i;
        OK(redline_submit(&jobs[i], engine, &request, &err));
    }
    uint64_t before = mem_n_allocations();
    for (int i = 0; i < 6; i++)
        do
            OK(redline_next(jobs[i], &event, &err));
        while (event.kind != REDLINE_EVENT_DONE);
    assert_int_equal(mem_n_allocations(), before);
    for (int i = 0; i < 6; i++) redline_job_free(&jobs[i]);
    redline_engine_close(&engine);
}

static void test_scores_and_vectors(void **state)
{
    int32_t ids[40];
    static float logits[40 * N_VOCAB];
    struct redline_job *job;
    struct redline_event event = {0};
    size_t n;
    (void)state;
    for (int i = 0; i < 40; i++) ids[i] = i * 5 % N_VOCAB;
    struct redline_engine *engine = open_engine(2, 0, 0, 2);
    struct redline_request request = {.kind = REDLINE_SCORE, .ids = ids, .n_ids = 40, .logits = logits};
    OK(redline_submit(&job, engine, &request, &err));
    OK(redline_wait(job, &event, &err));
    const float *got = redline_job_logprobs(job, &n);
    assert_int_equal(n, 39);
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (int v = 0; v < N_VOCAB; v++) sum += exp((double)logits[i * N_VOCAB + (size_t)v]);
        assert_true(fabs((double)logits[i * N_VOCAB + (size_t)ids[i + 1]] - log(sum) - (double)got[i]) < 1e-5);
    }

    /* from a later position on: the same rows and figures, and no others */
    static float some[40 * N_VOCAB];
    float all[39];
    memcpy(all, got, sizeof all);
    redline_job_free(&job);
    request.logits = some;
    request.score_from = 23;
    OK(redline_submit(&job, engine, &request, &err));
    OK(redline_wait(job, &event, &err));
    got = redline_job_logprobs(job, &n);
    assert_int_equal(n, 16);
    assert_memory_equal(got, all + 23, 16 * sizeof *got);
    assert_memory_equal(redline_job_ids(job, &n), ids + 24, 16 * sizeof *ids);
    assert_memory_equal(some, logits + 23 * N_VOCAB, sizeof(float) * 17 * N_VOCAB);
    for (size_t i = 17 * N_VOCAB; i < COUNT_OF(some); i++) assert_true(some[i] == 0);
    redline_job_free(&job);
    request.score_from = 40;
    assert_int_equal(redline_submit(&job, engine, &request, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "position 40 of 40"));

    request = (struct redline_request){.kind = REDLINE_EMBED, .ids = ids, .n_ids = 40, .pooling = REDLINE_POOL_MEAN};
    OK(redline_submit(&job, engine, &request, &err));
    while (event.kind != REDLINE_EVENT_EMBEDDING) OK(redline_next(job, &event, &err));
    const float *v = event.embedding.vector;
    double length = 0;
    assert_int_equal(event.embedding.n, WIDTH);
    for (size_t i = 0; i < event.embedding.n; i++) length += (double)v[i] * (double)v[i];
    assert_true(fabs(length - 1) < 1e-5);
    redline_job_free(&job);
    redline_engine_close(&engine);
}

struct made_vectors {
    float x[40 * WIDTH];
    size_t n;
};

static void embed(struct redline_engine *engine, struct made_vectors *out, enum redline_pooling pooling, bool unscaled)
{
    int32_t ids[40];
    struct redline_job *job;
    struct redline_event event = {0};
    for (int i = 0; i < 40; i++) ids[i] = i * 5 % N_VOCAB;
    struct redline_request request = {
        .kind = REDLINE_EMBED, .ids = ids, .n_ids = 40, .pooling = pooling, .unscaled = unscaled};
    OK(redline_submit(&job, engine, &request, &err));
    while (event.kind != REDLINE_EVENT_EMBEDDING) OK(redline_next(job, &event, &err));
    assert_int_equal(event.embedding.n, WIDTH);
    assert_int_equal(event.embedding.pooling, pooling);
    out->n = event.embedding.n_vectors;
    memcpy(out->x, event.embedding.vector, out->n * WIDTH * sizeof(float));
    redline_job_free(&job);
}

static double length_of(const float *x)
{
    double sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* Each way of pooling is made of the vectors that there are without. */
static void test_pooling(void **state)
{
    static struct made_vectors all, one;
    (void)state;
    struct redline_engine *engine = open_engine(2, 0, 16, 2); /* a prompt takes several steps */
    embed(engine, &all, REDLINE_POOL_NONE, true);
    assert_int_equal(all.n, 40);
    embed(engine, &one, REDLINE_POOL_FIRST, true);
    assert_int_equal(one.n, 1);
    assert_memory_equal(one.x, all.x, WIDTH * sizeof(float));
    embed(engine, &one, REDLINE_POOL_LAST, true);
    assert_memory_equal(one.x, all.x + 39 * WIDTH, WIDTH * sizeof(float));
    embed(engine, &one, REDLINE_POOL_MEAN, true);
    for (int i = 0; i < WIDTH; i++) {
        double sum = 0;
        for (int k = 0; k < 40; k++) sum += (double)all.x[k * WIDTH + i];
        assert_float_equal(one.x[i], sum / 40, 1e-6);
    }
    embed(engine, &one, REDLINE_POOL_LAST, false);
    double length = length_of(all.x + 39 * WIDTH);
    for (int i = 0; i < WIDTH; i++) assert_float_equal(one.x[i], (double)all.x[39 * WIDTH + i] / length, 1e-6);
    embed(engine, &one, REDLINE_POOL_NONE, false);
    for (int k = 0; k < 40; k++) assert_float_equal(length_of(one.x + k * WIDTH), 1, 1e-5);
    redline_engine_close(&engine);
}

static int open_model(void **state)
{
    struct tiny m = tiny_default;
    m.n_vocab = N_VOCAB;
    if (scratch_setup(state) || tiny_write(SCRATCH("tiny.gguf"), &m, &err)) return -1;
    return redline_model_open(&model, SCRATCH("tiny.gguf"), &err);
}

static int close_model(void **state)
{
    redline_model_close(&model);
    return scratch_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_full_queue_and_busy_session),
        cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_scores_and_vectors),
        cmocka_unit_test(test_pooling),
        cmocka_unit_test(test_conversations),
        cmocka_unit_test(test_mix),
    };
    return cmocka_run_group_tests_name("requests", tests, open_model, close_model);
}
