/* rows.h - records sorted into the rows of a table, and the figures of such a row.
 *
 * A key is a word under which a record has a value: a key of the experiment's grid, "model", "workload", "contestant",
 * "load", "commit", "machine", "series", "source" (what a report was told to call the store that a record came from),
 * a member of the effective settings or of the workload, or a dotted path.  A row is all records that have the same
 * values under some keys.  jansson objects throughout, as records are; whoever gets one as an out-parameter owns it. */
#ifndef ROWS_H
#define ROWS_H

#include <jansson.h>

#include "err.h"
#include "metric.h"

enum { ROWS_MOST_TEXT = 256 };

/* The value as text; "-": the record has none. */
void rows_value(const json_t *record, const char *key, char out[ROWS_MOST_TEXT]);

/* Those keys that tell the records apart: of where they came from, what was measured and the grid, in this order. */
int rows_varying(json_t **keys, json_t *records, struct redline_err *err);

/* [{"keys": [text ...], "records": [...]}], in the order of the experiment's cells; where there are none (imported
 * records), as text with numbers in it is sorted. */
int rows_group(json_t **rows, json_t *records, const json_t *keys, struct redline_err *err);

/* "short, n_threads 4": the values of a row's keys as one text.  One that speaks for itself goes without its key. */
int rows_label(json_t **text, const json_t *keys, const json_t *values, struct redline_err *err);

/* What a row says of one metric: the median of its records, and how sure it is. */
struct rows_figure {
    double value, low, high; /* NAN: not known */
    size_t n;                /* values (or pooled intervals) that it is made of */
    enum { ROWS_NONE, ROWS_ONE, ROWS_RANGE, ROWS_INTERVAL } spread; /* ROWS_RANGE: of all values, too few for 95 % */
    char reason[160];        /* why there is no value, or "" */
};

/* pool: a quantile, mean or maximum of all gaps between tokens of the row's records together, for the metrics of
 * such gaps (itl_*); others as without. */
int rows_metric(struct rows_figure *out, json_t *records, const char *metric, bool pool, struct redline_err *err);

/* The same of a number that stands in the records under a path ("model.bytes"). */
int rows_number(struct rows_figure *out, json_t *records, const char *path, struct redline_err *err);

/* All gaps between tokens of one request, in ms, by "engine_ns" or "consumer_ns", sorted; *values is the caller's to
 * mem_free(). */
int rows_gaps(double **values, size_t *n, json_t *records, const char *clock, struct redline_err *err);

#endif
