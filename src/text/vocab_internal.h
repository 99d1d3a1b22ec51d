/* vocab_internal.h - what the files of the tokenizer share; nobody outside src/text/ includes
 * it. */
#ifndef VOCAB_INTERNAL_H
#define VOCAB_INTERNAL_H

#include "pieces.h"
#include "pretok.h"
#include "trie.h"
#include "vocab.h"

enum token_attr {
    TOKEN_UNKNOWN = 1,
    TOKEN_UNUSED = 2,
    TOKEN_NORMAL = 4,
    TOKEN_CONTROL = 8,
    TOKEN_USER = 16, /* user-defined: always cut out of the text first */
    TOKEN_BYTE = 32,
    TOKEN_LSTRIP = 64, /* swallows white space before it, when cut out of a text */
    TOKEN_RSTRIP = 128,
    TOKEN_END = 256, /* generation stops */
};

struct token {
    struct str text;  /* in the file, or in vocab.arena */
    struct str bytes; /* in the file, or in vocab.arena */
    float score;
    uint16_t attr; /* enum token_attr */
};

/* A text is first cut at its special tokens: id >= 0 is one of them, id < 0 is text in between. */
struct fragment {
    int32_t id;
    struct str text;
};

struct fragments {
    struct fragment *p;
    size_t n, capacity;
};

/* What differs between the kinds of tokenizer; see kinds[] in vocab.c. */
struct tokenizer {
    const char *model;  /* tokenizer.ggml.model */
    const char *refuse; /* why not, else NULL */
    int32_t bos, eos, unk, sep, pad, mask; /* unless the file says otherwise */
    bool add_space_prefix, clean_spaces, add_bos, add_eos, add_sep;
    bool has_pre;       /* tokenizer.ggml.pre counts */
    bool frames_always; /* VOCAB_ADD_SPECIAL gives BOS and SEP whatever the flags say */
    int (*open)(struct vocab *v, const struct gguf *g, struct redline_err *err);
    /* text is never empty; at_start: nothing or a special token stands before it */
    int (*encode)(const struct vocab *v, struct str text, bool at_start, struct ids *out,
                  struct redline_err *err);
};

/* Pairs of pieces that merge, by hash. */
struct merge {
    uint32_t left, right; /* pieces */
    uint32_t rank;        /* less is earlier; UINT32_MAX: an empty slot */
    int32_t piece;        /* what they become */
};

struct merges {
    struct merge *slots;
    size_t n_slots; /* a power of two */
    char *arena;    /* texts of merged pieces that are no token */
};

struct ugm {
    struct trie tokens;
    struct trie user; /* user-defined tokens, which normalisation leaves alone */
    float unknown_score;
    const unsigned char *nodes; /* of the charsmap: n_nodes little-endian words, unaligned */
    size_t n_nodes;
    struct str replacements;
};

struct vocab {
    const struct tokenizer *kind;
    const struct pretok *pre; /* rules of byte-level BPE */
    struct presplit *presplit;

    uint32_t n_tokens;
    struct token *tokens;
    char *arena;
    struct pieces pieces; /* ids below n_tokens are tokens */
    size_t longest;       /* bytes of the longest token's text */

    struct vocab_special special;
    bool remove_extra_spaces; /* Unigram */
    bool lowercase, strip_accents; /* WordPiece */

    int32_t byte_ids[256];    /* token for a byte, or -1 */
    int32_t byte_pieces[256]; /* the piece that byte-level BPE writes for a byte, or -1 */

    int32_t *cuts; /* special tokens, longest first */
    uint32_t n_cuts;
    struct trie cut_trie; /* of their texts; values index cuts */

    struct merges merges;
    struct ugm ugm;
};

/* Grows *p (items of `size` bytes) to hold at least `need`. */
int text_grow(void *p, size_t *capacity, size_t need, size_t size, struct redline_err *err);

int special_open(struct vocab *v, const struct gguf *g, struct redline_err *err);
int cut_open(struct vocab *v, struct redline_err *err);
int cut_text(const struct vocab *v, struct str text, bool parse_special, struct fragments *out,
             struct redline_err *err);
int cut_parts(const struct vocab *v, struct str text, const struct vocab_part *parts, size_t n_parts,
              struct fragments *out, struct redline_err *err);

int bpe_open(struct vocab *v, const struct gguf *g, struct redline_err *err);
int bpe_encode(const struct vocab *v, struct str text, bool at_start, struct ids *out,
               struct redline_err *err);
int spm_open(struct vocab *v, const struct gguf *g, struct redline_err *err);
int spm_encode(const struct vocab *v, struct str text, bool at_start, struct ids *out,
               struct redline_err *err);
int wpm_open(struct vocab *v, const struct gguf *g, struct redline_err *err);
int wpm_encode(const struct vocab *v, struct str text, bool at_start, struct ids *out,
               struct redline_err *err);
int ugm_open(struct vocab *v, const struct gguf *g, struct redline_err *err);
int ugm_encode(const struct vocab *v, struct str text, bool at_start, struct ids *out,
               struct redline_err *err);
void ugm_close(struct vocab *v);

/* Fills vocab.byte_ids from tokens named <0x00>..<0xFF>, or (or_char) from one-byte tokens. */
void vocab_index_bytes(struct vocab *v, bool or_char);

/* The bytes that each token stands for; called when all attributes are settled. */
int detok_open(struct vocab *v, struct redline_err *err);

#endif
