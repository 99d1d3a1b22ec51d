/* importance.h - an importance matrix in use: how much each column of a tensor matters when it is encoded. */
#ifndef IMPORTANCE_H
#define IMPORTANCE_H

#include "imatrix.h"
#include "kern.h"
#include "mix.h"

struct importance {
    struct imatrix matrix;  /* n 0: there is none */
    size_t n_found, n_missing; /* tensors that are encoded by weights, and those that could be */
    struct str missing;     /* the first of these */
    float *columns;         /* [n_mats, n_cols] of the tensor in hand, of mean 1; owned */
    const struct imatrix_entry *entry; /* its entry, or NULL */
};

/* path NULL: there is none, and all of the below does nothing. */
int  importance_open(struct importance *m, const char *path, struct redline_err *err);
void importance_close(struct importance *m); /* accepts {0} */

/* Before the work: whether each tensor that will be encoded anew has an entry, of its shape.  REDLINE_FORMAT: an
 * entry of another shape; entries for none of them. */
int importance_check(struct importance *m, const struct mix_tensor *tensors, size_t n, const struct kern_ops *kern,
                     struct redline_err *err);

/* Takes a tensor in hand. */
int importance_take(struct importance *m, const struct mix_tensor *t, const struct kern_ops *kern,
                    struct redline_err *err);

/* The elements [first, first + n) of the tensor in hand, encoded.  On any thread. */
void importance_encode(const struct importance *m, const struct mix_tensor *t, const struct kern_ops *kern,
                       void *dst, const float *src, uint64_t first, size_t n);

#endif
