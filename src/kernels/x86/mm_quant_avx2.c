/* mm_quant_avx2.c - products of quantised weights with vpmaddubsw: unsigned times signed bytes, pairs added in 16
 * bits, which must not saturate.  With activations within +-127 that many quads fit before they go on to 32 bits:
 *     codes to 15      8 (8 * 2 * 15 * 127 < 2^15)
 *     codes to 31      4
 *     codes to 63      2
 *     signed codes     1, as |w| times the activation with w's sign (2 * 128 * 127 < 2^15).  Two codes of four
 *                      bits each would be two multiplications instead of three, and more of all else: no gain. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "formats_256.h"
#include "parts_avx2.h"

#define SUFFIX avx2
#define HAS_SIGNS 1

struct factor {
    __m256i u, sign; /* of signed codes */
};

struct partial {
    __m256i sum, pairs;
};

INLINE struct factor factor_of(__m256i v, struct format f)
{
    return (struct factor){f.bits == 8 ? _mm256_abs_epi8(v) : v, v};
}

INLINE int offset_of(struct format f)
{
    return f.offset;
}

/* Keeps a compiler from adding in an order of its own, for which registers do not suffice. */
INLINE __m256i in_order(__m256i v)
{
    __asm__("" : "+x"(v));
    return v;
}

INLINE void add_quad(struct partial *s, struct factor w, __m256i p, size_t k, struct format f)
{
    size_t room = f.bits == 8 ? 1 : f.bits == 6 ? 2 : f.bits == 5 ? 4 : 8, last = f.quads - 1;
    if (f.bits == 8) p = _mm256_sign_epi8(p, w.sign);
    __m256i pairs = _mm256_maddubs_epi16(w.u, p);
    s->pairs = in_order(k % room ? _mm256_add_epi16(s->pairs, pairs) : pairs);
    if (k % room != room - 1 && k != last) return;
    __m256i sums = _mm256_madd_epi16(s->pairs, _mm256_set1_epi16(1));
    s->sum = in_order(k < room && !f.offset ? sums : _mm256_add_epi32(s->sum, sums));
}

#include "mm_quant_256.h"
#endif
