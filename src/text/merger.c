/* merger.c - a binary heap of candidates over a doubly linked row of symbols. */
#include "merger.h"

#include "mem.h"

int merger_add(struct merger *m, const char *p, size_t n, int32_t piece, struct redline_err *err)
{
    TRY(text_grow(&m->symbols, &m->symbol_capacity, m->n + 1, sizeof *m->symbols, err));
    int32_t i = (int32_t)m->n++;
    m->symbols[i] = (struct symbol){p, (uint32_t)n, piece, i - 1, -1};
    if (i) m->symbols[i - 1].next = i;
    return 0;
}

static int push(struct merger *m, struct join c, struct redline_err *err)
{
    TRY(text_grow(&m->heap, &m->heap_capacity, m->n_heap + 1, sizeof *m->heap, err));
    size_t i = m->n_heap++;
    for (; i && m->heap[(i - 1) / 2].order > c.order; i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = c;
    return 0;
}

static struct join pop(struct merger *m)
{
    struct join best = m->heap[0], last = m->heap[--m->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= m->n_heap) break;
        if (child + 1 < m->n_heap && m->heap[child + 1].order < m->heap[child].order) child++;
        if (last.order <= m->heap[child].order) break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return best;
}

static int propose(struct merger *m, int32_t left, int32_t right, struct redline_err *err)
{
    if (left < 0 || right < 0) return 0;
    const struct symbol *l = &m->symbols[left], *r = &m->symbols[right];
    uint32_t merit;
    struct join c = {.right = right, .n = l->n + r->n};
    if (!m->join(m->v, l, r, &merit, &c.piece)) return 0;
    c.order = (uint64_t)merit << 32 | (uint32_t)left;
    return push(m, c, err);
}

int merger_run(struct merger *m, struct redline_err *err)
{
    m->n_heap = 0;
    for (size_t i = 1; i < m->n; i++) TRY(propose(m, (int32_t)i - 1, (int32_t)i, err));
    while (m->n_heap) {
        struct join c = pop(m);
        int32_t i = (int32_t)(c.order & UINT32_MAX);
        struct symbol *left = &m->symbols[i], *right = &m->symbols[c.right];
        if (left->n == 0 || right->n == 0 || left->n + right->n != c.n) continue;
        left->n += right->n;
        left->piece = c.piece;
        left->next = right->next;
        right->n = 0;
        if (left->next >= 0) m->symbols[left->next].prev = i;
        TRY(propose(m, left->prev, i, err));
        TRY(propose(m, i, left->next, err));
    }
    return 0;
}

void merger_free(struct merger *m)
{
    mem_free(m->symbols);
    mem_free(m->heap);
}
