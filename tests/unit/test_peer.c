/* test_peer.c - measuring others: programs that speak llama-bench (this one, when it is called as one) and servers that
 * speak OpenAI's protocol (openai_server.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base.h"
#include "peer.h"
#include "proc.h"
#include "record.h"
#include "scratch.h"
#include "sse.h"

/* ---- a made-up llama-bench ------------------------------------------------------------------------------ */

static const char *flag_of(int argc, char **argv, const char *flag)
{
    for (int i = 2; i + 1 < argc; i++)
        if (strcmp(argv[i], flag) == 0) return argv[i + 1];
    return NULL;
}

/* `PROGRAM fake KIND flags`: prompts at 1000, generation at 50 tokens per second, the second sample half as fast. */
static int fake_bench(int argc, char **argv)
{
    const char *kind = argv[2], *p = flag_of(argc, argv, "-p"), *n = flag_of(argc, argv, "-n");
    const char *gp = flag_of(argc, argv, "-gp"), *d = flag_of(argc, argv, "-d");
    if (strcmp(argv[argc - 1], "--help") == 0) {
        if (strcmp(kind, "neither") != 0)
            printf("  -p, --n-prompt <n>\n  %s\n", strcmp(kind, "ik") == 0 ? "-gp <pp,tg>" : "-d, --n-depth <n>");
        return 0;
    }
    FILE *log = fopen(getenv("PEER_LOG"), "a");
    for (int i = 3; i < argc; i++) fprintf(log, "%s%c", argv[i], i + 1 < argc ? ' ' : '\n');
    fclose(log);
    if (strcmp(kind, "fails") == 0) {
        fprintf(stderr, "loading\nmain: error: no such model\ncleaning up\n");
        return 7;
    }
    if (strcmp(kind, "hangs") == 0) sleep(60);
    if (strcmp(kind, "talks") == 0) return puts("hello") < 0;
    int n_prompt = p ? atoi(p) : 0, n_gen = n ? atoi(n) : 0, n_depth = d ? atoi(d) : 0;
    char test[64] = "";
    if (gp) sscanf(gp, "%d,%d", &n_prompt, &n_gen);
    if (gp) snprintf(test, sizeof test, ", \"test\": \"tg%d@pp%d\"", n_gen, n_prompt);
    double ns = n_gen ? n_gen / 50.0 * 1e9 : n_prompt / 1000.0 * 1e9;
    if (strcmp(kind, "other") == 0) n_gen = n_prompt = 5;
    printf("warming up\n[\n  {\"build_commit\": \"abc\", \"build_number\": 42, \"cpu_info\": \"Made Up\", "
           "\"gpu_info\": \"\", \"model_filename\": \"m.gguf\", \"model_type\": \"llama F16\", \"model_size\": 5, "
           "\"model_n_params\": 6, \"n_batch\": 2048, \"n_ubatch\": 512, \"n_threads\": %s, \"type_k\": \"f16\", "
           "\"type_v\": \"f16\", \"n_gpu_layers\": 0, \"n_prompt\": %d, \"n_gen\": %d, \"n_depth\": %d%s, "
           "\"avg_ns\": %.0f, \"avg_ts\": 1, \"stddev_ns\": 0, \"samples_ns\": [%.0f, %.0f]}\n]\n",
           flag_of(argc, argv, "-t") ? flag_of(argc, argv, "-t") : "9", n_prompt, n_gen, n_depth, test, ns, ns, 2 * ns);
    return 0;
}

static json_t *task_of(int n_prompt, int n_gen, int n_depth)
{
    return json_pack("{s:{s:s, s:i}, s:n, s:{s:i, s:i}, s:{s:s, s:s, s:i, s:i, s:i, s:i}, s:s}", "experiment", "name",
                     "parity", "cell", 0, "model", "settings", "n_threads", 3, "n_ubatch", 256, "workload", "name", "w",
                     "kind", "generate", "n_prompt", n_prompt, "n_gen", n_gen, "n_depth", n_depth, "n_requests", 2,
                     "load", "warm");
}

/* Enough for any machine: whoever hangs is given less. */
enum { LONG_S = 300 };

/* Measures and frees the task. */
static int measure(json_t **record, const char *command, json_t *task, struct redline_err *err)
{
    *err = (struct redline_err){0};
    int status = peer_measure(record, "them", command, task, LONG_S, err);
    json_decref(task);
    assert_true(status == 0 || *record == NULL);
    return status;
}

/* The calls so far, as lines; begins a new log.  n: 2048 bytes. */
static const char *calls(char *out)
{
    FILE *log = fopen(SCRATCH("log"), "r");
    size_t n = log ? fread(out, 1, 2047, log) : 0;
    out[n] = '\0';
    if (log) fclose(log);
    unlink(SCRATCH("log"));
    return out;
}
#define CALLS calls((char[2048]){0})

static bool is_near(double x, double y)
{
    return fabs(x / y - 1) < 1e-6;
}

static void test_bench(void **state)
{
    struct redline_err err;
    json_t *record;
    (void)state;
    assert_int_equal(measure(&record, "/proc/self/exe fake lc", task_of(64, 32, 0), &err), 0);
    const char *log = CALLS;
    assert_non_null(strstr(log, "-p 64 -n 0 -t 3 -r 2 -ub 256 -m "));
    assert_non_null(strstr(log, "\n-p 0 -n 32 -d 64 -t 3 -r 2 -ub 256 -m "));
    assert_non_null(strstr(log, "demo.gguf -o json\n"));
    assert_int_equal(record_check(record, &err), 0);
    assert_true(is_near(record_metric(record, "prefill_ts"), 1000 * 2 / 3.0)); /* all tokens by all time */
    assert_true(is_near(record_metric(record, "decode_ts"), 50 * 2 / 3.0));
    assert_true(isnan(record_metric(record, "ttft_ms")));
    assert_string_equal(record_text(record, "program.contestant"), "them");
    assert_string_equal(record_text(record, "program.command"), "/proc/self/exe fake lc");
    assert_string_equal(record_text(record, "program.commit"), "abc");
    assert_string_equal(record_text(record, "model.file"), "demo.gguf");
    assert_memory_equal(record_text(record, "model.digest"), "sha256:", 7);
    assert_string_equal(record_text(record, "settings.effective.device"), "cpu");
    assert_true(record_number(record, "settings.effective.n_threads") == 3);
    assert_true(json_is_null(record_at(record, "settings.effective.kernels")));
    assert_non_null(record_reason(record, "settings.effective.kernels"));
    assert_string_equal(record_reason(record, "requests"), "llama-bench tells sums alone, no times of requests");
    assert_string_equal(record_text(record, "experiment.name"), "parity");
    json_decref(record);
}

/* A flag that the command holds is not passed again; ik_llama.cpp's word for a depth; one part alone. */
static void test_flags(void **state)
{
    struct redline_err err;
    json_t *record;
    (void)state;
    assert_int_equal(measure(&record, "/proc/self/exe fake lc --threads 2 -ub=64", task_of(8, 1, 16), &err), 0);
    assert_memory_equal(CALLS, "--threads 2 -ub=64 -p 8 -n 0 -d 16 -r 2 -m ", 43);
    assert_true(isnan(record_metric(record, "decode_ts")));
    json_decref(record);
    assert_int_equal(measure(&record, "'/proc/self/exe' fake \"ik\" -rtr 1", task_of(8, 4, 0), &err), 0);
    const char *log = CALLS;
    assert_memory_equal(log, "-rtr 1 -p 8 -n 0 -t 3 ", 22);
    assert_non_null(strstr(log, "\n-rtr 1 -p 0 -n 0 -gp 8,4 -t 3 "));
    assert_true(is_near(record_metric(record, "decode_ts"), 50 * 2 / 3.0));
    json_decref(record);
    assert_int_equal(measure(&record, "/proc/self/exe fake neither", task_of(1, 4, 0), &err), 0);
    assert_memory_equal(CALLS, "-p 0 -n 4 -t 3 ", 15);
    json_decref(record);
}

static void test_bench_refusals(void **state)
{
    static const struct {
        const char *command, *sentence;
        int n_depth;
    } table[] = {
        {"/proc/self/exe fake fails", "them stopped with exit code 7: main: error: no such model", 0},
        {"/proc/self/exe fake talks", "them printed nothing that llama-bench would", 0},
        {"/proc/self/exe fake other", "them measured another test than the one it was asked for", 0},
        {"/proc/self/exe fake neither", "them knows neither -d nor -gp, so it cannot generate behind a prompt", 0},
        {"/proc/self/exe fake ik", "them has no -d, so it cannot read a prompt behind 9 tokens", 9},
        {"/no/such/bench", "'/no/such/bench' cannot be started", 0},
        {"", "the command of them is empty", 0},
        {"a 'b", "quotation mark", 0},
    };
    struct redline_err err;
    json_t *record, *task;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        assert_true(measure(&record, table[i].command, task_of(8, 4, table[i].n_depth), &err) < 0);
        assert_non_null(strstr(err.message, table[i].sentence));
    }
    static const char *const members[][3] = {{"kind", "embed", "a workload of kind 'embed'"},
                                             {"document", "a.txt", "reads no documents"}};
    for (size_t i = 0; i < COUNT_OF(members); i++) {
        task = task_of(8, 0, 0);
        json_object_set_new(json_object_get(task, "workload"), members[i][0], json_string(members[i][1]));
        assert_int_equal(measure(&record, "/proc/self/exe fake lc", task, &err), REDLINE_SUPPORT);
        assert_non_null(strstr(err.message, members[i][2]));
    }
    task = task_of(8, 4, 0);
    json_object_set_new(json_object_get(task, "workload"), "concurrency", json_integer(3));
    assert_int_equal(measure(&record, "/proc/self/exe fake lc", task, &err), REDLINE_SUPPORT);
    assert_non_null(strstr(err.message, "one request at a time, not 3"));
    assert_int_equal(peer_measure(&record, "them", "/proc/self/exe fake lc", json_null(), LONG_S, &err), REDLINE_ARG);
    task = task_of(8, 1, 0);
    assert_int_equal(peer_measure(&record, "them", "/proc/self/exe fake hangs", task, 0.3, &err), REDLINE_SUPPORT);
    assert_string_equal(err.message, "them took longer than 0.3 s");
    json_decref(task);
}

/* ---- event streams ------------------------------------------------------------------------------------------ */

static int join(void *user, struct str data, struct redline_err *err)
{
    struct buf *out = user;
    if (str_eq(data, STR("stop"))) return err_set(err, REDLINE_CANCEL, "stopped");
    TRY(buf_append_str(out, data, err));
    return buf_append(out, "|", 1, err);
}

static void test_sse(void **state)
{
    static const struct {
        const char *stream, *events;
    } table[] = {
        {"data: a\n\ndata:b\n\n", "a|b|"},
        {"data: a\r\n\r\ndata: b\r\rdata: c\n\n", "a|b|c|"},
        {": comment\nevent: x\nid: 1\ndata: {\"a\":\ndata: 1}\n\n", "{\"a\":\n1}|"},
        {"data\n\ndata:  two\n\n", "| two|"},
        {"\n\n\nevent: nothing\n\n", ""},
        {"data: no end", ""},
        {"dataless: a\n\n", ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++)
        for (size_t piece = 1; piece <= strlen(table[i].stream); piece++) { /* however it is cut */
            struct redline_err err;
            struct sse s = {0};
            struct buf out = {0};
            struct str rest = str_of(table[i].stream);
            while (rest.n) {
                struct str part = {rest.p, MIN(rest.n, piece)};
                assert_int_equal(sse_feed(&s, part, join, &out, &err), 0);
                rest = (struct str){rest.p + part.n, rest.n - part.n};
            }
            assert_string_equal(out.p ? out.p : "", table[i].events);
            sse_free(&s);
            buf_free(&out);
        }
    struct redline_err err;
    struct sse s = {0};
    struct buf out = {0};
    assert_int_equal(sse_feed(&s, STR("data: stop\n\ndata: a\n\n"), join, &out, &err), REDLINE_CANCEL);
    sse_free(&s);
    static char large[SSE_MOST_BYTES + 1];
    memset(large, 'x', sizeof large);
    assert_int_equal(sse_feed(&s, (struct str){large, sizeof large}, join, &out, &err), REDLINE_FORMAT);
    sse_free(&s);
    buf_free(&out);
}

/* ---- servers -------------------------------------------------------------------------------------------------- */

static struct proc *server;
static int port;

static int start_server(void **state)
{
    const char *const argv[] = {"python3", SOURCE_DIR "/tests/unit/openai_server.py", scratch_folder, NULL};
    struct proc_params params = {.argv = argv};
    struct redline_err err;
    (void)state;
    unlink(SCRATCH("port"));
    port = 0;
    if (proc_start(&server, &params, &err)) return -1;
    for (int i = 0; i < LONG_S * 20 && port == 0 && proc_alive(server); i++) {
        FILE *f = fopen(SCRATCH("port"), "r");
        if (f && fscanf(f, "%d", &port) != 1) port = 0;
        if (f) fclose(f);
        usleep(50000);
    }
    return port ? 0 : -1;
}

static int stop_server(void **state)
{
    (void)state;
    proc_end(&server);
    return 0;
}

static int measure_server(json_t **record, const char *kind, json_t *task, struct redline_err *err)
{
    char command[96];
    snprintf(command, sizeof command, "http://127.0.0.1:%d %s", port, kind);
    unlink(SCRATCH("asked"));
    return measure(record, command, task, err);
}

/* What the server was asked, an array. */
static json_t *asked(void)
{
    char line[65536];
    json_t *all = json_array();
    FILE *f = fopen(SCRATCH("asked"), "r");
    while (f && fgets(line, sizeof line, f)) json_array_append_new(all, json_loads(line, 0, NULL));
    if (f) fclose(f);
    return all;
}

static int asked_number(const json_t *all, size_t i, const char *name)
{
    return (int)json_integer_value(json_object_get(json_array_get(all, i), name));
}

static double time_at(const json_t *record, size_t request, const char *what)
{
    char path[64];
    snprintf(path, sizeof path, "requests.%zu.%s", request, what);
    return record_number(record, path);
}

/* The server sleeps 50 ms before the first token and 10 ms before each other, and never less: no token can have come
 * earlier, however late it was seen. */
static void check_times(const json_t *record)
{
    double gaps_ms = 0;
    for (size_t i = 0; i < 2; i++) {
        const json_t *all = json_object_get(json_array_get(record_at(record, "requests"), i), "consumer_ns");
        double submitted = time_at(record, i, "submitted_ns");
        for (size_t t = 0; t < 12; t++)
            assert_true(json_number_value(json_array_get(all, t)) - submitted >= 50e6 + 10e6 * (double)t);
        gaps_ms += (json_number_value(json_array_get(all, 11)) - json_number_value(json_array_get(all, 0))) / 1e6;
    }
    assert_true(record_metric(record, "ttft_consumer_ms") >= 50);
    assert_true(record_metric(record, "ttft_consumer_ms") < record_metric(record, "e2e_ms"));
    assert_true(is_near(record_metric(record, "itl_consumer_mean_ms"), gaps_ms / 22));
    assert_true(record_metric(record, "e2e_ms") >= 160);
}

static void test_server(void **state)
{
    struct redline_err err;
    json_t *record, *all;
    (void)state;
    assert_int_equal(measure_server(&record, "good", task_of(101, 12, 0), &err), 0);
    assert_int_equal(record_check(record, &err), 0);
    all = asked();
    assert_int_equal(json_array_size(all), 4); /* two to learn how words are counted, two that count */
    assert_int_equal(asked_number(all, 2, "n_words"), 50); /* of which it makes 101 tokens */
    assert_int_equal(asked_number(all, 2, "n_gen"), 12);
    assert_string_not_equal(json_string_value(json_object_get(json_array_get(all, 2), "prompt")),
                            json_string_value(json_object_get(json_array_get(all, 3), "prompt")));
    assert_true(record_number(record, "requests.1.n_prompt") == 101);
    assert_true(record_number(record, "requests.0.n_generated") == 12);
    assert_true(record_number(record, "requests.0.n_words") == 12);
    assert_int_equal(json_array_size(record_at(record, "requests.0.consumer_ns")), 12);
    check_times(record);
    assert_true(is_near(record_metric(record, "output_ts"), 24e3 / record_metric(record, "wall_ms")));
    assert_true(isnan(record_metric(record, "decode_ts")));
    assert_string_equal(record_reason(record, "derived.ttft_ms.value"), "a server shows nothing of its engine");
    assert_string_equal(record_reason(record, "model.digest"), "the server does not say; it calls it 'good'");
    json_decref(record);
    json_decref(all);
}

/* How far apart the first and the last of four were that are due ten a second. */
static double measure_even(void)
{
    struct redline_err err;
    json_t *record, *task = task_of(9, 1, 0), *w = json_object_get(task, "workload");
    json_object_set_new(w, "n_requests", json_integer(4));
    json_object_set_new(w, "concurrency", json_integer(4));
    json_object_set_new(w, "arrival", json_string("even"));
    json_object_set_new(w, "rate", json_real(10));
    assert_int_equal(measure_server(&record, "good", task, &err), 0);
    double apart = time_at(record, 3, "submitted_ns") - time_at(record, 0, "submitted_ns");
    json_decref(record);
    return apart;
}

static void test_together(void **state)
{
    struct redline_err err;
    json_t *record, *task = task_of(9, 20, 0), *w = json_object_get(task, "workload"), *all;
    int most = 0;
    (void)state;
    json_object_set_new(w, "n_requests", json_integer(6));
    json_object_set_new(w, "concurrency", json_integer(3));
    assert_int_equal(measure_server(&record, "three", task, &err), 0);
    all = asked();
    for (size_t i = 0; i < json_array_size(all); i++) most = MAX(most, asked_number(all, i, "running"));
    assert_int_equal(most, 3);
    assert_int_equal(json_array_size(record_at(record, "requests")), 6);
    json_decref(record);
    json_decref(all);

    /* None is early; where the machine stood still before the first, it was late, and they are nearer to each other. */
    double apart = 0;
    for (int i = 0; i < 20 && apart < 0.29e9; i++) apart = measure_even();
    assert_true(apart >= 0.29e9 && apart < 25e9); /* nor one in ten seconds */
}

/* What a server leaves out is said, and nothing is made up for it. */
static void test_odd_servers(void **state)
{
    struct redline_err err;
    json_t *record;
    (void)state;
    assert_int_equal(measure_server(&record, "pairs", task_of(9, 8, 0), &err), 0);
    assert_true(json_is_null(record_at(record, "requests.0.consumer_ns")));
    assert_string_equal(record_reason(record, "requests.0.consumer_ns"), "the server sent 4 pieces for 8 tokens");
    assert_true(record_metric(record, "ttft_consumer_ms") >= 50);
    assert_true(isnan(record_metric(record, "itl_consumer_mean_ms")));
    json_decref(record);
    assert_int_equal(measure_server(&record, "silent", task_of(9, 8, 0), &err), 0);
    assert_true(json_is_null(record_at(record, "requests.0.n_prompt")));
    assert_true(record_number(record, "requests.0.n_generated") == 8);
    json_decref(record);

    static const char *const bad[][2] = {{"refuse", "them answers 400: not today"},
                                         {"broken", "them: out of paper"},
                                         {"plain", "them answers without a stream of text"}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(measure_server(&record, bad[i][0], task_of(9, 8, 0), &err), REDLINE_SUPPORT);
        assert_string_equal(err.message, bad[i][1]);
    }
    assert_int_equal(measure_server(&record, "good", task_of(9, 8, 7), &err), REDLINE_SUPPORT);
    assert_non_null(strstr(err.message, "cannot be asked for 7 tokens in its cache"));
    assert_int_equal(measure(&record, "http://127.0.0.1:1/v1", task_of(9, 8, 0), &err), REDLINE_SUPPORT);
    assert_non_null(strstr(err.message, "them: http://127.0.0.1:1/v1/models: "));
}

int main(int argc, char **argv)
{
    if (argc > 3 && strcmp(argv[1], "fake") == 0) return fake_bench(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bench),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_bench_refusals),
        cmocka_unit_test(test_sse),
        cmocka_unit_test_setup_teardown(test_server, start_server, stop_server),
        cmocka_unit_test_setup_teardown(test_together, start_server, stop_server),
        cmocka_unit_test_setup_teardown(test_odd_servers, start_server, stop_server),
    };
    if (scratch_make()) return 1;
    setenv("PEER_LOG", SCRATCH("log"), 1);
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    scratch_remove();
    return n_failed;
}
