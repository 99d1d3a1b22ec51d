/* modelfile.h - an opened model file: mapping, tokenizer, chat template, hyperparameters; what struct redline_model is.
 *
 * Each part that could not be made keeps the sentence that says why, and hands it out when the part is
 * asked for: a vocabulary without weights can still tokenize, weights without a vocabulary still run. */
#ifndef MODELFILE_H
#define MODELFILE_H

#include "chat.h"
#include "hparams.h"
#include "redline.h"
#include "vocab.h"
#include "weights.h"

struct redline_model {
    struct gguf *gguf;
    struct vocab *vocab;          /* NULL: see vocab_err */
    struct redline_err vocab_err;
    struct chat_template chat;    /* .name NULL: see chat_err */
    struct redline_err chat_err;
    struct hparams h;
    struct weights weights;       /* bound to no backend: names, shapes and sizes */
    struct redline_err run_err;   /* code 0: the model can be run */
    struct buf text[3];           /* strings handed out by inspect.c: name, type, value */
    char *path;                   /* that was opened; owned, like the next two */
    char *architecture, *name;    /* zero-terminated copies */
};

/* The part, or its stored error. */
int modelfile_vocab(const struct redline_model *model, struct vocab **out, struct redline_err *err);
int modelfile_runnable(const struct redline_model *model, struct redline_err *err);

/* Every token sees its whole sequence: it is fed in one step, makes vectors, and no logits. */
bool modelfile_encoder(const struct redline_model *model);

/* What pooling_type says; its numbers are those of the enum.  A reranker's is none of them: DEFAULT. */
enum redline_pooling modelfile_pooling(const struct redline_model *model);

#endif
