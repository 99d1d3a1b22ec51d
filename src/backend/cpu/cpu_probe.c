/* cpu_probe.c - repetitions of the loops in kernels/peak.h by a team of threads. */
#define _GNU_SOURCE
#include "cpu_probe.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "backend.h"
#include "base.h"
#include "clock.h"
#include "cpu.h"
#include "mem.h"
#include "peak.h"
#include "team.h"

enum { GRAIN = 4096, PIECE = 8 << 20, HUGE_PAGE = 2 << 20, MOST_LOOPS = 32, FIRST_ROUNDS = 256 };

struct span { /* when a member began and when it was done, on a cache line of its own */
    _Alignas(64) uint64_t start_ns;
    uint64_t end_ns;
};

struct cpu_probe {
    struct team *team;  /* owned */
    struct span *spans; /* [TEAM_MAX] owned */
    cpu_set_t usable;   /* by the thread that made the probe */
    bool is_bound;      /* that thread, to one processor */
    void *reserved;     /* owned */
    uint64_t reserved_bytes;
    char *p;            /* in it, at the start of a huge page */
    uint64_t bytes;
    int64_t n_pieces, piece; /* that a member's part is read in, and the next one */
    const struct peak_table *reader;
    struct peak_input input;
    uint64_t n_rounds[MOST_LOOPS]; /* of the last repetition of each loop; 0: there was none */

    /* the repetition that runs */
    enum peak_read how;
    const struct peak_loop *loop;
    uint64_t rounds;
    _Atomic uint64_t sum; /* keeps the results alive */
    _Atomic uint64_t read_bytes;
};

/* ---- which loops ------------------------------------------------------------------------------ */

static bool is_usable(const struct peak_table *t)
{
    return (t->need & cpu_features()) == t->need;
}

/* The loop of this number, and its table; NULL: there are fewer. */
static const struct peak_loop *find_loop(int number, const struct peak_table **table)
{
    for (int t = 0; t < peak_n_tables; t++) {
        *table = peak_tables[t];
        if (!is_usable(*table)) continue;
        if (number < (*table)->n_loops) return &(*table)->loops[number];
        number -= (*table)->n_loops;
    }
    return NULL;
}

int cpu_probe_n_loops(void)
{
    const struct peak_table *table;
    int n = 0;
    while (n < MOST_LOOPS && find_loop(n, &table)) n++;
    return n;
}

struct cpu_probe_loop cpu_probe_loop(int number)
{
    const struct peak_table *table;
    const struct peak_loop *loop = find_loop(number, &table);
    return (struct cpu_probe_loop){table->isa, loop->type};
}

/* ---- one repetition --------------------------------------------------------------------------- */

/* Runs fn on all members; returns the time in ns from when the first began to when the last was done.  No
 * member's clock alone would do: it may be kept from running while the others work. */
static uint64_t run_timed(struct cpu_probe *p, team_fn *fn)
{
    team_run(p->team, fn, p);
    uint64_t start = p->spans[0].start_ns, end = p->spans[0].end_ns;
    for (int i = 1; i < team_size(p->team); i++) {
        start = MIN(start, p->spans[i].start_ns);
        end = MAX(end, p->spans[i].end_ns);
    }
    return MAX(end - start, (uint64_t)1);
}

static void read_member(void *user, struct team *team, int member)
{
    struct cpu_probe *p = user;
    int64_t first, last;
    team_range(team, member, (int64_t)p->bytes, GRAIN, &first, &last);
    int64_t from = first + (last - first) * p->piece / p->n_pieces / GRAIN * GRAIN;
    int64_t to = first + (last - first) * (p->piece + 1) / p->n_pieces / GRAIN * GRAIN;
    if (p->piece + 1 == p->n_pieces) to = last;
    team_barrier(team, member); /* all begin at once */
    p->spans[member].start_ns = clock_ns();
    uint64_t sum = p->reader->read[p->how](p->p + from, (uint64_t)(to - from));
    p->spans[member].end_ns = clock_ns();
    atomic_fetch_add_explicit(&p->sum, sum, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->read_bytes, (uint64_t)(to - from), memory_order_relaxed);
}

double cpu_probe_read(struct cpu_probe *p, enum cpu_probe_read how)
{
    p->how = how == CPU_PROBE_PLAIN ? PEAK_READ_PLAIN : PEAK_READ_PREFETCH;
    atomic_store_explicit(&p->read_bytes, 0, memory_order_relaxed);
    uint64_t took = run_timed(p, read_member);
    p->piece = (p->piece + 1) % p->n_pieces;
    return (double)p->read_bytes * 1e9 / (double)took;
}

static void compute_member(void *user, struct team *team, int member)
{
    struct cpu_probe *p = user;
    team_barrier(team, member);
    p->spans[member].start_ns = clock_ns();
    double sum = p->loop->run(&p->input, p->rounds);
    p->spans[member].end_ns = clock_ns();
    atomic_fetch_add_explicit(&p->sum, sum != 0, memory_order_relaxed);
}

double cpu_probe_compute(struct cpu_probe *p, int number, uint64_t ns)
{
    const struct peak_table *table;
    p->loop = find_loop(number, &table);
    p->rounds = MAX(p->n_rounds[number], (uint64_t)FIRST_ROUNDS);
    uint64_t took = run_timed(p, compute_member);
    /* Too short, as it is at first or after a disturbance: longer until it is half of what was asked for. */
    while (took < ns / 2) {
        uint64_t more = MIN(ns / took + 1, (uint64_t)16);
        p->rounds *= more;
        took = run_timed(p, compute_member);
    }
    p->n_rounds[number] = p->rounds;
    return (double)p->rounds * peak_round_ops(p->loop) * team_size(p->team) * 1e9 / (double)took;
}

/* ---- the probe -------------------------------------------------------------------------------- */

static void write_member(void *user, struct team *team, int member)
{
    struct cpu_probe *p = user;
    int64_t first, last;
    team_range(team, member, (int64_t)p->bytes, GRAIN, &first, &last);
    memset(p->p + first, 1, (size_t)(last - first));
}

/* Memory that was never written would be one page of zeros, read over and over. */
static int take_memory(struct cpu_probe *p, struct redline_err *err)
{
    p->reserved_bytes = p->bytes + HUGE_PAGE;
    TRY(mem_reserve(&p->reserved, p->reserved_bytes, "the measurement of memory", err));
    p->p = (char *)p->reserved + (HUGE_PAGE - (uintptr_t)p->reserved % HUGE_PAGE);
    madvise(p->p, p->bytes, MADV_HUGEPAGE); /* a wish */
    team_run(p->team, write_member, p);
    return 0;
}

static const struct peak_table *widest_reader(void)
{
    const struct peak_table *widest = &peak_scalar;
    for (int t = 0; t < peak_n_tables; t++)
        if (is_usable(peak_tables[t]) && peak_tables[t]->read[0]) widest = peak_tables[t];
    return widest;
}

uint64_t cpu_probe_bytes(const struct cpu_facts *cpu)
{
    struct cpu_memory memory;
    cpu_memory(&memory);
    uint64_t bytes = MAX((uint64_t)256 << 20, 4 * cpu_caches_bytes(cpu));
    if (memory.available_bytes) bytes = MIN(bytes, memory.available_bytes / 4);
    return MAX((uint64_t)4 << 20, ROUND_UP(bytes, (uint64_t)2 << 20));
}

int cpu_probe_new(struct cpu_probe **out, uint64_t read_bytes, int n_threads, struct redline_err *err)
{
    *out = NULL;
    if (read_bytes == 0 || read_bytes % 256 || read_bytes > (uint64_t)1 << 46)
        return err_set(err, REDLINE_ARG, "reading %llu bytes; a multiple of 256 up to 2^46 is possible",
                       (unsigned long long)read_bytes);
    struct cpu_probe *p = mem_new(1, sizeof *p);
    if (!p) return err_memory(err, sizeof *p, "the measurement of this machine");
    p->bytes = read_bytes;
    p->spans = mem_aligned(TEAM_MAX * sizeof *p->spans, 64);
    if (sched_getaffinity(0, sizeof p->usable, &p->usable)) CPU_ZERO(&p->usable);
    p->reader = widest_reader(); /* asks for the features, and so for AMX, before threads are started */
    peak_input_fill(&p->input);
    int status = p->spans ? 0 : err_memory(err, TEAM_MAX * sizeof *p->spans, "clocks");
    if (!status) status = cpu_probe_threads(p, n_threads, err);
    if (!status) status = take_memory(p, err);
    if (status) cpu_probe_free(&p);
    *out = p;
    return status;
}

static void bind_member(void *user, struct team *team, int member)
{
    const int *cores = user;
    cpu_set_t one;
    (void)team;
    CPU_ZERO(&one);
    CPU_SET((size_t)cores[member], &one);
    sched_setaffinity(0, sizeof one, &one); /* a wish */
}

static void unbind(struct cpu_probe *p)
{
    if (p->is_bound) sched_setaffinity(0, sizeof p->usable, &p->usable);
    p->is_bound = false;
}

/* Smaller teams are the system's to spread over caches and memory nodes. */
static void bind_team(struct cpu_probe *p)
{
    int cores[TEAM_MAX];
    if (CPU_COUNT(&p->usable) == 0 || cpu_cores(cores, TEAM_MAX) != team_size(p->team)) return;
    p->is_bound = true;
    team_run(p->team, bind_member, cores);
}

int cpu_probe_threads(struct cpu_probe *p, int n_threads, struct redline_err *err)
{
    struct team *team;
    unbind(p); /* new threads inherit it */
    TRY(team_new(&team, n_threads, err));
    team_free(&p->team);
    p->team = team;
    bind_team(p);
    p->piece = 0;
    p->n_pieces = MAX(1, (int64_t)p->bytes / n_threads / PIECE);
    return 0;
}

void cpu_probe_free(struct cpu_probe **probe)
{
    struct cpu_probe *p = *probe;
    if (!p) return;
    team_free(&p->team);
    unbind(p);
    mem_free(p->spans);
    mem_release(p->reserved, p->reserved_bytes);
    mem_free(p);
    *probe = NULL;
}

/* ---- as a backend's slot ------------------------------------------------------------------------ */

int cpu_measure(int device, struct backend *b, struct backend_rates *out, struct redline_err *err)
{
    static const uint64_t read_ns = 60000000, compute_ns = 10000000;
    struct cpu_facts cpu;
    struct cpu_probe *probe;
    (void)device;
    (void)b;
    *out = (struct backend_rates){0};
    cpu_facts(&cpu);
    TRY(cpu_probe_new(&probe, cpu_probe_bytes(&cpu), cpu.n_threads, err));
    for (uint64_t start = clock_ns(); clock_ns() - start < read_ns;) {
        out->read_bytes = MAX(out->read_bytes, cpu_probe_read(probe, CPU_PROBE_PLAIN));
        out->read_bytes = MAX(out->read_bytes, cpu_probe_read(probe, CPU_PROBE_PREFETCH));
    }
    for (int i = 0; i < cpu_probe_n_loops(); i++)
        if (strcmp(cpu_probe_loop(i).type, "bf16") == 0)
            out->bf16_ops = MAX(out->bf16_ops, cpu_probe_compute(probe, i, compute_ns));
    cpu_probe_free(&probe);
    return 0;
}
