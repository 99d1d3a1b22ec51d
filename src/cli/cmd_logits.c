/* cmd_logits.c - redline logits: raw float32 logits after each of the given tokens; of a model that is there to
 * make embeddings, the pooled vector. */
#include <string.h>

#include "base.h"
#include "cmd.h"
#include "file.h"
#include "mem.h"
#include "placement.h"
#include "settings.h"

enum { ROWS_PER_PASS = 64 };

struct logits {
    const char *model_path, *tokens, *tokens_file, *out_path, *type_k, *type_v;
    struct placement where;
    int n_threads, n_ubatch;
    bool exact, generated;
    float *rows;     /* [n_ids, V], or one vector; written at once, so that no half file stays */
    size_t rows_bytes;
};

static int keep_rows(struct logits *l, size_t n, struct redline_err *err)
{
    l->rows_bytes = n * sizeof(float);
    l->rows = mem_new(n, sizeof(float));
    return l->rows ? 0 : err_memory(err, l->rows_bytes, "the logits");
}

static int score(struct logits *l, struct redline_engine *engine, const int32_t *ids, size_t n, struct redline_err *err)
{
    struct redline_job *job;
    struct redline_event done;
    TRY(keep_rows(l, n * redline_n_vocab(engine), err));
    struct redline_request request = {
        .kind = REDLINE_SCORE, .ids = ids, .n_ids = n, .as_generated = l->generated, .logits = l->rows};
    TRY(redline_submit(&job, engine, &request, err));
    int status = redline_wait(job, &done, err);
    redline_job_free(&job);
    return status;
}

static int embed(struct logits *l, struct redline_engine *engine, const int32_t *ids, size_t n, struct redline_err *err)
{
    struct redline_job *job;
    struct redline_event event = {0};
    int status = 0;
    struct redline_request request = {.kind = REDLINE_EMBED, .ids = ids, .n_ids = n, .unscaled = true};
    TRY(redline_submit(&job, engine, &request, err));
    while (!status && event.kind != REDLINE_EVENT_EMBEDDING) status = redline_next(job, &event, err);
    if (!status) status = keep_rows(l, event.embedding.n * event.embedding.n_vectors, err);
    if (!status) memcpy(l->rows, event.embedding.vector, l->rows_bytes);
    redline_job_free(&job);
    return status;
}

static int compute(struct logits *l, const struct redline_model *model, const int32_t *ids, size_t n,
                   struct redline_err *err)
{
    struct redline_file_facts facts;
    struct redline_engine *engine;
    struct cmd_progress warnings = {0}; /* shows no progress */
    redline_file_facts(model, &facts);
    bool pooled = facts.encoder || facts.pooling != REDLINE_POOL_DEFAULT;
    if (pooled && l->generated) return err_set(err, REDLINE_ARG, "--generated: an embedding model generates nothing");
    if (l->generated) l->n_ubatch = 1;
    int n_ctx = (int)MIN(n, (size_t)1 << 28), n_ubatch = facts.encoder ? MAX(l->n_ubatch, n_ctx) : l->n_ubatch;
    struct redline_engine_params params = {.n_threads = l->n_threads,
                                           .n_ctx = n_ctx,
                                           .n_ubatch = n_ubatch,
                                           .n_outputs = l->n_ubatch,
                                           .type_k = l->type_k,
                                           .type_v = l->type_v,
                                           .exact = l->exact,
                                           .listener = cmd_on_load,
                                           .user = &warnings};
    TRY(placement_open(&engine, model, &params, &l->where, err));
    int status = pooled ? embed(l, engine, ids, n, err) : score(l, engine, ids, n, err);
    redline_engine_close(&engine);
    return status;
}

static int run_all(struct logits *l, const char *const *words, int n_words,
                   struct redline_model **model, struct redline_err *err)
{
    const char *path;
    struct buf list = {0};
    int32_t *ids;
    size_t n;
    TRY(cmd_model_path(&path, l->model_path, words, n_words, "logits", err));
    if (!l->tokens == !l->tokens_file)
        return err_set(err, REDLINE_ARG, "token ids are needed: --tokens 1,2,3 or --tokens-file FILE");
    if (!l->out_path) return err_set(err, REDLINE_ARG, "a file to write is needed: -o FILE");
    TRY(placement_check(&l->where, err));
    int status = l->tokens_file ? file_read(&list, l->tokens_file, err)
                                : buf_append_str(&list, str_of(l->tokens), err);
    while (list.n > 0 && (list.p[list.n - 1] == '\n' || list.p[list.n - 1] == ' '))
        list.p[--list.n] = '\0';
    if (!status) status = cmd_parse_ids(&ids, &n, list.p ? list.p : "", err);
    buf_free(&list);
    if (status) return status;
    status = redline_model_open(model, path, err);
    if (!status) status = compute(l, *model, ids, n, err);
    redline_free(ids);
    if (status) return status;
    if (strcmp(l->out_path, "-") != 0) return file_write(l->out_path, l->rows, l->rows_bytes, err);
    TRY(cmd_write(l->rows, l->rows_bytes, err));
    return cmd_flush(err);
}

int cmd_logits(int argc, char **argv)
{
    struct logits l = {.n_ubatch = ROWS_PER_PASS};
    struct settings set = {0};
    const struct opt options[] = {
        settings_opt(&set, SETTING_MODEL, &l.model_path),
        {"--tokens", "IDS", OPT_STRING, &l.tokens, 0, 0, "token ids, separated by commas"},
        {"--tokens-file", "FILE", OPT_STRING, &l.tokens_file, 0, 0, "the same from a file"},
        {"-o, --output", "FILE", OPT_STRING, &l.out_path, 0, 0, "where to write; - for standard output"},
        {"--generated", NULL, OPT_FLAG, &l.generated, 0, 0, "token by token, as if they were being generated (-ub 1)"},
        settings_opt(&set, SETTING_N_THREADS, &l.n_threads),
        settings_opt(&set, SETTING_N_UBATCH, &l.n_ubatch),
        settings_opt(&set, SETTING_TYPE_K, &l.type_k),
        settings_opt(&set, SETTING_TYPE_V, &l.type_v),
        settings_opt(&set, SETTING_EXACT, &l.exact),
        SETTINGS_PLACEMENT(&set, &l.where),
    };
    const struct opt_command command = {
        "redline logits MODEL --tokens 1,2,3 -o FILE",
        "Feeds the tokens from position 0 and writes the logits after each of them: little-endian float32,\n"
        "[n_tokens, n_vocab].  Needs no tokenizer.  Of an embedding model: the pooled vector, as the model gives it.",
        options, COUNT_OF(options), NULL};
    const char *words[1];
    struct redline_err err = {0};
    struct redline_model *model = NULL;
    int n_words, exit_code;
    if (!settings_parse(&set, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    int status = run_all(&l, words, n_words, &model, &err);
    redline_model_close(&model);
    mem_free(l.rows);
    settings_free(&set);
    return status ? cmd_fail(&err) : EXIT_FINE;
}
