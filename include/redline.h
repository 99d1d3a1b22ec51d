/* redline.h - the product's boundary: everything a program needs to run language models.
 *
 *     struct redline_model *model;                  a file: its facts and its tokenizer
 *     struct redline_engine *engine;                the model placed in memory, with its own thread
 *     struct redline_job *job;                      one request in progress
 *     redline_model_open(&model, "model.gguf", &err);
 *     redline_engine_open(&engine, model, &params, &err);
 *     redline_submit(&job, engine, &request, &err);
 *     while (redline_next(job, &event, &err) == 0 && event.kind != REDLINE_EVENT_DONE) ...
 *     redline_job_free(&job);
 *     redline_engine_close(&engine);
 *     redline_model_close(&model);
 *
 * Every function that can fail returns 0 or a negative enum redline_status and writes one sentence to
 * *err.  Options structs are used zeroed: 0 and NULL mean the default.  Nobody sees a tensor here.
 *
 * Threads: models and engines may be used by any number of threads at once, a job by one at a time
 * (but redline_cancel() may come from anywhere).  Text is cut into tokens, and tokens are made into
 * text, on the caller's thread; everything else happens on the engine's. */
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

/* The token that REDLINE_ADD_SPECIAL puts before a text; -1: none, or the file has no tokenizer. */
int32_t redline_begin_token(const struct redline_model *model);

void redline_free(void *p);

/* ---- chat templates -------------------------------------------------------------------------- */

struct redline_message {
    const char *role; /* "system", "user", "assistant" */
    const char *text;
};

struct redline_chat {
    const struct redline_message *messages; /* at least one */
    size_t n_messages;
    bool answer;               /* end where the assistant's next answer begins */
    const char *template_name; /* of a known template: "chatml"; NULL: the one in the model's file */
};

/* The conversation as the tokens that the model was trained on.  Only the template's own marks become
 * special tokens: "<|im_end|>" in a message is text, and ends nothing.  *ids: n_ids of them, the caller's
 * to redline_free().  REDLINE_SUPPORT when the file has no template, or one that is not known: known are
 * those that write ChatML. */
int redline_chat_ids(const struct redline_model *model, const struct redline_chat *chat, int32_t **ids,
                     size_t *n_ids, struct redline_err *err);

/* ---- events --------------------------------------------------------------------------------- */

enum redline_event_kind {
    REDLINE_EVENT_LOADING,   /* load: bytes read so far */
    REDLINE_EVENT_LOADED,    /* load: the engine is ready */
    REDLINE_EVENT_STARTED,   /* started: the request left the queue */
    REDLINE_EVENT_PREFILL,   /* prefill: another part of the prompt is done */
    REDLINE_EVENT_TOKEN,     /* token: one was chosen, or scored */
    REDLINE_EVENT_EMBEDDING, /* embedding: the vector is there */
    REDLINE_EVENT_DONE,      /* done: the request has ended */
    REDLINE_EVENT_FAILED,    /* sentence: the request has ended with an error (engine's listener only) */
    REDLINE_EVENT_WARNING,   /* sentence: something the user would want to know */
};

enum redline_stop {
    REDLINE_STOP_LENGTH,  /* n_predict tokens were generated, or all that was given is done */
    REDLINE_STOP_END,     /* the model chose an end token */
    REDLINE_STOP_CONTEXT, /* the context is full */
    REDLINE_STOP_CANCEL,  /* redline_cancel() */
};

/* What comes with them; times in nanoseconds. */
struct redline_load {
    uint64_t done_bytes, total_bytes;
    uint64_t load_ns; /* since redline_engine_open() was called */
};

struct redline_started {
    uint64_t queued_ns; /* since redline_submit() */
    size_t n_prompt;    /* tokens */
    size_t n_cached;    /* of them still in the session's cache */
};

struct redline_prefill {
    size_t n_done, n_total; /* prompt tokens */
};

struct redline_token {
    int32_t id;
    float logprob;    /* natural logarithm of its probability at temperature 1, before any truncation
                         or penalty; NAN unless the request asked for it */
    const char *text; /* whole code points, maybe none yet; valid until the next call for this job.
                         NULL in what the engine's listener sees */
    size_t n_bytes;
};

enum redline_pooling { /* from the states of all tokens to one vector */
    REDLINE_POOL_DEFAULT, /* what the file says; when it says nothing, LAST, or for an encoder MEAN */
    REDLINE_POOL_MEAN,
    REDLINE_POOL_FIRST,
    REDLINE_POOL_LAST,
    REDLINE_POOL_NONE, /* all of them: a vector for each token */
};

struct redline_embedding {
    const float *vector; /* [n_vectors, n], valid as long as the job */
    size_t n, n_vectors; /* n_vectors: the prompt's tokens without pooling, else 1 */
    enum redline_pooling pooling; /* as carried out */
};

struct redline_done {
    enum redline_stop stop;
    size_t n_prompt, n_cached, n_generated;
    uint64_t queued_ns;  /* from redline_submit() until it started */
    uint64_t prefill_ns; /* from there until the logits of the last prompt token */
    uint64_t decode_ns;  /* from there to the last token; n_decoded forward passes */
    size_t n_decoded;
    bool prefill_packed; /* some of its steps brought weights into the layout of the kernels beside their work: an
                            engine that has settled is faster (redline_engine_settle()) */
    size_t n_decoded_packed; /* so many of n_decoded did */
};

struct redline_event {
    enum redline_event_kind kind;
    uint64_t job;     /* serial number of the request, from 1; 0: the engine itself */
    uint64_t time_ns; /* when it happened, on the system's monotonic clock */
    union {
        struct redline_load load;
        struct redline_started started;
        struct redline_prefill prefill;
        struct redline_token token;
        struct redline_embedding embedding;
        struct redline_done done;
        const char *sentence;
    };
};

/* ---- engine --------------------------------------------------------------------------------- */

struct redline_engine;
struct redline_imatrix; /* redline_probe.h */

/* Sees all events of an engine: while loading on the thread that opens it, later on the engine's own,
 * which waits for it; so it must be quick, and must not call the engine. */
typedef void redline_listener(void *user, const struct redline_event *event);

struct redline_engine_params {
    int n_threads;      /* 0: as many as there are cores that this process may use, and fewer while other
                           programs keep them busy and fewer are faster; results do not depend on it */
    int n_ctx;          /* tokens of the longest sequence; required */
    int n_seqs;         /* requests that run at the same time, and sessions that rest in the cache; 0: 1 */
    int n_cache;        /* tokens of all sequences together; 0: n_seqs times n_ctx */
    int n_ubatch;       /* most tokens of one forward pass; 0: 512.  An encoder, whose tokens see what follows
                           them too, reads a sequence in one pass: 0 is then n_ctx, if that is more; at most 65536 */
    int n_outputs;      /* most logits rows of one forward pass; 0: n_seqs or 16, the larger */
    int n_queue;        /* most requests that wait; 0: 256 */
    const char *type_k; /* "f32", "f16", "bf16", "q8_0" or "q4_0"; NULL: f16 */
    const char *type_v; /* likewise; that of keys where values are a part of them (DeepSeek) */
    bool exact;         /* float32 activations in every product */
    /* Where the model runs.  It is placed in blocks: of each layer its attention with the keys and values, and its
     * feed-forward part (one block, where the family computes both from the same numbers); the output matrix with the
     * last norm.  What is asked for is had, or refused before anything is read: REDLINE_DEVICE where there is no such
     * GPU, REDLINE_MEMORY where it has no room, with what would fit. */
    const char *n_gpu_layers; /* layers that run on GPUs, the last of the model first, and the output matrix with them:
                           "all"; a number, "0" for none; "auto" or NULL, as many blocks as fit in the memory that is
                           free there, and none where there is no GPU.  Where layers have experts, "auto" takes
                           everything else before the first of them */
    uint64_t device_memory; /* most bytes that are taken of each GPU; 0: what is free there */
    int n_cpu_moe;         /* the feed-forward parts with experts of the first so many layers stay on the CPU */
    const char *placement; /* "PATTERN=DEVICE[,PATTERN=DEVICE...]" or NULL: blocks for which the rules above do not
                           hold.  PATTERN: an extended regular expression (POSIX), looked for in the name of a block's
                           largest tensor; the first that is found counts.  DEVICE: "cpu", "gpu" (any), "gpu0", "gpu1".
                           REDLINE_ARG: a pattern that finds none */
    struct redline_imatrix *imatrix; /* collects what the weights are multiplied with, while the engine is open;
                                        may be NULL */
    redline_listener *listener; /* may be NULL */
    void *user;
};

/* Plans, refuses a plan that does not fit (REDLINE_MEMORY, with the numbers), loads, and starts the
 * engine's thread. The model must outlive the engine. */
int  redline_engine_open(struct redline_engine **out, const struct redline_model *model,
                         const struct redline_engine_params *params, struct redline_err *err);

/* Cancels what still runs.  Jobs and sessions must be freed before.  Accepts NULL, a pointer to NULL. */
void redline_engine_close(struct redline_engine **engine);

/* Numbers in a row of logits. */
size_t redline_n_vocab(const struct redline_engine *engine);

/* ---- sessions ------------------------------------------------------------------------------- */

/* A conversation.  Each request still brings all of its tokens; what the session's last request left in
 * the cache and this one begins with is not computed again.  The cache gives way to other requests when
 * it must, the session longest at rest first: its tokens are then computed again.  On processors with BF16 products an
 * earlier answer that is read again as text may differ in the last bits from the one that was generated. */
struct redline_session;

int  redline_session_new(struct redline_session **out, struct redline_engine *engine,
                         struct redline_err *err);
void redline_session_free(struct redline_session **session); /* after its jobs; accepts a pointer to NULL */

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

enum redline_kind {
    REDLINE_GENERATE, /* TOKEN events: the continuation */
    REDLINE_EMBED,    /* one EMBEDDING event: a vector of length 1 */
    REDLINE_SCORE,    /* TOKEN events: the given tokens that follow a scored position, with log-probability */
};

struct redline_request {
    enum redline_kind kind;
    struct redline_session *session; /* NULL: an empty context that is forgotten at the end */
    const char *text;      /* the prompt as raw text, which gets the model's special tokens; or NULL and */
    size_t n_bytes;
    const int32_t *ids;    /* tokens as they are */
    size_t n_ids;
    int n_predict;         /* most tokens to generate; -1: until the end or a full context */
    bool ignore_end;       /* go on after an end token */
    bool logprobs;         /* of generated tokens; costs a pass over the vocabulary for each */
    struct redline_sampling sampling;
    enum redline_pooling pooling;
    bool unscaled;         /* EMBED: vectors as the model gives them, not of length 1 */
    size_t score_from;     /* SCORE: the first scored position; tokens before it are context alone.  0: all are
                              scored, which gives each token but the first its log-probability */
    bool as_generated;     /* SCORE: by the arithmetic of generated tokens, not by that of texts; as generating itself
                              with an engine whose n_ubatch is 1 */
    float *logits;         /* SCORE: room for [n_ids - score_from, n_vocab] raw logits, those after each scored
                              position, filled until DONE; may be NULL */
};

/* REDLINE_SUPPORT, with the reason, when the model cannot serve requests of this kind whatever is in them:
 * an encoder generates no text and scores none. */
int redline_model_can(const struct redline_model *model, enum redline_kind kind, struct redline_err *err);

/* One request on its way: in the queue, running, or done. */
struct redline_job;

/* Checks the request, cuts its text into tokens and queues it; nothing of *request is needed afterwards
 * but session and logits.  REDLINE_ARG: an empty or too long prompt, an impossible setting;
 * REDLINE_BUSY: the queue is full, or the session's last request still runs. */
int redline_submit(struct redline_job **out, struct redline_engine *engine,
                   const struct redline_request *request, struct redline_err *err);

/* Waits for the job's next event.  After DONE, DONE again.  A job that failed returns the reason. */
int redline_next(struct redline_job *job, struct redline_event *event, struct redline_err *err);

/* Waits for the end; *event is DONE.  Cheaper than following every token. */
int redline_wait(struct redline_job *job, struct redline_event *event, struct redline_err *err);

/* What the events so far have brought: generated text, zero-terminated (after redline_wait(): all of
 * it); ids; log-probabilities, NAN where none was asked for.  Borrowed from the job. */
const char    *redline_job_text(const struct redline_job *job);
const int32_t *redline_job_ids(const struct redline_job *job, size_t *n);
const float   *redline_job_logprobs(const struct redline_job *job, size_t *n);

/* Asks the engine to stop at the next token; the job then ends with DONE.  Only sets a flag: may be
 * called by any thread, and in a signal handler. */
void redline_cancel(struct redline_job *job);

void redline_job_free(struct redline_job **job); /* cancels first; accepts NULL and a pointer to NULL */

#ifdef __cplusplus
}
#endif
#endif
