/* cut.c - cutting special tokens out of a text before it is encoded.
 *
 * The longest special token goes first and takes all its occurrences from left to right, then the
 * next one works on what is left.  A vocabulary may have thousands; one walk through the text finds
 * the few that occur at all. */
#define _GNU_SOURCE
#include <stdlib.h>

#include "vocab_internal.h"

#include "mem.h"

static const uint16_t SPECIAL = TOKEN_CONTROL | TOKEN_USER | TOKEN_UNKNOWN;

static int longest_first(const void *a, const void *b)
{
    const struct trie_entry *x = a, *y = b;
    if (x->text.n != y->text.n) return x->text.n > y->text.n ? -1 : 1;
    return (x->value > y->value) - (x->value < y->value);
}

int cut_open(struct vocab *v, struct redline_err *err)
{
    for (uint32_t i = 0; i < v->n_tokens; i++) v->n_cuts += (v->tokens[i].attr & SPECIAL) != 0;
    if (v->n_cuts == 0) return 0;
    v->cuts = mem_new(v->n_cuts, sizeof *v->cuts);
    struct trie_entry *entries = mem_new(v->n_cuts, sizeof *entries);
    if (!v->cuts || !entries) {
        mem_free(entries);
        return err_memory(err, v->n_cuts * sizeof *entries, "the special tokens");
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < v->n_tokens; i++)
        if (v->tokens[i].attr & SPECIAL)
            entries[n++] = (struct trie_entry){v->tokens[i].text, (int32_t)i};
    qsort(entries, n, sizeof *entries, longest_first);
    for (uint32_t i = 0; i < n; i++) {
        v->cuts[i] = entries[i].value;
        entries[i].value = (int32_t)i;
    }
    int status = trie_new(&v->cut_trie, entries, n, err);
    mem_free(entries);
    return status;
}

static int add(struct fragments *f, int32_t id, struct str text, struct redline_err *err)
{
    if (id < 0 && text.n == 0) return 0;
    TRY(text_grow(&f->p, &f->capacity, f->n + 1, sizeof *f->p, err));
    f->p[f->n++] = (struct fragment){id, text};
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Copies one fragment of text to `to`, with the token in the place of its occurrences. */
static int cut_out(const struct token *t, int32_t id, struct str text, struct fragments *to,
                   struct redline_err *err)
{
    const char *hit;
    while (text.n && (hit = memmem(text.p, text.n, t->text.p, t->text.n))) {
        struct str left = {text.p, (size_t)(hit - text.p)};
        text = (struct str){hit + t->text.n, text.n - left.n - t->text.n};
        while ((t->attr & TOKEN_LSTRIP) && left.n && is_blank(left.p[left.n - 1])) left.n--;
        for (; (t->attr & TOKEN_RSTRIP) && text.n && is_blank(*text.p); text.p++) text.n--;
        TRY(add(to, -1, left, err));
        TRY(add(to, id, (struct str){0}, err));
    }
    return add(to, -1, text, err);
}

/* present[i]: does cuts[i] occur anywhere, and may it be cut out?  Returns whether any does. */
static bool find_present(const struct vocab *v, struct str text, bool parse_special,
                         unsigned char *present)
{
    bool any = false;
    for (size_t at = 0; at < text.n; at++) {
        uint32_t node = 0;
        for (size_t k = at; k < text.n; k++) {
            node = trie_step(&v->cut_trie, node, (unsigned char)text.p[k]);
            if (node == 0) break;
            int32_t i = v->cut_trie.nodes[node].value;
            if (i < 0) continue;
            uint16_t attr = v->tokens[v->cuts[i]].attr;
            if (!parse_special && (attr & (TOKEN_CONTROL | TOKEN_UNKNOWN))) continue;
            present[i] = 1;
            any = true;
        }
    }
    return any;
}

static int cut_present(const struct vocab *v, const unsigned char *present, struct fragments *out,
                       struct redline_err *err)
{
    struct fragments next = {0};
    int status = 0;
    for (uint32_t i = 0; status == 0 && i < v->n_cuts; i++) {
        if (!present[i]) continue;
        next.n = 0;
        for (size_t k = 0; status == 0 && k < out->n; k++) {
            const struct fragment *f = &out->p[k];
            if (f->id >= 0)
                status = add(&next, f->id, f->text, err);
            else
                status = cut_out(&v->tokens[v->cuts[i]], v->cuts[i], f->text, &next, err);
        }
        struct fragments old = *out;
        *out = next;
        next = old;
    }
    mem_free(next.p);
    return status;
}

int cut_text(const struct vocab *v, struct str text, bool parse_special, struct fragments *out,
             struct redline_err *err)
{
    TRY(add(out, -1, text, err));
    if (v->n_cuts == 0 || text.n == 0) return 0;
    unsigned char *present = mem_new(v->n_cuts, 1);
    if (!present) return err_memory(err, v->n_cuts, "finding special tokens");
    int status = 0;
    if (find_present(v, text, parse_special, present)) status = cut_present(v, present, out, err);
    mem_free(present);
    return status;
}

/* Text that two parts share stays in one piece: all of it lies in the same text, side by side. */
static int append(struct fragments *to, const struct fragments *from, struct redline_err *err)
{
    for (size_t i = 0; i < from->n; i++) {
        struct fragment f = from->p[i], *last = to->n ? &to->p[to->n - 1] : NULL;
        if (f.id < 0 && last && last->id < 0)
            last->text.n += f.text.n;
        else
            TRY(add(to, f.id, f.text, err));
    }
    return 0;
}

int cut_parts(const struct vocab *v, struct str text, const struct vocab_part *parts, size_t n_parts,
              struct fragments *out, struct redline_err *err)
{
    const char *at = text.p;
    for (size_t i = 0; i < n_parts; at += parts[i++].n) {
        struct fragments cut = {0};
        int status = cut_text(v, (struct str){at, parts[i].n}, !parts[i].literal, &cut, err);
        if (!status) status = append(out, &cut, err);
        mem_free(cut.p);
        TRY(status);
    }
    return 0;
}
