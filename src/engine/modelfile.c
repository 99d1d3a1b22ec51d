/* modelfile.c - opening a model file, and its tokenizer behind the public functions. */
#include "modelfile.h"

#include <stdlib.h>
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

int redline_model_open(struct redline_model **out, const char *path, struct redline_err *err)
{
    struct redline_model *m = mem_new(1, sizeof *m);
    *out = NULL;
    if (!m) return err_memory(err, sizeof *m, "a model file");
    int status = gguf_open(&m->gguf, path ? path : demo_path(), err);
    if (!status) status = copy_string(&m->architecture, m->gguf, "general.architecture", err);
    if (!status) status = copy_string(&m->name, m->gguf, "general.name", err);
    if (!status) {
        int broken = vocab_open(&m->vocab, m->gguf, &m->vocab_err);
        if (broken == REDLINE_MEMORY) {
            if (err) *err = m->vocab_err;
            status = broken;
        }
    }
    if (!status) {
        int broken = hparams_read(&m->h, m->gguf, &m->run_err);
        if (!broken) broken = weights_bind(&m->weights, &m->h, m->gguf, NULL, &m->run_err);
        if (broken == REDLINE_MEMORY) {
            if (err) *err = m->run_err;
            status = broken;
        }
    }
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
    vocab_close(&m->vocab);
    gguf_close(&m->gguf);
    for (size_t i = 0; i < COUNT_OF(m->text); i++) buf_free(&m->text[i]);
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
