/* cmd_lab.c - redline lab: the table of its commands. */
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "cmd.h"
#include "lab.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary; /* NULL: not for users */
} commands[] = {
    {"list", lab_list, "the experiments that can be run"},
    {"run", lab_run, "measure what an experiment's file says"},
    {"report", lab_report, "tables and pages out of records"},
    {"gate", lab_gate, "may this replace that?  verdicts from records, or from two commands run by turns"},
    {"accept", lab_accept, "name the report that the next ones are held against"},
    {"import", lab_import, "what other tools have measured, as records"},
    {"check", lab_check, "hold every line of a store against the definition of a record"},
    {"metrics", lab_metrics, "what every figure means"},
    {"worker", lab_worker, NULL},
};

static void print_usage(FILE *to)
{
    fprintf(to, "usage: redline lab COMMAND [options]\n\n"
                "Measures as a laboratory does: what is to be measured stands in a file, every measurement becomes a\n"
                "record, and what is compared is decided by statistics.\n\n");
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (commands[i].summary) fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(to, "\nredline lab COMMAND --help describes a command.\n");
}

int cmd_lab(int argc, char **argv)
{
    if (argc < 1) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
        struct redline_err err;
        print_usage(stdout);
        return cmd_flush(&err) ? cmd_fail(&err) : EXIT_FINE;
    }
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (commands[i].name && strcmp(argv[0], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "redline: there is no lab command '%s'; redline lab --help lists them\n", argv[0]);
    return EXIT_USAGE;
}
