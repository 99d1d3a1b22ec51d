/* amx_emulation.h - the tile instructions in plain C, as the manual words them, for processors without AMX.
 *
 * What the instruction set forbids ends as it does there: an operand of the wrong shape or a tile that is not
 * configured by SIGILL (#UD), an impossible configuration by SIGSEGV (#GP).  Intel SDM volume 2: LDTILECFG,
 * TILELOADD, TILESTORED, TDPBF16PS.  Included by amx_tiles.h alone. */
#ifndef AMX_EMULATION_H
#define AMX_EMULATION_H

#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "convert.h"

#define AMX_FENCE() ((void)0)
#define AMX_RELEASE() emulated_release()
#define AMX_ZERO(tile) emulated_zero(tile)
#define AMX_LOAD(tile, from, stride) emulated_load(tile, from, stride)
#define AMX_STORE(tile, to, stride) emulated_store(tile, to, stride)
#define AMX_DOT_BF16(sums, a, b) emulated_dot_bf16(sums, a, b)

enum { TILES = 8 };

static _Thread_local struct emulated_tile {
    int rows, row_bytes; /* 0: not configured */
    _Alignas(64) char bytes[TILE_ROWS][TILE_ROW_BYTES];
} emulated_tiles[TILES];

static inline void emulated_fault(bool is_wrong, int signal_number)
{
    if (is_wrong) raise(signal_number);
}

static inline void emulated_release(void)
{
    memset(emulated_tiles, 0, sizeof emulated_tiles);
}

static inline void amx_configure(const struct tile_config *config)
{
    emulated_fault(config->palette != 1 || config->start_row != 0, SIGSEGV);
    for (size_t i = 0; i < sizeof config->reserved; i++) emulated_fault(config->reserved[i], SIGSEGV);
    emulated_release();
    for (int i = 0; i < 16; i++) {
        int rows = config->rows[i], row_bytes = config->row_bytes[i];
        emulated_fault((i >= TILES && (rows || row_bytes)) || rows > TILE_ROWS || row_bytes > TILE_ROW_BYTES ||
                           !rows != !row_bytes,
                       SIGSEGV);
        if (i >= TILES) continue;
        emulated_tiles[i].rows = rows;
        emulated_tiles[i].row_bytes = row_bytes;
    }
}

static inline struct emulated_tile *emulated_tile(int tile)
{
    emulated_fault(tile >= TILES || !emulated_tiles[tile].rows, SIGILL);
    return &emulated_tiles[tile];
}

static inline void emulated_zero(int tile)
{
    memset(emulated_tile(tile)->bytes, 0, sizeof emulated_tiles->bytes);
}

static inline void emulated_load(int tile, const void *from, size_t stride)
{
    struct emulated_tile *t = emulated_tile(tile);
    memset(t->bytes, 0, sizeof t->bytes);
    for (int r = 0; r < t->rows; r++)
        memcpy(t->bytes[r], (const char *)from + (size_t)r * stride, (size_t)t->row_bytes);
}

static inline void emulated_store(int tile, void *to, size_t stride)
{
    const struct emulated_tile *t = emulated_tile(tile);
    for (int r = 0; r < t->rows; r++) memcpy((char *)to + (size_t)r * stride, t->bytes[r], (size_t)t->row_bytes);
}

/* Numbers below 2^-126 are zeros, taken and given ("DAZ", "FTZ"). */
static inline float emulated_flush(float x)
{
    return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x;
}

/* Row r of the sums: products of the even and of the odd columns are added up apart from each other, fused, from
 * zero; then both to each other; then that to the sum. */
static inline void emulated_dot_row(float *sums, const uint16_t *a, const struct emulated_tile *b)
{
    float even[16] = {0}, odd[16] = {0};
    for (int k = 0; k < b->rows; k++) {
        float a_even = emulated_flush(float_of_bf16(a[2 * k])), a_odd = emulated_flush(float_of_bf16(a[2 * k + 1]));
        uint32_t pairs[16];
        memcpy(pairs, b->bytes[k], sizeof pairs);
        for (int n = 0; n < 16; n++) {
            float b_even = emulated_flush(float_of_bits(pairs[n] << 16));
            float b_odd = emulated_flush(float_of_bits(pairs[n] & 0xffff0000));
            even[n] = emulated_flush(fmaf(a_even, b_even, even[n]));
            odd[n] = emulated_flush(fmaf(a_odd, b_odd, odd[n]));
        }
    }
    for (int n = 0; n < 16; n++)
        sums[n] = emulated_flush(emulated_flush(sums[n]) + emulated_flush(even[n] + odd[n]));
}

static inline void emulated_dot_bf16(int sums, int first, int second)
{
    struct emulated_tile *c = emulated_tile(sums), *a = emulated_tile(first), *b = emulated_tile(second);
    emulated_fault(sums == first || sums == second || first == second, SIGILL);
    emulated_fault(c->rows != a->rows || c->row_bytes != b->row_bytes || a->row_bytes != 4 * b->rows ||
                       c->row_bytes % 4,
                   SIGILL);
    for (int r = 0; r < c->rows; r++) {
        float row[16];
        uint16_t columns[TILE_ROW_BYTES / 2];
        memcpy(row, c->bytes[r], sizeof row);
        memcpy(columns, a->bytes[r], sizeof columns);
        emulated_dot_row(row, columns, b);
        memset(c->bytes[r], 0, sizeof c->bytes[r]);
        memcpy(c->bytes[r], row, (size_t)c->row_bytes);
    }
}

#endif
