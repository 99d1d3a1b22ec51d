/* sse.c - lines, fields, events. */
#include "sse.h"

/* A line of "data" with its blank after the colon, if there is one; others are of no interest here. */
static int take_line(struct sse *s, struct redline_err *err)
{
    struct str line = buf_str(&s->line);
    if (!str_starts(line, STR("data:")) && !str_eq(line, STR("data"))) return 0;
    size_t n = str_starts(line, STR("data: ")) ? 6 : line.n < 5 ? line.n : 5;
    if (s->any) TRY(buf_append(&s->data, "\n", 1, err));
    s->any = true;
    return buf_append(&s->data, line.p + n, line.n - n, err);
}

static void clear(struct buf *b)
{
    b->n = 0;
}

int sse_feed(struct sse *s, struct str bytes, int (*on_data)(void *user, struct str data, struct redline_err *err),
             void *user, struct redline_err *err)
{
    for (size_t i = 0; i < bytes.n; i++) {
        char c = bytes.p[i];
        bool again = c == '\n' && s->skip_lf; /* CR LF is one end */
        s->skip_lf = c == '\r';
        if (again) continue;
        if (c != '\n' && c != '\r') {
            if (s->line.n + s->data.n >= SSE_MOST_BYTES)
                return err_set(err, REDLINE_FORMAT, "an event of more than %d bytes", SSE_MOST_BYTES);
            TRY(buf_append(&s->line, &c, 1, err));
            continue;
        }
        if (s->line.n) {
            TRY(take_line(s, err));
            clear(&s->line);
        } else if (s->any) {
            s->any = false;
            struct str data = buf_str(&s->data);
            clear(&s->data);
            TRY(on_data(user, data, err));
        }
    }
    return 0;
}

void sse_free(struct sse *s)
{
    buf_free(&s->line);
    buf_free(&s->data);
    *s = (struct sse){0};
}
