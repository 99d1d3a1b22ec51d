/* derive.h - from the times of requests to figures, by the definitions in metric.h. */
#ifndef DERIVE_H
#define DERIVE_H

#include <jansson.h>

#include "err.h"

/* Sets under "derived" every figure that follows from a record's requests and is of its kind of workload; also for
 * records that others' times went into: what needs times that are null is null for the same reason. */
int derive_figures(json_t *record, struct redline_err *err);

#endif
