/* cuda_backend.h - inside the CUDA backend: one open GPU, and an operation's view of a running step.
 *
 * Operations launch kernels on one stream, in order; each file does for the GPU what its namesake in cpu/ does for the
 * CPU, and means the same.  Scratch memory is laid out once and belongs to the device, not to an operation; so all
 * addresses are fixed, and the launches of a step can be captured once and replayed.
 *
 * Arithmetic.  A step whose tokens are all generated multiplies quantised weights with activations in 8 bits, as the
 * CPU does, and F16 and BF16 weights with float32 activations.  Any other step multiplies BF16 tiles, whatever the
 * type, but F32.  F32 weights, and all of them with --exact, are multiplied in float32. */
#ifndef CUDA_BACKEND_H
#define CUDA_BACKEND_H

#include "device.h"

enum cuda_form { /* of activations in products; of a step */
    CUDA_CODES, /* 8 bits for quantised weights, float32 for the others: all tokens are generated */
    CUDA_TILES, /* BF16 */
    CUDA_EXACT, /* float32 */
};

/* The batch as kernels see it: all pointers are the device's, at fixed addresses. */
struct cuda_batch {
    const int32_t *pos, *seq;  /* [T] */
    const int32_t *page_table; /* [n_seqs, max_pages] */
    const int32_t *n_kv;       /* [n_seqs] */
    const int32_t *outputs, *states;
    const float *cs[2];        /* [T, n_rot / 2, 2]; where OP_KEEP has passed, of the kept tokens no longer */
    const int4 *text_tiles;    /* [n_text_tiles] and [n_singles]: see cuda_attn_sort() */
    const int32_t *singles;
    int max_pages;
};

/* One running step, as the host sees it while it launches. */
struct cuda_run {
    struct device *d;
    struct cuda_backend *b;
    struct cuda_batch batch;
    int n_tokens, n_outputs, n_states; /* n_tokens: of the step, behind OP_KEEP those that are left */
    int most_kv;                       /* no sequence of the step has more positions: cuda_attn_most_kv() of that */
    int n_text_tiles, n_singles;       /* of CUDA_TILES: cuda_attn_sort() */
    enum cuda_form form;
};

enum {
    CUDA_ALIGNMENT = 256,   /* of all that is laid out in a block of memory */
    CUDA_ROW = 32,          /* BF16 rows are padded to a multiple of so many numbers */
    CUDA_BATCH_PARTS = 10,  /* of struct cuda_batch */
    CUDA_GRAPHS = 128,      /* captured steps that are kept: with experts on the CPU a pass has one for each layer */
    CUDA_LAYER_OPS = 8,     /* no model has more to a layer, or outside the layers */
};

/* Scratch memory, device addresses; as in cpu_backend.h where the names agree. */
struct cuda_scratch {
    char *batch;      /* what struct cuda_batch points to */
    float *norm;      /* [T, widest row] normed rows */
    uint16_t *bf16;   /* [T * used or T * H, widest row] rows of activations as BF16, or in 8 bits */
    float *rows;      /* [T * used, D] of MoE; [T, D] of a projection that is normed before it is added */
    float *k, *v;     /* [T, K d] before they go to the cache */
    float *q_latent, *kv_latent, *expanded; /* of latent attention */
    float *gate, *up; /* [T * used, F] */
    float *hidden;    /* [T * used, F] of MoE */
    float *router;    /* [T, E]; [T] shares of the shared expert */
    int32_t *chosen;  /* [T, used] experts by falling probability */
    float *share;     /* [T, used] their weights */
    int32_t *slot_of, *token_of, *expert_first; /* as the CPU has them */
    float *partial;   /* of attention in pieces: see cuda_attn.cuh */
};

/* ---- weights: cuda_weights.cu ------------------------------------------------------------------------------- */

struct cuda_slot {    /* of rows on their way */
    char *pinned, *raw; /* host, device */
    cudaEvent_t free;   /* when the device is done with both */
};

struct cuda_weights {
    char *arena;      /* [bytes], owned */
    size_t bytes, used;
    struct cuda_slot slots[2]; /* [slot_bytes] each, owned; only while weights are placed */
    size_t slot_bytes;
    int next;         /* the one that was filled longest ago */
};

/* Claims so many bytes. */
int  cuda_weights_open(struct cuda_weights *s, struct device *d, size_t bytes, struct redline_err *err);
void cuda_weights_close(struct cuda_weights *s, struct device *d);

/* Strips of w, in w->placed; and numbers. */
int  cuda_weights_place(struct cuda_weights *s, struct device *d, struct weight *w, struct redline_err *err);
int  cuda_weights_vector(struct cuda_weights *s, struct device *d, const float *v, size_t n, const float **out,
                         struct redline_err *err);

/* Gives back what placing needs: no more comes for now. */
void cuda_weights_settle(struct cuda_weights *s, struct device *d);

/* What the two take of the arena. */
size_t cuda_place_bytes(const struct weight *w);
size_t cuda_vector_bytes(size_t n);

/* cuda_store.cu: strips of n_rows rows of the file, row_bytes apart; all in memory of the device. */
void cuda_pack(struct device *d, enum dtype dtype, void *strips, const void *raw, size_t row_bytes, int n_rows,
               int n_cols);

/* ---- captured steps: cuda_graph.cu ----------------------------------------------------------------------------- */

/* What the launches of a step follow from, beside its operations; compared byte by byte. */
struct cuda_shape {
    int n_tokens, n_outputs, n_states, n_ops;
    int n_seqs, max_pages; /* rows and columns of the page table */
    int most_kv;
    int n_text_tiles, n_singles;
    int n_rot[2];          /* of the tables of angles */
    enum cuda_form form;
};

struct cuda_graph {
    struct cuda_shape shape;
    struct op *ops;        /* [shape.n_ops] */
    cudaGraphExec_t graph; /* NULL: such a step came once and was not captured */
    uint64_t used;         /* when, counted in steps; 0: never */
};

struct cuda_graphs {
    struct cuda_graph list[CUDA_GRAPHS];
    int most_ops;
    uint64_t n_used;
    char refused[160]; /* why none are made any more; "": they are */
};

int  cuda_graphs_open(struct cuda_graphs *g, int most_ops, struct redline_err *err);
void cuda_graphs_close(struct cuda_graphs *g); /* accepts {}; leaves {} */
void cuda_graphs_launch(struct cuda_graphs *g, struct cuda_run *run, const struct cuda_shape *shape,
                        const struct step *step);

/* cuda_backend.cu: the operations, one after the other. */
void cuda_launch(struct cuda_run *run, const struct step *step);

/* ---- the device ------------------------------------------------------------------------------------------------- */

struct cuda_backend {
    struct backend base;
    struct device device;
    char isa[16];         /* "sm_90" */
    bool exact;
    struct step_limits limits;
    struct cuda_scratch scratch;
    void *scratch_memory; /* all of the above, owned */
    void *staging;        /* the batch in pinned memory of the host, owned */
    struct cuda_weights weights;
    struct cuda_graphs graphs;
    struct backend_count *counts; /* [limits.n_layers + 1], owned */
};

/* ---- products: cuda_mv.cu (CUDA_CODES), cuda_mm.cu (the others) ------------------------------------------------ */

/* What becomes of a product's numbers. */
enum cuda_after {
    AFTER_STORE, /* out = y */
    AFTER_ADD,   /* out += scale * y */
    AFTER_GLU,   /* out = act(gate) * up: `w` is the gate, `up` the other; where w is absent, act(up) */
};

/* y = w norm(x) + bias for n rows of x, for one weight or several that read the same rows: rows of a text, of single
 * tokens, or of experts. */
struct cuda_product {
    const float *x;         /* [n, n_cols], x_stride floats apart */
    size_t x_stride;
    int n;
    const struct norm *norm; /* of rows of x first; NULL or NORM_NONE: as they are */
    const float *x_scale;    /* [n] by row of out: what its row of x is multiplied by, after the norm; or NULL */
    const struct linear *w;  /* of matrix `mat`, or of experts */
    const struct linear *up; /* AFTER_GLU alone */
    int mat;
    float *out;              /* [n, n_rows of w], out_stride floats apart */
    size_t out_stride;
    enum cuda_after after;
    float scale;
    enum activation act;
    /* Where experts are chosen, n = n_tokens * n_used.  CODES: row i of out belongs to choice i of scratch.chosen and
     * is multiplied with matrix chosen[i]; TILES and EXACT: to slot i of the order by expert, see scratch.expert_first.
     * x is [n] likewise, or by token where x_of_token says so. */
    bool experts, x_of_token;
    int n_used;
    /* Matrices by head: n = n_tokens * w.n_mats, and row i is multiplied with matrix i % w.n_mats.  Where x is by
     * token, n_used is w.n_mats. */
    bool heads;
};

/* Several products with equal x, n and norm go out together where that is faster. */
void cuda_multiply(struct cuda_run *run, const struct cuda_product *products, int n_products);

/* cuda_mv.cu, cuda_mm.cu: what cuda_multiply() chooses from. */
void cuda_mv(struct cuda_run *run, const struct cuda_product *products, int n_products);
void cuda_mm(struct cuda_run *run, const struct cuda_product *products, int n_products); /* equal x, n and norm */

/* ---- rows: cuda_rows.cu ------------------------------------------------------------------------------------- */

/* y = norm of x, row by row; y may be x. */
void cuda_norm(struct cuda_run *run, const struct norm *norm, float *y, const float *x, size_t stride, int n_rows,
               int n);
/* y = norm of row index[i] of x, row by row of n numbers; index is the device's. */
void cuda_gather(struct cuda_run *run, const struct norm *norm, float *y, const float *x, const int32_t *index,
                 int n_rows, int n);
/* y = after(x + scale * post(in)); x = y, or again(y + x): the end of struct op_project. */
void cuda_add_normed(struct cuda_run *run, float *x, float *in, float scale, const struct norm *post,
                     const struct norm *after, const struct norm *again, int n_rows, int n);
/* Rows of x, normed where norm says so, as BF16 numbers: n_padded to a row (a multiple of 32), zeros beyond n.  Row i
 * is x + (index ? index[i] : i) * stride; index is the device's, or NULL. */
void cuda_to_bf16(struct cuda_run *run, const struct norm *norm, uint16_t *y, int n_padded, const float *x,
                  size_t stride, const int32_t *index, int n_rows, int n);

/* ---- limits: cuda_probe.cu ----------------------------------------------------------------------------------- */

int cuda_measure(int device, struct backend *b, struct backend_rates *out, struct redline_err *err);

/* ---- operations ---------------------------------------------------------------------------------------------- */

void cuda_op_qkv(struct cuda_run *run, const struct op_qkv *op);         /* cuda_qkv.cu */
void cuda_op_mla(struct cuda_run *run, const struct op_mla *op);         /* cuda_mla.cu */
void cuda_op_heads(struct cuda_run *run, const struct op_heads *op);
void cuda_op_attend(struct cuda_run *run, const struct op_attend *op);   /* cuda_attn.cu */
void cuda_op_keep(struct cuda_run *run, const struct op_keep *op);       /* cuda_ops.cu */
void cuda_op_project(struct cuda_run *run, const struct op_project *op);
void cuda_op_glu(struct cuda_run *run, const struct op_glu *op);
void cuda_op_head(struct cuda_run *run, const struct op_head *op);
void cuda_op_states(struct cuda_run *run, const struct op_states *op);
void cuda_op_dense(struct cuda_run *run, const struct op_dense *op);
void cuda_op_moe(struct cuda_run *run, const struct op_moe *op);         /* cuda_moe.cu */

/* ---- attention: cuda_attn.cu, cuda_attn_text.cu --------------------------------------------------------------- */

/* Floats of scratch.partial. */
size_t cuda_attn_partial_floats(const struct step_limits *l);

/* Rounds up, so that steps with a few positions more have the same launches. */
int cuda_attn_most_kv(int n_kv);

/* Of a step of form CUDA_TILES: texts in tiles of consecutive tokens of one sequence, {first token, n tokens, 0, 0},
 * and the tokens that a model made.  Both have room for T entries. */
void cuda_attn_sort(const struct step_batch *batch, const struct step_limits *l, int4 *tiles, int32_t *singles,
                    int *n_tiles, int *n_singles);

#endif
