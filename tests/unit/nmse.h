/* nmse.h - for tests: how far numbers are from what they should be. */
#ifndef NMSE_H
#define NMSE_H

#include <stddef.h>

/* The normalised mean squared error, sum((a - b)^2) / sum(b^2), of n numbers. */
static inline double nmse(const float *a, const float *b, size_t n)
{
    double diff = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        diff += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return diff / norm;
}

#endif
