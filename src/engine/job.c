/* job.c - submitting requests and following them; the stream between the engine's thread and the
 * consumer's. */
#include "job.h"

#include <math.h>
#include <string.h>

#include "base.h"
#include "clock.h"
#include "mem.h"

enum { TEXT_PER_TOKEN = 8 }; /* bytes reserved for a token's text; more only costs an allocation */

/* ---- submission ------------------------------------------------------------------------------ */

static int take_prompt(struct redline_job *job, const struct redline_request *r, struct redline_err *err)
{
    if (r->text)
        TRY(redline_tokenize(job->engine->source, r->text, r->n_bytes, REDLINE_ADD_SPECIAL | REDLINE_PARSE_SPECIAL,
                             &job->prompt, &job->n_prompt, err));
    else {
        job->n_prompt = r->n_ids;
        job->prompt = mem_new(r->n_ids, sizeof *job->prompt);
        if (!job->prompt) return err_memory(err, r->n_ids * sizeof *job->prompt, "a prompt");
        if (r->n_ids) memcpy(job->prompt, r->ids, r->n_ids * sizeof *job->prompt);
    }
    return 0;
}

/* A token behind the last position that the model has learned would have none. */
static size_t most_positions(const struct redline_engine *e)
{
    const struct weight *learned = &e->model->weights.positions;
    size_t n = MIN((size_t)e->plan.n_ctx, (size_t)e->model->kv.n_pages * KV_PAGE);
    return learned->n_mats ? MIN(n, (size_t)learned->n_rows) : n;
}

static int check_prompt(const struct redline_job *job, struct redline_err *err)
{
    int n_vocab = job->engine->model->h.n_vocab, n_ctx = job->engine->plan.n_ctx;
    if (job->n_prompt == 0) return err_set(err, REDLINE_ARG, "the prompt is empty");
    if (job->n_prompt > (size_t)n_ctx)
        return err_set(err, REDLINE_ARG, "the prompt has %zu tokens, the context holds %d", job->n_prompt, n_ctx);
    int n_ubatch = job->engine->model->params.n_ubatch;
    if (modelfile_encoder(job->engine->source) && job->n_prompt > (size_t)n_ubatch)
        return err_set(err, REDLINE_ARG, "the text has %zu tokens, which an encoder reads at once; a step holds %d",
                       job->n_prompt, n_ubatch);
    for (size_t i = 0; i < job->n_prompt; i++)
        if (job->prompt[i] < 0 || job->prompt[i] >= n_vocab)
            return err_set(err, REDLINE_ARG, "token %d is outside the vocabulary of %d", job->prompt[i], n_vocab);
    int n_pages = job->engine->model->kv.n_pages;
    if (kv_pages_of((int)job->n_prompt) > n_pages)
        return err_set(err, REDLINE_ARG, "the prompt has %zu tokens, the cache holds %d", job->n_prompt,
                       n_pages * KV_PAGE);
    if (job->n_prompt > most_positions(job->engine))
        return err_set(err, REDLINE_ARG, "the prompt has %zu tokens, the model has learned %zu positions",
                       job->n_prompt, most_positions(job->engine));
    if (job->kind == REDLINE_SCORE && job->score_from >= job->n_prompt)
        return err_set(err, REDLINE_ARG, "scoring cannot begin at position %zu of %zu tokens", job->score_from,
                       job->n_prompt);
    return 0;
}

/* The last token that is generated is never fed, so there may be one more than the context holds. */
static void bound_generation(struct redline_job *job, int n_predict)
{
    size_t most = most_positions(job->engine) - job->n_prompt + 1;
    job->context_bound = n_predict < 0 || (size_t)n_predict > most;
    job->n_most = job->context_bound ? most : (size_t)n_predict;
}

/* Tokens that can come. */
static size_t capacity(const struct redline_job *job)
{
    if (job->kind == REDLINE_GENERATE) return job->n_most;
    return job->kind == REDLINE_SCORE ? job->n_prompt - job->score_from - 1 : 0;
}

static int make_stream(struct redline_job *job, struct redline_err *err)
{
    struct stream *s = &job->stream;
    s->capacity = capacity(job);
    s->ids = mem_new(s->capacity, sizeof *s->ids);
    s->logprobs = mem_new(s->capacity, sizeof *s->logprobs);
    s->times = mem_new(s->capacity, sizeof *s->times);
    if (!s->ids || !s->logprobs || !s->times) return err_memory(err, s->capacity * sizeof *s->times, "an answer");
    if (job->vocab) detok_init(&job->reader.detok, job->vocab, false);
    return buf_reserve(&job->reader.text, s->capacity * TEXT_PER_TOKEN + 4096, err);
}

static int make_sampler(struct redline_job *job, const struct redline_sampling *sampling, struct redline_err *err)
{
    TRY(sampler_init(&job->sampler, sampling, job->engine->model->h.n_vocab, job->engine->plan.n_ctx + 1, err));
    for (size_t i = 0; i < job->n_prompt; i++) sampler_accept(&job->sampler, job->prompt[i]);
    return 0;
}

/* The file's pooling, where the request leaves it open. */
static int choose_pooling(struct redline_job *job, enum redline_pooling asked, struct redline_err *err)
{
    const struct redline_model *source = job->engine->source;
    if (asked == REDLINE_POOL_DEFAULT && source->h.pooling > REDLINE_POOL_LAST)
        return err_set(err, REDLINE_SUPPORT, "the file's pooling_type is %d, a reranker's, which is not supported; "
                       "vectors need another pooling to be asked for", source->h.pooling);
    if (asked == REDLINE_POOL_DEFAULT) asked = modelfile_pooling(source);
    if (asked == REDLINE_POOL_DEFAULT) asked = modelfile_encoder(source) ? REDLINE_POOL_MEAN : REDLINE_POOL_LAST;
    job->pooling = asked;
    return 0;
}

static size_t n_vectors(const struct redline_job *job)
{
    return job->pooling == REDLINE_POOL_NONE ? job->n_prompt : 1;
}

static int make_pool(struct redline_job *job, const struct redline_request *r, struct redline_err *err)
{
    size_t width = (size_t)job->engine->model->h.embed_width;
    TRY(choose_pooling(job, r->pooling, err));
    job->pool = mem_new(width, sizeof *job->pool);
    job->vector = mem_new(n_vectors(job) * width, sizeof *job->vector);
    return job->pool && job->vector ? 0 : err_memory(err, n_vectors(job) * width * sizeof(float), "an embedding");
}

static int fill_job(struct redline_job *job, const struct redline_request *r, struct redline_err *err)
{
    TRY(take_prompt(job, r, err));
    TRY(check_prompt(job, err));
    if (r->kind == REDLINE_GENERATE) {
        bound_generation(job, r->n_predict);
        TRY(make_sampler(job, &r->sampling, err));
    }
    if (r->kind == REDLINE_EMBED) TRY(make_pool(job, r, err));
    return make_stream(job, err);
}

static int enqueue(struct redline_engine *e, struct redline_job *job, struct redline_err *err)
{
    int status = 0;
    pthread_mutex_lock(&e->lock);
    if (e->n_jobs - e->n_running >= e->n_queue)
        status = err_set(err, REDLINE_BUSY, "%d requests wait already, no more are taken", e->n_queue);
    else if (job->session && job->session->busy)
        status = err_set(err, REDLINE_BUSY, "the session's last request still runs");
    else {
        job->serial = ++e->last_serial;
        job->submit_ns = clock_ns();
        if (job->session) job->session->busy = true;
        e->jobs[e->n_jobs++] = job;
        pthread_cond_signal(&e->work);
    }
    pthread_mutex_unlock(&e->lock);
    return status;
}

static void free_job(struct redline_job *job)
{
    struct stream *s = &job->stream;
    pthread_cond_destroy(&s->news);
    pthread_mutex_destroy(&s->lock);
    mem_free(s->ids);
    mem_free(s->logprobs);
    mem_free(s->times);
    sampler_fini(&job->sampler);
    buf_free(&job->reader.text);
    mem_free(job->prompt);
    mem_free(job->pool);
    mem_free(job->vector);
    mem_free(job);
}

int redline_submit(struct redline_job **out, struct redline_engine *e, const struct redline_request *r,
                   struct redline_err *err)
{
    *out = NULL;
    if (r->kind > REDLINE_SCORE || r->pooling > REDLINE_POOL_NONE)
        return err_set(err, REDLINE_ARG, "a request of kind %d with pooling %d is not known", (int)r->kind,
                       (int)r->pooling);
    TRY(redline_model_can(e->source, r->kind, err));
    struct redline_job *job = mem_new(1, sizeof *job);
    if (!job) return err_memory(err, sizeof *job, "a request");
    job->engine = e;
    job->vocab = e->source->vocab;
    job->kind = r->kind;
    job->ignore_end = r->ignore_end;
    job->logprobs = r->logprobs || r->kind == REDLINE_SCORE;
    job->score_from = r->kind == REDLINE_SCORE ? r->score_from : 0;
    job->unscaled = r->unscaled;
    job->as_generated = r->as_generated;
    job->logits = r->logits;
    job->session = r->session;
    job->seq = -1;
    pthread_mutex_init(&job->stream.lock, NULL);
    pthread_cond_init(&job->stream.news, NULL);
    int status = fill_job(job, r, err);
    if (!status) status = enqueue(e, job, err);
    if (status)
        free_job(job);
    else
        *out = job;
    return status;
}

int job_pages(const struct redline_job *job)
{
    size_t n = job->n_prompt;
    if (job->n_most > 0) n += job->n_most - 1;
    return kv_pages_of((int)n);
}

/* ---- the engine's side of the stream ---------------------------------------------------------- */

/* Unlocks, and wakes the consumer if this is what it sleeps for. */
static void publish(struct redline_job *job, const struct redline_event *event)
{
    struct stream *s = &job->stream;
    bool wake = s->waiting == WAITING_NEWS || (s->waiting == WAITING_END && s->ended);
    if (wake) s->waiting = WAITING_NOT;
    if (wake) pthread_cond_signal(&s->news);
    const struct redline_engine *e = job->engine;
    struct redline_event copy = *event; /* after the end, the consumer may free the job */
    pthread_mutex_unlock(&s->lock);
    engine_emit(e, &copy);
}

void job_started(struct redline_job *job, uint64_t now)
{
    struct redline_event event = {.kind = REDLINE_EVENT_STARTED,
                                  .job = job->serial,
                                  .time_ns = now,
                                  .started = {now - job->submit_ns, job->n_prompt, job->n_cached}};
    job->start_ns = job->prefilled_ns = job->last_ns = now;
    pthread_mutex_lock(&job->stream.lock);
    job->stream.started = event;
    publish(job, &event);
}

void job_prefilled(struct redline_job *job, uint64_t now)
{
    struct redline_event event = {.kind = REDLINE_EVENT_PREFILL,
                                  .job = job->serial,
                                  .time_ns = now,
                                  .prefill = {job->n_fed, job->n_prompt}};
    job->prefilled_ns = job->last_ns = now;
    pthread_mutex_lock(&job->stream.lock);
    job->stream.prefill = event;
    publish(job, &event);
}

void job_push(struct redline_job *job, int32_t id, float logprob, uint64_t now)
{
    struct stream *s = &job->stream;
    struct redline_event event = {
        .kind = REDLINE_EVENT_TOKEN, .job = job->serial, .time_ns = now, .token = {.id = id, .logprob = logprob}};
    pthread_mutex_lock(&s->lock);
    s->ids[s->n] = id;
    s->logprobs[s->n] = logprob;
    s->times[s->n++] = now;
    publish(job, &event);
}

static struct redline_event embedding_event(const struct redline_job *job, uint64_t when)
{
    return (struct redline_event){
        .kind = REDLINE_EVENT_EMBEDDING,
        .job = job->serial,
        .time_ns = when,
        .embedding = {job->vector, (size_t)job->engine->model->h.embed_width, n_vectors(job), job->pooling}};
}

void job_embedded(struct redline_job *job, uint64_t now)
{
    struct redline_event event = embedding_event(job, now);
    pthread_mutex_lock(&job->stream.lock);
    job->stream.vector_ns = now;
    publish(job, &event);
}

void job_end(struct redline_job *job, enum redline_stop stop, uint64_t now)
{
    struct stream *s = &job->stream;
    bool ran = job->seq >= 0;
    struct redline_event event = {.kind = REDLINE_EVENT_DONE,
                                  .job = job->serial,
                                  .time_ns = now,
                                  .done = {.stop = stop,
                                           .n_prompt = job->n_prompt,
                                           .n_cached = job->n_cached,
                                           .n_generated = job->kind == REDLINE_GENERATE ? s->n : 0,
                                           .queued_ns = (ran ? job->start_ns : now) - job->submit_ns,
                                           .prefill_ns = job->prefilled_ns - job->start_ns,
                                           .decode_ns = job->last_ns - job->prefilled_ns,
                                           .n_decoded = job->n_decoded,
                                           .prefill_packed = job->prefill_packed,
                                           .n_decoded_packed = job->n_decoded_packed}};
    pthread_mutex_lock(&s->lock);
    s->done = event;
    s->ended = true;
    publish(job, &event);
}

void job_fail(struct redline_job *job, const struct redline_err *err, uint64_t now)
{
    struct redline_event event = {
        .kind = REDLINE_EVENT_FAILED, .job = job->serial, .time_ns = now, .sentence = err->message};
    pthread_mutex_lock(&job->stream.lock);
    job->stream.err = *err;
    job->stream.ended = true;
    publish(job, &event);
}

/* ---- the consumer's side ----------------------------------------------------------------------- */

static void wait_for(struct stream *s, enum waiting what)
{
    s->waiting = what;
    while (s->waiting != WAITING_NOT) pthread_cond_wait(&s->news, &s->lock);
}

/* The text of token i of the stream, appended to all that was there. */
static int read_token(struct redline_job *job, struct redline_event *event, size_t i, struct redline_err *err)
{
    struct stream *s = &job->stream;
    struct reader *r = &job->reader;
    size_t before = r->text.n;
    if (job->vocab) TRY(detok_feed(&r->detok, job->vocab, s->ids[i], 0, &r->text, err));
    r->n_read = i + 1;
    *event = (struct redline_event){
        .kind = REDLINE_EVENT_TOKEN,
        .job = job->serial,
        .time_ns = s->times[i],
        .token = {s->ids[i], s->logprobs[i], r->text.p + before, r->text.n - before}};
    return 0;
}

/* At the end: bytes of a code point that the answer broke off in the middle of.  True: there were some. */
static int read_rest(struct redline_job *job, struct redline_event *event, bool *some, struct redline_err *err)
{
    struct reader *r = &job->reader;
    size_t before = r->text.n;
    *some = false;
    if (r->flushed || !job->vocab) return 0;
    r->flushed = true;
    TRY(detok_flush(&r->detok, &r->text, err));
    *some = r->text.n > before;
    *event = (struct redline_event){.kind = REDLINE_EVENT_TOKEN,
                                    .job = job->serial,
                                    .time_ns = job->stream.done.time_ns,
                                    .token = {-1, NAN, r->text.p + before, r->text.n - before}};
    return 0;
}

/* The next event that is there already, in the order things happened; false: nothing new. */
static bool take_ready(struct redline_job *job, struct redline_event *event, size_t *token)
{
    struct stream *s = &job->stream;
    struct reader *r = &job->reader;
    *token = SIZE_MAX;
    if (!r->started && s->started.job) {
        r->started = true;
        *event = s->started;
    } else if (s->prefill.job && s->prefill.prefill.n_done > r->n_prefilled && r->n_read == 0) {
        r->n_prefilled = s->prefill.prefill.n_done;
        *event = s->prefill;
    } else if (r->n_read < s->n) {
        *token = r->n_read;
    } else if (s->vector_ns && !r->embedded) {
        r->embedded = true;
        *event = embedding_event(job, s->vector_ns);
    } else {
        return false;
    }
    return true;
}

int redline_next(struct redline_job *job, struct redline_event *event, struct redline_err *err)
{
    struct stream *s = &job->stream;
    size_t token;
    pthread_mutex_lock(&s->lock);
    bool ready = take_ready(job, event, &token);
    while (!ready && !s->ended) {
        wait_for(s, WAITING_NEWS);
        ready = take_ready(job, event, &token);
    }
    pthread_mutex_unlock(&s->lock); /* what was there stays as it is: reading it needs no lock */
    if (ready) return token == SIZE_MAX ? 0 : read_token(job, event, token, err);
    bool rest;
    TRY(read_rest(job, event, &rest, err));
    if (rest) return 0;
    if (s->err.code) {
        if (err) *err = s->err;
        return s->err.code;
    }
    *event = s->done;
    return 0;
}

int redline_wait(struct redline_job *job, struct redline_event *event, struct redline_err *err)
{
    struct stream *s = &job->stream;
    pthread_mutex_lock(&s->lock);
    if (!s->ended) wait_for(s, WAITING_END);
    pthread_mutex_unlock(&s->lock);
    do
        TRY(redline_next(job, event, err));
    while (event->kind != REDLINE_EVENT_DONE);
    return 0;
}

const char *redline_job_text(const struct redline_job *job)
{
    return job->reader.text.p;
}

const int32_t *redline_job_ids(const struct redline_job *job, size_t *n)
{
    *n = job->reader.n_read;
    return job->stream.ids;
}

const float *redline_job_logprobs(const struct redline_job *job, size_t *n)
{
    *n = job->reader.n_read;
    return job->stream.logprobs;
}

void redline_cancel(struct redline_job *job)
{
    atomic_store_explicit(&job->cancelled, true, memory_order_relaxed);
}

void redline_job_free(struct redline_job **out)
{
    struct redline_job *job = out ? *out : NULL;
    if (!job) return;
    redline_cancel(job);
    pthread_mutex_lock(&job->stream.lock);
    if (!job->stream.ended) wait_for(&job->stream, WAITING_END);
    pthread_mutex_unlock(&job->stream.lock);
    free_job(job);
    *out = NULL;
}
