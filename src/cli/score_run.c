/* score_run.c - requests of several chunks, followed in turn. */
#include "score_run.h"

#include "base.h"
#include "mem.h"

enum { OUTPUTS = 256 }; /* rows of logits of one forward pass: enough tokens for fast products */

/* Of all lanes together; one lane it may be in any case. */
static const size_t MOST_ROWS_BYTES = (size_t)256 << 20;

static size_t lane_numbers(const struct score_run *run)
{
    return (chunks_positions(run->frame->n_ctx) + 1) * (size_t)run->frame->n_vocab;
}

static int make_lanes(struct score_run *run, int n_seqs, bool wants_rows, struct redline_err *err)
{
    size_t lane_bytes = lane_numbers(run) * sizeof(float);
    run->n_lanes = wants_rows ? (int)MIN((size_t)n_seqs, MAX(MOST_ROWS_BYTES / lane_bytes, 1)) : n_seqs;
    run->jobs = mem_new((size_t)run->n_lanes, sizeof(struct redline_job *));
    if (!run->jobs) return err_memory(err, (size_t)run->n_lanes * sizeof(struct redline_job *), "requests");
    if (!wants_rows) return 0;
    run->rows = mem_new((size_t)run->n_lanes, lane_bytes);
    return run->rows ? 0 : err_memory(err, (size_t)run->n_lanes * lane_bytes, "rows of logits");
}

int score_run_open(struct score_run *out, const struct redline_model *model,
                   const struct redline_engine_params *params, const struct placement *where,
                   struct score_frame *frame, bool wants_rows, struct redline_err *err)
{
    struct redline_engine_params p = *params;
    *out = (struct score_run){.frame = frame};
    p.n_ctx = frame->n_ctx;
    p.n_queue = p.n_seqs;
    p.n_ubatch = MAX(p.n_ubatch, p.n_seqs);
    p.n_outputs = MAX(MIN(p.n_ubatch, OUTPUTS), p.n_seqs);
    TRY(placement_open(&out->engine, model, &p, where, err));
    int status = 0, n_vocab = (int)redline_n_vocab(out->engine);
    if (!frame->n_vocab) frame->n_vocab = n_vocab;
    if (frame->n_vocab != n_vocab)
        status = err_set(err, REDLINE_ARG, "not comparable: the reference's vocabulary has %d tokens, this one %d",
                         frame->n_vocab, n_vocab);
    if (!status) status = make_lanes(out, p.n_seqs, wants_rows, err);
    if (status) score_run_close(out);
    return status;
}

static void free_jobs(struct score_run *run)
{
    for (int i = 0; i < run->n_lanes && run->jobs; i++) redline_job_free(&run->jobs[i]);
}

void score_run_close(struct score_run *run)
{
    free_jobs(run);
    redline_engine_close(&run->engine);
    mem_free(run->jobs);
    mem_free(run->rows);
    *run = (struct score_run){0};
}

static int submit(struct score_run *run, int chunk, int lane, struct redline_err *err)
{
    const struct score_frame *f = run->frame;
    struct redline_request request = {.kind = REDLINE_SCORE,
                                      .ids = f->ids + (size_t)chunk * (size_t)f->n_ctx,
                                      .n_ids = (size_t)f->n_ctx,
                                      .score_from = chunks_first(f->n_ctx),
                                      .logits = run->rows ? run->rows + (size_t)lane * lane_numbers(run) : NULL};
    return redline_submit(&run->jobs[lane], run->engine, &request, err);
}

/* All chunks move on together: what the one that is followed has done stands for all. */
static int follow(struct score_run *run, int lane, int n, score_progress *progress, void *user,
                  struct redline_err *err)
{
    struct redline_event event;
    size_t n_ctx = (size_t)run->frame->n_ctx, n_done = (size_t)lane * n_ctx;
    do {
        TRY(redline_next(run->jobs[lane], &event, err));
        if (event.kind == REDLINE_EVENT_PREFILL) n_done = MAX(n_done, event.prefill.n_done * (size_t)n);
        if (event.kind == REDLINE_EVENT_DONE) n_done = MAX(n_done, (size_t)(lane + 1) * n_ctx);
        if (progress(user, n_done)) return err_set(err, REDLINE_CANCEL, "stopped");
    } while (event.kind != REDLINE_EVENT_DONE);
    return 0;
}

int score_run_chunks(struct score_run *run, int first, int n, score_progress *progress, void *user,
                     struct redline_err *err)
{
    int status = 0;
    free_jobs(run);
    for (int i = 0; i < n && !status; i++) status = submit(run, first + i, i, err);
    for (int i = 0; i < n && !status; i++) status = follow(run, i, n, progress, user, err);
    return status;
}

const float *score_run_logprobs(const struct score_run *run, int lane)
{
    size_t n;
    return redline_job_logprobs(run->jobs[lane], &n);
}

const float *score_run_rows(const struct score_run *run, int lane)
{
    return run->rows + (size_t)lane * lane_numbers(run);
}
