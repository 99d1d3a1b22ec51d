/* layout_fix.c - the user's own words about where blocks run: "ffn_.*_exps=cpu,blk\.0\.=gpu1". */
#include <regex.h>
#include <stdio.h>

#include "base.h"
#include "layout.h"
#include "mem.h"
#include "spread.h"

enum { MOST_PATTERN = 512 };

struct override {
    char pattern[MOST_PATTERN]; /* zero-terminated */
    uint8_t device;
};

/* "cpu", "gpu", "gpu0", ...; false for anything else. */
static bool read_device(uint8_t *out, struct str s)
{
    *out = str_eq(s, STR("cpu")) ? SPREAD_CPU : SPREAD_ANY_GPU;
    if (str_eq(s, STR("cpu")) || str_eq(s, STR("gpu"))) return true;
    if (!str_starts(s, STR("gpu")) || s.n > 5) return false;
    int g = 0;
    for (size_t i = 3; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        g = 10 * g + (s.p[i] - '0');
    }
    *out = (uint8_t)(1 + g);
    return g < SPREAD_MOST_GPUS;
}

/* Reads one PATTERN=DEVICE off the front of *rest.  A pattern may hold commas and equals signs: it ends where a device
 * follows, and behind that a comma or the end. */
static int read_override(struct override *out, const char **rest, struct redline_err *err)
{
    const char *text = *rest;
    for (const char *eq = strchr(text, '='); eq; eq = strchr(eq + 1, '=')) {
        size_t n_device = strcspn(eq + 1, ","), n = (size_t)(eq - text);
        if (!read_device(&out->device, (struct str){eq + 1, n_device})) continue;
        if (n == 0 || n >= sizeof out->pattern)
            return err_set(err, REDLINE_ARG, "the placement '%s' begins with a pattern of %zu bytes, "
                           "it must have 1 to %d", text, n, MOST_PATTERN - 1);
        memcpy(out->pattern, text, n);
        out->pattern[n] = '\0';
        *rest = eq + 1 + n_device + (eq[1 + n_device] == ',');
        return 0;
    }
    return err_set(err, REDLINE_ARG, "the placement '%s' is not PATTERN=DEVICE; devices are cpu, gpu, gpu0, gpu1 "
                   "and so on", text);
}

struct matching {
    const struct layout *layout;
    const struct redline_model *model;
    uint8_t *fixed;
    enum redline_why *why;
    bool matched;      /* the largest tensor of a block */
    struct str other;  /* one that matches and is not */
    int other_row;
};

static void match_block(struct matching *m, int row, const struct override *o)
{
    m->matched = true;
    if (m->why[row] == REDLINE_WHY_PLACEMENT) return; /* the first that is found counts */
    m->fixed[row] = o->device;
    m->why[row] = REDLINE_WHY_PLACEMENT;
}

static void match_tensor(struct matching *m, uint64_t tensor, const struct override *o)
{
    const struct gguf_tensor *t = &m->model->gguf->tensors[tensor];
    const struct layout *b = m->layout;
    int row = b->row_of[m->model->weights.block_of[tensor]], head = b->n - 1;
    if (row != head && str_eq(t->name, b->rows[head].largest)) match_block(m, head, o);
    if (row > 0 && t->bytes == b->rows[row].largest_bytes) {
        match_block(m, row, o);
    } else if (row == 0 && o->device == SPREAD_CPU) {
        m->matched = true; /* where it is anyway */
    } else {
        m->other = t->name;
        m->other_row = row;
    }
}

static int refuse(const struct matching *m, const struct override *o, struct redline_err *err)
{
    if (m->matched) return 0;
    if (m->other.n == 0)
        return err_set(err, REDLINE_ARG, "the placement '%s' matches no tensor of the model", o->pattern);
    if (m->other_row == 0)
        return err_set(err, REDLINE_ARG, "the placement '%s' matches '%.*s' alone, of which single rows are looked up: "
                       "the CPU does that", o->pattern, STR_ARG(m->other));
    return err_set(err, REDLINE_ARG, "the placement '%s' matches '%.*s', which goes where the largest tensor of its "
                   "block goes: that is '%.*s'", o->pattern, STR_ARG(m->other),
                   STR_ARG(m->layout->rows[m->other_row].largest));
}

static int match_all(struct matching *m, const struct override *o, struct redline_err *err)
{
    regex_t regex;
    char name[256], why[128];
    int status = regcomp(&regex, o->pattern, REG_EXTENDED | REG_NOSUB);
    if (status) {
        regerror(status, &regex, why, sizeof why);
        return err_set(err, REDLINE_ARG, "the placement '%s' is no regular expression: %s", o->pattern, why);
    }
    for (uint64_t i = 0; i < m->model->gguf->n_tensors; i++) {
        if (m->model->weights.block_of[i] < 0) continue;
        snprintf(name, sizeof name, "%.*s", STR_ARG(m->model->gguf->tensors[i].name));
        if (regexec(&regex, name, 0, NULL, 0) == 0) match_tensor(m, i, o);
    }
    regfree(&regex);
    return refuse(m, o, err);
}

int layout_fix(uint8_t *fixed, enum redline_why *why, const struct layout *layout, const struct redline_model *model,
               const char *placement, int n_cpu_moe, struct redline_err *err)
{
    for (int i = 0; i < layout->n; i++) {
        bool experts = layout->rows[i].experts && layout->rows[i].layer < n_cpu_moe;
        fixed[i] = experts || i == 0 ? SPREAD_CPU : SPREAD_FREE;
        why[i] = i == 0 ? REDLINE_WHY_ROWS : experts ? REDLINE_WHY_CPU_MOE : REDLINE_WHY_NOT_ASKED;
    }
    for (const char *rest = placement ? placement : ""; *rest;) {
        struct override o;
        struct matching m = {.layout = layout, .model = model, .fixed = fixed, .why = why};
        TRY(read_override(&o, &rest, err));
        TRY(match_all(&m, &o, err));
    }
    return 0;
}
