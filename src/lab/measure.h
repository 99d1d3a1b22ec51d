/* measure.h - one measurement in a process of its own: a task as JSON in, a record as JSON out.
 *
 * The lab starts `redline lab worker` for each measurement, so that a load is a load, the peak of memory is this
 * run's own, kernels can be masked (REDLINE_CPU), and what crashes leaves the others alone.  The worker opens model
 * and engine as any program does and takes the road of every request; engine times come with the events, consumer
 * times are its own clock when redline_next() returned. */
#ifndef MEASURE_H
#define MEASURE_H

#include <jansson.h>

#include "err.h"

/* task: {
 *   "experiment": {...}             copied into the record as it is
 *   "requested": {...}              settings as whoever asked wrote them, copied likewise; left out: "settings"
 *   "model": "path" or null         null: the demo model
 *   "settings": {"n_threads": 0, "n_ctx": 0, "n_batch": 2048, "n_ubatch": 512, "n_seqs": 1, "type_k": "f16",
 *                "type_v": "f16", "exact": false, "n_gpu_layers": 0, "device_memory": "8G",
 *                "n_cpu_moe": 0, "placement": "PATTERN=DEVICE"}     all may be missing
 *   "workload": {"name", "kind": "generate" | "embed" | "score" | "load", "n_prompt", "n_gen", "n_depth",
 *                "document": path or null, "split": "whole" | "paragraphs" | "lines", "n_requests", "concurrency",
 *                "arrival": "closed" | "poisson" | "even", "rate": requests per second or null, "seed"}
 *   "load": "fresh" | "warm"        fresh: the first request meets weights as they lie in the file; warm: settled,
 *                                   and one unmeasured request before (kind load: one unmeasured load)
 *   "program": {...}                what is measured: "contestant", "version", "commit", ...; left out: this one
 *   "started_ns": N                 when this process was started, by the system's monotonic clock; left out: by
 *                                   /proc, to 10 ms
 *   "digest_cache": path            where digests of models are kept; left out: nowhere
 * }
 * Integers may be left out, null or "auto".  n_ctx: what the workload needs (score: 512).  n_seqs: as many as there are
 * clients.  A member that is not known is REDLINE_ARG.
 *
 * generate: n_prompt random tokens behind n_depth others that are in the cache already, or the parts of a document, of
 *     each n_prompt tokens at most; then n_gen tokens, whatever they are.
 * embed: the parts of a document (lines, unless "split" says otherwise), or n_prompt random tokens.
 * score: perplexity of a document in chunks of n_ctx tokens, of n_requests at most, as `redline score` defines it.
 * load: opens the engine, no more.
 * n_requests: 1, or as many as the document has parts; more begin again with the first.  closed: `concurrency` clients,
 * each with its next request when the last has ended.  poisson, even: requests come at their time, whatever became of
 * those before; `concurrency` of them run together.
 *
 * *record: the caller's to json_decref(); times in it count from the process's start.  REDLINE_ARG for an impossible
 * task; what the engine says otherwise. */
int measure_run(json_t **record, const json_t *task, struct redline_err *err);

#endif
