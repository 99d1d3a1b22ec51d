/* cmd_bench.c - redline bench: every combination of the listed settings, measured and printed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "bench_print.h"
#include "cmd.h"
#include "placement.h"
#include "probe_limits.h"
#include "settings.h"

struct bench_command {
    /* options */
    struct bench_grid grid;
    const char *format;
    int delay_s;
    bool fields;
    struct bench_options run;

    /* in progress */
    struct bench_printer printer;
    struct redline_model *model;
    const char *model_path;   /* of .model */
    const struct redline_model *warned; /* of this one the user was warned, compared alone; of what: */
    char warnings[4][320];
    size_t n_warnings;
    size_t i_case, n_cases;
    struct cmd_progress progress;
    struct bench_result result;
    struct bench_row row;
    struct redline_limits limits; /* of this machine */
    struct redline_gpu_limits gpu; /* of the last card that a test ran on, gpu_index; without a name: none yet */
    int gpu_index;
};

static void show_progress(void *user, int repetition)
{
    struct bench_command *b = user;
    char what[96];
    snprintf(what, sizeof what, "test %zu of %zu, %s", b->i_case + 1, b->n_cases,
             repetition < 0 ? "warming up" : "measuring");
    cmd_progress_show(&b->progress, what, MAX(repetition, 0) / (double)b->run.n_repetitions);
}

/* Once for a model: its tests have the same to tell. */
static bool is_new(struct bench_command *b, const char *warning)
{
    if (b->warned != b->model) b->n_warnings = 0;
    b->warned = b->model;
    for (size_t i = 0; i < b->n_warnings; i++)
        if (strncmp(b->warnings[i], warning, sizeof b->warnings[i] - 1) == 0) return false;
    if (b->n_warnings < COUNT_OF(b->warnings))
        snprintf(b->warnings[b->n_warnings++], sizeof b->warnings[0], "%s", warning);
    return true;
}

static void on_load(void *user, const struct redline_event *event)
{
    struct bench_command *b = user;
    if (event->kind == REDLINE_EVENT_WARNING && !is_new(b, event->sentence)) return;
    cmd_on_load(&b->progress, event);
}

/* The model of this test: the one that is open already, if it is the same. */
static int open_model(struct bench_command *b, const char *path, struct redline_err *err)
{
    if (b->model && b->model_path == path) return 0;
    redline_model_close(&b->model);
    TRY(redline_model_open(&b->model, path, err));
    b->model_path = path;
    return redline_model_can(b->model, REDLINE_GENERATE, err);
}

/* A name that is wrong is found before anything is measured or printed. */
static int check_models(struct bench_command *b, struct redline_err *err)
{
    for (size_t i = 0; i < b->grid.models.n; i++) TRY(open_model(b, b->grid.models.values[i], err));
    return 0;
}

/* Of a card nothing is on record: it is measured when the first test has run on it. */
static int gpu_limits(struct bench_command *b, int gpu, struct bench_limits *out, struct redline_err *err)
{
    if (!b->gpu.name[0] || b->gpu_index != gpu) {
        TRY(redline_gpu_limits_measure(gpu, &b->gpu, err));
        b->gpu_index = gpu;
    }
    bool text = b->result.asked.n_prompt > 0; /* which is what products of BF16 are for */
    *out = (struct bench_limits){b->gpu.read_bytes > 0 ? b->gpu.read_bytes : NAN,
                                 text && b->gpu.bf16_ops > 0 ? b->gpu.bf16_ops : NAN};
    return 0;
}

/* What the machine can do with the threads of this test; the arithmetic is that of most of the weights. */
static struct bench_limits cpu_limits(const struct redline_limits *l, const struct bench_result *r)
{
    const struct redline_kernel_facts *k = &r->kernels[0];
    int n_threads = r->engine.plan.n_threads;
    double bandwidth = redline_limits_bandwidth(l, n_threads);
    bool text = r->asked.n_prompt > 0;
    double compute = redline_limits_peak(l, text ? k->text_kernel : k->kernel,
                                         text ? k->text_arithmetic : k->arithmetic, n_threads);
    return (struct bench_limits){bandwidth > 0 ? bandwidth : NAN, compute > 0 ? compute : NAN};
}

static int measure(struct bench_command *b, struct redline_err *err)
{
    struct bench_case c;
    bench_grid_at(&b->grid, b->i_case, &c);
    TRY(open_model(b, c.model, err));
    if (b->i_case > 0) sleep((unsigned)b->delay_s);
    int status = bench_run(&b->result, b->model, &c, &b->run, err);
    cmd_progress_clear(&b->progress);
    if (status) return status;
    if (*b->result.bandwidth_missing) fprintf(stderr, "redline: warning: %s\n", b->result.bandwidth_missing);
    struct bench_limits limits = cpu_limits(&b->limits, &b->result);
    int device = b->result.n_kernels ? b->result.kernels[0].device : 0;
    if (device > 0) TRY(gpu_limits(b, device - 1, &limits, err));
    bench_row_fill(&b->row, &b->result, &limits);
    return bench_print_row(&b->printer, &b->row, err);
}

static int measure_all(struct bench_command *b, struct redline_err *err)
{
    int status = 0;
    TRY(placement_check(&b->run.where, err));
    b->n_cases = bench_grid_n(&b->grid);
    if (b->n_cases == 0) return err_set(err, REDLINE_ARG, "there is nothing to measure: -p and -n are both 0");
    TRY(check_models(b, err));
    TRY(limits_get(&b->limits, false, err));
    TRY(bench_print_begin(&b->printer, err));
    for (b->i_case = 0; !status && b->i_case < b->n_cases; b->i_case++) status = measure(b, err);
    int ended = bench_print_end(&b->printer, status ? NULL : err);
    return status ? status : ended;
}

static int setting_number(const struct settings *set, enum setting_id id)
{
    return *(const int *)set->all[id].to;
}

static const char *setting_word(const struct settings *set, enum setting_id id)
{
    return *(char *const *)set->all[id].to;
}

/* What the flags leave open: the settings', and llama-bench's lengths. */
static int fill_grid(struct bench_command *b, const struct settings *set, const char *const *words, int n_words,
                     struct redline_err *err)
{
    struct bench_grid *g = &b->grid;
    if (g->models.n > 0 && n_words > 0)
        return err_set(err, REDLINE_ARG, "models are named with -m and without: '%s'", words[0]);
    TRY(bench_words_default(&g->models, n_words > 0 ? words[0] : setting_word(set, SETTING_MODEL), err));
    TRY(bench_words_default(&g->types_k, setting_word(set, SETTING_TYPE_K), err));
    TRY(bench_words_default(&g->types_v, setting_word(set, SETTING_TYPE_V), err));
    bench_numbers_default(&g->n_prompt, 512);
    bench_numbers_default(&g->n_gen, 128);
    bench_numbers_default(&g->n_depth, 0);
    bench_numbers_default(&g->n_batch, setting_number(set, SETTING_N_BATCH));
    bench_numbers_default(&g->n_ubatch, setting_number(set, SETTING_N_UBATCH));
    bench_numbers_default(&g->n_threads, setting_number(set, SETTING_N_THREADS));
    return 0;
}

/* llama-bench's flag: what it asks for is so in any case, and every row says it (flash_attn). */
static int set_attention(struct opt_call *call, const char *name, const char *value, struct redline_err *err)
{
    static const char *const known[] = {"1", "on", "auto"};
    (void)call;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strcmp(value, known[i]) == 0) return 0;
    return err_set(err, REDLINE_ARG,
                   "%s %.40s: attention always runs in one pass over the cache; only 1, on and auto can be asked for",
                   name, value);
}

/* Rows of settings that take a list here. */
static struct opt numbers_of(struct bench_numbers *to, enum setting_id id)
{
    const struct setting_row *row = &settings_table[id];
    return bench_numbers_opt(to, row->flags, (int)row->least, (int)row->most, row->help);
}

static struct opt types_of(struct bench_words *to, enum setting_id id)
{
    const struct setting_row *row = &settings_table[id];
    return bench_words_opt(to, row->flags, "TYPE,...", row->value, row->help);
}

int cmd_bench(int argc, char **argv)
{
    static struct bench_command b; /* too large for a stack */
    struct bench_grid *g = &b.grid;
    struct settings set = {0};
    struct opt_call attention = {set_attention};
    b.format = "md";
    b.run = (struct bench_options){.n_repetitions = 6, .progress = show_progress, .listener = on_load, .user = &b};
    const struct opt options[] = {
        bench_words_opt(&g->models, "-m, --model", "FILE,...", NULL, "GGUF files; without one, the demo model"),
        bench_numbers_opt(&g->n_prompt, "-p, --n-prompt", 0, BENCH_MOST_TOKENS,
                          "tokens of the prompt (512); 0: no such test"),
        bench_numbers_opt(&g->n_gen, "-n, --n-gen", 0, BENCH_MOST_TOKENS,
                          "tokens to generate (128); 0: no such test"),
        bench_pairs_opt(&g->pairs, "-pg", "a prompt and what is generated after it, as one test"),
        bench_numbers_opt(&g->n_depth, "-d, --n-depth", 0, BENCH_MOST_TOKENS,
                          "tokens in the cache beforehand (0)"),
        numbers_of(&g->n_batch, SETTING_N_BATCH),
        numbers_of(&g->n_ubatch, SETTING_N_UBATCH),
        types_of(&g->types_k, SETTING_TYPE_K),
        types_of(&g->types_v, SETTING_TYPE_V),
        {"-fa, --flash-attn", "1|on|auto", OPT_CALL, &attention, 0, 0,
         "attention in one pass over the cache: it is always so"},
        numbers_of(&g->n_threads, SETTING_N_THREADS),
        settings_opt(&set, SETTING_EXACT, &b.run.exact),
        SETTINGS_PLACEMENT(&set, &b.run.where),
        {"-r, --repetitions", "N", OPT_INT, &b.run.n_repetitions, 1, BENCH_MOST_SAMPLES,
         "repetitions of each test (6: the fewest that give a 95 % interval)"},
        {"-o, --output", "md|csv|json|jsonl", OPT_CHOICE, &b.format, 0, 0, "format on standard output (md)"},
        {"--no-warmup", NULL, OPT_FLAG, &b.run.no_warmup, 0, 0, "no untimed repetition first"},
        {"--delay", "S", OPT_INT, &b.delay_s, 0, 3600, "seconds between tests (0)"},
        {"--fields", NULL, OPT_FLAG, &b.fields, 0, 0, "say what the fields of csv, json and jsonl mean, and end"},
    };
    const struct opt_command command = {
        "redline bench [MODEL] [options]",
        "Measures how fast prompts are read and tokens generated, each beside the limit that it meets:\n"
        "memory bandwidth for generation, arithmetic for prompts.  Flags and fields are llama-bench's.",
        options, COUNT_OF(options),
        "Lists (8,16) and ranges (8-64, 8-64+8, 8-64*2) are measured in every combination; a flag may be\n"
        "given several times.  Example: redline bench model.gguf -p 512 -n 64 -t 1-4 -o json"};
    const char *words[1];
    struct redline_err err = {0};
    int n_words, exit_code;
    if (!settings_parse(&set, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    b.printer = (struct bench_printer){.format = bench_format_find(b.format), .grid = g};
    b.progress.wanted = isatty(STDERR_FILENO);
    int status = b.fields ? bench_print_fields(&err) : fill_grid(&b, &set, words, n_words, &err);
    if (!status && !b.fields) status = measure_all(&b, &err);
    redline_model_close(&b.model);
    bench_grid_free(g);
    settings_free(&set);
    return status ? cmd_fail(&err) : EXIT_FINE;
}
