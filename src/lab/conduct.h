/* conduct.h - carrying an experiment out: which measurement is next, in what order, until each cell is known well
 * enough; into a store that can be left and taken up again at any point.
 *
 * A store may hold many series of one experiment, each with the time its first measurement began.  A run takes up the
 * last series that was begun by the same words (digest) and with the same peers if something of it is left to do, else
 * it begins another.  All that it needs to know stands in the records, so nothing is lost but the measurement that was
 * cut off. */
#ifndef CONDUCT_H
#define CONDUCT_H

#include "experiment.h"
#include "store.h"

/* ---- what is next (conduct_plan.c): pure functions of the records so far --------------------- */

/* Who is measured: the first is this program itself, and alone in cells that make sense without others when parts
 * with and without are mixed. */
struct conduct_who {
    const char *const *names; /* as "program.contestant" */
    size_t n;
};

/* Where one contestant stands in one cell. */
struct conduct_tally {
    bool applies;             /* it is to be measured at all */
    bool failed;              /* and is not tried again */
    size_t n;                 /* records without a failure */
    double median, low, high; /* of the deciding metric, its 95 % interval; NAN: not known */
    bool settled;             /* failed, or enough of it is known, or as often measured as may be */
    size_t n_expected;        /* measurements in all, as far as can be guessed from the width so far */
};

/* *out: [n_cells, n_contestants], the caller's to mem_free().  records: of one series. */
int conduct_tally(struct conduct_tally **out, const struct experiment *e, json_t *records,
                  const struct conduct_who *who, struct redline_err *err);

struct conduct_step {
    size_t cell, contestant, repetition; /* repetition: from 0 within both */
};

/* Rounds, each a permutation of the cells drawn from (seed, round), without those that are settled; within a cell the
 * contestants by turns, the first another one in every round.  Not interleaved: cell after cell.  False: it is done. */
bool conduct_next(struct conduct_step *next, const struct experiment *e, const struct conduct_tally *tally,
                  const struct conduct_who *who);

/* ---- doing it -------------------------------------------------------------------------------- */

struct conduct_peer {
    const char *name;
    const char *command;   /* of a llama-bench-compatible program; or "http://host:port[/v1]" of a server */
};

struct conduct_progress {
    size_t n_done, n_expected;  /* measurements: so far, and in all as far as can be guessed */
    size_t n_settled, n_cells;  /* cells whose interval is narrow enough, or that failed */
    double left_s;              /* estimate of what remains; NAN: nobody knows yet */
    const char *now;            /* the row being measured */
};

struct conduct_params {
    const char *program;        /* that is `redline lab worker`: the path of this executable */
    const struct conduct_peer *peers;
    size_t n_peers;
    bool again;                 /* a new series, whatever is left of the last */
    double budget_s;            /* stops after the measurement that passes it; 0: none */
    void (*progress)(void *user, const struct conduct_progress *p); /* may be NULL */
    void *user;
    const volatile int *stop;   /* not zero: the measurement at hand is given up (Ctrl-C); may be NULL */
};

enum conduct_end { CONDUCT_DONE, CONDUCT_STOPPED, CONDUCT_BUDGET };

struct conduct_result {
    enum conduct_end end;
    json_t *records;            /* of the series, owned: conduct_result_free() */
    char series[32];            /* "2026-11-21T18:15:00.123Z" */
    size_t n_before, n_new;     /* records of the series: found, and made by this run */
    size_t n_cells, n_settled;
    size_t n_failed;            /* cells with a contestant that failed */
    size_t n_wide;              /* cells measured as often as may be, and still not known as narrowly as asked for */
    size_t n_left_out;          /* cells of parts that make no sense without peers */
    const char *failure;        /* sentence of the first that failed, borrowed from records; or NULL */
};

/* What can be said before a store is touched.  REDLINE_DEVICE: the experiment needs a GPU and there is none;
 * REDLINE_ARG: it makes no sense without peers. */
int conduct_check(const struct experiment *e, size_t n_peers, struct redline_err *err);

/* Measures until done, stopped or out of budget.  Fails as conduct_check() does, before anything is measured; and
 * REDLINE_ARG: the store is of another experiment; the series was begun with another program, model file or machine.
 * A cell that cannot be measured (too little memory, a setting that the model refuses) gets a record with "failed" and
 * the sentence, and is not tried again.  *result is also filled after a failure, with what was done. */
int  conduct_run(struct conduct_result *result, const struct experiment *e, struct store *store,
                 const struct conduct_params *params, struct redline_err *err);
void conduct_result_free(struct conduct_result *r); /* accepts {0}; leaves {0} */

#endif
