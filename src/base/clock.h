/* clock.h - monotonic time. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdint.h>

uint64_t clock_ns(void); /* nanoseconds since an arbitrary start; never goes back */

#endif
