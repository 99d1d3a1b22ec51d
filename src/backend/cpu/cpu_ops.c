/* cpu_ops.c - the operations of a dense layer on the CPU, each run by the whole team.
 *
 * Work items are handed out by team_next(); an item is a range of rows of one matrix, wide enough that
 * what follows the product (bias, rotation, KV store, activation) can be done by the same member at
 * once, without a barrier in between. */
#include "cpu_backend.h"

#include "base.h"

void cpu_op_embed(const struct cpu_member *m, const struct op_embed *op)
{
    const struct weight *w = &op->table;
    int64_t first, last;
    team_range(m->team, m->id, m->batch->n_tokens, 1, &first, &last);
    for (int64_t t = first; t < last; t++)
        m->kern->decode[w->dtype](op->x + (size_t)t * (size_t)w->n_cols,
                                  (const char *)w->data + (size_t)m->batch->ids[t] * w->row_bytes,
                                  (size_t)w->n_cols);
}

/* Address of position pos of head h in a layer's key or value pages. */
static char *kv_slot(char *pages, size_t page_bytes, const struct step_batch *batch, int t, int h,
                     size_t row_bytes)
{
    int pos = batch->pos[t];
    int32_t page = batch->page_table[(size_t)batch->seq[t] * (size_t)batch->max_pages +
                                     (size_t)(pos / KV_PAGE)];
    return pages + (size_t)page * page_bytes +
           ((size_t)h * KV_PAGE + (size_t)(pos % KV_PAGE)) * row_bytes;
}

/* Heads [first, last) of every token: rotated in place. */
static void rotate_heads(const struct cpu_member *m, const struct op_qkv *op, float *rows,
                         size_t stride, int d, int first, int last)
{
    if (op->n_rot == 0) return;
    for (int t = 0; t < m->batch->n_tokens; t++) {
        const float *cs = m->batch->cs + (size_t)t * (size_t)op->n_rot;
        for (int h = first; h < last; h++)
            m->kern->rope[op->rope == ROPE_PAIRS ? KERN_ROPE_PAIRS : KERN_ROPE_HALVES](
                rows + (size_t)t * stride + (size_t)h * (size_t)d, cs, (size_t)op->n_rot);
    }
}

static void store_heads(const struct cpu_member *m, char *pages, size_t page_bytes, enum dtype type,
                        const float *rows, size_t stride, int d, int first, int last)
{
    size_t row_bytes = dtype_row_bytes(dtype_info(type), (uint64_t)d);
    for (int t = 0; t < m->batch->n_tokens; t++)
        for (int h = first; h < last; h++)
            m->kern->encode[type](kv_slot(pages, page_bytes, m->batch, t, h, row_bytes),
                                  rows + (size_t)t * stride + (size_t)h * (size_t)d, (size_t)d);
}

void cpu_op_qkv(const struct cpu_member *m, const struct op_qkv *op)
{
    const struct kv_layer *kv = &op->kv;
    const struct cpu_scratch *s = &m->b->scratch;
    bool q8 = cpu_wants_q8(m->b, &op->wq.w) || cpu_wants_q8(m->b, &op->wk.w) ||
              cpu_wants_q8(m->b, &op->wv.w);
    struct cpu_rows x = cpu_prepare(m, op->x, NULL, m->batch->n_tokens, op->wq.w.n_cols, op->norm,
                                    op->eps, q8);

    struct {
        const struct linear *w;
        float *out;
        int d, chunk, n_items;
    } part[3] = {{&op->wq, op->q, kv->d_k, 0, 0},
                 {&op->wk, s->k, kv->d_k, 0, 0},
                 {&op->wv, s->v, kv->d_v, 0, 0}};
    int n_items = 0;
    for (int i = 0; i < 3; i++) {
        part[i].chunk = cpu_chunk(m, part[i].w->w.n_rows, part[i].d);
        part[i].n_items = CEIL_DIV(part[i].w->w.n_rows, part[i].chunk);
        n_items += part[i].n_items;
    }
    for (int64_t next; (next = team_next(m->team)) < n_items;) {
        int i = 0, item = (int)next;
        while (item >= part[i].n_items) item -= part[i++].n_items;
        size_t stride = (size_t)part[i].w->w.n_rows;
        int first = item * part[i].chunk, last = MIN(first + part[i].chunk, (int)stride);
        cpu_mm(m, part[i].w, 0, &x, first, last, part[i].out, stride);

        int h0 = first / part[i].d, h1 = last / part[i].d;
        if (i < 2) rotate_heads(m, op, part[i].out, stride, part[i].d, h0, h1);
        if (i == 1) store_heads(m, kv->k, kv->k_page_bytes, kv->type_k, s->k, stride, kv->d_k, h0, h1);
        if (i == 2) store_heads(m, kv->v, kv->v_page_bytes, kv->type_v, s->v, stride, kv->d_v, h0, h1);
    }
}

void cpu_op_project(const struct cpu_member *m, const struct op_project *op)
{
    const struct weight *w = &op->w.w;
    struct cpu_rows in = cpu_prepare(m, op->in, NULL, m->batch->n_tokens, w->n_cols, NULL, 0,
                                     cpu_wants_q8(m->b, w));
    float *out = m->b->scratch.rows; /* [T, D]; each item reads and writes its own columns alone */
    size_t stride = (size_t)w->n_rows;
    int chunk = cpu_chunk(m, w->n_rows, 16);
    for (int64_t next; (next = team_next(m->team)) * chunk < w->n_rows;) {
        int first = (int)next * chunk, last = MIN(first + chunk, w->n_rows);
        cpu_mm(m, &op->w, 0, &in, first, last, out, stride);
        for (int t = 0; t < in.n_tokens; t++)
            m->kern->add(op->x + (size_t)t * stride + first, out + (size_t)t * stride + first,
                         (size_t)(last - first));
    }
}

void cpu_op_glu(const struct cpu_member *m, const struct op_glu *op)
{
    const struct weight *w = &op->up.w;
    bool q8 = cpu_wants_q8(m->b, w) || cpu_wants_q8(m->b, &op->gate.w);
    struct cpu_rows x =
        cpu_prepare(m, op->x, NULL, m->batch->n_tokens, w->n_cols, op->norm, op->eps, q8);
    float *up = m->b->scratch.up;
    size_t stride = (size_t)w->n_rows;
    int chunk = cpu_chunk(m, w->n_rows, 16);
    for (int64_t next; (next = team_next(m->team)) * chunk < w->n_rows;) {
        int first = (int)next * chunk, last = MIN(first + chunk, w->n_rows);
        cpu_mm(m, &op->gate, 0, &x, first, last, op->out, stride);
        cpu_mm(m, &op->up, 0, &x, first, last, up, stride);
        for (int t = 0; t < x.n_tokens; t++) {
            float *out = op->out + (size_t)t * stride + first;
            m->kern->act[KERN_ACT_SILU](out, out, up + (size_t)t * stride + first, (size_t)(last - first));
        }
    }
}

void cpu_op_head(const struct cpu_member *m, const struct op_head *op)
{
    const struct weight *w = &op->w.w;
    struct cpu_rows x = cpu_prepare(m, op->x, m->batch->outputs, m->batch->n_outputs, w->n_cols,
                                    op->norm, op->eps, cpu_wants_q8(m->b, w));
    int chunk = cpu_chunk(m, w->n_rows, 16);
    for (int64_t next; (next = team_next(m->team)) * chunk < w->n_rows;) {
        int first = (int)next * chunk;
        cpu_mm(m, &op->w, 0, &x, first, MIN(first + chunk, w->n_rows), op->logits, (size_t)w->n_rows);
    }
}

void cpu_op_states(const struct cpu_member *m, const struct op_states *op)
{
    size_t width = (size_t)op->width;
    int64_t first, last;
    team_range(m->team, m->id, m->batch->n_states, 1, &first, &last);
    for (int64_t i = first; i < last; i++)
        m->kern->rms_norm(op->out + (size_t)i * width, op->x + (size_t)m->batch->states[i] * width, op->norm,
                          width, op->eps);
}
