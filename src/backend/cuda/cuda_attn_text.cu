/* cuda_attn_text.cu - attention of texts as products of BF16 (Dao et al. 2022, 2023).
 *
 * A block takes one KV head and a tile of consecutive tokens: the rows of its products are those tokens, times the
 * query heads that share the KV head.  It walks the pages that any of them sees.  A page comes to shared memory as
 * bytes, its values while its keys are multiplied and the next keys while its values are, or each one product sooner
 * where there is room for both; there it is rounded to BF16, once for all rows.  Scores, their softmax and sums of
 * values are float32 and stay in registers; shares of the softmax are rounded for their product with the values.
 *
 * Where tiles and heads are too few to keep the device busy, pages are shared out too: a short text behind a long one.
 *
 * Tokens that a model made go with cuda_attn.cu, and so does what is no multiple of 16 or too wide. */
#include "cuda_attn.cuh"

#include "dtype.h"

enum {
    WARPS = 4,
    THREADS = 32 * WARPS,
    NARROWEST = 32, /* as the CPU's: in short sums roundings do not cancel */
    WIDEST = 256,
    LEAST_PAGES = 4,   /* of a piece: its sums, written and read again, cost as much as a page or less */
    MOST_BLOCKS = 256, /* that share out pages */
};

static constexpr float LOG2_E = 1.44269504f;

struct text_tile {
    int token, n_tokens, head, n_share, seq;
    int n_rows;             /* n_tokens * n_share: row i is token i / n_share, query i % n_share of the head */
    struct attn_sight any, all; /* what some row sees, of this block's piece; what every one does */
};

struct text_shared { /* parts of shared memory */
    char *q;         /* [rows, k_columns] BF16 */
    char *tile;      /* [KV_PAGE, k_columns or v_columns] BF16 of keys, then of values */
    char *k, *v;     /* rows of a page as they are cached; one place where there is no room for two */
    struct attn_sight *sight; /* [rows] */
    float *slope;    /* [rows] */
    int *pos;        /* [rows] */
    int *row;        /* [rows] of op.out, or of parts where there are; -1: none.  Here it takes no registers */
    int k_columns, v_columns; /* multiples of 64 */
};

static LANE struct text_shared lay_out(const struct kv_layer &kv, int rows, bool one_page)
{
    struct text_shared s;
    int k_bytes = KV_PAGE * (int)kv.k_row_bytes, v_bytes = KV_PAGE * (int)kv.v_row_bytes;
    s.k_columns = ROUND_UP(kv.d_k, 64);
    s.v_columns = ROUND_UP(kv.d_v, 64);
    s.q = shared_memory();
    s.tile = s.q + 2 * rows * s.k_columns;
    s.k = s.tile + 2 * KV_PAGE * MAX(s.k_columns, s.v_columns);
    s.v = one_page ? s.k : s.k + k_bytes;
    s.sight = (struct attn_sight *)(s.k + (one_page ? MAX(k_bytes, v_bytes) : k_bytes + v_bytes));
    s.slope = (float *)(s.sight + rows);
    s.pos = (int *)(s.slope + rows);
    s.row = s.pos + rows;
    return s;
}

static size_t tile_bytes(const struct kv_layer *kv, int rows, bool one_page)
{
    size_t k_bytes = KV_PAGE * kv->k_row_bytes, v_bytes = KV_PAGE * kv->v_row_bytes;
    size_t k_columns = (size_t)ROUND_UP(kv->d_k, 64), v_columns = (size_t)ROUND_UP(kv->d_v, 64);
    return 2 * ((size_t)rows * k_columns + KV_PAGE * MAX(k_columns, v_columns)) +
           (one_page ? MAX(k_bytes, v_bytes) : k_bytes + v_bytes) +
           (size_t)rows * (sizeof(struct attn_sight) + sizeof(float) + 2 * sizeof(int));
}

/* Eight numbers, the c-th such of a row, in a matrix of so many columns: arranged so that eight rows of one c lie in
 * different banks. */
static LANE char *eight_of(char *matrix, int columns, int row, int c)
{
    return matrix + 2 * row * columns + 16 * ((c & ~7) + ((c ^ row) & 7));
}

/* Late ones see most: they go first. */
static LANE int tile_index()
{
    return (int)(gridDim.y - 1 - blockIdx.y);
}

/* The pages that a tile sees are cut by its positions alone; late pieces may have none. */
static LANE struct attn_sight piece_of(struct attn_sight seen, int n_pieces)
{
    int first = seen.from / KV_PAGE * KV_PAGE, n_pages = CEIL_DIV(seen.to - first, (int)KV_PAGE);
    int each = MAX((int)LEAST_PAGES, CEIL_DIV(n_pages, n_pieces)) * KV_PAGE, from = first + (int)blockIdx.z * each;
    return {MAX(seen.from, from), MIN(seen.to, from + each)};
}

static LANE struct text_tile tile_of(const struct op_attend &op, const struct cuda_batch &batch, int n_pieces)
{
    int4 own = batch.text_tiles[tile_index()];
    struct text_tile t;
    t.token = own.x;
    t.n_tokens = own.y;
    t.head = (int)blockIdx.x;
    t.n_share = op.n_heads / op.kv.n_heads;
    t.seq = batch.seq[t.token];
    t.n_rows = t.n_tokens * t.n_share;
    int n_kv = batch.n_kv[t.seq];
    struct attn_sight first = attn_sight(op, batch.pos[t.token], n_kv);
    struct attn_sight last = attn_sight(op, batch.pos[t.token + t.n_tokens - 1], n_kv);
    t.any = {first.from, last.to};
    if (n_pieces > 1) t.any = piece_of(t.any, n_pieces);
    t.all = {last.from, first.to};
    return t;
}

/* Where row i of a tile is in q, or in out, of rows of d numbers. */
static LANE size_t row_at(const struct op_attend &op, const struct text_tile &t, int i, int d)
{
    size_t head = (size_t)(t.head * t.n_share + i % t.n_share);
    return ((size_t)(t.token + i / t.n_share) * (size_t)op.n_heads + head) * (size_t)d;
}

/* Begins to copy what the tile sees of the page at position `page`. */
static LANE void copy_page(const struct cuda_batch &batch, const struct kv_layer &kv, const struct text_tile &t,
                           const struct text_shared &s, bool is_values, int page)
{
    if (page < t.any.to)
        attn_copy_rows(is_values ? s.v : s.k, batch, kv, is_values, t.seq, t.head, page, MAX(page, t.any.from),
                       MIN(page + KV_PAGE, t.any.to));
    copy_commit();
}

/* Until what was begun is there; of two pages under way, the one that was begun first. */
static LANE void wait_page(bool one_page)
{
    if (one_page) copy_wait<0>();
    copy_wait<1>();
    block_barrier();
}

/* Row i of a tile in the output, [T, H], or in parts. */
static LANE int row_of(const struct op_attend &op, const struct text_tile &t, const struct attn_parts &parts, int i)
{
    int first = parts.n_pieces > 1 ? tile_index() * parts.n_tokens : t.token;
    return (first + i / t.n_share) * op.n_heads + t.head * t.n_share + i % t.n_share;
}

/* Queries, times the scale, as BF16; what rows see.  A row that is none sees nothing. */
static LANE void load_queries(const struct op_attend &op, const struct cuda_batch &batch, const struct text_tile &t,
                              const struct text_shared &s, const struct attn_parts &parts, int rows)
{
    for (int i = (int)threadIdx.x / 8; i < rows; i += THREADS / 8) {
        const float *q = op.q + (i < t.n_rows ? row_at(op, t, i, op.kv.d_k) : 0);
        for (int c = (int)threadIdx.x % 8; 8 * c < op.kv.d_k; c += 8) {
            float x[8] = {};
            if (i < t.n_rows) kv_read8<DTYPE_F32>(x, (const char *)q, 8 * c, op.kv.d_k, true);
            for (int e = 0; e < 8; e++) x[e] *= op.scale;
            *(uint4 *)eight_of(s.q, s.k_columns, i, c) = {bf16x2_of_f32(x[0], x[1]), bf16x2_of_f32(x[2], x[3]),
                                                          bf16x2_of_f32(x[4], x[5]), bf16x2_of_f32(x[6], x[7])};
        }
    }
    for (int i = (int)threadIdx.x; i < rows; i += THREADS) {
        bool is_row = i < t.n_rows;
        int pos = is_row ? batch.pos[t.token + i / t.n_share] : 0;
        s.pos[i] = pos;
        s.row[i] = is_row ? row_of(op, t, parts, i) : -1;
        s.slope[i] = is_row ? attn_slope(op, t.head * t.n_share + i % t.n_share) : 0;
        s.sight[i] = {};
        if (is_row) s.sight[i] = attn_sight(op, pos, batch.n_kv[t.seq]);
    }
}

/* Rows [from, to) of a page to BF16.  Those around them become zeros: they have no share in sums, if only they are
 * numbers. */
template <enum dtype TYPE>
LANE void round_rows(char *tile, int columns, const char *rows, int row_bytes, int d, int from, int to)
{
#pragma unroll
    for (int i = (int)threadIdx.x / 8; i < KV_PAGE; i += THREADS / 8) {
        bool there = i >= from && i < to;
        for (int c = (int)threadIdx.x % 8; 8 * c < d; c += 8) {
            uint4 x = {};
            if (there) x = kv_read8_bf16<TYPE>(rows + i * row_bytes, 8 * c, d, true);
            *(uint4 *)eight_of(tile, columns, i, c) = x;
        }
    }
}

/* scores[tile of 16 rows][tile of 8 positions] of a warp's rows: as warp_mma_bf16() has them. */
template <int MT>
LANE void multiply_keys(float (&scores)[MT][8][4], const struct text_shared &s, int first_row, int d)
{
    int lane = lane_id();
#pragma unroll
    for (int i = 0; i < 4 * 8 * MT; i++) scores[i / 32][i / 4 % 8][i % 4] = 0;
#pragma unroll 1
    for (int k = 0; k < d / 16; k++) {
        uint32_t q[MT][4];
#pragma unroll
        for (int i = 0; i < MT; i++)
            warp_load_matrices(q[i], eight_of(s.q, s.k_columns, first_row + 16 * i + lane % 16, 2 * k + lane / 16));
#pragma unroll
        for (int j = 0; j < KV_PAGE / 16; j++) {
            uint32_t keys[4];
            warp_load_matrices(keys, eight_of(s.tile, s.k_columns, 16 * j + lane % 8 + lane / 16 * 8,
                                              2 * k + lane / 8 % 2));
#pragma unroll
            for (int i = 0; i < MT; i++) {
                warp_mma_bf16(scores[i][2 * j], q[i], keys);
                warp_mma_bf16(scores[i][2 * j + 1], q[i], keys + 2);
            }
        }
    }
}

struct text_row { /* of the two rows that a thread shares with three others, in each tile of 16 */
    float m, l;   /* the largest score; the sum of exp(score - m) over this thread's positions */
};

/* Sixteen scores of one row, positions `at` + 8 j + 0 and 1, to shares; returns what older sums are multiplied with. */
template <int HALF>
LANE float soften_row(const struct op_attend &op, const struct text_shared &s, float (&scores)[8][4], int row, int at,
                      bool masked, struct text_row *r)
{
    float top = r->m;
    if (op.softcap > 0 || op.alibi != 0) {
        float slope = s.slope[row];
        int pos = s.pos[row];
#pragma unroll
        for (int i = 0; i < 16; i++) {
            float *score = &scores[i / 2][2 * HALF + i % 2];
            *score = attn_shape(op, *score, slope, pos, at + 8 * (i / 2) + i % 2);
        }
    }
    if (masked) {
        struct attn_sight seen = s.sight[row];
#pragma unroll
        for (int i = 0; i < 16; i++) {
            int here = at + 8 * (i / 2) + i % 2;
            if (here < seen.from || here >= seen.to) scores[i / 2][2 * HALF + i % 2] = -INFINITY;
        }
    }
#pragma unroll
    for (int i = 0; i < 16; i++) top = fmaxf(top, scores[i / 2][2 * HALF + i % 2]);
    top = fmaxf(top, warp_xor(top, 1));
    top = fmaxf(top, warp_xor(top, 2));
    /* Rounded alike whenever a score is the largest: a factor of nearly 1 at every page would weigh the first ones more
     * or less than the last. */
    float base = top == -INFINITY ? 0 : mul_rounded(top, LOG2_E); /* nothing seen so far */
    float factor = r->m == top ? 1 : exp2_near(mul_rounded(r->m, LOG2_E) - base), sum = 0;
#pragma unroll
    for (int i = 0; i < 16; i++) {
        float *score = &scores[i / 2][2 * HALF + i % 2];
        *score = exp2_near(fmaf(*score, LOG2_E, -base));
        sum += *score;
    }
    r->m = top;
    r->l = fmaf(r->l, factor, sum);
    return factor;
}

/* As the product with values takes them: numbers 2 j and 2 j + 1 of a lane, of 16 positions each.  They wait for the
 * values so, in half the registers. */
static LANE void round_shares(uint32_t (&shares)[KV_PAGE / 16][4], const float (&scores)[8][4])
{
#pragma unroll
    for (int i = 0; i < KV_PAGE / 4; i++) {
        const float *two = &scores[i / 2][i % 2 * 2];
        shares[i / 4][i % 4] = bf16x2_of_f32(two[0], two[1]);
    }
}

/* sums[tile of 16 rows][tile of 8 columns] += shares values.  Columns that the values do not have are summed, whatever
 * stands there, and not looked at: with questions in between, loads would not run ahead. */
template <int MT, int VT>
LANE void multiply_values(float (&sums)[MT][VT][4], const uint32_t (&shares)[MT][KV_PAGE / 16][4],
                          const struct text_shared &s)
{
    enum { COLUMNS = ROUND_UP(8 * VT, 64) }; /* s.v_columns: so that few addresses occupy registers */
    int lane = lane_id();
#pragma unroll
    for (int k = 0; k < KV_PAGE / 16; k++) {
#pragma unroll
        for (int j = 0; j < VT / 2; j++) {
            uint32_t values[4];
            warp_load_matrices_turned(values, eight_of(s.tile, COLUMNS, 16 * k + lane % 16, 2 * j + lane / 16));
#pragma unroll
            for (int i = 0; i < MT; i++) {
                warp_mma_bf16(sums[i][2 * j], shares[i][k], values);
                warp_mma_bf16(sums[i][2 * j + 1], shares[i][k], values + 2);
            }
        }
    }
}

/* A warp's rows to the output, or to the block's parts. */
template <int MT, int VT>
LANE void store_rows(const struct op_attend &op, const struct text_shared &s, const struct attn_parts &parts,
                     float (&sums)[MT][VT][4], const struct text_row (&state)[MT][2], int first_row)
{
#pragma unroll
    for (int i = 0; i < 2 * MT; i++) {
        struct text_row r = state[i / 2][i % 2];
        int row = s.row[first_row + 16 * (i / 2) + lane_id() / 4 + 8 * (i % 2)];
        r.l += warp_xor(r.l, 1);
        r.l += warp_xor(r.l, 2);
        if (row < 0) continue;
        float *out = op.out + (size_t)row * (size_t)op.kv.d_v, by = 1;
        if (parts.n_pieces > 1) {
            size_t part = (size_t)row * (size_t)parts.n_pieces + blockIdx.z;
            out = parts.sums + part * (size_t)parts.width;
            if (lane_id() % 4 == 0) parts.weights[part] = {r.m, r.l};
        } else {
            by = attn_scale(op, row % op.n_heads, r.m, r.l);
        }
#pragma unroll
        for (int j = 0; j < VT; j++) {
            if (8 * j >= op.kv.d_v) break;
            const float *two = &sums[i / 2][j][i % 2 * 2];
            *(float2 *)(out + 8 * j + 2 * (lane_id() % 4)) = {two[0] * by, two[1] * by};
        }
    }
}

static LANE void store_nothing(const struct op_attend &op, const struct text_tile &t, const struct attn_parts &parts)
{
    for (int i = (int)threadIdx.x; i < t.n_rows; i += THREADS)
        parts.weights[(size_t)row_of(op, t, parts, i) * (size_t)parts.n_pieces + blockIdx.z] = {-INFINITY, 0};
}

/* MT tiles of 16 rows to a warp; values of up to 8 VT numbers. */
template <int MT, int VT>
static __global__ void __launch_bounds__(THREADS, MT * VT > 16 ? 2 : 3)
    attend_text(const struct op_attend op, const struct cuda_batch batch, const struct attn_parts parts, bool one_page)
{
    enum { ROWS = 16 * WARPS * MT };
    grid_wait();
    grid_release();
    const struct kv_layer &kv = op.kv;
    const struct text_tile t = tile_of(op, batch, parts.n_pieces);
    if (t.any.from >= t.any.to) {
        store_nothing(op, t, parts);
        return;
    }
    const struct text_shared s = lay_out(kv, ROWS, one_page);
    int first_row = (int)threadIdx.x / 32 * 16 * MT, page = t.any.from / KV_PAGE * KV_PAGE;

    copy_page(batch, kv, t, s, false, page);
    if (!one_page) copy_page(batch, kv, t, s, true, page);
    load_queries(op, batch, t, s, parts, ROWS);

    float sums[MT][VT][4], scores[MT][8][4];
    uint32_t shares[MT][KV_PAGE / 16][4];
    struct text_row state[MT][2];
#pragma unroll
    for (int i = 0; i < 4 * VT * MT; i++) sums[i / (4 * VT)][i / 4 % VT][i % 4] = 0;
#pragma unroll
    for (int i = 0; i < 2 * MT; i++) state[i / 2][i % 2] = {-INFINITY, 0};

    for (; page < t.any.to; page += KV_PAGE) {
        int from = MAX(t.any.from - page, 0), to = MIN(t.any.to - page, (int)KV_PAGE), next = page + KV_PAGE;
        bool masked = page < t.all.from || next > t.all.to;
        wait_page(one_page);
#define ROUND_KEYS(type) round_rows<type>(s.tile, s.k_columns, s.k, (int)kv.k_row_bytes, kv.d_k, from, to)
        ATTN_BY_TYPE(kv.type_k, ROUND_KEYS)
#undef ROUND_KEYS
        block_barrier();
        copy_page(batch, kv, t, s, one_page, one_page ? page : next);
        multiply_keys<MT>(scores, s, first_row, kv.d_k);
#pragma unroll
        for (int i = 0; i < MT; i++) {
            int row = first_row + 16 * i + lane_id() / 4, at = page + 2 * (lane_id() % 4);
            float low = soften_row<0>(op, s, scores[i], row, at, masked, &state[i][0]);
            float high = soften_row<1>(op, s, scores[i], row + 8, at, masked, &state[i][1]);
            round_shares(shares[i], scores[i]);
            if (warp_ballot(low != 1 || high != 1) == 0) continue;
#pragma unroll
            for (int j = 0; j < 4 * VT; j++) sums[i][j / 4][j % 4] *= j % 4 < 2 ? low : high;
        }
        wait_page(one_page);
#define ROUND_VALUES(type) round_rows<type>(s.tile, s.v_columns, s.v, (int)kv.v_row_bytes, kv.d_v, from, to)
        ATTN_BY_TYPE(kv.type_v, ROUND_VALUES)
#undef ROUND_VALUES
        block_barrier();
        copy_page(batch, kv, t, s, !one_page, next);
        multiply_values<MT, VT>(sums, shares, s);
    }
    store_rows<MT, VT>(op, s, parts, sums, state, first_row);
}

/* ---- launches ------------------------------------------------------------------------------------------- */

/* Rows of a tile whose values are so wide: sums of more would not stay in registers. */
static int tile_rows(int d_v)
{
    return d_v <= 128 ? 128 : 64;
}

static int tile_tokens(const struct step_limits *l)
{
    return MAX(1, tile_rows(l->d_v) * l->n_kv_heads / l->n_heads);
}

static bool rounds(enum dtype type, int d)
{
    return type != DTYPE_F32 && d >= NARROWEST && d <= WIDEST && d % 16 == 0;
}

bool cuda_attn_takes_text(const struct cuda_run *run, const struct op_attend *op)
{
    const struct kv_layer *kv = &op->kv;
    int rows = tile_rows(kv->d_v);
    return run->form == CUDA_TILES && rounds(kv->type_k, kv->d_k) && rounds(kv->type_v, kv->d_v) && kv->v != kv->k &&
           op->n_heads / kv->n_heads * tile_tokens(&run->b->limits) <= rows &&
           tile_bytes(kv, rows, true) <= run->d->most_shared_bytes;
}

static const struct {
    int v_widest;
    void (*kernel)(const struct op_attend, const struct cuda_batch, const struct attn_parts, bool one_page);
} variants[] = {
    {64, attend_text<2, 8>},   {80, attend_text<2, 10>},  {96, attend_text<2, 12>},
    {128, attend_text<2, 16>}, {192, attend_text<1, 24>}, {WIDEST, attend_text<1, 32>},
};

/* Of the pages that a tile sees: as many as make two blocks for each multiprocessor, where without there is less than
 * one, and as there is room for. */
static int count_pieces(const struct cuda_run *run, const struct op_attend *op)
{
    const struct step_limits *l = &run->b->limits;
    int blocks = run->n_text_tiles * op->kv.n_heads, most_pages = run->most_kv / KV_PAGE;
    if (op->window != WINDOW_NONE) most_pages = MIN(most_pages, (op->n_window + tile_tokens(l)) / KV_PAGE + 2);
    if (blocks >= run->d->n_multiprocessors) return 1;
    size_t rows = (size_t)(run->n_text_tiles * tile_tokens(l) * op->n_heads);
    int room = (int)(cuda_attn_partial_floats(l) / (rows * (size_t)(ROUND_UP(op->kv.d_v, 8) + 2)));
    return MAX(1, MIN(MIN(2 * run->d->n_multiprocessors / blocks, room), most_pages / LEAST_PAGES));
}

void cuda_attn_text(struct cuda_run *run, const struct op_attend *op)
{
    if (run->n_text_tiles == 0) return;
    const struct kv_layer *kv = &op->kv;
    int rows = tile_rows(kv->d_v);
    bool one_page = tile_bytes(kv, rows, false) > run->d->most_shared_bytes;
    struct attn_parts parts = attn_parts_of(run, op, run->n_text_tiles, tile_tokens(&run->b->limits),
                                            count_pieces(run, op));
    size_t i = 0;
    while (kv->d_v > variants[i].v_widest) i++;
    dim3 grid((unsigned)kv->n_heads, (unsigned)run->n_text_tiles, (unsigned)parts.n_pieces);
    device_launch(run->d, "attention of a text", variants[i].kernel, grid, dim3(THREADS),
                  tile_bytes(kv, rows, one_page), *op, run->batch, parts, one_page);
    attn_merge(run, op, parts, run->n_text_tiles, NULL, run->batch.text_tiles);
}

/* The rows of a tile for each block that shares out pages. */
size_t cuda_attn_text_floats(const struct step_limits *l)
{
    size_t width = (size_t)ROUND_UP(MIN(l->d_v, (int)WIDEST), 8) + 2;
    size_t tile = (size_t)(tile_tokens(l) * CEIL_DIV(l->n_heads, l->n_kv_heads));
    return (size_t)MOST_BLOCKS * tile * width;
}

void cuda_attn_sort(const struct step_batch *batch, const struct step_limits *l, int4 *tiles, int32_t *singles,
                    int *n_tiles, int *n_singles)
{
    int most = tile_tokens(l);
    *n_tiles = *n_singles = 0;
    for (int t = 0, n; t < batch->n_tokens; t += n) {
        n = 1;
        if (batch->generated[t]) {
            singles[(*n_singles)++] = t;
            continue;
        }
        while (n < most && t + n < batch->n_tokens && batch->seq[t + n] == batch->seq[t] && !batch->generated[t + n] &&
               batch->pos[t + n] == batch->pos[t] + n)
            n++;
        tiles[(*n_tiles)++] = make_int4(t, n, 0, 0);
    }
}
