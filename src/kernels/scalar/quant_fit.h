/* quant_fit.h - the searches of the encoders: the scale (and minimum) of one group for which the weighted squared
 * error is least.  quant_encode_avx2.c does the same with eight groups at once, operation by operation. */
#ifndef QUANT_FIT_H
#define QUANT_FIT_H

#include <math.h>
#include <stdbool.h>

#include "quant_pack.h"

/* ---- what elements count for ------------------------------------------------------------------- */

static inline void weigh_squares(float *weight, const float *x, int n)
{
    for (int i = 0; i < n; i++) weight[i] = x[i] * x[i];
}

/* By the weights of their columns and, less, by their size beside `square`, twice the mean one
 * around them.  Columns that all
 * weigh nothing say nothing. */
static inline void weigh_columns(float *weight, const float *x, const float *column, int n, float square)
{
    float sum = 0;
    for (int i = 0; i < n; i++) {
        float size = sqrtf(square + x[i] * x[i]);
        weight[i] = column[i] * size;
        sum += weight[i];
    }
    for (int i = 0; i < n && !(sum > 0); i++) weight[i] = sqrtf(square + x[i] * x[i]);
}

/* ---- searches ---------------------------------------------------------------------------------- */

/* x ~ d q, -half <= q < half: the d of least error, from scales around the one that maps the extreme element to
 * -half.  *cost: what an error of d costs. */
static inline float fit_symmetric(const float *x, const float *weight, int n, int half, float *cost)
{
    float top = 0, best_d = 0, best = 0;
    *cost = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(top)) top = x[i];
    if (fabsf(top) < 1e-15f) return 0;
    for (int trial = -9; trial <= 9; trial++) {
        float id = -((float)half + 0.1f * (float)trial) / top, cross = 0, square = 0;
        for (int i = 0; i < n; i++) {
            float q = nearest_whole(limited(x[i] * id, (float)-half, (float)(half - 1)));
            cross += weight[i] * x[i] * q;
            square += weight[i] * q * q;
        }
        if (square > 0 && cross * cross > best * square) {
            best_d = cross / square;
            best = cross * cross / square;
            *cost = square;
        }
    }
    return best_d;
}

struct fit { /* x ~ d q - m, 0 <= q <= steps, m >= 0 */
    float d, m;
    float cost_d, cost_m; /* what errors of d and of m cost */
};

struct sums { /* of weight, and of weight times x, q, q^2, x q */
    float w, x, q, qq, xq;
};

static inline void add_codes(struct sums *s, const float *x, const float *weight, int n, int steps, float id,
                             float m)
{
    s->q = s->qq = s->xq = 0;
    for (int i = 0; i < n; i++) {
        float q = nearest_whole(limited((x[i] + m) * id, 0, (float)steps)), wq = weight[i] * q;
        s->q += wq;
        s->qq += wq * q;
        s->xq += wq * x[i];
    }
}

/* By how much these d and m diminish the weighted square of x. */
static inline float gain_of(const struct sums *s, struct fit f)
{
    float cross = f.d * s->xq - f.m * s->x, square = f.d * f.d * s->qq + f.m * f.m * s->w;
    return 2 * cross - (square - 2 * (f.d * f.m * s->q));
}

/* The least squares for given codes; only offsets downwards can be stored, and where all codes are equal the
 * offset is left out. */
static inline struct fit solve(const struct sums *s)
{
    float det = s->w * s->qq - s->q * s->q;
    struct fit f = {(s->w * s->xq - s->x * s->q) / det, (s->q * s->xq - s->qq * s->x) / det, s->qq, s->w};
    bool both = det > 1e-5f * (s->w * s->qq) && f.m >= 0;
    return both ? f : (struct fit){s->xq / s->qq, 0, s->qq, s->w};
}

/* The best least-squares fit to the codes of some step widths around the one that the range asks for; the codes of
 * each trial count from the best offset so far. */
static inline struct fit fit_affine(const float *x, const float *weight, int n, int steps)
{
    float least = 0, most = x[0], best_gain = 0;
    struct sums s = {0};
    for (int i = 0; i < n; i++) {
        least = x[i] < least ? x[i] : least;
        most = x[i] > most ? x[i] : most;
        s.w += weight[i];
        s.x += weight[i] * x[i];
    }
    if (!(most - least >= 0x1p-100f)) return (struct fit){0, -least, 0, s.w}; /* flat, or nothing in f16 */
    struct fit best = {(most - least) / (float)steps, -least, 0, s.w};
    for (int trial = 0; trial <= 20; trial++) {
        float id = ((float)steps - 1 + 0.1f * (float)trial) / (most + best.m);
        add_codes(&s, x, weight, n, steps, id, best.m);
        struct fit f = solve(&s);
        float gain = gain_of(&s, f);
        if (f.d > 0 && gain > best_gain) {
            best_gain = gain;
            best = f;
        }
    }
    return best;
}

#endif
