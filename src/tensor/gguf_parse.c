/* gguf_parse.c - the bytes of one GGUF file, checked and turned into values and tensors.
 *
 *     magic version n_tensors n_values | values | tensor descriptions | padding | tensor data
 *
 * One cursor walks the file from front to back and never past its end; nothing read from the file
 * is used as a count, a length or an offset before it was compared with the bytes that are left.
 * Numbers are unaligned and little-endian: memcpy on every machine Redline runs on. */
#include <stdio.h>

#include "base.h"
#include "gguf_internal.h"
#include "mem.h"

enum {
    HEADER_BYTES = 24,
    MIN_VALUE_BYTES = 8 + 1 + 4 + 1,          /* key length, key, type, value */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* name length, name, n_dims, one dim, type, offset */
};

struct reader {
    const unsigned char *bytes;
    uint64_t n;
    uint64_t at;
    const char *file;  /* ready to print */
    const char *what;  /* "value", "tensor": what is being read, */
    uint64_t i, count; /* its number from 1, of how many, */
    struct str label;  /* and its name, once known */
    struct redline_err *err;
};

static const struct {
    const char *name;
    uint32_t bytes;
} types[GGUF_TYPE_COUNT] = {
    [GGUF_U8] = {"u8", 1},       [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},
    [GGUF_I16] = {"i16", 2},     [GGUF_U32] = {"u32", 4},   [GGUF_I32] = {"i32", 4},
    [GGUF_F32] = {"f32", 4},     [GGUF_BOOL] = {"bool", 1}, [GGUF_STRING] = {"string", 0},
    [GGUF_ARRAY] = {"array", 0}, [GGUF_U64] = {"u64", 8},   [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

const char *gguf_type_name(enum gguf_type type)
{
    return (unsigned)type < GGUF_TYPE_COUNT ? types[type].name : "unknown";
}

uint32_t gguf_type_bytes(enum gguf_type type)
{
    return types[type].bytes;
}

/* ---- the cursor --------------------------------------------------------------------------------
 */

static uint64_t left(const struct reader *r)
{
    return r->n - r->at;
}

/* "tensor 3 of 12 ('blk.0.attn_q.weight')" */
static const char *place(const struct reader *r, char *out, size_t n)
{
    if (r->label.n)
        snprintf(out, n, "%s %llu of %llu ('%s')", r->what, (unsigned long long)r->i,
                 (unsigned long long)r->count, GGUF_SHOW(r->label));
    else
        snprintf(out, n, "%s %llu of %llu", r->what, (unsigned long long)r->i,
                 (unsigned long long)r->count);
    return out;
}

#define PLACE(r) place(r, (char[200]){0}, 200)

static int truncated(struct reader *r, const char *part)
{
    return err_set(r->err, REDLINE_FORMAT,
                   "%s: the file is truncated: it ends at byte %llu, inside %s of %s", r->file,
                   (unsigned long long)r->n, part, PLACE(r));
}

static int take(struct reader *r, void *out, size_t n, const char *part)
{
    if (left(r) < n) return truncated(r, part);
    memcpy(out, r->bytes + r->at, n);
    r->at += n;
    return 0;
}

static int take_string(struct reader *r, struct str *out, const char *part)
{
    uint64_t n = 0;
    TRY(take(r, &n, sizeof n, part));
    if (n > left(r))
        return err_set(
            r->err, REDLINE_FORMAT,
            "%s: %s of %s has a length of %llu bytes, but only %llu are left in the file", r->file,
            part, PLACE(r), (unsigned long long)n, (unsigned long long)left(r));
    *out = (struct str){(const char *)r->bytes + r->at, n};
    r->at += n;
    return 0;
}

/* A key or a tensor's name; from here on messages carry it. */
static int take_name(struct reader *r, struct str *out, const char *part, size_t max_bytes)
{
    TRY(take_string(r, out, part));
    const char *fault = gguf_name_fault(*out, max_bytes);
    if (fault && out->n > max_bytes)
        return err_set(r->err, REDLINE_FORMAT, "%s: %s of %s %s: %llu bytes, the limit is %zu",
                       r->file, part, PLACE(r), fault, (unsigned long long)out->n, max_bytes);
    r->label = *out;
    if (fault)
        return err_set(r->err, REDLINE_FORMAT, "%s: %s of %s %s", r->file, part, PLACE(r), fault);
    return 0;
}

/* ---- the header --------------------------------------------------------------------------------
 */

/* What people hand over instead of a GGUF file, by its first bytes. */
static const struct {
    struct str start;
    const char *text;
} strangers[] = {
    {{"FUGG", 4}, "a GGUF file in big-endian byte order, which is not supported"},
    {{"ggml", 4}, "a GGML file, the format before GGUF"},
    {{"lmgg", 4}, "a GGML file, the format before GGUF"},
    {{"tjgg", 4}, "a GGJT file, a format before GGUF"},
    {{"fmgg", 4}, "a GGMF file, a format before GGUF"},
    {{"algg", 4}, "a GGLA file, an adapter in a format before GGUF"},
    {{"PK\3\4", 4}, "a zip archive, perhaps a PyTorch checkpoint"},
    {{"\x1f\x8b", 2}, "compressed with gzip"},
    {{"(\xb5/\xfd", 4}, "compressed with zstd"},
    {{"version https://git-lfs", 23}, "a Git LFS pointer: the model itself was not downloaded"},
    {{"<!DOCTYPE", 9}, "a web page: the download went wrong"},
    {{"<html", 5}, "a web page: the download went wrong"},
};

static int check_magic(struct reader *r)
{
    struct str start = {(const char *)r->bytes, r->n};
    if (r->n == 0) return err_set(r->err, REDLINE_FORMAT, "%s: the file is empty", r->file);
    if (str_starts(start, STR("GGUF"))) return 0;
    for (size_t i = 0; i < COUNT_OF(strangers); i++)
        if (str_starts(start, strangers[i].start))
            return err_set(r->err, REDLINE_FORMAT, "%s: not a GGUF file: it is %s", r->file,
                           strangers[i].text);
    if (r->n < 4 && str_starts(STR("GGUF"), start))
        return err_set(r->err, REDLINE_FORMAT,
                       "%s: the file is truncated: it has %llu bytes, a GGUF header has %d",
                       r->file, (unsigned long long)r->n, HEADER_BYTES);
    start.n = MIN(start.n, (size_t)4);
    return err_set(r->err, REDLINE_FORMAT,
                   "%s: not a GGUF file: it begins with '%s' instead of 'GGUF'", r->file,
                   GGUF_SHOW(start));
}

static int check_version(struct reader *r, uint32_t version)
{
    if (version == 2 || version == 3) return 0;
    uint32_t swapped = __builtin_bswap32(version);
    if (swapped >= 1 && swapped <= 0xffff)
        return err_set(
            r->err, REDLINE_SUPPORT,
            "%s: a GGUF file in big-endian byte order (version %u), which is not supported",
            r->file, swapped);
    if (version == 1)
        return err_set(r->err, REDLINE_SUPPORT,
                       "%s: GGUF version 1 is not supported, only 2 and 3: convert the model again",
                       r->file);
    return err_set(r->err, REDLINE_SUPPORT, "%s: GGUF version %u is not supported, only 2 and 3",
                   r->file, version);
}

/* A count is believed when that many of the smallest possible things fit into what is left. */
static int check_count(struct reader *r, uint64_t n, uint64_t min_bytes, uint64_t limit,
                       const char *what)
{
    if (n > left(r) / min_bytes)
        return err_set(
            r->err, REDLINE_FORMAT,
            "%s: the header announces %llu %s of at least %llu bytes each, but only %llu "
            "bytes follow: truncated, or a wrong count",
            r->file, (unsigned long long)n, what, (unsigned long long)min_bytes,
            (unsigned long long)left(r));
    if (n > limit)
        return err_set(r->err, REDLINE_SUPPORT,
                       "%s: the header announces %llu %s, the limit is %llu", r->file,
                       (unsigned long long)n, what, (unsigned long long)limit);
    return 0;
}

static int read_header(struct reader *r, struct gguf *g)
{
    uint64_t counts[2];
    TRY(check_magic(r));
    if (r->n >= 8) {
        memcpy(&g->version, r->bytes + 4, sizeof g->version);
        TRY(check_version(r, g->version));
    }
    if (r->n < HEADER_BYTES)
        return err_set(r->err, REDLINE_FORMAT,
                       "%s: the file is truncated: it has %llu bytes, a GGUF header has %d",
                       r->file, (unsigned long long)r->n, HEADER_BYTES);
    memcpy(counts, r->bytes + 8, sizeof counts);
    r->at = HEADER_BYTES;
    TRY(check_count(r, counts[1], MIN_VALUE_BYTES, GGUF_MAX_VALUES, "metadata values"));
    TRY(check_count(r, counts[0], MIN_TENSOR_BYTES, GGUF_MAX_TENSORS, "tensors"));
    g->tensors = mem_new(counts[0], sizeof *g->tensors);
    if (!g->tensors)
        return err_memory(r->err, counts[0] * sizeof *g->tensors, "the list of tensors");
    g->n_tensors = counts[0];
    g->values = mem_new(counts[1], sizeof *g->values);
    if (!g->values) return err_memory(r->err, counts[1] * sizeof *g->values, "the list of values");
    g->n_values = counts[1];
    return 0;
}

/* ---- values ------------------------------------------------------------------------------------
 */

static int check_bools(struct reader *r, const unsigned char *bytes, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (bytes[i] > 1)
            return err_set(r->err, REDLINE_FORMAT, "%s: %s is a bool of %u, neither 0 nor 1",
                           r->file, PLACE(r), bytes[i]);
    return 0;
}

static int take_type(struct reader *r, enum gguf_type *out, const char *part)
{
    uint32_t type = 0;
    TRY(take(r, &type, sizeof type, part));
    if (type >= GGUF_TYPE_COUNT)
        return err_set(r->err, REDLINE_FORMAT,
                       "%s: %s of %s is %u, which is no known type (0 to %d)", r->file, part,
                       PLACE(r), type, GGUF_TYPE_COUNT - 1);
    *out = (enum gguf_type)type;
    return 0;
}

static int read_strings(struct reader *r, struct gguf_value *v)
{
    if (v->n > GGUF_MAX_STRINGS)
        return err_set(r->err, REDLINE_SUPPORT, "%s: %s has %llu strings, the limit is %d", r->file,
                       PLACE(r), (unsigned long long)v->n, GGUF_MAX_STRINGS);
    struct str *strings = mem_new(v->n, sizeof *strings);
    if (!strings)
        return err_memory(r->err, v->n * sizeof *strings, "the index of an array of strings");
    v->strings = strings; /* gguf_close() frees it, whatever happens now */
    for (uint64_t i = 0; i < v->n; i++) TRY(take_string(r, &strings[i], "a string"));
    return 0;
}

static int read_array(struct reader *r, struct gguf_value *v)
{
    TRY(take_type(r, &v->item_type, "the item type"));
    if (v->item_type == GGUF_ARRAY)
        return err_set(r->err, REDLINE_SUPPORT,
                       "%s: %s is an array of arrays, which is not supported", r->file, PLACE(r));
    TRY(take(r, &v->n, sizeof v->n, "the item count"));
    v->data = r->bytes + r->at;
    uint64_t item_bytes =
        v->item_type == GGUF_STRING ? sizeof(uint64_t) : types[v->item_type].bytes;
    if (v->n > left(r) / item_bytes)
        return err_set(
            r->err, REDLINE_FORMAT,
            "%s: %s is an array of %llu items of at least %llu bytes, but only %llu bytes are "
            "left in the file",
            r->file, PLACE(r), (unsigned long long)v->n, (unsigned long long)item_bytes,
            (unsigned long long)left(r));
    if (v->item_type == GGUF_STRING) return read_strings(r, v);
    if (v->item_type == GGUF_BOOL) TRY(check_bools(r, v->data, v->n));
    r->at += v->n * item_bytes;
    return 0;
}

static int read_value(struct reader *r, struct gguf_value *v)
{
    struct str text;
    TRY(take_name(r, &v->key, "the key", GGUF_MAX_KEY_BYTES));
    TRY(take_type(r, &v->type, "the type"));
    v->item_type = v->type;
    if (v->type == GGUF_ARRAY) return read_array(r, v);
    v->n = 1;
    v->data = r->bytes + r->at;
    if (v->type == GGUF_STRING) return take_string(r, &text, "the string");
    if (left(r) < types[v->type].bytes) return truncated(r, "the number");
    if (v->type == GGUF_BOOL) TRY(check_bools(r, v->data, 1));
    r->at += types[v->type].bytes;
    return 0;
}

static int read_values(struct reader *r, struct gguf *g)
{
    for (uint64_t i = 0; i < g->n_values; i++) {
        r->what = "value";
        r->i = i + 1;
        r->count = g->n_values;
        r->label = (struct str){0};
        TRY(read_value(r, &g->values[i]));
    }
    return gguf_index_values(g, r->err);
}

static int read_alignment(struct reader *r, struct gguf *g)
{
    const struct gguf_value *v = gguf_find(g, "general.alignment");
    g->alignment = GGUF_DEFAULT_ALIGNMENT;
    if (!v) return 0;
    if (v->type != GGUF_U32)
        return err_set(r->err, REDLINE_FORMAT,
                       "%s: the value 'general.alignment' is of type %s, not u32", r->file,
                       gguf_type_name(v->type));
    memcpy(&g->alignment, v->data, sizeof g->alignment);
    uint32_t a = g->alignment;
    if (a < 8 || (a & (a - 1)) != 0 || a > GGUF_MAX_ALIGNMENT)
        return err_set(r->err, REDLINE_FORMAT,
                       "%s: the value 'general.alignment' is %u: not a power of two from 8 to %d",
                       r->file, a, GGUF_MAX_ALIGNMENT);
    return 0;
}

/* ---- tensors -----------------------------------------------------------------------------------
 */

/* The shape, and from it the number of elements below 2^63. */
static int read_shape(struct reader *r, struct gguf_tensor *t)
{
    uint64_t n = 1;
    TRY(take(r, &t->n_dims, sizeof t->n_dims, "the number of dimensions"));
    if (t->n_dims < 1 || t->n_dims > GGUF_MAX_DIMS)
        return err_set(r->err, REDLINE_FORMAT, "%s: %s has %u dimensions, not 1 to %d", r->file,
                       PLACE(r), t->n_dims, GGUF_MAX_DIMS);
    for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++) t->shape[i] = 1;
    for (uint32_t i = 0; i < t->n_dims; i++) {
        TRY(take(r, &t->shape[i], sizeof t->shape[i], "the dimensions"));
        if (t->shape[i] == 0)
            return err_set(r->err, REDLINE_FORMAT, "%s: %s has a dimension %u of zero", r->file,
                           PLACE(r), i);
        if (__builtin_mul_overflow(n, t->shape[i], &n) || n > INT64_MAX)
            return err_set(r->err, REDLINE_FORMAT,
                           "%s: the dimensions of %s overflow: more than 2^63 elements", r->file,
                           PLACE(r));
    }
    return 0;
}

static int read_tensor(struct reader *r, struct gguf_tensor *t, uint64_t *offset)
{
    uint32_t number = 0;
    TRY(take_name(r, &t->name, "the name", GGUF_MAX_NAME_BYTES));
    TRY(read_shape(r, t));
    TRY(take(r, &number, sizeof number, "the element type"));
    const struct dtype_info *info = dtype_info(number);
    if (!info)
        return err_set(r->err, REDLINE_SUPPORT,
                       "%s: the element type of %s is %u, which is not known", r->file, PLACE(r),
                       number);
    t->dtype = (enum dtype)number;
    if (t->shape[0] % info->block_n != 0)
        return err_set(
            r->err, REDLINE_FORMAT,
            "%s: %s is %s and has rows of %llu elements, not a multiple of its block of %u",
            r->file, PLACE(r), info->name, (unsigned long long)t->shape[0], info->block_n);
    uint64_t n_blocks = t->shape[0] / info->block_n * t->shape[1] * t->shape[2] * t->shape[3];
    if (__builtin_mul_overflow(n_blocks, (uint64_t)info->block_bytes, &t->bytes))
        return err_set(r->err, REDLINE_FORMAT, "%s: the size of %s overflows: more than 2^64 bytes",
                       r->file, PLACE(r));
    return take(r, offset, sizeof *offset, "the offset");
}

static int place_tensor(struct reader *r, struct gguf *g, struct gguf_tensor *t, uint64_t offset,
                        uint64_t start)
{
    uint64_t end;
    r->label = t->name;
    if (offset % g->alignment != 0)
        return err_set(r->err, REDLINE_FORMAT,
                       "%s: the data of %s is misaligned: offset %llu is not a multiple of %u",
                       r->file, PLACE(r), (unsigned long long)offset, g->alignment);
    if (__builtin_add_overflow(start, offset, &end) ||
        __builtin_add_overflow(end, t->bytes, &end) || end > r->n)
        return err_set(
            r->err, REDLINE_FORMAT,
            "%s: %s has %llu bytes at offset %llu of the data, past the end of the file, "
            "where %llu bytes of data lie: truncated, or a wrong header",
            r->file, PLACE(r), (unsigned long long)t->bytes, (unsigned long long)offset,
            (unsigned long long)(start < r->n ? r->n - start : 0));
    t->data = r->bytes + start + offset;
    g->tensor_bytes += t->bytes;
    return 0;
}

/* Heap sort of tensor numbers by offset: in place, no worst case, no hidden allocation. */
static void sink(uint32_t *order, uint64_t at, uint64_t n, const uint64_t *offsets)
{
    for (uint64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && offsets[order[child + 1]] > offsets[order[child]]) child++;
        if (offsets[order[child]] <= offsets[order[at]]) return;
        uint32_t swap = order[at];
        order[at] = order[child];
        order[child] = swap;
    }
}

static void sort_by_offset(uint32_t *order, uint64_t n, const uint64_t *offsets)
{
    for (uint64_t i = n / 2; i > 0; i--) sink(order, i - 1, n, offsets);
    for (uint64_t i = n; i > 1; i--) {
        uint32_t swap = order[0];
        order[0] = order[i - 1];
        order[i - 1] = swap;
        sink(order, 0, i - 1, offsets);
    }
}

static int check_overlap(struct reader *r, const struct gguf *g, const uint64_t *offsets)
{
    uint32_t *order = mem_new(g->n_tensors, sizeof *order);
    if (!order) return err_memory(r->err, g->n_tensors * sizeof *order, "the order of tensors");
    for (uint64_t i = 0; i < g->n_tensors; i++) order[i] = (uint32_t)i;
    sort_by_offset(order, g->n_tensors, offsets);
    int status = 0;
    for (uint64_t i = 1; i < g->n_tensors && status == 0; i++) {
        const struct gguf_tensor *a = &g->tensors[order[i - 1]], *b = &g->tensors[order[i]];
        if (offsets[order[i]] - offsets[order[i - 1]] < a->bytes)
            status = err_set(
                r->err, REDLINE_FORMAT,
                "%s: the data of the tensors '%s' and '%s' overlap: %llu bytes at offset "
                "%llu, and the other at %llu",
                r->file, GGUF_SHOW(a->name), GGUF_SHOW(b->name), (unsigned long long)a->bytes,
                (unsigned long long)offsets[order[i - 1]], (unsigned long long)offsets[order[i]]);
    }
    mem_free(order);
    return status;
}

static int read_tensors(struct reader *r, struct gguf *g)
{
    uint64_t *offsets = mem_new(g->n_tensors, sizeof *offsets);
    if (!offsets)
        return err_memory(r->err, g->n_tensors * sizeof *offsets, "the offsets of tensors");
    int status = 0;
    r->what = "tensor";
    r->count = g->n_tensors;
    for (uint64_t i = 0; i < g->n_tensors && status == 0; i++) {
        r->i = i + 1;
        r->label = (struct str){0};
        status = read_tensor(r, &g->tensors[i], &offsets[i]);
    }
    if (status == 0) status = gguf_index_tensors(g, r->err);
    uint64_t start = ROUND_UP(r->at, (uint64_t)g->alignment);
    for (uint64_t i = 0; i < g->n_tensors && status == 0; i++) {
        r->i = i + 1;
        status = place_tensor(r, g, &g->tensors[i], offsets[i], start);
    }
    if (status == 0) status = check_overlap(r, g, offsets);
    mem_free(offsets);
    return status;
}

int gguf_parse(struct gguf *g, struct redline_err *err)
{
    struct reader r = {
        .bytes = g->files[0].data,
        .n = g->files[0].bytes,
        .file = gguf_file_text(g),
        .err = err,
    };
    TRY(read_header(&r, g));
    TRY(read_values(&r, g));
    TRY(read_alignment(&r, g));
    return read_tensors(&r, g);
}
