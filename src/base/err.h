/* err.h - failing once, with a sentence.
 *
 *     if (n_dims > GGUF_MAX_DIMS)
 *         return err_set(err, REDLINE_FORMAT, "tensor '%s' has %u dimensions, the limit is %d", ...);
 *     TRY(gguf_open(&file, path, err));
 *
 * The place that knows most writes the message; everybody else only returns the code. */
#ifndef ERR_H
#define ERR_H

#include <stddef.h>

#include "redline_status.h"

/* Writes the message and returns code, so that it can stand in a return statement.  err may be NULL.
 * Never allocates; an over-long message is cut at a code point. */
int err_set(struct redline_err *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* REDLINE_MEMORY with the number of bytes and what they were for. */
int err_memory(struct redline_err *err, size_t bytes, const char *what);

#define TRY(call)                                                                                   \
    do {                                                                                            \
        int try_status = (call);                                                                    \
        if (try_status) return try_status;                                                          \
    } while (0)

#endif
