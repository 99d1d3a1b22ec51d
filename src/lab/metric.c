/* metric.c - the table of figures, and quantiles by order statistics. */
#include "metric.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base.h"
#include "stats.h"

#define ENGINE "by the engine's clock"
#define CONSUMER "by the clock of the program that receives the tokens"
#define GAPS "times between neighbouring tokens of one request, those of all requests together, "

const struct metric metrics[] = {
    {"load_ms", "ms", METRIC_LOWER, "load",
     "From opening the engine until it is ready for requests; the file's header is read before"},
    {"first_token_from_start_ms", "ms", METRIC_LOWER, "first token from start",
     "From the start of the process until the first token of the first request, " ENGINE},
    {"queue_ms", "ms", METRIC_LOWER, "queue",
     "From submitting a request until it left the queue; the median of the requests"},
    {"ttft_ms", "ms", METRIC_LOWER, "time to first token",
     "From submitting a request until its first token, " ENGINE "; the median of the requests"},
    {"ttft_consumer_ms", "ms", METRIC_LOWER, "time to first token, received",
     "From submitting a request until its first token, " CONSUMER "; the median of the requests"},
    {"prefill_ms", "ms", METRIC_LOWER, "prefill",
     "From leaving the queue until the logits of the last prompt token are there; the median of the requests"},
    {"prefill_ts", "tok/s", METRIC_HIGHER, "prefill speed",
     "Prompt tokens that were computed (not those in the cache already) / prefill_ms, sums over all requests"},
    {"decode_ms", "ms", METRIC_LOWER, "decode",
     "From the first generated token until the last, " ENGINE "; the median of the requests"},
    {"decode_ts", "tok/s", METRIC_HIGHER, "decode speed",
     "Generated tokens after the first / the time after the first, sums over all requests, " ENGINE},
    {"tpot_ms", "ms", METRIC_LOWER, "time per token",
     "(last token - first token) / (tokens - 1) of one request, " ENGINE "; the median of the requests"},
    {"tpot_with_first_ms", "ms", METRIC_LOWER, "time per token with the first",
     "(last token - submission) / tokens of one request, " ENGINE "; the median of the requests"},
    {"itl_mean_ms", "ms", METRIC_LOWER, "between tokens, mean", "Mean of the " GAPS ENGINE},
    {"itl_p50_ms", "ms", METRIC_LOWER, "between tokens, p50", "Median of the " GAPS ENGINE},
    {"itl_p95_ms", "ms", METRIC_LOWER, "between tokens, p95", "95 % quantile (type 7) of the " GAPS ENGINE},
    {"itl_p99_ms", "ms", METRIC_LOWER, "between tokens, p99", "99 % quantile (type 7) of the " GAPS ENGINE},
    {"itl_max_ms", "ms", METRIC_LOWER, "between tokens, longest", "The longest of the " GAPS ENGINE},
    {"itl_consumer_mean_ms", "ms", METRIC_LOWER, "between tokens received, mean", "Mean of the " GAPS CONSUMER},
    {"itl_consumer_p50_ms", "ms", METRIC_LOWER, "between tokens received, p50", "Median of the " GAPS CONSUMER},
    {"itl_consumer_p95_ms", "ms", METRIC_LOWER, "between tokens received, p95",
     "95 % quantile (type 7) of the " GAPS CONSUMER},
    {"itl_consumer_p99_ms", "ms", METRIC_LOWER, "between tokens received, p99",
     "99 % quantile (type 7) of the " GAPS CONSUMER},
    {"itl_consumer_max_ms", "ms", METRIC_LOWER, "between tokens received, longest",
     "The longest of the " GAPS CONSUMER},
    {"e2e_ms", "ms", METRIC_LOWER, "whole request",
     "From submitting a request until its last token (or its end, where there is none), " CONSUMER "; the median of "
     "the requests"},
    {"wall_ms", "ms", METRIC_LOWER, "wall time",
     "From the first submission until the last token of all requests (or the end of one without), " CONSUMER},
    {"output_ts", "tok/s", METRIC_HIGHER, "output speed", "Generated tokens of all requests / wall_ms"},
    {"total_ts", "tok/s", METRIC_HIGHER, "tokens in and out",
     "Prompt tokens that were computed and generated tokens of all requests / wall_ms"},
    {"words_s", "words/s", METRIC_HIGHER, "words written",
     "Words of the generated text of all requests / wall_ms; a word is a longest run of characters that are no white "
     "space (Unicode)"},
    {"input_words_s", "words/s", METRIC_HIGHER, "words read",
     "Words of the document's parts that were read / wall_ms; words as in words_s"},
    {"requests_s", "1/s", METRIC_HIGHER, "requests", "Requests that ended / wall_ms"},
    {"records_s", "1/s", METRIC_HIGHER, "records", "Texts that were embedded / wall_ms"},
    {"tokens_s", "tok/s", METRIC_HIGHER, "tokens read", "Tokens that were embedded or scored / wall_ms"},
    {"share_of_bandwidth", "", METRIC_HIGHER, "share of the memory's speed",
     "Bytes of weights and cache that decoding one sequence reads / time, as a share of the read bandwidth measured "
     "in the same process afterwards"},
    {"bandwidth_bytes_s", "bytes/s", METRIC_NEITHER, "memory's speed",
     "Read bandwidth measured in the same process after the requests, with as many threads; the best repetition"},
    {"peak_rss_bytes", "bytes", METRIC_LOWER, "peak memory",
     "Most memory that the process held at once, file pages that it mapped included"},
    {"weight_bytes", "bytes", METRIC_NEITHER, "weights", "Weights that the model uses, as they lie in the file"},
    {"kv_touched_bytes", "bytes", METRIC_LOWER, "cache in use", "Pages of the KV cache in use at their most"},
    {"ppl", "", METRIC_LOWER, "perplexity",
     "exp(mean of -log p(token)) over the second half of each chunk of n_ctx tokens of a text, each chunk begun with "
     "the model's first token: llama-perplexity's definition"},
    {"samples", "", METRIC_NEITHER, "intervals", "Times between tokens that the itl figures are made of"},
};
const size_t n_metrics = COUNT_OF(metrics);

const struct metric *metric_find(const char *name)
{
    for (size_t i = 0; i < n_metrics; i++)
        if (strcmp(metrics[i].name, name) == 0) return &metrics[i];
    return NULL;
}

/* ---- quantiles ------------------------------------------------------------------------------------ */

static const double TAIL = 0.025; /* on either side of the interval */

size_t metric_samples_for(double share)
{
    double p = fmax(share, 1 - share);
    return p < 1 ? (size_t)ceil(log(TAIL) / log(p)) : SIZE_MAX;
}

/* Probability that k of n values lie below the quantile. */
static double binomial(size_t n, size_t k, double p)
{
    double a = (double)n, b = (double)k;
    return exp(lgamma(a + 1) - lgamma(b + 1) - lgamma(a - b + 1) + b * log(p) + (a - b) * log1p(-p));
}

struct metric_quantile metric_quantile(const double *sorted, size_t n, double share)
{
    struct metric_quantile q = {NAN, NAN, NAN, n, metric_samples_for(share)};
    if (n < q.needed) return q;
    size_t low = 0, high = n - 1;
    double below = binomial(n, 0, share), above = binomial(n, n, share);
    for (double next; low < n - 1 && below + (next = binomial(n, low + 1, share)) <= TAIL; low++) below += next;
    for (double next; high > 0 && above + (next = binomial(n, high, share)) <= TAIL; high--) above += next;
    q.value = stats_quantile(sorted, n, share);
    q.low = sorted[low];
    q.high = sorted[high];
    return q;
}
