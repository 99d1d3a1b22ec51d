/* yaml_tree.h - a YAML file as a JSON tree that knows its lines: experiments and rules are read from it.
 *
 * Plain words become what JSON would read in them: 4 an integer, 0.5 a number, true and false, null or nothing at
 * all null; everything else, and whatever stands in quotes, is text ("25 %", auto, -avx512).  Anchors, aliases and
 * tags are refused, so that no file means more than it shows; so are a key that is there twice, a second document,
 * and control characters other than line ends.
 *
 *     struct yaml file;
 *     TRY(yaml_read(&file, path, err));
 *     status = yaml_check_keys(&file, file.root, keys, COUNT_OF(keys), "rule", err);
 *     if (n < 1) status = yaml_fail(&file, file.root, "least", err, "%d repetitions, the least is 1", n);
 *     yaml_close(&file); */
#ifndef YAML_TREE_H
#define YAML_TREE_H

#include <jansson.h>
#include <stdbool.h>

#include "err.h"

struct yaml_place; /* of a value: in what, under which key, in which line */

struct yaml {
    json_t *root;     /* an object; values may be taken out with json_incref() */
    char *path;       /* owned */
    struct yaml_place *places; /* owned */
    size_t n_places, most_places;
};

/* REDLINE_ARG: file, line, sentence; REDLINE_IO: it cannot be read.  A file of nothing but comments is an empty
 * object. */
int  yaml_read(struct yaml *out, const char *path, struct redline_err *err);
void yaml_close(struct yaml *y); /* accepts {0}; leaves {0} */

/* The line of in[key], or of in[index] in an array; key NULL: of `in` itself.  A value that was moved within the tree
 * is found all the same; one that is not of the file has line 0. */
size_t yaml_line(const struct yaml *y, const json_t *in, const char *key);
size_t yaml_line_at(const struct yaml *y, const json_t *in, size_t index);

/* REDLINE_ARG with "file:line: sentence": the line of in[key], or of `in` where the key is missing or NULL; without a
 * line where it is 0. */
int yaml_fail(const struct yaml *y, const json_t *in, const char *key, struct redline_err *err, const char *format,
              ...) __attribute__((format(printf, 5, 6)));
int yaml_fail_line(const struct yaml *y, size_t line, struct redline_err *err, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* REDLINE_ARG where `object` has a key that is none of these, with the nearest that is; what: "rule", for the sentence.
 * Likewise where it is no object. */
int yaml_check_keys(const struct yaml *y, const json_t *object, const char *const *keys, size_t n_keys,
                    const char *what, struct redline_err *err);

/* ---- members, by kind ------------------------------------------------------------------------ */

/* *out keeps what it holds where the key is missing or null; REDLINE_ARG with file and line. */
int yaml_get_text(const struct yaml *y, const json_t *object, const char *key, const char **out,
                  struct redline_err *err); /* borrowed; a number or truth value is refused */
int yaml_get_number(const struct yaml *y, const json_t *object, const char *key, double least, double most,
                    double *out, struct redline_err *err);
int yaml_get_int(const struct yaml *y, const json_t *object, const char *key, int least, int most, int *out,
                 struct redline_err *err);
int yaml_get_bool(const struct yaml *y, const json_t *object, const char *key, bool *out, struct redline_err *err);

/* "12 %", "12%" or 0.12, each 0.12. */
int yaml_get_share(const struct yaml *y, const json_t *object, const char *key, double *out,
                   struct redline_err *err);

/* "12 %" or "12%" as 0.12; false: it is no such text. */
bool yaml_parse_share(const char *text, double *out);

/* What a plain word of YAML stands for: for values that come from a command line.  NULL: no memory. */
json_t *yaml_word(const char *word, size_t n);

#endif
