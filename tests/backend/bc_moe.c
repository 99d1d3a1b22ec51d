/* bc_moe.c - mixtures of experts, and a whole layer in one step. */
#include <math.h>
#include <stdlib.h>

#include "base.h"
#include "bcheck.h"

static int moe_tokens(struct bc *c)
{
    static const int few[] = {1, 2, 4, 7}, many[] = {2, 19, 33, 90};
    int at = bc_below(c, c->long_run ? 4 : 3);
    return c->form == BC_CODES ? few[at] : many[at];
}

static void choose_gating(struct bc *c, struct op_moe *op, int n_experts)
{
    op->gating = (enum moe_gate)(c->nth % 3);
    op->n_groups = bc_one_in(c, 3) ? n_experts / 4 : bc_below(c, 2);
    op->n_groups_used = op->n_groups > 1 ? (op->n_groups + 1) / 2 : op->n_groups;
    if (op->gating == MOE_SIGMOID && bc_one_in(c, 2)) op->choice_bias = bc_vector(c, n_experts, 0, 0.2f);
    op->renormalize = bc_one_in(c, 2);
    op->share_scale = bc_one_in(c, 2) ? 1 : 2.5f;
    op->share_input = bc_one_in(c, 6);
}

/* Routers are float32 in every family, so that both sides choose the same experts. */
void bc_build_moe(struct bc *c)
{
    static const int widths[] = {64, 96, 256};
    int width = widths[bc_below(c, 3)], hidden = widths[bc_below(c, 3)];
    int n_tokens = moe_tokens(c), n_experts = 4 * bc_between(c, 2, c->long_run ? 16 : 5), n_used = bc_between(c, 1, 4);
    enum dtype dtype = bc_nth_dtype(c->nth, width), down = bc_nth_dtype(c->nth, hidden);
    bool bias = bc_one_in(c, 4);
    bc_batch(c, n_tokens, 300, NULL);
    bc_outputs(c, 1, 0);
    struct op_moe *op = &bc_op(c, OP_MOE)->moe;
    op->x = bc_floats(c, "x", n_tokens, width, BC_OUT);
    op->norm = bc_norm(c, NORM_RMS, width);
    op->router = bc_linear(c, DTYPE_F32, 1, n_experts, width, bias);
    choose_gating(c, op, n_experts);
    op->n_used = n_used;
    op->act = bias ? ACT_SWIGLU_OAI : bc_one_in(c, 4) ? ACT_GELU : ACT_SILU;
    if (bias || !bc_one_in(c, 5)) op->gate = bc_linear(c, dtype, n_experts, hidden, width, bias);
    op->up = bc_linear(c, dtype, n_experts, hidden, width, bias);
    op->down = bc_linear(c, down, n_experts, width, hidden, bias);
    if (bc_one_in(c, 5)) op->after = bc_norm(c, NORM_RMS, width);
    op->scale = bc_one_in(c, 2) ? 1 : 0.5f;
    c->limits.width = width;
    c->limits.ffn_width = hidden;
    c->limits.n_experts = n_experts;
    c->limits.n_experts_used = n_used;
    bc_describe(c, "%s and %s [%d, %d], %d of %d experts, %d tokens, gating %d, groups %d%s%s%s%s, act %d%s",
                dtype_name(dtype), dtype_name(down), width, hidden, n_used, n_experts, n_tokens, op->gating,
                op->n_groups, op->choice_bias ? ", choice bias" : "", op->renormalize ? ", to 1" : "",
                op->share_input ? ", shares in" : "", op->gate.w.n_mats ? "" : ", no gate", op->act,
                op->after.kind ? ", normed" : "");
}

/* Relative to what was added; a hidden row is no normal one, so its blocks of 32 round three times as coarsely. */
void bc_judge_moe(struct bc *c)
{
    const struct op_moe *op = &c->ops[0].moe;
    int n = c->step.batch.n_tokens, width = op->up.w.n_cols;
    double relative = 2 * bc_relative(c, op->up.w.dtype) + 3 * bc_relative(c, op->down.w.dtype);
    const float *before = bc_before(c, op->x);
    double *margin = bc_margin(c, op->x);
    if (op->after.kind != NORM_NONE) {
        bc_by_rms(c, op->x, n, width, (size_t)width, relative);
        return;
    }
    for (int t = 0; t < n; t++) {
        double square = 0;
        for (int i = t * width; i < (t + 1) * width; i++)
            square += ((double)op->x[i] - (double)before[i]) * ((double)op->x[i] - (double)before[i]);
        for (int i = t * width; i < (t + 1) * width; i++)
            margin[i] = relative * sqrt(square / width) + 2e-7 * fabs((double)op->x[i]);
    }
}

/* ---- a layer ----------------------------------------------------------------------------- */

enum { LAYER_HIDDEN = 256, LAYER_EXPERTS = 4, LAYER_VOCAB = 130 };

static void feed_forward(struct bc *c, float *x, int width, enum dtype dtype)
{
    struct op_glu *glu = &bc_op(c, OP_GLU)->glu;
    *glu = (struct op_glu){.x = x, .act = ACT_SILU};
    glu->norm = bc_norm(c, NORM_RMS, width);
    glu->gate = bc_linear(c, dtype, 1, LAYER_HIDDEN, width, false);
    glu->up = bc_linear(c, dtype, 1, LAYER_HIDDEN, width, false);
    glu->out = bc_floats(c, "hidden", c->step.batch.n_tokens, LAYER_HIDDEN, BC_OUT);
    struct op_project *down = &bc_op(c, OP_PROJECT)->project;
    *down = (struct op_project){.in = glu->out, .scale = 1, .x = x};
    down->w = bc_linear(c, dtype, 1, width, LAYER_HIDDEN, false);
}

/* All are chosen: whose scores are near to each other would be a matter of rounding. */
static void mix(struct bc *c, float *x, int width, enum dtype dtype)
{
    struct op_moe *op = &bc_op(c, OP_MOE)->moe;
    *op = (struct op_moe){.x = x, .n_used = LAYER_EXPERTS, .share_scale = 1, .scale = 1, .act = ACT_SILU};
    op->norm = bc_norm(c, NORM_RMS, width);
    op->router = bc_linear(c, DTYPE_F32, 1, LAYER_EXPERTS, width, false);
    op->gate = bc_linear(c, dtype, LAYER_EXPERTS, LAYER_HIDDEN, width, false);
    op->up = bc_linear(c, dtype, LAYER_EXPERTS, LAYER_HIDDEN, width, false);
    op->down = bc_linear(c, dtype, LAYER_EXPERTS, width, LAYER_HIDDEN, false);
    c->limits.n_experts = LAYER_EXPERTS;
    c->limits.n_experts_used = op->n_used;
}

void bc_build_layer(struct bc *c)
{
    int width = bc_one_in(c, 2) ? 256 : 128, d = bc_one_in(c, 2) ? 64 : 32, n_kv_heads = 2, n_heads = 4;
    int n_tokens = moe_tokens(c), n_rot[2] = {d, 0};
    enum dtype dtype = bc_nth_dtype(c->nth, 128), kv_type = bc_kv_dtype(c);
    bc_batch(c, n_tokens, 300, n_rot);
    bc_outputs(c, bc_one_in(c, 6) ? 0 : bc_between(c, 1, n_tokens), 0);
    float *x = bc_floats(c, "x", n_tokens, width, BC_OUT);
    struct op_qkv *qkv = &bc_op(c, OP_QKV)->qkv;
    qkv->x = x;
    qkv->norm = bc_norm(c, NORM_RMS, width);
    qkv->wq = bc_linear(c, dtype, 1, n_heads * d, width, false);
    qkv->wk = bc_linear(c, dtype, 1, n_kv_heads * d, width, false);
    qkv->wv = bc_linear(c, dtype, 1, n_kv_heads * d, width, false);
    qkv->rope = (struct rotary){ROPE_HALVES, d, 0};
    qkv->q = bc_floats(c, "q", n_tokens, n_heads * d, BC_OUT);
    qkv->kv = bc_kv(c, n_kv_heads, d, d, kv_type, kv_type, 0, true);
    struct op_attend *attend = &bc_op(c, OP_ATTEND)->attend;
    *attend = (struct op_attend){.q = qkv->q, .n_heads = n_heads, .scale = 1 / sqrtf((float)d), .causal = true};
    attend->kv = qkv->kv;
    attend->out = bc_floats(c, "values", n_tokens, n_heads * d, BC_OUT);
    bc_op(c, OP_KEEP)->keep = (struct op_keep){x, attend->out, width, n_heads * d};
    struct op_project *out = &bc_op(c, OP_PROJECT)->project;
    *out = (struct op_project){.in = attend->out, .scale = 1, .x = x};
    out->w = bc_linear(c, dtype, 1, width, n_heads * d, false);
    if (c->nth % 3 == 2)
        mix(c, x, width, dtype);
    else
        feed_forward(c, x, width, dtype);
    struct op_head *head = &bc_op(c, OP_HEAD)->head;
    *head = (struct op_head){.x = x, .scale = 1};
    head->norm = bc_norm(c, NORM_RMS, width);
    head->w = bc_linear(c, dtype, 1, LAYER_VOCAB, width, false);
    head->logits = bc_floats(c, "logits", c->step.batch.n_outputs, LAYER_VOCAB, BC_OUT);
    c->limits.width = width;
    c->limits.n_heads = n_heads;
    c->limits.ffn_width = LAYER_HIDDEN;
    c->limits.n_vocab = LAYER_VOCAB;
    bc_describe(c, "%s [%d]%s, %d of %d tokens, heads of %d, %s", dtype_name(dtype), width,
                c->nth % 3 == 2 ? ", experts" : "", c->step.batch.n_outputs, n_tokens, d, dtype_name(kv_type));
}

/* Errors of one operation go through the next: some of each. */
void bc_judge_layer(struct bc *c)
{
    const struct op_qkv *qkv = &c->ops[0].qkv;
    const struct op_attend *attend = &c->ops[1].attend;
    const struct op_glu *glu = c->ops[4].kind == OP_GLU ? &c->ops[4].glu : NULL;
    const struct op_head *head = &c->ops[c->step.n_ops - 1].head;
    int n = c->step.batch.n_tokens, n_left = c->step.batch.n_outputs, width = qkv->wq.w.n_cols, d = qkv->kv.d_k;
    double one = bc_relative(c, qkv->wq.w.dtype), more = 3 * one + (c->form == BC_TILES ? 0.04 : 1e-4);
    bc_by_rms(c, qkv->q, n * attend->n_heads, d, (size_t)d, 2 * one);
    bc_kv_margin(c, 2 * one);
    if (dtype_info(qkv->kv.type_k)->is_quantized) more += qkv->kv.type_k == DTYPE_Q4_0 ? 0.3 : 0.04; /* other codes */
    else if (qkv->kv.type_k != DTYPE_F32) more += 0.02;
    bc_by_rms(c, attend->out, n * attend->n_heads, d, (size_t)d, more);
    bc_by_rms(c, qkv->x, n_left, width, (size_t)width, 2 * more);
    if (glu) bc_by_rms(c, glu->out, n_left, glu->up.w.n_rows, (size_t)glu->up.w.n_rows, 4 * more);
    bc_by_rms(c, head->logits, n_left, LAYER_VOCAB, LAYER_VOCAB, 3 * more);
}
