/* cuda_graph.cu - steps that come again: what they launch is captured once and replayed.
 *
 * Generating a token takes hundreds of short kernels, and launching them one by one can take longer than they do.  What
 * a step launches follows from its operations and from a few numbers of its shape, so two steps that agree in both
 * are launched alike.  A step is captured when it comes for the second time: many shapes come only once.  Where CUDA
 * makes no graph of one, all are launched kernel by kernel from then on, and the backend's note says so. */
#include "cuda_backend.h"

#include <stdio.h>
#include <string.h>

extern "C" {
#include "mem.h"
}

enum { MOST_TOKENS = 64 }; /* beyond, kernels are long and shapes seldom come again */

int cuda_graphs_open(struct cuda_graphs *g, int most_ops, struct redline_err *err)
{
    size_t bytes = CUDA_GRAPHS * (size_t)most_ops * sizeof(struct op);
    char *ops = (char *)mem_new(bytes, 1);
    if (!ops) return err_memory(err, bytes, "the operations of captured steps");
    for (int i = 0; i < CUDA_GRAPHS; i++) g->list[i].ops = (struct op *)ops + (size_t)i * (size_t)most_ops;
    g->most_ops = most_ops;
    return 0;
}

void cuda_graphs_close(struct cuda_graphs *g)
{
    for (int i = 0; i < CUDA_GRAPHS; i++)
        if (g->list[i].graph) cudaGraphExecDestroy(g->list[i].graph);
    mem_free(g->list[0].ops);
    *g = {};
}

/* The decoder writes equal steps as equal bytes. */
static bool equal(const struct cuda_graph *g, const struct cuda_shape *shape, const struct op *ops)
{
    return memcmp(&g->shape, shape, sizeof *shape) == 0 &&
           memcmp(g->ops, ops, (size_t)shape->n_ops * sizeof *ops) == 0;
}

/* The graph of an equal step; else the one that was used longest ago, made ready for this one. */
static struct cuda_graph *find(struct cuda_graphs *g, const struct cuda_shape *shape, const struct op *ops)
{
    struct cuda_graph *oldest = &g->list[0];
    for (int i = 0; i < CUDA_GRAPHS; i++) {
        if (equal(&g->list[i], shape, ops)) return &g->list[i];
        if (g->list[i].used < oldest->used) oldest = &g->list[i];
    }
    if (oldest->graph) cudaGraphExecDestroy(oldest->graph);
    oldest->graph = NULL;
    oldest->used = 0;
    oldest->shape = *shape;
    memcpy(oldest->ops, ops, (size_t)shape->n_ops * sizeof *ops);
    return oldest;
}

static void capture(struct cuda_graph *g, struct cuda_run *run, const struct step *step)
{
    struct device *d = run->d;
    bool early = d->early;
    cudaGraph_t graph = NULL;
    device_check(d, cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeThreadLocal), "capturing a step");
    if (d->failed != cudaSuccess) return;
    d->early = early && d->early_in_graphs;
    cuda_launch(run, step);
    d->early = early;
    device_check(d, cudaStreamEndCapture(d->stream, &graph), "capturing a step");
    if (graph && d->failed == cudaSuccess)
        device_check(d, cudaGraphInstantiate(&g->graph, graph, 0), "making a graph of a step");
    if (graph) cudaGraphDestroy(graph);
}

/* Steps are launched one kernel after the other from now on, which is right as well, and slower.  What the kernels
 * themselves are to blame for, they will fail of again. */
static void give_up(struct cuda_graphs *graphs, struct device *d)
{
    snprintf(graphs->refused, sizeof graphs->refused,
             "steps are launched kernel by kernel, which takes longer: %s failed: %s", d->failed_at,
             cudaGetErrorString(d->failed));
    d->failed = cudaSuccess;
    cudaGetLastError();
}

/* The step by its graph; false where there is none to be had. */
static bool replay(struct cuda_graph *g, struct cuda_run *run, const struct step *step)
{
    struct device *d = run->d;
    if (!g->graph) capture(g, run, step);
    if (g->graph && d->failed == cudaSuccess)
        device_check(d, cudaGraphLaunch(g->graph, d->stream), "replaying a step");
    return d->failed == cudaSuccess;
}

void cuda_graphs_launch(struct cuda_graphs *graphs, struct cuda_run *run, const struct cuda_shape *shape,
                        const struct step *step)
{
    struct cuda_run as_it_was = *run; /* capturing walks through the step */
    if (run->d->failed != cudaSuccess) return;
    if (*graphs->refused || shape->n_tokens > MOST_TOKENS || shape->n_ops > graphs->most_ops) {
        cuda_launch(run, step);
        return;
    }
    struct cuda_graph *g = find(graphs, shape, step->ops);
    bool again = g->used > 0;
    g->used = ++graphs->n_used;
    if (again) {
        if (replay(g, run, step)) return;
        give_up(graphs, run->d);
        *run = as_it_was;
    }
    cuda_launch(run, step);
}
