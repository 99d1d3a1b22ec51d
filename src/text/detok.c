/* detok.c - from ids to bytes: the bytes of every token, made once; whole texts; streams. */
#include "unicode.h"
#include "vocab_internal.h"

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* "<0x0A>" */
static int byte_of(struct str text)
{
    if (text.n != 6 || !str_starts(text, STR("<0x")) || text.p[5] != '>') return -1;
    int high = hex_value(text.p[3]), low = hex_value(text.p[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* U+2581 to a space. */
static size_t unescape(struct str text, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        struct str rest = {text.p + i, text.n - i};
        bool is_space = str_starts(rest, STR("\xe2\x96\x81"));
        to[n++] = is_space ? ' ' : text.p[i];
        if (is_space) i += 2;
    }
    return n;
}

/* Stand-ins to the bytes they stand for; a character that is none stands for itself. */
static size_t unspell(struct str text, const int16_t bytes[0x144], char *to)
{
    size_t n = 0, used;
    for (size_t at = 0; at < text.n; at += used) {
        int32_t cp = 0x144;
        used = text_next(text, at, &cp);
        if (used && cp < 0x144 && bytes[cp] >= 0) {
            to[n++] = (char)bytes[cp];
            continue;
        }
        if (used == 0) used = 1;
        memcpy(to + n, text.p + at, used);
        n += used;
    }
    return n;
}

/* What a token stands for is never longer than its text, so the second half of the arena has room.
 */
int detok_open(struct vocab *v, struct redline_err *err)
{
    bool spelled = v->kind->has_pre && !(v->pre->flags & (PRETOK_RAW | PRETOK_ESCAPE_SPACES));
    bool escaped = !v->kind->has_pre || (v->pre->flags & PRETOK_ESCAPE_SPACES);
    int16_t stand_ins[0x144];
    for (size_t i = 0; i < COUNT_OF(stand_ins); i++) stand_ins[i] = -1;
    for (int i = 0; i < 256; i++) stand_ins[text_byte_stand_in((unsigned char)i)] = (int16_t)i;

    size_t half = 1;
    for (uint32_t i = 0; i < v->n_tokens; i++) half += MAX(v->tokens[i].text.n, 20);
    char *p = v->arena + half;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        struct token *t = &v->tokens[i];
        t->bytes = (struct str){p, 0};
        if (t->attr & (TOKEN_CONTROL | TOKEN_UNKNOWN | TOKEN_USER)) {
            t->bytes = t->text;
        } else if (t->attr & TOKEN_NORMAL) {
            if (spelled)
                t->bytes.n = unspell(t->text, stand_ins, p);
            else if (escaped)
                t->bytes.n = unescape(t->text, p);
            else
                t->bytes = t->text;
        } else if (t->attr & TOKEN_BYTE) {
            int byte = byte_of(t->text);
            if (byte < 0)
                return err_set(err, REDLINE_FORMAT,
                               "token %u stands for a byte and is '%.*s', not of "
                               "the form <0x00>",
                               i, STR_ARG(t->text));
            *p = (char)byte;
            t->bytes.n = 1;
        }
        if (t->bytes.p == p) p += t->bytes.n;
    }
    return 0;
}

struct str vocab_bytes(const struct vocab *v, int32_t id, unsigned flags)
{
    if (id < 0 || (uint32_t)id >= v->n_tokens) return STR("");
    if (!(flags & VOCAB_SHOW_SPECIAL) && vocab_is_control(v, id)) return STR("");
    return v->tokens[id].bytes;
}

static int check_id(const struct vocab *v, int32_t id, struct redline_err *err)
{
    if (id >= 0 && (uint32_t)id < v->n_tokens) return 0;
    return err_set(err, REDLINE_ARG, "token %d is not in the vocabulary of %u", id, v->n_tokens);
}

/* Only the first piece that shows has lost anything. */
static struct str bytes_at(const struct vocab *v, int32_t id, unsigned flags, bool *drop_space)
{
    struct str s = vocab_bytes(v, id, flags);
    if (s.n == 0) return s;
    if (*drop_space && *s.p == ' ') s = (struct str){s.p + 1, s.n - 1};
    *drop_space = false;
    return s;
}

int vocab_decode(const struct vocab *v, const int32_t *ids, size_t n, unsigned flags,
                 struct buf *out, struct redline_err *err)
{
    bool drop_space = v->special.add_space_prefix;
    for (size_t i = 0; i < n; i++) {
        TRY(check_id(v, ids[i], err));
        TRY(buf_append_str(out, bytes_at(v, ids[i], flags, &drop_space), err));
    }
    return 0;
}

void detok_init(struct detok *d, const struct vocab *v, bool at_start)
{
    *d = (struct detok){.drop_space = at_start && v->special.add_space_prefix};
}

/* Length of the code point that these bytes are; 0: they may become one; -1: they never will. */
static int judge(const unsigned char *p, unsigned n)
{
    static const unsigned char low[] = {0xa0, 0x90}, high[] = {0x9f, 0x8f}; /* of the second byte */
    if (p[0] < 0x80) return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4) return -1;
    unsigned need = (unsigned)text_lead_length(p[0]);
    for (unsigned i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return -1;
    if (n > 1 && ((p[0] == 0xe0 && p[1] < low[0]) || (p[0] == 0xf0 && p[1] < low[1]) ||
                  (p[0] == 0xed && p[1] > high[0]) || (p[0] == 0xf4 && p[1] > high[1])))
        return -1;
    return n == need ? (int)need : 0;
}

/* Moves what is decided from d->pending to out, which has room; `final`: everything is. */
static void settle(struct detok *d, struct buf *out, bool final)
{
    while (d->n_pending) {
        int n = judge(d->pending, d->n_pending);
        if (n == 0 && !final) return;
        struct str good = {(const char *)d->pending, (size_t)n};
        struct str s = n > 0 ? good : STR("\xef\xbf\xbd");
        buf_append_str(out, s, NULL);
        d->n_pending -= n > 0 ? (unsigned)n : 1;
        memmove(d->pending, d->pending + (n > 0 ? n : 1), d->n_pending);
    }
}

int detok_feed(struct detok *d, const struct vocab *v, int32_t id, unsigned flags, struct buf *out,
               struct redline_err *err)
{
    TRY(check_id(v, id, err));
    struct str s = vocab_bytes(v, id, flags);
    TRY(buf_reserve(out, 3 * (s.n + sizeof d->pending), err));
    s = bytes_at(v, id, flags, &d->drop_space);
    for (size_t i = 0; i < s.n; i++) {
        d->pending[d->n_pending++] = (unsigned char)s.p[i];
        settle(d, out, false);
    }
    return 0;
}

int detok_flush(struct detok *d, struct buf *out, struct redline_err *err)
{
    TRY(buf_reserve(out, 3 * sizeof d->pending, err));
    settle(d, out, true);
    return 0;
}
