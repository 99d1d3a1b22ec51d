/* rope.h - rotary position embedding: the angles, with every way of scaling them to longer contexts. */
#ifndef ROPE_H
#define ROPE_H

#include "hparams.h"

struct rope {
    int n_pairs;    /* n_rot / 2 */
    double *freq;   /* [n_pairs] radians per position, owned */
    double magnitude; /* of cosine and sine: YaRN's temperature, else 1 */
};

/* Of full layers, or of those with a window, which may have a base of their own and no scaling.
 * factors: [n_rot / 2] divisors from the file (rope_freqs, rope_factors_*), or NULL. */
int rope_init(struct rope *out, const struct hparams *h, bool windowed, const float *factors,
              struct redline_err *err);
void rope_free(struct rope *r); /* accepts {0} */

/* cs: [n_pairs, 2] cosine and sine of every angle at this position. */
void rope_angles(const struct rope *r, int32_t pos, float *cs);

/* What latent attention multiplies its scores by, beyond 1 / sqrt(d): YaRN's temperature squared. */
double rope_score_factor(const struct hparams *h);

#endif
