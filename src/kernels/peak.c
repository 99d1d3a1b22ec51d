/* peak.c - the list of the instruction sets' tables of limits, and what their loops work on. */
#include "peak.h"

#include <string.h>

#include "rng.h"

const struct peak_table *const peak_tables[] = {
    &peak_scalar,
#if defined(__x86_64__)
    &peak_avx2,
    &peak_avxvnni,
    &peak_avx512,
    &peak_avx512bf16,
    &peak_amx,
#endif
};
const int peak_n_tables = COUNT_OF(peak_tables);

static uint16_t bf16_of_small(int x)
{
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint16_t)(bits >> 16); /* exact: at most eight significant bits */
}

void peak_input_fill(struct peak_input *in)
{
    struct rng rng;
    rng_seed(&rng, 1);
    for (int i = 0; i < PEAK_MOST_CHAINS; i++) in->start[i] = (float)(i + 1);
    for (int i = 0; i < 16; i++) {
        in->factor[i] = 0.5f + 0.5f * (float)rng_uniform(&rng);
        in->term[i] = (float)rng_uniform(&rng) - 0.5f;
    }
    for (int i = 0; i < 1024; i++) {
        in->a8[i] = (uint8_t)rng_below(&rng, 128);
        in->b8[i] = (int8_t)((int)rng_below(&rng, 255) - 127);
    }
    for (int i = 0; i < 512; i++) {
        in->a16[i] = bf16_of_small((int)rng_below(&rng, 17) - 8);
        in->b16[i] = bf16_of_small((int)rng_below(&rng, 17) - 8);
    }
}
