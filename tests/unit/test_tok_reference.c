/* test_tok_reference.c - the real vocabularies of the reference data: the reference's ids for every
 * text, round trips, wrong bytes, streams cut anywhere, and a megabyte of each kind of monotony. */
#include "test_tok.h"

#include <glob.h>
#include <time.h>

static const char SEPARATOR[] = "\n__ggml_vocab_test__\n";
static const char ROOT_VARIABLE[] = "REDLINE_TEST_DATA";

static struct {
    glob_t paths;
} data;

static int find_files(void **state)
{
    (void)state;
    char pattern[4096];
    snprintf(pattern, sizeof pattern, "%s/vocab/*.gguf", getenv(ROOT_VARIABLE));
    return glob(pattern, 0, NULL, &data.paths);
}

static int forget_files(void **state)
{
    (void)state;
    globfree(&data.paths);
    return 0;
}

static struct buf read_file(const char *path, const char *suffix)
{
    char name[4096];
    struct buf b = {0};
    snprintf(name, sizeof name, "%s%s", path, suffix);
    FILE *f = fopen(name, "rb");
    if (!f) return b;
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        assert_int_equal(buf_append(&b, chunk, n, NULL), 0);
    fclose(f);
    return b;
}

static struct vocab *open_vocab(const char *path, struct gguf **g)
{
    struct redline_err err;
    struct vocab *v;
    if (gguf_open(g, path, &err) || vocab_open(&v, *g, &err)) fail_msg("%s", err.message);
    return v;
}

/* Cuts the text before the next separator off *rest. */
static struct str take_text(struct str *rest)
{
    struct str sep = STR(SEPARATOR), text = *rest;
    for (size_t i = 0; i + sep.n <= rest->n; i++) {
        if (memcmp(rest->p + i, sep.p, sep.n)) continue;
        text.n = i;
        *rest = (struct str){rest->p + i + sep.n, rest->n - i - sep.n};
        return text;
    }
    rest->n = 0;
    return text;
}

/* The next line's numbers, as "1 2 3". */
static void take_line(char **rest, char *line, size_t n)
{
    char *end = strchr(*rest, '\n');
    assert_non_null(end);
    while (**rest == ' ') ++*rest;
    snprintf(line, n, "%.*s", (int)(end - *rest), *rest);
    for (size_t k = strlen(line); k && line[k - 1] == ' ';) line[--k] = '\0';
    *rest = end + 1;
}

static void gives_the_reference_ids(void **state)
{
    (void)state;
    int n_texts = 0;
    for (size_t i = 0; i < data.paths.gl_pathc; i++) {
        struct gguf *g;
        struct buf in = read_file(data.paths.gl_pathv[i], ".inp");
        struct buf out = read_file(data.paths.gl_pathv[i], ".out");
        if (in.n == 0 || out.n == 0) continue;
        struct vocab *v = open_vocab(data.paths.gl_pathv[i], &g);
        struct str rest = buf_str(&in);
        char *lines = out.p, line[8192];
        while (rest.n) {
            struct str text = take_text(&rest);
            take_line(&lines, line, sizeof line);
            assert_encodes(v, text, 0, line);
            n_texts++;
        }
        vocab_close(&v);
        gguf_close(&g);
        buf_free(&in);
        buf_free(&out);
    }
    print_message("%d texts in %zu vocabularies\n", n_texts, data.paths.gl_pathc);
    assert_true(n_texts >= 6 * 46);
}

/* WordPiece forgets case, accents and white space; the other kinds of this folder forget nothing.
 */
static bool keeps_everything(const struct vocab *v)
{
    return strcmp(vocab_kind(v), "bert") != 0;
}

static void assert_round_trip(const struct vocab *v, struct str text)
{
    struct ids ids = {0};
    struct buf back = {0};
    struct redline_err err;
    if (vocab_encode(v, text, 0, &ids, &err)) fail_msg("%s", err.message);
    if (vocab_decode(v, ids.p, ids.n, 0, &back, &err)) fail_msg("%s", err.message);
    if (keeps_everything(v)) {
        assert_int_equal(back.n, text.n);
        assert_memory_equal(buf_str(&back).p, text.p, text.n);
    }
    ids_free(&ids);
    buf_free(&back);
}

static void brings_back_any_bytes(void **state)
{
    (void)state;
    uint32_t seed = 12345;
    for (size_t i = 0; i < data.paths.gl_pathc; i++) {
        struct gguf *g;
        struct vocab *v = open_vocab(data.paths.gl_pathv[i], &g);
        for (int round = 0; round < 2000; round++) {
            char text[64];
            size_t n = next_random(&seed) % sizeof text;
            for (size_t k = 0; k < n; k++) {
                uint32_t r = next_random(&seed);
                char common = "\xf0\x9f\xa6\x99 \n'"[r >> 8 & 7];
                text[k] = r % 4 ? (char)(r >> 8) : common;
            }
            assert_round_trip(v, (struct str){text, n});
        }
        vocab_close(&v);
        gguf_close(&g);
    }
}

/* The same text whichever way its tokens arrive, and whole code points at every stop. */
static void streams_whole_code_points(void **state)
{
    (void)state;
    struct str text =
        STR("na\xc3\xafve \xf0\x9f\xa6\x99\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 "
            "\xe6\xb1\x89\xe5\xad\x97 x\n  \xe0\xa4\xb9\xe0\xa4\xbf end");
    for (size_t i = 0; i < data.paths.gl_pathc; i++) {
        struct gguf *g;
        struct vocab *v = open_vocab(data.paths.gl_pathv[i], &g);
        struct ids ids = {0};
        struct buf whole = {0};
        assert_int_equal(vocab_encode(v, text, 0, &ids, NULL), 0);
        assert_int_equal(vocab_decode(v, ids.p, ids.n, 0, &whole, NULL), 0);
        for (size_t cut = 0; cut <= ids.n; cut++) { /* two streams: a prompt and what follows it */
            struct buf out = {0};
            struct detok d;
            detok_init(&d, v, true);
            for (size_t k = 0; k < cut; k++) {
                assert_int_equal(detok_feed(&d, v, ids.p[k], 0, &out, NULL), 0);
                assert_true(out.n <= whole.n && memcmp(buf_str(&out).p, whole.p, out.n) == 0);
                assert_true(out.n == whole.n || (whole.p[out.n] & 0xc0) != 0x80);
            }
            for (size_t k = cut; k < ids.n; k++)
                assert_int_equal(detok_feed(&d, v, ids.p[k], 0, &out, NULL), 0);
            assert_int_equal(detok_flush(&d, &out, NULL), 0);
            assert_string_equal(buf_str(&out).p, buf_str(&whole).p);
            buf_free(&out);
        }
        ids_free(&ids);
        buf_free(&whole);
        vocab_close(&v);
        gguf_close(&g);
    }
}

/* Of this thread's work, whoever else uses the processor. */
static double worked_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Generous: a quadratic method would need an hour. */
static void takes_linear_time(void **state)
{
    (void)state;
    static const char *const units[] = {
        "a", "A", " ", "\n", "1", "!", "a ", "\xc3\xa9", "\xe4\xb8\xad", "\xff", "  1"};
    const size_t n = 1 << 20;
    char *text = malloc(n);
    assert_non_null(text);
    for (size_t i = 0; i < data.paths.gl_pathc; i++) {
        struct gguf *g;
        struct vocab *v = open_vocab(data.paths.gl_pathv[i], &g);
        for (size_t k = 0; k < COUNT_OF(units); k++) {
            size_t unit = strlen(units[k]);
            for (size_t at = 0; at < n; at++) text[at] = units[k][at % unit];
            double begin = worked_s();
            struct ids ids = {0};
            struct redline_err err;
            if (vocab_encode(v, (struct str){text, n - n % unit}, 0, &ids, &err))
                fail_msg("%s", err.message);
            double seconds = worked_s() - begin;
            if (seconds > 30)
                fail_msg("%s: 1 MiB of '%s' took %.1f s", vocab_kind(v), units[k], seconds);
            ids_free(&ids);
        }
        vocab_close(&v);
        gguf_close(&g);
    }
    free(text);
}

int main(void)
{
    if (!getenv(ROOT_VARIABLE)) {
        fprintf(stderr, "%s is not set: no vocabularies to test with\n", ROOT_VARIABLE);
        return in_ci() ? 1 : 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_reference_ids),
        cmocka_unit_test(brings_back_any_bytes),
        cmocka_unit_test(streams_whole_code_points),
        cmocka_unit_test(takes_linear_time),
    };
    return cmocka_run_group_tests(tests, find_files, forget_files);
}
