/* trie.c - built breadth first from sorted texts: every node is a range of texts that share a
 * prefix. */
#include "trie.h"

#include <stdlib.h>

#include "mem.h"
#include "vocab_internal.h"

struct range { /* the texts of one node, and how much of them is used up */
    size_t begin, end, depth;
};

static int by_text(const void *a, const void *b)
{
    const struct trie_entry *x = a, *y = b;
    size_t n = x->text.n < y->text.n ? x->text.n : y->text.n;
    int order = memcmp(x->text.p, y->text.p, n);
    if (order) return order;
    if (x->text.n != y->text.n) return x->text.n < y->text.n ? -1 : 1;
    return (x->value > y->value) - (x->value < y->value);
}

/* Appends the children of node i, whose texts are *r, and their ranges beside them. */
static int expand(struct trie *t, struct range **ranges, size_t *n_ranges_max, size_t i,
                  const struct trie_entry *entries, struct redline_err *err)
{
    struct range r = (*ranges)[i];
    while (r.begin < r.end && entries[r.begin].text.n == r.depth)
        t->nodes[i].value = entries[r.begin++].value;
    t->nodes[i].first = (uint32_t)t->n;
    while (r.begin < r.end) {
        unsigned char byte = (unsigned char)entries[r.begin].text.p[r.depth];
        size_t end = r.begin + 1;
        while (end < r.end && (unsigned char)entries[end].text.p[r.depth] == byte) end++;
        TRY(text_grow(&t->nodes, &t->capacity, t->n + 1, sizeof *t->nodes, err));
        TRY(text_grow(ranges, n_ranges_max, t->n + 1, sizeof **ranges, err));
        t->nodes[t->n] = (struct trie_node){.byte = byte, .value = -1};
        (*ranges)[t->n++] = (struct range){r.begin, end, r.depth + 1};
        t->nodes[i].n_children++;
        r.begin = end;
    }
    return 0;
}

int trie_new(struct trie *t, struct trie_entry *entries, size_t n, struct redline_err *err)
{
    *t = (struct trie){0};
    if (n == 0) return 0;
    qsort(entries, n, sizeof *entries, by_text);
    struct range *ranges = NULL;
    size_t n_ranges_max = 0;
    int status = text_grow(&t->nodes, &t->capacity, 1, sizeof *t->nodes, err);
    if (status == 0) status = text_grow(&ranges, &n_ranges_max, 1, sizeof *ranges, err);
    if (status == 0) {
        t->nodes[0] = (struct trie_node){.value = -1};
        ranges[0] = (struct range){0, n, 0};
        t->n = 1;
    }
    for (size_t i = 0; status == 0 && i < t->n; i++) {
        if (t->n > UINT32_MAX - 256)
            status = err_set(err, REDLINE_FORMAT, "the vocabulary has more than %u prefixes",
                             UINT32_MAX - 256);
        else
            status = expand(t, &ranges, &n_ranges_max, i, entries, err);
    }
    mem_free(ranges);
    if (status) trie_free(t);
    return status;
}

void trie_free(struct trie *t)
{
    mem_free(t->nodes);
    *t = (struct trie){0};
}

uint32_t trie_step(const struct trie *t, uint32_t node, unsigned char byte)
{
    uint32_t low = t->nodes[node].first, end = low + t->nodes[node].n_children, high = end;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (t->nodes[middle].byte < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end && t->nodes[low].byte == byte ? low : 0;
}
