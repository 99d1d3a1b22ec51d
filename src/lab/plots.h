/* plots.h - what can be drawn of records, as points: no word here of how.
 *
 *     {"title", "about", "x": {"label", "scale": "linear" | "log" | "percentile" | "time"}, "y": {...},
 *      "sets": [{"label", "kind": "line" | "points" | "steps" | "roof",
 *                "points": [{"x", "y", "low", "high", "text"}]}]}
 *
 * low and high, text: only where there are such.  A percentile p stands at 1 / (1 - p); a time is in ms since 1970. */
#ifndef PLOTS_H
#define PLOTS_H

#include <jansson.h>

#include "err.h"

/* Appends to `plots` what the records of one experiment have to show.  history: records of all its series, may be
 * NULL; limits: redline_limits_to_json() of the machine that they were made on, may be NULL. */
int plots_add(json_t *plots, json_t *records, json_t *history, const json_t *limits, struct redline_err *err);

#endif
