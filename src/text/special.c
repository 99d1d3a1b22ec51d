/* special.c - which tokens are more than text: BOS, EOS and their kin, and those that end
 * generation.
 *
 * Files name some of them by id and often forget the rest, so the others are known by their text,
 * as in llama.cpp; so are a few tokens whose type converters get wrong. */
#include <ctype.h>
#include <stdio.h>

#include "base.h"
#include "vocab_internal.h"

#define SLOT(name) offsetof(struct vocab_special, name)

static const struct {
    const char *key; /* tokenizer.ggml.KEY_token_id; a later row wins */
    size_t slot;
} keys[] = {
    {"bos", SLOT(bos)},         {"eos", SLOT(eos)},         {"eot", SLOT(eot)},
    {"eom", SLOT(eom)},         {"unknown", SLOT(unk)},     {"seperator", SLOT(sep)},
    {"padding", SLOT(pad)},     {"mask", SLOT(mask)},       {"fim_pre", SLOT(fim_pre)},
    {"fim_suf", SLOT(fim_suf)}, {"fim_mid", SLOT(fim_mid)}, {"fim_pad", SLOT(fim_pad)},
    {"fim_rep", SLOT(fim_rep)}, {"fim_sep", SLOT(fim_sep)}, {"prefix", SLOT(fim_pre)},
    {"suffix", SLOT(fim_suf)},  {"middle", SLOT(fim_mid)},
};

/* For a slot that no key filled: the first of these texts that is a token. */
static const struct {
    const char *text;
    size_t slot;
} known[] = {
    {"<|eot_id|>", SLOT(eot)},
    {"<|im_end|>", SLOT(eot)},
    {"<|end|>", SLOT(eot)},
    {"<end_of_turn>", SLOT(eot)},
    {"<|endoftext|>", SLOT(eot)},
    {"<|end_of_text|>", SLOT(eot)},
    {"<EOT>", SLOT(eot)},
    {"_<EOT>", SLOT(eot)},
    {"[EOT]", SLOT(eot)},
    {"<\xef\xbd\x9c"
     "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
     SLOT(eot)},
    {"<end_of_utterance>", SLOT(eot)},
    {"<|eom_id|>", SLOT(eom)},
    {"<|fim_prefix|>", SLOT(fim_pre)},
    {"<fim-prefix>", SLOT(fim_pre)},
    {"<fim_prefix>", SLOT(fim_pre)},
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "begin\xef\xbd\x9c>",
     SLOT(fim_pre)},
    {"<PRE>", SLOT(fim_pre)},
    {"\xe2\x96\x81<PRE>", SLOT(fim_pre)},
    {"<|code_prefix|>", SLOT(fim_pre)},
    {"<|prefix|>", SLOT(fim_pre)},
    {"<|fim_suffix|>", SLOT(fim_suf)},
    {"<fim-suffix>", SLOT(fim_suf)},
    {"<fim_suffix>", SLOT(fim_suf)},
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81hole\xef\xbd\x9c>",
     SLOT(fim_suf)},
    {"<SUF>", SLOT(fim_suf)},
    {"\xe2\x96\x81<SUF>", SLOT(fim_suf)},
    {"<|code_suffix|>", SLOT(fim_suf)},
    {"<|suffix|>", SLOT(fim_suf)},
    {"<|fim_middle|>", SLOT(fim_mid)},
    {"<fim-middle>", SLOT(fim_mid)},
    {"<fim_middle>", SLOT(fim_mid)},
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "end\xef\xbd\x9c>",
     SLOT(fim_mid)},
    {"<MID>", SLOT(fim_mid)},
    {"\xe2\x96\x81<MID>", SLOT(fim_mid)},
    {"<|code_middle|>", SLOT(fim_mid)},
    {"<|middle|>", SLOT(fim_mid)},
    {"<|fim_pad|>", SLOT(fim_pad)},
    {"<fim-pad>", SLOT(fim_pad)},
    {"<fim_pad>", SLOT(fim_pad)},
    {"<PAD>", SLOT(fim_pad)},
    {"[PAD]", SLOT(fim_pad)},
    {"<|fim_repo|>", SLOT(fim_rep)},
    {"<|repo_name|>", SLOT(fim_rep)},
    {"<fim-repo>", SLOT(fim_rep)},
    {"<REPO>", SLOT(fim_rep)},
    {"<reponame>", SLOT(fim_rep)},
    {"<|file_sep|>", SLOT(fim_sep)},
};

static const char *const ends[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<\xef\xbd\x9c"
    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
    "[e~[",
};

/* Channel marks of the Harmony format are always shown. */
static const char *const shown[] = {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"};

static int32_t *slot_of(struct vocab *v, size_t slot)
{
    return (int32_t *)(void *)((char *)&v->special + slot);
}

static struct token *token_named(struct vocab *v, const char *text)
{
    int32_t id = vocab_find(v, str_of(text));
    return id < 0 ? NULL : &v->tokens[id];
}

/* 2^32 - 1 is how converters write "none". */
static int read_id(const struct gguf *g, const char *name, uint32_t n_tokens, int32_t *id,
                   struct redline_err *err)
{
    char key[64];
    snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", name);
    uint32_t value = UINT32_MAX;
    TRY(gguf_get_u32(g, key, &value, err));
    if (value == UINT32_MAX) return 0;
    if (value >= n_tokens)
        return err_set(err, REDLINE_FORMAT, "%s is %u, the vocabulary has %u tokens", key, value,
                       n_tokens);
    *id = (int32_t)value;
    return 0;
}

static int read_ids(struct vocab *v, const struct gguf *g, struct redline_err *err)
{
    const struct tokenizer *k = v->kind;
    struct vocab_special *s = &v->special;
    s->bos = v->pre->flags & PRETOK_NO_BOS ? -1 : k->bos;
    s->eos = k->eos, s->unk = k->unk, s->sep = k->sep, s->pad = k->pad, s->mask = k->mask;
    s->eot = s->eom = s->fim_pre = s->fim_suf = s->fim_mid = s->fim_pad = s->fim_rep = s->fim_sep =
        -1;
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        int32_t *id = slot_of(v, keys[i].slot);
        if (*id >= (int32_t)v->n_tokens)
            *id = -1; /* a default that this vocabulary is too small for */
        TRY(read_id(g, keys[i].key, v->n_tokens, id, err));
    }
    return 0;
}

static void find_known(struct vocab *v)
{
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        int32_t *slot = slot_of(v, known[i].slot);
        int32_t id = *slot < 0 ? vocab_find(v, str_of(known[i].text)) : -1;
        if (id < 0) continue;
        *slot = id;
        v->tokens[id].attr |= TOKEN_CONTROL;
    }
}

static void mark_ends(struct vocab *v)
{
    const struct vocab_special *s = &v->special;
    const int32_t ids[] = {s->fim_pad, s->fim_rep, s->fim_sep, s->eos, s->eot, s->eom};
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        struct token *t = token_named(v, ends[i]);
        if (t) t->attr |= TOKEN_END | TOKEN_CONTROL;
    }
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        if (ids[i] >= 0) v->tokens[ids[i]].attr |= TOKEN_END;
    for (size_t i = 0; i < COUNT_OF(shown); i++) {
        struct token *t = token_named(v, shown[i]);
        if (t) t->attr = (t->attr & TOKEN_END) | TOKEN_USER;
    }
}

/* In formats where a message may end without ending the turn, the end of a message is text; and
 * where
 * "</s>" is left over from a tag of HTML, so is that. */
static void unmark_ends(struct vocab *v)
{
    struct token *end = token_named(v, "<|end|>"), *tag = token_named(v, "</s>");
    bool call = token_named(v, "<|call|>") || token_named(v, "<|calls|>");
    bool harmony = call && (token_named(v, "<|return|>") || token_named(v, "<|flush|>"));
    if (end && harmony) end->attr = TOKEN_USER;
    if (tag && token_named(v, "<|tool_response>")) tag->attr = TOKEN_NORMAL;
}

static bool contains(struct str s, const char *lower)
{
    size_t n = strlen(lower);
    for (size_t i = 0; i + n <= s.n; i++) {
        size_t k = 0;
        while (k < n && tolower((unsigned char)s.p[i + k]) == lower[k]) k++;
        if (k == n) return true;
    }
    return false;
}

static void set_attr(struct vocab *v, const char *text, uint16_t attr, bool on)
{
    struct token *t = token_named(v, text);
    if (t) t->attr = on ? t->attr | attr : t->attr & ~attr;
}

/* Whether a token swallows the white space beside it is in no file; llama.cpp knows some models. */
static int mark_strips(struct vocab *v, const struct gguf *g, struct redline_err *err)
{
    const uint16_t special = TOKEN_CONTROL | TOKEN_USER | TOKEN_UNKNOWN;
    struct str name = STR(""), arch = STR("");
    TRY(gguf_get_string(g, "general.name", &name, err));
    TRY(gguf_get_string(g, "general.architecture", &arch, err));
    if ((v->pre->flags & PRETOK_MASK_LSTRIP) || contains(arch, "nomic-bert-moe") ||
        contains(arch, "jina-bert-v3")) {
        set_attr(v, "<mask>", TOKEN_LSTRIP, true);
    } else if (contains(name, "phi-3") || contains(name, "phi3")) {
        for (uint32_t i = 0; i < v->n_tokens; i++)
            if (v->tokens[i].attr & special) v->tokens[i].attr |= TOKEN_RSTRIP;
        set_attr(v, "</s>", TOKEN_RSTRIP, true);
        set_attr(v, "<unk>", TOKEN_RSTRIP, false);
        set_attr(v, "<s>", TOKEN_RSTRIP, false);
        set_attr(v, "<|endoftext|>", TOKEN_RSTRIP, false);
    } else if (contains(name, "modern-bert")) {
        set_attr(v, "[MASK]", TOKEN_LSTRIP, true);
    }
    return 0;
}

int special_open(struct vocab *v, const struct gguf *g, struct redline_err *err)
{
    TRY(read_ids(v, g, err));
    find_known(v);
    mark_ends(v);
    unmark_ends(v);
    return mark_strips(v, g, err);
}
