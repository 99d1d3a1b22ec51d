/* cpu_moe.c - mixture of experts on the CPU.
 *
 * Tokens are sorted by expert (counting sort), so that an expert's weights are read once for all of its
 * tokens, and its rows lie side by side:
 *
 *     norm rows -> router scores -> choice per token -> rows in expert order
 *               -> hidden = silu(gate) * up, per expert -> down, per expert -> weighted sum per token
 *
 * The sum over a token's experts runs in the order of falling probability, whatever the sorting. */
#include "cpu_backend.h"

#include <math.h>
#include <string.h>

#include "base.h"

static float sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

/* Shares of all experts from their scores, in place. */
static void share_out(const struct op_moe *op, float *score, const struct kern_ops *kern)
{
    size_t n = (size_t)op->router.w.n_rows;
    switch (op->gating) {
    case MOE_SOFTMAX: kern->scale(score, 1 / kern->exp_sum(score, kern->max(score, n), n), n); break;
    case MOE_SIGMOID:
        for (size_t e = 0; e < n; e++) score[e] = sigmoid(score[e]);
        break;
    case MOE_SOFTMAX_CHOSEN: break;
    }
}

/* The largest value among [first, last) but `skip`, the lower number first among equals; -1 when none is a
 * number. */
static int best_of(const float *value, const float *bias, int first, int last, int skip)
{
    int best = -1;
    float most = 0;
    for (int e = first; e < last; e++) {
        float v = value[e] + (bias ? bias[e] : 0);
        if (e != skip && (best < 0 ? v == v : v > most)) {
            best = e;
            most = v;
        }
    }
    return best;
}

/* What a group of experts is worth: its best expert where shares are a softmax (V2), the sum of its two best
 * where each is a sigmoid (V3). */
static float group_worth(const struct op_moe *op, const float *share, int group, int size)
{
    float worth = 0;
    for (int i = 0, best = -1; i < (op->gating == MOE_SIGMOID ? 2 : 1) && i < size; i++) {
        best = best_of(share, op->choice_bias, group * size, (group + 1) * size, best);
        if (best < 0) return -INFINITY;
        worth += share[best] + (op->choice_bias ? op->choice_bias[best] : 0);
    }
    return worth;
}

/* A bit for each of the n_groups_used best groups, the lower number first among equals. */
static uint64_t best_groups(const struct op_moe *op, const float *share)
{
    float worth[MOE_MOST_GROUPS];
    uint64_t chosen = 0;
    int size = op->router.w.n_rows / op->n_groups;
    for (int g = 0; g < op->n_groups; g++) worth[g] = group_worth(op, share, g, size);
    for (int i = 0; i < op->n_groups_used; i++) {
        int best = -1;
        for (int g = 0; g < op->n_groups; g++)
            if (!(chosen >> g & 1) && (best < 0 || worth[g] > worth[best])) best = g;
        chosen |= UINT64_C(1) << best;
    }
    return chosen;
}

/* The n_used best experts of one token. */
static void choose(const struct op_moe *op, float *score, const struct kern_ops *kern,
                   int32_t *chosen, float *share)
{
    int n = op->router.w.n_rows, n_groups = MAX(1, op->n_groups), size = n / n_groups;
    const float *bias = op->choice_bias;
    share_out(op, score, kern);
    uint64_t groups = n_groups > 1 ? best_groups(op, score) : 1;
    for (int i = 0; i < op->n_used; i++) {
        int best = -1;
        for (int g = 0; g < n_groups; g++) {
            if (!(groups >> g & 1)) continue;
            int e = best_of(score, bias, g * size, (g + 1) * size, -1);
            if (e >= 0 && (best < 0 || score[e] + (bias ? bias[e] : 0) > score[best] + (bias ? bias[best] : 0)))
                best = e;
        }
        chosen[i] = best < 0 ? i : best; /* scores that are not numbers */
        share[i] = score[chosen[i]];
        score[chosen[i]] = NAN; /* taken */
    }
    size_t n_used = (size_t)op->n_used;
    if (op->gating == MOE_SOFTMAX_CHOSEN)
        kern->scale(share, 1 / kern->exp_sum(share, kern->max(share, n_used), n_used), n_used);
    float sum = 0;
    for (size_t i = 0; i < n_used; i++) sum += share[i];
    if (op->renormalize)
        for (size_t i = 0; i < n_used; i++) share[i] /= sum;
    if (op->share_scale != 1) kern->scale(share, op->share_scale, n_used);
}

/* expert_first, slot_of, token_of and wanted from chosen; one member does it for all. */
static void sort_by_expert(const struct cpu_scratch *s, int n_rows, int n_experts, int n_used)
{
    for (int e = 0; e <= n_experts; e++) s->expert_first[e] = 0;
    for (int i = 0; i < n_rows; i++) s->expert_first[s->chosen[i] + 1]++;
    for (int e = 0; e < n_experts; e++) s->expert_first[e + 1] += s->expert_first[e];
    for (int i = 0; i < n_rows; i++) {
        int slot = s->expert_first[s->chosen[i]]++;
        s->slot_of[i] = slot;
        s->token_of[slot] = i / n_used;
    }
    for (int e = n_experts; e > 0; e--) s->expert_first[e] = s->expert_first[e - 1];
    s->expert_first[0] = 0;
    s->wanted[0] = 0;
    for (int e = 0; e < n_experts; e++)
        if (s->expert_first[e + 1] > s->expert_first[e]) s->wanted[++s->wanted[0]] = e;
}

static void route(const struct cpu_member *m, const struct op_moe *op, const struct cpu_rows *x)
{
    const struct cpu_scratch *s = &m->b->scratch;
    int n_experts = op->router.w.n_rows, n_tokens = m->batch->n_tokens, n_used = op->n_used;
    int64_t first, last;
    team_range(m->team, m->id, n_experts, STRIP, &first, &last);
    cpu_mm(m, &op->router, 0, x, (int)first, (int)last, s->router, (size_t)n_experts);
    team_barrier(m->team, m->id);

    team_range(m->team, m->id, n_tokens, 1, &first, &last);
    for (int64_t t = first; t < last; t++)
        choose(op, s->router + t * n_experts, m->kern, s->chosen + t * n_used, s->share + t * n_used);
    team_barrier(m->team, m->id);
    if (m->id == 0) sort_by_expert(s, n_tokens * n_used, n_experts, n_used);
    team_barrier(m->team, m->id);
}

/* The rows of one expert among rows in expert order. */
static struct cpu_rows expert_rows(const struct cpu_rows *all, const struct cpu_scratch *s, int expert)
{
    int first = s->expert_first[expert];
    return cpu_rows_of(all, first, s->expert_first[expert + 1] - first, 1);
}

/* Work items are some rows of one expert, expert after expert. */
static bool next_expert_rows(const struct cpu_member *m, int width, int *expert, int *first, int *last)
{
    const int32_t *wanted = m->b->scratch.wanted;
    int chunk = MIN(width, cpu_chunk(m, wanted[0] * width, 2 * STRIP)), n_chunks = CEIL_DIV(width, chunk);
    int64_t item;
    if (!team_next(m->team, m->id, (int64_t)wanted[0] * n_chunks, &item)) return false;
    *expert = wanted[1 + item / n_chunks];
    *first = (int)(item % n_chunks) * chunk;
    *last = MIN(*first + chunk, width);
    return true;
}

static void experts_up(const struct cpu_member *m, const struct op_moe *op, const struct cpu_rows *x)
{
    const struct cpu_scratch *s = &m->b->scratch;
    bool gated = op->gate.w.n_mats > 0;
    float *up = gated ? s->up : s->hidden;
    int width = op->up.w.n_rows;
    for (int expert, first, last; next_expert_rows(m, width, &expert, &first, &last);) {
        struct cpu_rows rows = expert_rows(x, s, expert);
        size_t offset = (size_t)s->expert_first[expert] * (size_t)width;
        if (gated) cpu_mm(m, &op->gate, expert, &rows, first, last, s->hidden + offset, (size_t)width);
        cpu_mm(m, &op->up, expert, &rows, first, last, up + offset, (size_t)width);
        for (int i = 0; i < rows.n_tokens; i++) {
            size_t at = offset + (size_t)i * (size_t)width + (size_t)first;
            float *hidden = s->hidden + at;
            m->kern->act[cpu_act(op->act)](hidden, hidden, gated ? up + at : NULL, (size_t)(last - first));
        }
    }
    team_barrier(m->team, m->id);
}

static void experts_down(const struct cpu_member *m, const struct op_moe *op,
                         const struct cpu_rows *hidden)
{
    const struct cpu_scratch *s = &m->b->scratch;
    int width = op->down.w.n_rows;
    for (int expert, first, last; next_expert_rows(m, width, &expert, &first, &last);) {
        struct cpu_rows rows = expert_rows(hidden, s, expert);
        cpu_mm(m, &op->down, expert, &rows, first, last,
               s->rows + (size_t)s->expert_first[expert] * (size_t)width, (size_t)width);
    }
    team_barrier(m->team, m->id);
}

/* Normed rows in expert order: a row is gathered once for each expert it goes to. */
static void gather(const struct cpu_member *m, const struct op_moe *op, const struct cpu_rows *x, int n_rows)
{
    const struct cpu_scratch *s = &m->b->scratch;
    size_t width = (size_t)op->router.w.n_cols;
    int64_t first, last;
    team_range(m->team, m->id, n_rows, 1, &first, &last);
    for (int64_t i = first; i < last; i++) { /* i: the token's choice, not its slot */
        float *row = s->rows + (size_t)s->slot_of[i] * width;
        memcpy(row, x->f32 + (size_t)(i / op->n_used) * x->f32_stride, width * sizeof *row);
        if (op->share_input) m->kern->scale(row, s->share[i], width);
    }
    team_barrier(m->team, m->id);
}

void cpu_op_moe(const struct cpu_member *m, const struct op_moe *op)
{
    const struct cpu_scratch *s = &m->b->scratch;
    int n_tokens = m->batch->n_tokens, width = op->router.w.n_cols, n_used = op->n_used, hidden = op->up.w.n_rows;
    int n_rows = n_tokens * n_used; /* of which an expert gets any number */
    unsigned forms = cpu_wants(m->b, &op->gate.w) | cpu_wants(m->b, &op->up.w);
    struct cpu_source from = {op->x, NULL, (size_t)width, n_tokens, width, .per_token = 1};
    struct cpu_rows x = cpu_prepare(m, &from, &op->norm, cpu_wants(m->b, &op->router.w));
    route(m, op, &x);
    gather(m, op, &x, n_rows);

    struct cpu_source gathered = {s->rows, NULL, (size_t)width, n_rows, width, .token = s->token_of};
    struct cpu_rows in = cpu_prepare(m, &gathered, NULL, forms);
    experts_up(m, op, &in);

    struct cpu_source middle = {s->hidden, NULL, (size_t)hidden, n_rows, hidden, .token = s->token_of};
    struct cpu_rows out = cpu_prepare(m, &middle, NULL, cpu_wants(m->b, &op->down.w));
    experts_down(m, op, &out);

    int64_t first, last;
    team_range(m->team, m->id, n_tokens, 1, &first, &last);
    for (int64_t t = first; t < last; t++) {
        for (int64_t i = t * n_used; i < (t + 1) * n_used; i++)
            m->kern->axpy(op->x + t * width, op->share_input ? op->scale : op->scale * s->share[i],
                          s->rows + (size_t)s->slot_of[i] * (size_t)width, (size_t)width);
        cpu_norm_row(m->kern, &op->after, op->x + t * width, op->x + t * width, (size_t)width);
    }
}
