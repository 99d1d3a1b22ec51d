/* gpus.c - what there is of GPUs and what they do at most, for whoever asks beside a model or before there is one. */
#include <stdio.h>

#include "engine.h"

int redline_gpu_count(void)
{
    return backend_gpu ? backend_gpu->n_devices() : 0;
}

int redline_gpu_check(struct redline_err *err)
{
    return backend_gpu ? backend_gpu->check_devices(err) : 0;
}

int redline_gpu_limits_measure(int gpu, struct redline_gpu_limits *out, struct redline_err *err)
{
    struct backend_facts facts;
    struct backend_rates rates;
    *out = (struct redline_gpu_limits){0};
    if (gpu < 0 || gpu >= redline_gpu_count())
        return err_set(err, REDLINE_ARG, "there is no GPU %d, there are %d", gpu, redline_gpu_count());
    TRY(backend_gpu->facts(gpu, &facts, err));
    TRY(backend_gpu->measure(gpu, NULL, &rates, err));
    snprintf(out->name, sizeof out->name, "%s", facts.name);
    snprintf(out->arch, sizeof out->arch, "%s", facts.arch);
    out->read_bytes = rates.read_bytes;
    out->copy_bytes = rates.copy_bytes;
    out->bf16_ops = rates.bf16_ops;
    snprintf(out->missing, sizeof out->missing, "%s", rates.missing);
    return 0;
}
