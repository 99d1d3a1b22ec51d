/* others.h - how many processors other programs used while something was measured.
 *
 * The load of a minute tells what was before a measurement, and at its end is the measurement's own.  So the time that
 * all processors worked, or were taken away from a virtual machine, less that of this process and its children. */
#ifndef OTHERS_H
#define OTHERS_H

#include <stdint.h>

struct others {
    double all_s, own_s; /* of processors, so far; NAN: not known */
    uint64_t start_ns;
};

/* root: as in struct facts_source, "" for the running system. */
void others_begin(struct others *o, const char *root);

/* Processors, as a mean since others_begin(); NAN: not known.  Children count when they were waited for. */
double others_used(const struct others *o, const char *root);

#endif
