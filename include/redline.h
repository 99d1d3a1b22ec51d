/* redline.h - the product's boundary: everything a program needs to run language models.
 *
 *     struct redline_model *model;                  a file: its facts and its tokenizer
 *     struct redline_engine *engine;                the model placed in memory, ready to run
 *     redline_model_open(&model, "model.gguf", &err);
 *     redline_engine_open(&engine, model, &params, &err);
 *     redline_generate(engine, &request, &err);     events arrive while it runs
 *     redline_engine_close(&engine);
 *     redline_model_close(&model);
 *
 * Every function that can fail returns 0 or a negative enum redline_status and writes one sentence to
 * *err.  Options structs are used zeroed: 0 and NULL mean the default.  Nobody sees a tensor here.
 *
 * Threads: a model may be read by several threads at once; an engine is used by one at a time. */
#ifndef REDLINE_H
#define REDLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redline_status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- models -------------------------------------------------------------------------------- */

struct redline_model;

/* Maps a GGUF file (or the first of a split set) and checks all of it.  A file without a tokenizer, or
 * with an unknown architecture, opens: what then cannot be done says so when it is asked for.
 * path == NULL opens the demo model. */
int  redline_model_open(struct redline_model **out, const char *path, struct redline_err *err);
void redline_model_close(struct redline_model **model); /* accepts NULL and a pointer to NULL */

/* ---- text and tokens ------------------------------------------------------------------------ */

enum {
    REDLINE_ADD_SPECIAL = 1,   /* begin and end with the tokens that the model expects (BOS, EOS) */
    REDLINE_PARSE_SPECIAL = 2, /* special tokens written in the text become those tokens */
};

/* *ids: n_ids of them, the caller's to redline_free(). */
int redline_tokenize(const struct redline_model *model, const char *text, size_t n_bytes, unsigned flags,
                     int32_t **ids, size_t *n_ids, struct redline_err *err);

/* The bytes that a token stands for, zero-terminated; special tokens give their name when `special`,
 * else nothing.  *text is the caller's to redline_free(). */
int redline_piece(const struct redline_model *model, int32_t id, bool special, char **text,
                  size_t *n_bytes, struct redline_err *err);

void redline_free(void *p);

/* ---- events --------------------------------------------------------------------------------- */

enum redline_event_kind {
    REDLINE_EVENT_LOADING,  /* load: bytes read so far */
    REDLINE_EVENT_LOADED,   /* load: the engine is ready */
    REDLINE_EVENT_PREFILL,  /* prefill: another part of the prompt is done */
    REDLINE_EVENT_TOKEN,    /* token: one was chosen */
    REDLINE_EVENT_DONE,     /* done: the request has ended */
    REDLINE_EVENT_WARNING,  /* warning: something the user would want to know */
};

enum redline_stop {
    REDLINE_STOP_LENGTH,  /* n_predict tokens were generated */
    REDLINE_STOP_END,     /* the model chose an end token */
    REDLINE_STOP_CONTEXT, /* the context is full */
    REDLINE_STOP_CANCEL,  /* the listener asked for it */
};

struct redline_event {
    enum redline_event_kind kind;
    union {
        struct {
            uint64_t done_bytes, total_bytes;
            uint64_t load_ns; /* since redline_engine_open() was called */
        } load;
        struct {
            size_t n_done, n_total; /* prompt tokens */
        } prefill;
        struct {
            int32_t id;
            const char *text; /* whole code points, maybe none yet; valid during the call */
            size_t n_bytes;
            float logprob;    /* natural logarithm of its probability at temperature 1, before any
                                 truncation or penalty */
        } token;
        struct {
            enum redline_stop stop;
            size_t n_prompt, n_generated;
            uint64_t prefill_ns; /* until the logits of the last prompt token */
            uint64_t decode_ns;  /* from there to the last token; n_decoded forward passes */
            size_t n_decoded;
        } done;
        const char *warning;
    };
};

/* A non-zero return asks the engine to stop at the next token. */
typedef int redline_listener(void *user, const struct redline_event *event);

/* ---- engine --------------------------------------------------------------------------------- */

struct redline_engine;

struct redline_engine_params {
    int n_threads;      /* 0: as many as there are cores that this process may use */
    int n_ctx;          /* tokens of the longest sequence; required */
    int n_ubatch;       /* most tokens of one forward pass; 0: 512 */
    int n_outputs;      /* most logits rows of one forward pass; 0: 1 */
    const char *type_k; /* "f16" or "f32"; NULL: f16 */
    const char *type_v;
    bool exact;         /* float32 activations in every product */
    redline_listener *listener; /* of loading; may be NULL */
    void *user;
};

/* Plans, refuses a plan that does not fit (REDLINE_MEMORY, with the numbers), and loads. The model must
 * outlive the engine. */
int  redline_engine_open(struct redline_engine **out, const struct redline_model *model,
                         const struct redline_engine_params *params, struct redline_err *err);
void redline_engine_close(struct redline_engine **engine); /* accepts NULL and a pointer to NULL */

/* ---- requests ------------------------------------------------------------------------------- */

struct redline_sampling {
    float temperature;    /* 0: the most probable token, always */
    int top_k;            /* keep the k most probable; 0: all */
    float top_p;          /* keep the smallest set with this much probability; 0 or 1: all */
    float min_p;          /* drop what is less probable than this share of the best; 0: none */
    float repeat_penalty; /* divides positive logits of recent tokens, multiplies others; 0 or 1: off */
    float presence_penalty, frequency_penalty; /* subtracted once, and per occurrence */
    int repeat_last_n;    /* how many recent tokens count; 0: 64, -1: all */
    uint64_t seed;        /* same seed, same text */
};

/* temperature 0.8, top_k 40, top_p 0.95, min_p 0.05: what llama.cpp's users are used to. */
struct redline_sampling redline_sampling_default(void);

struct redline_request {
    const char *text;      /* the prompt as raw text; or NULL and ids */
    size_t n_bytes;
    const int32_t *ids;
    size_t n_ids;
    int n_predict;         /* most tokens to generate; -1: until the end or a full context */
    bool ignore_end;       /* go on after an end token */
    struct redline_sampling sampling;
    redline_listener *listener;
    void *user;
};

/* Runs one request from an empty context to its end.  Text gets the model's special tokens. */
int redline_generate(struct redline_engine *engine, const struct redline_request *request,
                     struct redline_err *err);

/* Feeds ids from position 0 and hands over the logits after each: rows of n_vocab float32. */
int redline_logits(struct redline_engine *engine, const int32_t *ids, size_t n_ids,
                   int (*row)(void *user, const float *logits, size_t n_vocab, struct redline_err *err),
                   void *user, struct redline_err *err);

#ifdef __cplusplus
}
#endif
#endif
