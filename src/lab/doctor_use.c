/* doctor_use.c - how a model is used and what its GPUs did, out of records: the evidence beside which settings are
 * held. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "doctor.h"
#include "mem.h"
#include "record.h"
#include "stats.h"

static size_t count_requests(const json_t *records)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(records); i++)
        n += json_array_size(record_at(json_array_get(records, i), "requests"));
    return n;
}

/* prompts: room for all of them; returns how many say what they have. */
static size_t collect(const json_t *records, double *prompts, double *longest)
{
    size_t n = 0;
    *longest = -1;
    for (size_t i = 0; i < json_array_size(records); i++) {
        const json_t *record = json_array_get(records, i);
        const json_t *requests = record_at(record, "requests");
        double depth = record_number(record, "workload.n_depth");
        for (size_t k = 0; k < json_array_size(requests); k++) {
            const json_t *request = json_array_get(requests, k);
            double prompt = record_number(request, "n_prompt"), generated = record_number(request, "n_generated");
            if (!(prompt >= 0)) continue;
            double used = prompt + (generated >= 0 ? generated : 0) + (depth >= 0 ? depth : 0);
            *longest = MAX(*longest, used);
            prompts[n++] = prompt;
        }
    }
    return n;
}

void doctor_use(const json_t *records, int *n_ctx_used, int *n_prompt_typical)
{
    size_t n_all = count_requests(records);
    double longest, *prompts = mem_new(n_all, sizeof *prompts);
    *n_ctx_used = *n_prompt_typical = -1;
    if (!prompts) return; /* then it is not known */
    size_t n = collect(records, prompts, &longest);
    if (n > 0) {
        stats_sort(prompts, n);
        *n_prompt_typical = (int)stats_median(prompts, n);
        *n_ctx_used = (int)longest;
    }
    mem_free(prompts);
}

/* ---- GPUs ---------------------------------------------------------------------------------------- */

/* Whether two records differ in their placement alone, as far as a comparison of speeds minds. */
static bool same_work(const json_t *a, const json_t *b)
{
    static const char *const paths[] = {"model.digest", "workload.kind", "workload.n_prompt", "workload.n_gen",
                                        "workload.n_depth", "workload.concurrency", "program.contestant", "machine.id"};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        const json_t *x = record_at(a, paths[i]), *y = record_at(b, paths[i]);
        if (x && y && !json_equal(x, y)) return false;
    }
    return true;
}

static int layers_of(const json_t *record)
{
    double n = record_number(record, "settings.effective.n_gpu_layers");
    return n >= 0 ? (int)n : -1;
}

/* The median of the records that do the same work as `like` with n layers on GPUs; NAN: there is none. */
static double median_speed(const json_t *records, const json_t *like, int n_layers, double *room)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(records); i++) {
        const json_t *record = json_array_get(records, i);
        double ts = record_number(record, "derived.decode_ts.value");
        if (layers_of(record) == n_layers && ts > 0 && same_work(record, like)) room[n++] = ts;
    }
    if (n == 0) return NAN;
    stats_sort(room, n);
    return stats_median(room, n);
}

/* The most layers on GPUs that any record of this work has. */
static int most_layers(const json_t *records, const json_t *like)
{
    int most = 0;
    for (size_t i = 0; i < json_array_size(records); i++) {
        const json_t *record = json_array_get(records, i);
        if (same_work(record, like)) most = layers_of(record) > most ? layers_of(record) : most;
    }
    return most;
}

static void compare_speeds(const json_t *records, struct doctor_records *out, double *room)
{
    for (size_t i = 0; i < json_array_size(records); i++) {
        const json_t *record = json_array_get(records, i);
        if (layers_of(record) != 0) continue;
        int n_layers = most_layers(records, record);
        double cpu = median_speed(records, record, 0, room);
        double gpu = n_layers > 0 ? median_speed(records, record, n_layers, room) : NAN;
        if (!(cpu > 0) || !(gpu > 0) || (out->cpu_ts > 0 && gpu / cpu >= out->gpu_ts / out->cpu_ts)) continue;
        const char *name = record_text(record, "workload.name");
        *out = (struct doctor_records){.cpu_ts = cpu, .gpu_ts = gpu, .n_gpu_layers = n_layers};
        snprintf(out->workload, sizeof out->workload, "%s", name ? name : "the same work");
    }
}

static void compare_memory(const json_t *records, struct doctor_records *out)
{
    double worst = -1;
    for (size_t i = 0; i < json_array_size(records); i++) {
        const json_t *devices = record_at(json_array_get(records, i), "devices");
        for (size_t k = 0; k < json_array_size(devices); k++) {
            const json_t *d = json_array_get(devices, k);
            double planned = record_number(d, "planned_bytes"), taken = record_number(d, "taken_bytes");
            const char *label = record_text(d, "device"), *name = record_text(d, "name");
            if (!(planned > 0) || !(taken > 0) || !label || strcmp(label, "cpu") == 0) continue;
            if (fabs(taken - planned) <= worst) continue;
            worst = fabs(taken - planned);
            out->planned_bytes = planned;
            out->taken_bytes = taken;
            snprintf(out->device, sizeof out->device, "%s", name ? name : label);
        }
    }
}

void doctor_records(const json_t *records, struct doctor_records *out)
{
    *out = (struct doctor_records){0};
    double *room = mem_new(json_array_size(records), sizeof *room);
    if (room) compare_speeds(records, out, room);
    mem_free(room);
    compare_memory(records, out);
}
