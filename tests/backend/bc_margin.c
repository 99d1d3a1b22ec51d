/* bc_margin.c - how far a backend's numbers may be from the reference.
 *
 * By form, a product w x loses beside what float32 sums lose:
 *
 *     exact   nothing
 *     codes   half a step of its 32 activations, max|x| / 254, of every activation that meets a quantised weight
 *     tiles   half a unit in the last place of BF16, 2^-8 at most, of every activation, and of every weight that is no
 *             BF16 number (all types but BF16 and MXFP4)
 *
 * F32 weights are multiplied exactly in every form, F16 and BF16 weights in the form of codes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "bcheck.h"
#include "kern.h"

static const double UNIT = 0x1p-24;

static enum bc_form form_of(const struct bc *c, enum dtype dtype)
{
    bool quantized = dtype_info(dtype)->is_quantized;
    if (dtype == DTYPE_F32 || (c->form == BC_CODES && !quantized)) return BC_EXACT;
    return c->form;
}

double bc_relative(const struct bc *c, enum dtype dtype)
{
    static const double relative[] = {[BC_EXACT] = 2e-5, [BC_CODES] = 0.04, [BC_TILES] = 0.018};
    return relative[form_of(c, dtype)];
}

double *bc_margin(struct bc *c, const float *at)
{
    return c->margins + (at - (const float *)(const void *)c->base);
}

const float *bc_before(const struct bc *c, const float *at)
{
    return (const float *)(const void *)(c->before + ((const char *)at - c->base));
}

/* ---- products ---------------------------------------------------------------------------- */

static void norm_row(double *y, const struct norm *norm, const float *x, int n)
{
    double mean = 0, square = 0;
    for (int i = 0; i < n; i++) y[i] = (double)x[i];
    if (!norm || norm->kind == NORM_NONE) return;
    for (int i = 0; i < n && norm->kind == NORM_LAYER; i++) mean += y[i] / n;
    for (int i = 0; i < n; i++) square += (y[i] - mean) * (y[i] - mean) / n;
    double factor = 1 / sqrt(square + (double)norm->eps);
    for (int i = 0; i < n; i++) {
        y[i] = (y[i] - mean) * factor * (norm->weight ? (double)norm->weight[i] : 1);
        if (norm->bias) y[i] += (double)norm->bias[i];
    }
}

/* Half a unit in the last place of a BF16 number. */
static double half_unit(double x)
{
    int exponent;
    if (!isfinite(x) || x == 0) return 0;
    frexp(x, &exponent); /* |x| < 2^exponent */
    return ldexp(1, exponent - 9);
}

/* What each activation may be off. */
static void round_row(double *off, enum bc_form form, const double *x, int n)
{
    for (int i = 0; i < n; i++) {
        double top = 0;
        int first = i / 32 * 32;
        for (int j = first; j < MIN(n, first + 32) && form == BC_CODES; j++) top = MAX(top, fabs(x[j]));
        off[i] = form == BC_CODES ? top / 253.9 : form == BC_TILES ? half_unit(x[i]) : 0;
    }
}

struct sum {
    double y, magnitude;
    double worst, square, most; /* of rounding errors: their sum, that of their squares, and the largest */
};

/* Both factors may be off. */
static struct sum multiply(const float *w, bool w_rounded, const double *x, const double *x_off, int n)
{
    struct sum s = {0};
    for (int i = 0; i < n; i++) {
        double weight = (double)w[i], product = weight * x[i], off_x = fabs(weight) * x_off[i];
        double off_w = w_rounded ? half_unit(weight) * fabs(x[i]) : 0;
        s.y += product;
        s.magnitude += fabs(product);
        s.worst += off_x + off_w;
        s.square += (off_x * off_x + off_w * off_w) / 3; /* even over the interval */
        s.most = MAX(s.most, MAX(off_x, off_w));
    }
    return s;
}

void bc_product(struct bc *c, const struct linear *l, int mat, const struct norm *norm, const float *x, int n,
                double *y, double *e)
{
    const struct weight *w = &l->w;
    int n_cols = w->n_cols, n_rows = w->n_rows;
    enum bc_form form = form_of(c, w->dtype);
    bool w_rounded = form == BC_TILES && w->dtype != DTYPE_BF16 && w->dtype != DTYPE_MXFP4;
    double *rows = malloc((size_t)n * (size_t)n_cols * sizeof *rows), *off = malloc((size_t)n_cols * sizeof *off);
    float *decoded = malloc((size_t)n_cols * sizeof *decoded);
    if (!rows || !off || !decoded) abort();
    for (size_t t = 0, at = 0; t < (size_t)n; t++, at += (size_t)n_cols) norm_row(rows + at, norm, x + at, n_cols);
    for (int r = 0; r < n_rows; r++) {
        const char *row_data = (const char *)w->data + (size_t)mat * w->mat_bytes + (size_t)r * w->row_bytes;
        kern_ops()->decode[w->dtype](decoded, row_data, (size_t)n_cols);
        double bias = l->bias ? (double)l->bias[mat * n_rows + r] : 0;
        for (int t = 0; t < n; t++) {
            const double *row = rows + (size_t)t * (size_t)n_cols;
            round_row(off, form, row, n_cols);
            struct sum s = multiply(decoded, w_rounded, row, off, n_cols);
            double lost = c->fill == BC_RANDOM ? MIN(s.worst, 7 * sqrt(s.square) + 2 * s.most) : s.worst;
            y[(size_t)t * (size_t)n_rows + (size_t)r] = s.y + bias;
            e[(size_t)t * (size_t)n_rows + (size_t)r] = lost + 64 * UNIT * (s.magnitude + fabs(bias)) + 1e-37;
        }
    }
    free(rows);
    free(off);
    free(decoded);
}

/* ---- rows -------------------------------------------------------------------------------- */

void bc_by_rms(struct bc *c, const float *at, int n_rows, int n, size_t stride, double factor)
{
    for (int r = 0; r < n_rows; r++, at += stride) {
        double square = 0, *margin = bc_margin(c, at);
        for (int i = 0; i < n; i++) square += (double)at[i] * (double)at[i] / n;
        for (int i = 0; i < n; i++) margin[i] = factor * sqrt(square) + 1e-30;
    }
}

void bc_kv_margin(struct bc *c, double factor)
{
    for (int i = 0; i < c->n_buffers; i++)
        if (c->buffers[i].is_kv) c->buffers[i].margin = (float)factor;
}
