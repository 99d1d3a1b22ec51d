/* cmd_tune.c - redline tune: the fastest settings of this machine for a model, measured, into overrides.local.yaml. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "cmd.h"
#include "file.h"
#include "lab_args.h"
#include "placement.h"
#include "proc.h"
#include "settings.h"
#include "tune.h"
#include "yaml_edit.h"

static const char file_name[] = "overrides.local.yaml";
struct tune {
    struct tune_params params;
    struct tune_result result;
    struct lab_share within;
    struct lab_duration budget;
    const char *threads, *ubatches, *out;
    const char *model_path, *type_k, *type_v;
    struct placement where;
    int n_batch;
    bool exact, json, quiet, busy;
    int n_threads[TUNE_MOST_LIST], n_ubatch[TUNE_MOST_LIST];
    struct buf program, path, before, command;
    json_t *settings;
    struct cmd_progress progress;
};

static void on_progress(void *user, const char *what, double share)
{
    cmd_progress_show(user, what, share);
}

/* ---- what is asked for ------------------------------------------------------------------------------ */

static int compare(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* Whole numbers with commas between, each once, ascending. */
static int parse_list(int list[TUNE_MOST_LIST], size_t *n, const char *flag, const char *text, long most,
                      struct redline_err *err)
{
    int all[TUNE_MOST_LIST];
    size_t n_all = 0;
    for (const char *p = text;;) {
        char *end;
        errno = 0;
        long v = strtol(p, &end, 10);
        if (end == p || errno || v < 1 || v > most || (*end && *end != ',') || n_all == TUNE_MOST_LIST)
            return err_set(err, REDLINE_ARG,
                           "%s '%.60s': at most %d numbers from 1 to %ld with commas between are expected",
                           flag, text, TUNE_MOST_LIST, most);
        all[n_all++] = (int)v;
        if (!*end) break;
        p = end + 1;
    }
    qsort(all, n_all, sizeof *all, compare);
    *n = 0;
    for (size_t i = 0; i < n_all; i++)
        if (*n == 0 || list[*n - 1] != all[i]) list[(*n)++] = all[i];
    return 0;
}

static int fill_lists(struct tune *t, struct redline_err *err)
{
    struct tune_params *p = &t->params;
    struct redline_machine m;
    redline_machine(&m);
    const int always[] = {m.n_threads, m.n_physical};
    p->default_threads = m.n_threads;
    p->default_ubatch = MIN(512, t->n_batch);
    p->n_threads = t->n_threads;
    p->n_ubatch = t->n_ubatch;
    if (t->threads)
        TRY(parse_list(t->n_threads, &p->n_n_threads, "-t", t->threads, 512, err));
    else
        p->n_n_threads = tune_thread_list(t->n_threads, m.n_logical, always, COUNT_OF(always));
    if (t->ubatches) return parse_list(t->n_ubatch, &p->n_n_ubatch, "-ub", t->ubatches, 65536, err);
    p->n_n_ubatch = tune_ubatch_list(t->n_ubatch, p->n_prompt, t->n_batch);
    return 0;
}

/* The file that settings are read from, unless another one is named. */
static int choose_path(struct tune *t, struct redline_err *err)
{
    const char *folder = getenv("REDLINE_CONFIG_DIR");
    if (t->out) return buf_printf(&t->path, err, "%s", t->out);
    return folder && *folder ? buf_printf(&t->path, err, "%s/%s", folder, file_name)
                             : buf_printf(&t->path, err, "%s", file_name);
}

/* What will not be written is found before anything is measured. */
static int check_writable(const struct tune *t, struct redline_err *err)
{
    struct file_out *file = NULL;
    int status = file_out_new(&file, t->path.p, err);
    file_out_free(&file);
    return status;
}

/* So is a file that the settings cannot be set in. */
static int read_before(struct tune *t, struct redline_err *err)
{
    struct stat st;
    struct buf trial = {0};
    if (strcmp(t->path.p, "-") == 0) return 0;
    TRY(check_writable(t, err));
    if (stat(t->path.p, &st) != 0 && errno == ENOENT) return 0;
    TRY(file_read(&t->before, t->path.p, err));
    int status = buf_append_str(&trial, buf_str(&t->before), err);
    if (!status) status = yaml_edit_set(&trial, "llm.primary.n_ubatch", "1", t->path.p, err);
    if (!status) status = yaml_edit_set(&trial, "llm.primary.n_threads", "1", t->path.p, err);
    buf_free(&trial);
    return status;
}

static int prepare(struct tune *t, const char *const *words, int n_words, struct redline_err *err)
{
    struct tune_params *p = &t->params;
    TRY(cmd_model_path(&p->model, t->model_path, words, n_words, NULL, err));
    p->within = t->within.value;
    p->budget_s = t->budget.s;
    TRY(fill_lists(t, err));
    TRY(choose_path(t, err));
    TRY(read_before(t, err));
    TRY(proc_self(&t->program, err));
    struct redline_engine_params where = {0};
    placement_set(&where, &t->where);
    t->settings = json_pack("{s:s, s:s, s:b, s:i, s:s*, s:I, s:i, s:s*}", "type_k", t->type_k, "type_v", t->type_v,
                            "exact", t->exact, "n_batch", t->n_batch, "n_gpu_layers", where.n_gpu_layers,
                            "device_memory", (json_int_t)where.device_memory, "n_cpu_moe", where.n_cpu_moe, "placement",
                            where.placement);
    if (!t->settings) return err_memory(err, 0, "settings");
    p->settings = t->settings;
    p->program = t->program.p;
    p->stop = &cmd_stopped;
    p->progress = on_progress;
    p->user = &t->progress;
    t->progress.wanted = !t->quiet && isatty(STDERR_FILENO);
    return 0;
}

/* The load of the last minute may be that of something that has just ended, so this is no more than a warning. */
static void warn_beforehand(void)
{
    struct facts facts;
    facts_read(&facts, &(struct facts_source){.no_nvml = true});
    if (!(facts.load_1m.value > facts_load_limit(&facts))) return;
    fprintf(stderr, "redline: warning: in the last minute %.2f threads of other programs ran on %d processors (limit "
            "%.2f); if they go on, nothing will be written\n", facts.load_1m.value, MAX(1, facts.n_online),
            facts_load_limit(&facts));
}

/* ---- the answer ------------------------------------------------------------------------------------- */

static int remember_command(struct tune *t, int argc, char **argv, struct redline_err *err)
{
    TRY(buf_printf(&t->command, err, "redline tune"));
    for (int i = 0; i < argc; i++) {
        TRY(buf_append(&t->command, " ", 1, err));
        TRY(proc_quote(&t->command, argv[i], err));
    }
    return 0;
}

static int make_yaml(struct tune *t, struct buf *out, struct redline_err *err)
{
    char when[64] = "";
    time_t now = time(NULL);
    struct tm parts;
    if (!gmtime_r(&now, &parts) || !strftime(when, sizeof when, "%Y-%m-%d %H:%M UTC", &parts)) when[0] = '\0';
    return tune_to_yaml(&t->result, &t->params, buf_str(&t->before), t->path.p, t->command.p, when, out, err);
}

static int print_result(struct tune *t, struct redline_err *err)
{
    struct buf out = {0};
    json_t *root = NULL;
    int status = t->json ? tune_to_json(&t->result, &t->params, &root, err)
                         : tune_to_markdown(&t->result, &t->params, &out, err);
    if (!status && t->json) {
        char *text = json_dumps(root, JSON_INDENT(2));
        status = text ? buf_printf(&out, err, "%s\n", text) : err_memory(err, 0, "the JSON text");
        free(text);
    }
    if (!status) status = cmd_write(out.p, out.n, err);
    if (!status) status = cmd_flush(err);
    json_decref(root);
    buf_free(&out);
    return status;
}

/* What is no more than a guess is shown, and not written; nor is what a busy machine said, which would then hold when
 * it is quiet again. */
static bool is_worth_writing(const struct tune *t)
{
    return t->result.decided || (!isnan(t->result.known_within) && !cmd_stopped);
}

static bool is_in_doubt(const struct tune *t)
{
    return t->result.busy && !t->busy;
}

static void say_busy(const struct tune *t)
{
    const struct tune_result *r = &t->result;
    bool to_file = strcmp(t->path.p, "-") != 0;
    fprintf(stderr, "redline: other programs used %.2f of %d processors meanwhile (limit %.2f): %s%smake it again when "
            "they have ended (top shows them)%s\n", r->others, r->n_processors, r->others_limit,
            to_file ? t->path.p : "", to_file ? " is left as it is; " : "", to_file ? ", or write it with --busy" : "");
}

static int write_file(struct tune *t, struct redline_err *err)
{
    struct buf yaml = {0};
    if (!is_worth_writing(t)) {
        fprintf(stderr, "redline: %s is left as it is: nothing is decided\n", t->path.p);
        return 0;
    }
    int status = make_yaml(t, &yaml, err);
    if (!status) status = file_write(t->path.p, yaml.p, yaml.n, err);
    if (!status) fprintf(stderr, "redline: written to %s\n", t->path.p);
    buf_free(&yaml);
    return status;
}

/* "-o -": the settings are the answer, and their comments hold the table. */
static int print_yaml(struct tune *t, struct redline_err *err)
{
    struct buf yaml = {0};
    int status = make_yaml(t, &yaml, err);
    if (!status) status = cmd_write(yaml.p, yaml.n, err);
    if (!status) status = cmd_flush(err);
    buf_free(&yaml);
    return status;
}

static int run_all(struct tune *t, const char *const *words, int n_words, struct redline_err *err)
{
    TRY(placement_check(&t->where, err));
    TRY(prepare(t, words, n_words, err));
    if (!t->busy) warn_beforehand();
    cmd_catch_stop();
    int status = tune_run(&t->result, &t->params, err);
    cmd_progress_clear(&t->progress);
    TRY(status);
    bool is_stdout = strcmp(t->path.p, "-") == 0;
    TRY(is_stdout ? print_yaml(t, err) : print_result(t, err));
    if (is_in_doubt(t)) say_busy(t);
    return is_stdout || is_in_doubt(t) ? 0 : write_file(t, err);
}

static void release(struct tune *t)
{
    tune_free(&t->result);
    json_decref(t->settings);
    buf_free(&t->program);
    buf_free(&t->path);
    buf_free(&t->before);
    buf_free(&t->command);
}

int cmd_tune(int argc, char **argv)
{
    struct tune t = {.within = {.value = 0.03}, .budget = {.s = 300},
                     .params = {.n_prompt = 512, .n_gen = 128, .seed = 1}};
    struct settings set = {0};
    const struct opt options[] = {
        settings_opt(&set, SETTING_MODEL, &t.model_path),
        {"-p, --n-prompt", "N", OPT_INT, &t.params.n_prompt, 1, 65536, "tokens that a request reads (512)"},
        {"-n, --n-gen", "N", OPT_INT, &t.params.n_gen, 1, 65536, "and writes (128)"},
        {"-t, --threads", "LIST", OPT_STRING, &t.threads, 0, 0,
         "numbers of threads to try; without: 1 to all processors"},
        {"-ub, --ubatch-size", "LIST", OPT_STRING, &t.ubatches, 0, 0,
         "most tokens of one forward pass to try; without: 64 to 2048, as far as a prompt goes"},
        lab_share_opt(&t.within, "--within", 0.001, 0.5, "how far the choice may lie behind the best (3%)"),
        lab_duration_opt(&t.budget, "--budget", "time to end after, decided or not (5m)"),
        {"--busy", NULL, OPT_FLAG, &t.busy, 0, 0, "write the choice though other programs used the processors"},
        {"--full", NULL, OPT_FLAG, &t.params.full, 0, 0, "drop nobody; say what the rules would have chosen, and when"},
        {"-o, --output", "FILE", OPT_STRING, &t.out, 0, 0,
         "file of settings to write; -: standard output; without: overrides.local.yaml"},
        settings_opt(&set, SETTING_N_BATCH, &t.n_batch),
        settings_opt(&set, SETTING_TYPE_K, &t.type_k),
        settings_opt(&set, SETTING_TYPE_V, &t.type_v),
        settings_opt(&set, SETTING_EXACT, &t.exact),
        SETTINGS_PLACEMENT(&set, &t.where),
        {"--seed", "N", OPT_U64, &t.params.seed, 0, 0, "of the order of measurements (1)"},
        {"--json", NULL, OPT_FLAG, &t.json, 0, 0, "one JSON object"},
        {"-q, --quiet", NULL, OPT_FLAG, &t.quiet, 0, 0, "no progress"},
    };
    const struct opt_command command = {
        "redline tune [MODEL] [options]",
        "Measures which number of threads and which batch size are fastest on this machine for a model, and\n"
        "writes them to overrides.local.yaml, the evidence in comments; all else in that file stays as it is.\n"
        "Without MODEL, the demo model.",
        options, COUNT_OF(options),
        "All candidates run in rounds, in an order drawn anew, each measurement in a process of its own.  Those\n"
        "drop out that are slower than the best beyond doubt; it ends when nobody left can be ahead of the\n"
        "simplest (fewest threads, smallest batch) by more than --within, as the 95 % intervals of ratios paired\n"
        "by round say.  Exit code 4: the budget ended first (what is known is written if anything is), or other\n"
        "programs used more than a quarter of the processors meanwhile (nothing is written without --busy)."};
    struct redline_err err = {0};
    const char *words[1];
    int n_words, exit_code;
    if (!settings_parse(&set, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    int status = remember_command(&t, argc, argv, &err);
    if (!status) status = run_all(&t, words, n_words, &err);
    int code = status ? cmd_fail(&err) : EXIT_FINE;
    if (t.result.too_short || (!status && (!t.result.decided || is_in_doubt(&t)))) code = EXIT_UNDECIDED;
    release(&t);
    settings_free(&set);
    return code;
}
