/* cpu_pace.c - trials of more and fewer threads. */
#include "cpu_pace.h"

#include "base.h"

enum {
    MOST_TOKENS = 16,
    FEWEST_STEPS = 2,
    IN_A_ROW = 3, /* blocks; a single one is an accident */
};

static const uint64_t BLOCK_NS = 50000000;         /* steps are counted together until there is this much */
static const uint64_t CUT_NS = 10000000;           /* a trial this long may be cut short */
static const uint64_t PAUSE_NS = 400000000, LONGEST_PAUSE_NS = 6400000000;
static const double SLEPT = 0.15;  /* of the members' time; dealing out work unevenly costs less */
static const double BETTER = 0.95; /* a trial pays if its steps take at most this, seen from home */
static const double WORSE = 1.5;   /* and is cut short beyond this */

void pace_init(struct pace *p, int n_most)
{
    *p = (struct pace){.n_most = n_most, .n_home = n_most, .down = true, .pause_ns = PAUSE_NS};
}

int pace_threads(const struct pace *p, int n_tokens)
{
    if (n_tokens > MOST_TOKENS) return p->n_most;
    return p->n_trial ? p->n_trial : p->n_home;
}

static void begin_block(struct pace *p, int n_tokens)
{
    p->n_tokens = n_tokens;
    p->n_steps = 0;
    p->ns = p->slept_ns = 0;
}

/* A quarter fewer or more, at least one; the other way where there are none. */
static void begin_trial(struct pace *p)
{
    int step = MAX(1, p->n_home / 4);
    bool down = p->n_home == 1 ? false : p->n_home == p->n_most ? true : p->down;
    p->n_trial = down ? p->n_home - step : MIN(p->n_home + step, p->n_most);
    p->down = !p->down;
}

static void end_trial(struct pace *p, bool pays, double step_ns)
{
    if (pays) {
        p->down = p->n_trial < p->n_home; /* further in this direction */
        p->n_home = p->n_trial;
        p->home_ns = step_ns;
        p->pause_ns = PAUSE_NS;
    } else {
        p->pause_ns = MIN(2 * p->pause_ns, LONGEST_PAUSE_NS);
    }
    p->n_trial = 0;
    p->wait_ns = p->pause_ns;
}

static void end_block_at_home(struct pace *p, double step_ns)
{
    bool slept = (double)p->slept_ns > SLEPT * (double)p->ns * p->n_home;
    p->n_slept = slept ? p->n_slept + 1 : 0;
    p->home_ns = p->home_ns > 0 ? 0.75 * p->home_ns + 0.25 * step_ns : step_ns;
    p->wait_ns -= MIN(p->wait_ns, p->ns);
    if (p->n_slept == IN_A_ROW) { /* somebody has come */
        p->home_ns = step_ns;
        p->pause_ns = PAUSE_NS;
        p->wait_ns = 0;
    }
    if (p->wait_ns == 0 && p->n_most > 1 && (p->n_slept >= IN_A_ROW || p->n_home < p->n_most)) begin_trial(p);
}

void pace_learn(struct pace *p, int n_tokens, uint64_t ns, uint64_t slept_ns)
{
    if (n_tokens > MOST_TOKENS) return;
    if (n_tokens != p->n_tokens) { /* another kind of step: nothing to compare with */
        begin_block(p, n_tokens);
        p->home_ns = 0;
        p->n_trial = 0;
    }
    p->n_steps++;
    p->ns += ns;
    p->slept_ns += slept_ns;
    double step_ns = (double)p->ns / p->n_steps;
    bool hopeless = p->n_trial && p->ns >= CUT_NS && step_ns > WORSE * p->home_ns;
    if (!hopeless && (p->ns < BLOCK_NS || p->n_steps < FEWEST_STEPS)) return;
    if (p->n_trial)
        end_trial(p, step_ns <= BETTER * p->home_ns, step_ns);
    else
        end_block_at_home(p, step_ns);
    begin_block(p, n_tokens);
}
