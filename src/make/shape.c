/* shape.c - the tables of shapes, families, keys and tensors.
 *
 * Numbers are those of the models' published configurations, names and keys those of llama.cpp's
 * converter. */
#include "shape.h"

#include <math.h>
#include <stdio.h>

#include "base.h"
#include "mem.h"

/* ---- keys --------------------------------------------------------------------------------------
 */

struct key {
    const char *name; /* behind "<architecture>." */
    enum gguf_type type;
    size_t at;        /* in struct shape; of a string: not used */
    const char *text;
};

#define INT(name, field) {name, GGUF_U32, offsetof(struct shape, field), NULL}
#define FLOAT(name, field) {name, GGUF_F32, offsetof(struct shape, field), NULL}
#define TEXT(name, text) {name, GGUF_STRING, 0, text}

static const struct key common_keys[] = {
    INT("block_count", n_layers),
    INT("context_length", n_ctx),
    INT("embedding_length", width),
    INT("feed_forward_length", ffn_width),
    INT("attention.head_count", n_heads),
    INT("attention.head_count_kv", n_kv_heads),
    FLOAT("rope.freq_base", freq_base),
};

static const struct key llama_keys[] = {
    FLOAT("attention.layer_norm_rms_epsilon", eps),
    INT("rope.dimension_count", n_rot),
};

static const struct key qwen3_keys[] = {
    FLOAT("attention.layer_norm_rms_epsilon", eps),
    INT("attention.key_length", head_size),
    INT("attention.value_length", head_size),
};

static const struct key phi2_keys[] = {
    FLOAT("attention.layer_norm_epsilon", eps),
    INT("rope.dimension_count", n_rot),
};

static const struct key gpt_oss_keys[] = {
    FLOAT("attention.layer_norm_rms_epsilon", eps),
    INT("attention.key_length", head_size),
    INT("attention.value_length", head_size),
    INT("expert_count", n_experts),
    INT("expert_used_count", n_used),
    INT("expert_feed_forward_length", ffn_width),
    INT("attention.sliding_window", window),
    TEXT("rope.scaling.type", "yarn"),
    FLOAT("rope.scaling.factor", rope_factor),
    INT("rope.scaling.original_context_length", n_ctx_orig),
};

/* ---- tensors -----------------------------------------------------------------------------------
 */

/* dims: a letter each, the width of a row first.  q is H d, k is K d, a is (H + 2 K) d. */
struct part {
    const char *name; /* in a layer: behind "blk.N." */
    const char *dims;
};

static const struct part llama_layer[] = {
    {"attn_norm.weight", "D"},   {"attn_q.weight", "Dq"},      {"attn_k.weight", "Dk"},
    {"attn_v.weight", "Dk"},     {"attn_output.weight", "qD"}, {"ffn_norm.weight", "D"},
    {"ffn_gate.weight", "DF"},   {"ffn_up.weight", "DF"},      {"ffn_down.weight", "FD"},
};

static const struct part qwen3_layer[] = {
    {"attn_norm.weight", "D"},   {"attn_q.weight", "Dq"},      {"attn_k.weight", "Dk"},
    {"attn_v.weight", "Dk"},     {"attn_output.weight", "qD"}, {"attn_q_norm.weight", "d"},
    {"attn_k_norm.weight", "d"}, {"ffn_norm.weight", "D"},     {"ffn_gate.weight", "DF"},
    {"ffn_up.weight", "DF"},     {"ffn_down.weight", "FD"},
};

static const struct part phi2_layer[] = {
    {"attn_norm.weight", "D"},    {"attn_norm.bias", "D"},   {"attn_qkv.weight", "Da"},
    {"attn_qkv.bias", "a"},       {"attn_output.weight", "qD"}, {"attn_output.bias", "D"},
    {"ffn_up.weight", "DF"},      {"ffn_up.bias", "F"},      {"ffn_down.weight", "FD"},
    {"ffn_down.bias", "D"},
};

static const struct part gpt_oss_layer[] = {
    {"attn_norm.weight", "D"},       {"attn_q.weight", "Dq"},          {"attn_q.bias", "q"},
    {"attn_k.weight", "Dk"},         {"attn_k.bias", "k"},             {"attn_v.weight", "Dk"},
    {"attn_v.bias", "k"},            {"attn_output.weight", "qD"},     {"attn_output.bias", "D"},
    {"attn_sinks.weight", "H"},      {"post_attention_norm.weight", "D"}, {"ffn_gate_inp.weight", "DE"},
    {"ffn_gate_inp.bias", "E"},      {"ffn_gate_exps.weight", "DFE"},  {"ffn_gate_exps.bias", "FE"},
    {"ffn_up_exps.weight", "DFE"},   {"ffn_up_exps.bias", "FE"},       {"ffn_down_exps.weight", "FDE"},
    {"ffn_down_exps.bias", "DE"},
};

static const struct part top[] = {{"token_embd.weight", "DV"}, {"output_norm.weight", "D"}};
static const struct part top_untied[] = {{"output.weight", "DV"}};
static const struct part top_biased[] = {{"output_norm.bias", "D"}, {"output.bias", "V"}};

struct shape_family {
    const char *arch;
    const struct key *keys;
    size_t n_keys;
    const struct part *layer;
    size_t n_layer;
    bool biased; /* the output norm and the output matrix have biases */
};

#define FAMILY(arch, keys, layer, biased) {arch, keys, COUNT_OF(keys), layer, COUNT_OF(layer), biased}
static const struct shape_family llama = FAMILY("llama", llama_keys, llama_layer, false),
                                 qwen3 = FAMILY("qwen3", qwen3_keys, qwen3_layer, false),
                                 phi2 = FAMILY("phi2", phi2_keys, phi2_layer, true),
                                 gpt_oss = FAMILY("gpt-oss", gpt_oss_keys, gpt_oss_layer, false);

/* ---- vocabularies ------------------------------------------------------------------------------
 */

static const struct made_special llama3_specials[] = {
    {128000, "<|begin_of_text|>", GGUF_TOKEN_CONTROL},
    {128001, "<|end_of_text|>", GGUF_TOKEN_CONTROL},
    {128006, "<|start_header_id|>", GGUF_TOKEN_CONTROL},
    {128007, "<|end_header_id|>", GGUF_TOKEN_CONTROL},
    {128009, "<|eot_id|>", GGUF_TOKEN_CONTROL},
};

static const struct made_special qwen3_specials[] = {
    {151643, "<|endoftext|>", GGUF_TOKEN_CONTROL},
    {151644, "<|im_start|>", GGUF_TOKEN_CONTROL},
    {151645, "<|im_end|>", GGUF_TOKEN_CONTROL},
    {151657, "<tool_call>", GGUF_TOKEN_USER},
    {151658, "</tool_call>", GGUF_TOKEN_USER},
    {151659, "<|fim_prefix|>", GGUF_TOKEN_CONTROL},
    {151660, "<|fim_middle|>", GGUF_TOKEN_CONTROL},
    {151661, "<|fim_suffix|>", GGUF_TOKEN_CONTROL},
    {151662, "<|fim_pad|>", GGUF_TOKEN_CONTROL},
    {151663, "<|repo_name|>", GGUF_TOKEN_CONTROL},
    {151664, "<|file_sep|>", GGUF_TOKEN_CONTROL},
    {151665, "<tool_response>", GGUF_TOKEN_USER},
    {151666, "</tool_response>", GGUF_TOKEN_USER},
    {151667, "<think>", GGUF_TOKEN_USER},
    {151668, "</think>", GGUF_TOKEN_USER},
};

static const struct made_special phi2_specials[] = {{50256, "<|endoftext|>", GGUF_TOKEN_CONTROL}};

static const struct made_special gpt_oss_specials[] = {
    {199998, "<|startoftext|>", GGUF_TOKEN_CONTROL},
    {199999, "<|endoftext|>", GGUF_TOKEN_CONTROL},
    {200002, "<|return|>", GGUF_TOKEN_CONTROL},
    {200003, "<|constrain|>", GGUF_TOKEN_CONTROL},
    {200005, "<|channel|>", GGUF_TOKEN_CONTROL},
    {200006, "<|start|>", GGUF_TOKEN_CONTROL},
    {200007, "<|end|>", GGUF_TOKEN_CONTROL},
    {200008, "<|message|>", GGUF_TOKEN_CONTROL},
    {200012, "<|call|>", GGUF_TOKEN_CONTROL},
    {200018, "<|endofprompt|>", GGUF_TOKEN_CONTROL},
};

static const struct made_vocab llama2_vocab = {
    .kind = MADE_SPM, .pre = "default", .n_tokens = 32000, .n_normal = 32000,
    .bos = 1, .eos = 2, .unknown = 0, .padding = -1, .add_bos = 1};
static const struct made_vocab llama3_vocab = {
    .kind = MADE_BPE, .pre = "llama-bpe", .n_tokens = 128256, .n_normal = 128000,
    .specials = llama3_specials, .n_specials = COUNT_OF(llama3_specials),
    .filler = "<|reserved_special_token_%d|>", .filler_from = 128000, .filler_type = GGUF_TOKEN_CONTROL,
    .bos = 128000, .eos = 128001, .unknown = -1, .padding = -1, .add_bos = -1};
static const struct made_vocab qwen3_vocab = {
    .kind = MADE_BPE, .pre = "qwen2", .n_tokens = 151936, .n_normal = 151643,
    .specials = qwen3_specials, .n_specials = COUNT_OF(qwen3_specials),
    .filler = "[PAD%d]", .filler_type = GGUF_TOKEN_UNUSED,
    .bos = 151643, .eos = 151645, .unknown = -1, .padding = 151643, .add_bos = 0};
static const struct made_vocab phi2_vocab = {
    .kind = MADE_BPE, .pre = "phi-2", .n_tokens = 51200, .n_normal = 50256,
    .specials = phi2_specials, .n_specials = COUNT_OF(phi2_specials),
    .filler = "[PAD%d]", .filler_type = GGUF_TOKEN_UNUSED,
    .bos = 50256, .eos = 50256, .unknown = 50256, .padding = -1, .add_bos = 0};
static const struct made_vocab gpt_oss_vocab = {
    .kind = MADE_BPE, .pre = "gpt-4o", .n_tokens = 201088, .n_normal = 199998,
    .specials = gpt_oss_specials, .n_specials = COUNT_OF(gpt_oss_specials),
    .filler = "<|reserved_%d|>", .filler_type = GGUF_TOKEN_CONTROL,
    .bos = 199998, .eos = 200002, .unknown = -1, .padding = 199999, .add_bos = -1};

/* ---- shapes ------------------------------------------------------------------------------------
 */

static const struct shape shapes[] = {
    /*                                                       L   D     H   K   d    F      context */
    {"stories15m", "Stories 15M", &llama, &llama2_vocab,     6,  288,  6,  6,  48,  768,   256,
     .eps = 1e-5f, .freq_base = 1e4f, .n_rot = 48, .tied = true},
    {"tinyllama-1.1b", "TinyLlama 1.1B", &llama, &llama2_vocab, 22, 2048, 32, 4, 64, 5632, 2048,
     .eps = 1e-5f, .freq_base = 1e4f, .n_rot = 64},
    {"llama2-7b", "Llama 2 7B", &llama, &llama2_vocab,       32, 4096, 32, 32, 128, 11008, 4096,
     .eps = 1e-5f, .freq_base = 1e4f, .n_rot = 128},
    {"llama2-13b", "Llama 2 13B", &llama, &llama2_vocab,     40, 5120, 40, 40, 128, 13824, 4096,
     .eps = 1e-5f, .freq_base = 1e4f, .n_rot = 128},
    {"llama3-8b", "Llama 3 8B", &llama, &llama3_vocab,       32, 4096, 32, 8,  128, 14336, 8192,
     .eps = 1e-5f, .freq_base = 5e5f, .n_rot = 128},
    {"qwen3-0.6b", "Qwen3 0.6B", &qwen3, &qwen3_vocab,       28, 1024, 16, 8,  128, 3072,  40960,
     .eps = 1e-6f, .freq_base = 1e6f, .n_rot = 128, .tied = true},
    {"qwen3-4b", "Qwen3 4B", &qwen3, &qwen3_vocab,           36, 2560, 32, 8,  128, 9728,  40960,
     .eps = 1e-6f, .freq_base = 1e6f, .n_rot = 128, .tied = true},
    {"phi-2", "Phi-2", &phi2, &phi2_vocab,                   32, 2560, 32, 32, 80,  10240, 2048,
     .eps = 1e-5f, .freq_base = 1e4f, .n_rot = 32},
    {"gpt-oss-20b", "gpt-oss 20B", &gpt_oss, &gpt_oss_vocab, 24, 2880, 64, 8,  64,  2880,  131072,
     .eps = 1e-5f, .freq_base = 1.5e5f, .n_rot = 64, .n_experts = 32, .n_used = 4, .window = 128,
     .n_ctx_orig = 4096, .rope_factor = 32},
};

const struct shape *shape_at(size_t i)
{
    return i < COUNT_OF(shapes) ? &shapes[i] : NULL;
}

const struct shape *shape_find(struct str name)
{
    for (size_t i = 0; i < COUNT_OF(shapes); i++)
        if (str_eq(name, str_of(shapes[i].name))) return &shapes[i];
    return NULL;
}

struct str shape_arch(const struct shape *shape)
{
    return str_of(shape->family->arch);
}

/* ---- writing -----------------------------------------------------------------------------------
 */

static int write_keys(const struct shape *s, const struct key *keys, size_t n, struct gguf_writer *w,
                      struct redline_err *err)
{
    for (size_t i = 0; i < n; i++) {
        char name[96];
        const char *field = (const char *)s + keys[i].at;
        snprintf(name, sizeof name, "%s.%s", s->family->arch, keys[i].name);
        if (keys[i].type == GGUF_STRING) {
            TRY(gguf_write_string(w, name, str_of(keys[i].text), err));
        } else if (keys[i].type == GGUF_F32) {
            TRY(gguf_write_f32(w, name, *(const float *)(const void *)field, err));
        } else {
            TRY(gguf_write_u32(w, name, (uint32_t)*(const int *)(const void *)field, err));
        }
    }
    return 0;
}

int shape_write_values(const struct shape *s, struct gguf_writer *w, struct redline_err *err)
{
    char name[64];
    TRY(write_keys(s, common_keys, COUNT_OF(common_keys), w, err));
    TRY(write_keys(s, s->family->keys, s->family->n_keys, w, err));
    snprintf(name, sizeof name, "%s.vocab_size", s->family->arch);
    return gguf_write_u32(w, name, (uint32_t)s->vocab->n_tokens, err);
}

static uint64_t dim_of(const struct shape *s, char letter)
{
    const struct {
        char letter;
        int n;
    } dims[] = {{'D', s->width},
                {'F', s->ffn_width},
                {'V', s->vocab->n_tokens},
                {'E', s->n_experts},
                {'H', s->n_heads},
                {'d', s->head_size},
                {'q', s->n_heads * s->head_size},
                {'k', s->n_kv_heads * s->head_size},
                {'a', (s->n_heads + 2 * s->n_kv_heads) * s->head_size}};
    size_t i = 0;
    while (dims[i].letter != letter) i++;
    return (uint64_t)dims[i].n;
}

/* Norms are about 1, biases small; matrices keep the size of what they multiply. */
static void add_part(const struct shape *s, const struct part *part, int layer, struct shape_tensor *t)
{
    struct str name = str_of(part->name);
    bool norm = str_ends(name, STR("norm.weight")), bias = str_ends(name, STR(".bias"));
    *t = (struct shape_tensor){.n_dims = (uint32_t)strlen(part->dims), .shape = {1, 1, 1, 1}};
    for (uint32_t i = 0; i < t->n_dims; i++) t->shape[i] = dim_of(s, part->dims[i]);
    if (layer < 0)
        snprintf(t->name, sizeof t->name, "%s", part->name);
    else
        snprintf(t->name, sizeof t->name, "blk.%d.%s", layer, part->name);
    t->mean = norm ? 1 : 0;
    t->deviation = norm ? 0.1f : bias ? 0.02f : 1 / sqrtf((float)t->shape[0]);
    t->matrix = t->n_dims > 1 && !bias && !str_starts(name, STR("ffn_gate_inp"));
}

int shape_tensors(const struct shape *s, struct shape_tensor **list, size_t *n, struct redline_err *err)
{
    const struct shape_family *f = s->family;
    size_t most = COUNT_OF(top) + COUNT_OF(top_untied) + COUNT_OF(top_biased) + (size_t)s->n_layers * f->n_layer;
    struct shape_tensor *t = mem_new(most, sizeof *t);
    *list = t;
    *n = 0;
    if (!t) return err_memory(err, most * sizeof *t, "a list of tensors");
    for (size_t i = 0; i < COUNT_OF(top); i++) add_part(s, &top[i], -1, &t[(*n)++]);
    for (size_t i = 0; !s->tied && i < COUNT_OF(top_untied); i++) add_part(s, &top_untied[i], -1, &t[(*n)++]);
    for (size_t i = 0; f->biased && i < COUNT_OF(top_biased); i++) add_part(s, &top_biased[i], -1, &t[(*n)++]);
    for (int layer = 0; layer < s->n_layers; layer++)
        for (size_t i = 0; i < f->n_layer; i++) add_part(s, &f->layer[i], layer, &t[(*n)++]);
    return 0;
}
