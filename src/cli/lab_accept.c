/* lab_accept.c - redline lab accept: this is what the next ones are held against. */
#include <stdio.h>

#include "accepted.h"
#include "base.h"
#include "cmd.h"
#include "lab.h"
#include "store.h"

static int accept_store(const char *accepted, const char *store, struct redline_err *err)
{
    json_t *records = NULL;
    struct buf names = {0};
    int status = store_read(&records, store, err);
    if (!status) status = accepted_name(accepted, store, records, &names, err);
    if (!status) status = cmd_write(names.p, names.n, err);
    if (!status) status = cmd_flush(err);
    json_decref(records);
    buf_free(&names);
    return status;
}

int lab_accept(int argc, char **argv)
{
    const char *accepted = "lab/accepted.json";
    const struct opt options[] = {
        {"--accepted", "FILE", OPT_STRING, &accepted, 0, 0, "where it is written down (lab/accepted.json)"},
    };
    const struct opt_command command = {
        "redline lab accept STORE [options]",
        "Names the last series of each experiment in a store as the report that `redline lab gate NEW` holds later\n"
        "ones against, for the machine that it ran on.  The store has to stay where it is.",
        options, COUNT_OF(options), NULL};
    const char *words[1];
    struct redline_err err = {0};
    int n_words, exit_code;
    if (!cmd_parse(&command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    int status = n_words == 1 ? accept_store(accepted, words[0], &err)
                              : err_set(&err, REDLINE_ARG, "a store is needed: redline lab accept STORE");
    return status ? cmd_fail(&err) : EXIT_FINE;
}
