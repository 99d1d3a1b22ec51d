/* cpu_mm.c - matrix products of the CPU backend: activations are brought into the form that the weight
 * type wants once, then ranges of rows are multiplied, in tiles that stay in the second-level cache. */
#include "cpu_backend.h"

#include <string.h>

#include "base.h"

enum {
    TILE_W_BYTES = 192 << 10, /* of weights, read again for every tile of tokens */
    TILE_X_BYTES = 256 << 10, /* of activations */
};

bool cpu_wants_q8(const struct cpu_backend *b, const struct weight *w)
{
    return !b->exact && w->n_mats > 0 && dtype_info(w->dtype)->is_quantized;
}

int cpu_chunk(const struct cpu_member *m, int n_rows, int grain)
{
    int share = n_rows / (team_size(m->team) * 6);
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

/* One tile: all of its rows against all of its tokens. */
static void mm_tile(const struct cpu_member *m, const struct weight *w, struct kern_mm_args *a)
{
    if (m->b->exact && dtype_info(w->dtype)->is_quantized)
        kern_mm_exact(m->kern, w->dtype, a);
    else
        m->kern->mm[w->dtype](a);
}

void cpu_mm(const struct cpu_member *m, const struct linear *l, int mat, const struct cpu_rows *x,
            int first, int last, float *y, size_t y_stride)
{
    const struct weight *w = &l->w;
    bool q8 = cpu_wants_q8(m->b, w);
    size_t x_stride = q8 ? x->q8_stride : x->f32_stride * sizeof(float);
    const char *x_data = q8 ? (const char *)x->q8 : (const char *)x->f32;
    const char *w_data = (const char *)w->data + (size_t)mat * w->mat_bytes;
    bool shown = m->b->watch && first == 0 && last > 0; /* by the one member that does the first row */
    if (shown) m->b->watch->rows(m->b->watch->user, w, mat, x->f32, x->f32_stride, x->n_tokens);
    int tile_rows = MAX(16, (int)(TILE_W_BYTES / w->row_bytes) / 16 * 16);
    int tile_tokens = MAX(8, (int)(TILE_X_BYTES / x_stride) / 8 * 8);

    for (int r = first; r < last; r += tile_rows) {
        int n_rows = MIN(tile_rows, last - r);
        for (int t = 0; t < x->n_tokens; t += tile_tokens) {
            struct kern_mm_args a = {.y = y + (size_t)t * y_stride + r,
                                     .y_stride = y_stride,
                                     .w = w_data + (size_t)r * w->row_bytes,
                                     .w_stride = w->row_bytes,
                                     .x = x_data + (size_t)t * x_stride,
                                     .x_stride = x_stride,
                                     .n_rows = n_rows,
                                     .n_cols = w->n_cols,
                                     .n_tokens = MIN(tile_tokens, x->n_tokens - t)};
            mm_tile(m, w, &a);
        }
    }
    if (l->bias && last > first)
        add_bias(y + first, y_stride, l->bias + (size_t)mat * (size_t)w->n_rows + first, last - first,
                 x->n_tokens, m->kern);
}
