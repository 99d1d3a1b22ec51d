/* texts.h - what is to be embedded: the lines of a file as tokens, checked before anything is computed. */
#ifndef TEXTS_H
#define TEXTS_H

#include "redline.h"
#include "str.h"

struct texts_params {
    const char *prefix;  /* stands before every line; NULL: none */
    size_t most_tokens;  /* of one text */
    bool truncate;       /* longer ones are cut, their closing special tokens kept; else REDLINE_ARG */
    bool skip_empty;     /* lines without a character are left out */
};

struct text { /* one line */
    size_t index;        /* in the file, from 0 */
    size_t at, n;        /* its tokens in ids */
};

struct texts {
    struct buf ids;      /* int32_t, one text after the other */
    struct buf list;     /* struct text */
    size_t n_texts;
    size_t longest;      /* tokens */
    size_t n_truncated;
};

/* Lines end with LF or CRLF, the last one also without.  REDLINE_ARG names the line that is too long, or that
 * the model has no token for. */
int  texts_read(struct texts *out, const struct redline_model *model, struct str file,
                const struct texts_params *params, struct redline_err *err);
void texts_free(struct texts *t); /* accepts {0}; leaves {0} */

const struct text *texts_at(const struct texts *t, size_t i);
const int32_t     *texts_ids(const struct texts *t, size_t i);

#endif
