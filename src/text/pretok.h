/* pretok.h - the names of pre-tokenizers and what each one does.
 *
 * Before byte-level BPE merges anything, the text is cut into words.  A GGUF file only names the
 * rule (tokenizer.ggml.pre); the rules themselves, one row for each name, are the table in
 * pretok.c. */
#ifndef PRETOK_H
#define PRETOK_H

#include "err.h"
#include "str.h"

enum pretok_flag {
    PRETOK_WORD_FIRST = 1,      /* a word that is a token needs no merges ("ignore_merges") */
    PRETOK_KEEP_SPACES = 2,     /* decoded text needs no clean-up (clean_spaces is false) */
    PRETOK_ADD_BOS = 4,         /* unless the file says otherwise */
    PRETOK_ADD_SEP = 8,
    PRETOK_NO_BOS = 16,         /* no default for the BOS id */
    PRETOK_RAW = 32,            /* pieces are UTF-8, not the printable stand-ins for bytes */
    PRETOK_ESCAPE_SPACES = 64,  /* a space is written as U+2581 */
    PRETOK_GEMMA = 128,         /* BOS whatever the file says; a run of newlines may be one token */
    PRETOK_MASK_LSTRIP = 256,   /* "<mask>" swallows the white space before it */
    PRETOK_NO_MERGES = 512,     /* the file may come without merges */
    PRETOK_NOT_LOWERED = 1024,
};

/* A pattern for PCRE2, or one of these cuts for which a pattern would need quadratic time. */
#define PRETOK_DIGITS "digits from the right"
#define PRETOK_ASCII_DIGITS "ASCII digits from the right"

enum { PRETOK_MAX_STEPS = 6 };

struct pretok {
    const char *name;
    const char *const *steps; /* each cuts further what those before have left; NULL ends them */
    unsigned flags;           /* enum pretok_flag */
};

/* NULL when there is none of this name. */
const struct pretok *pretok_find(struct str name);

/* The steps made ready to run.  Safe to share between threads. */
struct presplit;

/* Where the words end. */
struct cuts {
    size_t *ends; /* ascending; the last is the length of the text */
    size_t n, capacity;
};

int presplit_open(struct presplit **out, const struct pretok *pre, struct redline_err *err);
void presplit_close(struct presplit **p);

/* text must be valid UTF-8 and not empty. */
int presplit_run(const struct presplit *p, struct str text, struct cuts *cuts,
                 struct redline_err *err);

#endif
