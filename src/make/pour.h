/* pour.h - writing a file of tensors with all threads and little memory.
 *
 * A tensor is cut into pieces of fixed size, whatever the number of threads.  While one batch of pieces
 * is made by the team, its first member writes the batch before; so disk and processors work together
 * and two batches are all the memory there is. */
#ifndef POUR_H
#define POUR_H

#include "gguf_write.h"
#include "mix.h"
#include "redline_make.h"

enum { POUR_PIECE = 1 << 15 }; /* elements; a multiple of every block */

struct pour_job {
    const struct mix_tensor *tensors; /* in the order of the file; their `to` is what is written */
    size_t n;
    int n_threads;                   /* 0: the cores this process may use */
    void *maker;
    redline_make_listener *listener; /* may be NULL */
    void *user;

    /* On the caller's thread, around the pieces of each tensor; either may be NULL. */
    int (*begin)(void *maker, size_t i_tensor, struct redline_err *err);
    int (*end)(void *maker, size_t i_tensor, struct redline_err *err);

    /* On any thread: the encoded elements [first, first + n) to dst; first is a multiple of POUR_PIECE.
     * scratch: POUR_PIECE floats of this thread's own. */
    void (*fill)(void *maker, size_t i_tensor, void *dst, uint64_t first, size_t n, float *scratch);
};

/* Announces the tensors, writes them and finishes the file.  made may be NULL. */
int pour_file(const struct pour_job *job, struct gguf_writer *w, struct redline_made *made,
              struct redline_err *err);

#endif
