/* settings_yaml.c - settings out of YAML files: nested mappings with plain values, nothing else of YAML.
 *
 * libyaml's events are read one by one, as only they know the lines that the sentences name.  Anchors,
 * aliases, tags and lists have no use here and are refused, so that no file means more than it shows. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <yaml.h>

#include "file.h"
#include "settings.h"

enum { MOST_BYTES = 1 << 20 };

struct reader {
    struct settings *settings;
    const char *path;
    struct str text;
    yaml_parser_t parser;
    yaml_event_t event; /* the one in hand */
};

static size_t line_of(const struct reader *r)
{
    return r->event.start_mark.line + 1;
}

static int fail(const struct reader *r, struct redline_err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* REDLINE_ARG: file, line of the event in hand, sentence. */
static int fail(const struct reader *r, struct redline_err *err, const char *format, ...)
{
    char sentence[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return err_set(err, REDLINE_ARG, "%s:%zu: %s", r->path, line_of(r), sentence);
}

/* ---- events -------------------------------------------------------------------------------------- */

static int fail_parser(const struct reader *r, struct redline_err *err)
{
    const yaml_parser_t *p = &r->parser;
    size_t line = p->problem_mark.line + 1;
    if (p->error == YAML_MEMORY_ERROR) return err_memory(err, r->text.n, "a settings file");
    if (p->error == YAML_READER_ERROR) { /* bad UTF-8: it knows the byte alone */
        line = 1;
        for (size_t i = 0; i < p->problem_offset && i < r->text.n; i++) line += r->text.p[i] == '\n';
    }
    return err_set(err, REDLINE_ARG, "%s:%zu: this is not YAML: %s", r->path, line, p->problem);
}

/* Neither names nor values need line ends or zero bytes, and a sentence could not show them. */
static int check_text(const struct reader *r, struct redline_err *err)
{
    for (size_t i = 0; i < r->event.data.scalar.length; i++)
        if (r->event.data.scalar.value[i] < 0x20)
            return fail(r, err, "a line end or another control character in a text");
    return 0;
}

/* Makes the next event the one in hand. */
static int next(struct reader *r, struct redline_err *err)
{
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event)) return fail_parser(r, err);
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (r->event.type) {
    case YAML_ALIAS_EVENT: anchor = r->event.data.alias.anchor; break;
    case YAML_SCALAR_EVENT:
        anchor = r->event.data.scalar.anchor;
        tag = r->event.data.scalar.tag;
        TRY(check_text(r, err));
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = r->event.data.mapping_start.anchor;
        tag = r->event.data.mapping_start.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = r->event.data.sequence_start.anchor;
        tag = r->event.data.sequence_start.tag;
        break;
    default: break;
    }
    if (anchor || tag)
        return fail(r, err, "'%.80s': anchors, aliases and tags have no place in settings",
                    (const char *)(anchor ? anchor : tag));
    return 0;
}

static const char *scalar(const struct reader *r)
{
    return (const char *)r->event.data.scalar.value;
}

static bool is_plain(const struct reader *r)
{
    return r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool is_nothing(const struct reader *r)
{
    const char *s = scalar(r);
    return is_plain(r) && (!*s || strcmp(s, "~") == 0 || strcmp(s, "null") == 0);
}

/* ---- settings ------------------------------------------------------------------------------------ */

/* The event in hand is the value of a setting. */
static int read_value(struct reader *r, struct setting *setting, struct redline_err *err)
{
    const char *key = setting->row->key;
    enum opt_kind kind = setting->row->kind;
    if (r->event.type != YAML_SCALAR_EVENT)
        return fail(r, err, "%s: one value is expected, not a %s", key,
                    r->event.type == YAML_MAPPING_START_EVENT ? "section" : "list");
    if (is_nothing(r)) return fail(r, err, "%s has no value", key);
    if (!is_plain(r) && kind != OPT_STRING && kind != OPT_CHOICE)
        return fail(r, err, "%s: '%.80s' is a text; write the value without quotes", key, scalar(r));
    return settings_set_from_file(setting, scalar(r), r->path, line_of(r), err);
}

/* The event in hand is a key of `section`.  key: its full name. */
static int read_key(const struct reader *r, const char *section, char key[SETTING_MOST_KEY], int *setting,
                    struct redline_err *err)
{
    char near[SETTING_MOST_KEY];
    if (r->event.type != YAML_SCALAR_EVENT) return fail(r, err, "a list or a mapping cannot be a key");
    snprintf(key, SETTING_MOST_KEY, "%s%s%s", section, *section ? "." : "", scalar(r));
    *setting = strchr(scalar(r), '.') ? -1 : settings_find(key);
    if (*setting >= 0) return 0;
    if (settings_find(key) >= 0)
        return fail(r, err, "'%s': write sections as nested mappings, not with dots", key);
    if (!settings_nearest(key, near))
        return fail(r, err, "there is no setting '%s'; redline config lists them", key);
    return fail(r, err, "there is no setting '%s'; did you mean '%s'?", key, near);
}

/* The event in hand is what stands below `section`.  As deep as the sections of the table. */
static int read_section(struct reader *r, const char *section, struct redline_err *err)
{
    size_t seen[N_SETTINGS] = {0}; /* lines, by the first setting of a key */
    char key[SETTING_MOST_KEY];
    int i = -1;
    if (r->event.type == YAML_SCALAR_EVENT && is_nothing(r)) return 0; /* all of it may be commented out */
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return fail(r, err, "%s%sa section with settings is expected", section, *section ? ": " : "");
    for (;;) {
        TRY(next(r, err));
        if (r->event.type == YAML_MAPPING_END_EVENT) return 0;
        TRY(read_key(r, section, key, &i, err));
        if (seen[i]) return fail(r, err, "'%s' is there already, in line %zu", key, seen[i]);
        seen[i] = line_of(r);
        TRY(next(r, err));
        struct setting *setting = &r->settings->all[i];
        TRY(strcmp(setting->row->key, key) == 0 ? read_value(r, setting, err) : read_section(r, key, err));
    }
}

static int read_file(struct reader *r, struct redline_err *err)
{
    do {
        TRY(next(r, err));
        if (r->event.type == YAML_STREAM_END_EVENT) return 0; /* nothing but comments */
    } while (r->event.type != YAML_DOCUMENT_START_EVENT);
    TRY(next(r, err));
    TRY(read_section(r, "", err));
    TRY(next(r, err)); /* the end of the document */
    TRY(next(r, err));
    if (r->event.type == YAML_STREAM_END_EVENT) return 0;
    return fail(r, err, "a second document; one is read");
}

int settings_read_yaml(struct settings *s, const char *path, struct redline_err *err)
{
    struct reader r = {.settings = s, .path = path};
    struct buf text = {0};
    struct stat st;
    bool there = stat(path, &st) == 0;
    if (!there && errno == ENOENT) return 0;
    if (there && S_ISREG(st.st_mode) && st.st_size > MOST_BYTES)
        return err_set(err, REDLINE_ARG, "%s has %lld bytes, the limit of a settings file is %d", path,
                       (long long)st.st_size, MOST_BYTES);
    int status = file_read(&text, path, err);
    if (!status && !yaml_parser_initialize(&r.parser))
        status = err_memory(err, sizeof r.parser, "a YAML parser");
    if (!status) {
        r.text = buf_str(&text);
        yaml_parser_set_input_string(&r.parser, (const unsigned char *)r.text.p, r.text.n);
        status = read_file(&r, err);
        yaml_event_delete(&r.event);
        yaml_parser_delete(&r.parser);
    }
    buf_free(&text);
    return status;
}
