/* experiment.h - what to measure, as a YAML file says it: cells, workloads, order, when to stop.
 *
 *     name: cpu-sweep
 *     title: Threads and batch sizes, each cell with a fresh load
 *     about: |                        a paragraph; may be left out, as all below but the workloads
 *     require: gpu                    stops with REDLINE_DEVICE where there is none
 *     peers: true                     wants others beside it, named on the command line
 *     models: [demo]                  -m overrides
 *     settings: {n_ctx: 1024}         the same for all cells
 *     grid:                           every combination, the first axis outermost
 *       n_threads: [auto, 4, 8, 16]   a setting, a member of the workload, or load; auto: as if it were not there
 *       n_gpu_layers: [0, 25 %]       shares of all layers of the model
 *       kv:                           an axis of one's own: what its values set together
 *         - {name: f16, type_k: f16, type_v: f16}
 *     workloads:                      members and defaults: measure.h
 *       - {name: short, n_prompt: 64, n_gen: 64}
 *       - {name: quality, kind: score, document: texts/stories.txt, repetitions: 1}
 *     load: fresh                     or warm
 *     repetitions: {least: 3, most: 10, width: 5 %, of: output_ts}
 *     order: {interleave: true, seed: 1}
 *     tables:                         see report.h
 *       - {title: ..., rows: [n_threads], columns: [n_batch], value: output_ts}
 *     short: {...}                    for --short and for the parts of another experiment: what differs; mappings are
 *                                     merged, null takes a key away, all else is replaced (RFC 7386)
 *     parts: [cpu-sweep, latency]     instead of a grid and workloads: other experiments, each in its short form
 *
 * A measurement is repeated until the 95 % interval of the median of `of` is narrower than `width` of the median, at
 * least `least` and at most `most` times; an interval takes six.  A document is looked for beside the file, then as
 * its name stands.  A key that is not known is REDLINE_ARG with file, line and the nearest key that is. */
#ifndef EXPERIMENT_H
#define EXPERIMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "str.h"

enum { EXPERIMENT_MOST_CELLS = 4096 };

struct experiment {
    char *name, *title, *about;  /* owned, as all below; about: "" where there is none */
    char *require;               /* "gpu" or NULL: of the whole */
    bool peers;                  /* makes no sense without */
    json_t *cells;               /* what experiment_cell() reads */
    json_t *tables;              /* an array, as in the file; of parts with {"experiment.part": name} in "where" */
    json_t *parts;               /* [{"name", "title", "require", "peers"}], or NULL */
    bool interleave;
    uint64_t seed;
    char digest[65];             /* of what is measured and in what order: a series is only resumed by what began it */
};

/* One combination of a model, grid values and a workload. */
struct experiment_cell {
    const json_t *task;          /* as measure.h wants it, and "requested", the settings as written; "experiment" has
                                    "name", "cell", "grid" and for parts "part" */
    const char *label;           /* "n_threads=4 n_batch=128 | short" */
    const char *part;            /* NULL: there are no parts */
    const char *require;         /* of the part: "gpu" or NULL */
    bool peers;                  /* the part makes no sense without */
    int least, most;             /* repetitions */
    double width;                /* of the 95 % interval of the median, as a share of it; 0: `least` repetitions */
    const char *of;              /* metric; NULL where width is 0 */
};

struct experiment_overrides { /* from the command line; zero: none */
    const char *const *models;
    size_t n_models;
    const char *const *sets;     /* "n_threads=2,4", "workload.n_gen=16", "repetitions.most=3", "load=warm" */
    size_t n_sets;
    bool short_form;
};

/* path: of a file, or the name of a shipped experiment, looked for in ./experiments and the installed folder.  Models
 * are opened for their headers alone. */
int  experiment_read(struct experiment *out, const char *path, const struct experiment_overrides *o,
                     struct redline_err *err);
void experiment_free(struct experiment *e); /* accepts {0}; leaves {0} */

size_t experiment_n_cells(const struct experiment *e);
struct experiment_cell experiment_cell(const struct experiment *e, size_t i); /* borrowed from e */

/* The file that a name or path stands for; *out is the caller's to buf_free().  REDLINE_ARG with the nearest name. */
int experiment_find(struct buf *out, const char *name, struct redline_err *err);

/* Names, titles and files of those that can be found: [{"name", "title", "path"}], by name, the caller's to
 * json_decref().  Files that cannot be read have "failed" with the sentence instead of a title. */
int experiment_list(json_t **out, struct redline_err *err);

#endif
