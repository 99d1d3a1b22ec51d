/* lab_import.c - redline lab import: what other tools wrote, as records. */
#include <stdio.h>
#include <stdlib.h>

#include "base.h"
#include "cmd.h"
#include "file.h"
#include "import.h"
#include "lab.h"
#include "store.h"

enum { MOST_FILES = 256 };

/* Into the store, or where there is none, to standard output. */
static int put(struct store *store, json_t *record, struct redline_err *err)
{
    if (store) return store_append(store, record, err);
    char *line = json_dumps(record, JSON_COMPACT);
    struct str text = line ? str_of(line) : STR("");
    int status = line ? cmd_write(text.p, text.n, err) : err_set(err, REDLINE_MEMORY, "no memory for a record");
    if (!status) status = cmd_write("\n", 1, err);
    free(line);
    return status;
}

static int import_file(struct store *store, const char *path, struct redline_err *err)
{
    struct buf text = {0};
    struct redline_err why = {0};
    json_t *records = NULL, *record;
    size_t i;
    int status = file_read(&text, path, err);
    if (status) return status;
    enum import_format format = import_recognise(buf_str(&text));
    status = import_text(&records, buf_str(&text), format, &why);
    if (status) status = err_set(err, status, "'%s', %s", path, why.message);
    json_array_foreach(records, i, record)
        if (!status) status = put(store, record, err);
    if (!status) status = cmd_flush(err);
    if (!status) fprintf(stderr, "%s: %zu records of %s\n", path, json_array_size(records), import_format_name(format));
    json_decref(records);
    buf_free(&text);
    return status;
}

int lab_import(int argc, char **argv)
{
    const char *path = NULL;
    const struct opt options[] = {
        {"-o, --output", "STORE", OPT_STRING, &path, 0, 0, "append them to a store (standard output)"},
    };
    const struct opt_command command = {
        "redline lab import FILE... [options]",
        "Writes what llama-bench (llama.cpp's or ik_llama.cpp's; JSON, JSONL or CSV), llama-batched-bench,\n"
        "llama-sweep-bench and vLLM's `bench serve` have measured as records, one for each sample.",
        options, COUNT_OF(options),
        "Figures get the names of their definitions; what a tool does not say is null, with that as the reason."};
    static const char *words[MOST_FILES];
    struct redline_err err = {0};
    struct store *store = NULL;
    int n_words, exit_code;
    if (!cmd_parse(&command, argc, argv, words, MOST_FILES, &n_words, &exit_code)) return exit_code;
    int status = n_words > 0 ? 0 : err_set(&err, REDLINE_ARG, "a file is needed: redline lab import FILE");
    if (!status && path) status = store_open(&store, path, &err);
    for (int i = 0; !status && i < n_words; i++) status = import_file(store, words[i], &err);
    store_close(&store);
    return status ? cmd_fail(&err) : EXIT_FINE;
}
