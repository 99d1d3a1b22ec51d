/* cmd_plan.c - redline plan: where everything would live and how many bytes it takes. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "cmd.h"
#include "device.h"
#include "settings.h"

enum { DEFAULT_CTX = 4096 };

struct plan {
    const char *model_path;
    const char *n_gpu_layers, *require;
    bool json, layers;
    struct redline_engine_params params;
    struct redline_plan p;
};

static int print_row(struct buf *out, const char *what, uint64_t bytes, const char *where,
                     struct redline_err *err)
{
    char size[32];
    cmd_bytes_text(bytes, size, sizeof size);
    return buf_printf(out, err, "  %-12s %10s  %s\n", what, size, where);
}

static int print_layers(const struct redline_model *model, const struct plan *plan, struct buf *out,
                        struct redline_err *err)
{
    TRY(buf_printf(out, err, "\n  layer   device      weights           KV\n"));
    for (int i = 0; i < plan->p.n_layers; i++) {
        struct redline_plan_layer layer;
        char weights[32], kv[32];
        TRY(redline_plan_layer(model, &plan->p, i, &layer, err));
        cmd_bytes_text(layer.weight_bytes, weights, sizeof weights);
        cmd_bytes_text(layer.kv_bytes, kv, sizeof kv);
        TRY(buf_printf(out, err, "  %5d   %-6s %12s %12s\n", i, plan->p.device, weights, kv));
    }
    return 0;
}

/* Where the weights will be read; what is packed takes the place of the pages that it was made of. */
static void weights_text(const struct redline_plan *p, char *out, size_t n)
{
    char packed[32];
    cmd_bytes_text(p->packed_bytes, packed, sizeof packed);
    if (p->packed_bytes == 0)
        snprintf(out, n, "as the file is mapped, %d layers on %s", p->n_layers, p->device);
    else
        snprintf(out, n, "%s of them packed%s at first use, %d layers on %s", packed,
                 p->huge_pages ? " into huge pages" : "", p->n_layers, p->device);
}

static int print_text(const struct redline_model *model, const struct plan *plan, struct buf *out,
                      struct redline_err *err)
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
    if (plan->layers) TRY(print_layers(model, plan, out, err));
    TRY(buf_printf(out, err, "\n%.1f MB of weights and %.1f kB of KV per position are read for one token\n",
                   (double)p->token_bytes / 1e6, (double)(p->kv_token_bytes + p->kv_window_token_bytes) / 1e3));
    return buf_printf(out, err, "longest context that fits: %d (the model was trained on %d)\n",
                      p->n_ctx_fits, p->n_ctx_train);
}

static int print_json(const struct plan *plan, struct buf *out, struct redline_err *err)
{
    const struct redline_plan *p = &plan->p;
    json_t *root = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:i, "
        "s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:b, s:I}",
        "device", p->device, "n_threads", p->n_threads, "n_ctx", p->n_ctx, "n_ubatch", p->n_ubatch,
        "n_layers", p->n_layers, "n_gpu_layers", p->n_gpu_layers, "type_k", p->type_k, "type_v", p->type_v,
        "weight_bytes", (json_int_t)p->weight_bytes, "unused_bytes", (json_int_t)p->unused_bytes, "kv_bytes",
        (json_int_t)p->kv_bytes, "kv_token_bytes", (json_int_t)p->kv_token_bytes, "kv_window_token_bytes",
        (json_int_t)p->kv_window_token_bytes, "kv_ring_bytes", (json_int_t)p->kv_ring_bytes, "n_window",
        (json_int_t)p->n_window, "buffer_bytes",
        (json_int_t)p->buffer_bytes, "scratch_bytes", (json_int_t)p->scratch_bytes, "total_bytes",
        (json_int_t)p->total_bytes, "available_bytes", (json_int_t)p->available_bytes, "limit_bytes",
        (json_int_t)p->limit_bytes, "token_bytes", (json_int_t)p->token_bytes, "n_ctx_train",
        p->n_ctx_train, "n_ctx_fits", p->n_ctx_fits, "fits", p->fits, "packed_bytes", (json_int_t)p->packed_bytes);
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
    TRY(cmd_model_path(&path, plan->model_path, words, n_words, true, err));
    if (!plan->params.n_ctx) plan->params.n_ctx = DEFAULT_CTX;
    plan->params.n_gpu_layers = plan->n_gpu_layers;
    TRY(device_check(plan->require, plan->n_gpu_layers, err));
    TRY(redline_model_open(model, path, err));
    TRY(redline_plan(*model, &plan->params, &plan->p, err));
    TRY(plan->json ? print_json(plan, out, err) : print_text(*model, plan, out, err));
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
        SETTINGS_DEVICE(&set, &plan),
        settings_opt(&set, SETTING_EXACT, &p->exact),
        {"--layers", NULL, OPT_FLAG, &plan.layers, 0, 0, "a line for every layer"},
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
    settings_free(&set);
    return status ? cmd_fail(&err) : plan.p.fits ? EXIT_FINE : EXIT_NO;
}
