/* pack_avx512.c - rows into strips, four words of sixteen rows at a time: each row's four words are one part of
 * 128 bits of a vector, and a transpose within the parts makes lines of them. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "base.h"
#include "parts_avx512.h"

#define INLINE static inline __attribute__((always_inline))

/* Up to four words of rows i, i + 4, i + 8, i + 12. */
INLINE __m512i four_rows(const char *const row[STRIP], int i, size_t at, __mmask8 words)
{
    __m128i part[4];
    for (int k = 0; k < 4; k++) part[k] = _mm_maskz_loadu_epi32(words, row[i + 4 * k] + at);
    __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(part[0]), part[1], 1);
    __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(part[2]), part[3], 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/* Words [0, n) at `at` of all rows as n lines; `line`: which of those that begin at `to`, NULL: the first n. */
INLINE void pack_words(char *to, const char *const row[STRIP], size_t at, int n, const uint8_t *line)
{
    static const uint8_t in_order[4] = {0, 1, 2, 3};
    if (!line) line = in_order;
    __mmask8 words = (__mmask8)((1 << n) - 1);
    __m512i a = four_rows(row, 0, at, words), b = four_rows(row, 1, at, words);
    __m512i c = four_rows(row, 2, at, words), d = four_rows(row, 3, at, words);
    __m512i ab = _mm512_unpacklo_epi32(a, b), cd = _mm512_unpacklo_epi32(c, d);
    _mm512_storeu_si512(to + 64 * line[0], _mm512_unpacklo_epi64(ab, cd));
    if (n > 1) _mm512_storeu_si512(to + 64 * line[1], _mm512_unpackhi_epi64(ab, cd));
    ab = _mm512_unpackhi_epi32(a, b), cd = _mm512_unpackhi_epi32(c, d);
    if (n > 2) _mm512_storeu_si512(to + 64 * line[2], _mm512_unpacklo_epi64(ab, cd));
    if (n > 3) _mm512_storeu_si512(to + 64 * line[3], _mm512_unpackhi_epi64(ab, cd));
}

static char *pack_heads(char *to, const char *const row[STRIP], const struct strip_form *f, size_t at, int n_blocks)
{
    for (int b = 0; b < n_blocks; b++, at += f->bytes)
        for (int r = 0; r < STRIP; r++, to += f->head_bytes) memcpy(to, row[r] + at + f->head_at, f->head_bytes);
    return to;
}

/* One chunk of full blocks, whose first lies at `at` of each row. */
static char *pack_chunk(char *to, const char *const row[STRIP], const struct strip_form *f, size_t at, int n_blocks)
{
    if (f->head_bytes) to = pack_heads(to, row, f, at, n_blocks);
    if (f->head_bytes == 0 && !f->line_of) { /* blocks are words and nothing else: one after the other */
        int n = n_blocks * f->n_words;
        for (int w = 0; w < n; w += 4, to += 256) pack_words(to, row, at + 4 * (size_t)w, MIN(4, n - w), NULL);
        return to - (n % 4 ? 64 * (4 - n % 4) : 0);
    }
    for (int b = 0; b < n_blocks; b++, at += f->bytes, to += 64 * f->n_words)
        for (int w = 0; w < f->n_words; w += 4)
            pack_words(f->line_of ? to : to + 64 * w, row, at + f->body_at + 4 * (size_t)w, MIN(4, f->n_words - w),
                       f->line_of ? f->line_of + w : NULL);
    return to;
}

void pack_avx512(void *strip, enum dtype dtype, const void *rows, size_t row_bytes, int n_rows, int n_cols)
{
    const struct strip_form *f = strip_form(dtype);
    if (n_rows < STRIP || n_cols % f->n_cols) { /* some rows or half a word lack */
        kern_scalar.pack(strip, dtype, rows, row_bytes, n_rows, n_cols);
        return;
    }
    const char *row[STRIP];
    char *to = strip;
    for (int r = 0; r < STRIP; r++) row[r] = (const char *)rows + (size_t)r * row_bytes;
    for (int c = 0; c < n_cols; c += STRIP_CHUNK)
        to = pack_chunk(to, row, f, (size_t)(c / f->n_cols) * f->bytes,
                        strip_blocks(f, MIN(STRIP_CHUNK, n_cols - c)));
    memset(to, 0, (size_t)((char *)strip + strip_bytes(f, n_cols) - to));
}
#endif
