/* clock.h - monotonic time, and the time of day. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdbool.h>
#include <stdint.h>

uint64_t clock_ns(void); /* nanoseconds since an arbitrary start; never goes back */

enum { CLOCK_UTC = 32 }; /* bytes that hold any such time */

/* Now, by the calendar, in UTC and ISO 8601: "2026-11-21T18:15:00Z", with ms "2026-11-21T18:15:00.123Z". */
void clock_utc(char out[CLOCK_UTC], bool with_ms);

#endif
