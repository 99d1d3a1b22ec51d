/* opt.h - command-line options from a table: one row is a flag's names, kind, range, target and help.
 *
 * A row's text drives parsing and the help page alike.  Values follow as the next word or behind '='.
 * Words that are no flags are positional; "--" ends the flags. */
#ifndef OPT_H
#define OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "str.h"

enum opt_kind {
    OPT_FLAG,   /* bool, no value */
    OPT_INT,    /* int, within [least, most] */
    OPT_U64,    /* uint64_t */
    OPT_FLOAT,  /* float, within [least, most] */
    OPT_BYTES,  /* uint64_t: "8G", "512M", "1.5G" in units of 1024, or a plain number */
    OPT_STRING, /* const char *, points into argv */
    OPT_CHOICE, /* the same, one of the words of `value`: "f16|f32"; N among them is a whole number of [0, most] */
    OPT_CALL,   /* struct opt_call, which does what it wants with the value */
    OPT_REFUSED, /* none of this command, and on no help page: 'NAME' and the row's help are the sentence */
};

/* To be embedded in what shall receive the value. */
struct opt_call {
    /* name: the flag as it was written; value: NULL where none was given and the row asks for none. */
    int (*set)(struct opt_call *call, const char *name, const char *value, struct redline_err *err);
};

struct opt {
    const char *names; /* "-n, --n-predict": first short, then long, both optional */
    const char *value; /* "N"; NULL for a flag */
    enum opt_kind kind;
    void *to;          /* holds the default before parsing */
    double least, most;
    const char *help;
};

struct opt_command {
    const char *usage;   /* "redline run [MODEL] [options]" */
    const char *summary; /* one paragraph */
    const struct opt *options;
    size_t n_options;
    const char *notes;   /* printed at the end of the help page; may be NULL */
};

/* Fills the targets; the positional words go to words[0..*n_words), at most most_words of them.
 * *help becomes true when -h or --help is met (then nothing else is checked).  REDLINE_ARG names the
 * word that is wrong, and the nearest known flag, if it has more than two letters. */
int opt_parse(const struct opt_command *c, int argc, char **argv, const char **words, int most_words,
              int *n_words, bool *help, struct redline_err *err);

/* One value from text into its target, as opt_parse() does it; a flag takes true and false, NULL is true.
 * REDLINE_ARG begins with `name`. */
int opt_set(const struct opt *o, const char *name, const char *value, struct redline_err *err);

/* "8G", "512M", "1000": as OPT_BYTES reads it, n bytes of buffer. */
void opt_bytes_text(uint64_t bytes, char *out, size_t n);

/* The help page. */
int opt_help(const struct opt_command *c, struct buf *out, struct redline_err *err);

/* The one of n names that is nearest to word in edit distance, or NULL when none is near. */
const char *opt_nearest(const char *word, const char *const *names, size_t n);

#endif
