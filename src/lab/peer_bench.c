/* peer_bench.c - a program that speaks llama-bench: its flags, its answer, what becomes of it. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>

#include "base.h"
#include "import.h"
#include "mem.h"
#include "peer_call.h"
#include "proc.h"
#include "record.h"

enum { MOST_FLAGS = 16 };

/* How a program is asked for tokens that are in the cache already. */
enum depth_word { DEPTH_UNKNOWN, DEPTH_D, DEPTH_GP };

struct flag {
    const char *flag, *other; /* its names */
    char value[24];           /* "": not passed */
};

struct bench {
    struct peer_call *call;
    char **own;               /* words of the command; one block */
    size_t n_own;
    enum depth_word depth;
};

/* ---- calling it -------------------------------------------------------------------------------------- */

static bool holds(const struct bench *b, const char *flag)
{
    size_t n = strlen(flag);
    for (size_t i = 1; i < b->n_own; i++)
        if (strncmp(b->own[i], flag, n) == 0 && (b->own[i][n] == '\0' || b->own[i][n] == '=')) return true;
    return false;
}

/* What it says when it fails: the first line that speaks of an error, else the last one. */
static void own_words(const struct proc_result *r, char *out, size_t n)
{
    struct str all = buf_str(&r->error), told = {0}, last = {0};
    for (size_t at = 0; at < all.n;) {
        size_t end = at, first = at;
        while (end < all.n && all.p[end] != '\n') end++;
        while (first < end && isspace((unsigned char)all.p[first])) first++;
        struct str line = {all.p + first, end - first};
        at = end + 1;
        if (line.n == 0) continue;
        last = line;
        for (size_t i = 0; i + 5 <= line.n && !told.n; i++)
            if (strncasecmp(line.p + i, "error", 5) == 0) told = line;
    }
    if (!told.n) told = last;
    snprintf(out, n, "%s%.*s", told.n ? ": " : "", (int)MIN(told.n, 160), told.n ? told.p : "");
    for (char *p = out; *p; p++)
        if (iscntrl((unsigned char)*p)) *p = ' ';
}

static int judge(const struct bench *b, const struct proc_result *r, struct redline_err *err)
{
    const char *name = b->call->name;
    char words[192];
    own_words(r, words, sizeof words);
    if (r->timed_out)
        return err_set(err, REDLINE_SUPPORT, "%.40s took longer than %g s", name, b->call->timeout_s);
    if (r->exit_code < 0)
        return err_set(err, REDLINE_SUPPORT, "%.40s was ended by signal %d%s", name, r->signal, words);
    if (r->exit_code > 0)
        return err_set(err, REDLINE_SUPPORT, "%.40s stopped with exit code %d%s", name, r->exit_code, words);
    return 0;
}

static int run(const struct bench *b, const struct flag *flags, size_t n_flags, struct proc_result *r,
               struct redline_err *err)
{
    const char **argv = mem_new(b->n_own + 2 * n_flags + 1, sizeof *argv);
    size_t n = 0;
    if (!argv) return err_memory(err, (b->n_own + 2 * n_flags + 1) * sizeof *argv, "a command line");
    for (size_t i = 0; i < b->n_own; i++) argv[n++] = b->own[i];
    for (size_t i = 0; i < n_flags; i++) {
        if (!flags[i].value[0] || holds(b, flags[i].flag) || (flags[i].other && holds(b, flags[i].other))) continue;
        argv[n++] = flags[i].flag;
        argv[n++] = strcmp(flags[i].flag, "-m") == 0 ? b->call->model_path : flags[i].value;
    }
    struct proc_params params = {.argv = argv, .timeout_s = b->call->timeout_s};
    int status = proc_run(r, &params, err);
    if (!status) status = judge(b, r, err);
    mem_free(argv);
    return status;
}

static void number_flag(struct flag *f, const char *flag, const char *other, int n)
{
    *f = (struct flag){flag, other, ""};
    if (n > 0) snprintf(f->value, sizeof f->value, "%d", n);
}

static void word_flag(struct flag *f, const char *flag, const char *other, const char *word)
{
    *f = (struct flag){flag, other, ""};
    if (word) snprintf(f->value, sizeof f->value, "%.20s", word);
}

/* The test itself; depth: tokens in the cache before it. */
static size_t test_flags(const struct bench *b, struct flag *f, int n_prompt, int n_gen, int depth)
{
    struct flag *first = f;
    bool joint = n_gen > 0 && depth > 0 && b->depth == DEPTH_GP;
    word_flag(f++, "-p", "--n-prompt", "0");
    word_flag(f++, "-n", "--n-gen", "0");
    if (n_prompt > 0) snprintf(first[0].value, sizeof first[0].value, "%d", n_prompt);
    if (n_gen > 0 && !joint) snprintf(first[1].value, sizeof first[1].value, "%d", n_gen);
    if (depth > 0) {
        word_flag(f, joint ? "-gp" : "-d", joint ? NULL : "--n-depth", NULL);
        snprintf(f->value, sizeof f->value, joint ? "%d,%d" : "%d", depth, n_gen);
        f++;
    }
    return (size_t)(f - first);
}

static size_t setting_flags(const struct bench *b, struct flag *f)
{
    const struct task_settings *s = &b->call->task.settings;
    const json_t *asked = json_object_get(b->call->task.json, "settings");
    struct flag *first = f;
    number_flag(f++, "-t", "--threads", s->n_threads);
    bool layers = strcmp(s->n_gpu_layers, "auto") != 0;
    word_flag(f++, "-ngl", "--n-gpu-layers",
              !layers ? NULL : strcmp(s->n_gpu_layers, "all") == 0 ? "999" : s->n_gpu_layers);
    number_flag(f++, "-r", "--repetitions", MAX(b->call->task.workload.n_requests, 1));
    if (json_object_get(asked, "n_batch")) number_flag(f++, "-b", "--batch-size", s->n_batch);
    if (json_object_get(asked, "n_ubatch")) number_flag(f++, "-ub", "--ubatch-size", s->n_ubatch);
    if (json_object_get(asked, "type_k")) word_flag(f++, "-ctk", "--cache-type-k", s->type_k);
    if (json_object_get(asked, "type_v")) word_flag(f++, "-ctv", "--cache-type-v", s->type_v);
    word_flag(f++, "-m", "--model", "model");
    word_flag(f++, "-o", "--output", "json");
    return (size_t)(f - first);
}

/* Asks for its help page, and only where a depth is wanted: ik_llama.cpp has no -d and measures generation at a depth
 * with -gp. */
static int find_depth_word(struct bench *b, struct redline_err *err)
{
    struct proc_result r = {0};
    const char **argv = mem_new(b->n_own + 2, sizeof *argv);
    if (!argv) return err_memory(err, (b->n_own + 2) * sizeof *argv, "a command line");
    for (size_t i = 0; i < b->n_own; i++) argv[i] = b->own[i];
    argv[b->n_own] = "--help";
    struct proc_params params = {.argv = argv, .timeout_s = 30};
    int status = proc_run(&r, &params, err);
    mem_free(argv);
    const char *page = r.out.p ? r.out.p : "";
    if (!status && (strstr(page, "--n-depth") || strstr(page, " -d ")))
        b->depth = DEPTH_D;
    else if (!status && strstr(page, "-gp "))
        b->depth = DEPTH_GP;
    proc_result_free(&r);
    if (status || b->depth != DEPTH_UNKNOWN) return status;
    return err_set(err, REDLINE_SUPPORT, "%.40s knows neither -d nor -gp, so it cannot generate behind a prompt",
                   b->call->name);
}

/* ---- its answer --------------------------------------------------------------------------------------- */

/* What it says of itself and of how it ran. */
static int take_facts(struct peer_call *call, const json_t *row, struct redline_err *err)
{
    static const char *const paths[] = {"program.version", "program.commit", "settings.effective.device",
                                        "settings.effective.n_threads", "settings.effective.n_batch",
                                        "settings.effective.n_ubatch", "settings.effective.type_k",
                                        "settings.effective.type_v", "settings.effective.n_gpu_layers",
                                        "settings.effective.flash_attn", "settings.effective.exact"};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        const json_t *v = record_at(row, paths[i]);
        const char *reason = record_reason(row, paths[i]);
        if (v && !json_is_null(v))
            TRY(record_set(call->record, paths[i], json_deep_copy(v), err));
        else if (reason)
            TRY(record_miss(call->record, paths[i], reason, err));
    }
    return 0;
}

/* Tokens per second of all samples together: all tokens by all time. */
static double pooled(const json_t *rows, const char *metric)
{
    double seconds_a_token = 0;
    const json_t *row;
    size_t i;
    json_array_foreach(rows, i, row) seconds_a_token += 1 / record_metric(row, metric);
    return (double)json_array_size(rows) / seconds_a_token;
}

static int take_answer(struct bench *b, struct str text, const char *metric, struct redline_err *err)
{
    json_t *rows = NULL;
    struct redline_err why = {0};
    if (import_recognise(text) != IMPORT_LLAMA_BENCH)
        return err_set(err, REDLINE_SUPPORT, "%.40s printed nothing that llama-bench would", b->call->name);
    int status = import_text(&rows, text, IMPORT_LLAMA_BENCH, &why);
    if (status) return err_set(err, REDLINE_SUPPORT, "%.40s: %.200s", b->call->name, why.message);
    double ts = pooled(rows, metric);
    if (json_array_size(rows) == 0 || !isfinite(ts))
        status = err_set(err, REDLINE_SUPPORT, "%.40s measured another test than the one it was asked for",
                         b->call->name);
    if (!status) status = take_facts(b->call, json_array_get(rows, 0), err);
    if (!status) status = record_derive(b->call->record, metric, ts, NULL, err);
    json_decref(rows);
    return status;
}

static int run_test(struct bench *b, int n_prompt, int n_gen, int depth, struct redline_err *err)
{
    struct flag flags[MOST_FLAGS];
    struct proc_result r = {0};
    size_t n = test_flags(b, flags, n_prompt, n_gen, depth);
    n += setting_flags(b, flags + n);
    int status = run(b, flags, n, &r, err);
    if (!status) status = take_answer(b, buf_str(&r.out), n_gen ? "decode_ts" : "prefill_ts", err);
    proc_result_free(&r);
    return status;
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

static int check_workload(const struct peer_call *call, struct redline_err *err)
{
    const struct task_workload *w = &call->task.workload;
    if (w->kind != TASK_GENERATE)
        return err_set(err, REDLINE_SUPPORT,
                       "%.40s: a program like llama-bench cannot be asked for a workload of kind '%s'",
                       call->name, task_kind_name(w->kind));
    if (w->document)
        return err_set(err, REDLINE_SUPPORT, "%.40s: a program like llama-bench reads no documents", call->name);
    if (w->concurrency > 1)
        return err_set(err, REDLINE_SUPPORT, "%.40s: a program like llama-bench runs one request at a time, not %d",
                       call->name, w->concurrency);
    return 0;
}

static int run_tests(struct bench *b, struct redline_err *err)
{
    const struct task_workload *w = &b->call->task.workload;
    int n_prompt = MAX(w->n_prompt, 1);
    bool prompt = n_prompt > 1 || w->n_gen <= 1, generation = w->n_gen > 1;
    int behind = prompt ? w->n_depth + n_prompt : w->n_depth;
    if (w->n_depth > 0 || (generation && behind > 0)) TRY(find_depth_word(b, err));
    if (prompt && w->n_depth > 0 && b->depth == DEPTH_GP)
        return err_set(err, REDLINE_SUPPORT, "%.40s has no -d, so it cannot read a prompt behind %d tokens",
                       b->call->name, w->n_depth);
    if (prompt) TRY(run_test(b, n_prompt, 0, w->n_depth, err));
    if (generation) TRY(run_test(b, 0, w->n_gen, behind, err));
    const char *reason = "llama-bench tells sums alone, no times of requests";
    return record_miss(b->call->record, "requests", reason, err);
}

int peer_bench(struct peer_call *call, struct redline_err *err)
{
    struct bench b = {.call = call};
    TRY(check_workload(call, err));
    TRY(proc_split(&b.own, call->command, err));
    while (b.own[b.n_own]) b.n_own++;
    int status = b.n_own ? run_tests(&b, err)
                         : err_set(err, REDLINE_ARG, "the command of %.40s is empty", call->name);
    mem_free(b.own);
    return status;
}
