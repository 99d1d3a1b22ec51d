/* digest.h - the SHA-256 of a model's files: what a record says that it measured.
 *
 * Files of many gigabytes take seconds, so what was computed is kept in one JSON object, under device, inode, size and
 * time of the last change: a file in which any of these differs is read anew. */
#ifndef DIGEST_H
#define DIGEST_H

#include "err.h"

enum { DIGEST_TEXT = 72 }; /* "sha256:" and 64 digits, and a zero */

/* Of the files' bytes one after the other.  cache: a file to look in and to keep it in, its folders made; NULL: none.
 * A cache that cannot be read or written costs time alone. */
int digest_files(char out[DIGEST_TEXT], const char *const *paths, size_t n_paths, const char *cache,
                 struct redline_err *err);

#endif
