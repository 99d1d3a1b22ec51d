/* cells.c - the words of grids and workloads, checked; and their combinations. */
#include "cells.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "experiment.h"
#include "mem.h"
#include "metric.h"
#include "opt.h"
#include "redline_probe.h"
#include "str.h"

/* ---- the words ------------------------------------------------------------------------------- */

enum kind { WORD_INT, WORD_NUMBER, WORD_BOOL, WORD_CHOICE, WORD_LAYERS, WORD_BYTES, WORD_TEXT, WORD_FILE };

static const struct word {
    const char *key;
    enum cells_place place;
    enum kind kind;
    double least, most;
    const char *choices; /* "f16|f32" */
} words[] = {
    {"n_threads", CELLS_SETTING, WORD_INT, 0, 512, NULL},
    {"n_ctx", CELLS_SETTING, WORD_INT, 0, 1 << 28, NULL},
    {"n_batch", CELLS_SETTING, WORD_INT, 1, 65536, NULL},
    {"n_ubatch", CELLS_SETTING, WORD_INT, 1, 65536, NULL},
    {"n_seqs", CELLS_SETTING, WORD_INT, 0, 1024, NULL},
    {"type_k", CELLS_SETTING, WORD_CHOICE, 0, 0, "f32|f16|bf16|q8_0|q4_0"},
    {"type_v", CELLS_SETTING, WORD_CHOICE, 0, 0, "f32|f16|bf16|q8_0|q4_0"},
    {"exact", CELLS_SETTING, WORD_BOOL, 0, 0, NULL},
    {"n_gpu_layers", CELLS_SETTING, WORD_LAYERS, 0, 100000, NULL},
    {"device_memory", CELLS_SETTING, WORD_BYTES, 0, 0, NULL},
    {"n_cpu_moe", CELLS_SETTING, WORD_INT, 0, 100000, NULL},
    {"placement", CELLS_SETTING, WORD_TEXT, 0, 0, NULL},
    {"cpu_mask", CELLS_SETTING, WORD_TEXT, 0, 0, NULL},
    {"kind", CELLS_WORKLOAD, WORD_CHOICE, 0, 0, "generate|embed|score|load"},
    {"n_prompt", CELLS_WORKLOAD, WORD_INT, 0, 1 << 24, NULL},
    {"n_gen", CELLS_WORKLOAD, WORD_INT, 0, 1 << 24, NULL},
    {"n_depth", CELLS_WORKLOAD, WORD_INT, 0, 1 << 24, NULL},
    {"document", CELLS_WORKLOAD, WORD_FILE, 0, 0, NULL},
    {"split", CELLS_WORKLOAD, WORD_CHOICE, 0, 0, "whole|paragraphs|lines"},
    {"n_requests", CELLS_WORKLOAD, WORD_INT, 0, 65536, NULL},
    {"concurrency", CELLS_WORKLOAD, WORD_INT, 1, 1024, NULL},
    {"arrival", CELLS_WORKLOAD, WORD_CHOICE, 0, 0, "closed|poisson|even"},
    {"rate", CELLS_WORKLOAD, WORD_NUMBER, 1e-6, 1e6, NULL},
    {"seed", CELLS_WORKLOAD, WORD_INT, 0, 1e15, NULL},
    {"load", CELLS_LOAD, WORD_CHOICE, 0, 0, "fresh|warm"},
};

static const struct word *find_word(const char *key)
{
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (strcmp(words[i].key, key) == 0) return &words[i];
    return NULL;
}

enum cells_place cells_place_of(const char *key)
{
    const struct word *w = find_word(key);
    return w ? w->place : CELLS_NOWHERE;
}

const char *cells_nearest(const char *key)
{
    const char *names[COUNT_OF(words)];
    for (size_t i = 0; i < COUNT_OF(words); i++) names[i] = words[i].key;
    return opt_nearest(key, names, COUNT_OF(words));
}

/* ---- keys ------------------------------------------------------------------------------------ */

static const char *const repetition_keys[] = {"least", "most", "width", "of"};

/* Those of one place, and extra ones. */
static int check_words(const struct yaml *y, const json_t *object, enum cells_place place, const char *what,
                       const char *const *extra, size_t n_extra, struct redline_err *err)
{
    const char *names[COUNT_OF(words) + 4];
    size_t n = 0;
    for (size_t i = 0; i < n_extra; i++) names[n++] = extra[i];
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (words[i].place == place) names[n++] = words[i].key;
    return yaml_check_keys(y, object, names, n, what, err);
}

/* An axis of one's own: every value sets settings and members of the workload, and has a name. */
static int check_own_axis(const struct yaml *y, const char *axis, const json_t *values, struct redline_err *err)
{
    const json_t *value;
    size_t i;
    json_array_foreach (values, i, value) {
        const char *key;
        json_t *member;
        if (!json_is_string(json_object_get(value, "name"))) {
            const char *near = cells_nearest(axis);
            return yaml_fail_line(y, yaml_line_at(y, values, i), err,
                                  "%s is no setting; as an axis of its own, its values are mappings with a name%s%s%s",
                                  axis, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
        }
        json_object_foreach ((json_t *)value, key, member)
            if (strcmp(key, "name") != 0 && !find_word(key)) {
                const char *near = cells_nearest(key);
                return yaml_fail(y, value, key, err, "%s: there is no setting '%s'%s%s%s", axis, key,
                                 near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
            }
    }
    return 0;
}

static int check_grid(const struct yaml *y, const json_t *grid, struct redline_err *err)
{
    const char *axis;
    json_t *values;
    if (!json_is_object(grid)) return yaml_fail(y, grid, NULL, err, "grid: a mapping of axes is expected");
    json_object_foreach ((json_t *)grid, axis, values) {
        if (json_is_null(values)) continue;
        if (!json_is_array(values) || json_array_size(values) == 0)
            return yaml_fail(y, grid, axis, err, "%s: a list of values is expected", axis);
        if (!find_word(axis)) TRY(check_own_axis(y, axis, values, err));
    }
    return 0;
}

static int check_repetitions(const struct yaml *y, const json_t *in, struct redline_err *err)
{
    const json_t *r = json_object_get(in, "repetitions");
    if (!r || json_is_null(r) || json_is_integer(r)) return 0;
    return yaml_check_keys(y, r, repetition_keys, COUNT_OF(repetition_keys), "repetitions", err);
}

int cells_check_keys(const struct yaml *y, const json_t *root, struct redline_err *err)
{
    static const char *const own[] = {"name", "repetitions"};
    const json_t *settings = json_object_get(root, "settings"), *grid = json_object_get(root, "grid");
    const json_t *workloads = json_object_get(root, "workloads"), *workload;
    size_t i;
    if (settings && !json_is_null(settings)) TRY(check_words(y, settings, CELLS_SETTING, "settings", NULL, 0, err));
    if (grid && !json_is_null(grid)) TRY(check_grid(y, grid, err));
    TRY(check_repetitions(y, root, err));
    if (!workloads || json_is_null(workloads)) return 0;
    if (!json_is_array(workloads)) return yaml_fail(y, root, "workloads", err, "workloads: a list is expected");
    json_array_foreach (workloads, i, workload) {
        TRY(check_words(y, workload, CELLS_WORKLOAD, "workload", own, COUNT_OF(own), err));
        TRY(check_repetitions(y, workload, err));
    }
    return 0;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* As it was written, for the grid and for what was asked for. */
static void value_text(const json_t *v, char *out, size_t n)
{
    if (json_is_object(v)) v = json_object_get(v, "name");
    if (json_is_string(v)) snprintf(out, n, "%s", json_string_value(v));
    else if (json_is_integer(v)) snprintf(out, n, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (json_is_real(v)) snprintf(out, n, "%.10g", json_real_value(v));
    else snprintf(out, n, "%s", json_is_true(v) ? "true" : json_is_false(v) ? "false" : "auto");
}

static bool is_auto(const json_t *v)
{
    return json_is_null(v) || (json_is_string(v) && strcmp(json_string_value(v), "auto") == 0);
}

static bool is_choice(const char *text, const char *choices)
{
    for (const char *p = choices; *p;) {
        size_t n = strcspn(p, "|");
        if (n == strlen(text) && memcmp(p, text, n) == 0) return true;
        p += n + (p[n] == '|');
    }
    return false;
}

struct maker {
    const struct cells_params *p;
    json_t *cells;
    const json_t *grid;         /* object of lists, or NULL */
    /* of the cell in the making */
    const char *model;          /* path; NULL: demo */
    int n_layers;               /* of it; -1: not looked at yet */
    json_t *task;               /* borrowed from the caller of make_cell() */
    struct buf grid_label;      /* "n_threads=2 n_ubatch=8" */
};

static int fail_value(const struct maker *m, size_t line, const struct word *w, const json_t *v, const char *want,
                      struct redline_err *err)
{
    char text[96];
    value_text(v, text, sizeof text);
    if (line == 0) return err_set(err, REDLINE_ARG, "--set: %s cannot be '%s': %s", w->key, text, want);
    return yaml_fail_line(m->p->y, line, err, "%s cannot be '%s': %s", w->key, text, want);
}

/* How many layers the model has, from its header. */
static int find_layers(struct maker *m, struct redline_err *err)
{
    struct redline_model *model = NULL;
    struct redline_plan plan;
    const struct redline_engine_params params = {.n_ctx = 512, .n_gpu_layers = "0"};
    if (m->n_layers >= 0) return 0;
    TRY(redline_model_open(&model, m->model, err));
    int status = redline_plan(model, &params, &plan, err);
    if (!status) m->n_layers = plan.n_layers;
    redline_model_close(&model);
    return status;
}

/* "25 %" of all layers, to the nearest. */
static int make_layers(struct maker *m, size_t line, const struct word *w, const json_t *v, json_t **out,
                       struct redline_err *err)
{
    double share = 1;
    const char *text = json_string_value(v);
    if (!text || (strcmp(text, "all") != 0 && !yaml_parse_share(text, &share)) || share > 1)
        return fail_value(m, line, w, v, "a number, all, auto, or a share of all layers (25 %) is expected", err);
    TRY(find_layers(m, err));
    *out = json_integer((json_int_t)round(share * m->n_layers));
    return *out ? 0 : err_memory(err, sizeof **out, w->key);
}

/* A path as it can be opened: beside the experiment's file, else as it stands. */
static int make_path(const struct maker *m, size_t line, const struct word *w, const json_t *v, json_t **out,
                     struct redline_err *err)
{
    char path[4096];
    const char *name = json_string_value(v), *slash = strrchr(m->p->y->path, '/');
    if (!name || !*name) return fail_value(m, line, w, v, "the name of a file is expected", err);
    int n_folder = slash && *name != '/' ? (int)(slash + 1 - m->p->y->path) : 0;
    snprintf(path, sizeof path, "%.*s%s", n_folder, m->p->y->path, name);
    if (access(path, R_OK) != 0) snprintf(path, sizeof path, "%s", name);
    if (access(path, R_OK) != 0)
        return yaml_fail_line(m->p->y, line, err, "the document '%s' is neither beside this file nor here", name);
    *out = json_string(path);
    return *out ? 0 : err_memory(err, strlen(path), w->key);
}

/* "8G", or a number; whoever reads the task reads it. */
static int check_bytes(struct maker *m, size_t line, const struct word *w, const json_t *v, struct redline_err *err)
{
    uint64_t bytes;
    const struct opt o = {w->key, NULL, OPT_BYTES, &bytes, 0, 0, NULL};
    const char *text = json_string_value(v);
    if (json_is_integer(v) ? json_integer_value(v) >= 0 : text && opt_set(&o, w->key, text, NULL) == 0) return 0;
    return fail_value(m, line, w, v, "a number of bytes is expected, as 512M or 8G", err);
}

/* The value that the task gets: v itself, or *out, which is then the caller's. */
static int check_value(struct maker *m, size_t line, const struct word *w, const json_t *v, json_t **out,
                       struct redline_err *err)
{
    char want[128];
    bool is_int = json_is_integer(v);
    if (w->kind == WORD_LAYERS && !is_int) return make_layers(m, line, w, v, out, err);
    switch (w->kind) {
    case WORD_LAYERS:
    case WORD_INT:
    case WORD_NUMBER:
        snprintf(want, sizeof want, "a %snumber between %.10g and %.10g is expected",
                 w->kind == WORD_NUMBER ? "" : "whole ", w->least, w->most);
        if ((w->kind == WORD_NUMBER ? json_is_number(v) : is_int) && json_number_value(v) >= w->least &&
            json_number_value(v) <= w->most)
            return 0;
        return fail_value(m, line, w, v, want, err);
    case WORD_BOOL: return json_is_boolean(v) ? 0 : fail_value(m, line, w, v, "true or false is expected", err);
    case WORD_CHOICE:
        snprintf(want, sizeof want, "%s is expected", w->choices);
        return json_is_string(v) && is_choice(json_string_value(v), w->choices) ? 0
                                                                                : fail_value(m, line, w, v, want, err);
    case WORD_BYTES: return check_bytes(m, line, w, v, err);
    case WORD_TEXT: return json_is_string(v) ? 0 : fail_value(m, line, w, v, "a text is expected", err);
    case WORD_FILE: return make_path(m, line, w, v, out, err);
    }
    return 0;
}

static int set(json_t *object, const char *key, json_t *taken, struct redline_err *err)
{
    return json_object_set_new(object, key, taken) ? err_memory(err, 1, key) : 0;
}

/* Writes a setting, a member of the workload or the load into the task. */
static int apply(struct maker *m, size_t line, const char *key, const json_t *v, struct redline_err *err)
{
    char text[256];
    const struct word *w = find_word(key);
    json_t *to = w->place == CELLS_LOAD ? m->task
                                        : json_object_get(m->task, w->place == CELLS_SETTING ? "settings" : "workload");
    json_t *made = NULL;
    value_text(v, text, sizeof text);
    if (w->place == CELLS_SETTING) TRY(set(json_object_get(m->task, "requested"), key, json_string(text), err));
    if (is_auto(v) && w->place == CELLS_LOAD) return fail_value(m, line, w, v, "fresh or warm is expected", err);
    if (is_auto(v)) {
        json_object_del(to, key);
        return 0;
    }
    TRY(check_value(m, line, w, v, &made, err));
    return set(to, key, made ? made : json_incref((json_t *)v), err);
}

/* ---- cells ----------------------------------------------------------------------------------- */

static int apply_members(struct maker *m, const json_t *object, struct redline_err *err)
{
    const char *key;
    json_t *v;
    json_object_foreach ((json_t *)object, key, v)
        if (find_word(key)) TRY(apply(m, yaml_line(m->p->y, object, key), key, v, err));
    return 0;
}

/* Of every axis the value that combination i has; the first axis changes last. */
static int apply_grid(struct maker *m, size_t i, size_t n_combinations, struct redline_err *err)
{
    json_t *grid = json_object_get(json_object_get(m->task, "experiment"), "grid");
    const char *axis;
    json_t *values;
    json_object_foreach ((json_t *)m->grid, axis, values) {
        n_combinations /= json_array_size(values);
        size_t at = i / n_combinations % json_array_size(values);
        const json_t *v = json_array_get(values, at);
        char text[256];
        value_text(v, text, sizeof text);
        TRY(buf_printf(&m->grid_label, err, "%s%s=%s", m->grid_label.n ? " " : "", axis, text));
        TRY(set(grid, axis, json_string(text), err));
        if (json_is_object(v)) TRY(apply_members(m, v, err));
        else TRY(apply(m, yaml_line_at(m->p->y, values, at), axis, v, err));
    }
    return 0;
}

static const struct {
    const char *key;
    int number;
    const char *text;
} workload_defaults[] = {
    {"kind", 0, "generate"}, {"n_prompt", 0, NULL},   {"n_gen", 0, NULL},       {"n_depth", 0, NULL},
    {"split", 0, "whole"},   {"n_requests", 0, NULL}, {"concurrency", 1, NULL}, {"arrival", 0, "closed"},
    {"seed", 1, NULL},
};

static int begin_workload(json_t *out, const json_t *workload, struct redline_err *err)
{
    TRY(set(out, "name", json_incref(json_object_get(workload, "name")), err));
    TRY(set(out, "document", json_null(), err));
    TRY(set(out, "rate", json_null(), err));
    for (size_t i = 0; i < COUNT_OF(workload_defaults); i++) {
        const char *text = workload_defaults[i].text;
        TRY(set(out, workload_defaults[i].key,
                text ? json_string(text) : json_integer(workload_defaults[i].number), err));
    }
    return 0;
}

/* What a worker would refuse in every repetition. */
static int check_workload(const struct maker *m, const json_t *written, struct redline_err *err)
{
    json_t *w = json_object_get(m->task, "workload");
    const char *kind = json_string_value(json_object_get(w, "kind"));
    bool has_text = json_is_string(json_object_get(w, "document"));
    if (strcmp(kind, "generate") == 0 && !has_text && json_integer_value(json_object_get(w, "n_prompt")) < 1)
        return yaml_fail(m->p->y, written, NULL, err, "a workload that generates needs n_prompt or a document");
    if ((strcmp(kind, "embed") == 0 || strcmp(kind, "score") == 0) && !has_text)
        return yaml_fail(m->p->y, written, NULL, err, "a workload of kind %s needs a document", kind);
    if (!has_text && json_integer_value(json_object_get(w, "n_requests")) < 1)
        json_object_set_new(w, "n_requests", json_integer(1)); /* of a document: 0, as many as it has parts */
    bool is_closed = strcmp(json_string_value(json_object_get(w, "arrival")), "closed") == 0;
    if (!is_closed && !json_is_number(json_object_get(w, "rate")))
        return yaml_fail(m->p->y, written, NULL, err,
                         "requests that arrive by themselves need a rate, in requests per second");
    return 0;
}

/* The rules of how often: those of the workload on top of those of all. */
static int make_repetitions(const struct maker *m, const json_t *workload, json_t **out, struct redline_err *err)
{
    const json_t *from[] = {json_object_get(m->p->root, "repetitions"), json_object_get(workload, "repetitions")};
    const json_t *in[] = {m->p->root, workload};
    int least = 3, most = 0;
    double width = 0;
    const char *of = NULL;
    for (size_t i = 0; i < COUNT_OF(from); i++) {
        if (json_is_integer(from[i])) {
            TRY(yaml_get_int(m->p->y, in[i], "repetitions", 1, 100000, &least, err));
            most = 0;
            width = 0;
        } else if (from[i]) {
            TRY(yaml_get_int(m->p->y, from[i], "least", 1, 100000, &least, err));
            TRY(yaml_get_int(m->p->y, from[i], "most", 1, 100000, &most, err));
            TRY(yaml_get_share(m->p->y, from[i], "width", &width, err));
            TRY(yaml_get_text(m->p->y, from[i], "of", &of, err));
        }
    }
    const json_t *last = from[1] ? from[1] : from[0];
    if (width > 0 && !of)
        return yaml_fail(m->p->y, last, NULL, err, "width needs `of`, the metric whose interval it is");
    if (of && !metric_find(of))
        return yaml_fail(m->p->y, last, "of", err, "there is no metric '%s'; redline lab metrics lists them", of);
    if (width == 0) most = least;
    if (most == 0) most = MAX(least, 10);
    if (most < least)
        return yaml_fail(m->p->y, last, NULL, err, "at least %d repetitions and at most %d cannot be", least, most);
    *out = json_pack("{s:i,s:i,s:f,s:s?}", "least", least, "most", most, "width", width, "of", width > 0 ? of : NULL);
    return *out ? 0 : err_memory(err, 1, "repetitions");
}

static int fill_task(struct maker *m, size_t i, size_t n_combinations, const json_t *workload, struct redline_err *err)
{
    m->grid_label.n = 0;
    TRY(begin_workload(json_object_get(m->task, "workload"), workload, err));
    const json_t *settings = json_object_get(m->p->root, "settings"), *load = json_object_get(m->p->root, "load");
    if (json_is_object(settings)) TRY(apply_members(m, settings, err));
    if (load && !json_is_null(load)) TRY(apply(m, yaml_line(m->p->y, m->p->root, "load"), "load", load, err));
    TRY(apply_members(m, workload, err));
    if (m->grid) TRY(apply_grid(m, i, n_combinations, err));
    return check_workload(m, workload, err);
}

/* "llama.gguf | n_threads=2 n_ubatch=8 | short" */
static json_t *make_label(const struct maker *m, const json_t *workload)
{
    const char *file = m->model ? m->model : "demo", *slash = strrchr(file, '/');
    struct str grid = buf_str(&m->grid_label);
    bool many = m->p->n_models > 1;
    return json_sprintf("%s%s%.*s%s%s", many ? slash ? slash + 1 : file : "", many ? " | " : "", STR_ARG(grid),
                        grid.n ? " | " : "", json_string_value(json_object_get(workload, "name")));
}

static int make_cell(struct maker *m, size_t i, size_t n_combinations, const json_t *workload, struct redline_err *err)
{
    json_t *repetitions = NULL, *cell = NULL;
    size_t number = json_array_size(m->cells);
    if (number == EXPERIMENT_MOST_CELLS)
        return yaml_fail(m->p->y, m->p->root, "grid", err, "more than %d cells", EXPERIMENT_MOST_CELLS);
    m->task = json_pack("{s:s?,s:{},s:{},s:{},s:s,s:{s:s,s:I,s:{}}}", "model", m->model, "settings", "requested",
                        "workload", "load", "fresh", "experiment", "name", m->p->name, "cell", (json_int_t)number,
                        "grid");
    int status = m->task ? fill_task(m, i, n_combinations, workload, err) : err_memory(err, 1, "a cell");
    if (!status) status = make_repetitions(m, workload, &repetitions, err);
    if (!status) {
        cell = json_pack("{s:O,s:o,s:O}", "task", m->task, "label", make_label(m, workload), "repetitions",
                         repetitions);
        if (!cell || json_array_append_new(m->cells, cell)) status = err_memory(err, 1, "a cell");
    }
    json_decref(m->task);
    json_decref(repetitions);
    return status;
}

static int make_model(struct maker *m, size_t n_combinations, struct redline_err *err)
{
    const json_t *workloads = json_object_get(m->p->root, "workloads"), *workload;
    size_t i;
    for (size_t c = 0; c < n_combinations; c++)
        json_array_foreach (workloads, i, workload)
            TRY(make_cell(m, c, n_combinations, workload, err));
    return 0;
}

static int check_names(const struct cells_params *p, const json_t *workloads, struct redline_err *err)
{
    const json_t *workload, *before;
    size_t i, j;
    if (json_array_size(workloads) == 0)
        return yaml_fail(p->y, p->root, "workloads", err, "workloads are missing: what is to be measured?");
    json_array_foreach (workloads, i, workload) {
        const char *name = json_string_value(json_object_get(workload, "name"));
        if (!name || !*name) return yaml_fail(p->y, workload, NULL, err, "the workload has no name");
        json_array_foreach (workloads, j, before)
            if (j < i && strcmp(json_string_value(json_object_get(before, "name")), name) == 0)
                return yaml_fail(p->y, workload, "name", err, "there are two workloads '%s'", name);
    }
    return 0;
}

int cells_make(json_t **cells, const struct cells_params *p, struct redline_err *err)
{
    struct maker m = {.p = p, .cells = json_array()};
    const json_t *grid = json_object_get(p->root, "grid");
    const char *axis;
    json_t *values;
    size_t n_combinations = 1;
    int status = m.cells ? check_names(p, json_object_get(p->root, "workloads"), err) : err_memory(err, 1, "cells");
    if (json_is_object(grid)) m.grid = grid;
    if (m.grid)
        json_object_foreach ((json_t *)grid, axis, values)
            if (n_combinations <= EXPERIMENT_MOST_CELLS) n_combinations *= json_array_size(values);
    for (size_t i = 0; !status && i < p->n_models; i++) {
        m.model = p->models[i];
        m.n_layers = -1;
        status = make_model(&m, n_combinations, err);
    }
    buf_free(&m.grid_label);
    if (status) json_decref(m.cells);
    *cells = status ? NULL : m.cells;
    return status;
}
