/* redline_probe.h - a look inside, for inspection, planning, diagnosis and the lab: what is in a file,
 * where everything will live, which kernels were chosen, what the machine can do.  Read-only. */
#ifndef REDLINE_PROBE_H
#define REDLINE_PROBE_H

#include "redline.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what is in a file ---------------------------------------------------------------------- */

struct redline_file_facts {
    uint32_t version, alignment, n_files;
    uint64_t n_values, n_tensors;
    uint64_t tensor_bytes, file_bytes;
    uint64_t n_parameters;   /* elements of all tensors */
    const char *architecture; /* general.architecture, or "" */
    const char *name;         /* general.name, or "" */
    bool runnable;           /* the architecture is known and every tensor it needs is there */
    const char *reason;      /* why not, or "" */
};
void redline_file_facts(const struct redline_model *model, struct redline_file_facts *out);

struct redline_value_facts {
    const char *key;    /* zero-terminated; all strings die with the model or at the next call */
    const char *type;   /* "u32", "string", "string[32000]" */
    const char *text;   /* the value, long ones cut; strings printable */
    bool is_string;     /* text is a string, not a number, truth value or array */
};
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
int redline_tensor_at(struct redline_model *model, uint64_t i, struct redline_tensor_facts *out,
                      struct redline_err *err);

/* ---- where everything will live -------------------------------------------------------------- */

struct redline_plan {
    const char *device;        /* "cpu" */
    int n_threads, n_ctx, n_seqs, n_ubatch, n_layers;
    const char *type_k, *type_v;
    uint64_t weight_bytes;     /* used tensors, mapped from the file */
    uint64_t unused_bytes;     /* tensors that nothing reads: never loaded */
    uint64_t kv_bytes;         /* address space; memory as it is touched */
    uint64_t kv_token_bytes;   /* of one position over all layers */
    uint64_t buffer_bytes;     /* activations and logits */
    uint64_t scratch_bytes;    /* of the backend */
    uint64_t total_bytes;      /* the four that take memory */
    uint64_t available_bytes;  /* free for this process now */
    uint64_t limit_bytes;      /* the container's limit, 0: none */
    uint64_t token_bytes;      /* weights read for one token */
    uint64_t token_ops;        /* in the products of the layers, for one token; a multiply-add is two */
    uint64_t head_ops;         /* in that of the output matrix, for each token whose logits are wanted */
    uint64_t kv_token_ops;     /* in attention, for one token and each position that it attends to */
    int n_ctx_train;           /* what the model was trained for */
    int n_ctx_fits;            /* the longest context that would fit; 0: not even the weights do */
    bool fits;
};

/* From the file's header and the machine's facts alone; nothing is loaded.  A plan that does not fit is
 * still a plan: look at .fits. */
int redline_plan(const struct redline_model *model, const struct redline_engine_params *params,
                 struct redline_plan *out, struct redline_err *err);

struct redline_plan_layer {
    uint64_t weight_bytes, kv_bytes;
};
int redline_plan_layer(const struct redline_model *model, const struct redline_plan *plan, int layer,
                       struct redline_plan_layer *out, struct redline_err *err);

/* ---- what is running ------------------------------------------------------------------------- */

struct redline_engine_facts {
    struct redline_plan plan;      /* as carried out */
    uint64_t load_ns;
    uint64_t peak_rss_bytes;       /* of the process so far */
    uint64_t kv_touched_bytes;     /* pages in use at their most */
    const char *cpu;               /* "AMD EPYC 9554" */
    const char *features;          /* "avx2 avx512" */
    const char *kernel;            /* table that serves the largest share of the weights: "avx512" */
    const char *kernel_type;       /* their type: "Q4_K" */
    uint64_t last_level_cache_bytes;
};
void redline_engine_facts(const struct redline_engine *engine, struct redline_engine_facts *out);

struct redline_kernel_facts { /* of one type of weights */
    const char *type;      /* "Q4_K" */
    const char *kernel;    /* table that serves it: "avx512" */
    const char *arithmetic; /* of its products: "int8", or "f32" */
    uint64_t bytes;        /* of all used tensors of the type */
};

/* The i-th, those with the most bytes first; false: there are not so many. */
bool redline_kernel_at(const struct redline_engine *engine, size_t i, struct redline_kernel_facts *out);

/* Reads memory far larger than the caches with the engine's threads, between two steps; the best of five
 * passes, in bytes per second.  Takes some 0.2 s, and memory: read the peak before. */
int redline_measure_bandwidth(struct redline_engine *engine, double *bytes_per_second,
                              struct redline_err *err);

#ifdef __cplusplus
}
#endif
#endif
