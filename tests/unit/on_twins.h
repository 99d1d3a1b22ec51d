/* on_twins.h - what tests of models on made-up GPUs share: small models, opening them, and how much room they need. */
#ifndef ON_TWINS_H
#define ON_TWINS_H

#include "base.h"
#include "check.h"
#include "redline_probe.h"
#include "scratch.h"
#include "tiny.h"
#include "twin_gpu.h"

enum { BATCH = 16, CTX = 64, LAYERS = 6 };

static const uint64_t PLENTY = (uint64_t)1 << 40;

static struct redline_err err;

static int batch = BATCH; /* encoders read a text at once */

static inline struct redline_engine_params params_of(const char *n_gpu_layers)
{
    return (struct redline_engine_params){.n_ctx = CTX, .n_threads = 1, .n_ubatch = batch, .n_outputs = BATCH,
                                          .n_gpu_layers = n_gpu_layers};
}

static inline struct redline_model *open_tiny(int n_experts)
{
    struct tiny m = tiny_default;
    struct redline_model *model;
    m.n_layers = LAYERS;
    m.n_experts = n_experts;
    m.n_used = n_experts / 2;
    OK(tiny_write(SCRATCH("tiny.gguf"), &m, &err));
    OK(redline_model_open(&model, SCRATCH("tiny.gguf"), &err));
    return model;
}

static inline void expect_open(const struct redline_model *model, const struct redline_engine_params *params,
                               int status, const char *says)
{
    struct redline_engine *engine;
    err.message[0] = '\0';
    int got = redline_engine_open(&engine, model, params, &err);
    redline_engine_close(&engine);
    if (got != status || !strstr(err.message, says))
        fail_msg("status %d, expected %d; '%s' should say '%s'", got, status, err.message, says);
    assert_int_equal(twin_n_open(), 0);
}

/* About the least room of each of so many GPUs for these layers, so that all are needed where blocks allow it. */
static inline uint64_t tight(const struct redline_model *model, const char *n_gpu_layers, int n_gpus)
{
    struct redline_plan plan;
    struct redline_engine_params params = params_of(n_gpu_layers);
    twin_set(1, PLENTY);
    OK(redline_plan(model, &params, &plan, &err));
    if (plan.n_devices == 1) return PLENTY;
    uint64_t all = plan.devices[1].sum_bytes, base = plan.devices[1].buffer_bytes + plan.devices[1].scratch_bytes;
    for (uint64_t eighths = 8 / (uint64_t)n_gpus; eighths < 8; eighths++) {
        uint64_t room = base + (all - base) * eighths / 8;
        twin_set(n_gpus, room);
        OK(redline_plan(model, &params, &plan, &err));
        if (plan.fits) return room;
    }
    return all;
}

#endif
