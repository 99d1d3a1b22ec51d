/* facts.c - what the machine is doing at this moment, read from /proc, /sys, the control groups and NVIDIA's library;
 * each value, or why it could not be read. */
#define _GNU_SOURCE
#include "facts.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base.h"
#include "cpu.h"
#include "cpu_facts.h"
#include "file.h"
#include "mem.h"
#include "nvml.h"
#include "str.h"
#include "sysfile.h"

/* ---- values and reasons ------------------------------------------------------------------------ */

static struct fact_number known(double value)
{
    return (struct fact_number){.value = value};
}

static struct fact_number __attribute__((format(printf, 1, 2))) unknown(const char *format, ...)
{
    struct fact_number fact = {.value = NAN};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(fact.reason, sizeof fact.reason, format, arguments);
    va_end(arguments);
    return fact;
}

/* The number behind `name` in a file's text. */
static struct fact_number number_after(const char *text, const char *name, const char *path)
{
    const char *at = strstr(text, name);
    double value;
    if (at && sscanf(at + strlen(name), "%lf", &value) == 1) return known(value);
    return unknown("%s says nothing of %s", path, name);
}

/* The same of a file. */
static struct fact_number read_number_after(const char *root, const char *path, const char *name)
{
    char text[SYSFILE_MOST], reason[FACTS_REASON];
    if (!sysfile_read(root, path, text, reason, sizeof reason)) return unknown("%s", reason);
    return number_after(text, name, path);
}

/* ---- the processors ---------------------------------------------------------------------------- */

/* Of a list like "0-3,8": how many. */
static int count_list(const char *text)
{
    int n = 0;
    char *end;
    for (const char *at = text; *at >= '0' && *at <= '9'; at = end + (*end == ',')) {
        long low = strtol(at, &end, 10), high = low;
        if (*end == '-') high = strtol(end + 1, &end, 10);
        n += high >= low ? (int)(high - low) + 1 : 0;
    }
    return n;
}

static void read_online(struct facts *out, const char *root)
{
    char text[SYSFILE_MOST], reason[FACTS_REASON];
    if (sysfile_read(root, "/sys/devices/system/cpu/online", text, reason, sizeof reason))
        out->n_online = count_list(text);
}

/* Most wanted first: what a machine that measures should not have. */
static int governor_rank(const char *governor)
{
    static const char *const slow[] = {"powersave", "userspace", "conservative", "ondemand", "schedutil"};
    for (size_t i = 0; i < COUNT_OF(slow); i++)
        if (strcmp(governor, slow[i]) == 0) return (int)i;
    return (int)COUNT_OF(slow) + (strcmp(governor, "performance") == 0);
}

static void read_governor(struct fact_text *out, const char *root)
{
    char path[SYSFILE_PATH], text[SYSFILE_MOST], reason[FACTS_REASON];
    for (int cpu = 0; cpu < 4096; cpu++) {
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d", cpu);
        if (!sysfile_exists(root, path)) break;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", cpu);
        if (!sysfile_read(root, path, text, reason, sizeof reason)) continue;
        text[strcspn(text, "\n ")] = '\0';
        if (!out->value[0] || governor_rank(text) < governor_rank(out->value))
            snprintf(out->value, sizeof out->value, "%.90s", text);
    }
    if (!out->value[0]) snprintf(out->reason, sizeof out->reason, "the system shows no cpufreq");
}

/* What REDLINE_CPU takes away is a setting of the run, and the machine stays the same. */
static void name_machine(struct facts *out)
{
    struct redline_machine whole = out->machine;
    cpu_features_text(cpu_features_all(), whole.features, sizeof whole.features);
    snprintf(out->features, sizeof out->features, "%s", whole.features);
    redline_machine_id(&whole, out->machine_id);
}

static void read_masked(struct facts *out)
{
    uint32_t masked = cpu_features_all() & ~cpu_features();
    if (masked) cpu_features_text(masked, out->features_masked, sizeof out->features_masked);
}

double facts_load_limit(const struct facts *facts)
{
    return 0.25 * MAX(1, facts->n_online);
}

/* ---- memory -------------------------------------------------------------------------------------- */

static void read_memory(struct facts *out, const char *root)
{
    static const char path[] = "/proc/meminfo";
    char text[SYSFILE_MOST], reason[FACTS_REASON];
    struct cpu_memory memory;
    cpu_memory_at(root, &memory);
    out->machine.memory_bytes = memory.total_bytes;
    if (!sysfile_read(root, path, text, reason, sizeof reason)) {
        out->memory_available_bytes = unknown("%s", reason);
        out->swap_used_bytes = unknown("%s", reason);
        return;
    }
    out->memory_available_bytes = strstr(text, "MemAvailable:") ? known((double)memory.available_bytes)
                                                                : unknown("%s says nothing of MemAvailable", path);
    struct fact_number total = number_after(text, "SwapTotal:", path), unused = number_after(text, "SwapFree:", path);
    out->swap_used_bytes = isnan(total.value) ? total : unused;
    if (!isnan(total.value) && !isnan(unused.value)) out->swap_used_bytes = known((total.value - unused.value) * 1024);
}

static void read_huge_pages(struct fact_text *out, const char *root)
{
    static const char path[] = "/sys/kernel/mm/transparent_hugepage/enabled";
    char text[SYSFILE_MOST];
    if (!sysfile_read(root, path, text, out->reason, sizeof out->reason)) return;
    const char *chosen = strchr(text, '[');
    if (chosen)
        snprintf(out->value, sizeof out->value, "%.*s", (int)MIN(strcspn(chosen + 1, "]\n"), (size_t)32), chosen + 1);
    else
        snprintf(out->reason, sizeof out->reason, "%s shows no choice", path);
}

/* ---- GPUs ---------------------------------------------------------------------------------------- */

struct bus { /* of the NVIDIA cards that were seen: how many, and the lowest address */
    int n;
    char first[16], id[12];
};

/* PCI classes 0x0300 (display) and 0x0302 (3D, cards without an outlet). */
static void visit_card(struct bus *bus, const char *root, const char *address)
{
    char path[SYSFILE_PATH], vendor[SYSFILE_MOST], class[SYSFILE_MOST], device[SYSFILE_MOST], reason[FACTS_REASON];
    static const char base[] = "/sys/bus/pci/devices";
    snprintf(path, sizeof path, "%s/%.32s/vendor", base, address);
    if (!sysfile_read(root, path, vendor, reason, sizeof reason) || strtoul(vendor, NULL, 16) != 0x10de) return;
    snprintf(path, sizeof path, "%s/%.32s/class", base, address);
    unsigned long kind = sysfile_read(root, path, class, reason, sizeof reason) ? strtoul(class, NULL, 16) >> 8 : 0;
    if (kind != 0x0300 && kind != 0x0302) return;
    if (bus->n++ && strcmp(address, bus->first) >= 0) return;
    snprintf(path, sizeof path, "%s/%.32s/device", base, address);
    unsigned long id = sysfile_read(root, path, device, reason, sizeof reason) ? strtoul(device, NULL, 16) : 0;
    snprintf(bus->first, sizeof bus->first, "%.15s", address);
    snprintf(bus->id, sizeof bus->id, "10de:%04lx", id & 0xffff);
}

static void read_bus(struct fact_text *out, const char *root)
{
    char path[SYSFILE_PATH];
    struct bus bus = {0};
    snprintf(path, sizeof path, "%s/sys/bus/pci/devices", root);
    DIR *folder = opendir(path);
    if (!folder) {
        snprintf(out->reason, sizeof out->reason, "the system shows no PCI bus");
        return;
    }
    for (struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.') visit_card(&bus, root, entry->d_name);
    closedir(folder);
    if (bus.n == 0)
        snprintf(out->reason, sizeof out->reason, "the bus shows no NVIDIA card");
    else if (bus.n == 1)
        snprintf(out->value, sizeof out->value, "%s %s", bus.first, bus.id);
    else
        snprintf(out->value, sizeof out->value, "%s %s and %d more", bus.first, bus.id, bus.n - 1);
}

/* The first word of digits and points: "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu ..." */
static void read_driver(struct fact_text *out, const char *root)
{
    static const char path[] = "/proc/driver/nvidia/version";
    char text[SYSFILE_MOST], *rest = text, reason[FACTS_REASON];
    if (!sysfile_read(root, path, text, reason, sizeof reason)) {
        snprintf(out->reason, sizeof out->reason, "no NVIDIA driver is loaded");
        return;
    }
    for (char *word; (word = strsep(&rest, " \t\n"));) {
        if (*word < '0' || *word > '9' || !strchr(word, '.') || word[strspn(word, "0123456789.")]) continue;
        snprintf(out->value, sizeof out->value, "%.90s", word);
        return;
    }
    snprintf(out->reason, sizeof out->reason, "%s tells no version", path);
}

static void read_gpus(struct facts *out, const char *root, const struct facts_source *source)
{
    read_bus(&out->gpu_on_bus, root);
    read_driver(&out->gpu_driver, root);
    if (source && source->no_nvml) {
        snprintf(out->gpu_reason, sizeof out->gpu_reason, "NVIDIA's library was not asked");
        memcpy(out->gpu_library.reason, out->gpu_reason, sizeof out->gpu_reason);
        return;
    }
    nvml_read(out, source ? source->nvml : NULL);
    /* the nearer reason is the better one */
    if (out->n_gpus == 0 && !out->gpu_driver.value[0])
        snprintf(out->gpu_reason, sizeof out->gpu_reason, "%s",
                 out->gpu_on_bus.value[0] ? out->gpu_driver.reason : out->gpu_on_bus.reason);
}

/* ---- all of it ----------------------------------------------------------------------------------- */

void facts_read(struct facts *out, const struct facts_source *source)
{
    const char *root = source && source->root ? source->root : "";
    *out = (struct facts){0};
    redline_machine(&out->machine);
    out->machine.quota = cpu_quota_at(root);
    out->machine.n_threads = out->machine.n_physical;
    if (out->machine.quota > 0)
        out->machine.n_threads = MAX(1, MIN(out->machine.n_physical, (int)(out->machine.quota + 0.5)));
    read_memory(out, root);
    name_machine(out);
    read_masked(out);
    read_online(out, root);
    out->load_1m = read_number_after(root, "/proc/loadavg", "");
    read_governor(&out->governor, root);
    double throttled = cpu_throttled_at(root);
    out->throttled_share = throttled >= 0 ? known(throttled) : unknown("there is no quota");
    out->memory_pressure = read_number_after(root, "/proc/pressure/memory", "some avg10=");
    read_huge_pages(&out->huge_pages, root);
    read_gpus(out, root, source);
}

/* ---- a refusal ----------------------------------------------------------------------------------- */

/* The driver shows a GPU, and CUDA gives this program none. */
static void refuse_shown(const struct facts *f, int built, const char *refusal, char *out, size_t n)
{
    if (f->gpu_cuda && built > f->gpu_cuda)
        snprintf(out, n, "the driver %s serves CUDA %d.%d at most, and this program was built with %d.%d; a newer "
                 "driver is needed", f->gpu_driver.value, f->gpu_cuda / 1000, f->gpu_cuda % 1000 / 10, built / 1000,
                 built % 1000 / 10);
    else if (*refusal)
        snprintf(out, n, "the driver shows %s, and %s", f->gpus[0].name, refusal);
    else
        snprintf(out, n, "the driver shows %s, and CUDA gives this program no GPU that it has code for; "
                 "compute capability 8.0 or newer is needed, and a CUDA_VISIBLE_DEVICES that does not hide it",
                 f->gpus[0].name);
}

bool facts_gpu_refusal(const struct facts *f, int cuda_version, int n_usable, const char *refusal, char *out, size_t n)
{
    static const char build[] = "a program built with CUDA";
    bool has_card = f->gpu_on_bus.value[0] || f->gpu_driver.value[0];
    const char *machine = f->gpu_mismatch ? "a restart of the machine"
                          : has_card      ? "NVIDIA's driver, and the right to see the device"
                                          : "a machine with an NVIDIA card";
    bool built_with_cuda = cuda_version > 0;
    if (n_usable > 0) return false;
    if (f->n_gpus > 0 && built_with_cuda)
        refuse_shown(f, cuda_version, refusal, out, n);
    else if (f->n_gpus > 0)
        snprintf(out, n, "this program was built without CUDA; %s is needed", build);
    else if (built_with_cuda)
        snprintf(out, n, "%s%s%s; %s is needed", f->gpu_reason, *refusal ? ", and " : "", refusal, machine);
    else
        snprintf(out, n, "this program was built without CUDA, and %s; %s and %s are needed", f->gpu_reason, machine,
                 build);
    return true;
}

/* ---- a file -------------------------------------------------------------------------------------- */

/* Magic numbers of statfs(2). */
static const char *far_system(unsigned long magic)
{
    static const struct {
        unsigned long magic;
        const char *name;
    } systems[] = {{0x6969, "nfs"},       {0xff534d42, "cifs"}, {0xfe534d42, "smb"},
                   {0x65735546, "fuse"}, {0x01021997, "9p"},   {0x00c36400, "ceph"}};
    for (size_t i = 0; i < COUNT_OF(systems); i++)
        if (systems[i].magic == magic) return systems[i].name;
    return NULL;
}

/* Of a virtual disk the kernel assumes that it rotates, or repeats what its host was told to say.  vda, xvda and nbd0
 * are always one; within a virtual machine all others are too (sda there, or a volume over vda). */
static bool is_virtual(const char *root, const char *device_folder)
{
    static const char *const names[] = {"vd", "xvd", "nbd"};
    char path[SYSFILE_PATH], text[SYSFILE_MOST], why[FACTS_REASON];
    snprintf(path, sizeof path, "%s/uevent", device_folder);
    const char *name = sysfile_read(root, path, text, why, sizeof why) ? strstr(text, "DEVNAME=") : NULL;
    for (size_t i = 0; name && i < COUNT_OF(names); i++)
        if (str_starts(str_of(name + strlen("DEVNAME=")), str_of(names[i]))) return true;
    return sysfile_read(root, "/proc/cpuinfo", text, why, sizeof why) && strstr(text, " hypervisor");
}

/* A partition's queue is that of its disk, one folder up. */
static void read_disk(struct fact_text *out, const char *root, dev_t device)
{
    static const char *const folders[] = {"", "/.."};
    char folder[64], path[SYSFILE_PATH], text[SYSFILE_MOST];
    snprintf(folder, sizeof folder, "/sys/dev/block/%u:%u", major(device), minor(device));
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        snprintf(path, sizeof path, "%s%s/queue/rotational", folder, folders[i]);
        if (!sysfile_read(root, path, text, out->reason, sizeof out->reason)) continue;
        out->reason[0] = '\0';
        if (text[0] != '1') return;
        if (is_virtual(root, folder))
            snprintf(out->reason, sizeof out->reason, "a virtual disk does not tell whether it rotates");
        else
            snprintf(out->value, sizeof out->value, "a rotating disk");
        return;
    }
}

static struct fact_number cached_share(const struct file_map *map)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = CEIL_DIV(map->bytes, page), n_cached = 0;
    if (!map->cache_known) return unknown("the system does not tell this process what it has cached");
    unsigned char *in_core = mem_new(n, 1);
    if (!in_core) return unknown("no memory for a look at the page cache");
    int status = mincore((void *)map->data, map->bytes, in_core);
    for (size_t i = 0; status == 0 && i < n; i++) n_cached += in_core[i] & 1;
    mem_free(in_core);
    return status ? unknown("mincore does not answer") : known((double)n_cached / (double)n);
}

void facts_read_file(struct facts_file *out, const char *path, const struct facts_source *source)
{
    struct redline_err err = {0};
    struct file_map map;
    struct stat st;
    struct statfs system;
    *out = (struct facts_file){0};
    if (file_map(&map, path, &err)) {
        out->cached_share = unknown("%.150s", err.message);
        memcpy(out->slow.reason, out->cached_share.reason, sizeof out->slow.reason);
        return;
    }
    out->bytes = map.bytes;
    out->cached_share = map.data ? cached_share(&map) : unknown("the file is empty");
    file_unmap(&map);
    const char *far = statfs(path, &system) == 0 ? far_system((unsigned long)system.f_type & 0xffffffff) : NULL;
    if (far)
        snprintf(out->slow.value, sizeof out->slow.value, "%s", far);
    else if (stat(path, &st) == 0)
        read_disk(&out->slow, source && source->root ? source->root : "", st.st_dev);
}
