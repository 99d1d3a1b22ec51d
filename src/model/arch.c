/* arch.c - the table of decoder families.
 *
 * llama: Llama 1-3, Mistral, Mixtral and what else was converted under that name.  RMSNorm before
 * attention and before the feed-forward part, rotary embedding of neighbouring pairs, SiLU-gated
 * feed-forward or a mixture of such experts (Touvron et al. 2023; Jiang et al. 2024).  Biases of the
 * projections, frequency factors and experts are used where the file has them. */
#include "arch.h"

#include "base.h"

static const struct arch table[] = {
    {.name = "llama", .family = "Llama", .rope = ROPE_PAIRS, .moe_renormalize = true},
};

const struct arch *arch_find(struct str name)
{
    for (size_t i = 0; i < COUNT_OF(table); i++)
        if (str_eq(name, str_of(table[i].name))) return &table[i];
    return NULL;
}

const struct arch *arch_at(int i)
{
    return i >= 0 && i < (int)COUNT_OF(table) ? &table[i] : NULL;
}
