/* strip.c - how each element type's block is taken apart. */
#include "strip.h"

#include <stddef.h>

/* d and dmin, scales and minima, two bits. */
static const uint8_t q2_k[21] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 0};

/* Scales; third bits and the two bits of the first half in turns; the two bits of the second. */
static const uint8_t q3_k[27] = {3,  5,  7,  9,  11, 13, 15, 17, 4,  6,  8,  10, 12, 14,
                                 16, 18, 19, 20, 21, 22, 23, 24, 25, 26, 0,  1,  2};

/* d and dmin, scales and minima; fifth bits and the first quarter of the nibbles in turns; the other nibbles. */
static const uint8_t q5_k[44] = {0,  1,  2,  3,  4,  6,  8,  10, 12, 14, 16, 18, 5,  7,  9,
                                 11, 13, 15, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29,
                                 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43};

/* Scales; then, half by half: nibbles of the first 64 columns, of the other 64, two high bits of all, in turns. */
static const uint8_t q6_k[52] = {4,  7,  10, 13, 16, 19, 22, 25, 5,  8,  11, 14, 17, 20, 23, 26, 28, 31,
                                 34, 37, 40, 43, 46, 49, 29, 32, 35, 38, 41, 44, 47, 50, 6,  9,  12, 15,
                                 18, 21, 24, 27, 30, 33, 36, 39, 42, 45, 48, 51, 0,  1,  2,  3};

static const struct strip_form forms[DTYPE_COUNT] = {
    /*                cols, bytes, head at, bytes, body at, words, lines */
    [DTYPE_F32] =    {   1,     4,       0,     0,       0,     1, NULL},
    [DTYPE_F16] =    {   2,     4,       0,     0,       0,     1, NULL},
    [DTYPE_BF16] =   {   2,     4,       0,     0,       0,     1, NULL},
    [DTYPE_Q4_0] =   {  32,    18,       0,     2,       2,     4, NULL},
    [DTYPE_Q4_1] =   {  32,    20,       0,     0,       0,     5, NULL},
    [DTYPE_Q5_0] =   {  32,    22,       0,     2,       2,     5, NULL},
    [DTYPE_Q5_1] =   {  32,    24,       0,     0,       0,     6, NULL},
    [DTYPE_Q8_0] =   {  32,    34,       0,     2,       2,     8, NULL},
    [DTYPE_IQ4_NL] = {  32,    18,       0,     2,       2,     4, NULL},
    [DTYPE_MXFP4] =  {  32,    17,       0,     1,       1,     4, NULL},
    [DTYPE_Q2_K] =   { 256,    84,       0,     0,       0,    21, q2_k},
    [DTYPE_Q3_K] =   { 256,   110,     108,     2,       0,    27, q3_k},
    [DTYPE_Q4_K] =   { 256,   144,       0,     0,       0,    36, NULL},
    [DTYPE_Q5_K] =   { 256,   176,       0,     0,       0,    44, q5_k},
    [DTYPE_Q6_K] =   { 256,   210,     208,     2,       0,    52, q6_k},
    [DTYPE_IQ4_XS] = { 256,   136,       0,     0,       0,    34, NULL},
};

const struct strip_form *strip_form(enum dtype dtype)
{
    return &forms[dtype];
}
