/* store.h - records on disk: one JSON object a line, appended, never changed.
 *
 * A line is written with one call and reaches the disk before store_append() returns; a program that is killed
 * leaves at most one torn line at the end, which the next one cuts off.  One writer at a time: a lock on the file,
 * REDLINE_BUSY for the second. */
#ifndef STORE_H
#define STORE_H

#include <jansson.h>

#include "err.h"

struct store;

/* Opens for appending, making folders and file; reads what is there. */
int  store_open(struct store **out, const char *path, struct redline_err *err);
void store_close(struct store **store); /* accepts NULL and a pointer to NULL */

/* Checks it (record_check), appends it, keeps a reference. */
int store_append(struct store *store, json_t *record, struct redline_err *err);

/* Those that were there and those that were appended, an array, in the order of the file.  Borrowed. */
json_t *store_records(const struct store *store);

/* All records of a file ("-": standard input), for whoever only reads: redline's stores, or what lab/import.h knows.  A
 * torn last line is left out; any other line that is not a record is REDLINE_FORMAT with its number.  An array, the
 * caller's to json_decref(). */
int store_read(json_t **out, const char *path, struct redline_err *err);

#endif
