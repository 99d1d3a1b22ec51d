/* cuda_store.cu - rows as they are in the file, brought into strips on the device.
 *
 * A block of threads takes a chunk of a strip.  It reads its sixteen pieces of rows as they lie there, through shared
 * memory, and writes the chunk word after word; so both sides go in whole words, side by side. */
#include "cuda_backend.h"
#include "lane.cuh"

extern "C" {
#include "strip.h"
}

enum {
    PACK_THREADS = 128,
    PACK_STRIDE = 4 * STRIP_CHUNK + 12, /* of rows in shared memory: an odd number of words, 3 bytes to spare */
    PACK_MOST_WORDS = 64,
};

struct pack {
    char *strips;
    const char *raw;
    size_t row_bytes, all_bytes; /* from row to row; of a row */
    size_t strip_bytes;
    int n_rows, n_blocks, n_chunks;
    int per_chunk;               /* blocks */
    uint8_t bytes, head_at, head_bytes, body_at, n_words; /* see struct strip_form */
    uint8_t word_of[PACK_MOST_WORDS];                     /* line_of turned round */
};

/* n bytes to `to`, which is as far beyond a word as `from`; a warp does it. */
LANE void pack_read(char *to, const char *from, int n)
{
    int before = (int)(-(uintptr_t)from & 3);
    if (before > n) before = n;
    int n_words = (n - before) / 4, behind = before + 4 * n_words;
    for (int i = lane_id(); i < n_words; i += 32)
        *(uint32_t *)(void *)(to + before + 4 * i) = *(const uint32_t *)(const void *)(from + before + 4 * i);
    if (lane_id() < before) to[lane_id()] = from[lane_id()];
    if (behind + lane_id() < n) to[behind + lane_id()] = from[behind + lane_id()];
}

LANE uint32_t pack_word(const char *bytes) /* as it may lie anywhere */
{
    const unsigned char *b = (const unsigned char *)bytes;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* Four bytes of the chunk's heads, from byte `at` of them on. */
LANE uint32_t pack_heads(const struct pack &p, const char *rows, const uint32_t *skew, int at)
{
    uint32_t word = 0;
    for (int i = 0; i < 4; i++) {
        int byte = at + i, of_block = STRIP * p.head_bytes;
        int block = byte / of_block, r = byte % of_block / p.head_bytes, nth = byte % p.head_bytes;
        const char *from = rows + r * PACK_STRIDE + skew[r] + block * p.bytes + p.head_at + nth;
        word |= (uint32_t)(unsigned char)*from << 8 * i;
    }
    return word;
}

/* Word j of the chunk's bodies. */
LANE uint32_t pack_body(const struct pack &p, const char *rows, const uint32_t *skew, int j)
{
    int r = j % STRIP, line = j / STRIP, block = line / p.n_words, word = p.word_of[line % p.n_words];
    return pack_word(rows + r * PACK_STRIDE + skew[r] + block * p.bytes + p.body_at + 4 * word);
}

static __global__ void __launch_bounds__(PACK_THREADS) pack_chunks(const __grid_constant__ struct pack p)
{
    __shared__ __align__(16) char rows[STRIP * PACK_STRIDE];
    __shared__ uint32_t skew[STRIP]; /* how far beyond a word each row begins */
    grid_wait();
    grid_release();
    int chunk = (int)blockIdx.x % p.n_chunks, strip = (int)blockIdx.x / p.n_chunks;
    int first = chunk * p.per_chunk, n_blocks = min(p.per_chunk, p.n_blocks - first);
    size_t at = (size_t)first * p.bytes;
    int n = n_blocks * p.bytes, there = (int)min((size_t)n, p.all_bytes - at);
    for (int r = (int)threadIdx.x / 32; r < STRIP; r += PACK_THREADS / 32) {
        int row = strip * STRIP + r;
        const char *from = p.raw + (size_t)row * p.row_bytes + at;
        uint32_t beyond = (uint32_t)((uintptr_t)from & 3);
        int n_read = row < p.n_rows ? there : 0;
        if (lane_id() == 0) skew[r] = beyond;
        pack_read(rows + r * PACK_STRIDE + beyond, from, n_read);
        for (int i = n_read + lane_id(); i < n; i += 32) rows[r * PACK_STRIDE + (int)beyond + i] = 0;
    }
    block_barrier();
    uint32_t *to = (uint32_t *)(void *)(p.strips + (size_t)strip * p.strip_bytes + STRIP * at);
    int n_heads = n_blocks * STRIP * p.head_bytes / 4, n_words = n_blocks * STRIP * p.bytes / 4;
    for (int i = (int)threadIdx.x; i < n_heads; i += PACK_THREADS) to[i] = pack_heads(p, rows, skew, 4 * i);
    for (int i = n_heads + (int)threadIdx.x; i < n_words; i += PACK_THREADS)
        to[i] = pack_body(p, rows, skew, i - n_heads);
    if (chunk < p.n_chunks - 1) return;
    int n_to_the_end = (int)((p.strip_bytes - STRIP * at) / 4);
    for (int i = n_words + (int)threadIdx.x; i < n_to_the_end; i += PACK_THREADS) to[i] = 0;
}

void cuda_pack(struct device *d, enum dtype dtype, void *strips, const void *raw, size_t row_bytes, int n_rows,
               int n_cols)
{
    const struct strip_form *f = strip_form(dtype);
    struct pack p = {};
    p.strips = (char *)strips;
    p.raw = (const char *)raw;
    p.row_bytes = row_bytes;
    p.all_bytes = dtype_row_bytes(dtype_info(dtype), (uint64_t)n_cols);
    p.strip_bytes = strip_bytes(f, n_cols);
    p.n_rows = n_rows;
    p.n_blocks = strip_blocks(f, n_cols);
    p.per_chunk = STRIP_CHUNK / f->n_cols;
    p.n_chunks = (p.n_blocks + p.per_chunk - 1) / p.per_chunk;
    p.bytes = (uint8_t)f->bytes;
    p.head_at = f->head_at;
    p.head_bytes = f->head_bytes;
    p.body_at = f->body_at;
    p.n_words = f->n_words;
    for (int w = 0; w < f->n_words; w++) p.word_of[strip_line(f, w)] = (uint8_t)w;
    unsigned n_strips = (unsigned)((n_rows + STRIP - 1) / STRIP);
    device_launch(d, "packing weights", pack_chunks, dim3(n_strips * (unsigned)p.n_chunks), dim3(PACK_THREADS), 0, p);
}
