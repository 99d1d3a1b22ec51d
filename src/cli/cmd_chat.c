/* cmd_chat.c - redline chat: a conversation, answer by answer.
 *
 * Answers go to standard output, all else (prompts, hints, measurements) to standard error, so that a pipe
 * gets the answers alone.  Every answer is asked for with the whole conversation; the session remembers
 * what of it was computed. */
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base.h"
#include "cmd.h"
#include "lines.h"
#include "mem.h"
#include "placement.h"
#include "settings.h"

enum { DEFAULT_CONTEXT = 4096 };

struct chat {
    /* options */
    const char *model_path, *system, *template_name, *type_k, *type_v;
    struct placement where;
    int n_predict, n_threads, n_ctx, n_ubatch;
    bool quiet, exact;
    struct redline_sampling sampling;

    /* in progress */
    struct redline_model *model;
    struct redline_engine *engine;
    struct redline_session *session;
    struct lines *lines;
    struct redline_message *messages; /* [n_messages], their texts owned */
    size_t n_messages, capacity;
    uint64_t n_answers;               /* another seed for each */
    double bandwidth;                 /* 0: not measured yet; NAN: cannot be */
    struct cmd_progress progress;
    bool leaves, unanswered;
};

/* ---- Ctrl-C ------------------------------------------------------------------------------------ */

static struct redline_job *volatile running;
static volatile sig_atomic_t interrupted, stays;
static pthread_t main_thread;

/* On the main thread, so that no job is freed meanwhile: the others hand the signal on. */
static void on_interrupt(int signal_number)
{
    if (!pthread_equal(pthread_self(), main_thread)) {
        pthread_kill(main_thread, signal_number);
        return;
    }
    struct redline_job *job = running;
    interrupted = 1;
    if (job)
        redline_cancel(job);
    else if (!stays)
        _exit(128 + signal_number);
}

static void catch_interrupt(void)
{
    main_thread = pthread_self();
    cmd_catch(SIGINT, on_interrupt);
}

/* ---- the conversation -------------------------------------------------------------------------- */

static bool has_system(const struct chat *c)
{
    return c->n_messages > 0 && strcmp(c->messages[0].role, "system") == 0;
}

static int insert(struct chat *c, size_t at, const char *role, const char *text, struct redline_err *err)
{
    if (c->n_messages == c->capacity) {
        size_t capacity = c->capacity ? 2 * c->capacity : 16;
        struct redline_message *messages = mem_resize(c->messages, capacity, sizeof *messages);
        if (!messages) return err_memory(err, capacity * sizeof *messages, "the conversation");
        c->messages = messages;
        c->capacity = capacity;
    }
    char *copy = mem_copy(text, strlen(text));
    if (!copy) return err_memory(err, strlen(text), "a message");
    memmove(c->messages + at + 1, c->messages + at, (c->n_messages - at) * sizeof *c->messages);
    c->messages[at] = (struct redline_message){role, copy};
    c->n_messages++;
    return 0;
}

static int add(struct chat *c, const char *role, const char *text, struct redline_err *err)
{
    return insert(c, c->n_messages, role, text, err);
}

static void drop(struct chat *c, size_t at)
{
    mem_free((char *)(uintptr_t)c->messages[at].text);
    c->n_messages--;
    memmove(c->messages + at, c->messages + at + 1, (c->n_messages - at) * sizeof *c->messages);
}

static void drop_from(struct chat *c, size_t first)
{
    while (c->n_messages > first) drop(c, c->n_messages - 1);
}

/* ---- an answer --------------------------------------------------------------------------------- */

/* Follows the job to its end; a failure to write ends it, too. */
static int follow(struct chat *c, struct redline_job *job, struct redline_event *event, struct redline_err *err)
{
    struct redline_err write_err;
    int write_status = 0;
    do {
        TRY(redline_next(job, event, err));
        if (event->kind == REDLINE_EVENT_PREFILL && event->prefill.n_done < event->prefill.n_total)
            cmd_progress_show(&c->progress, "reading the conversation",
                              (double)event->prefill.n_done / (double)event->prefill.n_total);
        else
            cmd_progress_clear(&c->progress);
        if (event->kind != REDLINE_EVENT_TOKEN || write_status) continue;
        write_status = cmd_write(event->token.text, event->token.n_bytes, &write_err);
        if (!write_status) write_status = cmd_flush(&write_err);
        if (write_status) redline_cancel(job);
    } while (event->kind != REDLINE_EVENT_DONE);
    if (write_status) *err = write_err;
    return write_status;
}

/* How fast it was, beside what this machine's memory can do. */
static void print_measured(struct chat *c, const struct redline_event *done)
{
    struct redline_engine_facts facts;
    struct redline_err err;
    char prefill[64] = "", decode[160], note[80], why[CMD_WHY] = "";
    size_t n_read = done->done.n_prompt - done->done.n_cached;
    if (c->quiet) return;
    redline_engine_facts(c->engine, &facts);
    if (c->bandwidth == 0 && cmd_bandwidth(c->engine, &c->bandwidth, why, &err)) {
        fprintf(stderr, "redline: warning: nothing is measured: %s\n", err.message);
        c->quiet = true;
        return;
    }
    if (done->done.prefill_ns)
        snprintf(prefill, sizeof prefill, "%.1f tok/s ", (double)n_read * 1e9 / (double)done->done.prefill_ns);
    if (*why) fprintf(stderr, "redline: warning: %s\n", why);
    cmd_decode_text(done, &facts, c->bandwidth, decode, sizeof decode);
    cmd_decode_note(done, note, sizeof note);
    fprintf(stderr, "prefill %s(%zu token%s, %zu cached%s) | %s (%zu token%s%s, stop: %s)\n", prefill, n_read,
            cmd_plural(n_read), done->done.n_cached, cmd_prefill_note(done), decode, done->done.n_generated,
            cmd_plural(done->done.n_generated), note, cmd_stop_text(done->done.stop));
}

/* The assistant's message as far as it came. */
static int run_job(struct chat *c, struct redline_job *job, struct redline_event *done, struct redline_err *err)
{
    running = job;
    if (interrupted) redline_cancel(job);
    int status = follow(c, job, done, err);
    running = NULL;
    cmd_progress_clear(&c->progress);
    TRY(status);
    TRY(add(c, "assistant", redline_job_text(job), err));
    TRY(cmd_write("\n", 1, err));
    return cmd_flush(err);
}

static int generate(struct chat *c, const int32_t *ids, size_t n_ids, struct redline_err *err)
{
    struct redline_request request = {.session = c->session,
                                      .ids = ids,
                                      .n_ids = n_ids,
                                      .n_predict = c->n_predict,
                                      .sampling = c->sampling};
    struct redline_job *job;
    struct redline_event done;
    request.sampling.seed += c->n_answers++;
    interrupted = 0;
    TRY(redline_submit(&job, c->engine, &request, err));
    int status = run_job(c, job, &done, err);
    redline_job_free(&job);
    TRY(status);
    print_measured(c, &done);
    if (done.done.stop == REDLINE_STOP_CONTEXT)
        fprintf(stderr, "redline: the context of %d tokens is full and the answer cut; /clear begins a new "
                        "conversation, -c N makes room for more\n", c->n_ctx);
    return 0;
}

static int conversation_ids(const struct chat *c, int32_t **ids, size_t *n_ids, struct redline_err *err)
{
    const struct redline_chat chat = {.messages = c->messages,
                                      .n_messages = c->n_messages,
                                      .answer = true,
                                      .template_name = c->template_name};
    return redline_chat_ids(c->model, &chat, ids, n_ids, err);
}

/* Answers the last message; one that does not fit is taken back, the rest stays. */
static int answer(struct chat *c, struct redline_err *err)
{
    int32_t *ids;
    size_t n_ids;
    TRY(conversation_ids(c, &ids, &n_ids, err));
    int status = 0;
    if (n_ids > (size_t)c->n_ctx) {
        drop(c, c->n_messages - 1);
        c->unanswered = true;
        fprintf(stderr, "redline: with this message the conversation has %zu tokens, the context holds %d; /clear "
                        "begins a new one, -c N makes room for more\n", n_ids, c->n_ctx);
    } else {
        status = generate(c, ids, n_ids, err);
    }
    redline_free(ids);
    return status;
}

/* ---- commands ---------------------------------------------------------------------------------- */

static int do_help(struct chat *c, const char *rest, struct redline_err *err);

static int do_clear(struct chat *c, const char *rest, struct redline_err *err)
{
    (void)rest;
    (void)err;
    drop_from(c, has_system(c));
    return 0;
}

static int do_regen(struct chat *c, const char *rest, struct redline_err *err)
{
    (void)rest;
    if (c->n_messages == 0 || strcmp(c->messages[c->n_messages - 1].role, "assistant") != 0) {
        fprintf(stderr, "redline: there is no answer yet that could be given again\n");
        return 0;
    }
    drop(c, c->n_messages - 1);
    return answer(c, err);
}

static int do_system(struct chat *c, const char *rest, struct redline_err *err)
{
    if (has_system(c)) drop(c, 0);
    return *rest ? insert(c, 0, "system", rest, err) : 0;
}

static int do_exit(struct chat *c, const char *rest, struct redline_err *err)
{
    (void)rest;
    (void)err;
    c->leaves = true;
    return 0;
}

static const struct {
    const char *name, *value, *help;
    int (*run)(struct chat *c, const char *rest, struct redline_err *err);
} commands[] = {
    {"/clear", "", "begin a new conversation", do_clear},
    {"/regen", "", "give the last answer again, with another seed", do_regen},
    {"/system", "TEXT", "replace the system message; without a text, take it away", do_system},
    {"/help", "", "this list", do_help},
    {"/exit", "", "leave; so does Ctrl-D", do_exit},
};

static int do_help(struct chat *c, const char *rest, struct redline_err *err)
{
    (void)c;
    (void)rest;
    (void)err;
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        fprintf(stderr, "  %-8s %-5s %s\n", commands[i].name, commands[i].value, commands[i].help);
    fprintf(stderr, "A line that ends in \\ goes on in the next.  A message that begins with / is written //.\n"
                    "Ctrl-C stops an answer; what there is of it stays in the conversation.\n");
    return 0;
}

static int unknown_command(struct chat *c, struct str name)
{
    const char *names[COUNT_OF(commands)];
    char word[64];
    for (size_t i = 0; i < COUNT_OF(commands); i++) names[i] = commands[i].name;
    snprintf(word, sizeof word, "%.*s", (int)MIN(name.n, 60), name.p);
    const char *near = opt_nearest(word, names, COUNT_OF(commands));
    fprintf(stderr, "redline: there is no command '%s'; %s%s%s, and // begins a message with a slash\n", word,
            near ? "did you mean '" : "/help lists them", near ? near : "", near ? "'?" : "");
    c->unanswered = true;
    return 0;
}

static int run_command(struct chat *c, const char *line, struct redline_err *err)
{
    struct str name = {line, strcspn(line, " ")};
    const char *rest = line + name.n + strspn(line + name.n, " ");
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (str_eq(name, str_of(commands[i].name))) return commands[i].run(c, rest, err);
    return unknown_command(c, name);
}

/* ---- the dialogue ------------------------------------------------------------------------------ */

/* A message of one line, or of several where all but the last end in a backslash. */
static int read_message(struct chat *c, struct buf *text, enum lines_kind *kind, struct redline_err *err)
{
    struct str line;
    text->n = 0;
    TRY(lines_next(c->lines, "> ", &line, kind, err));
    while (*kind == LINES_LINE && str_ends(line, STR("\\"))) {
        TRY(buf_append(text, line.p, line.n - 1, err));
        TRY(buf_append(text, "\n", 1, err));
        TRY(lines_next(c->lines, ". ", &line, kind, err));
    }
    TRY(buf_append_str(text, line, err));
    if (*kind == LINES_END && text->n) *kind = LINES_LINE; /* the input ends after a backslash */
    return 0;
}

static int take_message(struct chat *c, const char *text, struct redline_err *err)
{
    if (text[strspn(text, " \t\r\n")] == '\0') return 0;
    if (text[0] == '/' && text[1] != '/') return run_command(c, text, err);
    TRY(add(c, "user", text + (text[0] == '/'), err));
    return answer(c, err);
}

static int converse(struct chat *c, struct redline_err *err)
{
    struct buf text = {0};
    enum lines_kind kind;
    int status = 0, n_interrupts = 0;
    while (!status && !c->leaves) {
        status = read_message(c, &text, &kind, err);
        if (status || kind == LINES_END) break;
        n_interrupts = kind == LINES_INTERRUPT ? n_interrupts + 1 : 0;
        if (n_interrupts == 2) fprintf(stderr, "Ctrl-D or /exit leaves.\n");
        if (kind == LINES_LINE) status = take_message(c, text.p, err);
    }
    buf_free(&text);
    return status;
}

/* ---- setting out ------------------------------------------------------------------------------- */

/* Whether there can be a conversation at all, before anything is loaded. */
static int check_model(struct chat *c, struct redline_err *err)
{
    struct redline_engine_params probe = {.n_ctx = 1, .n_gpu_layers = "0"};
    struct redline_plan plan;
    int32_t *ids;
    size_t n_ids;
    TRY(redline_model_can(c->model, REDLINE_GENERATE, err));
    TRY(redline_plan(c->model, &probe, &plan, err));
    TRY(add(c, "user", "?", err));
    int status = conversation_ids(c, &ids, &n_ids, err);
    drop(c, c->n_messages - 1);
    TRY(status);
    redline_free(ids);
    if (c->n_ctx == 0) c->n_ctx = MIN(DEFAULT_CONTEXT, plan.n_ctx_train);
    if (n_ids > (size_t)c->n_ctx)
        return err_set(err, REDLINE_ARG, "the shortest conversation has %zu tokens, the context holds %d", n_ids,
                       c->n_ctx);
    return 0;
}

static int open_engine(struct chat *c, struct redline_err *err)
{
    struct redline_engine_params params = {.n_threads = c->n_threads,
                                                 .n_ctx = c->n_ctx,
                                                 .n_ubatch = c->n_ubatch,
                                                 .type_k = c->type_k,
                                                 .type_v = c->type_v,
                                                 .exact = c->exact,
                                                 .listener = cmd_on_load,
                                                 .user = &c->progress};
    TRY(placement_open(&c->engine, c->model, &params, &c->where, err));
    return redline_session_new(&c->session, c->engine, err);
}

static void greet(const struct chat *c)
{
    struct redline_file_facts facts;
    if (!lines_at_terminal(c->lines) || c->quiet) return;
    redline_file_facts(c->model, &facts);
    fprintf(stderr, "%s, a context of %d tokens. /help lists commands, Ctrl-D leaves.\n",
            *facts.name ? facts.name : facts.architecture, c->n_ctx);
}

static int chat_all(struct chat *c, const char *const *words, int n_words, struct redline_err *err)
{
    const char *path;
    TRY(cmd_model_path(&path, c->model_path, words, n_words, NULL, err));
    TRY(placement_check(&c->where, err));
    TRY(redline_model_open(&c->model, path, err));
    if (c->system && *c->system) TRY(add(c, "system", c->system, err));
    TRY(check_model(c, err));
    TRY(open_engine(c, err));
    TRY(lines_open(&c->lines, err));
    stays = lines_at_terminal(c->lines);
    greet(c);
    return converse(c, err);
}

static void chat_free_all(struct chat *c)
{
    lines_close(&c->lines);
    redline_session_free(&c->session);
    redline_engine_close(&c->engine);
    redline_model_close(&c->model);
    drop_from(c, 0);
    mem_free(c->messages);
}

int cmd_chat(int argc, char **argv)
{
    struct chat c = {.n_predict = -1};
    struct redline_sampling *s = &c.sampling;
    struct settings set = {0};
    const struct opt options[] = {
        settings_opt(&set, SETTING_MODEL, &c.model_path),
        {"-sys, --system", "TEXT", OPT_STRING, &c.system, 0, 0, "system message, before all others"},
        {"--chat-template", "NAME", OPT_STRING, &c.template_name, 0, 0,
         "chatml: write the conversation so, whatever the file says"},
        settings_opt(&set, SETTING_N_PREDICT, &c.n_predict),
        SETTINGS_ENGINE(&set, &c),
        settings_opt(&set, SETTING_EXACT, &c.exact),
        SETTINGS_PLACEMENT(&set, &c.where),
        SETTINGS_SAMPLING(&set, s),
        {"-q, --quiet", NULL, OPT_FLAG, &c.quiet, 0, 0, "no measured line after each answer"},
    };
    const struct opt_command command = {
        "redline chat [MODEL] [options]",
        "Talks with a model, in the words of its chat template: every line of standard input is a message,\n"
        "every answer is streamed to standard output and followed by one line on standard error: prompt and\n"
        "generated tokens per second, and what the session had cached.  Without -c, the context has as many\n"
        "tokens as the model was trained for, at most 4096; without MODEL, it is the demo model.",
        options, COUNT_OF(options),
        "At a terminal lines can be edited, and /help lists commands.  Ctrl-C stops an answer, Ctrl-D leaves.\n"
        "Exit code 3 also means that something in a pipe went unanswered.\n"
        "Example: printf 'What is 7 times 8?\\n' | redline chat -q --temp 0"};
    const char *words[1];
    struct redline_err err = {0};
    int n_words, exit_code;
    if (!settings_parse(&set, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    c.progress.wanted = isatty(STDERR_FILENO) && !c.quiet;
    catch_interrupt();
    int status = chat_all(&c, words, n_words, &err);
    bool alone = c.unanswered && !(c.lines && lines_at_terminal(c.lines));
    cmd_progress_clear(&c.progress);
    chat_free_all(&c);
    settings_free(&set);
    return status ? cmd_fail(&err) : alone ? EXIT_CANNOT : EXIT_FINE;
}
