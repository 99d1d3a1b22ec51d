/* step_count.c - see step_count.h. */
#include "step_count.h"

#include "base.h"

static uint64_t bytes_of(const struct weight *w, int n_mats)
{
    return (uint64_t)n_mats * (uint64_t)w->n_rows * w->row_bytes;
}

static uint64_t sum_of(const struct linear *const *w, size_t n, int most_mats)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++) bytes += bytes_of(&w[i]->w, MIN(w[i]->w.n_mats, most_mats));
    return bytes;
}

static uint64_t embed_bytes(const struct op_embed *op, int n_tokens)
{
    size_t token_bytes = op->table.row_bytes + (op->positions.n_mats ? op->positions.row_bytes : 0);
    return (uint64_t)n_tokens * token_bytes + (op->types.n_mats ? op->types.row_bytes : 0);
}

static uint64_t qkv_bytes(const struct op_qkv *op)
{
    return sum_of((const struct linear *[]){&op->wq, &op->wk, &op->wv}, 3, 1);
}

static uint64_t mla_bytes(const struct op_mla *op)
{
    return sum_of((const struct linear *[]){&op->wq_a, &op->wq_b, &op->wkv_a}, 3, 1) +
           bytes_of(&op->wk_b, op->wk_b.n_mats) + (op->absorbed ? 0 : bytes_of(&op->wv_b, op->wv_b.n_mats));
}

static uint64_t moe_bytes(const struct op_moe *op, int n_tokens)
{
    return sum_of((const struct linear *[]){&op->gate, &op->up, &op->down}, 3, n_tokens * op->n_used) +
           bytes_of(&op->router.w, 1);
}

/* What an operation reads of the weights when the step has so many tokens. */
static uint64_t weight_bytes(const struct op *op, int n_tokens)
{
    switch (op->kind) {
    case OP_EMBED: return embed_bytes(&op->embed, n_tokens);
    case OP_QKV: return qkv_bytes(&op->qkv);
    case OP_MLA: return mla_bytes(&op->mla);
    case OP_HEADS: return bytes_of(&op->heads.w, op->heads.w.n_mats);
    case OP_PROJECT: return bytes_of(&op->project.w.w, 1);
    case OP_GLU: return sum_of((const struct linear *[]){&op->glu.gate, &op->glu.up}, 2, 1);
    case OP_MOE: return moe_bytes(&op->moe, n_tokens);
    case OP_HEAD: return bytes_of(&op->head.w.w, 1);
    case OP_DENSE: return bytes_of(&op->dense.w.w, 1);
    case OP_ATTEND: case OP_KEEP: case OP_STATES: case OP_COUNT: break;
    }
    return 0;
}

void step_count(struct backend_count *counts, int n_layers, const struct step *step)
{
    int n_tokens = step->batch.n_tokens;
    struct backend_count *count = &counts[n_layers];
    for (int i = 0; i < step->n_ops; i++) {
        const struct op *op = &step->ops[i];
        count = &counts[op->layer >= 0 && op->layer < n_layers ? op->layer : n_layers];
        if (op->kind == OP_KEEP) n_tokens = step->batch.n_outputs;
        if (i == 0) count->copied_bytes += step->in.bytes;
        count->n_ops++;
        count->weight_bytes += weight_bytes(op, n_tokens);
    }
    for (size_t i = 0; i < COUNT_OF(step->out); i++) count->copied_bytes += step->out[i].bytes;
}
