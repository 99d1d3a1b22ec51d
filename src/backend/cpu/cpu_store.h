/* cpu_store.h - where the CPU keeps what every token reads: copies of weights in huge pages.
 *
 * A mapped file lies in pages of 4 KiB.  Each has to be translated anew, and the processor's own reading ahead
 * ends at each; from pages of 2 MiB the same bytes come 10 to 20 % faster (docs/speed-log.md). */
#ifndef CPU_STORE_H
#define CPU_STORE_H

#include <stddef.h>

#include "err.h"
#include "team.h"

struct store_block { /* of memory; tensors lie in it one behind the other */
    void *reserved;  /* owned */
    size_t reserved_bytes;
    char *p;         /* in it, at the start of a huge page */
    size_t bytes, used;
};

struct store {
    struct store_block *blocks; /* [n_blocks], owned; the last is being filled */
    int n_blocks, capacity;
};

/* Replaces *data by the address of a copy of its bytes, made by the whole team. */
int  store_put(struct store *s, struct team *team, const void **data, size_t bytes, struct redline_err *err);
void store_free(struct store *s); /* accepts {0}; leaves {0} */

#endif
