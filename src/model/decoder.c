/* decoder.c - one decoder for every family that fits a row of arch.c.
 *
 * Reads like the paper: embed; per layer attention and feed-forward, each normed before and added to
 * the residual stream after; norm and head. */
#include "decoder.h"

#include <math.h>

enum { OPS_PER_LAYER = 5 };

int decoder_n_ops(const struct hparams *h)
{
    return 3 + OPS_PER_LAYER * h->n_layers; /* with the embedding, the head and the states */
}

static struct op *append(struct step *s, enum op_kind kind, int layer)
{
    struct op *op = &s->ops[s->n_ops++];
    op->kind = kind;
    op->layer = layer;
    return op;
}

static void write_attention(struct model *m, int i)
{
    const struct hparams *h = &m->h;
    const struct layer_weights *w = &m->weights.layers[i];
    append(&m->step, OP_QKV, i)->qkv = (struct op_qkv){.x = m->buffers.x,
                                                       .norm = w->attn_norm,
                                                       .eps = h->norm_eps,
                                                       .wq = w->wq,
                                                       .wk = w->wk,
                                                       .wv = w->wv,
                                                       .rope = h->arch->rope,
                                                       .n_rot = h->n_rot,
                                                       .q = m->buffers.q,
                                                       .kv = m->kv.layers[i]};
    append(&m->step, OP_ATTEND, i)->attend =
        (struct op_attend){.q = m->buffers.q,
                           .n_heads = h->n_heads,
                           .scale = 1.0f / sqrtf((float)h->d_head),
                           .kv = m->kv.layers[i],
                           .out = m->buffers.attended};
    append(&m->step, OP_PROJECT, i)->project =
        (struct op_project){.in = m->buffers.attended, .w = w->wo, .x = m->buffers.x};
}

static void write_ffn(struct model *m, int i)
{
    const struct hparams *h = &m->h;
    const struct layer_weights *w = &m->weights.layers[i];
    if (h->n_experts) {
        append(&m->step, OP_MOE, i)->moe = (struct op_moe){.norm = w->ffn_norm,
                                                           .eps = h->norm_eps,
                                                           .router = w->router.w,
                                                           .n_used = h->n_experts_used,
                                                           .renormalize = h->arch->moe_renormalize,
                                                           .gate = w->gate,
                                                           .up = w->up,
                                                           .down = w->down,
                                                           .x = m->buffers.x};
        return;
    }
    append(&m->step, OP_GLU, i)->glu = (struct op_glu){.x = m->buffers.x,
                                                       .norm = w->ffn_norm,
                                                       .eps = h->norm_eps,
                                                       .gate = w->gate,
                                                       .up = w->up,
                                                       .out = m->buffers.hidden};
    append(&m->step, OP_PROJECT, i)->project =
        (struct op_project){.in = m->buffers.hidden, .w = w->down, .x = m->buffers.x};
}

void decoder_write(struct model *m)
{
    const struct weights *w = &m->weights;
    m->step.n_ops = 0;
    append(&m->step, OP_EMBED, -1)->embed = (struct op_embed){.table = w->embed, .x = m->buffers.x};
    for (int i = 0; i < m->h.n_layers; i++) {
        write_attention(m, i);
        write_ffn(m, i);
    }
    if (m->step.batch.n_outputs > 0)
        append(&m->step, OP_HEAD, -1)->head = (struct op_head){.x = m->buffers.x,
                                                               .norm = w->out_norm,
                                                               .eps = m->h.norm_eps,
                                                               .w = w->head,
                                                               .logits = m->buffers.logits};
    if (m->step.batch.n_states > 0)
        append(&m->step, OP_STATES, -1)->states = (struct op_states){.x = m->buffers.x,
                                                                     .width = m->h.width,
                                                                     .norm = w->out_norm,
                                                                     .eps = m->h.norm_eps,
                                                                     .out = m->buffers.states};
}
