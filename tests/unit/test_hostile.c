/* test_hostile.c - models whose metadata lies: each number of a good file is replaced by a wrong one in turn.
 *
 * Whatever comes of it must be a sentence or a model that runs; the sanitizers see the rest.  The models are the
 * hollow ones of tests/data/families; see hollow.h. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "hollow.h"
#include "model.h"
#include "scratch.h"

enum { N_TOKENS = 70, MOST_BYTES = 8 << 20 };

static struct redline_err err;

static const char *const names[] = {
    "families/llama-yarn", "families/llama4", "families/gemma3", "families/gpt-oss", "families/deepseek3",
    "families/deepseek2-kv_b", "families/glm4", "families/granitemoe-shared", "families/mpt",
    "families/stablelm", "families/qwen2moe", "families/olmo3", "families/phi3-longrope-long",
    "encoders/bert", "encoders/modern-bert", "encoders/nomic-bert-moe",
};

static const uint32_t wrong_ints[] = {0, 1, 2, 3, 7, 63, 65, 4095, 65536, 1u << 20, 1u << 28, INT32_MAX, UINT32_MAX};
static const float wrong_floats[] = {0, -1, 1e-30f, 1e30f, INFINITY, NAN};

struct image {
    size_t n;
    char *good, *bad; /* MOST_BYTES each, 64-byte aligned */
};

static void load(struct image *image, const char *name)
{
    char hollow[512];
    snprintf(hollow, sizeof hollow, SOURCE_DIR "/tests/data/%s.gguf", name);
    if (hollow_inflate(hollow, SCRATCH("model.gguf"), &err)) fail_msg("%s: %s", name, err.message);
    FILE *f = fopen(SCRATCH("model.gguf"), "rb");
    assert_non_null(f);
    image->n = fread(image->good, 1, MOST_BYTES, f);
    assert_true(feof(f) && image->n < MOST_BYTES);
    fclose(f);
}

/* Feeds some tokens to whatever the file says it is. */
static int run(struct gguf *g)
{
    struct backend_params bp = {.n_threads = 2};
    struct model_params mp = {.type_k = DTYPE_F16, .type_v = DTYPE_Q8_0, .n_ctx = 320, .n_seqs = 1,
                              .n_ubatch = N_TOKENS, .n_outputs = 1};
    struct backend *b = NULL;
    struct model *m = NULL;
    int status = backend_cpu.open(&b, &bp, &err);
    if (!status) status = model_open(&m, g, b, &mp, &err);
    unsigned wanted = status || m->h.encoder ? MODEL_STATE : MODEL_LOGITS;
    for (int i = 0; i < N_TOKENS && !status; i++) status = model_add(m, 0, i % m->h.n_vocab, i ? 0 : wanted, &err);
    if (!status) status = model_run(m, &err);
    model_close(&m);
    if (b) b->ops->close(&b);
    return status;
}

/* Whether the model of the changed bytes runs; what it says otherwise must be a sentence. */
static bool survives(const struct image *image)
{
    struct gguf *g;
    err.message[0] = 0;
    int status = gguf_open_memory(&g, image->bad, image->n, "hostile", &err);
    if (!status) status = run(g);
    gguf_close(&g);
    if (status) assert_true(strlen(err.message) > 10);
    return status == 0;
}

/* Item i of value v of the good file, replaced by the k-th wrong number; false when there is none such. */
static bool change(struct image *image, const struct gguf_value *v, size_t k)
{
    enum gguf_type type = v->type == GGUF_ARRAY ? v->item_type : v->type;
    char *at = image->bad + ((const char *)v->data - image->good);
    memcpy(image->bad, image->good, image->n);
    switch (type) {
    case GGUF_U32: case GGUF_I32:
        if (k >= COUNT_OF(wrong_ints)) return false;
        memcpy(at, &wrong_ints[k], 4);
        return true;
    case GGUF_F32:
        if (k >= COUNT_OF(wrong_floats)) return false;
        memcpy(at, &wrong_floats[k], 4);
        return true;
    case GGUF_BOOL: *at = !*at; return k == 0;
    default: return false;
    }
}

static void test_lying_metadata(void **state)
{
    struct image image = {0, aligned_alloc(64, MOST_BYTES), aligned_alloc(64, MOST_BYTES)};
    int n_changed = 0, n_ran = 0;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct gguf *g;
        load(&image, names[i]);
        if (gguf_open_memory(&g, image.good, image.n, "good", &err)) fail_msg("%s: %s", names[i], err.message);
        for (uint64_t v = 0; v < g->n_values; v++) {
            if (str_starts(g->values[v].key, STR("hollow."))) continue; /* read by nobody but hollow.h */
            for (size_t k = 0; change(&image, &g->values[v], k); k++) {
                n_ran += survives(&image);
                n_changed++;
            }
        }
        gguf_close(&g);
    }
    print_message("%d changes, %d models ran\n", n_changed, n_ran);
    assert_true(n_changed > 1000 && n_ran > 100 && n_ran < n_changed);
    free(image.good);
    free(image.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lying_metadata)};
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
