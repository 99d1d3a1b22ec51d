/* known.h - names that the user gives, looked up; the sentence about an unknown one lists those there are. */
#ifndef KNOWN_H
#define KNOWN_H

#include "mix.h"
#include "shape.h"

enum { KNOWN_QUANTIZATION_VERSION = 2 }; /* of the block layouts: general.quantization_version */

int known_find_mix(const struct mix **out, const char *name, struct redline_err *err);
int known_find_shape(const struct shape **out, const char *name, struct redline_err *err);

#endif
