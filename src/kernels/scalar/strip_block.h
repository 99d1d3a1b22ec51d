/* strip_block.h - one block of one row of a strip, as it was in the file. */
#ifndef STRIP_BLOCK_H
#define STRIP_BLOCK_H

#include "strip.h"

/* Block `nth` of row r of a strip of n_cols columns; block: f->bytes. */
void strip_block(void *block, const struct strip_form *f, const void *strip, int n_cols, int r, int nth);

#endif
