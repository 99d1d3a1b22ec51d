/* model.h - a loaded model: weights, cache, and the forward pass over a batch of tokens.
 *
 * A batch is filled token by token, from any of the model's sequences, and run:
 *
 *     model_add(m, seq, id, false, err);
 *     model_add(m, seq, id, true, err);      this token's logits are wanted
 *     model_run(m, &logits, err);            logits: one row of V numbers per wanted token
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
    int n_ubatch;  /* most tokens of one batch */
    int n_outputs; /* most wanted rows of one batch */
};

struct model_buffers { /* device addresses inside one reservation */
    float *x;      /* [T, D] the residual stream */
    float *q;      /* [T, H d]; then the attention's output lies in `attended` */
    float *attended; /* [T, H d] */
    float *hidden; /* [T, F] */
    float *logits; /* [n_outputs, V] */
};

struct model {
    struct hparams h;
    struct model_params params;
    struct backend *backend; /* borrowed */
    struct weights weights;
    struct rope rope;
    struct kv kv;
    struct model_buffers buffers;
    void *memory;            /* of the buffers */
    size_t memory_bytes;
    struct step step;        /* written for every batch into the same memory */
    int32_t *ids, *pos, *seq, *outputs; /* [n_ubatch], [n_outputs] */
    float *cs;               /* [n_ubatch, n_rot] */
};

/* Bytes that a model with these parameters needs beside its weights; nothing is allocated. */
struct model_sizes {
    size_t kv_bytes;
    size_t buffer_bytes;  /* activations and logits */
    size_t scratch_bytes; /* of the backend */
};
void model_sizes(struct model_sizes *out, const struct hparams *h, const struct model_params *p,
                 const struct backend_ops *ops, const struct backend_params *bp);

/* g and b must outlive the model. */
int  model_open(struct model **out, const struct gguf *g, struct backend *b,
                const struct model_params *p, struct redline_err *err);
void model_close(struct model **m); /* accepts a pointer to NULL */

/* Appends the next token of a sequence to the batch.  REDLINE_ARG: an id outside the vocabulary, a full
 * batch, a full context; REDLINE_BUSY: no KV page. */
int model_add(struct model *m, int seq, int32_t id, bool wanted, struct redline_err *err);

/* Runs the batch and empties it.  *logits: [n wanted, V], valid until the next run; may be NULL. */
int model_run(struct model *m, const float **logits, struct redline_err *err);

/* Forgets what follows the first n_tokens of a sequence (0: all of it). */
void model_trim(struct model *m, int seq, int n_tokens);

#endif
