/* weights.h - the tensors of a model, each with its shape, bound by name from a GGUF file. */
#ifndef WEIGHTS_H
#define WEIGHTS_H

#include "backend.h"
#include "hparams.h"

struct layer_weights {
    const float *attn_norm;      /* [D] */
    struct linear wq, wk, wv;    /* [H d, D], [K d, D], [K d, D] */
    struct linear wo;            /* [D, H d] */
    const float *ffn_norm;       /* [D] */
    struct linear gate, up;      /* [F, D], or [E, F, D] */
    struct linear down;          /* [D, F], or [E, D, F] */
    struct linear router;        /* [E, D]; absent in a dense layer */
};

struct weights {
    struct weight embed;         /* [V, D] */
    const float *rope_factors;   /* [n_rot / 2] divisors of the rotary frequencies, or NULL */
    const float *out_norm;       /* [D] */
    struct linear head;          /* [V, D]; the embedding itself where the file has none */
    struct layer_weights *layers; /* [L], owned */
    uint64_t bytes;              /* of all tensors that are used, once each */
    uint64_t token_bytes;        /* read for one token: the above less the embedding (unless it is the
                                    head too) and less the experts that are not chosen */
    uint64_t token_ops;          /* in the layers' products for one token; a multiply-add is two */
    uint64_t head_ops;           /* in the head's, for each token whose logits are wanted */
    char *used;                  /* [n_tensors of the file] 1: bound; owned */
};

/* Every tensor the architecture needs, checked for shape and type.  REDLINE_FORMAT names what is
 * missing or of another shape than expected. */
int weights_bind(struct weights *out, const struct hparams *h, const struct gguf *g,
                 struct backend *b, struct redline_err *err);
void weights_free(struct weights *w); /* accepts {0} */

#endif
