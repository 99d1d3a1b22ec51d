/* lab_check.c - redline lab check: is every line of a store a record? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "cmd.h"
#include "file.h"
#include "lab.h"
#include "record.h"

struct tally {
    size_t n_good, n_failed, n_bad;
};

static void check_line(struct tally *t, struct str line, const char *path, size_t number)
{
    struct redline_err err = {0};
    json_error_t problem;
    json_t *record = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &problem);
    if (!record)
        printf("%s:%zu: this line is no JSON: %s\n", path, number, problem.text);
    else if (record_check(record, &err))
        printf("%s:%zu: %s\n", path, number, err.message);
    else if (json_object_get(record, "failed"))
        t->n_failed++;
    else
        t->n_good++;
    t->n_bad += !record || err.code;
    json_decref(record);
}

static int check_store(struct tally *t, const char *path, struct redline_err *err)
{
    struct buf text;
    TRY(file_read(&text, path, err));
    struct str rest = buf_str(&text);
    for (size_t number = 1; rest.n > 0; number++) {
        const char *end = memchr(rest.p, '\n', rest.n);
        struct str line = {rest.p, end ? (size_t)(end - rest.p) : rest.n};
        if (!end) {
            printf("%s:%zu: the last line has no end: a torn record, which the next run cuts off\n", path, number);
            t->n_bad++;
        } else if (line.n > 0) {
            check_line(t, line, path, number);
        }
        rest = (struct str){line.p + line.n + (end != NULL), rest.n - line.n - (end != NULL)};
    }
    buf_free(&text);
    return 0;
}

static int print_schema(struct redline_err *err)
{
    json_t *schema = record_schema();
    char *text = json_dumps(schema, JSON_INDENT(1));
    json_decref(schema);
    if (!text) return err_memory(err, 4096, "a schema");
    int status = cmd_write(text, strlen(text), err);
    if (!status) status = cmd_write("\n", 1, err);
    free(text);
    return status ? status : cmd_flush(err);
}

int lab_check(int argc, char **argv)
{
    bool schema = false;
    const struct opt options[] = {
        {"--schema", NULL, OPT_FLAG, &schema, 0, 0, "print the definition as a JSON schema instead"},
    };
    const struct opt_command command = {
        "redline lab check STORE...",
        "Holds every line of a store against the definition of a record: members, kinds, units, a reason for every\n"
        "null.  What is wrong is said with its line and its path.",
        options, COUNT_OF(options),
        "Exit code 0: all are records; 1: some are not.  docs/lab-record.schema.json is what --schema prints.\n"
        "Example: redline lab check lab/cpu-sweep.jsonl"};
    enum { MOST_STORES = 64 };
    const char *paths[MOST_STORES];
    struct redline_err err = {0};
    struct tally t = {0};
    int n_paths, exit_code, status = 0;
    if (!cmd_parse(&command, argc, argv, paths, MOST_STORES, &n_paths, &exit_code)) return exit_code;
    if (schema) return print_schema(&err) ? cmd_fail(&err) : EXIT_FINE;
    if (n_paths == 0) status = err_set(&err, REDLINE_ARG, "a store is needed: redline lab check STORE");
    for (int i = 0; i < n_paths && !status; i++) status = check_store(&t, paths[i], &err);
    if (!status)
        printf("%zu record%s, %zu of them of failed measurements; %zu line%s that %s none\n", t.n_good + t.n_failed,
               t.n_good + t.n_failed == 1 ? "" : "s", t.n_failed, t.n_bad, t.n_bad == 1 ? "" : "s",
               t.n_bad == 1 ? "is" : "are");
    if (!status) status = cmd_flush(&err);
    return status ? cmd_fail(&err) : t.n_bad ? EXIT_NO : EXIT_FINE;
}
