/* cmd.c - what the commands share: failing, parsing, writing, telling how it goes. */
#include "cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "mem.h"

int cmd_fail(const struct redline_err *err)
{
    fprintf(stderr, "redline: %s\n", err->message);
    return err->code == REDLINE_ARG ? EXIT_USAGE : EXIT_CANNOT;
}

bool cmd_parse(const struct opt_command *c, int argc, char **argv, const char **words, int most_words,
               int *n_words, int *exit_code)
{
    struct redline_err err = {0};
    struct buf page = {0};
    bool help;
    int status = opt_parse(c, argc, argv, words, most_words, n_words, &help, &err);
    if (!status && !help) return true;
    if (!status) status = opt_help(c, &page, &err);
    if (!status) status = cmd_write(page.p, page.n, &err);
    if (!status) status = cmd_flush(&err);
    buf_free(&page);
    *exit_code = status ? cmd_fail(&err) : EXIT_FINE;
    return false;
}

void cmd_catch(int signal_number, void (*fn)(int signal_number))
{
    struct sigaction before, action = {.sa_handler = fn, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (sigaction(signal_number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(signal_number, &action, NULL);
}

volatile sig_atomic_t cmd_stopped;

static void on_stop(int signal_number)
{
    (void)signal_number;
    cmd_stopped = 1;
}

void cmd_catch_stop(void)
{
    cmd_catch(SIGINT, on_stop);
    cmd_catch(SIGTERM, on_stop);
    cmd_catch(SIGHUP, on_stop);
}

int cmd_model_path(const char **path, const char *option, const char *const *words, int n_words,
                   const char *needed_by, struct redline_err *err)
{
    if (option && n_words > 0)
        return err_set(err, REDLINE_ARG, "two models are named: '%s' and '%s'", option, words[0]);
    *path = option ? option : n_words > 0 ? words[0] : NULL;
    if (!*path && needed_by) return err_set(err, REDLINE_ARG, "a model is needed: redline %s MODEL", needed_by);
    return 0;
}

int cmd_write(const void *bytes, size_t n, struct redline_err *err)
{
    if (n == 0 || fwrite(bytes, 1, n, stdout) == n) return 0;
    return err_set(err, REDLINE_IO, "standard output cannot be written: %s", strerror(errno));
}

int cmd_flush(struct redline_err *err)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
    return err_set(err, REDLINE_IO, "standard output cannot be written: %s", strerror(errno));
}

static const char *folder_from_environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value == '/' ? value : NULL; /* the base directory specification: others do not count */
}

int cmd_cache_path(struct buf *out, const char *name, struct redline_err *err)
{
    const char *cache = folder_from_environment("XDG_CACHE_HOME"), *home = folder_from_environment("HOME");
    if (cache) return buf_printf(out, err, "%s/redline/%s", cache, name);
    if (home) return buf_printf(out, err, "%s/.cache/redline/%s", home, name);
    return err_set(err, REDLINE_IO, "neither XDG_CACHE_HOME nor HOME names a folder");
}

int cmd_parse_ids(int32_t **ids, size_t *n, const char *list, struct redline_err *err)
{
    size_t most = 1;
    for (const char *p = list; *p; p++) most += *p == ',';
    *n = 0;
    *ids = mem_new(most, sizeof **ids);
    if (!*ids) return err_memory(err, most * sizeof **ids, "token ids");
    for (const char *p = list;; p++) {
        char *end;
        errno = 0;
        long id = strtol(p, &end, 10);
        if (end == p || (*end && *end != ',') || errno || id < 0 || id > INT32_MAX) {
            mem_free(*ids);
            *ids = NULL;
            return err_set(err, REDLINE_ARG, "'%.40s' is not a list of token ids (1,2,3)", p);
        }
        (*ids)[(*n)++] = (int32_t)id;
        p = end;
        if (!*p) return 0;
    }
}

const char *cmd_stop_text(enum redline_stop stop)
{
    static const char *const texts[] = {"length", "end", "context", "cancel"};
    return texts[stop];
}

void cmd_progress_clear(struct cmd_progress *p)
{
    if (p->shown) fprintf(stderr, "\r\033[K");
    p->shown = false;
}

void cmd_progress_show(struct cmd_progress *p, const char *what, double share)
{
    if (!p->wanted) return;
    fprintf(stderr, "\r\033[K%s %3.0f %%", what, 100 * share);
    fflush(stderr);
    p->shown = true;
}

void cmd_on_load(void *user, const struct redline_event *event)
{
    struct cmd_progress *p = user;
    switch (event->kind) {
    case REDLINE_EVENT_LOADING:
        if (event->load.load_ns > 300000000)
            cmd_progress_show(p, "loading", (double)event->load.done_bytes / (double)event->load.total_bytes);
        break;
    case REDLINE_EVENT_LOADED: cmd_progress_clear(p); break;
    case REDLINE_EVENT_WARNING:
        cmd_progress_clear(p);
        fprintf(stderr, "redline: warning: %s\n", event->sentence);
        break;
    default: break;
    }
}

static double decode_rate(const struct redline_event *done)
{
    return done->done.n_decoded ? (double)done->done.n_decoded * 1e9 / (double)done->done.decode_ns : NAN;
}

double cmd_decode_share(const struct redline_event *done, const struct redline_engine_facts *facts,
                        double bandwidth)
{
    double depth = (double)done->done.n_prompt + (double)done->done.n_generated / 2;
    const struct redline_plan *p = &facts->plan;
    double seen = p->n_window && depth > p->n_window ? p->n_window : depth;
    double token_bytes = (double)p->token_bytes + depth * (double)p->kv_token_bytes +
                         seen * (double)p->kv_window_token_bytes;
    return decode_rate(done) * token_bytes / bandwidth;
}

const char *cmd_prefill_note(const struct redline_event *done)
{
    return done->done.prefill_packed ? ", also packed weights" : "";
}

void cmd_decode_note(const struct redline_event *done, char *out, size_t n)
{
    *out = '\0';
    if (done->done.n_decoded_packed)
        snprintf(out, n, ", %zu of %zu steps also packed weights", done->done.n_decoded_packed, done->done.n_decoded);
}

int cmd_bandwidth(struct redline_engine *engine, double *out, char why[CMD_WHY], struct redline_err *err)
{
    struct redline_err failed;
    int status = redline_measure_bandwidth(engine, out, &failed);
    why[0] = '\0';
    if (!status) return 0;
    if (status != REDLINE_MEMORY) {
        if (err) *err = failed;
        return status;
    }
    *out = NAN;
    snprintf(why, CMD_WHY, "%.*s", CMD_WHY - 1, failed.message);
    return 0;
}

void cmd_decode_text(const struct redline_event *done, const struct redline_engine_facts *facts,
                     double bandwidth, char *out, size_t n)
{
    if (!done->done.n_decoded)
        snprintf(out, n, "no token decoded");
    else if (isnan(bandwidth))
        snprintf(out, n, "decode %.1f tok/s, the memory's speed is not measured", decode_rate(done));
    else
        snprintf(out, n, "decode %.1f tok/s, %.0f %% of the %.1f GB/s measured here%s", decode_rate(done),
                 100 * cmd_decode_share(done, facts, bandwidth), bandwidth / 1e9,
                 facts->fits_in_cache ? " (the weights fit in the cache)" : "");
}
