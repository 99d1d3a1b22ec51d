/* kv.c - the page pool: a stack of free pages and a table per sequence.  Owned by the one thread that
 * runs the model. */
#include "kv.h"

#include <assert.h>

#include "base.h"
#include "mem.h"

struct sizes { /* of one layer's pages */
    size_t k_row, v_row, k_page, v_page;
};

static struct sizes sizes_of(const struct hparams *h, const struct kv_params *p)
{
    struct kv_shape shape = hparams_kv_shape(h);
    struct sizes s = {dtype_row_bytes(dtype_info(p->type_k), (uint64_t)kv_padded(p->type_k, shape.d_k)),
                      dtype_row_bytes(dtype_info(p->type_v), (uint64_t)kv_padded(p->type_v, shape.d_v)), 0, 0};
    if (shape.shared) s.v_row = s.k_row;
    s.k_page = (size_t)shape.n_heads * KV_PAGE * s.k_row;
    s.v_page = (size_t)shape.n_heads * KV_PAGE * s.v_row;
    return s;
}

/* Pages of a sequence's ring: the window, one batch, and a page for those that go back a little.  0 where
 * the table is as small. */
static int ring_pages(const struct hparams *h, const struct kv_params *p)
{
    if (h->window != WINDOW_SLIDING && h->window != WINDOW_CHUNKED) return 0;
    int64_t pages = CEIL_DIV((int64_t)h->n_window + p->n_batch, KV_PAGE) + 1;
    return pages * p->n_seqs < p->n_pages ? (int)pages : 0;
}

/* Pages that a layer has, of the pool or in rings. */
static int layer_pages(const struct hparams *h, const struct kv_params *p, int layer)
{
    int ring = hparams_windowed(h, layer) ? ring_pages(h, p) : 0;
    return ring ? ring * p->n_seqs : p->n_pages;
}

size_t kv_layer_bytes(const struct hparams *h, const struct kv_params *p, int layer)
{
    struct sizes s = sizes_of(h, p);
    bool shared = hparams_kv_shape(h).shared;
    return (size_t)layer_pages(h, p, layer) * (s.k_page + (shared ? 0 : s.v_page));
}

size_t kv_bytes(const struct hparams *h, const struct kv_params *p)
{
    size_t bytes = 0;
    for (int i = 0; i < h->n_layers; i++) bytes += kv_layer_bytes(h, p, i);
    return bytes;
}

void kv_costs(struct kv_costs *out, const struct hparams *h, const struct kv_params *p)
{
    bool ring = ring_pages(h, p) > 0;
    *out = (struct kv_costs){0};
    for (int i = 0; i < h->n_layers; i++) {
        size_t bytes = kv_layer_bytes(h, p, i), pages = (size_t)layer_pages(h, p, i);
        *(hparams_windowed(h, i) ? &out->window_token_bytes : &out->token_bytes) += bytes / pages / KV_PAGE;
        if (ring && hparams_windowed(h, i)) out->ring_bytes += bytes;
    }
}

static int device_of(const struct kv_devices *d, int layer)
{
    return d->of_layer ? d->of_layer[layer] : 0;
}

static int reserve_all(struct kv *kv, const struct hparams *h, const struct kv_params *p, const struct kv_devices *d,
                       struct redline_err *err)
{
    for (int i = 0; i < h->n_layers; i++) kv->memory[device_of(d, i)].bytes += kv_layer_bytes(h, p, i);
    for (int i = 0; i < d->n; i++) {
        struct kv_memory *m = &kv->memory[i];
        if (m->bytes == 0) continue;
        m->backend = d->backends[i];
        TRY(m->backend->ops->reserve(m->backend, &m->p, m->bytes, "the KV cache", err));
    }
    return 0;
}

static void lay_out_layers(struct kv *kv, const struct hparams *h, const struct kv_params *p,
                           const struct kv_devices *d)
{
    struct kv_shape shape = hparams_kv_shape(h);
    struct sizes s = sizes_of(h, p);
    char *ends[BACKEND_MOST_DEVICES];
    for (int i = 0; i < d->n; i++) ends[i] = kv->memory[i].p;
    for (int i = 0; i < h->n_layers; i++) {
        char *at = ends[device_of(d, i)];
        size_t n_pages = (size_t)layer_pages(h, p, i), bytes = kv_layer_bytes(h, p, i);
        bool ring = kv->ring_pages > 0 && hparams_windowed(h, i);
        kv->layers[i] = (struct kv_layer){.k = at,
                                          .v = shape.shared ? at : at + n_pages * s.k_page,
                                          .k_page_bytes = s.k_page,
                                          .v_page_bytes = s.v_page,
                                          .k_row_bytes = s.k_row,
                                          .v_row_bytes = s.v_row,
                                          .type_k = p->type_k,
                                          .type_v = shape.shared ? p->type_k : p->type_v,
                                          .n_heads = shape.n_heads,
                                          .d_k = shape.d_k,
                                          .d_v = shape.d_v,
                                          .ring_pages = ring ? kv->ring_pages : 0};
        *(ring ? &kv->ring_bytes : &kv->page_bytes) += bytes / (size_t)(ring ? p->n_seqs : p->n_pages);
        ends[device_of(d, i)] += bytes;
    }
}

int kv_check_type(enum dtype type, struct redline_err *err)
{
    static const enum dtype known[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_Q8_0, DTYPE_Q4_0};
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (type == known[i]) return 0;
    return err_set(err, REDLINE_SUPPORT, "a KV cache of %s; known are F32, F16, BF16, Q8_0 and Q4_0",
                   dtype_name(type));
}

int kv_init(struct kv *out, const struct hparams *h, const struct kv_params *p, const struct kv_devices *devices,
            struct redline_err *err)
{
    struct kv kv = {.n_layers = h->n_layers,
                    .n_seqs = p->n_seqs,
                    .max_pages = kv_pages_of(p->n_ctx),
                    .n_pages = p->n_pages,
                    .ring_pages = ring_pages(h, p),
                    .n_window = h->n_window};
    *out = (struct kv){0};
    TRY(kv_check_type(p->type_k, err));
    TRY(kv_check_type(p->type_v, err));
    size_t table_bytes = (size_t)kv.n_seqs * (size_t)kv.max_pages * sizeof(int32_t);
    kv.layers = mem_new((size_t)h->n_layers, sizeof *kv.layers);
    kv.table = mem_new(table_bytes, 1);
    kv.n_tokens = mem_new((size_t)kv.n_seqs, sizeof *kv.n_tokens);
    kv.n_written = mem_new((size_t)kv.n_seqs, sizeof *kv.n_written);
    kv.free_pages = mem_new((size_t)kv.n_pages, sizeof *kv.free_pages);
    int status = kv.layers && kv.table && kv.n_tokens && kv.n_written && kv.free_pages
                     ? reserve_all(&kv, h, p, devices, err)
                     : err_memory(err, table_bytes, "the page table of the KV cache");
    if (status) {
        kv_fini(&kv);
        return status;
    }
    for (int i = 0; i < kv.n_pages; i++) kv.free_pages[i] = kv.n_pages - 1 - i;
    kv.n_free = kv.n_pages;
    lay_out_layers(&kv, h, p, devices);
    *out = kv;
    return 0;
}

void kv_fini(struct kv *kv)
{
    for (int i = 0; i < BACKEND_MOST_DEVICES; i++) {
        struct kv_memory *m = &kv->memory[i];
        if (m->backend) m->backend->ops->release(m->backend, m->p, m->bytes);
    }
    mem_free(kv->layers);
    mem_free(kv->table);
    mem_free(kv->n_tokens);
    mem_free(kv->n_written);
    mem_free(kv->free_pages);
    *kv = (struct kv){0};
}

int kv_append(struct kv *kv, int seq, int32_t *pos, struct redline_err *err)
{
    assert(seq >= 0 && seq < kv->n_seqs);
    int at = kv->n_tokens[seq];
    if (at >= kv->max_pages * KV_PAGE)
        return err_set(err, REDLINE_ARG, "the context is full at %d tokens", at);
    if (at % KV_PAGE == 0) {
        if (kv->n_free == 0)
            return err_set(err, REDLINE_BUSY, "all %d pages of the KV cache are in use", kv->n_pages);
        kv->table[seq * kv->max_pages + at / KV_PAGE] = kv->free_pages[--kv->n_free];
    }
    kv->n_tokens[seq] = at + 1;
    kv->n_written[seq] = MAX(kv->n_written[seq], at + 1);
    *pos = at;
    return 0;
}

void kv_trim(struct kv *kv, int seq, int n_tokens)
{
    assert(seq >= 0 && seq < kv->n_seqs && n_tokens >= 0 && n_tokens <= kv->n_tokens[seq]);
    int keep = CEIL_DIV(n_tokens, KV_PAGE), have = CEIL_DIV(kv->n_tokens[seq], KV_PAGE);
    while (have > keep)
        kv->free_pages[kv->n_free++] = kv->table[seq * kv->max_pages + --have];
    assert(kv_keeps(kv, seq, n_tokens) == n_tokens);
    kv->n_tokens[seq] = n_tokens;
    if (n_tokens == 0) kv->n_written[seq] = 0;
}

int kv_keeps(const struct kv *kv, int seq, int n_tokens)
{
    int64_t behind = (int64_t)kv->n_written[seq] - n_tokens;
    return kv->ring_pages == 0 || behind + kv->n_window <= (int64_t)kv->ring_pages * KV_PAGE ? n_tokens : 0;
}

size_t kv_used_bytes(const struct kv *kv, int n_pages, int n_seqs)
{
    return (size_t)n_pages * kv->page_bytes + (size_t)n_seqs * kv->ring_bytes;
}

int kv_pages_of(int n_tokens)
{
    return CEIL_DIV(n_tokens, KV_PAGE);
}

void kv_check(const struct kv *kv)
{
    int n_used = 0;
    for (int s = 0; s < kv->n_seqs; s++) n_used += CEIL_DIV(kv->n_tokens[s], KV_PAGE);
    assert(n_used + kv->n_free == kv->n_pages);
    for (int page = 0; page < kv->n_pages; page++) {
        int n_owners = 0;
        for (int i = 0; i < kv->n_free; i++) n_owners += kv->free_pages[i] == page;
        for (int s = 0; s < kv->n_seqs; s++)
            for (int i = 0; i < CEIL_DIV(kv->n_tokens[s], KV_PAGE); i++)
                n_owners += kv->table[s * kv->max_pages + i] == page;
        assert(n_owners == 1);
    }
    (void)n_used;
}
