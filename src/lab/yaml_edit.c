/* yaml_edit.c - finding the place by libyaml's events, which know where they stand in the text. */
#include "yaml_edit.h"

#include <stdio.h>
#include <yaml.h>

#include "base.h"

enum place_kind {
    AT_VALUE,    /* bytes first to last are replaced */
    IN_BLOCK,    /* a line of `column` blanks begins at first */
    IN_FLOW,     /* after the brace that ends before first */
    AT_NOTHING,  /* a section that is there without content: bytes first to last, a block of `column` blanks follows */
    AT_NOTHING_IN_FLOW,
    AT_END,      /* there is no section at all */
};

struct place {
    enum place_kind kind;
    size_t first, last;   /* bytes */
    size_t column;
    bool empty;           /* IN_FLOW: nothing else is in it */
    const char *rest;     /* of the key, what is not there yet */
};

struct walk {
    struct str text;
    const char *path;
    yaml_parser_t parser;
    yaml_event_t event;   /* the one in hand */
};

static const char bom[] = "\xef\xbb\xbf";

/* ---- walking -------------------------------------------------------------------------------------- */

/* Marks count code points. */
static size_t byte_of(const struct walk *w, const yaml_mark_t *mark)
{
    size_t at = 0;
    for (size_t i = 0; i < mark->index && at < w->text.n; i++)
        for (at++; at < w->text.n && ((unsigned char)w->text.p[at] & 0xc0) == 0x80;) at++;
    return at;
}

static int refuse(const struct walk *w, struct redline_err *err, const char *what)
{
    return err_set(err, REDLINE_ARG, "%s:%zu: %s", w->path, w->event.start_mark.line + 1, what);
}

static int next(struct walk *w, struct redline_err *err)
{
    yaml_event_delete(&w->event);
    if (yaml_parser_parse(&w->parser, &w->event)) return 0;
    return err_set(err, REDLINE_ARG, "%s:%zu: this is not YAML: %s", w->path, w->parser.problem_mark.line + 1,
                   w->parser.problem ? w->parser.problem : "memory");
}

/* The event in hand begins a value: goes on to its last one. */
static int skip(struct walk *w, struct redline_err *err)
{
    int depth = 0;
    for (;;) {
        yaml_event_type_t type = w->event.type;
        depth += type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT;
        depth -= type == YAML_MAPPING_END_EVENT || type == YAML_SEQUENCE_END_EVENT;
        if (depth == 0) return 0;
        TRY(next(w, err));
    }
}

static size_t part_length(const char *key)
{
    return strcspn(key, ".");
}

static bool is_part(const struct walk *w, const char *key)
{
    const yaml_event_t *e = &w->event;
    return e->type == YAML_SCALAR_EVENT && e->data.scalar.length == part_length(key) &&
           memcmp(e->data.scalar.value, key, part_length(key)) == 0;
}

static bool is_nothing(const struct walk *w)
{
    const char *s = (const char *)w->event.data.scalar.value;
    return w->event.type == YAML_SCALAR_EVENT && w->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (!*s || strcmp(s, "~") == 0 || strcmp(s, "null") == 0);
}

static size_t end_of_line(const struct walk *w, size_t at)
{
    while (at < w->text.n && w->text.p[at] != '\n') at++;
    return at < w->text.n ? at + 1 : at;
}

/* ---- the place ------------------------------------------------------------------------------------ */

static int find_in(struct walk *w, const char *key, const yaml_mark_t *parent, struct place *out,
                   struct redline_err *err);

/* The event in hand is what stands behind the key that `key` begins with. */
static int find_value(struct walk *w, const char *key, const yaml_mark_t *own, bool flow, struct place *out,
                      struct redline_err *err)
{
    const char *rest = key + part_length(key);
    size_t first = byte_of(w, &w->event.start_mark), last = byte_of(w, &w->event.end_mark);
    if (!*rest && w->event.type != YAML_SCALAR_EVENT) return refuse(w, err, "one value is expected here");
    if (!*rest) {
        *out = (struct place){.kind = AT_VALUE, .first = first, .last = last};
        return 0;
    }
    if (w->event.type == YAML_MAPPING_START_EVENT) return find_in(w, rest + 1, own, out, err);
    if (!is_nothing(w)) return refuse(w, err, "a section with settings is expected here");
    *out = (struct place){.kind = flow ? AT_NOTHING_IN_FLOW : AT_NOTHING, .first = first, .last = last,
                          .column = own->column + 2, .rest = rest + 1};
    return 0;
}

/* The event in hand begins the section that `key` is looked for in; parent: of its own key, NULL for the whole. */
static int find_in(struct walk *w, const char *key, const yaml_mark_t *parent, struct place *out,
                   struct redline_err *err)
{
    bool flow = w->event.data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
    *out = (struct place){.kind = flow ? IN_FLOW : IN_BLOCK, .empty = true, .rest = key};
    out->first = flow ? byte_of(w, &w->event.start_mark) + 1 : parent ? end_of_line(w, byte_of(w, parent)) : 0;
    for (;;) {
        TRY(next(w, err));
        if (w->event.type == YAML_MAPPING_END_EVENT) break;
        yaml_mark_t own = w->event.start_mark;
        bool found = is_part(w, key);
        if (out->empty) out->column = own.column;
        out->empty = false;
        TRY(skip(w, err));
        TRY(next(w, err));
        if (found) return find_value(w, key, &own, flow, out, err);
        TRY(skip(w, err));
    }
    if (!flow && !parent) out->first = byte_of(w, &w->event.start_mark); /* new sections stand last */
    out->last = out->first;
    return 0;
}

static int find(struct walk *w, const char *key, struct place *out, struct redline_err *err)
{
    *out = (struct place){.kind = AT_END, .first = w->text.n, .last = w->text.n, .rest = key};
    do {
        TRY(next(w, err));
        if (w->event.type == YAML_STREAM_END_EVENT) return 0;
    } while (w->event.type != YAML_DOCUMENT_START_EVENT);
    TRY(next(w, err));
    if (w->event.type == YAML_MAPPING_START_EVENT) return find_in(w, key, NULL, out, err);
    if (!is_nothing(w) || w->event.data.scalar.length) return refuse(w, err, "a section with settings is expected");
    TRY(next(w, err));
    out->first = out->last = byte_of(w, &w->event.start_mark);
    return 0;
}

/* ---- writing --------------------------------------------------------------------------------------- */

/* "primary:", a line deeper "n_threads: 2" */
static int add_block(struct buf *out, const char *key, const char *value, size_t column, struct redline_err *err)
{
    for (;; key += part_length(key) + 1, column += 2) {
        int n = (int)part_length(key);
        TRY(buf_printf(out, err, "%*s%.*s:", (int)column, "", n, key));
        if (!key[n]) return buf_printf(out, err, " %s\n", value);
        TRY(buf_printf(out, err, "\n"));
    }
}

/* "primary: {n_threads: 2}" */
static int add_flow(struct buf *out, const char *key, const char *value, struct redline_err *err)
{
    int n = (int)part_length(key), depth = 0;
    for (; key[n]; key += n + 1, n = (int)part_length(key), depth++)
        TRY(buf_printf(out, err, "%.*s: {", n, key));
    TRY(buf_printf(out, err, "%s: %s", key, value));
    while (depth--) TRY(buf_printf(out, err, "}"));
    return 0;
}

static int end_line(struct buf *out, struct redline_err *err)
{
    return out->n && out->p[out->n - 1] != '\n' ? buf_printf(out, err, "\n") : 0;
}

static struct str part_of(struct str s, size_t first, size_t last)
{
    return (struct str){s.p + first, last - first};
}

/* What stands in the place; *after: up to where the old text was used. */
static int write_place(struct buf *out, const struct walk *w, const struct place *p, const char *value,
                       size_t *after, struct redline_err *err)
{
    const char *blank = p->first && w->text.p[p->first - 1] == ':' ? " " : "";
    *after = p->last;
    switch (p->kind) {
    case AT_VALUE: return buf_printf(out, err, "%s%s", blank, value);
    case IN_FLOW:
        TRY(add_flow(out, p->rest, value, err));
        return p->empty ? 0 : buf_printf(out, err, ", ");
    case AT_NOTHING_IN_FLOW:
        TRY(buf_printf(out, err, "%s{", blank));
        TRY(add_flow(out, p->rest, value, err));
        return buf_printf(out, err, "}");
    case AT_NOTHING:
        *after = end_of_line(w, p->last);
        TRY(buf_append_str(out, part_of(w->text, p->last, *after), err));
        break;
    case IN_BLOCK:
    case AT_END: break;
    }
    TRY(end_line(out, err));
    return add_block(out, p->rest, value, p->kind == AT_END ? 0 : p->column, err);
}

static int edit(struct walk *w, const char *key, const char *value, struct buf *out, struct redline_err *err)
{
    struct place place;
    size_t after;
    TRY(find(w, key, &place, err));
    TRY(buf_append_str(out, part_of(w->text, 0, place.first), err));
    TRY(write_place(out, w, &place, value, &after, err));
    return buf_append_str(out, part_of(w->text, after, w->text.n), err);
}

static int walk_new(struct walk *w, struct str text, const char *path, struct redline_err *err)
{
    *w = (struct walk){.text = text, .path = path};
    if (!yaml_parser_initialize(&w->parser)) return err_memory(err, sizeof w->parser, "a YAML parser");
    yaml_parser_set_encoding(&w->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&w->parser, (const unsigned char *)text.p, text.n);
    return 0;
}

static void walk_free(struct walk *w)
{
    yaml_event_delete(&w->event);
    yaml_parser_delete(&w->parser);
}

/* The value stands where it is looked for: whatever the text was like, it is not made worse. */
static int check(struct str text, const char *key, const char *value, const char *path, struct redline_err *err)
{
    struct walk w;
    struct place place = {0};
    TRY(walk_new(&w, text, path, err));
    int status = find(&w, key, &place, err);
    bool there = !status && place.kind == AT_VALUE && str_eq(part_of(text, place.first, place.last), str_of(value));
    walk_free(&w);
    return there ? 0 : err_set(err, REDLINE_ARG, "%s: there is no place for %s: %s in this file", path, key, value);
}

int yaml_edit_set(struct buf *text, const char *key, const char *value, const char *path, struct redline_err *err)
{
    struct walk w;
    struct buf out = {0};
    struct str all = buf_str(text);
    size_t n_bom = str_starts(all, STR(bom)) ? strlen(bom) : 0;
    struct str own = part_of(all, n_bom, all.n);
    TRY(walk_new(&w, own, path, err));
    int status = edit(&w, key, value, &out, err);
    walk_free(&w);
    if (!status) status = check(buf_str(&out), key, value, path, err);
    if (!status && n_bom) {
        struct buf with = {0};
        status = buf_append_str(&with, STR(bom), err);
        if (!status) status = buf_append_str(&with, buf_str(&out), err);
        buf_free(&out);
        out = with;
    }
    if (!status) {
        struct buf swap = *text;
        *text = out;
        out = swap;
    }
    buf_free(&out);
    return status;
}
