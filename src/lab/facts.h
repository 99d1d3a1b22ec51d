/* facts.h - the state of the machine at the moment of a measurement: each value, or why it could not be read.
 *
 * What a machine *is* stands in redline_probe.h (struct redline_machine); here is what it is doing: governor, load,
 * quota and how often it was hit, memory and swap, huge pages, GPUs, their driver and who uses them.  doctor looks
 * for faults in the same facts. */
#ifndef FACTS_H
#define FACTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "redline_probe.h"

enum { FACTS_MOST_GPUS = 16, FACTS_REASON = 160 };

struct fact_number {
    double value;                /* NAN: not known */
    char reason[FACTS_REASON];   /* why not */
};

struct fact_text {
    char value[96];              /* "": not known */
    char reason[FACTS_REASON];
};

struct gpu_fact {
    char name[96];
    char pci_id[24];             /* "00000000:01:00.0" */
    uint64_t memory_bytes, free_bytes;
    int n_other_processes;       /* that compute on it; -1: not known */
    char capability[8];          /* "9.0", "" */
};

struct facts {
    struct redline_machine machine;
    char machine_id[17], features[96];    /* with all that the processor has, whatever REDLINE_CPU takes away */
    char features_masked[64];             /* what REDLINE_CPU takes away of what the processor has: "avx512 bf16", "" */
    int n_online;                         /* processors of the whole machine, which the load is of; 0: not known */
    struct fact_number load_1m;           /* runnable threads, mean of a minute */
    struct fact_text governor;            /* of the slowest-minded processor: "performance", "powersave" */
    struct fact_number throttled_share;   /* of the quota's periods since the group was made, 0 to 1 */
    struct fact_number memory_available_bytes, swap_used_bytes, memory_pressure; /* PSI some avg10, per cent */
    struct fact_text huge_pages;          /* transparent ones: "always", "madvise", "never" */
    int n_gpus;                           /* that can be used: driver and library answer for them */
    struct gpu_fact gpus[FACTS_MOST_GPUS];
    char gpu_reason[FACTS_REASON];        /* why there is none, when n_gpus is 0 */
    struct fact_text gpu_driver;          /* that is loaded: "550.54.14" */
    struct fact_text gpu_library;         /* the driver's part outside the kernel, which must be of the same version */
    bool gpu_mismatch;                    /* and is not */
    int gpu_cuda;                         /* the newest CUDA that the driver serves: 12040 for 12.4; 0: not known */
    struct fact_text gpu_on_bus;          /* NVIDIA cards that the bus shows, driver or not: "0000:01:00.0 10de:2330" */
};

/* Where to look: NULL or "" for the running system's own; tests give a folder that holds a made-up proc and sys.  Of
 * a made-up machine are memory, quota and what it is doing; the processor is the real one. */
struct facts_source {
    const char *root;
    bool no_nvml;     /* do not ask NVIDIA's library */
    const char *nvml; /* its file; NULL: libnvidia-ml.so.1 */
};

/* Cannot fail: what cannot be read has its reason. */
void facts_read(struct facts *out, const struct facts_source *source);

/* Processors that others may use before a measurement beside them is in doubt: a quarter. */
double facts_load_limit(const struct facts *facts);

/* As the "machine" of a record, with reasons under `missing`. */
int facts_to_record(const struct facts *facts, json_t *record, struct redline_err *err);

/* Why a GPU is not to be had by this program here, and what is needed.  cuda_version and n_usable are
 * redline_cuda_version() and redline_gpu_count(), refusal the sentence of redline_gpu_check() or "".  False: one is to
 * be had. */
bool facts_gpu_refusal(const struct facts *facts, int cuda_version, int n_usable, const char *refusal, char *out,
                       size_t n);

/* How a file lies: what has to come from the disk when it is loaded, and from what disk. */
struct facts_file {
    struct fact_number cached_share;      /* in the page cache, 0 to 1 */
    struct fact_text slow;                /* "nfs", "a rotating disk"; "" with the reason "" where it is neither,
                                  * with one where that is not known, as of a virtual machine's disk */
    uint64_t bytes;
};
void facts_read_file(struct facts_file *out, const char *path, const struct facts_source *source);

#endif
