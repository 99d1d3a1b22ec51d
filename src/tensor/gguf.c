/* gguf.c - opening and closing: who owns the mappings, the lists and the tables of a struct gguf.
 */
#include "gguf.h"

#include <assert.h>

#include "file.h"
#include "gguf_internal.h"
#include "mem.h"

/* An empty struct gguf around one file; on failure the file stays the caller's. */
static int new_around(struct gguf **out, const void *bytes, size_t n, const char *name,
                      bool is_mapped, struct redline_err *err)
{
    size_t total = sizeof(struct gguf) + sizeof(struct gguf_index) + sizeof(struct gguf_file);
    struct gguf *g = mem_new(1, sizeof *g);
    struct gguf_index *index = mem_new(1, sizeof *index);
    struct gguf_file *file = mem_new(1, sizeof *file);
    if (!g || !index || !file) {
        mem_free(file);
        mem_free(index);
        mem_free(g);
        return err_memory(err, total, "the facts of a GGUF file");
    }
    *file = (struct gguf_file){.data = bytes, .bytes = n};
    index->is_mapped = is_mapped;
    gguf_show_path(&index->name, name);
    *g = (struct gguf){.index = index, .files = file, .n_files = 1};
    *out = g;
    return 0;
}

int gguf_open_one(struct gguf **out, const char *path, struct redline_err *err)
{
    struct file_map map;
    struct gguf *g = NULL;
    *out = NULL;
    TRY(file_map(&map, path, err));
    int status = new_around(&g, map.data, map.bytes, path, true, err);
    if (status) {
        file_unmap(&map);
        return status;
    }
    g->files[0].cache_known = map.cache_known;
    status = gguf_parse(g, err);
    if (status) gguf_close(&g);
    *out = g;
    return status;
}

int gguf_open(struct gguf **out, const char *path, struct redline_err *err)
{
    TRY(gguf_open_one(out, path, err));
    int status = gguf_join(*out, path, err);
    if (status) gguf_close(out);
    return status;
}

int gguf_open_memory(struct gguf **out, const void *bytes, size_t n, const char *name,
                     struct redline_err *err)
{
    struct gguf *g = NULL;
    assert((uintptr_t)bytes % 8 == 0);
    *out = NULL;
    TRY(new_around(&g, bytes, n, name, false, err));
    int status = gguf_parse(g, err);
    if (status == 0) status = gguf_join(g, NULL, err);
    if (status) gguf_close(&g);
    *out = g;
    return status;
}

void gguf_close(struct gguf **file)
{
    struct gguf *g = file ? *file : NULL;
    if (!g) return;
    struct gguf_index *index = g->index;
    for (uint32_t i = 0; i < g->n_files && index->is_mapped; i++) {
        struct file_map map = {.data = g->files[i].data, .bytes = g->files[i].bytes};
        file_unmap(&map);
    }
    for (uint64_t i = 0; i < g->n_values; i++) mem_free((void *)(uintptr_t)g->values[i].strings);
    mem_free(index->keys.slots);
    mem_free(index->names.slots);
    mem_free(index);
    mem_free(g->values);
    mem_free(g->tensors);
    mem_free(g->files);
    mem_free(g);
    *file = NULL;
}
