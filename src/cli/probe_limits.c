/* probe_limits.c - finding, reading, measuring and keeping the record of the machine's limits. */
#include "probe_limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "cmd.h"
#include "file.h"

/* ---- where the record lies -------------------------------------------------------------------- */

/* The record's path, for this machine. */
static int find_record(struct buf *out, const struct redline_machine *machine, struct redline_err *err)
{
    char id[17], name[64];
    redline_machine_id(machine, id);
    snprintf(name, sizeof name, "limits-%s.json", id);
    return cmd_cache_path(out, name, err);
}

/* ---- reading ---------------------------------------------------------------------------------- */

static int parse_record(struct redline_limits *out, const char *path, struct redline_err *err)
{
    struct buf text = {0};
    TRY(file_read(&text, path, err));
    int status = redline_limits_from_json(out, text.p, text.n, err);
    buf_free(&text);
    return status;
}

/* True when there is a record that serves; what is wrong with one is said. */
static bool read_record(struct redline_limits *out, const struct redline_machine *machine, int n_threads)
{
    struct redline_err err = {0};
    struct buf path = {0};
    bool serves = false;
    if (find_record(&path, machine, &err) == 0 && access(path.p, F_OK) == 0) {
        if (parse_record(out, path.p, &err))
            fprintf(stderr, "redline: warning: '%s' is not used, the limits are measured anew: %s\n", path.p,
                    err.message);
        else if (!redline_machine_same(&out->machine, machine))
            fprintf(stderr, "redline: warning: '%s' is of another machine, the limits are measured anew\n",
                    path.p);
        else
            serves = out->n_threads >= n_threads;
    }
    buf_free(&path);
    return serves;
}

/* ---- measuring and keeping -------------------------------------------------------------------- */

static void show_progress(void *user, const char *what, double share)
{
    cmd_progress_show(user, what, share);
}

static int write_record(const struct redline_limits *limits, struct redline_err *err)
{
    struct buf path = {0};
    char *text = NULL;
    int status = find_record(&path, &limits->machine, err);
    if (!status) status = file_make_folders(path.p, 0700, err);
    if (!status) status = redline_limits_to_json(limits, &text, err);
    if (!status) status = file_write(path.p, text, strlen(text), err);
    redline_free(text);
    buf_free(&path);
    return status;
}

static int measure_and_keep(struct redline_limits *out, struct redline_limits_params *params,
                            struct redline_err *err)
{
    struct redline_err unkept = {0};
    struct cmd_progress progress = {.wanted = isatty(STDERR_FILENO)};
    params->progress = show_progress;
    params->user = &progress;
    int status = redline_limits_measure(out, params, err);
    cmd_progress_clear(&progress);
    if (status) return status;
    if (write_record(out, &unkept))
        fprintf(stderr, "redline: warning: the measured limits are not kept: %s\n", unkept.message);
    return 0;
}

int limits_get_with(struct redline_limits *out, const struct redline_limits_params *wanted, bool fresh,
                    struct redline_err *err)
{
    struct redline_machine machine;
    struct redline_limits_params params = *wanted;
    redline_machine(&machine);
    params.n_threads = MAX(params.n_threads, machine.n_threads);
    if (!fresh && read_record(out, &machine, params.n_threads)) return 0;
    return measure_and_keep(out, &params, err);
}

int limits_get(struct redline_limits *out, bool fresh, struct redline_err *err)
{
    return limits_get_with(out, &(struct redline_limits_params){0}, fresh, err);
}

bool limits_on_record(struct redline_limits *out)
{
    struct redline_machine machine;
    redline_machine(&machine);
    return read_record(out, &machine, machine.n_threads);
}
