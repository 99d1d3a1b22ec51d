/* score_print.h - what a score says, as a small table or as JSON. */
#ifndef SCORE_PRINT_H
#define SCORE_PRINT_H

#include "redline_probe.h"
#include "score_record.h"

struct score_report {
    struct score_summary summary;
    struct score_frame frame;
    const char *model, *text;   /* file names as they were given */
    const char *reference;      /* NULL: none */
    const struct score_record *record; /* NULL: the reference is a model */
    bool exact, special;
    struct redline_engine_facts facts;
    uint64_t wall_ns;           /* of all forward passes and comparisons */
};

/* To standard output. */
int score_print_table(const struct score_report *r, struct redline_err *err);
int score_print_json(const struct score_report *r, struct redline_err *err);

/* One line of what was measured, to standard error. */
void score_print_measured(const struct score_report *r);

#endif
