/* chat.h - conversations as the tokens that a model was trained on.
 *
 * A file says in the Jinja language how its conversations are written (tokenizer.chat_template).  The
 * templates known here are recognised by their form (chat_form.h), whatever their spelling; anything else
 * is refused: nothing is guessed.
 *
 * What people write stays text: only the template's own marks become special tokens, so that a message
 * with "<|im_end|>" in it ends nothing. */
#ifndef CHAT_H
#define CHAT_H

#include "vocab.h"

struct chat_template {
    const char *name;  /* static; NULL: none */
    bool begins;       /* with BOS, whatever the vocabulary says */
    bool has_system;   /* .system stands before a conversation that has no system message */
    struct buf system; /* owned */
};

struct chat_message {
    struct str role, text; /* role: "system", "user" or "assistant" */
};

/* What the template is that a file holds.  REDLINE_SUPPORT for one that is not known. */
int chat_recognise(struct chat_template *out, struct str jinja, struct redline_err *err);

/* A known template by its name; *out is static.  REDLINE_ARG lists the names. */
int chat_named(const struct chat_template **out, const char *name, struct redline_err *err);

void chat_free(struct chat_template *t); /* leaves {0} */

/* A conversation on its way to tokens: what is a mark, and what somebody wrote. */
struct chat_text {
    struct buf text;
    struct vocab_part *parts; /* [n_parts], owned */
    size_t n_parts, capacity;
};

/* Appends at least one message; with `answer`, the text ends where the assistant's next answer begins. */
int chat_write(const struct chat_template *t, const struct chat_message *messages, size_t n, bool answer,
               struct chat_text *out, struct redline_err *err);
void chat_text_free(struct chat_text *text); /* leaves {0} */

/* The same as tokens; with BOS where the template or the vocabulary has conversations begin with it. */
int chat_encode(const struct chat_template *t, const struct vocab *v, const struct chat_message *messages,
                size_t n, bool answer, struct ids *out, struct redline_err *err);

#endif
