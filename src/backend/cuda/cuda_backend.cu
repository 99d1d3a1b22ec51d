/* cuda_backend.cu - an NVIDIA GPU as a backend: opening it, its scratch memory, and running a step. */
#include "cuda_backend.h"

#include <stdio.h>
#include <string.h>

extern "C" {
#include "mem.h"
#include "step_count.h"
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static void cuda_close(struct backend **out)
{
    struct cuda_backend *b = (struct cuda_backend *)*out;
    if (!b) return;
    struct device *d = &b->device;
    cuda_graphs_close(&b->graphs);
    cuda_weights_close(&b->weights, d);
    device_free(d, b->scratch_memory);
    device_free_host(d, b->staging);
    device_close(d);
    mem_free(b->counts);
    mem_free(b);
    *out = NULL;
}

static int open_device(struct cuda_backend *b, const struct backend_params *params, struct redline_err *err)
{
    TRY(device_open(&b->device, params->device, err));
    snprintf(b->isa, sizeof b->isa, "sm_%d", b->device.arch);
    b->exact = params->exact;
    return cuda_weights_open(&b->weights, &b->device, params->weight_bytes, err);
}

extern const struct backend_ops backend_cuda;

static int cuda_open(struct backend **out, const struct backend_params *params, struct redline_err *err)
{
    if (params->watch)
        return err_set(err, REDLINE_SUPPORT, "what goes into products cannot be watched on a GPU");
    struct cuda_backend *b = (struct cuda_backend *)mem_new(1, sizeof *b);
    if (!b) return err_memory(err, sizeof *b, "the CUDA backend");
    *out = &b->base;
    b->base.ops = &backend_cuda;
    int status = open_device(b, params, err);
    if (status) cuda_close(out);
    return status;
}

static struct device *device_of(struct backend *b)
{
    return &((struct cuda_backend *)b)->device;
}

static int cuda_reserve(struct backend *b, void **out, size_t bytes, const char *what, struct redline_err *err)
{
    return device_take(device_of(b), out, bytes, what, err);
}

static void cuda_release(struct backend *b, void *p, size_t bytes)
{
    (void)bytes;
    device_free(device_of(b), p);
}

static int cuda_reserve_host(struct backend *b, void **out, size_t bytes, const char *what, struct redline_err *err)
{
    return device_take_host(device_of(b), out, bytes, what, err);
}

static void cuda_release_host(struct backend *b, void *p, size_t bytes)
{
    (void)bytes;
    device_free_host(device_of(b), p);
}

/* ---- weights ---------------------------------------------------------------------------------------------------- */

static int cuda_place(struct backend *base, const struct weight *w, struct weight *const *parts, int n_parts,
                      struct str name, struct redline_err *err)
{
    struct cuda_backend *b = (struct cuda_backend *)base;
    if (!dtype_info(w->dtype)->is_weight)
        return err_set(err, REDLINE_SUPPORT, "tensor '%.*s' is of type %s, which has no kernel", STR_ARG(name),
                       dtype_name(w->dtype));
    if (n_parts == 0)
        return err_set(err, REDLINE_SUPPORT, "rows of tensor '%.*s' are looked up, on the CPU alone", STR_ARG(name));
    device_use(&b->device);
    for (int i = 0; i < n_parts; i++) TRY(cuda_weights_place(&b->weights, &b->device, parts[i], err));
    return 0;
}

static int cuda_vector(struct backend *base, const float *v, size_t n, const float **out, struct redline_err *err)
{
    struct cuda_backend *b = (struct cuda_backend *)base;
    device_use(&b->device);
    return cuda_weights_vector(&b->weights, &b->device, v, n, out, err);
}

static bool cuda_packs(const struct backend_params *params, enum dtype dtype)
{
    (void)params;
    return dtype_info(dtype)->is_weight;
}

/* ---- scratch memory --------------------------------------------------------------------------------------------- */

/* The most numbers that rows of activations take: one for each token, for each expert of a token, for each head. */
static size_t most_numbers(const struct step_limits *l, size_t n_tokens)
{
    size_t heads = (size_t)l->n_heads * (size_t)MAX(MAX(l->d_k, l->d_v), l->d_expanded);
    size_t expert = (size_t)MAX(l->width, l->ffn_width), head = (size_t)MAX(l->d_expanded, l->latent);
    size_t row = MAX(MAX(heads, expert), (size_t)MAX(l->q_rank, l->latent));
    size_t experts = (size_t)l->n_experts_used * ROUND_UP(expert, CUDA_ROW);
    size_t by_head = l->latent ? (size_t)l->n_heads * ROUND_UP(head, CUDA_ROW) : 0;
    return n_tokens * MAX(MAX(ROUND_UP(row, CUDA_ROW), experts), by_head);
}

/* Bytes of the largest batch: see fill_batch(). */
static size_t batch_bytes(const struct step_limits *l)
{
    size_t n_tokens = (size_t)l->n_tokens, n_seqs = (size_t)l->n_seqs, n_pages = (size_t)CEIL_DIV(l->n_ctx, KV_PAGE);
    size_t angles = n_tokens * (size_t)MAX(MAX(l->d_k, l->d_expanded), l->latent);
    size_t sorted = n_tokens * (sizeof(int4) / 4 + 1);
    size_t numbers = 3 * n_tokens + sorted + (size_t)l->n_outputs + n_seqs * (n_pages + 1) + 2 * angles;
    return numbers * 4 + CUDA_BATCH_PARTS * CUDA_ALIGNMENT;
}

/* Lays the scratch memory out from address p (NULL only to measure) and returns its size. */
static size_t lay_out(struct cuda_scratch *s, char *p, const struct step_limits *l)
{
    size_t n_tokens = (size_t)MAX(l->n_tokens, l->n_outputs), n_heads = (size_t)l->n_heads;
    size_t used = (size_t)l->n_experts_used, n_rows = n_tokens * MAX(1, used), width = (size_t)l->width;
    size_t kv_heads = (size_t)l->n_kv_heads, row = most_numbers(l, 1), ffn = n_rows * (size_t)l->ffn_width;
    struct {
        void *field; /* a pointer of s */
        size_t bytes;
    } block[] = {
        {&s->batch, batch_bytes(l)},
        {&s->norm, n_tokens * row * sizeof(float)},
        {&s->bf16, n_tokens * row * sizeof(uint16_t)},
        {&s->rows, n_rows * width * sizeof(float)},
        {&s->k, n_tokens * kv_heads * (size_t)l->d_k * sizeof(float)},
        {&s->v, n_tokens * kv_heads * (size_t)l->d_v * sizeof(float)},
        {&s->q_latent, n_tokens * (size_t)l->q_rank * sizeof(float)},
        {&s->kv_latent, n_tokens * (size_t)l->latent * sizeof(float)},
        {&s->expanded, l->latent ? n_tokens * n_heads * (size_t)l->d_expanded * sizeof(float) : 0},
        {&s->gate, ffn * sizeof(float)},
        {&s->up, ffn * sizeof(float)},
        {&s->hidden, used ? ffn * sizeof(float) : 0},
        {&s->router, n_tokens * (size_t)MAX(1, l->n_experts) * sizeof(float)},
        {&s->chosen, n_tokens * used * sizeof(int32_t)},
        {&s->share, n_tokens * used * sizeof(float)},
        {&s->slot_of, n_tokens * used * sizeof(int32_t)},
        {&s->token_of, n_tokens * used * sizeof(int32_t)},
        {&s->expert_first, ((size_t)l->n_experts + 1) * sizeof(int32_t)},
        {&s->partial, cuda_attn_partial_floats(l) * sizeof(float)},
    };
    size_t used_bytes = 0;
    for (size_t i = 0; i < COUNT_OF(block); i++) {
        char *at = p ? p + used_bytes : NULL;
        memcpy(block[i].field, &at, sizeof at);
        used_bytes += ROUND_UP(block[i].bytes, (size_t)CUDA_ALIGNMENT);
    }
    return used_bytes;
}

static size_t cuda_scratch_bytes(const struct step_limits *limits, const struct backend_params *params)
{
    struct cuda_scratch unused;
    (void)params;
    return lay_out(&unused, NULL, limits);
}

/* What a step of these limits needs and an earlier one left behind is made anew. */
static int take_scratch(struct cuda_backend *b, const struct step_limits *l, struct redline_err *err)
{
    struct device *d = &b->device;
    size_t bytes = cuda_scratch_bytes(l, NULL), n_counts = (size_t)l->n_layers + 1;
    b->counts = (struct backend_count *)mem_new(n_counts, sizeof *b->counts);
    if (!b->counts) return err_memory(err, n_counts * sizeof *b->counts, "the counts of layers");
    TRY(cuda_graphs_open(&b->graphs, CUDA_LAYER_OPS * (l->n_layers + 1), err));
    TRY(device_take_host(d, &b->staging, batch_bytes(l), "the batch on its way", err));
    TRY(device_take(d, &b->scratch_memory, bytes, "scratch memory", err));
    lay_out(&b->scratch, (char *)b->scratch_memory, l);
    b->limits = *l;
    return device_status(d, err);
}

/* Kernels count tokens, and generated tokens of experts, in a dimension of their grids that goes no further. */
static int check_limits(const struct step_limits *l, struct redline_err *err)
{
    enum { MOST_ROWS = 65535 };
    int64_t choices = (int64_t)MIN(l->n_tokens, l->n_seqs) * l->n_experts_used;
    if (MAX(l->n_tokens, l->n_outputs) <= MOST_ROWS && choices <= MOST_ROWS) return 0;
    return err_set(err, REDLINE_SUPPORT,
                   "a GPU takes steps of %d tokens, or generated tokens times experts; not of %d tokens, %d outputs, "
                   "and %d sequences times %d experts",
                   MOST_ROWS, l->n_tokens, l->n_outputs, l->n_seqs, l->n_experts_used);
}

static int cuda_prepare(struct backend *base, const struct step_limits *l, struct redline_err *err)
{
    struct cuda_backend *b = (struct cuda_backend *)base;
    struct device *d = &b->device;
    TRY(check_limits(l, err));
    device_use(d);
    cuda_weights_settle(&b->weights, d);
    device_wait(d);
    cuda_graphs_close(&b->graphs);
    mem_free(b->counts);
    device_free_host(d, b->staging);
    device_free(d, b->scratch_memory);
    b->counts = NULL;
    b->staging = b->scratch_memory = NULL;
    return take_scratch(b, l, err);
}

/* ---- the batch -------------------------------------------------------------------------------------------------- */

/* Parts of the batch, one behind the other: on the host, and at the same distances on the device. */
struct filling {
    char *host, *device;
    size_t bytes, room;
};

/* Room for so many bytes: *device is where they will be, and what is returned where they are written; NULL where there
 * is no room. */
static void *add_part(struct filling *f, const void *device, size_t bytes)
{
    size_t at = f->bytes;
    const char *there = f->device + at;
    memcpy((void *)device, &there, sizeof there);
    f->bytes += ROUND_UP(bytes, (size_t)CUDA_ALIGNMENT);
    return f->bytes <= f->room ? f->host + at : NULL;
}

/* n numbers of 4 bytes. */
static void fill(struct filling *f, const void *device, const void *numbers, size_t n)
{
    void *to = add_part(f, device, n * 4);
    if (to && n > 0) memcpy(to, numbers, n * 4);
}

/* As many pages of each row as the shape has. */
static void fill_pages(struct filling *f, const void *device, const struct step_batch *batch,
                       const struct cuda_shape *shape)
{
    size_t n_pages = (size_t)shape->max_pages, from = (size_t)batch->max_pages;
    int32_t *to = (int32_t *)add_part(f, device, (size_t)shape->n_seqs * n_pages * sizeof *to);
    for (size_t s = 0; to && s < (size_t)shape->n_seqs && n_pages > 0; s++)
        memcpy(to + s * n_pages, batch->page_table + s * from, n_pages * sizeof *to);
}

/* Of a text, where its pieces lie, which says how many there are. */
static void fill_sorted(struct filling *f, struct cuda_batch *out, const struct step_batch *batch,
                        const struct step_limits *l, struct cuda_shape *shape)
{
    size_t n_tokens = (size_t)batch->n_tokens;
    int4 *tiles = (int4 *)add_part(f, &out->text_tiles, n_tokens * sizeof *tiles);
    int32_t *singles = (int32_t *)add_part(f, &out->singles, n_tokens * sizeof *singles);
    if (tiles && singles) cuda_attn_sort(batch, l, tiles, singles, &shape->n_text_tiles, &shape->n_singles);
}

static void fill_batch(struct filling *f, struct cuda_batch *out, const struct step_batch *batch,
                       const struct step_limits *l, struct cuda_shape *shape)
{
    size_t n_tokens = (size_t)batch->n_tokens;
    fill(f, &out->pos, batch->pos, n_tokens);
    fill(f, &out->seq, batch->seq, n_tokens);
    fill(f, &out->n_kv, batch->n_kv, (size_t)shape->n_seqs);
    fill_pages(f, &out->page_table, batch, shape);
    fill(f, &out->outputs, batch->outputs, (size_t)batch->n_outputs);
    fill(f, &out->states, batch->states, (size_t)batch->n_states);
    for (int i = 0; i < 2; i++) fill(f, &out->cs[i], batch->cs[i], n_tokens * (size_t)shape->n_rot[i]);
    if (shape->form == CUDA_TILES) fill_sorted(f, out, batch, l, shape);
    out->max_pages = shape->max_pages;
}

/* Rotated numbers of a head, by table. */
static void find_rotated(int n_rot[2], const struct step *step)
{
    for (int i = 0; i < step->n_ops; i++) {
        const struct op *op = &step->ops[i];
        const struct rotary *r = op->kind == OP_QKV ? &op->qkv.rope : op->kind == OP_MLA ? &op->mla.rope : NULL;
        if (r && r->kind != ROPE_NONE) n_rot[r->table] = r->n_rot;
    }
}

static int power_of_two(int n)
{
    int p = 1;
    while (p < n) p *= 2;
    return p;
}

/* Numbers that differ from step to step without need are rounded up, so that more steps are equal. */
static struct cuda_shape shape_of(const struct cuda_backend *b, const struct step *step)
{
    const struct step_batch *batch = &step->batch;
    struct cuda_shape s = {};
    int most_kv = 0, most_seq = 0;
    bool generated = true;
    for (int t = 0; t < batch->n_tokens; t++) {
        most_seq = MAX(most_seq, batch->seq[t]);
        most_kv = MAX(most_kv, batch->n_kv[batch->seq[t]]);
        generated = generated && batch->generated[t];
    }
    s.form = b->exact ? CUDA_EXACT : generated ? CUDA_CODES : CUDA_TILES;
    s.n_tokens = batch->n_tokens;
    s.n_outputs = batch->n_outputs;
    s.n_states = batch->n_states;
    s.n_ops = step->n_ops;
    s.n_seqs = MIN(power_of_two(most_seq + 1), b->limits.n_seqs);
    s.most_kv = cuda_attn_most_kv(most_kv);
    s.max_pages = MIN(s.most_kv / KV_PAGE, batch->max_pages);
    find_rotated(s.n_rot, step);
    return s;
}

/* ---- running ---------------------------------------------------------------------------------------------------- */

static void launch_op(struct cuda_run *run, const struct op *op)
{
    switch (op->kind) {
    case OP_QKV: cuda_op_qkv(run, &op->qkv); break;
    case OP_MLA: cuda_op_mla(run, &op->mla); break;
    case OP_HEADS: cuda_op_heads(run, &op->heads); break;
    case OP_ATTEND: cuda_op_attend(run, &op->attend); break;
    case OP_PROJECT: cuda_op_project(run, &op->project); break;
    case OP_GLU: cuda_op_glu(run, &op->glu); break;
    case OP_MOE: cuda_op_moe(run, &op->moe); break;
    case OP_HEAD: cuda_op_head(run, &op->head); break;
    case OP_STATES: cuda_op_states(run, &op->states); break;
    case OP_DENSE: cuda_op_dense(run, &op->dense); break;
    case OP_KEEP:
        cuda_op_keep(run, &op->keep);
        run->n_tokens = run->n_outputs;
        break;
    case OP_EMBED: /* see check() */
    case OP_COUNT: break;
    }
}

void cuda_launch(struct cuda_run *run, const struct step *step)
{
    for (int i = 0; i < step->n_ops; i++) launch_op(run, &step->ops[i]);
}

static int check(const struct cuda_backend *b, const struct step *step, struct redline_err *err)
{
    const struct step_batch *batch = &step->batch;
    if (batch->n_tokens > b->limits.n_tokens || batch->n_outputs > b->limits.n_outputs)
        return err_set(err, REDLINE_ARG, "a step of %d tokens and %d outputs, prepared for %d and %d", batch->n_tokens,
                       batch->n_outputs, b->limits.n_tokens, b->limits.n_outputs);
    for (int i = 0; i < step->n_ops; i++)
        if (step->ops[i].kind == OP_EMBED)
            return err_set(err, REDLINE_SUPPORT, "embeddings are looked up on the CPU alone");
    return 0;
}

static void copy(struct device *d, const struct step_copy *c, enum cudaMemcpyKind kind)
{
    if (c->bytes) device_check(d, cudaMemcpyAsync(c->to, c->from, c->bytes, kind, d->stream), "copying activations");
}

static void set_run(struct cuda_run *run, struct cuda_backend *b, const struct cuda_shape *shape)
{
    run->d = &b->device;
    run->b = b;
    run->n_tokens = shape->n_tokens;
    run->n_outputs = shape->n_outputs;
    run->n_states = shape->n_states;
    run->most_kv = shape->most_kv;
    run->n_text_tiles = shape->n_text_tiles;
    run->n_singles = shape->n_singles;
    run->form = shape->form;
}

static int cuda_run(struct backend *base, const struct step *step, struct redline_err *err)
{
    struct cuda_backend *b = (struct cuda_backend *)base;
    struct device *d = &b->device;
    TRY(check(b, step, err));
    struct cuda_shape shape = shape_of(b, step);
    struct filling f = {(char *)b->staging, b->scratch.batch, 0, batch_bytes(&b->limits)};
    struct cuda_run run = {};
    fill_batch(&f, &run.batch, &step->batch, &b->limits, &shape);
    if (f.bytes > f.room)
        return err_set(err, REDLINE_ARG, "a batch of %zu bytes, prepared for %zu", f.bytes, f.room);
    set_run(&run, b, &shape);
    device_use(d);
    step_count(b->counts, b->limits.n_layers, step);
    copy(d, &step->in, cudaMemcpyHostToDevice);
    device_check(d, cudaMemcpyAsync(f.device, f.host, f.bytes, cudaMemcpyHostToDevice, d->stream), "copying the batch");
    cuda_graphs_launch(&b->graphs, &run, &shape, step);
    for (size_t i = 0; i < COUNT_OF(step->out); i++) copy(d, &step->out[i], cudaMemcpyDeviceToHost);
    device_wait(d);
    return device_status(d, err);
}

/* ---- what is asked of it ---------------------------------------------------------------------------------------- */

/* What placing took is given back. */
static bool cuda_settle(struct backend *base)
{
    struct cuda_backend *b = (struct cuda_backend *)base;
    cuda_weights_settle(&b->weights, &b->device);
    return true;
}

static bool cuda_packed(const struct backend *b)
{
    (void)b;
    return false;
}

static const char *cuda_note(const struct backend *b)
{
    return ((const struct cuda_backend *)b)->graphs.refused;
}

static const struct backend_count *cuda_counts(const struct backend *b)
{
    return ((const struct cuda_backend *)b)->counts;
}

static int cuda_n_used(const struct backend *b)
{
    (void)b;
    return 0;
}

static struct backend_kernel cuda_kernel(const struct backend *base, enum dtype dtype, bool text)
{
    const struct cuda_backend *b = (const struct cuda_backend *)base;
    bool floats = b->exact || dtype == DTYPE_F32 || (!text && !dtype_info(dtype)->is_quantized);
    return {b->isa, floats ? "f32" : text ? "bf16" : "int8"};
}

const struct backend_ops backend_cuda = {
    .name = "cuda",
    .n_devices = device_count,
    .check_devices = device_check_all,
    .describe = device_describe,
    .facts = device_facts,
    .open = cuda_open,
    .close = cuda_close,
    .reserve = cuda_reserve,
    .release = cuda_release,
    .reserve_host = cuda_reserve_host,
    .release_host = cuda_release_host,
    .place = cuda_place,
    .vector = cuda_vector,
    .place_bytes = cuda_place_bytes,
    .vector_bytes = cuda_vector_bytes,
    .packs = cuda_packs,
    .scratch_bytes = cuda_scratch_bytes,
    .prepare = cuda_prepare,
    .run = cuda_run,
    .settle = cuda_settle,
    .packed = cuda_packed,
    .note = cuda_note,
    .counts = cuda_counts,
    .n_used = cuda_n_used,
    .kernel = cuda_kernel,
    .measure = cuda_measure,
};

extern "C" {
const struct backend_ops *const backend_gpu = &backend_cuda;
}
