/* clock.c - CLOCK_MONOTONIC and CLOCK_REALTIME. */
#include "clock.h"

#include <stdio.h>
#include <time.h>

uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void clock_utc(char out[CLOCK_UTC], bool with_ms)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(out, CLOCK_UTC, "%Y-%m-%dT%H:%M:%S", &utc);
    if (with_ms) n += (size_t)snprintf(out + n, CLOCK_UTC - n, ".%03d", (int)(now.tv_nsec / 1000000));
    snprintf(out + n, CLOCK_UTC - n, "Z");
}
