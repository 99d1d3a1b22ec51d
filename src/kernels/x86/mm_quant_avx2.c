/* mm_quant_avx2.c - products of quantised weights with vpmaddubsw: unsigned times signed bytes, pairs added in 16
 * bits, which must not saturate.  With activations within +-127 that many quads fit before they go on to 32 bits:
 *     codes to 15      8 (8 * 2 * 15 * 127 < 2^15)
 *     codes to 31      4
 *     codes to 63      2
 * Signed codes are offset by 128 and then are two codes to 15: that takes two multiplications for a quad, less than
 * the three of |w| times the activation with w's sign, where no two quads fit. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "formats_256.h"
#include "parts_avx2.h"

#define SUFFIX avx2
#define HAS_HIGH 1

struct factor {
    __m256i u, high; /* of signed codes four bits each */
};

struct partial {
    __m256i sum, pairs, high;
};

INLINE struct factor factor_of(__m256i v, struct format f)
{
    __m256i fifteen = _mm256_set1_epi8(15);
    if (f.bits != 8) return (struct factor){v, v};
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), fifteen);
    return (struct factor){_mm256_and_si256(v, fifteen), _mm256_xor_si256(high, _mm256_set1_epi8(8))};
}

INLINE int offset_of(struct format f)
{
    return f.bits == 8 ? 128 : f.offset;
}

/* Keeps a compiler from adding in an order of its own, for which registers do not suffice. */
INLINE __m256i in_order(__m256i v)
{
    __asm__("" : "+x"(v));
    return v;
}

INLINE __m256i add_pairs(__m256i sum, __m256i w, __m256i p, bool is_first)
{
    __m256i pairs = _mm256_maddubs_epi16(w, p);
    return in_order(is_first ? pairs : _mm256_add_epi16(sum, pairs));
}

INLINE void add_quad(struct partial *s, struct factor w, __m256i p, size_t k, struct format f)
{
    size_t room = f.bits == 5 ? 4 : f.bits == 6 ? 2 : 8, last = f.quads - 1;
    s->pairs = add_pairs(s->pairs, w.u, p, k % room == 0);
    if (f.bits == 8) s->high = add_pairs(s->high, w.high, p, k % room == 0);
    if (k % room != room - 1 && k != last) return;
    __m256i sums = _mm256_madd_epi16(s->pairs, _mm256_set1_epi16(1));
    if (f.bits == 8) sums = _mm256_add_epi32(sums, _mm256_madd_epi16(s->high, _mm256_set1_epi16(16)));
    s->sum = in_order(k < room && !offset_of(f) ? sums : _mm256_add_epi32(s->sum, sums));
}

#include "mm_quant_256.h"
#endif
