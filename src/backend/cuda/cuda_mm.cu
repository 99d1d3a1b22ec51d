/* cuda_mm.cu - products of many rows of activations: BF16 tiles on tensor cores.
 *
 * out^T = w x^T: sixteen rows of weights are the first matrix of an mma, eight rows of x the second.  A strip is such
 * sixteen rows, and four codes that stand in one of its words are columns 4 t to 4 t + 3 of a lane's row; so a lane
 * takes the columns of an mma in that order, for the sum does not care, and weights go from memory to registers, become
 * BF16 numbers there and are multiplied: each once in a block, and no other lane ever needs them.  Rows of x are
 * copied to shared memory ahead of time, in stages of 64 or 128 columns; 32 bytes of them, the columns of an mma, are
 * swapped with others of the row by the last bits of its number: lanes that read four rows then meet no bank twice.
 *
 * A wide kernel gives each of four warps 32 rows of weights and all rows of x.  A narrow one, for few rows of x, gives
 * them the same 32 rows of weights and a quarter of the columns each, since it waits for memory alone.
 *
 * What is multiplied in float32 is in cuda_mm_f32.cu. */
#include "cuda_mm.cuh"

/* ---- shapes -------------------------------------------------------------------------------------- */

template <enum dtype T, int TOKENS, int PARTS> struct tiles {
    using F = strip_of<T>;
    static constexpr int n_codes = F::is_float ? 1 : F::n_codes, n_halves = F::n_steps / 4;
    static constexpr int n_steps = n_codes * n_halves;         /* mmas along a set's columns */
    static constexpr int set_cols = 16 * n_steps;
    static constexpr int cols = set_cols > 64 ? set_cols : 64; /* of a warp's part of a stage */
    static constexpr int n_sets = cols / set_cols;
    static constexpr int n_stages = 256 / cols;
    static constexpr int row_bytes = 2 * cols * PARTS, stage_bytes = TOKENS * row_bytes;
    static constexpr int rows = 4 * 2 * STRIP / PARTS;         /* of weights, of a block */
    static constexpr int n_tokens = TOKENS / 8;                /* mmas across x */
    static constexpr int part_bytes = cols * STRIP * (F::head_bytes + 4 * F::n_words) / F::n_cols; /* of a strip */
    static constexpr int sum_bytes = PARTS * TOKENS * (rows + MM_PAD) * (int)sizeof(float);
    static constexpr int shared_bytes = n_stages * stage_bytes > sum_bytes ? n_stages * stage_bytes : sum_bytes;
};

/* ---- weights ------------------------------------------------------------------------------------- */

/* The weights of a warp: those of two strips.  Of these a lane multiplies four rows, i = 0 to 3: g and g + 8 of the
 * first, then of the second.  Scales of blocks of 256 are dear: lane t finds those of row t, and the four that share
 * their rows exchange them. */
template <enum dtype T> struct warp_weights {
    using F = strip_of<T>;
    static constexpr bool exchanges = F::n_cols == STRIP_CHUNK;
    static constexpr bool by_half = exchanges && F::n_codes == 4; /* scales: each of 16 columns */
    const char *strip[2];
    int n_cols, set;
    raw_words<F> words[4];
    raw_heads<F> heads[exchanges ? 1 : 4];
    strip_scale scale[4]; /* of the step that is decoded */
};

LANE int lane_row(int i)
{
    return lane_id() / 4 + i % 2 * 8;
}

template <enum dtype T> LANE void load_set(warp_weights<T> &w, int nth)
{
    using W = warp_weights<T>;
    raw_place<strip_of<T>> place = place_of<strip_of<T>>(w.n_cols, nth);
    w.set = place.set;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        load_words(w.words[i], w.strip[i / 2], place, lane_row(i));
        if constexpr (!W::exchanges) load_heads(w.heads[i], w.strip[i / 2], place, lane_row(i));
    }
    int t = lane_id() % 4;
    if constexpr (W::exchanges) load_heads(w.heads[0], t < 2 ? w.strip[0] : w.strip[1], place, lane_row(t));
}

template <enum dtype T> LANE void find_scales(warp_weights<T> &w, int half, int code)
{
    using W = warp_weights<T>;
    if constexpr (W::exchanges) {
        if (half > 0 && !W::by_half) return; /* as they were */
        strip_scale own = scale_of(w.heads[0], w.set, half, code);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            w.scale[i].d = warp_from(own.d, lane_id() / 4 * 4 + i);
            w.scale[i].m = strip_of<T>::has_min ? warp_from(own.m, lane_id() / 4 * 4 + i) : 0;
        }
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++) w.scale[i] = scale_of(w.heads[i], w.set, half, code);
    }
}

/* The first matrices of a step's mmas. */
template <enum dtype T> LANE void decode_step(uint32_t a[2][4], warp_weights<T> &w, int half, int code)
{
    find_scales(w, half, code);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint32_t *to = a[i / 2] + i % 2;
        if (T == DTYPE_BF16) {
            to[0] = w.words[i].at[half][0];
            to[2] = w.words[i].at[half][1];
            continue;
        }
        float v[4];
        numbers_of(v, w.words[i], w.heads[warp_weights<T>::exchanges ? 0 : i], w.scale[i], w.set, half, code);
        to[0] = bf16x2_of_f32(v[0], v[1]);
        to[2] = bf16x2_of_f32(v[2], v[3]);
    }
}

/* Asks for part `nth` of both strips: 256 columns before they are loaded, they are on their way to the second-level
 * cache. */
template <class S> LANE void call_part(const char *const strip[2], size_t strip_bytes, int nth)
{
    size_t at = (size_t)nth * S::part_bytes + (size_t)(lane_id() % 16) * 128;
    const char *from = lane_id() < 16 ? strip[0] : strip[1];
    if (lane_id() % 16 * 128 < S::part_bytes && at < strip_bytes) prefetch_l2(from + at);
}

/* ---- rows of x ----------------------------------------------------------------------------------- */

/* Bytes from the start of a row in a stage to 32 of its bytes. */
LANE int swapped(int row, int nth)
{
    return (nth ^ (row & 3)) * 32;
}

template <class S, int TOKENS>
LANE void copy_stage(const struct mm &a, char *stages, const uint16_t *const *rows, int nth)
{
    constexpr int per_row = S::row_bytes / 16, at_once = MM_THREADS / per_row;
    char *stage = stages + nth % S::n_stages * S::stage_bytes;
    int piece = (int)threadIdx.x % per_row, first = (int)threadIdx.x / per_row;
    size_t col = (size_t)(nth * (S::row_bytes / 2) + 8 * piece);
    if (col >= a.x_stride) return; /* no weights are there either */
#pragma unroll
    for (int j = 0; j < TOKENS / at_once; j++) {
        int i = first + j * at_once;
        copy_async16(stage + i * S::row_bytes + swapped(i, piece / 2) + piece % 2 * 16, rows[i] + col, true);
    }
}

/* ---- sums ---------------------------------------------------------------------------------------- */

/* All mmas of a step; x: the warp's columns in the stage, the lane's row and bytes; step: 16 of these columns. */
template <class S>
LANE void multiply_step(float sums[2][S::n_tokens][4], const uint32_t a[2][4], const char *x, int step)
{
    const char *at = x + swapped(lane_id() / 4, step);
#pragma unroll
    for (int n = 0; n < S::n_tokens; n++) {
        uint2 b = *(const uint2 *)(at + n * 8 * S::row_bytes);
        uint32_t both[2] = {b.x, b.y};
        warp_mma_bf16(sums[0][n], a[0], both);
        warp_mma_bf16(sums[1][n], a[1], both);
    }
}

/* One set of the warp's weights, whose columns begin at step `at` of the stage; while its last step is multiplied, the
 * next set is loaded. */
template <class S, enum dtype T>
LANE void multiply_set(float sums[2][S::n_tokens][4], warp_weights<T> &w, const char *x, int at, int next, int n_sets)
{
    uint32_t a[2][2][4];
    decode_step(a[0], w, 0, 0);
#pragma unroll
    for (int step = 0; step < S::n_steps; step++) {
        constexpr int n_halves = S::n_halves;
        if (step + 1 < S::n_steps)
            decode_step(a[(step + 1) % 2], w, (step + 1) % n_halves, (step + 1) / n_halves);
        else if (next < n_sets)
            load_set(w, next);
        multiply_step<S>(sums, a[step % 2], x, at + step);
    }
}

template <class S, int TOKENS>
LANE void put_sums(float *to, const float sums[2][S::n_tokens][4], int part, int row)
{
    int g = lane_id() / 4, t = lane_id() % 4;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float *at = to + part * TOKENS * (S::rows + MM_PAD) + row + i * (S::rows / 2) + g;
#pragma unroll
        for (int n = 0; n < S::n_tokens; n++) {
#pragma unroll
            for (int j = 0; j < 4; j++)
                at[(8 * n + 2 * t + j % 2) * (S::rows + MM_PAD) + j / 2 * 8] = sums[i][n][j];
        }
    }
}

/* ---- kernels ------------------------------------------------------------------------------------- */

template <enum dtype T, int TOKENS, int PARTS>
static __global__ void __launch_bounds__(MM_THREADS, TOKENS > 64 ? 2 : 3) mm_tiles(struct mm a)
{
    using S = tiles<T, TOKENS, PARTS>;
    __shared__ const uint16_t *rows[TOKENS]; /* of x */
    char *stages = shared_memory();
    int warp = (int)threadIdx.x / 32, part = PARTS > 1 ? warp : 0, own = PARTS > 1 ? 0 : warp;
    if (a.expert_first) grid_wait(); /* whose weights: is written in front */
    struct mm_tile tile = mm_tile_of(a, TOKENS);
    if (tile.n == 0) return;
    warp_weights<T> w;
    for (int i = 0; i < 2; i++) w.strip[i] = mm_strip<S::rows>(a, tile, own + i * (S::rows / STRIP / 2));
    w.n_cols = a.n_cols;
    for (int i = 0; i < 512 / S::cols; i++) call_part<S>(w.strip, a.strip_bytes, i * PARTS + part);
    if (!a.expert_first) grid_wait();
    grid_release();
    if (threadIdx.x < TOKENS) rows[threadIdx.x] = mm_row<uint16_t>(a, tile, (int)threadIdx.x);
    block_barrier();

    int n_sets = strip_n_blocks<strip_of<T>>(a.n_cols) * strip_of<T>::n_sets, first = part * S::n_sets;
    int n_stages = (a.n_cols + S::cols * PARTS - 1) / (S::cols * PARTS);
    for (int i = 0; i < S::n_stages - 1; i++) {
        copy_stage<S, TOKENS>(a, stages, rows, i);
        copy_commit();
    }
    if (first < n_sets) load_set(w, first);
    float sums[2][S::n_tokens][4] = {};
#pragma unroll 1
    for (int i = 0; i < n_stages; i++) {
        copy_wait<S::n_stages - 2>();
        block_barrier();
        copy_stage<S, TOKENS>(a, stages, rows, i + S::n_stages - 1);
        copy_commit();
        call_part<S>(w.strip, a.strip_bytes, (i + 512 / S::cols) * PARTS + part);
        const char *x = stages + i % S::n_stages * S::stage_bytes + lane_id() / 4 * S::row_bytes +
                        part * 2 * S::cols + lane_id() % 4 * 8;
#pragma unroll
        for (int j = 0; j < S::n_sets; j++) {
            int nth = (i * PARTS + part) * S::n_sets + j;
            int next = j + 1 < S::n_sets ? nth + 1 : ((i + 1) * PARTS + part) * S::n_sets;
            if (nth < n_sets) multiply_set<S>(sums, w, x, j * S::n_steps, next, n_sets);
        }
    }
    copy_wait<0>();
    block_barrier();
    put_sums<S, TOKENS>((float *)stages, sums, part, own * STRIP);
    block_barrier();
    mm_finish<S::rows, TOKENS, PARTS>(a, tile, (const float *)stages);
}

/* ---- launches ------------------------------------------------------------------------------------ */

enum width { WIDE, MIDDLE, NARROW, N_WIDTHS };

static const int most_tokens[N_WIDTHS] = {128, 64, 16}; /* of a tile */

struct kernel { /* of a weight type */
    enum dtype dtype;
    void (*run[N_WIDTHS])(struct mm);
    int shared_bytes[N_WIDTHS];
};

#define KERNEL(T)                                                                                   \
    {                                                                                               \
        T, {mm_tiles<T, 128, 1>, mm_tiles<T, 64, 1>, mm_tiles<T, 16, 4>},                           \
        {                                                                                           \
            tiles<T, 128, 1>::shared_bytes, tiles<T, 64, 1>::shared_bytes, tiles<T, 16, 4>::shared_bytes \
        }                                                                                           \
    }
static const struct kernel kernels[] = {
    KERNEL(DTYPE_F16),  KERNEL(DTYPE_BF16), KERNEL(DTYPE_Q4_0),   KERNEL(DTYPE_Q4_1),   KERNEL(DTYPE_Q5_0),
    KERNEL(DTYPE_Q5_1), KERNEL(DTYPE_Q8_0), KERNEL(DTYPE_Q2_K),   KERNEL(DTYPE_Q3_K),   KERNEL(DTYPE_Q4_K),
    KERNEL(DTYPE_Q5_K), KERNEL(DTYPE_Q6_K), KERNEL(DTYPE_IQ4_NL), KERNEL(DTYPE_IQ4_XS), KERNEL(DTYPE_MXFP4),
};

static const struct kernel *kernel_of(enum dtype dtype)
{
    const struct kernel *k = kernels;
    while (k->dtype != dtype) k++;
    return k;
}

/* Rows of weights of a block. */
static unsigned rows_of(const struct mm *a, enum width width)
{
    return (width == NARROW ? 32 : 128) / (a->end == MM_PAIR ? 2 : 1);
}

static dim3 grid_of(const struct mm *a, enum width width)
{
    unsigned rows = rows_of(a, width);
    return dim3(mm_most_tiles(a, most_tokens[width]), ((unsigned)a->n_rows + rows - 1) / rows);
}

/* A block of half as many rows of x takes more than half the time, about 9/16, since weights are decoded for them all
 * the same; but twice as many blocks may be shared out better. */
static enum width width_of(const struct cuda_run *run, const struct mm *a)
{
    int n_mats = a->expert_first ? a->n_experts : a->n_heads ? a->n_heads : 1, n = (a->n + n_mats - 1) / n_mats;
    if (n <= most_tokens[NARROW]) return NARROW;
    if (n <= most_tokens[MIDDLE]) return MIDDLE;
    unsigned n_at_once = (unsigned)run->d->n_multiprocessors;
    dim3 wide = grid_of(a, WIDE), middle = grid_of(a, MIDDLE);
    unsigned wide_rounds = (wide.x * wide.y + n_at_once - 1) / n_at_once;
    unsigned middle_rounds = (middle.x * middle.y + n_at_once - 1) / n_at_once;
    return 16 * wide_rounds <= 9 * middle_rounds ? WIDE : MIDDLE;
}

static void launch_tiles(struct cuda_run *run, const struct mm *a, enum dtype dtype)
{
    const struct kernel *k = kernel_of(dtype);
    enum width width = width_of(run, a);
    device_launch(run->d, "a product in BF16", k->run[width], grid_of(a, width), dim3(MM_THREADS),
                  (size_t)k->shared_bytes[width], *a);
}

/* ---- products ------------------------------------------------------------------------------------ */

struct ready { /* what has been made of the rows of x */
    bool bf16, normed;
};

static bool in_tiles(const struct cuda_run *run, const struct weight *w)
{
    return run->form != CUDA_EXACT && w->dtype != DTYPE_F32;
}

/* Rows of x as the kernel wants them. */
static void prepare(struct cuda_run *run, const struct cuda_product *p, struct mm *a, bool bf16, struct ready *ready)
{
    const struct cuda_scratch *s = &run->b->scratch;
    int n = p->x_of_token ? p->n / p->n_used : p->n;
    bool norm = p->norm && p->norm->kind != NORM_NONE;
    a->x = bf16 ? (const void *)s->bf16 : norm ? s->norm : p->x;
    a->x_stride = bf16 ? (size_t)ROUND_UP(a->n_cols, CUDA_ROW) : p->x_stride;
    if (bf16 && !ready->bf16)
        cuda_to_bf16(run, p->norm, s->bf16, (int)a->x_stride, p->x, p->x_stride, NULL, n, a->n_cols);
    if (!bf16 && norm && !ready->normed) cuda_norm(run, p->norm, s->norm, p->x, p->x_stride, n, a->n_cols);
    *(bf16 ? &ready->bf16 : &ready->normed) = true;
}

static struct mm_weight matrix_of(const struct linear *l, int mat)
{
    size_t mat_bytes = strip_bytes(strip_form(l->w.dtype), l->w.n_cols) * (size_t)CEIL_DIV(l->w.n_rows, STRIP);
    return {(const char *)l->w.placed + (size_t)mat * mat_bytes,
            l->bias ? l->bias + (size_t)mat * (size_t)l->w.n_rows : NULL};
}

/* One launch: of l, and of `up` where both go together. */
static void multiply(struct cuda_run *run, const struct cuda_product *p, const struct linear *l,
                     const struct linear *up, enum mm_end end, struct ready *ready)
{
    const struct cuda_scratch *s = &run->b->scratch;
    const struct weight *w = &l->w;
    struct mm a = {};
    a.w[0] = matrix_of(l, p->experts ? 0 : p->mat);
    if (up) a.w[1] = matrix_of(up, p->experts ? 0 : p->mat);
    a.strip_bytes = strip_bytes(strip_form(w->dtype), w->n_cols);
    a.mat_bytes = a.strip_bytes * (size_t)CEIL_DIV(w->n_rows, STRIP);
    a.n_rows = w->n_rows;
    a.n_cols = w->n_cols;
    a.n = p->n;
    a.x_scale = p->x_scale;
    a.token_of = p->experts && p->x_of_token ? s->token_of : NULL;
    a.x_of_token = p->heads && p->x_of_token;
    a.n_heads = p->heads ? w->n_mats : 0;
    a.expert_first = p->experts ? s->expert_first : NULL;
    a.n_experts = p->experts ? w->n_mats : 0;
    a.out = p->out;
    a.out_stride = p->out_stride;
    a.end = end;
    a.scale = p->scale;
    a.act = p->act;
    bool tiles = in_tiles(run, w);
    prepare(run, p, &a, tiles, ready);
    if (tiles)
        launch_tiles(run, &a, w->dtype);
    else
        cuda_mm_f32(run, &a, w->dtype);
}

static void multiply_glu(struct cuda_run *run, const struct cuda_product *p, struct ready *ready)
{
    if (!p->w || p->w->w.n_mats == 0) {
        multiply(run, p, p->up, NULL, MM_ACT, ready);
    } else if (p->w->w.dtype == p->up->w.dtype) {
        multiply(run, p, p->w, p->up, MM_PAIR, ready);
    } else {
        multiply(run, p, p->w, NULL, MM_STORE, ready);
        multiply(run, p, p->up, NULL, MM_GATED, ready);
    }
}

void cuda_mm(struct cuda_run *run, const struct cuda_product *products, int n_products)
{
    struct ready ready = {};
    for (const struct cuda_product *p = products; p < products + n_products; p++) {
        if (p->after == AFTER_GLU)
            multiply_glu(run, p, &ready);
        else
            multiply(run, p, p->w, NULL, p->after == AFTER_ADD ? MM_ADD : MM_STORE, &ready);
    }
}
