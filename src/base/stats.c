/* stats.c - sums in double, order statistics, binomial tails. */
#include "stats.h"

#include <math.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void stats_sort(double *values, size_t n)
{
    if (n > 0) qsort(values, n, sizeof *values, compare);
}

double stats_mean(const double *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += values[i];
    return n > 0 ? sum / (double)n : NAN;
}

double stats_deviation(const double *values, size_t n)
{
    double mean = stats_mean(values, n), sum = 0;
    for (size_t i = 0; i < n; i++) sum += (values[i] - mean) * (values[i] - mean);
    return n > 1 ? sqrt(sum / (double)(n - 1)) : 0;
}

double stats_median(const double *sorted, size_t n)
{
    if (n == 0) return NAN;
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

double stats_quantile(const double *sorted, size_t n, double share)
{
    if (n == 0) return NAN;
    double at = share * (double)(n - 1);
    size_t i = (size_t)at;
    double part = at - (double)i;
    return part > 0 ? sorted[i] + part * (sorted[i + 1] - sorted[i]) : sorted[i];
}

bool stats_median_interval(const double *sorted, size_t n, double probability, double *low, double *high)
{
    enum { STEP = 512 };  /* a chance is p * 2^scale: beyond 1074 values the first is less than a double can be */
    size_t k = 0;         /* how many values can be left out at either end */
    double p = 1, tail = ldexp(1, -(int)n); /* that fewer than k + 1 of n lie below the median */
    int scale = -(int)n;
    while (k < n / 2 && 1 - 2 * tail >= probability) {
        k++;
        p *= (double)(n - k + 1) / (double)k;
        for (; p >= 0x1p512; scale += STEP) p = ldexp(p, -STEP);
        tail += ldexp(p, scale);
    }
    if (k == 0) return false;
    *low = sorted[k - 1];
    *high = sorted[n - k];
    return true;
}
