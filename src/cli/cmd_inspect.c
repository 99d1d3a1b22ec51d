/* cmd_inspect.c - redline inspect: metadata and tensors of a file, for people or as JSON. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "cmd.h"
#include "settings.h"

struct inspect {
    const char *model_path;
    bool json, no_tensors, strict;
    struct redline_model *model;
    struct redline_file_facts facts;
    struct buf out;
    uint64_t n_unused;
};

static int print_summary(struct inspect *in, struct redline_err *err)
{
    const struct redline_file_facts *f = &in->facts;
    char size[32];
    str_bytes_text(f->file_bytes, size, sizeof size);
    TRY(buf_printf(&in->out, err, "GGUF version %u, %s in %u file%s, alignment %u\n", f->version, size,
                   f->n_files, f->n_files == 1 ? "" : "s", f->alignment));
    TRY(buf_printf(&in->out, err, "%s%s%.3g billion parameters, architecture %s\n", f->name,
                   f->name[0] ? ": " : "", (double)f->n_parameters / 1e9,
                   f->architecture[0] ? f->architecture : "(none)"));
    return f->runnable ? buf_printf(&in->out, err, "can be run\n")
                       : buf_printf(&in->out, err, "cannot be run: %s\n", f->reason);
}

static int print_values(struct inspect *in, struct redline_err *err)
{
    TRY(buf_printf(&in->out, err, "\n%" PRIu64 " values\n", in->facts.n_values));
    for (uint64_t i = 0; i < in->facts.n_values; i++) {
        struct redline_value_facts v;
        TRY(redline_value_at(in->model, i, &v, err));
        const char *quote = v.is_string ? "\"" : "";
        TRY(buf_printf(&in->out, err, "  %-44s %-14s %s%s%s\n", v.key, v.type, quote, v.text, quote));
    }
    return 0;
}

static int print_tensors(struct inspect *in, struct redline_err *err)
{
    TRY(buf_printf(&in->out, err, "\n%" PRIu64 " tensors\n", in->facts.n_tensors));
    for (uint64_t i = 0; i < in->facts.n_tensors; i++) {
        struct redline_tensor_facts t;
        char shape[96] = "";
        TRY(redline_tensor_at(in->model, i, &t, err));
        for (uint32_t d = 0; d < t.n_dims; d++) {
            size_t n = strlen(shape);
            snprintf(shape + n, sizeof shape - n, "%s%" PRIu64, d ? " x " : "", t.shape[d]);
        }
        TRY(buf_printf(&in->out, err, "  %-36s %-7s %-22s %12" PRIu64 " bytes%s\n", t.name, t.type,
                       shape, t.bytes, t.used || !in->facts.runnable ? "" : "  unused"));
    }
    return 0;
}

static int count_unused(struct inspect *in, struct redline_err *err)
{
    for (uint64_t i = 0; in->facts.runnable && i < in->facts.n_tensors; i++) {
        struct redline_tensor_facts t;
        TRY(redline_tensor_at(in->model, i, &t, err));
        in->n_unused += !t.used;
    }
    return 0;
}

static json_t *json_text(const char *s) /* names in files need not be UTF-8 */
{
    json_t *text = json_string(s);
    return text ? text : json_string("(not UTF-8)");
}

static int collect_json(struct inspect *in, json_t *values, json_t *tensors, struct redline_err *err)
{
    for (uint64_t i = 0; i < in->facts.n_values; i++) {
        struct redline_value_facts v;
        TRY(redline_value_at(in->model, i, &v, err));
        json_array_append_new(values, json_pack("{s:o, s:s, s:o}", "key", json_text(v.key), "type",
                                                v.type, "value", json_text(v.text)));
    }
    for (uint64_t i = 0; !in->no_tensors && i < in->facts.n_tensors; i++) {
        struct redline_tensor_facts t;
        json_t *shape = json_array();
        TRY(redline_tensor_at(in->model, i, &t, err));
        for (uint32_t d = 0; d < t.n_dims; d++)
            json_array_append_new(shape, json_integer((json_int_t)t.shape[d]));
        json_array_append_new(
            tensors, json_pack("{s:o, s:s, s:o, s:I, s:i, s:b}", "name", json_text(t.name), "type",
                               t.type, "shape", shape, "bytes", (json_int_t)t.bytes, "file",
                               (int)t.file, "used", t.used));
    }
    return 0;
}

static int print_json(struct inspect *in, struct redline_err *err)
{
    const struct redline_file_facts *f = &in->facts;
    json_t *values = json_array(), *tensors = json_array();
    int status = collect_json(in, values, tensors, err);
    json_t *root = json_pack(
        "{s:i, s:i, s:i, s:I, s:I, s:I, s:o, s:o, s:b, s:o, s:o, s:o}", "version", (int)f->version,
        "alignment", (int)f->alignment, "n_files", (int)f->n_files, "file_bytes",
        (json_int_t)f->file_bytes, "tensor_bytes", (json_int_t)f->tensor_bytes, "n_parameters",
        (json_int_t)f->n_parameters, "architecture", json_text(f->architecture), "name",
        json_text(f->name), "runnable", f->runnable, "reason", json_text(f->reason), "values", values,
        "tensors", tensors);
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    if (!status && !text) status = err_memory(err, 0, "the JSON text");
    if (!status) status = buf_printf(&in->out, err, "%s\n", text);
    free(text);
    json_decref(root);
    return status;
}

static int run_all(struct inspect *in, const char *const *words, int n_words, struct redline_err *err)
{
    const char *path;
    TRY(cmd_model_path(&path, in->model_path, words, n_words, "inspect", err));
    TRY(redline_model_open(&in->model, path, err));
    redline_file_facts(in->model, &in->facts);
    TRY(count_unused(in, err));
    if (in->json) {
        TRY(print_json(in, err));
    } else {
        TRY(print_summary(in, err));
        TRY(print_values(in, err));
        if (!in->no_tensors) TRY(print_tensors(in, err));
    }
    TRY(cmd_write(in->out.p, in->out.n, err));
    TRY(cmd_flush(err));
    if (in->strict && !in->facts.runnable)
        return err_set(err, REDLINE_SUPPORT, "%s", in->facts.reason);
    if (in->strict && in->n_unused)
        return err_set(err, REDLINE_FORMAT, "%" PRIu64 " of %" PRIu64 " tensors are used by nothing",
                       in->n_unused, in->facts.n_tensors);
    return 0;
}

int cmd_inspect(int argc, char **argv)
{
    struct inspect in = {0};
    struct settings set = {0};
    const struct opt options[] = {
        settings_opt(&set, SETTING_MODEL, &in.model_path),
        {"--no-tensors", NULL, OPT_FLAG, &in.no_tensors, 0, 0, "metadata only"},
        {"--strict", NULL, OPT_FLAG, &in.strict, 0, 0, "fail when the model cannot be run or has unused tensors"},
        {"--json", NULL, OPT_FLAG, &in.json, 0, 0, "one JSON object"},
    };
    const struct opt_command command = {
        "redline inspect MODEL [options]",
        "Shows what is in a GGUF file: metadata, tensors, and whether Redline can run it.  Every length and\n"
        "offset in the file is checked on the way.",
        options, COUNT_OF(options), NULL};
    const char *words[1];
    struct redline_err err = {0};
    int n_words, exit_code;
    if (!settings_parse(&set, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    int status = run_all(&in, words, n_words, &err);
    redline_model_close(&in.model);
    buf_free(&in.out);
    settings_free(&set);
    return status ? cmd_fail(&err) : EXIT_FINE;
}
