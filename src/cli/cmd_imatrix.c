/* cmd_imatrix.c - redline imatrix: what the weights of a model are multiplied with while it reads a text. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "clock.h"
#include "cmd.h"
#include "file.h"
#include "placement.h"
#include "settings.h"

enum {
    CHUNK = 512,         /* tokens, as llama-imatrix has it */
    ROWS_PER_PASS = 128, /* all with logits, of which a row may be a megabyte */
};

struct collecting {
    /* options */
    const char *model_path, *text_path, *out_path;
    struct placement where;
    int n_chunk, most_chunks, n_threads, n_ubatch;
    bool special, quiet;

    struct redline_model *model;
    struct redline_engine *engine;
    struct redline_imatrix *matrix;
    struct buf text;
    int32_t *ids;    /* of the text, with the model's special tokens */
    size_t n_ids;
    int32_t first;   /* what each chunk begins with in place of its own first token; -1: with that */
    struct cmd_progress progress;
    double log_sum;  /* of the probabilities of the tokens in the second halves of the chunks */
    size_t n_scored;
};

/* The token that the model wants in front of a text, found by what it adds there; -1: none. */
static int find_first(struct collecting *c, unsigned flags, struct redline_err *err)
{
    int32_t *plain;
    size_t n;
    TRY(redline_tokenize(c->model, c->text.p, c->text.n, flags, &plain, &n, err));
    bool added = c->n_ids > n && memcmp(c->ids + 1, plain, n * sizeof *plain) == 0;
    c->first = added ? c->ids[0] : -1;
    redline_free(plain);
    return 0;
}

static const char *text_name(const struct collecting *c)
{
    return strcmp(c->text_path, "-") == 0 ? "standard input" : c->text_path;
}

static int read_text(struct collecting *c, struct redline_err *err)
{
    unsigned flags = c->special ? REDLINE_PARSE_SPECIAL : 0;
    TRY(file_read(&c->text, c->text_path, err));
    TRY(redline_tokenize(c->model, c->text.p, c->text.n, flags | REDLINE_ADD_SPECIAL, &c->ids, &c->n_ids, err));
    if (c->n_ids < (size_t)c->n_chunk)
        return err_set(err, REDLINE_ARG, "%s has %zu tokens, a chunk takes %d (-c)", text_name(c), c->n_ids,
                       c->n_chunk);
    return find_first(c, flags, err);
}

static int read_chunk(struct collecting *c, int32_t *ids, struct redline_err *err)
{
    struct redline_job *job;
    struct redline_event done;
    size_t n;
    if (c->first >= 0) ids[0] = c->first;
    struct redline_request request = {
        .kind = REDLINE_SCORE, .ids = ids, .n_ids = (size_t)c->n_chunk, .logprobs = true};
    TRY(redline_submit(&job, c->engine, &request, err));
    int status = redline_wait(job, &done, err);
    const float *logprobs = redline_job_logprobs(job, &n);
    for (size_t i = (size_t)c->n_chunk / 2; i < n && !status; i++, c->n_scored++) c->log_sum += (double)logprobs[i];
    redline_job_free(&job);
    return status;
}

static int read_chunks(struct collecting *c, size_t n_chunks, struct redline_err *err)
{
    struct redline_engine_params params = {.n_threads = c->n_threads,
                                           .n_ctx = c->n_chunk,
                                           .n_ubatch = c->n_ubatch,
                                           .n_outputs = c->n_ubatch,
                                           .imatrix = c->matrix,
                                           .listener = cmd_on_load,
                                           .user = &c->progress};
    TRY(placement_open(&c->engine, c->model, &params, &c->where, err));
    for (size_t i = 0; i < n_chunks; i++) {
        cmd_progress_show(&c->progress, "reading the text", (double)i / (double)n_chunks);
        TRY(read_chunk(c, c->ids + i * (size_t)c->n_chunk, err));
    }
    cmd_progress_clear(&c->progress);
    return 0;
}

static void report(const struct collecting *c, const struct redline_imatrix_facts *facts, size_t n_chunks,
                   double seconds)
{
    fprintf(stderr, "%s: %zu entries from %zu chunks of %d tokens in %.1f s, %.0f tok/s", c->out_path,
            facts->n_entries, n_chunks, c->n_chunk, seconds, (double)n_chunks * c->n_chunk / seconds);
    if (c->n_scored) fprintf(stderr, " | perplexity %.4f", exp(-c->log_sum / (double)c->n_scored));
    if (facts->n_partial)
        fprintf(stderr, " | %zu entries have experts that no token chose", facts->n_partial);
    fputc('\n', stderr);
}

static int run_all(struct collecting *c, const char *const *words, int n_words, struct redline_err *err)
{
    const char *path;
    struct redline_imatrix_facts facts;
    TRY(cmd_model_path(&path, c->model_path, words, n_words, "imatrix", err));
    if (!c->text_path) return err_set(err, REDLINE_ARG, "a text is needed: -f FILE, - for standard input");
    if (!c->out_path) return err_set(err, REDLINE_ARG, "a file to write is needed: -o FILE");
    TRY(placement_check(&c->where, err));
    TRY(redline_model_open(&c->model, path, err));
    TRY(read_text(c, err));
    TRY(redline_imatrix_new(&c->matrix, err));
    size_t n_chunks = c->n_ids / (size_t)c->n_chunk;
    if (c->most_chunks) n_chunks = MIN(n_chunks, (size_t)c->most_chunks);
    uint64_t start = clock_ns();
    TRY(read_chunks(c, n_chunks, err));
    double seconds = (double)(clock_ns() - start) / 1e9;
    struct redline_imatrix_text text = {text_name(c), (uint32_t)n_chunks, (uint32_t)c->n_chunk};
    TRY(redline_imatrix_write(c->matrix, c->out_path, &text, &facts, err));
    if (!c->quiet) report(c, &facts, n_chunks, seconds);
    return 0;
}

int cmd_imatrix(int argc, char **argv)
{
    struct collecting c = {.n_chunk = CHUNK, .n_ubatch = ROWS_PER_PASS};
    struct settings set = {0};
    const struct opt options[] = {
        settings_opt(&set, SETTING_MODEL, &c.model_path),
        {"-f, --file", "FILE", OPT_STRING, &c.text_path, 0, 0, "the text to read, - for standard input"},
        {"-o, --output", "FILE", OPT_STRING, &c.out_path, 0, 0, "where to write"},
        {"-c, --ctx-size", "N", OPT_INT, &c.n_chunk, 2, 1 << 20,
         "tokens of a chunk, which knows nothing of the others (512)"},
        {"--chunks", "N", OPT_INT, &c.most_chunks, 0, 1 << 30, "most chunks to read; 0: all (0)"},
        {"--special", NULL, OPT_FLAG, &c.special, 0, 0,
         "special tokens written in the text become those tokens"},
        settings_opt(&set, SETTING_N_THREADS, &c.n_threads),
        settings_opt(&set, SETTING_N_UBATCH, &c.n_ubatch),
        SETTINGS_PLACEMENT(&set, &c.where),
        {"-q, --quiet", NULL, OPT_FLAG, &c.quiet, 0, 0, "nothing on standard error"},
    };
    const struct opt_command command = {
        "redline imatrix MODEL -f TEXT -o OUT.gguf [options]",
        "Reads a text with the model, chunk by chunk, and writes an importance matrix: for each weight, the sum of\n"
        "the squares of every column of what it is multiplied with.  redline quantize --imatrix OUT.gguf then\n"
        "spends its bits where they matter.  llama.cpp's tools read and write the same files.",
        options, COUNT_OF(options),
        "A rest of the text that fills no chunk is left out.  The text should be like what the model will be used\n"
        "for, and the model the one that is to be quantised.\n"
        "Example: redline imatrix model-f16.gguf -f text.txt -o imatrix.gguf"};
    const char *words[1];
    struct redline_err err = {0};
    int n_words, exit_code;
    if (!settings_parse(&set, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    c.progress.wanted = isatty(STDERR_FILENO) && !c.quiet;
    int status = run_all(&c, words, n_words, &err);
    cmd_progress_clear(&c.progress);
    redline_engine_close(&c.engine);
    redline_imatrix_free(&c.matrix);
    redline_model_close(&c.model);
    redline_free(c.ids);
    buf_free(&c.text);
    settings_free(&set);
    return status ? cmd_fail(&err) : EXIT_FINE;
}
