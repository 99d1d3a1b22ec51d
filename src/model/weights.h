/* weights.h - the tensors of a model, each with its shape, bound by name from a GGUF file. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "backend.h"
#include "hparams.h"

/* The blocks of a model: what lies on one device as a whole, with its tensors, and its activations while it runs.  Only
 * the residual stream goes from block to block.  Block 0 is the embedding, with all that only the host reads; then of
 * each layer attention and feed-forward part, and the head with the last norm and all behind it. */
enum weights_part { PART_ATTENTION, PART_FEED_FORWARD };
enum { BLOCK_EMBEDDING = 0 };

static inline int weights_n_blocks(int n_layers)
{
    return 2 * n_layers + 2;
}

static inline int weights_block(int layer, enum weights_part part)
{
    return 1 + 2 * layer + (int)part;
}

static inline int weights_head_block(int n_layers)
{
    return 2 * n_layers + 1;
}

struct vectors { /* weight and bias of a norm; NULL: the file has none */
    const float *weight, *bias;
};

struct layer_weights { /* what stands before ffn_norm belongs to attention, the rest to the feed-forward part */
    struct vectors attn_norm;    /* [D] */
    struct vectors attn_norm_2;  /* [D]: where present it is the one before attention, attn_norm that
                                    before the feed-forward part; in an encoder a second one after the sum */
    struct vectors attn_post;    /* [D] */
    struct vectors attn_out_norm; /* [D] after the sum */
    struct linear wqkv;          /* the next three in one tensor; they are views of it then */
    struct linear wq, wk, wv;    /* [H d_k, D], [K d_k, D], [K d_v, D] */
    struct vectors q_norm, k_norm; /* [d], [H, d] or [H d]: see arch.h */
    struct linear wo;            /* [D, H d_v] */
    const float *sinks;          /* [H] */

    struct linear wq_a, wq_b;    /* of latent attention: see struct op_mla */
    struct linear wkv_a;
    struct vectors q_a_norm, kv_a_norm; /* [q_rank], [kv_rank] */
    struct linear wkv_b;         /* [H (d_nope + d_v), kv_rank] */
    struct linear wk_b, wv_b;    /* [H, kv_rank, d_nope], [H, d_v, kv_rank]; views of wkv_b, then wk_b is
                                    [H, d_nope, kv_rank] */

    struct vectors ffn_norm;     /* [D] */
    struct vectors ffn_post;     /* [D] */
    struct vectors layer_norm;   /* [D] after the sum */
    struct linear gate_up;       /* the next two in one tensor */
    struct linear gate, up;      /* [F, D], or [E, F, D] */
    struct linear down;          /* [D, F], or [E, D, F] */
    const float *act_scales;     /* [F] divisors of what goes into down, or NULL */
    struct linear router;        /* [E, D]; absent in a dense layer */
    const float *choice_bias;    /* [E] */
    struct linear shared_gate, shared_up, shared_down; /* [F, D], [F, D], [D, F] */
    const float *shared_share;   /* [D] */
    uint64_t bytes;              /* of all of them */
};

struct weights { /* what stands before out_norm belongs to the embedding, then comes the head's */
    struct weight embed;         /* [V, D] */
    struct weight positions;     /* [n_ctx_train, D], or absent */
    struct weight types;         /* [n, D], or absent */
    struct vectors embed_norm;   /* [D] */
    const float *rope_factors;   /* [n_rot / 2] divisors of the rotary frequencies, or NULL */
    const float *rope_long, *rope_short; /* the same for contexts beyond the original one, and within */
    struct vectors out_norm;     /* [D] */
    struct linear head;          /* [V, D]; the embedding itself where the file has none; absent in an encoder */
    struct linear dense[2];      /* of embeddings, behind the last norm; or absent */
    struct layer_weights *layers; /* [L], owned */
    uint64_t bytes;              /* of all tensors that are used, once each */
    uint64_t token_bytes;        /* read for one token: the above less the embedding (unless it is the
                                    head too) and less the experts that are not chosen */
    uint64_t token_ops;          /* in the layers' products for one token; a multiply-add is two */
    uint64_t kept_ops;           /* of those, what stands behind the last layer's attention: for wanted tokens alone */
    uint64_t head_ops;           /* in the head's, for each token whose logits are wanted */
    int32_t *block_of;           /* [n_tensors of the file] the block of each, -1: it is not bound; owned */
};

/* What is done with each tensor once it is bound: where it is brought.  As place() and vector() of struct backend_ops,
 * which see; the embedding's tables have no parts, and rope factors are not shown: the host reads them. */
struct weights_placer {
    int (*place)(void *user, int block, const struct weight *w, struct weight *const *parts, int n_parts,
                 struct str name, struct redline_err *err);
    int (*vector)(void *user, int block, const float *v, size_t n, const float **out, struct redline_err *err);
    void *user;
};

/* Every tensor the architecture needs, checked for shape and type.  REDLINE_FORMAT names what is
 * missing or of another shape than expected.  placer NULL: names, shapes and sizes alone. */
int weights_bind(struct weights *out, const struct hparams *h, const struct gguf *g,
                 const struct weights_placer *placer, struct redline_err *err);
void weights_free(struct weights *w); /* accepts {0} */

/* Whether attention and feed-forward part of a layer read the same stream: then they are one block in two numbers, and
 * lie on one device. */
bool weights_parallel(const struct weights *w, const struct hparams *h, int layer);

#endif
