/* mix.h - mixtures: which tensor of a model gets which element type under a name like Q4_K_M.
 *
 * The rules are llama.cpp's, so that a file made here has the size, the speed and the quality that
 * people know by that name; mix.c holds them as tables. */
#ifndef MIX_H
#define MIX_H

#include "dtype.h"
#include "str.h"

struct mix {
    const char *name;    /* "Q4_K_M" */
    enum dtype base;     /* of what no rule names */
    uint32_t file_type;  /* general.file_type */
};

struct mix_model {    /* what the rules ask about a model */
    struct str arch;  /* general.architecture */
    int n_layers;     /* block_count */
    int n_experts;
    int n_heads, n_kv_heads;
    bool weighted;    /* there is an importance matrix */
};

struct mix_tensor {
    struct str name;
    uint32_t n_dims;
    const uint64_t *shape; /* four of them */
    enum dtype from;       /* the type at hand: what a tensor keeps that is not to be quantised */
    size_t source;         /* the caller's own number, kept when tensors are sorted */
    enum dtype to;         /* mix_assign() writes this, and the next */
    bool fell_back;        /* rows do not divide into blocks of the type that was wanted */
};

const struct mix *mix_find(struct str name); /* case-insensitive, with llama.cpp's aliases; NULL: none */
const struct mix *mix_at(size_t i);          /* NULL behind the last */

/* By layer, then by name: for qsort().  The order in which the rules count. */
int mix_compare(const void *a, const void *b);

/* Chooses the type of every tensor.  The tensors are in the order of mix_compare(). */
void mix_assign(const struct mix *mix, const struct mix_model *model, struct mix_tensor *tensors,
                size_t n);

#endif
