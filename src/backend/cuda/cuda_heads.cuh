/* cuda_heads.cuh - what happens to one head between a product and its reader: a warp has it in shared memory.
 *
 * A lane reads and writes numbers lane, lane + 32 and so on; head_rotate() alone needs those of others. */
#ifndef CUDA_HEADS_CUH
#define CUDA_HEADS_CUH

#include "cuda_kv.cuh"
#include "cuda_rows.cuh"

/* Floats of shared memory for a head of d. */
static inline int head_room(int d)
{
    return (d + 31) / 32 * 32;
}

LANE void head_load(float *head, const float *from, int d, float clamp)
{
    for (int i = lane_id(); i < d; i += 32) {
        float x = from[i];
        head[i] = clamp > 0 ? fminf(fmaxf(x, -clamp), clamp) : x;
    }
}

LANE void head_store(float *to, const float *head, int d)
{
    for (int i = lane_id(); i < d; i += 32) to[i] = head[i];
}

/* With a unit that was taken before; the norm's weights begin at number `offset` of them. */
LANE void head_apply(const struct norm &norm, const struct unit &u, float *head, int d, size_t offset)
{
    struct norm own = norm;
    if (own.weight) own.weight += offset;
    if (own.bias) own.bias += offset;
    for (int i = lane_id(); i < d; i += 32) head[i] = normed<1>(own, u, head, i).v[0];
}

LANE void head_norm(const struct norm &norm, float *head, int d, size_t offset)
{
    if (norm.kind == NORM_NONE) return;
    struct by_warp warp;
    head_apply(norm, unit_of<1>(norm, head, d, warp), head, d, offset);
}

/* Pairs of the first rope.n_rot numbers, by row t of the rotary table.  Ends with a barrier of the warp. */
LANE void head_rotate(const struct rotary &rope, const struct cuda_batch &batch, float *head, int t)
{
    warp_barrier();
    if (rope.kind != ROPE_NONE) {
        int half = rope.n_rot / 2;
        const float *cs = batch.cs[rope.table] + (size_t)t * (size_t)rope.n_rot;
        for (int i = lane_id(); i < half; i += 32) {
            float *a = head + (rope.kind == ROPE_PAIRS ? 2 * i : i), *b = a + (rope.kind == ROPE_PAIRS ? 1 : half);
            float x = *a, y = *b, c = cs[2 * i], s = cs[2 * i + 1];
            *a = x * c - y * s;
            *b = x * s + y * c;
        }
    }
    warp_barrier();
}

LANE void head_scale(float *head, int d, float factor)
{
    for (int i = lane_id(); i < d; i += 32) head[i] *= factor;
}

/* What queries at `pos` are scaled by; see struct op_qkv. */
LANE float temperature(float scale, float offset, int length, int pos)
{
    return scale == 0 ? 1 : 1 + scale * logf(floorf(((float)pos + offset) / (float)length) + 1);
}

#endif
