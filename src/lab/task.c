/* task.c - members by a table. */
#include "task.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "opt.h"

/* ---- the table ------------------------------------------------------------------------------------- */

enum value { COUNT, SEED, REAL, TRUTH, TEXT, WORD, LAYERS, BYTES, OTHER };

struct key {
    const char *name;
    enum value value;
    size_t at;                  /* in struct task */
    double least, most;         /* of numbers */
    const char *const *words;   /* of a WORD: those it may be, by the number of its enum */
    size_t n_words;
};

static const char *const kinds[] = {"generate", "embed", "score", "load"};
static const char *const splits[] = {"whole", "paragraphs", "lines"};
static const char *const arrivals[] = {"closed", "poisson", "even"};
static const char *const loads[] = {"fresh", "warm"};

enum { MOST = 1 << 24, MOST_REQUESTS = 1 << 16, MOST_CONCURRENCY = 1024 };

#define AT(member) offsetof(struct task, member)
static const struct key settings_keys[] = {
    {"n_threads", COUNT, AT(settings.n_threads), 0, 4096, NULL, 0},
    {"n_ctx", COUNT, AT(settings.n_ctx), 0, MOST, NULL, 0},
    {"n_batch", COUNT, AT(settings.n_batch), 1, MOST, NULL, 0},
    {"n_ubatch", COUNT, AT(settings.n_ubatch), 1, MOST, NULL, 0},
    {"n_seqs", COUNT, AT(settings.n_seqs), 0, MOST_CONCURRENCY, NULL, 0},
    {"n_gpu_layers", LAYERS, AT(settings.n_gpu_layers), 0, MOST, NULL, 0},
    {"device_memory", BYTES, AT(settings.device_memory), 0, 0, NULL, 0},
    {"n_cpu_moe", COUNT, AT(settings.n_cpu_moe), 0, MOST, NULL, 0},
    {"placement", TEXT, AT(settings.placement), 0, 0, NULL, 0},
    {"exact", TRUTH, AT(settings.exact), 0, 0, NULL, 0},
    {"type_k", TEXT, AT(settings.type_k), 0, 0, NULL, 0},
    {"type_v", TEXT, AT(settings.type_v), 0, 0, NULL, 0},
    {"cpu_mask", TEXT, AT(settings.cpu_mask), 0, 0, NULL, 0},
};

static const struct key workload_keys[] = {
    {"name", TEXT, AT(workload.name), 0, 0, NULL, 0},
    {"kind", WORD, AT(workload.kind), 0, 0, kinds, COUNT_OF(kinds)},
    {"n_prompt", COUNT, AT(workload.n_prompt), 0, MOST, NULL, 0},
    {"n_gen", COUNT, AT(workload.n_gen), 0, MOST, NULL, 0},
    {"n_depth", COUNT, AT(workload.n_depth), 0, MOST, NULL, 0},
    {"document", TEXT, AT(workload.document), 0, 0, NULL, 0},
    {"split", WORD, AT(workload.split), 0, 0, splits, COUNT_OF(splits)},
    {"n_requests", COUNT, AT(workload.n_requests), 0, MOST_REQUESTS, NULL, 0},
    {"concurrency", COUNT, AT(workload.concurrency), 1, MOST_CONCURRENCY, NULL, 0},
    {"arrival", WORD, AT(workload.arrival), 0, 0, arrivals, COUNT_OF(arrivals)},
    {"rate", REAL, AT(workload.rate), 0, 1e6, NULL, 0},
    {"seed", SEED, AT(workload.seed), 0, 0, NULL, 0},
};

/* What is OTHER is read elsewhere, or handed on as it is. */
static const struct key task_keys[] = {
    {"experiment", OTHER, 0, 0, 0, NULL, 0},
    {"model", TEXT, AT(model), 0, 0, NULL, 0},
    {"settings", OTHER, 0, 0, 0, NULL, 0},
    {"requested", OTHER, 0, 0, 0, NULL, 0},
    {"workload", OTHER, 0, 0, 0, NULL, 0},
    {"load", WORD, AT(load), 0, 0, loads, COUNT_OF(loads)},
    {"program", OTHER, 0, 0, 0, NULL, 0},
    {"started_ns", SEED, AT(started_ns), 0, 0, NULL, 0},
    {"digest_cache", TEXT, AT(digest_cache), 0, 0, NULL, 0},
};

/* ---- reading --------------------------------------------------------------------------------------- */

static int unknown(const char *where, const char *name, const char *const *names, size_t n, struct redline_err *err)
{
    const char *near = opt_nearest(name, names, n);
    if (near)
        return err_set(err, REDLINE_ARG, "%s has no member '%.60s'; is it '%s'?", where, name, near);
    return err_set(err, REDLINE_ARG, "%s has no member '%.60s'", where, name);
}

static int set_word(struct task *t, const struct key *k, const char *where, const char *word, struct redline_err *err)
{
    for (size_t i = 0; i < k->n_words; i++) {
        if (strcmp(word, k->words[i]) != 0) continue;
        *(int *)(void *)((char *)t + k->at) = (int)i; /* an enum of the first numbers */
        return 0;
    }
    const char *near = opt_nearest(word, k->words, k->n_words);
    return err_set(err, REDLINE_ARG, "%s.%s is '%.40s', which it cannot be; is it '%s'?", where, k->name, word,
                   near ? near : k->words[0]);
}

static int set_number(struct task *t, const struct key *k, const char *where, const json_t *v, struct redline_err *err)
{
    void *to = (char *)t + k->at;
    bool whole = k->value != REAL;
    if (whole ? !json_is_integer(v) : !json_is_number(v))
        return err_set(err, REDLINE_ARG, "%s.%s is not a %snumber", where, k->name, whole ? "whole " : "");
    double x = json_number_value(v);
    if (k->value == SEED) {
        *(uint64_t *)to = (uint64_t)json_integer_value(v);
        return 0;
    }
    if (!(x >= k->least && x <= k->most))
        return err_set(err, REDLINE_ARG, "%s.%s is %g, it must lie between %g and %g", where, k->name, x, k->least,
                       k->most);
    if (whole)
        *(int *)to = (int)x;
    else
        *(double *)to = x;
    return 0;
}

/* A number or a word; what it may be, the engine knows. */
static int set_layers(struct task *t, const struct key *k, const char *where, const json_t *v, struct redline_err *err)
{
    const char *text = json_string_value(v);
    size_t n = sizeof t->settings.n_gpu_layers;
    if (!text && !json_is_integer(v))
        return err_set(err, REDLINE_ARG, "%s.%s is neither a whole number nor a text", where, k->name);
    int n_written = text ? snprintf(t->settings.n_gpu_layers, n, "%s", text)
                         : snprintf(t->settings.n_gpu_layers, n, "%lld", (long long)json_integer_value(v));
    return n_written < (int)n ? 0 : err_set(err, REDLINE_ARG, "%s.%s is too long", where, k->name);
}

/* A number, or a text like "8G". */
static int set_bytes(struct task *t, const struct key *k, const char *where, const json_t *v, struct redline_err *err)
{
    char name[80];
    const struct opt o = {k->name, NULL, OPT_BYTES, (char *)t + k->at, 0, 0, NULL};
    snprintf(name, sizeof name, "%s.%s", where, k->name);
    if (json_is_string(v)) return opt_set(&o, name, json_string_value(v), err);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return err_set(err, REDLINE_ARG, "%s is neither a number of bytes nor a text like 8G", name);
    *(uint64_t *)o.to = (uint64_t)json_integer_value(v);
    return 0;
}

/* null and "auto" leave the default. */
static int set(struct task *t, const struct key *k, const char *where, const json_t *v, struct redline_err *err)
{
    const char *text = json_string_value(v);
    if (json_is_null(v) || (text && strcmp(text, "auto") == 0 && k->value != TEXT)) return 0;
    if (k->value == COUNT || k->value == SEED || k->value == REAL) return set_number(t, k, where, v, err);
    if (k->value == LAYERS) return set_layers(t, k, where, v, err);
    if (k->value == BYTES) return set_bytes(t, k, where, v, err);
    if (k->value == TRUTH && !json_is_boolean(v))
        return err_set(err, REDLINE_ARG, "%s.%s is neither true nor false", where, k->name);
    if (k->value != TRUTH && !text) return err_set(err, REDLINE_ARG, "%s.%s is not a text", where, k->name);
    if (k->value == WORD) return set_word(t, k, where, text, err);
    if (k->value == TRUTH)
        *(bool *)((char *)t + k->at) = json_is_true(v);
    else
        *(const char **)(void *)((char *)t + k->at) = text;
    return 0;
}

/* where: "settings", as it is called in sentences. */
static int read_object(struct task *t, const json_t *object, const char *where, const struct key *keys, size_t n_keys,
                       struct redline_err *err)
{
    const char *name, *names[16];
    json_t *v;
    if (!object || json_is_null(object)) return 0;
    if (!json_is_object(object)) return err_set(err, REDLINE_ARG, "%s is not an object", where);
    for (size_t i = 0; i < n_keys; i++) names[i] = keys[i].name;
    json_object_foreach((json_t *)(uintptr_t)object, name, v) {
        size_t i = 0;
        while (i < n_keys && strcmp(name, keys[i].name) != 0) i++;
        if (i == n_keys) return unknown(where, name, names, n_keys, err);
        if (keys[i].value != OTHER) TRY(set(t, &keys[i], where, v, err));
    }
    return 0;
}

/* ---- what goes together ---------------------------------------------------------------------------- */

static int check_arrival(const struct task_workload *w, struct redline_err *err)
{
    bool open = w->arrival != TASK_CLOSED;
    if (open && w->rate <= 0)
        return err_set(err, REDLINE_ARG, "workload.rate is missing: requests per second, for arrival '%s'",
                       task_arrival_name(w->arrival));
    if (!open && w->rate > 0)
        return err_set(err, REDLINE_ARG, "workload.rate is %g, but requests follow one another; arrival 'poisson' or "
                       "'even' obeys it", w->rate);
    if (open && w->n_depth)
        return err_set(err, REDLINE_ARG,
                       "workload.n_depth is %d, but only requests that follow one another have a past", w->n_depth);
    return 0;
}

static int check(const struct task *t, struct redline_err *err)
{
    const struct task_workload *w = &t->workload;
    const char *kind = task_kind_name(w->kind);
    if (w->kind == TASK_SCORE && !w->document)
        return err_set(err, REDLINE_ARG, "workload.document is missing: the text that is scored");
    if (w->kind == TASK_EMBED && !w->document && !w->n_prompt)
        return err_set(err, REDLINE_ARG, "workload.document is missing: the texts that are embedded; or n_prompt, for "
                       "random tokens");
    if (w->kind != TASK_GENERATE && (w->n_gen || w->n_depth))
        return err_set(err, REDLINE_ARG, "workload.%s is not for kind '%s', which generates nothing",
                       w->n_gen ? "n_gen" : "n_depth", kind);
    if (w->document && w->n_depth)
        return err_set(err, REDLINE_ARG, "workload.n_depth is %d, but only random tokens have a past, not a document",
                       w->n_depth);
    return check_arrival(w, err);
}

int task_read(struct task *out, const json_t *json, struct redline_err *err)
{
    *out = (struct task){.json = json,
                         .settings = {.n_batch = 2048, .n_ubatch = 512, .type_k = "f16", .type_v = "f16",
                                      .cpu_mask = "", .n_gpu_layers = "auto"},
                         .workload = {.concurrency = 1, .seed = 1}};
    if (!json_is_object(json)) return err_set(err, REDLINE_ARG, "the task is not a JSON object");
    TRY(read_object(out, json, "task", task_keys, COUNT_OF(task_keys), err));
    TRY(read_object(out, json_object_get(json, "settings"), "settings", settings_keys, COUNT_OF(settings_keys), err));
    const json_t *workload = json_object_get(json, "workload");
    TRY(read_object(out, workload, "workload", workload_keys, COUNT_OF(workload_keys), err));
    if (out->workload.kind == TASK_EMBED && !json_object_get(workload, "split")) out->workload.split = TASK_LINES;
    return check(out, err);
}

const char *task_kind_name(enum task_kind kind)
{
    return kinds[kind];
}

const char *task_split_name(enum task_split split)
{
    return splits[split];
}

const char *task_arrival_name(enum task_arrival arrival)
{
    return arrivals[arrival];
}

const char *task_load_name(enum task_load load)
{
    return loads[load];
}
