/* yaml_events.h - a YAML file event by event, as libyaml finds them: only events know the lines that sentences name.
 *
 * Anchors, aliases and tags are refused, so that no file means more than it shows; so are a second document, and
 * control characters other than line ends. */
#ifndef YAML_EVENTS_H
#define YAML_EVENTS_H

#include <stdbool.h>
#include <yaml.h>

#include "err.h"
#include "str.h"

struct yaml_events {
    const char *path;    /* the caller's */
    struct buf text;
    yaml_parser_t parser;
    yaml_event_t event;  /* the one in hand */
};

/* Reads the file; the event in hand is then the first of its content.  *is_empty: nothing but comments.  REDLINE_ARG:
 * file, line, sentence; REDLINE_IO: it cannot be read.  To be closed unless this fails. */
int  yaml_events_open(struct yaml_events *out, const char *path, bool *is_empty, struct redline_err *err);
void yaml_events_close(struct yaml_events *e);

/* Makes the next event the one in hand. */
int yaml_events_next(struct yaml_events *e, struct redline_err *err);

/* Behind the content: nothing may follow. */
int yaml_events_end(struct yaml_events *e, struct redline_err *err);

/* Of the event in hand. */
size_t yaml_events_line(const struct yaml_events *e);
const char *yaml_events_scalar(const struct yaml_events *e);
bool yaml_events_is_plain(const struct yaml_events *e); /* the scalar stands without quotes */

/* REDLINE_ARG: file, line of the event in hand, sentence. */
int yaml_events_fail(const struct yaml_events *e, struct redline_err *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
