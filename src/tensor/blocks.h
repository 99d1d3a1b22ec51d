/* blocks.h - the quantised blocks as they lie in a GGUF file, and the block of 8-bit activations.
 *
 * w(i) is the value of element i.  f16 and bf16 numbers are kept as uint16_t; e8m0 is a bare exponent.
 * Layouts: ggml's k-quants (Kawrakow 2023) and its simple formats; MXFP4: OCP Microscaling Formats
 * v1.0.  Nothing here is padded: sizes are asserted below. */
#ifndef BLOCKS_H
#define BLOCKS_H

#include <stdint.h>

/* ---- 32 elements -------------------------------------------------------------------------- */

struct block_q4_0 { /* w(i) = d * (q(i) - 8); element i < 16: low nibble of qs[i], i + 16: high */
    uint16_t d;     /* f16 */
    uint8_t qs[16];
};

struct block_q4_1 { /* w(i) = d * q(i) + m; nibbles as in q4_0 */
    uint16_t d, m;  /* f16 */
    uint8_t qs[16];
};

struct block_q5_0 { /* w(i) = d * (q(i) - 16); low four bits as in q4_0, bit 4 = bit i of qh */
    uint16_t d;     /* f16 */
    uint8_t qh[4];  /* little-endian uint32, unaligned */
    uint8_t qs[16];
};

struct block_q5_1 { /* w(i) = d * q(i) + m */
    uint16_t d, m;  /* f16 */
    uint8_t qh[4];
    uint8_t qs[16];
};

struct block_q8_0 { /* w(i) = d * q[i] */
    uint16_t d;     /* f16 */
    int8_t qs[32];
};

struct block_iq4_nl { /* w(i) = d * iq4_values[q(i)]; nibbles as in q4_0 */
    uint16_t d;       /* f16 */
    uint8_t qs[16];
};

struct __attribute__((packed)) block_mxfp4 { /* w(i) = 2^(e-127) * e2m1(q(i)); nibbles as in q4_0 */
    uint8_t e;                               /* e8m0 */
    uint8_t qs[16];
};

/* ---- 256 elements: 8 groups of 32 or 16 groups of 16 ---------------------------------------- */

struct block_q2_k {     /* w(i) = d * sc * q(i) - dmin * m, sc and m per group of 16 */
    uint8_t scales[16]; /* low nibble sc, high nibble m */
    uint8_t qs[64];     /* element 128h + 32j + l: bits 2j, 2j + 1 of qs[32h + l] */
    uint16_t d, dmin;   /* f16 */
};

struct block_q3_k {     /* w(i) = d * (sc - 32) * (q(i) - 4), sc per group of 16 */
    uint8_t hmask[32];  /* bit 2 of element 32g + l: bit g of hmask[l] */
    uint8_t qs[64];     /* bits 0 and 1, as in q2_k */
    uint8_t scales[12]; /* sixteen 6-bit numbers: low nibbles in 0..7, high pairs in 8..11 */
    uint16_t d;         /* f16 */
};

struct block_q4_k {     /* w(i) = d * sc * q(i) - dmin * m, sc and m per group of 32 */
    uint16_t d, dmin;   /* f16 */
    uint8_t scales[12]; /* eight pairs (sc, m) of 6 bits; see scale_min_k4 in quant_decode_scalar.c */
    uint8_t qs[128];    /* element 64j + l: low nibble of qs[32j + l], 64j + 32 + l: high */
};

struct block_q5_k {     /* w(i) = d * sc * q(i) - dmin * m, sc and m per group of 32 */
    uint16_t d, dmin;   /* f16 */
    uint8_t scales[12]; /* as in q4_k */
    uint8_t qh[32];     /* bit 4 of element 32g + l: bit g of qh[l] */
    uint8_t qs[128];    /* as in q4_k */
};

struct block_q6_k {     /* w(i) = d * sc * (q(i) - 32), sc per group of 16 */
    uint8_t ql[128];    /* element 128h + l, l < 32: low nibble of ql[64h + l]; + 32: of ql[64h+32+l];
                           + 64: high nibble of ql[64h + l]; + 96: of ql[64h + 32 + l] */
    uint8_t qh[64];     /* bits 4 and 5 of element 128h + 32j + l: bits 2j, 2j + 1 of qh[32h + l] */
    int8_t scales[16];
    uint16_t d;         /* f16 */
};

struct block_iq4_xs {    /* w(i) = d * (sc - 32) * iq4_values[q(i)], sc per group of 32 */
    uint16_t d;          /* f16 */
    uint16_t scales_h;   /* two high bits of the sc of group g: bits 2g, 2g + 1 */
    uint8_t scales_l[4]; /* four low bits: nibble g */
    uint8_t qs[128];     /* each group: 16 bytes of nibbles as in q4_0 */
};

/* ---- activations --------------------------------------------------------------------------- */

/* 256 activations as 8-bit numbers in 8 blocks of 32: x(i) ~ d[i/32] * q[i], d = max|x| / 127.
 * sum[j] is the sum of q over 16 elements, for the formats with a minimum or an offset.  A row whose
 * width is not a multiple of 256 ends in a block padded with zeros.  64-byte aligned. */
struct act_q8 {
    float d[8];
    int16_t sum[16];
    int8_t q[256];
};

#define BLOCK_SIZE_ASSERT(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)
#ifndef __cplusplus
BLOCK_SIZE_ASSERT(block_q4_0, 18);
BLOCK_SIZE_ASSERT(block_q4_1, 20);
BLOCK_SIZE_ASSERT(block_q5_0, 22);
BLOCK_SIZE_ASSERT(block_q5_1, 24);
BLOCK_SIZE_ASSERT(block_q8_0, 34);
BLOCK_SIZE_ASSERT(block_iq4_nl, 18);
BLOCK_SIZE_ASSERT(block_mxfp4, 17);
BLOCK_SIZE_ASSERT(block_q2_k, 84);
BLOCK_SIZE_ASSERT(block_q3_k, 110);
BLOCK_SIZE_ASSERT(block_q4_k, 144);
BLOCK_SIZE_ASSERT(block_q5_k, 176);
BLOCK_SIZE_ASSERT(block_q6_k, 210);
BLOCK_SIZE_ASSERT(block_iq4_xs, 136);
BLOCK_SIZE_ASSERT(act_q8, 320);
#endif

#endif
