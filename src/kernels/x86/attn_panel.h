/* attn_panel.h - attention for few queries and for many; the same for every instruction set.
 *
 * Few queries read the cache as it lies.  For many, some rows are made float32 once and shared by all: the same
 * numbers, so the same bits.  Included by attn_avx2.c and attn_avx512.c behind what it is made of: struct reader,
 * use_panel(), fill_panel(), and the loops kv_dot(), kv_sum(), dot_panel(), sum_panel(). */
#ifndef ATTN_PANEL_H
#define ATTN_PANEL_H

INLINE void dot_any(float *s, const float *q, size_t q_stride, int n_q, const char *k, size_t kv_stride,
                    int n_kv, int d, struct reader r)
{
    _Alignas(64) float panel[PANEL_ROWS * PANEL_WIDTH];
    if (!use_panel(n_q, d, r)) {
        kv_dot(s, (size_t)n_kv, q, q_stride, n_q, k, kv_stride, n_kv, d, r);
        return;
    }
    for (int j = 0; j < n_kv; j += PANEL_ROWS) {
        int n = MIN(PANEL_ROWS, n_kv - j);
        fill_panel(panel, k + (size_t)j * kv_stride, kv_stride, n, d, r);
        dot_panel(s + j, (size_t)n_kv, q, q_stride, n_q, panel, n, d);
    }
}

INLINE void sum_any(float *o, size_t o_stride, const float *p, int n_q, const char *v, size_t kv_stride,
                    int n_kv, int d, struct reader r)
{
    _Alignas(64) float panel[PANEL_ROWS * PANEL_WIDTH];
    if (!use_panel(n_q, d, r)) {
        kv_sum(o, o_stride, p, (size_t)n_kv, n_q, v, kv_stride, n_kv, d, r);
        return;
    }
    for (int j = 0; j < n_kv; j += PANEL_ROWS) {
        int n = MIN(PANEL_ROWS, n_kv - j);
        fill_panel(panel, v + (size_t)j * kv_stride, kv_stride, n, d, r);
        sum_panel(o, o_stride, p + j, (size_t)n_kv, n_q, panel, n, d);
    }
}

#endif
