/* bench_row.h - what a benchmark says of one test: a flat row, and the table that names its fields.
 *
 * Names are llama-bench's where it has the field.  The table drives CSV and JSON alike, and
 * `redline bench --fields` prints it: what each figure means is written there and nowhere else. */
#ifndef BENCH_ROW_H
#define BENCH_ROW_H

#include "bench_run.h"

struct bench_row {
    /* program and machine */
    const char *engine, *build_commit;
    int64_t build_number;
    const char *cpu_info, *backends;
    char gpu_info[160], placement[200];
    /* model */
    const char *model_filename;
    char model_type[96];
    int64_t model_size, model_n_params;
    /* settings */
    int64_t n_batch, n_ubatch, n_step, n_threads, n_threads_used, n_gpu_layers, n_ctx;
    const char *type_k, *type_v;
    bool flash_attn, exact;
    const char *cpu_features;
    char kernels[256];
    /* test */
    int64_t n_prompt, n_gen, n_depth;
    char test[64];
    const char *definition, *test_time;
    /* times */
    double samples_ns[BENCH_MOST_SAMPLES], samples_ts[BENCH_MOST_SAMPLES];
    int n_samples;
    double avg_ns, stddev_ns, avg_ts, stddev_ts;  /* NAN: null */
    double median_ns, median_low_ns, median_high_ns;
    double median_ts, median_low_ts, median_high_ts;
    double load_ns;
    /* limits */
    double bytes, ops;
    double bandwidth, bandwidth_limit, compute_limit;
    char bandwidth_missing[CMD_WHY];
    double share_of_bandwidth, share_of_compute;
    bool fits_in_cache;
    int64_t peak_rss_bytes;
};

enum bench_kind { BENCH_TEXT, BENCH_CHARS, BENCH_WHOLE, BENCH_NUMBER, BENCH_TRUTH, BENCH_SAMPLES };

struct bench_field {
    const char *name;
    enum bench_kind kind; /* of the member: const char *, char[], int64_t, double, bool, double[n_samples] */
    size_t offset;
    const char *meaning;
};

extern const struct bench_field bench_fields[];
extern const size_t bench_n_fields;

/* What the machine can do with as many threads, in bytes and operations per second; NAN: not known. */
struct bench_limits {
    double bandwidth, compute;
};

/* The row borrows from the result. */
void bench_row_fill(struct bench_row *out, const struct bench_result *r, const struct bench_limits *limits);

#endif
