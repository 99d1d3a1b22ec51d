/* peak.h - loops that do nothing but arithmetic in registers, or nothing but reading: what an instruction
 * set can do at most.  The limits that measured speeds stand beside.
 *
 * A loop of arithmetic keeps n_chains accumulators that wait only for themselves, so many that the latency
 * of an instruction is hidden.  One round gives each accumulator one more instruction (or the shortest
 * sequence that has the same effect), and there is nothing else in the loop but its counter.  So the
 * operations of a round are known by counting: 2 * n_chains * n_lanes * n_products, a multiply-add
 * counting as two.  The sum of all accumulators is returned: nothing can be left out, and tests know what
 * it must be. */
#ifndef PEAK_H
#define PEAK_H

#include <stdint.h>

#include "base.h"

enum { PEAK_MOST_CHAINS = 16, PEAK_TILE_ROWS = 16 };

/* What a round does to accumulator y of chain i, which starts at start[i] in every lane. */
enum peak_form {
    PEAK_MULTIPLY_ADD, /* y[l] = y[l] * factor[l] + term[l] */
    PEAK_DOT,          /* y[l] += sum over k < n_products of a[l * n_products + k] * b[same] */
    PEAK_TILE,         /* y[r][l] += sum over k < n_products of a[r * n_products + k] * b(k, l), rows of
                          64 bytes, b(k, l) = b[(k / g) * 16 g + l * g + k % g] with g elements in 4 bytes;
                          n_lanes counts the lanes of all 16 rows */
};

/* a and b hold small numbers: pairs of products fit into 16 bits, and all of b16's sums are exact in
 * float32 for some ten thousand rounds.  int8 means unsigned a times signed b. */
struct peak_input {
    float start[PEAK_MOST_CHAINS]; /* whole numbers */
    float factor[16], term[16];
    uint8_t a8[1024];
    int8_t b8[1024];
    uint16_t a16[512], b16[512];   /* bfloat16 */
};

struct peak_loop {
    const char *type;    /* "f32", "bf16", "int8" */
    enum peak_form form;
    int n_chains, n_lanes, n_products;
    /* The sum over chains and lanes, in double; integers wrap at 32 bits before. */
    double (*run)(const struct peak_input *in, uint64_t n_rounds);
};

enum peak_read {
    PEAK_READ_PLAIN,    /* one load after the other, as wide as the instruction set has them */
    PEAK_READ_PREFETCH, /* the same, each line asked for 512 bytes ahead */
    PEAK_READS,
};

/* One per instruction set; each file exports nothing else. */
struct peak_table {
    const char *isa; /* "avx512" */
    uint32_t need;   /* cpu.h features */
    const struct peak_loop *loops;
    int n_loops;
    /* Loads every byte once and returns the sum of all 64-bit words, wrapped.  p is 64-byte aligned, n a
     * multiple of 256.  All NULL: nothing wider than what an older table has. */
    uint64_t (*read[PEAK_READS])(const void *p, uint64_t n);
};

extern const struct peak_table peak_scalar, peak_avx2, peak_avxvnni, peak_avx512, peak_avx512bf16, peak_amx;

/* All tables, oldest first, whether this machine can run them or not. */
extern const struct peak_table *const peak_tables[];
extern const int peak_n_tables;

/* The same numbers every time, no two chains alike. */
void peak_input_fill(struct peak_input *in);

/* Operations of one round. */
static inline double peak_round_ops(const struct peak_loop *loop)
{
    return 2.0 * loop->n_chains * loop->n_lanes * loop->n_products;
}

/* Ends of loops: the accumulators as they lie in memory. */
static inline double peak_sum_f32(const float *y, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)y[i];
    return sum;
}

static inline double peak_sum_i32(const int32_t *y, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)y[i];
    return sum;
}

/* How loops look at a pointer to find vectors at it. */
#define PEAK_VECTOR(type, p) ((const type *)(const void *)(p))
#define PEAK_INLINE static inline __attribute__((always_inline))

/* The compiler must believe that the vector x has changed; no instruction comes of it. */
#define PEAK_HIDE(x) __asm__ volatile("" : "+x"(x))

#endif
