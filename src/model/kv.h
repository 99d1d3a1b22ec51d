/* kv.h - the cache of keys and values: pages of KV_PAGE positions, handed to sequences as they grow.
 *
 * All layers use the same page numbers, so one table of pages per sequence serves them all:
 *
 *     table[seq]:  7  0  3  -  -        position p of the sequence: page table[p / KV_PAGE],
 *                                       row p % KV_PAGE
 *     layer i:     keys of page 0 | page 1 | ... | values of page 0 | page 1 | ...
 *
 * Layers with a sliding or chunked window keep a ring instead, wherever that is smaller: every sequence
 * has pages for the window and one batch of its own, and position p lies in page (p / KV_PAGE) % ring_pages
 * of them.  What has left the ring cannot be gone back to: kv_keeps().
 *
 * A layer's pages lie on the device that runs its attention; page numbers are the same on all of them.
 *
 * All of it is reserved in address space when it is made and becomes memory as it is written, on a GPU at once.
 * The table stays at one address for good. */
#ifndef KV_H
#define KV_H

#include "backend.h"
#include "hparams.h"

struct kv_params {
    enum dtype type_k, type_v; /* F32, F16, BF16, Q8_0, Q4_0 */
    int n_seqs;
    int n_ctx;                 /* most positions of one sequence */
    int n_pages;               /* of the pool */
    int n_batch;               /* most positions of a sequence that one step appends */
};

struct kv_devices { /* where the layers' keys and values lie */
    struct backend *const *backends; /* [n]; one without layers may be NULL */
    int n;
    const uint8_t *of_layer;         /* [L] which of them; NULL: all on the first */
};

struct kv_memory { /* of one device */
    struct backend *backend;
    void *p;
    size_t bytes;              /* of address space */
};

struct kv {
    struct kv_memory memory[BACKEND_MOST_DEVICES];
    int n_layers;
    struct kv_layer *layers;   /* [L], owned */
    int n_seqs, max_pages, n_pages;
    int32_t *table;            /* [n_seqs, max_pages], owned */
    int32_t *n_tokens;         /* [n_seqs] positions in use */
    int32_t *n_written;        /* [n_seqs] the most there have been since the sequence was empty */
    int ring_pages, n_window;  /* of windowed layers; 0: they use the table too */
    int32_t *free_pages;       /* [n_free] a stack */
    int n_free;
    size_t page_bytes;         /* of one page of the pool over all layers that use it, keys and values */
    size_t ring_bytes;         /* of one sequence's rings over all layers that have one */
};

/* Bytes that kv_init() would reserve, for one layer and for all; what `plan` prints. */
size_t kv_layer_bytes(const struct hparams *h, const struct kv_params *p, int layer);
size_t kv_bytes(const struct hparams *h, const struct kv_params *p);

/* What a position costs: bytes over all layers that see the whole context, over those with a window, and
 * how much of kv_bytes() are rings, which do not grow with the context. */
struct kv_costs {
    size_t token_bytes, window_token_bytes, ring_bytes;
};
void kv_costs(struct kv_costs *out, const struct hparams *h, const struct kv_params *p);

/* REDLINE_SUPPORT for a type that the cache cannot hold. */
int kv_check_type(enum dtype type, struct redline_err *err);

/* Refuses what kv_check_type() does. */
int  kv_init(struct kv *out, const struct hparams *h, const struct kv_params *p, const struct kv_devices *devices,
             struct redline_err *err);
void kv_fini(struct kv *kv); /* accepts {0} */

/* Makes room for one more position of a sequence and returns it in *pos.  REDLINE_ARG when the
 * sequence is full, REDLINE_BUSY when the pool is. */
int kv_append(struct kv *kv, int seq, int32_t *pos, struct redline_err *err);

/* Forgets everything from position n_tokens on; whole pages go back to the pool. */
void kv_trim(struct kv *kv, int seq, int n_tokens);

/* How many of the first n_tokens positions of a sequence can be kept when the rest is forgotten: all, or
 * none where a ring has lost some of what the next position sees. */
int kv_keeps(const struct kv *kv, int seq, int n_tokens);

/* Bytes that hold something at the moment, over all sequences, given the pages of the pool in use. */
size_t kv_used_bytes(const struct kv *kv, int n_pages, int n_seqs);

/* Pages that hold n_tokens positions. */
int kv_pages_of(int n_tokens);

/* Asserts that every page is either free or in exactly one sequence. */
void kv_check(const struct kv *kv);

#endif
