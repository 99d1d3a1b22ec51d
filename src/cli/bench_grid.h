/* bench_grid.h - the tests of a benchmark: every combination of the values that its flags list.
 *
 * A flag may hold several values with commas between, may be given several times, and numbers may be
 * ranges: "8-64" by ones, "8-64+8" by eights, "8-64*2" by doubling, as llama-bench has it. */
#ifndef BENCH_GRID_H
#define BENCH_GRID_H

#include "opt.h"

enum { BENCH_MOST_VALUES = 256, BENCH_MOST_TOKENS = 1 << 24 };

struct bench_numbers {
    struct opt_call call; /* first: what the flag calls, after bench_numbers_opt() */
    int least, most;
    int values[BENCH_MOST_VALUES];
    size_t n;
};

struct bench_words {
    struct opt_call call;
    const char *choices;  /* "f16|f32"; NULL: any word */
    char *values[BENCH_MOST_VALUES]; /* owned */
    size_t n;
};

struct bench_pairs { /* "P,N": a prompt and what is generated after it, in one test */
    struct opt_call call;
    int prompt[BENCH_MOST_VALUES], gen[BENCH_MOST_VALUES];
    size_t n;
};

struct bench_grid {
    struct bench_words models, types_k, types_v;
    struct bench_numbers n_prompt, n_gen, n_depth, n_batch, n_ubatch, n_threads;
    struct bench_pairs pairs;
};

/* One test. */
struct bench_case {
    const char *model;   /* path; NULL: the demo model */
    int n_prompt, n_gen; /* tokens; one of them may be 0 */
    int n_depth;         /* tokens in the cache beforehand */
    int n_batch, n_ubatch, n_threads;
    const char *type_k, *type_v;
};

/* Rows for a command's table of options. */
struct opt bench_numbers_opt(struct bench_numbers *to, const char *names, int least, int most, const char *help);
struct opt bench_words_opt(struct bench_words *to, const char *names, const char *value, const char *choices,
                           const char *help);
struct opt bench_pairs_opt(struct bench_pairs *to, const char *names, const char *help);

/* The value of a flag that was not given. */
void bench_numbers_default(struct bench_numbers *to, int value);
int  bench_words_default(struct bench_words *to, const char *value, struct redline_err *err); /* may be NULL */

/* How many tests there are, and the i-th: models change slowest, then cache types, batches, threads, depth;
 * fastest the test: the prompts, what is generated, the pairs.  A length of 0 is no test. */
size_t bench_grid_n(const struct bench_grid *g);
void   bench_grid_at(const struct bench_grid *g, size_t i, struct bench_case *out);
void   bench_grid_free(struct bench_grid *g);

#endif
