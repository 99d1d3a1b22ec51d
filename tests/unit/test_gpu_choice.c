/* test_gpu_choice.c - which GPUs are used and opened at all: none, no more than are needed, none that others hold. */
#include "on_twins.h"

static void keep_warning(void *user, const struct redline_event *event)
{
    if (event->kind == REDLINE_EVENT_WARNING) snprintf(user, 256, "%s", event->sentence);
}

static void test_without_gpus(void **state)
{
    struct redline_model *model = open_tiny(0);
    struct redline_engine_params params = params_of("3");
    struct redline_imatrix *matrix;
    struct redline_plan plan;
    (void)state;
    twin_set(0, 0);
    expect_open(model, &params, REDLINE_DEVICE, "3 of 6 layers are wanted on a GPU, and there is none");
    params.n_gpu_layers = "auto";
    expect_open(model, &params, 0, "");
    params.placement = "^output=gpu";
    expect_open(model, &params, REDLINE_DEVICE, "wants 'output.weight' on a GPU, and there is none");

    twin_refuse("the twins' driver is too old");
    expect_open(model, &params, REDLINE_DEVICE, "wants 'output.weight' on a GPU, and the twins' driver is too old");
    char said[256] = "";
    params = params_of("auto");
    params.listener = keep_warning;
    params.user = said;
    expect_open(model, &params, 0, "");
    assert_string_equal(said, "the twins' driver is too old; the CPU is used");
    OK(redline_plan(model, &params, &plan, &err));
    assert_string_equal(plan.warning, "the twins' driver is too old");
    said[0] = '\0';
    params.n_gpu_layers = "0"; /* what nobody asks for is not missed */
    expect_open(model, &params, 0, "");
    assert_string_equal(said, "");

    twin_set(1, PLENTY); /* one that nobody asks for is not looked at */
    params = params_of("0");
    OK(redline_plan(model, &params, &plan, &err));
    assert_int_equal(plan.n_devices, 1);
    assert_int_equal(twin_n_facts(), 0);

    OK(redline_imatrix_new(&matrix, &err)); /* what the CPU alone can do, it does */
    params = params_of("auto");
    params.imatrix = matrix;
    expect_open(model, &params, 0, "");
    OK(redline_plan(model, &params, &plan, &err));
    assert_int_equal(plan.n_devices, 1);
    params.n_gpu_layers = "1";
    expect_open(model, &params, REDLINE_DEVICE, "an importance matrix");
    redline_imatrix_free(&matrix);
    redline_model_close(&model);
}

/* No more GPUs are opened than are needed, nor asked what they have. */
static void test_none_too_many(void **state)
{
    static const char *const numbers[] = {"auto", "all", "3"};
    struct redline_model *model = open_tiny(0);
    struct redline_plan plan;
    struct redline_engine_params params;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        params = params_of(numbers[i]);
        twin_set(3, PLENTY);
        OK(redline_plan(model, &params, &plan, &err));
        assert_int_equal(twin_n_facts(), 1);
        assert_int_equal(plan.n_devices, 4);
        assert_true(plan.devices[1].looked_at && plan.devices[1].n_blocks > 0);
        assert_false(plan.devices[2].looked_at || plan.devices[3].looked_at);
        uint64_t sum = plan.devices[1].sum_bytes;
        twin_set_room(0, sum - 1);
        params.n_gpu_layers = numbers[i];
        OK(redline_plan(model, &params, &plan, &err)); /* the second holds it all: the first stays out */
        assert_int_equal(twin_n_facts(), 3);
        assert_true(plan.devices[1].n_blocks == 0 && plan.devices[2].sum_bytes == sum && !plan.devices[3].looked_at);
        twin_set(3, tight(model, numbers[i], 2));
        OK(redline_plan(model, &params, &plan, &err));
        assert_true(plan.devices[1].n_blocks > 0 && plan.devices[2].n_blocks > 0);
    }
    twin_set(3, PLENTY);
    params = params_of("auto");
    params.placement = "^output=gpu2,blk.0.ffn=gpu";
    OK(redline_plan(model, &params, &plan, &err));
    assert_true(plan.devices[3].looked_at && plan.devices[3].n_blocks == plan.n_blocks - 1);
    assert_int_equal(twin_n_facts(), 1);
    redline_model_close(&model);
}

/* A card that another process holds has no room; it is an error where it was asked for, or any. */
static void test_held(void **state)
{
    struct redline_model *model = open_tiny(0);
    struct redline_plan plan;
    char said[256] = "";
    (void)state;
    twin_set(2, PLENTY);
    twin_hold(0);
    struct redline_engine_params params = params_of("auto");
    params.listener = keep_warning;
    params.user = said;
    expect_open(model, &params, 0, "");
    assert_string_equal(said, "twin 0 is held by another; others are used");
    OK(redline_plan(model, &params, &plan, &err));
    assert_int_equal(plan.devices[1].n_blocks, 0);
    assert_int_equal(plan.n_gpu_layers, LAYERS);
    said[0] = '\0';
    params.placement = "^output=gpu1"; /* which has room for all: the first is not asked */
    expect_open(model, &params, 0, "");
    assert_string_equal(said, "");
    params.placement = "^output=gpu0";
    expect_open(model, &params, REDLINE_DEVICE, "twin 0 is held");
    params.placement = "^output=gpu";
    expect_open(model, &params, REDLINE_DEVICE, "twin 0 is held");
    params = params_of("all");
    expect_open(model, &params, REDLINE_DEVICE, "twin 0 is held");
    params = params_of("1");
    expect_open(model, &params, REDLINE_DEVICE, "twin 0 is held");
    params = params_of("0");
    params.placement = "^output=gpu1";
    expect_open(model, &params, 0, "");
    twin_hold(1);
    params = params_of("auto");
    OK(redline_plan(model, &params, &plan, &err));
    assert_int_equal(plan.n_gpu_layers + plan.n_split_layers, 0);
    assert_string_equal(plan.warning, "twin 0 is held by another; twin 1 is held by another");
    redline_model_close(&model);
}

/* What is taken of a GPU after loading counts too: kernels, graphs. */
static void test_taken_later(void **state)
{
    struct redline_model *model = open_tiny(0);
    struct redline_engine *engine;
    struct redline_engine_params params = params_of("all");
    struct redline_device_use use;
    (void)state;
    twin_set(1, (uint64_t)1 << 30);
    OK(redline_engine_open(&engine, model, &params, &err));
    redline_engine_device(engine, 1, &use);
    assert_true(use.used_bytes == use.planned_bytes);
    twin_set_room(0, ((uint64_t)1 << 30) - (5u << 20));
    redline_engine_device(engine, 1, &use);
    assert_true(use.used_bytes == use.planned_bytes + (5u << 20));
    redline_engine_close(&engine);
    redline_model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_gpus),
        cmocka_unit_test(test_none_too_many),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_taken_later),
    };
    return cmocka_run_group_tests_name("gpu choice", tests, scratch_setup, scratch_teardown);
}
