/* collect.c - an importance matrix in the making: the squares of what is multiplied, summed by column.
 *
 * The backend shows the rows of each product once, on one thread at a time for each matrix, in the order of the
 * tokens.  So every sum runs in one order whatever the number of threads and the division into batches, and the
 * file has the same bytes. */
#include "collect.h"

#include <float.h>
#include <stdlib.h>

#include "base.h"
#include "imatrix.h"
#include "mem.h"

struct seen { /* of one weight */
    char *name;       /* owned */
    const void *data; /* its first row in the file: how its products are known */
    size_t n_cols, n_mats;
    double *sums;     /* [n_mats, n_cols], owned */
    uint64_t *counts; /* [n_mats], owned */
};

struct redline_imatrix {
    struct backend_watch watch;
    struct seen *seen; /* [n], owned */
    size_t n, capacity;
};

int redline_imatrix_new(struct redline_imatrix **out, struct redline_err *err)
{
    *out = mem_new(1, sizeof **out);
    return *out ? 0 : err_memory(err, sizeof **out, "an importance matrix");
}

static void free_seen(struct seen *s)
{
    mem_free(s->name);
    mem_free(s->sums);
    mem_free(s->counts);
}

void redline_imatrix_free(struct redline_imatrix **matrix)
{
    struct redline_imatrix *m = matrix ? *matrix : NULL;
    if (!m) return;
    for (size_t i = 0; i < m->n; i++) free_seen(&m->seen[i]);
    mem_free(m->seen);
    mem_free(m);
    *matrix = NULL;
}

/* ---- watching ---------------------------------------------------------------------------------- */

static int make_room(struct redline_imatrix *m, struct redline_err *err)
{
    if (m->n < m->capacity) return 0;
    size_t capacity = m->capacity ? 2 * m->capacity : 256;
    struct seen *seen = mem_resize(m->seen, capacity, sizeof *seen);
    if (!seen) return err_memory(err, capacity * sizeof *seen, "the list of an importance matrix");
    m->seen = seen;
    m->capacity = capacity;
    return 0;
}

/* An engine opened again may have mapped the same weights to other places. */
static int know_again(struct seen *s, const struct weight *w, struct redline_err *err)
{
    if (s->n_cols != (size_t)w->n_cols || s->n_mats != (size_t)w->n_mats)
        return err_set(err, REDLINE_ARG,
                       "the importance matrix has '%s' of %zu matrices with %zu columns, here they are %d with %d: "
                       "another model?",
                       s->name, s->n_mats, s->n_cols, w->n_mats, w->n_cols);
    s->data = w->data;
    return 0;
}

static int know_weight(void *user, struct str name, const struct weight *w, struct redline_err *err)
{
    struct redline_imatrix *m = user;
    for (size_t i = 0; i < m->n; i++)
        if (str_eq(str_of(m->seen[i].name), name)) return know_again(&m->seen[i], w, err);
    TRY(make_room(m, err));
    size_t n_mats = (size_t)w->n_mats, n_cols = (size_t)w->n_cols;
    struct seen s = {.name = mem_copy(name.p, name.n),
                     .data = w->data,
                     .n_cols = n_cols,
                     .n_mats = n_mats,
                     .sums = mem_new(n_mats * n_cols, sizeof(double)),
                     .counts = mem_new(n_mats, sizeof(uint64_t))};
    if (!s.name || !s.sums || !s.counts) {
        free_seen(&s);
        return err_memory(err, n_mats * n_cols * sizeof(double), "the sums of an importance matrix");
    }
    m->seen[m->n++] = s;
    return 0;
}

/* Of a weight that is multiplied in parts, the first part begins where it begins: the others see the same rows. */
static struct seen *find_seen(struct redline_imatrix *m, const struct weight *w)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->seen[i].data == w->data) return &m->seen[i];
    return NULL;
}

static void add_rows(void *user, const struct weight *w, int mat, const float *x, size_t stride, int n)
{
    struct seen *s = find_seen(user, w);
    if (!s || (size_t)mat >= s->n_mats || (size_t)w->n_cols != s->n_cols) return;
    double *sums = s->sums + (size_t)mat * s->n_cols;
    for (int t = 0; t < n; t++, x += stride)
        for (size_t c = 0; c < s->n_cols; c++) sums[c] += (double)x[c] * (double)x[c];
    s->counts[mat] += (uint64_t)n;
}

const struct backend_watch *collect_watch(struct redline_imatrix *m)
{
    m->watch = (struct backend_watch){.weight = know_weight, .rows = add_rows, .user = m};
    return &m->watch;
}

/* ---- the file ---------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    const struct imatrix_entry *x = a, *y = b;
    int order = memcmp(x->name.p, y->name.p, MIN(x->name.n, y->name.n));
    return order ? order : (x->name.n > y->name.n) - (x->name.n < y->name.n);
}

/* How many of its matrices were multiplied with anything. */
static size_t count_used(const struct seen *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_mats; i++) n += s->counts[i] > 0;
    return n;
}

/* The numbers as the file has them; room for all of them is at `to`. */
static int make_entry(struct imatrix_entry *e, const struct seen *s, float *to, struct redline_err *err)
{
    size_t n_sums = s->n_mats * s->n_cols;
    *e = (struct imatrix_entry){str_of(s->name), n_sums, s->n_mats, to, to + n_sums};
    for (size_t i = 0; i < n_sums; i++) {
        if (!(s->sums[i] <= (double)FLT_MAX))
            return err_set(err, REDLINE_FORMAT,
                           "column %zu of what '%s' is multiplied with has the sum of squares %g", i % s->n_cols,
                           s->name, s->sums[i]);
        to[i] = (float)s->sums[i];
    }
    for (size_t i = 0; i < s->n_mats; i++) to[e->n_sums + i] = (float)s->counts[i];
    return 0;
}

static int make_entries(const struct redline_imatrix *m, struct imatrix_entry *entries, float *numbers,
                        struct redline_imatrix_facts *facts, struct redline_err *err)
{
    for (size_t i = 0; i < m->n; i++) {
        const struct seen *s = &m->seen[i];
        size_t n_used = count_used(s);
        if (n_used == 0) continue;
        TRY(make_entry(&entries[facts->n_entries++], s, numbers, err));
        numbers += s->n_mats * (s->n_cols + 1);
        facts->n_partial += n_used < s->n_mats;
    }
    qsort(entries, facts->n_entries, sizeof *entries, by_name);
    return 0;
}

int redline_imatrix_write(const struct redline_imatrix *m, const char *path,
                          const struct redline_imatrix_text *text, struct redline_imatrix_facts *facts,
                          struct redline_err *err)
{
    size_t n_numbers = 0;
    struct redline_imatrix_facts unwanted;
    facts = facts ? facts : &unwanted;
    *facts = (struct redline_imatrix_facts){0};
    for (size_t i = 0; i < m->n; i++) n_numbers += m->seen[i].n_mats * (m->seen[i].n_cols + 1);
    struct imatrix_entry *entries = mem_new(m->n, sizeof *entries);
    float *numbers = mem_new(n_numbers, sizeof *numbers);
    int status = entries && numbers ? make_entries(m, entries, numbers, facts, err)
                                    : err_memory(err, n_numbers * sizeof *numbers, "an importance matrix");
    if (!status && facts->n_entries == 0) status = err_set(err, REDLINE_ARG, "the importance matrix is empty");
    struct imatrix_text origin = {str_of(text->dataset ? text->dataset : ""), text->n_chunks, text->chunk_size};
    if (!status) status = imatrix_write(path, entries, facts->n_entries, &origin, err);
    mem_free(entries);
    mem_free(numbers);
    return status;
}
