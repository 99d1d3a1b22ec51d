/* kc_tiles.c - products in BF16: right within the bound, and the same bits whatever shares the call.
 *
 * The reference is the product in double of weights and activations that are rounded first, so the bound speaks of
 * sums alone: kc_sum_bound() relative to sum|w x|, for any order of adding in float32.  VDPBF16PS and TDPBF16PS take
 * operands below 2^-126 as zeros and make such results zeros (Intel SDM volume 2: "DAZ", "FTZ"): each of the n
 * products and sums may lose that much, and what such operands contribute may be missing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "convert.h"
#include "kcheck.h"

enum { ROWS = 35, TOKENS = 40, WIDEST = 11008, ROOM = 1 << 20 };
#define LEAST 0x1p-126 /* of normal numbers */

static struct {
    double w[ROOM], x[ROOM];
    float values[WIDEST];
    char rows[4 * ROOM]; /* as they lie in a file */
} * ref;

struct product {
    struct kern_mm_args a;
    enum dtype dtype;
    char *w, *x; /* of the same name in a, to be written */
};

static void need_room(struct kc *kc)
{
    if (!ref) ref = calloc(1, sizeof *ref);
    if (!ref) kc_fail(kc, "no memory for the reference");
}

static void fill_inputs(struct kc *kc, struct product *p, enum kc_fill fill)
{
    size_t n = (size_t)p->a.n_cols, row_bytes = dtype_row_bytes(dtype_info(p->dtype), n);
    memset(p->x, 0, (size_t)(p->a.n_tokens - 1) * p->a.x_stride + ROUND_UP(n, 256) * 2);
    for (int r = 0; r < p->a.n_rows; r++) {
        kc_fill_weights(kc, fill, p->dtype, ref->rows + (size_t)r * row_bytes, n);
        kern_scalar.decode[p->dtype](ref->values, ref->rows + (size_t)r * row_bytes, n);
        for (size_t i = 0; i < n; i++)
            ref->w[(size_t)r * n + i] = (double)float_of_bf16(bf16_of_float(ref->values[i]));
    }
    for (int r = 0; r < p->a.n_rows; r += STRIP)
        kern_scalar.pack(p->w + (size_t)(r / STRIP) * p->a.w_stride, p->dtype, ref->rows + (size_t)r * row_bytes,
                         row_bytes, MIN(STRIP, p->a.n_rows - r), p->a.n_cols);
    for (int t = 0; t < p->a.n_tokens; t++) {
        uint16_t *x = (uint16_t *)(void *)(p->x + (size_t)t * p->a.x_stride);
        kc_fill_floats(kc, fill, ref->values, n);
        for (size_t i = 0; i < n; i++) {
            x[i] = bf16_of_float(ref->values[i]);
            ref->x[(size_t)t * n + i] = (double)float_of_bf16(x[i]);
        }
    }
}

static void make(struct kc *kc, struct product *p, enum kc_fill fill, int rows, int cols, int tokens)
{
    size_t n_strips = (size_t)CEIL_DIV(rows, STRIP), w_bytes, x_bytes = (size_t)ROUND_UP(cols, 256) * 2;
    memset(p, 0, sizeof *p);
    p->dtype = (enum dtype)kc->index;
    w_bytes = strip_bytes(strip_form(p->dtype), cols);
    p->a.n_rows = rows;
    p->a.n_cols = cols;
    p->a.n_tokens = tokens;
    p->a.w_stride = w_bytes + 64 * (size_t)kc_below(kc, 4);
    p->a.x_stride = x_bytes + 64 * (size_t)kc_below(kc, 4);
    p->a.y_stride = (size_t)rows + (size_t)kc_below(kc, 4);
    kc_reset(kc);
    p->a.w = p->w = kc_in(kc, p->a.w_stride * (n_strips - 1) + w_bytes);
    p->a.x = p->x = kc_in(kc, p->a.x_stride * (size_t)(tokens - 1) + x_bytes);
    p->a.y = kc_out(kc, (p->a.y_stride * (size_t)(tokens - 1) + (size_t)rows) * sizeof(float));
    fill_inputs(kc, p, fill);
}

static void judge_one(struct kc *kc, const struct product *p, enum kc_fill fill, size_t t, size_t r)
{
    size_t n = (size_t)p->a.n_cols;
    const double *w = ref->w + r * n, *x = ref->x + t * n;
    double sum = 0, magnitude = 0, flushed = (double)n * LEAST;
    for (size_t i = 0; i < n; i++) {
        double product = w[i] * x[i];
        sum += product;
        magnitude += fabs(product);
        if (fabs(w[i]) < LEAST || fabs(x[i]) < LEAST) flushed += fabs(product);
    }
    size_t at = t * p->a.y_stride + r;
    kc_near(kc, "y", at, p->a.y[at], sum, kc_sum_bound(fill, n) * magnitude + flushed);
}

static void shape(struct kc *kc, enum kc_fill fill, int rows, int cols, int tokens)
{
    struct product p;
    kc->side = (enum kc_side)kc_below(kc, 2);
    kc_case(kc, "R=%d C=%d T=%d, %s, guard %s", rows, cols, tokens, kc_fill_names[fill],
            kc->side ? "before" : "behind");
    make(kc, &p, fill, rows, cols, tokens);
    kc_call_product(kc, kc->ops->mm_tiles[p.dtype], &p.a);
    for (size_t t = 0; t < (size_t)tokens; t++)
        for (size_t r = 0; r < (size_t)rows; r++) judge_one(kc, &p, fill, t, r);
}

static void parts(struct kc *kc, enum kc_fill fill, int cols)
{
    struct product p;
    kc->side = KC_BEHIND;
    make(kc, &p, fill, ROWS, cols, TOKENS);
    kc_check_parts(kc, kc->ops->mm_tiles[p.dtype], &p.a, fill, 3);
}

/* Widths, then rows and tokens, then more of both than one block of any loop takes. */
void kc_check_mm_tiles(struct kc *kc)
{
    static const int large[] = {2048, 2880, 4096, WIDEST};
    int block = dtype_info((uint32_t)kc->index)->block_n, width = block == 1 ? 77 : block == 32 ? 96 : 256;
    need_room(kc);
    for (int f = 0; f < KC_FILLS; f++) {
        enum kc_fill fill = (enum kc_fill)f;
        for (int cols = 0; cols <= 300; cols += block)
            for (int i = 0; i < 1 + block / 32; i++)
                shape(kc, fill, 1 + kc_below(kc, ROWS), cols, 1 + kc_below(kc, TOKENS));
        for (size_t i = 0; i < COUNT_OF(large); i++)
            if (large[i] % block == 0) shape(kc, fill, 1 + kc_below(kc, ROWS), large[i], 1 + kc_below(kc, TOKENS));
        if (fill == KC_RANDOM || fill == KC_MIXED || fill == KC_DENORMAL)
            parts(kc, fill, block == 1 ? 256 + kc_below(kc, 45) : block == 32 ? 288 : 512);
    }
    for (int rows = 1; rows <= ROWS; rows++)
        for (int i = 0; i < 6; i++) shape(kc, KC_RANDOM, rows, width, 1 + kc_below(kc, TOKENS));
    for (int tokens = 1; tokens <= TOKENS; tokens++)
        for (int i = 0; i < 6; i++) shape(kc, KC_RANDOM, 1 + kc_below(kc, ROWS), width, tokens);
    shape(kc, KC_RANDOM, 300, block == 256 ? 512 : 288, 70);
    shape(kc, KC_RANDOM, 40, block == 256 ? 512 : 288, 700);
}

/* ---- turn ---------------------------------------------------------------------------------------- */

/* Of a number below 2^-126, which may have been rounded up to that. */
static bool is_tiny(uint16_t h)
{
    return (h & 0x7fff) <= 0x0080;
}

/* The bits of the definition, but that numbers below 2^-126 may be zeros. */
static void same_halves(struct kc *kc, const uint16_t *got, const uint16_t *want, size_t n, size_t strip)
{
    for (size_t i = 0; i < n; i++) {
        bool nan = (want[i] & 0x7fff) > 0x7f80 && (got[i] & 0x7fff) > 0x7f80;
        if (got[i] != want[i] && !nan && !(is_tiny(want[i]) && (got[i] & 0x7fff) == 0))
            kc_fail(kc, "strip %zu, number %zu: %04x, not %04x", strip, i, got[i], want[i]);
    }
}

static void turn_shape(struct kc *kc, enum kc_fill fill, int n, int d)
{
    size_t n_strips = (size_t)CEIL_DIV(d, STRIP), bytes = strip_bytes(strip_form(DTYPE_BF16), n);
    size_t stride = bytes + 64 * (size_t)kc_below(kc, 3), all = n_strips ? stride * (n_strips - 1) + bytes : 0;
    kc->side = (enum kc_side)kc_below(kc, 2);
    kc_case(kc, "n=%d d=%d, %s", n, d, kc_fill_names[fill]);
    kc_reset(kc);
    float *rows = kc_in(kc, (size_t)n * (size_t)d * sizeof *rows);
    char *out = kc_out(kc, all);
    kc_fill_floats(kc, fill, rows, (size_t)n * (size_t)d);
    kc_before(kc);
    kc->ops->turn(out, stride, rows, n, d);
    kc_after(kc);
    kern_scalar.turn(ref->rows, stride, rows, n, d);
    for (size_t s = 0; s < n_strips; s++) {
        same_halves(kc, (const uint16_t *)(const void *)(out + s * stride),
                    (const uint16_t *)(const void *)(ref->rows + s * stride), bytes / 2, s);
        if (s + 1 < n_strips && !kc_is_canary(out + s * stride + bytes, stride - bytes))
            kc_fail(kc, "wrote between strips");
    }
}

void kc_check_turn(struct kc *kc)
{
    static const int rows[] = {1, 2, 3, 31, 32, 63, 64, 255, 256}, widths[] = {1, 15, 16, 17, 64, 80, 96, 128, 576};
    need_room(kc);
    for (int f = 0; f < KC_FILLS; f++)
        for (size_t i = 0; i < COUNT_OF(rows); i++)
            for (size_t j = 0; j < COUNT_OF(widths); j++) turn_shape(kc, (enum kc_fill)f, rows[i], widths[j]);
}
