/* scheduler.c - admission in order of arrival, and shares of a step. */
#include "scheduler.h"

#include "base.h"

struct room { /* what is promised so far */
    int n_seqs, n_pages;
    int n_tokens; /* of this step; counted where jobs are fed whole */
};

/* Does a waiting job that is going to be admitted go on in this rest's sequence? */
static bool is_resumed(const struct sched_plan *p, const struct sched_job *jobs, int n_running, int rest)
{
    for (int i = 0; i < p->n_admit; i++)
        if (jobs[n_running + i].rest == rest) return true;
    return false;
}

struct candidates { /* the rests that can still give way to one job, and what that would bring */
    int longest; /* the one longest at rest, -1: none */
    int n_seqs, n_pages;
};

static struct candidates find_candidates(const struct sched_plan *p, const struct sched_job *jobs, int n_running,
                                         const struct sched_rest *rests, int n_rests, int own)
{
    struct candidates c = {.longest = -1};
    for (int i = 0; i < n_rests; i++) {
        if (i == own || p->evict[i] || is_resumed(p, jobs, n_running, i)) continue;
        if (c.longest < 0 || rests[i].last_used < rests[c.longest].last_used) c.longest = i;
        c.n_seqs++;
        c.n_pages += rests[i].n_pages;
    }
    return c;
}

/* Makes room for one more job, or leaves everything as it is and returns false. */
static bool admit(struct sched_plan *p, struct room *r, const struct sched_job *jobs, int n_running,
                  const struct sched_rest *rests, int n_rests, const struct sched_budget *b)
{
    const struct sched_job *job = &jobs[n_running + p->n_admit];
    int own = job->rest >= 0 && !p->evict[job->rest] ? job->rest : -1;
    int n_seqs = r->n_seqs + (own < 0), n_pages = r->n_pages + job->n_pages - (own < 0 ? 0 : rests[own].n_pages);
    struct candidates c = find_candidates(p, jobs, n_running, rests, n_rests, own);
    if (b->whole && r->n_tokens + job->n_todo > b->n_tokens) return false;
    if (n_seqs - c.n_seqs > b->n_seqs || n_pages - c.n_pages > b->n_pages) return false;
    while (n_seqs > b->n_seqs || n_pages > b->n_pages) {
        p->evict[c.longest] = true;
        n_seqs--;
        n_pages -= rests[c.longest].n_pages;
        c = find_candidates(p, jobs, n_running, rests, n_rests, own);
    }
    *r = (struct room){n_seqs, n_pages, r->n_tokens + job->n_todo};
    p->n_admit++;
    return true;
}

/* Gives a job up to n more tokens, as far as the outputs reach. */
static int feed(struct sched_plan *p, const struct sched_job *jobs, int i, int n, int *n_outputs)
{
    n = MIN(n, jobs[i].n_todo - p->n_feed[i]);
    if (jobs[i].all_outputs) {
        int n_silent = MAX(jobs[i].n_silent - p->n_feed[i], 0);
        n = MIN(n, n_silent + *n_outputs);
        *n_outputs -= MAX(n - n_silent, 0);
    }
    p->n_feed[i] += n;
    return n;
}

/* Shares the step among the first n jobs, all of which run. */
static void share_out(struct sched_plan *p, const struct sched_job *jobs, int n, const struct sched_budget *b)
{
    int n_decode = 0, n_prefill = 0, n_scored = 0, n_outputs = b->n_outputs;
    for (int i = 0; i < n; i++) {
        bool decode = jobs[i].phase == SCHED_DECODE;
        p->n_feed[i] = decode;
        n_decode += decode;
        n_prefill += !decode;
        n_scored += !decode && jobs[i].all_outputs;
        n_outputs -= decode || !jobs[i].all_outputs; /* each keeps one for its last token */
    }
    if (n_prefill == 0) return;
    int room = b->n_tokens - n_decode;
    if (n_decode > 0) room = MIN(room, MAX(b->n_beside, n_prefill));
    int share = room / n_prefill, share_scored = n_scored ? n_outputs / n_scored : 0;
    for (int i = 0; i < n; i++)
        if (jobs[i].phase != SCHED_DECODE)
            room -= feed(p, jobs, i, jobs[i].all_outputs ? MIN(share, jobs[i].n_silent + share_scored) : share,
                         &n_outputs);
    for (int i = 0; i < n && room > 0; i++)
        if (jobs[i].phase != SCHED_DECODE) room -= feed(p, jobs, i, room, &n_outputs);
}

/* The door has seen to it that they fit. */
static void feed_whole(struct sched_plan *p, const struct sched_job *jobs, int n)
{
    for (int i = 0; i < n; i++) p->n_feed[i] = jobs[i].n_todo;
}

void sched_plan(struct sched_plan *out, const struct sched_job *jobs, int n_jobs,
                const struct sched_rest *rests, int n_rests, const struct sched_budget *b)
{
    struct room room = {0};
    int n_running = 0;
    out->n_admit = 0;
    for (int i = 0; i < n_jobs; i++) out->n_feed[i] = 0;
    for (int i = 0; i < n_rests; i++) out->evict[i] = false;
    for (; n_running < n_jobs && jobs[n_running].phase != SCHED_WAITING; n_running++) {
        room.n_seqs++;
        room.n_pages += jobs[n_running].n_pages;
        room.n_tokens += jobs[n_running].n_todo;
    }
    for (int i = 0; i < n_rests; i++) {
        room.n_seqs++;
        room.n_pages += rests[i].n_pages;
    }
    while (n_running + out->n_admit < n_jobs && admit(out, &room, jobs, n_running, rests, n_rests, b)) continue;
    if (b->whole)
        feed_whole(out, jobs, n_running + out->n_admit);
    else
        share_out(out, jobs, n_running + out->n_admit, b);
}
