/* cpu_mm.c - matrix products of the CPU backend: activations are brought into the form that the weight
 * type wants once, then ranges of rows are multiplied, in tiles whose sums stay in the second-level cache. */
#include "cpu_backend.h"

#include <limits.h>
#include <string.h>

#include "base.h"

enum { TILE_ROWS = 8 * STRIP, TILE_TOKENS = 192, MANY_TOKENS = 32 };

kern_mm_fn *cpu_tile_kernel(const struct cpu_backend *b, enum dtype dtype)
{
    kern_mm_fn *fn = b->kern->mm_tiles[dtype];
    return b->exact || dtype == DTYPE_F32 || fn == kern_scalar.mm_tiles[dtype] ? NULL : fn;
}

unsigned cpu_wants(const struct cpu_backend *b, const struct weight *w)
{
    if (w->n_mats == 0) return 0;
    bool q8 = dtype_info(w->dtype)->is_quantized && !b->exact, tiles = cpu_tile_kernel(b, w->dtype) != NULL;
    return (q8 ? FORM_Q8 : 0) | (q8 && !tiles ? FORM_Q8_TEXT : 0) | (tiles ? FORM_BF16 : 0);
}

int cpu_chunk(const struct cpu_member *m, int n_rows, int grain)
{
    int a = grain, b = STRIP;
    while (b > 0) { /* the greatest common divisor */
        int rest = a % b;
        a = b;
        b = rest;
    }
    grain = grain / a * STRIP;
    int share = n_rows / (team_size(m->team) * 8);
    if (m->batch->n_tokens >= MANY_TOKENS) share = MIN(share, TILE_ROWS); /* long items, so small ones suffice */
    return MAX(grain, ROUND_UP(share, grain));
}

bool cpu_next_rows(const struct cpu_member *m, int n_rows, int chunk, int *first, int *last)
{
    int64_t item;
    if (!team_next(m->team, m->id, CEIL_DIV(n_rows, chunk), &item)) return false;
    *first = (int)item * chunk;
    *last = MIN(*first + chunk, n_rows);
    return true;
}

void cpu_norm_row(const struct kern_ops *kern, const struct norm *norm, float *y, const float *x, size_t n)
{
    switch (norm->kind) {
    case NORM_NONE:
        if (y != x) memcpy(y, x, n * sizeof *y);
        break;
    case NORM_RMS:
        kern->rms_norm(y, x, norm->weight, n, norm->eps);
        if (norm->bias) kern->add(y, norm->bias, n);
        break;
    case NORM_LAYER: kern->layer_norm(y, x, norm->weight, norm->bias, n, norm->eps); break;
    }
}

/* One row in the forms that are wanted. */
static void bring(const struct cpu_member *m, const float *row, size_t n, int64_t i, unsigned forms)
{
    const struct cpu_scratch *s = &m->b->scratch;
    bool text = !s->generated[i];
    if (forms & (text ? FORM_Q8_TEXT : FORM_Q8))
        m->kern->quant_act((struct act_q8 *)((char *)s->q8 + (size_t)i * cpu_q8_bytes(n)), row, n);
    if (forms & FORM_BF16 && text) {
        char *to = s->bf16 + (size_t)i * cpu_bf16_bytes(n);
        m->kern->encode[DTYPE_BF16](to, row, n);
        memset(to + 2 * n, 0, 2 * (ROUND_UP(n, (size_t)STRIP_CHUNK) - n));
    }
}

static int token_of(const struct cpu_source *from, int64_t i)
{
    return from->token ? from->token[i] : from->index ? from->index[i] : (int)i / from->per_token;
}

struct cpu_rows cpu_prepare(const struct cpu_member *m, const struct cpu_source *from, const struct norm *norm,
                            unsigned forms)
{
    static const struct norm none = {.kind = NORM_NONE};
    const struct cpu_scratch *s = &m->b->scratch;
    size_t n = (size_t)from->n;
    bool copied = from->index || (norm && norm->kind != NORM_NONE);
    struct cpu_rows rows = {.f32 = copied ? s->norm : from->x,
                            .f32_stride = copied ? n : from->stride,
                            .q8 = s->q8,
                            .q8_stride = cpu_q8_bytes(n),
                            .bf16 = s->bf16,
                            .bf16_stride = cpu_bf16_bytes(n),
                            .generated = s->generated,
                            .generated_stride = 1,
                            .n_tokens = from->n_rows};
    int64_t first, last;
    team_range(m->team, m->id, from->n_rows, 1, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const float *row = from->x + (size_t)(from->index ? from->index[i] : i) * from->stride;
        if (copied) {
            float *normed = s->norm + (size_t)i * n;
            cpu_norm_row(m->kern, norm ? norm : &none, normed, row, n);
            row = normed;
        }
        s->generated[i] = m->batch->generated[token_of(from, i)];
        bring(m, row, n, i, forms);
    }
    team_barrier(m->team, m->id);
    return rows;
}

struct cpu_rows cpu_rows_of(const struct cpu_rows *all, int first, int n, int step)
{
    struct cpu_rows rows = *all;
    size_t at = (size_t)first, by = (size_t)step;
    rows.f32 += at * all->f32_stride;
    rows.q8 = (const struct act_q8 *)(const void *)((const char *)all->q8 + at * all->q8_stride);
    rows.bf16 += at * all->bf16_stride;
    rows.generated += at * all->generated_stride;
    rows.f32_stride *= by;
    rows.q8_stride *= by;
    rows.bf16_stride *= by;
    rows.generated_stride *= by;
    rows.n_tokens = n;
    return rows;
}

static void add_bias(float *y, size_t y_stride, const float *bias, int n_rows, int n_tokens,
                     const struct kern_ops *kern)
{
    for (int t = 0; t < n_tokens; t++) kern->add(y + (size_t)t * y_stride, bias, (size_t)n_rows);
}

/* How a run of rows is multiplied. */
struct way {
    kern_mm_fn *mm;
    const void *x;
    size_t x_stride;
    int most_tokens; /* of a call */
};

static struct way way_of(const struct cpu_member *m, const struct weight *w, const struct cpu_rows *x, bool generated)
{
    kern_mm_fn *tiles = generated ? NULL : cpu_tile_kernel(m->b, w->dtype);
    if (tiles) return (struct way){tiles, x->bf16, x->bf16_stride, INT_MAX}; /* walks over any number itself */
    if (dtype_info(w->dtype)->is_quantized)
        return (struct way){m->kern->mm[w->dtype], x->q8, x->q8_stride, TILE_TOKENS};
    return (struct way){m->kern->mm[w->dtype], x->f32, x->f32_stride * sizeof(float), TILE_TOKENS};
}

/* All tokens against strips, each run of a kind in its way. */
static void mm_strips(const struct cpu_member *m, const struct weight *w, const char *strips, const struct cpu_rows *x,
                      struct kern_mm_args a)
{
    float *y = a.y;
    a.w = strips;
    a.w_stride = strip_bytes(strip_form(w->dtype), w->n_cols);
    for (int t = 0; t < x->n_tokens; t += a.n_tokens) {
        bool generated = x->generated[(size_t)t * x->generated_stride];
        struct way way = way_of(m, w, x, generated);
        for (a.n_tokens = 1; t + a.n_tokens < x->n_tokens && a.n_tokens < way.most_tokens; a.n_tokens++)
            if (x->generated[(size_t)(t + a.n_tokens) * x->generated_stride] != generated) break;
        a.x = (const char *)way.x + (size_t)t * way.x_stride;
        a.x_stride = way.x_stride;
        a.y = y + (size_t)t * a.y_stride;
        way.mm(&a);
    }
}

/* The same, where there are no strips yet: some at a time are packed for the moment. */
static void mm_rows(const struct cpu_member *m, const struct weight *w, size_t offset, const struct cpu_rows *x,
                    struct kern_mm_args a)
{
    const struct cpu_scratch *s = &m->b->scratch;
    char *strip = s->strip + (size_t)m->id * s->strip_bytes;
    int n_rows = a.n_rows;
    for (int r = 0; r < n_rows; r += PASSING * STRIP, a.y += PASSING * STRIP) {
        a.n_rows = MIN(PASSING * STRIP, n_rows - r);
        store_pack_rows(strip, w, offset + (size_t)r * w->row_bytes, a.n_rows, m->kern);
        mm_strips(m, w, strip, x, a);
    }
}

/* Products with float32 activations of rows as they lie in the file. */
static void mm_exact(const struct cpu_member *m, const struct weight *w, size_t offset, const struct cpu_rows *x,
                     struct kern_mm_args a)
{
    a.w = (const char *)w->data + offset;
    a.w_stride = w->row_bytes;
    a.x = x->f32;
    a.x_stride = x->f32_stride * sizeof(float);
    a.n_tokens = x->n_tokens;
    kern_mm_exact(m->kern, w->dtype, &a);
}

void cpu_mm(const struct cpu_member *m, const struct linear *l, int mat, const struct cpu_rows *x,
            int first, int last, float *y, size_t y_stride)
{
    const struct weight *w = &l->w;
    bool exact = m->b->exact && dtype_info(w->dtype)->is_quantized;
    bool shown = m->b->watch && first == 0 && last > 0; /* by the one member that does the first row */
    if (shown) m->b->watch->rows(m->b->watch->user, w, mat, x->f32, x->f32_stride, x->n_tokens);
    for (int r = first; r < last && x->n_tokens > 0; r += TILE_ROWS) {
        size_t offset = (size_t)mat * w->mat_bytes + (size_t)r * w->row_bytes;
        struct kern_mm_args a = {
            .y = y + r, .y_stride = y_stride, .n_rows = MIN(TILE_ROWS, last - r), .n_cols = w->n_cols};
        const char *strips = exact ? NULL : store_strips(w, offset, a.n_rows, m->kern);
        if (exact)
            mm_exact(m, w, offset, x, a);
        else if (strips)
            mm_strips(m, w, strips, x, a);
        else
            mm_rows(m, w, offset, x, a);
    }
    if (l->bias && last > first)
        add_bias(y + first, y_stride, l->bias + (size_t)mat * (size_t)w->n_rows + first, last - first,
                 x->n_tokens, m->kern);
}

/* Rows that are packed for the moment, or decoded, are so once for all tokens. */
int cpu_pass_tokens(const struct cpu_member *m, const struct linear *l, int mat, int first, int last, int n_tokens)
{
    const struct weight *w = &l->w;
    size_t offset = (size_t)mat * w->mat_bytes + (size_t)first * w->row_bytes;
    if (n_tokens <= TILE_TOKENS || !dtype_info(w->dtype)->is_quantized || m->b->exact) return n_tokens;
    if (cpu_tile_kernel(m->b, w->dtype) || !store_strips(w, offset, last - first, m->kern)) return n_tokens;
    return TILE_TOKENS;
}
