/* made.h - what the commands that make files share: progress, and the line about what was made. */
#ifndef MADE_H
#define MADE_H

#include "cmd.h"
#include "redline_make.h"
#include "str.h"

struct made_line {
    bool quiet;
    struct cmd_progress progress;
    uint64_t start_ns, shown_ns;
};

void made_start(struct made_line *line);
redline_make_listener made_progress; /* user: struct made_line; Ctrl-C and kin stop */

/* "out.gguf: 638 MB in 0.6 s, 1.06 GB/s | 135 Q4_K, 21 Q6_K, 45 F32" on standard error. */
void made_report(struct made_line *line, const struct redline_made *made, const char *out);

/* A help page's summary, at whose end the types stand: "... TYPE is one of\nF32, F16, ... ." */
int made_summary(struct buf *out, struct redline_err *err, const char *text);

#endif
