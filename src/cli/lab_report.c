/* lab_report.c - redline lab report: tables and the page out of stores of records. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "accepted.h"
#include "base.h"
#include "cmd.h"
#include "experiment.h"
#include "file.h"
#include "lab.h"
#include "mem.h"
#include "page.h"
#include "probe_limits.h"
#include "proc.h"
#include "record.h"
#include "report.h"
#include "store.h"

enum { MOST_STORES = 64 };

struct arguments {
    const char *html, *title, *tables, *series, *rules, *accepted;
    bool json;
    const char *stores[MOST_STORES];
    int n_stores;
};

/* ---- records ------------------------------------------------------------------------------------ */

/* What a store is called where several stand side by side: its file's name without folder and ending. */
static json_t *source_name(const char *path)
{
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *dot = strrchr(base, '.');
    return json_stringn(base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
}

/* The records of one store, each with the name of where it came from. */
static int add_store(json_t *all, const char *path, bool several, struct redline_err *err)
{
    json_t *records, *record;
    size_t i;
    TRY(store_read(&records, path, err));
    int status = 0;
    json_array_foreach(records, i, record) {
        json_t *named = several ? json_copy(record) : json_incref(record);
        if (several && named && json_object_set_new(named, "source", source_name(path))) status = REDLINE_MEMORY;
        if (json_array_append_new(all, named)) status = REDLINE_MEMORY;
    }
    json_decref(records);
    return status ? err_memory(err, 0, "records") : 0;
}

static int read_stores(json_t **all, const struct arguments *a, struct redline_err *err)
{
    *all = json_array();
    if (!*all) return err_memory(err, 0, "records");
    for (int i = 0; i < a->n_stores; i++) TRY(add_store(*all, a->stores[i], a->n_stores > 1, err));
    if (json_array_size(*all) == 0) return err_set(err, REDLINE_ARG, "'%s' holds no records", a->stores[0]);
    return 0;
}

/* ---- the experiment's file, if it is still there -------------------------------------------------- */

/* A way to start an experiment; with the right one its digest is that of the records. */
static const struct way {
    bool models, short_form;
} ways[] = {{false, false}, {true, false}, {false, true}, {true, true}};

enum { MOST_MODELS = 32 };

static size_t list_models(const char **out, const json_t *records)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(records) && n < MOST_MODELS; i++) {
        const char *file = record_text(json_array_get(records, i), "model.path");
        if (!file) file = record_text(json_array_get(records, i), "model.file");
        bool known = !file;
        for (size_t k = 0; k < n && !known; k++) known = strcmp(out[k], file) == 0;
        if (!known) out[n++] = file;
    }
    return n;
}

static int print_way(struct buf *command, const char *name, const struct way *w, const char *const *models,
                     size_t n_models, struct redline_err *err)
{
    TRY(buf_printf(command, err, "redline lab run "));
    TRY(proc_quote(command, name, err));
    for (size_t i = 0; w->models && i < n_models; i++) {
        TRY(buf_printf(command, err, " -m "));
        TRY(proc_quote(command, models[i], err));
    }
    return w->short_form ? buf_printf(command, err, " --short") : 0;
}

/* The file of an experiment, read as it was for these records, and the command of that; where no way gives their
 * digest (other settings, another version of the file), as it stands and without a command.  No such file is not an
 * error: *out stays empty. */
static int find_experiment(struct experiment *out, struct buf *command, const char *name, const json_t *records,
                           struct redline_err *err)
{
    const char *models[MOST_MODELS], *digest = record_text(json_array_get(records, 0), "experiment.digest");
    size_t n_models = list_models(models, records);
    for (size_t i = 0; i < COUNT_OF(ways); i++) {
        struct experiment e = {0};
        struct redline_err ignored = {0};
        struct experiment_overrides o = {.models = ways[i].models ? models : NULL,
                                         .n_models = ways[i].models ? n_models : 0, .short_form = ways[i].short_form};
        if (experiment_read(&e, name, &o, &ignored)) continue;
        if (digest && strcmp(e.digest, digest) == 0) {
            experiment_free(out);
            *out = e;
            return print_way(command, name, &ways[i], models, n_models, err);
        }
        if (out->name)
            experiment_free(&e);
        else
            *out = e;
    }
    return 0;
}

/* ---- parts --------------------------------------------------------------------------------------- */

/* One experiment's share of the report: what its parts borrow from. */
struct share {
    struct experiment file;
    struct buf command;
    json_t *by_part, *history; /* owned; history: by part too */
};

struct work {
    json_t *all, *chosen, *by_experiment, *history, *limits, *document;
    struct share *shares;
    size_t n_shares;
    struct report_part *parts;
    json_t *tables;            /* keeps the parts' tables alive */
    size_t n_parts;
    struct rules rules;
    struct rule_result *results;
    struct buf out;
};

/* Those of the file's tables that are of this part; without parts, all. */
static int choose_tables(json_t **chosen, const json_t *tables, const char *part, struct redline_err *err)
{
    *chosen = json_array();
    if (!*chosen) return err_memory(err, 0, "tables");
    for (size_t i = 0; i < json_array_size(tables); i++) {
        json_t *table = json_array_get(tables, i);
        const char *of = json_string_value(json_object_get(json_object_get(table, "where"), "experiment.part"));
        if (*part && of && strcmp(of, part) != 0) continue;
        if (json_array_append(*chosen, table)) return err_memory(err, 0, "tables");
    }
    return 0;
}

static const char *part_title(const struct experiment *e, const char *part)
{
    for (size_t i = 0; i < json_array_size(e->parts); i++) {
        const char *name = record_text(json_array_get(e->parts, i), "name");
        if (name && strcmp(name, part) == 0) return record_text(json_array_get(e->parts, i), "title");
    }
    return NULL;
}

/* part: "" where the experiment has none. */
static int add_part(struct work *w, struct share *own, const char *name, const char *part, json_t *records,
                    struct redline_err *err)
{
    struct report_part *p = &w->parts[w->n_parts++];
    json_t *tables;
    int status = choose_tables(&tables, own->file.tables, part, err);
    if (status == 0 && json_array_append(w->tables, tables)) status = err_memory(err, 0, "tables");
    *p = (struct report_part){
        .name = *part ? part : *name ? name : NULL,
        .title = *part ? part_title(&own->file, part) : own->file.title,
        .about = *part ? NULL : own->file.about,
        .records = records,
        .history = json_object_get(own->history, part),
        .tables = tables,
        .command = own->command.n ? own->command.p : NULL,
    };
    json_decref(tables);
    return status;
}

static int add_share(struct work *w, const char *name, json_t *records, const struct arguments *a,
                     struct redline_err *err)
{
    struct share *own = &w->shares[w->n_shares++];
    const char *part;
    json_t *of_part;
    if (a->tables)
        TRY(experiment_read(&own->file, a->tables, &(struct experiment_overrides){0}, err));
    else if (*name)
        TRY(find_experiment(&own->file, &own->command, name, records, err));
    TRY(report_split(&own->by_part, records, "experiment.part", err));
    TRY(report_split(&own->history, json_object_get(w->history, name), "experiment.part", err));
    size_t most = w->n_parts + json_object_size(own->by_part);
    struct report_part *more = mem_resize(w->parts, most, sizeof *more);
    if (!more) return err_memory(err, most * sizeof *more, "a report");
    w->parts = more;
    for (size_t i = 0; i < json_array_size(own->file.parts); i++) { /* as the file has them, not as they were drawn */
        part = record_text(json_array_get(own->file.parts, i), "name");
        of_part = json_object_get(own->by_part, part);
        if (of_part) TRY(add_part(w, own, name, part, of_part, err));
    }
    json_object_foreach(own->by_part, part, of_part)
        if (!part_title(&own->file, part)) TRY(add_part(w, own, name, part, of_part, err));
    return 0;
}

/* ---- the machine's limits, rules ------------------------------------------------------------------- */

/* Only where all records were made on this machine. */
static int find_limits(json_t **limits, const json_t *records, struct redline_err *err)
{
    struct redline_machine machine;
    struct redline_limits measured;
    char id[17], *text = NULL;
    redline_machine(&machine);
    redline_machine_id(&machine, id);
    for (size_t i = 0; i < json_array_size(records); i++) {
        const char *own = record_text(json_array_get(records, i), "machine.id");
        if (!own || strcmp(own, id) != 0) return 0;
    }
    TRY(limits_get(&measured, false, err));
    TRY(redline_limits_to_json(&measured, &text, err));
    *limits = json_loads(text, 0, NULL);
    redline_free(text);
    return *limits ? 0 : err_memory(err, 0, "the machine's limits");
}

/* What an accepted report is held against: the rules' answers.  Without one, what holds by itself. */
static int apply_rules(struct work *w, const struct arguments *a, struct redline_err *err)
{
    struct redline_err none = {0};
    json_t *base = NULL;
    TRY(rules_read(&w->rules, a->rules, err));
    w->results = mem_new(w->rules.n, sizeof *w->results);
    if (!w->results) return err_memory(err, w->rules.n * sizeof *w->results, "rules");
    if (accepted_find(&base, a->accepted, w->chosen, &none)) base = NULL;
    int status = rules_apply(&w->rules, w->chosen, base, w->results, err);
    json_decref(base);
    return status;
}

/* ---- all together ---------------------------------------------------------------------------------- */

static int make_parts(struct work *w, const struct arguments *a, struct redline_err *err)
{
    const char *name;
    json_t *records;
    TRY(report_series(&w->chosen, w->all, a->series, err));
    TRY(report_split(&w->by_experiment, w->chosen, "experiment.name", err));
    TRY(report_split(&w->history, w->all, "experiment.name", err));
    w->tables = json_array();
    w->shares = mem_new(json_object_size(w->by_experiment), sizeof *w->shares);
    if (!w->shares || !w->tables) return err_memory(err, 0, "a report");
    json_object_foreach(w->by_experiment, name, records) TRY(add_share(w, name, records, a, err));
    return 0;
}

/* The title of all of it: the experiment's, where there is one alone. */
static const char *title_of(const struct work *w, const struct arguments *a)
{
    if (a->title) return a->title;
    return w->n_shares == 1 && !a->tables ? w->shares[0].file.title : NULL;
}

static int print_json(struct buf *out, const json_t *document, struct redline_err *err)
{
    char *text = json_dumps(document, JSON_INDENT(1));
    int status = text ? buf_printf(out, err, "%s\n", text) : err_memory(err, 0, "the report");
    free(text);
    return status;
}

static int run_all(struct work *w, const struct arguments *a, struct redline_err *err)
{
    TRY(read_stores(&w->all, a, err));
    TRY(make_parts(w, a, err));
    if (a->html) TRY(find_limits(&w->limits, w->chosen, err));
    if (a->rules) TRY(apply_rules(w, a, err));
    struct report_params params = {.title = title_of(w, a), .parts = w->parts, .n_parts = w->n_parts,
                                   .limits = w->limits, .rules = w->results, .n_rules = w->rules.n};
    TRY(report_make(&w->document, &params, err));
    if (a->html) {
        TRY(page_write(&w->out, w->document, err));
        return file_write(a->html, w->out.p, w->out.n, err);
    }
    TRY(a->json ? print_json(&w->out, w->document, err) : report_to_markdown(&w->out, w->document, err));
    TRY(cmd_write(w->out.p, w->out.n, err));
    return cmd_flush(err);
}

static void free_work(struct work *w)
{
    for (size_t i = 0; i < w->n_shares; i++) {
        experiment_free(&w->shares[i].file);
        buf_free(&w->shares[i].command);
        json_decref(w->shares[i].by_part);
        json_decref(w->shares[i].history);
    }
    mem_free(w->shares);
    mem_free(w->parts);
    mem_free(w->results);
    rules_free(&w->rules);
    json_t *const values[] = {w->document, w->limits, w->tables, w->history, w->by_experiment, w->chosen, w->all};
    for (size_t i = 0; i < COUNT_OF(values); i++) json_decref(values[i]);
    buf_free(&w->out);
}

int lab_report(int argc, char **argv)
{
    struct arguments a = {.series = "last", .accepted = "lab/accepted.json"};
    const struct opt options[] = {
        {"--html", "FILE", OPT_STRING, &a.html, 0, 0, "one page with plots, which needs nothing else, into FILE"},
        {"--json", NULL, OPT_FLAG, &a.json, 0, 0, "the tables and plots as one JSON object"},
        {"--title", "TEXT", OPT_STRING, &a.title, 0, 0, "the report's title"},
        {"--tables", "EXPERIMENT", OPT_STRING, &a.tables, 0, 0,
         "the tables of this experiment, its name or file, instead of those of the records' own"},
        {"--series", "WHICH", OPT_STRING, &a.series, 0, 0,
         "measurements of which run of an experiment: last, all, or the time its first one began (last)"},
        {"--rules", "FILE", OPT_STRING, &a.rules, 0, 0, "thresholds, and what the records say to them"},
        {"--accepted", "FILE", OPT_STRING, &a.accepted, 0, 0,
         "where the reports are named that rules hold these against (lab/accepted.json)"},
    };
    const struct opt_command command = {
        "redline lab report STORE... [options]",
        "Shows what measurements say, as Markdown on standard output: the tables that the experiment's file asks\n"
        "for, with medians and the 95 % intervals of medians, what failed and why, machine, program and models.\n"
        "A STORE is a file of redline lab run, or what llama-bench, llama-batched-bench, llama-sweep-bench or\n"
        "vLLM's bench serve wrote; several are shown side by side.",
        options, COUNT_OF(options), NULL};
    struct work work = {0};
    struct redline_err err = {0};
    int exit_code;
    if (!cmd_parse(&command, argc, argv, a.stores, MOST_STORES, &a.n_stores, &exit_code)) return exit_code;
    int status = a.n_stores == 0          ? err_set(&err, REDLINE_ARG, "no store of records is named")
                 : a.html && a.json ? err_set(&err, REDLINE_ARG, "--html and --json cannot both be")
                                    : run_all(&work, &a, &err);
    free_work(&work);
    return status ? cmd_fail(&err) : EXIT_FINE;
}
