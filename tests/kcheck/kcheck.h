/* kcheck.h - what the parts of the kernel checker share: one slot under test, its buffers, its
 * inputs.
 *
 * A check calls the slot of kc->ops on buffers from kc_in() and kc_out(), between kc_before() and
 * kc_after(); kc_fail() and a crash leave the check for good and mark the slot as failed.
 * References are computed in double here; kc->scalar serves where equality of bits is asked for. */
#ifndef KCHECK_H
#define KCHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kern.h"
#include "rng.h"

#define KC_UNIT 0x1p-24  /* u: half a unit in the last place of 1.0f */
#define KC_TINY 0x1p-149 /* the least positive float32: what underflow may cost an operation */

enum kc_side { KC_BEHIND, KC_BEFORE }; /* where the unmapped page touches the buffers */

struct kc {
    const struct kern_ops *ops; /* the table under test; only its slot `index` is called */
    const struct kern_ops *scalar;
    const struct kc_group *group;
    int index; /* in the group: an element type, or one of its kinds */
    const char *isa;
    uint64_t seed;
    struct rng rng;
    enum kc_side side; /* of the buffers that are asked for next */
    char what[160];    /* the case that runs, for messages */
};

/* One field of struct kern_ops: a function, or an array of them. */
struct kc_group {
    const char *name;
    size_t offset; /* in struct kern_ops */
    int count;
    const char *const *kinds; /* names of those; NULL: one function, or one for each element type */
    void (*check)(struct kc *kc);
};
extern const struct kc_group kc_groups[];
extern const int kc_n_groups;

#if defined(__x86_64__)
extern const struct kern_ops kc_vnni512; /* no table of the engine: see kc_vnni512.c */
#endif

typedef void kc_slot_fn(void);
kc_slot_fn *kc_slot(const struct kern_ops *ops, const struct kc_group *group, int index);
/* "mm Q4_K"; NULL when the index is no kind of this group. */
const char *kc_slot_name(const struct kc_group *group, int index, char *out, size_t n);

/* Runs the check of one slot; true if it passed.  quiet: print nothing (the self-test). */
bool kc_run_slot(struct kc *kc, bool quiet);

_Noreturn void kc_fail(struct kc *kc, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void kc_case(struct kc *kc, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- buffers (kcheck.c): all are given back by kc_reset() -------------------------------- */
void kc_reset(struct kc *kc);
void *kc_in(struct kc *kc, size_t bytes);  /* must be the same after the call */
void *kc_out(struct kc *kc, size_t bytes); /* filled with the canary, and so are its surroundings */
void kc_before(struct kc *kc);
void kc_after(struct kc *kc);
bool kc_is_canary(const void *bytes, size_t n);

/* ---- inputs (kc_fill.c) ------------------------------------------------------------------ */
enum kc_fill {
    KC_RANDOM, /* the only fill whose sums may be held to 32 u sum|ab| */
    KC_ZEROS,
    KC_CONSTANT,
    KC_ALTERNATING,
    KC_MIXED, /* huge and tiny */
    KC_DENORMAL,
    KC_NEGATIVE,
    KC_FILLS
};
extern const char *const kc_fill_names[KC_FILLS];

void kc_fill_floats(struct kc *kc, enum kc_fill fill, float *x, size_t n);
/* Any valid bytes of this type, n elements.  Scales are sane f16 numbers; subnormal ones in
 * DENORMAL. */
void kc_fill_weights(struct kc *kc, enum kc_fill fill, enum dtype dtype, void *w, size_t n);
void kc_fill_acts(struct kc *kc, enum kc_fill fill, struct act_q8 *x, size_t n);
/* Large scales, but codes of 0 and 1 (or of 0 alone) and activations above zero: what a kernel adds
 * to its codes must leave no trace.  The large codes that the scales need stand where activations
 * are zero: at every sixteenth element. */
void kc_fill_narrow_weights(struct kc *kc, bool ones, enum dtype dtype, void *w, size_t n);
void kc_fill_narrow_acts(struct kc *kc, struct act_q8 *x, size_t n);
int kc_below(struct kc *kc, int n); /* uniform in [0, n) */

/* c u: relative to sum|ab|, what a float32 sum of n products may be off. */
double kc_sum_bound(enum kc_fill fill, size_t n);

/* Fails unless |got - want| <= bound, or both are NaN or the same infinity. */
void kc_near(struct kc *kc, const char *name, size_t i, float got, double want, double bound);

/* Decoded weights, and |d q| + |m| of each: what rounding errors of their products are relative to.
 */
void kc_decode(enum dtype dtype, double *w, double *magnitude, const void *src, size_t n);

/* Runs one case for every n from 0 to 300 that is a multiple of step, and some large ones, with
 * every fill, with the guard on either side. */
void kc_for_lengths(struct kc *kc, void (*run)(struct kc *kc, enum kc_fill fill, size_t n),
                    size_t step);

/* ---- products (kc_mm.c) ------------------------------------------------------------------ */
/* Calls one on buffers of kc_in() and kc_out(); nothing but its rows may be written. */
void kc_call_product(struct kc *kc, kern_mm_fn *mm, const struct kern_mm_args *a);
/* Every part of it gives the bits that the whole gave: rows and tokens of a part grow by up to most_step. */
void kc_check_parts(struct kc *kc, kern_mm_fn *mm, const struct kern_mm_args *all, enum kc_fill fill, int most_step);

/* ---- checks ------------------------------------------------------------------------------ */
void kc_check_pack(struct kc *kc);
void kc_check_mm(struct kc *kc);
void kc_check_mm_tiles(struct kc *kc);
void kc_check_turn(struct kc *kc);
void kc_check_decode(struct kc *kc);
void kc_check_encode(struct kc *kc);
void kc_check_encode_weighted(struct kc *kc);
void kc_check_quant_act(struct kc *kc);
void kc_check_dot(struct kc *kc);
void kc_check_add(struct kc *kc);
void kc_check_axpy(struct kc *kc);
void kc_check_scale(struct kc *kc);
void kc_check_max(struct kc *kc);
void kc_check_exp_sum(struct kc *kc);
void kc_check_rms_norm(struct kc *kc);
void kc_check_layer_norm(struct kc *kc);
void kc_check_act(struct kc *kc);
void kc_check_softcap(struct kc *kc);
void kc_check_rope(struct kc *kc);
void kc_check_kv_dot(struct kc *kc);
void kc_check_kv_sum(struct kc *kc);

/* amx_emulated.c: kern_amx, but for tiles in plain C; it takes the place of what lacks here. */
extern const struct kern_ops kern_amx_emulated;

int kc_self_test(uint64_t seed); /* the number of planted faults that went unnoticed */

/* ---- times (kc_time.c) ------------------------------------------------------------------- */
void kc_time_slot(struct kc *kc, bool json);

#endif
