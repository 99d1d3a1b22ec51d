/* report.c - what stands around the tables: which records, machine and program, failures, what was asked for and not
 * got. */
#include "report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "plots.h"
#include "proc.h"
#include "record.h"
#include "report_tables.h"
#include "rows.h"

static int no_memory(struct redline_err *err)
{
    return err_memory(err, 0, "a report");
}

/* ---- which records ------------------------------------------------------------------------------ */

static int append_under(json_t *object, const char *key, json_t *value, struct redline_err *err)
{
    json_t *list = json_object_get(object, key);
    if (!list && json_object_set_new(object, key, list = json_array())) return no_memory(err);
    return json_array_append(list, value) ? no_memory(err) : 0;
}

int report_split(json_t **by_text, json_t *records, const char *path, struct redline_err *err)
{
    *by_text = json_object();
    if (!*by_text) return no_memory(err);
    size_t i;
    json_t *record;
    json_array_foreach(records, i, record) {
        const char *text = record_text(record, path);
        TRY(append_under(*by_text, text ? text : "", record, err));
    }
    return 0;
}

static bool same_text(const json_t *a, const json_t *b, const char *path)
{
    const char *x = record_text(a, path), *y = record_text(b, path);
    return strcmp(x ? x : "", y ? y : "") == 0;
}

/* Whether no later record of the same experiment and source is of another series. */
static bool in_last_series(json_t *records, size_t i)
{
    const json_t *record = json_array_get(records, i);
    for (size_t k = json_array_size(records); k-- > i + 1;) {
        const json_t *later = json_array_get(records, k);
        if (same_text(record, later, "experiment.name") && same_text(record, later, "source"))
            return same_text(record, later, "experiment.series");
    }
    return true;
}

int report_series(json_t **chosen, json_t *records, const char *which, struct redline_err *err)
{
    bool all = strcmp(which, "all") == 0, last = strcmp(which, "last") == 0;
    size_t i;
    json_t *record;
    *chosen = json_array();
    if (!*chosen) return no_memory(err);
    json_array_foreach(records, i, record) {
        const char *series = record_text(record, "experiment.series");
        if (!(all || (last ? in_last_series(records, i) : series && strcmp(series, which) == 0))) continue;
        if (json_array_append(*chosen, record)) return no_memory(err);
    }
    if (json_array_size(*chosen) || json_array_size(records) == 0) return 0;
    return err_set(err, REDLINE_ARG, "no record belongs to the series '%s'", which);
}

/* ---- sets of sentences -------------------------------------------------------------------------- */

/* A JSON object counts how often each was said. */
static int say(json_t *said, json_t *sentence, struct redline_err *err)
{
    const char *text = json_string_value(sentence);
    json_int_t n = text ? json_integer_value(json_object_get(said, text)) : 0;
    int status = text && json_object_set_new(said, text, json_integer(n + 1)) == 0 ? 0 : no_memory(err);
    json_decref(sentence);
    return status;
}

/* Appends them to `list`, "(3 times)" behind those that were said more often than once; takes the reference. */
static int list_said(json_t *list, json_t *said, int status, struct redline_err *err)
{
    const char *text;
    json_t *n;
    json_object_foreach(said, text, n) {
        json_int_t times = json_integer_value(n);
        json_t *line = times > 1 ? json_sprintf("%s (%" JSON_INTEGER_FORMAT " times)", text, times) : json_string(text);
        if (status == 0 && json_array_append_new(list, line)) status = no_memory(err);
    }
    json_decref(said);
    return status;
}

/* ---- failures, and what was asked for and not got ------------------------------------------------ */

static int label_record(json_t **label, json_t *record, const json_t *keys, struct redline_err *err)
{
    json_t *values = json_array();
    *label = NULL;
    int status = values ? 0 : no_memory(err);
    for (size_t i = 0; i < json_array_size(keys) && status == 0; i++) {
        char text[ROWS_MOST_TEXT];
        rows_value(record, json_string_value(json_array_get(keys, i)), text);
        if (json_array_append_new(values, json_string(text))) status = no_memory(err);
    }
    if (status == 0) status = rows_label(label, keys, values, err);
    json_decref(values);
    return status;
}

static int say_failure(json_t *said, json_t *record, const json_t *keys, struct redline_err *err)
{
    const char *why = record_failure(record);
    json_t *label;
    if (!why) return 0;
    TRY(label_record(&label, record, keys, err));
    const char *text = json_string_value(label);
    int status = say(said, json_sprintf("%s%s%s", text, *text ? ": " : "", why), err);
    json_decref(label);
    return status;
}

/* A setting that was left to the program says nothing about what it should be. */
static bool is_wish(const json_t *asked)
{
    const char *text = json_string_value(asked);
    if (json_is_null(asked) || (json_is_number(asked) && json_number_value(asked) == 0)) return false;
    static const char *const open[] = {"", "auto", "all", "0"};
    for (size_t i = 0; text && i < COUNT_OF(open); i++)
        if (strcmp(text, open[i]) == 0) return false;
    return !text || !strchr(text, '%'); /* a share of all layers */
}

static void value_text(const json_t *v, char *out, size_t n)
{
    if (json_is_string(v))
        snprintf(out, n, "%s", json_string_value(v));
    else if (json_is_number(v))
        snprintf(out, n, "%.15g", json_number_value(v));
    else
        snprintf(out, n, "%s", json_is_true(v) ? "true" : json_is_false(v) ? "false" : "nothing");
}

static bool same_value(const char *asked, const char *got)
{
    static const char *const yes[] = {"true", "on", "yes", "1"}, *const no[] = {"false", "off", "no", "0"};
    bool asked_yes = false, got_yes = false, asked_no = false, got_no = false;
    for (size_t i = 0; i < COUNT_OF(yes); i++) {
        asked_yes |= strcmp(asked, yes[i]) == 0;
        asked_no |= strcmp(asked, no[i]) == 0;
        got_yes |= strcmp(got, yes[i]) == 0;
        got_no |= strcmp(got, no[i]) == 0;
    }
    return strcmp(asked, got) == 0 || (asked_yes && got_yes) || (asked_no && got_no);
}

/* What the engine itself had to say. */
static int say_warnings(json_t *said, const json_t *record, struct redline_err *err)
{
    const json_t *warnings = json_object_get(record, "warnings");
    for (size_t i = 0; i < json_array_size(warnings); i++) {
        const char *text = json_string_value(json_array_get(warnings, i));
        if (text) TRY(say(said, json_string(text), err));
    }
    return 0;
}

static int say_differences(json_t *said, const json_t *record, struct redline_err *err)
{
    const json_t *effective = record_at(record, "settings.effective");
    const char *key;
    json_t *asked;
    if (record_failure(record)) return 0;
    json_object_foreach(record_at(record, "settings.requested"), key, asked) {
        char wish[96], fact[96], path[160];
        const json_t *got = json_object_get(effective, key);
        if (!got || !is_wish(asked)) continue;
        value_text(asked, wish, sizeof wish);
        value_text(got, fact, sizeof fact);
        snprintf(path, sizeof path, "settings.effective.%s", key);
        const char *reason = json_is_null(got) ? record_reason(record, path) : NULL;
        if (!same_value(wish, fact))
            TRY(say(said, json_sprintf("%s: asked for %s, ran with %s%s", key, wish,
                                       reason ? "what is not known: " : fact, reason ? reason : ""), err));
    }
    double planned = record_number(record, "settings.effective.n_threads");
    double used = record_number(record, "settings.effective.n_threads_used");
    if (used < planned)
        TRY(say(said, json_sprintf("%.0f of %.0f threads ran in the last step: other programs were busy", used,
                                   planned), err));
    return 0;
}

static int add_sentences(json_t *section, json_t *records, struct redline_err *err)
{
    json_t *keys = NULL, *failures = json_object(), *differences = json_object(), *record;
    size_t i;
    int status = failures && differences ? rows_varying(&keys, records, err) : no_memory(err);
    json_array_foreach(records, i, record) {
        if (status == 0) status = say_failure(failures, record, keys, err);
        if (status == 0) status = say_differences(differences, record, err);
        if (status == 0) status = say_warnings(differences, record, err);
    }
    json_decref(keys);
    status = list_said(json_object_get(section, "failed"), failures, status, err);
    return list_said(json_object_get(section, "notes"), differences, status, err);
}

/* ---- machine, program, model --------------------------------------------------------------------- */

/* How a fact is made of one record: paths with what stands before and after the value.  A null shows why it is one, if
 * a word before it says what it would be. */
struct piece {
    const char *before, *path, *after;
    double factor; /* of a number; 0: as it is */
};

static const struct fact {
    const char *name;
    struct piece pieces[8];
} facts[] = {
    {"Program",
     {{"", "program.contestant", "", 0},
      {" ", "program.version", "", 0},
      {", commit ", "program.commit", "", 0},
      {", ", "program.build", "", 0},
      {", ", "program.command", "", 0}}},
    {"Model",
     {{"", "model.file", "", 0},
      {", ", "model.architecture", "", 0},
      {" ", "model.type", "", 0},
      {", ", "model.n_parameters", " M parameters", 1e-6},
      {", ", "model.bytes", " MB", 1e-6},
      {", ", "model.digest", "", 0}}},
    {"Ran on",
     {{"", "settings.effective.device", "", 0},
      {", ", "settings.effective.features", "", 0},
      {", flash attention ", "settings.effective.flash_attn", "", 0},
      {", KV ", "settings.effective.type_k", "", 0},
      {" and ", "settings.effective.type_v", "", 0}}},
    {"Machine",
     {{"", "machine.cpu", "", 0},
      {", ", "machine.n_logical", " processors", 0},
      {", ", "machine.n_physical", " cores", 0},
      {", quota ", "machine.quota", "", 0},
      {", ", "machine.memory_bytes", " GB", 1e-9},
      {", ", "machine.kernel", "", 0},
      {", ", "machine.id", "", 0}}},
    {"State",
     {{"governor ", "machine.governor", "", 0},
      {"; huge pages ", "machine.huge_pages", "", 0},
      {"; GPU driver ", "machine.gpu_driver", "", 0}}},
};

static int print_piece(struct buf *out, const json_t *record, const struct piece *p, struct redline_err *err)
{
    const json_t *v = record_at(record, p->path);
    const char *reason = record_reason(record, p->path);
    const char *before = out->n ? p->before : p->before + strspn(p->before, ",; ");
    char text[256];
    if (!v || (json_is_string(v) && !*json_string_value(v))) return 0;
    if (json_is_null(v) && !before[strspn(before, ",; ")]) return 0; /* no word says what is not known */
    if (json_is_null(v)) /* "governor: the system shows no cpufreq" */
        return buf_printf(out, err, "%.*s: %s", (int)strlen(before) - 1, before, reason ? reason : "not known");
    if (json_is_number(v) && p->factor != 0)
        snprintf(text, sizeof text, "%.3g", json_number_value(v) * p->factor);
    else if (json_is_boolean(v))
        snprintf(text, sizeof text, "%s", json_is_true(v) ? "on" : "off");
    else
        value_text(v, text, sizeof text);
    return buf_printf(out, err, "%s%s%s", before, text, p->after);
}

static int say_fact(json_t *said, const json_t *record, const struct fact *fact, struct redline_err *err)
{
    struct buf text = {0};
    int status = 0;
    for (size_t i = 0; i < COUNT_OF(fact->pieces) && fact->pieces[i].path && status == 0; i++)
        status = print_piece(&text, record, &fact->pieces[i], err);
    if (status == 0 && text.n) status = say(said, json_stringn(text.p, text.n), err);
    buf_free(&text);
    return status;
}

static int add_fact(json_t *list, const char *name, json_t *text, struct redline_err *err)
{
    return json_array_append_new(list, json_pack("[s, o]", name, text)) ? no_memory(err) : 0;
}

/* What differs between records has a line for each. */
static int add_facts_of(json_t *list, json_t *records, const struct fact *fact, struct redline_err *err)
{
    json_t *said = json_object(), *record, *n;
    size_t i;
    const char *text;
    int status = said ? 0 : no_memory(err);
    json_array_foreach(records, i, record)
        if (status == 0 && !record_failure(record)) status = say_fact(said, record, fact, err);
    json_object_foreach(said, text, n)
        if (status == 0) status = add_fact(list, fact->name, json_string(text), err);
    json_decref(said);
    return status;
}

/* "2026-11-21T18:15:00.123Z" as "2026-11-21 18:15:00". */
static void time_text(const char *iso, char out[20])
{
    snprintf(out, 20, "%s", iso);
    if (strlen(out) > 10) out[10] = ' ';
}

/* "36 measurements, 2 of them failed, 2026-11-21 18:15:00 to 2026-11-21 18:20:41 UTC" */
static int add_measured(json_t *list, json_t *records, struct redline_err *err)
{
    const char *first = NULL, *last = NULL;
    size_t n_failed = 0, n = json_array_size(records), i;
    char failed[48] = "", from[20], to[20];
    json_t *record;
    json_array_foreach(records, i, record) {
        const char *at = record_text(record, "started");
        n_failed += record_failure(record) != NULL;
        if (at && (!first || strcmp(at, first) < 0)) first = at;
        if (at && (!last || strcmp(at, last) > 0)) last = at;
    }
    if (n_failed) snprintf(failed, sizeof failed, ", %zu of them failed", n_failed);
    const char *s = n == 1 ? "" : "s";
    if (!first) return add_fact(list, "Measured", json_sprintf("%zu measurement%s%s", n, s, failed), err);
    time_text(first, from);
    time_text(last, to);
    return add_fact(list, "Measured", json_sprintf("%zu measurement%s%s, %s to %s UTC", n, s, failed, from,
                                                   to), err);
}

static int add_load(json_t *list, json_t *records, struct redline_err *err)
{
    double least = INFINITY, most = -INFINITY;
    for (size_t i = 0; i < json_array_size(records); i++) {
        double load = record_number(json_array_get(records, i), "machine.load_1m");
        least = fmin(least, load);
        most = fmax(most, load);
    }
    if (most < least) return 0;
    return add_fact(list, "Load",
                    json_sprintf("%.2f to %.2f threads wanted to run, mean of a minute", least, most), err);
}

static int add_facts(json_t *document, const struct report_params *p, struct redline_err *err)
{
    json_t *all = json_array(), *list = json_object_get(document, "facts");
    int status = all ? 0 : no_memory(err);
    for (size_t i = 0; i < p->n_parts && status == 0; i++)
        if (json_array_extend(all, p->parts[i].records)) status = no_memory(err);
    if (status == 0) status = add_measured(list, all, err);
    for (size_t i = 0; i < COUNT_OF(facts) && status == 0; i++) status = add_facts_of(list, all, &facts[i], err);
    if (status == 0) status = add_load(list, all, err);
    json_decref(all);
    return status;
}

/* ---- sections ------------------------------------------------------------------------------------ */

/* redline lab run NAME, with the models that are not the demo model. */
static json_t *make_command(const struct report_part *part)
{
    struct buf text = {0};
    json_t *models = json_object(), *command = NULL;
    int status = part->name && models ? buf_printf(&text, NULL, "redline lab run ") : REDLINE_MEMORY;
    if (status == 0) status = proc_quote(&text, part->name, NULL);
    for (size_t i = 0; i < json_array_size(part->records) && status == 0; i++) {
        const char *file = record_text(json_array_get(part->records, i), "model.path");
        if (!file) file = record_text(json_array_get(part->records, i), "model.file");
        const char *base = file && strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
        if (!base || strcmp(base, "demo.gguf") == 0 || json_object_get(models, file)) continue;
        status = json_object_set_new(models, file, json_true()) ? REDLINE_MEMORY : buf_printf(&text, NULL, " -m ");
        if (status == 0) status = proc_quote(&text, file, NULL);
    }
    if (status == 0) command = json_stringn(text.p, text.n);
    buf_free(&text);
    json_decref(models);
    return command;
}

static int add_tables(json_t *section, const struct report_part *part, struct redline_err *err)
{
    json_t *tables = json_object_get(section, "tables");
    if (json_array_size(part->tables) == 0) return report_tables_add(tables, part->records, NULL, err);
    for (size_t i = 0; i < json_array_size(part->tables); i++)
        TRY(report_tables_add(tables, part->records, json_array_get(part->tables, i), err));
    return 0;
}

static int add_section(json_t *document, const struct report_part *part, const json_t *limits, struct redline_err *err)
{
    const char *title = part->title ? part->title : part->name ? part->name : "Imported records";
    json_t *section = json_pack("{s:s*, s:s, s:s, s:[], s:[], s:[], s:[]}", "experiment", part->name, "title", title,
                                "about", part->about ? part->about : "", "tables", "plots", "failed", "notes");
    if (json_array_append_new(json_object_get(document, "sections"), section)) return no_memory(err);
    json_t *command = part->command ? json_string(part->command) : part->name ? make_command(part) : json_string("");
    if (json_object_set_new(section, "command", command)) return no_memory(err);
    TRY(add_tables(section, part, err));
    TRY(plots_add(json_object_get(section, "plots"), part->records, part->history, limits, err));
    return add_sentences(section, part->records, err);
}

/* ---- rules and words ----------------------------------------------------------------------------- */

static int add_rules(json_t *document, const struct rule_result *rules, size_t n, struct redline_err *err)
{
    static const char *const answers[] = {
        [RULE_HOLDS] = "holds", [RULE_BROKEN] = "broken", [RULE_NO_DATA] = "no data", [RULE_NO_BASE] = "no base"};
    for (size_t i = 0; i < n; i++) {
        json_t *rule = json_pack("{s:s, s:s, s:s, s:s}", "name", rules[i].rule->name, "answer",
                                 answers[rules[i].answer], "level", rules[i].rule->level == RULE_LOOK ? "look" : "fail",
                                 "sentence", rules[i].sentence);
        if (json_array_append_new(json_object_get(document, "rules"), rule)) return no_memory(err);
    }
    return 0;
}

static bool is_shown(const json_t *document, const char *metric)
{
    size_t s, t;
    json_t *section, *table;
    json_array_foreach(json_object_get(document, "sections"), s, section)
        json_array_foreach(json_object_get(section, "tables"), t, table)
            for (size_t i = 0; i < json_array_size(json_object_get(table, "metrics")); i++)
                if (strcmp(json_string_value(json_array_get(json_object_get(table, "metrics"), i)), metric) == 0)
                    return true;
    return false;
}

static int add_words(json_t *document, struct redline_err *err)
{
    json_t *words = json_object_get(document, "words");
    for (size_t i = 0; i < n_metrics; i++)
        if (is_shown(document, metrics[i].name) &&
            json_array_append_new(words, json_pack("[s, s]", metrics[i].label, metrics[i].definition)))
            return no_memory(err);
    return 0;
}

/* ---- the whole ----------------------------------------------------------------------------------- */

static int fill(json_t *document, const struct report_params *p, struct redline_err *err)
{
    for (size_t i = 0; i < p->n_parts; i++) TRY(add_section(document, &p->parts[i], p->limits, err));
    TRY(add_rules(document, p->rules, p->n_rules, err));
    TRY(add_facts(document, p, err));
    return add_words(document, err);
}

int report_make(json_t **document, const struct report_params *p, struct redline_err *err)
{
    const char *title = p->title;
    if (!title && p->n_parts == 1) title = p->parts[0].title ? p->parts[0].title : p->parts[0].name;
    *document = json_pack("{s:s, s:[], s:[], s:[], s:[]}", "title", title ? title : "Measurements", "sections", "rules",
                          "facts", "words");
    if (!*document) return no_memory(err);
    int status = fill(*document, p, err);
    if (status) {
        json_decref(*document);
        *document = NULL;
    }
    return status;
}
