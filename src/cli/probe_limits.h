/* probe_limits.h - the machine's measured limits for commands: from the record that is kept, or measured and kept.
 *
 * The record lies in $XDG_CACHE_HOME/redline, or ~/.cache/redline, under a name made of the machine's
 * fingerprint: machines that share a home each have their own. */
#ifndef PROBE_LIMITS_H
#define PROBE_LIMITS_H

#include "redline_probe.h"

/* The limits of this machine for as many threads as an engine uses by default.  A record that is missing,
 * broken, of another machine or of fewer threads is measured anew, some seconds long, with progress on
 * standard error if that is a terminal; so is any record when `fresh`.  What is wrong with a record, or
 * with the place to keep one, is a warning. */
int limits_get(struct redline_limits *out, bool fresh, struct redline_err *err);

/* The same for at least params->n_threads; where it has to be measured, within params->budget_ms.  Progress
 * is this function's own. */
int limits_get_with(struct redline_limits *out, const struct redline_limits_params *params, bool fresh,
                    struct redline_err *err);

/* The record alone; false: there is none that serves.  Nothing is measured. */
bool limits_on_record(struct redline_limits *out);

#endif
