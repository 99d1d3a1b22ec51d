/* rope.c - frequencies of the rotary embedding (Su et al. 2021), linearly interpolated (Chen et al.
 * 2023) or by parts with YaRN (Peng et al. 2023).
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
    double low = fmax(0, floor(pair_of_turns(h, h->yarn_beta_fast)));
    double high = fmin(h->n_rot - 1, ceil(pair_of_turns(h, h->yarn_beta_slow)));
    double ramp = (i - low) / fmax(0.001, high - low);
    return (1 - fmin(1, fmax(0, ramp))) * h->yarn_ext_factor;
}

int rope_init(struct rope *out, const struct hparams *h, const float *factors,
              struct redline_err *err)
{
    int n = h->n_rot / 2;
    *out = (struct rope){.n_pairs = n, .magnitude = h->rope_attn_factor};
    out->freq = mem_new((size_t)n, sizeof *out->freq);
    if (!out->freq) return err_memory(err, (size_t)n * sizeof *out->freq, "rotary frequencies");
    for (int i = 0; i < n; i++) {
        double plain = pow(h->rope_base, -2.0 * i / h->n_rot) / (factors ? factors[i] : 1);
        double keep = h->rope_scaling == ROPE_SCALING_YARN ? yarn_keep(h, i) : 0;
        double scaled = h->rope_scaling == ROPE_SCALING_NONE ? plain : plain / h->rope_factor;
        out->freq[i] = scaled * (1 - keep) + plain * keep;
    }
    if (h->rope_scaling == ROPE_SCALING_YARN && h->yarn_ext_factor != 0)
        out->magnitude *= 1 + 0.1 * log(h->rope_factor);
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
