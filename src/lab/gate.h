/* gate.h - may this replace that?  Two sets of records, or two commands run by turns, row by row to a verdict.
 *
 * The noise floor comes of equal runs on this machine: of records, what the base's own runs say (verdict_noise); live,
 * the seams of the turns A B, B A, A B ..., where the same command runs twice in a row.  Records that are not
 * comparable are refused, the differing fields named. */
#ifndef GATE_H
#define GATE_H

#include <jansson.h>

#include "figures.h"
#include "rules.h"
#include "str.h"
#include "verdict.h"

struct gate_row {
    char name[512];              /* row and metric */
    char note[256];              /* "fails now: ...", "is not in the base"; "" */
    const struct metric *metric; /* NULL: wall time of a command that prints no figures */
    bool compared;               /* false: there is only the note, and perhaps its verdict */
    struct verdict_row verdict;  /* .base and .fresh are NULL */
    double base_median, new_median;
};

struct gate {
    struct gate_row *rows;       /* owned */
    size_t n_rows;
    struct rule_result *rules;   /* owned; those that were asked for */
    size_t n_rules;
    enum verdict worst;          /* SLOWER, else UNDECIDED, else SAME or FASTER */
    double alpha;
    char differences[1024];      /* what was compared by force all the same; "" */
    char warning[256];           /* of runs taken apart: the machine was not equally busy; "" */
    size_t n_pairs;              /* live: that were measured; 0: of records */
    double elapsed_s;            /* live */
};

struct gate_params {
    double least_effect, alpha;
    const char *metrics;         /* "output_ts,load_ms"; NULL: what each kind of work is judged by (figures_of_kind) */
    const struct rules *rules;   /* may be NULL */
    bool force;                  /* not comparable, and compared all the same; the result says so */
};

/* Of each experiment in either set the last series counts.  REDLINE_ARG: not comparable, nothing in common. */
int gate_records(struct gate *out, json_t *base, json_t *fresh, const struct gate_params *params,
                 struct redline_err *err);

/* The records but for those of series that a later one of the same experiment has made history; the caller's to
 * json_decref(). */
int gate_last_series(json_t **out, json_t *records, struct redline_err *err);

struct gate_live_params {
    double budget_s;             /* at most, but for the pair at hand */
    size_t least, most;          /* pairs */
    bool wall;                   /* wall time, whatever the commands print */
    void (*progress)(void *user, size_t n_pairs, size_t next_look, double elapsed_s); /* may be NULL */
    void *user;
    const volatile int *stop;    /* not zero: end, with what is known; may be NULL */
};

/* Runs each once unmeasured, then A B, B A, A B ... until every row is decided or the budget is gone.  What is looked
 * at are the figures that the commands print (import.h knows how), of each row the median, else wall time.  Pairs are
 * looked at now and then as verdict_looks() says.  A command that fails is REDLINE_IO with its own last words. */
int  gate_live(struct gate *out, const char *command_a, const char *command_b, const struct gate_params *params,
               const struct gate_live_params *live, struct redline_err *err);
void gate_free(struct gate *g); /* accepts {0}; leaves {0} */

/* Exit code of the command: 0 nothing slower and no rule broken, 1 slower or broken, 4 undecided. */
int gate_exit_code(const struct gate *g);

/* The worst of the rows, into g->worst; for whoever fills a gate. */
void gate_sum_up(struct gate *g);

int gate_to_markdown(const struct gate *g, struct buf *out, struct redline_err *err);
int gate_to_json(const struct gate *g, json_t **out, struct redline_err *err);

#endif
