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

#include "base.h"

/* The n_used most probable experts of one token, the lower number first among equals. */
static void choose(const struct op_moe *op, float *score, const struct kern_ops *kern,
                   int32_t *chosen, float *share)
{
    size_t n = (size_t)op->router.n_rows;
    float total = kern->exp_sum(score, kern->max(score, n), n), used = 0;
    for (int i = 0; i < op->n_used; i++) {
        int best = -1;
        for (int e = 0; e < (int)n; e++)
            if (score[e] >= 0 && (best < 0 || score[e] > score[best])) best = e;
        if (best < 0) best = i; /* scores that are not numbers */
        chosen[i] = best;
        share[i] = score[best] / total;
        used += share[i];
        score[best] = -1;
    }
    if (op->renormalize)
        for (int i = 0; i < op->n_used; i++) share[i] /= used;
}

/* expert_first, slot_of and token_of from chosen; one member does it for all. */
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
}

static void route(const struct cpu_member *m, const struct op_moe *op, const struct cpu_rows *x)
{
    const struct cpu_scratch *s = &m->b->scratch;
    struct linear router = {.w = op->router};
    int n_experts = op->router.n_rows, n_tokens = m->batch->n_tokens, n_used = op->n_used;
    int64_t first, last;
    team_range(m->team, m->id, n_experts, 1, &first, &last);
    cpu_mm(m, &router, 0, x, (int)first, (int)last, s->router, (size_t)n_experts);
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
    struct cpu_rows rows = *all;
    size_t first = (size_t)s->expert_first[expert];
    rows.f32 += first * all->f32_stride;
    if (rows.q8) rows.q8 = (const struct act_q8 *)((const char *)all->q8 + first * all->q8_stride);
    rows.n_tokens = s->expert_first[expert + 1] - s->expert_first[expert];
    return rows;
}

static void experts_up(const struct cpu_member *m, const struct op_moe *op, const struct cpu_rows *x)
{
    const struct cpu_scratch *s = &m->b->scratch;
    int width = op->up.w.n_rows, chunk = cpu_chunk(m, width, 16), n_chunks = CEIL_DIV(width, chunk);
    for (int64_t next; (next = team_next(m->team)) < (int64_t)op->router.n_rows * n_chunks;) {
        int expert = (int)(next / n_chunks), first = (int)(next % n_chunks) * chunk;
        int last = MIN(first + chunk, width);
        struct cpu_rows rows = expert_rows(x, s, expert);
        if (rows.n_tokens == 0) continue;
        size_t offset = (size_t)s->expert_first[expert] * (size_t)width;
        cpu_mm(m, &op->gate, expert, &rows, first, last, s->hidden + offset, (size_t)width);
        cpu_mm(m, &op->up, expert, &rows, first, last, s->up + offset, (size_t)width);
        for (int i = 0; i < rows.n_tokens; i++) {
            size_t at = offset + (size_t)i * (size_t)width + (size_t)first;
            m->kern->act[KERN_ACT_SILU](s->hidden + at, s->hidden + at, s->up + at, (size_t)(last - first));
        }
    }
    team_barrier(m->team, m->id);
}

static void experts_down(const struct cpu_member *m, const struct op_moe *op,
                         const struct cpu_rows *hidden)
{
    const struct cpu_scratch *s = &m->b->scratch;
    int width = op->down.w.n_rows, chunk = cpu_chunk(m, width, 16), n_chunks = CEIL_DIV(width, chunk);
    for (int64_t next; (next = team_next(m->team)) < (int64_t)op->router.n_rows * n_chunks;) {
        int expert = (int)(next / n_chunks), first = (int)(next % n_chunks) * chunk;
        struct cpu_rows rows = expert_rows(hidden, s, expert);
        if (rows.n_tokens == 0) continue;
        cpu_mm(m, &op->down, expert, &rows, first, MIN(first + chunk, width),
               s->rows + (size_t)s->expert_first[expert] * (size_t)width, (size_t)width);
    }
    team_barrier(m->team, m->id);
}

void cpu_op_moe(const struct cpu_member *m, const struct op_moe *op)
{
    const struct cpu_scratch *s = &m->b->scratch;
    int n_tokens = m->batch->n_tokens, width = op->router.n_cols, n_used = op->n_used;
    bool q8 = cpu_wants_q8(m->b, &op->gate.w) || cpu_wants_q8(m->b, &op->up.w);
    struct cpu_rows x = cpu_prepare(m, op->x, NULL, n_tokens, width, op->norm, op->eps,
                                    cpu_wants_q8(m->b, &op->router));
    route(m, op, &x);

    /* Normed rows in expert order: a row is gathered, and quantised, once per expert it goes to. */
    float *gathered = s->rows;
    int64_t first, last;
    team_range(m->team, m->id, n_tokens * n_used, 1, &first, &last);
    for (int64_t i = first; i < last; i++)
        for (int c = 0; c < width; c++)
            gathered[i * width + c] = s->norm[(size_t)s->token_of[i] * (size_t)width + (size_t)c];
    team_barrier(m->team, m->id);
    struct cpu_rows in = cpu_prepare(m, gathered, NULL, n_tokens * n_used, width, NULL, 0, q8);
    experts_up(m, op, &in);

    struct cpu_rows hidden = cpu_prepare(m, s->hidden, NULL, n_tokens * n_used, op->up.w.n_rows, NULL,
                                         0, cpu_wants_q8(m->b, &op->down.w));
    experts_down(m, op, &hidden);

    team_range(m->team, m->id, n_tokens, 1, &first, &last);
    for (int64_t t = first; t < last; t++)
        for (int i = 0; i < n_used; i++)
            m->kern->axpy(op->x + t * width, s->share[t * n_used + i],
                          s->rows + (size_t)s->slot_of[t * n_used + i] * (size_t)width,
                          (size_t)width);
}
