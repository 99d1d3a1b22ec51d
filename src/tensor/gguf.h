/* gguf.h - reading GGUF files, version 2 and 3, by mapping them.
 *
 * The file is hostile until proven otherwise: gguf_open() checks every count, length, type and offset
 * against the size of the file before it is used, and allocates nothing that the file's own bytes
 * could not justify.  After it has returned 0, every string, array and tensor below lies inside the
 * mapping.  Everything handed out is borrowed and dies with gguf_close().
 *
 * A model split into files (NAME-00001-of-00003.gguf) is opened by naming its first file; the result
 * looks like one file.  Its values are those of the first file; the others' are checked for form only.
 *
 * Format: github.com/ggml-org/ggml, docs/gguf.md. */
#ifndef GGUF_H
#define GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dtype.h"
#include "err.h"
#include "str.h"

enum gguf_type {
    GGUF_U8 = 0, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL,
    GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64,
    GGUF_TYPE_COUNT
};

enum { GGUF_MAX_DIMS = 4 };

enum gguf_token { /* numbers in tokenizer.ggml.token_type */
    GGUF_TOKEN_NORMAL = 1, GGUF_TOKEN_UNKNOWN, GGUF_TOKEN_CONTROL, GGUF_TOKEN_USER, GGUF_TOKEN_UNUSED, GGUF_TOKEN_BYTE
};

/* A metadata value.  Arrays of numbers are left where they lie (unaligned); arrays of strings are
 * indexed once by gguf_open() so that gguf_string_at() is O(1). */
struct gguf_value {
    struct str key;
    enum gguf_type type;
    enum gguf_type item_type; /* of an array; arrays of arrays are refused */
    uint64_t n;               /* items of an array, else 1 */
    const void *data;         /* first byte of the value or of the first item, in the mapping */
    const struct str *strings; /* of an array of strings, else NULL */
};

struct gguf_tensor {
    struct str name;
    enum dtype dtype;
    uint32_t n_dims;             /* 1..4 */
    uint64_t shape[GGUF_MAX_DIMS]; /* shape[0] varies fastest (the width of a row); the rest is 1 */
    const void *data;            /* in the mapping, aligned to the file's alignment */
    uint64_t bytes;              /* of the data */
    uint32_t file;               /* which of the split files it lies in */
};

struct gguf_file { /* one mapped file */
    const void *data;
    uint64_t bytes;
    bool cache_known; /* see struct file_map */
};

struct gguf {
    uint32_t version;
    uint32_t alignment;
    uint64_t n_values;
    struct gguf_value *values;   /* in the order of the file */
    uint64_t n_tensors;
    struct gguf_tensor *tensors; /* in the order of the files */
    uint32_t n_files;
    struct gguf_file *files;
    uint64_t tensor_bytes;       /* sum over all tensors */
    void *index;                 /* names and keys by hash */
};

/* path: a file, or the first of a split set.  Fails with REDLINE_IO, _FORMAT, _SUPPORT or _MEMORY and
 * a sentence that names the file and what is wrong with it. */
int gguf_open(struct gguf **out, const char *path, struct redline_err *err);

/* The same from bytes that the caller keeps (8-byte aligned); never split.  `name` is for messages. */
int gguf_open_memory(struct gguf **out, const void *bytes, size_t n, const char *name,
                     struct redline_err *err);
void gguf_close(struct gguf **file); /* accepts NULL and a pointer to NULL */

/* The path of the i-th of g->files, given the one that was opened. */
int gguf_file_path(struct buf *out, const struct gguf *g, const char *path, uint32_t i, struct redline_err *err);

/* NULL when there is none. */
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, struct str name);

/* Typed reading.  An absent key leaves *out alone and returns 0; so the caller sets the default first.
 * A present key of another kind (an integer of any width is of one kind, so is a float) or out of range
 * is REDLINE_FORMAT.  Integer-valued floats are not integers. */
int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out, struct redline_err *err);
int gguf_get_f32(const struct gguf *g, const char *key, float *out, struct redline_err *err);
int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct redline_err *err);
int gguf_get_string(const struct gguf *g, const char *key, struct str *out, struct redline_err *err);

/* Items of an array, or with i = 0 a single value; i < n and the kind are the caller's to know
 * (asserted). */
struct str gguf_string_at(const struct gguf_value *array, uint64_t i);
int64_t gguf_int_at(const struct gguf_value *array, uint64_t i);   /* any integer type or bool */
double gguf_float_at(const struct gguf_value *array, uint64_t i);  /* f32 or f64 */

/* An array whose items are of the kind of `item` (GGUF_STRING; GGUF_I32 for any integer; GGUF_F32 for
 * any float), or NULL when the key is absent.  REDLINE_FORMAT when it is something else. */
int gguf_get_array(const struct gguf *g, const char *key, enum gguf_type item,
                   const struct gguf_value **out, struct redline_err *err);

const char *gguf_type_name(enum gguf_type type);

/* Room for a text from a file made fit to print: see gguf_show(). */
struct gguf_shown {
    char text[128];
};

/* s for a message: control characters and bytes that are not UTF-8 become \xNN; cut after about 80
 * bytes.  GGUF_SHOW() borrows room from the enclosing block. */
const char *gguf_show(struct gguf_shown *room, struct str s);
#define GGUF_SHOW(s) gguf_show(&(struct gguf_shown){0}, s)

#endif
