/* synth.c - redline_synth(): a real model's shape, a mixture's types, random weights.
 *
 * Each piece of a tensor has a generator of its own, seeded by seed, name and place; so the bytes depend
 * on nothing else. */
#include "synth.h"

#include <stdio.h>
#include <stdlib.h>

#include "base.h"
#include "known.h"
#include "mem.h"
#include "noise.h"
#include "pour.h"

struct synth {
    const struct shape *shape;
    const struct mix *mix;
    uint64_t seed;
    struct shape_tensor *parts;
    struct mix_tensor *tensors; /* sorted; `source` counts parts */
    size_t n;
    struct noise noise; /* of the tensor in hand */
};

static int begin(void *user, size_t i, struct redline_err *err)
{
    struct synth *s = user;
    (void)err;
    const struct shape_tensor *part = &s->parts[s->tensors[i].source];
    noise_init(&s->noise, s->tensors[i].to, part->mean, part->deviation);
    return 0;
}

static void fill(void *user, size_t i, void *dst, uint64_t first, size_t n, float *scratch)
{
    const struct synth *s = user;
    struct rng rng;
    (void)scratch;
    rng_seed(&rng, (s->seed + 1) * 0x9e3779b97f4a7c15u ^ str_hash(s->tensors[i].name) ^ first * 0xd1342543de82ef95u);
    noise_fill(&s->noise, dst, n, &rng);
}

static int plan_tensors(struct synth *s, struct redline_err *err)
{
    const struct shape *shape = s->shape;
    struct mix_model model = {.arch = shape_arch(shape),
                              .n_layers = shape->n_layers,
                              .n_experts = shape->n_experts,
                              .n_heads = shape->n_heads,
                              .n_kv_heads = shape->n_kv_heads};
    TRY(shape_tensors(shape, &s->parts, &s->n, err));
    s->tensors = mem_new(s->n, sizeof *s->tensors);
    if (!s->tensors) return err_memory(err, s->n * sizeof *s->tensors, "a list of tensors");
    for (size_t i = 0; i < s->n; i++)
        s->tensors[i] = (struct mix_tensor){.name = str_of(s->parts[i].name),
                                            .n_dims = s->parts[i].n_dims,
                                            .shape = s->parts[i].shape,
                                            .from = DTYPE_F32,
                                            .source = i};
    qsort(s->tensors, s->n, sizeof *s->tensors, mix_compare);
    mix_assign(s->mix, &model, s->tensors, s->n);
    for (size_t i = 0; i < s->n; i++)
        if (!noise_has(s->tensors[i].to))
            return err_set(err, REDLINE_SUPPORT, "random weights of type %s cannot be made",
                           dtype_name(s->tensors[i].to));
    return 0;
}

static int write_values(const struct synth *s, struct gguf_writer *w, struct redline_err *err)
{
    char text[160];
    TRY(gguf_write_string(w, "general.architecture", shape_arch(s->shape), err));
    TRY(gguf_write_string(w, "general.type", STR("model"), err));
    snprintf(text, sizeof text, "%s, random weights", s->shape->title);
    TRY(gguf_write_string(w, "general.name", str_of(text), err));
    snprintf(text, sizeof text, "The shape of %s with random weights and a made-up vocabulary, seed %llu",
             s->shape->title, (unsigned long long)s->seed);
    TRY(gguf_write_string(w, "general.description", str_of(text), err));
    TRY(shape_write_values(s->shape, w, err));
    TRY(gguf_write_u32(w, "general.quantization_version", KNOWN_QUANTIZATION_VERSION, err));
    TRY(gguf_write_u32(w, "general.file_type", s->mix->file_type, err));
    return made_vocab_write(s->shape->vocab, w, err);
}

static int write_file(struct synth *s, const char *out, const struct redline_synth_params *params,
                      struct redline_made *made, struct redline_err *err)
{
    struct gguf_writer *w;
    TRY(gguf_writer_new(&w, out, 0, err));
    struct pour_job job = {.tensors = s->tensors,
                           .n = s->n,
                           .n_threads = params->n_threads,
                           .maker = s,
                           .listener = params->listener,
                           .user = params->user,
                           .begin = begin,
                           .fill = fill};
    int status = write_values(s, w, err);
    if (!status) status = pour_file(&job, w, made, err);
    gguf_writer_free(&w);
    return status;
}

int synth_write(const struct shape *shape, const struct mix *mix, const char *out,
                const struct redline_synth_params *params, struct redline_made *made,
                struct redline_err *err)
{
    static const struct redline_synth_params defaults;
    if (!params) params = &defaults;
    struct synth *s = mem_new(1, sizeof *s);
    if (!s) return err_memory(err, sizeof *s, "a model to be made up");
    s->shape = shape;
    s->mix = mix;
    s->seed = params->seed;
    int status = plan_tensors(s, err);
    if (!status) status = write_file(s, out, params, made, err);
    mem_free(s->tensors);
    mem_free(s->parts);
    mem_free(s);
    return status;
}

int redline_synth(const char *shape, const char *mixture, const char *out,
                  const struct redline_synth_params *params, struct redline_made *made,
                  struct redline_err *err)
{
    const struct shape *known_shape;
    const struct mix *mix;
    TRY(known_find_shape(&known_shape, shape, err));
    TRY(known_find_mix(&mix, mixture, err));
    return synth_write(known_shape, mix, out, params, made, err);
}
