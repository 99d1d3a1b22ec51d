/* figures.h - values of many records, sorted into the rows that they belong to. */
#ifndef FIGURES_H
#define FIGURES_H

#include <jansson.h>
#include <stddef.h>

#include "err.h"
#include "metric.h"

struct figure {
    char *row;                   /* owned; what record_row() says, and whose they are where not Redline's */
    const struct metric *metric; /* NULL: wall time in milliseconds */
    json_t *sample;              /* the first record; borrowed, NULL without records */
    double *values;              /* owned, in the order of the records */
    size_t n, most;
};

struct figures {
    struct figure *all; /* owned */
    size_t n, most;
};

/* Adds a value to the row's figure, which is made where it is missing. */
int  figures_add(struct figures *f, const char *row, const struct metric *metric, json_t *sample, double value,
                 struct redline_err *err);

/* All values of the records.  names: "output_ts,load_ms"; NULL: the figures that their kind of work is judged by
 * (figures_of_kind).  Left out are records of failed measurements, and figures that some record of the row lacks.
 * REDLINE_ARG: no metric of that name, or one that has no better side. */
int  figures_take(struct figures *f, json_t *records, const char *names, struct redline_err *err);
void figures_free(struct figures *f); /* accepts {0}; leaves {0} */

/* NULL: there is none. */
struct figure *figures_find(const struct figures *f, const char *row, const struct metric *metric);

/* The row of a record: record_row(), and the name of who was measured unless that is us; n bytes of buffer. */
void figures_row(const json_t *record, char *out, size_t n);

/* "output_ts,prefill_ts,decode_ts" for "generate"; "" for a kind that nobody knows. */
const char *figures_of_kind(const char *kind);

/* "output_ts", "wall time" */
const char *figure_name(const struct figure *f);

#endif
