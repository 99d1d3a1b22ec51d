/* cpu_attn_tiles.c - attention of texts as products of BF16, where the processor multiplies those (kern.h, mm_tiles).
 *
 * Keys are weights of the type that they are cached in, packed for the moment; queries are their activations.  Values
 * are turned: a column of values is a row of weights, and its activations are the probabilities of the positions.
 * Both are read once for all queries of a group.  What a query does not see has the probability 0, so that the others
 * of its group do not matter to it, and columns are summed by chunks that are cut by position alone: as in float32,
 * results are the same bits for any number of threads and any batch. */
#include "cpu_attn.h"

#include <string.h>

#include "base.h"

enum { CHUNK = STRIP_CHUNK, CHUNK_START = 32, TURNED_BYTES = STRIP * CHUNK * 2 + 64 };

/* Narrower heads would not fill a step of a product, and in sums that short roundings do not cancel. */
enum { NARROWEST = 32 };
_Static_assert((int)ATTN_PIECE % (int)CHUNK == 0 && (int)KV_PAGE % (int)CHUNK_START == 0, "chunks do not cut pages");

struct tiles {     /* scratch memory, each part on a cache line */
    char *queries; /* [n, d_k] BF16 */
    char *shares;  /* [n, CHUNK] BF16: probabilities */
    char *strips;  /* of a page of keys, or of a chunk of values */
    char *rows;    /* [KV_PAGE, d] float32, and once more in BF16 */
    float *sums;   /* [n, d_v] of a second chunk */
    size_t query_bytes, share_bytes;
};

static size_t lay_out(struct tiles *t, char *p, int n, int d_k, int d_v)
{
    size_t most = (size_t)MAX(d_k, d_v), at = 0;
    size_t keys = (size_t)CEIL_DIV(KV_PAGE, STRIP) * strip_bytes(strip_form(DTYPE_BF16), d_k);
    size_t values = (size_t)CEIL_DIV(d_v, STRIP) * TURNED_BYTES;
    t->query_bytes = cpu_bf16_bytes((size_t)d_k);
    t->share_bytes = cpu_bf16_bytes(CHUNK);
    struct {
        void *field;
        size_t bytes;
    } part[] = {
        {&t->queries, (size_t)n * t->query_bytes},
        {&t->shares, (size_t)n * t->share_bytes},
        {&t->strips, MAX(keys, values)},
        {&t->rows, KV_PAGE * most * (sizeof(float) + sizeof(uint16_t))},
        {&t->sums, (size_t)n * (size_t)d_v * sizeof(float)},
    };
    for (size_t i = 0; i < COUNT_OF(part); i++) {
        char *here = p ? p + at : NULL;
        memcpy(part[i].field, &here, sizeof here);
        at += ROUND_UP(part[i].bytes, (size_t)64);
    }
    return at;
}

size_t cpu_attn_tile_bytes(const struct step_limits *l, int n_queries)
{
    struct tiles unused;
    return lay_out(&unused, NULL, n_queries, l->d_k, l->d_v);
}

bool cpu_attn_takes_tiles(const struct pass *p)
{
    const struct cpu_member *m = p->w->member;
    const struct kv_layer *kv = &p->w->op->kv;
    bool is_text = !m->batch->generated[p->g.token], wide = MIN(kv->d_k, kv->d_v) >= NARROWEST;
    return is_text && wide && kv->type_k != DTYPE_F32 && kv->type_v != DTYPE_F32 &&
           cpu_tile_kernel(m->b, DTYPE_F16) && cpu_tile_kernel(m->b, DTYPE_BF16);
}

/* n numbers in BF16, with zeros up to a whole chunk. */
static void round_row(const struct pass *p, char *to, const float *from, int n, int width)
{
    p->w->member->kern->encode[DTYPE_BF16](to, from, (size_t)n);
    memset(to + 2 * n, 0, 2 * (size_t)(width - n));
}

static void round_queries(const struct pass *p, const struct tiles *t, int n)
{
    int d = p->w->d_k;
    for (int i = 0; i < n; i++)
        round_row(p, t->queries + (size_t)i * t->query_bytes, p->w->q + (size_t)i * (size_t)d, d, ROUND_UP(d, CHUNK));
}

/* Keys at positions [from, to) of one page into strips; what they are packed as. */
static enum dtype pack_keys(const struct pass *p, const struct tiles *t, int from, int to)
{
    const struct kern_ops *kern = p->w->member->kern;
    const struct kv_layer *kv = &p->w->op->kv;
    const char *row = cpu_attn_row(p, false, from);
    size_t d = (size_t)p->w->d_k, row_bytes = kv->k_row_bytes;
    enum dtype type = kv->type_k;
    if (dtype_info(type)->is_quantized) {
        char *rounded = t->rows + KV_PAGE * d * sizeof(float);
        kern->decode[type]((float *)(void *)t->rows, row, (size_t)(to - from) * d);
        kern->encode[DTYPE_BF16](rounded, (const float *)(const void *)t->rows, (size_t)(to - from) * d);
        row = rounded;
        row_bytes = d * sizeof(uint16_t);
        type = DTYPE_BF16;
    }
    size_t bytes = strip_bytes(strip_form(type), (int)d);
    for (int i = 0; i < to - from; i += STRIP)
        kern->pack(t->strips + (size_t)(i / STRIP) * bytes, type, row + (size_t)i * row_bytes, row_bytes,
                   MIN(STRIP, to - from - i), (int)d);
    return type;
}

static void score(const struct pass *p, const struct tiles *t, int n, int from, int to)
{
    const struct work *w = p->w;
    for (int at = from, end; at < to; at = end) {
        end = MIN(to, (at / KV_PAGE + 1) * KV_PAGE);
        enum dtype type = pack_keys(p, t, at, end);
        struct kern_mm_args a = {.y = w->scores + (at - p->start), .y_stride = SCORE_STRIDE, .w = t->strips,
                                 .w_stride = strip_bytes(strip_form(type), w->d_k), .x = t->queries,
                                 .x_stride = t->query_bytes, .n_rows = end - at, .n_cols = w->d_k, .n_tokens = n};
        w->member->kern->mm_tiles[type](&a);
    }
}

/* Values at positions [from, to) as strips from position c on; those before `from` are zeros. */
static void turn_values(const struct pass *p, const struct tiles *t, int c, int from, int to)
{
    const struct work *w = p->w;
    const struct kv_layer *kv = &w->op->kv;
    float *rows = (float *)(void *)t->rows;
    size_t d = (size_t)w->d_v;
    for (int at = c, end; at < to; at = end) {
        end = MIN(to, (at / KV_PAGE + 1) * KV_PAGE);
        int first = MAX(at, MIN(from, end));
        memset(rows, 0, (size_t)(first - at) * d * sizeof *rows);
        const char *row = first < end ? cpu_attn_row(p, true, first) : NULL;
        for (int i = first; i < end; i++, row += kv->v_row_bytes)
            w->member->kern->decode[kv->type_v](rows + (size_t)(i - at) * d, row, d);
        w->member->kern->turn(t->strips + (size_t)(at - c) * STRIP * 2, TURNED_BYTES, rows, end - at, (int)d);
    }
}

/* The probabilities of positions [c, to) for all queries: zeros where one does not see. */
static void round_shares(const struct pass *p, const struct tiles *t, int c, int to)
{
    const struct work *w = p->w;
    for (int i = 0; i < p->g.n_tokens * w->n_share; i++) {
        struct sight own = cpu_attn_sight(w, p->g.token + i / w->n_share);
        int first = MAX(c, own.from), end = MIN(to, own.to);
        char *row = t->shares + (size_t)i * t->share_bytes;
        if (first >= end) first = end = c;
        memset(row, 0, 2 * (size_t)(first - c));
        round_row(p, row + 2 * (first - c), w->scores + (size_t)i * SCORE_STRIDE + (first - p->start), end - first,
                  CHUNK - (first - c));
    }
}

static void sum_values(const struct pass *p, const struct tiles *t, int n, int from, int to)
{
    const struct work *w = p->w;
    const struct kern_ops *kern = w->member->kern;
    size_t d = (size_t)w->d_v;
    float *sums = p->state->o;
    for (int at = from, end; at < to; at = end, sums = t->sums) {
        int c = at / CHUNK_START * CHUNK_START;
        end = MIN(to, (at / CHUNK + 1) * CHUNK);
        turn_values(p, t, c, at, end);
        round_shares(p, t, c, end);
        struct kern_mm_args a = {.y = sums, .y_stride = d, .w = t->strips, .w_stride = TURNED_BYTES, .x = t->shares,
                                 .x_stride = t->share_bytes, .n_rows = w->d_v, .n_cols = end - c, .n_tokens = n};
        kern->mm_tiles[DTYPE_BF16](&a);
        if (sums != p->state->o) kern->add(p->state->o, sums, (size_t)n * d);
    }
}

void cpu_attn_tiles(const struct pass *p, int from, int to)
{
    struct tiles t;
    int n = p->g.n_tokens * p->w->n_share;
    lay_out(&t, p->w->tiles, n, p->w->d_k, p->w->d_v);
    round_queries(p, &t, n);
    score(p, &t, n, from, to);
    cpu_attn_soften(p, from, to);
    sum_values(p, &t, n, from, to);
}
