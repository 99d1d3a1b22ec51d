/* tok_wpm.c - WordPiece ("bert"): words are cut at white space and punctuation, and each is spelled
 * by the longest tokens that fit, from the left; a word that cannot be spelled is one unknown
 * token.
 *
 * Converters write "##ing" as "ing" and mark the beginnings of words with U+2581 instead, so a word
 * is looked up with that mark before it. */
#include "unicode.h"
#include "vocab_internal.h"

#include "mem.h"

#define WORD_MARK STR("\xe2\x96\x81")

int wpm_open(struct vocab *v, const struct gguf *g, struct redline_err *err)
{
    (void)v, (void)g, (void)err;
    return 0;
}

/* BERT's list of Chinese characters, with the slip in extension E (it begins at U+2B820) that the
 * models' own tokenizer has. */
static bool stands_alone(int32_t cp)
{
    static const int32_t ranges[][2] = {
        {0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
        {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f},
    };
    for (size_t i = 0; i < COUNT_OF(ranges); i++)
        if (cp >= ranges[i][0] && cp <= ranges[i][1]) return true;
    return text_is_punctuation(cp) || (cp < 0x7f && text_is_symbol(cp));
}

static int spell(const struct vocab *v, struct str word, struct ids *out, struct redline_err *err)
{
    size_t n_before = out->n;
    while (word.n) {
        int32_t id = -1;
        size_t n = pieces_longest(&v->pieces, word, v->longest, v->n_tokens, &id);
        if (n == 0) break;
        TRY(ids_push(out, id, err));
        word = (struct str){word.p + n, word.n - n};
    }
    if (word.n == 0) return 0;
    out->n = n_before;
    if (v->special.unk >= 0) return ids_push(out, v->special.unk, err);
    return err_set(err, REDLINE_FORMAT,
                   "no tokens spell '%.*s', and the vocabulary names no unknown "
                   "token",
                   STR_ARG(word));
}

static int end_word(const struct vocab *v, struct buf *word, struct ids *out,
                    struct redline_err *err)
{
    if (word->n == WORD_MARK.n) return 0;
    int status = spell(v, buf_str(word), out, err);
    word->n = WORD_MARK.n;
    return status;
}

static int add_char(const struct vocab *v, int32_t cp, struct buf *word, struct ids *out,
                    struct redline_err *err)
{
    if (v->strip_accents) cp = text_base(cp);
    if (text_is_space(cp)) return end_word(v, word, out, err);
    if (cp == 0 || cp == 0xfffd || text_is_control(cp)) return 0;
    if (v->strip_accents && text_is_mark(cp)) return 0;
    char text[4];
    size_t n = text_put(text, v->lowercase ? text_lower(cp) : cp);
    bool alone = stands_alone(cp);
    if (alone) TRY(end_word(v, word, out, err));
    TRY(buf_append(word, text, n, err));
    return alone ? end_word(v, word, out, err) : 0;
}

int wpm_encode(const struct vocab *v, struct str text, bool at_start, struct ids *out,
               struct redline_err *err)
{
    (void)at_start;
    struct buf word = {0};
    int status = buf_append_str(&word, WORD_MARK, err);
    for (size_t at = 0; status == 0 && at < text.n;) {
        int32_t cp;
        size_t n = text_next(text, at, &cp);
        at += n ? n : 1; /* a wrong byte is dropped, as U+FFFD is */
        if (n) status = add_char(v, cp, &word, out, err);
    }
    if (status == 0) status = end_word(v, &word, out, err);
    buf_free(&word);
    return status;
}
