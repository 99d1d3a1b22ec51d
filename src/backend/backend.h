/* backend.h - what a device can do, as one table of functions.
 *
 * The model asks a backend for memory, places its weights there, and hands it steps.  Addresses that a
 * backend gives out are opaque to everybody else.  Required means required: there are no optional
 * slots; what a device lacks, it refuses by name when it is opened or when a weight is placed. */
#ifndef BACKEND_H
#define BACKEND_H

#include "step.h"

struct backend; /* one open device */

enum { BACKEND_MOST_DEVICES = 17 }; /* that one model runs on: the CPU, and GPUs */

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
    int device;          /* which of n_devices() */
    size_t weight_bytes; /* that place() and vector() will take from the device in all, claimed when it is opened */
    int n_threads; /* of a CPU */
    bool adapt;    /* fewer of them may be used where that pays; for one who did not ask for a number */
    bool exact;    /* float32 activations in every product */
    const struct backend_watch *watch; /* NULL: nobody watches */
};

/* A device as it is found, before it is opened. */
struct backend_facts {
    char name[96];   /* "NVIDIA H200" */
    char arch[16];   /* of a GPU its compute capability: "9.0" */
    uint64_t total_bytes, free_bytes; /* of its memory */
};

/* What was carried out for one layer, or outside the layers: counted where it is given to the device. */
struct backend_count {
    uint64_t n_ops;        /* operations of steps */
    uint64_t weight_bytes; /* of the weights that they read; of experts, the most that can have been chosen */
    uint64_t copied_bytes; /* between the device and the host */
};

/* What a device does at most, per second: the best of several repetitions, while nobody else uses it. */
struct backend_rates {
    double read_bytes; /* of its memory, by kernels; 0: not measured, see .missing */
    double copy_bytes; /* within its memory: read and written, so twice what is copied; 0 likewise, and of a CPU */
    double bf16_ops;   /* products of BF16 summed in float32, in registers; a multiply-add is two.  0: it has none */
    char missing[160]; /* why memory could not be measured: too little is free; "": it was */
};

struct backend_kernel {
    const char *isa, *arithmetic; /* "int8", "bf16", "f32" */
};

struct backend_ops {
    const char *name; /* "cpu", "cuda" */

    /* How many there are; of GPUs 0 where there is no driver or none that it can drive. */
    int (*n_devices)(void);

    /* Whether there may be devices and none can be used.  REDLINE_DEVICE with a sentence: their driver refuses (it is
     * too old, of another version than its library, or forbidden to this process), or there is code for none of
     * them.  Having no driver, or no device, is no refusal. */
    int (*check_devices)(struct redline_err *err);
    /* Of facts() what can be told without opening the device: all but free_bytes, which is 0. */
    int (*describe)(int device, struct backend_facts *out, struct redline_err *err);

    /* Of a GPU, opens it for this process, which takes memory of it and of the host for as long as the process lives;
     * and fails where others have taken all of it, or have it for themselves. */
    int (*facts)(int device, struct backend_facts *out, struct redline_err *err);

    int (*open)(struct backend **out, const struct backend_params *params, struct redline_err *err);
    void (*close)(struct backend **b); /* accepts a pointer to NULL */

    /* Memory for activations and KV; it is filled in as it is touched where the system can do that. */
    int (*reserve)(struct backend *b, void **out, size_t bytes, const char *what,
                   struct redline_err *err);
    void (*release)(struct backend *b, void *p, size_t bytes); /* accepts NULL */

    /* Memory of the host that the device copies from and to at full speed: for step.in and step.out. */
    int (*reserve_host)(struct backend *b, void **out, size_t bytes, const char *what, struct redline_err *err);
    void (*release_host)(struct backend *b, void *p, size_t bytes); /* accepts NULL */

    /* Makes a weight of the mapped file usable: checks that kernels exist for its type, and sets `placed` of the
     * parts that products read: of w itself, or of views of it.  Of a weight without parts, single rows are looked
     * up.  `name` is for messages. */
    int (*place)(struct backend *b, const struct weight *w, struct weight *const *parts, int n_parts, struct str name,
                 struct redline_err *err);

    /* Makes n numbers of the mapped file usable as an operation's norm, bias or the like: *out is where they are. */
    int (*vector)(struct backend *b, const float *v, size_t n, const float **out, struct redline_err *err);

    /* What place() takes of the memory of a device for a part like w, and vector() for n numbers; 0: nothing. */
    size_t (*place_bytes)(const struct weight *w);
    size_t (*vector_bytes)(size_t n);

    /* Whether place() brings parts of this type into another layout, which takes as many bytes; else they are read
     * as they are mapped. */
    bool (*packs)(const struct backend_params *params, enum dtype dtype);

    /* Scratch memory for steps within these limits: how much, and getting it. */
    size_t (*scratch_bytes)(const struct step_limits *limits, const struct backend_params *params);
    int (*prepare)(struct backend *b, const struct step_limits *limits, struct redline_err *err);

    /* Runs the step to its end.  Must be called by one thread at a time. */
    int (*run)(struct backend *b, const struct step *step, struct redline_err *err);

    /* Some milliseconds of work that would otherwise slow later steps down, such as bringing weights into another
     * layout; true when there is none.  By the thread that calls run(), and once when all is placed: then memory that
     * only placing took is given back. */
    bool (*settle)(struct backend *b);

    /* Whether the last step brought weights into another layout beside its work, so that it says little about the
     * speed of the next. */
    bool (*packed)(const struct backend *b);

    /* What it has had to do in another way than it would, from the last step on: a sentence; or "". */
    const char *(*note)(const struct backend *b);

    /* [n_layers + 1] since it was opened: of each layer, then of what stands outside the layers. */
    const struct backend_count *(*counts)(const struct backend *b);

    /* How many threads the last step used; of a GPU 0. */
    int (*n_used)(const struct backend *b);

    /* The instruction set and the arithmetic of products with a weight type: "avx512" and "int8"; for tokens that
     * are generated, or for texts. */
    struct backend_kernel (*kernel)(const struct backend *b, enum dtype dtype, bool text);

    /* Takes some 0.2 s, and memory of the device where there is enough.  b: the device as it is open, or NULL; where
     * weights that lie there are more than caches hold, they are what is read.  By the thread that calls run(). */
    int (*measure)(int device, struct backend *b, struct backend_rates *out, struct redline_err *err);
};

extern const struct backend_ops backend_cpu;

/* The GPU backend that this program was linked with, or NULL. */
extern const struct backend_ops *const backend_gpu;

/* Every open backend begins with this. */
struct backend {
    const struct backend_ops *ops;
};

#endif
