/* fault.c - counters behind fault.h; shared by all threads. */
#include "fault.h"

#include <stdatomic.h>

static struct {
    _Atomic uint64_t count;
    _Atomic uint64_t fail_at; /* 0: unarmed */
    _Atomic bool sticky;
} faults[FAULT_COUNT];

void fault_arm(enum fault_kind kind, uint64_t n, bool sticky)
{
    atomic_store(&faults[kind].count, 0);
    atomic_store(&faults[kind].sticky, sticky);
    atomic_store(&faults[kind].fail_at, n);
}

uint64_t fault_count(enum fault_kind kind)
{
    return atomic_load(&faults[kind].count);
}

bool fault_hits(enum fault_kind kind)
{
    uint64_t at = atomic_load_explicit(&faults[kind].fail_at, memory_order_relaxed);
    uint64_t i = atomic_fetch_add_explicit(&faults[kind].count, 1, memory_order_relaxed) + 1;
    if (at == 0) return false;
    return i == at || (i > at && atomic_load_explicit(&faults[kind].sticky, memory_order_relaxed));
}
