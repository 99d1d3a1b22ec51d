/* nvml.c - the few functions of NVIDIA's management library that the facts need, by prototypes of our own: the
 * library comes with the driver, so nothing of it is there when this is built.
 *
 * Names, numbers and layouts are those of NVML's documented interface, which stays compatible under a name; where a
 * function has been given a new one (_v2, _v3), older drivers have the old one alone. */
#define _GNU_SOURCE
#include "nvml.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

enum { NVML_SUCCESS = 0, NVML_INSUFFICIENT_SIZE = 7, NVML_MISMATCH = 18, MOST_PROCESSES = 512 };

struct nvml_pci {
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

struct nvml_memory {
    unsigned long long total, free, used;
};

struct nvml_process { /* of the second and third version */
    unsigned pid;
    unsigned long long used_bytes;
    unsigned instance, compute_instance;
};

struct nvml {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    const char *(*error)(int code);
    int (*driver_version)(char *out, unsigned n);
    int (*cuda_version)(int *out);
    int (*count)(unsigned *out);
    int (*handle)(unsigned i, void **device);
    int (*name)(void *device, char *out, unsigned n);
    int (*pci)(void *device, struct nvml_pci *out);
    int (*memory)(void *device, struct nvml_memory *out);
    int (*capability)(void *device, int *major, int *minor);
    int (*processes)(void *device, unsigned *n, struct nvml_process *out);
};

/* needed: without it nothing is told of any GPU. */
static const struct {
    const char *names[2];
    size_t at;
    bool needed;
} functions[] = {
    {{"nvmlInit_v2"}, offsetof(struct nvml, init), true},
    {{"nvmlShutdown"}, offsetof(struct nvml, shutdown), true},
    {{"nvmlErrorString"}, offsetof(struct nvml, error), true},
    {{"nvmlSystemGetDriverVersion"}, offsetof(struct nvml, driver_version), false},
    {{"nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion"}, offsetof(struct nvml, cuda_version),
     false},
    {{"nvmlDeviceGetCount_v2"}, offsetof(struct nvml, count), true},
    {{"nvmlDeviceGetHandleByIndex_v2"}, offsetof(struct nvml, handle), true},
    {{"nvmlDeviceGetName"}, offsetof(struct nvml, name), true},
    {{"nvmlDeviceGetPciInfo_v3"}, offsetof(struct nvml, pci), false},
    {{"nvmlDeviceGetMemoryInfo"}, offsetof(struct nvml, memory), true},
    {{"nvmlDeviceGetCudaComputeCapability"}, offsetof(struct nvml, capability), false},
    {{"nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"},
     offsetof(struct nvml, processes), false},
};

static bool load(struct nvml *l, const char *path, char *reason, size_t n)
{
    l->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!l->library) {
        snprintf(reason, n, "NVIDIA's library is not there: %s", dlerror());
        return false;
    }
    for (size_t i = 0; i < COUNT_OF(functions); i++) {
        void *f = dlsym(l->library, functions[i].names[0]);
        if (!f && functions[i].names[1]) f = dlsym(l->library, functions[i].names[1]);
        if (!f && functions[i].needed) {
            snprintf(reason, n, "%s has no function %s", path, functions[i].names[0]);
            return false;
        }
        memcpy((char *)l + functions[i].at, &f, sizeof f); /* POSIX: an object pointer holds a function's */
    }
    return true;
}

/* Processes that compute on it, without this one. */
static int count_others(const struct nvml *l, void *device)
{
    struct nvml_process all[MOST_PROCESSES];
    unsigned n = MOST_PROCESSES;
    int others = 0;
    if (!l->processes) return -1;
    int status = l->processes(device, &n, all);
    if (status == NVML_INSUFFICIENT_SIZE) return MOST_PROCESSES;
    if (status != NVML_SUCCESS) return -1;
    for (unsigned i = 0; i < n; i++) others += all[i].pid != (unsigned)getpid();
    return others;
}

static bool read_gpu(const struct nvml *l, unsigned i, struct gpu_fact *g, char *reason, size_t n)
{
    void *device = NULL;
    struct nvml_memory memory = {0};
    struct nvml_pci pci = {0};
    int major, minor, status = l->handle(i, &device);
    if (status == NVML_SUCCESS) status = l->name(device, g->name, sizeof g->name);
    if (status == NVML_SUCCESS) status = l->memory(device, &memory);
    if (status != NVML_SUCCESS) {
        snprintf(reason, n, "GPU %u: NVIDIA's library says: %s", i, l->error(status));
        return false;
    }
    g->memory_bytes = memory.total;
    g->free_bytes = memory.free;
    if (l->pci && l->pci(device, &pci) == NVML_SUCCESS) snprintf(g->pci_id, sizeof g->pci_id, "%.23s", pci.bus_id);
    if (l->capability && l->capability(device, &major, &minor) == NVML_SUCCESS)
        snprintf(g->capability, sizeof g->capability, "%d.%d", (int)MIN((unsigned)major, 99u),
                 (int)MIN((unsigned)minor, 99u));
    g->n_other_processes = count_others(l, device);
    return true;
}

static void read_gpus(const struct nvml *l, struct facts *out)
{
    unsigned n = 0;
    int status = l->count(&n);
    if (status != NVML_SUCCESS)
        snprintf(out->gpu_reason, sizeof out->gpu_reason, "NVIDIA's library says: %s", l->error(status));
    else if (n == 0)
        snprintf(out->gpu_reason, sizeof out->gpu_reason, "NVIDIA's driver shows no GPU");
    for (unsigned i = 0; status == NVML_SUCCESS && i < n && out->n_gpus < FACTS_MOST_GPUS; i++) {
        struct gpu_fact gpu = {0};
        if (read_gpu(l, i, &gpu, out->gpu_reason, sizeof out->gpu_reason)) out->gpus[out->n_gpus++] = gpu;
    }
    if (out->n_gpus) out->gpu_reason[0] = '\0';
}

/* Where the library itself does not answer: of the file that it is a link to, "libnvidia-ml.so.550.54.14". */
static void name_version(const struct nvml *l, char *out, size_t n)
{
    Dl_info info;
    void *init;
    char full[PATH_MAX];
    memcpy(&init, &l->init, sizeof init);
    const char *end = dladdr(init, &info) && realpath(info.dli_fname, full) ? strstr(full, ".so.") : NULL;
    if (end && end[4] >= '0' && end[4] <= '9' && strchr(end + 4, '.')) snprintf(out, n, "%.90s", end + 4);
}

/* The status of init; what it says then goes to `reason`. */
static int ask(const struct nvml *l, struct facts *out, char *reason, size_t n)
{
    struct fact_text *version = &out->gpu_library;
    int status = l->init();
    if (status != NVML_SUCCESS) {
        snprintf(reason, n, "NVIDIA's library says: %s", l->error(status));
        name_version(l, version->value, sizeof version->value);
        return status;
    }
    read_gpus(l, out);
    if (!l->driver_version || l->driver_version(version->value, sizeof version->value) != NVML_SUCCESS)
        snprintf(version->reason, sizeof version->reason, "NVIDIA's library does not tell its version");
    if (!l->cuda_version || l->cuda_version(&out->gpu_cuda) != NVML_SUCCESS) out->gpu_cuda = 0;
    l->shutdown();
    return 0;
}

void nvml_read(struct facts *out, const char *path)
{
    struct nvml l = {0};
    char reason[FACTS_REASON] = "";
    out->n_gpus = 0;
    int status = load(&l, path ? path : "libnvidia-ml.so.1", reason, sizeof reason)
                     ? ask(&l, out, reason, sizeof reason)
                     : -1;
    out->gpu_mismatch = status == NVML_MISMATCH;
    if (status) memcpy(out->gpu_reason, reason, sizeof reason);
    if (status && !out->gpu_library.value[0]) memcpy(out->gpu_library.reason, reason, sizeof reason);
    if (l.library) dlclose(l.library);
}
