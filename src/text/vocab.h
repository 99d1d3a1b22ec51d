/* vocab.h - text to tokens and back, from the metadata of a GGUF file.
 *
 *     struct vocab *v;
 *     struct ids ids = {0};
 *     TRY(vocab_open(&v, gguf, err));
 *     TRY(vocab_encode(v, text, VOCAB_ADD_SPECIAL | VOCAB_PARSE_SPECIAL, &ids, err));
 *
 * Four kinds of vocabulary hide behind it (SentencePiece, byte-level BPE, WordPiece, Unigram);
 * nobody outside src/text/ needs to know which one a file has.  Results are those of llama.cpp,
 * token for token, on text that is UTF-8; other bytes are kept where the kind of vocabulary can
 * express them and become U+FFFD where not.
 *
 * A vocab is never written to after vocab_open(): any number of threads may share it. */
#ifndef VOCAB_H
#define VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "gguf.h"
#include "str.h"

struct vocab;

/* A growable list of token ids; starts zeroed. */
struct ids {
    int32_t *p;
    size_t n;
    size_t capacity;
};

int ids_push(struct ids *ids, int32_t id, struct redline_err *err);
void ids_free(struct ids *ids); /* leaves {0} */

enum vocab_flag {
    VOCAB_ADD_SPECIAL = 1,   /* encode: add BOS, EOS, SEP as the file asks */
    VOCAB_PARSE_SPECIAL = 2, /* encode: "<|eot|>" in the text is that token, not its letters */
    VOCAB_SHOW_SPECIAL = 4,  /* decode: control tokens appear as their text, not as nothing */
};

/* Ids are -1 where the vocabulary has none. */
struct vocab_special {
    int32_t bos, eos, eot, eom, unk, sep, pad, mask;
    int32_t fim_pre, fim_suf, fim_mid, fim_pad, fim_rep, fim_sep;
    bool add_bos, add_eos, add_sep; /* what VOCAB_ADD_SPECIAL does */
    bool add_space_prefix;          /* encoding puts a space before the text */
    bool clean_spaces;              /* the reference's clean-up of decoded text; not done here */
};

/* Borrows g, which must outlive the vocab.  REDLINE_FORMAT for metadata that contradicts itself;
 * REDLINE_SUPPORT, naming it, for a tokenizer or pre-tokenizer that is not known. */
int vocab_open(struct vocab **out, const struct gguf *g, struct redline_err *err);
void vocab_close(struct vocab **v); /* accepts NULL and a pointer to NULL */

/* Appends to out, which is as before on failure.
 * flags: VOCAB_ADD_SPECIAL | VOCAB_PARSE_SPECIAL. */
int vocab_encode(const struct vocab *v, struct str text, unsigned flags, struct ids *out,
                 struct redline_err *err);

/* A piece of a text, in its order. */
struct vocab_part {
    size_t n;     /* bytes */
    bool literal; /* "<|eot|>" in it are its letters; where false, it is that token */
};

/* The same for a text of parts that fill it, without BOS and EOS; what stands between two special tokens
 * is encoded as one, wherever parts meet in it. */
int vocab_encode_parts(const struct vocab *v, struct str text, const struct vocab_part *parts,
                       size_t n_parts, struct ids *out, struct redline_err *err);

/* Appends the bytes of all pieces, without the space that encoding had put before the text, and
 * without BOS and EOS where VOCAB_SHOW_SPECIAL is not given.  May be any bytes.  An id outside the
 * vocabulary is REDLINE_ARG. */
int vocab_decode(const struct vocab *v, const int32_t *ids, size_t n, unsigned flags,
                 struct buf *out, struct redline_err *err);

uint32_t vocab_n_tokens(const struct vocab *v);
int32_t vocab_find(const struct vocab *v, struct str piece); /* its id, or -1 */
const struct vocab_special *vocab_special(const struct vocab *v);
bool vocab_is_end(const struct vocab *v, int32_t id);     /* does generation stop here? */
bool vocab_is_control(const struct vocab *v, int32_t id); /* not text: control and unknown tokens */

/* The bytes a token stands for (" the"; nothing for a control token without VOCAB_SHOW_SPECIAL).  Borrowed from
 * the vocab; empty for an id outside it. */
struct str vocab_bytes(const struct vocab *v, int32_t id, unsigned flags);

/* What the file calls this kind of tokenizer: "llama", "gpt2", "bert" or "t5". */
const char *vocab_kind(const struct vocab *v);

/* Decoding token by token, for streaming.  A token may end amid a code point: its last bytes wait
 * here.  Bytes that can no longer become a code point come out as U+FFFD, one for each, so that the
 * output is always UTF-8. */
struct detok {
    unsigned char pending[4];
    unsigned n_pending;
    bool drop_space; /* the next piece loses its first space */
};

/* at_start: the tokens to come begin a text (as in vocab_decode); false for what follows a prompt,
 * where pieces simply join. */
void detok_init(struct detok *d, const struct vocab *v, bool at_start);
int detok_feed(struct detok *d, const struct vocab *v, int32_t id, unsigned flags, struct buf *out,
               struct redline_err *err);
int detok_flush(struct detok *d, struct buf *out, struct redline_err *err); /* at the end */

#endif
