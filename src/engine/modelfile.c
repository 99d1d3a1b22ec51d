/* modelfile.c - opening a model file; its tokenizer and chat template behind the public functions. */
#include "modelfile.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "mem.h"

/* Where the demo model lies: beside the sources, or where `make install` puts it. */
static const char *demo_path(void)
{
    static const char *const places[] = {REDLINE_DEMO_BUILD, REDLINE_DEMO_INSTALLED};
    for (size_t i = 0; i < COUNT_OF(places); i++)
        if (access(places[i], R_OK) == 0) return places[i];
    return places[0];
}

static int copy_string(char **out, const struct gguf *g, const char *key, struct redline_err *err)
{
    struct str s = {"", 0};
    struct redline_err ignored; /* of another type: as good as absent here */
    if (gguf_get_string(g, key, &s, &ignored)) s.n = 0;
    *out = mem_copy(s.p, s.n);
    return *out ? 0 : err_memory(err, s.n, key);
}

static int no_template(const struct redline_model *m, struct redline_err *err)
{
    if (!m->vocab) return err_set(err, REDLINE_SUPPORT, "the model file has no chat template");
    return err_set(err, REDLINE_SUPPORT,
                   "the model file has no chat template; --chat-template chatml uses that form all the same%s",
                   vocab_find(m->vocab, STR("<|im_start|>")) >= 0 ? ", whose marks its vocabulary has"
                                                                  : ", though its vocabulary has no such marks");
}

static int open_chat(struct redline_model *m, struct redline_err *err)
{
    struct str jinja = {"", 0};
    TRY(gguf_get_string(m->gguf, "tokenizer.chat_template", &jinja, err));
    if (!jinja.n) return no_template(m, err);
    return chat_recognise(&m->chat, jinja, err);
}

static int open_runnable(struct redline_model *m, struct redline_err *err)
{
    TRY(hparams_read(&m->h, m->gguf, err));
    return weights_bind(&m->weights, &m->h, m->gguf, NULL, err);
}

/* A part that cannot be made for lack of memory is an error now; otherwise its sentence waits. */
static int later(int status, const struct redline_err *why, struct redline_err *err)
{
    if (status != REDLINE_MEMORY) return 0;
    if (err) *err = *why;
    return status;
}

static int fill_model(struct redline_model *m, const char *path, struct redline_err *err)
{
    if (!path) path = demo_path();
    TRY(gguf_open(&m->gguf, path, err));
    m->path = mem_copy(path, strlen(path));
    if (!m->path) return err_memory(err, strlen(path) + 1, "a path");
    TRY(copy_string(&m->architecture, m->gguf, "general.architecture", err));
    TRY(copy_string(&m->name, m->gguf, "general.name", err));
    TRY(later(vocab_open(&m->vocab, m->gguf, &m->vocab_err), &m->vocab_err, err));
    TRY(later(open_chat(m, &m->chat_err), &m->chat_err, err));
    return later(open_runnable(m, &m->run_err), &m->run_err, err);
}

int redline_model_open(struct redline_model **out, const char *path, struct redline_err *err)
{
    struct redline_model *m = mem_new(1, sizeof *m);
    *out = NULL;
    if (!m) return err_memory(err, sizeof *m, "a model file");
    int status = fill_model(m, path, err);
    if (status)
        redline_model_close(&m);
    else
        *out = m;
    return status;
}

void redline_model_close(struct redline_model **model)
{
    struct redline_model *m = model ? *model : NULL;
    if (!m) return;
    weights_free(&m->weights);
    chat_free(&m->chat);
    vocab_close(&m->vocab);
    gguf_close(&m->gguf);
    for (size_t i = 0; i < COUNT_OF(m->text); i++) buf_free(&m->text[i]);
    mem_free(m->path);
    mem_free(m->architecture);
    mem_free(m->name);
    mem_free(m);
    *model = NULL;
}

int modelfile_vocab(const struct redline_model *model, struct vocab **out, struct redline_err *err)
{
    *out = model->vocab;
    if (model->vocab) return 0;
    if (err) *err = model->vocab_err;
    return model->vocab_err.code;
}

int modelfile_runnable(const struct redline_model *model, struct redline_err *err)
{
    if (err && model->run_err.code) *err = model->run_err;
    return model->run_err.code;
}

bool modelfile_encoder(const struct redline_model *model)
{
    return model->h.encoder;
}

enum redline_pooling modelfile_pooling(const struct redline_model *model)
{
    return model->h.pooling <= REDLINE_POOL_LAST ? (enum redline_pooling)model->h.pooling : REDLINE_POOL_DEFAULT;
}

int redline_model_can(const struct redline_model *model, enum redline_kind kind, struct redline_err *err)
{
    TRY(modelfile_runnable(model, err));
    if (kind == REDLINE_EMBED || !modelfile_encoder(model)) return 0;
    return err_set(err, REDLINE_SUPPORT, "'%s' is an encoder: it makes embeddings, and %s", model->architecture,
                   kind == REDLINE_SCORE ? "scores no text" : "generates no text");
}

int redline_tokenize(const struct redline_model *model, const char *text, size_t n_bytes, unsigned flags,
                     int32_t **ids, size_t *n_ids, struct redline_err *err)
{
    struct vocab *vocab;
    struct ids list = {0};
    unsigned vocab_flags = (flags & REDLINE_ADD_SPECIAL ? VOCAB_ADD_SPECIAL : 0) |
                           (flags & REDLINE_PARSE_SPECIAL ? VOCAB_PARSE_SPECIAL : 0);
    *ids = NULL;
    *n_ids = 0;
    TRY(modelfile_vocab(model, &vocab, err));
    int status = vocab_encode(vocab, (struct str){text, n_bytes}, vocab_flags, &list, err);
    if (status) {
        ids_free(&list);
        return status;
    }
    *ids = list.p;
    *n_ids = list.n;
    return 0;
}

static int find_template(const struct redline_model *model, const char *name, const struct chat_template **out,
                         struct redline_err *err)
{
    if (name) return chat_named(out, name, err);
    *out = &model->chat;
    if (model->chat.name) return 0;
    if (err) *err = model->chat_err;
    return model->chat_err.code;
}

int redline_chat_ids(const struct redline_model *model, const struct redline_chat *chat, int32_t **ids,
                     size_t *n_ids, struct redline_err *err)
{
    struct vocab *vocab;
    const struct chat_template *template;
    struct ids list = {0};
    *ids = NULL;
    *n_ids = 0;
    TRY(find_template(model, chat->template_name, &template, err));
    TRY(modelfile_vocab(model, &vocab, err));
    struct chat_message *messages = mem_new(chat->n_messages, sizeof *messages);
    if (!messages) return err_memory(err, chat->n_messages * sizeof *messages, "a conversation");
    for (size_t i = 0; i < chat->n_messages; i++)
        messages[i] = (struct chat_message){str_of(chat->messages[i].role), str_of(chat->messages[i].text)};
    int status = chat_encode(template, vocab, messages, chat->n_messages, chat->answer, &list, err);
    mem_free(messages);
    if (status) {
        ids_free(&list);
        return status;
    }
    *ids = list.p;
    *n_ids = list.n;
    return 0;
}

int32_t redline_begin_token(const struct redline_model *model)
{
    const struct vocab_special *special = model->vocab ? vocab_special(model->vocab) : NULL;
    return special && special->add_bos ? special->bos : -1;
}

int redline_piece(const struct redline_model *model, int32_t id, bool special, char **text,
                  size_t *n_bytes, struct redline_err *err)
{
    struct vocab *vocab;
    *text = NULL;
    *n_bytes = 0;
    TRY(modelfile_vocab(model, &vocab, err));
    if (id < 0 || (uint32_t)id >= vocab_n_tokens(vocab))
        return err_set(err, REDLINE_ARG, "token %d is outside the vocabulary of %u", id,
                       vocab_n_tokens(vocab));
    struct str s = vocab_bytes(vocab, id, special ? VOCAB_SHOW_SPECIAL : 0);
    *text = mem_copy(s.p, s.n);
    if (!*text) return err_memory(err, s.n, "a piece of text");
    *n_bytes = s.n;
    return 0;
}

void redline_free(void *p)
{
    mem_free(p);
}
