/* made_vocab.c - making up vocabularies.
 *
 * First come common words; then pairs of known pieces are drawn, early ones more often, and what is new
 * becomes the next piece and the next merge.  Texts lie one behind the other in one block; a table by hash keeps
 * them apart. */
#include "made_vocab.h"

#include <stdio.h>

#include "base.h"
#include "mem.h"
#include "rng.h"

enum { MOST_PIECE = 12 /* letters, the mark of a space included */ };

/* What merges begin with, common first; ' ' stands for the mark of a space. */
static const char letters[] = " etaoinshrdlcumwfgypbvkTAISHWCBPMDFLRNEGOUVYKJjxqz.,'-0123456789\"():;_/?!=XZQ";

/* The first merges make each of these, letter by letter, so that an English text has about as many tokens
 * as in the real model. */
static const char words[] =
    " the of and to in is that it was for on are as with his they at be this from have or by one had not but "
    "what all were when we there can an your which their said if do will each about how up out them then she "
    "many some so these would other into has more her two like him see time could no make than first been its "
    "who now people my made over did down only way find use may water long little very after words called just "
    "where most know get through back much before go good new write our used me man too any day same right look "
    "think also around another came come work three word must because does part even place well such here take "
    "why help put different away again off went old number great tell men say small every found still between "
    "name should home big give air line set own under read last never us left end along while might next sound "
    "below saw something thought both few those always looked show large often together asked house world going "
    "want school important until form food keep children feet land side without boy once animals life enough "
    "took four head above kind began almost live page got earth need far hand high year mother light country "
    "father let night picture being study second soon story since white ever paper hard near sentence better "
    "best across during today however sure knew try told young sun thing whole hear example heard several change "
    "answer room sea against top turned learn point city play toward five himself usually money seen car morning";

struct piece {
    uint32_t at, n; /* its bytes in the block */
    uint32_t n_letters;
    bool spaced;    /* begins with the mark of a space */
};

struct making {
    const struct made_vocab *vocab;
    struct buf texts;      /* of all tokens */
    struct piece *tokens;  /* by id */
    int n_tokens;
    struct buf merge_text; /* "left right" */
    struct piece *merges;
    int n_merges;
    int next, last;        /* ids that merges get: next..last - 1 */
    int letter_ids[128];
    int *stems;            /* ids that pairs are drawn from */
    int n_stems;
    int *slots;            /* id + 1 by hash of the text */
    uint32_t n_slots;
    float *scores;
    int32_t *types;
};

static struct str text_of(const struct buf *block, const struct piece *piece)
{
    return (struct str){block->p + piece->at, piece->n};
}

static int *slot_of(const struct making *m, struct str text)
{
    uint64_t hash = str_hash(text);
    for (uint64_t i = hash ^ hash >> 32;; i++) {
        int *slot = &m->slots[i & (m->n_slots - 1)];
        if (*slot == 0 || str_eq(text_of(&m->texts, &m->tokens[*slot - 1]), text)) return slot;
    }
}

/* The token of this id; texts differ from each other. */
static int set_token(struct making *m, int id, struct str text, int type, float score, struct redline_err *err)
{
    m->tokens[id] = (struct piece){.at = (uint32_t)m->texts.n, .n = (uint32_t)text.n, .n_letters = 1};
    TRY(buf_append_str(&m->texts, text, err));
    *slot_of(m, text) = id + 1;
    m->types[id] = type;
    m->scores[id] = score;
    return 0;
}

/* ---- the parts ---------------------------------------------------------------------------------
 */

static int utf8(char out[3], unsigned point)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    out[0] = (char)(0xc0 | point >> 6);
    out[1] = (char)(0x80 | (point & 0x3f));
    return 2;
}

/* GPT-2's letters for bytes: printable ones are themselves, the others U+0100 and up; in this order they
 * are tokens 0 to 255. */
static int add_byte_letters(struct making *m, struct redline_err *err)
{
    unsigned others = 0x100;
    int id = 0;
    char text[3];
    for (int shown = 1; shown >= 0; shown--)
        for (unsigned byte = 0; byte < 256; byte++) {
            bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
            if (printable != shown) continue;
            size_t n = (size_t)utf8(text, printable ? byte : others++);
            TRY(set_token(m, id++, (struct str){text, n}, GGUF_TOKEN_NORMAL, 0, err));
        }
    return 0;
}

static int add_spm_start(struct making *m, struct redline_err *err)
{
    TRY(set_token(m, 0, STR("<unk>"), GGUF_TOKEN_UNKNOWN, 0, err));
    TRY(set_token(m, 1, STR("<s>"), GGUF_TOKEN_CONTROL, 0, err));
    TRY(set_token(m, 2, STR("</s>"), GGUF_TOKEN_CONTROL, 0, err));
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        TRY(set_token(m, 3 + byte, str_of(text), GGUF_TOKEN_BYTE, 0, err));
    }
    return 0;
}

/* Special tokens, and filler between and behind them. */
static int add_specials(struct making *m, struct redline_err *err)
{
    const struct made_vocab *v = m->vocab;
    int next = 0;
    for (int id = v->n_normal; id < v->n_tokens; id++) {
        char filler[64];
        const struct made_special *s = next < v->n_specials ? &v->specials[next] : NULL;
        if (s && s->id == id) {
            TRY(set_token(m, id, str_of(s->text), s->type, 0, err));
            next++;
            continue;
        }
        snprintf(filler, sizeof filler, v->filler, id - v->filler_from);
        TRY(set_token(m, id, str_of(filler), v->filler_type, 0, err));
    }
    return 0;
}

/* The printable characters as the last pieces of an SPM vocabulary, as sentencepiece puts them. */
static int add_spm_letters(struct making *m, int first, struct redline_err *err)
{
    for (int c = ' '; c < 0x7f; c++) {
        char text = (char)c;
        struct str s = c == ' ' ? STR("\xe2\x96\x81") : (struct str){&text, 1};
        int id = first + c - ' ';
        TRY(set_token(m, id, s, GGUF_TOKEN_NORMAL, (float)(259 - id), err));
    }
    return 0;
}

/* ---- merges ------------------------------------------------------------------------------------
 */

/* letters[] as tokens; they are the first stems. */
static void find_letters(struct making *m)
{
    struct str space = m->vocab->kind == MADE_SPM ? STR("\xe2\x96\x81") : STR("\xc4\xa0");
    for (const char *p = letters; *p; p++) {
        int id = *slot_of(m, *p == ' ' ? space : (struct str){p, 1}) - 1;
        m->tokens[id].spaced = *p == ' ';
        m->letter_ids[(unsigned char)*p] = id;
        m->stems[m->n_stems++] = id;
    }
}

/* Early stems more often: the rank is the square of a uniform number. */
static int draw(const struct making *m, struct rng *rng)
{
    double u = rng_uniform(rng);
    return m->stems[(int)(u * u * m->n_stems)];
}

/* The token made of these two: the next one, unless there is one of this text already. */
static int add_merge(struct making *m, int left_id, int right_id, int *id, struct redline_err *err)
{
    char text[4 * MOST_PIECE];
    struct piece left = m->tokens[left_id], right = m->tokens[right_id];
    struct piece *merge = &m->merges[m->n_merges];
    struct str both = {text, left.n + right.n};
    memcpy(text, m->texts.p + left.at, left.n);
    memcpy(text + left.n, m->texts.p + right.at, right.n);
    *id = *slot_of(m, both) - 1;
    if (*id >= 0) return 0;
    *merge = (struct piece){.at = (uint32_t)m->merge_text.n, .n = (uint32_t)both.n + 1};
    TRY(buf_append_str(&m->merge_text, text_of(&m->texts, &left), err));
    TRY(buf_append(&m->merge_text, " ", 1, err));
    TRY(buf_append_str(&m->merge_text, text_of(&m->texts, &right), err));
    *id = m->next++;
    TRY(set_token(m, *id, both, GGUF_TOKEN_NORMAL, -(float)m->n_merges, err));
    m->tokens[*id].n_letters = left.n_letters + right.n_letters;
    m->tokens[*id].spaced = left.spaced;
    m->stems[m->n_stems++] = *id;
    m->n_merges++;
    return 0;
}

/* The words, from left to right, as far as there is room. */
static int add_words(struct making *m, struct redline_err *err)
{
    int piece = 0;
    for (const char *p = words; *p && m->next < m->last; p++) {
        int letter = m->letter_ids[(unsigned char)*p];
        if (*p == ' ')
            piece = letter;
        else
            TRY(add_merge(m, piece, letter, &piece, err));
    }
    return 0;
}

/* Pairs that make no word are drawn again. */
static int add_pairs(struct making *m, struct redline_err *err)
{
    struct rng rng;
    rng_seed(&rng, 0);
    while (m->next < m->last) {
        int left = draw(m, &rng), right = draw(m, &rng), id;
        unsigned n_letters = m->tokens[left].n_letters + m->tokens[right].n_letters;
        if (m->tokens[right].spaced || n_letters > MOST_PIECE) continue;
        TRY(add_merge(m, left, right, &id, err));
    }
    return 0;
}

static int make_tokens(struct making *m, struct redline_err *err)
{
    bool spm = m->vocab->kind == MADE_SPM;
    m->next = spm ? 259 : 256;
    m->last = spm ? m->vocab->n_normal - 95 : m->vocab->n_normal;
    TRY(spm ? add_spm_start(m, err) : add_byte_letters(m, err));
    TRY(add_specials(m, err));
    if (spm) TRY(add_spm_letters(m, m->last, err));
    find_letters(m);
    TRY(add_words(m, err));
    return add_pairs(m, err);
}

/* ---- writing -----------------------------------------------------------------------------------
 */

static int write_texts(struct gguf_writer *w, const char *key, const struct buf *block,
                       const struct piece *pieces, int n, struct redline_err *err)
{
    struct str *list = mem_new((size_t)n, sizeof *list);
    if (!list) return err_memory(err, (size_t)n * sizeof *list, "a list of tokens");
    for (int i = 0; i < n; i++) list[i] = text_of(block, &pieces[i]);
    int status = gguf_write_strings(w, key, list, (uint64_t)n, err);
    mem_free(list);
    return status;
}

static int write_ids(const struct made_vocab *v, struct gguf_writer *w, struct redline_err *err)
{
    const struct {
        const char *key;
        int id;
    } ids[] = {{"tokenizer.ggml.bos_token_id", v->bos},
               {"tokenizer.ggml.eos_token_id", v->eos},
               {"tokenizer.ggml.unknown_token_id", v->unknown},
               {"tokenizer.ggml.padding_token_id", v->padding}};
    for (size_t i = 0; i < COUNT_OF(ids); i++)
        if (ids[i].id >= 0) TRY(gguf_write_u32(w, ids[i].key, (uint32_t)ids[i].id, err));
    return v->add_bos < 0 ? 0 : gguf_write_bool(w, "tokenizer.ggml.add_bos_token", v->add_bos, err);
}

static int write_all(const struct making *m, struct gguf_writer *w, struct redline_err *err)
{
    const struct made_vocab *v = m->vocab;
    bool spm = v->kind == MADE_SPM;
    uint64_t n = (uint64_t)v->n_tokens;
    TRY(gguf_write_string(w, "tokenizer.ggml.model", spm ? STR("llama") : STR("gpt2"), err));
    TRY(gguf_write_string(w, "tokenizer.ggml.pre", str_of(v->pre), err));
    TRY(write_texts(w, "tokenizer.ggml.tokens", &m->texts, m->tokens, v->n_tokens, err));
    if (spm) TRY(gguf_write_array(w, "tokenizer.ggml.scores", GGUF_F32, m->scores, n, err));
    TRY(gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_I32, m->types, n, err));
    if (!spm) TRY(write_texts(w, "tokenizer.ggml.merges", &m->merge_text, m->merges, m->n_merges, err));
    return write_ids(v, w, err);
}

static int reserve(struct making *m, struct redline_err *err)
{
    size_t n = (size_t)m->vocab->n_tokens;
    for (m->n_slots = 64; m->n_slots < 2 * n;) m->n_slots *= 2;
    m->tokens = mem_new(n, sizeof *m->tokens);
    m->merges = mem_new(n, sizeof *m->merges);
    m->stems = mem_new(n, sizeof *m->stems);
    m->scores = mem_new(n, sizeof *m->scores);
    m->types = mem_new(n, sizeof *m->types);
    m->slots = mem_new(m->n_slots, sizeof *m->slots);
    bool have = m->tokens && m->merges && m->stems && m->scores && m->types && m->slots;
    return have ? 0 : err_memory(err, n * sizeof *m->tokens, "a vocabulary");
}

int made_vocab_write(const struct made_vocab *vocab, struct gguf_writer *w, struct redline_err *err)
{
    struct making m = {.vocab = vocab};
    int status = reserve(&m, err);
    if (!status) status = make_tokens(&m, err);
    if (!status) status = write_all(&m, w, err);
    buf_free(&m.texts);
    buf_free(&m.merge_text);
    mem_free(m.tokens);
    mem_free(m.merges);
    mem_free(m.stems);
    mem_free(m.scores);
    mem_free(m.types);
    mem_free(m.slots);
    return status;
}
