/* settings.c - the table of knobs, the levels they are set on, and the environment as one of them. */
#include "settings.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base.h"
#include "cmd.h"
#include "mem.h"

#define LLM "llm.primary."
#define SAMPLING LLM "sampling."

const struct setting_row settings_table[N_SETTINGS] = {
    [SETTING_MODEL] = {LLM "model", "-m, --model", "FILE", OPT_STRING, 0, 0, NULL,
                       "GGUF file"},
    [SETTING_N_THREADS] = {LLM "n_threads", "-t, --threads", "N", OPT_INT, 0, 512, "0",
                           "threads; 0: the cores this process may use"},
    [SETTING_N_CTX] = {LLM "n_ctx", "-c, --ctx-size", "N", OPT_INT, 0, 1 << 28, "0",
                       "context in tokens; 0: what the command needs"},
    [SETTING_N_BATCH] = {LLM "n_batch", "-b, --batch-size", "N", OPT_INT, 1, 65536, "2048",
                         "most tokens of one step of the scheduler"},
    [SETTING_N_UBATCH] = {LLM "n_ubatch", "-ub, --ubatch-size", "N", OPT_INT, 1, 65536, "512",
                          "most tokens of one forward pass"},
    [SETTING_N_SEQS] = {LLM "n_seqs", "-np, --parallel", "N", OPT_INT, 1, 1024, "1",
                        "requests that run at the same time"},
    [SETTING_TYPE_K] = {LLM "type_k", "-ctk, --cache-type-k", "f32|f16|bf16|q8_0|q4_0", OPT_CHOICE, 0, 0, "f16",
                        "type of cached keys"},
    [SETTING_TYPE_V] = {LLM "type_v", "-ctv, --cache-type-v", "f32|f16|bf16|q8_0|q4_0", OPT_CHOICE, 0, 0, "f16",
                        "type of cached values"},
    [SETTING_EXACT] = {LLM "exact", "--exact", NULL, OPT_FLAG, 0, 0, "false",
                       "float32 activations in every product"},
    [SETTING_N_GPU_LAYERS] = {LLM "n_gpu_layers", "-ngl, --n-gpu-layers", "auto|all|N", OPT_CHOICE, 0, 100000, "auto",
                              "layers on a GPU, refused where it has none; auto: what there is"},
    [SETTING_DEVICE_MEMORY] = {LLM "device_memory", "--device-memory", "SIZE", OPT_BYTES, 0, 0, "0",
                               "most memory of each GPU, as 8G; 0: what is free there"},
    [SETTING_N_CPU_MOE] = {LLM "n_cpu_moe", "-ncmoe, --n-cpu-moe", "N", OPT_INT, 0, 100000, "0",
                           "layers, from the first, whose experts stay on the CPU"},
    [SETTING_PLACEMENT] = {LLM "placement", "-ot, --override-tensor", "PATTERN=DEVICE,...", OPT_STRING, 0, 0, NULL,
                           "where blocks run that have such a tensor: on cpu, gpu, gpu0"},
    [SETTING_REQUIRE] = {LLM "require", "--require", "any|gpu|cpu", OPT_CHOICE, 0, 0, "any",
                         "stop before anything is loaded if it would run elsewhere"},
    [SETTING_N_PREDICT] = {LLM "n_predict", "-n, --n-predict", "N", OPT_INT, -1, 1e9, "256",
                           "most tokens to generate; -1: until the end"},
    [SETTING_TEMPERATURE] = {SAMPLING "temperature", "--temp", "X", OPT_FLOAT, 0, 1000, "0.8",
                             "temperature; 0: always the most probable token"},
    [SETTING_TOP_K] = {SAMPLING "top_k", "--top-k", "N", OPT_INT, 0, 1e9, "40",
                       "keep the N most probable tokens; 0: all"},
    [SETTING_TOP_P] = {SAMPLING "top_p", "--top-p", "X", OPT_FLOAT, 0, 1, "0.95",
                       "keep the most probable X of the mass; 1: all"},
    [SETTING_MIN_P] = {SAMPLING "min_p", "--min-p", "X", OPT_FLOAT, 0, 1, "0.05",
                       "drop tokens below X times the best; 0: none"},
    [SETTING_REPEAT_PENALTY] = {SAMPLING "repeat_penalty", "--repeat-penalty", "X", OPT_FLOAT, 0, 1000, "1",
                                "penalty on recent tokens; 1: none"},
    [SETTING_REPEAT_LAST_N] = {SAMPLING "repeat_last_n", "--repeat-last-n", "N", OPT_INT, -1, 1e9, "64",
                               "how many tokens are recent; -1: all"},
    [SETTING_PRESENCE_PENALTY] = {SAMPLING "presence_penalty", "--presence-penalty", "X", OPT_FLOAT, -1000,
                                  1000, "0", "subtracted from logits of recent tokens"},
    [SETTING_FREQUENCY_PENALTY] = {SAMPLING "frequency_penalty", "--frequency-penalty", "X", OPT_FLOAT, -1000,
                                   1000, "0", "the same, for every occurrence"},
    [SETTING_SEED] = {SAMPLING "seed", "-s, --seed", "N", OPT_U64, 0, 0, "0",
                      "seed of the random choice; same seed, same text"},
};

static const char prefix[] = "REDLINE__";
extern char **environ;

/* ---- one setting ------------------------------------------------------------------------------ */

/* name: the head of the sentence if the value is refused. */
static int set(struct setting *setting, const char *name, const char *value, struct redline_err *err)
{
    const struct setting_row *row = setting->row;
    const struct opt o = {row->flags, row->value, row->kind, setting->to, row->least, row->most, row->help};
    return opt_set(&o, name, value, err);
}

static int set_from_flag(struct opt_call *call, const char *name, const char *value, struct redline_err *err)
{
    struct setting *setting = (struct setting *)call;
    TRY(set(setting, name, value, err));
    setting->origin = ORIGIN_FLAG;
    snprintf(setting->where, sizeof setting->where, "flag %s", name);
    return 0;
}

int settings_set_from_file(struct setting *setting, const char *value, const char *path, size_t line,
                           struct redline_err *err)
{
    char name[SETTING_MOST_TEXT + SETTING_MOST_KEY];
    char *text = mem_copy(value, strlen(value));
    if (!text) return err_memory(err, strlen(value) + 1, "a setting");
    snprintf(name, sizeof name, "%s:%zu: %s", path, line, setting->row->key);
    int status = set(setting, name, text, err);
    if (status) {
        mem_free(text);
        return status;
    }
    mem_free(setting->text); /* nothing points into the one before any more */
    setting->text = text;
    setting->origin = ORIGIN_FILE;
    snprintf(setting->where, sizeof setting->where, "%.200s:%zu", path, line);
    return 0;
}

void settings_text(const struct setting *setting, char *out, size_t n)
{
    const void *to = setting->to;
    switch (setting->row->kind) {
    case OPT_FLAG: snprintf(out, n, "%s", *(const bool *)to ? "true" : "false"); break;
    case OPT_INT: snprintf(out, n, "%d", *(const int *)to); break;
    case OPT_U64: snprintf(out, n, "%" PRIu64, *(const uint64_t *)to); break;
    case OPT_FLOAT: snprintf(out, n, "%.7g", (double)*(const float *)to); break;
    case OPT_BYTES: opt_bytes_text(*(const uint64_t *)to, out, n); break;
    case OPT_STRING:
    case OPT_CHOICE: snprintf(out, n, "%s", *(char *const *)to ? *(char *const *)to : ""); break;
    case OPT_CALL:
    case OPT_REFUSED: break; /* no row is one */
    }
}

static bool is_zero(const struct setting *setting)
{
    switch (setting->row->kind) {
    case OPT_FLAG: return !*(const bool *)setting->to;
    case OPT_INT: return !*(const int *)setting->to;
    case OPT_U64:
    case OPT_BYTES: return !*(const uint64_t *)setting->to;
    case OPT_FLOAT: return *(const float *)setting->to == 0;
    case OPT_STRING:
    case OPT_CHOICE:
    case OPT_CALL:
    case OPT_REFUSED: break;
    }
    return !*(char *const *)setting->to;
}

/* ---- keys -------------------------------------------------------------------------------------- */

void settings_variable(const char *key, char out[SETTING_MOST_KEY])
{
    size_t n = (size_t)snprintf(out, SETTING_MOST_KEY, "%s", prefix);
    for (const char *p = key; *p && n + 2 < SETTING_MOST_KEY; p++) {
        out[n++] = *p == '.' ? '_' : (char)toupper((unsigned char)*p);
        if (*p == '.') out[n++] = '_';
    }
    out[n] = '\0';
}

int settings_find(const char *key)
{
    size_t n = strlen(key);
    for (int i = 0; i < N_SETTINGS; i++) {
        const char *known = settings_table[i].key;
        if (strncmp(known, key, n) == 0 && (known[n] == '\0' || known[n] == '.')) return i;
    }
    return -1;
}

static const char *last_word(const char *key)
{
    const char *dot = strrchr(key, '.');
    return dot ? dot + 1 : key;
}

/* The same word in another section; a similar one in this section; a similar one anywhere. */
bool settings_nearest(const char *key, char out[SETTING_MOST_KEY])
{
    const char *word = last_word(key), *near, *neighbours[N_SETTINGS], *words[N_SETTINGS];
    char parts[N_SETTINGS][SETTING_MOST_KEY];
    size_t n_section = (size_t)(word - key), n = 0;
    for (int i = 0; i < N_SETTINGS; i++) {
        const char *known = settings_table[i].key;
        words[i] = last_word(known);
        if (strcmp(words[i], word) == 0) {
            snprintf(out, SETTING_MOST_KEY, "%s", known);
            return true;
        }
        if (strncmp(known, key, n_section) != 0) continue;
        snprintf(parts[n], sizeof parts[n], "%.*s", (int)strcspn(known + n_section, "."), known + n_section);
        neighbours[n] = parts[n];
        n++;
    }
    near = opt_nearest(word, neighbours, n);
    if (near) {
        snprintf(out, SETTING_MOST_KEY, "%.*s%s", (int)MIN(n_section, 40), key, near);
        return true;
    }
    near = opt_nearest(word, words, N_SETTINGS);
    for (int i = 0; i < N_SETTINGS && near; i++)
        if (words[i] == near) snprintf(out, SETTING_MOST_KEY, "%s", settings_table[i].key);
    return near;
}

/* ---- levels ------------------------------------------------------------------------------------ */

static void bind_own(struct settings *s)
{
    for (int i = 0; i < N_SETTINGS; i++)
        if (!s->all[i].to) settings_opt(s, (enum setting_id)i, &s->all[i].own);
}

static int set_defaults(struct settings *s, struct redline_err *err)
{
    for (int i = 0; i < N_SETTINGS; i++) {
        struct setting *setting = &s->all[i];
        snprintf(setting->where, sizeof setting->where, "default");
        if (is_zero(setting) && setting->row->fallback)
            TRY(set(setting, setting->row->key, setting->row->fallback, err));
    }
    return 0;
}

static int read_files(struct settings *s, struct redline_err *err)
{
    static const char *const files[] = {"redline.yaml", "overrides.local.yaml"};
    const char *folder = getenv("REDLINE_CONFIG_DIR");
    char path[SETTING_MOST_TEXT];
    struct stat st;
    if (folder && !*folder) folder = NULL;
    if (folder && (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)))
        return err_set(err, REDLINE_ARG, "REDLINE_CONFIG_DIR is '%s', which is no folder", folder);
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        int n = snprintf(path, sizeof path, "%s%s%s", folder ? folder : "", folder ? "/" : "", files[i]);
        if (n >= (int)sizeof path)
            return err_set(err, REDLINE_ARG, "REDLINE_CONFIG_DIR has more than %zu bytes", sizeof path);
        TRY(settings_read_yaml(s, path, err));
    }
    return 0;
}

/* "REDLINE__LLM__PRIMARY__N_THREAD" is read as the key llm.primary.n_thread to find its neighbour. */
static int unknown_variable(const char *name, struct redline_err *err)
{
    char key[SETTING_MOST_KEY], near[SETTING_MOST_KEY], meant[SETTING_MOST_KEY];
    size_t n = 0;
    for (const char *p = name + strlen(prefix); *p && n + 1 < sizeof key; p++) {
        bool dot = p[0] == '_' && p[1] == '_';
        key[n++] = dot ? '.' : (char)tolower((unsigned char)*p);
        p += dot;
    }
    key[n] = '\0';
    int i = settings_find(key);
    if (i >= 0 && strcmp(settings_table[i].key, key) != 0)
        return err_set(err, REDLINE_ARG, "%s names a section of settings; one of them is '%s'", name,
                       settings_table[i].key);
    if (!settings_nearest(key, near))
        return err_set(err, REDLINE_ARG, "there is no setting %s; redline config lists them", name);
    settings_variable(near, meant);
    return err_set(err, REDLINE_ARG, "there is no setting %s; did you mean %s?", name, meant);
}

static int read_variable(struct settings *s, const char *name, const char *value, struct redline_err *err)
{
    for (int i = 0; i < N_SETTINGS; i++) {
        char known[SETTING_MOST_KEY];
        struct setting *setting = &s->all[i];
        settings_variable(setting->row->key, known);
        if (strcmp(name, known) != 0) continue;
        TRY(set(setting, name, value, err));
        setting->origin = ORIGIN_ENVIRONMENT;
        snprintf(setting->where, sizeof setting->where, "environment %s", name);
        return 0;
    }
    return unknown_variable(name, err);
}

static int read_environment(struct settings *s, struct redline_err *err)
{
    for (char **entry = environ; *entry; entry++) {
        char name[SETTING_MOST_KEY];
        const char *equals = strchr(*entry, '=');
        if (strncmp(*entry, prefix, strlen(prefix)) != 0 || !equals) continue;
        snprintf(name, sizeof name, "%.*s", (int)MIN(equals - *entry, SETTING_MOST_KEY), *entry);
        TRY(read_variable(s, name, equals + 1, err));
    }
    return 0;
}

/* What the help page says: the value that holds if the flag is not given, and why. */
static void write_help(struct setting *setting)
{
    const char *help = setting->row->help;
    size_t n = strcspn(help, ";"); /* after it stand the meanings of special values */
    char value[160], page[sizeof setting->help];
    settings_text(setting, value, sizeof value);
    if (setting->origin != ORIGIN_DEFAULT)
        snprintf(page, sizeof page, "%s\n(now %s: %.100s)", help, value, setting->where);
    else if (setting->row->kind == OPT_FLAG || !*value)
        snprintf(page, sizeof page, "%s", help);
    else
        snprintf(page, sizeof page, "%.*s (%s)%s", (int)n, help, value, help + n);
    memcpy(setting->help, page, sizeof page);
}

/* ---- commands ---------------------------------------------------------------------------------- */

struct opt settings_opt(struct settings *s, enum setting_id id, void *to)
{
    const struct setting_row *row = &settings_table[id];
    struct setting *setting = &s->all[id];
    setting->call.set = set_from_flag;
    setting->row = row;
    setting->to = to;
    return (struct opt){row->flags, row->value, OPT_CALL, &setting->call, 0, 0, setting->help};
}

static bool takes(const struct opt_command *c, const struct setting *setting)
{
    for (size_t i = 0; i < c->n_options; i++)
        if (c->options[i].to == &setting->call) return true;
    return false;
}

enum { MOST_OPTIONS = 64 }; /* of a command */

/* Flags that people bring from other commands, or from other programs, behind the command's own: what they are told. */
static size_t add_refused(struct settings *s, const struct opt_command *c, struct opt *all)
{
    size_t n = c->n_options;
    assert(n <= MOST_OPTIONS);
    memcpy(all, c->options, n * sizeof *all);
    for (int i = 0; i < N_SETTINGS; i++) {
        struct setting *setting = &s->all[i];
        if (takes(c, setting)) continue;
        snprintf(setting->help, sizeof setting->help,
                 "sets %s, which this command does not use; --help lists what it takes", setting->row->key);
        all[n++] = (struct opt){setting->row->flags, NULL, OPT_REFUSED, NULL, 0, 0, setting->help};
    }
    all[n++] = (struct opt){"-fa, --flash-attn", NULL, OPT_REFUSED, NULL, 0, 0,
                            "has nothing to switch: attention always runs in one pass over the cache; leave it out"};
    return n;
}

static void settle_model(struct setting *model, bool is_word)
{
    const char **path = model->to;
    if ((*path && !**path) || (is_word && model->origin != ORIGIN_FLAG)) *path = NULL;
}

bool settings_parse(struct settings *s, const struct opt_command *c, int argc, char **argv,
                    const char **words, int most_words, int *n_words, int *exit_code)
{
    struct redline_err err = {0};
    struct opt all[MOST_OPTIONS + N_SETTINGS + 1];
    struct opt_command with_refused = *c;
    bind_own(s);
    int status = set_defaults(s, &err);
    if (!status) status = read_files(s, &err);
    if (!status) status = read_environment(s, &err);
    for (int i = 0; i < N_SETTINGS; i++) write_help(&s->all[i]);
    with_refused.options = all;
    with_refused.n_options = add_refused(s, c, all);
    /* a broken file hides neither the help page nor what is wrong with the command line */
    if (cmd_parse(&with_refused, argc, argv, words, most_words, n_words, exit_code)) {
        if (!status) {
            settle_model(&s->all[SETTING_MODEL], *n_words > 0);
            return true;
        }
        *exit_code = cmd_fail(&err);
    }
    settings_free(s);
    return false;
}

void settings_free(struct settings *s)
{
    for (int i = 0; i < N_SETTINGS; i++) {
        mem_free(s->all[i].text);
        s->all[i].text = NULL;
    }
}
