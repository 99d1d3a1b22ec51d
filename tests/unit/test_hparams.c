/* test_hparams.c - metadata of every family: what counts, what does not, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base.h"
#include "gguf_bytes.h"
#include "hparams.h"

enum { LAYERS = 8, WIDTH = 64, VOCAB = 16 };

static struct redline_err err;

struct key { /* behind the family's name */
    const char *name;
    enum gguf_type type;
    double value;
    unsigned only; /* read by families with one of these enum arch_keys; 0: by all */
};

/* What all files have. */
static const struct key common[] = {
    {"block_count", GGUF_U32, LAYERS, 0},
    {"embedding_length", GGUF_U32, WIDTH, 0},
    {"attention.head_count", GGUF_U32, 4, 0},
    {"feed_forward_length", GGUF_U32, 128, 0},
    {"context_length", GGUF_U32, 256, 0},
    {"attention.layer_norm_rms_epsilon", GGUF_F32, 1e-5, 0},
    {"attention.layer_norm_epsilon", GGUF_F32, 1e-5, 0},
};

/* What some families cannot do without. */
static const struct key needed[] = {
    {"expert_count", GGUF_U32, 8, KEY_EXPERT_WIDTH},
    {"expert_used_count", GGUF_U32, 2, KEY_EXPERT_WIDTH},
    {"expert_feed_forward_length", GGUF_U32, 32, KEY_EXPERT_WIDTH},
    {"interleave_moe_layer_step", GGUF_U32, 2, KEY_MOE_STEP},
    {"attention.sliding_window", GGUF_U32, 32, KEY_WINDOW},
    {"attention.kv_lora_rank", GGUF_U32, 32, KEY_LATENT},
};

/* What a family reads only if its row asks for it, with values that would be felt. */
static const struct key optional[] = {
    {"expert_shared_feed_forward_length", GGUF_U32, 48, KEY_SHARED_WIDTH},
    {"expert_shared_count", GGUF_U32, 2, KEY_SHARED_COUNT},
    {"leading_dense_block_count", GGUF_U32, 1, KEY_DENSE_LEAD},
    {"moe_every_n_layers", GGUF_U32, 2, KEY_MOE_EVERY},
    {"interleave_moe_layer_step", GGUF_U32, 2, KEY_MOE_STEP},
    {"nextn_predict_layers", GGUF_U32, 1, KEY_NEXTN},
    {"expert_group_count", GGUF_U32, 4, KEY_MOE_GATE},
    {"expert_group_used_count", GGUF_U32, 2, KEY_MOE_GATE},
    {"expert_gating_func", GGUF_U32, 2, KEY_MOE_GATE},
    {"expert_feed_forward_length", GGUF_U32, 24, KEY_EXPERT_WIDTH},
    {"attention.q_lora_rank", GGUF_U32, 24, KEY_LATENT},
    {"attention.kv_lora_rank", GGUF_U32, 24, KEY_LATENT},
    {"attention.sliding_window", GGUF_U32, 24, KEY_WINDOW},
    {"attention.sliding_window_pattern", GGUF_U32, 5, KEY_WINDOW},
    {"rope.freq_base_swa", GGUF_F32, 777, KEY_WINDOW},
    {"logit_scale", GGUF_F32, 0.5, KEY_LOGIT_SCALE | KEY_LOGIT_DIVISOR},
    {"residual_scale", GGUF_F32, 0.5, KEY_RESIDUAL_SCALE},
    {"embedding_scale", GGUF_F32, 3, KEY_EMBED_SCALE},
    {"attention.scale", GGUF_F32, 0.3, KEY_ATTN_SCALE},
    {"attn_logit_softcapping", GGUF_F32, 11, KEY_SOFTCAPS},
    {"final_logit_softcapping", GGUF_F32, 12, KEY_SOFTCAPS},
    {"attention.clamp_kqv", GGUF_F32, 1, KEY_CLAMP},
    {"attention.max_alibi_bias", GGUF_F32, 8, KEY_ALIBI},
    {"expert_weights_scale", GGUF_F32, 2.5, KEY_SHARE_SCALE},
    {"rope.scaling.yarn_log_multiplier", GGUF_F32, 0.1, KEY_YARN_MUL},
    {"attention.temperature_scale", GGUF_F32, 0.1, KEY_TEMPERATURE},
};

struct file {
    struct bytes b;
    uint64_t n_values;
    const struct arch *arch;
};

static void put_value(struct file *f, const char *name, enum gguf_type type, double value)
{
    char key[128];
    snprintf(key, sizeof key, "%s.%s", f->arch->name, name);
    put_key(&f->b, key, type);
    if (type == GGUF_F32)
        put(&f->b, &(float){(float)value}, 4);
    else if (type == GGUF_BOOL)
        put_u8(&f->b, value != 0);
    else
        put_u32(&f->b, (uint32_t)value);
    f->n_values++;
}

static bool is_asked(const struct arch *arch, unsigned only)
{
    return only == 0 || (arch->keys & only);
}

static bool is_needed(const struct arch *arch, const char *name)
{
    for (size_t i = 0; i < COUNT_OF(needed); i++)
        if (is_asked(arch, needed[i].only) && strcmp(needed[i].name, name) == 0) return true;
    return false;
}

static void begin(struct file *f, const struct arch *arch)
{
    *f = (struct file){.arch = arch};
    put_key(&f->b, "general.architecture", GGUF_STRING);
    put_text(&f->b, arch->name);
    f->n_values = 1;
}

/* What the family needs, less the key called `without`. */
static void put_needed(struct file *f, const char *without)
{
    for (size_t i = 0; i < COUNT_OF(common); i++)
        if (!without || strcmp(common[i].name, without)) put_value(f, common[i].name, common[i].type, common[i].value);
    for (size_t i = 0; i < COUNT_OF(needed); i++)
        if (is_asked(f->arch, needed[i].only) && (!without || strcmp(needed[i].name, without)))
            put_value(f, needed[i].name, needed[i].type, needed[i].value);
    if (f->arch->experts_only && !(f->arch->keys & KEY_EXPERT_WIDTH)) {
        put_value(f, "expert_count", GGUF_U32, 8);
        put_value(f, "expert_used_count", GGUF_U32, 2);
    }
}

/* Reads what has been put, beside a token embedding. */
static int read_file(const struct file *f, struct hparams *out)
{
    static _Alignas(8) struct bytes all;
    struct gguf *g;
    all.n = 0;
    put_header(&all, 3, 1, f->n_values);
    put(&all, f->b.p, f->b.n);
    put_text(&all, "token_embd.weight");
    put_u32(&all, 2);
    put_u64(&all, WIDTH);
    put_u64(&all, VOCAB);
    put_u32(&all, DTYPE_F32);
    put_u64(&all, 0);
    while (all.n % 32) put_u8(&all, 0);
    for (int i = 0; i < WIDTH * VOCAB; i++) put_u32(&all, 0);
    int status = gguf_open_memory(&g, all.p, all.n, "test", &err);
    if (status) fail_msg("%s", err.message);
    status = hparams_read(out, g, &err);
    gguf_close(&g);
    return status;
}

/* ---- what counts --------------------------------------------------------------------------------- */

static void read_needed(const struct arch *arch, struct hparams *out)
{
    struct file f;
    begin(&f, arch);
    put_needed(&f, NULL);
    if (read_file(&f, out)) fail_msg("%s: %s", arch->name, err.message);
}

/* A file with all keys of other families reads the same as one without. */
static void test_foreign_keys(void **state)
{
    struct hparams want, got;
    struct file f;
    (void)state;
    for (int i = 0; arch_at(i); i++) {
        const struct arch *arch = arch_at(i);
        read_needed(arch, &want);
        begin(&f, arch);
        put_needed(&f, NULL);
        for (size_t k = 0; k < COUNT_OF(optional); k++)
            if (!is_asked(arch, optional[k].only)) put_value(&f, optional[k].name, optional[k].type, optional[k].value);
        if (read_file(&f, &got)) fail_msg("%s: %s", arch->name, err.message);
        if (memcmp(&want, &got, sizeof want)) fail_msg("%s: a foreign key counts", arch->name);
    }
}

/* ... and each key that the family asks for is felt, if it has a part to be felt in. */
static void test_own_keys(void **state)
{
    struct hparams want, got;
    struct file f;
    int n_felt = 0;
    (void)state;
    for (int i = 0; arch_at(i); i++)
        for (size_t k = 0; k < COUNT_OF(optional); k++) {
            const struct arch *arch = arch_at(i);
            if (!is_asked(arch, optional[k].only)) continue;
            read_needed(arch, &want);
            begin(&f, arch);
            put_needed(&f, optional[k].name);
            bool other_gate = strcmp(optional[k].name, "expert_gating_func") == 0 && arch->gating == MOE_SIGMOID;
            put_value(&f, optional[k].name, optional[k].type, other_gate ? 1 : optional[k].value);
            if (strcmp(optional[k].name, "attention.temperature_scale") == 0 && arch->keys & KEY_LATENT)
                put_value(&f, "attention.temperature_length", GGUF_U32, 64);
            if (strcmp(optional[k].name, "expert_group_count") == 0)
                put_value(&f, "expert_group_used_count", GGUF_U32, 2);
            if (read_file(&f, &got)) fail_msg("%s: %s: %s", arch->name, optional[k].name, err.message);
            bool felt = memcmp(&want, &got, sizeof want) != 0;
            bool dense = arch->keys & KEY_SHARED_WIDTH && !arch->experts_only; /* Granite: no experts in this file */
            bool may_not = dense || arch->window_fixed || arch->window_layers ||
                           strcmp(optional[k].name, "interleave_moe_layer_step") == 0;
            if (!felt && !may_not) fail_msg("%s: '%s' does not count", arch->name, optional[k].name);
            n_felt += felt;
        }
    assert_true(n_felt > 50);
}

/* Zeros stand for absence, but where they mean something: no window in Llama 4, YaRN's share, no dense layer. */
static void test_zeros(void **state)
{
    struct hparams want, got;
    struct file f;
    (void)state;
    for (int i = 0; arch_at(i); i++) {
        const struct arch *arch = arch_at(i);
        read_needed(arch, &want);
        begin(&f, arch);
        put_needed(&f, NULL);
        for (size_t k = 0; k < COUNT_OF(optional); k++) {
            bool pattern = strcmp(optional[k].name, "attention.sliding_window_pattern") == 0;
            if (!pattern && !is_needed(arch, optional[k].name)) put_value(&f, optional[k].name, optional[k].type, 0);
        }
        static const char *const more[] = {"attention.head_count_kv", "attention.key_length", "attention.value_length",
                                           "rope.dimension_count", "rope.scaling.original_context_length"};
        static const char *const floats[] = {"rope.freq_base", "rope.scaling.factor", "rope.scaling.attn_factor",
                                             "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow"};
        for (size_t k = 0; k < COUNT_OF(more); k++) put_value(&f, more[k], GGUF_U32, 0);
        for (size_t k = 0; k < COUNT_OF(floats); k++) put_value(&f, floats[k], GGUF_F32, 0);
        if (read_file(&f, &got)) fail_msg("%s: %s", arch->name, err.message);
        if (memcmp(&want, &got, sizeof want)) fail_msg("%s: a zero counts", arch->name);
    }
}

/* Nothing is guessed: a key that a family cannot do without is named when it is missing. */
static void test_missing_keys(void **state)
{
    static const char *const names[] = {"block_count", "embedding_length", "attention.head_count",
                                        "feed_forward_length", "context_length", "interleave_moe_layer_step",
                                        "attention.kv_lora_rank"};
    struct hparams h;
    struct file f;
    (void)state;
    for (int i = 0; arch_at(i); i++)
        for (size_t k = 0; k < COUNT_OF(names); k++) {
            const struct arch *arch = arch_at(i);
            if (k >= 5 && !is_needed(arch, names[k])) continue;
            begin(&f, arch);
            put_needed(&f, names[k]);
            if (read_file(&f, &h) != REDLINE_FORMAT || !strstr(err.message, names[k]))
                fail_msg("%s without %s: %s", arch->name, names[k], err.message);
        }
}

/* ---- layers -------------------------------------------------------------------------------------- */

static const struct arch *family(const char *name)
{
    return arch_find(str_of(name));
}

/* w: a layer with the window, r: rotated, e: with experts. */
static void check_layers(const char *name, const struct key *more, size_t n_more, const char *const *want)
{
    struct hparams h;
    struct file f;
    begin(&f, family(name));
    put_needed(&f, n_more ? more[0].name : NULL);
    for (size_t i = 0; i < n_more; i++) put_value(&f, more[i].name, more[i].type, more[i].value);
    if (read_file(&f, &h)) fail_msg("%s: %s", name, err.message);
    for (int i = 0; i < LAYERS; i++) {
        char got[4] = {0};
        size_t n = 0;
        if (hparams_windowed(&h, i)) got[n++] = 'w';
        if (hparams_rotates(&h, i)) got[n++] = 'r';
        if (hparams_has_experts(&h, i)) got[n++] = 'e';
        if (strcmp(got, want[i])) fail_msg("%s: layer %d is '%s', expected is '%s'", name, i, got, want[i]);
    }
}

static void test_layers(void **state)
{
    static const struct key off[] = {{"attention.sliding_window", GGUF_U32, 0, 0}};
    static const struct key period[] = {{"attention.sliding_window_pattern", GGUF_U32, 3, 0}};
    static const struct key lead[] = {{"leading_dense_block_count", GGUF_U32, 2, 0}};
    (void)state;
#define EXPECT(name, more, n, ...) check_layers(name, more, n, (const char *const[]){__VA_ARGS__})
    EXPECT("llama", NULL, 0, "r", "r", "r", "r", "r", "r", "r", "r");
    EXPECT("gpt2", NULL, 0, "", "", "", "", "", "", "", "");
    EXPECT("gemma2", NULL, 0, "wr", "r", "wr", "r", "wr", "r", "wr", "r");
    EXPECT("gemma3", NULL, 0, "wr", "wr", "wr", "wr", "wr", "r", "wr", "wr");
    EXPECT("gemma3", period, 1, "wr", "wr", "r", "wr", "wr", "r", "wr", "wr");
    EXPECT("gemma3", off, 1, "r", "r", "r", "r", "r", "r", "r", "r");
    EXPECT("gpt-oss", NULL, 0, "wre", "re", "wre", "re", "wre", "re", "wre", "re");
    EXPECT("cohere2", NULL, 0, "wr", "wr", "wr", "", "wr", "wr", "wr", "");
    EXPECT("smollm3", NULL, 0, "r", "r", "r", "", "r", "r", "r", "");
    EXPECT("llama4", NULL, 0, "wr", "wre", "wr", "e", "wr", "wre", "wr", "e");
    EXPECT("llama4", off, 1, "r", "re", "r", "re", "r", "re", "r", "re");
    EXPECT("deepseek", lead, 1, "r", "r", "re", "re", "re", "re", "re", "re");
    EXPECT("exaone4", NULL, 0, "r", "r", "r", "r", "r", "r", "r", "r");
    EXPECT("exaone4", period, 1, "wr", "wr", "", "wr", "wr", "", "wr", "wr");
}

/* A flag for each layer, as converters write it. */
static void test_window_flags(void **state)
{
    struct hparams h;
    struct file f;
    (void)state;
    for (int n = LAYERS - 1; n <= LAYERS; n++) {
        begin(&f, family("gemma3"));
        put_needed(&f, NULL);
        put_key(&f.b, "gemma3.attention.sliding_window_pattern", GGUF_ARRAY);
        put_u32(&f.b, GGUF_BOOL);
        put_u64(&f.b, (uint64_t)n);
        for (int i = 0; i < n; i++) put_u8(&f.b, i % 3 == 0);
        f.n_values++;
        int status = read_file(&f, &h);
        assert_int_equal(status, n < LAYERS ? REDLINE_FORMAT : 0);
        if (status) assert_non_null(strstr(err.message, "must hold a flag for each of the 8 layers"));
    }
    for (int i = 0; i < LAYERS; i++) assert_int_equal(hparams_windowed(&h, i), i % 3 == 0);
}

/* ---- what is refused ----------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    static const struct {
        const char *arch;
        struct key key;
        enum redline_status status;
        const char *says;
    } rows[] = {
        {"llama", {"attention.head_count", GGUF_U32, 3, 0}, REDLINE_FORMAT, "21 rotated numbers in heads of 21"},
        {"llama", {"attention.head_count_kv", GGUF_U32, 3, 0}, REDLINE_FORMAT, "cannot share 3 KV heads"},
        {"llama", {"rope.dimension_count", GGUF_U32, 100, 0}, REDLINE_FORMAT, "100 rotated numbers in heads of 16"},
        {"llama", {"rope.freq_base", GGUF_F32, -1, 0}, REDLINE_FORMAT, "a rotary base of -1"},
        {"llama", {"expert_used_count", GGUF_U32, 2, 0}, REDLINE_FORMAT, "2 of 0 experts"},
        {"qwen3moe", {"expert_count", GGUF_U32, 0, 0}, REDLINE_FORMAT, "experts"},
        {"qwen3moe", {"expert_used_count", GGUF_U32, 9, 0}, REDLINE_FORMAT, "9 of 8 experts"},
        {"granite", {"residual_scale", GGUF_F32, 1e300, 0}, REDLINE_FORMAT, "scale of residuals is inf"},
        {"gemma2", {"attention.layer_norm_rms_epsilon", GGUF_F32, 2, 0}, REDLINE_FORMAT, "between 0 and 1"},
        {"glm4", {"nextn_predict_layers", GGUF_U32, LAYERS, 0}, REDLINE_FORMAT, "8 of 8 layers predict further tokens"},
        {"deepseek2", {"expert_gating_func", GGUF_U32, 3, 0}, REDLINE_SUPPORT, "known are 1 (softmax) and 2 (sigmoid)"},
        {"deepseek2", {"expert_group_count", GGUF_U32, 3, 0}, REDLINE_FORMAT, "2 of 8 experts in 3 groups"},
        {"deepseek2", {"attention.temperature_scale", GGUF_F32, 1, 0}, REDLINE_FORMAT, "without its length"},
        {"deepseek2", {"attention.key_length_mla", GGUF_U32, 4, 0}, 0, NULL},
        {"gemma2", {"final_logit_softcapping", GGUF_F32, -30, 0}, REDLINE_FORMAT, "caps of scores"},
        {"mpt", {"attention.clamp_kqv", GGUF_F32, -1, 0}, REDLINE_FORMAT, "caps of scores"},
        {"llama", {"rope.scaling.attn_factor", GGUF_F32, INFINITY, 0}, REDLINE_FORMAT, "factor of rotation is inf"},
        {"llama", {"block_count", GGUF_U32, 5000, 0}, REDLINE_FORMAT, "must lie between 1 and 4096"},
    };
    struct hparams h;
    struct file f;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        begin(&f, family(rows[i].arch));
        put_needed(&f, rows[i].key.name);
        put_value(&f, rows[i].key.name, rows[i].key.type, rows[i].key.value);
        int status = read_file(&f, &h);
        if (status != (int)rows[i].status || (status && !strstr(err.message, rows[i].says)))
            fail_msg("%s, %s: status %d, %s", rows[i].arch, rows[i].key.name, status, status ? err.message : "");
    }
}

/* A family of parallel parts has none made of experts. */
static void test_parallel_experts(void **state)
{
    struct hparams h;
    struct file f;
    (void)state;
    for (int i = 0; arch_at(i); i++) {
        if (arch_at(i)->parallel == PARALLEL_NEVER) continue;
        begin(&f, arch_at(i));
        put_needed(&f, NULL);
        put_value(&f, "expert_count", GGUF_U32, 4);
        put_value(&f, "expert_used_count", GGUF_U32, 2);
        assert_int_equal(read_file(&f, &h), REDLINE_SUPPORT);
        assert_non_null(strstr(err.message, "with experts is not supported"));
    }
}

static void test_unknown(void **state)
{
    static const struct arch mamba = {.name = "mamba2"}, other = {.name = "nothing-like-it"};
    struct hparams h;
    struct file f;
    (void)state;
    begin(&f, &mamba);
    put_needed(&f, NULL);
    assert_int_equal(read_file(&f, &h), REDLINE_SUPPORT);
    assert_string_equal(err.message, "the architecture 'mamba2' has recurrent layers, which are not supported");
    begin(&f, &other);
    put_needed(&f, NULL);
    assert_int_equal(read_file(&f, &h), REDLINE_SUPPORT);
    assert_string_equal(err.message, "the architecture 'nothing-like-it' is not supported");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foreign_keys), cmocka_unit_test(test_own_keys), cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_missing_keys), cmocka_unit_test(test_layers),   cmocka_unit_test(test_window_flags),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_unknown),  cmocka_unit_test(test_parallel_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
