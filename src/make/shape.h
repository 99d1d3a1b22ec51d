/* shape.h - the shapes of real models: their numbers, the values that their files carry, the tensors
 * that they are made of.  A shape is a row, a family a table of keys and tensors.
 *
 * Letters as in ARCHITECTURE.md: D width, H heads, K KV heads, d head size, F ffn width, V vocabulary,
 * L layers, E experts. */
#ifndef SHAPE_H
#define SHAPE_H

#include "gguf_write.h"
#include "made_vocab.h"

struct shape {
    const char *name;  /* "llama2-7b" */
    const char *title; /* "Llama 2 7B" */
    const struct shape_family *family;
    const struct made_vocab *vocab;
    int n_layers, width, n_heads, n_kv_heads, head_size, ffn_width, n_ctx;
    float eps, freq_base;
    int n_rot;         /* elements of a head that are rotated */
    bool tied;         /* the embedding is the output matrix, too */
    int n_experts, n_used, window, n_ctx_orig;
    float rope_factor;
};

const struct shape *shape_find(struct str name);
const struct shape *shape_at(size_t i); /* NULL behind the last */
struct str shape_arch(const struct shape *shape);

/* The values of the architecture ("llama.block_count" and its kin). */
int shape_write_values(const struct shape *shape, struct gguf_writer *w, struct redline_err *err);

struct shape_tensor {
    char name[64];
    uint32_t n_dims;
    uint64_t shape[4];
    float mean, deviation; /* of what it is filled with */
    bool matrix;           /* false: stays F32, whatever the mixture */
};

/* The tensors of a shape; *list is the caller's to mem_free(). */
int shape_tensors(const struct shape *shape, struct shape_tensor **list, size_t *n, struct redline_err *err);

#endif
