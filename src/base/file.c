/* file.c - opening, mapping, reading and replacing files; every sentence names the path and the
 * reason. */
#define _GNU_SOURCE
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "fault.h"
#include "mem.h"

enum {
    READ_PIECE = 1 << 16,      /* growth of a buffer whose end is not known */
    PREFETCH_PIECE = 16 << 20, /* bytes between two calls of progress */
};

static int fail(struct redline_err *err, const char *verb, const char *path, int reason)
{
    return err_set(err, REDLINE_IO, "cannot %s '%s': %s", verb, path, strerror(reason));
}

/* Without blocking, so that a pipe nobody writes to cannot hang the program before it is refused.
 */
static int open_regular(int *fd, struct stat *facts, const char *path, struct redline_err *err)
{
    if (fault_hits(FAULT_READ)) return fail(err, "open", path, EIO);
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return fail(err, "open", path, errno);
    if (fstat(*fd, facts) != 0) return fail(err, "read", path, errno);
    if (S_ISDIR(facts->st_mode))
        return err_set(err, REDLINE_IO, "cannot read '%s': it is a folder, not a file", path);
    if (!S_ISREG(facts->st_mode))
        return err_set(err, REDLINE_IO, "cannot map '%s': it is not a regular file", path);
    return 0;
}

int file_map(struct file_map *out, const char *path, struct redline_err *err)
{
    struct stat facts;
    int fd = -1;
    *out = (struct file_map){0};
    int status = open_regular(&fd, &facts, path, err);
    if (status || facts.st_size == 0) goto out;
    if (fault_hits(FAULT_READ)) {
        status = fail(err, "map", path, EIO);
        goto out;
    }
    void *p = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        status = fail(err, "map", path, errno);
        goto out;
    }
    /* Of files that a process neither owns nor may write, mincore() says that all is cached (Linux 5.2). */
    bool cache_known = facts.st_uid == geteuid() || access(path, W_OK) == 0;
    *out = (struct file_map){p, (size_t)facts.st_size, cache_known};
out:
    if (fd >= 0) close(fd);
    return status;
}

void file_unmap(struct file_map *map)
{
    if (map->data) munmap((void *)(uintptr_t)map->data, map->bytes);
    *map = (struct file_map){0};
}

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14; older kernels say EINVAL */
#endif

/* Whether the page cache seems to hold a piece: some of its pages are looked at. */
static bool is_cached(char *piece, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), step = ROUND_UP(n / 64 + 1, page);
    unsigned char cached = 1;
    for (size_t at = 0; at < n && cached & 1; at += step)
        if (mincore(piece + at, 1, &cached)) return false;
    return cached & 1;
}

void file_map_prefetch(const struct file_map *map,
                       void (*progress)(void *user, size_t done, size_t total), void *user)
{
    bool waits = true;
    for (size_t at = 0; at < map->bytes;) {
        size_t n = MIN(map->bytes - at, (size_t)PREFETCH_PIECE);
        char *piece = (char *)(uintptr_t)map->data + at;
        if (!map->cache_known || !is_cached(piece, n)) {
            waits = waits && madvise(piece, n, MADV_POPULATE_READ) == 0;
            madvise(piece, n, waits ? MADV_DONTNEED : MADV_WILLNEED); /* cached is enough */
        }
        at += n;
        if (progress) progress(user, at, map->bytes);
    }
}

void file_map_want(const void *bytes, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = (uintptr_t)bytes / page * page, last = ROUND_UP((uintptr_t)bytes + n, page);
    madvise((void *)first, last - first, MADV_POPULATE_READ);
}

void file_map_forget(const void *bytes, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ROUND_UP((uintptr_t)bytes, page), last = ((uintptr_t)bytes + n) / page * page;
    if (last > first) madvise((void *)first, last - first, MADV_DONTNEED);
}

int file_make_folders(const char *path, unsigned mode, struct redline_err *err)
{
    int status = 0;
    char *part = mem_copy(path, strlen(path));
    if (!part) return err_memory(err, strlen(path) + 1, "a path");
    for (char *p = part + 1; part[0] && *p && !status; p++) {
        if (*p != '/') continue;
        *p = '\0';
        if (mkdir(part, (mode_t)mode) != 0 && errno != EEXIST)
            status = err_set(err, REDLINE_IO, "the folder '%s' cannot be made: %s", part, strerror(errno));
        *p = '/';
    }
    mem_free(part);
    return status;
}

bool file_same(const char *a, const char *b)
{
    struct stat of_a, of_b;
    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino;
}

/* Appends what is left of fd; hint: bytes expected, 0 when unknown. */
static int read_all(struct buf *out, int fd, size_t hint, const char *path, struct redline_err *err)
{
    TRY(buf_reserve(out, hint + 1, err));
    for (;;) {
        if (out->capacity - out->n < 2) TRY(buf_reserve(out, READ_PIECE, err));
        bool refused = fault_hits(FAULT_READ);
        ssize_t n = refused ? -1 : read(fd, out->p + out->n, out->capacity - out->n - 1);
        if (refused) errno = EIO;
        if (n == 0) return 0;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EISDIR)
            return err_set(err, REDLINE_IO, "cannot read '%s': it is a folder, not a file", path);
        if (n < 0) return fail(err, "read", path, errno);
        out->n += (size_t)n;
        out->p[out->n] = '\0';
    }
}

int file_read(struct buf *out, const char *path, struct redline_err *err)
{
    *out = (struct buf){0};
    bool is_stdin = strcmp(path, "-") == 0;
    if (fault_hits(FAULT_READ)) return fail(err, "open", path, EIO);
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail(err, "open", path, errno);
    struct stat facts;
    bool has_size = fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size > 0;
    int status = read_all(out, fd, has_size ? (size_t)facts.st_size : 0,
                          is_stdin ? "standard input" : path, err);
    if (status) buf_free(out);
    if (!is_stdin) close(fd);
    return status;
}

struct file_out {
    int fd;          /* -1: closed */
    bool is_named;   /* the bytes are in `path` itself: a device, or finished */
    char *path;      /* where the file shall stand; owned */
    char *temporary; /* where it is now; owned; NULL for a device */
};

/* A new file "<path>.<process>-<number>.part": in the same folder, so that the rename is one step.
 */
static int create_temporary(struct file_out *file, struct redline_err *err)
{
    static _Atomic unsigned n_created;
    struct buf name = {0};
    int status;
    do {
        name.n = 0;
        status = buf_printf(&name, err, "%s.%ld-%u.part", file->path, (long)getpid(),
                            atomic_fetch_add(&n_created, 1));
        if (status) break;
        file->fd = open(name.p, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file->fd < 0 && errno != EEXIST) status = fail(err, "write", file->path, errno);
    } while (status == 0 && file->fd < 0);
    if (status) buf_free(&name);
    file->temporary = name.p;
    return status;
}

static int open_out(struct file_out *file, const char *path, struct redline_err *err)
{
    char target[PATH_MAX];
    struct stat facts;
    bool exists = stat(path, &facts) == 0;
    if (exists && S_ISDIR(facts.st_mode))
        return err_set(err, REDLINE_IO, "cannot write '%s': it is a folder", path);
    bool is_file = !exists || S_ISREG(facts.st_mode);
    if (exists && is_file && realpath(path, target)) path = target;
    file->path = mem_copy(path, strlen(path));
    if (!file->path) return err_memory(err, strlen(path) + 1, "a file name");
    if (is_file) return create_temporary(file, err);
    file->is_named = true;
    file->fd = open(path, O_WRONLY | O_CLOEXEC);
    return file->fd < 0 ? fail(err, "write", path, errno) : 0;
}

int file_out_new(struct file_out **out, const char *path, struct redline_err *err)
{
    *out = NULL;
    struct file_out *file = mem_new(1, sizeof *file);
    if (!file) return err_memory(err, sizeof *file, "an output file");
    file->fd = -1;
    int status = open_out(file, path, err);
    if (status) file_out_free(&file);
    *out = file;
    return status;
}

/* Not posix_fallocate(), which writes zeros where the file system has no such thing. */
int file_out_reserve(struct file_out *file, uint64_t bytes, struct redline_err *err)
{
    if (file->is_named || bytes == 0) return 0;
    while (fallocate(file->fd, 0, 0, (off_t)bytes) != 0) {
        if (errno == EINTR) continue;
        if (errno != ENOSPC && errno != EDQUOT && errno != EFBIG) return 0;
        int reason = errno;
        char size[32];
        str_bytes_text(bytes, size, sizeof size);
        return err_set(err, REDLINE_IO, "cannot write '%s': it would have %s: %s", file->path, size, strerror(reason));
    }
    return 0;
}

int file_out_write(struct file_out *file, const void *bytes, size_t n, struct redline_err *err)
{
    const char *p = bytes;
    while (n > 0) {
        ssize_t written = write(file->fd, p, n);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return fail(err, "write", file->path, errno);
        p += written;
        n -= (size_t)written;
    }
    return 0;
}

/* The bytes are made durable before the name points at them: else a power cut between the two
 * leaves an empty file where the old one stood. */
int file_out_finish(struct file_out *file, struct redline_err *err)
{
    if (!file->is_named && fsync(file->fd) != 0) return fail(err, "write", file->path, errno);
    int result = close(file->fd);
    file->fd = -1;
    if (result != 0) return fail(err, "write", file->path, errno);
    if (!file->is_named && rename(file->temporary, file->path) != 0)
        return fail(err, "write", file->path, errno);
    file->is_named = true;
    return 0;
}

void file_out_free(struct file_out **out)
{
    struct file_out *file = out ? *out : NULL;
    if (!file) return;
    if (file->fd >= 0) close(file->fd);
    if (!file->is_named && file->temporary) unlink(file->temporary);
    mem_free(file->temporary);
    mem_free(file->path);
    mem_free(file);
    *out = NULL;
}

int file_write(const char *path, const void *bytes, size_t n, struct redline_err *err)
{
    struct file_out *file;
    TRY(file_out_new(&file, path, err));
    int status = file_out_write(file, bytes, n, err);
    if (status == 0) status = file_out_finish(file, err);
    file_out_free(&file);
    return status;
}
