/* mm_quant_avx512.c - products of quantised strips with 8-bit activations, by vpdpbusd.
 *
 * Few tokens: codes go from the strip through registers straight into the product; the strip is read once, in
 * order, as fast as memory gives it.
 * Many tokens: a chunk of two strips becomes a panel of bytes and scales in the first-level cache, which all
 * tokens of a block read; what the bits meant is forgotten there, so four loops serve all formats.
 *
 * Codes are unsigned, u = w + offset, and the offset's share is where the integer sum begins: exact.  Sums run
 * in the order of kern.h in both. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "base.h"
#include "parts_avx512.h"
#include "strip_avx512.h"

enum {
    FEW = 4,    /* tokens of a fused product */
    MANY = 9,   /* from so many on a panel pays */
    TILE = 6,   /* tokens of a register tile */
    BLOCK = 192, /* tokens that share panels: their chunk and their sums stay in the second-level cache */
    PAIRS = 4,  /* of strips that they meet before they go on to the next chunk */
};

INLINE const struct act_q8 *act_at(const struct kern_mm_args *a, int token, int chunk)
{
    return (const struct act_q8 *)(const void *)((const char *)a->x + (size_t)token * a->x_stride) + chunk;
}

/* Four activations, for every row. */
INLINE __m512i quad_at(const struct act_q8 *x, int quad)
{
    int32_t four;
    memcpy(&four, x->q + 4 * quad, sizeof four);
    return _mm512_set1_epi32(four);
}

/* -offset times the sum of a group's activations. */
INLINE __m512i offset_share(const struct act_q8 *x, int group, struct format512 f)
{
    int32_t pair; /* two sums of 16 */
    if (f.offset == 0) return _mm512_setzero_si512();
    memcpy(&pair, &x->sum[f.group == 32 ? 2 * group : group & ~1], sizeof pair);
    uint32_t off = (uint32_t)-f.offset & 0xffff, which = f.group == 32 ? off | off << 16 : group & 1 ? off << 16 : off;
    return _mm512_dpwssd_epi32(_mm512_setzero_si512(), _mm512_set1_epi32(pair), _mm512_set1_epi32((int)which));
}

/* e (sum of p) of each group, for the types that have minima. */
INLINE void min_shares(float low[16], const struct act_q8 *x, struct format512 f)
{
    __m256i halves = _mm256_load_si256((const __m256i *)(const void *)x->sum);
    __m256 e = _mm256_load_ps(x->d);
    if (f.group == 32) {
        __m256i sums = _mm256_madd_epi16(halves, _mm256_set1_epi16(1));
        _mm256_storeu_ps(low, _mm256_mul_ps(e, _mm256_cvtepi32_ps(sums)));
    } else {
        const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
        __m512 spread = _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(e));
        _mm512_storeu_ps(low, _mm512_mul_ps(spread, _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(halves))));
    }
}

/* The same, of all groups. */
INLINE void offset_shares(int32_t start[16], const struct act_q8 *x, struct format512 f)
{
    __m256i halves = _mm256_load_si256((const __m256i *)(const void *)x->sum);
    if (f.group == 32) {
        __m256i all = _mm256_madd_epi16(halves, _mm256_set1_epi16((short)-f.offset));
        _mm256_storeu_si256((__m256i *)(void *)start, all);
    } else {
        __m512i words = _mm512_cvtepu16_epi32(halves);
        _mm512_storeu_si512(start, _mm512_madd_epi16(words, _mm512_set1_epi32(-f.offset & 0xffff)));
    }
}

INLINE __mmask16 rows_mask(int n_rows)
{
    return n_rows <= 0 ? 0 : n_rows >= STRIP ? 0xffff : (__mmask16)((1u << n_rows) - 1);
}

INLINE struct block512 block_at(const char *chunk, int n_blocks, int nth, struct format512 f)
{
    struct block512 b = {.head = chunk + nth * STRIP * f.head_bytes,
                         .body = chunk + n_blocks * STRIP * f.head_bytes + nth * 64 * f.body_words};
    f.open(&b);
    return b;
}

/* ---- few tokens ---------------------------------------------------------------------------------- */

/* One set of a block into the sums of nt tokens; `first`: the set's first quad of the chunk. */
INLINE void add_set(__m512 sum[FEW], const struct block512 *b, const struct act_q8 *const x[FEW],
                    const float low[FEW][16], int block, int set, int nt, struct format512 f)
{
    enum { MOST = 8 }; /* groups of a set */
    int quads = f.n_codes * f.n_steps, per_group = f.group / 4, n_groups = quads / per_group;
    int first = block * f.n_cols / 4 + set * quads;
    __m512i dot[MOST][FEW], u[4];
#pragma GCC unroll 8
    for (int g = 0; g < n_groups; g++)
#pragma GCC unroll 4
        for (int t = 0; t < nt; t++) dot[g][t] = offset_share(x[t], first / per_group + g, f);
#pragma GCC unroll 8
    for (int d = 0; d < f.n_steps; d++) {
        f.codes(u, b, set, d);
#pragma GCC unroll 4
        for (int c = 0; c < f.n_codes; c++) {
            int quad = c * f.n_steps + d;
#pragma GCC unroll 4
            for (int t = 0; t < nt; t++)
                dot[quad / per_group][t] =
                    _mm512_dpbusd_epi32(dot[quad / per_group][t], u[c], quad_at(x[t], first + quad));
        }
    }
#pragma GCC unroll 8
    for (int g = 0; g < n_groups; g++) {
        int of_block = set * n_groups + g, of_chunk = first / per_group + g;
        __m512 scale = f.scale(b, of_block);
#pragma GCC unroll 4
        for (int t = 0; t < nt; t++) {
            __m512 e = _mm512_set1_ps(x[t]->d[of_chunk * f.group / 32]);
            sum[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[g][t]), _mm512_mul_ps(scale, e), sum[t]);
        }
        if (!f.has_min) continue;
        __m512 min = f.min(b, of_block);
#pragma GCC unroll 4
        for (int t = 0; t < nt; t++) sum[t] = _mm512_fmadd_ps(min, _mm512_set1_ps(low[t][of_chunk]), sum[t]);
    }
}

/* One strip against nt tokens. */
INLINE void strip_few(const struct kern_mm_args *a, const char *strip, int row, int token, int nt, struct format512 f)
{
    __m512 sum[FEW];
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) sum[t] = _mm512_setzero_ps();
    for (int c = 0; c * STRIP_CHUNK < a->n_cols; c++) {
        int n_blocks = f.n_cols == STRIP_CHUNK ? 1 : MIN(STRIP_CHUNK, a->n_cols - c * STRIP_CHUNK) / f.n_cols;
        int chunk_bytes = n_blocks * STRIP * (f.head_bytes + 4 * f.body_words);
        const struct act_q8 *x[FEW];
        float low[FEW][16];
#pragma GCC unroll 4
        for (int t = 0; t < nt; t++) {
            x[t] = act_at(a, token + t, c);
            if (f.has_min) min_shares(low[t], x[t], f);
        }
        for (int n = 0; n < n_blocks; n++) {
            struct block512 b = block_at(strip, n_blocks, n, f);
#pragma GCC unroll 8
            for (int set = 0; set < f.n_sets; set++) add_set(sum, &b, x, low, n, set, nt, f);
        }
        strip += chunk_bytes;
    }
    __mmask16 rows = rows_mask(a->n_rows - row);
#pragma GCC unroll 4
    for (int t = 0; t < nt; t++) _mm512_mask_storeu_ps(a->y + (size_t)(token + t) * a->y_stride + row, rows, sum[t]);
}

/* Groups of 16 keep twice the sums: there two tokens fill the registers. */
INLINE void mm_few(const struct kern_mm_args *a, struct format512 f)
{
    for (int row = 0; row < a->n_rows; row += STRIP) {
        const char *strip = (const char *)a->w + (size_t)(row / STRIP) * a->w_stride;
        int t = 0;
        for (; f.group == 32 && t + 4 <= a->n_tokens; t += 4) strip_few(a, strip, row, t, 4, f);
        for (; t + 2 <= a->n_tokens; t += 2) strip_few(a, strip, row, t, 2, f);
        if (t < a->n_tokens) strip_few(a, strip, row, t, 1, f);
    }
}

/* ---- many tokens --------------------------------------------------------------------------------- */

struct panel { /* a chunk of one strip */
    _Alignas(64) uint8_t code[STRIP_CHUNK / 4][STRIP][4];
    float scale[STRIP_CHUNK / 16][STRIP], min[STRIP_CHUNK / 16][STRIP];
};

INLINE void fill_panel(struct panel *p, const char *chunk, int n_blocks, struct format512 f)
{
    for (int n = 0; n < n_blocks; n++) {
        struct block512 b = block_at(chunk, n_blocks, n, f);
        int quad = n * f.n_cols / 4, group = n * f.n_cols / f.group;
#pragma GCC unroll 16
        for (int g = 0; g < f.n_cols / f.group; g++) {
            _mm512_store_ps(p->scale[group + g], f.scale(&b, g));
            if (f.has_min) _mm512_store_ps(p->min[group + g], f.min(&b, g));
        }
#pragma GCC unroll 8
        for (int set = 0; set < f.n_sets; set++, quad += f.n_codes * f.n_steps)
            for (int d = 0; d < f.n_steps; d++) {
                __m512i u[4];
                f.codes(u, &b, set, d);
#pragma GCC unroll 4
                for (int c = 0; c < f.n_codes; c++) _mm512_store_si512(p->code[quad + c * f.n_steps + d], u[c]);
            }
    }
}

struct tile { /* what a register tile is made of */
    const struct panel *panel; /* [np] */
    const char *x;             /* act_q8 of the first token */
    size_t x_stride;
    float (*sum)[2 * STRIP];   /* of the first token: what the chunks before this one gave */
    float *y;                  /* of the first token, where this is the last chunk; else NULL: back to sum */
    size_t y_stride;
    __mmask16 rows[2];         /* [np] of y */
    int n_groups;
    bool first;                /* nothing is in sum yet */
};

/* What the tile of the tokens behind nt reads first: too far apart for the processor to see it coming. */
INLINE void fetch_next(const struct tile *k, int nt)
{
#pragma GCC unroll 6
    for (int t = nt; t < 2 * nt; t++) {
        const char *x = k->x + (size_t)t * k->x_stride;
#pragma GCC unroll 5
        for (int line = 0; line < 5; line++) _mm_prefetch(x + 64 * line, _MM_HINT_T0);
    }
}

INLINE void store_tile(const struct tile *k, __m512 sum[2][TILE], int np, int nt)
{
    if (!k->y) {
#pragma GCC unroll 6
        for (int t = 0; t < nt; t++)
#pragma GCC unroll 2
            for (int i = 0; i < np; i++) _mm512_store_ps(k->sum[t] + STRIP * i, sum[i][t]);
        return;
    }
#pragma GCC unroll 6
    for (int t = 0; t < nt; t++)
#pragma GCC unroll 2
        for (int i = 0; i < np; i++)
            _mm512_mask_storeu_ps(k->y + (size_t)t * k->y_stride + STRIP * i, k->rows[i], sum[i][t]);
}

/* np strips times nt tokens over one chunk.  Constants choose the class of formats. */
INLINE void run_tile(const struct tile *k, int np, int nt, struct format512 f)
{
    int quads = f.group / 4;
    __m512 sum[2][TILE];
    float low[TILE][16];
    int32_t start[TILE][16];
    fetch_next(k, nt);
#pragma GCC unroll 6
    for (int t = 0; t < nt; t++) {
        if (f.has_min) min_shares(low[t], (const void *)(k->x + (size_t)t * k->x_stride), f);
        if (f.offset) offset_shares(start[t], (const void *)(k->x + (size_t)t * k->x_stride), f);
#pragma GCC unroll 2
        for (int i = 0; i < np; i++)
            sum[i][t] = k->first ? _mm512_setzero_ps() : _mm512_load_ps(k->sum[t] + STRIP * i);
    }
    for (int g = 0; g < k->n_groups; g++) {
        __m512i dot[2][TILE];
#pragma GCC unroll 6
        for (int t = 0; t < nt; t++) {
            dot[0][t] = f.offset ? _mm512_set1_epi32(start[t][g]) : _mm512_setzero_si512();
            dot[1][t] = dot[0][t];
        }
#pragma GCC unroll 8
        for (int q = 0; q < quads; q++) {
            __m512i u[2];
#pragma GCC unroll 2
            for (int i = 0; i < np; i++) u[i] = _mm512_load_si512(k->panel[i].code[g * quads + q]);
#pragma GCC unroll 6
            for (int t = 0; t < nt; t++) {
                __m512i p = quad_at((const void *)(k->x + (size_t)t * k->x_stride), g * quads + q);
#pragma GCC unroll 2
                for (int i = 0; i < np; i++) dot[i][t] = _mm512_dpbusd_epi32(dot[i][t], u[i], p);
            }
        }
#pragma GCC unroll 2
        for (int i = 0; i < np; i++) {
            __m512 scale = _mm512_load_ps(k->panel[i].scale[g]);
#pragma GCC unroll 6
            for (int t = 0; t < nt; t++) {
                const struct act_q8 *x = (const void *)(k->x + (size_t)t * k->x_stride);
                __m512 e = _mm512_set1_ps(x->d[g * f.group / 32]);
                sum[i][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][t]), _mm512_mul_ps(scale, e), sum[i][t]);
            }
            if (!f.has_min) continue;
            __m512 min = _mm512_load_ps(k->panel[i].min[g]);
#pragma GCC unroll 6
            for (int t = 0; t < nt; t++) sum[i][t] = _mm512_fmadd_ps(min, _mm512_set1_ps(low[t][g]), sum[i][t]);
        }
    }
    store_tile(k, sum, np, nt);
}

INLINE void next_tokens(struct tile *k, int n)
{
    k->x += (size_t)n * k->x_stride;
    k->sum += n;
    if (k->y) k->y += (size_t)n * k->y_stride;
}

/* All tokens over the panels of one chunk. */
INLINE void run_tokens(struct tile k, int n_tokens, int np, struct format512 f)
{
    for (; n_tokens >= TILE; n_tokens -= TILE, next_tokens(&k, TILE)) run_tile(&k, np, TILE, f);
    if (n_tokens >= 3) {
        run_tile(&k, np, 3, f);
        n_tokens -= 3, next_tokens(&k, 3);
    }
    for (; n_tokens > 0; n_tokens--, next_tokens(&k, 1)) run_tile(&k, np, 1, f);
}

typedef void tokens_fn(struct tile k, int n_tokens, int np);

#define CLASS(name, group_, offset_, min_)                                                            \
    static void name(struct tile k, int n_tokens, int np)                                             \
    {                                                                                                 \
        const struct format512 f = {.group = group_, .offset = offset_, .has_min = min_};             \
        if (np == 2)                                                                                  \
            run_tokens(k, n_tokens, 2, f);                                                            \
        else                                                                                          \
            run_tokens(k, n_tokens, 1, f);                                                            \
    }
CLASS(tokens_8, 32, 8, false)
CLASS(tokens_12, 32, 12, false)
CLASS(tokens_16, 32, 16, false)
CLASS(tokens_127, 32, 127, false)
CLASS(tokens_128, 32, 128, false)
CLASS(tokens_32_min, 32, 0, true)
CLASS(tokens_16_4, 16, 4, false)
CLASS(tokens_16_32, 16, 32, false)
CLASS(tokens_16_min, 16, 0, true)

INLINE tokens_fn *tokens_of(struct format512 f)
{
    if (f.has_min) return f.group == 32 ? tokens_32_min : tokens_16_min;
    if (f.group == 16) return f.offset == 4 ? tokens_16_4 : tokens_16_32;
    switch (f.offset) {
    case 8: return tokens_8;
    case 12: return tokens_12;
    case 16: return tokens_16;
    case 127: return tokens_127;
    default: return tokens_128;
    }
}

/* What one block's sums are kept in: rows of y lie apart by powers of two, on the same few lines of the caches. */
typedef float block_sums[PAIRS][BLOCK][2 * STRIP];

/* Some pairs of strips from `row` on times some tokens: chunk by chunk, and in a chunk pair by pair. */
INLINE void mm_block(const struct kern_mm_args *a, int row, int token, int n_tokens, tokens_fn *tokens,
                     struct format512 f)
{
    _Alignas(64) block_sums sum;
    struct panel panel[2];
    for (int c = 0; c * STRIP_CHUNK < a->n_cols; c++) {
        int n = MIN(STRIP_CHUNK, a->n_cols - c * STRIP_CHUNK), n_blocks = n / f.n_cols;
        size_t at = (size_t)c * (STRIP_CHUNK / f.n_cols) * STRIP * (size_t)(f.head_bytes + 4 * f.body_words);
        bool last = (c + 1) * STRIP_CHUNK >= a->n_cols;
        for (int p = 0; p < PAIRS && row + 2 * STRIP * p < a->n_rows; p++) {
            int r = row + 2 * STRIP * p, np = r + STRIP < a->n_rows ? 2 : 1;
            const char *strip = (const char *)a->w + (size_t)(r / STRIP) * a->w_stride + at;
            for (int i = 0; i < np; i++) fill_panel(&panel[i], strip + (size_t)i * a->w_stride, n_blocks, f);
            tokens((struct tile){.panel = panel,
                                 .x = (const char *)act_at(a, token, c),
                                 .x_stride = a->x_stride,
                                 .sum = sum[p],
                                 .y = last ? a->y + (size_t)token * a->y_stride + r : NULL,
                                 .y_stride = a->y_stride,
                                 .rows = {rows_mask(a->n_rows - r), rows_mask(a->n_rows - r - STRIP)},
                                 .n_groups = n / f.group,
                                 .first = c == 0},
                   n_tokens, np);
        }
    }
}

INLINE void mm_many(const struct kern_mm_args *a, struct format512 f)
{
    tokens_fn *tokens = tokens_of(f);
    for (int row = 0; row < a->n_rows; row += PAIRS * 2 * STRIP)
        for (int t = 0; t < a->n_tokens; t += BLOCK) mm_block(a, row, t, MIN(BLOCK, a->n_tokens - t), tokens, f);
}

/* ---- slots --------------------------------------------------------------------------------------- */

#define SLOT(name, cols, head, words, sets, codes, steps, group, offset, has_min, open, code, scale, min)           \
    void mm_##name##_avx512(const struct kern_mm_args *a)                                                           \
    {                                                                                                               \
        const struct format512 f = {cols, head, words, sets, codes, steps, group, offset, has_min, open, code,      \
                                    scale, min};                                                                    \
        if (a->n_tokens >= MANY && a->n_cols > 0)                                                                   \
            mm_many(a, f);                                                                                          \
        else                                                                                                        \
            mm_few(a, f);                                                                                           \
    }
FORMATS_512(SLOT)
#endif
