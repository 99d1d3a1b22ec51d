/* cmd_embed.c - redline embed: a vector for every line, many lines in flight, written in their order. */
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base.h"
#include "clock.h"
#include "cmd.h"
#include "file.h"
#include "mem.h"
#include "placement.h"
#include "settings.h"
#include "texts.h"

enum {
    DEFAULT_SEQS = 64,
    AHEAD = 2,          /* texts that wait for each that runs: the engine never does */
    PAGE = 64,          /* tokens; a sequence's share of the cache is made of whole ones */
    SHOW_EVERY_NS = 100000000,
};

struct embed {
    /* options */
    const char *model_path, *file, *out_path, *prefix, *pooling, *normalize, *format, *type_k, *type_v;
    struct placement where;
    int n_threads, n_ctx, n_ubatch, n_seqs;
    bool truncate, skip_empty, exact, quiet;

    /* in progress */
    struct redline_model *model;
    struct redline_engine *engine;
    struct redline_file_facts facts;
    struct buf input;
    struct texts texts;
    struct redline_job **jobs;     /* [n_ahead] a ring: text i is in jobs[i % n_ahead] */
    size_t n_ahead, n_submitted, n_done;
    struct redline_embedding last; /* its numbers; the vector is gone */
    struct file_out *out;          /* NULL: standard output */
    struct buf row;
    struct cmd_progress progress;
    uint64_t start_ns, shown_ns;
};

/* ---- writing ----------------------------------------------------------------------------------- */

static int append_vector(struct buf *to, const float *x, size_t n, struct redline_err *err)
{
    for (size_t i = 0; i < n; i++) {
        char number[32];
        int length = snprintf(number, sizeof number, "%c%.9g", i ? ',' : '[', (double)x[i]);
        TRY(buf_append(to, number, (size_t)length, err));
    }
    return buf_append(to, "]", 1, err);
}

static int append_json(struct buf *to, const struct text *text, const struct redline_embedding *v,
                       struct redline_err *err)
{
    bool list = v->pooling == REDLINE_POOL_NONE;
    TRY(buf_printf(to, err, "{\"index\":%zu,\"n_tokens\":%zu,\"%s\":", text->index, text->n,
                   list ? "embeddings" : "embedding"));
    for (size_t i = 0; i < v->n_vectors; i++) {
        if (list) TRY(buf_append(to, i ? "," : "[", 1, err));
        TRY(append_vector(to, v->vector + i * v->n, v->n, err));
    }
    return buf_append_str(to, list ? STR("]}\n") : STR("}\n"), err);
}

static int write_vectors(struct embed *e, const struct text *text, const struct redline_embedding *v,
                         struct redline_err *err)
{
    size_t n = v->n * v->n_vectors;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v->vector[i]))
            return err_set(err, REDLINE_FORMAT, "the vector of line %zu holds %g, which is no number to go on with",
                           text->index + 1, (double)v->vector[i]);
    struct str bytes = {(const char *)v->vector, n * sizeof *v->vector};
    if (strcmp(e->format, "json") == 0) {
        e->row.n = 0;
        TRY(append_json(&e->row, text, v, err));
        bytes = buf_str(&e->row);
    }
    return e->out ? file_out_write(e->out, bytes.p, bytes.n, err) : cmd_write(bytes.p, bytes.n, err);
}

/* ---- the stream of texts ----------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum redline_pooling pooling;
} poolings[] = {
    {"mean", REDLINE_POOL_MEAN},
    {"cls", REDLINE_POOL_FIRST},
    {"last", REDLINE_POOL_LAST},
    {"none", REDLINE_POOL_NONE},
};

static enum redline_pooling pooling_named(const char *name)
{
    for (size_t i = 0; name && i < COUNT_OF(poolings); i++)
        if (strcmp(name, poolings[i].name) == 0) return poolings[i].pooling;
    return REDLINE_POOL_DEFAULT;
}

static const char *pooling_name(enum redline_pooling pooling)
{
    for (size_t i = 0; i < COUNT_OF(poolings); i++)
        if (pooling == poolings[i].pooling) return poolings[i].name;
    return "";
}

static int submit(struct embed *e, struct redline_err *err)
{
    size_t i = e->n_submitted;
    struct redline_request request = {.kind = REDLINE_EMBED,
                                      .ids = texts_ids(&e->texts, i),
                                      .n_ids = texts_at(&e->texts, i)->n,
                                      .pooling = pooling_named(e->pooling),
                                      .unscaled = strcmp(e->normalize, "none") == 0};
    TRY(redline_submit(&e->jobs[i % e->n_ahead], e->engine, &request, err));
    e->n_submitted++;
    return 0;
}

/* Waits for the oldest text in flight and writes what became of it. */
static int take(struct embed *e, struct redline_err *err)
{
    struct redline_job **job = &e->jobs[e->n_done % e->n_ahead];
    struct redline_event event = {0};
    int status = 0;
    if (cmd_stopped) redline_cancel(*job);
    while (!status && event.kind != REDLINE_EVENT_DONE) {
        status = redline_next(*job, &event, err);
        if (status || event.kind != REDLINE_EVENT_EMBEDDING) continue;
        e->last = event.embedding;
        status = write_vectors(e, texts_at(&e->texts, e->n_done), &e->last, err);
    }
    if (!status && cmd_stopped)
        status = err_set(err, REDLINE_CANCEL, "interrupted after %zu of %zu texts", e->n_done, e->texts.n_texts);
    if (status) return status;
    redline_job_free(job);
    e->n_done++;
    return 0;
}

static void show(struct embed *e)
{
    uint64_t now = clock_ns();
    if (now - e->shown_ns < SHOW_EVERY_NS) return;
    e->shown_ns = now;
    cmd_progress_show(&e->progress, "embedding", (double)e->n_done / (double)e->texts.n_texts);
}

static int stream(struct embed *e, struct redline_err *err)
{
    e->start_ns = e->shown_ns = clock_ns();
    while (e->n_done < e->texts.n_texts) {
        while (e->n_submitted < e->texts.n_texts && e->n_submitted < e->n_done + e->n_ahead) TRY(submit(e, err));
        TRY(take(e, err));
        show(e);
    }
    return 0;
}

/* ---- setting out ------------------------------------------------------------------------------- */

static int read_input(struct embed *e, struct redline_err *err)
{
    struct redline_engine_params probe = {.n_ctx = 1, .n_gpu_layers = "0"};
    struct redline_plan plan;
    TRY(redline_plan(e->model, &probe, &plan, err)); /* first of all, can this model be run? */
    struct texts_params params = {.prefix = e->prefix,
                                  .most_tokens = (size_t)(e->n_ctx ? e->n_ctx : plan.n_ctx_train),
                                  .truncate = e->truncate,
                                  .skip_empty = e->skip_empty};
    TRY(file_read(&e->input, e->file ? e->file : "-", err));
    int status = texts_read(&e->texts, e->model, buf_str(&e->input), &params, err);
    buf_free(&e->input);
    return status;
}

/* The context is what the longest text needs, and the cache what fills a step. */
static int open_engine(struct embed *e, struct redline_err *err)
{
    int longest = (int)e->texts.longest;
    int n_ubatch = e->facts.encoder ? MAX(e->n_ubatch, longest) : e->n_ubatch;
    int n_seqs = (int)MIN((size_t)MIN(e->n_seqs, n_ubatch), e->texts.n_texts);
    struct redline_engine_params params = {.n_threads = e->n_threads,
                                           .n_ctx = longest,
                                           .n_seqs = n_seqs,
                                           .n_cache = MAX(n_ubatch, longest) + n_seqs * PAGE,
                                           .n_ubatch = n_ubatch,
                                           .n_queue = AHEAD * n_seqs,
                                           .type_k = e->type_k,
                                           .type_v = e->type_v,
                                           .exact = e->exact,
                                           .listener = cmd_on_load,
                                           .user = &e->progress};
    e->n_ahead = (size_t)(AHEAD * n_seqs);
    e->jobs = mem_new(e->n_ahead, sizeof(struct redline_job *));
    if (!e->jobs) return err_memory(err, e->n_ahead * sizeof(struct redline_job *), "the texts in flight");
    TRY(placement_open(&e->engine, e->model, &params, &e->where, err));
    return e->out_path && strcmp(e->out_path, "-") != 0 ? file_out_new(&e->out, e->out_path, err) : 0;
}

static void print_measured(const struct embed *e)
{
    struct redline_engine_facts facts;
    char peak[32], cut[64] = "";
    double seconds = (double)(clock_ns() - e->start_ns) / 1e9;
    double n_tokens = (double)(e->texts.ids.n / sizeof(int32_t));
    redline_engine_facts(e->engine, &facts);
    str_bytes_text(facts.peak_rss_bytes, peak, sizeof peak);
    if (e->texts.n_truncated) snprintf(cut, sizeof cut, ", %zu cut to %zu", e->texts.n_truncated, e->texts.longest);
    fprintf(stderr,
            "load %.0f ms | %zu text%s (%.0f tokens%s) in %.2f s: %.1f texts/s, %.1f tok/s | pooling %s, %zu numbers "
            "| peak %s | %s, %d thread%s, %s kernels for %s\n",
            (double)facts.load_ns / 1e6, e->n_done, e->n_done == 1 ? "" : "s", n_tokens, cut, seconds,
            (double)e->n_done / seconds, n_tokens / seconds, pooling_name(e->last.pooling), e->last.n, peak, facts.cpu,
            facts.plan.n_threads, facts.plan.n_threads == 1 ? "" : "s", facts.kernel, facts.kernel_type);
}

static int run_all(struct embed *e, const char *const *words, int n_words, struct redline_err *err)
{
    const char *path;
    TRY(cmd_model_path(&path, e->model_path, words, n_words, "embed", err));
    TRY(placement_check(&e->where, err));
    TRY(redline_model_open(&e->model, path, err));
    redline_file_facts(e->model, &e->facts);
    TRY(read_input(e, err));
    if (e->texts.n_texts == 0) return err_set(err, REDLINE_ARG, "there is no text to embed");
    TRY(open_engine(e, err));
    TRY(stream(e, err));
    cmd_progress_clear(&e->progress);
    TRY(e->out ? file_out_finish(e->out, err) : cmd_flush(err));
    if (!e->quiet) print_measured(e);
    return 0;
}

static void free_all(struct embed *e)
{
    for (size_t i = 0; i < e->n_ahead && e->jobs; i++) redline_job_free(&e->jobs[i]);
    mem_free(e->jobs);
    redline_engine_close(&e->engine);
    redline_model_close(&e->model);
    file_out_free(&e->out);
    texts_free(&e->texts);
    buf_free(&e->input);
    buf_free(&e->row);
}

int cmd_embed(int argc, char **argv)
{
    struct embed e = {.n_seqs = DEFAULT_SEQS, .normalize = "l2", .format = "json"};
    struct settings set = {0};
    const struct opt options[] = {
        settings_opt(&set, SETTING_MODEL, &e.model_path),
        {"-f, --file", "FILE", OPT_STRING, &e.file, 0, 0, "read the texts from a file"},
        {"-o, --output", "FILE", OPT_STRING, &e.out_path, 0, 0, "where to write; it appears when it is complete"},
        {"--format", "json|f32", OPT_CHOICE, &e.format, 0, 0,
         "lines of JSON (json), or little-endian float32, row by row"},
        {"--prefix", "TEXT", OPT_STRING, &e.prefix, 0, 0, "stands before every line: 'search_query: '"},
        {"--pooling", "mean|cls|last|none", OPT_CHOICE, &e.pooling, 0, 0,
         "from tokens to a vector; none: a vector for each\n(what the file says)"},
        {"--normalize", "l2|none", OPT_CHOICE, &e.normalize, 0, 0, "vectors of length 1 (l2), or as they are"},
        {"--truncate", NULL, OPT_FLAG, &e.truncate, 0, 0, "cut lines that are too long"},
        {"--skip-empty", NULL, OPT_FLAG, &e.skip_empty, 0, 0, "leave empty lines out"},
        settings_opt(&set, SETTING_N_CTX, &e.n_ctx),
        settings_opt(&set, SETTING_N_THREADS, &e.n_threads),
        settings_opt(&set, SETTING_N_UBATCH, &e.n_ubatch),
        settings_opt(&set, SETTING_N_SEQS, &e.n_seqs),
        settings_opt(&set, SETTING_TYPE_K, &e.type_k),
        settings_opt(&set, SETTING_TYPE_V, &e.type_v),
        settings_opt(&set, SETTING_EXACT, &e.exact),
        SETTINGS_PLACEMENT(&set, &e.where),
        {"-q, --quiet", NULL, OPT_FLAG, &e.quiet, 0, 0, "nothing on standard error"},
    };
    const struct opt_command command = {
        "redline embed MODEL [options] < TEXTS",
        "Turns each line into a vector: one JSON object for every line, in their order, or raw float32 (--format\n"
        "f32).  \"index\" counts the input's lines from 0.  Ends with one line on standard error: texts and tokens\n"
        "per second, what they were pooled to, where it ran.",
        options, COUNT_OF(options),
        "A line gets the model's special tokens; those written in it are parsed.  The longest line allowed is what\n"
        "the model was trained for, or -c; an encoder's step (-ub) grows to the longest line that there is.\n"
        "Example: redline embed model.gguf --prefix 'search_query: ' -f questions.txt -o vectors.jsonl"};
    const char *words[1];
    struct redline_err err = {0};
    int n_words, exit_code;
    if (!settings_parse(&set, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    e.progress.wanted = isatty(STDERR_FILENO) && !e.quiet;
    cmd_catch_stop();
    int status = run_all(&e, words, n_words, &err);
    cmd_progress_clear(&e.progress);
    free_all(&e);
    settings_free(&set);
    return status ? cmd_fail(&err) : EXIT_FINE;
}
