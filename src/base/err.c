/* err.c - formatting of error messages into the caller's struct; no allocation on any path. */
#include "err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Cuts a UTF-8 string that filled its buffer back to a whole code point. */
static void trim_partial(char *s, size_t n)
{
    size_t i = n;
    while (i > 0 && ((unsigned char)s[i - 1] & 0xc0) == 0x80) i--;
    if (i == 0) return;
    unsigned char lead = (unsigned char)s[i - 1];
    size_t want = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (n - (i - 1) < want) s[i - 1] = '\0';
}

int err_set(struct redline_err *err, int code, const char *format, ...)
{
    if (!err) return code;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    err->code = code;
    if (n >= (int)sizeof err->message) trim_partial(err->message, sizeof err->message - 1);
    return code;
}

int err_memory(struct redline_err *err, size_t bytes, const char *what)
{
    return err_set(err, REDLINE_MEMORY, "no memory for %s: %zu bytes were refused", what, bytes);
}
