/* test_devices.c - models on several devices: the same bits as on the CPU alone, in the memory that was planned.
 *
 * The GPUs are twins (twin_gpu.h): the CPU's kernels in memory of their own, which the host cannot read.  Every family
 * of tests/data runs with every number of layers on one, two and three of them, with overrides, and with less memory
 * than it would like. */
#include <stdlib.h>

#include "fault.h"
#include "hollow.h"
#include "on_twins.h"

enum { N_IDS = 40, N_PREDICT = 5, MOST_VOCAB = 1024, MOST_WIDTH = 1024, MOST_BLOCKS = 64 };

/* ---- what a model says -------------------------------------------------------------------------------- */

struct answers { /* equal bits are equal answers */
    float logits[N_IDS * MOST_VOCAB], vector[MOST_WIDTH];
    int32_t generated[N_PREDICT];
};

struct opened {
    struct redline_model *model;
    struct redline_engine *engine;
    const struct redline_engine_params *params;
    struct redline_engine_facts facts;
};

static void run(struct opened *o, const struct redline_request *request, struct answers *out)
{
    struct redline_job *job;
    struct redline_event event = {0};
    size_t n;
    OK(redline_submit(&job, o->engine, request, &err));
    while (event.kind != REDLINE_EVENT_DONE) {
        OK(redline_next(job, &event, &err));
        if (event.kind == REDLINE_EVENT_EMBEDDING)
            memcpy(out->vector, event.embedding.vector, MIN(event.embedding.n, (size_t)MOST_WIDTH) * sizeof(float));
    }
    const int32_t *ids = redline_job_ids(job, &n);
    if (request->kind == REDLINE_GENERATE) memcpy(out->generated, ids, MIN(n, (size_t)N_PREDICT) * sizeof *ids);
    redline_job_free(&job);
}

static void ask(struct opened *o, const char *name, struct answers *out)
{
    int32_t ids[N_IDS];
    memset(out, 0, sizeof *out);
    assert_true(redline_n_vocab(o->engine) <= MOST_VOCAB);
    for (int i = 0; i < N_IDS; i++) ids[i] = hollow_id(name, (uint64_t)i, (int)redline_n_vocab(o->engine));
    struct redline_request request = {.ids = ids, .n_ids = N_IDS, .unscaled = true, .ignore_end = true};
    request.kind = REDLINE_EMBED;
    run(o, &request, out);
    if (redline_model_can(o->model, REDLINE_GENERATE, NULL)) return;
    request.kind = REDLINE_SCORE;
    request.logits = out->logits;
    run(o, &request, out);
    request.kind = REDLINE_GENERATE;
    request.n_predict = N_PREDICT;
    run(o, &request, out);
}

static void start(struct opened *o, const char *path, const struct redline_engine_params *params)
{
    o->params = params;
    OK(redline_model_open(&o->model, path, &err));
    OK(redline_engine_open(&o->engine, o->model, params, &err));
    redline_engine_facts(o->engine, &o->facts);
}

static void stop(struct opened *o)
{
    redline_engine_close(&o->engine);
    redline_model_close(&o->model);
    assert_int_equal(twin_n_open(), 0);
    for (int i = 0; i < TWIN_MOST; i++) assert_true(twin_used(i) == 0);
}

/* ---- what was done where ------------------------------------------------------------------------------ */

struct done { /* by layer, then outside; over all devices */
    uint64_t n_ops[MOST_BLOCKS], weight_bytes[MOST_BLOCKS];
};

static bool has_blocks(const struct opened *o, int device, int layer)
{
    const struct redline_plan_block *b = redline_engine_blocks(o->engine);
    for (int i = 0; i < o->facts.plan.n_blocks; i++)
        if (b[i].device == device && b[i].layer == layer) return true;
    return false;
}

/* The sums; and on no device anything of a layer that has no block there. */
static void count(const struct opened *o, struct done *out)
{
    int n_layers = o->facts.plan.n_layers;
    struct redline_count rows[MOST_BLOCKS];
    assert_true(n_layers < MOST_BLOCKS);
    *out = (struct done){{0}, {0}};
    for (int d = 0; d < o->facts.plan.n_devices; d++) {
        redline_engine_counts(o->engine, d, rows);
        for (int i = 0; i <= n_layers; i++) {
            out->n_ops[i] += rows[i].n_ops;
            out->weight_bytes[i] += rows[i].weight_bytes;
            bool here = has_blocks(o, d, i < n_layers ? i : -1);
            assert_true(here == (rows[i].n_ops > 0) || (i == n_layers && d > 0 && here));
            if (d == 0) assert_true(rows[i].copied_bytes == 0);
        }
    }
}

/* Every byte of a twin was planned, every byte that was planned is taken. */
static void check_memory(const struct opened *o)
{
    const struct redline_plan *p = &o->facts.plan;
    uint64_t weights = 0, kv = 0;
    const struct redline_plan_block *b = redline_engine_blocks(o->engine);
    for (int d = 1; d < p->n_devices; d++) {
        struct redline_device_use use;
        redline_engine_device(o->engine, d, &use);
        assert_true(twin_used(d - 1) == p->devices[d].sum_bytes);
        assert_true(use.used_bytes == use.planned_bytes && use.planned_bytes == p->devices[d].sum_bytes);
        assert_true(twin_unclaimed(d - 1) == 0);
        assert_true(p->devices[d].sum_bytes <= p->devices[d].free_bytes - p->devices[d].margin_bytes);
    }
    for (int i = 0; i < p->n_blocks; i++) {
        weights += b[i].weight_bytes;
        kv += b[i].kv_bytes;
    }
    for (int d = 0; d < p->n_devices; d++) {
        weights -= p->devices[d].weight_bytes;
        kv -= p->devices[d].kv_bytes;
    }
    assert_true(weights == 0 && kv == 0);
}

/* ---- one model in all ways ---------------------------------------------------------------------------- */

struct way {
    const char *what;
    int n_gpus;
    uint64_t room;
    struct redline_engine_params params;
};

static struct answers alone, now;

static void check_way(const char *path, const char *name, const struct way *w, const struct done *expected)
{
    struct opened o;
    struct done done;
    twin_set(w->n_gpus, w->room);
    start(&o, path, &w->params);
    check_memory(&o);
    ask(&o, name, &now);
    if (memcmp(&now, &alone, sizeof now) != 0)
        fail_msg("%s, %s, -ngl %s, %d GPUs: not the bits of the CPU alone", name, w->what, w->params.n_gpu_layers,
                 w->n_gpus);
    count(&o, &done);
    if (memcmp(&done, expected, sizeof done) != 0)
        fail_msg("%s, %s, -ngl %s, %d GPUs: not the operations of the CPU alone", name, w->what, w->params.n_gpu_layers,
                 w->n_gpus);
    stop(&o);
}

static void check_numbers(const char *path, const char *name, int n_layers, const struct done *expected)
{
    struct redline_model *model;
    OK(redline_model_open(&model, path, &err));
    for (int n_gpus = 1; n_gpus <= 3; n_gpus++)
        for (int n = 0; n <= n_layers; n++) {
            char text[16];
            snprintf(text, sizeof text, "%d", n);
            uint64_t room = n_gpus == 1 ? PLENTY : tight(model, text, n_gpus);
            check_way(path, name, &(struct way){"by number", n_gpus, room, params_of(text)}, expected);
        }
    redline_model_close(&model);
}

/* Each block named, the CPU and two GPUs by turns. */
static void scatter(const char *path, struct buf *to)
{
    static const char *const devices[] = {"gpu1", "cpu", "gpu0"};
    struct redline_model *model;
    struct redline_plan plan;
    struct redline_plan_block blocks[2 * MOST_BLOCKS];
    struct redline_engine_params params = params_of("0");
    OK(redline_model_open(&model, path, &err));
    OK(redline_plan(model, &params, &plan, &err));
    OK(redline_plan_blocks(model, &params, &plan, blocks, &err));
    for (int i = 1; i < plan.n_blocks; i++)
        if (blocks[i].largest[0])
            OK(buf_printf(to, &err, "%s^%s$=%s", to->n ? "," : "", blocks[i].largest, devices[i % 3]));
    redline_model_close(&model);
}

static void check_fixed(const char *path, const char *name, const struct done *expected)
{
    struct buf text = {0};
    struct way moe = {"experts on the CPU", 2, PLENTY, params_of("all")};
    struct way first = {"the first layer apart", 2, PLENTY, params_of("all")};
    struct way mixed = {"blocks here and there", 2, PLENTY, params_of("0")};
    scatter(path, &text);
    moe.params.n_cpu_moe = 1000;
    first.params.placement = "blk\\.0\\.=cpu";
    mixed.params.placement = text.p;
    check_way(path, name, &moe, expected);
    check_way(path, name, &first, expected);
    check_way(path, name, &mixed, expected);
    buf_free(&text);
}

/* What the whole model takes of a GPU, and with less than that. */
static void check_auto(const char *path, const char *name, const struct done *expected)
{
    struct redline_model *model;
    struct redline_plan plan;
    struct redline_engine_params params = params_of("all");
    twin_set(1, PLENTY);
    OK(redline_model_open(&model, path, &err));
    OK(redline_plan(model, &params, &plan, &err));
    redline_model_close(&model);
    uint64_t all = plan.devices[1].sum_bytes, base = plan.devices[1].buffer_bytes + plan.devices[1].scratch_bytes;
    for (uint64_t eighths = 0; eighths <= 8; eighths += 2)
        check_way(path, name, &(struct way){"what fits", 1, base + (all - base) * eighths / 8, params_of("auto")},
                  expected);
    check_way(path, name, &(struct way){"what fits", 3, base + (all - base) / 2, params_of(NULL)}, expected);
}

static void check_model(const char *path, const char *name)
{
    struct opened o;
    struct redline_engine_params params = params_of("0");
    struct done expected;
    twin_set(0, 0);
    start(&o, path, &params);
    int n_layers = o.facts.plan.n_layers;
    ask(&o, name, &alone);
    count(&o, &expected);
    stop(&o);
    check_numbers(path, name, n_layers, &expected);
    check_fixed(path, name, &expected);
    check_auto(path, name, &expected);
}

/* The models that a list names in its first column. */
static void check_list(const char *folder, const char *list)
{
    char path[512], line[256], name[64];
    int n = 0;
    snprintf(path, sizeof path, SOURCE_DIR "/tests/data/%s/%s", folder, list);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#' || sscanf(line, "%63s", name) != 1) continue;
        snprintf(path, sizeof path, SOURCE_DIR "/tests/data/%s/%s.gguf", folder, name);
        OK(hollow_inflate(path, SCRATCH("model.gguf"), &err));
        check_model(SCRATCH("model.gguf"), name);
        n++;
    }
    fclose(f);
    print_message("%d models of %s\n", n, folder);
    assert_true(n > 0);
}

static void test_families(void **state)
{
    (void)state;
    check_list("families", "families.txt");
}

static void test_encoders(void **state)
{
    (void)state;
    batch = CTX;
    check_list("encoders", "encoders.txt");
    batch = BATCH;
}

/* ---- plans and refusals --------------------------------------------------------------------------------- */

/* What a GPU has to have for this plan. */
static uint64_t needed(const struct redline_model *model, const char *n_gpu_layers)
{
    struct redline_plan plan;
    struct redline_engine_params params = params_of(n_gpu_layers);
    twin_set(1, PLENTY);
    OK(redline_plan(model, &params, &plan, &err));
    return plan.devices[1].sum_bytes;
}

/* What is asked for and has no room is refused with what would fit, and that does. */
static void test_what_would_fit(void **state)
{
    struct redline_model *model = open_tiny(0);
    (void)state;
    for (int fits = 0; fits < LAYERS; fits++) {
        struct redline_plan plan;
        struct redline_engine_params params = params_of("all");
        char text[64];
        snprintf(text, sizeof text, "%d", fits);
        uint64_t room = needed(model, text);
        twin_set(1, room);
        OK(redline_plan(model, &params, &plan, &err));
        assert_false(plan.fits);
        assert_int_equal(plan.n_gpu_layers_fits, fits);
        assert_int_equal(plan.short_device, 1);
        assert_true(plan.short_bytes > plan.short_room_bytes);
        assert_true(plan.devices[1].left_bytes == 0);
        snprintf(text, sizeof text, "n_gpu_layers %d would fit", fits);
        expect_open(model, &params, REDLINE_MEMORY, text);
        assert_non_null(strstr(err.message, plan.short_tensor));
        assert_non_null(strstr(err.message, "gpu0"));
        snprintf(text, sizeof text, "%d", fits);
        params.n_gpu_layers = text;
        expect_open(model, &params, 0, "");
        if (plan.n_ctx_fits == 0) continue;
        params = params_of("all");
        params.n_ctx = plan.n_ctx_fits;
        expect_open(model, &params, 0, "");
    }
    redline_model_close(&model);
}

/* The longest context of a refusal fits too, and one page more does not. */
static void test_context_would_fit(void **state)
{
    struct redline_model *model = open_tiny(0);
    struct redline_engine_params params = params_of("all");
    struct redline_plan plan;
    (void)state;
    params.n_ctx = 1024;
    twin_set(1, PLENTY);
    OK(redline_plan(model, &params, &plan, &err));
    twin_set(1, plan.devices[1].sum_bytes);
    params.n_ctx = 4096;
    OK(redline_plan(model, &params, &plan, &err));
    assert_false(plan.fits);
    assert_in_range(plan.n_ctx_fits, 1024, 4095);
    expect_open(model, &params, REDLINE_MEMORY, "a context of");
    params.n_ctx = plan.n_ctx_fits;
    expect_open(model, &params, 0, "");
    params.n_ctx = plan.n_ctx_fits + 64;
    expect_open(model, &params, REDLINE_MEMORY, "would fit");
    redline_model_close(&model);
}

/* device_memory makes a small GPU of a large one. */
static void test_cap(void **state)
{
    struct redline_model *model = open_tiny(0);
    struct redline_plan plan, capped;
    struct redline_engine_params params = params_of("auto");
    (void)state;
    uint64_t room = needed(model, "3");
    twin_set(1, room);
    OK(redline_plan(model, &params, &plan, &err));
    assert_int_equal(plan.n_gpu_layers, 3);
    twin_set(1, PLENTY);
    params.device_memory = room + plan.devices[1].margin_bytes;
    OK(redline_plan(model, &params, &capped, &err));
    assert_int_equal(capped.n_gpu_layers, 3);
    assert_true(capped.devices[1].cap_bytes == params.device_memory);
    assert_true(capped.devices[1].sum_bytes == plan.devices[1].sum_bytes);
    params.n_gpu_layers = "4";
    expect_open(model, &params, REDLINE_MEMORY, "(device_memory)");
    params.device_memory = 1;
    params.n_gpu_layers = "auto";
    OK(redline_plan(model, &params, &capped, &err));
    assert_int_equal(capped.n_gpu_layers + capped.n_split_layers, 0);
    assert_string_equal(capped.device, "cpu");
    redline_model_close(&model);
}

static void expect_why(const struct redline_plan_block *b, const char *device, enum redline_why why)
{
    assert_int_equal(b->device, strcmp(device, "cpu") == 0 ? 0 : 1 + atoi(device + 3));
    assert_int_equal(b->why, why);
    assert_true(b->reason && b->reason[0]);
}

/* Rows of a model with experts: the embedding, attention and feed-forward part by turns, the head. */
static void test_reasons(void **state)
{
    struct redline_model *model = open_tiny(4);
    struct redline_plan plan;
    struct redline_plan_block b[2 * LAYERS + 2];
    struct redline_engine_params params = params_of("2");
    (void)state;
    twin_set(2, PLENTY);
    params.n_cpu_moe = LAYERS - 1;
    params.placement = "blk\\.0\\.attn_q=gpu1,blk\\.[01]\\.ffn=gpu0,token_embd=cpu";
    OK(redline_plan(model, &params, &plan, &err));
    assert_int_equal(plan.n_blocks, 2 * LAYERS + 2);
    OK(redline_plan_blocks(model, &params, &plan, b, &err));
    expect_why(&b[0], "cpu", REDLINE_WHY_ROWS);
    expect_why(&b[1], "gpu1", REDLINE_WHY_PLACEMENT);
    expect_why(&b[2], "gpu0", REDLINE_WHY_PLACEMENT);
    expect_why(&b[3], "cpu", REDLINE_WHY_NOT_ASKED);
    expect_why(&b[4], "gpu0", REDLINE_WHY_PLACEMENT);
    expect_why(&b[2 * LAYERS - 2], "cpu", REDLINE_WHY_CPU_MOE);
    assert_int_equal(b[2 * LAYERS - 3].why, REDLINE_WHY_ASKED);
    assert_int_equal(b[2 * LAYERS].why, REDLINE_WHY_ASKED);
    assert_int_equal(b[2 * LAYERS + 1].why, REDLINE_WHY_ASKED);
    assert_int_equal(b[2 * LAYERS + 1].part, REDLINE_PART_HEAD);
    assert_string_equal(b[1].largest, "blk.0.attn_q.weight");
    assert_true(b[2].experts && b[2].kv_bytes == 0 && b[1].kv_bytes > 0);
    assert_int_equal(plan.n_gpu_layers, 2); /* the first by placement, the last as asked */
    assert_int_equal(plan.n_split_layers, 2);

    params = params_of("auto"); /* all but the experts, and the experts of one layer */
    uint64_t experts = b[2].weight_bytes, rest = 0;
    twin_set(1, PLENTY);
    params.n_cpu_moe = LAYERS;
    OK(redline_plan(model, &params, &plan, &err));
    rest = plan.devices[1].sum_bytes;
    twin_set(1, rest + experts + experts / 2);
    params.n_cpu_moe = 0;
    OK(redline_plan(model, &params, &plan, &err));
    OK(redline_plan_blocks(model, &params, &plan, b, &err));
    for (int i = 1; i < 2 * LAYERS + 2; i++) {
        bool fits = i % 2 == 1 || i == 2 * LAYERS;
        expect_why(&b[i], fits ? "gpu0" : "cpu", fits ? REDLINE_WHY_FITS : REDLINE_WHY_NO_ROOM);
    }
    redline_model_close(&model);
}

static void test_words(void **state)
{
    static const struct {
        const char *placement;
        int status;
        const char *says;
    } cases[] = {
        {"", 0, ""},
        {".*=gpu", 0, ""},
        {"blk\\.(0|1)\\.attn_(q|k){1,2}\\.weight=gpu1,output.weight=cpu", 0, ""},
        {"output.weight=gpu0,", 0, ""},
        {"blk", REDLINE_ARG, "'blk' is not PATTERN=DEVICE"},
        {"blk=gpu12345", REDLINE_ARG, "is not PATTERN=DEVICE"},
        {"output=gpu0,blk=tpu", REDLINE_ARG, "'blk=tpu' is not PATTERN=DEVICE"},
        {"=cpu", REDLINE_ARG, "pattern of 0 bytes"},
        {"blk\\.99\\.=gpu", REDLINE_ARG, "matches no tensor"},
        {"attn_norm=gpu", REDLINE_ARG,
         "goes where the largest tensor of its block goes: that is 'blk.5.attn_q.weight'"},
        {"token_embd=gpu", REDLINE_ARG, "single rows are looked up"},
        {"blk.(=gpu", REDLINE_ARG, "no regular expression"},
        {"output.weight=gpu2", REDLINE_DEVICE, "on gpu2, and the last GPU is gpu1"},
    };
    struct redline_model *model = open_tiny(0);
    (void)state;
    twin_set(2, PLENTY);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct redline_engine_params params = params_of("0");
        params.placement = cases[i].placement;
        expect_open(model, &params, cases[i].status, cases[i].says);
    }
    struct redline_engine_params params = params_of("0");
    params.n_cpu_moe = -1;
    expect_open(model, &params, REDLINE_ARG, "-1");
    redline_model_close(&model);
}

/* ---- in company, and when the system refuses --------------------------------------------------------------- */

/* Requests that share steps, some at their prompt while others generate: the texts of the CPU alone. */
static void generate_together(const struct redline_model *model, const char *n_gpu_layers, int32_t out[4][20])
{
    struct redline_engine *engine;
    struct redline_job *jobs[4];
    struct redline_event event;
    struct redline_engine_params params = params_of(n_gpu_layers);
    params.n_seqs = 4;
    OK(redline_engine_open(&engine, model, &params, &err));
    for (int i = 0; i < 4; i++) {
        int32_t ids[N_IDS];
        for (int k = 0; k < N_IDS; k++) ids[k] = (7 * i + 11 * k) % tiny_default.n_vocab;
        struct redline_request request = {.ids = ids, .n_ids = (size_t)(10 * (i + 1)), .n_predict = 20,
                                          .ignore_end = true};
        OK(redline_submit(&jobs[i], engine, &request, &err));
    }
    for (int i = 0; i < 4; i++) {
        size_t n;
        OK(redline_wait(jobs[i], &event, &err));
        const int32_t *ids = redline_job_ids(jobs[i], &n);
        assert_int_equal(n, 20);
        memcpy(out[i], ids, sizeof out[i]);
        redline_job_free(&jobs[i]);
    }
    redline_engine_close(&engine);
}

static void test_company(void **state)
{
    static const char *const numbers[] = {"1", "4", "all"};
    struct redline_model *model = open_tiny(4);
    int32_t on_cpu[4][20], on_gpus[4][20];
    (void)state;
    generate_together(model, "0", on_cpu);
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        twin_set(2, tight(model, numbers[i], 2));
        generate_together(model, numbers[i], on_gpus);
        assert_memory_equal(on_gpus, on_cpu, sizeof on_cpu);
    }
    redline_model_close(&model);
}

/* Kernels are told apart by device, and their bytes are those of the blocks there. */
static void test_kernels(void **state)
{
    struct redline_model *model = open_tiny(0);
    struct redline_engine *engine;
    struct redline_engine_params params = params_of("3");
    struct redline_kernel_facts k;
    struct redline_engine_facts facts;
    bool seen[2] = {false, false};
    (void)state;
    twin_set(1, PLENTY);
    OK(redline_engine_open(&engine, model, &params, &err));
    redline_engine_facts(engine, &facts);
    assert_string_equal(facts.plan.device, "twin");
    assert_int_equal(facts.plan.n_gpu_layers, 3);
    for (size_t i = 0; redline_kernel_at(engine, i, &k); i++) {
        assert_true((k.device == 1) == (strcmp(k.kernel, "twin") == 0));
        if (k.device == 0) assert_true(k.bytes == facts.plan.devices[0].weight_bytes);
        seen[k.device] = true;
    }
    assert_true(seen[0] && seen[1]);
    redline_engine_close(&engine);
    redline_model_close(&model);
}

struct progress {
    uint64_t done, total;
    bool forwards, loaded;
};

static void follow(void *user, const struct redline_event *event)
{
    struct progress *p = user;
    p->loaded |= event->kind == REDLINE_EVENT_LOADED;
    if (event->kind != REDLINE_EVENT_LOADING) return;
    p->forwards &= event->load.done_bytes > p->done;
    p->done = event->load.done_bytes;
    p->total = event->load.total_bytes;
}

/* Wherever it goes, each byte is reported once. */
static void test_progress(void **state)
{
    static const char *const numbers[] = {"0", "3", "all"};
    struct redline_model *model = open_tiny(4);
    (void)state;
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        struct progress p = {.forwards = true};
        struct redline_engine_params params = params_of(numbers[i]);
        params.listener = follow;
        params.user = &p;
        twin_set(2, PLENTY);
        expect_open(model, &params, 0, "");
        assert_true(p.loaded && p.forwards && p.total > 0);
        assert_true(p.done == p.total);
    }
    redline_model_close(&model);
}

static int live(void)
{
    struct redline_model *model = NULL;
    struct redline_engine *engine = NULL;
    struct redline_job *job = NULL;
    struct redline_event event;
    int32_t ids[] = {1, 2, 3};
    struct redline_engine_params params = params_of("1");
    struct redline_request request = {.ids = ids, .n_ids = 3, .n_predict = 2};
    params.placement = "blk.0.ffn=gpu1";
    err = (struct redline_err){0};
    int status = redline_model_open(&model, SCRATCH("tiny.gguf"), &err);
    if (!status) status = redline_engine_open(&engine, model, &params, &err);
    if (!status) status = redline_submit(&job, engine, &request, &err);
    if (!status) status = redline_wait(job, &event, &err);
    redline_job_free(&job);
    redline_engine_close(&engine);
    redline_model_close(&model);
    return status;
}

static void test_every_refusal_of_the_system(void **state)
{
    struct tiny m = tiny_default;
    (void)state;
    m.type = DTYPE_Q8_0;
    OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
    twin_set(2, PLENTY);
    for (int kind = 0; kind < FAULT_COUNT; kind++) {
        fault_arm((enum fault_kind)kind, 0, false);
        OK(live());
        uint64_t n = fault_count((enum fault_kind)kind);
        for (uint64_t i = 1; i <= n; i++) {
            fault_arm((enum fault_kind)kind, i, false);
            int status = live();
            if (status && err.message[0] == '\0') fail_msg("%d of %d failed without a word", (int)i, (int)n);
            assert_int_equal(twin_n_open(), 0);
            for (int d = 0; d < TWIN_MOST; d++) assert_true(twin_used(d) == 0);
        }
        fault_arm((enum fault_kind)kind, 0, false);
    }
    OK(live());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_would_fit),
        cmocka_unit_test(test_context_would_fit),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_company),
        cmocka_unit_test(test_kernels),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_every_refusal_of_the_system),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_encoders),
    };
    return cmocka_run_group_tests_name("devices", tests, scratch_setup, scratch_teardown);
}
