/* pour.c - two batches of pieces, one being made, one being written. */
#include "pour.h"

#include "base.h"
#include "cpu.h"
#include "mem.h"
#include "team.h"

enum { BATCH_PIECES = 64, ALIGNMENT = 64 };
#define BATCH_BYTES ((size_t)BATCH_PIECES * POUR_PIECE * sizeof(float))

struct batch {
    char *bytes;
    size_t n;
};

struct pour {
    const struct pour_job *job;
    struct gguf_writer *w;
    struct team *team;
    float *scratch;           /* POUR_PIECE floats of each member */
    struct batch made, ready; /* being made; to be written meanwhile */
    struct redline_make_progress progress;
    char name[128]; /* of the tensor in hand, for the listener */

    /* the batch in hand */
    size_t i_tensor;
    uint64_t first, n; /* elements */
    int status;        /* of writing */
    struct redline_err *err;
};

static uint64_t n_elements(const struct mix_tensor *t)
{
    return t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
}

static uint64_t n_bytes(const struct mix_tensor *t)
{
    return dtype_row_bytes(dtype_info(t->to), n_elements(t));
}

/* ---- one batch ---------------------------------------------------------------------------------
 */

static void make_batch(void *user, struct team *team, int member)
{
    struct pour *p = user;
    const struct pour_job *job = p->job;
    const struct dtype_info *info = dtype_info(job->tensors[p->i_tensor].to);
    float *scratch = p->scratch + (size_t)member * POUR_PIECE;
    if (member == 0) p->status = gguf_write_data(p->w, p->ready.bytes, p->ready.n, p->err);
    int64_t n_pieces = (int64_t)CEIL_DIV(p->n, (uint64_t)POUR_PIECE);
    for (int64_t piece; team_next(team, member, n_pieces, &piece);) {
        uint64_t at = (uint64_t)piece * POUR_PIECE;
        size_t n = (size_t)MIN(p->n - at, (uint64_t)POUR_PIECE);
        job->fill(job->maker, p->i_tensor, p->made.bytes + dtype_row_bytes(info, at), p->first + at, n, scratch);
    }
}

static int report(struct pour *p, struct redline_err *err)
{
    const struct pour_job *job = p->job;
    struct str name = job->tensors[p->i_tensor].name;
    size_t n = MIN(name.n, sizeof p->name - 1);
    memcpy(p->name, name.p, n);
    p->name[n] = '\0';
    p->progress.tensor = p->name;
    if (job->listener && job->listener(job->user, &p->progress))
        return err_set(err, REDLINE_CANCEL, "stopped at %llu of %llu bytes",
                       (unsigned long long)p->progress.done_bytes, (unsigned long long)p->progress.total_bytes);
    return 0;
}

static int pour_tensor(struct pour *p, size_t i, struct redline_err *err)
{
    const struct mix_tensor *t = &p->job->tensors[i];
    uint64_t total = n_elements(t);
    p->i_tensor = i;
    p->err = err;
    for (p->first = 0; p->first < total; p->first += p->n) {
        p->n = MIN(total - p->first, (uint64_t)BATCH_PIECES * POUR_PIECE);
        p->made.n = dtype_row_bytes(dtype_info(t->to), p->n);
        team_run(p->team, make_batch, p);
        TRY(p->status);
        p->progress.done_bytes += p->made.n;
        struct batch written = p->ready;
        p->ready = p->made;
        p->made = written;
        TRY(report(p, err));
    }
    return 0;
}

/* ---- the file ----------------------------------------------------------------------------------
 */

static void count_type(struct redline_made *made, const char *type, uint64_t bytes)
{
    size_t i = 0;
    while (i < made->n_types && made->types[i].type != type) i++;
    if (i == REDLINE_MADE_TYPES) return;
    made->n_types = MAX(made->n_types, i + 1);
    made->types[i].type = type;
    made->types[i].n_tensors++;
    made->types[i].bytes += bytes;
}

static int announce(struct pour *p, struct redline_made *made, struct redline_err *err)
{
    *made = (struct redline_made){0};
    for (size_t i = 0; i < p->job->n; i++) {
        const struct mix_tensor *t = &p->job->tensors[i];
        TRY(gguf_write_tensor(p->w, t->name, t->to, t->n_dims, t->shape, err));
        made->n_tensors++;
        made->n_parameters += n_elements(t);
        made->tensor_bytes += n_bytes(t);
        made->n_fallback += t->fell_back;
        count_type(made, dtype_info(t->to)->name, n_bytes(t));
    }
    p->progress.total_bytes = made->tensor_bytes;
    return 0;
}

static int reserve(struct pour *p, struct redline_err *err)
{
    struct cpu_facts cpu;
    cpu_facts(&cpu);
    int n_threads = p->job->n_threads ? p->job->n_threads : cpu.n_threads;
    TRY(team_new(&p->team, n_threads, err));
    size_t scratch_bytes = (size_t)n_threads * POUR_PIECE * sizeof(float);
    p->made.bytes = mem_aligned(BATCH_BYTES, ALIGNMENT);
    p->ready.bytes = mem_aligned(BATCH_BYTES, ALIGNMENT);
    p->scratch = mem_aligned(scratch_bytes, ALIGNMENT);
    if (p->made.bytes && p->ready.bytes && p->scratch) return 0;
    return err_memory(err, 2 * BATCH_BYTES + scratch_bytes, "buffers for tensors");
}

static int pour_all(struct pour *p, struct redline_err *err)
{
    const struct pour_job *job = p->job;
    for (size_t i = 0; i < job->n; i++) {
        if (job->begin) TRY(job->begin(job->maker, i, err));
        TRY(pour_tensor(p, i, err));
        if (job->end) TRY(job->end(job->maker, i, err));
    }
    TRY(gguf_write_data(p->w, p->ready.bytes, p->ready.n, err));
    return gguf_writer_finish(p->w, err);
}

int pour_file(const struct pour_job *job, struct gguf_writer *w, struct redline_made *made,
              struct redline_err *err)
{
    struct redline_made unwanted;
    struct pour p = {.job = job, .w = w};
    int status = announce(&p, made ? made : &unwanted, err);
    if (!status) status = reserve(&p, err);
    if (!status) status = pour_all(&p, err);
    team_free(&p.team);
    mem_free(p.made.bytes);
    mem_free(p.ready.bytes);
    mem_free(p.scratch);
    return status;
}
