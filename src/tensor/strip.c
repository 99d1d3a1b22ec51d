/* strip.c - how each element type's block is taken apart. */
#include "strip.h"

#include "blocks.h"

static const struct strip_form forms[DTYPE_COUNT] = {
    /*                cols, bytes, head at, bytes, body at, words */
    [DTYPE_F32] =    {   1,     4,       0,     0,       0,     1},
    [DTYPE_F16] =    {   2,     4,       0,     0,       0,     1},
    [DTYPE_BF16] =   {   2,     4,       0,     0,       0,     1},
    [DTYPE_Q4_0] =   {  32,    18,       0,     2,       2,     4},
    [DTYPE_Q4_1] =   {  32,    20,       0,     0,       0,     5},
    [DTYPE_Q5_0] =   {  32,    22,       0,     2,       2,     5},
    [DTYPE_Q5_1] =   {  32,    24,       0,     0,       0,     6},
    [DTYPE_Q8_0] =   {  32,    34,       0,     2,       2,     8},
    [DTYPE_IQ4_NL] = {  32,    18,       0,     2,       2,     4},
    [DTYPE_MXFP4] =  {  32,    17,       0,     1,       1,     4},
    [DTYPE_Q2_K] =   { 256,    84,       0,     0,       0,    21},
    [DTYPE_Q3_K] =   { 256,   110,     108,     2,       0,    27},
    [DTYPE_Q4_K] =   { 256,   144,       0,     0,       0,    36},
    [DTYPE_Q5_K] =   { 256,   176,       0,     0,       0,    44},
    [DTYPE_Q6_K] =   { 256,   210,     208,     2,       0,    52},
    [DTYPE_IQ4_XS] = { 256,   136,       0,     0,       0,    34},
};

const struct strip_form *strip_form(enum dtype dtype)
{
    return &forms[dtype];
}
