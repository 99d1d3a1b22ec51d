/* importance.c - from the sums of an importance matrix to weights of columns, and encoding by them.
 *
 * A tensor's weights are those of the entry of its own name: a row for each of its matrices.  What was never seen
 * (a tensor without entry, an expert that no token chose, columns that were always zero) is encoded without. */
#include "importance.h"

#include "base.h"
#include "mem.h"

int importance_open(struct importance *m, const char *path, struct redline_err *err)
{
    *m = (struct importance){0};
    return path ? imatrix_open(&m->matrix, path, err) : 0;
}

void importance_close(struct importance *m)
{
    imatrix_close(&m->matrix);
    mem_free(m->columns);
    *m = (struct importance){0};
}

static bool can_weigh(const struct mix_tensor *t, const struct kern_ops *kern)
{
    return t->to != t->from && kern->encode_weighted[t->to];
}

static uint64_t n_mats(const struct mix_tensor *t)
{
    return t->shape[2] * t->shape[3];
}

static int check_entry(const struct imatrix_entry *e, const struct mix_tensor *t, struct redline_err *err)
{
    bool fits = e->n_sums == t->shape[0] * n_mats(t) && (e->n_counts == 1 || e->n_counts == n_mats(t));
    if (fits) return 0;
    return err_set(err, REDLINE_FORMAT,
                   "the importance matrix has %llu sums and %llu counts for '%.*s', which has %llu matrices of %llu "
                   "columns: it is of another model",
                   (unsigned long long)e->n_sums, (unsigned long long)e->n_counts, STR_ARG(t->name),
                   (unsigned long long)n_mats(t), (unsigned long long)t->shape[0]);
}

int importance_check(struct importance *m, const struct mix_tensor *tensors, size_t n, const struct kern_ops *kern,
                     struct redline_err *err)
{
    if (m->matrix.n == 0) return 0;
    for (size_t i = 0; i < n; i++) {
        if (!can_weigh(&tensors[i], kern)) continue;
        const struct imatrix_entry *e = imatrix_find(&m->matrix, tensors[i].name);
        if (e) TRY(check_entry(e, &tensors[i], err));
        if (!e && m->n_missing++ == 0) m->missing = tensors[i].name;
        m->n_found += e != NULL;
    }
    if (m->n_found > 0 || m->n_missing == 0) return 0;
    return err_set(err, REDLINE_FORMAT,
                   "the importance matrix has no entry for any of the %zu tensors to be encoded, the first of which "
                   "is '%.*s': it is of another model",
                   m->n_missing, STR_ARG(m->missing));
}

/* Sums to weights of mean 1, so that their products stay in the middle of float32's range; false: all are zero. */
static bool scale_columns(float *columns, const float *sums, size_t n)
{
    double total = 0;
    for (size_t i = 0; i < n; i++) total += (double)sums[i];
    for (size_t i = 0; i < n && total > 0; i++) columns[i] = (float)((double)sums[i] * (double)n / total);
    return total > 0;
}

int importance_take(struct importance *m, const struct mix_tensor *t, const struct kern_ops *kern,
                    struct redline_err *err)
{
    size_t width = (size_t)t->shape[0];
    m->entry = can_weigh(t, kern) ? imatrix_find(&m->matrix, t->name) : NULL;
    if (!m->entry) return 0;
    float *columns = mem_resize(m->columns, (size_t)m->entry->n_sums, sizeof *columns);
    if (!columns) return err_memory(err, (size_t)m->entry->n_sums * sizeof *columns, "the weights of columns");
    m->columns = columns;
    for (size_t mat = 0; mat < n_mats(t); mat++) {
        bool seen = m->entry->counts[m->entry->n_counts > 1 ? mat : 0] > 0;
        seen = seen && scale_columns(columns + mat * width, m->entry->sums + mat * width, width);
        if (!seen) columns[mat * width] = -1; /* no weight: none of them */
    }
    return 0;
}

/* Rows do not end where pieces do, so a piece goes in parts of rows. */
void importance_encode(const struct importance *m, const struct mix_tensor *t, const struct kern_ops *kern,
                       void *dst, const float *src, uint64_t first, size_t n)
{
    const struct dtype_info *to = dtype_info(t->to);
    uint64_t width = t->shape[0], mat_n = width * t->shape[1];
    for (size_t at = 0, part; at < n; at += part) {
        uint64_t i = first + at, column = i % width;
        part = m->entry ? (size_t)MIN(n - at, width - column) : n;
        const float *columns = m->entry ? m->columns + i / mat_n * width : NULL;
        char *out = (char *)dst + dtype_row_bytes(to, at);
        if (columns && columns[0] >= 0)
            kern->encode_weighted[t->to](out, src + at, columns + column, part);
        else
            kern->encode[t->to](out, src + at, part);
    }
}
