/* kern.c - choosing kernels: the tables are folded oldest to newest, slot by slot. */
#include "kern.h"

#include <pthread.h>
#include <stdalign.h>
#include <string.h>

#include "base.h"
#include "cpu.h"

static const struct kern_ops *const tables[] = {
    &kern_scalar,
#if defined(__x86_64__)
    &kern_avx2,
    &kern_avxvnni,
    &kern_avx512,
    &kern_avx512bf16,
    &kern_amx,
#endif
};

/* Behind name and need, struct kern_ops is nothing but function pointers: an array of slots. */
typedef void (*slot_fn)(void);
enum {
    FIRST_SLOT = offsetof(struct kern_ops, pack),
    N_SLOTS = (sizeof(struct kern_ops) - FIRST_SLOT) / sizeof(slot_fn),
};
_Static_assert(FIRST_SLOT % alignof(slot_fn) == 0, "slots are aligned");
_Static_assert(FIRST_SLOT + N_SLOTS * sizeof(slot_fn) == sizeof(struct kern_ops), "slots to the end");

static slot_fn slot_at(const struct kern_ops *k, size_t i)
{
    slot_fn fn;
    memcpy(&fn, (const char *)k + FIRST_SLOT + i * sizeof fn, sizeof fn);
    return fn;
}

void kern_select(struct kern_ops *out, uint32_t features)
{
    *out = kern_scalar;
    for (size_t t = 1; t < COUNT_OF(tables); t++) {
        if ((tables[t]->need & features) != tables[t]->need) continue;
        for (size_t i = 0; i < N_SLOTS; i++) {
            slot_fn fn = slot_at(tables[t], i);
            if (fn) memcpy((char *)out + FIRST_SLOT + i * sizeof fn, &fn, sizeof fn);
        }
        out->name = tables[t]->name;
        out->need = tables[t]->need;
    }
}

static struct kern_ops chosen;

static void choose(void)
{
    kern_select(&chosen, cpu_features());
}

const struct kern_ops *kern_ops(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose);
    return &chosen;
}

const char *kern_origin(const void *function)
{
    for (size_t t = 0; t < COUNT_OF(tables); t++)
        for (size_t i = 0; i < N_SLOTS; i++) {
            slot_fn fn = slot_at(tables[t], i);
            if (fn && memcmp(&fn, &function, sizeof fn) == 0) return tables[t]->name;
        }
    return "none";
}

void kern_mm_exact(const struct kern_ops *k, enum dtype dtype, const struct kern_mm_args *a)
{
    enum { PIECE = 1024 }; /* columns decoded at a time; a multiple of every block */
    const struct dtype_info *info = dtype_info(dtype);
    float w[PIECE];
    for (int r = 0; r < a->n_rows; r++) {
        const char *row = (const char *)a->w + (size_t)r * a->w_stride;
        for (int t = 0; t < a->n_tokens; t++) a->y[(size_t)t * a->y_stride + (size_t)r] = 0;
        for (int at = 0; at < a->n_cols; at += PIECE) {
            size_t n = (size_t)MIN(PIECE, a->n_cols - at);
            k->decode[dtype](w, row + dtype_row_bytes(info, (uint64_t)at), n);
            for (int t = 0; t < a->n_tokens; t++) {
                const char *x = (const char *)a->x + (size_t)t * a->x_stride;
                a->y[(size_t)t * a->y_stride + (size_t)r] +=
                    k->dot(w, (const float *)(const void *)x + at, n);
            }
        }
    }
}
