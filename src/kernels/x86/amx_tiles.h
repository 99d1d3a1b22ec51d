/* amx_tiles.h - the tile instructions of AMX, and what a compiler must be told about them.
 *
 * Some compilers' tile instructions do not say which memory they read: stores before them and after them are held in
 * place by AMX_FENCE().  A tile is named by a literal number.  Whoever defines AMX_TILES, the name of a header, gets
 * the instructions from there: without the processor, an emulation. */
#ifndef AMX_TILES_H
#define AMX_TILES_H

#include <stdint.h>

enum { TILE_ROWS = 16, TILE_ROW_BYTES = 64 }; /* at most */

struct tile_config { /* as LDTILECFG reads it; palette 1; on a cache line */
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "the layout of the instruction set");

#ifdef AMX_TILES
#include AMX_TILES
#else
#include <immintrin.h>

#define AMX_FENCE() __asm__ volatile("" ::: "memory")
#define AMX_RELEASE() _tile_release()
#define AMX_ZERO(tile) _tile_zero(tile)
#define AMX_LOAD(tile, from, stride) _tile_loadd(tile, from, stride)
#define AMX_STORE(tile, to, stride) _tile_stored(tile, to, stride)
#define AMX_DOT_BF16(sums, a, b) _tile_dpbf16ps(sums, a, b)

/* All tiles are zeros afterwards. */
static inline void amx_configure(const struct tile_config *config)
{
    AMX_FENCE();
    _tile_loadconfig(config);
    AMX_FENCE();
}
#endif

#endif
