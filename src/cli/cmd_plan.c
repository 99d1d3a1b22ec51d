/* cmd_plan.c - redline plan: where everything would live and how many bytes it takes. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "cmd.h"
#include "mem.h"
#include "placement.h"
#include "settings.h"

enum { DEFAULT_CTX = 4096 };

struct plan {
    const char *model_path;
    struct placement where;
    bool json, layers;
    struct redline_engine_params params;
    struct redline_plan p;
    struct redline_plan_block *blocks; /* [p.n_blocks] */
};

static int print_row(struct buf *out, const char *what, uint64_t bytes, const char *where,
                     struct redline_err *err)
{
    char size[32];
    str_bytes_text(bytes, size, sizeof size);
    return buf_printf(out, err, "  %-12s %10s  %s\n", what, size, where);
}

static const char *part_name(const struct redline_plan_block *b)
{
    static const char *const names[] = {[REDLINE_PART_EMBEDDING] = "embedding",
                                        [REDLINE_PART_ATTENTION] = "attention",
                                        [REDLINE_PART_FEED_FORWARD] = "feed-forward",
                                        [REDLINE_PART_LAYER] = "both",
                                        [REDLINE_PART_HEAD] = "output"};
    return b->part == REDLINE_PART_FEED_FORWARD && b->experts ? "experts" : names[b->part];
}

static int print_block(const struct redline_plan *p, const struct redline_plan_block *b, struct buf *out,
                       struct redline_err *err)
{
    char weights[32], kv[32] = "", layer[16] = "";
    str_bytes_text(b->weight_bytes, weights, sizeof weights);
    if (b->kv_bytes) str_bytes_text(b->kv_bytes, kv, sizeof kv);
    if (b->layer >= 0) snprintf(layer, sizeof layer, "%d", b->layer);
    return buf_printf(out, err, "  %5s   %-12s  %-6s %12s %12s   %s\n", layer, part_name(b),
                      p->devices[b->device].label, weights, kv, b->reason);
}

static int print_blocks(const struct plan *plan, struct buf *out, struct redline_err *err)
{
    TRY(buf_printf(out, err, "\n  layer   part          device      weights           KV   why\n"));
    for (int i = 0; i < plan->p.n_blocks; i++) TRY(print_block(&plan->p, &plan->blocks[i], out, err));
    return 0;
}

/* Memory of each device, where there is more than the CPU. */
static int print_devices(const struct redline_plan *p, struct buf *out, struct redline_err *err)
{
    if (p->n_devices < 2) return 0;
    TRY(buf_printf(out, err, "\n  device  blocks      weights           KV      buffers          sum         free"
                             "         left\n"));
    for (int i = 0; i < p->n_devices; i++) {
        const struct redline_plan_device *d = &p->devices[i];
        const uint64_t bytes[] = {d->weight_bytes, d->kv_bytes, d->buffer_bytes + d->scratch_bytes, d->sum_bytes,
                                  d->cap_bytes && i > 0 ? MIN(d->cap_bytes, d->free_bytes) : d->free_bytes,
                                  d->left_bytes};
        TRY(buf_printf(out, err, "  %-6s %7d", d->label, d->n_blocks));
        for (size_t k = 0; k < COUNT_OF(bytes); k++) {
            char text[32];
            str_bytes_text(bytes[k], text, sizeof text);
            if (k >= 4 && i > 0 && !d->looked_at) snprintf(text, sizeof text, "-");
            TRY(buf_printf(out, err, " %12s", text));
        }
        TRY(buf_printf(out, err, "   %s%s\n", d->name, i > 0 && !d->looked_at             ? ", not needed"
                                                    : d->cap_bytes && i > 0 ? ", capped by device_memory"
                                                                            : ""));
    }
    return 0;
}

/* What stands in the way, or what more there could be. */
static int print_hint(const struct redline_plan *p, struct buf *out, struct redline_err *err)
{
    char need[32], room[32];
    str_bytes_text(p->short_bytes, need, sizeof need);
    str_bytes_text(p->short_room_bytes, room, sizeof room);
    if (!p->fits && p->n_devices > 1)
        TRY(buf_printf(out, err, "\n%s has no room%s%s: %s are needed and %s there\n",
                       p->devices[p->short_device].label, *p->short_tensor ? " for the block of " : "",
                       p->short_tensor, need, room));
    if (p->n_gpu_layers_fits > p->n_gpu_layers || (!p->fits && p->n_gpu_layers_fits >= 0))
        return buf_printf(out, err, "%d of %d layers would fit on GPUs: -ngl %d\n", p->n_gpu_layers_fits, p->n_layers,
                          p->n_gpu_layers_fits);
    return 0;
}

/* Where the weights will be read; what is packed takes the place of the pages that it was made of. */
static void weights_text(const struct redline_plan *p, char *out, size_t n)
{
    char packed[32], layers[40];
    str_bytes_text(p->packed_bytes, packed, sizeof packed);
    if (p->n_gpu_layers > 0) snprintf(layers, sizeof layers, "%d of %d layers on GPUs", p->n_gpu_layers, p->n_layers);
    else snprintf(layers, sizeof layers, "%d layers on %s", p->n_layers, p->devices[0].label);
    if (p->packed_bytes == 0 && p->n_gpu_layers > 0)
        snprintf(out, n, "%s", layers);
    else if (p->packed_bytes == 0)
        snprintf(out, n, "as the file is mapped, %s", layers);
    else
        snprintf(out, n, "%s of them packed%s at first use, %s", packed, p->huge_pages ? " into huge pages" : "",
                 layers);
}

static int print_text(const struct plan *plan, struct buf *out, struct redline_err *err)
{
    const struct redline_plan *p = &plan->p;
    char kv[96], where[128];
    snprintf(kv, sizeof kv, "%d tokens, %s keys, %s values; memory as it is touched", p->n_ctx, p->type_k,
             p->type_v);
    weights_text(p, where, sizeof where);
    TRY(buf_printf(out, err, "device %s, %d thread%s, batches of up to %d tokens\n\n", p->device,
                   p->n_threads, p->n_threads == 1 ? "" : "s", p->n_ubatch));
    TRY(print_row(out, "weights", p->weight_bytes, where, err));
    TRY(print_row(out, "KV cache", p->kv_bytes, kv, err));
    if (p->kv_ring_bytes) {
        char ring[96];
        snprintf(ring, sizeof ring, "of that, of layers that see the last %d tokens alone", p->n_window);
        TRY(print_row(out, "  windows", p->kv_ring_bytes, ring, err));
    }
    TRY(print_row(out, "activations", p->buffer_bytes, "and logits", err));
    TRY(print_row(out, "scratch", p->scratch_bytes, "of the backend", err));
    TRY(print_row(out, "total", p->total_bytes, "", err));
    TRY(print_row(out, "free", p->available_bytes, p->fits ? "fits" : "DOES NOT FIT", err));
    if (p->unused_bytes) TRY(print_row(out, "not loaded", p->unused_bytes, "tensors that nothing reads", err));
    TRY(print_devices(p, out, err));
    TRY(print_hint(p, out, err));
    if (*p->warning) TRY(buf_printf(out, err, "\nwarning: %s\n", p->warning));
    if (plan->layers) TRY(print_blocks(plan, out, err));
    TRY(buf_printf(out, err, "\n%.1f MB of weights and %.1f kB of KV per position are read for one token\n",
                   (double)p->token_bytes / 1e6, (double)(p->kv_token_bytes + p->kv_window_token_bytes) / 1e3));
    return buf_printf(out, err, "longest context that fits: %d (the model was trained on %d)\n",
                      p->n_ctx_fits, p->n_ctx_train);
}

static json_t *devices_json(const struct redline_plan *p)
{
    json_t *all = json_array();
    for (int i = 0; i < p->n_devices; i++) {
        const struct redline_plan_device *d = &p->devices[i];
        json_array_append_new(
            all, json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "device",
                           d->label, "name", d->name, "backend", d->kind, "arch", d->arch, "n_blocks", d->n_blocks,
                           "memory_bytes", (json_int_t)d->total_bytes, "free_bytes", (json_int_t)d->free_bytes,
                           "cap_bytes", (json_int_t)d->cap_bytes, "margin_bytes", (json_int_t)d->margin_bytes,
                           "weight_bytes", (json_int_t)d->weight_bytes, "kv_bytes", (json_int_t)d->kv_bytes,
                           "buffer_bytes", (json_int_t)d->buffer_bytes, "scratch_bytes", (json_int_t)d->scratch_bytes,
                           "sum_bytes", (json_int_t)d->sum_bytes, "left_bytes", (json_int_t)d->left_bytes,
                           "looked_at", i == 0 || d->looked_at));
    }
    return all;
}

static json_t *blocks_json(const struct plan *plan)
{
    json_t *all = json_array();
    for (int i = 0; i < plan->p.n_blocks; i++) {
        const struct redline_plan_block *b = &plan->blocks[i];
        json_array_append_new(all, json_pack("{s:o, s:s, s:s, s:I, s:I, s:s, s:s}", "layer",
                                             b->layer >= 0 ? json_integer(b->layer) : json_null(), "part", part_name(b),
                                             "device", plan->p.devices[b->device].label, "weight_bytes",
                                             (json_int_t)b->weight_bytes, "kv_bytes", (json_int_t)b->kv_bytes, "why",
                                             b->reason, "tensor", b->largest));
    }
    return all;
}

static int print_json(const struct plan *plan, struct buf *out, struct redline_err *err)
{
    const struct redline_plan *p = &plan->p;
    json_t *root = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:i, "
        "s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:b, s:I, s:i, s:i, s:o, s:o, s:s}",
        "device", p->device, "n_threads", p->n_threads, "n_ctx", p->n_ctx, "n_ubatch", p->n_ubatch,
        "n_layers", p->n_layers, "n_gpu_layers", p->n_gpu_layers, "type_k", p->type_k, "type_v", p->type_v,
        "weight_bytes", (json_int_t)p->weight_bytes, "unused_bytes", (json_int_t)p->unused_bytes, "kv_bytes",
        (json_int_t)p->kv_bytes, "kv_token_bytes", (json_int_t)p->kv_token_bytes, "kv_window_token_bytes",
        (json_int_t)p->kv_window_token_bytes, "kv_ring_bytes", (json_int_t)p->kv_ring_bytes, "n_window",
        (json_int_t)p->n_window, "buffer_bytes",
        (json_int_t)p->buffer_bytes, "scratch_bytes", (json_int_t)p->scratch_bytes, "total_bytes",
        (json_int_t)p->total_bytes, "available_bytes", (json_int_t)p->available_bytes, "limit_bytes",
        (json_int_t)p->limit_bytes, "token_bytes", (json_int_t)p->token_bytes, "n_ctx_train",
        p->n_ctx_train, "n_ctx_fits", p->n_ctx_fits, "fits", p->fits, "packed_bytes", (json_int_t)p->packed_bytes,
        "n_split_layers", p->n_split_layers, "n_gpu_layers_fits", p->n_gpu_layers_fits, "devices", devices_json(p),
        "blocks", blocks_json(plan), "warning", p->warning);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    int status = text ? buf_printf(out, err, "%s\n", text) : err_memory(err, 0, "the JSON text");
    free(text);
    json_decref(root);
    return status;
}

static int run_all(struct plan *plan, const char *const *words, int n_words,
                   struct redline_model **model, struct buf *out, struct redline_err *err)
{
    const char *path;
    TRY(cmd_model_path(&path, plan->model_path, words, n_words, "plan", err));
    if (!plan->params.n_ctx) plan->params.n_ctx = DEFAULT_CTX;
    placement_set(&plan->params, &plan->where);
    TRY(placement_check(&plan->where, err));
    TRY(redline_model_open(model, path, err));
    TRY(redline_plan(*model, &plan->params, &plan->p, err));
    plan->blocks = mem_new((size_t)plan->p.n_blocks, sizeof *plan->blocks);
    if (!plan->blocks) return err_memory(err, (size_t)plan->p.n_blocks * sizeof *plan->blocks, "rows of blocks");
    TRY(redline_plan_blocks(*model, &plan->params, &plan->p, plan->blocks, err));
    TRY(plan->json ? print_json(plan, out, err) : print_text(plan, out, err));
    TRY(cmd_write(out->p, out->n, err));
    return cmd_flush(err);
}

int cmd_plan(int argc, char **argv)
{
    struct plan plan = {.params = {.n_ctx = DEFAULT_CTX}};
    struct settings set = {0};
    struct redline_engine_params *p = &plan.params;
    const struct opt options[] = {
        settings_opt(&set, SETTING_MODEL, &plan.model_path),
        SETTINGS_ENGINE(&set, p),
        SETTINGS_PLACEMENT(&set, &plan.where),
        settings_opt(&set, SETTING_EXACT, &p->exact),
        {"--layers", NULL, OPT_FLAG, &plan.layers, 0, 0,
         "a line for every block of every layer: where it runs, what it takes, why"},
        {"--json", NULL, OPT_FLAG, &plan.json, 0, 0, "one JSON object"},
    };
    const struct opt_command command = {
        "redline plan MODEL [options]",
        "Shows where weights, KV cache and buffers would live and what they cost, from the file's header\n"
        "and this machine's free memory; nothing is loaded.  Exit code 1 when the plan does not fit.",
        options, COUNT_OF(options), NULL};
    const char *words[1];
    struct redline_err err = {0};
    struct redline_model *model = NULL;
    struct buf out = {0};
    int n_words, exit_code;
    if (!settings_parse(&set, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    int status = run_all(&plan, words, n_words, &model, &out, &err);
    redline_model_close(&model);
    buf_free(&out);
    mem_free(plan.blocks);
    settings_free(&set);
    return status ? cmd_fail(&err) : plan.p.fits ? EXIT_FINE : EXIT_NO;
}
