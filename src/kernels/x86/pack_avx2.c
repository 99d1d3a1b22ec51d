/* pack_avx2.c - rows into strips: four words of four rows are a transposition within 128 bits. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "base.h"
#include "parts_avx2.h"

#define INLINE static inline __attribute__((always_inline))

enum {
    MOST_BYTES = 1024, /* of a row's words in one chunk: F32 has the most */
    MOST_WORDS = 64,   /* of a block */
};

INLINE __m128 four_words(const char *p)
{
    return _mm_loadu_ps((const float *)(const void *)p);
}

/* Words `at` to at + 3 of sixteen rows. */
INLINE void transpose(char *to, const char *const *rows, int at)
{
    float *line = (float *)(void *)(to + (size_t)at * 64);
#pragma GCC unroll 4
    for (int r = 0; r < STRIP; r += 4) {
        __m128 a = four_words(rows[r] + 4 * at), b = four_words(rows[r + 1] + 4 * at);
        __m128 c = four_words(rows[r + 2] + 4 * at), d = four_words(rows[r + 3] + 4 * at);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        _mm_store_ps(line + r, a);
        _mm_store_ps(line + STRIP + r, b);
        _mm_store_ps(line + 2 * STRIP + r, c);
        _mm_store_ps(line + 3 * STRIP + r, d);
    }
}

/* n_bytes of each row as words, of which the last may lack its upper half. */
static void put_words(char *to, const char *const *rows, int n_bytes)
{
    int n_words = n_bytes / 4, at = 0;
    for (; at + 4 <= n_words; at += 4) transpose(to, rows, at);
    if (at < n_words && n_words >= 4) { /* some of them once more */
        transpose(to, rows, n_words - 4);
        at = n_words;
    }
    for (; 4 * at < n_bytes; at++)
        for (int r = 0; r < STRIP; r++) {
            uint32_t word = 0;
            memcpy(&word, rows[r] + 4 * at, (size_t)MIN(4, n_bytes - 4 * at));
            memcpy(to + 64 * at + 4 * r, &word, sizeof word);
        }
}

INLINE void put_heads(char *to, const char *const *rows, size_t n)
{
    for (int r = 0; r < STRIP; r++) memcpy(to + (size_t)r * n, rows[r], n);
}

/* Where the sixteen rows go on; those that lack stay at zeros. */
static void start_rows(const char *at[STRIP], const char *from, size_t row_bytes, int n_rows)
{
    static const char zeros[MOST_BYTES];
    for (int r = 0; r < STRIP; r++) at[r] = r < n_rows ? from + (size_t)r * row_bytes : zeros;
}

/* One block, or of types that are all words a chunk. */
static void put_block(char *heads, char *words, const struct strip_form *f, const char *const *rows, int n_bytes)
{
    const char *at[STRIP];
    for (int r = 0; r < STRIP; r++) at[r] = rows[r] + f->head_at;
    if (f->head_bytes == 2) put_heads(heads, at, 2);
    if (f->head_bytes == 1) put_heads(heads, at, 1);
    for (int r = 0; r < STRIP; r++) at[r] = rows[r] + f->body_at;
    if (!f->line_of) {
        put_words(words, at, n_bytes);
        return;
    }
    _Alignas(64) char in_order[MOST_WORDS * 64];
    put_words(in_order, at, n_bytes);
    for (int w = 0; w < f->n_words; w++) memcpy(words + 64 * f->line_of[w], in_order + 64 * w, 64);
}

void pack_avx2(void *strip, enum dtype dtype, const void *rows, size_t row_bytes, int n_rows, int n_cols)
{
    const struct strip_form *f = strip_form(dtype);
    size_t all = dtype_row_bytes(dtype_info(dtype), (uint64_t)n_cols), from = 0;
    bool is_plain = f->n_words == 1;
    char *chunk = strip;
    for (int c = 0; c < n_cols; c += STRIP_CHUNK) {
        int n_blocks = strip_blocks(f, MIN(STRIP_CHUNK, n_cols - c)), n_parts = is_plain ? 1 : n_blocks;
        size_t part = is_plain ? (size_t)MIN(n_blocks * f->bytes, (int)(all - from)) : f->bytes;
        char *words = chunk + n_blocks * STRIP * f->head_bytes;
        for (int b = 0; b < n_parts; b++, from += part) {
            const char *at[STRIP];
            start_rows(at, (const char *)rows + from, row_bytes, n_rows);
            put_block(chunk + b * STRIP * f->head_bytes, words + (size_t)b * f->n_words * 64, f, at,
                      is_plain ? (int)part : f->n_words * 4);
        }
        chunk += (size_t)n_blocks * STRIP * f->bytes;
    }
    memset(chunk, 0, (size_t)((char *)strip + strip_bytes(f, n_cols) - chunk));
}
#endif
