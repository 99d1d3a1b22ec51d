/* kern.h - the contract of CPU arithmetic: one table of pure functions per instruction set.
 *
 * A slot left NULL is inherited from the next older table; kern_scalar has no NULL slot and is the
 * definition of right.  kern_ops() folds the tables, oldest first, under the processor's features and
 * the REDLINE_CPU mask.  Kernels cannot fail, allocate, or see a thread; their callers check.
 *
 * Invariance: every output element depends only on its own row of weights and its own token (or query):
 * never on how many rows or tokens share the call.  So any division of the work among threads, and any
 * batch, gives the same bits.
 *
 * Not finite: NaN and infinities travel as IEEE says; softmax of a row of -inf is a row of zeros. */
#ifndef KERN_H
#define KERN_H

#include <stddef.h>
#include <stdint.h>

#include "blocks.h"
#include "dtype.h"
#include "strip.h"

/* y[t * y_stride + r] = sum over c of w(r, c) * x(t, c), for R rows of weights and T tokens.
 *
 * w holds strips (strip.h), each on a cache line.  x holds C float32 numbers per token for F32, F16 and BF16
 * weights, and ceil(C / 256) struct act_q8 for quantised ones, on a cache line per token.  C is a multiple of the
 * weight type's block, not necessarily of 256.
 *
 * The sum is defined to the last bit, so every table gives the same:
 * floats: sum = fma(w, x, sum) over each KERN_PIECE columns, from 0; y = 0 + the first of them + the second...
 * quantised: groups of 16 or 32 columns have w = d q + m; x = e p.  y = fma(q . p, d e, y) group by group, from
 *     0, with q . p an exact integer; of types that have m, each time followed by y = fma(m, e (sum of p), y). */
enum { KERN_PIECE = 64 };

struct kern_mm_args {
    float *y;        /* [T, R] */
    size_t y_stride; /* floats from token to token */
    const void *w;   /* [ceil(R / 16)] strips of C columns */
    size_t w_stride; /* bytes from strip to strip */
    const void *x;   /* [T, C] */
    size_t x_stride; /* bytes from token to token */
    int n_rows, n_cols, n_tokens;
};
typedef void kern_mm_fn(const struct kern_mm_args *a);

/* mm_tiles: the same product for many tokens, with weights and activations rounded to BF16 (nearest even; weights of
 * quantised types once d q + m is a float32 number, so MXFP4 and BF16 lose nothing).  x holds BF16 numbers:
 * 256 ceil(C / 256) per token, of which those beyond C are zeros, on a cache line.  Products are exact; sums are
 * float32 in any order, with numbers below 2^-126 taken or left, so results are held to a bound and not to bits.
 * Invariance holds as for all.
 *
 * A stride of tokens that is an odd number of cache lines keeps them out of each other's way in the caches. */

/* Rows of a cache, as kernels of attention read them: keys or values as encode wrote them, aligned as their
 * elements are, blocks to 2 bytes. */
struct kern_kv {
    const void *rows; /* [n, d]; d is a multiple of 32 for the quantised types */
    size_t stride;    /* bytes from row to row */
    int n, d;
    const void *next; /* n rows, as far apart, that will be wanted after these: a kernel that waits for memory
                         asks for them meanwhile, and looks at none.  NULL: nobody knows */
};

enum kern_rope { KERN_ROPE_PAIRS, KERN_ROPE_HALVES, KERN_ROPE_COUNT };

/* f(x), with sigmoid(x) = 1 / (1 + exp(-x)): */
enum kern_act {
    KERN_ACT_SILU,       /* x sigmoid(x) */
    KERN_ACT_GELU,       /* x sigmoid(2 z), z = sqrt(2 / pi) (x + 0.044715 x^3): x (1 + tanh(z)) / 2 */
    KERN_ACT_GELU_ERF,   /* x erfc(-x / sqrt(2)) / 2 */
    KERN_ACT_GELU_QUICK, /* x sigmoid(1.702 x) */
    KERN_ACT_RELU,       /* x, 0 where x < 0 */
    KERN_ACT_RELU_SQR,   /* the square of that */
    KERN_ACT_SWIGLU_OAI, /* g sigmoid(1.702 g), g = min(x, 7); see act below */
    KERN_ACT_COUNT
};

struct kern_ops {
    const char *name; /* "scalar", "avx2", "avxvnni", "avx512", "avx512bf16", "amx" */
    uint32_t need;    /* cpu.h features */

    /* Rows of a file into one strip: n_rows of them, up to 16, row_bytes apart; rows that lack become zeros. */
    void (*pack)(void *strip, enum dtype dtype, const void *rows, size_t row_bytes, int n_rows, int n_cols);

    /* Matrix product by weight type; see above. */
    kern_mm_fn *mm[DTYPE_COUNT];

    /* The product in BF16; see above.  Worth taking for many tokens where it is not scalar's, a mere definition. */
    kern_mm_fn *mm_tiles[DTYPE_COUNT];

    /* n rows of d float32 numbers, turned into strips of BF16: strip s, `stride` bytes from the one before, has the
     * columns 16 s to 16 s + 15 of `rows` as its rows, and n columns (n + 1, the last of zeros, if n is odd).
     * Rounded to nearest even; numbers below 2^-126 may become zeros.  Strips: on a cache line. */
    void (*turn)(void *strips, size_t stride, const float *rows, int n, int d);

    /* n elements (a multiple of the block) to float32 and back.  decode is exact up to float32
     * rounding.  encode rounds to nearest even for F16 and BF16; for quantised types it is the
     * deterministic choice of ggml's reference quantiser, without importance weights.  Of the types of a
     * cache (see kv_dot), a block with an element that is not finite is all NaN. */
    void (*decode[DTYPE_COUNT])(float *dst, const void *src, size_t n);
    void (*encode[DTYPE_COUNT])(void *dst, const float *src, size_t n);

    /* encode with scales searched for the least squared error by weight: n numbers that are finite and not
     * negative, how much each element's column matters.  Their unit is free.  A group whose weights are all
     * zero is encoded as if they were equal.  NULL for the types whose scales are not searched: F32, F16, BF16,
     * Q8_0, MXFP4. */
    void (*encode_weighted[DTYPE_COUNT])(void *dst, const float *src, const float *weight, size_t n);

    /* n activations to ceil(n / 256) blocks; the rest of the last block is zeros.  d = max|x| / 127 in
     * float32, q = round to nearest even of x * (127 / max|x|).  A block below 2^-100 is all zeros; one
     * with an element that is not finite has q = 0 and a d that is not finite either. */
    void (*quant_act)(struct act_q8 *dst, const float *x, size_t n);

    float (*dot)(const float *a, const float *b, size_t n);
    void (*add)(float *y, const float *x, size_t n);             /* y += x */
    void (*axpy)(float *y, float a, const float *x, size_t n);   /* y += a * x */
    void (*scale)(float *x, float a, size_t n);                  /* x *= a */
    float (*max)(const float *x, size_t n);                      /* -inf for n = 0 */
    float (*exp_sum)(float *x, float max, size_t n);             /* x = exp(x - max); returns the sum */

    /* y = x / sqrt(mean(x^2) + eps) * weight; the mean is taken in double.  weight NULL: ones.  y may be
     * x. */
    void (*rms_norm)(float *y, const float *x, const float *weight, size_t n, float eps);

    /* y = (x - mean) / sqrt(variance + eps) * weight + bias; mean and variance = mean((x - mean)^2) are
     * taken in double, and no digit of x - mean is lost to their rounding.  weight NULL: ones; bias NULL:
     * zeros.  y may be x. */
    void (*layer_norm)(float *y, const float *x, const float *weight, const float *bias, size_t n, float eps);

    /* y = f(gate) * up, or f(gate) where up is NULL; y may be gate or up.  Good to some units in the last
     * place of y.  SWIGLU_OAI multiplies by clamp(up, -7, 7) + 1 instead. */
    void (*act[KERN_ACT_COUNT])(float *y, const float *gate, const float *up, size_t n);

    void (*softcap)(float *x, float cap, size_t n); /* x = cap * tanh(x / cap), as good; cap > 0 */

    /* Rotary embedding of one head, in place: n_rot / 2 pairs (a, b) -> (a c - b s, a s + b c).
     * cs: [n_rot / 2] pairs (c, s).  PAIRS: a, b = x[2i], x[2i + 1]; HALVES: x[i], x[i + n_rot / 2]. */
    void (*rope[KERN_ROPE_COUNT])(float *x, const float *cs, size_t n_rot);

    /* Attention of n_q queries against rows of a cache of this type (F32, F16, BF16, Q8_0, Q4_0; NULL for all
     * others).  Queries and sums are float32, and so are the values of a quantised row.  Strides are in floats.
     * kv_dot: s[i * s_stride + j] = q_i . k_j.                    q: [n_q, d], s: [n_q, n]
     * kv_sum: o_i += sum over j of p[i * p_stride + j] * v_j, in the order of j.  o: [n_q, d], p: [n_q, n] */
    void (*kv_dot[DTYPE_COUNT])(float *s, size_t s_stride, const float *q, size_t q_stride, int n_q,
                                const struct kern_kv *k);
    void (*kv_sum[DTYPE_COUNT])(float *o, size_t o_stride, const float *p, size_t p_stride, int n_q,
                                const struct kern_kv *v);
};

/* One per instruction set; each file exports nothing else. */
extern const struct kern_ops kern_scalar, kern_avx2, kern_avxvnni, kern_avx512, kern_avx512bf16, kern_amx;

/* The table to use under these features (cpu.h): for every slot the newest version that they allow. */
void kern_select(struct kern_ops *out, uint32_t features);

/* kern_select() for this machine, made once. */
const struct kern_ops *kern_ops(void);

/* The name of the table that a slot of kern_select() was taken from, given one of its functions. */
const char *kern_origin(const void *function);

/* The matrix product with float32 activations for any weight type, and rows as they lie in the file, w_stride
 * bytes apart: decoded piece by piece and multiplied in float32.  What `--exact` uses. */
void kern_mm_exact(const struct kern_ops *k, enum dtype dtype, const struct kern_mm_args *a);

#endif
