/* twin_gpu.h - for tests: made-up GPUs that compute with the CPU's kernels in memory of their own.
 *
 * An address that a twin gives out carries its number in the top byte and leads nowhere: whoever reads it on the host
 * dies, and an operation that names another device's memory is refused.  Memory is limited, what goes beyond is
 * refused; weights are copies, so the file may be gone. */
#ifndef TWIN_GPU_H
#define TWIN_GPU_H

#include "backend.h"

enum { TWIN_MOST = 4 };

/* From now on there are so many, each with so much memory to give; none may be open. */
void twin_set(int n, uint64_t room_bytes);
void twin_set_room(int device, uint64_t room_bytes);
void twin_hold(int device); /* by another process; until twin_set() */
void twin_refuse(const char *sentence); /* none, as their driver says why; until twin_set() */

uint64_t twin_used(int device);     /* bytes taken at the moment */
uint64_t twin_unclaimed(int device); /* bytes claimed for weights when it was opened, that none has taken */
int twin_n_open(void);
int twin_n_facts(void);             /* how often somebody has asked for the facts of one */

#endif
