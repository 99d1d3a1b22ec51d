/* opt.c - parsing and help pages from tables of options. */
#include "opt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base.h"

enum { MOST_NAME = 64, HELP_COLUMN = 30 };

/* Does `word` (n bytes) stand among the comma-separated names? */
static bool has_name(const char *names, const char *word, size_t n)
{
    for (const char *p = names; *p;) {
        size_t length = strcspn(p, ", ");
        if (length == n && memcmp(p, word, n) == 0) return true;
        p += length;
        p += strspn(p, ", ");
    }
    return false;
}

static const struct opt *find(const struct opt_command *c, const char *word, size_t n)
{
    for (size_t i = 0; i < c->n_options; i++)
        if (has_name(c->options[i].names, word, n)) return &c->options[i];
    return NULL;
}

static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(b), row[MOST_NAME + 1];
    if (n > MOST_NAME || strlen(a) > MOST_NAME) return SIZE_MAX;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t above = row[j], change = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = MIN(change, MIN(above, row[j - 1]) + 1);
            diagonal = above;
        }
    }
    return row[n];
}

const char *opt_nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t least = strlen(word) / 3 + 2;
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, names[i]);
        if (d < least) {
            least = d;
            best = names[i];
        }
    }
    return best;
}

/* Behind the dashes: they are no letters in common. */
static const char *letters(const char *name)
{
    return name + strspn(name, "-");
}

/* To be suggested. */
static const char *names_of(const struct opt *o)
{
    return o->kind == OPT_REFUSED ? "" : o->names;
}

/* The option that was meant, with its dashes; NULL where none is near.  Of names of one or two letters each is as near
 * as any other. */
static const char *nearest_option(const struct opt_command *c, const char *word, char known[64][MOST_NAME + 1])
{
    const char *pointers[64];
    size_t n_known = 0;
    for (size_t i = 0; i < c->n_options; i++)
        for (const char *p = names_of(&c->options[i]); *p && n_known < COUNT_OF(pointers);) {
            size_t length = strcspn(p, ", ");
            snprintf(known[n_known], sizeof known[0], "%.*s", (int)length, p);
            pointers[n_known] = letters(known[n_known]);
            n_known += strlen(pointers[n_known]) > 2;
            p += length;
            p += strspn(p, ", ");
        }
    const char *near = strlen(letters(word)) > 2 ? opt_nearest(letters(word), pointers, n_known) : NULL;
    for (size_t i = 0; i < n_known && near; i++)
        if (pointers[i] == near) return known[i];
    return NULL;
}

static int unknown(const struct opt_command *c, const char *word, size_t n, struct redline_err *err)
{
    char name[MOST_NAME + 1], known[64][MOST_NAME + 1];
    snprintf(name, sizeof name, "%.*s", (int)MIN(n, (size_t)MOST_NAME), word);
    const char *near = nearest_option(c, name, known);
    if (near) return err_set(err, REDLINE_ARG, "there is no option '%s'; did you mean '%s'?", name, near);
    return err_set(err, REDLINE_ARG, "there is no option '%s'; --help lists them", name);
}

static int out_of_range(const struct opt *o, const char *name, const char *value,
                        struct redline_err *err)
{
    return err_set(err, REDLINE_ARG, "%s %s: it must lie between %.10g and %.10g", name, value, o->least,
                   o->most);
}

/* Is `value` the word of a choice (n bytes), or a number where the word says that one may stand there? */
static bool is_choice(const struct opt *o, const char *word, size_t n, const char *value)
{
    char *end;
    if (n != 1 || *word != 'N') return n == strlen(value) && memcmp(word, value, n) == 0;
    unsigned long long number = strtoull(value, &end, 10);
    return *value >= '0' && *value <= '9' && !*end && (double)number <= o->most;
}

static int set_choice(const struct opt *o, const char *name, const char *value, struct redline_err *err)
{
    char known[128] = "";
    size_t used = 0;
    for (const char *p = o->value; *p;) {
        size_t n = strcspn(p, "|");
        if (is_choice(o, p, n, value)) {
            *(const char **)o->to = value;
            return 0;
        }
        const char *comma = p == o->value ? "" : p[n] ? ", " : " and ";
        if (used < sizeof known)
            used += n == 1 && *p == 'N'
                        ? (size_t)snprintf(known + used, sizeof known - used, "%s0 to %.0f", comma, o->most)
                        : (size_t)snprintf(known + used, sizeof known - used, "%s%.*s", comma, (int)n, p);
        p += n + (p[n] == '|');
    }
    return err_set(err, REDLINE_ARG, "%s cannot be '%s', known are %s", name, value, known);
}

static int set_number(const struct opt *o, const char *name, const char *value, struct redline_err *err)
{
    char *end;
    errno = 0;
    if (o->kind == OPT_FLOAT) {
        double x = strtod(value, &end);
        if (*end || end == value)
            return err_set(err, REDLINE_ARG, "%s '%s': a number is expected", name, value);
        if (!(x >= o->least && x <= o->most)) return out_of_range(o, name, value, err);
        *(float *)o->to = (float)x;
    } else if (o->kind == OPT_U64) {
        unsigned long long n = strtoull(value, &end, 10);
        if (*end || end == value || strchr(value, '-') || errno)
            return err_set(err, REDLINE_ARG, "%s '%s': a whole number from 0 to 2^64 - 1 is expected", name,
                           value);
        *(uint64_t *)o->to = n;
    } else {
        long n = strtol(value, &end, 10);
        if (*end || end == value)
            return err_set(err, REDLINE_ARG, "%s '%s': a whole number is expected", name, value);
        if (errno || (double)n < o->least || (double)n > o->most)
            return out_of_range(o, name, value, err);
        *(int *)o->to = (int)n;
    }
    return 0;
}

static const char units[] = "KMGT";

static int set_bytes(const struct opt *o, const char *name, const char *value, struct redline_err *err)
{
    char *end;
    double x = strtod(value, &end);
    const char *unit = end > value && *end ? strchr(units, *end) : NULL;
    if (unit) end++;
    for (const char *u = units; unit && u <= unit; u++) x *= 1024;
    if (end == value || *end || !(x >= 0) || x >= 0x1p63)
        return err_set(err, REDLINE_ARG, "%s '%s': a number of bytes is expected, as 512M or 8G", name, value);
    *(uint64_t *)o->to = (uint64_t)x;
    return 0;
}

void opt_bytes_text(uint64_t bytes, char *out, size_t n)
{
    const char *unit = NULL;
    for (const char *u = units; *u && bytes && bytes % 1024 == 0; u++) {
        bytes /= 1024;
        unit = u;
    }
    snprintf(out, n, "%" PRIu64 "%.*s", bytes, unit ? 1 : 0, unit ? unit : "");
}

int opt_set(const struct opt *o, const char *name, const char *value, struct redline_err *err)
{
    switch (o->kind) {
    case OPT_FLAG:
        if (value && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
            return err_set(err, REDLINE_ARG, "%s '%s': true or false is expected", name, value);
        *(bool *)o->to = !value || *value == 't';
        return 0;
    case OPT_STRING: *(const char **)o->to = value; return 0;
    case OPT_CHOICE: return set_choice(o, name, value, err);
    case OPT_BYTES: return set_bytes(o, name, value, err);
    case OPT_CALL: {
        struct opt_call *call = o->to;
        return call->set(call, name, value, err);
    }
    case OPT_REFUSED: return err_set(err, REDLINE_ARG, "'%s' %s", name, o->help);
    case OPT_INT:
    case OPT_U64:
    case OPT_FLOAT: break;
    }
    return set_number(o, name, value, err);
}

int opt_parse(const struct opt_command *c, int argc, char **argv, const char **words, int most_words,
              int *n_words, bool *help, struct redline_err *err)
{
    bool flags = true;
    *n_words = 0;
    *help = false;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (flags && strcmp(word, "--") == 0) {
            flags = false;
            continue;
        }
        if (!flags || word[0] != '-' || word[1] == '\0') {
            if (*n_words == most_words)
                return err_set(err, REDLINE_ARG, "'%s' is one word too many", word);
            words[(*n_words)++] = word;
            continue;
        }
        if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
            *help = true;
            return 0;
        }
        size_t n = word[1] == '-' ? strcspn(word, "=") : strlen(word);
        const struct opt *o = find(c, word, n);
        if (!o) return unknown(c, word, n, err);
        const char *value = word[n] == '=' ? word + n + 1 : NULL;
        char name[MOST_NAME + 1];
        snprintf(name, sizeof name, "%.*s", (int)MIN(n, (size_t)MOST_NAME), word);
        if (o->kind == OPT_REFUSED) return opt_set(o, name, value, err);
        if (o->kind == OPT_FLAG && value) return err_set(err, REDLINE_ARG, "%s takes no value", name);
        if (o->value && !value) {
            if (++i == argc) return err_set(err, REDLINE_ARG, "%s needs a value (%s)", name, o->value);
            value = argv[i];
        }
        TRY(opt_set(o, name, value, err));
    }
    return 0;
}

int opt_help(const struct opt_command *c, struct buf *out, struct redline_err *err)
{
    TRY(buf_printf(out, err, "usage: %s\n\n%s\n", c->usage, c->summary));
    if (c->n_options) TRY(buf_printf(out, err, "\n"));
    for (size_t i = 0; i < c->n_options; i++) {
        const struct opt *o = &c->options[i];
        char left[128];
        if (o->kind == OPT_REFUSED) continue;
        snprintf(left, sizeof left, "  %s %s", o->names, o->value ? o->value : "");
        TRY(buf_printf(out, err, "%-*s", HELP_COLUMN, left));
        if (strlen(left) >= HELP_COLUMN) TRY(buf_printf(out, err, "\n%*s", HELP_COLUMN, ""));
        for (const char *p = o->help; *p;) {
            size_t n = strcspn(p, "\n");
            TRY(buf_printf(out, err, "%s%.*s\n", p == o->help ? " " : "                               ",
                           (int)n, p));
            p += n + (p[n] == '\n');
        }
    }
    if (c->notes) TRY(buf_printf(out, err, "\n%s\n", c->notes));
    return 0;
}
