/* cmd_tokenize.c - redline tokenize: all of standard input is one text; one line of ids or pieces. */

#include "base.h"
#include "cmd.h"
#include "file.h"
#include "settings.h"

struct tokenize {
    const char *model_path, *file;
    bool ids, special, add_special, json;
};

/* A piece between double quotes, so that blanks and line ends can be seen. */
static int print_piece(struct buf *out, const struct redline_model *model, int32_t id,
                       struct redline_err *err)
{
    char *text;
    size_t n;
    TRY(redline_piece(model, id, true, &text, &n, err));
    int status = buf_append(out, "\"", 1, err);
    for (size_t i = 0; i < n && !status; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\')
            status = buf_printf(out, err, "\\%c", c);
        else if (c == '\n')
            status = buf_append(out, "\\n", 2, err);
        else if (c < 0x20 || c >= 0x7f)
            status = buf_printf(out, err, "\\x%02x", c);
        else
            status = buf_append(out, text + i, 1, err);
    }
    redline_free(text);
    return status ? status : buf_append(out, "\"", 1, err);
}

static int print_tokens(const struct tokenize *t, const struct redline_model *model, const int32_t *ids,
                        size_t n, struct buf *out, struct redline_err *err)
{
    if (t->json) TRY(buf_append(out, "[", 1, err));
    for (size_t i = 0; i < n; i++) {
        if (i) TRY(buf_append_str(out, t->json ? STR(", ") : STR(" "), err));
        if (t->ids || t->json)
            TRY(buf_printf(out, err, "%d", ids[i]));
        else
            TRY(print_piece(out, model, ids[i], err));
    }
    TRY(buf_append_str(out, t->json ? STR("]\n") : STR("\n"), err));
    TRY(cmd_write(out->p, out->n, err));
    return cmd_flush(err);
}

static int tokenize_input(const struct tokenize *t, const char *const *words, int n_words,
                          struct redline_model **model, struct buf *text, struct buf *out,
                          struct redline_err *err)
{
    const char *path;
    int32_t *ids;
    size_t n;
    unsigned flags = (t->add_special ? REDLINE_ADD_SPECIAL : 0) | (t->special ? REDLINE_PARSE_SPECIAL : 0);
    TRY(cmd_model_path(&path, t->model_path, words, n_words, "tokenize", err));
    TRY(redline_model_open(model, path, err));
    TRY(file_read(text, t->file ? t->file : "-", err));
    TRY(redline_tokenize(*model, buf_str(text).p, text->n, flags, &ids, &n, err));
    int status = print_tokens(t, *model, ids, n, out, err);
    redline_free(ids);
    return status;
}

int cmd_tokenize(int argc, char **argv)
{
    struct tokenize t = {0};
    struct settings set = {0};
    const struct opt options[] = {
        settings_opt(&set, SETTING_MODEL, &t.model_path),
        {"-f, --file", "FILE", OPT_STRING, &t.file, 0, 0, "read the text from a file"},
        {"--ids", NULL, OPT_FLAG, &t.ids, 0, 0, "print numbers instead of pieces"},
        {"--special", NULL, OPT_FLAG, &t.special, 0, 0, "special tokens in the text become those tokens"},
        {"--add-special", NULL, OPT_FLAG, &t.add_special, 0, 0, "add BOS and EOS as the model expects them"},
        {"--json", NULL, OPT_FLAG, &t.json, 0, 0, "print one JSON array of numbers"},
    };
    const struct opt_command command = {
        "redline tokenize MODEL [options] < TEXT",
        "Turns all of standard input, newlines included, into tokens: one line of pieces in quotes, or of\n"
        "ids with --ids, separated by blanks.",
        options, COUNT_OF(options), "Example: printf 'Hello world' | redline tokenize model.gguf --ids"};
    const char *words[1];
    struct redline_err err = {0};
    struct redline_model *model = NULL;
    struct buf text = {0}, out = {0};
    int n_words, exit_code;
    if (!settings_parse(&set, &command, argc, argv, words, 1, &n_words, &exit_code)) return exit_code;
    int status = tokenize_input(&t, words, n_words, &model, &text, &out, &err);
    redline_model_close(&model);
    buf_free(&text);
    buf_free(&out);
    settings_free(&set);
    return status ? cmd_fail(&err) : EXIT_FINE;
}
