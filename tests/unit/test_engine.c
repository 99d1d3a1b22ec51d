/* test_engine.c - requests through the public header: known texts, limits, cancelling, no allocation
 * between tokens, and every refused allocation, read and thread. */
#include <stdlib.h>

#include "check.h"
#include "fault.h"
#include "redline_probe.h"
#include "scratch.h"
#include "tiny.h"

static struct redline_err err;

struct record { /* what a listener saw */
    struct buf text;
    int32_t ids[512];
    size_t n_tokens;
    int cancel_at; /* 0: never */
    struct redline_event done;
    uint64_t allocations_first, allocations_last;
};

static void keep(struct record *r, const struct redline_event *event)
{
    if (r->n_tokens == 0) r->allocations_first = mem_n_allocations();
    r->allocations_last = mem_n_allocations();
    if (r->n_tokens < 512) r->ids[r->n_tokens] = event->token.id;
    r->n_tokens++;
    if (r->text.capacity) buf_append(&r->text, event->token.text, event->token.n_bytes, NULL);
}

/* From submission to the end, recorded. */
static int generate(struct redline_engine *engine, const struct redline_request *request, struct record *r)
{
    struct redline_job *job;
    int status = redline_submit(&job, engine, request, &err);
    while (!status && r->done.kind != REDLINE_EVENT_DONE) {
        status = redline_next(job, &r->done, &err);
        if (!status && r->done.kind == REDLINE_EVENT_TOKEN) keep(r, &r->done);
        if (r->cancel_at && (int)r->n_tokens >= r->cancel_at) redline_cancel(job);
    }
    redline_job_free(&job);
    return status;
}

static void test_stories(void **state)
{
    static const struct {
        const char *prompt, *file;
    } cases[] = {{"Once upon a time", "greedy-0.txt"}, {"The little dog", "greedy-1.txt"}};
    const char *folder = test_data();
    char path[512];
    (void)state;
    snprintf(path, sizeof path, "%s/stories260K/stories260K.gguf", folder);
    for (int i = 0; i < 4; i++) {
        struct redline_model *model;
        struct redline_engine *engine;
        struct record r = {0};
        struct redline_engine_params params = {.n_ctx = 200, .n_threads = 1 + i / 2};
        struct redline_request request = {.text = cases[i % 2].prompt,
                                          .n_bytes = strlen(cases[i % 2].prompt),
                                          .n_predict = 120};
        char want[1024], name[512];
        OK(redline_model_open(&model, path, &err));
        OK(redline_engine_open(&engine, model, &params, &err));
        OK(buf_append_str(&r.text, str_of(request.text), &err));
        OK(generate(engine, &request, &r));
        OK(buf_append(&r.text, "\n", 1, &err));
        snprintf(name, sizeof name, "%s/stories260K/%s", folder, cases[i % 2].file);
        FILE *f = fopen(name, "rb");
        assert_non_null(f);
        size_t n = fread(want, 1, sizeof want - 1, f);
        fclose(f);
        want[n] = '\0';
        assert_string_equal(r.text.p, want);
        assert_int_equal(r.done.done.stop, REDLINE_STOP_LENGTH);
        assert_int_equal(r.done.done.n_decoded, 119);
        buf_free(&r.text);
        redline_engine_close(&engine);
        redline_model_close(&model);
    }
}

static const int32_t prompt[] = {3, 1, 4, 1, 5, 9, 2, 6};

struct opened {
    struct redline_model *model;
    struct redline_engine *engine;
};

static struct opened open_tiny(int n_ctx, int n_ubatch)
{
    struct opened o;
    struct tiny m = tiny_default;
    struct redline_engine_params params = {.n_ctx = n_ctx, .n_threads = 2, .n_ubatch = n_ubatch};
    m.n_vocab = 64;
    OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
    OK(redline_model_open(&o.model, SCRATCH("tiny.gguf"), &err));
    OK(redline_engine_open(&o.engine, o.model, &params, &err));
    return o;
}

static void close_tiny(struct opened *o)
{
    redline_engine_close(&o->engine);
    redline_model_close(&o->model);
}

static struct redline_request tiny_request(int n_predict)
{
    return (struct redline_request){.ids = prompt, .n_ids = 8, .n_predict = n_predict};
}

static void test_no_allocation_between_tokens(void **state)
{
    struct opened o = open_tiny(256, 0);
    struct record r = {0};
    struct redline_request request = tiny_request(150);
    (void)state;
    request.sampling = redline_sampling_default();
    OK(generate(o.engine, &request, &r));
    assert_int_equal(r.n_tokens, 150);
    assert_int_equal(r.allocations_last, r.allocations_first);
    close_tiny(&o);
}

/* Once weights lie as they stay, no step packs; before, steps may have, but no more than there were. */
static void test_steps_that_pack(void **state)
{
    struct opened o = open_tiny(256, 0);
    struct record early = {0}, late = {0};
    struct redline_request request = tiny_request(20);
    (void)state;
    OK(generate(o.engine, &request, &early));
    assert_in_range(early.done.done.n_decoded_packed, 0, early.done.done.n_decoded);
    redline_engine_settle(o.engine);
    OK(generate(o.engine, &request, &late));
    assert_false(late.done.done.prefill_packed);
    assert_int_equal(late.done.done.n_decoded_packed, 0);
    close_tiny(&o);
}

/* One list of tokens whatever the number of threads. */
static void test_thread_counts(void **state)
{
    static const int counts[] = {1, 2, 3, 7};
    struct record first = {0};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct redline_engine_params params = {.n_ctx = 600, .n_threads = counts[i]};
        struct redline_request request = tiny_request(550);
        struct redline_model *model;
        struct redline_engine *engine;
        struct record r = {0};
        request.sampling = redline_sampling_default();
        request.sampling.temperature = 3;
        OK(redline_model_open(&model, SCRATCH("tiny.gguf"), &err));
        OK(redline_engine_open(&engine, model, &params, &err));
        OK(generate(engine, &request, &r));
        if (i == 0) first = r;
        assert_int_equal(r.n_tokens, 550);
        assert_memory_equal(r.ids, first.ids, sizeof r.ids);
        redline_engine_close(&engine);
        redline_model_close(&model);
    }
}

static void test_seed_and_batch(void **state)
{
    struct record first = {0};
    (void)state;
    for (int i = 0; i < 3; i++) { /* again, and with the prompt in pieces */
        struct opened o = open_tiny(256, i == 2 ? 3 : 0);
        struct record r = {0};
        struct redline_request request = tiny_request(60);
        request.sampling = redline_sampling_default();
        request.sampling.temperature = 1.5f;
        request.sampling.repeat_penalty = 1.2f;
        request.sampling.seed = 42;
        OK(generate(o.engine, &request, &r));
        if (i == 0) first = r;
        assert_memory_equal(r.ids, first.ids, 60 * sizeof *r.ids);
        close_tiny(&o);
    }
}

static void test_ends(void **state)
{
    struct opened o = open_tiny(20, 0);
    struct record full = {0}, stopped = {.cancel_at = 5}, none = {0};
    struct redline_request request = tiny_request(-1);
    (void)state;
    OK(generate(o.engine, &request, &full));
    assert_int_equal(full.done.done.stop, REDLINE_STOP_CONTEXT);
    assert_int_equal(full.n_tokens, 20 - 8 + 1);
    close_tiny(&o);
    o = open_tiny(4000, 0);
    request = tiny_request(-1);
    OK(generate(o.engine, &request, &stopped));
    assert_int_equal(stopped.done.done.stop, REDLINE_STOP_CANCEL);
    assert_true(stopped.n_tokens >= 5);
    request = tiny_request(0);
    OK(generate(o.engine, &request, &none));
    assert_int_equal(none.n_tokens, 0);
    assert_int_equal(none.done.done.stop, REDLINE_STOP_LENGTH);
    close_tiny(&o);
}

static void test_refusals(void **state)
{
    struct opened o = open_tiny(20, 0);
    struct record r = {0};
    int32_t many[30] = {0}, wrong[1] = {64};
    struct redline_request request = {.ids = many, .n_ids = 30, .n_predict = 1};
    (void)state;
    assert_int_equal(generate(o.engine, &request, &r), REDLINE_ARG);
    assert_non_null(strstr(err.message, "30 tokens"));
    request = (struct redline_request){.ids = wrong, .n_ids = 1, .n_predict = 1};
    assert_int_equal(generate(o.engine, &request, &r), REDLINE_ARG);
    request = (struct redline_request){.n_predict = 1};
    assert_int_equal(generate(o.engine, &request, &r), REDLINE_ARG);
    request = (struct redline_request){.ids = prompt, .n_ids = 2, .n_predict = 1, .sampling = {.top_p = 2}};
    assert_int_equal(generate(o.engine, &request, &r), REDLINE_ARG);
    assert_non_null(strstr(err.message, "top-p"));
    request = (struct redline_request){.text = "x", .n_bytes = 1, .n_predict = 1};
    assert_int_not_equal(generate(o.engine, &request, &r), 0); /* it has no vocabulary */
    request = tiny_request(3); /* and is none the worse for all that */
    OK(generate(o.engine, &request, &r));
    close_tiny(&o);
}

static void test_plan(void **state)
{
    struct opened o = open_tiny(100, 0);
    struct redline_engine_params huge = {.n_ctx = 1 << 28};
    struct redline_plan plan;
    struct redline_engine *engine;
    (void)state;
    OK(redline_plan(o.model, &huge, &plan, &err));
    assert_false(plan.fits);
    assert_true(plan.n_ctx_fits > 0 && plan.n_ctx_fits < 1 << 28);
    assert_int_equal(redline_engine_open(&engine, o.model, &huge, &err), REDLINE_MEMORY);
    assert_non_null(strstr(err.message, "would fit"));
    struct redline_engine_facts facts;
    redline_engine_facts(o.engine, &facts);
    assert_true(facts.plan.fits);
    assert_int_equal(facts.plan.n_ctx, 100);
    close_tiny(&o);
}

/* Layers on a GPU are had or refused, by the plan and by the engine alike. */
static void test_gpu_layers(void **state)
{
    static const struct {
        const char *wanted;
        int status;
        const char *says;
    } cases[] = {{NULL, 0, ""},           {"auto", 0, ""},
                 {"0", 0, ""},            {"1", REDLINE_DEVICE, "1 of"},
                 {"99", REDLINE_DEVICE, "are wanted on a GPU"}, {"all", REDLINE_DEVICE, "built without CUDA"},
                 {"-1", REDLINE_ARG, "'-1'"},   {"some", REDLINE_ARG, "known are auto, all and numbers"},
                 {"", REDLINE_ARG, "''"}, {"3x", REDLINE_ARG, "'3x'"}};
    struct opened o = open_tiny(100, 0);
    (void)state;
    if (redline_cuda_version() > 0) skip();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct redline_engine_params params = {.n_ctx = 100, .n_gpu_layers = cases[i].wanted};
        struct redline_plan plan;
        struct redline_engine *engine;
        err.message[0] = '\0';
        assert_int_equal(redline_plan(o.model, &params, &plan, &err), cases[i].status);
        assert_non_null(strstr(err.message, cases[i].says));
        if (cases[i].status == 0) assert_int_equal(plan.n_gpu_layers, 0);
        assert_int_equal(redline_engine_open(&engine, o.model, &params, &err), cases[i].status);
        redline_engine_close(&engine);
    }
    close_tiny(&o);
}

/* One life of an engine; any status is fine as long as a failure has its sentence. */
static int live(const char *path)
{
    struct redline_model *model = NULL;
    struct redline_engine *engine = NULL;
    struct record r = {0};
    struct redline_engine_params params = {.n_ctx = 40, .n_threads = 3};
    struct redline_request request = tiny_request(4);
    err = (struct redline_err){0};
    int status = redline_model_open(&model, path, &err);
    if (!status) status = redline_engine_open(&engine, model, &params, &err);
    if (!status) status = generate(engine, &request, &r);
    redline_engine_close(&engine);
    redline_model_close(&model);
    return status;
}

static void test_every_refusal_of_the_system(void **state)
{
    static const char *const names[FAULT_COUNT] = {"allocation", "read", "thread"};
    struct tiny m = tiny_default;
    (void)state;
    m.n_vocab = 64;
    OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
    for (int kind = 0; kind < FAULT_COUNT; kind++) {
        fault_arm((enum fault_kind)kind, 0, false);
        assert_int_equal(live(SCRATCH("tiny.gguf")), 0);
        uint64_t n = fault_count((enum fault_kind)kind), n_failed = 0;
        for (uint64_t i = 1; i <= n; i++)
            for (int sticky = 0; sticky < 2; sticky++) {
                fault_arm((enum fault_kind)kind, i, sticky);
                int status = live(SCRATCH("tiny.gguf"));
                n_failed += status != 0;
                if (status && err.message[0] == '\0')
                    fail_msg("%s %d of %d failed without a word", names[kind], (int)i, (int)n);
            }
        fault_arm((enum fault_kind)kind, 0, false);
        print_message("%d %ss refused in turn, %d lives ended with a sentence\n", (int)n, names[kind], (int)n_failed);
        assert_true(n_failed > 0);
    }
    assert_int_equal(live(SCRATCH("tiny.gguf")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories),
        cmocka_unit_test(test_no_allocation_between_tokens),
        cmocka_unit_test(test_seed_and_batch),
        cmocka_unit_test(test_steps_that_pack),
        cmocka_unit_test(test_thread_counts),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_plan), cmocka_unit_test(test_gpu_layers),
        cmocka_unit_test(test_every_refusal_of_the_system),
    };
    return cmocka_run_group_tests_name("engine", tests, scratch_setup, scratch_teardown);
}
