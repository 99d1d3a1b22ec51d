/* cmd.h - commands: a table of names and functions, one file each.
 *
 * How to add one: (1) write cmd_<name>.c with its function and its table of options (those that a user may
 * want to keep are rows of settings.h), (2) declare the function below, (3) add a row in main.c, (4) describe
 * it in README.md.
 *
 * This folder is the only place that prints, exits and reads the environment.  Standard output holds
 * the answer alone; progress and measurements go to standard error. */
#ifndef CMD_H
#define CMD_H

#include <signal.h>

#include "opt.h"
#include "redline_probe.h"

enum exit_code {
    EXIT_FINE = 0,
    EXIT_NO = 1,        /* the answer is "no" */
    EXIT_USAGE = 2,     /* wrong usage, or not comparable */
    EXIT_CANNOT = 3,    /* file, memory, device */
    EXIT_UNDECIDED = 4, /* more runs are needed */
};

int cmd_run(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_embed(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_logits(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_score(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_probe(int argc, char **argv);
int cmd_lab(int argc, char **argv);
int cmd_tune(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_imatrix(int argc, char **argv);
int cmd_quantize(int argc, char **argv);
int cmd_synth(int argc, char **argv);
int cmd_config(int argc, char **argv);

/* ---- what commands share (cmd.c) ------------------------------------------------------------- */

/* Prints "redline: <message>" and returns the exit code that belongs to err->code. */
int cmd_fail(const struct redline_err *err);

/* Parses; returns true when the command shall go on.  Otherwise *exit_code is what to return: the help
 * page was printed, or the message of what is wrong. */
bool cmd_parse(const struct opt_command *c, int argc, char **argv, const char **words, int most_words,
               int *n_words, int *exit_code);

/* The model's path from `-m` or the first positional word; both given, or none where one is needed, is
 * REDLINE_ARG.  NULL stands for the demo model.  needed_by: the command that has to have one, or NULL. */
int cmd_model_path(const char **path, const char *option, const char *const *words, int n_words,
                   const char *needed_by, struct redline_err *err);

/* Writes bytes to standard output; REDLINE_IO when that fails. */
int cmd_write(const void *bytes, size_t n, struct redline_err *err);
int cmd_flush(struct redline_err *err);

/* Numbers from a comma-separated list; *ids is the caller's to redline_free(). */
int cmd_parse_ids(int32_t **ids, size_t *n, const char *list, struct redline_err *err);

/* The path of what is kept under this name between runs: in $XDG_CACHE_HOME/redline or ~/.cache/redline, whose folders
 * may not be there yet.  REDLINE_IO when the environment names no place. */
int cmd_cache_path(struct buf *out, const char *name, struct redline_err *err);

/* "length", "end", "context", "cancel" */
const char *cmd_stop_text(enum redline_stop stop);

/* Calls fn on this signal, and lets system calls go on; but not if whoever started the program ignores it
 * (nohup, a shell's background). */
void cmd_catch(int signal_number, void (*fn)(int signal_number));

/* Not zero once Ctrl-C, a closed terminal or a request to end came: for commands that then finish what they have at
 * hand.  They are caught from cmd_catch_stop() on. */
extern volatile sig_atomic_t cmd_stopped;
void cmd_catch_stop(void);

/* One line of progress on standard error, which replaces itself. */
struct cmd_progress {
    bool wanted; /* set by the command: standard error is a terminal, and the user wants to see it */
    _Atomic bool shown; /* warnings may come from the engine's thread */
};
void cmd_progress_show(struct cmd_progress *p, const char *what, double share);
void cmd_progress_clear(struct cmd_progress *p);

/* The engine's listener of a command that shows how loading goes on, and warnings; user: a cmd_progress. */
void cmd_on_load(void *user, const struct redline_event *event);

/* Of the measured bandwidth (bytes per second) what decoding used: a request's DONE event says how long
 * which tokens took, the facts how many bytes each read.  NAN: no token was decoded. */
double cmd_decode_share(const struct redline_event *done, const struct redline_engine_facts *facts,
                        double bandwidth);

/* The letter behind so many tokens, threads: "" or "s". */
static inline const char *cmd_plural(size_t n)
{
    return n == 1 ? "" : "s";
}

/* What stands behind the number of tokens where steps did more than their work: ", also packed weights", and
 * ", 7 of 99 steps also packed weights" in n bytes of buffer; or nothing. */
const char *cmd_prefill_note(const struct redline_event *done);
void cmd_decode_note(const struct redline_event *done, char *out, size_t n);

enum { CMD_WHY = 320 };

/* redline_measure_bandwidth(); where there is too little memory for that, *out is NAN and `why` says so, else "". */
int cmd_bandwidth(struct redline_engine *engine, double *out, char why[CMD_WHY], struct redline_err *err);

/* "decode 41.2 tok/s, 93 % of the 36.1 GB/s measured here", n bytes of buffer.  bandwidth NAN: not measured. */
void cmd_decode_text(const struct redline_event *done, const struct redline_engine_facts *facts,
                     double bandwidth, char *out, size_t n);

#endif
