/* conduct.c - the run of an experiment: series, tasks, workers and peers, records of what could not be measured. */
#include "conduct.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base.h"
#include "clock.h"
#include "facts.h"
#include "mem.h"
#include "peer.h"
#include "proc.h"
#include "record.h"

enum { PEER_TIMEOUT_S = 3600, MOST_CONTESTANTS = 16 };

struct run {
    const struct experiment *e;
    const struct conduct_params *params;
    struct store *store;
    struct conduct_result *result;
    const char *names[MOST_CONTESTANTS];
    struct conduct_who who;
    json_t *peers;                /* {name: command}; NULL: none */
    struct conduct_tally *tally;  /* of the records so far */
    double *spent_s;              /* [n_cells, n_contestants], by this run */
    size_t *n_spent;
    uint64_t began_ns;
    char refusal[320];            /* why no GPU is to be had; "": one is */
};

/* ---- series ---------------------------------------------------------------------------------- */

static bool has_text(const json_t *record, const char *path, const char *text)
{
    const char *s = record_text(record, path);
    return s && strcmp(s, text) == 0;
}

/* Records of one series into result->records. */
static int take_series(struct run *r, const char *series, struct redline_err *err)
{
    const json_t *record;
    size_t i;
    json_array_clear(r->result->records);
    snprintf(r->result->series, sizeof r->result->series, "%s", series);
    json_array_foreach (store_records(r->store), i, record)
        if (has_text(record, "experiment.series", series) && json_array_append(r->result->records, (json_t *)record))
            return err_memory(err, 1, "records");
    r->result->n_before = json_array_size(r->result->records);
    return 0;
}

static int count(struct run *r, struct redline_err *err)
{
    mem_free(r->tally);
    r->tally = NULL;
    return conduct_tally(&r->tally, r->e, r->result->records, &r->who, err);
}

static bool has_same_peers(const struct run *r, const json_t *record)
{
    const json_t *peers = record_at(record, "experiment.peers");
    return peers && r->peers ? json_equal(peers, r->peers) : !peers && !r->peers;
}

/* The last series of these words if it is not complete, else a new one. */
static int find_series(struct run *r, struct redline_err *err)
{
    char now[CLOCK_UTC];
    struct conduct_step next;
    const char *last = NULL, *name;
    const json_t *record;
    size_t i;
    json_array_foreach (store_records(r->store), i, record) {
        name = record_text(record, "experiment.name");
        if (name && strcmp(name, r->e->name) != 0)
            return err_set(err, REDLINE_ARG, "the store holds records of the experiment '%s', not of '%s'", name,
                           r->e->name);
        if (has_same_peers(r, record) && has_text(record, "experiment.digest", r->e->digest))
            last = record_text(record, "experiment.series");
    }
    if (last && !r->params->again) {
        TRY(take_series(r, last, err));
        TRY(count(r, err));
        if (conduct_next(&next, r->e, r->tally, &r->who)) return 0;
    }
    clock_utc(now, true);
    TRY(take_series(r, now, err));
    return count(r, err);
}

/* What must be the same in all records of a series that belong to one cell, and in what words it differs. */
static const struct {
    const char *path, *what;
} constants[] = {
    {"model.digest", "another model file"},
    {"machine.id", "another machine"},
    {"program.version", "another version of the program"},
    {"program.commit", "another version of the program"},
    {"program.build", "another build of the program"},
};

static int check_constants(const struct run *r, const json_t *fresh, struct redline_err *err)
{
    const json_t *record;
    size_t i;
    json_array_foreach (r->result->records, i, record) {
        if (record_number(record, "experiment.cell") != record_number(fresh, "experiment.cell") ||
            !has_text(record, "program.contestant", record_text(fresh, "program.contestant")))
            continue;
        for (size_t k = 0; k < COUNT_OF(constants); k++) {
            const char *a = record_text(record, constants[k].path), *b = record_text(fresh, constants[k].path);
            if (a && b && strcmp(a, b) != 0)
                return err_set(err, REDLINE_ARG,
                               "the series of %s was begun with %s (%s %.40s, now %.40s); --again begins another",
                               r->result->series, constants[k].what, constants[k].path, a, b);
        }
    }
    return 0;
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static int make_task(const struct run *r, const struct conduct_step *step, json_t **out, struct redline_err *err)
{
    struct experiment_cell cell = experiment_cell(r->e, step->cell);
    json_t *task = json_deep_copy(cell.task), *x = json_object_get(task, "experiment");
    json_t *more = json_pack("{s:s,s:s,s:I,s:I,s:s*}", "digest", r->e->digest, "series", r->result->series,
                             "repetition", (json_int_t)step->repetition, "order",
                             (json_int_t)json_array_size(r->result->records), "of", cell.of);
    int failed = !task || !more || json_object_update(x, more) ||
                 (r->peers && json_object_set(x, "peers", r->peers)) ||
                 json_object_set_new(task, "started_ns", json_integer((json_int_t)clock_ns()));
    json_decref(more);
    if (failed) json_decref(task);
    *out = failed ? NULL : task;
    return failed ? err_memory(err, 1, "a task") : 0;
}

/* What the workload does without. */
static int explain_nulls(json_t *record, struct redline_err *err)
{
    json_t *workload = json_object_get(record, "workload"), *value;
    const char *key;
    json_object_foreach (workload, key, value) {
        char path[64];
        snprintf(path, sizeof path, "workload.%s", key);
        if (json_is_null(value)) TRY(record_say(record, path, "the workload has none", err));
    }
    return 0;
}

/* A record of what could not be measured. */
static int make_failure(const struct run *r, const struct conduct_step *step, const json_t *task, const char *sentence,
                        json_t **out, struct redline_err *err)
{
    char started[CLOCK_UTC], id[RECORD_ID];
    struct facts *facts = mem_new(1, sizeof *facts); /* large */
    const char *model = json_string_value(json_object_get(task, "model"));
    if (!facts) return err_memory(err, sizeof *facts, "facts");
    record_name(started, id);
    facts_read(facts, NULL);
    json_t *record = json_pack(
        "{s:i,s:s,s:s,s:O,s:{s:s,s:s},s:{s:s},s:{s:O},s:O,s:O,s:{},s:s}", "version", RECORD_VERSION, "id", id,
        "started", started, "experiment", json_object_get(task, "experiment"), "program", "name",
        r->names[step->contestant], "contestant", r->names[step->contestant], "model", "file",
        model ? model : "demo.gguf", "settings", "requested", json_object_get(task, "requested"), "workload",
        json_object_get(task, "workload"), "load", json_object_get(task, "load"), "missing", "failed", sentence);
    int status = record ? facts_to_record(facts, record, err) : err_memory(err, 1, "a record");
    if (!status) status = explain_nulls(record, err);
    if (!status) status = record_complete(record, "the measurement failed", err);
    mem_free(facts);
    if (status) json_decref(record);
    *out = status ? NULL : record;
    return status;
}

/* ---- workers --------------------------------------------------------------------------------- */

/* What a program said last, without its name and the line's end. */
static void last_sentence(struct str text, char *out, size_t n)
{
    while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r')) text.n--;
    const char *line = text.p + text.n;
    while (line > text.p && line[-1] != '\n') line--;
    struct str s = {line, (size_t)(text.p + text.n - line)};
    if (str_starts(s, STR("redline: "))) s = (struct str){s.p + 9, s.n - 9};
    snprintf(out, n, "%.*s", STR_ARG(s));
}

/* Its record, or in `sentence` why there is none. */
static int read_answer(const struct proc_result *p, json_t **record, char *sentence, size_t n)
{
    json_error_t problem;
    *record = NULL;
    if (p->exit_code < 0) {
        snprintf(sentence, n, "the measuring process was ended by signal %d%s", p->signal,
                 p->signal == 9 ? ", as the system does where memory runs out" : "");
    } else if (p->exit_code > 0) {
        last_sentence(buf_str(&p->error), sentence, n);
        if (!*sentence)
            snprintf(sentence, n, "the measuring process ended with exit code %d and said nothing", p->exit_code);
    } else {
        *record = json_loadb(p->out.p ? p->out.p : "", p->out.n, JSON_REJECT_DUPLICATES, &problem);
        if (!*record) snprintf(sentence, n, "the measuring process wrote no record: %s", problem.text);
    }
    return *record ? 0 : REDLINE_FORMAT;
}

/* One measurement by this program itself.  *record: NULL when `sentence` says why it failed, or when it was stopped. */
static int ask_worker(const struct run *r, const json_t *task, json_t **record, char *sentence, size_t n,
                      struct redline_err *err)
{
    const char *mask = json_string_value(json_object_get(json_object_get(task, "settings"), "cpu_mask"));
    char variable[128];
    const char *const argv[] = {r->params->program, "lab", "worker", NULL};
    const char *const environment[] = {mask && *mask ? variable : NULL, NULL};
    struct proc_result answer = {0};
    snprintf(variable, sizeof variable, "REDLINE_CPU=%s", mask ? mask : "");
    char *text = json_dumps(task, JSON_COMPACT);
    if (!text) return err_memory(err, 1, "a task");
    const struct proc_params p = {.argv = argv, .environment = environment, .input = str_of(text),
                                  .stop = r->params->stop};
    int status = proc_run(&answer, &p, err);
    if (!status && !answer.stopped) read_answer(&answer, record, sentence, n);
    proc_result_free(&answer);
    free(text);
    return status;
}

static bool is_stopped(const struct run *r)
{
    return r->params->stop && *r->params->stop;
}

static int ask_peer(const struct run *r, size_t peer, const json_t *task, json_t **record, char *sentence, size_t n,
                    struct redline_err *err)
{
    struct redline_err why = {0};
    const struct conduct_peer *p = &r->params->peers[peer];
    int status = peer_measure(record, p->name, p->command, task, PEER_TIMEOUT_S, &why);
    if (status == REDLINE_MEMORY) return err_set(err, status, "%s", why.message);
    if (status) {
        *record = NULL;
        snprintf(sentence, n, "%s", why.message);
    }
    return 0;
}

/* *record: NULL when it was stopped. */
static int measure(struct run *r, const struct conduct_step *step, json_t **record, struct redline_err *err)
{
    char sentence[sizeof err->message] = "";
    json_t *task = NULL;
    struct experiment_cell cell = experiment_cell(r->e, step->cell);
    *record = NULL;
    TRY(make_task(r, step, &task, err));
    int status = 0;
    if (cell.require && *r->refusal) snprintf(sentence, sizeof sentence, "%s", r->refusal);
    else if (step->contestant == 0) status = ask_worker(r, task, record, sentence, sizeof sentence, err);
    else status = ask_peer(r, step->contestant - 1, task, record, sentence, sizeof sentence, err);
    if (is_stopped(r)) { /* a failure may be due to that */
        json_decref(*record);
        *record = NULL;
    } else if (!status && !*record) {
        status = make_failure(r, step, task, sentence, record, err);
    }
    json_decref(task);
    return status;
}

/* ---- progress -------------------------------------------------------------------------------- */

static double mean_s(const struct run *r, size_t from, size_t n)
{
    double sum = 0;
    size_t times = 0;
    for (size_t i = from; i < from + n; i++) {
        sum += r->spent_s[i];
        times += r->n_spent[i];
    }
    return times ? sum / (double)times : NAN;
}

/* A cell never measured yet by this run takes as long as the others on the whole. */
static void estimate(const struct run *r, struct conduct_progress *p)
{
    size_t n_who = r->who.n, n = experiment_n_cells(r->e) * n_who;
    double whole = mean_s(r, 0, n);
    for (size_t i = 0; i < n; i++) {
        const struct conduct_tally *t = &r->tally[i];
        double own = mean_s(r, i, 1);
        size_t more = t->settled ? 0 : t->n_expected - t->n;
        p->n_expected += t->settled ? t->n + t->failed : t->n_expected;
        if (more) p->left_s += (double)more * (isfinite(own) ? own : whole);
    }
}

static void count_cells(const struct run *r, size_t *n_settled)
{
    *n_settled = 0;
    for (size_t i = 0; i < experiment_n_cells(r->e); i++) {
        bool settled = true;
        for (size_t c = 0; c < r->who.n; c++) settled &= r->tally[i * r->who.n + c].settled;
        *n_settled += settled;
    }
}

static void tell(const struct run *r, const struct conduct_step *step)
{
    char now[700];
    struct conduct_progress p = {.n_done = json_array_size(r->result->records), .n_cells = experiment_n_cells(r->e)};
    if (!r->params->progress) return;
    struct experiment_cell cell = experiment_cell(r->e, step->cell);
    snprintf(now, sizeof now, "%s%s%s", cell.label, r->who.n > 1 ? " | " : "",
             r->who.n > 1 ? r->names[step->contestant] : "");
    p.now = now;
    count_cells(r, &p.n_settled);
    estimate(r, &p);
    r->params->progress(r->params->user, &p);
}

/* ---- the run --------------------------------------------------------------------------------- */

/* Why no GPU is to be had, or "". */
static int find_refusal(char *out, size_t n, struct redline_err *err)
{
    struct facts *facts = mem_new(1, sizeof *facts); /* large */
    if (!facts) return err_memory(err, sizeof *facts, "facts");
    struct redline_err refusal = {0};
    redline_gpu_check(&refusal);
    facts_read(facts, NULL);
    if (!facts_gpu_refusal(facts, redline_cuda_version(), redline_gpu_count(), refusal.message, out, n)) out[0] = '\0';
    mem_free(facts);
    return 0;
}

int conduct_check(const struct experiment *e, size_t n_peers, struct redline_err *err)
{
    char refusal[320] = "";
    if (e->peers && !e->parts && n_peers == 0)
        return err_set(err, REDLINE_ARG, "the experiment %s needs others to be measured beside: --peer NAME=COMMAND",
                       e->name);
    if (!e->require) return 0;
    TRY(find_refusal(refusal, sizeof refusal, err));
    return *refusal ? err_set(err, REDLINE_DEVICE, "the experiment %s needs a GPU: %s", e->name, refusal) : 0;
}

static int check_peers(struct run *r, struct redline_err *err)
{
    const struct conduct_params *p = r->params;
    if (p->n_peers + 1 > MOST_CONTESTANTS)
        return err_set(err, REDLINE_ARG, "%zu peers, the limit is %d", p->n_peers, MOST_CONTESTANTS - 1);
    r->names[0] = "redline";
    for (size_t i = 0; i < p->n_peers; i++) {
        r->names[i + 1] = p->peers[i].name;
        for (size_t k = 0; k <= i; k++)
            if (strcmp(r->names[k], r->names[i + 1]) == 0)
                return err_set(err, REDLINE_ARG, "two contestants are called '%s'", r->names[k]);
    }
    r->who = (struct conduct_who){r->names, p->n_peers + 1};
    r->peers = p->n_peers ? json_object() : NULL;
    for (size_t i = 0; i < p->n_peers; i++)
        if (json_object_set_new(r->peers, p->peers[i].name, json_string(p->peers[i].command)))
            return err_memory(err, 1, "the names of peers");
    return 0;
}

static int begin(struct run *r, struct redline_err *err)
{
    size_t n = experiment_n_cells(r->e) * (r->params->n_peers + 1);
    TRY(conduct_check(r->e, r->params->n_peers, err));
    TRY(check_peers(r, err));
    TRY(find_refusal(r->refusal, sizeof r->refusal, err));
    r->result->records = json_array();
    r->spent_s = mem_new(n, sizeof *r->spent_s);
    r->n_spent = mem_new(n, sizeof *r->n_spent);
    if (!r->result->records || !r->spent_s || !r->n_spent) return err_memory(err, n * 16, "the times of an experiment");
    r->began_ns = clock_ns();
    return find_series(r, err);
}

static double elapsed_s(const struct run *r)
{
    return (double)(clock_ns() - r->began_ns) / 1e9;
}

static int step_on(struct run *r, const struct conduct_step *step, struct redline_err *err)
{
    json_t *record = NULL;
    uint64_t before = clock_ns();
    tell(r, step);
    TRY(measure(r, step, &record, err));
    if (!record) return 0;
    int status = check_constants(r, record, err);
    if (!status) status = store_append(r->store, record, err);
    if (!status && json_array_append(r->result->records, record)) status = err_memory(err, 1, "a record");
    json_decref(record);
    TRY(status);
    size_t i = step->cell * r->who.n + step->contestant;
    r->spent_s[i] += (double)(clock_ns() - before) / 1e9;
    r->n_spent[i]++;
    r->result->n_new++;
    return count(r, err);
}

static int go(struct run *r, struct redline_err *err)
{
    struct conduct_step step;
    while (conduct_next(&step, r->e, r->tally, &r->who)) {
        r->result->end = is_stopped(r) ? CONDUCT_STOPPED : CONDUCT_BUDGET;
        if (is_stopped(r) || (r->params->budget_s > 0 && elapsed_s(r) >= r->params->budget_s)) return 0;
        TRY(step_on(r, &step, err));
    }
    r->result->end = CONDUCT_DONE;
    return 0;
}

static void sum_up(const struct run *r)
{
    struct conduct_result *out = r->result;
    out->n_cells = experiment_n_cells(r->e);
    count_cells(r, &out->n_settled);
    for (size_t i = 0; i < out->n_cells; i++) {
        struct experiment_cell cell = experiment_cell(r->e, i);
        bool failed = false, wide = false, applies = false;
        for (size_t c = 0; c < r->who.n; c++) {
            const struct conduct_tally *t = &r->tally[i * r->who.n + c];
            failed |= t->failed;
            applies |= t->applies;
            wide |= t->applies && !t->failed && t->settled && cell.width > 0 &&
                    !(t->high - t->low <= cell.width * fabs(t->median));
        }
        out->n_failed += failed;
        out->n_wide += wide;
        out->n_left_out += !applies;
    }
    const json_t *record;
    size_t i;
    json_array_foreach (out->records, i, record)
        if (!out->failure) out->failure = record_text(record, "failed");
}

int conduct_run(struct conduct_result *result, const struct experiment *e, struct store *store,
                const struct conduct_params *params, struct redline_err *err)
{
    struct run r = {.e = e, .params = params, .store = store, .result = result};
    *result = (struct conduct_result){0};
    int status = begin(&r, err);
    if (!status) status = go(&r, err);
    if (r.tally) sum_up(&r);
    json_decref(r.peers);
    mem_free(r.tally);
    mem_free(r.spent_s);
    mem_free(r.n_spent);
    return status;
}

void conduct_result_free(struct conduct_result *r)
{
    json_decref(r->records);
    *r = (struct conduct_result){0};
}
