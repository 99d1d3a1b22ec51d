/* backend.h - what a device can do, as one table of functions.
 *
 * The model asks a backend for memory, places its weights there, and hands it steps.  Addresses that a
 * backend gives out are opaque to everybody else.  Required means required: there are no optional
 * slots; what a device lacks, it refuses by name when it is opened or when a weight is placed. */
#ifndef BACKEND_H
#define BACKEND_H

#include "step.h"

struct backend; /* one open device */

/* Who wants to see what goes into the products.  Backends that cannot show it refuse to open. */
struct backend_watch {
    /* Products will read this weight, or views of it. */
    int (*weight)(void *user, struct str name, const struct weight *w, struct redline_err *err);

    /* n rows of w->n_cols float32 numbers, `stride` apart, that matrix `mat` of w is multiplied with now: before
     * they are rounded to 8 bits.  Every row once for each weight, in the order of the batch; on any thread, for
     * one matrix on one at a time. */
    void (*rows)(void *user, const struct weight *w, int mat, const float *x, size_t stride, int n);
    void *user;
};

struct backend_params {
    int n_threads; /* of a CPU */
    bool adapt;    /* fewer of them may be used where that pays; for one who did not ask for a number */
    bool exact;    /* float32 activations in every product */
    const struct backend_watch *watch; /* NULL: nobody watches */
};

struct backend_kernel {
    const char *isa, *arithmetic; /* "int8", "bf16", "f32" */
};

struct backend_ops {
    const char *name; /* "cpu" */

    int (*open)(struct backend **out, const struct backend_params *params, struct redline_err *err);
    void (*close)(struct backend **b); /* accepts a pointer to NULL */

    /* Memory for activations and KV; it is filled in as it is touched where the system can do that. */
    int (*reserve)(struct backend *b, void **out, size_t bytes, const char *what,
                   struct redline_err *err);
    void (*release)(struct backend *b, void *p, size_t bytes); /* accepts NULL */

    /* Makes a weight of the mapped file usable: checks that kernels exist for its type, and sets `placed` of the
     * parts that products read: of w itself, or of views of it.  Of a weight without parts, single rows are looked
     * up.  `name` is for messages. */
    int (*place)(struct backend *b, const struct weight *w, struct weight *const *parts, int n_parts, struct str name,
                 struct redline_err *err);

    /* Whether place() brings parts of this type into another layout, which takes as many bytes; else they are read
     * as they are mapped. */
    bool (*packs)(const struct backend_params *params, enum dtype dtype);

    /* Scratch memory for steps within these limits: how much, and getting it. */
    size_t (*scratch_bytes)(const struct step_limits *limits, const struct backend_params *params);
    int (*prepare)(struct backend *b, const struct step_limits *limits, struct redline_err *err);

    /* Runs the step to its end.  Must be called by one thread at a time. */
    int (*run)(struct backend *b, const struct step *step, struct redline_err *err);

    /* Some milliseconds of work that would otherwise slow later steps down, such as bringing weights into another
     * layout; true when there is none.  By the thread that calls run(). */
    bool (*settle)(struct backend *b);

    /* Whether the last step brought weights into another layout beside its work, so that it says little about the
     * speed of the next. */
    bool (*packed)(const struct backend *b);

    /* How many threads the last step used. */
    int (*n_used)(const struct backend *b);

    /* The instruction set and the arithmetic of products with a weight type: "avx512" and "int8"; for tokens that
     * are generated, or for texts. */
    struct backend_kernel (*kernel)(const struct backend *b, enum dtype dtype, bool text);
};

extern const struct backend_ops backend_cpu;

/* Every open backend begins with this. */
struct backend {
    const struct backend_ops *ops;
};

#endif
