/* nvml_made.c - stands for NVIDIA's management library in tests: as many GPUs as NVML_MADE_GPUS says (1), opening
 * fails with the status NVML_MADE_INIT (0), who computes on them is told unless NVML_MADE_SHY is 1, as the documented
 * interface describes it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pci {
    char bus_id_legacy[16];
    unsigned domain, bus, device, device_id, subsystem_id;
    char bus_id[32];
};

struct memory {
    unsigned long long total, free, used;
};

struct process {
    unsigned pid;
    unsigned long long used_bytes;
    unsigned instance, compute_instance;
};

int nvmlInit_v2(void);
int nvmlShutdown(void);
const char *nvmlErrorString(int code);
int nvmlSystemGetDriverVersion(char *out, unsigned n);
int nvmlSystemGetCudaDriverVersion_v2(int *out);
int nvmlDeviceGetCount_v2(unsigned *out);
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device);
int nvmlDeviceGetName(void *device, char *out, unsigned n);
int nvmlDeviceGetPciInfo_v3(void *device, struct pci *out);
int nvmlDeviceGetMemoryInfo(void *device, struct memory *out);
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor);
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *n, struct process *out);

static int number(const char *name, int otherwise)
{
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

static int is_open;
static int numbers[16];

int nvmlInit_v2(void)
{
    int status = number("NVML_MADE_INIT", 0);
    is_open = status == 0;
    return status;
}

int nvmlShutdown(void)
{
    int status = is_open ? 0 : 1;
    is_open = 0;
    return status;
}

const char *nvmlErrorString(int code)
{
    return code == 18 ? "Driver/library version mismatch" : code == 9 ? "Driver Not Loaded" : "Unknown Error";
}

int nvmlSystemGetDriverVersion(char *out, unsigned n)
{
    snprintf(out, n, "550.54.14");
    return 0;
}

int nvmlSystemGetCudaDriverVersion_v2(int *out)
{
    *out = 12040;
    return 0;
}

int nvmlDeviceGetCount_v2(unsigned *out)
{
    *out = (unsigned)number("NVML_MADE_GPUS", 1);
    return is_open ? 0 : 1;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device)
{
    if (i >= 16) return 2;
    numbers[i] = (int)i;
    *device = &numbers[i];
    return 0;
}

int nvmlDeviceGetName(void *device, char *out, unsigned n)
{
    snprintf(out, n, "Made Card %d", *(int *)device);
    return 0;
}

int nvmlDeviceGetPciInfo_v3(void *device, struct pci *out)
{
    memset(out, 0, sizeof *out);
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", 1 + *(int *)device);
    return 0;
}

int nvmlDeviceGetMemoryInfo(void *device, struct memory *out)
{
    (void)device;
    *out = (struct memory){24ull << 30, 20ull << 30, 4ull << 30};
    return 0;
}

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor)
{
    (void)device;
    *major = 8;
    *minor = 9;
    return 0;
}

/* This process, and of the second GPU on as many others as its number. */
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *n, struct process *out)
{
    unsigned n_all = 1 + (unsigned)*(int *)device;
    if (number("NVML_MADE_SHY", 0)) return 4;
    if (*n < n_all) return 7;
    for (unsigned i = 0; i < n_all; i++) out[i] = (struct process){.pid = i ? 100000000 + i : (unsigned)getpid()};
    *n = n_all;
    return 0;
}
