/* team.c - threads that work in step.
 *
 * One gate starts a run, another counts barriers.  A waiter spins for about 50 us, then sleeps on a futex;
 * whoever moves the gate on wakes sleepers only if there are any.  The value of the start gate says which
 * run it is and how many members take part, so that nobody can join another run than the one that was meant.
 *
 * Spinning keeps a processor from the very thread that is waited for, if other programs have taken that
 * thread's own.  So nobody spins with more members than processors, and after a long wait a member goes to
 * sleep at once for a while: beside two busy programs on two processors that is ten times as fast. */
#define _GNU_SOURCE
#include "team.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base.h"
#include "clock.h"
#include "cpu.h"
#include "fault.h"
#include "mem.h"

enum {
    SPINS = 2000,      /* about 50 us */
    LONG_NS = 300000,  /* a wait that says: the one waited for did not have its processor */
    N_CALM = 300,      /* waits without spinning after such a one */
    LINE = 64,
    RUN_SHIFT = 10,
};
#define TAKEN_BACK (UINT64_C(1) << 32)
_Static_assert(TEAM_MAX < 1 << RUN_SHIFT, "the start gate holds a number of members");

struct gate { /* a counter to wait on, on a cache line of its own */
    _Alignas(LINE) _Atomic uint32_t value;
    _Atomic uint32_t n_sleeping;
};

struct member {
    struct team *team;
    pthread_t thread;
    int id;
    _Alignas(LINE) _Atomic uint64_t taken; /* of its range: 1 for each item from the front, TAKEN_BACK from the back */
    _Alignas(LINE) int n_calm; /* waits to come that shall not spin */
    bool is_empty;             /* its range, as it has found */
    _Atomic uint64_t slept_ns; /* at barriers, so far; written by the member alone */
};

struct team {
    struct gate start;   /* run << RUN_SHIFT | members that take part; 0 of them: the end */
    struct gate barrier; /* moves on when all members have arrived */
    _Alignas(LINE) _Atomic int n_arrived;
    _Alignas(LINE) _Atomic int n_open; /* members that have not found their range empty */
    _Alignas(LINE) int n_members; /* that take part */
    int n_all;
    int n_started;       /* threads to join: members 1..n_started */
    int n_spins;
    team_fn *fn;
    void *user;
    struct member *members;
};

static void pause_briefly(void)
{
#if defined(__x86_64__)
    _mm_pause();
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* Returns how long the caller slept, in ns. */
static uint64_t gate_wait(struct gate *g, uint32_t seen, int n_spins)
{
    for (int i = 0; i < n_spins; i++) {
        if (atomic_load_explicit(&g->value, memory_order_acquire) != seen) return 0;
        pause_briefly();
    }
    uint64_t start = clock_ns();
    atomic_fetch_add(&g->n_sleeping, 1);
    while (atomic_load(&g->value) == seen)
        syscall(SYS_futex, &g->value, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    atomic_fetch_sub(&g->n_sleeping, 1);
    return clock_ns() - start;
}

static void wait_at_barrier(struct team *t, struct member *m, uint32_t seen)
{
    uint64_t slept = gate_wait(&t->barrier, seen, m->n_calm > 0 ? 0 : t->n_spins);
    if (m->n_calm > 0) m->n_calm--;
    if (slept == 0) return;
    if (slept > LONG_NS) m->n_calm = N_CALM;
    atomic_store_explicit(&m->slept_ns, atomic_load_explicit(&m->slept_ns, memory_order_relaxed) + slept,
                          memory_order_relaxed);
}

static void gate_move(struct gate *g, uint32_t value)
{
    atomic_store(&g->value, value);
    if (atomic_load(&g->n_sleeping) > 0)
        syscall(SYS_futex, &g->value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Nobody takes anything meanwhile. */
static void fill_ranges(struct team *t)
{
    for (int i = 0; i < t->n_members; i++) atomic_store_explicit(&t->members[i].taken, 0, memory_order_relaxed);
    atomic_store_explicit(&t->n_open, t->n_members, memory_order_relaxed);
}

void team_barrier(struct team *t, int member)
{
    int n = t->n_members; /* once the last has arrived, the next run may have another number */
    t->members[member].is_empty = false;
    if (n == 1) {
        fill_ranges(t);
        return;
    }
    uint32_t seen = atomic_load_explicit(&t->barrier.value, memory_order_acquire);
    if (atomic_fetch_add_explicit(&t->n_arrived, 1, memory_order_acq_rel) + 1 < n) {
        wait_at_barrier(t, &t->members[member], seen);
        return;
    }
    atomic_store_explicit(&t->n_arrived, 0, memory_order_relaxed);
    fill_ranges(t);
    gate_move(&t->barrier, seen + 1);
}

void team_range(const struct team *t, int member, int64_t n, int64_t grain, int64_t *first,
                int64_t *last)
{
    int64_t n_grains = CEIL_DIV(n, grain), size = t->n_members;
    *first = MIN(n, n_grains * member / size * grain);
    *last = MIN(n, n_grains * (member + 1) / size * grain);
}

/* One of the items that belong to member `of`, if any is left. */
static bool take(struct team *t, int of, int64_t n, uint64_t step, int64_t *item)
{
    int64_t first, last;
    team_range(t, of, n, 1, &first, &last);
    uint64_t was = atomic_fetch_add_explicit(&t->members[of].taken, step, memory_order_relaxed);
    int64_t front = (int64_t)(was % TAKEN_BACK), back = (int64_t)(was / TAKEN_BACK);
    *item = step == TAKEN_BACK ? last - 1 - back : first + front;
    return front + back < last - first;
}

bool team_next(struct team *t, int member, int64_t n, int64_t *item)
{
    struct member *own = &t->members[member];
    if (!own->is_empty) {
        if (take(t, member, n, 1, item)) return true;
        own->is_empty = true;
        atomic_fetch_sub_explicit(&t->n_open, 1, memory_order_relaxed);
    }
    for (int i = 1; i < t->n_members && atomic_load_explicit(&t->n_open, memory_order_relaxed) > 0; i++)
        if (take(t, (member + i) % t->n_members, n, TAKEN_BACK, item)) return true;
    return false;
}

static void *member_main(void *user)
{
    struct member *m = user;
    struct team *t = m->team;
    int n_spins = t->n_spins;
    for (uint32_t seen = 0;;) {
        gate_wait(&t->start, seen, n_spins);
        seen = atomic_load_explicit(&t->start.value, memory_order_acquire);
        int n = (int)(seen & ((1 << RUN_SHIFT) - 1));
        if (n == 0) return NULL;
        n_spins = m->id < n ? t->n_spins : 0;
        if (m->id >= n) continue;
        t->fn(t->user, t, m->id);
        team_barrier(t, m->id);
    }
}

/* Starts the members for a run with n of them. */
static void open_start(struct team *t, int n)
{
    uint32_t run = atomic_load_explicit(&t->start.value, memory_order_relaxed) >> RUN_SHIFT;
    gate_move(&t->start, (run + 1) << RUN_SHIFT | (uint32_t)n);
}

void team_run(struct team *t, team_fn *fn, void *user)
{
    t->fn = fn;
    t->user = user;
    fill_ranges(t);
    if (t->n_members > 1) open_start(t, t->n_members);
    fn(user, t, 0);
    team_barrier(t, 0);
}

static int start_members(struct team *t, struct redline_err *err)
{
    for (int i = 1; i < t->n_all; i++) {
        t->members[i].team = t;
        t->members[i].id = i;
        int failure = fault_hits(FAULT_THREAD)
                          ? EAGAIN
                          : pthread_create(&t->members[i].thread, NULL, member_main, &t->members[i]);
        if (failure)
            return err_set(err, REDLINE_DEVICE, "%d of %d threads could be started: %s", i, t->n_all,
                           strerror(failure));
        t->n_started = i;
    }
    return 0;
}

int team_new(struct team **out, int n_threads, struct redline_err *err)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > TEAM_MAX)
        return err_set(err, REDLINE_ARG, "a team of %d threads; 1 to %d are possible", n_threads, TEAM_MAX);
    struct team *t = mem_aligned(sizeof *t, LINE);
    struct member *members = mem_aligned((size_t)n_threads * sizeof *members, LINE);
    if (!t || !members) {
        mem_free(t);
        mem_free(members);
        return err_memory(err, sizeof *t, "a team of threads");
    }
    struct cpu_facts cpu;
    cpu_facts(&cpu);
    int n_usable = cpu.n_logical;
    if (cpu.quota > 0) n_usable = MIN(n_usable, (int)(cpu.quota + 0.5));
    memset(t, 0, sizeof *t);
    memset(members, 0, (size_t)n_threads * sizeof *members);
    t->n_members = t->n_all = n_threads;
    t->n_spins = n_threads <= n_usable ? SPINS : 0;
    t->members = members;
    int status = start_members(t, err);
    if (status)
        team_free(&t);
    else
        *out = t;
    return status;
}

void team_free(struct team **team)
{
    struct team *t = team ? *team : NULL;
    if (!t) return;
    if (t->n_started > 0) open_start(t, 0);
    for (int i = 1; i <= t->n_started; i++) pthread_join(t->members[i].thread, NULL);
    mem_free(t->members);
    mem_free(t);
    *team = NULL;
}

void team_limit(struct team *t, int n)
{
    t->n_members = MIN(MAX(n, 1), t->n_all);
}

int team_size(const struct team *t)
{
    return t->n_members;
}

uint64_t team_slept_ns(const struct team *t)
{
    uint64_t sum = 0;
    for (int i = 0; i < t->n_all; i++) sum += atomic_load_explicit(&t->members[i].slept_ns, memory_order_relaxed);
    return sum;
}
