/* gguf_split.c - a model in several files, NAME-00001-of-00003.gguf and so on, made to look like
 * one.
 *
 * Every file of a set is a GGUF file in its own right, with its own alignment.  split.no (from 0)
 * and split.count say where it belongs; split.tensors.count is the number of tensors of the whole
 * set. All other metadata is taken from the first file; what later files carry beside is checked
 * for form and then left aside. */
#include <stdio.h>

#include "gguf_internal.h"
#include "mem.h"

enum { SUFFIX_BYTES = sizeof "-00001-of-00003.gguf" - 1, MAX_PARTS = 99999 };

struct place {
    uint32_t i;         /* split.no */
    uint32_t count;     /* split.count; 0: the file says nothing of the kind */
    uint32_t n_tensors; /* split.tensors.count; UINT32_MAX: not said */
};

static int read_place(struct place *out, const struct gguf *g, struct redline_err *err)
{
    *out = (struct place){.n_tensors = UINT32_MAX};
    TRY(gguf_get_u32(g, "split.count", &out->count, err));
    TRY(gguf_get_u32(g, "split.no", &out->i, err));
    TRY(gguf_get_u32(g, "split.tensors.count", &out->n_tensors, err));
    if (out->count > 1 && !gguf_find(g, "split.no"))
        return err_set(err, REDLINE_FORMAT, "%s: split.count is %u, but split.no is missing",
                       gguf_file_text(g), out->count);
    if (out->count > MAX_PARTS || out->i >= (out->count ? out->count : 1))
        return err_set(
            err, REDLINE_FORMAT,
            "%s: split.no is %u and split.count %u: no such part can be (counted from 0, at "
            "most %d parts)",
            gguf_file_text(g), out->i, out->count, MAX_PARTS);
    return 0;
}

/* Five digits as a number; -1: something else. */
static int32_t five_digits(const char *p)
{
    int32_t n = 0;
    for (int i = 0; i < 5; i++) {
        if (p[i] < '0' || p[i] > '9') return -1;
        n = 10 * n + (p[i] - '0');
    }
    return n;
}

/* Whether path ends in -00001-of-00003.gguf; then part counts from 1. */
static bool read_suffix(const char *path, int32_t *part, int32_t *count)
{
    size_t n = strlen(path);
    if (n < SUFFIX_BYTES) return false;
    const char *s = path + n - SUFFIX_BYTES;
    if (s[0] != '-' || memcmp(s + 6, "-of-", 4) != 0 || memcmp(s + 15, ".gguf", 5) != 0)
        return false;
    *part = five_digits(s + 1);
    *count = five_digits(s + 10);
    return *part >= 0 && *count >= 0;
}

/* The path of part i (from 0) beside the one given. */
static int path_of_part(struct buf *out, const char *path, uint32_t i, uint32_t count,
                        struct redline_err *err)
{
    out->n = 0;
    TRY(buf_append(out, path, strlen(path) - SUFFIX_BYTES, err));
    return buf_printf(out, err, "-%05u-of-%05u.gguf", i + 1, count);
}

/* Refuses all but the first file of a set under its proper name, and one that is in no set. */
static int check_first(const struct place *first, const char *path, struct redline_err *err)
{
    int32_t part = 1, count = 1;
    bool has_suffix = read_suffix(path, &part, &count);
    struct gguf_shown room;
    const char *shown = gguf_show_path(&room, path);
    if (first->count <= 1) {
        if (has_suffix && count > 1)
            return err_set(err, REDLINE_FORMAT,
                           "%s: its name says part %d of %d, but it has no split.count above 1",
                           shown, part, count);
        return 0;
    }
    if (!has_suffix)
        return err_set(
            err, REDLINE_FORMAT,
            "%s: it is part %u of %u, but its name does not end in '-%05u-of-%05u.gguf', so the "
            "other parts cannot be found",
            shown, first->i + 1, first->count, first->i + 1, first->count);
    if ((uint32_t)part != first->i + 1 || (uint32_t)count != first->count)
        return err_set(
            err, REDLINE_FORMAT,
            "%s: its name says part %d of %d, its split.no and split.count say part %u of %u",
            shown, part, count, first->i + 1, first->count);
    if (first->i == 0) return 0;
    struct buf name = {0};
    int status = path_of_part(&name, path, 0, first->count, err);
    if (status == 0)
        status = err_set(err, REDLINE_FORMAT, "%s: it is part %u of %u: open the first part, '%s'",
                         shown, first->i + 1, first->count, GGUF_SHOW_PATH(name.p));
    buf_free(&name);
    return status;
}

/* Moves the tensors and the mapping of a part to the end of g's. */
static int absorb(struct gguf *g, struct gguf *part, struct redline_err *err)
{
    uint64_t n = g->n_tensors + part->n_tensors;
    if (n > GGUF_MAX_TENSORS)
        return err_set(err, REDLINE_SUPPORT, "%s: the parts have more than %d tensors together",
                       gguf_file_text(g), GGUF_MAX_TENSORS);
    struct gguf_tensor *tensors = mem_resize(g->tensors, n, sizeof *tensors);
    if (!tensors) return err_memory(err, n * sizeof *tensors, "the list of tensors");
    g->tensors = tensors;
    struct gguf_file *files = mem_resize(g->files, g->n_files + 1, sizeof *files);
    if (!files) return err_memory(err, (g->n_files + 1) * sizeof *files, "the list of files");
    g->files = files;
    for (uint64_t i = 0; i < part->n_tensors; i++) {
        tensors[g->n_tensors + i] = part->tensors[i];
        tensors[g->n_tensors + i].file = g->n_files;
    }
    g->n_tensors = n;
    g->tensor_bytes += part->tensor_bytes;
    files[g->n_files++] = part->files[0];
    part->files[0] = (struct gguf_file){0};
    return 0;
}

static int add_part(struct gguf *g, const char *path, const struct place *want,
                    struct redline_err *err)
{
    struct gguf *part;
    struct place place;
    TRY(gguf_open_one(&part, path, err));
    int status = read_place(&place, part, err);
    if (status == 0 && (place.i != want->i || place.count != want->count))
        status =
            err_set(err, REDLINE_FORMAT,
                    "%s: it should be part %u of %u, but its split.no and split.count say %u of %u",
                    GGUF_SHOW_PATH(path), want->i + 1, want->count, place.i + 1, place.count);
    if (status == 0 && place.n_tensors != want->n_tensors && place.n_tensors != UINT32_MAX)
        status = err_set(err, REDLINE_FORMAT,
                         "%s: its split.tensors.count is %u, that of the first part is %u",
                         GGUF_SHOW_PATH(path), place.n_tensors, want->n_tensors);
    if (status == 0) status = absorb(g, part, err);
    gguf_close(&part);
    return status;
}

static int add_parts(struct gguf *g, const char *path, const struct place *first,
                     struct redline_err *err)
{
    struct buf name = {0};
    int status = 0;
    struct place want = *first;
    for (want.i = 1; want.i < want.count && status == 0; want.i++) {
        status = path_of_part(&name, path, want.i, want.count, err);
        if (status == 0) status = add_part(g, name.p, &want, err);
    }
    buf_free(&name);
    if (status == 0) status = gguf_index_tensors(g, err);
    return status;
}

int gguf_join(struct gguf *g, const char *path, struct redline_err *err)
{
    struct place first;
    TRY(read_place(&first, g, err));
    if (path) TRY(check_first(&first, path, err));
    if (!path && first.count > 1)
        return err_set(err, REDLINE_SUPPORT,
                       "%s: it is part %u of %u, and only files can be joined", gguf_file_text(g),
                       first.i + 1, first.count);
    if (first.count > 1) TRY(add_parts(g, path, &first, err));
    if (first.n_tensors != UINT32_MAX && first.n_tensors != g->n_tensors)
        return err_set(err, REDLINE_FORMAT,
                       "%s: split.tensors.count is %u, but there are %llu tensors in %u files",
                       gguf_file_text(g), first.n_tensors, (unsigned long long)g->n_tensors,
                       g->n_files);
    return 0;
}

int gguf_file_path(struct buf *out, const struct gguf *g, const char *path, uint32_t i, struct redline_err *err)
{
    if (g->n_files > 1) return path_of_part(out, path, i, g->n_files, err);
    out->n = 0;
    return buf_append_str(out, str_of(path), err);
}
