/* model.c - putting a model together, and batches through it. */
#include "model.h"

#include "base.h"
#include "decoder.h"
#include "mem.h"

static int widest_ffn(const struct hparams *h)
{
    bool dense = h->n_experts == 0 || h->n_dense_lead > 0 || h->moe_step != 1;
    int ffn = MAX(MAX(dense ? h->ffn_width : 0, h->n_experts ? h->expert_width : 0), h->shared_width);
    return MAX(ffn, h->dense_width); /* which lies in the same buffer */
}

static struct step_limits step_limits(const struct hparams *h, const struct model_params *p)
{
    struct kv_shape kv = hparams_kv_shape(h);
    bool latent = h->kv_rank > 0;
    return (struct step_limits){.n_tokens = p->n_ubatch,
                                .n_outputs = p->n_outputs,
                                .n_ctx = p->n_ctx,
                                .width = h->width,
                                .n_heads = h->n_heads,
                                .n_kv_heads = kv.n_heads,
                                .d_k = kv_padded(p->type_k, kv.d_k),
                                .d_v = kv_padded(kv.shared ? p->type_k : p->type_v, kv.d_v),
                                .q_rank = h->q_rank,
                                .latent = latent ? h->kv_rank + h->n_rot : 0,
                                .d_expanded = latent ? h->d_nope + MAX(h->n_rot, h->d_v) : 0,
                                .ffn_width = widest_ffn(h),
                                .n_experts = h->n_experts,
                                .n_experts_used = h->n_experts_used,
                                .n_vocab = h->n_vocab};
}

static struct kv_params kv_params(const struct model_params *p)
{
    return (struct kv_params){p->type_k, p->type_v, p->n_seqs, p->n_ctx, model_pages(p), p->n_ubatch};
}

int model_pages(const struct model_params *p)
{
    return p->n_pages ? p->n_pages : p->n_seqs * kv_pages_of(p->n_ctx);
}

/* Lays the activation buffers out from p (NULL only to measure) and returns their size. */
static size_t lay_out(struct model_buffers *b, char *p, const struct hparams *h,
                      const struct model_params *params)
{
    size_t n_tokens = (size_t)params->n_ubatch, heads = n_tokens * (size_t)h->n_heads;
    struct kv_shape kv = hparams_kv_shape(h);
    struct {
        float **field;
        size_t n;
    } block[] = {
        {&b->x, n_tokens * (size_t)h->width},
        {&b->q, heads * (size_t)kv.d_k},
        {&b->attended, heads * (size_t)kv.d_v},
        {&b->values, kv.shared ? heads * (size_t)h->d_v : 0},
        {&b->hidden, n_tokens * (size_t)widest_ffn(h)},
        {&b->logits, h->encoder ? 0 : (size_t)params->n_outputs * (size_t)h->n_vocab},
        {&b->states, n_tokens * (size_t)MAX(h->width, h->embed_width)},
    };
    size_t used = 0;
    for (size_t i = 0; i < COUNT_OF(block); i++) {
        *block[i].field = p ? (float *)(void *)(p + used) : NULL;
        used += ROUND_UP(block[i].n * sizeof(float), (size_t)64);
    }
    return used;
}

void model_sizes(struct model_sizes *out, const struct hparams *h, const struct model_params *p,
                 const struct backend_ops *ops, const struct backend_params *bp)
{
    struct model_buffers unused;
    struct step_limits limits = step_limits(h, p);
    struct kv_params kv = kv_params(p);
    *out = (struct model_sizes){.kv_bytes = kv_bytes(h, &kv),
                                .buffer_bytes = lay_out(&unused, NULL, h, p),
                                .scratch_bytes = ops->scratch_bytes(&limits, bp)};
    kv_costs(&out->kv, h, &kv);
}

void model_close(struct model **out)
{
    struct model *m = *out;
    if (!m) return;
    m->backend->ops->release(m->backend, m->memory, m->memory_bytes);
    kv_fini(&m->kv);
    for (size_t i = 0; i < COUNT_OF(m->rope); i++) rope_free(&m->rope[i]);
    weights_free(&m->weights);
    mem_free(m->step.ops);
    mem_free(m->ids);
    mem_free(m->pos);
    mem_free(m->seq);
    mem_free(m->generated);
    mem_free(m->outputs);
    mem_free(m->states);
    for (size_t i = 0; i < COUNT_OF(m->cs); i++) mem_free(m->cs[i]);
    mem_free(m);
    *out = NULL;
}

static int make_batch(struct model *m, struct redline_err *err)
{
    size_t n = (size_t)m->params.n_ubatch, cs_bytes = n * (size_t)m->h.n_rot * sizeof(float);
    m->step.ops = mem_new((size_t)decoder_n_ops(&m->h), sizeof *m->step.ops);
    m->ids = mem_new(n, sizeof *m->ids);
    m->pos = mem_new(n, sizeof *m->pos);
    m->seq = mem_new(n, sizeof *m->seq);
    m->generated = mem_new(n, sizeof *m->generated);
    m->outputs = mem_new((size_t)m->params.n_outputs, sizeof *m->outputs);
    m->states = mem_new(n, sizeof *m->states);
    for (size_t i = 0; i < COUNT_OF(m->cs); i++) m->cs[i] = mem_new(cs_bytes, 1);
    if (!m->step.ops || !m->ids || !m->pos || !m->seq || !m->generated || !m->outputs || !m->states || !m->cs[0] || !m->cs[1])
        return err_memory(err, cs_bytes, "a batch");
    m->step.batch = (struct step_batch){.ids = m->ids,
                                        .pos = m->pos,
                                        .seq = m->seq,
                                        .generated = m->generated,
                                        .page_table = m->kv.table,
                                        .max_pages = m->kv.max_pages,
                                        .n_kv = m->kv.n_tokens,
                                        .outputs = m->outputs,
                                        .states = m->states,
                                        .cs = {m->cs[0], m->cs[1]}};
    return 0;
}

/* Factors for long contexts hold for a model opened with one: the angles of what is cached cannot change.  What an
 * encoder makes of a text must not depend on the others: there the file alone decides. */
static int make_ropes(struct model *m, struct redline_err *err)
{
    const struct weights *w = &m->weights;
    int n_ctx = m->h.encoder ? m->h.n_ctx_train : m->params.n_ctx;
    const float *scaled = n_ctx > m->h.rope_original_ctx ? w->rope_long : w->rope_short;
    for (int i = 0; i < 2; i++)
        TRY(rope_init(&m->rope[i], &m->h, i == 1, w->rope_factors ? w->rope_factors : scaled, err));
    return 0;
}

static int fill_model(struct model *m, const struct gguf *g, struct redline_err *err)
{
    struct model_buffers unused;
    struct kv_params kv = kv_params(&m->params);
    TRY(hparams_read(&m->h, g, err));
    TRY(weights_bind(&m->weights, &m->h, g, m->backend, err));
    TRY(make_ropes(m, err));
    TRY(kv_init(&m->kv, &m->h, &kv, m->backend, err));
    size_t bytes = lay_out(&unused, NULL, &m->h, &m->params);
    TRY(m->backend->ops->reserve(m->backend, &m->memory, bytes, "activations", err));
    m->memory_bytes = bytes;
    lay_out(&m->buffers, m->memory, &m->h, &m->params);
    struct step_limits limits = step_limits(&m->h, &m->params);
    TRY(m->backend->ops->prepare(m->backend, &limits, err));
    return make_batch(m, err);
}

int model_open(struct model **out, const struct gguf *g, struct backend *b,
               const struct model_params *p, struct redline_err *err)
{
    struct model *m = mem_new(1, sizeof *m);
    *out = NULL;
    if (!m) return err_memory(err, sizeof *m, "a model");
    m->backend = b;
    m->params = *p;
    int status = fill_model(m, g, err);
    if (status)
        model_close(&m);
    else
        *out = m;
    return status;
}

int model_add(struct model *m, int seq, int32_t id, unsigned wanted, struct redline_err *err)
{
    struct step_batch *b = &m->step.batch;
    if (id < 0 || id >= m->h.n_vocab)
        return err_set(err, REDLINE_ARG, "token %d is outside the vocabulary of %d", id, m->h.n_vocab);
    if (b->n_tokens == m->params.n_ubatch || (wanted & MODEL_LOGITS && b->n_outputs == m->params.n_outputs))
        return err_set(err, REDLINE_ARG, "the batch is full at %d tokens and %d outputs", b->n_tokens,
                       b->n_outputs);
    int at = b->n_tokens;
    const struct weight *learned = &m->weights.positions;
    if (learned->n_mats > 0 && m->kv.n_tokens[seq] >= learned->n_rows)
        return err_set(err, REDLINE_ARG, "the model has learned %d positions, there is none for the next token",
                       learned->n_rows);
    TRY(kv_append(&m->kv, seq, &m->pos[at], err));
    m->ids[at] = id;
    m->seq[at] = seq;
    m->generated[at] = (wanted & MODEL_GENERATED) != 0;
    for (int i = 0; i < (m->h.window == WINDOW_NONE ? 1 : 2); i++)
        rope_angles(&m->rope[i], m->pos[at], m->cs[i] + (size_t)at * (size_t)m->h.n_rot);
    if (wanted & MODEL_LOGITS) m->outputs[b->n_outputs++] = at;
    if (wanted & MODEL_STATE) m->states[b->n_states++] = at;
    b->n_tokens++;
    return 0;
}

void model_drop(struct model *m)
{
    m->step.batch.n_tokens = m->step.batch.n_outputs = m->step.batch.n_states = 0;
}

int model_run(struct model *m, struct redline_err *err)
{
    if (m->step.batch.n_tokens == 0) return err_set(err, REDLINE_ARG, "the batch is empty");
    decoder_write(m);
    int status = m->backend->ops->run(m->backend, &m->step, err);
    model_drop(m);
    return status;
}

void model_trim(struct model *m, int seq, int n_tokens)
{
    kv_trim(&m->kv, seq, n_tokens);
}

int model_keeps(const struct model *m, int seq, int n_tokens)
{
    return kv_keeps(&m->kv, seq, n_tokens);
}
