/* model.c - putting a model together, and batches through it. */
#include "model.h"

#include "base.h"
#include "decoder.h"
#include "mem.h"

static struct step_limits step_limits(const struct hparams *h, const struct model_params *p)
{
    return (struct step_limits){.n_tokens = p->n_ubatch,
                                .n_outputs = p->n_outputs,
                                .n_ctx = p->n_ctx,
                                .width = h->width,
                                .n_heads = h->n_heads,
                                .n_kv_heads = h->n_kv_heads,
                                .d_head = h->d_head,
                                .ffn_width = h->n_experts ? h->expert_width : h->ffn_width,
                                .n_experts = h->n_experts,
                                .n_experts_used = h->n_experts_used,
                                .n_vocab = h->n_vocab};
}

static struct kv_params kv_params(const struct model_params *p)
{
    return (struct kv_params){p->type_k, p->type_v, p->n_seqs, p->n_ctx, model_pages(p)};
}

int model_pages(const struct model_params *p)
{
    return p->n_pages ? p->n_pages : p->n_seqs * kv_pages_of(p->n_ctx);
}

/* Lays the activation buffers out from p (NULL only to measure) and returns their size. */
static size_t lay_out(struct model_buffers *b, char *p, const struct hparams *h,
                      const struct model_params *params)
{
    size_t n_tokens = (size_t)params->n_ubatch;
    size_t attended = n_tokens * (size_t)h->n_heads * (size_t)h->d_head;
    struct {
        float **field;
        size_t n;
    } block[] = {
        {&b->x, n_tokens * (size_t)h->width},
        {&b->q, attended},
        {&b->attended, attended},
        {&b->hidden, h->n_experts ? 0 : n_tokens * (size_t)h->ffn_width},
        {&b->logits, (size_t)params->n_outputs * (size_t)h->n_vocab},
        {&b->states, n_tokens * (size_t)h->width},
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
}

void model_close(struct model **out)
{
    struct model *m = *out;
    if (!m) return;
    m->backend->ops->release(m->backend, m->memory, m->memory_bytes);
    kv_fini(&m->kv);
    rope_free(&m->rope);
    weights_free(&m->weights);
    mem_free(m->step.ops);
    mem_free(m->ids);
    mem_free(m->pos);
    mem_free(m->seq);
    mem_free(m->outputs);
    mem_free(m->states);
    mem_free(m->cs);
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
    m->outputs = mem_new((size_t)m->params.n_outputs, sizeof *m->outputs);
    m->states = mem_new(n, sizeof *m->states);
    m->cs = mem_new(cs_bytes, 1);
    if (!m->step.ops || !m->ids || !m->pos || !m->seq || !m->outputs || !m->states || !m->cs)
        return err_memory(err, cs_bytes, "a batch");
    m->step.batch = (struct step_batch){.ids = m->ids,
                                        .pos = m->pos,
                                        .seq = m->seq,
                                        .page_table = m->kv.table,
                                        .max_pages = m->kv.max_pages,
                                        .outputs = m->outputs,
                                        .states = m->states,
                                        .cs = m->cs};
    return 0;
}

static int fill_model(struct model *m, const struct gguf *g, struct redline_err *err)
{
    struct model_buffers unused;
    struct kv_params kv = kv_params(&m->params);
    TRY(hparams_read(&m->h, g, err));
    TRY(weights_bind(&m->weights, &m->h, g, m->backend, err));
    TRY(rope_init(&m->rope, &m->h, m->weights.rope_factors, err));
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
    TRY(kv_append(&m->kv, seq, &m->pos[at], err));
    m->ids[at] = id;
    m->seq[at] = seq;
    rope_angles(&m->rope, m->pos[at], m->cs + (size_t)at * (size_t)m->h.n_rot);
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
