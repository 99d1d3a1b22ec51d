/* dtype.c - the table of element types.  Sizes follow the GGUF specification (ggml, gguf.md). */
#include "dtype.h"

#include <ctype.h>
#include <stdio.h>

#include "base.h"

/*                    name      block bytes weight quantized */
static const struct dtype_info table[] = {
    [DTYPE_F32] =    {"F32",        1,   4, true, false},
    [DTYPE_F16] =    {"F16",        1,   2, true, false},
    [DTYPE_Q4_0] =   {"Q4_0",      32,  18, true, true},
    [DTYPE_Q4_1] =   {"Q4_1",      32,  20, true, true},
    [DTYPE_Q5_0] =   {"Q5_0",      32,  22, true, true},
    [DTYPE_Q5_1] =   {"Q5_1",      32,  24, true, true},
    [DTYPE_Q8_0] =   {"Q8_0",      32,  34, true, true},
    [9] =            {"Q8_1",      32,  36, false, true},
    [DTYPE_Q2_K] =   {"Q2_K",     256,  84, true, true},
    [DTYPE_Q3_K] =   {"Q3_K",     256, 110, true, true},
    [DTYPE_Q4_K] =   {"Q4_K",     256, 144, true, true},
    [DTYPE_Q5_K] =   {"Q5_K",     256, 176, true, true},
    [DTYPE_Q6_K] =   {"Q6_K",     256, 210, true, true},
    [15] =           {"Q8_K",     256, 292, false, true},
    [16] =           {"IQ2_XXS",  256,  66, false, true},
    [17] =           {"IQ2_XS",   256,  74, false, true},
    [18] =           {"IQ3_XXS",  256,  98, false, true},
    [19] =           {"IQ1_S",    256,  50, false, true},
    [DTYPE_IQ4_NL] = {"IQ4_NL",    32,  18, true, true},
    [21] =           {"IQ3_S",    256, 110, false, true},
    [22] =           {"IQ2_S",    256,  82, false, true},
    [DTYPE_IQ4_XS] = {"IQ4_XS",   256, 136, true, true},
    [DTYPE_I8] =     {"I8",         1,   1, false, false},
    [DTYPE_I16] =    {"I16",        1,   2, false, false},
    [DTYPE_I32] =    {"I32",        1,   4, false, false},
    [DTYPE_I64] =    {"I64",        1,   8, false, false},
    [DTYPE_F64] =    {"F64",        1,   8, false, false},
    [29] =           {"IQ1_M",    256,  56, false, true},
    [DTYPE_BF16] =   {"BF16",       1,   2, true, false},
    [34] =           {"TQ1_0",    256,  54, false, true},
    [35] =           {"TQ2_0",    256,  66, false, true},
    [DTYPE_MXFP4] =  {"MXFP4",     32,  17, true, true},
};

const struct dtype_info *dtype_info(uint32_t dtype)
{
    return dtype < COUNT_OF(table) && table[dtype].name ? &table[dtype] : NULL;
}

const char *dtype_name(uint32_t dtype)
{
    static _Thread_local char unknown[24];
    const struct dtype_info *info = dtype_info(dtype);
    if (info) return info->name;
    snprintf(unknown, sizeof unknown, "type %u", dtype);
    return unknown;
}

static bool same_letters(struct str a, const char *b)
{
    size_t i = 0;
    while (i < a.n && b[i] && toupper((unsigned char)a.p[i]) == toupper((unsigned char)b[i])) i++;
    return i == a.n && !b[i];
}

int dtype_parse(struct str name)
{
    for (size_t i = 0; i < COUNT_OF(table); i++)
        if (table[i].name && table[i].is_weight && same_letters(name, table[i].name)) return (int)i;
    return -1;
}
