/* plan.c - deciding, from the file's header and the machine's facts alone, where everything will live
 * and how many bytes it takes.  What is printed here is carried out exactly by engine.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "engine.h"
#include "team.h"

enum {
    DEFAULT_UBATCH = 512,
    DEFAULT_OUTPUTS = 16,
    DEFAULT_QUEUE = 256,
    MOST_CTX = 1 << 28,
    MOST_UBATCH = 65536,
    MOST_SEQS = 4096,
    MOST_QUEUE = 1 << 20,
};

/* Left free beside the plan: code, stacks, page tables, the tokenizer. */
static const uint64_t MARGIN_BYTES = 64u << 20;

static int kv_type(enum dtype *out, const char *name, const char *what, struct redline_err *err)
{
    int type = name ? dtype_parse(str_of(name)) : DTYPE_F16;
    *out = (enum dtype)type;
    if (type >= 0 && kv_check_type(*out, NULL) == 0) return 0;
    return err_set(err, REDLINE_ARG, "%s cannot be '%s', known are f32, f16, bf16, q8_0 and q4_0", what, name);
}

static int check_range(const char *what, int value, int least, int most, struct redline_err *err)
{
    if (value >= least && value <= most) return 0;
    return err_set(err, REDLINE_ARG, "%s is %d, it must lie between %d and %d", what, value, least,
                   most);
}

/* An encoder's sequence goes through in one step, whatever its length. */
static int default_ubatch(const struct redline_model *model, int n_ctx)
{
    return modelfile_encoder(model) ? MAX(DEFAULT_UBATCH, n_ctx) : DEFAULT_UBATCH;
}

int plan_params(struct plan_params *out, const struct redline_model *model,
                const struct redline_engine_params *p, struct redline_err *err)
{
    struct cpu_facts cpu;
    cpu_facts(&cpu);
    int n_seqs = p->n_seqs ? p->n_seqs : 1;
    *out = (struct plan_params){
        .n_queue = p->n_queue ? p->n_queue : DEFAULT_QUEUE,
        .backend = {.n_threads = p->n_threads ? p->n_threads : cpu.n_threads,
                    .adapt = p->n_threads == 0,
                    .exact = p->exact},
        .model = {.n_ctx = p->n_ctx,
                  .n_seqs = n_seqs,
                  .n_pages = kv_pages_of(p->n_cache),
                  .n_ubatch = p->n_ubatch ? p->n_ubatch : default_ubatch(model, p->n_ctx),
                  .n_outputs = p->n_outputs ? p->n_outputs : MAX(n_seqs, DEFAULT_OUTPUTS)}};
    TRY(check_range("the number of threads", out->backend.n_threads, 1, TEAM_MAX, err));
    TRY(check_range("the context", p->n_ctx, 1, MOST_CTX, err));
    TRY(check_range("the batch", out->model.n_ubatch, 1, MOST_UBATCH, err));
    TRY(check_range("the number of outputs", out->model.n_outputs, 1, MOST_UBATCH, err));
    TRY(check_range("the number of sequences", n_seqs, 1, MOST_SEQS, err));
    TRY(check_range("the cache", p->n_cache, 0, MOST_CTX, err));
    TRY(check_range("the queue", out->n_queue, 1, MOST_QUEUE, err));
    out->model.n_ubatch = (int)MIN((int64_t)out->model.n_ubatch, (int64_t)p->n_ctx * n_seqs);
    out->model.n_outputs = MIN(out->model.n_outputs, out->model.n_ubatch);
    if (out->model.n_ubatch < n_seqs || out->model.n_outputs < n_seqs)
        return err_set(err, REDLINE_ARG, "a batch of %d tokens and %d outputs for %d sequences; each needs one",
                       out->model.n_ubatch, out->model.n_outputs, n_seqs);
    TRY(kv_type(&out->model.type_k, p->type_k, "the type of keys", err));
    return kv_type(&out->model.type_v, p->type_v, "the type of values", err);
}

/* ---- which layers go to a GPU ------------------------------------------------------------------ */

int redline_cuda_version(void)
{
    return 0;
}

/* What is asked for, as a number of layers; -1: as many as fit. */
static int wanted_layers(int *out, const char *wanted, int n_layers, struct redline_err *err)
{
    char *end;
    *out = -1;
    if (!wanted || strcmp(wanted, "auto") == 0) return 0;
    *out = n_layers;
    if (strcmp(wanted, "all") == 0) return 0;
    long n = strtol(wanted, &end, 10);
    if (end == wanted || *end || n < 0)
        return err_set(err, REDLINE_ARG, "the layers on a GPU cannot be '%s', known are auto, all and numbers", wanted);
    *out = (int)MIN(n, (long)n_layers);
    return 0;
}

/* The one place that decides it.  Nothing falls back: what is asked for is had, or refused. */
static int place_layers(int *out, const struct redline_engine_params *p, int n_layers, struct redline_err *err)
{
    int wanted;
    *out = 0;
    TRY(wanted_layers(&wanted, p->n_gpu_layers, n_layers, err));
    if (wanted <= 0) return 0;
    return err_set(err, REDLINE_DEVICE, "%d of %d layers are wanted on a GPU, and this program was built without CUDA; "
                   "with n_gpu_layers auto or 0 all of them run on the CPU", wanted, n_layers);
}

/* ---- the plan ---------------------------------------------------------------------------------- */

static uint64_t total_bytes(const struct redline_model *model, const struct plan_params *p, struct model_sizes *sizes)
{
    model_sizes(sizes, &model->h, &p->model, &backend_cpu, &p->backend);
    return model->weights.bytes + sizes->kv_bytes + sizes->buffer_bytes + sizes->scratch_bytes;
}

/* What products read of the weights in another layout than the file's. */
static uint64_t packed_bytes(const struct weights *w, const struct backend_params *p)
{
    uint64_t bytes = 0;
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (w->product_bytes[i] > 0 && backend_cpu.packs(p, (enum dtype)i)) bytes += w->product_bytes[i];
    return bytes;
}

/* The longest context, in whole pages, with which all of it fits; 0: none does. */
static int longest_ctx(const struct redline_model *model, struct plan_params p, uint64_t available)
{
    int fits = 0, too_long = MOST_CTX / KV_PAGE + 1;
    struct model_sizes sizes;
    while (too_long - fits > 1) {
        int middle = fits + (too_long - fits) / 2;
        p.model.n_ctx = middle * KV_PAGE;
        if (total_bytes(model, &p, &sizes) + MARGIN_BYTES <= available)
            fits = middle;
        else
            too_long = middle;
    }
    return fits * KV_PAGE;
}

int redline_plan(const struct redline_model *model, const struct redline_engine_params *params,
                 struct redline_plan *out, struct redline_err *err)
{
    struct plan_params p;
    struct model_sizes sizes;
    struct cpu_memory memory;
    int n_gpu_layers;
    TRY(modelfile_runnable(model, err));
    TRY(plan_params(&p, model, params, err));
    TRY(place_layers(&n_gpu_layers, params, model->h.n_layers, err));
    struct kv_shape shape = hparams_kv_shape(&model->h);
    uint64_t layer_ops = 2 * (uint64_t)model->h.n_heads * (uint64_t)(shape.d_k + shape.d_v);
    int n_windowed = 0;
    for (int i = 0; i < model->h.n_layers; i++) n_windowed += hparams_windowed(&model->h, i);
    uint64_t total = total_bytes(model, &p, &sizes);
    cpu_memory(&memory);
    *out = (struct redline_plan){
        .device = backend_cpu.name,
        .n_threads = p.backend.n_threads,
        .n_ctx = p.model.n_ctx,
        .n_seqs = p.model.n_seqs,
        .n_ubatch = p.model.n_ubatch,
        .n_layers = model->h.n_layers,
        .n_gpu_layers = n_gpu_layers,
        .type_k = dtype_name(p.model.type_k),
        .type_v = dtype_name(shape.shared ? p.model.type_k : p.model.type_v),
        .weight_bytes = model->weights.bytes,
        .packed_bytes = packed_bytes(&model->weights, &p.backend),
        .unused_bytes = model->gguf->tensor_bytes - model->weights.bytes,
        .kv_bytes = sizes.kv_bytes,
        .kv_token_bytes = sizes.kv.token_bytes,
        .kv_window_token_bytes = sizes.kv.window_token_bytes,
        .kv_ring_bytes = sizes.kv.ring_bytes,
        .n_window = model->h.n_window,
        .buffer_bytes = sizes.buffer_bytes,
        .scratch_bytes = sizes.scratch_bytes,
        .available_bytes = memory.available_bytes,
        .limit_bytes = memory.limit_bytes,
        .token_bytes = model->weights.token_bytes,
        .token_ops = model->weights.token_ops,
        .kept_ops = model->weights.kept_ops,
        .head_ops = model->weights.head_ops,
        .kv_token_ops = (uint64_t)(model->h.n_layers - n_windowed) * layer_ops,
        .kv_window_token_ops = (uint64_t)n_windowed * layer_ops,
        .n_ctx_train = model->h.n_ctx_train,
        .huge_pages = cpu_has_huge_pages(),
    };
    out->total_bytes = total;
    out->fits = out->total_bytes + MARGIN_BYTES <= out->available_bytes;
    out->n_ctx_fits = longest_ctx(model, p, out->available_bytes);
    return 0;
}

int redline_plan_layer(const struct redline_model *model, const struct redline_plan *plan, int layer,
                       struct redline_plan_layer *out, struct redline_err *err)
{
    TRY(modelfile_runnable(model, err));
    TRY(check_range("the layer", layer, 0, model->h.n_layers - 1, err));
    const struct hparams *h = &model->h;
    uint64_t n_rings = 0, paged = plan->kv_bytes - plan->kv_ring_bytes;
    for (int i = 0; i < h->n_layers; i++) n_rings += plan->kv_ring_bytes > 0 && hparams_windowed(h, i);
    bool ring = plan->kv_ring_bytes > 0 && hparams_windowed(h, layer);
    *out = (struct redline_plan_layer){
        .kv_bytes = ring ? plan->kv_ring_bytes / n_rings : paged / ((uint64_t)h->n_layers - n_rings),
        .weight_bytes = model->weights.layers[layer].bytes};
    return 0;
}

static double gib(uint64_t bytes)
{
    return (double)bytes / (double)(1u << 30);
}

int plan_refuse(const struct redline_plan *p, struct redline_err *err)
{
    if (p->fits) return 0;
    double need = gib(p->total_bytes + MARGIN_BYTES), have = gib(p->available_bytes);
    if (p->n_ctx_fits > 0)
        return err_set(err, REDLINE_MEMORY,
                       "a context of %d needs %.2f GiB (weights %.2f, KV %.2f, buffers %.2f), %.2f GiB are "
                       "free; a context of %d would fit",
                       p->n_ctx, need, gib(p->weight_bytes), gib(p->kv_bytes),
                       gib(p->buffer_bytes + p->scratch_bytes), have, p->n_ctx_fits);
    return err_set(err, REDLINE_MEMORY,
                   "the model needs %.2f GiB (weights %.2f, KV %.2f, buffers %.2f), %.2f GiB are free: "
                   "%.2f GiB are missing; a smaller quantisation is needed",
                   need, gib(p->weight_bytes), gib(p->kv_bytes),
                   gib(p->buffer_bytes + p->scratch_bytes), have, need - have);
}
