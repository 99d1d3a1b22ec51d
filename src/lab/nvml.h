/* nvml.h - NVIDIA's management library, looked for at run time: which GPUs there are, and who uses them. */
#ifndef NVML_H
#define NVML_H

#include "facts.h"

/* Fills gpus, n_gpus, gpu_library, gpu_mismatch and gpu_cuda, or gpu_reason.  path: NULL for libnvidia-ml.so.1. */
void nvml_read(struct facts *out, const char *path);

#endif
