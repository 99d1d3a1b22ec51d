/* chat_form.c - reading Jinja as its lexer does (3.1), and writing it again in one spelling. */
#include "chat_form.h"

struct form {
    struct str rest;     /* what is not read yet */
    bool line_start;     /* the last block took its line's end with it */
    bool in_output;      /* the form ends in "{{..." that more may be joined to */
    size_t after_string; /* bytes of the form when a string ended it; 0: none did */
    struct buf *out;
};

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static void skip(struct str *s, size_t n)
{
    *s = (struct str){s->p + n, s->n - n};
}

static char last_of(const struct form *f)
{
    return f->out->n ? f->out->p[f->out->n - 1] : '\0';
}

static int put(struct form *f, const char *text, size_t n, struct redline_err *err)
{
    return buf_append(f->out, text, n, err);
}

/* ---- strings ---------------------------------------------------------------------------------- */

static const struct {
    char letter, meaning;
} escapes[] = {{'n', '\n'}, {'t', '\t'}, {'r', '\r'}, {'\\', '\\'}, {'\'', '\''}};

static int put_char(struct form *f, char c, struct redline_err *err)
{
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++)
        if (c == escapes[i].meaning) return put(f, (char[]){'\\', escapes[i].letter}, 2, err);
    return put(f, &c, 1, err);
}

static int open_string(struct form *f, struct redline_err *err)
{
    bool joined = f->after_string && f->out->n == f->after_string + 1 && last_of(f) == '+';
    if (!joined) return put(f, "'", 1, err);
    f->out->n -= 2;
    f->out->p[f->out->n] = '\0';
    return 0;
}

static int close_string(struct form *f, struct redline_err *err)
{
    TRY(put(f, "'", 1, err));
    f->after_string = f->out->n;
    return 0;
}

/* An escape of Jinja's; those that a form does not know stay visible as "\?". */
static int put_escape(struct form *f, char letter, struct redline_err *err)
{
    if (letter == '"') return put(f, "\"", 1, err);
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++)
        if (letter == escapes[i].letter) return put_char(f, escapes[i].meaning, err);
    TRY(put(f, "\\?", 2, err));
    return put(f, &letter, 1, err);
}

static int broken(struct redline_err *err)
{
    return err_set(err, REDLINE_FORMAT, "the chat template breaks off in the middle of a block");
}

/* The string that `rest` begins with. */
static int read_string(struct form *f, struct redline_err *err)
{
    char quote = *f->rest.p;
    TRY(open_string(f, err));
    for (skip(&f->rest, 1); f->rest.n && *f->rest.p != quote; skip(&f->rest, 1)) {
        if (*f->rest.p != '\\') {
            TRY(put_char(f, *f->rest.p, err));
            continue;
        }
        skip(&f->rest, 1);
        if (!f->rest.n) return broken(err);
        TRY(put_escape(f, *f->rest.p, err));
    }
    if (!f->rest.n) return broken(err);
    skip(&f->rest, 1);
    return close_string(f, err);
}

int chat_form_string(struct str inside, struct buf *out, bool *known, struct redline_err *err)
{
    *known = true;
    for (; inside.n; skip(&inside, 1)) {
        char c = *inside.p;
        if (c == '\\') {
            size_t i = 0, n = sizeof escapes / sizeof *escapes;
            skip(&inside, 1);
            while (i < n && (!inside.n || escapes[i].letter != *inside.p)) i++;
            *known = *known && i < n;
            if (i == n) return 0;
            c = escapes[i].meaning;
        }
        TRY(buf_append(out, &c, 1, err));
    }
    return 0;
}

/* ---- outputs and text -------------------------------------------------------------------------- */

static int open_output(struct form *f, struct redline_err *err)
{
    bool joined = f->in_output;
    f->in_output = true;
    return joined ? put(f, "+", 1, err) : put(f, "{{", 2, err);
}

static int close_output(struct form *f, struct redline_err *err)
{
    if (!f->in_output) return 0;
    f->in_output = false;
    return put(f, "}}", 2, err);
}

static int put_text(struct form *f, struct str text, struct redline_err *err)
{
    if (text.n == 0) return 0;
    TRY(open_output(f, err));
    TRY(open_string(f, err));
    for (size_t i = 0; i < text.n; i++) TRY(put_char(f, text.p[i], err));
    return close_string(f, err);
}

/* ---- blocks ------------------------------------------------------------------------------------ */

/* ".name" as "['name']". */
static int read_attribute(struct form *f, struct redline_err *err)
{
    size_t n = 1;
    while (n < f->rest.n && is_word(f->rest.p[n])) n++;
    TRY(put(f, "['", 2, err));
    TRY(put(f, f->rest.p + 1, n - 1, err));
    TRY(put(f, "']", 2, err));
    skip(&f->rest, n);
    return 0;
}

static bool begins_attribute(const struct form *f)
{
    char before = last_of(f), after = f->rest.n > 1 ? f->rest.p[1] : '\0';
    bool of_value = is_word(before) || before == ']' || before == ')';
    return *f->rest.p == '.' && of_value && is_word(after) && !(after >= '0' && after <= '9');
}

static int read_token(struct form *f, bool apart, struct redline_err *err)
{
    char c = *f->rest.p;
    if (c == '\'' || c == '"') return read_string(f, err);
    if (begins_attribute(f)) return read_attribute(f, err);
    if (apart && is_word(c) && is_word(last_of(f))) TRY(put(f, " ", 1, err));
    TRY(put(f, &c, 1, err));
    skip(&f->rest, 1);
    return 0;
}

/* 0: no end here; else its bytes.  sign: what stands before it, or 0. */
static size_t end_of_block(struct str s, char kind, char *sign)
{
    size_t at = s.n && (*s.p == '-' || (*s.p == '+' && kind != '{'));
    char close = kind == '{' ? '}' : kind;
    *sign = at ? *s.p : '\0';
    return s.n >= at + 2 && s.p[at] == close && s.p[at + 1] == '}' ? at + 2 : 0;
}

/* Takes the end of a block, and the white space that goes with it. */
static void leave_block(struct form *f, size_t n, char kind, char sign)
{
    skip(&f->rest, n);
    bool trims = sign == '\0' && kind != '{' && f->rest.n && *f->rest.p == '\n';
    if (trims) skip(&f->rest, 1);
    while (sign == '-' && f->rest.n && is_blank(*f->rest.p)) skip(&f->rest, 1);
    f->line_start = trims;
}

/* The block that `rest` begins with. */
static int read_block(struct form *f, struct redline_err *err)
{
    char kind = f->rest.p[1], sign;
    size_t n;
    bool apart = false;
    skip(&f->rest, 2);
    if (f->rest.n && (*f->rest.p == '-' || *f->rest.p == '+')) skip(&f->rest, 1);
    if (kind == '{') TRY(open_output(f, err));
    if (kind == '%') TRY(close_output(f, err));
    if (kind == '%') TRY(put(f, "{%", 2, err));
    while (!(n = end_of_block(f->rest, kind, &sign))) {
        if (!f->rest.n) return broken(err);
        bool blank = is_blank(*f->rest.p);
        if (kind == '#' || blank)
            skip(&f->rest, 1);
        else
            TRY(read_token(f, apart, err));
        apart = blank;
    }
    if (kind == '%') TRY(put(f, "%}", 2, err));
    leave_block(f, n, kind, sign);
    return 0;
}

/* Bytes before the next block. */
static size_t text_length(struct str s)
{
    for (size_t i = 0; i + 1 < s.n; i++)
        if (s.p[i] == '{' && (s.p[i + 1] == '{' || s.p[i + 1] == '%' || s.p[i + 1] == '#')) return i;
    return s.n;
}

/* Without the white space that the block behind it takes away. */
static struct str strip_text(struct str text, struct str block, bool line_start)
{
    char sign = block.n > 2 ? block.p[2] : '\0';
    size_t n = text.n;
    if (!block.n) return text;
    if (sign == '-') {
        while (n && is_blank(text.p[n - 1])) n--;
    } else if (sign != '+' && block.p[1] != '{') {
        while (n && is_blank(text.p[n - 1]) && text.p[n - 1] != '\n') n--;
        bool whole_line = n ? text.p[n - 1] == '\n' : line_start;
        if (!whole_line) n = text.n;
    }
    return (struct str){text.p, n};
}

static int read_all(struct form *f, struct redline_err *err)
{
    f->line_start = true;
    while (f->rest.n) {
        struct str text = {f->rest.p, text_length(f->rest)};
        skip(&f->rest, text.n);
        TRY(put_text(f, strip_text(text, f->rest, f->line_start), err));
        if (f->rest.n) TRY(read_block(f, err));
    }
    return close_output(f, err);
}

/* Line ends as '\n', and none at the end of the template. */
static int plain_lines(struct str jinja, struct buf *out, struct redline_err *err)
{
    for (size_t i = 0; i < jinja.n; i++) {
        bool pair = jinja.p[i] == '\r' && i + 1 < jinja.n && jinja.p[i + 1] == '\n';
        char c = jinja.p[i] == '\r' ? '\n' : jinja.p[i];
        TRY(buf_append(out, &c, 1, err));
        i += pair;
    }
    if (out->n && out->p[out->n - 1] == '\n') out->n--;
    return 0;
}

int chat_form(struct str jinja, struct buf *out, struct redline_err *err)
{
    struct buf lines = {0};
    int status = plain_lines(jinja, &lines, err);
    struct form f = {.rest = buf_str(&lines), .out = out};
    if (!status) status = read_all(&f, err);
    buf_free(&lines);
    return status;
}
