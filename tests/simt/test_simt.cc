/* test_simt.cc - that kernels which are right give the right numbers in any order, and that what no kernel may do is
 * noticed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "device.h"
#include "lane.cuh"

#define EXPECT(condition)                                                                           \
    do {                                                                                            \
        if (!(condition)) {                                                                         \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                          \
            exit(1);                                                                                \
        }                                                                                           \
    } while (0)

static const uint64_t N_SEEDS = 20;

void device_check(struct device *d, cudaError_t status, const char *what)
{
    if (status == cudaSuccess || d->failed != cudaSuccess) return;
    d->failed = status;
    d->failed_at = what;
}

void device_allow_shared(struct device *d, const void *kernel, size_t bytes, const char *what)
{
    device_check(d, cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes), what);
}

static struct device open_device()
{
    struct device d = {};
    d.arch = 90;
    d.early = true;
    EXPECT(cudaStreamCreateWithFlags(&d.stream, cudaStreamNonBlocking) == cudaSuccess);
    return d;
}

static void finish(struct device *d)
{
    EXPECT(d->failed == cudaSuccess);
    EXPECT(cudaStreamSynchronize(d->stream) == cudaSuccess);
}

template <typename T> T *on_device(const std::vector<T> &v)
{
    void *p;
    EXPECT(cudaMalloc(&p, v.size() * sizeof(T)) == cudaSuccess);
    EXPECT(cudaMemcpy(p, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice) == cudaSuccess);
    return (T *)p;
}

template <typename T> std::vector<T> on_host(const T *p, size_t n)
{
    std::vector<T> v(n);
    EXPECT(cudaMemcpy(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost) == cudaSuccess);
    return v;
}

/* ---- numbers ---------------------------------------------------------------------------------------------- */

static void test_numbers()
{
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = f32_of_f16((uint16_t)h), next = f32_of_f16((uint16_t)(h + 1));
        if (f != f) continue;
        EXPECT(f16_of_f32(f) == h);
        bool same_sign = (h & 0x7fff) < 0x7bff;
        if (same_sign) { /* a tie goes to the even one */
            EXPECT(f16_of_f32((f + next) / 2) == (h & 1 ? h + 1 : h));
            EXPECT(f16_of_f32(nextafterf((f + next) / 2, next)) == h + 1);
        }
    }
    EXPECT(f16_of_f32(65519.996f) == 0x7bff && f16_of_f32(65520) == 0x7c00 && f16_of_f32(-1e30f) == 0xfc00);
    EXPECT(bf16_of_f32(f32_of_bits(0x3f808000)) == 0x3f80 && bf16_of_f32(f32_of_bits(0x3f818000)) == 0x3f82);
    EXPECT(bf16x2_of_f32(1, -2) == 0xc0003f80);
    EXPECT(dot4(0xff000102, 0xff0003fe, 5) == 5 + 255 * -1 + 1 * 3 + 2 * -2);
    EXPECT(dot4_signed(0xff000102, 0xff0003fe, 5) == 5 + -1 * -1 + 1 * 3 + 2 * -2);
    EXPECT(pick_bytes(0x33221100, 0x77665544, 0x7041) == 0x77004411);
    EXPECT(int_of_f32(2.5f) == 2 && int_of_f32(-3.5f) == -4);
}

/* ---- kernels that are right ------------------------------------------------------------------------------- */

static __global__ void sum_blocks(float *out, const float *x, int n)
{
    __shared__ float of_warp[8];
    grid_wait();
    float sum = 0;
    for (int i = (int)(blockIdx.x * blockDim.x + threadIdx.x); i < n; i += (int)(gridDim.x * blockDim.x)) sum += x[i];
    sum = warp_sum(sum);
    if (lane_id() == 0) of_warp[threadIdx.x / 32] = sum;
    block_barrier();
    if (threadIdx.x == 0) {
        sum = 0;
        for (unsigned w = 0; w < blockDim.x / 32; w++) sum += of_warp[w];
        out[blockIdx.x] = sum;
    }
    grid_release();
}

static void test_sums()
{
    struct device d = open_device();
    std::vector<float> x(5000);
    double expected = 0;
    for (size_t i = 0; i < x.size(); i++) expected += x[i] = (float)(i % 17);
    float *in = on_device(x), *out = on_device(std::vector<float>(7));
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        simt_seed(seed);
        device_launch(&d, "sum_blocks", sum_blocks, 7, 256, 0, out, in, (int)x.size());
        finish(&d);
        double sum = 0;
        for (float f : on_host(out, 7)) sum += f;
        EXPECT(sum == expected);
    }
}

static __global__ void trade(int *out)
{
    int lane = lane_id();
    grid_wait();
    out[lane] = warp_xor(lane, 5) + 100 * warp_from(lane, 7) + (int)warp_max((float)lane) * 10000;
    out[32 + lane] = (int)warp_ballot(lane % 3 == 0);
}

static void test_trade()
{
    struct device d = open_device();
    int *out = on_device(std::vector<int>(64));
    device_launch(&d, "trade", trade, dim3(2, 3), 32, 0, out);
    finish(&d);
    std::vector<int> got = on_host(out, 64);
    for (int i = 0; i < 32; i++) EXPECT(got[i] == (i ^ 5) + 700 + 310000 && (uint32_t)got[32 + i] == 0x49249249);
}

/* c[16, 8] = a[16, 16] b[16, 8], or b from its transpose: the way of real kernels, through shared memory. */
static __global__ void multiply(float *c, const uint16_t *a, const uint16_t *b, bool turned)
{
    char *shared_a = shared_memory(), *shared_b = shared_a + 512;
    int lane = lane_id(), g = lane / 4, t = lane % 4;
    grid_wait();
    copy_async16(shared_a + 16 * lane, a + 8 * lane, true);
    copy_async16(shared_b + 16 * lane, b + 8 * (lane % 16), lane < 16);
    copy_commit();
    copy_wait<0>();
    warp_barrier();
    uint32_t of_a[4], of_b[4], in_order[4];
    warp_load_matrices(of_a, shared_a + 32 * (lane % 16) + 16 * (lane / 16));
    in_order[0] = of_a[0], in_order[1] = of_a[1], in_order[2] = of_a[2], in_order[3] = of_a[3];
    if (turned)
        warp_load_matrices_turned(of_b, shared_b + 16 * lane); /* [16, 8] by rows */
    else
        warp_load_matrices(of_b, shared_b + 32 * (lane % 8) + 16 * (lane / 8 % 2)); /* [8, 16] by columns */
    float sum[4] = {0, 0, 0, 1};
    warp_mma_bf16(sum, in_order, of_b);
    c[8 * g + 2 * t] = sum[0], c[8 * g + 2 * t + 1] = sum[1];
    c[8 * (g + 8) + 2 * t] = sum[2], c[8 * (g + 8) + 2 * t + 1] = sum[3];
}

static void test_multiply()
{
    struct device d = open_device();
    std::vector<uint16_t> a(256), b(128), b_turned(128);
    for (int i = 0; i < 256; i++) a[i] = bf16_of_f32((float)(i * 7 % 23) - 11);
    for (int i = 0; i < 128; i++) b[i] = bf16_of_f32((float)(i * 5 % 19) - 9); /* [16, 8] */
    for (int i = 0; i < 128; i++) b_turned[i % 8 * 16 + i / 8] = b[i];
    float *c = on_device(std::vector<float>(128));
    uint16_t *on_a = on_device(a), *on_b[2] = {on_device(b_turned), on_device(b)};
    for (int turned = 0; turned < 2; turned++) {
        device_launch(&d, "multiply", multiply, 1, 32, 1024, c, (const uint16_t *)on_a,
                      (const uint16_t *)on_b[turned], turned == 1);
        finish(&d);
        std::vector<float> got = on_host(c, 128);
        for (int i = 0; i < 128; i++) {
            float sum = i % 2 == 1 && i / 8 >= 8 ? 1 : 0;
            for (int k = 0; k < 16; k++) sum += f32_of_bf16(a[i / 8 * 16 + k]) * f32_of_bf16(b[k * 8 + i % 8]);
            EXPECT(got[i] == sum);
        }
    }
}

static __global__ void add_one(int *x)
{
    grid_wait();
    x[threadIdx.x]++;
}

static void test_graph()
{
    struct device d = open_device();
    int *x = on_device(std::vector<int>(32));
    cudaGraph_t graph;
    cudaGraphExec_t replay;
    EXPECT(cudaStreamBeginCapture(d.stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    device_launch(&d, "add_one", add_one, 1, 32, 0, x);
    EXPECT(cudaStreamSynchronize(d.stream) == cudaErrorStreamCaptureUnsupported);
    EXPECT(cudaStreamEndCapture(d.stream, &graph) == cudaSuccess);
    EXPECT(cudaGraphInstantiate(&replay, graph, 0) == cudaSuccess && cudaGraphDestroy(graph) == cudaSuccess);
    EXPECT(on_host(x, 1)[0] == 0);
    for (int i = 0; i < 3; i++) EXPECT(cudaGraphLaunch(replay, d.stream) == cudaSuccess);
    finish(&d);
    EXPECT(on_host(x, 32)[31] == 3);
    EXPECT(cudaGraphExecDestroy(replay) == cudaSuccess);
}

/* Work on a stream is done when it is waited for: what its copies read until then, they get. */
static void test_streams()
{
    struct device d = open_device();
    struct device other = open_device();
    cudaEvent_t ready;
    int *x = on_device(std::vector<int>(1)), pinned = 1;
    EXPECT(cudaEventCreateWithFlags(&ready, cudaEventDisableTiming) == cudaSuccess);
    cudaMemcpyAsync(x, &pinned, sizeof pinned, cudaMemcpyHostToDevice, d.stream);
    cudaEventRecord(ready, d.stream);
    pinned = 2; /* too early */
    cudaStreamWaitEvent(other.stream, ready);
    device_launch(&other, "add_one", add_one, 1, 1, 0, x);
    finish(&other);
    EXPECT(on_host(x, 1)[0] == 3);
    EXPECT(cudaEventDestroy(ready) == cudaSuccess);
}

static void test_memory()
{
    size_t before, after, total;
    void *p;
    setenv("SIMT_MEMORY", "64M", 1);
    EXPECT(cudaMemGetInfo(&before, &total) == cudaSuccess && total == 64 << 20);
    EXPECT(cudaMalloc(&p, before + 1) == cudaErrorMemoryAllocation);
    EXPECT(cudaMalloc(&p, 1000) == cudaSuccess);
    EXPECT(cudaMemGetInfo(&after, &total) == cudaSuccess && after == before - 1000);
    EXPECT(on_host((float *)p, 1)[0] != on_host((float *)p, 1)[0]);
    EXPECT(cudaFree(p) == cudaSuccess && cudaFree(p) == cudaErrorInvalidValue);
    unsetenv("SIMT_MEMORY");
}

/* ---- kernels that are not --------------------------------------------------------------------------------- */

static __global__ void no_barrier(float *out)
{
    float *turned = (float *)shared_memory();
    grid_wait();
    turned[threadIdx.x] = (float)threadIdx.x;
    out[threadIdx.x] = turned[blockDim.x - 1 - threadIdx.x];
}

static __global__ void no_copy_wait(float *out)
{
    float *copied = (float *)shared_memory();
    grid_wait();
    copy_async16(copied + 4 * threadIdx.x, out + 4 * threadIdx.x, true);
    copy_commit();
    block_barrier();
    out[4 * threadIdx.x + 1] = copied[4 * threadIdx.x];
}

/* Whether numbers come out that are not what they should be, in some order. */
static bool wrong(void (*kernel)(float *), float (*right)(int), int n)
{
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        struct device d = open_device();
        float *out = on_device(std::vector<float>(4 * 64));
        simt_seed(seed);
        device_launch(&d, "wrong", kernel, 1, 64, 1024, out);
        finish(&d);
        std::vector<float> got = on_host(out, 4 * 64);
        for (int i = 0; i < n; i++)
            if (!(got[i] == right(i))) return true;
    }
    return false;
}

static __global__ void far_off(float *x)
{
    grid_wait();
    x[4 * 64 + threadIdx.x] = 0;
}

static __global__ void just_off(float *x)
{
    grid_wait();
    x[4 * 64 - 1] = 0;
}

static __global__ void far_off_shared(float *)
{
    grid_wait();
    shared_memory()[1024 + threadIdx.x] = 0;
}

static __global__ void no_grid_wait(float *x)
{
    if (threadIdx.x != 3) grid_wait();
    x[threadIdx.x] = 0;
}

static __global__ void barrier_for_some(float *x)
{
    grid_wait();
    if (threadIdx.x < 40) block_barrier();
    x[0] = warp_sum(x[0]);
}

static __global__ void lanes_apart(float *x)
{
    grid_wait();
    if (threadIdx.x % 2)
        x[0] = warp_sum(x[0]);
    else
        warp_barrier();
}

static __global__ void from_the_dead(float *x)
{
    grid_wait();
    if (lane_id() == 9) return;
    x[0] = warp_sum(x[0]);
}

static __global__ void misaligned(float *x)
{
    grid_wait();
    x[0] = (float)load_stream(x + 1).x;
}

/* Whether something ends the program. */
template <typename F> bool ends(F what)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(0);
        what();
        _exit(0);
    }
    int status;
    EXPECT(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT; /* it said why */
}

static bool kernel_ends(void (*kernel)(float *))
{
    return ends([=] {
        struct device d = open_device();
        device_launch(&d, "wrong", kernel, 1, 64, 1024, on_device(std::vector<float>(4 * 64 - 1)));
        finish(&d);
    });
}

static __global__ void nothing_wrong(float *x)
{
    grid_wait();
    x[threadIdx.x] = warp_sum(x[threadIdx.x]);
}

static void test_faults()
{
    EXPECT(wrong(no_barrier, [](int i) { return (float)(63 - i); }, 64));
    EXPECT(wrong(no_copy_wait, [](int) { return 0.0f; }, 4 * 64));
    EXPECT(!kernel_ends(nothing_wrong));
    void (*const faults[])(float *) = {far_off,          just_off,    far_off_shared, no_grid_wait,
                                       barrier_for_some, lanes_apart, from_the_dead,  misaligned};
    for (auto kernel : faults) EXPECT(kernel_ends(kernel));
}

static __global__ void fill(float *x)
{
    grid_wait();
    x[threadIdx.x] = 1;
}

/* y is one more than what another thread would find in x. */
static __global__ void see(float *y, const float *x, bool too_early)
{
    float mine = 0;
    if (too_early) mine = x[threadIdx.x ^ 1];
    block_barrier();
    grid_wait();
    if (!too_early) mine = x[threadIdx.x ^ 1];
    y[threadIdx.x] = mine + 1;
}

static __global__ void write_early(float *x)
{
    x[threadIdx.x] = 5;
    grid_wait();
}

/* What follows a kernel, and may begin before that has ended. */
static void test_early()
{
    struct device d = open_device();
    float *x = on_device(std::vector<float>(64)), *y = on_device(std::vector<float>(64));
    auto run = [&](bool too_early) {
        cudaMemset(x, 0, 64 * sizeof(float));
        device_launch(&d, "fill", fill, 1, 64, 0, x);
        device_launch(&d, "see", see, 1, 64, 0, y, x, too_early);
        finish(&d);
        return on_host(y, 64);
    };
    for (float f : run(false)) EXPECT(f == 2);
    for (float f : run(true)) EXPECT(f != f);
    device_launch(&d, "fill", fill, 1, 64, 0, x);
    finish(&d);
    device_launch(&d, "see", see, 1, 64, 0, y, x, true); /* nothing is under way */
    finish(&d);
    for (float f : on_host(y, 64)) EXPECT(f == 2);
    cudaMemset(x, 0, 64 * sizeof(float));
    device_launch(&d, "fill", fill, 1, 64, 0, x);
    device_launch(&d, "write_early", write_early, 1, 64, 0, x);
    finish(&d);
    for (float f : on_host(x, 64)) EXPECT(f == 1); /* as if it had been in front */
    d.early = false;
    for (float f : run(true)) EXPECT(f == 2);
}

/* What lies on one device is nothing for the host or another one. */
static void test_places()
{
    setenv("SIMT_DEVICES", "2", 1);
    float *x = on_device(std::vector<float>(64));
    EXPECT(ends([=] { x[0] = 1; }));
    EXPECT(ends([=] { EXPECT(*(volatile float *)x == 0); }));
    EXPECT(!ends([=] { EXPECT(on_host(x, 1)[0] == 0); }));
    EXPECT(ends([=] {
        EXPECT(cudaSetDevice(1) == cudaSuccess);
        struct device d = open_device();
        device_launch(&d, "elsewhere", nothing_wrong, 1, 64, 0, x);
        finish(&d);
    }));
    EXPECT(ends([=] {
        EXPECT(cudaSetDevice(1) == cudaSuccess);
        cudaMemset(x, 0, 4);
    }));
    unsetenv("SIMT_DEVICES");
}

int main()
{
    for (auto test : {test_numbers, test_sums, test_trade, test_multiply, test_graph, test_streams, test_memory,
                      test_faults, test_early, test_places}) {
        test();
        EXPECT(cudaDeviceReset() == cudaSuccess);
    }
    puts("simt: all is as it should be");
    return 0;
}
