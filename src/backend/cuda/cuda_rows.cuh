/* cuda_rows.cuh - norms of rows, as parts of kernels: by a block or by a warp, with sums of twice float32's digits.
 *
 * Squares are summed as pairs of float32 numbers: cards that are not for data centres calculate doubles 64 times
 * slower.  Double is left for means, and for rows whose squares leave the range of float32.
 *
 * Whoever norms a row takes its `unit` first, which is what all numbers of the row share, and then number after number.
 * A thread reads and writes the same numbers in every round, so a row may be normed where it lies. */
#ifndef CUDA_ROWS_CUH
#define CUDA_ROWS_CUH

#include "cuda_backend.h"
#include "lane.cuh"

/* W numbers that are loaded and stored together: 4 where addresses allow it, or 1. */
template <int W> struct alignas(4 * W) numbers {
    float v[W];
};

template <int W> LANE struct numbers<W> load_numbers(const float *p)
{
    return *reinterpret_cast<const struct numbers<W> *>(p);
}

template <int W> LANE void store_numbers(float *p, const struct numbers<W> &n)
{
    *reinterpret_cast<struct numbers<W> *>(p) = n;
}

/* Whether p may be read four numbers at a time, wherever a multiple of them begins; NULL is not read. */
static inline bool by_four(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}

/* A number as the sum of two, the second no larger than the last bit of the first. */
struct twin {
    float most, rest;
};

LANE struct twin twin_sum(float a, float b) /* exact, whichever is larger */
{
    float sum = add_rounded(a, b), of_b = add_rounded(sum, -a);
    return {sum, add_rounded(add_rounded(a, -add_rounded(sum, -of_b)), add_rounded(b, -of_b))};
}

LANE struct twin twin_sum(const struct twin &a, const struct twin &b)
{
    struct twin sum = twin_sum(a.most, b.most);
    float rest = add_rounded(sum.rest, add_rounded(a.rest, b.rest)), most = add_rounded(sum.most, rest);
    return {most, add_rounded(rest, -add_rounded(most, -sum.most))};
}

LANE struct twin twin_product(float a, float b)
{
    float most = mul_rounded(a, b);
    return {most, fmaf(a, b, -most)};
}

LANE struct twin warp_sum(struct twin v)
{
    for (int m = 16; m > 0; m /= 2) v = twin_sum(v, {warp_xor(v.most, m), warp_xor(v.rest, m)});
    return v;
}

/* What the numbers of a row have in common. */
struct unit {
    double mean;
    float factor; /* 1 / sqrt(mean square or variance + eps) */
};

/* Who sums: all threads of a block, or those of a warp. */
struct by_block {
    double *partial; /* [32] of shared memory */
    LANE int first() const { return (int)threadIdx.x; }
    LANE int step() const { return (int)blockDim.x; }
    template <typename T> LANE T sum(T v) const /* the same in every thread, in one order */
    {
        static_assert(sizeof(T) <= sizeof *partial, "no room for it");
        T *of_warp = (T *)(void *)partial, none = {};
        int n_warps = (int)(blockDim.x + 31) / 32;
        v = warp_sum(v);
        block_barrier(); /* the last sums have been read */
        if (lane_id() == 0) of_warp[threadIdx.x / 32] = v;
        block_barrier();
        return warp_sum(lane_id() < n_warps ? of_warp[lane_id()] : none);
    }
};

struct by_warp {
    LANE int first() const { return lane_id(); }
    LANE int step() const { return 32; }
    template <typename T> LANE T sum(T v) const { return warp_sum(v); }
};

/* 1 / sqrt(square / n + eps), rounded once but for a few of a million. */
LANE float factor_of(const struct twin &square, int n, float eps)
{
    float part = 1 / (float)n, part_rest = fmaf(-part, (float)n, 1) * part;
    struct twin mean = twin_product(square.most, part);
    mean.rest += fmaf(square.most, part_rest, square.rest * part);
    mean = twin_sum(mean, {eps, 0});
    float root = rsqrtf(mean.most);
    struct twin again = twin_product(root, root);
    float off = fmaf(-mean.most, again.most, 1) - fmaf(mean.most, again.rest, mean.rest * again.most);
    return fmaf(0.5f * root, off, root);
}

/* The sum of squares; beside 2^-80 .. 2^100 it means nothing. */
template <int W, typename WHO> LANE struct twin squares_of(const float *x, int n, const WHO &who)
{
    struct twin square = {0, 0};
    for (int i = W * who.first(); i < n; i += W * who.step()) {
        struct numbers<W> part = load_numbers<W>(x + i);
        for (int j = 0; j < W; j++) {
            struct twin one = twin_product(part.v[j], part.v[j]), sum = twin_sum(square.most, one.most);
            square = {sum.most, add_rounded(square.rest, add_rounded(sum.rest, one.rest))};
        }
    }
    return who.sum(square);
}

/* For any row: in double. */
template <int W, typename WHO>
LANE struct unit any_unit_of(const struct norm &norm, const float *x, int n, const WHO &who)
{
    struct unit u = {0, 1};
    if (norm.kind == NORM_LAYER) {
        double sum = 0;
        for (int i = W * who.first(); i < n; i += W * who.step()) {
            struct numbers<W> part = load_numbers<W>(x + i);
            for (int j = 0; j < W; j++) sum += (double)part.v[j];
        }
        u.mean = who.sum(sum) / n;
    }
    double square = 0;
    for (int i = W * who.first(); i < n; i += W * who.step()) {
        struct numbers<W> part = load_numbers<W>(x + i);
        for (int j = 0; j < W; j++) {
            double d = (double)part.v[j] - u.mean;
            square += d * d;
        }
    }
    u.factor = (float)(1 / sqrt(who.sum(square) / n + (double)norm.eps));
    return u;
}

/* All of `who` call it, with the same row of n numbers, a multiple of W. */
template <int W, typename WHO> LANE struct unit unit_of(const struct norm &norm, const float *x, int n, const WHO &who)
{
    if (norm.kind == NORM_NONE) return {0, 1};
    if (norm.kind == NORM_RMS) {
        struct twin square = squares_of<W>(x, n, who);
        if (square.most > 0x1p-80f && square.most < 0x1p100f) return {0, factor_of(square, n, norm.eps)};
    }
    return any_unit_of<W>(norm, x, n, who);
}

/* Numbers i to i + W - 1 of the row. */
template <int W> LANE struct numbers<W> normed(const struct norm &norm, const struct unit &u, const float *x, int i)
{
    struct numbers<W> y = load_numbers<W>(x + i);
    if (norm.kind == NORM_NONE) return y;
    for (int j = 0; j < W; j++)
        y.v[j] = (norm.kind == NORM_LAYER ? (float)((double)y.v[j] - u.mean) : y.v[j]) * u.factor;
    if (norm.weight) {
        struct numbers<W> weight = load_numbers<W>(norm.weight + i);
        for (int j = 0; j < W; j++) y.v[j] *= weight.v[j];
    }
    if (norm.bias) {
        struct numbers<W> bias = load_numbers<W>(norm.bias + i);
        for (int j = 0; j < W; j++) y.v[j] += bias.v[j];
    }
    return y;
}

static inline bool norm_by_four(const struct norm *norm)
{
    return norm->kind == NORM_NONE || (by_four(norm->weight) && by_four(norm->bias));
}

/* Threads of a block for a row of n numbers, W at a time: by n alone, so that a row's bits do not depend on how many
 * rows there are. */
static inline unsigned row_threads(int n, int width)
{
    int threads = (n / width / 2 + 31) / 32 * 32;
    return (unsigned)(threads < 64 ? 64 : threads > 512 ? 512 : threads);
}

#endif
