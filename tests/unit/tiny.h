/* tiny.h - for tests: small Llama models with random weights, of any element type. */
#ifndef TINY_H
#define TINY_H

#include <stdio.h>

#include "gguf_write.h"
#include "kern.h"
#include "mem.h"
#include "rng.h"

struct tiny {
    enum dtype type;     /* of all matrices */
    int n_layers, width, n_heads, n_kv_heads, ffn_width, n_vocab, n_ctx;
    int n_experts, n_used;
    bool biases, rope_factors, untied;
    const char *scaling; /* rope.scaling.type, or NULL */
    uint64_t seed;
};

static const struct tiny tiny_default = {
    .type = DTYPE_F32, .n_layers = 2, .width = 256, .n_heads = 4, .n_kv_heads = 2, .ffn_width = 512,
    .n_vocab = 96, .n_ctx = 2048, .untied = true, .seed = 1};

struct tiny_tensor {
    char name[64];
    enum dtype type;
    uint64_t shape[3];
    uint32_t n_dims;
    float mean, spread;
};

struct tiny_list {
    struct tiny_tensor t[256];
    int n;
};

static void tiny_add(struct tiny_list *list, const char *name, int layer, enum dtype type, int cols, int rows,
                     int mats, float mean, float spread)
{
    struct tiny_tensor *t = &list->t[list->n++];
    *t = (struct tiny_tensor){.type = type,
                              .shape = {(uint64_t)cols, (uint64_t)rows, (uint64_t)mats},
                              .n_dims = mats ? 3 : rows ? 2 : 1,
                              .mean = mean,
                              .spread = spread};
    if (!mats) t->shape[2] = 1;
    if (!rows) t->shape[1] = 1;
    if (layer < 0)
        snprintf(t->name, sizeof t->name, "%s", name);
    else
        snprintf(t->name, sizeof t->name, "blk.%d.%s", layer, name);
}

static void tiny_layer(struct tiny_list *l, const struct tiny *m, int i)
{
    int d = m->width / m->n_heads, kv = m->n_kv_heads * d, e = m->n_experts;
    const float w = 0.06f, b = 0.1f;
    tiny_add(l, "attn_norm.weight", i, DTYPE_F32, m->width, 0, 0, 1, 0.1f);
    tiny_add(l, "attn_q.weight", i, m->type, m->width, m->width, 0, 0, w);
    tiny_add(l, "attn_k.weight", i, m->type, m->width, kv, 0, 0, w);
    tiny_add(l, "attn_v.weight", i, m->type, m->width, kv, 0, 0, w);
    tiny_add(l, "attn_output.weight", i, m->type, m->width, m->width, 0, 0, w);
    if (m->biases) {
        tiny_add(l, "attn_q.bias", i, DTYPE_F32, m->width, 0, 0, 0, b);
        tiny_add(l, "attn_k.bias", i, DTYPE_F32, kv, 0, 0, 0, b);
        tiny_add(l, "attn_v.bias", i, DTYPE_F32, kv, 0, 0, 0, b);
        tiny_add(l, "attn_output.bias", i, DTYPE_F32, m->width, 0, 0, 0, b);
    }
    tiny_add(l, "ffn_norm.weight", i, DTYPE_F32, m->width, 0, 0, 1, 0.1f);
    if (e) tiny_add(l, "ffn_gate_inp.weight", i, DTYPE_F32, m->width, e, 0, 0, 0.2f);
    tiny_add(l, e ? "ffn_gate_exps.weight" : "ffn_gate.weight", i, m->type, m->width, m->ffn_width, e, 0, w);
    tiny_add(l, e ? "ffn_up_exps.weight" : "ffn_up.weight", i, m->type, m->width, m->ffn_width, e, 0, w);
    tiny_add(l, e ? "ffn_down_exps.weight" : "ffn_down.weight", i, m->type, m->ffn_width, m->width, e, 0, w);
}

static int tiny_values(struct gguf_writer *w, const struct tiny *m, struct redline_err *err)
{
    const struct {
        const char *key;
        int value;
    } ints[] = {
        {"llama.block_count", m->n_layers},
        {"llama.embedding_length", m->width},
        {"llama.attention.head_count", m->n_heads},
        {"llama.attention.head_count_kv", m->n_kv_heads},
        {"llama.feed_forward_length", m->ffn_width},
        {"llama.context_length", m->n_ctx},
        {"llama.expert_count", m->n_experts},
        {"llama.expert_used_count", m->n_used},
    };
    TRY(gguf_write_string(w, "general.architecture", STR("llama"), err));
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++)
        TRY(gguf_write_u32(w, ints[i].key, (uint32_t)ints[i].value, err));
    TRY(gguf_write_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f, err));
    if (!m->scaling) return 0;
    TRY(gguf_write_string(w, "llama.rope.scaling.type", str_of(m->scaling), err));
    TRY(gguf_write_u32(w, "llama.rope.scaling.original_context_length", 256, err));
    return gguf_write_f32(w, "llama.rope.scaling.factor", 4, err);
}

static int tiny_data(struct gguf_writer *w, const struct tiny_tensor *t, struct rng *rng, struct redline_err *err)
{
    enum { PIECE = 256 };
    uint64_t n = t->shape[0] * t->shape[1] * t->shape[2];
    float x[PIECE];
    char bytes[PIECE * sizeof(float)];
    for (uint64_t i = 0; i < n;) {
        size_t m = n - i < PIECE ? (size_t)(n - i) : PIECE;
        for (size_t j = 0; j < m; j++) x[j] = t->mean + t->spread * (float)rng_normal(rng);
        kern_scalar.encode[t->type](bytes, x, m);
        TRY(gguf_write_data(w, bytes, dtype_row_bytes(dtype_info(t->type), m), err));
        i += m;
    }
    return 0;
}

/* Writes the model; 0 or a status with the message in err. */
static int tiny_write(const char *path, const struct tiny *m, struct redline_err *err)
{
    static struct tiny_list list;
    struct gguf_writer *w;
    struct rng rng;
    list.n = 0;
    tiny_add(&list, "token_embd.weight", -1, m->type, m->width, m->n_vocab, 0, 0, 1);
    tiny_add(&list, "output_norm.weight", -1, DTYPE_F32, m->width, 0, 0, 1, 0.1f);
    if (m->untied) tiny_add(&list, "output.weight", -1, m->type, m->width, m->n_vocab, 0, 0, 0.1f);
    if (m->rope_factors) tiny_add(&list, "rope_freqs.weight", -1, DTYPE_F32, m->width / m->n_heads / 2, 0, 0, 2, 0.3f);
    for (int i = 0; i < m->n_layers; i++) tiny_layer(&list, m, i);

    rng_seed(&rng, m->seed);
    TRY(gguf_writer_new(&w, path, 0, err));
    int status = tiny_values(w, m, err);
    for (int i = 0; i < list.n && !status; i++)
        status = gguf_write_tensor(w, str_of(list.t[i].name), list.t[i].type, list.t[i].n_dims, list.t[i].shape, err);
    for (int i = 0; i < list.n && !status; i++) status = tiny_data(w, &list.t[i], &rng, err);
    if (!status) status = gguf_writer_finish(w, err);
    gguf_writer_free(&w);
    return status;
}

#endif
