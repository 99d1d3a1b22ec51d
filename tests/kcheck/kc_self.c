/* kc_self.c - the checker checked: kernels broken on purpose must each be caught, before anything
 * else.
 *
 * Every fault is planted into a copy of the scalar table, one at a time.  A checker that passes one
 * of them proves nothing about the kernels that it passes. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "convert.h"
#include "kcheck.h"

static float dot_without_tail(const float *a, const float *b, size_t n)
{
    return kern_scalar.dot(a, b, n / 8 * 8);
}

static float dot_past_end(const float *a, const float *b, size_t n)
{
    volatile float next = a[n];
    (void)next;
    return kern_scalar.dot(a, b, n);
}

static float dot_before_start(const float *a, const float *b, size_t n)
{
    volatile float previous = b[-1];
    (void)previous;
    return kern_scalar.dot(a, b, n);
}

static void add_past_end(float *y, const float *x, size_t n)
{
    kern_scalar.add(y, x, n);
    if (n > 16) y[n] = 0; /* meets the unmapped page */
}

static void add_before_start(float *y, const float *x, size_t n)
{
    kern_scalar.add(y, x, n);
    if (n > 16) y[-1] = 0; /* meets the canary */
}

static void add_to_input(float *y, const float *x, size_t n)
{
    kern_scalar.add(y, x, n);
    if (n == 33) ((float *)(uintptr_t)x)[32] += 1;
}

static void scale_wrong(float *x, float a, size_t n)
{
    kern_scalar.scale(x, a * 1.000001f, n);
}

static float max_crash(const float *x, size_t n)
{
    if (n == 100) raise(SIGILL);
    return kern_scalar.max(x, n);
}

static float max_from_zero(const float *x, size_t n)
{
    return fmaxf(0, kern_scalar.max(x, n));
}

static float exp_sum_coarse(float *x, float max, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] = x[i] == -INFINITY ? 0 : (1 + 4e-6f) * expf(x[i] - max);
    return sum;
}

/* The mean in float32, and the variance as the difference of two means. */
static void layer_norm_one_pass(float *y, const float *x, const float *weight, const float *bias, size_t n,
                                float eps)
{
    float mean = 0, square = 0;
    for (size_t i = 0; i < n; i++) mean += x[i] / (float)n;
    for (size_t i = 0; i < n; i++) square += x[i] * x[i] / (float)n;
    float factor = 1 / sqrtf(fmaxf(square - mean * mean, 0) + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * factor * (weight ? weight[i] : 1) + (bias ? bias[i] : 0);
}

static void layer_norm_no_bias(float *y, const float *x, const float *weight, const float *bias, size_t n,
                               float eps)
{
    (void)bias;
    kern_scalar.layer_norm(y, x, weight, NULL, n, eps);
}

static void act_by_halves(float *y, const float *gate, const float *up, size_t n)
{
    kern_scalar.act[KERN_ACT_GELU](y, gate, up, n);
    for (size_t i = 0; i < n; i++) y[i] = float_of_f16(f16_of_float(y[i]));
}

/* One unit in the last place of Phi(0), which is nothing to 1 and all to what is far below zero. */
static void act_absolute(float *y, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = gate[i] * (0.5f + 0.5f * erff(gate[i] * 0.707106781f)) * (up ? up[i] : 1);
}

static void turn_odd_row_kept(void *strips, size_t stride, const float *rows, int n, int d)
{
    kern_scalar.turn(strips, stride, rows, n, d);
    if (n % 2) memset((char *)strips + (size_t)(n / 2) * STRIP * 4 + 2, 1, 2);
}

static void act_nan_lost(float *y, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = (gate[i] > 0 ? gate[i] : 0) * (up ? up[i] : 1);
}

static void softcap_by_exp(float *x, float cap, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = cap * (1 - 2 / (1 + expf(2 * x[i] / cap)));
}

static void rope_other_way(float *x, const float *cs, size_t n)
{
    kern_scalar.rope[KERN_ROPE_PAIRS](x, cs, n);
}

static void acts_wrong_sum(struct act_q8 *dst, const float *x, size_t n)
{
    kern_scalar.quant_act(dst, x, n);
    if (n > 250) dst->sum[15]++;
}

static void f16_cut_off(void *dst, const float *src, size_t n)
{
    float cut;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, src + i, 4);
        bits &= 0xffffe000;
        memcpy(&cut, &bits, 4);
        kern_scalar.encode[DTYPE_F16]((char *)dst + 2 * i, &cut, 1);
    }
}

/* Right, but for a NaN, which the largest of magnitudes does not find. */
static void q8_0_nan_lost(void *dst, const float *src, size_t n)
{
    for (size_t at = 0; at < n; at += 32) {
        float known[32];
        for (size_t i = 0; i < 32; i++) known[i] = isnan(src[at + i]) ? 0 : src[at + i];
        kern_scalar.encode[DTYPE_Q8_0]((struct block_q8_0 *)dst + at / 32, known, 32);
    }
}

/* Of two that are equally large, the last decides on the sign of the scale. */
static void q4_0_last_extreme(void *dst, const float *src, size_t n)
{
    for (size_t at = 0; at < n; at += 32) {
        struct block_q4_0 *b = (struct block_q4_0 *)dst + at / 32;
        float top = 0;
        for (size_t i = 0; i < 32; i++)
            if (fabsf(src[at + i]) >= fabsf(top)) top = src[at + i];
        kern_scalar.encode[DTYPE_Q4_0](b, src + at, 32);
        if (top != 0) b->d = f16_of_float(top / -8);
    }
}

static void mm_last_row_lost(const struct kern_mm_args *a)
{
    struct kern_mm_args part = *a;
    part.n_rows = a->n_rows / 4 * 4;
    kern_scalar.mm[DTYPE_Q4_K](&part);
}

static void mm_last_block_lost(const struct kern_mm_args *a)
{
    struct kern_mm_args part = *a;
    part.n_cols -= part.n_cols > 256 ? 32 : 0;
    kern_scalar.mm[DTYPE_Q8_0](&part);
}

/* Codes made unsigned, and the share of the 128 subtracted from float32 sums: right to a few bits of
 * what was subtracted, which is not what the product is made of. */
static void mm_offset_afterwards(const struct kern_mm_args *a)
{
    kern_scalar.mm[DTYPE_Q8_0](a);
    for (int t = 0; t < a->n_tokens; t++)
        for (int r = 0; r < a->n_rows; r++) {
            const char *strip = (const char *)a->w + (size_t)(r / STRIP) * a->w_stride;
            const struct act_q8 *x = (const void *)((const char *)a->x + (size_t)t * a->x_stride);
            float *y = a->y + (size_t)t * a->y_stride + r, low = 0;
            for (int b = 0; b < a->n_cols / 32; b++) {
                int sum = x[b / 8].sum[b % 8 * 2] + x[b / 8].sum[b % 8 * 2 + 1];
                const char *chunk = strip + strip_chunk_at(strip_form(DTYPE_Q8_0), b / 8);
                uint16_t d;
                memcpy(&d, chunk + 2 * (b % 8 * STRIP + r % STRIP), sizeof d);
                low += 128 * float_of_f16(d) * x[b / 8].d[b % 8] * (float)sum;
            }
            volatile float raised = *y + low;
            *y = raised - low;
        }
}

/* Right within the bound, but two tokens at once are summed from the end. */
static void mm_batch_differs(const struct kern_mm_args *a)
{
    kern_scalar.mm[DTYPE_F32](a);
    if (a->n_tokens < 2) return;
    for (int r = 0; r < a->n_rows; r++) {
        const float *w = (const float *)(const void *)((const char *)a->w + (size_t)(r / STRIP) * a->w_stride);
        const float *x = a->x;
        float sum = 0;
        for (int c = a->n_cols; c-- > 0;) sum += w[c * STRIP + r % STRIP] * x[c];
        a->y[r] = sum;
    }
}

static void mm_between_rows(const struct kern_mm_args *a)
{
    kern_scalar.mm[DTYPE_Q6_K](a);
    if (a->n_tokens > 1 && a->y_stride > (size_t)a->n_rows) a->y[a->n_rows] = 0;
}

/* ---- products in BF16 ---------------------------------------------------------------------------- */

static void tiles_last_column_lost(const struct kern_mm_args *a)
{
    struct kern_mm_args part = *a;
    part.n_cols -= part.n_cols > 256;
    kern_scalar.mm_tiles[DTYPE_F16](&part);
}

/* y(r, t) for F32 weights that `round` makes BF16; from the last column down if asked to. */
static void tiles_f32(const struct kern_mm_args *a, uint32_t (*round)(float), int t, bool backwards)
{
    for (int r = 0; r < a->n_rows; r++) {
        const float *w = (const float *)(const void *)((const char *)a->w + (size_t)(r / STRIP) * a->w_stride);
        const uint16_t *x = (const uint16_t *)(const void *)((const char *)a->x + (size_t)t * a->x_stride);
        float sum = 0;
        for (int i = 0; i < a->n_cols; i++) {
            int c = backwards ? a->n_cols - 1 - i : i;
            sum += float_of_bits(round(w[c * STRIP + r % STRIP])) * float_of_bf16(x[c]);
        }
        a->y[(size_t)t * a->y_stride + (size_t)r] = sum;
    }
}

static uint32_t not_at_all(float w)
{
    return bits_of_float(w);
}

static uint32_t to_zero(float w)
{
    return bits_of_float(w) & 0xffff0000;
}

static uint32_t to_nearest(float w)
{
    return (uint32_t)bf16_of_float(w) << 16;
}

static void tiles_not_rounded(const struct kern_mm_args *a)
{
    for (int t = 0; t < a->n_tokens; t++) tiles_f32(a, not_at_all, t, false);
}

static void tiles_cut_off(const struct kern_mm_args *a)
{
    for (int t = 0; t < a->n_tokens; t++) tiles_f32(a, to_zero, t, false);
}

/* Right within the bound, but a token that is alone behind pairs is summed from the end. */
static void tiles_odd_token_differs(const struct kern_mm_args *a)
{
    for (int t = 0; t < a->n_tokens; t++) tiles_f32(a, to_nearest, t, a->n_tokens % 2 && t == a->n_tokens - 1);
}

static void kv_sum_last_lost(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q,
                             const struct kern_kv *v)
{
    struct kern_kv rows = *v;
    if (n_q > 2) rows.d = v->d / 2 * 2;
    kern_scalar.kv_sum[DTYPE_F16](o, o_stride, p, p_stride, n_q, &rows);
}

/* Right within the bound, but for many queries the rows' values are scaled after the sum. */
static void kv_dot_crowd_differs(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q,
                                 const struct kern_kv *k)
{
    kern_scalar.kv_dot[DTYPE_Q8_0](s, s_stride, q, q_stride, n_q, k);
    for (int j = 0; j < k->n && n_q >= 16 && k->d == 64; j++) {
        const struct block_q8_0 *b = (const void *)((const char *)k->rows + (size_t)j * k->stride);
        float half[2] = {0, 0};
        for (int c = 0; c < 64; c++) half[c / 32] += q[c] * (float)b[c / 32].qs[c % 32];
        s[j] = half[0] * float_of_f16(b[0].d) + half[1] * float_of_f16(b[1].d);
    }
}

/* The high nibbles as the second of each pair, not as the second half of a block. */
static void kv_sum_q4_0_pairs(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q,
                              const struct kern_kv *v)
{
    for (int i = 0; i < n_q; i++)
        for (int j = 0; j < v->n; j++)
            for (int c = 0; c < v->d; c++) {
                const struct block_q4_0 *b = (const void *)((const char *)v->rows + (size_t)j * v->stride);
                int code = b[c / 32].qs[c % 32 / 2] >> c % 2 * 4 & 15;
                o[(size_t)i * o_stride + (size_t)c] += p[(size_t)i * p_stride + (size_t)j] *
                                                       float_of_f16(b[c / 32].d) * (float)(code - 8);
            }
}

/* Right within the bound, but the last row first. */
static void kv_sum_backwards(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q,
                             const struct kern_kv *v)
{
    struct kern_kv row = *v;
    row.n = 1;
    for (int j = v->n; j-- > 0;) {
        row.rows = (const char *)v->rows + (size_t)j * v->stride;
        kern_scalar.kv_sum[DTYPE_BF16](o, o_stride, p + j, p_stride, n_q, &row);
    }
}

/* Rows of the scores next to each other, as if none lay between. */
static void kv_dot_without_stride(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q,
                                  const struct kern_kv *k)
{
    kern_scalar.kv_dot[DTYPE_F32](s, n_q > 1 ? (size_t)k->n : s_stride, q, q_stride, n_q, k);
}

#define FAULT(slot, kind, broken)                                                                  \
    {.group = #slot, .index = kind, .name = #broken, .function = (kc_slot_fn *)(broken)}
static const struct fault {
    const char *group;
    int index;
    const char *name;
    kc_slot_fn *function;
} faults[] = {
    FAULT(dot, 0, dot_without_tail),
    FAULT(dot, 0, dot_past_end),
    FAULT(dot, 0, dot_before_start),
    FAULT(add, 0, add_past_end),
    FAULT(add, 0, add_before_start),
    FAULT(add, 0, add_to_input),
    FAULT(scale, 0, scale_wrong),
    FAULT(max, 0, max_crash),
    FAULT(max, 0, max_from_zero),
    FAULT(exp_sum, 0, exp_sum_coarse),
    FAULT(layer_norm, 0, layer_norm_one_pass),
    FAULT(layer_norm, 0, layer_norm_no_bias),
    FAULT(act, KERN_ACT_GELU, act_by_halves),
    FAULT(act, KERN_ACT_GELU_ERF, act_absolute),
    FAULT(act, KERN_ACT_RELU, act_nan_lost),
    FAULT(softcap, 0, softcap_by_exp),
    FAULT(rope, KERN_ROPE_HALVES, rope_other_way),
    FAULT(quant_act, 0, acts_wrong_sum),
    FAULT(encode, DTYPE_F16, f16_cut_off),
    FAULT(encode, DTYPE_Q8_0, q8_0_nan_lost),
    FAULT(encode, DTYPE_Q4_0, q4_0_last_extreme),
    FAULT(mm, DTYPE_Q4_K, mm_last_row_lost),
    FAULT(mm, DTYPE_Q8_0, mm_last_block_lost),
    FAULT(mm, DTYPE_Q8_0, mm_offset_afterwards),
    FAULT(mm, DTYPE_F32, mm_batch_differs),
    FAULT(mm, DTYPE_Q6_K, mm_between_rows),
    FAULT(mm_tiles, DTYPE_F16, tiles_last_column_lost),
    FAULT(mm_tiles, DTYPE_F32, tiles_not_rounded),
    FAULT(mm_tiles, DTYPE_F32, tiles_cut_off),
    FAULT(mm_tiles, DTYPE_F32, tiles_odd_token_differs),
    FAULT(turn, 0, turn_odd_row_kept),
    FAULT(kv_sum, DTYPE_F16, kv_sum_last_lost),
    FAULT(kv_dot, DTYPE_Q8_0, kv_dot_crowd_differs),
    FAULT(kv_sum, DTYPE_Q4_0, kv_sum_q4_0_pairs),
    FAULT(kv_sum, DTYPE_BF16, kv_sum_backwards),
    FAULT(kv_dot, DTYPE_F32, kv_dot_without_stride),
};

static const struct kc_group *group_of(const char *name)
{
    int g = 0;
    while (strcmp(kc_groups[g].name, name)) g++;
    return &kc_groups[g];
}

int kc_self_test(uint64_t seed)
{
    int unnoticed = 0;
    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        const struct fault *f = &faults[i];
        const struct kc_group *group = group_of(f->group);
        struct kern_ops broken = kern_scalar;
        memcpy((char *)&broken + group->offset + (size_t)f->index * sizeof f->function,
               &f->function, sizeof f->function);
        struct kc kc = {.ops = &broken,
                        .scalar = &kern_scalar,
                        .group = group,
                        .index = f->index,
                        .isa = "broken",
                        .seed = seed};
        if (!kc_run_slot(&kc, true)) continue;
        fprintf(stderr, "the planted fault %s went unnoticed (--seed %llu)\n", f->name,
                (unsigned long long)seed);
        unnoticed++;
    }
    return unnoticed;
}
