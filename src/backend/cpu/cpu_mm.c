/* cpu_mm.c - matrix products of the CPU backend: activations are brought into the form that the weight
 * type wants once, then ranges of rows are multiplied, in tiles whose sums stay in the second-level cache. */
#include "cpu_backend.h"

#include <string.h>

#include "base.h"

enum { TILE_ROWS = 8 * STRIP, TILE_TOKENS = 512, MANY_TOKENS = 32 };

bool cpu_wants_q8(const struct cpu_backend *b, const struct weight *w)
{
    return !b->exact && w->n_mats > 0 && dtype_info(w->dtype)->is_quantized;
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
    int share = n_rows / (team_size(m->team) * 2);
    if (m->batch->n_tokens >= MANY_TOKENS) share = MIN(share, TILE_ROWS / 2); /* long items, so small ones suffice */
    return MAX(grain, ROUND_UP(share, grain));
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

struct cpu_rows cpu_prepare(const struct cpu_member *m, const struct cpu_source *from, const struct norm *norm,
                            bool q8)
{
    const struct cpu_scratch *s = &m->b->scratch;
    size_t n = (size_t)from->n;
    bool copied = from->index || (norm && norm->kind != NORM_NONE);
    struct cpu_rows rows = {.f32 = copied ? s->norm : from->x,
                            .f32_stride = copied ? n : from->stride,
                            .q8 = q8 ? s->q8 : NULL,
                            .q8_stride = m->b->act_bytes,
                            .n_tokens = from->n_rows};
    int64_t first, last;
    team_range(m->team, m->id, from->n_rows, 1, &first, &last);
    for (int64_t i = first; i < last; i++) {
        const float *row = from->x + (size_t)(from->index ? from->index[i] : i) * from->stride;
        if (copied) {
            static const struct norm none = {.kind = NORM_NONE};
            float *normed = s->norm + (size_t)i * n;
            cpu_norm_row(m->kern, norm ? norm : &none, normed, row, n);
            row = normed;
        }
        if (q8) m->kern->quant_act((struct act_q8 *)((char *)s->q8 + (size_t)i * rows.q8_stride), row, n);
    }
    team_barrier(m->team, m->id);
    return rows;
}

static void add_bias(float *y, size_t y_stride, const float *bias, int n_rows, int n_tokens,
                     const struct kern_ops *kern)
{
    for (int t = 0; t < n_tokens; t++) kern->add(y + (size_t)t * y_stride, bias, (size_t)n_rows);
}

/* Products with float32 activations of rows as they lie in the file. */
static void mm_exact(const struct cpu_member *m, const struct weight *w, size_t offset, struct kern_mm_args a)
{
    a.w = (const char *)w->data + offset;
    a.w_stride = w->row_bytes;
    kern_mm_exact(m->kern, w->dtype, &a);
}

/* All tokens against strips, some tokens at a time. */
static void mm_strips(const struct cpu_member *m, const struct weight *w, const char *strips, struct kern_mm_args a)
{
    int n_tokens = a.n_tokens;
    a.w = strips;
    a.w_stride = strip_bytes(strip_form(w->dtype), w->n_cols);
    for (int t = 0; t < n_tokens; t += TILE_TOKENS) {
        a.n_tokens = MIN(TILE_TOKENS, n_tokens - t);
        m->kern->mm[w->dtype](&a);
        a.x = (const char *)a.x + TILE_TOKENS * a.x_stride;
        a.y += TILE_TOKENS * a.y_stride;
    }
}

/* The same, where there are no strips yet: some at a time are packed for the moment. */
static void mm_rows(const struct cpu_member *m, const struct weight *w, size_t offset, struct kern_mm_args a)
{
    const struct cpu_scratch *s = &m->b->scratch;
    char *strip = s->strip + (size_t)m->id * s->strip_bytes;
    int n_rows = a.n_rows;
    for (int r = 0; r < n_rows; r += PASSING * STRIP, a.y += PASSING * STRIP) {
        a.n_rows = MIN(PASSING * STRIP, n_rows - r);
        store_pack_rows(strip, w, offset + (size_t)r * w->row_bytes, a.n_rows, m->kern);
        mm_strips(m, w, strip, a);
    }
}

void cpu_mm(const struct cpu_member *m, const struct linear *l, int mat, const struct cpu_rows *x,
            int first, int last, float *y, size_t y_stride)
{
    const struct weight *w = &l->w;
    bool q8 = cpu_wants_q8(m->b, w), exact = m->b->exact && dtype_info(w->dtype)->is_quantized;
    bool shown = m->b->watch && first == 0 && last > 0; /* by the one member that does the first row */
    if (shown) m->b->watch->rows(m->b->watch->user, w, mat, x->f32, x->f32_stride, x->n_tokens);
    for (int r = first; r < last && x->n_tokens > 0; r += TILE_ROWS) {
        size_t offset = (size_t)mat * w->mat_bytes + (size_t)r * w->row_bytes;
        struct kern_mm_args a = {.y = y + r,
                                 .y_stride = y_stride,
                                 .x = q8 ? (const void *)x->q8 : x->f32,
                                 .x_stride = q8 ? x->q8_stride : x->f32_stride * sizeof(float),
                                 .n_rows = MIN(TILE_ROWS, last - r),
                                 .n_cols = w->n_cols,
                                 .n_tokens = x->n_tokens};
        const char *strips = exact ? NULL : store_strips(w, offset, a.n_rows, m->kern);
        if (exact)
            mm_exact(m, w, offset, a);
        else if (strips)
            mm_strips(m, w, strips, a);
        else
            mm_rows(m, w, offset, a);
    }
    if (l->bias && last > first)
        add_bias(y + first, y_stride, l->bias + (size_t)mat * (size_t)w->n_rows + first, last - first,
                 x->n_tokens, m->kern);
}
