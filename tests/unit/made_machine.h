/* made_machine.h - for tests: a made-up machine, as files below a folder that stands for the root. */
#ifndef MADE_MACHINE_H
#define MADE_MACHINE_H

#include <sys/stat.h>

#include "scratch.h"

/* Writes proc or sys files of the scratch folder's machine, making the folders that lead there. */
static inline void machine_put(const char *path, const char *text)
{
    char full[512], *slash = full;
    snprintf(full, sizeof full, "%s%s", scratch_folder, path);
    while ((slash = strchr(slash + 1, '/'))) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *f = fopen(full, "w");
    if (!f || fputs(text, f) < 0 || fclose(f)) abort();
}

static inline void machine_clear(void)
{
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s/proc' '%s/sys'", scratch_folder, scratch_folder);
    if (system(command)) abort();
}

/* 16 GiB, 4 processors, at rest, nothing to find. */
static inline void machine_put_clean(void)
{
    machine_clear();
    machine_put("/proc/loadavg", "0.10 0.20 0.30 1/100 4711\n");
    machine_put("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:  8000000 kB\nMemAvailable:   12582912 kB\n"
                                 "SwapTotal:       2097152 kB\nSwapFree:        2097152 kB\n");
    machine_put("/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
                                         "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
    machine_put("/proc/self/cgroup", "0::/box\n");
    machine_put("/sys/fs/cgroup/box/cpu.max", "max 100000\n");
    machine_put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
    machine_put("/sys/devices/system/cpu/online", "0-3\n");
    machine_put("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n");
    machine_put("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n");
    machine_put("/sys/bus/pci/devices/0000:00:01.0/vendor", "0x8086\n");
    machine_put("/sys/bus/pci/devices/0000:00:01.0/class", "0x030000\n");
    machine_put("/sys/bus/pci/devices/0000:00:01.0/device", "0x1234\n");
}

static inline void machine_put_card(const char *address, const char *class, const char *device)
{
    char path[128];
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/vendor", address);
    machine_put(path, "0x10de\n");
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/class", address);
    machine_put(path, class);
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s/device", address);
    machine_put(path, device);
}

static inline void machine_put_driver(void)
{
    machine_put("/proc/driver/nvidia/version",
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n"
                "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n");
}

#endif
