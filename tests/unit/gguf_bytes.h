/* gguf_bytes.h - for tests: builds the bytes of GGUF files, right or wrong, piece by piece. */
#ifndef GGUF_BYTES_H
#define GGUF_BYTES_H

#include <stdlib.h>

#include "gguf.h"

struct bytes {
    size_t n;
    unsigned char p[8192];
};

static inline void put(struct bytes *b, const void *p, size_t n)
{
    if (n > sizeof b->p - b->n) abort();
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

static inline void put_u8(struct bytes *b, uint8_t x)
{
    put(b, &x, sizeof x);
}

static inline void put_u32(struct bytes *b, uint32_t x)
{
    put(b, &x, sizeof x);
}

static inline void put_u64(struct bytes *b, uint64_t x)
{
    put(b, &x, sizeof x);
}

static inline void put_text(struct bytes *b, const char *s)
{
    put_u64(b, strlen(s));
    put(b, s, strlen(s));
}

static inline void put_header(struct bytes *b, uint32_t version, uint64_t n_tensors,
                              uint64_t n_values)
{
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_values);
}

static inline void put_key(struct bytes *b, const char *key, uint32_t type)
{
    put_text(b, key);
    put_u32(b, type);
}

static inline void put_key_u32(struct bytes *b, const char *key, uint32_t value)
{
    put_key(b, key, GGUF_U32);
    put_u32(b, value);
}

static inline void put_array(struct bytes *b, const char *key, uint32_t item, uint64_t n)
{
    put_key(b, key, GGUF_ARRAY);
    put_u32(b, item);
    put_u64(b, n);
}

/* The description of a tensor of one or two dimensions; d1 = 0: one. */
static inline void put_tensor(struct bytes *b, const char *name, uint32_t dtype, uint64_t d0,
                              uint64_t d1, uint64_t offset)
{
    put_text(b, name);
    put_u32(b, d1 ? 2 : 1);
    put_u64(b, d0);
    if (d1) put_u64(b, d1);
    put_u32(b, dtype);
    put_u64(b, offset);
}

/* Zeros up to a multiple of alignment, then n bytes of data. */
static inline void put_data(struct bytes *b, size_t alignment, size_t n)
{
    while (b->n % alignment) put_u8(b, 0);
    for (size_t i = 0; i < n; i++) put_u8(b, (uint8_t)(i + 1));
}

/* A small valid file that has one of everything; its last byte is the last one of a tensor. */
static inline void put_sample(struct bytes *b, uint32_t version)
{
    put_header(b, version, 2, 4);
    put_key_u32(b, "general.alignment", 64);
    put_key(b, "text", GGUF_STRING);
    put_text(b, "hello");
    put_array(b, "words", GGUF_STRING, 2);
    put_text(b, "one");
    put_text(b, "");
    put_array(b, "flags", GGUF_BOOL, 3);
    put(b, "\1\0\1", 3);
    put_tensor(b, "a", DTYPE_F32, 3, 2, 0);
    put_tensor(b, "b", DTYPE_Q8_0, 32, 0, 64);
    put_data(b, 64, 64 + 34);
}

#endif
