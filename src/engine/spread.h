/* spread.h - which block of a model runs on which device: a pure function of the blocks, the memory there is, and what
 * is wished.
 *
 * Device 0 is the CPU, which has room for everything (whether it does, the plan says); device 1 + g is GPU g.  Blocks
 * come in the order in which they run.  GPUs take consecutive blocks, the first GPU the first of them, so that the
 * residual stream travels once between two; each in proportion to the room that it has, where possible whole layers.
 * No more GPUs take part than are needed: the first that together have room for what goes to GPUs, less those without
 * which it fits all the same; and those that blocks are fixed to. */
#ifndef SPREAD_H
#define SPREAD_H

#include <stdbool.h>
#include <stdint.h>

enum {
    SPREAD_MOST_GPUS = 16,
    SPREAD_CPU = 0,       /* 1 + g: GPU g */
    SPREAD_ANY_GPU = 254,
    SPREAD_FREE = 255,    /* as the wish for layers says */
    SPREAD_AUTO = -1,
};

struct spread_block {
    int layer;            /* -1: the embedding, or the head */
    bool head, experts;   /* of experts a token reads few, so they are the last to go to a GPU by themselves */
    uint8_t fixed;        /* a device, SPREAD_ANY_GPU or SPREAD_FREE */
    uint64_t gpu_bytes;   /* weights and KV, where it runs on a GPU */
};

struct spread_gpu {
    uint64_t room_bytes;  /* that may be taken in all */
    uint64_t base_bytes;  /* taken beside blocks as soon as there is one */
    uint64_t head_bytes;  /* taken beside, where the head runs */
};

struct spread_task {
    const struct spread_block *blocks;
    int n_blocks;
    const struct spread_gpu *gpus;
    int n_gpus;
    int n_layers;         /* of the model */
    /* Free blocks of the last so many layers run on GPUs, and with one at least the head too: it stands behind the last
     * layer, and its logits are all that the host wants to see.  SPREAD_AUTO: as many as fit, from the head backwards;
     * blocks with experts only when all others are there. */
    int wanted;
};

struct spread_short {     /* what has no room */
    int block;            /* the first; -1: all have */
    int device;
    uint64_t bytes, room_bytes; /* what it takes there, and what is left for it */
};

/* Writes device [n_blocks].  False where a block has to run on a GPU and no room is left for it: then it and those
 * behind it are counted for the last GPU (or the one that they are fixed to), and *missing says more.  n_gpus 0:
 * no block may be fixed to a GPU, wanted is 0 or SPREAD_AUTO. */
bool spread_blocks(uint8_t *device, struct spread_short *missing, const struct spread_task *task);

/* The largest `wanted` with which all fit, all else being equal; -1: none has room.  device [n_blocks] is scratch. */
int spread_most_layers(uint8_t *device, const struct spread_task *task);

/* What device 1 + g has to hold. */
uint64_t spread_sum(const struct spread_task *task, const uint8_t *device, int g);

#endif
