/* synth.h - making up a model of any shape; redline_synth() is this with a shape and a mixture by
 * name. */
#ifndef SYNTH_H
#define SYNTH_H

#include "mix.h"
#include "redline_make.h"
#include "shape.h"

int synth_write(const struct shape *shape, const struct mix *mix, const char *out,
                const struct redline_synth_params *params, struct redline_made *made,
                struct redline_err *err);

#endif
