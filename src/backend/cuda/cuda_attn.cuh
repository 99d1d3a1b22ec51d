/* cuda_attn.cuh - inside attention: what its two ways share, sums in float32 (cuda_attn.cu) and products of BF16
 * (cuda_attn_text.cu). */
#ifndef CUDA_ATTN_CUH
#define CUDA_ATTN_CUH

#include <math.h>

#include "cuda_kv.cuh"

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

/* cuda_attn_text.cu: whether the texts of this step go there; and there they go. */
bool cuda_attn_takes_text(const struct cuda_run *run, const struct op_attend *op);
void cuda_attn_text(struct cuda_run *run, const struct op_attend *op);

#endif
