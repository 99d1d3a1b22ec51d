/* http_post.c - libcurl's multi interface, and what the pieces of a stream say. */
#include "http_post.h"

#include <curl/curl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base.h"
#include "clock.h"
#include "mem.h"

enum { CONNECT_MS = 10000, MOST_PLAIN = 64 << 10 };

struct http_run {
    CURLM *multi;
    char *name; /* owned */
    struct buf url;
    double timeout_s;
};

/* ---- a piece of the stream ----------------------------------------------------------------------------- */

/* {"error": {"message": "..."}}, {"error": "..."}, {"message": "..."} */
static const char *error_of(const json_t *root)
{
    const json_t *error = json_object_get(root, "error");
    const char *message = json_string_value(error);
    if (!message) message = json_string_value(json_object_get(error, "message"));
    return message ? message : error && !json_is_null(error) ? "an error without a message" : NULL;
}

static void take_count(const json_t *usage, const char *name, int *n)
{
    const json_t *v = json_object_get(usage, name);
    if (json_is_integer(v)) *n = (int)json_integer_value(v);
}

static int take_text(struct http_post *p, const json_t *root, uint64_t now, struct redline_err *err)
{
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const json_t *text = json_object_get(choice, "text");
    const char *reason = json_string_value(json_object_get(choice, "finish_reason"));
    if (!text) text = json_object_get(json_object_get(choice, "delta"), "content");
    if (reason) p->stopped_by_length = strcmp(reason, "length") == 0;
    if (json_string_length(text) == 0) return 0;
    TRY(buf_append(&p->text, json_string_value(text), json_string_length(text), err));
    return buf_append(&p->pieces, &now, sizeof now, err);
}

static int on_data(void *user, struct str data, struct redline_err *err)
{
    struct http_post *p = user;
    uint64_t now = clock_ns();
    json_error_t why;
    if (str_eq(data, STR("[DONE]"))) return 0;
    json_t *root = json_loadb(data.p, data.n, 0, &why);
    if (!root) return err_set(err, REDLINE_FORMAT, "an event of its stream is no JSON: %.120s", why.text);
    const json_t *usage = json_object_get(root, "usage");
    const char *error = error_of(root);
    int status = error ? err_set(err, REDLINE_SUPPORT, "%.200s", error) : take_text(p, root, now, err);
    take_count(usage, "prompt_tokens", &p->n_prompt);
    take_count(usage, "completion_tokens", &p->n_generated);
    take_count(json_object_get(usage, "prompt_tokens_details"), "cached_tokens", &p->n_cached);
    json_decref(root);
    return status;
}

static size_t on_bytes(char *bytes, size_t size, size_t n, void *user)
{
    struct http_post *p = user;
    struct str s = {bytes, size * n};
    if (p->plain.n + s.n <= MOST_PLAIN && buf_append_str(&p->plain, s, &p->failure)) return 0;
    return sse_feed(&p->sse, s, on_data, p, &p->failure) ? 0 : s.n;
}

/* ---- requests ------------------------------------------------------------------------------------------- */

static CURL *easy_new(const char *url, double timeout_s)
{
    CURL *easy = curl_easy_init();
    if (!easy) return NULL;
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* the environment's is not asked */
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    if (timeout_s > 0) curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)fmin(timeout_s * 1e3, 1e9));
    return easy;
}

int http_run_new(struct http_run **out, const char *name, const char *url, double timeout_s, struct redline_err *err)
{
    struct http_run *run = *out = mem_new(1, sizeof *run);
    if (!run) return err_memory(err, sizeof *run, "requests");
    run->timeout_s = timeout_s;
    run->name = mem_copy(name, strlen(name));
    run->multi = curl_multi_init();
    if (!run->name || !run->multi) return err_memory(err, strlen(name), "requests");
    return buf_printf(&run->url, err, "%s/completions", url);
}

void http_run_free(struct http_run **run)
{
    struct http_run *r = run ? *run : NULL;
    if (!r) return;
    curl_multi_cleanup(r->multi);
    mem_free(r->name);
    buf_free(&r->url);
    mem_free(r);
    *run = NULL;
}

int http_run_start(struct http_run *run, struct http_post *post, const char *body, struct redline_err *err)
{
    post->n_prompt = post->n_generated = post->n_cached = -1;
    CURL *easy = post->easy = easy_new(run->url.p, run->timeout_s);
    post->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (!easy || !post->headers) return err_memory(err, strlen(body), "a request");
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, (struct curl_slist *)post->headers);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, post);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, post);
    post->submitted_ns = clock_ns();
    if (curl_multi_add_handle(run->multi, easy)) return err_set(err, REDLINE_IO, "libcurl takes no request");
    return 0;
}

static void release(struct http_run *run, struct http_post *p)
{
    if (run && p->easy) curl_multi_remove_handle(run->multi, p->easy);
    if (p->easy) curl_easy_cleanup(p->easy);
    curl_slist_free_all(p->headers);
    sse_free(&p->sse);
    buf_free(&p->plain);
    p->easy = p->headers = NULL;
}

void http_post_free(struct http_post *p)
{
    release(NULL, p);
    buf_free(&p->text);
    buf_free(&p->pieces);
    *p = (struct http_post){0};
}

static int judge(const struct http_run *run, struct http_post *p, CURLcode result, struct redline_err *err)
{
    long code = 0;
    curl_easy_getinfo(p->easy, CURLINFO_RESPONSE_CODE, &code);
    if (code >= 400) {
        json_error_t why;
        json_t *root = p->plain.n ? json_loadb(p->plain.p, p->plain.n, 0, &why) : NULL;
        const char *message = root ? error_of(root) : NULL;
        err_set(err, REDLINE_SUPPORT, "%.40s answers %ld%s%.160s", run->name, code, message ? ": " : "",
                message ? message : "");
        json_decref(root);
        return REDLINE_SUPPORT;
    }
    if (p->failure.code) return err_set(err, REDLINE_SUPPORT, "%.40s: %.200s", run->name, p->failure.message);
    if (result)
        return err_set(err, REDLINE_SUPPORT, "%.40s: %.80s: %s", run->name, run->url.p, curl_easy_strerror(result));
    if (p->pieces.n == 0 && p->n_generated < 0)
        return err_set(err, REDLINE_SUPPORT, "%.40s answers without a stream of text", run->name);
    return 0;
}

/* One that has ended. */
static int finish(struct http_run *run, const CURLMsg *message, size_t *index, struct redline_err *err)
{
    struct http_post *p = NULL;
    CURLcode result = message->data.result;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&p);
    p->ended_ns = clock_ns();
    int status = judge(run, p, result, err);
    release(run, p);
    p->pieces_ns = (uint64_t *)(void *)p->pieces.p;
    p->n_pieces = p->pieces.n / sizeof *p->pieces_ns;
    *index = p->index;
    return status;
}

int http_run_wait(struct http_run *run, double most_s, size_t *index, struct redline_err *err)
{
    uint64_t start = clock_ns();
    for (;;) {
        int n_running, n_left;
        if (curl_multi_perform(run->multi, &n_running)) return err_set(err, REDLINE_IO, "libcurl cannot go on");
        CURLMsg *message = curl_multi_info_read(run->multi, &n_left);
        if (message) return finish(run, message, index, err);
        double left = most_s - (double)(clock_ns() - start) / 1e9;
        if (most_s > 0 && left <= 0) return REDLINE_BUSY;
        curl_multi_poll(run->multi, NULL, 0, most_s > 0 ? (int)fmin(ceil(left * 1e3), 1000) : 1000, NULL);
    }
}

/* ---- what it serves --------------------------------------------------------------------------------------- */

static size_t on_plain(char *bytes, size_t size, size_t n, void *user)
{
    struct buf *all = user;
    return all->n < MOST_PLAIN && buf_append(all, bytes, size * n, NULL) == 0 ? size * n : 0;
}

int http_model(char **model, const char *name, const char *url, struct redline_err *err)
{
    struct buf answer = {0}, path = {0};
    json_error_t why;
    if (*model) return 0;
    TRY(buf_printf(&path, err, "%s/models", url));
    CURL *easy = easy_new(path.p, 30);
    if (!easy) return err_memory(err, 0, "a request");
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_plain);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &answer);
    CURLcode result = curl_easy_perform(easy);
    json_t *root = answer.n ? json_loadb(answer.p, answer.n, 0, &why) : NULL;
    const char *id = json_string_value(json_object_get(json_array_get(json_object_get(root, "data"), 0), "id"));
    int status =
        result ? err_set(err, REDLINE_SUPPORT, "%.40s: %.80s: %s", name, path.p, curl_easy_strerror(result)) : 0;
    if (!status && !id)
        status = err_set(err, REDLINE_SUPPORT, "%.40s lists no model under %.120s; name one behind the address", name,
                         path.p);
    if (!status) *model = mem_copy(id, strlen(id));
    if (!status && !*model) status = err_memory(err, strlen(id), "a name");
    curl_easy_cleanup(easy);
    json_decref(root);
    buf_free(&answer);
    buf_free(&path);
    return status;
}
