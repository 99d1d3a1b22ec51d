/* texts.c - lines to tokens, one after the other. */
#include "texts.h"

#include "base.h"

struct reading {
    struct texts *out;
    const struct redline_model *model;
    const struct texts_params *params;
    struct buf line; /* prefix and line */
};

/* How many of the n ids stand behind the text itself: what the model closes a sequence with. */
static int count_closing(const struct reading *r, const int32_t *ids, size_t n, size_t *n_closing,
                         struct redline_err *err)
{
    int32_t *plain;
    size_t n_plain, begin = 0;
    TRY(redline_tokenize(r->model, r->line.p, r->line.n, REDLINE_PARSE_SPECIAL, &plain, &n_plain, err));
    while (begin + n_plain <= n && memcmp(ids + begin, plain, n_plain * sizeof *ids) != 0) begin++;
    *n_closing = begin + n_plain <= n ? n - begin - n_plain : 0;
    redline_free(plain);
    return 0;
}

/* Cuts the text's end off; what closes the sequence stays. */
static int truncate_ids(struct reading *r, int32_t *ids, size_t *n, struct redline_err *err)
{
    size_t n_closing, most = r->params->most_tokens;
    TRY(count_closing(r, ids, *n, &n_closing, err));
    n_closing = MIN(n_closing, most);
    memmove(ids + most - n_closing, ids + *n - n_closing, n_closing * sizeof *ids);
    *n = most;
    r->out->n_truncated++;
    return 0;
}

static int keep(struct reading *r, int32_t *ids, size_t n, size_t index, struct redline_err *err)
{
    size_t most = r->params->most_tokens;
    if (n == 0)
        return err_set(err, REDLINE_ARG, "line %zu is empty, and the model adds no tokens of its own; --skip-empty "
                       "leaves such lines out", index + 1);
    if (n > most && !r->params->truncate)
        return err_set(err, REDLINE_ARG, "line %zu has %zu tokens, at most %zu are read; --truncate cuts such lines",
                       index + 1, n, most);
    if (n > most) TRY(truncate_ids(r, ids, &n, err));
    struct text text = {index, r->out->ids.n / sizeof *ids, n};
    TRY(buf_append(&r->out->ids, ids, n * sizeof *ids, err));
    TRY(buf_append(&r->out->list, &text, sizeof text, err));
    r->out->n_texts++;
    r->out->longest = MAX(r->out->longest, n);
    return 0;
}

static int read_line(struct reading *r, struct str line, size_t index, struct redline_err *err)
{
    int32_t *ids;
    size_t n;
    if (line.n == 0 && r->params->skip_empty) return 0;
    r->line.n = 0;
    if (r->params->prefix) TRY(buf_append_str(&r->line, str_of(r->params->prefix), err));
    TRY(buf_append_str(&r->line, line, err));
    TRY(redline_tokenize(r->model, buf_str(&r->line).p, r->line.n, REDLINE_ADD_SPECIAL | REDLINE_PARSE_SPECIAL, &ids,
                         &n, err));
    int status = keep(r, ids, n, index, err);
    redline_free(ids);
    return status;
}

int texts_read(struct texts *out, const struct redline_model *model, struct str file,
               const struct texts_params *params, struct redline_err *err)
{
    struct reading r = {.out = out, .model = model, .params = params};
    int status = 0;
    for (size_t index = 0; file.n > 0 && !status; index++) {
        const char *end = memchr(file.p, '\n', file.n);
        struct str line = {file.p, end ? (size_t)(end - file.p) : file.n};
        size_t n_used = line.n + (end != NULL);
        if (line.n > 0 && line.p[line.n - 1] == '\r') line.n--;
        status = read_line(&r, line, index, err);
        file = (struct str){file.p + n_used, file.n - n_used};
    }
    buf_free(&r.line);
    return status;
}

void texts_free(struct texts *t)
{
    buf_free(&t->ids);
    buf_free(&t->list);
    *t = (struct texts){0};
}

const struct text *texts_at(const struct texts *t, size_t i)
{
    return (const struct text *)(const void *)t->list.p + i;
}

const int32_t *texts_ids(const struct texts *t, size_t i)
{
    return (const int32_t *)(const void *)t->ids.p + texts_at(t, i)->at;
}
