/* draft.h - a plan while it is being made: all facts are read once, then it can be tried with any context. */
#ifndef DRAFT_H
#define DRAFT_H

#include "layout.h"
#include "engine.h"
#include "spread.h"

struct draft {
    const struct redline_model *model; /* borrowed */
    struct plan_params p;              /* p.model.n_ctx may be changed between tries */
    struct layout layout;
    struct spread_block *rows;         /* [layout.n], owned like the next three */
    uint8_t *fixed, *device;           /* [layout.n] see spread.h; the device is that of the last try */
    enum redline_why *why, *why_free;  /* [layout.n] of fixed blocks; and of all, after a try */
    int wanted;                        /* layers on GPUs, or SPREAD_AUTO */
    bool watched;                      /* and so no GPU is looked for */
    struct redline_plan_device devices[REDLINE_MOST_DEVICES]; /* the sums are those of the last try */
    int n_devices;
    char warning[sizeof ((struct redline_plan *)0)->warning]; /* see there */
    struct spread_short missing;       /* of the last try */
    struct model_sizes sizes;          /* of the CPU, at the last try */
};

/* found: a plan whose devices are taken as they were found then; NULL: they are looked at now.  A GPU that is asked for
 * and is not there is REDLINE_DEVICE. */
int  draft_make(struct draft *out, const struct redline_model *model, const struct redline_engine_params *params,
                const struct redline_plan *found, struct redline_err *err);
void draft_free(struct draft *d); /* accepts {0} */

/* Spreads the blocks and sums up.  Whether every device has room; where not, `missing` names a block or no block (the
 * CPU's memory is too small). */
bool draft_try(struct draft *d);

/* The task that the last try carried out, for questions about others. */
struct spread_task draft_task(const struct draft *d, struct spread_gpu gpus[SPREAD_MOST_GPUS]);

#endif
