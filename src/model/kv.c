/* kv.c - the page pool: a stack of free pages and a table per sequence.  Owned by the one thread that
 * runs the model. */
#include "kv.h"

#include <assert.h>

#include "base.h"
#include "mem.h"

static size_t head_page_bytes(const struct hparams *h, enum dtype type)
{
    return (size_t)h->n_kv_heads * KV_PAGE *
           dtype_row_bytes(dtype_info(type), (uint64_t)h->d_head);
}

size_t kv_bytes(const struct hparams *h, const struct kv_params *p)
{
    return (size_t)p->n_pages * (size_t)h->n_layers *
           (head_page_bytes(h, p->type_k) + head_page_bytes(h, p->type_v));
}

static void lay_out_layers(struct kv *kv, const struct hparams *h, const struct kv_params *p)
{
    size_t k_page = head_page_bytes(h, p->type_k), v_page = head_page_bytes(h, p->type_v);
    char *at = kv->memory;
    for (int i = 0; i < h->n_layers; i++) {
        kv->layers[i] = (struct kv_layer){.k = at,
                                          .v = at + (size_t)kv->n_pages * k_page,
                                          .k_page_bytes = k_page,
                                          .v_page_bytes = v_page,
                                          .type_k = p->type_k,
                                          .type_v = p->type_v,
                                          .n_heads = h->n_kv_heads,
                                          .d_k = h->d_head,
                                          .d_v = h->d_head};
        at += (size_t)kv->n_pages * (k_page + v_page);
    }
}

int kv_init(struct kv *out, const struct hparams *h, const struct kv_params *p, struct backend *b,
            struct redline_err *err)
{
    struct kv kv = {.backend = b,
                    .n_layers = h->n_layers,
                    .n_seqs = p->n_seqs,
                    .max_pages = kv_pages_of(p->n_ctx),
                    .n_pages = p->n_pages,
                    .bytes = kv_bytes(h, p)};
    *out = (struct kv){0};
    if ((p->type_k != DTYPE_F16 && p->type_k != DTYPE_F32) ||
        (p->type_v != DTYPE_F16 && p->type_v != DTYPE_F32))
        return err_set(err, REDLINE_SUPPORT, "a KV cache of %s keys and %s values; known are F16 and F32",
                       dtype_name(p->type_k), dtype_name(p->type_v));
    kv.page_bytes = kv.bytes / (size_t)kv.n_pages;
    size_t table_bytes = (size_t)kv.n_seqs * (size_t)kv.max_pages * sizeof(int32_t);
    kv.layers = mem_new((size_t)h->n_layers, sizeof *kv.layers);
    kv.table = mem_new(table_bytes, 1);
    kv.n_tokens = mem_new((size_t)kv.n_seqs, sizeof *kv.n_tokens);
    kv.free_pages = mem_new((size_t)kv.n_pages, sizeof *kv.free_pages);
    int status = kv.layers && kv.table && kv.n_tokens && kv.free_pages
                     ? b->ops->reserve(b, &kv.memory, kv.bytes, "the KV cache", err)
                     : err_memory(err, table_bytes, "the page table of the KV cache");
    if (status) {
        kv_fini(&kv);
        return status;
    }
    for (int i = 0; i < kv.n_pages; i++) kv.free_pages[i] = kv.n_pages - 1 - i;
    kv.n_free = kv.n_pages;
    lay_out_layers(&kv, h, p);
    *out = kv;
    return 0;
}

void kv_fini(struct kv *kv)
{
    if (kv->backend) kv->backend->ops->release(kv->backend, kv->memory, kv->bytes);
    mem_free(kv->layers);
    mem_free(kv->table);
    mem_free(kv->n_tokens);
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
    *pos = at;
    return 0;
}

void kv_trim(struct kv *kv, int seq, int n_tokens)
{
    assert(seq >= 0 && seq < kv->n_seqs && n_tokens >= 0 && n_tokens <= kv->n_tokens[seq]);
    int keep = CEIL_DIV(n_tokens, KV_PAGE), have = CEIL_DIV(kv->n_tokens[seq], KV_PAGE);
    while (have > keep)
        kv->free_pages[kv->n_free++] = kv->table[seq * kv->max_pages + --have];
    kv->n_tokens[seq] = n_tokens;
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
