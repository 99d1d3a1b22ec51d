/* lab_gate.c - redline lab gate: may this replace that? */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "accepted.h"
#include "base.h"
#include "cmd.h"
#include "gate.h"
#include "lab.h"
#include "lab_args.h"
#include "store.h"

struct gate_command {
    struct lab_share least_effect;
    struct lab_duration budget;
    float alpha_percent;
    const char *rules_path, *metrics, *accepted;
    int least, most;
    bool live, wall, force, json;
    struct cmd_progress progress;
};

static void show_progress(void *user, size_t n_pairs, size_t next_look, double elapsed_s)
{
    struct gate_command *g = user;
    char what[96];
    snprintf(what, sizeof what, "%zu pairs, next look at %zu; of the time", n_pairs, next_look);
    cmd_progress_show(&g->progress, what, MIN(elapsed_s / g->budget.s, 1.0));
}

static int run_live(struct gate *out, struct gate_command *g, const struct gate_params *params,
                    const char *const *words, struct redline_err *err)
{
    const struct gate_live_params live = {.budget_s = g->budget.s, .least = (size_t)g->least,
                                          .most = (size_t)g->most, .wall = g->wall, .progress = show_progress,
                                          .user = g, .stop = &cmd_stopped};
    cmd_catch_stop();
    g->progress.wanted = isatty(STDERR_FILENO);
    int status = gate_live(out, words[0], words[1], params, &live, err);
    cmd_progress_clear(&g->progress);
    return status;
}

static int run_records(struct gate *out, const struct gate_command *g, const struct gate_params *params,
                       const char *const *words, int n_words, struct redline_err *err)
{
    json_t *base = NULL, *fresh = NULL;
    int status = store_read(&fresh, words[n_words - 1], err);
    if (!status)
        status = n_words == 2 ? store_read(&base, words[0], err) : accepted_find(&base, g->accepted, fresh, err);
    if (!status) status = gate_records(out, base, fresh, params, err);
    json_decref(base);
    json_decref(fresh);
    return status;
}

static int print(const struct gate *gate, bool as_json, struct redline_err *err)
{
    struct buf text = {0};
    json_t *answer = NULL;
    int status = as_json ? gate_to_json(gate, &answer, err) : gate_to_markdown(gate, &text, err);
    if (!status && as_json) {
        char *dumped = json_dumps(answer, JSON_INDENT(1));
        status = dumped ? buf_printf(&text, err, "%s\n", dumped)
                        : err_set(err, REDLINE_MEMORY, "no memory for the answer");
        free(dumped);
    }
    if (!status) status = cmd_write(text.p, text.n, err);
    if (!status) status = cmd_flush(err);
    json_decref(answer);
    buf_free(&text);
    return status;
}

static int run(struct gate_command *g, const char *const *words, int n_words, int *exit_code, struct redline_err *err)
{
    struct rules rules = {0};
    struct gate gate = {0};
    struct gate_params params = {.least_effect = g->least_effect.value, .alpha = (double)g->alpha_percent / 100,
                                 .metrics = g->metrics, .force = g->force};
    if (g->live && g->rules_path)
        return err_set(err, REDLINE_ARG, "--rules hold records; --live compares two commands");
    if (g->live && n_words != 2) return err_set(err, REDLINE_ARG, "--live takes two commands, each as one word");
    if (n_words == 0) return err_set(err, REDLINE_ARG, "nothing to compare: redline lab gate BASE NEW");
    int status = g->rules_path ? rules_read(&rules, g->rules_path, err) : 0;
    if (g->rules_path) params.rules = &rules;
    if (!status) status = g->live ? run_live(&gate, g, &params, words, err)
                                  : run_records(&gate, g, &params, words, n_words, err);
    if (!status) status = print(&gate, g->json, err);
    *exit_code = gate_exit_code(&gate);
    gate_free(&gate);
    rules_free(&rules);
    return status;
}

int lab_gate(int argc, char **argv)
{
    struct gate_command g = {.least_effect = {.value = 0.02}, .budget = {.s = 300}, .alpha_percent = 1,
                             .accepted = "lab/accepted.json", .least = 8, .most = 1000};
    const struct opt options[] = {
        {"--live", NULL, OPT_FLAG, &g.live, 0, 0, "the two words are commands, run by turns until there is a verdict"},
        lab_duration_opt(&g.budget, "--budget", "with --live: at most so long (5m)"),
        {"--least", "N", OPT_INT, &g.least, 2, 10000, "with --live: pairs at least (8)"},
        {"--most", "N", OPT_INT, &g.most, 2, 10000, "with --live: pairs at most (1000)"},
        {"--wall", NULL, OPT_FLAG, &g.wall, 0, 0, "with --live: compare wall time, whatever the commands print"},
        {"--metric", "M,...", OPT_STRING, &g.metrics, 0, 0,
         "what is compared (what each kind of work is judged by); redline lab metrics lists them"},
        lab_share_opt(&g.least_effect, "--least-effect", 0, 0.99, "a smaller difference is none (2%)"),
        {"--alpha", "PERCENT", OPT_FLOAT, &g.alpha_percent, 1e-6, 50,
         "wrong alarms, of all rows and looks together (1)"},
        {"--rules", "FILE", OPT_STRING, &g.rules_path, 0, 0, "thresholds that the new records are held to as well"},
        {"--accepted", "FILE", OPT_STRING, &g.accepted, 0, 0, "where accepted reports are named (lab/accepted.json)"},
        {"--force", NULL, OPT_FLAG, &g.force, 0, 0, "compare records that are not comparable; the answer says so"},
        {"--json", NULL, OPT_FLAG, &g.json, 0, 0, "the answer as JSON"},
    };
    const struct opt_command command = {
        "redline lab gate [BASE] NEW [options]\n       redline lab gate --live COMMAND_A COMMAND_B [options]",
        "Says of every row whether the new is faster, slower, the same, or that more runs are needed: by rank tests\n"
        "against the least effect, or this machine's own noise where that is larger, for all rows together.",
        options, COUNT_OF(options),
        "Stores are redline's records, or what llama-bench and its like print.  Without BASE, the report counts that\n"
        "`redline lab accept` named.  Live commands may print llama-bench's JSON or records; else wall time counts.\n"
        "Exit codes: 0 nothing is slower, 1 something is slower or a rule broken, 2 not comparable, 3 it cannot be\n"
        "done, 4 undecided."};
    const char *words[2];
    struct redline_err err = {0};
    int n_words, exit_code;
    if (!cmd_parse(&command, argc, argv, words, 2, &n_words, &exit_code)) return exit_code;
    int status = run(&g, words, n_words, &exit_code, &err);
    return status ? cmd_fail(&err) : exit_code;
}
