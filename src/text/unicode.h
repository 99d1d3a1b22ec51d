/* unicode.h - the few facts about characters that tokenizers ask for, over utf8proc. */
#ifndef UNICODE_H
#define UNICODE_H

#include <utf8proc.h>

#include "base.h"
#include "str.h"

/* The code point at s.p[at] and its bytes, or 0 where no valid sequence begins. */
size_t text_next(struct str s, size_t at, int32_t *code_point);
size_t text_put(char out[4], int32_t code_point); /* bytes written */

/* The same, but 1 for a byte that begins no valid sequence: such a byte is a character of its own,
 * so that it can never swallow a part of its neighbour. */
size_t text_char_length(struct str s, size_t at);

/* Bytes of a sequence by its first byte alone; 1 for a byte that begins none. */
size_t text_lead_length(unsigned char byte);

bool text_is_space(int32_t code_point);   /* Unicode's White_Space */
bool text_is_mark(int32_t code_point);    /* category M */
bool text_is_control(int32_t code_point); /* category C, unassigned ones apart */
bool text_is_punctuation(int32_t code_point);
bool text_is_symbol(int32_t code_point);
int32_t text_lower(int32_t code_point);
int32_t text_base(int32_t code_point); /* the first of its canonical decomposition */

/* " " to U+2581, in place. */
int text_escape_spaces(struct buf *b, struct redline_err *err);

/* The printable stand-in that byte-level BPE writes for a byte. */
int32_t text_byte_stand_in(unsigned char byte);

#endif
