/* lab_worker.c - redline lab worker: one measurement, a task on standard input, a record on standard output.
 *
 * What started this process reads the environment for the laboratory: the mask of kernels, and where caches lie. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "build_info.h"
#include "cmd.h"
#include "file.h"
#include "lab.h"
#include "measure.h"

static int read_task(json_t **task, struct redline_err *err)
{
    struct buf text;
    json_error_t problem;
    TRY(file_read(&text, "-", err));
    *task = json_loadb(buf_str(&text).p, text.n, JSON_REJECT_DUPLICATES, &problem);
    buf_free(&text);
    if (!*task) return err_set(err, REDLINE_ARG, "the task is no JSON: line %d: %s", problem.line, problem.text);
    return json_is_object(*task) ? 0 : err_set(err, REDLINE_ARG, "the task is not a JSON object");
}

/* Kernels were chosen when this process began, so it must have begun with the mask that is asked for. */
static int settle_mask(json_t *task, struct redline_err *err)
{
    const char *real = getenv("REDLINE_CPU");
    json_t *settings = json_object_get(task, "settings");
    const char *asked = json_string_value(json_object_get(settings, "cpu_mask"));
    if (!real) real = "";
    if (asked && strcmp(asked, real) != 0)
        return err_set(err, REDLINE_ARG, "settings.cpu_mask is '%.60s', but REDLINE_CPU is '%.60s' in this process",
                       asked, real);
    if (!asked && *real && !json_is_object(settings)) {
        settings = json_object();
        json_object_set_new(task, "settings", settings);
    }
    if (!asked && *real) json_object_set_new(settings, "cpu_mask", json_string(real));
    return 0;
}

static void say_who(json_t *task)
{
    json_t *given = json_object_get(task, "program");
    json_t *own = json_pack("{s:s, s:s, s:s, s:s}", "name", "redline", "contestant", "redline", "version",
                            REDLINE_VERSION, "commit", build_commit);
    if (json_is_object(given)) json_object_update(own, given);
    json_object_set_new(task, "program", own);
}

static void say_where(json_t *task, const struct buf *cache)
{
    if (cache->n && !json_object_get(task, "digest_cache"))
        json_object_set_new(task, "digest_cache", json_string(cache->p));
}

static int print_record(const json_t *record, struct redline_err *err)
{
    char *line = json_dumps(record, JSON_COMPACT);
    if (!line) return err_memory(err, 4096, "a record");
    int status = cmd_write(line, strlen(line), err);
    if (!status) status = cmd_write("\n", 1, err);
    free(line);
    return status ? status : cmd_flush(err);
}

static int work(struct redline_err *err)
{
    json_t *task = NULL, *record = NULL;
    struct buf cache = {0};
    int status = read_task(&task, err);
    if (!status) status = settle_mask(task, err);
    if (!status) {
        say_who(task);
        if (cmd_cache_path(&cache, "digests.json", NULL) == 0) say_where(task, &cache);
        status = measure_run(&record, task, err);
    }
    if (!status) status = print_record(record, err);
    json_decref(record);
    json_decref(task);
    buf_free(&cache);
    return status;
}

int lab_worker(int argc, char **argv)
{
    const struct opt_command command = {
        "redline lab worker < TASK",
        "Carries out one measurement, which `redline lab run` does for each in a process of its own: a task as JSON\n"
        "on standard input, a record as one line of JSON on standard output.",
        NULL, 0,
        "Example: echo '{\"workload\": {\"n_prompt\": 64, \"n_gen\": 64}}' | redline lab worker\n"
        "docs/lab-records.md describes both."};
    struct redline_err err = {0};
    int n_words, exit_code;
    if (!cmd_parse(&command, argc, argv, NULL, 0, &n_words, &exit_code)) return exit_code;
    return work(&err) ? cmd_fail(&err) : EXIT_FINE;
}
