/* import.c - rows of other tools to records: for each format, what its words are called here (import.h). */
#include "import.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "clock.h"
#include "metric.h"
#include "record.h"

/* A member of a row as a member of the record; as it is, but for the kinds that differ. */
struct word {
    const char *from, *to;
};

static const struct word of_llama_bench[] = {
    {"build_commit", "program.commit"},
    {"cpu_info", "machine.cpu"},
    {"model_filename", "model.file"},
    {"model_type", "model.type"},
    {"model_size", "model.weight_bytes"},
    {"model_n_params", "model.n_parameters"},
    {"n_batch", "settings.effective.n_batch"},
    {"n_ubatch", "settings.effective.n_ubatch"},
    {"n_threads", "settings.effective.n_threads"},
    {"type_k", "settings.effective.type_k"},
    {"type_v", "settings.effective.type_v"},
    {"n_gpu_layers", "settings.effective.n_gpu_layers"},
    {"n_ctx", "settings.effective.n_ctx"},
    {"n_prompt", "workload.n_prompt"},
    {"n_gen", "workload.n_gen"},
    {"n_depth", "workload.n_depth"},
};

static const struct word of_steps[] = { /* llama-batched-bench, llama-sweep-bench */
    {"n_batch", "settings.effective.n_batch"},
    {"n_ubatch", "settings.effective.n_ubatch"},
    {"n_threads", "settings.effective.n_threads"},
    {"n_gpu_layers", "settings.effective.n_gpu_layers"},
    {"n_kv_max", "settings.effective.n_ctx"},
    {"pp", "workload.n_prompt"},
    {"tg", "workload.n_gen"},
};

static const struct word of_vllm[] = {
    {"model_id", "model.file"},
    {"num_prompts", "workload.n_requests"},
    {"max_concurrency", "workload.concurrency"},
};

static double number(const json_t *row, const char *name)
{
    return record_number(row, name);
}

static int set_text(json_t *record, const char *path, const char *text, struct redline_err *err)
{
    return record_set(record, path, json_string(text), err);
}

static int set_integer(json_t *record, const char *path, double x, struct redline_err *err)
{
    return isfinite(x) ? record_set(record, path, json_integer((json_int_t)x), err) : 0;
}

static int copy_words(json_t *record, const json_t *row, const struct word *words, size_t n, struct redline_err *err)
{
    for (size_t i = 0; i < n; i++) {
        json_t *v = json_object_get(row, words[i].from);
        if (v && !json_is_null(v)) TRY(record_set(record, words[i].to, json_deep_copy(v), err));
    }
    return 0;
}

/* What is known of every import.  name: the tool; started: a time as it wrote it, or NULL: now. */
static int begin(json_t **out, const json_t *row, const char *name, const char *started, size_t sample,
                 struct redline_err *err)
{
    char id[96], now[CLOCK_UTC];
    clock_utc(now, false);
    if (!started) started = now;
    snprintf(id, sizeof id, "%.40s-%.0f-%zu", started, number(row, "_line"), sample);
    json_t *record = *out = json_pack("{s:i, s:s, s:s, s:{}, s:{s:s, s:s}, s:{}, s:{s:n}, s:{s:s}, s:{}}", "version",
                                      RECORD_VERSION, "id", id, "started", started, "missing", "program", "name", name,
                                      "contestant", name, "model", "settings", "requested", "workload", "kind",
                                      "generate", "derived");
    if (!record) return err_set(err, REDLINE_MEMORY, "no memory for a record");
    TRY(record_say(record, "settings.requested", "the tool does not say", err));
    TRY(set_text(record, "load", "warm", err));
    return record_miss(record, "workload.document", "random tokens", err);
}

static int end(json_t *records, json_t *record, const char *tool, struct redline_err *err)
{
    char reason[96];
    snprintf(reason, sizeof reason, "%s does not say", tool);
    TRY(record_complete(record, reason, err));
    TRY(record_check(record, err));
    return json_array_append(records, record) ? err_set(err, REDLINE_MEMORY, "no memory for records") : 0;
}

/* Flags that tools write as 0, 1 or true; -1 is "auto", and nobody knows what came of it. */
static int set_flag(json_t *record, const char *path, const json_t *v, struct redline_err *err)
{
    if (!v) return 0;
    if (json_is_number(v) && json_number_value(v) < 0)
        return record_miss(record, path, "it was left to the program, which does not say what it chose", err);
    return record_set(record, path, json_boolean(json_is_true(v) || json_number_value(v) > 0), err);
}

/* ---- llama-bench ----------------------------------------------------------------------------- */

/* Upstream has no word for itself, ik_llama.cpp has fields of its own. */
static const char *who(const json_t *row)
{
    const char *engine = record_text(row, "engine");
    if (engine) return engine;
    return json_object_get(row, "mla_attn") || json_object_get(row, "fused_moe") ? "ik_llama.cpp" : "llama.cpp";
}

/* ik_llama.cpp tells a depth by its `test` alone: "tg8@pp16" is 8 tokens after 16. */
static int set_depth(json_t *record, const json_t *row, struct redline_err *err)
{
    const char *test = record_text(row, "test");
    double n_prompt = number(row, "n_prompt"), n_gen = number(row, "n_gen");
    char behind[64];
    snprintf(behind, sizeof behind, "tg%.0f@pp%.0f", n_gen, n_prompt);
    if (test && strcmp(test, behind) == 0) {
        TRY(set_integer(record, "workload.n_prompt", 0, err));
        return set_integer(record, "workload.n_depth", n_prompt, err);
    }
    return json_object_get(row, "n_depth") ? 0 : set_integer(record, "workload.n_depth", 0, err);
}

static int set_test(json_t *record, struct redline_err *err)
{
    char name[96];
    double n_prompt = number(record, "workload.n_prompt"), n_gen = number(record, "workload.n_gen");
    double n_depth = number(record, "workload.n_depth");
    int n = 0;
    if (n_prompt > 0) n = snprintf(name, sizeof name, "pp%.0f", n_prompt);
    if (n_gen > 0) n += snprintf(name + n, sizeof name - (size_t)n, "%stg%.0f", n ? "+" : "", n_gen);
    if (n_depth > 0) snprintf(name + n, sizeof name - (size_t)n, " @ d%.0f", n_depth);
    TRY(set_text(record, "workload.name", name, err));
    TRY(set_integer(record, "workload.n_requests", 1, err));
    TRY(set_integer(record, "workload.concurrency", 1, err));
    return set_text(record, "workload.arrival", "closed", err);
}

/* `pp` is our prefill; `tg` has no prompt, every one of its tokens is decoded like one after the first. */
static int derive_bench(json_t *record, double ns, struct redline_err *err)
{
    double n_prompt = number(record, "workload.n_prompt"), n_gen = number(record, "workload.n_gen"), ms = ns / 1e6;
    if (n_gen == 0) {
        TRY(record_derive(record, "prefill_ms", ms, NULL, err));
        return record_derive(record, "prefill_ts", 1e3 * n_prompt / ms, NULL, err);
    }
    if (n_prompt == 0) return record_derive(record, "decode_ts", 1e3 * n_gen / ms, NULL, err);
    TRY(record_derive(record, "wall_ms", ms, NULL, err));
    TRY(record_derive(record, "output_ts", 1e3 * n_gen / ms, NULL, err));
    return record_derive(record, "total_ts", 1e3 * (n_prompt + n_gen) / ms, NULL, err);
}

static int bench_sample(json_t *records, const json_t *row, size_t sample, double ns, struct redline_err *err)
{
    char version[32];
    const char *name = who(row), *gpu = record_text(row, "gpu_info");
    json_t *record;
    int status = begin(&record, row, name, record_text(row, "test_time"), sample, err);
    if (!status) status = copy_words(record, row, of_llama_bench, COUNT_OF(of_llama_bench), err);
    snprintf(version, sizeof version, "%.0f", number(row, "build_number"));
    if (!status && isfinite(number(row, "build_number"))) status = set_text(record, "program.version", version, err);
    if (!status && gpu && !*gpu) status = set_text(record, "settings.effective.device", "cpu", err);
    if (!status) status = set_flag(record, "settings.effective.flash_attn", json_object_get(row, "flash_attn"), err);
    if (!status) status = set_flag(record, "settings.effective.exact", json_object_get(row, "exact"), err);
    if (!status) status = set_depth(record, row, err);
    if (!status) status = set_test(record, err);
    if (!status) status = derive_bench(record, ns, err);
    if (!status) status = end(records, record, strcmp(name, "redline") == 0 ? "redline bench" : "llama-bench", err);
    json_decref(record);
    return status;
}

static int from_llama_bench(json_t *records, const json_t *row, struct redline_err *err)
{
    const json_t *samples = json_object_get(row, "samples_ns"), *sample;
    size_t i;
    if (!(number(row, "n_prompt") + number(row, "n_gen") > 0) || !(number(row, "avg_ns") > 0))
        return err_set(err, REDLINE_FORMAT, "there is no test in n_prompt and n_gen, or no time in avg_ns");
    if (json_array_size(samples) == 0) return bench_sample(records, row, 0, number(row, "avg_ns"), err);
    json_array_foreach(samples, i, sample) {
        double ns = json_number_value(sample);
        if (!(ns > 0)) return err_set(err, REDLINE_FORMAT, "samples_ns holds a %g", ns);
        TRY(bench_sample(records, row, i, ns, err));
    }
    return 0;
}

/* ---- llama-batched-bench, llama-sweep-bench ---------------------------------------------------- */

static int derive_steps(json_t *record, const json_t *row, struct redline_err *err)
{
    double pp = number(row, "pp"), tg = number(row, "tg"), t_pp = number(row, "t_pp"), t_tg = number(row, "t_tg");
    double pl = json_object_get(row, "pl") ? number(row, "pl") : 1, wall = t_pp + t_tg;
    bool shared = number(row, "is_pp_shared") > 0;
    if (t_pp > 0) {
        TRY(record_derive(record, "prefill_ms", 1e3 * t_pp, NULL, err));
        TRY(record_derive(record, "prefill_ts", pp / t_pp, NULL, err));
    }
    if (t_tg > 0) TRY(record_derive(record, "decode_ts", tg / t_tg, NULL, err));
    if (!json_object_get(row, "pl")) return 0; /* the two were measured apart from one another */
    TRY(record_derive(record, "wall_ms", 1e3 * wall, NULL, err));
    TRY(record_derive(record, "output_ts", pl * tg / wall, NULL, err));
    return record_derive(record, "total_ts", ((shared ? 1 : pl) * pp + pl * tg) / wall, NULL, err);
}

static int fill_steps(json_t *record, const json_t *row, struct redline_err *err)
{
    char name[96];
    double pl = json_object_get(row, "pl") ? number(row, "pl") : 1;
    double n_depth = json_object_get(row, "pl") ? 0 : number(row, "n_kv");
    TRY(copy_words(record, row, of_steps, COUNT_OF(of_steps), err));
    TRY(set_flag(record, "settings.effective.flash_attn", json_object_get(row, "flash_attn"), err));
    snprintf(name, sizeof name, "pp%.0f+tg%.0f x %.0f @ d%.0f", number(row, "pp"), number(row, "tg"), pl, n_depth);
    TRY(set_text(record, "workload.name", name, err));
    TRY(set_integer(record, "workload.n_depth", n_depth, err));
    TRY(set_integer(record, "workload.n_requests", pl, err));
    TRY(set_integer(record, "workload.concurrency", pl, err));
    TRY(set_text(record, "workload.arrival", "closed", err));
    return derive_steps(record, row, err);
}

static int from_steps(json_t *records, const json_t *row, const char *tool, const char *name, struct redline_err *err)
{
    json_t *record;
    if (!(number(row, "pp") + number(row, "tg") > 0) || !(number(row, "t_pp") + number(row, "t_tg") > 0))
        return err_set(err, REDLINE_FORMAT, "there is no test in pp and tg, or no time in t_pp and t_tg");
    int status = begin(&record, row, name, NULL, 0, err);
    if (!status) status = fill_steps(record, row, err);
    if (!status) status = end(records, record, tool, err);
    json_decref(record);
    return status;
}

static int from_batched_bench(json_t *records, const json_t *row, struct redline_err *err)
{
    return from_steps(records, row, "llama-batched-bench", "llama.cpp", err);
}

static int from_sweep_bench(json_t *records, const json_t *row, struct redline_err *err)
{
    return from_steps(records, row, "llama-sweep-bench", "ik_llama.cpp", err);
}

/* ---- vLLM bench serve ------------------------------------------------------------------------ */

/* Its times are the client's; TTFT and ITL are defined as ours at the consumer, TPOT and E2EL we define at the
 * engine, so those two have no name here. */
static const struct {
    const char *from, *metric;
    double scale;
} vllm_figures[] = {
    {"duration", "wall_ms", 1e3},
    {"request_throughput", "requests_s", 1},
    {"output_throughput", "output_ts", 1},
    {"total_token_throughput", "total_ts", 1},
    {"median_ttft_ms", "ttft_consumer_ms", 1},
    {"mean_itl_ms", "itl_consumer_mean_ms", 1},
    {"median_itl_ms", "itl_consumer_p50_ms", 1},
};
static const struct {
    const char *from, *metric;
    double share;
} vllm_quantiles[] = {
    {"median_itl_ms", "itl_consumer_p50_ms", 0.50},
    {"p95_itl_ms", "itl_consumer_p95_ms", 0.95},
    {"p99_itl_ms", "itl_consumer_p99_ms", 0.99},
};

static int derive_vllm(json_t *record, const json_t *row, struct redline_err *err)
{
    double n_gaps = number(row, "total_output_tokens") - number(row, "completed");
    for (size_t i = 0; i < COUNT_OF(vllm_figures); i++) {
        double x = number(row, vllm_figures[i].from) * vllm_figures[i].scale;
        if (isfinite(x)) TRY(record_derive(record, vllm_figures[i].metric, x, NULL, err));
    }
    for (size_t i = 0; i < COUNT_OF(vllm_quantiles); i++) {
        char reason[64];
        double x = number(row, vllm_quantiles[i].from), needed = (double)metric_samples_for(vllm_quantiles[i].share);
        snprintf(reason, sizeof reason, "needs %.0f intervals, has %.0f", needed, n_gaps);
        if (isfinite(x)) TRY(record_derive(record, vllm_quantiles[i].metric, n_gaps < needed ? NAN : x, reason, err));
    }
    return isfinite(n_gaps) ? record_derive(record, "samples", n_gaps, NULL, err) : 0;
}

/* "20260801-120000" in the client's local time, which is all it says. */
static const char *vllm_date(const json_t *row, char *out, size_t n)
{
    const char *date = record_text(row, "date");
    int y, mo, d, h, mi, s;
    if (!date || sscanf(date, "%4d%2d%2d-%2d%2d%2d", &y, &mo, &d, &h, &mi, &s) != 6) return NULL;
    snprintf(out, n, "%04d-%02d-%02dT%02d:%02d:%02d", y, mo, d, h, mi, s);
    return out;
}

static int fill_vllm(json_t *record, const json_t *row, struct redline_err *err)
{
    double rate = number(row, "request_rate"), n = number(row, "completed");
    TRY(copy_words(record, row, of_vllm, COUNT_OF(of_vllm), err));
    TRY(set_text(record, "workload.name", "vllm serve", err));
    TRY(set_text(record, "workload.arrival", isfinite(rate) ? "poisson" : "closed", err));
    if (isfinite(rate)) TRY(record_set(record, "workload.rate", json_real(rate), err));
    TRY(set_integer(record, "workload.n_prompt", round(number(row, "total_input_tokens") / n), err));
    TRY(set_integer(record, "workload.n_gen", round(number(row, "total_output_tokens") / n), err));
    return derive_vllm(record, row, err);
}

static int from_vllm(json_t *records, const json_t *row, struct redline_err *err)
{
    char date[32];
    const char *backend = record_text(row, "backend");
    json_t *record;
    if (!(number(row, "completed") > 0)) return err_set(err, REDLINE_FORMAT, "no request was completed");
    int status = begin(&record, row, backend ? backend : "vllm", vllm_date(row, date, sizeof date), 0, err);
    if (!status) status = fill_vllm(record, row, err);
    if (!status) status = end(records, record, "vllm bench serve", err);
    json_decref(record);
    return status;
}

/* ---- formats --------------------------------------------------------------------------------- */

static int from_record(json_t *records, const json_t *row, struct redline_err *err)
{
    json_t *record = json_copy((json_t *)(uintptr_t)row);
    if (!record || json_object_del(record, "_line") || json_array_append_new(records, record))
        return err_set(err, REDLINE_MEMORY, "no memory for records");
    return record_check(record, err);
}

/* The first whose words are all in the first row.  IMPORT_UNKNOWN has none. */
static const struct {
    const char *name;
    const char *words[3];
    int (*take)(json_t *records, const json_t *row, struct redline_err *err);
} formats[] = {
    [IMPORT_UNKNOWN] = {"nothing that is known", {NULL}, NULL},
    [IMPORT_RECORDS] = {"records", {"version", "program"}, from_record},
    [IMPORT_LLAMA_BENCH] = {"llama-bench", {"n_prompt", "n_gen", "avg_ns"}, from_llama_bench},
    [IMPORT_BATCHED_BENCH] = {"llama-batched-bench", {"pp", "t_tg", "pl"}, from_batched_bench},
    [IMPORT_SWEEP_BENCH] = {"llama-sweep-bench", {"pp", "t_tg", "n_kv"}, from_sweep_bench},
    [IMPORT_VLLM_SERVE] = {"vllm bench serve", {"request_throughput", "total_output_tokens"}, from_vllm},
};

const char *import_format_name(enum import_format f)
{
    return formats[f].name;
}

enum import_format import_recognise(struct str text)
{
    json_t *rows = NULL;
    enum import_format found = IMPORT_UNKNOWN;
    if (import_rows(&rows, text, NULL)) return found;
    const json_t *row = json_array_get(rows, 0);
    for (size_t f = 1; row && !found && f < COUNT_OF(formats); f++) {
        bool all = true;
        for (size_t w = 0; w < COUNT_OF(formats[f].words) && formats[f].words[w]; w++)
            all &= json_object_get(row, formats[f].words[w]) != NULL;
        if (all) found = (enum import_format)f;
    }
    json_decref(rows);
    return found;
}

int import_text(json_t **records, struct str text, enum import_format format, struct redline_err *err)
{
    json_t *rows = NULL, *row;
    struct redline_err why = {0};
    size_t i;
    *records = NULL;
    if (format == IMPORT_UNKNOWN)
        return err_set(err, REDLINE_FORMAT, "line 1: neither records nor what llama-bench, llama-batched-bench, "
                                            "llama-sweep-bench or vllm bench serve write");
    TRY(import_rows(&rows, text, err));
    json_t *all = json_array();
    int status = all ? 0 : err_set(err, REDLINE_MEMORY, "no memory for records");
    json_array_foreach(rows, i, row) {
        if (!status) status = formats[format].take(all, row, &why);
        if (status) {
            status = err_set(err, status, "line %.0f: %s", number(row, "_line"), why.message);
            break;
        }
    }
    json_decref(rows);
    if (status) json_decref(all);
    else *records = all;
    return status;
}
