/* yaml_edit.h - one value set in the text of a YAML file, everything else left as it is, byte by byte. */
#ifndef YAML_EDIT_H
#define YAML_EDIT_H

#include "err.h"
#include "str.h"

/* Sets `key` ("llm.primary.n_threads"), a path through mappings, to `value`, a plain scalar: in the place of the value
 * that is there, as a first line or member of its section, or in sections made at the end.  REDLINE_ARG, and the text
 * as it was: it is no YAML, or a part of the key is there and is no section; the sentence names path and line. */
int yaml_edit_set(struct buf *text, const char *key, const char *value, const char *path, struct redline_err *err);

#endif
