/* kv.h - the cache of keys and values: pages of KV_PAGE positions, handed to sequences as they grow.
 *
 * All layers use the same page numbers, so one table of pages per sequence serves them all:
 *
 *     table[seq]:  7  0  3  -  -        position p of the sequence: page table[p / KV_PAGE],
 *                                       row p % KV_PAGE
 *     layer i:     keys of page 0 | page 1 | ... | values of page 0 | page 1 | ...
 *
 * The whole pool is reserved in address space when it is made and becomes memory as it is written.
 * The table stays at one address for good. */
#ifndef KV_H
#define KV_H

#include "backend.h"
#include "hparams.h"

struct kv_params {
    enum dtype type_k, type_v; /* F16 or F32 */
    int n_seqs;
    int n_ctx;                 /* most positions of one sequence */
    int n_pages;               /* of the pool */
};

struct kv {
    struct backend *backend;
    int n_layers;
    struct kv_layer *layers;   /* [L], owned */
    int n_seqs, max_pages, n_pages;
    int32_t *table;            /* [n_seqs, max_pages], owned */
    int32_t *n_tokens;         /* [n_seqs] positions in use */
    int32_t *free_pages;       /* [n_free] a stack */
    int n_free;
    void *memory;
    size_t bytes;              /* of address space */
    size_t page_bytes;         /* of one page over all layers, keys and values */
};

/* Bytes of the pool that kv_init() would reserve; what `plan` prints. */
size_t kv_bytes(const struct hparams *h, const struct kv_params *p);

/* REDLINE_SUPPORT for a type that the cache cannot hold. */
int  kv_init(struct kv *out, const struct hparams *h, const struct kv_params *p, struct backend *b,
             struct redline_err *err);
void kv_fini(struct kv *kv); /* accepts {0} */

/* Makes room for one more position of a sequence and returns it in *pos.  REDLINE_ARG when the
 * sequence is full, REDLINE_BUSY when the pool is. */
int kv_append(struct kv *kv, int seq, int32_t *pos, struct redline_err *err);

/* Forgets everything from position n_tokens on; whole pages go back to the pool. */
void kv_trim(struct kv *kv, int seq, int n_tokens);

/* Pages that hold n_tokens positions. */
int kv_pages_of(int n_tokens);

/* Asserts that every page is either free or in exactly one sequence. */
void kv_check(const struct kv *kv);

#endif
