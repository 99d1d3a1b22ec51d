/* scratch.h - for tests: a folder of their own, and what is left in it. */
#ifndef SCRATCH_H
#define SCRATCH_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char scratch_folder[256];

/* Makes the folder; 0 or -1. */
static inline int scratch_make(void)
{
    const char *base = getenv("TMPDIR");
    snprintf(scratch_folder, sizeof scratch_folder, "%s/redline-XXXXXX", base ? base : "/tmp");
    return mkdtemp(scratch_folder) ? 0 : -1;
}

/* The path of a file in it; out: 512 bytes. */
static inline const char *scratch_path(char *out, const char *name)
{
    snprintf(out, 512, "%s/%s", scratch_folder, name);
    return out;
}
#define SCRATCH(name) scratch_path((char[512]){0}, name)

/* Removes what is in it and returns how many files that were. */
static inline int scratch_clear(void)
{
    int n = 0;
    DIR *folder = opendir(scratch_folder);
    if (!folder) return -1;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        unlink(SCRATCH(entry->d_name));
        n++;
    }
    closedir(folder);
    return n;
}

static inline void scratch_remove(void)
{
    scratch_clear();
    rmdir(scratch_folder);
}

/* The same as set-up and tear-down of a group of cmocka tests. */
static inline int scratch_setup(void **state)
{
    (void)state;
    return scratch_make();
}

static inline int scratch_teardown(void **state)
{
    (void)state;
    scratch_remove();
    return 0;
}

#endif
