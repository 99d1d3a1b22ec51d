/* report_tables.h - tables as an experiment's file asks for them, out of its records: what report.h describes, as JSON.
 *
 *     {"title", "heads": [text], "n_keys", "matrix": bool, "better": "higher" | "lower" | "", "notes": [text],
 *      "metrics": [name], "rows": [[{"text"} or {"text", "value", "low", "high", "n", "reason"}]]}
 *
 * The first n_keys cells of a row name it.  What differs between records is never mixed in one figure: a key that
 * tells them apart and is not named becomes one more column, or, in a matrix, one table for each of its values. */
#ifndef REPORT_TABLES_H
#define REPORT_TABLES_H

#include <jansson.h>

#include "err.h"

/* Appends to `tables`.  spec: one of those of the experiment's file, or NULL for a plain table of every row and
 * metric.  REDLINE_ARG: a metric that is not known, a key that is missing. */
int report_tables_add(json_t *tables, json_t *records, const json_t *spec, struct redline_err *err);

#endif
