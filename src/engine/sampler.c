/* sampler.c - greedy choice and the usual truncations. */
#include "sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "base.h"
#include "mem.h"

enum { DEFAULT_LAST_N = 64 };

struct redline_sampling redline_sampling_default(void)
{
    return (struct redline_sampling){
        .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1};
}

static int check(const struct redline_sampling *s, struct redline_err *err)
{
    const struct {
        const char *name;
        float value, least, most;
    } ranges[] = {
        {"the temperature", s->temperature, 0, 1000},
        {"top-p", s->top_p, 0, 1},
        {"min-p", s->min_p, 0, 1},
        {"the repetition penalty", s->repeat_penalty, 0, 1000},
        {"the presence penalty", s->presence_penalty, -1000, 1000},
        {"the frequency penalty", s->frequency_penalty, -1000, 1000},
        {"top-k", (float)s->top_k, 0, 1e9f},
        {"repeat-last-n", (float)s->repeat_last_n, -1, 1e9f},
    };
    for (size_t i = 0; i < COUNT_OF(ranges); i++)
        if (!(ranges[i].value >= ranges[i].least && ranges[i].value <= ranges[i].most))
            return err_set(err, REDLINE_ARG, "%s is %g, it must lie between %g and %g", ranges[i].name,
                           (double)ranges[i].value, (double)ranges[i].least, (double)ranges[i].most);
    return 0;
}

int sampler_init(struct sampler *out, const struct redline_sampling *s, int n_vocab, int n_ctx,
                 struct redline_err *err)
{
    *out = (struct sampler){.s = *s, .n_vocab = n_vocab};
    TRY(check(s, err));
    out->capacity = s->repeat_last_n < 0 ? n_ctx : s->repeat_last_n ? s->repeat_last_n : DEFAULT_LAST_N;
    out->capacity = MAX(1, MIN(out->capacity, n_ctx));
    out->history = mem_new((size_t)out->capacity, sizeof *out->history);
    out->counts = mem_new((size_t)n_vocab, sizeof *out->counts);
    if (!out->history || !out->counts) {
        sampler_fini(out);
        return err_memory(err, (size_t)n_vocab * sizeof *out->counts, "the sampler");
    }
    rng_seed(&out->rng, s->seed);
    return 0;
}

void sampler_fini(struct sampler *s)
{
    mem_free(s->history);
    mem_free(s->counts);
    *s = (struct sampler){0};
}

void sampler_accept(struct sampler *s, int32_t id)
{
    int at = (int)(s->n_seen++ % (uint64_t)s->capacity);
    if (s->n_history == s->capacity)
        s->counts[s->history[at]]--;
    else
        s->n_history++;
    s->history[at] = id;
    s->counts[id]++;
}

float sampler_logprob(const float *logits, int n, int32_t id)
{
    float top = logits[0];
    double sum = 0;
    for (int i = 1; i < n; i++) top = MAX(top, logits[i]);
    for (int i = 0; i < n; i++) sum += exp((double)logits[i] - (double)top);
    return (float)((double)logits[id] - (double)top - log(sum));
}

static bool penalizes(const struct redline_sampling *s)
{
    return (s->repeat_penalty != 0 && s->repeat_penalty != 1) || s->presence_penalty != 0 ||
           s->frequency_penalty != 0;
}

/* Keskar et al. 2019 for the repetition penalty; OpenAI's API for the other two. */
static float penalize(const struct sampler *s, int32_t id, float logit)
{
    float repeat = s->s.repeat_penalty != 0 ? s->s.repeat_penalty : 1;
    if (s->counts[id] == 0) return logit;
    logit = logit > 0 ? logit / repeat : logit * repeat;
    return logit - s->s.presence_penalty - s->s.frequency_penalty * (float)s->counts[id];
}

/* Falling logits; the lower id first among equals, so that the order is the same everywhere. */
static int by_logit(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* Sifts the root of a heap of n candidates whose least is at the top. */
static void sift(struct candidate *heap, int n, int i)
{
    for (;;) {
        int worst = i;
        for (int child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
            if (by_logit(&heap[child], &heap[worst]) > 0) worst = child;
        if (worst == i) return;
        struct candidate swap = heap[i];
        heap[i] = heap[worst];
        heap[worst] = swap;
        i = worst;
    }
}

/* The k best to the front, sorted; returns how many there are. */
static int keep_best(struct candidate *c, int n, int k)
{
    if (k > 0 && k < n) {
        for (int i = k / 2; i-- > 0;) sift(c, k, i);
        for (int i = k; i < n; i++)
            if (by_logit(&c[i], &c[0]) < 0) {
                c[0] = c[i];
                sift(c, k, 0);
            }
        n = k;
    }
    qsort(c, (size_t)n, sizeof *c, by_logit);
    return n;
}

static void softmax(struct candidate *c, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += c[i].p = expf(c[i].logit - c[0].logit);
    for (int i = 0; i < n; i++) c[i].p = (float)(c[i].p / sum);
}

static int keep_mass(const struct candidate *c, int n, float mass)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        if ((sum += c[i].p) >= (double)mass) return i + 1;
    return n;
}

static int32_t draw(struct sampler *s, struct candidate *c, int n)
{
    for (int i = 0; i < n; i++) c[i].logit /= s->s.temperature;
    softmax(c, n);
    double x = rng_uniform(&s->rng);
    for (int i = 0; i < n; i++)
        if ((x -= c[i].p) < 0) return c[i].id;
    return c[n - 1].id;
}

static int32_t sample(struct sampler *s, struct candidate *c)
{
    int n = keep_best(c, s->n_vocab, s->s.top_k);
    if (s->s.top_p > 0 && s->s.top_p < 1) {
        softmax(c, n);
        n = keep_mass(c, n, s->s.top_p);
    }
    if (s->s.min_p > 0) {
        float least = c[0].logit + logf(s->s.min_p);
        while (n > 1 && c[n - 1].logit < least) n--;
    }
    return draw(s, c, n);
}

static int32_t best(const float *logits, int n)
{
    int32_t id = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[id]) id = i;
    return id;
}

int32_t sampler_choose(struct sampler *s, const float *logits, struct candidate *candidates)
{
    bool penalty = penalizes(&s->s);
    if (!penalty && !(s->s.temperature > 0)) return best(logits, s->n_vocab);
    int top = 0;
    for (int i = 0; i < s->n_vocab; i++) {
        float logit = penalty ? penalize(s, i, logits[i]) : logits[i];
        candidates[i] = (struct candidate){i, logit, 0};
        if (logit > candidates[top].logit) top = i;
    }
    return s->s.temperature > 0 ? sample(s, candidates) : top;
}
