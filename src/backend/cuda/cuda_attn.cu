/* cuda_attn.cu - attention in float32, made for single tokens.
 *
 * A block takes the query heads that share a KV head, or some of them, and a piece of the positions that a token sees;
 * the pieces of a token are equally long, so many that the device is busy.  Rows of the cache come to shared memory in
 * stages, as bytes and whatever their type, keys of the next stage while this one's are multiplied, values likewise:
 * so every row is read once for all queries of a block, in wide loads, and the loads are in flight without registers.
 *
 * In a stage a warp owns some queries and some positions.  LG lanes share a row, 8 numbers at a time to each, of as
 * many positions at once as there are such groups of lanes; queries and sums lie in registers.  Each warp keeps
 * (m, l, o) of its own: the largest score, the sum of exp(score - m), and the weighted sum of values.  Warps are merged
 * in their order; where there are several pieces, the next kernel merges those.
 *
 * Batches and rows of earlier steps are there before a step begins, so both are read before grid_wait(). */
#include "cuda_attn.cuh"

enum {
    WARPS = 4,
    THREADS = 32 * WARPS,
    GRANULE = 32,  /* pieces begin at a multiple of so many positions, counted from the first one's */
    WIDEST = 768,  /* columns of values of one block */
};

struct attn_plan {
    int n_sets;        /* of the queries of a KV head */
    int n_slices;      /* of the columns of values */
    int set_queries;   /* of one set */
    int n_query_warps; /* 1, 2 or 4: how many warps share out the queries of a set; the others, positions */
    int n_share;       /* query heads per KV head */
    int n_new;         /* tokens of the step: in a sequence, so many positions at most are this step's */
    int stage;         /* positions in shared memory at a time: 8, 16, 32 or KV_PAGE */
    int n_own;         /* positions of a stage for one warp */
    int state_floats;  /* of one query's o, m, l; o padded to a multiple of 8 */
    size_t shared_bytes;
};

struct place { /* what a block works on */
    int token, head, seq, pos;
    int first_query, n_queries; /* of those that share the head */
    int first_column, width;    /* of values */
    int from, to;               /* positions: none in late pieces of a token that sees few */
};

static LANE struct place place_of(const struct op_attend &op, const struct cuda_batch &batch,
                                  const struct attn_plan &plan, int n_pieces, const int32_t *tokens)
{
    struct place p;
    int per_head = plan.n_sets * plan.n_slices, rest = 0;
    p.head = (int)blockIdx.y;
    if (per_head > 1) { /* divisions take longer than all else here */
        p.head /= per_head;
        rest = (int)blockIdx.y - p.head * per_head;
    }
    p.token = tokens ? tokens[blockIdx.z] : (int)blockIdx.z;
    p.seq = batch.seq[p.token];
    p.pos = batch.pos[p.token];
    p.first_query = rest % plan.n_sets * plan.set_queries;
    p.n_queries = MIN(plan.set_queries, plan.n_share - p.first_query);
    p.first_column = rest / plan.n_sets * WIDEST;
    p.width = MIN((int)WIDEST, op.kv.d_v - p.first_column);
    struct attn_sight seen = attn_sight(op, p.pos, batch.n_kv[p.seq]);
    int first = seen.from / GRANULE * GRANULE, n = MAX(1, CEIL_DIV(seen.to - first, (int)GRANULE));
    int each = CEIL_DIV(n, n_pieces) * GRANULE, piece = (int)blockIdx.x;
    p.from = MAX(seen.from, first + piece * each);
    p.to = MIN(seen.to, first + (piece + 1) * each);
    return p;
}

/* ---- one stage ------------------------------------------------------------------------------------------ */

/* Sums of GT numbers over LG lanes each.  Of the sums, lane i of such lanes has number i / (LG / GT). */
template <int LG, int GT> LANE float fold(float (&s)[GT])
{
    int mask = LG / 2;
#pragma unroll
    for (int n = GT / 2; n > 0; n /= 2, mask /= 2) {
        bool high = lane_id() & mask;
#pragma unroll
        for (int i = 0; i < n; i++) {
            float own = high ? s[i + n] : s[i], other = high ? s[i] : s[i + n];
            s[i] = own + warp_xor(other, mask);
        }
    }
#pragma unroll
    for (; mask > 0; mask /= 2) s[0] += warp_xor(s[0], mask);
    return s[0];
}

struct rows { /* those of a warp: [from, to) of them are there */
    const char *first;
    int row_bytes, d, from, to;
};

/* scores[position][query] of one row after the other, in columns from `first` on; added to what is there or not. */
template <enum dtype TYPE, int LG, int C, int GT, bool WIDE>
LANE void score_rows(float *scores, const float (&q)[GT][8 * C], const struct rows &r, int first, bool add)
{
    enum { AT_ONCE = 32 / LG };
    int lane = lane_id() % LG;
    for (int i = r.from / AT_ONCE * AT_ONCE; i < r.to; i += AT_ONCE) {
        int at = i + lane_id() / LG;
        const char *row = r.first + MIN(at, r.to - 1) * r.row_bytes;
        float s[GT] = {};
#pragma unroll
        for (int c = 0; c < C; c++) {
            float k[8];
            kv_read8<TYPE>(k, row, first + 8 * (lane + LG * c), r.d, WIDE);
#pragma unroll
            for (int e = 0; e < 8; e++)
#pragma unroll
                for (int h = 0; h < GT; h++) s[h] = fmaf(q[h][8 * c + e], k[e], s[h]);
        }
        float sum = fold<LG, GT>(s), *to = scores + at * GT + lane / (LG / GT);
        if (at < r.to && lane % (LG / GT) == 0) *to = add ? *to + sum : sum;
    }
}

/* o += share * row */
template <enum dtype TYPE, int LG, int C, int GT, bool WIDE>
LANE void add_rows(float (&o)[GT][8 * C], const float *shares, const struct rows &r, int first)
{
    enum { AT_ONCE = 32 / LG };
    for (int at = r.from / AT_ONCE * AT_ONCE + lane_id() / LG; at < r.to; at += AT_ONCE) {
        if (at < r.from) continue;
        const char *row = r.first + at * r.row_bytes;
        float p[GT];
#pragma unroll
        for (int h = 0; h < GT; h++) p[h] = shares[at * GT + h];
#pragma unroll
        for (int c = 0; c < C; c++) {
            float v[8];
            kv_read8<TYPE>(v, row, first + 8 * (lane_id() % LG + LG * c), r.d, WIDE);
#pragma unroll
            for (int e = 0; e < 8; e++)
#pragma unroll
                for (int h = 0; h < GT; h++) o[h][8 * c + e] = fmaf(p[h], v[e], o[h][8 * c + e]);
        }
    }
}

/* Scores of positions [from, to) to shares of the softmax.  A lane works for query lane % GT, whose m and slope it has,
 * and keeps the part of l that it sees; it returns what older sums are to be multiplied with. */
template <int GT>
LANE float soften(const struct op_attend &op, float *scores, int from, int to, int pos, int at, float slope, float *m,
                  float *l)
{
    int h = lane_id() % GT;
    float top = *m;
    for (int i = from / (32 / GT) * (32 / GT) + lane_id() / GT; i < to; i += 32 / GT) {
        if (i < from) continue;
        float s = attn_shape(op, scores[i * GT + h], slope, pos, at + i);
        scores[i * GT + h] = s;
        top = fmaxf(top, s);
    }
#pragma unroll
    for (int mask = GT; mask < 32; mask *= 2) top = fmaxf(top, warp_xor(top, mask));
    float factor = *m == top ? 1 : expf(*m - top);
    *m = top;
    *l *= factor;
    for (int i = from / (32 / GT) * (32 / GT) + lane_id() / GT; i < to; i += 32 / GT) {
        if (i < from) continue;
        float s = scores[i * GT + h], p = s == -INFINITY ? 0 : expf(s - top);
        scores[i * GT + h] = p;
        *l += p;
    }
    return factor;
}

template <int C, int GT> LANE void shrink(float (&o)[GT][8 * C], float factor)
{
    if (warp_ballot(factor != 1) == 0) return;
#pragma unroll
    for (int h = 0; h < GT; h++) {
        float f = warp_from(factor, h);
#pragma unroll
        for (int i = 0; i < 8 * C; i++) o[h][i] *= f;
    }
}

/* ---- merging -------------------------------------------------------------------------------------------- */

/* The states of a block's warps, [WARPS, gt, state_floats] in shared memory, to the output or to the block's parts. */
static LANE void merge_warps(const struct op_attend &op, const struct attn_plan &plan, const struct place &p,
                             const float *states, int gt, const struct attn_parts &parts)
{
    int n_quads = CEIL_DIV(p.width, 4), m_at = plan.state_floats - 4;
    for (int i = (int)threadIdx.x; i < p.n_queries * n_quads; i += THREADS) {
        int x = i / n_quads, column = i % n_quads * 4, h = p.head * plan.n_share + p.first_query + x;
        int first = x * plan.state_floats, step = plan.n_query_warps * gt * plan.state_floats;
        float top = -INFINITY, l = 0;
        float4 sum = {};
        for (int w = 0; w < WARPS / plan.n_query_warps; w++) top = fmaxf(top, states[first + w * step + m_at]);
        for (int w = 0; w < WARPS / plan.n_query_warps; w++) {
            const float *s = states + first + w * step;
            float by = attn_weight(s[m_at], s[m_at + 1], top);
            l = fmaf(by, s[m_at + 1], l);
            attn_add_scaled(&sum, by, *(const float4 *)(s + column));
        }
        column += p.first_column;
        if (parts.n_pieces == 1) {
            attn_store(op, p.token, h, column, sum, attn_scale(op, h, top, l));
            continue;
        }
        size_t part = attn_part(op, parts, (int)blockIdx.z, h, (int)blockIdx.x);
        *(float4 *)(parts.sums + part * (size_t)parts.width + column) = sum;
        if (column == 0) parts.weights[part] = {top, l};
    }
}

static LANE void store_nothing(const struct op_attend &op, const struct attn_plan &plan, const struct place &p,
                               const struct attn_parts &parts)
{
    int x = (int)threadIdx.x, h = p.head * plan.n_share + p.first_query + x;
    if (x < p.n_queries && p.first_column == 0)
        parts.weights[attn_part(op, parts, (int)blockIdx.z, h, (int)blockIdx.x)] = {-INFINITY, 0};
}

/* ---- the kernel ----------------------------------------------------------------------------------------- */

/* Columns [first, first + 8 LG C) of a warp's queries, times the scale, zeros beyond d; queries that are none are the
 * last once more. */
template <int LG, int C, int GT, bool WIDE>
LANE void load_queries(float (&q)[GT][8 * C], const struct op_attend &op, const struct attn_plan &plan,
                       const struct place &p, int first_query, int first)
{
    int d = op.kv.d_k;
#pragma unroll
    for (int h = 0; h < GT; h++) {
        int query = MIN(first_query + h, p.n_queries - 1), head = p.head * plan.n_share + p.first_query + query;
        const float *row = op.q + ((size_t)p.token * (size_t)op.n_heads + (size_t)head) * (size_t)d;
#pragma unroll
        for (int c = 0; c < C; c++) {
            float eight[8];
            kv_read8<DTYPE_F32>(eight, (const char *)row, first + 8 * (lane_id() % LG + LG * c), d, WIDE);
#pragma unroll
            for (int e = 0; e < 8; e++) q[h][8 * c + e] = eight[e] * op.scale;
        }
    }
}

/* A warp's (m, l, o) to shared memory: the groups of lanes have summed different positions. */
template <int LG, int C, int GT>
LANE void store_states(float *to, int state_floats, float (&o)[GT][8 * C], float m, float l, int width)
{
#pragma unroll
    for (int mask = GT; mask < 32; mask *= 2) l += warp_xor(l, mask);
#pragma unroll
    for (int h = 0; h < GT; h++) {
#pragma unroll
        for (int i = 0; i < 8 * C; i++)
#pragma unroll
            for (int mask = LG; mask < 32; mask *= 2) o[h][i] += warp_xor(o[h][i], mask);
#pragma unroll
        for (int c = 0; c < C; c++) {
            int column = 8 * (lane_id() % LG + LG * c);
            float4 *quad = (float4 *)(to + h * state_floats + column);
            if (lane_id() >= LG || column >= width) continue;
            quad[0] = {o[h][8 * c], o[h][8 * c + 1], o[h][8 * c + 2], o[h][8 * c + 3]};
            quad[1] = {o[h][8 * c + 4], o[h][8 * c + 5], o[h][8 * c + 6], o[h][8 * c + 7]};
        }
    }
    if (lane_id() >= GT) return;
    to[lane_id() * state_floats + state_floats - 4] = m;
    to[lane_id() * state_floats + state_floats - 3] = l;
}

/* What a block needs of the stage that begins at position `at`: nothing behind the last. */
static LANE void copy_stage(char *to_shared, const struct cuda_batch &batch, const struct kv_layer &kv, bool is_values,
                            const struct place &p, int at, int stage)
{
    if (at < p.to)
        attn_copy_rows(to_shared, batch, kv, is_values, p.seq, p.head, at, MAX(at, p.from), MIN(at + stage, p.to));
}

/* Keys and values of the first stage at `at`, keys of the next: three groups of copies, before grid_wait() where all of
 * it are rows of earlier steps.  Of latent rows the first stage's keys are all. */
static LANE void copy_first(const struct op_attend &op, const struct cuda_batch &batch, const struct attn_plan &plan,
                            const struct place &p, char *keys, char *values, int at)
{
    bool latent = attn_is_latent(op.kv), early = MIN(at + 2 * plan.stage, p.to) <= p.pos + 1 - plan.n_new;
    if (!early) grid_wait();
    copy_stage(keys, batch, op.kv, false, p, at, plan.stage);
    copy_commit();
    if (!latent) copy_stage(values, batch, op.kv, true, p, at, plan.stage);
    copy_commit();
    if (!latent)
        copy_stage(keys + plan.stage * (int)op.kv.k_row_bytes, batch, op.kv, false, p, at + plan.stage, plan.stage);
    copy_commit();
    if (early) grid_wait();
}

struct ours { /* queries of a warp: `first` and those behind it; slope, m and l are of query lane % GT */
    int first;
    float slope, m, l;
};

/* Keys of a warp's rows, which begin at position `at`, to shares of the softmax; sums so far are multiplied to suit. */
template <int LG, int CK, int CV, int GT, bool ANY>
LANE void weigh_rows(float *scores, float (&o)[GT][8 * CV], float (&q)[GT][8 * CK], struct ours *w,
                     const struct op_attend &op, const struct attn_plan &plan, const struct place &p,
                     const struct rows &r, int at)
{
    int first = 0, k_wide = MIN((int)WIDEST, 8 * LG * CK), k_padded = ANY ? op.kv.d_k : 0;
    do {
        if (ANY) load_queries<LG, CK, GT, false>(q, op, plan, p, w->first, first);
#define SCORE(type) score_rows<type, LG, CK, GT, !ANY>(scores, q, r, first, first > 0)
        ATTN_BY_TYPE(op.kv.type_k, SCORE)
#undef SCORE
        first += k_wide;
        warp_barrier();
    } while (first < k_padded);
    float factor = soften<GT>(op, scores, r.from, r.to, p.pos, at, w->slope, &w->m, &w->l);
    warp_barrier();
    shrink<CV, GT>(o, factor);
}

/* Rows of up to 8 LG CK numbers of keys and 8 LG CV of values, GT queries to a warp.  ANY: of any width and alignment,
 * keys in steps of columns. */
template <int LG, int CK, int CV, int GT, bool ANY>
static __global__ void __launch_bounds__(THREADS, GT * (CK + CV) >= 16 ? 2 : 3)
    attend(const struct op_attend op, const struct cuda_batch batch, const struct attn_plan plan,
           const struct attn_parts parts, const int32_t *tokens)
{
    const struct kv_layer &kv = op.kv;
    const struct place p = place_of(op, batch, plan, parts.n_pieces, tokens);
    if (p.from >= p.to) {
        grid_wait();
        store_nothing(op, plan, p, parts);
        return;
    }
    bool latent = attn_is_latent(kv);
    int stage = plan.stage, n_own = plan.n_own, k_row = (int)kv.k_row_bytes, v_row = (int)kv.v_row_bytes;
    int warp = (int)threadIdx.x / 32, query_warp = warp & (plan.n_query_warps - 1);
    int first_own = (warp - query_warp) / plan.n_query_warps * n_own;
    char *shared = shared_memory(), *values = latent ? shared : shared + 2 * stage * k_row;
    float *scores = (float *)(values + 2 * stage * v_row) + warp * n_own * GT;
    bool busy = query_warp * GT < p.n_queries;
    int at = p.from & ~(stage - 1), side = 0;
    copy_first(op, batch, plan, p, shared, values, at);
    grid_release();

    float q[GT][8 * CK], o[GT][8 * CV] = {};
    int own_query = p.first_query + MIN(query_warp * GT + lane_id() % GT, p.n_queries - 1);
    struct ours w = {query_warp * GT, attn_slope(op, p.head * plan.n_share + own_query), -INFINITY, 0};
    if (!ANY) load_queries<LG, CK, GT, true>(q, op, plan, p, w.first, 0);

    /* Under way, oldest first: keys and values of this stage, keys of the next; of latent rows, the next one's come
     * when this one begins, since its values are read to the end. */
    for (; at < p.to; at += stage, side ^= 1) {
        int own = at + first_own;
        char *other_keys = shared + (side ^ 1) * stage * k_row, *other_values = values + (side ^ 1) * stage * v_row;
        if (latent) copy_wait<1>();
        copy_wait<2>();
        block_barrier();
        copy_stage(latent ? other_keys : other_values, batch, kv, !latent, p, at + stage, stage);
        copy_commit();
        struct rows r = {shared + (side * stage + first_own) * k_row, k_row, kv.d_k,
                         MAX(p.from - own, 0), MIN(p.to - own, n_own)};
        bool works = busy && r.from < r.to;
        if (works) weigh_rows<LG, CK, CV, GT, ANY>(scores, o, q, &w, op, plan, p, r, own);
        if (!latent) {
            copy_wait<2>();
            block_barrier();
            copy_stage(shared + side * stage * k_row, batch, kv, false, p, at + 2 * stage, stage);
        }
        copy_commit();
        if (works) {
            r.first = values + (side * stage + first_own) * v_row;
            r.row_bytes = v_row;
            r.d = kv.d_v;
#define ADD(type) add_rows<type, LG, CV, GT, !ANY>(o, scores, r, p.first_column)
            ATTN_BY_TYPE(kv.type_v, ADD)
#undef ADD
        }
    }
    block_barrier();
    float *states = (float *)shared;
    store_states<LG, CV, GT>(states + warp * GT * plan.state_floats, plan.state_floats, o, w.m, w.l, p.width);
    block_barrier();
    merge_warps(op, plan, p, states, GT, parts);
}

/* ---- launches ------------------------------------------------------------------------------------------- */

typedef void attend_fn(const struct op_attend, const struct cuda_batch, const struct attn_plan,
                       const struct attn_parts, const int32_t *tokens);

struct variant {
    int k_widest, v_widest; /* numbers of a row */
    int n_queries;          /* of a warp */
    attend_fn *kernel;
};

/* The first that fits is taken: where several would, the one with the most lanes to a row that are used. */
static const struct variant variants[] = {
    {64, 64, 1, attend<8, 1, 1, 1, false>},    {64, 64, 2, attend<8, 1, 1, 2, false>},
    {64, 64, 4, attend<8, 1, 1, 4, false>},    {64, 64, 8, attend<8, 1, 1, 8, false>},
    {128, 128, 1, attend<8, 2, 2, 1, false>},  {128, 128, 2, attend<8, 2, 2, 2, false>},
    {128, 128, 4, attend<8, 2, 2, 4, false>},  {256, 256, 1, attend<16, 2, 2, 1, false>},
    {256, 256, 4, attend<16, 2, 2, 4, false>}, {768, 512, 4, attend<32, 3, 2, 4, false>},
    {768, 768, 2, attend<32, 3, 3, 2, false>},
};
static const struct variant any_variant = {0, 0, 1, attend<32, 3, 3, 1, true>};

/* Whether eight numbers of a row can be read at once wherever they begin. */
static bool reads_wide(enum dtype type, int d, size_t row_bytes)
{
    return dtype_info(type)->is_quantized || (d % 8 == 0 && row_bytes % 16 == 0);
}

static const struct variant *variant_of(const struct op_attend *op)
{
    const struct kv_layer *kv = &op->kv;
    const struct variant *best = &any_variant;
    int n_share = op->n_heads / kv->n_heads;
    if (!reads_wide(kv->type_k, kv->d_k, kv->k_row_bytes) || !reads_wide(kv->type_v, kv->d_v, kv->v_row_bytes) ||
        kv->d_k % 8)
        return best;
    for (size_t i = 0; i < COUNT_OF(variants); i++) {
        const struct variant *v = &variants[i];
        if (kv->d_k > v->k_widest || kv->d_v > v->v_widest) continue;
        if (best != &any_variant && v->k_widest > best->k_widest) break;
        if (best != &any_variant && v->v_widest > best->v_widest) break;
        best = v;
        if (v->n_queries >= n_share) break;
    }
    return best;
}

/* Of a position in the cache, for one head. */
static size_t position_bytes(const struct kv_layer *kv)
{
    return kv->k_row_bytes + (kv->v == kv->k ? 0 : kv->v_row_bytes);
}

/* Positions of a stage: as many as leave room for three blocks on a multiprocessor. */
static int stage_of(const struct cuda_run *run, size_t bytes)
{
    int stage = KV_PAGE;
    while (stage > 8 && (size_t)stage * bytes > run->d->most_shared_bytes / 3) stage /= 2;
    return stage;
}

/* No token sees more positions. */
static int most_seen(const struct cuda_run *run, const struct op_attend *op)
{
    return op->window == WINDOW_NONE ? run->most_kv : MIN(run->most_kv, op->n_window + 1);
}

static struct attn_plan make_plan(const struct cuda_run *run, const struct op_attend *op, const struct variant *v)
{
    const struct kv_layer *kv = &op->kv;
    int n_share = op->n_heads / kv->n_heads, n_warps = CEIL_DIV(n_share, v->n_queries);
    struct attn_plan plan = {};
    plan.n_query_warps = n_warps > 2 ? 4 : n_warps;
    plan.set_queries = v->n_queries * plan.n_query_warps;
    plan.n_sets = CEIL_DIV(n_share, plan.set_queries);
    plan.n_slices = CEIL_DIV(kv->d_v, (int)WIDEST);
    plan.state_floats = ROUND_UP(MIN(kv->d_v, (int)WIDEST), 8) + 4;
    plan.n_share = n_share;
    plan.n_new = run->n_tokens;

    size_t scores = (size_t)plan.set_queries * sizeof(float);
    size_t position = 2 * position_bytes(kv) + scores;
    plan.stage = stage_of(run, position);
    plan.n_own = plan.stage / (WARPS / plan.n_query_warps);
    size_t states = (size_t)(WARPS * v->n_queries * plan.state_floats) * sizeof(float);
    plan.shared_bytes = MAX((size_t)plan.stage * position, states);
    return plan;
}

/* Pieces of each token's positions: two blocks to a multiprocessor hide the latency of reading.  But each piece is
 * written and read again as sums, and where that is a good part of what it reads from the cache (latent rows serve all
 * heads, and each head has 512 sums), one block is better: it has products to hide the latency behind. */
static int count_pieces(const struct cuda_run *run, const struct op_attend *op, const struct attn_plan *plan,
                        int n_tokens)
{
    enum { WORTH = 4 };
    int blocks = n_tokens * op->kv.n_heads * plan->n_sets * plan->n_slices, seen = most_seen(run, op);
    int most = CEIL_DIV(seen, (int)GRANULE) + 1;
    int n = MIN(MIN(2 * run->d->n_multiprocessors, (int)CUDA_ATTN_MOST_BLOCKS) / blocks, most);
    size_t sums = (size_t)(MIN(plan->set_queries, plan->n_share) * plan->state_floats) * sizeof(float);
    if (n > 1 && (size_t)(seen / n) * position_bytes(&op->kv) < WORTH * sums)
        n = MIN(run->d->n_multiprocessors / blocks, most);
    return MAX(1, n);
}

/* All tokens, or those of a list on the device. */
static void attend_tokens(struct cuda_run *run, const struct op_attend *op, int n_tokens, const int32_t *tokens)
{
    if (n_tokens == 0) return;
    const struct variant *v = variant_of(op);
    struct attn_plan plan = make_plan(run, op, v);
    struct attn_parts parts = attn_parts_of(run, op, n_tokens, 1, count_pieces(run, op, &plan, n_tokens));
    unsigned n_blocks = (unsigned)(op->kv.n_heads * plan.n_sets * plan.n_slices);
    device_launch(run->d, "attention", v->kernel, dim3((unsigned)parts.n_pieces, n_blocks, (unsigned)n_tokens),
                  dim3(THREADS), plan.shared_bytes, *op, run->batch, plan, parts, tokens);
    attn_merge(run, op, parts, n_tokens, tokens, NULL);
}

void cuda_op_attend(struct cuda_run *run, const struct op_attend *op)
{
    if (!cuda_attn_takes_text(run, op)) {
        attend_tokens(run, op, run->n_tokens, NULL);
        return;
    }
    cuda_attn_text(run, op);
    attend_tokens(run, op, run->n_singles, run->batch.singles);
}

int cuda_attn_most_kv(int n_kv)
{
    int most = KV_PAGE;
    while (most < n_kv) most *= 2;
    return most;
}

/* Positions are shared out by blocks / items >= 2 pieces alone, so of all of them there are CUDA_ATTN_MOST_BLOCKS at
 * most, whatever the operation. */
size_t cuda_attn_partial_floats(const struct step_limits *l)
{
    enum { LEAST_SET = 8, MOST_SET = 32 };
    int n_share = CEIL_DIV(l->n_heads, l->n_kv_heads), width = ROUND_UP(MIN(l->d_v, (int)WIDEST), 8) + 4;
    int set = LEAST_SET;
    while (set < n_share && set < MOST_SET) set *= 2;
    return MAX((size_t)CUDA_ATTN_MOST_BLOCKS * (size_t)set * (size_t)width, cuda_attn_text_floats(l));
}
