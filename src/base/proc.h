/* proc.h - other programs: started without a shell between, in a process group of their own, and ended for sure. */
#ifndef PROC_H
#define PROC_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "str.h"

struct proc_params {
    const char *const *argv;        /* NULL at the end; argv[0] is looked for in PATH */
    const char *const *environment; /* "NAME=value" on top of this process's own; NULL at the end; may be NULL */
    struct str input;               /* all of its standard input */
    double timeout_s;               /* then the group is killed; 0: none */
    const volatile int *stop;       /* not zero: killed likewise; may be NULL */
};

struct proc_result {
    struct buf out, error;          /* what it wrote; `error` its last 64 KiB.  The caller's to buf_free() */
    int exit_code;                  /* -1: ended by a signal */
    int signal;
    bool timed_out, stopped;
    uint64_t started_ns, wall_ns;   /* monotonic clock */
    uint64_t user_ns, system_ns;
    uint64_t peak_rss_bytes;
};

/* Runs a program to its end.  REDLINE_IO: it could not be started (the sentence names it).  What it answers is not
 * judged here.  proc_result_free() also after a failure. */
int  proc_run(struct proc_result *out, const struct proc_params *params, struct redline_err *err);
void proc_result_free(struct proc_result *r); /* accepts {0}; leaves {0} */

/* Splits a command line at blanks, quotation marks and backslashes as a shell does, without any of its other powers.
 * *argv: NULL at the end, one block, the caller's to mem_free().  REDLINE_ARG: a quotation mark that is not closed. */
int proc_split(char ***argv, const char *command, struct redline_err *err);

/* Appends a word of a command line, in quotation marks where a shell would see more in it than a word. */
int proc_quote(struct buf *out, const char *word, struct redline_err *err);

/* The path of the running executable. */
int proc_self(struct buf *out, struct redline_err *err);

/* A program that goes on in the background (a server), with its output thrown away. */
struct proc;
int  proc_start(struct proc **out, const struct proc_params *params, struct redline_err *err);
bool proc_alive(struct proc *p);
void proc_end(struct proc **p); /* asks, waits two seconds, kills; accepts NULL and a pointer to NULL */

#endif
