/* machine.c - the machine's limits: whose they are, how they are measured, how they are looked up.
 *
 * Every figure is visited three times, some seconds apart, so that one disturbance does not spoil it.  One
 * half of the time goes to reading memory, the other to arithmetic. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "base.h"
#include "clock.h"
#include "cpu/cpu_probe.h"
#include "cpu.h"
#include "machine.h"
#include "mem.h"
#include "stats.h"
#include "str.h"

enum {
    DEFAULT_BUDGET_MS = 3000,
    N_VISITS = 3,
    MOST_SAMPLES = 1024,      /* of one figure: the last so many give the median */
    LONGEST_RUN_NS = 500000,  /* of one repetition of arithmetic */
    SHORTEST_RUN_NS = 100000,
};

/* ---- the machine ------------------------------------------------------------------------------ */

void redline_machine(struct redline_machine *out)
{
    struct cpu_facts cpu;
    struct cpu_memory memory;
    struct utsname system;
    cpu_facts(&cpu);
    cpu_memory(&memory);
    *out = (struct redline_machine){.n_logical = cpu.n_logical,
                                    .n_physical = cpu.n_physical,
                                    .n_threads = cpu.n_threads,
                                    .quota = cpu.quota,
                                    .l1d_bytes = cpu.l1d_bytes,
                                    .l2_bytes = cpu.l2_bytes,
                                    .l3_bytes = cpu.l3_bytes,
                                    .n_l3 = cpu.n_l3,
                                    .memory_bytes = memory.total_bytes};
    snprintf(out->cpu, sizeof out->cpu, "%s", cpu.name);
    snprintf(out->microcode, sizeof out->microcode, "%s", cpu.microcode);
    cpu_features_text(cpu_features(), out->features, sizeof out->features);
    snprintf(out->build, sizeof out->build, "%.63s", REDLINE_BUILD);
    if (uname(&system) == 0)
        snprintf(out->kernel, sizeof out->kernel, "%.20s %.70s", system.sysname, system.release);
}

uint64_t redline_machine_cache_bytes(const struct redline_machine *m)
{
    return cpu_caches_bytes(&(struct cpu_facts){
        .n_physical = m->n_physical, .l2_bytes = m->l2_bytes, .l3_bytes = m->l3_bytes, .n_l3 = m->n_l3});
}

void redline_machine_id(const struct redline_machine *m, char out[17])
{
    char text[640];
    int n = snprintf(text, sizeof text, "%d|%s|%s|%s|%s|%s|%d|%d|%d|%.3f|%llu|%llu|%llu|%d|%llu",
                     MACHINE_METHOD, m->cpu, m->features, m->microcode, m->kernel, m->build, m->n_logical,
                     m->n_physical, m->n_threads, m->quota, (unsigned long long)m->l1d_bytes,
                     (unsigned long long)m->l2_bytes, (unsigned long long)m->l3_bytes, m->n_l3,
                     (unsigned long long)((m->memory_bytes + (1u << 29)) >> 30));
    size_t used = MIN((size_t)MAX(n, 0), sizeof text - 1);
    snprintf(out, 17, "%016llx", (unsigned long long)str_hash((struct str){text, used}));
}

bool redline_machine_same(const struct redline_machine *a, const struct redline_machine *b)
{
    char id_a[17], id_b[17];
    redline_machine_id(a, id_a);
    redline_machine_id(b, id_b);
    return strcmp(id_a, id_b) == 0;
}

/* ---- measuring -------------------------------------------------------------------------------- */

struct series { /* the repetitions of one figure */
    double value[MOST_SAMPLES]; /* a ring */
    double best, worst;
    int n;
};

struct measuring {
    const struct redline_limits_params *params;
    struct redline_limits *out;
    struct cpu_probe *probe;
    int n_loops, n_teams;    /* arithmetic is measured with 1 thread and with all: one team or two */
    struct series *plain, *prefetch; /* [n_bandwidths] */
    struct series *peaks;    /* [n_peaks]: team by team of each loop */
    uint64_t read_ns, run_ns; /* of one visit */
    int n_done, n_all;       /* visits */
};

static void report(struct measuring *m, const char *what)
{
    if (m->params->progress) m->params->progress(m->params->user, what, (double)m->n_done / m->n_all);
    m->n_done++;
}

static void keep(struct series *s, double value)
{
    s->best = MAX(s->best, value);
    s->worst = s->n ? MIN(s->worst, value) : value;
    s->value[s->n++ % MOST_SAMPLES] = value;
}

static void visit_memory(struct measuring *m, int row)
{
    report(m, "measuring memory");
    uint64_t end = clock_ns() + m->read_ns;
    do {
        keep(&m->plain[row], cpu_probe_read(m->probe, CPU_PROBE_PLAIN));
        keep(&m->prefetch[row], cpu_probe_read(m->probe, CPU_PROBE_PREFETCH));
    } while (clock_ns() < end);
}

static void visit_arithmetic(struct measuring *m, int team)
{
    uint64_t once = MAX((uint64_t)SHORTEST_RUN_NS, MIN((uint64_t)LONGEST_RUN_NS, m->run_ns / 4));
    for (int i = 0; i < m->n_loops; i++) {
        report(m, "measuring arithmetic");
        uint64_t end = clock_ns() + m->run_ns;
        do
            keep(&m->peaks[i * m->n_teams + team], cpu_probe_compute(m->probe, i, once));
        while (clock_ns() < end);
    }
}

static int visit_all(struct measuring *m, struct redline_err *err)
{
    struct redline_limits *l = m->out;
    for (int i = 0; i < l->n_bandwidths; i++) {
        TRY(cpu_probe_threads(m->probe, l->bandwidths[i].n_threads, err));
        visit_memory(m, i);
        if (i == 0) visit_arithmetic(m, 0);
        if (i > 0 && i == l->n_bandwidths - 1) visit_arithmetic(m, 1);
    }
    return 0;
}

/* Teams of 1, 2, ... 8, 12, 16, 24, 32, 48, ... and the largest. */
static void lay_out_teams(struct redline_limits *l)
{
    int n = 1;
    while (l->n_bandwidths < REDLINE_MOST_BANDWIDTHS - 1 && n < l->n_threads) {
        l->bandwidths[l->n_bandwidths++].n_threads = n;
        n = n < 8 ? n + 1 : (n & (n - 1)) == 0 ? n / 2 * 3 : n / 3 * 4;
    }
    l->bandwidths[l->n_bandwidths++].n_threads = l->n_threads;
}

static int lay_out(struct measuring *m, struct redline_err *err)
{
    struct redline_limits *l = m->out;
    uint64_t budget_ns = (m->params->budget_ms ? m->params->budget_ms : DEFAULT_BUDGET_MS) * (uint64_t)1000000;
    lay_out_teams(l);
    m->n_teams = MIN(2, l->n_bandwidths);
    m->n_loops = MIN(cpu_probe_n_loops(), REDLINE_MOST_PEAKS / m->n_teams);
    l->n_peaks = m->n_loops * m->n_teams;
    for (int i = 0; i < l->n_peaks; i++) {
        struct cpu_probe_loop loop = cpu_probe_loop(i / m->n_teams);
        struct redline_peak *p = &l->peaks[i];
        snprintf(p->isa, sizeof p->isa, "%s", loop.isa);
        snprintf(p->type, sizeof p->type, "%s", loop.type);
        p->n_threads = i % m->n_teams ? l->n_threads : 1;
    }
    m->n_all = N_VISITS * (l->n_bandwidths + l->n_peaks);
    m->read_ns = budget_ns / 2 / (uint64_t)(N_VISITS * l->n_bandwidths);
    m->run_ns = budget_ns / 2 / (uint64_t)(N_VISITS * l->n_peaks);
    size_t n = (size_t)(2 * l->n_bandwidths + l->n_peaks);
    m->plain = mem_new(n, sizeof *m->plain);
    if (!m->plain) return err_memory(err, n * sizeof *m->plain, "measured figures");
    m->prefetch = m->plain + l->n_bandwidths;
    m->peaks = m->prefetch + l->n_bandwidths;
    return 0;
}

static struct redline_rate rate_of(struct series *s)
{
    int n = MIN(s->n, MOST_SAMPLES);
    stats_sort(s->value, (size_t)n);
    return (struct redline_rate){.best = floor(s->best),
                                 .median = floor(stats_median(s->value, (size_t)n)),
                                 .worst = floor(s->worst),
                                 .n_repetitions = s->n};
}

static int measure(struct measuring *m, struct redline_err *err)
{
    struct redline_limits *l = m->out;
    TRY(lay_out(m, err));
    TRY(cpu_probe_new(&m->probe, l->read_bytes, l->n_threads, err));
    for (int i = 0; i < N_VISITS; i++) TRY(visit_all(m, err));
    for (int i = 0; i < l->n_bandwidths; i++) {
        l->bandwidths[i].plain = rate_of(&m->plain[i]);
        l->bandwidths[i].prefetch = rate_of(&m->prefetch[i]);
    }
    for (int i = 0; i < l->n_peaks; i++) l->peaks[i].ops = rate_of(&m->peaks[i]);
    return 0;
}

int redline_limits_measure(struct redline_limits *out, const struct redline_limits_params *params,
                           struct redline_err *err)
{
    static const struct redline_limits_params defaults;
    uint64_t start = clock_ns();
    struct cpu_facts cpu;
    struct measuring m = {.params = params ? params : &defaults, .out = out};
    memset(out, 0, sizeof *out);
    cpu_facts(&cpu);
    redline_machine(&out->machine);
    out->measured_at = (int64_t)time(NULL);
    out->n_threads = m.params->n_threads ? m.params->n_threads : out->machine.n_threads;
    out->read_bytes = m.params->read_bytes ? m.params->read_bytes : cpu_probe_bytes(&cpu);
    int status = out->n_threads < 1
                     ? err_set(err, REDLINE_ARG, "limits of %d threads cannot be measured", out->n_threads)
                     : measure(&m, err);
    cpu_probe_free(&m.probe);
    mem_free(m.plain);
    out->duration_ms = (clock_ns() - start) / 1000000;
    return status;
}

/* ---- looking up ------------------------------------------------------------------------------- */

struct climb { /* through rows of ascending n_threads */
    int wanted, below; /* below: the threads of the last row within the wanted */
    double limit;
    bool done;
};

static void climb_row(struct climb *c, int n_threads, double rate)
{
    if (c->done || (rate <= c->limit && n_threads > c->wanted)) return;
    if (n_threads <= c->wanted) {
        c->limit = MAX(c->limit, rate);
        c->below = n_threads;
    } else {
        c->limit += (rate - c->limit) * (c->wanted - c->below) / (n_threads - c->below);
        c->done = true;
    }
}

double redline_limits_bandwidth(const struct redline_limits *l, int n_threads)
{
    struct climb c = {.wanted = n_threads};
    for (int i = 0; i < l->n_bandwidths; i++) {
        const struct redline_bandwidth *b = &l->bandwidths[i];
        climb_row(&c, b->n_threads, MAX(b->plain.best, b->prefetch.best));
    }
    return c.limit;
}

double redline_limits_peak(const struct redline_limits *l, const char *isa, const char *type, int n_threads)
{
    struct climb c = {.wanted = n_threads};
    for (int i = 0; i < l->n_peaks; i++) {
        const struct redline_peak *p = &l->peaks[i];
        if (strcmp(p->isa, isa) == 0 && strcmp(p->type, type) == 0) climb_row(&c, p->n_threads, p->ops.best);
    }
    return c.limit;
}
