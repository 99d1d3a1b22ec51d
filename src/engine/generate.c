/* generate.c - one request from its prompt to its end, and logits of given tokens.
 *
 * prompt -> ids -> batches of at most n_ubatch (only the last token's logits are wanted) -> sampler ->
 * token -> text out through the listener -> the token alone as the next batch, and so on. */
#include "base.h"
#include "clock.h"
#include "engine.h"
#include "mem.h"
#include "sampler.h"

struct run { /* one request in progress */
    struct redline_engine *e;
    const struct redline_request *request;
    const struct vocab *vocab; /* NULL: the model has none, tokens have no text */
    struct sampler sampler;
    struct detok detok;
    struct buf text;   /* of the token that is being reported */
    const float *logits;
    uint64_t start_ns, prefilled_ns, last_ns;
    size_t n_prompt, n_generated, n_decoded;
    bool cancelled;
};

static void emit(struct run *r, const struct redline_event *event)
{
    if (r->request->listener && r->request->listener(r->request->user, event)) r->cancelled = true;
}

static int run_batch(struct redline_engine *e, const float **logits, struct redline_err *err)
{
    int used = e->model->kv.n_pages - e->model->kv.n_free;
    e->most_pages = MAX(e->most_pages, used);
    return model_run(e->model, logits, err);
}

static int prefill(struct run *r, const int32_t *ids, struct redline_err *err)
{
    size_t n_ubatch = (size_t)r->e->plan.n_ubatch;
    for (size_t i = 0; i < r->n_prompt && !r->cancelled; i++) {
        bool last = i + 1 == r->n_prompt;
        TRY(model_add(r->e->model, 0, ids[i], last, err));
        sampler_accept(&r->sampler, ids[i]);
        if (!last && (i + 1) % n_ubatch) continue;
        TRY(run_batch(r->e, &r->logits, err));
        struct redline_event event = {.kind = REDLINE_EVENT_PREFILL, .prefill = {i + 1, r->n_prompt}};
        emit(r, &event);
    }
    r->prefilled_ns = r->last_ns = clock_ns();
    return 0;
}

static int report_token(struct run *r, int32_t id, float logprob, bool last, struct redline_err *err)
{
    r->text.n = 0;
    if (r->vocab) TRY(detok_feed(&r->detok, r->vocab, id, 0, &r->text, err));
    if (r->vocab && last) TRY(detok_flush(&r->detok, &r->text, err));
    struct redline_event event = {
        .kind = REDLINE_EVENT_TOKEN,
        .token = {id, r->text.p ? r->text.p : "", r->text.n, logprob}};
    emit(r, &event);
    return 0;
}

static int decode(struct run *r, enum redline_stop *stop, struct redline_err *err)
{
    int n_predict = r->request->n_predict;
    *stop = REDLINE_STOP_CANCEL;
    while (!r->cancelled) {
        if (n_predict >= 0 && r->n_generated >= (size_t)n_predict) return *stop = REDLINE_STOP_LENGTH, 0;
        float logprob;
        int32_t id = sampler_choose(&r->sampler, r->logits, &logprob);
        r->last_ns = clock_ns();
        if (!r->request->ignore_end && r->vocab && vocab_is_end(r->vocab, id))
            return *stop = REDLINE_STOP_END, 0;
        sampler_accept(&r->sampler, id);
        r->n_generated++;
        bool last = n_predict >= 0 && r->n_generated == (size_t)n_predict;
        bool full = r->n_prompt + r->n_generated > (size_t)r->e->plan.n_ctx;
        TRY(report_token(r, id, logprob, last || full, err));
        if (full) return *stop = REDLINE_STOP_CONTEXT, 0;
        if (last) return *stop = REDLINE_STOP_LENGTH, 0;
        if (r->cancelled) break;
        TRY(model_add(r->e->model, 0, id, true, err));
        TRY(run_batch(r->e, &r->logits, err));
        r->n_decoded++;
    }
    return 0;
}

/* A code point that the answer broke off in the middle of. */
static int report_rest(struct run *r, struct redline_err *err)
{
    r->text.n = 0;
    if (!r->vocab) return 0;
    TRY(detok_flush(&r->detok, &r->text, err));
    if (r->text.n == 0) return 0;
    struct redline_event event = {.kind = REDLINE_EVENT_TOKEN,
                                  .token = {-1, r->text.p, r->text.n, 0}};
    emit(r, &event);
    return 0;
}

static int run_request(struct run *r, const int32_t *ids, struct redline_err *err)
{
    enum redline_stop stop;
    if (r->n_prompt == 0) return err_set(err, REDLINE_ARG, "the prompt is empty");
    if (r->n_prompt > (size_t)r->e->plan.n_ctx)
        return err_set(err, REDLINE_ARG, "the prompt has %zu tokens, the context holds %d", r->n_prompt,
                       r->e->plan.n_ctx);
    model_trim(r->e->model, 0, 0);
    TRY(sampler_init(&r->sampler, &r->request->sampling, r->e->model->h.n_vocab, r->e->plan.n_ctx + 1, err));
    TRY(buf_reserve(&r->text, 4096, err)); /* no token's text is longer: nothing grows later */
    if (r->vocab) detok_init(&r->detok, r->vocab, false);
    r->start_ns = clock_ns();
    TRY(prefill(r, ids, err));
    TRY(decode(r, &stop, err));
    TRY(report_rest(r, err));
    struct redline_event event = {.kind = REDLINE_EVENT_DONE,
                                  .done = {.stop = stop,
                                           .n_prompt = r->n_prompt,
                                           .n_generated = r->n_generated,
                                           .prefill_ns = r->prefilled_ns - r->start_ns,
                                           .decode_ns = r->last_ns - r->prefilled_ns,
                                           .n_decoded = r->n_decoded}};
    emit(r, &event);
    return 0;
}

int redline_generate(struct redline_engine *e, const struct redline_request *request,
                     struct redline_err *err)
{
    struct run r = {.e = e, .request = request, .vocab = e->source->vocab};
    const int32_t *ids = request->ids;
    int32_t *own = NULL;
    r.n_prompt = request->n_ids;
    int status = 0;
    if (request->text) {
        status = redline_tokenize(e->source, request->text, request->n_bytes,
                                  REDLINE_ADD_SPECIAL | REDLINE_PARSE_SPECIAL, &own, &r.n_prompt, err);
        ids = own;
    }
    if (!status) status = run_request(&r, ids, err);
    e->model->step.batch.n_tokens = e->model->step.batch.n_outputs = 0;
    sampler_fini(&r.sampler);
    buf_free(&r.text);
    mem_free(own);
    return status;
}

int redline_logits(struct redline_engine *e, const int32_t *ids, size_t n_ids,
                   int (*row)(void *user, const float *logits, size_t n_vocab, struct redline_err *err),
                   void *user, struct redline_err *err)
{
    size_t n_vocab = (size_t)e->model->h.n_vocab;
    size_t n_batch = (size_t)MIN(e->plan.n_ubatch, e->model->params.n_outputs);
    model_trim(e->model, 0, 0);
    for (size_t i = 0; i < n_ids; i += n_batch) {
        size_t n = MIN(n_batch, n_ids - i);
        const float *logits;
        for (size_t j = 0; j < n; j++) TRY(model_add(e->model, 0, ids[i + j], true, err));
        TRY(run_batch(e, &logits, err));
        for (size_t j = 0; j < n; j++) TRY(row(user, logits + j * n_vocab, n_vocab, err));
    }
    return 0;
}
