/* http_post.h - requests to an OpenAI-compatible server, any number at once, their streams timed as they arrive. */
#ifndef HTTP_POST_H
#define HTTP_POST_H

#include "sse.h"

struct http_post {
    size_t index;                  /* the caller's */
    uint64_t submitted_ns, ended_ns; /* monotonic clock */
    uint64_t *pieces_ns;           /* owned; [n_pieces]: when text came */
    size_t n_pieces;
    struct buf text;               /* all of it */
    int n_prompt, n_generated, n_cached; /* tokens, as the server says; -1: it does not */
    bool stopped_by_length;
    /* under way */
    void *easy;
    void *headers;
    struct sse sse;
    struct buf pieces;             /* uint64_t */
    struct buf plain;              /* an answer that is no stream */
    struct redline_err failure;
};

void http_post_free(struct http_post *p); /* accepts {0}; leaves {0} */

/* name: of the server, for sentences; url: "http://host:port/v1". */
struct http_run;

int  http_run_new(struct http_run **out, const char *name, const char *url, double timeout_s, struct redline_err *err);
void http_run_free(struct http_run **run); /* before its posts; accepts NULL and a pointer to NULL */

/* Sends it: body to url/completions.  post and body must stay where they are until it has ended. */
int http_run_start(struct http_run *run, struct http_post *post, const char *body, struct redline_err *err);

/* Until one has ended, *index: its own; or until most_s have passed (0: however long), which is REDLINE_BUSY without a
 * sentence.  REDLINE_SUPPORT: the server refused it or broke off, in its words. */
int http_run_wait(struct http_run *run, double most_s, size_t *index, struct redline_err *err);

/* The first model that the server lists, unless *model is there already; the caller's to mem_free(). */
int http_model(char **model, const char *name, const char *url, struct redline_err *err);

#endif
