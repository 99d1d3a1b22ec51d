/* hollow.h - for tests: makes whole models of hollow GGUF files, which have everything but the tensors' data.
 *
 * The data follow from the tensors' names by the rule that tools/golden/hollow.py tells; the bits are the
 * same there and here: only integers, and sums that float64 holds exactly. */
#ifndef HOLLOW_H
#define HOLLOW_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "convert.h"
#include "gguf_write.h"
#include "mem.h"

enum { HOLLOW_BYTES = 64 << 20 }; /* a model is smaller */

/* ---- the generator ------------------------------------------------------------------------------- */

/* Word i of the stream of a seed, which is str_hash() of a name. */
static inline uint64_t hollow_word(uint64_t seed, uint64_t i)
{
    uint64_t x = seed + (i + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

/* Token i of the prompt of a model. */
static inline int32_t hollow_id(const char *model, uint64_t i, int n_vocab)
{
    char name[128];
    snprintf(name, sizeof name, "%s.ids", model);
    return (int32_t)((hollow_word(str_hash(str_of(name)), i) >> 40) % (uint64_t)n_vocab);
}

struct hollow_rule {
    double mean;
    int shift;
};

static inline struct hollow_rule hollow_rule_of(const struct gguf_tensor *t)
{
    static const struct {
        const char *suffix;
        struct hollow_rule rule;
    } rules[] = {
        {".bias", {0, -2}},
        {"norm.weight", {1, -2}},
        {"norm_2.weight", {1, -2}},
        {"token_embd.weight", {0, 0}},
        {"position_embd.weight", {0, -1}},
        {"attn_sinks.weight", {0, 1}},
    };
    for (size_t i = 0; i < COUNT_OF(rules); i++)
        if (str_ends(t->name, str_of(rules[i].suffix))) return rules[i].rule;
    int shift = 0;
    while (ldexp(6, -2 * shift) < (double)t->shape[0]) shift--;
    return (struct hollow_rule){0, shift};
}

/* ---- numbers and blocks -------------------------------------------------------------------------- */

static inline float hollow_number(struct hollow_rule rule, uint64_t word)
{
    double u = (double)(word >> 40) / 0x1p23 - 1;
    return (float)(rule.mean + ldexp(u, rule.shift));
}

static const struct hollow_format { /* of a block: offsets and powers of two, as BLOCKS in hollow.py */
    int at, unit;
    bool is_signed;
    int minimum, above; /* minimum 0: none */
    bool added;
} hollow_formats[DTYPE_COUNT] = {
    [DTYPE_Q4_0] = {0, -4, true, 0, 0, false},
    [DTYPE_Q4_1] = {0, -4, false, 2, 3, true},
    [DTYPE_Q5_0] = {0, -5, true, 0, 0, false},
    [DTYPE_Q5_1] = {0, -5, false, 2, 4, true},
    [DTYPE_Q8_0] = {0, -8, true, 0, 0, false},
    [DTYPE_Q2_K] = {80, -5, false, 82, 0, false},
    [DTYPE_Q3_K] = {108, -7, true, 0, 0, false},
    [DTYPE_Q4_K] = {0, -9, false, 2, 3, false},
    [DTYPE_Q5_K] = {0, -10, false, 2, 4, false},
    [DTYPE_Q6_K] = {208, -12, true, 0, 0, false},
    [DTYPE_IQ4_NL] = {0, -8, true, 0, 0, false},
    [DTYPE_IQ4_XS] = {0, -12, true, 0, 0, false},
};

static inline uint16_t hollow_f16(uint16_t bits, int exponent, uint16_t keep)
{
    return (uint16_t)((bits & keep) | (exponent > -14 ? exponent + 15 : 1) << 10);
}

static inline void hollow_dress(enum dtype dtype, int shift, uint8_t *block)
{
    const struct hollow_format *f = &hollow_formats[dtype];
    uint16_t scale, minimum;
    if (dtype == DTYPE_MXFP4) {
        block[0] = (uint8_t)(127 + shift - 2 - (block[0] & 1));
        return;
    }
    int exponent = shift + f->unit;
    memcpy(&scale, block + f->at, 2);
    scale = hollow_f16(scale, exponent, f->is_signed ? 0x83ff : 0x03ff);
    memcpy(block + f->at, &scale, 2);
    if (f->minimum) {
        minimum = hollow_f16(scale, (exponent > -14 ? exponent : -14) + f->above, 0x03ff);
        if (f->added) minimum |= 0x8000;
        memcpy(block + f->minimum, &minimum, 2);
    }
    if (dtype == DTYPE_Q8_0) /* no encoder writes -128 */
        for (int i = 2; i < 34; i++) block[i] = block[i] == 0x80 ? 0 : block[i];
}

static inline void hollow_blocks(uint8_t *out, const struct gguf_tensor *t)
{
    uint64_t seed = str_hash(t->name);
    size_t size = dtype_info(t->dtype)->block_bytes;
    for (uint64_t i = 0; i < t->bytes; i += 8) {
        uint64_t word = hollow_word(seed, i / 8);
        memcpy(out + i, &word, MIN(8, t->bytes - i));
    }
    for (uint64_t i = 0; i < t->bytes; i += size) hollow_dress(t->dtype, hollow_rule_of(t).shift, out + i);
}

static inline void hollow_numbers(void *out, const struct gguf_tensor *t)
{
    struct hollow_rule rule = hollow_rule_of(t);
    uint64_t seed = str_hash(t->name), n = t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
    for (uint64_t i = 0; i < n; i++) {
        float x = hollow_number(rule, hollow_word(seed, i));
        if (t->dtype == DTYPE_F32)
            ((float *)out)[i] = x;
        else
            ((uint16_t *)out)[i] = t->dtype == DTYPE_F16 ? f16_of_float(x) : bf16_of_float(x);
    }
}

/* ---- the file ------------------------------------------------------------------------------------ */

/* What lies in the metadata instead, or NULL. */
static inline const struct gguf_value *hollow_given(const struct gguf *g, struct str name)
{
    char key[128];
    snprintf(key, sizeof key, "hollow.%.*s", (int)name.n, name.p);
    return gguf_find(g, key);
}

static inline int hollow_write_tensor(struct gguf_writer *w, const struct gguf *g, const struct gguf_tensor *t,
                                      struct redline_err *err)
{
    const struct gguf_value *given = hollow_given(g, t->name);
    if (given) return gguf_write_data(w, given->data, (size_t)t->bytes, err);
    uint8_t *bytes = mem_new((size_t)t->bytes, 1);
    if (!bytes) return err_memory(err, (size_t)t->bytes, "a tensor");
    if (dtype_info(t->dtype)->is_quantized)
        hollow_blocks(bytes, t);
    else
        hollow_numbers(bytes, t);
    int status = gguf_write_data(w, bytes, (size_t)t->bytes, err);
    mem_free(bytes);
    return status;
}

static inline int hollow_write(struct gguf_writer *w, const struct gguf *g, struct redline_err *err)
{
    for (uint64_t i = 0; i < g->n_values; i++)
        if (!str_starts(g->values[i].key, STR("hollow."))) TRY(gguf_write_value(w, &g->values[i], err));
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const struct gguf_tensor *t = &g->tensors[i];
        TRY(gguf_write_tensor(w, t->name, t->dtype, t->n_dims, t->shape, err));
    }
    for (uint64_t i = 0; i < g->n_tensors; i++) TRY(hollow_write_tensor(w, g, &g->tensors[i], err));
    return gguf_writer_finish(w, err);
}

/* Reads a hollow file, behind which there is memory enough for the tensors that it tells of. */
static inline int hollow_read(void *bytes, const char *path, struct redline_err *err)
{
    FILE *f = fopen(path, "rb");
    if (!f) return err_set(err, REDLINE_IO, "%s cannot be opened", path);
    size_t n = fread(bytes, 1, HOLLOW_BYTES / 2, f);
    fclose(f);
    return n ? 0 : err_set(err, REDLINE_IO, "%s is empty", path);
}

/* Writes the whole model; 0 or a status with the message in err. */
static inline int hollow_inflate(const char *from, const char *to, struct redline_err *err)
{
    struct gguf *g = NULL;
    struct gguf_writer *w = NULL;
    void *bytes = mem_new(HOLLOW_BYTES, 1);
    if (!bytes) return err_memory(err, HOLLOW_BYTES, "a hollow model");
    int status = hollow_read(bytes, from, err);
    if (!status) status = gguf_open_memory(&g, bytes, HOLLOW_BYTES, from, err);
    if (!status) status = gguf_writer_new(&w, to, 0, err);
    if (!status) status = hollow_write(w, g, err);
    gguf_writer_free(&w);
    gguf_close(&g);
    mem_free(bytes);
    return status;
}

#endif
