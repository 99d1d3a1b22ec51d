/* metric.h - the dictionary of figures: every number in a record has a name here, and the name one definition.
 *
 * The same word means different things elsewhere (TPOT with and without the first token, ITL per request or
 * pooled), so names are not shared between definitions, and importers map each tool's word to the name that
 * it means.  `redline lab metrics` prints the table. */
#ifndef METRIC_H
#define METRIC_H

#include <stdbool.h>
#include <stddef.h>

enum metric_better { METRIC_HIGHER, METRIC_LOWER, METRIC_NEITHER };

struct metric {
    const char *name;        /* "tpot_ms" */
    const char *unit;        /* "ms", "tok/s", "bytes", "" */
    enum metric_better better;
    const char *label;       /* for a table's head: "time per token" */
    const char *definition;  /* a sentence: "(last token - first token) / (tokens - 1), of one request, at the
                              * engine" */
};

extern const struct metric metrics[];
extern const size_t n_metrics;

const struct metric *metric_find(const char *name); /* NULL: there is none */

/* Values needed before the quantile `share` is told at all: so many that two of them hold it between them with
 * 95 % (order statistics).  6 for the median, 72 for p95, 368 for p99. */
size_t metric_samples_for(double share);

/* A quantile by linear interpolation between order statistics (R's type 7), and the interval about it. */
struct metric_quantile {
    double value, low, high; /* NAN where n < needed */
    size_t n, needed;
};
struct metric_quantile metric_quantile(const double *sorted, size_t n, double share);

#endif
