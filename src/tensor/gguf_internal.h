/* gguf_internal.h - what the gguf_*.c files share; nobody else includes it. */
#ifndef GGUF_INTERNAL_H
#define GGUF_INTERNAL_H

#include "gguf.h"

/* Open addressing; a slot holds 1 + the position in the array that is indexed, 0: free. */
struct gguf_table {
    uint32_t *slots;
    uint64_t mask; /* slots less 1 */
};

struct gguf_index {
    struct gguf_table keys;  /* of struct gguf's values */
    struct gguf_table names; /* of its tensors */
    bool is_mapped;          /* the files are ours to unmap */
    struct gguf_shown name;  /* of the (first) file, for messages */
};

/* Limits of good sense, far above any model: they bound what a hostile but large file can demand. */
enum {
    GGUF_MAX_VALUES = 1 << 16,
    GGUF_MAX_TENSORS = 1 << 18,
    GGUF_MAX_STRINGS = 1 << 24,   /* in one array */
    GGUF_MAX_KEY_BYTES = 65535,   /* the format's own limit */
    GGUF_MAX_NAME_BYTES = 1024,   /* of a tensor; the format says 64, writers exceed it */
    GGUF_MAX_ALIGNMENT = 1 << 21, /* a huge page */
    GGUF_DEFAULT_ALIGNMENT = 32,
};

/* ---- gguf_parse.c ------------------------------------------------------------------------------ */

/* Fills values, tensors, files[0] and both tables from the bytes of one file.  g is zeroed but for
 * the index and files[0]; on failure it holds what gguf_close() can free. */
int gguf_parse(struct gguf *g, struct redline_err *err);

/* The name of g's file, ready to print. */
static inline const char *gguf_file_text(const struct gguf *g)
{
    return ((const struct gguf_index *)g->index)->name.text;
}

/* Bytes of a value of this type; 0 for strings and arrays. */
uint32_t gguf_type_bytes(enum gguf_type type);

/* ---- gguf_index.c ------------------------------------------------------------------------------ */

/* Replace the table; the first repeated key or name is REDLINE_FORMAT. */
int gguf_index_values(struct gguf *g, struct redline_err *err);
int gguf_index_tensors(struct gguf *g, struct redline_err *err);

/* ---- gguf_split.c ------------------------------------------------------------------------------ */

/* Maps and parses one file, as it stands. */
int gguf_open_one(struct gguf **out, const char *path, struct redline_err *err);

/* Checks what g's split.* keys say against the name of its file, opens the other files of the set and
 * moves their tensors into g.  path: NULL for bytes in memory, which cannot be joined. */
int gguf_join(struct gguf *g, const char *path, struct redline_err *err);

/* ---- gguf_name.c ------------------------------------------------------------------------------- */

/* A path for a message; of a long one the end is kept. */
const char *gguf_show_path(struct gguf_shown *room, const char *path);
#define GGUF_SHOW_PATH(path) gguf_show_path(&(struct gguf_shown){0}, path)

/* NULL when s can be a key or a tensor's name, else what is wrong: "is empty". */
const char *gguf_name_fault(struct str s, size_t max_bytes);

#endif
