/* step.h - one forward pass, written down before it is run.
 *
 * The decoder (model/) appends typed operations to a struct step, in the order of the paper; a backend
 * runs the list in its own way.  Nothing returns to the host inside a step.  A layer is five operations:
 *
 *     QKV      norm, the three projections, biases, rotary embedding, KV store
 *     ATTEND   attention of every token to its sequence
 *     PROJECT  output projection, added to the residual stream
 *     GLU      norm, gate and up projections, activation       } or one MOE for the four
 *     PROJECT  down projection, added to the residual stream   }
 *
 * Every pointer below is an address of the backend that runs the step.
 * Shapes: T tokens of the step, D width, H heads, K KV heads, d head size, F ffn width, V vocabulary,
 * E experts.  Activations are float32, row-major, one row per token.
 *
 * PROJECT and MOE end in a sum over their inner width: where a model is spread over several devices by
 * rows and columns, the all_reduce belongs exactly there. */
#ifndef STEP_H
#define STEP_H

#include <stdbool.h>
#include <stdint.h>

#include "dtype.h"
#include "err.h"

struct weight { /* matrices of one tensor, [n_mats, n_rows, n_cols] */
    enum dtype dtype;
    int n_cols, n_rows;
    int n_mats;        /* experts; 1 for a plain matrix; 0: this weight is absent */
    size_t row_bytes;  /* from row to row */
    size_t mat_bytes;  /* from expert to expert */
    const void *data;
};

struct linear { /* y = w x + bias */
    struct weight w;
    const float *bias; /* [n_mats, n_rows], or NULL */
};

/* Where one layer keeps keys and values: pages of KV_PAGE positions.
 * A page is [K, KV_PAGE, d] of its type, for keys and for values alike. */
enum { KV_PAGE = 64 };

struct kv_layer {
    char *k, *v;                        /* page 0 */
    size_t k_page_bytes, v_page_bytes;  /* from page to page */
    enum dtype type_k, type_v;
    int n_heads;                        /* K */
    int d_k, d_v;
};

/* What is fed in; arrays of one entry per token unless noted. */
struct step_batch {
    int n_tokens;            /* T */
    const int32_t *ids;
    const int32_t *pos;      /* position in its sequence; its KV slot too */
    const int32_t *seq;      /* row of page_table */
    const int32_t *page_table; /* [n_seqs, max_pages] page numbers */
    int max_pages;
    int n_outputs;
    const int32_t *outputs;  /* [n_outputs] tokens whose logits are wanted, ascending */
    int n_states;
    const int32_t *states;   /* [n_states] tokens whose final states are wanted, ascending */
    const float *cs;         /* [T, n_rot / 2, 2] cosine and sine of each rotary angle */
};

enum rope_kind { ROPE_PAIRS, ROPE_HALVES }; /* which two numbers turn together; see kern.h */

struct op_embed { /* x = rows of table */
    struct weight table; /* [V, D] */
    float *x;            /* [T, D] */
};

struct op_qkv { /* q, k, v = rope(norm(x) w + b); k and v go to the cache */
    const float *x;    /* [T, D] */
    const float *norm; /* [D] */
    float eps;
    struct linear wq, wk, wv; /* [H d, D], [K d, D], [K d, D] */
    enum rope_kind rope;
    int n_rot;         /* rotated numbers of each head, 0..d */
    float *q;          /* [T, H d] */
    struct kv_layer kv;
};

struct op_attend { /* out = softmax(scale q k) v, causal */
    const float *q;    /* [T, H d_k] */
    int n_heads;       /* H, a multiple of K */
    float scale;
    struct kv_layer kv;
    float *out;        /* [T, H d_v] */
};

struct op_project { /* x += w in + b */
    const float *in; /* [T, n_cols of w] */
    struct linear w; /* [D, ...] */
    float *x;        /* [T, D] */
};

struct op_glu { /* out = silu(gate(norm x)) * up(norm x) */
    const float *x;    /* [T, D] */
    const float *norm; /* [D] */
    float eps;
    struct linear gate, up; /* [F, D] */
    float *out;             /* [T, F] */
};

struct op_moe { /* x += sum over the chosen experts of p * down(silu(gate(n)) * up(n)), n = norm x */
    const float *norm; /* [D] */
    float eps;
    struct weight router;         /* [E, D] */
    int n_used;                   /* experts per token */
    bool renormalize;             /* the chosen probabilities are scaled to sum to 1 */
    struct linear gate, up, down; /* [E, F, D], [E, F, D], [E, D, F] */
    float *x;                     /* [T, D] */
};

struct op_head { /* logits of the tokens that want them */
    const float *x;    /* [T, D] */
    const float *norm; /* [D] */
    float eps;
    struct linear w;   /* [V, D] */
    float *logits;     /* [n_outputs, V] */
};

struct op_states { /* the normed residual stream of the tokens that want it: what embeddings are made of */
    const float *x;    /* [T, D] */
    int width;         /* D */
    const float *norm; /* [D] */
    float eps;
    float *out;        /* [n_states, D] */
};

enum op_kind { OP_EMBED, OP_QKV, OP_ATTEND, OP_PROJECT, OP_GLU, OP_MOE, OP_HEAD, OP_STATES, OP_COUNT };

struct op {
    enum op_kind kind;
    int layer; /* -1 outside the layers; for traces */
    union {
        struct op_embed embed;
        struct op_qkv qkv;
        struct op_attend attend;
        struct op_project project;
        struct op_glu glu;
        struct op_moe moe;
        struct op_head head;
        struct op_states states;
    };
};

struct step {
    struct step_batch batch;
    int n_ops;
    struct op *ops; /* room for as many as the model has; owned by the model */
};

/* The largest sizes that steps will have: what a backend makes its scratch memory from. */
struct step_limits {
    int n_tokens;      /* T */
    int n_outputs;
    int n_ctx;         /* positions of a sequence */
    int width;         /* D */
    int n_heads, n_kv_heads, d_head;
    int ffn_width;     /* of a dense layer or of one expert: the larger */
    int n_experts, n_experts_used;
    int n_vocab;
};

#endif
