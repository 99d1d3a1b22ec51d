/* scheduler.h - who runs in the next step: a pure function of what is there.
 *
 * Requests stand in the order of their arrival and start in that order, each when its whole need of the
 * cache (prompt and the longest answer) can be promised to it: so the cache is never overcommitted, no
 * running request is ever thrown out, and none is overtaken at the door.  Sessions at rest keep their
 * share of the cache until somebody needs it; the one longest at rest gives way first.
 *
 * A step feeds one token of every request that generates, then parts of the prompts, in equal shares, the
 * oldest first: a short prompt does not wait for a long one, and an answer does not wait for either
 * longer than the budget allows.
 *
 * Where every token sees all of its sequence, a request is fed in one step: it starts in the step that has
 * room for the whole of it. */
#ifndef SCHEDULER_H
#define SCHEDULER_H

#include <stdbool.h>
#include <stdint.h>

enum sched_phase { SCHED_WAITING, SCHED_PREFILL, SCHED_DECODE };

struct sched_job { /* one request */
    enum sched_phase phase;
    int n_todo;       /* tokens to feed: what is left of the prompt; 1 for one that generates */
    bool all_outputs; /* every token wants its logits, not the last alone */
    int n_pages;      /* of the cache that its sequence will hold at the end, at most */
    int rest;         /* while waiting: its session among the rests, whose sequence it goes on; or -1 */
    int n_silent;     /* with all_outputs: so many of n_todo come first and want none */
};

struct sched_rest { /* a session at rest that holds a sequence */
    uint64_t last_used; /* on any clock */
    int n_pages;
};

struct sched_budget {
    int n_tokens;  /* of one step; at least n_seqs */
    int n_beside;  /* of them prompt tokens in a step where somebody generates; at least one each is fed */
    int n_outputs; /* logits rows of one step; at least n_seqs */
    bool whole;    /* a job is fed in one step; none has more to feed than n_tokens, and none generates */
    int n_seqs;    /* sequences of the cache */
    int n_pages;   /* pages of the cache; at least what any one job needs */
};

struct sched_plan {
    int n_admit;  /* so many of the waiting jobs start, the first ones */
    bool *evict;  /* [n_rests] this one's sequence is taken back */
    int *n_feed;  /* [n_jobs] tokens of each job in this step */
};

/* jobs: in the order of arrival, those that run before those that wait. */
void sched_plan(struct sched_plan *out, const struct sched_job *jobs, int n_jobs,
                const struct sched_rest *rests, int n_rests, const struct sched_budget *budget);

#endif
