/* twin_gpu.c - see twin_gpu.h. */
#include "twin_gpu.h"

#include <stdio.h>
#include <string.h>

#include "base.h"
#include "mem.h"
#include "step_count.h"
#include "strip.h"

enum { MOST_REGIONS = 64, MOST_OPS = 512, TAG_SHIFT = 56, VECTOR_LINE = 256 };

static const uint64_t MARGIN = 256u << 20; /* what plans leave free of a GPU */

struct region {
    char *p; /* as it is */
    size_t bytes;
};

struct twin {
    struct backend base;
    struct backend *cpu;
    int device;
    size_t claimed, taken; /* by weights */
    struct region regions[MOST_REGIONS]; /* device memory */
    struct twin_weight *weights;
    struct backend_count *counts;
    int n_layers;
    size_t scratch_bytes;
    struct op ops[MOST_OPS];
};

struct twin_weight { /* what `placed` of a part leads to */
    struct twin_weight *next;
    struct weight w; /* of the CPU below: data is a copy */
    char bytes[];
};

static struct {
    int n, n_open, n_facts;
    bool held[TWIN_MOST];
    char refusal[128]; /* of the driver; "": none */
    uint64_t room[TWIN_MOST], used[TWIN_MOST];
    struct twin *open[TWIN_MOST];
    struct region host[MOST_REGIONS]; /* reserve_host() of any */
} all;

void twin_set(int n, uint64_t room_bytes)
{
    all.n = n;
    all.n_facts = 0;
    all.refusal[0] = '\0';
    for (int i = 0; i < TWIN_MOST; i++) {
        all.room[i] = room_bytes;
        all.held[i] = false;
    }
}

void twin_hold(int device)
{
    all.held[device] = true;
}

void twin_refuse(const char *sentence)
{
    all.n = 0;
    snprintf(all.refusal, sizeof all.refusal, "%s", sentence);
}

void twin_set_room(int device, uint64_t room_bytes)
{
    all.room[device] = room_bytes;
}

uint64_t twin_used(int device)
{
    return all.used[device];
}

uint64_t twin_unclaimed(int device)
{
    return all.open[device] ? all.open[device]->claimed - all.open[device]->taken : 0;
}

int twin_n_open(void)
{
    return all.n_open;
}

int twin_n_facts(void)
{
    return all.n_facts;
}

/* ---- addresses ------------------------------------------------------------------------------------- */

static uintptr_t tag_of(const struct twin *t)
{
    return (uintptr_t)(1 + t->device) << TAG_SHIFT;
}

static void *tagged(const struct twin *t, void *p)
{
    return (void *)((uintptr_t)p | tag_of(t));
}

/* The memory behind an address that this twin gave out; NULL for any other. */
static void *behind(const struct twin *t, const void *address)
{
    uintptr_t at = (uintptr_t)address;
    return at >> TAG_SHIFT == tag_of(t) >> TAG_SHIFT ? (void *)(at & (((uintptr_t)1 << TAG_SHIFT) - 1)) : NULL;
}

static bool add_region(struct region *list, void *p, size_t bytes)
{
    for (int i = 0; i < MOST_REGIONS; i++)
        if (!list[i].p) {
            list[i] = (struct region){p, bytes};
            return true;
        }
    return false;
}

static void drop_region(struct region *list, const void *p)
{
    for (int i = 0; i < MOST_REGIONS; i++)
        if (list[i].p == p) list[i] = (struct region){0};
}

static bool lies_in(const struct region *list, const void *p, size_t bytes)
{
    for (int i = 0; i < MOST_REGIONS; i++) {
        const char *at = p;
        if (list[i].p && at >= list[i].p && at + bytes <= list[i].p + list[i].bytes) return true;
    }
    return false;
}

static int take(int device, size_t bytes, const char *what, struct redline_err *err)
{
    if (all.used[device] + bytes > all.room[device])
        return err_set(err, REDLINE_MEMORY, "the twin gpu%d has not got %zu bytes for %s", device, bytes, what);
    all.used[device] += bytes;
    return 0;
}

/* ---- the table ------------------------------------------------------------------------------------- */

static int twin_n_devices(void)
{
    return all.n;
}

static int twin_check_devices(struct redline_err *err)
{
    return *all.refusal ? err_set(err, REDLINE_DEVICE, "%s", all.refusal) : 0;
}

static int twin_describe(int device, struct backend_facts *out, struct redline_err *err)
{
    (void)err;
    *out = (struct backend_facts){.arch = "9.9", .total_bytes = all.room[device] + MARGIN};
    snprintf(out->name, sizeof out->name, "Twin %d", device);
    return 0;
}

static int twin_facts(int device, struct backend_facts *out, struct redline_err *err)
{
    twin_describe(device, out, err);
    if (all.held[device]) return err_set(err, REDLINE_DEVICE, "twin %d is held by another", device);
    all.n_facts++;
    out->free_bytes = all.room[device] - all.used[device] + MARGIN;
    return 0;
}

static void twin_close(struct backend **out)
{
    struct twin *t = (struct twin *)*out;
    if (!t) return;
    if (t->cpu) t->cpu->ops->close(&t->cpu);
    for (struct twin_weight *w = t->weights, *next; w; w = next) {
        next = w->next;
        mem_free(w);
    }
    all.used[t->device] -= t->claimed + t->scratch_bytes;
    all.open[t->device] = NULL;
    all.n_open--;
    mem_free(t->counts);
    mem_free(t);
    *out = NULL;
}

static int twin_open(struct backend **out, const struct backend_params *p, struct redline_err *err)
{
    struct backend_params cpu = {.n_threads = 1, .exact = p->exact};
    if (p->watch) return err_set(err, REDLINE_SUPPORT, "a twin cannot be watched");
    TRY(take(p->device, p->weight_bytes, "weights", err));
    struct twin *t = mem_new(1, sizeof *t);
    if (!t) {
        all.used[p->device] -= p->weight_bytes;
        return err_memory(err, sizeof *t, "a twin");
    }
    t->base.ops = backend_gpu;
    t->device = p->device;
    t->claimed = p->weight_bytes;
    all.open[p->device] = t;
    all.n_open++;
    *out = &t->base;
    int status = backend_cpu.open(&t->cpu, &cpu, err);
    if (status) twin_close(out);
    return status;
}

static int twin_reserve(struct backend *b, void **out, size_t bytes, const char *what, struct redline_err *err)
{
    struct twin *t = (struct twin *)b;
    void *p;
    TRY(take(t->device, bytes, what, err));
    int status = mem_reserve(&p, bytes, what, err);
    if (!status && !add_region(t->regions, p, bytes)) status = err_set(err, REDLINE_MEMORY, "too many regions");
    if (status) all.used[t->device] -= bytes;
    *out = status ? NULL : tagged(t, p);
    return status;
}

static void twin_release(struct backend *b, void *address, size_t bytes)
{
    struct twin *t = (struct twin *)b;
    void *p = address ? behind(t, address) : NULL;
    if (!p) return;
    drop_region(t->regions, p);
    mem_release(p, bytes);
    all.used[t->device] -= bytes;
}

static int twin_reserve_host(struct backend *b, void **out, size_t bytes, const char *what, struct redline_err *err)
{
    (void)b;
    TRY(mem_reserve(out, bytes, what, err));
    if (add_region(all.host, *out, bytes)) return 0;
    mem_release(*out, bytes);
    *out = NULL;
    return err_set(err, REDLINE_MEMORY, "too many regions");
}

static void twin_release_host(struct backend *b, void *p, size_t bytes)
{
    (void)b;
    if (p) drop_region(all.host, p);
    mem_release(p, bytes);
}

static size_t twin_place_bytes(const struct weight *w)
{
    return (size_t)w->n_mats * (size_t)CEIL_DIV(w->n_rows, STRIP) * strip_bytes(strip_form(w->dtype), w->n_cols);
}

static size_t twin_vector_bytes(size_t n)
{
    return ROUND_UP(n * sizeof(float), (size_t)VECTOR_LINE);
}

static int take_claimed(struct twin *t, size_t bytes, struct redline_err *err)
{
    t->taken += bytes;
    if (t->taken <= t->claimed) return 0;
    return err_set(err, REDLINE_MEMORY, "weights take %zu bytes of the twin, %zu were claimed", t->taken, t->claimed);
}

static int place_part(struct twin *t, struct weight *part, struct str name, struct redline_err *err)
{
    size_t mat_bytes = (size_t)part->n_rows * part->row_bytes;
    struct twin_weight *w = mem_new(1, sizeof *w + (size_t)part->n_mats * mat_bytes);
    if (!w) return err_memory(err, mat_bytes, "a twin's weight");
    for (int i = 0; i < part->n_mats; i++)
        memcpy(w->bytes + (size_t)i * mat_bytes, (const char *)part->data + (size_t)i * part->mat_bytes, mat_bytes);
    w->w = *part;
    w->w.data = w->bytes;
    w->w.mat_bytes = mat_bytes;
    w->next = t->weights;
    t->weights = w;
    part->placed = tagged(t, w);
    TRY(take_claimed(t, twin_place_bytes(part), err));
    return t->cpu->ops->place(t->cpu, &w->w, (struct weight *[]){&w->w}, 1, name, err);
}

static int twin_place(struct backend *b, const struct weight *w, struct weight *const *parts, int n_parts,
                      struct str name, struct redline_err *err)
{
    (void)w;
    if (n_parts == 0) return err_set(err, REDLINE_SUPPORT, "a twin looks no rows up");
    for (int i = 0; i < n_parts; i++) TRY(place_part((struct twin *)b, parts[i], name, err));
    return 0;
}

static int twin_vector(struct backend *b, const float *v, size_t n, const float **out, struct redline_err *err)
{
    struct twin *t = (struct twin *)b;
    struct twin_weight *w = mem_new(1, sizeof *w + n * sizeof *v);
    if (!w) return err_memory(err, n * sizeof *v, "a twin's vector");
    memcpy(w->bytes, v, n * sizeof *v);
    w->next = t->weights;
    t->weights = w;
    *out = tagged(t, w->bytes);
    return take_claimed(t, twin_vector_bytes(n), err);
}

static bool twin_packs(const struct backend_params *params, enum dtype dtype)
{
    (void)params;
    (void)dtype;
    return false;
}

static size_t twin_scratch_bytes(const struct step_limits *limits, const struct backend_params *params)
{
    struct backend_params cpu = {.n_threads = 1, .exact = params->exact};
    return backend_cpu.scratch_bytes(limits, &cpu);
}

static int twin_prepare(struct backend *b, const struct step_limits *limits, struct redline_err *err)
{
    struct twin *t = (struct twin *)b;
    size_t bytes = twin_scratch_bytes(limits, &(struct backend_params){0});
    TRY(take(t->device, bytes, "scratch memory", err));
    t->scratch_bytes += bytes;
    t->n_layers = limits->n_layers;
    t->counts = mem_new((size_t)limits->n_layers + 1, sizeof *t->counts);
    if (!t->counts) return err_memory(err, 0, "counts");
    return t->cpu->ops->prepare(t->cpu, limits, err);
}

/* ---- a step: its operations with the addresses that are behind them ----------------------------------- */

struct translation {
    const struct twin *t;
    bool wrong; /* an address is not this twin's */
};

static void address(struct translation *tr, void *field)
{
    void *p;
    memcpy(&p, field, sizeof p);
    if (!p) return;
    p = behind(tr->t, p);
    tr->wrong |= p == NULL;
    memcpy(field, &p, sizeof p);
}

static void weight_of(struct translation *tr, struct weight *w)
{
    if (!w->n_mats) return;
    const struct twin_weight *own = w->placed ? behind(tr->t, w->placed) : NULL;
    tr->wrong |= own == NULL;
    if (own) *w = own->w;
}

static void linear_of(struct translation *tr, struct linear *l)
{
    weight_of(tr, &l->w);
    address(tr, &l->bias);
}

static void norm_of(struct translation *tr, struct norm *n)
{
    address(tr, &n->weight);
    address(tr, &n->bias);
}

static void kv_of(struct translation *tr, struct kv_layer *kv)
{
    address(tr, &kv->k);
    address(tr, &kv->v);
}

static void addresses(struct translation *tr, void *const *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) address(tr, fields[i]);
}

static void linears(struct translation *tr, struct linear *const *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) linear_of(tr, fields[i]);
}

static void norms(struct translation *tr, struct norm *const *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) norm_of(tr, fields[i]);
}

#define ADDRESSES(...) addresses(tr, (void *[]){__VA_ARGS__}, COUNT_OF(((void *[]){__VA_ARGS__})))
#define LINEARS(...) linears(tr, (struct linear *[]){__VA_ARGS__}, COUNT_OF(((struct linear *[]){__VA_ARGS__})))
#define NORMS(...) norms(tr, (struct norm *[]){__VA_ARGS__}, COUNT_OF(((struct norm *[]){__VA_ARGS__})))

static void translate_attention(struct translation *tr, struct op *op)
{
    if (op->kind == OP_QKV) {
        ADDRESSES(&op->qkv.x, &op->qkv.q);
        LINEARS(&op->qkv.wq, &op->qkv.wk, &op->qkv.wv);
        NORMS(&op->qkv.norm, &op->qkv.q_norm, &op->qkv.k_norm);
        kv_of(tr, &op->qkv.kv);
    } else if (op->kind == OP_MLA) {
        ADDRESSES(&op->mla.x, &op->mla.q);
        LINEARS(&op->mla.wq_a, &op->mla.wq_b, &op->mla.wkv_a);
        NORMS(&op->mla.norm, &op->mla.q_norm, &op->mla.kv_norm);
        weight_of(tr, &op->mla.wk_b);
        weight_of(tr, &op->mla.wv_b);
        kv_of(tr, &op->mla.kv);
    } else if (op->kind == OP_ATTEND) {
        ADDRESSES(&op->attend.q, &op->attend.sinks, &op->attend.out);
        kv_of(tr, &op->attend.kv);
    } else if (op->kind == OP_HEADS) {
        ADDRESSES(&op->heads.in, &op->heads.out);
        weight_of(tr, &op->heads.w);
    } else if (op->kind == OP_KEEP) {
        ADDRESSES(&op->keep.x, &op->keep.values);
    }
}

static void translate_rest(struct translation *tr, struct op *op)
{
    if (op->kind == OP_PROJECT) {
        ADDRESSES(&op->project.in, &op->project.x);
        LINEARS(&op->project.w);
        NORMS(&op->project.post, &op->project.after, &op->project.again);
    } else if (op->kind == OP_GLU) {
        ADDRESSES(&op->glu.x, &op->glu.share, &op->glu.divisors, &op->glu.out);
        LINEARS(&op->glu.gate, &op->glu.up);
        NORMS(&op->glu.norm);
    } else if (op->kind == OP_MOE) {
        ADDRESSES(&op->moe.choice_bias, &op->moe.x);
        LINEARS(&op->moe.router, &op->moe.gate, &op->moe.up, &op->moe.down);
        NORMS(&op->moe.norm, &op->moe.after);
    } else if (op->kind == OP_HEAD) {
        ADDRESSES(&op->head.x, &op->head.logits);
        LINEARS(&op->head.w);
        NORMS(&op->head.norm);
    } else if (op->kind == OP_STATES) {
        ADDRESSES(&op->states.x, &op->states.out);
        NORMS(&op->states.norm);
    } else if (op->kind == OP_DENSE) {
        ADDRESSES(&op->dense.in, &op->dense.out);
        LINEARS(&op->dense.w);
    }
    tr->wrong |= op->kind == OP_EMBED;
}

static int copy_in(const struct twin *t, const struct step_copy *c, struct redline_err *err)
{
    void *to = behind(t, c->to);
    if (!c->bytes) return 0;
    if (!to || !lies_in(t->regions, to, c->bytes) || !lies_in(all.host, c->from, c->bytes))
        return err_set(err, REDLINE_ARG, "a copy of %zu bytes to twin %d is not from host to twin", c->bytes,
                       t->device);
    memcpy(to, c->from, c->bytes);
    return 0;
}

static int copy_out(const struct twin *t, const struct step_copy *c, struct redline_err *err)
{
    void *from = behind(t, c->from);
    if (!c->bytes) return 0;
    if (!from || !lies_in(t->regions, from, c->bytes) || !lies_in(all.host, c->to, c->bytes))
        return err_set(err, REDLINE_ARG, "a copy of %zu bytes from twin %d is not from twin to host", c->bytes,
                       t->device);
    memcpy(c->to, from, c->bytes);
    return 0;
}

static int twin_run(struct backend *b, const struct step *step, struct redline_err *err)
{
    struct twin *t = (struct twin *)b;
    struct translation tr = {t, false};
    struct step own = *step;
    if (step->n_ops > MOST_OPS) return err_set(err, REDLINE_ARG, "%d operations for a twin", step->n_ops);
    memcpy(t->ops, step->ops, (size_t)step->n_ops * sizeof *step->ops);
    for (int i = 0; i < step->n_ops; i++) {
        translate_attention(&tr, &t->ops[i]);
        translate_rest(&tr, &t->ops[i]);
        if (tr.wrong)
            return err_set(err, REDLINE_ARG, "operation %d (kind %d, layer %d) is not twin %d's", i,
                           (int)step->ops[i].kind, step->ops[i].layer, t->device);
    }
    own.ops = t->ops;
    memset(&own.in, 0, sizeof own.in);
    memset(own.out, 0, sizeof own.out);
    TRY(copy_in(t, &step->in, err));
    TRY(t->cpu->ops->run(t->cpu, &own, err));
    for (size_t i = 0; i < COUNT_OF(step->out); i++) TRY(copy_out(t, &step->out[i], err));
    step_count(t->counts, t->n_layers, step);
    return 0;
}

static bool twin_settle(struct backend *b)
{
    (void)b;
    return true;
}

static bool twin_packed(const struct backend *b)
{
    (void)b;
    return false;
}

static const char *twin_note(const struct backend *b)
{
    (void)b;
    return "";
}

static const struct backend_count *twin_counts(const struct backend *b)
{
    return ((const struct twin *)b)->counts;
}

static int twin_n_used(const struct backend *b)
{
    (void)b;
    return 0;
}

static struct backend_kernel twin_kernel(const struct backend *b, enum dtype dtype, bool text)
{
    (void)b;
    (void)dtype;
    (void)text;
    return (struct backend_kernel){"twin", "f32"};
}

static const struct backend_ops twin_ops = {
    .name = "twin",
    .n_devices = twin_n_devices,
    .check_devices = twin_check_devices,
    .describe = twin_describe,
    .facts = twin_facts,
    .open = twin_open,
    .close = twin_close,
    .reserve = twin_reserve,
    .release = twin_release,
    .reserve_host = twin_reserve_host,
    .release_host = twin_release_host,
    .place = twin_place,
    .vector = twin_vector,
    .place_bytes = twin_place_bytes,
    .vector_bytes = twin_vector_bytes,
    .packs = twin_packs,
    .scratch_bytes = twin_scratch_bytes,
    .prepare = twin_prepare,
    .run = twin_run,
    .settle = twin_settle,
    .packed = twin_packed,
    .note = twin_note,
    .counts = twin_counts,
    .n_used = twin_n_used,
    .kernel = twin_kernel,
};

const struct backend_ops *const backend_gpu = &twin_ops;
