/* hparams.c - metadata to struct hparams: a table of keys, then the rules that tie the numbers. */
#include "hparams.h"

#include <math.h>
#include <stdio.h>

#include "base.h"

enum { LIMIT_LAYERS = 4096, LIMIT_WIDTH = 1 << 20, LIMIT_VOCAB = 1 << 24, LIMIT_CTX = 1 << 28 };

struct int_key {
    const char *key; /* behind "<architecture>." */
    size_t offset;   /* of an int in struct hparams */
    int least, most;
    bool required;
};

#define FIELD(name) offsetof(struct hparams, name)
static const struct int_key int_keys[] = {
    {"block_count", FIELD(n_layers), 1, LIMIT_LAYERS, true},
    {"embedding_length", FIELD(width), 1, LIMIT_WIDTH, true},
    {"attention.head_count", FIELD(n_heads), 1, 65536, true},
    {"attention.head_count_kv", FIELD(n_kv_heads), 0, 65536, false},
    {"attention.key_length", FIELD(d_head), 0, 65536, false},
    {"feed_forward_length", FIELD(ffn_width), 0, LIMIT_WIDTH, true},
    {"context_length", FIELD(n_ctx_train), 1, LIMIT_CTX, true},
    {"expert_count", FIELD(n_experts), 0, 65536, false},
    {"expert_used_count", FIELD(n_experts_used), 0, 65536, false},
    {"expert_feed_forward_length", FIELD(expert_width), 0, LIMIT_WIDTH, false},
    {"rope.dimension_count", FIELD(n_rot), 0, 65536, false},
    {"rope.scaling.original_context_length", FIELD(rope_original_ctx), 0, LIMIT_CTX, false},
};

struct float_key {
    const char *key;
    size_t offset; /* of a float */
};

static const struct float_key float_keys[] = {
    {"attention.layer_norm_rms_epsilon", FIELD(norm_eps)},
    {"rope.freq_base", FIELD(rope_base)},
    {"rope.scale_linear", FIELD(rope_factor)},
    {"rope.scaling.factor", FIELD(rope_factor)},
    {"rope.scaling.attn_factor", FIELD(rope_attn_factor)},
    {"rope.scaling.yarn_ext_factor", FIELD(yarn_ext_factor)},
    {"rope.scaling.yarn_beta_fast", FIELD(yarn_beta_fast)},
    {"rope.scaling.yarn_beta_slow", FIELD(yarn_beta_slow)},
};

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
    return err_set(err, REDLINE_SUPPORT, "'%s' is '%.*s', known are none, linear and yarn", key,
                   STR_ARG(name));
}

/* Files of families that know no pooling carry -1, 0 or 4294967295 here: all mean that nothing is said. */
static void read_pooling(struct hparams *h, const struct gguf *g)
{
    char key[128];
    const struct gguf_value *v = gguf_find(g, full_key(key, sizeof key, h->arch, "pooling_type"));
    if (!v || v->type == GGUF_STRING || v->type == GGUF_ARRAY || v->type == GGUF_F32 || v->type == GGUF_F64) return;
    int64_t kind = gguf_int_at(v, 0);
    if (kind >= 1 && kind <= 3) h->pooling = (int)kind;
}

/* Zero stands for "absent" in files of several converters. */
static void fill_defaults(struct hparams *h)
{
    if (h->n_kv_heads == 0) h->n_kv_heads = h->n_heads;
    if (h->d_head == 0) h->d_head = h->width / h->n_heads;
    if (h->n_rot == 0) h->n_rot = h->d_head;
    if (h->rope_base == 0) h->rope_base = 10000;
    if (h->rope_factor == 0) h->rope_factor = 1;
    if (h->rope_attn_factor == 0) h->rope_attn_factor = 1;
    if (h->rope_original_ctx == 0) h->rope_original_ctx = h->n_ctx_train;
    if (h->expert_width == 0) h->expert_width = h->ffn_width;
}

static int check_relations(const struct hparams *h, const struct gguf *g, struct redline_err *err)
{
    char key[128];
    uint32_t d_v = (uint32_t)h->d_head;
    TRY(gguf_get_u32(g, full_key(key, sizeof key, h->arch, "attention.value_length"), &d_v, err));
    if (d_v != 0 && d_v != (uint32_t)h->d_head)
        return err_set(err, REDLINE_SUPPORT, "values of %u numbers beside keys of %d: not supported",
                       d_v, h->d_head);
    if (h->d_head == 0)
        return err_set(err, REDLINE_FORMAT, "%d heads for a width of %d", h->n_heads, h->width);
    if (h->n_heads % h->n_kv_heads)
        return err_set(err, REDLINE_FORMAT, "%d heads cannot share %d KV heads evenly", h->n_heads,
                       h->n_kv_heads);
    if (h->n_rot > h->d_head || h->n_rot % 2)
        return err_set(err, REDLINE_FORMAT, "%d rotated numbers in heads of %d", h->n_rot, h->d_head);
    if (h->n_experts_used > h->n_experts || (h->n_experts > 0 && h->n_experts_used == 0))
        return err_set(err, REDLINE_FORMAT, "%d of %d experts are to be used", h->n_experts_used,
                       h->n_experts);
    if (h->n_experts == 0 && h->ffn_width == 0)
        return err_set(err, REDLINE_FORMAT, "the feed-forward width is 0");
    if (!(h->norm_eps > 0 && h->norm_eps < 1))
        return err_set(err, REDLINE_FORMAT, "'%s' is %g, it must lie between 0 and 1",
                       full_key(key, sizeof key, h->arch, "attention.layer_norm_rms_epsilon"),
                       (double)h->norm_eps);
    if (!(h->rope_base > 0 && h->rope_factor > 0 && isfinite(h->rope_base) && isfinite(h->rope_factor)))
        return err_set(err, REDLINE_FORMAT, "a rotary base of %g with a factor of %g",
                       (double)h->rope_base, (double)h->rope_factor);
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

int hparams_read(struct hparams *out, const struct gguf *g, struct redline_err *err)
{
    struct hparams h = {.yarn_ext_factor = 1, .yarn_beta_fast = 32, .yarn_beta_slow = 1};
    struct str name = {"", 0};
    char key[128];
    TRY(gguf_get_string(g, "general.architecture", &name, err));
    if (name.n == 0)
        return err_set(err, REDLINE_FORMAT, "the metadata has no 'general.architecture'");
    h.arch = arch_find(name);
    if (!h.arch)
        return err_set(err, REDLINE_SUPPORT, "the architecture '%.*s' is not supported",
                       STR_ARG(name));
    for (size_t i = 0; i < COUNT_OF(int_keys); i++) TRY(read_int(&h, g, &int_keys[i], err));
    for (size_t i = 0; i < COUNT_OF(float_keys); i++)
        TRY(gguf_get_f32(g, full_key(key, sizeof key, h.arch, float_keys[i].key),
                         (float *)((char *)&h + float_keys[i].offset), err));
    fill_defaults(&h);
    TRY(read_scaling(&h, g, err));
    TRY(check_relations(&h, g, err));
    TRY(read_vocab(&h, g, err));
    read_pooling(&h, g);
    *out = h;
    return 0;
}
