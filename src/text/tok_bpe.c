/* tok_bpe.c - byte-level BPE ("gpt2"), and the kind that merges UTF-8 itself ("gemma4",
 * "whitespace").
 *
 * The vocabulary is written in stand-ins: a printable character for each byte.  Texts are never
 * turned into them here: a byte starts as the piece of its stand-in, and from then on only numbers
 * of pieces are compared.  Texts that are not UTF-8 are split as if each wrong byte were U+FFFD,
 * which the patterns can digest; the byte itself is what gets encoded. */
#include "merger.h"
#include "unicode.h"

#include "mem.h"

static size_t merge_slot(const struct merges *m, uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    return (size_t)(h >> 20) & (m->n_slots - 1);
}

static struct merge *merge_find(const struct merges *m, uint32_t left, uint32_t right)
{
    size_t i = merge_slot(m, left, right);
    while (m->slots[i].rank != UINT32_MAX &&
           (m->slots[i].left != left || m->slots[i].right != right))
        i = (i + 1) & (m->n_slots - 1);
    return &m->slots[i];
}

static int32_t piece_of(struct vocab *v, struct str text)
{
    int32_t id = pieces_find(&v->pieces, text, STR(""));
    return id >= 0 ? id : pieces_add(&v->pieces, text);
}

/* The first rule for a pair counts.  Parts and results need not be tokens: converters rewrite some
 * (runs of spaces become user-defined tokens, spelled plainly), and the rules keep the old
 * spelling. */
static int add_merge(struct vocab *v, struct str rule, uint32_t rank, size_t *arena_used,
                     struct redline_err *err)
{
    const char *gap = rule.n > 1 ? memchr(rule.p + 1, ' ', rule.n - 1) : NULL;
    if (!gap || gap + 1 == rule.p + rule.n)
        return err_set(err, REDLINE_FORMAT, "merge %u, '%.*s', does not name two pieces", rank,
                       STR_ARG(rule));
    struct str left = {rule.p, (size_t)(gap - rule.p)};
    struct str right = {gap + 1, rule.n - left.n - 1};
    uint32_t l = (uint32_t)piece_of(v, left), r = (uint32_t)piece_of(v, right);
    struct merge *m = merge_find(&v->merges, l, r);
    if (m->rank != UINT32_MAX) return 0;
    int32_t result = pieces_find(&v->pieces, left, right);
    if (result < 0) {
        char *text = v->merges.arena + *arena_used;
        memcpy(text, left.p, left.n);
        memcpy(text + left.n, right.p, right.n);
        *arena_used += left.n + right.n;
        result = pieces_add(&v->pieces, (struct str){text, left.n + right.n});
    }
    *m = (struct merge){l, r, rank, result};
    return 0;
}

static int load_merges(struct vocab *v, const struct gguf *g, struct redline_err *err)
{
    const struct gguf_value *rules;
    TRY(gguf_get_array(g, "tokenizer.ggml.merges", GGUF_STRING, &rules, err));
    if (!rules && !(v->pre->flags & PRETOK_NO_MERGES))
        return err_set(err, REDLINE_FORMAT, "tokenizer.ggml.merges is missing");
    size_t n = rules ? rules->n : 0, bytes = 1, used = 0;
    if (n > INT32_MAX / 8)
        return err_set(err, REDLINE_FORMAT, "tokenizer.ggml.merges has %zu rules, the limit is %d",
                       n, INT32_MAX / 8);
    for (size_t i = 0; i < n; i++) bytes += gguf_string_at(rules, i).n;
    TRY(pieces_reserve(&v->pieces, v->n_tokens + 3 * n + 256, err));
    struct merges *m = &v->merges;
    for (m->n_slots = 16; m->n_slots < 2 * n;) m->n_slots *= 2;
    m->slots = mem_new(m->n_slots, sizeof *m->slots);
    m->arena = mem_new(bytes, 1);
    if (!m->slots || !m->arena)
        return err_memory(err, m->n_slots * sizeof *m->slots + bytes, "the merges");
    for (size_t i = 0; i < m->n_slots; i++) m->slots[i].rank = UINT32_MAX;
    for (size_t i = 0; i < n; i++)
        TRY(add_merge(v, gguf_string_at(rules, i), (uint32_t)i, &used, err));
    return 0;
}

static void index_stand_ins(struct vocab *v)
{
    for (int byte = 0; byte < 256; byte++) {
        char text[4];
        size_t n = text_put(text, text_byte_stand_in((unsigned char)byte));
        int32_t piece = pieces_find(&v->pieces, (struct str){text, n}, STR(""));
        v->byte_pieces[byte] = piece;
        v->byte_ids[byte] = piece < (int32_t)v->n_tokens ? piece : -1;
    }
}

int bpe_open(struct vocab *v, const struct gguf *g, struct redline_err *err)
{
    TRY(load_merges(v, g, err));
    if (v->pre->flags & PRETOK_RAW)
        vocab_index_bytes(v, false);
    else
        index_stand_ins(v);
    return presplit_open(&v->presplit, v->pre, err);
}

static bool join(const struct vocab *v, const struct symbol *left, const struct symbol *right,
                 uint32_t *merit, int32_t *piece)
{
    if (left->piece < 0 || right->piece < 0) return false;
    const struct merge *m = merge_find(&v->merges, (uint32_t)left->piece, (uint32_t)right->piece);
    *merit = m->rank;
    *piece = m->piece;
    return m->rank != UINT32_MAX;
}

/* The token whose text is the whole word, or -1. */
static int32_t whole_word(const struct vocab *v, struct str word, struct buf *spelled,
                          struct redline_err *err, int *status)
{
    if (word.n > v->longest) return -1;
    spelled->n = 0;
    for (size_t i = 0; i < word.n && !(v->pre->flags & PRETOK_RAW); i++) {
        char text[4];
        size_t n = text_put(text, text_byte_stand_in((unsigned char)word.p[i]));
        *status = buf_append(spelled, text, n, err);
        if (*status) return -1;
    }
    struct str text = v->pre->flags & PRETOK_RAW ? word : buf_str(spelled);
    int32_t id = pieces_find(&v->pieces, text, STR(""));
    return id < (int32_t)v->n_tokens ? id : -1;
}

static bool takes_whole(const struct vocab *v, struct str word)
{
    if (v->pre->flags & PRETOK_WORD_FIRST) return true;
    if (!(v->pre->flags & PRETOK_GEMMA)) return false;
    for (size_t i = 0; i < word.n; i++)
        if (word.p[i] != '\n') return false;
    return true;
}

static int start_symbols(struct merger *m, struct str word, struct redline_err *err)
{
    const struct vocab *v = m->v;
    m->n = 0;
    for (size_t at = 0, n; at < word.n; at += n) {
        struct str s = {word.p + at, 1};
        if (v->pre->flags & PRETOK_RAW) s.n = text_char_length(word, at);
        n = s.n;
        int32_t piece = v->pre->flags & PRETOK_RAW ? pieces_find(&v->pieces, s, STR(""))
                                                   : v->byte_pieces[(unsigned char)*s.p];
        TRY(merger_add(m, s.p, s.n, piece, err));
    }
    return 0;
}

static int encode_word(struct merger *m, struct str word, struct buf *spelled, struct ids *out,
                       struct redline_err *err)
{
    const struct vocab *v = m->v;
    if (takes_whole(v, word)) {
        int status = 0;
        int32_t id = whole_word(v, word, spelled, err, &status);
        if (status || id >= 0) return status ? status : ids_push(out, id, err);
    }
    TRY(start_symbols(m, word, err));
    TRY(merger_run(m, err));
    for (size_t i = 0; i < m->n; i++) {
        const struct symbol *s = &m->symbols[i];
        if (s->n && s->piece >= 0 && s->piece < (int32_t)v->n_tokens) {
            TRY(ids_push(out, s->piece, err));
            continue;
        }
        for (uint32_t k = 0; k < s->n; k++) {
            int32_t id = v->byte_ids[(unsigned char)s->p[k]];
            if (id >= 0) TRY(ids_push(out, id, err));
        }
    }
    return 0;
}

/* A text that may hold wrong bytes, beside a copy of it that is UTF-8. */
struct twin {
    struct str valid;
    struct buf copy;
    size_t *marks; /* where, in valid, U+FFFD stands for a wrong byte */
    size_t n_marks, capacity;
};

static int twin_new(struct twin *t, struct str text, struct redline_err *err)
{
    for (size_t at = 0, begin = 0, n;; at += n) {
        int32_t cp;
        n = at < text.n ? text_next(text, at, &cp) : 0;
        if (n) continue;
        if (at == text.n && t->n_marks == 0) break;
        TRY(buf_append(&t->copy, text.p + begin, at - begin, err));
        if (at == text.n) break;
        TRY(text_grow(&t->marks, &t->capacity, t->n_marks + 1, sizeof *t->marks, err));
        t->marks[t->n_marks++] = t->copy.n;
        TRY(buf_append_str(&t->copy, STR("\xef\xbf\xbd"), err));
        begin = at + (n = 1);
    }
    t->valid = t->n_marks ? buf_str(&t->copy) : text;
    return 0;
}

static int encode_text(const struct vocab *v, struct str text, struct ids *out,
                       struct redline_err *err)
{
    struct twin twin = {0};
    struct cuts cuts = {0};
    struct buf spelled = {0};
    struct merger m = {.v = v, .join = join};
    int status = twin_new(&twin, text, err);
    if (status == 0) status = presplit_run(v->presplit, twin.valid, &cuts, err);
    const char *p = text.p; /* runs along in the text as it was given */
    for (size_t i = 0, begin = 0, mark = 0; status == 0 && i < cuts.n; begin = cuts.ends[i++]) {
        size_t n = cuts.ends[i] - begin;
        for (; mark < twin.n_marks && twin.marks[mark] < cuts.ends[i]; mark++) n -= 2;
        status = encode_word(&m, (struct str){p, n}, &spelled, out, err);
        p += n;
    }
    merger_free(&m);
    buf_free(&spelled);
    buf_free(&twin.copy);
    mem_free(twin.marks);
    mem_free(cuts.ends);
    return status;
}

/* "whitespace": white space is dropped, the rest lowered if so wished, before anything else. */
static int encode_dense(const struct vocab *v, struct str text, struct ids *out,
                        struct redline_err *err)
{
    struct buf dense = {0};
    int status = 0;
    for (size_t at = 0, n; status == 0; at += n) {
        int32_t cp = -1;
        n = at < text.n ? text_next(text, at, &cp) : 0;
        if (at >= text.n || (n && text_is_space(cp))) {
            if (dense.n) status = encode_text(v, buf_str(&dense), out, err);
            dense.n = 0;
            if (at >= text.n) break;
            continue;
        }
        char lower[4] = {text.p[at]};
        size_t n_lower = 1;
        if (n)
            n_lower = text_put(lower, v->lowercase ? text_lower(cp) : cp);
        else
            n = 1;
        status = buf_append(&dense, lower, n_lower, err);
    }
    buf_free(&dense);
    return status;
}

int bpe_encode(const struct vocab *v, struct str text, bool at_start, struct ids *out,
               struct redline_err *err)
{
    (void)at_start;
    if (strcmp(v->kind->model, "whitespace") == 0) return encode_dense(v, text, out, err);
    if (!(v->pre->flags & PRETOK_ESCAPE_SPACES)) return encode_text(v, text, out, err);
    struct buf escaped = {0};
    int status = buf_append_str(&escaped, text, err);
    if (status == 0) status = text_escape_spaces(&escaped, err);
    if (status == 0) status = encode_text(v, buf_str(&escaped), out, err);
    buf_free(&escaped);
    return status;
}
