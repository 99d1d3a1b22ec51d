/* cpu_store.h - weights as the CPU's products read them: rows of the mapped file, and strips made of them.
 *
 * Every weight that products read as strips (strip.h) has room reserved for them, in huge pages where the system has
 * them.  Nothing is packed while a model is loaded: the first product that meets unpacked rows packs them.  Within the
 * step's allowance the strips are kept and the file's pages let go; beyond it they are packed for this product alone,
 * so that the first token does not wait for the whole model, and the rest follows between requests.  At no time is more
 * than the rows at hand in memory twice.  Every matrix begins a strip of its own, so of a tensor that holds several the
 * parts that are multiplied are placed, each for itself.  A strip gives the same bits, packed for good or for the
 * moment. */
#ifndef CPU_STORE_H
#define CPU_STORE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "kern.h"
#include "step.h"
#include "team.h"

struct store_block { /* of address space; weights lie in it one behind the other */
    void *reserved;  /* owned */
    size_t reserved_bytes;
    char *p;         /* in it, at the start of a huge page */
    size_t bytes, used;
};

/* What struct weight's `placed` points to. */
struct placed {
    struct placed *next;
    struct store *store;
    enum dtype dtype;
    int n_cols;
    const char *rows;     /* of the file */
    size_t row_bytes, mat_bytes;
    int n_rows, mat_strips; /* of each matrix */
    int64_t n_strips;       /* of all */
    char *strips;         /* [n_strips] */
    size_t strip_bytes;
    atomic_uchar *state;  /* [n_strips] enum strip_state */
    atomic_llong n_packed;
};

enum strip_state { STRIP_RAW, STRIP_BUSY, STRIP_PACKED };

struct store {
    struct store_block *blocks; /* [n_blocks], owned; the last is being filled */
    int n_blocks, capacity;
    struct placed *placed, **end; /* owned, in the order of placing */
    atomic_llong allowance;     /* bytes that may still be packed for good in this step */
    long long allowed;          /* what it was at its beginning */
    struct placed *cursor;      /* all before it is packed */
};

/* Reserves room for the strips of a weight and sets w->placed. */
int  store_place(struct store *s, struct weight *w, struct redline_err *err);
void store_free(struct store *s); /* accepts {0}; leaves {0} */

/* From now on so many bytes may be packed for good while products run; and whether any have been since. */
void store_allow(struct store *s, long long bytes);
bool store_packed_some(const struct store *s);

/* Packs about so many bytes of what is not, with the whole team; true when nothing is left. */
bool store_settle(struct store *s, struct team *team, const struct kern_ops *kern, size_t bytes);

/* Strips of the n_rows rows of w that begin at w->data + offset, packed by this call where nobody has done that.
 * They begin at a multiple of STRIP in one matrix.  NULL when the allowance is used up, or another thread is packing
 * some of them now: then store_pack_rows() makes strips for the moment. */
const char *store_strips(const struct weight *w, size_t offset, int n_rows, const struct kern_ops *kern);

/* The n_rows rows that begin at w->data + offset, as strips one behind the other. */
void store_pack_rows(char *strips, const struct weight *w, size_t offset, int n_rows, const struct kern_ops *kern);

#endif
