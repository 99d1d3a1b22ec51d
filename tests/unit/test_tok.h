/* test_tok.h - what the tests of tokenizers share: GGUF files made in memory, and shorthand. */
#ifndef TEST_TOK_H
#define TEST_TOK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base.h"
#include "vocab.h"

/* Metadata on its way into a file. */
struct meta {
    struct buf values;
    uint64_t n;
    struct buf file; /* whole, once meta_open() has been called */
    struct gguf *gguf;
};

static inline void meta_bytes(struct meta *m, const void *p, size_t n)
{
    assert_int_equal(buf_append(&m->values, p, n, NULL), 0);
}

static inline void meta_text(struct meta *m, const char *s, size_t n)
{
    uint64_t length = n;
    meta_bytes(m, &length, 8);
    meta_bytes(m, s, n);
}

static inline void meta_key(struct meta *m, const char *key, uint32_t type)
{
    char whole[96];
    snprintf(whole, sizeof whole, "%s%s", strchr(key, '.') ? "" : "tokenizer.ggml.", key);
    meta_text(m, whole, strlen(whole));
    meta_bytes(m, &type, 4);
    m->n++;
}

static inline void meta_string(struct meta *m, const char *key, const char *value)
{
    meta_key(m, key, GGUF_STRING);
    meta_text(m, value, strlen(value));
}

static inline void meta_u32(struct meta *m, const char *key, uint32_t value)
{
    meta_key(m, key, GGUF_U32);
    meta_bytes(m, &value, 4);
}

static inline void meta_bool(struct meta *m, const char *key, bool value)
{
    meta_key(m, key, GGUF_BOOL);
    meta_bytes(m, &(char){value}, 1);
}

static inline void meta_array(struct meta *m, const char *key, uint32_t item, const void *p,
                              size_t size, uint64_t n)
{
    meta_key(m, key, GGUF_ARRAY);
    meta_bytes(m, &item, 4);
    meta_bytes(m, &n, 8);
    meta_bytes(m, p, size * n);
}

static inline void meta_strings(struct meta *m, const char *key, const char *const *texts,
                                uint64_t n)
{
    meta_key(m, key, GGUF_ARRAY);
    meta_bytes(m, &(uint32_t){GGUF_STRING}, 4);
    meta_bytes(m, &n, 8);
    for (uint64_t i = 0; i < n; i++) meta_text(m, texts[i], strlen(texts[i]));
}

static inline void meta_close(struct meta *m)
{
    gguf_close(&m->gguf);
    buf_free(&m->values);
    buf_free(&m->file);
}

/* The vocabulary of this metadata, or NULL and the status. */
static inline struct vocab *meta_open(struct meta *m, int *status, struct redline_err *err)
{
    struct {
        char magic[4];
        uint32_t version;
        uint64_t n_tensors, n_values;
    } head = {"GGUF", 3, 0, m->n};
    memcpy(head.magic, "GGUF", 4);
    assert_int_equal(buf_append(&m->file, &head, sizeof head, NULL), 0);
    assert_int_equal(buf_append(&m->file, m->values.p, m->values.n, NULL), 0);
    struct vocab *v = NULL;
    *err = (struct redline_err){0};
    if (gguf_open_memory(&m->gguf, m->file.p, m->file.n, "test", err)) fail_msg("%s", err->message);
    *status = vocab_open(&v, m->gguf, err);
    assert_true(*status ? v == NULL && err->message[0] : v != NULL);
    return v;
}

/* "1 2 3" */
static inline void assert_encodes(const struct vocab *v, struct str text, unsigned flags,
                                  const char *want)
{
    struct ids ids = {0};
    struct buf got = {0};
    struct redline_err err;
    if (vocab_encode(v, text, flags, &ids, &err)) fail_msg("%s", err.message);
    for (size_t i = 0; i < ids.n; i++)
        assert_int_equal(buf_printf(&got, NULL, "%s%d", i ? " " : "", ids.p[i]), 0);
    assert_string_equal(buf_str(&got).p, want);
    ids_free(&ids);
    buf_free(&got);
}

/* xorshift; tests say their seed by being the same each time. */
static inline uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static inline bool in_ci(void)
{
    const char *ci = getenv("CI");
    return ci && strcmp(ci, "true") == 0;
}

#endif
