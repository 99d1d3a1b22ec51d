/* vocab.c - opening a vocabulary and the frame of encoding: special tokens around, the kind's own
 * method in between. */
#include <stdio.h>

#include "vocab_internal.h"

#include "base.h"
#include "mem.h"

enum {
    MAX_TEXT = INT32_MAX / 4
}; /* symbols are counted in 32 bits, a space may take three bytes */

/* What llama.cpp assumes about each tokenizer.ggml.model where the file says nothing. */
static const struct tokenizer kinds[] = {
    {.model = "llama",
     .bos = 1,
     .eos = 2,
     .unk = 0,
     .sep = -1,
     .pad = -1,
     .mask = -1,
     .add_space_prefix = true,
     .add_bos = true,
     .open = spm_open,
     .encode = spm_encode},
    {.model = "gpt2",
     .bos = 11,
     .eos = 11,
     .unk = -1,
     .sep = -1,
     .pad = -1,
     .mask = -1,
     .has_pre = true,
     .clean_spaces = true,
     .open = bpe_open,
     .encode = bpe_encode},
    {.model = "gemma4",
     .bos = -1,
     .eos = -1,
     .unk = -1,
     .sep = -1,
     .pad = -1,
     .mask = -1,
     .has_pre = true,
     .clean_spaces = true,
     .open = bpe_open,
     .encode = bpe_encode},
    {.model = "whitespace",
     .bos = 11,
     .eos = 11,
     .unk = -1,
     .sep = -1,
     .pad = -1,
     .mask = -1,
     .has_pre = true,
     .clean_spaces = true,
     .open = bpe_open,
     .encode = bpe_encode},
    {.model = "bert",
     .bos = 101,
     .eos = -1,
     .unk = 100,
     .sep = 102,
     .pad = 0,
     .mask = 103,
     .clean_spaces = true,
     .add_bos = true,
     .add_sep = true,
     .frames_always = true,
     .open = wpm_open,
     .encode = wpm_encode},
    {.model = "t5",
     .bos = -1,
     .eos = 1,
     .unk = 2,
     .sep = -1,
     .pad = 0,
     .mask = -1,
     .add_eos = true,
     .open = ugm_open,
     .encode = ugm_encode},
    {.model = "no_vocab", .refuse = "the file has no tokenizer"},
    {.model = "none", .refuse = "the file has no tokenizer"},
    {.model = "rwkv", .refuse = "RWKV's tokenizer is not supported"},
    {.model = "plamo2", .refuse = "PLaMo 2's tokenizer is not supported"},
    {.model = "hybriddna", .refuse = "the tokenizer for DNA is not supported"},
};

int text_grow(void *p, size_t *capacity, size_t need, size_t size, struct redline_err *err)
{
    if (need <= *capacity) return 0;
    size_t n = MAX(*capacity * 2, 64);
    while (n < need) n *= 2;
    void *old;
    memcpy(&old, p, sizeof old);
    void *bigger = mem_resize(old, n, size);
    if (!bigger) return err_memory(err, n * size, "text");
    memcpy(p, &bigger, sizeof bigger);
    *capacity = n;
    return 0;
}

int ids_push(struct ids *ids, int32_t id, struct redline_err *err)
{
    TRY(text_grow(&ids->p, &ids->capacity, ids->n + 1, sizeof *ids->p, err));
    ids->p[ids->n++] = id;
    return 0;
}

void ids_free(struct ids *ids)
{
    mem_free(ids->p);
    *ids = (struct ids){0};
}

static int choose_kind(struct vocab *v, const struct gguf *g, struct redline_err *err)
{
    struct str model = STR("");
    TRY(gguf_get_string(g, "tokenizer.ggml.model", &model, err));
    if (model.n == 0)
        return err_set(err, REDLINE_FORMAT,
                       "tokenizer.ggml.model is missing: the file has no "
                       "vocabulary");
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (str_eq(model, str_of(kinds[i].model))) v->kind = &kinds[i];
    if (!v->kind)
        return err_set(err, REDLINE_SUPPORT, "tokenizer.ggml.model '%.*s' is not known",
                       STR_ARG(model));
    if (v->kind->refuse)
        return err_set(err, REDLINE_SUPPORT, "tokenizer.ggml.model is '%s': %s", v->kind->model,
                       v->kind->refuse);
    return 0;
}

/* A file that names no pre-tokenizer is an old one; llama.cpp takes "default" for it, too. */
static int choose_pre(struct vocab *v, const struct gguf *g, struct redline_err *err)
{
    static const struct pretok none = {.name = ""};
    struct str name = STR("");
    v->pre = &none;
    if (!v->kind->has_pre) return 0;
    TRY(gguf_get_string(g, "tokenizer.ggml.pre", &name, err));
    if (strcmp(v->kind->model, "gemma4") == 0) name = STR("gemma4");
    if (name.n == 0) name = STR("default");
    const struct pretok *pre = pretok_find(name);
    if (!pre)
        return err_set(err, REDLINE_SUPPORT, "tokenizer.ggml.pre '%.*s' is not known",
                       STR_ARG(name));
    v->pre = pre;
    return 0;
}

static int read_flags(struct vocab *v, const struct gguf *g, struct redline_err *err)
{
    struct vocab_special *s = &v->special;
    unsigned pre = v->pre->flags;
    s->add_bos = v->kind->add_bos || (pre & PRETOK_ADD_BOS);
    s->add_eos = v->kind->add_eos;
    s->add_sep = v->kind->add_sep || (pre & PRETOK_ADD_SEP);
    s->add_space_prefix = v->kind->add_space_prefix;
    s->clean_spaces = v->kind->clean_spaces && !(pre & PRETOK_KEEP_SPACES);
    v->lowercase = !(pre & PRETOK_NOT_LOWERED);
    TRY(gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &s->add_bos, err));
    TRY(gguf_get_bool(g, "tokenizer.ggml.add_eos_token", &s->add_eos, err));
    TRY(gguf_get_bool(g, "tokenizer.ggml.add_sep_token", &s->add_sep, err));
    TRY(gguf_get_bool(g, "tokenizer.ggml.add_space_prefix", &s->add_space_prefix, err));
    TRY(gguf_get_bool(g, "tokenizer.ggml.remove_extra_whitespaces", &v->remove_extra_spaces, err));
    TRY(gguf_get_bool(g, "tokenizer.ggml.normalizer.lowercase", &v->lowercase, err));
    v->strip_accents = v->lowercase;
    TRY(gguf_get_bool(g, "tokenizer.ggml.normalizer.strip_accents", &v->strip_accents, err));
    if (pre & PRETOK_GEMMA) s->add_bos = true;
    return 0;
}

/* Of a type that the file's numbering does not have: none. */
static uint16_t attr_of(int64_t type)
{
    static const uint16_t attrs[] = {
        [GGUF_TOKEN_NORMAL] = TOKEN_NORMAL,   [GGUF_TOKEN_UNKNOWN] = TOKEN_UNKNOWN,
        [GGUF_TOKEN_CONTROL] = TOKEN_CONTROL, [GGUF_TOKEN_USER] = TOKEN_USER,
        [GGUF_TOKEN_UNUSED] = TOKEN_UNUSED,   [GGUF_TOKEN_BYTE] = TOKEN_BYTE,
    };
    return type >= 0 && type < (int64_t)COUNT_OF(attrs) ? attrs[type] : 0;
}

static int check_length(const struct gguf_value *array, const char *what, uint64_t n,
                        struct redline_err *err)
{
    if (!array || array->n >= n) return 0;
    return err_set(err, REDLINE_FORMAT, "tokenizer.ggml.%s has %llu items for %llu tokens", what,
                   (unsigned long long)array->n, (unsigned long long)n);
}

/* Two tokens of one text would make an encoded text ambiguous; no converter writes them. */
static int add_token(struct vocab *v, uint32_t i, struct redline_err *err)
{
    struct str text = v->tokens[i].text;
    int32_t twin = pieces_find(&v->pieces, text, STR(""));
    if (twin >= 0)
        return err_set(err, REDLINE_FORMAT, "tokens %d and %u are both '%.*s'", twin, i,
                       STR_ARG(text));
    pieces_add(&v->pieces, text);
    v->longest = MAX(v->longest, text.n);
    return 0;
}

static int read_scores(const struct gguf *g, const struct gguf_value **scores, uint64_t n,
                       struct redline_err *err)
{
    *scores = gguf_find(g, "tokenizer.ggml.scores");
    if (!*scores) return 0;
    bool good = (*scores)->type == GGUF_ARRAY &&
                ((*scores)->item_type == GGUF_F32 || (*scores)->item_type == GGUF_I32);
    if (!good)
        return err_set(err, REDLINE_FORMAT, "tokenizer.ggml.scores is not an array of numbers");
    return check_length(*scores, "scores", n, err);
}

static int read_tokens(struct vocab *v, const struct gguf *g, struct redline_err *err)
{
    const struct gguf_value *texts, *types, *scores;
    TRY(gguf_get_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &texts, err));
    if (!texts || texts->n == 0)
        return err_set(err, REDLINE_FORMAT, "tokenizer.ggml.tokens is missing");
    TRY(gguf_get_array(g, "tokenizer.ggml.token_type", GGUF_I32, &types, err));
    TRY(check_length(types, "token_type", texts->n, err));
    TRY(read_scores(g, &scores, texts->n, err));
    TRY(pieces_reserve(&v->pieces, texts->n, err));
    v->tokens = mem_new(texts->n, sizeof *v->tokens);
    if (!v->tokens) return err_memory(err, texts->n * sizeof *v->tokens, "the tokens");
    v->n_tokens = (uint32_t)texts->n;

    size_t bytes = 1;
    for (uint32_t i = 0; i < v->n_tokens; i++) bytes += MAX(gguf_string_at(texts, i).n, 20);
    char *p = v->arena = mem_new(2, bytes); /* texts of nameless tokens here, decoded bytes later */
    if (!p) return err_memory(err, 2 * bytes, "the tokens");
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        struct token *t = &v->tokens[i];
        t->text = gguf_string_at(texts, i);
        if (t->text.n == 0) { /* as llama.cpp names it */
            t->text = (struct str){p, (size_t)snprintf(p, 20, "[EMPTY_%u]", i)};
            p += 20;
        }
        bool is_float = scores && scores->item_type == GGUF_F32;
        t->score = !scores    ? 0
                   : is_float ? (float)gguf_float_at(scores, i)
                              : (float)gguf_int_at(scores, i);
        t->attr = types ? attr_of(gguf_int_at(types, i)) : TOKEN_NORMAL;
        TRY(add_token(v, i, err));
    }
    return 0;
}

static int load(struct vocab *v, const struct gguf *g, struct redline_err *err)
{
    TRY(choose_kind(v, g, err));
    TRY(choose_pre(v, g, err));
    TRY(read_flags(v, g, err));
    TRY(read_tokens(v, g, err));
    for (int i = 0; i < 256; i++) v->byte_ids[i] = v->byte_pieces[i] = -1;
    TRY(v->kind->open(v, g, err));
    TRY(special_open(v, g,
                     err)); /* changes attributes, so after the kind has seen the file's own */
    TRY(cut_open(v, err));
    return detok_open(v, err);
}

int vocab_open(struct vocab **out, const struct gguf *g, struct redline_err *err)
{
    struct vocab *v = *out = mem_new(1, sizeof *v);
    if (!v) return err_memory(err, sizeof *v, "the vocabulary");
    int status = load(v, g, err);
    if (status) vocab_close(out);
    return status;
}

void vocab_close(struct vocab **vocab)
{
    struct vocab *v = vocab ? *vocab : NULL;
    if (!v) return;
    presplit_close(&v->presplit);
    ugm_close(v);
    trie_free(&v->cut_trie);
    pieces_free(&v->pieces);
    mem_free(v->merges.slots);
    mem_free(v->merges.arena);
    mem_free(v->cuts);
    mem_free(v->tokens);
    mem_free(v->arena);
    mem_free(v);
    *vocab = NULL;
}

void vocab_index_bytes(struct vocab *v, bool or_char)
{
    static const char hex[] = "0123456789ABCDEF";
    for (int byte = 0; byte < 256; byte++) {
        char text[] = {'<', '0', 'x', hex[byte >> 4], hex[byte & 15], '>'}, one = (char)byte;
        int32_t id = pieces_find(&v->pieces, (struct str){text, sizeof text}, STR(""));
        if (id < 0 && or_char) id = pieces_find(&v->pieces, (struct str){&one, 1}, STR(""));
        v->byte_ids[byte] = id < (int32_t)v->n_tokens ? id : -1;
    }
}

static int push_named(int32_t id, const char *name, struct ids *out, struct redline_err *err)
{
    if (id >= 0) return ids_push(out, id, err);
    return err_set(err, REDLINE_FORMAT,
                   "texts are to have a %s token, and the vocabulary names none", name);
}

static int encode(const struct vocab *v, const struct fragments *f, bool frame, struct ids *out,
                  struct redline_err *err)
{
    const struct vocab_special *s = &v->special;
    bool always = frame && v->kind->frames_always;
    if (always || (frame && s->add_bos)) TRY(push_named(s->bos, "BOS", out, err));
    bool at_start = true;
    for (size_t i = 0; i < f->n; i++) {
        if (f->p[i].id >= 0)
            TRY(ids_push(out, f->p[i].id, err));
        else
            TRY(v->kind->encode(v, f->p[i].text, at_start, out, err));
        at_start = f->p[i].id >= 0;
    }
    if (always) return push_named(s->sep, "SEP", out, err);
    return frame && s->add_eos ? push_named(s->eos, "EOS", out, err) : 0;
}

static int check_size(struct str text, struct redline_err *err)
{
    if (text.n <= MAX_TEXT) return 0;
    return err_set(err, REDLINE_ARG, "a text of %zu bytes cannot be encoded, the limit is %d", text.n,
                   MAX_TEXT);
}

int vocab_encode(const struct vocab *v, struct str text, unsigned flags, struct ids *out,
                 struct redline_err *err)
{
    TRY(check_size(text, err));
    size_t n_before = out->n;
    struct fragments fragments = {0};
    int status = cut_text(v, text, flags & VOCAB_PARSE_SPECIAL, &fragments, err);
    if (status == 0) status = encode(v, &fragments, flags & VOCAB_ADD_SPECIAL, out, err);
    if (status) out->n = n_before;
    mem_free(fragments.p);
    return status;
}

int vocab_encode_parts(const struct vocab *v, struct str text, const struct vocab_part *parts,
                       size_t n_parts, struct ids *out, struct redline_err *err)
{
    TRY(check_size(text, err));
    size_t n_before = out->n;
    struct fragments fragments = {0};
    int status = cut_parts(v, text, parts, n_parts, &fragments, err);
    if (status == 0) status = encode(v, &fragments, false, out, err);
    if (status) out->n = n_before;
    mem_free(fragments.p);
    return status;
}

uint32_t vocab_n_tokens(const struct vocab *v)
{
    return v->n_tokens;
}

int32_t vocab_find(const struct vocab *v, struct str piece)
{
    int32_t id = pieces_find(&v->pieces, piece, STR(""));
    return id < (int32_t)v->n_tokens ? id : -1;
}

const struct vocab_special *vocab_special(const struct vocab *v)
{
    return &v->special;
}

static uint16_t attr_at(const struct vocab *v, int32_t id)
{
    return id >= 0 && (uint32_t)id < v->n_tokens ? v->tokens[id].attr : 0;
}

bool vocab_is_end(const struct vocab *v, int32_t id)
{
    return attr_at(v, id) & TOKEN_END;
}

bool vocab_is_control(const struct vocab *v, int32_t id)
{
    return attr_at(v, id) & (TOKEN_CONTROL | TOKEN_UNKNOWN);
}

const char *vocab_kind(const struct vocab *v)
{
    return v->kind->model;
}
