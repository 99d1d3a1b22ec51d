/* draft.c - see draft.h. */
#include "draft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "mem.h"

/* Left free beside the plan.  On the CPU: code, stacks, page tables, the tokenizer.  On a GPU: kernels that are loaded
 * when they are first used, captured graphs, and what each of some dozens of allocations is rounded up by. */
static const uint64_t CPU_MARGIN_BYTES = 64u << 20, GPU_MARGIN_BYTES = 256u << 20;

_Static_assert(1 + SPREAD_MOST_GPUS == (int)REDLINE_MOST_DEVICES, "the CPU and GPUs");
_Static_assert((int)BACKEND_MOST_DEVICES == (int)REDLINE_MOST_DEVICES, "as many everywhere");

void draft_free(struct draft *d)
{
    layout_free(&d->layout);
    mem_free(d->rows);
    mem_free(d->fixed);
    mem_free(d->device);
    mem_free(d->why);
    mem_free(d->why_free);
    *d = (struct draft){0};
}

/* ---- what is wished -------------------------------------------------------------------------------- */

static int wanted_layers(int *out, const char *wanted, int n_layers, struct redline_err *err)
{
    char *end;
    *out = SPREAD_AUTO;
    if (!wanted || strcmp(wanted, "auto") == 0) return 0;
    *out = n_layers;
    if (strcmp(wanted, "all") == 0) return 0;
    long n = strtol(wanted, &end, 10);
    if (end == wanted || *end || n < 0)
        return err_set(err, REDLINE_ARG, "the layers on a GPU cannot be '%s', known are auto, all and numbers", wanted);
    *out = (int)MIN(n, (long)n_layers);
    return 0;
}

/* The first block that the user's words fix to a GPU of number `least` or above (0: to any); -1: none. */
static int fixed_to_gpu(const struct draft *d, int least)
{
    for (int i = 0; i < d->layout.n; i++) {
        bool any = d->fixed[i] == SPREAD_ANY_GPU && least == 0;
        if (any || (d->fixed[i] > least && d->fixed[i] < SPREAD_ANY_GPU)) return i;
    }
    return -1;
}

/* ---- devices --------------------------------------------------------------------------------------- */

static void set_row(struct redline_plan_device *row, const struct backend_ops *ops, const struct backend_facts *facts)
{
    *row = (struct redline_plan_device){.total_bytes = facts->total_bytes, .free_bytes = facts->free_bytes};
    snprintf(row->name, sizeof row->name, "%s", facts->name);
    snprintf(row->arch, sizeof row->arch, "%s", facts->arch);
    snprintf(row->kind, sizeof row->kind, "%s", ops->name);
}

static int add_cpu(struct draft *d, struct redline_err *err)
{
    struct backend_facts facts;
    TRY(backend_cpu.facts(0, &facts, err));
    set_row(&d->devices[0], &backend_cpu, &facts);
    d->devices[0].margin_bytes = CPU_MARGIN_BYTES;
    snprintf(d->devices[0].label, sizeof d->devices[0].label, "cpu");
    return 0;
}

/* Somebody asked for this GPU, or for any: its failure is an error. */
static bool must_have(const struct draft *d, int gpu)
{
    bool must = d->wanted > 0;
    for (int i = 0; i < d->layout.n; i++) must |= d->fixed[i] == SPREAD_ANY_GPU || d->fixed[i] == 1 + gpu;
    return must;
}

static void warn(struct draft *d, const char *sentence)
{
    size_t n = strlen(d->warning), room = sizeof d->warning - n;
    snprintf(d->warning + n, room, "%s%.*s", n ? "; " : "", (int)room, sentence);
}

static int add_gpu(struct draft *d, int gpu, uint64_t cap, struct redline_err *err)
{
    struct backend_facts facts;
    struct redline_plan_device *row = &d->devices[d->n_devices];
    TRY(backend_gpu->describe(gpu, &facts, err));
    set_row(row, backend_gpu, &facts);
    row->cap_bytes = cap;
    row->margin_bytes = GPU_MARGIN_BYTES;
    snprintf(row->label, sizeof row->label, "gpu%d", gpu);
    d->n_devices++;
    return 0;
}

/* A card that cannot be opened has no room. */
static int look_at_gpu(struct draft *d, int gpu, struct redline_err *err)
{
    struct backend_facts facts = {.free_bytes = 0};
    struct redline_err why;
    struct redline_plan_device *row = &d->devices[1 + gpu];
    int status = backend_gpu->facts(gpu, &facts, &why);
    if (status && must_have(d, gpu)) return err_set(err, status, "%s", why.message);
    if (status) warn(d, why.message);
    row->looked_at = true;
    row->free_bytes = status ? 0 : facts.free_bytes;
    return 0;
}

/* Whether GPUs that were looked at hold all that may go there. */
static bool have_room(struct draft *d)
{
    struct spread_gpu gpus[SPREAD_MOST_GPUS];
    struct spread_task task = draft_task(d, gpus);
    bool room = spread_blocks(d->device, &d->missing, &task);
    for (int i = 0; i < d->layout.n && d->wanted == SPREAD_AUTO; i++)
        room = room && (d->fixed[i] != SPREAD_FREE || d->device[i] != SPREAD_CPU);
    return room;
}

/* Looking at one opens it for this process, which takes time and memory: those that the user names, and of the others
 * the first that are needed. */
static int look_at_gpus(struct draft *d, struct redline_err *err)
{
    int n = d->n_devices - 1;
    for (int i = 0; i < d->layout.n; i++)
        if (d->fixed[i] != SPREAD_CPU && d->fixed[i] <= n && !d->devices[d->fixed[i]].looked_at)
            TRY(look_at_gpu(d, d->fixed[i] - 1, err));
    for (int g = 0; g < n && !have_room(d); g++)
        if (!d->devices[1 + g].looked_at) TRY(look_at_gpu(d, g, err));
    return 0;
}

/* Why there is no GPU for blocks that have to run on one. */
static int refuse_gpu(const struct draft *d, struct redline_err *err)
{
    const char *why = *d->warning ? d->warning
                      : d->watched ? "an importance matrix is collected, which the CPU alone can do"
                      : backend_gpu ? "there is none that this program can drive"
                                    : "this program was built without CUDA";
    int fixed = fixed_to_gpu(d, 0);
    if (d->wanted > 0)
        return err_set(err, REDLINE_DEVICE, "%d of %d layers are wanted on a GPU, and %s; with n_gpu_layers auto or 0 "
                       "all of them run on the CPU", d->wanted, d->model->h.n_layers, why);
    if (fixed < 0) return 0;
    return err_set(err, REDLINE_DEVICE, "the placement wants '%.*s' on a GPU, and %s",
                   STR_ARG(d->layout.rows[fixed].largest), why);
}

/* GPUs to choose from.  Where there are some and none can be used, that is said and the plan goes on without. */
static int count_gpus(struct draft *d)
{
    struct redline_err why;
    if (!backend_gpu || d->watched) return 0;
    int n = MIN(backend_gpu->n_devices(), (int)SPREAD_MOST_GPUS);
    if (n == 0 && backend_gpu->check_devices(&why)) warn(d, why.message);
    return n;
}

static int find_devices(struct draft *d, const struct redline_engine_params *params, const struct redline_plan *found,
                        struct redline_err *err)
{
    bool looked_for = d->wanted != 0 || fixed_to_gpu(d, 0) >= 0;
    if (found) {
        d->n_devices = found->n_devices;
        memcpy(d->devices, found->devices, sizeof d->devices);
        memcpy(d->warning, found->warning, sizeof d->warning);
        return 0;
    }
    int n = looked_for ? count_gpus(d) : 0;
    d->n_devices = 1; /* the CPU, looked at last: an open GPU takes memory of the host */
    if (n == 0) TRY(refuse_gpu(d, err));
    int beyond = n > 0 ? fixed_to_gpu(d, n) : -1;
    if (beyond >= 0)
        return err_set(err, REDLINE_DEVICE, "the placement wants '%.*s' on gpu%d, and the last GPU is gpu%d",
                       STR_ARG(d->layout.rows[beyond].largest), d->fixed[beyond] - 1, n - 1);
    for (int g = 0; g < n; g++) TRY(add_gpu(d, g, params->device_memory, err));
    TRY(look_at_gpus(d, err));
    return add_cpu(d, err);
}

/* ---- the draft ------------------------------------------------------------------------------------- */

static int make_rows(struct draft *d, struct redline_err *err)
{
    size_t n = (size_t)d->layout.n;
    d->rows = mem_new(n, sizeof *d->rows);
    d->fixed = mem_new(n, 1);
    d->device = mem_new(n, 1);
    d->why = mem_new(n, sizeof *d->why);
    d->why_free = mem_new(n, sizeof *d->why_free);
    if (d->rows && d->fixed && d->device && d->why && d->why_free) return 0;
    return err_memory(err, n * sizeof *d->rows, "the places of blocks");
}

static int fill_draft(struct draft *d, const struct redline_engine_params *params, const struct redline_plan *found,
                      struct redline_err *err)
{
    const struct redline_model *model = d->model;
    TRY(plan_params(&d->p, model, params, err));
    TRY(wanted_layers(&d->wanted, params->n_gpu_layers, model->h.n_layers, err));
    d->watched = params->imatrix != NULL;
    TRY(layout_make(&d->layout, model, backend_gpu, &d->p.backend, err));
    TRY(make_rows(d, err));
    TRY(layout_fix(d->fixed, d->why, &d->layout, model, params->placement, params->n_cpu_moe, err));
    return find_devices(d, params, found, err);
}

int draft_make(struct draft *out, const struct redline_model *model, const struct redline_engine_params *params,
               const struct redline_plan *found, struct redline_err *err)
{
    *out = (struct draft){.model = model};
    int status = fill_draft(out, params, found, err);
    if (status) draft_free(out);
    return status;
}

static uint64_t room_of(const struct redline_plan_device *d)
{
    uint64_t there = d->cap_bytes ? MIN(d->cap_bytes, d->free_bytes) : d->free_bytes;
    return there - MIN(there, d->margin_bytes);
}

static uint64_t row_kv_bytes(const struct draft *d, int row)
{
    const struct block *b = &d->layout.rows[row];
    bool attends = b->part == REDLINE_PART_ATTENTION || b->part == REDLINE_PART_LAYER;
    return attends ? model_layer_kv_bytes(&d->model->h, &d->p.model, b->layer) : 0;
}

struct spread_task draft_task(const struct draft *d, struct spread_gpu gpus[SPREAD_MOST_GPUS])
{
    struct model_sizes sizes = {0};
    int n_gpus = d->n_devices - 1;
    if (n_gpus > 0) model_sizes(&sizes, &d->model->h, &d->p.model, backend_gpu, &d->p.backend);
    for (int g = 0; g < n_gpus; g++)
        gpus[g] = (struct spread_gpu){.room_bytes = room_of(&d->devices[1 + g]),
                                      .base_bytes = sizes.buffer_bytes + sizes.scratch_bytes,
                                      .head_bytes = sizes.result_bytes};
    for (int i = 0; i < d->layout.n; i++) {
        const struct block *b = &d->layout.rows[i];
        d->rows[i] = (struct spread_block){.layer = b->layer,
                                           .head = b->part == REDLINE_PART_HEAD,
                                           .experts = b->experts,
                                           .fixed = d->fixed[i],
                                           .gpu_bytes = b->gpu_bytes + row_kv_bytes(d, i)};
    }
    return (struct spread_task){d->rows, d->layout.n, gpus, n_gpus, d->model->h.n_layers, d->wanted};
}

static void sum_up(struct draft *d)
{
    struct model_sizes gpu = {0};
    if (d->n_devices > 1) model_sizes(&gpu, &d->model->h, &d->p.model, backend_gpu, &d->p.backend);
    for (int i = 0; i < d->n_devices; i++) {
        struct redline_plan_device *row = &d->devices[i];
        const struct model_sizes *sizes = i == 0 ? &d->sizes : &gpu;
        bool head = d->device[d->layout.n - 1] == i;
        row->weight_bytes = row->kv_bytes = 0;
        row->n_blocks = 0;
        for (int k = 0; k < d->layout.n; k++) {
            if (d->device[k] != i) continue;
            row->weight_bytes += i == 0 ? d->layout.rows[k].file_bytes : d->layout.rows[k].gpu_bytes;
            row->kv_bytes += row_kv_bytes(d, k);
            row->n_blocks++;
        }
        bool used = row->n_blocks > 0;
        row->buffer_bytes = used ? sizes->buffer_bytes + (i == 0 || head ? sizes->result_bytes : 0) : 0;
        row->scratch_bytes = used ? sizes->scratch_bytes : 0;
        row->sum_bytes = row->weight_bytes + row->kv_bytes + row->buffer_bytes + row->scratch_bytes;
        row->left_bytes = room_of(row) - MIN(room_of(row), row->sum_bytes);
    }
}

/* The reasons of blocks that nobody fixed. */
static void find_reasons(struct draft *d)
{
    bool automatic = d->wanted == SPREAD_AUTO;
    for (int i = 0; i < d->layout.n; i++) {
        enum redline_why on_cpu = d->watched ? REDLINE_WHY_WATCHED
                                  : !automatic ? REDLINE_WHY_NOT_ASKED
                                  : d->n_devices == 1 ? *d->warning ? REDLINE_WHY_REFUSED : REDLINE_WHY_NO_GPU
                                                      : REDLINE_WHY_NO_ROOM;
        enum redline_why on_gpu = automatic ? REDLINE_WHY_FITS : REDLINE_WHY_ASKED;
        d->why_free[i] = d->fixed[i] != SPREAD_FREE ? d->why[i] : d->device[i] > 0 ? on_gpu : on_cpu;
    }
}

bool draft_try(struct draft *d)
{
    struct spread_gpu gpus[SPREAD_MOST_GPUS];
    struct spread_task task = draft_task(d, gpus);
    bool fits = spread_blocks(d->device, &d->missing, &task);
    model_sizes(&d->sizes, &d->model->h, &d->p.model, &backend_cpu, &d->p.backend);
    sum_up(d);
    find_reasons(d);
    const struct redline_plan_device *cpu = &d->devices[0];
    return fits && cpu->sum_bytes + cpu->margin_bytes <= cpu->free_bytes;
}
