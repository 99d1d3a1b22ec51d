/* model.c - putting a model together, and batches through it. */
#include "model.h"

#include "base.h"
#include "decoder.h"
#include "file.h"
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
    return (struct step_limits){.n_layers = h->n_layers,
                                .n_seqs = p->n_seqs,
                                .n_tokens = p->n_ubatch,
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

enum { BUFFER_STREAM = 1, BUFFER_WORK = 2, BUFFER_RESULTS = 4 }; /* x; inside blocks; logits and states */

/* Lays the chosen buffers out from p (NULL only to measure) and returns their size. */
static size_t lay_out(struct model_buffers *b, char *p, const struct hparams *h, const struct model_params *params,
                      unsigned chosen)
{
    size_t n_tokens = (size_t)params->n_ubatch, heads = n_tokens * (size_t)h->n_heads;
    struct kv_shape kv = hparams_kv_shape(h);
    struct {
        float **field;
        unsigned kind;
        size_t n;
    } block[] = {
        {&b->x, BUFFER_STREAM, n_tokens * (size_t)h->width},
        {&b->q, BUFFER_WORK, heads * (size_t)kv.d_k},
        {&b->attended, BUFFER_WORK, heads * (size_t)kv.d_v},
        {&b->values, BUFFER_WORK, kv.shared ? heads * (size_t)h->d_v : 0},
        {&b->hidden, BUFFER_WORK, n_tokens * (size_t)widest_ffn(h)},
        {&b->logits, BUFFER_RESULTS, h->encoder ? 0 : (size_t)params->n_outputs * (size_t)h->n_vocab},
        {&b->states, BUFFER_RESULTS, n_tokens * (size_t)MAX(h->width, h->embed_width)},
    };
    size_t used = 0;
    for (size_t i = 0; i < COUNT_OF(block); i++) {
        if (!(block[i].kind & chosen)) continue;
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
                                .buffer_bytes = lay_out(&unused, NULL, h, p, BUFFER_STREAM | BUFFER_WORK),
                                .result_bytes = lay_out(&unused, NULL, h, p, BUFFER_RESULTS),
                                .scratch_bytes = ops->scratch_bytes(&limits, bp)};
    kv_costs(&out->kv, h, &kv);
}

size_t model_layer_kv_bytes(const struct hparams *h, const struct model_params *p, int layer)
{
    struct kv_params kv = kv_params(p);
    return kv_layer_bytes(h, &kv, layer);
}

void model_close(struct model **out)
{
    struct model *m = *out;
    if (!m) return;
    for (int i = 0; i < m->n_devices; i++) {
        struct model_device *d = &m->devices[i];
        if (d->backend) d->backend->ops->release(d->backend, d->memory, d->memory_bytes);
    }
    if (m->host_of) m->host_of->ops->release_host(m->host_of, m->host, m->host_bytes);
    kv_fini(&m->kv);
    for (size_t i = 0; i < COUNT_OF(m->rope); i++) rope_free(&m->rope[i]);
    weights_free(&m->weights);
    void *const arrays[] = {m->step.ops,      m->op_device, m->device_of,    m->ids,         m->pos,
                            m->seq,           m->generated, m->outputs,      m->states_of,   m->kept.ids,
                            m->kept.pos,      m->kept.seq,  m->kept.outputs, m->kept.generated};
    for (size_t i = 0; i < COUNT_OF(arrays); i++) mem_free(arrays[i]);
    for (size_t i = 0; i < COUNT_OF(m->cs); i++) mem_free(m->cs[i]);
    mem_free(m);
    *out = NULL;
}

static int make_batch(struct model *m, struct redline_err *err)
{
    size_t n = (size_t)m->params.n_ubatch, n_outputs = (size_t)m->params.n_outputs;
    size_t n_ops = (size_t)decoder_n_ops(&m->h), cs_bytes = n * (size_t)m->h.n_rot * sizeof(float);
    struct {
        void *field; /* a pointer of m */
        size_t n, size;
    } arrays[] = {
        {&m->step.ops, n_ops, sizeof *m->step.ops},
        {&m->op_device, n_ops, 1},
        {&m->ids, n, sizeof *m->ids},
        {&m->pos, n, sizeof *m->pos},
        {&m->seq, n, sizeof *m->seq},
        {&m->generated, n, 1},
        {&m->outputs, n_outputs, sizeof *m->outputs},
        {&m->states_of, n, sizeof *m->states_of},
        {&m->kept.ids, n_outputs, sizeof *m->ids},
        {&m->kept.pos, n_outputs, sizeof *m->pos},
        {&m->kept.seq, n_outputs, sizeof *m->seq},
        {&m->kept.outputs, n_outputs, sizeof *m->outputs},
        {&m->kept.generated, n_outputs, 1},
        {&m->cs[0], cs_bytes, 1},
        {&m->cs[1], cs_bytes, 1},
    };
    for (size_t i = 0; i < COUNT_OF(arrays); i++) {
        void *p = mem_new(arrays[i].n, arrays[i].size);
        if (!p) return err_memory(err, arrays[i].n * arrays[i].size, "a batch");
        memcpy(arrays[i].field, &p, sizeof p);
    }
    for (size_t i = 0; i < n_outputs; i++) m->kept.outputs[i] = (int32_t)i;
    m->step.batch = (struct step_batch){.ids = m->ids,
                                        .pos = m->pos,
                                        .seq = m->seq,
                                        .generated = m->generated,
                                        .page_table = m->kv.table,
                                        .max_pages = m->kv.max_pages,
                                        .n_kv = m->kv.n_tokens,
                                        .outputs = m->outputs,
                                        .states = m->states_of,
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

/* ---- devices -------------------------------------------------------------------------------------- */

static int take_devices(struct model *m, struct backend *cpu, const struct model_params *p, struct redline_err *err)
{
    size_t n_blocks = (size_t)weights_n_blocks(m->h.n_layers);
    m->n_devices = 1 + p->n_gpus;
    m->devices[0].backend = cpu;
    m->host_of = cpu;
    for (int i = p->n_gpus; i-- > 0;) {
        m->devices[1 + i].backend = p->gpus[i];
        if (p->gpus[i]) m->host_of = p->gpus[i];
    }
    m->device_of = mem_new(n_blocks, 1);
    if (!m->device_of) return err_memory(err, n_blocks, "the places of blocks");
    if (p->device_of) memcpy(m->device_of, p->device_of, n_blocks);
    m->params.gpus = NULL; /* the caller's */
    m->params.device_of = NULL;
    return 0;
}

static int make_buffers(struct model *m, struct redline_err *err)
{
    static const unsigned on_host = BUFFER_STREAM | BUFFER_RESULTS;
    struct model_buffers unused, *cpu = &m->devices[0].buffers;
    struct step_limits limits = step_limits(&m->h, &m->params);
    size_t bytes = lay_out(&unused, NULL, &m->h, &m->params, on_host);
    TRY(m->host_of->ops->reserve_host(m->host_of, &m->host, bytes, "activations", err));
    m->host_bytes = bytes;
    lay_out(cpu, m->host, &m->h, &m->params, on_host);
    m->logits = cpu->logits;
    m->states = cpu->states;
    for (int i = 0; i < m->n_devices; i++) {
        struct model_device *d = &m->devices[i];
        bool head = m->device_of[weights_head_block(m->h.n_layers)] == i;
        unsigned chosen = BUFFER_WORK | (i > 0 ? BUFFER_STREAM : 0) | (i > 0 && head ? BUFFER_RESULTS : 0);
        if (!d->backend) continue;
        bytes = lay_out(&unused, NULL, &m->h, &m->params, chosen);
        TRY(d->backend->ops->reserve(d->backend, &d->memory, bytes, "activations", err));
        d->memory_bytes = bytes;
        lay_out(&d->buffers, d->memory, &m->h, &m->params, chosen);
        TRY(d->backend->ops->prepare(d->backend, &limits, err));
    }
    return 0;
}

static int make_kv(struct model *m, struct redline_err *err)
{
    struct kv_params params = kv_params(&m->params);
    struct backend *backends[BACKEND_MOST_DEVICES];
    uint8_t of_layer[HPARAMS_MAX_LAYERS];
    for (int i = 0; i < m->n_devices; i++) backends[i] = m->devices[i].backend;
    for (int i = 0; i < m->h.n_layers; i++) of_layer[i] = m->device_of[weights_block(i, PART_ATTENTION)];
    return kv_init(&m->kv, &m->h, &params, &(struct kv_devices){backends, m->n_devices, of_layer}, err);
}

/* What goes to a GPU is read at once, and need not stay in memory as the file's; but rows of the embedding are looked
 * up there. */
static int place_weight(void *user, int block, const struct weight *w, struct weight *const *parts, int n_parts,
                        struct str name, struct redline_err *err)
{
    struct model *m = user;
    struct backend *b = m->devices[m->device_of[block]].backend;
    size_t bytes = (size_t)w->n_mats * w->mat_bytes;
    bool leaves = m->device_of[block] > 0 && w->data != m->weights.embed.data;
    if (leaves) file_map_want(w->data, bytes);
    TRY(b->ops->place(b, w, parts, n_parts, name, err));
    if (leaves) file_map_forget(w->data, bytes);
    if (leaves && m->params.placed) m->params.placed(m->params.user, bytes);
    return 0;
}

static int place_vector(void *user, int block, const float *v, size_t n, const float **out, struct redline_err *err)
{
    struct model *m = user;
    struct backend *b = m->devices[m->device_of[block]].backend;
    TRY(b->ops->vector(b, v, n, out, err));
    if (m->device_of[block] > 0 && m->params.placed) m->params.placed(m->params.user, n * sizeof *v);
    return 0;
}

static int fill_model(struct model *m, const struct gguf *g, struct backend *cpu, struct redline_err *err)
{
    struct weights_placer placer = {place_weight, place_vector, m};
    TRY(hparams_read(&m->h, g, err));
    TRY(take_devices(m, cpu, &m->params, err));
    TRY(make_kv(m, err));
    TRY(make_buffers(m, err));
    TRY(make_batch(m, err));
    TRY(weights_bind(&m->weights, &m->h, g, &placer, err));
    m->params.placed = NULL; /* the caller's */
    for (int i = 1; i < m->n_devices; i++) {
        struct backend *b = m->devices[i].backend;
        if (b) b->ops->settle(b);
    }
    return make_ropes(m, err);
}

int model_open(struct model **out, const struct gguf *g, struct backend *cpu,
               const struct model_params *p, struct redline_err *err)
{
    struct model *m = mem_new(1, sizeof *m);
    *out = NULL;
    if (!m) return err_memory(err, sizeof *m, "a model");
    m->params = *p;
    int status = fill_model(m, g, cpu, err);
    if (status)
        model_close(&m);
    else
        *out = m;
    return status;
}

/* ---- batches -------------------------------------------------------------------------------------- */

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
    if (wanted & MODEL_STATE) m->states_of[b->n_states++] = at;
    b->n_tokens++;
    return 0;
}

void model_drop(struct model *m)
{
    m->step.batch.n_tokens = m->step.batch.n_outputs = m->step.batch.n_states = 0;
}

/* Behind OP_KEEP: the batch of the tokens that are left. */
static struct step_batch kept_batch(struct model *m)
{
    struct step_batch batch = m->step.batch;
    const struct model_kept *k = &m->kept;
    for (int i = 0; i < batch.n_outputs; i++) {
        int32_t from = batch.outputs[i];
        k->ids[i] = batch.ids[from];
        k->pos[i] = batch.pos[from];
        k->seq[i] = batch.seq[from];
        k->generated[i] = batch.generated[from];
    }
    batch.n_tokens = batch.n_outputs;
    batch.ids = k->ids;
    batch.pos = k->pos;
    batch.seq = k->seq;
    batch.generated = k->generated;
    batch.outputs = k->outputs;
    return batch;
}

static bool has_op(const struct step *part, enum op_kind kind)
{
    for (int i = 0; i < part->n_ops; i++)
        if (part->ops[i].kind == kind) return true;
    return false;
}

static bool runs_in(const struct model *m, int device, int first, int last)
{
    for (int i = first; i < last; i++)
        if (m->op_device[i] == device) return true;
    return false;
}

/* The stream comes from the host, and goes back to it with n_left tokens unless this is the end; so do results. */
static void write_copies(const struct model *m, struct step *part, int device, int n_left, bool last)
{
    const struct model_buffers *here = &m->devices[device].buffers, *host = &m->devices[0].buffers;
    size_t row_bytes = (size_t)m->h.width * sizeof(float), n_outputs = (size_t)part->batch.n_outputs;
    part->in = (struct step_copy){here->x, host->x, (size_t)part->batch.n_tokens * row_bytes};
    if (!last) part->out[0] = (struct step_copy){host->x, here->x, (size_t)n_left * row_bytes};
    if (has_op(part, OP_HEAD))
        part->out[1] = (struct step_copy){host->logits, here->logits,
                                          n_outputs * (size_t)m->h.n_vocab * sizeof(float)};
    if (has_op(part, OP_STATES))
        part->out[2] = (struct step_copy){host->states, here->states,
                                          (size_t)part->batch.n_states * (size_t)m->h.embed_width * sizeof(float)};
}

/* One part after the other, each the next run of operations on one device. */
static int run_parts(struct model *m, struct redline_err *err)
{
    struct step_batch batch = m->step.batch;
    int n_ops = m->step.n_ops;
    for (int first = 0, end; first < n_ops; first = end) {
        int device = m->op_device[first];
        struct backend *b = m->devices[device].backend;
        for (end = first; end < n_ops && m->op_device[end] == device;) end++;
        struct step part = {.batch = batch,
                            .n_ops = end - first,
                            .ops = m->step.ops + first,
                            .follows = runs_in(m, device, 0, first),
                            .goes_on = runs_in(m, device, end, n_ops)};
        if (has_op(&part, OP_KEEP)) batch = kept_batch(m);
        if (device > 0) write_copies(m, &part, device, batch.n_tokens, end == n_ops);
        TRY(b->ops->run(b, &part, err));
    }
    return 0;
}

int model_run(struct model *m, struct redline_err *err)
{
    if (m->step.batch.n_tokens == 0) return err_set(err, REDLINE_ARG, "the batch is empty");
    decoder_write(m);
    int status = run_parts(m, err);
    model_drop(m);
    return status;
}

bool model_packed(const struct model *m)
{
    bool packed = false;
    for (int i = 0; i < m->n_devices; i++) {
        struct backend *b = m->devices[i].backend;
        packed |= b && b->ops->packed(b);
    }
    return packed;
}

bool model_settle(struct model *m)
{
    bool settled = true;
    for (int i = 0; i < m->n_devices; i++) {
        struct backend *b = m->devices[i].backend;
        if (b) settled &= b->ops->settle(b);
    }
    return settled;
}

void model_trim(struct model *m, int seq, int n_tokens)
{
    kv_trim(&m->kv, seq, n_tokens);
}

int model_keeps(const struct model *m, int seq, int n_tokens)
{
    return kv_keeps(&m->kv, seq, n_tokens);
}
