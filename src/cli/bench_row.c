/* bench_row.c - the fields of a benchmark's row: where each lies, what it means, how it is computed. */
#include "bench_row.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "build_info.h"
#include "stats.h"

#define FIELD(name, kind, meaning) {#name, kind, offsetof(struct bench_row, name), meaning}

const struct bench_field bench_fields[] = {
    FIELD(engine, BENCH_TEXT, "the program that was measured"),
    FIELD(build_commit, BENCH_TEXT, "its revision; with + where the sources had changes"),
    FIELD(build_number, BENCH_WHOLE, "revisions up to it"),
    FIELD(cpu_info, BENCH_TEXT, "processor"),
    FIELD(gpu_info, BENCH_CHARS, "graphics cards that ran something; empty: none did"),
    FIELD(backends, BENCH_TEXT, "where the layers were computed"),
    FIELD(model_filename, BENCH_TEXT, "path as it was given"),
    FIELD(model_type, BENCH_CHARS, "architecture, parameters, type of most of the weights"),
    FIELD(model_size, BENCH_WHOLE, "bytes of all tensors"),
    FIELD(model_n_params, BENCH_WHOLE, "elements of all tensors"),
    FIELD(n_batch, BENCH_WHOLE, "-b as asked"),
    FIELD(n_ubatch, BENCH_WHOLE, "-ub as asked"),
    FIELD(n_step, BENCH_WHOLE, "most tokens of one forward pass as it was: the lesser of the two, or all there are"),
    FIELD(n_threads, BENCH_WHOLE, "threads as they were"),
    FIELD(n_threads_used, BENCH_WHOLE, "by the last step; fewer only where none were asked for, beside busy programs"),
    FIELD(type_k, BENCH_TEXT, "type of cached keys"),
    FIELD(type_v, BENCH_TEXT, "type of cached values"),
    FIELD(n_gpu_layers, BENCH_WHOLE, "layers that were on graphics cards as a whole"),
    FIELD(placement, BENCH_CHARS, "device:blocks:operations that each has done in the test, counted where they were"),
    FIELD(n_ctx, BENCH_WHOLE, "context: what the test needs"),
    FIELD(flash_attn, BENCH_TRUTH, "attention in one pass over the cache, without a matrix of scores"),
    FIELD(exact, BENCH_TRUTH, "float32 activations in every product"),
    FIELD(cpu_features, BENCH_TEXT, "instruction sets in use"),
    FIELD(kernels, BENCH_CHARS, "type:instruction set:arithmetic of the products, most weights first"),
    FIELD(n_prompt, BENCH_WHOLE, "tokens of the prompt"),
    FIELD(n_gen, BENCH_WHOLE, "tokens decoded, one forward pass each"),
    FIELD(n_depth, BENCH_WHOLE, "tokens in the cache beforehand, not timed"),
    FIELD(test, BENCH_CHARS, "the three as llama-bench writes them"),
    FIELD(definition, BENCH_TEXT, "what a sample is"),
    FIELD(test_time, BENCH_TEXT, "when the test began, UTC"),
    FIELD(avg_ns, BENCH_NUMBER, "mean of the samples"),
    FIELD(stddev_ns, BENCH_NUMBER, "their standard deviation (n - 1); 0 for one"),
    FIELD(avg_ts, BENCH_NUMBER, "mean of samples_ts"),
    FIELD(stddev_ts, BENCH_NUMBER, "their standard deviation (n - 1); 0 for one"),
    FIELD(median_ns, BENCH_NUMBER, "median of the samples"),
    FIELD(median_low_ns, BENCH_NUMBER, "lower end of its 95 % interval by order statistics; null below 6 samples"),
    FIELD(median_high_ns, BENCH_NUMBER, "upper end"),
    FIELD(median_ts, BENCH_NUMBER, "tokens per second, from median_ns"),
    FIELD(median_low_ts, BENCH_NUMBER, "lower end of its 95 % interval; null below 6 samples"),
    FIELD(median_high_ts, BENCH_NUMBER, "upper end"),
    FIELD(load_ns, BENCH_NUMBER, "from opening the engine until it was ready"),
    FIELD(bytes, BENCH_NUMBER, "weights and KV read in one sample; null with a prompt"),
    FIELD(ops, BENCH_NUMBER, "arithmetic of products and attention in one sample; a multiply-add is two"),
    FIELD(bandwidth, BENCH_NUMBER,
          "bytes per second that the same threads or cards read just before or after the test; "
          "null: not measured"),
    FIELD(bandwidth_missing, BENCH_CHARS, "why not, or empty"),
    FIELD(bandwidth_limit, BENCH_NUMBER,
          "the same by redline probe: the best this machine, or the card, did; null: not probed"),
    FIELD(compute_limit, BENCH_NUMBER,
          "operations per second by redline probe, of the first kernel's instruction set and arithmetic"),
    FIELD(share_of_bandwidth, BENCH_NUMBER, "bytes / median_ns, as a share of bandwidth"),
    FIELD(share_of_compute, BENCH_NUMBER, "ops / median_ns, as a share of compute_limit"),
    FIELD(fits_in_cache, BENCH_TRUTH, "what is read for a token fits in the last cache: memory is not the limit then"),
    FIELD(peak_rss_bytes, BENCH_WHOLE, "largest resident size of the process during the test, file pages included"),
    FIELD(samples_ns, BENCH_SAMPLES, "time of each repetition"),
    FIELD(samples_ts, BENCH_SAMPLES, "(n_prompt + n_gen) / time of each repetition"),
};
const size_t bench_n_fields = COUNT_OF(bench_fields);

/* ---- filling ----------------------------------------------------------------------------------- */

static const char *definition(const struct bench_case *c)
{
    if (!c->n_gen) return "from leaving the queue to the logits of the prompt's last token";
    if (!c->n_prompt) return "from the logits of the prompt's last token to the last token, sampling included";
    return "from leaving the queue to the last token, sampling included";
}

static void name_model(char *out, size_t n, const struct bench_result *r)
{
    double billions = (double)r->file.n_parameters / 1e9;
    if (billions < 0.1)
        snprintf(out, n, "%s %.2f M %s", r->file.architecture, 1e3 * billions, r->engine.kernel_type);
    else
        snprintf(out, n, "%s %.2f B %s", r->file.architecture, billions, r->engine.kernel_type);
}

static void name_test(char *out, size_t n, const struct bench_case *c)
{
    size_t at = 0;
    if (c->n_prompt) at += (size_t)snprintf(out + at, n - at, "pp%d", c->n_prompt);
    if (c->n_gen) at += (size_t)snprintf(out + at, n - at, "%stg%d", at ? "+" : "", c->n_gen);
    if (c->n_depth) snprintf(out + at, n - at, " @ d%d", c->n_depth);
}

static void name_kernels(char *out, size_t n, const struct bench_result *r)
{
    size_t at = 0;
    *out = '\0';
    for (size_t i = 0; i < r->n_kernels && at < n; i++) {
        const struct redline_kernel_facts *k = &r->kernels[i];
        at += (size_t)snprintf(out + at, n - at, "%s%s:%s:%s", i ? " " : "", k->type, k->kernel, k->arithmetic);
    }
}

static void fill_settings(struct bench_row *row, const struct bench_result *r)
{
    const struct redline_plan *p = &r->engine.plan;
    row->engine = "redline";
    row->build_commit = build_commit;
    row->build_number = build_number;
    row->cpu_info = r->cpu;
    placement_gpus(p, row->gpu_info, sizeof row->gpu_info);
    row->backends = *row->gpu_info ? "CUDA" : "CPU";
    snprintf(row->placement, sizeof row->placement, "%s", r->placement);
    row->model_filename = r->asked.model ? r->asked.model : "demo";
    name_model(row->model_type, sizeof row->model_type, r);
    row->model_size = (int64_t)r->file.tensor_bytes;
    row->model_n_params = (int64_t)r->file.n_parameters;
    row->n_batch = r->asked.n_batch;
    row->n_ubatch = r->asked.n_ubatch;
    row->n_step = p->n_ubatch;
    row->n_threads = p->n_threads;
    row->n_threads_used = r->engine.n_threads_used;
    row->type_k = r->asked.type_k;
    row->type_v = r->asked.type_v;
    row->n_gpu_layers = p->n_gpu_layers;
    row->n_ctx = p->n_ctx;
    row->flash_attn = true;
    row->exact = r->exact;
    row->cpu_features = r->features;
    name_kernels(row->kernels, sizeof row->kernels, r);
    row->n_prompt = r->asked.n_prompt;
    row->n_gen = r->asked.n_gen;
    row->n_depth = r->asked.n_depth;
    name_test(row->test, sizeof row->test, &r->asked);
    row->definition = definition(&r->asked);
    row->test_time = r->started;
}

static void fill_times(struct bench_row *row, const struct bench_result *r)
{
    size_t n = (size_t)r->n_samples;
    double sorted[BENCH_MOST_SAMPLES], tokens = r->asked.n_prompt + r->asked.n_gen;
    row->n_samples = r->n_samples;
    for (size_t i = 0; i < n; i++) {
        sorted[i] = row->samples_ns[i] = r->samples_ns[i];
        row->samples_ts[i] = tokens * 1e9 / r->samples_ns[i];
    }
    stats_sort(sorted, n);
    row->avg_ns = stats_mean(r->samples_ns, n);
    row->stddev_ns = stats_deviation(r->samples_ns, n);
    row->avg_ts = stats_mean(row->samples_ts, n);
    row->stddev_ts = stats_deviation(row->samples_ts, n);
    row->median_ns = stats_median(sorted, n);
    if (!stats_median_interval(sorted, n, 0.95, &row->median_low_ns, &row->median_high_ns))
        row->median_low_ns = row->median_high_ns = NAN;
    row->median_ts = tokens * 1e9 / row->median_ns;
    row->median_low_ts = tokens * 1e9 / row->median_high_ns;
    row->median_high_ts = tokens * 1e9 / row->median_low_ns;
    row->load_ns = (double)r->engine.load_ns;
}

void bench_row_fill(struct bench_row *row, const struct bench_result *r, const struct bench_limits *limits)
{
    memset(row, 0, sizeof *row);
    fill_settings(row, r);
    fill_times(row, r);
    row->bytes = r->bytes;
    row->ops = r->ops;
    row->bandwidth = r->bandwidth;
    memcpy(row->bandwidth_missing, r->bandwidth_missing, sizeof row->bandwidth_missing);
    row->bandwidth_limit = limits->bandwidth;
    row->compute_limit = limits->compute;
    row->share_of_bandwidth = r->bytes * 1e9 / row->median_ns / r->bandwidth;
    row->share_of_compute = r->ops * 1e9 / row->median_ns / limits->compute;
    row->fits_in_cache = r->engine.fits_in_cache;
    row->peak_rss_bytes = (int64_t)r->peak_rss_bytes;
}
