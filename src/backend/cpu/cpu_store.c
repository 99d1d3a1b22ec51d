/* cpu_store.c - address space for strips in huge pages, and packing at first use. */
#define _GNU_SOURCE
#include "cpu_store.h"

#include <stdint.h>
#include <sys/mman.h>

#include "base.h"
#include "file.h"
#include "mem.h"

enum { HUGE_PAGE = 2 << 20, LINE = 64 };

/* Address space until it is touched, so a generous block costs nothing; the end of each is lost. */
static const size_t BLOCK_BYTES = (size_t)256 << 20;

static int take_block(struct store *s, size_t bytes, struct redline_err *err)
{
    if (s->n_blocks == s->capacity) {
        int capacity = s->capacity ? 2 * s->capacity : 16;
        struct store_block *blocks = mem_resize(s->blocks, (size_t)capacity, sizeof *blocks);
        if (!blocks) return err_memory(err, (size_t)capacity * sizeof *blocks, "the table of weights");
        s->blocks = blocks;
        s->capacity = capacity;
    }
    struct store_block b = {.bytes = ROUND_UP(MAX(bytes, BLOCK_BYTES), (size_t)HUGE_PAGE)};
    b.reserved_bytes = b.bytes + HUGE_PAGE;
    TRY(mem_reserve(&b.reserved, b.reserved_bytes, "the weights", err));
    b.p = (char *)b.reserved + (HUGE_PAGE - (uintptr_t)b.reserved % HUGE_PAGE);
    madvise(b.p, b.bytes, MADV_HUGEPAGE); /* a wish */
    s->blocks[s->n_blocks++] = b;
    return 0;
}

static int take_room(struct store *s, char **out, size_t bytes, struct redline_err *err)
{
    struct store_block *b = s->n_blocks ? &s->blocks[s->n_blocks - 1] : NULL;
    if (!b || b->bytes - b->used < bytes) {
        TRY(take_block(s, bytes, err));
        b = &s->blocks[s->n_blocks - 1];
    }
    *out = b->p + b->used;
    b->used = MIN(ROUND_UP(b->used + bytes, (size_t)LINE), b->bytes);
    return 0;
}

int store_place(struct store *s, struct weight *w, struct redline_err *err)
{
    struct placed *p = mem_new(1, sizeof *p);
    if (!p) return err_memory(err, sizeof *p, "the table of weights");
    if (!s->end) s->end = &s->placed;
    *s->end = p;
    s->end = &p->next;
    p->store = s;
    p->dtype = w->dtype;
    p->n_cols = w->n_cols;
    p->rows = w->data;
    p->row_bytes = w->row_bytes;
    p->mat_bytes = w->mat_bytes;
    p->n_rows = w->n_rows;
    p->mat_strips = CEIL_DIV(w->n_rows, STRIP);
    p->n_strips = (int64_t)w->n_mats * p->mat_strips;
    p->strip_bytes = strip_bytes(strip_form(w->dtype), w->n_cols);
    p->state = mem_new((size_t)p->n_strips, sizeof *p->state);
    if (!p->state) return err_memory(err, (size_t)p->n_strips, "the states of strips");
    TRY(take_room(s, &p->strips, (size_t)p->n_strips * p->strip_bytes, err));
    s->cursor = s->placed;
    w->placed = p;
    return 0;
}

void store_free(struct store *s)
{
    for (struct placed *p = s->placed, *next; p; p = next) {
        next = p->next;
        mem_free(p->state);
        mem_free(p);
    }
    for (int i = 0; i < s->n_blocks; i++) mem_release(s->blocks[i].reserved, s->blocks[i].reserved_bytes);
    mem_free(s->blocks);
    *s = (struct store){0};
}

/* The rows of a strip in the file, and how many they are. */
static const char *rows_of(const struct placed *p, int64_t strip, int *n_rows)
{
    int first = (int)(strip % p->mat_strips) * STRIP;
    *n_rows = MIN(STRIP, p->n_rows - first);
    return p->rows + (size_t)(strip / p->mat_strips) * p->mat_bytes + (size_t)first * p->row_bytes;
}

static void pack_strip(const struct placed *p, int64_t strip, const struct kern_ops *kern)
{
    int n_rows;
    const char *rows = rows_of(p, strip, &n_rows);
    kern->pack(p->strips + (size_t)strip * p->strip_bytes, p->dtype, rows, p->row_bytes, n_rows, p->n_cols);
}

/* From the first row of one strip to the last of another, with what lies between matrices. */
static size_t span_bytes(const struct placed *p, int64_t first, int64_t last)
{
    int n_first, n_last;
    const char *begin = rows_of(p, first, &n_first), *end = rows_of(p, last, &n_last);
    return (size_t)(end - begin) + (size_t)n_last * p->row_bytes;
}

/* Packs what is not; false when another thread is at some of it. */
static bool pack_strips(struct placed *p, int64_t first, int64_t last, const struct kern_ops *kern)
{
    int n_rows;
    const char *rows = rows_of(p, first, &n_rows);
    size_t bytes = span_bytes(p, first, last - 1);
    long long n_packed = 0;
    bool all = true;
    file_map_want(rows, bytes);
    for (int64_t i = first; i < last; i++) {
        unsigned char raw = STRIP_RAW;
        if (atomic_compare_exchange_strong(&p->state[i], &raw, STRIP_BUSY)) {
            pack_strip(p, i, kern);
            atomic_store_explicit(&p->state[i], STRIP_PACKED, memory_order_release);
            n_packed++;
        } else if (raw == STRIP_BUSY) {
            all = false;
        }
    }
    file_map_forget(rows, bytes);
    if (n_packed > 0 && atomic_fetch_add(&p->n_packed, n_packed) + n_packed == p->n_strips)
        file_map_forget(p->rows, span_bytes(p, 0, p->n_strips - 1)); /* pages that two calls shared */
    return all;
}

void store_allow(struct store *s, long long bytes)
{
    s->allowed = bytes;
    atomic_store_explicit(&s->allowance, bytes, memory_order_relaxed);
}

bool store_packed_some(const struct store *s)
{
    return atomic_load_explicit(&s->allowance, memory_order_relaxed) < s->allowed;
}

static bool may_pack(struct store *s, int64_t n_strips, size_t strip_bytes)
{
    long long bytes = n_strips * (long long)strip_bytes;
    if (atomic_load_explicit(&s->allowance, memory_order_relaxed) < bytes) return false;
    atomic_fetch_sub_explicit(&s->allowance, bytes, memory_order_relaxed);
    return true;
}

struct settling {
    struct placed *p;
    int64_t first, last;
    const struct kern_ops *kern;
};

static void settle_member(void *user, struct team *team, int member)
{
    const struct settling *s = user;
    int64_t first, last;
    team_range(team, member, s->last - s->first, 1, &first, &last);
    if (first < last) pack_strips(s->p, s->first + first, s->first + last, s->kern);
}

bool store_settle(struct store *s, struct team *team, const struct kern_ops *kern, size_t bytes)
{
    for (; s->cursor; s->cursor = s->cursor->next) {
        struct placed *p = s->cursor;
        if (atomic_load(&p->n_packed) == p->n_strips) continue;
        int64_t first = 0;
        while (atomic_load(&p->state[first]) == STRIP_PACKED) first++;
        struct settling piece = {p, first, MIN(p->n_strips, first + MAX(1, (int64_t)(bytes / p->strip_bytes))), kern};
        team_run(team, settle_member, &piece);
        return false;
    }
    return true;
}

const char *store_strips(const struct weight *w, size_t offset, int n_rows, const struct kern_ops *kern)
{
    struct placed *p = w->placed;
    int64_t row = (int64_t)(offset % p->mat_bytes / p->row_bytes);
    int64_t first = (int64_t)(offset / p->mat_bytes) * p->mat_strips + row / STRIP;
    int64_t last = first + CEIL_DIV(n_rows, STRIP);
    const char *strips = p->strips + (size_t)first * p->strip_bytes;
    if (atomic_load_explicit(&p->n_packed, memory_order_acquire) == p->n_strips) return strips;
    for (int64_t i = first; i < last; i++) {
        if (atomic_load_explicit(&p->state[i], memory_order_acquire) == STRIP_PACKED) continue;
        if (!may_pack(p->store, last - i, p->strip_bytes) || !pack_strips(p, i, last, kern)) return NULL;
        break;
    }
    return strips;
}

void store_pack_rows(char *strips, const struct weight *w, size_t offset, int n_rows, const struct kern_ops *kern)
{
    size_t bytes = strip_bytes(strip_form(w->dtype), w->n_cols);
    for (int r = 0; r < n_rows; r += STRIP, strips += bytes)
        kern->pack(strips, w->dtype, (const char *)w->data + offset + (size_t)r * w->row_bytes, w->row_bytes,
                   MIN(STRIP, n_rows - r), w->n_cols);
}
