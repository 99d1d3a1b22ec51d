/* settings_yaml.c - settings out of YAML files: nested mappings with plain values, nothing else of YAML. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "settings.h"
#include "yaml_events.h"

static bool is_nothing(const struct yaml_events *y)
{
    const char *s = yaml_events_scalar(y);
    return yaml_events_is_plain(y) && (!*s || strcmp(s, "~") == 0 || strcmp(s, "null") == 0);
}

/* The event in hand is the value of a setting. */
static int read_value(const struct yaml_events *y, struct setting *setting, struct redline_err *err)
{
    const char *key = setting->row->key;
    enum opt_kind kind = setting->row->kind;
    if (y->event.type != YAML_SCALAR_EVENT)
        return yaml_events_fail(y, err, "%s: one value is expected, not a %s", key,
                                y->event.type == YAML_MAPPING_START_EVENT ? "section" : "list");
    if (is_nothing(y)) return yaml_events_fail(y, err, "%s has no value", key);
    if (!yaml_events_is_plain(y) && kind != OPT_STRING && kind != OPT_CHOICE)
        return yaml_events_fail(y, err, "%s: '%.80s' is a text; write the value without quotes", key,
                                yaml_events_scalar(y));
    if (strchr(yaml_events_scalar(y), '\n')) return yaml_events_fail(y, err, "%s: a text of one line is expected", key);
    return settings_set_from_file(setting, yaml_events_scalar(y), y->path, yaml_events_line(y), err);
}

/* The event in hand is a key of `section`.  key: its full name. */
static int read_key(const struct yaml_events *y, const char *section, char key[SETTING_MOST_KEY], int *setting,
                    struct redline_err *err)
{
    char near[SETTING_MOST_KEY];
    if (y->event.type != YAML_SCALAR_EVENT) return yaml_events_fail(y, err, "a list or a mapping cannot be a key");
    if (strchr(yaml_events_scalar(y), '\n')) return yaml_events_fail(y, err, "a key of one line is expected");
    snprintf(key, SETTING_MOST_KEY, "%s%s%s", section, *section ? "." : "", yaml_events_scalar(y));
    *setting = strchr(yaml_events_scalar(y), '.') ? -1 : settings_find(key);
    if (*setting >= 0) return 0;
    if (settings_find(key) >= 0)
        return yaml_events_fail(y, err, "'%s': write sections as nested mappings, not with dots", key);
    if (!settings_nearest(key, near))
        return yaml_events_fail(y, err, "there is no setting '%s'; redline config lists them", key);
    return yaml_events_fail(y, err, "there is no setting '%s'; did you mean '%s'?", key, near);
}

/* The event in hand is what stands below `section`.  As deep as the sections of the table. */
static int read_section(struct settings *s, struct yaml_events *y, const char *section, struct redline_err *err)
{
    size_t seen[N_SETTINGS] = {0}; /* lines, by the first setting of a key */
    char key[SETTING_MOST_KEY];
    int i = -1;
    if (y->event.type == YAML_SCALAR_EVENT && is_nothing(y)) return 0; /* all of it may be commented out */
    if (y->event.type != YAML_MAPPING_START_EVENT)
        return yaml_events_fail(y, err, "%s%sa section with settings is expected", section, *section ? ": " : "");
    for (;;) {
        TRY(yaml_events_next(y, err));
        if (y->event.type == YAML_MAPPING_END_EVENT) return 0;
        TRY(read_key(y, section, key, &i, err));
        if (seen[i]) return yaml_events_fail(y, err, "'%s' is there already, in line %zu", key, seen[i]);
        seen[i] = yaml_events_line(y);
        TRY(yaml_events_next(y, err));
        struct setting *setting = &s->all[i];
        TRY(strcmp(setting->row->key, key) == 0 ? read_value(y, setting, err) : read_section(s, y, key, err));
    }
}

int settings_read_yaml(struct settings *s, const char *path, struct redline_err *err)
{
    struct yaml_events y;
    struct stat st;
    bool is_empty;
    if (stat(path, &st) && errno == ENOENT) return 0;
    TRY(yaml_events_open(&y, path, &is_empty, err));
    int status = is_empty ? 0 : read_section(s, &y, "", err);
    if (!status && !is_empty) status = yaml_events_end(&y, err);
    yaml_events_close(&y);
    return status;
}
