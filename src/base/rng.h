/* rng.h - seeded random numbers: xoshiro256** (Blackman and Vigna 2018), seeded by splitmix64.
 * Same seed, same numbers, on every machine. */
#ifndef RNG_H
#define RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);                /* 64 uniform bits */
uint64_t rng_below(struct rng *r, uint64_t n);   /* uniform in [0, n), n > 0, unbiased */
double rng_uniform(struct rng *r);               /* [0, 1), 53 bits */
double rng_normal(struct rng *r);                /* mean 0, deviation 1 (Box and Muller) */

#endif
