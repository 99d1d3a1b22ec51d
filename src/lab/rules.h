/* rules.h - thresholds with a name, out of a YAML file: what a report must hold, by itself and against an accepted one.
 *
 *     rules:
 *       - {name: cold load, metric: load_ms, at_most: 11000, where: {workload: load}}
 *       - {name: short answers, metric: output_ts, at_least: 5.0, where: {workload: short}}
 *       - {name: short answers slower, metric: output_ts, drop: 12 %, where: {workload: short}}
 *       - {name: hesitation, metric: itl_p95_ms, ratio: [long, short], at_most: 1.30}
 *       - {name: hesitation grows, metric: itl_p95_ms, ratio: [long, short], growth: 20 %, level: look}
 *
 * at_least and at_most hold a figure itself (the median of its records; of times between tokens, itl_*, what all of
 * them have together, as one short answer has too few for a quantile) or, with `ratio`, the ratio of two workloads'
 * figures; drop (for the worse: less of what should be high, more of what should be low), drift and growth (more of it)
 * hold it against the accepted report.  A rule has exactly one of the five.  `where` names a workload, a kind of work,
 * a model, a setting of the grid or one in effect, or any other path of a record. */
#ifndef RULES_H
#define RULES_H

#include <jansson.h>
#include <stdbool.h>

#include "err.h"

enum rule_level { RULE_FAIL, RULE_LOOK };

struct rule {
    char *name, *metric, *numerator, *denominator; /* owned; the last two: workloads, NULL without `ratio` */
    json_t *where;                                 /* {"workload": "short", "n_threads": 4} or NULL */
    double at_least, at_most, drop, drift, growth; /* NAN: not asked; the last three as shares */
    enum rule_level level;
};

struct rules {
    struct rule *all; /* owned */
    size_t n;
};

/* path: of a file, or the name of one that is shipped with the experiments ("rules").  REDLINE_ARG: file, line and what
 * is wrong there. */
int  rules_read(struct rules *out, const char *path, struct redline_err *err);
void rules_free(struct rules *r); /* accepts {0}; leaves {0} */

enum rule_answer { RULE_HOLDS, RULE_BROKEN, RULE_NO_DATA, RULE_NO_BASE };

struct rule_result {
    const struct rule *rule;
    enum rule_answer answer;
    double value, base, limit;   /* NAN where there is none */
    char sentence[384];          /* "itl_p95_ms long / short is 1.41, the limit is 1.30" */
};

/* results[r->n].  base: records of the accepted report, or NULL. */
int rules_apply(const struct rules *r, json_t *records, json_t *base, struct rule_result *results,
                struct redline_err *err);

#endif
