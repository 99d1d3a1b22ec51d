/* step_count.h - what a step makes its device do, layer by layer: the proof of where a layer ran. */
#ifndef STEP_COUNT_H
#define STEP_COUNT_H

#include "backend.h"

/* Adds the step's operations and copies to counts [n_layers + 1].  What comes in counts for the layer of the first
 * operation, what goes out for that of the last. */
void step_count(struct backend_count *counts, int n_layers, const struct step *step);

#endif
