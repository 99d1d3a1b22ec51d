/* hparams.c - metadata to struct hparams: a table of keys, then the rules that tie the numbers. */
#include "hparams.h"

#include <math.h>
#include <stdio.h>

#include "base.h"

enum { LIMIT_WIDTH = 1 << 20, LIMIT_VOCAB = 1 << 24, LIMIT_CTX = 1 << 28 };

struct int_key {
    const char *key; /* behind "<architecture>." */
    size_t offset;   /* of an int in struct hparams */
    int least, most;
    bool required;
    unsigned only;   /* for families that ask for one of these keys; 0: for all */
};

#define FIELD(name) offsetof(struct hparams, name)
static const struct int_key int_keys[] = {
    {"block_count", FIELD(n_layers), 1, HPARAMS_MAX_LAYERS, true, 0},
    {"embedding_length", FIELD(width), 1, LIMIT_WIDTH, true, 0},
    {"attention.head_count", FIELD(n_heads), 1, 65536, true, 0},
    {"attention.head_count_kv", FIELD(n_kv_heads), 0, 65536, false, 0},
    {"attention.key_length", FIELD(d_k), 0, 65536, false, 0},
    {"attention.value_length", FIELD(d_v), 0, 65536, false, 0},
    {"feed_forward_length", FIELD(ffn_width), 0, LIMIT_WIDTH, true, 0},
    {"context_length", FIELD(n_ctx_train), 1, LIMIT_CTX, true, 0},
    {"expert_count", FIELD(n_experts), 0, 65536, false, 0},
    {"expert_used_count", FIELD(n_experts_used), 0, 1024, false, 0},
    {"expert_feed_forward_length", FIELD(expert_width), 0, LIMIT_WIDTH, false, KEY_EXPERT_WIDTH},
    {"expert_shared_feed_forward_length", FIELD(shared_width), 0, LIMIT_WIDTH, false, KEY_SHARED_WIDTH},
    {"expert_shared_count", FIELD(shared_width), 0, 1024, false, KEY_SHARED_COUNT}, /* times a width, below */
    {"nextn_predict_layers", FIELD(n_layers_ahead), 0, HPARAMS_MAX_LAYERS, false, KEY_NEXTN},
    {"leading_dense_block_count", FIELD(n_dense_lead), 0, HPARAMS_MAX_LAYERS, false, KEY_DENSE_LEAD},
    {"moe_every_n_layers", FIELD(moe_step), 0, 2, false, KEY_MOE_EVERY}, /* of every 2 the second */
    {"interleave_moe_layer_step", FIELD(moe_step), 0, HPARAMS_MAX_LAYERS, true, KEY_MOE_STEP},
    {"expert_group_count", FIELD(n_groups), 0, MOE_MOST_GROUPS, false, KEY_MOE_GATE},
    {"expert_group_used_count", FIELD(n_groups_used), 0, MOE_MOST_GROUPS, false, KEY_MOE_GATE},
    {"attention.temperature_length", FIELD(temp_length), 0, LIMIT_CTX, false, KEY_LATENT},
    {"attention.q_lora_rank", FIELD(q_rank), 0, LIMIT_WIDTH, false, KEY_LATENT},
    {"attention.kv_lora_rank", FIELD(kv_rank), 1, LIMIT_WIDTH, true, KEY_LATENT},
    {"rope.dimension_count", FIELD(n_rot), 0, 65536, false, 0},
    {"rope.scaling.original_context_length", FIELD(rope_original_ctx), 0, LIMIT_CTX, false, 0},
};

struct float_key {
    const char *key;
    size_t offset; /* of a float */
    unsigned only;
};

static const struct float_key float_keys[] = {
    {"logit_scale", FIELD(logit_scale), KEY_LOGIT_SCALE | KEY_LOGIT_DIVISOR},
    {"residual_scale", FIELD(residual_scale), KEY_RESIDUAL_SCALE},
    {"embedding_scale", FIELD(embed_scale), KEY_EMBED_SCALE},
    {"attention.scale", FIELD(attn_scale), KEY_ATTN_SCALE},
    {"attn_logit_softcapping", FIELD(attn_softcap), KEY_SOFTCAPS},
    {"final_logit_softcapping", FIELD(logit_softcap), KEY_SOFTCAPS},
    {"attention.clamp_kqv", FIELD(clamp), KEY_CLAMP},
    {"attention.max_alibi_bias", FIELD(alibi), KEY_ALIBI},
    {"attention.temperature_scale", FIELD(temp_scale), KEY_TEMPERATURE},
    {"expert_weights_scale", FIELD(share_scale), KEY_SHARE_SCALE},
    {"rope.freq_base", FIELD(rope_base), 0},
    {"rope.freq_base_swa", FIELD(rope_base_window), KEY_WINDOW},
    {"rope.scale_linear", FIELD(rope_factor), 0},
    {"rope.scaling.factor", FIELD(rope_factor), 0},
    {"rope.scaling.attn_factor", FIELD(rope_attn_factor), 0},
    {"rope.scaling.yarn_ext_factor", FIELD(yarn_ext_factor), 0},
    {"rope.scaling.yarn_beta_fast", FIELD(yarn_beta_fast), 0},
    {"rope.scaling.yarn_beta_slow", FIELD(yarn_beta_slow), 0},
    {"rope.scaling.yarn_log_multiplier", FIELD(yarn_mul), KEY_YARN_MUL},
};

static bool asked(const struct arch *arch, unsigned only)
{
    return only == 0 || (arch->keys & only);
}

static const char *full_key(char *out, size_t n, const struct arch *arch, const char *key)
{
    snprintf(out, n, "%s.%s", arch->name, key);
    return out;
}

/* A number that the file may give once for all layers or as an array with one entry per layer; only
 * arrays that say the same for every layer fit this decoder. */
static int read_int(struct hparams *h, const struct gguf *g, const struct int_key *k,
                    struct redline_err *err)
{
    char key[128];
    full_key(key, sizeof key, h->arch, k->key);
    const struct gguf_value *v = gguf_find(g, key);
    if (!v && k->required) return err_set(err, REDLINE_FORMAT, "the metadata has no '%s'", key);
    if (!v) return 0;
    uint32_t value = 0;
    if (v->type == GGUF_ARRAY) {
        TRY(gguf_get_array(g, key, GGUF_I32, &v, err));
        if (v->n == 0) return err_set(err, REDLINE_FORMAT, "'%s' is an empty array", key);
        for (uint64_t i = 1; i < v->n; i++)
            if (gguf_int_at(v, i) != gguf_int_at(v, 0))
                return err_set(err, REDLINE_SUPPORT, "'%s' differs between layers (%lld and %lld)",
                               key, (long long)gguf_int_at(v, 0), (long long)gguf_int_at(v, i));
        int64_t first = gguf_int_at(v, 0);
        value = first < 0 || first > UINT32_MAX ? UINT32_MAX : (uint32_t)first;
    } else {
        TRY(gguf_get_u32(g, key, &value, err));
    }
    if (value < (uint32_t)k->least || value > (uint32_t)k->most)
        return err_set(err, REDLINE_FORMAT, "'%s' is %u, it must lie between %d and %d", key, value,
                       k->least, k->most);
    int n = (int)value;
    memcpy((char *)h + k->offset, &n, sizeof n);
    return 0;
}

static int read_scaling(struct hparams *h, const struct gguf *g, struct redline_err *err)
{
    static const struct {
        struct str name;
        enum rope_scaling value;
    } kinds[] = {
        {STR("none"), ROPE_SCALING_NONE},
        {STR("linear"), ROPE_SCALING_LINEAR},
        {STR("yarn"), ROPE_SCALING_YARN},
        {STR("longrope"), ROPE_SCALING_LONGROPE},
    };
    char key[128];
    struct str name = {"", 0};
    TRY(gguf_get_string(g, full_key(key, sizeof key, h->arch, "rope.scaling.type"), &name, err));
    if (name.n == 0) { /* older files give a bare factor */
        h->rope_scaling = h->rope_factor != 1 ? ROPE_SCALING_LINEAR : ROPE_SCALING_NONE;
        return 0;
    }
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (str_eq(name, kinds[i].name)) {
            h->rope_scaling = kinds[i].value;
            return 0;
        }
    return err_set(err, REDLINE_SUPPORT, "'%s' is '%s', known are none, linear, yarn and longrope", key,
                   GGUF_SHOW(name));
}

/* Files of families that know no pooling carry -1, 0 or 4294967295 here: all mean that nothing is said. */
static void read_pooling(struct hparams *h, const struct gguf *g)
{
    char key[128];
    const struct gguf_value *v = gguf_find(g, full_key(key, sizeof key, h->arch, "pooling_type"));
    if (!v || v->type == GGUF_STRING || v->type == GGUF_ARRAY || v->type == GGUF_F32 || v->type == GGUF_F64) return;
    int64_t kind = gguf_int_at(v, 0);
    if (kind >= 1 && kind <= 4) h->pooling = (int)kind;
}

/* Which layers have the window: a period (the last of every so many has none), or a flag for each. */
static int read_window_pattern(struct hparams *h, const struct gguf *g, struct redline_err *err)
{
    char key[128];
    const struct gguf_value *v =
        gguf_find(g, full_key(key, sizeof key, h->arch, "attention.sliding_window_pattern"));
    uint32_t period = (uint32_t)h->arch->window_period;
    if (v && v->type == GGUF_ARRAY) {
        if (v->n < (uint64_t)h->n_layers || (v->item_type != GGUF_BOOL && gguf_get_array(g, key, GGUF_I32, &v, err)))
            return err_set(err, REDLINE_FORMAT, "'%s' must hold a flag for each of the %d layers", key, h->n_layers);
        for (int i = 0; i < h->n_layers; i++)
            if (gguf_int_at(v, (uint64_t)i)) h->windowed[i / 64] |= UINT64_C(1) << (i % 64);
        return 0;
    }
    TRY(gguf_get_u32(g, key, &period, err));
    uint32_t full = h->arch->window_late ? 0 : period - 1; /* of a period */
    for (int i = 0; i < h->n_layers; i++)
        if (period == 0 || (uint32_t)i % period != full) h->windowed[i / 64] |= UINT64_C(1) << (i % 64);
    return 0;
}

static int read_window(struct hparams *h, const struct gguf *g, struct redline_err *err)
{
    const struct arch *arch = h->arch;
    char key[128];
    bool patterned = gguf_find(g, full_key(key, sizeof key, arch, "attention.sliding_window_pattern")) != NULL;
    if (arch->window == WINDOW_NONE) return 0;
    if (arch->window_layers && arch->window_layers != h->n_layers && !patterned) return 0;
    full_key(key, sizeof key, arch, "attention.sliding_window");
    bool off = arch->window_fixed && gguf_find(g, key); /* by 0; elsewhere 0 is as good as no key */
    uint32_t n = 0;
    TRY(gguf_get_u32(g, key, &n, err));
    if (n == 0 && !off) n = (uint32_t)arch->window_size;
    if (n == 0 && arch->window_always && !off) return err_set(err, REDLINE_FORMAT, "the metadata has no '%s'", key);
    if (n == 0) return 0;
    if (n > LIMIT_CTX) n = LIMIT_CTX;
    h->window = arch->window;
    h->n_window = arch->window_fixed ? arch->window_size : (int)n;
    return read_window_pattern(h, g, err);
}

/* How experts are chosen, where the file says it: gating function 1 softmax, 2 sigmoid. */
static int read_gating(struct hparams *h, const struct gguf *g, struct redline_err *err)
{
    char key[128];
    uint32_t gate = 0;
    h->gating = h->arch->gating;
    h->renormalize = h->arch->renormalize;
    if (!(h->arch->keys & KEY_MOE_GATE)) return 0;
    TRY(gguf_get_bool(g, full_key(key, sizeof key, h->arch, "expert_weights_norm"), &h->renormalize, err));
    TRY(gguf_get_u32(g, full_key(key, sizeof key, h->arch, "expert_gating_func"), &gate, err));
    if (gate > 2)
        return err_set(err, REDLINE_SUPPORT, "'%s' is %u, known are 1 (softmax) and 2 (sigmoid)", key, gate);
    if (gate > 0) h->gating = gate == 2 ? MOE_SIGMOID : MOE_SOFTMAX;
    if (h->n_groups <= 1) return 0;
    bool fits = h->n_experts % h->n_groups == 0 && h->n_groups_used >= 1 && h->n_groups_used <= h->n_groups &&
                h->n_experts_used <= h->n_experts / h->n_groups * h->n_groups_used;
    if (!fits)
        return err_set(err, REDLINE_FORMAT, "%d of %d experts in %d groups, of which %d are used", h->n_experts_used,
                       h->n_experts, h->n_groups, h->n_groups_used);
    return 0;
}

/* Head sizes "of multi-head attention" are those of a head; without them key_length and value_length are,
 * and the file has the older tensors, from which keys and values are expanded. */
static int read_latent(struct hparams *h, const struct gguf *g, struct redline_err *err)
{
    char key[128];
    uint32_t d_k = 0, d_v = 0;
    if (!(h->arch->keys & KEY_LATENT)) return 0;
    TRY(gguf_get_u32(g, full_key(key, sizeof key, h->arch, "attention.key_length_mla"), &d_k, err));
    TRY(gguf_get_u32(g, full_key(key, sizeof key, h->arch, "attention.value_length_mla"), &d_v, err));
    h->absorbed = d_k != 0 && d_v != 0;
    if (d_k > 65536 || d_v > 65536) return err_set(err, REDLINE_FORMAT, "heads of %u and %u numbers", d_k, d_v);
    if (h->absorbed) {
        h->d_k = (int)d_k;
        h->d_v = (int)d_v;
    }
    h->n_kv_heads = h->n_heads; /* as far as the arithmetic goes; see hparams_kv_shape() */
    h->d_v_head = h->d_v;
    h->d_nope = h->d_k - h->n_rot;
    if (h->d_nope < 0 || h->d_v < 1)
        return err_set(err, REDLINE_FORMAT, "keys of %d numbers, %d of them rotated, and values of %d", h->d_k,
                       h->n_rot, h->d_v);
    return 0;
}

/* Zero stands for "absent" in files of several converters. */
static void fill_defaults(struct hparams *h)
{
    const struct arch *arch = h->arch;
    if (h->n_kv_heads == 0) h->n_kv_heads = h->n_heads;
    if (h->d_k == 0) h->d_k = h->width / h->n_heads;
    if (h->d_v == 0) h->d_v = h->width / h->n_heads;
    if (h->n_rot == 0) h->n_rot = h->d_k;
    if (h->rope_base == 0) h->rope_base = 10000;
    if (h->rope_base_window == 0) h->rope_base_window = arch->window_base > 0 ? arch->window_base : h->rope_base;
    if (h->rope_factor == 0) h->rope_factor = 1;
    if (h->rope_attn_factor == 0) h->rope_attn_factor = 1;
    if (h->rope_original_ctx == 0) h->rope_original_ctx = h->n_ctx_train;
    if (h->yarn_ext_factor < 0) h->yarn_ext_factor = 1;
    if (h->yarn_beta_fast == 0) h->yarn_beta_fast = 32;
    if (h->yarn_beta_slow == 0) h->yarn_beta_slow = 1;
    if (h->attn_softcap == 0) h->attn_softcap = arch->attn_softcap;
    if (h->logit_softcap == 0) h->logit_softcap = arch->logit_softcap;
    if (h->share_scale == 0) h->share_scale = 1;
    if (h->embed_scale == 0) h->embed_scale = arch->embed_sqrt ? sqrtf((float)h->width) : arch->mup_scales ? 12 : 1;
    if (h->residual_scale == 0) h->residual_scale = arch->mup_scales ? 1.4f / sqrtf((float)h->n_layers) : 1;
    if (h->logit_scale == 0)
        h->logit_scale = arch->mup_scales ? 256 / (float)h->width : 1;
    else if (arch->keys & KEY_LOGIT_DIVISOR)
        h->logit_scale = 1 / h->logit_scale;
    if (arch->ffn_halved) h->ffn_width /= 2;
    if (arch->alibi) h->alibi = 8;
}

static void fill_attn_scale(struct hparams *h)
{
    int d = h->n_layers == h->arch->wide_layers ? h->width / h->n_heads : h->d_k;
    if (h->attn_scale == 0) h->attn_scale = 1 / sqrtf((float)d);
}

/* The widths of experts, shared experts among them. */
static void fill_expert_defaults(struct hparams *h)
{
    unsigned keys = h->arch->keys;
    bool per_used = (keys & KEY_EXPERT_WIDTH) && !(keys & (KEY_SHARED_COUNT | KEY_MOE_STEP)) && h->n_experts_used > 0;
    if (h->expert_width == 0) h->expert_width = per_used ? h->ffn_width / h->n_experts_used : h->ffn_width;
    if (keys & KEY_SHARED_COUNT) h->shared_width *= h->expert_width;
    if (keys & KEY_MOE_STEP) h->shared_width = h->expert_width;
    if (h->arch->shared_gate && h->shared_width == 0) h->shared_width = h->ffn_width;
    if (!(keys & (KEY_MOE_STEP | KEY_MOE_EVERY))) h->moe_step = 1;
    if (h->n_experts == 0) h->shared_width = 0;
}

/* What a family has of itself once it is known which layers have windows. */
static void fill_temperature(struct hparams *h)
{
    if (h->window == WINDOW_CHUNKED) {
        h->temp_scale = 0.1f;
        h->temp_offset = 1;
        h->temp_length = h->n_window;
    } else if (h->temp_scale != 0 && h->temp_length == 0 && !(h->arch->keys & KEY_LATENT)) {
        h->temp_length = h->rope_original_ctx;
    }
}

static int read_rope(struct hparams *h, const struct gguf *g, struct redline_err *err)
{
    char key[128];
    bool finetuned = true;
    h->rope = h->arch->rope;
    TRY(read_scaling(h, g, err));
    if (h->arch->keys & KEY_ROPE_OFF)
        TRY(gguf_get_bool(g, full_key(key, sizeof key, h->arch, "rope.scaling.finetuned"), &finetuned, err));
    if (!finetuned) h->rope = ROPE_NONE;
    if (h->arch->keys & KEY_LATENT) h->yarn_mul /= 0.1f; /* these files carry a tenth of it */
    if (!(h->arch->keys & KEY_ROPE_SECTIONS)) return 0;

    const struct gguf_value *v;
    TRY(gguf_get_array(g, full_key(key, sizeof key, h->arch, "rope.dimension_sections"), GGUF_I32, &v, err));
    int sections[4] = {0};
    for (uint64_t i = 0; v && i < MIN(v->n, 4); i++) {
        int64_t n = gguf_int_at(v, i);
        if (n < 0 || n > 65536) return err_set(err, REDLINE_FORMAT, "'%s' holds %lld", key, (long long)n);
        sections[i] = (int)n;
    }
    if (sections[0] == 0 || sections[1] == 0) return 0;
    memcpy(h->rope_sections, sections, sizeof sections);
    h->rope = ROPE_HALVES;
    return 0;
}

static int check_heads(const struct hparams *h, struct redline_err *err)
{
    if (h->d_k == 0 || h->d_v == 0)
        return err_set(err, REDLINE_FORMAT, "%d heads for a width of %d", h->n_heads, h->width);
    if (h->n_heads % h->n_kv_heads)
        return err_set(err, REDLINE_FORMAT, "%d heads cannot share %d KV heads evenly", h->n_heads,
                       h->n_kv_heads);
    if (h->rope != ROPE_NONE && (h->n_rot > h->d_k || h->n_rot % 2))
        return err_set(err, REDLINE_FORMAT, "%d rotated numbers in heads of %d", h->n_rot, h->d_k);
    if (h->temp_scale != 0 && h->temp_length == 0)
        return err_set(err, REDLINE_FORMAT, "a temperature of attention without its length");
    return 0;
}

static int check_experts(const struct hparams *h, struct redline_err *err)
{
    if (h->n_experts_used > h->n_experts || (h->n_experts > 0 && h->n_experts_used == 0))
        return err_set(err, REDLINE_FORMAT, "%d of %d experts are to be used", h->n_experts_used,
                       h->n_experts);
    if (h->arch->experts_only && h->n_experts == 0)
        return err_set(err, REDLINE_FORMAT, "a model of the family '%s' without experts", h->arch->name);
    if (h->n_experts > 0 && h->arch->parallel != PARALLEL_NEVER)
        return err_set(err, REDLINE_SUPPORT, "a model of the family '%s' with experts is not supported", h->arch->name);
    if (h->n_experts == 0 ? h->ffn_width == 0 : h->expert_width == 0)
        return err_set(err, REDLINE_FORMAT, "the feed-forward width is 0");
    return 0;
}

static int check_numbers(const struct hparams *h, struct redline_err *err)
{
    static const struct {
        const char *name;
        size_t offset;
    } finite[] = {
        {"scale of the embedding", FIELD(embed_scale)}, {"scale of residuals", FIELD(residual_scale)},
        {"scale of logits", FIELD(logit_scale)},        {"scale of attention", FIELD(attn_scale)},
        {"cap of scores", FIELD(attn_softcap)},         {"cap of logits", FIELD(logit_softcap)},
        {"clamp of q, k and v", FIELD(clamp)},          {"bias of ALiBi", FIELD(alibi)},
        {"scale of experts", FIELD(share_scale)},       {"temperature of attention", FIELD(temp_scale)},
        {"factor of YaRN", FIELD(yarn_mul)},            {"factor of rotation", FIELD(rope_attn_factor)},
        {"extent of YaRN", FIELD(yarn_ext_factor)},
    };
    for (size_t i = 0; i < COUNT_OF(finite); i++) {
        float x;
        memcpy(&x, (const char *)h + finite[i].offset, sizeof x);
        if (!isfinite(x)) return err_set(err, REDLINE_FORMAT, "the %s is %g", finite[i].name, (double)x);
    }
    if (h->attn_softcap < 0 || h->logit_softcap < 0 || h->clamp < 0)
        return err_set(err, REDLINE_FORMAT, "caps of scores, of logits and of q, k and v are %g, %g and %g",
                       (double)h->attn_softcap, (double)h->logit_softcap, (double)h->clamp);
    if (h->rope_scaling == ROPE_SCALING_YARN &&
        !(h->yarn_beta_fast > 0 && h->yarn_beta_slow > 0 && isfinite(h->yarn_beta_fast) &&
          isfinite(h->yarn_beta_slow) && h->rope_base != 1))
        return err_set(err, REDLINE_FORMAT, "YaRN between %g and %g turns with a rotary base of %g",
                       (double)h->yarn_beta_fast, (double)h->yarn_beta_slow, (double)h->rope_base);
    if (!(h->norm_eps > 0 && h->norm_eps < 1))
        return err_set(err, REDLINE_FORMAT, "'%s.attention.layer_norm_%s' is %g, it must lie between 0 and 1",
                       h->arch->name, h->arch->norm == NORM_RMS ? "rms_epsilon" : "epsilon", (double)h->norm_eps);
    if (!(h->rope_base > 0 && h->rope_base_window > 0 && h->rope_factor > 0 && isfinite(h->rope_base) &&
          isfinite(h->rope_base_window) && isfinite(h->rope_factor)))
        return err_set(err, REDLINE_FORMAT, "a rotary base of %g with a factor of %g",
                       (double)h->rope_base, (double)h->rope_factor);
    return 0;
}

/* A family may be used as an encoder: attention.causal is false then. */
static int read_encoder(struct hparams *h, const struct gguf *g, struct redline_err *err)
{
    char key[128];
    bool causal = true;
    TRY(gguf_get_bool(g, full_key(key, sizeof key, h->arch, "attention.causal"), &causal, err));
    h->encoder = h->arch->encoder || !causal;
    if (h->encoder && (h->window == WINDOW_SLIDING || h->window == WINDOW_CHUNKED))
        return err_set(err, REDLINE_SUPPORT, "windows of a decoder, with attention that looks ahead");
    return 0;
}

static int read_activation(struct hparams *h, const struct gguf *g, struct redline_err *err)
{
    static const struct {
        struct str name;
        enum activation act;
    } known[] = {
        {STR("gelu"), ACT_GELU_ERF},
        {STR("silu"), ACT_SILU},
    };
    char key[128];
    struct str name = {"", 0};
    h->act = h->arch->act;
    if (!(h->arch->keys & KEY_ACTIVATION)) return 0;
    TRY(gguf_get_string(g, full_key(key, sizeof key, h->arch, "hidden_activation"), &name, err));
    if (name.n == 0) return 0;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (str_eq(name, known[i].name)) {
            h->act = known[i].act;
            return 0;
        }
    return err_set(err, REDLINE_SUPPORT, "'%s' is '%s', known are gelu and silu", key, GGUF_SHOW(name));
}

/* Matrices behind the last norm have the widths that their tensors say. */
static int read_dense(struct hparams *h, const struct gguf *g, struct redline_err *err)
{
    const struct gguf_tensor *second = gguf_find_tensor(g, STR("dense_2.weight"));
    const struct gguf_tensor *third = gguf_find_tensor(g, STR("dense_3.weight"));
    h->embed_width = h->width;
    if (!h->arch->dense_out || (!second && !third)) return 0;
    if (!second || !third)
        return err_set(err, REDLINE_FORMAT, "there is no tensor 'dense_%d.weight'", second ? 3 : 2);
    uint64_t inner = second->shape[1], outer = third->shape[1];
    if (inner < 1 || outer < 1 || inner > LIMIT_WIDTH || outer > LIMIT_WIDTH)
        return err_set(err, REDLINE_FORMAT, "embeddings of %llu numbers made of %llu, the limit is %d",
                       (unsigned long long)outer, (unsigned long long)inner, LIMIT_WIDTH);
    h->dense_width = (int)inner;
    h->embed_width = (int)outer;
    return 0;
}

/* The vocabulary has as many tokens as the embedding has rows. */
static int read_vocab(struct hparams *h, const struct gguf *g, struct redline_err *err)
{
    const struct gguf_tensor *t = gguf_find_tensor(g, STR("token_embd.weight"));
    if (!t) return err_set(err, REDLINE_FORMAT, "there is no tensor 'token_embd.weight'");
    if (t->shape[1] < 1 || t->shape[1] > LIMIT_VOCAB)
        return err_set(err, REDLINE_FORMAT, "a vocabulary of %llu tokens, the limit is %d",
                       (unsigned long long)t->shape[1], LIMIT_VOCAB);
    h->n_vocab = (int)t->shape[1];
    return 0;
}

static int read_keys(struct hparams *h, const struct gguf *g, struct redline_err *err)
{
    char key[128];
    for (size_t i = 0; i < COUNT_OF(int_keys); i++)
        if (asked(h->arch, int_keys[i].only)) TRY(read_int(h, g, &int_keys[i], err));
    for (size_t i = 0; i < COUNT_OF(float_keys); i++)
        if (asked(h->arch, float_keys[i].only))
            TRY(gguf_get_f32(g, full_key(key, sizeof key, h->arch, float_keys[i].key),
                             (float *)((char *)h + float_keys[i].offset), err));
    const char *eps = h->arch->norm == NORM_RMS ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
    TRY(gguf_get_f32(g, full_key(key, sizeof key, h->arch, eps), &h->norm_eps, err));
    if (h->arch->keys & KEY_PARALLEL)
        TRY(gguf_get_bool(g, full_key(key, sizeof key, h->arch, "use_parallel_residual"), &h->parallel, err));
    if (h->n_layers_ahead >= h->n_layers)
        return err_set(err, REDLINE_FORMAT, "%d of %d layers predict further tokens", h->n_layers_ahead, h->n_layers);
    h->n_layers -= h->n_layers_ahead;
    return 0;
}

int hparams_read(struct hparams *out, const struct gguf *g, struct redline_err *err)
{
    struct hparams h = {.yarn_ext_factor = 1, .parallel = true};
    struct str name = {"", 0};
    TRY(gguf_get_string(g, "general.architecture", &name, err));
    if (name.n == 0)
        return err_set(err, REDLINE_FORMAT, "the metadata has no 'general.architecture'");
    h.arch = arch_find(name);
    const char *refusal = arch_refusal(name);
    if (!h.arch)
        return err_set(err, REDLINE_SUPPORT, "the architecture '%s' %s", GGUF_SHOW(name),
                       refusal ? refusal : "is not supported");
    TRY(read_keys(&h, g, err));
    fill_defaults(&h);
    fill_expert_defaults(&h);
    TRY(read_latent(&h, g, err));
    TRY(read_window(&h, g, err));
    TRY(read_gating(&h, g, err));
    fill_attn_scale(&h);
    fill_temperature(&h);
    TRY(read_rope(&h, g, err));
    TRY(check_heads(&h, err));
    TRY(check_experts(&h, err));
    TRY(check_numbers(&h, err));
    TRY(read_vocab(&h, g, err));
    TRY(read_encoder(&h, g, err));
    TRY(read_activation(&h, g, err));
    TRY(read_dense(&h, g, err));
    read_pooling(&h, g);
    *out = h;
    return 0;
}

bool hparams_windowed(const struct hparams *h, int layer)
{
    return h->window != WINDOW_NONE && (h->windowed[layer / 64] >> (layer % 64) & 1);
}

bool hparams_has_experts(const struct hparams *h, int layer)
{
    return h->n_experts > 0 && layer >= h->n_dense_lead && h->moe_step > 0 && (layer + 1) % h->moe_step == 0;
}

bool hparams_rotates(const struct hparams *h, int layer)
{
    const struct arch *arch = h->arch;
    if (h->rope == ROPE_NONE) return false;
    switch (arch->no_rope) {
    case ROPE_IN_ALL: return true;
    /* A family that has windows gives this up together with them. */
    case ROPE_IN_WINDOWED: return h->window == WINDOW_NONE || hparams_windowed(h, layer);
    case ROPE_NOT_IN_FOURTH:
        return (arch->window != WINDOW_NONE && h->window == WINDOW_NONE) || (layer + 1) % 4 != 0;
    }
    return true;
}

struct kv_shape hparams_kv_shape(const struct hparams *h)
{
    if (h->kv_rank > 0 && h->absorbed) return (struct kv_shape){1, h->kv_rank + h->n_rot, h->kv_rank, true};
    return (struct kv_shape){h->n_kv_heads, h->d_k, h->d_v, false};
}
