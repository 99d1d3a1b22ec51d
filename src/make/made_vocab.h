/* made_vocab.h - made-up vocabularies of a real one's size and kind.
 *
 * Every byte can be written, longer tokens are made of pairs of shorter ones as training would make
 * them, and special tokens stand where the real model has them.  The same for every seed: a text has
 * the same tokens in all models of a shape. */
#ifndef MADE_VOCAB_H
#define MADE_VOCAB_H

#include "gguf_write.h"

enum made_kind { MADE_SPM, MADE_BPE };

struct made_special {
    int id;
    const char *text;
    enum gguf_token type;
};

struct made_vocab {
    enum made_kind kind;
    const char *pre;   /* tokenizer.ggml.pre */
    int n_tokens;
    int n_normal;      /* pieces of text (SPM: with the three special tokens and the bytes); what follows
                          is special or filler */
    const struct made_special *specials; /* by id */
    int n_specials;
    const char *filler; /* "[PAD%d]" */
    int filler_from;    /* the id whose number is 0 */
    int filler_type;
    int bos, eos, unknown, padding; /* ids; -1: none */
    int add_bos;                    /* -1: not said */
};

/* Writes the tokenizer.ggml.* values. */
int made_vocab_write(const struct made_vocab *vocab, struct gguf_writer *w, struct redline_err *err);

#endif
