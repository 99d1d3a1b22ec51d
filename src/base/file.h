/* file.h - files as mappings and as whole blocks of bytes. */
#ifndef FILE_H
#define FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "str.h"

struct file_map {
    const void *data; /* read-only; NULL for an empty file */
    size_t bytes;
    bool cache_known; /* whether the system tells this process what of it the page cache holds */
};

/* Maps a regular file for reading.  REDLINE_IO names the path and the reason (missing, a folder, not
 * readable). */
int  file_map(struct file_map *out, const char *path, struct redline_err *err);
void file_unmap(struct file_map *map); /* accepts {0}; leaves {0} */

/* Brings a file into the page cache, in file order, and waits for it, calling progress(user, done, total) now and
 * then (may be NULL).  Where the system cannot wait, it is asked to read ahead; not an error either. */
void file_map_prefetch(const struct file_map *map, void (*progress)(void *user, size_t done, size_t total),
                       void *user);

/* Brings the pages of these bytes of a mapping into memory at once, where the system can; touching them one by
 * one takes several times as long. */
void file_map_want(const void *bytes, size_t n);

/* Lets go of the pages that lie wholly in these bytes of a mapping; touched again, they are read again.  For who
 * walks once through a file that is larger than memory. */
void file_map_forget(const void *bytes, size_t n);

/* Makes the folders that a path leads through, all but its last part, where they are missing.  mode: 0700 for their
 * owner alone, as the XDG base directories want it; 0777, of which the umask takes away, for what a user works with. */
int file_make_folders(const char *path, unsigned mode, struct redline_err *err);

/* Whether two names lead to one file; false when either leads to none. */
bool file_same(const char *a, const char *b);

/* The whole of a file, or of standard input when path is "-". */
int file_read(struct buf *out, const char *path, struct redline_err *err);

/* Replaces path by these bytes, all or nothing (written beside it, then renamed). */
int file_write(const char *path, const void *bytes, size_t n, struct redline_err *err);

/* The same in pieces: the bytes go to a temporary file beside path, which file_out_finish() gives its
 * name and file_out_free() removes when that has not happened.  A path that is a device or a pipe is
 * written straight; a symbolic link is followed. */
struct file_out;

int  file_out_new(struct file_out **out, const char *path, struct redline_err *err);
/* Room for so many bytes in all, now, where the file system can promise it: REDLINE_IO when it has not got it. */
int  file_out_reserve(struct file_out *file, uint64_t bytes, struct redline_err *err);
int  file_out_write(struct file_out *file, const void *bytes, size_t n, struct redline_err *err);
int  file_out_finish(struct file_out *file, struct redline_err *err);
void file_out_free(struct file_out **file); /* accepts NULL and a pointer to NULL */

#endif
