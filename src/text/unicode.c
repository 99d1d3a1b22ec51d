/* unicode.c - thin wrappers; the numbers of categories are utf8proc's. */
#include "unicode.h"

#define BIT(category) (1u << UTF8PROC_CATEGORY_##category)

static bool has_category(int32_t cp, unsigned set)
{
    return set >> utf8proc_category(cp) & 1;
}

size_t text_next(struct str s, size_t at, int32_t *code_point)
{
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s.p + at,
                                          (utf8proc_ssize_t)MIN(s.n - at, 4), code_point);
    return n > 0 ? (size_t)n : 0;
}

size_t text_char_length(struct str s, size_t at)
{
    int32_t cp;
    size_t n = text_next(s, at, &cp);
    return n ? n : 1;
}

size_t text_put(char out[4], int32_t code_point)
{
    return (size_t)utf8proc_encode_char(code_point, (utf8proc_uint8_t *)out);
}

size_t text_lead_length(unsigned char byte)
{
    return byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

bool text_is_space(int32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == 0x85 || has_category(cp, BIT(ZS) | BIT(ZL) | BIT(ZP));
}

bool text_is_mark(int32_t cp)
{
    return has_category(cp, BIT(MN) | BIT(MC) | BIT(ME));
}

bool text_is_control(int32_t cp)
{
    return has_category(cp, BIT(CC) | BIT(CF) | BIT(CS) | BIT(CO));
}

bool text_is_punctuation(int32_t cp)
{
    return has_category(cp, BIT(PC) | BIT(PD) | BIT(PS) | BIT(PE) | BIT(PI) | BIT(PF) | BIT(PO));
}

bool text_is_symbol(int32_t cp)
{
    return has_category(cp, BIT(SM) | BIT(SC) | BIT(SK) | BIT(SO));
}

int32_t text_lower(int32_t cp)
{
    return utf8proc_tolower(cp);
}

int32_t text_base(int32_t cp)
{
    utf8proc_int32_t parts[16];
    int boundary = 0;
    utf8proc_ssize_t n =
        utf8proc_decompose_char(cp, parts, COUNT_OF(parts), UTF8PROC_DECOMPOSE, &boundary);
    return n > 0 ? parts[0] : cp;
}

int text_escape_spaces(struct buf *b, struct redline_err *err)
{
    size_t n_spaces = 0, n = b->n;
    for (size_t i = 0; i < n; i++) n_spaces += b->p[i] == ' ';
    if (n_spaces == 0) return 0;
    TRY(buf_reserve(b, 2 * n_spaces, err));
    b->n = n + 2 * n_spaces;
    b->p[b->n] = '\0';
    for (size_t from = n, to = b->n; from > 0;) {
        if (b->p[--from] != ' ') {
            b->p[--to] = b->p[from];
            continue;
        }
        to -= 3;
        memcpy(b->p + to, "\xe2\x96\x81", 3);
    }
    return 0;
}

int32_t text_byte_stand_in(unsigned char byte)
{
    if ((byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae)
        return byte;
    /* The others follow in order, from U+0100 on: 0x00-0x20, 0x7f-0xa0, 0xad. */
    return byte <= 0x20 ? 0x100 + byte : byte <= 0xa0 ? 0x121 + byte - 0x7f : 0x143;
}
