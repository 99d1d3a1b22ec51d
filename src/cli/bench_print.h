/* bench_print.h - rows of a benchmark as Markdown, CSV, JSON or JSON lines.
 *
 * Standard output holds the table and nothing else; every row is there as soon as it is measured. */
#ifndef BENCH_PRINT_H
#define BENCH_PRINT_H

#include "bench_grid.h"
#include "bench_row.h"

struct bench_format; /* one of "md", "csv", "json", "jsonl" */

/* NULL: there is none of this name. */
const struct bench_format *bench_format_find(const char *name);

struct bench_printer {
    const struct bench_format *format;
    const struct bench_grid *grid; /* settings with several values get a column of their own in Markdown */
    size_t n_rows;                 /* printed so far */
};

int bench_print_begin(struct bench_printer *p, struct redline_err *err);
int bench_print_row(struct bench_printer *p, const struct bench_row *row, struct redline_err *err);

/* Ends the table, also after a failure: what was printed then is whole. */
int bench_print_end(struct bench_printer *p, struct redline_err *err);

/* The fields and what they mean. */
int bench_print_fields(struct redline_err *err);

#endif
