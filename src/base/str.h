/* str.h - text: struct str borrows, struct buf owns.
 *
 * A struct str never owns its bytes and is never kept beyond the call unless the function's name says
 * so.  A struct buf is a growable block of bytes; it starts zeroed ({0}) and is freed once. */
#ifndef STR_H
#define STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "err.h"

struct str {
    const char *p; /* not zero-terminated */
    size_t n;      /* bytes */
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_ARG(s) (int)((s).n < 4096 ? (s).n : 4096), (s).p /* for "%.*s" */

static inline struct str str_of(const char *zero_terminated)
{
    return (struct str){zero_terminated, strlen(zero_terminated)};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n && (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

/* FNV-1a, for hash tables. */
static inline uint64_t str_hash(struct str s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < s.n; i++) h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return h;
}

struct buf {
    char *p;  /* owned; zero-terminated whenever not NULL */
    size_t n; /* bytes in use, without the closing zero */
    size_t capacity;
};

/* All return 0 or REDLINE_MEMORY (the content so far stays valid). */
int buf_append(struct buf *b, const void *bytes, size_t n, struct redline_err *err);
int buf_append_str(struct buf *b, struct str s, struct redline_err *err);
int buf_printf(struct buf *b, struct redline_err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int buf_reserve(struct buf *b, size_t n_more, struct redline_err *err);
void buf_free(struct buf *b); /* leaves {0} */

static inline struct str buf_str(const struct buf *b)
{
    return (struct str){b->p ? b->p : "", b->n};
}

/* "4.0 GB", "823 MB": decimal units, n bytes of buffer. */
void str_bytes_text(uint64_t bytes, char *out, size_t n);

#endif
