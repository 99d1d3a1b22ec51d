/* others.c - see others.h. */
#include "others.h"

#include <math.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base.h"
#include "clock.h"
#include "sysfile.h"

/* "cpu  user nice system idle iowait irq softirq steal ...", in ticks; guests are in user already. */
static double all_seconds(const char *root)
{
    char text[SYSFILE_MOST], reason[160];
    unsigned long long user, nice, system, idle, wait, irq, softirq, steal;
    if (!sysfile_read(root, "/proc/stat", text, reason, sizeof reason)) return NAN;
    int n = sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &irq,
                   &softirq, &steal);
    return n == 8 ? (double)(user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK) : NAN;
}

static double usage_seconds(int who)
{
    struct rusage u;
    if (getrusage(who, &u)) return NAN;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double own_seconds(void)
{
    return usage_seconds(RUSAGE_SELF) + usage_seconds(RUSAGE_CHILDREN);
}

void others_begin(struct others *o, const char *root)
{
    *o = (struct others){all_seconds(root), own_seconds(), clock_ns()};
}

double others_used(const struct others *o, const char *root)
{
    double wall_s = (double)(clock_ns() - o->start_ns) / 1e9;
    double all_s = all_seconds(root) - o->all_s, own_s = own_seconds() - o->own_s;
    return isnan(all_s) || isnan(own_s) || !(wall_s > 0) ? NAN : MAX(all_s - own_s, 0) / wall_s;
}
