/* test_sched.c - the scheduler by simulation: thousands of steps of made-up requests, seeded, with the
 * promises of scheduler.h checked at every one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base.h"
#include "rng.h"
#include "scheduler.h"

enum { MOST_JOBS = 64, MOST_SEQS = 12, PAGE = 64, MOST_SESSIONS = 16 };

struct request { /* what the simulation knows of a job */
    int n_prompt, n_predict, n_fed, n_made, session; /* session -1: none */
    int n_silent; /* tokens before the first that is scored */
    uint64_t arrived, started, last_fed;             /* steps */
};

struct world {
    struct sched_budget budget;
    struct request jobs[MOST_JOBS];
    int n_jobs, n_running;
    struct { bool busy, rests; int n_tokens; uint64_t last_used; } sessions[MOST_SESSIONS];
    uint64_t step, n_done, longest_wait;
    struct rng rng;
};

static int pages_of(int n)
{
    return (n + PAGE - 1) / PAGE;
}

static int job_pages(const struct request *r)
{
    return pages_of(r->n_prompt + MAX(0, r->n_predict - 1));
}

static void arrive(struct world *w)
{
    int most = w->budget.n_pages * PAGE, longest = w->budget.whole ? w->budget.n_tokens : most;
    struct request *r = &w->jobs[w->n_jobs];
    if (w->n_jobs == MOST_JOBS) return;
    int kind = (int)rng_below(&w->rng, 10);
    *r = (struct request){.n_prompt = 1 + (int)rng_below(&w->rng, kind == 0 ? (uint64_t)most / 2 : 100),
                          .n_predict = kind == 1 ? -1 : (int)rng_below(&w->rng, 60), /* -1: scores */
                          .session = -1,
                          .arrived = w->step,
                          .last_fed = w->step};
    if (kind == 1) r->n_silent = (int)rng_below(&w->rng, (uint64_t)r->n_prompt);
    if (w->budget.whole) {
        r->n_prompt = MIN(r->n_prompt, longest);
        r->n_predict = 0;
    }
    if (kind >= 6) {
        int s = (int)rng_below(&w->rng, MOST_SESSIONS);
        if (!w->sessions[s].busy) {
            r->session = s;
            w->sessions[s].busy = true;
        }
    }
    w->n_jobs++;
}

static void finish(struct world *w, int i)
{
    struct request *r = &w->jobs[i];
    if (r->session >= 0) {
        w->sessions[r->session].busy = false;
        if (i < w->n_running) {
            w->sessions[r->session].rests = true;
            w->sessions[r->session].n_tokens = r->n_fed + MAX(0, r->n_made - 1);
            w->sessions[r->session].last_used = w->step;
        }
    }
    if (i < w->n_running) w->n_running--;
    memmove(r, r + 1, (size_t)(--w->n_jobs - i) * sizeof *r);
    w->n_done++;
}

struct view {
    struct sched_job jobs[MOST_JOBS];
    struct sched_rest rests[MOST_SESSIONS];
    int rest_of[MOST_SESSIONS], session_of[MOST_SESSIONS], n_rests;
    bool evict[MOST_SESSIONS];
    int n_feed[MOST_JOBS];
};

static void look(const struct world *w, struct view *v)
{
    v->n_rests = 0;
    for (int s = 0; s < MOST_SESSIONS; s++) {
        v->rest_of[s] = -1;
        if (!w->sessions[s].rests) continue;
        v->rest_of[s] = v->n_rests;
        v->session_of[v->n_rests] = s;
        v->rests[v->n_rests++] = (struct sched_rest){w->sessions[s].last_used, pages_of(w->sessions[s].n_tokens)};
    }
    for (int i = 0; i < w->n_jobs; i++) {
        const struct request *r = &w->jobs[i];
        bool decodes = i < w->n_running && r->n_fed == r->n_prompt;
        v->jobs[i] = (struct sched_job){
            .phase = i >= w->n_running ? SCHED_WAITING : decodes ? SCHED_DECODE : SCHED_PREFILL,
            .n_todo = decodes ? 1 : r->n_prompt - r->n_fed,
            .all_outputs = r->n_predict < 0,
            .n_pages = job_pages(r),
            .rest = i >= w->n_running && r->session >= 0 ? v->rest_of[r->session] : -1,
            .n_silent = MAX(r->n_silent - r->n_fed, 0)};
    }
}

/* Sequences and pages promised once the plan is carried out never exceed the cache. */
static void check_promises(const struct world *w, const struct view *v, const struct sched_plan *p)
{
    int n_seqs = 0, n_pages = 0;
    bool resumed[MOST_SESSIONS] = {0};
    for (int i = 0; i < w->n_running + p->n_admit; i++) {
        n_seqs++;
        n_pages += v->jobs[i].n_pages;
        if (v->jobs[i].rest >= 0 && !p->evict[v->jobs[i].rest]) resumed[v->jobs[i].rest] = true;
    }
    for (int i = 0; i < v->n_rests; i++)
        if (!p->evict[i] && !resumed[i]) {
            n_seqs++;
            n_pages += v->rests[i].n_pages;
        }
    assert_true(n_seqs <= w->budget.n_seqs);
    assert_true(n_pages <= w->budget.n_pages);
}

static void check_shares(const struct world *w, const struct view *v, const struct sched_plan *p)
{
    int n_tokens = 0, n_outputs = 0, n_decode = 0, n_prefill = 0, n_prompt = 0;
    for (int i = 0; i < w->n_jobs; i++) {
        bool runs = i < w->n_running + p->n_admit, decodes = v->jobs[i].phase == SCHED_DECODE;
        assert_true(p->n_feed[i] >= 0 && p->n_feed[i] <= v->jobs[i].n_todo);
        if (!runs) assert_int_equal(p->n_feed[i], 0);
        if (runs) assert_true(p->n_feed[i] >= 1); /* nobody that runs is left out of a step */
        n_tokens += p->n_feed[i];
        n_outputs += v->jobs[i].all_outputs ? MAX(p->n_feed[i] - v->jobs[i].n_silent, 0) : runs;
        n_decode += decodes;
        n_prefill += runs && !decodes;
        n_prompt += decodes ? 0 : p->n_feed[i];
    }
    assert_true(n_tokens <= w->budget.n_tokens);
    assert_true(n_outputs <= w->budget.n_outputs);
    if (n_decode > 0) assert_true(n_prompt <= MAX(w->budget.n_beside, n_prefill));
}

/* Where jobs are fed whole, each that runs is fed all of it, and ends with this step. */
static void check_whole(const struct world *w, const struct view *v, const struct sched_plan *p)
{
    int n_tokens = 0;
    for (int i = 0; i < w->n_jobs; i++) {
        assert_int_equal(p->n_feed[i], i < w->n_running + p->n_admit ? v->jobs[i].n_todo : 0);
        n_tokens += p->n_feed[i];
    }
    assert_true(n_tokens <= w->budget.n_tokens);
}

/* The one at the door waits only for room that those who run hold: never for a session at rest. */
static void check_door(const struct world *w, const struct view *v, const struct sched_plan *p)
{
    int first = w->n_running + p->n_admit, n_pages = 0, n_tokens = 0;
    if (first == w->n_jobs) return;
    for (int i = 0; i < first; i++) {
        n_pages += v->jobs[i].n_pages;
        n_tokens += v->jobs[i].n_todo;
    }
    if (w->budget.whole && n_tokens + v->jobs[first].n_todo > w->budget.n_tokens) return;
    assert_true(first + 1 > w->budget.n_seqs || n_pages + v->jobs[first].n_pages > w->budget.n_pages);
}

static void step(struct world *w)
{
    static struct view v;
    look(w, &v);
    struct sched_plan p = {.evict = v.evict, .n_feed = v.n_feed};
    sched_plan(&p, v.jobs, w->n_jobs, v.rests, v.n_rests, &w->budget);
    check_promises(w, &v, &p);
    if (w->budget.whole)
        check_whole(w, &v, &p);
    else
        check_shares(w, &v, &p);
    check_door(w, &v, &p);

    for (int i = 0; i < v.n_rests; i++)
        if (p.evict[i]) w->sessions[v.session_of[i]].rests = false;
    for (int i = w->n_running; i < w->n_running + p.n_admit; i++) {
        struct request *r = &w->jobs[i];
        r->started = w->step;
        w->longest_wait = MAX(w->longest_wait, w->step - r->arrived);
        if (r->session >= 0) w->sessions[r->session].rests = false;
    }
    w->n_running += p.n_admit;
    for (int i = w->n_running; i-- > 0;) {
        struct request *r = &w->jobs[i];
        if (v.jobs[i].phase != SCHED_DECODE) r->n_fed += p.n_feed[i];
        if (r->n_fed < r->n_prompt) continue;
        if (++r->n_made >= r->n_predict || rng_below(&w->rng, 100) == 0) finish(w, i);
    }
    if (w->n_jobs > 0 && rng_below(&w->rng, 40) == 0) finish(w, (int)rng_below(&w->rng, (uint64_t)w->n_jobs));
    w->step++;
}

static void simulate(uint64_t seed, bool whole)
{
    enum { STEPS = 4000 };
    static struct world w;
    memset(&w, 0, sizeof w);
    rng_seed(&w.rng, seed);
    int n_seqs = 1 + (int)rng_below(&w.rng, MOST_SEQS);
    w.budget = (struct sched_budget){.n_tokens = n_seqs + (int)rng_below(&w.rng, 200),
                                     .n_beside = 1 + (int)rng_below(&w.rng, 40),
                                     .whole = whole,
                                     .n_outputs = n_seqs + (int)rng_below(&w.rng, 20),
                                     .n_seqs = n_seqs,
                                     .n_pages = 4 + (int)rng_below(&w.rng, 60)};
    double rate = 0.02 + 0.2 * rng_uniform(&w.rng);
    for (int i = 0; i < STEPS; i++) {
        while (rng_uniform(&w.rng) < rate) arrive(&w);
        step(&w);
    }
    uint64_t more = w.step; /* nobody starves: without new arrivals all come to an end */
    while (w.n_jobs > 0 && w.step < more + 100000) step(&w);
    assert_int_equal(w.n_jobs, 0);
    assert_true(w.n_done > 20);
}

static void test_simulations(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        simulate(seed, false);
        simulate(seed, true);
    }
}

static void plan_two(const struct sched_job *jobs, int n, const struct sched_rest *rests, int n_rests,
                     struct sched_plan *p)
{
    struct sched_budget b = {.n_tokens = 32, .n_beside = 8, .n_outputs = 4, .n_seqs = 2, .n_pages = 10};
    sched_plan(p, jobs, n, rests, n_rests, &b);
}

static void test_by_hand(void **state)
{
    bool evict[2];
    int feed[3];
    struct sched_plan p = {.evict = evict, .n_feed = feed};
    struct sched_rest rests[] = {{.last_used = 9, .n_pages = 4}, {.last_used = 5, .n_pages = 4}};
    (void)state;
    /* two prompts share a step evenly; what the short one leaves goes to the long one */
    struct sched_job prompts[] = {{SCHED_PREFILL, 100, false, 3, -1, 0}, {SCHED_PREFILL, 10, false, 3, -1, 0}};
    plan_two(prompts, 2, NULL, 0, &p);
    assert_int_equal(feed[0], 22);
    assert_int_equal(feed[1], 10);
    /* beside one that generates, a prompt is held to its budget */
    struct sched_job beside[] = {{SCHED_DECODE, 1, false, 3, -1, 0}, {SCHED_PREFILL, 100, false, 3, -1, 0}};
    plan_two(beside, 2, NULL, 0, &p);
    assert_int_equal(feed[0], 1);
    assert_int_equal(feed[1], 8);
    /* the session longest at rest gives way, the one that goes on does not */
    struct sched_job fresh[] = {{SCHED_WAITING, 5, false, 2, -1, 0}};
    plan_two(fresh, 1, rests, 2, &p);
    assert_true(p.n_admit == 1 && evict[1] && !evict[0]);
    struct sched_job resumed[] = {{SCHED_WAITING, 5, false, 6, 1, 0}};
    plan_two(resumed, 1, rests, 2, &p);
    assert_true(p.n_admit == 1 && !evict[0] && !evict[1]);
    /* none is overtaken at the door, and nobody gives way for nothing */
    struct sched_job door[] = {
        {SCHED_DECODE, 1, false, 5, -1, 0}, {SCHED_WAITING, 5, false, 6, -1, 0}, {SCHED_WAITING, 5, false, 1, -1, 0}};
    plan_two(door, 3, rests, 1, &p);
    assert_true(p.n_admit == 0 && !evict[0]);
    /* scoring is held to the rows of logits that a step has */
    struct sched_job scores[] = {{SCHED_PREFILL, 100, true, 3, -1, 0}, {SCHED_DECODE, 1, false, 3, -1, 0}};
    plan_two(scores, 2, NULL, 0, &p);
    assert_int_equal(feed[0], 3);
    /* what comes before the first scored token needs no row */
    scores[0].n_silent = 5;
    plan_two(scores, 2, NULL, 0, &p);
    assert_int_equal(feed[0], 8);
    struct sched_job halves[] = {{SCHED_PREFILL, 40, true, 3, -1, 20}, {SCHED_PREFILL, 40, true, 3, -1, 10}};
    plan_two(halves, 2, NULL, 0, &p);
    assert_int_equal(feed[0], 20); /* its share of 16, and what the other one's rows leave */
    assert_int_equal(feed[1], 12);
}

/* Fed whole: a request starts when the step has room for all of it, and none overtakes it. */
static void test_whole(void **state)
{
    bool evict[1];
    int feed[4];
    struct sched_plan p = {.evict = evict, .n_feed = feed};
    struct sched_budget b = {.n_tokens = 32, .n_beside = 1, .n_outputs = 4, .whole = true, .n_seqs = 4, .n_pages = 10};
    struct sched_job jobs[] = {{SCHED_WAITING, 20, false, 1, -1, 0},
                               {SCHED_WAITING, 12, false, 1, -1, 0},
                               {SCHED_WAITING, 32, false, 1, -1, 0},
                               {SCHED_WAITING, 1, false, 1, -1, 0}};
    (void)state;
    sched_plan(&p, jobs, 4, NULL, 0, &b);
    assert_int_equal(p.n_admit, 2);
    assert_true(feed[0] == 20 && feed[1] == 12 && feed[2] == 0 && feed[3] == 0);
    sched_plan(&p, jobs + 2, 2, NULL, 0, &b);
    assert_true(p.n_admit == 1 && feed[0] == 32 && feed[1] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_simulations),
    };
    return cmocka_run_group_tests_name("sched", tests, NULL, NULL);
}
