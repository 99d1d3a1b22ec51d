/* redline_probe.h - a look inside, for inspection, planning, diagnosis and the lab: what is in a file,
 * where everything will live, which kernels were chosen, what the machine can do.  Read-only. */
#ifndef REDLINE_PROBE_H
#define REDLINE_PROBE_H

#include "redline.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what is in a file ---------------------------------------------------------------------- */

struct redline_file_facts { /* texts live as long as the model */
    uint32_t version, alignment, n_files;
    uint64_t n_values, n_tensors;
    uint64_t tensor_bytes, file_bytes;
    uint64_t n_parameters;   /* elements of all tensors */
    const char *architecture; /* general.architecture, or "" */
    const char *name;         /* general.name, or "" */
    bool runnable;           /* the architecture is known and every tensor it needs is there */
    const char *reason;      /* why not, or "" */
    bool encoder;            /* makes vectors alone, and reads a sequence in one forward pass */
    enum redline_pooling pooling; /* that the file asks for; REDLINE_POOL_DEFAULT: it says nothing */
};
void redline_file_facts(const struct redline_model *model, struct redline_file_facts *out);

/* The path of the i-th of facts.n_files, as it was opened (the demo model's is found by itself).  *path is the
 * caller's to redline_free(). */
int redline_file_path(const struct redline_model *model, uint32_t i, char **path, struct redline_err *err);

struct redline_value_facts {
    const char *key;    /* zero-terminated; all strings die with the model or at the next call */
    const char *type;   /* "u32", "string", "string[32000]" */
    const char *text;   /* the value, long ones cut; strings printable */
    bool is_string;     /* text is a string, not a number, truth value or array */
};
/* One thread at a time, unlike the rest of a model: the texts are made in the model's own memory. */
int redline_value_at(struct redline_model *model, uint64_t i, struct redline_value_facts *out,
                     struct redline_err *err);

struct redline_tensor_facts {
    const char *name;
    const char *type;   /* "Q4_K" */
    uint32_t n_dims;
    uint64_t shape[4];
    uint64_t bytes;
    uint32_t file;
    bool used;          /* bound by the architecture; false for all when the model is not runnable */
};
/* One thread at a time, too. */
int redline_tensor_at(struct redline_model *model, uint64_t i, struct redline_tensor_facts *out,
                      struct redline_err *err);

/* ---- where everything will live -------------------------------------------------------------- */

enum { REDLINE_MOST_DEVICES = 17 }; /* the CPU and GPUs */

/* Memory, in bytes, of one device: what the plan takes of it.  Of the CPU: free is what this process may have, and
 * weights are read as they are mapped or packed from there. */
struct redline_plan_device {
    char name[96];            /* "NVIDIA H200" */
    char label[16];           /* "cpu", "gpu0": how params.placement names it */
    char kind[8];             /* the backend: "cpu", "cuda" */
    char arch[16];            /* of a GPU its compute capability, "9.0"; of the CPU "" */
    uint64_t total_bytes, free_bytes; /* as found when the plan was made */
    uint64_t cap_bytes;       /* params.device_memory; 0: none */
    uint64_t margin_bytes;    /* left free for what no plan knows: the driver's own, rounding */
    uint64_t weight_bytes, kv_bytes, buffer_bytes, scratch_bytes;
    uint64_t sum_bytes;       /* of those four */
    uint64_t left_bytes;      /* free memory, or the cap, less the margin and the sum; 0: nothing, or too little */
    int n_blocks;             /* that run here; a GPU with none is not opened */
    bool looked_at;           /* of a GPU; else those before it have room for all: it was not opened to ask what is
                                 free, and nothing counts on it */
};

struct redline_plan {
    const char *device;        /* "cpu"; "cuda" where a block runs on a GPU */
    int n_threads, n_ctx, n_seqs, n_ubatch, n_layers;
    int n_gpu_layers;          /* of n_layers, those that run on GPUs as a whole */
    int n_split_layers;        /* those that run on the CPU in one part */
    int n_devices, n_blocks;   /* of .devices; rows of redline_plan_blocks() */
    struct redline_plan_device devices[REDLINE_MOST_DEVICES]; /* the CPU, then GPUs in the backend's order; without
                                  those where none was asked for */
    const char *type_k, *type_v;
    uint64_t weight_bytes;     /* used tensors */
    uint64_t packed_bytes;     /* of those, what products on the CPU read in a layout of their own, made at first use;
                                  the rest is read as it is mapped */
    bool huge_pages;           /* for what is packed */
    uint64_t unused_bytes;     /* tensors that nothing reads */
    uint64_t kv_bytes;         /* over all devices; of the CPU address space, memory as it is touched */
    uint64_t kv_token_bytes;   /* of one position over all layers that see the whole context */
    uint64_t kv_window_token_bytes; /* ... over those that see the last n_window positions alone */
    uint64_t kv_ring_bytes;    /* of kv_bytes, what does not grow with the context */
    int n_window;              /* 0: no layer has a window */
    uint64_t buffer_bytes;     /* activations and logits, over all devices like the next two */
    uint64_t scratch_bytes;    /* of the backends */
    uint64_t total_bytes;      /* the sums of .devices */
    uint64_t available_bytes;  /* of the machine's memory free for this process now */
    uint64_t limit_bytes;      /* the container's limit, 0: none */
    uint64_t token_bytes;      /* weights read for one token */
    uint64_t token_ops;        /* in the products of the layers, for one token; a multiply-add is two */
    uint64_t kept_ops;         /* of those, what is done for tokens alone whose logits are wanted */
    uint64_t head_ops;         /* in that of the output matrix, for each token whose logits are wanted */
    uint64_t kv_token_ops;     /* in attention, for one token and each position that it attends to, in layers
                                  that see the whole context */
    uint64_t kv_window_token_ops; /* ... in those that see the last n_window alone */
    int n_ctx_train;           /* what the model was trained for */
    int n_ctx_fits;            /* the longest context that would fit, on GPUs that were looked at; 0: not even the
                                  weights do */
    int n_gpu_layers_fits;     /* the most layers that would fit on those GPUs, all else being equal; -1: none were
                                  asked for by number, so all that fit are there */
    bool fits;                 /* on each device */
    int short_device;          /* where not: the first device without room for a block that has to run there */
    char short_tensor[96];     /* that block's largest tensor; "": what lacks room is not a block */
    uint64_t short_bytes;      /* the memory that it needs, with what its device needs beside it */
    uint64_t short_room_bytes; /* the memory that there is */
    char warning[320];         /* what there might be of GPUs and the plan does without, as "auto" may; or "".  Opening
                                  an engine tells it as an event */
};

/* From the file's header and the machine's facts alone; nothing is loaded.  A plan that does not fit is
 * still a plan: look at .fits. */
int redline_plan(const struct redline_model *model, const struct redline_engine_params *params,
                 struct redline_plan *out, struct redline_err *err);

enum redline_part { /* of a model: what runs on one device */
    REDLINE_PART_EMBEDDING,
    REDLINE_PART_ATTENTION,
    REDLINE_PART_FEED_FORWARD,
    REDLINE_PART_LAYER, /* both, where they read the same numbers */
    REDLINE_PART_HEAD,
};

enum redline_why { /* a block is where it is */
    REDLINE_WHY_NO_GPU,    /* there is none to be had */
    REDLINE_WHY_ASKED,     /* n_gpu_layers asks for it there */
    REDLINE_WHY_NOT_ASKED, /* n_gpu_layers does not ask for it on a GPU */
    REDLINE_WHY_FITS,      /* "auto", and the GPU has room */
    REDLINE_WHY_NO_ROOM,   /* "auto", and it has none left */
    REDLINE_WHY_PLACEMENT, /* placement says so */
    REDLINE_WHY_CPU_MOE,   /* n_cpu_moe says so */
    REDLINE_WHY_ROWS,      /* the embedding: single rows are looked up, which the CPU does where the file is mapped */
    REDLINE_WHY_WATCHED,   /* an importance matrix is collected, which the CPU alone can do */
    REDLINE_WHY_REFUSED,   /* GPUs may be there and cannot be used: see plan.warning */
};

struct redline_plan_block {
    enum redline_part part;
    int layer;             /* -1: of no layer */
    bool experts;          /* of which a token needs few */
    int device;            /* of plan.devices */
    uint64_t weight_bytes; /* as they lie on that device */
    uint64_t kv_bytes;
    enum redline_why why;
    const char *reason;    /* the same in a few words */
    char largest[96];      /* name of its largest tensor; "": it has none */
};

/* Writes plan->n_blocks rows, in the order in which they run.  The plan must have been made with these params. */
int redline_plan_blocks(const struct redline_model *model, const struct redline_engine_params *params,
                        const struct redline_plan *plan, struct redline_plan_block *out, struct redline_err *err);

/* The CUDA that this library was built with, as CUDA counts: 12040 for 12.4; 0: built without, it has no GPU
 * backend. */
int redline_cuda_version(void);

/* How many GPUs this library can run models on; 0: it was built without, or none answers. */
int redline_gpu_count(void);

/* What keeps it from GPUs that may be there: REDLINE_DEVICE, with what the driver says where it refuses, or that they
 * are older than this library has code for.  0: nothing does, whether there are GPUs or not. */
int redline_gpu_check(struct redline_err *err);

/* ---- what is running ------------------------------------------------------------------------- */

struct redline_engine_facts { /* texts live as long as the engine */
    struct redline_plan plan;      /* as carried out */
    int n_threads_used;            /* by the last step; fewer than planned where other programs are busy */
    uint64_t load_ns;
    uint64_t peak_rss_bytes;       /* of the process so far */
    uint64_t kv_touched_bytes;     /* pages in use at their most */
    const char *cpu;               /* "AMD EPYC 9554" */
    const char *features;          /* "avx2 avx512" */
    const char *kernel;            /* table that serves the largest share of the weights: "avx512" */
    const char *kernel_type;       /* their type: "Q4_K" */
    bool fits_in_cache;            /* what a token reads: memory is not the limit then */
};
void redline_engine_facts(const struct redline_engine *engine, struct redline_engine_facts *out);

/* Where each block runs: plan.n_blocks rows, as carried out.  They live as long as the engine. */
const struct redline_plan_block *redline_engine_blocks(const struct redline_engine *engine);

/* Of plan.devices[i] what was free before the engine opened it, and of a GPU what is free now: kernels that were loaded
 * and graphs that were made since then count.  Of the CPU, where memory is taken as it is touched, what was free when
 * the engine was loaded.  Other programs may take some meanwhile. */
struct redline_device_use {
    uint64_t free_before_bytes, free_after_bytes;
    uint64_t used_bytes;    /* the difference; 0 where there is more than before */
    uint64_t planned_bytes; /* sum_bytes of the plan */
};
/* Waits for the step that runs; not from a listener. */
void redline_engine_device(struct redline_engine *engine, int device, struct redline_device_use *out);

/* What a device has done for one layer since the engine was opened: counted by its backend where it was done. */
struct redline_count {
    uint64_t n_ops;        /* operations */
    uint64_t weight_bytes; /* of the weights that they read; of experts, the most that can have been chosen */
    uint64_t copied_bytes; /* between the device and the host */
};

/* Writes plan.n_layers + 1 rows: of each layer, then of what stands outside them.  Zeros of a device that was not
 * opened.  Waits for the step that runs; not from a listener. */
void redline_engine_counts(struct redline_engine *engine, int device, struct redline_count *out);

/* Waits until the weights lie as they will stay.  An engine brings them into the layout of its kernels while it
 * answers and while it rests; whoever measures wants that done.  Requests that run meanwhile delay it.  Not from a
 * listener: the engine's thread would wait for itself. */
void redline_engine_settle(struct redline_engine *engine);

struct redline_kernel_facts { /* of one type of weights on one device; texts live as long as the engine */
    int device;            /* of plan.devices */
    const char *type;      /* "Q4_K" */
    const char *kernel;    /* table that serves it: "avx512" */
    const char *arithmetic; /* of its products with generated tokens: "int8", or "f32" */
    const char *text_kernel, *text_arithmetic; /* with texts: the same, or "amx" and "bf16" */
    uint64_t bytes;        /* of all used tensors of the type */
};

/* The i-th, those with the most bytes first; false: there are not so many. */
bool redline_kernel_at(const struct redline_engine *engine, size_t i, struct redline_kernel_facts *out);

/* Reads memory far larger than the caches with as many threads as the engine has, between two steps: the best
 * of many repetitions, in bytes per second, by the method of redline_limits_measure().  Where blocks lie on several
 * devices, each reads memory of its own (a GPU the weights that lie there, where its cache is small beside them), and
 * this is what they reach one after the other, each for its share of the weights.  Takes some 0.2 s for each, and
 * memory: read the peak before.  REDLINE_MEMORY, with NAN: there is too little for that; all else goes on. */
int redline_measure_bandwidth(struct redline_engine *engine, double *bytes_per_second,
                              struct redline_err *err);

/* ---- importance matrices --------------------------------------------------------------------- */

/* For each matrix of a model, the sum of the squares of every column of what it is multiplied with: what
 * redline_quantize() may weigh its errors by.  Collected by an engine that was opened with it
 * (redline_engine_params.imatrix), from all that the engine computes; several may follow one another. */
struct redline_imatrix;

int  redline_imatrix_new(struct redline_imatrix **out, struct redline_err *err);
void redline_imatrix_free(struct redline_imatrix **matrix); /* after the engine; accepts a pointer to NULL */

struct redline_imatrix_text { /* for the file: what was read */
    const char *dataset;      /* its name, or NULL */
    uint32_t n_chunks, chunk_size;
};

struct redline_imatrix_facts {
    size_t n_entries; /* weights that were multiplied with something */
    size_t n_partial; /* of them those with experts that no token chose */
};

/* As a GGUF file like that of llama.cpp's llama-imatrix.  Not while requests run.  REDLINE_ARG: nothing was
 * computed; REDLINE_FORMAT: a sum is not finite, the sentence says of which weight.  facts may be NULL. */
int redline_imatrix_write(const struct redline_imatrix *matrix, const char *path,
                          const struct redline_imatrix_text *text, struct redline_imatrix_facts *facts,
                          struct redline_err *err);

/* ---- the machine's measured limits ------------------------------------------------------------ */

/* What the limits depend on: on another machine, or with another method, they are measured anew. */
struct redline_machine {
    char cpu[64];         /* "AMD EPYC 9554" */
    char features[64];    /* "avx2 avx512 bf16": what the processor has, less what REDLINE_CPU takes away */
    char microcode[24];   /* "0xa101148", or "" */
    char kernel[96];      /* "Linux 6.1.0-18-amd64" */
    char build[64];       /* "GNU 12.2.0 RelWithDebInfo": a program built to find mistakes measures itself */
    int n_logical, n_physical;    /* processors, and cores, that this process may run on */
    int n_threads;                /* what an engine uses by default */
    double quota;                 /* processors' worth of time that the container grants; 0: no limit */
    uint64_t l1d_bytes, l2_bytes; /* of one core; 0: unknown */
    uint64_t l3_bytes;            /* of one L3 cache */
    int n_l3;                     /* L3 caches that the processors above have */
    uint64_t memory_bytes;        /* of the machine */
};
void redline_machine(struct redline_machine *out);

/* Of all last-level caches together: what is smaller than that need not come from memory. */
uint64_t redline_machine_cache_bytes(const struct redline_machine *machine);

/* A fingerprint: 16 hexadecimal digits made of all of the above (memory in whole GiB) and the version of
 * the method. */
void redline_machine_id(const struct redline_machine *machine, char out[17]);
bool redline_machine_same(const struct redline_machine *a, const struct redline_machine *b);

/* Per second, whole numbers.  The best repetition is the limit: what the machine does when nobody else
 * wants it and no quota has run out.  The median is what it did while it was measured. */
struct redline_rate {
    double best, median, worst;
    int n_repetitions;
};

/* Bytes per second that n_threads threads read from memory far larger than all caches, each a contiguous
 * part of its own; written before by the largest team, so on machines of several memory nodes it lies on all. */
struct redline_bandwidth {
    int n_threads;
    struct redline_rate plain;    /* loads one after the other, as wide as the processor has them */
    struct redline_rate prefetch; /* the same, with lines asked for 512 bytes ahead */
};

/* Operations per second, a multiplication with its addition counting as two, of n_threads threads that do
 * nothing else: operands and sums stay in registers. */
struct redline_peak {
    char isa[12];  /* "scalar", "avx2", "avxvnni", "avx512", "amx" */
    char type[8];  /* "f32"; "bf16" and "int8": products summed in float32 and in 32-bit integers */
    int n_threads; /* 1, or all that were measured with */
    struct redline_rate ops;
};

enum { REDLINE_MOST_BANDWIDTHS = 32, REDLINE_MOST_PEAKS = 48 };

struct redline_limits {
    struct redline_machine machine;
    int64_t measured_at;   /* seconds since 1970 */
    uint64_t duration_ms;
    int n_threads;         /* of the largest team */
    uint64_t read_bytes;   /* memory that was read */
    int n_bandwidths, n_peaks;
    struct redline_bandwidth bandwidths[REDLINE_MOST_BANDWIDTHS]; /* 1 to n_threads, from 8 on in steps */
    struct redline_peak peaks[REDLINE_MOST_PEAKS];
};

struct redline_limits_params {
    int n_threads;       /* the largest team; 0: as many as an engine uses by default */
    uint32_t budget_ms;  /* for measuring, the taking of memory not counted; every figure comes of at least
                            three repetitions, so large machines take longer; 0: 3000 */
    uint64_t read_bytes; /* 0: four times the last-level caches, at least 256 MiB, within a quarter of the
                            memory that is free */
    void (*progress)(void *user, const char *what, double share); /* may be NULL */
    void *user;
};

/* Takes its time and the whole machine, with a team of threads of its own; the calling thread is a member and
 * may be bound to a processor meanwhile.  REDLINE_ARG, REDLINE_MEMORY, or REDLINE_DEVICE when threads cannot
 * be started. */
int redline_limits_measure(struct redline_limits *out, const struct redline_limits_params *params,
                           struct redline_err *err);

/* The best bandwidth that at most n_threads threads reach, and the best rate of operations; between two
 * teams that were measured, a straight line; beyond the largest, what that one reached.  0: not measured. */
double redline_limits_bandwidth(const struct redline_limits *limits, int n_threads);
double redline_limits_peak(const struct redline_limits *limits, const char *isa, const char *type,
                           int n_threads);

/* Of one GPU, per second: what struct redline_limits is of the processor.  Best of some repetitions. */
struct redline_gpu_limits {
    char name[96], arch[16]; /* "NVIDIA H200", "9.0" */
    double read_bytes;  /* of its memory, by kernels; 0: not measured, see .missing */
    double copy_bytes;  /* within its memory, read and written: twice what is copied; 0 likewise */
    double bf16_ops;    /* products of BF16 summed in float32, operands in registers; a multiply-add is two */
    char missing[160];  /* why memory could not be measured: too little is free; "": it was */
};

/* gpu: from 0, of redline_gpu_count().  Takes some 0.2 s, and of its memory an eighth of what is free, or up to half
 * where an eighth fits in its cache. */
int redline_gpu_limits_measure(int gpu, struct redline_gpu_limits *out, struct redline_err *err);

/* A record as JSON text; *text is the caller's to redline_free().  Reading checks everything: REDLINE_FORMAT
 * says what is wrong with a record.  Whose record it is, redline_machine_same() tells. */
int redline_limits_to_json(const struct redline_limits *limits, char **text, struct redline_err *err);
int redline_limits_from_json(struct redline_limits *out, const char *text, size_t n_bytes,
                             struct redline_err *err);

#ifdef __cplusplus
}
#endif
#endif
