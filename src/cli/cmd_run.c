/* cmd_run.c - redline run: a prompt, its continuation, and one line of what was measured. */
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "cmd.h"
#include "file.h"
#include "placement.h"
#include "settings.h"

static const char default_prompt[] = "Once upon a time";

struct run {
    /* options */
    const char *model_path, *prompt, *prompt_file, *type_k, *type_v;
    struct placement where;
    int n_predict, n_threads, n_ctx, n_ubatch;
    bool ignore_end, no_prompt, quiet, json, exact;
    struct redline_sampling sampling;

    /* in progress */
    struct redline_model *model;
    struct redline_engine *engine;
    struct buf text;      /* the prompt */
    struct buf answer;    /* for --json */
    struct cmd_progress progress;
    struct redline_event done;
    int write_status;
    struct redline_err write_err;
};

static struct redline_job *volatile running;

static void on_interrupt(int signal_number)
{
    struct redline_job *job = running;
    if (!job) _exit(128 + signal_number);
    redline_cancel(job);
}

static void keep_text(struct run *r, const char *text, size_t n)
{
    if (r->write_status) return;
    r->write_status = r->json ? buf_append(&r->answer, text, n, &r->write_err)
                              : cmd_write(text, n, &r->write_err);
    if (!r->write_status && !r->json) r->write_status = cmd_flush(&r->write_err);
}

/* Follows the job to its end. */
static int follow(struct run *r, struct redline_job *job, struct redline_err *err)
{
    do {
        TRY(redline_next(job, &r->done, err));
        if (r->done.kind == REDLINE_EVENT_PREFILL && r->done.prefill.n_done < r->done.prefill.n_total)
            cmd_progress_show(&r->progress, "reading the prompt",
                              (double)r->done.prefill.n_done / (double)r->done.prefill.n_total);
        else
            cmd_progress_clear(&r->progress);
        if (r->done.kind == REDLINE_EVENT_TOKEN) keep_text(r, r->done.token.text, r->done.token.n_bytes);
        if (r->write_status) redline_cancel(job);
    } while (r->done.kind != REDLINE_EVENT_DONE);
    return 0;
}

/* What is piped in, less the newline at its end; nothing of a terminal or /dev/null.  A pipe may be one that whoever
 * started the program has open without a thought, and that never ends: then it is not waited for longer. */
static int read_piped(struct run *r, struct redline_err *err)
{
    enum { PATIENCE_MS = 3000 };
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    struct stat st;
    if (fstat(STDIN_FILENO, &st) != 0) return 0;
    bool is_pipe = S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode);
    if (!is_pipe && !S_ISREG(st.st_mode)) return 0;
    if (is_pipe && poll(&in, 1, PATIENCE_MS) == 0) {
        fprintf(stderr, "redline: warning: nothing came from the pipe at standard input in %d s, the prompt is '%s'; "
                "-f - waits for one\n", PATIENCE_MS / 1000, default_prompt);
        return 0;
    }
    TRY(file_read(&r->text, "-", err));
    if (r->text.n > 0 && r->text.p[r->text.n - 1] == '\n') r->text.p[--r->text.n] = '\0';
    return 0;
}

static int read_prompt(struct run *r, struct redline_err *err)
{
    if (r->prompt && r->prompt_file)
        return err_set(err, REDLINE_ARG, "-p and -f are both given; one prompt is enough");
    if (r->prompt_file) return file_read(&r->text, r->prompt_file, err);
    if (r->prompt) return buf_append_str(&r->text, str_of(r->prompt), err);
    TRY(read_piped(r, err));
    return r->text.n > 0 ? 0 : buf_append_str(&r->text, str_of(default_prompt), err);
}

/* What the object at the end cannot hold is refused before anything is generated. */
static int check_json(const struct run *r, struct redline_err *err)
{
    json_t *text = r->text.n ? json_stringn(r->text.p, r->text.n) : json_null();
    bool holds = text;
    json_decref(text);
    return holds ? 0 : err_set(err, REDLINE_ARG, "the prompt is not UTF-8, as --json has to be");
}

/* Without -c, the context is what this request needs. */
static int choose_context(struct run *r, struct redline_err *err)
{
    int32_t *ids;
    size_t n;
    struct redline_engine_params probe = {.n_ctx = 1, .n_gpu_layers = "0"}; /* nothing of a GPU */
    struct redline_plan plan;
    TRY(redline_model_can(r->model, REDLINE_GENERATE, err)); /* before anything else */
    TRY(redline_plan(r->model, &probe, &plan, err));
    TRY(redline_tokenize(r->model, r->text.p, r->text.n, REDLINE_ADD_SPECIAL | REDLINE_PARSE_SPECIAL, &ids,
                         &n, err));
    redline_free(ids);
    if (n == 0) return err_set(err, REDLINE_ARG, "the prompt is empty");
    if (r->n_ctx) return 0;
    size_t need = r->n_predict < 0 ? MAX((size_t)plan.n_ctx_train, n + 1) : n + (size_t)r->n_predict;
    size_t most = (size_t)settings_table[SETTING_N_CTX].most;
    if (need > most)
        return err_set(err, REDLINE_ARG,
                       "%zu tokens of the prompt and -n %d need a context of %zu tokens; the limit is %zu", n,
                       r->n_predict, need, most);
    r->n_ctx = (int)need;
    return 0;
}

struct measured {
    double load_ms, prefill_rate, decode_rate; /* tokens per second; NAN: nothing was measured */
    double bandwidth, share;  /* bytes per second; of it used by decoding; NAN: not measured */
    char why[CMD_WHY];        /* the bandwidth could not be */
    struct redline_engine_facts facts;
};

static int measure(struct run *r, struct measured *m, struct redline_err *err)
{
    redline_engine_facts(r->engine, &m->facts); /* the peak, before the probe takes memory */
    m->load_ms = (double)m->facts.load_ns / 1e6;
    m->prefill_rate = (double)r->done.done.n_prompt * 1e9 / (double)r->done.done.prefill_ns;
    m->decode_rate = r->done.done.n_decoded
                         ? (double)r->done.done.n_decoded * 1e9 / (double)r->done.done.decode_ns
                         : NAN;
    TRY(cmd_bandwidth(r->engine, &m->bandwidth, m->why, err));
    m->share = cmd_decode_share(&r->done, &m->facts, m->bandwidth);
    return 0;
}

static void print_measured(const struct run *r, const struct measured *m)
{
    char peak[32], decode[160], note[80], fewer[64] = "", gpus[200];
    int n_used = m->facts.n_threads_used;
    size_t n_prompt = r->done.done.n_prompt, n_generated = r->done.done.n_generated;
    if (n_used < m->facts.plan.n_threads) /* nothing falls back silently */
        snprintf(fewer, sizeof fewer, " (%d in use, others are busy)", n_used);
    str_bytes_text(m->facts.peak_rss_bytes, peak, sizeof peak);
    cmd_decode_text(&r->done, &m->facts, m->bandwidth, decode, sizeof decode);
    cmd_decode_note(&r->done, note, sizeof note);
    placement_text(&m->facts.plan, gpus, sizeof gpus);
    fprintf(stderr,
            "load %.0f ms | prefill %.1f tok/s (%zu token%s%s) | %s (%zu token%s%s, stop: %s) | peak %s | %s%s%s, "
            "%d thread%s%s, %s kernels for %s\n",
            m->load_ms, m->prefill_rate, n_prompt, cmd_plural(n_prompt), cmd_prefill_note(&r->done), decode,
            n_generated, cmd_plural(n_generated), note, cmd_stop_text(r->done.done.stop), peak, gpus,
            *gpus ? " | " : "", m->facts.cpu, m->facts.plan.n_threads, cmd_plural((size_t)m->facts.plan.n_threads),
            fewer, m->facts.kernel, m->facts.kernel_type);
    if (*m->why) fprintf(stderr, "redline: warning: %s\n", m->why);
}

/* Where it ran, as each device counted it. */
static int print_placement(const struct run *r, const struct measured *m, struct redline_err *err)
{
    struct buf text = {0};
    int status = placement_print(r->engine, &m->facts.plan, &text, err);
    if (!status && text.n > 0) fputs(text.p, stderr);
    buf_free(&text);
    return status;
}

static json_t *devices_json(const struct run *r, const struct measured *m)
{
    const struct redline_plan *p = &m->facts.plan;
    json_t *all = json_array();
    for (int i = 0; i < p->n_devices; i++) {
        const struct redline_plan_device *d = &p->devices[i];
        struct redline_count sum = placement_sum(r->engine, p, i);
        struct redline_device_use use;
        if (d->n_blocks == 0) continue;
        redline_engine_device(r->engine, i, &use);
        json_array_append_new(
            all, json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I}", "device", d->label, "name", d->name, "n_blocks",
                           d->n_blocks, "planned_bytes", (json_int_t)use.planned_bytes, "taken_bytes",
                           (json_int_t)use.used_bytes, "n_ops", (json_int_t)sum.n_ops, "weight_bytes",
                           (json_int_t)sum.weight_bytes, "copied_bytes", (json_int_t)sum.copied_bytes));
    }
    return all;
}

static int print_json(const struct run *r, const struct measured *m, struct redline_err *err)
{
    json_t *root = json_pack(
        "{s:s%, s:s%, s:s, s:I, s:I, s:f, s:f, s:o, s:o, s:o, s:I, s:I, s:s, s:s, s:i, s:i, s:i, s:s, s:s, s:b, s:I, "
        "s:i, s:o, s:s}",
        "prompt", r->text.p, r->text.n, "text", r->answer.p ? r->answer.p : "", r->answer.n, "stop",
        cmd_stop_text(r->done.done.stop), "n_prompt", (json_int_t)r->done.done.n_prompt, "n_generated",
        (json_int_t)r->done.done.n_generated, "load_ms", m->load_ms, "prefill_tokens_per_s",
        m->prefill_rate, "decode_tokens_per_s",
        isnan(m->decode_rate) ? json_null() : json_real(m->decode_rate), "bandwidth_bytes_per_s",
        isnan(m->bandwidth) ? json_null() : json_real(m->bandwidth), "decode_share_of_bandwidth",
        isnan(m->share) ? json_null() : json_real(m->share),
        "peak_rss_bytes", (json_int_t)m->facts.peak_rss_bytes, "kv_touched_bytes",
        (json_int_t)m->facts.kv_touched_bytes, "device", m->facts.plan.device, "cpu", m->facts.cpu,
        "n_threads", m->facts.plan.n_threads, "n_threads_used", m->facts.n_threads_used, "n_ctx",
        m->facts.plan.n_ctx, "kernel", m->facts.kernel,
        "kernel_type", m->facts.kernel_type, "prefill_packed", r->done.done.prefill_packed, "n_decoded_packed",
        (json_int_t)r->done.done.n_decoded_packed, "n_gpu_layers", m->facts.plan.n_gpu_layers, "devices",
        devices_json(r, m), "bandwidth_missing", m->why);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    int status = text ? cmd_write(text, strlen(text), err)
                      : err_set(err, REDLINE_FORMAT, "the answer is not UTF-8, as JSON has to be");
    if (!status) status = cmd_write("\n", 1, err);
    free(text);
    json_decref(root);
    return status;
}

static int generate(struct run *r, struct redline_err *err)
{
    struct redline_engine_params params = {.n_threads = r->n_threads,
                                           .n_ctx = r->n_ctx,
                                           .n_ubatch = r->n_ubatch,
                                           .type_k = r->type_k,
                                           .type_v = r->type_v,
                                           .exact = r->exact,
                                           .listener = cmd_on_load,
                                           .user = &r->progress};
    struct redline_request request = {.text = r->text.p,
                                      .n_bytes = r->text.n,
                                      .n_predict = r->n_predict,
                                      .ignore_end = r->ignore_end,
                                      .sampling = r->sampling};
    struct redline_job *job;
    TRY(placement_open(&r->engine, r->model, &params, &r->where, err));
    TRY(redline_submit(&job, r->engine, &request, err));
    running = job;
    if (!r->no_prompt && !r->json) keep_text(r, r->text.p, r->text.n); /* of a request that is not refused */
    int status = follow(r, job, err);
    running = NULL;
    redline_job_free(&job);
    cmd_progress_clear(&r->progress);
    if (status) return status;
    if (!r->json) keep_text(r, "\n", 1);
    if (r->write_status) {
        if (err) *err = r->write_err;
        return r->write_status;
    }
    struct measured m;
    if (r->quiet && !r->json) return 0;
    TRY(measure(r, &m, err));
    if (!r->quiet) print_measured(r, &m);
    if (!r->quiet) TRY(print_placement(r, &m, err));
    return r->json ? print_json(r, &m, err) : 0;
}

static int run_all(struct run *r, const char *const *words, int n_words, struct redline_err *err)
{
    const char *path;
    TRY(cmd_model_path(&path, r->model_path, words, n_words, NULL, err));
    TRY(placement_check(&r->where, err));
    TRY(read_prompt(r, err));
    if (r->json) TRY(check_json(r, err));
    TRY(redline_model_open(&r->model, path, err));
    TRY(choose_context(r, err));
    TRY(generate(r, err));
    return cmd_flush(err);
}

int cmd_run(int argc, char **argv)
{
    struct run r = {0};
    struct redline_sampling *s = &r.sampling;
    struct settings set = {0};
    const struct opt options[] = {
        settings_opt(&set, SETTING_MODEL, &r.model_path),
        {"-p, --prompt", "TEXT", OPT_STRING, &r.prompt, 0, 0,
         "raw text to continue (what is piped in, or: Once upon a time)"},
        {"-f, --file", "FILE", OPT_STRING, &r.prompt_file, 0, 0, "read the prompt from a file, - for standard input"},
        settings_opt(&set, SETTING_N_PREDICT, &r.n_predict),
        SETTINGS_ENGINE(&set, &r),
        settings_opt(&set, SETTING_EXACT, &r.exact),
        SETTINGS_PLACEMENT(&set, &r.where),
        SETTINGS_SAMPLING(&set, s),
        {"--ignore-eos", NULL, OPT_FLAG, &r.ignore_end, 0, 0, "go on after the model's end token"},
        {"--no-display-prompt", NULL, OPT_FLAG, &r.no_prompt, 0, 0, "print the continuation alone"},
        {"--json", NULL, OPT_FLAG, &r.json, 0, 0, "one JSON object on standard output at the end"},
        {"-q, --quiet", NULL, OPT_FLAG, &r.quiet, 0, 0, "no measured line on standard error"},
    };
    const struct opt_command command = {
        "redline run [MODEL] [options]",
        "Continues a prompt and streams the text to standard output: prompt, continuation, one newline.\n"
        "Without MODEL, with the demo model.\n"
        "Ends with one line on standard error: time to load, prompt and generated tokens per second, the\n"
        "share of this machine's measured memory bandwidth that decoding used, peak memory, where it ran.",
        options, COUNT_OF(options),
        "Without -p and -f, a pipe or file at standard input is the prompt, less the newline at its end; a pipe\n"
        "that says nothing for three seconds is left alone, and </dev/null keeps it from being read.\n"
        "Special tokens written in the prompt are parsed.  Ctrl-C ends the text and still prints the line.\n"
        "Example: redline run -p '12 + 7 =' -n 8 --temp 0"};
    const char *words[1];
    struct redline_err err = {0};
    int n_words, exit_code;
    if (!settings_parse(&set, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    r.progress.wanted = isatty(STDERR_FILENO) && !r.quiet;
    cmd_catch(SIGINT, on_interrupt);
    int status = run_all(&r, words, n_words, &err);
    cmd_progress_clear(&r.progress);
    redline_engine_close(&r.engine);
    redline_model_close(&r.model);
    buf_free(&r.text);
    buf_free(&r.answer);
    settings_free(&set);
    return status ? cmd_fail(&err) : EXIT_FINE;
}
