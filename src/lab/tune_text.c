/* tune_text.c - what a sweep found: as a table, as JSON, as settings with their evidence. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>

#include "base.h"
#include "record.h"
#include "tune.h"
#include "yaml_edit.h"

static const char evidence_begin[] = "# redline tune: begin", evidence_end[] = "# redline tune: end";

/* ---- parts --------------------------------------------------------------------------------------- */

/* "0.973 (0.961 to 0.985)", "0.51", "" */
static void ratio_text(const struct tune_candidate *c, bool chosen, char *out, size_t n)
{
    if (chosen)
        snprintf(out, n, "1");
    else if (isnan(c->ratio))
        snprintf(out, n, "-");
    else if (isnan(c->low))
        snprintf(out, n, "%.3f", c->ratio);
    else
        snprintf(out, n, "%.3f (%.3f to %.3f)", c->ratio, c->low, c->high);
}

static void state_text(const struct tune_result *r, size_t i, char *out, size_t n)
{
    const struct tune_candidate *c = &r->all[i];
    if (i == r->best)
        snprintf(out, n, "%s%s", r->decided ? "chosen" : "kept", i == r->standard ? ", the default" : "");
    else if (c->failed[0])
        snprintf(out, n, "cannot be measured: %s", c->failed);
    else if (c->dropped)
        snprintf(out, n, "slower: out after %d%s", c->dropped_after, i == r->standard ? ", the default" : "");
    else
        snprintf(out, n, "%s", i == r->standard ? "the default" : "");
}

static void speed_text(double ts, char *out, size_t n)
{
    if (isnan(ts))
        snprintf(out, n, "-");
    else
        snprintf(out, n, ts < 100 ? "%.2f" : "%.0f", ts);
}

enum { N_COLUMNS = 7, CELL = 224 };

static const char *const heads[N_COLUMNS] = {"n_threads", "n_ubatch", "prompt tok/s", "generation tok/s",
                                             "speed to the chosen (95 %)", "rounds", ""};

static void row_text(const struct tune_result *r, size_t i, char out[N_COLUMNS][CELL])
{
    const struct tune_candidate *c = &r->all[i];
    snprintf(out[0], CELL, "%d", c->n_threads);
    snprintf(out[1], CELL, "%d", c->n_ubatch);
    speed_text(c->prompt_ts, out[2], CELL);
    speed_text(c->decode_ts, out[3], CELL);
    ratio_text(c, i == r->best, out[4], CELL);
    snprintf(out[5], CELL, "%d", c->n_rounds);
    state_text(r, i, out[6], CELL);
}

/* What comes out of a file's name or a command must not end the line of a comment. */
static int add_printable(struct buf *out, const char *s, struct redline_err *err)
{
    size_t first = out->n;
    TRY(buf_append_str(out, str_of(s), err));
    for (size_t i = first; i < out->n; i++)
        if (iscntrl((unsigned char)out->p[i])) out->p[i] = '?';
    return 0;
}

static const char *text_or(const json_t *record, const char *path, const char *other)
{
    const char *s = record_text(record, path);
    return s && *s ? s : other;
}

static int add_machine(struct buf *out, const struct tune_result *r, struct redline_err *err)
{
    double n_logical = record_number(r->record, "machine.n_logical");
    TRY(add_printable(out, text_or(r->record, "machine.cpu", "a processor without a name"), err));
    if (isfinite(n_logical)) TRY(buf_printf(out, err, ", %.0f processors", n_logical));
    double quota = record_number(r->record, "machine.quota");
    if (quota > 0) TRY(buf_printf(out, err, " (a quota of %.2f)", quota));
    double load = record_number(r->record, "machine.load_1m");
    return isfinite(load) ? buf_printf(out, err, ", load %.1f at the end", load) : 0;
}

/* "a request: 512 tokens read, 128 written; 9 rounds, 54 processes, 241 s" */
static int add_method(struct buf *out, const struct tune_result *r, const struct tune_params *p,
                      struct redline_err *err)
{
    return buf_printf(out, err,
                      "a request is %d tokens read and %d written; %zu rounds in drawn order, %zu measurements, %.0f s",
                      p->n_prompt, p->n_gen, r->n_rounds, r->n_measured, r->wall_s);
}

/* "other programs used 1.3 of 2 processors meanwhile"; on a busy machine also what that means. */
static int add_others(struct buf *out, const struct tune_result *r, const char *lead, struct redline_err *err)
{
    if (isnan(r->others)) return 0;
    TRY(buf_printf(out, err, "%sother programs used %.2f of %d processors meanwhile", lead, r->others,
                   r->n_processors));
    if (!r->busy) return buf_printf(out, err, "\n");
    return buf_printf(out, err, " (limit %.2f): this is not the machine's speed, make it again when they have ended\n",
                      r->others_limit);
}

static int add_replay(struct buf *out, const struct tune_result *r, const char *lead, struct redline_err *err)
{
    if (r->full_measured == 0) return 0;
    if (r->replay_rounds == 0)
        return buf_printf(out, err, "%swithout --full it would not have ended in these rounds\n", lead);
    const struct tune_candidate *c = &r->all[r->replay_best];
    return buf_printf(out, err,
                      "%swithout --full: n_threads %d, n_ubatch %d after %zu rounds and %zu of %zu measurements of "
                      "candidates; its speed is %.1f %% of the best of this sweep\n", lead, c->n_threads, c->n_ubatch,
                      r->replay_rounds, r->replay_measured, r->full_measured,
                      r->replay_best == r->best ? 100 : 100 * c->ratio);
}

/* ---- Markdown and JSON ----------------------------------------------------------------------------- */

int tune_to_markdown(const struct tune_result *r, const struct tune_params *p, struct buf *out,
                     struct redline_err *err)
{
    char cells[N_COLUMNS][CELL];
    for (int k = 0; k < N_COLUMNS; k++) TRY(buf_printf(out, err, "| %s ", heads[k]));
    TRY(buf_printf(out, err, "|\n|---:|---:|---:|---:|---|---:|---|\n"));
    for (size_t i = 0; i < r->n; i++) {
        row_text(r, i, cells);
        for (int k = 0; k < N_COLUMNS; k++) TRY(buf_printf(out, err, "| %s ", cells[k]));
        TRY(buf_printf(out, err, "|\n"));
    }
    const struct tune_candidate *c = &r->all[r->best];
    TRY(buf_printf(out, err, "\nn_threads %d, n_ubatch %d: %s\n", c->n_threads, c->n_ubatch, r->why));
    TRY(add_replay(out, r, "", err));
    TRY(add_method(out, r, p, err));
    TRY(buf_printf(out, err, "\n"));
    TRY(add_others(out, r, "", err));
    TRY(add_machine(out, r, err));
    return buf_printf(out, err, "\n");
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *candidate_json(const struct tune_candidate *c)
{
    return json_pack("{s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:b, s:s}", "n_threads", c->n_threads,
                     "n_ubatch", c->n_ubatch, "prompt_ts", number(c->prompt_ts), "decode_ts", number(c->decode_ts),
                     "prompt_ratio", number(c->prompt_ratio), "decode_ratio", number(c->decode_ratio), "ratio",
                     number(c->ratio), "low", number(c->low), "high", number(c->high), "n_rounds", c->n_rounds,
                     "dropped", c->dropped, "failed", c->failed);
}

/* What the rules would have done, or null. */
static json_t *replay_json(const struct tune_result *r)
{
    const struct tune_candidate *c = &r->all[r->replay_best];
    if (r->replay_rounds == 0) return json_null();
    return json_pack("{s:i, s:i, s:I, s:I, s:I}", "n_threads", c->n_threads, "n_ubatch", c->n_ubatch, "n_rounds",
                     (json_int_t)r->replay_rounds, "n_measured", (json_int_t)r->replay_measured, "of",
                     (json_int_t)r->full_measured);
}

static json_t *candidates_json(const struct tune_result *r)
{
    json_t *all = json_array();
    for (size_t i = 0; i < r->n; i++) {
        if (!json_array_append_new(all, candidate_json(&r->all[i]))) continue;
        json_decref(all);
        return NULL;
    }
    return all;
}

int tune_to_json(const struct tune_result *r, const struct tune_params *p, json_t **out, struct redline_err *err)
{
    *out = json_pack("{s:i, s:i, s:b, s:o, s:s, s:f, s:i, s:i, s:I, s:I, s:f, s:o, s:b, s:O?, s:O?, s:o, s:o}",
                     "n_threads", r->all[r->best].n_threads, "n_ubatch", r->all[r->best].n_ubatch, "decided",
                     r->decided, "known_within", number(r->known_within), "why", r->why, "within", p->within,
                     "n_prompt", p->n_prompt, "n_gen", p->n_gen, "n_rounds", (json_int_t)r->n_rounds, "n_measured",
                     (json_int_t)r->n_measured, "wall_s", r->wall_s, "others", number(r->others), "busy", r->busy,
                     "model", record_at(r->record, "model"), "machine", record_at(r->record, "machine"), "candidates",
                     candidates_json(r), "without_full", replay_json(r));
    return *out ? 0 : err_memory(err, 0, "the JSON of a sweep");
}

/* ---- settings --------------------------------------------------------------------------------------- */

static int add_table(struct buf *out, const struct tune_result *r, struct redline_err *err)
{
    static const char *const short_heads[N_COLUMNS] = {"threads", "ubatch", "prompt", "generation",
                                                       "speed to the chosen", "rounds", ""};
    static const int widths[N_COLUMNS] = {7, 6, 9, 10, 24, 6, 0};
    char cells[N_COLUMNS][CELL];
    TRY(buf_printf(out, err, "#"));
    for (int k = 0; k < N_COLUMNS - 1; k++) TRY(buf_printf(out, err, "  %*s", widths[k], short_heads[k]));
    TRY(buf_printf(out, err, "\n"));
    for (size_t i = 0; i < r->n; i++) {
        row_text(r, i, cells);
        TRY(buf_printf(out, err, "#"));
        for (int k = 0; k < N_COLUMNS; k++)
            if (cells[k][0]) TRY(buf_printf(out, err, "  %*s", widths[k], cells[k]));
        TRY(buf_printf(out, err, "\n"));
    }
    return 0;
}

static int add_evidence(struct buf *out, const struct tune_result *r, const struct tune_params *p,
                        const char *command, const char *time, struct redline_err *err)
{
    const struct tune_candidate *c = &r->all[r->best];
    TRY(buf_printf(out, err, "%s (its next run replaces these lines)\n# %s on ", evidence_begin, time));
    TRY(add_machine(out, r, err));
    TRY(buf_printf(out, err, "\n# model: "));
    TRY(add_printable(out, text_or(r->record, "model.file", p->model ? p->model : "the demo model"), err));
    TRY(buf_printf(out, err, ", "));
    TRY(add_printable(out, text_or(r->record, "model.digest", "digest not known"), err));
    TRY(buf_printf(out, err, "\n# made again with: "));
    TRY(add_printable(out, command, err));
    TRY(buf_printf(out, err, "\n# n_threads %d, n_ubatch %d: %s\n# ", c->n_threads, c->n_ubatch, r->why));
    TRY(add_method(out, r, p, err));
    TRY(buf_printf(out, err, "\n"));
    TRY(add_others(out, r, "# ", err));
    TRY(buf_printf(out, err,
                   "# speeds: medians in tok/s; ratios of requests: paired by round, with the 95 %% interval\n"));
    TRY(add_table(out, r, err));
    TRY(add_replay(out, r, "# ", err));
    return buf_printf(out, err, "%s\n", evidence_end);
}

static struct str line_at(struct str s, size_t at)
{
    size_t end = at;
    while (end < s.n && s.p[end] != '\n') end++;
    return (struct str){s.p + at, (end < s.n ? end + 1 : end) - at};
}

/* The bytes of an earlier evidence: comments alone, from its first line to its last; *n 0: there is none. */
static size_t find_evidence(struct str s, size_t *n)
{
    size_t first = SIZE_MAX;
    for (size_t at = 0; at < s.n;) {
        struct str line = line_at(s, at);
        if (str_starts(line, str_of(evidence_begin)))
            first = at;
        else if (!str_starts(line, STR("#")))
            first = SIZE_MAX;
        at += line.n;
        if (first != SIZE_MAX && str_starts(line, str_of(evidence_end))) {
            *n = at - first;
            return first;
        }
    }
    *n = 0;
    return 0;
}

int tune_to_yaml(const struct tune_result *r, const struct tune_params *p, struct str before, const char *path,
                 const char *command, const char *time, struct buf *out, struct redline_err *err)
{
    static const struct str bom = {"\xef\xbb\xbf", 3};
    size_t n_bom = str_starts(before, bom) ? bom.n : 0, n_old;
    size_t old = find_evidence(before, &n_old);
    char n_threads[16], n_ubatch[16];
    if (n_old == 0) old = n_bom;
    snprintf(n_threads, sizeof n_threads, "%d", r->all[r->best].n_threads);
    snprintf(n_ubatch, sizeof n_ubatch, "%d", r->all[r->best].n_ubatch);
    TRY(buf_append(out, before.p, old, err));
    TRY(add_evidence(out, r, p, command, time, err));
    TRY(buf_append(out, before.p + old + n_old, before.n - old - n_old, err));
    TRY(yaml_edit_set(out, "llm.primary.n_ubatch", n_ubatch, path, err));
    return yaml_edit_set(out, "llm.primary.n_threads", n_threads, path, err);
}
