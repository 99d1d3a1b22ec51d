/* parts.c - lengths, cutting, drawing. */
#include "parts.h"

#include "base.h"
#include "chunks.h"
#include "file.h"
#include "mem.h"
#include "rng.h"
#include "str.h"
#include "words.h"

struct cutting {
    struct buf ids;  /* int32_t */
    struct buf list; /* struct part */
    const struct redline_model *model;
    const struct task_workload *w;
    size_t n_most;   /* parts; 0: all */
};

/* ---- random tokens --------------------------------------------------------------------------------- */

/* ids NULL: zeros. */
static int add_part(struct cutting *c, const int32_t *ids, size_t n, size_t n_words, struct redline_err *err)
{
    struct part part = {c->ids.n / sizeof *ids, n, n_words};
    TRY(buf_reserve(&c->ids, n * sizeof *ids, err));
    if (ids)
        memcpy(c->ids.p + c->ids.n, ids, n * sizeof *ids);
    else
        memset(c->ids.p + c->ids.n, 0, n * sizeof *ids);
    c->ids.n += n * sizeof *ids;
    return buf_append(&c->list, &part, sizeof part, err);
}

static int make_random(struct cutting *c, struct redline_err *err)
{
    size_t n = (size_t)c->w->n_depth + (size_t)MAX(c->w->n_prompt, 1);
    for (int i = 0; i < MAX(c->w->n_requests, 1); i++) TRY(add_part(c, NULL, n, 0, err));
    return 0;
}

void parts_draw(struct parts *p, const struct task_workload *w, size_t n_vocab)
{
    struct rng rng;
    if (w->document) return;
    rng_seed(&rng, w->seed);
    for (size_t i = 0; i < p->n_ids; i++) p->ids[i] = (int32_t)rng_below(&rng, n_vocab);
    for (size_t i = 1; i < p->n; i++) {
        int32_t *ids = p->ids + p->all[i].at;
        memcpy(ids, p->ids, (size_t)w->n_depth * sizeof *ids);
        ids[w->n_depth] = (int32_t)(((size_t)p->ids[w->n_depth] + i) % n_vocab);
    }
}

/* ---- documents ------------------------------------------------------------------------------------- */

static bool is_blank(struct str line)
{
    return words_count(line) == 0;
}

/* Bytes up to and with the next line end. */
static size_t line_bytes(struct str text)
{
    const char *end = memchr(text.p, '\n', text.n);
    return end ? (size_t)(end - text.p) + 1 : text.n;
}

/* Bytes of the lines up to the next blank one, or to the end. */
static size_t paragraph_bytes(struct str text)
{
    size_t n = 0;
    while (n < text.n) {
        size_t line = line_bytes((struct str){text.p + n, text.n - n});
        if (is_blank((struct str){text.p + n, line})) break;
        n += line;
    }
    return n;
}

static struct str without_line_end(struct str s)
{
    while (s.n > 0 && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r')) s.n--;
    return s;
}

static int cut_part(struct cutting *c, struct str text, struct redline_err *err)
{
    int32_t *ids;
    size_t n;
    unsigned flags = REDLINE_ADD_SPECIAL | (c->w->kind == TASK_EMBED ? REDLINE_PARSE_SPECIAL : 0);
    TRY(redline_tokenize(c->model, text.p, text.n, flags, &ids, &n, err));
    if (c->w->n_prompt) n = MIN(n, (size_t)c->w->n_prompt);
    int status = n ? add_part(c, ids, n, words_count(text), err) : 0;
    redline_free(ids);
    return status;
}

static int cut(struct cutting *c, struct str text, struct redline_err *err)
{
    size_t n_parts = 0;
    while (text.n > 0 && (!c->n_most || n_parts < c->n_most)) {
        bool whole = c->w->split == TASK_WHOLE;
        size_t n = whole ? text.n : c->w->split == TASK_LINES ? line_bytes(text) : paragraph_bytes(text);
        if (n == 0) n = line_bytes(text); /* the blank line between */
        struct str part = {text.p, n};
        if (!is_blank(part)) {
            TRY(cut_part(c, whole ? part : without_line_end(part), err));
            n_parts++;
        }
        text = (struct str){text.p + n, text.n - n};
    }
    return 0;
}

static int cut_chunks(struct cutting *c, struct str text, int n_ctx, struct redline_err *err)
{
    struct chunks chunks;
    TRY(chunks_make(&chunks, c->model, text, n_ctx, c->w->n_requests, false, err));
    int status = 0;
    for (int i = 0; i < chunks.n_chunks && !status; i++)
        status = add_part(c, chunks.ids + (size_t)i * (size_t)n_ctx, (size_t)n_ctx, 0, err);
    chunks_free(&chunks);
    return status;
}

static int cut_document(struct cutting *c, int n_ctx, struct redline_err *err)
{
    struct buf text;
    TRY(file_read(&text, c->w->document, err));
    c->n_most = (size_t)c->w->n_requests;
    int status = c->w->kind == TASK_SCORE ? cut_chunks(c, buf_str(&text), n_ctx, err) : cut(c, buf_str(&text), err);
    buf_free(&text);
    if (!status && c->list.n == 0)
        status = err_set(err, REDLINE_ARG, "the document '%s' has no text", c->w->document);
    return status;
}

/* ---- both ------------------------------------------------------------------------------------------ */

int parts_make(struct parts *out, const struct redline_model *model, const struct task_workload *w, int n_ctx,
               struct redline_err *err)
{
    struct cutting c = {.model = model, .w = w};
    int status = w->document ? cut_document(&c, n_ctx, err) : make_random(&c, err);
    *out = (struct parts){.ids = (int32_t *)(void *)c.ids.p,
                          .all = (struct part *)(void *)c.list.p,
                          .n = c.list.n / sizeof(struct part),
                          .n_ids = c.ids.n / sizeof(int32_t)};
    for (size_t i = 0; i < out->n; i++) out->longest = MAX(out->longest, out->all[i].n);
    if (status) parts_free(out);
    return status;
}

void parts_free(struct parts *p)
{
    mem_free(p->ids);
    mem_free(p->all);
    *p = (struct parts){0};
}
