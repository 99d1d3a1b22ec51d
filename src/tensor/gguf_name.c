/* gguf_name.c - keys and names out of files: which are fit to be used, and how to print any of
 * them.
 *
 * A name reaches terminals and logs, so what is in it must not move a cursor or break a line. */
#include <stdio.h>

#include "base.h"
#include "gguf_internal.h"

enum { SHOWN_BYTES = 80 };

/* Length of the UTF-8 sequence at p of n bytes left (RFC 3629: no surrogates, nothing over-long, at
 * most U+10FFFF); 0: none. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80) return 1;
    size_t length = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (length == 0 || length > n) return 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return length;
}

/* C0, DEL and C1 (which UTF-8 writes as c2 80 .. c2 9f). */
static bool is_control(const unsigned char *p, size_t length)
{
    return length == 1 ? p[0] < 0x20 || p[0] == 0x7f : length == 2 && p[0] == 0xc2 && p[1] < 0xa0;
}

const char *gguf_show(struct gguf_shown *room, struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t at = 0;
    for (size_t i = 0; i < s.n;) {
        if (at >= SHOWN_BYTES) {
            memcpy(room->text + at, "...", 3);
            at += 3;
            break;
        }
        size_t length = utf8_length(p + i, s.n - i);
        if (length == 0 || is_control(p + i, length)) {
            at += (size_t)snprintf(room->text + at, 5, "\\x%02x", p[i]);
            i++;
        } else {
            memcpy(room->text + at, p + i, length);
            at += length;
            i += length;
        }
    }
    room->text[at] = '\0';
    return room->text;
}

const char *gguf_show_path(struct gguf_shown *room, const char *path)
{
    size_t n = strlen(path);
    size_t skip = n > SHOWN_BYTES ? n - (SHOWN_BYTES - 3) : 0;
    while (skip > 0 && skip < n && ((unsigned char)path[skip] & 0xc0) == 0x80) skip++;
    char cut[SHOWN_BYTES + 1];
    snprintf(cut, sizeof cut, "%s%s", skip ? "..." : "", path + skip);
    return gguf_show(room, str_of(cut));
}

const char *gguf_name_fault(struct str s, size_t max_bytes)
{
    const unsigned char *p = (const unsigned char *)s.p;
    if (s.n == 0) return "is empty";
    if (s.n > max_bytes) return "is too long";
    for (size_t i = 0; i < s.n;) {
        size_t length = utf8_length(p + i, s.n - i);
        if (length == 0) return "is not valid UTF-8";
        if (is_control(p + i, length)) return "contains a control character";
        i += length;
    }
    return NULL;
}
