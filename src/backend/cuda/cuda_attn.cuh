/* cuda_attn.cuh - inside attention: what its two ways share, sums in float32 (cuda_attn.cu) and products of BF16
 * (cuda_attn_text.cu), and how their partial results become one (cuda_attn_merge.cu). */
#ifndef CUDA_ATTN_CUH
#define CUDA_ATTN_CUH

#include <math.h>

#include "cuda_kv.cuh"

/* Blocks that share out the positions of tokens, at most. */
enum { CUDA_ATTN_MOST_BLOCKS = 512 };

struct attn_sight { /* positions [from, to) of its sequence, which a token sees */
    int from, to;
};

LANE struct attn_sight attn_sight(const struct op_attend &op, int pos, int n_kv)
{
    struct attn_sight s = {0, op.causal ? pos + 1 : n_kv};
    switch (op.window) {
    case WINDOW_NONE: break;
    case WINDOW_SLIDING: s.from = MAX(0, pos + 1 - op.n_window); break;
    case WINDOW_CHUNKED: s.from = pos / op.n_window * op.n_window; break;
    case WINDOW_SYMMETRIC:
        s.from = MAX(0, pos - op.n_window / 2);
        s.to = MIN(s.to, pos + op.n_window / 2 + 1);
        break;
    }
    return s;
}

/* How much a score falls per position of distance, for query head h; see cpu_attn.c. */
LANE float attn_slope(const struct op_attend &op, int h)
{
    if (op.alibi == 0) return 0;
    int n = 1;
    while (2 * n <= op.n_heads) n *= 2;
    return h < n ? powf(2, -op.alibi * (float)(h + 1) / (float)n)
                 : powf(2, -op.alibi * (float)(2 * (h - n) + 1) / (float)(2 * n));
}

/* What is between a score and the softmax. */
LANE float attn_shape(const struct op_attend &op, float score, float slope, int pos, int at)
{
    if (op.softcap > 0) score = op.softcap * tanhf(score / op.softcap);
    if (op.alibi != 0) score -= slope * fabsf((float)(pos - at));
    return score;
}

/* Of a layer whose values are the beginning of its keys, rows are read once for both. */
LANE bool attn_is_latent(const struct kv_layer &kv)
{
    return kv.v == kv.k;
}

/* Begins to copy positions [from, to) of one page's part for a head into shared memory: `first` lies at `to_shared` and
 * is a multiple of 8.  By all threads of a block. */
LANE void attn_copy_rows(char *to_shared, const struct cuda_batch &batch, const struct kv_layer &kv, bool values,
                         int seq, int head, int first, int from, int to)
{
    const char *rows = kv_row(batch, kv, values, seq, head, first);
    int row_bytes = (int)(values ? kv.v_row_bytes : kv.k_row_bytes);
    int begin = (from - first) * row_bytes / 16 * 16, end = (to - first) * row_bytes;
    for (int i = begin + 16 * (int)threadIdx.x; i < end; i += 16 * (int)blockDim.x)
        copy_async16(to_shared + i, rows + i, true);
}

/* Calls what(tag) with the type's tag, so that code is made for each. */
#define ATTN_BY_TYPE(type, call)                    \
    switch (type) {                                 \
    case DTYPE_F16: call(DTYPE_F16); break;         \
    case DTYPE_BF16: call(DTYPE_BF16); break;       \
    case DTYPE_Q8_0: call(DTYPE_Q8_0); break;       \
    case DTYPE_Q4_0: call(DTYPE_Q4_0); break;       \
    default: call(DTYPE_F32); break;                \
    }

/* ---- partial results, and the end ---------------------------------------------------------------------------- */

/* Where the positions of tokens are shared out: of each row and piece the largest score m, the sum l of exp(score - m),
 * and the sum of values times that.  A piece without positions has m = -INFINITY, l = 0 and no sums. */
struct attn_parts {
    float *sums;     /* [items * n_tokens, H, n_pieces, width] */
    float2 *weights; /* [items * n_tokens, H, n_pieces] m and l */
    int n_pieces;    /* 1: no parts, results go to the output */
    int width;       /* d_v, rounded up to a multiple of 8 */
    int n_tokens;    /* of an item, at most: 1, or those of a text's tile */
};

/* The token of a row; -1 where a tile has no more. */
LANE int attn_token(const struct attn_parts &parts, const int32_t *tokens, const int4 *tiles, int row)
{
    if (!tiles) return tokens ? tokens[row] : row;
    int item = row / parts.n_tokens, nth = row - item * parts.n_tokens;
    return nth < tiles[item].y ? tiles[item].x + nth : -1;
}

/* Where row t, head h and a piece are in parts.weights. */
LANE size_t attn_part(const struct op_attend &op, const struct attn_parts &parts, int t, int h, int piece)
{
    return ((size_t)t * (size_t)op.n_heads + (size_t)h) * (size_t)parts.n_pieces + (size_t)piece;
}

/* exp(m - top); 0 where nothing was summed. */
LANE float attn_weight(float m, float l, float top)
{
    return expf(l == 0 ? -INFINITY : m - top);
}

LANE void attn_add_scaled(float4 *sum, float by, const float4 &o)
{
    sum->x = fmaf(by, o.x, sum->x);
    sum->y = fmaf(by, o.y, sum->y);
    sum->z = fmaf(by, o.z, sum->z);
    sum->w = fmaf(by, o.w, sum->w);
}

/* What sums of query head h are multiplied with in the end; a sink is a score without a value. */
LANE float attn_scale(const struct op_attend &op, int h, float m, float l)
{
    if (!op.sinks) return 1 / l;
    float sink = op.sinks[h], top = fmaxf(m, sink), keep = expf(m - top);
    return keep / (l * keep + expf(sink - top));
}

/* Columns column to column + 3 of head h to the output. */
LANE void attn_store(const struct op_attend &op, int token, int h, int column, float4 o, float scale)
{
    const float y[4] = {o.x, o.y, o.z, o.w};
    float *out = op.out + ((size_t)token * (size_t)op.n_heads + (size_t)h) * (size_t)op.kv.d_v;
    for (int i = 0; i < 4 && column + i < op.kv.d_v; i++) out[column + i] = y[i] * scale;
}

/* cuda_attn_merge.cu: parts in scratch memory; and from there to the output, unless there is one piece.  Items are the
 * tokens of a list on the device, tiles of texts where `tiles` is one, or all tokens where both are NULL. */
struct attn_parts attn_parts_of(const struct cuda_run *run, const struct op_attend *op, int n_items, int n_tokens,
                                int n_pieces);
void attn_merge(struct cuda_run *run, const struct op_attend *op, const struct attn_parts &parts, int n_items,
                const int32_t *tokens, const int4 *tiles);

/* cuda_attn_text.cu: whether the texts of this step go there; and there they go. */
bool cuda_attn_takes_text(const struct cuda_run *run, const struct op_attend *op);
void cuda_attn_text(struct cuda_run *run, const struct op_attend *op);
size_t cuda_attn_text_floats(const struct step_limits *l); /* of scratch.partial */

#endif
