/* device.cu - finding and opening GPUs, their memory, and the sentences of their failures. */
#include "device.h"

#include <pthread.h>
#include <stdio.h>

enum { OLDEST_ARCH = 80 };

/* CUDA's number of the nth device that kernels are there for; -1 where there are fewer.  *count: how many there are. */
static int usable(int nth, int *count)
{
    int n = 0, found = -1, n_found = 0;
    if (cudaGetDeviceCount(&n) != cudaSuccess) n = 0;
    for (int i = 0; i < n; i++) {
        int major = 0;
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i);
        if (10 * major < OLDEST_ARCH) continue;
        if (n_found++ == nth) found = i;
    }
    cudaGetLastError(); /* having none is no failure */
    if (count) *count = n_found;
    return found;
}

int device_count(void)
{
    int count;
    usable(0, &count);
    return count;
}

/* That there are devices and kernels for none of them. */
static int check_ages(int n_there, struct redline_err *err)
{
    cudaDeviceProp p;
    if (n_there == 0 || device_count() > 0 || cudaGetDeviceProperties(&p, 0) != cudaSuccess) return 0;
    return err_set(err, REDLINE_DEVICE, "the GPU %.95s has compute capability %d.%d, and this program has code for "
                   "%d.%d and newer", p.name, p.major, p.minor, OLDEST_ARCH / 10, OLDEST_ARCH % 10);
}

int device_check_all(struct redline_err *err)
{
    int n = 0, driver = 0, built = 0;
    cudaError_t status = cudaGetDeviceCount(&n);
    if (status == cudaSuccess) return check_ages(n, err);
    cudaDriverGetVersion(&driver); /* 0: there is none */
    cudaRuntimeGetVersion(&built);
    cudaGetLastError();
    if (status == cudaErrorNoDevice || (status == cudaErrorInsufficientDriver && driver == 0)) return 0;
    return err_set(err, REDLINE_DEVICE,
                   "CUDA gives this program no GPU: %s (%s; the driver serves CUDA %d.%d, the program was built with "
                   "CUDA %d.%d)", cudaGetErrorString(status), cudaGetErrorName(status), driver / 1000,
                   driver % 1000 / 10, built / 1000, built % 1000 / 10);
}

static int failure(struct redline_err *err, int index, const char *what, cudaError_t status)
{
    cudaGetLastError();
    return err_set(err, status == cudaErrorMemoryAllocation ? REDLINE_MEMORY : REDLINE_DEVICE,
                   "CUDA device %d: %s failed: %s", index, what, cudaGetErrorString(status));
}

static int missing(struct redline_err *err, int nth)
{
    int count;
    usable(nth, &count);
    return err_set(err, REDLINE_DEVICE, "there is no GPU %d: of compute capability 8.0 or newer there are %d", nth,
                   count);
}

int device_describe(int nth, struct backend_facts *out, struct redline_err *err)
{
    cudaDeviceProp p;
    int index = usable(nth, NULL);
    *out = {};
    if (index < 0) return missing(err, nth);
    cudaError_t status = cudaGetDeviceProperties(&p, index);
    if (status != cudaSuccess) return failure(err, index, "asking what it is", status);
    snprintf(out->name, sizeof out->name, "%.95s", p.name);
    snprintf(out->arch, sizeof out->arch, "%d.%d", p.major, p.minor);
    out->total_bytes = p.totalGlobalMem;
    return 0;
}

int device_facts(int nth, struct backend_facts *out, struct redline_err *err)
{
    size_t free_bytes = 0, total_bytes = 0;
    TRY(device_describe(nth, out, err));
    int index = usable(nth, NULL);
    cudaError_t status = cudaSetDevice(index);
    if (status == cudaSuccess) status = cudaMemGetInfo(&free_bytes, &total_bytes);
    if (status != cudaSuccess) return failure(err, index, "asking for its memory", status);
    out->total_bytes = total_bytes;
    out->free_bytes = free_bytes;
    return 0;
}

/* Whether both the driver and what this program was built with have such edges in graphs. */
static bool knows_early_graphs(void)
{
    enum { SINCE = 12030 };
    int driver = 0, built = 0;
    return cudaDriverGetVersion(&driver) == cudaSuccess && cudaRuntimeGetVersion(&built) == cudaSuccess &&
           driver >= SINCE && built >= SINCE;
}

int device_open(struct device *d, int nth, struct redline_err *err)
{
    cudaDeviceProp p;
    int index = usable(nth, NULL);
    if (index < 0) return missing(err, nth);
    cudaError_t status = cudaGetDeviceProperties(&p, index);
    if (status != cudaSuccess) return failure(err, index, "opening it", status);
    d->index = index;
    d->arch = 10 * p.major + p.minor;
    d->n_multiprocessors = p.multiProcessorCount;
    d->most_shared_bytes = p.sharedMemPerBlockOptin;
    d->early = d->arch >= 90;
    d->early_in_graphs = knows_early_graphs();
    snprintf(d->name, sizeof d->name, "%.95s", p.name);
    device_use(d);
    device_check(d, cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking), "making a stream");
    return device_status(d, err);
}

void device_close(struct device *d)
{
    if (d->stream) {
        device_use(d);
        device_wait(d);
        cudaStreamDestroy(d->stream);
    }
    *d = {};
}

void device_use(struct device *d)
{
    device_check(d, cudaSetDevice(d->index), "using it");
}

void device_wait(struct device *d)
{
    device_check(d, cudaStreamSynchronize(d->stream), "waiting for it");
}

/* ---- launches --------------------------------------------------------------------------------------------------- */

static struct allowance { /* of shared memory on demand */
    const void *kernel;   /* NULL: this place is free */
    int device;
    size_t bytes;
} allowances[4096]; /* several for each kernel of this backend; by address */
static pthread_mutex_t allowances_lock = PTHREAD_MUTEX_INITIALIZER;

/* The place of a kernel on a device, or a free one; NULL: all are taken. */
static struct allowance *find_allowance(const void *kernel, int device)
{
    size_t first = (size_t)kernel / 16 + (size_t)device;
    for (size_t i = 0; i < COUNT_OF(allowances); i++) {
        struct allowance *a = &allowances[(first + i) % COUNT_OF(allowances)];
        if (!a->kernel || (a->kernel == kernel && a->device == device)) return a;
    }
    return NULL;
}

void device_allow_shared(struct device *d, const void *kernel, size_t bytes, const char *what)
{
    cudaError_t status = cudaSuccess;
    pthread_mutex_lock(&allowances_lock);
    struct allowance *a = find_allowance(kernel, d->index);
    if (!a || a->bytes < bytes)
        status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    if (a && a->bytes < bytes && status == cudaSuccess) *a = {kernel, d->index, bytes};
    pthread_mutex_unlock(&allowances_lock);
    device_check(d, status, what);
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

/* Not for want of memory: for what has failed before, which every call tells of. */
static int refuse_memory(struct redline_err *err, const struct device *d, const char *what, cudaError_t status)
{
    char taking[128];
    snprintf(taking, sizeof taking, "taking memory for %s", what);
    return failure(err, d->index, taking, status);
}

int device_take(struct device *d, void **out, size_t bytes, const char *what, struct redline_err *err)
{
    size_t free_bytes = 0, total_bytes = 0;
    *out = NULL;
    if (bytes == 0) return 0;
    device_use(d);
    cudaError_t status = cudaMalloc(out, bytes);
    if (status == cudaSuccess) return device_status(d, err);
    *out = NULL;
    if (status != cudaErrorMemoryAllocation) return refuse_memory(err, d, what, status);
    cudaGetLastError();
    cudaMemGetInfo(&free_bytes, &total_bytes);
    return err_set(err, REDLINE_MEMORY,
                   "no memory for %s on CUDA device %d, %s: %zu bytes were refused, %zu of %zu are free (%s)", what,
                   d->index, d->name, bytes, free_bytes, total_bytes, cudaGetErrorString(status));
}

void device_free(struct device *d, void *p)
{
    if (!p) return;
    device_use(d);
    device_check(d, cudaFree(p), "giving memory back");
}

int device_take_host(struct device *d, void **out, size_t bytes, const char *what, struct redline_err *err)
{
    *out = NULL;
    if (bytes == 0) return 0;
    device_use(d);
    cudaError_t status = cudaMallocHost(out, bytes);
    if (status == cudaSuccess) return device_status(d, err);
    *out = NULL;
    if (status != cudaErrorMemoryAllocation) return refuse_memory(err, d, what, status);
    cudaGetLastError();
    return err_set(err, REDLINE_MEMORY, "no pinned memory for %s: %zu bytes were refused (%s)", what, bytes,
                   cudaGetErrorString(status));
}

void device_free_host(struct device *d, void *p)
{
    if (!p) return;
    device_use(d);
    device_check(d, cudaFreeHost(p), "giving pinned memory back");
}

/* ---- failures --------------------------------------------------------------------------------------------------- */

void device_check(struct device *d, cudaError_t status, const char *what)
{
    if (status == cudaSuccess || d->failed != cudaSuccess) return;
    d->failed = status;
    d->failed_at = what;
}

int device_status(struct device *d, struct redline_err *err)
{
    cudaError_t status = d->failed;
    if (status == cudaSuccess) return 0;
    d->failed = cudaSuccess;
    return failure(err, d->index, d->failed_at, status);
}
