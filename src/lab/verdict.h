/* verdict.h - from samples of a base and of something new to one word, with its certainty.
 *
 * Ratios new / base of samples that belong together (the i-th of each, taken side by side) or, where the sides were
 * taken apart, of all pairs.  The least effect is the larger of what was asked for and the machine's own noise between
 * equal runs.  A rank test (signed ranks of what belongs together, rank sum of what does not; on logarithms) asks
 * whether the ratio lies beyond the least effect; it is faster or slower where that test is passed after Holm's
 * correction for the number of rows.  Same: the interval of the ratio lies within the least effect.  Everything else
 * is undecided, and how many more runs would decide is said. */
#ifndef VERDICT_H
#define VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

enum verdict { VERDICT_SAME, VERDICT_FASTER, VERDICT_SLOWER, VERDICT_UNDECIDED };

struct verdict_row {
    const char *name;            /* of the row and the metric; borrowed */
    const double *base, *fresh;  /* [n_base], [n_fresh], all above 0 */
    size_t n_base, n_fresh;
    bool paired;                 /* n_base == n_fresh, and the i-th belong together */
    bool higher_is_better;
    double noise;                /* of this row between equal runs (verdict_noise), as a share; 0: not known */
    /* results */
    double ratio, low, high;     /* of the median, new / base, and its interval of 1 - alpha / rows; NAN: too few */
    double least_effect;         /* what counted in the end: what was asked for, or the noise */
    double p;                    /* that so much lies beyond the least effect by chance, before correction */
    double p_holm;               /* after it */
    enum verdict verdict;
    size_t n_more;               /* undecided: runs of each side that should decide, if what was seen goes on;
                                  * 0: unknown */
};

struct verdict_params {
    double least_effect;  /* 0.02: two per cent */
    double noise;         /* of all rows, beside their own */
    double alpha;         /* 0.01: the chance of one wrong faster or slower in all rows together */
};

/* Samples that never vary, at least two on each side (bytes of weights), are compared as they are.  A value that is
 * not above 0 is REDLINE_ARG. */
int verdict_decide(struct verdict_row *rows, size_t n_rows, const struct verdict_params *params,
                   struct redline_err *err);

/* The noise floor of samples taken apart: how far the medians of two sets of n_base and n_fresh equal runs lie apart
 * in 95 of 100 cases, as a share.  Learnt from n equal runs in the order in which they were taken, by dividing them in
 * halves at random (drawn from `seed`); and where the earlier half differs from the later one by more than the
 * divisions do, the machine drifts, and that difference is the noise.  NAN for fewer than four. */
int verdict_noise(double *noise, const double *values, size_t n, size_t n_base, size_t n_fresh, uint64_t seed,
                  struct redline_err *err);

/* The same of ratios between equal runs side by side: how far from 1 the ratio of n_pairs of them comes to lie in 95
 * of 100 cases.  NAN for fewer than four. */
int verdict_noise_paired(double *noise, const double *ratios, size_t n, size_t n_pairs, uint64_t seed,
                         struct redline_err *err);

/* Pairs, or runs of each side, with which n_rows together can be decided at all. */
size_t verdict_least_runs(bool paired, double alpha, size_t n_rows);

/* When to look at pairs that are still being taken: at[0..n) ascending, each half as many again as the one before, the
 * last one `most`; none before one that can decide.  Each look is made with alpha / n, so that all of them together
 * err no more often than alpha.  Returns n. */
enum { VERDICT_MOST_LOOKS = 24 };
size_t verdict_looks(size_t at[VERDICT_MOST_LOOKS], size_t least, size_t most, double alpha, size_t n_rows);

const char *verdict_word(enum verdict v); /* "faster" */

#endif
