/* cpu_store.c - blocks of huge pages, filled one tensor after the other. */
#define _GNU_SOURCE
#include "cpu_store.h"

#include <stdint.h>
#include <string.h>
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

struct copy {
    char *to;
    const char *from;
    size_t bytes;
};

static void copy_member(void *user, struct team *team, int member)
{
    const struct copy *c = user;
    int64_t first, last;
    team_range(team, member, (int64_t)c->bytes, HUGE_PAGE, &first, &last);
    for (int64_t at = first; at < last; at += HUGE_PAGE) {
        size_t n = (size_t)MIN(last - at, (int64_t)HUGE_PAGE);
        file_map_want(c->from + at, n);
        memcpy(c->to + at, c->from + at, n);
    }
}

int store_put(struct store *s, struct team *team, const void **data, size_t bytes, struct redline_err *err)
{
    struct store_block *b = s->n_blocks ? &s->blocks[s->n_blocks - 1] : NULL;
    if (!b || b->bytes - b->used < bytes) {
        TRY(take_block(s, bytes, err));
        b = &s->blocks[s->n_blocks - 1];
    }
    struct copy c = {b->p + b->used, *data, bytes};
    team_run(team, copy_member, &c);
    b->used = MIN(ROUND_UP(b->used + bytes, (size_t)LINE), b->bytes);
    *data = c.to;
    return 0;
}

void store_free(struct store *s)
{
    for (int i = 0; i < s->n_blocks; i++) mem_release(s->blocks[i].reserved, s->blocks[i].reserved_bytes);
    mem_free(s->blocks);
    *s = (struct store){0};
}
