/* test_demo.c - the demo model: its perplexity on the held-out text, and answers that it must know.
 *
 * expected.json was written by tools/demo/check.py from the same weights in float32; the definition of
 * the perplexity stands there: chunks of 512 tokens from an empty context, all but the first token of
 * each scored. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "file.h"
#include "redline_probe.h"

enum { CHUNK = 512 };

static struct redline_err err;
static struct redline_model *model;

static double expected(const char *key)
{
    struct buf text = {0};
    OK(file_read(&text, SOURCE_DIR "/tests/data/demo/expected.json", &err));
    const char *at = strstr(text.p, key);
    assert_non_null(at);
    double value = strtod(strchr(at, ':') + 1, NULL);
    buf_free(&text);
    return value;
}

static struct redline_engine *open_engine(int n_ctx, int n_outputs)
{
    struct redline_engine *engine;
    struct redline_engine_params params = {.n_ctx = n_ctx, .n_outputs = n_outputs};
    OK(redline_engine_open(&engine, model, &params, &err));
    return engine;
}

static void test_perplexity(void **state)
{
    struct buf text = {0};
    int32_t *ids;
    size_t n, n_scored = 0;
    double sum = 0;
    (void)state;
    OK(file_read(&text, SOURCE_DIR "/tests/data/demo/heldout.txt", &err));
    OK(redline_tokenize(model, text.p, text.n, REDLINE_PARSE_SPECIAL, &ids, &n, &err));
    assert_true(n >= 20000);
    assert_int_equal(n, (size_t)expected("\"n_tokens\""));
    struct redline_engine *engine = open_engine(CHUNK, CHUNK);
    for (size_t i = 0; i < n; i += CHUNK) {
        struct redline_request request = {
            .kind = REDLINE_SCORE, .ids = ids + i, .n_ids = n - i < CHUNK ? n - i : CHUNK};
        struct redline_job *job;
        struct redline_event done;
        size_t m;
        OK(redline_submit(&job, engine, &request, &err));
        OK(redline_wait(job, &done, &err));
        const float *logprobs = redline_job_logprobs(job, &m);
        for (size_t j = 0; j < m; j++) sum -= (double)logprobs[j];
        n_scored += m;
        redline_job_free(&job);
    }
    double got = exp(sum / (double)n_scored), want = expected("\"perplexity\"");
    print_message("perplexity %.5f on %zu held-out tokens, in float32 %.5f\n", got, n, want);
    assert_true(fabs(got / want - 1) < 5e-4);
    redline_engine_close(&engine);
    redline_free(ids);
    buf_free(&text);
}

/* \n, \t and \\ in place. */
static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++) {
        if (*s == '\\' && s[1]) *to++ = *++s == 'n' ? '\n' : *s == 't' ? '\t' : *s;
        else *to++ = *s;
    }
    *to = '\0';
}

static void test_answers(void **state)
{
    struct buf text = {0};
    struct redline_engine *engine = open_engine(512, 1);
    char *rest;
    int n = 0;
    (void)state;
    OK(file_read(&text, SOURCE_DIR "/tests/data/demo/answers.tsv", &err));
    rest = text.p;
    for (char *line; (line = strsep(&rest, "\n")) && *line; n++) {
        char *want = strchr(line, '\t');
        struct redline_job *job;
        struct redline_event done;
        assert_non_null(want);
        *want++ = '\0';
        unescape(line);
        unescape(want);
        struct redline_request request = {.text = line, .n_bytes = strlen(line), .n_predict = 64};
        OK(redline_submit(&job, engine, &request, &err));
        OK(redline_wait(job, &done, &err));
        assert_string_equal(redline_job_text(job), want);
        redline_job_free(&job);
    }
    print_message("%d answers\n", n);
    assert_true(n >= 10);
    redline_engine_close(&engine);
    buf_free(&text);
}

static int open_model(void **state)
{
    (void)state;
    return redline_model_open(&model, NULL, &err);
}

static int close_model(void **state)
{
    (void)state;
    redline_model_close(&model);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_perplexity),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests_name("demo", tests, open_model, close_model);
}
