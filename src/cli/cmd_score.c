/* cmd_score.c - redline score: how well a model predicts a text, alone and against a reference. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "chunks.h"
#include "clock.h"
#include "cmd.h"
#include "mem.h"
#include "placement.h"
#include "score_print.h"
#include "score_run.h"
#include "settings.h"

enum { DEFAULT_CTX = 512, MOST_LANES = 256 };

struct score {
    /* options */
    const char *model_path, *text_path, *reference_path, *save_path, *type_k, *type_v;
    struct placement where;
    int n_ctx, n_threads, n_batch, n_ubatch, n_chunks;
    bool exact, special, json, quiet;

    /* in progress */
    struct redline_model *model, *reference;
    struct score_run run, reference_run;
    struct score_record record; /* .ids NULL: there is none */
    struct file_out *save;
    struct buf text;
    struct score_frame frame;
    int32_t *ids;               /* of the frame, owned */
    struct score_columns columns;
    double nll_sum;
    struct cmd_progress progress;
    size_t n_done;              /* tokens of the forward passes before the one that runs */
    int shown_percent;
};

/* ---- what is scored ------------------------------------------------------------------------------ */

static int make_frame(const struct score *s, const struct redline_model *model, struct score_frame *out, int32_t **ids,
                      struct redline_err *err)
{
    struct chunks chunks;
    TRY(chunks_make(&chunks, model, buf_str(&s->text), s->n_ctx, s->n_chunks, s->special, err));
    *out = (struct score_frame){.n_ctx = chunks.n_ctx, .n_chunks = chunks.n_chunks, .ids = chunks.ids};
    *ids = chunks.ids;
    return 0;
}

/* ---- opening ------------------------------------------------------------------------------------- */

static struct redline_engine_params engine_params(struct score *s)
{
    int n_lanes = MIN(MAX(s->n_batch / s->n_ctx, 1), MOST_LANES);
    return (struct redline_engine_params){.n_threads = s->n_threads,
                                          .n_seqs = MIN(n_lanes, s->frame.n_chunks),
                                          .n_ubatch = MIN(s->n_batch, s->n_ubatch),
                                          .type_k = s->type_k,
                                          .type_v = s->type_v,
                                          .exact = s->exact,
                                          .listener = cmd_on_load,
                                          .user = &s->progress};
}

static int open_reference_model(struct score *s, struct redline_err *err)
{
    struct score_frame frame;
    int32_t *ids = NULL;
    TRY(redline_model_open(&s->reference, s->reference_path, err));
    int status = make_frame(s, s->reference, &frame, &ids, err);
    if (!status) status = score_frame_matches(&frame, &s->frame, err);
    redline_free(ids);
    if (status) return status;
    struct redline_engine_params params = engine_params(s);
    return score_run_open(&s->reference_run, s->reference, &params, &s->where, &s->frame, true, err);
}

/* The reference first: what cannot be compared shows before this model is loaded. */
static int open_reference(struct score *s, struct redline_err *err)
{
    bool is_record;
    TRY(score_is_record(&is_record, s->reference_path, err));
    if (!is_record) return open_reference_model(s, err);
    TRY(score_record_open(&s->record, s->reference_path, err));
    TRY(score_frame_matches(&s->record.frame, &s->frame, err));
    s->frame.n_vocab = s->record.frame.n_vocab;
    return 0;
}

static int open_save(struct score *s, struct redline_err *err)
{
    char made[SCORE_MOST_MADE];
    struct redline_engine_facts facts;
    const char *slash = strrchr(s->model_path, '/');
    redline_engine_facts(s->run.engine, &facts);
    snprintf(made, sizeof made, "%.300s, %s keys, %s values%s", slash ? slash + 1 : s->model_path, facts.plan.type_k,
             facts.plan.type_v, s->exact ? ", exact" : "");
    return score_record_new(&s->save, s->save_path, &s->frame, made, err);
}

static int make_columns(struct score *s, struct redline_err *err)
{
    struct score_columns *c = &s->columns;
    size_t n = (size_t)s->frame.n_chunks * chunks_positions(s->frame.n_ctx);
    c->nll = mem_new(n, sizeof *c->nll);
    c->reference_nll = mem_new(s->reference_path ? n : 0, sizeof *c->reference_nll);
    c->kl = mem_new(s->reference_path ? n : 0, sizeof *c->kl);
    return c->nll && c->reference_nll && c->kl ? 0 : err_memory(err, n * 3 * sizeof *c->nll, "the figures");
}

static int open_all(struct score *s, struct redline_err *err)
{
    TRY(redline_model_open(&s->model, s->model_path, err));
    TRY(make_frame(s, s->model, &s->frame, &s->ids, err));
    if (s->reference_path) TRY(open_reference(s, err));
    struct redline_engine_params params = engine_params(s);
    TRY(score_run_open(&s->run, s->model, &params, &s->where, &s->frame, s->reference_path || s->save_path, err));
    if (s->save_path) TRY(open_save(s, err));
    return make_columns(s, err);
}

static void close_all(struct score *s)
{
    file_out_free(&s->save);
    score_run_close(&s->run);
    score_run_close(&s->reference_run);
    redline_model_close(&s->model);
    redline_model_close(&s->reference);
    score_record_close(&s->record);
    redline_free(s->ids);
    buf_free(&s->text);
    mem_free(s->columns.nll);
    mem_free(s->columns.reference_nll);
    mem_free(s->columns.kl);
}

/* ---- scoring ------------------------------------------------------------------------------------- */

/* A percent at a time, with the perplexity so far. */
static bool show_progress(void *user, size_t n_tokens)
{
    struct score *s = user;
    double n_all = (double)s->frame.n_chunks * s->frame.n_ctx * (s->reference_run.engine ? 2 : 1);
    double share = (double)(s->n_done + n_tokens) / n_all;
    char what[64] = "scoring";
    if (s->columns.n > 0)
        snprintf(what, sizeof what, "scoring, perplexity %.4f so far,", exp(s->nll_sum / (double)s->columns.n));
    if ((int)(100 * share) != s->shown_percent) cmd_progress_show(&s->progress, what, share);
    s->shown_percent = (int)(100 * share);
    return cmd_stopped;
}

/* Position i of all, whose row of logits lies at `row` of the lane. */
static void compare(struct score *s, int lane, size_t row, size_t i)
{
    struct score_columns *c = &s->columns;
    size_t n_vocab = (size_t)s->frame.n_vocab;
    const float *logits = score_run_rows(&s->run, lane) + row * n_vocab;
    struct score_top top;
    int32_t best;
    if (s->record.ids) {
        score_record_at(&s->record, i, &top);
        c->reference_nll[i] = -(double)top.next;
        c->kl[i] = score_kl_top(&top, logits, n_vocab);
        best = top.ids[0];
    } else {
        const float *reference = score_run_rows(&s->reference_run, lane) + row * n_vocab;
        c->reference_nll[i] = -(double)score_run_logprobs(&s->reference_run, lane)[row];
        c->kl[i] = score_kl(reference, logits, n_vocab);
        best = score_best(reference, n_vocab);
    }
    c->n_same += best == score_best(logits, n_vocab);
}

static int keep(struct score *s, int lane, size_t row, float logprob, struct redline_err *err)
{
    struct score_top top;
    size_t n_vocab = (size_t)s->frame.n_vocab;
    score_top(&top, score_run_rows(&s->run, lane) + row * n_vocab, n_vocab);
    top.next = MIN(logprob, 0);
    return score_record_add(s->save, &top, err);
}

static int take_chunk(struct score *s, int chunk, int lane, struct redline_err *err)
{
    struct score_columns *c = &s->columns;
    const float *logprobs = score_run_logprobs(&s->run, lane);
    for (size_t row = 0; row < chunks_positions(s->frame.n_ctx); row++) {
        size_t i = c->n++;
        c->nll[i] = -(double)logprobs[row];
        if (s->reference_path) compare(s, lane, row, i);
        if (isnan(c->nll[i]) || (s->reference_path && isnan(c->kl[i])))
            return err_set(err, REDLINE_FORMAT, "the logits after token %zu of chunk %d are not all numbers",
                           chunks_first(s->frame.n_ctx) + row, chunk);
        s->nll_sum += c->nll[i];
        if (s->save) TRY(keep(s, lane, row, logprobs[row], err));
    }
    return 0;
}

static int score_all(struct score *s, struct redline_err *err)
{
    struct score_run *reference = s->reference_run.engine ? &s->reference_run : NULL;
    size_t n_ctx = (size_t)s->frame.n_ctx;
    for (int first = 0, n; first < s->frame.n_chunks; first += n) {
        n = MIN(s->run.n_lanes, s->frame.n_chunks - first);
        if (reference) {
            TRY(score_run_chunks(reference, first, n, show_progress, s, err));
            s->n_done += (size_t)n * n_ctx;
        }
        TRY(score_run_chunks(&s->run, first, n, show_progress, s, err));
        s->n_done += (size_t)n * n_ctx;
        for (int lane = 0; lane < n; lane++) TRY(take_chunk(s, first + lane, lane, err));
    }
    return s->save ? file_out_finish(s->save, err) : 0;
}

static int report(struct score *s, uint64_t wall_ns, struct redline_err *err)
{
    struct score_report r = {.frame = s->frame,
                             .model = s->model_path,
                             .text = s->text_path,
                             .reference = s->reference_path,
                             .record = s->record.ids ? &s->record : NULL,
                             .exact = s->exact,
                             .special = s->special,
                             .wall_ns = wall_ns};
    redline_engine_facts(s->run.engine, &r.facts);
    score_summarize(&r.summary, &s->columns, s->reference_path);
    cmd_progress_clear(&s->progress);
    TRY(s->json ? score_print_json(&r, err) : score_print_table(&r, err));
    TRY(cmd_flush(err));
    if (!s->quiet) score_print_measured(&r);
    return 0;
}

static int run_all(struct score *s, const char *const *words, int n_words, struct redline_err *err)
{
    TRY(cmd_model_path(&s->model_path, s->model_path, words, n_words, "score", err));
    if (!s->text_path) return err_set(err, REDLINE_ARG, "a text is needed: -f FILE, - for standard input");
    if (!s->n_ctx) s->n_ctx = DEFAULT_CTX;
    TRY(placement_check(&s->where, err));
    TRY(file_read(&s->text, s->text_path, err));
    TRY(open_all(s, err));
    uint64_t start = clock_ns();
    TRY(score_all(s, err));
    return report(s, clock_ns() - start, err);
}

int cmd_score(int argc, char **argv)
{
    struct score s = {.n_ctx = DEFAULT_CTX};
    struct settings set = {0};
    const struct opt options[] = {
        settings_opt(&set, SETTING_MODEL, &s.model_path),
        {"-f, --file", "FILE", OPT_STRING, &s.text_path, 0, 0, "the text, - for standard input"},
        {"--reference", "FILE", OPT_STRING, &s.reference_path, 0, 0, "compare with this model, or with a record"},
        {"--save", "RECORD", OPT_STRING, &s.save_path, 0, 0, "keep this model's predictions as a record"},
        {"--chunks", "N", OPT_INT, &s.n_chunks, 0, 1 << 24, "score the first N chunks; 0: all of the text"},
        {"--special", NULL, OPT_FLAG, &s.special, 0, 0, "special tokens written in the text are those tokens"},
        settings_opt(&set, SETTING_N_CTX, &s.n_ctx),
        settings_opt(&set, SETTING_N_THREADS, &s.n_threads),
        settings_opt(&set, SETTING_N_BATCH, &s.n_batch),
        settings_opt(&set, SETTING_N_UBATCH, &s.n_ubatch),
        settings_opt(&set, SETTING_TYPE_K, &s.type_k),
        settings_opt(&set, SETTING_TYPE_V, &s.type_v),
        settings_opt(&set, SETTING_EXACT, &s.exact),
        SETTINGS_PLACEMENT(&set, &s.where),
        {"--json", NULL, OPT_FLAG, &s.json, 0, 0, "one JSON object"},
        {"-q, --quiet", NULL, OPT_FLAG, &s.quiet, 0, 0, "no measured line on standard error"},
    };
    const struct opt_command command = {
        "redline score MODEL -f TEXT [options]",
        "Measures how well a model predicts a text: its perplexity, as llama-perplexity defines it (chunks of -c\n"
        "tokens, the second half of each scored).  Against a reference also Kullback-Leibler divergence, and how\n"
        "often the most probable token is the same.",
        options, COUNT_OF(options),
        "-b tokens are scored together, in chunks of -c.  A reference that is a model runs beside this one with the\n"
        "same settings, and all of the vocabulary is compared; to compare settings (-ctk, --exact), keep a record\n"
        "with one and compare with the other.  A record holds the 64 most probable tokens of each position and the\n"
        "rest as one, so a divergence from it is a lower bound.  Standard errors take positions for independent.\n"
        "Example: redline score model-q4.gguf -f test.txt --reference model-f16.gguf"};
    const char *words[1];
    struct redline_err err = {0};
    int n_words, exit_code;
    if (!settings_parse(&set, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    s.progress.wanted = isatty(STDERR_FILENO) && !s.quiet;
    cmd_catch_stop();
    int status = run_all(&s, words, n_words, &err);
    cmd_progress_clear(&s.progress);
    close_all(&s);
    settings_free(&set);
    return status ? cmd_fail(&err) : EXIT_FINE;
}
