/* score_stats.c - softmax in logarithms, divergences, means with their errors. */
#include "score_stats.h"

#include <math.h>
#include <stdlib.h>

#include "base.h"
#include "stats.h"

/* Ascending ids to leave out of a sum over the vocabulary. */
struct holes {
    int n;
    int32_t ids[SCORE_TOP];
};

static int by_id(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void holes_of(struct holes *out, const struct score_top *top)
{
    out->n = top->n;
    for (int i = 0; i < top->n; i++) out->ids[i] = top->ids[i];
    qsort(out->ids, (size_t)out->n, sizeof *out->ids, by_id);
}

/* The stretch before hole i, or the last one; false: there is none. */
static bool stretch(const struct holes *holes, int i, size_t n_vocab, size_t *from, size_t *to)
{
    if (i > holes->n) return false;
    *from = i > 0 ? (size_t)holes->ids[i - 1] + 1 : 0;
    *to = i < holes->n ? (size_t)holes->ids[i] : n_vocab;
    return true;
}

/* Logarithm of the sum of exp(logit) over all but the holes. */
static double log_sum(const float *logits, size_t n_vocab, const struct holes *holes)
{
    float most = -INFINITY;
    double sum = 0;
    size_t from, to;
    for (int i = 0; stretch(holes, i, n_vocab, &from, &to); i++)
        for (size_t v = from; v < to; v++) most = MAX(most, logits[v]);
    if (most == -INFINITY) return -INFINITY;
    for (int i = 0; stretch(holes, i, n_vocab, &from, &to); i++)
        for (size_t v = from; v < to; v++) sum += exp((double)logits[v] - (double)most);
    return (double)most + log(sum);
}

static double log_sum_all(const float *logits, size_t n_vocab)
{
    return log_sum(logits, n_vocab, &(struct holes){0});
}

/* What rounding lifts above certainty is certain; NAN stays what it is, here and below. */
static float rounded(double logprob)
{
    return logprob > 0 ? 0 : (float)logprob;
}

void score_top(struct score_top *out, const float *logits, size_t n_vocab)
{
    struct holes holes;
    double all = log_sum_all(logits, n_vocab);
    int n = 0, most = (int)MIN((size_t)SCORE_TOP, n_vocab);
    for (size_t v = 0; v < n_vocab; v++) {
        if (n == most && !(logits[v] > logits[out->ids[n - 1]])) continue;
        int at = n < most ? n++ : n - 1;
        for (; at > 0 && logits[v] > logits[out->ids[at - 1]]; at--) out->ids[at] = out->ids[at - 1];
        out->ids[at] = (int32_t)v;
    }
    out->n = n;
    for (int i = 0; i < n; i++) out->logprobs[i] = rounded((double)logits[out->ids[i]] - all);
    holes_of(&holes, out);
    out->tail = rounded(log_sum(logits, n_vocab, &holes) - all);
}

int32_t score_best(const float *logits, size_t n_vocab)
{
    size_t best = 0;
    for (size_t v = 1; v < n_vocab; v++)
        if (logits[v] > logits[best]) best = v;
    return (int32_t)best;
}

/* One term of the divergence; what the reference excludes counts nothing. */
static double term(double reference, double model)
{
    return reference == -INFINITY ? 0 : exp(reference) * (reference - model);
}

double score_kl(const float *reference, const float *model, size_t n_vocab)
{
    double all_reference = log_sum_all(reference, n_vocab), all_model = log_sum_all(model, n_vocab), sum = 0;
    for (size_t v = 0; v < n_vocab; v++)
        sum += term((double)reference[v] - all_reference, (double)model[v] - all_model);
    return sum < 0 ? 0 : sum;
}

/* The model's figures are rounded like the record's, so that equal ones cancel. */
double score_kl_top(const struct score_top *reference, const float *model, size_t n_vocab)
{
    struct holes holes;
    double all = log_sum_all(model, n_vocab), sum = 0;
    holes_of(&holes, reference);
    for (int i = 0; i < reference->n; i++)
        sum += term((double)reference->logprobs[i], (double)rounded((double)model[reference->ids[i]] - all));
    sum += term((double)reference->tail, (double)rounded(log_sum(model, n_vocab, &holes) - all));
    return sum < 0 ? 0 : sum;
}

static struct score_estimate mean_of(const double *values, size_t n)
{
    return (struct score_estimate){stats_mean(values, n),
                                   n > 1 ? stats_deviation(values, n) / sqrt((double)n) : (double)NAN};
}

static struct score_estimate exp_of(struct score_estimate e)
{
    return (struct score_estimate){exp(e.value), exp(e.value) * e.error};
}

/* Of n log-probabilities, negated: exp(mean). */
static struct score_estimate perplexity_of(const double *nll, size_t n)
{
    return exp_of(mean_of(nll, n));
}

/* Of two models on the same n tokens; what is common to both does not count in the error. */
static struct score_estimate ratio_of(const double *nll, const double *reference_nll, size_t n)
{
    double mean = 0, squares = 0;
    for (size_t i = 0; i < n; i++) mean += (nll[i] - reference_nll[i]) / (double)n;
    for (size_t i = 0; i < n; i++) squares += pow(nll[i] - reference_nll[i] - mean, 2);
    double error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : (double)NAN;
    return exp_of((struct score_estimate){n > 0 ? mean : (double)NAN, error});
}

/* Of n cases, n_hit: the share. */
static struct score_estimate share_of(size_t n_hit, size_t n)
{
    double share = (double)n_hit / (double)n;
    return (struct score_estimate){share, n > 1 ? sqrt(share * (1 - share) / (double)(n - 1)) : (double)NAN};
}

void score_summarize(struct score_summary *out, struct score_columns *c, bool compared)
{
    *out = (struct score_summary){.n = c->n, .perplexity = perplexity_of(c->nll, c->n)};
    if (!compared) return;
    out->reference_perplexity = perplexity_of(c->reference_nll, c->n);
    out->ratio = ratio_of(c->nll, c->reference_nll, c->n);
    out->same_top = share_of(c->n_same, c->n);
    out->kl_mean = mean_of(c->kl, c->n);
    stats_sort(c->kl, c->n);
    out->kl_median = stats_median(c->kl, c->n);
    out->kl_p99 = stats_quantile(c->kl, c->n, 0.99);
    out->kl_largest = stats_quantile(c->kl, c->n, 1);
}
