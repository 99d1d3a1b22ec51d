/* cpu_facts.c - cores, caches, quotas and memory, read from /sys, /proc and the control groups. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base.h"
#include "cpu.h"
#include "cpu_facts.h"

enum { TEXT = 4096 };

/* The beginning of a small file as text; false when there is none. */
static bool read_text(const char *root, const char *path, char *out)
{
    char full[TEXT];
    if (snprintf(full, sizeof full, "%s%s", root, path) >= (int)sizeof full) return false;
    FILE *f = fopen(full, "r");
    if (!f) return false;
    size_t n = fread(out, 1, TEXT - 1, f);
    fclose(f);
    out[n] = '\0';
    return n > 0;
}

static uint64_t read_number(const char *root, const char *path)
{
    char text[TEXT];
    return read_text(root, path, text) ? strtoull(text, NULL, 10) : 0;
}

/* ---- control groups ------------------------------------------------------------------------- */

/* The path of this process in a hierarchy, from /proc/self/cgroup: lines "N:controllers:/path". */
static bool group_path(const char *root, const char *controller, char *out)
{
    char text[TEXT], *line, *rest = text;
    if (!read_text(root, "/proc/self/cgroup", text)) return false;
    while ((line = strsep(&rest, "\n"))) {
        char *list = strchr(line, ':');
        char *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        list++;
        bool found = *controller == '\0' && *list == '\0';
        for (char *word; !found && *controller && (word = strsep(&list, ","));)
            found = strcmp(word, controller) == 0;
        if (!found) continue;
        snprintf(out, TEXT, "%s", strcmp(path, "/") == 0 ? "" : path);
        return true;
    }
    return false;
}

/* Calls visit on every folder from the group's own up to the root of its hierarchy.  Inside a container
 * the path may not exist below the mount: then only the mount itself counts. */
static void walk_groups(const char *root, const char *mount, const char *controller,
                        void (*visit)(const char *root, const char *folder, void *out), void *out)
{
    char path[TEXT], folder[2 * TEXT];
    if (!group_path(root, controller, path)) return;
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s", mount, path);
        visit(root, folder, out);
        char *slash = strrchr(path, '/');
        if (!slash) return;
        *slash = '\0';
    }
}

static void tighten(double *quota, double value)
{
    if (value > 0 && (*quota == 0 || value < *quota)) *quota = value;
}

static void visit_quota_v2(const char *root, const char *folder, void *out)
{
    char path[3 * TEXT], text[TEXT];
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    double quota, period;
    if (read_text(root, path, text) && sscanf(text, "%lf %lf", &quota, &period) == 2 && period > 0)
        tighten(out, quota / period);
}

static void visit_quota_v1(const char *root, const char *folder, void *out)
{
    char path[3 * TEXT], text[TEXT];
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    double quota = read_text(root, path, text) ? atof(text) : 0;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    double period = read_text(root, path, text) ? atof(text) : 0;
    if (quota > 0 && period > 0) tighten(out, quota / period);
}

double cpu_quota_at(const char *root)
{
    double quota = 0;
    walk_groups(root, "/sys/fs/cgroup", "", visit_quota_v2, &quota);
    walk_groups(root, "/sys/fs/cgroup/cpu", "cpu", visit_quota_v1, &quota);
    return quota;
}

static uint64_t stat_value(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, name, n) == 0 && line[n] == ' ') return strtoull(line + n, NULL, 10);
    }
    return 0;
}

/* Of the groups on the path, the one that was held back most; periods are counted only under a quota. */
static void visit_throttled(const char *root, const char *folder, void *out)
{
    char path[3 * TEXT], stat[TEXT];
    double *worst = out;
    snprintf(path, sizeof path, "%s/cpu.stat", folder);
    uint64_t n = read_text(root, path, stat) ? stat_value(stat, "nr_periods") : 0;
    if (n) *worst = MAX(*worst, (double)stat_value(stat, "nr_throttled") / (double)n);
}

double cpu_throttled_at(const char *root)
{
    double share = -1;
    walk_groups(root, "/sys/fs/cgroup", "", visit_throttled, &share);
    walk_groups(root, "/sys/fs/cgroup/cpu", "cpu", visit_throttled, &share);
    return share;
}

struct limit { /* the tightest memory limit and the room left below it */
    uint64_t bytes, room;
};

/* Page cache that the group can give back counts as room. */
static void tighten_limit(struct limit *l, uint64_t bytes, uint64_t used, uint64_t cache)
{
    if (bytes == 0 || bytes >= (uint64_t)1 << 60) return;
    used -= MIN(used, cache);
    uint64_t room = bytes > used ? bytes - used : 0;
    if (l->bytes == 0 || room < l->room) *l = (struct limit){bytes, room};
}

static void visit_memory(const char *root, const char *folder, const char *limit, const char *usage,
                         const char *cache, struct limit *out)
{
    char path[3 * TEXT], stat[TEXT] = "";
    snprintf(path, sizeof path, "%s/%s", folder, limit);
    uint64_t bytes = read_number(root, path); /* "max" reads as 0 */
    snprintf(path, sizeof path, "%s/%s", folder, usage);
    uint64_t used = read_number(root, path);
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    read_text(root, path, stat);
    tighten_limit(out, bytes, used, stat_value(stat, cache));
}

static void visit_memory_v2(const char *root, const char *folder, void *out)
{
    visit_memory(root, folder, "memory.max", "memory.current", "file", out);
}

static void visit_memory_v1(const char *root, const char *folder, void *out)
{
    visit_memory(root, folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache", out);
}

void cpu_memory_at(const char *root, struct cpu_memory *out)
{
    char text[TEXT];
    struct limit limit = {0, 0};
    *out = (struct cpu_memory){0};
    if (read_text(root, "/proc/meminfo", text)) {
        const char *total = strstr(text, "MemTotal:"), *available = strstr(text, "MemAvailable:");
        if (total) out->total_bytes = strtoull(total + 9, NULL, 10) * 1024;
        if (available) out->available_bytes = strtoull(available + 13, NULL, 10) * 1024;
    }
    walk_groups(root, "/sys/fs/cgroup", "", visit_memory_v2, &limit);
    walk_groups(root, "/sys/fs/cgroup/memory", "memory", visit_memory_v1, &limit);
    out->limit_bytes = limit.bytes;
    if (limit.bytes) out->available_bytes = MIN(out->available_bytes, limit.room);
}

void cpu_memory(struct cpu_memory *out)
{
    cpu_memory_at("", out);
}

/* ---- processors ------------------------------------------------------------------------------ */

/* What /proc/cpuinfo says of the first processor; `otherwise` when it says nothing. */
static void read_cpuinfo(const char *root, const char *what, const char *otherwise, char *out, size_t n)
{
    char text[TEXT];
    snprintf(out, n, "%s", otherwise);
    if (!read_text(root, "/proc/cpuinfo", text)) return;
    const char *name = strstr(text, what);
    name = name ? strchr(name, ':') : NULL;
    if (name) snprintf(out, n, "%.*s", (int)strcspn(name + 2, "\n"), name + 2);
}

/* What processors share (a core, a cache) is counted once: by the lowest of them that this process may
 * use.  The list of those that share reads like "0,64" or "2-3". */
static bool is_first_of(const char *root, int cpu, const char *list, const cpu_set_t *usable)
{
    char path[128], text[TEXT], *at = text;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/%s", cpu, list);
    if (!read_text(root, path, text)) return true;
    while (*at >= '0' && *at <= '9') {
        long low = strtol(at, &at, 10), high = low;
        if (*at == '-') high = strtol(at + 1, &at, 10);
        for (long i = low; i <= high && i < cpu && i < CPU_SETSIZE; i++)
            if (CPU_ISSET((size_t)i, usable)) return false;
        at += *at == ',';
    }
    return true;
}

/* *index: its number in /sys, -1 when there is none. */
static uint64_t cache_bytes(const char *root, int cpu, int level, int *index)
{
    *index = -1;
    for (int i = 0; i < 8; i++) {
        char path[128], text[TEXT];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index%d/level", cpu, i);
        if (!read_text(root, path, text)) return 0;
        if (atoi(text) != level) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index%d/type", cpu, i);
        if (!read_text(root, path, text) || strncmp(text, "Instruction", 11) == 0) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cache/index%d/size", cpu, i);
        if (!read_text(root, path, text)) return 0;
        char *unit;
        *index = i;
        uint64_t n = strtoull(text, &unit, 10);
        return n << (*unit == 'K' ? 10 : *unit == 'M' ? 20 : 0);
    }
    return 0;
}

static int first_of_each(const char *root, const char *list, const cpu_set_t *usable, int *cpus, int most)
{
    int n = 0;
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET((size_t)i, usable) || !is_first_of(root, i, list, usable)) continue;
        if (n < most) cpus[n] = i;
        n++;
    }
    return n;
}

static void find_usable(cpu_set_t *set)
{
    if (sched_getaffinity(0, sizeof *set, set) == 0) return;
    CPU_ZERO(set);
    for (long i = 0; i < sysconf(_SC_NPROCESSORS_ONLN) && i < CPU_SETSIZE; i++) CPU_SET(i, set);
}

static const char siblings[] = "topology/thread_siblings_list";

int cpu_cores(int *cpus, int most)
{
    cpu_set_t set;
    find_usable(&set);
    return first_of_each("", siblings, &set, cpus, most);
}

void cpu_facts(struct cpu_facts *out)
{
    cpu_set_t set;
    char list[64];
    int first, index;
    *out = (struct cpu_facts){.quota = cpu_quota_at("")};
    read_cpuinfo("", "model name", "unknown", out->name, sizeof out->name);
    read_cpuinfo("", "microcode", "", out->microcode, sizeof out->microcode);
    find_usable(&set);
    for (first = 0; first < CPU_SETSIZE - 1 && !CPU_ISSET((size_t)first, &set);) first++;
    out->n_logical = MAX(1, CPU_COUNT(&set));
    out->n_physical = MAX(1, first_of_each("", siblings, &set, NULL, 0));
    out->n_threads = out->n_physical;
    if (out->quota > 0) out->n_threads = MAX(1, MIN(out->n_threads, (int)(out->quota + 0.5)));
    out->l1d_bytes = cache_bytes("", first, 1, &index);
    out->l2_bytes = cache_bytes("", first, 2, &index);
    out->l3_bytes = cache_bytes("", first, 3, &index);
    snprintf(list, sizeof list, "cache/index%d/shared_cpu_list", index);
    out->n_l3 = index < 0 ? 0 : first_of_each("", list, &set, NULL, 0);
}

uint64_t cpu_caches_bytes(const struct cpu_facts *cpu)
{
    return MAX(cpu->l3_bytes * (uint64_t)MAX(1, cpu->n_l3), cpu->l2_bytes * (uint64_t)cpu->n_physical);
}

bool cpu_has_huge_pages_at(const char *root)
{
    char text[TEXT];
    return read_text(root, "/sys/kernel/mm/transparent_hugepage/enabled", text) &&
           (strstr(text, "[always]") || strstr(text, "[madvise]"));
}

bool cpu_has_huge_pages(void)
{
    return cpu_has_huge_pages_at("");
}

uint64_t cpu_peak_rss_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : (uint64_t)usage.ru_maxrss * 1024;
}

void cpu_reset_peak_rss(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f) return;
    fwrite("5", 1, 1, f); /* proc(5) */
    fclose(f);
}

uint64_t cpu_rss_bytes(void)
{
    char text[TEXT];
    unsigned long long total, resident;
    if (!read_text("", "/proc/self/statm", text) || sscanf(text, "%llu %llu", &total, &resident) != 2)
        return 0;
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}
