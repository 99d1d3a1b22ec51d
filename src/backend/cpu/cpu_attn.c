/* cpu_attn.c - attention over the paged cache.
 *
 * Arithmetic: the positions of a sequence are cut into pieces of ATTN_PIECE.  Each piece yields, for
 * each query, a partial result (m, l, o): the largest score, the sum of exp(score - m), and the
 * weighted sum of values, built page by page with the online softmax (Milakov and Gimelshein 2018).
 * Pieces are merged in the order of positions.  That is one fixed sum per query, whoever computes it:
 * so results are the same bits for any number of threads and any batch.
 *
 * Work: the query heads that share a KV head go together, and up to ATTN_TOKENS consecutive tokens of a
 * sequence with them, so that a page is read once for all.  When there are fewer such items than would
 * keep the team busy, the pieces themselves are shared out and merged after a barrier. */
#include "cpu_backend.h"

#include <math.h>
#include <string.h>

#include "base.h"

struct group { /* queries that walk the cache together: consecutive tokens of one sequence */
    int token, n_tokens;
};

struct state { /* of n queries */
    float *m, *l;  /* [n] */
    float *o;      /* [n, d_v] */
};

struct work { /* a member's scratch, and what it works on */
    const struct cpu_member *member;
    const struct op_attend *op;
    int n_share;   /* G = H / K, query heads per KV head */
    int d_k, d_v;  /* numbers of a row of the cache, its padding included: of queries and sums here too */
    float *q;      /* [ATTN_TOKENS G, d_k] */
    float *scores; /* [ATTN_TOKENS G, KV_PAGE] */
    struct state running, piece;
};

static int most_queries(const struct step_limits *l)
{
    return ATTN_TOKENS * (l->n_heads / l->n_kv_heads);
}

size_t cpu_attn_member_floats(const struct step_limits *l)
{
    size_t n = (size_t)most_queries(l);
    return ROUND_UP(n * ((size_t)l->d_k + KV_PAGE + 2 * (2 + (size_t)l->d_v)), 16);
}

/* Pieces are shared out only for fewer than two items per thread, see cpu_op_attend. */
size_t cpu_attn_partial_floats(const struct step_limits *l, int n_threads)
{
    size_t n_pieces = (size_t)CEIL_DIV(l->n_ctx, ATTN_PIECE);
    size_t n_queries = (size_t)(2 * n_threads) * (size_t)most_queries(l);
    return n_pieces > 1 ? n_queries * n_pieces * (2 + (size_t)l->d_v) : 0;
}

static struct work make_work(const struct cpu_member *m, const struct op_attend *op)
{
    const struct step_limits *l = &m->b->limits;
    size_t n = (size_t)most_queries(l), d_v = (size_t)l->d_v;
    float *p = m->b->scratch.attn + (size_t)m->id * m->b->scratch.attn_floats;
    struct work w = {.member = m, .op = op, .n_share = op->n_heads / op->kv.n_heads, .q = p};
    w.d_k = kv_padded(op->kv.type_k, op->kv.d_k);
    w.d_v = kv_padded(op->kv.type_v, op->kv.d_v);
    w.scores = (p += n * (size_t)l->d_k);
    w.running.m = (p += n * KV_PAGE);
    w.running.l = (p += n);
    w.running.o = (p += n);
    w.piece.m = (p += n * d_v);
    w.piece.l = (p += n);
    w.piece.o = (p += n);
    return w;
}

static void state_reset(const struct state *s, int n, int d)
{
    for (int i = 0; i < n; i++) {
        s->m[i] = -INFINITY;
        s->l[i] = 0;
    }
    memset(s->o, 0, (size_t)n * (size_t)d * sizeof(float));
}

/* What a token at `pos` sees: positions [from, to) of its sequence, which has n_kv. */
struct sight {
    int from, to;
};

static struct sight sight_of(const struct op_attend *op, int pos, int n_kv)
{
    struct sight s = {0, op->causal ? pos + 1 : n_kv};
    switch (op->window) {
    case WINDOW_NONE: break;
    case WINDOW_SLIDING: s.from = MAX(0, pos + 1 - op->n_window); break;
    case WINDOW_CHUNKED: s.from = pos / op->n_window * op->n_window; break;
    case WINDOW_SYMMETRIC:
        s.from = MAX(0, pos - op->n_window / 2);
        s.to = MIN(s.to, pos + op->n_window / 2 + 1);
        break;
    }
    return s;
}

/* How much a score falls per position of distance, for query head h (Press et al. 2022): powers of
 * 2^(-alibi / n) with n the largest power of two within H, and between those for the heads beyond n. */
static float slope_of(const struct op_attend *op, int h)
{
    int n = 1;
    while (2 * n <= op->n_heads) n *= 2;
    return h < n ? powf(2, -op->alibi * (float)(h + 1) / (float)n)
                 : powf(2, -op->alibi * (float)(2 * (h - n) + 1) / (float)(2 * n));
}

/* Scores of the query of head h at `pos` against positions from `at` on, before the softmax. */
static void shape_scores(const struct work *w, float *row, int n_kv, int h, int pos, int at)
{
    const struct kern_ops *kern = w->member->kern;
    kern->scale(row, w->op->scale, (size_t)n_kv);
    if (w->op->softcap > 0) kern->softcap(row, w->op->softcap, (size_t)n_kv);
    if (w->op->alibi == 0) return;
    float slope = slope_of(w->op, h);
    for (int j = 0; j < n_kv; j++) row[j] -= slope * fabsf((float)(pos - at - j));
}

struct span { /* consecutive positions of one page, of one KV head */
    const char *k, *v;
    int at, n_kv;
    int head;
};

/* A span into the states of queries [first, first + n), the first of them of token t. */
static void attend_span(const struct work *w, const struct state *s, int first, int n, int t,
                        const struct span *span)
{
    const struct kern_ops *kern = w->member->kern;
    const struct kv_layer *kv = &w->op->kv;
    size_t d_v = (size_t)w->d_v;
    float *o = s->o + (size_t)first * d_v;
    int n_kv = span->n_kv;
    kern->kv_dot[kv->type_k](w->scores, w->q + (size_t)first * (size_t)w->d_k, (size_t)w->d_k, n, span->k,
                             kv->k_row_bytes, n_kv, w->d_k);
    for (int i = 0; i < n; i++) {
        float *row = w->scores + (size_t)i * (size_t)n_kv;
        shape_scores(w, row, n_kv, span->head * w->n_share + i % w->n_share,
                     w->member->batch->pos[t + i / w->n_share], span->at);
        float before = s->m[first + i], top = kern->max(row, (size_t)n_kv);
        if (top > before) {
            float shrink = expf(before - top); /* 0 at the first page */
            s->m[first + i] = top;
            s->l[first + i] *= shrink;
            kern->scale(o + (size_t)i * d_v, shrink, d_v);
        }
        s->l[first + i] += kern->exp_sum(row, s->m[first + i], (size_t)n_kv);
    }
    kern->kv_sum[kv->type_v](o, d_v, w->scores, n, span->v, kv->v_row_bytes, n_kv, w->d_v);
}

/* Positions [from, to) of the page that begins at position `at`. */
static struct span span_of(const struct work *w, int t, int head, int at, int from, int to)
{
    const struct step_batch *batch = w->member->batch;
    const struct kv_layer *kv = &w->op->kv;
    int seq = batch->seq[t], nth = at / KV_PAGE;
    size_t page = kv->ring_pages
                      ? (size_t)(seq * kv->ring_pages + nth % kv->ring_pages)
                      : (size_t)batch->page_table[(size_t)seq * (size_t)batch->max_pages + (size_t)nth];
    size_t row = (size_t)head * KV_PAGE + (size_t)(from - at);
    return (struct span){kv->k + page * kv->k_page_bytes + row * kv->k_row_bytes,
                         kv->v + page * kv->v_page_bytes + row * kv->v_row_bytes, from, to - from, head};
}

/* Of all tokens of a group: what the first and the last see, the union and what every one does. */
struct group_sight {
    struct sight any, all;
};

static struct group_sight group_sight_of(const struct work *w, const struct group *g)
{
    const struct step_batch *batch = w->member->batch;
    int n_kv = batch->n_kv[batch->seq[g->token]], pos = batch->pos[g->token];
    struct sight first = sight_of(w->op, pos, n_kv), last = sight_of(w->op, pos + g->n_tokens - 1, n_kv);
    return (struct group_sight){{first.from, last.to}, {last.from, first.to}};
}

/* The piece that starts at position `start`, for all queries of a group, into fresh states. */
static void attend_piece(const struct work *w, const struct group *g, int head, int start,
                         const struct state *s)
{
    const struct step_batch *batch = w->member->batch;
    struct group_sight seen = group_sight_of(w, g);
    int end = MIN(start + ATTN_PIECE, seen.any.to), n_kv = batch->n_kv[batch->seq[g->token]];

    state_reset(s, g->n_tokens * w->n_share, w->d_v);
    for (int at = MAX(start, seen.any.from / KV_PAGE * KV_PAGE); at < end; at += KV_PAGE) {
        if (seen.all.from <= at && seen.all.to >= at + KV_PAGE) { /* every query sees all of it */
            struct span span = span_of(w, g->token, head, at, at, at + KV_PAGE);
            attend_span(w, s, 0, g->n_tokens * w->n_share, g->token, &span);
            continue;
        }
        for (int i = 0; i < g->n_tokens; i++) {
            struct sight own = sight_of(w->op, batch->pos[g->token] + i, n_kv);
            int from = MAX(at, own.from), to = MIN(at + KV_PAGE, own.to);
            if (from >= to) continue;
            struct span span = span_of(w, g->token, head, at, from, to);
            attend_span(w, s, i * w->n_share, w->n_share, g->token + i, &span);
        }
    }
}

static void load_queries(const struct work *w, const struct group *g, int head)
{
    size_t d = (size_t)w->op->kv.d_k, padded = (size_t)w->d_k;
    for (int i = 0; i < g->n_tokens * w->n_share; i++) {
        int token = g->token + i / w->n_share, h = head * w->n_share + i % w->n_share;
        float *q = w->q + (size_t)i * padded;
        memcpy(q, w->op->q + ((size_t)token * (size_t)w->op->n_heads + (size_t)h) * d, d * sizeof *q);
        memset(q + d, 0, (padded - d) * sizeof *q);
    }
}

/* The state before the first piece: a sink is a score without a value. */
static void start_state(const struct work *w, const struct state *s, int n, int head)
{
    state_reset(s, n, w->d_v);
    for (int i = 0; i < n && w->op->sinks; i++) {
        s->m[i] = w->op->sinks[head * w->n_share + i % w->n_share];
        s->l[i] = 1;
    }
}

/* (m, l, o) of the next piece into the running state of one query. */
static void merge(const struct kern_ops *kern, const struct state *to, int i, float m, float l,
                  const float *o, int d)
{
    if (l == 0) return; /* the piece lies beyond what this query sees */
    float *sum = to->o + (size_t)i * (size_t)d;
    float top = MAX(to->m[i], m), keep = expf(to->m[i] - top), add = expf(m - top);
    kern->scale(sum, keep, (size_t)d);
    kern->axpy(sum, add, o, (size_t)d);
    to->l[i] = to->l[i] * keep + l * add;
    to->m[i] = top;
}

static void store_output(const struct work *w, const struct group *g, int head,
                         const struct state *s)
{
    int d = w->op->kv.d_v;
    for (int i = 0; i < g->n_tokens * w->n_share; i++) {
        int token = g->token + i / w->n_share, h = head * w->n_share + i % w->n_share;
        float *out = w->op->out + ((size_t)token * (size_t)w->op->n_heads + (size_t)h) * (size_t)d;
        memcpy(out, s->o + (size_t)i * (size_t)w->d_v, (size_t)d * sizeof(float));
        w->member->kern->scale(out, 1.0f / s->l[i], (size_t)d);
    }
}

static void attend_whole(const struct work *w, const struct group *g, int head)
{
    struct state to = w->running;
    int n = g->n_tokens * w->n_share, d = w->d_v;
    struct sight seen = group_sight_of(w, g).any;
    load_queries(w, g, head);
    start_state(w, &to, n, head);
    for (int start = seen.from / ATTN_PIECE * ATTN_PIECE; start < seen.to; start += ATTN_PIECE) {
        attend_piece(w, g, head, start, &w->piece);
        for (int i = 0; i < n; i++)
            merge(w->member->kern, &to, i, w->piece.m[i], w->piece.l[i],
                  w->piece.o + (size_t)i * (size_t)d, d);
    }
    store_output(w, g, head, &to);
}

/* The group of at most ATTN_TOKENS tokens that starts at `token`. */
static struct group group_at(const struct step_batch *batch, int token)
{
    struct group g = {token, 1};
    while (g.n_tokens < ATTN_TOKENS && token + g.n_tokens < batch->n_tokens &&
           batch->seq[token + g.n_tokens] == batch->seq[token] &&
           batch->pos[token + g.n_tokens] == batch->pos[token] + g.n_tokens)
        g.n_tokens++;
    return g;
}

static int count_groups(const struct step_batch *batch, int *longest)
{
    int n = 0;
    *longest = 0;
    for (int t = 0; t < batch->n_tokens;) {
        struct group g = group_at(batch, t);
        *longest = MAX(*longest, batch->n_kv[batch->seq[t]]);
        t += g.n_tokens;
        n++;
    }
    return n;
}

static struct group nth_group(const struct step_batch *batch, int n)
{
    struct group g = group_at(batch, 0);
    while (n-- > 0) g = group_at(batch, g.token + g.n_tokens);
    return g;
}

/* Shared-out pieces: partial results first, merged after a barrier by whoever takes the item. */
static void attend_in_pieces(const struct work *w, int n_items, int n_pieces)
{
    const struct cpu_member *m = w->member;
    int n_kv_heads = w->op->kv.n_heads, d = w->d_v;
    size_t query_floats = 2 + (size_t)d;
    size_t item_floats = (size_t)ATTN_TOKENS * (size_t)w->n_share * query_floats;
    float *partial = m->b->scratch.partial;

    for (int64_t next; (next = team_next(m->team)) < (int64_t)n_items * n_pieces;) {
        int item = (int)(next / n_pieces), piece = (int)(next % n_pieces);
        struct group g = nth_group(m->batch, item / n_kv_heads);
        struct state s = w->piece;
        load_queries(w, &g, item % n_kv_heads);
        attend_piece(w, &g, item % n_kv_heads, piece * ATTN_PIECE, &s);
        for (int i = 0; i < g.n_tokens * w->n_share; i++) {
            float *to = partial + (size_t)next * item_floats + (size_t)i * query_floats;
            to[0] = s.m[i];
            to[1] = s.l[i];
            memcpy(to + 2, s.o + (size_t)i * (size_t)d, (size_t)d * sizeof(float));
        }
    }
    team_barrier(m->team, m->id);
    for (int64_t item; (item = team_next(m->team)) < n_items;) {
        struct group g = nth_group(m->batch, (int)item / n_kv_heads);
        struct state to = w->running;
        int n = g.n_tokens * w->n_share;
        start_state(w, &to, n, (int)item % n_kv_heads);
        for (int piece = 0; piece < n_pieces; piece++)
            for (int i = 0; i < n; i++) {
                const float *from = partial + ((size_t)item * (size_t)n_pieces + (size_t)piece) *
                                                  item_floats + (size_t)i * query_floats;
                merge(m->kern, &to, i, from[0], from[1], from + 2, d);
            }
        store_output(w, &g, (int)item % n_kv_heads, &to);
    }
}

void cpu_op_attend(const struct cpu_member *m, const struct op_attend *op)
{
    struct work w = make_work(m, op);
    int longest, n_items = count_groups(m->batch, &longest) * op->kv.n_heads;
    int n_pieces = CEIL_DIV(longest, ATTN_PIECE), n_threads = team_size(m->team);
    if (n_pieces > 1 && n_threads > 1 && n_items < 2 * n_threads) {
        attend_in_pieces(&w, n_items, n_pieces);
        return;
    }
    /* Items are handed out in the order of tokens, so the group is found by walking on. */
    int64_t at = 0;
    struct group g = group_at(m->batch, 0);
    for (int64_t next; (next = team_next(m->team)) < n_items;) {
        for (; at < next / op->kv.n_heads; at++) g = group_at(m->batch, g.token + g.n_tokens);
        attend_whole(&w, &g, (int)(next % op->kv.n_heads));
    }
}
