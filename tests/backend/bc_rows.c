/* bc_rows.c - projections, feed-forward parts, heads, final states, and rows that are kept. */
#include <math.h>
#include <stdlib.h>

#include "base.h"
#include "bcheck.h"

/* Widths of real families among odd ones; all are multiples of 32, as all weights of less than 16 bits want. */
static int width_of(struct bc *c)
{
    static const int widths[] = {32, 64, 96, 160, 256, 288, 320, 512, 576, 768, 896, 1024};
    return widths[bc_below(c, c->long_run ? COUNT_OF(widths) : 8)];
}

/* Any number of rows, mostly no multiple of a strip. */
static int rows_of(struct bc *c)
{
    static const int rows[] = {16, 32, 64, 128, 192, 256};
    return bc_one_in(c, 2) ? rows[bc_below(c, COUNT_OF(rows))] : bc_between(c, 1, c->long_run ? 400 : 140);
}

static int tokens_of(struct bc *c)
{
    static const int few[] = {1, 1, 2, 3, 4, 5, 8, 13}, many[] = {2, 7, 16, 17, 33, 64, 70, 130};
    int at = bc_below(c, c->long_run ? 8 : 6);
    return c->form == BC_CODES ? few[at] : many[at];
}

static double *doubles(int n_rows, int n)
{
    double *p = malloc((size_t)n_rows * (size_t)n * sizeof *p + 1);
    if (!p) abort();
    return p;
}

/* ---- projection -------------------------------------------------------------------------- */

void bc_build_project(struct bc *c)
{
    int n_cols = width_of(c), n_rows = rows_of(c), n_tokens = tokens_of(c);
    enum dtype dtype = bc_nth_dtype(c->nth, n_cols);
    bool normed = c->nth % 3 == 2;
    bc_batch(c, n_tokens, 300, NULL);
    bc_outputs(c, 1, 0);
    struct op_project *op = &bc_op(c, OP_PROJECT)->project;
    op->in = bc_floats(c, "in", n_tokens, n_cols, BC_IN);
    op->x = bc_floats(c, "x", n_tokens, n_rows, BC_OUT);
    op->w = bc_linear(c, dtype, 1, n_rows, n_cols, bc_one_in(c, 2));
    op->scale = bc_one_in(c, 2) ? 1 : 0.37f;
    if (normed) {
        op->post = bc_norm(c, bc_norm_kind(c), n_rows);
        op->after = bc_norm(c, bc_norm_kind(c), n_rows);
        if (op->after.kind != NORM_NONE && bc_one_in(c, 2)) op->again = bc_norm(c, NORM_RMS, n_rows);
    }
    c->limits.width = MAX(n_rows, n_cols);
    c->limits.ffn_width = n_cols;
    bc_describe(c, "%s [%d, %d], %d tokens, norms %d %d %d, scale %g", dtype_name(dtype), n_rows, n_cols, n_tokens,
                op->post.kind, op->after.kind, op->again.kind, (double)op->scale);
}

/* Through norms, by the root mean square of what they are given: the product's error is that of a random row. */
void bc_judge_project(struct bc *c)
{
    const struct op_project *op = &c->ops[0].project;
    int n = c->step.batch.n_tokens, n_rows = op->w.w.n_rows;
    const float *x = bc_before(c, op->x);
    double *y = doubles(n, n_rows), *e = doubles(n, n_rows), *margin = bc_margin(c, op->x);
    bc_product(c, &op->w, 0, NULL, op->in, n, y, e);
    bool normed = op->post.kind || op->after.kind || op->again.kind;
    for (int t = 0; t < n; t++) {
        double size = 0, off = 0, result = 0;
        for (int i = t * n_rows; i < (t + 1) * n_rows; i++) {
            margin[i] = (double)op->scale * e[i] + 4e-7 * (fabs((double)x[i]) + fabs((double)op->scale * y[i]));
            if (!isfinite(op->x[i]) || !isfinite(y[i])) continue; /* one in x spoils nothing else before a norm */
            size += y[i] * y[i];
            off = MAX(off, e[i]);
            result += (double)op->x[i] * (double)op->x[i];
        }
        double relative = off / sqrt(size / n_rows + 1e-30) + 1e-6; /* of the product; a norm keeps it */
        for (int i = t * n_rows; i < (t + 1) * n_rows && normed; i++)
            margin[i] = 4 * relative * sqrt(result / n_rows) + 3 * relative * fabs((double)op->x[i]);
    }
    free(y);
    free(e);
}

/* ---- feed-forward part ------------------------------------------------------------------- */

void bc_build_glu(struct bc *c)
{
    int n_cols = width_of(c), n_rows = rows_of(c), n_tokens = tokens_of(c);
    enum dtype dtype = bc_nth_dtype(c->nth, n_cols), other = bc_one_in(c, 3) ? bc_dtype(c, n_cols) : dtype;
    bool bias = bc_one_in(c, 4);
    bc_batch(c, n_tokens, 300, NULL);
    bc_outputs(c, 1, 0);
    struct op_glu *op = &bc_op(c, OP_GLU)->glu;
    op->act = (enum activation)(c->nth % (ACT_SWIGLU_OAI + 1));
    op->x = bc_floats(c, "x", n_tokens, n_cols, BC_IN);
    op->norm = bc_norm(c, bc_norm_kind(c), n_cols);
    op->up = bc_linear(c, dtype, 1, n_rows, n_cols, bias);
    if (op->act == ACT_SWIGLU_OAI || !bc_one_in(c, 4)) op->gate = bc_linear(c, other, 1, n_rows, n_cols, bias);
    if (bc_one_in(c, 4)) op->share = bc_vector(c, n_cols, 0, 0.05f);
    if (bc_one_in(c, 4)) op->divisors = bc_vector(c, n_rows, 3, 0.2f);
    op->out = bc_floats(c, "out", n_tokens, n_rows, BC_OUT);
    c->limits.width = n_cols;
    c->limits.ffn_width = n_rows;
    bc_describe(c, "%s and %s [%d, %d], %d tokens, norm %d, act %d%s%s%s", dtype_name(dtype),
                op->gate.w.n_mats ? dtype_name(other) : "no gate", n_rows, n_cols, n_tokens, op->norm.kind, op->act,
                bias ? ", bias" : "", op->share ? ", share" : "", op->divisors ? ", divisors" : "");
}

/* No activation is steeper than 1.13, but the square; sizes are bounded by those of what goes in. */
static double glu_margin(const struct op_glu *op, double gate, double gate_off, double up, double up_off)
{
    bool square = op->act == ACT_RELU_SQR, oai = op->act == ACT_SWIGLU_OAI;
    double slope = square ? 2 * (fabs(gate) + gate_off) : 1.13, size = square ? gate * gate : fabs(gate);
    if (oai) up = MIN(fabs(up), 7) + 1;
    return slope * gate_off * (fabs(up) + up_off) + size * up_off + 2e-6 * size * fabs(up);
}

/* sigmoid(share . norm x) of row t: its inner sum is in float32, and rounded no worse than this. */
void bc_judge_glu(struct bc *c)
{
    const struct op_glu *op = &c->ops[0].glu;
    int n = c->step.batch.n_tokens, n_rows = op->up.w.n_rows;
    double *up = doubles(n, n_rows), *up_off = doubles(n, n_rows), *margin = bc_margin(c, op->out);
    double *gate = doubles(n, n_rows), *gate_off = doubles(n, n_rows);
    bc_product(c, &op->up, 0, &op->norm, op->x, n, up, up_off);
    if (op->gate.w.n_mats) bc_product(c, &op->gate, 0, &op->norm, op->x, n, gate, gate_off);
    for (int i = 0; i < n * n_rows; i++) {
        margin[i] = op->gate.w.n_mats ? glu_margin(op, gate[i], gate_off[i], up[i], up_off[i])
                                      : glu_margin(op, up[i], up_off[i], 1, 0);
        if (op->divisors) margin[i] /= fabs((double)op->divisors[i % n_rows]);
        if (op->share) margin[i] += 1e-4 * fabs((double)op->out[i]);
    }
    free(up);
    free(up_off);
    free(gate);
    free(gate_off);
}

/* ---- head and dense ---------------------------------------------------------------------- */

void bc_build_head(struct bc *c)
{
    int n_cols = width_of(c), n_rows = rows_of(c) * 3, n_tokens = tokens_of(c);
    enum dtype dtype = bc_nth_dtype(c->nth, n_cols);
    int n_outputs = bc_one_in(c, 3) ? n_tokens : bc_between(c, 1, n_tokens), n_states = bc_between(c, 1, n_tokens);
    bc_batch(c, n_tokens, 300, NULL);
    bc_outputs(c, n_outputs, n_states);
    struct op_head *op = &bc_op(c, OP_HEAD)->head;
    op->x = bc_floats(c, "x", n_tokens, n_cols, BC_IN);
    op->norm = bc_norm(c, bc_norm_kind(c), n_cols);
    op->w = bc_linear(c, dtype, 1, n_rows, n_cols, bc_one_in(c, 4));
    op->scale = bc_one_in(c, 2) ? 1 : 0.125f;
    op->softcap = bc_one_in(c, 3) ? 3 : 0;
    op->logits = bc_floats(c, "logits", n_outputs, n_rows, BC_OUT);
    struct op_dense *dense = &bc_op(c, OP_DENSE)->dense;
    int n_dense = rows_of(c);
    dense->in = bc_floats(c, "states", n_states, n_cols, BC_IN);
    dense->w = bc_linear(c, bc_dtype(c, n_cols), 1, n_dense, n_cols, bc_one_in(c, 2));
    dense->out = bc_floats(c, "dense", n_states, n_dense, BC_OUT);
    c->limits.width = MAX(n_cols, n_dense);
    c->limits.n_vocab = n_rows;
    bc_describe(c, "%s [%d, %d], %d of %d tokens, norm %d, scale %g, softcap %g; dense %s [%d]", dtype_name(dtype),
                n_rows, n_cols, n_outputs, n_tokens, op->norm.kind, (double)op->scale, (double)op->softcap,
                dtype_name(dense->w.w.dtype), n_dense);
}

void bc_judge_head(struct bc *c)
{
    const struct op_head *op = &c->ops[0].head;
    const struct op_dense *dense = &c->ops[1].dense;
    int n = c->step.batch.n_outputs, n_rows = op->w.w.n_rows, n_states = c->step.batch.n_states;
    double *y = doubles(MAX(n, n_states), MAX(n_rows, dense->w.w.n_rows));
    double *e = doubles(MAX(n, n_states), MAX(n_rows, dense->w.w.n_rows)), *margin = bc_margin(c, op->logits);
    for (int i = 0; i < n; i++)
        bc_product(c, &op->w, 0, &op->norm, op->x + (size_t)c->outputs[i] * (size_t)op->w.w.n_cols, 1, y + i * n_rows,
                   e + i * n_rows);
    for (int i = 0; i < n * n_rows; i++) /* tanh is nowhere steeper than 1 */
        margin[i] = fabs((double)op->scale) * e[i] + (op->softcap > 0 ? 4e-7 * (double)op->softcap : 0);
    bc_product(c, &dense->w, 0, NULL, dense->in, n_states, y, e);
    margin = bc_margin(c, dense->out);
    for (int i = 0; i < n_states * dense->w.w.n_rows; i++) margin[i] = e[i];
    free(y);
    free(e);
}

/* ---- final states ------------------------------------------------------------------------ */

/* Rows as norms find them at worst: an offset that is large beside what varies. */
void bc_build_states(struct bc *c)
{
    static const int widths[] = {8, 33, 64, 100, 768, 1152, 4096, 5120, 16384, 20000};
    int width = widths[c->nth % (int)COUNT_OF(widths)], n_tokens = tokens_of(c), n_states = bc_between(c, 1, n_tokens);
    bc_batch(c, n_tokens, 300, NULL);
    bc_outputs(c, 0, n_states);
    struct op_states *op = &bc_op(c, OP_STATES)->states;
    float offset = (float)(bc_below(c, 3) * bc_below(c, 1000)), *x = bc_floats(c, "x", n_tokens, width, BC_IN);
    float *values = (float *)(void *)(c->image + ((char *)x - c->base));
    for (int i = 0; i < n_tokens * width && c->image; i++) values[i] += offset;
    op->x = x;
    op->width = width;
    op->norm = bc_norm(c, bc_norm_kind(c), width);
    op->out = bc_floats(c, "out", n_states, width, BC_OUT);
    c->limits.width = width;
    bc_describe(c, "%d of %d tokens of %d, norm %d, offset %g", n_states, n_tokens, width, op->norm.kind,
                (double)offset);
}

/* Some units in the last place of what is multiplied; of the bias where there is one. */
void bc_judge_states(struct bc *c)
{
    const struct op_states *op = &c->ops[0].states;
    double *margin = bc_margin(c, op->out);
    for (int i = 0; i < c->step.batch.n_states * op->width; i++) {
        double bias = op->norm.bias ? fabs((double)op->norm.bias[i % op->width]) : 0;
        margin[i] = op->norm.kind == NORM_NONE ? 0 : 0x1p-21 * (fabs((double)op->out[i]) + bias);
    }
}

/* ---- rows that are kept ------------------------------------------------------------------ */

/* What stands behind the last layer's attention: rows move, and then are projected, added and read. */
void bc_build_keep(struct bc *c)
{
    int width = width_of(c), values = width_of(c), n_tokens = tokens_of(c);
    int n_outputs = bc_one_in(c, 4) ? 0 : bc_between(c, 1, n_tokens);
    bc_batch(c, n_tokens, 300, NULL);
    bc_outputs(c, n_outputs, 0);
    float *x = bc_floats(c, "x", n_tokens, width, BC_OUT), *v = bc_floats(c, "values", n_tokens, values, BC_OUT);
    struct op_keep *keep = &bc_op(c, OP_KEEP)->keep;
    *keep = (struct op_keep){x, v, width, values};
    struct op_project *op = &bc_op(c, OP_PROJECT)->project;
    op->in = v;
    op->x = x;
    op->scale = 1;
    op->w = bc_linear(c, bc_nth_dtype(c->nth, values), 1, width, values, false);
    struct op_head *head = &bc_op(c, OP_HEAD)->head;
    int n_vocab = rows_of(c);
    head->x = x;
    head->scale = 1;
    head->norm = bc_norm(c, NORM_RMS, width);
    head->w = bc_linear(c, bc_nth_dtype(c->nth, width), 1, n_vocab, width, false);
    head->logits = bc_floats(c, "logits", n_outputs, n_vocab, BC_OUT);
    c->limits.width = MAX(width, values);
    c->limits.n_vocab = n_vocab;
    bc_describe(c, "%d of %d tokens, %d and %d wide", n_outputs, n_tokens, width, values);
}

void bc_judge_keep(struct bc *c)
{
    const struct op_keep *keep = &c->ops[0].keep;
    const struct op_head *head = &c->ops[2].head;
    int n = c->step.batch.n_outputs, n_vocab = head->w.w.n_rows;
    double relative = bc_relative(c, c->ops[1].project.w.w.dtype) + bc_relative(c, head->w.w.dtype);
    bc_by_rms(c, keep->x, n, keep->width, (size_t)keep->width, relative);
    /* Of few logits, the root mean square may be small by chance; the normed row has 1. */
    bc_by_rms(c, head->logits, n, n_vocab, (size_t)n_vocab, relative);
    for (int i = 0; i < n * n_vocab; i++) bc_margin(c, head->logits)[i] += relative;
}
