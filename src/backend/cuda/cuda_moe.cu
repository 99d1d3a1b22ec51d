/* cuda_moe.cu - mixture of experts on the device.
 *
 *     router scores -> choice per token -> (rows in expert order) -> hidden = act(gate) * up -> down -> weighted sum
 *
 * The host knows none of what is chosen.  Where all tokens are generated, products find the expert of a row in
 * scratch.chosen, and rows stay in the order of choices.  Otherwise choices are sorted by expert, those of one in the
 * order of their numbers; so a step gives the same bits each time.  The sum over a token's experts runs in the order of
 * falling probability, whatever the sorting. */
#include "cuda_rows.cuh"

enum {
    CHOOSERS = 4,    /* warps of a block that chooses, a token for each */
    SORTERS = 8,     /* warps that find the choices of one expert */
    SUMMERS = 256,   /* threads of a block that sums */
};

/* ---- choice ------------------------------------------------------------------------------------------ */

struct choosing { /* see struct op_moe */
    const float *scores; /* [n_tokens, n_experts] */
    const float *bias;   /* [n_experts], or NULL */
    enum moe_gate gating;
    int n_tokens, n_experts, n_used, n_groups, n_groups_used;
    bool renormalize;
    float share_scale;
    int32_t *chosen; /* [n_tokens, n_used] */
    float *share;
};

struct best {
    float value;
    int at; /* -1: nothing was a number */
};

LANE struct best better(const struct best &a, const struct best &b) /* the lower number among equals */
{
    bool second = a.at < 0 || (b.at >= 0 && (b.value > a.value || (b.value == a.value && b.at < a.at)));
    return second ? b : a;
}

LANE float worth_of(const struct choosing &c, const float *share, int e)
{
    return share[e] + (c.bias ? c.bias[e] : 0);
}

LANE struct best best_of(const struct choosing &c, const float *share, int first, int last, int step, int skip)
{
    struct best best = {0, -1};
    for (int e = first; e < last; e += step) {
        float v = worth_of(c, share, e);
        if (e != skip && v == v) best = better(best, {v, e});
    }
    return best;
}

/* Shares of all experts from a token's scores, into shared memory. */
LANE void share_out(const struct choosing &c, float *share, const float *score)
{
    float top = -INFINITY, sum = 0;
    for (int e = lane_id(); e < c.n_experts; e += 32) top = fmaxf(top, score[e]);
    top = warp_max(top);
    for (int e = lane_id(); e < c.n_experts; e += 32) {
        float v = score[e];
        if (c.gating == MOE_SOFTMAX) v = v == -INFINITY ? 0 : expf(v - top);
        if (c.gating == MOE_SIGMOID) v = 1 / (1 + expf(-v));
        share[e] = v;
        sum += v;
    }
    sum = warp_sum(sum);
    if (c.gating == MOE_SOFTMAX)
        for (int e = lane_id(); e < c.n_experts; e += 32) share[e] *= 1 / sum;
    warp_barrier();
}

/* What a group of experts is worth: its best expert, or the sum of its two best where each share is a sigmoid. */
LANE float group_worth(const struct choosing &c, const float *share, int group)
{
    int size = c.n_experts / c.n_groups, first = group * size;
    float worth = 0;
    for (int i = 0, at = -1; i < (c.gating == MOE_SIGMOID ? 2 : 1) && i < size; i++) {
        struct best best = best_of(c, share, first, first + size, 1, at);
        if (best.at < 0) return -INFINITY;
        worth += best.value;
        at = best.at;
    }
    return worth;
}

/* A bit for each of the best groups, the lower number first among equals; worth: [MOE_MOST_GROUPS], shared. */
LANE uint64_t best_groups(const struct choosing &c, const float *share, float *worth)
{
    uint64_t groups = 0;
    for (int g = lane_id(); g < c.n_groups; g += 32) worth[g] = group_worth(c, share, g);
    warp_barrier();
    for (int i = 0; i < c.n_groups_used; i++) {
        int best = -1;
        for (int g = 0; g < c.n_groups; g++)
            if (!(groups >> g & 1) && (best < 0 || worth[g] > worth[best])) best = g;
        groups |= (uint64_t)1 << best;
    }
    return groups;
}

LANE struct best best_in_groups(const struct choosing &c, const float *share, uint64_t groups)
{
    int size = c.n_experts / (c.n_groups > 1 ? c.n_groups : 1);
    struct best best = {0, -1};
    for (int e = lane_id(); e < c.n_experts; e += 32) {
        float v = worth_of(c, share, e);
        if ((groups >> e / size & 1) && v == v) best = better(best, {v, e});
    }
    for (int m = 16; m > 0; m /= 2) best = better(best, {warp_xor(best.value, m), warp_xor(best.at, m)});
    return best;
}

/* What the chosen shares become; one lane does it, in the order of the CPU. */
LANE void finish_shares(const struct choosing &c, float *share)
{
    float top = -INFINITY, sum = 0;
    if (c.gating == MOE_SOFTMAX_CHOSEN) {
        for (int i = 0; i < c.n_used; i++) top = fmaxf(top, share[i]);
        for (int i = 0; i < c.n_used; i++) sum += share[i] = share[i] == -INFINITY ? 0 : expf(share[i] - top);
        for (int i = 0; i < c.n_used; i++) share[i] *= 1 / sum;
        sum = 0;
    }
    for (int i = 0; i < c.n_used; i++) sum += share[i];
    for (int i = 0; i < c.n_used; i++) share[i] = (c.renormalize ? share[i] / sum : share[i]) * c.share_scale;
}

static size_t choosing_floats(int n_experts, int n_used) /* of a token, in shared memory */
{
    return (size_t)(n_experts + n_used + MOE_MOST_GROUPS);
}

static __global__ void choose_experts(struct choosing c)
{
    int token = (int)blockIdx.x * CHOOSERS + (int)threadIdx.x / 32;
    float *share = (float *)shared_memory() + threadIdx.x / 32 * (unsigned)(c.n_experts + c.n_used + MOE_MOST_GROUPS);
    float *chosen_share = share + c.n_experts, *worth = chosen_share + c.n_used;
    grid_wait();
    grid_release();
    if (token >= c.n_tokens) return;
    share_out(c, share, c.scores + (size_t)token * (size_t)c.n_experts);
    uint64_t groups = c.n_groups > 1 ? best_groups(c, share, worth) : 1;
    for (int i = 0; i < c.n_used; i++) {
        struct best best = best_in_groups(c, share, groups);
        int chosen = best.at < 0 ? i : best.at; /* scores that are not numbers */
        if (lane_id() == 0) {
            c.chosen[token * c.n_used + i] = chosen;
            chosen_share[i] = share[chosen];
            share[chosen] = NAN; /* taken */
        }
        warp_barrier();
    }
    if (lane_id() == 0) finish_shares(c, chosen_share);
    warp_barrier();
    for (int i = lane_id(); i < c.n_used; i += 32) c.share[token * c.n_used + i] = chosen_share[i];
}

static void choose(struct cuda_run *run, const struct op_moe *op)
{
    const struct cuda_scratch *s = &run->b->scratch;
    struct choosing c = {};
    c.scores = s->router;
    c.bias = op->choice_bias;
    c.gating = op->gating;
    c.n_tokens = run->n_tokens;
    c.n_experts = op->router.w.n_rows;
    c.n_used = op->n_used;
    c.n_groups = op->n_groups;
    c.n_groups_used = op->n_groups_used;
    c.renormalize = op->renormalize;
    c.share_scale = op->share_scale;
    c.chosen = s->chosen;
    c.share = s->share;
    device_launch(run->d, "choosing experts", choose_experts, dim3((unsigned)CEIL_DIV(c.n_tokens, CHOOSERS)),
                  dim3(32 * CHOOSERS), CHOOSERS * sizeof(float) * choosing_floats(c.n_experts, c.n_used), c);
}

/* ---- order by expert --------------------------------------------------------------------------------- */

struct sorting {
    const int32_t *chosen; /* [n] */
    const float *share;    /* [n] */
    int n, n_used;
    int32_t *slot_of, *token_of, *expert_first;
    float *share_of; /* [n] by slot */
};

LANE int warp_total(int n)
{
    for (int m = 16; m > 0; m /= 2) n += warp_xor(n, m);
    return n;
}

/* A block for each expert: it counts what belongs to it and to experts before it, then gives out slots. */
static __global__ void sort_choices(struct sorting a)
{
    __shared__ int n_before[SORTERS], n_own[SORTERS];
    int expert = (int)blockIdx.x, warp = (int)threadIdx.x / 32;
    int per_warp = (a.n + 32 * SORTERS - 1) / (32 * SORTERS) * 32;
    int first = warp * per_warp, end = min(first + per_warp, a.n), before = 0, own = 0;
    grid_wait();
    grid_release();
    for (int i = first + lane_id(); i < end; i += 32) {
        before += a.chosen[i] < expert;
        own += a.chosen[i] == expert;
    }
    before = warp_total(before), own = warp_total(own);
    if (lane_id() == 0) n_before[warp] = before, n_own[warp] = own;
    block_barrier();
    int slot = 0;
    for (int w = 0; w < SORTERS; w++) slot += n_before[w];
    if (threadIdx.x == 0) a.expert_first[expert] = slot;
    if (threadIdx.x == 0 && blockIdx.x + 1 == gridDim.x) a.expert_first[expert + 1] = a.n;
    for (int w = 0; w < warp; w++) slot += n_own[w];
    for (int at = first; at < end; at += 32) {
        int i = at + lane_id();
        bool mine = i < end && a.chosen[i] == expert;
        uint32_t all = warp_ballot(mine);
        if (mine) {
            int to = slot + count_bits(all & (((uint32_t)1 << lane_id()) - 1));
            a.slot_of[i] = to;
            a.token_of[to] = i / a.n_used;
            a.share_of[to] = a.share[i];
        }
        slot += count_bits(all);
    }
}

/* Scores are no longer wanted: shares by slot take their place. */
static void sort_by_expert(struct cuda_run *run, const struct op_moe *op)
{
    const struct cuda_scratch *s = &run->b->scratch;
    struct sorting a = {s->chosen,  s->share,    run->n_tokens * op->n_used, op->n_used,
                        s->slot_of, s->token_of, s->expert_first,            s->router};
    device_launch(run->d, "sorting by expert", sort_choices, dim3((unsigned)op->router.w.n_rows), dim3(32 * SORTERS), 0,
                  a);
}

/* ---- sum --------------------------------------------------------------------------------------------- */

struct summing {
    float *x; /* [n_tokens, width] */
    const float *rows;
    const float *share;     /* by choice; NULL: ones */
    const int32_t *slot_of; /* of a choice; NULL: its own number */
    int width, n_used;
    float scale;
};

template <int W> static __global__ void sum_experts(struct summing a)
{
    int at = W * (int)(blockIdx.x * SUMMERS + threadIdx.x), first = (int)blockIdx.y * a.n_used;
    grid_wait();
    grid_release();
    if (at >= a.width) return;
    float *x = a.x + (size_t)blockIdx.y * (size_t)a.width + at;
    struct numbers<W> sum = load_numbers<W>(x);
    for (int i = first; i < first + a.n_used; i++) {
        int slot = a.slot_of ? a.slot_of[i] : i;
        float factor = a.share ? a.scale * a.share[i] : a.scale;
        struct numbers<W> row = load_numbers<W>(a.rows + (size_t)slot * (size_t)a.width + at);
        for (int j = 0; j < W; j++) sum.v[j] += factor * row.v[j];
    }
    store_numbers<W>(x, sum);
}

static void sum_up(struct cuda_run *run, const struct op_moe *op, bool sorted)
{
    const struct cuda_scratch *s = &run->b->scratch;
    int width = op->down.w.n_rows;
    struct summing a = {op->x, s->rows, op->share_input ? NULL : s->share, sorted ? s->slot_of : NULL,
                        width, op->n_used, op->scale};
    bool four = width % 4 == 0 && by_four(op->x) && by_four(s->rows);
    unsigned n_blocks = (unsigned)CEIL_DIV(width, (four ? 4 : 1) * SUMMERS);
    device_launch(run->d, "summing experts", four ? sum_experts<4> : sum_experts<1>,
                  dim3(n_blocks, (unsigned)run->n_tokens), dim3(SUMMERS), 0, a);
    if (op->after.kind != NORM_NONE) cuda_norm(run, &op->after, op->x, op->x, (size_t)width, run->n_tokens, width);
}

/* ---- the operation ----------------------------------------------------------------------------------- */

static struct cuda_product experts_product(const struct cuda_run *run, const struct op_moe *op)
{
    struct cuda_product p = {};
    p.n = run->n_tokens * op->n_used;
    p.experts = true;
    p.n_used = op->n_used;
    return p;
}

static void route(struct cuda_run *run, const struct op_moe *op)
{
    struct cuda_product p = {};
    p.x = op->x;
    p.x_stride = (size_t)op->router.w.n_cols;
    p.n = run->n_tokens;
    p.norm = &op->norm;
    p.w = &op->router;
    p.out = run->b->scratch.router;
    p.out_stride = (size_t)op->router.w.n_rows;
    cuda_multiply(run, &p, 1);
    choose(run, op);
}

void cuda_op_moe(struct cuda_run *run, const struct op_moe *op)
{
    const struct cuda_scratch *s = &run->b->scratch;
    bool sorted = run->form != CUDA_CODES;
    route(run, op);
    if (sorted) sort_by_expert(run, op);

    struct cuda_product up = experts_product(run, op);
    up.x = op->x;
    up.x_stride = (size_t)op->router.w.n_cols;
    up.x_of_token = true;
    up.x_scale = !op->share_input ? NULL : sorted ? s->router : s->share;
    up.norm = &op->norm;
    up.w = &op->gate;
    up.up = &op->up;
    up.out = s->hidden;
    up.out_stride = (size_t)op->up.w.n_rows;
    up.after = AFTER_GLU;
    up.act = op->act;
    cuda_multiply(run, &up, 1);

    struct cuda_product down = experts_product(run, op);
    down.x = s->hidden;
    down.x_stride = (size_t)op->up.w.n_rows;
    down.w = &op->down;
    down.out = s->rows;
    down.out_stride = (size_t)op->down.w.n_rows;
    cuda_multiply(run, &down, 1);
    sum_up(run, op, sorted);
}
