/* lines.h - what a user writes, line by line: with editing and a history at a terminal, plainly from a pipe.
 *
 * The history of a terminal's lines lies in $XDG_STATE_HOME/redline/history (~/.local/state without that
 * variable), for its owner alone and at most some thousand lines long.  Where it cannot be kept, a warning
 * says so once. */
#ifndef LINES_H
#define LINES_H

#include "str.h"

struct lines;

enum lines_kind {
    LINES_LINE,
    LINES_INTERRUPT, /* Ctrl-C took the line away */
    LINES_END,       /* Ctrl-D, or the end of the input */
};

int  lines_open(struct lines **out, struct redline_err *err);
void lines_close(struct lines **lines); /* accepts NULL and a pointer to NULL */

/* Somebody sits at a terminal: there are prompts, and Ctrl-C at one of them is no signal. */
bool lines_at_terminal(const struct lines *lines);

/* *line: without its line end, zero-terminated, valid until the next call; empty unless *kind is LINES_LINE. */
int lines_next(struct lines *lines, const char *prompt, struct str *line, enum lines_kind *kind,
               struct redline_err *err);

#endif
