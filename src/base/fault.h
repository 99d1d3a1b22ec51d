/* fault.h - making the Nth allocation, read or thread fail, so that tests can see what then happens.
 *
 * The places in base/ that the system can refuse ask fault_hits() first.  Unarmed, that costs two
 * relaxed atomic operations. */
#ifndef FAULT_H
#define FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum fault_kind { FAULT_ALLOC, FAULT_READ, FAULT_THREAD, FAULT_COUNT };

/* The nth (from 1) event of this kind from now on fails, and every later one too when `sticky`;
 * n = 0 disarms. */
void fault_arm(enum fault_kind kind, uint64_t n, bool sticky);

/* Events of this kind since the last fault_arm(); how a test learns how many there are to fail. */
uint64_t fault_count(enum fault_kind kind);

/* Called by the place that is about to do the thing; true: pretend that the system refused. */
bool fault_hits(enum fault_kind kind);

#endif
