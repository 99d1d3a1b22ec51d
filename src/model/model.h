/* model.h - a loaded model: weights, cache, and the forward pass over a batch of tokens.
 *
 * A batch is filled token by token, from any of the model's sequences, and run:
 *
 *     model_add(m, seq, id, 0, err);
 *     model_add(m, seq, id, MODEL_LOGITS, err);   this token's logits are wanted
 *     model_run(m, err);                          m->logits: one row of V for each that is
 *
 * It runs on the CPU and on any number of GPUs, each block of it (weights.h) on one device.  A forward pass is cut into
 * parts, one for each run of operations on the same device; between them the residual stream goes through memory of
 * the host, which is that of the CPU's operations.  On the CPU alone there is one part, and nothing is copied.
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
    struct backend *const *gpus; /* [n_gpus] beside the CPU, one without blocks may be NULL; they outlive the model */
    int n_gpus;
    const uint8_t *device_of; /* [weights_n_blocks()] 0: the CPU, i: gpus[i - 1]; NULL: all on the CPU.  Copied */
    void (*placed)(void *user, size_t bytes); /* so many of the file's have gone to a GPU; only while opening, may be
                                                 NULL */
    void *user;
    bool watched;  /* products of all tokens are to be seen, of those too that nobody wants */
};

struct model_buffers { /* addresses of one device */
    float *x;      /* [T, D] the residual stream */
    float *q;      /* [T, H d_k] */
    float *attended; /* [T, H d_v] of the cache */
    float *values; /* [T, H d_v] of latent attention, behind HEADS */
    float *hidden; /* [T, F] */
    float *logits; /* [n_outputs, V]; where the head runs, and on the host, like the states */
    float *states; /* [T, D] */
};

struct model_device {
    struct backend *backend; /* borrowed; NULL: no block runs on it */
    struct model_buffers buffers;
    void *memory;            /* of the buffers; of the CPU of those alone that stay there */
    size_t memory_bytes;
};

struct model_kept { /* of tokens that OP_KEEP has left, for the parts behind it: [n_outputs] */
    int32_t *ids, *pos, *seq, *outputs;
    uint8_t *generated;
};

struct model {
    struct hparams h;
    struct model_params params;
    struct model_device devices[BACKEND_MOST_DEVICES]; /* the CPU, then GPUs */
    int n_devices;
    uint8_t *device_of;      /* [weights_n_blocks()] */
    struct weights weights;
    struct rope rope[2];     /* of full layers, of windowed ones */
    struct kv kv;
    void *host;              /* x, logits and states of the CPU: memory that devices copy from and to */
    size_t host_bytes;
    struct backend *host_of; /* who reserved it: the first GPU, or the CPU where there is none */
    float *logits, *states;  /* in it: the rows that were wanted */
    struct step step;        /* written for every batch into the same memory */
    uint8_t *op_device;      /* [decoder_n_ops()] where each of its operations runs */
    int32_t *ids, *pos, *seq, *outputs, *states_of; /* [n_ubatch], but outputs [n_outputs] */
    uint8_t *generated;      /* [n_ubatch] */
    struct model_kept kept;
    float *cs[2];            /* [n_ubatch, n_rot] for each of rope */
};

/* Bytes that a model with these parameters needs beside its weights on a device of these operations; nothing is
 * allocated. */
struct model_sizes {
    size_t kv_bytes;      /* of all layers, wherever they lie */
    struct kv_costs kv;
    size_t buffer_bytes;  /* activations */
    size_t result_bytes;  /* logits and states: on the CPU always, on a GPU beside the head */
    size_t scratch_bytes; /* of the backend */
};
void model_sizes(struct model_sizes *out, const struct hparams *h, const struct model_params *p,
                 const struct backend_ops *ops, const struct backend_params *bp);

/* What of kv_bytes is one layer's. */
size_t model_layer_kv_bytes(const struct hparams *h, const struct model_params *p, int layer);

/* Pages of the KV pool that a model with these parameters has. */
int model_pages(const struct model_params *p);

/* g and the devices must outlive the model.  Each GPU has claimed what its blocks' weights take when it was opened;
 * all other memory is reserved before the first weight is read.  The file's pages of weights that went to a GPU are
 * let go of. */
int  model_open(struct model **out, const struct gguf *g, struct backend *cpu,
                const struct model_params *p, struct redline_err *err);
void model_close(struct model **m); /* accepts a pointer to NULL */

enum {
    MODEL_LOGITS = 1, /* this token's logits are wanted: a row of logits */
    MODEL_STATE = 2,  /* its final state is wanted, normed: a row of states */
    MODEL_GENERATED = 4, /* a generated token: use the kernels for few tokens */
};

/* Appends the next token of a sequence to the batch.  REDLINE_ARG: an id outside the vocabulary, a full
 * batch, a full context, a position that the model has learned nothing of; REDLINE_BUSY: no KV page. */
int model_add(struct model *m, int seq, int32_t id, unsigned wanted, struct redline_err *err);

/* Runs the batch and empties it.  The rows that were wanted, in the order they were added, are valid
 * until the next run. */
int model_run(struct model *m, struct redline_err *err);

/* Whether the last batch brought weights into another layout beside its work, on any device. */
bool model_packed(const struct model *m);

/* See settle() of struct backend_ops; of all devices. */
bool model_settle(struct model *m);

/* Empties the batch without running it; its tokens stay counted in their sequences until model_trim(). */
void model_drop(struct model *m);

/* Forgets what follows the first n_tokens of a sequence (0: all of it).  Those must be model_keeps(). */
void model_trim(struct model *m, int seq, int n_tokens);

/* n_tokens, or 0 where the first n_tokens of a sequence cannot be gone back to; see kv_keeps(). */
int model_keeps(const struct model *m, int seq, int n_tokens);

#endif
