/* bench_grid.c - lists and ranges from text, and counting through their combinations. */
#include "bench_grid.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "mem.h"

/* ---- numbers ----------------------------------------------------------------------------------- */

struct range { /* first, first (+ or *) step, ... up to last */
    long first, last, step;
    char by; /* '+', '*' */
};

static bool read_number(const char **p, long *out)
{
    char *end;
    if (**p < '0' || **p > '9') return false;
    errno = 0;
    *out = strtol(*p, &end, 10);
    *p = end;
    return errno == 0;
}

/* "8", "8-64", "8-64+8", "8-64*2", up to a comma or the end. */
static bool read_range(const char **p, struct range *r)
{
    *r = (struct range){.step = 1, .by = '+'};
    if (!read_number(p, &r->first)) return false;
    r->last = r->first;
    if (**p == '-') {
        ++*p;
        if (!read_number(p, &r->last)) return false;
        if (**p == '+' || **p == '*') {
            r->by = *(*p)++;
            if (!read_number(p, &r->step)) return false;
        }
    }
    bool grows = r->by == '+' ? r->step >= 1 : r->step >= 2 && r->first >= 1;
    return grows && r->first <= r->last && (**p == ',' || **p == '\0');
}

static int append_range(struct bench_numbers *to, const char *name, const struct range *r,
                        struct redline_err *err)
{
    if (r->first < to->least || r->last > to->most)
        return err_set(err, REDLINE_ARG, "%s takes numbers from %d to %d, not %ld", name, to->least, to->most,
                       r->first < to->least ? r->first : r->last);
    for (long v = r->first; v <= r->last; v = r->by == '+' ? v + r->step : v * r->step) {
        if (to->n == BENCH_MOST_VALUES)
            return err_set(err, REDLINE_ARG, "%s has more than %d values", name, BENCH_MOST_VALUES);
        to->values[to->n++] = (int)v;
    }
    return 0;
}

static int set_numbers(struct opt_call *call, const char *name, const char *value, struct redline_err *err)
{
    struct bench_numbers *to = (struct bench_numbers *)call;
    for (const char *p = value;; p++) {
        struct range r;
        if (!read_range(&p, &r))
            return err_set(err, REDLINE_ARG,
                           "%s '%.60s' is no list of numbers (8,16), nor a range (8-64, 8-64+8, 8-64*2)", name, value);
        TRY(append_range(to, name, &r, err));
        if (*p == '\0') return 0;
    }
}

struct opt bench_numbers_opt(struct bench_numbers *to, const char *names, int least, int most, const char *help)
{
    to->call.set = set_numbers;
    to->least = least;
    to->most = most;
    return (struct opt){names, "N,...", OPT_CALL, &to->call, 0, 0, help};
}

void bench_numbers_default(struct bench_numbers *to, int value)
{
    if (to->n == 0) to->values[to->n++] = value;
}

/* ---- words ------------------------------------------------------------------------------------- */

static bool is_choice(const char *choices, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (strcspn(p, "|") == n && strncmp(p, word, n) == 0) return true;
    return false;
}

static int set_words(struct opt_call *call, const char *name, const char *value, struct redline_err *err)
{
    struct bench_words *to = (struct bench_words *)call;
    for (const char *p = value;; p++) {
        size_t n = strcspn(p, ",");
        if (n == 0) return err_set(err, REDLINE_ARG, "%s '%.60s' has an empty value", name, value);
        if (to->n == BENCH_MOST_VALUES)
            return err_set(err, REDLINE_ARG, "%s has more than %d values", name, BENCH_MOST_VALUES);
        char *word = mem_copy(p, n);
        if (!word) return err_memory(err, n + 1, "a value");
        to->values[to->n++] = word;
        if (to->choices && !is_choice(to->choices, word))
            return err_set(err, REDLINE_ARG, "%s cannot be '%.60s', known are %s", name, word, to->choices);
        p += n;
        if (*p == '\0') return 0;
    }
}

struct opt bench_words_opt(struct bench_words *to, const char *names, const char *value, const char *choices,
                           const char *help)
{
    to->call.set = set_words;
    to->choices = choices;
    return (struct opt){names, value, OPT_CALL, &to->call, 0, 0, help};
}

int bench_words_default(struct bench_words *to, const char *value, struct redline_err *err)
{
    if (to->n > 0) return 0;
    if (value && !(to->values[0] = mem_copy(value, strlen(value))))
        return err_memory(err, strlen(value) + 1, "a value");
    to->n = 1;
    return 0;
}

/* ---- pairs ------------------------------------------------------------------------------------- */

static int set_pair(struct opt_call *call, const char *name, const char *value, struct redline_err *err)
{
    struct bench_pairs *to = (struct bench_pairs *)call;
    const char *p = value;
    long prompt, gen;
    bool read = read_number(&p, &prompt) && *p++ == ',' && read_number(&p, &gen) && *p == '\0';
    if (!read || prompt < 1 || prompt > BENCH_MOST_TOKENS || gen < 1 || gen > BENCH_MOST_TOKENS)
        return err_set(err, REDLINE_ARG, "%s '%.60s' is not P,N: two numbers from 1 to %d", name, value,
                       BENCH_MOST_TOKENS);
    if (to->n == BENCH_MOST_VALUES)
        return err_set(err, REDLINE_ARG, "%s has more than %d values", name, BENCH_MOST_VALUES);
    to->prompt[to->n] = (int)prompt;
    to->gen[to->n++] = (int)gen;
    return 0;
}

struct opt bench_pairs_opt(struct bench_pairs *to, const char *names, const char *help)
{
    to->call.set = set_pair;
    return (struct opt){names, "P,N", OPT_CALL, &to->call, 0, 0, help};
}

/* ---- the product ------------------------------------------------------------------------------- */

/* The k-th test at one point of the other axes; false: there are not so many. */
static bool find_test(const struct bench_grid *g, size_t k, struct bench_case *out)
{
    for (size_t i = 0; i < g->n_prompt.n; i++) {
        out->n_prompt = g->n_prompt.values[i];
        if (out->n_prompt > 0 && k-- == 0) return true;
    }
    out->n_prompt = 0;
    for (size_t i = 0; i < g->n_gen.n; i++) {
        out->n_gen = g->n_gen.values[i];
        if (out->n_gen > 0 && k-- == 0) return true;
    }
    if (k >= g->pairs.n) return false;
    out->n_prompt = g->pairs.prompt[k];
    out->n_gen = g->pairs.gen[k];
    return true;
}

static size_t count_tests(const struct bench_grid *g)
{
    size_t n = 0;
    struct bench_case unused = {0};
    while (find_test(g, n, &unused)) n++;
    return n;
}

size_t bench_grid_n(const struct bench_grid *g)
{
    return g->models.n * g->types_k.n * g->types_v.n * g->n_batch.n * g->n_ubatch.n * g->n_threads.n *
           g->n_depth.n * count_tests(g);
}

/* The place on an axis of n values; what is left in *i counts the slower axes. */
static size_t next_digit(size_t *i, size_t n)
{
    size_t digit = *i % n;
    *i /= n;
    return digit;
}

void bench_grid_at(const struct bench_grid *g, size_t i, struct bench_case *out)
{
    *out = (struct bench_case){0};
    find_test(g, next_digit(&i, count_tests(g)), out);
    out->n_depth = g->n_depth.values[next_digit(&i, g->n_depth.n)];
    out->n_threads = g->n_threads.values[next_digit(&i, g->n_threads.n)];
    out->n_ubatch = g->n_ubatch.values[next_digit(&i, g->n_ubatch.n)];
    out->n_batch = g->n_batch.values[next_digit(&i, g->n_batch.n)];
    out->type_v = g->types_v.values[next_digit(&i, g->types_v.n)];
    out->type_k = g->types_k.values[next_digit(&i, g->types_k.n)];
    out->model = g->models.values[next_digit(&i, g->models.n)];
}

void bench_grid_free(struct bench_grid *g)
{
    struct bench_words *all[] = {&g->models, &g->types_k, &g->types_v};
    for (size_t i = 0; i < COUNT_OF(all); i++)
        for (size_t k = 0; k < all[i]->n; k++) mem_free(all[i]->values[k]);
}
