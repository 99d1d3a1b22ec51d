/* digest.c - hashing, and remembering by what a file is known. */
#define _GNU_SOURCE
#include "digest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "mem.h"
#include "str.h"

enum { PIECE = 1 << 20, MOST_KEPT = 500 };

/* ---- hashing --------------------------------------------------------------------------------------- */

static int hash_file(struct sha256_ctx *sha, const char *path, struct redline_err *err)
{
    int status = 0, fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return err_set(err, REDLINE_IO, "cannot open '%s': %s", path, strerror(errno));
    uint8_t *piece = mem_aligned(PIECE, 4096);
    if (!piece) status = err_memory(err, PIECE, "reading a file");
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    for (ssize_t n = 1; n != 0 && !status;) {
        n = read(fd, piece, PIECE);
        if (n > 0) sha256_update(sha, (size_t)n, piece);
        if (n < 0 && errno != EINTR) status = err_set(err, REDLINE_IO, "cannot read '%s': %s", path, strerror(errno));
    }
    mem_free(piece);
    close(fd);
    return status;
}

static int hash_all(char out[DIGEST_TEXT], const char *const *paths, size_t n_paths, struct redline_err *err)
{
    struct sha256_ctx sha;
    uint8_t bytes[SHA256_DIGEST_SIZE];
    sha256_init(&sha);
    for (size_t i = 0; i < n_paths; i++) TRY(hash_file(&sha, paths[i], err));
    sha256_digest(&sha, sizeof bytes, bytes);
    int n = snprintf(out, DIGEST_TEXT, "sha256:");
    for (size_t i = 0; i < sizeof bytes; i++) n += snprintf(out + n, DIGEST_TEXT - (size_t)n, "%02x", bytes[i]);
    return 0;
}

/* ---- what was computed before ---------------------------------------------------------------------- */

/* By what the files are known: "device-inode-bytes-changed" of each. */
static int identify(struct buf *out, const char *const *paths, size_t n_paths, struct redline_err *err)
{
    for (size_t i = 0; i < n_paths; i++) {
        struct stat f;
        if (stat(paths[i], &f)) return err_set(err, REDLINE_IO, "cannot read '%s': %s", paths[i], strerror(errno));
        TRY(buf_printf(out, err, "%s%ju-%ju-%jd-%jd.%09ld", i ? " " : "", (uintmax_t)f.st_dev, (uintmax_t)f.st_ino,
                       (intmax_t)f.st_size, (intmax_t)f.st_mtim.tv_sec, f.st_mtim.tv_nsec));
    }
    return 0;
}

static json_t *read_cache(const char *path)
{
    struct buf text;
    if (file_read(&text, path, NULL)) return json_object();
    json_t *kept = json_loadb(buf_str(&text).p, text.n, 0, NULL);
    buf_free(&text);
    if (json_is_object(kept) && json_object_size(kept) < MOST_KEPT) return kept; /* models come and go: begun anew */
    json_decref(kept);
    return json_object();
}

static void write_cache(json_t *kept, const char *path)
{
    char *text = json_dumps(kept, JSON_INDENT(1));
    if (text && file_make_folders(path, 0700, NULL) == 0) file_write(path, text, strlen(text), NULL);
    free(text);
}

static bool is_digest(const char *text)
{
    return text && strlen(text) == DIGEST_TEXT - 1 && strncmp(text, "sha256:", 7) == 0 &&
           strspn(text + 7, "0123456789abcdef") == 64;
}

int digest_files(char out[DIGEST_TEXT], const char *const *paths, size_t n_paths, const char *cache,
                 struct redline_err *err)
{
    struct buf key = {0};
    json_t *kept = NULL;
    int status = identify(&key, paths, n_paths, err);
    if (!status && cache) kept = read_cache(cache);
    const char *known = json_string_value(json_object_get(kept, buf_str(&key).p));
    if (!status && is_digest(known)) {
        snprintf(out, DIGEST_TEXT, "%s", known);
    } else if (!status) {
        status = hash_all(out, paths, n_paths, err);
        if (!status && kept && json_object_set_new(kept, key.p, json_string(out)) == 0) write_cache(kept, cache);
    }
    json_decref(kept);
    buf_free(&key);
    return status;
}
