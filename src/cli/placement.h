/* placement.h - where a model shall run: the settings about it, held against the machine before a file is opened and
 * against the plan before a weight is read, so that nothing is loaded that would run elsewhere; and what became of
 * it. */
#ifndef PLACEMENT_H
#define PLACEMENT_H

#include "redline_probe.h"
#include "str.h"

/* The settings, all zero where nothing is said.  All but require are for struct redline_engine_params. */
struct placement {
    const char *n_gpu_layers;
    const char *require;     /* "any" or NULL, "gpu", "cpu" */
    const char *overrides;   /* placement */
    uint64_t device_memory;
    int n_cpu_moe;
};

/* REDLINE_DEVICE: a GPU is asked for and cannot be had, with the reasons and what to do; REDLINE_ARG: settings
 * contradict each other.  Only where a GPU is asked for is the machine looked at. */
int placement_check(const struct placement *w, struct redline_err *err);

/* Into the parameters of an engine or a plan; what is required to run on the CPU asks for no layer elsewhere. */
void placement_set(struct redline_engine_params *params, const struct placement *w);

/* placement_set(), then redline_engine_open(); REDLINE_DEVICE, before a weight is read, where a GPU is required and
 * the plan puts nothing on one. */
int placement_open(struct redline_engine **out, const struct redline_model *model,
                   struct redline_engine_params *params, const struct placement *w, struct redline_err *err);

/* One line about each GPU of the plan and one about the CPU: blocks, memory, and what each has done so far, as its
 * backend counted it.  Nothing where the CPU is the only device. */
int placement_print(struct redline_engine *engine, const struct redline_plan *plan, struct buf *out,
                    struct redline_err *err);

/* What a device of the plan has done so far, over all layers. */
struct redline_count placement_sum(struct redline_engine *engine, const struct redline_plan *plan, int device);

/* "gpu0:65:1300 cpu:1:20": of each device its blocks, and operations done so far, n bytes of buffer. */
void placement_proof(struct redline_engine *engine, const struct redline_plan *plan, char *out, size_t n);

/* "24 of 32 layers on NVIDIA H200", n bytes of buffer; of the CPU alone "". */
void placement_text(const struct redline_plan *plan, char *out, size_t n);

/* The names of the GPUs that run something, with ", " between; "" where there is none. */
void placement_gpus(const struct redline_plan *plan, char *out, size_t n);

#endif
