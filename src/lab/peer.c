/* peer.c - the record of a measurement of somebody else: what is the same whoever it is. */
#include "peer.h"

#include <string.h>

#include "base.h"
#include "digest.h"
#include "facts.h"
#include "mem.h"
#include "peer_call.h"
#include "record.h"
#include "redline_probe.h"

static bool is_server(const char *command)
{
    return strncmp(command, "http://", 7) == 0 || strncmp(command, "https://", 8) == 0;
}

/* ---- what was measured ------------------------------------------------------------------------------ */

static int set_model_facts(json_t *record, const struct peer_call *call, const struct redline_file_facts *file,
                           struct redline_err *err)
{
    char digest[DIGEST_TEXT];
    const char *path = call->model_path, *slash = strrchr(path, '/');
    TRY(record_set(record, "model.file", json_string(slash ? slash + 1 : path), err));
    if (is_server(call->command)) return 0; /* it says itself what it serves, and we cannot look */
    TRY(digest_files(digest, &path, 1, call->task.digest_cache, err));
    if (call->task.model) TRY(record_set(record, "model.path", json_string(call->task.model), err));
    TRY(file->n_files == 1 ? record_set(record, "model.digest", json_string(digest), err)
                           : record_miss(record, "model.digest", "the model has several files", err));
    TRY(record_set(record, "model.bytes", json_integer((json_int_t)file->file_bytes), err));
    TRY(record_set(record, "model.architecture", json_string(file->architecture), err));
    TRY(record_set(record, "model.label", json_string(file->name), err));
    return record_set(record, "model.n_parameters", json_integer((json_int_t)file->n_parameters), err);
}

static int set_machine(json_t *record, struct redline_err *err)
{
    struct facts *facts = mem_new(1, sizeof *facts); /* large */
    if (!facts) return err_memory(err, sizeof *facts, "facts");
    facts_read(facts, NULL);
    int status = facts_to_record(facts, record, err);
    mem_free(facts);
    return status;
}

static int set_workload(json_t *record, const struct task_workload *w, struct redline_err *err)
{
    json_t *workload = json_pack("{s:s?, s:s, s:i, s:i, s:i, s:s?, s:s, s:i, s:i, s:s, s:n, s:I}", "name", w->name,
                                 "kind", task_kind_name(w->kind), "n_prompt", w->n_prompt, "n_gen", w->n_gen,
                                 "n_depth", w->n_depth, "document", w->document, "split", task_split_name(w->split),
                                 "n_requests", MAX(w->n_requests, 1), "concurrency", w->concurrency, "arrival",
                                 task_arrival_name(w->arrival), "rate", "seed", (json_int_t)w->seed);
    TRY(record_set(record, "workload", workload, err));
    if (!w->name) TRY(record_say(record, "workload.name", "it has no name", err));
    if (!w->document) TRY(record_say(record, "workload.document", "random tokens", err));
    if (w->rate > 0) return record_set(record, "workload.rate", json_real(w->rate), err);
    return record_say(record, "workload.rate", "requests follow one another", err);
}

static int set_identity(json_t *record, const struct peer_call *call, struct redline_err *err)
{
    char started[CLOCK_UTC], id[RECORD_ID];
    record_name(started, id);
    TRY(record_set(record, "version", json_integer(RECORD_VERSION), err));
    TRY(record_set(record, "id", json_string(id), err));
    TRY(record_set(record, "started", json_string(started), err));
    TRY(record_set(record, "program.name", json_string(call->name), err));
    TRY(record_set(record, "program.contestant", json_string(call->name), err));
    return record_set(record, "program.command", json_string(call->command), err);
}

static int set_task(json_t *record, const struct peer_call *call, struct redline_err *err)
{
    const json_t *json = call->task.json;
    json_t *experiment = json_object_get(json, "experiment"), *requested = json_object_get(json, "requested");
    if (!json_is_object(requested)) requested = json_object_get(json, "settings");
    TRY(json_is_object(experiment) ? record_set(record, "experiment", json_deep_copy(experiment), err)
                                   : record_miss(record, "experiment", "it was measured by itself", err));
    TRY(record_set(record, "settings.requested",
                   json_is_object(requested) ? json_deep_copy(requested) : json_object(), err));
    return set_workload(record, &call->task.workload, err);
}

/* ---- the whole -------------------------------------------------------------------------------------- */

static int measure(struct peer_call *call, const struct redline_file_facts *file, struct redline_err *err)
{
    json_t *record = call->record;
    TRY(set_identity(record, call, err));
    TRY(set_task(record, call, err));
    TRY(set_model_facts(record, call, file, err));
    TRY(set_machine(record, err));
    TRY(record_set(record, "load", json_string("warm"), err)); /* both kinds run before they are timed */
    TRY(record_set(record, "derived", json_object(), err));
    TRY(is_server(call->command) ? peer_server(call, err) : peer_bench(call, err));
    if (!json_object_get(record, "missing")) TRY(record_set(record, "missing", json_object(), err));
    TRY(record_complete(record, is_server(call->command) ? "the server does not say" : "the program does not say",
                        err));
    return record_check(record, err);
}

int peer_measure(json_t **record, const char *name, const char *command, const json_t *task, double timeout_s,
                 struct redline_err *err)
{
    struct peer_call call = {.name = name, .command = command, .timeout_s = timeout_s};
    struct redline_model *model = NULL;
    struct redline_file_facts file;
    char *path = NULL;
    *record = NULL;
    TRY(task_read(&call.task, task, err));
    int status = redline_model_open(&model, call.task.model, err);
    if (!status) status = redline_file_path(model, 0, &path, err);
    if (!status) {
        redline_file_facts(model, &file);
        call.model_path = path;
        call.record = json_object();
        status = call.record ? measure(&call, &file, err) : err_memory(err, 4096, "a record");
    }
    redline_model_close(&model);
    redline_free(path);
    if (status) json_decref(call.record);
    else *record = call.record;
    return status;
}
