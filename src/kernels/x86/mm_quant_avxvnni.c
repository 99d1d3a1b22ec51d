/* mm_quant_avxvnni.c - products of quantised weights with vpdpbusd in 256 bits: unsigned times signed bytes,
 * four of them added to 32 bits, where nothing saturates.  Signed codes become unsigned ones by an offset of 128,
 * like any other offset taken off through the sums of the activations.
 *
 * Compiled for AVX-512 VNNI the same source uses that encoding of the instruction: so kcheck can run it on
 * processors that have only the other one. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "formats_256.h"
#include "parts_avxvnni.h"

#ifndef SUFFIX
#define SUFFIX avxvnni
#endif
#define HAS_SIGNS 0

struct factor {
    __m256i u;
};

struct partial {
    __m256i sum;
};

INLINE struct factor factor_of(__m256i v, struct format f)
{
    return (struct factor){f.bits == 8 ? _mm256_xor_si256(v, _mm256_set1_epi8((char)0x80)) : v};
}

INLINE int offset_of(struct format f)
{
    return f.bits == 8 ? 128 : f.offset;
}

INLINE void add_quad(struct partial *s, struct factor w, __m256i p, size_t k, struct format f)
{
    (void)k, (void)f;
#if defined(__AVXVNNI__)
    s->sum = _mm256_dpbusd_avx_epi32(s->sum, w.u, p);
#else
    s->sum = _mm256_dpbusd_epi32(s->sum, w.u, p);
#endif
}

#include "mm_quant_256.h"
#endif
