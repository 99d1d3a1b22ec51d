/* plan.c - deciding, from the file's header and the machine's facts alone, where everything will live
 * and how many bytes it takes.  What is printed here is carried out exactly by engine.c. */
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "draft.h"
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
    TRY(check_range("the number of layers whose experts stay on the CPU", p->n_cpu_moe, 0, MOST_CTX, err));
    out->model.n_ubatch = (int)MIN((int64_t)out->model.n_ubatch, (int64_t)p->n_ctx * n_seqs);
    out->model.n_outputs = MIN(out->model.n_outputs, out->model.n_ubatch);
    if (out->model.n_ubatch < n_seqs || out->model.n_outputs < n_seqs)
        return err_set(err, REDLINE_ARG, "a batch of %d tokens and %d outputs for %d sequences; each needs one",
                       out->model.n_ubatch, out->model.n_outputs, n_seqs);
    TRY(kv_type(&out->model.type_k, p->type_k, "the type of keys", err));
    return kv_type(&out->model.type_v, p->type_v, "the type of values", err);
}

int redline_cuda_version(void)
{
    return REDLINE_CUDA_VERSION;
}

/* ---- the plan ---------------------------------------------------------------------------------- */

/* The longest context, in whole pages, with which all of it fits; 0: none does. */
static int longest_ctx(struct draft *d)
{
    int fits = 0, too_long = MOST_CTX / KV_PAGE + 1, n_ctx = d->p.model.n_ctx;
    while (too_long - fits > 1) {
        int middle = fits + (too_long - fits) / 2;
        d->p.model.n_ctx = middle * KV_PAGE;
        *(draft_try(d) ? &fits : &too_long) = middle;
    }
    d->p.model.n_ctx = n_ctx;
    return fits * KV_PAGE;
}

static void count_layers(struct redline_plan *out, const struct draft *d)
{
    const int32_t *row_of = d->layout.row_of;
    for (int i = 0; i < d->model->h.n_layers; i++) {
        bool attention = d->device[row_of[weights_block(i, PART_ATTENTION)]] > 0;
        bool feed_forward = d->device[row_of[weights_block(i, PART_FEED_FORWARD)]] > 0;
        out->n_gpu_layers += attention && feed_forward;
        out->n_split_layers += attention != feed_forward;
    }
}

static void sum_devices(struct redline_plan *out, const struct draft *d)
{
    out->n_devices = d->n_devices;
    memcpy(out->devices, d->devices, sizeof out->devices);
    for (int i = 0; i < d->n_devices; i++) {
        const struct redline_plan_device *row = &d->devices[i];
        if (i > 0 && row->n_blocks > 0) out->device = backend_gpu->name;
        out->kv_bytes += row->kv_bytes;
        out->buffer_bytes += row->buffer_bytes;
        out->scratch_bytes += row->scratch_bytes;
        out->total_bytes += row->sum_bytes;
    }
    for (int i = 0; i < d->layout.n; i++)
        if (d->device[i] == 0) out->packed_bytes += d->layout.rows[i].packed_bytes;
}

static void describe_short(struct redline_plan *out, const struct draft *d)
{
    const struct spread_short *s = &d->missing;
    const struct redline_plan_device *cpu = &d->devices[0];
    out->short_device = 0;
    out->short_bytes = cpu->sum_bytes;
    out->short_room_bytes = cpu->free_bytes - MIN(cpu->free_bytes, cpu->margin_bytes);
    if (s->block < 0) return;
    out->short_device = s->device;
    out->short_bytes = s->bytes;
    out->short_room_bytes = s->room_bytes;
    snprintf(out->short_tensor, sizeof out->short_tensor, "%.*s", STR_ARG(d->layout.rows[s->block].largest));
}

/* What does not depend on where blocks run. */
static void describe_model(struct redline_plan *out, const struct draft *d)
{
    const struct redline_model *model = d->model;
    const struct plan_params *p = &d->p;
    struct kv_shape shape = hparams_kv_shape(&model->h);
    uint64_t layer_ops = 2 * (uint64_t)model->h.n_heads * (uint64_t)(shape.d_k + shape.d_v);
    int n_windowed = 0;
    for (int i = 0; i < model->h.n_layers; i++) n_windowed += hparams_windowed(&model->h, i);
    *out = (struct redline_plan){
        .device = backend_cpu.name,
        .n_threads = p->backend.n_threads,
        .n_ctx = p->model.n_ctx,
        .n_seqs = p->model.n_seqs,
        .n_ubatch = p->model.n_ubatch,
        .n_layers = model->h.n_layers,
        .n_blocks = d->layout.n,
        .type_k = dtype_name(p->model.type_k),
        .type_v = dtype_name(shape.shared ? p->model.type_k : p->model.type_v),
        .weight_bytes = model->weights.bytes,
        .unused_bytes = model->gguf->tensor_bytes - model->weights.bytes,
        .kv_token_bytes = d->sizes.kv.token_bytes,
        .kv_window_token_bytes = d->sizes.kv.window_token_bytes,
        .kv_ring_bytes = d->sizes.kv.ring_bytes,
        .n_window = model->h.n_window,
        .token_bytes = model->weights.token_bytes,
        .token_ops = model->weights.token_ops,
        .kept_ops = model->weights.kept_ops,
        .head_ops = model->weights.head_ops,
        .kv_token_ops = (uint64_t)(model->h.n_layers - n_windowed) * layer_ops,
        .kv_window_token_ops = (uint64_t)n_windowed * layer_ops,
        .n_ctx_train = model->h.n_ctx_train,
        .huge_pages = cpu_has_huge_pages(),
    };
}

int redline_plan(const struct redline_model *model, const struct redline_engine_params *params,
                 struct redline_plan *out, struct redline_err *err)
{
    struct draft d;
    struct cpu_memory memory;
    struct spread_gpu gpus[SPREAD_MOST_GPUS];
    TRY(modelfile_runnable(model, err));
    TRY(draft_make(&d, model, params, NULL, err));
    bool fits = draft_try(&d);
    describe_model(out, &d);
    sum_devices(out, &d);
    count_layers(out, &d);
    cpu_memory(&memory);
    out->available_bytes = d.devices[0].free_bytes;
    out->limit_bytes = memory.limit_bytes;
    out->fits = fits;
    if (!fits) describe_short(out, &d);
    memcpy(out->warning, d.warning, sizeof out->warning);
    struct spread_task task = draft_task(&d, gpus);
    out->n_gpu_layers_fits = d.wanted == SPREAD_AUTO || task.n_gpus == 0 ? -1 : spread_most_layers(d.device, &task);
    out->n_ctx_fits = longest_ctx(&d);
    draft_free(&d);
    return 0;
}

/* ---- its rows ---------------------------------------------------------------------------------- */

static const char *const reasons[] = {
    [REDLINE_WHY_NO_GPU] = "there is no GPU",
    [REDLINE_WHY_ASKED] = "asked for",
    [REDLINE_WHY_NOT_ASKED] = "not asked for on a GPU",
    [REDLINE_WHY_FITS] = "fits",
    [REDLINE_WHY_NO_ROOM] = "no room on a GPU",
    [REDLINE_WHY_PLACEMENT] = "placement says so",
    [REDLINE_WHY_CPU_MOE] = "n_cpu_moe says so",
    [REDLINE_WHY_ROWS] = "rows are looked up",
    [REDLINE_WHY_WATCHED] = "what goes in is watched",
    [REDLINE_WHY_REFUSED] = "no GPU here can be used",
};

int redline_plan_blocks(const struct redline_model *model, const struct redline_engine_params *params,
                        const struct redline_plan *plan, struct redline_plan_block *out, struct redline_err *err)
{
    struct draft d;
    TRY(modelfile_runnable(model, err));
    TRY(draft_make(&d, model, params, plan, err));
    draft_try(&d);
    for (int i = 0; i < d.layout.n; i++) {
        const struct block *b = &d.layout.rows[i];
        bool attends = b->part == REDLINE_PART_ATTENTION || b->part == REDLINE_PART_LAYER;
        out[i] = (struct redline_plan_block){
            .part = b->part,
            .layer = b->layer,
            .experts = b->experts,
            .device = d.device[i],
            .weight_bytes = d.device[i] == 0 ? b->file_bytes : b->gpu_bytes,
            .kv_bytes = attends ? model_layer_kv_bytes(&model->h, &d.p.model, b->layer) : 0,
            .why = d.why_free[i],
            .reason = reasons[d.why_free[i]],
        };
        snprintf(out[i].largest, sizeof out[i].largest, "%.*s", STR_ARG(b->largest));
    }
    draft_free(&d);
    return 0;
}

static double gib(uint64_t bytes)
{
    return (double)bytes / (double)(1u << 30);
}

/* A block that has to run on a GPU and has no room there. */
static int refuse_block(const struct redline_plan *p, struct redline_err *err)
{
    const struct redline_plan_device *d = &p->devices[p->short_device];
    char layers[64] = "", ctx[64] = "";
    if (p->n_gpu_layers_fits >= 0) snprintf(layers, sizeof layers, "n_gpu_layers %d would fit", p->n_gpu_layers_fits);
    if (p->n_ctx_fits > 0)
        snprintf(ctx, sizeof ctx, "%sa context of %d would fit", layers[0] ? ", or " : "", p->n_ctx_fits);
    return err_set(err, REDLINE_MEMORY,
                   "the block of '%s' needs %.2f GiB on %s, where %.2f of %.2f GiB %s are left for it, less %.2f that "
                   "stay free: %s%s%s",
                   p->short_tensor, gib(p->short_bytes), d->label, gib(p->short_room_bytes),
                   gib(d->cap_bytes ? MIN(d->cap_bytes, d->free_bytes) : d->free_bytes),
                   d->cap_bytes && d->cap_bytes < d->free_bytes ? "(device_memory)" : "(free)", gib(d->margin_bytes),
                   layers, ctx, layers[0] || ctx[0] ? "" : "less has to be placed there");
}

int plan_refuse(const struct redline_plan *p, struct redline_err *err)
{
    const struct redline_plan_device *cpu = &p->devices[0];
    if (p->fits) return 0;
    if (p->short_device > 0) return refuse_block(p, err);
    double need = gib(cpu->sum_bytes + cpu->margin_bytes), have = gib(cpu->free_bytes);
    double buffers = gib(cpu->buffer_bytes + cpu->scratch_bytes);
    const char *where = p->devices[0].n_blocks < p->n_blocks ? " beside the GPUs" : "";
    if (p->n_ctx_fits > 0)
        return err_set(err, REDLINE_MEMORY,
                       "a context of %d needs %.2f GiB%s (weights %.2f, KV %.2f, buffers %.2f), %.2f GiB are "
                       "free; a context of %d would fit",
                       p->n_ctx, need, where, gib(cpu->weight_bytes), gib(cpu->kv_bytes), buffers, have, p->n_ctx_fits);
    return err_set(err, REDLINE_MEMORY,
                   "the model needs %.2f GiB%s (weights %.2f, KV %.2f, buffers %.2f), %.2f GiB are free: "
                   "%.2f GiB are missing; a smaller quantisation is needed",
                   need, where, gib(cpu->weight_bytes), gib(cpu->kv_bytes), buffers, have, need - have);
}
