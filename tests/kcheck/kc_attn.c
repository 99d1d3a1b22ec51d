/* kc_attn.c - scores and weighted sums over a cache: right within the bound, and for one query the
 * same bits however many queries share the call and wherever the rows are cut. */
#include <math.h>
#include <string.h>

#include "base.h"
#include "kcheck.h"

enum { QUERIES = 9, FEW_ROWS = 12, ROWS = 67, SWEEP = 300, WIDEST = 672 };

struct scene { /* x: queries [n_q, d] of kv_dot, probabilities [n_q, n_kv] of kv_sum */
    const float *x;
    float *y, *old; /* kv_sum: what y held before */
    struct kern_kv kv;
    size_t q_stride, p_stride; /* of queries or outputs [n_q, d], of scores or probabilities [n_q, n_kv] */
    int n_q, n_kv, d;
    enum kc_fill fill;
};

static float cache_value[ROWS][WIDEST]; /* of the scene that runs */

static size_t span(size_t stride, int last, int n)
{
    return n ? stride * (size_t)(n - 1) + (size_t)last : 0;
}

static void make_cache(struct kc *kc, struct scene *s)
{
    const struct dtype_info *info = dtype_info((uint32_t)kc->index);
    size_t row = dtype_row_bytes(info, (uint64_t)s->d), unit = info->is_quantized ? 2 : info->block_bytes;
    size_t stride = row + unit * (size_t)kc_below(kc, 4);
    char *kv = kc_in(kc, s->n_kv ? stride * (size_t)(s->n_kv - 1) + row : 0);
    /* rows that would crash whoever looks at them */
    s->kv = (struct kern_kv){kv, stride, s->n_kv, s->d, kc_below(kc, 2) ? (const void *)(uintptr_t)4096 : NULL};
    for (int j = 0; j < s->n_kv; j++, kv += stride) {
        kc_fill_weights(kc, s->fill, (enum dtype)kc->index, kv, (size_t)s->d);
        kern_scalar.decode[kc->index](cache_value[j], kv, (size_t)s->d);
    }
}

static double cached(int j, int c)
{
    return (double)cache_value[j][c];
}

static double bound_of(const struct scene *s, int n, double magnitude)
{
    return kc_sum_bound(s->fill, (size_t)n) * magnitude + (n + 1) * KC_TINY;
}

static void setup(struct kc *kc, struct scene *s, enum kc_fill fill, int n_q, int n_kv, int d)
{
    memset(s, 0, sizeof *s);
    s->n_q = n_q;
    s->n_kv = n_kv;
    s->d = d;
    s->fill = fill;
    s->q_stride = (size_t)(d + kc_below(kc, 4));
    s->p_stride = (size_t)(n_kv + kc_below(kc, 4));
    kc->side = (enum kc_side)kc_below(kc, 2);
    kc_case(kc, "n_q=%d n_kv=%d d=%d, %s, guard %s", n_q, n_kv, d, kc_fill_names[fill],
            kc->side ? "before" : "behind");
    kc_reset(kc);
    make_cache(kc, s);
}

/* ---- kv_dot ------------------------------------------------------------------------------ */

static void check_gaps(struct kc *kc, const struct scene *s)
{
    for (int i = 0; i + 1 < s->n_q; i++)
        if (!kc_is_canary(s->y + (size_t)i * s->p_stride + s->n_kv,
                          (s->p_stride - (size_t)s->n_kv) * sizeof *s->y))
            kc_fail(kc, "wrote between the rows of its scores");
}

static void alone_dot(struct kc *kc, const struct scene *s)
{
    float alone[ROWS];
    for (int i = 0; i < s->n_q; i++) {
        kc->ops->kv_dot[kc->index](alone, ROWS, s->x + (size_t)i * s->q_stride, s->q_stride, 1, &s->kv);
        if (memcmp(alone, s->y + (size_t)i * s->p_stride, sizeof *alone * (size_t)s->n_kv))
            kc_fail(kc, "query %d alone: other bits", i);
    }
}

static void dot_scene(struct kc *kc, enum kc_fill fill, int n_q, int n_kv, int d)
{
    struct scene s;
    setup(kc, &s, fill, n_q, n_kv, d);
    float *q = kc_in(kc, span(s.q_stride, d, n_q) * sizeof *q);
    kc_fill_floats(kc, fill, q, span(s.q_stride, d, n_q));
    s.x = q;
    s.y = kc_out(kc, span(s.p_stride, n_kv, n_q) * sizeof *s.y);
    kc_before(kc);
    kc->ops->kv_dot[kc->index](s.y, s.p_stride, q, s.q_stride, n_q, &s.kv);
    kc_after(kc);
    check_gaps(kc, &s);
    for (int i = 0; i < n_q; i++)
        for (int j = 0; j < n_kv; j++) {
            double sum = 0, magnitude = 0;
            for (int c = 0; c < d; c++) {
                double product = (double)q[(size_t)i * s.q_stride + (size_t)c] * cached(j, c);
                sum += product;
                magnitude += fabs(product);
            }
            size_t at = (size_t)i * s.p_stride + (size_t)j;
            kc_near(kc, "s", at, s.y[at], sum, bound_of(&s, d, magnitude));
        }
    alone_dot(kc, &s);
}

/* ---- kv_sum ------------------------------------------------------------------------------ */

/* In two calls, as pages and what tokens see of them may cut the rows anywhere. */
static void alone_sum(struct kc *kc, const struct scene *s)
{
    float alone[WIDEST];
    for (int i = 0; i < s->n_q; i++) {
        const float *p = s->x + (size_t)i * s->p_stride;
        struct kern_kv low = s->kv, high = s->kv;
        low.n = kc_below(kc, s->n_kv + 1);
        high.n -= low.n;
        high.rows = (const char *)high.rows + (size_t)low.n * high.stride;
        memcpy(alone, s->old + (size_t)i * s->q_stride, sizeof *alone * (size_t)s->d);
        kc->ops->kv_sum[kc->index](alone, WIDEST, p, s->p_stride, 1, &low);
        kc->ops->kv_sum[kc->index](alone, WIDEST, p + low.n, s->p_stride, 1, &high);
        if (memcmp(alone, s->y + (size_t)i * s->q_stride, sizeof *alone * (size_t)s->d))
            kc_fail(kc, "query %d alone, rows cut at %d: other bits", i, low.n);
    }
}

static void judge_sum(struct kc *kc, const struct scene *s)
{
    for (int i = 0; i < s->n_q; i++) {
        for (int c = 0; c < s->d; c++) {
            size_t at = (size_t)i * s->q_stride + (size_t)c;
            double sum = (double)s->old[at], magnitude = fabs(sum);
            for (int j = 0; j < s->n_kv; j++) {
                double product = (double)s->x[(size_t)i * s->p_stride + (size_t)j] * cached(j, c);
                sum += product;
                magnitude += fabs(product);
            }
            kc_near(kc, "o", at, s->y[at], sum, bound_of(s, s->n_kv, magnitude));
        }
        size_t end = (size_t)i * s->q_stride + (size_t)s->d;
        if (i + 1 < s->n_q &&
            memcmp(s->y + end, s->old + end, (s->q_stride - (size_t)s->d) * sizeof *s->y))
            kc_fail(kc, "wrote between the rows of its output");
    }
}

static void sum_scene(struct kc *kc, enum kc_fill fill, int n_q, int n_kv, int d)
{
    struct scene s;
    setup(kc, &s, fill, n_q, n_kv, d);
    size_t n = span(s.q_stride, d, n_q);
    float *p = kc_in(kc, span(s.p_stride, n_kv, n_q) * sizeof *p);
    kc_fill_floats(kc, fill, p, span(s.p_stride, n_kv, n_q));
    s.x = p;
    s.old = kc_in(kc, n * sizeof *s.old);
    s.y = kc_out(kc, n * sizeof *s.y);
    kc_fill_floats(kc, fill, s.old, n);
    memcpy(s.y, s.old, n * sizeof *s.y);
    kc_before(kc);
    kc->ops->kv_sum[kc->index](s.y, s.q_stride, p, s.p_stride, n_q, &s.kv);
    kc_after(kc);
    judge_sum(kc, &s);
    alone_sum(kc, &s);
}

/* ---- both -------------------------------------------------------------------------------- */

typedef void scene_fn(struct kc *kc, enum kc_fill fill, int n_q, int n_kv, int d);

/* More queries and rows than kernels take at once. */
static void crowds(struct kc *kc, scene_fn *run, int d)
{
    static const int queries[] = {15, 16, 17, 31}, rows[] = {1, 16, 31, 32, 33, ROWS};
    for (size_t i = 0; i < COUNT_OF(queries); i++)
        for (size_t j = 0; j < COUNT_OF(rows); j++)
            run(kc, (enum kc_fill)((i + j) % KC_FILLS), queries[i], rows[j], d);
}

static void scenes(struct kc *kc, scene_fn *run)
{
    static const int heads[] = {12, 20, 64, 80, 96, 128, 576, WIDEST};
    int step = dtype_info((uint32_t)kc->index)->block_n;
    for (int f = 0; f < KC_FILLS; f++)
        for (int d = 0; d <= SWEEP; d += step)
            run(kc, (enum kc_fill)f, 1 + kc_below(kc, 4), kc_below(kc, FEW_ROWS + 1), d);
    for (size_t h = 0; h < COUNT_OF(heads); h++) {
        if (heads[h] % step) continue;
        for (int n_q = 0; n_q <= QUERIES && heads[h] <= 128; n_q++)
            for (int n_kv = 0; n_kv <= FEW_ROWS; n_kv++) run(kc, KC_RANDOM, n_q, n_kv, heads[h]);
        crowds(kc, run, heads[h]);
    }
}

void kc_check_kv_dot(struct kc *kc)
{
    scenes(kc, dot_scene);
}

void kc_check_kv_sum(struct kc *kc)
{
    scenes(kc, sum_scene);
}
