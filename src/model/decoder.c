/* decoder.c - one decoder for every family that fits a row of arch.c; encoders too.
 *
 * Reads like the paper: embed; per layer attention and feed-forward, each normed before (or after, or both)
 * and added to the residual stream; norm and head. */
#include "decoder.h"

#include <string.h>

enum { OPS_PER_LAYER = 7 }; /* QKV ATTEND HEADS PROJECT, GLU MOE PROJECT */

int decoder_n_ops(const struct hparams *h)
{
    return 6 + OPS_PER_LAYER * h->n_layers; /* with the embedding, what is kept, the head, the states and two more */
}

static int device_of(const struct model *m, int layer, enum weights_part part)
{
    return m->device_of[weights_block(layer, part)];
}

static int head_device(const struct model *m)
{
    return m->device_of[weights_head_block(m->h.n_layers)];
}

/* Every byte is written, so that equal steps are equal bytes: a backend may know one again by them. */
static struct op *append(struct model *m, enum op_kind kind, int layer, int device)
{
    struct op *op = memset(&m->step.ops[m->step.n_ops], 0, sizeof *op);
    m->op_device[m->step.n_ops++] = (uint8_t)device;
    op->kind = kind;
    op->layer = layer;
    return op;
}

/* A norm of the family's kind; none where the file has no weights for it. */
static struct norm norm_of(const struct hparams *h, struct vectors v)
{
    if (!v.weight) return (struct norm){.kind = NORM_NONE};
    return (struct norm){h->arch->norm, h->norm_eps, v.weight, v.bias};
}

/* The norm that a part of the layer, or the head, reads the stream through. */
static struct norm stream_norm(const struct hparams *h, struct vectors v)
{
    if (h->arch->norm_unweighted) return (struct norm){h->arch->norm, h->norm_eps, NULL, NULL};
    return norm_of(h, v);
}

static struct norm head_norm(const struct hparams *h, struct vectors v, int layer)
{
    enum { UNNORMED_EXPERTS = 128 }; /* Llama 4 Maverick differs from Scout in this; no key says so */
    if (h->arch->head_norm != HEADS_UNWEIGHTED) return norm_of(h, v);
    bool normed = hparams_rotates(h, layer) && h->n_experts != UNNORMED_EXPERTS;
    return (struct norm){normed ? NORM_RMS : NORM_NONE, h->norm_eps, NULL, NULL};
}

static struct rotary rotary_of(const struct hparams *h, int layer)
{
    enum rope_kind kind = hparams_rotates(h, layer) ? h->rope : ROPE_NONE;
    return (struct rotary){kind, h->n_rot, hparams_windowed(h, layer)};
}

/* Attention whose scores grow milder with the position: in layers without rotary embedding where the family
 * has such, else in all. */
static float temperature_of(const struct hparams *h, int layer)
{
    bool apart = h->arch->no_rope == ROPE_NOT_IN_FOURTH;
    return apart && hparams_rotates(h, layer) ? 0 : h->temp_scale;
}

static struct vectors before_attention(const struct hparams *h, const struct layer_weights *w)
{
    bool second = w->attn_norm_2.weight && h->arch->norms != NORMS_AFTER_SUM;
    return second ? w->attn_norm_2 : w->attn_norm;
}

static void write_qkv(struct model *m, int i)
{
    static const enum head_norm_scope scopes[] = {
        [HEADS_NORMED] = HEAD_NORM_SHARED,  [HEADS_NORMED_OPTIONAL] = HEAD_NORM_SHARED,
        [HEADS_OPTIONAL] = HEAD_NORM_OWN,   [HEADS_WHOLE] = HEAD_NORM_WHOLE,
        [HEADS_WHOLE_OPTIONAL] = HEAD_NORM_WHOLE, [HEADS_UNWEIGHTED] = HEAD_NORM_SHARED,
    };
    const struct hparams *h = &m->h;
    const struct layer_weights *w = &m->weights.layers[i];
    int device = device_of(m, i, PART_ATTENTION);
    const struct model_buffers *b = &m->devices[device].buffers;
    append(m, OP_QKV, i, device)->qkv =
        (struct op_qkv){.x = b->x,
                        .norm = stream_norm(h, before_attention(h, w)),
                        .wq = w->wq,
                        .wk = w->wk,
                        .wv = w->wv,
                        .clamp = h->clamp,
                        .q_norm = head_norm(h, w->q_norm, i),
                        .k_norm = head_norm(h, w->k_norm, i),
                        .norm_scope = scopes[h->arch->head_norm],
                        .norm_after_rope = h->arch->head_norm == HEADS_UNWEIGHTED,
                        .rope = rotary_of(h, i),
                        .temp_scale = temperature_of(h, i),
                        .temp_offset = h->temp_offset,
                        .temp_length = h->temp_length,
                        .q = b->q,
                        .kv = m->kv.layers[i]};
}

static void write_mla(struct model *m, int i)
{
    const struct hparams *h = &m->h;
    const struct layer_weights *w = &m->weights.layers[i];
    int device = device_of(m, i, PART_ATTENTION);
    const struct model_buffers *b = &m->devices[device].buffers;
    append(m, OP_MLA, i, device)->mla = (struct op_mla){.x = b->x,
                                                    .norm = stream_norm(h, w->attn_norm),
                                                    .wq_a = w->wq_a,
                                                    .wq_b = w->wq_b,
                                                    .q_norm = norm_of(h, w->q_a_norm),
                                                    .wkv_a = w->wkv_a,
                                                    .kv_norm = norm_of(h, w->kv_a_norm),
                                                    .wk_b = w->wk_b.w,
                                                    .wv_b = w->wv_b.w,
                                                    .absorbed = h->absorbed,
                                                    .n_heads = h->n_heads,
                                                    .d_nope = h->d_nope,
                                                    .kv_rank = h->kv_rank,
                                                    .rope = rotary_of(h, i),
                                                    .temp_scale = h->temp_scale,
                                                    .temp_offset = h->temp_offset,
                                                    .temp_length = h->temp_length,
                                                    .q = b->q,
                                                    .kv = m->kv.layers[i]};
}

/* Returns where the heads' values lie. */
static float *write_attend(struct model *m, int i)
{
    const struct hparams *h = &m->h;
    int device = device_of(m, i, PART_ATTENTION);
    const struct model_buffers *b = &m->devices[device].buffers;
    append(m, OP_ATTEND, i, device)->attend =
        (struct op_attend){.q = b->q,
                           .n_heads = h->n_heads,
                           .scale = h->attn_scale * (h->kv_rank > 0 ? (float)rope_score_factor(h) : 1),
                           .softcap = h->attn_softcap,
                           .alibi = h->alibi,
                           .sinks = m->weights.layers[i].sinks,
                           .causal = !h->encoder,
                           .window = hparams_windowed(h, i) ? h->window : WINDOW_NONE,
                           .n_window = h->n_window,
                           .kv = m->kv.layers[i],
                           .out = b->attended};
    if (!h->absorbed) return b->attended;
    append(m, OP_HEADS, i, device)->heads = (struct op_heads){
        .in = b->attended, .w = m->weights.layers[i].wv_b.w, .out = b->values};
    return b->values;
}

struct norms_after { /* of a projection's result, of the sum, and of that and the stream; {0}: none */
    struct vectors post, after, again;
};

static void write_project(struct model *m, int i, int device, const float *in, const struct linear *w,
                          struct norms_after norms)
{
    const struct hparams *h = &m->h;
    append(m, OP_PROJECT, i, device)->project = (struct op_project){.in = in,
                                                                    .w = *w,
                                                                    .post = norm_of(h, norms.post),
                                                                    .after = norm_of(h, norms.after),
                                                                    .again = norm_of(h, norms.again),
                                                                    .scale = h->residual_scale,
                                                                    .x = m->devices[device].buffers.x};
}

/* The feed-forward part's, back to the stream. */
static void write_down(struct model *m, int i, const struct linear *w, struct norms_after norms)
{
    int device = device_of(m, i, PART_FEED_FORWARD);
    write_project(m, i, device, m->devices[device].buffers.hidden, w, norms);
}

static void write_glu(struct model *m, int i, struct norm norm, const struct linear *gate, const struct linear *up,
                      const float *share)
{
    int device = device_of(m, i, PART_FEED_FORWARD);
    const struct model_buffers *b = &m->devices[device].buffers;
    append(m, OP_GLU, i, device)->glu = (struct op_glu){.x = b->x,
                                                        .norm = norm,
                                                        .gate = *gate,
                                                        .up = *up,
                                                        .act = m->h.act,
                                                        .share = share,
                                                        .divisors = m->weights.layers[i].act_scales,
                                                        .out = b->hidden};
}

static void write_moe(struct model *m, int i, struct norm norm)
{
    const struct hparams *h = &m->h;
    const struct layer_weights *w = &m->weights.layers[i];
    int device = device_of(m, i, PART_FEED_FORWARD);
    append(m, OP_MOE, i, device)->moe = (struct op_moe){.norm = norm,
                                                        .router = w->router,
                                                        .choice_bias = w->choice_bias,
                                                        .gating = h->gating,
                                                        .n_used = h->n_experts_used,
                                                        .n_groups = h->n_groups,
                                                        .n_groups_used = h->n_groups_used,
                                                        .renormalize = h->renormalize,
                                                        .share_scale = h->share_scale,
                                                        .share_input = h->arch->share_input,
                                                        .gate = w->gate,
                                                        .up = w->up,
                                                        .down = w->down,
                                                        .act = h->act,
                                                        .after = norm_of(h, w->layer_norm),
                                                        .scale = h->residual_scale,
                                                        .x = m->devices[device].buffers.x};
}

/* Experts, and one that all tokens share: it reads the stream before the others add to it. */
static void write_experts(struct model *m, int i, struct norm norm)
{
    const struct layer_weights *w = &m->weights.layers[i];
    bool shared = w->shared_up.w.n_mats > 0;
    if (shared) write_glu(m, i, norm, &w->shared_gate, &w->shared_up, w->shared_share);
    write_moe(m, i, norm);
    if (shared) write_down(m, i, &w->shared_down, (struct norms_after){0});
}

static struct norms_after after_attention(const struct hparams *h, const struct layer_weights *w)
{
    struct norms_after norms = {w->attn_post, w->attn_out_norm, {0}};
    if (h->arch->norms == NORMS_AFTER_SUM) norms.again = w->attn_norm_2;
    return norms;
}

/* Whether the last layer's attention is all that most tokens are needed for. */
static bool ends_early(const struct model *m)
{
    const struct step_batch *b = &m->step.batch;
    return !m->params.watched && b->n_states == 0 && b->n_outputs < b->n_tokens;
}

static void write_keep(struct model *m, int i, float *values)
{
    const struct hparams *h = &m->h;
    const struct linear *wo = &m->weights.layers[i].wo;
    int device = device_of(m, i, PART_ATTENTION);
    append(m, OP_KEEP, i, device)->keep = (struct op_keep){
        .x = m->devices[device].buffers.x, .values = values, .width = h->width, .values_width = wo->w.n_cols};
}

static void write_layer(struct model *m, int i)
{
    const struct hparams *h = &m->h;
    const struct layer_weights *w = &m->weights.layers[i];
    bool parallel = weights_parallel(&m->weights, h, i), experts = hparams_has_experts(h, i);
    struct norm ffn_norm = stream_norm(h, parallel && !w->ffn_norm.weight ? w->attn_norm : w->ffn_norm);

    if (h->kv_rank > 0)
        write_mla(m, i);
    else
        write_qkv(m, i);
    bool last = i == h->n_layers - 1 && ends_early(m);
    if (last && m->step.batch.n_outputs == 0) return; /* keys and values are all that is left of them */
    float *values = write_attend(m, i);
    if (last) write_keep(m, i, values);
    if (parallel) write_glu(m, i, ffn_norm, &w->gate, &w->up, NULL);
    write_project(m, i, device_of(m, i, PART_ATTENTION), values, &w->wo, after_attention(h, w));
    if (!parallel && experts) write_experts(m, i, ffn_norm);
    if (experts) return;
    if (!parallel) write_glu(m, i, ffn_norm, &w->gate, &w->up, NULL);
    write_down(m, i, &w->down, (struct norms_after){w->ffn_post, w->layer_norm, {0}});
}

static void write_states(struct model *m, struct norm norm)
{
    const struct linear *dense = m->weights.dense;
    int device = head_device(m);
    const struct model_buffers *b = &m->devices[device].buffers;
    append(m, OP_STATES, -1, device)->states =
        (struct op_states){.x = b->x, .width = m->h.width, .norm = norm, .out = b->states};
    if (!dense[0].w.n_mats) return;
    append(m, OP_DENSE, -1, device)->dense =
        (struct op_dense){.in = b->states, .w = dense[0], .out = b->hidden};
    append(m, OP_DENSE, -1, device)->dense =
        (struct op_dense){.in = b->hidden, .w = dense[1], .out = b->states};
}

void decoder_write(struct model *m)
{
    const struct weights *w = &m->weights;
    const struct hparams *h = &m->h;
    const struct model_buffers *head = &m->devices[head_device(m)].buffers;
    struct norm out_norm = stream_norm(h, w->out_norm);
    m->step.n_ops = 0;
    append(m, OP_EMBED, -1, 0)->embed = (struct op_embed){.table = w->embed,
                                                            .positions = w->positions,
                                                            .types = w->types,
                                                            .scale = h->embed_scale,
                                                            .norm = norm_of(h, w->embed_norm),
                                                            .x = m->devices[0].buffers.x};
    for (int i = 0; i < h->n_layers; i++) write_layer(m, i);
    if (m->step.batch.n_outputs > 0)
        append(m, OP_HEAD, -1, head_device(m))->head = (struct op_head){.x = head->x,
                                                                        .norm = out_norm,
                                                                        .w = w->head,
                                                                        .scale = h->logit_scale,
                                                                        .softcap = h->logit_softcap,
                                                                        .logits = head->logits};
    if (m->step.batch.n_states > 0) write_states(m, out_norm);
}
