/* cpu_probe.h - what processor and memory can do at most, one repetition at a time.
 *
 * A repetition is long against starting and joining the team (microseconds) and short against a scheduler's
 * slice, so that the best of many is what the machine does when nobody disturbs it.  Statistics are the
 * caller's. */
#ifndef CPU_PROBE_H
#define CPU_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

struct cpu_facts;
struct cpu_probe;

/* How much memory to read so that no cache has it: four times what all last-level caches hold, at least 256 MiB, but
 * within a quarter of what is free. */
uint64_t cpu_probe_bytes(const struct cpu_facts *cpu);

/* Takes read_bytes (a multiple of 256) of memory, in huge pages if the system gives them, and lets
 * n_threads threads write it, each a part.  It reads and computes with n_threads from then on. */
int  cpu_probe_new(struct cpu_probe **out, uint64_t read_bytes, int n_threads, struct redline_err *err);
void cpu_probe_free(struct cpu_probe **probe); /* accepts a pointer to NULL */

/* Exchanges the team.  One as large as there are cores is bound, a member to each (the calling thread too,
 * until the next call): other programs could keep two members on one core all the time. */
int cpu_probe_threads(struct cpu_probe *p, int n_threads, struct redline_err *err);

/* How to read: wide loads one after the other, or the same with lines asked for ahead. */
enum cpu_probe_read { CPU_PROBE_PLAIN, CPU_PROBE_PREFETCH };

/* Each thread reads the next piece of its own contiguous part of the memory, some 8 MiB or a quarter of a
 * millisecond, and the first again when all have been read; bytes per second of all together. */
double cpu_probe_read(struct cpu_probe *p, enum cpu_probe_read how);

/* The loops of arithmetic that this machine can run (cpu.h features) have numbers from 0. */
int cpu_probe_n_loops(void);
struct cpu_probe_loop {
    const char *isa, *type; /* "avx512", "int8" */
};
struct cpu_probe_loop cpu_probe_loop(int loop);

/* Runs a loop on every thread for about `ns`; operations per second of all together. */
double cpu_probe_compute(struct cpu_probe *p, int loop, uint64_t ns);

/* What struct backend_ops wants of it, with as many threads as an engine has by default. */
struct backend;
struct backend_rates;
int cpu_measure(int device, struct backend *b, struct backend_rates *out, struct redline_err *err);

#endif
