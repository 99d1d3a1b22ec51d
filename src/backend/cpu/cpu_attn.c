/* cpu_attn.c - attention over the paged cache.
 *
 * Arithmetic: the positions of a sequence are cut into pieces of ATTN_PIECE.  Each piece yields, for
 * each query, a partial result (m, l, o): the largest score, the sum of exp(score - m), and the
 * weighted sum of values, in the order of positions.  Pieces are merged in that order too, with the online
 * softmax (Milakov and Gimelshein 2018).  That is one fixed sum per query, whoever computes it: so results
 * are the same bits for any number of threads and any batch.
 *
 * Work: the query heads that share a KV head go together, and consecutive tokens of a sequence with them, so
 * that a page is read once for all.  Where tokens see different parts of a page, it is cut into patches that
 * all of some tokens see.  When there are fewer such items than would keep the team busy, the pieces
 * themselves are shared out and merged after a barrier. */
#include "cpu_attn.h"

#include <math.h>
#include <string.h>

#include "base.h"

/* Tokens that go together at most, with G queries each. */
static int most_tokens(int n_share)
{
    return MAX(1, MIN(ATTN_TOKENS, ATTN_QUERIES / n_share));
}

/* The same where there is little to do. */
static int few_tokens(int n_share)
{
    return MIN(ATTN_FEW_TOKENS, most_tokens(n_share));
}

size_t cpu_attn_member_floats(const struct step_limits *l)
{
    int n_share = l->n_heads / l->n_kv_heads;
    size_t n = (size_t)(most_tokens(n_share) * n_share);
    return ROUND_UP(n * ((size_t)l->d_k + SCORE_STRIDE + 2 * (2 + (size_t)l->d_v)), 16) +
           cpu_attn_tile_bytes(l, (int)n) / sizeof(float);
}

/* Pieces are shared out only for fewer than two items per thread, see cpu_op_attend. */
size_t cpu_attn_partial_floats(const struct step_limits *l, int n_threads)
{
    int n_share = l->n_heads / l->n_kv_heads;
    size_t n_pieces = (size_t)CEIL_DIV(l->n_ctx, ATTN_PIECE);
    size_t n_queries = (size_t)(2 * n_threads) * (size_t)(few_tokens(n_share) * n_share);
    return n_pieces > 1 ? n_queries * n_pieces * (2 + (size_t)l->d_v) : 0;
}

static float *cut(float **rest, size_t n)
{
    float *p = *rest;
    *rest += n;
    return p;
}

static struct work make_work(const struct cpu_member *m, const struct op_attend *op)
{
    const struct step_limits *l = &m->b->limits;
    int n_share = op->n_heads / op->kv.n_heads;
    size_t n = (size_t)(most_tokens(n_share) * n_share), d_v = (size_t)l->d_v;
    float *p = m->b->scratch.attn + (size_t)m->id * m->b->scratch.attn_floats;
    struct work w = {.member = m, .op = op, .n_share = n_share};
    w.d_k = kv_padded(op->kv.type_k, op->kv.d_k);
    w.d_v = kv_padded(op->kv.type_v, op->kv.d_v);
    w.q = cut(&p, n * (size_t)l->d_k);
    w.scores = cut(&p, n * SCORE_STRIDE);
    w.running.m = cut(&p, n);
    w.running.l = cut(&p, n);
    w.running.o = cut(&p, n * d_v);
    w.piece.m = cut(&p, n);
    w.piece.l = cut(&p, n);
    w.piece.o = cut(&p, n * d_v);
    w.tiles = (char *)m->b->scratch.attn + ((size_t)(m->id + 1) * m->b->scratch.attn_floats) * sizeof *p -
              cpu_attn_tile_bytes(l, (int)n);
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

/* What is between a score and the softmax: n scores of head h at `pos`, against positions from `at` on. */
static void shape_scores(const struct work *w, float *row, int n, int h, int pos, int at)
{
    if (w->op->softcap > 0) w->member->kern->softcap(row, w->op->softcap, (size_t)n);
    if (w->op->alibi == 0) return;
    float slope = slope_of(w->op, h);
    for (int j = 0; j < n; j++) row[j] -= slope * fabsf((float)(pos - at - j));
}

struct sight cpu_attn_sight(const struct work *w, int token)
{
    const struct step_batch *batch = w->member->batch;
    return sight_of(w->op, batch->pos[token], batch->n_kv[batch->seq[token]]);
}

struct group_sight cpu_attn_group_sight(const struct work *w, struct group g)
{
    struct sight first = cpu_attn_sight(w, g.token), last = cpu_attn_sight(w, g.token + g.n_tokens - 1);
    return (struct group_sight){{first.from, last.to}, {last.from, first.to}};
}

const char *cpu_attn_row(const struct pass *p, bool values, int at)
{
    const struct step_batch *batch = p->w->member->batch;
    const struct kv_layer *kv = &p->w->op->kv;
    int seq = batch->seq[p->g.token], nth = at / KV_PAGE;
    size_t page = kv->ring_pages
                      ? (size_t)(seq * kv->ring_pages + nth % kv->ring_pages)
                      : (size_t)batch->page_table[(size_t)seq * (size_t)batch->max_pages + (size_t)nth];
    size_t row = (size_t)p->head * KV_PAGE + (size_t)(at % KV_PAGE);
    return values ? kv->v + page * kv->v_page_bytes + row * kv->v_row_bytes
                  : kv->k + page * kv->k_page_bytes + row * kv->k_row_bytes;
}

/* Positions [from, to) of one page, which all of these tokens see. */
static void patch(const struct pass *p, struct group g, int from, int to)
{
    const struct work *w = p->w;
    const struct kv_layer *kv = &w->op->kv;
    size_t first = (size_t)((g.token - p->g.token) * w->n_share), d_k = (size_t)w->d_k, d_v = (size_t)w->d_v;
    int n = g.n_tokens * w->n_share;
    float *scores = w->scores + first * SCORE_STRIDE + (from - p->start);
    struct kern_kv rows = {cpu_attn_row(p, p->values, from), p->values ? kv->v_row_bytes : kv->k_row_bytes, to - from,
                           p->values ? w->d_v : w->d_k, p->next};
    if (p->values)
        w->member->kern->kv_sum[kv->type_v](p->state->o + first * d_v, d_v, scores, SCORE_STRIDE, n, &rows);
    else
        w->member->kern->kv_dot[kv->type_k](scores, SCORE_STRIDE, w->q + first * d_k, d_k, n, &rows);
}

/* What these tokens see of positions [from, to) of one page, in their order: the part that all of them see, and
 * what lies before and behind it by halves of the tokens. */
static void cover(const struct pass *p, struct group g, int from, int to)
{
    struct group_sight seen = cpu_attn_group_sight(p->w, g);
    from = MAX(from, seen.any.from);
    to = MIN(to, seen.any.to);
    if (from >= to) return;
    int all_from = MAX(from, seen.all.from), all_to = MIN(to, seen.all.to);
    if (all_from >= all_to) all_from = all_to = to;
    struct group low = {g.token, g.n_tokens / 2}, high = {g.token + low.n_tokens, g.n_tokens - low.n_tokens};
    if (from < all_from) {
        cover(p, low, from, all_from);
        cover(p, high, from, all_from);
    }
    if (all_from < all_to) patch(p, g, all_from, all_to);
    if (all_to < to) {
        cover(p, low, all_to, to);
        cover(p, high, all_to, to);
    }
}

/* Pages of positions [from, to) of a piece; `next` is what is read after them. */
static void walk_pages(struct pass *p, bool values, int from, int to, const char *next)
{
    p->values = values;
    for (int at = from; at < to;) {
        int end = MIN(to, (at / KV_PAGE + 1) * KV_PAGE);
        p->next = end < to ? cpu_attn_row(p, values, end) : next;
        cover(p, p->g, at, end);
        at = end;
    }
}

void cpu_attn_soften(const struct pass *p, int from, int to)
{
    const struct work *w = p->w;
    for (int t = 0; t < p->g.n_tokens; t++) {
        int token = p->g.token + t;
        struct sight own = cpu_attn_sight(w, token);
        int first = MAX(from, own.from), n = MIN(to, own.to) - first;
        for (int i = t * w->n_share, h = 0; n > 0 && h < w->n_share; h++, i++) {
            float *row = w->scores + (size_t)i * SCORE_STRIDE + (first - p->start);
            shape_scores(w, row, n, p->head * w->n_share + h, w->member->batch->pos[token], first);
            p->state->m[i] = w->member->kern->max(row, (size_t)n);
            p->state->l[i] = w->member->kern->exp_sum(row, p->state->m[i], (size_t)n);
        }
    }
}

/* The piece that starts at position `start`, for all queries of a group, into fresh states.  `until` is where
 * the caller stops. */
static void attend_piece(const struct work *w, struct group g, int head, int start, int until,
                         const struct state *s)
{
    struct pass p = {.w = w, .g = g, .head = head, .start = start, .state = s};
    struct sight seen = cpu_attn_group_sight(w, g).any;
    int from = MAX(start, seen.from), to = MIN(start + ATTN_PIECE, seen.to);

    state_reset(s, g.n_tokens * w->n_share, w->d_v);
    if (from >= to) return;
    if (cpu_attn_takes_tiles(&p)) {
        cpu_attn_tiles(&p, from, to);
        return;
    }
    walk_pages(&p, false, from, to, cpu_attn_row(&p, true, from));
    cpu_attn_soften(&p, from, to);
    walk_pages(&p, true, from, to, to < until ? cpu_attn_row(&p, false, to) : NULL);
}

static void load_queries(const struct work *w, struct group g, int head)
{
    size_t d = (size_t)w->op->kv.d_k, padded = (size_t)w->d_k;
    for (int i = 0; i < g.n_tokens * w->n_share; i++) {
        int token = g.token + i / w->n_share, h = head * w->n_share + i % w->n_share;
        float *q = w->q + (size_t)i * padded;
        memcpy(q, w->op->q + ((size_t)token * (size_t)w->op->n_heads + (size_t)h) * d, d * sizeof *q);
        memset(q + d, 0, (padded - d) * sizeof *q);
        w->member->kern->scale(q, w->op->scale, d);
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

/* x *= factor */
static void shrink(const struct kern_ops *kern, float *x, float factor, int n)
{
    if (factor != 1) kern->scale(x, factor, (size_t)n);
}

/* (m, l, o) of the next piece into the running state of one query. */
static void merge(const struct kern_ops *kern, const struct state *to, int i, float m, float l,
                  const float *o, int d)
{
    if (l == 0) return; /* the piece lies beyond what this query sees */
    float *sum = to->o + (size_t)i * (size_t)d;
    float top = MAX(to->m[i], m), keep = expf(to->m[i] - top), add = expf(m - top);
    shrink(kern, sum, keep, d);
    kern->axpy(sum, add, o, (size_t)d);
    to->l[i] = to->l[i] * keep + l * add;
    to->m[i] = top;
}

static void store_output(const struct work *w, struct group g, int head, const struct state *s)
{
    int d = w->op->kv.d_v;
    for (int i = 0; i < g.n_tokens * w->n_share; i++) {
        int token = g.token + i / w->n_share, h = head * w->n_share + i % w->n_share;
        float *out = w->op->out + ((size_t)token * (size_t)w->op->n_heads + (size_t)h) * (size_t)d;
        memcpy(out, s->o + (size_t)i * (size_t)w->d_v, (size_t)d * sizeof(float));
        w->member->kern->scale(out, 1.0f / s->l[i], (size_t)d);
    }
}

static void attend_whole(const struct work *w, struct group g, int head)
{
    struct state to = w->running;
    int n = g.n_tokens * w->n_share, d = w->d_v;
    struct sight seen = cpu_attn_group_sight(w, g).any;
    load_queries(w, g, head);
    start_state(w, &to, n, head);
    for (int start = seen.from / ATTN_PIECE * ATTN_PIECE; start < seen.to; start += ATTN_PIECE) {
        attend_piece(w, g, head, start, seen.to, &w->piece);
        for (int i = 0; i < n; i++)
            merge(w->member->kern, &to, i, w->piece.m[i], w->piece.l[i],
                  w->piece.o + (size_t)i * (size_t)d, d);
    }
    store_output(w, g, head, &to);
}

/* The group of at most so many tokens of one kind that starts at `token`. */
static struct group group_at(const struct step_batch *batch, int token, int most)
{
    struct group g = {token, 1};
    while (g.n_tokens < most && token + g.n_tokens < batch->n_tokens &&
           batch->seq[token + g.n_tokens] == batch->seq[token] &&
           batch->generated[token + g.n_tokens] == batch->generated[token] &&
           batch->pos[token + g.n_tokens] == batch->pos[token] + g.n_tokens)
        g.n_tokens++;
    return g;
}

static int count_groups(const struct step_batch *batch, int most)
{
    int n = 0;
    for (int t = 0; t < batch->n_tokens; n++) t += group_at(batch, t, most).n_tokens;
    return n;
}

static struct group nth_group(const struct step_batch *batch, int n, int most)
{
    struct group g = group_at(batch, 0, most);
    while (n-- > 0) g = group_at(batch, g.token + g.n_tokens, most);
    return g;
}

static int longest_sequence(const struct step_batch *batch)
{
    int longest = 0;
    for (int t = 0; t < batch->n_tokens; t++) longest = MAX(longest, batch->n_kv[batch->seq[t]]);
    return longest;
}

/* Shared-out pieces: partial results first, merged after a barrier by whoever takes the item. */
static void attend_in_pieces(const struct work *w, int n_items, int n_pieces, int most)
{
    const struct cpu_member *m = w->member;
    int n_kv_heads = w->op->kv.n_heads, d = w->d_v;
    size_t query_floats = 2 + (size_t)d;
    size_t item_floats = (size_t)(most * w->n_share) * query_floats;
    float *partial = m->b->scratch.partial;

    for (int64_t next; team_next(m->team, m->id, (int64_t)n_items * n_pieces, &next);) {
        int item = (int)(next / n_pieces), piece = (int)(next % n_pieces);
        struct group g = nth_group(m->batch, item / n_kv_heads, most);
        struct state s = w->piece;
        load_queries(w, g, item % n_kv_heads);
        attend_piece(w, g, item % n_kv_heads, piece * ATTN_PIECE, 0, &s);
        for (int i = 0; i < g.n_tokens * w->n_share; i++) {
            float *to = partial + (size_t)next * item_floats + (size_t)i * query_floats;
            to[0] = s.m[i];
            to[1] = s.l[i];
            memcpy(to + 2, s.o + (size_t)i * (size_t)d, (size_t)d * sizeof(float));
        }
    }
    team_barrier(m->team, m->id);
    for (int64_t item; team_next(m->team, m->id, n_items, &item);) {
        struct group g = nth_group(m->batch, (int)item / n_kv_heads, most);
        struct state to = w->running;
        int n = g.n_tokens * w->n_share;
        start_state(w, &to, n, (int)item % n_kv_heads);
        for (int piece = 0; piece < n_pieces; piece++)
            for (int i = 0; i < n; i++) {
                const float *from = partial + ((size_t)item * (size_t)n_pieces + (size_t)piece) *
                                                  item_floats + (size_t)i * query_floats;
                merge(m->kern, &to, i, from[0], from[1], from + 2, d);
            }
        store_output(w, g, (int)item % n_kv_heads, &to);
    }
}

void cpu_op_attend(const struct cpu_member *m, const struct op_attend *op)
{
    struct work w = make_work(m, op);
    int n_heads = op->kv.n_heads, n_threads = team_size(m->team);
    int most = most_tokens(w.n_share), n_items = count_groups(m->batch, most) * n_heads;
    if (n_threads > 1 && n_items < 8 * n_threads) {
        most = few_tokens(w.n_share);
        n_items = count_groups(m->batch, most) * n_heads;
        int n_pieces = CEIL_DIV(longest_sequence(m->batch), ATTN_PIECE);
        if (n_pieces > 1 && n_items < 2 * n_threads) {
            attend_in_pieces(&w, n_items, n_pieces, most);
            return;
        }
    }
    /* Items come in the order of tokens but for those that others leave, so the group is found by walking on. */
    int64_t at = 0;
    struct group g = group_at(m->batch, 0, most);
    for (int64_t next; team_next(m->team, m->id, n_items, &next);) {
        if (at > next / n_heads) g = group_at(m->batch, 0, most), at = 0;
        for (; at < next / n_heads; at++) g = group_at(m->batch, g.token + g.n_tokens, most);
        attend_whole(&w, g, (int)(next % n_heads));
    }
}
