/* import.h - what other tools wrote, as records: llama-bench of both dialects (JSON, JSONL, CSV), llama-batched-bench
 * and llama-sweep-bench (JSONL), vLLM's `bench serve`; and Redline's own `bench` and records.
 *
 * Every figure gets the name of the definition that the tool's word has (metric.h); a word that has none of ours is
 * left out.  llama-bench's stddev_ns is wrong for long samples (sums of squares that wrap round), so nothing is made
 * of it: there is one record for each sample, and deviations are made again from those.  What the tool does not say
 * is null, with that as the reason. */
#ifndef IMPORT_H
#define IMPORT_H

#include <jansson.h>

#include "err.h"
#include "str.h"

enum import_format { IMPORT_UNKNOWN, IMPORT_RECORDS, IMPORT_LLAMA_BENCH, IMPORT_BATCHED_BENCH, IMPORT_SWEEP_BENCH,
                     IMPORT_VLLM_SERVE };

/* By what is in it, whatever the file is called. */
enum import_format import_recognise(struct str text);
const char *import_format_name(enum import_format f);

/* One record for each sample where there are samples, else for each row.  *records: an array, the caller's to
 * json_decref().  REDLINE_FORMAT names the line. */
int import_text(json_t **records, struct str text, enum import_format format, struct redline_err *err);

/* ---- between import.c and its tables (import_rows.c) -------------------------------------------- */

/* The rows of a text, an array of objects, each with its line under "_line": JSON of one array or object, one object a
 * line, or CSV with a head; other lines may stand between.  REDLINE_FORMAT: a row that is not whole, with its line. */
int import_rows(json_t **rows, struct str text, struct redline_err *err);

#endif
