/* lab_run.c - redline lab run: an experiment from its file to its tables. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base.h"
#include "cmd.h"
#include "conduct.h"
#include "lab.h"
#include "lab_args.h"
#include "mem.h"
#include "placement.h"
#include "proc.h"
#include "record.h"
#include "report.h"
#include "settings.h"

enum { MOST_PARTS = 64 };

struct lab_run {
    /* options */
    struct lab_words models, sets, peers;
    struct lab_duration budget;
    const char *store_path, *require;
    bool short_form, again, dry_run;

    /* in progress */
    struct buf command;  /* as it was called, to go on with */
    struct experiment e;
    struct conduct_peer peer[LAB_MOST_WORDS];
    struct buf store_name;
    struct conduct_result result;
    struct cmd_progress bar;
};

/* ---- progress -------------------------------------------------------------------------------- */

/* "about 4 min left" */
static void time_text(double s, char *out, size_t n)
{
    if (!isfinite(s)) snprintf(out, n, "no estimate yet");
    else if (s < 90) snprintf(out, n, "about %.0f s left", ceil(s));
    else if (s < 5400) snprintf(out, n, "about %.0f min left", ceil(s / 60));
    else snprintf(out, n, "about %.1f h left", s / 3600);
}

static int terminal_width(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

static void show_progress(void *user, const struct conduct_progress *p)
{
    static const char full[] = "####################", none[] = "....................";
    struct lab_run *run = user;
    char left[48], line[900];
    if (!run->bar.wanted) return;
    int width = (int)sizeof full - 1, n_full = (int)(width * p->n_done / MAX(p->n_expected, 1u));
    n_full = MIN(n_full, width);
    time_text(p->left_s, left, sizeof left);
    snprintf(line, sizeof line, "[%.*s%.*s] %zu of %zu, %zu of %zu cells known, %s | %s", n_full, full, width - n_full,
             none, p->n_done, MAX(p->n_expected, p->n_done), p->n_settled, p->n_cells, left, p->now);
    fprintf(stderr, "\r\033[K%.*s", terminal_width() - 1, line);
    fflush(stderr);
    run->bar.shown = true;
}

/* ---- before ---------------------------------------------------------------------------------- */

/* The command again. */
static int quote_command(struct lab_run *run, int argc, char **argv, struct redline_err *err)
{
    TRY(buf_printf(&run->command, err, "redline lab run"));
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--again") == 0) continue; /* which would begin anew instead of going on */
        TRY(buf_append(&run->command, " ", 1, err));
        TRY(proc_quote(&run->command, argv[i], err));
    }
    return 0;
}

static int split_peers(struct lab_run *run, struct redline_err *err)
{
    for (size_t i = 0; i < run->peers.n; i++) {
        const char *text = run->peers.all[i], *equals = strchr(text, '=');
        if (!equals || equals == text || !equals[1])
            return err_set(err, REDLINE_ARG, "--peer %s: NAME=COMMAND is expected, or NAME=http://HOST:PORT", text);
        run->peer[i].name = mem_copy(text, (size_t)(equals - text));
        run->peer[i].command = equals + 1;
        if (!run->peer[i].name) return err_memory(err, strlen(text), "the name of a peer");
    }
    return 0;
}

static int read_experiment(struct lab_run *run, const char *name, struct redline_err *err)
{
    const struct experiment_overrides o = {run->models.all, run->models.n, run->sets.all, run->sets.n, run->short_form};
    TRY(split_peers(run, err));
    TRY(experiment_read(&run->e, name, &o, err));
    if (run->store_path) return buf_append_str(&run->store_name, str_of(run->store_path), err);
    return buf_printf(&run->store_name, err, "lab/%s.jsonl", run->e.name);
}

/* Who is measured in a cell, as conduct.h has it. */
static size_t n_contestants(const struct lab_run *run, const struct experiment_cell *cell)
{
    if (!run->e.parts) return 1 + run->peers.n;
    return cell->peers ? run->peers.n ? 1 + run->peers.n : 0 : 1;
}

static int list_cells(const struct lab_run *run, struct redline_err *err)
{
    struct buf text = {0};
    size_t n = experiment_n_cells(&run->e), least = 0, most = 0;
    int status = buf_printf(&text, err, "%5s  %11s  %s\n", "cell", "repetitions", "what");
    for (size_t i = 0; !status && i < n; i++) {
        struct experiment_cell cell = experiment_cell(&run->e, i);
        size_t n_who = n_contestants(run, &cell);
        char often[32];
        snprintf(often, sizeof often, cell.most > cell.least ? "%d to %d" : "%d", cell.least, cell.most);
        status = buf_printf(&text, err, "%5zu  %11s  %s\n", i, n_who ? often : "no peers", cell.label);
        least += n_who * (size_t)cell.least;
        most += n_who * (size_t)cell.most;
    }
    if (!status) status = buf_printf(&text, err, "%zu cells, %zu to %zu measurements\n", n, least, most);
    if (!status) status = cmd_write(text.p, text.n, err);
    buf_free(&text);
    return status;
}

/* ---- after ----------------------------------------------------------------------------------- */

static const char *part_of(const json_t *x)
{
    return json_string_value(x);
}

/* Of records or tables those of one part, by the path of its name; the caller's to json_decref(). */
static json_t *select_part(json_t *from, const char *part, const char *folder)
{
    json_t *chosen = json_array(), *x;
    size_t i;
    json_array_foreach (from, i, x) {
        const json_t *in = json_object_get(x, folder);
        const char *name = part_of(json_object_get(in, strcmp(folder, "where") == 0 ? "experiment.part" : "part"));
        if (name && strcmp(name, part) == 0) json_array_append(chosen, x);
    }
    return chosen;
}

/* One section for each part, or for the whole. */
static size_t make_sections(const struct lab_run *run, struct report_part *out)
{
    const json_t *about;
    size_t i, n = 0;
    if (!run->e.parts) {
        *out = (struct report_part){.name = run->e.name, .title = run->e.title, .about = run->e.about,
                                    .records = json_incref(run->result.records),
                                    .tables = json_incref(run->e.tables), .command = run->command.p};
        return 1;
    }
    json_array_foreach (run->e.parts, i, about) {
        const char *name = part_of(json_object_get(about, "name"));
        json_t *records = select_part(run->result.records, name, "experiment");
        if (n == MOST_PARTS || json_array_size(records) == 0) {
            json_decref(records);
            continue;
        }
        out[n++] = (struct report_part){.name = name, .title = part_of(json_object_get(about, "title")),
                                        .records = records, .tables = select_part(run->e.tables, name, "where"),
                                        .command = run->command.p};
    }
    return n;
}

static int print_report(const struct lab_run *run, struct redline_err *err)
{
    struct report_part parts[MOST_PARTS];
    struct report_params params = {.title = run->e.title, .parts = parts, .n_parts = make_sections(run, parts)};
    json_t *document = NULL;
    struct buf text = {0};
    int status = params.n_parts ? report_make(&document, &params, err) : 0;
    if (!status && document) status = report_to_markdown(&text, document, err);
    if (!status) status = cmd_write(text.p, text.n, err);
    buf_free(&text);
    json_decref(document);
    for (size_t i = 0; i < params.n_parts; i++) {
        json_decref(parts[i].records);
        json_decref((json_t *)parts[i].tables);
    }
    return status;
}

/* One line that says how it went, to standard error. */
static int sum_up(const struct lab_run *run)
{
    const struct conduct_result *r = &run->result;
    fprintf(stderr, "redline: %zu measurement%s in %s", r->n_before + r->n_new, r->n_before + r->n_new == 1 ? "" : "s",
            run->store_name.p);
    if (r->n_before) fprintf(stderr, ", %zu of them found there", r->n_before);
    if (r->n_failed)
        fprintf(stderr, "; %zu of %zu cells could not be measured: %s", r->n_failed, r->n_cells, r->failure);
    if (r->n_wide)
        fprintf(stderr, "; %zu of %zu cells are not known as narrowly as was asked for", r->n_wide, r->n_cells);
    if (r->n_left_out) fprintf(stderr, "; %zu cells were left out, as they need a --peer", r->n_left_out);
    if (r->end != CONDUCT_DONE)
        fprintf(stderr, "; %s with %zu of %zu cells known, go on with: %s",
                r->end == CONDUCT_STOPPED ? "stopped" : "the time is up", r->n_settled, r->n_cells, run->command.p);
    fprintf(stderr, "\n");
    if (r->end != CONDUCT_DONE) return EXIT_UNDECIDED;
    return r->n_failed && r->n_failed == r->n_cells ? EXIT_CANNOT : EXIT_FINE;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int conduct(struct lab_run *run, struct redline_err *err)
{
    struct store *store = NULL;
    struct buf self = {0};
    int status = proc_self(&self, err);
    if (!status) status = conduct_check(&run->e, run->peers.n, err);
    if (!status) status = store_open(&store, run->store_name.p, err);
    const struct conduct_params params = {.program = self.p, .peers = run->peer, .n_peers = run->peers.n,
                                          .again = run->again, .budget_s = run->budget.s, .progress = show_progress,
                                          .user = run, .stop = &cmd_stopped};
    cmd_catch_stop();
    if (!status) status = conduct_run(&run->result, &run->e, store, &params, err);
    cmd_progress_clear(&run->bar);
    store_close(&store);
    buf_free(&self);
    return status;
}

static int run_all(struct lab_run *run, const char *name, int *exit_code, struct redline_err *err)
{
    TRY(read_experiment(run, name, err));
    if (run->dry_run) return list_cells(run, err);
    TRY(conduct(run, err));
    TRY(print_report(run, err));
    TRY(cmd_flush(err));
    *exit_code = sum_up(run);
    return 0;
}

static void free_all(struct lab_run *run)
{
    for (size_t i = 0; i < run->peers.n; i++) mem_free((void *)run->peer[i].name);
    conduct_result_free(&run->result);
    experiment_free(&run->e);
    buf_free(&run->store_name);
    buf_free(&run->command);
}

int lab_run(int argc, char **argv)
{
    static struct lab_run run; /* large */
    struct settings set = {0};
    const struct opt options[] = {
        lab_words_opt(&run.models, "-m, --model", "FILE",
                      "GGUF file, instead of the experiment's; several are compared"),
        lab_words_opt(&run.sets, "--set", "KEY=VALUE,...",
                      "a setting, or workload.KEY, repetitions.KEY, load: instead of the file's; several values are "
                      "an axis"),
        {"--short", NULL, OPT_FLAG, &run.short_form, 0, 0, "the experiment's short form"},
        {"-o, --output", "STORE", OPT_STRING, &run.store_path, 0, 0, "file for the records (lab/EXPERIMENT.jsonl)"},
        {"--again", NULL, OPT_FLAG, &run.again, 0, 0, "begin anew, also where the last run was not finished"},
        lab_words_opt(&run.peers, "--peer", "NAME=COMMAND",
                      "measure this beside: a program like llama-bench, or http://HOST:PORT of an OpenAI-like server"),
        lab_duration_opt(&run.budget, "--budget", "stop when this time is up (90s, 5m, 1h); the next run goes on"),
        settings_opt(&set, SETTING_REQUIRE, &run.require),
        {"--dry-run", NULL, OPT_FLAG, &run.dry_run, 0, 0, "list what would be measured, and end"},
    };
    const struct opt_command command = {
        "redline lab run EXPERIMENT [options]",
        "Measures what an experiment's file says, each measurement in a process of its own, until every cell is known\n"
        "as narrowly as the file asks for; then prints the file's tables.  What was measured is in the store at once:\n"
        "a run that was ended, in whatever way, goes on where it was when it is started again.",
        options, COUNT_OF(options),
        "EXPERIMENT is a name that redline lab list shows, or a YAML file.  Exit code 4: not finished yet.\n"
        "Example: redline lab run cpu-sweep -m model.gguf --set n_threads=1,2,4"};
    const char *words[1];
    struct redline_err err = {0};
    int n_words, exit_code = EXIT_FINE;
    if (!settings_parse(&set, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    run.bar.wanted = isatty(STDERR_FILENO);
    int status = n_words == 1 ? quote_command(&run, argc, argv, &err)
                              : err_set(&err, REDLINE_ARG, "an experiment is needed; redline lab list shows them");
    if (!status) status = placement_check(&(struct placement){.require = run.require}, &err);
    if (!status) status = run_all(&run, words[0], &exit_code, &err);
    if (!status) status = cmd_flush(&err);
    free_all(&run);
    settings_free(&set);
    return status ? cmd_fail(&err) : exit_code;
}
