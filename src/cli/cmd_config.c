/* cmd_config.c - redline config: every setting, its value and where that came from; docs/settings.md. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "cmd.h"
#include "settings.h"

struct config {
    bool json, markdown;
    struct settings settings;
};

static int print_text(const struct config *c, struct buf *out, struct redline_err *err)
{
    for (int i = 0; i < N_SETTINGS; i++) {
        const struct setting *s = &c->settings.all[i];
        char value[SETTING_MOST_TEXT];
        settings_text(s, value, sizeof value);
        TRY(buf_printf(out, err, "%-40s  %-12s  %s\n", s->row->key, *value ? value : "-", s->where));
    }
    return 0;
}

/* ---- JSON ----------------------------------------------------------------------------------------- */

static json_t *json_value(const struct setting *s)
{
    char text[SETTING_MOST_TEXT];
    settings_text(s, text, sizeof text);
    switch (s->row->kind) {
    case OPT_FLAG: return json_boolean(*text == 't');
    case OPT_INT: return json_integer(atoi(text));
    case OPT_FLOAT: return json_real(atof(text));
    case OPT_U64: /* jansson's integers end at 2^63 - 1 */
        if (*(const uint64_t *)s->to <= INT64_MAX) return json_integer((json_int_t)*(const uint64_t *)s->to);
        break;
    case OPT_BYTES: return json_integer((json_int_t)*(const uint64_t *)s->to);
    case OPT_STRING:
    case OPT_CHOICE:
    case OPT_CALL:
    case OPT_REFUSED: break;
    }
    return *text ? json_string(text) : json_null();
}

static int print_json(const struct config *c, struct buf *out, struct redline_err *err)
{
    json_t *rows = json_array();
    for (int i = 0; i < N_SETTINGS; i++) {
        const struct setting *s = &c->settings.all[i];
        char variable[SETTING_MOST_KEY];
        settings_variable(s->row->key, variable);
        json_array_append_new(rows, json_pack("{s:s, s:o, s:s, s:s?, s:s, s:s}", "key", s->row->key, "value",
                                              json_value(s), "origin", s->where, "default", s->row->fallback,
                                              "flags", s->row->flags, "environment", variable));
    }
    bool complete = json_array_size(rows) == N_SETTINGS;
    char *text = complete ? json_dumps(rows, JSON_INDENT(2) | JSON_REAL_PRECISION(7)) : NULL;
    int status = text ? buf_printf(out, err, "%s\n", text)
                      : err_set(err, REDLINE_FORMAT, "a setting is not UTF-8, as JSON has to be");
    free(text);
    json_decref(rows);
    return status;
}

/* ---- docs/settings.md ------------------------------------------------------------------------------ */

static int print_range(const struct setting_row *row, struct buf *out, struct redline_err *err)
{
    switch (row->kind) {
    case OPT_FLAG: return buf_printf(out, err, "true, false");
    case OPT_INT: return buf_printf(out, err, "%.0f to %.0f", row->least, row->most);
    case OPT_FLOAT: return buf_printf(out, err, "%g to %g", row->least, row->most);
    case OPT_U64: return buf_printf(out, err, "0 to 2^64 - 1");
    case OPT_BYTES: return buf_printf(out, err, "bytes, as 512M, 8G");
    case OPT_STRING:
    case OPT_CALL:
    case OPT_REFUSED: return buf_printf(out, err, "text");
    case OPT_CHOICE: break;
    }
    for (const char *p = row->value; *p; p++)
        TRY(*p == 'N' ? buf_printf(out, err, "0 to %.0f", row->most)
                      : buf_printf(out, err, *p == '|' ? ", " : "%c", *p));
    return 0;
}

static const char markdown_head[] =
    "# Settings\n\n"
    "Written by `redline config --markdown` from the table in `src/cli/settings.c`.\n\n"
    "What stands further to the right wins: default < `redline.yaml` < `overrides.local.yaml` < environment\n"
    "< flag. The files lie in the current directory, or in the folder that `REDLINE_CONFIG_DIR` names; either\n"
    "may be missing. In them, `llm.primary.n_threads` is written\n\n"
    "```yaml\nllm:\n  primary:\n    n_threads: 8\n```\n\n"
    "In the environment it is `REDLINE__LLM__PRIMARY__N_THREADS=8`: in capitals, two underscores between the\n"
    "levels. A command may have its own default; its help page says so. What is true or false is a flag\n"
    "without a value; `--exact=false` takes back what a file says. An empty `model` is none, and paths start\n"
    "at the current directory. A key that is not in this table is an error, in the files as in the\n"
    "environment. `redline config` shows which values hold and where they came from.\n\n"
    "| key | flag | range | default | meaning |\n|---|---|---|---|---|\n";

static int print_markdown(struct buf *out, struct redline_err *err)
{
    TRY(buf_append_str(out, str_of(markdown_head), err));
    for (int i = 0; i < N_SETTINGS; i++) {
        const struct setting_row *row = &settings_table[i];
        TRY(buf_printf(out, err, "| `%s` | `%s` | ", row->key, row->flags));
        TRY(print_range(row, out, err));
        TRY(buf_printf(out, err, " | %s | %s |\n", row->fallback ? row->fallback : "none", row->help));
    }
    return 0;
}

static int run_all(const struct config *c, struct buf *out, struct redline_err *err)
{
    TRY(c->markdown ? print_markdown(out, err) : c->json ? print_json(c, out, err) : print_text(c, out, err));
    TRY(cmd_write(out->p, out->n, err));
    return cmd_flush(err);
}

int cmd_config(int argc, char **argv)
{
    struct config c = {0};
    struct opt options[N_SETTINGS + 2] = {
        {"--json", NULL, OPT_FLAG, &c.json, 0, 0, "a list of JSON objects"},
        {"--markdown", NULL, OPT_FLAG, &c.markdown, 0, 0, "the text of docs/settings.md"},
    };
    for (int i = 0; i < N_SETTINGS; i++)
        options[2 + i] = settings_opt(&c.settings, (enum setting_id)i, &c.settings.all[i].own);
    const struct opt_command command = {
        "redline config [options]",
        "Shows every setting, its value, and where that came from: its default, redline.yaml,\n"
        "overrides.local.yaml, the environment, or a flag, the last of which wins.",
        options, COUNT_OF(options),
        "The files lie in the current directory, or in the folder that REDLINE_CONFIG_DIR names."};
    struct redline_err err = {0};
    struct buf out = {0};
    int n_words, exit_code;
    if (!settings_parse(&c.settings, &command, argc, argv, NULL, 0, &n_words, &exit_code)) return exit_code;
    int status = run_all(&c, &out, &err);
    buf_free(&out);
    settings_free(&c.settings);
    return status ? cmd_fail(&err) : EXIT_FINE;
}
