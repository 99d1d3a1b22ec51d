/* lab_args.h - values on the command line of `redline lab` that other commands do not have. */
#ifndef LAB_ARGS_H
#define LAB_ARGS_H

#include "opt.h"

/* A flag that may be given several times: its values, in order, as they stand in argv. */
enum { LAB_MOST_WORDS = 64 };
struct lab_words {
    struct opt_call call; /* first */
    const char *all[LAB_MOST_WORDS];
    size_t n;
};
struct opt lab_words_opt(struct lab_words *to, const char *names, const char *value, const char *help);

/* A duration: "90", "90s", "5m", "1.5h". */
struct lab_duration {
    struct opt_call call; /* first */
    double s;
};
struct opt lab_duration_opt(struct lab_duration *to, const char *names, const char *help);

/* A share between two limits: "3%", "3 %", 0.03. */
struct lab_share {
    struct opt_call call; /* first */
    double least, most, value;
};
struct opt lab_share_opt(struct lab_share *to, const char *names, double least, double most, const char *help);

#endif
