/* cuda_weights.cu - weights on the device: one arena, filled front to back, in the layout of strip.h.
 *
 * Rows go from the mapped file through one of two pinned slots to raw memory of the device, where a kernel makes strips
 * of them; while the device works on one slot, the host fills the other. */
#include "cuda_backend.h"

#include <string.h>

extern "C" {
#include "file.h"
#include "strip.h"
}

static const size_t ALIGNMENT = 256, SLOT_BYTES = 16 << 20;

/* ---- the arena -------------------------------------------------------------------------------------------------- */

static size_t mat_bytes(const struct weight *w)
{
    return (size_t)CEIL_DIV(w->n_rows, STRIP) * strip_bytes(strip_form(w->dtype), w->n_cols);
}

size_t cuda_place_bytes(const struct weight *w)
{
    return ROUND_UP((size_t)w->n_mats * mat_bytes(w), ALIGNMENT);
}

size_t cuda_vector_bytes(size_t n)
{
    return ROUND_UP(n * sizeof(float), ALIGNMENT);
}

int cuda_weights_open(struct cuda_weights *s, struct device *d, size_t bytes, struct redline_err *err)
{
    void *arena;
    TRY(device_take(d, &arena, bytes, "the weights", err));
    s->arena = (char *)arena;
    s->bytes = bytes;
    return 0;
}

static int take(struct cuda_weights *s, char **out, size_t bytes, struct redline_err *err)
{
    if (bytes > s->bytes - s->used)
        return err_set(err, REDLINE_MEMORY, "weights take %zu bytes of the device, %zu were claimed for them",
                       s->used + bytes, s->bytes);
    *out = s->arena + s->used;
    s->used += bytes;
    return 0;
}

/* ---- slots ------------------------------------------------------------------------------------------------------ */

void cuda_weights_settle(struct cuda_weights *s, struct device *d)
{
    if (s->slot_bytes) {
        device_use(d);
        device_wait(d);
    }
    for (size_t i = 0; i < COUNT_OF(s->slots); i++) {
        device_free_host(d, s->slots[i].pinned);
        device_free(d, s->slots[i].raw);
        if (s->slots[i].free) device_check(d, cudaEventDestroy(s->slots[i].free), "ending an event");
        s->slots[i] = {};
    }
    s->slot_bytes = 0;
}

void cuda_weights_close(struct cuda_weights *s, struct device *d)
{
    cuda_weights_settle(s, d);
    device_free(d, s->arena);
    *s = {};
}

/* Slots that hold so many bytes at least. */
static int want_slots(struct cuda_weights *s, struct device *d, size_t bytes, struct redline_err *err)
{
    bytes = MAX(bytes, MIN(s->bytes, SLOT_BYTES));
    if (bytes <= s->slot_bytes) return 0;
    cuda_weights_settle(s, d);
    for (size_t i = 0; i < COUNT_OF(s->slots); i++) {
        void *pinned, *raw;
        TRY(device_take_host(d, &pinned, bytes, "weights on their way", err));
        s->slots[i].pinned = (char *)pinned;
        TRY(device_take(d, &raw, bytes, "weights on their way", err));
        s->slots[i].raw = (char *)raw;
        device_check(d, cudaEventCreateWithFlags(&s->slots[i].free, cudaEventDisableTiming), "making an event");
    }
    s->slot_bytes = bytes;
    return device_status(d, err);
}

/* The slot that was filled longest ago, when the device is done with it. */
static struct cuda_slot *next_slot(struct cuda_weights *s, struct device *d)
{
    struct cuda_slot *slot = &s->slots[s->next];
    s->next = !s->next;
    device_check(d, cudaEventSynchronize(slot->free), "waiting for a copy");
    return slot;
}

static void copy_to(struct device *d, void *to, const struct cuda_slot *slot, size_t bytes)
{
    device_check(d, cudaMemcpyAsync(to, slot->pinned, bytes, cudaMemcpyHostToDevice, d->stream), "copying weights");
}

static void used_slot(struct device *d, const struct cuda_slot *slot)
{
    device_check(d, cudaEventRecord(slot->free, d->stream), "copying weights");
}

/* ---- placing ---------------------------------------------------------------------------------------------------- */

/* Some rows of one matrix, from the mapped file to their strips. */
static void send_rows(struct cuda_weights *s, struct device *d, const struct weight *w, const char *rows, int n_rows,
                      char *strips)
{
    size_t last = dtype_row_bytes(dtype_info(w->dtype), (uint64_t)w->n_cols); /* a view's rows may lie in longer ones */
    size_t bytes = (size_t)(n_rows - 1) * w->row_bytes + last;
    struct cuda_slot *slot = next_slot(s, d);
    file_map_want(rows, bytes);
    memcpy(slot->pinned, rows, bytes);
    file_map_forget(rows, bytes);
    copy_to(d, slot->raw, slot, bytes);
    cuda_pack(d, w->dtype, strips, slot->raw, w->row_bytes, n_rows, w->n_cols);
    used_slot(d, slot);
}

int cuda_weights_place(struct cuda_weights *s, struct device *d, struct weight *w, struct redline_err *err)
{
    char *strips = NULL;
    TRY(want_slots(s, d, STRIP * w->row_bytes, err));
    TRY(take(s, &strips, cuda_place_bytes(w), err));
    int most_rows = (int)MIN((size_t)w->n_rows, s->slot_bytes / w->row_bytes / STRIP * STRIP);
    for (int mat = 0; mat < w->n_mats; mat++) {
        const char *rows = (const char *)w->data + (size_t)mat * w->mat_bytes;
        char *to = strips + (size_t)mat * mat_bytes(w);
        for (int first = 0; first < w->n_rows; first += most_rows)
            send_rows(s, d, w, rows + (size_t)first * w->row_bytes, MIN(most_rows, w->n_rows - first),
                      to + (size_t)(first / STRIP) * strip_bytes(strip_form(w->dtype), w->n_cols));
    }
    w->placed = strips;
    return device_status(d, err);
}

int cuda_weights_vector(struct cuda_weights *s, struct device *d, const float *v, size_t n, const float **out,
                        struct redline_err *err)
{
    char *to = NULL;
    TRY(want_slots(s, d, 0, err));
    TRY(take(s, &to, cuda_vector_bytes(n), err));
    for (size_t at = 0, bytes; at < n * sizeof *v; at += bytes) {
        struct cuda_slot *slot = next_slot(s, d);
        bytes = MIN(n * sizeof *v - at, s->slot_bytes);
        memcpy(slot->pinned, (const char *)v + at, bytes);
        copy_to(d, to + at, slot, bytes);
        used_slot(d, slot);
    }
    *out = (const float *)to;
    return device_status(d, err);
}
