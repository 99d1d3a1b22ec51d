/* stats.h - what a handful of measurements says: location, spread, and how sure the location is; whether two
 * handfuls differ. */
#ifndef STATS_H
#define STATS_H

#include <stdbool.h>
#include <stddef.h>

/* Ascending.  All functions below but the first two want sorted values. */
void stats_sort(double *values, size_t n);

double stats_mean(const double *values, size_t n);      /* NAN for none */
double stats_deviation(const double *values, size_t n); /* of the sample (n - 1); 0 for fewer than two */
double stats_median(const double *sorted, size_t n);    /* NAN for none */

/* Below which this share of the values lies, 0 to 1; between two of them, in proportion.  NAN for none. */
double stats_quantile(const double *sorted, size_t n, double share);

/* The narrowest pair of the values themselves between which the median lies with at least this
 * probability, whatever the distribution (the sign test turned round; Thompson 1936).  False: too few
 * values; 95 % needs six. */
bool stats_median_interval(const double *sorted, size_t n, double probability, double *low, double *high);

/* ---- by ranks -------------------------------------------------------------------------------- */

/* Chances, were there no difference, of ranks that lie as far down (up) as these or farther.  Half of two-sided p. */
struct stats_tails {
    double below, above;
};

/* Wilcoxon's signed ranks: do the values lie about `centre`?  `above` is small where they lie above it.  Exact up to
 * 60 values, then normal with a correction for continuity.  Values that equal the centre, or one another across it,
 * count for both sides. */
struct stats_tails stats_signed_rank(const double *sorted, size_t n, double centre);

/* Mann and Whitney: does b lie `shift` above a?  `above` is small where it lies higher than that.  Exact where no
 * difference of two equals the shift and n_a * n_b is at most 1800; else normal, the deviation corrected for ties. */
struct stats_tails stats_rank_sum(const double *a, size_t n_a, const double *b, size_t n_b, double shift);

/* The same turned round (Hodges and Lehmann 1963): the median of the means of all pairs of values, each with itself
 * too; the median of all differences b - a; and the narrowest interval of such means or differences that the test
 * does not reject.  NAN for none; false: too few values for this probability. */
double stats_centre(const double *sorted, size_t n);
bool   stats_centre_interval(const double *sorted, size_t n, double probability, double *low, double *high);
double stats_shift(const double *a, size_t n_a, const double *b, size_t n_b);
bool   stats_shift_interval(const double *a, size_t n_a, const double *b, size_t n_b, double probability,
                            double *low, double *high);

/* Chances p[n] of n tests that are looked at together, as each would be alone (Holm 1979): that any of the true
 * hypotheses falls below alpha has at most the chance alpha.  adjusted: [n], not p itself. */
void stats_holm(const double *p, size_t n, double *adjusted);

#endif
