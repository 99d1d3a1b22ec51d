/* pieces.h - a numbered set of texts: id to text by index, text to id by hash.
 *
 * The texts are borrowed.  Tokens come first, so a token's piece id is its token id; byte-level BPE
 * adds the intermediate texts of its merges that are no tokens. */
#ifndef PIECES_H
#define PIECES_H

#include "err.h"
#include "str.h"

struct pieces {
    struct str *texts;
    uint32_t n, capacity;
    uint32_t *slots; /* id + 1, or 0 */
    uint32_t n_slots; /* a power of two, at least twice n */
};

/* Room for n texts without further allocation. */
int pieces_reserve(struct pieces *p, size_t n, struct redline_err *err);
void pieces_free(struct pieces *p);

/* The id of the text a + b, or -1. */
int32_t pieces_find(const struct pieces *p, struct str a, struct str b);
/* Length of the longest prefix of s (of at most `longest` bytes) whose id is below n_ids; 0 if
 * none. */
size_t pieces_longest(const struct pieces *p, struct str s, size_t longest, uint32_t n_ids,
                      int32_t *id);
/* The caller has made room and knows that the text is not there yet. */
int32_t pieces_add(struct pieces *p, struct str text);

#endif
