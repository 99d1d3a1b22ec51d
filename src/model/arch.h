/* arch.h - what distinguishes one decoder family from another, as a row of a table.
 *
 * One decoder (decoder.c) reads the row.  A metadata key counts only if the row asks for it: files
 * carry many keys that their own family ignores.  A family that fits costs a row here; a property that
 * no row has yet costs a field, and a line where the decoder reads it. */
#ifndef ARCH_H
#define ARCH_H

#include <stdbool.h>

#include "step.h"
#include "str.h"

struct arch {
    const char *name;    /* general.architecture */
    const char *family;  /* for people */
    enum rope_kind rope; /* which numbers of a head turn together */
    bool moe_renormalize; /* the chosen experts' probabilities are scaled to sum to 1 */
};

/* NULL when there is no such row. */
const struct arch *arch_find(struct str name);

/* Row i of the table, NULL past the end. */
const struct arch *arch_at(int i);

#endif
