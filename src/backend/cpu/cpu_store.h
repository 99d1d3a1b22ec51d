/* cpu_store.h - weights as the CPU's products read them: rows of the mapped file, and strips made of them.
 *
 * Every weight that products read has room reserved for its strips (strip.h), in huge pages where the system has
 * them.  Nothing is packed while a model is loaded: whoever first multiplies with some rows packs them, uses them
 * and lets go of the file's pages.  So the first token waits for no more than it needs, experts that nobody chooses
 * are never packed, and at no time is more than the rows at hand in memory twice.  A strip gives the same bits,
 * packed for good or for the moment. */
#ifndef CPU_STORE_H
#define CPU_STORE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "kern.h"
#include "step.h"

struct store_block { /* of address space; weights lie in it one behind the other */
    void *reserved;  /* owned */
    size_t reserved_bytes;
    char *p;         /* in it, at the start of a huge page */
    size_t bytes, used;
};

/* What struct weight's `placed` points to.  Its matrices are one, of all their rows; views of it share it. */
struct placed {
    struct placed *next;
    enum dtype dtype;
    int n_cols;
    const char *rows;     /* of the file */
    size_t row_bytes;
    int64_t n_rows, n_strips;
    char *strips;         /* [n_strips] */
    size_t strip_bytes;
    atomic_uchar *state;  /* [n_strips] enum strip_state */
    atomic_llong n_packed;
};

enum strip_state { STRIP_RAW, STRIP_BUSY, STRIP_PACKED };

struct store {
    struct store_block *blocks; /* [n_blocks], owned; the last is being filled */
    int n_blocks, capacity;
    struct placed *placed;      /* owned; the latest first */
    size_t most_strip_bytes;    /* of all that was placed */
};

/* Reserves room for the strips of a weight and sets w->placed. */
int  store_place(struct store *s, struct weight *w, struct redline_err *err);
void store_free(struct store *s); /* accepts {0}; leaves {0} */

/* Strips of the n_rows rows of w that begin at w->data + offset, packed by this call where nobody has done that.
 * NULL when they do not begin where a strip does, or another thread is packing some of them now: then
 * store_pack_rows() makes one strip for the moment. */
const char *store_strips(const struct weight *w, size_t offset, int n_rows, const struct kern_ops *kern);

/* The n_rows rows, at most STRIP, that begin at w->data + offset, as one strip. */
void store_pack_rows(char *strip, const struct weight *w, size_t offset, int n_rows, const struct kern_ops *kern);

#endif
