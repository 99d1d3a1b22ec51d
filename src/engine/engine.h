/* engine.h - the inside of struct redline_engine. */
#ifndef ENGINE_H
#define ENGINE_H

#include "cpu.h"
#include "model.h"
#include "modelfile.h"
#include "redline_probe.h"

struct redline_engine {
    const struct redline_model *source; /* borrowed */
    struct redline_plan plan;           /* as carried out */
    struct backend *backend;
    struct model *model;
    uint64_t load_ns;
    int most_pages;                     /* KV pages in use at their most */
    struct cpu_facts cpu;
    char features[64];
};

/* plan.c: params with their defaults filled in and checked, for the layers below. */
struct plan_params {
    struct backend_params backend;
    struct model_params model;
};
int plan_params(struct plan_params *out, const struct redline_engine_params *p,
                struct redline_err *err);

/* plan.c: REDLINE_MEMORY with the numbers, and what would fit, for a plan that does not. */
int plan_refuse(const struct redline_plan *plan, struct redline_err *err);

#endif
