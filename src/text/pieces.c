/* pieces.c - open addressing with linear probing; FNV-1a, because its value for a prefix is a stop
 * on the way to its value for the whole, which makes the search for the longest prefix one pass. */
#include "pieces.h"

#include "mem.h"

enum { MAX_PIECES = 1 << 28 };

static const uint64_t FNV_START = 0xcbf29ce484222325u, FNV_PRIME = 0x100000001b3u;

static uint64_t hash_on(uint64_t h, struct str s)
{
    for (size_t i = 0; i < s.n; i++) h = (h ^ (unsigned char)s.p[i]) * FNV_PRIME;
    return h;
}

static uint32_t slot_of(const struct pieces *p, uint64_t h)
{
    return (uint32_t)(h ^ h >> 29) & (p->n_slots - 1);
}

int pieces_reserve(struct pieces *p, size_t n, struct redline_err *err)
{
    if (n > MAX_PIECES)
        return err_set(err, REDLINE_FORMAT, "the vocabulary has %zu pieces, the limit is %d", n,
                       MAX_PIECES);
    if (n <= p->capacity) return 0;
    uint32_t n_slots = 16;
    while (n_slots < 2 * n) n_slots *= 2;
    struct str *texts = mem_resize(p->texts, n, sizeof *texts);
    if (!texts) return err_memory(err, n * sizeof *texts, "the pieces of the vocabulary");
    p->texts = texts;
    uint32_t *slots = mem_new(n_slots, sizeof *slots);
    if (!slots) return err_memory(err, n_slots * sizeof *slots, "the index of the vocabulary");
    mem_free(p->slots);
    p->slots = slots;
    p->n_slots = n_slots;
    p->capacity = (uint32_t)n;
    uint32_t n_old = p->n;
    for (p->n = 0; p->n < n_old;) pieces_add(p, texts[p->n]);
    return 0;
}

void pieces_free(struct pieces *p)
{
    mem_free(p->texts);
    mem_free(p->slots);
    *p = (struct pieces){0};
}

int32_t pieces_find(const struct pieces *p, struct str a, struct str b)
{
    if (p->n_slots == 0) return -1;
    uint32_t i = slot_of(p, hash_on(hash_on(FNV_START, a), b));
    for (; p->slots[i]; i = (i + 1) & (p->n_slots - 1)) {
        struct str s = p->texts[p->slots[i] - 1];
        if (s.n == a.n + b.n && str_starts(s, a) && str_ends(s, b)) return (int32_t)p->slots[i] - 1;
    }
    return -1;
}

size_t pieces_longest(const struct pieces *p, struct str s, size_t longest, uint32_t n_ids,
                      int32_t *id)
{
    size_t best = 0, n = s.n < longest ? s.n : longest;
    uint64_t h = FNV_START;
    for (size_t k = 1; k <= n; k++) {
        h = (h ^ (unsigned char)s.p[k - 1]) * FNV_PRIME;
        uint32_t i = slot_of(p, h);
        for (; p->slots[i]; i = (i + 1) & (p->n_slots - 1)) {
            if (p->slots[i] > n_ids || !str_eq(p->texts[p->slots[i] - 1], (struct str){s.p, k}))
                continue;
            best = k;
            *id = (int32_t)p->slots[i] - 1;
            break;
        }
    }
    return best;
}

int32_t pieces_add(struct pieces *p, struct str text)
{
    uint32_t i = slot_of(p, hash_on(FNV_START, text));
    while (p->slots[i]) i = (i + 1) & (p->n_slots - 1);
    p->texts[p->n] = text;
    p->slots[i] = ++p->n;
    return (int32_t)p->n - 1;
}
