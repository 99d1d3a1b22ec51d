/* mm_tiles_amx.c - products for many tokens by AMX: blocks of 32 tokens by 32 rows, two by two tiles of sums.
 *
 * Sixteen lines of a panel (32 columns of 16 rows) are the second operand's tile as it must lie, 32 activations of 16
 * tokens the first operand's.  A step of 32 columns loads four tiles for four products of 16 cycles each; a tile
 * comes in 8 cycles from the first-level cache and in some 20 from the second, so the panel in the first and the
 * activations in the second (2 * 8 + 2 * 20 < 64) leave the products as the limit, and both in the second would not.
 * That is why sums are loaded and stored once per panel, at a third of its time: a panel of all columns would spare
 * this, but not fit.  No shape needs a copy: tails are tiles of fewer rows and columns. */
#if defined(__x86_64__)
#include "amx_tiles.h"
#include "cpu.h"
#include "tile_walk.h"

#define INLINE static inline __attribute__((always_inline))

enum { BLOCK_TOKENS = 2 * TILE_ROWS, STEP_BYTES = TILE_ROWS * TILE_ROW_BYTES };
_Static_assert((int)STRIP == (int)TILE_ROWS && 2 * (int)PANEL_STEP == (int)TILE_ROW_BYTES, "a step is a tile");

/* Tiles: 0 to 3 hold sums (the second bit says which tokens, the first which strip), 4 and 5 the activations of both
 * sixteens of tokens, 6 and 7 the weights of both strips. */
static uint32_t shape_of(int n_tokens, int n_rows)
{
    return (uint32_t)(n_tokens << 8 | n_rows);
}

static void shape_tile(struct tile_config *c, int tile, int rows, int row_bytes)
{
    bool is_there = rows > 0 && row_bytes > 0;
    c->rows[tile] = (uint8_t)(is_there ? rows : 0);
    c->row_bytes[tile] = (uint16_t)(is_there ? row_bytes : 0);
}

static void configure(struct tile_job *j, int n_tokens)
{
    _Alignas(64) struct tile_config c = {.palette = 1};
    if (j->kept == shape_of(n_tokens, j->n_rows)) return;
    for (int i = 0; i < 2; i++) {
        int tokens = MIN(TILE_ROWS, n_tokens - i * TILE_ROWS);
        for (int s = 0; s < 2; s++) shape_tile(&c, 2 * i + s, tokens, 4 * MIN(STRIP, j->n_rows - s * STRIP));
        shape_tile(&c, 4 + i, tokens, TILE_ROW_BYTES);
        shape_tile(&c, 6 + i, TILE_ROWS, 4 * MIN(STRIP, j->n_rows - i * STRIP));
    }
    amx_configure(&c);
    j->kept = shape_of(n_tokens, j->n_rows);
}

/* One block: `wide`, more than sixteen rows; `tall`, more than sixteen tokens. */
INLINE void multiply_block(const struct tile_job *j, int t, bool wide, bool tall)
{
    const char *x[2] = {j->x + (size_t)t * j->x_stride, j->x + (size_t)(t + TILE_ROWS) * j->x_stride};
    const char *w[2] = {j->panel[0], j->panel[1]};
    float *y = j->y + (size_t)t * j->y_stride, *below = y + TILE_ROWS * j->y_stride;
    size_t y_bytes = j->y_stride * sizeof *y;
    if (j->is_first) {
        AMX_ZERO(0);
        if (wide) AMX_ZERO(1);
        if (tall) AMX_ZERO(2);
        if (wide && tall) AMX_ZERO(3);
    } else {
        AMX_LOAD(0, y, y_bytes);
        if (wide) AMX_LOAD(1, y + STRIP, y_bytes);
        if (tall) AMX_LOAD(2, below, y_bytes);
        if (wide && tall) AMX_LOAD(3, below + STRIP, y_bytes);
    }
    for (int c = 0; c < j->n_cols; c += PANEL_STEP) {
        size_t step = (size_t)(c / PANEL_STEP) * STEP_BYTES;
        AMX_LOAD(6, w[0] + step, TILE_ROW_BYTES);
        AMX_LOAD(4, x[0] + 2 * c, j->x_stride);
        AMX_DOT_BF16(0, 4, 6);
        if (wide) AMX_LOAD(7, w[1] + step, TILE_ROW_BYTES);
        if (wide) AMX_DOT_BF16(1, 4, 7);
        if (tall) AMX_LOAD(5, x[1] + 2 * c, j->x_stride);
        if (tall) AMX_DOT_BF16(2, 5, 6);
        if (wide && tall) AMX_DOT_BF16(3, 5, 7);
    }
    AMX_STORE(0, y, y_bytes);
    if (wide) AMX_STORE(1, y + STRIP, y_bytes);
    if (tall) AMX_STORE(2, below, y_bytes);
    if (wide && tall) AMX_STORE(3, below + STRIP, y_bytes);
}

static void multiply_shape(struct tile_job *j, int t, int n_tokens)
{
    bool wide = j->n_rows > STRIP, tall = n_tokens > TILE_ROWS;
    configure(j, n_tokens);
    if (wide && tall)
        multiply_block(j, t, true, true);
    else if (wide)
        multiply_block(j, t, true, false);
    else if (tall)
        multiply_block(j, t, false, true);
    else
        multiply_block(j, t, false, false);
}

/* The tail first if the tiles have its shape from the panel before: so they change it once per panel, not twice. */
static void multiply_panel(struct tile_job *j)
{
    int tail = j->n_tokens % BLOCK_TOKENS, full = j->n_tokens - tail;
    bool tail_first = tail && j->kept == shape_of(tail, j->n_rows);
    AMX_FENCE();
    if (tail_first) multiply_shape(j, full, tail);
    for (int t = 0; t < full; t += BLOCK_TOKENS) multiply_shape(j, t, BLOCK_TOKENS);
    if (tail && !tail_first) multiply_shape(j, full, tail);
    AMX_FENCE();
}

#define TYPES(X)                                                                                    \
    X(F32) X(F16) X(BF16) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K)   \
    X(Q6_K) X(IQ4_NL) X(IQ4_XS) X(MXFP4)
#define MM_TILES(type)                                                                              \
    static void mm_tiles_##type(const struct kern_mm_args *a)                                       \
    {                                                                                               \
        tile_walk(a, DTYPE_##type, multiply_panel);                                                 \
        AMX_RELEASE();                                                                              \
    }
TYPES(MM_TILES)

#define SLOT(type) [DTYPE_##type] = mm_tiles_##type,
const struct kern_ops kern_amx = {
    .name = "amx",
    .need = CPU_AVX2 | CPU_AVX512 | CPU_BF16 | CPU_AMX,
    .mm_tiles = {TYPES(SLOT)},
};
#endif
