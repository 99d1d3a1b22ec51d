/* test_synth.c - made-up models: types of all tensors as llama.cpp's quantiser chooses them, bytes that depend on
 * the seed alone, weights of the deviation asked for, and that the engine runs them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base.h"
#include "check.h"
#include "fault.h"
#include "file.h"
#include "gguf.h"
#include "kern.h"
#include "mem.h"
#include "redline.h"
#include "scratch.h"
#include "synth.h"

static struct redline_err err;

/* ---- mixtures ------------------------------------------------------------------------------ */

/* str_hash() of the lines "name TYPE\n" of all tensors, in the order of the file, as `llama-quantize --dry-run`
 * (llama.cpp, 2026) lists them for an F16 model of this shape. */
static const struct {
    const char *shape, *mixture;
    uint64_t hash;
} choices[] = {
    {"stories15m", "Q8_0", 0xcb05a7f8255b7a2f}, /* 13 F32, 43 Q8_0 */
    {"stories15m", "Q6_K", 0x39f7bb015baba6bd}, /* 13 F32, 37 Q8_0, 6 Q6_K */
    {"stories15m", "Q5_K_M", 0x2fa7ddb3c6c5a1d5}, /* 13 F32, 3 Q8_0, 34 Q5_1, 4 Q5_K, 2 Q6_K */
    {"stories15m", "Q4_K_M", 0x0719a5bb900052ef}, /* 13 F32, 3 Q8_0, 34 Q5_0, 4 Q4_K, 2 Q6_K */
    {"stories15m", "Q4_K_S", 0x62634296b293acd5}, /* 13 F32, 1 Q8_0, 32 Q5_0, 4 Q5_1, 6 Q4_K */
    {"stories15m", "Q4_0", 0x5cf929b09f975d07}, /* 13 F32, 1 Q8_0, 42 Q4_0 */
    {"stories15m", "MXFP4", 0xcb05a7f8255b7a2f}, /* 13 F32, 43 Q8_0 */
    {"tinyllama-1.1b", "Q8_0", 0x7b6fc87de2c2cc14}, /* 156 Q8_0, 45 F32 */
    {"tinyllama-1.1b", "Q6_K", 0xa36ae5f12603ae06}, /* 156 Q6_K, 45 F32 */
    {"tinyllama-1.1b", "Q5_K_M", 0x9225460e450a05e7}, /* 21 Q6_K, 45 F32, 135 Q5_K */
    {"tinyllama-1.1b", "Q4_K_M", 0x2bae6efb314539f0}, /* 21 Q6_K, 45 F32, 135 Q4_K */
    {"tinyllama-1.1b", "Q4_K_S", 0x8fc98b4d49b7f54e}, /* 1 Q6_K, 45 F32, 149 Q4_K, 6 Q5_K */
    {"tinyllama-1.1b", "Q4_0", 0x3632d1dc6778b4b5}, /* 1 Q6_K, 45 F32, 155 Q4_0 */
    {"tinyllama-1.1b", "MXFP4", 0x7b6fc87de2c2cc14}, /* 156 Q8_0, 45 F32 */
    {"llama2-7b", "Q8_0", 0xc35edd5531870761}, /* 226 Q8_0, 65 F32 */
    {"llama2-7b", "Q6_K", 0xf6d10efe70cb16a7}, /* 226 Q6_K, 65 F32 */
    {"llama2-7b", "Q5_K_M", 0x820c4dd7ae1a8672}, /* 33 Q6_K, 65 F32, 193 Q5_K */
    {"llama2-7b", "Q4_K_M", 0xd1c27e4e03965e81}, /* 33 Q6_K, 65 F32, 193 Q4_K */
    {"llama2-7b", "Q4_K_S", 0xcc2cb1ea6ede9379}, /* 1 Q6_K, 65 F32, 217 Q4_K, 8 Q5_K */
    {"llama2-7b", "Q4_0", 0xc65ae6504ca31740}, /* 1 Q6_K, 65 F32, 225 Q4_0 */
    {"llama2-7b", "MXFP4", 0xc35edd5531870761}, /* 226 Q8_0, 65 F32 */
    {"llama3-8b", "Q8_0", 0xc35edd5531870761}, /* 226 Q8_0, 65 F32 */
    {"llama3-8b", "Q6_K", 0xf6d10efe70cb16a7}, /* 226 Q6_K, 65 F32 */
    {"llama3-8b", "Q5_K_M", 0x820c4dd7ae1a8672}, /* 33 Q6_K, 65 F32, 193 Q5_K */
    {"llama3-8b", "Q4_K_M", 0xd1c27e4e03965e81}, /* 33 Q6_K, 65 F32, 193 Q4_K */
    {"llama3-8b", "Q4_K_S", 0xcc2cb1ea6ede9379}, /* 1 Q6_K, 65 F32, 217 Q4_K, 8 Q5_K */
    {"llama3-8b", "Q4_0", 0xc65ae6504ca31740}, /* 1 Q6_K, 65 F32, 225 Q4_0 */
    {"llama3-8b", "MXFP4", 0xc35edd5531870761}, /* 226 Q8_0, 65 F32 */
    {"qwen3-4b", "Q8_0", 0x77e451267f1ec3bc}, /* 145 F32, 253 Q8_0 */
    {"qwen3-4b", "Q6_K", 0x8efa6d2b25dbc7d7}, /* 145 F32, 253 Q6_K */
    {"qwen3-4b", "Q5_K_M", 0x911a2c3bc13a4385}, /* 145 F32, 37 Q6_K, 216 Q5_K */
    {"qwen3-4b", "Q4_K_M", 0x870755b349ef833b}, /* 145 F32, 37 Q6_K, 216 Q4_K */
    {"qwen3-4b", "Q4_K_S", 0xbcd614549b31f1bf}, /* 145 F32, 1 Q6_K, 244 Q4_K, 8 Q5_K */
    {"qwen3-4b", "Q4_0", 0xdbef39fc2786b589}, /* 145 F32, 1 Q6_K, 252 Q4_0 */
    {"qwen3-4b", "MXFP4", 0x77e451267f1ec3bc}, /* 145 F32, 253 Q8_0 */
    {"phi-2", "Q8_0", 0x5acddbd71ce45f5a}, /* 195 F32, 130 Q8_0 */
    {"phi-2", "Q6_K", 0x1f8231b02b63017c}, /* 195 F32, 130 Q6_K */
    {"phi-2", "Q5_K_M", 0x90c0ba763a02e473}, /* 195 F32, 33 Q6_K, 97 Q5_K */
    {"phi-2", "Q4_K_M", 0x444ed9b4df383d0e}, /* 195 F32, 33 Q6_K, 97 Q4_K */
    {"phi-2", "Q4_K_S", 0x993c534f39f1425e}, /* 195 F32, 1 Q6_K, 121 Q4_K, 8 Q5_K */
    {"phi-2", "Q4_0", 0x3164bad389ffe1f9}, /* 195 F32, 1 Q6_K, 129 Q4_0 */
    {"phi-2", "MXFP4", 0x5acddbd71ce45f5a}, /* 195 F32, 130 Q8_0 */
    {"gpt-oss-20b", "Q8_0", 0x821caec4925ee031}, /* 170 Q8_0, 289 F32 */
    {"gpt-oss-20b", "Q6_K", 0x757be422d5d0c733}, /* 146 Q8_0, 289 F32, 24 Q6_K */
    {"gpt-oss-20b", "Q5_K_M", 0x2513b758ffc22435}, /* 25 Q8_0, 289 F32, 121 Q5_1, 24 Q5_K */
    {"gpt-oss-20b", "Q4_K_M", 0xb3594a4b56a0081a}, /* 25 Q8_0, 289 F32, 121 Q5_0, 24 Q4_K */
    {"gpt-oss-20b", "Q4_K_S", 0xf3891ef3e4768d55}, /* 1 Q8_0, 289 F32, 138 Q5_0, 24 Q4_K, 7 Q5_1 */
    {"gpt-oss-20b", "Q4_0", 0x0d9b50e3b435f5ed}, /* 1 Q8_0, 289 F32, 169 Q4_0 */
    {"gpt-oss-20b", "MXFP4", 0xb6d89e82406e09c9}, /* 98 Q8_0, 289 F32, 72 MXFP4 */
};

static uint64_t hash_of_choices(const struct shape *shape, const struct mix *mix)
{
    struct shape_tensor *parts;
    struct buf lines = {0};
    size_t n;
    struct mix_model model = {shape_arch(shape), shape->n_layers, shape->n_experts, shape->n_heads,
                              shape->n_kv_heads, false};
    OK(shape_tensors(shape, &parts, &n, &err));
    struct mix_tensor *tensors = calloc(n, sizeof *tensors);
    assert_non_null(tensors);
    for (size_t i = 0; i < n; i++)
        tensors[i] = (struct mix_tensor){.name = str_of(parts[i].name),
                                         .n_dims = parts[i].n_dims,
                                         .shape = parts[i].shape,
                                         .from = parts[i].matrix ? DTYPE_F16 : DTYPE_F32};
    qsort(tensors, n, sizeof *tensors, mix_compare);
    mix_assign(mix, &model, tensors, n);
    for (size_t i = 0; i < n; i++)
        OK(buf_printf(&lines, &err, "%.*s %s\n", STR_ARG(tensors[i].name), dtype_name(tensors[i].to)));
    uint64_t hash = str_hash(buf_str(&lines));
    buf_free(&lines);
    free(tensors);
    mem_free(parts);
    return hash;
}

static void types_are_llama_cpps(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(choices); i++) {
        const struct shape *shape = shape_find(str_of(choices[i].shape));
        const struct mix *mix = mix_find(str_of(choices[i].mixture));
        assert_non_null(shape);
        assert_non_null(mix);
        if (hash_of_choices(shape, mix) != choices[i].hash)
            fail_msg("%s as %s: other types than expected", choices[i].shape, choices[i].mixture);
    }
}

/* ---- small models -------------------------------------------------------------------------- */

static const struct made_special specials[] = {{392, "<|end|>", GGUF_TOKEN_CONTROL}};
static const struct made_vocab small_spm = {.kind = MADE_SPM, .pre = "default", .n_tokens = 400, .n_normal = 400,
                                            .bos = 1, .eos = 2, .unknown = 0, .padding = -1, .add_bos = 1};
static const struct made_vocab small_bpe = {
    .kind = MADE_BPE, .pre = "qwen2", .n_tokens = 400, .n_normal = 390, .specials = specials,
    .n_specials = COUNT_OF(specials), .filler = "[PAD%d]", .filler_type = GGUF_TOKEN_UNUSED,
    .bos = -1, .eos = 392, .unknown = -1, .padding = -1, .add_bos = 0};

/* Two layers with the family and the ratios of a real shape. */
static struct shape small_shape(const char *like)
{
    struct shape s = *shape_find(str_of(like));
    s.vocab = s.vocab->kind == MADE_SPM ? &small_spm : &small_bpe;
    s.n_layers = 2;
    s.width = 256;
    s.n_heads = 4;
    s.n_kv_heads = s.n_kv_heads == shape_find(str_of(like))->n_heads ? 4 : 2;
    s.head_size = 64;
    s.n_rot = s.n_rot < 64 ? s.n_rot : 64;
    s.ffn_width = s.n_experts ? 288 : 512; /* of which 256 is no divisor */
    s.n_experts = s.n_experts ? 4 : 0;
    s.n_used = s.n_used ? 2 : 0;
    return s;
}

static uint64_t hash_of_file(const char *path)
{
    struct buf bytes;
    OK(file_read(&bytes, path, &err));
    uint64_t hash = str_hash(buf_str(&bytes));
    buf_free(&bytes);
    return hash;
}

static uint64_t make(const char *like, const char *mixture, uint64_t seed, int n_threads)
{
    struct shape shape = small_shape(like);
    struct redline_synth_params params = {.seed = seed, .n_threads = n_threads};
    OK(synth_write(&shape, mix_find(str_of(mixture)), SCRATCH("m.gguf"), &params, NULL, &err));
    return hash_of_file(SCRATCH("m.gguf"));
}

/* These bytes are the same on every machine; who changes them on purpose writes the new hashes here. */
static const struct {
    const char *like, *mixture;
    uint64_t hash; /* of the file with seed 0 */
} goldens[] = {
    {"llama2-7b", "Q4_K_M", 0x6310fd4e96c16c9f},
    {"llama2-7b", "Q5_K_M", 0x2936a2ba7813943d},
    {"llama3-8b", "Q8_0", 0xafc5439adb3428b1},
    {"tinyllama-1.1b", "Q4_0", 0x9028f1df887e9d0a},
    {"qwen3-4b", "Q6_K", 0x6c5720e26462a3f9},
    {"phi-2", "F16", 0xda5decf79a43f051},
    {"phi-2", "F32", 0xc2bb29ad1b9dbf08},
    {"gpt-oss-20b", "MXFP4", 0x03c54c24527e4f8f},
    {"gpt-oss-20b", "Q4_K_M", 0xea7f082fc03b1243},
    {"gpt-oss-20b", "Q5_K_M", 0xfccc18442f0d02e8},
    {"qwen3-0.6b", "BF16", 0x4483552e7c31e734},
};

static void bytes_follow_from_the_seed(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(goldens); i++) {
        uint64_t hash = make(goldens[i].like, goldens[i].mixture, 0, 1);
        if (hash != goldens[i].hash)
            fail_msg("%s as %s: 0x%016llx", goldens[i].like, goldens[i].mixture, (unsigned long long)hash);
        assert_true(make(goldens[i].like, goldens[i].mixture, 0, 3) == hash);
        assert_true(make(goldens[i].like, goldens[i].mixture, 1, 2) != hash);
    }
}

/* Mean and deviation of every tensor of some size. */
static void check_weights(const struct gguf_tensor *t, const struct shape_tensor *part)
{
    uint64_t n = t->bytes / dtype_info(t->dtype)->block_bytes * dtype_info(t->dtype)->block_n;
    float *x = malloc(n * sizeof *x);
    double sum = 0, square = 0;
    assert_non_null(x);
    kern_scalar.decode[t->dtype](x, t->data, n);
    for (uint64_t i = 0; i < n; i++) {
        assert_true(isfinite(x[i]));
        sum += (double)x[i];
        square += ((double)x[i] - (double)part->mean) * ((double)x[i] - (double)part->mean);
    }
    double deviation = sqrt(square / (double)n), of_mean = (double)part->deviation / sqrt((double)n);
    if (fabs(sum / (double)n - (double)part->mean) > 8 * of_mean)
        fail_msg("%s %s: mean %g", part->name, dtype_name(t->dtype), sum / (double)n);
    /* the scales of blocks vary, so a block counts as one draw */
    double likely = 0.3 / sqrt((double)n / (double)dtype_info(t->dtype)->block_n);
    if (n >= 16384 && fabs(deviation / (double)part->deviation - 1) > 0.005 + 4 * likely)
        fail_msg("%s %s: deviation %g, must be %g", part->name, dtype_name(t->dtype), deviation,
                 (double)part->deviation);
    free(x);
}

static void weights_have_their_deviation(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(goldens); i++) {
        struct shape shape = small_shape(goldens[i].like);
        struct shape_tensor *parts;
        struct gguf *g;
        size_t n;
        make(goldens[i].like, goldens[i].mixture, 7, 0);
        OK(gguf_open(&g, SCRATCH("m.gguf"), &err));
        OK(shape_tensors(&shape, &parts, &n, &err));
        assert_int_equal(n, g->n_tensors);
        for (size_t j = 0; j < n; j++) {
            const struct gguf_tensor *t = gguf_find_tensor(g, str_of(parts[j].name));
            assert_non_null(t);
            assert_memory_equal(t->shape, parts[j].shape, sizeof t->shape);
            check_weights(t, &parts[j]);
        }
        mem_free(parts);
        gguf_close(&g);
    }
}

/* ---- the engine ---------------------------------------------------------------------------- */

static const char sentence[] = "The old man said: \"Think of 3 new words\", and she did.\n";

static void run_model(const struct redline_model *model)
{
    struct redline_engine *engine;
    struct redline_job *job;
    struct redline_event done;
    struct redline_engine_params params = {.n_ctx = 64, .n_threads = 1};
    int32_t *ids;
    size_t n;
    OK(redline_tokenize(model, sentence, sizeof sentence - 1, 0, &ids, &n, &err));
    assert_in_range(n, 10, sizeof sentence); /* words are tokens */
    OK(redline_engine_open(&engine, model, &params, &err));
    size_t n_vocab = redline_n_vocab(engine);
    float *logits = calloc(n * n_vocab, sizeof *logits);
    double square = 0;
    struct redline_request request = {.kind = REDLINE_SCORE, .ids = ids, .n_ids = n, .logits = logits};
    OK(redline_submit(&job, engine, &request, &err));
    OK(redline_wait(job, &done, &err));
    for (size_t i = 0; i < n * n_vocab; i++) {
        assert_true(isfinite(logits[i]));
        square += (double)logits[i] * (double)logits[i] / (double)(n * n_vocab);
    }
    assert_true(square > 0.25 && square < 4); /* 1 / sqrt(width) keeps the size */
    redline_job_free(&job);
    redline_engine_close(&engine);
    redline_free(ids);
    free(logits);
}

/* Every byte of the text comes back from its tokens, in vocabularies of both kinds. */
static void check_text(const struct redline_model *model)
{
    struct buf back = {0};
    int32_t *ids;
    size_t n, n_bytes;
    OK(redline_tokenize(model, sentence, sizeof sentence - 1, 0, &ids, &n, &err));
    for (size_t i = 0; i < n; i++) {
        char *text;
        OK(redline_piece(model, ids[i], false, &text, &n_bytes, &err));
        OK(buf_append(&back, text, n_bytes, &err));
        redline_free(text);
    }
    size_t space = back.n == sizeof sentence; /* SPM puts one before the first word */
    assert_int_equal(back.n - space, sizeof sentence - 1);
    assert_memory_equal(back.p + space, sentence, sizeof sentence - 1);
    buf_free(&back);
    redline_free(ids);
}

static void the_engine_runs_them(void **state)
{
    static const struct {
        const char *like, *mixture;
    } runs[] = {{"llama2-7b", "Q4_K_M"}, {"llama2-7b", "Q4_0"}, {"llama3-8b", "Q8_0"}, {"tinyllama-1.1b", "F16"}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(runs); i++) {
        struct redline_model *model;
        make(runs[i].like, runs[i].mixture, 3, 0);
        OK(redline_model_open(&model, SCRATCH("m.gguf"), &err));
        check_text(model);
        run_model(model);
        redline_model_close(&model);
    }
}

/* ---- failing ------------------------------------------------------------------------------- */

static void every_refused_allocation_is_said(void **state)
{
    struct shape shape = small_shape("llama2-7b");
    const struct mix *mix = mix_find(STR("Q4_0"));
    struct redline_synth_params params = {.n_threads = 2};
    (void)state;
    scratch_clear();
    fault_arm(FAULT_ALLOC, 0, false);
    OK(synth_write(&shape, mix, SCRATCH("m.gguf"), &params, NULL, &err));
    uint64_t n = fault_count(FAULT_ALLOC);
    assert_int_equal(scratch_clear(), 1);
    for (uint64_t i = 1; i <= n; i += i < 40 ? 1 : 7) {
        fault_arm(FAULT_ALLOC, i, false);
        assert_int_equal(synth_write(&shape, mix, SCRATCH("m.gguf"), &params, NULL, &err), REDLINE_MEMORY);
        assert_int_equal(scratch_clear(), 0);
    }
    fault_arm(FAULT_ALLOC, 0, false);
}

static void unknown_names_list_the_known(void **state)
{
    (void)state;
    assert_int_equal(redline_synth("llama2", "Q8_0", SCRATCH("m.gguf"), NULL, NULL, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "no shape 'llama2'; known are"));
    assert_non_null(strstr(err.message, "gpt-oss-20b"));
    assert_int_equal(redline_synth("llama2-7b", "Q9", SCRATCH("m.gguf"), NULL, NULL, &err), REDLINE_ARG);
    assert_non_null(strstr(err.message, "no type 'Q9'; known are"));
    assert_non_null(strstr(err.message, "MXFP4"));
    assert_int_equal(scratch_clear(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_are_llama_cpps),
        cmocka_unit_test(bytes_follow_from_the_seed),
        cmocka_unit_test(weights_have_their_deviation),
        cmocka_unit_test(the_engine_runs_them),
        cmocka_unit_test(every_refused_allocation_is_said),
        cmocka_unit_test(unknown_names_list_the_known),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
