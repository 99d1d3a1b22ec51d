/* chat.c - a conversation in 40 lines, with nothing but redline.h: lines in, answers out, until the input,
 * the room for them or the context ends.  Beside an installed Redline:
 *
 *     cc chat.c $(pkg-config --static --cflags --libs redline) -o chat && ./chat [MODEL.gguf] */
#include <redline.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    static char lines[64][4096];
    static struct redline_message messages[128]; /* a line and its answer, by turns */
    struct redline_job *jobs[64] = {0};          /* each owns the text of its answer */
    struct redline_chat chat = {.messages = messages, .answer = true};
    struct redline_engine_params params = {.n_ctx = 1024};
    struct redline_model *model = NULL;
    struct redline_engine *engine = NULL;
    struct redline_session *session = NULL; /* remembers what was computed of the conversation */
    struct redline_err err;
    int n = 0, status = redline_model_open(&model, argc > 1 ? argv[1] : NULL, &err);
    if (!status) status = redline_engine_open(&engine, model, &params, &err);
    if (!status) status = redline_session_new(&session, engine, &err);
    for (; !status && n < 64 && fgets(lines[n], sizeof lines[n], stdin); n++) {
        struct redline_request request = {.session = session, .n_predict = -1};
        struct redline_event event = {0};
        int32_t *ids = NULL;
        lines[n][strcspn(lines[n], "\n")] = '\0';
        messages[chat.n_messages++] = (struct redline_message){"user", lines[n]};
        status = redline_chat_ids(model, &chat, &ids, &request.n_ids, &err);
        request.ids = ids;
        if (!status) status = redline_submit(&jobs[n], engine, &request, &err);
        while (!status && event.kind != REDLINE_EVENT_DONE) {
            status = redline_next(jobs[n], &event, &err);
            if (!status && event.kind == REDLINE_EVENT_TOKEN) printf("%s", event.token.text), fflush(stdout);
        }
        puts("");
        if (!status) messages[chat.n_messages++] = (struct redline_message){"assistant", redline_job_text(jobs[n])};
        redline_free(ids);
    }
    if (status) fprintf(stderr, "chat: %s\n", err.message);
    while (n > 0) redline_job_free(&jobs[--n]);
    redline_session_free(&session);
    redline_engine_close(&engine);
    redline_model_close(&model);
    return status || ferror(stdout);
}
