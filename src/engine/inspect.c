/* inspect.c - what is in a model file, as text and numbers for people and programs. */
#include <inttypes.h>
#include <stdio.h>

#include "base.h"
#include "engine.h"

enum { MOST_TEXT = 200, MOST_ITEMS = 8 };

void redline_file_facts(const struct redline_model *m, struct redline_file_facts *out)
{
    const struct gguf *g = m->gguf;
    *out = (struct redline_file_facts){.version = g->version,
                                       .alignment = g->alignment,
                                       .n_files = g->n_files,
                                       .n_values = g->n_values,
                                       .n_tensors = g->n_tensors,
                                       .tensor_bytes = g->tensor_bytes,
                                       .architecture = m->architecture,
                                       .name = m->name,
                                       .runnable = m->run_err.code == 0,
                                       .reason = m->run_err.message,
                                       .encoder = modelfile_encoder(m),
                                       .pooling = modelfile_pooling(m)};
    for (uint32_t i = 0; i < g->n_files; i++) out->file_bytes += g->files[i].bytes;
    for (uint64_t i = 0; i < g->n_tensors; i++) {
        const uint64_t *s = g->tensors[i].shape;
        out->n_parameters += s[0] * s[1] * s[2] * s[3];
    }
}

int redline_file_path(const struct redline_model *m, uint32_t i, char **path, struct redline_err *err)
{
    struct buf name = {0};
    *path = NULL;
    if (i >= m->gguf->n_files) return err_set(err, REDLINE_ARG, "the model has %u files", m->gguf->n_files);
    int status = gguf_file_path(&name, m->gguf, m->path, i, err);
    if (status)
        buf_free(&name);
    else
        *path = name.p;
    return status;
}

/* Appends a string with control characters and broken UTF-8 escaped, cut at MOST_TEXT bytes. */
static int append_printable(struct buf *b, struct str s, struct redline_err *err)
{
    size_t n = MIN(s.n, (size_t)MOST_TEXT);
    while (n < s.n && n > 0 && ((unsigned char)s.p[n] & 0xc0) == 0x80) n--; /* whole code points */
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '\n')
            TRY(buf_append(b, "\\n", 2, err));
        else if (c < 0x20 || c == 0x7f)
            TRY(buf_printf(b, err, "\\x%02x", c));
        else
            TRY(buf_append(b, s.p + i, 1, err));
    }
    return n < s.n ? buf_printf(b, err, "... (%zu bytes)", s.n) : 0;
}

static int append_number(struct buf *b, const struct gguf_value *v, enum gguf_type type, uint64_t i,
                         struct redline_err *err)
{
    if (type == GGUF_BOOL) return buf_printf(b, err, "%s", gguf_int_at(v, i) ? "true" : "false");
    if (type == GGUF_F32 || type == GGUF_F64) return buf_printf(b, err, "%.9g", gguf_float_at(v, i));
    if (type == GGUF_U64) return buf_printf(b, err, "%" PRIu64, (uint64_t)gguf_int_at(v, i));
    return buf_printf(b, err, "%" PRId64, gguf_int_at(v, i));
}

static int append_array(struct buf *b, const struct gguf_value *v, struct redline_err *err)
{
    TRY(buf_append(b, "[", 1, err));
    for (uint64_t i = 0; i < MIN(v->n, (uint64_t)MOST_ITEMS); i++) {
        if (i) TRY(buf_append(b, ", ", 2, err));
        if (v->item_type != GGUF_STRING) {
            TRY(append_number(b, v, v->item_type, i, err));
            continue;
        }
        TRY(buf_append(b, "\"", 1, err));
        TRY(append_printable(b, gguf_string_at(v, i), err));
        TRY(buf_append(b, "\"", 1, err));
    }
    return buf_append_str(b, v->n > MOST_ITEMS ? STR(", ...]") : STR("]"), err);
}

int redline_value_at(struct redline_model *m, uint64_t i, struct redline_value_facts *out,
                     struct redline_err *err)
{
    if (i >= m->gguf->n_values)
        return err_set(err, REDLINE_ARG, "there are %" PRIu64 " values", m->gguf->n_values);
    const struct gguf_value *v = &m->gguf->values[i];
    struct buf *key = &m->text[0], *type = &m->text[1], *text = &m->text[2];
    key->n = type->n = text->n = 0;
    TRY(append_printable(key, v->key, err));
    struct str s = {"", 0};
    if (v->type == GGUF_ARRAY) {
        TRY(buf_printf(type, err, "%s[%" PRIu64 "]", gguf_type_name(v->item_type), v->n));
        TRY(append_array(text, v, err));
    } else {
        TRY(buf_printf(type, err, "%s", gguf_type_name(v->type)));
        if (v->type == GGUF_STRING) {
            char zero_terminated[512];
            snprintf(zero_terminated, sizeof zero_terminated, "%.*s", STR_ARG(v->key));
            if (v->key.n < sizeof zero_terminated) TRY(gguf_get_string(m->gguf, zero_terminated, &s, err));
            TRY(buf_reserve(text, 0, err));
            TRY(append_printable(text, s, err));
        } else {
            TRY(append_number(text, v, v->type, 0, err));
        }
    }
    *out = (struct redline_value_facts){key->p, type->p, text->p, v->type == GGUF_STRING};
    return 0;
}

int redline_tensor_at(struct redline_model *m, uint64_t i, struct redline_tensor_facts *out,
                      struct redline_err *err)
{
    if (i >= m->gguf->n_tensors)
        return err_set(err, REDLINE_ARG, "there are %" PRIu64 " tensors", m->gguf->n_tensors);
    const struct gguf_tensor *t = &m->gguf->tensors[i];
    m->text[0].n = 0;
    TRY(append_printable(&m->text[0], t->name, err));
    *out = (struct redline_tensor_facts){.name = m->text[0].p,
                                         .type = dtype_name(t->dtype),
                                         .n_dims = t->n_dims,
                                         .shape = {t->shape[0], t->shape[1], t->shape[2], t->shape[3]},
                                         .bytes = t->bytes,
                                         .file = t->file,
                                         .used = m->weights.block_of && m->weights.block_of[i] >= 0};
    return 0;
}
