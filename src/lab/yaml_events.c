/* yaml_events.c - libyaml's parser over a file, and what of YAML has no place. */
#include "yaml_events.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "file.h"

enum { MOST_BYTES = 1 << 20 };

size_t yaml_events_line(const struct yaml_events *e)
{
    return e->event.start_mark.line + 1;
}

const char *yaml_events_scalar(const struct yaml_events *e)
{
    return (const char *)e->event.data.scalar.value;
}

bool yaml_events_is_plain(const struct yaml_events *e)
{
    return e->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

int yaml_events_fail(const struct yaml_events *e, struct redline_err *err, const char *format, ...)
{
    char sentence[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return err_set(err, REDLINE_ARG, "%s:%zu: %s", e->path, yaml_events_line(e), sentence);
}

static int fail_parser(const struct yaml_events *e, struct redline_err *err)
{
    const yaml_parser_t *p = &e->parser;
    struct str text = buf_str(&e->text);
    size_t line = p->problem_mark.line + 1;
    if (p->error == YAML_MEMORY_ERROR) return err_memory(err, text.n, "a YAML file");
    if (p->error == YAML_READER_ERROR) { /* bad UTF-8: it knows the byte alone */
        line = 1;
        for (size_t i = 0; i < p->problem_offset && i < text.n; i++) line += text.p[i] == '\n';
    }
    return err_set(err, REDLINE_ARG, "%s:%zu: this is not YAML: %s", e->path, line, p->problem);
}

static int check_text(const struct yaml_events *e, struct redline_err *err)
{
    const unsigned char *p = e->event.data.scalar.value;
    for (size_t i = 0; i < e->event.data.scalar.length; i++)
        if (p[i] < 0x20 && p[i] != '\n') return yaml_events_fail(e, err, "a control character in a text");
    return 0;
}

/* The anchor or the tag of the event in hand, or NULL. */
static const yaml_char_t *mark_of(const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_ALIAS_EVENT: return e->data.alias.anchor;
    case YAML_SCALAR_EVENT: return e->data.scalar.anchor ? e->data.scalar.anchor : e->data.scalar.tag;
    case YAML_MAPPING_START_EVENT:
        return e->data.mapping_start.anchor ? e->data.mapping_start.anchor : e->data.mapping_start.tag;
    case YAML_SEQUENCE_START_EVENT:
        return e->data.sequence_start.anchor ? e->data.sequence_start.anchor : e->data.sequence_start.tag;
    default: return NULL;
    }
}

int yaml_events_next(struct yaml_events *e, struct redline_err *err)
{
    yaml_event_delete(&e->event);
    if (!yaml_parser_parse(&e->parser, &e->event)) return fail_parser(e, err);
    const yaml_char_t *mark = mark_of(&e->event);
    if (mark)
        return yaml_events_fail(e, err, "'%.80s': anchors, aliases and tags have no place here", (const char *)mark);
    return e->event.type == YAML_SCALAR_EVENT ? check_text(e, err) : 0;
}

/* As far as the first event of the content. */
static int begin(struct yaml_events *e, bool *is_empty, struct redline_err *err)
{
    do {
        TRY(yaml_events_next(e, err));
        *is_empty = e->event.type == YAML_STREAM_END_EVENT;
    } while (!*is_empty && e->event.type != YAML_DOCUMENT_START_EVENT);
    return *is_empty ? 0 : yaml_events_next(e, err);
}

int yaml_events_open(struct yaml_events *out, const char *path, bool *is_empty, struct redline_err *err)
{
    struct stat st;
    *out = (struct yaml_events){.path = path};
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > MOST_BYTES)
        return err_set(err, REDLINE_ARG, "%s has %lld bytes, the limit of a YAML file is %d", path,
                       (long long)st.st_size, MOST_BYTES);
    int status = file_read(&out->text, path, err);
    if (!status && !yaml_parser_initialize(&out->parser))
        status = err_memory(err, sizeof out->parser, "a YAML parser");
    if (status) {
        buf_free(&out->text);
        return status;
    }
    struct str text = buf_str(&out->text);
    yaml_parser_set_input_string(&out->parser, (const unsigned char *)text.p, text.n);
    status = begin(out, is_empty, err);
    if (status) yaml_events_close(out);
    return status;
}

void yaml_events_close(struct yaml_events *e)
{
    yaml_event_delete(&e->event);
    yaml_parser_delete(&e->parser);
    buf_free(&e->text);
}

int yaml_events_end(struct yaml_events *e, struct redline_err *err)
{
    TRY(yaml_events_next(e, err)); /* the end of the document */
    TRY(yaml_events_next(e, err));
    if (e->event.type == YAML_STREAM_END_EVENT) return 0;
    return yaml_events_fail(e, err, "a second document; one is read");
}
