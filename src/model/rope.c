/* rope.c - frequencies of the rotary embedding (Su et al. 2021), linearly interpolated (Chen et al.
 * 2023), by parts with YaRN (Peng et al. 2023), or divided by factors of the file (Llama 3, LongRoPE).
 *
 * YaRN: dimensions that turn more than beta_fast times within the original context keep their
 * frequency, those that turn less than beta_slow times are interpolated, with a linear ramp over the
 * pair index in between; cosine and sine are scaled by 0.1 ln(factor) + 1. */
#include "rope.h"

#include <math.h>

#include "base.h"
#include "mem.h"

/* The (fractional) pair index whose frequency turns n times within the original context. */
static double pair_of_turns(const struct hparams *h, double n)
{
    return h->n_rot * log(h->rope_original_ctx / (n * 2 * M_PI)) / (2 * log(h->rope_base));
}

/* 1 where a pair keeps its frequency, 0 where it is interpolated. */
static double yarn_keep(const struct hparams *h, int i)
{
    double low = pair_of_turns(h, h->yarn_beta_fast), high = pair_of_turns(h, h->yarn_beta_slow);
    if (!h->arch->yarn_unrounded) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(0, low);
    high = fmin(h->n_rot - 1, high);
    double ramp = (i - low) / fmax(0.001, high - low);
    return (1 - fmin(1, fmax(0, ramp))) * h->yarn_ext_factor;
}

/* YaRN's temperature for a multiplier of its logarithm. */
static double temperature(const struct hparams *h, double mul)
{
    return h->rope_factor <= 1 ? 1 : 1 + 0.1 * mul * log(h->rope_factor);
}

/* Of cosine and sine.  A file may say how much of the temperature belongs to the scores instead. */
static double magnitude(const struct hparams *h)
{
    if (h->rope_scaling != ROPE_SCALING_YARN || h->yarn_ext_factor == 0) return h->rope_attn_factor;
    if (h->yarn_mul == 0) return h->rope_attn_factor * temperature(h, 1);
    bool same = h->arch->yarn_mul_all && h->yarn_mul != 1;
    return h->rope_attn_factor * temperature(h, same ? h->yarn_mul : 1) / temperature(h, h->yarn_mul);
}

double rope_score_factor(const struct hparams *h)
{
    if (h->rope_scaling != ROPE_SCALING_YARN) return 1;
    double m = magnitude(h) * temperature(h, h->yarn_mul);
    return m * m;
}

/* Pairs that turn with the last kind of position, which text has not. */
static bool stands_still(const struct hparams *h, int i)
{
    const int *s = h->rope_sections;
    int before = s[0] + s[1] + s[2], all = before + s[3];
    return all > 0 && i % all >= before;
}

int rope_init(struct rope *out, const struct hparams *h, bool windowed, const float *factors,
              struct redline_err *err)
{
    bool scaled = !(windowed && h->arch->window_rope == WINDOW_ROPE_PLAIN);
    bool yarn = scaled && h->rope_scaling == ROPE_SCALING_YARN;
    bool stretched = scaled && (yarn || h->rope_scaling == ROPE_SCALING_LINEAR);
    double base = windowed ? h->rope_base_window : h->rope_base;
    int n = h->n_rot / 2;
    *out = (struct rope){.n_pairs = n, .magnitude = scaled ? magnitude(h) : 1};
    out->freq = mem_new((size_t)n, sizeof *out->freq);
    if (!out->freq) return err_memory(err, (size_t)n * sizeof *out->freq, "rotary frequencies");
    for (int i = 0; i < n; i++) {
        double plain = pow(base, -2.0 * i / h->n_rot) / (factors ? factors[i] : 1);
        double keep = yarn ? yarn_keep(h, i) : 0;
        out->freq[i] = (stretched ? plain / h->rope_factor : plain) * (1 - keep) + plain * keep;
        if (stands_still(h, i)) out->freq[i] = 0;
    }
    return 0;
}

void rope_free(struct rope *r)
{
    mem_free(r->freq);
    *r = (struct rope){0};
}

void rope_angles(const struct rope *r, int32_t pos, float *cs)
{
    for (int i = 0; i < r->n_pairs; i++) {
        double angle = pos * r->freq[i];
        cs[2 * i] = (float)(cos(angle) * r->magnitude);
        cs[2 * i + 1] = (float)(sin(angle) * r->magnitude);
    }
}
