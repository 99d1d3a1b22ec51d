/* cpu_pace.h - how many threads pay at the moment: a pure function of what the last steps took.
 *
 * Beside other busy programs a step with every thread can take many times as long as one with fewer: at
 * every barrier all wait for the member whose processor was taken.  So where members are seen to sleep for a
 * good part of the time, steps with fewer of them are tried, now and then, and the best is kept; once fewer are
 * at work, more are tried, as others may have gone.  A trial that does not pay is cut short, and doubles the time
 * to the next.  As long as nobody sleeps nothing is tried: a quiet machine pays nothing.
 *
 * Results are the same bits for any number of threads, so this may happen between any two steps.  Only steps
 * of few tokens are counted; prompts are work for everybody. */
#ifndef CPU_PACE_H
#define CPU_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    int n_most;        /* threads there are */
    int n_home;        /* as many as have paid best */
    int n_trial;       /* being tried instead; 0: none */
    bool down;         /* the next trial is of fewer, if both are possible */
    int n_slept;       /* blocks at home in a row in which members slept much */
    double home_ns;    /* of one step at home, running mean; 0: not known */
    uint64_t wait_ns;  /* to the next trial, in time of steps */
    uint64_t pause_ns; /* between trials that do not pay */

    /* the block of steps that are counted together: with the same number of tokens and threads */
    int n_tokens, n_steps;
    uint64_t ns, slept_ns;
};

void pace_init(struct pace *p, int n_most);

/* Threads for a step of n_tokens. */
int pace_threads(const struct pace *p, int n_tokens);

/* What that step took, and how long its members slept in it, summed. */
void pace_learn(struct pace *p, int n_tokens, uint64_t ns, uint64_t slept_ns);

#endif
