/* report.h - tables out of records, as an experiment's file asks for them under `tables`; as Markdown, as JSON, and
 * as what page.h draws.
 *
 *     tables:
 *       - title: Tokens per second by threads and batch
 *         rows: [n_threads]              grid keys, workload, model, contestant, ... (rows.h)
 *         columns: [n_batch]             a matrix: one figure per cell
 *         value: output_ts
 *       - title: What each cell costs
 *         where: {workload: [short, long]}   of these records alone
 *         rows: [n_threads, n_batch]
 *         values: [{metric: load_ms, unit: s}, ttft_ms, output_ts, {metric: itl_p95_ms, pool: true, label: p95},
 *                  settings.effective.flash_attn]
 *         versus: {workload: short}      adds a column for each value: its ratio to that row
 *
 * A figure is the median of its row's records with the 95 % interval of the median ("41.2 (40.8 to 41.9)"; of fewer
 * than six, "41.2 (3 runs: 40.8 to 41.9)"), or with `pool` a quantile of all token times of the row together; what
 * there is too little of is said ("needs 368 intervals, has 63"), a path shows what stands in the records.  What
 * differs and is not named is never mixed: it becomes a column more, or one matrix for each value. */
#ifndef REPORT_H
#define REPORT_H

#include <jansson.h>

#include "err.h"
#include "rules.h"
#include "str.h"

struct report_part {         /* the records of one experiment; all borrowed */
    const char *name;        /* its name, or its part's; NULL: imported records have none */
    const char *title, *about; /* of its file; may be NULL */
    json_t *records;         /* those to be shown */
    json_t *history;         /* of all series; may be NULL */
    const json_t *tables;    /* of its file, or NULL: every row and metric */
    const char *command;     /* that makes the records again; NULL: made of the name and the models */
};

struct report_params {
    const char *title;       /* NULL: the first part's */
    const struct report_part *parts;
    size_t n_parts;
    const struct rule_result *rules; /* their answers, where there are any */
    size_t n_rules;
    const json_t *limits;    /* redline_limits_to_json() of the machine of the records; may be NULL */
};

/* *document, the caller's to json_decref(): {"title", "sections": [{"experiment", "title", "about", "command",
 * "tables" (report_tables.h), "plots" (plots.h), "failed": [text], "notes": [text]}], "rules": [{"name", "answer",
 * "level", "sentence"}], "facts": [[name, text]], "words": [[metric, definition]]}. */
int report_make(json_t **document, const struct report_params *params, struct redline_err *err);

int report_to_markdown(struct buf *out, const json_t *document, struct redline_err *err);

/* Appends a text out of records or files so that Markdown takes it as text, in a table's cell too. */
int report_escape(struct buf *out, const char *text, struct redline_err *err);

/* {text under `path` ("experiment.name"), or "": the records with it}, in order of appearance. */
int report_split(json_t **by_text, json_t *records, const char *path, struct redline_err *err);

/* Of each experiment and source the records of the series that is meant: "all", "last", or one by its name. */
int report_series(json_t **chosen, json_t *records, const char *which, struct redline_err *err);

#endif
