/* cells.h - from a grid, workloads and models to cells: the settings and workloads that an experiment may name, their
 * values, and every combination. */
#ifndef CELLS_H
#define CELLS_H

#include "yaml_tree.h"

/* Where a word of a grid or of --set belongs. */
enum cells_place { CELLS_NOWHERE, CELLS_SETTING, CELLS_WORKLOAD, CELLS_LOAD };
enum cells_place cells_place_of(const char *key);

/* The known word that an unknown one was probably meant to be, or NULL. */
const char *cells_nearest(const char *key);

/* Checks all keys of `settings`, `grid`, `workloads` and `repetitions` of an experiment or of its short form, which may
 * lack any; values are looked at by cells_make(). */
int cells_check_keys(const struct yaml *y, const json_t *root, struct redline_err *err);

struct cells_params {
    const struct yaml *y;
    const json_t *root;          /* the experiment, everything merged */
    const char *name;            /* of the experiment */
    const char *const *models;   /* paths; NULL: the demo model */
    size_t n_models;
};

/* *cells: an array of {"task", "label", "repetitions"}, the caller's to json_decref(). */
int cells_make(json_t **cells, const struct cells_params *params, struct redline_err *err);

#endif
