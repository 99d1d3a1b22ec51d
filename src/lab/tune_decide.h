/* tune_decide.h - who is out, who has won: pure functions over what was measured so far.
 *
 * Speeds are compared within a round alone, as ratios, because what else the machine does changes from round to round;
 * the middle of those ratios and its interval are those of the trimmed mean of their logarithms (a sixth off either
 * end, Student's t by the winsorised deviation: Tukey and McLaughlin 1963), so that a round in which a neighbour woke
 * up neither decides nor blurs everything. */
#ifndef TUNE_DECIDE_H
#define TUNE_DECIDE_H

#include <stdbool.h>
#include <stddef.h>

struct tune_candidate {
    int n_threads, n_ubatch;
    bool dropped;                      /* not measured any more */
    int dropped_after;                 /* rounds; 0: it failed, or was not dropped */
    char failed[160];                  /* why it cannot be measured; "": it can */
    /* results of tune_summarise() */
    int n_rounds;                      /* that it was measured in */
    double prompt_ts, decode_ts;       /* medians, tok/s; NAN: not measured */
    double prompt_ratio, decode_ratio; /* to the highest of each median, 1: it is that */
    double ratio, low, high;           /* its speed to the chosen one's, in requests, with the 95 % interval; low and
                                          high are NAN for fewer than three rounds together */
};

/* What a request costs is the time of n_prompt tokens read and n_gen written. */
struct tune_samples {
    const double *prompt_ts, *decode_ts; /* [n_rounds, n], tok/s; NAN: not measured */
    size_t n, n_rounds;
    int n_prompt, n_gen;
};

/* a's speed to b's over the rounds that both were measured in, in requests. */
struct tune_ratio {
    double middle, low, high; /* NAN where there are too few rounds: one for the middle, three for the rest */
    double worst, best;       /* of a single round */
    size_t n;
};
enum tune_confidence { TUNE_95, TUNE_99 };
struct tune_ratio tune_compare(const struct tune_samples *s, size_t a, size_t b, enum tune_confidence confidence);

/* After each round.  Drops whom the best beats beyond doubt: the 99 % interval lies below 1; or, after two rounds, both
 * ratios lie below 0.75, which no noise makes of equals.  True: *choice is the simplest candidate (fewest threads,
 * smallest batch) to which nobody left can be ahead by more than `within`, as the 95 % intervals say; three rounds at
 * least.  Where n_threads or n_ubatch are equal, the order of the array does not matter. */
bool tune_decide(struct tune_candidate *c, const struct tune_samples *s, double within, size_t *choice);

/* The best guess where nothing is decided: `standard`, unless it is dropped or beaten beyond doubt (or SIZE_MAX), as
 * what is not known to be better is no reason to leave it; else the fastest of those left.  *known_within: as far as
 * somebody else may be ahead (0.05: 5 %), NAN: not even that is known.  SIZE_MAX: nobody is left. */
size_t tune_guess(const struct tune_candidate *c, const struct tune_samples *s, size_t standard, double *known_within);

/* Medians, and ratios to the chosen one. */
void tune_summarise(struct tune_candidate *c, const struct tune_samples *s, size_t choice);

/* What the rules would have made of a sweep in which nobody was dropped: after how many rounds they would have ended
 * (0: not at all) with which choice, after how many measurements of candidates.  c: [n], scratch. */
size_t tune_replay(struct tune_candidate *c, const struct tune_samples *s, double within, size_t *choice,
                   size_t *n_measured);

#endif
