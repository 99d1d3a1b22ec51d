/* lab_list.c - redline lab list: the experiments that can be found. */
#include <jansson.h>
#include <stdlib.h>

#include "base.h"
#include "cmd.h"
#include "experiment.h"
#include "lab.h"
#include "str.h"

static int print_table(const json_t *list, struct redline_err *err)
{
    struct buf text = {0};
    const json_t *entry;
    size_t i;
    int status = 0;
    json_array_foreach (list, i, entry) {
        const char *title = json_string_value(json_object_get(entry, "title"));
        const char *failed = json_string_value(json_object_get(entry, "failed"));
        if (!status)
            status = buf_printf(&text, err, "%-18s %s%s\n", json_string_value(json_object_get(entry, "name")),
                                failed ? "cannot be read: " : "", failed ? failed : title);
    }
    if (!status) status = cmd_write(text.p, text.n, err);
    buf_free(&text);
    return status;
}

static int print_json(const json_t *list, struct redline_err *err)
{
    char *text = json_dumps(list, JSON_INDENT(2));
    if (!text) return err_memory(err, 1, "a list of experiments");
    int status = cmd_write(text, strlen(text), err);
    if (!status) status = cmd_write("\n", 1, err);
    free(text);
    return status;
}

int lab_list(int argc, char **argv)
{
    bool json = false;
    const struct opt options[] = {
        {"--json", NULL, OPT_FLAG, &json, 0, 0, "names, titles and files as JSON"},
    };
    const struct opt_command command = {
        "redline lab list [--json]",
        "Lists the experiments that `redline lab run` finds by their names: those of ./experiments, then the shipped\n"
        "ones.  A file's path can be run as well.",
        options, COUNT_OF(options), NULL};
    struct redline_err err = {0};
    int n_words, exit_code;
    json_t *list = NULL;
    if (!cmd_parse(&command, argc, argv, NULL, 0, &n_words, &exit_code)) return exit_code;
    int status = experiment_list(&list, &err);
    if (!status) status = json ? print_json(list, &err) : print_table(list, &err);
    if (!status) status = cmd_flush(&err);
    json_decref(list);
    return status ? cmd_fail(&err) : EXIT_FINE;
}
