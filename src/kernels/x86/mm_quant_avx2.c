/* mm_quant_avx2.c - products of quantised weights with vpmaddubsw: unsigned times signed bytes, pairs added in 16
 * bits, which must not saturate.  With activations within +-127 that many quads fit before they go on to 32 bits:
 *     codes to 15      8 (8 * 2 * 15 * 127 < 2^15)
 *     codes to 31      4
 *     codes to 63      2
 *     signed codes     1, as |w| times the activation with w's sign: 2 * 128 * 127 < 2^15 */
#if defined(__x86_64__)
#include <immintrin.h>

#include "formats_256.h"
#include "parts_avx2.h"

#define SUFFIX avx2
#define HAS_SIGNS 1

struct factor {
    __m256i u, sign;
};

struct partial {
    __m256i sum, pairs;
};

INLINE struct factor factor_of(__m256i v, struct format f)
{
    return f.bits == 8 ? (struct factor){_mm256_abs_epi8(v), v} : (struct factor){v, v};
}

INLINE int offset_of(struct format f)
{
    return f.offset;
}

INLINE void add_quad(struct partial *s, struct factor w, __m256i p, unsigned k, struct format f)
{
    unsigned room = f.bits == 4 ? 8 : f.bits == 5 ? 4 : f.bits == 6 ? 2 : 1, last = f.quads - 1;
    if (f.bits == 8) p = _mm256_sign_epi8(p, w.sign);
    __m256i pairs = _mm256_maddubs_epi16(w.u, p);
    s->pairs = k % room ? _mm256_add_epi16(s->pairs, pairs) : pairs;
    if (k % room != room - 1 && k != last) return;
    __m256i sums = _mm256_madd_epi16(s->pairs, _mm256_set1_epi16(1));
    s->sum = k < room && !f.offset ? sums : _mm256_add_epi32(s->sum, sums);
}

#include "mm_quant_256.h"
#endif
