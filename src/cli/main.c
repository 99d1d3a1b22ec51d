/* main.c - the table of commands, and nothing else. */
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "build_info.h"
#include "cmd.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"run", cmd_run, "generate text; without a model, with the demo model"},
    {"chat", cmd_chat, "talk with a model; without one, with the demo model"},
    {"embed", cmd_embed, "turn lines of text into vectors"},
    {"tokenize", cmd_tokenize, "turn standard input into tokens"},
    {"logits", cmd_logits, "write the raw logits after each of some tokens"},
    {"inspect", cmd_inspect, "show what is in a model file"},
    {"plan", cmd_plan, "show where everything would live and what it costs, without loading"},
    {"score", cmd_score, "measure how well a model predicts a text, alone and against a reference"},
    {"bench", cmd_bench, "measure prompt and generation speed beside this machine's limits"},
    {"probe", cmd_probe, "measure what this machine can do at most: memory and arithmetic"},
    {"lab", cmd_lab, "experiments from files, reports from records, verdicts"},
    {"tune", cmd_tune, "find the fastest threads and batch size of this machine, and keep them"},
    {"doctor", cmd_doctor, "what this machine can do, what it is doing wrong, how to mend it"},
    {"imatrix", cmd_imatrix, "collect from a text which columns of the weights matter, for quantize"},
    {"quantize", cmd_quantize, "re-encode the weights of a model"},
    {"synth", cmd_synth, "make a model of a real model's shape with random weights"},
    {"config", cmd_config, "show every setting, its value and where that came from"},
};

static void print_usage(FILE *to)
{
    fprintf(to, "Redline runs language models on this machine and shows how close to its limit they run.\n\n"
                "usage: redline COMMAND [options]\n\n");
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(to, "\nredline COMMAND --help describes a command.  redline --version prints the version.\n");
}

static int unknown(const char *word)
{
    const char *names[COUNT_OF(commands)];
    for (size_t i = 0; i < COUNT_OF(commands); i++) names[i] = commands[i].name;
    const char *near = opt_nearest(word, names, COUNT_OF(commands));
    if (near)
        fprintf(stderr, "redline: there is no command '%s'; did you mean '%s'?\n", word, near);
    else
        fprintf(stderr, "redline: there is no command '%s'; redline --help lists them\n", word);
    return EXIT_USAGE;
}

static int find(const char *word)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (strcmp(word, commands[i].name) == 0) return (int)i;
    return -1;
}

/* What was printed counts when it got out. */
static int printed(void)
{
    struct redline_err err;
    return cmd_flush(&err) ? cmd_fail(&err) : EXIT_FINE;
}

/* "help run" is "run --help", "help lab gate" is "lab gate --help". */
static int help(int argc, char **argv)
{
    if (argc == 2) {
        print_usage(stdout);
        return printed();
    }
    int command = find(argv[2]);
    if (command < 0) return unknown(argv[2]);
    for (int i = 2; i + 1 < argc; i++) argv[i] = argv[i + 1];
    argv[argc - 1] = "--help";
    return commands[command].run(argc - 2, argv + 2);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "help") == 0) return help(argc, argv);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return help(2, argv);
    if (strcmp(argv[1], "--version") == 0) {
        printf("redline " REDLINE_VERSION " (%s), " REDLINE_CUDA_TEXT "\n", build_commit);
        return printed();
    }
    int command = find(argv[1]);
    return command < 0 ? unknown(argv[1]) : commands[command].run(argc - 2, argv + 2);
}
