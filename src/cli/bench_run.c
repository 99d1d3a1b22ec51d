/* bench_run.c - an engine, a filled cache, repetitions. */
#include "bench_run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "cpu.h"
#include "mem.h"
#include "rng.h"

struct bench {
    struct bench_result *out;
    const struct bench_case *c;
    struct redline_engine *engine;
    struct redline_session *session; /* holds the depth between repetitions; NULL without one */
    int32_t *ids;                    /* [n_depth + n_prompt or 1] */
    size_t n_ids;
};

static int open_engine(struct bench *b, const struct redline_model *model, const struct bench_options *o,
                       struct redline_err *err)
{
    const struct bench_case *c = b->c;
    struct redline_engine_params params = {.n_threads = c->n_threads,
                                           .n_ctx = c->n_depth + MAX(c->n_prompt, 1) + c->n_gen,
                                           .n_ubatch = MIN(c->n_batch, c->n_ubatch),
                                           .type_k = c->type_k,
                                           .type_v = c->type_v,
                                           .exact = o->exact,
                                           .listener = o->listener,
                                           .user = o->user};
    TRY(placement_open(&b->engine, model, &params, &o->where, err));
    redline_engine_settle(b->engine);
    return c->n_depth ? redline_session_new(&b->session, b->engine, err) : 0;
}

static int make_ids(struct bench *b, struct redline_err *err)
{
    struct rng rng;
    size_t n_vocab = redline_n_vocab(b->engine);
    b->n_ids = (size_t)(b->c->n_depth + MAX(b->c->n_prompt, 1));
    b->ids = mem_new(b->n_ids, sizeof *b->ids);
    if (!b->ids) return err_memory(err, b->n_ids * sizeof *b->ids, "a prompt");
    rng_seed(&rng, 1);
    for (size_t i = 0; i < b->n_ids; i++) b->ids[i] = (int32_t)rng_below(&rng, n_vocab);
    return 0;
}

/* One request over the first n ids. */
static int request(const struct bench *b, size_t n, int n_predict, struct redline_event *done,
                   struct redline_err *err)
{
    struct redline_job *job;
    struct redline_request r = {.session = b->session,
                                .ids = b->ids,
                                .n_ids = n,
                                .n_predict = n_predict,
                                .ignore_end = true};
    TRY(redline_submit(&job, b->engine, &r, err));
    int status;
    do { /* awake for every token, as whoever shows them is */
        status = redline_next(job, done, err);
    } while (!status && done->kind != REDLINE_EVENT_DONE);
    redline_job_free(&job);
    return status;
}

/* The next repetition goes on where the depth ends, with another token than the last one had there. */
static int repeat(struct bench *b, double *sample_ns, struct redline_err *err)
{
    const struct bench_case *c = b->c;
    struct redline_event done;
    int32_t *next = &b->ids[c->n_depth];
    *next = (int32_t)(((size_t)*next + 1) % redline_n_vocab(b->engine));
    TRY(request(b, b->n_ids, c->n_gen ? c->n_gen + 1 : 0, &done, err)); /* the last token is not fed */
    if (done.done.n_cached != (size_t)c->n_depth || done.done.n_decoded != (size_t)c->n_gen)
        return err_set(err, REDLINE_DEVICE, "%zu tokens were in the cache instead of %d, %zu decoded instead of %d",
                       done.done.n_cached, c->n_depth, done.done.n_decoded, c->n_gen);
    *sample_ns = (c->n_prompt ? (double)done.done.prefill_ns : 0) + (c->n_gen ? (double)done.done.decode_ns : 0);
    return 0;
}

/* The sum of what n tokens attend to, the first of them at position `at`. */
static double attended(double at, double n)
{
    return n * (at + 1) + n * (n - 1) / 2;
}

/* The same where none sees more than the last n_window. */
static double attended_within(double at, double n, double n_window)
{
    if (n_window <= 0) return 0;
    double whole = fmin(n, fmax(0, n_window - at - 1)); /* tokens that still see all */
    return attended(at, whole) + (n - whole) * n_window;
}

static void count_work(const struct bench *b)
{
    const struct bench_case *c = b->c;
    const struct redline_plan *p = &b->out->engine.plan;
    double n_timed = c->n_prompt + c->n_gen, n_outputs = c->n_gen + (c->n_prompt > 0);
    double at = c->n_depth + (c->n_prompt ? 0 : 1);
    double kv = attended(at, n_timed), near = attended_within(at, n_timed, p->n_window);
    b->out->ops = n_timed * (double)(p->token_ops - p->kept_ops) + n_outputs * (double)p->kept_ops +
                  n_outputs * (double)p->head_ops + kv * (double)p->kv_token_ops +
                  near * (double)p->kv_window_token_ops;
    b->out->bytes = c->n_prompt ? NAN
                                : n_timed * (double)p->token_bytes + kv * (double)p->kv_token_bytes +
                                      near * (double)p->kv_window_token_bytes;
}

static const char *keep_text(char own[16], const char *text)
{
    snprintf(own, 16, "%s", text);
    return own;
}

static void look_at_engine(const struct bench *b)
{
    struct bench_result *out = b->out;
    redline_engine_facts(b->engine, &out->engine);
    snprintf(out->cpu, sizeof out->cpu, "%s", out->engine.cpu);
    snprintf(out->features, sizeof out->features, "%s", out->engine.features);
    out->engine.cpu = out->engine.features = out->engine.kernel = NULL;
    placement_proof(b->engine, &out->engine.plan, out->placement, sizeof out->placement);
    for (size_t i = 0; i < BENCH_MOST_KERNELS && redline_kernel_at(b->engine, i, &out->kernels[i]); i++) {
        struct redline_kernel_facts *k = &out->kernels[i];
        k->kernel = keep_text(out->tables[i][0], k->kernel);
        k->text_kernel = keep_text(out->tables[i][1], k->text_kernel);
        out->n_kernels++;
    }
}

static int read_memory(const struct bench *b, struct redline_err *err)
{
    double bandwidth;
    char why[CMD_WHY];
    struct bench_result *out = b->out;
    TRY(cmd_bandwidth(b->engine, &bandwidth, why, err));
    if (!isnan(out->bandwidth) && *why) return 0;
    out->bandwidth = fmax(out->bandwidth, bandwidth);
    memcpy(out->bandwidth_missing, why, sizeof why);
    return 0;
}

static int run_test(struct bench *b, const struct bench_options *o, struct redline_err *err)
{
    double unused;
    struct redline_event done;
    TRY(make_ids(b, err));
    uint64_t peak_open = cpu_peak_rss_bytes();
    TRY(read_memory(b, err));
    cpu_reset_peak_rss();
    if (b->c->n_depth) TRY(request(b, (size_t)b->c->n_depth, 0, &done, err));
    for (int i = o->no_warmup ? 0 : -1; i < o->n_repetitions; i++) {
        if (o->progress) o->progress(o->user, i);
        TRY(repeat(b, i < 0 ? &unused : &b->out->samples_ns[b->out->n_samples++], err));
    }
    look_at_engine(b);
    b->out->peak_rss_bytes = MAX(peak_open, cpu_peak_rss_bytes());
    count_work(b);
    return read_memory(b, err);
}

int bench_run(struct bench_result *out, const struct redline_model *model, const struct bench_case *c,
              const struct bench_options *options, struct redline_err *err)
{
    struct bench b = {.out = out, .c = c};
    *out = (struct bench_result){.asked = *c, .exact = options->exact, .bandwidth = NAN};
    clock_utc(out->started, false);
    redline_file_facts(model, &out->file);
    cpu_reset_peak_rss();
    int status = open_engine(&b, model, options, err);
    if (!status) status = run_test(&b, options, err);
    redline_session_free(&b.session);
    redline_engine_close(&b.engine);
    mem_free(b.ids);
    return status;
}
