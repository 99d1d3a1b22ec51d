/* team.h - a team of threads that runs one function at a time, together, with barriers in between.
 *
 * Member 0 is the thread that calls team_run(); the others wait for work.  Waiting is spinning first
 * (a barrier inside a token lasts a microsecond), then sleeping on a futex.  It does not spin when there are
 * more members than processors to run them (affinity, container quota), nor for a while after a long wait.
 *
 * Work is divided by team_range() into contiguous ranges that depend on nothing but the numbers, and no
 * sum ever crosses a range: so results are the same bits for any number of threads. */
#ifndef TEAM_H
#define TEAM_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

enum { TEAM_MAX = 512 };

struct team;

/* n_threads members, 1..TEAM_MAX; members are bound to the processors of the affinity mask only by the
 * system's own scheduler.  REDLINE_ARG, REDLINE_MEMORY, or REDLINE_DEVICE when a thread cannot be
 * started ("7 of 8 threads could be started: ..."). */
int  team_new(struct team **out, int n_threads, struct redline_err *err);
void team_free(struct team **team); /* joins; accepts NULL */

/* From the next run on, only members 0..n-1 take part, n from 1 to all; the others sleep, woken for a moment
 * by each run of more than one.  Not inside a run. */
void team_limit(struct team *team, int n);
int  team_size(const struct team *team); /* of the members that take part */

/* How long members have slept at barriers so far, summed, in ns. */
uint64_t team_slept_ns(const struct team *team);

/* Runs fn(user, team, member) on every member and returns when all are done. Not reentrant. */
typedef void team_fn(void *user, struct team *team, int member);
void team_run(struct team *team, team_fn *fn, void *user);

/* Inside fn: waits for all members.  Everything written before it is visible to all after it. */
void team_barrier(struct team *team, int member);

/* Inside fn, for (int64_t item; team_next(team, member, n, &item);): hands out 0..n-1, each once until the next
 * team_barrier(); n, below 2^32, is the same for all until then.  A member goes through its part of team_range() from
 * the front and then helps others from the back of theirs: so each reads memory in one piece, and nobody waits long
 * for a slower one. */
bool team_next(struct team *team, int member, int64_t n, int64_t *item);

/* The part [*first, *last) of n items that belongs to a member; boundaries are multiples of grain. */
void team_range(const struct team *team, int member, int64_t n, int64_t grain, int64_t *first,
                int64_t *last);

#endif
