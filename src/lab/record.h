/* record.h - one measurement, as one JSON object on one line of a store.
 *
 * docs/lab-record.schema.json says what is in it, version first.  Where a value could not be read, it is null, and
 * "missing" holds the reason under the value's path ("machine.governor").  A record is a jansson object throughout
 * the lab: it is written once, read by path, and never changed. */
#ifndef RECORD_H
#define RECORD_H

#include <jansson.h>
#include <stdbool.h>

#include "clock.h"
#include "err.h"

enum { RECORD_VERSION = 1, RECORD_ID = 64 };

/* ---- reading --------------------------------------------------------------------------------- */

/* By dotted path ("settings.effective.n_threads", "requests.0.stop"); NULL: not there.  Borrowed. */
json_t *record_at(const json_t *record, const char *path);

double      record_number(const json_t *record, const char *path); /* NAN: not there, or null */
const char *record_text(const json_t *record, const char *path);   /* NULL likewise */

/* derived.<metric>.value; NAN: not there, or null. */
double record_metric(const json_t *record, const char *metric);

/* Why a value is null or not there: the reason for itself, or for the nearest that it is a part of ("requests" for
 * "requests.0.engine_ns").  NULL: it is there, or nobody said. */
const char *record_reason(const json_t *record, const char *path);

/* Why the measurement failed, a sentence; NULL: it did not. */
const char *record_failure(const json_t *record);

/* ---- writing --------------------------------------------------------------------------------- */

/* When a measurement begins, which is now, and its name: that time, the process and a number in the process
 * ("20261121T181500.123Z-4711-0"). */
void record_name(char started[CLOCK_UTC], char id[RECORD_ID]);

/* Sets a value by path, making objects on the way; takes the reference, also on failure.  REDLINE_MEMORY. */
int record_set(json_t *record, const char *path, json_t *value, struct redline_err *err);

/* Sets null and says why. */
int record_miss(json_t *record, const char *path, const char *reason, struct redline_err *err);

/* The reason alone, for values that are null already or for all that is null within `path`. */
int record_say(json_t *record, const char *path, const char *reason, struct redline_err *err);

/* Sets derived.<metric>: value and unit.  A value that is not finite becomes null, for `reason`.  REDLINE_ARG: there is
 * no such metric. */
int record_derive(json_t *record, const char *metric, double value, const char *reason, struct redline_err *err);

/* Every member that a record must have and this one has not becomes null, all for one reason ("llama-bench does not
 * say"): for whoever makes records of what others wrote.  What may not be null is left to record_check(). */
int record_complete(json_t *record, const char *reason, struct redline_err *err);

/* REDLINE_FORMAT: what is wrong with it, by path: a version that is not known, a member that must be there and is
 * not, a wrong kind of value, a null without a reason. */
int record_check(const json_t *record, struct redline_err *err);

/* docs/lab-record.schema.json: JSON Schema, draft 7; the caller's to json_decref(). */
json_t *record_schema(void);

/* ---- comparing ------------------------------------------------------------------------------- */

/* Writes the paths in which two records differ though they must not if their figures are to be compared (machine,
 * model, effective settings, workload, kernels; not the program, which is what is compared), "; " between, with both
 * values; returns how many there are. */
size_t record_differences(const json_t *a, const json_t *b, char *out, size_t n_out);

/* What groups the records of one row: model, grid values and workload, as text ("tl-q4km | n_threads=4 | short").
 * Returns how many bytes that takes; out gets n_out - 1 of them at most, and a zero. */
int record_row(const json_t *record, char *out, size_t n_out);

#endif
