/* sse.h - server-sent events, as they come in pieces of any size (WHATWG HTML, 9.2): the data of each. */
#ifndef SSE_H
#define SSE_H

#include "str.h"

enum { SSE_MOST_BYTES = 1 << 20 }; /* of one event */

struct sse {
    struct buf line, data; /* so far */
    bool any;              /* the event has data */
    bool skip_lf;          /* the line before ended with CR */
};

/* Feeds bytes; calls on_data(user, data) for each event that they complete, and goes on while it returns 0.
 * REDLINE_FORMAT: an event larger than the limit; otherwise what on_data returns. */
int  sse_feed(struct sse *s, struct str bytes, int (*on_data)(void *user, struct str data, struct redline_err *err),
              void *user, struct redline_err *err);
void sse_free(struct sse *s); /* accepts {0}; leaves {0} */

#endif
