/* peak_amx.c - the limits of AMX: products of a 16 x 64-byte tile and another, 16 x 16 sums.
 *
 * Six tiles of sums, one tile of each operand: a product takes 16 cycles and is done after 52, so four
 * would hide the latency. */
#if defined(__x86_64__)
#include "amx_tiles.h"
#include "cpu.h"
#include "peak.h"

enum { CHAINS = 6, ROWS = PEAK_TILE_ROWS, ROW_BYTES = TILE_ROW_BYTES, SUMS = ROWS * 16 };

#define FOR_CHAINS(what) what(0) what(1) what(2) what(3) what(4) what(5)

static void configure(void)
{
    _Alignas(64) struct tile_config config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = ROW_BYTES;
        config.rows[i] = ROWS;
    }
    amx_configure(&config);
}

#define LOAD(i) _tile_loadd(i, y[i], ROW_BYTES);
#define STORE(i) _tile_stored(i, y[i], ROW_BYTES);
#define DOT_INT8(i) _tile_dpbusd(i, 6, 7);
#define DOT_BF16(i) _tile_dpbf16ps(i, 6, 7);

static double int8_amx(const struct peak_input *in, uint64_t n_rounds)
{
    _Alignas(64) int32_t y[CHAINS][SUMS];
    for (int i = 0; i < CHAINS; i++)
        for (int j = 0; j < SUMS; j++) y[i][j] = (int32_t)in->start[i];
    configure();
    _tile_loadd(6, in->a8, ROW_BYTES);
    _tile_loadd(7, in->b8, ROW_BYTES);
    FOR_CHAINS(LOAD)
    for (uint64_t n = 0; n < n_rounds; n++) {
        FOR_CHAINS(DOT_INT8)
    }
    FOR_CHAINS(STORE)
    _tile_release();
    AMX_FENCE();
    return peak_sum_i32(y[0], CHAINS * SUMS);
}

static double bf16_amx(const struct peak_input *in, uint64_t n_rounds)
{
    _Alignas(64) float y[CHAINS][SUMS];
    for (int i = 0; i < CHAINS; i++)
        for (int j = 0; j < SUMS; j++) y[i][j] = in->start[i];
    configure();
    _tile_loadd(6, in->a16, ROW_BYTES);
    _tile_loadd(7, in->b16, ROW_BYTES);
    FOR_CHAINS(LOAD)
    for (uint64_t n = 0; n < n_rounds; n++) {
        FOR_CHAINS(DOT_BF16)
    }
    FOR_CHAINS(STORE)
    _tile_release();
    AMX_FENCE();
    return peak_sum_f32(y[0], CHAINS * SUMS);
}

static const struct peak_loop loops[] = {
    {"bf16", PEAK_TILE, CHAINS, SUMS, 32, bf16_amx},
    {"int8", PEAK_TILE, CHAINS, SUMS, 64, int8_amx},
};

const struct peak_table peak_amx = {
    .isa = "amx",
    .need = CPU_AVX2 | CPU_AVX512 | CPU_AMX,
    .loops = loops,
    .n_loops = COUNT_OF(loops),
};
#endif
