/* device.h - where a model must run: the settings require and n_gpu_layers, held against the machine before a file is
 * opened, so that nothing is loaded that would run elsewhere. */
#ifndef DEVICE_H
#define DEVICE_H

#include "err.h"

/* require: "any" (or NULL), "gpu", "cpu"; n_gpu_layers: "auto" (or NULL), "all", a number.  REDLINE_DEVICE: a GPU is
 * asked for and cannot be had, with the reasons and what to do; REDLINE_ARG: the two contradict each other.  Only
 * where a GPU is asked for is the machine looked at. */
int device_check(const char *require, const char *n_gpu_layers, struct redline_err *err);

#endif
