/* device.h - one GPU as the CUDA backend holds it: its memory, its stream, launches.
 *
 * The first CUDA call that fails is kept (failed, failed_at); later launches do nothing, and device_status() makes the
 * sentence, which whoever runs the step returns.  So the code of operations has no error handling in it. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include <cuda_runtime.h>

extern "C" {
#include "backend.h"
#include "base.h"
#include "err.h"
}

struct device {
    int index;                 /* as CUDA counts */
    char name[96];
    cudaStream_t stream;
    int n_multiprocessors;
    int arch;                  /* 90 for 9.0 */
    size_t most_shared_bytes;  /* of one block, on demand */
    bool early;                /* a kernel may begin before the one in front has ended, */
    bool early_in_graphs;      /* in captured steps too: CUDA 12.3 */
    cudaError_t failed;        /* of the first call that failed */
    const char *failed_at;     /* what it was to do */
};

/* How many a driver knows that have compute capability 8.0 or newer, in its order; others do not count.  0 without a
 * driver. */
int device_count(void);
int device_check_all(struct redline_err *err); /* check_devices() of backend.h */
int device_describe(int nth, struct backend_facts *out, struct redline_err *err);
int device_facts(int nth, struct backend_facts *out, struct redline_err *err);

/* Each thread that calls CUDA for it must device_use() it first. */
int  device_open(struct device *d, int nth, struct redline_err *err);
void device_close(struct device *d); /* accepts {}; leaves {} */
void device_use(struct device *d);

/* Memory of the device, and memory of the host that it copies from at full speed.  *out is NULL for no bytes. */
int  device_take(struct device *d, void **out, size_t bytes, const char *what, struct redline_err *err);
void device_free(struct device *d, void *p); /* accepts NULL */
int  device_take_host(struct device *d, void **out, size_t bytes, const char *what, struct redline_err *err);
void device_free_host(struct device *d, void *p); /* accepts NULL */

/* Waits until all that was launched is done. */
void device_wait(struct device *d);

/* Keeps the first failure. */
void device_check(struct device *d, cudaError_t status, const char *what);

/* Its sentence, REDLINE_DEVICE or REDLINE_MEMORY, and forgets it; 0 where nothing failed. */
int device_status(struct device *d, struct redline_err *err);

/* Bytes of shared memory that a launch may ask for without further ado: 48 KiB, less what kernels have of constant
 * size. */
enum { DEVICE_PLAIN_SHARED_BYTES = 40 << 10 };

/* Lets launches of a kernel ask for more: as much as anybody in this process has asked for on this device, since the
 * limit belongs to the kernel, and another engine's launch may be on its way. */
void device_allow_shared(struct device *d, const void *kernel, size_t bytes, const char *what);

/* A kernel on the device's stream.  It may begin before the one in front has ended and must grid_wait() then.
 * Each file has its own: types of parameters that two files name alike differ. */
template <typename... P, typename... A>
static void device_launch(struct device *d, const char *what, void (*kernel)(P...), dim3 grid, dim3 block,
                   size_t shared_bytes, A... args)
{
    if (d->failed != cudaSuccess || grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = d->stream;
    config.attrs = &early;
    config.numAttrs = d->early ? 1 : 0;
#ifdef REDLINE_SIMT
    config.name = what;
#endif
    if (shared_bytes > DEVICE_PLAIN_SHARED_BYTES)
        device_allow_shared(d, (const void *)kernel, shared_bytes, what);
    device_check(d, cudaLaunchKernelEx(&config, kernel, P(args)...), what);
}

#endif
