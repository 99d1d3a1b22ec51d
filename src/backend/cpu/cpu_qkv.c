/* cpu_qkv.c - queries, keys and values: three products, what families do to heads, and the way to the cache.
 *
 * A work item is some heads of one of the three.  Whoever computes it also finishes it: clamps, norms,
 * rotates and stores its heads, without a barrier.  Only a norm over all heads of a token has to wait for
 * the products; then tokens are shared out. */
#include "cpu_backend.h"

#include <math.h>
#include <string.h>

#include "base.h"

char *cpu_kv_slot(const struct cpu_member *m, const struct kv_layer *kv, char *pages, size_t page_bytes,
                  size_t row_bytes, int t, int h)
{
    const struct step_batch *batch = m->batch;
    int pos = batch->pos[t], seq = batch->seq[t], nth = pos / KV_PAGE;
    int page = kv->ring_pages ? seq * kv->ring_pages + nth % kv->ring_pages
                              : batch->page_table[(size_t)seq * (size_t)batch->max_pages + (size_t)nth];
    return pages + (size_t)page * page_bytes + ((size_t)h * KV_PAGE + (size_t)(pos % KV_PAGE)) * row_bytes;
}

void cpu_kv_store(const struct cpu_member *m, enum dtype type, char *slot, const float *head, int d)
{
    int padded = kv_padded(type, d);
    if (padded > d) { /* the member's room for attention is free meanwhile */
        float *row = m->b->scratch.attn + (size_t)m->id * m->b->scratch.attn_floats;
        memcpy(row, head, (size_t)d * sizeof *row);
        memset(row + d, 0, (size_t)(padded - d) * sizeof *row);
        head = row;
    }
    m->kern->encode[type](slot, head, (size_t)padded);
}

void cpu_rotate(const struct cpu_member *m, const struct rotary *rope, float *head, int t)
{
    static const enum kern_rope kinds[] = {[ROPE_PAIRS] = KERN_ROPE_PAIRS, [ROPE_HALVES] = KERN_ROPE_HALVES};
    if (rope->kind == ROPE_NONE) return;
    size_t n = (size_t)rope->n_rot;
    m->kern->rope[kinds[rope->kind]](head, m->batch->cs[rope->table] + (size_t)t * n, n);
}

float cpu_temperature(const struct cpu_member *m, float scale, float offset, int length, int t)
{
    if (scale == 0) return 1;
    return 1 + scale * logf(floorf(((float)m->batch->pos[t] + offset) / (float)length) + 1);
}

struct part { /* one of q, k and v */
    const struct linear *w;
    float *out;              /* [T, n_rows of w] */
    int d;
    bool rotated, stored;
    const struct norm *norm; /* of heads */
    char *pages;             /* where it is stored */
    size_t page_bytes, row_bytes;
    enum dtype type;
    int chunk, n_items;
};

static void clamp(float *x, float most, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = fminf(fmaxf(x[i], -most), most);
}

/* Norm, rotation and temperature of head h of token t, in the family's order. */
static void finish_head(const struct cpu_member *m, const struct op_qkv *op, const struct part *p, float *head,
                        int t, int h)
{
    struct norm norm = *p->norm;
    bool own = op->norm_scope == HEAD_NORM_OWN, whole = op->norm_scope == HEAD_NORM_WHOLE;
    size_t d = (size_t)p->d, offset = own ? (size_t)h * d : 0;
    if (whole) norm.kind = NORM_NONE; /* done already */
    if (norm.weight) norm.weight += offset;
    if (norm.bias) norm.bias += offset;
    if (!op->norm_after_rope) cpu_norm_row(m->kern, &norm, head, head, d);
    cpu_rotate(m, &op->rope, head, t);
    if (op->norm_after_rope) cpu_norm_row(m->kern, &norm, head, head, d);
    if (!p->stored && op->temp_scale != 0)
        m->kern->scale(head, cpu_temperature(m, op->temp_scale, op->temp_offset, op->temp_length, t), d);
}

/* Heads [first, last) of token t, from the product to where they are read. */
static void finish_heads(const struct cpu_member *m, const struct op_qkv *op, const struct part *p, int t, int first,
                         int last)
{
    size_t stride = (size_t)p->w->w.n_rows;
    for (int h = first; h < last; h++) {
        float *head = p->out + (size_t)t * stride + (size_t)h * (size_t)p->d;
        if (p->rotated) finish_head(m, op, p, head, t, h);
        if (p->stored)
            cpu_kv_store(m, p->type, cpu_kv_slot(m, &op->kv, p->pages, p->page_bytes, p->row_bytes, t, h), head, p->d);
    }
}

/* Norms over all heads of a token, and what waits for them. */
static void finish_tokens(const struct cpu_member *m, const struct op_qkv *op, const struct part *part)
{
    int64_t first, last;
    team_barrier(m->team, m->id);
    team_range(m->team, m->id, m->batch->n_tokens, 1, &first, &last);
    for (int t = (int)first; t < last; t++)
        for (int i = 0; i < 2; i++) {
            size_t n = (size_t)part[i].w->w.n_rows;
            float *row = part[i].out + (size_t)t * n;
            cpu_norm_row(m->kern, part[i].norm, row, row, n);
            finish_heads(m, op, &part[i], t, 0, (int)n / part[i].d);
        }
}

void cpu_op_qkv(const struct cpu_member *m, const struct op_qkv *op)
{
    const struct kv_layer *kv = &op->kv;
    const struct cpu_scratch *s = &m->b->scratch;
    static const struct norm none = {.kind = NORM_NONE};
    struct part part[3] = {
        {&op->wq, op->q, kv->d_k, true, false, &op->q_norm, NULL, 0, 0, DTYPE_F32, 0, 0},
        {&op->wk, s->k, kv->d_k, true, true, &op->k_norm, kv->k, kv->k_page_bytes, kv->k_row_bytes, kv->type_k, 0, 0},
        {&op->wv, s->v, kv->d_v, false, true, &none, kv->v, kv->v_page_bytes, kv->v_row_bytes, kv->type_v, 0, 0},
    };
    bool late = op->norm_scope == HEAD_NORM_WHOLE && op->q_norm.kind != NORM_NONE;
    int width = op->wq.w.n_cols, n_items = 0;
    unsigned forms = cpu_wants(m->b, &op->wq.w) | cpu_wants(m->b, &op->wk.w) | cpu_wants(m->b, &op->wv.w);
    struct cpu_source from = {op->x, NULL, (size_t)width, m->batch->n_tokens, width, .per_token = 1};
    struct cpu_rows x = cpu_prepare(m, &from, &op->norm, forms);

    int n_rows = op->wq.w.n_rows + op->wk.w.n_rows + op->wv.w.n_rows;
    for (int i = 0; i < 3; i++) {
        part[i].chunk = cpu_chunk(m, n_rows, part[i].d);
        part[i].n_items = CEIL_DIV(part[i].w->w.n_rows, part[i].chunk);
        n_items += part[i].n_items;
    }
    for (int64_t next; team_next(m->team, m->id, n_items, &next);) {
        int i = 0, item = (int)next;
        while (item >= part[i].n_items) item -= part[i++].n_items;
        const struct part *p = &part[i];
        int first = item * p->chunk, last = MIN(first + p->chunk, p->w->w.n_rows);
        size_t stride = (size_t)p->w->w.n_rows;
        cpu_mm(m, p->w, 0, &x, first, last, p->out, stride);
        for (int t = 0; t < x.n_tokens; t++) {
            if (op->clamp > 0) clamp(p->out + (size_t)t * stride + first, op->clamp, (size_t)(last - first));
            if (!late || !p->rotated) finish_heads(m, op, p, t, first / p->d, last / p->d);
        }
    }
    if (late) finish_tokens(m, op, part);
}
