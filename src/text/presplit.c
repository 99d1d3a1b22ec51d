/* presplit.c - running the steps of a pre-tokenizer over a text.
 *
 * Every step cuts each word that the steps before it have left: its matches become words, and so
 * does whatever lies between two matches.  A word is a subject of its own, so nothing looks beyond
 * it. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "pretok.h"

#include <pcre2.h>
#include <utf8proc.h>

#include "mem.h"
#include "vocab_internal.h"

struct presplit {
    pcre2_general_context *memory;
    pcre2_code *codes[PRETOK_MAX_STEPS]; /* NULL for the steps that are no pattern */
    const char *const *steps;
};

/* What one run needs: PCRE2's match data must not be shared between threads. */
struct run {
    pcre2_match_data *match;
    pcre2_match_context *limits;
    struct cuts *out;
    struct redline_err *err;
};

static void *pcre_new(size_t n, void *unused)
{
    (void)unused;
    return mem_resize(NULL, n, 1);
}

static void pcre_free(void *p, void *unused)
{
    (void)unused;
    mem_free(p);
}

static int compile(struct presplit *p, size_t i, struct redline_err *err)
{
    int code;
    PCRE2_SIZE at;
    pcre2_compile_context *context = pcre2_compile_context_create(p->memory);
    if (!context) return err_memory(err, 256, "a pre-tokenizer's pattern");
    p->codes[i] = pcre2_compile((PCRE2_SPTR)p->steps[i], PCRE2_ZERO_TERMINATED,
                                PCRE2_UTF | PCRE2_UCP, &code, &at, context);
    pcre2_compile_context_free(context);
    if (p->codes[i]) {
        pcre2_jit_compile(p->codes[i], PCRE2_JIT_COMPLETE); /* without it: the same, slower */
        return 0;
    }
    if (code == PCRE2_ERROR_HEAP_FAILED)
        return err_memory(err, strlen(p->steps[i]), "a pre-tokenizer's pattern");
    PCRE2_UCHAR text[120];
    pcre2_get_error_message(code, text, sizeof text);
    return err_set(err, REDLINE_SUPPORT, "this PCRE2 refuses a pre-tokenizer's pattern: %s",
                   (const char *)text);
}

int presplit_open(struct presplit **out, const struct pretok *pre, struct redline_err *err)
{
    struct presplit *p = *out = mem_new(1, sizeof *p);
    if (!p) return err_memory(err, sizeof *p, "a pre-tokenizer");
    p->steps = pre->steps;
    p->memory = pcre2_general_context_create(pcre_new, pcre_free, NULL);
    int status = p->memory ? 0 : err_memory(err, 64, "a pre-tokenizer");
    for (size_t i = 0; status == 0 && pre->steps[i]; i++) {
        bool is_pattern =
            strcmp(pre->steps[i], PRETOK_DIGITS) && strcmp(pre->steps[i], PRETOK_ASCII_DIGITS);
        if (is_pattern) status = compile(p, i, err);
    }
    if (status) presplit_close(out);
    return status;
}

void presplit_close(struct presplit **p)
{
    if (!p || !*p) return;
    for (size_t i = 0; i < PRETOK_MAX_STEPS; i++) pcre2_code_free((*p)->codes[i]);
    pcre2_general_context_free((*p)->memory);
    mem_free(*p);
    *p = NULL;
}

static int cut_at(struct run *run, size_t end)
{
    struct cuts *c = run->out;
    if (c->n && c->ends[c->n - 1] >= end) return 0;
    TRY(text_grow(&c->ends, &c->capacity, c->n + 1, sizeof *c->ends, run->err));
    c->ends[c->n++] = end;
    return 0;
}

static int match_error(int code, struct redline_err *err)
{
    if (code == PCRE2_ERROR_NOMEMORY)
        return err_memory(err, 0, "matching a pre-tokenizer's pattern");
    return err_set(err, REDLINE_SUPPORT, "PCRE2 gave up on a pre-tokenizer's pattern, error %d",
                   code);
}

/* No pattern of the table matches the empty text, so each match moves on. */
static int cut_by_pattern(struct run *run, const pcre2_code *code, const char *text, size_t begin,
                          size_t end)
{
    size_t n = end - begin;
    for (size_t at = 0; at < n;) {
        int rc = pcre2_match(code, (PCRE2_SPTR)text + begin, n, at,
                             PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, run->match, run->limits);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
            rc = pcre2_match(code, (PCRE2_SPTR)text + begin, n, at,
                             PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | PCRE2_NO_JIT, run->match,
                             run->limits);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0) return match_error(rc, run->err);
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(run->match);
        if (span[0] > at) TRY(cut_at(run, begin + span[0]));
        TRY(cut_at(run, begin + span[1]));
        at = span[1];
    }
    return cut_at(run, end);
}

static size_t char_at(const char *text, size_t at, size_t end, bool ascii, bool *is_digit)
{
    utf8proc_int32_t cp;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)(end - at), &cp);
    if (n < 1) n = 1;
    utf8proc_category_t category = utf8proc_category(cp);
    *is_digit = ascii ? cp >= '0' && cp <= '9'
                      : category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
                            category == UTF8PROC_CATEGORY_NO;
    return (size_t)n;
}

/* Cuts a run of digits into threes, counted from its end.  The general form cuts behind each group,
 * so that what stands before the run stays with its first group until a later step parts them; the
 * form for ASCII cuts before each full group. */
static int cut_digits(struct run *run, bool ascii, const char *text, size_t begin, size_t end)
{
    for (size_t at = begin; at < end;) {
        bool is_digit;
        size_t next = at + char_at(text, at, end, ascii, &is_digit), n_digits = 1, n;
        if (!is_digit) {
            at = next;
            continue;
        }
        for (; next < end; next += n, n_digits++) {
            n = char_at(text, next, end, ascii, &is_digit);
            if (!is_digit) break;
        }
        for (size_t left = n_digits; left > 0; left--) {
            if (ascii && left % 3 == 0 && at > begin) TRY(cut_at(run, at));
            at += char_at(text, at, end, ascii, &is_digit);
            if (!ascii && left % 3 == 1) TRY(cut_at(run, at));
        }
    }
    return cut_at(run, end);
}

static int run_steps(const struct presplit *p, struct str text, struct run *run, struct cuts *spare)
{
    TRY(cut_at(run, text.n));
    for (size_t i = 0; p->steps[i]; i++) {
        struct cuts before = *run->out;
        *run->out = *spare;
        *spare = before;
        run->out->n = 0;
        bool ascii = strcmp(p->steps[i], PRETOK_ASCII_DIGITS) == 0;
        for (size_t k = 0, begin = 0; k < spare->n; begin = spare->ends[k++]) {
            if (p->codes[i])
                TRY(cut_by_pattern(run, p->codes[i], text.p, begin, spare->ends[k]));
            else
                TRY(cut_digits(run, ascii, text.p, begin, spare->ends[k]));
        }
    }
    return 0;
}

int presplit_run(const struct presplit *p, struct str text, struct cuts *cuts,
                 struct redline_err *err)
{
    struct cuts spare = {0};
    cuts->n = 0;
    struct run run = {.match = pcre2_match_data_create(1, p->memory),
                      .limits = pcre2_match_context_create(p->memory),
                      .out = cuts,
                      .err = err};
    int status = run.match && run.limits ? 0 : err_memory(err, 512, "splitting a text");
    if (status == 0) {
        pcre2_set_match_limit(run.limits,
                              UINT32_MAX); /* long runs of white space need many steps */
        status = run_steps(p, text, &run, &spare);
    }
    pcre2_match_data_free(run.match);
    pcre2_match_context_free(run.limits);
    mem_free(spare.ends);
    return status;
}
