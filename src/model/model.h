/* model.h - a loaded model: weights, cache, and the forward pass over a batch of tokens.
 *
 * A batch is filled token by token, from any of the model's sequences, and run:
 *
 *     model_add(m, seq, id, 0, err);
 *     model_add(m, seq, id, MODEL_LOGITS, err);   this token's logits are wanted
 *     model_run(m, err);                          m->buffers.logits: one row of V for each that is
 *
 * Used by one thread at a time. */
#ifndef MODEL_H
#define MODEL_H

#include "hparams.h"
#include "kv.h"
#include "rope.h"
#include "weights.h"

struct model_params {
    enum dtype type_k, type_v;
    int n_ctx;     /* positions of one sequence */
    int n_seqs;
    int n_pages;   /* of the KV pool; 0: enough for every sequence to be full */
    int n_ubatch;  /* most tokens of one batch */
    int n_outputs; /* most wanted rows of one batch */
    bool watched;  /* products of all tokens are to be seen, of those too that nobody wants */
};

struct model_buffers { /* device addresses inside one reservation */
    float *x;      /* [T, D] the residual stream */
    float *q;      /* [T, H d_k] */
    float *attended; /* [T, H d_v] of the cache */
    float *values; /* [T, H d_v] of latent attention, behind HEADS */
    float *hidden; /* [T, F] */
    float *logits; /* [n_outputs, V] */
    float *states; /* [T, D] */
};

struct model {
    struct hparams h;
    struct model_params params;
    struct backend *backend; /* borrowed */
    struct weights weights;
    struct rope rope[2];     /* of full layers, of windowed ones */
    struct kv kv;
    struct model_buffers buffers;
    void *memory;            /* of the buffers */
    size_t memory_bytes;
    struct step step;        /* written for every batch into the same memory */
    int32_t *ids, *pos, *seq, *outputs, *states; /* [n_ubatch], but outputs [n_outputs] */
    uint8_t *generated;      /* [n_ubatch] */
    float *cs[2];            /* [n_ubatch, n_rot] for each of rope */
};

/* Bytes that a model with these parameters needs beside its weights; nothing is allocated. */
struct model_sizes {
    size_t kv_bytes;
    struct kv_costs kv;
    size_t buffer_bytes;  /* activations and logits */
    size_t scratch_bytes; /* of the backend */
};
void model_sizes(struct model_sizes *out, const struct hparams *h, const struct model_params *p,
                 const struct backend_ops *ops, const struct backend_params *bp);

/* Pages of the KV pool that a model with these parameters has. */
int model_pages(const struct model_params *p);

/* g and b must outlive the model. */
int  model_open(struct model **out, const struct gguf *g, struct backend *b,
                const struct model_params *p, struct redline_err *err);
void model_close(struct model **m); /* accepts a pointer to NULL */

enum {
    MODEL_LOGITS = 1, /* this token's logits are wanted: a row of buffers.logits */
    MODEL_STATE = 2,  /* its final state is wanted, normed: a row of buffers.states */
    MODEL_GENERATED = 4, /* it was generated, one of few: let it be fast by itself, not together with many */
};

/* Appends the next token of a sequence to the batch.  REDLINE_ARG: an id outside the vocabulary, a full
 * batch, a full context, a position that the model has learned nothing of; REDLINE_BUSY: no KV page. */
int model_add(struct model *m, int seq, int32_t id, unsigned wanted, struct redline_err *err);

/* Runs the batch and empties it.  The rows that were wanted, in the order they were added, are valid
 * until the next run. */
int model_run(struct model *m, struct redline_err *err);

/* Empties the batch without running it; its tokens stay counted in their sequences until model_trim(). */
void model_drop(struct model *m);

/* Forgets what follows the first n_tokens of a sequence (0: all of it).  Those must be model_keeps(). */
void model_trim(struct model *m, int seq, int n_tokens);

/* n_tokens, or 0 where the first n_tokens of a sequence cannot be gone back to; see kv_keeps(). */
int model_keeps(const struct model *m, int seq, int n_tokens);

#endif
