/* amx_emulated.c - the products by AMX once more, with emulated tiles: their logic is tested on any machine that can
 * expand weights to BF16. */
#define AMX_TILES "amx_emulation.h"
#define kern_amx kern_amx_emulated
#include "x86/mm_tiles_amx.c"
