/* doctor_use.c - how a model is used, out of records: the evidence beside which settings are held. */
#include <stdlib.h>

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
