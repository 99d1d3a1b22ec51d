/* peer_server.c - an OpenAI-compatible server: random words in, a stream of pieces out, timed as they arrive.
 *
 * How many words make n_prompt tokens is found with two short requests, which also wake the server up.  Every measured
 * prompt is drawn anew, so that no cache of prefixes helps; how long it really was, the server says in `usage`. */
#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base.h"
#include "clock.h"
#include "derive.h"
#include "drive.h"
#include "http_post.h"
#include "mem.h"
#include "peer_call.h"
#include "record.h"
#include "rng.h"
#include "words.h"

struct server {
    struct peer_call *call;
    char *url, *model;         /* owned: "http://host:port/v1"; as the server calls it */
    struct rng rng;
    double words_a, words_b;   /* words of a prompt of n tokens: a + b * n */
    uint64_t origin_ns;
    struct http_post *posts;   /* owned; [n], of the measured requests */
    size_t n;
};

/* ---- prompts -------------------------------------------------------------------------------------------- */

/* Frequent, short, and a token of their own in most vocabularies. */
static const char *const words[] = {
    "the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not",
    "he", "his", "but", "at", "are", "this", "have", "from", "or", "had", "an", "they", "which", "one", "you", "were",
    "all", "her", "she", "there", "would", "their", "we", "him", "been", "has", "when", "who", "will", "no",
    "more", "if", "out", "so", "up", "said", "what", "its", "about", "than", "into", "them", "can", "only", "other",
    "time", "new", "some",
};

static int draw_prompt(struct server *s, size_t n_words, struct buf *out, struct redline_err *err)
{
    for (size_t i = 0; i < n_words; i++)
        TRY(buf_printf(out, err, "%s%s", i ? " " : "", words[rng_below(&s->rng, COUNT_OF(words))]));
    return 0;
}

static int make_body(struct server *s, size_t n_words, int n_gen, char **body, struct redline_err *err)
{
    struct buf prompt = {0};
    int status = draw_prompt(s, n_words, &prompt, err);
    json_t *root = NULL;
    if (!status)
        root = json_pack("{s:s, s:s, s:i, s:f, s:b, s:{s:b}, s:b, s:i}", "model", s->model, "prompt",
                         prompt.p ? prompt.p : "", "max_tokens", n_gen, "temperature", 0.0, "stream", true,
                         "stream_options", "include_usage", true, "ignore_eos", true, "seed", 1);
    *body = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    buf_free(&prompt);
    return status || *body ? status : err_memory(err, 0, "a request");
}

/* ---- one request alone, to get to know each other --------------------------------------------------------- */

static int post_one(struct server *s, size_t n_words, int n_gen, struct http_post *post, struct redline_err *err)
{
    char *body = NULL;
    size_t index;
    struct http_run *run = NULL;
    TRY(make_body(s, n_words, n_gen, &body, err));
    int status = http_run_new(&run, s->call->name, s->url, s->call->timeout_s, err);
    if (!status) status = http_run_start(run, post, body, err);
    if (!status) status = http_run_wait(run, 0, &index, err);
    http_run_free(&run);
    free(body);
    return status;
}

/* Tokens of a prompt of so many words; NAN: the server counts none. */
static int count_tokens(struct server *s, size_t n_words, double *n_tokens, struct redline_err *err)
{
    struct http_post post = {0};
    int status = post_one(s, n_words, 1, &post, err);
    *n_tokens = post.n_prompt >= 0 ? post.n_prompt : NAN;
    http_post_free(&post);
    return status;
}

/* A straight line through two prompts, one half as long. */
static int calibrate(struct server *s, struct redline_err *err)
{
    size_t n_long = (size_t)MAX(s->call->task.workload.n_prompt, 8), n_short = n_long / 2;
    double t_long, t_short;
    TRY(count_tokens(s, n_short, &t_short, err));
    TRY(count_tokens(s, n_long, &t_long, err));
    s->words_b = (double)(n_long - n_short) / (t_long - t_short);
    s->words_a = (double)n_long - s->words_b * t_long;
    if (isfinite(s->words_a) && s->words_b > 0) return 0;
    s->words_a = 0; /* it does not count: a word for a token, and the record says that nobody knows */
    s->words_b = 1;
    return 0;
}

static size_t words_for(const struct server *s)
{
    return (size_t)fmax(1, round(s->words_a + s->words_b * MAX(s->call->task.workload.n_prompt, 1)));
}

/* ---- the measured ones ------------------------------------------------------------------------------------- */

static double due_s(const double *due, size_t i)
{
    return due ? due[i] : 0;
}

/* Keeps `concurrency` requests running, each no earlier than it is due. */
static int run_posts(struct server *s, struct http_run *run, char *const *bodies, const double *due,
                     struct redline_err *err)
{
    size_t n_started = 0, n_done = 0, most = (size_t)MAX(s->call->task.workload.concurrency, 1), index;
    uint64_t begun = clock_ns();
    while (n_done < s->n) {
        double now = (double)(clock_ns() - begun) / 1e9;
        if (n_started < s->n && n_started - n_done < most && now >= due_s(due, n_started)) {
            s->posts[n_started].index = n_started;
            TRY(http_run_start(run, &s->posts[n_started], bodies[n_started], err));
            n_started++;
            continue;
        }
        bool later = n_started < s->n && n_started - n_done < most;
        int status = http_run_wait(run, later ? due_s(due, n_started) - now : 0, &index, err);
        if (status == REDLINE_BUSY) continue; /* the next one is due */
        TRY(status);
        n_done++;
    }
    return 0;
}

static void free_bodies(char **bodies, size_t n)
{
    for (size_t i = 0; bodies && i < n; i++) free(bodies[i]);
    mem_free(bodies);
}

static int measure(struct server *s, struct redline_err *err)
{
    const struct task_workload *w = &s->call->task.workload;
    bool open = w->arrival != TASK_CLOSED;
    struct http_run *run = NULL;
    s->n = (size_t)MAX(w->n_requests, 1);
    s->posts = mem_new(s->n, sizeof *s->posts);
    char **bodies = mem_new(s->n, sizeof *bodies);
    double *due = open ? mem_new(s->n, sizeof *due) : NULL;
    int status = s->posts && bodies && (due || !open) ? 0 : err_memory(err, s->n * sizeof *s->posts, "requests");
    for (size_t i = 0; i < s->n && !status; i++)
        status = make_body(s, words_for(s), MAX(w->n_gen, 1), &bodies[i], err);
    if (!status && open) drive_arrivals(due, s->n, w->arrival, w->rate, w->seed);
    if (!status) status = http_run_new(&run, s->call->name, s->url, s->call->timeout_s, err);
    if (!status) status = run_posts(s, run, bodies, due, err);
    http_run_free(&run);
    free_bodies(bodies, s->n);
    mem_free(due);
    return status;
}

/* ---- the record ---------------------------------------------------------------------------------------------- */

static json_t *when(const struct server *s, uint64_t ns)
{
    return json_integer((json_int_t)(ns - s->origin_ns));
}

static json_t *count_or_null(int n)
{
    return n >= 0 ? json_integer(n) : json_null();
}

/* Each piece a token: then their times are the tokens'. */
static bool pieces_are_tokens(const struct http_post *p)
{
    return p->n_generated < 0 || (size_t)p->n_generated == p->n_pieces;
}

static json_t *piece_times(const struct server *s, const struct http_post *p)
{
    json_t *all = json_array();
    for (size_t i = 0; i < p->n_pieces; i++) json_array_append_new(all, when(s, p->pieces_ns[i]));
    return all;
}

static int add_request(struct server *s, json_t *requests, const struct http_post *p, struct redline_err *err)
{
    json_t *one = json_pack("{s:o, s:n, s:n, s:n, s:o, s:o, s:o, s:o, s:I, s:I, s:s, s:n, s:o}", "submitted_ns",
                            when(s, p->submitted_ns), "started_ns", "prefilled_ns", "done_ns", "ended_ns",
                            when(s, p->ended_ns), "n_prompt", count_or_null(p->n_prompt), "n_cached",
                            count_or_null(p->n_cached), "n_generated",
                            json_integer(p->n_generated >= 0 ? p->n_generated : (json_int_t)p->n_pieces), "n_words",
                            (json_int_t)words_count(buf_str(&p->text)), "n_input_words", (json_int_t)words_for(s),
                            "stop", p->stopped_by_length ? "length" : "end", "engine_ns", "consumer_ns",
                            pieces_are_tokens(p) ? piece_times(s, p) : json_null());
    if (json_array_append_new(requests, one)) return err_memory(err, 256, "a request");
    if (pieces_are_tokens(p)) return 0;
    char path[64], reason[96];
    snprintf(path, sizeof path, "requests.%zu.consumer_ns", json_array_size(requests) - 1);
    snprintf(reason, sizeof reason, "the server sent %zu pieces for %d tokens", p->n_pieces, p->n_generated);
    return record_say(s->call->record, path, reason, err);
}

/* Where pieces are not tokens, the first one is the first token all the same. */
static int derive_first(struct server *s, struct redline_err *err)
{
    double sum = 0;
    bool all = true;
    for (size_t i = 0; i < s->n; i++) {
        const struct http_post *p = &s->posts[i];
        all &= pieces_are_tokens(p);
        sum += p->n_pieces ? (double)(p->pieces_ns[0] - p->submitted_ns) / 1e6 : NAN;
    }
    if (all) return 0;
    return record_derive(s->call->record, "ttft_consumer_ms", sum / (double)s->n, "no text came", err);
}

static int write_record(struct server *s, struct redline_err *err)
{
    json_t *record = s->call->record, *requests = json_array();
    char served[160];
    snprintf(served, sizeof served, "the server does not say; it calls it '%.80s'", s->model);
    TRY(record_miss(record, "model.digest", served, err));
    TRY(record_miss(record, "times", "the server was running before", err));
    TRY(record_miss(record, "settings.effective", "the server does not say", err));
    TRY(record_set(record, "requests", requests, err));
    for (size_t i = 0; i < s->n; i++) TRY(add_request(s, requests, &s->posts[i], err));
    TRY(record_say(record, "requests", "a server shows nothing of its engine", err));
    TRY(derive_figures(record, err));
    return derive_first(s, err);
}

/* ---- the whole ------------------------------------------------------------------------------------------------ */

/* "http://host:port[/v1] [MODEL]" */
static int read_command(struct server *s, struct redline_err *err)
{
    const char *command = s->call->command;
    size_t n = strcspn(command, " \t");
    const char *model = command + n + strspn(command + n, " \t");
    while (n && command[n - 1] == '/') n--;
    struct buf url = {0};
    int status = buf_append(&url, command, n, err);
    if (!status && !str_ends(buf_str(&url), STR("/v1"))) status = buf_append(&url, "/v1", 3, err);
    s->url = url.p;
    if (status || !*model) return status;
    s->model = mem_copy(model, strlen(model));
    return s->model ? 0 : err_memory(err, strlen(model), "a name");
}

static int check_workload(const struct peer_call *call, struct redline_err *err)
{
    const struct task_workload *w = &call->task.workload;
    if (w->kind != TASK_GENERATE)
        return err_set(err, REDLINE_SUPPORT, "%.40s: a server is not asked for a workload of kind '%s'", call->name,
                       task_kind_name(w->kind));
    if (w->document)
        return err_set(err, REDLINE_SUPPORT, "%.40s: a server is asked for random words, not for documents",
                       call->name);
    if (w->n_depth == 0) return 0;
    return err_set(err, REDLINE_SUPPORT, "%.40s: a server cannot be asked for %d tokens in its cache", call->name,
                   w->n_depth);
}

static int talk(struct server *s, struct redline_err *err)
{
    TRY(read_command(s, err));
    TRY(http_model(&s->model, s->call->name, s->url, err));
    TRY(calibrate(s, err));
    TRY(measure(s, err));
    return write_record(s, err);
}

int peer_server(struct peer_call *call, struct redline_err *err)
{
    struct server s = {.call = call, .origin_ns = clock_ns()};
    TRY(check_workload(call, err));
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) return err_set(err, REDLINE_IO, "libcurl cannot be used");
    rng_seed(&s.rng, call->task.workload.seed ^ clock_ns()); /* what was asked before is in the server's cache */
    int status = talk(&s, err);
    for (size_t i = 0; s.posts && i < s.n; i++) http_post_free(&s.posts[i]);
    mem_free(s.posts);
    mem_free(s.url);
    mem_free(s.model);
    curl_global_cleanup();
    return status;
}
