/* no_gpu.c - what a program has for a GPU backend that was built without one. */
#include "backend.h"

const struct backend_ops *const backend_gpu = NULL;
