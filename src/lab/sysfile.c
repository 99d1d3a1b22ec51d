/* sysfile.c - see sysfile.h. */
#include "sysfile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool full_path(const char *root, const char *path, char out[SYSFILE_PATH])
{
    return snprintf(out, SYSFILE_PATH, "%s%s", root, path) < SYSFILE_PATH;
}

bool sysfile_read(const char *root, const char *path, char *out, char *reason, size_t n_reason)
{
    char full[SYSFILE_PATH];
    *out = '\0';
    *reason = '\0';
    errno = ENAMETOOLONG;
    FILE *f = full_path(root, path, full) ? fopen(full, "r") : NULL;
    if (!f) {
        snprintf(reason, n_reason, "%s: %s", path, strerror(errno));
        return false;
    }
    size_t n = fread(out, 1, SYSFILE_MOST - 1, f);
    bool failed = ferror(f); /* files of /sys may open and not answer */
    int why = errno;
    fclose(f);
    out[n] = '\0';
    if (n == 0) snprintf(reason, n_reason, "%s: %s", path, failed ? strerror(why) : "it is empty");
    return n > 0;
}

bool sysfile_exists(const char *root, const char *path)
{
    char full[SYSFILE_PATH];
    return full_path(root, path, full) && access(full, F_OK) == 0;
}
