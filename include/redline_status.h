/* redline_status.h - how every function of Redline reports failure.
 *
 * A function that can fail returns an int: 0, or one of the negative codes below.  The sentence that
 * goes with it is written once, by the place that knows most, into the caller's struct redline_err:
 * fact, value, limit.  A caller passes it on and does not decorate it. */
#ifndef REDLINE_STATUS_H
#define REDLINE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#define REDLINE_STATUS_MAP(X)                                                                       \
    X(OK, 0, "fine")                                                                                \
    X(ARG, -1, "wrong argument")                                                                    \
    X(FORMAT, -2, "malformed input")                                                                \
    X(SUPPORT, -3, "not supported")                                                                 \
    X(MEMORY, -4, "not enough memory")                                                              \
    X(IO, -5, "input or output failed")                                                             \
    X(DEVICE, -6, "device failure")                                                                 \
    X(BUSY, -7, "no room now, try later")                                                           \
    X(CANCEL, -8, "cancelled")

#define REDLINE_STATUS_ENUM(name, value, text) REDLINE_##name = value,
enum redline_status { REDLINE_STATUS_MAP(REDLINE_STATUS_ENUM) };
#undef REDLINE_STATUS_ENUM

/* Owned by the caller; may be NULL wherever it is asked for.  Untouched on success. */
struct redline_err {
    int code;           /* enum redline_status */
    char message[360];  /* one sentence, UTF-8, no newline, no final full stop */
};

#ifdef __cplusplus
}
#endif
#endif
