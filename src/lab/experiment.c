/* experiment.c - an experiment's file, with its short form and the command line's words merged in, as cells. */
#include "experiment.h"

#include <inttypes.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "cells.h"
#include "mem.h"
#include "opt.h"
#include "redline.h"

struct reading {
    struct experiment *e;
    const struct experiment_overrides *o;
    struct yaml y;
    json_t *root; /* of y, changed on the way */
};

static const char *const root_keys[] = {"name", "title", "about", "require", "peers", "models", "settings", "grid",
                                        "workloads", "load", "repetitions", "order", "tables", "short", "parts"};
static const char *const order_keys[] = {"interleave", "seed"};

/* ---- checking and merging -------------------------------------------------------------------- */

static int check_tree(const struct reading *r, const json_t *root, const char *what, struct redline_err *err)
{
    const json_t *order = json_object_get(root, "order"), *tables = json_object_get(root, "tables"), *table;
    size_t i;
    TRY(yaml_check_keys(&r->y, root, root_keys, COUNT_OF(root_keys), what, err));
    TRY(cells_check_keys(&r->y, root, err));
    if (order && !json_is_null(order))
        TRY(yaml_check_keys(&r->y, order, order_keys, COUNT_OF(order_keys), "order", err));
    if (!tables || json_is_null(tables)) return 0;
    if (!json_is_array(tables)) return yaml_fail(&r->y, root, "tables", err, "tables: a list is expected");
    json_array_foreach (tables, i, table)
        if (!json_is_object(table))
            return yaml_fail_line(&r->y, yaml_line_at(&r->y, tables, i), err, "tables: a mapping is expected");
    return 0;
}

/* RFC 7386. */
static int merge(json_t *to, const json_t *patch, struct redline_err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)patch, key, value) {
        json_t *before = json_object_get(to, key);
        if (json_is_null(value)) json_object_del(to, key);
        else if (json_is_object(value) && json_is_object(before)) TRY(merge(before, value, err));
        else if (json_object_set(to, key, value)) return err_memory(err, 1, "the short form");
    }
    return 0;
}

static int merge_short(struct reading *r, struct redline_err *err)
{
    json_t *patch = json_object_get(r->root, "short");
    if (!patch || json_is_null(patch)) return 0;
    if (!json_is_object(patch)) return yaml_fail(&r->y, r->root, "short", err, "short: a mapping is expected");
    TRY(check_tree(r, patch, "short", err));
    return r->o->short_form ? merge(r->root, patch, err) : 0;
}

/* ---- --set ----------------------------------------------------------------------------------- */

static int split_values(json_t **out, const char *text, struct redline_err *err)
{
    json_t *list = json_array();
    if (!list) return err_memory(err, strlen(text), "values");
    for (const char *p = text;; p++) {
        size_t n = strcspn(p, ",");
        if (json_array_append_new(list, yaml_word(p, n))) {
            json_decref(list);
            return err_memory(err, n, "values");
        }
        p += n;
        if (!*p) break;
    }
    *out = list;
    return 0;
}

/* A section that may not be there yet; borrowed. */
static json_t *section(json_t *root, const char *key)
{
    json_t *s = json_object_get(root, key);
    if (!json_is_object(s) && json_object_set_new(root, key, s = json_object())) return NULL;
    return s;
}

/* An axis of the file's own: of its values those that are named. */
static int set_own_axis(json_t *grid, const char *axis, const json_t *names, struct redline_err *err)
{
    const json_t *all = json_object_get(grid, axis), *name, *value;
    json_t *chosen = json_array();
    size_t i, j;
    if (!chosen) return err_memory(err, 1, axis);
    json_array_foreach (names, i, name) {
        size_t n = json_array_size(chosen);
        json_array_foreach (all, j, value)
            if (json_equal(json_object_get(value, "name"), name)) json_array_append(chosen, (json_t *)value);
        if (json_array_size(chosen) == n) {
            json_decref(chosen);
            return err_set(err, REDLINE_ARG, "--set %s: there is no value '%s'", axis,
                           json_is_string(name) ? json_string_value(name) : "of another kind");
        }
    }
    return json_object_set_new(grid, axis, chosen) ? err_memory(err, 1, axis) : 0;
}

/* A setting, a member of all workloads, or the load: one value, or an axis of several. */
static int set_word(struct reading *r, const char *key, json_t *values, struct redline_err *err)
{
    json_t *grid = json_object_get(r->root, "grid"), *workload;
    bool is_axis = json_is_array(json_object_get(grid, key));
    size_t i;
    if (is_axis || json_array_size(values) > 1) {
        grid = section(r->root, "grid");
        return !grid || json_object_set(grid, key, values) ? err_memory(err, 1, key) : 0;
    }
    json_t *value = json_array_get(values, 0), *to = r->root;
    if (cells_place_of(key) == CELLS_WORKLOAD) {
        json_array_foreach (json_object_get(r->root, "workloads"), i, workload)
            if (json_object_set(workload, key, value)) return err_memory(err, 1, key);
        return 0;
    }
    if (cells_place_of(key) == CELLS_SETTING) to = section(r->root, "settings");
    return !to || json_object_set(to, key, value) ? err_memory(err, 1, key) : 0;
}

/* "repetitions.most": one value into a section of that name. */
static int set_member(struct reading *r, const char *head, const char *member, const json_t *values,
                      struct redline_err *err)
{
    json_t *to = json_object_get(r->root, head);
    if (json_is_integer(to)) json_object_del(r->root, head);
    to = section(r->root, head);
    if (json_array_size(values) != 1)
        return err_set(err, REDLINE_ARG, "--set %s.%s: one value is expected", head, member);
    if (!to || json_object_set(to, member, json_array_get(values, 0))) return err_memory(err, 1, member);
    return 0;
}

static int set_values(struct reading *r, const char *key, json_t *values, struct redline_err *err)
{
    static const char *const sections[] = {"repetitions", "order"};
    const char *dot = strchr(key, '.'), *word = strncmp(key, "workload.", 9) == 0 ? key + 9 : key;
    for (size_t i = 0; dot && i < COUNT_OF(sections); i++) {
        size_t n = strlen(sections[i]);
        if ((size_t)(dot - key) == n && memcmp(key, sections[i], n) == 0)
            return set_member(r, sections[i], dot + 1, values, err);
    }
    enum cells_place place = cells_place_of(word);
    if (place != CELLS_NOWHERE && (word == key || place == CELLS_WORKLOAD)) return set_word(r, word, values, err);
    json_t *grid = json_object_get(r->root, "grid");
    if (json_is_array(json_object_get(grid, key))) return set_own_axis(grid, key, values, err);
    const char *near = cells_nearest(word);
    if (near) return err_set(err, REDLINE_ARG, "--set: there is no '%s'; did you mean '%s'?", key, near);
    return err_set(err, REDLINE_ARG, "--set: there is no '%s'", key);
}

static int apply_sets(struct reading *r, struct redline_err *err)
{
    for (size_t i = 0; i < r->o->n_sets; i++) {
        char key[64];
        json_t *values = NULL;
        const char *text = r->o->sets[i], *equals = strchr(text, '=');
        if (!equals || equals == text || (size_t)(equals - text) >= sizeof key)
            return err_set(err, REDLINE_ARG, "--set %s: KEY=VALUE is expected", text);
        snprintf(key, sizeof key, "%.*s", (int)(equals - text), text);
        TRY(split_values(&values, equals + 1, err));
        int status = set_values(r, key, values, err);
        json_decref(values);
        TRY(status);
    }
    /* Keys below a section were not looked at; values are by cells_make(). */
    return r->o->n_sets ? check_tree(r, r->root, "--set", err) : 0;
}

/* ---- the experiment -------------------------------------------------------------------------- */

static int copy_text(char **out, const char *text, struct redline_err *err)
{
    *out = mem_copy(text, strlen(text));
    return *out ? 0 : err_memory(err, strlen(text) + 1, "an experiment");
}

static int read_head(struct reading *r, struct redline_err *err)
{
    struct experiment *e = r->e;
    const char *name = NULL, *title = NULL, *about = "", *require = NULL;
    TRY(yaml_get_text(&r->y, r->root, "name", &name, err));
    TRY(yaml_get_text(&r->y, r->root, "title", &title, err));
    TRY(yaml_get_text(&r->y, r->root, "about", &about, err));
    TRY(yaml_get_text(&r->y, r->root, "require", &require, err));
    TRY(yaml_get_bool(&r->y, r->root, "peers", &e->peers, err));
    if (!name || !*name || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != strlen(name))
        return yaml_fail(&r->y, r->root, "name", err, "an experiment needs a name of small letters, digits and -");
    if (require && strcmp(require, "gpu") != 0 && strcmp(require, "cpu") != 0)
        return yaml_fail(&r->y, r->root, "require", err, "require cannot be '%s', known are gpu and cpu", require);
    TRY(copy_text(&e->name, name, err));
    TRY(copy_text(&e->title, title ? title : name, err));
    TRY(copy_text(&e->about, about, err));
    if (require && strcmp(require, "gpu") == 0) TRY(copy_text(&e->require, require, err));
    const json_t *order = json_object_get(r->root, "order");
    int seed = 1;
    e->interleave = true;
    if (order) TRY(yaml_get_bool(&r->y, order, "interleave", &e->interleave, err));
    if (order) TRY(yaml_get_int(&r->y, order, "seed", 0, INT32_MAX, &seed, err));
    e->seed = (uint64_t)seed;
    json_t *tables = json_object_get(r->root, "tables");
    e->tables = json_is_array(tables) ? json_incref(tables) : json_array();
    return e->tables ? 0 : err_memory(err, 1, "tables");
}

/* That it is a model is to be known before anything is measured. */
static int check_model(const char *path, struct redline_err *err)
{
    struct redline_model *model = NULL;
    int status = redline_model_open(&model, path, err);
    redline_model_close(&model);
    return status;
}

/* The models of the command line, else of the file, else the demo model. */
static int read_models(struct reading *r, const char ***out, size_t *n, struct redline_err *err)
{
    const json_t *list = json_object_get(r->root, "models"), *item;
    size_t i, n_listed = json_is_array(list) ? json_array_size(list) : 0;
    bool named = r->o->n_models > 0;
    if (list && !json_is_null(list) && !json_is_array(list))
        return yaml_fail(&r->y, r->root, "models", err, "models: a list is expected");
    *n = named ? r->o->n_models : MAX(n_listed, 1u);
    *out = mem_new(*n, sizeof **out);
    if (!*out) return err_memory(err, *n * sizeof **out, "names of models");
    for (i = 0; named && i < *n; i++) (*out)[i] = r->o->models[i];
    json_array_foreach (list, i, item) {
        if (named) break;
        if (!json_is_string(item))
            return yaml_fail_line(&r->y, yaml_line_at(&r->y, list, i), err, "models: the path of a file is expected");
        (*out)[i] = json_string_value(item);
    }
    for (i = 0; i < *n; i++) {
        if ((*out)[i] && strcmp((*out)[i], "demo") == 0) (*out)[i] = NULL;
        TRY(check_model((*out)[i], err));
    }
    return 0;
}

static int read_cells(struct reading *r, struct redline_err *err)
{
    struct cells_params p = {.y = &r->y, .root = r->root, .name = r->e->name};
    const char **models = NULL;
    int status = read_models(r, &models, &p.n_models, err);
    p.models = models;
    if (!status) status = cells_make(&r->e->cells, &p, err);
    mem_free(models);
    return status;
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* The cell of a part as one of the whole. */
static int take_cell(struct experiment *e, const struct experiment *part, json_t *cell, struct redline_err *err)
{
    json_t *x = json_object_get(json_object_get(cell, "task"), "experiment");
    const char *label = json_string_value(json_object_get(cell, "label"));
    int failed = json_object_set_new(x, "name", json_string(e->name)) ||
                 json_object_set_new(x, "part", json_string(part->name)) ||
                 json_object_set_new(x, "cell", json_integer((json_int_t)json_array_size(e->cells))) ||
                 json_object_set_new(cell, "label", json_sprintf("%s: %s", part->name, label)) ||
                 json_object_set_new(cell, "part", json_string(part->name)) ||
                 json_object_set_new(cell, "require", part->require ? json_string(part->require) : json_null()) ||
                 json_object_set_new(cell, "peers", json_boolean(part->peers)) || json_array_append(e->cells, cell);
    return failed ? err_memory(err, 1, "a cell") : 0;
}

static int take_part(struct experiment *e, const struct experiment *part, struct redline_err *err)
{
    json_t *cell, *table;
    size_t i;
    json_t *about = json_pack("{s:s,s:s,s:s?,s:b}", "name", part->name, "title", part->title, "require",
                              part->require, "peers", part->peers);
    if (!about || json_array_append_new(e->parts, about)) return err_memory(err, 1, "a part");
    json_array_foreach (part->cells, i, cell) TRY(take_cell(e, part, cell, err));
    json_array_foreach (part->tables, i, table) {
        json_t *where = json_object_get(table, "where");
        if (!where && json_object_set_new(table, "where", where = json_object())) return err_memory(err, 1, "a table");
        if (json_object_set_new(where, "experiment.part", json_string(part->name)) ||
            json_array_append(e->tables, table))
            return err_memory(err, 1, "a table");
    }
    return 0;
}

static int read_parts(struct reading *r, const json_t *parts, struct redline_err *err)
{
    static const char *const not_here[] = {"grid", "workloads", "settings", "load", "repetitions"};
    struct experiment_overrides o = *r->o;
    const json_t *name;
    size_t i;
    o.short_form = true;
    for (i = 0; i < COUNT_OF(not_here); i++)
        if (json_object_get(r->root, not_here[i]))
            return yaml_fail(&r->y, r->root, not_here[i], err, "an experiment has parts or %s, not both", not_here[i]);
    r->e->parts = json_array();
    r->e->cells = json_array();
    if (!r->e->parts || !r->e->cells) return err_memory(err, 1, "parts");
    json_array_foreach (parts, i, name) {
        struct experiment part = {0};
        if (!json_is_string(name) || strcmp(json_string_value(name), r->e->name) == 0)
            return yaml_fail_line(&r->y, yaml_line_at(&r->y, parts, i), err,
                                  "parts: the name of another experiment is expected");
        int status = experiment_read(&part, json_string_value(name), &o, err);
        if (!status && part.parts)
            status = yaml_fail_line(&r->y, yaml_line_at(&r->y, parts, i), err, "%s has parts itself", part.name);
        if (!status) status = take_part(r->e, &part, err);
        experiment_free(&part);
        TRY(status);
    }
    return 0;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int make_digest(struct experiment *e, struct redline_err *err)
{
    struct sha256_ctx sha;
    uint8_t bytes[SHA256_DIGEST_SIZE];
    char order[64];
    char *cells = json_dumps(e->cells, JSON_COMPACT | JSON_SORT_KEYS);
    if (!cells) return err_memory(err, 1, "the digest of an experiment");
    snprintf(order, sizeof order, " %d %" PRIu64, e->interleave, e->seed);
    sha256_init(&sha);
    sha256_update(&sha, strlen(cells), (const uint8_t *)cells);
    sha256_update(&sha, strlen(order), (const uint8_t *)order);
    sha256_digest(&sha, sizeof bytes, bytes);
    for (size_t i = 0; i < sizeof bytes; i++) snprintf(e->digest + 2 * i, 3, "%02x", bytes[i]);
    free(cells);
    return 0;
}

static int read_all(struct reading *r, struct redline_err *err)
{
    TRY(check_tree(r, r->root, "experiment", err));
    TRY(merge_short(r, err));
    const json_t *parts = json_object_get(r->root, "parts");
    bool has_parts = parts && !json_is_null(parts);
    if (!has_parts) TRY(apply_sets(r, err)); /* else each part does */
    TRY(read_head(r, err));
    if (has_parts && !json_is_array(parts))
        return yaml_fail(&r->y, r->root, "parts", err, "parts: a list of names is expected");
    TRY(has_parts ? read_parts(r, parts, err) : read_cells(r, err));
    return make_digest(r->e, err);
}

int experiment_read(struct experiment *out, const char *path, const struct experiment_overrides *o,
                    struct redline_err *err)
{
    static const struct experiment_overrides none;
    struct reading r = {.e = out, .o = o ? o : &none};
    struct buf file = {0};
    *out = (struct experiment){0};
    int status = experiment_find(&file, path, err);
    if (!status) status = yaml_read(&r.y, file.p, err);
    r.root = r.y.root;
    if (!status) status = read_all(&r, err);
    yaml_close(&r.y);
    buf_free(&file);
    if (status) experiment_free(out);
    return status;
}

void experiment_free(struct experiment *e)
{
    mem_free(e->name);
    mem_free(e->title);
    mem_free(e->about);
    mem_free(e->require);
    json_decref(e->cells);
    json_decref(e->tables);
    json_decref(e->parts);
    *e = (struct experiment){0};
}

size_t experiment_n_cells(const struct experiment *e)
{
    return json_array_size(e->cells);
}

struct experiment_cell experiment_cell(const struct experiment *e, size_t i)
{
    const json_t *cell = json_array_get(e->cells, i), *r = json_object_get(cell, "repetitions");
    return (struct experiment_cell){
        .task = json_object_get(cell, "task"),
        .label = json_string_value(json_object_get(cell, "label")),
        .part = json_string_value(json_object_get(cell, "part")),
        .require = json_string_value(json_object_get(cell, "require")),
        .peers = json_is_true(json_object_get(cell, "peers")),
        .least = (int)json_integer_value(json_object_get(r, "least")),
        .most = (int)json_integer_value(json_object_get(r, "most")),
        .width = json_number_value(json_object_get(r, "width")),
        .of = json_string_value(json_object_get(r, "of")),
    };
}
