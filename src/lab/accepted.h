/* accepted.h - which report the next ones are held against: a small file that names a store and a series of it, by
 * experiment and machine.
 *
 *     {"cpu-sweep @ 0123456789abcdef": {"store": "lab/cpu-sweep.jsonl", "series": "2026-11-21T18:15:00.123Z",
 *                                       "accepted": "2026-11-21T19:02:11Z", "commit": "0d0e82a"}} */
#ifndef ACCEPTED_H
#define ACCEPTED_H

#include <jansson.h>

#include "err.h"
#include "str.h"

/* Names the last series of every experiment in a store, for the machine that it ran on; entries of others stay.  What
 * was named, one line each, is appended to `names`.  REDLINE_ARG: no record belongs to an experiment, or a measurement
 * of the series failed. */
int accepted_name(const char *path, const char *store, json_t *records, struct buf *names, struct redline_err *err);

/* The accepted records for what `records` holds (their last series): an array, the caller's to json_decref().
 * REDLINE_ARG: nothing was accepted of this experiment on this machine, or it is these records themselves. */
int accepted_find(json_t **base, const char *path, json_t *records, struct redline_err *err);

#endif
