/* collect.h - the inside of struct redline_imatrix: sums over what goes into the products of an engine. */
#ifndef COLLECT_H
#define COLLECT_H

#include "backend.h"
#include "redline_probe.h"

/* What a backend is opened with; lives as long as the matrix. */
const struct backend_watch *collect_watch(struct redline_imatrix *m);

#endif
