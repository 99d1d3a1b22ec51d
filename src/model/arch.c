/* arch.c - the table of families.
 *
 * A row says what its family is in a file of that name; papers and peculiarities stand beside it.  Where
 * the authors' own code and other readers of GGUF disagree, docs/models.md says which is followed. */
#include "arch.h"

#include "base.h"

#define GRANITE_KEYS (KEY_LOGIT_DIVISOR | KEY_RESIDUAL_SCALE | KEY_EMBED_SCALE | KEY_ATTN_SCALE | KEY_SHARED_WIDTH)
#define SIGMOID_KEYS (KEY_EXPERT_WIDTH | KEY_SHARED_COUNT | KEY_DENSE_LEAD | KEY_SHARE_SCALE | KEY_MOE_GATE)
#define LATENT_KEYS (SIGMOID_KEYS | KEY_LATENT | KEY_YARN_MUL | KEY_TEMPERATURE | KEY_NEXTN)

static const struct arch table[] = {
    /* Llama 1-3, Mistral, Mixtral and what else was converted under that name: RMSNorm before attention and
     * before the feed-forward part, rotary embedding of neighbouring pairs, SiLU-gated feed-forward or a
     * mixture of such experts (Touvron et al. 2023; Jiang et al. 2024). */
    {.name = "llama", .family = "Llama, Mistral, Mixtral", .rope = ROPE_PAIRS, .rope_factors = true,
     .norm = NORM_RMS, .renormalize = true},
    /* Three layers that see a chunk, then one that sees all and has no rotary embedding. */
    {.name = "llama4", .family = "Llama 4", .rope = ROPE_PAIRS, .rope_factors = true, .norm = NORM_RMS,
     .keys = KEY_EXPERT_WIDTH | KEY_MOE_STEP | KEY_WINDOW, .head_norm = HEADS_UNWEIGHTED,
     .no_rope = ROPE_NOT_IN_FOURTH, .window = WINDOW_CHUNKED, .window_size = 8192, .window_period = 4,
     .window_always = true, .window_fixed = true, .experts_only = true, .gating = MOE_SIGMOID,
     .share_input = true},
    {.name = "mistral3", .family = "Ministral 3", .rope = ROPE_PAIRS, .rope_factors = true,
     .norm = NORM_RMS, .keys = KEY_TEMPERATURE | KEY_YARN_MUL, .renormalize = true},
    {.name = "internlm2", .family = "InternLM 2", .rope = ROPE_PAIRS, .norm = NORM_RMS},
    {.name = "exaone", .family = "EXAONE 3", .rope = ROPE_HALVES, .rope_factors = true, .norm = NORM_RMS},
    {.name = "exaone4", .family = "EXAONE 4", .rope = ROPE_HALVES, .rope_factors = true, .norm = NORM_RMS,
     .norms = NORMS_AFTER, .keys = KEY_WINDOW | KEY_NEXTN, .head_norm = HEADS_NORMED,
     .no_rope = ROPE_IN_WINDOWED, .window = WINDOW_SLIDING, .window_period = 4, .window_layers = 64},
    {.name = "smollm3", .family = "SmolLM 3", .rope = ROPE_PAIRS, .norm = NORM_RMS,
     .no_rope = ROPE_NOT_IN_FOURTH},
    {.name = "ernie4_5", .family = "ERNIE 4.5", .rope = ROPE_PAIRS, .norm = NORM_RMS},
    {.name = "arcee", .family = "Arcee", .rope = ROPE_PAIRS, .rope_factors = true, .norm = NORM_RMS,
     .ffn = FFN_PLAIN, .act = ACT_RELU_SQR},
    {.name = "seed_oss", .family = "Seed OSS", .rope = ROPE_HALVES, .norm = NORM_RMS,
     .ffn_norm_late = true},
    {.name = "minicpm", .family = "MiniCPM", .rope = ROPE_PAIRS, .rope_factors = true, .norm = NORM_RMS,
     .keys = KEY_LOGIT_DIVISOR | KEY_RESIDUAL_SCALE | KEY_EMBED_SCALE, .mup_scales = true,
     .renormalize = true},
    {.name = "granite", .family = "Granite", .rope = ROPE_PAIRS, .rope_factors = true, .norm = NORM_RMS,
     .keys = GRANITE_KEYS | KEY_ROPE_OFF, .renormalize = true},
    {.name = "granitemoe", .family = "Granite MoE", .rope = ROPE_PAIRS, .rope_factors = true,
     .norm = NORM_RMS, .keys = GRANITE_KEYS, .renormalize = true},

    {.name = "qwen", .family = "Qwen", .rope = ROPE_HALVES, .norm = NORM_RMS, .biases = BIAS_QKV,
     .ffn_halved = true},
    {.name = "qwen2", .family = "Qwen 2", .rope = ROPE_HALVES, .norm = NORM_RMS},
    {.name = "qwen2moe", .family = "Qwen 2 MoE", .rope = ROPE_HALVES, .norm = NORM_RMS,
     .keys = KEY_EXPERT_WIDTH | KEY_SHARED_WIDTH, .experts_only = true, .shared_gate = true},
    {.name = "qwen3", .family = "Qwen 3", .rope = ROPE_HALVES, .norm = NORM_RMS, .head_norm = HEADS_NORMED},
    {.name = "qwen3moe", .family = "Qwen 3 MoE", .rope = ROPE_HALVES, .norm = NORM_RMS,
     .keys = KEY_EXPERT_WIDTH, .head_norm = HEADS_NORMED, .experts_only = true, .renormalize = true},

    {.name = "phi2", .family = "Phi 1-2", .rope = ROPE_HALVES, .norm = NORM_LAYER,
     .biases = BIAS_NORM | BIAS_OUT | BIAS_FFN | BIAS_HEAD, .parallel = PARALLEL_ALWAYS, .ffn = FFN_PLAIN,
     .act = ACT_GELU},
    /* The window that some files name is left aside: see docs/models.md. */
    {.name = "phi3", .family = "Phi 3-4", .rope = ROPE_HALVES, .rope_factors = true, .norm = NORM_RMS,
     .ffn = FFN_FUSED},
    {.name = "phimoe", .family = "Phi 3.5 MoE", .rope = ROPE_HALVES, .rope_factors = true,
     .norm = NORM_RMS, .biases = BIAS_NORM | BIAS_OUT | BIAS_HEAD, .experts_only = true,
     .renormalize = true},

    /* Gemma's converters store norm weights with 1 added. */
    {.name = "gemma", .family = "Gemma", .rope = ROPE_HALVES, .norm = NORM_RMS, .act = ACT_GELU,
     .embed_sqrt = true},
    {.name = "gemma2", .family = "Gemma 2", .rope = ROPE_HALVES, .norm = NORM_RMS, .norms = NORMS_AROUND,
     .keys = KEY_SOFTCAPS | KEY_WINDOW, .act = ACT_GELU, .embed_sqrt = true, .window = WINDOW_SLIDING,
     .window_size = 4096, .window_period = 2, .window_always = true, .attn_softcap = 50,
     .logit_softcap = 30, .wide_layers = 46},
    {.name = "gemma3", .family = "Gemma 3", .rope = ROPE_HALVES, .norm = NORM_RMS, .norms = NORMS_AROUND,
     .keys = KEY_SOFTCAPS | KEY_WINDOW, .head_norm = HEADS_NORMED, .act = ACT_GELU, .embed_sqrt = true,
     .window = WINDOW_SLIDING, .window_period = 6, .window_rope = WINDOW_ROPE_PLAIN, .window_base = 10000,
     .wide_layers = 62},

    {.name = "gpt-oss", .family = "gpt-oss", .rope = ROPE_HALVES, .norm = NORM_RMS,
     .keys = KEY_EXPERT_WIDTH | KEY_WINDOW, .biases = BIAS_OUT | BIAS_EXPERTS, .act = ACT_SWIGLU_OAI,
     .sinks = true, .yarn_unrounded = true, .ffn_norm_late = true, .window = WINDOW_SLIDING,
     .window_period = 2, .window_always = true, .experts_only = true, .gating = MOE_SOFTMAX_CHOSEN},

    {.name = "gpt2", .family = "GPT-2", .norm = NORM_LAYER, .positions = true,
     .biases = BIAS_NORM | BIAS_QKV | BIAS_OUT | BIAS_FFN, .ffn = FFN_PLAIN, .act = ACT_GELU},
    {.name = "starcoder", .family = "StarCoder", .norm = NORM_LAYER, .positions = true,
     .biases = BIAS_NORM | BIAS_QKV | BIAS_OUT | BIAS_FFN, .ffn = FFN_PLAIN, .act = ACT_GELU},
    {.name = "gptneox", .family = "GPT-NeoX, Pythia", .rope = ROPE_HALVES, .norm = NORM_LAYER,
     .keys = KEY_PARALLEL, .biases = BIAS_NORM | BIAS_QKV | BIAS_OUT | BIAS_FFN, .parallel = PARALLEL_KEY,
     .ffn = FFN_PLAIN, .act = ACT_GELU},
    {.name = "falcon", .family = "Falcon", .rope = ROPE_HALVES, .norm = NORM_LAYER, .second_norm = true,
     .biases = BIAS_NORM, .parallel = PARALLEL_ALWAYS, .ffn = FFN_PLAIN, .act = ACT_GELU},
    {.name = "mpt", .family = "MPT", .norm = NORM_LAYER, .mpt_extras = true, .keys = KEY_CLAMP | KEY_ALIBI,
     .head_norm = HEADS_WHOLE_OPTIONAL, .ffn = FFN_PLAIN, .act = ACT_GELU},
    {.name = "bloom", .family = "BLOOM", .norm = NORM_LAYER, .embed_norm = true, .alibi = true,
     .biases = BIAS_NORM | BIAS_QKV | BIAS_OUT | BIAS_FFN, .ffn = FFN_PLAIN, .act = ACT_GELU},
    {.name = "starcoder2", .family = "StarCoder 2", .rope = ROPE_HALVES, .norm = NORM_LAYER,
     .biases = BIAS_NORM, .ffn = FFN_PLAIN, .act = ACT_GELU},
    {.name = "nemotron", .family = "Nemotron, Minitron", .rope = ROPE_HALVES, .norm = NORM_LAYER,
     .biases = BIAS_NORM, .ffn = FFN_PLAIN, .act = ACT_RELU_SQR},
    {.name = "stablelm", .family = "StableLM", .rope = ROPE_HALVES, .norm = NORM_LAYER,
     .biases = BIAS_NORM, .head_norm = HEADS_OPTIONAL, .parallel = PARALLEL_UNNORMED},

    {.name = "command-r", .family = "Command R", .rope = ROPE_PAIRS, .norm = NORM_LAYER,
     .keys = KEY_LOGIT_SCALE, .head_norm = HEADS_OPTIONAL, .parallel = PARALLEL_ALWAYS},
    {.name = "cohere2", .family = "Command R7B", .rope = ROPE_PAIRS, .rope_factors = true,
     .norm = NORM_LAYER, .keys = KEY_LOGIT_SCALE | KEY_WINDOW, .parallel = PARALLEL_ALWAYS,
     .no_rope = ROPE_IN_WINDOWED, .window = WINDOW_SLIDING, .window_period = 4, .window_always = true},
    {.name = "olmo", .family = "OLMo", .rope = ROPE_PAIRS, .norm = NORM_LAYER, .keys = KEY_CLAMP,
     .norm_unweighted = true},
    {.name = "olmo2", .family = "OLMo 2-3", .rope = ROPE_HALVES, .norm = NORM_RMS, .no_biases = BIAS_QKV,
     .norms = NORMS_AFTER, .keys = KEY_WINDOW, .head_norm = HEADS_WHOLE, .window = WINDOW_SLIDING,
     .window_period = 4, .window_rope = WINDOW_ROPE_PLAIN},
    {.name = "olmoe", .family = "OLMoE", .rope = ROPE_HALVES, .norm = NORM_RMS, .no_biases = BIAS_QKV,
     .head_norm = HEADS_WHOLE, .experts_only = true},
    {.name = "glm4", .family = "GLM 4", .rope = ROPE_PAIRS, .norm = NORM_RMS, .norms = NORMS_AROUND,
     .keys = KEY_ROPE_SECTIONS | KEY_NEXTN, .ffn = FFN_FUSED},

    {.name = "glm4moe", .family = "GLM 4.5-4.6", .rope = ROPE_HALVES, .norm = NORM_RMS,
     .keys = SIGMOID_KEYS | KEY_ROPE_SECTIONS | KEY_NEXTN, .head_norm = HEADS_NORMED_OPTIONAL,
     .ffn_norm_late = true, .experts_only = true, .gating = MOE_SIGMOID},
    {.name = "dots1", .family = "dots.llm1", .rope = ROPE_HALVES, .norm = NORM_RMS, .keys = SIGMOID_KEYS,
     .head_norm = HEADS_NORMED, .experts_only = true},

    {.name = "deepseek", .family = "DeepSeek MoE", .rope = ROPE_PAIRS, .rope_factors = true,
     .norm = NORM_RMS, .keys = KEY_EXPERT_WIDTH | KEY_SHARED_COUNT | KEY_DENSE_LEAD | KEY_SHARE_SCALE,
     .experts_only = true},
    /* Latent attention; V2 and V3 differ in how experts are chosen (DeepSeek-AI 2024). */
    {.name = "deepseek2", .family = "DeepSeek V2-V3", .rope = ROPE_PAIRS, .norm = NORM_RMS,
     .keys = LATENT_KEYS, .yarn_mul_all = true, .experts_only = true},
    {.name = "mistral4", .family = "Mistral 4", .rope = ROPE_PAIRS, .norm = NORM_RMS, .keys = LATENT_KEYS,
     .experts_only = true},
    {.name = "minicpm3", .family = "MiniCPM 3", .rope = ROPE_HALVES, .rope_factors = true,
     .norm = NORM_RMS, .keys = KEY_LATENT, .mup_scales = true},

    /* Encoders.  BERT and RoBERTa (Devlin et al. 2018): norms after the sums; GELU by the error function, as
     * their authors have it.  Nomic's and Jina's third have rotary embedding in place of positions, Jina's
     * second ALiBi on both sides. */
    {.name = "bert", .family = "BERT, RoBERTa", .norm = NORM_LAYER, .norms = NORMS_AFTER_SUM,
     .biases = BIAS_NORM, .ffn = FFN_PLAIN, .act = ACT_GELU_ERF, .encoder = true, .positions = true,
     .embed_norm = true},
    {.name = "nomic-bert", .family = "Nomic Embed", .rope = ROPE_HALVES, .norm = NORM_LAYER,
     .no_biases = BIAS_FFN, .norms = NORMS_AFTER_SUM, .biases = BIAS_NORM, .encoder = true,
     .embed_norm = true},
    {.name = "nomic-bert-moe", .family = "Nomic Embed v2", .rope = ROPE_HALVES, .norm = NORM_LAYER,
     .norms = NORMS_AFTER_SUM, .keys = KEY_MOE_EVERY, .biases = BIAS_NORM, .ffn = FFN_PLAIN,
     .act = ACT_GELU_ERF, .encoder = true, .embed_norm = true},
    {.name = "jina-bert-v2", .family = "Jina Embeddings v2", .norm = NORM_LAYER, .second_norm = true,
     .norms = NORMS_AFTER_SUM, .biases = BIAS_NORM, .head_norm = HEADS_WHOLE_OPTIONAL, .ffn = FFN_FOUND,
     .act = ACT_GELU_ERF, .encoder = true, .embed_norm = true, .alibi = true},
    {.name = "jina-bert-v3", .family = "Jina Embeddings v3", .rope = ROPE_HALVES, .norm = NORM_LAYER,
     .norms = NORMS_AFTER_SUM, .biases = BIAS_NORM, .ffn = FFN_PLAIN, .act = ACT_GELU_ERF, .encoder = true,
     .embed_norm = true},
    /* One layer that sees all, then two that see a window (Warner et al. 2024). */
    {.name = "modern-bert", .family = "ModernBERT", .rope = ROPE_HALVES, .norm = NORM_LAYER,
     .keys = KEY_WINDOW | KEY_ACTIVATION, .ffn = FFN_FUSED, .act = ACT_GELU_ERF, .encoder = true,
     .embed_norm = true, .first_unnormed = true, .window = WINDOW_SYMMETRIC, .window_period = 3,
     .window_late = true, .window_rope = WINDOW_ROPE_PLAIN, .window_base = 10000},
    {.name = "eurobert", .family = "EuroBERT", .rope = ROPE_HALVES, .norm = NORM_RMS, .encoder = true},
    {.name = "llama-embed", .family = "Llama Embed", .rope = ROPE_PAIRS, .rope_factors = true,
     .norm = NORM_RMS, .encoder = true, .renormalize = true},
    {.name = "gemma-embedding", .family = "EmbeddingGemma", .rope = ROPE_HALVES, .norm = NORM_RMS,
     .norms = NORMS_AROUND, .keys = KEY_WINDOW, .head_norm = HEADS_NORMED, .act = ACT_GELU,
     .encoder = true, .embed_sqrt = true, .dense_out = true, .window = WINDOW_SYMMETRIC,
     .window_period = 6, .window_always = true, .window_rope = WINDOW_ROPE_PLAIN, .window_base = 10000},
};

const struct arch *arch_find(struct str name)
{
    for (size_t i = 0; i < COUNT_OF(table); i++)
        if (str_eq(name, str_of(table[i].name))) return &table[i];
    return NULL;
}

const struct arch *arch_at(int i)
{
    return i >= 0 && i < (int)COUNT_OF(table) ? &table[i] : NULL;
}

const char *arch_refusal(struct str name)
{
    static const char recurrent[] = "has recurrent layers, which are not supported";
    static const char pair[] = "is an encoder with a decoder behind it, which is not supported";
    static const struct {
        const char *name, *reason;
    } known[] = {
        {"mamba", recurrent},        {"mamba2", recurrent},         {"jamba", recurrent},
        {"falcon-h1", recurrent},    {"rwkv6", recurrent},          {"rwkv7", recurrent},
        {"rwkv6qwen2", recurrent},   {"arwkv7", recurrent},         {"granitehybrid", recurrent},
        {"nemotron_h", recurrent},   {"nemotron_h_moe", recurrent}, {"plamo2", recurrent},
        {"qwen3next", recurrent},    {"qwen35", recurrent},         {"qwen35moe", recurrent},
        {"kimi-linear", recurrent},  {"lfm2", recurrent},           {"lfm2moe", recurrent},
        {"minimax-01", recurrent},   {"t5", pair},
    };
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq(name, str_of(known[i].name))) return known[i].reason;
    return NULL;
}
