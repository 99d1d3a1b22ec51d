/* step.h - one forward pass, written down before it is run.
 *
 * The decoder (model/) appends typed operations to a struct step, in the order of the paper; a backend
 * runs the list in its own way.  Nothing returns to the host inside a step.  A layer is five operations:
 *
 *     QKV      norm, the three projections, biases, norms of heads, rotary embedding, KV store
 *     ATTEND   attention of every token to its sequence
 *     PROJECT  output projection, added to the residual stream
 *     GLU      norm, gate and up projections, activation       } or one MOE for the four
 *     PROJECT  down projection, added to the residual stream   }
 *
 * Families differ in what such an operation includes, and in their order: where attention and
 * feed-forward part read the same stream, GLU stands before the first PROJECT; a shared expert is a GLU
 * before and a PROJECT after MOE; latent attention has MLA in place of QKV and HEADS behind ATTEND.
 *
 * Every pointer in an operation is an address of the backend that runs the step; a forward pass over several
 * devices is several steps.
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
    const void *data;  /* in the mapped file */
    void *placed;      /* what the backend made of it; NULL: nothing */
};

struct linear { /* y = w x + bias */
    struct weight w;
    const float *bias; /* [n_mats, n_rows], or NULL */
};

enum norm_kind { NORM_NONE, NORM_RMS, NORM_LAYER };

struct norm { /* of rows; NORM_NONE leaves them as they are */
    enum norm_kind kind;
    float eps;
    const float *weight; /* NULL: ones */
    const float *bias;   /* NULL: zeros; NORM_LAYER alone */
};

/* What turns gate (and up) into hidden; see kern.h for the formulas. */
enum activation { ACT_SILU, ACT_GELU, ACT_GELU_ERF, ACT_GELU_QUICK, ACT_RELU, ACT_RELU_SQR, ACT_SWIGLU_OAI };

/* Where one layer keeps keys and values: pages of KV_PAGE positions.
 * A page is [K, KV_PAGE, d] of its type, for keys and for values alike; a row that does not fill its last
 * block ends in zeros. */
enum { KV_PAGE = 64 };

/* Numbers that a row of d takes with a type. */
static inline int kv_padded(enum dtype type, int d)
{
    int block = dtype_info(type)->block_n;
    return (d + block - 1) / block * block;
}

struct kv_layer {
    char *k, *v;                        /* page 0; where latent attention makes values the beginning
                                           of keys, v == k */
    size_t k_page_bytes, v_page_bytes;  /* from page to page */
    size_t k_row_bytes, v_row_bytes;    /* from position to position */
    enum dtype type_k, type_v;
    int n_heads;                        /* K */
    int d_k, d_v;
    int ring_pages;                     /* 0: pages are found in the page table.  Otherwise every sequence
                                           has so many of its own, and position p lies in page
                                           (p / KV_PAGE) % ring_pages of them */
};

/* What is fed in; arrays of one entry per token unless noted. */
struct step_batch {
    int n_tokens;            /* T */
    const int32_t *ids;
    const int32_t *pos;      /* position in its sequence; its KV slot too */
    const int32_t *seq;      /* row of page_table */
    const uint8_t *generated; /* 1: a model made it and it stands alone, 0: it came in a text.  What arithmetic a
                                token gets may depend on this and nothing else about the batch; on a GPU, on whether
                                it is so of all tokens of the step */
    const int32_t *page_table; /* [n_seqs, max_pages] page numbers */
    int max_pages;
    const int32_t *n_kv;     /* [n_seqs] positions that a sequence has, those of this step included */
    int n_outputs;
    const int32_t *outputs;  /* [n_outputs] tokens whose logits are wanted, ascending */
    int n_states;
    const int32_t *states;   /* [n_states] tokens whose final states are wanted, ascending */
    const float *cs[2];      /* [T, n_rot / 2, 2] cosine and sine of each rotary angle: of full layers, and
                                of windowed ones */
};

enum rope_kind { ROPE_NONE, ROPE_PAIRS, ROPE_HALVES }; /* which two numbers turn together; see kern.h */

struct rotary {
    enum rope_kind kind;
    int n_rot;         /* rotated numbers of each head: its first ones; in struct op_mla its last */
    int table;         /* of batch.cs */
};

struct op_embed { /* x = norm(scale * row of table + row of positions + first row of types) */
    struct weight table;     /* [V, D] */
    struct weight positions; /* [n_ctx, D], or absent */
    struct weight types;     /* [n, D], or absent */
    float scale;
    struct norm norm;
    float *x;                /* [T, D] */
};

enum head_norm_scope {
    HEAD_NORM_SHARED, /* each head by itself, one weight [d] for all */
    HEAD_NORM_OWN,    /* each head by itself, weights [H, d] */
    HEAD_NORM_WHOLE,  /* all heads of a token together, weights [H d] */
};

struct op_qkv { /* q, k, v = rope(norm of heads(norm(x) w + b)); k and v go to the cache */
    const float *x;    /* [T, D] */
    struct norm norm;
    struct linear wq, wk, wv; /* [H d, D], [K d, D], [K d, D] */
    float clamp;       /* q, k and v are held within +- clamp; 0: they are not */
    struct norm q_norm, k_norm;
    enum head_norm_scope norm_scope;
    bool norm_after_rope;
    struct rotary rope;
    /* q is scaled by 1 + temp_scale ln(floor((pos + temp_offset) / temp_length) + 1); 0: it is not */
    float temp_scale, temp_offset;
    int temp_length;
    float *q;          /* [T, H d] */
    struct kv_layer kv;
};

/* Latent attention (DeepSeek-AI 2024).  c = norm(first kv_rank numbers of wkv_a norm(x)), the rest is the
 * rotated part of every key.
 *
 * Absorbed, where wk_b is [H, kv_rank, d_nope]: the cache holds (c, rotated part) once for all heads,
 * q = (wk_b q_nope, rotated q), and HEADS takes what ATTEND sums from kv_rank to d_v numbers.
 * Expanded, where wk_b is [H, d_nope, kv_rank] and wv_b present: keys and values of each head are made of c
 * and go to the cache as such. */
struct op_mla {
    const float *x;    /* [T, D] */
    struct norm norm;
    struct linear wq_a, wq_b; /* [q_rank, D], [H (d_nope + n_rot), q_rank or D]; wq_a may be absent */
    struct norm q_norm;       /* of q_rank numbers */
    struct linear wkv_a;      /* [kv_rank + n_rot, D] */
    struct norm kv_norm;      /* of kv_rank numbers */
    struct weight wk_b, wv_b; /* see above; wv_b [H, d_v, kv_rank], absent when absorbed */
    bool absorbed;
    int n_heads, d_nope, kv_rank;
    struct rotary rope;
    float temp_scale, temp_offset; /* as in struct op_qkv */
    int temp_length;
    float *q;          /* [T, H d_k of the cache] */
    struct kv_layer kv;
};

enum window_kind {
    WINDOW_NONE,
    WINDOW_SLIDING,   /* the last n_window positions, its own included */
    WINDOW_CHUNKED,   /* from the last multiple of n_window on */
    WINDOW_SYMMETRIC, /* n_window / 2 on both sides */
};

struct op_attend { /* out = softmax(scale q k) v over what a token sees */
    const float *q;    /* [T, H d_k] */
    int n_heads;       /* H, a multiple of K */
    float scale;
    float softcap;     /* scores = softcap tanh(scores / softcap); 0: as they are */
    float alibi;       /* scores fall by this times 2^(-8 h / H) per position (Press et al. 2022); 0: they do
                          not */
    const float *sinks; /* [H] scores of something that has no value, or NULL */
    bool causal;       /* a token sees what stands before it and itself; otherwise all of its sequence */
    enum window_kind window;
    int n_window;
    struct kv_layer kv;
    float *out;        /* [T, H d_v] */
};

struct op_heads { /* out of a head = w of that head * in of that head */
    const float *in;   /* [T, H, n_cols] */
    struct weight w;   /* [H, n_rows, n_cols] */
    float *out;        /* [T, H, n_rows] */
};

struct op_project { /* y = after(x + scale * post(w in + b)); x = y, or again(y + x) */
    const float *in; /* [T, n_cols of w] */
    struct linear w; /* [D, ...] */
    struct norm post, after, again;
    float scale;
    float *x;        /* [T, D] */
};

struct op_glu { /* out = act(gate(norm x)) * up(norm x), or act(up(norm x)) where gate is absent */
    const float *x;    /* [T, D] */
    struct norm norm;
    struct linear gate, up; /* [F, D] */
    enum activation act;
    const float *share; /* [D]: out is scaled by sigmoid(share . norm x); NULL: it is not */
    const float *divisors; /* [F] of out, or NULL */
    float *out;        /* [T, F] */
};

enum moe_gate {
    MOE_SOFTMAX,        /* shares are the softmax of all scores */
    MOE_SIGMOID,        /* ... the sigmoid of each */
    MOE_SOFTMAX_CHOSEN, /* ... the softmax of the chosen scores */
};
enum { MOE_MOST_GROUPS = 64 };

/* x = after(x + scale * sum over the chosen experts of share * down(act(gate(n)) * up(n))), n = norm x; without
 * gate, down(act(up(n))). */
struct op_moe {
    struct norm norm;
    struct linear router;         /* [E, D] */
    const float *choice_bias;     /* [E], added to the shares for the choice alone; or NULL */
    enum moe_gate gating;
    int n_used;                   /* experts per token */
    int n_groups, n_groups_used;  /* experts are chosen from the best groups alone; 0 or 1: from all */
    bool renormalize;             /* the chosen shares are scaled to sum to 1 */
    float share_scale;            /* and then by this */
    bool share_input;             /* a share scales what goes into an expert, not what comes out */
    struct linear gate, up, down; /* [E, F, D], [E, F, D], [E, D, F] */
    enum activation act;
    struct norm after;
    float scale;
    float *x;                     /* [T, D] */
};

struct op_head { /* logits of the tokens that want them = softcap(scale * (w norm(x) + b)) */
    const float *x;    /* [T, D] */
    struct norm norm;
    struct linear w;   /* [V, D] */
    float scale;
    float softcap;     /* as in struct op_attend */
    float *logits;     /* [n_outputs, V] */
};

struct op_dense { /* out = w in + b, for the tokens whose states are wanted */
    const float *in;   /* [n_states, n_cols of w] */
    struct linear w;
    float *out;        /* [n_states, n_rows] */
};

/* From here on the step has no tokens but those whose logits are wanted: their rows of x and values move to the
 * front.  What stands behind the last layer's attention is the same for a prompt of any length. */
struct op_keep {
    float *x, *values; /* [T, width], [T, values_width] */
    int width, values_width;
};

struct op_states { /* the normed residual stream of the tokens that want it: what embeddings are made of */
    const float *x;    /* [T, D] */
    int width;         /* D */
    struct norm norm;
    float *out;        /* [n_states, D] */
};

enum op_kind {
    OP_EMBED, OP_QKV, OP_MLA, OP_ATTEND, OP_HEADS, OP_KEEP, OP_PROJECT, OP_GLU, OP_MOE, OP_HEAD, OP_STATES,
    OP_DENSE, OP_COUNT
};

struct op {
    enum op_kind kind;
    int layer; /* that it is counted for (step_count.h); -1: outside the layers */
    union {
        struct op_embed embed;
        struct op_qkv qkv;
        struct op_mla mla;
        struct op_attend attend;
        struct op_heads heads;
        struct op_keep keep;
        struct op_project project;
        struct op_glu glu;
        struct op_moe moe;
        struct op_head head;
        struct op_states states;
        struct op_dense dense;
    };
};

/* Between memory of the device that runs the step and memory of the host: what enters a device's part of a forward
 * pass, and what leaves it.  Where device and host are one, there is none. */
struct step_copy {
    void *to;
    const void *from;
    size_t bytes; /* 0: nothing */
};

struct step {
    struct step_batch batch; /* memory of the host, whatever device runs the step */
    int n_ops;
    struct op *ops; /* room for as many as the model has; owned by the model */
    struct step_copy in;     /* before the first operation */
    struct step_copy out[3]; /* after the last */
    bool follows, goes_on;   /* this device has run an earlier part of the same pass; it will run a later one: what is
                                done once for a pass looks at these */
};

/* The largest sizes that steps will have: what a backend makes its scratch memory from. */
struct step_limits {
    int n_layers;      /* L */
    int n_tokens;      /* T */
    int n_seqs;
    int n_outputs;
    int n_ctx;         /* positions of a sequence */
    int width;         /* D */
    int n_heads;       /* H */
    int n_kv_heads, d_k, d_v; /* of the cache, padded */
    int q_rank;        /* of latent attention; 0: there is none */
    int latent;        /* kv_rank + n_rot of it; 0: the model has no MLA */
    int d_expanded;    /* numbers of a head before absorption: d_nope + the larger of n_rot and d_v */
    int ffn_width;     /* of a dense layer, a shared expert or one expert: the largest */
    int n_experts, n_experts_used;
    int n_vocab;
};

#endif
