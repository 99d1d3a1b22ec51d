/* tok_spm.c - SentencePiece with scores ("llama"): neighbours join when the result is a token, the
 * one with the highest score first; what is no token in the end is spelled in byte tokens. */
#include "merger.h"
#include "unicode.h"

#include "mem.h"

int spm_open(struct vocab *v, const struct gguf *g, struct redline_err *err)
{
    (void)g, (void)err;
    vocab_index_bytes(v, true);
    return 0;
}

/* A float as an integer of the opposite order: the higher score comes first. */
static uint32_t merit_of(float score)
{
    uint32_t bits;
    score += 0.0f; /* one zero only */
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

static bool join(const struct vocab *v, const struct symbol *left, const struct symbol *right,
                 uint32_t *merit, int32_t *piece)
{
    if (left->n + right->n > v->longest) return false;
    *piece =
        pieces_find(&v->pieces, (struct str){left->p, left->n}, (struct str){right->p, right->n});
    if (*piece < 0) return false;
    *merit = merit_of(v->tokens[*piece].score);
    return true;
}

static int emit(const struct vocab *v, const struct symbol *s, struct ids *out,
                struct redline_err *err)
{
    int32_t id = pieces_find(&v->pieces, (struct str){s->p, s->n}, STR(""));
    if (id >= 0) return ids_push(out, id, err);
    for (uint32_t i = 0; i < s->n; i++) {
        id = v->byte_ids[(unsigned char)s->p[i]];
        if (id < 0) id = v->special.unk; /* a vocabulary without byte tokens */
        if (id >= 0) TRY(ids_push(out, id, err));
    }
    return 0;
}

int spm_encode(const struct vocab *v, struct str text, bool at_start, struct ids *out,
               struct redline_err *err)
{
    struct merger m = {.v = v, .join = join};
    struct buf escaped = {0};
    int status = 0;
    if (v->special.add_space_prefix && at_start) status = buf_append_str(&escaped, STR(" "), err);
    if (status == 0) status = buf_append_str(&escaped, text, err);
    if (status == 0) status = text_escape_spaces(&escaped, err);
    for (size_t at = 0, n; status == 0 && at < escaped.n; at += n) {
        n = text_char_length(buf_str(&escaped), at);
        status = merger_add(&m, escaped.p + at, n, -1, err);
    }
    if (status == 0) status = merger_run(&m, err);
    for (size_t i = 0; status == 0 && i < m.n; i++)
        if (m.symbols[i].n) status = emit(v, &m.symbols[i], out, err);
    merger_free(&m);
    buf_free(&escaped);
    return status;
}
