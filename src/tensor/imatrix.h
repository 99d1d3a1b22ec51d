/* imatrix.h - importance matrices as files: for each matrix of a model, the sum of the squares of every column of
 * what it was multiplied with, over some text, and how many rows that were.
 *
 * The file is a GGUF file as llama.cpp's llama-imatrix writes it: general.type "imatrix", for each weight NAME
 * the F32 tensors NAME.in_sum2 [n_mats, n_cols] and NAME.counts [n_mats] (or one count for all matrices), and
 * under imatrix.* what text that was. */
#ifndef IMATRIX_H
#define IMATRIX_H

#include "gguf.h"

struct imatrix_entry { /* of one weight */
    struct str name;
    uint64_t n_sums, n_counts;
    const float *sums;   /* [n_sums] finite, not negative */
    const float *counts; /* [n_counts] the same */
};

struct imatrix_text { /* where the numbers are from */
    struct str dataset; /* the text's name, or empty */
    uint32_t n_chunks, chunk_size;
};

struct imatrix {
    struct gguf *file;             /* owned; what the entries borrow from */
    struct imatrix_entry *entries; /* [n], owned */
    size_t n;
    struct imatrix_text text;
};

/* REDLINE_FORMAT: no importance matrix, an entry with half its tensors, a number that cannot be. */
int  imatrix_open(struct imatrix *out, const char *path, struct redline_err *err);
void imatrix_close(struct imatrix *m); /* accepts {0}; leaves {0} */

/* NULL: there is none of this name. */
const struct imatrix_entry *imatrix_find(const struct imatrix *m, struct str name);

/* n_counts is the number of matrices, by which n_sums divides. */
int imatrix_write(const char *path, const struct imatrix_entry *entries, size_t n,
                  const struct imatrix_text *text, struct redline_err *err);

#endif
