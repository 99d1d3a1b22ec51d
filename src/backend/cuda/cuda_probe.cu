/* cuda_probe.cu - what a GPU can do at most: reading its memory, copying within it, products of BF16.
 *
 * As cpu_probe.c does it: the best of several repetitions, each long against a launch; of arithmetic, operands and sums
 * stay in registers. */
#include "cuda_backend.h"
#include "lane.cuh"

#include <stdio.h>

extern "C" {
#include "clock.h"
}

#ifdef REDLINE_SIMT
enum { THREADS = 32, LAUNCHES = 1, LEAST = 1 }; /* a simulated thread takes its time */
#else
enum {
    THREADS = 512,
    LAUNCHES = 4, /* in a repetition */
    LEAST = 3,    /* repetitions, whatever time they take */
};
#endif
enum {
    LOADS = 8,        /* of 16 bytes, that a thread has under way */
    CACHES = 16,      /* memory that is read, in second-level caches; */
    LEAST_CACHES = 4, /* with less, much of it would be read from there */
    FIRST_ROUNDS = 1, /* of arithmetic, doubled until a repetition is long */
    SUMS = 8,         /* products that do not wait for one another */
};
static const double long_ns = 2e6, measure_ns = 60e6; /* a repetition; all of them */

/* Thread after thread reads neighbouring numbers; the sum is written where it is what it never is. */
static __global__ void read_memory(const uint4 *from, size_t n, uint32_t *never)
{
    size_t stride = (size_t)gridDim.x * THREADS, at = (size_t)blockIdx.x * THREADS + threadIdx.x;
    uint32_t sum = 0;
    grid_wait();
    for (; at + (LOADS - 1) * stride < n; at += LOADS * stride) {
        uint4 v[LOADS];
        for (int i = 0; i < LOADS; i++) v[i] = load_stream(&from[at + (size_t)i * stride]);
        for (int i = 0; i < LOADS; i++) sum += v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
    }
    for (; at < n; at += stride) { /* what is left: all is counted */
        uint4 v = load_stream(&from[at]);
        sum += v.x ^ v.y ^ v.z ^ v.w;
    }
    if (sum == 0x9e3779b9u) *never = sum;
}

/* Two numbers of BF16 from 1 to 2 with random signs; operands that are all zero, or the same again and again, take less
 * power, and the clock of a card depends on that. */
static LANE uint32_t random_pair(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return ((*state ^ *state >> 15) & 0x807f807fu) | 0x3f803f80u;
}

static __global__ void multiply(uint32_t seed, int rounds, float *never)
{
    float c[SUMS][4] = {};
    uint32_t a[2][4], b[SUMS / 2][2], state = seed + (blockIdx.x * THREADS + threadIdx.x) * 0x9e3779b9u;
    grid_wait();
    for (int i = 0; i < 8; i++) a[i / 4][i % 4] = random_pair(&state);
    for (int i = 0; i < SUMS; i++) b[i / 2][i % 2] = random_pair(&state);
    for (int i = 0; i < rounds; i++)
        for (int k = 0; k < SUMS; k++) warp_mma_bf16(c[k], a[k % 2], b[k / 2]);
    float sum = 0;
    for (int k = 0; k < SUMS; k++) sum += c[k][0] + c[k][1] + c[k][2] + c[k][3];
    if (sum > 0x1p100f) *never = sum;
}

struct probe {
    struct device device;
    char *memory;     /* two halves of `bytes` to copy between, owned */
    size_t bytes;     /* 0: too little is free */
    const char *from; /* [from_bytes] what is read: those halves, or weights */
    size_t from_bytes;
    uint32_t *never;  /* [1] what is never written, owned */
    int rounds;
};

typedef void probe_fn(struct probe *p);

static void launch_read(struct probe *p)
{
    device_launch(&p->device, "reading memory", read_memory, dim3((unsigned)(4 * p->device.n_multiprocessors)),
                  dim3(THREADS), 0, (const uint4 *)p->from, p->from_bytes / sizeof(uint4), p->never);
}

static void launch_copy(struct probe *p)
{
    device_check(&p->device, cudaMemcpyAsync(p->memory + p->bytes, p->memory, p->bytes, cudaMemcpyDeviceToDevice,
                                             p->device.stream), "copying memory");
}

static void launch_multiply(struct probe *p)
{
    device_launch(&p->device, "multiplying", multiply, dim3((unsigned)(2 * p->device.n_multiprocessors)), dim3(THREADS),
                  0, 0u, p->rounds, (float *)p->never);
}

static double repeat_ns(struct probe *p, probe_fn *fn)
{
    uint64_t start = clock_ns();
    for (int k = 0; k < LAUNCHES; k++) fn(p);
    device_wait(&p->device);
    return (double)(clock_ns() - start);
}

/* How often a second `fn` is carried out, at best. */
static double best_rate(struct probe *p, probe_fn *fn)
{
    double least = repeat_ns(p, fn), sum = 0; /* which wakes the device */
    for (int i = 0; (i < LEAST || sum < measure_ns) && p->device.failed == cudaSuccess; i++) {
        double ns = repeat_ns(p, fn);
        if (ns < least) least = ns;
        sum += ns + 1;
    }
    return least > 0 ? LAUNCHES * 1e9 / least : 0;
}

static void find_rounds(struct probe *p)
{
    p->rounds = FIRST_ROUNDS;
    while (p->device.failed == cudaSuccess && p->rounds < 1 << 20 && repeat_ns(p, launch_multiply) < long_ns)
        p->rounds *= 2;
}

/* A product of 16 x 16 by 16 x 8 is 4096 operations. */
static double multiply_ops(const struct probe *p)
{
    return 2.0 * p->device.n_multiprocessors * (THREADS / 32) * p->rounds * SUMS * 4096;
}

/* The size of memory to measure: far more than the cache holds, little of what is free; 0 where that cannot be. */
static size_t choose_bytes(struct probe *p, size_t cache_bytes, struct backend_rates *out)
{
    size_t free_bytes = 0, total_bytes = 0, least = LEAST_CACHES * cache_bytes;
    device_check(&p->device, cudaMemGetInfo(&free_bytes, &total_bytes), "asking for its memory");
    size_t bytes = MIN(CACHES * cache_bytes, MAX(free_bytes / 8, least));
    if (bytes <= free_bytes / 2) return bytes;
    snprintf(out->missing, sizeof out->missing,
             "%.1f MiB of its memory are free, and twice %.1f are needed to read more than its cache holds",
             (double)free_bytes / (1 << 20), (double)bytes / (1 << 20));
    return 0;
}

/* What there is to read and to copy: memory of its own, and for reading rather weights that are there. */
static int find_memory(struct probe *p, const struct cuda_weights *weights, struct backend_rates *out,
                       struct redline_err *err)
{
    int cache = 0;
    device_check(&p->device, cudaDeviceGetAttribute(&cache, cudaDevAttrL2CacheSize, p->device.index),
                 "asking for the cache");
    TRY(device_status(&p->device, err));
    size_t cache_bytes = (size_t)cache;
    p->bytes = choose_bytes(p, cache_bytes, out) / 2 / CUDA_ALIGNMENT * CUDA_ALIGNMENT;
    TRY(device_take(&p->device, (void **)&p->memory, 2 * p->bytes, "memory to measure", err));
    TRY(device_take(&p->device, (void **)&p->never, sizeof *p->never, "memory to measure", err));
    if (p->bytes > 0)
        device_check(&p->device, cudaMemsetAsync(p->memory, 0, 2 * p->bytes, p->device.stream), "clearing memory");
    p->from = p->memory;
    p->from_bytes = 2 * p->bytes;
    if (weights && weights->used >= LEAST_CACHES * cache_bytes) {
        p->from = weights->arena;
        p->from_bytes = MIN(weights->used, CACHES * cache_bytes) / CUDA_ALIGNMENT * CUDA_ALIGNMENT;
    }
    return 0;
}

static int measure(struct probe *p, const struct cuda_weights *weights, struct backend_rates *out,
                   struct redline_err *err)
{
    TRY(find_memory(p, weights, out, err));
    if (p->from_bytes > 0) out->read_bytes = best_rate(p, launch_read) * (double)p->from_bytes;
    if (p->bytes > 0) out->copy_bytes = best_rate(p, launch_copy) * 2 * (double)p->bytes;
    find_rounds(p);
    out->bf16_ops = best_rate(p, launch_multiply) * multiply_ops(p);
    return device_status(&p->device, err);
}

int cuda_measure(int device, struct backend *b, struct backend_rates *out, struct redline_err *err)
{
    struct probe p = {};
    *out = {};
    TRY(device_open(&p.device, device, err));
    int status = measure(&p, b ? &((struct cuda_backend *)b)->weights : NULL, out, err);
    device_free(&p.device, p.memory);
    device_free(&p.device, p.never);
    device_close(&p.device);
    return status;
}
