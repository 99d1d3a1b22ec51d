/* replay.c - runs a fuzz target over every file of a folder: replay FOLDER.  Needs no fuzzer, so
 * that whatever a fuzzer once found is tried again by every build on every machine. */
#include <dirent.h>
#include <stdio.h>

#include "file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static int replay(const char *folder, const char *name)
{
    struct buf path = {0}, bytes = {0};
    struct redline_err err;
    int status = buf_printf(&path, &err, "%s/%s", folder, name);
    if (status == 0) status = file_read(&bytes, path.p, &err);
    if (status)
        fprintf(stderr, "%s\n", err.message);
    else
        LLVMFuzzerTestOneInput((const uint8_t *)bytes.p, bytes.n);
    buf_free(&bytes);
    buf_free(&path);
    return status;
}

int main(int argc, char **argv)
{
    int n = 0, status = 0;
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (!folder) {
        fprintf(stderr, "usage: replay FOLDER, a folder that can be read\n");
        return 2;
    }
    for (struct dirent *entry; status == 0 && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        status = replay(argv[1], entry->d_name);
        n++;
    }
    closedir(folder);
    printf("%d files of '%s' replayed\n", n, argv[1]);
    return status || n == 0; /* an empty corpus proves nothing */
}
