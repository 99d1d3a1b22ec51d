/* device.c - see device.h. */
#include "device.h"

#include <string.h>

#include "facts.h"

static int refuse(const char *asked, const char *instead, struct redline_err *err)
{
    struct facts facts;
    char why[3 * FACTS_REASON];
    facts_read(&facts, NULL);
    if (!facts_gpu_refusal(&facts, redline_cuda_version() > 0, why, sizeof why)) return 0;
    return err_set(err, REDLINE_DEVICE, "%s, and nothing was loaded: %s; %s runs on the CPU", asked, why, instead);
}

int device_check(const char *require, const char *n_gpu_layers, struct redline_err *err)
{
    bool gpu = require && strcmp(require, "gpu") == 0, cpu = require && strcmp(require, "cpu") == 0;
    bool none = n_gpu_layers && strcmp(n_gpu_layers, "0") == 0;
    bool layers = n_gpu_layers && !none && strcmp(n_gpu_layers, "auto") != 0;
    if (cpu && layers)
        return err_set(err, REDLINE_ARG, "the CPU is required (require), and %s layers are wanted on a GPU "
                       "(n_gpu_layers)", n_gpu_layers);
    if (gpu && none)
        return err_set(err, REDLINE_ARG, "a GPU is required (require), and 0 layers are wanted on one (n_gpu_layers)");
    if (gpu) return refuse("a GPU is required", "--require any", err);
    return layers ? refuse("layers are wanted on a GPU", "-ngl auto", err) : 0;
}
