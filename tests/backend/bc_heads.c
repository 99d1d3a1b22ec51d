/* bc_heads.c - queries, keys and values; attention; latent attention, and products by head. */
#include <math.h>
#include <stdlib.h>

#include "base.h"
#include "bcheck.h"

static int heads_tokens(struct bc *c)
{
    static const int few[] = {1, 2, 3, 5, 9}, many[] = {2, 9, 17, 40, 75};
    int at = bc_below(c, c->long_run ? 5 : 4);
    return c->form == BC_CODES ? few[at] : many[at];
}

static int context_of(struct bc *c)
{
    return c->long_run ? bc_between(c, 80, 3000) : bc_between(c, 80, 200) * (bc_one_in(c, 3) ? 4 : 1);
}

/* Sizes of heads: of real families, and one that is no multiple of anything. */
static int head_size(struct bc *c)
{
    static const int sizes[] = {64, 128, 32, 80, 96, 20, 256, 192};
    return sizes[bc_below(c, c->long_run ? COUNT_OF(sizes) : 6)];
}

static double worst_of(const struct bc *c, const struct linear *a, const struct linear *b, const struct linear *d)
{
    double worst = MAX(bc_relative(c, a->w.dtype), bc_relative(c, b->w.dtype));
    return d ? MAX(worst, bc_relative(c, d->w.dtype)) : worst;
}

/* ---- queries, keys and values ------------------------------------------------------------ */

static void shape_heads(struct bc *c, struct op_qkv *op, int n_heads, int n_kv_heads, int d)
{
    op->norm_scope = (enum head_norm_scope)(c->nth % 3);
    enum norm_kind kind = bc_norm_kind(c);
    bool own = op->norm_scope != HEAD_NORM_SHARED;
    op->q_norm = bc_norm(c, kind, own ? n_heads * d : d);
    op->k_norm = bc_norm(c, kind, own ? n_kv_heads * d : d);
    op->norm_after_rope = op->norm_scope != HEAD_NORM_WHOLE && bc_one_in(c, 3);
    op->clamp = bc_one_in(c, 4) ? 1.2f : 0;
    if (bc_one_in(c, 4)) {
        op->temp_scale = 0.1f;
        op->temp_offset = 1;
        op->temp_length = 16;
    }
}

static struct rotary make_rope(struct bc *c, int d, int n_rot[2])
{
    struct rotary rope = {(enum rope_kind)bc_below(c, 3), bc_one_in(c, 2) ? d : d / 4 * 2, bc_below(c, 2)};
    n_rot[0] = n_rot[1] = 0;
    if (rope.kind == ROPE_NONE)
        rope.n_rot = rope.table = 0;
    else
        n_rot[rope.table] = rope.n_rot;
    return rope;
}

static void make_qkv(struct bc *c, struct op_qkv *op, const float *x, int width, int n_heads, int n_kv_heads, int d_k,
                     int d_v)
{
    enum dtype dtype = bc_nth_dtype(c->nth, width);
    bool bias = bc_one_in(c, 3);
    op->x = x;
    op->norm = bc_norm(c, bc_norm_kind(c), width);
    op->wq = bc_linear(c, dtype, 1, n_heads * d_k, width, bias);
    op->wk = bc_linear(c, dtype, 1, n_kv_heads * d_k, width, bias);
    op->wv = bc_linear(c, bc_one_in(c, 3) ? bc_dtype(c, width) : dtype, 1, n_kv_heads * d_v, width, bias);
    op->q = bc_floats(c, "q", c->step.batch.n_tokens, n_heads * d_k, BC_OUT);
}

void bc_build_qkv(struct bc *c)
{
    static const int widths[] = {64, 256, 160, 512};
    int width = widths[bc_below(c, 4)], n_tokens = heads_tokens(c), d_k = head_size(c), n_rot[2];
    int d_v = bc_one_in(c, 3) ? head_size(c) : d_k, n_kv_heads = bc_between(c, 1, 3), share = bc_between(c, 1, 3);
    struct rotary rope = make_rope(c, d_k, n_rot);
    bc_batch(c, n_tokens, context_of(c), n_rot);
    bc_outputs(c, 1, 0);
    struct op_qkv *op = &bc_op(c, OP_QKV)->qkv;
    make_qkv(c, op, bc_floats(c, "x", n_tokens, width, BC_IN), width, n_kv_heads * share, n_kv_heads, d_k, d_v);
    op->rope = rope;
    shape_heads(c, op, n_kv_heads * share, n_kv_heads, d_k);
    op->kv = bc_kv(c, n_kv_heads, d_k, d_v, bc_kv_dtype(c), bc_kv_dtype(c), bc_one_in(c, 4) ? 70 : 0, false);
    c->limits.width = width;
    c->limits.n_heads = n_kv_heads * share;
    bc_describe(c, "%s [%d], %d tokens, %d:%d heads of %d and %d, norm %d %d%s, rope %d %d, clamp %g, temp %g, "
                "%s %s, ring %d",
                dtype_name(op->wq.w.dtype), width, n_tokens, n_kv_heads * share, n_kv_heads, d_k, d_v, op->norm_scope,
                op->q_norm.kind, op->norm_after_rope ? " late" : "", rope.kind, rope.n_rot, (double)op->clamp,
                (double)op->temp_scale, dtype_name(op->kv.type_k), dtype_name(op->kv.type_v), op->kv.ring_pages);
}

void bc_judge_qkv(struct bc *c)
{
    const struct op_qkv *op = &c->ops[0].qkv;
    int n = op->wq.w.n_rows / op->kv.d_k * c->step.batch.n_tokens;
    double factor = worst_of(c, &op->wq, &op->wk, &op->wv);
    bc_by_rms(c, op->q, n, op->kv.d_k, (size_t)op->kv.d_k, 2 * factor); /* few numbers: the mean is uncertain */
    bc_kv_margin(c, 2 * factor);
}

/* ---- attention --------------------------------------------------------------------------- */

static void choose_window(struct bc *c, struct op_attend *op, bool *ring)
{
    op->window = (enum window_kind)(c->nth % 4);
    if (op->window == WINDOW_SYMMETRIC) {
        if (c->form == BC_CODES)
            op->window = WINDOW_SLIDING;
        else
            op->causal = false;
    }
    op->n_window = op->window ? bc_between(c, 1, 150) : 0;
    *ring = op->window != WINDOW_NONE && op->window != WINDOW_SYMMETRIC && bc_one_in(c, 2);
}

void bc_build_attend(struct bc *c)
{
    int n_tokens = heads_tokens(c), d_k = head_size(c), d_v = bc_one_in(c, 3) ? head_size(c) : d_k;
    int n_kv_heads = bc_between(c, 1, 3), share = bc_one_in(c, 4) ? bc_between(c, 5, 9) : bc_between(c, 1, 4);
    int n_heads = n_kv_heads * share;
    bool ring, latent = bc_one_in(c, 6); /* one head, whose values are the beginning of its keys */
    bc_batch(c, n_tokens, context_of(c), NULL);
    bc_outputs(c, 1, 0);
    struct op_attend *op = &bc_op(c, OP_ATTEND)->attend;
    op->causal = c->form == BC_CODES || !bc_one_in(c, 6);
    choose_window(c, op, &ring);
    op->n_heads = n_heads;
    op->scale = 1 / sqrtf((float)d_k);
    op->softcap = bc_one_in(c, 4) ? 5 : 0;
    op->alibi = bc_one_in(c, 4) ? 8 : 0;
    if (bc_one_in(c, 3)) op->sinks = bc_vector(c, n_heads, 0, 1);
    if (latent) {
        n_kv_heads = 1;
        d_k = c->long_run ? 576 : 96;
        d_v = c->long_run ? 512 : 64;
    }
    op->kv = bc_kv(c, n_kv_heads, d_k, latent ? 0 : d_v, bc_kv_dtype(c), bc_kv_dtype(c), ring ? op->n_window : 0, true);
    op->kv.d_v = d_v;
    c->limits.d_v = kv_padded(op->kv.type_v, d_v);
    op->q = bc_floats(c, "q", n_tokens, n_heads * d_k, BC_IN);
    op->out = bc_floats(c, "out", n_tokens, n_heads * d_v, BC_OUT);
    c->limits.width = 32;
    c->limits.n_heads = n_heads;
    bc_describe(c, "%d tokens, %d sequences of %d, %d:%d heads of %d and %d, window %d of %d%s, ring %d, "
                "softcap %g, alibi %g%s, %s %s",
                n_tokens, c->n_seqs, c->n_ctx, n_heads, n_kv_heads, d_k, d_v, op->window, op->n_window,
                op->causal ? "" : ", both ways", op->kv.ring_pages, (double)op->softcap, (double)op->alibi,
                op->sinks ? ", sinks" : "", dtype_name(op->kv.type_k), dtype_name(op->kv.type_v));
}

/* Scores are some units: BF16 queries, keys, shares and values make 0.3 % of a deviation each. */
static double attend_relative(const struct bc *c)
{
    static const double relative[] = {[BC_EXACT] = 1e-4, [BC_CODES] = 1e-4, [BC_TILES] = 0.04};
    return relative[c->form];
}

void bc_judge_attend(struct bc *c)
{
    const struct op_attend *op = &c->ops[0].attend;
    bc_by_rms(c, op->out, c->step.batch.n_tokens * op->n_heads, op->kv.d_v, (size_t)op->kv.d_v, attend_relative(c));
}

/* ---- latent attention -------------------------------------------------------------------- */

struct latent { /* its sizes */
    int width, q_rank, rank, n_heads, d_nope, d_v, n_rot;
};

static struct latent latent_sizes(struct bc *c, bool absorbed)
{
    static const int ranks[] = {32, 64, 256, 512};
    struct latent s = {.width = bc_one_in(c, 2) ? 256 : 96, .n_heads = bc_between(c, 1, 5)};
    s.rank = ranks[bc_below(c, c->long_run ? 4 : 3)];
    s.d_nope = bc_one_in(c, 3) ? 32 : 64;
    s.d_v = bc_one_in(c, 2) ? s.d_nope : 48;
    s.n_rot = bc_one_in(c, 2) ? 32 : 16;
    s.q_rank = bc_one_in(c, 2) ? 128 : 0;
    if (!absorbed && bc_one_in(c, 3)) s.d_nope = 40, s.d_v = 24; /* no whole strips */
    return s;
}

static void make_latent(struct bc *c, struct op_mla *op, const struct latent *s)
{
    int q_cols = s->q_rank ? s->q_rank : s->width, type = c->nth / 2;
    if (s->q_rank) {
        op->wq_a = bc_linear(c, bc_nth_dtype(c->nth, s->width), 1, s->q_rank, s->width, false);
        op->q_norm = bc_norm(c, NORM_RMS, s->q_rank);
    }
    op->wq_b = bc_linear(c, bc_nth_dtype(type, q_cols), 1, s->n_heads * (s->d_nope + s->n_rot), q_cols, false);
    op->wkv_a = bc_linear(c, bc_nth_dtype(type, s->width), 1, s->rank + s->n_rot, s->width, false);
    op->kv_norm = bc_norm(c, NORM_RMS, s->rank);
    if (op->absorbed) {
        op->wk_b = bc_linear(c, bc_nth_dtype(type, s->d_nope), s->n_heads, s->rank, s->d_nope, false).w;
    } else {
        op->wk_b = bc_linear(c, bc_nth_dtype(type, s->rank), s->n_heads, s->d_nope, s->rank, false).w;
        op->wv_b = bc_linear(c, bc_dtype(c, s->rank), s->n_heads, s->d_v, s->rank, false).w;
    }
}

void bc_build_mla(struct bc *c)
{
    int n_tokens = heads_tokens(c);
    bool absorbed = c->nth % 2;
    struct latent s = latent_sizes(c, absorbed);
    int d_k = (absorbed ? s.rank : s.d_nope) + s.n_rot;
    bc_batch(c, n_tokens, context_of(c), (const int[]){s.n_rot, 0});
    bc_outputs(c, 1, 0);
    struct op_mla *op = &bc_op(c, OP_MLA)->mla;
    op->x = bc_floats(c, "x", n_tokens, s.width, BC_IN);
    op->norm = bc_norm(c, NORM_RMS, s.width);
    op->n_heads = s.n_heads;
    op->d_nope = s.d_nope;
    op->kv_rank = s.rank;
    op->absorbed = absorbed;
    op->rope = (struct rotary){bc_one_in(c, 2) ? ROPE_PAIRS : ROPE_HALVES, s.n_rot, 0};
    make_latent(c, op, &s);
    op->temp_scale = bc_one_in(c, 3) ? 0.2f : 0;
    op->temp_length = 32;
    op->kv = bc_kv(c, absorbed ? 1 : s.n_heads, d_k, absorbed ? 0 : s.d_v, bc_kv_dtype(c), bc_kv_dtype(c), 0, false);
    if (absorbed) op->kv.d_v = s.rank;
    op->q = bc_floats(c, "q", n_tokens, s.n_heads * d_k, BC_OUT);
    c->limits.width = s.width;
    c->limits.n_heads = s.n_heads;
    c->limits.q_rank = s.q_rank;
    c->limits.latent = s.rank + s.n_rot;
    c->limits.d_expanded = s.d_nope + MAX(s.n_rot, s.d_v);
    c->limits.d_v = kv_padded(op->kv.type_v, op->kv.d_v);
    bc_describe(c, "%s, %s %s %s, %d tokens, %d heads, ranks %d and %d, %d + %d, values %d, temp %g, %s",
                absorbed ? "absorbed" : "expanded", s.q_rank ? dtype_name(op->wq_a.w.dtype) : "-",
                dtype_name(op->wq_b.w.dtype), dtype_name(op->wk_b.dtype), n_tokens, s.n_heads, s.q_rank, s.rank,
                s.d_nope, s.n_rot, s.d_v, (double)op->temp_scale, dtype_name(op->kv.type_k));
}

void bc_judge_mla(struct bc *c)
{
    const struct op_mla *op = &c->ops[0].mla;
    size_t d_k = (size_t)op->kv.d_k;
    int n = c->step.batch.n_tokens * op->n_heads, n_first = op->absorbed ? op->kv_rank : op->d_nope;
    double queries = bc_relative(c, op->wq_b.w.dtype) + (op->absorbed ? bc_relative(c, op->wk_b.dtype) : 0);
    if (op->wq_a.w.n_mats) queries += bc_relative(c, op->wq_a.w.dtype);
    double keys = bc_relative(c, op->wkv_a.w.dtype);
    if (!op->absorbed) keys += MAX(bc_relative(c, op->wk_b.dtype), bc_relative(c, op->wv_b.dtype));
    bc_by_rms(c, op->q, n, n_first, d_k, 2 * queries);
    bc_by_rms(c, op->q + n_first, n, op->rope.n_rot, d_k, 2 * queries);
    bc_kv_margin(c, 2 * keys);
}

/* ---- products by head -------------------------------------------------------------------- */

void bc_build_heads(struct bc *c)
{
    static const int columns[] = {32, 64, 96, 128, 256, 512};
    int n_cols = columns[bc_below(c, c->long_run ? 6 : 5)], n_rows = bc_one_in(c, 2) ? 128 : bc_between(c, 9, 150);
    int n_heads = bc_between(c, 1, 5), n_tokens = heads_tokens(c);
    bc_batch(c, n_tokens, 300, NULL);
    bc_outputs(c, 1, 0);
    struct op_heads *op = &bc_op(c, OP_HEADS)->heads;
    op->in = bc_floats(c, "in", n_tokens, n_heads * n_cols, BC_IN);
    op->w = bc_linear(c, bc_nth_dtype(c->nth, n_cols), n_heads, n_rows, n_cols, false).w;
    op->out = bc_floats(c, "out", n_tokens, n_heads * n_rows, BC_OUT);
    c->limits.width = n_heads * MAX(n_cols, n_rows);
    c->limits.n_heads = n_heads;
    c->limits.n_kv_heads = 1;
    c->limits.d_k = c->limits.d_v = c->limits.latent = n_cols;
    c->limits.d_expanded = n_rows;
    bc_describe(c, "%s %d [%d, %d], %d tokens", dtype_name(op->w.dtype), n_heads, n_rows, n_cols, n_tokens);
}

void bc_judge_heads(struct bc *c)
{
    const struct op_heads *op = &c->ops[0].heads;
    struct linear l = {.w = op->w};
    int n = c->step.batch.n_tokens, n_heads = op->w.n_mats, n_cols = op->w.n_cols, n_rows = op->w.n_rows;
    float *x = malloc((size_t)(n * n_cols) * sizeof *x);
    double *y = malloc((size_t)(n * n_rows) * sizeof *y), *e = malloc((size_t)(n * n_rows) * sizeof *e);
    if (!x || !y || !e) abort();
    for (int h = 0; h < n_heads; h++) {
        for (int i = 0; i < n * n_cols; i++) x[i] = op->in[(i / n_cols * n_heads + h) * n_cols + i % n_cols];
        bc_product(c, &l, h, NULL, x, n, y, e);
        double *margin = bc_margin(c, op->out);
        for (int i = 0; i < n * n_rows; i++) margin[(i / n_rows * n_heads + h) * n_rows + i % n_rows] = e[i];
    }
    free(x);
    free(y);
    free(e);
}
