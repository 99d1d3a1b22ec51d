/* simt.h - a GPU that is no GPU: kernels run on the CPU, one thread after the other.
 *
 * Every thread of a block is a fibre.  A warp runs until each of its lanes waits; then another one does, and which, and
 * in which order its lanes run, depends on a seed: what only works in one order fails in another.  What a GPU leaves
 * undefined is made wrong here: memory is filled with NaNs before it is used, asynchronous copies arrive when they are
 * waited for and no sooner, what earlier kernels write is not there before grid_wait(), streams begin to work when
 * somebody waits for them.  A kernel that does what no kernel may do ends the program with a sentence.
 *
 * The environment says what there is, see simt_runtime.cc, and
 *     SIMT_SEED    the order of blocks, warps and lanes; 0: as they are numbered */
#ifndef SIMT_H
#define SIMT_H

#include <stddef.h>
#include <stdint.h>

#include <functional>
#include <vector>

#include "cuda_runtime.h"

enum { SIMT_LANES = 32, SIMT_BRINGS = 32, SIMT_POISON = 0xff, SIMT_PAGE = 4096 };

struct simt_place { /* in a kernel */
    const char *file;
    int line;
};

/* A default argument: where the call stands. */
#define SIMT_HERE simt_place at = simt_place{__builtin_FILE(), __builtin_LINE()}

/* Ends the program.  Behind the sentence stands what runs: the kernel, block and thread. */
[[noreturn]] void simt_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Runs a kernel to its end: `thread` is what each of its threads does.  early: the device on which it may begin before
 * the kernels in front of it have ended; -1: it may not. */
void simt_grid(const char *kernel, dim3 grid, dim3 block, size_t shared_bytes, int early,
               const std::function<void()> &thread);

/* From now on; tests set it. */
void simt_seed(uint64_t seed);

/* From now on all that takes memory fails so, as it does on a device whose kernel failed; cudaSuccess ends it. */
void simt_break(cudaError_t status);

/* Red zones of all memory, of the devices and pinned; ends the program where one was written to. */
void simt_check(void);

/* ---- kernels that begin early: simt_early.cc -------------------------------------------------------------- */

/* A kernel is about to write to this page for the first time since nothing was under way on the device. */
void simt_early_keep(int device, void *page);
std::vector<void *> simt_early_pages(int device); /* that are kept */
void simt_early_forget(int device);               /* nothing is under way there */

/* Poisons what kernels have changed; gives it back. */
void simt_early_hide(int device);
void simt_early_show(void);

/* ---- what lanes do together; see lane_simt.h ------------------------------------------------------------ */

struct simt_meeting { /* of the lanes of a warp */
    uint32_t present; /* lanes that have not ended */
    alignas(16) unsigned char brought[SIMT_LANES][SIMT_BRINGS];
};

/* Waits until all other lanes come with the same `what` to the same place; everybody brings some bytes. */
const simt_meeting *simt_meet(const char *what, simt_place at, const void *bytes, size_t n_bytes);

/* What a lane has brought. */
const void *simt_brought(const simt_meeting *m, int lane);

int simt_lane(void);
void simt_block_barrier(simt_place at);
void simt_grid_wait(void);
char *simt_shared_memory(void);

/* Copies of one thread, in groups. */
void simt_copy(void *shared, const void *global, bool valid, simt_place at);
void simt_copy_commit(void);
void simt_copy_wait(int n_groups);

#endif
