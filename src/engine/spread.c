/* spread.c - see spread.h.  Everything rests on fill(): GPUs one after the other take blocks until one does not fit,
 * which no other order of consecutive blocks can better; so more room never means fewer blocks. */
#include "spread.h"

#include "base.h"

enum { STEPS = 30 }; /* of halving an interval: to a billionth of the room */

uint64_t spread_sum(const struct spread_task *t, const uint8_t *device, int g)
{
    uint64_t bytes = 0;
    bool used = false;
    for (int i = 0; i < t->n_blocks; i++) {
        if (device[i] != 1 + g) continue;
        used = true;
        bytes += t->blocks[i].gpu_bytes + (t->blocks[i].head ? t->gpus[g].head_bytes : 0);
    }
    return used ? bytes + t->gpus[g].base_bytes : 0;
}

struct choice { /* of free blocks, to run on GPUs */
    int n_layers; /* those of so many layers, the last, and with one at least the head; */
    int n_first;  /* or so many blocks in the order of auto: from the last on, those with experts behind all others.
                     -1: by layers */
};

/* Marks what has to run on some GPU, and what does not. */
static void mark(uint8_t *device, const struct spread_task *t, struct choice c)
{
    int n_left = c.n_first;
    for (int i = 0; i < t->n_blocks; i++) {
        const struct spread_block *b = &t->blocks[i];
        bool chosen = b->head ? c.n_layers > 0 : b->layer >= 0 && b->layer >= t->n_layers - c.n_layers;
        device[i] = b->fixed != SPREAD_FREE ? b->fixed : c.n_first < 0 && chosen ? SPREAD_ANY_GPU : SPREAD_CPU;
    }
    for (int experts = 0; experts < 2; experts++)
        for (int i = t->n_blocks; i-- > 0 && n_left > 0;) {
            if (t->blocks[i].fixed != SPREAD_FREE || t->blocks[i].experts != experts) continue;
            device[i] = SPREAD_ANY_GPU;
            n_left--;
        }
}

/* The blocks from `first` on that go to one GPU together: of one layer, or one alone. */
static int unit_end(const struct spread_task *t, const uint8_t *device, int first, bool whole_layers)
{
    int end = first + 1;
    while (whole_layers && end < t->n_blocks && device[end] == SPREAD_ANY_GPU && t->blocks[first].layer >= 0 &&
           t->blocks[end].layer == t->blocks[first].layer)
        end++;
    return end;
}

static uint64_t unit_bytes(const struct spread_task *t, int first, int end, int g)
{
    uint64_t bytes = 0;
    for (int i = first; i < end; i++)
        bytes += t->blocks[i].gpu_bytes + (t->blocks[i].head ? t->gpus[g].head_bytes : 0);
    return bytes;
}

/* What a GPU may hold when each takes this share of the room that it has for blocks. */
static uint64_t limit_of(const struct spread_gpu *gpu, double share)
{
    if (share >= 1 || gpu->room_bytes <= gpu->base_bytes) return gpu->room_bytes;
    return gpu->base_bytes + (uint64_t)(share * (double)(gpu->room_bytes - gpu->base_bytes));
}

static uint64_t left_of(const struct spread_gpu *gpu, uint64_t used)
{
    return gpu->room_bytes - MIN(gpu->room_bytes, used);
}

struct filling {
    uint64_t used[SPREAD_MOST_GPUS]; /* 0: by nothing yet */
    int gpu;                         /* that takes blocks now */
};

/* Fixed blocks take their room first; false, with the first that has none. */
static bool fill_fixed(struct filling *f, struct spread_short *missing, const struct spread_task *t,
                       const uint8_t *device)
{
    bool fits = true;
    for (int i = 0; i < t->n_blocks; i++) {
        if (device[i] == SPREAD_CPU || device[i] == SPREAD_ANY_GPU) continue;
        int g = device[i] - 1;
        uint64_t bytes = unit_bytes(t, i, i + 1, g) + (f->used[g] == 0 ? t->gpus[g].base_bytes : 0);
        if (fits && bytes > left_of(&t->gpus[g], f->used[g]))
            *missing = (struct spread_short){i, 1 + g, bytes, left_of(&t->gpus[g], f->used[g])};
        f->used[g] += bytes;
        fits &= f->used[g] <= t->gpus[g].room_bytes;
    }
    return fits;
}

/* The first block of a unit that finds no room on the last GPU. */
static void find_short(struct spread_short *missing, const struct spread_task *t, uint64_t used, int first, int end,
                       int g)
{
    for (int i = first; i < end; i++) {
        uint64_t bytes = unit_bytes(t, i, i + 1, g) + (used == 0 ? t->gpus[g].base_bytes : 0);
        *missing = (struct spread_short){i, 1 + g, bytes, left_of(&t->gpus[g], used)};
        used += bytes;
        if (used > t->gpus[g].room_bytes) return;
    }
}

/* Gives every block that may run on any GPU its own.  False where some have no room; they count for the last. */
static bool fill(uint8_t *device, struct spread_short *missing, const struct spread_task *t, double share,
                 bool whole_layers)
{
    struct filling f = {{0}, 0};
    *missing = (struct spread_short){.block = -1};
    bool fits = fill_fixed(&f, missing, t, device);
    for (int first = 0, end; first < t->n_blocks; first = end) {
        end = first + 1;
        if (device[first] != SPREAD_ANY_GPU) continue;
        end = unit_end(t, device, first, whole_layers);
        int last = t->n_gpus - 1;
        uint64_t bytes;
        for (;; f.gpu++) {
            bytes = unit_bytes(t, first, end, f.gpu) + (f.used[f.gpu] == 0 ? t->gpus[f.gpu].base_bytes : 0);
            if (f.used[f.gpu] + bytes <= limit_of(&t->gpus[f.gpu], share) || f.gpu == last) break;
        }
        if (f.used[f.gpu] + bytes > limit_of(&t->gpus[f.gpu], share)) {
            if (fits) find_short(missing, t, f.used[f.gpu], first, end, f.gpu);
            fits = false;
        }
        f.used[f.gpu] += bytes;
        for (int i = first; i < end; i++) device[i] = (uint8_t)(1 + f.gpu);
    }
    return fits;
}

static bool try_choice(uint8_t *device, struct spread_short *missing, const struct spread_task *t, struct choice c,
                       double share, bool whole_layers)
{
    mark(device, t, c);
    return fill(device, missing, t, share, whole_layers);
}

static bool fits_choice(uint8_t *device, const struct spread_task *t, struct choice c)
{
    struct spread_short missing;
    return try_choice(device, &missing, t, c, 1, false);
}

/* The choice carried out: evenly over the GPUs where there are several. */
static bool carry_out(uint8_t *device, struct spread_short *missing, const struct spread_task *t, struct choice c)
{
    double share = 1, too_little = 0;
    bool whole = try_choice(device, missing, t, c, 1, true);
    if (!whole && !try_choice(device, missing, t, c, 1, false)) return false;
    if (t->n_gpus < 2) return true;
    for (int i = 0; i < STEPS; i++) {
        double middle = (share + too_little) / 2;
        *(try_choice(device, missing, t, c, middle, whole) ? &share : &too_little) = middle;
    }
    return try_choice(device, missing, t, c, share, whole);
}

/* A block that the user's words fix to this one. */
static bool is_named(const struct spread_task *t, int g)
{
    for (int i = 0; i < t->n_blocks; i++)
        if (t->blocks[i].fixed == 1 + g) return true;
    return false;
}

/* Leaves a GPU out, if what was chosen fits all the same: then nothing has room there. */
static bool leave_out(uint8_t *device, const struct spread_task *t, struct spread_gpu *gpus, struct choice c, int g)
{
    struct spread_gpu as_it_was = gpus[g];
    if (is_named(t, g)) return true;
    gpus[g] = (struct spread_gpu){.base_bytes = UINT64_MAX / 2};
    bool fits = fits_choice(device, t, c);
    if (!fits) gpus[g] = as_it_was;
    return fits;
}

/* GPUs are taken in their order until they hold what was chosen, and those that are named; then every one is left out,
 * the first first, without which it still fits.  t->gpus is gpus. */
static void choose_gpus(uint8_t *device, const struct spread_task *t, struct spread_gpu *gpus, struct choice c)
{
    int last = t->n_gpus - 1;
    if (!fits_choice(device, t, c)) return;
    while (last >= 0 && leave_out(device, t, gpus, c, last)) last--;
    for (int g = 0; g < last; g++) leave_out(device, t, gpus, c, g);
}

/* The most blocks in the order of auto that fit. */
static struct choice auto_choice(uint8_t *device, const struct spread_task *t)
{
    struct choice c = {0, 0};
    int too_many = t->n_blocks + 1;
    if (t->n_gpus == 0) return c;
    while (too_many - c.n_first > 1) {
        int middle = c.n_first + (too_many - c.n_first) / 2;
        if (fits_choice(device, t, (struct choice){0, middle}))
            c.n_first = middle;
        else
            too_many = middle;
    }
    return c;
}

bool spread_blocks(uint8_t *device, struct spread_short *missing, const struct spread_task *t)
{
    struct spread_gpu gpus[SPREAD_MOST_GPUS];
    struct spread_task chosen = *t;
    struct choice c = t->wanted == SPREAD_AUTO ? auto_choice(device, t) : (struct choice){t->wanted, -1};
    chosen.gpus = gpus;
    for (int g = 0; g < t->n_gpus; g++) gpus[g] = t->gpus[g];
    choose_gpus(device, &chosen, gpus, c);
    return carry_out(device, missing, &chosen, c);
}

int spread_most_layers(uint8_t *device, const struct spread_task *t)
{
    int fits = -1, too_many = t->n_layers + 1;
    while (too_many - fits > 1) {
        int middle = fits + (too_many - fits) / 2;
        if (fits_choice(device, t, (struct choice){middle, -1}))
            fits = middle;
        else
            too_many = middle;
    }
    return fits;
}
