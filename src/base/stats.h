/* stats.h - what a handful of measurements says: location, spread, and how sure the location is. */
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

#endif
