/* redline_make.h - making model files: re-encoding the weights of one, and making up one of a real
 * model's shape with random weights.
 *
 * The result appears under its name only when it is complete.  Tensor after tensor passes through a
 * fixed amount of memory, whatever the size of the model; all threads work, and the bytes do not depend
 * on their number. */
#ifndef REDLINE_MAKE_H
#define REDLINE_MAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "redline_status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct redline_make_progress {
    uint64_t done_bytes, total_bytes; /* of tensor data */
    const char *tensor;               /* the one in hand */
};

/* Called on the caller's thread after every piece, of some MB at most: be quick.  A non-zero return stops with
 * REDLINE_CANCEL. */
typedef int redline_make_listener(void *user, const struct redline_make_progress *progress);

enum { REDLINE_MADE_TYPES = 16 };

struct redline_made { /* what was written */
    uint64_t n_tensors, n_parameters, tensor_bytes;
    uint64_t n_fallback; /* tensors whose rows do not divide into blocks of the type that the mixture wants */
    uint64_t n_weighted, n_unweighted; /* with an importance matrix: tensors encoded by it, and those that it
                                          has no entry for */
    char unweighted[128];              /* the first of these */
    size_t n_types;
    struct {
        const char *type;
        uint64_t n_tensors, bytes;
    } types[REDLINE_MADE_TYPES]; /* in the order of first use */
};

/* ---- mixtures ------------------------------------------------------------------------------- */

/* "Q4_K_M" and so on: the names under which llama.cpp's users know which tensor gets which type.
 * NULL behind the last. */
const char *redline_mixture_name(size_t i);

/* ---- re-encoding ---------------------------------------------------------------------------- */

struct redline_quantize_params {
    int n_threads;         /* 0: as many as there are cores that this process may use */
    bool allow_requantize; /* re-encode tensors that are already quantised: their loss adds up */
    const char *imatrix;   /* an importance matrix (redline_imatrix_write(), llama-imatrix), by which errors are
                              weighed; NULL: none */
    redline_make_listener *listener; /* may be NULL */
    void *user;
};

/* Writes the model at `in` (of a split set, the first file) as one file with the given mixture.
 * Metadata is copied.  REDLINE_ARG: unknown mixture, out is in, a quantised tensor would be re-encoded;
 * REDLINE_FORMAT: a weight that is re-encoded is not finite, the importance matrix is broken or another model's.
 * params and made may be NULL. */
int redline_quantize(const char *in, const char *out, const char *mixture,
                     const struct redline_quantize_params *params, struct redline_made *made,
                     struct redline_err *err);

/* ---- making up ------------------------------------------------------------------------------ */

/* "llama2-7b" and so on; NULL behind the last.  redline_shape_title(): "Llama 2 7B". */
const char *redline_shape_name(size_t i);
const char *redline_shape_title(size_t i);

struct redline_synth_params {
    int n_threads; /* 0: as many as there are cores that this process may use */
    uint64_t seed; /* same seed, same bytes */
    redline_make_listener *listener; /* may be NULL */
    void *user;
};

/* Writes a model with the metadata, tensors and vocabulary size of the real one, random weights of
 * deviation 1 / sqrt(row width), and a made-up vocabulary.  params and made may be NULL. */
int redline_synth(const char *shape, const char *mixture, const char *out,
                  const struct redline_synth_params *params, struct redline_made *made,
                  struct redline_err *err);

#ifdef __cplusplus
}
#endif
#endif
