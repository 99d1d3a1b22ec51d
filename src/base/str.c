/* str.c - growth of struct buf. */
#include "str.h"

#include <stdarg.h>
#include <stdio.h>

#include "mem.h"

int buf_reserve(struct buf *b, size_t n_more, struct redline_err *err)
{
    if (n_more > SIZE_MAX / 2 - b->n - 1) return err_memory(err, n_more, "text");
    size_t want = b->n + n_more + 1;
    if (want <= b->capacity) return 0;
    size_t capacity = b->capacity ? b->capacity : 64;
    while (capacity < want) capacity *= 2;
    char *p = mem_resize(b->p, capacity, 1);
    if (!p) return err_memory(err, capacity, "text");
    b->p = p;
    b->capacity = capacity;
    b->p[b->n] = '\0';
    return 0;
}

int buf_append(struct buf *b, const void *bytes, size_t n, struct redline_err *err)
{
    TRY(buf_reserve(b, n, err));
    if (n) memcpy(b->p + b->n, bytes, n);
    b->n += n;
    b->p[b->n] = '\0';
    return 0;
}

int buf_append_str(struct buf *b, struct str s, struct redline_err *err)
{
    return buf_append(b, s.p, s.n, err);
}

int buf_printf(struct buf *b, struct redline_err *err, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    int status = n < 0 ? err_set(err, REDLINE_ARG, "a text could not be formatted")
                       : buf_reserve(b, (size_t)n, err);
    if (status == 0) {
        vsnprintf(b->p + b->n, (size_t)n + 1, format, again);
        b->n += (size_t)n;
    }
    va_end(again);
    return status;
}

void buf_free(struct buf *b)
{
    mem_free(b->p);
    *b = (struct buf){0};
}

void str_bytes_text(uint64_t bytes, char *out, size_t n)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double x = (double)bytes;
    int u = 0;
    while (x >= 999.5 && u < 4) {
        x /= 1000;
        u++;
    }
    snprintf(out, n, x < 9.95 && u > 0 ? "%.1f %s" : "%.0f %s", x, units[u]);
}
