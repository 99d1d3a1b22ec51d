/* cpu_ops.c - embedding, projections, feed-forward part and head on the CPU, each run by the whole team.
 *
 * Work items are handed out by team_next(); an item is a range of rows of one matrix, wide enough that
 * what follows the product (bias, activation, sum) can be done by the same member at once, without a
 * barrier in between.  Norms of whole rows come after one. */
#include "cpu_backend.h"

#include <math.h>

#include "base.h"

enum kern_act cpu_act(enum activation act)
{
    static const enum kern_act acts[] = {
        [ACT_SILU] = KERN_ACT_SILU,         [ACT_GELU] = KERN_ACT_GELU, [ACT_GELU_ERF] = KERN_ACT_GELU_ERF,
        [ACT_GELU_QUICK] = KERN_ACT_GELU_QUICK, [ACT_RELU] = KERN_ACT_RELU, [ACT_RELU_SQR] = KERN_ACT_RELU_SQR,
        [ACT_SWIGLU_OAI] = KERN_ACT_SWIGLU_OAI,
    };
    return acts[act];
}

static void decode_row(const struct cpu_member *m, const struct weight *w, int row, float *out)
{
    m->kern->decode[w->dtype](out, (const char *)w->data + (size_t)row * w->row_bytes, (size_t)w->n_cols);
}

void cpu_op_embed(const struct cpu_member *m, const struct op_embed *op)
{
    size_t width = (size_t)op->table.n_cols;
    int64_t first, last;
    team_range(m->team, m->id, m->batch->n_tokens, 1, &first, &last);
    for (int64_t t = first; t < last; t++) {
        float *x = op->x + (size_t)t * width, *more = m->b->scratch.norm + (size_t)t * width;
        decode_row(m, &op->table, m->batch->ids[t], x);
        if (op->scale != 1) m->kern->scale(x, op->scale, width);
        if (op->types.n_mats) {
            decode_row(m, &op->types, 0, more);
            m->kern->add(x, more, width);
        }
        if (op->positions.n_mats) {
            decode_row(m, &op->positions, m->batch->pos[t], more);
            m->kern->add(x, more, width);
        }
        cpu_norm_row(m->kern, &op->norm, x, x, width);
    }
}

/* One row where the normed sum is summed with x and normed again. */
static void add_twice(const struct cpu_member *m, const struct op_project *op, float *x, float *y, size_t width)
{
    m->kern->scale(y, op->scale, width);
    m->kern->add(y, x, width);
    cpu_norm_row(m->kern, &op->after, y, y, width);
    m->kern->add(y, x, width);
    cpu_norm_row(m->kern, &op->again, x, y, width);
}

/* Sums that wait for whole rows of the product. */
static void add_normed(const struct cpu_member *m, const struct op_project *op, float *out)
{
    size_t width = (size_t)op->w.w.n_rows;
    int64_t first, last;
    team_barrier(m->team, m->id);
    team_range(m->team, m->id, m->batch->n_tokens, 1, &first, &last);
    for (int64_t t = first; t < last; t++) {
        float *x = op->x + (size_t)t * width, *y = out + (size_t)t * width;
        cpu_norm_row(m->kern, &op->post, y, y, width);
        if (op->again.kind != NORM_NONE) {
            add_twice(m, op, x, y, width);
            continue;
        }
        m->kern->axpy(x, op->scale, y, width);
        cpu_norm_row(m->kern, &op->after, x, x, width);
    }
}

/* x += scale y in some columns of n rows. */
static void add_columns(const struct cpu_member *m, const struct op_project *op, float *x, const float *y, int first,
                        int last, int n)
{
    size_t stride = (size_t)op->w.w.n_rows;
    for (int t = 0; t < n; t++, x += stride, y += stride)
        m->kern->axpy(x + first, op->scale, y + first, (size_t)(last - first));
}

void cpu_op_project(const struct cpu_member *m, const struct op_project *op)
{
    const struct weight *w = &op->w.w;
    struct cpu_source from = {op->in, NULL, (size_t)w->n_cols, m->batch->n_tokens, w->n_cols, .per_token = 1};
    struct cpu_rows in = cpu_prepare(m, &from, NULL, cpu_wants(m->b, w));
    float *out = m->b->scratch.rows; /* [T, D]; each item reads and writes its own columns alone */
    size_t stride = (size_t)w->n_rows;
    bool normed = op->post.kind != NORM_NONE || op->after.kind != NORM_NONE;
    int chunk = cpu_chunk(m, w->n_rows, 2 * STRIP);
    for (int first, last; cpu_next_rows(m, w->n_rows, chunk, &first, &last);) {
        for (int t = 0, n; t < in.n_tokens; t += n) {
            n = cpu_pass_tokens(m, &op->w, 0, first, last, in.n_tokens - t);
            struct cpu_rows x = cpu_rows_of(&in, t, n, 1);
            size_t at = (size_t)t * stride;
            cpu_mm(m, &op->w, 0, &x, first, last, out + at, stride);
            if (!normed) add_columns(m, op, op->x + at, out + at, first, last, n);
        }
    }
    if (normed) add_normed(m, op, out);
}

/* What the shared expert's rows are scaled by: one number per token, in scratch.router. */
static void weigh_rows(const struct cpu_member *m, const float *share, const struct cpu_rows *x, int width)
{
    int64_t first, last;
    team_range(m->team, m->id, x->n_tokens, 1, &first, &last);
    for (int64_t t = first; t < last; t++)
        m->b->scratch.router[t] =
            1 / (1 + expf(-m->kern->dot(share, x->f32 + (size_t)t * x->f32_stride, (size_t)width)));
    team_barrier(m->team, m->id);
}

/* Some columns of n tokens from t on. */
static void glu_columns(const struct cpu_member *m, const struct op_glu *op, const struct cpu_rows *all, int first,
                        int last, int t, int n)
{
    bool gated = op->gate.w.n_mats > 0;
    size_t stride = (size_t)op->up.w.n_rows, at = (size_t)t * stride, width = (size_t)(last - first);
    struct cpu_rows x = cpu_rows_of(all, t, n, 1);
    float *up = (gated ? m->b->scratch.up : op->out) + at, *out = op->out + at;
    if (gated) cpu_mm(m, &op->gate, 0, &x, first, last, out, stride);
    cpu_mm(m, &op->up, 0, &x, first, last, up, stride);
    out += first, up += first;
    for (int i = 0; i < n; i++, out += stride, up += stride) {
        m->kern->act[cpu_act(op->act)](out, out, gated ? up : NULL, width);
        for (size_t c = 0; op->divisors && c < width; c++) out[c] /= op->divisors[(size_t)first + c];
        if (op->share) m->kern->scale(out, m->b->scratch.router[t + i], width);
    }
}

void cpu_op_glu(const struct cpu_member *m, const struct op_glu *op)
{
    const struct weight *w = &op->up.w;
    unsigned forms = cpu_wants(m->b, w) | cpu_wants(m->b, &op->gate.w);
    struct cpu_source from = {op->x, NULL, (size_t)w->n_cols, m->batch->n_tokens, w->n_cols, .per_token = 1};
    struct cpu_rows x = cpu_prepare(m, &from, &op->norm, forms);
    if (op->share) weigh_rows(m, op->share, &x, w->n_cols);
    int chunk = cpu_chunk(m, w->n_rows, 2 * STRIP);
    for (int first, last; cpu_next_rows(m, w->n_rows, chunk, &first, &last);) {
        for (int t = 0, n; t < x.n_tokens; t += n) {
            n = cpu_pass_tokens(m, &op->up, 0, first, last, x.n_tokens - t);
            glu_columns(m, op, &x, first, last, t, n);
        }
    }
}

void cpu_op_head(const struct cpu_member *m, const struct op_head *op)
{
    const struct weight *w = &op->w.w;
    struct cpu_source from = {
        op->x, m->batch->outputs, (size_t)w->n_cols, m->batch->n_outputs, w->n_cols, .per_token = 1};
    struct cpu_rows x = cpu_prepare(m, &from, &op->norm, cpu_wants(m->b, w));
    size_t stride = (size_t)w->n_rows;
    int chunk = cpu_chunk(m, w->n_rows, 2 * STRIP);
    for (int first, last; cpu_next_rows(m, w->n_rows, chunk, &first, &last);) {
        cpu_mm(m, &op->w, 0, &x, first, last, op->logits, stride);
        for (int t = 0; t < x.n_tokens && (op->scale != 1 || op->softcap > 0); t++) {
            float *row = op->logits + (size_t)t * stride + first;
            m->kern->scale(row, op->scale, (size_t)(last - first));
            if (op->softcap > 0) m->kern->softcap(row, op->softcap, (size_t)(last - first));
        }
    }
}

void cpu_op_states(const struct cpu_member *m, const struct op_states *op)
{
    size_t width = (size_t)op->width;
    int64_t first, last;
    team_range(m->team, m->id, m->batch->n_states, 1, &first, &last);
    for (int64_t i = first; i < last; i++)
        cpu_norm_row(m->kern, &op->norm, op->out + (size_t)i * width,
                     op->x + (size_t)m->batch->states[i] * width, width);
}

void cpu_op_dense(const struct cpu_member *m, const struct op_dense *op)
{
    const struct weight *w = &op->w.w;
    struct cpu_source from = {
        op->in, NULL, (size_t)w->n_cols, m->batch->n_states, w->n_cols, .token = m->batch->states};
    struct cpu_rows in = cpu_prepare(m, &from, NULL, cpu_wants(m->b, w));
    int chunk = cpu_chunk(m, w->n_rows, 2 * STRIP);
    for (int first, last; cpu_next_rows(m, w->n_rows, chunk, &first, &last);)
        cpu_mm(m, &op->w, 0, &in, first, last, op->out, (size_t)w->n_rows);
}
