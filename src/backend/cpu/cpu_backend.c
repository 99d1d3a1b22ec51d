/* cpu_backend.c - the CPU as a backend: opening it, its scratch memory, and running a step.
 *
 * Products read strips, which are made of the file's rows as they are needed (cpu_store.h); what is looked up row
 * by row stays where it is mapped. */
#include "cpu_backend.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "clock.h"
#include "cpu.h"
#include "cpu_probe.h"
#include "mem.h"
#include "step_count.h"

/* What a step may pack for good: little of a short prompt's time, since a first token is waited for, and a tenth of
 * a long one's; then quickly, for a weight that is not packed costs more in every step. */
static const long long ALLOWANCE_TOKEN_BYTES = 8 << 20, ALLOWANCE_NEXT_BYTES = 512 << 20;
enum { FEW_ROWS = 16 };
static const size_t SETTLE_BYTES = 32 << 20; /* some 10 ms: as long as a request may have to wait for */

static int cpu_check_devices(struct redline_err *err)
{
    (void)err;
    return 0;
}

static int cpu_n_devices(void)
{
    return 1;
}

static int cpu_device_facts(int device, struct backend_facts *out, struct redline_err *err)
{
    struct cpu_facts facts;
    struct cpu_memory memory;
    (void)device;
    (void)err;
    cpu_facts(&facts);
    cpu_memory(&memory);
    *out = (struct backend_facts){.total_bytes = memory.total_bytes, .free_bytes = memory.available_bytes};
    snprintf(out->name, sizeof out->name, "%s", facts.name);
    return 0;
}

static int cpu_describe(int device, struct backend_facts *out, struct redline_err *err)
{
    int status = cpu_device_facts(device, out, err);
    out->free_bytes = 0;
    return status;
}

static void cpu_close(struct backend **out)
{
    struct cpu_backend *b = (struct cpu_backend *)*out;
    if (!b) return;
    mem_release(b->scratch_memory, b->scratch_bytes);
    team_free(&b->team);
    store_free(&b->store);
    mem_free(b->counts);
    mem_free(b);
    *out = NULL;
}

static int cpu_open(struct backend **out, const struct backend_params *params,
                    struct redline_err *err)
{
    struct cpu_backend *b = mem_new(1, sizeof *b);
    if (!b) return err_memory(err, sizeof *b, "the CPU backend");
    *out = &b->base;
    b->base.ops = &backend_cpu;
    b->kern = kern_ops();
    b->exact = params->exact;
    b->n_threads = params->n_threads;
    b->adapt = params->adapt;
    b->n_used = params->n_threads;
    pace_init(&b->pace, params->n_threads);
    b->watch = params->watch;
    int status = team_new(&b->team, params->n_threads, err);
    if (status) cpu_close(out);
    return status;
}

static int cpu_reserve(struct backend *b, void **out, size_t bytes, const char *what,
                       struct redline_err *err)
{
    (void)b;
    return mem_reserve(out, bytes, what, err);
}

static void cpu_release(struct backend *b, void *p, size_t bytes)
{
    (void)b;
    mem_release(p, bytes);
}

static bool cpu_packs(const struct backend_params *params, enum dtype dtype)
{
    return !(params->exact && dtype_info(dtype)->is_quantized);
}

static int cpu_place(struct backend *base, const struct weight *w, struct weight *const *parts, int n_parts,
                     struct str name, struct redline_err *err)
{
    struct cpu_backend *b = (struct cpu_backend *)base;
    if (!b->kern->mm[w->dtype] || !b->kern->decode[w->dtype])
        return err_set(err, REDLINE_SUPPORT, "tensor '%.*s' is of type %s, which has no kernel",
                       STR_ARG(name), dtype_name(w->dtype));
    bool packs = cpu_packs(&(struct backend_params){.exact = b->exact}, w->dtype);
    for (int i = 0; packs && i < n_parts; i++) TRY(store_place(&b->store, parts[i], err));
    return b->watch && n_parts > 0 ? b->watch->weight(b->watch->user, name, w, err) : 0;
}

/* The mapped file is the CPU's memory. */
static int cpu_vector(struct backend *b, const float *v, size_t n, const float **out, struct redline_err *err)
{
    (void)b;
    (void)n;
    (void)err;
    *out = v;
    return 0;
}

/* Strips take the place of the pages that they are made of. */
static size_t cpu_place_bytes(const struct weight *w)
{
    (void)w;
    return 0;
}

static size_t cpu_vector_bytes(size_t n)
{
    (void)n;
    return 0;
}

/* The columns of the widest weight. */
static size_t widest(const struct step_limits *l)
{
    size_t heads = (size_t)l->n_heads * (size_t)MAX(MAX(l->d_k, l->d_v), l->d_expanded);
    return MAX(MAX(heads, (size_t)l->width), MAX((size_t)l->ffn_width, (size_t)MAX(l->q_rank, l->latent)));
}

/* The most bytes that prepared rows take: one for each token, for each expert of a token, for each head. */
static size_t most_bytes(const struct step_limits *l, size_t n_tokens, size_t (*row_bytes)(size_t))
{
    size_t used = (size_t)l->n_experts_used, expert = (size_t)MAX(l->width, l->ffn_width);
    size_t head = (size_t)MAX(l->d_expanded, l->latent), n_heads = l->latent ? (size_t)l->n_heads : 0;
    size_t all = n_tokens * row_bytes(widest(l)), experts = n_tokens * used * row_bytes(expert);
    return MAX(MAX(all, experts), n_tokens * n_heads * row_bytes(head));
}

/* Lays the scratch memory out from address p (NULL only to measure) and returns its size.  Every block
 * starts on a cache line. */
static size_t lay_out(struct cpu_scratch *s, char *p, const struct step_limits *l, int n_threads)
{
    size_t n_tokens = (size_t)MAX(l->n_tokens, l->n_outputs), n_heads = (size_t)l->n_heads;
    size_t used = (size_t)l->n_experts_used, n_rows = n_tokens * MAX(1, used), width = (size_t)l->width;
    size_t kv_heads = (size_t)l->n_kv_heads;

    s->attn_floats = cpu_attn_member_floats(l);
    s->strip_bytes = PASSING * strip_bytes(strip_form(DTYPE_F32), (int)widest(l));
    struct {
        void *field; /* a pointer of s */
        size_t bytes;
    } block[] = {
        {&s->norm, n_tokens * MAX(width, (size_t)l->q_rank) * sizeof(float)},
        {&s->q8, most_bytes(l, n_tokens, cpu_q8_bytes)},
        {&s->bf16, most_bytes(l, n_tokens, cpu_bf16_bytes)},
        {&s->generated, MAX(n_rows, l->latent ? n_tokens * n_heads : 0)},
        {&s->kept, n_tokens},
        {&s->rows, n_rows * width * sizeof(float)},
        {&s->k, n_tokens * kv_heads * (size_t)l->d_k * sizeof(float)},
        {&s->v, n_tokens * kv_heads * (size_t)l->d_v * sizeof(float)},
        {&s->q_latent, n_tokens * (size_t)l->q_rank * sizeof(float)},
        {&s->kv_latent, n_tokens * (size_t)l->latent * sizeof(float)},
        {&s->expanded, l->latent ? n_tokens * n_heads * (size_t)l->d_expanded * sizeof(float) : 0},
        {&s->up, n_rows * (size_t)l->ffn_width * sizeof(float)},
        {&s->hidden, used ? n_rows * (size_t)l->ffn_width * sizeof(float) : 0},
        {&s->router, n_tokens * (size_t)MAX(1, l->n_experts) * sizeof(float)},
        {&s->chosen, n_tokens * used * sizeof(int32_t)},
        {&s->share, n_tokens * used * sizeof(float)},
        {&s->slot_of, n_tokens * used * sizeof(int32_t)},
        {&s->token_of, n_tokens * used * sizeof(int32_t)},
        {&s->expert_first, ((size_t)l->n_experts + 1) * sizeof(int32_t)},
        {&s->wanted, ((size_t)l->n_experts + 1) * sizeof(int32_t)},
        {&s->strip, (size_t)n_threads * s->strip_bytes},
        {&s->attn, (size_t)n_threads * s->attn_floats * sizeof(float)},
        {&s->partial, cpu_attn_partial_floats(l, n_threads) * sizeof(float)},
    };
    size_t used_bytes = 0;
    for (size_t i = 0; i < COUNT_OF(block); i++) {
        char *at = p ? p + used_bytes : NULL;
        memcpy(block[i].field, &at, sizeof at);
        used_bytes += ROUND_UP(block[i].bytes, (size_t)64);
    }
    return used_bytes;
}

static size_t cpu_scratch_bytes(const struct step_limits *limits, const struct backend_params *params)
{
    struct cpu_scratch unused;
    return lay_out(&unused, NULL, limits, params->n_threads);
}

static int cpu_prepare_scratch(struct backend *base, const struct step_limits *l,
                               struct redline_err *err)
{
    struct cpu_backend *b = (struct cpu_backend *)base;
    struct cpu_scratch unused;
    size_t bytes = lay_out(&unused, NULL, l, b->n_threads), n_counts = (size_t)l->n_layers + 1;
    struct backend_count *counts = mem_new(n_counts, sizeof *counts);
    void *memory;
    if (!counts) return err_memory(err, n_counts * sizeof *counts, "the counts of layers");
    mem_free(b->counts);
    b->counts = counts;
    TRY(mem_reserve(&memory, bytes, "the scratch memory of the CPU", err));
    mem_release(b->scratch_memory, b->scratch_bytes);
    b->scratch_memory = memory;
    b->scratch_bytes = bytes;
    b->limits = *l;
    lay_out(&b->scratch, memory, l, b->n_threads);
    return 0;
}

static void run_op(const struct cpu_member *m, const struct op *op)
{
    switch (op->kind) {
    case OP_EMBED: cpu_op_embed(m, &op->embed); break;
    case OP_QKV: cpu_op_qkv(m, &op->qkv); break;
    case OP_MLA: cpu_op_mla(m, &op->mla); break;
    case OP_HEADS: cpu_op_heads(m, &op->heads); break;
    case OP_ATTEND: cpu_op_attend(m, &op->attend); break;
    case OP_PROJECT: cpu_op_project(m, &op->project); break;
    case OP_GLU: cpu_op_glu(m, &op->glu); break;
    case OP_MOE: cpu_op_moe(m, &op->moe); break;
    case OP_HEAD: cpu_op_head(m, &op->head); break;
    case OP_STATES: cpu_op_states(m, &op->states); break;
    case OP_DENSE: cpu_op_dense(m, &op->dense); break;
    case OP_KEEP: /* see run_member() */
    case OP_COUNT: break;
    }
}

/* Rows move down one after the other, so one member does it; mostly there are few. */
static void keep_tokens(const struct cpu_member *m, const struct op_keep *op, struct step_batch *batch)
{
    size_t width = (size_t)op->width, values_width = (size_t)op->values_width;
    for (int i = 0; i < batch->n_outputs && m->id == 0; i++) {
        size_t from = (size_t)batch->outputs[i], to = (size_t)i;
        m->b->scratch.kept[to] = batch->generated[from];
        if (from == to) continue;
        memcpy(op->x + to * width, op->x + from * width, width * sizeof *op->x);
        memcpy(op->values + to * values_width, op->values + from * values_width, values_width * sizeof *op->values);
    }
    batch->n_tokens = batch->n_outputs;
    batch->generated = m->b->scratch.kept;
    batch->outputs = NULL; /* all of them, in order */
}

static void run_member(void *user, struct team *team, int id)
{
    struct cpu_backend *b = user;
    struct step_batch batch = b->step->batch;
    struct cpu_member m = {b, b->kern, &batch, team, id};
    for (int i = 0; i < b->step->n_ops; i++) {
        const struct op *op = &b->step->ops[i];
        if (op->kind == OP_KEEP)
            keep_tokens(&m, &op->keep, &batch);
        else
            run_op(&m, op);
        team_barrier(team, id);
    }
}

static void begin_pass(struct cpu_backend *b, const struct step *step)
{
    bool begun = step->batch.generated[0]; /* one stream at least */
    store_allow(&b->store, begun ? ALLOWANCE_NEXT_BYTES : step->batch.n_tokens * ALLOWANCE_TOKEN_BYTES);
    b->pass_ns = b->pass_slept_ns = 0;
    b->pass_tokens = step->batch.n_tokens;
    if (!b->adapt) return;
    int n = pace_threads(&b->pace, b->pass_tokens);
    team_limit(b->team, n);
    atomic_store_explicit(&b->n_used, n, memory_order_relaxed);
}

static void end_pass(struct cpu_backend *b)
{
    b->packed = store_packed_some(&b->store);
    if (b->adapt && !b->packed) /* that would be no measure of the next step */
        pace_learn(&b->pace, b->pass_tokens, b->pass_ns, b->pass_slept_ns);
}

/* Rows looked up before a GPU does the rest: not worth waking the team for. */
static bool is_small(const struct step *step)
{
    return step->n_ops == 1 && step->ops[0].kind == OP_EMBED && step->batch.n_tokens <= FEW_ROWS;
}

static int cpu_run(struct backend *base, const struct step *step, struct redline_err *err)
{
    struct cpu_backend *b = (struct cpu_backend *)base;
    if (step->batch.n_tokens > b->limits.n_tokens || step->batch.n_outputs > b->limits.n_outputs)
        return err_set(err, REDLINE_ARG, "a step of %d tokens and %d outputs, prepared for %d and %d",
                       step->batch.n_tokens, step->batch.n_outputs, b->limits.n_tokens,
                       b->limits.n_outputs);
    b->step = step;
    if (!step->follows) begin_pass(b, step);
    step_count(b->counts, b->limits.n_layers, step);
    int n_members = team_size(b->team);
    if (is_small(step)) team_limit(b->team, 1);
    uint64_t start = clock_ns(), slept = team_slept_ns(b->team);
    team_run(b->team, run_member, b);
    team_limit(b->team, n_members);
    b->pass_ns += clock_ns() - start;
    b->pass_slept_ns += team_slept_ns(b->team) - slept;
    if (!step->goes_on) end_pass(b);
    return 0;
}

static bool cpu_settle(struct backend *base)
{
    struct cpu_backend *b = (struct cpu_backend *)base;
    return store_settle(&b->store, b->team, b->kern, SETTLE_BYTES);
}

static bool cpu_packed(const struct backend *base)
{
    return ((const struct cpu_backend *)base)->packed;
}

static const char *cpu_note(const struct backend *b)
{
    (void)b;
    return "";
}

static const struct backend_count *cpu_counts(const struct backend *base)
{
    return ((const struct cpu_backend *)base)->counts;
}

static int cpu_n_used(const struct backend *base)
{
    return atomic_load_explicit(&((const struct cpu_backend *)base)->n_used, memory_order_relaxed);
}

static struct backend_kernel cpu_kernel(const struct backend *base, enum dtype dtype, bool text)
{
    const struct cpu_backend *b = (const struct cpu_backend *)base;
    kern_mm_fn *tiles = text ? cpu_tile_kernel(b, dtype) : NULL;
    if (tiles) {
        const char *isa = kern_origin((const void *)tiles);
        return (struct backend_kernel){strcmp(isa, "avx512bf16") == 0 ? "avx512" : isa, "bf16"};
    }
    bool integers = dtype_info(dtype)->is_quantized && !b->exact;
    return (struct backend_kernel){kern_origin((const void *)b->kern->mm[dtype]), integers ? "int8" : "f32"};
}

const struct backend_ops backend_cpu = {
    .name = "cpu",
    .n_devices = cpu_n_devices,
    .check_devices = cpu_check_devices,
    .describe = cpu_describe,
    .facts = cpu_device_facts,
    .open = cpu_open,
    .close = cpu_close,
    .reserve = cpu_reserve,
    .release = cpu_release,
    .reserve_host = cpu_reserve,
    .release_host = cpu_release,
    .place = cpu_place,
    .vector = cpu_vector,
    .place_bytes = cpu_place_bytes,
    .vector_bytes = cpu_vector_bytes,
    .packs = cpu_packs,
    .scratch_bytes = cpu_scratch_bytes,
    .prepare = cpu_prepare_scratch,
    .run = cpu_run,
    .settle = cpu_settle,
    .packed = cpu_packed,
    .note = cpu_note,
    .counts = cpu_counts,
    .n_used = cpu_n_used,
    .kernel = cpu_kernel,
    .measure = cpu_measure,
};
