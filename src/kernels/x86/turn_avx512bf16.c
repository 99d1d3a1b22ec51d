/* turn_avx512bf16.c - rows of values as strips of BF16: two rows at a time, whose numbers become pairs. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "base.h"
#include "math_avx512.h"
#include "parts_avx512bf16.h"

/* Sixteen columns of two rows: low, high, low, high ... of what the conversion leaves in two halves. */
MATH_INLINE void turn_pair(char *line, __m512 even, __m512 odd)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                           23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(odd, even);
    _mm512_store_si512(line, _mm512_permutexvar_epi16(order, halves));
}

void turn_avx512bf16(void *strips, size_t stride, const float *rows, int n, int d)
{
    size_t width = (size_t)d;
    for (int j = 0; j < n; j += 2) {
        const float *even = rows + (size_t)j * width, *odd = even + width;
        char *line = (char *)strips + (size_t)j * STRIP * 2;
        for (int c = 0; c < d; c += STRIP, line += stride) {
            __mmask16 m = tail_mask((size_t)(d - c));
            __m512 other = j + 1 < n ? _mm512_maskz_loadu_ps(m, odd + c) : _mm512_setzero_ps();
            turn_pair(line, _mm512_maskz_loadu_ps(m, even + c), other);
        }
    }
}
#endif
