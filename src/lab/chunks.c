/* chunks.c - a text as chunks of tokens. */
#include "chunks.h"

#include "base.h"

int chunks_make(struct chunks *out, const struct redline_model *model, struct str text, int n_ctx, int n_most,
                bool special, struct redline_err *err)
{
    size_t n;
    int32_t *ids, begin = redline_begin_token(model);
    unsigned flags = REDLINE_ADD_SPECIAL | (special ? REDLINE_PARSE_SPECIAL : 0);
    *out = (struct chunks){0};
    if (n_ctx < CHUNKS_LEAST_CTX)
        return err_set(err, REDLINE_ARG, "chunks of %d tokens, at least %d are needed", n_ctx, CHUNKS_LEAST_CTX);
    TRY(redline_tokenize(model, text.p, text.n, flags, &ids, &n, err));
    if (n < 2 * (size_t)n_ctx) {
        redline_free(ids);
        return err_set(err, REDLINE_ARG, "the text has %zu tokens, two chunks of %d are needed (-c bounds a chunk)", n,
                       n_ctx);
    }
    size_t n_chunks = n / (size_t)n_ctx;
    if (n_most) n_chunks = MIN(n_chunks, (size_t)n_most);
    for (size_t i = 0; i < n_chunks && begin >= 0; i++) ids[i * (size_t)n_ctx] = begin;
    *out = (struct chunks){n_ctx, (int)n_chunks, ids};
    return 0;
}

void chunks_free(struct chunks *c)
{
    redline_free(c->ids);
    *c = (struct chunks){0};
}
