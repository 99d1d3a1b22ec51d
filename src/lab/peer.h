/* peer.h - others beside us: one measurement of a llama-bench-compatible program or of an OpenAI-compatible server. */
#ifndef PEER_H
#define PEER_H

#include <jansson.h>

#include "err.h"

/* The task is that of measure.h.
 *
 * command: a program with its arguments: the task's settings and workload become flags (-m -p -n -d -t -b -ub -ctk -ctv
 * -ngl -r -o json); a flag that the command itself holds is not passed again.  Prompt and generation are two calls, so
 * that tokens are generated behind the prompt as ours are.
 *
 * Or "http://HOST:PORT[/v1] [MODEL]": a server, asked for streamed completions of random words of as many tokens as it
 * says they are; its times are the event consumer's alone.
 *
 * What cannot be asked (a document, several requests at once of a program) is REDLINE_SUPPORT with a sentence; so is
 * a failure of the other side, in its own words.  What it does not tell is null in the record, with that as the reason.
 * *record: the caller's to json_decref(). */
int peer_measure(json_t **record, const char *name, const char *command, const json_t *task, double timeout_s,
                 struct redline_err *err);

#endif
