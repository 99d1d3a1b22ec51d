/* fuzz_gguf.c - libFuzzer target: open arbitrary bytes as a GGUF file and touch all that comes out.
 *
 * The bytes are copied into a heap block of exactly their size, so that a sanitizer sees a read one
 * byte past them.  replay.c runs the same function over the stored corpus in every build. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base.h"
#include "gguf.h"
#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static volatile uint64_t sink;

static void touch(const void *p, uint64_t n)
{
    const uint8_t *bytes = p;
    if (n) sink += bytes[0] + bytes[n - 1];
}

static void walk_items(const struct gguf_value *v)
{
    for (uint64_t i = 0; i < v->n; i++) {
        if (v->item_type == GGUF_STRING) {
            struct str s = gguf_string_at(v, i);
            touch(s.p, s.n);
        } else if (v->item_type == GGUF_F32 || v->item_type == GGUF_F64) {
            sink += gguf_float_at(v, i) > 0;
        } else {
            sink += (uint64_t)gguf_int_at(v, i);
        }
    }
}

/* Every kind of getter on every key; a refusal must come with a sentence. */
static void walk_getters(const struct gguf *g, const char *key)
{
    struct redline_err err = {0};
    uint32_t u32;
    float f32;
    bool flag;
    struct str text = {0};
    const struct gguf_value *array;
    int results[] = {
        gguf_get_u32(g, key, &u32, &err),
        gguf_get_f32(g, key, &f32, &err),
        gguf_get_bool(g, key, &flag, &err),
        gguf_get_string(g, key, &text, &err),
        gguf_get_array(g, key, GGUF_STRING, &array, &err),
        gguf_get_array(g, key, GGUF_I32, &array, &err),
        gguf_get_array(g, key, GGUF_F32, &array, &err),
        gguf_get_array(g, key, GGUF_BOOL, &array, &err),
    };
    for (size_t i = 0; i < COUNT_OF(results); i++)
        if (results[i] != 0 && results[i] != REDLINE_FORMAT) abort();
    if (!err.message[0]) abort(); /* no value can be of all kinds */
    touch(text.p, text.n);
}

static void walk(const struct gguf *g)
{
    for (uint64_t i = 0; i < g->n_values; i++) {
        const struct gguf_value *v = &g->values[i];
        char *key = mem_copy(v->key.p, v->key.n);
        if (!key || gguf_find(g, key) != v) abort();
        walk_getters(g, key);
        mem_free(key);
        walk_items(v);
    }
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        if (gguf_find_tensor(g, t->name) != t) abort();
        if (t->bytes == 0 || !dtype_info(t->dtype)) abort();
        touch(t->data, t->bytes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct gguf *g;
    struct redline_err err = {0};
    void *copy = malloc(n ? n : 1);
    if (!copy) return 0;
    if (n) memcpy(copy, bytes, n);
    int status = gguf_open_memory(&g, copy, n, "fuzz", &err);
    if (status && (status != err.code || !err.message[0] || g)) abort();
    if (status == 0) walk(g);
    gguf_close(&g);
    free(copy);
    return 0;
}
