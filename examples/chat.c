/* chat.c - a conversation with a model, with nothing but redline.h: lines in, answers out, until the input or
 * the context ends.  Beside an installed Redline:
 *
 *     cc chat.c $(pkg-config --static --cflags --libs redline) -o chat && ./chat [MODEL.gguf] */
#include <redline.h>
#include <stdio.h>
#include <string.h>

enum { MOST_TURNS = 100 };

struct talk {
    struct redline_model *model;
    struct redline_engine *engine;
    struct redline_session *session; /* remembers what was computed of the conversation */
    struct redline_message messages[2 * MOST_TURNS];
    struct redline_job *jobs[MOST_TURNS]; /* one for each answer, and owner of its text */
    char lines[MOST_TURNS][1024];
    size_t n_turns;
};

/* Streams the answer to the line of this turn. */
static int answer(struct talk *t, struct redline_err *err)
{
    struct redline_message *asked = &t->messages[2 * t->n_turns];
    struct redline_job **job = &t->jobs[t->n_turns];
    struct redline_chat chat = {.messages = t->messages, .n_messages = 2 * t->n_turns + 1, .answer = true};
    struct redline_request request = {.session = t->session, .n_predict = -1, .sampling = {.temperature = 0}};
    struct redline_event event = {0};
    int32_t *ids;
    *asked = (struct redline_message){"user", t->lines[t->n_turns]};
    int status = redline_chat_ids(t->model, &chat, &ids, &request.n_ids, err);
    request.ids = ids;
    if (!status) status = redline_submit(job, t->engine, &request, err);
    redline_free(ids);
    while (!status && event.kind != REDLINE_EVENT_DONE) {
        status = redline_next(*job, &event, err);
        if (!status && event.kind == REDLINE_EVENT_TOKEN) fwrite(event.token.text, 1, event.token.n_bytes, stdout);
        if (fflush(stdout) != 0) redline_cancel(*job);
    }
    putchar('\n');
    if (!status) asked[1] = (struct redline_message){"assistant", redline_job_text(*job)};
    t->n_turns++;
    return status;
}

int main(int argc, char **argv)
{
    static struct talk t;
    struct redline_err err = {0};
    struct redline_engine_params params = {.n_ctx = 1024};
    int status = redline_model_open(&t.model, argc > 1 ? argv[1] : NULL, &err);
    if (!status) status = redline_engine_open(&t.engine, t.model, &params, &err);
    if (!status) status = redline_session_new(&t.session, t.engine, &err);
    while (!status && t.n_turns < MOST_TURNS && fgets(t.lines[t.n_turns], sizeof t.lines[0], stdin)) {
        t.lines[t.n_turns][strcspn(t.lines[t.n_turns], "\n")] = '\0';
        status = answer(&t, &err);
    }
    if (status) fprintf(stderr, "chat: %s\n", err.message);
    while (t.n_turns > 0) redline_job_free(&t.jobs[--t.n_turns]);
    redline_session_free(&t.session);
    redline_engine_close(&t.engine);
    redline_model_close(&t.model);
    return status || ferror(stdout) ? 1 : 0;
}
