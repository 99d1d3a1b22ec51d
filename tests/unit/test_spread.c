/* test_spread.c - which block runs where, over many made-up models and machines. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base.h"
#include "rng.h"
#include "spread.h"

enum { N_CASES = 20000, MOST_LAYERS = 24, MOST_BLOCKS = 2 * MOST_LAYERS + 2, MOST_GPUS = 4 };

struct made {
    struct spread_block blocks[MOST_BLOCKS];
    struct spread_gpu gpus[MOST_GPUS];
    struct spread_task task;
};

static int below(struct rng *r, int n)
{
    return (int)rng_below(r, (uint64_t)n);
}

static void add_block(struct made *m, int layer, bool head, bool experts, uint64_t bytes, uint8_t fixed)
{
    m->blocks[m->task.n_blocks++] = (struct spread_block){layer, head, experts, fixed, bytes};
}

static uint8_t made_place(struct rng *r, int n_gpus)
{
    if (below(r, 12) > 0) return SPREAD_FREE;
    if (n_gpus == 0 || below(r, 2)) return SPREAD_CPU;
    return below(r, 2) ? SPREAD_ANY_GPU : (uint8_t)(1 + below(r, n_gpus));
}

/* An embedding, layers of one block or of two, a head; GPUs that hold none, some or all of it. */
static void make(struct made *m, struct rng *r)
{
    int n_layers = 1 + below(r, MOST_LAYERS), n_gpus = below(r, MOST_GPUS + 1);
    bool some_fixed = below(r, 3) == 0, experts = below(r, 3) == 0;
    uint64_t all = 0;
    *m = (struct made){.task = {.n_gpus = n_gpus, .n_layers = n_layers}};
    m->task.blocks = m->blocks;
    m->task.gpus = m->gpus;
    add_block(m, -1, false, false, 0, SPREAD_CPU);
    for (int i = 0; i < n_layers; i++) {
        bool parallel = below(r, 6) == 0;
        add_block(m, i, false, false, 1 + rng_below(r, 100), some_fixed ? made_place(r, n_gpus) : SPREAD_FREE);
        if (parallel) continue;
        add_block(m, i, false, experts && i > 0, 1 + rng_below(r, experts ? 1000 : 200),
                  some_fixed ? made_place(r, n_gpus) : SPREAD_FREE);
    }
    add_block(m, -1, true, false, rng_below(r, 300), SPREAD_FREE);
    for (int i = 0; i < m->task.n_blocks; i++) all += m->blocks[i].gpu_bytes;
    for (int g = 0; g < n_gpus; g++)
        m->gpus[g] = (struct spread_gpu){rng_below(r, 2 * all / (uint64_t)n_gpus + 100), rng_below(r, 60),
                                         rng_below(r, 20)};
    m->task.wanted = n_gpus == 0 ? 0 : below(r, 3) == 0 ? SPREAD_AUTO : below(r, n_layers + 1);
}

static int n_on_gpus(const struct made *m, const uint8_t *device)
{
    int n = 0;
    for (int i = 0; i < m->task.n_blocks; i++) n += device[i] > 0;
    return n;
}

/* ---- what holds for every answer ---------------------------------------------------------------------- */

static void check_places(const struct made *m, const uint8_t *device)
{
    int last = 0;
    for (int i = 0; i < m->task.n_blocks; i++) {
        const struct spread_block *b = &m->blocks[i];
        assert_true(device[i] <= m->task.n_gpus);
        if (b->fixed == SPREAD_ANY_GPU) assert_true(device[i] > 0);
        if (b->fixed < SPREAD_ANY_GPU) assert_int_equal(device[i], b->fixed);
        if (device[i] == 0 || b->fixed < SPREAD_ANY_GPU) continue;
        assert_true(device[i] >= last); /* consecutive */
        last = device[i];
    }
}

static void check_wish(const struct made *m, const uint8_t *device)
{
    if (m->task.wanted == SPREAD_AUTO) return;
    for (int i = 0; i < m->task.n_blocks; i++) {
        const struct spread_block *b = &m->blocks[i];
        bool wanted = b->head ? m->task.wanted > 0 : b->layer >= m->task.n_layers - m->task.wanted;
        if (b->fixed == SPREAD_FREE) assert_int_equal(device[i] > 0, wanted);
    }
}

/* Of free blocks those on GPUs come first: from the head backwards, experts behind all others. */
static void check_auto_order(const struct made *m, const uint8_t *device)
{
    bool ended = false;
    if (m->task.wanted != SPREAD_AUTO) return;
    for (int experts = 0; experts < 2; experts++)
        for (int i = m->task.n_blocks; i-- > 0;) {
            if (m->blocks[i].fixed != SPREAD_FREE || m->blocks[i].experts != experts) continue;
            assert_false(ended && device[i] > 0);
            ended |= device[i] == 0;
        }
}

static void check_room(const struct made *m, const uint8_t *device, bool fits, const struct spread_short *missing)
{
    bool all = true;
    for (int g = 0; g < m->task.n_gpus; g++) all &= spread_sum(&m->task, device, g) <= m->gpus[g].room_bytes;
    assert_int_equal(fits, all);
    assert_int_equal(fits, missing->block < 0);
    if (fits) return;
    assert_true(missing->bytes > missing->room_bytes);
    assert_int_equal(device[missing->block], missing->device);
}

static void test_every_answer(void **state)
{
    struct rng r;
    int n_fit = 0, n_not = 0;
    (void)state;
    rng_seed(&r, 11);
    for (int i = 0; i < N_CASES; i++) {
        struct made m;
        struct spread_short missing;
        uint8_t device[MOST_BLOCKS];
        make(&m, &r);
        bool fits = spread_blocks(device, &missing, &m.task);
        check_places(&m, device);
        check_wish(&m, device);
        check_auto_order(&m, device);
        check_room(&m, device, fits, &missing);
        *(fits ? &n_fit : &n_not) += 1;
    }
    print_message("%d fit, %d do not\n", n_fit, n_not);
    assert_true(n_fit > N_CASES / 10 && n_not > N_CASES / 10);
}

/* ---- what holds between two ----------------------------------------------------------------------------- */

/* What is suggested fits, one layer more does not. */
static void test_most_layers(void **state)
{
    struct rng r;
    (void)state;
    rng_seed(&r, 12);
    for (int i = 0; i < N_CASES; i++) {
        struct made m;
        struct spread_short missing;
        uint8_t device[MOST_BLOCKS];
        make(&m, &r);
        if (m.task.n_gpus == 0) continue;
        int most = spread_most_layers(device, &m.task);
        for (int n = most; n <= most + 1; n++) {
            m.task.wanted = n;
            if (n >= 0 && n <= m.task.n_layers) assert_int_equal(spread_blocks(device, &missing, &m.task), n == most);
        }
    }
}

static void test_more_room_never_places_less(void **state)
{
    struct rng r;
    (void)state;
    rng_seed(&r, 13);
    for (int i = 0; i < N_CASES; i++) {
        struct made m;
        struct spread_short missing;
        uint8_t device[MOST_BLOCKS];
        make(&m, &r);
        if (m.task.n_gpus == 0) continue;
        m.task.wanted = SPREAD_AUTO;
        bool fits = spread_blocks(device, &missing, &m.task);
        int before = n_on_gpus(&m, device);
        m.gpus[below(&r, m.task.n_gpus)].room_bytes += rng_below(&r, 500);
        bool fits_now = spread_blocks(device, &missing, &m.task);
        assert_true(!fits || fits_now);
        assert_true(n_on_gpus(&m, device) >= before);
    }
}

/* On one GPU the next block of the order would not have fitted. */
static void test_auto_is_the_most(void **state)
{
    struct rng r;
    int n_full = 0;
    (void)state;
    rng_seed(&r, 14);
    for (int i = 0; i < N_CASES; i++) {
        struct made m;
        struct spread_short missing;
        uint8_t device[MOST_BLOCKS];
        make(&m, &r);
        if (m.task.n_gpus == 0) continue;
        m.task.n_gpus = 1;
        m.task.wanted = SPREAD_AUTO;
        for (int k = 0; k < m.task.n_blocks; k++)
            if (m.blocks[k].fixed != SPREAD_CPU) m.blocks[k].fixed = SPREAD_FREE;
        assert_true(spread_blocks(device, &missing, &m.task));
        int next = -1;
        for (int experts = 0; experts < 2 && next < 0; experts++)
            for (int k = m.task.n_blocks; k-- > 0 && next < 0;)
                if (m.blocks[k].fixed == SPREAD_FREE && m.blocks[k].experts == experts && device[k] == 0) next = k;
        if (next < 0) continue;
        device[next] = 1;
        assert_true(spread_sum(&m.task, device, 0) > m.gpus[0].room_bytes);
        n_full++;
    }
    assert_true(n_full > N_CASES / 10);
}

/* Without any GPU that is used and not named, what is on GPUs has no room on those that are used. */
static void test_none_too_many(void **state)
{
    struct rng r;
    int n_several = 0;
    (void)state;
    rng_seed(&r, 15);
    for (int i = 0; i < N_CASES; i++) {
        struct made m;
        struct spread_short missing;
        uint8_t device[MOST_BLOCKS], again[MOST_BLOCKS];
        bool used[MOST_GPUS] = {false}, named[MOST_GPUS] = {false};
        int n_used = 0;
        make(&m, &r);
        for (int g = 0; g < m.task.n_gpus; g++) m.gpus[g].base_bytes++; /* so that none is free */
        if (!spread_blocks(device, &missing, &m.task)) continue;
        int n_placed = n_on_gpus(&m, device);
        for (int k = 0; k < m.task.n_blocks; k++) {
            if (device[k]) used[device[k] - 1] = true;
            if (m.blocks[k].fixed > 0 && m.blocks[k].fixed < SPREAD_ANY_GPU) named[m.blocks[k].fixed - 1] = true;
        }
        for (int g = 0; g < m.task.n_gpus; g++) {
            n_used += used[g];
            if (!used[g]) m.gpus[g].room_bytes = 0;
        }
        n_several += n_used > 1;
        for (int g = 0; g < m.task.n_gpus; g++) {
            uint64_t room = m.gpus[g].room_bytes;
            if (!used[g] || named[g]) continue;
            m.gpus[g].room_bytes = 0;
            assert_false(spread_blocks(again, &missing, &m.task) && n_on_gpus(&m, again) >= n_placed);
            m.gpus[g].room_bytes = room;
        }
    }
    assert_true(n_several > N_CASES / 10);
}

/* ---- shares ----------------------------------------------------------------------------------------------- */

static void test_shares(void **state)
{
    static const struct {
        uint64_t rooms[3];
        int layers[3]; /* of 24 */
    } cases[] = {{{10000, 10000, 10000}, {24, 0, 0}}, /* one is enough */
                 {{1000, 1000, 1000}, {8, 8, 8}},
                 {{1410, 710, 710}, {12, 6, 6}},
                 {{1210, 1210, 10}, {12, 12, 0}},
                 {{1210, 1210, 10000}, {12, 12, 0}}, /* and the first two */
                 {{310, 100000, 310}, {0, 24, 0}},   /* the second alone, */
                 {{310, 2410, 0}, {0, 24, 0}},       /* if only just */
                 {{310, 2210, 0}, {3, 21, 0}},
                 {{310, 1210, 1210}, {0, 12, 12}}};
    (void)state;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        struct made m = {.task = {.n_gpus = 3, .n_layers = 24, .wanted = 24}};
        struct spread_short missing;
        uint8_t device[MOST_BLOCKS];
        int layers[3] = {0};
        m.task.blocks = m.blocks;
        m.task.gpus = m.gpus;
        add_block(&m, -1, false, false, 0, SPREAD_CPU);
        for (int i = 0; i < 48; i++) add_block(&m, i / 2, false, false, 50, SPREAD_FREE);
        for (int g = 0; g < 3; g++) m.gpus[g] = (struct spread_gpu){cases[c].rooms[g], 10, 0};
        assert_true(spread_blocks(device, &missing, &m.task));
        for (int i = 1; i < 49; i += 2) {
            assert_int_equal(device[i], device[i + 1]); /* whole layers */
            layers[device[i] - 1]++;
        }
        for (int g = 0; g < 3; g++) assert_int_equal(layers[g], cases[c].layers[g]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_answer),
        cmocka_unit_test(test_most_layers),
        cmocka_unit_test(test_more_room_never_places_less),
        cmocka_unit_test(test_auto_is_the_most),
        cmocka_unit_test(test_none_too_many),
        cmocka_unit_test(test_shares),
    };
    return cmocka_run_group_tests_name("spread", tests, NULL, NULL);
}
