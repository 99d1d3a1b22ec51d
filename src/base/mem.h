/* mem.h - the only door to the heap.
 *
 * Every allocation can be refused and every caller says so with err_memory(); tests make each one
 * fail in turn (fault.h) and count that none happens between the first and the last token. */
#ifndef MEM_H
#define MEM_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* All return NULL when refused or when n * size overflows; n * size == 0 gives a valid pointer. */
void *mem_new(size_t n, size_t size);               /* n objects of size bytes, zeroed */
void *mem_resize(void *p, size_t n, size_t size);   /* like realloc: p stays valid on refusal */
void *mem_aligned(size_t bytes, size_t alignment);  /* not zeroed; alignment: a power of two */
char *mem_copy(const char *s, size_t n);            /* n bytes and a closing zero */
void  mem_free(void *p);                            /* accepts NULL, and any of the above */

/* Address space of `bytes` that becomes memory page by page as it is written, zeroed at first touch.
 * What KV pools and other large, sparsely used blocks are made of. */
int  mem_reserve(void **out, size_t bytes, const char *what, struct redline_err *err);
void mem_release(void *p, size_t bytes); /* accepts NULL */

/* Number of successful mem_new/resize/aligned/copy calls of the process so far. */
uint64_t mem_n_allocations(void);

#endif
