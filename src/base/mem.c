/* mem.c - the heap behind mem.h: overflow checks, the fault hook, a counter. */
#define _GNU_SOURCE
#include "mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fault.h"

static _Atomic uint64_t n_allocations;

static void *counted(void *p)
{
    if (p) atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    return p;
}

void *mem_new(size_t n, size_t size)
{
    if (fault_hits(FAULT_ALLOC)) return NULL;
    if (n == 0 || size == 0) n = size = 1;
    return counted(calloc(n, size));
}

void *mem_resize(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (fault_hits(FAULT_ALLOC) || __builtin_mul_overflow(n, size, &bytes)) return NULL;
    return counted(realloc(p, bytes ? bytes : 1));
}

void *mem_aligned(size_t bytes, size_t alignment)
{
    if (fault_hits(FAULT_ALLOC) || bytes > SIZE_MAX - alignment) return NULL;
    size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    return counted(aligned_alloc(alignment, rounded ? rounded : alignment));
}

char *mem_copy(const char *s, size_t n)
{
    if (fault_hits(FAULT_ALLOC) || n == SIZE_MAX) return NULL;
    char *p = counted(malloc(n + 1));
    if (!p) return NULL;
    if (n) memcpy(p, s, n);
    p[n] = '\0';
    return p;
}

void mem_free(void *p)
{
    free(p);
}

int mem_reserve(void **out, size_t bytes, const char *what, struct redline_err *err)
{
    *out = NULL;
    if (bytes == 0) bytes = 1;
    if (fault_hits(FAULT_ALLOC)) return err_memory(err, bytes, what);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);
    if (p == MAP_FAILED) return err_memory(err, bytes, what);
    *out = p;
    return 0;
}

void mem_release(void *p, size_t bytes)
{
    if (p) munmap(p, bytes ? bytes : 1);
}

uint64_t mem_n_allocations(void)
{
    return atomic_load_explicit(&n_allocations, memory_order_relaxed);
}
