/* kc_mm.c - packing and matrix products: right within the bound, the bits of the definition, and the same bits
 * whatever shares the call.
 *
 * The reference is the decoded weights times the activations in double.  Shapes: every width up to
 * 300 that the type allows and some of real models; every number of rows and tokens up to 35 and 20
 * at one width, so that every remainder of a register block occurs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "kcheck.h"

enum { ROWS = 35, TOKENS = 20, WIDEST = 11008, ROOM_BYTES = 4 * WIDEST + 64, MOST_PARTS = 2048 };

static struct {
    double w[ROWS * WIDEST], magnitude[ROWS * WIDEST], x[TOKENS * WIDEST];
    char rows[ROWS * ROOM_BYTES]; /* as they lie in a file */
    float y[ROWS * TOKENS];       /* what the definition gives */
} * ref;

struct product {
    struct kern_mm_args a;
    enum dtype dtype;
    enum kc_fill fill;
    bool is_quantized;
    char *w, *x;             /* of the same name in a, to be written */
    size_t w_bytes, x_bytes; /* of one strip, of one token; strides are larger */
    size_t row_bytes;        /* of ref->rows */
};

static size_t span(size_t stride, size_t last, int n)
{
    return n ? stride * (size_t)(n - 1) + last : 0;
}

static char *row_at(const struct product *p, int r)
{
    return ref->rows + (size_t)r * p->row_bytes;
}

static void pack_rows(const struct product *p)
{
    for (int r = 0; r < p->a.n_rows; r += STRIP)
        kern_scalar.pack(p->w + (size_t)(r / STRIP) * p->a.w_stride, p->dtype, row_at(p, r), p->row_bytes,
                         MIN(STRIP, p->a.n_rows - r), p->a.n_cols);
}

static void fill_inputs(struct kc *kc, struct product *p)
{
    size_t n = (size_t)p->a.n_cols;
    for (int r = 0; r < p->a.n_rows; r++) kc_fill_weights(kc, p->fill, p->dtype, row_at(p, r), n);
    pack_rows(p);
    for (int t = 0; t < p->a.n_tokens; t++) {
        void *token = p->x + (size_t)t * p->a.x_stride;
        if (p->is_quantized)
            kc_fill_acts(kc, p->fill, token, n);
        else
            kc_fill_floats(kc, p->fill, token, n);
    }
}

static void make(struct kc *kc, struct product *p, enum kc_fill fill, int rows, int cols,
                 int tokens)
{
    const struct dtype_info *info = dtype_info((uint32_t)kc->index);
    int n_strips = CEIL_DIV(rows, STRIP);
    memset(p, 0, sizeof *p);
    p->dtype = (enum dtype)kc->index;
    p->fill = fill;
    p->is_quantized = info->is_quantized;
    p->row_bytes = dtype_row_bytes(info, (uint64_t)cols);
    p->w_bytes = strip_bytes(strip_form(p->dtype), cols);
    p->x_bytes =
        p->is_quantized ? (size_t)CEIL_DIV(cols, 256) * sizeof(struct act_q8) : (size_t)cols * 4;
    p->a.n_rows = rows;
    p->a.n_cols = cols;
    p->a.n_tokens = tokens;
    p->a.w_stride = p->w_bytes + 64 * (size_t)kc_below(kc, 4);
    p->a.x_stride = p->x_bytes + (p->is_quantized ? 64 : 4) * (size_t)kc_below(kc, 3);
    p->a.y_stride = (size_t)rows + (size_t)kc_below(kc, 4);
    kc_reset(kc);
    p->a.w = p->w = kc_in(kc, span(p->a.w_stride, p->w_bytes, n_strips));
    p->a.x = p->x = kc_in(kc, span(p->a.x_stride, p->x_bytes, tokens));
    p->a.y = kc_out(kc, span(p->a.y_stride, (size_t)rows, tokens) * sizeof(float));
    fill_inputs(kc, p);
}

static void decode_acts(double *x, const struct act_q8 *b, int n)
{
    for (int i = 0; i < n; i++) x[i] = (double)b[i / 256].d[i % 256 / 32] * b[i / 256].q[i % 256];
}

static void decode_inputs(const struct product *p)
{
    size_t n = (size_t)p->a.n_cols;
    for (size_t r = 0; r < (size_t)p->a.n_rows; r++)
        kc_decode(p->dtype, ref->w + r * n, ref->magnitude + r * n, row_at(p, (int)r), n);
    for (size_t t = 0; t < (size_t)p->a.n_tokens; t++) {
        const void *token = (const char *)p->a.x + t * p->a.x_stride;
        if (p->is_quantized)
            decode_acts(ref->x + t * n, token, (int)n);
        else
            for (size_t i = 0; i < n; i++) ref->x[t * n + i] = (double)((const float *)token)[i];
    }
}

void kc_call_product(struct kc *kc, kern_mm_fn *mm, const struct kern_mm_args *a)
{
    kc_before(kc);
    mm(a);
    kc_after(kc);
    for (int t = 0; t + 1 < a->n_tokens; t++) {
        const float *gap = a->y + (size_t)t * a->y_stride + a->n_rows;
        if (!kc_is_canary(gap, (a->y_stride - (size_t)a->n_rows) * sizeof *gap))
            kc_fail(kc, "wrote between the rows of its output");
    }
}

/* Products of subnormal scales lose KC_TINY before integers of up to 127 * 128 a column meet them.
 */
static void judge(struct kc *kc, const struct product *p)
{
    size_t n = (size_t)p->a.n_cols;
    decode_inputs(p);
    for (size_t t = 0; t < (size_t)p->a.n_tokens; t++)
        for (size_t r = 0; r < (size_t)p->a.n_rows; r++) {
            const double *w = ref->w + r * n, *m = ref->magnitude + r * n, *x = ref->x + t * n;
            double sum = 0, magnitude = 0;
            for (size_t i = 0; i < n; i++) {
                sum += w[i] * x[i];
                magnitude += m[i] * fabs(x[i]);
            }
            double bound = kc_sum_bound(p->fill, n) * magnitude +
                           (double)n * KC_TINY * (p->is_quantized ? 127 * 128 : 1);
            kc_near(kc, "y", t * p->a.y_stride + r, p->a.y[t * p->a.y_stride + r], sum, bound);
        }
}

/* Two NaNs are the same. */
static bool same(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

/* Bit by bit what the scalar table gives. */
static void define(struct kc *kc, const struct product *p)
{
    struct kern_mm_args a = p->a;
    a.y = ref->y;
    a.y_stride = (size_t)a.n_rows;
    kern_scalar.mm[p->dtype](&a);
    for (int t = 0; t < a.n_tokens; t++)
        for (int r = 0; r < a.n_rows; r++) {
            float got = p->a.y[(size_t)t * p->a.y_stride + (size_t)r], want = ref->y[t * a.n_rows + r];
            if (!same(got, want)) kc_fail(kc, "row %d, token %d: %a, defined as %a", r, t, (double)got, (double)want);
        }
}

static void shape(struct kc *kc, enum kc_fill fill, int rows, int cols, int tokens)
{
    struct product p;
    kc->side = (enum kc_side)kc_below(kc, 2);
    kc_case(kc, "R=%d C=%d T=%d, %s, guard %s", rows, cols, tokens, kc_fill_names[fill],
            kc->side ? "before" : "behind");
    make(kc, &p, fill, rows, cols, tokens);
    kc_call_product(kc, kc->ops->mm[p.dtype], &p.a);
    judge(kc, &p);
    define(kc, &p);
}

/* Codes near zero under large scales: rows of zeros give zero, and sums of positive products are held
 * to the bound of random ones, however much larger the codes are that the kernel works with. */
static void narrow(struct kc *kc, bool ones, int cols)
{
    enum { R = 3, T = 5 };
    struct product p;
    kc->side = KC_BEHIND;
    kc_case(kc, "R=%d C=%d T=%d, codes 0%s", R, cols, T, ones ? " and 1" : "");
    make(kc, &p, KC_RANDOM, R, cols, T);
    for (size_t r = 0; r < R; r++)
        kc_fill_narrow_weights(kc, ones, p.dtype, row_at(&p, (int)r), (size_t)cols);
    pack_rows(&p);
    for (size_t t = 0; t < T; t++)
        kc_fill_narrow_acts(kc, (void *)(p.x + t * p.a.x_stride), (size_t)cols);
    kc_call_product(kc, kc->ops->mm[p.dtype], &p.a);
    judge(kc, &p);
}

/* Rows from r0 on and tokens from t0 on, beside what the whole gave. */
static void check_part(struct kc *kc, kern_mm_fn *mm, const struct kern_mm_args *all, const struct kern_mm_args *part,
                       int r0, int t0, const float *whole)
{
    struct kern_mm_args a = *part;
    a.w = (const char *)all->w + (size_t)(r0 / STRIP) * all->w_stride;
    a.x = (const char *)all->x + (size_t)t0 * all->x_stride;
    mm(&a);
    for (int t = 0; t < a.n_tokens; t++)
        if (memcmp(a.y + (size_t)t * a.y_stride, whole + (t0 + t) * all->n_rows + r0, (size_t)a.n_rows * sizeof *whole))
            kc_fail(kc, "token %d: not the bits of the whole", t0 + t);
}

void kc_check_parts(struct kc *kc, kern_mm_fn *mm, const struct kern_mm_args *all, enum kc_fill fill, int most_step)
{
    static float whole[MOST_PARTS];
    int n_rows = all->n_rows, n_tokens = all->n_tokens;
    if (n_rows * n_tokens > MOST_PARTS) kc_fail(kc, "no room for the whole");
    kc_case(kc, "R=%d C=%d T=%d, %s", n_rows, all->n_cols, n_tokens, kc_fill_names[fill]);
    kc_call_product(kc, mm, all);
    for (int t = 0; t < n_tokens; t++)
        memcpy(whole + t * n_rows, all->y + (size_t)t * all->y_stride, (size_t)n_rows * sizeof *whole);
    struct kern_mm_args part = *all;
    for (part.n_rows = 1; part.n_rows <= n_rows; part.n_rows += 1 + kc_below(kc, most_step))
        for (part.n_tokens = 1; part.n_tokens <= n_tokens; part.n_tokens += 1 + kc_below(kc, most_step)) {
            int r0 = kc_below(kc, (n_rows - part.n_rows) / STRIP + 1) * STRIP;
            int t0 = kc_below(kc, n_tokens - part.n_tokens + 1);
            kc_case(kc, "rows %d+%d, tokens %d+%d of R=%d T=%d C=%d, %s", r0, part.n_rows, t0, part.n_tokens, n_rows,
                    n_tokens, all->n_cols, kc_fill_names[fill]);
            check_part(kc, mm, all, &part, r0, t0, whole);
        }
}

static void parts(struct kc *kc, enum kc_fill fill, int cols)
{
    struct product p;
    kc->side = KC_BEHIND;
    make(kc, &p, fill, ROWS, cols, TOKENS);
    kc_check_parts(kc, kc->ops->mm[p.dtype], &p.a, fill, 1);
}

void kc_check_mm(struct kc *kc)
{
    static const int large[] = {2048, 2880, 4096, WIDEST};
    int block = dtype_info((uint32_t)kc->index)->block_n;
    if (!ref) ref = calloc(1, sizeof *ref);
    if (!ref) kc_fail(kc, "no memory for the reference");
    for (int f = 0; f < KC_FILLS; f++) {
        enum kc_fill fill = (enum kc_fill)f;
        for (int cols = 0; cols <= 300; cols += block)
            for (int i = 0; i < 1 + block / 32; i++)
                shape(kc, fill, 1 + kc_below(kc, ROWS), cols, 1 + kc_below(kc, TOKENS));
        for (size_t i = 0; i < COUNT_OF(large); i++)
            if (large[i] % block == 0)
                shape(kc, fill, 1 + kc_below(kc, 5), large[i], 1 + kc_below(kc, 5) * 3);
        if (block == 1)
            parts(kc, fill, 256 + kc_below(kc, 45));
        else
            parts(kc, fill, 2 * 256);
        if (block == 32) parts(kc, fill, 288);
    }
    for (int ones = 0; ones < 2 && block > 1; ones++) {
        narrow(kc, ones, 256);
        for (size_t i = 0; i < COUNT_OF(large); i++)
            if (large[i] % block == 0) narrow(kc, ones, large[i]);
    }
    int width = block == 1 ? 77 : block == 32 ? 96 : 256;
    for (int rows = 0; rows <= ROWS; rows++)
        for (int tokens = 0; tokens <= TOKENS; tokens++) shape(kc, KC_RANDOM, rows, width, tokens);
}

/* ---- pack ---------------------------------------------------------------------------------------- */

static void pack_shape(struct kc *kc, enum dtype dtype, enum kc_fill fill, int rows, int cols)
{
    size_t row_bytes = dtype_row_bytes(dtype_info(dtype), (uint64_t)cols), bytes = strip_bytes(strip_form(dtype), cols);
    size_t stride = row_bytes + (size_t)kc_below(kc, 4);
    kc->side = (enum kc_side)kc_below(kc, 2);
    kc_case(kc, "%s R=%d C=%d, %s", dtype_name(dtype), rows, cols, kc_fill_names[fill]);
    kc_reset(kc);
    char *in = kc_in(kc, span(stride, row_bytes, rows)), *out = kc_out(kc, bytes);
    for (int r = 0; r < rows; r++) {
        kc_fill_weights(kc, fill, dtype, ref->rows, (size_t)cols);
        memcpy(in + (size_t)r * stride, ref->rows, row_bytes);
    }
    kc_before(kc);
    kc->ops->pack(out, dtype, in, stride, rows, cols);
    kc_after(kc);
    kern_scalar.pack(ref->rows, dtype, in, stride, rows, cols);
    if (memcmp(out, ref->rows, bytes)) kc_fail(kc, "not the strip that is defined");
}

void kc_check_pack(struct kc *kc)
{
    static const int large[] = {2048, 2880, 4096};
    if (!ref) ref = calloc(1, sizeof *ref);
    if (!ref) kc_fail(kc, "no memory for the reference");
    for (int type = 0; type < DTYPE_COUNT; type++) {
        const struct dtype_info *info = dtype_info((uint32_t)type);
        if (!info || !info->is_weight) continue;
        for (int cols = info->block_n; cols <= 600; cols += info->block_n)
            pack_shape(kc, (enum dtype)type, KC_RANDOM, 1 + kc_below(kc, STRIP), cols);
        for (int rows = 1; rows <= STRIP; rows++)
            for (size_t i = 0; i < COUNT_OF(large); i++)
                if (large[i] % info->block_n == 0)
                    pack_shape(kc, (enum dtype)type, (enum kc_fill)kc_below(kc, KC_FILLS), rows, large[i]);
    }
}
