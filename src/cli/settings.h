/* settings.h - every knob that the user may keep, in one table, and where its value came from.
 *
 * A row drives the flag, the environment variable, the key in the YAML files, range, default, help page
 * and docs/settings.md.  What stands further to the right wins:
 *
 *     default < redline.yaml < overrides.local.yaml < environment (REDLINE__LLM__PRIMARY__N_THREADS) < flag
 *
 * The files lie in the current directory or in the folder that REDLINE_CONFIG_DIR names.  All that is
 * set there is checked, whatever a command needs of it: an unknown key, or one with a wrong value, is
 * REDLINE_ARG with file, line and key.
 *
 *     struct settings settings = {0};
 *     int n_threads = 0;
 *     const struct opt options[] = {settings_opt(&settings, SETTING_N_THREADS, &n_threads), own rows};
 *     if (!settings_parse(&settings, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
 *     ... n_threads ...
 *     settings_free(&settings); */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "opt.h"

enum setting_id {
    SETTING_MODEL,
    SETTING_N_THREADS,
    SETTING_N_CTX,
    SETTING_N_BATCH,
    SETTING_N_UBATCH,
    SETTING_N_SEQS,
    SETTING_TYPE_K,
    SETTING_TYPE_V,
    SETTING_EXACT,
    SETTING_N_GPU_LAYERS,
    SETTING_DEVICE_MEMORY,
    SETTING_N_CPU_MOE,
    SETTING_PLACEMENT,
    SETTING_REQUIRE,
    SETTING_N_PREDICT,
    SETTING_TEMPERATURE,
    SETTING_TOP_K,
    SETTING_TOP_P,
    SETTING_MIN_P,
    SETTING_REPEAT_PENALTY,
    SETTING_REPEAT_LAST_N,
    SETTING_PRESENCE_PENALTY,
    SETTING_FREQUENCY_PENALTY,
    SETTING_SEED,
    N_SETTINGS,
};

/* A row of the table. */
struct setting_row {
    const char *key;   /* "llm.primary.n_threads" */
    const char *flags; /* from here on as in struct opt */
    const char *value;
    enum opt_kind kind;
    double least, most;
    const char *fallback; /* the default, as text; NULL: none (only where the target is a text) */
    const char *help;
};

extern const struct setting_row settings_table[N_SETTINGS];

enum setting_origin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENVIRONMENT, ORIGIN_FLAG };

enum {
    SETTING_MOST_KEY = 96,    /* bytes of a key, or of its variable */
    SETTING_MOST_TEXT = 4096, /* bytes of a value as text, of a path */
};

/* One setting of this run. */
struct setting {
    struct opt_call call; /* first: what the flag calls */
    const struct setting_row *row;
    void *to; /* the variable that holds the value: the command's, or own */
    union {
        int i;
        uint64_t u;
        float f;
        bool b;
        const char *s;
    } own;
    char *text;                 /* owned; what a value out of a file points into */
    enum setting_origin origin;
    char where[256];            /* "default", "redline.yaml:12", "environment REDLINE__...", "flag -t" */
    char help[512];             /* the row's, and the value that holds before the flags */
};

struct settings {
    struct setting all[N_SETTINGS]; /* by enum setting_id */
};

/* ---- for commands ---------------------------------------------------------------------------- */

/* The row for a command's table of options; `to` (of the row's kind) gets the value.  A target that is
 * not zero beforehand holds the command's own default, which stands for the row's. */
struct opt settings_opt(struct settings *s, enum setting_id id, void *to);

/* The rows of how to run a model: into the members of these names of `to`; of where to run it: into a struct placement;
 * and of how to choose tokens: into a struct redline_sampling. */
#define SETTINGS_ENGINE(s, to)                            \
    settings_opt(s, SETTING_N_CTX, &(to)->n_ctx),         \
    settings_opt(s, SETTING_N_THREADS, &(to)->n_threads), \
    settings_opt(s, SETTING_N_UBATCH, &(to)->n_ubatch),   \
    settings_opt(s, SETTING_TYPE_K, &(to)->type_k),       \
    settings_opt(s, SETTING_TYPE_V, &(to)->type_v)
#define SETTINGS_PLACEMENT(s, to)                                 \
    settings_opt(s, SETTING_N_GPU_LAYERS, &(to)->n_gpu_layers),   \
    settings_opt(s, SETTING_DEVICE_MEMORY, &(to)->device_memory), \
    settings_opt(s, SETTING_N_CPU_MOE, &(to)->n_cpu_moe),         \
    settings_opt(s, SETTING_PLACEMENT, &(to)->overrides),         \
    settings_opt(s, SETTING_REQUIRE, &(to)->require)
#define SETTINGS_SAMPLING(s, to)                                          \
    settings_opt(s, SETTING_TEMPERATURE, &(to)->temperature),             \
    settings_opt(s, SETTING_TOP_K, &(to)->top_k),                         \
    settings_opt(s, SETTING_TOP_P, &(to)->top_p),                         \
    settings_opt(s, SETTING_MIN_P, &(to)->min_p),                         \
    settings_opt(s, SETTING_REPEAT_PENALTY, &(to)->repeat_penalty),       \
    settings_opt(s, SETTING_REPEAT_LAST_N, &(to)->repeat_last_n),         \
    settings_opt(s, SETTING_PRESENCE_PENALTY, &(to)->presence_penalty),   \
    settings_opt(s, SETTING_FREQUENCY_PENALTY, &(to)->frequency_penalty), \
    settings_opt(s, SETTING_SEED, &(to)->seed)

/* Fills the targets from all five levels, and parses the command line like cmd_parse().  A word of the
 * command line is a MODEL and counts like the flag: SETTING_MODEL is then NULL unless it is a flag's, as it
 * is for an empty text.  False: s is freed already. */
bool settings_parse(struct settings *s, const struct opt_command *c, int argc, char **argv,
                    const char **words, int most_words, int *n_words, int *exit_code);

void settings_free(struct settings *s);

/* ---- for redline config ---------------------------------------------------------------------- */

/* The value as text; "" where there is none. */
void settings_text(const struct setting *setting, char *out, size_t n);

/* "REDLINE__LLM__PRIMARY__N_THREADS" */
void settings_variable(const char *key, char out[SETTING_MOST_KEY]);

/* ---- for readers of files (settings_yaml.c) --------------------------------------------------- */

/* What a file says, on top of what is set; a file that does not exist says nothing. */
int settings_read_yaml(struct settings *s, const char *path, struct redline_err *err);

/* The first row that is `key` or lies in the section `key`; -1: none. */
int settings_find(const char *key);

/* The key that an unknown one was probably meant to be; false: none is near. */
bool settings_nearest(const char *key, char out[SETTING_MOST_KEY]);

/* Sets the value that line `line` of a file holds. */
int settings_set_from_file(struct setting *setting, const char *value, const char *path, size_t line,
                           struct redline_err *err);

#endif
