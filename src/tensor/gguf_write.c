/* gguf_write.c - writing GGUF version 3.
 *
 * Values and tensor descriptions are encoded as they arrive, into two blocks of bytes; the first
 * piece of tensor data (or the finish) writes header, blocks and padding, after which only data
 * passes through.  What the reader would refuse is refused here, as REDLINE_ARG. */
#include "gguf_write.h"

#include "base.h"
#include "file.h"
#include "gguf_internal.h"
#include "mem.h"

/* The names within a block, each behind its length, by hash; a slot holds 1 + where the length
 * lies. */
struct name_set {
    uint64_t *slots;
    uint64_t n, n_slots;
};

struct gguf_writer {
    struct file_out *file;
    struct gguf_shown shown; /* the path, for messages */
    uint32_t alignment;
    struct buf values, tensors; /* encoded as in the file */
    struct name_set keys, names;
    uint64_t n_values, n_tensors;
    uint64_t *bytes;     /* of the data of each tensor */
    uint64_t data_bytes; /* announced so far, with padding: the next offset */
    bool has_header;     /* written: nothing can be announced any more */
    uint64_t i_tensor;   /* whose data comes next */
    uint64_t done;       /* bytes of it that are written */
};

/* ---- sets of names -----------------------------------------------------------------------------
 */

static struct str name_at(const struct buf *block, uint64_t at)
{
    uint64_t n;
    memcpy(&n, block->p + at, sizeof n);
    return (struct str){block->p + at + sizeof n, n};
}

/* The slot that holds this name, or the free one where it belongs. */
static uint64_t *slot_of(const struct name_set *set, const struct buf *block, struct str name)
{
    uint64_t h = str_hash(name);
    for (uint64_t i = h ^ h >> 32;; i++) {
        uint64_t *slot = &set->slots[i & (set->n_slots - 1)];
        if (*slot == 0 || str_eq(name_at(block, *slot - 1), name)) return slot;
    }
}

/* Makes room for one more name; the table is at most half full. */
static int set_reserve(struct name_set *set, const struct buf *block, struct redline_err *err)
{
    if (2 * (set->n + 1) <= set->n_slots) return 0;
    struct name_set next = {.n = set->n, .n_slots = set->n_slots ? 2 * set->n_slots : 64};
    next.slots = mem_new(next.n_slots, sizeof *next.slots);
    if (!next.slots)
        return err_memory(err, next.n_slots * sizeof *next.slots, "the index of names");
    for (uint64_t i = 0; i < set->n_slots; i++)
        if (set->slots[i])
            *slot_of(&next, block, name_at(block, set->slots[i] - 1)) = set->slots[i];
    mem_free(set->slots);
    *set = next;
    return 0;
}

/* ---- opening and closing -----------------------------------------------------------------------
 */

int gguf_writer_new(struct gguf_writer **out, const char *path, uint32_t alignment,
                    struct redline_err *err)
{
    *out = NULL;
    if (alignment == 0) alignment = GGUF_DEFAULT_ALIGNMENT;
    if (alignment < 8 || (alignment & (alignment - 1)) != 0 || alignment > GGUF_MAX_ALIGNMENT)
        return err_set(err, REDLINE_ARG, "an alignment of %u is not a power of two from 8 to %d",
                       alignment, GGUF_MAX_ALIGNMENT);
    struct gguf_writer *w = mem_new(1, sizeof *w);
    if (!w) return err_memory(err, sizeof *w, "a GGUF writer");
    w->alignment = alignment;
    gguf_show_path(&w->shown, path);
    int status = file_out_new(&w->file, path, err);
    if (status) gguf_writer_free(&w);
    *out = w;
    return status;
}

void gguf_writer_free(struct gguf_writer **writer)
{
    struct gguf_writer *w = writer ? *writer : NULL;
    if (!w) return;
    file_out_free(&w->file);
    buf_free(&w->values);
    buf_free(&w->tensors);
    mem_free(w->keys.slots);
    mem_free(w->names.slots);
    mem_free(w->bytes);
    mem_free(w);
    *writer = NULL;
}

/* ---- values ------------------------------------------------------------------------------------
 */

/* Whether something of this name may be announced now; reserves its slot. */
static int check_name(const struct gguf_writer *w, struct name_set *set, const struct buf *block,
                      const char *what, struct str name, size_t max_bytes, struct redline_err *err)
{
    const char *fault = gguf_name_fault(name, max_bytes);
    if (fault)
        return err_set(err, REDLINE_ARG, "%s: the %s '%s' %s", w->shown.text, what, GGUF_SHOW(name),
                       fault);
    if (w->has_header)
        return err_set(err, REDLINE_ARG, "%s: the %s '%s' comes after the first tensor data",
                       w->shown.text, what, GGUF_SHOW(name));
    TRY(set_reserve(set, block, err));
    if (*slot_of(set, block, name))
        return err_set(err, REDLINE_ARG, "%s: the %s '%s' is written twice", w->shown.text, what,
                       GGUF_SHOW(name));
    return 0;
}

static int append_u32(struct buf *b, uint32_t x, struct redline_err *err)
{
    return buf_append(b, &x, sizeof x, err);
}

static int append_u64(struct buf *b, uint64_t x, struct redline_err *err)
{
    return buf_append(b, &x, sizeof x, err);
}

static int append_string(struct buf *b, struct str s, struct redline_err *err)
{
    TRY(append_u64(b, s.n, err));
    return buf_append_str(b, s, err);
}

/* What stands behind a key: one value, or n items. */
struct content {
    enum gguf_type type, item_type;
    const void *bytes; /* of fixed-size items */
    uint64_t n;
    const struct str *strings;
};

static int append_value(struct buf *b, struct str key, const struct content *c,
                        struct redline_err *err)
{
    TRY(append_string(b, key, err));
    TRY(append_u32(b, c->type, err));
    if (c->type == GGUF_ARRAY) {
        TRY(append_u32(b, c->item_type, err));
        TRY(append_u64(b, c->n, err));
    }
    if (c->item_type != GGUF_STRING)
        return buf_append(b, c->bytes, c->n * gguf_type_bytes(c->item_type), err);
    for (uint64_t i = 0; i < c->n; i++) TRY(append_string(b, c->strings[i], err));
    return 0;
}

/* All values pass through here; after a failure the writer is as before. */
static int add_value(struct gguf_writer *w, struct str key, const struct content *c,
                     struct redline_err *err)
{
    size_t start = w->values.n;
    TRY(check_name(w, &w->keys, &w->values, "key", key, GGUF_MAX_KEY_BYTES, err));
    if (str_eq(key, STR("general.alignment")))
        return err_set(err, REDLINE_ARG, "%s: 'general.alignment' is written by the writer itself",
                       w->shown.text);
    if (w->n_values + 1 >= GGUF_MAX_VALUES)
        return err_set(err, REDLINE_ARG, "%s: more than %d values", w->shown.text,
                       GGUF_MAX_VALUES - 1);
    int status = append_value(&w->values, key, c, err);
    if (status) {
        w->values.n = start;
        return status;
    }
    *slot_of(&w->keys, &w->values, key) = start + 1;
    w->keys.n++;
    w->n_values++;
    return 0;
}

static int add_number(struct gguf_writer *w, const char *key, enum gguf_type type,
                      const void *bytes, struct redline_err *err)
{
    struct content c = {.type = type, .item_type = type, .bytes = bytes, .n = 1};
    return add_value(w, str_of(key), &c, err);
}

#define WRITE_NUMBER(suffix, c_type, gguf_type)                                                    \
    int gguf_write_##suffix(struct gguf_writer *w, const char *key, c_type value,                  \
                            struct redline_err *err)                                               \
    {                                                                                              \
        return add_number(w, key, gguf_type, &value, err);                                         \
    }
WRITE_NUMBER(u8, uint8_t, GGUF_U8)
WRITE_NUMBER(i8, int8_t, GGUF_I8)
WRITE_NUMBER(u16, uint16_t, GGUF_U16)
WRITE_NUMBER(i16, int16_t, GGUF_I16)
WRITE_NUMBER(u32, uint32_t, GGUF_U32)
WRITE_NUMBER(i32, int32_t, GGUF_I32)
WRITE_NUMBER(u64, uint64_t, GGUF_U64)
WRITE_NUMBER(i64, int64_t, GGUF_I64)
WRITE_NUMBER(f32, float, GGUF_F32)
WRITE_NUMBER(f64, double, GGUF_F64)
WRITE_NUMBER(bool, bool, GGUF_BOOL)
#undef WRITE_NUMBER

int gguf_write_string(struct gguf_writer *w, const char *key, struct str value,
                      struct redline_err *err)
{
    struct content c = {.type = GGUF_STRING, .item_type = GGUF_STRING, .n = 1, .strings = &value};
    return add_value(w, str_of(key), &c, err);
}

int gguf_write_strings(struct gguf_writer *w, const char *key, const struct str *items, uint64_t n,
                       struct redline_err *err)
{
    struct content c = {.type = GGUF_ARRAY, .item_type = GGUF_STRING, .n = n, .strings = items};
    if (n > GGUF_MAX_STRINGS)
        return err_set(err, REDLINE_ARG, "%s: '%s' has more than %d strings", w->shown.text,
                       GGUF_SHOW(str_of(key)), GGUF_MAX_STRINGS);
    return add_value(w, str_of(key), &c, err);
}

static int add_array(struct gguf_writer *w, struct str key, enum gguf_type item, const void *items,
                     uint64_t n, struct redline_err *err)
{
    struct content c = {.type = GGUF_ARRAY, .item_type = item, .bytes = items, .n = n};
    bool fits = (unsigned)item < GGUF_TYPE_COUNT && gguf_type_bytes(item) != 0;
    if (!fits || n > SIZE_MAX / gguf_type_bytes(item))
        return err_set(err, REDLINE_ARG, "%s: '%s' cannot be an array of %llu items of type %s",
                       w->shown.text, GGUF_SHOW(key), (unsigned long long)n, gguf_type_name(item));
    for (uint64_t i = 0; item == GGUF_BOOL && i < n; i++)
        if (((const unsigned char *)items)[i] > 1)
            return err_set(err, REDLINE_ARG, "%s: a bool of '%s' is neither 0 nor 1", w->shown.text,
                           GGUF_SHOW(key));
    return add_value(w, key, &c, err);
}

int gguf_write_array(struct gguf_writer *w, const char *key, enum gguf_type item, const void *items,
                     uint64_t n, struct redline_err *err)
{
    return add_array(w, str_of(key), item, items, n, err);
}

int gguf_write_value(struct gguf_writer *w, const struct gguf_value *v, struct redline_err *err)
{
    if (str_eq(v->key, STR("general.alignment")) || str_starts(v->key, STR("split."))) return 0;
    if (v->item_type == GGUF_STRING) {
        struct str one = v->type == GGUF_STRING ? gguf_string_at(v, 0) : (struct str){0};
        struct content c = {.type = v->type,
                            .item_type = GGUF_STRING,
                            .n = v->n,
                            .strings = v->type == GGUF_STRING ? &one : v->strings};
        return add_value(w, v->key, &c, err);
    }
    if (v->type == GGUF_ARRAY) return add_array(w, v->key, v->item_type, v->data, v->n, err);
    struct content c = {.type = v->type, .item_type = v->type, .bytes = v->data, .n = 1};
    return add_value(w, v->key, &c, err);
}

/* ---- tensors -----------------------------------------------------------------------------------
 */

/* Bytes of the data, or why there can be no such tensor. */
static int measure(const struct gguf_writer *w, struct str name, enum dtype dtype, uint32_t n_dims,
                   const uint64_t *shape, uint64_t *bytes, struct redline_err *err)
{
    const struct dtype_info *info = dtype_info(dtype);
    const char *file = w->shown.text;
    if (!info || n_dims < 1 || n_dims > GGUF_MAX_DIMS)
        return err_set(err, REDLINE_ARG, "%s: the tensor '%s' cannot be of %s with %u dimensions",
                       file, GGUF_SHOW(name), dtype_name(dtype), n_dims);
    if (shape[0] % info->block_n != 0)
        return err_set(
            err, REDLINE_ARG,
            "%s: the tensor '%s' is %s and has rows of %llu elements, not a multiple of %u", file,
            GGUF_SHOW(name), info->name, (unsigned long long)shape[0], info->block_n);
    uint64_t n = 1;
    bool fits = true;
    for (uint32_t i = 0; i < n_dims; i++)
        fits = fits && shape[i] != 0 && !__builtin_mul_overflow(n, shape[i], &n) && n <= INT64_MAX;
    fits = fits && !__builtin_mul_overflow(n / info->block_n, (uint64_t)info->block_bytes, bytes) &&
           *bytes < INT64_MAX - w->data_bytes;
    if (!fits)
        return err_set(err, REDLINE_ARG,
                       "%s: the tensor '%s' has a dimension of zero, or is too large", file,
                       GGUF_SHOW(name));
    return 0;
}

static int append_tensor(struct gguf_writer *w, struct str name, enum dtype dtype, uint32_t n_dims,
                         const uint64_t *shape, struct redline_err *err)
{
    TRY(append_string(&w->tensors, name, err));
    TRY(append_u32(&w->tensors, n_dims, err));
    TRY(buf_append(&w->tensors, shape, n_dims * sizeof *shape, err));
    TRY(append_u32(&w->tensors, dtype, err));
    return append_u64(&w->tensors, w->data_bytes, err);
}

int gguf_write_tensor(struct gguf_writer *w, struct str name, enum dtype dtype, uint32_t n_dims,
                      const uint64_t *shape, struct redline_err *err)
{
    uint64_t bytes;
    size_t start = w->tensors.n;
    TRY(check_name(w, &w->names, &w->tensors, "tensor", name, GGUF_MAX_NAME_BYTES, err));
    TRY(measure(w, name, dtype, n_dims, shape, &bytes, err));
    if (w->n_tensors >= GGUF_MAX_TENSORS)
        return err_set(err, REDLINE_ARG, "%s: more than %d tensors", w->shown.text,
                       GGUF_MAX_TENSORS);
    if ((w->n_tensors & (w->n_tensors - 1)) == 0) { /* full at every power of two */
        uint64_t n = MAX(2 * w->n_tensors, (uint64_t)1);
        uint64_t *list = mem_resize(w->bytes, n, sizeof *list);
        if (!list) return err_memory(err, n * sizeof *list, "the list of tensors");
        w->bytes = list;
    }
    int status = append_tensor(w, name, dtype, n_dims, shape, err);
    if (status) {
        w->tensors.n = start;
        return status;
    }
    *slot_of(&w->names, &w->tensors, name) = start + 1;
    w->names.n++;
    w->bytes[w->n_tensors++] = bytes;
    w->data_bytes += ROUND_UP(bytes, (uint64_t)w->alignment);
    return 0;
}

/* ---- the file ----------------------------------------------------------------------------------
 */

static int pad(struct gguf_writer *w, uint64_t at, struct redline_err *err)
{
    static const char zeros[4096];
    uint64_t n = ROUND_UP(at, (uint64_t)w->alignment) - at;
    for (uint64_t piece; n > 0; n -= piece) {
        piece = MIN(n, sizeof zeros);
        TRY(file_out_write(w->file, zeros, piece, err));
    }
    return 0;
}

static int write_header(struct gguf_writer *w, struct redline_err *err)
{
    if (w->has_header) return 0;
    if (w->alignment != GGUF_DEFAULT_ALIGNMENT) {
        struct content c = {GGUF_U32, GGUF_U32, &w->alignment, 1, NULL};
        TRY(append_value(&w->values, STR("general.alignment"), &c, err));
        w->n_values++;
    }
    w->has_header = true;
    uint64_t counts[2] = {w->n_tensors, w->n_values};
    char head[24] = {'G', 'G', 'U', 'F', 3};
    memcpy(head + 8, counts, sizeof counts);
    uint64_t head_bytes = sizeof head + w->values.n + w->tensors.n;
    TRY(file_out_reserve(w->file, ROUND_UP(head_bytes, (uint64_t)w->alignment) + w->data_bytes, err));
    TRY(file_out_write(w->file, head, sizeof head, err));
    TRY(file_out_write(w->file, w->values.p, w->values.n, err));
    TRY(file_out_write(w->file, w->tensors.p, w->tensors.n, err));
    return pad(w, head_bytes, err);
}

int gguf_write_data(struct gguf_writer *w, const void *bytes, size_t n, struct redline_err *err)
{
    const char *p = bytes;
    TRY(write_header(w, err));
    while (n > 0) {
        if (w->i_tensor == w->n_tensors)
            return err_set(err, REDLINE_ARG,
                           "%s: %zu bytes of data more than the %llu tensors have", w->shown.text,
                           n, (unsigned long long)w->n_tensors);
        uint64_t size = w->bytes[w->i_tensor];
        size_t piece = (size_t)MIN((uint64_t)n, size - w->done);
        TRY(file_out_write(w->file, p, piece, err));
        p += piece;
        n -= piece;
        w->done += piece;
        if (w->done < size) continue;
        TRY(pad(w, size, err));
        w->i_tensor++;
        w->done = 0;
    }
    return 0;
}

int gguf_writer_finish(struct gguf_writer *w, struct redline_err *err)
{
    TRY(write_header(w, err));
    if (w->i_tensor < w->n_tensors)
        return err_set(err, REDLINE_ARG,
                       "%s: the data of tensor %llu of %llu is incomplete: %llu of %llu bytes",
                       w->shown.text, (unsigned long long)w->i_tensor + 1,
                       (unsigned long long)w->n_tensors, (unsigned long long)w->done,
                       (unsigned long long)w->bytes[w->i_tensor]);
    return file_out_finish(w->file, err);
}
