/* simt_runtime.cc - devices that do not exist: their memory, streams, events and graphs.
 *
 *     SIMT_DEVICES  how many there are: 1
 *     SIMT_MEMORY   what each is said to have, in bytes or with K, M, G: 16G; allocations beyond it are refused
 *     SIMT_L2       its second-level cache likewise: 16K, little, as what is measured beside it is simulated too
 *     SIMT_DRIVER   the CUDA that the driver serves: 13000; 0: there is no driver
 *     SIMT_REFUSES  the number of the error that asking for devices gives: 0
 *     SIMT_GRAPHS   0: what was captured becomes no graph
 *     SIMT_HELD     the devices that another process has for itself: 0,2
 *     SIMT_ARCH     compute capability: 90 for 9.0; one for all of them or a list, 75,90
 *
 * Streams are queues, emptied by whoever waits for them.  One lock is around everything, since kernels have their
 * shared memory in common.  Memory of a device can be touched only while that device works: not by the host, and not
 * by another one. */
#include "simt.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

static const size_t PAGE = SIMT_PAGE, ALIGNMENT = 256;
static const unsigned char ZONE = 0xa5;
static const size_t SHARED_BYTES = 48 << 10, SHARED_MOST = 227 << 10;
static const size_t POISON_MOST = 256 << 20; /* of a block: filling it makes it real */

typedef std::function<void()> work;

struct simt_graph {
    std::vector<work> works;
};

struct simt_stream {
    int device;
    std::deque<work> queue;
    uint64_t n_begun, n_done; /* works that were ever queued, and done */
    std::unique_ptr<simt_graph> capture;
};

struct simt_event {
    cudaStream_t stream; /* NULL: never recorded */
    uint64_t after;      /* so many works of it */
};

/* Pages that end with the block, as far as its alignment allows, and behind them one that nobody may touch.  What of
 * them is not the block is filled with ZONE. */
struct block {
    size_t bytes;
    int device;  /* -1: pinned memory of the host */
    char *pages;
    size_t n;    /* bytes of them */
};

static std::recursive_mutex lock;
#define LOCKED std::lock_guard<std::recursive_mutex> locked(lock)
static thread_local int device;
static thread_local cudaError_t last = cudaSuccess;
static std::map<char *, block> blocks;
static std::map<std::pair<int, const void *>, int> shared_of; /* kernels that may have more than SHARED_BYTES there */
static std::vector<cudaStream_t> streams;

static cudaError_t fail(cudaError_t status)
{
    if (status != cudaSuccess) last = status;
    return status;
}

static uint64_t setting(const char *name, const char *otherwise)
{
    char *end;
    const char *text = getenv(name);
    uint64_t n = strtoull(text ? text : otherwise, &end, 10);
    return n << (*end == 'G' ? 30 : *end == 'M' ? 20 : *end == 'K' ? 10 : 0);
}

/* ---- errors, devices -------------------------------------------------------------------------------------- */

static const struct {
    cudaError_t status;
    const char *name, *text;
} errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorDevicesUnavailable, "cudaErrorDevicesUnavailable", "CUDA-capable device(s) is/are busy or unavailable"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorSystemDriverMismatch, "cudaErrorSystemDriverMismatch", "system has unsupported driver combination"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported", "not permitted when stream is capturing"},
};

const char *cudaGetErrorString(cudaError_t status)
{
    for (auto &e : errors)
        if (e.status == status) return e.text;
    return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t status)
{
    for (auto &e : errors)
        if (e.status == status) return e.name;
    return "unrecognized error code";
}

cudaError_t cudaPeekAtLastError(void)
{
    return last;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t status = last;
    last = cudaSuccess;
    return status;
}

static int n_devices(void)
{
    return (int)setting("SIMT_DEVICES", "1");
}

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = n_devices();
    if (setting("SIMT_DRIVER", "13000") == 0) return fail(cudaErrorInsufficientDriver);
    if (setting("SIMT_REFUSES", "0")) return fail((cudaError_t)setting("SIMT_REFUSES", "0"));
    return fail(*n ? cudaSuccess : cudaErrorNoDevice);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = (int)setting("SIMT_DRIVER", "13000");
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

static int arch_of(int which)
{
    const char *list = getenv("SIMT_ARCH"), *at = list ? list : "90", *comma;
    while (which-- > 0 && (comma = strchr(at, ','))) at = comma + 1;
    return atoi(at);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *out, int which)
{
    if (which < 0 || which >= n_devices()) return fail(cudaErrorInvalidDevice);
    int arch = arch_of(which);
    *out = {};
    snprintf(out->name, sizeof out->name, "Simulated GPU");
    out->totalGlobalMem = setting("SIMT_MEMORY", "16G");
    out->sharedMemPerBlock = SHARED_BYTES;
    out->sharedMemPerBlockOptin = arch >= 90 ? SHARED_MOST : arch == 80 ? 163 << 10 : 99 << 10;
    out->major = arch / 10;
    out->minor = arch % 10;
    out->multiProcessorCount = 4;
    out->l2CacheSize = (int)setting("SIMT_L2", "16K");
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *out, cudaDeviceAttr attribute, int which)
{
    cudaDeviceProp p;
    if (cudaGetDeviceProperties(&p, which) != cudaSuccess) return cudaErrorInvalidDevice;
    switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *out = p.multiProcessorCount; break;
    case cudaDevAttrL2CacheSize: *out = p.l2CacheSize; break;
    case cudaDevAttrComputeCapabilityMajor: *out = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *out = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *out = (int)p.sharedMemPerBlockOptin; break;
    }
    return cudaSuccess;
}

static bool is_held(int which)
{
    const char *list = getenv("SIMT_HELD");
    for (const char *at = list; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (atoi(at) == which) return true;
    return false;
}

cudaError_t cudaSetDevice(int which)
{
    if (which < 0 || which >= n_devices()) return fail(cudaErrorInvalidDevice);
    if (is_held(which)) return fail(cudaErrorDevicesUnavailable);
    device = which;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *which)
{
    *which = device;
    return cudaSuccess;
}

/* ---- memory ----------------------------------------------------------------------------------------------- */

static size_t used_bytes(void)
{
    size_t sum = 0;
    for (auto &b : blocks)
        if (b.second.device == device) sum += b.second.bytes;
    return sum;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    LOCKED;
    *total_bytes = setting("SIMT_MEMORY", "16G");
    *free_bytes = *total_bytes - used_bytes();
    return cudaSuccess;
}

/* Opens or closes the memory of a device. */
static void protect(int owner, int how)
{
    for (auto &b : blocks)
        if (b.second.device == owner && mprotect(b.second.pages, b.second.n, how)) simt_fail("mprotect failed");
}

struct working { /* while one of these lives, that device works */
    int before;
    working(int now);
    ~working();
};

static int worker = -1;

working::working(int now) : before(worker)
{
    if (now == worker) return;
    if (worker >= 0) protect(worker, PROT_NONE);
    if (now >= 0) protect(now, PROT_READ | PROT_WRITE);
    worker = now;
}

working::~working()
{
    int now = worker;
    if (now == before) return;
    if (now >= 0) protect(now, PROT_NONE);
    if (before >= 0) protect(before, PROT_READ | PROT_WRITE);
    worker = before;
}

/* The block that an address is in, or near. */
static const std::pair<char *const, block> *block_at(const void *p)
{
    for (auto &b : blocks)
        if ((char *)p >= b.second.pages && (char *)p < b.second.pages + b.second.n + PAGE) return &b;
    return NULL;
}

static struct sigaction otherwise; /* what is done about addresses that are none of ours */
static bool watching;

static void touched(int, siginfo_t *info, void *)
{
    auto *b = block_at(info->si_addr);
    if (watching && b && b->second.device == worker && (char *)info->si_addr < b->second.pages + b->second.n) {
        char *page = (char *)info->si_addr - (uintptr_t)info->si_addr % PAGE;
        simt_early_keep(worker, page);
        mprotect(page, PAGE, PROT_READ | PROT_WRITE);
        return;
    }
    if (!b) {
        sigaction(SIGSEGV, &otherwise, NULL); /* and again */
        return;
    }
    long at = (char *)info->si_addr - b->first;
    if (worker < 0) simt_fail("the host touches byte %ld of %zu of device %d", at, b->second.bytes, b->second.device);
    simt_fail("device %d touches byte %ld of a block of %zu of device %d", worker, at, b->second.bytes,
              b->second.device);
}

static void set_touched(struct sigaction *before)
{
    struct sigaction action = {};
    action.sa_sigaction = touched;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, before);
}

static struct sigaction put_aside; /* what a test does about signals, while a kernel runs */

/* While a kernel runs, pages that none has written to yet since nothing was under way are closed to writing. */
static void watch(int owner)
{
    set_touched(&put_aside);
    if (put_aside.sa_sigaction != touched) otherwise = put_aside;
    protect(owner, PROT_READ);
    for (void *p : simt_early_pages(owner)) mprotect(p, PAGE, PROT_READ | PROT_WRITE);
    watching = true;
}

static void watch_no_more(int owner)
{
    protect(owner, PROT_READ | PROT_WRITE);
    watching = false;
    sigaction(SIGSEGV, &put_aside, NULL);
}

static void check_zones(const char *p, const block *b)
{
    for (const char *z = b->pages; z < b->pages + b->n; z++) {
        if (z == p) z += b->bytes;
        if (z < b->pages + b->n && (unsigned char)*z != ZONE)
            simt_fail("byte %ld of a block of %zu bytes was written to", (long)(z - p), b->bytes);
    }
}

static void check_device(int owner)
{
    working now(owner);
    for (auto &b : blocks)
        if (b.second.device == owner) check_zones(b.first, &b.second);
}

void simt_check(void)
{
    LOCKED;
    for (int i = -1; i < n_devices(); i++) check_device(i);
}

static cudaError_t broken = cudaSuccess;

void simt_break(cudaError_t status)
{
    LOCKED;
    broken = status;
    last = cudaSuccess;
}

static cudaError_t take(void **out, size_t bytes, int owner)
{
    size_t room = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT, n = (room + ALIGNMENT + PAGE - 1) / PAGE * PAGE;
    if (broken != cudaSuccess) return fail(broken);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *pages = (char *)mmap(NULL, n + PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (pages == MAP_FAILED) return fail(cudaErrorMemoryAllocation);
    if (!otherwise.sa_sigaction) set_touched(&otherwise);
    char *p = pages + n - room;
    memset(pages, ZONE, (size_t)(p - pages));
    memset(p, SIMT_POISON, std::min(bytes, POISON_MOST));
    memset(p + bytes, ZONE, room - bytes);
    mprotect(pages + n, PAGE, PROT_NONE);
    if (owner >= 0) mprotect(pages, n, PROT_NONE);
    blocks[p] = {bytes, owner, pages, n};
    *out = p;
    return cudaSuccess;
}

static bool capturing(void)
{
    for (cudaStream_t s : streams)
        if (s->capture) return true;
    return false;
}

static cudaError_t give_back(void *p, bool pinned)
{
    LOCKED;
    auto at = blocks.find((char *)p);
    if (!p) return cudaSuccess;
    if (at == blocks.end() || (at->second.device < 0) != pinned) return fail(cudaErrorInvalidValue);
    cudaDeviceSynchronize();
    check_device(at->second.device);
    munmap(at->second.pages, at->second.n + PAGE);
    blocks.erase(at);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    LOCKED;
    if (capturing()) return fail(cudaErrorStreamCaptureUnsupported);
    if (bytes > setting("SIMT_MEMORY", "16G") - used_bytes()) return fail(cudaErrorMemoryAllocation);
    return take(out, bytes, device);
}

cudaError_t cudaFree(void *p)
{
    return give_back(p, false);
}

cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    LOCKED;
    return take(out, bytes, -1);
}

cudaError_t cudaFreeHost(void *p)
{
    return give_back(p, true);
}

/* ---- streams, events, graphs ------------------------------------------------------------------------------ */

static void work_until(cudaStream_t s, uint64_t n)
{
    working now(s->device);
    while (s->n_done < n) {
        work next = std::move(s->queue.front());
        s->queue.pop_front();
        s->n_done++;
        next();
    }
    simt_early_forget(s->device); /* what follows is begun when all of this has ended */
}

static cudaError_t submit(cudaStream_t s, work w)
{
    if (s->capture) {
        s->capture->works.push_back(std::move(w));
        return cudaSuccess;
    }
    s->queue.push_back(std::move(w));
    s->n_begun++;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
    LOCKED;
    streams.push_back(*out = new simt_stream{device, {}, 0, 0, {}});
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    LOCKED;
    if (s->capture) return fail(cudaErrorStreamCaptureUnsupported);
    work_until(s, s->n_begun);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    LOCKED;
    work_until(s, s->n_begun);
    streams.erase(std::find(streams.begin(), streams.end(), s));
    delete s;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    LOCKED;
    if (capturing()) return fail(cudaErrorStreamCaptureUnsupported);
    for (cudaStream_t s : streams) work_until(s, s->n_begun);
    return cudaSuccess;
}

cudaError_t cudaDeviceReset(void)
{
    LOCKED;
    while (!streams.empty()) cudaStreamDestroy(streams.back());
    while (!blocks.empty()) give_back(blocks.begin()->first, blocks.begin()->second.device < 0);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned)
{
    *out = new simt_event{NULL, 0};
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t s)
{
    LOCKED;
    if (s->capture) return fail(cudaErrorStreamCaptureUnsupported);
    *event = {s, s->n_begun};
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    LOCKED;
    if (event->stream) work_until(event->stream, event->after);
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t event, unsigned)
{
    LOCKED;
    simt_event now = *event;
    if (!now.stream) return cudaSuccess;
    return submit(s, [=] { work_until(now.stream, now.after); });
}

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode)
{
    LOCKED;
    if (s->capture) return fail(cudaErrorStreamCaptureUnsupported);
    s->capture.reset(new simt_graph);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *out)
{
    LOCKED;
    *out = s->capture.release();
    return *out ? cudaSuccess : fail(cudaErrorInvalidValue);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *out, cudaGraph_t graph, unsigned long long)
{
    if (setting("SIMT_GRAPHS", "1") == 0) return fail(cudaErrorMemoryAllocation);
    *out = new simt_graph(*graph);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t s)
{
    LOCKED;
    for (const work &w : graph->works) submit(s, w);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph)
{
    delete graph;
    return cudaSuccess;
}

/* ---- copies, launches ------------------------------------------------------------------------------------- */

/* A copy may touch its own device's memory, in one block, and the host's. */
static void check_range(const void *p, size_t bytes, int of_device)
{
    auto *at = block_at(p);
    if (!at) return;
    if (at->second.device >= 0 && at->second.device != of_device)
        simt_fail("device %d copies memory of device %d", of_device, at->second.device);
    if ((char *)p < at->first || (char *)p + bytes > at->first + at->second.bytes)
        simt_fail("%zu bytes are copied from or to byte %ld of a block of %zu", bytes, (long)((char *)p - at->first),
                  at->second.bytes);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t s)
{
    LOCKED;
    check_range(to, bytes, s->device);
    check_range(from, bytes, s->device);
    return submit(s, [=] {
        simt_early_forget(s->device);
        memmove(to, from, bytes);
    });
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t s)
{
    LOCKED;
    check_range(to, bytes, s->device);
    return submit(s, [=] {
        simt_early_forget(s->device);
        memset(to, byte, bytes);
    });
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind)
{
    LOCKED;
    cudaError_t status = cudaDeviceSynchronize();
    check_range(to, bytes, device);
    check_range(from, bytes, device);
    working now(device);
    if (status == cudaSuccess) memmove(to, from, bytes);
    return status;
}

cudaError_t cudaMemset(void *to, int byte, size_t bytes)
{
    LOCKED;
    cudaError_t status = cudaDeviceSynchronize();
    check_range(to, bytes, device);
    working now(device);
    if (status == cudaSuccess) memset(to, byte, bytes);
    return status;
}

cudaError_t simt_set_shared(const void *kernel, int bytes)
{
    LOCKED;
    cudaDeviceProp p;
    cudaGetDeviceProperties(&p, device);
    if (bytes < 0 || (size_t)bytes > p.sharedMemPerBlockOptin) return fail(cudaErrorInvalidValue);
    shared_of[{device, kernel}] = bytes;
    return cudaSuccess;
}

/* As was last said. */
static size_t most_shared(int which, const void *kernel)
{
    auto at = shared_of.find({which, kernel});
    return at == shared_of.end() ? SHARED_BYTES : (size_t)at->second;
}

cudaError_t simt_launch(const cudaLaunchConfig_t *config, const void *kernel, work thread)
{
    LOCKED;
    cudaLaunchConfig_t c = *config;
    uint64_t n_threads = (uint64_t)c.blockDim.x * c.blockDim.y * c.blockDim.z;
    if (c.dynamicSmemBytes > most_shared(device, kernel) || n_threads == 0 || n_threads > 1024 || c.blockDim.z > 64 ||
        c.gridDim.x == 0 || c.gridDim.x > 0x7fffffff || c.gridDim.y - 1 > 65534 || c.gridDim.z - 1 > 65534)
        return fail(cudaErrorInvalidConfiguration);
    if (c.stream->capture && c.numAttrs > 0 && setting("SIMT_DRIVER", "13000") < 12030)
        return fail(cudaErrorStreamCaptureUnsupported); /* edges that no graph had then */
    if (c.stream->device != device) simt_fail("kernel %s on a stream of another device", c.name);
    return submit(c.stream, [=] {
        if (c.dynamicSmemBytes > most_shared(c.stream->device, kernel)) /* it was lowered meanwhile */
            simt_fail("kernel %s begins with %zu bytes of shared memory and may have %zu", c.name, c.dynamicSmemBytes,
                      most_shared(c.stream->device, kernel));
        if (c.numAttrs == 0) simt_early_forget(c.stream->device);
        watch(c.stream->device);
        simt_grid(c.name ? c.name : "?", c.gridDim, c.blockDim, c.dynamicSmemBytes,
                  c.numAttrs > 0 ? c.stream->device : -1, thread);
        watch_no_more(c.stream->device);
        check_device(c.stream->device);
    });
}
