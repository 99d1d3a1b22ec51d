/* attn_panel.h - attention for few queries and for many; the same for every instruction set.
 *
 * Few queries read the cache as it lies.  For many, some rows are made float32 once and shared by all: the same
 * numbers, so the same bits.  Included by attn_avx2.c and attn_avx512.c behind what it is made of: struct reader,
 * use_panel(), fill_panel(), and the loops kv_dot(), kv_sum(), dot_panel(), sum_panel(). */
#ifndef ATTN_PANEL_H
#define ATTN_PANEL_H

INLINE void dot_any(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q, const struct kern_kv *k,
                    struct reader r)
{
    _Alignas(64) float panel[PANEL_ROWS * PANEL_WIDTH];
    if (!use_panel(n_q, k->d, r)) {
        kv_dot(s, s_stride, q, q_stride, n_q, k, r);
        return;
    }
    struct kern_kv part = {.rows = panel, .stride = (size_t)k->d * sizeof *panel, .d = k->d};
    struct ahead ahead = {k->next};
    const char *row = k->rows;
    for (int j = 0; j < k->n; j += PANEL_ROWS, row += PANEL_ROWS * k->stride) {
        part.n = MIN(PANEL_ROWS, k->n - j);
        fill_panel(panel, row, k->stride, part.n, k->d, r);
        for (int i = 0; i < n_q; i += PANEL_STEP) {
            ask(&ahead, (size_t)part.n * k->stride * PANEL_STEP / (size_t)n_q);
            dot_panel(s + (size_t)i * s_stride + j, s_stride, q + (size_t)i * q_stride, q_stride,
                      MIN(PANEL_STEP, n_q - i), &part);
        }
    }
}

INLINE void sum_any(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q, const struct kern_kv *v,
                    struct reader r)
{
    _Alignas(64) float panel[PANEL_ROWS * PANEL_WIDTH];
    if (!use_panel(n_q, v->d, r)) {
        kv_sum(o, o_stride, p, p_stride, n_q, v, r);
        return;
    }
    struct kern_kv part = {.rows = panel, .stride = (size_t)v->d * sizeof *panel, .d = v->d};
    struct ahead ahead = {v->next};
    const char *row = v->rows;
    for (int j = 0; j < v->n; j += PANEL_ROWS, row += PANEL_ROWS * v->stride) {
        part.n = MIN(PANEL_ROWS, v->n - j);
        fill_panel(panel, row, v->stride, part.n, v->d, r);
        for (int i = 0; i < n_q; i += PANEL_STEP) {
            ask(&ahead, (size_t)part.n * v->stride * PANEL_STEP / (size_t)n_q);
            sum_panel(o + (size_t)i * o_stride, o_stride, p + (size_t)i * p_stride + j, p_stride,
                      MIN(PANEL_STEP, n_q - i), &part);
        }
    }
}

#endif
