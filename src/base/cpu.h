/* cpu.h - facts about the processor and about how much of it this process may use. */
#ifndef CPU_H
#define CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* Feature levels as the kernels need them; a bit is set only if processor and operating system both
 * support everything that is listed. */
enum cpu_feature {
    CPU_AVX2 = 1 << 0,     /* AVX2, FMA, F16C, BMI1, BMI2: Haswell 2013, Zen 2017 */
    CPU_AVX512 = 1 << 1,   /* AVX-512 F, BW, DQ, VL, VNNI: Cascade Lake 2019, Ice Lake 2019, Zen 4 2022 */
    CPU_BF16 = 1 << 2,     /* AVX512_BF16: Cooper Lake 2020, Zen 4 2022, Sapphire Rapids 2023 */
    CPU_AMX = 1 << 3,      /* AMX TILE, INT8, BF16, granted by the kernel: Sapphire Rapids 2023 */
    CPU_VNNI = 1 << 4,     /* AVX_VNNI, 256 bits wide without AVX-512: Alder Lake 2021, Zen 5 2024 */
};

/* The features to use: what the machine has, less what the environment variable REDLINE_CPU takes
 * away.  REDLINE_CPU is "scalar" (nothing) or a comma-separated list of "-name"; taking a level away
 * takes away all that builds on it (-avx2 leaves nothing).  Read once; the same ever after. */
uint32_t cpu_features(void);
uint32_t cpu_features_all(void); /* with nothing taken away */

/* REDLINE_ARG with the word when REDLINE_CPU holds an unknown one (cpu_features() ignores it then). */
int cpu_features_check(struct redline_err *err);

/* The same rule for tests: features less what the mask string names; returns -1 for an unknown word. */
int64_t cpu_mask(uint32_t features, const char *mask);

/* "avx2 avx512 bf16", or "scalar"; n bytes of buffer. */
void cpu_features_text(uint32_t features, char *out, size_t n);

struct cpu_facts {
    char name[64];      /* "AMD EPYC 9554", or "unknown" */
    int n_logical;      /* processors that this process may run on (affinity) */
    int n_physical;     /* distinct cores among them */
    double quota;       /* processors' worth of time that the container grants; 0: no limit */
    int n_threads;      /* the number of threads to use by default: the least of the above, at least 1 */
    uint64_t l1d_bytes; /* of one core; 0: unknown */
    uint64_t l2_bytes;  /* of one core */
    uint64_t l3_bytes;  /* of one L3 cache */
    int n_l3;           /* distinct ones that the processors above have; 0: unknown */
    char microcode[24]; /* "0xa101148", or "" */
};

/* Reads /sys, /proc and the cgroup (v1 and v2, the whole path up to the root); never fails, unknown
 * facts are 0.  The quota is the smallest on the path, as quota / period. */
void cpu_facts(struct cpu_facts *out);

/* Bytes that the last-level caches of those processors hold together; 0: unknown. */
uint64_t cpu_caches_bytes(const struct cpu_facts *cpu);

/* The numbers of one processor of each core that the calling thread may run on, ascending; returns how many
 * cores there are, of which no more than `most` are written. */
int cpu_cores(int *cpus, int most);

struct cpu_memory {
    uint64_t total_bytes;     /* of the machine */
    uint64_t available_bytes; /* that can be had without swapping: MemAvailable, and the room left
                                 under the container's limit (page cache counts as room) */
    uint64_t limit_bytes;     /* the container's limit; 0: none */
};

void cpu_memory(struct cpu_memory *out);

/* Whether memory can be had in huge pages by asking for them (transparent_hugepage of Linux). */
bool cpu_has_huge_pages(void);

/* The largest resident size of this process since its start or the last reset, and the present one, in
 * bytes.  A kernel that cannot reset the first (before Linux 4.0) leaves it as it is. */
uint64_t cpu_peak_rss_bytes(void);
void cpu_reset_peak_rss(void);
uint64_t cpu_rss_bytes(void);

#endif
