/* sysfile.h - small files of /proc and /sys below any root folder, as text or with the reason why not. */
#ifndef SYSFILE_H
#define SYSFILE_H

#include <stdbool.h>
#include <stddef.h>

enum { SYSFILE_MOST = 4096, SYSFILE_PATH = 1024 };

/* The beginning of the file; out: SYSFILE_MOST bytes.  False: `reason` says why. */
bool sysfile_read(const char *root, const char *path, char *out, char *reason, size_t n_reason);
bool sysfile_exists(const char *root, const char *path);

#endif
