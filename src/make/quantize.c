/* quantize.c - redline_quantize(): the tensors of one model, decoded and encoded anew by the rules of a mixture.
 *
 * The input stays mapped and its pages are let go behind each tensor, so that the file may be larger than
 * memory.  What keeps its type is copied byte by byte. */
#include <float.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base.h"
#include "convert.h"
#include "file.h"
#include "gguf.h"
#include "importance.h"
#include "kern.h"
#include "known.h"
#include "mem.h"
#include "pour.h"

struct quantize {
    struct gguf *in;
    const struct mix *mix;
    const struct kern_ops *kern;
    struct mix_model model;
    struct importance importance;
    struct mix_tensor *tensors; /* in the order of the new file; `source` counts in->tensors */
    size_t n;
    _Atomic int32_t top; /* of the tensor in hand: the bits of its largest magnitude; of NaN, above all others */
};

/* ---- one tensor --------------------------------------------------------------------------------
 */

static int begin(void *user, size_t i, struct redline_err *err)
{
    struct quantize *q = user;
    atomic_store(&q->top, 0);
    return importance_take(&q->importance, &q->tensors[i], q->kern, err);
}

/* Without signs, numbers are ordered like their bits. */
static int32_t top_of(const float *x, size_t n)
{
    int32_t top = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        top = bits > top ? bits : top;
    }
    return top;
}

/* What a weight may be at most: the scales of blocks are f16, those of MXFP4 powers of two. */
static float limit_of(enum dtype to)
{
    return to == DTYPE_F32 || to == DTYPE_BF16 || to == DTYPE_MXFP4 ? FLT_MAX : 65504;
}

static bool fits(int32_t top, enum dtype to)
{
    return top <= (int32_t)bits_of_float(limit_of(to));
}

static void fill(void *user, size_t i, void *dst, uint64_t first, size_t n, float *scratch)
{
    struct quantize *q = user;
    const struct mix_tensor *t = &q->tensors[i];
    const struct dtype_info *from = dtype_info(t->from);
    const char *src = (const char *)q->in->tensors[t->source].data + dtype_row_bytes(from, first);
    if (t->to == t->from) {
        memcpy(dst, src, dtype_row_bytes(from, n));
        return;
    }
    q->kern->decode[t->from](scratch, src, n);
    int32_t top = top_of(scratch, n), old = atomic_load(&q->top);
    while (top > old && !atomic_compare_exchange_weak(&q->top, &old, top)) continue;
    if (fits(top, t->to)) /* else end() stops all */
        importance_encode(&q->importance, t, q->kern, dst, scratch, first, n);
}

static int end(void *user, size_t i, struct redline_err *err)
{
    struct quantize *q = user;
    const struct mix_tensor *t = &q->tensors[i];
    const struct gguf_tensor *from = &q->in->tensors[t->source];
    file_map_forget(from->data, from->bytes);
    if (fits(q->top, t->to)) return 0;
    if (!fits(q->top, DTYPE_F32))
        return err_set(err, REDLINE_FORMAT, "the tensor '%.*s' has a weight that is not a finite number",
                       STR_ARG(t->name));
    return err_set(err, REDLINE_FORMAT, "the tensor '%.*s' has a weight of size %g; "
                   "what goes to %s must fit into f16: %g at most", STR_ARG(t->name),
                   (double)float_of_bits((uint32_t)q->top), dtype_name(t->to), (double)limit_of(t->to));
}

/* ---- the plan ----------------------------------------------------------------------------------
 */

/* A whole number that may be absent; of an array, which has one for every layer, the first. */
static int read_int(struct quantize *q, const char *key, int *out, struct redline_err *err)
{
    char name[128];
    uint32_t x = 0;
    snprintf(name, sizeof name, "%.*s.%s", STR_ARG(q->model.arch), key);
    const struct gguf_value *value = gguf_find(q->in, name);
    if (value && value->type == GGUF_ARRAY) {
        TRY(gguf_get_array(q->in, name, GGUF_I32, &value, err));
        *out = value->n ? (int)gguf_int_at(value, 0) : 0;
        return 0;
    }
    TRY(gguf_get_u32(q->in, name, &x, err));
    *out = (int)MIN(x, 1u << 20);
    return 0;
}

static int read_model(struct quantize *q, const char *path, struct redline_err *err)
{
    struct mix_model *m = &q->model;
    TRY(gguf_get_string(q->in, "general.architecture", &m->arch, err));
    if (m->arch.n == 0 || m->arch.n > 64)
        return err_set(err, REDLINE_FORMAT, "%s: it has no general.architecture, so it is no model", path);
    TRY(read_int(q, "block_count", &m->n_layers, err));
    TRY(read_int(q, "expert_count", &m->n_experts, err));
    TRY(read_int(q, "attention.head_count", &m->n_heads, err));
    m->n_kv_heads = m->n_heads;
    if (m->n_layers == 0)
        return err_set(err, REDLINE_FORMAT, "%s: it has no %.*s.block_count", path, STR_ARG(m->arch));
    return read_int(q, "attention.head_count_kv", &m->n_kv_heads, err);
}

static int check_tensor(const struct mix_tensor *t, bool allow_requantize, struct redline_err *err)
{
    const struct dtype_info *from = dtype_info(t->from), *to = dtype_info(t->to);
    if (t->to == t->from) return 0;
    if (!from->is_weight)
        return err_set(err, REDLINE_SUPPORT, "the tensor '%.*s' is %s, which cannot be decoded", STR_ARG(t->name),
                       from->name);
    if (from->is_quantized && !allow_requantize)
        return err_set(err, REDLINE_ARG,
                       "the tensor '%.*s' is %s already; to make it %s adds loss to loss and must be allowed "
                       "(--allow-requantize)",
                       STR_ARG(t->name), from->name, to->name);
    return 0;
}

static int plan_tensors(struct quantize *q, bool allow_requantize, struct redline_err *err)
{
    q->n = (size_t)q->in->n_tensors;
    q->tensors = mem_new(q->n, sizeof *q->tensors);
    if (!q->tensors) return err_memory(err, q->n * sizeof *q->tensors, "a list of tensors");
    for (size_t i = 0; i < q->n; i++) {
        const struct gguf_tensor *t = &q->in->tensors[i];
        q->tensors[i] = (struct mix_tensor){.name = t->name,
                                            .n_dims = t->n_dims,
                                            .shape = t->shape,
                                            .from = t->dtype,
                                            .source = i};
    }
    q->model.weighted = q->importance.matrix.n > 0;
    qsort(q->tensors, q->n, sizeof *q->tensors, mix_compare);
    mix_assign(q->mix, &q->model, q->tensors, q->n);
    for (size_t i = 0; i < q->n; i++) TRY(check_tensor(&q->tensors[i], allow_requantize, err));
    return 0;
}

/* ---- the file ----------------------------------------------------------------------------------
 */

static int check_out(const struct quantize *q, const char *in, const char *out, struct redline_err *err)
{
    struct buf part = {0};
    int status = 0;
    for (uint32_t i = 0; i < q->in->n_files && !status; i++) {
        status = gguf_file_path(&part, q->in, in, i, err);
        if (!status && file_same(part.p, out))
            status = err_set(err, REDLINE_ARG, "'%s' is the model that is to be read", out);
    }
    buf_free(&part);
    return status;
}

/* What is said of the importance matrix, under llama-quantize's keys. */
static int write_importance(const struct quantize *q, const char *path, struct gguf_writer *w, struct redline_err *err)
{
    const struct imatrix *m = &q->importance.matrix;
    if (m->n == 0) return 0;
    TRY(gguf_write_string(w, "quantize.imatrix.file", str_of(path), err));
    if (m->text.dataset.n) TRY(gguf_write_string(w, "quantize.imatrix.dataset", m->text.dataset, err));
    TRY(gguf_write_u32(w, "quantize.imatrix.entries_count", (uint32_t)m->n, err));
    if (m->text.n_chunks) TRY(gguf_write_u32(w, "quantize.imatrix.chunks_count", m->text.n_chunks, err));
    return 0;
}

/* What describes a file's own encoding is not copied. */
static bool is_replaced(struct str key)
{
    return str_eq(key, STR("general.quantization_version")) || str_eq(key, STR("general.file_type")) ||
           str_starts(key, STR("quantize.imatrix."));
}

static int write_values(const struct quantize *q, const char *imatrix, struct gguf_writer *w,
                        struct redline_err *err)
{
    for (uint64_t i = 0; i < q->in->n_values; i++) {
        if (is_replaced(q->in->values[i].key)) continue;
        TRY(gguf_write_value(w, &q->in->values[i], err));
    }
    TRY(write_importance(q, imatrix, w, err));
    TRY(gguf_write_u32(w, "general.quantization_version", KNOWN_QUANTIZATION_VERSION, err));
    return gguf_write_u32(w, "general.file_type", q->mix->file_type, err);
}

static int write_file(struct quantize *q, const char *out, const struct redline_quantize_params *params,
                      struct redline_made *made, struct redline_err *err)
{
    struct gguf_writer *w;
    TRY(gguf_writer_new(&w, out, q->in->alignment, err));
    struct pour_job job = {.tensors = q->tensors,
                           .n = q->n,
                           .n_threads = params->n_threads,
                           .maker = q,
                           .listener = params->listener,
                           .user = params->user,
                           .begin = begin,
                           .end = end,
                           .fill = fill};
    int status = write_values(q, params->imatrix, w, err);
    if (!status) status = pour_file(&job, w, made, err);
    gguf_writer_free(&w);
    return status;
}

static void tell_importance(const struct importance *m, struct redline_made *made)
{
    made->n_weighted = m->n_found;
    made->n_unweighted = m->n_missing;
    snprintf(made->unweighted, sizeof made->unweighted, "%.*s", STR_ARG(m->missing));
}

int redline_quantize(const char *in, const char *out, const char *mixture,
                     const struct redline_quantize_params *params, struct redline_made *made,
                     struct redline_err *err)
{
    static const struct redline_quantize_params defaults;
    struct quantize q = {.kern = kern_ops()};
    if (!params) params = &defaults;
    TRY(known_find_mix(&q.mix, mixture, err));
    TRY(gguf_open(&q.in, in, err));
    int status = check_out(&q, in, out, err);
    if (!status) status = read_model(&q, in, err);
    if (!status) status = importance_open(&q.importance, params->imatrix, err);
    if (!status) status = plan_tensors(&q, params->allow_requantize, err);
    if (!status) status = importance_check(&q.importance, q.tensors, q.n, q.kern, err);
    if (!status) status = write_file(&q, out, params, made, err);
    if (!status && made) tell_importance(&q.importance, made);
    importance_close(&q.importance);
    mem_free(q.tensors);
    gguf_close(&q.in);
    return status;
}
