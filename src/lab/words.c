/* words.c - white space in UTF-8, and runs between. */
#include "words.h"

#include "base.h"

/* Those beyond ASCII, as bytes. */
static const struct str blanks[] = {
    {"\xc2\x85", 2},     {"\xc2\xa0", 2},     {"\xe1\x9a\x80", 3}, {"\xe2\x80\xa8", 3},
    {"\xe2\x80\xa9", 3}, {"\xe2\x80\xaf", 3}, {"\xe2\x81\x9f", 3}, {"\xe3\x80\x80", 3},
};

/* Bytes of the white space that the text begins with; 0: it begins with something else. */
static size_t blank_bytes(struct str s)
{
    unsigned char c = (unsigned char)s.p[0];
    if (c == ' ' || (c >= '\t' && c <= '\r')) return 1;
    if (c < 0x80) return 0;
    if (s.n >= 3 && c == 0xe2 && s.p[1] == '\x80' && (unsigned char)s.p[2] >= 0x80 && (unsigned char)s.p[2] <= 0x8a)
        return 3; /* U+2000 to U+200A */
    for (size_t i = 0; i < COUNT_OF(blanks); i++)
        if (str_starts(s, blanks[i])) return blanks[i].n;
    return 0;
}

size_t words_count(struct str text)
{
    size_t n_words = 0;
    bool within = false;
    while (text.n > 0) {
        size_t n = blank_bytes(text);
        n_words += n == 0 && !within;
        within = n == 0;
        n = MAX(n, 1);
        text = (struct str){text.p + n, text.n - n};
    }
    return n_words;
}
