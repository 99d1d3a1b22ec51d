/* imatrix.c - reading and writing importance matrices. */
#include "imatrix.h"

#include <float.h>

#include "base.h"
#include "gguf_write.h"
#include "mem.h"

static const char datasets_key[] = "imatrix.datasets", chunk_count_key[] = "imatrix.chunk_count",
                  chunk_size_key[] = "imatrix.chunk_size";

#define SUMS STR(".in_sum2")
#define COUNTS STR(".counts")

/* ---- reading ----------------------------------------------------------------------------------- */

static int find_counts(const struct gguf_tensor **out, const struct gguf *g, struct str name, struct buf *text,
                       struct redline_err *err)
{
    text->n = 0;
    TRY(buf_append_str(text, name, err));
    TRY(buf_append_str(text, COUNTS, err));
    *out = gguf_find_tensor(g, buf_str(text));
    if (*out) return 0;
    return err_set(err, REDLINE_FORMAT, "the importance matrix has sums for '%.*s' and no tensor '%s'",
                   STR_ARG(name), text->p);
}

/* The tensor as numbers, each of which can be a sum of squares or a count. */
static int take_numbers(const struct gguf_tensor *t, const float **numbers, uint64_t *n, struct redline_err *err)
{
    if (t->dtype != DTYPE_F32)
        return err_set(err, REDLINE_FORMAT, "the importance matrix holds '%.*s' as %s, it must be F32",
                       STR_ARG(t->name), dtype_name(t->dtype));
    *numbers = t->data;
    *n = t->bytes / sizeof(float);
    for (uint64_t i = 0; i < *n; i++)
        if (!((*numbers)[i] >= 0 && (*numbers)[i] <= FLT_MAX))
            return err_set(err, REDLINE_FORMAT, "the importance matrix has %g in '%.*s', at %llu of %llu",
                           (double)(*numbers)[i], STR_ARG(t->name), (unsigned long long)i, (unsigned long long)*n);
    return 0;
}

static int take_entry(struct imatrix *m, const struct gguf_tensor *sums, struct buf *text, struct redline_err *err)
{
    struct imatrix_entry *e = &m->entries[m->n++];
    e->name = (struct str){sums->name.p, sums->name.n - SUMS.n};
    const struct gguf_tensor *counts;
    TRY(find_counts(&counts, m->file, e->name, text, err));
    TRY(take_numbers(sums, &e->sums, &e->n_sums, err));
    TRY(take_numbers(counts, &e->counts, &e->n_counts, err));
    if (e->n_sums % e->n_counts == 0) return 0;
    return err_set(err, REDLINE_FORMAT, "the importance matrix has %llu sums of '%.*s' for %llu counts",
                   (unsigned long long)e->n_sums, STR_ARG(e->name), (unsigned long long)e->n_counts);
}

static int take_text(struct imatrix *m, struct redline_err *err)
{
    const struct gguf_value *datasets = NULL;
    TRY(gguf_get_array(m->file, datasets_key, GGUF_STRING, &datasets, err));
    if (datasets && datasets->n > 0) m->text.dataset = gguf_string_at(datasets, 0);
    TRY(gguf_get_u32(m->file, chunk_count_key, &m->text.n_chunks, err));
    return gguf_get_u32(m->file, chunk_size_key, &m->text.chunk_size, err);
}

static int take_all(struct imatrix *m, const char *path, struct redline_err *err)
{
    struct buf text = {0};
    int status = 0;
    const struct gguf *g = m->file;
    m->entries = mem_new((size_t)g->n_tensors, sizeof *m->entries);
    if (!m->entries) return err_memory(err, (size_t)g->n_tensors * sizeof *m->entries, "an importance matrix");
    for (uint64_t i = 0; i < g->n_tensors && !status; i++)
        if (str_ends(g->tensors[i].name, SUMS)) status = take_entry(m, &g->tensors[i], &text, err);
    buf_free(&text);
    if (!status && m->n == 0)
        status = err_set(err, REDLINE_FORMAT, "%s is no importance matrix: it has no tensor of sums (NAME.in_sum2)",
                         path);
    return status ? status : take_text(m, err);
}

int imatrix_open(struct imatrix *out, const char *path, struct redline_err *err)
{
    *out = (struct imatrix){.text.dataset = STR("")};
    TRY(gguf_open(&out->file, path, err));
    int status = take_all(out, path, err);
    if (status) imatrix_close(out);
    return status;
}

void imatrix_close(struct imatrix *m)
{
    mem_free(m->entries);
    gguf_close(&m->file);
    *m = (struct imatrix){0};
}

const struct imatrix_entry *imatrix_find(const struct imatrix *m, struct str name)
{
    for (size_t i = 0; i < m->n; i++)
        if (str_eq(m->entries[i].name, name)) return &m->entries[i];
    return NULL;
}

/* ---- writing ----------------------------------------------------------------------------------- */

static int announce(struct gguf_writer *w, struct buf *name, const struct imatrix_entry *e, struct str part,
                    uint64_t width, struct redline_err *err)
{
    uint64_t shape[GGUF_MAX_DIMS] = {width, e->n_counts, 1, 1};
    name->n = 0;
    TRY(buf_append_str(name, e->name, err));
    TRY(buf_append_str(name, part, err));
    return gguf_write_tensor(w, buf_str(name), DTYPE_F32, e->n_counts > 1 ? 2 : 1, shape, err);
}

static int write_header(struct gguf_writer *w, const struct imatrix_entry *entries, size_t n,
                        const struct imatrix_text *text, struct redline_err *err)
{
    struct buf name = {0};
    int status = 0;
    TRY(gguf_write_string(w, "general.type", STR("imatrix"), err));
    TRY(gguf_write_strings(w, datasets_key, &text->dataset, text->dataset.n > 0, err));
    TRY(gguf_write_u32(w, chunk_count_key, text->n_chunks, err));
    TRY(gguf_write_u32(w, chunk_size_key, text->chunk_size, err));
    for (size_t i = 0; i < n && !status; i++) {
        status = announce(w, &name, &entries[i], SUMS, entries[i].n_sums / entries[i].n_counts, err);
        if (!status) status = announce(w, &name, &entries[i], COUNTS, 1, err);
    }
    buf_free(&name);
    return status;
}

static int write_all(struct gguf_writer *w, const struct imatrix_entry *entries, size_t n,
                     const struct imatrix_text *text, struct redline_err *err)
{
    TRY(write_header(w, entries, n, text, err));
    for (size_t i = 0; i < n; i++) {
        TRY(gguf_write_data(w, entries[i].sums, entries[i].n_sums * sizeof(float), err));
        TRY(gguf_write_data(w, entries[i].counts, entries[i].n_counts * sizeof(float), err));
    }
    return gguf_writer_finish(w, err);
}

int imatrix_write(const char *path, const struct imatrix_entry *entries, size_t n,
                  const struct imatrix_text *text, struct redline_err *err)
{
    struct gguf_writer *w;
    TRY(gguf_writer_new(&w, path, 0, err));
    int status = write_all(w, entries, n, text, err);
    gguf_writer_free(&w);
    return status;
}
