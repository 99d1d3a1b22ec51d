/* record_schema.c - the table of members as a JSON schema, for other programs.
 *
 * A schema cannot say that every null has its reason; that is record_check()'s alone. */
#include "record.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "metric.h"
#include "record_members.h"

static const char *const type_names[] = {"object", "array", "string", "integer", "number", "boolean"};

/* The object under this name, made where there is none. */
static json_t *enter(json_t *at, const char *name, size_t n)
{
    json_t *next = json_object_getn(at, name, n);
    if (next) return next;
    next = json_object();
    return json_object_setn_new(at, name, n, next) ? NULL : next;
}

/* The schema of what the path leads to, and the one that it is a property of. */
static json_t *node_at(json_t *schema, const char *path, json_t **parent)
{
    json_t *at = schema;
    for (size_t n; at && *path; path += n + (path[n] == '.')) {
        n = strcspn(path, ".");
        *parent = at;
        at = enter(enter(at, "properties", strlen("properties")), path, n);
    }
    return at;
}

static const char *last_name(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

static void require(json_t *parent, const char *path)
{
    json_t *list = json_object_get(parent, "required");
    if (!list) json_object_set_new(parent, "required", list = json_array());
    json_array_append_new(list, json_string(last_name(path)));
}

static void describe(json_t *node, const struct record_member *m)
{
    const char *type = type_names[m->kind];
    size_t n = strlen(m->path);
    if (m->flags & RECORD_NEVER)
        json_object_set_new(node, "type", json_string(type));
    else
        json_object_set_new(node, "type", json_pack("[s, s]", type, "null"));
    if (*m->about) json_object_set_new(node, "description", json_string(m->about));
    if (m->kind == RECORD_ARRAY && n > 3 && strcmp(m->path + n - 3, "_ns") == 0)
        json_object_set_new(node, "items", json_pack("{s:s}", "type", "integer"));
}

static json_t *element_schema(const struct record_elements *e)
{
    json_t *schema = json_pack("{s:s}", "type", "object"), *parent = schema;
    for (size_t i = 0; i < e->n; i++) {
        describe(node_at(schema, e->members[i].path, &parent), &e->members[i]);
        if (!(e->members[i].flags & RECORD_OPTIONAL)) require(schema, e->members[i].path);
    }
    return schema;
}

static void describe_figures(json_t *derived)
{
    for (size_t i = 0; i < n_metrics; i++) {
        json_t *unused, *figure = node_at(derived, metrics[i].name, &unused);
        json_object_set_new(figure, "type", json_string("object"));
        json_object_set_new(figure, "description", json_string(metrics[i].definition));
        json_object_set_new(figure, "properties",
                            json_pack("{s:{s:[s, s]}, s:{s:s}}", "value", "type", "number", "null", "unit", "const",
                                      metrics[i].unit));
        json_object_set_new(figure, "required", json_pack("[s, s]", "value", "unit"));
    }
    json_object_set_new(derived, "additionalProperties", json_false());
}

/* Members that must be there only when the measurement did not fail. */
static json_t *require_all(void)
{
    json_t *schema = json_object(), *parent = schema;
    for (size_t i = 0; i < n_record_members; i++) {
        const struct record_member *m = &record_members[i];
        if (m->flags & (RECORD_OPTIONAL | RECORD_CORE)) continue;
        node_at(schema, m->path, &parent);
        require(parent, m->path);
    }
    return schema;
}

static json_t *require_core(json_t *schema)
{
    json_t *parent = schema;
    for (size_t i = 0; i < n_record_members; i++) {
        const struct record_member *m = &record_members[i];
        describe(node_at(schema, m->path, &parent), m);
        if (m->flags & RECORD_CORE && !(m->flags & RECORD_OPTIONAL)) require(parent, m->path);
    }
    for (size_t i = 0; i < n_record_elements; i++)
        json_object_set_new(node_at(schema, record_elements[i].path, &parent), "items",
                            element_schema(&record_elements[i]));
    return schema;
}

static void special(json_t *schema)
{
    json_t *unused;
    json_object_set_new(node_at(schema, "version", &unused), "const", json_integer(RECORD_VERSION));
    json_object_set_new(node_at(schema, "failed", &unused), "minLength", json_integer(1));
    json_object_set_new(node_at(schema, "missing", &unused), "additionalProperties",
                        json_pack("{s:s, s:i}", "type", "string", "minLength", 1));
    describe_figures(node_at(schema, "derived", &unused));
}

json_t *record_schema(void)
{
    json_t *schema = json_pack("{s:s, s:s, s:s, s:s}", "$schema", "http://json-schema.org/draft-07/schema#", "title",
                               "A record of Redline's laboratory", "description",
                               "One measurement.  What could not be read is null, and \"missing\" says why, under its "
                               "path or that of what it is a part of.",
                               "type", "object");
    require_core(schema);
    special(schema);
    json_object_set_new(schema, "if", json_pack("{s:[s]}", "required", "failed"));
    json_object_set_new(schema, "then", json_pack("{s:{s:[s]}}", "not", "required", "derived"));
    json_object_set_new(schema, "else", require_all());
    return schema;
}
