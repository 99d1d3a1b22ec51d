/* store.c - lines that are whole or not there. */
#define _GNU_SOURCE
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "import.h"
#include "mem.h"
#include "record.h"
#include "str.h"

struct store {
    int fd;          /* locked */
    char *path;      /* owned */
    json_t *records; /* owned */
};

static int fail(struct redline_err *err, const char *verb, const char *path)
{
    return err_set(err, REDLINE_IO, "cannot %s '%s': %s", verb, path, strerror(errno));
}

/* ---- reading --------------------------------------------------------------------------------------- */

/* What stands behind the last line end: a line that was torn. */
static size_t torn_bytes(struct str text)
{
    const char *end = text.n ? memrchr(text.p, '\n', text.n) : NULL;
    return end ? text.n - (size_t)(end + 1 - text.p) : text.n;
}

static int read_line(json_t *records, struct str line, const char *path, size_t number, struct redline_err *err)
{
    json_error_t problem;
    struct redline_err why = {0};
    if (line.n == 0) return 0;
    json_t *record = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &problem);
    if (!record)
        return err_set(err, REDLINE_FORMAT, "%s:%zu: this line is no JSON: %.120s", path, number, problem.text);
    int status = record_check(record, &why);
    if (status) status = err_set(err, status, "%s:%zu: %s", path, number, why.message);
    if (!status && json_array_append(records, record)) status = err_memory(err, line.n, "a record");
    json_decref(record);
    return status;
}

static int read_lines(json_t *records, struct str text, const char *path, struct redline_err *err)
{
    text.n -= torn_bytes(text);
    for (size_t number = 1; text.n > 0; number++) {
        const char *end = memchr(text.p, '\n', text.n);
        size_t n = (size_t)(end - text.p);
        TRY(read_line(records, (struct str){text.p, n}, path, number, err));
        text = (struct str){text.p + n + 1, text.n - n - 1};
    }
    return 0;
}

/* A store by its first line, whatever stands behind it; else by all of the text what another tool wrote. */
static enum import_format recognise(struct str text)
{
    const char *end = text.n ? memchr(text.p, '\n', text.n) : NULL;
    struct str first = {text.p, end ? (size_t)(end - text.p) : text.n};
    enum import_format format = import_recognise(first);
    return format == IMPORT_RECORDS ? format : import_recognise(text);
}

static int read_any(json_t **out, struct str text, const char *path, struct redline_err *err)
{
    struct redline_err why = {0};
    enum import_format format = recognise(text);
    if (format != IMPORT_UNKNOWN && format != IMPORT_RECORDS) {
        int status = import_text(out, text, format, &why);
        return status ? err_set(err, status, "%s: %s", path, why.message) : 0;
    }
    *out = json_array();
    return *out ? read_lines(*out, text, path, err) : err_memory(err, text.n, "records");
}

int store_read(json_t **out, const char *path, struct redline_err *err)
{
    struct buf text;
    *out = NULL;
    TRY(file_read(&text, path, err));
    int status = read_any(out, buf_str(&text), strcmp(path, "-") == 0 ? "standard input" : path, err);
    buf_free(&text);
    if (!status) return 0;
    json_decref(*out);
    *out = NULL;
    return status;
}

/* ---- writing --------------------------------------------------------------------------------------- */

/* So that the file's name is on the disk too. */
static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? mem_copy(path, (size_t)(slash - path) + 1) : mem_copy(".", 1);
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd); /* not every file system can */
        close(fd);
    }
    mem_free(folder);
}

/* Who was killed a moment ago may leave the lock to a program that it was starting, which dies after it. */
enum { LOCK_TRIES = 300, LOCK_PAUSE_NS = 10000000 }; /* 3 s */

static int open_locked(struct store *s, struct redline_err *err)
{
    struct stat facts;
    TRY(file_make_folders(s->path, 0777, err));
    s->fd = open(s->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (s->fd < 0) return fail(err, "open", s->path);
    if (fstat(s->fd, &facts)) return fail(err, "read", s->path);
    if (!S_ISREG(facts.st_mode))
        return err_set(err, REDLINE_IO, "cannot keep records in '%s': it is no file", s->path);
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(s->fd, LOCK_EX | LOCK_NB) == 0) return 0;
        if (errno != EWOULDBLOCK && errno != EINTR) return fail(err, "lock", s->path);
        nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_NS}, NULL);
    }
    return err_set(err, REDLINE_BUSY, "another program is writing records to '%s'", s->path);
}

static int read_own(struct store *s, struct redline_err *err)
{
    struct buf text;
    TRY(file_read(&text, s->path, err));
    int status = read_lines(s->records, buf_str(&text), s->path, err);
    size_t n_torn = torn_bytes(buf_str(&text));
    if (!status && n_torn && ftruncate(s->fd, (off_t)(text.n - n_torn))) status = fail(err, "mend", s->path);
    buf_free(&text);
    return status;
}

int store_open(struct store **out, const char *path, struct redline_err *err)
{
    struct store *s = *out = mem_new(1, sizeof *s);
    if (!s) return err_memory(err, sizeof *s, "a store");
    s->fd = -1;
    s->path = mem_copy(path, strlen(path));
    s->records = json_array();
    int status = s->path && s->records ? open_locked(s, err) : err_memory(err, strlen(path) + 1, "a store");
    if (!status) status = read_own(s, err);
    if (!status) sync_folder(s->path);
    if (status) store_close(out);
    return status;
}

void store_close(struct store **store)
{
    struct store *s = store ? *store : NULL;
    if (!s) return;
    if (s->fd >= 0) close(s->fd);
    mem_free(s->path);
    json_decref(s->records);
    mem_free(s);
    *store = NULL;
}

/* In one call; what it left undone is taken back. */
static int write_line(struct store *s, const char *line, size_t n, struct redline_err *err)
{
    struct stat before;
    if (fstat(s->fd, &before)) return fail(err, "read", s->path);
    ssize_t n_written;
    do n_written = write(s->fd, line, n);
    while (n_written < 0 && errno == EINTR);
    if (n_written == (ssize_t)n && fsync(s->fd) == 0) return 0;
    if (n_written >= 0 && n_written < (ssize_t)n) errno = ENOSPC;
    int status = fail(err, "write", s->path);
    if (ftruncate(s->fd, before.st_size)) return status; /* then it is a torn line, and cut off later */
    return status;
}

int store_append(struct store *store, json_t *record, struct redline_err *err)
{
    TRY(record_check(record, err));
    struct buf line = {0};
    char *text = json_dumps(record, JSON_COMPACT);
    int status = text ? buf_printf(&line, err, "%s\n", text) : err_memory(err, 4096, "a record");
    if (!status) status = write_line(store, line.p, line.n, err);
    if (!status && json_array_append(store->records, record)) status = err_memory(err, line.n, "a record");
    free(text);
    buf_free(&line);
    return status;
}

json_t *store_records(const struct store *store)
{
    return store->records;
}
