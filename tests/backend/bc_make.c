/* bc_make.c - what cases are made of: numbers, weights, batches and caches, the same for every side. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base.h"
#include "bcheck.h"
#include "kern.h"

enum { ZONE_BYTES = 256, ARENA_ALIGN = 256 };

int bc_below(struct bc *c, int n)
{
    return (int)rng_below(&c->shapes, (uint64_t)n);
}

int bc_between(struct bc *c, int low, int high)
{
    return low + bc_below(c, high - low + 1);
}

bool bc_one_in(struct bc *c, int n)
{
    return bc_below(c, n) == 0;
}

enum dtype bc_nth_dtype(int nth, int n_cols)
{
    for (int type = nth % DTYPE_COUNT;; type = (type + 1) % DTYPE_COUNT) {
        const struct dtype_info *info = dtype_info((uint32_t)type);
        if (info && info->is_weight && n_cols % info->block_n == 0) return (enum dtype)type;
    }
}

enum dtype bc_dtype(struct bc *c, int n_cols)
{
    for (;;) {
        const int type = bc_below(c, DTYPE_COUNT);
        const struct dtype_info *info = dtype_info((uint32_t)type);
        if (info && info->is_weight && n_cols % info->block_n == 0) return (enum dtype)type;
    }
}

enum dtype bc_kv_dtype(struct bc *c)
{
    static const enum dtype types[] = {DTYPE_F16, DTYPE_Q8_0, DTYPE_BF16, DTYPE_F32, DTYPE_Q4_0};
    return types[bc_below(c, COUNT_OF(types))];
}

/* ---- the arena --------------------------------------------------------------------------- */

static struct bc_buffer *take(struct bc *c, const char *name, size_t bytes, enum bc_role role)
{
    if (c->n_buffers == BC_MOST_BUFFERS) abort();
    struct bc_buffer *b = &c->buffers[c->n_buffers++];
    *b = (struct bc_buffer){.name = name, .at = c->used + ZONE_BYTES, .bytes = bytes, .role = role};
    c->used = ROUND_UP(b->at + bytes, (size_t)ARENA_ALIGN) + ZONE_BYTES;
    return b;
}

void *bc_room(struct bc *c, const char *name, size_t bytes, enum bc_role role)
{
    return c->base + take(c, name, bytes, role)->at;
}

static float number(struct rng *r, enum bc_fill fill, size_t i)
{
    float x = (float)rng_normal(r);
    switch (fill) {
    case BC_ZEROS: return x < 0 ? -0.0f : 0.0f;
    case BC_CONSTANT: return 0.7f;
    case BC_ALTERNATING: return i % 2 ? -1.3f : 1.3f;
    case BC_MIXED: return x * (rng_below(r, 2) ? 1e5f : 1e-5f);
    default: return x;
    }
}

float *bc_floats(struct bc *c, const char *name, int n_rows, int n, enum bc_role role)
{
    size_t count = (size_t)n_rows * (size_t)n;
    struct bc_buffer *b = take(c, name, count * sizeof(float), role);
    float *x = (float *)(void *)(c->image + b->at);
    for (size_t i = 0; i < count && c->image; i++) x[i] = number(&c->values, c->fill, i);
    if (c->image && c->fill == BC_NAN && count) x[rng_below(&c->values, count)] = NAN;
    return (float *)(void *)(c->base + b->at);
}

/* ---- weights ----------------------------------------------------------------------------- */

/* Normal numbers whose size differs from block to block, so that scales do too. */
static void make_row(struct bc *c, enum dtype dtype, char *row, int n_cols)
{
    float value[256], unit = 1 / sqrtf((float)n_cols);
    const struct dtype_info *info = dtype_info(dtype);
    for (int at = 0, n; at < n_cols; at += n) {
        n = info->block_n > 1 ? info->block_n : MIN(32, n_cols - at);
        float size = unit * (0.5f + (float)rng_uniform(&c->weights));
        for (int i = 0; i < n; i++) value[i] = size * (float)rng_normal(&c->weights);
        kern_ops()->encode[dtype](row, value, (size_t)n);
        row += dtype_row_bytes(info, (uint64_t)n);
    }
}

/* Shared memory: like a mapped file it may be told that its pages are no longer wanted. */
static void make_rows(struct bc *c, struct weight *w)
{
    size_t bytes = (size_t)w->n_mats * w->mat_bytes;
    char *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) abort();
    for (int r = 0; r < w->n_mats * w->n_rows; r++) make_row(c, w->dtype, data + (size_t)r * w->row_bytes, w->n_cols);
    w->data = data;
}

/* One in four is a part of a larger tensor, as queries are of those that come with keys and values. */
static void make_weight(struct bc *c, struct bc_weight *made, const struct weight *w)
{
    int above = 0, below = 0;
    if (rng_below(&c->weights, 4) == 0) {
        above = (int)rng_below(&c->weights, 40);
        below = (int)rng_below(&c->weights, 40);
    }
    made->w = made->whole = *w;
    made->whole.n_rows += above + below;
    made->whole.mat_bytes = w->row_bytes * (size_t)made->whole.n_rows;
    make_rows(c, &made->whole);
    made->w.mat_bytes = made->whole.mat_bytes;
    made->w.data = (const char *)made->whole.data + (size_t)above * w->row_bytes;
    c->weight_bytes += backend_gpu && backend_gpu->place_bytes ? backend_gpu->place_bytes(&made->w) : 0;
}

static void *place_weight(struct bc *c, const struct bc_weight *made)
{
    struct weight part = made->w;
    struct redline_err err;
    struct backend *b = c->backend[c->side];
    if (b->ops->place(b, &made->whole, (struct weight *[]){&part}, 1, str_of("weight"), &err)) bc_fatal(c, err.message);
    return part.placed;
}

static struct weight get_weight(struct bc *c, enum dtype dtype, int n_mats, int n_rows, int n_cols)
{
    if (c->n_made == BC_MOST_MADE) abort();
    struct bc_weight *made = &c->made[c->n_made++];
    if (c->side == BC_NOBODY) {
        struct weight w = {.dtype = dtype, .n_cols = n_cols, .n_rows = n_rows, .n_mats = n_mats};
        w.row_bytes = dtype_row_bytes(dtype_info(dtype), (uint64_t)n_cols);
        make_weight(c, made, &w);
    } else if (!made->placed[c->side]) {
        made->placed[c->side] = place_weight(c, made);
    }
    struct weight w = made->w;
    w.placed = made->placed[c->side];
    return w;
}

const float *bc_vector(struct bc *c, int n, float mean, float deviation)
{
    if (c->n_vectors == BC_MOST_MADE) abort();
    struct bc_vector *v = &c->vectors[c->n_vectors++];
    if (c->side == BC_NOBODY) {
        *v = (struct bc_vector){.v = malloc((size_t)n * sizeof(float)), .n = (size_t)n};
        if (!v->v) abort();
        for (int i = 0; i < n; i++) v->v[i] = mean + deviation * (float)rng_normal(&c->weights);
        v->at[BC_CPU] = v->v; /* products and norms of the CPU read what is mapped */
        c->weight_bytes += backend_gpu && backend_gpu->vector_bytes ? backend_gpu->vector_bytes(v->n) : 0;
    } else if (!v->at[c->side]) {
        struct redline_err err;
        struct backend *b = c->backend[c->side];
        if (b->ops->vector(b, v->v, v->n, &v->at[c->side], &err)) bc_fatal(c, err.message);
    }
    return v->at[c->side];
}

struct linear bc_linear(struct bc *c, enum dtype dtype, int n_mats, int n_rows, int n_cols, bool bias)
{
    struct linear l = {.w = get_weight(c, dtype, n_mats, n_rows, n_cols)};
    if (bias) l.bias = bc_vector(c, n_mats * n_rows, 0, 0.5f);
    return l;
}

enum norm_kind bc_norm_kind(struct bc *c)
{
    static const enum norm_kind kinds[] = {NORM_NONE, NORM_RMS, NORM_RMS, NORM_LAYER};
    return kinds[bc_below(c, COUNT_OF(kinds))];
}

struct norm bc_norm(struct bc *c, enum norm_kind kind, int n)
{
    struct norm norm = {.kind = kind, .eps = 1e-5f};
    if (kind == NORM_NONE) return norm;
    if (!bc_one_in(c, 5)) norm.weight = bc_vector(c, n, 1, 0.3f);
    if (kind == NORM_LAYER && !bc_one_in(c, 3)) norm.bias = bc_vector(c, n, 0, 0.3f);
    return norm;
}

void bc_forget_made(struct bc *c)
{
    for (int i = 0; i < BC_MOST_MADE; i++) {
        const struct weight *w = &c->made[i].whole;
        if (w->data) munmap((void *)(uintptr_t)w->data, (size_t)w->n_mats * w->mat_bytes);
        free(c->vectors[i].v);
    }
    memset(c->made, 0, sizeof c->made);
    memset(c->vectors, 0, sizeof c->vectors);
    c->weight_bytes = 0;
}

/* ---- batches ----------------------------------------------------------------------------- */

static void make_angles(struct bc *c, int which, int n_tokens, int n_rot)
{
    free(c->cs[which]);
    c->cs[which] = NULL;
    c->step.batch.cs[which] = NULL;
    if (n_rot == 0) return;
    float *cs = c->cs[which] = malloc((size_t)n_tokens * (size_t)n_rot * sizeof *cs);
    if (!cs) abort();
    for (int i = 0; i < n_tokens * (n_rot / 2); i++) {
        double angle = rng_uniform(&c->values) * 6.28;
        cs[2 * i] = (float)cos(angle);
        cs[2 * i + 1] = (float)sin(angle);
    }
    c->step.batch.cs[which] = cs;
}

/* Pages of all sequences, shuffled. */
static void make_pages(struct bc *c, int n)
{
    if (n > BC_MOST_PAGES) abort();
    for (int i = 0; i < n; i++) c->page_table[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int other = (int)rng_below(&c->values, (uint64_t)i + 1), page = c->page_table[i];
        c->page_table[i] = c->page_table[other];
        c->page_table[other] = page;
    }
}

/* Tokens [first, first + n) are sequence s, at random positions that stand together. */
static void place_tokens(struct bc *c, int s, int first, int n)
{
    bool alone = c->form == BC_CODES || (n == 1 && s > 0) || (c->form == BC_EXACT && n == 1);
    int start = (int)rng_below(&c->values, (uint64_t)(c->n_ctx - n + 1));
    for (int i = 0; i < n; i++) {
        int t = first + i;
        c->ids[t] = 0;
        c->pos[t] = start + i;
        c->seq[t] = s;
        c->generated[t] = alone;
    }
    c->n_kv[s] = start + n;
}

void bc_batch(struct bc *c, int n_tokens, int n_ctx, const int n_rot[2])
{
    struct step_batch *b = &c->step.batch;
    int max_pages = CEIL_DIV(n_ctx, KV_PAGE);
    c->n_ctx = n_ctx;
    c->n_seqs = c->form == BC_CODES ? n_tokens : bc_between(c, 1, MIN(3, n_tokens));
    for (int s = 0, first = 0; s < c->n_seqs; s++) { /* the first is the longest */
        int rest = c->n_seqs - 1 - s, n = c->form == BC_CODES ? 1 : MIN(n_ctx, n_tokens - first - rest);
        if (rest > 0 && n > 1 && c->form != BC_CODES) n = (n + 1) / 2;
        place_tokens(c, s, first, n);
        first += n;
        n_tokens = rest == 0 ? first : n_tokens;
    }
    make_pages(c, c->n_seqs * max_pages);
    *b = (struct step_batch){.n_tokens = n_tokens, .ids = c->ids, .pos = c->pos, .seq = c->seq,
                             .generated = c->generated, .page_table = c->page_table, .max_pages = max_pages,
                             .n_kv = c->n_kv, .outputs = c->outputs, .states = c->states};
    for (int i = 0; i < 2; i++) make_angles(c, i, n_tokens, n_rot ? n_rot[i] : 0);
    c->limits.n_layers = 1;
    c->limits.n_tokens = n_tokens;
    c->limits.n_seqs = c->n_seqs;
    c->limits.n_ctx = n_ctx;
}

/* n of the tokens, ascending. */
static void choose_tokens(struct bc *c, int32_t *to, int n)
{
    int n_tokens = c->step.batch.n_tokens;
    for (int t = 0, taken = 0; t < n_tokens && taken < n; t++)
        if (rng_below(&c->values, (uint64_t)(n_tokens - t)) < (uint64_t)(n - taken)) to[taken++] = t;
}

void bc_outputs(struct bc *c, int n_outputs, int n_states)
{
    c->step.batch.n_outputs = n_outputs;
    c->step.batch.n_states = n_states;
    choose_tokens(c, c->outputs, n_outputs);
    choose_tokens(c, c->states, n_states);
    c->limits.n_outputs = MAX(n_outputs, 1);
}

/* ---- caches ------------------------------------------------------------------------------ */

static size_t row_bytes(enum dtype type, int d)
{
    return dtype_row_bytes(dtype_info(type), (uint64_t)kv_padded(type, d));
}

static char *make_pool(struct bc *c, const char *name, enum dtype type, int n_pages, int n_heads, int d)
{
    size_t row = row_bytes(type, d);
    struct bc_buffer *b = take(c, name, (size_t)n_pages * (size_t)n_heads * KV_PAGE * row, BC_OUT);
    b->is_kv = true;
    b->type = type;
    b->row_bytes = row;
    b->d = kv_padded(type, d);
    return c->base + b->at;
}

/* Rows of all heads at a position, where the page is; what lies behind d is zeros. */
static void fill_rows(struct bc *c, char *page, enum dtype type, const struct kv_layer *kv, int d, int at)
{
    float row[1024] = {0};
    size_t bytes = row_bytes(type, d);
    for (int h = 0; h < kv->n_heads; h++) {
        for (int i = 0; i < d; i++) row[i] = (float)rng_normal(&c->values);
        kern_ops()->encode[type](page + ((size_t)h * KV_PAGE + (size_t)(at % KV_PAGE)) * bytes, row,
                                 (size_t)kv_padded(type, d));
    }
}

static void fill_cache(struct bc *c, const struct kv_layer *kv, int d_v)
{
    char *k = c->image + (kv->k - c->base), *v = c->image + (kv->v - c->base);
    for (int s = 0; s < c->n_seqs; s++)
        for (int at = 0; at < c->n_kv[s]; at++) {
            int nth = at / KV_PAGE;
            size_t page = kv->ring_pages ? (size_t)(s * kv->ring_pages + nth % kv->ring_pages)
                                         : (size_t)c->page_table[s * c->step.batch.max_pages + nth];
            fill_rows(c, k + page * kv->k_page_bytes, kv->type_k, kv, kv->d_k, at);
            if (d_v) fill_rows(c, v + page * kv->v_page_bytes, kv->type_v, kv, d_v, at);
        }
}

struct kv_layer bc_kv(struct bc *c, int n_heads, int d_k, int d_v, enum dtype type_k, enum dtype type_v, int n_window,
                      bool filled)
{
    int most = 0;
    struct kv_layer kv = {.type_k = type_k, .n_heads = n_heads, .d_k = d_k, .d_v = d_v};
    kv.type_v = d_v ? type_v : type_k;
    for (int i = 0, n = 0; i < c->step.batch.n_tokens; i++, most = MAX(most, n))
        n = i > 0 && c->seq[i] == c->seq[i - 1] ? n + 1 : 1;
    if (n_window) kv.ring_pages = CEIL_DIV(n_window + most, KV_PAGE) + 1;
    int n_pages = c->n_seqs * (kv.ring_pages ? kv.ring_pages : c->step.batch.max_pages);
    kv.k_row_bytes = row_bytes(kv.type_k, d_k);
    kv.v_row_bytes = d_v ? row_bytes(kv.type_v, d_v) : kv.k_row_bytes;
    kv.k_page_bytes = kv.k_row_bytes * KV_PAGE * (size_t)n_heads;
    kv.v_page_bytes = kv.v_row_bytes * KV_PAGE * (size_t)n_heads;
    kv.v = kv.k = make_pool(c, "keys", kv.type_k, n_pages, n_heads, d_k);
    if (d_v) kv.v = make_pool(c, "values", kv.type_v, n_pages, n_heads, d_v);
    if (filled && c->image) fill_cache(c, &kv, d_v);
    c->limits.n_kv_heads = n_heads;
    c->limits.d_k = kv_padded(kv.type_k, d_k);
    c->limits.d_v = kv_padded(kv.type_v, d_v);
    return kv;
}

struct op *bc_op(struct bc *c, enum op_kind kind)
{
    if (c->step.n_ops == BC_MOST_OPS) abort();
    struct op *op = &c->ops[c->step.n_ops++];
    memset(op, 0, sizeof *op);
    op->kind = kind;
    return op;
}
