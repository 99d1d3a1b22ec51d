/* loop.c - the engine's thread: plan, step, outcomes, and again.
 *
 * Everything that the model, the cache and the running requests hold belongs to this thread.  Others
 * reach it in three ways: the list of jobs (under the lock), a job's cancel flag, and calls that it
 * carries out between steps. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "clock.h"
#include "engine.h"
#include "fault.h"
#include "job.h"
#include "mem.h"
#include "outcome.h"

/* While somebody generates, the prompts of others may make a step this long. */
static const double BESIDE_NS = 150e6;

void engine_emit(const struct redline_engine *e, const struct redline_event *event)
{
    if (e->listener) e->listener(e->user, event);
}

void engine_warn(const struct redline_engine *e, const char *sentence)
{
    struct redline_event event = {.kind = REDLINE_EVENT_WARNING, .time_ns = clock_ns(), .sentence = sentence};
    engine_emit(e, &event);
}

/* ---- sequences and sessions ----------------------------------------------------------------- */

static int find_rest(const struct redline_engine *e, const struct redline_session *s)
{
    for (int i = 0; i < e->n_rests; i++)
        if (e->rests[i] == s) return i;
    return -1;
}

static void remove_rest(struct redline_engine *e, int i)
{
    e->n_rests--;
    memmove(e->rests + i, e->rests + i + 1, (size_t)(e->n_rests - i) * sizeof *e->rests);
}

static void release_seq(struct redline_engine *e, int seq)
{
    model_trim(e->model, seq, 0);
    e->seq_used[seq] = false;
}

/* Takes a session's sequence back, if it holds one. */
static void evict(struct redline_engine *e, struct redline_session *s)
{
    int i = find_rest(e, s);
    if (i < 0) return;
    release_seq(e, s->seq);
    s->seq = -1;
    s->n_ids = 0;
    remove_rest(e, i);
}

static void forget_session(struct redline_engine *e, void *session)
{
    evict(e, session);
}

static int take_seq(struct redline_engine *e)
{
    int seq = 0;
    while (e->seq_used[seq]) seq++; /* the plan has seen to it that there is one */
    e->seq_used[seq] = true;
    e->most_seqs = MAX(e->most_seqs, seq + 1);
    return seq;
}

/* How many of the job's first tokens the cache still holds; the last is always fed, for its outputs. */
static size_t cached_prefix(const struct redline_session *s, const struct redline_job *job)
{
    size_t n = 0, most = MIN(s->n_ids, job->n_prompt - 1);
    if (job->kind != REDLINE_GENERATE) return 0; /* the others want something of every token */
    while (n < most && s->ids[n] == job->prompt[n]) n++;
    return n;
}

static void start_job(struct redline_engine *e, struct redline_job *job, uint64_t now)
{
    struct redline_session *s = job->session;
    int rest = s ? find_rest(e, s) : -1;
    if (rest >= 0) {
        remove_rest(e, rest);
        job->seq = s->seq;
        job->n_cached = (size_t)model_keeps(e->model, job->seq, (int)cached_prefix(s, job));
        model_trim(e->model, job->seq, (int)job->n_cached);
    } else {
        job->seq = take_seq(e);
    }
    job->n_fed = job->n_cached;
    job->phase = SCHED_PREFILL;
    job_started(job, now);
}

/* The sequence goes to the session, which keeps what was fed, or back to the cache.  What an encoder has computed
 * of a beginning is not what another ending needs. */
static void part_from_seq(struct redline_engine *e, struct redline_job *job, uint64_t now)
{
    struct redline_session *s = job->session;
    if (!s || modelfile_encoder(e->source)) {
        release_seq(e, job->seq);
        return;
    }
    size_t n_held = job->n_fed + job->n_decoded, n_prompt = MIN(n_held, job->n_prompt);
    model_trim(e->model, job->seq, (int)n_held); /* a step that failed has left more behind */
    memcpy(s->ids, job->prompt, n_prompt * sizeof *s->ids);
    memcpy(s->ids + n_prompt, job->stream.ids, (n_held - n_prompt) * sizeof *s->ids);
    s->n_ids = n_held;
    s->seq = job->seq;
    s->last_used = now;
    e->rests[e->n_rests++] = s;
}

/* ---- the end of jobs ------------------------------------------------------------------------ */

/* Takes job i out of the list; the caller holds the lock.  Its session may be used again. */
static struct redline_job *remove_job(struct redline_engine *e, int i)
{
    struct redline_job *job = e->jobs[i];
    e->n_jobs--;
    if (i < e->n_running) e->n_running--;
    memmove(e->jobs + i, e->jobs + i + 1, (size_t)(e->n_jobs - i) * sizeof(struct redline_job *));
    if (job->session) job->session->busy = false;
    return job;
}

static void finish(struct redline_engine *e, int i, enum redline_stop stop, const struct redline_err *failure)
{
    struct redline_job *job = e->jobs[i];
    uint64_t now = clock_ns();
    if (i < e->n_running) part_from_seq(e, job, now);
    pthread_mutex_lock(&e->lock);
    remove_job(e, i);
    pthread_mutex_unlock(&e->lock);
    if (failure)
        job_fail(job, failure, now);
    else
        job_end(job, stop, now);
}

/* Jobs whose flag is set, waiting or running, and at the end of the engine all of them. */
static void finish_cancelled(struct redline_engine *e, int n_jobs, bool all)
{
    for (int i = n_jobs; i-- > 0;)
        if (all || atomic_load_explicit(&e->jobs[i]->cancelled, memory_order_relaxed))
            finish(e, i, REDLINE_STOP_CANCEL, NULL);
}

static void fail_running(struct redline_engine *e, const struct redline_err *failure)
{
    for (int i = e->n_running; i-- > 0;) finish(e, i, REDLINE_STOP_CANCEL, failure);
}

int redline_session_new(struct redline_session **out, struct redline_engine *e, struct redline_err *err)
{
    size_t n_ctx = (size_t)e->plan.n_ctx;
    struct redline_session *s = *out = mem_new(1, sizeof *s);
    int32_t *ids = mem_new(n_ctx, sizeof *ids);
    if (!s || !ids) {
        mem_free(s);
        mem_free(ids);
        *out = NULL;
        return err_memory(err, n_ctx * sizeof *ids, "a session");
    }
    *s = (struct redline_session){.engine = e, .seq = -1, .ids = ids};
    return 0;
}

void redline_session_free(struct redline_session **session)
{
    struct redline_session *s = session ? *session : NULL;
    if (!s) return;
    engine_call(s->engine, forget_session, s);
    mem_free(s->ids);
    mem_free(s);
    *session = NULL;
}

/* ---- one step -------------------------------------------------------------------------------- */

static struct sched_budget budget(const struct redline_engine *e)
{
    const struct model_params *p = &e->model->params;
    double beside = e->prefill_token_ns > 0 ? BESIDE_NS / e->prefill_token_ns : 16;
    return (struct sched_budget){.n_tokens = p->n_ubatch,
                                 .n_beside = (int)MIN(MAX(beside, 1.0), (double)p->n_ubatch),
                                 .n_outputs = p->n_outputs,
                                 .whole = modelfile_encoder(e->source),
                                 .n_seqs = p->n_seqs,
                                 .n_pages = e->model->kv.n_pages};
}

static void describe_job(const struct redline_engine *e, struct sched_job *to, const struct redline_job *job)
{
    bool waits = job->phase == SCHED_WAITING;
    int rest = waits && job->session ? find_rest(e, job->session) : -1;
    size_t n_fed = rest >= 0 ? cached_prefix(job->session, job) : job->n_fed;
    *to = (struct sched_job){.phase = job->phase,
                             .n_todo = job->phase == SCHED_DECODE ? 1 : (int)(job->n_prompt - n_fed),
                             .all_outputs = job->kind == REDLINE_SCORE,
                             .n_pages = job_pages(job),
                             .rest = rest,
                             .n_silent = (int)(job->score_from - MIN(job->score_from, n_fed))};
}

/* The plan of the next step, carried out as far as sequences are concerned. */
static void plan_step(struct redline_engine *e, int n_jobs)
{
    struct sched_budget b = budget(e);
    for (int i = 0; i < n_jobs; i++) describe_job(e, &e->sched_jobs[i], e->jobs[i]);
    for (int i = 0; i < e->n_rests; i++)
        e->sched_rests[i] = (struct sched_rest){e->rests[i]->last_used, kv_pages_of((int)e->rests[i]->n_ids)};
    sched_plan(&e->sched, e->sched_jobs, n_jobs, e->sched_rests, e->n_rests, &b);

    for (int i = e->n_rests; i-- > 0;)
        if (e->sched.evict[i]) evict(e, e->rests[i]);
    uint64_t now = clock_ns();
    for (int i = 0; i < e->sched.n_admit; i++) start_job(e, e->jobs[e->n_running + i], now);
}

static int fill_batch(struct redline_engine *e, struct redline_err *err)
{
    for (int i = 0; i < e->n_running; i++) {
        struct redline_job *job = e->jobs[i];
        for (int k = 0; k < e->sched.n_feed[i]; k++) {
            bool decode = job->phase == SCHED_DECODE;
            size_t at = job->n_fed + (size_t)k;
            TRY(model_add(e->model, job->seq, decode ? job->next : job->prompt[at],
                          decode ? MODEL_LOGITS | MODEL_GENERATED : outcome_wanted(job, at), err));
        }
    }
    return 0;
}

/* A step costs a share for each prompt token, once enough of them hide the rest.  One that also packed weights says
 * nothing of those that follow. */
static void learn_speed(struct redline_engine *e, uint64_t step_ns)
{
    int n_prompt = 0, n = 0;
    for (int i = 0; i < e->n_running; i++) {
        n += e->sched.n_feed[i];
        if (e->jobs[i]->phase == SCHED_PREFILL) n_prompt += e->sched.n_feed[i];
    }
    if (n_prompt < 8 || model_packed(e->model)) return;
    double ns = (double)step_ns / n;
    e->prefill_token_ns = e->prefill_token_ns > 0 ? 0.75 * e->prefill_token_ns + 0.25 * ns : ns;
}

/* What every running job makes of its rows. */
static void share_outcomes(struct redline_engine *e)
{
    struct outcome_rows rows = {.logits = e->model->logits,
                                .states = e->model->states,
                                .n_vocab = e->model->h.n_vocab,
                                .width = e->model->h.embed_width,
                                .packed = model_packed(e->model),
                                .candidates = e->candidates};
    int i = 0, n_running = e->n_running;
    for (int planned = 0; planned < n_running; planned++) {
        enum redline_stop stop;
        bool ends = e->sched.n_feed[planned] > 0 &&
                    outcome_take(e->jobs[i], (size_t)e->sched.n_feed[planned], &rows, &stop);
        if (ends)
            finish(e, i, stop, NULL);
        else
            i++;
    }
}

/* Nothing is done in another way silently; each device says so once. */
static void tell_notes(struct redline_engine *e)
{
    char sentence[320];
    for (int i = 1; i < e->plan.n_devices; i++) {
        const char *note = e->devices[i] && !e->noted[i] ? e->devices[i]->ops->note(e->devices[i]) : "";
        if (!*note) continue;
        e->noted[i] = true;
        snprintf(sentence, sizeof sentence, "%s: %s", e->plan.devices[i].label, note);
        engine_warn(e, sentence);
    }
}

static void run_step(struct redline_engine *e)
{
    struct redline_err err = {0};
    int status = fill_batch(e, &err);
    if (status) model_drop(e->model);
    uint64_t start = clock_ns();
    int used = e->model->kv.n_pages - e->model->kv.n_free;
    e->most_pages = MAX(e->most_pages, used);
    if (!status) status = model_run(e->model, &err);
    if (status) {
        fail_running(e, &err);
        return;
    }
    learn_speed(e, clock_ns() - start);
    tell_notes(e);
    share_outcomes(e);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void carry_out_call(struct redline_engine *e)
{
    struct call call = e->call;
    pthread_mutex_unlock(&e->lock);
    call.fn(e, call.user);
    pthread_mutex_lock(&e->lock);
    e->call = (struct call){0};
    e->n_calls++;
    pthread_cond_broadcast(&e->called);
}

/* Nothing to do: the backend may put its things in order. */
static void rest(struct redline_engine *e)
{
    if (e->settled) {
        pthread_cond_wait(&e->work, &e->lock);
        return;
    }
    pthread_mutex_unlock(&e->lock);
    bool settled = model_settle(e->model);
    pthread_mutex_lock(&e->lock);
    e->settled = settled;
    if (settled) pthread_cond_broadcast(&e->called);
}

void redline_engine_settle(struct redline_engine *e)
{
    pthread_mutex_lock(&e->lock);
    while (!e->settled) pthread_cond_wait(&e->called, &e->lock);
    pthread_mutex_unlock(&e->lock);
}

static void *engine_main(void *user)
{
    struct redline_engine *e = user;
    pthread_mutex_lock(&e->lock);
    for (;;) {
        if (e->call.fn) carry_out_call(e);
        int n_jobs = e->n_jobs;
        bool quit = e->quit;
        if (n_jobs == 0 && quit) break;
        if (n_jobs == 0) {
            if (!e->call.fn) rest(e);
            continue;
        }
        pthread_mutex_unlock(&e->lock);

        finish_cancelled(e, n_jobs, quit);

        pthread_mutex_lock(&e->lock);
        n_jobs = e->n_jobs;
        pthread_mutex_unlock(&e->lock);
        if (n_jobs > 0 && !quit) {
            plan_step(e, n_jobs);
            pthread_mutex_lock(&e->lock);
            e->n_running += e->sched.n_admit;
            pthread_mutex_unlock(&e->lock);
            run_step(e);
        }
        pthread_mutex_lock(&e->lock);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

void engine_call(struct redline_engine *e, void (*fn)(struct redline_engine *e, void *user), void *user)
{
    pthread_mutex_lock(&e->lock);
    while (e->call.fn) pthread_cond_wait(&e->called, &e->lock);
    e->call = (struct call){fn, user};
    uint64_t before = e->n_calls;
    pthread_cond_signal(&e->work);
    while (e->n_calls == before) pthread_cond_wait(&e->called, &e->lock);
    pthread_mutex_unlock(&e->lock);
}

int engine_start(struct redline_engine *e, struct redline_err *err)
{
    int failure = fault_hits(FAULT_THREAD) ? EAGAIN : pthread_create(&e->thread, NULL, engine_main, e);
    if (failure) return err_set(err, REDLINE_DEVICE, "the engine's thread cannot be started: %s", strerror(failure));
    e->has_thread = true;
    return 0;
}

void engine_stop(struct redline_engine *e)
{
    if (!e->has_thread) return;
    pthread_mutex_lock(&e->lock);
    e->quit = true;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
}
