/* test_cuda.cc - the CUDA backend around its operations: opening, memory, weights on their way, copies, equal steps.
 * What operations compute is tests/backend's. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include "cuda_backend.h"
#include "simt.h"

extern "C" {
#include <cmocka.h>

#include "file.h"
#include "kern.h"
#include "strip.h"
}

static struct redline_err err;

#define OK(call)                                 \
    do {                                         \
        if (call) fail_msg("%s", err.message);   \
    } while (0)

#define SAYS(status, call, words)                                                                   \
    do {                                                                                            \
        assert_int_equal(call, status);                                                             \
        if (!strstr(err.message, words)) fail_msg("'%s' says nothing of '%s'", err.message, words); \
    } while (0)

static struct backend *opened(size_t weight_bytes)
{
    struct backend *b = NULL;
    struct backend_params params = {};
    params.weight_bytes = weight_bytes;
    OK(backend_gpu->open(&b, &params, &err));
    return b;
}

static void closed(struct backend **b)
{
    backend_gpu->close(b);
    assert_null(*b);
    simt_check();
    size_t free_bytes, total_bytes;
    cudaMemGetInfo(&free_bytes, &total_bytes);
    assert_int_equal(free_bytes, total_bytes); /* nothing is left */
}

/* ---- opening ---------------------------------------------------------------------------------------------- */

static void test_devices(void **)
{
    struct backend_facts facts;
    struct backend *b;
    struct backend_params params = {};
    assert_string_equal(backend_gpu->name, "cuda");
    setenv("SIMT_DEVICES", "2", 1);
    setenv("SIMT_MEMORY", "8G", 1);
    assert_int_equal(backend_gpu->n_devices(), 2);
    OK(backend_gpu->facts(1, &facts, &err));
    assert_string_equal(facts.name, "Simulated GPU");
    assert_string_equal(facts.arch, "9.0");
    assert_true(facts.total_bytes == 8ull << 30 && facts.free_bytes == facts.total_bytes);
    SAYS(REDLINE_DEVICE, backend_gpu->facts(2, &facts, &err),
         "no GPU 2: of compute capability 8.0 or newer there are 2");
    params.device = 2;
    SAYS(REDLINE_DEVICE, backend_gpu->open(&b, &params, &err), "no GPU 2");
    setenv("SIMT_ARCH", "75,86", 1); /* the older one does not count */
    assert_int_equal(backend_gpu->n_devices(), 1);
    OK(backend_gpu->facts(0, &facts, &err));
    assert_string_equal(facts.arch, "8.6");
    params.device = 0;
    OK(backend_gpu->open(&b, &params, &err));
    backend_gpu->close(&b);
    setenv("SIMT_DEVICES", "0", 1);
    assert_int_equal(backend_gpu->n_devices(), 0);
    unsetenv("SIMT_DEVICES");
    setenv("SIMT_ARCH", "75", 1);
    assert_int_equal(backend_gpu->n_devices(), 0);
    SAYS(REDLINE_DEVICE, backend_gpu->open(&b, &params, &err), "there are 0");
    unsetenv("SIMT_ARCH");
    unsetenv("SIMT_MEMORY");
}

/* Having none is fine; a driver that refuses is not, nor are cards that there is no code for. */
static void test_drivers(void **)
{
    OK(backend_gpu->check_devices(&err));
    setenv("SIMT_DEVICES", "0", 1);
    OK(backend_gpu->check_devices(&err));
    unsetenv("SIMT_DEVICES");
    setenv("SIMT_ARCH", "75", 1);
    SAYS(REDLINE_DEVICE, backend_gpu->check_devices(&err),
         "the GPU Simulated GPU has compute capability 7.5, and this program has code for 8.0 and newer");
    setenv("SIMT_DEVICES", "2", 1);
    setenv("SIMT_ARCH", "75,80", 1);
    OK(backend_gpu->check_devices(&err));
    unsetenv("SIMT_DEVICES");
    unsetenv("SIMT_ARCH");
    setenv("SIMT_DRIVER", "0", 1);
    assert_int_equal(backend_gpu->n_devices(), 0);
    OK(backend_gpu->check_devices(&err));
    setenv("SIMT_DRIVER", "12020", 1);
    setenv("SIMT_REFUSES", "35", 1);
    assert_int_equal(backend_gpu->n_devices(), 0);
    SAYS(REDLINE_DEVICE, backend_gpu->check_devices(&err),
         "CUDA driver version is insufficient (cudaErrorInsufficientDriver; the driver serves CUDA 12.2, the program "
         "was built with CUDA 13.0)");
    unsetenv("SIMT_DRIVER");
    setenv("SIMT_REFUSES", "803", 1);
    SAYS(REDLINE_DEVICE, backend_gpu->check_devices(&err), "unsupported driver combination");
    unsetenv("SIMT_REFUSES");
    assert_int_equal(cudaPeekAtLastError(), cudaSuccess);
}

static void test_refused(void **)
{
    struct backend *b = NULL;
    struct backend_params params = {};
    struct backend_watch watch = {};
    params.watch = &watch;
    SAYS(REDLINE_SUPPORT, backend_gpu->open(&b, &params, &err), "watched");
    params.watch = NULL;
    setenv("SIMT_MEMORY", "3M", 1);
    params.weight_bytes = 4 << 20;
    SAYS(REDLINE_MEMORY, backend_gpu->open(&b, &params, &err),
         "4194304 bytes were refused, 3145728 of 3145728 are free");
    assert_null(b);
    b = opened(1 << 20);
    void *p;
    SAYS(REDLINE_MEMORY, b->ops->reserve(b, &p, (2 << 20) + 1, "the KV cache", &err), "no memory for the KV cache");
    OK(b->ops->reserve(b, &p, 2 << 20, "the KV cache", &err));
    b->ops->release(b, p, 2 << 20);
    b->ops->release(b, NULL, 0);
    simt_break(cudaErrorLaunchFailure); /* which is no want of memory */
    SAYS(REDLINE_DEVICE, b->ops->reserve(b, &p, 1, "the KV cache", &err),
         "CUDA device 0: taking memory for the KV cache failed: unspecified launch failure");
    SAYS(REDLINE_DEVICE, b->ops->reserve_host(b, &p, 1, "logits", &err), "unspecified launch failure");
    simt_break(cudaSuccess);
    OK(b->ops->reserve_host(b, &p, 100, "logits", &err));
    b->ops->release_host(b, p, 100);
    closed(&b);
    unsetenv("SIMT_MEMORY");
}

/* Of the second card that counts, CUDA's third: of its own memory. */
static void test_limits(void **)
{
    struct backend_rates rates;
    void *taken;
    setenv("SIMT_DEVICES", "3", 1);
    setenv("SIMT_ARCH", "90,75,90", 1);
    setenv("SIMT_MEMORY", "64M", 1);
    assert_int_equal(cudaSetDevice(0), cudaSuccess);
    assert_int_equal(cudaMalloc(&taken, 64 << 20), cudaSuccess);
    OK(backend_gpu->measure(1, NULL, &rates, &err));
    assert_true(rates.read_bytes > 0 && rates.copy_bytes > 0 && rates.bf16_ops > 0);
    cudaFree(taken);
    cudaSetDevice(0);
    unsetenv("SIMT_DEVICES");
    unsetenv("SIMT_ARCH");
    unsetenv("SIMT_MEMORY");
}

/* A card so full that its cache holds what could be read: weights that lie there are read, else nothing. */
static void test_limits_of_a_full_card(void **)
{
    static float zeros[64 << 10];
    struct backend_rates rates;
    const float *there;
    setenv("SIMT_MEMORY", "4M", 1);
    setenv("SIMT_L2", "256K", 1);
    struct backend *b = opened(2 << 20);
    OK(backend_gpu->measure(0, NULL, &rates, &err)); /* half of what is left is four times the cache */
    assert_true(rates.read_bytes > 0 && rates.copy_bytes > 0);
    assert_string_equal(rates.missing, "");
    setenv("SIMT_L2", "257K", 1);
    OK(backend_gpu->measure(0, b, &rates, &err));
    assert_true(rates.read_bytes == 0 && rates.copy_bytes == 0 && rates.bf16_ops > 0);
    assert_non_null(strstr(rates.missing, "2.0 MiB of its memory are free, and twice 1.0 are needed"));
    setenv("SIMT_MEMORY", "64M", 1);
    for (int i = 0; i < 5; i++) OK(b->ops->vector(b, zeros, COUNT_OF(zeros), &there, &err));
    assert_true(b->ops->settle(b));
    setenv("SIMT_MEMORY", "4M", 1);
    OK(backend_gpu->measure(0, b, &rates, &err));
    assert_true(rates.read_bytes > 0 && rates.copy_bytes == 0);
    closed(&b);
    unsetenv("SIMT_L2");
    unsetenv("SIMT_MEMORY");
}

static __global__ void idle(void)
{
    simt_grid_wait();
}

/* Two that have a device open: what one allows a kernel, the other does not take away before it has begun. */
static void test_shared_memory(void **)
{
    struct device a = {}, b = {};
    OK(device_open(&a, 0, &err));
    OK(device_open(&b, 0, &err));
    device_launch(&a, "idle", idle, dim3(1), dim3(32), (size_t)100 << 10);
    device_launch(&b, "idle", idle, dim3(1), dim3(32), (size_t)60 << 10);
    device_wait(&b);
    device_wait(&a);
    OK(device_status(&a, &err));
    device_launch(&b, "idle", idle, dim3(1), dim3(32), a.most_shared_bytes + 1);
    SAYS(REDLINE_DEVICE, device_status(&b, &err), "idle failed: invalid argument");
    device_close(&a);
    device_close(&b);
}

static void test_kernels(void **)
{
    struct backend *b = opened(0);
    assert_string_equal(b->ops->kernel(b, DTYPE_Q4_K, false).isa, "sm_90");
    assert_string_equal(b->ops->kernel(b, DTYPE_Q4_K, false).arithmetic, "int8");
    assert_string_equal(b->ops->kernel(b, DTYPE_Q4_K, true).arithmetic, "bf16");
    assert_string_equal(b->ops->kernel(b, DTYPE_F16, false).arithmetic, "f32");
    assert_string_equal(b->ops->kernel(b, DTYPE_F32, true).arithmetic, "f32");
    assert_int_equal(b->ops->n_used(b), 0);
    assert_true(b->ops->settle(b));
    assert_false(b->ops->packed(b));
    closed(&b);
}

/* ---- weights ---------------------------------------------------------------------------------------------- */

/* A file of so many bytes: any, for nothing here reads them as numbers; pages of a mapping can be let go. */
static struct file_map some_bytes(size_t n)
{
    struct file_map map;
    char path[] = "/tmp/redline-XXXXXX";
    FILE *f = fdopen(mkstemp(path), "wb");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++) putc((int)(i * i * 31 % 251), f);
    fclose(f);
    OK(file_map(&map, path, &err));
    unlink(path);
    return map;
}

/* Two parts of a tensor of three matrices: rows before `first`, and from there on. */
static void cut(struct weight part[2], enum dtype dtype, int n_cols, const void *data)
{
    enum { ROWS = 53, FIRST = 21 };
    static const int rows[2] = {FIRST, ROWS - FIRST};
    const struct dtype_info *info = dtype_info(dtype);
    size_t row_bytes = (size_t)(n_cols / info->block_n) * info->block_bytes;
    for (int i = 0; i < 2; i++) {
        part[i] = {};
        part[i].dtype = dtype;
        part[i].n_cols = n_cols;
        part[i].n_rows = rows[i];
        part[i].n_mats = 3;
        part[i].row_bytes = row_bytes;
        part[i].mat_bytes = ROWS * row_bytes;
        part[i].data = (const char *)data + i * FIRST * row_bytes;
    }
}

static char *on_host(const void *p, size_t bytes)
{
    char *copy = (char *)malloc(bytes);
    assert_int_equal(cudaMemcpy(copy, p, bytes, cudaMemcpyDeviceToHost), cudaSuccess);
    return copy;
}

/* The CPU's strips are these bytes. */
static void check_strips(const struct weight *w)
{
    size_t bytes = strip_bytes(strip_form(w->dtype), w->n_cols);
    char *strip = (char *)aligned_alloc(64, bytes), *placed = on_host(w->placed, backend_gpu->place_bytes(w));
    const char *got = placed;
    for (int mat = 0; mat < w->n_mats; mat++)
        for (int r = 0; r < w->n_rows; r += STRIP, got += bytes) {
            const char *rows = (const char *)w->data + (size_t)mat * w->mat_bytes + (size_t)r * w->row_bytes;
            kern_ops()->pack(strip, w->dtype, rows, w->row_bytes, MIN(STRIP, w->n_rows - r), w->n_cols);
            size_t there = (size_t)strip_blocks(strip_form(w->dtype), w->n_cols) * STRIP * strip_form(w->dtype)->bytes;
            if (memcmp(strip, got, there) != 0)
                fail_msg("%s: strip of rows %d of matrix %d differs", dtype_name(w->dtype), r, mat);
        }
    free(strip);
    free(placed);
}

/* Whatever was launched is done when new memory is made ready. */
static void wait(struct backend *b)
{
    struct step_limits l = {};
    l.n_layers = l.n_tokens = l.n_seqs = l.n_ctx = l.n_heads = l.n_kv_heads = 1;
    OK(b->ops->prepare(b, &l, &err));
}

static void place_both(struct weight part[2])
{
    struct weight *parts[2] = {&part[0], &part[1]};
    struct backend *b = opened(backend_gpu->place_bytes(&part[0]) + backend_gpu->place_bytes(&part[1]));
    OK(b->ops->place(b, &part[0], parts, 2, STR("w"), &err));
    wait(b);
    for (int i = 0; i < 2; i++) check_strips(&part[i]);
    SAYS(REDLINE_MEMORY, b->ops->place(b, &part[0], parts, 1, STR("w"), &err), "claimed");
    closed(&b);
}

static void test_place(void **)
{
    struct file_map map = some_bytes(3 * 53 * 1024 * sizeof(float));
    struct weight part[2];
    int n_types = 0;
    for (int dtype = 0; dtype < DTYPE_COUNT; dtype++) {
        if (!dtype_info((uint32_t)dtype) || !dtype_info((uint32_t)dtype)->is_weight) continue;
        cut(part, (enum dtype)dtype, 768, map.data);
        place_both(part);
        n_types++;
    }
    assert_true(n_types >= 16);
    struct backend *b = opened(1 << 20);
    SAYS(REDLINE_SUPPORT, b->ops->place(b, &part[0], NULL, 0, STR("token_embd.weight"), &err), "token_embd.weight");
    closed(&b);
    file_unmap(&map);
}

/* More rows than a slot holds go in pieces, through both. */
static void test_pieces(void **)
{
    enum { ROWS = 16 * 400 + 3, COLS = 1024 };
    struct file_map map = some_bytes((size_t)ROWS * COLS * 4);
    struct weight w = {}, *part = &w;
    w.dtype = DTYPE_F32;
    w.n_cols = COLS;
    w.n_rows = ROWS;
    w.n_mats = 1;
    w.row_bytes = COLS * 4;
    w.mat_bytes = ROWS * w.row_bytes;
    w.data = map.data;
    struct backend *b = opened(backend_gpu->place_bytes(&w));
    OK(b->ops->place(b, &w, &part, 1, STR("w"), &err));
    wait(b);
    check_strips(&w);
    closed(&b);
    file_unmap(&map);
}

static void test_vectors(void **)
{
    struct file_map map = some_bytes(12000);
    const float *v = (const float *)map.data, *first, *second;
    struct backend *b = opened(backend_gpu->vector_bytes(1) + backend_gpu->vector_bytes(2999));
    OK(b->ops->vector(b, v, 1, &first, &err));
    OK(b->ops->vector(b, v + 1, 2999, &second, &err));
    SAYS(REDLINE_MEMORY, b->ops->vector(b, v, 1, &first, &err), "claimed");
    wait(b);
    char *copy = on_host(first, 4), *copies = on_host(second, 2999 * 4);
    assert_memory_equal(copy, v, 4);
    assert_memory_equal(copies, v + 1, 2999 * 4);
    free(copy);
    free(copies);
    assert_int_equal((uintptr_t)second % 256, 0);
    closed(&b);
    file_unmap(&map);
}

/* ---- steps ------------------------------------------------------------------------------------------------ */

enum { WIDTH = 96, TOKENS = 3 };

struct stage { /* a step that gives normed rows, and what it needs */
    struct backend *b;
    float *x, *out;               /* of the device */
    float host_x[TOKENS * WIDTH], host_out[2 * WIDTH];
    struct op op;
    struct step step;
};

static const int32_t zeros[TOKENS] = {0}, positions[TOKENS] = {0, 1, 2}, length[1] = {TOKENS}, wanted[2] = {0, 2};
static const uint8_t in_text[TOKENS] = {0};

static void set_stage(struct stage *s)
{
    struct step_limits l = {};
    void *x, *out;
    l.n_layers = 2;
    l.n_tokens = TOKENS;
    l.n_outputs = 1;
    l.n_seqs = l.n_heads = l.n_kv_heads = 1;
    l.n_ctx = 100;
    l.width = WIDTH;
    s->b = opened(0);
    OK(s->b->ops->prepare(s->b, &l, &err));
    OK(s->b->ops->reserve(s->b, &x, sizeof s->host_x, "x", &err));
    OK(s->b->ops->reserve(s->b, &out, sizeof s->host_out, "states", &err));
    s->x = (float *)x;
    s->out = (float *)out;
    s->step.batch.n_tokens = TOKENS;
    s->step.batch.ids = s->step.batch.seq = s->step.batch.page_table = zeros;
    s->step.batch.pos = positions;
    s->step.batch.generated = in_text;
    s->step.batch.max_pages = 2;
    s->step.batch.n_kv = length;
    s->step.batch.n_states = 2;
    s->step.batch.states = wanted;
    s->op.kind = OP_STATES;
    s->op.layer = -1;
    s->op.states = {s->x, WIDTH, {NORM_RMS, 0, NULL, NULL}, s->out};
    s->step.n_ops = 1;
    s->step.ops = &s->op;
    s->step.in = {s->x, s->host_x, sizeof s->host_x};
    s->step.out[0] = {s->host_out, s->out, sizeof s->host_out};
}

static void clear_stage(struct stage *s)
{
    s->b->ops->release(s->b, s->x, 0);
    s->b->ops->release(s->b, s->out, 0);
    closed(&s->b);
}

static void run_and_check(struct stage *s, float scale)
{
    for (int i = 0; i < TOKENS * WIDTH; i++) s->host_x[i] = scale * (float)(1 + i % 7 + i / WIDTH);
    OK(s->b->ops->run(s->b, &s->step, &err));
    for (int r = 0; r < 2; r++) {
        const float *x = s->host_x + wanted[r] * WIDTH;
        double sum = 0;
        for (int i = 0; i < WIDTH; i++) sum += x[i] * x[i] / WIDTH;
        for (int i = 0; i < WIDTH; i++) assert_true(fabs(s->host_out[r * WIDTH + i] - x[i] / sqrt(sum)) < 1e-5);
    }
}

static int n_captured(const struct stage *s)
{
    int n = 0;
    for (const struct cuda_graph &g : ((struct cuda_backend *)s->b)->graphs.list) n += g.graph != NULL;
    return n;
}

/* The second time it is captured, then replayed, with what is in memory then. */
static void test_run(void **)
{
    struct stage s = {};
    set_stage(&s);
    for (int i = 0; i < 4; i++) {
        run_and_check(&s, (float)(i + 1));
        assert_int_equal(n_captured(&s), i > 0);
    }
    const struct backend_count *c = s.b->ops->counts(s.b);
    assert_true(c[0].n_ops == 0 && c[1].n_ops == 0 && c[2].n_ops == 4);
    assert_true(c[2].copied_bytes == 4 * (sizeof s.host_x + sizeof s.host_out) && c[2].weight_bytes == 0);
    clear_stage(&s);
}

/* Another operation, or another shape, is another step; the oldest are forgotten. */
static void test_other_steps(void **)
{
    struct stage s = {};
    set_stage(&s);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < CUDA_GRAPHS; i++) {
            s.op.states.norm.eps = (float)i * 1e-9f;
            run_and_check(&s, 2);
        }
    assert_int_equal(n_captured(&s), CUDA_GRAPHS);
    s.step.batch.n_outputs = 1;
    s.step.batch.outputs = zeros;
    run_and_check(&s, 1);
    assert_int_equal(n_captured(&s), CUDA_GRAPHS - 1);
    clear_stage(&s);
}

/* A step of which no graph is made is launched kernel by kernel, and all after it; graphs of an older CUDA have no
 * launches that overlap. */
static void test_no_graphs(void **)
{
    struct stage s = {};
    setenv("SIMT_DRIVER", "12020", 1);
    set_stage(&s);
    for (int i = 0; i < 3; i++) run_and_check(&s, 2);
    assert_int_equal(n_captured(&s), 1);
    assert_string_equal(s.b->ops->note(s.b), "");
    unsetenv("SIMT_DRIVER");
    setenv("SIMT_GRAPHS", "0", 1);
    s.op.states.norm.eps = 1e-9f;
    run_and_check(&s, 2);
    assert_string_equal(s.b->ops->note(s.b), "");
    run_and_check(&s, 2);
    assert_string_equal(s.b->ops->note(s.b), "steps are launched kernel by kernel, which takes longer: making a graph "
                        "of a step failed: out of memory");
    unsetenv("SIMT_GRAPHS");
    for (int i = 0; i < 3; i++) run_and_check(&s, 2);
    assert_int_equal(n_captured(&s), 1);
    clear_stage(&s);
}

/* Grids would go further than the device counts. */
static void test_too_many_rows(void **)
{
    struct backend *b = opened(0);
    struct step_limits l = {};
    l.n_tokens = 65536;
    SAYS(REDLINE_SUPPORT, b->ops->prepare(b, &l, &err), "not of 65536 tokens");
    l.n_tokens = l.n_seqs = 4096;
    l.n_experts_used = 16;
    SAYS(REDLINE_SUPPORT, b->ops->prepare(b, &l, &err), "4096 sequences times 16 experts");
    closed(&b);
}

static void test_no_step(void **)
{
    struct stage s = {};
    set_stage(&s);
    s.step.batch.n_outputs = 2;
    SAYS(REDLINE_ARG, s.b->ops->run(s.b, &s.step, &err), "3 tokens and 2 outputs, prepared for 3 and 1");
    s.step.batch.n_outputs = 0;
    s.step.n_ops = 0;
    OK(s.b->ops->run(s.b, &s.step, &err));
    s.step.n_ops = 1;
    s.op.kind = OP_EMBED;
    SAYS(REDLINE_SUPPORT, s.b->ops->run(s.b, &s.step, &err), "CPU");
    clear_stage(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_drivers),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_limits_of_a_full_card),
        cmocka_unit_test(test_shared_memory),
        cmocka_unit_test(test_kernels),
        cmocka_unit_test(test_place),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_other_steps),
        cmocka_unit_test(test_no_graphs),
        cmocka_unit_test(test_too_many_rows),
        cmocka_unit_test(test_no_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
