/* simt_grid.cc - the threads of a kernel as fibres of one thread of the host. */
#include "simt.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <vector>

enum { MOST_THREADS = 1024, MOST_WARPS = MOST_THREADS / SIMT_LANES };
static const size_t STACK_BYTES = 512 << 10, SHARED_BYTES = 256 << 10, SHARED_ZONE = 256;
static const unsigned char ZONE = 0xa5;

enum state { READY, AT_WARP, AT_BLOCK, AT_GRID, ENDED };

struct copy {
    void *to;
    const void *from;
    bool valid;
    int group;
    bool early; /* begun while earlier kernels' writing is hidden: it reads at once */
    unsigned char bytes[16];
};

struct fibre {
    void *stack_pointer; /* while it does not run */
    uint3 id;            /* threadIdx */
    enum state state;
    const char *what; /* it waits for, and where */
    simt_place at;
    int n_meetings;
    bool has_waited; /* grid_wait() */
    int n_groups;    /* of copies that it has committed */
    std::vector<copy> copies;
};

struct warp {
    simt_meeting meetings[2]; /* a lane reads one while the next are on their way to the other */
};

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

static fibre fibres[MOST_THREADS];
static warp warps[MOST_WARPS];
static int n_threads, current = -1;
static bool hiding; /* what earlier kernels wrote, until all threads are at grid_wait() or wait for those */
static const char *kernel_name;
static const std::function<void()> *kernel_thread;
static void *scheduler; /* its stack pointer, while a fibre runs */
alignas(128) static char shared[SHARED_BYTES + SHARED_ZONE];
static size_t shared_used;

/* Arrays that are __shared__, but for those of templates, which the compiler puts elsewhere. */
extern char shared_begin[] __asm__("__start_simt_shared") __attribute__((weak));
extern char shared_end[] __asm__("__stop_simt_shared") __attribute__((weak));

/* All of them lie in the program itself. */
extern char program_begin[] __asm__("__executable_start"), program_end[] __asm__("_end");

void simt_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("simt: ", stderr);
    vfprintf(stderr, format, args);
    va_end(args);
    if (kernel_name) fprintf(stderr, "; kernel %s", kernel_name);
    if (current >= 0)
        fprintf(stderr, ", block (%u, %u, %u), thread %d", blockIdx.x, blockIdx.y, blockIdx.z, current);
    fputc('\n', stderr);
    abort();
}

/* ---- order -------------------------------------------------------------------------------------------- */

static uint64_t random_state = [] {
    const char *seed = getenv("SIMT_SEED");
    return seed ? strtoull(seed, NULL, 10) : 1;
}();

void simt_seed(uint64_t seed)
{
    random_state = seed;
}

/* Below n; of seed 0 always 0. */
static uint32_t some(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state * 0x9e3779b97f4a7c15u >> 32) % n);
}

/* ---- fibres ------------------------------------------------------------------------------------------- */

/* Keeps what a function must keep on the stack, leaves its address in *from, and goes on at `to`. */
extern "C" void simt_switch(void **from, void *to);

#if defined __x86_64__
__asm__(".text\n"
        "simt_switch:\n"
        "    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp\n"
        "    ret\n");
enum { KEPT_WORDS = 6, KEPT_RETURN = 6 };
#else
#error "simt: no way to switch fibres is written for this processor"
#endif

static void wait_as(enum state state, const char *what, simt_place at)
{
    fibre *f = &fibres[current];
    f->state = state;
    f->what = what;
    f->at = at;
    simt_switch(&f->stack_pointer, scheduler);
}

/* A fibre never ends: it waits for the next block. */
static void fibre_main(void)
{
    while (true) {
        (*kernel_thread)();
        if (!fibres[current].has_waited) simt_fail("a thread ends without grid_wait()");
        wait_as(ENDED, "its end", {});
    }
}

static void make_fibre(fibre *f)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *stack = (char *)mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, 4096, PROT_NONE)) simt_fail("no stack for a fibre");
    void **top = (void **)(stack + STACK_BYTES) - 1; /* as behind a call: 8 bytes off a multiple of 16 */
    top[-1] = (void *)fibre_main;
    f->stack_pointer = top - 1 - KEPT_WORDS;
}

static void resume(int i)
{
    current = i;
    threadIdx = fibres[i].id;
    simt_switch(&scheduler, fibres[i].stack_pointer);
    current = -1;
}

/* ---- a block ------------------------------------------------------------------------------------------ */

static int lanes_of(int w)
{
    return std::min<int>(SIMT_LANES, n_threads - w * SIMT_LANES);
}

/* All lanes that have not ended are at one place: they may go on. */
static void let_meet(int w)
{
    fibre *lane = &fibres[w * SIMT_LANES], *first = NULL;
    uint32_t present = 0;
    for (int i = 0; i < lanes_of(w); i++) {
        if (lane[i].state == ENDED) continue;
        if (!first) first = &lane[i];
        if (lane[i].what != first->what || lane[i].at.line != first->at.line || lane[i].at.file != first->at.file)
            simt_fail("lanes of one warp are at %s (%s:%d) and at %s (%s:%d)", first->what, first->at.file,
                      first->at.line, lane[i].what, lane[i].at.file, lane[i].at.line);
        present |= 1u << i;
        lane[i].state = READY;
    }
    warps[w].meetings[first->n_meetings & 1].present = present;
}

/* Every lane runs until it waits.  Returns whether the warp can go on. */
static bool run_round(int w)
{
    int count[ENDED + 1] = {0}, turn = (int)some(SIMT_LANES);
    for (int i = 0; i < SIMT_LANES; i++) {
        int lane = i ^ turn;
        if (lane >= lanes_of(w)) continue;
        if (fibres[w * SIMT_LANES + lane].state == READY) resume(w * SIMT_LANES + lane);
        count[fibres[w * SIMT_LANES + lane].state]++;
    }
    if (!count[AT_WARP] || count[AT_BLOCK] || count[AT_GRID]) return false;
    let_meet(w);
    return true;
}

static bool let_see(void)
{
    bool any = false;
    for (int i = 0; i < n_threads; i++) {
        if (fibres[i].state != AT_GRID) continue;
        fibres[i].state = READY;
        any = true;
    }
    if (!any) return false;
    simt_early_show();
    hiding = false;
    return true;
}

/* No warp can go on: all threads have ended, or all others stand at one barrier, or something is wrong. */
static bool let_pass(void)
{
    fibre *first = NULL;
    if (hiding && let_see()) return true;
    for (int i = 0; i < n_threads; i++) {
        fibre *f = &fibres[i];
        if (f->state == ENDED) continue;
        if (!first) first = f;
        if (f->state != AT_BLOCK || f->at.line != first->at.line || f->at.file != first->at.file)
            simt_fail("deadlock: thread %d waits at %s (%s:%d), thread %d at %s (%s:%d)", (int)(first - fibres),
                      first->what, first->at.file, first->at.line, i, f->what, f->at.file, f->at.line);
    }
    for (int i = 0; i < n_threads; i++)
        if (fibres[i].state == AT_BLOCK) fibres[i].state = READY;
    return first;
}

static uint3 place_of(uint32_t i, dim3 in)
{
    return {i % in.x, i / in.x % in.y, i / (in.x * in.y)};
}

static void begin_block(void)
{
    memset(shared, SIMT_POISON, shared_used);
    memset(shared + shared_used, ZONE, SHARED_ZONE);
    if (shared_begin) memset(shared_begin, SIMT_POISON, (size_t)(shared_end - shared_begin));
    for (int i = 0; i < n_threads; i++) {
        fibre *f = &fibres[i];
        f->id = place_of((uint32_t)i, blockDim);
        f->state = READY;
        f->n_meetings = f->n_groups = 0;
        f->has_waited = false;
        f->copies.clear();
        if (!f->stack_pointer) make_fibre(f);
    }
}

static void run_block(void)
{
    int order[MOST_WARPS], n_warps = (n_threads + SIMT_LANES - 1) / SIMT_LANES;
    begin_block();
    do {
        int n = n_warps; /* warps that can go on */
        for (int w = 0; w < n_warps; w++) order[w] = w;
        while (n > 0) {
            int i = (int)some((uint32_t)n);
            if (!run_round(order[i])) order[i] = order[--n];
        }
    } while (let_pass());
    for (size_t i = 0; i < SHARED_ZONE; i++)
        if ((unsigned char)shared[shared_used + i] != ZONE)
            simt_fail("byte %zu of %zu of shared memory was written to", shared_used + i, shared_used);
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    return b ? common_divisor(b, a % b) : a;
}

void simt_grid(const char *kernel, dim3 grid, dim3 block, size_t shared_bytes, int early,
               const std::function<void()> &thread)
{
    kernel_name = kernel;
    kernel_thread = &thread;
    gridDim = grid;
    blockDim = block;
    n_threads = (int)(block.x * block.y * block.z);
    shared_used = shared_bytes;
    if (n_threads < 1 || n_threads > MOST_THREADS) simt_fail("a block of %d threads", n_threads);
    if (shared_bytes > SHARED_BYTES) simt_fail("a block with %zu bytes of shared memory", shared_bytes);
    uint32_t n = grid.x * grid.y * grid.z, at = some(n), step = 1 + some(n);
    while (common_divisor(step, n) != 1) step++;
    for (uint32_t i = 0; i < n; i++) {
        blockIdx = place_of(at, grid);
        hiding = early >= 0 && i == 0;
        if (hiding) simt_early_hide(early);
        run_block();
        at = (uint32_t)(((uint64_t)at + step) % n);
    }
    kernel_name = NULL;
}

/* ---- what threads ask for ----------------------------------------------------------------------------- */

int simt_lane(void)
{
    return current % SIMT_LANES;
}

const simt_meeting *simt_meet(const char *what, simt_place at, const void *bytes, size_t n_bytes)
{
    fibre *f = &fibres[current];
    simt_meeting *m = &warps[current / SIMT_LANES].meetings[f->n_meetings & 1];
    if (n_bytes) memcpy(m->brought[simt_lane()], bytes, n_bytes);
    wait_as(AT_WARP, what, at);
    f->n_meetings++;
    return m;
}

const void *simt_brought(const simt_meeting *m, int lane)
{
    if (!(m->present >> lane & 1)) simt_fail("lane %d asks lane %d, which has ended, for a value", simt_lane(), lane);
    return m->brought[lane];
}

void simt_block_barrier(simt_place at)
{
    wait_as(AT_BLOCK, "block_barrier", at);
}

void simt_grid_wait(void)
{
    fibres[current].has_waited = true;
    if (hiding) wait_as(AT_GRID, "grid_wait", {});
}

char *simt_shared_memory(void)
{
    return shared;
}

void simt_copy(void *to, const void *from, bool valid, simt_place at)
{
    fibre *f = &fibres[current];
    bool in_shared = (char *)to >= shared && (char *)to < shared + sizeof shared;
    if (in_shared ? (char *)to + 16 > shared + shared_used : (char *)to < program_begin || (char *)to >= program_end)
        simt_fail("%s:%d: a copy to %p, which is no shared memory", at.file, at.line, to);
    memset(to, SIMT_POISON, 16);
    f->copies.push_back({to, from, valid, f->n_groups, hiding, {}});
    if (hiding && valid) memcpy(f->copies.back().bytes, from, 16);
}

void simt_copy_commit(void)
{
    fibres[current].n_groups++;
}

void simt_copy_wait(int n_groups)
{
    fibre *f = &fibres[current];
    size_t n = 0;
    for (; n < f->copies.size() && f->copies[n].group < f->n_groups - n_groups; n++) {
        const copy *c = &f->copies[n];
        if (c->valid)
            memcpy(c->to, c->early ? c->bytes : c->from, 16);
        else
            memset(c->to, 0, 16);
    }
    f->copies.erase(f->copies.begin(), f->copies.begin() + (ptrdiff_t)n);
}
