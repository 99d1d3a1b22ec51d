/* layout.h - a model as the blocks that a plan moves about: from the file's header alone. */
#ifndef LAYOUT_H
#define LAYOUT_H

#include "backend.h"
#include "modelfile.h"
#include "redline_probe.h"

struct block {
    enum redline_part part;
    int layer;              /* -1: of no layer */
    bool experts;
    uint64_t file_bytes;    /* of its tensors; of a head that is the embedding too, 0 */
    uint64_t packed_bytes;  /* of what it reads, what the CPU packs */
    uint64_t gpu_bytes;     /* of what it reads, as a GPU holds it */
    struct str largest;     /* the name of its largest tensor */
    uint64_t largest_bytes; /* 0: it has none */
};

struct layout {
    struct block *rows;     /* [n] in the order in which they run; the embedding first, the head last */
    int n;
    int32_t *row_of;        /* [weights_n_blocks()] of the numbers of weights.h */
};

/* gpu NULL: no gpu_bytes.  params: of the CPU. */
int  layout_make(struct layout *out, const struct redline_model *model, const struct backend_ops *gpu,
                 const struct backend_params *params, struct redline_err *err);
void layout_free(struct layout *layout); /* accepts {0} */

/* Where the user's words fix blocks: params.placement (NULL: nothing), then params.n_cpu_moe.  Writes [n] of spread.h:
 * SPREAD_FREE, SPREAD_CPU, SPREAD_ANY_GPU or a GPU; and why.  REDLINE_ARG: words that cannot be read, a pattern that
 * matches nothing, or nothing but smaller tensors of a block. */
int layout_fix(uint8_t *fixed, enum redline_why *why, const struct layout *layout, const struct redline_model *model,
               const char *placement, int n_cpu_moe, struct redline_err *err);

#endif
