/* gguf_index.c - keys and tensor names by hash: open addressing with linear probing, at most half
 * full.
 *
 * Building the table is also where a repeated key or name is found. */
#include "gguf_internal.h"
#include "mem.h"

typedef struct str name_at_fn(const struct gguf *g, uint64_t i);

static struct str key_at(const struct gguf *g, uint64_t i)
{
    return g->values[i].key;
}

static struct str tensor_at(const struct gguf *g, uint64_t i)
{
    return g->tensors[i].name;
}

/* The slot that holds this name, or the free one where it belongs. */
static uint32_t *slot_of(const struct gguf_table *table, const struct gguf *g, name_at_fn *name_at,
                         struct str name)
{
    /* The address differs from run to run: so no file can be made whose names all share a slot. */
    uint64_t h = (str_hash(name) ^ (uintptr_t)table->slots) * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
    for (uint64_t at = h & table->mask;; at = (at + 1) & table->mask) {
        uint32_t *slot = &table->slots[at];
        if (*slot == 0 || str_eq(name_at(g, *slot - 1), name)) return slot;
    }
}

static int build(struct gguf_table *table, const struct gguf *g, uint64_t n, name_at_fn *name_at,
                 const char *what, struct redline_err *err)
{
    uint64_t n_slots = 4;
    while (n_slots < 2 * n) n_slots *= 2;
    mem_free(table->slots);
    table->mask = n_slots - 1;
    table->slots = mem_new(n_slots, sizeof *table->slots);
    if (!table->slots) return err_memory(err, n_slots * sizeof *table->slots, "the index of names");
    for (uint64_t i = 0; i < n; i++) {
        uint32_t *slot = slot_of(table, g, name_at, name_at(g, i));
        if (*slot)
            return err_set(err, REDLINE_FORMAT, "%s: the %s '%s' occurs twice, as number %u and %u",
                           gguf_file_text(g), what, GGUF_SHOW(name_at(g, i)), *slot,
                           (unsigned)i + 1);
        *slot = (uint32_t)i + 1;
    }
    return 0;
}

int gguf_index_values(struct gguf *g, struct redline_err *err)
{
    struct gguf_index *index = g->index;
    return build(&index->keys, g, g->n_values, key_at, "key", err);
}

int gguf_index_tensors(struct gguf *g, struct redline_err *err)
{
    struct gguf_index *index = g->index;
    return build(&index->names, g, g->n_tensors, tensor_at, "tensor", err);
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key)
{
    const struct gguf_index *index = g->index;
    uint32_t at = *slot_of(&index->keys, g, key_at, str_of(key));
    return at ? &g->values[at - 1] : NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, struct str name)
{
    const struct gguf_index *index = g->index;
    uint32_t at = *slot_of(&index->names, g, tensor_at, name);
    return at ? &g->tensors[at - 1] : NULL;
}
