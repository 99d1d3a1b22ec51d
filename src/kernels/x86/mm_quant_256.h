/* mm_quant_256.h - products of quantised strips in vectors of 256 bits, for every format and two instruction sets.
 *
 * A few tokens take their weights straight from the strip, in the order of memory: they wait for it, so the
 * arithmetic has only to keep up.  More tokens share a panel: a chunk of 256 columns, unpacked once to a byte per
 * code in the first cache.  Either way a tile of two halves times some tokens stays in registers: a quad of
 * codes in each lane meets four activations of a token, broadcast; group by group the integers become float32.
 *
 * The file that includes this says how quads are multiplied:
 *     struct factor           codes of eight rows as they are multiplied
 *     HAS_SIGNS               whether a factor of signed codes has a second part, .sign
 *     factor_of(v, f)         from codes
 *     offset_of(f)            what factors are above w / d
 *     add_quad(s, w, p, k, f) one quad more; s->sum is a group's integer at last, and before its first quad zero
 *                             or what it begins with (offset_of(f) != 0) */
#ifndef MM_QUANT_256_H
#define MM_QUANT_256_H

#include <string.h>

#include "base.h"
#include "formats_256.h"

enum {
    TILE = 3,        /* tokens of a panel's tile */
    AT_ONCE = 128,   /* tokens that use a panel before it is unpacked again */
};

struct panel {
    _Alignas(64) char u[STRIP_CHUNK * STRIP]; /* quads as in a strip */
#if HAS_SIGNS
    char sign[STRIP_CHUNK * STRIP];
#endif
};

/* A chunk of one strip against some tokens. */
struct chunk {
    float (*y)[STRIP]; /* sums of the chunks before, by token */
    const char *x;     /* the first token's block */
    size_t x_stride;
    const char *body;
    const struct panel *panel;
    const struct scales *s;
    size_t n_groups;
    int n_tokens, offset;
};

/* ---- one tile ----------------------------------------------------------------------------------- */

/* Of one token's block, by group: what the integers begin with, and sums of activations as numbers. */
struct folded {
    int32_t start[GROUPS];
    float sum[GROUPS];
};

INLINE void fold_long(struct folded *to, const struct act_q8 *x, int offset)
{
    __m256i sums = load_256(x->sum);
    __m256i total = _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
    _mm256_storeu_ps(to->sum, _mm256_mul_ps(_mm256_load_ps(x->d), float_of(total)));
    _mm256_storeu_si256((__m256i *)to->start, _mm256_madd_epi16(sums, _mm256_set1_epi16((short)-offset)));
}

INLINE void fold_short(struct folded *to, const struct act_q8 *x, int offset)
{
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        __m256i total = _mm256_cvtepi16_epi32(_mm_load_si128((const __m128i *)x->sum + i));
        __m256 d = _mm256_castps128_ps256(_mm_load_ps(x->d + 4 * i));
        d = _mm256_permutevar8x32_ps(d, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
        _mm256_storeu_ps(to->sum + 8 * i, _mm256_mul_ps(d, float_of(total)));
        total = _mm256_mullo_epi32(total, _mm256_set1_epi32(-offset));
        _mm256_storeu_si256((__m256i *)(to->start + 8 * i), total);
    }
}

INLINE void fold(struct folded *to, const struct act_q8 *x, int offset, struct format f)
{
    if (!offset_of(f) && !f.has_min) return;
    if (f.quads == 8)
        fold_long(to, x, offset);
    else
        fold_short(to, x, offset);
}

/* Quad k of group g, from the strip or from the panel. */
INLINE struct factor factor_at(const struct chunk *c, size_t g, size_t k, int h, bool fused, struct format f)
{
    if (fused) return factor_of(f.quad(c->body, g, k, h), f);
    struct factor w = {.u = word(c->panel->u, g * f.quads + k, h)};
#if HAS_SIGNS
    if (f.bits == 8) w.sign = word(c->panel->sign, g * f.quads + k, h);
#endif
    return w;
}

INLINE __m256i four_bytes(const int8_t *p)
{
    int v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

/* The integers of group g: dot[t][h]. */
INLINE void multiply(struct partial dot[][2], const struct chunk *c, const struct act_q8 *const *x,
                     const struct folded *folded, int nt, size_t g, bool fused, struct format f)
{
#pragma GCC unroll 3
    for (int t = 0; t < nt; t++)
        dot[t][0].sum = dot[t][1].sum =
            offset_of(f) ? _mm256_set1_epi32(folded[t].start[g]) : _mm256_setzero_si256();
#pragma GCC unroll 8
    for (size_t k = 0; k < f.quads; k++) {
        struct factor w0 = factor_at(c, g, k, 0, fused, f), w1 = factor_at(c, g, k, 1, fused, f);
#pragma GCC unroll 3
        for (int t = 0; t < nt; t++) {
            __m256i p = four_bytes(x[t]->q + 4 * (g * f.quads + k));
            add_quad(&dot[t][0], w0, p, k, f);
            add_quad(&dot[t][1], w1, p, k, f);
        }
    }
}

/* sum[t][h] += group g. */
INLINE void add_group(__m256 sum[][2], const struct chunk *c, const struct act_q8 *const *x,
                      const struct folded *folded, int nt, size_t g, bool fused, struct format f)
{
    struct partial dot[TILE][2];
    multiply(dot, c, x, folded, nt, g, fused, f);
#pragma GCC unroll 3
    for (int t = 0; t < nt; t++) {
        __m256 e = _mm256_broadcast_ss(x[t]->d + g * f.quads / 8);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            __m256 d = _mm256_mul_ps(_mm256_load_ps(c->s->d[g] + HALF * h), e);
            sum[t][h] = _mm256_fmadd_ps(float_of(dot[t][h].sum), d, sum[t][h]);
            if (f.has_min)
                sum[t][h] = _mm256_fmadd_ps(_mm256_load_ps(c->s->m[g] + HALF * h),
                                            _mm256_broadcast_ss(folded[t].sum + g), sum[t][h]);
        }
    }
}

/* Tokens `first` to first + nt. */
INLINE void tile(const struct chunk *c, int first, int nt, bool fused, struct format f)
{
    const struct act_q8 *x[TILE];
    struct folded folded[TILE];
    __m256 sum[TILE][2];
#pragma GCC unroll 3
    for (int t = 0; t < nt; t++) {
        x[t] = (const void *)(c->x + (size_t)(first + t) * c->x_stride);
        fold(&folded[t], x[t], c->offset, f);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) sum[t][h] = _mm256_load_ps(c->y[first + t] + HALF * h);
    }
    for (size_t from = 0; from < c->n_groups; from += f.period) {
#pragma GCC unroll 16
        for (size_t g = 0; g < f.period; g++) add_group(sum, c, x, folded, nt, from + g, fused, f);
    }
#pragma GCC unroll 3
    for (int t = 0; t < nt; t++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) put(c->y[first + t], h, sum[t][h]);
}

/* ---- panels --------------------------------------------------------------------------------------- */

#define PANEL(name, n_quads, has_offset, n_bits, has_mins)                                             \
    static void panel_##name(const struct chunk *c)                                                    \
    {                                                                                                  \
        const struct format f = {                                                                      \
            .quads = n_quads, .offset = has_offset, .bits = n_bits, .has_min = has_mins, .period = 1}; \
        int t = 0, n = c->n_tokens;                                                                    \
        for (; t + TILE <= n && t + 4 != n; t += TILE) tile(c, t, TILE, false, f);                     \
        for (; t + 2 <= n; t += 2) tile(c, t, 2, false, f);                                            \
        if (t < n) tile(c, t, 1, false, f);                                                            \
    }
PANELS_256(PANEL)
#undef PANEL

INLINE void fill(struct panel *panel, const char *body, size_t n_groups, struct format f)
{
    for (size_t from = 0; from < n_groups; from += f.period)
#pragma GCC unroll 16
        for (size_t u = 0; u < f.period; u++) {
            size_t g = from + u;
#pragma GCC unroll 8
            for (size_t k = 0; k < f.quads; k++)
#pragma GCC unroll 2
                for (int h = 0; h < 2; h++) {
                    struct factor w = factor_of(f.quad(body, g, k, h), f);
                    size_t at = (g * f.quads + k) * 64 + 32 * (size_t)h;
                    _mm256_store_si256((__m256i *)(void *)(panel->u + at), w.u);
#if HAS_SIGNS
                    if (f.bits == 8) _mm256_store_si256((__m256i *)(void *)(panel->sign + at), w.sign);
#endif
                }
        }
}

/* ---- products ------------------------------------------------------------------------------------- */

/* Memory gives up to four times as much when its lines are first asked for in their order. */
INLINE void touch(const char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) (void)*(const volatile char *)(p + i);
}

/* How many tokens read the strip itself: more would unpack it oftener than a panel costs, which for signed codes
 * is twice as large. */
INLINE int most_fused(struct format f)
{
    return HAS_SIGNS && f.bits == 8 ? 4 : 2;
}

typedef void panel_fn(const struct chunk *c);

/* n_tokens of them, up to AT_ONCE, into y. */
INLINE void mm_strip(float (*y)[STRIP], const char *strip, const struct strip_form *form, const char *x,
                     size_t x_stride, int n_tokens, int n_cols, panel_fn *run, struct format f)
{
    struct panel panel;
    _Alignas(64) struct scales s;
    struct chunk c = {y, x, x_stride, NULL, &panel, &s, 0, n_tokens, offset_of(f)};
    for (int at = 0; at < n_cols; at += STRIP_CHUNK, c.x += sizeof(struct act_q8)) {
        int n = MIN(STRIP_CHUNK, n_cols - at), n_blocks = strip_blocks(form, n);
        const char *heads = strip + strip_chunk_at(form, at / STRIP_CHUNK);
        c.body = heads + n_blocks * STRIP * form->head_bytes;
        c.n_groups = (size_t)n / (4 * f.quads);
        if (f.jumps) touch(heads, (size_t)(n_blocks * STRIP * form->bytes));
        f.scales(&s, heads, c.body, (int)c.n_groups);
        if (n_tokens > most_fused(f)) {
            fill(&panel, c.body, c.n_groups, f);
            run(&c);
        } else {
            int t = 0;
            for (; t + 2 <= n_tokens; t += 2) tile(&c, t, 2, true, f);
            if (t < n_tokens) tile(&c, t, 1, true, f);
        }
    }
}

INLINE void mm_format(const struct kern_mm_args *a, const struct strip_form *form, panel_fn *run, struct format f)
{
    _Alignas(64) float y[AT_ONCE][STRIP];
    for (int r = 0; r < a->n_rows; r += STRIP) {
        const char *strip = (const char *)a->w + (size_t)(r / STRIP) * a->w_stride;
        size_t row_bytes = (size_t)MIN(STRIP, a->n_rows - r) * sizeof **y;
        for (int t = 0; t < a->n_tokens; t += AT_ONCE) {
            int n = MIN(AT_ONCE, a->n_tokens - t);
            const char *x = (const char *)a->x + (size_t)t * a->x_stride;
            memset(y, 0, (size_t)n * sizeof *y);
            mm_strip(y, strip, form, x, a->x_stride, n, a->n_cols, run, f);
            for (int i = 0; i < n; i++) memcpy(a->y + (size_t)(t + i) * a->y_stride + r, y[i], row_bytes);
        }
    }
}

/* mm_NAME_SUFFIX of every format. */
#define MM_NAME_(name, suffix) mm_##name##_##suffix
#define MM_NAME(name, suffix) MM_NAME_(name, suffix)
#define PRODUCT(name, dtype, class, quads, offset, bits, has_min, jumps, period, quad, scales) \
    void MM_NAME(name, SUFFIX)(const struct kern_mm_args *a)                                   \
    {                                                                                          \
        const struct format f = {quads, offset, bits, has_min, jumps, period, quad, scales};   \
        mm_format(a, strip_form(dtype), panel_##class, f);                                     \
    }
FORMATS_256(PRODUCT)
#undef PRODUCT

#endif
