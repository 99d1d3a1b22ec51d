/* outcome.c - generating, embedding and scoring, as a table of what each wants and does. */
#include "outcome.h"

#include <math.h>
#include <string.h>

#include "base.h"
#include "clock.h"

/* ---- generate --------------------------------------------------------------------------------- */

static unsigned generate_wants(const struct redline_job *job, size_t i)
{
    return i + 1 == job->n_prompt ? MODEL_LOGITS : 0;
}

/* The next token from the row of logits; true: there is none to follow. */
static bool choose(struct redline_job *job, struct outcome_rows *rows, enum redline_stop *stop)
{
    const float *logits = rows->logits;
    rows->logits += rows->n_vocab;
    *stop = job->context_bound ? REDLINE_STOP_CONTEXT : REDLINE_STOP_LENGTH;
    if (job->stream.n >= job->n_most) return true; /* nothing was asked for */
    int32_t id = sampler_choose(&job->sampler, logits, rows->candidates);
    float logprob = job->logprobs ? sampler_logprob(logits, rows->n_vocab, id) : NAN;
    job->last_ns = clock_ns();
    if (!job->ignore_end && job->vocab && vocab_is_end(job->vocab, id)) {
        *stop = REDLINE_STOP_END;
        return true;
    }
    sampler_accept(&job->sampler, id);
    job->next = id;
    job_push(job, id, logprob, job->last_ns);
    return job->stream.n >= job->n_most;
}

static bool generate_takes(struct redline_job *job, size_t n, struct outcome_rows *rows, enum redline_stop *stop)
{
    (void)n;
    if (job->phase == SCHED_PREFILL && job->n_fed < job->n_prompt) return false;
    if (job->phase == SCHED_DECODE) {
        job->n_decoded++;
        job->n_decoded_packed += rows->packed;
    }
    job->phase = SCHED_DECODE;
    return choose(job, rows, stop);
}

/* ---- embed ------------------------------------------------------------------------------------ */

static unsigned embed_wants(const struct redline_job *job, size_t i)
{
    if (job->pooling == REDLINE_POOL_MEAN || job->pooling == REDLINE_POOL_NONE) return MODEL_STATE;
    return i == (job->pooling == REDLINE_POOL_FIRST ? 0 : job->n_prompt - 1) ? MODEL_STATE : 0;
}

/* The sum of n_summed states to a vector of length 1; or, unscaled, to their mean. */
static void write_vector(const struct redline_job *job, float *out, int width, size_t n_summed)
{
    const double *sum = job->pool;
    double length = 0;
    for (int i = 0; i < width; i++) length += sum[i] * sum[i];
    double divisor = job->unscaled ? (double)n_summed : length > 0 ? sqrt(length) : 1;
    for (int i = 0; i < width; i++) out[i] = (float)(sum[i] / divisor);
}

static bool embed_takes(struct redline_job *job, size_t n, struct outcome_rows *rows, enum redline_stop *stop)
{
    for (size_t i = job->n_fed - n; i < job->n_fed; i++) {
        if (!embed_wants(job, i)) continue;
        bool alone = job->pooling == REDLINE_POOL_NONE;
        for (int j = 0; j < rows->width; j++) job->pool[j] = (alone ? 0 : job->pool[j]) + (double)rows->states[j];
        if (alone) write_vector(job, job->vector + i * (size_t)rows->width, rows->width, 1);
        rows->states += rows->width;
    }
    *stop = REDLINE_STOP_LENGTH;
    if (job->n_fed < job->n_prompt) return false;
    if (job->pooling != REDLINE_POOL_NONE)
        write_vector(job, job->vector, rows->width, job->pooling == REDLINE_POOL_MEAN ? job->n_prompt : 1);
    job_embedded(job, clock_ns());
    return true;
}

/* ---- score ------------------------------------------------------------------------------------ */

static unsigned score_wants(const struct redline_job *job, size_t i)
{
    return (i >= job->score_from ? MODEL_LOGITS : 0) | (job->as_generated ? MODEL_GENERATED : 0);
}

static bool score_takes(struct redline_job *job, size_t n, struct outcome_rows *rows, enum redline_stop *stop)
{
    size_t n_vocab = (size_t)rows->n_vocab, from = job->score_from;
    uint64_t now = clock_ns();
    for (size_t i = MAX(job->n_fed - n, from); i < job->n_fed; i++) {
        if (job->logits) memcpy(job->logits + (i - from) * n_vocab, rows->logits, n_vocab * sizeof(float));
        if (i + 1 < job->n_prompt) {
            int32_t next = job->prompt[i + 1];
            job_push(job, next, job->logprobs ? sampler_logprob(rows->logits, rows->n_vocab, next) : NAN, now);
        }
        rows->logits += n_vocab;
    }
    *stop = REDLINE_STOP_LENGTH;
    return job->n_fed == job->n_prompt;
}

/* ---- the table -------------------------------------------------------------------------------- */

static const struct {
    unsigned (*wants)(const struct redline_job *job, size_t i);
    bool (*takes)(struct redline_job *job, size_t n, struct outcome_rows *rows, enum redline_stop *stop);
} kinds[] = {
    [REDLINE_GENERATE] = {generate_wants, generate_takes},
    [REDLINE_EMBED] = {embed_wants, embed_takes},
    [REDLINE_SCORE] = {score_wants, score_takes},
};

unsigned outcome_wanted(const struct redline_job *job, size_t i)
{
    return kinds[job->kind].wants(job, i);
}

bool outcome_take(struct redline_job *job, size_t n, struct outcome_rows *rows, enum redline_stop *stop)
{
    if (job->phase == SCHED_PREFILL) {
        job->n_fed += n;
        job->prefill_packed |= rows->packed;
        job_prefilled(job, clock_ns());
    }
    return kinds[job->kind].takes(job, n, rows, stop);
}
