/* words.h - what counts as a word: a longest run of characters that are no white space. */
#ifndef WORDS_H
#define WORDS_H

#include "str.h"

/* White space is what Unicode calls so (property White_Space, 25 characters); bytes that are no UTF-8 are not. */
size_t words_count(struct str text);

#endif
