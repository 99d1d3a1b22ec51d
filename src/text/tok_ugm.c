/* tok_ugm.c - Unigram ("t5"): of all ways to spell the normalised text in tokens, the one with the
 * highest sum of scores, found in one pass over the text (Viterbi).
 *
 * Normalisation is a table in the file, the precompiled charsmap of SentencePiece: a 32-bit length,
 * a double-array trie of that many bytes (each word: bits 0-7 and 31 the byte that leads here, bit
 * 8 "a replacement is stored at the base", bit 9 and 10-30 the base, or bits 0-30 the replacement's
 * place), then the zero-terminated replacements.  Every step through it is checked: the file may
 * lie. */
#include <float.h>

#include "unicode.h"
#include "vocab_internal.h"

#include "mem.h"

static const float UNKNOWN_PENALTY = 10.0f; /* below the worst token, as SentencePiece has it */

static uint32_t word_at(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int open_charsmap(struct ugm *u, const struct gguf *g, struct redline_err *err)
{
    const char *key = "tokenizer.ggml.precompiled_charsmap";
    const struct gguf_value *map = gguf_find(g, key);
    if (!map) return 0;
    if (map->type != GGUF_ARRAY || (map->item_type != GGUF_I8 && map->item_type != GGUF_U8))
        return err_set(err, REDLINE_FORMAT, "%s is not an array of bytes", key);
    uint64_t n_bytes = map->n >= 4 ? word_at(map->data) : 0;
    if (map->n < 4 || n_bytes + 4 >= map->n)
        return err_set(err, REDLINE_FORMAT, "%s has %llu bytes, its trie alone needs %llu", key,
                       (unsigned long long)map->n, (unsigned long long)n_bytes + 5);
    u->nodes = (const unsigned char *)map->data + 4;
    u->n_nodes = n_bytes / 4;
    u->replacements = (struct str){(const char *)u->nodes + n_bytes, map->n - 4 - n_bytes};
    return 0;
}

int ugm_open(struct vocab *v, const struct gguf *g, struct redline_err *err)
{
    TRY(open_charsmap(&v->ugm, g, err));
    vocab_index_bytes(v, true);
    struct trie_entry *entries = mem_new(v->n_tokens, sizeof *entries);
    if (!entries) return err_memory(err, v->n_tokens * sizeof *entries, "the trie of tokens");
    float lowest = FLT_MAX;
    size_t n = 0;
    for (uint32_t i = 0; i < v->n_tokens; i++) {
        const struct token *t = &v->tokens[i];
        if ((t->attr & TOKEN_NORMAL) && t->score < lowest) lowest = t->score;
        if (t->attr & (TOKEN_NORMAL | TOKEN_USER | TOKEN_UNUSED))
            entries[n++] = (struct trie_entry){t->text, (int32_t)i};
    }
    v->ugm.unknown_score = lowest - UNKNOWN_PENALTY;
    int status = trie_new(&v->ugm.tokens, entries, n, err);
    n = 0;
    for (uint32_t i = 0; i < v->n_tokens; i++)
        if (v->tokens[i].attr & TOKEN_USER)
            entries[n++] = (struct trie_entry){v->tokens[i].text, (int32_t)i};
    if (status == 0) status = trie_new(&v->ugm.user, entries, n, err);
    mem_free(entries);
    return status;
}

void ugm_close(struct vocab *v)
{
    trie_free(&v->ugm.tokens);
    trie_free(&v->ugm.user);
}

static int node_at(const struct ugm *u, size_t i, uint32_t *node, struct redline_err *err)
{
    if (i >= u->n_nodes)
        return err_set(err, REDLINE_FORMAT, "the charsmap leads to node %zu, it has %zu", i,
                       u->n_nodes);
    *node = word_at(u->nodes + 4 * i);
    return 0;
}

static uint32_t base_of(uint32_t node)
{
    return (node >> 10) << ((node & 1u << 9) >> 6);
}

/* The longest prefix of s that the charsmap replaces: *used bytes of it become *by; 0 for none. */
static int replace(const struct ugm *u, struct str s, size_t *used, struct str *by,
                   struct redline_err *err)
{
    *used = 0;
    if (u->n_nodes == 0) return 0;
    uint32_t node, place = 0;
    TRY(node_at(u, 0, &node, err));
    size_t i = base_of(node);
    for (size_t at = 0; at < s.n; at++) {
        unsigned char byte = (unsigned char)s.p[at];
        if (byte == 0) break;
        i ^= byte;
        TRY(node_at(u, i, &node, err));
        if ((node & (1u << 31 | 0xff)) != byte) break;
        i ^= base_of(node);
        if (!(node >> 8 & 1)) continue;
        TRY(node_at(u, i, &node, err));
        place = node & INT32_MAX;
        *used = at + 1;
    }
    if (*used == 0) return 0;
    const char *p = place < u->replacements.n ? u->replacements.p + place : NULL;
    const char *end = p ? memchr(p, '\0', u->replacements.n - place) : NULL;
    if (!end)
        return err_set(err, REDLINE_FORMAT,
                       "the charsmap names a replacement at %u, beyond its end", place);
    *by = (struct str){p, (size_t)(end - p)};
    return 0;
}

/* Bytes of s that begin like a user-defined token; such a token itself was cut out of the text
 * before, so this concerns beginnings only. */
static size_t user_prefix(const struct ugm *u, struct str s)
{
    size_t n = 0;
    uint32_t node = 0;
    if (u->user.n == 0) return 0;
    while (n < s.n && (node = trie_step(&u->user, node, (unsigned char)s.p[n]))) n++;
    return n;
}

/* What stands at the front of s, normalised: *used bytes of s become *by. */
static int normalize_front(const struct ugm *u, struct str s, size_t *used, struct str *by,
                           struct redline_err *err)
{
    if ((*used = user_prefix(u, s))) {
        *by = (struct str){s.p, *used};
        return 0;
    }
    TRY(replace(u, s, used, by, err));
    if (*used) return 0;
    int32_t cp;
    *used = text_next(s, 0, &cp);
    *by = *used ? (struct str){s.p, *used} : STR("\xef\xbf\xbd");
    if (*used == 0) *used = 1;
    return 0;
}

/* Spaces become U+2581, runs of them one; a first one is set before the text as the file asks. */
static int normalize(const struct vocab *v, struct str text, struct buf *out,
                     struct redline_err *err)
{
    const struct str space = STR("\xe2\x96\x81");
    bool prefix_due = v->special.add_space_prefix, in_word = false, merge = v->remove_extra_spaces;
    for (size_t at = 0, used; at < text.n; at += used) {
        struct str by = {0};
        TRY(normalize_front(&v->ugm, (struct str){text.p + at, text.n - at}, &used, &by, err));
        for (size_t i = 0; i < by.n; i++) {
            if (by.p[i] == ' ') {
                in_word = false;
                if (!merge) TRY(buf_append_str(out, space, err));
                continue;
            }
            if (!in_word && (prefix_due || merge)) {
                TRY(buf_append_str(out, space, err));
                prefix_due = false;
            }
            in_word = true;
            TRY(buf_append(out, by.p + i, 1, err));
        }
    }
    return 0;
}

struct best { /* way to spell the text up to here */
    double score;
    size_t from; /* where its last token begins */
    int32_t id;
};

static void offer(struct best *to, double score, size_t from, int32_t id)
{
    if (score > to->score) *to = (struct best){score, from, id};
}

static void find_best(const struct vocab *v, struct str s, struct best *best)
{
    for (size_t at = 0, n_char; at < s.n; at += n_char) {
        n_char = MIN(text_lead_length((unsigned char)s.p[at]), s.n - at);
        bool has_char = false;
        uint32_t node = 0;
        for (size_t n = 1; at + n <= s.n && v->ugm.tokens.n; n++) {
            node = trie_step(&v->ugm.tokens, node, (unsigned char)s.p[at + n - 1]);
            if (node == 0) break;
            int32_t id = v->ugm.tokens.nodes[node].value;
            if (id < 0) continue;
            const struct token *t = &v->tokens[id];
            if (n == n_char) has_char = true;
            offer(&best[at + n], best[at].score + (t->attr & TOKEN_USER ? 0.0 : (double)t->score),
                  at, id);
        }
        if (!has_char)
            offer(&best[at + n_char], best[at].score + (double)v->ugm.unknown_score, at,
                  v->special.unk);
    }
}

/* Walks back from the end; neighbouring unknown tokens count as one. */
static int collect(const struct vocab *v, const struct best *best, size_t end, struct ids *out,
                   struct redline_err *err)
{
    size_t begin = out->n;
    bool was_unknown = false;
    for (size_t at = end; at > 0; at = best[at].from) {
        bool is_unknown = best[at].id == v->special.unk;
        if (!(is_unknown && was_unknown)) TRY(ids_push(out, best[at].id, err));
        was_unknown = is_unknown;
    }
    for (size_t i = begin, k = out->n; i + 1 < k; i++) {
        int32_t id = out->p[i];
        out->p[i] = out->p[--k];
        out->p[k] = id;
    }
    return 0;
}

int ugm_encode(const struct vocab *v, struct str text, bool at_start, struct ids *out,
               struct redline_err *err)
{
    (void)at_start;
    if (v->special.unk < 0)
        return err_set(err, REDLINE_FORMAT, "the Unigram vocabulary names no unknown token");
    struct buf normal = {0};
    struct best *best = NULL;
    int status = normalize(v, text, &normal, err);
    if (status == 0 && normal.n) {
        best = mem_new(normal.n + 1, sizeof *best);
        if (!best) status = err_memory(err, (normal.n + 1) * sizeof *best, "encoding a text");
    }
    if (status == 0 && normal.n) {
        for (size_t i = 1; i <= normal.n; i++)
            best[i] = (struct best){-DBL_MAX, i - 1, v->special.unk};
        best[0].id = v->special.unk;
        find_best(v, buf_str(&normal), best);
        status = collect(v, best, normal.n, out, err);
    }
    mem_free(best);
    buf_free(&normal);
    return status;
}
